"""Fixes to what fit, evaluate and predict are given."""

from . import rewrite
from .fix import OWN_LOOP, Fix, no_compile

DATA = ("x", "y", "sample_weight")
FOR_EITHER = ("accuracy", "acc", "crossentropy", "ce")  # metrics that Keras chooses by the targets
REWRITTEN = (*DATA, "validation_split", "validation_data", "validation_batch_size", "shuffle")

BATCHES = """class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays, batch_size, shuffle=False):
        super().__init__()
        self.arrays, self.batch_size, self.shuffle = keras.tree.lists_to_tuples(arrays), batch_size, shuffle
        self.order = np.arange(len(keras.tree.flatten(self.arrays)[0]))
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return keras.tree.map_structure(lambda array: array[rows], self.arrays)

    def on_epoch_end(self):
        if self.shuffle:
            np.random.shuffle(self.order)
"""
GENERATOR = """def batches(*arrays, batch_size, shuffle=False):
    arrays = keras.tree.lists_to_tuples(arrays)
    order = np.arange(len(keras.tree.flatten(arrays)[0]))
    while True:
        if shuffle:
            np.random.shuffle(order)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield keras.tree.map_structure(lambda array: array[rows], arrays)
"""
DATASET = """def dataset(*arrays, batch_size, shuffle=False):
    arrays = keras.tree.lists_to_tuples(arrays)
    order = np.arange(len(keras.tree.flatten(arrays)[0]))

    def batches():
        if shuffle:
            np.random.shuffle(order)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield keras.tree.map_structure(lambda array: array[rows], arrays)

    def spec(array):
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    specs = keras.tree.map_structure(spec, arrays)
    return tf.data.Dataset.from_generator(batches, output_signature=specs).prefetch(1)
"""


class Streamed(Fix):
    """Arrays given to fit, evaluate and predict go to the device batch by batch."""

    group, endless, shuffles_batches = "input", False, False

    def why_not(self, program):
        if program.fit is None:
            return OWN_LOOP.format("fit, whose arrays could be streamed")
        kind = program.fit["x"]["kind"]
        if kind == "tensors":
            return "fit is given tensors, which are on the device already: give it NumPy arrays."
        if kind != "arrays" and not program.fit["x"].get("stream", True):
            return f"fit is given a {kind}: only NumPy arrays can be streamed (np.asarray makes one)."
        if kind != "arrays":
            return f"fit is given a {kind}, which is a stream already."
        if other := _no_array(program.fit):
            return f"fit is given {other}: only NumPy arrays can be streamed (np.asarray makes one)."
        calls = map(rewrite.call_of, [program.fit, *self._evaluations(program)])
        unpacked = [name for call in calls for name in call.hidden if name in REWRITTEN]
        return f"{unpacked[0]} is given in what `train` unpacks with **: give it by name." if unpacked else ""

    def _evaluations(self, program):
        """Facts of the calls of evaluate and predict whose arrays are streamed too."""
        return [facts for facts in program.evaluations if not _no_array(facts)]

    def fit(self, model, given):
        from . import streams

        data = [given.get(name) for name in DATA]
        if not streams.streamable(data):
            return given
        given = streams.split(given)
        size = given.pop("batch_size", None) or 32
        data = [given.pop(name, None) for name in DATA]
        batches = streams.Batches(_filled(data), size)
        given["x"] = self.stream(batches, True)
        if self.endless:
            given.setdefault("steps_per_epoch", len(batches))
        validation = given.get("validation_data")
        if isinstance(validation, list | tuple) and streams.streamable(validation):
            held = streams.Batches(tuple(validation), given.pop("validation_batch_size", None) or size)
            given["validation_data"] = self.stream(held, True)
            if self.endless:
                given.setdefault("validation_steps", len(held))
        return given

    def evaluate(self, model, given):
        return self._streamed(given, DATA)

    def predict(self, model, given):
        return self._streamed(given, ("x",))

    def _streamed(self, given, names):
        from . import streams

        data = [given.get(name) for name in names]
        if not streams.streamable(data):
            return given
        batches = streams.Batches(_filled(data), given.pop("batch_size", None) or 32)
        return {k: v for k, v in given.items() if k not in names} | {"x": self.stream(batches, False)}

    def stream(self, batches, forever):
        return batches

    def call(self, arrays, size, shuffle="False"):
        """Code for the stream of these arrays."""
        shuffled = f", shuffle={shuffle}" if shuffle != "False" else ""
        return f"{self.function}({', '.join(arrays)}, batch_size={size}{shuffled})"

    def write(self, code, program):
        code.lines.append(self.definition)
        self._write_fit(code, program)
        for facts in self._evaluations(program):
            self._write_evaluation(code.call_of(facts), facts)

    def _write_evaluation(self, call, facts):
        size, data = _popped_size(call, facts), _popped_data(call)
        call["x"] = self.call(list(data.values()), size)
        if self.endless and "steps" not in facts.get("given", ()):
            call["steps"] = _steps(data["x"], facts["x"]["nested"], size)

    def _write_fit(self, code, program):
        call = code.call("fit")
        size, size_of_held = _popped_size(call, program.fit), call.pop("validation_batch_size")
        data, given = _popped_data(call), program.fit.get("given", ())
        nested = {name: program.fit.get(name, {}).get("nested") for name in data}
        arrays, held, held_nested = list(data.values()), [], nested["x"]
        shuffle = call.pop("shuffle", "True")
        if part := call.pop("validation_split"):
            code.lines.append(f"split = int({_length(data['x'], nested['x'])} * (1 - {part}))")
            held = [_rows(text, nested[name], "split:") for name, text in data.items()]
            arrays = [_rows(text, nested[name], ":split") for name, text in data.items()]
        elif "validation_data" in call and program.fit["validation"]["kind"] == "arrays":
            held, held_nested = rewrite.parts(call["validation_data"]), program.fit["validation"]["nested"]
        call["x"] = self.call(arrays, size, shuffle)
        if self.shuffles_batches and shuffle != "True":
            call["shuffle"] = shuffle
        if self.endless and "steps_per_epoch" not in given:
            call["steps_per_epoch"] = _steps(arrays[0], nested["x"], size)
        if held:
            call["validation_data"] = self.call(held, size_of_held or size)
            if self.endless and "validation_steps" not in given:
                call["validation_steps"] = _steps(held[0], held_nested, size_of_held or size)


