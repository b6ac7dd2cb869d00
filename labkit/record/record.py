"""Record: everything known about the allocations of one trial, or of one recorded profile."""

import json
import os
import zipfile
import zlib
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from ..errors import LabkitError

VERSION = 1
COLUMNS = ("begin", "end", "bytes", "requested", "address", "op", "thread", "shape", "dtype", "temp")


class Variable(NamedTuple):
    """A variable in a snapshot: the address of its values, its category, its path, its layer (or None)."""

    address: int
    category: str
    path: str
    layer: str | None


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
    scopes         {name scope of ops: layer}
    layers         [path, class, output shape] of each layer of each model, in order: the path is the names of
                   the models around it and its own
    optimizers     names of the optimizers, with which the names of their ops begin
    widest_sum_bytes   bytes per sample of the widest sum of three tensors or more
    scratch        of each gradient of a 3-D convolution: its op, and what
                   labkit.inside.recorder.scratch_of_3d_gradients says of it
    moments        [place, name] where a loop began or ended: "training", "evaluation", "prediction" or
                   "other" from there on; "part" after a step of evaluation or prediction
    round          how many steps one round of the optimizer takes: more than one if it accumulates gradients
    trainings, batches, cut   of a shortened trial (see labkit.inside.steps.Shortening): how often `fit` was
                   called, with how many batches in an epoch each time, and what ended it early: the type of
                   an error, "time", "trainings" (there were more), or ""
    programs       the Programs that XLA compiled
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
    scopes: dict = field(default_factory=dict)
    layers: list = field(default_factory=list)
    optimizers: list = field(default_factory=list)
    widest_sum_bytes: int = 0
    scratch: list = field(default_factory=list)
    moments: list = field(default_factory=list)
    round: int = 1
    trainings: int = 0
    batches: list = field(default_factory=list)
    cut: str = ""
    programs: list = field(default_factory=list)

    def save(self, path):
        """Write the record to a file, as NumPy arrays and JSON, so that loading it cannot run any code."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        del plain["allocations"], plain["seconds"]
        plain["programs"] = [vars(program) for program in self.programs]
        header = np.frombuffer(json.dumps({"version": VERSION, **plain}, default=int).encode(), np.uint8)
        columns = {f"allocations.{name}": column for name, column in self.allocations.items()}
        with open(f"{path}.part", "wb") as file:
            np.savez(file, header=header, seconds=self.seconds, **columns)
        os.replace(f"{path}.part", path)

    @classmethod
    def load(cls, path):
        """Read a file that save() wrote. Raises LabkitError for any other."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                plain = json.loads(arrays["header"].tobytes())
                if plain.pop("version") != VERSION:
                    raise LabkitError("it was written by another version of labkit")
                columns = {name: arrays[f"allocations.{name}"] for name in COLUMNS}
                seconds = arrays["seconds"]
            plain["programs"] = [Program(**program) for program in plain["programs"]]
            plain["snapshots"] = [[Variable(*row) for row in rows] for rows in plain["snapshots"]]
            return cls(allocations=columns, seconds=seconds, **plain)
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as e:
            raise LabkitError(f"{path} cannot be read as a labkit record: {e}.") from None
