"""The table of try_fixes(): what is compared with what, and which fix is the best, from rows made by hand."""

from types import SimpleNamespace

import pytest

import labkit
from labkit.errors import LabkitError, NothingFits
from labkit.fixes.table import AS_IT_IS, FOLLOWING, NO_LOSS, FixTrials, Row
from labkit.fixes.trying import TryingFixes
from labkit.outcome import Outcome, TrialError
from labkit.show import bars, sweeps
from labkit.sizes import MIB
from labkit.trials.sweeps import Sweep
from labkit.widgets.parts.chart import trials_data
from labkit.widgets.parts.runs import Run, rows
from labkit.widgets.parts.swept import swept


def fix(divides=1, tolerance=0.0, group="a", lesson="08"):
    return SimpleNamespace(name="fix", divides=divides, tolerance=tolerance, group=group, lesson=lesson)


def program(losses=None, training_size=10, note=""):
    return SimpleNamespace(losses=losses or {}, training_size=training_size, note=note)


def row(
    name="fix", peak=50, speed=1.0, tolerance=0.0, losses=None, status="ok", divides=1, limit=None, **facts
):
    outcome = Outcome(status, peak_bytes=peak and peak * MIB, samples_per_second=speed, limit_bytes=limit)
    fixes = [] if name == AS_IT_IS else [fix(divides, tolerance)]
    found = Row(name, fixes, outcome, program(losses))
    vars(found).update(facts)
    return found


def first(peak=100, losses=None, **facts):
    return row(AS_IT_IS, peak, losses=losses or {1: 2.0, 4: 1.0}, **facts)


def compared(*others, reference=None, start=None):
    start = start or first()
    for other in others:
        other.compare_with(start, start if reference is None else reference)
    return others[0]


def test_what_a_row_saves_is_relative_to_the_code_as_it_is():
    assert compared(row(peak=60)).saved_bytes == 40 * MIB
    assert compared(row(peak=130)).saved_bytes == -30 * MIB
    assert compared(row(peak=None)).saved_bytes is None
    assert compared(row(peak=60), start=first(peak=None)).saved_bytes is None
    assert compared(row(peak=60, why_not="no")).saved_bytes is None


@pytest.mark.parametrize(
    ("losses", "tolerance", "difference", "same"),
    [
        ({4: 1.0}, 0.0, 0.0, True),
        ({4: 1.01}, 0.02, 0.01, True),
        ({4: 1.03}, 0.02, 0.03, False),
        ({4: 0.97}, 0.02, 0.03, False),
        ({1: 2.0, 4: 1.5}, 0.1, 0.5, False),  # over as many samples as can be
        ({1: 2.2, 8: 1.0}, 0.05, 0.1, False),
        ({8: 1.0}, 0.1, None, None),
        ({4: 1.0}, None, None, None),  # another training
    ],
)
def test_losses_are_compared_over_as_many_samples(losses, tolerance, difference, same):
    found = compared(row(losses=losses, tolerance=tolerance))
    assert found.difference == (difference and pytest.approx(difference))
    assert found.same_result is same
    assert found.loss_kind == ("unknown" if tolerance is not None and same is None else same)
    assert found.keeps_the_result == (tolerance is not None and same is not False)
    assert found.samples == (None if same is None else 10 * max({1, 4} & losses.keys()))


def test_losses_of_a_divided_batch_are_those_of_whole_batches():
    divided = row(losses={1: 9.0, 2: 2.0, 3: 9.0, 8: 1.0}, divides=2)
    assert divided.losses == {1: 2.0, 4: 1.0}
    assert compared(divided).same_result


def test_a_loss_of_zero_and_a_row_by_itself():
    start = first(losses={4: 0.0})
    assert compared(row(losses={4: 0.5}, tolerance=0.5), start=start).difference == 0.5
    alone = row(losses={4: 1.0})
    assert compared(alone, reference=alone).same_result is None


