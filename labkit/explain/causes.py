"""The causes of running out of memory: what each means, and the rule by which a failure is recognized."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..logs import forms
from ..record.opnames import ARRAY, FORWARD_TYPES
from ..sizes import MIB, format_size
from . import evidence, tensors

CERTAIN, LIKELY, GUESS = "certain", "likely", "a guess"
_HOST_ALLOCATOR = re.compile(r"(?:mkl)?cpu|.*_host_.*")
_VAGUE = re.compile(
    r"[Ff]ailed to call|cuDNN failed to init|GPU sync|No algorithm|DNN library|CUDNN_STATUS_[IN]"
    r"|CUBLAS_STATUS_N"
)
_NO_SMALLER_PART = "A smaller batch will not help with that part: it does not depend on the batch."
_NO_SMALLER_BATCH = "A smaller batch will not help: this does not depend on the batch."
_MAY_LEAVE_ROOM = "A smaller batch does not make this tensor smaller, but may leave it room."
NO_DEVICE = 2**39  # bytes, 512 GiB: more than any accelerator has
_OWN_CONTEXT = 1536 * MIB  # of a device: CUDA's own data, and perhaps a screen's
_MOSTLY = "Most of what a step holds on the device are activations, which grow with the batch."


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
        return "unknown", GUESS, []
    found.sort(key=_rank)
    name, confidence, sentences = found[0]
    others = [
        f"Also possible, {name}: {said[0]}"
        for name, sure, said in found[1:]
        if sure != GUESS or name == "growth"
    ]
    return name, confidence, [*sentences, *others[:1]]


def _rank(answer):
    """A guess gives way to what has reasons, and all else to what was seen to grow."""
    name, confidence, _ = answer
    return (confidence == GUESS) - (name == "growth" and confidence == CERTAIN)


def _host_memory(failure):
    said = "The host's memory ran out, not the device's."
    if failure.kind in ("host", "oomkill"):
        return CERTAIN, [said]
    if failure.kind == "session":
        return CERTAIN, [f"{said} So says what watched the process and ended it."]
    if failure.kind == "told":
        return LIKELY, [f"{said} So it is told."]
    if failure.kind == "paging":
        return CERTAIN, [
            f"{said} Windows refuses what RAM and paging file together do not hold, even if it is never "
            f"used: "
            "each worker process counts with all its libraries."
        ]
    if failure.kind == "shared":
        return LIKELY, [
            f"{said} It was the part that processes share, /dev/shm, which a container keeps small."
        ]
    if failure.kind == "pinned":
        return LIKELY, [
            "What CUDA refused is memory of the host: TensorFlow wanted to pin it for copies to the GPU."
        ]
    if _HOST_ALLOCATOR.fullmatch(failure.allocator or ""):
        return CERTAIN, [f"The allocator \"{failure.allocator}\" hands out the host's memory, not the GPU's."]
    on_cpu = failure.allocator is None and "CPU:" in (failure.device or "")
    if on_cpu and failure.kind in ("oom", "refused") and not failure.is_alone:
        return LIKELY, [f"{said} The device that had none is the CPU."]
    if failure.kind == "watched":
        return LIKELY, ["What watches the process says that it holds nearly all the host's memory it may."]
    if failure.kind == "killed":
        return LIKELY, [
            "The process was killed from outside. Linux does that when the host's memory runs out; whether "
            'it did so here is in its log: dmesg | grep -i "killed process".'
        ]
    if failure.kind == "died":
        return GUESS, [
            "The process died without a word. Most often the host's memory ran out; a crash in a library "
            "looks "
            "the same. To find out, run it as a script and look at how it ends, or watch its memory as it "
            "runs."
        ]
    return None


def _memory_taken_before_start(failure):
    limit, requested = failure.limit_bytes, failure.requested_bytes
    whole = limit or failure.device_bytes
    if failure.others_bytes and whole and failure.others_bytes > 0.25 * whole:
        size = f"{format_size(failure.others_bytes)} of the device"
        most = f"'s {format_size(failure.device_bytes)}" if failure.device_bytes else ""
        return CERTAIN, [f"Other processes hold {size}{most}.", *failure.holders]
    if failure.kind == "code":
        return LIKELY, [
            "It was the code of a compiled step that found no room: CUDA loads it outside of the memory that "
            "the framework has taken for itself, which leaves too little of the device, or another program "
            "does."
        ]
    if failure.kind == "library":
        if failure.tried_out:
            return None
        sure = GUESS if is_vague(failure) and not failure.is_nearly_full else LIKELY
        return sure, [
            "A CUDA library could not be set up on the device, usually because no memory is left for it."
        ]
    if failure.kind == "busy":
        return GUESS, [
            "CUDA calls a GPU busy when another process leaves hardly any of its memory, or has it to itself "
            "alone (compute mode EXCLUSIVE_PROCESS)."
        ]
    if failure.kind == "driver":
        if failure.is_overflow or _ran_without_sizes(failure):
            return None
        refused = f": {format_size(requested)} of the device were not free." if requested else "."
        return LIKELY, [f"The driver itself refused{refused}"]
    if failure.kind == "full" and not requested and forms.FORKS in failure.marks:
        return GUESS, [
            "Each process of use_multiprocessing=True is a copy of this one, and takes memory of the device "
            "for itself as soon as it runs an op there."
        ]
    if _was_full_before(failure):
        when = " while the model was still being built" if failure.limit_bytes else ""
        return GUESS, [
            f"Before that the driver had refused {format_size(failure.driver_refused_bytes)}: hardly any "
            f"of the device was free{when}. Another program holds it, or earlier models of this process do."
        ]
    if failure.kind == "torch" and limit and failure.rest_bytes > 0.15 * limit + _OWN_CONTEXT:
        said = (
            f"PyTorch counts {format_size(failure.rest_bytes)} of the device neither as its own nor as free"
        )
        return LIKELY, [f"{said}: another program holds them."]
    if not failure.on_gpu or failure.is_alone:
        return None
    if requested and failure.free_share > 0.9 and requested / failure.free_share < 512 * MIB:
        pool = format_size(requested / failure.free_share)
        return LIKELY, [
            f"{100 * failure.free_share:.0f} % of TensorFlow's memory is free in one piece, and yet that is "
            f"too small: it has less than {pool} of the GPU. Another program holds the rest."
        ]
    if not limit:
        return None
    if failure.device_bytes and limit < 0.5 * failure.device_bytes:
        got = f"{format_size(limit)} of a device of {format_size(failure.device_bytes)}"
        return LIKELY, [f"TensorFlow got {got}: another program holds the rest, or a limit was set."]
    is_little = limit < (1024 if tensors.is_tiny(failure) else 512) * MIB
    if is_little and not failure.is_limited:
        got = f"only {format_size(limit)} of the GPU"
        return LIKELY, [f"TensorFlow got {got}: it is a tiny one, or another program holds the rest."]
    if requested and failure.available_bytes and failure.available_bytes >= requested:
        return LIKELY, [
            f"By its own limit TensorFlow could have taken {format_size(failure.available_bytes)} more, and "
            f"was refused {format_size(requested)}: another program has the rest of the device."
        ]
    return None


def is_vague(failure):
    """Whether a CUDA library says only that it failed, as it does for other reasons, too."""
    return _VAGUE.match(failure.quote) is not None


def _ran_without_sizes(failure):
    """Whether PyTorch's error of CUDA came in the midst of a training, and tells no bytes."""
    return "backward()" in failure.marks and not failure.requested_bytes and "CUDA error" in failure.quote


