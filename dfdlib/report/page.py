"""From rows, figures and pictures to one HTML page that loads nothing."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dfdlib.report import pictures, study, words
from dfdlib.report.pictures import Picture
from dfdlib.report.study import Arm, DataSet, Row, Undefined
from dfdlib.report.tables import p_value, shown, signed, visible
from dfdlib.report.words import NOT_RECORDED
from dfdlib.statistics import RESAMPLES, Difference, Interval

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
PICTURED_ARMS = 6  # the best ones; the table of wrong verdicts holds all
PICTURES = 6  # of each kind of error
LISTED = 40  # images without a score on the page; the table holds all


@dataclass(frozen=True)
class Errors:
    """An arm's most confident errors: kind, pictures, and how many there are in all."""

    arm: Arm
    kinds: list[tuple[str, list[Picture], int]]


@dataclass(frozen=True)
class Section:
    """What the page shows of one data set."""

    data: DataSet
    slug: str
    board: list[Row]
    pairs: list[Row]
    crops: list[Row]
    perturbations: list[Row]
    subsets: list[Row]
    failures: pd.DataFrame

    @property
    def ranked(self) -> list[Arm]:
        """The arms on undisturbed images, the best first."""
        by_name = {arm.name: arm for arm in self.data.plain}
        return [by_name[row["arm"]] for row in self.board if row["arm"] in by_name]

    @property
    def verdict(self) -> list[Markup]:
        """Which arm is best, in paragraphs."""
        return words.verdict(self.data, self.board, self.pairs, self.crops)

    @property
    def headline(self) -> Markup:
        """Which arm is best, in one line."""
        return words.headline(self.data, self.board, self.pairs)

    @property
    def limits(self) -> list[str]:
        """What limits every claim."""
        return words.limits(self.data, self.board)

    @property
    def worst_shown(self) -> int:
        """Arms whose errors are pictured."""
        return PICTURED_ARMS

    @property
    def scale(self) -> float:
        """Where the axis of the AUCs begins."""
        lows = [row["auc"].low for row in self.board if isinstance(row["auc"], Interval)]
        return max(0.0, math.floor(10 * min([*lows, 0.9])) / 10)

    def by_subset(self, label: str) -> list[tuple[str, int, bool, list[Row]]]:
        """Per subset of a class: its name, images, whether they are few, and one row per arm, the best first."""
        places = {arm.name: place for place, arm in enumerate(self.ranked)}
        found: dict[str, list[Row]] = {}
        for row in self.subsets:
            if row["label"] == label and row["arm"] in places:
                found.setdefault(row["subset"], []).append(row)
        return [(name, rows[0]["images"], any(row["small"] for row in rows),
                 sorted(rows, key=lambda row: places[row["arm"]])) for name, rows in found.items()]

    def reasons(self) -> list[tuple[str, str, int]]:
        """Status, reason, and the number of images of each, the most frequent first."""
        unique = self.failures.drop_duplicates(["row", "status", "error"])
        counted = unique.groupby(["status", "error"], sort=True).size().sort_values(ascending=False, kind="stable")
        return [(status, error, int(count)) for (status, error), count in counted.head(LISTED).items()]

    def unscored(self) -> list[tuple[str, str, str, str]]:
        """Path, status, reason and arms of the first images without a score."""
        first = self.failures["row"].drop_duplicates().head(LISTED)
        some = self.failures[self.failures["row"].isin(first)]
        listed = []
        for (_, path, status, error), group in some.groupby(["row", "path", "status", "error"], sort=True):
            names = "all arms" if len(group) == len(self.data.arms) else ", ".join(group["arm"])
            listed.append((path, status, error, names))
        return listed

    def worst(self) -> list[Errors]:
        """The most confident errors of the best arms, as pictures."""
        return [Errors(arm, [(kind, [pictures.picture(self.data, arm, int(row)) for row in rows], total)
                             for kind, rows, total in study.worst(self.data, arm, PICTURES)])
                for arm in self.ranked[:PICTURED_ARMS]]


def section(data: DataSet, slug: str) -> Section:
    """Computes all rows of one data set."""
    return Section(data, slug, study.leaderboard(data), study.pairs(data), study.changes(data, "crop"),
                   study.changes(data, "perturbation"), study.subsets(data), study.failures(data))


def overview(sections: list[Section]) -> list[tuple[Row, list[Any]]]:
    """Per arm its AUC on each data set, None where it was not scored; arms by name."""
    places: dict[str, Row] = {}
    areas: dict[str, dict[int, Any]] = {}
    for place, one in enumerate(sections):
        for row in one.board:
            places.setdefault(row["arm"], row)
            areas.setdefault(row["arm"], {})[place] = row["auc"]
    return [(places[name], [areas[name].get(place) for place in range(len(sections))]) for name in sorted(places)]


