"""From what is known of a failure to its cause: rules, tried in order, each with its reasons in sentences."""

from collections import Counter

from ..logs.marks import MAKES_SLOTS, MAKES_WEIGHTS
from ..record.opnames import FORWARD_TYPES, WEIGHT_GRADIENT, of_optimizer
from ..sizes import MIB, format_size
from .case import is_of_weights

MEANINGS = {
    "tensor_exceeds_limit": "One tensor alone is larger than the memory limit.",
    "activations": "What the batch brings with it does not fit: the batch is too large.",
    "weights_or_optimizer": "Weights, gradients or slots do not fit: a smaller batch does not help.",
    "embedding": "A table with a row for each word, or its gradient or slots, does not fit.",
    "attention": "The scores of attention, which grow with the square of the sequence's length.",
    "array_copied_to_device": "A whole data set, or array, went to the device at once.",
    "predict_output": "The outputs of predict() were gathered on the device.",
    "fragmentation": "Enough is free, but not in one piece.",
    "memory_taken_before_start": "Another program holds the device's memory, or the device gave hardly any.",
    "growth": "It had worked for a while: something grows from step to step.",
    "host_memory": "The host's memory ran out, not the device's.",
    "warning_only": "TensorFlow asked for more than there was, and went on without: not a failure.",
    "not_oom": "The text tells of no lack of memory.",
    "unknown": "The text does not say enough to tell why memory ran out.",
}
CERTAIN, LIKELY, GUESS = "certain", "likely", "a guess"
_HOST_ALLOCATORS = {"cpu", "mklcpu", "cuda_host_bfc", "gpu_host_bfc", "gpu_host_allocator"}


def find(case):
    """(cause, confidence, sentences) of a Case; a second cause that fits too is in the sentences."""
    found = [(rule.__name__[1:], *answer) for rule in _RULES if (answer := rule(case))]
    if not found:
        return "unknown", CERTAIN, []
    found.sort(key=lambda answer: answer[1] == GUESS)  # a guess gives way to what has reasons
    cause, confidence, sentences = found[0]
    others = [f"Also possible, {name}: {said[0]}" for name, sure, said in found[1:] if sure != GUESS]
    return cause, confidence, [*sentences, *others[:1]]


def _host_memory(case):
    if case.kind == "host":
        return CERTAIN, ["The host's memory ran out, not the device's."]
    if case.allocator in _HOST_ALLOCATORS:
        return CERTAIN, [f"The allocator \"{case.allocator}\" hands out the host's memory, not the GPU's."]
    if case.kind == "killed":
        return LIKELY, [
            "The process was killed from outside. Linux does that as the host's memory runs out; whether it "
            'did here is in its log: dmesg | grep -i "killed process".'
        ]
    return None


def _array_copied_to_device(case):
    if case.kind == "proto":
        return CERTAIN, ["A whole array was to become a constant of the graph, which can hold 2 GB at most."]
    if case.crashed and (case.asked or case.limit or 0) > MIB:
        return CERTAIN, [
            "The process died while TensorFlow copied an array to the device in one piece: on the CPU "
            'stand-in that copy crashes; on a GPU it raises "Dst tensor is not initialized".'
        ]
    if case.kind == "copy" and not (case.marks & MAKES_WEIGHTS or of_optimizer(case.op)):
        said = ["It failed as an array was copied from the host to the device."]
        if case.largest_chunk > 0.5 * (case.limit or case.largest_chunk + 1):
            said.append(_one_chunk(case))
        return LIKELY, said
    other = not is_of_weights(case) and (case.asked or 0) < 0.5 * case.largest_chunk
    if other and case.limit and case.largest_chunk > 0.6 * case.limit:
        return GUESS if "/" in (case.op or "") else LIKELY, [_one_chunk(case)]
    return None


def _one_chunk(case):
    share = 100 * case.largest_chunk / case.limit if case.limit else 100
    return (
        f"One single piece of {format_size(case.largest_chunk)} holds {share:.0f} % of the limit: "
        "no layer's output is likely to be that, a data set is."
    )


def _memory_taken_before_start(case):
    if case.kind == "library":
        return LIKELY, [
            "A library of CUDA could not be set up on the device, mostly because no memory is left for it."
        ]
    if case.kind == "driver":
        return LIKELY, [
            f"The driver itself refused: {format_size(case.asked)} of the device were not to be had."
        ]
    if case.on_gpu and case.asked and case.free_share > 0.9 and case.asked / case.free_share < 512 * MIB:
        pool = format_size(case.asked / case.free_share)
        return LIKELY, [
            f"{100 * case.free_share:.0f} % of what TensorFlow has are free in one piece, and yet that is "
            f"too small: it has less than {pool} of the GPU. Another program holds the rest."
        ]
    if not case.on_gpu or not case.limit:
        return None
    if case.device_bytes and case.limit < 0.5 * case.device_bytes:
        got = f"{format_size(case.limit)} of a device of {format_size(case.device_bytes)}"
        return LIKELY, [f"TensorFlow got {got}: another program holds the rest, or a limit was set."]
    if case.limit < 512 * MIB:
        got = f"only {format_size(case.limit)} of the GPU"
        return LIKELY, [f"TensorFlow got {got}: a tiny one, or another program holds the rest."]
    if case.asked and case.available_bytes and case.available_bytes >= case.asked:
        return LIKELY, [
            f"TensorFlow might have taken {format_size(case.available_bytes)} more by its own limit, "
            f"and was refused {format_size(case.asked)}: another program has the rest of the device."
        ]
    return None


