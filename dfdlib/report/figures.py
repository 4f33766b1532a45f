"""Figures: ROC curves and score histograms. Drawn for white paper; on the page they take the colours of its text.

Colours are Okabe and Ito's (2008), which people with colour-blindness can tell apart: a detector has the same one in
every figure, and real and fake have two that no detector uses. Crops differ by the style of the line.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dfdlib import digests, metrics, statistics
from dfdlib.metrics import THRESHOLD
from dfdlib.paths import written_whole
from dfdlib.report import study
from dfdlib.report.study import Arm, DataSet
from dfdlib.report.tables import visible
from dfdlib.statistics import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from dfdlib.scores import Scores

DETECTORS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#999933")  # the last two: Tol's, beyond Okabe-Ito
REAL, FAKE = "#0072B2", "#D55E00"
STYLES = ("-", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
INK = "#4a5260"  # text and axes; on the page this colour, REAL and FAKE are replaced by those of its style
BINS = 40
POINTS = 800  # a curve needs no more
DPI = 200
STYLE = {
    "font.family": ["DejaVu Sans"], "font.size": 9, "axes.titlesize": 9.5, "axes.titleweight": "bold",
    "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "axes.titlelocation": "left",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.titlecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "svg.fonttype": "none", "svg.hashsalt": "dfd", "figure.constrained_layout.use": True,
}


class Chart(Figure):
    """A figure that a notebook shows sharp, without pyplot and so without global state."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.get_size_inches() * 96
        return self.png(), {"width": round(width), "height": round(height)}

    def png(self) -> bytes:
        """The figure as PNG on white; the same bytes for the same figure."""
        return self._saved("png", dpi=DPI, facecolor="white", metadata={"Software": None})

    def svg(self) -> str:
        """The figure as an <svg> element without background that takes its text colour from the page."""
        text = self._saved("svg", transparent=True, metadata={"Date": None, "Creator": None}).decode("utf-8")
        text = text[text.index("<svg"):]
        for colour, name in ((INK, "currentColor"), (REAL, "var(--real)"), (FAKE, "var(--fake)")):
            text = text.replace(colour.lower(), name)
        text = f'<svg style="max-width:{self.get_size_inches()[0] * 122:.0f}px" role="img"' + text[len("<svg"):]
        # Several figures share one page: ids that nothing refers to go, the others get the figure's own prefix.
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        prefix = f"f{digests.of_bytes(text.encode('utf-8'))[:8]}-"
        text = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
        return re.sub(r'(href="#|url\(#)', lambda m: m[1] + prefix, text)

    def _saved(self, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with rc_context(STYLE):
            self.savefig(buffer, format=kind, **options)
        return buffer.getvalue()


def save(chart: Chart, path: Path) -> None:
    """Writes a figure as PNG."""
    with written_whole(path) as temporary:
        temporary.write_bytes(chart.png())


def colours(arms: list[Scores] | tuple[Scores, ...]) -> dict[str, str]:
    """Each detector's colour, by the order of their names."""
    names = sorted({scores.detector for scores in arms})
    return {name: DETECTORS[i % len(DETECTORS)] for i, name in enumerate(names)}


def roc(arms: list[Scores]) -> Chart:
    """ROC curves, one panel per data set and detector, one line per crop; the other detectors in grey behind.

    Args:
        arms: scores, of one or more data sets; disturbed images are left out where there are others.
    """
    return draw_roc(study.data_sets(arms), colours(arms))


def histograms(arms: list[Scores]) -> Chart:
    """Where the scores lie: fakes upwards, reals downwards, each as a share of its class; one panel per arm.

    Arguments as `roc`.
    """
    return draw_histograms(study.data_sets(arms))


def draw_roc(data: list[DataSet], colour: dict[str, str]) -> Chart:
    """`roc` for data sets, with the colours of a larger comparison."""
    panels = [(one, name) for one in data for name in sorted({arm.scores.detector for arm in one.plain})]
    curves = {id(arm): _curve(one, arm) for one in data for arm in one.plain}
    with _chart(len(panels), min(3, len(panels)), 3.1, 3.1) as (chart, axes):
        for axis, (one, name) in zip(axes, panels, strict=True):
            axis.plot([0, 1], [0, 1], color=INK, linewidth=0.6, alpha=0.5)
            for arm in one.plain:
                if arm.scores.detector != name and curves[id(arm)]:
                    axis.plot(*curves[id(arm)][0], color=INK, linewidth=0.7, alpha=0.22)
            own = [arm for arm in one.plain if arm.scores.detector == name]
            for i, arm in enumerate(own):
                _draw_curve(axis, arm, curves[id(arm)], colour[name], STYLES[i % len(STYLES)])
            axis.set_title(_title(name, one, data))
            axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel="share of reals called fake",
                     ylabel="share of fakes caught")
            axis.legend(loc="lower right", frameon=False, labelcolor=INK, handlelength=2.2, borderaxespad=0.2)
    return chart


