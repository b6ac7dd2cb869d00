"""The commands `estimate` and `find-batch-size`, for a function in a user's module.

Only the trials import that module: this process does not load TensorFlow.
"""

import ast
import importlib.util
import json
import os
import sys
from pathlib import Path

from ..errors import LabkitError, NothingFits
from ..machine import parse_limit
from ..predict.estimation import Estimating
from ..predict.search import Searching
from ..show import tables
from ..sizes import format_size
from ..trials.console import Progress


def add(add_command):
    """Add both commands, with a function (name, run, help, example) that returns the parser of each."""
    summary = "Predict the peak memory of training at batch sizes not run. Status 0; 1 if nothing fits."
    example = "python -m labkit estimate mymodule:train --memory-limit 8GiB steps=3"
    command = _with_common(add_command("estimate", _estimate, summary, example))
    command.add_argument(
        "--memory-limit", metavar="SIZE", help="such as 8GiB: also predict the largest value that fits"
    )
    command.add_argument(
        "--layers", nargs="+", metavar="NAME=VALUE",
        help="also print the predicted peak layer by layer at these values, such as batch_size=64",
    )  # fmt: skip
    summary = (
        "Find the largest batch size that fits a memory limit, by real trials. Status 0; 1 if none fits."
    )
    example = "python -m labkit find-batch-size train.py:train --memory-limit 8GiB --multiple-of 8"
    command = _with_common(add_command("find-batch-size", _find_batch_size, summary, example))
    command.add_argument("--memory-limit", metavar="SIZE", required=True, help="such as 8GiB")
    command.add_argument(
        "--maximum", type=int, default=65536, help="largest value to consider; default 65536"
    )
    command.add_argument("--multiple-of", type=int, default=1, metavar="N", help="only multiples of N")
    command.add_argument("--powers-of-two", action="store_true", help="only 1, 2, 4, 8, ...")
    command.add_argument(
        "--margin", type=float, default=0.0, help="fraction of the limit to keep free; default 0"
    )


def _with_common(command):
    command.add_argument(
        "train", nargs="?", help="the training function: module:function or path/to/file.py:function"
    )
    command.add_argument(
        "parameters", nargs="*", metavar="name=value", help="other parameters of the function"
    )
    command.add_argument(
        "--over", action="append", metavar="NAME",
        help="parameter to vary; default batch_size. For `estimate` it can be given several times.",
    )  # fmt: skip
    command.add_argument(
        "--at", nargs="+", default=["4", "8"], metavar="N",
        help="two or three small values to try, such as 4 8 (the default) or 4 8 16; of several parameters "
        "batch_size=4,8 length=32,64",
    )  # fmt: skip
    command.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="per trial; default 600"
    )
    return command


def _estimate(arguments):
    limit = arguments.memory_limit and parse_limit(arguments.memory_limit)
    _sort_out(arguments)
    train, options = trial_options(arguments)
    over = arguments.over if len(arguments.over) > 1 else arguments.over[0]
    try:
        estimate = Estimating(train, _at(arguments), over, memory_limit=limit, **options).run()
    except NothingFits as e:
        return _nothing_fits(arguments, {"memory_limit": limit, "largest": None}, e)
    layers = arguments.layers and estimate.layers(**dict(map(parameter, arguments.layers)))
    facts = _facts(estimate, limit) if len(estimate.names) == 1 else _facts_of_several(estimate, limit)
    if arguments.json:
        print(json.dumps(facts | ({"layers": layers.to_dicts()} if layers else {}), indent=2))
    else:
        lines = _table(facts, over) if len(estimate.names) == 1 else _table_of_several(facts, estimate)
        print("\n".join([lines, *estimate.moment_text(), *([f"\n{layers.unfolded()}"] if layers else [])]))
    return 1 if limit and facts["largest"] is None else 0


