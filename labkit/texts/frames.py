"""What others put around each line: names and numbers of containers and ranks, times, quotes, frames.

Nothing here knows a product. A prefix is what all lines of a text begin with, up to the letters and digits in
it; an ending is what all lines end with. A text of which that is true of all lines has no other lines: a
traceback, for one, has lines of many forms.
"""

import functools
import re
from collections import Counter

FEWEST = 4  # lines: of fewer, what they have in common says nothing
MOST = 400  # lines to learn from
LONGEST = 160  # bytes of a prefix
NESTED = 3  # prefixes of prefixes, at most
_RARE = 0.01  # share of lines that may differ: a heading, the end of what was copied
# Where a line itself begins at last: lines of TensorFlow's log, of progress bars, of errors are often alike.
_OWN = re.compile(
    rb"\d{1,7}/(?:\d{1,7}|Unknown) |Epoch \d"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}: [IWEF] |[IWEF]\d{4} \d\d:\d\d:[\d.]{5,20} +\d+ "
    rb"|(?:[IWEF] )?[\w./-]{3,200}\.(?:cc|cu|h)(?:\.cc)?:\d+\]|\[\[|OOM|emory|lloc|Error|Exception|xhaust"
    rb"|Killed|CUDA |terminate|\b(?i:exit|code|status|returncode|signal)\b"
)
_SIGN = re.compile(rb"[^\w\x80-\xff]|[\xc2-\xf4][\x80-\xbf]{1,3}")  # in UTF-8
_INDENT = re.compile(rb"^\s+(?=\S)")
_DIGITS = re.compile(rb"\d+")
_PARTS = re.compile(rb"(.*[^\w\s]|)([\w\s]*?)(\s*)$", re.DOTALL)  # up to the last sign, words, space
_PIECE = re.compile(rb"(\w+)|(\s+)|([^\w\s]+)")
# What a prefix ends with, or is: a sign, a tab, a time and a word or two, a line's number, space, pytest's E.
_MARK = re.compile(
    rb"[]:|>)}#+*~%$;!\x80-\xff-]\s*$|=\"?$|\t$|:\d+(?:[.,]\d+)?Z?(?: [\w+-]{1,40}){0,2}\s+$"
    rb"|^\s*\d+\s{2,}$|^\s+$|^E\s+$"
)
_BOXED = re.compile("^[ \t]*(?:│|┃|║) ?([^\n]*)$".encode(), re.MULTILINE)  # by Rich
_BARS = ("│".encode(), "┃".encode(), "║".encode())
_BAR = re.compile("(?:│|┃|║)$".encode())
_ENDINGS = (b"|", b"\\", b'",', b'"')


def unframed(first):
    """A function that takes the prefixes and the ending off the lines of each block of a text.

    first   the first block of it
    """
    lines = [line for line in _unboxed(first).split(b"\n")[: 4 * MOST] if line.strip()][:MOST]
    frame = []
    while len(frame) < NESTED and (prefix := _prefix(lines)):
        frame.append(prefix)
        lines = [prefix.sub(b"", line, count=1) for line in lines]
    frame += filter(None, [_ending(lines)])
    if not frame:
        return _unboxed
    return lambda block: _unboxed(
        functools.reduce(lambda rest, part: part.sub(b"", rest), frame, _unboxed(block))
    )


def _unboxed(block):
    if block.isascii() or not any(bar in block for bar in _BARS):
        return block
    return _BOXED.sub(_inside, block)


def _inside(boxed):
    return _BAR.sub(b"", boxed[1].rstrip()).rstrip()


def _prefix(lines):
    """The pattern of what the lines begin with; None if nothing is common to them."""
    if len(lines) < FEWEST:
        return None
    heads = Counter(head for line in lines for head in _heads(line))
    often = [head for head, count in heads.items() if count >= len(lines) / 2 and _MARK.search(head)]
    for head in sorted(often, key=len, reverse=True):
        pattern = _pattern(head)
        if _is_common(pattern, lines) and len({pattern.sub(b"", line) for line in lines}) > 1:
            return pattern
    return None


def _heads(line):
    """Each beginning of a line that may be a prefix, with 0 for every number and no space before it."""
    own = _OWN.search(line, 0, LONGEST + 60)
    longest = min(len(line), LONGEST, own.start() if own else LONGEST)
    ends = (sign.end() for sign in _SIGN.finditer(line[:longest]))
    return {_INDENT.sub(b"", _DIGITS.sub(b"0", line[:end])) for end in ends}


def _pattern(head):
    """The pattern of a prefix: any words and numbers between its signs; after the last one, those it has."""
    between, last, space = _PARTS.match(head).groups()
    pieces = (
        rb"\w+" if word else rb"[ \t]+" if blank else re.escape(sign)
        for word, blank, sign in _PIECE.findall(between)
    )
    last = rb"[ \t]+".join(_DIGITS.sub(rb"\\d+", re.escape(word)) for word in re.split(rb"\s+", last))
    end = rb"(?:" + re.escape(space) + rb"|[ \t]*$)" if space else b""
    indent = rb"[ \t]*" if head.strip() else b""
    return re.compile(rb"^" + indent + b"".join(pieces) + last + end, re.MULTILINE)


def _ending(lines):
    """The pattern of what the lines end with; None if nothing is common to them."""
    for ending in _ENDINGS if len(lines) >= FEWEST else ():
        pattern = re.compile(re.escape(ending) + rb"[ \t\r]*$", re.MULTILINE)
        if _is_common(pattern, lines):
            return pattern
    return None


def _is_common(pattern, lines):
    return sum(pattern.search(line) is None for line in lines) <= int(_RARE * len(lines))
