"""Texts in the rows of a table, with commas between its columns and quotes around them: exported logs."""

import csv
import re

from .blocks import BLOCK_BYTES

FEWEST, MOST = 3, 800  # rows, lines to learn from
SEPARATORS = ",;\t"
_WORDS = re.compile(r"[A-Za-z ]")
_NAME = re.compile(r"[A-Za-z_@.][\w@. -]{0,40}")


def column(block):
    """(separator, number of the column that has the text) of a table that begins with this block, or None.

    All its rows have as many columns, and most have quotes around some: a list of numbers is no text.
    """
    lines = block.split(b"\n")[:MOST]
    for separator in SEPARATORS:
        begins = re.compile(rb'(?:^|%s)"' % separator.encode())
        rows = _whole_rows(lines, separator)
        widths = set(map(len, rows))
        quoted = sum(begins.search(line) is not None for line in lines)
        if len(rows) >= FEWEST and len(widths) == 1 and widths != {1} and quoted >= len(rows) / 2:
            said = [len(_WORDS.findall("".join(set(cells)))) for cells in zip(*rows, strict=True)]
            return separator, said.index(max(said))
    return None


def _whole_rows(lines, separator):
    """All rows that end in these lines; [] if they are no such table."""
    rest, rows = iter(lines), []
    try:
        rows += filter(None, _rows(rest, separator, strict=True))
    except csv.Error:
        return rows if next(rest, None) is None else []
    return rows


def texts(blocks, separator, number):
    """What the rows have in one column, as blocks of lines."""
    found, size = [], 0
    for text in _cells(blocks, separator, number):
        found.append(text + b"\n")
        size += len(text)
        if size > BLOCK_BYTES:
            yield b"".join(found)
            found, size = [], 0
    yield b"".join(found)


def _cells(blocks, separator, number):
    """The cell of each row in one column, without the heading.

    A row without that column, or with a cell without an end, is given as it is.
    """
    taken, is_first = [], True
    lines = (line for block in blocks for line in block.removesuffix(b"\n").split(b"\n"))
    rows = _rows(_kept(lines, taken), separator)
    while True:
        try:
            row = next(rows, None)
        except csv.Error:
            row = []
        if row is None:
            return
        if not (is_first and row and all(map(_NAME.fullmatch, row))):
            yield row[number].encode("latin-1") if number < len(row) else b"\n".join(taken)
        taken.clear()
        is_first = False


def _kept(lines, taken):
    for line in lines:
        taken.append(line)
        yield line


def _rows(lines, separator, strict=False):
    """Rows of cells, each a string with a character for each byte."""
    return csv.reader((line.decode("latin-1") + "\n" for line in lines), delimiter=separator, strict=strict)
