"""doctor(): checks that this machine is set up correctly for the course. Each finding says what to do.

It needs neither TensorFlow nor a GPU. TensorFlow itself is checked in a process of its own.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass

from .. import gpus
from ..machine import ask_tensorflow, host_memory
from ..sizes import format_size

GIB = 2**30
SIGNS = {"fine": "✓", "look": "!", "wrong": "✗"}
ENOUGH_BYTES = 1_610_000_000  # the most that a lesson has taken: benchmarks/results/memory_of_a_lesson.txt
INSTALL = 'In the folder of the course: make install, or pip install ".[tf,lab]" in this environment.'


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    status    "fine", "look" (it may matter) or "wrong" (the labs cannot work)
    message   what was found
    advice    what to do about it; may be empty
    """

    status: str
    message: str
    advice: str = ""

    def __str__(self):
        return f"{SIGNS[self.status]} {self.message}" + (f"\n    {self.advice}" if self.advice else "")


def doctor():
    """Yield the findings on this machine; the last, on TensorFlow itself, takes a few seconds."""
    yield python_finding(sys.version_info[:3])
    yield system_finding(platform.system(), platform.machine())
    yield from package_findings()
    yield from memory_findings(host_memory(), address_limit())
    yield disk_finding()
    cards = gpus.all_gpus()
    yield from holder_findings(cards, gpus.processes())
    if version("tensorflow") or version("tensorflow-cpu"):
        yield from tensorflow_findings(ask_tensorflow(), cards)


