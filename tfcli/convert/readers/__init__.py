"""Readers: one container or dialect each, as a view in Hugging Face's terms."""
