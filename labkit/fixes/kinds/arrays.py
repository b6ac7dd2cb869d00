"""Fixes to what is in the arrays: one number for a class instead of a vector, four bytes instead of eight."""

from . import rewrite
from .fix import OWN_LOOP, Fix, no_compile

FOR_EITHER = ("accuracy", "acc", "crossentropy", "ce")  # metrics that Keras chooses by the targets


class IntegerTargets(Fix):
    """One number for each class instead of a row of zeros and a one."""

    name, group, lesson = "integers as targets", "targets", "01"

    def why_not(self, program):
        if program.compile is None:
            return no_compile(program)
        if program.fit is None:
            return OWN_LOOP.format("fit, whose targets could be changed")
        loss = program.compile["loss"]
        if not program.fit["one_hot"]:
            return "The targets are not one-hot."
        if loss["name"] != "categorical_crossentropy" or loss.get("label_smoothing"):
            return f"The loss {loss['name']!r} needs them as they are."
        needing = [metric for metric in program.compile["metrics"] if metric not in FOR_EITHER]
        if needing:
            return f"The metric {needing[0]} may need them as they are."
        return ""

    def compile(self, model, given):
        import keras

        logits = getattr(given.get("loss"), "get_config", dict)().get("from_logits", False)
        return given | {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=logits)}

    def fit(self, model, given):
        given = self.evaluate(model, given)
        validation = given.get("validation_data")
        if isinstance(validation, list | tuple) and len(validation) > 1:
            x, y, *rest = validation
            given["validation_data"] = (x, _numbers(y), *rest)
        return given

    def evaluate(self, model, given):
        return given | {"y": _numbers(given["y"])} if given.get("y") is not None else given

    def write(self, code, program):
        code.change(program.compile, "loss", _loss_of_numbers(program.compile["loss"]))
        for facts in [program.fit, *program.evaluations]:
            if facts.get("one_hot"):
                _write_numbers(code, facts)
        if program.fit.get("validation_one_hot"):
            _write_held_numbers(code, program.fit)


def _loss_of_numbers(loss):
    if not loss.get("is_object"):
        return "'sparse_categorical_crossentropy'"
    logits = "from_logits=True" if loss.get("from_logits") else ""
    return f"keras.losses.SparseCategoricalCrossentropy({logits})"


def _write_numbers(code, facts):
    if "y" in rewrite.call_of(facts):
        call = code.call_of(facts)
        call["y"] = _as_numbers(call["y"])
    else:
        code.say(facts, "y", _as_numbers("y"))


def _write_held_numbers(code, facts):
    """The targets of validation_data as numbers, where it is a tuple that is written out, or has a name."""
    text = rewrite.call_of(facts).get("validation_data", "")
    x, *others = rewrite.parts(text) if text else [""]
    if not others and rewrite.is_name(text):
        x, others = f"{text}[0]", [f"{text}[1]", f"*{text}[2:]"]
    if others and not any(part.startswith("*") for part in (x, others[0])):
        held = [x, _as_numbers(others[0]), *others[1:]]
        code.call_of(facts)["validation_data"] = f"({', '.join(held)})"
    else:
        code.say(facts, "the targets of validation_data", _as_numbers("y"))


def _as_numbers(text):
    return f"{rewrite.operand(text)}.argmax(axis=-1)"


def _numbers(y):
    from .streams import is_one_hot

    return y.argmax(axis=-1).astype("int32") if is_one_hot(y) else y


class Narrowed(Fix):
    """Arrays of float64 as float32 before Keras makes a copy of them."""

    name, group, lesson = "float64 inputs as float32", "dtype", "01"

    def why_not(self, program):
        if program.fit is None:
            return OWN_LOOP.format("fit")
        dtypes = program.fit["x"].get("dtypes", []) + program.fit["y"].get("dtypes", [])
        return "" if "float64" in dtypes else "No array that fit is given is float64."

    def fit(self, model, given):
        import numpy as np
        import tensorflow as tf

        def narrow(leaf):
            is_wide = isinstance(leaf, np.ndarray) and leaf.dtype == np.float64
            return leaf.astype("float32") if is_wide else leaf

        names = [name for name in ("x", "y") if given.get(name) is not None]
        return given | {name: tf.nest.map_structure(narrow, given[name]) for name in names}

    def write(self, code, program):
        for name in ("x", "y"):
            if "float64" in program.fit[name].get("dtypes", []):
                self._write_narrowed(code, program.fit, name)

    def _write_narrowed(self, code, facts, name):
        array = rewrite.call_of(facts).get(name)
        if array is None:
            code.say(facts, name, f'{name}.astype("float32")')
            return
        narrowed = f'{rewrite.operand(array)}.astype("float32")'
        if facts[name]["nested"]:
            narrowed = (
                "keras.tree.map_structure(\n"
                '    lambda array: array.astype("float32") if array.dtype == "float64" else array, '
                f"{array}\n)"
            )
        if rewrite.is_name(array):
            code.lines.append(f"{array} = {narrowed}")
        else:
            code.call_of(facts)[name] = narrowed
