"""What rows of training data say: one format a file."""
