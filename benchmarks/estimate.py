"""Predicted versus measured peak, training by training, at 8, 32 and 64 times the larger probe.

For comparison: the classical formula (weights, gradients, two slots, layers' outputs times the batch size)
and a straight line through the two measured peaks; the spread of repeated runs, which no prediction can
beat; and how many of those runs lie within the estimate's interval. "!" marks an estimate that doubts itself.
trainings.py defines the trainings, and which of them may be used for tuning.
"""

import statistics
import sys

from report import Report
from trainings import DEVELOPMENT, TEST, train

import labkit

AT = (4, 8)
VALUES = (64, 256, 512)
REPEATS = 2
METHODS = ("formula", "line", "ours")


def off(predicted, measured):
    return 100 * (predicted / measured - 1)


def rows(case):
    """A dict for each of VALUES: measured peaks, the error of each method in percent, the interval."""
    options = dict(zip(("net", "optimizer", "pipeline", "policy"), case, strict=True))
    found = labkit.estimate(train, at=AT, **options)
    low, high = (found.measured[value] for value in AT)
    slope = (high - low) / (AT[1] - AT[0])
    for value in VALUES:
        outcomes = [labkit.run(train, timeout=300, batch_size=value, **options) for _ in range(REPEATS)]
        peaks = [outcome.peak_bytes for outcome in outcomes]
        measured = statistics.median(peaks)
        fixed, per_sample = outcomes[0].result
        least, most = found.interval(value)
        yield {
            "value": value,
            "measured": measured,
            "spread": off(max(peaks), min(peaks)),
            "inside": sum(least <= peak <= most for peak in peaks),
            "interval": off(most, least),
            "doubted": "!" if found.notes else "",
            "formula": off(fixed + value * per_sample, measured),
            "line": off(high + slope * (value - AT[1]), measured),
            "ours": off(found.peak_bytes(value), measured),
        }


def shown(row):
    errors = "".join(f"{row[method]:>+8.1f}%" for method in METHODS)
    measured = labkit.format_size(row["measured"])
    inside = f"{row['inside']} of {REPEATS}"
    return f"{row['value']:>6}{measured:>11}{row['spread']:>7.1f}%{errors}{inside:>8}{row['doubted']:>2}"


def summary(report, found):
    report("")
    for method in METHODS:
        errors = sorted(abs(row[method]) for row in found)
        nine_in_ten = errors[round(0.9 * len(errors)) - 1]
        report(
            f"{method:8} median {statistics.median(errors):.2f} %, nine in ten within {nine_in_ten:.1f} %, "
            f"worst {errors[-1]:.1f} %"
        )
    inside = sum(row["inside"] for row in found)
    width = statistics.median(row["interval"] for row in found)
    report(
        f"interval contains {inside} of {REPEATS * len(found)} measured peaks; its width is {width:.0f} % "
        f"(median), {max(row['interval'] for row in found):.0f} % at most"
    )


def main(sets):
    report = Report("estimate")
    for name, cases in sets.items():
        report(
            f"{name + ' set':52}{'batch':>6}{'measured':>11}{'spread':>8}{'formula':>9}{'line':>9}{'ours':>9}"
        )
        found = []
        for case in cases:
            net, optimizer, pipeline, policy = case
            for row in rows(case):
                found.append(row)
                report(f"{f'{net.__name__}, {optimizer}, {pipeline}, {policy}':52}" + shown(row))
            report.save()
        summary(report, found)
        report("")
    report("target, on the test set: median at most 1 %, nine in ten within 5 %, none above 15 %")
    report.save()


if __name__ == "__main__":
    both = {"development": DEVELOPMENT, "test": TEST}
    main({name: both[name] for name in sys.argv[1:] or both})
