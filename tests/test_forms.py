"""The words of messages: what each product prints, what is read in it, and that its line is looked at."""

import itertools
import re

import pytest

from labkit.logs import forms, messages, reader

try:
    from re import _constants as sre
    from re import _parser as sre_parse
except ImportError:  # Python 3.10
    import sre_constants as sre
    import sre_parse

SIZES = {"77B": 77, "2 B": 2, "1.5KiB": 1536, "3MB": 3 * 2**20, "2.50 GiB": 5 * 2**29, "1.0TiB": 2**40,
         "1PiB": 2**50, "1.0EiB": 2**60}  # fmt: skip
BARE = {
    "2 Kb": 2048,
    "3M": 3 * 2**20,
    "5.1G": round(5.1 * 2**30),
    "12": 12,
}  # sizes of those who leave the unit out
ENDS = ("killed", "died", "crashed", "session", "oomkill", "paging")  # of a process: they stand last in a log

# (kind, text, what it says); <a|b> is one of them, <S> a size with its unit, <s> one that may have none.
SAID = [
    (
        "code",
        "<F|f>ailed to load in-memory <CUBIN|PTX|HSACO|module>: <OUT_OF_MEMORY|Out of "
        "memory|out of memory>",
        {},
    ),
    ("refused", "<Allocator (GPU_0_bfc) r|R>an out of memory trying to allocate <S>", {}),
    (
        "refused",
        "Allocator (a) ran out of memory trying to allocate 3B (rounded to 256)requested by op a/b",
        {"allocator": "a", "requested_bytes": 256, "op": "a/b"},
    ),
    (
        "refused",
        "trying: Ran out of memory trying to allocate 3B requested by op "
        "<unknown>",
        {"op_type": None},
    ),
    (
        "refused",
        "gpu_async_0 cuMemAllocAsync failed to allocate 77 bytes",
        {"allocator": "gpu_async_0", "requested_bytes": 77},
    ),
    ("oom", "OOM when allocating tensor <with|of> shape<|:|: | ><[|(>3, 4<]|)>", {"shape": (3, 4)}),
    (
        "oom",
        "OOM when allocating tensor with shape[3,4] and type half on /job:a/device:GPU:0 "
        "by allocator GPU_0-b",
        {"dtype": "float16", "device": "/job:a/device:GPU:0", "allocator": "GPU_0-b"},
    ),
    ("oom", "OOM when allocating tensor with shapedim { size: 3 } dim { size: 4 }", {"shape": (3, 4)}),
    ("oom", "failed to allocate memory [Op:Mul]", {}),
    (
        "constant",
        "Cannot parse tensor from proto: <|goo.gle/debugonly >dtype: DT_HALF "
        "tensor_shape { dim { size: 3 } }",
        {"shape": (3,), "dtype": "float16"},
    ),
    (
        "copy",
        "in order to run _EagerConst: Dst tensor is not initialized.",
        {"op_type": "_EagerConst"},
    ),
    ("torch", "<CUDA|HIP|XPU|NPU|cuda> out of memory. Tried to allocate <S> (GPU 0)", {}),
    ("torch", "MPS backend out of memory (x). Tried to allocate <S>", {"device": "MPS"}),
    ("full", "Failed to allocate request for 16.0MiB (77B) on device ordinal 0", {"requested_bytes": 77}),
    ("full", "cuda runtime error (2) <|>: out of memory at /a/THCStorage.cu:58", {}),
    ("full", "Error allocating 77 bytes of device memory (out of memory).", {"requested_bytes": 77}),
    (
        "full",
        "Error allocating 77 bytes of device memory. Driver report 9 bytes free and 12 bytes total",
        {"largest_free_bytes": 9, "limit_bytes": 12},
    ),
    (
        "full",
        "Out of memory allocating 8,000 bytes (allocated so far: 4,096 bytes, limit set to: 0 bytes)",
        {"requested_bytes": 8000, "in_use_bytes": 4096},
    ),
    ("full", "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", {}),
    ("full", "std::bad_alloc: out_of_memory: <CUDA|RMM>", {}),
    ("xla", "<O|o>ut of memory while trying to allocate <S>.", {}),
    ("xla", "Out of memory <while trying to allocate|allocating> 77<| >bytes.", {"requested_bytes": 77}),
    ("xla", "memory space hbm. Used <s> of 2.0G hbm", {"limit_bytes": 2**31}),
    (
        "xla",
        "RESOURCE_EXHAUSTED: Attempting to reserve <s><| at the bottom of memory>. That "
        "was not possible. There are 1G free",
        {"largest_free_bytes": 2**30},
    ),
    (
        "full",
        "RESOURCE_EXHAUSTED: Attempting to allocate <s>. That was not possible. There "
        "are 1.0M free",
        {},
    ),
    ("xla", "RESOURCE_EXHAUSTED: HLO temporaries (<s>) exceeds available HBM (2.0G)", {"limit_bytes": 2**31}),
    (
        "xla",
        "RESOURCE_EXHAUSTED: Hbm usage<|:> <s> is exceeding available bytes: "
        "2.0G",
        {"limit_bytes": 2**31},
    ),
    ("xla", "Allocation (size=77) would exceed memory (size=12) :: #allocation", {"limit_bytes": 12}),
    (
        "pinned",
        "could not allocate pinned host memory<| of size><|:> 77",
        {"requested_bytes": 77},
    ),
    ("pinned", "could not allocate pinned host memory", {"requested_bytes": None}),
    ("pinned", "failed to alloc<|ate> <77 bytes|1.0KiB (77 bytes)> on host", {"requested_bytes": 77}),
    ("library", "<NCCL|nccl> WARN Cuda failure <'out of memory'|OUT_OF_MEMORY>", {}),
    (
        "driver",
        "failed to alloc<|ate> <77 bytes|(77 bytes)|1.0K (77 bytes)> "
        "<from device|unified memory|of unified memory|of collective memory>",
        {"requested_bytes": 77},
    ),
    ("driver", "failed to allocate <s> from device", {}),
    ("driver", "failed: <CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|HIP_ERROR_OutOfMemory>", {}),
    ("driver", "failed: <hipErrorOutOfMemory|hipErrorMemoryAllocation|hipError_t(1002)>", {}),
    ("driver", "failed: <VK_ERROR_OUT_OF_DEVICE_MEMORY|CL_MEM_OBJECT_ALLOCATION_FAILURE|E_OUTOFMEMORY>", {}),
    ("driver", "<CUDA|HIP|GPU|device> <status|error|failure>: out of memory", {}),
    ("driver", "cudaMalloc() failed: out of memory", {}),
    (
        "library",
        "<C|c>ould not create <cudnn|cublas|cusolver|cuSolver|cusolverDn|MIOpen|rocblas> handle: x",
        {},
    ),
    ("library", "<F|f>ailed to create cublas handle", {}),
    ("library", "cuDNN failed to initialize", {}),
    ("library", "Blas <GEMM|xGEMM|xGEMMBatched> launch failed", {}),
    ("library", "<cusolver|cuSolver>DnCreate(&handle) <|call >failed", {}),
    ("library", "<CUDNN|CUBLAS|CUSOLVER|CUSPARSE>_STATUS_ALLOC_FAILED", {}),
    (
        "library",
        "<CUDNN_STATUS_INTERNAL_ERROR|CUDNN_STATUS_NOT_INITIALIZED|"
        "CUBLAS_STATUS_NOT_INITIALIZED>",
        {},
    ),
    ("library", "<CUFFT_ALLOC_FAILED|GPU sync failed|No algorithm worked!>", {}),
    ("library", "DNN library <is not found|was not found|initialization failed>", {}),
    ("recurrent", "<F|f>ailed to call <ThenRnn|DoRnn><Forward|Backward>", {}),
    ("library", "<F|f>ailed to create cuFFT batched plan", {}),
    ("shared", "workers are out of shared memory", {}),
    (
        "shared",
        "unable to open <S|s>hared memory object </torch_1> in read-write mode: <N|n>o "
        "space left",
        {},
    ),
    ("shared", "/dev/shm/x: unable to allocate", {}),
    ("shared", "<N|n>o space left on device: '/dev/shm/x'", {}),
    (
        "host",
        "<U|u>nable to allocate <S> for an array with shape (3, 4) and data type <f4",
        {"shape": (3, 4), "dtype": "<f4"},
    ),
    ("host", "Unable to allocate array with shape (3,) and data type |S1", {"shape": (3,), "dtype": "|s1"}),
    ("host", "Unable to allocate 3 B for an array with shape (3,) and data type >=", {"dtype": ">="}),
    (
        "host",
        "<can't allocate memory|not enough memory>: you tried to allocate <77 bytes|77B|77 B>",
        {"requested_bytes": 77},
    ),
    ("host", "not enough memory: you tried to allocate <S>", {}),
    ("host", "can't allocate memory: you tried to allocate 0 GB. Buy new RAM!", {"requested_bytes": None}),
    ("host", "Error: <C|c>annot allocate vector of size <s>", {}),
    ("host", "<|x |x.|x:|[><|_Array|Array>MemoryError<|:|(|]>", {}),
    (None, "CudaMemoryError", {}),
    ("full", "pycuda._driver.MemoryError: cuMemAlloc failed: out of memory", {}),
    ("host", "terminate called after throwing an instance of 'std::bad_alloc'", {}),
    ("host", "<C|c>an<not|'t> allocate memory", {}),
    (None, "cannot allocate memory in static TLS block", {}),
    ("host", "<can't allocate region|[Errno 12] x memory|ENOMEM: not enough memory>", {}),
    (None, "xENOMEMx", {}),
    ("host", "<[WinError 8] x memory|Not enough memory resources|not enough memory resources>", {}),
    ("host", "java.lang.OutOfMemoryError: <Java heap space|GC overhead limit exceeded>", {}),
    ("host", "JavaScript heap out of memory", {}),
    ("host", "FATAL ERROR: Reached heap limit Allocation failed", {}),
    ("host", "Error tokenizing data. C error: out of memory", {}),
    ("host", "Insufficient memory", {}),
    ("host", "array is too big; `arr.size * arr.dtype.itemsize` is larger than possible", {}),
    ("host", "STATUS_NO_MEMORY (<0xC0000017|0xc0000017>)", {}),
    ("host", "RangeError: Array buffer allocation failed", {}),
    ("paging", "OSError: [WinError 1455] x", {}),
    (None, "Epoch 3: mean absolute error 1455.3", {}),
    ("paging", "The paging file is too small for this operation to complete. (os error 1455)", {}),
    ("paging", f"ImportError: DLL load failed: <{forms._PAGING_FILES}>", {}),
    ("session", "srun: error: node1: task 0: Out Of Memory", {}),
    ("session", "Your session crashed after using all <|of the >available RAM", {}),
    ("session", "Your notebook tried to allocate more memory than is available", {}),
    ("session", "used <more memory than x|too much memory>", {}),
    ("session", "exceeded <|job |step |its |the ><|virtual >memory limit", {}),
    ("session", "killed by YARN for exceeding memory limit<|s>", {}),
    ("session", "TERM_MEMLIMIT: job killed", {}),
    ("session", "The replica master 0 ran out-of-memory and exited with a non-zero status", {}),
    ("session", "The node was low on resource: memory", {}),
    ("session", "<memory quota exceeded|exceeded its memory quota>", {}),
    ("session", "PBS: job killed: <mem|vmem> 9kb exceeded limit 8kb", {}),
    ("session", "<State|Reason>: <OUT_OF_MEMORY|OUT_OF_ME+>", {}),
    ("session", "5.5 GB of 5.5 GB of physical memory used", {}),
    ("session", "<memory limit exceeded|over memory limit>", {}),
    ("full", "<cuda|cudaMalloc|GPU|cudnn|hip|VRAM|WebGL|Metal|DirectML|DML> is out of memory", {}),
    ("full", "out of memory on the <gpu|device|CUDA|vram>", {}),
    ("full", "CUDA: OUT OF MEMORY", {}),
    ("full", "<Insufficient|not enough> <GPU memory|gpu memory|VRAM|vram>", {}),
    ("full", "amount of <gpu|GPU> memory 3 could not be allocated", {}),
    ("full", "Status: INTERNAL: out of memory", {}),
    ("full", "显存<不足|溢出>", {}),
    ("full", "MemoryError: <device memory|cudaError|CUDA_ERROR|dml|DirectML>", {}),
    ("proto", "<ValueError: |SavedModel |tensor proto whose content is |graph is >larger than 2GB", {}),
    ("proto", "GraphDef exceeds the maximum of <2GB|2 GB|2147483647|2147483648>", {}),
    ("proto", "<maximum protobuf size of|protobuf bigger than> 2GB", {}),
    ("proto", "GraphDef exceeds the maximum allowed protobuf message size of 2GB", {}),
    ("warning", "Allocation of 77 exceeds 10% of free system memory", {"requested_bytes": 77}),
    ("oomkill", "<O|o>ut of memory: Kill<|ed> process 12 (python)", {}),
    ("oomkill", "<OOMKilled|oom-kill|oom_kill|Killed process 12>", {}),
    (
        "oomkill",
        "<cgroup out of memory|cgroup out-of-memory|out of memory handler|out-of-memory "
        "handler>",
        {},
    ),
    ("killed", "<|12 |1:|x]|x.><Killed|killed|Getötet|Processus arrêté|已杀死|Terminado (killed)>", {}),
    ("killed", "Killed  python train.py", {}),
    ("killed", "<worker is killed by signal: Killed|Killed: 9>.", {}),
    (None, "<he was killed by it|xKilled|12 Killed: 9 x>", {}),
    (
        "killed",
        "<exit|exited><| with><| non-zero><| status| code| status code| error code><| "
        "of><:|> 137",
        {},
    ),
    (
        "killed",
        "<exit code: 137|exited with non-zero exit status of 137|Exit code (137)|EXIT "
        "CODE 137|exit code 247|exit status -9>",
        {},
    ),
    ("killed", "<exitcode: -9|exitcode=-9|SIGKILL|sigkill SIGKILL|signal 9|signal: Killed>", {}),
    (None, "<exit code 1370|exit code 1|exitcode -91|signal 91>", {}),
    (
        "died",
        "The Kernel <|x ><appears to have died|is dead|is unresponsive|was killed by "
        "x|was terminated>",
        {},
    ),
    ("died", "Kernel <|has |have |just |unexpectedly >died", {}),
    ("died", "kernel <|has >crashed", {}),
    (
        "died",
        "<Dead kernel|unexpected kernel restart|KernelRestarter: restarting "
        "kernel|DeadKernelError>",
        {},
    ),
    ("died", "<The kernel unexpectedly restarted|unexpected restart of the kernel process>", {}),
    ("died", "Your <session|notebook> <|has >crashed", {}),
    ("died", "<Canceled future for execute_request|R Session Aborted|session aborted>", {}),
    ("died", "<0xC0000409|-1073740791|内核似乎挂掉了|カーネルが停止|カーネルがクラッシュ>", {}),
    ("died", "Der Kernel scheint <abgestürzt|gestorben>", {}),
    ("died", "Il kernel <sembra essere morto|parece haber muerto|parece ter morrido>", {}),
    ("died", "Le noyau <semble être|est> mort", {}),
    ("died", "Ядро <умерло|упало|аварийно завершено>", {}),
    (None, "kernel <is deadly|diedx>", {}),
    ("crashed", "<Segmentation fault|segmentation fault|SIGSEGV|core dumped|Bus error|段错误>", {}),
    ("crashed", "<Speicherzugriffsfehler|Erreur de segmentation|0xC0000005|-1073741819>", {}),
    ("crashed", "<exit|EXIT> <code 139|status -11|code: 139|(139)>", {}),
    (None, "exit code <1390|-110>", {}),
]  # fmt: skip


