"""Inside a trial: the duration of each training step, and loops that end after a few, without changing the
reader's code."""

import contextlib
import functools
import gc
import math
import statistics
import threading
import time
import weakref
from numbers import Integral

import keras
import tensorflow as tf
from keras.src.trainers.epoch_iterator import EpochIterator
from tensorflow.python.data.ops.iterator_ops import OwnedIterator

MOST_TRAININGS = 3  # calls of fit in a shortened trial
MOST_REPEATED = 20_000  # results given again in a shortened trial: a loop that waits for more would not end
IDLE_SECONDS = 40  # after the last step of a shortened trial: what takes longer is not waited for
LOOPS = {"fit": "training", "evaluate": "evaluation", "predict": "prediction"}
STOPS = {"training": "stop_training", "evaluation": "stop_evaluating", "prediction": "stop_predicting"}
CALLS = {"test_on_batch": "evaluation", "predict_on_batch": "prediction"}


class StepClock:
    """Times training steps by wrapping what every way of training in Keras calls.

    A step is one outermost call of a `tf.function` that updates weights through a Keras optimizer: that
    covers `fit`, `train_on_batch` and hand-written loops. With `run_eagerly=True`, or in a loop that applies
    gradients eagerly, it lasts from one update to the next. A `tf.function` that loops over steps inside its
    graph, or that updates weights without an optimizer, has no steps that can be timed.

    seconds     duration of each step
    batch_size  of the `fit`, `train_on_batch`, `evaluate` or `predict` that is running, else of the last
                training; None if unknown, as it is of a stream
    evaluating  whether it is one of `evaluate` or `predict` that is running, or has failed
    """

    def __init__(self, after_step, recorder, shortening=None, least_epochs=1):
        """after_step: called after each step; recorder: a Recorder to notify of calls, or None; least_epochs:
        of each `fit`."""
        self._least_epochs = least_epochs
        self._after_step, self._recorder, self._shortening = after_step, recorder, shortening
        self.seconds = []
        self.batch_size, self.evaluating = None, False
        self._last_end = None
        self._intervals = []
        self._training, self._called = weakref.WeakSet(), weakref.WeakSet()
        self._outermost = None
        self._fitting = None
        self._eager_optimizers = weakref.WeakSet()
        self._thread = threading.get_ident()

    def install(self):
        """Wrap Keras and TensorFlow for the rest of this process; call it in the thread that trains."""
        function_class = type(tf.function(lambda: None))
        optimizer_class = next(c for c in keras.optimizers.Optimizer.__mro__ if "apply" in vars(c))
        _wrap(function_class, "__call__", self._around_function)
        _wrap(optimizer_class, "apply", self._around_apply)
        _wrap(keras.Model, "fit", self._around_fit)
        _wrap(keras.Model, "train_on_batch", self._around_train_on_batch)
        _wrap(keras.Model, "evaluate", self._around_evaluate)
        _wrap(keras.Model, "predict", self._around_predict)

    def samples_per_second(self, batch_size=None):
        """From the median time per sample between ends of steps, which includes input; None if unknown.

        batch_size   of steps that do not tell theirs
        """
        steps = self._intervals[1:]  # the first includes start-up
        times = [seconds / (size or batch_size) for seconds, size in steps if size or batch_size]
        return 1 / statistics.median(times) if times else None

    def _around_function(self, call, function, *args, **kwargs):
        if self._outermost is not None or threading.get_ident() != self._thread:
            return call(function, *args, **kwargs)
        if self._shortening and self._shortening.repeats(function):
            return self._shortening.result_of(function)
        self._outermost = function
        if self._recorder:
            self._recorder.before_call(function)
        updates = self._updates_so_far()
        start = time.perf_counter()
        try:
            with self._first_call_of(function):
                result = call(function, *args, **kwargs)
        finally:
            self._outermost = None
        if function in self._training:
            if self._shortening:
                self._shortening.keep(function, result)
            self._record(start, self._updates_so_far() - updates if self._fitting else 1)
        return result

    def _first_call_of(self, function):
        is_first = function not in self._called
        self._called.add(function)
        return self._shortening.tracing() if is_first and self._shortening else contextlib.nullcontext()

    def _updates_so_far(self):
        """Updates of a model in `fit` that runs several steps per call: only its optimizer counts them."""
        return int(self._fitting.optimizer.iterations) if self._fitting else 0

    def _around_apply(self, call, optimizer, *args, **kwargs):
        result = call(optimizer, *args, **kwargs)
        if self._shortening:
            self._shortening.round = getattr(optimizer, "gradient_accumulation_steps", None) or 1
        if not tf.executing_eagerly():
            if self._outermost is not None and (self._fitting or not _inside_a_graph_loop()):
                self._training.add(self._outermost)
        elif self._outermost is None:
            self._eager_optimizers.add(optimizer)
            if len(self._eager_optimizers) > 1:
                self._last_end = None  # it is unknown whose step this is
            elif self._last_end is None:
                self._last_end = time.perf_counter()
            else:
                self._record(self._last_end, 1)
            if self._shortening:
                self._shortening.eager_update(optimizer)
        return result

    def _around_fit(self, call, model, x=None, y=None, batch_size=None, *args, **kwargs):
        self._fitting = model if model.steps_per_execution > 1 else None
        self.batch_size, self.evaluating = _batch_of(x, batch_size), False
        epochs, *others = args or (kwargs.pop("epochs", 1),)
        epochs = max(epochs, self._least_epochs) if isinstance(epochs, Integral) else epochs
        try:
            return self._giving("fit", call, model, x, y, batch_size, epochs, *others, **kwargs)
        finally:
            self._fitting = None

    def _giving(self, name, call, *args, **kwargs):
        """Tell the recorder which call of Keras the arrays are for that become tensors in it."""
        if self._recorder is None:
            return call(*args, **kwargs)
        before = self._recorder.given_to
        self._recorder.given_to = before or name
        try:
            return call(*args, **kwargs)
        finally:
            self._recorder.given_to = before

    def _around_evaluate(self, call, model, x=None, y=None, batch_size=None, *args, **kwargs):
        with self._evaluating(x, batch_size):
            return self._giving("evaluate", call, model, x, y, batch_size, *args, **kwargs)

    def _around_predict(self, call, model, x, batch_size=None, *args, **kwargs):
        with self._evaluating(x, batch_size):
            return self._giving("predict", call, model, x, batch_size, *args, **kwargs)

    @contextlib.contextmanager
    def _evaluating(self, x, batch_size):
        before = self.batch_size, self.evaluating
        self.batch_size, self.evaluating = _batch_of(x, batch_size), True
        yield
        self.batch_size, self.evaluating = before  # what fails stays the last

    def _around_train_on_batch(self, call, model, x, *args, **kwargs):
        self.batch_size, self.evaluating = _rows(x), False
        return self._giving("train_on_batch", call, model, x, *args, **kwargs)

    def _record(self, start, steps):
        end = time.perf_counter()
        if steps:
            self.seconds += [(end - start) / steps] * steps
            self._intervals.append(((end - (self._last_end or start)) / steps, self.batch_size))
        self._after_step()
        self._last_end = time.perf_counter()


