"""try_fixes(): the code as it is, then with each fix that can be applied from outside, in real trials."""

import math
import time

from ..errors import LabkitError, Stopped
from ..inside.folder import own_folder
from ..machine import check_limit, device
from ..predict.estimation import PATIENCE, Estimating, trial_limit
from ..predict.prediction import Estimate, unseen
from ..sizes import format_size, plain
from ..trials.code import PackedCode
from ..trials.console import Progress
from ..trials.series import Series
from .applied import Observed
from .kinds import all_fixes
from .kinds.rewrite import Code
from .program import Program
from .table import AS_IT_IS, FixTrials, Row

STEPS = 4  # of the code as it is; of a batch that is divided, as many samples
COMBINED = 3  # fixes at most
EXACT = 0.001  # tolerance of a fix whose loss can stand for that of the code as it is


def try_fixes(train, *, memory_limit=None, fixes=None, over="batch_size", timeout=120, seed=0, **params):
    """Try the fixes of the course on `train`, unchanged, each in real trials; returns the FixTrials.

    train         a function that builds, compiles and trains a model, or source text, as for run()
    memory_limit  what it should fit; None to see only what each fix saves
    fixes         names of the fixes to try; None for all
    over          the parameter that is the batch size; give it a value in `params`

    Each trial makes four training steps, or as many samples in smaller batches, and shortens evaluation and
    prediction likewise; arrays are not shuffled in it, so that all see the same samples. It gets the memory
    limit, and at most half of the host memory that is free. Where the code as it is does not fit, its peak
    is predicted from smaller batches, as estimate() does. Raises LabkitError if `train` makes no training
    step.

    >>> labkit.try_fixes(train, memory_limit="2 GiB", batch_size=64)
    """
    return TryingFixes(
        train, memory_limit=memory_limit, fixes=fixes, over=over, timeout=timeout, seed=seed, params=params
    ).run()


