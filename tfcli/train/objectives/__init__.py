"""What training makes smaller: one objective a file."""
