"""Neural collapse: how close rows lie to the means of their parts, and how these lie (Papyan et al. 2020)."""
