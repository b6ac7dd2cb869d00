"""What a tensor is, as far as its shape, its op and the sizes around it tell: weights, scores, data."""

import math
import re

from ..logs.forms import EVALUATES, IN_BATCHES, MAKES_SLOTS, MAKES_WEIGHTS, PREDICTS, SPLITS
from ..record.opnames import FORWARD_TYPES, GRADIENT, WEIGHT_GRADIENT, of_optimizer
from ..sizes import MIB

_CREATED = re.compile(
    r"(?:^|/)(?:Assign(?:_\d+)?|Initializer(?:/.*)?|random_(?:uniform|normal)(?:/.*)?|truncated_normal(?:/.*)?|"
    r"(?:stateless_)?\w{0,12}(?:[Rr]andom_?[Uu]niform|RandomStandardNormal|TruncatedNormal)\w{0,6}|VarHandleOp|"
    r"(?:\w{0,30}kernel|bias|gamma|beta|embeddings|moving_\w{4,8}|weights?)/(?:read|Assign|Const|zeros|ReadVariableOp|"
    r"\w{0,12}[Ii]nitial\w{0,12}(?:/.*)?))(?:_\d+)?$"
)
_BARE = re.compile(
    r"(?:zeros|ones|Variable|random_\w{1,12}|truncated_normal)(?:_\d+)?(?:/|$)"
)  # TensorFlow 1
_RANDOM = (
    "RandomUniform",
    "StatelessRandomUniform",
    "RandomStandardNormal",
    "StatelessRandomNormal",
    "TruncatedNormal",
    "StatelessTruncatedNormal",
    "StatelessRandomGetKey",
    "VarHandleOp",
    "AssignVariableOp",
)
_MAKING_FILES = ("assign_op", "resource_variable_ops", "variable_ops", "save_restore", "restore_op")
_WIDTHS = (
    *(1, 3, 4, 8, 16, 24, 32, 40, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 576, 640, 728, 768),
    *(960, 1024, 1280, 1408, 1536, 1664, 1792, 1920, 2048, 2560),
)
_HEIGHTS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 18, 20, 22, 24, 28, 30, 32, 40, 45, 48, 56, 60, 64)
_NOT_SCORES = re.compile(
    r"conv|batch_?norm|(?:^|[/_])bn|res(?:net|_|\d)|pool|dropout|relu|upsampl|unet|u_net|deconv|image|discriminator|"
    r"generator|stem|encoder_?conv|padd?ing",
    re.IGNORECASE,
)
_NAMED_SCORES = ("attention", "attn", "attend", "self_att", "mha")
_SCORING = (
    "softmax",
    "einsum",
    "matmul",
    "batchmatmul",
    "dot_general",
    "add",
    "mul",
    "div",
    "realdiv",
    "truediv",
    "select",
    "where",
)
_STRONG = ("softmax", "einsum", "matmul", "batchmatmul", "dot_general")
_MANY_IN_ONE = re.compile(
    r"time_?distributed|space_?to_?batch|batch_?to_?space|unstack|unpack|replica|tower|reshape|tile|patch|roi|crop|"
    r"dilat|window|repeat|gather|boolean_mask|nms|segment",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"(?:^|/)(?:training|adam|sgd|rmsprop|model|sequential|functional|Adam|RMSprop|SGD)_(\d{1,4})(?=/)",
    re.IGNORECASE,
)
_COUNTED_BY_KERAS = re.compile(
    r"(?:^|/)(?:embedding|input|lstm|gru|fc\d?|predictions|logits|block\d_conv\d)_(\d{2,4})(?=/)",
    re.IGNORECASE,
)
_CONVOLUTION_GRADIENT = re.compile(
    r"(?:Conv2D(?:Custom)?Backprop(?:Input|Filter)|Conv3DBackprop(?:Input|Filter)(?:V2)?|"
    r"conv(?:2d|3d)?_transpose)(?:_\d+)?$"
)
MANY_MODELS = 20  # layers of one name: no model has so many tables of words, or so many of its last layers
TINY = 8 * MIB  # where no limit is told: less than this does not fill a device
FEW = 12  # chunks
LARGE_BATCH = 2048  # rows
LARGE_SAMPLE = 2**30  # bytes of one tensor, of which a training holds many
SMALL_SAMPLE = 2**14  # bytes: what is smaller divides too much by chance


