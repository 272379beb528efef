"""Predictions that are in a file, whatever made them, beside what is right."""
