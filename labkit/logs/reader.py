"""A reader of logs: the failures that a text reports, with their context.

A log of any length is read in blocks, in constant memory. A block is first searched for fixed strings; only
a line that contains one is matched against regular expressions, and those have no nested repetition. The
context of a failure (names of ops, tracebacks, epochs) is looked for only near lines that mention memory.
"""

import itertools
import re
from dataclasses import dataclass, field

from ..texts.blocks import BLOCK_BYTES, whole_lines
from ..texts.characters import spaced
from . import dumptext, xlatext
from .failure import Failure
from .forms import ANYWHERE, BETWEEN_DEVICES, CONSTANT, FORMS, MARKS, NO_MEMORY, TRIED
from .messages import (
    failure,
    may_be_cut_off,
    no_memory,
    says_how_much,
    short_name,
    speaks_of_memory,
    tells_of_a_leak,
    tells_of_repeats,
    told,
    told_shape,
)

CONTEXT_BYTES = 2**15  # of a skipped block, how much of its end is read after all if the next block matters
LINE_CHARACTERS = 3000  # of a longer line, only the surroundings of a match are read
MOST_LINES = 100_000  # lines read closely; of a log with more, only the end is read
MOST_FAILURES = 50
MOST_BROKEN = 1000  # lines that may be broken in the middle, and are read together with those after them
_MERGED = (
    "batch",
    "shape",
    "dtype",
    "device",
    "allocator",
    "op",
    "op_type",
    "requested_bytes",
    "limit_bytes",
    "in_use_bytes",
)
FEW_LINES = 20  # a refusal this close to an algorithm that XLA says it tries out is of it
NEAR_LINES = 400  # a traceback this close to an error belongs to it
_NODE = re.compile(
    r"\{\{node ([^\s{}]{1,400})\}\}|\[\[[Nn]ode:? ([^\s\]{]{1,400})"
    r"|Detected at node '?([\w./:-]{1,400})|Caused by op u?'([^'\s]{1,400})'"
    r"|The op that failed: ([^\s,]{1,400}[^\s,.])"
)
_OP_TYPE = re.compile(
    r"\[Op:([A-Za-z]\w{0,80})\]|__wrapped__([A-Za-z0-9]{1,80}?)(?:_N_\d{1,6})?_device|= ([A-Z]\w{1,80})\[T"
)
_NO_OP = re.compile(r"^_|/_\d+$")  # what passes values on, into a function or to another device
_ON_DEVICE = re.compile(r"_device=\\?\"([^\"\\]{1,200})")
_IN_OPTIMIZER = re.compile(r"defined at [^)]{0,300}optimi[sz]er")
_NODE_DEF = re.compile(r"\[\[[Nn]ode:? (\S{1,400}) = ([A-Z]\w{1,80})\[(.{1,2000})")  # with its attributes
_TYPE = re.compile(r"\b(?:T|dtype|DstT)=DT_([A-Z0-9]{1,20})")
_VALUE = re.compile(r"value=Tensor<type: (\w{1,20}) shape: \[([\d,]{0,200})\]")
_NOT_OF_ITS_TYPE = re.compile(
    r"(?:Not)?Equal|Less|Greater|Arg(?:Max|Min)|Is(?:Nan|Inf|Finite)|Shape|Size|Where|TopK|Unique"
)
_EAGER_NAME = re.compile(r"\[Op:(\w{1,80})\] name: ([\w.-]{1,80}/[\w./-]{0,200})")
_FUNCTION = re.compile(r"\[Op:__inference_(test|predict)_function_\d")
_FUNCTION_MARKS = {"test": "test_function", "predict": "in predict"}
_EPOCH = re.compile(r"Epoch (\d{1,7})(?:/\d{1,7}\b|\s*(?:[]:,)|-]|$))")
_ANOTHER_RUN = re.compile(r"nohup: ignoring input|Using TensorFlow backend|Created (?:TensorFlow )?device ")
_DONE = re.compile(r"(?:^|\s)(\d{1,7})/\1 (?:- \d{1,7}s|\[=|\S{0,4}━)")
_BATCH = re.compile(r"[Bb]atch[-_ ]size\W{1,4}(\d{1,7})\b")
_GIVEN = re.compile(r"with (\d{1,9}) MB memory")
_TOTAL = re.compile(r"[Tt]otal ?[Mm]emory: ([\d.]{1,12}[MG]iB)(?: freeMemory: ([\d.]{1,12}[KMG]iB))?")
_FREE_OF = re.compile(r"Free memory/Total memory: (\d{1,18})/(\d{1,18})")
_FRAME = re.compile(
    r" {4}|-{1,4}> |.{0,300}\.py|.{0,200}OP_REQUIRES failed at"
)  # a line of a traceback, Python's or IPython's
_THREAD = re.compile(r"[IWEF]\d{4} [\d:.]{8,40} {1,9}(\d{1,9}) ")
_TRACEBACK = ("Traceback (most", "Detected at node", "Caused by op", "The op that failed")
_LAYER = re.compile(
    r"when calling (?:layer )?['\"]?([\w./-]{1,80})['\"]? ?(?:\(type \w{1,60}\)|\.call\(\))"
    r"|when calling (?:layer )?['\"]([\w./-]{1,80})['\"]|when calling (\w{1,60})\.call\(\)"
)
_ARGUMENT = re.compile(
    r"Tensor\(shape=(?:torch\.Size\()?[(\[]([\d, ]{1,80})[)\]]\)?, dtype=(?:torch\.)?(\w{1,12})"
)
_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:|[IWEF]\d{4} \d\d:|[IWEF] ")
_NEXT_LOGGED = re.compile(r"(?<=[^\s\d])\s*(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}: [IWEF] )")
_ERROR = re.compile(r"(?:> |E {3})?(?:\w{1,60}\.){0,6}\w{0,60}(?:Error|Exception|Interrupt)\b(?::|$)")
_KERNEL = re.compile(r"OP_REQUIRES failed at (\w{1,60})\.\w{1,3}:\d")
TRYING = "Trying algorithm "
_JAX = ("jaxlib", "jax.errors", "XlaRuntimeError", "JaxRuntimeError", "jax/_src")
# Of lines that may speak of memory in words that no form knows.
_WORDS = (
    *("emory", "OOM", "oom", "xhausted", "XHAUSTED", "lloc", "MEMORY", "ENOMEM", "RAM", "ystem resources"),
    *("XLA Label:", "被", "杀死"),
    *("内存", "显存", "記憶體", "メモリ", "메모리", "памят", "moire", "peicher", "emori", "emóri", "bellek"),
)
_CONTEXT = (
    *_WORDS,
    *(needle for needles, _, _ in NO_MEMORY for needle in needles),
    *("{{node", "[[Node", "[[node", *_TRACEBACK, "[Op:", "__wrapped__", "Epoch ", "/step", "retracing"),
    *("atch_size", "atch size", "atch-size", " MB memory", "otalMemory", "otal memory", *MARKS, *_JAX),
    *("nohup: ignoring", "Using TensorFlow backend", "Created "),
    *(TRIED, TRYING, "when calling", "Tensor(shape=", "Free memory/Total memory", "Error", "Exception"),
)


