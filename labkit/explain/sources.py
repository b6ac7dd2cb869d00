"""diagnose(): from an error message, a log or an Outcome to the cause, the reasons for it, and what helps."""

import io
import os
import stat
from collections import Counter
from dataclasses import replace

from ..errors import LabkitError
from ..logs import reader
from ..logs.failure import Failure
from ..logs.forms import ENDED_OTHERWISE, JOINS, MARKS, MISSING_LIBRARY, OTHER_FAULT, PUTS
from ..logs.messages import HIDDEN
from ..outcome import Outcome
from ..record.opnames import ELEMENTWISE, layer_by_name, layer_of
from ..sizes import counted, format_size
from ..texts.blocks import BLOCK_BYTES
from ..texts.characters import plain
from ..texts.printed import Printed
from . import causes
from .diagnosis import explain, without_cause
from .evidence import printable
from .fixes import LESSONS, Fix

HOST_ERRORS = ("MemoryError", "_ArrayMemoryError", "HostMemory")
# Of several failures, the lightest is explained: those that say most by themselves.
_WEIGHT = {
    **dict.fromkeys(("refused", "full", "oomkill", "session"), 1),
    "told": 1.2,
    **dict.fromkeys(("driver", "pinned", "watched"), 2),
    **{"killed": 1.5, "crashed": 2.5, "died": 3},
}
_SKIMMED = (
    f"Very many lines of this log speak of ops and memory: after {reader.MOST_LINES:,} of them only its end "
    "was read. If the failure is in the middle, give that part alone."
)
_SHOW = "Give labkit.diagnose the text of an error, the path of a log, or an outcome."


def diagnose(source):
    """The Diagnosis of an error: its text, the path of a log that has it, or the Outcome of a trial.

    A str that is the path of a file is read as a file, as is a Path; bytes are text. Files of any size are
    read in constant memory. The text may be in a notebook or in JSON, packed by gzip, or have something put
    before each of its lines.

    >>> diagnose("OOM when allocating tensor with shape[64,224,224,64] and type float").cause
    'activations'

    Raises LabkitError for anything else, and for a path that is not that of a file.
    """
    if isinstance(source, Outcome):
        return _of_outcome(source)
    found = of_blocks(_blocks(source))
    if found.cause == "not_oom" and isinstance(source, str) and "\n" not in source and not _is_path(source):
        said = "It was read as text: there is no file of this name."
        found = replace(found, evidence=[*found.evidence, said])
    return found


def of_blocks(blocks):
    """The Diagnosis of a text that comes in blocks of bytes."""
    printed = Printed(blocks)
    if printed.no_text:
        said = f"This is no text, but {printed.no_text}: give the text of the error, or the log itself."
        return without_cause("unknown", [said])
    found = _of_log(reader.read(printed))
    if printed.is_quoted:
        said = (
            "The text was inside of a notebook, of JSON, a table or a quoted string: its lines are counted "
            "there."
        )
        found = replace(found, evidence=[*found.evidence, said])
    return found


