"""Lesson 10: which loops grow, and comparing learning rates without growing."""

from ..sizes import MIB, format_size
from ..trials.trial import run
from .core import Exercise

FEW, MANY = 4, 12
FEATURES, UNITS = 64, 1024
ROWS = 256


def loop(way, turns):
    """Turn one of the loops of exercise 1."""
    import gc

    import keras
    import numpy as np

    def build():
        model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(UNITS)])
        model.compile("sgd", "mse")
        return model

    X, y = np.ones((ROWS, FEATURES), "float32"), np.ones((ROWS, UNITS), "float32")
    model, history = build(), []
    for _ in range(turns):
        if way == "A":
            model.fit(X, y, verbose=0)
        elif way == "B":
            keras.backend.clear_session()
            model = build()
            model.fit(X, y, verbose=0)
        elif way == "C":
            model = build()
            model.predict_on_batch(X)
        else:
            outputs = model(X)
            history.append(outputs if way == "D" else outputs.numpy().copy())
        gc.collect()
    return model.count_params() * 4


def _judge_loops(letters):
    if not isinstance(letters, str) or not set(letters.upper()) <= set("ABCDE, "):
        return f'{letters!r} is not an answer: give the letters of those that grow as text, such as "AE".'
    for way in "ABCDE":
        few, many = (run(loop, way=way, turns=turns) for turns in (FEW, MANY))
        per_turn = (many.peak_bytes - few.peak_bytes) / (MANY - FEW)
        grows, said = per_turn > few.result / 2, way in letters.upper()
        if said != grows:
            yours = "grows" if said else "does not grow"
            return (
                f"{way}: you say that it {yours}. In {FEW} turns it has just peaked at "
                f"{format_size(few.peak_bytes)}, in {MANY} at {format_size(many.peak_bytes)}. Who holds what?"
            )
    return None


q1 = Exercise(
    _judge_loops,
    "For each ask what is new in every turn, and whether anything still points to it afterwards: a list, "
    "or TensorFlow itself, which does not forget a graph that trained. `.numpy().copy()` lies on the host.",
    'grow = "BD"  # B leaves a trained model behind each time, D an output',
    "All five were turned just now. (B grows as long as TensorFlow has the fault of this lesson.)",
)


def compare(answer, count):
    """Compare so many rates with the reader's function; returns (what it gave, what is expected)."""
    import keras
    import numpy as np

    def build_sgd(units=1024):
        first, last = (keras.initializers.GlorotUniform(seed=seed) for seed in (1, 2))
        layers = [
            keras.layers.Dense(units, activation="tanh", kernel_initializer=first),
            keras.layers.Dense(1, kernel_initializer=last),
        ]
        model = keras.Sequential([keras.Input((256,)), *layers])
        model.compile("sgd", "mse")
        return model

    random = np.random.default_rng(0)
    X, y = random.random((32, 256), dtype="float32"), random.random((32, 1), dtype="float32")
    rates = [float(rate) for rate in np.linspace(0.0001, 0.001, count)]
    return answer(build_sgd, rates, X, y)


def as_it_was(build_sgd, rates, X, y):
    """The comparison that grows, as the lesson shows it."""
    losses = []
    for rate in rates:
        model = build_sgd()
        model.optimizer.learning_rate = rate
        losses.append(float([model.train_on_batch(X, y) for _ in range(5)][-1]))
    return losses


def _judge_rates(answer):
    wanted = run(compare, answer=as_it_was, count=FEW).result
    few, many = (run(compare, answer=answer, count=count) for count in (FEW, MANY))
    for tried in (few, many):
        if not tried.ok:
            return f"It ended with the status {tried.status!r}: {tried.error}"
    return _losses_wrong(few.result, wanted) or _rates_grow(few, many)


def _losses_wrong(found, wanted):
    import numpy as np

    try:
        found = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        return f"It should return a list of losses; yours returned {found!r}."
    if found.shape != (len(wanted),):
        return f"{len(wanted)} rates went in; what came out has the shape {found.shape}."
    off = [place for place in range(len(wanted)) if not np.isclose(found[place], wanted[place], rtol=1e-3)]
    if off:
        place = off[0]
        gave, right = f"{found[place]:.5g}", f"{wanted[place]:.5g}"
        ask = (
            "Does each rate begin with the first weights?" if place else "Were there five steps at that rate?"
        )
        return f"Loss number {place + 1} is {gave} and should be {right}. {ask}"
    return None


def _rates_grow(few, many):
    if many.peak_bytes - few.peak_bytes > 2 * MIB:
        return (
            f"The losses are right, but {FEW} rates peak at {format_size(few.peak_bytes)} and {MANY} at "
            f"{format_size(many.peak_bytes)}: it still grows. How many models does it train?"
        )
    return None


q2 = Exercise(
    _judge_rates,
    "One model is enough. Before the loop, copy its weights (`model.get_weights()`); what has to happen to "
    "them at the beginning of each rate? Plain SGD has no slots to put back.",
    """\
def compare_rates(build_sgd, rates, X, y):
    model = build_sgd()
    at_first, losses = model.get_weights(), []
    for rate in rates:
        model.set_weights(at_first)
        model.optimizer.learning_rate = rate
        losses.append(float([model.train_on_batch(X, y) for _ in range(5)][-1]))
    return losses""",
    "The same losses, from one model, and nothing grows.",
)
