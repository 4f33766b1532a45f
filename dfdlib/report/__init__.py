"""The comparison: from scores to a page that people read, and tables that programs read.

    from dfdlib import report, scores
    arms = scores.read_folder(Path("scores"))
    report.render(arms, Path("reports/mine"), title="My detectors")

In a notebook `report.compare(arms)` shows the leaderboard and what crops change, `report.figures.roc(arms)` and
`report.figures.histograms(arms)` draw. Only scores are read: no torch, no weights, and images only as thumbnails.
"""

from __future__ import annotations

from dfdlib.report.comparison import Comparison, compare, leaderboard, render

__all__ = ["Comparison", "compare", "figures", "leaderboard", "render"]


def __getattr__(name: str):
    if name == "figures":  # matplotlib is imported only when something is drawn
        from importlib import import_module

        return import_module("dfdlib.report.figures")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
