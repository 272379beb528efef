"""GGUF, the container of llama.cpp: read, written, and mapped to Hugging Face checkpoints."""
