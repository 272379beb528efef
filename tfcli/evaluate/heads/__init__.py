"""Measuring models with heads on tasks: what `tfcli predict` answers, beside what is right."""
