"""OpenTelemetry on the wire: decoding, attributes and their conventions."""
