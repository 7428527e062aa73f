"""Gaps between groups, compared with what no gap would show at this volume."""
