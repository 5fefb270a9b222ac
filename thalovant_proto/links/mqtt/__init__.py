"""MQTT 3.1.1 (OASIS, 29 October 2014): packets, framing, both sides' sessions, topics, and the links on top."""