def _find_batch_size(arguments):
    _sort_out(arguments)
    if len(arguments.over) > 1:
        raise LabkitError("find-batch-size looks for the largest value of one parameter: give one to --over.")
    train, options = trial_options(arguments)
    options |= {
        name: getattr(arguments, name) for name in ("maximum", "multiple_of", "powers_of_two", "margin")
    }
    over = arguments.over[0]
    try:
        result = Searching(train, arguments.memory_limit, over, at=_at(arguments), **options).run()
    except NothingFits as e:
        return _nothing_fits(arguments, {over: None}, e)
    tried = [{over: value, "status": o.status, "peak_bytes": o.peak_bytes} for value, o in result.history]
    facts = {over: result.batch_size, "trials": result.trials, "ooms": result.ooms, "tried": tried}
    facts |= {"seconds": result.seconds, "notes": result.notes}
    print(json.dumps(facts, indent=2) if arguments.json else result)
    return 0


def _sort_out(arguments):
    """Take the function and its parameters out of the lists of values that they stand behind."""
    arguments.over = arguments.over or ["batch_size"]
    for name in ("at", "layers"):
        given = getattr(arguments, name, None) or []
        own = [t for t in given if t.partition("=")[0] in arguments.over or not {"=", ":"} & set(t)]
        for text in (text for text in given if text not in own):
            if "=" in text:
                arguments.parameters.append(text)
            else:
                arguments.train = arguments.train or text
        if given:
            setattr(arguments, name, own)
    if not arguments.train:
        raise LabkitError("Give the training function: module:function, or path/to/file.py:function.")


def _at(arguments):
    """The values to try: a tuple of integers, or {parameter: tuple} from texts such as batch_size=4,8."""
    try:
        if all("=" not in text for text in arguments.at):
            values = tuple(int(text) for text in arguments.at)
            if len(values) in (2, 3):
                return values if len(arguments.over) == 1 else dict.fromkeys(arguments.over, values)
        pairs = [text.split("=") for text in arguments.at]
        return {name: tuple(int(value) for value in values.split(",")) for name, values in pairs}
    except ValueError:
        pass
    raise LabkitError(
        f"--at {' '.join(arguments.at)}: give two or three whole numbers, such as --at 4 8, or for several "
        f"parameters --at {' '.join(f'{name}=4,8' for name in arguments.over)}."
    )


def _nothing_fits(arguments, facts, error):
    print(json.dumps(facts | {"why": str(error)}, indent=2) if arguments.json else error)
    return 1


def trial_options(arguments):
    """(train, options) of the trials: their source text, and the other arguments."""
    params = dict(map(parameter, arguments.parameters))
    names = ", ".join(f"{name}={name}" for name in dict.fromkeys([*arguments.over, *params]))
    module, function = _locate(arguments.train)
    train = f"from {module} import {function} as labkit_train\nlabkit_train({names})\n"
    return train, {
        "show": _StderrProgress(", ".join(arguments.over)),
        "timeout": arguments.timeout,
        "seed": 0,
        "params": params,
    }


def _locate(target):
    """(module, function) of "module:function" or "path/to/file.py:function"; puts its folder on sys.path."""
    name, _, function = target.rpartition(":")
    if not name or not function.isidentifier():
        raise LabkitError(f"{target!r}: give module:function, or path/to/file.py:function.")
    folder, file = os.getcwd(), None
    if name.endswith(".py"):
        if not os.path.isfile(name):
            raise LabkitError(f"There is no file {name!r} here.")
        file = Path(name).resolve()
        folder, name = str(file.parent), file.stem
        if not name.isidentifier():
            raise LabkitError(
                f"Python cannot import {name!r}: use a file name without hyphens, dots and spaces."
            )
    sys.path.insert(0, folder)
    package = name.partition(".")[0]  # a module in it is looked for by the trial: here, the package would run
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise LabkitError(f"There is no module {package!r} in {folder} or among the installed packages.")
    if file and (name in sys.stdlib_module_names or Path(spec.origin or "").resolve() != file):
        raise LabkitError(f"Python has another module {name!r}: give {file.name} another name.")
    return name, function


