"""python -m labkit estimate and find-batch-size, on a module of the reader's own."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import records

from labkit.commands.main import main
from labkit.commands.predict_memory import _facts_of_several, _locate, _table_of_several, parameter
from labkit.errors import LabkitError

MODULE = """
import keras
import numpy as np
import tensorflow as tf  # at the top, as in anybody's script

print("importing")


def train(batch_size, width=64):
    layers = [keras.Input((784,)), keras.layers.Dense(width, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(3):
        model.train_on_batch(np.ones((batch_size, 784), "float32"), np.zeros(batch_size))
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "shallow_net.py").write_text(MODULE)
    for name in ("random", "queue"):
        (tmp_path / f"{name}.py").write_text("def train(batch_size): pass")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    return tmp_path


def test_estimate_prints_a_table(home, capsys):
    assert (
        main(["estimate", "shallow_net:train", "--memory-limit", "32MiB", "--at", "8", "16", "width=32"]) == 0
    )
    told = capsys.readouterr()
    assert "importing" in told.err and "importing" not in told.out
    lines = told.out.splitlines()
    assert lines[0].split() == ["batch_size", "peak"]
    assert lines[1].split()[0] == "8" and lines[1].endswith("measured")
    assert lines[2].split()[0] == "16" and "predicted, between" in lines[3]
    assert "should fit 32.0 MiB" in lines[-1]


def test_a_limit_may_be_that_of_a_machine_that_is_not_this_one(home, capsys):
    assert main(["estimate", "shallow_net:train", "--memory-limit", "9000GiB", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["largest"] > 10**6


def test_find_batch_size_proves_and_prints_json(home, capsys):
    given = ["find-batch-size", f"{home}/shallow_net.py:train", "--memory-limit", "32 MiB", "--powers-of-two"]
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    value = found["batch_size"]
    assert value & (value - 1) == 0 and found["ooms"] <= 1
    assert found["tried"][-1] == {**found["tried"][-1], "batch_size": value, "status": "ok"}


def test_where_nothing_fits_the_status_is_1(home, capsys):
    given = ["shallow_net:train", "--memory-limit", "2MiB", "--at", "1", "2", "width=4096"]
    assert main(["estimate", *given]) == 1
    assert "Not even batch_size=1" in capsys.readouterr().out
    assert main(["estimate", *given, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["largest"] is None
    assert main(["find-batch-size", *given, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["batch_size"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nothing"], "module:function"),
        (["no_such_module:train"], "no module 'no_such_module'"),
        (["no_such_file.py:train"], "no file"),
        (["x" * 300 + ".py:train"], "no file"),
        (["random.py:train"], "another module 'random'"),
        (["queue.py:train"], "another module 'queue'"),
        (["shallow_net:train", "width"], "name=value"),
        (["shallow_net:train", "--memory-limit", "much"], "Forms that work"),
        (["shallow_net:missing"], "cannot import name 'missing'"),
        (["shallow_net:train", "--over", "rows"], "unexpected keyword argument 'rows'"),
    ],
)
def test_bad_use_is_told_with_status_2(home, capsys, given, said):
    assert main(["estimate", *given]) == 2
    assert said in capsys.readouterr().err


def test_a_package_is_not_run_to_find_a_module_in_it(home, capsys):
    (home / "nets").mkdir()
    (home / "nets" / "__init__.py").write_text("raise RuntimeError('is run')")
    assert _locate("nets.shallow:train") == ("nets.shallow", "train")
    with pytest.raises(LabkitError, match="no module 'nest'"):
        _locate("nest.shallow:train")


def test_nothing_is_said_of_what_fits_where_it_is_not_looked_for():
    several = SimpleNamespace(
        names=("a", "b", "c"), measured={(1, 2, 3): 4}, points=lambda factors: [], notes=[], seconds=1
    )
    facts = _facts_of_several(several, 2**30)
    assert "largest" not in facts and "should fit" not in _table_of_several(facts, several)


def test_unknown_options_are_refused(home, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["estimate", "shallow_net:train", "--limit", "1GiB"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --limit" in capsys.readouterr().err


def test_the_readme_shows_what_diagnose_prints(capsys):
    root = Path(__file__).parent.parent
    main(["diagnose", str(root / "tests" / "corpus" / "forms" / "tf28_attention_two_errors.txt")])
    printed = capsys.readouterr().out.splitlines()
    readme = (root / "README.md").read_text().splitlines()
    start = readme.index("    $ python -m labkit diagnose train.log") + 1
    shown = [line.removeprefix("    ") for line in readme[start : readme.index("      ...", start)]]
    assert len(shown) > 5 and shown == printed[: len(shown)]


def test_the_text_of_an_error_may_stand_in_the_place_of_a_path(capsys):
    assert main(["diagnose", "OOM when allocating tensor with shape[64,224,224,64] and type float"]) == 0
    assert capsys.readouterr().out.startswith("activations")
    assert main(["diagnose", "no such log.txt"]) == 1
    assert "there is no file of this name" in capsys.readouterr().out


def test_a_long_text_is_no_path(capsys):
    text = "OOM when allocating tensor with shape[64,224,224,64] and type float" + " x" * 300
    assert main(["diagnose", text]) == 0
    assert capsys.readouterr().out.startswith("activations")


@pytest.mark.parametrize("path", ["x" * 300, "~no_such_user/x"])
def test_what_is_no_file_has_no_timeline(capsys, path):
    assert main(["timeline", path]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_timeline_that_cannot_be_read_is_told(capsys):
    assert main(["timeline", "/proc/self/mem"]) == 2
    assert "/proc/self/mem cannot be read: " in capsys.readouterr().err


def test_without_standard_input_a_path_is_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert main(["diagnose"]) == 2
    assert "give the path of a log" in capsys.readouterr().err


def test_what_the_terminal_cannot_write_is_replaced(tmp_path, monkeypatch):
    records.step().save(tmp_path / "step.npz")
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert main(["timeline", str(tmp_path / "step.npz")]) == 0
    sys.stdout.flush()
    assert b"???" in printed.getvalue() and b"memory in use" in printed.getvalue()


@pytest.mark.parametrize(
    ("text", "value"),
    [("x={[]:1}", "{[]:1}"), ("x={1}", {1}), ("x=adam", "adam"), ("x=" + "(" * 9999, "(" * 9999)],
)
def test_a_value_that_is_no_literal_is_a_string(text, value):
    assert parameter(text) == ("x", value)
