"""Diagnosis: why memory ran out, and how it shows itself."""

import html
from dataclasses import dataclass, field

from ..logs.failure import Failure
from ..sizes import format_size
from . import advice, causes, evidence


def _of_failure(name):
    return property(lambda diagnosis: getattr(diagnosis.failure, name), doc=f"`failure.{name}`")


@dataclass(frozen=True)
class Diagnosis:
    """Why memory ran out, as far as can be told. Sizes in bytes; None where nothing says.

    cause       one of labkit.explain.causes.MEANINGS
    confidence  "certain", "likely" or "a guess"
    evidence    sentences: what was found, and how the cause can be told
    fixes       labkit.explain.advice.Fix, the most effective first
    others      what else failed in the same text, a sentence each
    failure     the facts that it goes by, a labkit.logs.failure.Failure; of them these are at hand here:
                op, layer (from a text, as the op's name tells it), shape, dtype, requested_bytes,
                in_use_bytes, limit_bytes, largest_free_bytes, memory_map
    """

    cause: str = "unknown"
    failure: Failure = field(default_factory=Failure, repr=False, compare=False)
    evidence: list = field(default_factory=list)
    confidence: str = causes.CERTAIN
    fixes: list = field(default_factory=list)
    others: list = field(default_factory=list)

    layer, shape, dtype = map(_of_failure, ("layer", "shape", "dtype"))
    requested_bytes, in_use_bytes = map(_of_failure, ("requested_bytes", "in_use_bytes"))
    limit_bytes, largest_free_bytes = map(_of_failure, ("limit_bytes", "largest_free_bytes"))
    memory_map = _of_failure("memory_map")

    @property
    def op(self):
        """The op that failed: its path, or else its type."""
        return self.failure.op or self.failure.op_type

    @property
    def found(self):
        """Whether it says why memory ran out, or that TensorFlow only warned."""
        return self.cause not in ("unknown", "not_oom")

    @property
    def headline(self):
        """The cause in a line."""
        sure = "" if self.confidence == causes.CERTAIN or self.cause == "unknown" else f" ({self.confidence})"
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

    def _html(self, picture=True):
        parts = [f"<b>{html.escape(self.headline)}</b>", _list("ul", map(html.escape, self.evidence))]
        if picture and self.memory_map is not None:
            parts.append(_picture(self))
        if self.fixes:
            parts += ["What helps, the most effective first:", _list("ol", map(_fix_html, self.fixes))]
        if self.others:
            parts += ["Also in this text:", _list("ul", map(html.escape, self.others))]
        return f'<div role="group" aria-label="diagnosis">{"".join(parts)}</div>'

    def to_dict(self):
        """Everything but the memory map, in plain types, for JSON."""
        return {
            "cause": self.cause,
            "layer": self.layer,
            "op": self.op,
            "shape": None if self.shape is None else list(self.shape),
            "dtype": self.dtype,
            "requested_bytes": self.requested_bytes,
            "in_use_bytes": self.in_use_bytes,
            "limit_bytes": self.limit_bytes,
            "largest_free_bytes": self.largest_free_bytes,
            "evidence": self.evidence,
            "confidence": self.confidence,
            "fixes": [fix.to_dict() for fix in self.fixes],
            "others": self.others,
        }


def explain(failure, first=(), last=()):
    """The Diagnosis of a Failure. first, last: sentences before and after its own evidence."""
    cause, confidence, reasons = causes.find(failure)
    fits = None
    if cause in ("activations", "tensor_exceeds_limit", "attention"):
        fits = evidence.batch_that_may_fit(failure)
    found = [*evidence.facts(failure), *evidence.near_miss(failure)]
    said = [*first, *found, *reasons, *evidence.largest_batch(failure, fits), *last]
    said = list(map(evidence.printable, said))
    return Diagnosis(cause, failure, said, confidence, advice.fixes_for(cause, failure, fits))


def without_cause(cause, said, failure=None, sure=None):
    """The Diagnosis where there is nothing to find by rules. said: its evidence, sentences."""
    failure, said = failure or Failure(), list(map(evidence.printable, said))
    sure = sure or (causes.GUESS if cause == "unknown" else causes.CERTAIN)
    return Diagnosis(cause, failure, said, sure, advice.fixes_for(cause, failure))


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
    from ..show import bars, figure

    used, free = format_size(diagnosis.in_use_bytes), format_size(diagnosis.largest_free_bytes)
    alt = f"Memory map: {used} in use, {free} free in one piece"
    return bars.memory_map(diagnosis, figure.NARROW).to_img(alt)
