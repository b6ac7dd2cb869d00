"""The command `timeline`: what a profile that TensorFlow wrote shows of the memory of a device."""

import json
import os

from ..errors import LabkitError
from ..sizes import counted, format_size

SPARKS = "▁▂▃▄▅▆▇█"
WIDTH, LAYERS, ROWS, TAIL = 72, 8, 12, 40


def add(add_command):
    """Add the command, with a function (name, run, help, example) that returns its parser."""
    summary = (
        "Show the memory over time of a profile that TensorFlow wrote, or a saved timeline: what is in use "
        "at the peak, by category, layer and tensor. Needs neither TensorFlow nor a GPU."
    )
    command = add_command("timeline", _timeline, summary, "python -m labkit timeline logs --device GPU:1")
    command.add_argument(
        "path",
        metavar="LOGDIR",
        help="a log folder (its newest profile is read), a *.xplane.pb or a saved timeline",
    )
    command.add_argument("--device", help="such as GPU:1; default: of the GPUs, the one with most events")
    command.add_argument(
        "--html", metavar="FILE", help="also write it as an interactive page that needs no network"
    )


def _timeline(arguments):
    timeline = _read(arguments.path, arguments.device)
    if arguments.html:
        _write(timeline, arguments.html)
    print(json.dumps(_facts(timeline), indent=2) if arguments.json else _text(timeline))
    return 0


def _write(timeline, path):
    try:
        timeline.to_html(path, label=timeline.device)
    except OSError as e:
        raise LabkitError(
            f"{path} cannot be written ({e.strerror}): give a file in a folder that exists."
        ) from None


def _read(path, device):
    """The Timeline at a path, whether TensorFlow or labkit wrote it."""
    from ..record.profile import read_profile
    from ..record.timeline import Timeline

    if os.path.isfile(path):
        try:
            with open(path, "rb") as file:
                is_zip = file.read(2) == b"PK"  # no profile, and perhaps Timeline.save()
        except OSError as e:
            raise LabkitError(f"{path} cannot be read: {e.strerror}.") from None
        if is_zip:
            timeline = Timeline.load(path)
            return timeline if device is None else timeline.on(device)
    return read_profile(path, device=device)


def _facts(timeline):
    """A Timeline as plain data."""
    rows = timeline.at_peak()
    return {
        "device": timeline.device,
        "allocator": timeline.allocator,
        "devices": {name: other.events for name, other in timeline.devices.items()},
        "covers": timeline.covers,
        "notes": timeline.notes,
        "events": timeline.events,
        "seconds": float(timeline.record.seconds[-1]),
        "peak_bytes": timeline.peak_bytes,
        "pool_bytes": timeline.pool_bytes,
        "held_bytes": timeline.held_bytes,
        "by_category": timeline.by_category(),
        "by_layer": [{"layer": layer, "bytes": size} for layer, size in timeline.by_layer().items()],
        "at_peak": [vars(row) for row in rows],
    }


def _text(timeline):
    peak, pool = timeline.peak_bytes, timeline.pool_bytes
    of_pool = f", {100 * peak / pool:.0f} % of the allocator's {format_size(pool)}" if pool else ""
    lines = [
        f"{timeline.device} ({timeline.allocator}): {counted(timeline.events, 'event')}, {timeline.covers}",
        f"peak {format_size(peak)}{of_pool}",
        "",
        _sparks(timeline.total()),
        "memory in use, from the first event to the last; full height is the peak",
        "",
        "In use at the peak:",
        *_shares(timeline.shares(), peak),
        "",
        "By layer:",
        *_shares(_layers(timeline), peak),
        "",
        *_largest(timeline),
    ]
    others = [f"{name} ({counted(other.events, 'event')})" for name, other in timeline.devices.items()]
    if len(others) > 1:
        lines += ["", f"Devices: {', '.join(others)}. Choose with --device."]
    return "\n".join([*lines, *([""] if timeline.notes else []), *timeline.notes])


def _sparks(total):
    """A curve as a line of characters, each the most of its part of the events."""
    count, top = min(WIDTH, len(total)), max(1, int(total.max()))
    parts = [total[len(total) * i // count : len(total) * (i + 1) // count].max() for i in range(count)]
    return "".join(SPARKS[min(len(SPARKS) - 1, len(SPARKS) * int(size) // top)] for size in parts)


def _layers(timeline):
    named = {layer: size for layer, size in timeline.by_layer().items() if layer}
    largest = dict(list(named.items())[:LAYERS])
    rest = len(named) - len(largest)
    if rest:
        largest[counted(rest, "more layer")] = sum(named.values()) - sum(largest.values())
    return largest | {"no layer": timeline.by_layer().get(None, 0)}


def _shares(sizes, whole):
    shown = {name: size for name, size in sizes.items() if size}
    return [
        f"  {format_size(size):>9}  {100 * size / max(1, whole):3.0f} %  {name}"
        for name, size in shown.items()
    ]


def _largest(timeline):
    rows = timeline.at_peak()
    lines = [f"The largest of {counted(len(rows), 'allocation')} in use at the peak:"]
    for row in rows[:ROWS]:
        tensor = " ".join(filter(None, [f"{row.dtype}{row.shape}", _tail(row.op)]))
        lines.append(f"  {format_size(row.bytes):>9}  {row.category:<11}  {row.layer or '-':<16}  {tensor}")
    return lines


def _tail(op):
    return op if len(op) <= TAIL else f"…{op[-TAIL:]}"
