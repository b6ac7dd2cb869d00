"""What TensorFlow, Keras, NumPy, CUDA and the system print when memory runs out: the forms of message."""

import functools
import re

from . import dumptext
from .failure import Failure

_LONG_NAMES = {"float": "float32", "half": "float16", "double": "float64"}
_KILLED_IN = "Killed|killed|Getötet|Processus arrêté|已杀死|Terminado \\(killed\\)"  # what shells print

CONSTANT = "Cannot parse tensor from proto"  # followed by its dtype and shape, over many lines
# What the text of a form does not say.
HIDDEN = {
    "constant": "A tensor filled with one value could not be created for lack of memory: "
    f'"{CONSTANT}" is all that TensorFlow says about it.'
}

# (name of the form, strings of which a line must contain one, pattern that parses it)
FORMS = (
    (
        "refused",
        ("an out of memory trying to allocate",),
        r"(?:Allocator \((?P<allocator>[^)\s]{1,80})\) r|R)an out of memory trying to allocate "
        r"(?P<size>[\d.]{1,20} ?[KMGT]?i?B)(?: \(rounded to (?P<bytes>\d{1,18})\))?"
        r"(?:\s*requested by op (?P<op>[^\s<]{1,400}))?",
    ),
    (
        "oom",
        ("OOM when allocating tensor",),
        r"OOM when allocating tensor (?:with|of) shape\s?(?:\[(?P<shape>[\d,\s]{0,200})\](?: and type "
        r"(?P<dtype>\w{1,20})(?: on (?P<device>\S{1,200}))?(?: by allocator (?P<allocator>[\w-]{1,80}))?)?"
        r"|(?P<dims>(?:dim \{ size: \d{1,12} \} ?){1,9}))?",
    ),
    ("oom", ("failed to allocate memory",), r"failed to allocate memory"),
    (
        "constant",
        (CONSTANT,),
        CONSTANT + r"\W{0,9}(?:goo\.gle/debug\w{1,9}\s{1,9})?(?:dtype: DT_(?P<dtype>\w{1,20})"
        r"(?:\W{0,9}tensor_shape \{ ?(?P<dims>(?:dim \{ ?size: \d{1,12} ?\} ?){1,9}))?)?",
    ),
    (
        "copy",
        ("Dst tensor is not initialized",),
        r"(?:in order to run (?P<op>\w{1,80}): )?Dst tensor is not initialized",
    ),
    (
        "xla",
        ("ut of memory while trying to allocate", "ut of memory allocating"),
        r"[Oo]ut of memory (?:while trying to allocate|allocating) "
        r"(?:(?P<bytes>\d{1,18}) ?bytes|(?P<size>[\d.]{1,20} ?[KMGT]?i?B))",
    ),
    (
        "driver",
        ("CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation"),
        r"failed to alloc(?:ate)? [^(]{0,20}\((?P<bytes>\d{1,18}) bytes\) (?P<where>from device|on host)"
        r"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation",
    ),
    (
        "library",
        (
            "cudnn handle",
            "cublas handle",
            "cuDNN failed to initialize",
            "launch failed",
            "cusolver",
            "cuSolver",
            "_STATUS_ALLOC",
        ),
        r"(?:[Cc]ould not create|[Ff]ailed to create) (?:cudnn|cublas|cusolver|cuSolver)\w* handle"
        r"|cuDNN failed to initialize|Blas \w{4,10} launch failed|(?i:cusolver)\S{0,40} (?:call )?failed"
        r"|(?:CUDNN|CUBLAS|CUSOLVER)_STATUS_ALLOC_FAILED",
    ),
    (
        "numpy",
        ("Unable to allocate",),
        r"Unable to allocate (?:array|(?P<size>[\d.]{1,20}\.? [KMGTPE]?i?B) for an array) "
        r"with shape \((?P<shape>[\d,\s]{0,200})\) and data type (?P<dtype>\w{1,20})",
    ),
    ("host", ("MemoryError",), r"(?:^|[\s.:])MemoryError\s*(?:$|:)"),
    ("host", ("bad_alloc",), r"std::bad_alloc"),
    ("host", ("annot allocate memory",), r"[Cc]annot allocate memory"),
    ("proto", ("2GB",), r"(?:larger than|maximum protobuf size of|exceeds? the) 2GB"),
    ("tenth", ("exceeds 10% of",), r"Allocation of (?P<bytes>\d{1,18}) exceeds 10% of"),
    (
        "killed",
        tuple(_KILLED_IN.replace("\\", "").split("|")),
        rf"(?:^|[\s\d.:\]])(?:{_KILLED_IN})(?:\s{{2,20}}\S.*)?\s*$",
    ),
    (
        "killed",
        (
            "code 137",
            "status 137",
            "code: 137",
            "code 247",
            "SIGKILL",
            "signal 9",
            "status -9",
            "code -9",
            "code: -9",
        ),
        r"(?i:exit(?:ed)?(?: with)?(?: status| code| status code)?:? (?:137|247|-9)\b|SIGKILL|signal 9\b)",
    ),
    (
        "killed",
        ("Out of memory: Kill", "OOMKilled", "oom-kill", "oom_kill", "cgroup out of memory"),
        r"Out of memory: Kill(?:ed)? process|OOMKilled|oom[-_]kill|cgroup out of memory",
    ),
    (
        "crashed",
        ("egmentation fault", "code 139", "status 139", "SIGSEGV", "status -11", "code -11", "code: -11"),
        r"(?i:Segmentation fault|SIGSEGV|exit(?:ed)?(?: with)?(?: (?:status|code))?:? (?:139|-11)\b)",
    ),
)

