"""DeepSpeed's ZeRO folders."""
