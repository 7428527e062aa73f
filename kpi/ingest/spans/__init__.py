"""Spans, scores and incidents, collected from any reader, as canonical rows."""
