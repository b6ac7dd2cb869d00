"""Record: all that is known of the allocations of one trial, or of one recorded profile."""

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
    """A variable as a snapshot found it: where its values are, its category, path and layer (or None)."""

    address: int
    category: str
    path: str
    layer: str | None


@dataclass(frozen=True)
class Program:
    """A block of memory that XLA takes for a compiled program, and what it puts there.

    name      of the program, without numbers
    bytes     of the block
    results   columns, equally long: `op` is TensorFlow's name of the op, or where `own` is true (XLA's own
              scratch memory) of the op that it is for; `users` are likewise the ops that need it; `shape`,
              `dtype`, `offset` in the block, `bytes`; `begin` and `end`, between which it is needed, count
              instructions in the order that XLA planned
    """

    name: str
    bytes: int
    results: dict


@dataclass(frozen=True)
class Record:
    """What the device's allocator did, event by event, and what is known of whom it did it for.

    A place is a number in the order of all events, from 0.

    allocations    {column: array}, equally long, a row for each allocation. `begin` and `end` are places,
                   -1 for what the record does not have; `bytes` as handed out, `requested` as asked for;
                   `address`; `op`, `thread`, `shape`, `dtype` point into the tables of these names; `temp` is
                   1 for an op's scratch memory
    ops, shapes, threads, dtypes   tables of texts, "" for none
    events         how many allocations and deallocations there are
    held_bytes     in use before the first event
    seconds        of each event, from the first one on
    began          start of the record in seconds since 1970, None if unknown
    first_event    seconds from `began` to the first event
    steps          places at which training steps ended
    snapshots_at   places at which snapshots of the variables were taken
    snapshots      for each a list of Variables
    scopes         {name scope of ops: layer}
    optimizers     names of the optimizers, which begin the names of their ops
    widest_sum_bytes   a sample's bytes of the widest sum of three tensors or more
    validates      whether `fit` was given validation data
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
    optimizers: list = field(default_factory=list)
    widest_sum_bytes: int = 0
    validates: bool = False
    programs: list = field(default_factory=list)

    def save(self, path):
        """Write it to a file, arrays as NumPy's and all else as JSON: reading it can run no code."""
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
        """Read what save() wrote. Raises LabkitError for another file."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                plain = json.loads(arrays["header"].tobytes())
                if plain.pop("version") != VERSION:
                    raise LabkitError("another version of labkit wrote it")
                columns = {name: arrays[f"allocations.{name}"] for name in COLUMNS}
                seconds = arrays["seconds"]
            plain["programs"] = [Program(**program) for program in plain["programs"]]
            plain["snapshots"] = [[Variable(*row) for row in rows] for rows in plain["snapshots"]]
            return cls(allocations=columns, seconds=seconds, **plain)
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as e:
            raise LabkitError(f"{path} cannot be read as a record of labkit: {e}.") from None
