"""What the installed onnxruntime lets a session be told."""

from __future__ import annotations

import onnxruntime


def attributes() -> list[str]:
    """List every attribute of the installed onnxruntime's options."""
    options = onnxruntime.SessionOptions()
    return [
        name
        for name in dir(options)
        if not name.startswith("_") and not callable(getattr(options, name))
    ]
