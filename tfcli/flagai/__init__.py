"""FlagAI's interface over the model core: classes by FlagAI's names, its folders, its tasks.

Nothing is imported here, so that names and tables can be looked up without torch. See
docs/flagai.md.
"""
