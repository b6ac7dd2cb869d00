"""The words to look for: messages of memory that ran out, by product, and pieces of tracebacks."""

BYTES = r"[\d.]{1,20} ?(?:(?:[KMGTPE]i?)?B|bytes)"
_SIZE = r"[\d.]{1,20} ?(?:[KMGTPE]i?)?[Bb]?"  # where a text that is cut off in it does not match
_KILLED_IN = "Killed|killed|Getötet|Processus arrêté|已杀死"  # what shells print
_PAGING_FILES = (  # Windows's error 1455, whose number is the same in all languages
    "paging file is too small|页面文件太小|分頁檔太小|Auslagerungsdatei ist zu klein|"
    "Файл подкачки слишком|"
    "archivo de paginación es demasiado peque|fichier de pagination est insuffisant|file di paging|"
    "arquivo de paginação é muito pequeno|ページング ファイルが小さすぎる|페이징 파일이 너무 작"
)
_EXIT = (
    r"(?<![a-z])exit(?:ed|s|code|status)?"
    r"(?:[ _-]?(?:with|non-?zero|exit|status|error|code|value|an?|of)){0,4}"
)
_IS = r"[\"'`]?[ \t]{0,12}[:=]?[ \t]{0,12}\(?[\"'`]?"
_CODES = (  # however a shell, a runner or a container names the status that a process ended with
    rf"(?:{_EXIT}"
    r"|\b(?:return(?:ed|s)?|non-?zero)(?:[ _-]?(?:with|an?|non-?zero|exit|status|error)){0,4}"
    r"[ _-]?(?:code|status)"
    r"|\b(?:ended|finished|failed|terminated|died|stopped) with(?: exit)? (?:code|status)"
    rf"|\b(?:status|rc)(?==)){_IS}"
)
_OF_IT = r"(?: of)?(?: the| its)?(?: available| system| host)?"
ENDED = (  # how something was ended that took too much of the host's memory, in prose
    r"(?:crashed|killed|terminated|restarted|restarting|stopped|died|evicted|shut down)"
    r" (?:due to|because of|because it|after|for|as|by)\b(?:(?!cuda|gpu|device|vram)[^;.]){0,40}?"
    r"\b(?:(?:insufficient|low|low on|lack of|too much|excessive|exceeding|using all)"
    rf"{_OF_IT} (?:RAM|memory)|out of{_OF_IT} RAM)\b"
)
_OF_ALL = r"(?: up)?(?: (?:all|most|of|the|my|our|its|available|entire|whole|system|host|cpu)){0,5}"
PROSE = (  # that the host's memory ran out, as people tell it
    rf"(?:{ENDED}|\b(?:consum|fill|exhaust|deplet|devour|eat)\w{{0,4}}{_OF_ALL} RAM\b"
    r"(?! ?(?:disk|cache|buffer|drive))"
    r"|\b(?:my|the|our|whole|entire) (?:system|computer|laptop|PC)"
    r" (?:has |is )?(?:\w{1,12}ly )?r[au]n(?:s|ning)? out of (?:memory|RAM)\b"
    r"|\bout of (?:my|the|our) (?:system|machine|computer|laptop|PC|server|host)'s (?:memory|RAM)\b"
    r"|(?:^|[.,;:!?(])(?:(?!gpu|tpu|cuda|device|vram)[^.,;:!?(]){0,60}?"
    r"\br[au]n(?:s|ning)? out of (?:CPU |system |host )?RAM\b(?! ?(?:disk|on|of)\b)"
    r"|\b(?:memory|RAM)\b.{0,20} of (?:my|the|our) (?:system|machine|computer|laptop|PC|server|host)\b.{0,20}"
    r"\b(?:full|exhausted|used up|runs? out)\b|\bkilled by (?:the )?(?:linux )?OOM\b"
    r"|(?<!gpu )(?<!video )\bRAM (?:memory )?(?:is|was|has been|(?:to )?be|being|gets?|becomes?)"
    r" (?:(?:not|never) enough|exhausted|full|consumed|depleted)"
    r"|\b(?:slurm|cgroup)\b.{0,20}\b(?:OOM|out[- ]of[- ]memory)\b"
    r"|\b(?:OOM|out[- ]of[- ]memory)\b(?: (?:error|errors|on|in|of|the|my|system)){0,3}"
    r" \(?(?:CPU|RAM|host)\b(?! ?(?:/|and|or) ?GPU)"
    r"|\bload\w{0,3}(?: the)? (?:entire|whole|full)(?: \w{1,12}){0,3} (?:in)?to (?:the )?(?:memory|RAM)\b"
    r".{0,30}\bcrash"
    r"|\b(?:a|the|of|with|get|gets|got|getting) MemoryError (?:on|when|while|in|at|during|after)\b"
    r"|^\W{0,4}MemoryError (?:on|when|while|in|at|during|after)\b)"
)

BUSY = "busy or unavailable"
CONSTANT = "Cannot parse tensor from proto"  # followed by its dtype and shape, over many lines
TRIED = "Tried to allocate"  # PyTorch's message is long, and often broken into lines

