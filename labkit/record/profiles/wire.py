"""Protocol buffers in a few lines: enough to read profiles on a machine without TensorFlow.

A message is a sequence of fields, each a number, a wire type and a value:
https://protobuf.dev/programming-guides/encoding/
"""

from types import SimpleNamespace

_TEXT, _VARINT, _FIXED64, _FIXED32 = 2, 0, 1, 5
_SIGN, _WRAP = 1 << 63, 1 << 64


class Malformed(ValueError):
    """The bytes are not a message, or are cut off."""


def scan(data, part):
    """Yield (field number, value) of the message in a slice of the data.

    A value is an integer or, of a field with a length, the slice of its bytes. Raises Malformed for what is
    no message, such as a number instead of a slice.
    """
    start, end = _bounds(part)
    while start < end:
        tag, start = (
            data[start],
            start + 1,
        )  # most integers are of a single byte: a call for each would be slow
        if tag > 127:
            tag, start = varint(data, start - 1, end)
        kind, number = tag & 7, tag >> 3
        if kind in (_VARINT, _TEXT):
            value, start = (data[start], start + 1) if start < end else varint(data, start, end)
            if value > 127:
                value, start = varint(data, start - 1, end)
            if kind == _TEXT:
                value, start = slice(start, start + value), start + value
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
            value = int.from_bytes(data[start : start + length], "little")
            start += length
        else:
            raise Malformed(f"wire type {kind}")
        if start > end or not number:
            raise Malformed("cut off")
        yield number, value


def _bounds(part):
    if not isinstance(part, slice):
        raise Malformed("a number where a message should be")
    return part.start, part.stop


def varint(data, start, end):
    """(value, place after it) of an integer of seven bits a byte, of at most ten bytes."""
    value = shift = 0
    while start < end and shift < 70:
        byte = data[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start
        shift += 7
    raise Malformed("cut off")


def signed(value):
    """An integer of 64 bits as the signed one that it stands for."""
    value &= _WRAP - 1
    return value - _WRAP if value & _SIGN else value


def text(data, part):
    """The text in a slice of the data."""
    start, end = _bounds(part)
    return str(data[start:end], "utf-8", "replace")


def decode(data, layout, part=None):
    """A message as an object with the fields that `layout` names, each with its default if missing.

    layout: {field number: (name, kind)}. A kind is int, str, bytes or the layout of a message; in a list, the
    field is repeated; {int: layout} is a map from integers to messages.
    """
    fields = {name: _default(kind) for name, kind in layout.values()}
    for number, value in scan(data, slice(0, len(data)) if part is None else part):
        name, kind = layout.get(number, ("", None))
        if isinstance(kind, list):
            fields[name] += _repeated(data, kind[0], value)
        elif isinstance(kind, dict) and int in kind:
            entry = decode(data, {1: ("key", int), 2: ("value", kind[int])}, value)
            fields[name][entry.key] = entry.value
        elif kind is not None:
            fields[name] = _value(data, kind, value)
    return SimpleNamespace(**fields)


def _default(kind):
    if isinstance(kind, list):
        return []
    if isinstance(kind, dict):
        return {} if int in kind else decode(b"", kind)
    return kind()


def _value(data, kind, value):
    if kind is int:
        return signed(value) if isinstance(value, int) else 0
    if kind is str:
        return text(data, value)
    if kind is bytes:
        return bytes(data[slice(*_bounds(value))])
    return decode(data, kind, value)


def _repeated(data, kind, value):
    """The values of a repeated field; several numbers may be packed into one."""
    if kind is not int or isinstance(value, int):
        return [_value(data, kind, value)]
    numbers, start = [], value.start
    while start < value.stop:
        number, start = varint(data, start, value.stop)
        numbers.append(signed(number))
    return numbers