def _predict_output(case):
    joins = case.last_part.lower().startswith("concat") or (case.op_type or "").startswith("Concat")
    if not case.marks & {"in predict", "def predict", ".predict("}:
        return None
    if joins:
        return LIKELY, ["It failed as predict() joined the outputs of all batches on the device."]
    many, size = case.most_equal
    if many >= 8 and many * size > 0.5 * (case.in_use or 0):
        return LIKELY, [
            f"{many} pieces of {format_size(size)} are in use: predict() keeps the outputs of all batches on "
            "the device until the last."
        ]
    return None


def _embedding(case):
    wide = case.shape is not None and len(case.shape) == 2 and case.shape[0] >= 10_000
    named = case.has_words("mbed")
    if not wide or not (named or is_of_weights(case)) or case.shape[0] < 8 * case.shape[1]:
        return None
    if case.shape[1] > 2048 and not named:
        return None
    rows, width = case.shape
    said = [f"Its {rows:,} rows of {width} look like a table with a row for each word or item."]
    if not named:
        said.append(
            "The op works on weights or slots, and no name says embedding: so this goes by the shape."
        )
    return LIKELY, [*said, _NO_SMALLER_BATCH]


def _attention(case):
    if case.shape is None or len(case.shape) < 2:
        return None
    square = len(case.shape) >= 3 and case.shape[-1] == case.shape[-2] >= 128
    words = case.has_words("attention", "attn", "attend", "transformer")
    scores = case.last_part.lower().startswith(
        ("softmax", "einsum", "matmul", "batchmatmul", "add", "mul", "div")
    )
    if square and (words or scores) or words and case.last_part.startswith("Softmax"):
        length = f" of {case.shape[-1]:,} steps against {case.shape[-1]:,}" if square else ""
        return LIKELY if words or len(case.shape) == 4 else GUESS, [
            f"Its shape is that of attention scores{length}: twice the length takes four times the memory."
            if square
            else "These are attention scores: twice the length takes four times the memory."
        ]
    return None


def _tensor_exceeds_limit(case):
    if case.kind != "xla" and case.asked and case.limit and case.asked >= case.limit:
        return CERTAIN, ["This one tensor alone would fill the whole limit."]
    return None


def _growth(case):
    if case.grows_by:
        return CERTAIN, [f"From step to step {format_size(case.grows_by)} more stayed in use."]
    if (case.epoch or 0) >= 2:
        return LIKELY, [
            f"It had reached epoch {case.epoch}: the same step had fitted before. Something grows, or a "
            "larger batch came (the validation data, a longer sequence)."
        ]
    if case.done >= 2:
        return LIKELY, [f"{case.done} epochs had come to their end before it: something grows."]
    if (case.steps or 0) >= 3:
        return LIKELY, [f"{case.steps} steps had fitted before: something grows, or this batch was larger."]
    return None


def _fragmentation(case):
    if not (case.asked and case.free_total) or case.on_gpu and case.available_bytes:
        return None
    if case.asked <= case.free_total:
        said = (
            f"In all, {format_size(case.free_total)} are free, and {format_size(case.asked)} were asked for: "
            "enough, but not in one piece."
        )
        return (LIKELY if case.free_total >= 1.5 * case.asked else GUESS), [said]
    return None


_RECORD_IT = "What would lie in it, labkit.run(train, profile=True) can tell."
_NO_SMALLER_PART = "A smaller batch will not help with that part: it does not depend on it."
_NO_SMALLER_BATCH = "A smaller batch will not help: this does not depend on it."


