"""Run the command line as ``python -m hybridmodel``."""

from __future__ import annotations

from hybridmodel.cli import main

if __name__ == "__main__":
    main()
