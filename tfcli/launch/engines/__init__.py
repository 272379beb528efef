"""One file an engine: from a plan to the text that the engine reads."""
