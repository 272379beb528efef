"""Adapters in files, in PEFT's format: written, read, and found with their base."""
