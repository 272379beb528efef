"""Ways of choosing tokens beside taking or drawing one at a time."""
