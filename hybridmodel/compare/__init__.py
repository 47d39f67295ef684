"""How close the answers of both routes are."""
