"""Recognisers of structured identifiers, one file a kind."""
