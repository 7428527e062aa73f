"""Judges, models and targets: agreement of raters, quality against cost."""
