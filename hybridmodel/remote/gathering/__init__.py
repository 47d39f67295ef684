"""Calls that wait for an endpoint at the same time go together in one request."""
