"""The child process that reads untrusted files, and its supervisor."""
