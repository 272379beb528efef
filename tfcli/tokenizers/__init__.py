"""`tfcli tokenizer`, and text to ids and back for every other verb."""
