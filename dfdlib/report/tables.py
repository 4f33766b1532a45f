"""The report's rows as tables: numbers for programs (CSV, JSON), text for people (notebooks, LaTeX)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdlib.paths import written_whole
from dfdlib.report.study import Row, Undefined
from dfdlib.statistics import Difference, Interval

if TYPE_CHECKING:
    import pandas as pd



NBSP = "\N{NO-BREAK SPACE}"
LEADERBOARD = {"arm": "arm", "auc": "AUC", "accuracy": "accuracy", "precision": "precision", "recall": "recall",
               "f1": "F1", "tn": "TN", "fp": "FP", "fn": "FN", "tp": "TP", "n": "images", "coverage": "coverage",
               "faces": "faces found", "images_per_second": "images/s"}
CHANGES = {"arm": "arm", "images": "images", "n": "n", "auc_difference": "AUC difference",
           "auc_difference_p_holm": "p, AUC", "accuracy_difference": "accuracy difference",
           "accuracy_difference_p_holm": "p, accuracy", "to_fake": "turned fake", "to_real": "turned real",
           "mended": "mended", "broken": "broken"}


def visible(text: str) -> str:
    """Text with everything that does not print (line breaks, controls, marks that turn the direction) as escapes."""
    return "".join(c if c.isprintable() or c == NBSP else c.encode("unicode_escape").decode("ascii") for c in text)


def p_value(p: float | None) -> str:
    """A p value for people."""
    if p is None or math.isnan(p):
        return "not testable"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.995 else "1"


def signed(value: float, decimals: int) -> str:
    """A number with its sign, with a true minus."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def shown(value: Any) -> str:
    """One cell as text."""
    if value is None:
        return "–"
    if isinstance(value, Difference):
        low, high = signed(value.low, value.decimals), signed(value.high, value.decimals)
        return f"{signed(value.value, value.decimals)} [{low}, {high}]"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return p_value(value) if math.isnan(value) else f"{value:.3g}"
    return visible(value) if isinstance(value, str) else str(value)


def display(rows: list[Row], columns: dict[str, str]) -> pd.DataFrame:
    """Rows as a pandas table of text, for a notebook."""
    import pandas as pd

    cells = [[p_value(row[key]) if "_p_" in key else shown(row[key]) for key in columns] for row in rows]
    return pd.DataFrame(cells, columns=list(columns.values()))


def numbers(rows: list[Row]) -> pd.DataFrame:
    """Rows as a pandas table of numbers: an interval becomes value, `_low`, `_high` (`_p`); `notes` says the rest."""
    import pandas as pd

    keys = list(dict.fromkeys(key for row in rows for key in row))
    kinds = {key: next((kind for kind in (Difference, Interval)
                        if any(isinstance(row.get(key), kind) for row in rows)), None) for key in keys}
    flat = []
    for row in rows:
        out: Row = {}
        notes = []
        for key in keys:
            value = row.get(key)
            if isinstance(value, Undefined):
                notes.append(f"{key} {value}")
                value = None
            out[key] = value.value if isinstance(value, Interval) else value
            if kinds[key]:
                out |= {f"{key}_low": getattr(value, "low", None), f"{key}_high": getattr(value, "high", None)}
            if kinds[key] is Difference:
                out[f"{key}_p"] = getattr(value, "p", None)
        flat.append(out | {"notes": "; ".join(notes)})
    return pd.DataFrame(flat)


def plain(value: Any) -> Any:
    """A cell, row or list as JSON values: no NaN, no infinity, intervals with n and method."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Interval):
        return plain(dict(vars(value)))
    if isinstance(value, Undefined):
        return {"undefined": value.why}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Writes a table as CSV (UTF-8, the same bytes on every system)."""
    with written_whole(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def write_latex(path: Path, rows: list[Row]) -> None:
    """Writes a leaderboard as a LaTeX table (booktabs), intervals in small type."""
    keys = ["arm", "auc", "accuracy", "precision", "recall", "f1", "n"]
    lines = [r"% needs \usepackage{booktabs}; 95 % intervals in brackets",
             rf"\begin{{tabular}}{{l{'r' * (len(keys) - 1)}}}", r"\toprule",
             " & ".join(_tex(LEADERBOARD[key]) for key in keys) + r" \\", r"\midrule"]
    lines += [" & ".join(_tex_cell(row[key]) for key in keys) + r" \\" for row in rows]
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""]), encoding="utf-8", newline="\n")


def _tex_cell(value: Any) -> str:
    if isinstance(value, Interval):
        d = value.decimals
        return f"{value.value:.{d}f} {{\\scriptsize [{value.low:.{d}f}, {value.high:.{d}f}]}}"
    return "undefined" if isinstance(value, Undefined) else _tex(shown(value))


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$",
               "–": "--", "−": "$-$"} | {c: "\\" + c for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)
