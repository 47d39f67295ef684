"""Between containers and tensors: what frames, arrays and tables become, and come back as."""
