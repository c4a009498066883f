"""Linear algebra with more digits than float64: double-double numbers, triangular factors."""
