"""doctor(): is this machine set up well for the course? Each finding says what to do.

It needs neither TensorFlow nor a GPU. TensorFlow is asked in a process of its own.
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
ENOUGH_BYTES = 1_610_000_000  # what a lesson took at its worst: benchmarks/results/memory_of_a_lesson.txt
INSTALL = 'pip install "keras-memory-labkit[tf,lab]", or make install in the course\'s folder.'


@dataclass(frozen=True)
class Finding:
    """One thing looked at. status: "fine", "look" (it may matter) or "wrong" (it stops the labs)."""

    status: str
    said: str
    todo: str = ""

    def __str__(self):
        return f"{SIGNS[self.status]} {self.said}" + (f"\n    {self.todo}" if self.todo else "")


def doctor():
    """Findings on this machine, one after the other; the last, of TensorFlow itself, takes some seconds."""
    yield python_finding(sys.version_info[:3])
    yield system_finding(platform.system(), platform.machine())
    yield from package_findings()
    yield from memory_findings(host_memory(), address_limit())
    yield disk_finding(shutil.disk_usage(tempfile.gettempdir()).free)
    cards = gpus.all_gpus()
    yield from holder_findings(cards, gpus.processes())
    if version("tensorflow") or version("tensorflow-cpu"):
        yield from tensorflow_findings(ask_tensorflow(), cards)


def version(package):
    """The version of an installed package, or None. It is not imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _parts(text):
    """A version's first two numbers: "2.21.0" -> (2, 21)."""
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split(".")[:2])


def python_finding(found):
    said = "Python " + ".".join(map(str, found))
    if (3, 10) <= found[:2] <= (3, 13):
        return Finding("fine", said)
    return Finding("wrong", f"{said}: the course needs 3.10 to 3.13.", "make install PYTHON=python3.12")


def system_finding(system, machine):
    if system == "Linux":
        return Finding("fine", f"Linux on {machine}")
    if system == "Darwin":
        return Finding("look", f"macOS on {machine}: nobody has tried the course there yet.")
    return Finding(
        "wrong", f"{system}: trials need Linux.", "On Windows, install WSL 2, and the course in it."
    )


def package_findings(version=version):
    """What is installed, and whether it fits together."""
    both = [name for name in ("tensorflow", "tensorflow-cpu") if version(name)]
    if not both:
        yield Finding("wrong", "TensorFlow is not installed.", INSTALL)
    elif len(both) == 2:
        yield Finding(
            "wrong",
            "Both tensorflow and tensorflow-cpu are installed: one overwrites the other.",
            "pip uninstall -y tensorflow tensorflow-cpu, then install one of them.",
        )
    elif (2, 18) <= _parts(version(both[0])) < (2, 22):
        yield Finding("fine", f"{both[0]} {version(both[0])}")
    else:
        yield Finding("look", f"{both[0]} {version(both[0])}: the course is made for 2.18 to 2.21.", INSTALL)
    keras = version("keras")
    if keras and _parts(keras) >= (3, 0):
        yield Finding("fine", f"keras {keras}")
    else:
        yield Finding(
            "wrong", f"Keras {keras or 'is not installed'}: the labs need Keras 3.", "pip install 'keras>=3'"
        )
    missing = [name for name in ("jupyterlab", "ipykernel", "ipywidgets", "matplotlib") if not version(name)]
    if missing:
        yield Finding("look", f"Not installed: {', '.join(missing)}. The notebooks need them.", INSTALL)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        yield Finding("look", f"KERAS_BACKEND is {backend!r}: trials set it to tensorflow all the same.")


def tensorflow_findings(told, cards):
    """told: of labkit.machine.ask_tensorflow; cards: the Gpus that the driver lists."""
    if "error" in told:
        yield Finding("wrong", f"TensorFlow cannot be imported: {told['error']}", INSTALL)
        return
    build = (
        f"built for CUDA {told['cuda']}, cuDNN {told['cudnn']}"
        if told["gpu_build"]
        else "built for the CPU only"
    )
    if told["gpus"]:
        yield Finding("fine", f"TensorFlow is {build}, and uses {told['gpus']} GPU(s).")
    elif not cards:
        yield Finding(
            "fine", f"TensorFlow is {build}; there is no NVIDIA GPU: trials run on the CPU stand-in."
        )
    elif not told["gpu_build"]:
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
            "Its CUDA libraries or the driver do not fit: pip install 'tensorflow[and-cuda]', "
            "or a newer driver.",
        )


def holder_findings(cards, processes):
    """Who holds the memory of the GPUs."""
    for gpu in cards:
        used = f"{format_size(gpu.used_bytes)} of {format_size(gpu.total_bytes)}"
        said = f"GPU {gpu.index}, {gpu.name}: {used} in use"
        if gpu.used_bytes <= 0.2 * gpu.total_bytes:
            yield Finding("fine", f"{said}.")
            continue
        who = ", ".join(f"{pid} {name} ({format_size(used)})" for pid, name, used in processes)
        by = f" by {who}." if who else "; by whom cannot be seen from here."
        yield Finding(
            "look",
            said + by,
            "End it if it is yours (a notebook's kernel, a job that did not die): nvidia-smi",
        )


def address_limit():
    """`ulimit -v` in bytes, or None where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def memory_findings(host, address_limit):
    """host: of labkit.machine.host_memory; address_limit: `ulimit -v` in bytes, or None."""
    said = f"{format_size(host.available)} of host memory free, of {format_size(host.total)} ({host.source})"
    lesson = format_size(ENOUGH_BYTES)
    if host.total < ENOUGH_BYTES:
        yield Finding("wrong", f"{said}: a lesson takes up to {lesson}.", _container_advice(host))
    elif host.available < ENOUGH_BYTES:
        yield Finding(
            "look",
            f"{said}: a lesson takes up to {lesson}.",
            "Shut down the kernels of other notebooks, and close what you do not need.",
        )
    else:
        yield Finding("fine", f"{said}.")
    if any(name.startswith("BINDER_") for name in os.environ):
        yield Finding(
            "look",
            "This is a Binder: it stops after ten idle minutes, and keeps nothing.",
            "Download the notebooks that you want to keep.",
        )
    if address_limit is not None:
        yield Finding(
            "look",
            f"ulimit -v is {format_size(address_limit)}: that may stop TensorFlow.",
            "ulimit -v unlimited",
        )


def _container_advice(host):
    if host.source == "container":
        return "Give the container more: docker run --memory=4g ..."
    return "Use a larger machine."


def disk_finding(free):
    said = f"{format_size(free)} free in {tempfile.gettempdir()}"
    if free < GIB:
        return Finding("look", f"{said}: records of trials are kept there.", "Free some, or set TMPDIR.")
    return Finding("fine", f"{said}.")


def add(add_command):
    """Add the command, by a function of (name, run, help, example) that returns its parser."""
    said = "Look whether this machine is set up well for the course. Status 1: something stops the labs."
    add_command("doctor", _doctor, said, "python -m labkit doctor")


def _doctor(arguments):
    findings = []
    for finding in doctor():
        findings.append(finding)
        if not arguments.json:
            print(finding, flush=True)
    if arguments.json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    return int(any(finding.status == "wrong" for finding in findings))
