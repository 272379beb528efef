"""Packed weights inside checkpoints: each packing, and the dense tensors that it stands for."""
