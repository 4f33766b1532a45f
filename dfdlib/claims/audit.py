"""The audit: every published figure beside what the source's other numbers make of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations, product
from typing import Any, Literal

from dfdlib.claims import networks
from dfdlib.claims.figures import OTHER, Figure, alternatives, shares, values, with_positive
from dfdlib.claims.reading import Reading, as_printed, misplaced
from dfdlib.claims.schema import Entry, Model, Source

Kind = Literal["agrees", "disagrees", "other metric", "columns misplaced", "counts disagree", "not checkable"]
PART = Figure(".0000")  # for shares that nothing printed sets the digits of


@dataclass(frozen=True)
class Finding:
    """One published number beside what the source's other numbers make of it.

    Attributes:
        source: the file's name.
        entry: id of the entry or model.
        figure: which number.
        kind: what came of it.
        published: as printed.
        recomputed: to as many digits; shares with their 95 % interval.
        explanation: a sentence or two.
    """

    source: str
    entry: str
    figure: str
    kind: Kind
    published: str
    recomputed: str
    explanation: str

    @property
    def wrong(self) -> bool:
        """Whether something does not add up."""
        return self.kind not in ("agrees", "not checkable")

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


class Rows:
    """A source's entries with their figures, and how those that have counts are to be read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.figures = {e.id: {m: Figure(text, source.unit) for m, text in e.metrics.items()} for e in source.entries}
        plain = {e.id: as_printed(e, self.figures[e.id]) for e in source.entries if e.confusion is not None}
        self.readings = {e.id: self._read(e, plain) for e in source.entries if e.id in plain}

    def _read(self, entry: Entry, plain: dict[str, Reading]) -> Reading:
        reading, own = plain[entry.id], _parts(entry)
        same = [plain[e.id] for e in self.beside(entry) if e.id in plain]
        sizes = {own} if own else {r.real_and_fake() for r in same if r.fits and r.stated is not False}
        # What the source says is believed unless its own sizes of the classes contradict it; that it means the other
        # class, only where the sizes of other rows do not contradict it either.
        plausible = not sizes or reading.real_and_fake() in sizes
        if reading.fits and (plausible or (reading.stated is not False and own is None)):
            return reading
        return misplaced(self.figures[entry.id], reading.as_stated(), sizes, certain=own is not None) or reading

    def beside(self, entry: Entry) -> list[Entry]:
        """The other entries on the same split."""
        here = (entry.dataset, entry.split)
        return [e for e in self.source.entries if e.id != entry.id and e.split and (e.dataset, e.split) == here]

    def repeated(self, entry: Entry) -> Entry | None:
        """The entry with counts whose figures this one, without counts, repeats."""
        arm = (entry.detector, entry.crop)
        return next((e for e in self.beside(entry) if e.id in self.readings and (e.detector, e.crop) == arm), None)

    @cached_property
    def positives(self) -> dict[str, Implied]:
        """What entries without counts imply of the share of positives."""
        found = {i: implied_positives(figures) for i, figures in self.figures.items() if i not in self.readings}
        return {i: implied for i, implied in found.items() if implied}

    def audit(self) -> list[Finding]:
        """Findings, in the order of the file."""
        findings = []
        for entry in self.source.entries:
            of_entry = _counts(entry, self) + _speed(entry, self) + _scores(entry, self)
            if entry.id in self.readings:
                of_entry += _row(entry, self)
            elif entry.metrics or not of_entry:
                of_entry += _bare(entry, self)
            findings += of_entry
        return findings + [finding for model in self.source.models for finding in _model(self.source.name, model)]

    def say(self, entry: Entry, figure: str, kind: Kind, published: Any, recomputed: Any, why: str) -> Finding:
        """A finding on one of the entries."""
        return Finding(self.source.name, entry.id, figure, kind, str(published), str(recomputed), why)


def _parts(entry: Entry) -> tuple[int, int] | None:
    return None if entry.n_real is None or entry.n_fake is None else (entry.n_real, entry.n_fake)


# Rows with counts


def _row(entry: Entry, rows: Rows) -> list[Finding]:
    reading, findings = rows.readings[entry.id], []
    if reading.moved:
        published = ", ".join(f"{n} {t}" for n, t in (entry.metrics | entry.confusion.model_dump()).items())
        why = f"Consistent if {reading.moved}." + "".join(f" Fits as well: {words}." for words in reading.twins)
        findings.append(rows.say(entry, "row", "columns misplaced", published, reading.counts, why))
    findings += [rows.say(entry, metric, *_in_row(metric, entry, rows)) for metric in entry.metrics]
    if not entry.metrics and sum(reading.counts):
        share = interval(*shares(reading.counts)["accuracy"], PART)
        findings.append(rows.say(entry, "accuracy", "not checkable", "", share, "Counts without a figure beside them."))
    return findings


