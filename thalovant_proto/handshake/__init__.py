"""Handshakes of both roles, as steps that the connection carries out."""
