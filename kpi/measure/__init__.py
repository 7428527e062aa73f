"""Rows to numbers with intervals. Rows stay in the engine; only mergeable statistics come back."""
