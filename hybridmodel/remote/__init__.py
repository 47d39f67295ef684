"""All that talks to an endpoint: what it is, its protocol, its transport, its client."""
