"""The one place for the version."""

__version__ = "1.0.0"
