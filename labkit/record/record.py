"""Record: everything known about the allocations of one trial, or of one recorded profile."""

import contextlib
import json
import os
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np

from ..errors import LabkitError
from ..machine import host_memory
from ..sizes import format_size

VERSION, READABLE = 2, (1, 2)
COLUMNS = ("begin", "end", "bytes", "requested", "address", "op", "thread", "shape", "dtype", "temp")


class Variable(NamedTuple):
    """A variable in a snapshot: the address of its values, its category, its path, its layer (or None).

    Or an array that a dataset holds, with a sentence instead of a path. shape and dtype are as in a Record.
    """

    address: int
    category: str
    path: str
    layer: str | None
    shape: str = ""
    dtype: str = ""


class Input(NamedTuple):
    """What an allocation without an op may hold: a sentence, its type and shape, None where it varies.

    source: the thread that makes it, "python" or "tf_data"
    """

    source: str
    name: str
    dtype: str
    shape: list
    item_bytes: int


@dataclass(frozen=True)
class Program:
    """A block of memory that XLA allocates for a compiled program, and what it places there.

    name      of the program, without numbers
    bytes     of the block
    results   {column: list}, of equal length: `op`, TensorFlow's name of the op that makes the result, or
              where `own` is true (XLA's own scratch memory) of the op that it is for; `users`, the names of
              the ops that need it; `shape`, `dtype`, `offset` in the block, `bytes`; `begin` and `end`,
              between which it is needed, counted in instructions in the order that XLA planned
    """

    name: str
    bytes: int
    results: dict