def _shortest(needles):
    """The needles without those that contain another one: a line with them is found by that."""
    kept = []
    for needle in sorted(set(needles), key=len):
        if not any(short in needle for short in kept):
            kept.append(needle)
    return kept


_NEEDLES = tuple(
    needle.encode()
    for needle in (
        *_shortest((*(n for form in FORMS for n in form[1]), *dumptext.NEEDLES, *xlatext.NEEDLES, *_CONTEXT)),
        *(CONSTANT, TRIED),  # whose lines are read together with those after them
    )
)
# A block that contains none of these is skipped. (The end of the log is read in any case: it may report a
# killed process in other languages, or as an exit status.)
_FIRST_NEEDLES = tuple(
    needle.encode()
    for needle in (
        *("llocat", "emory", "MEMORY", "OOM", "xhausted", "XHAUSTED", "illed", "SIGKILL", "SIGSEGV"),
        *(
            "bad_alloc",
            "Dst tensor is not initialized",
            " 2GB",
            " 2 GB",
            "214748364",
            " of size ",
            "_STATUS_",
            "VRAM",
            "vram",
        ),
        *("rror 1455", "egmentation fault", "ailed", "handle", "DNN library", "No algorithm worked"),
        *("array is too big", "/dev/shm", "CUFFT", "显存", CONSTANT),
    )
)


