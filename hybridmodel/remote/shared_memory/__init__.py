"""Large tensors for a server on this machine, through memory that both have."""
