"""A reader of logs: the failures that a text tells of, with what surrounds them.

A log of any length is read in blocks and constant memory. A block is searched for fixed pieces of text first;
only a line that has one meets a regular expression, and those have no nested repetition. What surrounds a
failure (names of ops, tracebacks, epochs) is looked for only near lines that speak of memory.
"""

import re
from dataclasses import dataclass, field

from . import dumptext, xlatext
from .failure import Failure
from .marks import MARKS
from .messages import CONSTANT, FORMS, failure

BLOCK_BYTES = 2**18
CONTEXT_BYTES = 2**15  # of a block that was passed over, what is read after all if the next one matters
LINE_CHARACTERS = 3000  # of a longer line, what is around the piece of text that was found
MOST_LINES = 100_000  # read closely; of a log with more, only the end
MOST_FAILURES = 50
NEAR_LINES = 400  # a traceback belongs to the error that it ends in
_NODE = re.compile(
    r"\{\{node ([^\s{}]{1,400})\}\}|\[\[[Nn]ode:? ([^\s\]{]{1,400})"
    r"|Detected at node '?([\w./:-]{1,400})|Caused by op u?'([^'\s]{1,400})'"
)
_OP_TYPE = re.compile(
    r"\[Op:([A-Za-z]\w{0,80})\]|__wrapped__([A-Za-z0-9]{1,80}?)(?:_N_\d{1,6})?_device|= ([A-Z]\w{1,80})\[T"
)
_EPOCH = re.compile(r"Epoch (\d{1,7})(?:/(\d{1,7}))?\b")
_DONE = re.compile(r"(?:^|\s)(\d{1,7})/\1 (?:- \d{1,7}s|\[=|\S{0,4}━)")
_BATCH = re.compile(r"[Bb]atch[_ ]size\W{1,4}(\d{1,7})\b")
_GIVEN = re.compile(r"with (\d{1,9}) MB memory")
_TOTAL = re.compile(r"[Tt]otal ?[Mm]emory: ([\d.]{1,12}[MG]iB)(?: freeMemory: ([\d.]{1,12}[KMG]iB))?")
_FRAME = re.compile(r" {4}|-{1,4}> |.{0,300}\.py")  # a line of a traceback, Python's or IPython's
_ANSI = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_THREAD = re.compile(r"[IWEF]\d{4} [\d:.]{8,40} {1,9}(\d{1,9}) ")
_TRACEBACK = ("Traceback (most", "Detected at node", "Caused by op")
_HINTS = ("RESOURCE_EXHAUSTED", "esource exhausted", "ResourceExhausted", "OOM ", "CUDA out of memory")
_CONTEXT = (
    *_HINTS,
    *("{{node", "[[Node", "[[node", *_TRACEBACK, "[Op:", "__wrapped__", "Epoch ", "/step", "retracing"),
    *("atch_size", "atch size", " MB memory", "otalMemory", "otal memory", *MARKS),
)
_NEEDLES = tuple(
    needle.encode()
    for needle in dict.fromkeys(
        (*(n for form in FORMS for n in form[1]), *dumptext.NEEDLES, *xlatext.NEEDLES, *_CONTEXT)
    )
)
# A block that has none of these is passed over. (Its last lines, and the log's, are read all the same: they
# tell of a process that was killed, in other languages and as an exit status.)
_FIRST_NEEDLES = tuple(
    needle.encode()
    for needle in (
        *(
            "llocat",
            "ut of memory",
            "CUDA_ERROR_OUT_OF_MEMORY",
            "xhaustedError",
            "illed",
            "SIGKILL",
            "SIGSEGV",
        ),
        *("Dst tensor is not initialized", "MemoryError", "bad_alloc", " 2GB", " of size ", "_STATUS_"),
        *("egmentation fault", "launch failed", "cuDNN failed to initialize", CONSTANT),
    )
)


@dataclass
class Log:
    """All that a text says of memory: failures in their order, warnings, and what surrounds them.

    given_bytes: what TensorFlow took the device to have for it; device_bytes, free_bytes: what the device
    has, and what of it was free as TensorFlow came; epoch: the last that began; done: progress bars that came
    to their end; retraced: how often tf.function warned of retracing; truncated: it speaks of memory that
    ran out, whether or not the error itself is there; skimmed: it was too long to be read whole.
    """

    failures: list = field(default_factory=list)
    warnings: int = 0
    warning: object = None
    given_bytes: int | None = None
    device_bytes: int | None = None
    free_bytes: int | None = None
    batch_size: int | None = None
    epoch: int | None = None
    done: int = 0
    retraced: int = 0
    truncated: bool = False
    skimmed: bool = False
    lines: int = 0
    bytes: int = 0


