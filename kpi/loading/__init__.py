"""From files or a database to a committed version with a receipt."""
