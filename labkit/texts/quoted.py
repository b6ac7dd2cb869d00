"""Texts inside of JSON: notebooks, the logs of Docker, Kaggle and clouds; and inside of a quoted string."""

import json
import re
from itertools import chain

LONGEST = 2**22  # bytes of one string that are kept together
_STRING = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_TOKEN = re.compile(rb'[^"]+|' + _STRING + rb'(\s*:)?|"', re.DOTALL)
_BETWEEN = re.compile(rb"[\s,:{}\[\]\d.eE+-]*(?:(?:true|false|null|NaN|Infinity)[\s,:{}\[\]\d.eE+-]*)*")
# Values that say when, where and how loud, not what.
_ASIDE = re.compile(
    rb"\s*|\d[\d.:,TZ/+ -]*|[\da-f-]{12,}|[\w+/=]{200,}\s*"
    rb"|(?i:stdout|stderr|stream|logs?|debug|info|notice|warn|warning|error|critical|fatal|default)"
)
_SCALAR = re.compile(rb"\s*(-?\d{1,9}|true|false)\b")
_ENDING = re.compile(rb"(?i:exit|code|status|killed|signal)")  # names of values that say how something ended
_ESCAPE = re.compile(rb"\\(?:([nrt\"'])|x([0-9a-f]{2}))")
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"', b"'": b"'"}
_BREAKS = 3  # line breaks that are written as \n, at least: fewer may be parts of a path on Windows


def is_json(block):
    """Whether a text that begins with this block is JSON, or a line of JSON for each of its lines."""
    if block.lstrip()[:1] not in (b"{", b"[", b'"') or b'"' not in block:
        return False
    for token in _TOKEN.finditer(block):
        if token[0] == b'"':  # a string that the block does not end
            return token.start() > 0
        if not token[0].startswith(b'"') and not _BETWEEN.fullmatch(token[0]):
            return False
    return True


def strings(blocks):
    """Each string of a JSON text that is a value, as lines, without times, ids and levels.

    Of other values, only those that say how something ended; of a notebook, not its prose.
    """
    rest, values = b"", _Values()
    for block in chain(blocks, [b" "]):
        data, end, lines = rest + block, None, []
        for token in _TOKEN.finditer(data):
            is_cut = token[0] == b'"' or token[1] is not None and token.end() == len(data)
            if is_cut:  # in a string, or before the colon that makes it a name
                end = token.start()
                break
            lines.append(values.of(token))
        rest = b"" if end is None else data[end:]
        if len(rest) > LONGEST:
            lines.append(_decoded(rest[1:]))
            rest = b'"'
        yield b"".join(lines)
    yield _value(rest[1:])


class _Values:
    """What the tokens of a JSON text say, one after another."""

    def __init__(self):
        self._name, self._in_prose = b"", False

    def of(self, token):
        """The value of a token as lines; b"" if it is none that counts."""
        if token[1] is None:
            known = _SCALAR.match(token[0]) if _ENDING.search(self._name) else None
            return b"%s: %s\n" % (self._name, known[1]) if known else b""
        if token[2]:
            self._name = token[1]
            return b""
        if self._name == b"cell_type":
            self._in_prose = token[1] == b"markdown"
        return b"" if self._in_prose else _value(token[1])


def _value(string):
    """A string of JSON as lines; b"" if it says nothing."""
    text = _decoded(string)
    if _ASIDE.fullmatch(text):
        return b""
    return text if text.endswith(b"\n") else text + b"\n"


def _decoded(string):
    if b"\\" not in string:
        return string
    try:
        return json.loads(b'"' + string + b'"', strict=False).encode("utf-8", "replace")
    except ValueError:  # cut off in an escape
        return _ESCAPE.sub(_character, string)


def is_escaped(block):
    """Whether line breaks in one of its lines are written as \\n: the repr of a text, or JSON in a line."""
    return block.count(b"\\n") >= _BREAKS and any(map(_is_escaped, block.split(b"\n")))


def unescaped(block):
    """A block of lines in which each such line becomes the lines that it stands for."""
    return b"\n".join(
        _ESCAPE.sub(_character, line) if _is_escaped(line) else line for line in block.split(b"\n")
    )


def _is_escaped(line):
    return line.count(b"\\n") >= _BREAKS


def _character(escape):
    letter, number = escape.groups()
    return _ESCAPED[letter] if letter else bytes([int(number, 16)])
