"""Everything that talks to an endpoint: its description, protocol, transport and client."""
