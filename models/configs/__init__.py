"""Family configs: plain dataclasses read from config.json. Nothing here imports torch."""
