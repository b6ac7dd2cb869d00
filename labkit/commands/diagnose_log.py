"""The command `diagnose`: from a log to the reason why memory ran out."""

import json
import sys
from pathlib import Path

from ..explain.reading import diagnose, of_blocks, read_blocks


def add(add_command):
    """Add the command, by a function of (name, run, help, example) that returns its parser."""
    said = "Tell from an error message or a log why memory ran out. Status 0: a cause was found; 1: none."
    example = "python train.py 2>&1 | tee train.log; python -m labkit diagnose train.log"
    command = add_command("diagnose", _diagnose, said, example)
    command.add_argument("log", nargs="?", default="-", help="path of the log; without it, or -: stdin")


def _diagnose(arguments):
    if arguments.log == "-":
        found = of_blocks(read_blocks(sys.stdin.buffer))
    else:
        found = diagnose(Path(arguments.log))
    print(json.dumps(found.to_dict(), indent=2) if arguments.json else found)
    return 0 if found.found else 1
