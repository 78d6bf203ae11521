"""How many dimensions rows spread over: by eigenvalues of the covariance, and by distances to neighbours."""
