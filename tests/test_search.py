"""Which batch size is tried next: each rule of the search, with a prediction made by hand."""

import inspect
from types import SimpleNamespace

import pytest

import labkit
from labkit.predict import search
from labkit.predict.estimation import Estimating
from labkit.predict.prediction import Estimate
from labkit.predict.search import BatchSizeSearch, Searching
from labkit.show import sweeps, tables
from labkit.sizes import MIB


def train(batch_size):
    """Never run here."""


def ok(peak, *steps):
    return labkit.Outcome("ok", peak_bytes=peak * MIB, step_peak_bytes=[step * MIB for step in steps],
                          limit_bytes=98 * MIB)  # fmt: skip


OOM = labkit.Outcome("oom")


def searching(history=(), per_unit=1.0, sure=0.9, by_peak=None, **options):
    """A search under 100 MiB, 98 for its trials; a value is predicted to take so many MiB for each unit."""
    found = Searching(train, "100 MiB", params={}, **options)
    found.history = list(history)

    def largest(limit, sure_=sure, sure=False):
        return int(limit / MIB / per_unit * (sure_ if sure else 1)) or None

    found.estimate = SimpleNamespace(
        largest=largest,
        peak_bytes=lambda value, limit: value * per_unit * MIB * (limit == found._tight),
        largest_by_peak=lambda limit, at_least: by_peak or max(at_least, int(limit / MIB / per_unit)),
        what_is_too_large=lambda limit: "All of it.", trials=2, ooms=1,
        steps_of_an_epoch=lambda value: None if value > 50 else value,
    )  # fmt: skip
    return found


def test_limits():
    found = searching(margin=0.25)
    assert (found.limit, found._free, found._tight) == (100 * MIB, 75 * MIB, 73 * MIB)
    assert (search._whole_mib(1.9 * MIB), search._whole_mib(5)) == (MIB, MIB)


@pytest.mark.parametrize(
    ("options", "value", "allowed"),
    [
        ({}, 77, 77), ({"maximum": 50}, 77, 50), ({"multiple_of": 8}, 77, 72), ({"multiple_of": 8}, 7, 0),
        ({"powers_of_two": True}, 77, 64), ({"powers_of_two": True}, 64, 64), ({"powers_of_two": True}, 0, 0),
    ],
)  # fmt: skip
def test_allowed(options, value, allowed):
    assert searching(**options)._allowed(value) == allowed


def test_first():
    assert searching()._first() == 88  # what is sure to fit 98
    assert searching(multiple_of=90)._first() == 90  # or, if that is not allowed, what should fit
    with pytest.raises(
        labkit.LabkitError, match="Not even batch_size=1 is predicted to fit 98.0 MiB.* All of it"
    ):
        searching(per_unit=200)._first()


@pytest.mark.parametrize(
    ("value", "outcome", "per_unit", "following"),
    [
        (88, ok(88), 1.0, 96),  # 98 % of 98
        (94, ok(94), 1.0, 96),
        (95, ok(95), 1.0, None),  # not 2 % more
        (50, ok(60), 1.0, 79),  # takes a fifth more than was predicted: 98 % of 81
        (50, ok(40), 1.0, 120),  # takes a fifth less: 98 % of 122
        (80, ok(80.5), 1.0, 96),  # less than a hundredth off
        (80, ok(80.9), 1.0, 94),  # a little more than a hundredth: 98 % of 96
        (1, ok(90), 1.0, None),  # at ninety times what was predicted, not even 1 fits
        (60, ok(60, 30, 55, 60), 1.0, 91),  # it goes on rising by 5
    ],
)
def test_after_one_that_fits_more_is_tried(value, outcome, per_unit, following):
    assert searching([(value, outcome)], per_unit)._next() == following


def test_a_correction_upwards_does_not_end_at_the_memory_that_there_is(monkeypatch):
    monkeypatch.setattr(search, "device", lambda: SimpleNamespace(memory_bytes=100 * MIB))
    assert searching([(50, ok(40))])._next() == 120  # 98 % of 122


def test_where_much_is_left_gaps_are_not_believed():
    found = searching([(60, ok(60))], by_peak=70)
    found.estimate.largest = lambda limit, sure=False: 60
    assert found._next() == 70
    measured = searching([(60, ok(60))])
    measured.estimate.largest = found.estimate.largest
    assert measured._next() == 96  # 98 % of 98, by its peak alone
    found.history = [(60, ok(84))]  # 98 is nearly full
    found.estimate.peak_bytes = lambda value, limit: 84 * MIB
    assert found._next() is None


