"""Tests of azure_ep."""
