"""A checkpoint with new weights, of a config alone."""