def _in_row(metric: str, entry: Entry, rows: Rows) -> tuple[Kind, str, str, str]:
    """A figure beside counts: kind, published, recomputed, explanation."""
    reading, row = rows.readings[entry.id], rows.figures[entry.id]
    figure, held = row[metric], reading.holds[metric]
    exact = shares(reading.counts)
    if held != metric:
        column = reading.column(metric)
        found = _recomputed(metric, reading, figure) if metric in exact else row[column].text
        why = f"Holds {held}." + ("" if metric in exact else f" What was printed under {column} is {metric}.")
        return "columns misplaced", figure.text, found, why
    if metric not in exact:
        undefined = "Needs the scores of the images." if metric in ("auc", "top1") else "These counts do not define it."
        return "not checkable", figure.text, "", undefined
    found = _recomputed(metric, reading, figure)
    if not figure.shows(values(reading.counts)[metric]):
        return _unlike(metric, figure, reading, row)
    if metric == "accuracy":
        return "agrees", figure.text, found, ""
    about = with_positive(reading.positive).capitalize()
    if reading.stated is False:
        return "other metric", figure.text, found, f"{about}; the source states the other."
    return "agrees", figure.text, found, f"{about}{'' if reading.stated else ', which the source does not state'}."


def _unlike(metric: str, figure: Figure, reading: Reading, row: dict[str, Figure]) -> tuple[Kind, str, str, str]:
    """A figure that is not what it is called: another metric of the same row, or none."""
    found = _recomputed(metric, reading, figure)
    names = [name for name, value in alternatives(reading.counts, reading.positive).items() if figure.shows(value)]
    auc = reading.column("auc")
    if auc is not None and row[auc] is not figure and figure.shows(row[auc].value):
        names.append(f"the AUC, printed under {auc}")
    if names:
        return "other metric", figure.text, found, f"It is {' or '.join(names)}."
    cut = 0 < values(reading.counts)[metric] - figure.value < 2 * figure.half
    why = "Cut after the last digit, not rounded." if cut else "No metric of these counts has this value."
    return "disagrees", figure.text, found, why


def _recomputed(metric: str, reading: Reading, figure: Figure) -> str:
    share = shares(reading.counts)[metric]
    # F1 is no share of independent images: its interval needs the scores.
    return figure.like(Fraction(*share)) if metric == "f1" else interval(*share, figure)


def interval(hits: int, trials: int, figure: Figure) -> str:
    """A share printed like `figure`, with its 95 % interval (Wilson; Clopper and Pearson for none or all)."""
    from dfdlib.statistics import wilson

    found = wilson(hits, trials)
    decimals = found.decimals - (2 if figure.unit == "percent" else 0)
    low, high = (f"{limit * figure.scale:.{decimals}f}" for limit in (found.low, found.high))
    return f"{figure.like(Fraction(hits, trials))} [{low}, {high}]"


# Figures without counts


def _bare(entry: Entry, rows: Rows) -> list[Finding]:
    """Against a row on the same images, else against each other."""
    row = rows.repeated(entry)
    if row is not None:
        return [rows.say(entry, metric, *_repeats(metric, entry, row, rows)) for metric in entry.metrics]
    if not entry.metrics:
        return [rows.say(entry, "figures", "not checkable", "", "", "No figure was published.")]
    printed = ", ".join(f"{metric} {text}" for metric, text in entry.metrics.items())
    chosen = " The checkpoint was selected on this very split." if entry.selected_on_reported_split else ""
    implied = rows.positives.get(entry.id)
    if implied is None:
        why = f"No counts were published.{chosen}"
        return [rows.say(entry, ", ".join(entry.metrics), "not checkable", printed, "", why)]
    if not implied.possible:
        why = "No confusion matrix has these figures."
        return [rows.say(entry, "share of positives", "disagrees", printed, implied, why)]
    apart = [e.id for e in rows.beside(entry) if e.id in rows.positives and rows.positives[e.id].apart(implied)]
    if apart:
        why = f"The figures of {', '.join(apart)}, on the same split, imply another share."
        return [rows.say(entry, "share of positives", "disagrees", printed, implied, why)]
    why = f"No counts were published; the figures fit each other.{chosen}"
    return [rows.say(entry, ", ".join(entry.metrics), "not checkable", printed, implied, why)]