def _was_full_before(failure):
    """Whether the driver had refused little, too, before a model of which nothing large was there yet."""
    refused = failure.driver_refused_bytes
    unknown = not failure.limit_bytes and failure.in_use_bytes is None
    building = failure.is_building or tensors.creates(failure) or unknown
    return bool(refused) and refused <= 64 * MIB and tensors.is_tiny(failure) and building


def _array_copied_to_device(failure):
    limit, largest = failure.limit_bytes, failure.largest_chunk_bytes
    if failure.kind == "proto" and failure.marks & forms.ADDS_WEIGHTS:
        return None
    if failure.kind == "proto":
        return CERTAIN, ["A whole array was to become a constant of the graph, which can hold at most 2 GB."]
    if failure.crashed and (failure.requested_bytes or limit or 0) > MIB:
        return CERTAIN, [
            "The process died while TensorFlow copied an array to the device in one piece: on the CPU "
            'stand-in that copy crashes; on a GPU it raises "Dst tensor is not initialized".'
        ]
    converted = failure.last_part == ARRAY and (failure.requested_bytes or 0) > MIB
    if failure.kind == "copy" or converted:
        if (
            forms.BETWEEN_DEVICES in failure.marks
            or tensors.is_of_weights(failure)
            or tensors.comes_in_batches(failure)
        ):
            return None
        said = ["It failed while an array was copied from the host to the device."]
        if limit and largest > 0.5 * limit:
            said.append(evidence.one_chunk(failure))
        return LIKELY, said
    if failure.kind in ("worded", "full") and "copies" in failure.marks:
        return GUESS, ["It is told that a whole data set is copied to the device."]
    if tensors.is_whole_array(failure):
        rows = f"{failure.shape[0]:,} rows at once, outside of any layer"
        why = (
            "no batch has so many, but a data set has"
            if failure.shape[0] >= tensors.LARGE_BATCH
            else "a data set is split"
        )
        keeps = "validation_split, and a data set of tensors, keep all of it on the device."
        return LIKELY, [f"{rows}: {why}. {keeps}"]
    return _arrays_in_use(failure)