@pytest.mark.parametrize(
    ("peak", "status", "trial_limit", "limit", "fits"),
    [
        (100, "ok", 100, 100, True), (101, "ok", 200, 100, False), (None, "oom", 100, 100, False),
        (None, "oom", 99, 100, False), (None, "ok", None, 100, False), (60, "ok", 100, 100, True),
    ],
)  # fmt: skip
def test_fits(peak, status, trial_limit, limit, fits):
    assert row(peak=peak, status=status, limit=trial_limit).fits(limit * MIB) is fits


def test_what_ran_out_under_the_limit_does_not_fit_whatever_is_predicted():
    estimate = SimpleNamespace(peak_bytes=lambda value: value * MIB)
    for trial_limit, fits in [(100 * MIB, False), (99 * MIB, True), (None, True)]:
        found = row(peak=None, status="oom", limit=trial_limit)
        assert found.runs_out and not found.measured
        found.predict(estimate, 64)
        assert (found.peak_bytes, found.predicted) == (64 * MIB, True)
        assert found.fits(100 * MIB) is fits
        assert found.peak_text() == "64.0 MiB predicted"


def test_peak_in_words():
    assert row(peak=None, status="oom", limit=5 * MIB).peak_text() == "over 5.00 MiB"
    assert row(peak=None, status="oom").peak_text() == "out of memory"
    assert row(peak=5).peak_text() == "5.00 MiB"


def test_largest_batch_of_a_divided_one_counts_all_its_parts():
    found = row(divides=4)
    found.find_largest(SimpleNamespace(largest=lambda limit: 16 if limit == 9 else None), 9)
    assert found.largest == 64
    found.find_largest(SimpleNamespace(largest=lambda limit: None), 9)
    assert found.largest == 0

    def nothing(limit):
        raise NothingFits("")

    unknown = row()
    unknown.find_largest(SimpleNamespace(largest=nothing), 9)
    assert unknown.largest is None


def test_several_fixes_together_are_as_exact_as_the_least_exact():
    def together(*tolerances):
        found = Row("x", [fix(divides=2, tolerance=one) for one in tolerances], Outcome("ok", peak_bytes=1))
        return found.tolerance, found.divides

    assert together(0.0, 0.02) == (0.02, 4)
    assert together(0.0, None) == (None, 4)
    assert Row("x", []).tolerance == 0 and Row("x", []).lesson == ""
    assert Row("x", [fix()]).lesson == "08-mixed-precision.ipynb"


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        ("error", "a\n\x1b[1mThe point.\x1b[0m\nb", "With it, training fails: The point."),
        ("error", "Several things:\n  first\n  last", "With it, training fails: last"),
        (
            "error",
            "Several things:\n  first\n\t [[{{node x}}]] [Op:__inference_1]",
            "With it, training fails: first",
        ),
        ("error", "first\nlast", "With it, training fails: first"),
        ("error", "  \nfirst\nlast", "With it, training fails: first"),
        ("killed", "", "With it, training fails: the process was ended"),
        ("ok", "", ""),
        ("oom", "x", ""),
    ],
)
def test_why_a_trial_failed(status, message, said):
    assert Row("x", [], Outcome(status, error=TrialError("X", message))).failure() == said
    assert Row("x", []).failure() == "" and not Row("x", []).runs_out
    killed = Row("x", [], Outcome("killed"))
    assert killed.failure() == "With it, training fails: the process was ended"


@pytest.mark.parametrize(
    ("status", "peak", "measured"),
    [("ok", 5, True), ("ok", None, False), ("oom", 5, False), ("killed", 5, False)],
)
def test_only_a_trial_that_ended_well_is_a_measurement(status, peak, measured):
    found = row(peak=peak, speed=9.0, status=status)
    assert found.measured is measured
    assert (found.peak_bytes, found.samples_per_second) == ((5 * MIB, 9.0) if measured else (None, None))


# The best


def trials(start, *others, limit=None):
    for other in others:
        other.compare_with(start, start)
    return FixTrials([start, *others], "batch_size", 64, limit and limit * MIB, 1.0)


