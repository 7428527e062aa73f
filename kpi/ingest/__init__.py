"""Exports to canonical tables. Reads untrusted files; may not measure, judge or show anything."""