def _autotuning(failure):
    if failure.tried_out:
        return LIKELY, [evidence.of_tries(failure), evidence.TRIES]
    if failure.looks_tried_out:
        return GUESS, [evidence.of_redzones(failure), evidence.TRIES]
    return None


def _whole_arrays_fill(failure):
    """Whether whole arrays take more than half of the memory, and what was refused fits without them."""
    room = failure.limit_bytes or failure.used_bytes
    fits_without = (failure.requested_bytes or 0) <= room - (failure.used_bytes - failure.arrays_bytes)
    return failure.arrays_bytes > 0.5 * room and fits_without


def _arrays_in_use(failure):
    """As a rule: whole arrays among the chunks in use, whatever op failed."""
    if _whole_arrays_fill(failure):
        held = f"{format_size(failure.arrays_bytes)} of {format_size(failure.used_bytes)} in use"
        return CERTAIN, [
            f"{held} are whole arrays given to Keras: they stay on the device, whatever the batch."
        ]
    limit, largest = failure.limit_bytes, failure.largest_chunk_bytes
    if samples := tensors.buffered_samples(failure):
        return LIKELY, [evidence.of_buffer(*samples)]
    if (failure.requested_bytes or 0) >= 0.5 * largest or failure.held_by_category:
        return None
    if failure.is_of_compiled_step or failure.last_part.startswith("CudnnRNN"):
        return None  # large chunks are what XLA tries out algorithms with, or what NVIDIA's LSTM keeps
    on_weights = tensors.is_of_weights(failure)
    large = None if failure.is_dump_alone else tensors.large_chunks(failure)  # beside what was refused
    if large and (large[1] or not on_weights and largest < 0.6 * (limit or largest)):
        return LIKELY if large[1] or not failure.is_alone else GUESS, [
            evidence.of_large_chunks(failure, *large)
        ]
    if limit and largest > (0.9 if on_weights else 0.6) * limit:
        sure = GUESS if "/" in (failure.op or "") and largest < 0.9 * limit else LIKELY
        return sure, [evidence.one_chunk(failure)]
    return None


