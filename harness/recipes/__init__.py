"""How a variant is converted: built-in recipes and Olive files."""
