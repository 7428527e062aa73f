"""Speed, measured beside plain pandas in the same run. `make bench`; nothing here is a test."""