def of_trial(error, log, facts, scopes):
    """The Diagnosis of a trial that ran out of memory.

    error    its TrialError
    log      what TensorFlow printed
    facts    a Failure with what the trial knows: limit, memory map, batch, steps, the layer that ran eagerly
             as it failed, whether it died instead of raising
    scopes   {name scope of ops: layer}
    """
    if error.type in HOST_ERRORS:
        said = [f"The host's memory ran out, not the device's: {error.message or error.type}"]
        if "LABKIT_TRIAL_MEMORY" in error.message:
            said = [f"It took all of the host's memory that it may: {error.message}"]
        elif facts.available_bytes:
            room = format_size(facts.available_bytes)
            said.append(f"The trial could take {room}: what was free as it began, less a reserve.")
        return without_cause("host_memory", said, Failure(limit_bytes=facts.limit_bytes))
    told = _subject(_read(error.message))
    refused = _first_refusal(log)
    known = _with_refusal(told or refused or Failure(), refused)
    memory_map = facts.memory_map
    known = replace(
        known,
        layer=layer_of(known.op or known.op_type, scopes) or facts.layer,
        limit_bytes=facts.limit_bytes,
        in_use_bytes=memory_map.in_use_bytes if memory_map else None,
        largest_free_bytes=_largest_free(memory_map, facts.limit_bytes),
        available_bytes=None,
        memory_map=memory_map,
        sizes=Counter(c.size for c in memory_map.chunks if c.in_use) if memory_map else Counter(),
        on_gpu=False,  # the limit is the trial's own, and says nothing of the GPU
        is_alone=facts.others_bytes is None and known.kind != "driver",
        device_bytes=facts.device_bytes,
        others_bytes=facts.others_bytes,
        holders=facts.holders,
        batch=facts.batch or known.batch,
        steps=facts.steps,
        steps_peak_bytes=facts.steps_peak_bytes,
        grows_by_bytes=_growth_per_step(facts.step_bytes, facts.limit_bytes),
        crashed=facts.crashed,
        marks=known.marks | facts.marks | {mark for mark in MARKS if mark in error.traceback},
    )
    waited = [error.message] if error.type == "OutOfMemory" else []
    return explain(known, first=_hidden(known), last=waited)


def with_timeline(diagnosis, timeline):
    """The Diagnosis with what was in use by category, which makes its cause certain.

    With XLA what was in use is only what the step is given: it tells nothing without the refused block.
    """
    if diagnosis is None or diagnosis.cause == "host_memory" or not timeline.events:
        return diagnosis
    total = timeline.total()
    ends = [int(total[min(step, len(total) - 1)]) for step in timeline.steps]
    known = diagnosis.failure
    block = timeline.refused_block() if known.kind == "xla" else None
    known = replace(
        known,
        held_by_category=timeline.by_category(len(total) - 1) if block or known.kind != "xla" else None,
        arrays_bytes=_arrays_bytes(timeline, len(total) - 1),
        block=block,
        loop_bytes=_loop_bytes(block, timeline, known.batch) if block else known.loop_bytes,
        grows_by_bytes=_growth_per_step(ends, timeline.limit_bytes) or known.grows_by_bytes,
        steps=len(timeline.steps),
    )
    return replace(explain(known), others=diagnosis.others)


def _arrays_bytes(timeline, place):
    """Bytes of whole arrays given to fit, evaluate or predict that are on the device."""
    return sum(row.bytes for row in timeline.alive(place) if (row.op or "").startswith("the array given to"))


