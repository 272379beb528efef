"""The page for a browser: one file of HTML, which loads nothing from elsewhere."""
