"""The command `diagnose`: why memory ran out, from a log."""

import json
import os
import sys
from pathlib import Path

from ..errors import LabkitError
from ..explain.sources import diagnose, of_blocks, read_blocks


def add(add_command):
    """Add the command, with a function (name, run, help, example) that returns its parser."""
    summary = "Explain an out-of-memory error from its message or log. Status 0: cause found; 1: none found."
    example = "python train.py 2>&1 | tee train.log; python -m labkit diagnose train.log"
    command = add_command("diagnose", _diagnose, summary, example)
    command.add_argument(
        "log",
        nargs="?",
        default="-",
        help="path of a log or a notebook, or the text of an error; stdin if omitted or -",
    )


def _diagnose(arguments):
    if arguments.log == "-":
        if sys.stdin is None:  # closed, as a scheduler may start a command
            raise LabkitError("There is no standard input to read: give the path of a log.")
        diagnosis = of_blocks(read_blocks(sys.stdin.buffer))
    else:
        is_text = len(arguments.log.split()) > 1 and not os.path.exists(arguments.log)
        diagnosis = diagnose(arguments.log if is_text else Path(arguments.log))
    print(json.dumps(diagnosis.to_dict(), indent=2) if arguments.json else diagnosis)
    return 0 if diagnosis.found else 1
