"""Kinds of tasks, one file for those that are judged alike."""
