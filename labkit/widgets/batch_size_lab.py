"""BatchSizeLab: sweep the batch size, alone or with a second parameter, and watch the memory."""

import html
import math
import threading
import time

import ipywidgets as widgets

from .. import machine
from ..errors import LabkitError, Stopped
from ..fixes.applied import Applied
from ..fixes.kinds import all_fixes
from ..fixes.program import Program
from ..inside.folder import own_folder
from ..predict.estimation import PATIENCE, STEPS, trial_limit
from ..sizes import format_size
from ..trials.series import Series
from .parts import controls, runs
from .parts.chart import Chart, packed_timeline
from .parts.frame import SETTLE_SECONDS, Box, button, figures_html
from .parts.progress import STYLE as GAUGE_STYLE
from .parts.progress import TrialProgress
from .parts.saved import HIDE_SAVED, OPENED_AGAIN, Saved, replace_earlier
from .parts.swept import swept

DEFAULT_POLICY = "float32"
DIVISIBLE = 2**10  # a batch size that every fix can divide: values that it cannot are not run
NO_TRIAL = ("no trial", ())  # not None: with the value None a Dropdown shows no option at all
STYLE = """<style>
.labkit-lab-gauge:has(.labkit-bar) { min-height: 7.2em } /* the same for each trial */
.labkit-table table { border-collapse: collapse; color: inherit }
.labkit-detail .labkit-table { line-height: 1.5 }
.labkit-table td, .labkit-table th { padding: .1em .9em; text-align: right }
.labkit-table pre { max-height: 16em; overflow: auto }
.labkit-box:has(.labkit-timeline.labkit-live) .labkit-picture { display: none } /* the chart is there */
</style>"""


