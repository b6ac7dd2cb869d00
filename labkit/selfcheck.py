"""labkit.device().check(): six tiny trials that test on this device what the course says of trials."""

import dataclasses
import importlib.metadata
from dataclasses import dataclass

from . import machine
from .commands.doctor import Finding, version
from .errors import LabkitError
from .sizes import MIB, format_size
from .trials.trial import run

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "keras-memory-labkit")
LIMIT, UNITS = 64 * MIB, 1024
TIMES = {"cpu": 1, "gpu": 8}  # the limit and what exceeds it: a GPU tries out algorithms, which takes more
WEIGHTS = 4 * UNITS**2 + 4 * UNITS + 4 * UNITS + 256  # of the dense network, in the allocator's blocks
COUNTERS = 1024  # bytes of optimizer state that are not a copy of weights, at most


@dataclass(frozen=True)
class Device(machine.Device):
    """Where trials run. `kind` is "gpu" or "cpu"; `memory_bytes` is its total memory."""

    def check(self):
        """Run six tiny trials, a minute or two, and print for each whether what the course says of it holds.

        Returns a DeviceCheck, whose text says what to do with the result.
        """
        findings = []
        for claim, test in CLAIMS.items():
            findings.append(_finding(claim, test, self))
            print(findings[-1], flush=True)
        return DeviceCheck(self, findings)


@dataclass(frozen=True)
class DeviceCheck:
    """What Device.check() found: for each trial a Finding, "fine" or "wrong", and `ok` if all are fine."""

    device: Device
    findings: list

    @property
    def ok(self):
        return all(finding.status == "fine" for finding in self.findings)

    def __repr__(self):
        wrong = sum(finding.status == "wrong" for finding in self.findings)
        result = f"{wrong} of {len(self.findings)} do not hold" if wrong else "All hold"
        versions = [f"{name} {version(name)}" for name in PACKAGES if version(name)]
        lines = [f"{result} on this device: {', '.join([self.device.name, *versions])}."]
        if wrong or self.device.kind == "gpu":
            lines.append(
                "The course was written on a machine without a GPU. Please report all these lines, whether "
                f"they hold or not: {_issues_page()}"
            )
        return "\n".join(lines)


def device():
    """The device that trials run on: the first GPU that TensorFlow can use, else the CPU stand-in."""
    return Device(**dataclasses.asdict(machine.device()))


def _issues_page():
    try:
        urls = importlib.metadata.metadata("keras-memory-labkit").get_all("Project-URL", [])
    except importlib.metadata.PackageNotFoundError:  # on the path, but not installed
        return "the issues of the project"
    return f"{urls[0].partition(', ')[2]}/issues/new"


def _finding(claim, test, device):
    try:
        test(device)
    except (LabkitError, _DoesNotHold) as e:
        return Finding("wrong", claim, str(e))
    return Finding("fine", claim)


class _DoesNotHold(Exception):
    """What was measured instead of what the course says."""


def _train(batch_size=64, net="dense", jit_compile="auto", rows=None):
    """Two steps of a small network on zeros, or an epoch of fit() on an array of `rows` rows."""
    import keras
    import numpy as np
    from keras import layers

    if net == "lstm":
        model = keras.Sequential([keras.Input((32, 16)), layers.LSTM(64), layers.Dense(1)])
    else:
        wide = layers.Dense(UNITS, activation="relu", name="wide")
        model = keras.Sequential([keras.Input((UNITS,)), wide, layers.Dense(1)])
    model.compile("adam", "mse", jit_compile=jit_compile)
    x = np.zeros((rows or batch_size, *model.input_shape[1:]), "float32")
    if rows:
        model.fit(x, np.zeros(rows), batch_size=batch_size, verbose=0)
    for _ in range(2):
        model.train_on_batch(x, np.zeros(batch_size))


def _trial(device, **options):
    """The Outcome of a trial of _train, which has run where it should."""
    outcome = run(_train, memory_limit=LIMIT * TIMES[device.kind], **options)
    if outcome.device != device.kind:
        raise _DoesNotHold(f"The trial ran on the {outcome.device}.")
    return outcome


def _fits(device, **options):
    outcome = _trial(device, **options)
    if not outcome.ok:
        raise _DoesNotHold(str(outcome))
    if not 0 < (outcome.peak_bytes or 0) <= outcome.limit_bytes:
        raise _DoesNotHold(f"The peak is {outcome.peak_bytes} bytes.")
    return outcome


def _timeline(device, **options):
    outcome = _fits(device, profile=True, **options)
    if outcome.timeline is None:
        raise _DoesNotHold(f"There is no timeline. {outcome.note}")
    drawn, counted = outcome.timeline.peak_bytes, outcome.peak_bytes
    if drawn != counted:
        raise _DoesNotHold(
            f"The timeline's peak is {format_size(drawn)}, the counted one {format_size(counted)}."
        )
    return outcome.timeline


def _by_category(device):
    sizes = _timeline(device, jit_compile=False).by_category()
    weights, optimizer = sizes.get("weights", 0), sizes.get("optimizer", 0)
    if weights != WEIGHTS or not 0 <= optimizer - 2 * WEIGHTS <= COUNTERS:
        raise _DoesNotHold(
            f"{weights} bytes of weights, which take {WEIGHTS}, and {optimizer} of Adam's state."
        )


def _runs_out(device, causes, **options):
    outcome = _trial(device, **options)
    cause = outcome.diagnosis.cause if outcome.diagnosis else None
    if outcome.status != "oom" or cause not in causes:
        raise _DoesNotHold(f"The diagnosed cause is {cause}.\n{outcome}")
    return outcome.diagnosis


def _batch_too_large(device):
    diagnosis = _runs_out(device, ["activations"], batch_size=8192 * TIMES[device.kind], jit_compile=False)
    if diagnosis.layer != "wide":
        raise _DoesNotHold(f"The layer named is {diagnosis.layer}.")


CLAIMS = {
    "A training under a memory limit runs, and the allocator counts its peak.": _fits,
    "A timeline reaches that peak, and has weights and Adam's state to the byte.": _by_category,
    "It reaches the peak of a step compiled by XLA.": lambda device: _timeline(device, jit_compile=True),
    "It reaches the peak of an LSTM.": lambda device: _timeline(device, net="lstm"),
    "A batch that is too large runs out of memory, in the layer that is to blame.": _batch_too_large,
    "A whole array given to fit() runs out of memory, and is named as the cause.": lambda device: _runs_out(
        device, ["array_copied_to_device"], rows=32_768 * TIMES[device.kind]
    ),
}
