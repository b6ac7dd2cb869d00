"""Fixes to how a model is made, trained and evaluated: its precision, batches, optimizer, compilation."""

import ast

from .fix import OWN_LOOP, Fix, keeps_its_optimizers, no_compile
from .rewrite import call_of

ACCUMULATION = "gradient_accumulation_steps"

SLOTS = {
    "sgd": 0, "adafactor": 0.1, "lion": 1, "rmsprop": 1, "adagrad": 1, "adam": 2, "adamw": 2, "nadam": 2,
    "adamax": 2, "adadelta": 2, "ftrl": 2, "lamb": 2, "muon": 1,
}  # fmt: skip
CLASSES = {
    "sgd": "SGD", "adafactor": "Adafactor", "lion": "Lion", "rmsprop": "RMSprop", "adagrad": "Adagrad",
    "adam": "Adam", "adamw": "AdamW", "nadam": "Nadam", "adamax": "Adamax", "adadelta": "Adadelta",
    "ftrl": "Ftrl", "lamb": "Lamb", "muon": "Muon",
}  # fmt: skip


class Precision(Fix):
    """Computes in 16 bits, with weights of 32."""

    group, lesson = "precision", "08"

    def __init__(self, policy, tolerance):
        self.policy, self.name, self.tolerance = policy, policy, tolerance

    def begin(self):
        import keras

        keras.config.set_dtype_policy(self.policy)

    def why_not(self, program):
        if program.fit is None and self.policy == "mixed_float16":
            return OWN_LOOP.format(
                "fit: whether it scales the loss for float16 is not seen. train_on_batch does, in a model "
                "compiled under the policy; a loop with a GradientTape needs a LossScaleOptimizer"
            )
        if program.fit and self._dtype in program.fit["compute_dtypes"]:
            return f"The model computes in {self._dtype} already."
        if program.fit and program.fit["sets_policy"]:
            return self._own_policy(program)
        return self._rounding(program)

    def failed(self, program):
        if reason := self._rounding(program):
            return reason
        if program.fit and self._dtype not in program.fit["compute_dtypes"]:
            if program.fit["policy"] != self.policy:
                return self._own_policy(program)
            return "The layers have their dtype already: built outside `train`, or with a dtype of their own."
        return ""

    def _rounding(self, program):
        """Why words or ids would be mistaken for one another; "" if none are known to be."""
        if not program.fit or not program.fit["rounds_ids"]:
            return ""
        return (
            f"The Sequential that begins with an Embedding would get its integers as {self._dtype}, which "
            'rounds them: begin it with keras.Input((length,), dtype="int32").'
        )

    def _own_policy(self, program):
        return f"`train` sets the policy itself, to {program.fit['policy']!r}: change it there."

    @property
    def _dtype(self):
        return self.policy.removeprefix("mixed_")

    def write(self, code, program):
        comment = "# before the model is built, and after any clear_session()"
        code.lines.append(f'keras.config.set_dtype_policy("{self.policy}")  {comment}')


class SmallerBatch(Fix):
    """A batch of a fraction of the size, which is another training: it has more updates."""

    group, lesson, tolerance = "batch", "09", None

    def __init__(self, divides, name):
        self.divides, self.name = divides, name

    def why_not(self, program):
        return "" if program.value % self.divides == 0 else _too_small(program, self.divides)

    def write(self, code, program):
        code.lines.append(f"{program.over} = {program.value // self.divides}")


def _too_small(program, divides):
    return f"{program.over}={program.value} cannot be divided by {divides}."


class Accumulated(Fix):
    """The same effective batch, from the gradients of several smaller ones."""

    group, lesson = "batch", "09"

    def __init__(self, divides):
        self.divides, self.name = divides, f"{divides} smaller batches, accumulated"

    def begin(self):
        import keras

        base, steps = keras.optimizers.Optimizer, self.divides
        original = base.__init__

        def created(optimizer, *args, **kwargs):
            original(optimizer, *args, **kwargs)
            if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                optimizer.gradient_accumulation_steps = steps * (optimizer.gradient_accumulation_steps or 1)

        base.__init__ = created

    def why_not(self, program):
        if program.value % self.divides:
            return _too_small(program, self.divides)
        if program.fit and program.compile is None:
            return "The model is compiled outside `train`: compile it inside."
        return ""

    def write(self, code, program):
        code.lines.append(f"{program.over} = {program.value // self.divides}")
        facts = program.compile or {}
        argument = ast.keyword(ACCUMULATION, ast.Constant(self.divides * facts.get("accumulation_steps", 1)))
        if optimizer := _optimizer_with(argument, facts):
            code.change(facts, "optimizer", optimizer)
        else:
            which = "each optimizer" if keeps_its_optimizers(facts) else "the optimizer"
            code.lines.append(f"# create {which} with {ast.unparse(argument)}")


