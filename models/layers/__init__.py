"""Building blocks of every family: attention, rotary, norms, mlp, embeddings, linear."""
