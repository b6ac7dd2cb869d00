"""What this machine has: the device that trials run on, the host's memory, its limits."""

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from .errors import LabkitError
from .gpus import visible_gpus
from .sizes import MIB, format_size, parse_size

_ASK = """
import json, tensorflow as tf
build = tf.sysconfig.get_build_info()
print("answer", json.dumps({
    "gpu_build": bool(build.get("is_cuda_build")),
    "cuda": build.get("cuda_version"),
    "cudnn": build.get("cudnn_version"),
    "gpus": len(tf.config.list_physical_devices("GPU")),
}))
"""


@dataclass(frozen=True)
class HostMemory:
    """Host memory in bytes; `source` says whether the machine or a container (cgroup) sets it."""

    total: int
    available: int
    source: str


def _read_int(path):
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _cgroup_folders(root, membership):
    """Memory cgroups of this process, innermost first, with their file names: version 2, then 1."""
    for line in membership.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = base / path.lstrip("/")
        for inner in (folder, *folder.parents):
            yield inner, names
            if inner == base:
                break


def cgroup_memory(root=Path("/sys/fs/cgroup"), membership=None):
    """(limit, available) in bytes of the tightest memory cgroup around this process, or None.

    Docker, Kubernetes and Binder limit memory this way, and free(1) does not see it.
    """
    if membership is None:
        try:
            membership = Path("/proc/self/cgroup").read_text()
        except OSError:
            return None
    found = []
    for folder, (limit_name, usage_name, cache_name) in _cgroup_folders(Path(root), membership):
        limit, usage = _read_int(folder / limit_name), _read_int(folder / usage_name)
        if limit is None:
            continue
        try:
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            stat = {}
        cache = int(stat.get(cache_name, 0))
        found.append((limit, max(0, limit - (usage or 0) + cache)))
    return min(found, default=None)


def host_memory():
    """What this process can have: the machine's memory, or its container's where that is less."""
    memory = psutil.virtual_memory()
    cgroup = cgroup_memory()
    if cgroup and cgroup[0] < memory.total:
        return HostMemory(cgroup[0], min(cgroup[1], memory.available), "container")
    return HostMemory(memory.total, memory.available, "machine")


def kernel_oom_kills():
    """How many processes Linux has killed for want of memory since it started; 0 elsewhere."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))


@dataclass(frozen=True)
class Device:
    """Where trials run. `kind` "gpu" or "cpu"; `memory_bytes`: all that it has."""

    kind: str
    name: str
    allocator: str
    memory_bytes: int

    def describe(self):
        """Two sentences: what this machine is, and how far its numbers carry over."""
        memory = format_size(self.memory_bytes)
        if self.kind == "gpu":
            return (
                f"Trials run on {self.name} with {memory}, each under a cap on TensorFlow's GPU allocator. "
                "The numbers are this GPU's own; another GPU may choose other kernels with other workspaces."
            )
        return (
            f"No GPU that TensorFlow can use: trials run on the CPU stand-in, this machine's {memory} behind "
            "the allocator that TensorFlow uses on GPUs, with a hard limit. "
            "Weights, gradients, optimizer slots and activations are what a GPU would hold, but kernels and "
            "their workspaces are the CPU's, XLA is off (Keras 3 turns it on on a GPU), and data that "
            "would stay in host memory beside a GPU counts against the one limit here."
        )


def gpu_in_use():
    """Bytes in use on the trials' GPU by all processes, as the driver counts them; None without a GPU."""
    return next((gpu.used_bytes for gpu in visible_gpus()), None)


def ask_tensorflow(timeout=180):
    """What TensorFlow says of itself, a dict; {"error": ...} if it cannot be imported.

    It is asked in a process of its own, once for each value of CUDA_VISIBLE_DEVICES: a driver alone does not
    make a GPU usable.
    """
    return _asked_tensorflow(os.environ.get("CUDA_VISIBLE_DEVICES"), timeout)


@functools.cache
def _asked_tensorflow(visible_devices, timeout):
    try:
        done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer after {timeout} s"}
    answers = [line for line in done.stdout.splitlines() if line.startswith("answer ")]
    if answers:
        return json.loads(answers[-1].removeprefix("answer "))
    last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return {"error": last[0]}


def device():
    """The device that trials run on: the first GPU that TensorFlow can use, else the CPU stand-in."""
    gpus = visible_gpus()
    if gpus and ask_tensorflow().get("gpus"):
        return Device("gpu", gpus[0].name, "GPU_0_bfc", gpus[0].total_bytes)
    return Device("cpu", "CPU stand-in", "bfc_cpu_allocator_for_gpu", host_memory().total)


def check_limit(size, on):
    """Bytes of the memory limit `size` on the Device `on`, in whole MiB as TensorFlow counts it.

    Raises LabkitError for a size that cannot be read, is under 1 MiB, or is more than the device has.
    """
    limit = parse_size(size) // MIB * MIB
    if limit == 0:
        raise LabkitError(
            f"The memory limit {size!r} is under 1 MiB, the least that TensorFlow can be given."
        )
    if limit > on.memory_bytes:
        raise LabkitError(
            f"The memory limit {size!r} is more than this machine has: {format_size(limit)} asked, "
            f"{format_size(on.memory_bytes)} there ({_origin(on)}). Give a smaller one."
        )
    return limit


def _origin(on):
    return on.name if on.kind == "gpu" else f"the {host_memory().source}'s memory"
