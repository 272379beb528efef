"""What a run does beside moving weights: one file each, called at fixed moments of the loop."""
