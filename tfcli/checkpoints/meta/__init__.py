"""Meta's original files: consolidated.*.pth and params.json."""
