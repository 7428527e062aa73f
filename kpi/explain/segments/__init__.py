"""Which segments fail most against the rest, whatever changed."""
