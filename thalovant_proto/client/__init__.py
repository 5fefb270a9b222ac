"""The client role: one hub session over its links, and what outlives a link."""
