"""Which examples each step sees."""
