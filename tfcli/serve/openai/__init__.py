"""The interface of OpenAI's API."""
