"""Inside a trial: record every allocation of the device's allocator, and read the record.

TensorFlow's profiler writes an event for each allocation and deallocation, with its address, size, op and
shape. What it does not say is added here: which buffers are variables (by their addresses, looked up at the
start and end of the first steps), which layer each scope is, and where steps begin and end.
"""

import ctypes
import gc
import glob
import os
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from .errors import LabkitError
from .unfold import COLUMNS
from .xla import programs

SNAPSHOTS = 8
MARK = "labkit:"
_DTYPES = {number: tf.dtypes.as_dtype(number).name for number in range(1, 24)}


class Tracer:
    """Records from `start` to `stop`. Snapshots of variables, and steps, are marked as they come."""

    def __init__(self, scopes, profile):
        """profile: True for the whole trial, a number of steps, or a folder to keep TensorFlow's files in."""
        self._scopes = scopes
        self._steps_wanted = None if profile is True or isinstance(profile, str) else profile
        self._kept = isinstance(profile, str)
        self._folder = profile if self._kept else tempfile.mkdtemp(prefix="labkit-trace-")
        self._snapshots, self._steps = [], 0
        self.running = False

    def start(self):
        options = tf.profiler.experimental.ProfilerOptions(
            host_tracer_level=2,
            python_tracer_level=0,
            device_tracer_level=int(self._kept),  # a GPU's kernels: for TensorBoard, not for us
        )
        tf.profiler.experimental.start(self._folder, options)
        tf.profiler.experimental.start, self._start = _already_recording, tf.profiler.experimental.start
        self.running = True

    def before_call(self):
        """A tf.function is about to be called from outside any other."""
        if self.running and len(self._snapshots) < SNAPSHOTS:
            self.snapshot()

    def step(self):
        """A training step has just ended."""
        if not self.running:
            return
        self._steps += 1
        if len(self._snapshots) < SNAPSHOTS:
            self.snapshot()
        _mark("step")
        if self._steps == self._steps_wanted:
            self._finish()

    def snapshot(self):
        """Note at which addresses the variables are now."""
        self._snapshots.append(_variables())
        _mark("snapshot")

    def stop(self):
        """The record as plain data for labkit.timeline.Timeline."""
        try:
            if self.running:
                self.snapshot()
                self._finish()
            written = glob.glob(f"{self._folder}/**/*.xplane.pb", recursive=True)
            record = read(max(written, key=os.path.getmtime))
        finally:
            if not self._kept:
                shutil.rmtree(self._folder, ignore_errors=True)
        layers = set(self._scopes.layers.values())
        snapshots = [
            [(address, kind, path, _owner(path, layers)) for address, kind, path in snapshot]
            for snapshot in self._snapshots
        ]
        return record | {
            "snapshots": snapshots,
            "scopes": self._scopes.layers,
            "optimizers": optimizer_names(),
            "widest_sum": widest_sum(),
        }

    def _finish(self):
        self.running = False
        tf.profiler.experimental.stop()
        tf.profiler.experimental.start = self._start


def _mark(kind):
    with tf.profiler.experimental.Trace(MARK + kind):
        pass


def _already_recording(*args, **kwargs):
    raise LabkitError(
        "This trial is being profiled by labkit already, and TensorFlow can record one profile at a time. "
        "Run it without profile=True to record your own."
    )


def optimizer_names():
    """Names of the optimizers alive, which begin the names of their ops."""
    return sorted({o.name for o in gc.get_objects() if isinstance(o, keras.optimizers.Optimizer)})


def widest_sum():
    """Bytes a row of the widest sum of three tensors or more: the gradient of what is used three times."""
    graphs = [o for o in gc.get_objects() if isinstance(o, tf.Graph)]
    sums = [op for graph in graphs for op in graph.get_operations() if op.type == "AddN"]
    outputs = [op.outputs[0] for op in sums if len(op.inputs) > 2 and op.outputs[0].shape.rank]
    return max((t.dtype.size * (t.shape[1:].num_elements() or 0) for t in outputs), default=0)


def _variables():
    """(address, category, path) of each variable that Keras or anybody else holds now."""
    found, seen = [], set()
    objects = gc.get_objects()
    optimizers = [o for o in objects if isinstance(o, keras.optimizers.Optimizer)]
    metrics = [o for o in objects if isinstance(o, keras.metrics.Metric)]
    kinds = {id(v): "optimizer" for o in optimizers for v in o.variables}
    kinds |= {id(v): "other" for m in metrics for v in m.variables}
    for variable in (o for o in objects if isinstance(o, keras.Variable)):
        if variable._value is not None:
            kind = kinds.get(id(variable), "weights")
            if variable.name.endswith("gradient_accumulator"):
                kind = "gradients"
            seen.add(id(variable.value))
            found.append((_address(variable.value), kind, variable.path))
    for variable in (o for o in objects if isinstance(o, tf.Variable) and id(o) not in seen):
        found.append((_address(variable), "weights", variable.name.partition(":")[0]))
    return [row for row in found if row[0]]


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p)]  # what follows is not needed


