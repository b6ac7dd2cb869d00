"""A line of a text to a Failure: what TensorFlow, Keras, PyTorch, CUDA and the system print, parsed."""

import functools
import re

from . import dumptext
from .failure import Failure
from .forms import (
    BYTES,
    CONSTANT,
    FORMS,
    LEAKS,
    NO_LEAK,
    NO_MEMORY,
    NO_WORDING,
    REPEATED,
    TOLD,
    TOLD_SHAPE,
    WORDING,
)

_LONG_NAMES = {"float": "float32", "half": "float16", "double": "float64"}
_SIZES = {  # what the sizes are that the groups of the patterns name
    **dict.fromkeys(("bytes", "more", "same", "size", "asked", "needed", "usage"), "requested_bytes"),
    **dict.fromkeys(("limit", "room", "available"), "limit_bytes"),
    "used": "in_use_bytes",
    "free": "largest_free_bytes",
}
_MILD = r"(?:^|[\s>:])I(?:\d{4})? (?:\S{1,80}\.cc|\d\d:)"  # the level of a line of TensorFlow's log
_SIZED = ("oom", "refused", "xla", "torch", "driver", "host")  # kinds whose messages usually say how much
# What the text of a form does not say.
HIDDEN = {
    "constant": "A tensor filled with one value could not be created for lack of memory: "
    f'"{CONSTANT}" is all that TensorFlow says about it.'
}
_MORE = (  # what stands beside the size that was asked for: PyTorch's and Theano's words
    ("limit_bytes", rf"total capaci?ty of ({BYTES})"),
    ("limit_bytes", rf"; ({BYTES}) total capacity"),
    ("limit_bytes", rf"max allowed: ({BYTES})"),
    ("limit_bytes", r"bytes free and (\d{1,20}) bytes total"),
    ("in_use_bytes", rf"this process has ({BYTES}) memory in use"),
    ("in_use_bytes", rf"({BYTES}) already allocated"),
    ("in_use_bytes", rf"MPS allocated: ({BYTES})"),
    ("largest_free_bytes", rf"of which ({BYTES}) is free"),
    ("largest_free_bytes", rf"already allocated; ({BYTES}) free"),
    ("largest_free_bytes", r"Driver report (\d{1,20}) bytes free"),
    ("unused_bytes", rf"({BYTES}) is reserved by PyTorch but unallocated"),
    ("pool_bytes", rf"({BYTES}) reserved in total by PyTorch"),
    ("unused_bytes", rf"; ({BYTES}) cached"),
    ("allocated_bytes", rf"({BYTES}) is allocated by PyTorch"),
    ("others_bytes", rf"Process \d{{1,9}} has ({BYTES}) memory in use"),
)
_OWN_CONTEXT = 2**30  # bytes that CUDA itself takes for a process, at most
_TRIED_OUT = ("rofiling failure", "best cudnn convolution", "algorithm_picker", "cudnnFind")
_DENIABLE = ("oomkill", "killed", "died", "session", "told", "full")  # kinds that prose speaks of
_DENIAL = re.compile(
    r"(?i:\b(?:no|not|never|without|isn't|wasn't)\s{1,3}"
    r"(?:(?!sure|idea|clue|warning|only|reason|matter|but|error)\w{1,20}\s{1,3}){0,2}"
    r"|\b(?:if|unless|whenever)\s{1,3}(?:\w{1,20}\s{1,3}){0,3})$"
)
_IN_CODE = re.compile(r"\b(?:except|raise|catch|isinstance|issubclass)\b[^#]{0,80}$")
_ON_PURPOSE = re.compile(
    r"(?i:sigterm|\bsend(?:s|ing)? (?:a )?sigkill|via \S{0,20}sigkill|sigkill, handler|ran for too long"
    r"|(?<!-)time limit|(?:killed|ended) by (?:me|(?:the )?user)\b)"
)
_NEVER = 2**44  # bytes, 16 TiB: no device has that, the size itself is wrong

_CHATTER = re.compile(
    r"(?:\d{4}-\d\d-\d\d [\d:.]+: [IWEF] |[IWEF]\d{4} \S+\s+\d+ \S+:\d+\] )"
    r"|WARNING: All log messages before absl|To enable the following instructions"
    r"|If the cause is memory fragmentation|Current allocation summary follows|Hint: If you want to see"
    r"|(?:Limit|InUse|MaxInUse|NumAllocs|MaxAllocSize|Reserved|PeakReserved|LargestFreeBlock):\s+\d"
    r"|\s*\[\[\{\{(?:function_)?node|\s*\[tf-allocator-allocation-error|\s*Profiling failure on "
)


@functools.cache
def compiled_forms():
    """FORMS with their patterns compiled, when first needed: `import labkit` must be fast."""
    return [(kind, needles, re.compile(pattern)) for kind, needles, pattern in FORMS]


@functools.cache
def _compiled(pattern, flags=0):
    return re.compile(pattern, flags)


def failure(number, text):
    """The Failure that a line reports, or None. number: line number, from 1.

    Where it has a warning and something else, as when line breaks were lost, it is the other.
    """
    found, start, end = _first(number, text)
    if found is None or found.kind != "warning":
        return found
    rest = (_first(number, part)[0] for part in (text[:start], text[end:]))
    return next((other for other in rest if other and other.kind != "warning"), found)


def _first(number, text):
    """(Failure, start, end of its words) by the first form that fits; (None, 0, 0) if none does."""
    for kind, needles, pattern in compiled_forms():
        if any(needle in text for needle in needles):
            match = pattern.search(text)
            if match and not _is_denied(kind, text, match.start()):
                groups = {key: value for key, value in match.groupdict().items() if value is not None}
                if kind == "session" and "physical" in match[0] and _is_within(groups):
                    continue
                quote = text[match.start() :].strip()[:300]
                found = Failure(_kind(kind, text, quote), number, quote, **_fields(kind, groups, text))
                return found, match.start(), match.end()
    return None, 0, 0