def texts(said):
    """The text with each of its choices in turn, the others at their first."""
    parts = re.split(r"<((?:[^<>|]*\|)+[^<>|]*|[Ss])>", said)
    choices = [
        ([*SIZES, *(BARE if part == "s" else ())] if part in ("S", "s") else part.split("|"))
        if n % 2 else [part]
        for n, part in enumerate(parts)
    ]  # fmt: skip
    for n in range(len(parts)):
        for one in choices[n]:
            yield one, "".join([*(c[0] for c in choices[:n]), one, *(c[0] for c in choices[n + 1 :])])


@pytest.mark.parametrize(("kind", "said", "told"), SAID, ids=[said for _, said, _ in SAID])
def test_what_messages_say(kind, said, told):
    for one, text in texts(said):
        found = messages.failure(1, text)
        assert (found and found.kind) == kind, text
        assert kind is None or {name: getattr(found, name) for name in told} == told, text
        if "<S>" in said.upper():
            assert found.requested_bytes == {**SIZES, **BARE}.get(one, 77), text


SPEAKS = [
    "out<-| >of<-| ><|host >memory", "process was OOM killed", "<ResourceExhausted|RESOURCE_EXHAUSTED>",
    "<R|r>esource exhausted", "OutOfMemory", "OUT<|_>OF<|_>MEMORY", "MemoryError",
    "memory <|is ><exhausted|exceeded|full>", "exhausts <|all |all of the >memory",
    "<memory|heap|stack> allocation <failed|failure|error>", "insufficient <|free >memory", "low on memory",
    "<not enough|lack of|no more|too little|short of> <|free ><memory|RAM|VRAM>",
    "memory limit <|was |is ><exceeded|reached|hit>", "r<u|a>n<|ning> out of <|free ><memory|RAM|VRAM>",
    "unable to <|re>allocate", "bad_alloc", "ENOMEM", "failed to <|re>alloc",
    "<failed|failure|fails|could not|couldn't|cannot|can't|unable> <|to ><|re|m|c>alloc",
    "could not be allocated", "insufficient system resources", "exceed<|s|ed> <|the |the free >memory",
    "using all <|of the >available <RAM|memory>", "内存不足", "显存不足", "記憶體不足", "メモリ<不足|が不足>",
    "메모리<| >부족", "<нехватка|нехватки|недостаточно|не хватает|не хватило> <|свободной >памяти",
    "m<e|é>moire insuffisante", "manque de m<e|é>moire", "<S|s>peicher <reicht nicht|ist voll|voll>",
    "<N|n>icht gen<u|ü>gend <|Arbeits><S|s>peicher", "mem<o|ó>ria insuficiente", "sin memoria",
    "memoria esaurita", "yetersiz bellek",
]  # fmt: skip


