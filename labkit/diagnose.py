"""What an out-of-memory message says: which tensor, of which layer, asked for how much, of what was left."""

import math
import re
from dataclasses import dataclass, field, replace

from .memory import format_size

_TENSOR = re.compile(
    r"OOM when allocating tensor (?:with shape|of shape)\s*\[?(?P<shape>[\d,\s]*)\]?"
    r"(?:\s*and type (?P<dtype>\w+))?"
)
_NODE = re.compile(r"(?:Detected at node |node name: |\{\{node )(?P<node>[\w./:-]+)")
_OP_TYPE = re.compile(r"\[Op:(?P<op>\w+)\]")
_REQUEST = re.compile(
    r"ran out of memory trying to allocate [\d.]+\s*[KMGT]?i?B \(rounded to (?P<bytes>\d+)\)\s*"
    r"requested by op[^\S\n]*(?P<node>\S*)"
)
_DTYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}
HOST_ERRORS = ("MemoryError", "_ArrayMemoryError")


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a failed allocation. Sizes in bytes; None where the text does not say.

    cause: "tensor_exceeds_limit" (one tensor alone would fill the limit), "array_copied_to_device" (a
    whole NumPy array went to the device at once), "host_memory" (the host's memory ran out, not the
    device's) or "unknown".
    """

    cause: str = "unknown"
    layer: str | None = None
    op: str | None = None
    shape: tuple | None = None
    dtype: str | None = None
    requested_bytes: int | None = None
    in_use_bytes: int | None = None
    limit_bytes: int | None = None
    largest_free_bytes: int | None = None
    evidence: list = field(default_factory=list)

    def __str__(self):
        return "\n".join(self.evidence)


def of_failure(error, log, limit, memory_map, scopes, failed_in, crashed):
    """The Diagnosis of a trial that ran out of memory.

    error: its TrialError; log: what TensorFlow printed; limit: bytes or None; memory_map: a
    labkit.dump.MemoryMap or None; scopes: layers by the name scope of their ops; failed_in:
    the layer that ran eagerly as it failed, or None; crashed: it died instead of raising.
    """
    if error.type in HOST_ERRORS:
        said = f"The host's memory ran out, not the device's: {error.message or error.type}"
        return Diagnosis("host_memory", limit_bytes=limit, evidence=[said])
    tensor, node = _TENSOR.search(error.message), _NODE.search(error.message)
    request = _REQUEST.search(log)
    op = node["node"] if node else _eager_op(error.message, request)
    dtype = tensor and {"float": "float32", "half": "float16", "double": "float64"}.get(
        tensor["dtype"], tensor["dtype"]
    )
    shape = tuple(int(n) for n in re.findall(r"\d+", tensor["shape"])) if tensor else None
    exact = math.prod(shape) * _DTYPE_BYTES[dtype] if dtype in _DTYPE_BYTES else None
    requested = exact or (int(request["bytes"]) if request else None)
    found = Diagnosis(
        cause=_cause(error.message, requested, limit, crashed),
        layer=layer_of(op, scopes) or failed_in,
        op=op,
        shape=shape,
        dtype=dtype,
        requested_bytes=requested,
        in_use_bytes=memory_map.in_use_bytes if memory_map else None,
        limit_bytes=limit,
        largest_free_bytes=_largest_free(memory_map, limit),
    )
    waited = [error.message] if error.type == "OutOfMemory" else []
    return replace(found, evidence=[*_evidence(found, crashed), *waited])


def layer_of(op, scopes):
    """The layer that an op, or the gradient of one, belongs to by its name scope; None if to none."""
    parts = (op or "").split("/")
    for start in range(len(parts)):
        for end in range(start + 1, len(parts)):
            layer = scopes.get("/".join(parts[start:end]))
            if layer:
                return layer
    return None


def _eager_op(message, request):
    if request and request["node"] not in ("", "<unknown>"):
        return request["node"].removeprefix("StatefulPartitionedCall/")
    op_type = _OP_TYPE.search(message)
    return op_type["op"] if op_type else None


def _largest_free(memory_map, limit):
    """The largest block that could still be had: a hole, or what may yet be taken up to the limit."""
    if memory_map is None:
        return None
    return max(memory_map.largest_free_bytes, (limit or 0) - memory_map.held_bytes)


def _cause(message, requested, limit, crashed):
    if (crashed and (requested or limit or 0) > 2**20) or "Dst tensor is not initialized" in message:
        return "array_copied_to_device"
    if requested and limit and requested >= limit:
        return "tensor_exceeds_limit"
    return "unknown"


def _evidence(found, crashed):
    if found.op:
        yield f"The op that failed: {found.op}" + (f", in layer {found.layer}." if found.layer else ".")
    if found.shape is not None and found.requested_bytes:
        yield f"Its tensor: {found.dtype}{list(found.shape)}, {format_size(found.requested_bytes)}."
    elif found.requested_bytes:
        yield f"It asked for {format_size(found.requested_bytes)}."
    if found.in_use_bytes is not None and found.limit_bytes:
        yield (
            f"In use: {format_size(found.in_use_bytes)} of {format_size(found.limit_bytes)}; "
            f"the largest block left: {format_size(found.largest_free_bytes)}."
        )
    if found.cause == "tensor_exceeds_limit":
        yield "This one tensor alone would fill the whole limit."
    if crashed and found.cause != "array_copied_to_device":
        yield "The process died as it was refused that."
    elif crashed:
        yield (
            "The process died while TensorFlow copied an array to the device in one piece: on the CPU "
            'stand-in that copy crashes; on a GPU it raises "Dst tensor is not initialized".'
        )
