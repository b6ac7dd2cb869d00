"""Read a file that TensorFlow's profiler wrote: every allocation of the device's allocator.

Each allocation and deallocation is an event, with its address, size, op and shape.
"""

from dataclasses import replace

import numpy as np

from ..errors import LabkitError
from .record import COLUMNS, Record
from .xla_programs import programs

# Indexed by DataType, in tensorflow/core/framework/types.proto
_DTYPES = (
    *("", "float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool"),
    *("qint8", "quint8", "qint32", "bfloat16", "qint16", "quint16", "uint16", "complex128", "float16"),
    *("resource", "variant", "uint32", "uint64"),
)
MARK = "labkit:"  # begins the names of the events with which a trial marks its steps and snapshots


def read(path):
    """The Record of a profile file (`*.xplane.pb`), as far as the file provides it.

    Raises LabkitError for a file that is not a profile, is cut off, or has no allocator events.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    try:
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
    except OSError as e:
        raise LabkitError(f"The profile {path} cannot be read: {e.strerror}.") from None
    except Exception:
        raise LabkitError(f"{path} is not a TensorFlow profile, or is cut off.") from None
    events, marks = [], []
    for plane in space.planes:
        _collect(plane, events, marks)
    if not events:
        raise LabkitError(
            f"The profile {path} has no allocator events. Record it with ProfilerOptions("
            "host_tracer_level=3), on a GPU or with TF_CPU_ALLOCATOR_USE_BFC=true in the environment."
        )
    events = sorted(_of_the_device(events), key=lambda event: event[0])
    return replace(_record(events, sorted(marks)), began=_began(space), programs=programs(space))


def _of_the_device(events):
    """Only the events of the first GPU's allocator, if any: pinned host memory has a BFC allocator too."""
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
    """Add a plane's allocator events, (picoseconds, is_allocation, thread, stats), and labkit's marks."""
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
    return "" if text == "(null)" else text  # as TensorFlow 2.18 writes it


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
    """{string: index}, the empty string first; `index` adds a new string at the end."""

    def __init__(self):
        super().__init__({"": 0})

    def index(self, text):
        return self.setdefault(text, len(self))


def _record(events, marks):
    rows, live = [], {}
    ops, shapes, threads, dtypes = _Table(), _Table(), _Table(), _Table()
    for place, (_, is_allocation, thread, stats) in enumerate(events):
        address = stats.get("addr", 0)
        if not is_allocation:
            row = live.pop(address, None)
            if row is None:  # allocated before the record began
                row = [-1, -1, stats.get("allocation_bytes", 0), 0, address, 0, 0, 0, 0, 0]
                rows.append(row)
            row[1] = place
            continue
        number = stats.get("data_type", 0)
        dtype = _DTYPES[number] if number < len(_DTYPES) else ""
        row = [
            place, -1, stats.get("allocation_bytes", 0), stats.get("requested_bytes", 0), address,
            ops.index(stats.get("tf_op", "")), threads.index(thread), shapes.index(stats.get("shape", "")),
            dtypes.index(dtype), stats.get("region_type") == "temp",
        ]  # fmt: skip
        live[address] = row
        rows.append(row)
    first = events[0][3]
    sign = 1 if events[0][1] else -1
    times = np.array([at for at, *_ in events], dtype=np.int64)
    places, moments = {"step": [], "snapshot": []}, []
    for at, kind in marks:
        place = int(np.searchsorted(times, at))
        places[kind].append(place) if kind in places else moments.append([place, kind])
    columns = np.array(rows, dtype=np.int64).T
    return Record(
        allocations=dict(zip(COLUMNS, columns, strict=True)),
        ops=list(ops),
        shapes=list(shapes),
        threads=list(threads),
        dtypes=list(dtypes),
        events=len(events),
        held_bytes=first.get("bytes_allocated", 0) - sign * first.get("allocation_bytes", 0),
        seconds=(times - times[0]) / 1e12,
        first_event=times[0] / 1e12,
        steps=places["step"],
        snapshots_at=places["snapshot"],
        moments=moments,
    )
