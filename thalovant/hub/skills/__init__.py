"""Skills of the embedded hub: registration, turns and the runner that calls them."""
