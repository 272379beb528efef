"""`tfcli data`: text into documents, without repeats, in splits."""
