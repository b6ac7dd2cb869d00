"""What the name of an op reveals: its layer, and whether the optimizer or the backward pass runs it."""

import collections
import re

BACKWARD = re.compile(r"gradient_tape/|^gradients/|(Grad|Backprop)[A-Za-z0-9]*(_\d+)?$")
_OPTIMIZER = re.compile(
    r"(?:^|/)(?:training(?:_\d+)?/)?(?:adam\w*|sgd|rms_?prop|nadam|adagrad|adadelta|ftrl|lion|lamb|adafactor|muon|"
    r"schedule_free_\w+|"
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
    r"replica|tower|import|OptimizeLoss|train|optimizer|adam\w*|sgd|rms_?prop|muon|nadam|adagrad|adadelta|ftrl|pfor|"
    r"map|jit\(?\w*\)?|else|then|branch\w*)(?:_?\d+)?",
    re.IGNORECASE,
)
_OWN_WEIGHT = re.compile(
    r"/(?:\w{0,30}kernel|bias(?:es)?|weights?|gamma|beta|embeddings|moving_\w{4,8})/"
    r"(?:Assign|read|ReadVariableOp|Initializer)"
)
_MODEL = re.compile(r"(?:sequential|model|functional)(?:_\d+)?")
_SLOT = re.compile(  # of TensorFlow 1, in the scope of its variable: dense_1/kernel/Adam_1/Assign
    r"((?!training|train/|optimizer)[\w./-]{1,200})/(?:Adam|RMSProp|RMSprop|Momentum|Adagrad|Adadelta|Ftrl)(?:_\d)?/"
    r"(?:Assign|read|Initializer(?:/.*)?)"
)
_OF_A_LAYER = re.compile(
    r"(?:^|_)(?:de)?(?:conv|depthwise|separable|dense|fc|lstm|gru|rnn|bn|batch_?norm|layer_?norm|norm|embed|attention|attn|"
    r"pool|pooling|dropout|add|concat|flatten|activation|relu|softmax|upsampl|up_sampl|zero_padding|time_distributed|"
    r"bidirectional|lambda|rescaling)",
    re.IGNORECASE,
)
_CALLED = re.compile(r"^.*/(?:then|else|body|cond|true|false)/_\d+/")  # a branch or loop repeats its scope
_LEADING = re.compile(
    r"^(?:(?:then|else|body|cond|true|false|while)/_\d+|(?:Stateful)?PartitionedCall(?:_\d+)?|ConstantFolding|ArithmeticOptimizer|gradient_tape|gradients(?:_\d+)?"
    r"|replica_\d+|tower_\d+|loop_body|Func|cond(?:_\d+)?)/"
)
_PIPELINE = re.compile(r"^(IteratorGetNext|MakeIterator|\w*Dataset(V\d+)?)(_\d+)?$")
ELEMENTWISE = {  # types of ops whose output has the shape of their input
    *(
        "Relu",
        "Relu6",
        "Elu",
        "Selu",
        "LeakyRelu",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Softsign",
        "Softmax",
        "LogSoftmax",
    ),
    *(
        "BiasAdd",
        "FusedBatchNorm",
        "FusedBatchNormV2",
        "FusedBatchNormV3",
        "Identity",
        "Erf",
        "Exp",
        "Square",
    ),
}
ARRAY = "_EagerConst"  # copies an array to a GPU
REPLICA = re.compile(r"(?:^|/)replica_(\d+)(?=/|$)")
_LOSS = re.compile(r"loss|crossentropy|^mean_|metrics|accuracy")
_MODEL = re.compile(r"(sequential|functional|model)(_\d+)?$")
_FUNCTION = re.compile(r"^(__inference_|__forward_|__backward_)")
_REWRITTEN_SUM = re.compile(r"^(?:.*/)?AddN(?:_\d+)?(?:/tmp_var\w*|[-/]\w*(?:TmpVar|AccumulateNV2)\w*)?$")


_ADDING = re.compile(r"(?:^|/)(?:sgd|adadelta|ftrl)(?:_\d+)?/")
_TAKES_FROM_WEIGHTS = re.compile(r"/AssignSubVariableOp(?:_\d+)?$")
_ADDS_TO_WEIGHTS = re.compile(
    r"(?:(?:sgd|adadelta)(?:_\d+)?/(?:.*/)?Assign(?:Sub|Add)VariableOp|/clip_by_value(?:_\d+)?/Minimum)(?:_\d+)?$"
)


def plain(op):
    """The path of an op without what TensorFlow puts in front: gradients, replicas, functions, branches.

    >>> plain("ConstantFolding/gradient_tape/replica_4/bert/layer_3/add/Sum")
    'bert/layer_3/add/Sum'
    """
    op, before = _CALLED.sub("", op), None
    while op != before:
        before, op = op, _LEADING.sub("", op)
    return op


