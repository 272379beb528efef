"""Task heads: what turns a backbone's states into an answer and a loss."""
