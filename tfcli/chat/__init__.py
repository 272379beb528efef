"""Conversations with a model, in the terminal."""