def slugs(data: list[DataSet]) -> list[str]:
    """A name for files and anchors per data set: plain letters, no two alike."""
    plain = [re.sub(r"[^a-z0-9]+", "-", one.name.lower()).strip("-")[:40] or "images" for one in data]
    taken = Counter(plain)
    return [slug if taken[slug] == 1 else f"{slug}-{one.digest[:8]}" for slug, one in zip(plain, data, strict=True)]


def environment() -> Environment:
    """Jinja with everything escaped: HTML by Jinja, characters that do not print by `visible`."""
    made = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True, finalize=lambda value: visible(value) if type(value) is str else value)
    made.globals |= {"cell": cell, "whisker": whisker, "score": score, "recorded": recorded, "words": words,
                     "overview": overview, "p_value": p_value, "few": study.SMALL, "resamples": RESAMPLES}
    made.filters["thousands"] = lambda number: f"{number:,}"
    return made


def cell(value: Any) -> Markup:
    """One cell of a table: the value, and its interval below it in smaller type."""
    if isinstance(value, Undefined):
        return Markup('<span class="undefined">undefined: {}</span>').format(value.why)
    if isinstance(value, Interval):
        sign = (lambda x: signed(x, value.decimals)) if isinstance(value, Difference) else (
            lambda x: f"{x:.{value.decimals}f}")
        to = " to " if isinstance(value, Difference) else "–"
        return Markup('<span class="v">{}</span><span class="ci" title="{}, n = {}">{}{}{}</span>').format(
            sign(value.value), value.method, f"{value.n:,}", sign(value.low), to, sign(value.high))
    return Markup('<span class="v">{}</span>').format(shown(value))


def whisker(value: Any, start: float, colour: str) -> Markup:
    """An AUC and its interval as a dot and a line on an axis from `start` to 1."""
    if not isinstance(value, Interval):
        return Markup("")
    low, dot, high = (round(2 + 116 * (max(limit, start) - start) / (1 - start), 2)
                      for limit in (value.low, value.value, value.high))
    return Markup('<svg class="whisker" viewBox="0 0 120 12" width="120" height="12" aria-hidden="true">'
                  '<path d="M2 6H118" class="track"/><path d="M{} 6H{}" stroke="{}" stroke-width="2.5" '
                  'stroke-linecap="round"/><circle cx="{}" cy="6" r="4" fill="{}"/></svg>').format(
        low, high, colour, dot, colour)


def score(p_fake: float) -> str:
    """A score with enough digits not to read as certainty."""
    if 0.9995 <= p_fake < 1 or 0 < p_fake < 0.0005:
        return f"{p_fake:.6f}" if 5e-7 < p_fake < 1 - 5e-7 else ("> 0.999999" if p_fake > 0.5 else "< 0.000001")
    return f"{p_fake:.3f}"


def recorded(metadata: Any, *path: str) -> Any:
    """A value of the metadata, or "not recorded"."""
    for key in path:
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    return NOT_RECORDED if metadata is None or metadata == "" or metadata == {} or metadata == [] else metadata


def link(target: Path, out: Path) -> str:
    """A relative address from a folder to a file."""
    try:
        return quote(Path(os.path.relpath(target, out)).as_posix())
    except ValueError:  # another drive on Windows
        return Path(target).resolve().as_uri()


def detectors(data: list[DataSet]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each detector's name, card and metadata, once per different card."""
    found = {}
    for arm in (arm for one in data for arm in one.arms):
        metadata = arm.scores.metadata
        found.setdefault((arm.scores.detector, metadata.get("card_digest")), (
            arm.scores.detector, metadata.get("card") or {}, metadata))
    return [found[key] for key in sorted(found, key=str)]


def crops(data: list[DataSet]) -> list[tuple[str, str]]:
    """Each crop's name, and its profile in words with its digest, once per different profile."""
    found = {}
    for arm in (arm for one in data for arm in one.arms):
        metadata = arm.scores.metadata
        profile = metadata.get("crop_profile") or {}
        described = words.crop_profile(profile) if profile else NOT_RECORDED
        found.setdefault((arm.scores.crop, metadata.get("crop_digest")), (
            arm.scores.crop, f"{described} (digest {str(recorded(metadata, 'crop_digest'))[:12]})"))
    return [found[key] for key in sorted(found, key=lambda key: (key[0] != study.NONE, str(key)))]


def machines(data: list[DataSet]) -> list[tuple[str, list[str]]]:
    """Hardware and library versions in words, each with the arms that they made."""
    found: dict[str, list[str]] = {}
    for arm in (arm for one in data for arm in one.arms):
        metadata = arm.scores.metadata
        parts = [f"{key.replace('_', ' ')} {value}" for part in ("hardware", "versions")
                 for key, value in (metadata.get(part) or {}).items()]
        found.setdefault(", ".join(parts) or NOT_RECORDED, []).append(arm.name)
    return list(found.items())
