"""How sure coefficients are: estimates, covariances, tests, diagnostics, reports."""
