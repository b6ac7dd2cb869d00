"""The NVIDIA GPUs of this machine, as their driver reports them.

Queried through NVML in this process if the package nvidia-ml-py is installed, otherwise through nvidia-smi.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass

from .sizes import MIB


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory in bytes; `used_bytes` counts all processes."""

    index: str
    uuid: str
    name: str
    driver: str
    total_bytes: int
    used_bytes: int


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
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return list(query(pynvml, handles))
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _nvml_gpus(nvml, handles):
    for index, handle in enumerate(handles):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        uuid, name, driver = map(
            _text,
            (
                nvml.nvmlDeviceGetUUID(handle),
                nvml.nvmlDeviceGetName(handle),
                nvml.nvmlSystemGetDriverVersion(),
            ),
        )
        yield Gpu(str(index), uuid, name, driver, memory.total, memory.used)


def _nvml_processes(nvml, handles):
    for handle in handles:
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            name = ""
            with contextlib.suppress(nvml.NVMLError):
                name = _text(nvml.nvmlSystemGetProcessName(process.pid))
            yield process.pid, name, process.usedGpuMemory


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _smi_gpus():
    rows = _nvidia_smi("--query-gpu=index,uuid,name,driver_version,memory.total,memory.used", 6)
    return [
        Gpu(*texts, int(total) * MIB, int(used) * MIB)
        for *texts, total, used in rows
        if total.isdigit() and used.isdigit()
    ]


def _smi_processes():
    rows = _nvidia_smi("--query-compute-apps=pid,process_name,used_memory", 3)
    return [
        (int(pid), name, int(used) * MIB if used.isdigit() else None)
        for pid, name, used in rows
        if pid.isdigit()
    ]


def _nvidia_smi(query, columns):
    """Rows of `columns` strings each, sizes in MiB; [] if nvidia-smi is missing or fails."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = ([part.strip() for part in line.split(",")] for line in output.splitlines())
    return [row for row in rows if len(row) == columns]
