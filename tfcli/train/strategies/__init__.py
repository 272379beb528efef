"""How a model is spread over processes: one strategy a file."""