@pytest.mark.parametrize(
    ("history", "following"),
    [
        ([(88, OOM)], 79),  # nine tenths, or what is sure to fit nine tenths of the memory
        ([(60, OOM)], 54),
        ([(97, OOM)], 79),  # what is sure to fit nine tenths is less than nine tenths of the value
        ([(88, OOM), (79, OOM)], 39),
        ([(88, ok(94, 84, 85, 94))], 85),  # it rises by 9 of the 6 that are left: 100 of 103
        ([(88, ok(100, 100, 100))], None),
    ],
)
def test_after_one_that_does_not_fit_less_is_tried(history, following):
    if following is None:
        assert searching(history)._lasting == 88
    else:
        assert searching(history)._next() == following


def test_between_one_that_fits_and_one_that_does_not():
    assert searching([(40, ok(40)), (80, OOM)])._next() == 76  # 0.95 of what failed, as 98 were promised
    assert searching([(40, ok(60)), (80, OOM)])._next() == 65  # 98 by what was measured
    assert searching([(40, ok(90)), (80, OOM)])._next() == 57  # the geometric mean
    assert searching([(80, OOM), (73, ok(73))])._next() is None  # close
    assert searching([(80, OOM), (72, ok(72))])._next() == 76
    predicted = searching([(97, ok(60)), (120, OOM)])
    assert predicted._next() is None  # what was predicted not to fit did not
    assert searching([(40, ok(90)), (57, OOM), (80, OOM)])._next() == 48
    assert searching([(40, ok(60)), (80, OOM)], multiple_of=40)._next() is None
    assert searching([(40, ok(40)), (76, ok(99, 80, 82, 99)), (80, OOM)])._next() not in (76, 80)


def test_where_nothing_is_sure_to_fit_less_memory_nine_tenths_of_the_value_are_tried():
    assert searching([(3, OOM)], per_unit=95)._next() == 2


@pytest.mark.parametrize(
    ("lasting", "refused", "per_unit", "following"),
    [
        (20, 22, 1.0, None),  # ten percent apart
        (20, 23, 1.0, 22),
        (8, 9, 1.0, None),  # there is nothing between
        (50, 80, 1.92, None),  # 51 were predicted: not 2 % more
        (50, 80, 1.88, 63),  # 52 were
    ],
)
def test_far_enough_apart(lasting, refused, per_unit, following):
    peak = 30 if lasting < 50 else 95
    assert searching([(lasting, ok(peak)), (refused, OOM)], per_unit)._next() == following


@pytest.mark.parametrize(
    ("predicted", "peak", "following"), [(52, 96, None), (53, 96, 52), (52, 50, 70), (53, 50, 52)]
)
def test_two_percent_more_are_not_worth_a_trial(predicted, peak, following):
    found = searching([(50, ok(peak))], per_unit=peak / 50, by_peak=70)
    found.estimate.largest = lambda limit, sure=False: predicted
    assert found._next() == following  # 98 % of 52 are 51, of 53 are 52


def test_there_is_an_end():
    history = [(n, ok(10)) for n in range(1, 9)]
    assert searching(history)._next() is None
    assert searching(history[:7])._next() is not None


def test_what_lasts_is_what_leaves_room_for_its_spread():
    found = searching([(10, ok(50)), (20, ok(96, 80, 92, 96)), (30, ok(96, 80, 91, 96)), (40, OOM)])
    assert found._lasting == 20
    assert searching([(30, ok(96, 80, 91, 96))])._result(1.0).batch_size == 30
    assert searching([(10, ok(50)), (30, ok(96, 80, 91, 96)), (40, OOM)])._result(1.0).batch_size == 10


def test_result():
    tried = [(40, OOM), (36, OOM), (20, ok(30)), (25, ok(40))]
    of = searching(tried)
    found = of._result(2.0)
    assert (found.batch_size, found.trials, found.ooms, found.seconds) == (25, 6, 3, 2.0)
    assert (found.over, found.limit_bytes, found.history) == ("batch_size", 100 * MIB, tried)
    assert found.estimate is of.estimate
    rising = ok(96, 80, 91, 96)
    assert searching([(30, rising), (29, rising), (40, OOM)])._result(1.0).batch_size == 30
    for history, tried in [([], "none"), ([(40, OOM), (20, OOM)], "40, 20")]:
        with pytest.raises(labkit.LabkitError, match=rf"fits 100 MiB \(tried: {tried}\)"):
            searching(history)._result(1.0)


@pytest.mark.parametrize(("steps", "epochs"), [(None, 1), (0, 1), (1, 4), (49, 4), (50, 1)])
def test_epochs_of_a_proof(steps, epochs):
    found = searching()
    found.estimate.steps_of_an_epoch = lambda value: steps
    assert found._epochs(9) == epochs


