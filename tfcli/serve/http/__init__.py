"""What is the same for all interfaces: errors, limits, streams of events."""
