"""The NVIDIA GPUs of this machine, as their driver reports them.

Queried through NVML in this process if the package nvidia-ml-py is installed, otherwise through nvidia-smi.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass

from .sizes import MIB, format_size


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory in bytes, None where the driver does not tell; `used_bytes` counts all processes."""

    index: str
    uuid: str
    name: str
    driver: str
    total_bytes: int | None
    used_bytes: int | None


def all_gpus():
    """Every Gpu that the driver lists; [] if there is none."""
    gpus = _query_nvml(_nvml_gpus)
    return _smi_gpus() if gpus is None else gpus


def visible_gpus():
    """The Gpus that CUDA_VISIBLE_DEVICES leaves visible; if it names any, only the first of those."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        return []
    gpus, first = all_gpus(), (visible or "").partition(",")[0].strip()
    named = [gpu for gpu in gpus if first and (gpu.index == first or gpu.uuid.startswith(first))]
    return named or gpus


def processes():
    """(pid, name, bytes or None) of each process computing on a GPU; a container sees only its own."""
    running = _query_nvml(_nvml_processes)
    return _smi_processes() if running is None else running


def is_full(gpu):
    """Whether a Gpu has less than a GiB free, and less than a tenth: too little for CUDA and a training."""
    known = gpu.total_bytes and gpu.used_bytes is not None
    return bool(known) and gpu.total_bytes - gpu.used_bytes < min(1024 * MIB, gpu.total_bytes // 10)


def holders():
    """Who holds memory of the GPU, the most first, in sentences; [] if there are several, or none tells."""
    if len(all_gpus()) != 1:
        return []
    known = [(pid, name, size) for pid, name, size in processes() if size]
    return [_holder(*one) for one in sorted(known, key=lambda one: -one[2])[:3]]


def _holder(pid, name, size):
    own = ": this kernel itself. Restart it, and leave the GPU to the trials" if pid == os.getpid() else ""
    return f"Process {pid} ({os.path.basename(name) or 'unnamed'}) holds {format_size(size)}{own}."


def is_open():
    """Whether this process has opened a GPU, as CUDA does at its start: then no fork of it can use one."""
    with contextlib.suppress(OSError):
        return any(map(_is_of_gpu, os.listdir("/proc/self/fd")))
    return False


def _is_of_gpu(fd):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("/dev/nvidia")
    return False


def _query_nvml(query):
    """The list that `query` yields from NVML; None if NVML is missing or fails."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            return list(query(pynvml, handles))
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # no such package, no driver, or a version of the package that lacks what is asked for
        return None


def _nvml_gpus(nvml, handles):
    for index, handle in enumerate(handles):
        total = used = None
        with contextlib.suppress(nvml.NVMLError):  # a GPU that shares the host's memory does not tell
            memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
            total, used = memory.total, memory.used
        uuid, name, driver = map(
            _text,
            (
                nvml.nvmlDeviceGetUUID(handle),
                nvml.nvmlDeviceGetName(handle),
                nvml.nvmlSystemGetDriverVersion(),
            ),
        )
        yield Gpu(str(index), uuid, name, driver, total, used)


def _nvml_processes(nvml, handles):
    for handle in handles:
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            name = ""
            with contextlib.suppress(nvml.NVMLError, UnicodeDecodeError):
                name = _text(nvml.nvmlSystemGetProcessName(process.pid))
            yield process.pid, name, process.usedGpuMemory


def _text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _smi_gpus():
    rows = _nvidia_smi("--query-gpu=index,uuid,name,driver_version,memory.total,memory.used", 6)
    return [
        Gpu(index, uuid, ", ".join(name), driver, _bytes(total), _bytes(used))
        for index, uuid, *name, driver, total, used in rows
        if index.isdecimal()
    ]


def _smi_processes():
    rows = _nvidia_smi("--query-compute-apps=pid,process_name,used_memory", 3)
    return [(int(pid), ", ".join(name), _bytes(used)) for pid, *name, used in rows if pid.isdecimal()]


def _bytes(mib):
    """Bytes of a size in MiB; None for what nvidia-smi writes instead of one, such as [N/A]."""
    return int(mib) * MIB if mib.isdecimal() else None


def _nvidia_smi(query, columns):
    """Rows of strings, more than `columns` where a name has commas; [] if nvidia-smi is missing or fails."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = ([part.strip() for part in line.split(", ")] for line in done.stdout.split("\n"))
    return [row for row in rows if len(row) >= columns]
