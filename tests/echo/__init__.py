"""A verb that says what it was asked for: what tests of the command line are about."""
