"""Endpoints that turn texts into vectors, as OpenAI's API does and many servers after it."""