def _predict_output(failure):
    if failure.kind in ("worded", "full") and "collects" in failure.marks:
        return GUESS, ["It is told that predict() keeps the outputs of all batches."]
    joins = failure.last_part.lower().startswith("concat") or (failure.op_type or "").startswith("Concat")
    joins = joins or failure.kernel == "concat_op"
    if not failure.marks & (forms.PREDICTS | forms.JOINS):
        return None
    if joins or failure.marks & forms.JOINS:
        return LIKELY, ["It failed while predict() joined the outputs of all batches on the device."]
    many, size = failure.most_equal
    if many >= 8 and many * size > 0.5 * (failure.in_use_bytes or 0):
        return LIKELY, [
            f"{many} chunks of {format_size(size)} are in use: predict() keeps the outputs of all batches on "
            "the device until the last one."
        ]
    return None


def _embedding(failure):
    if not tensors.is_table(failure):
        return None
    named, flat = failure.has_words("mbed"), tensors.looks_flattened(failure)
    if flat and not named:
        return None
    rows, width = failure.shape
    said = [f"Its {rows:,} rows of {width} look like a table with a row for each word or item."]
    if not named and not tensors.is_of_weights(failure):
        said.append("The text speaks of a vocabulary and names no op: this goes by the shape.")
        return GUESS, [*said, _NO_SMALLER_BATCH]
    if not named:
        said.append(
            "The op works on weights or optimizer state, and no name says embedding: this goes by the shape."
        )
    if flat is None and not named:
        said.append(evidence.of_flattened(failure, "It may also be"))
    return LIKELY, [*said, _NO_SMALLER_BATCH]


def _attention(failure):
    listed = failure.shape is None and failure.largest_buffer
    failure = failure.of_largest_buffer if listed else failure
    sure = tensors.scores(failure)
    if not sure:
        return None
    shape = failure.shape
    said = "These are attention scores"
    if listed:
        said = f"The largest buffer that XLA lists has the shape of attention scores, {list(shape)}"
    elif shape[-1] == shape[-2] >= 128:
        said = f"Its shape is that of attention scores of {shape[-1]:,} positions against {shape[-1]:,}"
    elif len(shape) == 4:
        said = f"Its shape is that of attention scores of {shape[-2]:,} positions against {shape[-1]:,}"
    return (LIKELY if sure == 2 or shape[-1] >= 4096 else GUESS), [
        f"{said}: twice the length takes four times the memory."
    ]


def _tensor_exceeds_limit(failure):
    requested, limit = failure.requested_bytes, failure.limit_bytes
    if failure.is_overflow:
        return LIKELY, [
            f"{format_size(requested)} is more than any memory has: a size that was computed wrongly (a "
            "dimension that is negative, unknown or has overflowed), or a fault in the driver."
        ]
    if limit and (buffer := failure.largest_buffer) and buffer.bytes > limit:
        return CERTAIN, [
            f"XLA lists a buffer of {buffer}: that alone is more than the {format_size(limit)} there are.",
            *evidence.in_padding(failure),
        ]
    one = failure.kind not in ("xla", "host", "driver") and not failure.is_of_compiled_step
    if one and requested and limit and requested >= limit:
        return CERTAIN, ["This one tensor alone would fill the whole limit."]
    least = requested or math.prod(failure.shape or (0,))  # a byte for each number
    if one and least >= NO_DEVICE:
        at_least = "" if requested else " at least"
        return LIKELY, [f"This one tensor takes {format_size(least)}{at_least}: no device has so much."]
    return None


