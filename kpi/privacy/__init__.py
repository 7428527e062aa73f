"""What may be stored: the policy for keys, pseudonyms of users, redaction of texts."""
