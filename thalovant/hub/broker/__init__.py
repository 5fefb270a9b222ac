"""The MQTT broker of the embedded hub: accounts, the gatekeeper in front of it, and amqtt."""
