"""What a variant asks of the converter: built-in recipes and Olive files."""
