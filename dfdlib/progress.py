"""How far a long loop is: one mechanism for a terminal, a log file, JupyterLab and the notebook runner.

Library code reports with `track`. In a Jupyter kernel the report is one display that is updated in place, so that an
executed notebook keeps one line per task; beside the text it carries the numbers (type `MIME`), from which
`dfdlib.notebooks.run` tells its caller how far the notebook is. Elsewhere it is a line on stderr.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

MIME = "application/vnd.dfd.progress+json"
EVERY = 2.0  # seconds between two reports; a task that is shorter reports nothing


@dataclass(frozen=True)
class Progress:
    """One report; `str()` is the line for people.

    Attributes:
        what: the task, or a line that a notebook printed (then `done` is None).
        done: items finished so far, those of an earlier run included.
        total: items in all, None if unknown.
        unit: what is counted.
        rate: items per second in this run, None before the first.
    """

    what: str
    done: int | None = None
    total: int | None = None
    unit: str = ""
    rate: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds to go at this rate, None if it can't be told."""
        if not self.rate or self.total is None or self.done is None:
            return None
        return max(0, self.total - self.done) / self.rate

    def __str__(self) -> str:
        if self.done is None:
            return self.what
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        parts = [f"{count} {self.unit}".rstrip()]
        if self.rate:
            parts.append(f"{self.rate:.0f}/s" if self.rate >= 10 else f"{self.rate:.2g}/s")
        if self.seconds_left:
            parts.append(f"{_duration(self.seconds_left)} left")
        return f"{self.what}: {', '.join(parts)}"


class Tracker:
    """Counts what is done and reports it now and then; made by `track`."""

    def __init__(self, what: str, total: int | None, unit: str, done: int) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._first = done
        self._started = time.monotonic()
        self._due = self._started + EVERY
        self._sink: _Sink | None = None
        self._silent = False

    def advance(self, n: int = 1) -> None:
        """Counts `n` more items as done; reports if the last report is old enough."""
        self.done += n
        if time.monotonic() >= self._due:
            self._report(last=False)

    def close(self) -> None:
        """Reports the final count, if anything was reported at all."""
        if self._sink:
            self._report(last=True)

    def _report(self, last: bool) -> None:
        if self._silent:
            return
        elapsed = time.monotonic() - self._started
        rate = (self.done - self._first) / elapsed if elapsed and self.done > self._first else None
        try:
            self._sink = self._sink or _sink()
            self._sink.show(Progress(self.what, self.done, self.total, self.unit, rate), last)
        except (OSError, ValueError):  # a closed terminal or pipe must not end hours of work
            self._silent = True
            return
        self._due = time.monotonic() + max(EVERY, self._sink.slowdown * elapsed)


@contextmanager
def track(total: int | None, what: str, *, unit: str = "images", done: int = 0) -> Iterator[Tracker]:
    """Reports the progress of a loop; nothing if it takes less than two seconds.

    Args:
        total: items in all, None if unknown.
        what: the task's name, such as the arm or the data set.
        unit: what is counted.
        done: items that an earlier run finished: counted, but left out of the rate.

    Yields:
        The tracker: call its `advance(n)` after each batch.
    """
    tracker = Tracker(what, total, unit, done)
    try:
        yield tracker
    finally:
        tracker.close()


class _Sink(Protocol):
    """A place that reports go to."""

    slowdown: float  # the least pause between two reports, as a share of the time so far

    def show(self, report: Progress, last: bool) -> None: ...


def _sink() -> _Sink:
    ipython = sys.modules.get("IPython")  # a kernel has it imported; nobody else should wait for it
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is not None:
        return _Display()
    if sys.stderr is None:  # as under pythonw
        raise OSError("there is no stderr")
    return _Terminal() if sys.stderr.isatty() else _Log()


class _Display:
    """One display in a notebook, updated in place."""

    slowdown = 0.0

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, report: Progress, last: bool) -> None:
        bundle = {"text/plain": str(report), MIME: asdict(report)}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _Terminal:
    """One line of a terminal, overwritten."""

    slowdown = 0.0

    def __init__(self) -> None:
        self._width = 0

    def show(self, report: Progress, last: bool) -> None:
        line = str(report)[: shutil.get_terminal_size().columns - 1]  # a line that wraps can't be overwritten
        print(f"\r{line.ljust(self._width)}", end="\n" if last else "", file=sys.stderr, flush=True)
        self._width = len(line)


class _Log:
    """Lines of a file. They come ever more rarely, so that the log of a long run stays short: 90 lines in ten hours."""

    slowdown = 0.1

    def __init__(self) -> None:
        self._said = ""

    def show(self, report: Progress, last: bool) -> None:
        if str(report) != self._said:  # the last report may come twice
            print(report, file=sys.stderr, flush=True)
        self._said = str(report)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
