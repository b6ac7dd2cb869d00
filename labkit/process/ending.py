"""From what was observed of a trial to its Outcome."""

import contextlib
import pickle
import signal
import sys

from .. import gpus, machine
from ..explain.sources import of_trial, with_timeline, with_trials_of_fixes
from ..logs import dumpfile
from ..logs.failure import Failure
from ..logs.messages import is_tensorflow_chatter
from ..outcome import Outcome, TrialError
from ..sizes import format_size
from . import traceback_frames

FAILED = 70  # exit status of a process in which labkit's own code failed
LAST_WORDS = 4000  # characters of the log
KILLERS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_HEAVY = ("tensorflow", "keras")  # what a result must not import into the kernel


def outcome(trial, watch, note=""):
    """The Outcome of a trial that has ended, from its labkit.process.watch.Watch. note: to be added."""
    status, error = _status(watch)
    last = {**watch.sample, **watch.done}
    log = str(watch.log)
    result, lost = (None, "") if status != "ok" else _result(watch.folder)
    facts = {
        "params": trial.params,
        "device": trial.device.kind,
        "limit_bytes": trial.limit,
        "peak_bytes": last.get("peak"),
        "current_bytes": last.get("current"),
        "wall_seconds": last.get("wall_seconds") or watch.seconds,
        "step_seconds": last.get("step_seconds", []),
        "step_peak_bytes": last.get("step_peak_bytes", []),
        "samples_per_second": last.get("samples_per_second"),
        "host_limit_bytes": trial.spare,
        "host_peak_bytes": (watch.exit or {}).get("host_peak_bytes"),
        "log": log,
        "result": result,
        "error": error,
        "note": " ".join(filter(None, [last.get("note"), lost, note])),
    }
    if status == "oom":
        facts |= _out_of_memory(trial, watch, error, log, facts)
    if trial.profile:
        facts |= _timeline(watch, trial.limit, facts)
    if facts.get("diagnosis") and trial.limit and isinstance(trial.params.get("batch_size"), int):
        facts["diagnosis"] = with_trials_of_fixes(facts["diagnosis"], trial.limit, trial.params["batch_size"])
    return Outcome(status, **facts)


def _timeline(watch, limit, facts):
    """The timeline, up to the failure if there was one; or a note that says why there is none."""
    path = watch.folder.record
    if not path.exists() and "diagnosis" not in facts and facts["error"]:
        return {}  # its own error says what went wrong
    if not path.exists():
        why = watch.done.get("no_timeline") or _no_record(watch)
        return {"note": " ".join(filter(None, [facts["note"], why]))}
    from ..record.record import Record
    from ..record.timeline import Timeline  # it imports NumPy, and `import labkit` must be fast

    diagnosis = facts.get("diagnosis")
    if diagnosis and not watch.done.get("recorded_to_end", True):
        note = f"{facts['note']} It ran out of memory after what the timeline shows.".strip()
        return {"timeline": Timeline(Record.load(path), limit), "note": note}
    timeline = Timeline(Record.load(path), limit, diagnosis and diagnosis.requested_bytes)
    refusal = dumpfile.newest_of_first_refusal(watch.folder.dumps()) if diagnosis else None
    if refusal:
        timeline = timeline.until(dumpfile.when(refusal))
    note = " ".join(filter(None, [facts["note"], *timeline.tries()]))
    return {"timeline": timeline, "diagnosis": with_timeline(diagnosis, timeline), "note": note}


def _no_record(watch):
    """Why a trial has left no record."""
    if not watch.done:
        return "There is no timeline: the process ended before its record could be saved."
    when = "it was ended"
    if watch.ending == "timeout":
        when = f"its {watch.trial.timeout:g} s were over (timeout=)"
    elif watch.starved:
        when = "the host's memory ran short"
    return (
        f"There is no timeline: its record was being read when {when}. A record of some steps is smaller: "
        "profile=20."
    )


def _status(watch):
    """(status, TrialError or None)."""
    done = watch.done
    if watch.ending and not done:
        return watch.ending, _ended(watch)
    if done:
        return done["status"], _reported(done["error"]) if "error" in done else None
    code = watch.exit["code"] if watch.exit else -signal.SIGKILL
    if code == FAILED and watch.folder.failure.exists():
        return "error", _failed_itself(watch.folder.failure.read_text())
    where = traceback_frames.traceback_at_end(watch.folder.faults)
    if watch.starved:
        return "oom", TrialError("HostMemory", _starved(watch.starved), where)
    if code >= 0:
        message = f"The process ended with exit status {code} before `train` returned (os._exit?)."
        return "crashed", TrialError("Exit", f"{message}{_last_words(watch.log)}", where)
    name = _name_of(-code)
    if -code in KILLERS:
        by, message = _killed(watch)
        return "killed", TrialError(name, message, where, by)
    if "std::bad_alloc" in str(watch.log)[-LAST_WORDS:]:
        return "oom", TrialError("MemoryError", "std::bad_alloc in native code", where)
    if _was_refused_memory(watch):
        message = "TensorFlow crashed when it was refused memory for an array."
        return "oom", TrialError(name, message, where)
    return "crashed", TrialError(name, "The process crashed in native code.", where)


