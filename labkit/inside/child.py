"""Inside the child process of a trial: set the limit, run the reader's code, report what happens.

The child reports in lines of JSON on a pipe: "started", then "sample" several times a second, then "done".
Any other end of the process is reported by its launcher.
"""

import contextlib
import faulthandler
import functools
import io
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from ..sizes import MIB
from . import execute
from .folder import TrialFolder, to_json

SAMPLE_SECONDS = 0.1
CACHE = (
    "tf.data's cache() keeps all that the first epoch makes, and a small trial makes a few batches of it: "
    "the peak is higher, by as much as the whole of it takes."
)
ROOM = 2**16  # pointers in a frame: as much again is left in its chunk, which is of a power of 2


class Events:
    """The pipe to the kernel. One thread writes at a time, so that lines stay whole."""

    def __init__(self, fd):
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, event, **facts):
        line = (to_json({"event": event, **facts}) + "\n").encode()
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]


class DeviceMemory:
    """The device allocator's statistics, `current` and `peak` in bytes."""

    def __init__(self, kind):
        import tensorflow as tf

        self.name = "GPU:0" if kind == "gpu" else "CPU:0"
        self._config = tf.config.experimental
        self._earlier_peak = 0
        self._reset = self._config.reset_memory_stats
        self._config.reset_memory_stats = self._reset_keeping_peak

    def _reset_keeping_peak(self, device):
        with contextlib.suppress(Exception):  # as in a trial that has hidden the device
            self._earlier_peak = self.read()["peak"]
        self._reset(device)

    def read(self):
        info = self._config.get_memory_info(self.name)
        return {"current": info["current"], "peak": max(info["peak"], self._earlier_peak)}

    def glance(self):
        """As `read`, but {} before TensorFlow has a device, which the first reading would create."""
        from tensorflow.python.eager import context

        ready = getattr(getattr(context, "_context", None), "_initialized", False)
        return self.read() if ready else {"current": 0, "peak": 0}


def main(folder, events_fd):
    """Run the request in `folder` and end this process. Called in a fresh fork of the launcher."""
    folder = TrialFolder(folder)
    events = Events(events_fd)
    request = pickle.loads(folder.request.read_bytes())
    sys.stdout, sys.stderr = _unbuffered(1), _unbuffered(2)
    fault_file = open(folder.faults, "w")  # noqa: SIM115 - open until the process ends
    faulthandler.enable(fault_file)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    faulthandler.register(signal.SIGUSR1, fault_file, chain=True)  # write down where it is, and end
    _adopt_environment(request)
    _limit_memory(request, folder)
    if request["device"] == "cpu":
        _limit_host_memory(request["spare"] + (request["limit"] or request["spare"]))
    Child(folder, events, request).run()


