"""A text as it was printed, whatever it was copied or downloaded as: the same lines, the same diagnosis."""

import csv
import gzip
import html
import io
import json
import re
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_diagnose import ACTIVATIONS, CORPUS, EXPECTED

import labkit
from labkit.texts import frames, quoted, rows
from labkit.texts.printed import Printed

FACTS = ("cause", "layer", "op", "shape", "dtype", "requested_bytes", "in_use_bytes", "limit_bytes")
TEXTS = {name: (CORPUS / name).read_text(errors="replace") for name in EXPECTED}
LONG = [name for name, text in TEXTS.items() if len(text.split()) > 3 and text.strip().count("\n") > 8]
STAMP = "2026-03-03T12:{:02d}:{:02d}.1234567Z"


def printed(text):
    return b"".join(Printed([text if isinstance(text, bytes) else text.encode()])).decode()


def lines(text):
    return [line.rstrip() for line in text.split("\n")]


def facts(source):
    found = labkit.diagnose(source).to_dict()
    return {name: found[name] for name in FACTS}


def each_line(form):
    return lambda text: "\n".join(form(n, line) for n, line in enumerate(text.split("\n"), 1))


def stamp(number):
    return STAMP.format(number // 60 % 60, number % 60)


# What is as it was printed stays as it is


@pytest.mark.parametrize("name", TEXTS)
def test_what_nothing_was_put_around_stays_as_it_is(name):
    """All of the corpus but two, which launchers have prefixed: all of their lines, with the same words."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", TEXTS[name])
    same = printed(TEXTS[name]) == plain
    starts = {re.sub(r"\d+", "0", re.split(r"(?<=>:)|(?<= \| )", line)[0]) for line in plain.splitlines()}
    assert same or starts in ({"[0,0]<stderr>:"}, {"stable-diffusion-tf-docker-app-0  | "}), starts


@pytest.mark.parametrize(
    "line",
    [
        "OOM when allocating tensor with shape[{},100] and type float",
        "failed to allocate {} bytes from device: CUDA_ERROR_OUT_OF_MEMORY",
        "InUse at 7f00{:04x} of size 256 next 1",
        "{} Chunks of size 256 totalling 3.0KiB",
        "I0000 00:00:1795275959.657954   11407 bfc_allocator.cc:{}] Stats:",
        "2021-05-04 22:39:21.98410{}: W tensorflow/core/common_runtime/bfc_allocator.cc:431] ****",
        "I tensorflow/core/common_runtime/bfc_allocator.cc:{}] 2 Chunks of size 256 totalling 512B",
        "{}/1000 [====>.....] - ETA: 0s - loss: 0.5",
        "Epoch {}/9: loss 0.5",
        "[[{{{{node while/body/_{}/add}}}}]]",
        "the same words, and the number {}",
    ],
)
def test_lines_that_are_alike_by_what_they_say_are_not_prefixed(line):
    text = "\n".join(line.format(n) for n in range(1, 9))
    assert printed(text) == text


# Prefixes

NAMES = st.from_regex(r"[a-z]{2,9}(-[a-z0-9]{2,5}){0,2}", fullmatch=True)
PIECES = st.one_of(
    NAMES.flatmap(
        lambda name: st.sampled_from([f"{name}: ", f"[{name}] ", f"({name} pid={{n}}) ", f"<{name}>"])
    ),
    NAMES.flatmap(lambda name: st.sampled_from([f"{name}-1  | ", f"{name}[{{n}}]: ", f"{name}:{{n}}: "])),
    st.sampled_from(["[1,{rank}]<stderr>:", "{rank}: ", "[rank{rank}]: ", "> ", "# ", "| ", "│ ", "\t"]),
    st.sampled_from(
        ["{stamp} ", "[{stamp}] ", "{stamp} stderr F ", "Mar 03 12:00:{n:02d} gpu01 python3[47]: "]
    ),
    st.sampled_from(["2026-03-03 12:00:00,{n:03d} - train - ERROR - ", "train.log:{n}:", "{n:5d}  ", "E   "]),
)


@settings(max_examples=150)
@given(st.lists(PIECES, min_size=1, max_size=3), st.sampled_from(LONG))
def test_a_prefix_of_all_lines_is_taken_off(pieces, name):
    def form(number, line):
        values = {"n": number, "rank": number % 3, "stamp": stamp(number)}
        return "".join(piece.format(**values) for piece in pieces) + line

    assert lines(printed(each_line(form)(TEXTS[name]))) == lines(printed(TEXTS[name]))


def test_a_prefix_whose_words_differ_is_taken_off():
    def ranks(number, line):
        return f"[1,{number % 4}]<{'stdout' if number % 5 == 0 else 'stderr'}>:{line}"

    def containers(number, line):
        others = f"\ntensorboard-1  | step {number}" if number % 7 == 0 else ""
        return f"trainer-1      | {line}{others}"

    text = ACTIVATIONS.read_text()
    assert lines(printed(each_line(ranks)(text))) == lines(printed(text))
    assert facts(each_line(containers)(text)) == facts(text)


def test_a_prefix_of_some_lines_is_what_they_say():
    text = each_line(lambda n, line: f"> {line}" if n % 9 else line)(ACTIVATIONS.read_text())
    assert printed(text) == re.sub(r"\x1b\[[\d;]*m", "", text)
    assert frames.FEWEST > 3 and printed("a: x\na: y\na: z") == "a: x\na: y\na: z"


def test_the_prefix_of_the_first_block_is_taken_off_all():
    text = "".join(f"step {n} of many, loss {n / 7}\n" for n in range(40_000)) + ACTIVATIONS.read_text()
    assert lines(printed(each_line(lambda n, line: f"[1,0]<stderr>:{line}")(text)))[-9:] == lines(text)[-9:]


# Other dresses


def test_colours_are_no_part_of_a_message():
    assert labkit.diagnose("OOM when allocating\x1b[0m tensor with shape\x1b[31m[64,100]").shape == (64, 100)


def notebook(text):
    stream = {"name": "stderr", "output_type": "stream", "text": text.splitlines(keepends=True)}
    cell = {"cell_type": "code", "execution_count": 3, "id": "a1b2", "metadata": {}, "outputs": [stream]}
    return json.dumps({"cells": [cell | {"source": ["fit()"]}], "metadata": {}, "nbformat": 4}, indent=1)


def of_kaggle(text):
    entries = [
        {"stream_name": "stderr", "time": 7.5 + n, "data": f"{line}\n"}
        for n, line in enumerate(text.split("\n"))
    ]
    return "[" + "\n,".join(map(json.dumps, entries)) + "\n]"


def of_a_cloud(text):
    entries = [
        {"insertId": f"{n:x}0a1b2c3d4e5f", "textPayload": line, "severity": "ERROR", "timestamp": stamp(n)}
        for n, line in enumerate(text.split("\n"))
    ]
    return json.dumps(entries, indent=2, ensure_ascii=False)


def table(separator, lines_of_a_cell=1):
    """Rows with a time, the text in quotes, and a level, as exported logs have them."""

    def dressed(text):
        lines, file = text.split("\n"), io.StringIO()
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["time", "message", "level"])
        for n in range(0, len(lines), lines_of_a_cell):
            writer.writerow([n / 7, "\n".join(lines[n : n + lines_of_a_cell]), "stderr"])
        return file.getvalue()

    return dressed


DRESSES = {
    "a notebook": notebook,
    "one line of a notebook": lambda text: json.dumps(json.loads(notebook(text))),
    "Docker": each_line(
        lambda n, line: json.dumps({"log": f"{line}\n", "stream": "stderr", "time": stamp(n)})
    ),
    "Kaggle": of_kaggle,
    "JSON behind a prefix": each_line(lambda n, line: f'app-1  | {{"n": {n}, "msg": {json.dumps(line)}}}'),
    "a cloud": of_a_cloud,
    "a web page": lambda text: f"<pre>{html.escape(text)}</pre>",
    "lines of a web page": each_line(lambda n, line: f'<span class="line">{html.escape(line)}</span><br>'),
    "a page that is one line": lambda text: html.escape(text).replace("\n", "<br/>"),
    "spaces that do not break": lambda text: text.replace(" ", "\u00a0"),
    "carriage returns": lambda text: text.replace("\n", "\r"),
    "Windows": lambda text: text.replace("\n", "\r\n"),
    "Rich": each_line(lambda n, line: f"│ {line:<90} │"),
    "commas between columns": table(","),
    "semicolons between columns": table(";"),
    "tabs between columns": table("\t"),
    "several lines in a cell": table(",", 3),
    "Docker's JSON in a table": lambda text: table(",")(DRESSES["Docker"](text)),
    "a table": each_line(lambda n, line: f"| {line} |"),
    "typographic quotes": lambda text: text.replace("'", "\u2019").replace('"', "\u201d"),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_the_diagnosis_is_the_same_in_another_dress(dress):
    names = LONG[list(DRESSES).index(dress) % 4 :: 4]
    assert len(names) > 10
    differ = {name: facts(DRESSES[dress](TEXTS[name])) for name in names}
    assert differ == {name: facts(TEXTS[name]) for name in names}


def test_a_lesson_that_shows_what_labkit_said_of_a_trial_is_read_as_that():
    found = labkit.diagnose(CORPUS.parent.parent / "notebooks" / "00-start-here.ipynb")
    assert (found.cause, found.shape) == ("activations", (64, 124, 124, 32))
    assert found.op.endswith("conv2d_1_2/Relu") and found.requested_bytes == 4 * 64 * 124 * 124 * 32


@pytest.mark.parametrize(
    "quote", [repr, lambda text: repr(text.encode()), json.dumps], ids=["repr", "bytes", "JSON"]
)
def test_a_text_in_a_string_is_read_line_by_line(quote):
    text = ACTIVATIONS.read_text()
    found = labkit.diagnose(f"ERROR: the worker said {quote(text)}")
    assert facts(text)["in_use_bytes"] == found.in_use_bytes and found.cause == labkit.diagnose(text).cause
    assert found.evidence[-1].startswith("The text was inside of a notebook, of JSON, a table or a quoted")


def test_a_path_on_windows_is_no_text_in_a_string():
    text = 'File "C:\\new\\nets\\train.py", line 3\nMemoryError'
    assert printed(text) == text and labkit.diagnose(text).cause == "host_memory"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_it_may_be_encoded_otherwise(encoding, tmp_path):
    text = ACTIVATIONS.read_text()
    (tmp_path / "log").write_bytes(text.encode(encoding))
    assert facts(tmp_path / "log") == facts(text)


def test_it_may_be_packed(tmp_path):
    text = ACTIVATIONS.read_bytes()
    packed = gzip.compress(text[:5000]) + gzip.compress(text[5000:])
    assert printed(packed) == printed(text)
    whole = gzip.compress(text * 3)
    assert printed(text * 3).startswith(printed(whole[: len(whole) // 2])[:2000])
    zeros = gzip.compress(b"step\n" * 2**21)
    assert max(map(len, Printed([zeros]))) <= 2**18


@settings(max_examples=60)
@given(st.text(min_size=1), st.integers(1, 40))
def test_a_string_of_json_is_read_however_it_arrives(text, size):
    data = json.dumps({"key": f"a {text}\n", "other": ["b c"]}).encode()
    blocks = [data[n : n + size] for n in range(0, len(data), size)]
    said = f"a {text}\nb c\n".encode("utf-8", "replace")
    assert b"".join(quoted.strings(blocks)) == said


@settings(max_examples=60)
@given(st.lists(st.text(min_size=1), min_size=4), st.integers(1, 5), st.sampled_from(rows.SEPARATORS))
def test_a_cell_is_read_whatever_is_in_it(said, most, separator):
    said = [re.sub(r"\r|[\ud800-\udfff]", "", text) + " a." for text in said]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([n, text, ""] for n, text in enumerate(said))
    data = [line + b"\n" for line in file.getvalue().encode().split(b"\n")[:-1]]
    blocks = [b"".join(data[n : n + most]) for n in range(0, len(data), most)]
    assert rows.column(b"".join(data)) == (separator, 1)
    assert b"".join(rows.texts(blocks, separator, 1)).decode() == "".join(f"{text}\n" for text in said)


def test_a_cell_without_an_end_does_not_swallow_the_rest(monkeypatch):
    first = '"12:00","Epoch 1/5",""\n' * 8 + '"12:01","it said "and did not end,""\n'
    text = first + '"12:02","next",""\n' * 20_000
    assert printed(text).count("next") == 20_000


@pytest.mark.parametrize(
    "text",
    [
        "epoch,loss,accuracy\n" + "0,0.5,0.5\n" * 9,
        'File "a.py", line 3, in f\n' * 9,
        "OOM when allocating tensor with shape[64,100] and type float\n" * 9,
        '"one"\n' * 9,
        '"a","b"\n"c"\n' * 9,
    ],
)
def test_what_has_commas_is_no_table_yet(text):
    assert rows.column(text.encode()) is None


def test_a_long_string_of_json_is_not_kept(monkeypatch):
    monkeypatch.setattr(quoted, "LONGEST", 1000)
    data = b'{"image/png": "' + b"ab c" * 5000 + b'", "text": ["the end\\n"]}'
    parts = list(quoted.strings(data[n : n + 100] for n in range(0, len(data), 100)))
    assert max(map(len, parts)) <= 1200 and b"".join(parts).endswith(b"the end\n")


# What is no text


def test_what_is_no_text_is_called_what_it_is():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("log.txt", ACTIVATIONS.read_text())
    for data, kind in (
        (archive.getvalue(), "a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG image"),
        (bytes(range(32)) * 20, "binary data"),
        (bytes(range(256)) * 20, "binary data"),
    ):
        found = labkit.diagnose(data)
        assert found.cause == "unknown" and f"This is no text, but {kind}" in found.evidence[0]
