"""Printed: a text as it was printed, from the bytes that somebody copied, downloaded or logged."""

from . import characters, frames, quoted, rows
from .blocks import whole_lines, with_first


class Printed:
    """The blocks of a text as it was printed, in constant memory; read them once.

    is_quoted   whether the text was inside of another (JSON, a table, the repr of a string): its lines are
                not those of what was given. Known once the blocks have been read.
    no_text     what it is, in words, if it is no text ("a PNG image"), else None
    """

    def __init__(self, blocks):
        self.is_quoted = False
        first, blocks = with_first(whole_lines(characters.decoded(blocks)))
        self.no_text = characters.what_else(first)
        self._blocks = characters.plain(blocks)

    def __iter__(self):
        blocks = self._unframed(self._blocks)
        first, blocks = with_first(blocks)
        return self._unframed(blocks) if quoted.is_json(first) else blocks  # JSON behind a prefix

    def _unframed(self, blocks):
        first, blocks = with_first(blocks)
        if table := rows.column(first):
            self.is_quoted = True
            first, blocks = with_first(rows.texts(blocks, *table))
        if quoted.is_json(first):
            self.is_quoted = True
            blocks = whole_lines(quoted.strings(blocks))
        first, blocks = with_first(map(self._unescaped, blocks))
        return map(frames.unframed(first), blocks)

    def _unescaped(self, block):
        if not quoted.is_escaped(block):
            return block
        self.is_quoted = True
        return quoted.unescaped(block)
