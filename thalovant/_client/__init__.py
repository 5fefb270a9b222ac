"""The connection of one client and the calls on it, which `thalovant.async_client` joins; nothing here is public."""
