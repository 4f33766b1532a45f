"""Published claims as data, and an audit that recomputes what their own numbers allow.

A file `reports/claims/<name>.yaml` transcribes one source as it was printed, errors included; `schema.Source` says what
it may hold. The audit takes half a unit of the last printed digit as the rounding of a figure, and nothing else. (A
figure printed finer than single precision may also be one that was computed in it.)

The audit is exact arithmetic on what the source printed: counts, figures, sizes of splits, architectures, minutes. It
knows no name. Where the printed numbers of a row contradict each other, it looks for the reading under which they do
not: another metric, the other class as positive, or columns that were swapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dfdlib.claims.audit import Finding, Rows
from dfdlib.claims.audit import recomputed as _recomputed
from dfdlib.claims.figures import OTHER
from dfdlib.claims.schema import Entry, Source
from dfdlib.errors import DfdError
from dfdlib.paths import PROJECT

__all__ = ["CLAIMS", "Finding", "Source", "audit", "load", "read", "recomputed", "rows"]

CLAIMS = PROJECT / "reports" / "claims"
DEFINITIONS = {
    "accuracy": "share of images called right",
    "precision": "share of {positive} among images called {positive}",
    "recall": "share of {positive} called {positive}",
    "specificity": "share of {negative} called {negative}",
    "f1": "harmonic mean of precision and recall of {positive}",
    "auc": "area under the ROC curve",
    "top1": "share of images whose first class is right",
}


def load(folder: Path = CLAIMS) -> list[Source]:
    """All sources, by file name.

    Raises:
        DfdError: no files, or one that is not valid; each problem is listed.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise DfdError(
            f"{folder}: no files of claims (*.yaml).", "Work in a checkout of the project, or give a folder."
        )
    return [read(path) for path in paths]


def read(path: Path) -> Source:
    """The source in that file.

    Raises:
        DfdError: not YAML, not a valid source, or named otherwise than its file; each problem is listed.
    """
    try:
        source = Source.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DfdError(f"{path}: not readable as YAML ({error}).", "Mend the file.") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise DfdError(f"{path}: not a valid file of claims: {problems}.", "Mend the file; quote figures.") from error
    if source.name != path.stem:
        raise DfdError(f"{path}: its name is '{source.name}'.", f"Name the source '{path.stem}', or the file after it.")
    return source


def rows(sources: Iterable[Source] | None = None) -> list[dict[str, Any]]:
    """One row for each published figure: where it stands, what it is about, its definition, as printed."""
    found = []
    for source in _all(sources):
        for entry in source.entries:
            about = [entry.id, entry.detector, entry.card, entry.dataset, entry.split, entry.crop, entry.images]
            where = ", ".join(filter(None, (entry.where, source.where)))
            found += [_listed(source.name, *about, *figure, where) for figure in _figures(entry, source.unit)]
        for model in source.models:
            about = [model.id, model.id, None, None, None, None, None]
            if model.total_parameters is not None:
                total = ("parameters", str(model.total_parameters), "weights of the network")
                found.append(_listed(source.name, *about, *total, source.where))
            if model.gflops is not None:
                operations = ("GFLOPs", model.gflops, "operations for one image, in 10^9")
                found.append(_listed(source.name, *about, *operations, source.where))
    return found


def audit(sources: Iterable[Source] | None = None) -> list[Finding]:
    """Recomputes every figure that the source's other numbers determine.

    Returns:
        Findings in the order of the files, also of what agrees and of what cannot be checked, and why.
    """
    return [finding for source in _all(sources) for finding in Rows(source).audit()]


def recomputed(sources: Iterable[Source] | None = None) -> list[dict[str, Any]]:
    """Every metric that published counts define, with either class as positive, with its 95 % interval.

    Counts are taken as the audit reads them. F1 has no interval: it is no share of independent images.
    """
    return [row for source in _all(sources) for row in _recomputed(Rows(source))]


def _all(sources: Iterable[Source] | None) -> Iterable[Source]:
    return load() if sources is None else sources


def _listed(*values: Any) -> dict[str, Any]:
    names = ("source", "entry", "detector", "card", "dataset", "split", "crop", "n")
    return dict(zip((*names, "figure", "published", "definition", "where"), values, strict=True))


def _figures(entry: Entry, unit: str) -> Iterator[tuple[str, str, str]]:
    """What an entry publishes: figure, as printed, definition."""
    positive = entry.positive or "the positive class (not stated)"
    negative = OTHER[entry.positive] if entry.positive else "the negative class (not stated)"
    for metric, text in entry.metrics.items():
        words = DEFINITIONS[metric].format(positive=positive, negative=negative)
        at = f", threshold {entry.threshold}" if entry.threshold and metric not in ("auc", "top1") else ""
        yield metric, text + ("%" if unit == "percent" else ""), words + at
    if entry.confusion is not None:
        cells = ", ".join(f"{name} {n}" for name, n in entry.confusion.model_dump().items())
        yield "counts", cells, f"positive is {positive}" if "tp" in cells else "truth_as_verdict"
    if entry.uncertain is not None:
        yield "uncertain", str(entry.uncertain), "images without a clear verdict"
    if entry.speed is not None:
        where = entry.speed.device or "a device not stated"
        yield "images per second", entry.speed.images_per_second, f"on {where}, {entry.speed.minutes} minutes in all"
    if entry.scores is not None:
        words = f"of {entry.scores.label} images; a high score means {entry.scores.high_means}"
        yield "scores", ", ".join(entry.scores.values), words
    if entry.n is not None and not entry.metrics and entry.scores is None:
        yield "n", str(entry.n), "images"
