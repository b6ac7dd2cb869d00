"""Tables as plain text or HTML: of text cells, a list of dicts of heading -> cell, and that of layers."""

import collections
import html as _html
from dataclasses import dataclass, field, replace

from ..sizes import counted, format_size


def text(rows):
    """The rows as lines of text below their headings; numeric columns are right-aligned."""
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    columns = list(zip(*table, strict=True))
    aligned = [_column(column, max(map(len, column))) for column in columns]
    return "\n".join("  ".join(line).rstrip() for line in zip(*aligned, strict=True))


def html(rows):
    """The rows as an HTML table; the first column holds the row headers."""
    sides = ["right" if _is_numeric(column) else "left" for column in _columns(rows)]
    head = "".join(f'<th scope="col">{_html.escape(name)}</th>' for name in rows[0])
    body = "".join(f"<tr>{_cells(row, sides)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _columns(rows):
    return list(zip(*(row.values() for row in rows), strict=True))


def _is_numeric(cells):
    """Whether every cell that is not empty begins like a number."""
    filled = [cell for cell in cells if cell and cell[0] not in "·"]
    return bool(filled) and all(cell[0].isdigit() or cell[0] in "+-" for cell in filled)


def _column(column, width):
    heading, *cells = column
    right = _is_numeric(cells)
    return [cell.rjust(width) if right else cell.ljust(width) for cell in (heading, *cells)]


def _cells(row, sides):
    (name, *cells), (side, *others) = row.values(), sides
    first = f'<th scope="row" style="text-align:{side}">{_html.escape(name)}</th>'
    return first + "".join(
        f'<td style="text-align:{side}">{_html.escape(cell)}</td>'
        for cell, side in zip(cells, others, strict=True)
    )


INPUTS, NO_LAYER = "(arrays and batches)", "(no layer)"
COLUMNS = ("weights", "optimizer", "gradients", "activations", "workspace")


@dataclass(frozen=True)
class LayerRow:
    """A layer, or what belongs to none; sizes in bytes, `bytes` in all.

    layer, class_name   its name and class; a model within the model has `parts`, the rows of its own layers
    output_shape        such as "(None, 32, 32, 16)"
    activations         the outputs of its ops that are kept for the backward pass
    share               of the peak, from 0 to 1
    """

    layer: str
    class_name: str = ""
    output_shape: str = ""
    weights: int = 0
    optimizer: int = 0
    gradients: int = 0
    activations: int = 0
    workspace: int = 0
    bytes: int = 0
    share: float = 0.0
    parts: tuple = field(default=(), repr=False)

    def cells(self, indent=""):
        """The row as text cells under their headings."""
        sizes = {name: _shown(getattr(self, name)) for name in COLUMNS}
        return {
            "layer": indent + self.layer,
            "class": self.class_name,
            "output shape": self.output_shape,
            **sizes,
            "in all": _shown(self.bytes),
            "share": f"{100 * self.share:.1f} %",
        }


class LayerTable:
    """What each layer takes of a peak, in the model's order; a model within the model is one row.

    rows      the LayerRows; their bytes add up to the peak
    heading   a sentence on how much of the peak does not depend on the parameters
    """

    def __init__(self, rows, heading):
        self.rows, self.heading = tuple(rows), heading

    @property
    def peak_bytes(self):
        """The predicted peak: the sum of all rows."""
        return sum(row.bytes for row in self.rows)

    def unfolded(self):
        """The same table with the layers of models within the model as rows of their own."""
        return LayerTable([leaf for row in self.rows for leaf in _leaves(row)], self.heading)

    def to_dicts(self):
        """The rows as plain dicts, for pandas.DataFrame or JSON; models within the model unfolded."""
        leaves = (leaf for row in self.rows for leaf in _leaves(row))
        return [{name: value for name, value in vars(leaf).items() if name != "parts"} for leaf in leaves]

    def __repr__(self):
        return f"{self.heading}\n{text([row.cells() for row in self.rows])}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        parts = [f"<p>{_html.escape(self.heading)}</p>", html([row.cells() for row in self.rows])]
        for row in self.rows:
            if row.parts:
                inner = html([leaf.cells() for leaf in _leaves(row)])
                summary = f"the {counted(len(_leaves(row)), 'layer')} of {_html.escape(row.layer)}"
                parts.append(f"<details><summary>{summary}</summary>{inner}</details>")
        return {"text/plain": repr(self), "text/html": "".join(parts)}


def layer_table(held, layers, at):
    """The LayerTable of a peak.

    held     (Row, bytes, whether it grows) of everything in use there
    layers   (path, class, output shape as text) of each layer, in order; the path is the names of the models
             around it and its own
    at       {parameter: value}
    """
    sizes, fixed = collections.defaultdict(collections.Counter), collections.Counter()
    for row, size, grows in held:
        name = row.layer or (INPUTS if row.category == "inputs" else NO_LAYER)
        sizes[name][row.category] += size
        if not grows:
            fixed[_described(row)] += size
    peak, layers = sum(counter.total() for counter in sizes.values()), list(layers)
    make, rows = _Maker(sizes, peak), []
    for place, (path, _, _) in enumerate(layers):
        if len(path) == 1:
            rows.append(_nested(place, layers, make))
    rows += [make.row(name, "", "") for name in list(sizes)]  # what belongs to no layer of the model
    return LayerTable([row for row in rows if row.bytes or row.class_name], _heading(fixed, peak, at))


def _nested(place, layers, make):
    """The row of a layer, with those of the layers within it."""
    path, kind, shape = layers[place]
    row, parts = make.row(path[-1], kind, shape), []
    for inner in range(place + 1, len(layers)):
        depth = len(layers[inner][0]) - len(path)
        if depth <= 0:
            break
        if depth == 1:
            parts.append(_nested(inner, layers, make))
    return _folded(row, parts) if parts else row


class _Maker:
    """Makes the rows, each from the sizes of its name, which then are taken."""

    def __init__(self, sizes, peak):
        self._sizes, self._peak = sizes, peak

    def row(self, name, kind, shape):
        sizes = self._sizes.pop(name, collections.Counter())
        columns = {column: sizes[column] for column in COLUMNS}
        total = sizes.total()
        return LayerRow(name, kind, shape, **columns, bytes=total, share=total / max(1, self._peak))


def _described(row):
    """What something that does not grow is, in words."""
    what = {"weights": "the weights", "optimizer": "the optimizer's state", "inputs": "the data's arrays"}
    return f"{what.get(row.category, row.category)}{f' of {row.layer}' if row.layer else ''}"


def _heading(fixed, peak, at):
    largest = [f"{what} ({format_size(size)})" for what, size in fixed.most_common(3) if size > 0.05 * peak]
    most = f": above all {', '.join(largest)}" if largest else ""
    return (
        f"Predicted peak at {', '.join(f'{name} {value}' for name, value in at.items())}: "
        f"{format_size(peak)}. Of these, {format_size(fixed.total())} do not depend on "
        f"{' or '.join(at)}{most}."
    )


def _folded(row, parts):
    """The row of a model within the model, with the sizes of its layers added to its own."""
    names = (*COLUMNS, "bytes", "share")
    sums = {name: getattr(row, name) + sum(getattr(part, name) for part in parts) for name in names}
    own = [replace(row, layer=f"{row.layer} itself", parts=())] if row.bytes else []
    return replace(row, parts=(*parts, *own), **sums)


def _leaves(row):
    return [leaf for part in row.parts for leaf in _leaves(part)] if row.parts else [row]


def _shown(size):
    return format_size(size) if size else ""
