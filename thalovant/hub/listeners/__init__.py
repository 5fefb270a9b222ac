"""Listeners of the embedded hub: WSS, HTTPS and MQTT."""
