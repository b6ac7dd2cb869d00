"""Case: what is known of one failure, from a trial or from a text, before anything is concluded from it."""

import math
from collections import Counter
from dataclasses import dataclass, field

from ..logs.marks import MAKES_SLOTS, MAKES_WEIGHTS
from ..record.opnames import FORWARD_TYPES, GRADIENT, WEIGHT_GRADIENT, of_optimizer


@dataclass
class Case:
    """What is known of one failure. Sizes in bytes; None where it is not said.

    available_bytes: what the allocator may still take up to its limit; held: bytes by category as it failed;
    free_share: the longest free stretch of the pool, of 1; sizes: how many pieces of each size are in use;
    crashed: the process died instead of raising; epoch: the last that had begun; done: epochs that had ended;
    steps: steps that were done; block: the Timeline of a block that XLA was refused, as if it had got it;
    division: the labkit.logs.xlatext.Division that XLA printed; loop_bytes: of the block, weights and their
    gradients that are kept once for each step of a loop.
    """

    kind: str = "oom"
    shape: tuple | None = None
    dtype: str | None = None
    op: str | None = None
    op_type: str | None = None
    layer: str | None = None
    asked: int | None = None
    limit: int | None = None
    in_use: int | None = None
    largest_free: int | None = None
    available_bytes: int | None = None
    memory_map: object = None
    free_share: float = 0
    sizes: Counter = field(default_factory=Counter)
    allocator: str | None = None
    on_gpu: bool = False
    batch: int | None = None
    crashed: bool = False
    epoch: int | None = None
    done: int = 0
    steps: int | None = None
    held: dict | None = None
    block: object = None
    division: object = None
    loop_bytes: int = 0
    grows_by: int | None = None
    device_bytes: int | None = None
    marks: set = field(default_factory=set)

    @property
    def last_part(self):
        """The op itself: the last part of its path, or its type."""
        return (self.op or "").rpartition("/")[2] or self.op_type or ""

    @property
    def needed(self):
        """Bytes by category, as it failed and in the block that was refused; None if not known."""
        block = self.block.by_category() if self.block else {}
        return self.held and {category: size + block.get(category, 0) for category, size in self.held.items()}

    @property
    def in_loop(self):
        """Whether most of what was asked for is weights, kept once for each step of a loop."""
        return self.loop_bytes > 0.5 * (self.asked or 0)

    @property
    def loop_fits(self):
        """Whether that part would fit, with a batch that is smaller."""
        return self.limit is not None and self.loop_bytes <= self.limit - (self.in_use or 0)

    @property
    def building(self):
        """Whether weights were being made or loaded: no batch had come yet."""
        return bool(self.marks & MAKES_WEIGHTS)

    @property
    def free_total(self):
        """All that is free, in however many pieces."""
        if self.memory_map is None or self.limit is None:
            return None
        return self.limit - self.memory_map.in_use_bytes

    @property
    def largest_chunk(self):
        """The largest piece in use."""
        return max(self.sizes, default=0)

    @property
    def most_equal(self):
        """(how many, bytes of one) of those pieces in use of one size that together take the most."""
        return max(((n, size) for size, n in self.sizes.items()), key=math.prod, default=(0, 0))

    def has_words(self, *words):
        """Whether the op, the layer, or the traceback's frames have one of the words in them."""
        text = f"{self.op or ''} {self.layer or ''} {' '.join(self.marks)}".lower()
        return any(word in text for word in words)


def is_of_weights(case):
    """Whether op, traceback or shape say that the tensor is a weight, its gradient or its slot."""
    op, shape = case.op or "", case.shape or ()
    if GRADIENT.search(op):
        return WEIGHT_GRADIENT.search(op) is not None
    if of_optimizer(op):
        return True
    if "/" in op:
        return False
    kernel = len(shape) == 4 and shape[0] == shape[1] <= 11 and min(shape[2:]) > shape[0]
    moving = case.last_part.startswith(FORWARD_TYPES)
    return not moving and (kernel or bool(case.marks & (MAKES_WEIGHTS | MAKES_SLOTS)))
