"""Quantization of checkpoints: grids, round-to-nearest, GPTQ, and the calibration loop."""
