"""Read a file that TensorFlow's profiler wrote: every allocation of each device's allocator.

Each allocation and deallocation is an event, with its address, size, op and shape.
"""

import collections
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import LabkitError
from ..sizes import counted
from .opnames import kind_of, optimizers_in, scopes_in
from .profiles import folders
from .profiles.events import Events, breaks, grown, in_use, is_allocation
from .profiles.steps import steps_of
from .profiles.wire import Malformed
from .profiles.xspace import Space, number, text
from .record import COLUMNS, Record
from .timeline import Timeline
from .xla_programs import programs

# Indexed by DataType, in tensorflow/core/framework/types.proto
_DTYPES = (
    *("", "float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool"),
    *("qint8", "quint8", "qint32", "bfloat16", "qint16", "quint16", "uint16", "complex128", "float16"),
    *("resource", "variant", "uint32", "uint64", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e4m3b11fnuz", "float8_e5m2fnuz", "int4", "uint4", "int2", "uint2", "float4_e2m1fn"),
)
_OLD_NAMES = {"float": "float32", "double": "float64", "half": "float16"}
LONGEST = 1000  # characters of an op's name that are looked at
MARK = "labkit:"  # begins the names of the events with which a trial marks its steps and snapshots
_NO_EVENTS = (
    "The profile {} {}has no allocator events. A GPU's allocator writes them, unless "
    "TF_GPU_ALLOCATOR=cuda_malloc_async replaces it; the CPU's only with TF_CPU_ALLOCATOR_USE_BFC=true in "
    "the environment before TensorFlow starts; both only with ProfilerOptions(host_tracer_level=2), which "
    f"is the default, or 3. {folders.HOW_TO_RECORD}."
)


def read_profile(path, *, device=None):
    """The Timeline of a device, from a profile that TensorFlow wrote; reading it needs no TensorFlow.

    path     of a `*.xplane.pb` file, or of a log folder: then of the newest profile in it
    device   such as "GPU:4", or 4, or the name of an allocator; by default a GPU, the one with most events

    `timeline.devices` has the others, `timeline.covers` and `timeline.notes` what the profile does not show.
    Raises LabkitError for a file that is not a profile, is cut off or has no allocator events, for a folder
    without one, and for a device that is not in it.

    >>> timeline = read_profile("logs")
    >>> timeline.device, timeline.covers
    ('GPU:0', 'whole steps 1 to 3')
    """
    record = read(path)
    timeline = Timeline(record, record.pool_bytes)
    return timeline if device is None else timeline.on(device)


def read(path):
    """The Record of the device with most to tell in a profile (`*.xplane.pb`); `others` has the others.

    path: of a file, or of a log folder: then of the newest profile in it, with the files of all its hosts.
    Raises LabkitError for a file that is not a profile, is cut off or has no allocator events, and for a
    folder without one.
    """
    files, elsewhere = folders.files_of_newest(path)
    records, failures = [], []
    for file in files:
        try:
            records += _records(file, host=_host(file) if len(files) > 1 else "")
        except LabkitError as e:
            failures.append(e)
    if not records:
        raise failures[0]
    records.sort(key=_most_to_tell, reverse=True)
    first, *others = _told_apart(records)
    notes = [f"Left out: {failure}" for failure in failures]
    if elsewhere:
        notes.append(f"The newest profile there is read, and {counted(elsewhere, 'older file')} left out.")
    return replace(first, notes=[*first.notes, *notes], others={other.device: other for other in others})


def _told_apart(records):
    """The records, with the allocator in the name of a device that has several."""
    seen = set()
    for record in records:
        named = f"{record.device} ({record.allocator})" if record.device in seen else record.device
        seen.add(record.device)
        yield replace(record, device=named)


def _host(file):
    return re.sub(r"\.xplane\.pb(\.gz)?$", "", file.name)


def _most_to_tell(record):
    """Sorts devices: GPUs before CPUs, and pinned host memory last; then by number of events, then bytes."""
    kind = ("host", "CPU", "GPU").index(_kind(record.allocator))
    return kind, record.events, int(record.allocations["requested"].sum())


def _kind(allocator):
    name = allocator.lower()
    if "host" in name:
        return "host"
    return "GPU" if re.match(r"(gpu|device|tpu|xla_gpu|cuda)\D*[0-9]", name) else "CPU"


def _device(allocator):
    """The device of an allocator: "GPU:4" of GPU_4_bfc; of pinned host memory, the allocator's own name."""
    kind = _kind(allocator)
    if kind == "GPU":
        return f"GPU:{int(re.search(r'[0-9]+', allocator).group())}"
    return "CPU:0" if kind == "CPU" else allocator


def _records(path, host):
    """A Record for each allocator in a file. host: of several, to tell their devices apart."""
    data = folders.contents(path)
    try:
        space = Space(data)
        events = Events(space, MARK)
    except (Malformed, TypeError, OverflowError):
        raise LabkitError(
            f"{path} is not a TensorFlow profile, or is cut off: copy it again, or record another."
        ) from None
    if not events.of_allocators:
        raise LabkitError(_NO_EVENTS.format(path, "" if data else "is empty: it "))
    compiled = programs(space)
    records = []
    for allocator, own in events.of_allocators.items():
        device = " ".join(filter(None, [host, _device(allocator)]))
        named = {"allocator": allocator, "device": device, "source": Path(path).name, "programs": compiled}
        marks = [mark._replace(at=mark.at - own[0].at) for mark in events.steps]
        records.append(_completed(replace(_record(own, events), **named), marks))
    return records


def _completed(record, marks):
    """A record with what the names of its ops tell: layers, optimizers, steps.

    marks: events that tell the number of a step, their times counted from the first of the record
    """
    columns = record.allocations
    sizes = collections.Counter()
    for op, size in zip(columns["op"].tolist(), columns["bytes"].tolist(), strict=True):
        sizes[record.ops[op]] += size
    for results in (program.results for program in record.programs):
        for op, size in zip(results["op"], results["bytes"], strict=True):
            sizes[op] += size
    del sizes[""]
    optimizers = optimizers_in(sizes)
    kinds = np.array([kind_of(op, optimizers) for op in record.ops])[columns["op"]]
    steps = steps_of(record, _spans(record), marks, kinds)
    return replace(
        record,
        scopes=scopes_in(sizes),
        optimizers=optimizers,
        starts=steps.starts,
        steps=steps.ends,
        backward_at=[first for first, _ in steps.backward],
        backward_to=[last for _, last in steps.backward],
        covers=steps.covers,
        notes=[*record.notes, *steps.notes],
    )


def _spans(record):
    """[(start, end)] of the steps that labkit itself has marked."""
    calls = [place for place in record.snapshots_at if record.steps and place <= record.steps[0]]
    starts = [calls[-2] if len(calls) > 1 else 0, *record.steps[:-1]]
    return list(zip(starts, record.steps, strict=False))


class _Table(dict):
    """{string: index}, the empty string first; `index` adds a new string at the end."""

    def __init__(self):
        super().__init__({"": 0})

    def index(self, text):
        return self.setdefault(text, len(self))


def _record(events, profile):
    """The Record of one allocator's events. profile: the Events that they are from."""
    rows, tables = _rows(events)
    first = events[0]
    times = [event.at for event in events]
    began, origin = _began(profile, times[0])
    seconds = np.array([(at - times[0]) / 1e12 for at in times])
    places, moments = {"step": [], "snapshot": []}, []
    for mark in sorted(profile.marks, key=lambda mark: mark.at):
        place = int(np.searchsorted(seconds, (mark.at - times[0]) / 1e12))
        kind = mark.name.removeprefix(MARK)
        places[kind].append(place) if kind in places else moments.append([place, kind])
    lost = breaks(events) if any(map(in_use, events)) else 0
    free = number(first.stats, "bytes_reserved") + number(first.stats, "bytes_available")
    return Record(
        allocations=dict(zip(COLUMNS, np.array(rows, dtype=np.int64).T, strict=True)),
        **{name: list(table) for name, table in tables.items()},
        events=len(events),
        held_bytes=max(0, in_use(first) - grown(first)),
        seconds=np.maximum.accumulate(seconds),
        began=began,
        first_event=(times[0] - origin) / 1e12,
        steps=places["step"],
        snapshots_at=places["snapshot"],
        pool_bytes=in_use(first) + free if "bytes_available" in first.stats else None,
        notes=[f"Events are missing in {counted(lost, 'place')}: the profiler lost them."] if lost else [],
        moments=moments,
    )


def _began(profile, first):
    """(start of the profile in seconds since 1970 or None, in picoseconds what its times count from)."""
    if first > ABSOLUTE:
        began = profile.began or first
        return began / 1e12, began
    return (profile.began / 1e12 if profile.began else None), 0


ABSOLUTE = 10**9 * 10**12  # picoseconds: times above it, 31 years, count from 1970


def _rows(events):
    """(rows in the order of COLUMNS, tables of strings) of one allocator's events."""
    rows, live = [], {}
    tables = {name: _Table() for name in ("ops", "threads", "shapes", "dtypes")}
    for place, event in enumerate(events):
        stats = event.stats
        address = number(stats, "addr", "address")
        previous = live.pop(address, None)
        if is_allocation(event):
            row = _row(place, address, event, tables)
            live[address] = row
            rows.append(row)
            if previous:  # its deallocation is missing
                previous[1] = place
        elif previous:
            previous[1] = place
        else:  # allocated before the record began
            rows.append([-1, place, number(stats, "allocation_bytes"), 0, address, 0, 0, 0, 0, 0])
    return rows, tables


def _row(place, address, event, tables):
    stats = event.stats
    requested = number(stats, "requested_bytes")
    indices = [
        tables["ops"].index(text(stats, "tf_op")[:LONGEST]),
        tables["threads"].index(event.line),
        tables["shapes"].index(text(stats, "shape", "tensor_shapes")),
        tables["dtypes"].index(_dtype(stats)),
    ]
    size = number(stats, "allocation_bytes") or requested
    return [place, -1, size, requested, address, *indices, int(text(stats, "region_type") == "temp")]


def _dtype(stats):
    """The type of an allocation's elements, told by its number or by its name."""
    index = number(stats, "data_type")
    if index:
        return _DTYPES[index] if 0 < index < len(_DTYPES) else ""
    name = text(stats, "data_type").lower().removeprefix("dt_")
    return _OLD_NAMES.get(name, name) if name.isidentifier() and name != "invalid" else ""