@pytest.mark.parametrize("said", SPEAKS)
def test_words_of_memory_that_ran_out(said):
    assert [text for _, text in texts(said) if not messages.speaks_of_memory(text)] == []


@pytest.mark.parametrize(
    "said",
    [
        "zoom", "BOOMING", "illegal memory access: MemoryError", "out of memory error handling",
        "memory leak: out of memory", "not enough memorysticks", "memory is fullness", "low on memo",
    ],
)  # fmt: skip
def test_other_words(said):
    assert not messages.speaks_of_memory(said)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("<No space left on device|Disk quota exceeded|[Errno 28] x|[Errno 122] x|EDQUOT|ENOSPC>", "disk"),
        ("<Too many open files|EMFILE|[Errno 24] x>", "files"),
        ("<Received|Sent|Trying to send> message larger than max", "message"),
        ("<quota exceeded|Quota limit|Too Many Requests|too many requests|Rate limit>", "quota"),
        ("<RESOURCE_POOL_EXHAUSTED|does not have enough resources available to fulfill>", "cloud"),
        ("in static TLS block", "linker"),
        ("<can't start new thread|pthread_create failed|Resource temporarily unavailable>", "threads"),
    ],
)
def test_what_is_no_memory(said, reason):
    for _, text in texts(said):
        assert reason in (messages.no_memory(text) or ""), text