SAME, OTHER = {4: 1.0}, {4: 9.0}


@pytest.mark.parametrize(
    ("others", "limit", "best"),
    [
        ([row("a", 90, losses=SAME), row("b", 60, losses=SAME)], None, "b"),
        ([row("a", 90, losses=SAME), row("b", 60, losses=OTHER)], None, "a"),
        ([row("a", 90, losses=SAME), row("b", 60, tolerance=None)], None, "a"),
        ([row("a", 90, losses={})], None, None),  # whether the result is the same is not known
        ([row("a", 100, losses=SAME)], None, None),
        ([row("a", 99, losses=SAME)], None, None),  # too little to be worth a change
        ([row("a", 99, losses=SAME)], 200, None),
        ([row("a", 110, losses=SAME)], None, None),
        ([row("a", 60, losses=SAME, why_not="no")], None, None),
        ([], None, None),
        # The code as it is fits: what saves most.
        ([row("a", 90, 9.0, losses=SAME), row("b", 60, 1.0, losses=SAME)], 200, "b"),
        # It does not: the fastest that fits.
        ([row("a", 70, 9.0, losses=SAME), row("b", 60, 1.0, losses=SAME)], 80, "a"),
        ([row("a", 90, 9.0, losses=SAME), row("b", 60, 1.0, losses=SAME)], 80, "b"),
        ([row("a", 70, 9.0, losses=OTHER), row("b", 60, 1.0, losses=SAME)], 80, "b"),
        ([row("a", 70, 9.0, losses={}), row("b", 60, 1.0, losses=SAME)], 80, "a"),
        ([row("a", 70, 9.0, tolerance=None), row("b", 90, 1.0, losses=SAME)], 80, "a"),
        ([row("a", 70, 9.0, losses=SAME), row("b", 60, None, losses=SAME)], 80, "a"),
        ([row("a", 90, losses=SAME)], 80, None),
        ([row("a", 70, 0.5, losses=SAME), row("b", 60, None, losses=SAME)], 80, "a"),  # of unknown speed
        # What takes an unknown amount saves nothing that is known of.
        ([row("a", None, losses=SAME), row("b", 90, losses=SAME)], None, "b"),
        ([row("a", 70, 9.0, losses=SAME, why_not="no"), row("b", 60, losses=SAME)], 80, "b"),
    ],
)
def test_best(others, limit, best):
    found = trials(first(), *others, limit=limit)
    assert (found.best() and found.best().name) == best
    said = repr(found).splitlines()[0]
    assert (f"best: {best}," in said) if best else ("nothing tried here" in said)
    assert found.fits == (limit == 200)


def test_where_no_loss_was_seen_the_best_is_one_that_is_known_to_keep_it():
    start = first()
    start.program.losses = {}
    kept, other = row("a", 60), row("b", 40, tolerance=None)
    found = trials(start, kept, other)
    assert found.best() is kept and found.notes == [NO_LOSS]
    assert trials(start, row("a", 99)).best() is None
    assert trials(start, other).notes == [] and trials(start).notes == []


def test_where_the_code_as_it_is_ran_out_the_best_is_one_that_does_not():
    start = first(peak=None, status="oom", limit=80 * MIB)
    found = trials(start, row("a", 70, losses=SAME), limit=80)
    assert not found.fits and found.best().name == "a"
    assert repr(found).startswith("batch_size 64 takes over 80.0 MiB · best: a, 70.0 MiB")
    assert trials(start, row("a", 90, losses=SAME), limit=80).best() is None
    assert trials(start, row("a", 90, losses=SAME)).best() is None  # how much it saves is not known


def test_rows_stand_in_order_of_what_they_take():
    found = trials(
        first(), row("d", None, status="oom"), row("a", 60, why_not="no"), row("b", 90), row("c", 70)
    )
    assert [each.name for each in found] == [AS_IT_IS, "c", "b", "d", "a"]
    assert found["b"].peak_bytes == 90 * MIB and len(found) == 5


