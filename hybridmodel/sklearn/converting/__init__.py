"""Converts fitted estimators to ONNX, and proves on rows that both answer alike."""
