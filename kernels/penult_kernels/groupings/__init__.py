"""Groups found in rows: clusters, mixtures, heads."""
