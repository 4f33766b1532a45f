"""dfdlib.progress: silent when short, rare when long, and never the end of the work."""

from __future__ import annotations

import io

import pytest

from dfdlib import progress
from dfdlib.progress import Progress, track


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def work(clock: Clock, seconds: float, steps: int, **options) -> None:
    with track(steps, "arm", **options) as tracker:
        for _ in range(steps - options.get("done", 0)):
            clock.now += seconds / steps
            tracker.advance()


def test_a_short_task_says_nothing(clock, capsys):
    work(clock, 1.9, 500)
    assert capsys.readouterr() == ("", "")


def test_lines_of_a_log_are_at_least_two_seconds_apart_and_end_with_the_total(clock, capsys):
    work(clock, 20, 160)  # an eighth of a second each: exact in binary
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "arm: 16/160 images, 8/s, 18 s left"
    assert lines[1] == "arm: 32/160 images, 8/s, 16 s left"
    assert lines[-1] == "arm: 160/160 images, 8/s"
    assert len(lines) == len(set(lines)) == 10


def test_the_log_of_a_long_task_stays_short(clock, capsys):
    work(clock, 36_000, 36_000)
    assert 50 < len(capsys.readouterr().err.splitlines()) < 100


def test_a_terminal_gets_one_line_that_is_overwritten(clock, monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "30")
    work(clock, 10, 80)
    shown = screen.getvalue()
    assert shown.count("\n") == 1 and shown.endswith("\n")
    assert shown.count("\r") == 6  # at 2, 4, 6, 8 and 10 s, and at the end
    assert max(len(part) for part in shown.rstrip("\n").split("\r")) < 30


def test_items_of_an_earlier_run_count_but_not_for_the_rate(clock, capsys):
    work(clock, 100, 100, done=90)
    assert capsys.readouterr().err.splitlines()[-1] == "arm: 100/100 images, 1/s"


def test_an_error_passes_and_the_count_is_kept(clock, capsys):
    with pytest.raises(ZeroDivisionError), track(10, "arm", unit="rows") as tracker:
        clock.now += 3
        tracker.advance(4)
        tracker.advance()
        raise ZeroDivisionError
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["arm: 4/10 rows, 1.3/s, 4 s left", "arm: 5/10 rows, 1.7/s, 3 s left"]


@pytest.mark.parametrize("stderr", [None, io.StringIO()])
def test_no_stderr_does_not_end_the_work(clock, monkeypatch, stderr):
    if stderr:
        stderr.close()
    monkeypatch.setattr("sys.stderr", stderr)
    work(clock, 100, 10)


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (Progress("a line"), "a line"),
        (Progress("cell", 3, 9), "cell: 3/9"),
        (Progress("x", 0, 9, "images"), "x: 0/9 images"),
        (Progress("x", 7, None, "files", 0.035), "x: 7 files, 0.035/s"),
        (Progress("x", 9, 9, "images", 2.0), "x: 9/9 images, 2/s"),
        (Progress("x", 1, 1001, "images", 10.0), "x: 1/1001 images, 10/s, 2 min left"),
        (Progress("x", 1, 100_001, "images", 10.0), "x: 1/100001 images, 10/s, 2 h 47 min left"),
    ],
)
def test_the_line(report, text):
    assert str(report) == text
