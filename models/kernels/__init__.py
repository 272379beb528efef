"""Products of few rows by kernels of our own, compiled on the machine at first use."""
