"""Why Keras runs out of memory, and what really helps: real trials under a real memory limit."""

import importlib
import sys

from .errors import LabkitError
from .explain.diagnosis import Diagnosis
from .explain.sources import diagnose
from .fixes.table import FixTrials
from .fixes.trying import try_fixes
from .outcome import Outcome
from .predict.estimation import Estimate, estimate
from .predict.search import BatchSizeSearch, find_batch_size
from .selfcheck import Device, device
from .sizes import format_size, parse_size
from .trials.comparison import Comparison, compare
from .trials.sweeps import Sweep, sweep
from .trials.trial import Trial, run

__all__ = [
    "BatchSizeSearch",
    "Comparison",
    "Device",
    "Diagnosis",
    "Estimate",
    "FixTrials",
    "LabkitError",
    "Outcome",
    "Sweep",
    "Timeline",
    "Trial",
    "compare",
    "device",
    "diagnose",
    "estimate",
    "find_batch_size",
    "format_size",
    "parse_size",
    "read_profile",
    "run",
    "sweep",
    "try_fixes",
]
__version__ = "0.1.0"


# Imported on first use: they import Keras and NumPy. MemoryMeter is not in __all__, for `import *` would
# import Keras, which is not there where only logs are diagnosed.
_LAZY = {"MemoryMeter": "meter", "Timeline": "record.timeline", "read_profile": "record.profile"}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"labkit.{_LAZY[name]}"), name)


def __dir__():
    return sorted({*globals(), *_LAZY})


def load_ipython_extension(shell):
    """`%load_ext labkit`: register the %%trial magic."""
    from .commands.magics import TrialMagics

    shell.register_magics(TrialMagics)


if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
    load_ipython_extension(sys.modules["IPython"].get_ipython())
