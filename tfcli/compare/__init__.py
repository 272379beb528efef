"""Two evaluations of the same samples side by side: is there a difference, and could there be?"""
