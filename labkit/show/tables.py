"""Tables of text cells, a list of dicts of heading -> cell, as plain text or as HTML."""

import html as _html


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
