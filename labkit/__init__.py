"""Why Keras runs out of memory, and what really helps: real trials under a real memory limit."""

import sys

from .errors import LabkitError
from .memory import Device, device, format_size, parse_size
from .outcome import Outcome
from .run import Trial, run
from .sweep import Sweep, sweep
from .timeline import Timeline

__all__ = [
    "Device",
    "LabkitError",
    "MemoryMeter",
    "Outcome",
    "Sweep",
    "Timeline",
    "Trial",
    "device",
    "format_size",
    "parse_size",
    "run",
    "sweep",
]
__version__ = "0.1.0"


def __getattr__(name):
    if name == "MemoryMeter":  # it is a Keras callback: only who uses it pays for Keras
        from .meter import MemoryMeter

        return MemoryMeter
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")


def load_ipython_extension(shell):
    """`%load_ext labkit`: the magic %%trial."""
    from .magics import TrialMagics

    shell.register_magics(TrialMagics)


if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
    load_ipython_extension(sys.modules["IPython"].get_ipython())