@dataclass(frozen=True)
class Record:
    """What the device's allocator did, event by event, and what is known about whom it did it for.

    A place is an index in the order of all events, from 0.

    allocations    {column: array}, of equal length, one row per allocation. `begin` and `end` are places,
                   -1 if outside the record; `bytes` as handed out, `requested` as requested; `address`;
                   `op`, `thread`, `shape`, `dtype` are indices into the tables below; `temp` is 1 for an
                   op's scratch memory
    ops, shapes, threads, dtypes   tables of strings, "" for none
    events         number of allocations and deallocations
    held_bytes     bytes in use before the first event
    seconds        time of each event, counted from the first
    began          start of the record in seconds since 1970, None if unknown
    first_event    seconds from `began` to the first event
    steps          places at which training steps ended
    snapshots_at   places at which snapshots of the variables were taken
    snapshots      a list of Variables for each of them
    inputs         Inputs: the arrays converted, and the elements of datasets
    scopes         {name scope of ops: layer}
    layers         [path, class, output shape] of each layer of each model, in order: the path is the names of
                   the models around it and its own
    optimizers     names of the optimizers, with which the names of their ops begin
    widest_sum_bytes   bytes per sample of the widest sum of three tensors or more
    scratch        of each gradient of a 3-D convolution: its op, and what
                   labkit.inside.objects.Objects.scratch_of_3d_gradients says of it
    moments        [place, name] where a loop began or ended: "training", "evaluation", "prediction" or
                   "other" from there on; "part" after a step of evaluation or prediction
    round          how many steps one round of the optimizer takes: more than one if it accumulates gradients
    trainings, batches, evaluated, cut   of a shortened trial (see labkit.inside.steps.Shortening): how often
                   `fit` was called, with how many batches in an epoch each time, likewise the batches that
                   were evaluated and predicted, and what ended it early: the type of an error, "time",
                   "trainings" (there were more), or ""
    programs       the Programs that XLA compiled
    allocator, device   the allocator's name, and its device, such as "GPU:0"
    pool_bytes     bytes that the allocator may hand out in all, None if unknown
    source         name of the profile file, "" for a trial's own
    starts         of a profile: places at which its whole steps began
    backward_at, backward_to   of a profile: places at which each backward pass began and ended
    covers, notes  of a profile: what it covers, in words, and sentences on what it does not say
    others         {device: Record} of the other devices of the same profile or trial
    """

    allocations: dict
    ops: list
    shapes: list
    threads: list
    dtypes: list
    events: int
    held_bytes: int
    seconds: np.ndarray
    first_event: float = 0.0
    began: float | None = None
    steps: list = field(default_factory=list)
    snapshots_at: list = field(default_factory=list)
    snapshots: list = field(default_factory=list)
    inputs: list = field(default_factory=list)
    scopes: dict = field(default_factory=dict)
    layers: list = field(default_factory=list)
    optimizers: list = field(default_factory=list)
    widest_sum_bytes: int = 0
    scratch: list = field(default_factory=list)
    moments: list = field(default_factory=list)
    round: int = 1
    trainings: int = 0
    batches: list = field(default_factory=list)
    evaluated: dict = field(default_factory=dict)
    cut: str = ""
    programs: list = field(default_factory=list)
    allocator: str = ""
    device: str = ""
    pool_bytes: int | None = None
    source: str = ""
    starts: list = field(default_factory=list)
    backward_at: list = field(default_factory=list)
    backward_to: list = field(default_factory=list)
    covers: str = ""
    notes: list = field(default_factory=list)
    others: dict = field(default_factory=dict)

    def save(self, path, view=None):
        """Write the record to a file, as NumPy arrays and JSON, so that loading it cannot run any code.

        view: what a Timeline adds, plain data; then the file is compressed.
        """
        arrays = {}
        plain = _pack(self, arrays, "")
        header = {"version": VERSION, "view": view, **plain}
        arrays["header"] = np.frombuffer(json.dumps(header, default=int).encode(), np.uint8)
        try:
            part = f"{os.fspath(path)}.part"
        except TypeError:
            raise LabkitError(f"{path!r} is not the path of a file.") from None
        try:
            with open(part, "wb") as file:
                (np.savez if view is None else np.savez_compressed)(file, **arrays)
            os.replace(part, path)
        except OSError as e:
            with contextlib.suppress(OSError):
                os.remove(part)
            raise LabkitError(f"{path} cannot be written: {e.strerror}.") from None

    @classmethod
    def load(cls, path):
        """Read a file that save() wrote. Raises LabkitError for any other."""
        return cls.load_with_view(path)[0]

    @classmethod
    def load_with_view(cls, path):
        """(record, view) of a file that save() wrote. Raises LabkitError for any other."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                _check_room(path, arrays)
                plain = json.loads(arrays["header"].tobytes())
                version, view = plain.pop("version"), plain.pop("view", None)
                if version not in READABLE:
                    raise LabkitError(
                        f"{path} is a record of version {version}, by another version of labkit: this one "
                        f"reads versions {READABLE[0]} to {READABLE[-1]}."
                    )
                return _unpack(plain, arrays, ""), view
        except LabkitError:
            raise
        except Exception as e:  # whatever zipfile, its decompressors and NumPy raise
            raise LabkitError(f"{path} cannot be read as a labkit record: {e or type(e).__name__}.") from None


def _check_room(path, arrays):
    """Raise LabkitError for a file that would unpack to more than half of the memory that is free."""
    size, room = sum(part.file_size for part in arrays.zip.infolist()), host_memory().available // 2
    if size > room:
        raise LabkitError(
            f"{path} would take {format_size(size)} of memory; {format_size(room)} may be used."
        )


def _pack(record, arrays, prefix):
    """The plain data of a record; its arrays are added to `arrays`, their names after the prefix."""
    plain = {f.name: getattr(record, f.name) for f in fields(Record)}
    arrays |= {f"{prefix}allocations.{name}": column for name, column in plain.pop("allocations").items()}
    arrays[f"{prefix}seconds"] = plain.pop("seconds")
    plain["programs"] = [vars(program) for program in record.programs]
    plain["others"] = {
        device: _pack(other, arrays, f"{prefix}{place}.")
        for place, (device, other) in enumerate(record.others.items())
    }
    return plain


def _unpack(plain, arrays, prefix):
    columns = {name: arrays[f"{prefix}allocations.{name}"] for name in COLUMNS}
    others = plain.pop("others", {})
    plain["programs"] = [Program(**program) for program in plain["programs"]]
    plain["snapshots"] = [[Variable(*row) for row in rows] for rows in plain["snapshots"]]
    plain["inputs"] = [Input(*row) for row in plain.get("inputs", [])]
    record = Record(allocations=columns, seconds=arrays[f"{prefix}seconds"], **plain)
    _check(record)
    others = {
        device: _unpack(other, arrays, f"{prefix}{place}.")
        for place, (device, other) in enumerate(others.items())
    }
    return replace(record, others=others)


def _check(record):
    """Raises ValueError for a record whose indices point nowhere."""
    columns, count = record.allocations, len(record.allocations["begin"])
    tables = {"op": record.ops, "thread": record.threads, "shape": record.shapes, "dtype": record.dtypes}
    bounds = {name: (0, len(table)) for name, table in tables.items()}
    bounds |= {"begin": (-1, record.events), "end": (-1, record.events), "bytes": (0, 2**62)}
    for name, column in columns.items():
        low, high = bounds.get(name, (-(2**63), 2**63))
        if column.shape != (count,) or column.dtype.kind not in "iu":
            raise ValueError(f"its column {name!r} is of another form")
        if count and not (low <= int(column.min()) and int(column.max()) < high):
            raise ValueError(f"its column {name!r} points outside")
    if record.seconds.shape != (record.events,) or record.seconds.dtype.kind != "f":
        raise ValueError("its times are of another form")