@dataclass
class Log:
    """Everything that a text says about memory.

    failures              the Failures, in order
    warnings, warning     number of warnings, and the one about the largest request
    forgone               how many of them say that TensorFlow can do without
    warned_line           the last one's line
    given_bytes           the memory that TensorFlow reported as its own on the device
    device_bytes, free_bytes   total memory of the device, and how much was free when TensorFlow started
    batch_size            as printed in the text
    epoch, done           the last epoch that began, and how many progress bars were completed
    retraced              number of tf.function's warnings about retracing
    marks, node           those of the last traceback, and the op that it names
    wording               (line, words) of the first line that says in any words that memory ran out
    told                  marks of what lines that speak of memory say that fills it
    told_shape            of the tensor that such a line names
    leak                  (line, words) of the first line that says that memory grows
    repeats               whether a line that speaks of memory says that others of the kind had run before
    no_memory             (line, words, reason) of what calls itself exhausted, and is no memory
    errors                number of lines that end a traceback with an error of another kind
    skimmed               whether it was too long to be read whole
    framework             "jax" if the text is of JAX, else "tensorflow"
    lines, bytes          length of the text
    """

    failures: list = field(default_factory=list)
    warnings: int = 0
    forgone: int = 0
    warning: object = None
    warned_line: int = 0
    given_bytes: int | None = None
    device_bytes: int | None = None
    free_bytes: int | None = None
    batch_size: int | None = None
    epoch: int | None = None
    done: int = 0
    retraced: int = 0
    marks: set = field(default_factory=set)
    node: str | None = None
    wording: tuple | None = None
    told: set = field(default_factory=set)
    told_shape: tuple | None = None
    leak: tuple | None = None
    repeats: bool = False
    no_memory: tuple | None = None
    errors: int = 0
    skimmed: bool = False
    framework: str = "tensorflow"
    lines: int = 0
    bytes: int = 0


def read(blocks):
    """The Log of a text that arrives in blocks of bytes, split anywhere."""
    reader, previous = _Reader(), b""
    for block in whole_lines(blocks, BLOCK_BYTES):
        reader.log.bytes += len(block)
        if previous:
            reader.read(previous)
        previous = block
    reader.read(previous, closely=True)
    return reader.end()


