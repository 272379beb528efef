"""Images as the tensors that vision models take."""