class Child:
    """The reader's code and what watches it: step clock, scopes, allocator statistics, recorder."""

    def __init__(self, folder, events, request):
        from .objects import Scopes
        from .steps import Shortening, StepClock

        self.folder, self.events, self.request = folder, events, request
        self.memory, self.scopes = DeviceMemory(request["device"]), Scopes()
        self.recorder = _recorder(self.scopes, request["profile"], folder)
        steps, self._cut = request["shorten_to"], ""
        self._shortening = Shortening(steps, self.recorder, self._end_shortened) if steps else None
        self.clock = StepClock(self._after_step, self.recorder, self._shortening, request["least_epochs"])
        self.in_use, self.peaks = [], []  # at the end of each step, and at most until then
        self.refusals = Refusals(self.folder, threading.get_ident(), request["patience"])
        self._finishing, self._pid = threading.Lock(), os.getpid()

    def run(self):
        """Run the reader's code and end this process."""
        self.clock.install()
        if self._shortening:
            self._shortening.install()
        self.scopes.install()
        if self.request["device"] == "cpu":
            from .copies import copy_arrays

            copy_arrays()
        _keep_generated_code(self.folder)
        _set_seed(self.request["seed"])
        if self.recorder:
            self.recorder.start()
        self.events.send("started")
        self.start = time.perf_counter()
        threading.Thread(target=self._sample, daemon=True).start()
        report = _with_room(execute.run)(self.folder, self.request["echo"])
        if self._shortening and report["status"] == "error" and self.clock.seconds:
            self._cut, report = report["error"]["type"], {"status": "ok"}
        _lift_host_memory_limit()  # what is left to do needs some, and the reader's code may have taken all
        self.finish(report)

    def _after_step(self):
        with contextlib.suppress(Exception):  # as in a trial that has hidden the device
            now = self.memory.glance()
            self.in_use.append(now["current"])
            self.peaks.append(now["peak"])
        if self.recorder:
            self.recorder.step()

    def _end_shortened(self, cut):
        self._cut = cut
        self.finish({"status": "ok"})

    def _shortened(self):
        """What a Record says about a shortened trial."""
        if not self._shortening:
            return {}
        done = self._shortening
        facts = {name: getattr(done, name) for name in ("round", "trainings", "batches", "evaluated")}
        notes = [CACHE] if self.recorder and self.recorder.fills_a_cache else []
        return {**facts, "cut": self._cut, "notes": notes}

    def _sample(self):
        """Report memory in use at intervals; end the trial if TensorFlow would keep waiting."""
        process = psutil.Process()
        while True:
            with contextlib.suppress(Exception):
                held = {"host": process.memory_info().rss, **self.memory.glance()}
                self.events.send("sample", steps=len(self.clock.seconds), **held)
            if self._shortening and self._shortening.is_overdue():
                self._end_shortened("time")
            if self.refusals.hopeless():
                self.finish(self.refusals.report())
            time.sleep(SAMPLE_SECONDS)

    def finish(self, report):
        """Send the report on how the trial ended, on the first call only, and end the process."""
        if os.getpid() != self._pid:  # a fork of the reader's own has come to its end
            os._exit(0)
        self._finishing.acquire()
        seconds = time.perf_counter() - self.start
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if report["status"] == "oom":
            failed = {"failed_in": self.scopes.failed_in, "building": self.scopes.building}
            report |= {"scopes": self.scopes.layers, **failed}
        report |= _final_reading(self.memory) | {
            "wall_seconds": seconds,
            "step_seconds": self.clock.seconds,
            "step_in_use": self.in_use,
            "step_peak_bytes": self.peaks,
            "batch_size": self.clock.batch_size,
            "evaluating": self.clock.evaluating,
            "recorded_to_end": bool(self.recorder and self.recorder.running),
            "samples_per_second": self.clock.samples_per_second(self.request["batch_size"]),
        }
        with contextlib.suppress(OSError):  # the reader's code may have closed the pipe, and any descriptor
            self.folder.report.write_text(to_json(report))
            self.events.send("done", **report)
        if self.recorder:  # after the report: to read a long record takes time and memory of the host
            failed = _save_record(self.recorder, self._shortened(), self.folder)
            if failed and report.get("peak") == 0:
                failed = {"no_timeline": "There is no timeline: nothing was allocated on the device."}
            with contextlib.suppress(OSError):
                self.events.send("recorded", **failed)
        os._exit(0)


class Refusals:
    """Whether TensorFlow waits for memory again and again within one call, with nothing else going on.

    Each op that is refused memory waits 10 s before it fails, and every op that was ready does so, one after
    another, before the error is raised: the update of a large model can take many minutes to fail.
    """

    def __init__(self, folder, thread_id, patience):
        self._folder, self._thread, self._patience = folder, thread_id, patience
        self._frame = None
        self._count = 0

    def hopeless(self):
        """Whether one call has been refused memory for over `patience` seconds with the process idle."""
        dumps = self._folder.dumps()
        now, frame = time.monotonic(), sys._current_frames().get(self._thread)
        if len(dumps) > self._count:
            if self._frame is not frame or self._frame is None:
                self._frame, self._since, self._cpu = frame, now, time.process_time()
            self._count, self._latest = len(dumps), now
        if self._frame is None or self._frame is not frame or now - self._latest > 15:
            self._frame = None
            return False
        waited = now - self._since
        return waited > self._patience and time.process_time() - self._cpu < 0.2 * waited

    def report(self):
        """The report on a trial that is ended for this reason."""
        waited = time.monotonic() - self._since
        return {
            "status": "oom",
            "error": {
                "type": "OutOfMemory",
                "message": "One op after another was refused memory and waited 10 s in vain: ended after "
                f"{waited:.0f} s. TensorFlow raises its error only when all ops that were ready have waited.",
                "frames": execute.readers_frames(reversed(list(traceback.walk_stack(self._frame)))),
            },
        }


def _recorder(scopes, profile, folder):
    """A Recorder (labkit.inside.recorder), or None if nothing is to be recorded."""
    if not profile:
        return None
    from .recorder import Recorder

    return Recorder(scopes, profile, folder.profile)


def _save_record(recorder, facts, folder):
    try:
        replace(recorder.stop(), **facts).save(folder.record)
    except Exception as e:
        return {"no_timeline": f"There is no timeline: {e}"}
    return {}


