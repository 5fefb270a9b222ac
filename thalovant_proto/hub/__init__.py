"""The hub role: the hub's end of one client."""
