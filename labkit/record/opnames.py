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
_WRAPPERS = re.compile(
    r"(?:StatefulPartitionedCall|PartitionedCall|gradient_tape|gradients?|training|loss|metrics|while|cond|body|"
    r"replica|tower|import|OptimizeLoss|train|optimizer|adam\w*|sgd|rmsprop|nadam|adagrad|adadelta|ftrl|pfor|"
    r"map|jit\(?\w*\)?|else|then|branch\w*)(?:_?\d+)?",
    re.IGNORECASE,
)
_OWN_WEIGHT = re.compile(
    r"/(?:\w{0,30}kernel|bias(?:es)?|weights?|gamma|beta|embeddings|moving_\w{4,8})/"
    r"(?:Assign|read|ReadVariableOp|Initializer)"
)
_MODEL = re.compile(r"(?:sequential|model|functional)(?:_\d+)?")
_OF_A_LAYER = re.compile(
    r"(?:^|_)(?:de)?(?:conv|depthwise|separable|dense|fc|lstm|gru|rnn|bn|batch_?norm|layer_?norm|norm|embed|attention|attn|"
    r"pool|pooling|dropout|add|concat|flatten|activation|relu|softmax|upsampl|up_sampl|zero_padding|time_distributed|"
    r"bidirectional|lambda|rescaling)",
    re.IGNORECASE,
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
    parts = [part for part in (op or "").split("/") if part and not _WRAPPERS.fullmatch(part)]
    if len(parts) > 2 and _MODEL.fullmatch(parts[0]):
        parts = parts[1:]
    if len(parts) < 2 or of_optimizer(op) and not _OWN_WEIGHT.search(op) or parts[-1].startswith("tmp_var"):
        return None  # (TensorFlow rewrote a sum into an op tmp_var)
    if parts[0].endswith("_loss") or parts[0] == parts[-1] and parts[0][0].isupper():
        return None
    return next(filter(_OF_A_LAYER.search, parts[:-1]), parts[0])


def of_optimizer(op):
    """Whether an op belongs to an optimizer, by its path."""
    return _OPTIMIZER.search(op or "") is not None and not GRADIENT.search(op)
