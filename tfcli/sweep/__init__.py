"""A recipe run at many points: its grid, the figures that came of it, and the best recipe."""
