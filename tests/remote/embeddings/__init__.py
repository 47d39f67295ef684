"""Embeddings endpoints."""
