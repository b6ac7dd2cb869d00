"""Watch one trial while it runs: its output, its events, its refused requests, its end."""

import codecs
import collections
import contextlib
import json
import os
import re
import time

from .. import machine
from ..logs import dumpfile
from ..logs.messages import is_tensorflow_chatter
from .launcher import LauncherGone
from .wire import readable

TENSORFLOW_WAITS_SECONDS = 10
POLL_SECONDS = 0.1
INSIST_SECONDS = 5
HALF_LINE = 4096  # characters of a line without an end that are held back
LOG_CHARACTERS = 4_000_000


_LINE_ENDS = re.compile(r"(?<=[\n\r])")  # a progress bar ends its lines with a carriage return


class Watch:
    """Follows one trial of the launcher to its end, and passes its progress to `show`."""

    def __init__(self, launcher, folder, show, trial):
        self.launcher, self.folder, self.show, self.trial = launcher, folder, show, trial
        self.log = TrimmedText(LOG_CHARACTERS)
        self.sample, self.done, self.exit = {}, {}, None
        self.started = self.ending = None
        self.starved = None  # how the server ended the trial for lack of host memory
        self.lost, self.printed = False, ""  # the launcher, and what it printed then
        self._ended_at = None
        self._refused_at = self._steps_then = None
        self._kills_before = machine.kernel_oom_kills()
        self._half_event, self._half_line = b"", ""
        self._decoders = [codecs.getincrementaldecoder("utf-8")(errors="replace") for _ in range(2)]

    @property
    def never_began(self):
        """Whether the launcher was lost before it started the trial."""
        return self.lost and self.started is None and not self.ending

    @property
    def seconds(self):
        """How long the trial has run, by this process's clock; None if it never began."""
        return time.monotonic() - self.started if self.started else None

    def follow(self):
        """Start the trial and follow it until it has ended."""
        request = {
            "do": "run",
            "folder": str(self.folder.path),
            "reserve": machine.reserve(machine.host_memory()),
            "reserved": self.trial.reserved,
            "allowed": machine.trial_memory(),
        }
        pipes = [os.pipe() for _ in range(3)]
        self._ends = [read for read, _ in pipes]
        try:
            self.launcher.send(request, [write for _, write in pipes])
        except LauncherGone as e:
            self.lost, self.printed = True, str(e)
        finally:
            for _, write in pipes:
                os.close(write)
        for end in self._ends:
            os.set_blocking(end, False)
        self._open = set(self._ends)
        try:
            while not self._over:
                self._poll()
            self._drain()
            self._read_report()
        finally:
            self._make_sure_that_it_is_over()
            for end in self._ends:
                os.close(end)

    @property
    def _over(self):
        return self.exit is not None or self.lost

    def _make_sure_that_it_is_over(self):
        """Whatever was raised here, by a `show` or an interrupt: the trial must not go on unwatched."""
        while not self._over:
            self._end("stopped")
            if readable([self.launcher], POLL_SECONDS):
                self._read_launcher()
            self._insist()

    def _poll(self):
        for end in readable([self.launcher, *self._open], POLL_SECONDS):
            if end is self.launcher:
                self._read_launcher()
            else:
                self._read(end)
        if self.trial.stop_asked.is_set():
            self._end("stopped")
        elif self.trial.timeout and self.started and time.monotonic() - self.started > self.trial.timeout:
            self._end("timeout")
        self._insist()
        self._show_progress()

    def _end(self, how):
        if self.ending is None:
            self.ending, self._ended_at = how, time.monotonic()
            with contextlib.suppress(LauncherGone):
                self.launcher.send({"do": "kill"})

    def _insist(self):
        """Kill the launcher where it does not end the trial: something has stopped it."""
        if self.ending and not self._over and time.monotonic() - self._ended_at > INSIST_SECONDS:
            self.launcher.kill()

    def _read_launcher(self):
        try:
            for message in self.launcher.receive():
                if message["event"] == "exit":
                    self.exit = message
                elif message["event"] == "starved":
                    self.starved = message
        except LauncherGone as e:
            self.lost, self.printed = True, str(e)

    def _read(self, end):
        """Read what has arrived on one pipe; False if there is nothing more for now."""
        try:
            data = os.read(end, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._open.discard(end)
            return False
        which = self._ends.index(end)
        if which == 2:
            self._take_events(data)
        else:
            self._take_output(which, self._decoders[which].decode(data))
        return True

    def _drain(self):
        for end in list(self._open):
            while self._read(end):
                pass
        self._take_output(1, "\n" if self._half_line else "")

    def _read_report(self):
        """The trial's own report from its file, where it could not be sent."""
        if not self.done and self.ending is None:
            with contextlib.suppress(OSError, ValueError):
                self.done = json.loads(self.folder.report.read_text())

    def _take_output(self, which, text):
        self.log.add(text)
        if which == 1:
            *lines, self._half_line = _LINE_ENDS.split(self._half_line + text)
            if len(self._half_line) > HALF_LINE:
                lines, self._half_line = [*lines, self._half_line], ""
            text = "".join(line for line in lines if not is_tensorflow_chatter(line))
        if text:
            self.show.output(text)

    def _take_events(self, data):
        *lines, self._half_event = (self._half_event + data).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
                kind = event.pop("event")
            except (ValueError, KeyError, AttributeError, TypeError):
                continue  # the reader's code wrote to the pipe
            if kind == "started":
                self.started = time.monotonic()
            elif kind == "sample":
                self.sample.update(event)
            elif kind == "done" and self.ending is None:  # being ended may let `train` return
                self.done = event
            elif kind == "recorded" and self.done:
                self.done |= event

    def waiting_seconds(self):
        """How much longer TensorFlow will wait for memory to be freed; None if it is not waiting."""
        dumps = self.folder.dumps()
        if not dumps:
            return None
        refused_at, steps = max(map(dumpfile.when, dumps)), self.sample.get("steps")
        if self._refused_at is None or refused_at > self._refused_at + TENSORFLOW_WAITS_SECONDS:
            self._refused_at, self._steps_then = refused_at, steps
        left = self._refused_at + TENSORFLOW_WAITS_SECONDS - time.time()
        return left if left > 0 and steps == self._steps_then and not self.done else None

    def _show_progress(self):
        if self.started is None:
            return
        waiting = self.waiting_seconds()
        if waiting is not None:
            self.show.waiting(waiting)
        else:
            self.show.progress(time.monotonic() - self.started, limit=self.trial.limit, **self.sample)

    def kernel_killed(self):
        """Whether Linux's OOM killer has killed any process on this machine since the trial began."""
        return machine.kernel_oom_kills() > self._kills_before


class TrimmedText:
    """Text of which only the beginning and the end are kept once it exceeds `limit` characters."""

    def __init__(self, limit):
        self._half = limit // 2
        self._head, self._head_length = [], 0
        self._tail, self._tail_length, self._left_out = collections.deque(), 0, 0

    def add(self, text):
        room = self._half - self._head_length
        if room > 0:
            self._head.append(text[:room])
            self._head_length += len(self._head[-1])
            text = text[room:]
        if text:
            self._tail.append(text)
            self._tail_length += len(text)
        while self._tail and self._tail_length - len(self._tail[0]) >= self._half:
            dropped = len(self._tail.popleft())
            self._tail_length -= dropped
            self._left_out += dropped

    def __str__(self):
        gap = f"\n[... {self._left_out:,} characters left out ...]\n" if self._left_out else ""
        return "".join([*self._head, gap, *self._tail])
