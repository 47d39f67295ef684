"""The program of a job's process: the batch driver over the files of one job, one by one.

It reads what to do as a line of JSON from stdin, and ends when stdin does, which is when whoever
started it has ended. It writes a line of JSON for each file, or the error that ended it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

_MOST_TEXT = 2000


def main() -> int:
    """Run a job; return 0 if all files were answered."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(asked["variables"])
    try:
        from hybridmodel.deploy.azure import batch_driver

        batch_driver.init()
        for file in asked["files"]:
            _say({"done": batch_driver.run([file])[0]})
    except Exception as error:  # noqa: BLE001 - the job fails, and its reader learns why
        _say({"error": f"{error}"[:_MOST_TEXT], "kind": type(error).__name__})
        return 1
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
