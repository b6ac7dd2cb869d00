"""A record in which each block that XLA took for a compiled step is divided into what lies in it.

The allocator knows one allocation. In the record made here that block is gone, and in its place are the
results that XLA puts into it, each from the instruction that makes it to the last that needs it, and what of
the block is idle meanwhile: together, at each moment, the bytes of the block. The instructions come into the
order of events just before the block is given back, when the step's outputs have their memory too.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from .record import COLUMNS, Record

IDLE = "(idle in the block of a compiled step)"
SMALLEST = 1024  # bytes of a block that is worth dividing
ALIGNED = 256  # bytes: a block may be asked for rounded up to a multiple
FEEDING = ("python", "tf_data")  # threads of which what has no name is an array
MOST = 300_000  # rows made in all: in a training longer than that, the later steps' blocks stay whole


@dataclass(frozen=True)
class Unfolded(Record):
    """A Record with its blocks divided, the new rows after the old ones, with four columns more.

    inside   the row of the block that it lies in, or -1
    idle     whether it is (part of) a block where nothing lies, or of which it is not shown what
    own      whether it is scratch of XLA's own
    users    the ops that need it, as a place in the table `users`
    """

    users: list = field(default_factory=lambda: [()])


def unfold(record):
    """The Unfolded of a Record."""
    columns, tables = _with_room(record)
    blocks = {row: program for row, program in blocks_of(record).items() if program.bytes >= SMALLEST}
    columns["idle"][list(blocks)] = True
    ends, more = columns["end"].copy(), 0
    added = np.zeros(record.events + 1, dtype=np.int64)
    plans, rows, room = {}, [], MOST
    for i in sorted(blocks, key=lambda i: ends[i]):
        program = id(blocks[i])
        if program not in plans:
            plans[program] = _Plan(blocks[i], tables)
        plan = plans[program]
        room -= plan.rows
        if room >= 0:
            rows.append((i, plan, int(ends[i]) + more))
            added[ends[i]] += plan.moments
            more += plan.moments
    later = np.cumsum(added)
    for name in ("begin", "end"):
        known = columns[name] >= 0
        columns[name][known] += later[columns[name][known]]
    parts = [plan.placed(i, columns, start) for i, plan, start in rows]
    hidden = [i for i, _, _ in rows]
    columns["end"][hidden] = columns["begin"][hidden]
    joined = {name: np.concatenate([columns[name], *(part[name] for part in parts)]) for name in columns}
    at = np.repeat(np.arange(len(added)), added)
    seconds = record.seconds
    return Unfolded(
        **vars(record)
        | {name: list(table) for name, table in tables.items()}
        | {
            "allocations": joined,
            "events": record.events + int(added.sum()),
            "steps": [place + int(later[place]) for place in record.steps],
            "snapshots_at": [place + int(later[place]) for place in record.snapshots_at],
            "seconds": np.insert(seconds, at, seconds[np.minimum(at, len(seconds) - 1)]),
        }
    )


def of_block(record, program):
    """A Record of a single allocation, that of a program's block, in the model that `record` is of."""
    columns = dict.fromkeys(COLUMNS, 0) | {"end": 1, "bytes": program.bytes, "requested": program.bytes}
    return replace(
        record,
        allocations={name: np.array([value]) for name, value in columns.items()},
        ops=[""],
        shapes=[""],
        threads=["XLA"],
        dtypes=[""],
        events=2,
        held_bytes=0,
        steps=[],
        snapshots_at=[],
        seconds=np.zeros(2),
        programs=[program],
    )


def _with_room(record):
    """The columns and tables of a record, to be added to."""
    columns = {name: column.copy() for name, column in record.allocations.items()}
    count = len(columns["begin"])
    columns |= {name: np.zeros(count, dtype=np.int64) for name in ("idle", "own", "users")}
    columns["inside"] = np.full(count, -1)
    tables = {
        name: {text: i for i, text in enumerate(getattr(record, name))}
        for name in ("ops", "shapes", "dtypes")
    }
    return columns, tables | {"users": {(): 0}}


