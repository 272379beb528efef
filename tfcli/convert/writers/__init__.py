"""Writers: one container each, from a plan in Hugging Face's terms."""