def _no_array(facts):
    """What a call is given that is no NumPy array, in words; "" if there is nothing."""
    for name in DATA:
        kind = facts.get(name, {}).get("kind", "nothing")
        if kind not in ("arrays", "nothing"):
            return f"tensors as {name}" if kind == "tensors" else f"a {kind} as {name}"
    return ""


def _popped_size(call, facts):
    """The text of the batch size, taken out of a call."""
    text = call.pop("batch_size")
    return str(facts.get("batch_size") or 32) if text in (None, "None") else text


def _popped_data(call):
    """{name: text} of what a call is given as data, taken out of it."""
    data = {name: call.pop(name) for name in DATA}
    data["x"] = data["x"] or call.pop_unpacked() or "X"
    return {name: text for name, text in data.items() if text}


def _steps(text, nested, size):
    return f"-(-{_length(text, nested)} // {size})"


def _length(text, nested):
    """Code for the rows of an array, of a structure of arrays, or of what is unpacked (*data)."""
    unpacked = text.removeprefix("*")
    return f"len(keras.tree.flatten({unpacked})[0])" if nested or unpacked != text else f"len({text})"


def _rows(text, nested, rows):
    """Code for some rows of the same."""
    star, unpacked = text[: text.startswith("*")], text.removeprefix("*")
    if not (nested or star):
        return f"{rewrite.operand(text)}[{rows}]"
    return f"{star}keras.tree.map_structure(lambda array: array[{rows}], {unpacked})"


def _filled(data):
    return tuple(piece for piece in data if piece is not None)


class AsPyDataset(Streamed):
    name, lesson, definition, function = "batches from a PyDataset", "06", BATCHES, "Batches"
    shuffles_batches = True


class AsGenerator(Streamed):
    name, lesson, definition, function = "batches from a generator", "07", GENERATOR, "batches"
    endless = True

    def why_not(self, program):
        if program.fit and program.fit["class_weight"]:
            return "Keras takes no class_weight with a generator."
        return super().why_not(program)

    def stream(self, batches, forever):
        from . import streams

        return streams.generator(batches, forever)


class AsDataset(Streamed):
    name, lesson, definition, function = "batches from tf.data", "05", DATASET, "dataset"

    def stream(self, batches, forever):
        from . import streams

        return streams.dataset(batches)


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
        code.call("compile")["loss"] = _loss_of_numbers(program.compile["loss"])
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


class SmallerEvaluation(Fix):
    """Validation, evaluate and predict in batches no larger than those of training."""

    name, group, lesson = "evaluation in smaller batches", "evaluation", "09"
    usual = size = 32  # of batches of fit: where it is not told, and the last

    def of(self, trainings):
        fix = SmallerEvaluation()
        fix.usual = fix.size = trainings[0].training_size
        return fix

    def why_not(self, program):
        if program.fit is None:
            return OWN_LOOP.format("fit, with whose batches those of evaluation could be compared")
        if _validates_in_larger_batches(program) or program.evaluated_in_larger_batches:
            return ""
        return "Nothing is evaluated in larger batches than those of training."

    def fit(self, model, given):
        self.size = given.get("batch_size") or self.usual
        if given.get("validation_batch_size"):
            given["validation_batch_size"] = min(self.size, given["validation_batch_size"])
        return given

    def evaluate(self, model, given):
        return given | {"batch_size": min(self.size, given.get("batch_size") or 32)}

    predict = evaluate

    def write(self, code, program):
        if _validates_in_larger_batches(program):
            code.call("fit")["validation_batch_size"] = str(program.training_size)
        for facts in program.evaluated_in_larger_batches:
            code.call_of(facts)["batch_size"] = str(program.training_size)


def _validates_in_larger_batches(program):
    return (program.fit["validation_batch_size"] or 0) > program.training_size