def test_headline_and_cells():
    limited = trials(first(), row("a", 70, losses=SAME), limit=80)
    said = repr(limited)
    assert said.startswith("batch_size 64 takes 100 MiB and does not fit 80.0 MiB · best: a, 70.0 MiB")
    assert "100 MiB ✗" in said and "70.0 MiB ✓" in said and "yes, 0 % apart" in said
    free = repr(trials(first(), row("a", 130, tolerance=None), row("b", 60, losses=OTHER)))
    assert free.startswith("batch_size 64 takes 100 MiB · nothing tried here saves memory")
    assert "-30.0 MiB" in free and FOLLOWING in free and "no, 8e+02 % apart" in free and "✓" not in free
    fitting = repr(trials(first(), limit=100))
    assert "and fits 100 MiB · nothing tried here saves memory" in fitting


def test_a_mistake_of_the_program_is_a_note():
    start = first()
    start.program.note = "A mistake."
    assert FixTrials([start], "b", 1, None, 1.0, ["n", ""]).notes == ["A mistake.", "n"]


# What is combined, and what losses are compared with


def trying(start, reference=None):
    found = object.__new__(TryingFixes)
    found._first, found._reference, found._total = start, reference, 0
    return found


def grouped(name, peak, group, losses=SAME, **facts):
    found = row(name, peak, losses=losses, **facts)
    found.fixes[0].group = group
    return found


def combined(*others, start=None):
    start = start or first()
    for other in others:
        other.compare_with(start, start)
    return [[each.name for each in chosen] for chosen in trying(start)._combinations(list(others))]


def test_the_best_of_each_group_are_combined():
    a, b, c, d = (grouped(name, peak, name[0]) for name, peak in [("a", 50), ("b", 60), ("c", 70), ("d", 80)])
    assert combined(d, c, b, a) == [["a", "b"], ["a", "b", "c"]]
    assert combined(a, grouped("a2", 40, "a"), b) == [["a2", "b"]]
    assert combined(a) == []
    assert combined(a, grouped("b", 98, "b")) == []
    assert combined(a, grouped("b", 97, "b")) == [["a", "b"]]
    assert combined(a, grouped("b", 60, "b", losses=OTHER)) == []
    assert combined(a, grouped("b", 60, "b", why_not="no")) == []
    assert combined(a, grouped("b", None, "b", status="oom")) == []


def test_where_the_loss_of_the_code_as_it_is_was_not_seen_an_exact_fix_stands_for_it():
    start = first()
    start.program.losses = {}
    exact, loose, other = (
        row("e", 60, losses=SAME),
        row("l", 50, losses=SAME, tolerance=0.02),
        row(tolerance=None),
    )
    found = trying(start)
    found._compare([start, loose, exact, other])
    assert found._reference is exact and loose.same_result and exact.same_result is None
    seen = trying(first())
    seen._compare([seen._first, exact])
    assert seen._reference is seen._first
    failed = row("f", 60, losses=SAME, why_not="no")
    nothing = trying(start)
    nothing._compare([start, failed, loose])
    assert nothing._reference is None


def test_cells_and_data():
    more, less, out = (
        row("m", 130, 9.4, tolerance=None),
        row("l", 60, None, losses=SAME),
        row("o", None, status="oom"),
    )
    found = trials(first(), more, less, out, row("n", 60, why_not="no reason"))
    assert found._cells(more) == {
        "": "m", "peak": "130 MiB", "saves": "-30.0 MiB", "samples/s": "9.4", "same loss": FOLLOWING,
    }  # fmt: skip
    assert found._cells(less) == {
        "": "l", "peak": "60.0 MiB", "saves": "40.0 MiB", "samples/s": "·", "same loss": "yes, 0 % apart",
    }  # fmt: skip
    assert found._cells(out)["saves"] == found._cells(out)["same loss"] == "·"
    assert found._cells(found.rows[0])["same loss"] == "·"
    assert "Not applied:\n  n: no reason\n" in repr(found)
    assert trials(first(), row("n", 50, losses=SAME, why_not="no"), limit=80).best() is None
    data = found["l"].to_dict()
    assert (data["peak_bytes"], data["same_result"], data["lesson"]) == (
        60 * MIB,
        True,
        "08-mixed-precision.ipynb",
    )
    assert set(data) < set(vars(less)) | {"applies"}
    assert found.to_dict() == {
        "over": "batch_size", "value": 64, "limit_bytes": None, "seconds": 1.0, "notes": [],
        "rows": [each.to_dict() for each in found],
    }  # fmt: skip