def kind_of(op, optimizers):
    """What an op is for: "forward", "backward", "update", "slot", "input", "handle" or "unnamed".

    optimizers: names with which the names of optimizers' ops begin
    """
    path = op.removeprefix("StatefulPartitionedCall/")
    last = path.rpartition("/")[2]
    if not path:
        return "unnamed"
    if last.startswith("VarHandleOp"):
        return "handle"
    if path.partition("/")[0] in optimizers or plain(path).partition("/")[0] in optimizers:
        return "slot" if is_initial(path) else "update"
    if BACKWARD.search(path):
        return "backward"
    if _PIPELINE.match(last) or last == ARRAY:
        return "input"
    return "update" if is_of_a_function(path) else "forward"


def updates_weights(op):
    """Whether an optimizer's op makes the new value of weights, not of a slot.

    As Keras's optimizers write it: most subtract from a weight and add to slots, or assign them.
    """
    return (_ADDS_TO_WEIGHTS if _ADDING.search(op) else _TAKES_FROM_WEIGHTS).search(op) is not None


def is_unscoped(op):
    """Whether an op is in no scope, as those that make initial values eagerly."""
    return "/" not in op


def is_initial(op):
    """Whether an op makes the first value of a variable."""
    return "/Initializer/" in op


def is_of_a_function(op):
    """Whether it is a whole function, as a compiled step is, of whose ops nothing is known."""
    return _FUNCTION.match(op.removeprefix("StatefulPartitionedCall/")) is not None


def sums_gradients(op):
    """Whether an op is a sum of several tensors in no layer's scope: that of a tensor's gradients."""
    return _REWRITTEN_SUM.match(plain(op)) is not None and plain(op).startswith("AddN")


def makes_a_pipeline(op):
    """Whether an op is of tf.data itself, when it is told which datasets there are."""
    return _PIPELINE.match(op) is not None and not op.startswith("IteratorGetNext")


def replicas_in(paths):
    """{path: number of the replica} of ops and variables that tf.distribute made for each replica.

    Those of the first have no number: they are told by others that have their name.

    >>> replicas_in(["net/dense/MatMul", "replica_1/net/dense/MatMul", "Adam/add"])
    {'net/dense/MatMul': 0, 'replica_1/net/dense/MatMul': 1}
    """
    numbered = {path: int(found.group(1)) for path in paths if (found := REPLICA.search(path))}
    copied = {REPLICA.sub("", path).lstrip("/") for path in numbered}
    return {path: numbered.get(path, 0) for path in paths if path in numbered or path in copied}


def optimizers_in(ops):
    """The names with which the names of optimizers' ops begin, from the ops alone."""
    return sorted({plain(op).partition("/")[0] for op in ops if "/" in plain(op) and of_optimizer(op)})


def scopes_in(ops):
    """{scope: layer} from the ops alone, {path: bytes}: the outermost scopes that are not a model's.

    A model is a scope at the top with several scopes in it, but not a loss; or a scope with most of the
    bytes, and three scopes or more of one kind (layer_0, layer_1, ...) in it, or in what holds most of it.

    >>> scopes_in({"net/dense/MatMul": 8, "net/dense_1/MatMul": 8, "gradient_tape/net/dense/MatMul": 8})
    {'net/dense': 'dense', 'net/dense_1': 'dense_1'}
    """
    tree = _Scope()
    for op, size in ops.items():
        *scopes, _ = plain(op).split("/")
        if scopes and not of_optimizer(op):
            tree.add(scopes, size)
    models = {name: scope for name, scope in tree.inside.items() if scope.is_model(name)}
    layers = []
    for name, model in (models or {"": tree}).items():
        layers += model.layers((name,) if name else (), tree.bytes)
    labels = collections.Counter(path[-1] for path in layers)
    return {"/".join(path): path[-1] if labels[path[-1]] == 1 else "/".join(path[-2:]) for path in layers}


class _Scope:
    """A scope of ops: the bytes that they allocated, and the scopes in it."""

    def __init__(self):
        self.bytes, self.inside = 0, collections.defaultdict(_Scope)

    def add(self, path, size):
        self.bytes += size
        if path:
            self.inside[path[0]].add(path[1:], size)

    def is_model(self, name):
        """Whether this scope at the top is a model."""
        return _MODEL.match(name) is not None or (len(self.inside) > 1 and not _LOSS.search(name))

    def layers(self, path, whole):
        """Paths of the layers in this model. whole: bytes of everything."""
        for name, scope in self.inside.items():
            if _MODEL.match(name) or (2 * scope.bytes > whole and scope._has_kinds()):
                yield from scope.layers((*path, name), whole)
            else:
                yield (*path, name)

    def _has_kinds(self):
        kinds = collections.Counter(re.sub(r"\d+", "", name).strip("_") for name in self.inside)
        largest = max(self.inside.values(), key=lambda scope: scope.bytes, default=None)
        return max(kinds.values(), default=0) >= 3 or (
            largest is not None and 2 * largest.bytes > self.bytes and largest._has_kinds()
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
    slot = _SLOT.fullmatch(op or "")
    if slot:
        op = f"{slot[1]}/slot"
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
