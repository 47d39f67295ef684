"""Which secret, and which data, may go to which place; and where secrets come from."""
