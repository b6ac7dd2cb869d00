"""The command `try-fixes`, for a function in a user's module."""

import json

from ..errors import LabkitError
from ..fixes.trying import TryingFixes
from .predict_memory import trial_options


def add(add_command):
    """Add the command, with a function (name, run, help, example) that returns its parser."""
    summary = "Try the fixes of the course on your training, and measure each. Status 0; 1 if nothing helps."
    example = "python -m labkit try-fixes train.py:train --memory-limit 2GiB batch_size=64"
    command = add_command("try-fixes", _try_fixes, summary, example)
    command.add_argument("train", help="the training function: module:function or path/to/file.py:function")
    command.add_argument(
        "parameters", nargs="*", metavar="name=value", help="parameters of the function, the batch size too"
    )
    command.add_argument("--memory-limit", metavar="SIZE", help="such as 2GiB: what the training should fit")
    command.add_argument(
        "--over", default="batch_size", metavar="NAME", help="parameter that is the batch size"
    )
    command.add_argument(
        "--fix", action="append", metavar="NAME", help="try only this one; may be given several times"
    )
    command.add_argument(
        "--timeout", type=float, default=120, metavar="SECONDS", help="per trial; default 120"
    )


def _try_fixes(arguments):
    over, arguments.over = arguments.over, [arguments.over]
    train, options = trial_options(arguments)
    if over not in options["params"]:
        raise LabkitError(f"Say at which batch size to try, such as {over}=64.")
    trials = TryingFixes(
        train, memory_limit=arguments.memory_limit, fixes=arguments.fix, over=over, **options
    ).run()
    print(json.dumps(trials.to_dict(), indent=2) if arguments.json else trials)
    return 0 if trials.best() or trials.fits else 1
