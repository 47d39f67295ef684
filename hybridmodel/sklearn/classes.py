"""The classes of a classifier, and which column of its probabilities each of them has."""

from __future__ import annotations

CLASSES = "hybridmodel.classes"
"""A property in the metadata of an ONNX file: the classes as a JSON list, in the columns' order."""
