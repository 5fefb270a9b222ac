"""Stored state of the embedded hub: clients, keys and certificates, in SQLite."""