def _growth(failure):
    if failure.grows_by_bytes:
        return CERTAIN, [f"With each step {format_size(failure.grows_by_bytes)} more stayed in use."]
    if failure.is_alone:
        return None  # a trial that was watched: what does not grow there is not said to grow
    models, tiny = tensors.earlier_models(failure), tensors.is_tiny(failure)
    if models >= 3 and tiny:
        return LIKELY, [
            f"The op's name counts {models} models or trainings before this one in the same process: "
            "what they had taken may still be held."
        ]
    if failure.marks & forms.FOLDS and (tiny or tensors.creates(failure)):
        return LIKELY, ["It failed in a loop over folds: what earlier models had taken may still be held."]
    if "repeats" in failure.marks:
        return GUESS if failure.kind in ("worded", "full") else LIKELY, [
            "Others of its kind had run before, it is told: what they took may still be held."
        ]
    if failure.marks & forms.IN_LOOP:
        return LIKELY, [
            "It is told that models are trained one after the other in one process: what earlier ones took "
            "may still be held."
        ]
    if failure.kind == "worded" and "leaks" in failure.marks:
        return GUESS, ["It is told that memory grows as it runs, not that one step is too large."]
    if (failure.epoch or 0) >= 2:
        return LIKELY if failure.epoch >= 4 else GUESS, [
            f"It had reached epoch {failure.epoch}: the same step had fitted before. Something grows, or a "
            "larger batch came (validation data, a longer sequence)."
        ]
    if failure.done >= 2:
        sure = LIKELY if failure.done >= 3 else GUESS
        return sure, [
            f"{failure.done} epochs had finished before it: something grows, or a larger batch came."
        ]
    return None


def _of_saved_weights(failure):
    said = "Weights were being loaded or created, and nothing says that a batch had come."
    return GUESS, [said, _NO_SMALLER_BATCH]


def _fragmentation(failure):
    requested, free = failure.requested_bytes, failure.free_bytes
    if failure.framework == "torch":
        unused = failure.unused_bytes or (failure.pool_bytes or 0) - (failure.in_use_bytes or 0)
        if requested and unused >= 1.2 * requested and unused > 0.2 * (failure.limit_bytes or unused):
            said = f"PyTorch holds {format_size(unused)} of the device that it does not use"
            return LIKELY, [f"{said}, more than the {format_size(requested)} asked for: not in one piece."]
        return None
    if not (requested and free) or failure.on_gpu and failure.available_bytes:
        return None
    if requested <= free and free >= 0.05 * failure.limit_bytes:
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
            or tensors.is_of_weights(failure)
            and fixed > needed.get("activations", 0)
        ):
            said = f"{format_size(fixed)} of {evidence.in_use(failure)} were weights and optimizer state."
            return CERTAIN, [said, _MAY_LEAVE_ROOM if tensors.is_in_step(failure) else _NO_SMALLER_BATCH]
        return None
    if failure.kind == "proto" and failure.marks & forms.ADDS_WEIGHTS:
        return LIKELY, [
            "The initial values of a layer's weights were to become a constant of the graph, which can hold "
            "at most 2 GB: this one array of weights is larger.",
            _NO_SMALLER_BATCH,
        ]
    if failure.division and failure.division.is_given:
        return LIKELY, list(evidence.in_division(failure))
    if failure.kind == "constant" and not failure.op:
        said = "Most tensors of one value are new optimizer state, which begins as zeros."
        return GUESS, [said, _NO_SMALLER_BATCH]
    if failure.kind in ("full", "torch") and failure.is_loading:
        return _of_saved_weights(failure)
    if failure.is_buffer_of_tpu:
        return GUESS, [
            "On a TPU, what a step computes on the way is planned with its program. A buffer of its own is "
            "what goes into it or comes out: weights, optimizer state, a batch."
        ]
    if not tensors.is_of_weights(failure):
        return None
    why = list(evidence.of_weights(failure))
    if tensors.is_tiny(failure):
        return GUESS, [*evidence.tiny(failure), *why]
    if failure.kind == "copy":
        return GUESS, [*why, "All else had filled the device: the text does not say with what."]
    if tensors.is_in_step(failure):
        return LIKELY, [*why, _MAY_LEAVE_ROOM]
    return LIKELY, [*why, _NO_SMALLER_BATCH]


def _tries(failure):
    return [evidence.TRIES] if failure.is_of_compiled_step else []


