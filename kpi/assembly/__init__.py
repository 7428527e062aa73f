"""Spans to requests: the tree of a trace, its outcomes and its costs become one row."""
