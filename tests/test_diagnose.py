"""diagnose(): texts, files, outcomes, the command line, and what is no text at all."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import labkit
from labkit import plots
from labkit.__main__ import main
from labkit.explain import advice, causes
from labkit.explain.diagnosis import explain
from labkit.explain.sources import of_trial
from labkit.logs import reader
from labkit.logs.failure import Failure

CORPUS = Path(__file__).parent / "corpus"
EXPECTED = json.loads((CORPUS / "expected.json").read_text())
NOTES = ("also", "source", "held_out", "at_first_sight", "missed", "helps", "helpless")
ACTIVATIONS = CORPUS / "real" / "activations_a.txt"
GPU = "/job:localhost/replica:0/task:0/device:GPU:0"


def differences(name):
    """How the diagnosis of a file of the corpus differs from what is expected: {field: (is, should be)}.

    `also`: other causes that the text's own numbers allow.
    """
    expected = {k: v for k, v in EXPECTED[name].items() if k not in NOTES}
    found = labkit.diagnose(CORPUS / name).to_dict()
    if found["cause"] in EXPECTED[name].get("also", ()):
        expected["cause"] = found["cause"]
    return {field: (found[field], value) for field, value in expected.items() if found[field] != value}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_corpus(name):
    assert bool(differences(name)) == ("missed" in EXPECTED[name]), differences(name)


@pytest.mark.parametrize("name", [name for name, entry in EXPECTED.items() if entry["helps"]])
def test_a_fix_that_helps_stands_first_or_second(name):
    """`helps`: words of fixes that would have helped, by what the thread says or by the arithmetic.

    `helpless`: why none of them is expected there.
    """
    entry = EXPECTED[name]
    first = [fix.sentence.lower() for fix in labkit.diagnose(CORPUS / name).fixes[:2]]
    helped = any(words.lower() in sentence for words in entry["helps"] for sentence in first)
    assert helped == ("helpless" not in entry), first


def test_every_file_of_the_corpus_is_expected_and_has_a_source():
    files = {str(path.relative_to(CORPUS)) for path in CORPUS.glob("*/*.txt")}
    assert files == set(EXPECTED)
    assert all(entry["source"] for entry in EXPECTED.values())
    assert {entry["cause"] for entry in EXPECTED.values()} == set(causes.MEANINGS)


def variants():
    text = ACTIVATIONS.read_bytes()
    yield "as it is", text
    yield "Windows line ends", text.replace(b"\n", b"\r\n")
    coloured = text.replace(b"OOM when", b"\x1b[31mOOM when").replace(b"float on", b"float\x1b[0m on")
    yield "colours", coloured
    lines = text.split(b"\n")
    yield "time stamps of a container", b"\n".join(b"2024-01-01T00:00:00Z stdout F " + x for x in lines)
    yield "quoted", b"\n".join(b"> " + line for line in text.split(b"\n"))
    yield "UTF-16, as PowerShell writes it", text.decode().encode("utf-16")
    yield "an endless line before", b"x" * 9_000_000 + b"\n" + text


@pytest.mark.parametrize(("text"), [pytest.param(text, id=name) for name, text in variants()])
def test_the_same_text_in_other_clothes(text, tmp_path):
    (tmp_path / "train.log").write_bytes(text)
    found = labkit.diagnose(tmp_path / "train.log")
    assert (found.cause, found.shape) == ("activations", (64, 64, 64, 32))
    assert found.in_use_bytes == pytest.approx(193.29 * 2**20, rel=1e-4)


@pytest.mark.parametrize("before", [0, 300_000, 3_000_000])
def test_in_a_long_log_the_failure_is_found_with_its_line_and_surroundings(before):
    noise = "step 1 loss 0.5\n" * (before // 16)
    text = f"{noise}Epoch 7/9\n{ACTIVATIONS.read_text()}{noise}"
    found = labkit.diagnose(text)
    alone = labkit.diagnose(ACTIVATIONS)
    lines = before // 16 + 1
    assert found.evidence[0].startswith(f"Line {210 + lines:,} of {lines + 285 + before // 16:,}")
    assert (found.op, found.memory_map, found.cause) == (alone.op, alone.memory_map, "growth")


DIMENSIONS = "".join(f"  dim {{\n    size: {size}\n  }}\n" for size in (2048, 40, 40, 16))
HIDDEN = (
    "InvalidArgumentError: Cannot parse tensor from proto: goo.gle/debugonly\n"
    f"dtype: DT_FLOAT\ntensor_shape {{\n{DIMENSIONS}}}\n\n"
    "\t [[{{node StatefulPartitionedCall/AddN_3/tmp_var_zeros}}]] [Op:__inference_multi_step_on_iterator_2]\n"
)


@pytest.mark.parametrize("text", [HIDDEN, "noise\n" * 200_000 + HIDDEN, " ".join(HIDDEN.split())])
def test_a_refusal_that_hides_behind_an_invalid_argument(text):
    found = labkit.diagnose(text)
    assert (found.cause, found.layer) == ("activations", None)
    assert (found.shape, found.dtype) == ((2048, 40, 40, 16), "float32")
    assert found.requested_bytes == 2048 * 40 * 40 * 16 * 4
    assert "lack of memory" in " ".join(found.evidence)


def test_killed_at_the_end_of_a_long_log_in_any_language():
    for word in ("Killed", "Getötet", "Processus arrêté", "已杀死"):
        assert labkit.diagnose("step 1 loss 0.5\n" * 200_000 + word + "\n").cause == "host_memory"


def test_text_path_and_bytes_are_all_taken(monkeypatch):
    monkeypatch.chdir(ACTIVATIONS.parent)
    text = ACTIVATIONS.read_text()
    answers = [labkit.diagnose(given) for given in (text, text.encode(), ACTIVATIONS, str(ACTIVATIONS))]
    assert [answer.evidence for answer in answers] == 4 * [labkit.diagnose("activations_a.txt").evidence]


@pytest.mark.parametrize("given", [None, 42, ["OOM"], Path("no/such.log"), Path(__file__).parent, object()])
def test_what_cannot_be_diagnosed_is_refused_with_what_to_give(given):
    with pytest.raises(labkit.LabkitError, match="Give labkit.diagnose"):
        labkit.diagnose(given)


@pytest.mark.parametrize("text", ["", " ", "\n" * 1000, "\0" * 100, "no such file.log", b"\xff\xfe\x00OOM"])
def test_nothing_in_it(text):
    found = labkit.diagnose(text)
    assert not found.found and "emory ran out, and" not in found.headline


@pytest.mark.parametrize("at", range(0, 30_000, 1234))
def test_cut_off_anywhere_no_number_is_made_up(at):
    whole = ACTIVATIONS.read_text()
    for part in (whole[:at], whole[at:], whole[at:].replace("\n", " ")):
        found = labkit.diagnose(part)
        assert found.shape in (None, (64, 64, 64, 32))
        assert found.requested_bytes in (None, 32 * 2**20)
        assert found.in_use_bytes in (None, labkit.diagnose(ACTIVATIONS).in_use_bytes)
        assert found.cause in ("activations", "unknown", "not_oom")


def test_a_path_that_is_no_file_is_text_and_that_is_said():
    assert "there is no file of this name" in labkit.diagnose("train.log").evidence[-1]


def test_a_limit_of_a_trial_on_a_gpu_is_not_taken_for_a_gpu_that_is_full():
    message = (
        f"OOM when allocating tensor with shape[64,64,64,32] and type float on {GPU} by allocator GPU_0_bfc"
    )
    error = labkit.outcome.TrialError("ResourceExhaustedError", message)
    found = of_trial(error, ACTIVATIONS.read_text(), Failure(limit_bytes=200 * 2**20, batch=64), {})
    assert found.cause == "activations"


def test_a_shape_that_is_cut_off_is_not_taken():
    text = "OOM when allocating tensor with shape[64,224,22"
    assert labkit.diagnose(text).shape is None


def test_all_failures_are_listed_and_the_first_that_matters_is_explained():
    text = (
        "W bfc_allocator.cc:1] Allocator (GPU_0_bfc) ran out of memory trying to allocate 1.00GiB with "
        "freed_by_count=0. The caller indicates that this is not a failure, but ...\n"
        f"OOM when allocating tensor with shape[64,100,100,32] and type float on {GPU} by allocator G\n"
        f"OOM when allocating tensor with shape[32,100,100,32] and type float on {GPU} by allocator G\n"
        "Killed\n"
    )
    found = labkit.diagnose(text)
    assert found.shape == (64, 100, 100, 32)
    assert [other.partition(",")[0] for other in found.others[:2]] == ["line 3: oom", "line 4: killed"]
    assert found.others[2].endswith("less memory: 1.")


def test_two_processes_writing_at_once_are_told_apart_by_their_threads():
    def process(thread, size):
        head = f"I0000 00:00:1.5  {thread} bfc_allocator.cc:1] "
        yield f"{head}BFCAllocator dump for GPU_0_bfc"
        for place in range(4):
            yield f"{head}InUse at {place * size:x} of size {size} next {place}"
        yield f"{head}Sum Total of in-use chunks: {4 * size}B"
        yield f"{head}{100 * '*'}"

    mixed = zip(process(11, 1024), process(22, 4096), strict=True)
    log = reader.read(["".join(f"{a}\n{b}\n" for a, b in mixed).encode()])
    assert log.failures[0].dump.used_bytes in (4096, 16384)
    assert log.failures[0].dump.whole


def test_the_dump_in_the_text_is_the_allocators_own_count():
    found = labkit.diagnose(ACTIVATIONS)
    assert sum(c.size for c in found.memory_map.chunks if c.in_use) == found.memory_map.in_use_bytes
    assert found.memory_map.held_bytes == 200 * 2**20
    assert plots.memory_map(found)._repr_png_().startswith(b"\x89PNG")
    assert "data:image/png" in found._repr_mimebundle_()["text/html"]
    with pytest.raises(ValueError, match="dump is incomplete"):
        plots.memory_map(labkit.diagnose("OOM when allocating tensor with shape[8,9] and type float"))


def test_the_map_of_a_dump_without_names_tells_equal_chunks_apart():
    found = labkit.diagnose(ACTIVATIONS)
    count, size = found.memory_map.groups()[0]
    assert (count, size) == (4, 32 * 2**20)  # "4 Chunks of size 33554432", says the text itself
    assert any(f"{count} of 32.0 MiB" in said for said in found.evidence)
    labels = plots.memory_map(found).axes[0].get_legend_handles_labels()[1]
    assert labels[0] == f"{count} of 32.0 MiB"


def test_html_is_escaped():
    found = labkit.diagnose("OOM when allocating tensor with shape[8,9] <script>alert(1)</script>")
    assert "<script>" not in found._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("cause", causes.MEANINGS)
def test_each_cause_has_fixes_with_lessons_that_exist_and_the_docs_name_it(cause):
    known = Failure(requested_bytes=2**30, batch=64, held_by_category={"optimizer": 2**20})
    answers = advice.fixes_for(cause, known, fits=16)
    assert bool(answers) == (cause not in ("warning_only", "not_oom"))
    notebooks = Path(__file__).parent.parent / "notebooks"
    assert all((notebooks / fix.lesson).exists() for fix in answers)
    for fix in answers:
        assert fix.saves is None or fix.saves > 0
    page = (Path(__file__).parent.parent / "docs" / "reading-an-oom.md").read_text()
    assert f"| `{cause}` | {causes.MEANINGS[cause]}" in page


def test_the_batch_that_cannot_fit_is_worked_out_and_a_start_is_named_well_below():
    found = labkit.diagnose(ACTIVATIONS)
    assert 64 * 200 // 225 == 56
    assert any("no more than 56 of its 64" in sentence for sentence in found.evidence)
    assert found.fixes[0].code == "model.fit(X, y, batch_size=32)"


def test_a_bound_just_below_the_batch_is_not_told():
    nearly = replace(labkit.diagnose(ACTIVATIONS).failure, limit_bytes=224 * 2**20)
    assert not any("no more than" in sentence for sentence in explain(nearly).evidence)


def test_a_log_that_is_too_long_to_be_read_whole_says_so(monkeypatch):
    monkeypatch.setattr(reader, "MOST_LINES", 100)
    filler = "[[{{node while/body/_1/add}}]] a line like all the others\n" * 40_000
    lost = f"{filler}OOM when allocating tensor with shape[8,9] and type float\n{filler}"
    found = labkit.diagnose(lost)
    assert found.cause == "unknown" and "only its end was read" in found.evidence[0]
    kept = labkit.diagnose(lost + ACTIVATIONS.read_text())
    assert kept.cause == "activations" and "only its end was read" in kept.others[-1]


def test_outcomes_are_diagnosed_too():
    fine = labkit.Outcome("ok", peak_bytes=2**20)
    assert labkit.diagnose(fine).cause == "not_oom"
    for status in ("timeout", "stopped", "killed"):
        ended = labkit.Outcome(status, error=labkit.outcome.TrialError("SIGKILL", "", by="other"))
        assert labkit.diagnose(ended).cause == "not_oom"
    starved = labkit.outcome.TrialError("SIGKILL", "Linux killed it.", by="kernel")
    assert labkit.diagnose(labkit.Outcome("killed", log="Killed\n", error=starved)).cause == "host_memory"
    failed = labkit.Outcome("error", log="Killed\n")
    assert labkit.diagnose(failed).cause == "host_memory"
    known = labkit.Outcome("oom", diagnosis=labkit.Diagnosis("attention"))
    assert labkit.diagnose(known).cause == "attention"


def run_command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "labkit", *arguments], capture_output=True, text=True, **options
    )


def test_the_command_reads_files_and_stdin_and_its_status_tells(capsys):
    assert main(["diagnose", str(ACTIVATIONS)]) == 0
    assert "activations (likely)" in capsys.readouterr().out
    assert main(["diagnose", "--json", str(ACTIVATIONS)]) == 0
    assert json.loads(capsys.readouterr().out) == labkit.diagnose(ACTIVATIONS).to_dict()
    assert main(["diagnose", str(CORPUS / "real" / "not_oom_a_done.txt")]) == 1
    assert main(["diagnose", "no/such/file"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    piped = run_command("diagnose", input=ACTIVATIONS.read_text())
    assert (piped.returncode, piped.stderr) == (0, "") and "activations" in piped.stdout
    assert run_command().returncode == 2
    assert "example" in run_command("diagnose", "--help").stdout


HELD = {"weights": 300, "optimizer": 600, "gradients": 50, "activations": 40, "inputs": 5, "workspace": 5}


@pytest.mark.parametrize(
    ("op", "held", "cause"),
    [
        ("sequential/dense/MatMul", HELD, "weights_or_optimizer"),
        ("sequential/dense/MatMul", HELD | {"activations": 4000}, "activations"),
        ("adam/Square_8", HELD | {"activations": 500, "optimizer": 300}, "weights_or_optimizer"),
    ],
)
def test_what_was_in_use_by_category_makes_it_certain(op, held, cause):
    known = Failure(
        shape=(64, 100),
        op=op,
        requested_bytes=25_600,
        limit_bytes=10_000,
        in_use_bytes=9_000,
        held_by_category=held,
    )
    assert causes.find(replace(known, limit_bytes=30_000))[:2] == (cause, causes.CERTAIN)


def test_the_card_of_a_failed_trial_names_the_cause_and_what_helps_most():
    card = str(labkit.Outcome("oom", diagnosis=labkit.diagnose(ACTIVATIONS)))
    assert "activations (likely)" in card and "What helps most: Make the batch smaller" in card


def wandering():
    import keras
    import numpy as np
    from keras import layers

    convs = [layers.Conv1D(64, 3, padding="same") for _ in range(2)]
    model = keras.Sequential(
        [keras.Input((None, 32)), *convs, layers.GlobalAveragePooling1D(), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    for length in (900, 1000, 950, 1020, 980, 1010, 940, 1150, 1400):
        model.train_on_batch(np.zeros((64, length, 32), "float32"), np.zeros((64, 1)))


def test_steps_of_unequal_length_do_not_grow_and_a_near_miss_is_told():
    outcome = labkit.run(wandering, memory_limit="72 MiB")
    found = outcome.diagnosis
    assert (outcome.status, found.cause) == ("oom", "activations")
    assert any(said.startswith("A near miss") for said in found.evidence)
    assert "is the batch size" in " ".join(found.evidence) and found.failure.batch == 64


def array_that_fills_the_limit():
    import keras
    import numpy as np
    import tensorflow as tf

    held = tf.constant(np.zeros((126, 2**18), "float32"))
    model = keras.Sequential([keras.Input((1024,)), keras.layers.Dense(512), keras.layers.Dense(512)])
    model.compile("adam", "mse")
    model.train_on_batch(np.zeros((4, 1024)), np.zeros((4, 512)))
    return held


def shuffle_buffer_that_fills_the_limit():
    import keras
    import tensorflow as tf

    rows = tf.data.Dataset.range(10**6).map(lambda i: (tf.fill((64, 64), tf.cast(i, tf.float32)), i))
    model = keras.Sequential([keras.Input((64, 64)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(rows.shuffle(8192).batch(32), steps_per_epoch=5, shuffle=False, verbose=0)


@pytest.mark.parametrize(
    ("train", "limit", "helps"),
    [
        (array_that_fills_the_limit, "128 MiB", "batch by batch"),
        (shuffle_buffer_that_fills_the_limit, "32 MiB", "shuffle buffer smaller"),
    ],
)
def test_whatever_is_refused_last_what_fills_the_limit_is_named(train, limit, helps):
    found = labkit.run(train, memory_limit=limit).diagnosis
    assert found.cause == "array_copied_to_device"
    assert helps in found.fixes[0].sentence
