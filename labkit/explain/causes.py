"""The causes of running out of memory: what each means, and the rule by which a failure is recognized."""

from collections.abc import Callable
from dataclasses import dataclass

from ..logs.marks import MAKES_SLOTS, MAKES_WEIGHTS
from ..record.opnames import FORWARD_TYPES, GRADIENT, WEIGHT_GRADIENT, of_optimizer
from ..sizes import MIB, format_size
from . import evidence

CERTAIN, LIKELY, GUESS = "certain", "likely", "a guess"
_HOST_ALLOCATORS = {"cpu", "mklcpu", "cuda_host_bfc", "gpu_host_bfc", "gpu_host_allocator"}
_NO_SMALLER_PART = "A smaller batch will not help with that part: it does not depend on the batch."
_NO_SMALLER_BATCH = "A smaller batch will not help: this does not depend on the batch."


@dataclass(frozen=True)
class Cause:
    """A cause by its name. rule: Failure -> (confidence, sentences), or None where it is not this."""

    name: str
    meaning: str
    rule: Callable | None = None


def find(failure):
    """(name of the cause, confidence, sentences); the sentences name a second cause where one fits."""
    found = [(cause.name, *answer) for cause in CAUSES if cause.rule and (answer := cause.rule(failure))]
    if not found:
        return "unknown", CERTAIN, []
    found.sort(key=lambda answer: answer[1] == GUESS)  # a guess gives way to what has reasons
    name, confidence, sentences = found[0]
    others = [f"Also possible, {name}: {said[0]}" for name, sure, said in found[1:] if sure != GUESS]
    return name, confidence, [*sentences, *others[:1]]


def is_of_weights(failure):
    """Whether op, traceback or shape say that the tensor is a weight, its gradient or optimizer state."""
    op, shape = failure.op or "", failure.shape or ()
    if GRADIENT.search(op):
        return WEIGHT_GRADIENT.search(op) is not None
    if of_optimizer(op):
        return True
    if "/" in op:
        return False
    kernel = len(shape) == 4 and shape[0] == shape[1] <= 11 and min(shape[2:]) > shape[0]
    forward = failure.last_part.startswith(FORWARD_TYPES)
    return not forward and (kernel or bool(failure.marks & (MAKES_WEIGHTS | MAKES_SLOTS)))


def _host_memory(failure):
    if failure.kind == "host":
        return CERTAIN, ["The host's memory ran out, not the device's."]
    if failure.allocator in _HOST_ALLOCATORS:
        return CERTAIN, [f"The allocator \"{failure.allocator}\" hands out the host's memory, not the GPU's."]
    if failure.kind == "killed":
        return LIKELY, [
            "The process was killed from outside. Linux does that when the host's memory runs out; whether "
            'it did so here is in its log: dmesg | grep -i "killed process".'
        ]
    return None


def _array_copied_to_device(failure):
    limit, largest = failure.limit_bytes, failure.largest_chunk_bytes
    if failure.kind == "proto":
        return CERTAIN, ["A whole array was to become a constant of the graph, which can hold at most 2 GB."]
    if failure.crashed and (failure.requested_bytes or limit or 0) > MIB:
        return CERTAIN, [
            "The process died while TensorFlow copied an array to the device in one piece: on the CPU "
            'stand-in that copy crashes; on a GPU it raises "Dst tensor is not initialized".'
        ]
    if failure.kind == "copy" and not (failure.marks & MAKES_WEIGHTS or of_optimizer(failure.op)):
        said = ["It failed while an array was copied from the host to the device."]
        if largest > 0.5 * (limit or largest + 1):
            said.append(evidence.one_chunk(failure))
        return LIKELY, said
    other = not is_of_weights(failure) and (failure.requested_bytes or 0) < 0.5 * largest
    if other and limit and largest > 0.6 * limit:
        return GUESS if "/" in (failure.op or "") else LIKELY, [evidence.one_chunk(failure)]
    return None


