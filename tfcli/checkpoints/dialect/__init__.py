"""The rule language: how another repository's names and layouts become Hugging Face's."""
