"""Numbers as text: "256 MiB" to bytes and back, and "3 steps"."""

import math
import numbers
import operator
import re

from .errors import LabkitError

MIB = 2**20
MOST_DIGITS = 30  # of a number of bytes: no machine has as many
LONGEST = 100  # characters of a size as text
UNITS = {
    "B": 1,
    **{p + "iB": 2 ** (10 * i) for i, p in enumerate("KMGT", 1)},
    **{p + "B": 10 ** (3 * i) for i, p in enumerate("KMGT", 1)},
}
_UNIT_BY_LOWER_CASE = {unit.lower(): factor for unit, factor in UNITS.items()}
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_FORMS = 'Forms that work: "256 MiB", "1.5 GB", "2GiB", or an integer number of bytes.'


def parse_size(size):
    """The number of bytes of a size: an int, or text with a unit.

    KiB, MiB and GiB are powers of 1024; KB, MB and GB are powers of 1000.

    >>> parse_size("1.5 MiB")
    1572864

    Raises LabkitError for anything else; a bare "256M" is refused because it could mean either.
    """
    number = None
    if isinstance(size, str):
        match = _SIZE.fullmatch(size) if len(size) <= LONGEST else None
        factor = match and _UNIT_BY_LOWER_CASE.get(match[2].lower())
        digits = size.strip()
        if factor:
            number = float(match[1]) * factor
        elif digits.isascii() and digits.isdecimal() and len(digits) <= MOST_DIGITS:
            number = int(digits)
    elif not isinstance(size, bool):
        try:
            number = operator.index(size)
        except TypeError:
            number = size if isinstance(size, float) and size.is_integer() else None
    if number is None:
        raise LabkitError(f"{str(size)[:LONGEST]!r} is not a size. {_FORMS}")
    if abs(number) >= 10**MOST_DIGITS:  # which repr() may refuse to write
        raise LabkitError(f"No machine has a size of over {MOST_DIGITS} digits. {_FORMS}")
    if number < 1:
        raise LabkitError(f"{size!r} is not a size: it must be at least one byte. {_FORMS}")
    return int(number)


def three_digits(number):
    """A number as text, to three significant digits, and with no exponent where it is large.

    >>> three_digits(2.71828), three_digits(1736.2)
    ('2.72', '1,736')
    """
    return f"{number:.3g}" if abs(number) < 999.5 else f"{number:,.0f}"


def format_rate(number):
    """How many of something there are in a second, as text: to two digits below 10, above in whole numbers.

    >>> format_rate(0.42), format_rate(4294.3)
    ('0.42', '4,294')
    """
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def format_size(size):
    """A size in bytes as text, to three significant digits.

    >>> format_size(157286400)
    '150 MiB'
    """
    if size is None or isinstance(size, float) and math.isnan(size):
        return "unknown"
    if abs(size) < 1024:
        return f"{size:.0f} B"
    if abs(size) >= 10**MOST_DIGITS:
        return "more than any machine has" if size > 0 else "less than any machine has"
    for unit in "KMGT":
        size /= 1024
        if abs(size) < 999.5 or unit == "T":
            break
    digits = max(0, 2 - int(math.log10(max(abs(size), 1))))
    return f"{size:.{digits}f} {unit}iB"


def plain(value):
    """A number of NumPy's as one of Python's own; anything else as it is."""
    return value.item() if isinstance(value, numbers.Number) and hasattr(value, "item") else value


def counted(number, noun):
    """A number of things as text.

    >>> counted(1, "step"), counted(2000, "step")
    ('1 step', '2,000 steps')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