def _repeats(metric: str, entry: Entry, row: Entry, rows: Rows) -> tuple[Kind, str, str, str]:
    """A figure that repeats one of a row with counts: kind, published, recomputed, explanation."""
    figure, reading, printed = rows.figures[entry.id][metric], rows.readings[row.id], rows.figures[row.id]
    if reading.twins:
        return "not checkable", figure.text, "", f"{row.id} can be read in several ways."
    if metric in shares(reading.counts):
        if figure.shows(values(reading.counts)[metric]):
            return "agrees", figure.text, _recomputed(metric, reading, figure), f"From the counts of {row.id}."
        return _unlike(metric, figure, reading, printed)
    column = reading.column(metric)
    if column is None:
        return "not checkable", figure.text, "", f"{row.id} does not print it."
    kind: Kind = "agrees" if figure.shows(printed[column].value) else "disagrees"
    return kind, figure.text, printed[column].text, f"{row.id} prints it under {column}."


@dataclass(frozen=True)
class Implied:
    """The share of positive images that figures imply, and whether any matrix has them."""

    low: Fraction
    high: Fraction
    possible: bool

    def apart(self, other: Implied) -> bool:
        """Whether no share fits both."""
        return self.high < other.low or other.high < self.low

    def __str__(self) -> str:
        return f"{float(self.low):.4f} to {float(self.high):.4f} of the images positive"


def implied_positives(figures: dict[str, Figure]) -> Implied | None:
    """The share s of positives that precision, recall and accuracy imply, over all values that round to them.

    accuracy = 1 - s (1 - 2 recall + recall / precision), which is monotone in each figure, so that the extremes are at
    the corners. True negatives, accuracy - s recall, must not be fewer than none.

    Returns:
        None where a figure is missing, or where all shares fit.
    """
    if not {"precision", "recall", "accuracy"} <= figures.keys():
        return None
    found, negatives = [], []
    for p, r, a in product(*(figures[name].range for name in ("precision", "recall", "accuracy"))):
        if p == 0 or 1 - 2 * r + r / p <= 0:
            return None  # nothing positive was called right, or nothing was called wrong
        found.append((1 - a) / (1 - 2 * r + r / p))
        negatives.append(a - found[-1] * r)
    low, high = min(found), max(found)
    return Implied(low, high, low < 1 and high > 0 and max(negatives) >= 0)


# Counts, speed, single scores


def _counts(entry: Entry, rows: Rows) -> list[Finding]:
    def compare(figure: str, published: Any, recomputed: Any, why: str) -> Finding:
        return rows.say(entry, figure, _kind(published == recomputed), published, recomputed, why)

    findings, parts, reading = [], _parts(entry), rows.readings.get(entry.id)
    if entry.n is not None and parts:
        findings.append(compare("n", entry.n, sum(parts), f"{parts[0]} real and {parts[1]} fake."))
    if parts and reading is not None and reading.positive in ("real", "fake"):
        sides = (f"{real} real, {fake} fake" for real, fake in (parts, reading.real_and_fake()))
        findings.append(compare("real, fake", *sides, "The classes of the confusion matrix."))
    elif entry.n is not None and reading is not None:
        findings.append(compare("n", entry.n, sum(reading.counts), "The sum of the confusion matrix."))
    if entry.uncertain is not None and entry.images:
        if entry.uncertain > entry.images:
            findings.append(compare("uncertain", entry.uncertain, entry.images, "More than there are images."))
        else:
            share = interval(entry.uncertain, entry.images, PART)
            why = f"The share of {entry.images} images; which ones was not published."
            findings.append(rows.say(entry, "uncertain", "not checkable", entry.uncertain, share, why))
    return findings + _split(entry, rows) + _classes(entry, rows)


def _kind(right: bool) -> Kind:
    return "agrees" if right else "counts disagree"


def _split(entry: Entry, rows: Rows) -> list[Finding]:
    """An entry's images against the size of its split: as stated, or as other entries have it."""
    images, size, name = entry.images, rows.source.size(entry.dataset, entry.split), "images of the split"
    if images is None or entry.split is None:
        return []
    if size is not None:
        why = f"The source states {size} for split {entry.split}."
        if images != size:
            why += f" The difference is {images - size:+}." + _sum_of_splits(entry, rows.source)
        return [rows.say(entry, name, _kind(images == size), images, size, why)]
    others = {e.id: e.images for e in rows.beside(entry) if e.images not in (None, images)}
    if not others:
        return []
    listed = ", ".join(f"{i} {n}" for i, n in others.items())
    return [rows.say(entry, name, "counts disagree", images, listed, "Entries on the same split differ.")]