class Shortening:
    """Ends each loop of `fit`, `evaluate` and `predict` after a few steps, so that `train` is soon through.

    Whatever else these do is done: arrays are copied, validation runs after the steps of an epoch, callbacks
    are called. With validation, a second epoch follows the first, for which its data is then kept. What
    `predict` has not predicted is made up for by a tensor of the same size. A loop of the reader's own is not
    ended: after a few steps, its calls of the training function are given the last result again, and it is
    given the same batch of tf.data again, as often as there are batches: a queue from which batches are taken
    without training on them would become longer than it is in training.

    round      how many steps one round of the optimizer takes: more than one if it accumulates gradients
    trainings  how often `fit` was called
    batches    for each of these, and for each iterator of tf.data that the reader's own loop trains on, the
               number of batches in an epoch; None if unknown
    evaluated  {"evaluation" or "prediction": the number of batches of each such loop}; None if unknown
    """

    def __init__(self, steps, recorder, finish):
        """recorder: a Recorder to tell of phases; finish: ends the trial, with the reason."""
        self._steps, self._recorder, self._finish = steps, recorder, finish
        self.round, self.trainings, self.batches, self.evaluated = 1, 0, [], {}
        self._loops, self._kept, self._repeated = [], weakref.WeakKeyDictionary(), 0
        self._updates = weakref.WeakKeyDictionary()
        self._sources, self._taken_from = weakref.WeakKeyDictionary(), weakref.WeakSet()
        self._latest, self._has_stepped, self._is_tracing = time.monotonic(), False, False

    def install(self):
        """Wrap Keras for the rest of this process."""
        for name, phase in LOOPS.items():
            _wrap(keras.Model, name, functools.partial(self._around_loop, phase))
        for name, phase in CALLS.items():
            _wrap(keras.Model, name, functools.partial(self._around_call, phase))
        for name, stop in zip(("train", "test", "predict"), STOPS.values(), strict=True):
            make = functools.partial(self._around_make, f"{name}_function", stop)
            _wrap(keras.Model, f"make_{name}_function", make)
        _wrap(OwnedIterator, "__next__", self._around_next)
        _wrap(EpochIterator, "_enumerate_iterator", self._around_epoch)

    @property
    def wanted(self):
        """How many steps a loop makes: as many as show two rounds of the optimizer, if they are short."""
        return max(self._steps, 2 * self.round if self.round <= self._steps else self.round + 1)

    def is_overdue(self):
        """Whether `train` goes on for so long after its last step that it is not waited for.

        A loop that has made no step yet is waited for: it waits for data, or its function is traced, which
        takes a minute for a large model.
        """
        begins = self._is_tracing or any(loop.taken == 0 for loop in self._loops)
        return self._has_stepped and not begins and time.monotonic() - self._latest > IDLE_SECONDS

    @contextlib.contextmanager
    def tracing(self):
        """While a function is called for the first time: it is traced, and may be compiled."""
        self._is_tracing = True
        try:
            yield
        finally:
            self._is_tracing, self._latest = False, time.monotonic()

    def repeats(self, function):
        """Whether a training function of the reader's own loop has been seen often enough."""
        count, _ = self._kept.get(function, (0, None))
        return not self._loops and count >= self.wanted

    def result_of(self, function):
        """Its last result; ends the trial if that is asked for too often."""
        self._repeated += 1
        if self._repeated > MOST_REPEATED:
            self._finish("time")
        for iterator in self._taken_from:
            self._sources[iterator].is_idle = True
        self._taken_from.clear()
        return self._kept[function][1]

    def keep(self, function, result):
        """Keep the result of a training function that the reader's own loop has called."""
        self._latest, self._has_stepped = time.monotonic(), True
        if not self._loops:
            count, _ = self._kept.get(function, (0, None))
            self._kept[function] = count + 1, result
            sources = [self._sources[iterator] for iterator in self._taken_from]
            self.batches += [source.counted() for source in sources if not source.is_counted]
        self._taken_from.clear()

    def eager_update(self, optimizer):
        """An optimizer has updated weights eagerly: a loop that does it itself cannot be shortened."""
        self._updates[optimizer] = self._updates.get(optimizer, 0) + 1
        if not self._loops and min(self._updates.values()) > self.wanted:
            self._finish("")

    def _around_next(self, call, iterator):
        """The next batch of tf.data, for a loop of the reader's own."""
        if self._loops or not tf.executing_eagerly():
            return call(iterator)
        if iterator not in self._sources:
            self._sources[iterator] = _Source(iterator)
        self._taken_from.add(iterator)
        return self._sources[iterator].next(functools.partial(call, iterator))

    def _around_epoch(self, call, epochs):
        """An epoch of a loop of Keras's: note from which iterator it takes its batches.

        Keras does not end the epoch of a PyDataset whose loop is cut short, and refuses to begin another.
        """
        loop = self._loops[-1] if self._loops else None
        try:
            for made in call(epochs):
                if loop:  # the iterator is last, after the first step or the first and the last, by version
                    *_, iterator = made
                    loop.takes_from(iterator, for_good=bool(epochs.steps_per_epoch))
                yield made
        except GeneratorExit:
            epochs.data_adapter.on_epoch_end()
            raise

    def _around_loop(self, phase, call, model, *args, **kwargs):
        loop = _Loop(phase, model, *_amount(*args, **kwargs))
        outer = self._loops[-1] if self._loops else None
        if phase == "training":
            if self.trainings == MOST_TRAININGS:
                self._finish("trainings")
            self.trainings += 1
            self.batches.append(loop.batches)
            if "validation_freq" in kwargs:
                kwargs["validation_freq"] = 1
        else:
            self.evaluated.setdefault(phase, []).append(loop.batches)
        if outer:
            outer.empty_queue()
        with self._during(loop):
            result = call(model, *args, **kwargs)
            loop.empty_queue()
        if phase == "evaluation" and outer and outer.phase == "training" and outer.model is model:
            outer.epochs += 1
            if outer.epochs < 2:  # validation of a further epoch, if there is one, finds its data kept
                outer.taken, model.stop_training = 0, False
        return result

    def _around_call(self, phase, call, model, *args, **kwargs):
        self.evaluated.setdefault(phase, []).append(None)
        self._tell(phase)
        try:
            return call(model, *args, **kwargs)
        finally:
            self._tell(self._loops[-1].phase if self._loops else "other")

    @contextlib.contextmanager
    def _during(self, loop):
        self._loops.append(loop)
        self._tell(loop.phase)
        try:
            yield
        finally:
            self._loops.pop()
            gc.collect()  # the iterator of a loop cut short holds batches; one that ran to its end does not
            self._tell(self._loops[-1].phase if self._loops else "other")

    def _tell(self, phase):
        self._latest = time.monotonic()
        if self._recorder:
            self._recorder.phase(phase)

    def _around_make(self, name, stop, call, model, *args, **kwargs):
        result = call(model, *args, **kwargs)
        function = getattr(model, name)
        if not hasattr(function, "counts_for_labkit"):
            counting = functools.partial(self._counted, function, model, stop)
            counting.counts_for_labkit = True
            setattr(model, name, counting)
        return result

    def _counted(self, function, model, stop, *args, **kwargs):
        result = function(*args, **kwargs)
        loop = self._loops[-1] if self._loops else None
        if loop is None or loop.model is not model or STOPS[loop.phase] != stop:
            return result
        loop.taken += 1
        self._latest, self._has_stepped = time.monotonic(), True
        if loop.phase != "training" and self._recorder:
            self._recorder.phase("part")
        if loop.taken >= self._wanted_of(loop):
            setattr(model, stop, True)
            result = loop.completed(result) if stop == "stop_predicting" else result
        return result

    def _wanted_of(self, loop):
        return self.wanted if loop.phase == "training" else self._steps


