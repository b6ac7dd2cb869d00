"""Inside a trial: run the reader's code, describe its failure, save its result."""

import ast
import linecache
import sys
import traceback
import types

from .. import gpus
from ..logs.dumpfile import just_refused
from ..logs.forms import BUSY
from ..logs.messages import CONSTANT

OOM_MARKS = (
    "dst tensor is not initialized",
    "resource_exhausted",
    "out of memory",
    "out_of_memory",
    "_alloc_failed",
)


def run(folder, echo):
    """Run the code in the TrialFolder; returns the status, and the error as plain data."""
    try:
        result = _call(folder, echo)
    except SystemExit as e:
        if e.code in (None, 0):
            return {"status": "ok"}
        return {"status": "error", "error": describe(e)}
    except BaseException as e:
        return {"status": "oom" if _is_oom(e, folder) else "error", "error": describe(e)}
    return {"status": "ok", **_save(result, folder)}


def _call(folder, echo):
    import cloudpickle

    code, params = (cloudpickle.loads(path.read_bytes()) for path in (folder.code, folder.params))
    for name, source in code["sources"].items():
        remember(source, name)
    if callable(code["train"]):
        return code["train"](**params)
    return execute(code["train"], code["filename"], params, echo)


def remember(source, filename):
    """Have the lines of source found by its name: AutoGraph reads what it traces, tracebacks show it."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def execute(source, filename, variables, echo=False):
    """Run source as a notebook runs a cell; returns the value of a final expression."""
    module = types.ModuleType("__main__")
    module.__dict__.update(variables)
    sys.modules["__main__"] = module
    tree = ast.parse(source, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, filename, "exec"), module.__dict__)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), filename, "eval"), module.__dict__)
    if echo and value is not None and type(value).__name__ != "History":
        print(repr(value))
    return value


def _is_oom(error, folder):
    import tensorflow as tf

    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return True
    if not isinstance(error, tf.errors.OpError):
        return False
    text = _text(error)
    hidden = CONSTANT in text and bool(folder.dumps())
    said = any(mark in text.lower() for mark in OOM_MARKS)
    return hidden or said or _was_just_refused(error, folder) or _found_no_room(text)


def _found_no_room(text):
    """Whether CUDA could not open the GPU because hardly any of its memory is free: it calls that "busy"."""
    return BUSY in text and any(gpus.is_full(gpu) for gpu in gpus.visible_gpus()[:1])


def _was_just_refused(error, folder):
    """Whether an op failed without a reason right after it was refused memory, as NVIDIA's LSTM does."""
    import tensorflow as tf

    unexplained = isinstance(error, tf.errors.InternalError | tf.errors.UnknownError)
    return unexplained and just_refused(folder.dumps())


def describe(error):
    """An exception as plain data. The kernel, which has the reader's source, fills in the source lines."""
    frames = readers_frames(traceback.walk_tb(error.__traceback__))
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno, "<module>", error.text))
    return {"type": type(error).__name__, "message": _text(error), "frames": frames}


def _text(error):
    try:
        return str(error)
    except BaseException as e:
        return f"(no text: the exception's own __str__ raised {type(e).__name__})"


def readers_frames(walked):
    """(file, line, function, text) of the reader's frames, outermost first. walked: (frame, line) of all."""
    walked = list(walked)
    calls = [place for place, (frame, _) in enumerate(walked) if frame.f_code in _CALLS]
    below = walked[max(calls, default=-1) + 1 :]
    return list(map(tuple, traceback.StackSummary.extract(iter(below))))


_CALLS = {_call.__code__, execute.__code__}  # these call the reader's code


def _save(result, folder):
    """Save the result where the kernel finds it, in types that it can load without TensorFlow."""
    if result is None:
        return {}
    try:
        with open(folder.result, "wb") as file:
            _result_pickler(file).dump(result)
    except Exception as e:
        folder.result.unlink(missing_ok=True)
        why = f"`train` returned a {type(result).__name__}, which cannot be sent to the kernel: {e}"
        return {"note": f"{why}. Return numbers or arrays."}
    return {}


def _result_pickler(file):
    import cloudpickle
    import keras
    import numpy as np
    import tensorflow as tf

    class ResultPickler(cloudpickle.Pickler):
        def reducer_override(self, value):
            if isinstance(value, tf.Tensor | tf.Variable | keras.Variable):
                return np.asarray, (np.asarray(value),)
            if isinstance(value, keras.callbacks.History):
                facts = {"history": value.history, "epoch": value.epoch, "params": value.params}
                return _namespace, (facts,)
            return super().reducer_override(value)

    return ResultPickler(file)


def _namespace(facts):
    return types.SimpleNamespace(**facts)
