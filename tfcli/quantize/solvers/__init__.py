"""The arithmetic of quantization: from a weight, and what calibration saw, to values."""
