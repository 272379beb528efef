"""`tfcli doctor`: what this machine has, what works, and how to fix what does not."""