def test_a_trial_that_fails_otherwise_ends_the_search():
    found = searching()
    asked = {}

    def run(value, done, total, doing, **options):
        asked.update(options, value=value, done=done, doing=doing)
        return outcomes.pop()

    found._series = SimpleNamespace(run=run)
    outcomes = [labkit.Outcome("error"), OOM, ok(5)]
    found._try(20)
    assert asked == {
        "value": 20, "done": 2, "doing": "verifying under 98.0 MiB", "memory_limit": 98 * MIB,
        "patience": search.PATIENCE, "least_epochs": 4,
    }  # fmt: skip
    found._try(60)
    assert (asked["least_epochs"], asked["done"], found.history[-1]) == (1, 3, (60, OOM))
    with pytest.raises(labkit.LabkitError, match="The trial at batch_size=9 failed"):
        found._try(9)


@pytest.mark.parametrize(
    ("peak", "steps", "rose"),
    [
        (50, [], 0), (50, [50], 0), (52, [50, 52], 0), (52, [10, 50, 52], 2), (52, [10, 40, 50, 52], 2),
        (80, [50, 50, 52, 55, 60], 8), (79, [50, 50, 52, 55, 60], 0),  # more is other work
    ],
)  # fmt: skip
def test_spread(peak, steps, rose):
    assert search.spread(ok(peak, *steps)) == rose * MIB


def scripted(outcomes, largest=80):
    """A whole search whose trials end as told; `seen` is what was asked of it, in order."""
    found, seen = searching(), []
    predicted = found.estimate
    predicted.check_searchable = lambda: seen.append("searchable?")
    predicted.largest = lambda limit, sure=False: largest

    def run(value, *_, **options):
        seen.append(value)
        return outcomes.pop(0)

    found.estimate, found._estimating = None, SimpleNamespace(run=lambda: predicted)
    found._series = SimpleNamespace(
        run=run, stop=lambda: seen.append("stop"), show=SimpleNamespace(end=lambda: seen.append("end"))
    )
    return found, seen


def test_a_search_goes_on_until_no_value_is_worth_a_trial():
    found, seen = scripted([OOM, ok(60), ok(97)])
    answer = found.run()
    assert seen == ["searchable?", 80, 72, 76, "end"]
    assert (answer.batch_size, answer.ooms) == (76, 2) and 0 <= answer.seconds < 60
    assert [value for value, _ in answer.history] == [80, 72, 76]


def test_the_display_of_a_search_that_fails_is_ended_too():
    found, seen = scripted([labkit.Outcome("error")])
    with pytest.raises(labkit.LabkitError, match="failed"):
        found.run()
    found.stop()
    assert seen == ["searchable?", 80, "end", "stop"]


def test_the_trials_of_the_estimate_keep_to_the_limit_and_have_the_same_display():
    show = SimpleNamespace()
    found = Searching(train, "100 MiB", "batch_size", show, params={})
    assert found._estimating._limit == 100 * MIB and found._series is found._estimating.series
    assert found._series.show is show


def test_the_short_form_passes_on_all_it_is_given(monkeypatch):
    given = {"over": "n", "at": (2, 3), "maximum": 64, "multiple_of": 2, "powers_of_two": True,
             "margin": 0.1, "timeout": 9, "seed": 7}  # fmt: skip
    seen = []

    def searching(*args, **options):
        seen.append((inspect.signature(Searching).bind(*args, **options)).arguments)
        return SimpleNamespace(run=lambda: "found")

    monkeypatch.setattr(search, "Searching", searching)
    assert search.find_batch_size(train, memory_limit="1 GiB", **given, width=5) == "found"
    own = {name: given.pop(name) for name in ("timeout", "seed")}
    options = own | {"params": {"width": 5}}
    assert seen == [{"train": train, "memory_limit": "1 GiB", **given, "options": options}]


def test_the_short_form_has_the_defaults_of_what_it_stands_for():
    def defaults(function):
        found = inspect.signature(function).parameters.items()
        return {name: one.default for name, one in found if one.default not in (one.empty, None)}

    short = defaults(search.find_batch_size)
    assert {name: short.pop(name) for name in ("timeout", "seed")} == {"timeout": 600, "seed": 0}
    assert short == defaults(Searching)


def result(**facts):
    given = {"over": "n", "limit_bytes": 100 * MIB, "batch_size": 20, "trials": 3, "ooms": 0, "seconds": 1.0,
             "history": [(20, OOM), (20, ok(90, *[80] * 10, *[84] * 10))], "estimate": None}  # fmt: skip
    return BatchSizeSearch(**{**given, **facts})


