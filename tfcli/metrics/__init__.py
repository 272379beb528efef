"""Metrics of predictions, on libraries that work offline."""
