"""Scratch memory with which a GPU tries out algorithms, recognized in a record.

The first time that a convolution or a compiled step runs, cuDNN or XLA may try out several algorithms for it,
each with scratch memory of its own, and keep the fastest: XLA calls it autotuning. Later steps need none of
that. On an H200 a first step held 2 to 16 times what later ones did (benchmarks/results/gpu).
"""

import numpy as np


def tried_out(record):
    """Which allocations of a Record are such scratch memory, as a boolean array; on a CPU none is.

    They have no shape, are freed within their step, and their op makes more of them in that step than in
    another. The last ones, as many as in the step with the fewest, are what the chosen algorithm needs.
    """
    columns, steps = record.allocations, np.array(record.steps)
    found = np.zeros(len(columns["begin"]), dtype=bool)
    if "GPU" not in record.device or len(steps) < 2:
        return found
    step, freed = (np.searchsorted(steps, columns[name], side="right") for name in ("begin", "end"))
    whole = (columns["begin"] >= 0) & (columns["end"] >= 0) & (step < len(steps)) & _recorded(columns)
    bare = np.array([not shape for shape in record.shapes])[columns["shape"]]
    passing = whole & bare & (freed == step)
    for op in np.unique(columns["op"][passing]):
        of_op = columns["op"] == op
        present = np.unique(step[of_op & whole])
        counts = {int(number): int((passing & of_op & (step == number)).sum()) for number in present}
        for number, count in counts.items() if len(counts) > 1 else ():
            rows = np.flatnonzero(passing & of_op & (step == number))
            rows = rows[np.argsort(columns["begin"][rows])]
            found[rows[: count - min(counts.values())]] = True
    return found


def _recorded(columns):
    """Which are allocations of the record itself, not results that XLA places in a block."""
    return columns["inside"] < 0 if "inside" in columns else True