def _unbuffered(fd):
    """A text stream that shows every print at once, even one that does not end a line."""
    raw = io.FileIO(fd, "wb", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", write_through=True)


def _adopt_environment(request):
    """Take on the kernel's current directory, import path and environment, not those of the launcher."""
    with contextlib.suppress(OSError, TypeError):  # the kernel's own directory may have been deleted
        os.chdir(request["cwd"])
    sys.path[:] = request["path"]
    for name in request["unset"]:
        os.environ.pop(name, None)
    os.environ.update(request["environ"])
    with contextlib.suppress(OSError):  # if the host's memory runs out, this process should go first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _keep_generated_code(folder):
    """Have AutoGraph write what it generates to the trial's folder, which is removed after the trial.

    In the temporary directory it would stay: a trial ends without the exit handlers that remove it.
    """
    from tensorflow.python.autograph.pyct import loader

    in_folder = functools.partial(tempfile.NamedTemporaryFile, dir=folder.path)
    loader.tempfile = types.SimpleNamespace(**(vars(tempfile) | {"NamedTemporaryFile": in_folder}))


def _limit_memory(request, folder):
    """Limit the device's allocator; without a limit, have it keep statistics all the same."""
    mib = request["limit"] // MIB if request["limit"] else None
    os.environ["TF_BFC_MEMORY_DUMP"] = str(folder.dump_prefix)
    if request["device"] == "gpu":
        import tensorflow as tf

        # Otherwise TensorFlow takes all that it may have at once, as one region; the stand-in's regions grow.
        os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        if os.environ.get("LABKIT_AUTOTUNING", "").lower() in ("off", "0"):
            os.environ.update(without_autotuning(os.environ))
        if mib:
            gpu = tf.config.list_physical_devices("GPU")[0]
            limit_gpu(gpu, mib)
    else:
        mib = mib or max(1, request["spare"] // MIB)
        os.environ.update(
            CUDA_VISIBLE_DEVICES="-1",
            TF_CPU_ALLOCATOR_USE_BFC="true",
            TF_CPU_BFC_MEM_LIMIT_IN_MB=str(mib),
        )


def limit_gpu(gpu, mib):
    """Limit a GPU's allocator, and keep that limit whatever the reader's code sets.

    TensorFlow refuses to set memory growth, which is on in a trial, for a GPU that has a limit: that would
    end code that is right. A limit of the reader's own holds if it is smaller.
    """
    import tensorflow as tf
    from tensorflow.python.eager.context import Context

    tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=mib)])
    grow, configure = Context.set_memory_growth, Context.set_logical_device_configuration

    def set_growth(context, device, enable):
        if device.device_type != "GPU":
            grow(context, device, enable)

    def configured(context, device, parts):
        if device == gpu and len(parts) == 1 and (parts[0].memory_limit or 0) > mib:
            parts = [parts[0]._replace(memory_limit=mib)]
        configure(context, device, parts)

    Context.set_memory_growth, Context.set_logical_device_configuration = set_growth, configured


def without_autotuning(environ):
    """What has a GPU try out no algorithms in the first step (labkit.record.profiles.autotuning).

    Both switches were tried on an H200: benchmarks/results/gpu/nvidia-h200-first-step.txt.
    """
    flags = f"{environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
    return {"TF_CUDNN_USE_AUTOTUNE": "0", "XLA_FLAGS": flags.strip()}


def _limit_host_memory(more):
    """Have requests fail, as MemoryError, once the process has taken so many bytes more than now.

    A backstop for what grows faster than the server looks (labkit.process.server.Server.guard). RLIMIT_DATA
    counts private writable memory by its addresses, used or not: those of the device must not meet it, for
    TensorFlow crashes where it is refused them. On a GPU it is not set: CUDA reserves addresses for all of
    the device.
    """
    try:
        import resource

        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = int(status["VmData"].split()[0]) * 1024 + more
    except (ImportError, OSError, KeyError, ValueError):  # not Linux, or what stands in for it
        return
    resource.setrlimit(resource.RLIMIT_DATA, (limit if most < 0 else min(limit, most), most))


def _lift_host_memory_limit():
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _with_room(function):
    """The function with a frame so large that the frames of all calls in it lie in one piece of memory.

    CPython (3.11 on) keeps frames in chunks of 16 KiB, and unmaps the last one when its first frame ends.
    Code whose calls go to and fro across the end of a chunk has it mapped anew for each of them, and filled
    by page faults: two thirds of those of a trial that traces a Transformer came from there.
    """
    return types.FunctionType(function.__code__.replace(co_stacksize=ROOM), function.__globals__)


def _set_seed(seed):
    if seed is None:
        random.seed()
        np.random.seed()
        return
    import keras

    keras.utils.set_random_seed(seed)


def _final_reading(device_memory):
    try:
        return device_memory.glance()
    except Exception as e:  # the reader's code may have reconfigured the devices
        return {"current": None, "peak": None, "note": f"No memory statistics: {e}"}
