"""What XLA prints after "Out of memory while trying to allocate": how it would divide the memory.

`BufferAssignment::ToVerboseString` in xla/service/buffer_assignment.cc; seen in logs from GPUs only.
"""

import re
from dataclasses import dataclass, field

from ..sizes import format_size
from .dumptext import size

_TOTAL = re.compile(r"(parameter|maybe_live_out|preallocated temp) allocation: +([\d.]{1,12}[KMGT]?i?B)")
_WEIGHTS = re.compile(r"/ReadVariableOp(_\d+)?/accumulator$")
_SIZE = re.compile(r"(?:^|\s)Size: ([\d.]{1,12}[KMGT]?i?B)\s*$")
_OP = re.compile(r'Operator: .{0,100}?op_name="([^"]{1,600})"')
_SHAPE = re.compile(r"(?:^|\s)(?:Entry Parameter Subs|S)hape: (\w{1,10}\[[\d,]{0,100}\])")
NEEDLES = ("allocation: ", " Size: ", "\tSize: ", 'op_name="', "Subshape: ", " Shape: ", "\tShape: ")


@dataclass
class Buffer:
    """One of the largest buffers: its bytes, op and shape."""

    bytes: int
    op: str = ""
    shape: str = ""

    def __str__(self):
        return " ".join(filter(None, (format_size(self.bytes), self.shape, self.op and f"of {self.op}")))


@dataclass
class Division:
    """XLA's plan for a step: bytes of its inputs, its outputs and its own data; its largest buffers."""

    totals: dict = field(default_factory=dict)
    buffers: list = field(default_factory=list)
    complete: bool = False

    @property
    def given(self):
        """Bytes of the step's inputs: weights, optimizer state, the batch."""
        return self.totals.get("parameter", 0)

    @property
    def scratch(self):
        """Bytes of what the step computes on the way: activations, gradients, workspace."""
        return self.totals.get("preallocated temp", 0)

    @property
    def is_whole(self):
        """Whether the totals are there: a text may be cut off."""
        return {"parameter", "preallocated temp"} <= self.totals.keys()

    @property
    def is_given(self):
        """Whether most of it is inputs, and the largest buffer is not a batch of images or sequences."""
        flat = all(buffer.shape.count(",") < 2 for buffer in self.buffers[:1])
        return flat and self.given > 2 * self.scratch

    @property
    def loop_bytes(self):
        """Bytes, at least, of weights or their gradients that it keeps once per iteration of a loop."""
        stacks = {b.shape for b in self.buffers if _WEIGHTS.search(b.op) and b.shape.count(",") == 2}
        return sum(b.bytes for b in self.buffers if b.shape in stacks)

    def read(self, text):
        """Read a line; returns whether it belongs to the plan. A plan printed again is not counted twice."""
        total, bytes_, op, shape = (form.search(text) for form in (_TOTAL, _SIZE, _OP, _SHAPE))
        self.complete |= bool(total and total[1] in self.totals)
        if self.complete:
            pass
        elif total:
            self.totals[total[1]] = size(total[2])
        elif bytes_:
            self.buffers.append(Buffer(size(bytes_[1])))
        elif op and self.buffers:
            self.buffers[-1].op = op[1]
        elif shape and self.buffers:
            self.buffers[-1].shape = shape[1]
        return any((total, bytes_, op, shape))
