"""Results in words: every sentence that pages, the command line and reports show. Nothing is computed here."""
