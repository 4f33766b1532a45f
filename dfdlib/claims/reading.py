"""How a row of counts and figures is to be read, so that its numbers agree with each other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import permutations

from dfdlib.claims.figures import OTHER, Counts, Figure, values
from dfdlib.claims.schema import Cells, Entry

COLUMNS = Counts._fields


@dataclass(frozen=True)
class Reading:
    """A row as the audit understands it.

    Attributes:
        counts: the counts.
        positive: the class that they call positive; "positive" where the source does not say which its columns mean.
        holds: printed column -> metric that it holds.
        stated: whether `positive` is what the source states; None where it states nothing.
        fits: whether every figure that the counts determine agrees with them.
        moved: which columns hold what, where that is not what they say; "" where all is in place.
        twins: other readings that fit as well, in words.
    """

    counts: Counts
    positive: str
    holds: dict[str, str]
    stated: bool | None
    fits: bool = False
    moved: str = ""
    twins: tuple[str, ...] = ()

    def real_and_fake(self) -> tuple[int, int]:
        """Images of each class; where the labels are not known, negatives and positives."""
        positives, negatives = self.counts.by_class()
        return (positives, negatives) if self.positive in ("real", "negative") else (negatives, positives)

    def as_stated(self) -> Reading:
        """The same row with the class as positive that the source states, where it states one."""
        if self.stated is not False:
            return self
        return replace(self, counts=self.counts.flipped(), positive=OTHER[self.positive], stated=True)

    def column(self, metric: str) -> str | None:
        """The column that holds a metric."""
        return next((column for column, name in self.holds.items() if name == metric), None)


def as_printed(entry: Entry, figures: dict[str, Figure]) -> Reading:
    """The reading with every number where it stands, of the positive class that explains most.

    Of equals the stated class wins; where none is stated, the columns' own, or fake.
    """
    if isinstance(entry.confusion, Cells):
        c = entry.confusion
        counts = Counts(tn=c.real_as_real, fp=c.real_as_fake, fn=c.fake_as_real, tp=c.fake_as_fake)
        known, stated = "fake", entry.positive
    else:
        counts = Counts(**entry.confusion.model_dump())
        known = stated = entry.positive or "positive"
    holds = {name: name for name in figures}
    both = [
        Reading(c, label, holds, None if stated is None else label == stated)
        for c, label in ((counts, known), (counts.flipped(), OTHER[known]))
    ]
    both.sort(key=lambda reading: reading.stated is False)

    def unexplained(reading: Reading) -> int:
        exact = values(reading.counts)
        return sum(name in exact and not figure.shows(exact[name]) for name, figure in figures.items())

    best = min(both, key=unexplained)
    if unexplained(best) == 0:
        return replace(best, fits=True)
    return best if stated is None else both[0]


def misplaced(
    figures: dict[str, Figure], given: Reading, sizes: Collection[tuple[int, int]], certain: bool
) -> Reading | None:
    """The reading under which swapped columns make a row consistent, if there is one.

    Every order of the four counts is tried with every order of the printed figures. A reading always has a twin with
    FP and FN, and so precision and recall, swapped; the sizes of the classes tell them apart.

    Args:
        figures: column -> figure.
        given: the row as printed.
        sizes: images (real, fake) that the row should have.
        certain: whether it must have them; else they are only preferred. Then, what moves least is.
    """
    found: dict[tuple, tuple[int, Reading]] = {}
    for order in permutations(range(4)):
        counts = Counts(*(given.counts[i] for i in order))
        for holds in _placements(figures, counts):
            moves = sum(a != b for a, b in zip(counts, given.counts, strict=True)) + sum(
                a != b for a, b in holds.items()
            )
            if not moves:
                continue
            key = (counts, frozenset((name, figures[column].text) for column, name in holds.items()))
            if key not in found or moves < found[key][0]:
                found[key] = (moves, replace(given, counts=counts, holds=holds, fits=True, moved=_words(order, holds)))
    ranked = [reading for _, reading in sorted(found.values(), key=lambda pair: pair[0])]
    sized = [reading for reading in ranked if reading.real_and_fake() in sizes]
    ranked = sized if sized or certain else ranked
    return replace(ranked[0], twins=tuple(other.moved for other in ranked[1:])) if ranked else None


def _placements(figures: dict[str, Figure], counts: Counts) -> list[dict[str, str]]:
    """All ways to give each metric that the counts determine a column that shows its value."""
    exact = {name: value for name, value in values(counts).items() if name in figures}
    if len(exact) < 2:
        return []  # one figure is too little evidence
    shown = {(column, name): figure.shows(exact[name]) for column, figure in figures.items() for name in exact}
    return [
        _with_the_rest(figures, dict(zip(columns, exact, strict=True)))
        for columns in permutations(figures, len(exact))
        if all(shown[pair] for pair in zip(columns, exact, strict=True))
    ]


def _with_the_rest(figures: dict[str, Figure], placed: dict[str, str]) -> dict[str, str]:
    """The columns that no count determines share what is left, in place where that is possible."""
    left = [name for name in figures if name not in placed.values()]
    free = [column for column in figures if column not in placed]
    kept = [column for column in free if column in left]
    rest = zip([c for c in free if c not in kept], [n for n in left if n not in kept], strict=True)
    holds = {**placed, **{column: column for column in kept}, **dict(rest)}
    return {column: holds[column] for column in figures}


def _words(order: tuple[int, ...], holds: dict[str, str]) -> str:
    metrics = [f"{column} holds {name}" for column, name in holds.items() if column != name]
    counts = [f"{COLUMNS[i]} holds {COLUMNS[j].upper()}" for j, i in enumerate(order) if i != j]
    return ", ".join(metrics + sorted(counts))
