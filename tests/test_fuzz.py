"""diagnose() on texts that nobody would write: never an exception, and no pattern that can take for ever."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import labkit
from labkit.explain import causes, tensors
from labkit.logs import dumptext, forms, messages, reader, xlatext
from labkit.record import opnames
from labkit.texts import characters, frames

try:
    from re import _constants as sre
    from re import _parser as sre_parse
except ImportError:  # Python 3.10
    import sre_constants as sre
    import sre_parse

CORPUS = Path(__file__).parent / "corpus"
SEEDS = [path.read_bytes()[:20_000] for path in sorted(CORPUS.glob("*/*.txt"))]
EXAMPLES = int(os.environ.get("LABKIT_FUZZ_EXAMPLES", "100"))  # of each kind
QUICK = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
PIECES = [
    *reader._NEEDLES,
    *(f"{number}".encode() for number in (0, -1, 1, 7, 2**31, 2**63, 10**17, 10**18, 10**30)),
    *(
        b"[64,224,224,3]",
        b"[]",
        b"[0]",
        b"[0,5]",
        b"[" + b"9" * 150 + b"]",
        b"[" + b"1," * 90 + b"1]",
        b"shape",
    ),
    *(
        b" and type ",
        b"float",
        b"half",
        b"double",
        b"complex128",
        b"nothing",
        b" by allocator cpu",
        b"GPU_0_bfc",
    ),
    *(
        b"(rounded to 17)",
        b"requested by op ",
        b"<unknown>",
        b"{{node a/b/c}}",
        b"adam/",
        b"gradient_tape/",
        b"/",
    ),
    *(
        b"InUse at 0 of size 0 next 0",
        b"Free  at ff of size 99999999999999999 next 1",
        b"5GiB",
        b"1.2.3MiB",
        b"0B",
    ),
    *(b"Limit: 0B", b"InUse: 9TiB", b"MaxInUse: 7", b"] " + b"_" * 100, b"] " + b"*x" * 50, b"Epoch 99999/1"),
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\xff\xfe",
        b"\x1b[31m",
        b" ",
        b"    ",
        b"\t",
        b'File "x.py", line 1, in predict',
    ),
    *(
        "Getötet".encode(),
        "已杀死".encode(),
        "é".encode()[:1],
        b"\\n",
        b"<script>",
        b"%",
        b"{",
        b"}}",
        b"batch_size=0",
    ),
]


def check(text):
    found = labkit.diagnose(text)
    assert found.cause in causes.MEANINGS
    assert str(found) and json.dumps(found.to_dict())
    for size in (found.requested_bytes, found.in_use_bytes, found.limit_bytes, found.largest_free_bytes):
        assert size is None or size >= 0
    return found


@QUICK
@given(st.one_of(st.text(max_size=2000).map(lambda text: f" {text}"), st.binary(max_size=2000)))
def test_anything(text):
    check(text)


NO_SIZE = b"(GPU_0_bfc) ran out of memory trying to allocate 1.2.3MiB. This is not a failure\n"
NO_SIZES = [
    b"Allocator " + NO_SIZE,
    b"Allocator " + NO_SIZE.replace(b"not ", b""),
    b"failed to allocate 1.2.3GiB\n",
]


@QUICK
@given(st.lists(st.sampled_from(PIECES + NO_SIZES), max_size=40).map(b"".join))
@example(b"".join(PIECES))
@example(b"".join(3 * NO_SIZES))
def test_pieces_of_messages_in_any_order(text):
    check(text)


def patterns_of(module):
    return [value for value in vars(module).values() if isinstance(value, re.Pattern)]


FORMS = [pattern for _, _, pattern in messages.compiled_forms()] + patterns_of(reader) + patterns_of(dumptext)
SAID = st.one_of([st.from_regex(pattern) for pattern in FORMS])


@QUICK
@given(st.lists(SAID, min_size=1, max_size=12), st.sampled_from(["\n", " ", "\r\n", "\n    "]))
def test_whatever_the_patterns_match(said, between):
    check((between.join(said)).encode("utf-8", "replace"))


@st.composite
def spoilt(draw):
    """A text of the corpus with parts cut out, doubled, moved, or written over with something else."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 3000)))
        instead = draw(st.sampled_from([b"", text[start:end] * 2, *PIECES]))
        text = text[:start] + instead + text[end:]
    return text


@QUICK
@given(spoilt())
def test_spoilt_texts_of_the_corpus(text):
    check(text)


@QUICK
@given(st.sampled_from(SEEDS), st.lists(st.integers(1, 5000), min_size=1, max_size=9))
def test_cut_into_blocks_anywhere_the_answer_is_the_same(text, lengths):
    blocks, at = [], 0
    for length in lengths:
        blocks.append(text[at : at + length])
        at += length
    whole, cut = reader.read([text]), reader.read([*blocks, text[at:]])
    assert whole == cut or _told(whole) == _told(cut)


def _told(log):
    return [
        (f.kind, f.line, f.shape, f.op, f.requested_bytes, f.last_line) for f in log.failures
    ], log.warnings


def patterns():
    for module in (dumptext, opnames, reader, messages, xlatext, tensors, characters, frames):
        yield from ((module.__name__, pattern) for pattern in patterns_of(module))
    others = [forms.WORDING, forms.NO_WORDING, *(pattern for _, pattern in messages._MORE)]
    for pattern in others + [pattern for _, pattern, _ in forms.NO_MEMORY]:
        yield "forms", re.compile(pattern)
    for name, _, pattern in messages.compiled_forms():
        yield name, pattern


def repeats(tree, inside=1):
    """(how often the loop may run, how often those around it), for each loop of a parsed pattern."""
    for op, value in tree:
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            most = float("inf") if value[1] is sre.MAXREPEAT else value[1]
            yield most, inside
            yield from repeats(value[2], inside * most)
        elif op is sre.SUBPATTERN:
            yield from repeats(value[3], inside)
        elif op is sre.BRANCH:
            for branch in value[1]:
                yield from repeats(branch, inside)


@pytest.mark.parametrize(("name", "pattern"), list(patterns()))
def test_no_loop_without_a_bound_stands_in_another_loop(name, pattern):
    for most, around in repeats(sre_parse.parse(pattern.pattern, pattern.flags)):
        assert most * around < 10_000 or around == 1, f"{name}: {pattern.pattern}"


def test_that_check_bites():
    for bad in (r"(a+)+", r"(?:a*,)*", r"((?:ab){0,999}c){0,999}"):
        loops = list(repeats(sre_parse.parse(bad)))
        assert not all(most * around < 10_000 or around == 1 for most, around in loops)
