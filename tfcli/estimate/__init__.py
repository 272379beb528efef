"""How much memory a recipe takes in each process, before it runs."""
