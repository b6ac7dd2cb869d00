"""This machine: the device that trials run on, the host's memory, and its limits."""

import contextlib
import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .errors import LabkitError
from .gpus import visible_gpus
from .sizes import MIB, format_size, parse_size

# Python's -c puts the current folder first, whose random.py or queue.py would be taken for Python's own.
NOT_FROM_HERE = "import sys; sys.path[:] = [path for path in sys.path if path]; "
_PROBE = f"""
{NOT_FROM_HERE}import json, tensorflow as tf
build = tf.sysconfig.get_build_info()
print("answer", json.dumps({{
    "gpu_build": bool(build.get("is_cuda_build")),
    "cuda": build.get("cuda_version"),
    "cudnn": build.get("cudnn_version"),
    "gpus": len(tf.config.list_physical_devices("GPU")),
}}))
"""


@dataclass(frozen=True)
class HostMemory:
    """Host memory in bytes; `source` is "machine", or "container" if a cgroup limits it."""

    total: int
    available: int
    source: str


def _read_int(path):
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _read_counts(path):
    """{name: number} of the lines that are a name and a number, as Linux writes them; {} without the file.

    Stand-ins for Linux, such as gVisor, write other lines as well.
    """
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}


def _cgroup_folders(root, membership):
    """(folder, what is read there) of each memory cgroup around this process, innermost first."""
    for line in membership.splitlines():
        if line.count(":") < 2:
            continue
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":  # above memory.high, Linux slows a process down until it seems to hang
            base, names = root, (("memory.max", "memory.high"), "memory.current", "")
        elif "memory" in controllers.split(","):
            base = root / "memory"
            names = (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_")
        else:
            continue
        folder = base / path.lstrip("/")
        for cgroup in (folder, *folder.parents):
            yield cgroup, names
            if cgroup == base:
                break


@functools.cache
def _physical_memory():
    return psutil.virtual_memory().total


def cgroup_memory(root=Path("/sys/fs/cgroup"), membership=None):
    """(limit, available) in bytes, the least by any memory cgroup around this process; None without one.

    Docker, Kubernetes and Binder limit memory this way; free(1) does not show it. Linux gives back the pages
    of files, libraries among them, before it kills a process: they count as available.

    root         where the cgroup file system is mounted
    membership   the contents of /proc/self/cgroup; read from there if None
    """
    if membership is None:
        try:
            membership = Path("/proc/self/cgroup").read_text(errors="surrogateescape")
        except OSError:
            return None
    limits = []
    for folder, (limit_names, usage_name, prefix) in _cgroup_folders(Path(root), membership):
        found = [_read_int(folder / name) for name in limit_names]
        limit = min((limit for limit in found if limit is not None), default=None)
        if limit is None or limit >= _physical_memory():
            continue
        usage = _read_int(folder / usage_name)
        stat = _read_counts(folder / "memory.stat")
        cache = sum(stat.get(f"{prefix}{age}_file", 0) for age in ("active", "inactive"))
        limits.append((limit, max(0, limit - (usage or 0) + cache)))
    if not limits:
        return None
    return min(limit for limit, _ in limits), min(available for _, available in limits)


def host_memory():
    """The memory this process can use: the machine's, or its container's if that is less."""
    memory = psutil.virtual_memory()
    cgroup = cgroup_memory()
    if cgroup:
        return HostMemory(cgroup[0], min(cgroup[1], memory.available), "container")
    return HostMemory(memory.total, memory.available, "machine")


def spare_memory():
    """Bytes of host memory that a trial may take now: what is free, less a reserve for everything else.

    The reserve is 3 % of the memory there is, 256 MiB to 1 GiB, though never over a quarter of what is free.
    A site sets the most that any trial may take: trial_memory().
    """
    host = host_memory()
    spare = host.available - reserve(host)
    return min(spare, trial_memory() or spare)


def trial_memory():
    """Bytes of host memory that the environment variable LABKIT_TRIAL_MEMORY leaves a trial, or None."""
    return memory_setting("LABKIT_TRIAL_MEMORY")


def idle_seconds():
    """Seconds without a trial after which the process that trials are forked from ends: LABKIT_IDLE_SECONDS.

    Raises LabkitError, which names the variable, if that is no number.
    """
    said = os.environ.get("LABKIT_IDLE_SECONDS") or "600"
    with contextlib.suppress(ValueError):
        if (seconds := float(said)) > 0:
            return seconds
    raise LabkitError(
        f"The environment variable LABKIT_IDLE_SECONDS must be a number of seconds, such as 600: {said!r}"
    )


def memory_setting(name):
    """Bytes that an environment variable sets; None if it is not set.

    Raises LabkitError, which names the variable, if it is not a size.
    """
    try:
        return parse_size(os.environ[name]) if os.environ.get(name) else None
    except LabkitError as e:
        raise LabkitError(f"The environment variable {name} must be a size. {e}") from None


def reserve(host):
    """Bytes of a HostMemory that no trial may take."""
    return min(max(256 * MIB, int(0.03 * host.total)), 2**30, host.available // 4)


def kernel_oom_kills(vmstat=Path("/proc/vmstat")):
    """Number of processes that Linux has killed for lack of memory since boot; 0 on other systems."""
    return _read_counts(vmstat).get("oom_kill", 0)


@dataclass(frozen=True)
class Device:
    """Where trials run. `kind` is "gpu" or "cpu"; `memory_bytes` is its total memory.

    `uuid` is what the driver calls a GPU.
    """

    kind: str
    name: str
    allocator: str
    memory_bytes: int
    uuid: str = field(default="", repr=False)

    def describe(self):
        """What trials run on here, and how far their numbers carry over, in a few sentences."""
        memory = format_size(self.memory_bytes)
        if self.kind == "gpu":
            said = (
                f"Trials run on {self.name} with {memory}, each under a limit on TensorFlow's GPU allocator. "
                "The numbers are for this GPU; another may use different kernels with different workspaces."
            )
            used = gpu_in_use() or 0
            if used <= self.memory_bytes // 10:
                return said
            held = f"Programs hold {format_size(used)} of it now, which no trial can have"
            return f"{said} {held}: nvidia-smi lists them."
        return (
            "There is no GPU that TensorFlow can use, so trials run on the CPU stand-in: this machine's "
            f"{memory} of memory behind the allocator that TensorFlow uses on GPUs, with a hard limit. "
            "Weights, gradients, optimizer state and activations are those that a GPU would hold, but the "
            "kernels and their workspaces are the CPU's, XLA is off (Keras 3 enables it on a GPU), and data "
            "that would stay in host memory on a machine with a GPU counts against the limit here."
        )


def gpu_in_use():
    """Bytes that all processes together use on the trials' GPU, by the driver's count; None without a GPU."""
    return next((gpu.used_bytes for gpu in visible_gpus()), None)


def ask_tensorflow(timeout=180):
    """TensorFlow's build and the number of GPUs it can use, a dict; {"error": ...} if it cannot be imported.

    A driver alone does not make a GPU usable, so TensorFlow is asked: in a process of its own, once for each
    value of CUDA_VISIBLE_DEVICES, and again after an error. timeout: in seconds.
    """
    try:
        return _ask_tensorflow(os.environ.get("CUDA_VISIBLE_DEVICES"), timeout)
    except _NoAnswerError as e:
        return {"error": str(e)}


class _NoAnswerError(Exception):
    """Why TensorFlow did not answer; unlike an answer, it is not cached: the next time it may."""


@functools.cache
def _ask_tensorflow(visible_devices, timeout):
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        raise _NoAnswerError(f"no answer after {timeout} s") from None
    answers = [line for line in done.stdout.splitlines() if line.startswith("answer ")]
    if answers:
        return json.loads(answers[-1].removeprefix("answer "))
    errors = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    raise _NoAnswerError(errors[-1])


def device():
    """The device that trials run on: the first GPU that TensorFlow can use, else the CPU stand-in."""
    gpus = visible_gpus()
    if gpus and ask_tensorflow().get("gpus"):
        return _gpu_device(gpus[0])
    return Device("cpu", "CPU stand-in", "bfc_cpu_allocator_for_gpu", host_memory().total)


def _gpu_device(gpu):
    memory = gpu.total_bytes or host_memory().total  # one that does not tell shares the host's
    return Device("gpu", gpu.name, "GPU_0_bfc", memory, gpu.uuid)


def parse_limit(size):
    """The memory limit `size` in bytes, rounded down to whole MiB as TensorFlow takes it.

    Raises LabkitError for a size that cannot be parsed or is under 1 MiB.
    """
    limit = parse_size(size) // MIB * MIB
    if limit == 0:
        raise LabkitError(f"The memory limit {size!r} is under 1 MiB, the smallest that TensorFlow accepts.")
    return limit


def check_limit(size, on):
    """parse_limit(), for a trial: raises LabkitError if it exceeds the memory of the Device `on`."""
    limit = parse_limit(size)
    if limit > on.memory_bytes:
        raise LabkitError(
            f"The memory limit {size!r} is more than this machine has: {format_size(limit)} requested, "
            f"{format_size(on.memory_bytes)} in total ({_origin(on)}). Give a smaller limit."
        )
    return limit


def _origin(on):
    return on.name if on.kind == "gpu" else f"the {host_memory().source}'s memory"
