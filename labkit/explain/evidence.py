"""What a failure shows, in sentences: the facts by themselves, before any cause is named."""

import re
from collections import Counter

from ..sizes import format_size

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
TELLING = 0.95  # of the batch: a bound above that says nothing


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
    if failure.in_use_bytes is not None and failure.limit_bytes:
        used = f"In use: {format_size(failure.in_use_bytes)} of {format_size(failure.limit_bytes)}"
        left = failure.largest_free_bytes
        yield f"{used}." if left is None else f"{used}; largest free block: {format_size(left)}."
    alike = failure.sizes.get(-(-(requested or 0) // 256) * 256, 0)
    if alike > 1:
        yield f"{alike} chunks of exactly the same size are already in use."


def batch_that_may_fit(failure):
    """The largest batch not yet ruled out: what was in use and asked for, scaled down to the limit."""
    batch, limit = failure.likely_batch, failure.limit_bytes
    if not (batch and failure.requested_bytes and limit):
        return None
    fixed = sum((failure.held_by_category or {}).get(name, 0) for name in ("weights", "optimizer"))
    needed = (failure.in_use_bytes or 0) + failure.requested_bytes
    if needed <= limit or limit <= fixed:
        return None
    return batch * (limit - fixed) // (needed - fixed) or None


def largest_batch(failure, fits):
    """How large a batch the limit could hold at most. fits: of batch_that_may_fit, or None."""
    batch = failure.likely_batch
    if fits and fits <= TELLING * batch:
        needed = format_size((failure.in_use_bytes or 0) + failure.requested_bytes)
        limit = format_size(failure.limit_bytes)
        said = f"the step needs {needed}; {limit} can hold no more than {fits} of its {batch} samples"
        if failure.kind == "xla":
            yield f"In all, {said}."
        else:
            yield f"Up to this point {said}, and probably far fewer, since the step had not finished."


def first_dimension(failure):
    """What the first dimension of the tensor has to do with the batch size."""
    first, batch = failure.shape[0], failure.batch
    if batch == first:
        return f"The first dimension, {first:,}, is the batch size: the tensor grows with it."
    if batch and first % batch == 0:
        return f"The first dimension, {first:,}, is {first // batch} times the batch size {batch}."
    if first == 1:
        return "The first dimension is 1: the batch is a single sample, and the sample is too large."
    return f"The first dimension, {first:,}, is probably the batch size: in Keras it comes first."


def in_use(failure):
    """What a share is a share of: "the 200 MiB in use"."""
    asked = " and asked for" if failure.block else ""
    return f"the {format_size(sum(failure.needed_by_category.values()))} in use{asked}"


def one_chunk(failure):
    """That a single chunk holds much of the limit."""
    share = 100 * failure.largest_chunk_bytes / failure.limit_bytes if failure.limit_bytes else 100
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
    given, scratch = format_size(division.given), format_size(division.scratch)
    if division.is_given:
        yield (
            f"XLA lists what its step holds: {given} of inputs (weights, optimizer state, the batch), and "
            f"only {scratch} for what it computes."
        )
    else:
        yield (
            f"XLA lists what its step holds: {scratch} for what it computes (activations, gradients, "
            f"workspace), beside {given} of inputs."
        )
    if division.buffers:
        alike = Counter(map(str, division.buffers))
        named = [f"{count} times {said}" if count > 1 else said for said, count in alike.items()]
        yield f"The largest: {'; '.join(named[:3])}."


def in_loop(failure):
    """That XLA keeps the weights of a loop once for each of its steps."""
    if failure.is_in_loop:
        yield (
            f"{format_size(failure.loop_bytes)} of that are a recurrent layer's weights and their gradients, "
            "which XLA keeps once for each time step of the sequence, whatever the batch size."
        )