# (kind, strings of which a line must contain one, with | between them, pattern that parses it)
FORMS = (
    (
        "code",
        "load in-memory",
        r"[Ff]ailed to load in-memory (?:CUBIN|PTX|HSACO|module).{0,60}(?i:out of memory|OUT_OF_MEMORY)",
    ),
    (
        "refused",
        "an out of memory trying to allocate",
        r"(?:Allocator \((?P<allocator>[^)\s]{1,80})\) )?"
        r"(?<![A-Za-z])[Rr]an out of memory trying to allocate "
        rf"(?P<size>{BYTES})(?: \(rounded to (?P<bytes>\d{{1,20}})\))?"
        r"(?:\s*requested by op (?P<op>[^\s<]{1,400}))?",
    ),
    (
        "refused",
        "MemAllocAsync failed to allocate",
        r"(?P<allocator>\w{1,40}) \w{2,6}MemAllocAsync failed to allocate (?P<bytes>\d{1,20})",
    ),
    (
        "oom",
        "OOM when allocating tensor",
        r"OOM when allocating tensor (?:with|of) shape\s?:?\s?(?:[\[(](?P<shape>[\d,\s]{0,200})[\])]"
        r"(?: and type (?P<dtype>\w{1,20})(?: on (?P<device>\S{1,200}))?"
        r"(?: by allocator (?P<allocator>[\w-]{1,80}))?)?|(?P<dims>(?:dim \{ size: \d{1,12} \} ?){1,9}))?",
    ),
    ("oom", "failed to allocate memory", r"failed to allocate memory"),
    (
        "oom",
        "allocate a tensor|allocate tensor",
        r"(?:cannot|can't|could not|couldn't|unable to|failed to) allocate (?:a )?tensor"
        r" (?:of|with) (?:shape |size )?[`'\"]?[\[(](?P<shape>[\d, ]{1,200})[\])]",
    ),
    (  # what labkit itself says of a trial
        "oom",
        "Its tensor: ",
        rf"Its tensor: (?P<dtype>\w{{1,20}})\[(?P<shape>[\d, ]{{0,200}})\], (?P<size>{BYTES})",
    ),
    (
        "constant",
        CONSTANT,
        CONSTANT + r"\W{0,9}(?:goo\.gle/debug\w{1,9}\s{1,9})?(?:dtype: DT_(?P<dtype>\w{1,20})"
        r"(?:\W{0,9}tensor_shape \{ ?(?P<dims>(?:dim \{ ?size: \d{1,12} ?\} ?){1,9}))?)?",
    ),
    (
        "copy",
        "Dst tensor is not initialized|Failed copying input tensor",
        r"(?:in order to run (?P<op>\w{1,80}): )?Dst tensor is not initialized"
        r"|Failed copying input tensor from \S{1,200} to \S{0,200}(?!.{0,200}Dst tensor)",
    ),
    (
        "torch",
        TRIED,
        rf"(?i:(?P<device>CUDA|HIP|XPU|NPU|MPS)(?: backend)? out of memory)\b.{{0,200}}?{TRIED} "
        rf"(?P<size>{BYTES})",
    ),
    (
        "full",
        "smaller than requested bytes|requested buffer of size",
        r"Available memory of (?P<free>\d{1,20}) is smaller than requested bytes of (?P<bytes>\d{1,20})"
        r"|[Ff]ailed to allocate memory for requested buffer of size (?P<more>\d{1,20})",
    ),
    (
        "full",
        "memory on GPU |cudaMalloc failed|ed to allocate |nable to allocate |emory allocation of size",
        rf"Cannot allocate (?P<size>{BYTES}) memory on GPU \d{{1,3}}"
        rf"(?:, (?P<used>{BYTES}) memory has been allocated and available memory is only (?P<free>{BYTES}))?"
        rf"|allocating (?P<same>{BYTES}) on device \d{{1,3}}: cudaMalloc failed"
        r"|(?:[Ff]ailed|[Uu]nable) to allocate (?:CUDA|ROCm|Vulkan|Metal)\d{0,3} buffer"
        r"(?: of size (?P<more>\d{1,20}))?"
        r"|[Dd]evice memory allocation of size (?P<asked>\d{1,20}) failed",
    ),
    (
        "full",
        "OutOfDeviceMemory|exceed allowed memory|memory for the cache blocks|内存不足|Allocation on device",
        r"OutOfDeviceMemory|would exceed allowed memory|No available memory for the cache blocks"
        r"|GPU \d{1,3} ?上出现内存不足|OutOfMemoryError: Allocation on device",
    ),
    (
        "full",
        "for new constant|not available to allocate|cuda runtime error|"
        "on device ordinal|bytes of device memory|llocated so far|kIOGPUCommandBuffer|"
        "bad_alloc: out_of_memory",
        rf"allocate request for {BYTES} \((?P<bytes>\d{{1,20}})B\) on device ordinal"
        r"|[Ff]ailed to allocate (?P<asked>\d{1,20}) bytes for new constant"
        r"|[Mm]emory not available to allocate buffer: ?(?P<needed>\d{1,20})"
        r"|cuda runtime error \(2\) ?: out of memory"
        r"|Error allocating (?P<same>\d{1,20}) bytes of device memory"
        r"|ut of memory allocating (?P<more>[\d,]{1,26}) bytes "
        r"\(allocated so far: (?P<used>[\d,]{1,26}) bytes"
        r"|kIOGPUCommandBufferCallbackErrorOutOfMemory|bad_alloc: out_of_memory: (?:CUDA|RMM)",
    ),
    (
        "xla",
        "ut of memory while trying to allocate|ut of memory allocating",
        r"[Oo]ut of memory (?:while trying to allocate|allocating) "
        rf"(?:(?P<bytes>\d{{1,20}}) ?bytes|(?P<size>{BYTES}))",
    ),
    (
        "xla",
        " hbm|That was not possible|available HBM|exceeding available bytes",
        rf"Used (?P<size>{_SIZE}) of (?P<limit>{_SIZE}) hbm\b"
        rf"|Attempting to (?:reserve"
        rf"|allocate) (?P<asked>{_SIZE})(?: at the bottom of memory)?\. That was not "
        rf"possible\.(?: There are (?:{_SIZE} free, \S{{1,20}} reserved, and )?(?P<free>{_SIZE}) "
        r"(?:free|reservable))?"
        rf"|HLO temporaries \((?P<needed>{_SIZE})\) exceeds available HBM \((?P<room>{_SIZE})\)"
        rf"|Hbm usage:? (?P<usage>{_SIZE}).{{0,60}}exceeding available bytes: (?P<available>{_SIZE})",
    ),
    (
        "xla",
        "would exceed memory",
        r"Allocation \(size=(?P<more>\d{1,20})\) would exceed memory \(size=(?P<limit>\d{1,20})\)",
    ),
    (
        "pinned",
        "pinned host memory| on host",
        r"could not allocate pinned host memory(?: of size)?:? ?(?P<bytes>\d{1,20})?"
        rf"|failed to alloc(?:ate)? \D{{0,20}}(?:{_SIZE} \()?(?P<more>\d{{1,20}}) bytes\)? on host",
    ),
    (
        "library",
        "NCCL|nccl",
        r"(?i:nccl).{0,200}(?:out of memory|OUT_OF_MEMORY)",
    ),
    (
        "driver",
        "_OUT_OF_MEMORY|MemoryAllocation|OutOfMemory|ut of memory|hipError_t(1002)|E_OUTOFMEMORY|"
        "OUT_OF_DEVICE_MEMORY|CL_MEM_OBJECT_ALLOCATION_FAILURE|failed to alloc",
        rf"failed to alloc(?:ate)? (?:{_SIZE} )?\(?(?P<bytes>\d{{1,20}}) bytes\)? "
        r"(?:from device|(?:of )?unified memory|of collective memory)"
        rf"|failed to allocate (?P<size>{_SIZE}) from device"
        r"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|HIP_ERROR_OutOfMemory|hipErrorOutOfMemory"
        r"|hipErrorMemoryAllocation|hipError_t\(1002\)|OUT_OF_DEVICE_MEMORY|CL_MEM_OBJECT_ALLOCATION_FAILURE"
        r"|E_OUTOFMEMORY|(?i:(?:cuda|hip|gpu|device)\b.{0,80}\b(?:status|error"
        r"|failure)\b.{0,12}out of memory)"
        r"|cuda\w{2,40}\(\) failed\W{1,4}out of memory",
    ),
    (
        "library",
        " handle|cuDNN failed to initialize|launch failed|cusolver|cuSolver|"
        "_STATUS_ALLOC|No algorithm worked|GPU sync failed|DNN "
        "library|_STATUS_INTERNAL_ERROR|_STATUS_NOT_INIT|"
        "CUFFT_ALLOC_FAILED|cuFFT batched plan|best cudnn convolution",
        r"(?:[Cc]ould not create|[Ff]ailed to create) (?:cudnn|cublas|cusolver|cuSolver|MIOpen"
        r"|rocblas)\w* handle"
        r"|cuDNN failed to initialize|Blas \w{4,20} launch failed|(?i:cusolver)\S{0,40} (?:call )?failed"
        r"|(?:CUDNN|CUBLAS|CUSOLVER|CUSPARSE)_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED"
        r"|GPU sync failed|No algorithm worked|DNN library (?:is not|was not|initialization)"
        r"|CUDNN_STATUS_(?:INTERNAL_ERROR|NOT_INITIALIZED)"
        r"|CUBLAS_STATUS_NOT_INITIALIZED"
        r"|[Ff]ailed to create cuFFT batched plan|[Ff]ailed to determine best cudnn convolution algorithm",
    ),
    (
        "busy",
        f"{BUSY}|ErrorDevicesUnavailable|ERROR_DEVICE_UNAVAILABLE",
        rf"CUDA-capable devices?(?:\(s\))? (?:is|are|is/are) {BUSY}"
        r"|(?:cuda|hip)ErrorDevicesUnavailable|CUDA_ERROR_DEVICE_UNAVAILABLE",
    ),
    (
        "recurrent",
        "ThenRnn|DoRnn",
        r"[Ff]ailed to call (?:Then|Do)Rnn\w{4,12}(?:.{0,240}batch_size[^]]{0,40}\]: \["
        r"(?:\d{1,9}, ?){5}(?P<batch>\d{1,9}))?",
    ),
    (
        "shared",
        "shared memory|/dev/shm|hared memory object|Bus error",
        r"out of shared memory|insufficient shared memory|worker .{0,60}killed by signal: Bus error"
        r"|(?:/dev/shm|[Ss]hared memory object).{0,80}(?:[Nn]o space|allocate)"
        r"|[Nn]o space.{0,80}/dev/shm",
    ),
    (
        "numpy",
        "nable to allocate",
        rf"[Uu]nable to allocate (?:array|(?P<size>{BYTES}) for (?:an )?array) "
        r"with (?:shape|form) \((?P<shape>[\d,\s]{0,200})\) and data type (?P<dtype>[\w<>|=]{1,20})"
        r"|(?:MemoryError: |^(?!.{0,200}(?:GPU|CUDA|device)).{0,200})"
        rf"Unable to allocate (?P<more>{BYTES})(?=[`'\"*])",
    ),
    (
        "host",
        "vector of size|you tried to allocate",
        r"(?:can't allocate memory|not enough memory): you tried to allocate "
        rf"(?:(?P<bytes>\d{{1,20}}) bytes|0 ?[KMGT]?B\b|(?P<more>{BYTES}))"
        rf"|[Cc]annot allocate vector of size (?P<size>{_SIZE})",
    ),
    (
        "host",
        "MemoryError",
        r"(?:^|[\s.:([`'\"*])_?(?:Array)?MemoryError\s*(?:$|[]:().,;!?`'\"*]|[^\x00-\x7f])",
    ),
    ("host", "bad_alloc", r"std::bad_alloc"),
    (
        "host",
        "RayOutOfMemoryError|for the batch of component",
        r"RayOutOfMemoryError|[Ff]ailed to allocate memory for the batch of component",
    ),
    ("host", "allocation still failed", r"[Mm]emory allocation still failed after"),
    (
        "host",
        "annot allocate memory|an't allocate |Errno 12|ENOMEM",
        r"[Cc]an(?:no|')t allocate memory(?! in static TLS)|can't allocate region|Errno 12\]|\bENOMEM\b",
    ),
    (
        "paging",
        f"rror 1455|{_PAGING_FILES}",
        rf"WinError 1455|(?i:os error 1455)|{_PAGING_FILES}",
    ),
    (
        "host",
        "WinError 8]|emory resources|heap|GC overhead|C error: out of memory|nsufficient memory|"
        "array is too big|large alloc|"
        "0xC0000017|0xc0000017|rray buffer allocation",
        r"large alloc (?P<bytes>\d{1,20}) bytes == \(nil\)"
        r"|WinError 8\]|[Nn]ot enough memory resources|OutOfMemoryError: (?:Java heap|GC overhead)"
        r"|heap out of memory|Reached heap limit|C error: out of memory"
        r"|Insufficient memory(?! (?:on|in|of|for) (?:the |my |your )?(?i:gpu|device|vram|cuda)\b)"
        r"|array is too big; `arr|0x[Cc]0000017|Array buffer allocation failed",
    ),
    (
        "session",
        "memory used",
        rf"(?P<used>{BYTES}) of (?P<limit>{BYTES}) (?:of )?(?:physical|virtual) memory used",
    ),
    (
        "session",
        "emory|RAM|MEMORY|MEMLIMIT|job killed: |OUT_OF_ME|xceeded limit",
        rf"was (?P<used>{BYTES}) / (?P<limit>{BYTES}) .{{0,20}}exceeds the memory usage threshold"
        r"|(?i:killed due to (?:the node running low on memory|memory pressure)"
        r"|exceeded \d{1,3} ?% (?:of )?(?:the )?memory (?:budget|limit)"
        r"|srun: error: .{0,80}out of memory|crashed after using all (?:of the )?available RAM"
        r"|tried to allocate more memory than is available"
        r"|used (?:more memory than|too much memory)|exceeded (?:job |step |its "
        r"|the )?(?:virtual )?memory limit"
        r"|exceeding memory limit|TERM_MEMLIMIT|ran out-of-memory and exited|low on resource: memory"
        r"|memory quota exceeded|exceeded its memory quota|job killed: \w{0,2}mem|(?:State"
        r"|Reason)\W{1,4}OUT_OF_ME\w{0,6}"
        r"|memory limit exceeded(?!: ?0)|over memory limit|use an instance type with more memory"
        r"|killed due to memory usage"
        r"|exceeded the available memory|exceeded a memory resource limit"
        r"|over the \d{1,3} ?% limit for system memory"
        r"|memory limit of .{1,20} exceeded with .{1,20} used|\bmem \d{1,20}kb exceeded limit \d{1,20}kb)",
    ),
    (
        "watched",
        "Worker memory limit",
        rf"(?P<used>{BYTES}) -- Worker memory limit: (?P<limit>{BYTES})",
    ),
    (
        "full",
        "ut of memory|UT OF MEMORY|VRAM|vram|GPU memory|gpu memory|显存|nsufficient memory|ot enough memory|"
        "内存",
        r"(?i:\b(?:cuda\w{0,30}|gpu\w{0,30}|cudnn|hip|vram|webgl|metal|directml|dml)\b.{0,120}out of memory"
        r"|out of memory.{0,60}\b(?:gpu|device|cuda|vram)\b|(?:insufficient|not enough) (?:gpu memory|vram"
        r"|memory (?:on|in|of|for) (?:the |my |your )?(?:gpu|device|vram|cuda)\b)"
        r"|amount of gpu memory .{0,60}could not be allocated|status: internal: out of memory)|显存(?:不足"
        r"|溢出)|GPU ?内存(?:不足|溢出|.{0,10}占满)",
    ),
    (
        "proto",
        "2GB|2 GB|2147483647|2147483648",
        r"(?:(?i:proto|graph_?def|savedmodel|valueerror|graph\b).{0,160}?"
        r"(?:larger than|exceeds?(?: the)?(?: maximum)?|bigger than)|maximum protobuf size of)[^.]{0,40}"
        r"(?:2 ?GB|214748364[78])",
    ),
    ("tenth", "exceeds 10% of", r"[Aa]llocation (?:of (?P<bytes>\d{1,20}))? ?exceeds 10% of"),
    (
        "oomkill",
        "ut of memory: Kill|OOMKilled|oom-kill|oom_kill|cgroup out|memory handler|Killed process",
        r"[Oo]ut of memory: Kill|(?:OOMKilled|oom[-_]kill)(?![a-z]{0,3}[\"']?[ \t:=]{1,12}(?:0\b|[Ff]alse\b))"
        r"|cgroup out[- ]of[- ]memory"
        r"|out[- ]of[- ]memory handler|\bKilled process \d",
    ),
    ("told", "emory|RAM|OOM|MEMORY", rf"(?i:{PROSE})"),
    (
        "killed",
        f"{_KILLED_IN}|terminated abruptly",
        rf"(?:^|[\s\d.:\]])(?:{_KILLED_IN}|Terminado \(killed\))(?:\s{{2,20}}\S.*|[*_`]{{1,3}})?\s*$"
        rf"|[\"'`“](?:\w{{1,8}}: )?(?:{_KILLED_IN})[\"'`”]"
        r"|^Killed: 9|\b(?:zsh|bash|sh|fish): (?:line \d{1,6}: )?(?:\s{0,9}\d{1,9} )?[Kk]illed\b"
        r"|(?i:\b(?:process|script|program|training|job|python|it)\b[^.]{0,30}"
        r"\b(?:is|was|were|gets?|got|getting|being|been) killed\b(?! (?:if|when|unless|at|\d)\b))"
        r"|(?i:\bkeeps? (?:on )?(?:getting|being) killed\b"
        r"|\b(?:process|script|program|training|job|python) (?:was|got) killed when\b)"
        r"|A process in the process pool was terminated abruptly",
    ),
    (
        "killed",
        "137|247|-9|SIGKILL|signal 9|signal: Killed|status=9|0:9",
        rf"(?i:{_CODES}(?:137|247|-9)\b(?!\.\d"
        r"| ?(?:ms|s|[kmg]i?b|items?|files?|for|rows?|are|is)\b)"
        r"|exitcode\W{1,3}-9\b|\bSIGKILL\b|signal 9\b|signal: Killed|status=9/"
        r"|ExitCode=0:9\b)|(?:^|\] )Error (?:137|247)\s*$",
    ),
    (
        "died",
        "ernel |ernelRestarter|DeadKernel|ead kernel|crashed|内核似乎|カーネル|oyau |дро |"
        "0xC0000409|0xc0000409|1073740791|Canceled future|R Session|ession aborted",
        r"(?i:\bkernel .{0,80}?\b(?:died\b|dies\b|(?:is|was|keeps?|kept) (?:on )?dying\b|crashed"
        r"|is dead\b|was (?:killed|terminated)|is unresponsive)|dead kernel"
        r"|unexpected(?:ly)? (?:kernel )?restart"
        r"|\bkernel (?:(?:is|was) )?restart(?:s|ing|ed)? (?:automatically|itself)\b"
        r"|\bkernel (?:(?:keeps?|kept) (?:on )?restarting|restarts? (?:when|while|during))\b"
        r"|KernelRestarter: restarting kernel|\bkernel [\da-f-]{8,40} restarted"
        r"|DeadKernelError|your (?:session|notebook) (?:has )?crashed"
        r"|Canceled future for execute_request|session aborted|0xC0000409|\b1073740791\b)"
        r"|内核似乎挂掉|カーネルが(?:停止|クラッシュ)|(?i:kernel scheint (?:abgestürzt|gestorben)"
        r"|kernel (?:sembra essere morto|parece (?:haber muerto|ter morrido))"
        r"|noyau (?:semble être|est) mort|ядро (?:умерло|упало|аварийно))",
    ),
    (
        "crashed",
        "egmentation fault|xit|XIT|SIGSEGV|0xC0000005|-1073741819|"
        "core dumped|Speicherzugriffsfehler|rreur de segmentation|段错误|Bus error",
        rf"(?i:Segmentation fault|SIGSEGV|{_EXIT}{_IS}(?:139|-11)\b|0xC0000005|-1073741819|core dumped)"
        r"|Speicherzugriffsfehler|rreur de segmentation|段错误|Bus error",
    ),
)
FORMS = tuple((kind, needles.split("|"), pattern) for kind, needles, pattern in FORMS)

