"""Code that pages and lessons show to be copied calls what labkit has, the way it is called."""

import ast
import functools
import inspect
import json
import re
import textwrap
from pathlib import Path

import pytest

import labkit
from labkit import plots, widgets
from labkit.fixes.kinds import all_fixes

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / "notebooks").glob("*.ipynb"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "workshop").glob("*.md"),
    ROOT / "README.md",
]
MODULES = {"labkit": labkit, "plots": plots, "widgets": widgets}
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
FIXES = {fix.name for fix in all_fixes()}


@functools.cache
def public():
    """What labkit has, by name. One of it imports Keras, which no test is collected for."""
    return {name: getattr(labkit, name) for name in labkit.__all__}


def snippets(path):
    """The Python in the Markdown of a page."""
    texts = [path.read_text()]
    if path.suffix == ".ipynb":
        cells = json.loads(texts[0])["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return [code for text in texts for code in SNIPPET.findall(text)]


def faults(code):
    """What a snippet asks labkit for and does not get, a sentence each."""
    for node in ast.walk(ast.parse(textwrap.dedent(code))):
        if isinstance(node, ast.Call):
            yield from call_faults(node)
        elif isinstance(node, ast.Attribute) and is_of_labkit(node) and not returned(node.attr):
            yield f"nothing that labkit returns has .{node.attr}"


def owner(node):
    """The module of labkit that an attribute is asked of, if it is."""
    return MODULES.get(node.value.id) if isinstance(node.value, ast.Name) else None


def is_of_labkit(node):
    """Whether an attribute is asked of what a function of labkit returned, by the names that pages use."""
    if owner(node):
        return False
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return isinstance(node, ast.Name) and node.id in (*MODULES, "outcome", "estimate", "step", "fixes")


def returned(name):
    """Whether something that labkit returns has this attribute, by class or set as one is made."""
    return any(
        hasattr(cls, name)
        or name in getattr(cls, "__dataclass_fields__", {})
        or f"self.{name} = " in inspect.getsource(cls)
        for cls in filter(inspect.isclass, public().values())
    )


def call_faults(call):
    func = call.func
    known = {**vars(widgets), **public()} if isinstance(func, ast.Name) else None
    function = known.get(func.id) if known else None
    if isinstance(func, ast.Attribute) and owner(func):
        function = getattr(owner(func), func.attr, None)
        if function is None:
            yield f"labkit has no {func.attr}"
    if function is None:
        return
    named = {each.arg: each.value for each in call.keywords if each.arg}
    try:
        inspect.signature(function).bind(*call.args, **named)
    except TypeError as e:
        yield f"{ast.unparse(func)}: {e}"
    if isinstance(named.get("fixes"), ast.List):
        names = {each.value for each in named["fixes"].elts}
        yield from (f"there is no fix {name!r}" for name in names - FIXES)


@pytest.mark.parametrize("path", [path for path in PAGES if snippets(path)], ids=lambda path: path.name)
def test_snippets_call_what_there_is(path):
    assert [fault for code in snippets(path) for fault in faults(code)] == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("labkit.runs(train)", "labkit has no runs"),
        ("labkit.run(train).timelin", "nothing that labkit returns has .timelin"),
        ("labkit.find_batch_size(train, batch_size=1, memory_limits='2 GiB')", "find_batch_size: missing"),
        ("labkit.try_fixes(train, fixes=['mixed'], batch_size=1)", "there is no fix 'mixed'"),
        ("BatchSizeLab()", "BatchSizeLab: missing"),
    ],
)
def test_what_there_is_not_is_found(code, fault):
    assert any(fault in found for found in faults(code)), [*faults(code)]
