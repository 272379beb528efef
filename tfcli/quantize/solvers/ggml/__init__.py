"""Weights into ggml's block types: the grid first, then the levels on it."""
