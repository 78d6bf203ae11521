"""Methods that cluster: k-means, GEORGE, Gaussian mixtures, Domino, FACTS; each with a rule for other rows."""
