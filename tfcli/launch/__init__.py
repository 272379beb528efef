"""Files that start a training on machines that others manage."""