def blocks_of(record):
    """{row: program} of the allocations that are a compiled program's block.

    They are told by their size; and they have no shape, and are freed before the call has ended, which
    variables, and what a step gives back, are not.
    """
    columns, found = record.allocations, {}
    feeding = np.array([thread.startswith(FEEDING) for thread in record.threads])[columns["thread"]]
    plain = np.array([shape == "" for shape in record.shapes])[columns["shape"]]
    marks = np.sort([*record.steps, *record.snapshots_at])
    begun, ended = (np.searchsorted(marks, columns[name], "right") for name in ("begin", "end"))
    whole = (columns["begin"] >= 0) & (columns["end"] >= 0) & (begun == ended)
    maybe = plain & whole & ~(feeding & (columns["op"] == 0))
    for program in sorted(record.programs, key=lambda program: program.bytes):
        over = columns["requested"] - program.bytes
        found |= dict.fromkeys(np.flatnonzero(maybe & (over >= 0) & (over < ALIGNED)).tolist(), program)
    return found


class _Plan:
    """What lies in a program's block, moment by moment: one for each instruction that puts something."""

    def __init__(self, program, tables):
        results = program.results
        order = np.argsort(results["begin"], kind="stable")
        columns = ("begin", "end", "bytes", "offset", "own")
        self._results = {name: np.array(results[name])[order] for name in columns}
        begin, end = self._results["begin"], self._until_taken_over()
        moments = np.unique(begin)
        self.moments, self.rows = len(moments), len(begin) + len(moments) + 1
        self._begin, self._end = np.searchsorted(moments, begin), np.searchsorted(moments, end)
        live = np.zeros(self.moments + 1, dtype=np.int64)
        np.add.at(live, self._begin, self._results["bytes"])
        np.subtract.at(live, self._end, self._results["bytes"])
        self._live = np.cumsum(live[:-1])
        self._labels = {
            "op": _places(results["op"], tables["ops"])[order],
            "shape": _places(results["shape"], tables["shapes"])[order],
            "dtype": _places(results["dtype"], tables["dtypes"])[order],
            "users": _places(map(tuple, results["users"]), tables["users"])[order],
            "own": self._results["own"],
        }
        self._idle = _places([IDLE], tables["ops"])[0]

    def _until_taken_over(self):
        """Where each result ends: at the latest when XLA puts another into its bytes."""
        low, begin = self._results["offset"], self._results["begin"]
        high, end = low + self._results["bytes"], self._results["end"].copy()
        for i in range(1, len(low)):
            taken = (low[:i] < high[i]) & (high[:i] > low[i]) & (end[:i] > begin[i])
            end[:i][taken] = begin[i]
        return end

    def placed(self, block, columns, start):
        """The rows of one block: idle until the place `start`, where the program runs; then its results."""
        given, began = int(columns["bytes"][block]), int(columns["begin"][block])
        moments, count = np.arange(self.moments), len(self._begin)
        idle = np.concatenate([[given], given - self._live])
        rows = {name: np.zeros(self.rows, dtype=columns[name].dtype) for name in columns}
        rows["begin"] = np.concatenate([start + self._begin, [began], start + moments])
        rows["end"] = np.concatenate([start + self._end, [start], start + moments + 1])
        rows["bytes"] = np.concatenate([self._results["bytes"], idle])
        rows["requested"][:count] = self._results["bytes"]
        for name, places in self._labels.items():
            rows[name][:count] = places
        rows["op"][count:], rows["own"][count:], rows["idle"][count:] = self._idle, True, True
        rows["thread"][:], rows["inside"][:] = columns["thread"][block], block
        return rows


def _places(texts, table):
    return np.array([table.setdefault(text, len(table)) for text in texts], dtype=np.int64)
