"""Bytes to plain UTF-8: unpacked, decoded, without the characters and tags of web pages and terminals."""

import codecs
import re
import zlib

from .blocks import BLOCK_BYTES, with_first

_GZIP = b"\x1f\x8b"
_BOMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# What is no text, by how it begins.
_KINDS = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"BZh": "a file compressed by bzip2",
    b"\xfd7zXZ": "a file compressed by xz",
    b"\x28\xb5\x2f\xfd": "a file compressed by zstd",
}
_CONTROL = bytes({*range(32)} - {*b"\t\n\r\x07\x08\x0b\x0c\x1b"})  # what texts have of them: from terminals

# Spaces of other widths and none, line ends of Unicode, typographic quotes: in UTF-8.
_STRANGE = re.compile(
    rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8d\x98\x99\x9c\x9d\xa8\xa9\xaf]|\xe2\x81\xa0|\xef\xbb\xbf"
)
_PLAIN = {
    **dict.fromkeys(map(str.encode, "\u0085\u2028\u2029"), b"\n"),
    **dict.fromkeys(map(str.encode, "\u200b\u200c\u200d\u2060\ufeff"), b""),
    **dict.fromkeys(map(str.encode, "‘’"), b"'"),
    **dict.fromkeys(map(str.encode, "“”"), b'"'),
}
_TAG = re.compile(
    rb"</?(?:br|span|pre|code|div|td|tr|tbody|table|li|ol|ul|font|samp)(?:\s[^<>]{0,400})?/?>|</?[pabi]>"
    rb"|<[ap] [^<>]{1,400}>"
)
_BREAK = re.compile(
    rb"(?:<br ?/?>|</(?:p|li|div|tr|pre|h[1-6])>)(?![ \t]*[\r\n])"
)  # a line that is broken by the tag alone
_ENTITY = re.compile(rb"&(?:(lt|gt|quot|apos|nbsp|amp)|#(\d{1,3})|#x([0-9a-fA-F]{1,2}));")
_NAMED = {b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'", b"nbsp": b" ", b"amp": b"&"}
_WIDE = "\u3000-\u9fff\uac00-\ud7a3\uff00-\uff60"  # of Chinese, Japanese and Korean, and their punctuation
_UNSPACED = re.compile(rf"(?<=[A-Za-z\d])(?=[{_WIDE}])|(?<=[{_WIDE}])(?=[A-Za-z\d])")
_COLOR = re.compile(rb"\x1b\[[0-9;]{0,20}[A-Za-z]")


def what_else(block):
    """What a block of bytes is, in words, if it is the first one of something that is no text; else None."""
    for start, kind in _KINDS.items():
        if block.startswith(start):
            return kind
    strange = len(block) - len(block.translate(None, _CONTROL))
    return "binary data" if strange > 0.05 * len(block) else None  # of random bytes it is 0.09


def decoded(blocks):
    """The same text in UTF-8: gzip is unpacked, UTF-16 (which PowerShell writes) is decoded."""
    first, blocks = with_first(blocks)
    if first.startswith(_GZIP):
        first, blocks = with_first(_unpacked(blocks))
    if encoding := _wide(first):
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        blocks = (decoder.decode(block).removeprefix("\ufeff").encode("utf-8", "replace") for block in blocks)
    return blocks


def _wide(block):
    """The encoding in two bytes per character, by its mark or by the zeros of Latin letters; None if none."""
    for mark, encoding in _BOMS.items():
        if block.startswith(mark):
            return encoding
    low, high = block[0:4000:2], block[1:4000:2]
    for zeros, others, encoding in ((high, low, "utf-16-le"), (low, high, "utf-16-be")):
        if zeros.count(0) > 0.8 * len(zeros) > 0 and others.count(0) < 0.1 * len(others):
            return encoding
    return None


def _unpacked(blocks):
    """What gzip has packed, in blocks of BLOCK_BYTES; of a damaged file, what comes before the damage."""
    unpacker, rest = zlib.decompressobj(31), b""
    try:
        for block in blocks:
            rest += block
            while rest:
                yield unpacker.decompress(rest, BLOCK_BYTES)
                rest = unpacker.unconsumed_tail
                if unpacker.eof:  # a file may consist of several
                    rest = unpacker.unused_data
                    unpacker = zlib.decompressobj(31)
    except zlib.error:
        return


def plain(blocks):
    """The same lines with plain spaces and line ends, without colors and HTML's tags and entities."""
    first, blocks = with_first(blocks)
    alone = b"\n" not in first  # lines that end in a lone carriage return
    for block in blocks:
        block = block.replace(b"\r", b"\n") if alone else block
        block = _COLOR.sub(b"", block) if b"\x1b" in block else block
        if not block.isascii():
            block = _STRANGE.sub(lambda strange: _PLAIN.get(strange[0], b" "), block)
        if b"&" in block or b"<" in block:
            block = _ENTITY.sub(_character, _TAG.sub(b"", _BREAK.sub(b"\n", block)))
        yield block


def _character(entity):
    name, number, hexadecimal = entity.groups()
    return _NAMED[name] if name else chr(int(number or hexadecimal, 10 if number else 16)).encode()


def spaced(line):
    """The line with a space wherever a word in Latin letters stands beside a script that needs none."""
    return line if line.isascii() else _UNSPACED.sub(" ", line)
