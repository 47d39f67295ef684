"""Coverage-guided fuzzing of all that reads bytes of a server; see `tests.fuzz.__main__`."""
