"""Drift of a column between two windows, and change-points of a series."""