def read(blocks):
    """The Log of a text that comes in blocks of bytes, cut anywhere."""
    reader, before = _Reader(), b""
    for block in _whole_lines(blocks):
        reader.log.bytes += len(block)
        if before:
            reader.read(before)
        before = block
    reader.read(before, closely=True)
    return reader.end()


def _whole_lines(blocks):
    """The same bytes in blocks of about one size; a line is cut only if it is longer than that."""
    rest = b""
    for block in blocks:
        rest += block
        while len(rest) > BLOCK_BYTES:
            end = rest.rfind(b"\n", 0, BLOCK_BYTES) + 1 or BLOCK_BYTES
            yield rest[:end]
            rest = rest[end:]
    yield rest


class _Reader:
    def __init__(self):
        self.log = Log()
        self._dumps, self._dump = {}, None
        self._skipped, self._follow, self._lines_left = b"", True, MOST_LINES
        self._forget(-NEAR_LINES)

    def _forget(self, line):
        """A traceback begins: what was seen before is of no use for its error."""
        self._traceback_at = self._marks_at = line
        self._marks, self._node, self._op_type = set(), None, None

    def read(self, block, closely=False):
        """Read a block: closely if it speaks of memory, or is the first, the last, or after one that does."""
        speaks = self._lines_left > 0 and any(needle in block for needle in _FIRST_NEEDLES)
        if closely or self._follow or speaks:
            self._read_closely(block)
            self._skipped = b""
        else:
            self.log.lines += block.count(b"\n")
            self._skipped = block[-CONTEXT_BYTES:]
            self.log.skimmed |= self._lines_left <= 0
        self._follow = speaks

    def _read_closely(self, block):
        """Those lines that have a piece of text which we look for, after the end of a block passed over."""
        context = self._skipped.partition(b"\n")[2]
        number, counted = self.log.lines - context.count(b"\n"), 0
        block = context + block
        for start, end in self._windows(block):
            number += block.count(b"\n", counted, start)
            counted = start
            text = block[start:end].decode("utf-8", "replace")
            text = " ".join(text.split()) if "\n" in text else text
            self._line(number + 1, _ANSI.sub("", text) if "\x1b" in text else text)
        self.log.lines = number + block.count(b"\n", counted)

    def _windows(self, block):
        """(start, end) of each line to look at, in order; of long lines only a part."""
        found = set()
        for needle in _NEEDLES:
            at = block.find(needle)
            while at >= 0:
                start, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
                end = end if end >= 0 else len(block)
                if needle == CONSTANT.encode():  # the shape takes the lines that follow
                    end = max(end, block.find(b"\n}", at, at + LINE_CHARACTERS // 3))
                if end - start > LINE_CHARACTERS:
                    start = max(start, at - LINE_CHARACTERS // 3)
                    end = min(end, start + LINE_CHARACTERS)
                found.add((start, end))
                at = block.find(needle, end)
        self._lines_left -= len(found)
        return sorted(found)

    def end(self):
        """The Log. A dump without its error is a refusal too."""
        if not self.log.failures and self._dump and (self._dump.chunks or self._dump.used_bytes is not None):
            self.log.failures.append(
                Failure("refused", max(1, self.log.lines), "(a dump without its error)", dump=self._dump)
            )
        return self.log

    def _line(self, number, text):
        if self._reads_dump(text) or self._reads_division(number, text):
            return
        self._surroundings(number, text)
        found = failure(number, text)
        if found is None:
            self._names(number, text)
        elif found.kind == "warning":
            self.log.warnings += 1
            self.log.warning = max(self.log.warning or found, found, key=lambda f: f.requested_bytes or 0)
        else:
            self._failed(self._merged(found), text)

    def _merged(self, new):
        """The failure that `new` is another word of, or else `new` itself."""
        for old in reversed(self.log.failures[-8:]):
            if _same(old, new):
                old.last_line = new.line
                if old.kind == "refused":
                    old.kind, old.said, old.line = new.kind, new.said, new.line
                for name in ("shape", "dtype", "device", "allocator", "op", "op_type", "requested_bytes"):
                    if getattr(old, name) is None:
                        setattr(old, name, getattr(new, name))
                return old
        new.epoch, new.done = self.log.epoch, self.log.done
        if len(self.log.failures) < MOST_FAILURES:
            self.log.failures.append(new)
        return new

    def _failed(self, failure, text):
        """Give a failure what was seen shortly before: its place in the code, and the dump."""
        if failure.last_line - max(self._traceback_at, self._marks_at) < NEAR_LINES:
            failure.marks |= self._marks
            failure.op = failure.op or self._node
            failure.op_type = failure.op_type or self._op_type
        if failure.dump is None and self._dump and not self._dump.claimed:
            failure.dump, self._dump.claimed = self._dump, True
        self._names(failure.last_line, text)

    def _names(self, number, text):
        """Op and node, of the failure just told or of the one to come."""
        node, op_type = _NODE.search(text), _OP_TYPE.search(text)
        node = node and next(filter(None, node.groups()))
        op_type = op_type and next(filter(None, op_type.groups()))
        near = self._near(number)
        if node and not re.search(r"(?:^|/)_\d*", node):
            self._node = self._node or node
            if near and near.op is None:
                near.op = node
        if op_type:
            self._op_type = self._op_type or op_type
            if near and near.op_type is None:
                near.op_type = op_type

    def _near(self, number):
        last = self.log.failures[-1] if self.log.failures else None
        return last if last and number - last.last_line < NEAR_LINES else None

    def _surroundings(self, number, text):
        log = self.log
        if any(start in text for start in _TRACEBACK):
            self._forget(number)
        log.truncated = log.truncated or any(hint in text for hint in _HINTS)
        marks = {mark for mark in MARKS if mark in text} if _FRAME.match(text) else set()
        if marks:
            self._marks, self._marks_at = self._marks | marks, number
        if marks and (near := self._near(number)) and self._traceback_at > near.line:
            near.marks |= marks
        log.retraced += "retracing" in text
        if epoch := _EPOCH.search(text):
            log.epoch = int(epoch[1])
        log.done += "/" in text and _DONE.search(text) is not None
        if log.batch_size is None and (batch := _BATCH.search(text)):
            log.batch_size = int(batch[1]) or None
        if log.given_bytes is None and (given := _GIVEN.search(text)):
            log.given_bytes = int(given[1]) * 2**20
        if log.device_bytes is None and (total := _TOTAL.search(text)):
            log.device_bytes, log.free_bytes = dumptext.size(total[1]), dumptext.size(total[2] or "")

    def _reads_dump(self, text):
        """Whether this line is of a dump. Those of several processes at once are told apart by the thread."""
        thread = _THREAD.match(text)
        key = thread and thread[1]
        name = dumptext.heading(text)
        dump = self._dumps.get(key) or (self._dump if key is None else None)
        if name or ((dump is None or dump.ended) and dumptext.is_inside(text)):
            dump = self._begin(key, name)
        return dump is not None and not dump.ended and (dump.read(text) or name is not None)

    def _reads_division(self, number, text):
        """Whether this line is of what XLA says below its error."""
        near = self._near(number)
        if near is None or near.kind != "xla":
            return False
        near.division = near.division or xlatext.Division()
        return near.division.read(text)

    def _begin(self, key, allocator):
        dump = self._dumps[key] = self._dump = dumptext.TextDump(allocator)
        while len(self._dumps) > 8:
            del self._dumps[next(iter(self._dumps))]
        refused = [f for f in self.log.failures[-8:] if f.kind == "refused" and f.dump is None]
        if refused:
            refused[-1].dump, dump.claimed = dump, True
        return dump


def _same(old, new):
    """Whether two failures are two words of one: the refusal and the error, or the error said again."""
    if old.kind == "refused" and new.kind in ("oom", "copy", "xla", "constant"):
        a, b = old.requested_bytes, new.tensor_bytes or new.requested_bytes
        return a is None or b is None or abs(a - b) <= max(256, 0.01 * a)
    if old.kind != new.kind or old.kind == "refused":
        return False
    if old.kind == "xla" and old.requested_bytes and new.requested_bytes:
        return abs(old.requested_bytes - new.requested_bytes) <= 0.01 * old.requested_bytes
    return new.shape is None or (old.shape, old.dtype) == (new.shape, new.dtype)
