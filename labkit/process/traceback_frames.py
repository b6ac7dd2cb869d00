"""The reader's own lines in a traceback: which frames are theirs, and how they are formatted."""

import contextlib
import functools
import importlib.util
import itertools
import linecache
import os
import re
import site
import sys
import sysconfig
from pathlib import Path

from ..inside import execute

_FAULT_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)')
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_THREAD_STARTS = re.compile(r"\n(?=Thread |Current thread )")


def format_traceback(frames):
    """The reader's part of a traceback. frames: (file, line number, function, text or None) of each."""
    return "".join(_format(frame) for frame in frames if _is_readers(frame[0]))


def traceback_at_end(faults):
    """The reader's lines that were running when the process ended, from the file that faulthandler wrote."""
    with contextlib.suppress(OSError):
        text = _ESCAPED.sub(_character, faults.read_text(errors="replace"))
        threads = map(_frames, _THREAD_STARTS.split(text))
        for frames in threads:
            above = list(itertools.takewhile(lambda frame: frame[0] != execute.__file__, frames))
            if len(above) < len(frames):  # the thread that runs `train`: it came through labkit's own file
                return format_traceback(reversed(above))
    return ""


def cell_name(filename):
    """IPython's name for a file that is really a cell, such as "Cell In[3]"; None for any other file."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return None
    if not hasattr(shell.compile, "format_code_name"):
        return _name_from_history(shell, filename)
    named = shell.compile.format_code_name(filename)
    return " ".join(named) if named else None


def _name_from_history(shell, filename):
    """The same where IPython keeps no numbers (7.34, 8.0): that of the last cell with this source."""
    cached = getattr(linecache, "_ipython_cache", {}).get(filename)
    if cached is None:
        return None
    source, history = "".join(cached[2]).rstrip("\n"), shell.history_manager.input_hist_parsed
    return next((f"Cell In[{n}]" for n in reversed(range(1, len(history))) if history[n] == source), None)


def _character(match):
    """What faulthandler escapes: all that is not ASCII."""
    number = int(next(filter(None, match.groups())), 16)
    return chr(number) if number <= sys.maxunicode else match[0]


def _frames(text):
    return [(m["file"], int(m["line"]), m["name"], None) for m in _FAULT_FRAME.finditer(text)]


def _format(frame):
    filename, number, name, line = frame
    line = line or linecache.getline(filename, number)
    place = name if name.startswith("<") else f"{name}()"
    code = f"    {line.strip()}\n" if line.strip() else ""
    return f"{cell_name(filename) or filename}, line {number}, in {place}\n{code}"


def _is_readers(filename):
    return not filename.startswith(("<frozen", *_libraries()))


@functools.cache
def _libraries():
    """Folders whose code is not the reader's: the standard library, installed packages, labkit."""
    paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages()]
    paths += [site.getusersitepackages(), f"{Path(__file__).parents[1]}{os.sep}"]
    for name in ("tensorflow", "keras", "numpy"):
        with contextlib.suppress(ImportError, ValueError, AttributeError, TypeError):
            paths.append(str(Path(importlib.util.find_spec(name).origin).parents[1]))
    return paths
