"""WebSocket links (RFC 6455) of both roles, on wsproto."""