def _is_denied(kind, text, at):
    """Whether a line says that it was not so, or that somebody ended the process on purpose."""
    if kind == "killed" and _ON_PURPOSE.search(text) or kind == "host" and _IN_CODE.search(text[:at]):
        return True
    return kind in _DENIABLE and _is_after_denial(text, at)


def _is_within(groups):
    """Whether a limit is told, and less than it in use: a line that says so reports no end."""
    used, limit = (dumptext.size(groups.get(name, "")) for name in ("used", "limit"))
    return bool(used and limit) and used < 0.98 * limit


def _is_after_denial(text, at):
    return _DENIAL.search(f"{text[max(0, at - 60) : at].rstrip()} ") is not None


def says_how_much(failure):
    """Whether the message of a Failure is complete: what it asked for is known, by its size or its shape."""
    if failure.kind == "oom" and failure.shape is not None:
        return failure.tensor_bytes is not None
    return failure.kind in _SIZED and (failure.shape is not None or failure.requested_bytes is not None)


def may_be_cut_off(failure):
    """Whether the next line may say what is missing in the message."""
    return failure.kind in (*_SIZED, "full") and not says_how_much(failure)


def no_memory(text):
    """What a line speaks of that calls itself exhausted but is no memory; None if nothing of the kind."""
    if "quota" in text and "emory" in text:
        return None
    for needles, pattern, reason in NO_MEMORY:
        if any(needle in text for needle in needles) and _compiled(pattern).search(text):
            return reason
    return None


def tells_of_repeats(text):
    """Whether a line says that it ran, or others like it, before memory ran out."""
    return _compiled(REPEATED).search(text) is not None


def tells_of_a_leak(text):
    """Whether somebody says that memory grows as a program runs."""
    said = _compiled(LEAKS).search(text)
    return bool(said) and not _compiled(NO_LEAK).search(text) and not _is_after_denial(text, said.start())


def told(text):
    """The marks of what a line says that fills the memory."""
    return {mark for mark, pattern in TOLD.items() if _compiled(pattern).search(text)}


def told_shape(text):
    """The shape of the tensor that a line of prose says could not be allocated, or None."""
    found = _compiled(TOLD_SHAPE).search(text)
    return found and tuple(map(int, found[1].split(",")))


def speaks_of_memory(text):
    """Whether a line says in any words that memory ran out."""
    said = _compiled(WORDING, re.IGNORECASE).search(text)
    if not said or _compiled(NO_WORDING).search(text):
        return False
    return not _is_after_denial(text, said.start()) and not _IN_CODE.search(text[: said.start()])


def _kind(kind, text, quote):
    if kind == "tenth" or kind in ("refused", "full") and "not a failure" in quote:
        return "warning"
    if kind == "xla" and ("rofiling failure" in text or "scratch" in text):
        return "refused"  # a workspace that an algorithm was tried with, not a compiled step
    if kind == "host" and re.search(
        r"(?i:\bdevice memory|pycuda|cudaerror|cuda_error|\bdml\b|directml)", text
    ):
        return "full"
    if kind == "xla" and "Attempting to allocate" in text and "loading program" not in text:
        return "full"  # a buffer, not a compiled step
    return "host" if kind == "numpy" else kind


def _fields(kind, groups, text):
    """The fields of a Failure from the named groups of a pattern, and from what stands beside them."""
    shape = groups.get("shape", groups.get("dims"))
    op = groups.get("op", "")
    fields = {
        "shape": None if shape is None else tuple(int(n) for n in re.findall(r"\d+", shape)),
        "dtype": short_name(groups.get("dtype", "")),
        "device": groups.get("device"),
        "allocator": groups.get("allocator"),
        "op": op if "/" in op else None,
        "op_type": op if op and "/" not in op else None,
        "batch": int(groups["batch"]) if "batch" in groups else None,
        "is_mild": kind == "driver" and _compiled(_MILD).search(text) is not None,
        "tried_out": any(words in text for words in _TRIED_OUT),
    }
    for group in groups.keys() & _SIZES.keys():
        name = _SIZES[group]
        if group == "bytes" or fields.get(name) is None:  # exact where both are said
            fields[name] = dumptext.size(groups[group])
    for name, pattern in _MORE if kind in ("torch", "full") else ():
        found = _compiled(pattern).search(text)
        if found and fields.get(name) is None:
            fields[name] = dumptext.size(found[1])
    if kind == "torch":
        _tell_processes_apart(fields)
    fields["is_overflow"] = (fields.get("requested_bytes") or 0) >= _NEVER
    return fields


def short_name(dtype):
    """A type by its name in Python: "float32" for "DT_FLOAT" without its DT_; None for ""."""
    return _LONG_NAMES.get(dtype.lower(), dtype.lower() or None)


def _tell_processes_apart(fields):
    """In a container PyTorch does not know itself, and tells of its own process by number, as of another."""
    allocated, process = fields.pop("allocated_bytes", None), fields.get("others_bytes")
    if process and fields.get("in_use_bytes") is None:
        own = (allocated or process) + (fields.get("unused_bytes") or 0)
        is_other = process - own > 0.25 * (fields.get("limit_bytes") or process) + _OWN_CONTEXT
        fields["in_use_bytes"] = allocated if is_other else process
        fields["others_bytes"] = process - own if is_other else None


def is_tensorflow_chatter(line):
    """Whether a line is blank or from TensorFlow's C++ log, which the reader need not see."""
    return bool(_CHATTER.match(line)) or not line.strip()
