"""What XLA prints below an out-of-memory error: how it would divide the memory.

On a GPU: `BufferAssignment::ToVerboseString` in xla/service/buffer_assignment.cc. On a TPU: a list of its own
(https://openxla.org/xla/errors/error_1000 tells how to read it).
"""

import re
from dataclasses import dataclass, field

from ..sizes import format_size
from .dumptext import size

_BYTES = r"(\d{1,9}(?:\.\d{1,4})?(?:[KMGT](?:i?B)?|B))"  # each of them is a size()
_TOTAL = re.compile(
    rf"(parameter|maybe_live_out|preallocated temp) allocation: +{_BYTES}"
    rf"|(?:^|\s)(arguments|program|HLO temp) +{_BYTES}(?![\w.])"
)
_PADDED = re.compile(rf"Unpadded \({_BYTES}\) Padded \({_BYTES}\)")
_WEIGHTS = re.compile(r"/ReadVariableOp(_\d+)?/accumulator$")
_SIZE = re.compile(rf"(?:^|\s)Size: {_BYTES}\s*$")
_UNPADDED = re.compile(rf"(?:^|\s)Unpadded size: {_BYTES}\s*$")
_OP = re.compile(r'Operator: .{0,100}?op_name="([^"]{1,600})"')
_SHAPE = re.compile(r"(?:^|\s)(?:Entry Parameter Subs|S)hape: (\w{1,10}\[[\d,]{0,100}\])")
_DTYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "pred": "bool"} | {
    f"{letter}{bits}": f"{name}{bits}"
    for letter, name in (("s", "int"), ("u", "uint"))
    for bits in (8, 16, 32, 64)
}
NEEDLES = (
    *("allocation: ", " Size: ", "\tSize: ", 'op_name="', "Subshape: ", " Shape: ", "\tShape: "),
    *("arguments  ", "program  ", "HLO temp  ", "Unpadded size: "),
)


@dataclass
class Buffer:
    """One of the largest buffers: its bytes, op and shape; unpadded: how many of the bytes hold values."""

    bytes: int
    op: str = ""
    shape: str = ""
    unpadded: int | None = None

    @property
    def tensor(self):
        """Its (shape, dtype), as NumPy writes them."""
        dtype, _, sides = self.shape.rstrip("]").partition("[")
        return tuple(int(n) for n in sides.split(",") if n), _DTYPES.get(dtype, dtype)

    @property
    def padding(self):
        """Bytes that hold no values."""
        return 0 if self.unpadded is None else self.bytes - self.unpadded

    def __str__(self):
        padding = f"({format_size(self.padding)} of it padding)" if 2 * self.padding > self.bytes else ""
        return " ".join(
            filter(None, (format_size(self.bytes), self.shape, padding, self.op and f"of {self.op}"))
        )


@dataclass
class Division:
    """XLA's plan for a step: bytes of its inputs, its outputs and its own data; its largest buffers."""

    totals: dict = field(default_factory=dict)
    buffers: list = field(default_factory=list)
    complete: bool = False
    padded: tuple = (0, 0)  # bytes of its own data on a TPU: those that hold values, and all

    @property
    def given(self):
        """Bytes of the step's inputs: weights, optimizer state, the batch; None if the plan does not say."""
        return self.totals.get("parameter", self.totals.get("arguments"))

    @property
    def scratch(self):
        """Bytes of what the step computes on the way: activations, gradients, workspace; None if not said."""
        known = (self.totals.get(name) for name in ("preallocated temp", "HLO temp", "program"))
        return next((bytes_ for bytes_ in known if bytes_ is not None), None)

    @property
    def is_of_tpu(self):
        """Whether a TPU's compiler printed it."""
        return bool({"arguments", "program", "HLO temp"} & self.totals.keys())

    @property
    def padding(self):
        """Bytes of its own data that hold no values, or else of the one buffer that has most of them."""
        unpadded, padded = self.padded
        return padded - unpadded or max((buffer.padding for buffer in self.buffers), default=0)

    @property
    def is_whole(self):
        """Whether the totals are there: a text may be cut off."""
        return self.is_of_tpu or {"parameter", "preallocated temp"} <= self.totals.keys()

    @property
    def is_given(self):
        """Whether most of it is inputs, and the largest buffer is not a batch of images or sequences.

        On a TPU none of the buffers that it lists is an input.
        """
        flat = self.is_of_tpu or all(buffer.shape.count(",") < 2 for buffer in self.buffers[:1])
        return flat and (self.given or 0) > 2 * (self.scratch or 0)

    @property
    def loop_bytes(self):
        """Bytes, at least, of weights or their gradients that it keeps once per iteration of a loop."""
        stacks = {b.shape for b in self.buffers if _WEIGHTS.search(b.op) and b.shape.count(",") == 2}
        return sum(b.bytes for b in self.buffers if b.shape in stacks)

    def read(self, text):
        """Read a line; returns whether it belongs to the plan. A plan printed again is not counted twice."""
        forms = (_SIZE, _OP, _SHAPE, _PADDED, _UNPADDED)
        totals = [[part for part in found if part] for found in _TOTAL.findall(text)]
        bytes_, op, shape, padded, unpadded = found = [form.search(text) for form in forms]
        self.complete |= any(name in self.totals for name, _ in totals)
        if self.complete:
            return bool(totals) or any(found)
        self.totals.update((name, size(of_it)) for name, of_it in totals)
        if padded:
            self.padded = size(padded[1]), size(padded[2])
        if bytes_:
            self.buffers.append(Buffer(size(bytes_[1])))
        elif self.buffers:
            last = self.buffers[-1]
            last.op = op[1] if op else last.op
            last.shape = shape[1] if shape else last.shape
            last.unpadded = size(unpadded[1]) if unpadded else last.unpadded
        return bool(totals) or any(found)
