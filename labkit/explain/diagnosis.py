"""Diagnosis: why memory ran out, and how it shows itself."""

import base64
import html
from dataclasses import dataclass, field

from ..sizes import format_size
from . import advice, causes

TELLING = 0.95  # of the batch: a bound above that says nothing


@dataclass(frozen=True)
class Diagnosis:
    """Why memory ran out, as far as can be told. Sizes in bytes; None where nothing says.

    cause       one of labkit.explain.causes.MEANINGS
    confidence  "certain", "likely" or "a guess"
    op, layer   what failed; from a text the layer is read off the op's name
    evidence    sentences: what was found, and what the cause was told by
    fixes       labkit.explain.advice.Fix, the most effective first
    others      what else failed in the same text, a sentence each
    memory_map  every chunk of the allocator as it gave up, a labkit.logs.dumpfile.MemoryMap
    """

    cause: str = "unknown"
    layer: str | None = None
    op: str | None = None
    shape: tuple | None = None
    dtype: str | None = None
    requested_bytes: int | None = None
    in_use_bytes: int | None = None
    limit_bytes: int | None = None
    largest_free_bytes: int | None = None
    evidence: list = field(default_factory=list)
    confidence: str = causes.CERTAIN
    fixes: list = field(default_factory=list)
    others: list = field(default_factory=list)
    memory_map: object = field(default=None, repr=False)
    case: object = field(default=None, repr=False, compare=False)

    @property
    def found(self):
        """Whether it says why memory ran out, or that TensorFlow only warned."""
        return self.cause not in ("unknown", "not_oom")

    @property
    def headline(self):
        """The cause in a line."""
        sure = "" if self.confidence == causes.CERTAIN else f" ({self.confidence})"
        return f"{self.cause}{sure}: {causes.MEANINGS[self.cause]}"

    def __str__(self):
        lines = [self.headline, *(f"  - {sentence}" for sentence in self.evidence)]
        if self.fixes:
            lines += ["What helps, the most effective first:", *map(_fix_text, range(1, 9), self.fixes)]
        if self.others:
            lines += ["Also in this text:", *(f"  - {sentence}" for sentence in self.others)]
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": str(self), "text/html": self._html()}

    def _html(self):
        parts = [f"<b>{html.escape(self.headline)}</b>", _list("ul", map(html.escape, self.evidence))]
        if self.memory_map is not None:
            parts.append(_picture(self))
        if self.fixes:
            parts += ["What helps, the most effective first:", _list("ol", map(_fix_html, self.fixes))]
        if self.others:
            parts += ["Also in this text:", _list("ul", map(html.escape, self.others))]
        return f'<div role="group" aria-label="diagnosis">{"".join(parts)}</div>'

    def to_dict(self):
        """Everything but the memory map, in plain types, for JSON."""
        facts = {name: value for name, value in vars(self).items() if name not in ("memory_map", "case")}
        shape = None if self.shape is None else list(self.shape)
        return facts | {"shape": shape, "fixes": [fix.to_dict() for fix in self.fixes]}


def from_case(case, last=(), first=()):
    """The Diagnosis of a Case. first, last: sentences before and after its own evidence."""
    cause, confidence, reasons = causes.find(case)
    fits = (
        _batch_that_may_fit(case) if cause in ("activations", "tensor_exceeds_limit", "attention") else None
    )
    looped = case.loop_bytes if case.in_loop else 0
    return Diagnosis(
        cause=cause,
        layer=case.layer,
        op=case.op or case.op_type,
        shape=case.shape,
        dtype=case.dtype,
        requested_bytes=case.asked,
        in_use_bytes=case.in_use,
        limit_bytes=case.limit,
        largest_free_bytes=case.largest_free,
        evidence=[*first, *_facts(case), *reasons, *_fall(case, fits), *last],
        confidence=confidence,
        fixes=advice.for_cause(cause, case.asked, _batch(case), fits, case.needed, case.building, looped),
        memory_map=case.memory_map,
        case=case,
    )


def _facts(case):
    op = case.op or case.op_type
    if op and op != "StatefulPartitionedCall":
        yield f"The op that failed: {op}" + (f", in layer {case.layer}." if case.layer else ".")
    if case.shape is not None and case.asked:
        yield f"Its tensor: {case.dtype or ''}{list(case.shape)}, {format_size(case.asked)}."
    elif case.shape is not None:
        yield f"Its tensor has the shape {list(case.shape)}; of what type the text does not say."
    elif case.asked:
        yield f"It asked for {format_size(case.asked)}."
    if case.in_use is not None and case.limit:
        used = f"In use: {format_size(case.in_use)} of {format_size(case.limit)}"
        left = case.largest_free
        yield f"{used}." if left is None else f"{used}; the largest block left: {format_size(left)}."
    alike = case.sizes.get(-(-(case.asked or 0) // 256) * 256, 0)
    if alike > 1:
        yield f"{alike} pieces of the very same size are in use already."


def _batch(case):
    return case.batch or (case.shape[0] if case.shape and len(case.shape) > 1 else None)


def _batch_that_may_fit(case):
    """The largest batch not yet ruled out: what was in use and asked for, scaled down to the limit."""
    batch = _batch(case)
    if not (batch and case.asked and case.limit):
        return None
    fixed = sum((case.held or {}).get(name, 0) for name in ("weights", "optimizer"))
    need = (case.in_use or 0) + case.asked
    if need <= case.limit or case.limit <= fixed:
        return None
    return batch * (case.limit - fixed) // (need - fixed) or None


def _fall(case, fits):
    if fits and fits <= TELLING * _batch(case):
        need, limit = format_size((case.in_use or 0) + case.asked), format_size(case.limit)
        said = f"the step needs {need}: {limit} hold no more than {fits} of its {_batch(case)} samples"
        if case.kind == "xla":
            yield f"In all {said}."
        else:
            yield f"Up to there {said}, and likely far fewer, for the step had not come to its end."


def _fix_text(number, fix):
    saves = f" At least {format_size(fix.saves)} less." if fix.saves else ""
    lesson = f" [{fix.lesson}]" if fix.lesson else ""
    code = "".join(f"\n       {line}" for line in fix.code.splitlines())
    return f"  {number}. {fix.sentence}{saves}{lesson}{code}"


def _fix_html(fix):
    saves = f" At least {format_size(fix.saves)} less." if fix.saves else ""
    lesson = f" <i>{fix.lesson}</i>" if fix.lesson else ""
    code = f"<pre>{html.escape(fix.code)}</pre>" if fix.code else ""
    return f"{html.escape(fix.sentence + saves)}{lesson}{code}"


def _list(kind, items):
    return f"<{kind}>{''.join(f'<li>{item}</li>' for item in items)}</{kind}>"


def _picture(diagnosis):
    """The memory map as an image with its text; matplotlib is imported only here."""
    from ..show import bars

    png = base64.b64encode(bars.memory_map(diagnosis)._repr_png_()).decode()
    used, free = format_size(diagnosis.in_use_bytes), format_size(diagnosis.largest_free_bytes)
    said = f"Memory map: {used} in use, {free} free in one piece"
    return f'<img alt="{said}" src="data:image/png;base64,{png}" style="max-width:100%">'
