"""Links: one hub session on the wire, over WSS, HTTPS or MQTT, for clients and hubs."""