def _growth_per_step(ends, limit):
    """By how much memory in use at the ends of steps grows with each; None if it only wanders, or stays.

    What grows is larger in all of the last third of the steps than in any of the first third. The very first
    step is left out: it creates the optimizer's state.
    """
    ends = ends[1:] if len(ends) > 3 else ends
    third = max(1, len(ends) // 3)
    first, last = ends[:third], ends[-third:]
    if len(ends) < 3 or min(last) - max(first) < 0.02 * (limit or max(ends)) or max(ends[:-1]) > max(last):
        return None
    if len(ends) < 6 and any(after <= before for before, after in zip(ends, ends[1:], strict=False)):
        return None
    return (ends[-1] - ends[0]) // (len(ends) - 1) or None


def _loop_bytes(block, timeline, batch):
    """Bytes of what in a block is of a loop and has the shape of weights, and before it a number of steps."""
    kernels = {_sides(shape) for shape in timeline.weight_shapes()}
    kernels = {sides for sides in kernels if len(sides) == 2 and batch not in sides}
    looped = (row for row in block.at_peak() if "/while" in row.op)
    return sum(row.bytes for row in looped if _sides(row.shape, leading=1) in kernels)


def _sides(shape, leading=0):
    """The dimensions of a shape such as "[32,10]" after the first `leading`, in order of size."""
    dimensions = [int(n) for n in shape.strip("[]").split(",") if n]
    return tuple(sorted(dimensions[leading:]))


# From what is given to bytes


def _blocks(source):
    if isinstance(source, bytes | bytearray):
        return read_blocks(io.BytesIO(source))
    if isinstance(source, os.PathLike) or isinstance(source, str) and _is_path(source):
        return _of_file(source)
    if isinstance(source, str):
        return [source.encode("utf-8", "replace")]
    raise LabkitError(f"{type(source).__name__} cannot be diagnosed. {_SHOW}")


def _is_path(text):
    try:
        return 0 < len(text) < 4096 and os.path.exists(text)
    except ValueError:  # a character that no path has
        return False


def _of_file(path):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise LabkitError(f"{os.fspath(path)!r} is not a regular file. {_SHOW}")
        # Without O_NONBLOCK, some files of the system (/proc/kmsg) would be waited for.
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
        return _checked(read_blocks(file), path)
    except (OSError, ValueError) as e:
        if isinstance(e, LabkitError):
            raise
        raise LabkitError(f"{os.fspath(path)!r} cannot be read ({e}). {_SHOW}") from None


def _checked(blocks, path):
    """The same blocks; what fails while the file is read is a LabkitError."""
    try:
        yield from blocks
    except OSError as e:
        raise LabkitError(f"{os.fspath(path)!r} cannot be read ({e}). {_SHOW}") from None


def read_blocks(file):
    """Blocks of bytes of an open file."""
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block


# From a log, or an outcome, to the case


def _of_outcome(outcome):
    if outcome.diagnosis is not None:
        return outcome.diagnosis
    ended = outcome.status in ("timeout", "stopped")
    by_other = outcome.status == "killed" and outcome.error and outcome.error.by == "other"
    if outcome.ok or ended or by_other:
        return without_cause("not_oom", [f"{outcome.headline}."], Failure(limit_bytes=outcome.limit_bytes))
    return diagnose(f"{outcome.log}\n{outcome.error}".encode("utf-8", "replace"))


def _of_log(log):
    failure = _subject(log)
    if failure is None or _is_only_warned(log) or _is_told_otherwise(failure, log):
        return _of_no_failure(log)
    if failure.kind == "proto" and (
        "SavedModel" in failure.quote or failure.marks & {"model.save", "saved_model"}
    ):
        said = (
            "A model was saved, and the format holds at most 2 GB: no memory ran out. Save the weights alone"
        )
        return without_cause("not_oom", [f"{said} (model.save_weights), or use the format .keras."])
    crashed = any(f.kind == "crashed" and f.line > failure.line for f in log.failures)
    allocators = {f.allocator for f in log.failures if f.allocator}
    tried = "No algorithm worked" in failure.quote and any(f.tried_out for f in log.failures)
    known = _with_refusal(failure)
    known = replace(
        known,
        kind="copy" if known.kind == "xla" and known.marks & PUTS else known.kind,
        allocator=known.allocator or (allocators.pop() if len(allocators) == 1 else None),
        batch=known.batch or log.batch_size,
        tried_out=known.tried_out or tried,
        device_bytes=log.device_bytes,
        limit_bytes=known.limit_bytes or log.given_bytes,
        framework="torch" if failure.kind == "torch" else log.framework,
        driver_refused_bytes=min(_refused_by_driver(log, failure.line), default=None),
        warned_bytes=log.warning.requested_bytes if log.warning else None,
        crashed=crashed and failure.kind == "refused" and not failure.op,
        marks=known.marks | _told(log),
    )
    where = f'Line {failure.line:,} of {max(log.lines, failure.line):,}: "{_short(failure.quote)}"'
    others = [f'line {f.line:,}: {f.kind}, "{_short(f.quote)}"' for f in log.failures if f is not failure]
    if log.warnings:
        others.append(f"warnings that TensorFlow carried on with less memory: {log.warnings}.")
    if log.retraced:
        others.append("TensorFlow warned of retracing: each new trace stays in the host's memory.")
    if log.skimmed:
        others.append(_SKIMMED)
    return replace(explain(known, first=[where, *_hidden(failure)]), others=list(map(printable, others)))


def _of_no_failure(log):
    is_later = log.no_memory and log.no_memory[0] > log.warned_line
    if log.warnings and not is_later:
        most = log.warning
        found = "exceeds 10% of" in most.quote
        if found and log.warned_line >= log.lines - 1:
            sure, meaning = (
                causes.LIKELY,
                [
                    "TensorFlow found that much, and carried on.",
                    "The text ends there. If the process did, too, the host's memory ran out: Linux ends a "
                    "process without a word of it.",
                ],
            )
        elif found:
            said = "TensorFlow says that this is much, found it, and carried on. That is no failure."
            sure, meaning = causes.CERTAIN, [said]
        else:
            said = "TensorFlow tried to use more memory to be faster, and carried on without."
            sure, meaning = causes.CERTAIN, [f"{said} Nothing failed here."]
        said = [f'Line {most.line:,}: "{_short(most.quote)}"', *meaning]
        return without_cause("warning_only", said, Failure(requested_bytes=most.requested_bytes), sure=sure)
    if not log.bytes:
        return without_cause("unknown", ["There is no text."])
    if log.no_memory:
        line, words, reason = log.no_memory
        said = [f'Line {line:,}: "{_short(words)}"', reason]
        sure = causes.LIKELY if "usually" in reason else causes.CERTAIN
        return without_cause(
            "not_oom", [*said, "No memory ran out here, whatever it calls itself."], sure=sure
        )
    if log.wording:
        line, words = log.wording
        is_taken = log.device_bytes and (log.free_bytes or log.device_bytes) < 0.25 * log.device_bytes
        if is_taken or log.marks & JOINS or log.node or log.told_shape or _told(log):
            op = log.node and log.node.removeprefix("StatefulPartitionedCall/")
            found = Failure(
                "worded",
                line,
                words,
                marks=log.marks | _told(log),
                shape=log.told_shape,
                op=op,
                layer=layer_by_name(op),
                on_gpu=bool(is_taken),
                device_bytes=log.device_bytes if is_taken else None,
                limit_bytes=log.free_bytes if is_taken else None,
            )
            return explain(found, first=[f'Line {line:,}: "{_short(words)}"'])
        said = "It speaks of memory that ran out, but in no form known here: cut off, or another program's."
        return without_cause("unknown", [said, f'Line {line:,}: "{_short(words)}"'])
    if log.leak and not log.errors and not log.no_memory:
        line, words = log.leak
        return explain(
            Failure("worded", line, words, marks={"leaks"}), first=[f'Line {line:,}: "{_short(words)}"']
        )
    if log.skimmed:
        return without_cause("unknown", [_SKIMMED])
    lines = max(log.lines, 1)
    said = f"Nothing in {counted(lines, 'line')} speaks of memory that ran out."
    return without_cause("not_oom", [said], sure=causes.CERTAIN if log.errors else causes.LIKELY)


def _told(log):
    """The marks of what the text tells in words."""
    return log.told | ({"repeats"} if log.repeats else set()) | ({"leaks"} if log.leak else set())


def _subject(log):
    """The failure to explain: the first error; before it only what is no error by itself."""
    return min(log.failures, key=lambda f: _WEIGHT.get(f.kind, 0), default=None)


def _refused_by_driver(log, line):
    """The bytes of each of the driver's refusals before a line."""
    return [
        f.requested_bytes for f in log.failures if f.kind == "driver" and f.requested_bytes and f.line < line
    ]


def _is_only_warned(log):
    """Whether all that was refused is what TensorFlow says it can do without."""
    return bool(log.forgone) and all(f.kind == "driver" and f.is_mild for f in log.failures)


def _read(text):
    """The Log of a text that nobody has put into another."""
    return reader.read(plain([text.encode("utf-8", "replace")]))


def _is_told_otherwise(failure, log):
    """Whether a failure that names no memory has a reason in the text that is none of memory."""
    line, _, reason = log.no_memory or (0, "", None)
    if abs(line - failure.line) > reader.NEAR_LINES // 4:
        return False
    if failure.kind == "died" and reason == MISSING_LIBRARY:
        return True
    vague = failure.kind == "library" and causes.is_vague(failure)
    return failure.kind == "killed" and reason == ENDED_OTHERWISE or vague and reason == OTHER_FAULT


def _first_refusal(text):
    found = _read(text).failures
    return next((f for f in found if f.dump is not None or f.requested_bytes), None)


def _with_refusal(failure, refused=None):
    """The Failure with what its dump says, and the allocator's own refusal if the error came after one."""
    refused = refused or failure
    dump = failure.dump
    op = failure.op or (refused.op or "").removeprefix("StatefulPartitionedCall/") or None
    device = failure.device or failure.allocator or refused.allocator or ""
    failure = _with_argument(failure)
    known = replace(
        failure,
        op=op and op.removeprefix("StatefulPartitionedCall/"),
        op_type=failure.op_type or refused.op_type,
        tried_out=failure.tried_out or refused.tried_out and refused.kind == failure.kind,
        layer=failure.layer or layer_by_name(op),
        requested_bytes=failure.tensor_bytes or failure.requested_bytes or refused.requested_bytes,
        allocator=failure.allocator or refused.allocator,
        on_gpu="gpu:" in device.lower() or "GPU_" in device or bool(dump and not device),
        division=failure.division if failure.division and failure.division.is_whole else None,
        loop_bytes=failure.division.loop_bytes if failure.division else 0,
    )
    return (
        known
        if dump is None
        else replace(
            known,
            limit_bytes=dump.limit_bytes or known.limit_bytes,
            in_use_bytes=dump.used_bytes,
            largest_free_bytes=_largest_in(dump),
            available_bytes=dump.available_bytes,
            memory_map=dump.memory_map(),
            sizes=dump.sizes,
            free_share=dump.free_share,
        )
    )


def _with_argument(failure):
    """A Failure with the shape of what its layer received, if that is as large as what was refused.

    Or of what XLA lists, if its block is that one buffer; or if the op keeps the shape of its input.
    """
    if failure.shape is not None:
        return failure
    if not failure.requested_bytes:
        alike = failure.op_type in ELEMENTWISE and failure.arguments and failure.framework == "tensorflow"
        shape, dtype = failure.arguments[0] if alike else (None, None)
        return replace(failure, shape=shape, dtype=dtype)
    for shape, dtype in (*failure.arguments, *_listed(failure)):
        known = replace(failure, shape=shape, dtype=dtype)
        if known.tensor_bytes and abs(known.tensor_bytes / failure.requested_bytes - 1) < 0.01:
            return known
    return failure


def _listed(failure):
    """(shape, dtype) of each of the largest buffers that XLA lists."""
    for buffer in failure.division.buffers if failure.division else ():
        yield buffer.tensor


def _largest_in(dump):
    if dump.largest_free_bytes is None:
        known = None not in (dump.pool_bytes, dump.used_bytes)
        left = dump.pool_bytes - dump.used_bytes if known else 0  # in the pool, in however many pieces
        return dump.available_bytes if left <= (dump.available_bytes or 0) else None
    return max(dump.largest_free_bytes, dump.available_bytes or 0)


def _largest_free(memory_map, limit):
    """The largest block that could still be had: a hole, or what may yet be taken up to the limit."""
    if memory_map is None:
        return None
    return max(memory_map.largest_free_bytes, (limit or 0) - memory_map.held_bytes)


def _hidden(told):
    """What the words of a Failure do not say."""
    return [HIDDEN[told.kind]] if told.kind in HIDDEN else []


def _short(said, most=150):
    return said if len(said) <= most else f"{said[: most - 3]}..."


def with_trials_of_fixes(diagnosis, limit, batch):
    """The Diagnosis of a trial of a function with a batch size, with a last fix: try them all, measured.

    limit   the trial's, in bytes
    """
    if diagnosis.cause == "host_memory":  # the fixes that can be tried are for the device's memory
        return diagnosis
    call = f'labkit.try_fixes(train, memory_limit="{format_size(limit)}", batch_size={batch})'
    fix = Fix("Have the fixes tried on this very training, and measured.", call, LESSONS["09"])
    return replace(diagnosis, fixes=[*diagnosis.fixes, fix])