def _optimizer_with(argument, facts):
    """The text of the optimizer with an argument; "" where compile is not given one that it creates."""
    if not facts or keeps_its_optimizers(facts):
        return ""
    call = call_of(facts)
    if "optimizer" in (*call.hidden, *call.behind):
        return ""
    node = ast.parse(call.get("optimizer", "'rmsprop'"), mode="eval").body
    if isinstance(node, ast.Constant) and str(node.value).lower() in CLASSES:
        return f"keras.optimizers.{CLASSES[node.value.lower()]}({ast.unparse(argument)})"
    if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] not in CLASSES.values():
        return ""
    if any(each.arg is None for each in node.keywords):
        return ""
    node.keywords = [*(each for each in node.keywords if each.arg != argument.arg), argument]
    return ast.unparse(node)


class Compiled(Fix):
    """XLA on or off."""

    group, lesson, tolerance = "xla", "09", 0.01

    def __init__(self, on):
        self.on, self.name = on, f"XLA {'on' if on else 'off'}"

    def compile(self, model, given):
        return given | {"jit_compile": self.on}

    def why_not(self, program):
        if program.compile is None:
            return no_compile(program)
        if program.compile["run_eagerly"]:
            return "XLA compiles graphs, and the model runs eagerly."
        if program.fit and program.fit["jit"] == self.on:
            return f"XLA is {'on' if self.on else 'off'} already."
        return ""

    def write(self, code, program):
        code.change(program.compile, "jit_compile", str(self.on))


class AsGraph(Fix):
    """run_eagerly, left on by mistake, off."""

    name, group, lesson, tolerance = "run_eagerly off", "eager", "02", 0.01

    def compile(self, model, given):
        return {name: value for name, value in given.items() if name != "run_eagerly"}

    def why_not(self, program):
        if program.compile is None:
            return no_compile(program)
        return "" if program.compile["run_eagerly"] else "The model does not run eagerly."

    def write(self, code, program):
        if "run_eagerly" in call_of(program.compile):
            code.call("compile").pop("run_eagerly")
        else:
            code.change(program.compile, "run_eagerly", "False")


class Optimizer(Fix):
    """An optimizer with less state, which is another training."""

    group, lesson, tolerance = "optimizer", "09", None

    def __init__(self, kind, name, **arguments):
        self.kind, self.name, self.arguments = kind, name, arguments

    def compile(self, model, given):
        import keras

        if not self._keeps_less_than(name_of(given.get("optimizer", "rmsprop"))):
            return given
        return given | {"optimizer": getattr(keras.optimizers, CLASSES[self.kind])(**self.arguments)}

    def why_not(self, program):
        if program.compile is None:
            return no_compile(program)
        if keeps_its_optimizers(program.compile):
            return "compile is given neither optimizer nor loss: change the optimizers that the model keeps."
        theirs = program.compile["optimizer"]
        return "" if self._keeps_less_than(theirs) else f"{theirs} keeps no more for each weight."

    def _keeps_less_than(self, theirs):
        slots = SLOTS[self.kind] + bool(self.arguments.get("momentum"))
        return slots < SLOTS.get(theirs.lower(), 2)

    def write(self, code, program):
        arguments = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        code.change(program.compile, "optimizer", f"keras.optimizers.{CLASSES[self.kind]}({arguments})")


def name_of(optimizer):
    """The name of an optimizer, as it is given to compile."""
    if isinstance(optimizer, str):
        return optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return type(inner).__name__ if not isinstance(optimizer, dict) else optimizer.get("class_name", "")


class Recomputed(Fix):
    """The inside of each repeated block is computed again in the backward pass, instead of being kept."""

    name, group, lesson = "recomputation of blocks", "remat", "09"
    blocks = ()

    def begin(self):
        import keras

        original, blocks = keras.Layer.__call__, self.blocks

        def called(layer, *args, **kwargs):
            if layer.name in blocks and not hasattr(layer, "_labkit_recomputed"):
                layer._labkit_recomputed = True
                inside = layer.call
                layer.call = lambda *xs, **options: keras.remat(lambda *ys: inside(*ys, **options))(*xs)
            return original(layer, *args, **kwargs)

        keras.Layer.__call__ = called

    def of(self, trainings):
        fix = Recomputed()
        fix.blocks = {name for training in trainings for name in training.fit["blocks"]}
        return fix

    def why_not(self, program):
        if program.fit is None:
            return OWN_LOOP.format("fit, in which the model can be seen")
        if program.fit["run_eagerly"]:
            return "The model runs eagerly."
        if not program.fit["blocks"]:
            return "The model has no block, a layer or model of layers, that comes twice or more."
        if program.fit["random_in_blocks"]:
            return (
                "Dropout in the blocks would drop others the second time, and the gradients would be wrong."
            )
        if program.fit["normalized_in_blocks"]:
            return "BatchNormalization in the blocks would count each batch twice."
        return ""

    def write(self, code, program):
        comment = "# in the block's `call`; `forward` does what `call` did"
        code.lines.append(f"return keras.remat(self.forward)(x)  {comment}")


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
        if program.evaluates_streams:
            return (
                "What is evaluated is a stream with batches of its own: if they are large, make them smaller."
            )
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
        size = str(program.training_size)
        if _validates_in_larger_batches(program):
            code.change(program.fit, "validation_batch_size", size)
        for facts in program.evaluated_in_larger_batches:
            code.change(facts, "batch_size", size)


def _validates_in_larger_batches(program):
    return (program.fit["validation_batch_size"] or 0) > program.training_size
