"""How checkpoints store quantized weights: one file a layout, and what they have in common."""
