"""Tests of sklearn."""
