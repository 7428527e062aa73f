"""Poisoned twins: every clean export in re-encoded and damaged forms. Equal numbers, a refusal, or a word; never less.

`python -m tests.twins` tries all, `tests/unit/ingest/test_twins.py` a fixed choice, `make bench` prints the counts.
"""