def _name_of(number):
    """The name of a signal; real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _starved(message):
    """That the trial was ended before the host's memory was full, or for what a site allows."""
    if allowed := message.get("allowed"):
        return (
            f"the trial held {format_size(message['held'])} of it, and may take {format_size(allowed)} here "
            "(LABKIT_TRIAL_MEMORY)."
        )
    host = machine.host_memory()
    return (
        f"the trial held {format_size(message['held'])}, with {format_size(message['available'])} of the "
        f"{host.source}'s {format_size(host.total)} free, and was ended before it could take more."
    )


def _failed_itself(text):
    """The error of a trial in which labkit's own code failed, from the traceback that it left."""
    last = (text.strip().splitlines() or ["it could not say why"])[-1]
    return TrialError("TrialFailed", f"labkit could not run the trial: {last}", text)


def _last_words(log):
    """The last lines that a process printed."""
    lines = [line for line in str(log)[-LAST_WORDS:].splitlines() if line.strip()][-5:]
    return "".join(["\nIt printed last:", *(f"\n  {line}" for line in lines)]) if lines else ""


def _ended(watch):
    where = traceback_frames.traceback_at_end(watch.folder.faults)
    if watch.ending == "timeout":
        message = (
            f"Not finished after {watch.trial.timeout:g} s. Allow more time with `timeout=`, "
            "or any time with `timeout=None`."
        )
        return TrialError("Timeout", message, where)
    return TrialError("Stopped", "The trial was stopped.", where)


def _killed(watch):
    """(who killed the process: TrialError.by, the message)."""
    if watch.lost:
        said = watch.printed.strip().splitlines()
        last = f" It printed last: {said[-1]}" if said and not is_tensorflow_chatter(said[-1]) else ""
        return "launcher", (
            "The launcher process was killed, and the trial with it. The next trial starts a new launcher."
            f"{last}"
        )
    if watch.kernel_killed():
        return "kernel", (
            "Linux killed it because the machine (or the container) ran out of host memory. "
            "Reduce what the trial holds in host memory; `host_peak_bytes` says how much that was."
        )
    return "other", "Another process killed it."


def _was_refused_memory(watch):
    """Whether memory was refused shortly before the process ended: then that caused the crash."""
    return dumpfile.just_refused(watch.folder.dumps())


def _out_of_memory(trial, watch, error, log, facts):
    memory_map = None
    with contextlib.suppress(ValueError, OSError):
        path = dumpfile.newest_of_first_refusal(watch.folder.dumps())
        memory_map = path and dumpfile.read(path)
    batch = watch.done.get("batch_size")
    if not watch.done.get("evaluating"):
        batch = trial.params.get("batch_size") or batch
    others = _of_others(trial)
    known = Failure(
        limit_bytes=trial.limit,
        available_bytes=trial.spare,
        memory_map=memory_map,
        layer=watch.done.get("failed_in"),
        marks={"in build"} if watch.done.get("building") else set(),
        batch=batch if isinstance(batch, int) else None,
        steps=len(facts["step_seconds"]),
        step_bytes=watch.done.get("step_in_use", []),
        steps_peak_bytes=max(facts["step_peak_bytes"], default=None) or None,
        crashed=not watch.done,
        device_bytes=trial.device.memory_bytes if others else None,
        others_bytes=others,
        holders=gpus.holders() if others else [],
    )
    diagnosis = of_trial(error, log, known, watch.done.get("scopes", {}))
    peak = max((b for b in (facts["peak_bytes"], memory_map and memory_map.peak_bytes) if b), default=None)
    return {"memory_map": memory_map, "diagnosis": diagnosis, "peak_bytes": peak}


def _of_others(trial):
    """Bytes of the GPU that others hold, if they leave the trial less than it may take; else None."""
    used = machine.gpu_in_use() if trial.device.kind == "gpu" else None
    if not used:
        return None
    whole = trial.device.memory_bytes
    return used if used + (trial.limit or whole * 3 // 4) > whole else None


def _reported(error):
    message = error["message"].encode("utf-8", "backslashreplace").decode()  # a name of a file can be no text
    return TrialError(error["type"], message, traceback_frames.format_traceback(error["frames"]))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        root = module.partition(".")[0]
        if root in _HEAVY and root not in sys.modules:
            raise pickle.UnpicklingError(f"{module}.{name} needs {root}")
        return super().find_class(module, name)


def _result(folder):
    """(result, note): what `train` returned, unless loading it would import TensorFlow into the kernel."""
    if not folder.result.exists():
        return None, ""
    try:
        with open(folder.result, "rb") as file:
            return _Unpickler(file).load(), ""
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # loading it runs code of the reader's
        return None, f"The result could not be loaded in the kernel ({e}). Return numbers or arrays."