ENDED_OTHERWISE = "The process was ended by its user, a time limit, or whoever took the machine back."
OTHER_FAULT = (
    "It is a fault of another kind: an index that is too large for a table, for example, or versions of the "
    "driver, CUDA, cuDNN and the framework that do not go together."
)
MISSING_LIBRARY = "A library is missing, or is not found, and the process ends where it needs it."
# What calls itself exhausted, or speaks of memory, and is none: (strings as above, pattern, what it is).
NO_MEMORY = (
    (
        "space left on device|uota exceeded|Errno 28|Errno 122|EDQUOT|ENOSPC",
        r"(?i:no space left on device|disk quota exceeded|Errno 28\]|Errno 122\]|EDQUOT|ENOSPC)",
        "The disk is full, or the quota on it: free some space, or write to another folder.",
    ),
    (
        "ckpt|tempstate|.data-",
        r"(?i:resource_?exhausted)\w{0,5}:? \S{0,300}(?:ckpt|tempstate|\.data-\d)",
        "A checkpoint could not be written: the disk is full, or the quota on it.",
    ),
    (
        "but source was compiled with|insufficient driver version|srcSelectDimSize|CUDA_ERROR_",
        r"Loaded runtime CuDNN library: \S{1,20} but source was compiled with|insufficient driver version"
        r"|srcIndex < srcSelectDimSize|CUDA_ERROR_ILLEGAL_ADDRESS|CUDA_ERROR_LAUNCH_FAILED",
        OTHER_FAULT,
    ),
    (
        "is in your library path|ould not load library",
        r"make sure \S{1,80} is in your library path|[Cc]ould not load library \S{1,200} Error\b",
        MISSING_LIBRARY,
    ),
    (
        "TIME LIMIT|CANCELLED|reempted|REEMPTED|by me|by user|by the user|too long|timed out|SIGTERM|SIGINT|"
        "KeyboardInterrupt",
        r"DUE TO TIME LIMIT|CANCELLED AT|(?i:\b(?:job|node|instance|machine|vm|task)\b.{0,30}\bpreempted\b)"
        r"|[Kk]illed by (?:me|(?:the )?user)\b|ran for too long|\b(?:[Jj]ob|[Ss]tep) timed out after"
        r"|[Rr]eceived SIG(?:INT|TERM)|^\s*KeyboardInterrupt\s*:?\s*$"
        r"|SIGTERM.{0,60}SIGKILL",
        ENDED_OTHERWISE,
    ),
    (
        "open files|EMFILE|Errno 24",
        r"(?i:too many open files|EMFILE|Errno 24\])",
        "Too many files are open at once: close them, or raise the limit (ulimit -n).",
    ),
    (
        "essage larger than",
        r"(?i:(?:received|sent|trying to send) message larger than)",
        "A message between two processes (gRPC) is larger than is allowed: raise the largest message size.",
    ),
    (
        "uota exceeded|uota limit|oo Many Requests|oo many requests|ate limit",
        r"(?i:quota (?:exceeded|limit)|too many requests|rate limit)",
        "A service's quota is used up: requests, not memory.",
    ),
    (
        "RESOURCE_POOL_EXHAUSTED|enough resources available to fulfill",
        r"RESOURCE_POOL_EXHAUSTED|does not have enough resources available to fulfill",
        "The cloud has no machine of this kind to give at present.",
    ),
    (
        "static TLS",
        r"static TLS block",
        "The dynamic linker's small table for thread variables is full, not memory: import that library "
        "first.",
    ),
    (
        "can't start new thread|pthread_create|Resource temporarily unavailable",
        r"can't start new thread|pthread_create "
        r"|^(?!.{0,600}\block\b).{0,900}Resource temporarily unavailable",
        "No more threads or processes may be started, usually for a limit on their number: use fewer "
        "workers, or "
        "raise it (ulimit -u).",
    ),
)
NO_MEMORY = tuple((needles.split("|"), pattern, reason) for needles, pattern, reason in NO_MEMORY)

