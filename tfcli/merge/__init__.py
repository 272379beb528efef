"""`tfcli merge`: an adapter in PEFT's format, worked into the weights of its base."""