class TryingFixes:
    """The trials of try_fixes(), which can be watched and stopped from outside.

    show   a labkit.process.progress.ShowOfSeveral
    """

    def __init__(
        self, train, *, memory_limit=None, fixes=None, over="batch_size", timeout=120, seed=0, params=None,
        show=None,
    ):  # fmt: skip
        if not (callable(train) or isinstance(train, str)):
            raise LabkitError("try_fixes() takes a function that builds, compiles and trains a model.")
        params = dict(params or {})
        self.value = plain(params.pop(over, None))
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < 1:
            raise LabkitError(f"Say at which batch size to try: labkit.try_fixes(train, ..., {over}=64).")
        self.limit = None if memory_limit is None else check_limit(memory_limit, device())
        self.fixes = _chosen(fixes)
        self.train, self.over, self.show = train, over, show or Progress(over)
        self._options = {"timeout": timeout, "seed": seed, "params": params}
        self._stopped, self._running, self._done = False, None, 0
        self._total = self._reference = self._no_estimate = None
        if isinstance(train, str):
            PackedCode(train).check({over: self.value, **params})
        Series(Observed(train, [], ""), over, self.show, **self._options).check(self.value)

    def run(self):
        """Run the trials; returns the FixTrials. Raises Stopped if it was stopped before the first ended."""
        start = time.monotonic()
        with own_folder() as self._folder:
            try:
                rows = self._rows()
            finally:
                self.show.end()
        seconds = time.monotonic() - start
        return FixTrials(rows, self.over, self.value, self.limit, seconds, self._notes())

    def stop(self):
        """End it, from any thread: what was measured until then is returned."""
        self._stopped = True
        if self._running:
            self._running.stop()

    def _begin(self, running):
        """Keep what runs next where stop() finds it; Stop may have been pressed while that was packed."""
        self._running = running
        if self._stopped:
            running.stop()
        return running

    def _check_stopped(self):
        if self._stopped:
            raise Stopped("Stopped.")

    def _rows(self):
        first = self._first = self._measured(AS_IT_IS, [])
        rows = [first]
        try:
            if first.runs_out:
                self._predict(first)
            self._check(first)
            reasons = {fix: first.program.why_not(fix) for fix in self.fixes}
            self._total = self._done + sum(not reason for reason in reasons.values())
            for fix in self.fixes:
                rows.append(self._row(fix, reasons[fix]))
                self._compare(rows)
            for combination in self._combinations(rows[1:]):
                rows.append(self._together(combination))
                self._compare(rows)
            if self.limit:
                self._find_largest(rows)
        except (Stopped, KeyboardInterrupt):  # between two trials, where none takes it
            self._stopped = True
        return rows

    def _check(self, first):
        """Raise LabkitError for code of which nothing is known that a fix could be compared with."""
        outcome, seen = first.outcome, first.program.fit is not None or first.outcome.step_seconds
        if outcome.ok and not seen:
            raise LabkitError(
                f"No training step was seen at {self.over}={self.value}: for try_fixes(), `train` must "
                "train, with fit, train_on_batch or a tf.function that applies an optimizer."
            )
        if not (outcome.ok or first.runs_out) or not seen and first.peak_bytes is None:
            raise LabkitError(f"Nothing could be tried, for the code as it is failed:\n{outcome}")

    def _predict(self, first):
        """Predict the peak of the code as it is, which did not fit, from trials of smaller batches."""
        self._check_stopped()
        small = max(1, self.value // 8)
        observed = Observed(self.train, [], self._folder / "small.jsonl")
        try:
            estimating = Estimating(
                observed, (small, 2 * small), self.over, self.show, memory_limit=self.limit, **self._options
            )
            first.predict(self._begin(estimating).run(), self.value)
        except Stopped:
            raise
        except LabkitError as e:
            self._no_estimate = str(e).partition("\n")[0].removesuffix(":") + "."

    def _compare(self, rows):
        """Compare all with the code as it is; where its loss was not seen, with one that must be the same."""
        seen = (row for row in rows if row.losses and row.applies and (row.measured or row is self._first))
        exact = (row for row in seen if row.tolerance is not None and row.tolerance <= EXACT)
        self._reference = self._reference or next(exact, None)
        for row in rows[1:]:
            row.compare_with(self._first, self._reference)

    def _row(self, fix, reason):
        if reason:
            return Row(fix.name, [fix], why_not=reason)
        trainings = self._first.program.trainings
        fix = fix.of([training for training in trainings if not fix.why_not(training)])
        row = self._measured(fix.name, [fix])
        row.code = code_of([fix], trainings)
        row.why_not = row.failure() or fix.failed(row.program)
        return row

    def _together(self, rows):
        fixes = sorted((row.fixes[0] for row in rows), key=lambda fix: fix.group == "input")
        row = self._measured(" + ".join(fix.name for fix in fixes), fixes)
        row.code = code_of(fixes, self._first.program.trainings)
        row.why_not = row.failure()
        return row

    def _notes(self):
        stopped = ["Stopped before all was tried: what is missing here was not measured."]
        return [*self._what_was_not_seen(), *(stopped if self._stopped else [])]

    def _what_was_not_seen(self):
        """Sentences on what was not seen, or only predicted, and on what the losses are compared with."""
        first = self._first
        if not first.runs_out:
            timeline = first.outcome.timeline
            return list(unseen(timeline.record)) if timeline else []
        limit = first.outcome.limit_bytes
        under = f" under {format_size(limit)}" if limit else ""
        notes = [f"The code as it is runs out of memory{under}."]
        if first.estimate:
            low, high = map(format_size, first.estimate.interval(self.value))
            at = " and ".join(map(str, first.estimate.measured))
            notes[0] += (
                f" Its peak is predicted from trials at {self.over} {at}, to lie between {low} and {high}; "
                "what the others save is relative to that prediction."
            )
            if limit and first.peak_bytes <= limit:
                notes[0] += (
                    " That is less than the limit, and memory ran out all the same: perhaps in fragments."
                )
            notes += first.estimate.notes
        else:
            notes[0] += f" Its peak is unknown, and so is what the others save. {self._no_estimate or ''}"
        if self._reference and self._reference is not first:
            notes.append(
                f"Its loss was not seen: losses are compared with those of {self._reference.name!r}, which "
                "trains on the same numbers."
            )
        return [note.strip() for note in notes]

    def _combinations(self, rows):
        """The best of each group that saves and keeps the result: two, three and so on together."""
        best = {}
        for row in sorted(rows, key=lambda row: row.peak_bytes or 0):
            same = row.same_result or row is self._reference
            if row.applies and same and row.saves(self._first):
                best.setdefault(row.fixes[0].group, row)
        chosen = list(best.values())[:COMBINED]
        combined = [chosen[:count] for count in range(2, len(chosen) + 1)]
        self._total += len(combined)
        return combined

    def _measured(self, name, fixes):
        """A Row of one trial, recorded."""
        path = self._folder / f"{self._done}.jsonl"
        outcome = self._run(name, fixes, self.value, path)
        return Row(name, fixes, outcome, Program(path, self.over, self.value))

    def _find_largest(self, rows):
        """The largest batch under the limit, predicted from its trial and one of half the size.

        For the code as it is, and for fixes that save memory and keep the result.
        """
        if rows[0].estimate:
            rows[0].find_largest(rows[0].estimate, self.limit)
        wanted = [row for row in rows[1:] if row.applies and row.saves(rows[0]) and row.tolerance is not None]
        wanted = [row for row in [rows[0], *wanted] if row.measured and self.value // row.divides > 1]
        self._total = self._done + len(wanted)
        for row in wanted:
            doing = f"the largest batch with {row.name}" if row.fixes else "the largest batch"
            half = self._run(doing, row.fixes, self.value // 2, self._folder / "half.jsonl")
            if half.timeline is not None and row.outcome.timeline is not None:
                probes = [({self.over: each.params[self.over]}, each) for each in (half, row.outcome)]
                values = tuple(point[self.over] for point, _ in probes)
                row.find_largest(Estimate(self.over, values, probes), self.limit)

    def _run(self, doing, fixes, value, path):
        """The Outcome of a trial at that batch, or at several smaller ones with as many samples."""
        self._check_stopped()
        divides = math.prod(fix.divides for fix in fixes)
        observed = Observed(self.train, fixes, path)
        series = self._begin(Series(observed, self.over, self.show, **self._options))
        done, self._done = self._done, self._done + 1
        return series.run(
            value // divides, done, self._total, doing,
            profile=True, shorten_to=STEPS * divides, memory_limit=trial_limit(self.limit), patience=PATIENCE,
        )  # fmt: skip


def code_of(fixes, trainings):
    """What to change in the reader's program, of whatever trainings a fix can be applied to."""
    lines, calls = [], []
    for training in trainings:
        code = Code(training)
        for fix in fixes:
            if not fix.why_not(training):
                fix.write(code, training)
        lines += code.lines
        calls += code.calls
    return "\n".join(dict.fromkeys(lines + calls))


def _chosen(names):
    """The fixes of these names, all if None. Raises LabkitError for a name that there is not."""
    known = {fix.name: fix for fix in all_fixes()}
    if names is None:
        return list(known.values())
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LabkitError(f"There is no fix {unknown[0]!r}. There are: {', '.join(map(repr, known))}.")
    return [known[name] for name in names]