@pytest.mark.parametrize(("peak", "saves"), [(60, "40.0 MiB"), (100, "0 B"), (130, "-30.0 MiB")])
def test_what_is_saved_in_words(peak, saves):
    assert trials(first(), row("a", peak))._table()[1]["saves"] == saves


@pytest.mark.parametrize(("largest", "told"), [(None, "·"), (0, "0"), (64, "64")])
def test_the_largest_batch_stands_in_the_table_under_a_limit(largest, told):
    found = row("a", 60, largest=largest)
    assert trials(first(), found, limit=80)._cells(found)["largest"] == told
    assert "largest" not in trials(first(), found)._cells(found)


def test_what_was_not_applied_stands_below_the_table_in_text_and_page():
    found = trials(first(), row("<a>", 60, losses=SAME, code="one\n\ntwo"), row("n", None, why_not="no & no"))
    assert [each[""] for each in found._table()] == [AS_IT_IS, "<a>"]
    text, page = repr(found), found._repr_mimebundle_()
    assert "Not applied:\n  n: no & no\n\n<a>, in your code:\n\n    one\n\n    two" in text
    assert page["text/plain"] == text
    assert "Not applied: 1</summary><ul><li>n: no &amp; no</li></ul>" in page["text/html"]
    assert "<pre>&lt;a&gt;, in your code:\n\n    one\n\n    two</pre>" in page["text/html"]
    assert repr(found["<a>"]) == "<<a>: 60.0 MiB>" and repr(found["n"]) == "<n: no & no>"


def test_the_figure_shows_what_was_measured_or_predicted(monkeypatch):
    drawn = []
    monkeypatch.setattr(bars, "bytes_against_speed", lambda *given: drawn.append(given) or "figure")
    others = row("a", 60, 9.0, losses=SAME), row("o", None, status="oom"), row("n", 50, why_not="no")
    found = trials(first(), *others, limit=80)
    assert found.plot() == found.plot("t") == "figure"
    points = [(AS_IT_IS, 100 * MIB, 1.0, "unknown"), ("a", 60 * MIB, 9.0, True)]
    assert drawn == [(points, 80 * MIB, title) for title in (repr(found).splitlines()[0], "t")]


@pytest.mark.parametrize(
    ("limit", "statuses", "summary"),
    [
        (None, ["ok", "ok"], "buffer 256 to 8192: peak up to 40.0 MiB"),
        (None, ["ok", "error"], "buffer 256: peak up to 20.0 MiB"),
        (None, ["error", "error"], "no value of buffer ran to its end"),
        (64 * MIB, ["ok", "ok"], "buffer 8192 fits"),
        (64 * MIB, ["ok", "oom"], "buffer 256 fits"),
        (64 * MIB, ["oom"], "nothing fits"),
    ],
)
def test_sweep_speaks_of_what_fits_only_where_there_is_a_limit(limit, statuses, summary):
    sweep = Sweep("pass", "buffer", [256, 8192], params={})
    peaks = (20 * MIB, 40 * MIB)
    sweep.tried = [
        (value, Outcome(status=status, peak_bytes=peak, limit_bytes=limit))
        for value, status, peak in zip(sweep.values, statuses, peaks, strict=False)
    ]
    assert sweep.summary == summary
    assert sweep.plot("Rows").get_suptitle() == f"Rows: {summary}"


