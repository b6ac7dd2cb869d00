"""Lesson 10: which loops grow, and a comparison of learning rates that does not."""

from ..sizes import MIB, format_size
from .core import Exercise, measured, run

FEW, MANY = 4, 12
FEATURES, UNITS = 64, 1024
ROWS = 256


def loop(letter, iterations):
    """Run one of the loops of exercise 1."""
    import gc

    import keras
    import numpy as np

    def build():
        model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(UNITS)])
        model.compile("sgd", "mse")
        return model

    X, y = np.ones((ROWS, FEATURES), "float32"), np.ones((ROWS, UNITS), "float32")
    model, history = build(), []
    for _ in range(iterations):
        if letter == "A":
            model.fit(X, y, verbose=0)
        elif letter == "B":
            keras.backend.clear_session()
            model = build()
            model.fit(X, y, verbose=0)
        elif letter == "C":
            model = build()
            model.predict_on_batch(X)
        else:
            outputs = model(X)
            history.append(outputs if letter == "D" else outputs.numpy().copy())
        gc.collect()
    return model.count_params() * 4


def _judge_loops(letters):
    if not isinstance(letters, str) or not set(letters.upper()) <= set("ABCDE, "):
        return f'{letters!r} is not an answer: give the letters of those that grow as a string, such as "AE".'
    for letter in "ABCDE":
        few, many = (measured(run(loop, letter=letter, iterations=n)) for n in (FEW, MANY))
        growth = (many.peak_bytes - few.peak_bytes) / (MANY - FEW)
        grows, said = growth > few.result / 2, letter in letters.upper()
        if said != grows:
            yours = "grows" if said else "does not grow"
            return (
                f"{letter}: you say that it {yours}. In {FEW} iterations it just peaked at "
                f"{format_size(few.peak_bytes)}, in {MANY} at {format_size(many.peak_bytes)}. "
                "What holds on to what?"
            )
    return None


q1 = Exercise(
    _judge_loops,
    "For each, ask what every iteration creates, and whether anything still refers to it afterwards: a list, "
    "or TensorFlow itself, which never releases a graph that trained. `.numpy().copy()` is on the host.",
    'grow = "BD"  # B leaves a trained model behind each time, D an output',
    "All five were run just now. (B grows for as long as TensorFlow has the bug of this lesson.)",
)


def compare(answer, count):
    """Compare `count` learning rates with the reader's function; returns what it returned."""
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
    """The comparison that grows, as in the lesson."""
    losses = []
    for rate in rates:
        model = build_sgd()
        model.optimizer.learning_rate = rate
        losses.append(float([model.train_on_batch(X, y) for _ in range(5)][-1]))
    return losses


def _judge_rates(answer):
    wanted = measured(run(compare, answer=as_it_was, count=FEW)).result
    few = run(compare, answer=answer, count=FEW)
    wrong = _failed(few) or _losses_wrong(few.result, wanted)
    if wrong:
        return wrong
    many = run(compare, answer=answer, count=MANY)
    return _failed(many) or _rates_grow(few, many)


def _failed(tried):
    return None if tried.ok else f"It ended with status {tried.status!r}: {tried.error}"


def _losses_wrong(found, wanted):
    import numpy as np

    try:
        found = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        return f"It should return a list of losses; yours returned {found!r}."
    if found.shape != (len(wanted),):
        return f"{len(wanted)} rates went in; the result has the shape {found.shape}."
    off = [place for place in range(len(wanted)) if not np.isclose(found[place], wanted[place], rtol=1e-3)]
    if off:
        place = off[0]
        gave, right = f"{found[place]:.5g}", f"{wanted[place]:.5g}"
        ask = (
            "Does each rate start from the initial weights?"
            if place
            else "Does each rate train for five steps?"
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
    "them before each rate? Plain SGD has no slots to reset.",
    """\
def compare_rates(build_sgd, rates, X, y):
    model = build_sgd()
    initial, losses = model.get_weights(), []
    for rate in rates:
        model.set_weights(initial)
        model.optimizer.learning_rate = rate
        losses.append(float([model.train_on_batch(X, y) for _ in range(5)][-1]))
    return losses""",
    "The same losses, from one model, and nothing grows.",
)
