"""What this machine lets a process do to another."""

from __future__ import annotations

import subprocess
import sys

from hybridmodel.serving import supervisor


def holds_processes() -> bool:
    """Tell whether a process may hold another that it starts; some containers forbid it."""
    try:
        with supervisor._start_hidden([sys.executable, "-c", ""], {}, {}):
            return True
    except (OSError, subprocess.SubprocessError):
        return False
