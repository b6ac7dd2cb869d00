"""Labels for the allocations of a record: the variable, layer and category of each.

The docstring of Timeline defines the categories.
"""

from dataclasses import replace

import numpy as np

from ..categories import CATEGORIES
from .opnames import (
    is_initial,
    is_of_a_function,
    is_unscoped,
    kind_of,
    layer_of,
    makes_a_pipeline,
    replicas_in,
    sums_gradients,
    updates_weights,
)
from .profiles.autotuning import tried_out


class Labels:
    """Labels for each row of a DividedRecord (labkit.record.xla_blocks), as arrays in the order of the rows.

    layer, layer_names   index of its layer in `layer_names`: None, then the layers in the model's order
    category             index of its category in CATEGORIES
    variables, kinds     for rows that hold a variable: {row: its path}, {row: its category}
    forms                for rows that the profile says less of: {row: (name, shape, dtype)}
    """

    def __init__(self, record):
        self._record, columns = record, record.allocations
        self._begin, self._events = columns["begin"], record.events
        self._end = np.where(columns["end"] < 0, self._events, columns["end"])
        self._find_variables()
        self._find_layers()
        self._find_categories()
        self._tell_variables()
        self._name_inputs()
        self._name_slots()
        self._name_zeros()

    def _find_variables(self):
        """Find the allocation that holds each variable: the one at its address when a snapshot was taken."""
        self.variables, self.kinds, self.forms, self._owner = {}, {}, {}, {}
        address = self._record.allocations["address"]
        snapshots = zip(self._record.snapshots_at, self._record.snapshots, strict=False)
        for place, variables in snapshots:
            alive = np.flatnonzero((self._begin < place) & (self._end >= place))
            by_address = dict(zip(address[alive].tolist(), alive.tolist(), strict=True))
            for variable in variables:
                i = by_address.get(variable.address)
                if i is not None:
                    self.variables[i], self.kinds[i] = variable.path, variable.category
                    self._owner[i] = variable.layer
                    self.forms[i] = (variable.path, variable.shape, variable.dtype)
        self._follow_variables()

    def _follow_variables(self):
        """Find the blocks that variables move to after the last snapshot: the same op of an update makes all.

        It is known from the snapshots which op makes a block for which variable, and a variable outlives the
        step that made its block.
        """
        columns, made = self._record.allocations, {}
        ops, sizes = columns["op"], columns["requested"]
        for i in self.variables:
            made.setdefault(int(ops[i]), []).append(i)
        ends = self._ends_of_steps()
        for op, known in made.items():
            paths = {self.variables[i] for i in known}
            if len(paths) > 1 or self._kind_of(self._record.ops[op]) not in ("update", "slot"):
                continue
            one = known[0]
            for i in np.flatnonzero((ops == op) & (sizes == sizes[one]) & (self._end >= ends)).tolist():
                if i not in self.variables:
                    self.variables[i], self.kinds[i] = self.variables[one], self.kinds[one]
                    self._owner[i], self.forms[i] = self._owner[one], self.forms[one]

    def _ends_of_steps(self):
        """The place at which the step of each allocation ends; after the last step, the record's end."""
        edges = np.array([*self._record.steps, self._events])
        return edges[np.searchsorted(edges[:-1], self._begin, side="right")]

    def _tell_variables(self):
        """Without snapshots, as in a profile that TensorFlow wrote: find variables by what outlives its step.

        An update puts them into new blocks, of weights by one type of op and of slots by others. What was
        there before the first step has the size and shape of such a block, or was made by an initializer; a
        result of a compiled step, of which no op is known, is a slot if it has the size of one of these.
        """
        if any(self._record.snapshots):
            return
        columns, ops, number = self._record.allocations, self._record.ops, CATEGORIES.index
        lasting = (self._end > self._ends_of_steps()) & (columns["inside"] < 0)
        updated, slots = (lasting & (self._kinds == kind) for kind in ("update", "slot"))
        of_weights, unscoped, made, results = (
            np.array(list(map(tells, ops)))[columns["op"]]
            for tells in (updates_weights, is_unscoped, is_initial, is_of_a_function)
        )
        initial = lasting & (self._kinds == "forward") & (self._begin < min(self._record.steps, default=0))
        sizes, shapes, known = columns["requested"], columns["shape"], updated | slots
        has_shape = np.array(list(map(bool, self._record.shapes)))[shapes]
        alike = np.isin(sizes, sizes[known]) & (~has_shape | np.isin(shapes, shapes[known]))
        weights = initial & (made | unscoped & alike)
        named = updated & ~results
        results &= updated & np.isin(sizes, sizes[weights | slots | named])
        self.category[named | results] = number("optimizer")
        self.category[weights | named & of_weights] = number("weights")

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
        kinds = self._kinds = kind_of_op[columns["op"]]
        ops, recorded = self._record.ops, columns["inside"] < 0
        # TensorFlow computes some sums in a variable of its own, and keeps zeros to begin from.
        rewritten, zeros = (
            np.array([op.endswith(end) for op in ops])[columns["op"]]
            for end in ("/tmp_var", "/tmp_var_zeros")
        )
        temp = columns["temp"].astype(bool) & ~rewritten & ~self._outlives_op()
        temp |= tried_out(self._record)
        from_python = made_by("python", self._record)
        unscoped = np.array(["/" not in op or sums_gradients(op) for op in ops])[columns["op"]]
        backward = self._backward(np.sort(self._begin[(kinds == "backward") & recorded]))
        in_backward = self._in_backward(backward)
        kinds[(kinds == "forward") & unscoped & ~from_python & in_backward] = "backward"

        category = np.full(len(self._begin), number["workspace"])
        forward = (kinds == "forward") & ~temp
        category[forward & self._outlives_forward(backward)] = number["activations"]
        category[(kinds == "backward") & ~temp] = number["gradients"]
        category[zeros] = np.where(unscoped[zeros], number["gradients"], number["workspace"])
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

    def _name_inputs(self):
        """Name the arrays and the elements of datasets that have neither op nor shape, by their sizes."""
        columns, ops = self._record.allocations, self._record.ops
        unnamed = np.array([not op or makes_a_pipeline(op) for op in ops])[columns["op"]]
        inputs = unnamed & (self.category == CATEGORIES.index("inputs"))
        for source, otherwise in (("python", ""), ("tf_data", "from tf.data")):
            forms, known = {}, [made for made in self._record.inputs if made.source == source]
            for i in np.flatnonzero(inputs & made_by(source, self._record)).tolist():
                size, copied = int(columns["requested"][i]), bool(columns["op"][i])
                if size not in forms:
                    number = ("a number", "[]", "") if size <= 8 else (otherwise, "", "")
                    forms[size] = form_of(size, known) or number
                name, *form = forms[size]
                self.forms.setdefault(
                    i, ("the copy that tf.data makes of an array" if copied else name, *form)
                )

    def _name_zeros(self):
        """Give the zeros from which a sum begins the shape of the sum."""
        columns, record = self._record.allocations, self._record
        forms = zip(columns["op"].tolist(), columns["shape"].tolist(), columns["dtype"].tolist(), strict=True)
        sums = {record.ops[op]: (record.shapes[shape], record.dtypes[dtype]) for op, shape, dtype in forms}
        for number, op in enumerate(record.ops):
            form = op.endswith("/tmp_var_zeros") and sums.get(op.removesuffix("_zeros"))
            for i in np.flatnonzero(columns["op"] == number).tolist() if form else ():
                what = "a sum of gradients" if sums_gradients(op) else "a sum"
                self.forms.setdefault(i, (f"{op} (zeros that {what} begins from)", *form))

    def _name_slots(self):
        """Give slots that were replaced before a snapshot the shape of the variable that they began as."""
        paths = {variable.path: variable for variables in self._record.snapshots for variable in variables}
        for number, op in enumerate(self._record.ops):
            variable = paths.get(op.partition("/Initializer/")[0])
            if variable and "/Initializer/" in op:
                for i in np.flatnonzero(self._record.allocations["op"] == number).tolist():
                    self.forms.setdefault(i, (variable.path, variable.shape, variable.dtype))

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
        return kind_of(op, self._record.optimizers)

    def _backward(self, begin):
        """Places of the backward pass's allocations, without those that a profile shows before it begins."""
        if not self._record.source:
            return begin
        ends = np.array([*self._record.backward_to, -1])  # the last, of no start
        return begin[begin <= ends[np.searchsorted(self._record.backward_at, begin, side="right") - 1]]

    def _in_backward(self, backward):
        """Which allocations come after the first of the backward pass in their step, as a boolean array."""
        edges = np.array([0, *self._record.steps])
        start = edges[np.searchsorted(edges, self._begin, side="right") - 1]
        first = np.searchsorted(backward, start)
        padded = np.append(backward, self._events + 1)
        return padded[first] < self._begin

    def _outlives_op(self):
        """Which are still alive when the next op of their thread allocates: a boolean array.

        Scratch memory that outlives its op is its output: Einsum's are made so.
        """
        op, thread = (self._record.allocations[name] for name in ("op", "thread"))
        following = np.full(len(self._begin), np.inf)
        for one in np.unique(thread):
            rows = np.flatnonzero(thread == one)
            rows = rows[np.argsort(self._begin[rows], kind="stable")]
            changes = np.flatnonzero(np.diff(op[rows])) + 1
            run = np.searchsorted(changes, np.arange(len(rows)), side="right")
            following[rows] = np.append(self._begin[rows][changes], np.inf)[run]
        return self._end > following

    def _outlives_forward(self, backward):
        """Which are still alive when the next backward pass begins, or have none to come: a boolean array."""
        padded = np.append(backward, -1)
        following = padded[np.searchsorted(backward, self._begin)]
        return (following < 0) | (self._end > following)


