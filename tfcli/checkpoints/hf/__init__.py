"""Hugging Face folders with safetensors files."""
