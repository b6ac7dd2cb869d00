"""The commands `estimate` and `find-batch-size`, for a function in the reader's own module.

The reader's module is imported by the trials alone: this process stays without TensorFlow.
"""

import ast
import importlib.util
import json
import os
import sys
from pathlib import Path

from ..errors import LabkitError, NothingFits
from ..machine import check_limit, device
from ..predict.estimation import Estimating
from ..predict.search import Searching
from ..sizes import format_size
from ..trials.console import Progress


def add(add_command):
    """Add both, by a function of (name, run, help, example) that returns the parser of a new command."""
    said = "Predict the peak memory of a training at batch sizes not run. Status 0; 1 where nothing fits."
    example = "python -m labkit estimate mymodule:train --memory-limit 8GiB steps=3"
    command = _with_common(add_command("estimate", _estimate, said, example))
    command.add_argument("--memory-limit", metavar="SIZE", help="also the largest value that fits: 8GiB")
    said = "Find the largest batch size that fits a memory limit, and prove it. Status 0; 1 where none fits."
    example = "python -m labkit find-batch-size train.py:train --memory-limit 8GiB --multiple-of 8"
    command = _with_common(add_command("find-batch-size", _find_batch_size, said, example))
    command.add_argument("--memory-limit", metavar="SIZE", required=True, help="such as 8GiB")
    command.add_argument("--maximum", type=int, default=65536, help="the largest value worth having")
    command.add_argument("--multiple-of", type=int, default=1, metavar="N", help="only multiples of N")
    command.add_argument("--powers-of-two", action="store_true", help="only 1, 2, 4, 8, ...")
    command.add_argument("--margin", type=float, default=0.0, help="share of the limit to keep free")


def _with_common(command):
    command.add_argument("train", help="module:function or path/to/file.py:function, a function that trains")
    command.add_argument("parameters", nargs="*", metavar="name=value", help="its other parameters")
    command.add_argument("--over", default="batch_size", metavar="NAME", help="default batch_size")
    command.add_argument("--at", nargs=2, type=int, default=(4, 8), metavar="N", help="values to try")
    command.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="of a trial")
    return command


def _estimate(given):
    limit = given.memory_limit and check_limit(given.memory_limit, device())
    train, options = _of_trials(given)
    facts = _facts(Estimating(train, given.at, given.over, **options).run(), limit)
    print(json.dumps(facts, indent=2) if given.json else _table(facts, given.over))
    return 1 if limit and facts["largest"] is None else 0


def _find_batch_size(given):
    train, options = _of_trials(given)
    options |= {
        name: getattr(given, name) for name in ("at", "maximum", "multiple_of", "powers_of_two", "margin")
    }
    try:
        found = Searching(train, given.memory_limit, given.over, **options).run()
    except NothingFits as e:
        print(json.dumps({given.over: None, "why": str(e)}, indent=2) if given.json else e)
        return 1
    tried = [
        {given.over: value, "status": o.status, "peak_bytes": o.peak_bytes} for value, o in found.history
    ]
    facts = {given.over: found.batch_size, "trials": found.trials, "ooms": found.ooms, "tried": tried}
    print(json.dumps(facts | {"seconds": found.seconds}, indent=2) if given.json else found)
    return 0


def _of_trials(given):
    """The source of the trials, and their options."""
    params = dict(map(parameter, given.parameters))
    names = ", ".join(f"{name}={name}" for name in (given.over, *params))
    module, function = _found(given.train)
    train = f"from {module} import {function} as labkit_train\nlabkit_train({names})\n"
    return train, {"show": _Line(given.over), "timeout": given.timeout, "seed": 0, "params": params}


def _found(target):
    """(module, function) of "module:function" or "path/to/file.py:function", its folder first on sys.path."""
    name, _, function = target.rpartition(":")
    if not name or not function.isidentifier():
        raise LabkitError(f"{target!r}: give module:function, or path/to/file.py:function.")
    folder = os.getcwd()
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise LabkitError(f"There is no file {name!r} here.")
        folder, name = str(Path(name).resolve().parent), Path(name).stem
        if not name.isidentifier():
            raise LabkitError(
                f"Python cannot import {name!r}: rename the file, with no hyphen, dot or space."
            )
    sys.path.insert(0, folder)
    try:
        there = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        there = None
    if there is None:
        raise LabkitError(f"There is no module {name!r} in {folder} nor among those installed.")
    return name, function


def parameter(text):
    """(name, value) of a name=value of the command line; a value that is no Python literal is text."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise LabkitError(f"{text!r} is not name=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _facts(found, limit):
    """The Estimate as plain data: measured, predicted at doublings, the largest that fits."""
    largest = limit and found.largest(limit)
    sure = largest and found.largest(limit, sure=True)
    predicted = []
    for value in _values(found.at[1], largest):
        low, high = found.interval(value)
        predicted.append({found.over: value, "peak_bytes": found.peak_bytes(value), "low": low, "high": high})
    facts = {
        "measured": [{found.over: value, "peak_bytes": peak} for value, peak in found.measured.items()],
        "predicted": predicted,
        "notes": found.notes,
        "seconds": found.seconds,
    }
    return facts | ({"memory_limit": limit, "largest": largest, "largest_sure": sure} if limit else {})


def _values(tried, largest):
    """Doublings of what was tried, to a little beyond the largest that fits, and that one."""
    doublings = {tried * 2**power for power in range(1, 24)}
    high = 2 * largest if largest else 64 * tried
    return sorted({value for value in doublings if value <= high} | ({largest} if largest else set()))


def _table(facts, over):
    lines = [f"{over:>12}  {'peak':>10}"]
    lines += [_row(row, over, "measured") for row in facts["measured"]]
    for row in facts["predicted"]:
        low, high = format_size(row["low"]), format_size(row["high"])
        lines.append(_row(row, over, f"predicted, between {low} and {high}"))
    if "largest" in facts:
        lines.append(_verdict(facts, over))
    return "\n".join([*lines, *facts["notes"]])


def _row(row, over, said):
    return f"{row[over]:>12}  {format_size(row['peak_bytes']):>10}  {said}"


def _verdict(facts, over):
    limit = format_size(facts["memory_limit"])
    if not facts["largest"]:
        return f"Not even {over} 1 should fit {limit}."
    said = f"Up to {over} {facts['largest']} should fit {limit}"
    return f"{said}; to be on the safe side, {facts['largest_sure'] or 0}."


class _Line(Progress):
    """What a training prints goes to stderr: stdout is for the answer."""

    def output(self, text):
        sys.stderr.write(text)
