"""Inside the child process of a trial: set the limit, run the reader's code, report what happens.

The child tells its story as lines of JSON on a pipe: "started", then "sample" some times a second,
then "done". Whatever else becomes of the process, its launcher reports.
"""

import ast
import contextlib
import faulthandler
import io
import json
import os
import pickle
import random
import signal
import sys
import threading
import time
import traceback
import types
from pathlib import Path

from . import memory

SAMPLE_SECONDS = 0.1
OOM_MARKS = (
    "Dst tensor is not initialized",
    "RESOURCE_EXHAUSTED",
    "Out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
)


class Events:
    """The pipe to the kernel. Lines are whole: one writer at a time."""

    def __init__(self, fd):
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, event, **facts):
        line = (json.dumps({"event": event, **facts}) + "\n").encode()
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]


class DeviceMemory:
    """What the device allocator counts, `current` and `peak` in bytes."""

    def __init__(self, kind):
        import tensorflow as tf

        self.name = "GPU:0" if kind == "gpu" else "CPU:0"
        self._config = tf.config.experimental
        self._earlier_peak = 0
        self._reset = self._config.reset_memory_stats
        self._config.reset_memory_stats = self._reset_but_remember

    def _reset_but_remember(self, device):
        if self.name in str(device):
            self._earlier_peak = self.read()["peak"]
        self._reset(device)

    def read(self):
        info = self._config.get_memory_info(self.name)
        return {"current": info["current"], "peak": max(info["peak"], self._earlier_peak)}

    def glance(self):
        """As `read`, but nothing before TensorFlow has a device: the first reading would make one."""
        from tensorflow.python.eager import context

        ready = getattr(getattr(context, "_context", None), "_initialized", False)
        return self.read() if ready else {}


def main(folder, events_fd):
    """Run the request in `folder` and end this process. Called in a fresh fork of the launcher."""
    events = Events(events_fd)
    request = pickle.loads((Path(folder) / "request.pkl").read_bytes())
    sys.stdout, sys.stderr = _unbuffered(1), _unbuffered(2)
    fault_file = open(Path(folder) / "fault.txt", "w")  # noqa: SIM115 - open until the process ends
    faulthandler.enable(fault_file)
    faulthandler.register(signal.SIGUSR1, fault_file)
    _adopt_surroundings(request)
    _limit_memory(request, folder)

    from .scopes import Scopes
    from .steps import StepClock

    device_memory, scopes = DeviceMemory(request["device"]), Scopes()
    tracer = _tracer(scopes, request["profile"])
    clock = StepClock(tracer)
    clock.install()
    scopes.install()
    _set_seed(request["seed"])
    events.send("started", pid=os.getpid())
    sampler = threading.Thread(target=_sample, args=(events, device_memory, clock), daemon=True)
    start = time.perf_counter()
    sampler.start()
    if tracer:
        tracer.start()
        start = time.perf_counter()
    story = _train(request, folder)
    seconds = time.perf_counter() - start
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if tracer:
        story |= _keep_trace(tracer, folder)
    if story["status"] == "oom":
        story |= {"scopes": scopes.layers, "failed_in": scopes.failed_in}
    events.send(
        "done",
        **story,
        **_final_reading(device_memory),
        wall_seconds=seconds,
        step_seconds=clock.seconds,
        samples_per_second=clock.samples_per_second(request["batch_size"]),
    )
    os._exit(0)


def _tracer(scopes, profile):
    """A labkit.trace.Tracer; `profile`: False for none, True for the whole trial, or a number of steps."""
    if not profile:
        return None
    from .trace import Tracer

    return Tracer(scopes, None if profile is True else profile)


def _keep_trace(tracer, folder):
    try:
        record = tracer.stop()
        (Path(folder) / "timeline.pkl").write_bytes(pickle.dumps(record, protocol=5))
    except Exception as e:
        return {"no_timeline": f"There is no timeline: {e}"}
    return {}


