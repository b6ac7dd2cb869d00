"""doctor: findings from made-up facts, and the command here, as it is and without TensorFlow."""

import json
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from labkit import gpus
from labkit.commands import doctor
from labkit.gpus import Gpu
from labkit.machine import HostMemory

GIB = 2**30
CARD = Gpu("0", "GPU-aa11", "Tesla T4", "535.104", 15 * GIB, GIB)


def installed(**versions):
    return {"jupyterlab": "4.4", "ipykernel": "7", "ipywidgets": "8.1", "matplotlib": "3.10", **versions}.get


@pytest.mark.parametrize(
    ("versions", "statuses", "said"),
    [
        ({"tensorflow-cpu": "2.21.0", "keras": "3.15"}, ["fine", "fine"], "tensorflow-cpu 2.21.0"),
        ({"keras": "3.15"}, ["wrong", "fine"], "not installed"),
        ({"tensorflow": "2.21.0", "tensorflow-cpu": "2.21.0", "keras": "3.15"}, ["wrong", "fine"], "Both"),
        ({"tensorflow": "2.18", "keras": "3.8.0"}, ["fine", "look"], "no keras.remat"),
        ({"tensorflow": "2.15.0", "keras": "2.15.0"}, ["look", "wrong"], "2.18 to 2.21"),
        ({"tensorflow": "2.22.0rc1", "keras": "3.15"}, ["look", "fine"], "2.22.0rc1"),
        ({"tensorflow": "2.20", "keras": "3.9", "jupyterlab": None}, ["fine", "fine", "look"], "jupyterlab"),
    ],
)
def test_packages(versions, statuses, said, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    found = list(doctor.package_findings(installed(**versions)))
    assert [finding.status for finding in found] == statuses
    assert said in " ".join(map(str, found))


@pytest.mark.parametrize(
    ("told", "cards", "status", "said"),
    [
        ({"error": "ImportError: no AVX"}, [], "wrong", "no AVX"),
        ({"gpu_build": False, "gpus": 0}, [], "fine", "CPU stand-in"),
        ({"gpu_build": False, "gpus": 0}, [CARD], "look", "and-cuda"),
        ({"gpu_build": True, "cuda": "12.5.1", "cudnn": "9", "gpus": 0}, [CARD], "look", "535.104"),
        ({"gpu_build": True, "cuda": "12.5.1", "cudnn": "9", "gpus": 1}, [CARD], "fine", "uses 1 GPU"),
    ],
)
def test_tensorflow(told, cards, status, said, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (found,) = doctor.tensorflow_findings(told, cards)
    assert found.status == status and said in str(found)


def test_a_hidden_gpu_is_told(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    (found,) = doctor.tensorflow_findings({"gpu_build": True, "cuda": "12", "cudnn": "9", "gpus": 0}, [CARD])
    assert found.status == "look" and "hides" in found.message


def test_who_holds_the_gpu():
    full = replace(CARD, used_bytes=14 * GIB)
    (found,) = doctor.holder_findings([full], [(4711, "python3", 13 * GIB)])
    assert found.status == "look" and "4711 python3 (13.0 GiB)" in found.message
    two = doctor.holder_findings([full, full], [(4711, "python3", 13 * GIB)])  # on which of them?
    assert not any("4711" in found.message for found in two)
    (found,) = doctor.holder_findings([full], [])
    assert "cannot be seen" in found.message
    (found,) = doctor.holder_findings([CARD], [])
    assert found.status == "fine"


def test_a_gpu_whose_memory_the_driver_does_not_tell():
    for unknown in ({"total_bytes": None}, {"used_bytes": None}):
        (found,) = doctor.holder_findings([replace(CARD, **unknown)], [])
        assert found.status == "look" and "does not tell its memory" in found.message


SMI = """#!/bin/sh
case "$1" in
--query-gpu=*) echo '0, GPU-aa11, Tesla T4, 535.104, 15360, 1024'
    echo '1, GPU-bb22, NVIDIA GB10, 535.104, [N/A], [N/A]'
    echo 'Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error' ;;
*) echo '7, python, 12'
    printf '8, /home/\\351t\\351/python, 12\\n'
    echo '9, /home/a, b/python, [N/A]' ;;
esac
"""


def test_the_answers_of_nvidia_smi_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpus.all_gpus() == gpus.processes() == []
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpus.all_gpus() == [CARD, Gpu("1", "GPU-bb22", "NVIDIA GB10", "535.104", None, None)]
    assert gpus.processes() == [
        (7, "python", 12 * 2**20),
        (8, "/home/\N{REPLACEMENT CHARACTER}t\N{REPLACEMENT CHARACTER}/python", 12 * 2**20),
        (9, "/home/a, b/python", None),
    ]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert gpus.all_gpus() == gpus.processes() == []


NVML = """
class NVMLError(Exception): pass
class _Memory: total, used = 15 * 2**30, 2**30
class _Process: pid, usedGpuMemory = 7, None
nvmlMemory_v2 = 2
def nvmlInit():
    if {broken}: raise NVMLError("driver not loaded")
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetMemoryInfo(handle, version): return _Memory
def nvmlDeviceGetUUID(handle): return "GPU-aa11"
def nvmlDeviceGetName(handle): return b"Tesla T4"
def nvmlSystemGetDriverVersion(): return "535.104"
def nvmlDeviceGetComputeRunningProcesses(handle): return [_Process]
def nvmlSystemGetProcessName(pid): return b"python"
"""


def nvml(broken):
    module = types.ModuleType("pynvml")
    exec(NVML.format(broken=broken), vars(module))
    return module


def test_nvml_is_asked_where_it_is_there_and_nvidia_smi_where_it_fails(tmp_path, monkeypatch):
    """A stand-in for nvidia-ml-py: NVML itself needs a driver."""
    (tmp_path / "nvidia-smi").write_text(SMI.replace("Tesla T4", "by nvidia-smi"))
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setitem(sys.modules, "pynvml", nvml(broken=False))
    assert gpus.all_gpus() == [CARD]
    assert gpus.processes() == [(7, "python", None)]
    older = nvml(broken=False)
    older.nvmlDeviceGetMemoryInfo = lambda handle: None
    oldest = nvml(broken=False)
    del oldest.nvmlMemory_v2
    for module in (nvml(broken=True), older, oldest, types.ModuleType("pynvml")):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        assert gpus.all_gpus()[0].name == "by nvidia-smi"


def test_a_gpu_whose_memory_nvml_does_not_tell_is_listed(monkeypatch):
    def not_supported(handle, version):
        raise module.NVMLError("Not Supported")

    module = nvml(broken=False)
    module.nvmlDeviceGetMemoryInfo = not_supported
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert gpus.all_gpus() == [replace(CARD, total_bytes=None, used_bytes=None)]


@pytest.mark.parametrize(
    ("total", "available", "limit", "statuses"),
    [
        (16 * GIB, 8 * GIB, None, ["fine"]),
        (16 * GIB, GIB, None, ["look"]),
        (GIB, GIB, None, ["wrong"]),
        (16 * GIB, 8 * GIB, 4 * GIB, ["fine", "look"]),
    ],
)
def test_memory(total, available, limit, statuses, monkeypatch):
    monkeypatch.delenv("BINDER_SERVICE_HOST", raising=False)
    found = doctor.memory_findings(HostMemory(total, available, "container"), limit)
    assert [finding.status for finding in found if "Binder" not in finding.message] == statuses


def test_other_versions_systems_and_disks(monkeypatch):
    assert doctor.python_finding((3, 9, 1)).status == doctor.python_finding((3, 14, 0)).status == "wrong"
    assert doctor.python_finding((3, 12, 1)).status == "fine"
    systems = [doctor.system_finding(name, "x").status for name in ("Linux", "Darwin", "Windows")]
    assert systems == ["fine", "look", "wrong"]
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=2**20))
    assert doctor.disk_finding().status == "look"
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=2**40))
    assert doctor.disk_finding().status == "fine"
    monkeypatch.setattr(doctor.tempfile, "tempdir", None)
    monkeypatch.setattr(doctor.tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    assert doctor.disk_finding().status == "wrong"


def test_every_finding_that_is_not_fine_says_what_to_do_or_what_it_means():
    found = doctor.Finding("wrong", "TensorFlow is not installed.", doctor.INSTALL)
    assert str(found).splitlines() == ["✗ TensorFlow is not installed.", f"    {doctor.INSTALL}"]


def test_the_command_here_and_where_no_tensorflow_is(tmp_path):
    command = [sys.executable, "-m", "labkit", "doctor", "--json"]
    here = subprocess.run(command, capture_output=True, text=True)
    findings = json.loads(here.stdout)
    assert here.returncode == int(any(finding["status"] == "wrong" for finding in findings))
    assert any("TensorFlow is built" in finding["message"] for finding in findings)

    hide = (
        "import importlib.metadata as m, runpy, sys; real = m.version\n"
        "def version(name):\n"
        "    if name.startswith('tensorflow'): raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version; sys.modules['tensorflow'] = None\n"
        "sys.argv = ['labkit', 'doctor']; runpy.run_module('labkit', run_name='__main__')"
    )
    root = Path(doctor.__file__).parent.parent
    bare = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, cwd=root)
    assert bare.returncode == 1 and "✗ TensorFlow is not installed." in bare.stdout, bare.stderr
