"""What sets failed requests apart from the others."""
