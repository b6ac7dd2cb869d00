"""Lesson 06: a PyDataset that yields another half of the rows each time, and a row order for a slow disk."""

from ..sizes import counted
from .core import Exercise, run

SIZES = ((201, 32), (128, 32), (40, 32))  # rows, batch size: half of the rows is 3.1, 2 and 0.6 batches


def two_epochs(answer):
    """What the reader's class yields in two epochs of each size; `fit` must accept it too."""
    import numpy as np

    found = []
    for rows, batch_size in SIZES:
        X = np.arange(rows, dtype="float32")[:, None] * np.ones(3, "float32")
        dataset = answer(X, np.arange(rows), batch_size)
        first = _epoch(dataset)
        dataset.on_epoch_end()
        found.append({"rows": rows, "batch_size": batch_size, "epochs": [first, _epoch(dataset)]})
    _fit(answer)
    return found


def _epoch(dataset):
    """The batches of an epoch: (row numbers from X, row numbers from y) of each."""
    import numpy as np

    getattr(dataset, "on_epoch_begin", lambda: None)()
    made = [dataset[index] for index in range(len(dataset))]
    return [(np.asarray(X)[:, 0].tolist(), np.asarray(y).tolist()) for X, y in made]


def _fit(answer):
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    X = np.ones((100, 3), "float32")
    model.fit(answer(X, X[:, 0], 32, workers=2), epochs=2, verbose=0)


def _judge_class(answer):
    tried = run(two_epochs, answer=answer)
    if not tried.ok:
        return f"It ended with status {tried.status!r}: {tried.error}"
    return next(filter(None, map(_epochs_wrong, tried.result)), None)


def _epochs_wrong(yielded):
    rows, batch_size = yielded["rows"], yielded["batch_size"]
    here = f"With {rows} rows in batches of {batch_size}"
    for batches in yielded["epochs"]:
        sizes = [len(X) for X, _ in batches]
        if 0 in sizes:
            return f"{here}, one of the batches of an epoch is empty (there are {len(sizes)})."
        given = [row for X, _ in batches for row in X]
        if len(given) != rows // 2:
            return f"{here}, an epoch yields {counted(len(given), 'row')}."
        if len(set(given)) != len(given):
            return f"{here}, some row comes twice in an epoch."
        if any(by_X != by_y for by_X, by_y in batches):
            return f"{here}, X and y of a batch are not from the same rows."
        if any(size != batch_size for size in sizes[:-1]):
            return f"{here}, the batch sizes are {sizes}: only the last may be smaller."
    first, second = ({row for X, _ in epoch for row in X} for epoch in yielded["epochs"])
    if first == second:
        return f"{here}, the second epoch goes through the same half as the first."
    return None


q1 = Exercise(
    _judge_class,
    "A random half is the first half of a permutation. How many batches does it take if it does not divide "
    "evenly? Batch number `index` is a slice of `self.order`: index X and y with it to get the rows.",
    """\
def complete(X, y, batch_size, **options):
    import keras

    class Complete(keras.utils.PyDataset):
        def __init__(self, **options):
            super().__init__(**options)
            self.on_epoch_end()

        def __len__(self):
            return -(-len(self.order) // batch_size)  # rounded up

        def __getitem__(self, index):
            rows = self.order[index * batch_size : (index + 1) * batch_size]
            return X[rows], y[rows]

        def on_epoch_end(self):
            self.order = np.random.permutation(len(X))[: len(X) // 2]

    return Complete(**options)""",
    "Another half in each epoch, no row twice, and `fit` accepted it with two workers.",
)

ORDERS = ((1000, 64), (96, 32), (10, 4), (3, 8))


def orders(answer):
    """Three row orders for each size, as lists; None for what is no row of integers."""
    import numpy as np

    def listed(order):
        order = np.asarray(order)
        return order.tolist() if order.ndim == 1 and order.dtype.kind in "iu" else None

    return [[listed(answer(*size)) for _ in range(3)] for size in ORDERS]


def _judge_orders(answer):
    tried = run(orders, answer=answer)
    if not tried.ok:
        return f"It ended with status {tried.status!r}: {tried.error}"
    for (rows, block), found in zip(ORDERS, tried.result, strict=True):
        wrong = next(filter(None, (_order_wrong(order, rows, block) for order in found)), None)
        if wrong:
            return f"{rows} rows in blocks of {block}: {wrong}"
    if tried.result[0][0] == tried.result[0][1] == tried.result[0][2]:
        return "All three calls returned the same order."
    return None


def _order_wrong(order, rows, block):
    if order is None:
        return "return a one-dimensional array or list of integers, the numbers of the rows."
    if sorted(order) != list(range(rows)):
        found = len(set(order) & set(range(rows)))
        return f"{counted(len(order), 'number')} returned, with {found} of the {rows} rows."
    starts = [place for place, row in enumerate(order) if row % block == 0]
    for place in starts:
        whole = list(range(order[place], min(order[place] + block, rows)))
        if order[place : place + len(whole)] != whole:
            return f"the block that starts at row {order[place]} does not stay together."
    return None


q2 = Exercise(
    _judge_orders,
    "A block is identified by its first row: 0, block, 2 * block, ... Put those in random order. "
    "Then each start stands for the rows from there up to the next start, but never past the end.",
    """\
def new_order(rows, block):
    starts = np.random.permutation(np.arange(0, rows, block))
    return np.concatenate([np.arange(start, min(start + block, rows)) for start in starts])""",
    "Every row once, neighbors together, blocks in a new order each time.",
)
