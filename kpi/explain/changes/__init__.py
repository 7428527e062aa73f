"""What changed: every segment is scanned, tested, and the few root causes are selected."""
