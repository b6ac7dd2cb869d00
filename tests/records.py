"""Records made by hand, for figures and pages whose every number is known."""

import numpy as np

import labkit
from labkit.record.record import Record

MIB = 2**20
HOSTILE = [
    "<img src=x onerror=\"document.title='broken'\">",
    "</script><script>document.title='broken'</script>",
    "all others",
    "$\\frac{a}$ & ${b} `c` %s {0}",
    "'\"><svg onload=alert(1)>",
    "слой " + "long" * 60,
]


def timeline(blocks, limit=None, refused=None, steps=(), layers=(), held=0, events=None):
    """The Timeline of blocks (begin, end, bytes, layer, op), whose layers, or None, are scopes of their ops.

    end: -1 for a block that is never freed
    """
    layers = list(layers) or list(dict.fromkeys(layer for *_, layer, _ in blocks if layer))
    ops = [f"scope{layers.index(layer)}/{op}" if layer else op for *_, layer, op in blocks]
    names = list(dict.fromkeys(ops))
    count = len(blocks)
    numbers = np.arange(count)
    columns = {
        "begin": np.array([begin for begin, *_ in blocks]),
        "end": np.array([end for _, end, *_ in blocks]),
        "bytes": np.array([size for _, _, size, *_ in blocks]),
        "requested": np.array([size - 12 for _, _, size, *_ in blocks]),
        "address": 4096 * numbers,
        "op": np.array([names.index(op) for op in ops] if count < 1000 else numbers % len(names)),
        "shape": numbers % 2,
        **{name: np.zeros(count, int) for name in ("thread", "dtype", "temp")},
    }
    last = 1 + max(max(begin, end) for begin, end, *_ in blocks)
    record = Record(
        allocations=columns, ops=names, shapes=["[2,3]", ""], threads=[""], dtypes=["float32"],
        events=events or last, held_bytes=held, seconds=np.arange(events or last) / 1000,
        steps=list(steps), scopes={f"scope{n}": layer for n, layer in enumerate(layers)},
    )  # fmt: skip
    return labkit.Timeline(record, limit, refused)


def crash():
    """Six layers with hostile names; at the highest point, the last event, 30 MiB are refused."""
    blocks = [(n, -1, (n + 1) * MIB, layer, f"Conv{n}") for n, layer in enumerate(HOSTILE)]
    return timeline(blocks, limit=40 * MIB, refused=30 * MIB)


def step():
    """Three layers up and down again, with a peak in the middle."""
    blocks = [(0, 9, 4 * MIB, "last", "A"), (1, 8, 10 * MIB, "first", "B"), (2, 7, 3 * MIB, "middle", "C"),
              (3, 4, 20 * MIB, "first", "D"), (5, 6, 2 * MIB, None, "E")]  # fmt: skip
    return timeline(blocks, limit=1000 * MIB, layers=["first", "middle", "last"], events=12)


def many(events=10_000):
    """As many events, each second one the end of the block before, with a long name for each block."""
    blocks = [
        (n, n + 1 if n % 4 else -1, 1000 + n, HOSTILE[n % 6], f"Op{n}/" + "name" * 20)
        for n in range(0, events, 2)
    ]
    return timeline(blocks, limit=400 * MIB)


def spikes(count=3000):
    """Blocks that come and go, one of them three times as large: more of them than a page has pixels."""
    blocks = [(2 * n, 2 * n + 1, (3 if n == count // 2 + 1 else 1) * MIB, None, "Op") for n in range(count)]
    return timeline([*blocks, (2 * count, -1, 2 * MIB, "last", "Kept")])
