"""Tests of flavor."""
