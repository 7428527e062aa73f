"""Files on disk: whole or not there, for their owner alone, and what a full disk means."""
