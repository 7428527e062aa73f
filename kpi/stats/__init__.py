"""Statistics that know no metric: tests, intervals, corrections for many tests."""
