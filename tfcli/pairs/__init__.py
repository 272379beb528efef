"""Pairs of a source and a target text: read from anywhere, packed, counted, and written."""