def _weights_or_optimizer(case):
    if case.in_loop and not case.loop_fits:
        sure = CERTAIN if case.block and case.batch else LIKELY  # or it may be a batch, as long as units
        return sure, [*_in_block(case), *_in_division(case), *_in_loop(case), _NO_SMALLER_PART]
    if case.needed:
        fixed = sum(case.needed.get(name, 0) for name in ("weights", "optimizer"))
        in_use = sum(case.needed.values())
        if fixed > 0.5 * in_use or is_of_weights(case) and fixed > case.needed.get("activations", 0):
            share = f"{format_size(fixed)} of {_in_use(case)} were weights and optimizer slots."
            return CERTAIN, [share, _NO_SMALLER_BATCH]
        return None
    if case.division and case.division.is_given:
        return LIKELY, list(_in_division(case))
    if case.kind == "constant" and not case.op:
        return GUESS, ["Most tensors of one value are new slots, which begin as zeros.", _NO_SMALLER_BATCH]
    if not is_of_weights(case):
        return None
    if of_optimizer(case.op) or case.marks & MAKES_SLOTS:
        why = "The op belongs to the optimizer: it was making or updating its slots."
    elif WEIGHT_GRADIENT.search(case.op or ""):
        why = "The op computes the gradient of a layer's weights, which is as large as they are."
    elif case.building:
        why = "It failed while a layer made or loaded its weights, before any batch came."
    else:
        why = f"Its shape {list(case.shape)} is that of a kernel, not of a batch."
    return LIKELY, [why, _NO_SMALLER_BATCH]


def _activations(case):
    if case.needed:
        kinds = ("activations", "inputs", "workspace", "gradients")
        moving = sum(case.needed.get(name, 0) for name in kinds)
        said = f"{format_size(moving)} of {_in_use(case)} were activations, gradients, inputs and workspace."
        said = [said, *_in_block(case), *_in_loop(case)]
        return (CERTAIN, said) if moving > 0.5 * sum(case.needed.values()) else None
    if case.kind == "xla":
        said = "XLA asks for the block of a whole compiled step at once: mostly the batch decides how large."
        return LIKELY, [said, *(_in_division(case) if case.division else [_RECORD_IT]), *_in_loop(case)]
    if case.kind not in ("oom", "refused", "constant"):
        return None
    if case.shape is None or len(case.shape) < 2:
        named = "/" in (case.op or "") and not is_of_weights(case)
        return (GUESS, ["The op is one of a layer, not of the optimizer."]) if named else None
    said = [_batch_sentence(case)]
    if is_of_weights(case):
        return GUESS, said
    if (case.batch or 1) > 1 and case.shape[0] % case.batch == 0:
        return LIKELY, said
    path = "/" in (case.op or "") or case.last_part.startswith(FORWARD_TYPES)
    return (LIKELY if path or len(case.shape) >= 3 else GUESS), said


def _in_use(case):
    """Of what the share is that a sentence tells."""
    asked = " and asked for" if case.block else ""
    return f"the {format_size(sum(case.needed.values()))} in use{asked}"


def _in_block(case):
    """What XLA meant to put into the block that it was refused."""
    if case.block:
        parts = [f"{format_size(size)} {name}" for name, size in case.block.by_category().items() if size]
        yield (
            "XLA asks for the block of a whole compiled step at once. At its fullest moment there would be "
            f"{', '.join(parts)} in it."
        )
        layers = case.block.by_layer().items()
        largest = [f"{name} ({format_size(size)})" for name, size in layers if name][:3]
        if largest:
            yield f"The layers that need the most of it: {', '.join(largest)}."


def _in_division(case):
    """What XLA printed of how it divides its memory."""
    if case.division:
        yield _given(case.division) if case.division.is_given else _scratch(case.division)
        yield from _largest_buffers(case.division)


def _in_loop(case):
    if case.in_loop:
        yield (
            f"{format_size(case.loop_bytes)} of that are a recurrent layer's weights, and their gradients, "
            "which XLA keeps once for each step of the sequence, whatever the batch."
        )


def _given(division):
    return (
        f"XLA says what its step holds: {format_size(division.given)} are given to it (weights, optimizer "
        f"slots, the batch), and only {format_size(division.scratch)} does it need for what it makes."
    )


def _scratch(division):
    return (
        f"XLA says what its step holds: {format_size(division.scratch)} for what it makes (activations, "
        f"gradients, workspace), beside {format_size(division.given)} that are given to it."
    )


def _largest_buffers(division):
    if division.buffers:
        alike = Counter(map(str, division.buffers))
        named = [f"{count} times {said}" if count > 1 else said for said, count in alike.items()]
        yield f"The largest: {'; '.join(named[:3])}."


def _batch_sentence(case):
    first = case.shape[0]
    if case.batch == first:
        return f"The first number of the shape, {first:,}, is the batch size: the tensor grows with it."
    if case.batch and first % case.batch == 0:
        times = f"{first // case.batch} times the batch size {case.batch}"
        return f"The first number of the shape, {first:,}, is {times}."
    if first == 1:
        return "The first number of the shape is 1: the batch is one sample, and the sample is too large."
    return f"The first number of the shape, {first:,}, is likely the batch size: in Keras it comes first."


_RULES = (
    _host_memory,
    _memory_taken_before_start,
    _array_copied_to_device,
    _predict_output,
    _embedding,
    _attention,
    _tensor_exceeds_limit,
    _growth,
    _fragmentation,
    _weights_or_optimizer,
    _activations,
)
