"""Tests of hybridmodel."""
