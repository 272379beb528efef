"""`--verify logits`: source and target run on the same tokens."""
