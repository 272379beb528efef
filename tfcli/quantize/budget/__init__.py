"""Bits where they count: linears with widths of their own, within bytes that are given."""
