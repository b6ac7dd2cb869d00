"""What the name of an op reveals: its layer, and whether the optimizer or the backward pass runs it."""

import re

BACKWARD = re.compile(r"gradient_tape/|^gradients/|(Grad|Backprop)[A-Za-z0-9]*(_\d+)?$")
_OPTIMIZER = re.compile(
    r"(?:^|/)(?:training(?:_\d+)?/)?(?:adam\w*|sgd|rmsprop|nadam|adagrad|adadelta|ftrl|lion|lamb|adafactor|"
    r"momentum|optimizer\w*|\w*optimizer|update)(?:_\d+)?/|/Assign$|/Initializer/|_momentum|_velocity",
    re.IGNORECASE,
)
GRADIENT = re.compile(r"gradient_tape/|(?:^|/)gradients?/")
WEIGHT_GRADIENT = re.compile(
    r"(?:MatMul/MatMul_1|_grad/MatMul_1|MatMul_1|BackpropFilter\w*)$|^gradients/concat"
)
FORWARD_TYPES = ("Conv", "Relu", "MaxPool", "AvgPool", "FusedBatchNorm", "BiasAdd", "Softmax", "Einsum")
_WRAPPERS = (
    "StatefulPartitionedCall",
    "gradient_tape",
    "gradients",
    "training",
    "loss",
    "while",
    "cond",
    "body",
)


def layer_of(op, scopes):
    """The layer of an op, or of a gradient's op, by its name scope; None if none. scopes: {scope: layer}."""
    parts = (op or "").split("/")
    for start in range(len(parts)):
        for end in range(start + 1, len(parts)):
            layer = scopes.get("/".join(parts[start:end]))
            if layer:
                return layer
    return None


def layer_by_name(op):
    """The layer that an op's path names, between the model and the op; None if it names none.

    >>> layer_by_name("gradient_tape/sequential_1/conv2d_5/Conv2D")
    'conv2d_5'
    """
    parts = [part for part in (op or "").split("/") if part and not part.startswith(_WRAPPERS)]
    if len(parts) > 2 and parts[0].startswith(("sequential", "model", "functional")):
        parts = parts[1:]
    rewritten = parts and parts[-1].startswith("tmp_var")  # TensorFlow rewrote a sum into this op
    return parts[0] if len(parts) > 1 and not of_optimizer(op) and not rewritten else None


def of_optimizer(op):
    """Whether an op belongs to an optimizer, by its path."""
    return _OPTIMIZER.search(op or "") is not None and not GRADIENT.search(op)
