"""The readers that turn an opened file into canonical rows, and the choice among them."""