def replicas(record, labels):
    """{number: Record} of the replicas of tf.distribute that share an allocator, as logical CPU devices do.

    {} if there are not several. What they share is in none of them.
    """
    columns, numbers = record.allocations, replicas_in({*record.ops, *labels.variables.values()})
    of_op = np.array([numbers.get(op, -1) for op in record.ops])
    of_row = of_op[columns["op"]]
    for i, path in labels.variables.items():
        of_row[i] = numbers.get(path, -1)
    if of_row.max(initial=-1) < 1:
        return {}
    return {
        number: replace(
            record,
            allocations={name: column[of_row == number] for name, column in columns.items()},
            held_bytes=0,
            device=f"{record.device} replica {number}",
        )
        for number in sorted({*of_row.tolist()} - {-1})
    }


def form_of(size, inputs):
    """(name, shape, dtype) of what takes so many bytes: the Input of that size, or with the largest rows.

    None if there is none, or if several of different shapes are equally likely.
    """
    fitting = [made for made in inputs if _fits(made, size)]
    largest = max(map(_row_bytes, fitting), default=0)
    forms = {}
    for made in fitting:
        if _row_bytes(made) == largest:
            shape = [size // largest, *made.shape[1:]] if _is_open(made) else made.shape
            forms.setdefault((f"[{','.join(map(str, shape))}]", made.dtype), []).append(made.name)
    if len(forms) != 1:
        return None
    [(form, names)] = forms.items()
    return min(names), *form


def _fits(made, size):
    row = _row_bytes(made)
    return row > 0 and None not in made.shape[1:] and (size % row == 0 if _is_open(made) else size == row)


def _is_open(made):
    """Whether the number of rows of an Input varies."""
    return bool(made.shape) and made.shape[0] is None


def _row_bytes(made):
    """Bytes of an Input, or of one of its rows where their number varies."""
    size = made.item_bytes
    for dimension in made.shape:
        size *= 1 if dimension is None else dimension
    return size


def made_by(name, record):
    """Which allocations were made by threads with `name` in their names, as a boolean array."""
    chosen = np.array([name in thread for thread in record.threads])
    return chosen[record.allocations["thread"]]
