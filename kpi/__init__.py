"""The AI index as a Python package."""