def _activations(failure):
    needed = failure.needed_by_category
    if needed:
        kinds = ("activations", "inputs", "workspace", "gradients")
        moving = sum(needed.get(name, 0) for name in kinds)
        said = (
            f"{format_size(moving)} of {evidence.in_use(failure)} were activations, gradients, inputs and "
            "workspace."
        )
        said = [said, *evidence.in_block(failure), *evidence.in_loop(failure), *_tries(failure)]
        is_most = moving > 0.5 * sum(needed.values()) and not _whole_arrays_fill(failure)
        return (CERTAIN, said) if is_most else None
    if failure.kind == "xla":
        sure = GUESS if failure.is_of_tries else LIKELY
        return sure, [*evidence.of_step(failure), *_tries(failure)]
    if failure.kind == "recurrent":
        return LIKELY if failure.requested_bytes else GUESS, [evidence.of_recurrent(failure)]
    if failure.kind == "worded" and failure.shape:
        return GUESS, [
            evidence.first_dimension(failure),
            "The error itself is not there: this goes by what is told.",
        ]
    if failure.is_buffer_of_tpu:
        return None
    if failure.kind in ("torch", "full") and not failure.is_overflow or _ran_without_sizes(failure):
        return _on_another_framework(failure)
    if failure.kind == "copy" and forms.BETWEEN_DEVICES in failure.marks:
        return GUESS, ["The output of this op was copied to another device, and found no room there."]
    if failure.kind == "copy" and not tensors.is_of_weights(failure):
        said = "What was copied to the device is a batch, and found no room: all else has filled the device."
        return GUESS, [said]
    if failure.kind == "worded" and "/" in (failure.op or "") and not tensors.in_optimizer(failure):
        return GUESS, ["The op belongs to a layer, not to the optimizer."]
    if failure.kind not in ("oom", "refused", "constant"):
        return None
    small = list(evidence.tiny(failure)) if tensors.is_tiny(failure) else []
    if tensors.is_workspace(failure):
        return LIKELY, [
            "A one-dimensional uint8 tensor of this size is a workspace, or what cuDNN keeps for the "
            "backward "
            "pass: it grows with the batch."
        ]
    if failure.shape is None or len(failure.shape) < 2:
        named = "/" in (failure.op or "") and not tensors.is_of_weights(failure)
        if named:
            return GUESS, [*small, "The op belongs to a layer, not to the optimizer."]
        if failure.is_of_compiled_step:
            return GUESS, [_MOSTLY, *_tries(failure)]
        if failure.arguments and failure.layer and not tensors.is_of_weights(failure):
            return GUESS, ["It failed in a layer that had received its input.", _MOSTLY]
        known = failure.requested_bytes or failure.shape is not None
        return _of_the_process(failure) or ((GUESS, [*small, _MOSTLY]) if known else None)
    said = [*small, evidence.first_dimension(failure)]
    if tensors.is_of_weights(failure):
        return GUESS, said
    if (failure.batch or 1) > 1 and failure.shape[0] % failure.batch == 0:
        return LIKELY, said
    path = "/" in (failure.op or "") or failure.last_part.startswith(FORWARD_TYPES)
    return (GUESS if small and not path else LIKELY if path or len(failure.shape) >= 3 else GUESS), said


def _of_the_process(failure):
    limit, used = failure.limit_bytes, failure.in_use_bytes
    if (
        not (limit and used)
        or used < (0.7 if failure.is_dump_alone else 0.5) * limit
        or tensors.is_of_weights(failure)
    ):
        return None
    return GUESS, [f"This process itself holds {100 * used / limit:.0f} % of its limit.", _MOSTLY]


def _on_another_framework(failure):
    if tensors.in_optimizer(failure) or failure.marks & {"load_weights"} or failure.is_loading:
        return None
    return (LIKELY if failure.shape and failure.layer else GUESS), [_MOSTLY]


CAUSES = (  # in the order in which they are tried
    Cause("host_memory", "The host's memory ran out, not the device's.", _host_memory),
    Cause(
        "memory_taken_before_start",
        "Another program holds the device's memory, or the device has hardly any.",
        _memory_taken_before_start,
    ),
    Cause(
        "array_copied_to_device",
        "A whole data set, array or buffer of samples lies on the device.",
        _array_copied_to_device,
    ),
    Cause(
        "autotuning",
        "The first step tries out algorithms on the GPU, and one of them found no room.",
        _autotuning,
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
