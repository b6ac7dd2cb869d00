"""Failure: everything known about one failure, from a log or from a trial."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace

from ..sizes import MIB
from .forms import LOADS, MAKES_WEIGHTS, RUNS

_STEP = re.compile(r"__inference_\w+_\d+")  # a function that is compiled as a whole
_OF_STEP = re.compile(rf"\[Op:{_STEP.pattern}\]")

DTYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


@dataclass
class Failure:
    """What is known about one failure, before any conclusion is drawn. None where nothing says.

    How it was reported:
    kind                  the form of the message: a name in labkit.logs.messages.FORMS, "host" or "warning"
    line, last_line, quote   in a log: its line, the last line that repeats it, its words
    marks                 those of labkit.logs.marks.MARKS that the traceback contains
    epoch, done           the last epoch that had begun, and how many epochs had ended
    crashed               whether the process died instead of raising an error
    is_mild               whether the line is only informative, by its level
    is_overflow           whether so much was asked for as no memory has: a size that was computed wrongly
    framework             "tensorflow", "torch" or "jax": whose advice applies
    driver_refused_bytes  what the driver had refused before
    warned_bytes          the largest tensor of which TensorFlow had warned that it is a tenth of all memory
    tried_out             whether XLA or cuDNN asked for it to try out an algorithm in the first step
    dump                  the labkit.logs.dumptext.TextDump that belongs to it
    division              the labkit.logs.xlatext.Division that XLA printed

    What failed:
    shape, dtype          of the tensor that was refused
    op, op_type, layer    the op's path, or only its type; the layer it belongs to
    kernel                the C++ file of the op, without its ending
    arguments             [(shape, dtype)] that the layer which failed had received
    requested_bytes       size of the request
    device, allocator     where; `on_gpu`: whether that is a GPU
    batch, steps          batch size, and training steps completed
    step_bytes            bytes in use at the end of each of these steps
    steps_peak_bytes      the most that was in use during them
    is_alone              whether the limit is a trial's own: no other program shares it

    Memory at the time of the failure:
    limit_bytes, in_use_bytes      the allocator's limit, and what it had handed out
    largest_free_bytes             the largest block that it could still have handed out
    available_bytes                what it could still have taken from the device, up to its limit
    device_bytes                   total memory of the device
    pool_bytes, unused_bytes       what PyTorch has taken from the device, and what of that was unused
    others_bytes                   what other processes held of the device
    holders                        which processes, in sentences
    free_share                     the longest free stretch, as a fraction of the pool
    sizes                          {bytes: number of chunks of that size in use}
    memory_map                     every chunk, a labkit.logs.dumpfile.MemoryMap

    What the timeline of a trial adds:
    held_by_category      {category: bytes in use}
    arrays_bytes          of these, bytes of whole arrays given to fit
    block                 the Timeline of a block that XLA was refused, as if it had been granted
    loop_bytes            in that block: weights and their gradients, kept once per iteration of a loop
    grows_by_bytes        by how much memory in use grew with each step
    """

    kind: str = "oom"
    line: int = 0
    quote: str = ""
    last_line: int = 0
    marks: set = field(default_factory=set)
    epoch: int | None = None
    done: int = 0
    crashed: bool = False
    is_mild: bool = False
    is_overflow: bool = False
    framework: str = "tensorflow"
    driver_refused_bytes: int | None = None
    warned_bytes: int | None = None
    tried_out: bool = False
    dump: object = None
    division: object = None
    shape: tuple | None = None
    dtype: str | None = None
    op: str | None = None
    op_type: str | None = None
    layer: str | None = None
    kernel: str | None = None
    arguments: list = field(default_factory=list)
    requested_bytes: int | None = None
    device: str | None = None
    allocator: str | None = None
    on_gpu: bool = False
    batch: int | None = None
    steps: int | None = None
    step_bytes: list = field(default_factory=list)
    steps_peak_bytes: int | None = None
    is_alone: bool = False
    limit_bytes: int | None = None
    in_use_bytes: int | None = None
    largest_free_bytes: int | None = None
    available_bytes: int | None = None
    device_bytes: int | None = None
    pool_bytes: int | None = None
    unused_bytes: int | None = None
    others_bytes: int | None = None
    holders: list = field(default_factory=list)
    free_share: float = 0
    sizes: Counter = field(default_factory=Counter)
    memory_map: object = None
    held_by_category: dict | None = None
    arrays_bytes: int = 0
    block: object = None
    loop_bytes: int = 0
    grows_by_bytes: int | None = None

    def __post_init__(self):
        self.last_line = self.last_line or self.line

    @property
    def tensor_bytes(self):
        """Size of the tensor by its shape and dtype; None if either is unknown."""
        if self.shape is None or self.dtype not in DTYPE_BYTES:
            return None
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]

    @property
    def says_nothing(self):
        """Whether the message says that memory ran out, and neither for what nor of how much."""
        return self.kind == "oom" and self.shape is None and self.requested_bytes is None

    @property
    def last_part(self):
        """The op's own name: the last part of its path, or its type."""
        return (self.op or "").rpartition("/")[2] or self.op_type or ""

    @property
    def needed_by_category(self):
        """{category: bytes}, in use at the failure and in the refused block together; None if unknown."""
        block = self.block.by_category() if self.block else {}
        held = self.held_by_category
        return held and {category: size + block.get(category, 0) for category, size in held.items()}

    @property
    def is_in_loop(self):
        """Whether most of the request is weights and gradients kept once per iteration of a loop."""
        return self.loop_bytes > 0.5 * (self.requested_bytes or 0)

    @property
    def loop_fits(self):
        """Whether that part would fit, given a smaller batch."""
        return self.limit_bytes is not None and self.loop_bytes <= self.limit_bytes - (self.in_use_bytes or 0)

    @property
    def is_building(self):
        """Whether weights were being created or loaded: no batch had arrived yet."""
        return bool(self.marks & MAKES_WEIGHTS)

    @property
    def is_dump_alone(self):
        """Whether all that is known is a memory dump, not what was refused."""
        return self.kind == "refused" and self.dump is not None and self.requested_bytes is None

    @property
    def is_loading(self):
        """Whether saved weights were being loaded, and nothing says that the model had run."""
        return bool(self.marks & LOADS) and not self.marks & RUNS

    @property
    def is_tpu(self):
        """Whether the device is a TPU, by the words of its compiler and of its runtime."""
        return any(word in self.quote for word in ("hbm", "HBM", "Hbm", "TPU", "That was not possible"))

    @property
    def is_buffer_of_tpu(self):
        """Whether a TPU had no room for a single buffer: an input or output of a program, not its own data.

        https://openxla.org/xla/errors/error_0100
        """
        return self.kind == "full" and "Attempting to allocate" in self.quote and self.is_tpu

    @property
    def is_one_block(self):
        """Whether XLA was refused one block for a step, and not what a loop keeps; on a TPU all is XLA."""
        return self.kind == "xla" and not self.is_tpu and not self.is_in_loop

    @property
    def is_of_compiled_step(self):
        """Whether a GPU refused a whole compiled step memory: for its block, or to try out algorithms."""
        named = any(_STEP.fullmatch(name or "") for name in (self.op, self.op_type))
        return self.on_gpu and self.shape is None and named

    @property
    def looks_tried_out(self):
        """Whether it asked for 16 MiB and a little: XLA puts 8 MiB around both ends of what it tries out."""
        asked = self.requested_bytes or 0
        return self.kind == "xla" and 16 * MIB <= asked < 17 * MIB and bool(_OF_STEP.search(self.quote))

    @property
    def is_of_tries(self):
        """Whether it was to try out an algorithm, by what the log says or by its size."""
        return self.tried_out or self.looks_tried_out

    @property
    def is_limited(self):
        """Whether somebody set the limit of the allocator: it is in whole MiB, as what is free is not."""
        limit = self.dump.limit_bytes if self.dump else None
        return bool(limit) and limit == self.limit_bytes and limit % MIB == 0

    @property
    def is_nearly_full(self):
        """Whether nine tenths of the device, or of the limit, are known to be in use."""
        limit = self.limit_bytes or self.device_bytes
        return bool(limit and self.in_use_bytes) and self.in_use_bytes > 0.9 * limit

    @property
    def rest_bytes(self):
        """Bytes of the device that PyTorch counts neither as its own nor as free."""
        if self.limit_bytes is None or self.largest_free_bytes is None or self.in_use_bytes is None:
            return 0
        own = self.pool_bytes or self.in_use_bytes + (self.unused_bytes or 0)
        return self.limit_bytes - self.largest_free_bytes - max(own, self.in_use_bytes)

    @property
    def free_bytes(self):
        """All free memory, in however many pieces; None if the chunks are not all known."""
        if self.memory_map is None or self.limit_bytes is None:
            return None
        return self.limit_bytes - self.memory_map.in_use_bytes

    @property
    def largest_chunk_bytes(self):
        """Size of the largest chunk in use."""
        return max(self.sizes, default=0)

    @property
    def largest_buffer(self):
        """The largest that XLA lists, or None."""
        buffers = self.division.buffers if self.division else ()
        return max(buffers, key=lambda buffer: buffer.bytes, default=None)

    @property
    def of_largest_buffer(self):
        """The same Failure as if what XLA was refused were the largest of the buffers that it lists."""
        (shape, dtype), op = self.largest_buffer.tensor, self.largest_buffer.op
        return replace(self, shape=shape, dtype=dtype, op=op)

    @property
    def is_padded(self):
        """Whether half of what a TPU's program would hold, or of its largest buffer, is padding."""
        largest = self.largest_buffer
        return (
            bool(self.division)
            and self.division.is_of_tpu
            and (
                2 * self.division.padding > (self.division.scratch or 0)
                or largest is not None
                and 2 * largest.padding > largest.bytes
            )
        )

    @property
    def used_bytes(self):
        """Bytes in use, by the allocator's count or else by that of the chunks."""
        return self.in_use_bytes or sum(size * count for size, count in self.sizes.items())

    @property
    def most_equal(self):
        """(count, bytes of each) for the chunk size that takes the most memory in total."""
        return max(((count, size) for size, count in self.sizes.items()), key=math.prod, default=(0, 0))

    def has_words(self, *words):
        """Whether one of the words occurs in the op, the layer or the traceback's marks."""
        text = f"{self.op or ''} {self.layer or ''} {' '.join(self.marks)}".lower()
        return any(word in text for word in words)