class _Reader:
    def __init__(self):
        self.log = Log()
        self._dumps, self._dump = {}, None
        self._skipped, self._follow, self._lines_left, self._broken = b"", True, MOST_LINES, 0
        self._warned = -NEAR_LINES, None  # the last line of a refusal that is no failure, and its size
        self._as_warned = []  # failures that a warning of the same size came before
        self._trying_at = -NEAR_LINES  # the last line that says which algorithm is tried out
        self._read_until = 0  # the last line that was read together with one before it
        self._start_traceback(-NEAR_LINES)

    def _start_traceback(self, line):
        """A traceback begins on this line: what came before does not belong to its error."""
        self._traceback_at = self._marks_at = line
        self._marks, self._node, self._op_type = set(), None, None
        self._layer = self._kernel = None

    def read(self, block, closely=False):
        """Read a block: closely if it mentions memory, follows one that does, or is the first or the last."""
        mentioned = any(needle in block for needle in _FIRST_NEEDLES)
        relevant = mentioned and self._lines_left > 0
        if closely or self._follow or relevant:
            self._read_closely(block)
            self._skipped = b""
        else:
            self.log.lines += block.count(b"\n")
            self._skipped = block[-CONTEXT_BYTES:]
            self.log.skimmed |= mentioned
        self._follow = relevant

    def _read_closely(self, block):
        """Read the lines that contain a needle, of this block and of the end of a skipped one before it."""
        context = self._skipped.partition(b"\n")[2]
        number, counted = self.log.lines - context.count(b"\n"), 0
        block = context + block
        for start, end in self._windows(block):
            number += block.count(b"\n", counted, start)
            counted = start
            self._read_line(number + 1, _line(block[start:end]), block[end : end + 400])
        self.log.lines = number + block.count(b"\n", counted)

    def _windows(self, block):
        """(start, end) of each line to read, in order; of long lines only a part."""
        windows = {}
        for needle in _NEEDLES:
            at = block.find(needle)
            while at >= 0:
                start, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
                end = end if end >= 0 else len(block)
                if needle == CONSTANT.encode():  # the shape is in the lines that follow
                    end = max(end, block.find(b"\n}", at, at + LINE_CHARACTERS // 3))
                elif needle == TRIED.encode():  # PyTorch's long line is often broken
                    end = max(
                        end, at + len(b"\n".join(block[at : at + LINE_CHARACTERS // 3].split(b"\n")[:7]))
                    )
                if end - start > LINE_CHARACTERS:
                    start = max(start, at - LINE_CHARACTERS // 3)
                    end = min(end, start + LINE_CHARACTERS)
                windows[start] = max(end, windows.get(start, 0))
                at = block.find(needle, end)
        self._lines_left -= len(windows)
        return _not_inside_others(sorted(windows.items()))

    def end(self):
        """The finished Log. A dump whose error is missing counts as a refusal.

        In posts the error often comes first, as the title: a dump after it is its own.
        """
        self.log.marks, self.log.node = self._marks, self._node
        for warned in self._as_warned if self.log.framework != "jax" else ():  # which warns of all
            warned.tried_out = True
        last = self.log.failures[-1] if self.log.failures else None
        if (
            last
            and last.kind in ("oom", "full", "copy", "constant")
            and last.dump is None
            and self._dump
            and not self._dump.claimed
        ):
            last.dump, self._dump.claimed = self._dump, True
        if not self.log.failures and self._dump and (self._dump.sizes or self._dump.used_bytes is not None):
            self.log.failures.append(
                Failure(
                    "refused", max(1, self.log.lines), "(a memory dump without its error)", dump=self._dump
                )
            )
        return self.log

    def _read_line(self, number, text, following=b""):
        """Read a line. following: the lines after it, in case it is broken in the middle of a message.

        Where line breaks were lost, it is several lines of TensorFlow's log, of one number.
        """
        if text.rstrip().endswith(("{{node", "[[node", "[[Node:")):
            text += " " + following.decode("utf-8", "replace").lstrip().partition("\n")[0]
        *parts, last = _NEXT_LOGGED.split(text)
        for part in parts:
            self._read_part(number, part)
        self._read_part(number, last, following)

    def _read_part(self, number, text, following=b""):
        if self._read_dump(text) or self._read_division(number, text):
            return
        self._read_context(number, text)
        new = self._failure(number, text, following)
        if new is None:
            self._read_names(number, text)
            self._read_words(number, text)
        elif new.kind == "warning":
            self.log.warnings += 1
            self.log.forgone += "not a failure" in new.quote
            self.log.warned_line = number
            self._warned = number, new.requested_bytes
            self.log.warning = max(self.log.warning or new, new, key=lambda f: f.requested_bytes or 0)
        else:
            if new.kind == "full":  # also what people write of it
                self.log.repeats |= tells_of_repeats(text)
                self.log.told |= told(text)
            self._add_context(self._merge(new), text)
            self._read_division(number, text)
            if "MemAllocAsync" in text:  # its statistics follow, as those of a dump
                self._begin_dump(None)

    def _failure(self, number, text, following):
        """The Failure on a line, with what those after it say of it; None if one before it has said it."""
        if number <= self._read_until:
            return None
        new = failure(number, text)
        if new and new.kind in ("refused", "full") and b"failure" in following:
            new = _warned(number, text, _first_lines(following)) or new
        may_go_on = may_be_cut_off(new) if new else any(word in text for word in _WORDS)
        if may_go_on and self._broken < MOST_BROKEN:
            self._broken += 1
            new, used = _whole(number, new, text, _first_lines(following))
            if used:
                self._read_until = number + used
        return new

    def _read_words(self, number, text):
        """What a line that is in no known form says of memory, or of something that only sounds like it."""
        log = self.log
        mentions_memory = any(word in text for word in _WORDS)
        if log.no_memory is None and (reason := no_memory(text)):
            log.no_memory = number, text.strip(), reason
        elif log.wording is None and mentions_memory and speaks_of_memory(text):
            log.wording = number, text.strip()
        if mentions_memory and not log.repeats:
            log.repeats = tells_of_repeats(text)
        if mentions_memory:
            log.told |= told(text)
        if mentions_memory and log.told_shape is None:
            log.told_shape = told_shape(text)
        if log.leak is None and mentions_memory and tells_of_a_leak(text):
            log.leak = number, text.strip()

    def _merge(self, new):
        """The earlier failure that `new` reports again, updated; or `new` itself, added to the log."""
        for old in reversed(self.log.failures[-8:]):
            if _same(old, new):
                old.last_line = new.line
                if old.kind == "refused" or old.says_nothing:
                    old.kind, old.quote, old.line = new.kind, new.quote, new.line
                old.is_mild &= new.is_mild
                old.tried_out |= new.tried_out
                for name in _MERGED:
                    if getattr(old, name) is None:
                        setattr(old, name, getattr(new, name))
                return old
        new.epoch, new.done = self.log.epoch, self.log.done
        if len(self.log.failures) < MOST_FAILURES:
            self.log.failures.append(new)
        return new

    def _add_context(self, failure, text):
        """Give a failure what was read shortly before: its place in the code, the dump, a warning."""
        warned_at, warned = self._warned
        is_warned = warned and failure.last_line - warned_at < NEAR_LINES
        if failure.kind == "xla" and is_warned and _is_near(warned, failure.requested_bytes):
            self._as_warned.append(failure)
        if failure.kind in ("refused", "full") and 0 <= failure.line - self._trying_at < FEW_LINES:
            failure.tried_out = True
        if failure.last_line - max(self._traceback_at, self._marks_at) < NEAR_LINES:
            failure.marks |= self._marks
            failure.op = failure.op or self._node
            failure.op_type = failure.op_type or self._op_type
            failure.layer = failure.layer or self._layer
            failure.kernel = failure.kernel or self._kernel
        if failure.dump is None and self._dump and not self._dump.claimed:
            failure.dump, self._dump.claimed = self._dump, True
        self._read_names(failure.last_line, text)

    def _read_names(self, number, text):
        """Read the names of op and node, for the last failure or for the next."""
        node, op_type = _NODE.search(text), _OP_TYPE.search(text)
        node = node and next(filter(None, node.groups()))
        op_type = op_type and next(filter(None, op_type.groups()))
        near = self._near(number)
        edge = node and re.fullmatch(r"([^_].*)/_\d+", node)  # a copy of that op's output between devices
        if edge and near and near.kind == "copy":
            node = edge[1]
            near.marks.add(BETWEEN_DEVICES)
        unplaced = near and near.device is None and near.allocator is None and "_Recv" not in text
        if unplaced and (device := _ON_DEVICE.search(text)):
            near.device = device[1]
        if near and _IN_OPTIMIZER.search(text):
            near.marks.add("optimizer.step")
        if node and not _NO_OP.search(node):
            self._node = self._node or node
            if near and near.op is None:
                near.op = node
        if near and (function := _FUNCTION.search(text)):
            near.marks.add(_FUNCTION_MARKS[function[1]])
        if near and near.op is None and (eager := _EAGER_NAME.search(text)):
            near.op = f"{eager[2].rstrip('/')}/{eager[1]}" if eager[2].endswith("/") else eager[2]
        if near and near.dtype is None and (defined := _NODE_DEF.search(text)) and defined[1] == near.op:
            _read_definition(near, defined[2], defined[3])
        if op_type:
            self._op_type = self._op_type or op_type
            if near and near.op_type is None:
                near.op_type = op_type
        if near and "Tensor(shape=" in text and len(near.arguments) < 20:
            near.arguments += [
                (tuple(map(int, re.findall(r"\d+", shape))), dtype)
                for shape, dtype in _ARGUMENT.findall(text)
            ]

    def _near(self, number):
        """The last failure if it is near this line, else None."""
        last = self.log.failures[-1] if self.log.failures else None
        return last if last and number - last.last_line < NEAR_LINES else None

    def _read_context(self, number, text):
        log = self.log
        if any(start in text for start in _TRACEBACK):
            self._start_traceback(number)
        if TRYING in text:
            self._trying_at = number
        log.framework = "jax" if any(word in text for word in _JAX) else log.framework
        if "when calling" in text and (layer := _LAYER.search(text)):
            self._layer, self._marks_at = next(filter(None, layer.groups())), number
        if "OP_REQUIRES" in text and (kernel := _KERNEL.search(text)):
            self._kernel, self._marks_at = kernel[1], number
        marks = {mark for mark in (MARKS if _FRAME.match(text) else ANYWHERE) if mark in text}
        if marks:
            self._marks, self._marks_at = self._marks | marks, number
        if marks and (near := self._near(number)) and not 0 <= self._traceback_at <= near.line:
            near.marks |= marks
        log.errors += _ERROR.match(text) is not None
        log.retraced += "retracing" in text
        if _ANOTHER_RUN.search(text):
            log.epoch, log.done = None, 0
        if epoch := _EPOCH.search(text):
            log.epoch = int(epoch[1])
            log.done = 0 if log.epoch == 1 else log.done  # what went before was another training
        log.done += "/" in text and _DONE.search(text) is not None
        if not log.failures and (batch := _BATCH.search(text)):
            log.batch_size = int(batch[1]) or None
        if log.given_bytes is None and (given := _GIVEN.search(text)):
            log.given_bytes = int(given[1]) * 2**20
        if log.device_bytes is None and (total := _TOTAL.search(text)):
            log.device_bytes, log.free_bytes = dumptext.size(total[1]), dumptext.size(total[2] or "")
        if free := _FREE_OF.search(text):
            log.free_bytes, log.device_bytes = int(free[1]), int(free[2])

    def _read_dump(self, text):
        """Read a line if it belongs to a dump; whether it did. Each thread has a dump of its own."""
        thread = _THREAD.match(text)
        key = thread and thread[1]
        dump = self._dumps.get(key) or (self._dump if key is None else None)
        if dumptext.HEADING in text or ((dump is None or dump.ended) and dumptext.is_inside(text)):
            dump = self._begin_dump(key)
        return dump is not None and not dump.ended and dump.read(text)

    def _read_division(self, number, text):
        """Read a line if it belongs to the plan that XLA prints below its error; whether it did."""
        near = self._near(number)
        if near is None or near.kind != "xla":
            return False
        near.division = near.division or xlatext.Division()
        return near.division.read(text)

    def _begin_dump(self, key):
        dump = self._dumps[key] = self._dump = dumptext.TextDump()
        while len(self._dumps) > 8:
            del self._dumps[next(iter(self._dumps))]
        refused = [f for f in self.log.failures[-8:] if f.kind == "refused" and f.dump is None]
        if refused:
            refused[-1].dump, dump.claimed = dump, True
        return dump


def _read_definition(failure, op_type, attributes):
    """The type of a tensor from the definition of its op, in TensorFlow 1; of a constant, its shape too."""
    value, of_type = _VALUE.search(attributes), _TYPE.search(attributes)
    if value and failure.shape in (None, _dimensions(value[2])):
        failure.shape, failure.dtype = _dimensions(value[2]), short_name(value[1])
    elif of_type and failure.shape is not None and not _NOT_OF_ITS_TYPE.match(op_type):
        failure.dtype = short_name(of_type[1])


def _dimensions(text):
    return tuple(int(n) for n in text.split(",") if n)


def _not_inside_others(windows):
    """The windows, in order, without those that lie inside of an earlier one."""
    last = 0
    for start, end in windows:
        if end > last:
            yield start, end
            last = end


def _line(data):
    """Bytes as text on one line, in words."""
    text = spaced(data.decode("utf-8", "replace"))
    return " ".join(text.split()) if "\n" in text else text


def _first_lines(following):
    return spaced(following.decode("utf-8", "replace")).strip("\r\n").splitlines()[:3]


def _whole(number, cut, text, lines):
    """(Failure, lines used) of a line that is broken in the middle of its message, from it and the next ones.

    cut   what the line says by itself: a Failure, or None
    """
    is_vague = cut is None or cut.kind == "full"
    theirs = failure(number, " ".join(lines)) if is_vague else None
    if theirs and not may_be_cut_off(theirs):
        return cut, 0
    shaped = cut, 0
    for used in range(1, len(lines) + 1):
        for joined in _joined(text, lines[:used]):
            found = failure(number, joined)
            if not found or not is_vague and found.kind != cut.kind:
                continue
            if says_how_much(found) or cut is None and found.kind in ("session", "told"):
                return found, used
            if shaped[1] == 0 and found.shape is not None and (cut is None or cut.shape is None):
                shaped = found, used
    return shaped


def _warned(number, text, lines):
    """The warning that a refusal is, if the lines after it say that it is not a failure; else None."""
    own = list(itertools.takewhile(lambda line: not _LOGGED.match(line), lines))
    found = failure(number, " ".join([text, *own]))
    return found if found and found.kind == "warning" else None


def _joined(text, lines):
    """A line and those after it as one: broken between words, at a window's edge, or in a quoted word."""
    digits, stripped = "0123456789,.[", [line.strip(" \t>|#") for line in lines]
    for between, rest in ((" ", stripped), ("", lines), ("", stripped)):
        joined = text if rest is lines else text.rstrip()
        for line in rest:
            inside = joined[-1:] in digits and line[:1] in digits.replace("[", "]")
            joined += line if inside else f"{between}{line}"
        yield joined


def _is_near(size, other):
    """Whether two sizes are of one request: messages round them."""
    return other is not None and abs(size - other) <= max(256, 0.01 * size)


def _same(old, new):
    """Whether two reports are of one failure: the refusal and its error, or the error printed again."""
    if new.kind == "recurrent" and old.kind in ("refused", "oom"):
        return new.line - old.last_line < NEAR_LINES
    if old.kind == "refused" and new.kind in ("oom", "copy", "xla", "constant"):
        refused, failed = old.requested_bytes, new.tensor_bytes or new.requested_bytes
        return refused is None or failed is None or _is_near(refused, failed)
    if old.kind == "driver" and new.kind == "full":
        return new.line - old.last_line < 30 and _is_near(old.requested_bytes or 0, new.requested_bytes)
    if old.kind != new.kind or old.kind == "refused":
        return False
    if old.says_nothing and not new.says_nothing:  # a title, cut off, and the error below it
        return True
    if old.kind == "host" and old.shape is None and new.shape is not None:
        return new.line - old.last_line < 10  # VS Code shows the error's type on a line of its own
    if old.kind == "driver":  # after a refusal CUDA is asked for less and less
        return new.line - old.last_line < 30
    if old.kind == "xla" and old.requested_bytes and new.requested_bytes:
        return abs(old.requested_bytes - new.requested_bytes) <= 0.01 * old.requested_bytes
    return new.shape is None or (old.shape, old.dtype) == (new.shape, new.dtype)
