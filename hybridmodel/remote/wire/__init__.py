"""The Open Inference Protocol as bytes; no module here does I/O."""
