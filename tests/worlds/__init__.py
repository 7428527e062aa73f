"""Small worlds with planted causes, and what a search for reasons makes of them."""
