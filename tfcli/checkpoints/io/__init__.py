"""Bytes on disk: headers, types, pieces of tensors, and files written whole or not at all."""
