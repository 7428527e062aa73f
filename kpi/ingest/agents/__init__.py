"""Coding agents that report what they did in log events instead of spans."""
