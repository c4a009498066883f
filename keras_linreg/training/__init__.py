"""Training by gradient descent: the loop, and the watch over it."""
