"""What a failure shows, in sentences: the facts by themselves, before any cause is named."""

import re
from collections import Counter
from dataclasses import replace

from ..logs.dumpfile import equal_groups
from ..logs.forms import MAKES_SLOTS
from ..sizes import MIB, format_size, three_digits
from . import tensors

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
TELLING = 0.95  # of the batch: a bound above that says nothing


PATCHES = (
    "That is scratch memory: on a CPU, the gradient of a convolution takes as many patches of images at once "
    "as fit in a fixed budget, whatever the batch."
)


def printable(text):
    """The text without control characters: a log may hold such as take over the terminal."""
    return _CONTROL.sub("", text)


def facts(failure):
    """Op, tensor, memory in use: what is known whatever the cause."""
    op = failure.op or failure.op_type
    if op and op != "StatefulPartitionedCall":
        yield f"The op that failed: {op}" + (f", in layer {failure.layer}." if failure.layer else ".")
    shape, requested = failure.shape, failure.requested_bytes
    if shape is not None and requested:
        yield f"Its tensor: {failure.dtype or ''}{list(shape)}, {format_size(requested)}."
    elif shape is not None:
        yield f"Its tensor has the shape {list(shape)}; the text does not give its type."
    elif requested:
        yield f"It asked for {format_size(requested)}."
    if tensors.is_patches(failure):
        yield PATCHES
    if shape is None and not requested and failure.arguments:
        yield of_argument(failure)
    if failure.in_use_bytes is not None and failure.limit_bytes:
        used = f"In use: {format_size(failure.in_use_bytes)} of {format_size(failure.limit_bytes)}"
        left = failure.largest_free_bytes
        yield f"{used}." if left is None else f"{used}; largest free block: {format_size(left)}."
    elif failure.largest_free_bytes is not None:
        yield f"Largest free block: {format_size(failure.largest_free_bytes)}."
    alike = failure.sizes.get(-(-(requested or 0) // 256) * 256, 0)
    if alike > 1:
        yield f"{alike:,} chunks of exactly the same size are already in use."
    yield from of_chunks(failure)


def of_argument(failure):
    """The largest tensor that the layer which failed had received."""
    received = (replace(failure, shape=shape, dtype=dtype) for shape, dtype in failure.arguments)
    largest = max(received, key=lambda one: one.tensor_bytes or 0)
    size = f", {format_size(largest.tensor_bytes)}" if largest.tensor_bytes else ""
    return f"The layer had received {largest.dtype}{list(largest.shape)}{size}."


def of_chunks(failure):
    """What fills the memory, by groups of equal chunks: a log without names has no better list."""
    groups = [(count, size) for count, size in equal_groups(failure.sizes)[:4] if size >= MIB]
    total = sum(count * size for count, size in groups)
    if groups and total > 0.25 * failure.used_bytes:
        said = [f"{count:,} of {format_size(size)}" if count > 1 else f"one of {format_size(size)}"
                for count, size in groups]  # fmt: skip
        yield f"The chunks that hold the most: {', '.join(said)}; together {format_size(total)}."


def near_miss(failure):
    """That steps had fitted, and how near to the limit they and the one that failed are."""
    limit, before = failure.limit_bytes, failure.steps_peak_bytes
    if not (limit and before and failure.steps) or failure.grows_by_bytes:
        return
    needed = (failure.in_use_bytes or 0) + (failure.requested_bytes or 0)
    if 0.75 * limit < needed < 1.15 * limit:
        share = f"{100 * needed / limit:.0f} %" + (", and not in one piece" if needed <= limit else "")
        steps = "step" if failure.steps == 1 else f"fullest of the {failure.steps} steps"
        yield (
            f"A near miss: the {steps} before it took {100 * before / limit:.0f} % of the limit, and this "
            f"one needs at least {share}.{_between_steps(failure)}"
        )


def _between_steps(failure):
    """What stays in use from step to step, as far as the steps before it tell."""
    ends = failure.step_bytes
    if failure.steps == 1:
        return " What the first step creates, such as the optimizer's state, stays in use."
    if len(ends) > 1 and ends[-1] - ends[0] < 0.02 * failure.limit_bytes:
        return " Nothing grows; what a step needs wanders."
    return ""


def batch_that_may_fit(failure):
    """The largest batch not yet ruled out: what was in use and asked for, scaled down to the limit.

    What does not depend on the batch, as far as it is known, is not scaled.
    """
    batch, limit = tensors.batch_of(failure), failure.limit_bytes
    if not (batch and failure.requested_bytes and limit):
        return None
    fixed = sum((failure.held_by_category or {}).get(name, 0) for name in ("weights", "optimizer"))
    fixed += failure.arrays_bytes + failure.requested_bytes * tensors.is_patches(failure)
    needed = (failure.in_use_bytes or 0) + failure.requested_bytes
    if needed <= limit or limit <= fixed:
        return None
    return batch * (limit - fixed) // (needed - fixed) or None


def largest_batch(failure, fits):
    """How large a batch the limit could hold at most. fits: of batch_that_may_fit, or None."""
    batch = tensors.batch_of(failure)
    if fits and batch and fits <= TELLING * batch:
        needed = format_size((failure.in_use_bytes or 0) + failure.requested_bytes)
        limit = format_size(failure.limit_bytes)
        said = f"the step needs {needed}; {limit} can hold no more than {fits} of its {batch} samples"
        if failure.kind == "xla":
            yield f"In all, {said}."
        else:
            yield f"Up to this point {said}, and probably far fewer, since the step had not finished."


def first_dimension(failure):
    """What the first dimension of the tensor has to do with the batch size."""
    shape, batch = failure.shape, tensors.told_batch(failure)
    first = shape[0]
    if tensors.is_patches(failure):
        return "What else the step holds, its activations above all, grows with the batch."
    if failure.batch and not batch:
        return (
            f"The first dimension, {first:,}, is not the batch size {failure.batch} that the text tells: "
            "evaluate(), predict() and validation_data have one of their own, 32 if none is given."
        )
    if batch == first:
        return f"The first dimension, {first:,}, is the batch size: the tensor grows with it."
    if batch and first % batch == 0:
        return f"The first dimension, {first:,}, is {first // batch} times the batch size {batch}."
    if batch and batch in shape:
        return f"The batch size, {batch}, is one of its dimensions: the tensor grows with it."
    if batch:
        return (
            f"The first dimension, {first:,}, is not the batch size {batch}: a part of the batch, or a "
            "workspace of the op."
        )
    if first == 1 and len(shape) >= 3:
        return "The first dimension is 1: the batch is a single sample, and the sample is too large."
    if tensors.is_time_major(failure):
        return f"The first dimension, {first:,}, is the time steps or the batch: recurrent layers swap them."
    if tensors.first_is_doubtful(failure):
        return f"The first dimension, {first:,}, may be the batch size, or a multiple of it."
    return f"The first dimension, {first:,}, is probably the batch size: in Keras it comes first."


def tiny(failure):
    """That what was refused is not what fills the device."""
    what = "A single number" if failure.shape == () else "What was refused"
    size = (
        f", {format_size(failure.requested_bytes)},"
        if failure.shape != () and failure.requested_bytes
        else ""
    )
    yield f"{what}{size} is tiny: everything else fills the device, and this only came last."
    models = tensors.earlier_models(failure)
    if models:
        yield (
            f"The op's name counts {models} models or trainings before this one in the same process, which "
            "may still hold their memory."
        )


def of_weights(failure):
    """How the tensor shows itself to be of weights."""
    if tensors.in_optimizer(failure) or failure.marks & MAKES_SLOTS:
        yield "The op belongs to the optimizer: it was creating or updating its state."
    elif tensors.is_weight_gradient(failure):
        yield "The op computes the gradient of a layer's weights, which is as large as they are."
    elif tensors.creates(failure) or failure.is_building:
        yield "It failed while a layer created or loaded its weights, before any batch came."
    elif tensors.is_turned(failure.shape):
        yield (
            f"Its shape {list(failure.shape)} is that of a kernel, turned for cuDNN: a copy that each call "
            f"makes."
        )
    elif failure.shape:
        yield f"Its shape {list(failure.shape)} is that of a kernel, not of a batch."
    if (
        failure.shape
        and len(failure.shape) == 2
        and tensors.looks_flattened(failure)
        and tensors.flattened(failure)
    ):
        yield of_flattened(failure, "It is")


def of_flattened(failure, said):
    """What Flatten has to do with the rows of a matrix. said: how sure that is."""
    found = [" x ".join(map(str, sides)) for sides in tensors.flattened(failure)]
    maps = f"{found[0]} or {found[-1]}" if len(found) > 1 else found[0]
    return (
        f"{said} a dense layer behind Flatten: {failure.shape[0]:,} rows are {maps}, one for each number of "
        "the feature maps."
    )


def of_large_chunks(failure, sizes, sample):
    """What few, large chunks hold, and that each is a multiple of one sample."""
    many = f"{len(sizes)} chunks hold" if len(sizes) > 1 else "A single chunk holds"
    said = (
        f"{many} {format_size(sum(sizes))} of {format_size(failure.used_bytes)} in use, each far larger "
        f"than what was refused: "
        "typical of whole data sets (from_tensor_slices, validation_split)"
    )
    return f"{said}; each is a multiple of one sample of {format_size(sample)}." if sample else f"{said}."


def of_buffer(count, size):
    """What hundreds of equal chunks are."""
    return (
        f"{count:,} chunks of exactly {format_size(size)} fill the memory: single samples that a buffer "
        f"holds, as "
        "shuffle(), prefetch() and cache() do. On a CPU they are in the device's own memory."
    )


def of_step(failure):
    """What a compiled step is refused, as XLA says it."""
    if failure.is_tpu:
        yield "On a TPU the compiler plans the memory of a whole step: mostly the batch sets its size."
    else:
        yield "XLA asks for the memory of a whole compiled step as one block: mostly the batch sets its size."
    requested, limit = failure.requested_bytes, failure.limit_bytes
    if requested and limit and requested > limit:
        yield f"It needs {three_digits(requested / limit)} times what there is."
    known = list(in_division(failure))
    if not known and failure.framework == "tensorflow" and not failure.is_tpu:
        known = ["labkit.run(train, profile=True) can tell what would be in it."]
    yield from known
    yield from in_loop(failure)


TRIES = (
    "In the first step on a GPU, cuDNN or XLA also tries out algorithms, each with scratch memory of its "
    "own, which is not proportional to the batch: on an H200, up to 16 times what later steps needed."
)


def of_tries(failure):
    """That what was refused is what an algorithm was tried out with."""
    return (
        "What was refused was memory to try out an algorithm. Such a refusal should be no failure, yet the "
        "training ended with it."
    )


def of_redzones(failure):
    """What a request of 16 MiB and a little looks like."""
    return (
        f"{format_size(failure.requested_bytes)} is little for a compiled step, and what XLA asks for to try "
        "out an algorithm on a small tensor: it puts 8 MiB around both ends."
    )


def of_recurrent(failure):
    """What an LSTM or a GRU with NVIDIA's kernel says when it is refused memory."""
    said = "NVIDIA's kernel for LSTM and GRU failed, which says no more than that where memory is refused"
    if failure.requested_bytes:
        return f"{said}, as it was here."
    return f'{said}. If so, TensorFlow\'s log has "ran out of memory trying to allocate" above it.'


def in_use(failure):
    """What a share is a share of: "the 200 MiB in use"."""
    asked = " and asked for" if failure.block else ""
    return f"the {format_size(sum(failure.needed_by_category.values()))} in use{asked}"


def one_chunk(failure):
    """That a single chunk holds much of the limit."""
    share = 100 * failure.largest_chunk_bytes / failure.limit_bytes
    return (
        f"A single chunk of {format_size(failure.largest_chunk_bytes)} takes {share:.0f} % of the limit: "
        "too much for the output of a layer, typical of a whole data set."
    )


def in_block(failure):
    """What XLA meant to put into the block that it was refused."""
    if failure.block:
        parts = [f"{format_size(size)} {name}" for name, size in failure.block.by_category().items() if size]
        yield (
            "XLA asks for the memory of a whole compiled step as one block. At its peak the block would hold "
            f"{', '.join(parts)}."
        )
        layers = failure.block.by_layer().items()
        largest = [f"{name} ({format_size(size)})" for name, size in layers if name][:3]
        if largest:
            yield f"The layers that need the most of it: {', '.join(largest)}."


def in_division(failure):
    """What XLA printed of how it divides its memory."""
    division = failure.division
    if division is None:
        return
    given, scratch = (format_size(part) if part else None for part in (division.given, division.scratch))
    if division.is_given:
        only = f", and only {scratch} for what it computes" if scratch else ""
        yield f"XLA lists what its step holds: {given} of inputs (weights, optimizer state, the batch){only}."
    elif scratch:
        beside = f", beside {given} of inputs" if given else ""
        yield (
            f"XLA lists what its step holds: {scratch} for what it computes (activations, gradients, "
            f"workspace){beside}."
        )
    if division.buffers:
        alike = Counter(map(str, division.buffers))
        named = [f"{count} times {said}" if count > 1 else said for said, count in alike.items()]
        yield f"The largest: {'; '.join(named[:3])}."
    yield from in_padding(failure)


def in_padding(failure):
    """That a TPU fills tensors up to whole tiles."""
    if failure.is_padded:
        yield (
            f"{format_size(failure.division.padding)} hold no values: a TPU keeps tensors in tiles, one "
            "dimension padded to a multiple of 8, another to a multiple of 128."
        )


def in_loop(failure):
    """That XLA keeps the weights of a loop once for each of its steps."""
    if failure.is_in_loop:
        yield (
            f"{format_size(failure.loop_bytes)} of that are a recurrent layer's weights and their gradients, "
            "which XLA keeps once for each time step of the sequence, whatever the batch size."
        )
