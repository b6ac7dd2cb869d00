"""Divide each block that XLA allocated for a compiled step into the results that it holds.

The allocator sees a single allocation. The record made here has instead the results that XLA places in the
block, each from the instruction that makes it to the last that needs it, and whatever is idle in the block
meanwhile: together, at every point in time, the bytes of the block. The instructions are inserted into the
order of events just before the block is freed, when the step's outputs have been allocated too.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from .record import COLUMNS, Record

IDLE = "(idle in the block of a compiled step)"
SMALLEST = 1024  # bytes: a smaller block is not worth dividing
ALIGNED = 256  # bytes: the request for a block may be rounded up to a multiple
FEEDING = ("python", "tf_data")  # threads whose unnamed allocations are arrays
MOST = 300_000  # rows added in all: beyond that, the blocks of later steps stay whole


@dataclass(frozen=True)
class DividedRecord(Record):
    """A Record with its blocks divided, the new rows after the old ones, with four more columns.

    inside   row of the block that it lies in, or -1
    idle     whether it is an idle part of a block, or a whole block whose contents are not shown
    own      whether it is XLA's own scratch memory
    users    the ops that need it, as an index into the table `users`
    """

    users: list = field(default_factory=lambda: [()])


def divide_blocks(record):
    """The DividedRecord of a Record."""
    columns, tables = _extended(record)
    blocks = {row: program for row, program in blocks_of(record).items() if program.bytes >= SMALLEST}
    columns["idle"][list(blocks)] = True
    ends, inserted = columns["end"].copy(), 0
    added = np.zeros(record.events + 1, dtype=np.int64)
    plans, divided, rows_left = {}, [], MOST
    for i in sorted(blocks, key=lambda i: ends[i]):
        program = id(blocks[i])
        if program not in plans:
            plans[program] = _BlockPlan(blocks[i], tables)
        plan = plans[program]
        rows_left -= plan.rows
        if rows_left >= 0:
            divided.append((i, plan, int(ends[i]) + inserted))
            added[ends[i]] += plan.events
            inserted += plan.events
    shift = np.cumsum(added)
    for name in ("begin", "end"):
        known = columns[name] >= 0
        columns[name][known] += shift[columns[name][known]]
    contents = [plan.rows_of(i, columns, start) for i, plan, start in divided]
    replaced = [i for i, _, _ in divided]
    columns["end"][replaced] = columns["begin"][replaced]
    joined = {name: np.concatenate([columns[name], *(rows[name] for rows in contents)]) for name in columns}
    positions = np.repeat(np.arange(len(added)), added)
    seconds = record.seconds
    return DividedRecord(
        **vars(record)
        | {name: list(table) for name, table in tables.items()}
        | {
            "allocations": joined,
            "events": record.events + int(added.sum()),
            **{
                name: [place + int(shift[place]) for place in getattr(record, name)]
                for name in ("steps", "snapshots_at", "starts", "backward_at", "backward_to")
            },
            "moments": [[place + int(shift[place]), kind] for place, kind in record.moments],
            "seconds": np.insert(seconds, positions, seconds[np.minimum(positions, len(seconds) - 1)]),
        }
    )


def record_of_block(record, program):
    """A Record with a single allocation, a program's block, for the model that `record` is about."""
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
        starts=[],
        backward_at=[],
        backward_to=[],
        moments=[],
        seconds=np.zeros(2),
        programs=[program],
    )


def _extended(record):
    """Copies of a record's columns and tables, with the columns and the table of a DividedRecord."""
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
    """{row: program} for the allocations that are a compiled program's block.

    They are recognized by their size. They also have no shape, and are freed before the call ends, unlike
    variables and the outputs of a step.
    """
    columns, blocks = record.allocations, {}
    feeding = np.array([thread.startswith(FEEDING) for thread in record.threads])[columns["thread"]]
    shapeless = np.array([shape == "" for shape in record.shapes])[columns["shape"]]
    marks = np.sort([*record.steps, *record.snapshots_at])
    begun, ended = (np.searchsorted(marks, columns[name], "right") for name in ("begin", "end"))
    within_call = (columns["begin"] >= 0) & (columns["end"] >= 0) & (begun == ended)
    candidates = shapeless & within_call & ~(feeding & (columns["op"] == 0))
    for program in sorted(record.programs, key=lambda program: program.bytes):
        excess = columns["requested"] - program.bytes
        matching = candidates & (excess >= 0) & (excess < ALIGNED)
        blocks |= dict.fromkeys(np.flatnonzero(matching).tolist(), program)
    return blocks


def ends_of(results):
    """Where each result ends, in order of `begin`: at the latest when XLA places another in its bytes."""
    low, begin = results["offset"], results["begin"]
    high, end = low + results["bytes"], results["end"].copy()
    for i in range(1, len(low)):
        overwritten = (low[:i] < high[i]) & (high[:i] > low[i]) & (end[:i] > begin[i])
        end[:i][overwritten] = begin[i]
    return end


class _BlockPlan:
    """The contents of a program's block over time: an event for each instruction that places a result."""

    def __init__(self, program, tables):
        results = program.results
        order = np.argsort(results["begin"], kind="stable")
        columns = ("begin", "end", "bytes", "offset", "own")
        self._results = {name: np.array(results[name])[order] for name in columns}
        begin, end = self._results["begin"], ends_of(self._results)
        times = np.unique(begin)
        self.events, self.rows = len(times), len(begin) + len(times) + 1
        self._begin, self._end = np.searchsorted(times, begin), np.searchsorted(times, end)
        live = np.zeros(self.events + 1, dtype=np.int64)
        np.add.at(live, self._begin, self._results["bytes"])
        np.subtract.at(live, self._end, self._results["bytes"])
        self._live = np.cumsum(live[:-1])
        self._labels = {
            "op": _indices(results["op"], tables["ops"])[order],
            "shape": _indices(results["shape"], tables["shapes"])[order],
            "dtype": _indices(results["dtype"], tables["dtypes"])[order],
            "users": _indices(map(tuple, results["users"]), tables["users"])[order],
            "own": self._results["own"],
        }
        self._idle = _indices([IDLE], tables["ops"])[0]

    def rows_of(self, block, columns, start):
        """The rows of one block: idle until the place `start`, where the program runs; then its results."""
        size, allocated = int(columns["bytes"][block]), int(columns["begin"][block])
        times, count = np.arange(self.events), len(self._begin)
        idle = np.concatenate([[size], size - self._live])
        rows = {name: np.zeros(self.rows, dtype=columns[name].dtype) for name in columns}
        rows["begin"] = np.concatenate([start + self._begin, [allocated], start + times])
        rows["end"] = np.concatenate([start + self._end, [start], start + times + 1])
        rows["bytes"] = np.concatenate([self._results["bytes"], idle])
        rows["requested"][:count] = self._results["bytes"]
        for name, labels in self._labels.items():
            rows[name][:count] = labels
        rows["op"][count:], rows["own"][count:], rows["idle"][count:] = self._idle, True, True
        rows["thread"][:], rows["inside"][:] = columns["thread"][block], block
        return rows


def _indices(values, table):
    """Indices of values in a table, to which new ones are added."""
    return np.array([table.setdefault(value, len(table)) for value in values], dtype=np.int64)
