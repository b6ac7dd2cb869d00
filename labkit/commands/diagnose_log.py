"""The command `diagnose`: why memory ran out, from a log."""

import json
import sys
from pathlib import Path

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
        diagnosis = of_blocks(read_blocks(sys.stdin.buffer))
    else:
        path, is_text = Path(arguments.log), len(arguments.log.split()) > 1
        diagnosis = diagnose(arguments.log if is_text and not path.exists() else path)
    print(json.dumps(diagnosis.to_dict(), indent=2) if arguments.json else diagnosis)
    return 0 if diagnosis.found else 1
