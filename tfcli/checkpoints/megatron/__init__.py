"""Megatron folders: a file for each tensor-parallel rank."""