_CHATTER = re.compile(
    r"(?:\d{4}-\d\d-\d\d [\d:.]+: [IWEF] |[IWEF]\d{4} \S+\s+\d+ \S+:\d+\] )"
    r"|WARNING: All log messages before absl|To enable the following instructions"
    r"|If the cause is memory fragmentation|Current allocation summary follows|Hint: If you want to see"
    r"|(?:Limit|InUse|MaxInUse|NumAllocs|MaxAllocSize|Reserved|PeakReserved|LargestFreeBlock):\s+\d"
    r"|\s*\[\[\{\{(?:function_)?node"
)


@functools.cache
def compiled_forms():
    """FORMS with their patterns compiled, when first needed: `import labkit` must be fast."""
    return [(name, needles, re.compile(pattern)) for name, needles, pattern in FORMS]


def failure(number, text):
    """The Failure that a line reports, or None. number: line number, from 1."""
    for name, needles, pattern in compiled_forms():
        if any(needle in text for needle in needles):
            match = pattern.search(text)
            if match:
                groups = {key: value for key, value in match.groupdict().items() if value}
                quote = text[match.start() :].strip()[:300]
                return Failure(_kind(name, text, groups), number, quote, **_fields(groups))
    return None


def _kind(name, text, groups):
    if name in ("refused", "tenth") and ("not a failure" in text or name == "tenth"):
        return "warning"
    if name == "driver" and groups.get("where") == "on host":
        return "host"
    return "host" if name == "numpy" else name


def _fields(groups):
    """The fields of a Failure from the named groups of a pattern."""
    shape = groups.get("shape", groups.get("dims"))
    dtype = groups.get("dtype", "").lower()
    requested = int(groups["bytes"]) if "bytes" in groups else dumptext.size(groups.get("size", ""))
    return {
        "shape": None if shape is None else tuple(int(n) for n in re.findall(r"\d+", shape)),
        "dtype": _LONG_NAMES.get(dtype, dtype or None),
        "device": groups.get("device"),
        "allocator": groups.get("allocator"),
        "op": groups.get("op") if "/" in groups.get("op", "") else None,
        "op_type": groups.get("op") if "/" not in groups.get("op", "/") else None,
        "requested_bytes": requested,
    }


def is_tensorflow_chatter(line):
    """Whether a line is blank or from TensorFlow's C++ log, which the reader need not see."""
    return bool(_CHATTER.match(line)) or not line.strip()
