"""Fixes to what fit, evaluate and predict are given."""

from . import rewrite
from .fix import OWN_LOOP, Fix, no_compile

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
        return "" if kind == "arrays" else f"fit is given a {kind}, which is a stream already."

    def fit(self, model, given):
        from . import streams

        data = (given.get("x"), given.get("y"), given.get("sample_weight"))
        if not streams.streamable(data):
            return given
        given = streams.split(given)
        size = given.pop("batch_size", None) or 32
        data = [given.pop(name, None) for name in ("x", "y", "sample_weight")]
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
        return self._streamed(given, ("x", "y", "sample_weight"))

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
        call = code.call("fit")
        size, size_of_held = call.pop("batch_size", "32"), call.pop("validation_batch_size")
        data = {name: call.pop(name) for name in ("x", "y", "sample_weight")}
        data["x"] = data["x"] or call.pop_unpacked() or "X"
        data = {name: text for name, text in data.items() if text}
        nested = {name: program.fit.get(name, {}).get("nested") for name in data}
        arrays, held, held_nested = list(data.values()), [], nested["x"]
        shuffle = call.pop("shuffle", "True")
        code.lines.append(self.definition)
        if part := call.pop("validation_split"):
            code.lines.append(f"split = int({_length(data['x'], nested['x'])} * (1 - {part}))")
            held = [_rows(text, nested[name], "split:") for name, text in data.items()]
            arrays = [_rows(text, nested[name], ":split") for name, text in data.items()]
        elif "validation_data" in call and program.fit["validation"]["kind"] == "arrays":
            held, held_nested = rewrite.parts(call["validation_data"]), program.fit["validation"]["nested"]
        call["x"] = self.call(arrays, size, shuffle)
        if self.shuffles_batches and shuffle != "True":
            call["shuffle"] = shuffle
        if self.endless:
            call["steps_per_epoch"] = f"-(-{_length(arrays[0], nested['x'])} // {size})"
        if held:
            call["validation_data"] = self.call(held, size_of_held or size)
            if self.endless:
                call["validation_steps"] = f"-(-{_length(held[0], held_nested)} // {size_of_held or size})"


def _length(text, nested):
    """Code for the rows of an array, of a structure of arrays, or of what is unpacked (*data)."""
    unpacked = text.removeprefix("*")
    return f"len(keras.tree.flatten({unpacked})[0])" if nested or unpacked != text else f"len({text})"


def _rows(text, nested, rows):
    """Code for some rows of the same."""
    star, unpacked = text[: text.startswith("*")], text.removeprefix("*")
    if not (nested or star):
        return f"{text}[{rows}]"
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
        if program.fit is None or program.compile is None:
            return no_compile(program)
        loss = program.compile["loss"]
        if not program.fit["one_hot"]:
            return "The targets are not one-hot."
        if loss["name"] != "categorical_crossentropy" or loss.get("label_smoothing"):
            return f"The loss {loss['name']!r} needs them as they are."
        if "Categorical" in program.compile["metrics"] or "AUC" in program.compile["metrics"]:
            return "A metric needs them as they are."
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
        target = code.call("fit").get("y", "y")
        code.change("fit", "y", target, f"{target}.argmax(axis=-1)")
        call = code.call("compile")
        loss = call.get("loss", "'categorical_crossentropy'")
        loss = loss.replace("categorical_crossentropy", "sparse_categorical_crossentropy")
        call["loss"] = loss.replace("CategoricalCrossentropy", "SparseCategoricalCrossentropy")


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
                array = rewrite.Call(program.fit["call"], "fit").get(name, name)
                narrowed = f'{array}.astype("float32")'
                if program.fit[name]["nested"]:
                    narrowed = (
                        "keras.tree.map_structure(\n"
                        '    lambda array: array.astype("float32") if array.dtype == "float64" else array, '
                        f"{array}\n)"
                    )
                code.change("fit", name, array, narrowed)


class SmallerEvaluation(Fix):
    """Validation, evaluate and predict in batches no larger than those of training."""

    name, group, lesson = "evaluation in smaller batches", "evaluation", "09"
    size = None

    def why_not(self, program):
        larger = program.fit and (program.fit["validation_batch_size"] or 0) > program.training_size
        if larger or program.evaluated_in_larger_batches:
            return ""
        return "Nothing is evaluated in larger batches than those of training."

    def fit(self, model, given):
        if given.get("validation_batch_size"):
            given["validation_batch_size"] = given.get("batch_size") or 32
        self.size = given.get("batch_size") or 32
        return given

    def evaluate(self, model, given):
        if self.size and given.get("batch_size"):
            given["batch_size"] = min(self.size, given["batch_size"])
        return given

    predict = evaluate

    def write(self, code, program):
        if program.fit["validation_batch_size"]:
            code.call("fit")["validation_batch_size"] = str(program.training_size)
        for method in program.evaluated_in_larger_batches:
            code.call(method)["batch_size"] = str(program.training_size)