_MEMORY = r"\b(?:memory|RAM|VRAM)"
# The net below all forms: any wording of memory that ran out, in whatever product's words.
WORDING = (
    r"out[ -]of[ -](?:\w{1,12} )?memory\b|ResourceExhausted"
    r"|(?<![A-Za-z\d_])OOM(?:s|ed|ing|'?d)?(?![A-Za-z\d_])"  # Chinese has no spaces around it
    r"|RESOURCE_EXHAUSTED|resource exhausted|OUT_?OF_?MEMORY|MemoryError"
    r"|(?:memory|RAM) (?:is |was |runs? |gets? )?(?:exhausted|exceeded|full)\b|\bmemory errors?\b"
    r"|exhaust\w{0,5} (?:\w{1,12} ){0,3}memory"
    r"|(?:memory|heap|stack) allocation (?:failed|failure|error)|insufficient (?:\w{1,12} )?memory"
    r"|low on memory|memory overflow|\berror (?:when |while |in )?allocat\w{1,4} (?:\w{1,12} ){0,2}memory\b"
    rf"|{_MEMORY} (?:has |had )?r[au]n(?:s|ning)? out\b"
    rf"|{_MEMORY} (?:(?:is|was|gets?|got) )?(?:all )?(?:used|fill(?:s|ed)) up"
    rf"|(?:eat|fill|us)(?:s|e|es|ed|ing)? up (?:\w{{1,12}} ){{0,3}}{_MEMORY}"
    rf"|(?:n't|not) have (?:\w{{1,12}} )?enough (?:\w{{1,12}} )?{_MEMORY}"
    rf"|no (?:\w{{1,12}} )?{_MEMORY} (?:is |was )?left\b"
    rf"|(?:n't|not) fit (?:in|on)(?:to)? (?:\w{{1,12}} ){{0,2}}{_MEMORY}"
    rf"|too (?:big|large) (?:for|to fit (?:in|on)(?:to)?) (?:\w{{1,12}} ){{0,2}}{_MEMORY}"
    rf"|more (?:\w{{1,12}} )?{_MEMORY} than (?:.{{0,40}} )?(?:have|has|available|there is|free)\b"
    rf"|(?:not enough|lack of|no more|too little|short of) (?:\w{{1,12}} )?{_MEMORY}\b"
    r"|memory limit (?:was |is )?(?:exceeded|reached|hit)(?!: ?0)"
    rf"|r[au]n(?:s|ning)? out of (?:\w{{1,12}} )?{_MEMORY}|bad_alloc|ENOMEM"
    r"|(?:failed|failure|fails|could not|couldn't|cannot|can't|unable) (?:to )?(?:re)?(?:m|c)?alloc"
    r"|could not be allocated|insufficient system resources|exceed\w{0,3} (?:\w{1,12} ){0,2}memory"
    r"|using all (?:of the )?available (?:RAM|memory)|内存不足|显存不足|記憶體不足|メモリ不足|メモリが不足"
    r"|메모리 ?부족"
    r"|(?:нехватк[аи]|недостаточно|не хватает|не хватило) (?:\w{1,12} )?памят|m[ée]moire insuffisante"
    r"|manque de m[ée]moire|内存溢出|显存溢出|被(?:自动)? ?kill|被(?:系统)?杀(?:死|掉)|直接杀死|XLA Label: \w"
    r"|speicher (?:reicht nicht|ist voll|voll)|nicht gen[üu]gend (?:Arbeits)?speicher"
    r"|mem[óo]ria insuficiente|sin memoria|memoria esaurita|yetersiz bellek"
)
REPEATED = (  # that it ran out where others of its kind had run before, as people tell it
    r"(?i:\bcross[- ]?validation|\bk[- ]?folds?\b|\b(?:\d+|each|every|next|last)[- ]folds?\b"
    r"|\bgrid[- ]?search"
    r"|\b(?:second|third|next|later|last|\d+(?:nd|rd|th))"
    r" (?:loop|round|run|iteration|fold|model|trial|epoch|time)\b"
    r"|\b(?:after|(?:for|in) the (?:first|initial))(?: about| around| just)?"
    r" (?:\d+|a few|a couple of|some|several|many)(?:(?: or |-| to )\d+)?"
    r" (?:epochs|rounds|iterations|folds|runs|models|trials|steps)\b"
    r"|\bin (?:about|around|roughly) \d+ (?:epochs|rounds|iterations)\b"
    r"|\bin the middle of (?:the )?training\b"
    r"|\b(?:at|in|when|until|till|from|reach\w{0,3}) (?:the )?epoch (?:[2-9]|[1-9]\d{1,5})\b"
    r"|\b(?:until|till) (?:about |around )?\d[\d.,]{0,9} ?k? (?:epochs|iterations|steps)\b"
    r"|\b(?:can't|cannot|can not|doesn't|does not|never|unable to|not able to) (?:be )?"
    r"(?:free|release|clear)[sd]? (?:\w{1,12} ){0,3}(?:memory|RAM|VRAM) after each\b)"
)
_GROWS = r"(?:increas(?:e|es|ed|ing)|grow(?:s|ing)?|grew|ris(?:e|es|ing)|climb(?:s|ing)?)"
_EACH = r"(?:(?:(?:with|at|after|on|in|for) )?(?:each|every)\b|over time\b|indefinitely\b|too fast\b)"
_FREED = r"(?:(?:being|be|get|properly|fully) )?(?:releas|free)(?:e?[ds]?|ing)\b"
LEAKS = (  # that memory grows, as people tell it, and not what a library warns of
    r"(?i:\b(?:a|the|this|severe|serious|huge|big|possible|there is|get|have|has|had|with)"
    r" memory leak(?:s|ing|age)?\b"
    r"|^\W{0,4}(?!(?:no|not|without)\b)(?:\w{1,12} ){0,2}memory leak(?:s|ing|age)?\b"
    r"|\bleak(?:s|ed|ing)? (?:\w{1,8} ){0,2}memory\b|\bmemory (?:is )?(?:being )?leak(?:s|ed|ing)\b"
    r"|\b(?:continuous|constant|steady|gradual|unbounded|endless) memory (?:growth|increase)\b"
    r"|\bmemory(?: (?:usage|use|consumption|footprint))? (?:keeps|kept|is|was|(?:will )?continues?(?: to)?"
    r"|\w{2,12}ly)(?: on| \w{2,12}ly)?"
    r" (?:(?:grow|increas|ris|climb)ing|(?<!is )(?<!was )(?:grow|increase|rise|climb)s?)\b"
    r"|\b(?:memory|RAM)(?: (?:memory|usage|use|consumption)){0,2}(?: \(RAM\))?(?: -)?(?: \w{1,12}){0,2}"
    rf" {_GROWS}(?: \w{{1,12}}){{0,2}} {_EACH}"
    r"|\b(?:each|every) \w{1,12},? (?:(?:the|my|GPU) ){0,2}(?:memory|RAM)(?: (?:usage|use|consumption))?"
    rf" (?:is )?{_GROWS}\b"
    rf"|\bRAM (?:memory )?(?:usage|use|consumption) (?:{_GROWS}|growth)\b(?! with\b)"
    rf"|(?:\bnot|n't|\bnever|\bwithout|\bunable to|\bcannot) {_FREED}(?: \w{{1,8}}){{0,3}}"
    r" (?:memory|RAM|VRAM)\b"
    rf"|\b(?:memory|RAM|VRAM)(?: \w{{1,12}}){{0,2}}(?: not|n't| never) {_FREED})"
)
NO_LEAK = (
    r"(?i:warning|note:|known to|remov\w{1,3}|detect\w{1,3}|check\w{1,3}|saniti|may (?:lead|cause|be)"
    r"|can be caused|or by a|prevent|avoid|fix(?:ed|es)? )"
)
TOLD = {  # what fills the memory, as people tell it: {mark: pattern}
    "collects": r"(?i:\bpredict\w{0,12}\b.{0,60}?\b(?:accumulat|concatenat|collect|keep|stor)\w{0,4}"
    r" (?:\w{1,8} ){0,2}(?:results|outputs|predictions)\b"
    r"|\b(?:memory|RAM) for all (?:the |its |my )?(?:predictions|outputs|results)\b)",
    "copies": r"(?i:\b(?:cop(?:y|ies|ied|ying)|load|mov|put|transfer)\w{0,4} (?:\w{1,8} ){0,2}?"
    r"(?:whole|entire|full|all) (?:\w{1,8} ){0,2}?(?:data ?(?:set)?|arrays?|images|inputs?|samples|thing)"
    r" (?:in|on)?to (?:the |my )?(?:gpu|device|vram)\b"
    r"|\b(?:all|entirely|completely) (?:loaded|copied|moved|put|transferred) (?:in|on)?to (?:the |my )?"
    r"(?:gpu|device|vram)\b)",
}
TOLD_SHAPE = (  # of a tensor that could not be allocated, as people tell it
    r"(?i:allocat\w{0,5}|tensor|shape|dimensions?)(?: \w{1,8}){0,4} ?[\[(](\d{1,9}(?:, ?\d{1,9}){1,5})[\])]"
)
NO_WORDING = (
    r"illegal memory access|memory leak|out of memory error handling|to avoid OOM"
    r"|(?i:\b(?:OOM|out[- ]of[- ]memory)(?: \w{1,8})?: ?0\b|\boom[-_]retr|skip\w{0,4} batch)"
)


