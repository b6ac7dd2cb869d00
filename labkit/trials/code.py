"""The reader's code on its way to the process of a trial: checked and pickled, once for many trials."""

import ast
import collections
import inspect
import io
import linecache
import types

import cloudpickle

from ..errors import LabkitError
from ..inside.execute import remember
from ..sizes import MIB, format_size

LARGE = 100 * MIB  # data that a function takes along is worth a word above this
OWN = ("memory_limit", "timeout", "profile", "seed")  # parameters that run() keeps for itself


class PackedCode:
    """A function, closures included, or source text, as bytes.

    Raises LabkitError for what is neither, and for what cannot be pickled.
    """

    def __init__(self, train, filename="<train>"):
        if isinstance(train, str):
            remember(train, filename)
        elif not callable(train):
            raise LabkitError(
                f"`train` is of type {type(train).__name__}; pass a function without parentheses after its "
                "name, `labkit.run(train)`, or source text."
            )
        elif any(map(_runs_later, (train, getattr(train, "__call__", None)))):  # noqa: B004 - it is looked at
            raise LabkitError(
                f"`train` is {'a generator' if inspect.isgeneratorfunction(train) else 'an async function'}: "
                "a call of it runs none of its code yet. Pass a function that runs it, such as "
                "`lambda: list(train())` or `lambda: asyncio.run(train())`."
            )
        self._train = train
        self.bytes = pickled({"train": train, "filename": filename, "sources": _sources()})

    def check(self, params):
        """Raise LabkitError where the code cannot be called with these parameters, a dict."""
        if isinstance(self._train, str):
            bad = [name for name in params if not name.isidentifier()]
            if bad:
                raise LabkitError(
                    f"{bad[0]!r} is not a valid variable name; parameters become variables of the source."
                )
            for name in params:
                if line := _overwritten(name, self._train):
                    raise LabkitError(
                        f"Line {line} of the code sets {name} itself, whatever value it is given: take "
                        "that out, so that the parameter counts."
                    )
            return
        signature = _signature(self._train)
        if signature is None:
            return
        try:
            signature.bind(**params)
        except TypeError as e:
            name = getattr(self._train, "__name__", "train")
            raise LabkitError(f"{e}. It is defined as {name}{signature}; pass parameters by name.") from None

    @property
    def note(self):
        """What the reader should know of it; "" if nothing."""
        notes = []
        if len(self.bytes) > LARGE:
            notes.append(
                f"`train` takes {format_size(len(self.bytes))} of data along from the notebook, copied for "
                "each trial: load the data inside the function."
            )
        signature = None if isinstance(self._train, str) else _signature(self._train)
        kept = [name for name in OWN if signature and name in signature.parameters]
        if kept:
            notes.append(
                f"`train` has a parameter {kept[0]!r}, which labkit.run() takes for itself: it kept its "
                "default. Give it another name."
            )
        return " ".join(notes)


def _overwritten(name, source):
    """The line in which the source sets a variable before it has read it; None if it does not."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return None  # running it says so
    for statement in body:
        used = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and node.id == name]
        if not used:
            continue
        if isinstance(statement, ast.AugAssign) or any(isinstance(node.ctx, ast.Load) for node in used):
            return None
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            return statement.lineno
    return None


def _runs_later(function):
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return any(kind(function) for kind in kinds)


def pickled(value):
    """The bytes of a value for another process. Raises LabkitError if it cannot be pickled."""
    try:
        written = io.BytesIO()
        _Pickler(written).dump(value)
        return written.getvalue()
    except Exception as e:
        raise LabkitError(
            f"`train` cannot be sent to another process: {e}. Create what it needs inside the "
            "function, or pass it as a parameter that can be pickled."
        ) from e


def _reduced(code):
    """How cloudpickle reduces code, but with the name of its file, for which 3.1.3 writes "<dynamic-code>".

    Tracebacks and AutoGraph find the source by it.
    """
    make, parts = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if part == "<dynamic-code>" else part for part in parts)


class _Pickler(cloudpickle.Pickler):
    dispatch_table = collections.ChainMap({types.CodeType: _reduced}, cloudpickle.Pickler.dispatch_table)


def _signature(function):
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # compiled code may not tell
        return None


def _sources():
    """The source of this kernel's cells, which are in no file, by the file name of their code."""
    cells = getattr(linecache, "_ipython_cache", {})  # in IPython 7.34 and 8.0 they have a time, as files do
    return {
        name: "".join(entry[2])
        for name, entry in linecache.cache.items()
        if len(entry) == 4 and (entry[1] is None or name in cells) and not name.startswith("<frozen")
    }