class _Source:
    """What a loop of the reader's own takes from an iterator of tf.data.

    is_idle   whether nothing trains on its batches any more: then one of them is given again and again
    """

    def __init__(self, iterator):
        dataset = getattr(iterator, "_dataset", None)
        self._batches = int(dataset.cardinality()) if dataset else tf.data.UNKNOWN_CARDINALITY
        self._taken, self._again = 0, None
        self.is_idle = self.is_counted = False

    def counted(self):
        """How many batches it has; None if unknown."""
        self.is_counted = True
        return self._batches if self._batches > 0 else None

    def next(self, make):
        if self._taken == self._batches:
            raise StopIteration
        self._taken += 1
        if not self.is_idle or self._batches == tf.data.UNKNOWN_CARDINALITY:
            return make()
        if self._again is None:
            self._again = make()
        return self._again


class _Loop:
    """A running `fit`, `evaluate` or `predict`: how many steps it has made, of how many batches and rows."""

    def __init__(self, phase, model, rows=None, batches=None):
        self.phase, self.model, self.rows, self.batches = phase, model, rows, batches
        self.taken = self.epochs = 0
        self._iterator = None

    def takes_from(self, iterator, for_good):
        """Note the iterator of tf.data of an epoch; for good, if the next epoch goes on with it."""
        self._iterator = None if for_good else weakref.ref(iterator)

    def empty_queue(self):
        """Free the batches that wait for an epoch cut short: one that ran to its end has none left."""
        iterator = self._iterator and self._iterator()
        if isinstance(iterator, OwnedIterator):
            iterator._iterator_resource = None

    def completed(self, result):
        """The last prediction that is made, extended by as many rows as the rest would have."""

        def extended(tensor):
            size = tensor.shape[0]
            rows = self.rows or (self.batches or 0) * size
            rest = max(0, rows - self.taken * size)
            return tf.zeros((size + rest, *tensor.shape[1:]), tensor.dtype) if rest else tensor

        try:
            return tf.nest.map_structure(extended, result)
        except (AttributeError, IndexError, TypeError, ValueError):  # not tensors of rows
            return result