def is_kernel(shape):
    """Whether a shape is that of a convolution's kernel: in TensorFlow's order, or turned for cuDNN."""
    if shape is None or len(shape) not in (4, 5):
        return False
    sides, (inputs, outputs) = shape[:-2], shape[-2:]
    if len(set(sides)) == 1 and sides[0] in (1, 2, 3, 4, 5, 7, 9, 11):
        if outputs == 1:
            return inputs >= 8 and sides[0] > 1  # depthwise
        large_maps = inputs == outputs and sides[0] <= 2 and inputs > 2048
        return max(inputs, outputs) >= 16 and outputs >= 8 and not large_maps
    if len(shape) == 4 and set(sides) == {1, 7}:
        return min(inputs, outputs) >= 16  # one side at a time, as in Inception
    return _is_turned(shape)


def _is_turned(shape):
    """In cuDNN's order; maps of 5 or 7 pixels a side are so common that only images' kernels count there."""
    (outputs, inputs), sides = shape[:2], shape[2:]
    if len(set(sides)) != 1 or outputs < 16:
        return False
    return sides[0] == 3 and inputs >= 3 or sides[0] in (5, 7, 11) and inputs in (1, 3)


def is_turned(shape):
    """Whether it is a kernel in cuDNN's order: TensorFlow turns it for each call, a small copy."""
    return shape is not None and len(shape) in (4, 5) and _is_turned(shape)


def creates(failure):
    """Whether the op creates or loads a layer's weights."""
    op = failure.op or ""
    if GRADIENT.search(op) or "dropout" in op.lower():
        return False
    if _BARE.match(op):
        return True
    if "/" in op:
        return _CREATED.search(op) is not None and not _optimizer_made(op)
    made = failure.last_part.startswith(_RANDOM) or failure.kernel in _MAKING_FILES
    plain = failure.shape is None or len(failure.shape) <= 2 or is_kernel(failure.shape)
    random = failure.kernel == "random_op" and len(failure.shape or (0, 0, 0)) == 2
    return (made and plain) or random or bool(failure.marks & MAKES_WEIGHTS) and not _in_forward(failure)


def _optimizer_made(op):
    return re.search(
        r"(?:^|/)(?:training|adam|rmsprop|sgd|nadam|adadelta|adagrad|ftrl|optimizer)\w*/", op, re.IGNORECASE
    )


def _in_forward(failure):
    return failure.last_part.startswith(FORWARD_TYPES)


def in_optimizer(failure):
    """Whether the op, or the traceback, is the optimizer's."""
    op = failure.op or ""
    if "/" in op and _CREATED.search(op) and not _optimizer_made(op):
        return False
    return of_optimizer(op) or bool(failure.marks & MAKES_SLOTS)


def is_of_weights(failure):
    """Whether op, traceback or shape say that the tensor is a weight, its gradient or optimizer state."""
    op, shape = failure.op or "", failure.shape
    if GRADIENT.search(op):
        return is_weight_gradient(failure)
    if in_optimizer(failure) or creates(failure):
        return True
    if failure.last_part.lower().startswith("conv") and is_turned(shape):
        return True
    return "/" not in op and not _in_forward(failure) and is_kernel(shape)


def is_weight_gradient(failure):
    """Whether the op computes the gradient of weights: a workspace of the same op is not meant."""
    if is_recurrent(failure):
        return True
    if not WEIGHT_GRADIENT.search(failure.op or ""):
        return False
    shape = failure.shape
    if shape is None or "BackpropFilter" not in failure.last_part:
        return shape is None or len(shape) <= 2 or is_kernel(shape)
    return is_kernel(shape)


def is_recurrent(failure):
    """Whether a shape is that of a recurrent layer's kernel: its gates stand side by side."""
    shape, batch = failure.shape or (), failure.batch
    named = failure.has_words("lstm", "gru", "rnn", "while", "recurrent", "tensorlist")
    gates = len(shape) == 2 and shape[0] >= 8 and shape[1] in (3 * shape[0], 4 * shape[0])
    return named and gates and batch is not None and batch != shape[0]


def is_table(failure):
    """Whether a shape is that of a table with a row for each word: many rows, far fewer columns."""
    shape = failure.shape or ()
    named = failure.has_words("mbed", "lookup_table", "word_vec")
    if len(shape) != 2 or shape[0] < 10_000 or shape[0] < 8 * shape[1]:
        return False
    of_words = not (failure.op or failure.op_type) and failure.has_words("ocab") and shape[0] % 64
    return named or bool(of_words) or is_of_weights(failure) and shape[1] <= 2048


