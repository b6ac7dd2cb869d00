"""The reader's own calls of compile, fit, evaluate and predict, as text, with their arguments changed."""

import ast
import linecache
import os
import sys

ORDER = {
    "compile": ["optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly"],
    "fit": [
        "x", "y", "batch_size", "epochs", "verbose", "callbacks", "validation_split", "validation_data",
        "shuffle", "class_weight", "sample_weight", "initial_epoch", "steps_per_epoch", "validation_steps",
        "validation_batch_size", "validation_freq",
    ],
    "evaluate": ["x", "y", "batch_size", "verbose", "sample_weight", "steps"],
    "predict": ["x", "batch_size", "verbose", "steps"],
}  # fmt: skip
USUAL = {
    "fit": "model.fit(X, y, batch_size=batch_size)",
    "compile": "model.compile(optimizer, loss)",
    "evaluate": "model.evaluate(X, y, batch_size=batch_size)",
    "predict": "model.predict(X, batch_size=batch_size)",
}


def call_text(method):
    """The text of the reader's call of a method that is running now; "" if its source is not to be had."""
    frame = sys._getframe(1)
    while frame and not _is_the_readers(frame, method):
        frame = frame.f_back
    if frame is None:
        return ""
    call = _call_at(frame, method)
    return ast.unparse(call) if call else ""


def _is_the_readers(frame, method):
    return f".{method}(" in "".join(_lines_around(frame)) and _call_at(frame, method) is not None


def _lines_around(frame):
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    return lines[max(0, frame.f_lineno - 40) : frame.f_lineno]


def _call_at(frame, method):
    """The innermost call of the method that spans the line at which the frame is."""
    if frame.f_code.co_filename.startswith(_not_the_readers()):
        return None
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals)))
    except SyntaxError:
        return None
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
        and node.lineno <= frame.f_lineno <= node.end_lineno
    ]
    return min(calls, key=lambda call: call.end_lineno - call.lineno, default=None)


def _not_the_readers():
    """The folders of Keras and of labkit.fixes."""
    import keras

    return tuple(
        os.path.join(os.path.dirname(path), "") for path in (keras.__file__, os.path.dirname(__file__))
    )


class Call:
    """A call of fit, compile, evaluate or predict whose arguments can be read and changed, all as text.

    >>> call = Call("model.fit(X, y, 32)", "fit")
    >>> call["batch_size"] = "16"
    >>> str(call)
    'model.fit(X, y, batch_size=16)'

    given    the arguments that Keras got by it
    .hidden  those of them that the call unpacks (**options) and does not name
    .behind  those of them that stand behind x and y in what it unpacks (*data): they cannot be changed
    """

    def __init__(self, text, method, given=()):
        node = ast.parse(text or USUAL[method], mode="eval").body
        self._order, self._function = ORDER[method], ast.unparse(node.func)
        positional = list(map(ast.unparse, node.args))
        has_unpacked = any(isinstance(arg, ast.Starred) for arg in node.args)
        self._unpacked = positional if has_unpacked else []  # which is which is not known
        self._arguments = {} if has_unpacked else dict(zip(self._order, positional, strict=False))
        self._arguments |= {each.arg: ast.unparse(each.value) for each in node.keywords if each.arg}
        self._options = [f"**{ast.unparse(each.value)}" for each in node.keywords if not each.arg]
        named = {*self._arguments, *({"x", "y"} if has_unpacked else ())}
        others = [name for name in given if name not in named]
        self.hidden = others if self._options else []
        self.behind = others if has_unpacked and not self._options else []

    def __contains__(self, name):
        return name in self._arguments

    def __getitem__(self, name):
        return self._arguments[name]

    def __setitem__(self, name, text):
        self._arguments[name] = text

    def get(self, name, default=None):
        return self._arguments.get(name, default)

    def pop(self, name, default=None):
        """Remove an argument; returns its text."""
        return self._arguments.pop(name, default)

    def pop_unpacked(self):
        """Remove positional arguments among which some are unpacked; returns their text, such as "*data"."""
        texts, self._unpacked = self._unpacked, []
        return f"*({', '.join(texts)})" if len(texts) > 1 else "".join(texts)

    def __str__(self):
        positional, named = [], dict(self._arguments)
        for name in self._order[:2] if not self._unpacked else ():
            if name not in named or name in (*self.hidden, "batch_size"):
                break
            positional.append(named.pop(name))
        instead = [f"{name!r}: {named.pop(name)}" for name in self.hidden if name in named]
        options = [f"**{{{', '.join([*self._options, *instead])}}}"] if instead else self._options
        named = [f"{name}={text}" for name, text in named.items()]
        return f"{self._function}({', '.join([*self._unpacked, *positional, *named, *options])})"


def call_of(facts):
    """The Call of which these are facts."""
    return Call(facts["call"], facts["kind"], facts.get("given", ()))


def operand(text):
    """The same text, so that [rows] or .method() can follow it.

    >>> operand("X / 255")
    '(X / 255)'
    """
    node = ast.parse(text, mode="eval").body
    return text if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call) else f"({text})"


def is_name(text):
    """Whether it is a name, perhaps with a dot: self.images."""
    return all(part.isidentifier() for part in text.split("."))


def parts(text):
    """The elements of a tuple or list that is written out, as text; else one text that unpacks it.

    >>> parts("(X[:64], y[:64])")
    ['X[:64]', 'y[:64]']
    """
    node = ast.parse(text, mode="eval").body
    if isinstance(node, ast.Tuple | ast.List):
        return [ast.unparse(each) for each in node.elts]
    return [f"*{text}"]


class Code:
    """What to change in the reader's program: lines to add, and calls with other arguments."""

    def __init__(self, program):
        self._program, self._calls, self.lines = program, {}, []

    def call(self, method):
        """The Call of fit or compile, to be changed."""
        return self.call_of(getattr(self._program, method) or {"call": "", "kind": method})

    def call_of(self, facts):
        """The Call of which these are facts, to be changed."""
        return self._calls.setdefault((facts["kind"], facts["call"]), call_of(facts))

    def change(self, facts, name, text):
        """Give the call of these facts another argument, or say so where it cannot be written."""
        if name in call_of(facts).behind:
            self.say(facts, f"the {name} that it unpacks", f"{name}={text}")
        else:
            self.call_of(facts)[name] = text

    def say(self, facts, old, new):
        """Say what to change where the call does not show it."""
        self.lines.append(f"# give {facts['kind']} {new} in the place of {old}")

    @property
    def calls(self):
        """The calls that were asked for, as text."""
        return [str(call) for each in ORDER for (method, _), call in self._calls.items() if method == each]

    def __str__(self):
        return "\n".join([*self.lines, *self.calls])
