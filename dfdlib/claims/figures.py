"""Printed figures with their rounding, and what follows from four counts, in exact fractions."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

SINGLE = Fraction(1, 2**25)  # half the distance of neighbouring single-precision numbers just below 1
OTHER = {"real": "fake", "fake": "real", "positive": "negative", "negative": "positive"}


@dataclass(frozen=True)
class Figure:
    """A share as printed.

    Attributes:
        text: its digits.
        unit: "fraction" or "percent".
    """

    text: str
    unit: str = "fraction"

    @property
    def decimals(self) -> int:
        """Digits behind the point."""
        return len(self.text.partition(".")[2])

    @property
    def scale(self) -> int:
        """What stands for the whole: 1 or 100."""
        return 100 if self.unit == "percent" else 1

    @cached_property
    def value(self) -> Fraction:
        """The share, 1 for the whole."""
        return Fraction(self.text) / self.scale

    @cached_property
    def half(self) -> Fraction:
        """Half a unit of the last printed digit: how far rounding can have moved it."""
        return Fraction(1, 2 * 10**self.decimals * self.scale)

    @property
    def range(self) -> tuple[Fraction, Fraction]:
        """The shares that round to it."""
        return max(self.value - self.half, Fraction(0)), min(self.value + self.half, Fraction(1))

    def shows(self, exact: Fraction) -> bool:
        """Whether `exact`, rounded to the printed digits, is this figure."""
        if abs(exact - self.value) <= self.half:
            return True
        # Finer than single precision: then the digits may be those of the nearest single, rounded or cut.
        single = Fraction(struct.unpack("f", struct.pack("f", float(exact)))[0])
        return self.half < SINGLE and abs(single - self.value) < 2 * self.half

    def like(self, exact: Fraction) -> str:
        """Another share, printed with the same digits."""
        return f"{float(exact * self.scale):.{self.decimals}f}"


class Counts(NamedTuple):
    """A confusion matrix."""

    tn: int
    fp: int
    fn: int
    tp: int

    def flipped(self) -> Counts:
        """The same verdicts with the other class as positive."""
        return Counts(tn=self.tp, fp=self.fn, fn=self.fp, tp=self.tn)

    def by_class(self) -> tuple[int, int]:
        """Positives, negatives."""
        return self.tp + self.fn, self.tn + self.fp

    def __str__(self) -> str:
        return ", ".join(f"{name.upper()} {n}" for name, n in self._asdict().items())


def shares(c: Counts) -> dict[str, tuple[int, int]]:
    """Hits and trials of each metric that these counts define."""
    found = {
        "accuracy": (c.tn + c.tp, sum(c)),
        "precision": (c.tp, c.tp + c.fp),
        "recall": (c.tp, c.tp + c.fn),
        "specificity": (c.tn, c.tn + c.fp),
        "f1": (2 * c.tp, 2 * c.tp + c.fp + c.fn),
    }
    return {name: share for name, share in found.items() if share[1]}


def values(c: Counts) -> dict[str, Fraction]:
    """Each metric that these counts define."""
    return {name: Fraction(*share) for name, share in shares(c).items()}


def alternatives(c: Counts, positive: str) -> dict[str, Fraction]:
    """Every metric of both classes, by a name that says which class is positive; then the means over classes.

    Args:
        c: counts.
        positive: the label that these counts call positive, a key of `OTHER`.
    """
    found = {}
    for counts, label in ((c, positive), (c.flipped(), OTHER[positive])):
        found |= {n if n == "accuracy" else f"{n} {with_positive(label)}": v for n, v in values(counts).items()}
    ours, theirs = values(c), values(c.flipped())
    positives, negatives = c.by_class()
    for name in ("precision", "recall", "f1"):
        if name in ours and name in theirs:
            found[f"mean {name} of both classes"] = (ours[name] + theirs[name]) / 2
            found[f"{name} weighted by class"] = (ours[name] * positives + theirs[name] * negatives) / sum(c)
    return found


def with_positive(label: str) -> str:
    """Which class is positive, in words."""
    where = f"the columns' {label}" if label in ("positive", "negative") else label
    return f"with {where} as the positive class"
