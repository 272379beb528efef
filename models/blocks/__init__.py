"""Transformer blocks made of layers."""
