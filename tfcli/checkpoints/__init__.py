"""Reading and writing tensors in every container, one tensor at a time."""
