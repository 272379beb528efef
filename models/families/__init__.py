"""The table of the families that are built in."""