def flattened(failure):
    """[(height, width, channels), ...] that the rows of a matrix may come from, if Flatten passes them on."""
    shape = failure.shape or ()
    if len(shape) != 2 or shape[0] < 2048 or shape[0] < 1.5 * shape[1] or failure.has_words("mbed"):
        return []
    rows = shape[0]
    if rows <= 8192 and not rows & (rows - 1):
        return []  # a power of two is more often a number of units
    square = [(math.isqrt(rows // channels), channels) for channels in _WIDTHS if rows % channels == 0]
    square = [
        (side, side, channels) for side, channels in square if side * side * channels == rows and side >= 4
    ]
    oblong = (
        (height, rows // height // channels, channels)
        for channels in (512, 256, 128, 64, 32)
        for height in _HEIGHTS
        if rows % (height * channels) == 0 and height < rows // height // channels <= 2 * height
    )
    return square or list(oblong)[:1]


def looks_flattened(failure):
    """True, False, or None where a table of words and a Flatten before a dense layer could both be."""
    if not flattened(failure):
        return False
    if failure.has_words("flatten", "dense", "fc", "fully"):
        return True
    is_round = any((failure.shape[0] - more) % 1000 == 0 for more in (0, 1))
    return None if is_round else True


def scores(failure):
    """How sure it is that the tensor is attention scores: 2 by names, 1 by its shape, 0 not."""
    shape = failure.shape
    if shape is None or len(shape) < 2:
        return 0
    words = failure.has_words(*_NAMED_SCORES)
    last = failure.last_part.lower()
    square = len(shape) in (3, 4, 5) and shape[-1] == shape[-2] >= 128
    if words and (
        last.startswith("softmax") or square and (last.startswith(_SCORING) or not last or len(shape) == 4)
    ):
        return 2
    if failure.framework == "torch" and (failure.layer or "").startswith(("Softmax", "MultiHeadAttention")):
        wide = len(shape) == 4 and shape[1] <= 64 and min(shape[3], shape[2] * 8) >= 128
        return 2 if wide else 0
    if not square or _NOT_SCORES.search(f"{failure.op or ''} {failure.layer or ''}"):
        return 0
    if is_of_weights(failure) or last.startswith(("conv", "max", "avg", "fused", "relu", "bias")):
        return 0
    if last.startswith(_STRONG) and shape[-1] >= 128:
        return 2 if len(shape) == 4 else 1
    if failure.has_words("transformer", "encoder_layer", "decoder_layer") and last.startswith(_SCORING):
        return 1
    heads = 1 if len(shape) == 3 else shape[1]
    return int(heads <= 32 and shape[-1] >= (1024 if len(shape) == 3 else 2048))


def is_whole_array(failure):
    """Whether rows outside of any layer are those of a data set: no batch has so many, or they are split."""
    shape = failure.shape or ()
    in_layer = "/" in (failure.op or "") or failure.has_words("mbed")
    last = failure.last_part or (failure.kernel or "")
    if (
        in_layer
        or len(shape) < 2
        or not last.lower().startswith(("gather", "_eagerconst", "expanddims", "strided_slice"))
    ):
        return False
    return shape[0] >= LARGE_BATCH and shape[0] != failure.batch or bool(failure.marks & SPLITS)


def comes_in_batches(failure):
    """Whether what was copied to the device is a batch, not a whole array."""
    batched = re.search(r"IteratorGetNext|^(?:loss|training|metrics)/", failure.op or "")
    return bool(batched or failure.marks & IN_BATCHES)


def is_tiny(failure):
    """Whether what was refused is so small that all else fills the device."""
    requested, limit = failure.requested_bytes, failure.limit_bytes
    if requested is None:  # the type is not told: no number takes more than 16 bytes
        return failure.shape is not None and 16 * math.prod(failure.shape) <= TINY
    return requested <= (0.01 * limit if limit else TINY)


def is_in_step(failure):
    """Whether a tensor of weights that is not large was refused in a step, beside its activations."""
    made = creates(failure) or _CREATED.search(failure.op or "")
    in_step = GRADIENT.search(failure.op or "") or of_optimizer(failure.op) and not made
    small = (failure.requested_bytes or 0) < 64 * MIB
    return bool(in_step) and (small or len(failure.shape or ()) >= 4)


def is_workspace(failure):
    """Whether the tensor is nothing but bytes: cuDNN's workspace, or what it keeps for the backward pass."""
    return failure.dtype == "uint8" and len(failure.shape or ()) == 1 and failure.shape[0] > MIB


def is_patches(failure):
    """Whether a convolution's gradient gathers patches in it, on a CPU: [patches, places, weights].

    Their number follows from a fixed budget (labkit.predict.growth.Shards), whatever the batch.
    """
    named = (failure.last_part, failure.op_type or "")
    return len(failure.shape or ()) == 3 and any(map(_CONVOLUTION_GRADIENT.search, named))


def is_time_major(failure):
    """Whether a recurrent layer may have put the time steps first."""
    last = re.search(
        r"transpose|tensor_?array|tensor_?list|stack|while|cudnn", failure.last_part, re.IGNORECASE
    )
    return bool(last) and failure.has_words("lstm", "gru", "rnn", "bidirectional")


def earlier_models(failure):
    """How many models this process had made before, as the numbers in the names of ops count them.

    A trial has a process of its own: there it is 0, unless memory in use was seen to grow. A count of 1
    says nothing: Keras 3 and standalone Keras give it to the first model.
    """
    if failure.is_alone and not failure.grows_by_bytes:
        return 0
    layers = (int(n) for n in _COUNTED_BY_KERAS.findall(failure.op or ""))
    counted = (int(n) for n in _COUNTED.findall(failure.op or ""))
    return max([*(n for n in counted if n > 1), *(n for n in layers if n >= MANY_MODELS)], default=0)


def first_is_doubtful(failure):
    """Whether the first dimension may be a multiple of the batch size, or something else."""
    shape = failure.shape or ()
    if is_time_major(failure):
        return True
    if is_patches(failure):
        return True
    many = bool(_MANY_IN_ONE.search(f"{failure.op or ''} {failure.op_type or ''} {failure.kernel or ''}"))
    return many or len(shape) >= 5 and shape[0] > 64 or bool(shape) and shape[0] > 2048


def told_batch(failure):
    """The batch size as it is known, unless it is that of the training, and this is not."""
    evaluates = failure.marks & (EVALUATES | PREDICTS)
    other = evaluates and len(failure.shape or ()) >= 2 and failure.shape[0] != failure.batch
    return None if other and not failure.is_alone else failure.batch


def batch_of(failure):
    """The batch size: as known, or the first dimension where that is plausible; else None."""
    if batch := told_batch(failure):
        return batch
    shape = failure.shape or ()
    if len(shape) < 2 or first_is_doubtful(failure) or is_of_weights(failure):
        return None
    return shape[0]


def has_large_samples(failure):
    """Whether one tensor takes so much for each sample that a smaller batch alone does not help."""
    batch, requested = batch_of(failure), failure.requested_bytes
    return bool(batch and requested) and len(failure.shape or ()) >= 3 and requested / batch >= LARGE_SAMPLE


def is_single_sample(failure):
    """Whether the batch is of one sample: it cannot be made smaller."""
    if batch := told_batch(failure):
        return batch == 1
    shape = failure.shape or ()
    return len(shape) >= 3 and shape[0] == 1 and not is_patches(failure)


def large_chunks(failure):
    """(sizes of the few chunks that hold most of what is in use, bytes of one sample or None), else None.

    They count as whole arrays if they are many times as large as what was refused. One sample: what a batch,
    refused or in use, takes for one row, if each of the large chunks is a multiple of it and not of a batch:
    feature maps are multiples of one another too.
    """
    least = max(4 * (failure.requested_bytes or 0), 0.03 * failure.used_bytes, MIB)
    large = [
        size for size, count in failure.sizes.items() for _ in range(min(count, FEW + 1)) if size >= least
    ]
    if not 0 < len(large) <= FEW or sum(large) < 0.5 * failure.used_bytes:
        return None
    return sorted(large, reverse=True), _sample_of(failure, large)


def _sample_of(failure, large):
    rows = batch_of(failure) or 32  # Keras's own batch size
    batches = [failure.requested_bytes or 0, *(size for size in failure.sizes if size < min(large))]
    for batch in sorted(batches, reverse=True):
        sample = batch / rows
        if sample < SMALL_SAMPLE:
            break
        counts = [round(size / sample) for size in large]
        multiples = all(abs(size - count * sample) < 256 for size, count in zip(large, counts, strict=True))
        whole_batches = sum(n % rows == 0 for n in counts)  # as feature maps hold
        if multiples and min(counts) > 4 * rows and 2 * whole_batches < len(counts):
            return sample
    return None


def buffered_samples(failure):
    """(count, bytes of each) of the samples that a buffer holds, if hundreds of equal chunks fill the memory.

    A loop over time steps keeps as many alike, but there the op has a path.
    """
    count, size = failure.most_equal
    in_layer = "/" in (failure.op or "") or is_of_weights(failure) or failure.on_gpu
    known = failure.requested_bytes is not None and not failure.held_by_category
    full = count >= 200 and size <= 4 * MIB and count * size > 0.5 * failure.used_bytes
    return (count, size) if full and known and not in_layer else None
