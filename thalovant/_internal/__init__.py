"""Private parts of the SDK; nothing here is public."""
