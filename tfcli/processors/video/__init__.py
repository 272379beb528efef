"""Video to frames."""
