"""The command line, python -m labkit: `diagnose train.log` and other commands, each a function."""

import argparse
import io
import sys

from ..errors import LabkitError
from . import diagnose_log, doctor, fix_trials, predict_memory, show_timeline


def main(argv=None):
    """Run one command; returns its exit status: 0, 1, or 2 for incorrect usage."""
    parser = argparse.ArgumentParser(
        prog="python -m labkit", description="See why Keras runs out of memory, and what fits."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (diagnose_log, doctor, predict_memory, fix_trials, show_timeline):
        command.add(lambda *options: _add_command(commands, *options))
    arguments = _parse(parser, argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "?" for ▇ where the terminal has no such character
    try:
        return arguments.run(arguments)
    except LabkitError as e:
        print(f"python -m labkit: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has closed it: ... | head
        sys.stderr.close()
        return 0


def _parse(parser, argv):
    """Like parse_args, but name=value may also come after options."""
    arguments, rest = parser.parse_known_args(argv)
    values = [text for text in rest if "=" in text and not text.startswith("-")]
    if rest and (values != rest or not hasattr(arguments, "parameters")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.parameters += rest
    return arguments


def _add_command(commands, name, run, summary, example):
    """Add a command with its help, an example and --json; returns its parser."""
    command = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.set_defaults(run=run)
    return command
