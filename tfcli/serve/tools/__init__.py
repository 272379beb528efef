"""Calls of tools in what models write."""
