"""MLX folders, with weights of affine-quantized integers."""
