"""Recipes: typed specs, read strictly, run step by step, recorded with what they make."""
