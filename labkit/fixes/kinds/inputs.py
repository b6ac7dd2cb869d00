"""Fixes that stream: fit, evaluate and predict are given batches instead of whole arrays."""

from . import rewrite
from .fix import OWN_LOOP, Fix

DATA = ("x", "y", "sample_weight")
REWRITTEN = (*DATA, "validation_split", "validation_data", "validation_batch_size", "shuffle")

BATCHES = """# needs: import keras, numpy as np
class Batches(keras.utils.PyDataset):
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
GENERATOR = """# needs: import keras, numpy as np
def batches(*arrays, batch_size, shuffle=False):
    arrays = keras.tree.lists_to_tuples(arrays)
    order = np.arange(len(keras.tree.flatten(arrays)[0]))
    while True:
        if shuffle:
            np.random.shuffle(order)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield keras.tree.map_structure(lambda array: array[rows], arrays)
"""
DATASET = """# needs: import keras, numpy as np, tensorflow as tf
def dataset(*arrays, batch_size, shuffle=False):
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
        calls = list(map(rewrite.call_of, [program.fit, *self._evaluations(program)]))
        unpacked = [(name, "**") for call in calls for name in call.hidden if name in REWRITTEN]
        unpacked += [(name, "*") for call in calls for name in call.behind]
        for name, stars in unpacked:
            return f"{name} is given in what `train` unpacks with {stars}: give it by name."
        return ""

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