@pytest.mark.parametrize(
    ("limit", "largest", "too_large"),
    [
        (256, 25, [32, 64]),  # 32 has a peak below the limit, and no room in one piece
        (256, 0, [16, 32, 64]),
        (256, None, [64]),
        (256, 64, [64]),
        (None, None, []),
    ],
)
def test_estimate_of_a_lab_marks_what_should_not_fit(limit, largest, too_large):
    predicted = {16: 122 * MIB, 32: 233 * MIB, 64: 300 * MIB}
    run = Run({}, Sweep("pass", "batch_size", [16, 32, 64], params={}), limit and limit * MIB, predicted)
    run.largest = largest
    run.sweep.tried = [(32, Outcome("oom", peak_bytes=250 * MIB, limit_bytes=256 * MIB))]
    assert run.too_large == too_large
    (row,) = rows([run])
    assert row["estimate"] == ("233 MiB ✗" if 32 in too_large else "233 MiB")
    data = trials_data([run], "batch_size", [16, 32, 64], run.limit)
    assert data["runs"][0]["tooLarge"] == too_large
    assert ("estimated not to fit: " + ", ".join(map(str, too_large)) in data["summary"]) == bool(too_large)
    facts = dict(data["runs"][0]["trials"][0]["facts"])
    assert facts["estimate"] == ("233 MiB, not to fit" if 32 in too_large else "233 MiB")
    figure = sweeps.sweeps({"": run.sweep}, predicted={"": predicted}, too_large={"": too_large})
    marked = [line.get_xdata() for line in figure.axes[0].lines if line.get_markeredgewidth() == 2]
    assert [x for xs in marked for x in xs] == too_large


def test_lab_asks_its_estimate_once_for_what_fits():
    asked = []

    def largest(limit):
        asked.append(limit)
        return 25

    estimate = SimpleNamespace(peak_bytes=lambda value, limit: 7 * value * MIB, largest=largest)
    line = swept("batch_size", 16, 64)
    run = line.run({}, 256 * MIB)
    line.predict(run, estimate, 1, lambda text: False)
    assert (asked, run.largest, run.too_large) == ([256 * MIB], 25, [32, 64])

    def unknown(limit):
        raise LabkitError("Nothing in memory is known to grow.")

    estimate.largest, run = unknown, line.run({}, 256 * MIB)
    line.predict(run, estimate, 1, lambda text: False)
    assert (run.largest, run.too_large) == (None, [64])


def test_limit_that_not_all_share_is_named_beside_its_row():
    unlimited, limited = (
        Outcome("ok", peak_bytes=80 * MIB),
        Outcome("ok", peak_bytes=40 * MIB, limit_bytes=MIB),
    )
    figure = labkit.compare({"fit": unlimited, "stream": limited}).plot()
    memory = figure.axes[0]
    assert [label.get_text() for label in memory.get_yticklabels()] == ["fit", "stream\nlimit 1.00 MiB"]
    assert not any(text.get_text().startswith("limit") for text in memory.texts)
    assert figure.get_suptitle() == "Lowest peak: stream, 40.0 MiB"
    assert labkit.compare({"fit": unlimited}).plot("Ways").get_suptitle() == "Ways"


@pytest.mark.parametrize(
    ("ends", "at"), [("ok oom oom", 0), ("oom oom ok", 1), ("oom ok oom", 0.5), ("ok ok ok", 0)]
)
def test_name_of_a_limit_covers_no_cross(ends, at):
    sweep = Sweep("pass", "x", [1, 2, 3], params={})
    sweep.tried = [
        (value, Outcome(status, peak_bytes=40 * MIB, limit_bytes=64 * MIB))
        for value, status in enumerate(ends.split(), 1)
    ]
    named = [text for text in sweep.plot().axes[0].texts if text.get_text().startswith("limit")]
    assert [text.xy[0] for text in named] == [at]