def _words(words):
    return set(words.split("|"))


# Pieces of tracebacks that distinguish the causes.
MAKES_WEIGHTS = _words(
    "add_weight|/initializers/|init_ops|in build|build_wrapper|self.add(layer)|load_weights|batch_set_value|"
    "tf.Variable(|_init_from_args|variables_initializer|assign_op.h|variable_ops.cc|init_scope"
)
ADDS_WEIGHTS = _words("add_weight|in build|self.add(layer)|/initializers/")
MAKES_SLOTS = _words(
    "_resource_apply|get_updates|_create_slots|add_variable_from_reference|add_slot|_create_all_weights|"
    "optimizer.step|torch/optim"
)
PREDICTS = _words("in predict|def predict|.predict(")
EVALUATES = _words("in evaluate|.evaluate(|test_function|test_step|.eval(|test_on_batch")
SPLITS = _words("validation_split=|train_validation_split")
ONE_HOT = _words("to_categorical|one_hot|get_dummies|np.eye|OneHotEncoder|onehot")
DENSE = _words("toarray|todense|sparse=False|sparse_output=False")
PADDED = _words("pad_sequences")
FOLDS = _words("KFold|kf.split|kfold|n_splits|cross_val|GridSearch| fold ")
IN_BATCHES = _words(
    "fit_generator|train_on_batch|predict_generator|evaluate_generator|training_generator|predict_on_batch"
)
FORKS = "use_multiprocessing=True"
WORKERS = {FORKS} | _words("multiprocessing/|multiprocessing\\|num_workers=|DataLoader")
JOINS = _words("map_structure_up_to(batch_outputs|potentially_ragged_concat")
LOADS = _words(
    "from_preset(|from_pretrained(|load_and_format_params(|load_weights(|load_model(|in from_preset|"
    "in from_pretrained|in load_model|in _apply|in convert|load_tensors|error loading model|llama_model_load"
)
RUNS = _words(
    "train_step|.fit(|in fit|.generate(|in generate|backward()|in call|in forward|.forward(|.train("
    "| model(|(**"
)
IN_LOOP = _words(  # as people tell it
    "models in a for loop|models in a loop|model in a for loop|model in a loop|models in a for-loop|"
    "models in loop|model in loop"
)
VOCABULARY = _words("ocab|OCAB|mbedding layer|mbedding table")
PUTS = _words("in device_put|in batched_device_put|in buffer_from_pyval")  # JAX copies an array to the device
BETWEEN_DEVICES = "copied between devices"  # the output of an op, as its name tells
OTHER_MARKS = _words(
    "optimizer|from_tensor_slices|convert_to_tensor|mbedding|ttention|random_op.cc|backward()|in call|"
    "model.save|saved_model"
)
ANYWHERE = sorted(
    LOADS | RUNS | VOCABULARY | IN_LOOP | {FORKS}
)  # also where no traceback is: in lines of code and in prose
MARKS = sorted(
    set().union(JOINS, LOADS, RUNS, VOCABULARY, IN_LOOP)
    | set().union(MAKES_WEIGHTS, MAKES_SLOTS, PREDICTS, EVALUATES, SPLITS, ONE_HOT, DENSE, PADDED, FOLDS)
    | set().union(IN_BATCHES, WORKERS, PUTS, OTHER_MARKS)
)
