"""Sums that comparisons and searches are made of: by user, day and dimension, each from one query."""
