"""The interface of Anthropic's API."""
