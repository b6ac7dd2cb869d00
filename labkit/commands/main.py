"""The command line: python -m labkit diagnose train.log, and others. Each command is a function."""

import argparse
import sys

from ..errors import LabkitError
from . import diagnose_log, doctor, training


def main(argv=None):
    """Run one command; returns its exit status: 0, 1, or 2 for bad use."""
    parser = argparse.ArgumentParser(prog="python -m labkit", description="Why Keras runs out of memory.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (diagnose_log, doctor, training):
        command.add(lambda *how: _add_command(commands, *how))
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
