"""Predictions of a model for rows of data: one task each way of asking."""
