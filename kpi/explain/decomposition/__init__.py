"""A change of a rate, of cost or of latency as the sum of its parts."""
