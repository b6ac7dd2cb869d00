"""`train` as it runs in a trial under fixes, applied from outside, with its calls written down.

Nothing here is imported into the kernel but the class: Keras is there in the trial only.
"""

import contextlib
import functools
import inspect
import math

from ..inside.execute import execute, remember
from ..inside.folder import to_json
from .kinds import rewrite

METHODS = ("compile", "fit", "evaluate", "predict")
SCALE = 128.0  # of the loss


class Applied:
    """`train` under fixes; it leaves what it saw in a file, a line of JSON for each thing.

    fixes   labkit.fixes.kinds.fix.Fix objects, applied in this order
    path    of the file
    over    the parameter that is the batch size: a fix that divides a batch divides it; None if that has
            been done

    What it changes of Keras is changed for the whole process: use it in trials only.
    """

    def __init__(self, train, fixes, path, over=None):
        self._train = Written(train) if isinstance(train, str) else train
        self._fixes, self._path, self._over = fixes, str(path), over
        functools.update_wrapper(self, self._train, updated=())  # not the attributes of a callable object

    def __call__(self, **params):
        import keras

        if self._over is not None:
            params[self._over] //= math.prod(fix.divides for fix in self._fixes)
        for fix in self._fixes:
            fix.begin()
        self._policy = keras.config.dtype_policy()
        _keep(self._policy)
        for method in METHODS:
            self._wrap(keras.Model, method)
        return self._train(**params)

    def note(self, kind, **facts):
        with contextlib.suppress(FileNotFoundError), open(self._path, "a") as file:  # the folder may be gone
            file.write(to_json({"kind": kind, **facts}) + "\n")

    def _wrap(self, owner, method):
        from .facts import facts_of

        original = getattr(owner, method)
        signature = inspect.signature(original)

        @functools.wraps(original)
        def wrapper(model, *args, **kwargs):
            validates = kwargs.get("_use_cached_eval_dataset")  # evaluate, called by fit for its own data
            if validates or getattr(wrapper, "inside", False):  # a method may call that of its superclass
                return original(model, *args, **kwargs)
            wrapper.inside = True
            try:
                given = dict(signature.bind(model, *args, **kwargs).arguments)
                given |= given.pop("kwargs", {})
                model = given.pop("self")
                facts = facts_of(method, model, given, self._policy)
                self.note(method, model=id(model), call=rewrite.call_text(method), **facts)
                for fix in self._fixes:
                    given = getattr(fix, method)(model, given)
                return original(model, **self._last(method, given))
            finally:
                wrapper.inside = False

        setattr(owner, method, wrapper)

    def _last(self, method, given):
        """The arguments of a method, after all fixes."""
        return given


def _keep(policy):
    """Have clear_session(), which forgets the policy, come back to this one, as if it were set after it."""
    from keras.src.backend.common import global_state

    get = global_state.get_global_attribute

    def kept(name, *args, **kwargs):
        value = get(name, *args, **kwargs)
        return policy if value is None and name == "dtype_policy" else value

    global_state.get_global_attribute = kept


class Observed(Applied):
    """Applied so that trials can be compared: it notes the loss after each batch, and shuffles no arrays.

    Keras begins with a loss scale of 32,768 for float16, and skips updates until it has halved it often
    enough. So that the first few steps can be compared, these trials begin with SCALE.
    """

    def __call__(self, **params):
        import keras

        scaling = keras.optimizers.LossScaleOptimizer
        scaling.__init__ = functools.partialmethod(scaling.__init__, initial_scale=SCALE)
        return super().__call__(**params)

    def _last(self, method, given):
        if method != "fit":
            return given
        callbacks = given.get("callbacks") or []
        if isinstance(callbacks, list | tuple):
            given["callbacks"] = [*callbacks, self._losses()]
        if isinstance(given.get("shuffle", True), bool):
            given["shuffle"] = False
        return given

    def _losses(self):
        """A callback that notes the loss."""
        import keras

        note = self.note

        class Losses(keras.callbacks.Callback):
            epochs = 0

            def on_epoch_begin(self, epoch, logs=None):
                self.epochs += 1

            def on_train_batch_end(self, batch, logs=None):
                if self.epochs == 1 and logs and "loss" in logs:
                    note("loss", batch=batch + 1, loss=float(logs["loss"]))

        return Losses()


class Written:
    """Source text as a function of the variables in it."""

    __name__ = "train"

    def __init__(self, text):
        self.text = text

    def __call__(self, **params):
        remember(self.text, "<train>")
        return execute(self.text, "<train>", params)