def parameter(text):
    """(name, value) of a name=value argument; a value that is not a Python literal is a string."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise LabkitError(f"{text!r} is not name=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return name, value


def _facts(estimate, limit):
    """The Estimate as plain data: measured peaks, predicted peaks at doublings, the largest that fits."""
    largest = limit and estimate.largest(limit)
    sure = largest and estimate.largest(limit, sure=True)
    predicted = []
    for value in _values(estimate.at[-1], largest, estimate.rows):
        low, high = estimate.interval(value)
        predicted.append(
            {estimate.over: value, "peak_bytes": estimate.peak_bytes(value), "low": low, "high": high}
        )
    facts = {
        "measured": [{estimate.over: value, "peak_bytes": peak} for value, peak in estimate.measured.items()],
        "predicted": predicted,
        "notes": estimate.notes,
        "seconds": estimate.seconds,
    }
    if not limit:
        return facts
    why = {} if largest else {"why": estimate.what_is_too_large(limit)}
    return facts | {"memory_limit": limit, "largest": largest, "largest_sure": sure, **why}


def _facts_of_several(estimate, limit):
    """The Estimate over several parameters as plain data; with a limit and two parameters, the frontier."""
    points = [dict(zip(estimate.names, values, strict=True)) for values in estimate.measured]
    peaks = estimate.measured.values()
    predicted = []
    for point in estimate.points((2, 4, 8)):
        low, high = estimate.interval(**point)
        predicted.append({**point, "peak_bytes": estimate.peak_bytes(**point), "low": low, "high": high})
    facts = {
        "measured": [{**point, "peak_bytes": peak} for point, peak in zip(points, peaks, strict=True)],
        "predicted": predicted,
        "notes": estimate.notes,
        "seconds": estimate.seconds,
    }
    if not limit or len(estimate.names) != 2:
        return facts
    first, second = estimate.names
    frontier = [{second: v, first: most} for v, most in estimate.frontier(limit).items() if most]
    return facts | {"memory_limit": limit, "largest": frontier or None}


def _table_of_several(facts, estimate):
    rows = [
        {**{name: str(row[name]) for name in estimate.names}, "peak": format_size(row["peak_bytes"])}
        | {"": f"predicted, between {format_size(row['low'])} and {format_size(row['high'])}"
           if "low" in row else "measured"}
        for row in facts["measured"] + facts["predicted"]
    ]  # fmt: skip
    lines = [tables.text(rows)]
    if facts.get("memory_limit"):
        lines.append(f"The largest {estimate.names[0]} that should fit {format_size(facts['memory_limit'])}:")
        if facts["largest"]:
            lines.append(tables.text([{k: str(v) for k, v in row.items()} for row in facts["largest"]]))
        else:
            lines.append("none")
    return "\n".join([*lines, *facts["notes"]])


def _values(tried, largest, rows):
    """Doublings of the value tried, up to twice the largest that fits, and that one; no more than rows."""
    doublings = {tried * 2**power for power in range(1, 24)}
    high = 2 * largest if largest else 64 * tried
    high = min(high, rows or high)
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


def _row(row, over, source):
    return f"{row[over]:>12}  {format_size(row['peak_bytes']):>10}  {source}"


def _verdict(facts, over):
    limit = format_size(facts["memory_limit"])
    if not facts["largest"]:
        return f"Not even {over} 1 should fit {limit}. {facts['why']}"
    sure = facts["largest_sure"]
    advice = f"to be safe, use {sure}" if sure else "no value is certain to fit"
    return f"Up to {over} {facts['largest']} should fit {limit}; {advice}."


class _StderrProgress(Progress):
    """A progress line for which the output of `train` goes to stderr: stdout is for the result."""

    def output(self, text):
        sys.stderr.write(self.without_repeated_warnings(text))
