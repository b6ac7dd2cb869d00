"""python -m labkit: see labkit.commands."""

import sys

from .commands.main import main

if __name__ == "__main__":
    sys.exit(main())