def _address(variable):
    """Where a variable's values are, on whatever device; None if that cannot be told."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    try:
        capsule = tf.experimental.dlpack.to_dlpack(tf.convert_to_tensor(variable))
        return _DLTensor.from_address(pointer(capsule, b"dltensor")).data
    except Exception:  # a string, a variable not yet given a value
        return None


def _owner(path, layers):
    """The layer, as the summary names it, of a variable by its path; slots name theirs with underscores."""
    parts = path.split("/")
    for part in parts:
        if part in layers:
            return part
    tail = f"_{parts[-1]}_"
    return max((name for name in layers if f"_{name}_" in tail), key=len, default=None)


def read(path):
    """The allocations in a profile file (`*.xplane.pb`) as columns, in the order in which they happened.

    Returns a dict: "allocations" (a dict of equally long arrays: `begin` and `end` are places in the order
    of all events, -1 for an end that is not in the record), "ops", "shapes", "threads" (tables that columns
    point into), "events" (their number), "held" (bytes in use before the first event), "steps" and
    "snapshots_at" (places in the order), "seconds" (of each event, from the record's start), "began" (its
    start, in seconds since 1970, or None), "programs" (what XLA compiled, see labkit.xla).

    Raises LabkitError for a file that is no profile, is cut off, or has no allocator's events.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    try:
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
    except OSError as e:
        raise LabkitError(f"The profile {path} cannot be read: {e.strerror}.") from None
    except Exception:
        raise LabkitError(f"{path} is no profile of TensorFlow's, or is cut off.") from None
    events, marks = [], []
    for plane in space.planes:
        _collect(plane, events, marks)
    if not events:
        raise LabkitError(
            f"The profile {path} has no events of an allocator. Record it with ProfilerOptions("
            "host_tracer_level=3), on a GPU or with TF_CPU_ALLOCATOR_USE_BFC=true in the environment."
        )
    events = sorted(_of_the_device(events), key=lambda event: event[0])
    return _columns(events, sorted(marks)) | {"began": _began(space), "programs": programs(space)}


def _of_the_device(events):
    """The events of the first GPU's allocator if there is one: pinned host memory has a BFC allocator too."""
    names = {stats.get("allocator_name", "") for *_, stats in events}
    gpu = min((name for name in names if name.startswith("GPU_")), default=None)
    return [event for event in events if gpu is None or event[3].get("allocator_name") == gpu]


def _began(space):
    for plane in space.planes:
        for stat in plane.stats:
            if plane.stat_metadata[stat.metadata_id].name == "profile_start_time":
                return stat.uint64_value / 1e9
    return None


def _collect(plane, events, marks):
    """Add a plane's allocator events, as (picoseconds, is_allocation, thread, stats), and our marks."""
    stat_ids = {metadata.name: number for number, metadata in plane.stat_metadata.items()}
    wanted = {stat_ids[name]: name for name in _READERS if name in stat_ids}
    texts = {number: metadata.name for number, metadata in plane.stat_metadata.items()}
    kinds = {number: metadata.name for number, metadata in plane.event_metadata.items()}
    for line in plane.lines:
        for event in line.events:
            kind = kinds[event.metadata_id]
            if kind in ("MemoryAllocation", "MemoryDeallocation"):
                stats = {}
                for stat in event.stats:
                    name = wanted.get(stat.metadata_id)
                    if name:
                        stats[name] = _READERS[name](stat, texts)
                at = line.timestamp_ns * 1000 + event.offset_ps
                events.append((at, kind == "MemoryAllocation", line.name, stats))
            elif kind.startswith(MARK):
                marks.append((line.timestamp_ns * 1000 + event.offset_ps, kind[len(MARK) :]))


def _number(stat, texts):
    return stat.int64_value or stat.uint64_value


def _text(stat, texts):
    text = texts[stat.ref_value] if stat.ref_value else stat.str_value
    return "" if text == "(null)" else text  # as TensorFlow 2.18 says it


_READERS = {
    "allocator_name": _text,
    "allocation_bytes": _number,
    "requested_bytes": _number,
    "bytes_allocated": _number,
    "addr": _number,
    "data_type": _number,
    "tf_op": _text,
    "region_type": _text,
    "shape": _text,
}


class _Table(dict):
    """Texts, each once, the empty one first; `place` says where."""

    def __init__(self):
        super().__init__({"": 0})

    def place(self, text):
        return self.setdefault(text, len(self))


def _columns(events, marks):
    rows, live = [], {}
    ops, shapes, threads, dtypes = _Table(), _Table(), _Table(), _Table()
    for place, (_, is_allocation, thread, stats) in enumerate(events):
        address = stats.get("addr", 0)
        if not is_allocation:
            row = live.pop(address, None)
            if row is None:  # held since before the record
                row = [-1, -1, stats.get("allocation_bytes", 0), 0, address, 0, 0, 0, 0, 0]
                rows.append(row)
            row[1] = place
            continue
        dtype = _DTYPES.get(stats.get("data_type", 0), "")
        row = [
            place, -1, stats.get("allocation_bytes", 0), stats.get("requested_bytes", 0), address,
            ops.place(stats.get("tf_op", "")), threads.place(thread), shapes.place(stats.get("shape", "")),
            dtypes.place(dtype), stats.get("region_type") == "temp",
        ]  # fmt: skip
        live[address] = row
        rows.append(row)
    first = events[0][3]
    sign = 1 if events[0][1] else -1
    moments = np.array([at for at, *_ in events], dtype=np.int64)
    places = {"step": [], "snapshot": []}
    for at, kind in marks:
        places[kind].append(int(np.searchsorted(moments, at)))
    columns = np.array(rows, dtype=np.int64).T
    return {
        "allocations": dict(zip(COLUMNS, columns, strict=True)),
        "ops": list(ops),
        "shapes": list(shapes),
        "threads": list(threads),
        "dtypes": list(dtypes),
        "events": len(events),
        "held": first.get("bytes_allocated", 0) - sign * first.get("allocation_bytes", 0),
        "steps": places["step"],
        "snapshots_at": places["snapshot"],
        "seconds": (moments - moments[0]) / 1e12,
        "first_event": moments[0] / 1e12,
        "snapshots": [],
        "scopes": {},
        "optimizers": [],
        "widest_sum": 0,
        "validates": False,
    }