class BatchSizeLab:
    """A lab: choose a memory limit and batch sizes, run them as real trials, and watch.

    train          a training function with keyword parameters, or source text, as for labkit.sweep
    memory_limit   initial value of its slider, such as "256 MiB"; None for no limit
    smallest, largest   the first and the last value of `over` to try; of two parameters, a tuple of each
    over           the parameter to sweep; or two, such as ("batch_size", "length"): then a map of predicted
                   peaks is drawn, with the frontier of what fits, and a few points of that are run
    params         the other parameters of `train`, as initial values of their controls; a list becomes a
                   dropdown of its elements

    Its row "Fixes", which is folded, applies fixes of try_fixes() to `train` from outside: to its input
    pipeline, its optimizer, XLA, and gradient accumulation, for which `over`, or the first of two parameters,
    must be the batch size.

    Put it on the last line of a cell to show it. `.run()` does what the Run button does and returns when the
    sweep is done; `.stop()` ends it from anywhere. The figure below the lab stays in the saved notebook.
    Raises LabkitError for a parameter that `train` does not take and for an impossible limit.

    >>> lab = BatchSizeLab(train, memory_limit="256 MiB", smallest=8, largest=64, width=[128, 256])
    >>> lab.run().series[-1].sweep.frontier
    32
    >>> BatchSizeLab(train, over=("batch_size", "length"), smallest=(8, 32), largest=(256, 512),
    ...              memory_limit="256 MiB")
    """

    def __init__(self, train, *, memory_limit=None, smallest=1, largest=256, over="batch_size", **params):
        self._swept = swept(over, smallest, largest)
        self.train, self.over, self.series = train, self._swept.over, []
        device = machine.device()
        self._gpu = device.memory_bytes if device.kind == "gpu" else None
        limit = None if memory_limit is None else machine.check_limit(memory_limit, device)
        self._controls, self._constants = controls.parameters(train, params, self._swept.names)
        self._limit = controls.memory_limit(limit, device.memory_bytes)
        self._precision = None if isinstance(train, str) else controls.precision()
        taken = {*self._controls, *self._constants, *self._swept.names}
        self._fixes = {} if isinstance(train, str) else controls.fixes(taken)
        self._repeats = controls.number_of("repeats", 1, 20)
        self._lock, self._worker, self._doing, self._live = threading.Lock(), None, None, None
        self._stop_asked = threading.Event()
        self._before, self._offering = None, False
        self._build()
        self._draw()

    # Display

    def _build(self):
        self._run_button = button("Run", "play", "Run a trial for each batch size", self.start)
        self._stop_button = button("Stop", "stop", "End the running trial and the sweep", self.stop)
        self._clear_button = button("Clear", "trash", "Remove all runs from the chart", self.clear)
        self._explain_button = button("Explain", "question", "Explain the last failed trial", self.explain)
        self._timelines = controls.checkbox("record timelines", False)
        self._estimated = controls.checkbox("estimate first", True)
        self._gauge, self._note, self._table, self._detail, self._printed = (widgets.HTML() for _ in range(5))
        self._chart = Chart(kind=self._swept.kind, data=self._swept.data([], self._limit.value or None))
        self._timeline = Chart(kind="timelines", data="")
        self._chart.observe(lambda change: self._chose(change["new"]), "chosen")
        self._chart.observe(self._opened, "page")
        self._detail.add_class("labkit-detail")
        self._gauge.add_class("labkit-lab-gauge")
        self._pick = widgets.Dropdown(
            description="show trial", options=[NO_TRIAL], layout=controls.SHAPE, style=controls.WIDE
        )
        self._pick.observe(self._picked, "value")
        for control in (*self._swept.controls, self._limit):
            control.observe(lambda _: self._draw(), "value")
        settings = [self._limit, *self._swept.controls, *filter(None, [self._precision]),
                    *self._controls.values(), self._repeats]  # fmt: skip
        self._folded = controls.folded("Fixes", list(self._fixes.values()))
        for control in self._fixes.values():
            control.observe(lambda _: self._folded.set_title(0, self._fixes_title()), "value")
        buttons = [self._run_button, self._stop_button, self._clear_button, self._explain_button]
        options = [*([] if self._swept.is_predicted else [self._estimated]), self._timelines]
        accordion = widgets.Accordion([widgets.VBox([self._table]), self._printed], selected_index=None)
        for place, title in enumerate(("Table of trials", "Output of trials")):
            accordion.set_title(place, title)  # ipywidgets 7 has no .titles
        self.widget = Box([
            widgets.HTML(HIDE_SAVED + GAUGE_STYLE + STYLE),
            widgets.GridBox(settings, layout=controls.GRID), *([self._folded] if self._fixes else []),
            widgets.HBox([*buttons, *options], layout={"flex_flow": "row wrap"}),
            self._note, self._gauge, self._chart, self._pick, self._detail, self._timeline, accordion,
        ])  # fmt: skip
        # When the widget is closed, in the page or from code, a running sweep is stopped.
        self.widget.observe(lambda change: change["new"] is None and self.stop(), "comm")

    def _fixes_title(self):
        chosen = self._chosen_fixes()
        return f"Fixes: {', '.join(chosen.values())}" if chosen else "Fixes"

    def _chosen_fixes(self):
        """{name of the control: name of the fix} of those that are chosen."""
        return {
            name: control.value for name, control in self._fixes.items() if control.value != controls.AS_IT_IS
        }

    def _draw(self):
        """Update gauge, chart and table; may be called from any thread."""
        running = self.running
        self._run_button.disabled, self._stop_button.disabled = running, not running
        self._clear_button.disabled = running or not self.series
        self._explain_button.disabled = not any(True for _ in self._failures())
        live = self._live
        self._gauge.value = live.html(self.over) if live else '<div class="labkit-gauge">Press Run.</div>'
        self._draw_trials()
        printed = live.printed if live else ""
        self._printed.value = f"<pre>{html.escape(printed)}</pre>" if printed else ""

    def _draw_trials(self):
        values, limit, chosen = self._swept.values(), self._limit.value, self._pick.value
        shown = [(len(run.tried), len(run.predicted), run.ended) for run in self.series]
        state = (values, limit, chosen, shown)
        if state == self._before:
            return
        more, self._before = self._before and state[3] != self._before[3], state
        if more and self.running:
            self._save()
        self._chart.data = self._swept.data(self.series, limit or None)
        self._chart.chosen = self._keys().index(chosen) + 1 if chosen in self._keys() else 0
        self._table.value = f'<div class="labkit-table">{self._swept.table(self.series)}</div>'
        options = [NO_TRIAL, *((self._name(key), key) for key in self._keys())]
        if options != list(self._pick.options):
            self._offer(options, chosen)

    def _offer(self, options, chosen):
        """Offer these trials; while the one that is chosen is among them, it is not drawn anew."""
        self._offering = True  # new options choose the first of them for a moment
        try:
            self._pick.options = options
            self._pick.value = chosen if chosen in self._keys() else NO_TRIAL[1]
        finally:
            self._offering = False
        if self._pick.value != chosen:
            self._draw_detail()

    def _picked(self, _):
        if not self._offering:
            self._draw_trials()
            self._draw_detail()

    def _keys(self):
        """(run, trial) of each trial, both counted from 0."""
        return [(number, trial) for number, run in enumerate(self.series) for trial in range(len(run.tried))]

    def _name(self, key):
        value, outcome = self._trial(key)
        return f"run {key[0] + 1} · {runs.named(self.over, value)} · {outcome.ending}"

    def _chose(self, index):
        """The trial at a place of the list was chosen in the chart."""
        keys = [NO_TRIAL[1], *self._keys()]
        if index < len(keys):
            self._pick.value = keys[index]

    def _trial(self, key):
        return self.series[key[0]].tried[key[1]]

    def _failures(self):
        return (key for key in reversed(self._keys()) if not self._trial(key)[1].ok)

    def _draw_detail(self):
        key = self._pick.value
        if key == NO_TRIAL[1]:
            self._detail.value = self._timeline.data = ""
            return
        value, outcome = self._trial(key)
        self._timeline.data = packed_timeline(outcome, runs.named(self.over, value))
        self._fill_detail(outcome._html())  # at once: pictures take a moment to draw
        self._chart.revealed += 1
        pictures = figures_html(outcome)
        if pictures:
            self._fill_detail(outcome._html() + pictures)
            self._chart.completed += 1

    def _fill_detail(self, detail):
        self._detail.value = f'<div class="labkit-table">{detail}</div>'

    # Actions

    @property
    def running(self):
        return self._worker is not None

    def start(self):
        """Start the sweep in the background, unless one is running."""
        with self._lock:
            if self._worker is None:
                self._stop_asked.clear()
                self._worker = threading.Thread(
                    target=self._work, args=(SETTLE_SECONDS,), daemon=True, name="BatchSizeLab"
                )
                self._worker.start()

    def set(self, **settings):
        """Set controls: memory_limit, precision, repeats, spacing, estimate, timelines; the fixes
        input_pipeline, accumulation, optimizer, xla; and `train`'s parameters.

        Returns this lab. Raises LabkitError if there is no such control, or if it cannot take the value; then
        all controls are as they were.
        """
        by_name = {"memory_limit": self._limit, "precision": self._precision, "repeats": self._repeats,
                 "estimate": self._estimated, "timelines": self._timelines, **self._swept.options,
                 **self._fixes, **self._controls}  # fmt: skip
        before = [(control, control.value) for control in by_name.values() if control is not None]
        try:
            for name, value in settings.items():
                self._set(by_name, name, value)
        except LabkitError:
            for control, value in before:
                control.value = value
            raise
        return self

    def _set(self, by_name, name, value):
        if by_name.get(name) is None:
            raise LabkitError(f"There is no control {name!r}; the controls are {', '.join(by_name)}.")
        if name == "memory_limit":
            value = machine.check_limit(value, machine.device()) if value else 0
            controls.offer_limit(self._limit, value)
        controls.set_value(name, by_name[name], value)

    def run(self, **settings):
        """Run the sweep set by the controls and wait for its end, as for scripts and CI; returns this lab.

        settings   as for set()

        Raises LabkitError if the lab is already running, and as set() does.
        """
        self.set(**settings)
        with self._lock:
            if self._worker is not None:
                raise LabkitError("This lab is already running: wait, or call .stop().")
            self._stop_asked.clear()
            self._worker = threading.current_thread()
        self._work()
        return self

    def stop(self):
        """End the running trial and the sweep; finished trials are kept."""
        self._stop_asked.set()
        doing = self._doing  # once: it may end meanwhile
        if doing is not None:  # not `if doing`: an empty Sweep is falsy
            doing.stop()

    def clear(self):
        """Remove all runs from the chart."""
        if not self.running:
            self.series.clear()
            self._live = None
            self._draw()
            self._save()

    def explain(self):
        """Show the outcome of the last failed trial, and why it failed."""
        last = next(self._failures(), self._pick.value)
        if last == self._pick.value:
            self._draw_detail()  # it is there, but perhaps out of view
        self._pick.value = last

    def _work(self, settle=0.0):
        try:
            self._draw()
            self._save()
            self._stop_asked.wait(settle)
            self._live = TrialProgress(self._draw, self._begun, self._gpu)
            self._draw_detail()
            with own_folder() as folder:
                self._run(folder)
        except Stopped:
            pass
        except LabkitError as e:
            self._detail.value = f'<div role="alert">✗ {html.escape(str(e))}</div>'
        except Exception as e:  # in this thread nobody else would see it
            said = html.escape(f"labkit itself failed: {type(e).__name__}: {e}")
            self._detail.value = f'<div role="alert">✗ {said}</div>'
        finally:
            self._doing = self._worker = None
            if self.series and self.series[-1].is_empty:
                self.series.pop()
            for run in self.series:
                run.ended = True
            if self._live:
                self._live.end()
            self._draw()
            self._save()

    def _run(self, folder):
        """Run what the controls say now; under fixes, the trials leave what they saw in the folder.

        The controls are read before the first trial: they may be moved while it runs.
        """
        run = self._swept.run(self._settings(), self._limit.value or None)
        options, repeats, timelines = self._options(), self._repeats.value, self._timelines.value
        estimated = self._estimated.value or self._swept.is_predicted
        fixes, seen = self._to_apply(run, options, folder), folder / "run.jsonl"
        train = Applied(self.train, fixes, seen, self._swept.names[0]) if fixes else self.train
        divides = math.prod(fix.divides for fix in fixes)
        self.series.append(run)
        if estimated:
            self._estimate(run, train, divides, options)
        if self._stop_asked.is_set():
            return
        run.sweep = self._doing = self._swept.sweep(
            run, train, divides, repeats, profile=timelines, **options
        )
        self._draw()
        run.sweep.resume()
        program = Program(seen, self._swept.names[0], None)
        for failure in filter(None, (fix.failed(program) for fix in fixes)):
            self._detail.value += f'<div role="alert">{html.escape(failure)}</div>'

    def _to_apply(self, run, options, folder):
        """The fixes that are chosen. Raises LabkitError for one that cannot be applied to this training."""
        known = {fix.name: fix for fix in all_fixes()}
        policy = self._precision.value if self._precision else DEFAULT_POLICY
        precision = [known[policy]] if policy != DEFAULT_POLICY else []
        chosen = [known[name] for name in self._chosen_fixes().values()]
        program = self._look(run, options, folder / "as-it-is.jsonl") if chosen else None
        for fix in chosen:
            if reason := fix.why_not(program):
                raise LabkitError(f"{fix.name}: {reason}")
        return [*precision, *(fix.of(program) for fix in chosen)]

    def _look(self, run, options, path):
        """The Program that a small trial of the code as it is sees."""
        self._doing = Series(Applied(self.train, [], path), self.over, **options)
        smallest, limit = self._swept.smallest(run), trial_limit(run.limit)
        doing = "looking at the code as it is"
        self._doing.run(smallest, 0, None, doing, shorten_to=STEPS, memory_limit=limit, patience=PATIENCE)
        return Program(path, self._swept.names[0], DIVISIBLE)

    def _options(self):
        """The options of every trial."""
        params = {**self._constants, **{name: control.value for name, control in self._controls.items()}}
        return {"show": self._live, "params": params, "timeout": 120, "seed": 0}

    def _begun(self):
        """A trial begins: end it if Stop was pressed before there was a trial to stop."""
        if self._stop_asked.is_set():
            self._doing.stop()

    def _estimate(self, run, train, divides, options):
        """Draw the estimate of what the sweep will find. Raises Stopped."""
        self._doing = self._swept.estimating(run, train, divides, memory_limit=run.limit, **options)
        try:
            estimate = self._doing.run()
            self._swept.predict(run, estimate, divides, self._say)
            if estimate.notes:
                notes = html.escape(" ".join(estimate.notes))
                self._detail.value = f'<div role="status">About the estimate: {notes}</div>'
        except Stopped:
            raise
        except LabkitError as e:
            if self._swept.is_predicted:
                raise
            self._detail.value = f'<div role="alert">No estimate. {html.escape(str(e))}</div>'

    def _say(self, text):
        """Say what is being done between trials; returns whether Stop was pressed."""
        self._live.status(text)
        self._draw()  # at once: what is said may take many seconds
        return self._stop_asked.is_set()

    def _settings(self):
        """The settings of this run, {name: text}: its limit, precision, and the parameters of `train`."""
        limit = format_size(self._limit.value) if self._limit.value else "no limit"
        precision = {"precision": self._precision.value} if self._precision else {}
        given = {f"{name}=": f"{name} {control.value}" for name, control in self._controls.items()}
        return {"memory limit": limit, **precision, **self._chosen_fixes(), **given}

    # Saved output

    def _ipython_display_(self):
        from IPython.display import display

        replace_earlier(self)
        display(self.widget)
        self._saved = Saved(self)

    def _opened(self, change):
        """A page shows this lab: another than before has lost what keeps the saved copy up to date."""
        if change["old"]:
            self._note.value = OPENED_AGAIN

    def _save(self):
        saved = getattr(self, "_saved", None)
        if saved:
            saved.update(self)

    def plot(self):
        """The chart of the runs as a figure; None before there is anything to draw."""
        return self._swept.plot(self.series)

    def table(self):
        """The trials as an HTML table, and whether there was more to come as it was made."""
        return self._swept.table(self.series) + (f"<p>{self._unfinished()}</p>" if self.running else "")

    def _unfinished(self):
        done = len(self.series[-1].tried) if self.series else 0
        return (
            f"Saved at {time.strftime('%H:%M on %Y-%m-%d')}, while a run was going on; trials of it that "
            f"were done: {done}. What came later is not in this copy: run the cell again."
        )

    def __repr__(self):
        return runs.text(self.series)