def _classes(entry: Entry, rows: Rows) -> list[Finding]:
    """The sizes of the classes against those of other rows with as many images of the same split."""
    readings = {e.id: rows.readings[e.id] for e in (entry, *rows.beside(entry)) if e.id in rows.readings}
    if entry.id not in readings:
        return []
    sizes = {i: r.real_and_fake() for i, r in readings.items() if sum(r.counts) == entry.images}
    others = {i: size for i, size in sizes.items() if size != sizes[entry.id]}
    if not others:
        return []
    own, *rest = (f"{i} {real} real, {fake} fake" for i, (real, fake) in ({entry.id: sizes[entry.id]} | others).items())
    why = "As many images of the same split, but other classes: FP and FN may be swapped."
    return [rows.say(entry, "real, fake", "counts disagree", own.partition(" ")[2], "; ".join(rest), why)]


def _sum_of_splits(entry: Entry, source: Source) -> str:
    sizes = [split for split in source.splits if split.dataset == entry.dataset]
    for count in range(2, len(sizes) + 1):
        for chosen in combinations(sizes, count):
            if sum(split.n for split in chosen) == entry.images:
                return " It is " + " + ".join(f"{split.split} {split.n}" for split in chosen) + "."
    return ""


def _speed(entry: Entry, rows: Rows) -> list[Finding]:
    if entry.speed is None or entry.images is None:
        return []
    minutes, rate = Figure(entry.speed.minutes), Figure(entry.speed.images_per_second)
    shortest, longest = max(minutes.value - minutes.half, Fraction(0)), minutes.value + minutes.half
    slow, fast = entry.images / (60 * longest), entry.images / (60 * shortest) if shortest else math.inf
    kind: Kind = "agrees" if slow <= rate.value + rate.half and fast >= rate.value - rate.half else "disagrees"
    why = f"{entry.images} images in {minutes.text} minutes, give or take half a unit of the last digit."
    return [rows.say(entry, "images per second", kind, rate.text, f"{float(slow):.1f} to {float(fast):.1f}", why)]


def _scores(entry: Entry, rows: Rows) -> list[Finding]:
    """Single scores give a share with its interval, under the stated and under the opposite polarity."""
    if entry.scores is None or entry.threshold is None:
        return []
    scores, total = entry.scores, len(entry.scores.values)
    above = sum(Fraction(text) > Fraction(entry.threshold) for text in scores.values)
    right = above if scores.label == scores.high_means else total - above
    findings = []
    if entry.images not in (None, total):
        why = "Not as many scores as images."
        findings.append(rows.say(entry, "n", "counts disagree", entry.images, total, why))
    opposite = OTHER[scores.high_means]
    why = (
        f"No share was published. {right} of {total} called {scores.label}; {total - right} if a high score means "
        f"{opposite}."
    )
    printed = ", ".join(scores.values)
    return [*findings, rows.say(entry, "scores", "not checkable", printed, interval(right, total, PART), why)]


def _model(source: str, model: Model) -> list[Finding]:
    findings = []
    if model.total_parameters is not None:
        kind, found, why = networks.check_parameters(model)
        findings.append(Finding(source, model.id, "parameters", kind, str(model.total_parameters), found, why))
    if model.gflops is not None:
        kind, found, why = networks.check_operations(model)
        findings.append(Finding(source, model.id, "GFLOPs", kind, model.gflops, found, why))
    return findings


def recomputed(rows: Rows) -> list[dict[str, Any]]:
    """Every metric that a source's counts define, with either class as positive, as the audit reads the counts."""
    from dfdlib.statistics import wilson

    found = []
    for entry_id, reading in rows.readings.items():
        for counts, positive in (
            (reading.counts, reading.positive),
            (reading.counts.flipped(), OTHER[reading.positive]),
        ):
            for metric, (hits, trials) in shares(counts).items():
                limits = None if metric == "f1" else wilson(hits, trials)
                found.append(
                    {
                        "source": rows.source.name,
                        "entry": entry_id,
                        "metric": metric,
                        "positive": positive,
                        "value": hits / trials,
                        "low": limits and limits.low,
                        "high": limits and limits.high,
                        "n": trials,
                    }
                )
    return found
