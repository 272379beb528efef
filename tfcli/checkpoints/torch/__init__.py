"""Files of torch.save, read by a machine that runs nothing of them."""
