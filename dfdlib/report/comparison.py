"""What a notebook or the command line calls: `compare` to look, `render` to keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import dfdlib
from dfdlib.metrics import THRESHOLD
from dfdlib.paths import written_whole
from dfdlib.report import page, study, tables
from dfdlib.report.page import Section
from dfdlib.report.study import DataSet, Row
from dfdlib.statistics import LEVEL

if TYPE_CHECKING:
    import pandas as pd

    from dfdlib.scores import Scores

SCHEMA = 1
ERRORS_KEPT = 100  # of each kind and arm, in the table of wrong verdicts
CAPTIONS = {
    "roc": "ROC curves: the share of fakes caught against the share of reals called fake, at every threshold; the "
           "number is the AUC. Thin lines: the other detectors. The diagonal is guessing.",
    "histograms": "Where the scores lie, as a share of each class: fakes upwards, reals downwards. Right of the dashed "
                  "line an image is called fake.",
}


class Comparison:
    """Arms side by side, for a notebook.

    Attributes:
        data: the data sets.
        leaderboard: pandas table of text with intervals, the best AUC first.
        crops: the same for each crop against no crop on the same images.
    """

    def __init__(self, arms: Sequence[Scores]) -> None:
        self.data = study.data_sets(arms)
        self._parts = [(data, study.leaderboard(data), study.changes(data, "crop")) for data in self.data]
        self.leaderboard = self._stacked(1, tables.LEADERBOARD)
        self.crops = self._stacked(2, tables.CHANGES)

    def _stacked(self, part: int, columns: dict[str, str]) -> pd.DataFrame:
        import pandas as pd

        frames = [tables.display(parts[part], columns) for parts in self._parts]
        if len(frames) > 1:
            for data, frame in zip(self.data, frames, strict=True):
                frame.insert(0, "data set", tables.visible(data.name))
        return pd.concat(frames, ignore_index=True)

    def _repr_html_(self) -> str:
        return page.environment().get_template("compact.html").render(
            parts=self._parts, notices=_notices(self.data), board_columns=tables.LEADERBOARD,
            change_columns=tables.CHANGES)

    def __repr__(self) -> str:
        return self.leaderboard.to_string(index=False)


def compare(arms: Sequence[Scores]) -> Comparison:
    """Compares arms on the images that they share; shows itself in a notebook.

    Args:
        arms: scores, of one or more data sets; only arms of one manifest are compared.

    Raises:
        DfdError: see `study.data_sets`.
    """
    return Comparison(arms)


def leaderboard(arms: Sequence[Scores]) -> pd.DataFrame:
    """The leaderboard as a pandas table of text with intervals, the best AUC first.

    Arguments and errors as `compare`.
    """
    return Comparison(arms).leaderboard


def render(arms: Sequence[Scores], out: Path, *, title: str, notebooks: Sequence[tuple[str, Path]] = (),
           command: str = "", date: datetime | None = None) -> Path:
    """Writes the report: `index.html`, one file that loads nothing, and beside it tables, figures and `report.json`.

    Args:
        arms: scores, of one or more data sets.
        out: folder for the report; files of an earlier report in it are replaced.
        title: heading of the page.
        notebooks: names and files of executed notebooks to link to.
        command: what the user called, to be shown.
        date: what to date the page with; now by default. Two reports on the same scores differ in it alone.

    Returns:
        The page's path.

    Raises:
        DfdError: see `study.data_sets`.
    """
    data = study.data_sets(arms)
    sections = [page.section(one, slug) for one, slug in zip(data, page.slugs(data), strict=True)]
    drawn = _draw(sections, arms, out / "figures")
    for section in sections:
        _write_tables(section, out / "tables")
    when = (date or datetime.now(UTC)).astimezone(UTC)
    _write(out / "report.json", json.dumps(_summary(sections, title, command, when), indent=1, ensure_ascii=False,
                                           allow_nan=False) + "\n")
    text = page.environment().get_template("template.html").render(
        title=title, notices=_notices(data), sections=sections, figures=drawn, colours=_colours(arms),
        arms=sum(len(one.arms) for one in data), images=sum(map(len, data)), command=command,
        date=f"{when.day} {when:%B %Y, %H:%M} UTC", style=Markup((page.HERE / "style.css").read_text(encoding="utf-8")),
        notebooks=[(name, page.link(Path(path), out)) for name, path in notebooks], detectors=page.detectors(data),
        crops=page.crops(data), machines=page.machines(data), commands=_commands(data), version=dfdlib.__version__)
    _write(out / "index.html", text)
    return out / "index.html"


def _colours(arms: Sequence[Scores]) -> dict[str, str]:
    from dfdlib.report import figures

    return figures.colours(arms)


def _draw(sections: list[Section], arms: Sequence[Scores], folder: Path) -> dict[str, list[tuple[Markup, str, str]]]:
    from dfdlib.report import figures

    drawn: dict[str, list[tuple[Markup, str, str]]] = {}
    for section in sections:
        charts = {"roc": figures.draw_roc([section.data], _colours(arms)),
                  "histograms": figures.draw_histograms([section.data])}
        for name, chart in charts.items():
            figures.save(chart, folder / f"{section.slug}.{name}.png")
            # The SVG was made by matplotlib, which escapes its texts.
            drawn.setdefault(section.slug, []).append((Markup(chart.svg()), name, CAPTIONS[name]))
    return drawn


def _write_tables(section: Section, folder: Path) -> None:
    parts = {"leaderboard": section.board, "pairs": section.pairs, "crops": section.crops,
             "perturbations": section.perturbations, "subsets": section.subsets, "errors": _errors(section.data)}
    for name, rows in parts.items():
        if rows:
            tables.write_csv(folder / f"{section.slug}.{name}.csv", tables.numbers(rows))
    tables.write_csv(folder / f"{section.slug}.unscored.csv", section.failures.drop(columns="row"))
    tables.write_latex(folder / f"{section.slug}.leaderboard.tex", section.board)


def _errors(data: DataSet) -> list[Row]:
    found = []
    for arm in data.plain:
        for kind, rows, _ in study.worst(data, arm, ERRORS_KEPT):
            places = data.rows.iloc[rows]
            found += [{"arm": arm.name, "kind": kind, "rank": rank, "path": path, "subset": subset, "p_fake": p_fake,
                       "logit": logit} for rank, (path, subset, p_fake, logit) in enumerate(
                zip(places["path"], places["subset"], arm.p_fake[rows].tolist(), arm.logit[rows].tolist(),
                    strict=True), start=1)]
    return found


def _summary(sections: list[Section], title: str, command: str, date: datetime) -> dict[str, Any]:
    return {"schema": SCHEMA, "title": title, "date": date.isoformat(timespec="seconds"), "command": command,
            "threshold": THRESHOLD, "level": LEVEL, "data_sets": [_data_set(section) for section in sections]}


def _data_set(section: Section) -> dict[str, Any]:
    data = section.data
    rows = {"leaderboard": section.board, "pairs": section.pairs, "crops": section.crops,
            "perturbations": section.perturbations, "subsets": section.subsets}
    return {"name": data.name, "digest": data.digest, "manifest": tables.plain(data.manifest), "images": len(data),
            "fakes": int(data.fake.sum()), "verdict": [paragraph.striptags() for paragraph in section.verdict],
            "limits": section.limits, **{name: tables.plain(found) for name, found in rows.items()},
            "unscored": [{"status": status, "reason": reason, "images": count}
                         for status, reason, count in section.reasons()],
            "arms": {arm.name: tables.plain({**arm.scores.metadata, "manifest": data.digest}) for arm in data.arms}}


def _notices(data: list[DataSet]) -> list[str]:
    return list(dict.fromkeys(str(one.manifest["notice"]) for one in data if one.manifest.get("notice")))


def _commands(data: list[DataSet]) -> list[tuple[str, str]]:
    told = [(str(page.recorded(arm.scores.metadata, "command")), arm.name) for one in data for arm in one.arms]
    return [(", ".join(name for _, name in group), text)
            for text, group in groupby(sorted(told), key=lambda item: item[0])]


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
