"""From moments to coefficients, one solver a file."""