@pytest.mark.parametrize(
    ("line", "mild"),
    [
        ("I tensorflow/x/cuda_driver.cc:12] {}", True),
        (">I tensorflow/x/cuda_driver.cc:12] {}", True),
        ("2020-01-01 00:00:00.1: I tensorflow/x/cuda_driver.cc:12] {}", True),
        ("I0000 00:00:1.5  7 x.cc:12] {}", True),
        ("E0000 00:00:1.5  7 x.cc:12] {}", False),
        ("I x.cc:12] OOM when allocating tensor with shape[3]: {}", False),
        ("GPUI x.cc:12] {}", False),
        ("I think {}", False),
    ],
)
def test_level_of_a_line(line, mild):
    assert messages.failure(1, line.format("failed to allocate 77 bytes from device")).is_mild is mild


def ways(tree):
    """A text for each branch, option and character that a parsed pattern allows, else the shortest."""
    choices = [_ways_of(op, value) for op, value in tree]
    yield "".join(parts[0] for parts in choices)
    for n, parts in enumerate(choices):
        for part in parts[1:]:
            yield "".join([*(p[0] for p in choices[:n]), part, *(p[0] for p in choices[n + 1 :])])


def _ways_of(op, value):
    if op is sre.BRANCH:
        return [text for branch in value[1] for text in ways(branch)]
    if op is sre.SUBPATTERN:
        return list(ways(value[3]))
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, part = value
        once = list(ways(part))
        return (
            [text * (least or 1) for text in once]
            if least or most == 1 and len(once[0]) > 1
            else ["", *once[:1]]
        )
    if op is sre.IN:
        return list(itertools.chain.from_iterable(_characters(kind, which) for kind, which in value))
    return [chr(value)] if op is sre.LITERAL else [" "] if op is sre.ANY else [""]