def version(package):
    """The version of an installed package, without importing it; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _major_minor(text):
    """The first two numbers of a version: "2.21.0" -> (2, 21)."""
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split(".")[:2])


def python_finding(version):
    """version: such as (3, 12, 1)."""
    text = "Python " + ".".join(map(str, version))
    if (3, 10) <= version[:2] <= (3, 13):
        return Finding("fine", text)
    return Finding("wrong", f"{text}: the course needs 3.10 to 3.13.", "make install PYTHON=python3.12")


def system_finding(system, machine):
    """system, machine: as platform.system() and platform.machine() name them."""
    if system == "Linux":
        return Finding("fine", f"Linux on {machine}")
    if system == "Darwin":
        return Finding("look", f"macOS on {machine}: the course has not been tested there yet.")
    return Finding(
        "wrong", f"{system}: trials need Linux.", "On Windows, install WSL 2 and the course inside it."
    )


def package_findings(version=version):
    """Which packages are installed, and whether their versions work together."""
    builds = [name for name in ("tensorflow", "tensorflow-cpu") if version(name)]
    if not builds:
        yield Finding("wrong", "TensorFlow is not installed.", INSTALL)
    elif len(builds) == 2:
        yield Finding(
            "wrong",
            "Both tensorflow and tensorflow-cpu are installed: one overwrites the other.",
            "pip uninstall -y tensorflow tensorflow-cpu, then install only one of them.",
        )
    elif (2, 18) <= _major_minor(version(builds[0])) < (2, 22):
        yield Finding("fine", f"{builds[0]} {version(builds[0])}")
    else:
        yield Finding("look", f"{builds[0]} {version(builds[0])}: the course supports 2.18 to 2.21.", INSTALL)
    keras = version("keras")
    if keras and _major_minor(keras) >= (3, 9):
        yield Finding("fine", f"keras {keras}")
    elif keras and _major_minor(keras) >= (3, 0):
        said = f"keras {keras}: it has no keras.remat, with which lessons 09 and 13 recompute activations."
        yield Finding("look", said, "pip install 'keras>=3.9'")
    else:
        yield Finding(
            "wrong", f"Keras {keras or 'is not installed'}: the labs need Keras 3.", "pip install 'keras>=3'"
        )
    missing = [name for name in ("jupyterlab", "ipykernel", "ipywidgets", "matplotlib") if not version(name)]
    if missing:
        yield Finding("look", f"Not installed: {', '.join(missing)}. The notebooks need them.", INSTALL)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        yield Finding("look", f"KERAS_BACKEND is {backend!r}: trials use tensorflow anyway.")


def tensorflow_findings(facts, cards):
    """facts: from labkit.machine.ask_tensorflow; cards: the Gpus that the driver lists."""
    if "error" in facts:
        yield Finding("wrong", f"TensorFlow cannot be imported: {facts['error']}", INSTALL)
        return
    build = (
        f"built for CUDA {facts['cuda']}, cuDNN {facts['cudnn']}"
        if facts["gpu_build"]
        else "built for the CPU only"
    )
    if facts["gpus"]:
        yield Finding("fine", f"TensorFlow is {build}, and uses {facts['gpus']} GPU(s).")
    elif not cards:
        yield Finding(
            "fine", f"TensorFlow is {build}; without an NVIDIA GPU, trials run on the CPU stand-in."
        )
    elif not facts["gpu_build"]:
        yield Finding(
            "look",
            f"There is a GPU ({cards[0].name}), but TensorFlow is {build}.",
            "pip uninstall -y tensorflow-cpu; pip install 'tensorflow[and-cuda]'",
        )
    elif os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield Finding(
            "look", "CUDA_VISIBLE_DEVICES hides the GPU from TensorFlow.", "unset CUDA_VISIBLE_DEVICES"
        )
    else:
        yield Finding(
            "look",
            f"There is a GPU (driver {cards[0].driver}), but TensorFlow cannot use it.",
            "Its CUDA libraries or the driver have the wrong version: pip install 'tensorflow[and-cuda]', "
            "or install a newer driver.",
        )


def holder_findings(cards, processes):
    """Which processes hold the memory of the GPUs.

    cards       the Gpus that the driver lists
    processes   (pid, name, bytes) of each process on them
    """
    for gpu in cards:
        if gpu.total_bytes is None or gpu.used_bytes is None:
            yield Finding(
                "look",
                f"GPU {gpu.index}, {gpu.name}: the driver does not tell its memory, or how much is in use.",
                "So it is where the GPU shares the host's memory, or is divided (MIG). Give trials a "
                "memory_limit that is surely free.",
            )
            continue
        used = f"{format_size(gpu.used_bytes)} of {format_size(gpu.total_bytes)}"
        usage = f"GPU {gpu.index}, {gpu.name}: {used} in use"
        if gpu.used_bytes <= 0.2 * gpu.total_bytes:
            yield Finding("fine", f"{usage}.")
            continue
        holders = ", ".join(f"{pid} {name} ({format_size(used)})" for pid, name, used in processes)
        if len(cards) > 1:
            by = "."  # the driver's list of processes does not say on which of them
        else:
            by = f" by {holders}." if holders else "; the processes cannot be seen from here."
        yield Finding(
            "look",
            usage + by,
            "End those that are yours, such as a notebook's kernel or a leftover job (see nvidia-smi).",
        )


def address_limit():
    """`ulimit -v` in bytes, None if unlimited."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def memory_findings(host, address_limit):
    """host: from labkit.machine.host_memory; address_limit: `ulimit -v` in bytes, or None."""
    free = f"{format_size(host.available)} of host memory free, of {format_size(host.total)} ({host.source})"
    lesson = format_size(ENOUGH_BYTES)
    if host.total < ENOUGH_BYTES:
        yield Finding("wrong", f"{free}: a lesson takes up to {lesson}.", _container_advice(host))
    elif host.available < ENOUGH_BYTES:
        yield Finding(
            "look",
            f"{free}: a lesson takes up to {lesson}.",
            "Shut down the kernels of other notebooks, and close programs that you do not need.",
        )
    else:
        yield Finding("fine", f"{free}.")
    if any(name.startswith("BINDER_") for name in os.environ):
        yield Finding(
            "look",
            "This is Binder: it stops after ten idle minutes and keeps nothing.",
            "Download the notebooks that you want to keep.",
        )
    if address_limit is not None:
        yield Finding(
            "look",
            f"ulimit -v is {format_size(address_limit)}: TensorFlow may not start.",
            "ulimit -v unlimited",
        )


def _container_advice(host):
    if host.source == "container":
        return "Give the container more: docker run --memory=4g ..."
    return "Use a larger machine."


def disk_finding():
    """How much room there is in the folder to which trials write."""
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as e:
        return Finding(
            "wrong", f"There is no folder for the files of trials ({e.strerror}).", "Set TMPDIR to one."
        )
    text = f"{format_size(free)} free in {folder}"
    if free < GIB:
        return Finding(
            "look", f"{text}: recordings of trials are stored there.", "Free some space, or set TMPDIR."
        )
    return Finding("fine", f"{text}.")


def add(add_command):
    """Add the command, with a function (name, run, help, example) that returns its parser."""
    summary = "Check that this machine is set up correctly for the course. Status 1: the labs cannot work."
    add_command("doctor", _doctor, summary, "python -m labkit doctor")


def _doctor(arguments):
    findings = []
    for finding in doctor():
        findings.append(finding)
        if not arguments.json:
            print(finding, flush=True)
    if arguments.json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    return int(any(finding.status == "wrong" for finding in findings))
