"""Columns of a table to canonical fields: names, units, values."""