def _characters(kind, which):
    known = {sre.CATEGORY_DIGIT: "7", sre.CATEGORY_WORD: "x", sre.CATEGORY_SPACE: " "}
    if kind is sre.LITERAL:
        return chr(which)
    return chr(which[0]) if kind is sre.RANGE else known.get(which, "x") if kind is sre.CATEGORY else ""


TABLES = [*((needles, pattern) for _, needles, pattern in forms.FORMS),
          *((needles, pattern) for needles, pattern, _ in forms.NO_MEMORY)]  # fmt: skip


@pytest.mark.parametrize(("needles", "pattern"), TABLES)
def test_what_a_pattern_matches_contains_one_of_its_strings(needles, pattern):
    found = [text for text in ways(sre_parse.parse(pattern)) if re.search(pattern, text)]
    assert found and [text for text in found if not any(needle in text for needle in needles)] == []


def test_what_speaks_of_memory_in_any_words_contains_one_of_those_that_are_looked_for():
    said = list(ways(sre_parse.parse(forms.WORDING)))
    assert all(map(messages.speaks_of_memory, said))
    assert [text for text in said if not any(word in text for word in reader._WORDS)] == []


@pytest.mark.parametrize(
    ("kind", "said"), [(kind, said) for kind, said, _ in SAID if kind and kind not in ENDS]
)
def test_a_message_is_looked_for_in_the_middle_of_a_long_log(kind, said):
    for _, text in texts(said):
        assert any(needle in text.encode() for needle in reader._FIRST_NEEDLES), text