def _memory_taken_before_start(failure):
    limit, requested = failure.limit_bytes, failure.requested_bytes
    if failure.kind == "library":
        return LIKELY, [
            "A CUDA library could not be set up on the device, usually because no memory is left for it."
        ]
    if failure.kind == "driver":
        return LIKELY, [f"The driver itself refused: {format_size(requested)} of the device were not free."]
    if (
        failure.on_gpu
        and requested
        and failure.free_share > 0.9
        and requested / failure.free_share < 512 * MIB
    ):
        pool = format_size(requested / failure.free_share)
        return LIKELY, [
            f"{100 * failure.free_share:.0f} % of TensorFlow's memory is free in one piece, and yet that is "
            f"too small: it has less than {pool} of the GPU. Another program holds the rest."
        ]
    if not failure.on_gpu or not limit:
        return None
    if failure.device_bytes and limit < 0.5 * failure.device_bytes:
        got = f"{format_size(limit)} of a device of {format_size(failure.device_bytes)}"
        return LIKELY, [f"TensorFlow got {got}: another program holds the rest, or a limit was set."]
    if limit < 512 * MIB:
        got = f"only {format_size(limit)} of the GPU"
        return LIKELY, [f"TensorFlow got {got}: it is a tiny one, or another program holds the rest."]
    if requested and failure.available_bytes and failure.available_bytes >= requested:
        return LIKELY, [
            f"By its own limit TensorFlow could have taken {format_size(failure.available_bytes)} more, and "
            f"was refused {format_size(requested)}: another program has the rest of the device."
        ]
    return None


def _predict_output(failure):
    joins = failure.last_part.lower().startswith("concat") or (failure.op_type or "").startswith("Concat")
    if not failure.marks & {"in predict", "def predict", ".predict("}:
        return None
    if joins:
        return LIKELY, ["It failed while predict() joined the outputs of all batches on the device."]
    many, size = failure.most_equal
    if many >= 8 and many * size > 0.5 * (failure.in_use_bytes or 0):
        return LIKELY, [
            f"{many} chunks of {format_size(size)} are in use: predict() keeps the outputs of all batches on "
            "the device until the last one."
        ]
    return None


def _embedding(failure):
    wide = failure.shape is not None and len(failure.shape) == 2 and failure.shape[0] >= 10_000
    named = failure.has_words("mbed")
    if not wide or not (named or is_of_weights(failure)) or failure.shape[0] < 8 * failure.shape[1]:
        return None
    if failure.shape[1] > 2048 and not named:
        return None
    rows, width = failure.shape
    said = [f"Its {rows:,} rows of {width} look like a table with a row for each word or item."]
    if not named:
        said.append(
            "The op works on weights or optimizer state, and no name says embedding: this goes by the shape."
        )
    return LIKELY, [*said, _NO_SMALLER_BATCH]


def _attention(failure):
    shape = failure.shape
    if shape is None or len(shape) < 2:
        return None
    square = len(shape) >= 3 and shape[-1] == shape[-2] >= 128
    words = failure.has_words("attention", "attn", "attend", "transformer")
    scores = failure.last_part.lower().startswith(
        ("softmax", "einsum", "matmul", "batchmatmul", "add", "mul", "div")
    )
    if not (square and (words or scores) or words and failure.last_part.startswith("Softmax")):
        return None
    said = "These are attention scores"
    if square:
        said = f"Its shape is that of attention scores of {shape[-1]:,} positions against {shape[-1]:,}"
    sure = LIKELY if words or len(shape) == 4 or not square else GUESS
    return sure, [f"{said}: twice the length takes four times the memory."]


def _tensor_exceeds_limit(failure):
    requested, limit = failure.requested_bytes, failure.limit_bytes
    if failure.kind != "xla" and requested and limit and requested >= limit:
        return CERTAIN, ["This one tensor alone would fill the whole limit."]
    return None


def _growth(failure):
    if failure.grows_by_bytes:
        return CERTAIN, [f"With each step {format_size(failure.grows_by_bytes)} more stayed in use."]
    if (failure.epoch or 0) >= 2:
        return LIKELY, [
            f"It had reached epoch {failure.epoch}: the same step had fitted before. Something grows, or a "
            "larger batch came (validation data, a longer sequence)."
        ]
    if failure.done >= 2:
        return LIKELY, [f"{failure.done} epochs had finished before it: something grows."]
    if (failure.steps or 0) >= 3:
        return LIKELY, [
            f"{failure.steps} steps had fitted before: something grows, or this batch was larger."
        ]
    return None


def _fragmentation(failure):
    requested, free = failure.requested_bytes, failure.free_bytes
    if not (requested and free) or failure.on_gpu and failure.available_bytes:
        return None
    if requested <= free:
        said = (
            f"In all, {format_size(free)} are free, and {format_size(requested)} were asked for: enough, but "
            "not in one piece."
        )
        return (LIKELY if free >= 1.5 * requested else GUESS), [said]
    return None