def _unbuffered(fd):
    """A text stream whose every print is seen at once, also without a new line at its end."""
    raw = io.FileIO(fd, "wb", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", write_through=True)


def _adopt_surroundings(request):
    """The kernel's directory, import path and environment as they are now, not as the launcher began."""
    with contextlib.suppress(OSError):
        os.chdir(request["cwd"])
    sys.path[:] = request["path"]
    os.environ.update(request["environ"])
    with contextlib.suppress(OSError):  # if the machine's memory runs out, this process is to go first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit_memory(request, folder):
    """Cap the device's allocator; without a limit, let it count all the same."""
    mib = request["limit"] // memory.MIB if request["limit"] else None
    os.environ["TF_BFC_MEMORY_DUMP"] = str(Path(folder) / "dump")
    if request["device"] == "gpu":
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[0]
        if mib:
            configuration = [tf.config.LogicalDeviceConfiguration(memory_limit=mib)]
            tf.config.set_logical_device_configuration(gpu, configuration)
        else:
            tf.config.experimental.set_memory_growth(gpu, True)
    else:
        mib = mib or memory.host_memory().total // memory.MIB
        os.environ.update(
            CUDA_VISIBLE_DEVICES="-1",
            TF_CPU_ALLOCATOR_USE_BFC="true",
            TF_CPU_BFC_MEM_LIMIT_IN_MB=str(mib),
        )


def _set_seed(seed):
    if seed is None:
        random.seed()
        return
    import keras

    keras.utils.set_random_seed(seed)


def _sample(events, device_memory, clock):
    while True:
        with contextlib.suppress(Exception):
            events.send("sample", steps=len(clock.seconds), **device_memory.glance())
        time.sleep(SAMPLE_SECONDS)


def _final_reading(device_memory):
    try:
        return device_memory.read()
    except Exception as e:  # the reader's code may have reconfigured the devices
        return {"note": f"No memory figures: {e}"}


def _train(request, folder):
    """Run the reader's code. Returns the status, and the error as plain data."""
    try:
        result = _call(folder, request["echo"])
    except SystemExit as e:
        if e.code in (None, 0):
            return {"status": "ok"}
        return {"status": "error", "error": _describe(e)}
    except BaseException as e:
        return {"status": "oom" if _is_oom(e) else "error", "error": _describe(e)}
    return {"status": "ok", **_keep(result, folder)}


def _call(folder, echo):
    import cloudpickle

    with open(Path(folder) / "payload.pkl", "rb") as file:
        payload = cloudpickle.load(file)
    if callable(payload["train"]):
        return payload["train"](**payload["params"])
    return _execute(payload["train"], payload["filename"], payload["params"], echo)


def _execute(source, filename, variables, echo):
    """Run source as a notebook runs a cell; returns the value of a last line that is an expression."""
    module = types.ModuleType("__main__")
    module.__dict__.update(variables)
    sys.modules["__main__"] = module
    tree = ast.parse(source, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, filename, "exec"), module.__dict__)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), filename, "eval"), module.__dict__)
    if echo and value is not None:
        print(repr(value))
    return value


def _is_oom(error):
    import tensorflow as tf

    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return True
    return isinstance(error, tf.errors.OpError) and any(mark in str(error) for mark in OOM_MARKS)


def _describe(error):
    """An exception as plain data. The kernel has the reader's source, so lines are filled in there."""
    frames = [
        (frame.filename, frame.lineno, frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno, "<module>", error.text))
    return {"type": type(error).__name__, "message": str(error), "frames": frames}


def _keep(result, folder):
    """Leave the result where the kernel finds it, in types that need no TensorFlow to read."""
    if result is None:
        return {}
    try:
        with open(Path(folder) / "result.pkl", "wb") as file:
            _result_pickler(file).dump(result)
    except Exception as e:
        (Path(folder) / "result.pkl").unlink()
        said = f"`train` returned a {type(result).__name__}, which cannot leave the trial: {e}"
        return {"note": f"{said}. Return numbers or arrays."}
    return {}


def _result_pickler(file):
    import cloudpickle
    import keras
    import numpy as np
    import tensorflow as tf

    class ResultPickler(cloudpickle.Pickler):
        def reducer_override(self, value):
            if isinstance(value, tf.Tensor | tf.Variable | keras.Variable):
                return np.asarray, (np.asarray(value),)
            if isinstance(value, keras.callbacks.History):
                facts = {"history": value.history, "epoch": value.epoch, "params": value.params}
                return _namespace, (facts,)
            return super().reducer_override(value)

    return ResultPickler(file)


def _namespace(facts):
    return types.SimpleNamespace(**facts)