def _rows(x):
    """How many rows an array has, NumPy's, TensorFlow's or a sparse one; None of anything else."""
    shape = getattr(x, "shape", None)
    try:
        return int(shape[0])
    except (TypeError, ValueError, IndexError):  # no array, of an unknown rank or number, a single number
        return None


def _batch_of(x, batch_size):
    """Rows in a batch of an array that Keras is given; None if unknown."""
    rows, asked = _rows(x), int(batch_size) if isinstance(batch_size, Integral) else 32
    return min(asked, rows) if rows else None


def _amount(x=None, y=None, batch_size=None, *args, **kwargs):
    """(rows, batches) that a loop goes through, each None if unknown."""
    steps = kwargs.get("steps_per_epoch") or kwargs.get("steps")
    first = next(iter(tf.nest.flatten(x)), None) if not isinstance(x, tf.data.Dataset) else x
    rows = _rows(first)
    if isinstance(x, tf.data.Dataset):
        batches = int(x.cardinality())
    elif rows is not None:
        rows = math.floor(rows * (1 - (kwargs.get("validation_split") or 0)))
        batches = -(-rows // (batch_size or 32))
    else:
        batches = getattr(x, "num_batches", None)
    known = [int(n) for n in (batches, steps) if isinstance(n, Integral) and n > 0]
    return rows if not steps else None, min(known, default=None)


def _inside_a_graph_loop():
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        name = getattr(graph, "name", "")
        if "while" in name or "Dataset" in name:
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _wrap(owner, name, around):
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)
