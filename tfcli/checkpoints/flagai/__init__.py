"""FlagAI's folders."""
