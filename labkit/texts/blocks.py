"""Blocks of bytes of a text that end where its lines end."""

BLOCK_BYTES = 2**18


def whole_lines(blocks, most=BLOCK_BYTES):
    """The same bytes in blocks of `most` at most; a line is split only if it is longer than that."""
    rest, is_empty = b"", True
    for block in blocks:
        if not rest and len(block) <= most and block.endswith(b"\n"):
            yield block
            is_empty = False
            continue
        rest += block
        while len(rest) > most:
            end = rest.rfind(b"\n", 0, most) + 1 or most
            yield rest[:end]
            rest, is_empty = rest[end:], False
    if rest or is_empty:
        yield rest


def with_first(blocks):
    """(first block, iterator of all blocks): what a text is shows in how it begins. b"" if there is none."""
    blocks = iter(blocks)
    first = next(blocks, b"")
    return first, _again(first, blocks)


def _again(first, blocks):
    yield first
    yield from blocks
