"""Names of the repositories that models first came from."""
