"""The command line: python -m labkit diagnose train.log, and others. Each command is a function."""

import argparse
import json
import sys
from pathlib import Path

from . import commands as largest
from .diagnose import diagnose, of_blocks, read_blocks
from .doctor import doctor
from .errors import LabkitError


def main(argv=None):
    """Run one command; returns its exit status: 0, 1, or 2 for bad use."""
    parser = argparse.ArgumentParser(prog="python -m labkit", description="Why Keras runs out of memory.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_diagnose(commands)
    _add_doctor(commands)
    largest.add(lambda *how: _add_command(commands, *how))
    arguments = _parsed(parser, argv)
    try:
        return arguments.run(arguments)
    except LabkitError as e:
        print(f"python -m labkit: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output had enough: ... | head
        sys.stderr.close()
        return 0


def _parsed(parser, argv):
    """As parse_args, but name=value may also come after options."""
    arguments, more = parser.parse_known_args(argv)
    values = [text for text in more if "=" in text and not text.startswith("-")]
    if more and (values != more or not hasattr(arguments, "parameters")):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        arguments.parameters += more
    return arguments


def _add_command(commands, name, run, said, example):
    """A command with its help, an example and --json."""
    command = commands.add_parser(
        name,
        help=said,
        description=said,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.set_defaults(run=run)
    return command


def _add_diagnose(commands):
    said = "Tell from an error message or a log why memory ran out. Status 0: a cause was found; 1: none."
    example = "python train.py 2>&1 | tee train.log; python -m labkit diagnose train.log"
    command = _add_command(commands, "diagnose", _diagnose, said, example)
    command.add_argument("log", nargs="?", default="-", help="path of the log; without it, or -: stdin")


def _diagnose(arguments):
    if arguments.log == "-":
        found = of_blocks(read_blocks(sys.stdin.buffer))
    else:
        found = diagnose(Path(arguments.log))
    print(json.dumps(found.to_dict(), indent=2) if arguments.json else found)
    return 0 if found.found else 1


def _add_doctor(commands):
    said = "Look whether this machine is set up well for the course. Status 1: something stops the labs."
    _add_command(commands, "doctor", _doctor, said, "python -m labkit doctor")


def _doctor(arguments):
    findings = []
    for finding in doctor():
        findings.append(finding)
        if not arguments.json:
            print(finding, flush=True)
    if arguments.json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    return int(any(finding.status == "wrong" for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
