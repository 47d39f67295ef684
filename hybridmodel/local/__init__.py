"""The local route: ONNX Runtime, and ONNX files."""