def test_what_a_search_says_of_a_longer_training():
    found = result()
    assert found.proof.ok and found.free_share == pytest.approx(0.1)
    assert found.spread_share == 0
    assert found.notes == [
        "Its proof made 20 steps under 98.0 MiB. In the second half of them the peak rose by 0.0 % of the "
        "limit; 10 % are free for more."
    ]
    few = result(history=[(20, ok(96, *[80] * 9, *[91] * 9, 96))])
    assert few.spread_share == pytest.approx(0.05)
    assert few.notes[1].startswith("So few") and "a smaller value is safer" in few.notes[2]
    assert len(result(history=[(20, ok(95, *[80] * 10, *[90] * 9, 95))]).notes) == 1
    exactly = result(limit_bytes=128 * MIB, history=[(20, ok(120, *[112] * 19, 120))])
    assert exactly.spread_share == exactly.free_share == 1 / 16 and len(exactly.notes) == 1
    assert "the peak rose by 9.0 % of the limit; 4 %" in result(history=[(20, ok(96, 87, 87, 96))]).notes[0]
    assert "; 60 % are free" in result(history=[(20, ok(40, 40))]).notes[0]
    assert "n 20 fits 100 MiB · 3 trials, none out of memory, 1.0 s" in repr(found)
    assert "3 trials, 2 out of memory" in repr(result(ooms=2))
    others = [(10, ok(50)), (30, OOM), (20, OOM), (20, ok(90))]
    assert result(history=others).proof.peak_bytes == 90 * MIB


def test_a_result_as_a_page_and_as_a_figure(monkeypatch):
    found = result(over="<n>")
    page = found._repr_mimebundle_()
    assert page["text/plain"] == repr(found) and "<b>&lt;n&gt; 20 fits 100 MiB" in page["text/html"]
    assert page["text/html"].count(found.proof.headline) == 1 and found.notes[0] in page["text/html"]
    drawn = []
    monkeypatch.setattr(sweeps, "prediction", lambda *given: drawn.append(given) or "figure")
    assert found.plot("t") == "figure"
    assert drawn == [(found.estimate, 100 * MIB, "t", found.history, found.batch_size)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"multiple_of": 2, "powers_of_two": True}, "not both"),
        ({"maximum": 8.0}, "give integers"),
        ({"multiple_of": 2.0}, "give integers"),
        ({"multiple_of": 0}, "no value to try"),
        ({"multiple_of": 9, "maximum": 8}, "no value to try"),
        ({"margin": -0.1}, "margin"),
        ({"margin": 0.9}, "margin"),
        ({"maximum": 1}, "nothing to search"),
        ({"maximum": 7}, r"at=\(3, 7\)"),
        ({"margin": "5%"}, "margin"),
    ],
)
def test_what_cannot_be_searched(options, said):
    with pytest.raises(labkit.LabkitError, match=said):
        Searching(train, "100 MiB", params={}, **options)


@pytest.mark.parametrize(
    "options", [{"multiple_of": 8, "maximum": 8}, {"margin": 0.0}, {"margin": 0.89}, {"powers_of_two": True}]
)
def test_what_can_be_searched(options):
    assert Searching(train, "100 MiB", params={}, **options).history == []


@pytest.mark.parametrize("over", [5, None, (), ("a", 5), {"a"}])
def test_over_is_the_name_of_a_parameter(over):
    with pytest.raises(labkit.LabkitError, match="give the name"):
        Estimating("pass", (4, 8), over, params={})


def test_a_list_of_one_parameter_is_that_parameter():
    assert Estimating("pass", (4, 8), ["x"], params={}).over == "x"


def test_of_two_parameters_none_is_searched():
    with pytest.raises(labkit.LabkitError, match="one parameter to search, not a, b"):
        Searching("pass", "100 MiB", ("a", "b"), at={"a": (4, 8), "b": (4, 8)}, params={})


@pytest.mark.parametrize(
    ("over", "at"),
    [("memory_limit", (4, 8)), ("autotuning", (4, 8)), (("b", "value"), {"b": (4, 8), "value": (4, 8)})],
)
def test_a_parameter_must_be_told_from_the_options_of_an_estimate(over, at):
    with pytest.raises(labkit.LabkitError, match="is an option of the Estimate"):
        Estimating("pass", at, over, params={})
    assert Estimating("pass", (4, 8), "value", params={}).at == (4, 8)


@pytest.mark.parametrize(
    ("limit", "said"),
    [("1 MiB", "1.00 MiB would have to go. "), ("2 MiB", "with the gaps"), ("4 MiB", "gaps")],
)
def test_what_would_have_to_go(limit, said):
    table = tables.LayerTable([tables.LayerRow("dense", weights=2 * MIB, bytes=2 * MIB)], "The heading.")
    estimate = SimpleNamespace(names=("batch_size",), layers=lambda **at: table)
    told = Estimate.what_is_too_large(estimate, limit)
    assert said in told and "The heading. Most is taken by dense: 2.00 MiB, above all weights." in told