def _weights_or_optimizer(failure):
    if failure.is_in_loop and not failure.loop_fits:
        sure = (
            CERTAIN if failure.block and failure.batch else LIKELY
        )  # or it may be a batch, as long as units
        parts = (evidence.in_block, evidence.in_division, evidence.in_loop)
        return sure, [*(said for part in parts for said in part(failure)), _NO_SMALLER_PART]
    needed = failure.needed_by_category
    if needed:
        fixed = sum(needed.get(name, 0) for name in ("weights", "optimizer"))
        if (
            fixed > 0.5 * sum(needed.values())
            or is_of_weights(failure)
            and fixed > needed.get("activations", 0)
        ):
            said = f"{format_size(fixed)} of {evidence.in_use(failure)} were weights and optimizer state."
            return CERTAIN, [said, _NO_SMALLER_BATCH]
        return None
    if failure.division and failure.division.is_given:
        return LIKELY, list(evidence.in_division(failure))
    if failure.kind == "constant" and not failure.op:
        said = "Most tensors of one value are new optimizer state, which begins as zeros."
        return GUESS, [said, _NO_SMALLER_BATCH]
    if not is_of_weights(failure):
        return None
    if of_optimizer(failure.op) or failure.marks & MAKES_SLOTS:
        why = "The op belongs to the optimizer: it was creating or updating its state."
    elif WEIGHT_GRADIENT.search(failure.op or ""):
        why = "The op computes the gradient of a layer's weights, which is as large as they are."
    elif failure.is_building:
        why = "It failed while a layer created or loaded its weights, before any batch came."
    else:
        why = f"Its shape {list(failure.shape)} is that of a kernel, not of a batch."
    return LIKELY, [why, _NO_SMALLER_BATCH]


def _activations(failure):
    needed = failure.needed_by_category
    if needed:
        kinds = ("activations", "inputs", "workspace", "gradients")
        moving = sum(needed.get(name, 0) for name in kinds)
        said = (
            f"{format_size(moving)} of {evidence.in_use(failure)} were activations, gradients, inputs and "
            "workspace."
        )
        said = [said, *evidence.in_block(failure), *evidence.in_loop(failure)]
        return (CERTAIN, said) if moving > 0.5 * sum(needed.values()) else None
    if failure.kind == "xla":
        said = (
            "XLA asks for the memory of a whole compiled step as one block: mostly the batch sets its size."
        )
        known = list(evidence.in_division(failure)) or [
            "labkit.run(train, profile=True) can tell what would be in it."
        ]
        return LIKELY, [said, *known, *evidence.in_loop(failure)]
    if failure.kind not in ("oom", "refused", "constant"):
        return None
    if failure.shape is None or len(failure.shape) < 2:
        named = "/" in (failure.op or "") and not is_of_weights(failure)
        return (GUESS, ["The op belongs to a layer, not to the optimizer."]) if named else None
    said = [evidence.first_dimension(failure)]
    if is_of_weights(failure):
        return GUESS, said
    if (failure.batch or 1) > 1 and failure.shape[0] % failure.batch == 0:
        return LIKELY, said
    path = "/" in (failure.op or "") or failure.last_part.startswith(FORWARD_TYPES)
    return (LIKELY if path or len(failure.shape) >= 3 else GUESS), said


CAUSES = (  # in the order in which they are tried
    Cause("host_memory", "The host's memory ran out, not the device's.", _host_memory),
    Cause(
        "memory_taken_before_start",
        "Another program holds the device's memory, or the device has hardly any.",
        _memory_taken_before_start,
    ),
    Cause(
        "array_copied_to_device",
        "A whole data set, or array, was copied to the device at once.",
        _array_copied_to_device,
    ),
    Cause("predict_output", "The outputs of predict() were collected on the device.", _predict_output),
    Cause(
        "embedding",
        "A table with a row for each word, or its gradient or optimizer state, does not fit.",
        _embedding,
    ),
    Cause(
        "attention",
        "The attention scores do not fit; they grow with the square of the sequence length.",
        _attention,
    ),
    Cause("tensor_exceeds_limit", "One tensor alone is larger than the memory limit.", _tensor_exceeds_limit),
    Cause("growth", "It had worked for a while: something grows from step to step.", _growth),
    Cause("fragmentation", "Enough memory is free, but not in one piece.", _fragmentation),
    Cause(
        "weights_or_optimizer",
        "Weights, gradients or optimizer state do not fit: a smaller batch does not help.",
        _weights_or_optimizer,
    ),
    Cause("activations", "Activations do not fit: the batch is too large.", _activations),
    Cause("warning_only", "TensorFlow asked for more than there was and carried on: not a failure."),
    Cause("not_oom", "The text shows no lack of memory."),
    Cause("unknown", "The text does not say enough to tell why memory ran out."),
)
MEANINGS = {cause.name: cause.meaning for cause in CAUSES}
