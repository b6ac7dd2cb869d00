"""Controls for the memory limit, the batch sizes, and the parameters of a `train` function."""

import contextlib
import inspect
import typing

import ipywidgets as widgets
from traitlets import TraitError

from ...errors import LabkitError
from ...fixes.kinds import alternatives
from ...sizes import MIB, format_size

LIMITS = [step * 2**power for power in range(4, 20) for step in (1, 1.5)]  # MiB: 16, 24, 32, 48, ...
WIDE = {"description_width": "8em"}
SHAPE = {"width": "auto"}  # as wide as its column of the grid
GRID = {"grid_template_columns": "repeat(auto-fit, minmax(19em, 1fr))", "grid_gap": "0 1em", "width": "100%"}
SPACINGS = {"× 2": 2.0, "× 1.4": 2**0.5, "even steps": None}
EVEN_STEPS = 8
MOST = 2**31 - 1  # in a field: a larger integer has none, and is passed on as it is
AS_IT_IS = "as it is"
FIXES = {"input_pipeline": "input", "accumulation": "batch", "optimizer": "optimizer", "xla": "xla"}


def memory_limit(limit, most):
    """A slider over round sizes up to `most` bytes, set to `limit` (bytes, or None for no limit)."""
    sizes = {int(size * MIB) for size in LIMITS if size * MIB <= most} | ({limit} if limit else set())
    return widgets.SelectionSlider(
        options=_sizes(sizes),
        value=limit or 0,
        description="memory limit",
        continuous_update=False,
        style=WIDE,
        layout=SHAPE,
    )


def offer_limit(slider, limit):
    """Add a limit (bytes, 0 for none) to the options of the slider; its value is unchanged."""
    sizes, value = {size for _, size in slider.options}, slider.value
    if limit not in sizes:
        slider.options = _sizes({*sizes, limit} - {0})
        slider.value = value


def _sizes(sizes):
    return [*((format_size(size), size) for size in sorted(sizes)), ("no limit", 0)]


def set_value(name, control, value):
    """Set a control to a value. Raises LabkitError if the control cannot take it."""
    with contextlib.suppress(TraitError, TypeError):  # ipywidgets trips over a tuple that is no choice
        control.value = value
    if control.value != value:
        choices = getattr(control, "_options_labels", None)
        options = f"; choose from {', '.join(map(str, choices))}" if choices else ""
        raise LabkitError(f"{name}={value!r} is not a valid value{options}.")


def batch_sizes(over, smallest, largest):
    """A range slider over powers of two and the two end values."""
    values = sorted({2**power for power in range(15)} | {smallest, largest})
    return widgets.SelectionRangeSlider(
        options=values,
        value=(smallest, largest),
        description=over,
        continuous_update=False,
        style=WIDE,
        layout=SHAPE,
    )


def spacing():
    return widgets.Dropdown(options=list(SPACINGS), description="spacing", style=WIDE, layout=SHAPE)


def spaced(smallest, largest, spacing):
    """The integers to try from `smallest` to `largest`, both included, by one of SPACINGS.

    >>> spaced(8, 100, "× 2")
    [8, 16, 32, 64, 100]
    """
    factor = SPACINGS[spacing]
    if factor is None:
        step = (largest - smallest) / (EVEN_STEPS - 1)
        return sorted({round(smallest + step * n) for n in range(EVEN_STEPS)})
    values, value = {largest}, float(smallest)
    while value < largest:
        values.add(round(value))
        value *= factor
    return sorted(values)


def precision():
    policies = ["float32", "mixed_float16", "mixed_bfloat16"]
    return widgets.Dropdown(options=policies, description="precision", style=WIDE, layout=SHAPE)


def fixes(taken):
    """{name: dropdown}: the fixes of try_fixes() that can be swept, none of them chosen.

    taken   names of parameters of `train`, which has a control for those already
    """
    return {
        name: widgets.Dropdown(
            options=[AS_IT_IS, *alternatives(group)],
            description="XLA" if name == "xla" else name.replace("_", " "),
            style=WIDE,
            layout=SHAPE,
        )
        for name, group in FIXES.items()
        if name not in taken
    }


def folded(title, controls):
    """Controls behind a title, which is folded away."""
    fold = widgets.Accordion([widgets.GridBox(controls, layout=GRID)], selected_index=None)
    fold.set_title(0, title)  # ipywidgets 7 has no .titles
    return fold


def number_of(name, value, most):
    return widgets.BoundedIntText(value=value, min=1, max=most, description=name, style=WIDE, layout=SHAPE)


def checkbox(name, value):
    return widgets.Checkbox(value=value, description=name, indent=False, layout={"width": "11em"})


def parameters(train, given, over):
    """(controls, constants): the parameters of `train` that a control can set, and the values of the others.

    given   values by name; a list becomes a dropdown, any other value is the control's initial value; a list
            in the signature of `train` is a constant
    over    a tuple of the parameters to sweep, which get no control here

    Raises LabkitError for a name that `train` does not take, for a value of what is swept, and for a
    parameter without a value.
    """
    declared, takes_any = _declared(train)
    for name in [*over, *given]:
        if name not in declared and not takes_any:
            raise LabkitError(
                f"`train` takes no parameter {name!r}; it takes {', '.join(declared) or 'none'}."
            )
    for name in over:
        if name in given:
            raise LabkitError(f"The trials vary {name!r}, so it cannot be given a fixed value as well.")
    values = {**{name: parameter.default for name, parameter in declared.items()}, **given}
    values = {name: value for name, value in values.items() if name not in over}
    missing = [name for name, value in values.items() if value is inspect.Parameter.empty]
    if missing:
        raise LabkitError(f"{missing[0]!r} has no value: pass one, BatchSizeLab(train, {missing[0]}=...).")
    controls, constants = {}, {}
    for name, value in values.items():
        hint = declared[name].annotation if name in declared else None
        is_constant = isinstance(value, list) and name not in given
        control = None if is_constant else _control(name, value, hint)
        (constants if control is None else controls)[name] = value if control is None else control
    return controls, constants


def _declared(train):
    """({name: parameter} in the signature of `train`, whether it takes others too, as source text does)."""
    if isinstance(train, str):
        return {}, True
    if not callable(train):
        raise LabkitError(f"`train` is of type {type(train).__name__}: pass a function, BatchSizeLab(train).")
    try:
        signature = inspect.signature(train, eval_str=True)
    except Exception:  # whatever a quoted annotation raises that cannot be evaluated here
        signature = inspect.signature(train)
    parameters = signature.parameters.values()
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return named, any(p.kind == p.VAR_KEYWORD for p in parameters)


def _control(name, value, hint):
    """The control for one parameter, None if there is none for its type of value."""
    options = {"description": name, "style": WIDE, "layout": SHAPE}
    if isinstance(value, list) and value:
        return widgets.Dropdown(options=[(str(choice), choice) for choice in value], **options)
    if typing.get_origin(hint) is typing.Literal:
        choices = list(typing.get_args(hint))
        choices += [] if value in choices else [value]
        return widgets.Dropdown(options=choices, value=value, **options)
    if isinstance(value, bool):
        return widgets.Checkbox(value=value, indent=True, **options)
    if isinstance(value, float) or isinstance(value, int) and hint in (float, "float"):
        return widgets.FloatText(value=value, **options)
    if isinstance(value, int) and value <= MOST:
        return widgets.BoundedIntText(value=value, min=min(0, value), max=MOST, **options)
    if isinstance(value, str):
        return widgets.Text(value=value, continuous_update=False, **options)
    return None
