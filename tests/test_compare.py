"""compare(): one table and one picture of what became of several trials."""

from fractions import Fraction

import numpy as np
import pytest

import labkit
from labkit.sizes import format_rate

ROWS = 6_000


def train(rows, batch_size=64):
    import keras

    model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    X = np.ones((rows, 784), "float32")
    return model.fit(X, np.zeros(rows), batch_size=batch_size, verbose=0).history["loss"][-1]


@pytest.fixture(scope="module")
def outcomes():
    return {
        "few rows": labkit.run(train, rows=ROWS // 10, memory_limit="16 MiB"),
        "all rows": labkit.run(train, rows=ROWS, memory_limit="16 MiB"),
        "without training": labkit.run("pass"),
    }


def test_table_says_what_the_outcomes_say(outcomes):
    few, many, idle = labkit.compare(outcomes, result="loss").rows
    assert few[""] == "few rows" and few["outcome"] == "✓ it fits" and few["vs first"] == "·"
    assert few["peak"] == labkit.format_size(outcomes["few rows"].peak_bytes)
    assert float(few["loss"]) == pytest.approx(outcomes["few rows"].result, rel=1e-3)
    assert "asked for 17.9 MiB" in many["outcome"], many
    assert many["loss"] == many["samples/s"] == many["vs first"] == "·"
    assert idle["ms per step"] == "·" and idle["host peak"].endswith("MiB")


def test_text_and_html_hold_every_cell(outcomes):
    comparison = labkit.compare(outcomes)
    for row in comparison.rows:
        for cell in row.values():
            assert cell in str(comparison) and cell in comparison._repr_html_()


def test_labels_cannot_break_the_page(outcomes):
    shown = labkit.compare({"<b>": outcomes["few rows"]})._repr_html_()
    assert "<b>" not in shown and "&lt;b&gt;" in shown


def test_the_larger_is_told_as_a_ratio(outcomes):
    twice = labkit.run(train, rows=ROWS // 5, memory_limit="16 MiB")
    row = labkit.compare({"few": outcomes["few rows"], "twice": twice}).rows[1]
    assert row["vs first"] == f"{twice.peak_bytes / outcomes['few rows'].peak_bytes:.2f} x"
    assert float(row["vs first"].split()[0]) > 1.3


def test_figure_shows_peaks_and_with_two_speeds_those_too(outcomes):
    [memory] = labkit.compare(outcomes).plot("Rows").axes  # of one speed there is nothing to compare
    assert labkit.format_size(outcomes["few rows"].peak_bytes) in [text.get_text() for text in memory.texts]
    names = [label.get_text() for label in memory.get_yticklabels()]  # only two have a limit
    assert names == ["few rows\nlimit 16.0 MiB", "all rows\nlimit 16.0 MiB", "without training"]
    few = outcomes["few rows"]
    _, speed = labkit.compare({**outcomes, "again": few}).plot().axes
    rate = format_rate(few.samples_per_second)
    assert [text.get_text() for text in speed.texts] == [rate, "unknown", "unknown", rate]
    assert [bar.get_width() for bar in speed.patches] == [
        few.samples_per_second,
        0,
        0,
        few.samples_per_second,
    ]


@pytest.mark.parametrize(("given", "said"), [({}, "outcomes by label"), ([1], "outcomes by label"),
                                             ({"a": 3}, "'a' is not the outcome")])  # fmt: skip
def test_what_is_no_outcome_is_refused(given, said):
    with pytest.raises(labkit.LabkitError, match=said):
        labkit.compare(given)


LABELS = [8, None, ("a", 1)]


def test_labels_need_not_be_strings():
    made = {label: labkit.Outcome("ok", limit_bytes=n, result=n) for n, label in enumerate(LABELS, 9)}
    shown = labkit.compare(made)
    assert [row[""] for row in shown.rows] == list(map(str, LABELS))
    assert all(str(label) in str(shown) and str(label) in shown._repr_html_() for label in ("8", "None"))
    assert [text.get_text().split()[0] for text in shown.plot().axes[0].get_yticklabels()][:2] == [
        "8",
        "None",
    ]


@pytest.mark.parametrize("result", ["peak", "outcome", "", 3, None])
def test_the_result_has_a_heading_of_its_own(result):
    with pytest.raises(labkit.LabkitError, match="heading"):
        labkit.compare({"a": labkit.Outcome("ok")}, result=result)


def test_a_fraction_is_shown_as_a_number():
    assert labkit.compare({"a": labkit.Outcome("ok", result=Fraction(1, 3))}).rows[0]["result"] == "0.3333"


def test_less_than_one_sample_per_second_is_not_none():
    slow, slower = (labkit.Outcome("ok", samples_per_second=speed) for speed in (1.4, 0.6))
    compared = labkit.compare({"slow": slow, "slower": slower})
    assert [row["samples/s"] for row in compared.rows] == ["1.4", "0.6"]
    _, speed = compared.plot().axes
    assert [text.get_text() for text in speed.texts] == ["1.4", "0.6"]