def _curve(data: DataSet, arm: Arm) -> tuple[tuple[np.ndarray, np.ndarray], Interval] | None:
    fake, logit = data.fake[arm.ok], arm.logit[arm.ok]
    area = study.tried(statistics.auc, fake, logit, data.among(arm.ok))
    if not isinstance(area, Interval):
        return None
    x, y = metrics.roc_curve(fake, logit)
    if len(x) > POINTS:
        keep = np.unique(np.linspace(0, len(x) - 1, POINTS).astype(int))
        x, y = x[keep], y[keep]
    return (x, y), area


def _draw_curve(axis: Axes, arm: Arm, curve: tuple | None, colour: str, style: Any) -> None:
    crop = "no crop" if arm.scores.crop == "none" else arm.scores.crop
    label = _literal(crop if arm.scores.perturbation == "none" else f"{crop} · {arm.scores.perturbation}")
    if curve is None:
        axis.plot([], [], color=colour, linestyle=style, label=f"{label}: undefined")
        return
    (x, y), area = curve
    axis.plot(x, y, color=colour, linestyle=style, linewidth=1.7, label=f"{label}  {area.value:.{area.decimals}f}",
              solid_joinstyle="round")


def draw_histograms(data: list[DataSet]) -> Chart:
    """`histograms` for data sets."""
    panels = [(one, arm) for one in data for arm in one.plain]
    crops = max(len({arm.scores.crop for arm in one.plain}) for one in data)
    with _chart(len(panels), min(crops, 4) if crops > 1 else min(3, len(panels)), 3.1, 1.9) as (chart, axes):
        for axis, (one, arm) in zip(axes, panels, strict=True):
            highest = max(_draw_bars(axis, one, arm, FAKE, 1), _draw_bars(axis, one, arm, REAL, -1), 0.01)
            axis.axhline(0, color=INK, linewidth=0.6)
            axis.axvline(THRESHOLD, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
            axis.set_title(_title(arm.name, one, data))
            axis.set(xlim=(0, 1), ylim=(-1.12 * highest, 1.12 * highest), xlabel="P(fake)", ylabel="share of its class")
            axis.yaxis.set_major_locator(MaxNLocator(4, symmetric=True))
            axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.3g}")
            for text, place, align, shade in (("fakes", 0.97, "top", FAKE), ("reals", 0.03, "bottom", REAL)):
                axis.text(0.53, place, text, color=shade, va=align, transform=axis.transAxes, fontsize=8)
    return chart


def _draw_bars(axis: Axes, data: DataSet, arm: Arm, colour: str, sign: int) -> float:
    rows = arm.ok & (data.fake if sign > 0 else ~data.fake)
    if not rows.any():
        return 0.0
    counts, edges = np.histogram(arm.p_fake[rows], BINS, (0, 1))
    shares = counts / rows.sum()
    axis.stairs(sign * shares, edges, fill=True, color=colour, alpha=0.85, linewidth=0)
    return float(shares.max())


def _title(name: str, data: DataSet, among: list[DataSet]) -> str:
    return _literal(name if len(among) == 1 else f"{data.name}: {name}")


def _literal(text: str) -> str:
    # At a length that fits, and never read as a formula.
    text = visible(text)
    return (text if len(text) <= 40 else text[:39] + "…").replace("$", r"\$")


@contextmanager
def _chart(panels: int, columns: int, width: float, height: float) -> Iterator[tuple[Chart, list[Axes]]]:
    rows = -(-panels // columns)
    with rc_context(STYLE):
        chart = Chart(figsize=(width * columns, height * rows))
        axes = chart.subplots(rows, columns, squeeze=False).ravel()
        yield chart, list(axes[:panels])
        for place, axis in enumerate(axes):
            axis.set_visible(place < panels)
            if place % columns:
                axis.set_ylabel("")
            if place + columns < panels:
                axis.set_xlabel("")
        # Laid out once, not again for each format.
        chart.draw_without_rendering()
        chart.set_layout_engine("none")
