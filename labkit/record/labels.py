"""Labels for the allocations of a record: the variable, layer and category of each.

The docstring of Timeline defines the categories.
"""

import re

import numpy as np

from ..categories import CATEGORIES
from .opnames import BACKWARD, layer_of

_FUNCTION = re.compile(r"^(__inference_|__forward_|__backward_)")


class Labels:
    """Labels for each row of a DividedRecord (labkit.record.xla_blocks), as arrays in the order of the rows.

    layer, layer_names   index of its layer in `layer_names`: None, then the layers in the model's order
    category             index of its category in CATEGORIES
    variables, kinds     for rows that hold a variable: {row: its path}, {row: its category}
    """

    def __init__(self, record):
        self._record, columns = record, record.allocations
        self._begin, self._events = columns["begin"], record.events
        self._end = np.where(columns["end"] < 0, self._events, columns["end"])
        self._find_variables()
        self._find_layers()
        self._find_categories()

    def _find_variables(self):
        """Find the allocation that holds each variable: the one at its address when a snapshot was taken."""
        self.variables, self.kinds, self._owner = {}, {}, {}
        address = self._record.allocations["address"]
        snapshots = zip(self._record.snapshots_at, self._record.snapshots, strict=False)
        for place, variables in snapshots:
            alive = np.flatnonzero((self._begin < place) & (self._end >= place))
            by_address = dict(zip(address[alive].tolist(), alive.tolist(), strict=True))
            for variable_address, kind, path, layer in variables:
                i = by_address.get(variable_address)
                if i is not None:
                    self.variables[i], self.kinds[i], self._owner[i] = path, kind, layer

    def _find_layers(self):
        scopes, ops = self._record.scopes, self._record.ops
        names = dict.fromkeys([*scopes.values(), *filter(None, self._owner.values())])
        self.layer_names = [None, *names]
        number = {name: number for number, name in enumerate(self.layer_names)}
        of_op = np.array([number[layer_of(op, scopes)] for op in ops], dtype=np.int64)
        columns = self._record.allocations
        self.layer = np.where(columns["idle"], 0, of_op[columns["op"]])
        for i, layer in self._owner.items():
            self.layer[i] = number[layer]

    def _find_categories(self):
        columns, number = self._record.allocations, {c: i for i, c in enumerate(CATEGORIES)}
        kind_of_op = np.array([self._kind_of(op) for op in self._record.ops])
        kinds = kind_of_op[columns["op"]]
        recorded, temp = columns["inside"] < 0, columns["temp"].astype(bool)
        from_python = made_by("python", self._record)
        unscoped = np.array(["/" not in op for op in self._record.ops])[columns["op"]]
        backward = np.sort(self._begin[(kinds == "backward") & recorded])
        in_backward = self._in_backward(backward)
        kinds[(kinds == "forward") & unscoped & ~from_python & in_backward] = "backward"

        category = np.full(len(self._begin), number["workspace"])
        forward = (kinds == "forward") & ~temp
        category[forward & self._outlives_forward(backward)] = number["activations"]
        category[(kinds == "backward") & ~temp] = number["gradients"]
        in_pipeline = made_by("tf_data", self._record)
        category[(kinds == "input") | ((kinds == "unnamed") & from_python) | in_pipeline] = number["inputs"]
        category[kinds == "slot"] = number["optimizer"]
        category[(kinds == "handle") | (self._begin < 0)] = number["other"]
        category[columns["idle"].astype(bool)] = number["workspace"]
        compiled = self._in_compiled(kind_of_op)
        category[~recorded] = [number[name] for name in compiled]
        for i, kind in self.kinds.items():
            category[i] = number[kind]
        self.category = category

    def _in_compiled(self, kind_of_op):
        """The categories of results in the blocks of compiled steps, where it is known what needs them."""
        columns = self._record.allocations
        inside = np.flatnonzero(columns["inside"] >= 0)
        kept = np.array([any(map(self._is_after_forward, users)) for users in self._record.users])
        makers, needed = kind_of_op[columns["op"][inside]], kept[columns["users"][inside]]
        for maker, is_kept, own in zip(makers, needed, columns["own"][inside], strict=True):
            if maker == "forward" and is_kept:
                yield "activations"
            else:
                yield "gradients" if maker == "backward" and not own else "workspace"

    def _is_after_forward(self, op):
        return self._kind_of(op) in ("backward", "update")  # XLA may fuse a gradient with its use

    def _kind_of(self, op):
        path = op.removeprefix("StatefulPartitionedCall/")
        last = path.rpartition("/")[2]
        if not path:
            return "unnamed"
        if last.startswith("VarHandleOp"):
            return "handle"
        if path.partition("/")[0] in self._record.optimizers:
            return "slot" if "/Initializer/" in path else "update"
        if BACKWARD.search(path):
            return "backward"
        if last.startswith(("IteratorGetNext", "TensorSliceDataset")):
            return "input"
        return "update" if _FUNCTION.match(path) else "forward"

    def _in_backward(self, backward):
        """Which allocations come after the first of the backward pass in their step, as a boolean array."""
        edges = np.array([0, *self._record.steps])
        start = edges[np.searchsorted(edges, np.maximum(self._begin, 0), side="right") - 1]
        first = np.searchsorted(backward, start)
        padded = np.append(backward, self._events + 1)
        return padded[first] < self._begin

    def _outlives_forward(self, backward):
        """Which are still alive when the next backward pass begins, or have none to come: a boolean array."""
        padded = np.append(backward, -1)
        following = padded[np.searchsorted(backward, self._begin)]
        return (following < 0) | (self._end > following)


def made_by(name, record):
    """Which allocations were made by threads with `name` in their names, as a boolean array."""
    chosen = np.array([name in thread for thread in record.threads])
    return chosen[record.allocations["thread"]]
