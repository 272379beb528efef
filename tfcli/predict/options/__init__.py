"""What tasks can be asked for, as sections. Importing these imports no torch."""
