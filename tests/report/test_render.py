"""The page and the files beside it: complete, self-contained, the same every time, safe with hostile input."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfdlib import report
from dfdlib.errors import DfdError
from dfdlib.report import page, pictures, study, tables

DATE = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
VOID = {"meta", "br", "img", "link", "input", "hr", "path", "circle", "use", "stop", "rect", "line", "col", "base"}


class Page(HTMLParser):
    """Collects a page's elements and texts, and complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style",) and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def rendered(arms, out: Path, **options) -> Page:
    """Renders and parses a report."""
    path = report.render(arms, out, **{"title": "A title", "date": DATE, **options})
    assert path == out / "index.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, six) -> Path:
    """A report on six arms."""
    out = tmp_path_factory.mktemp("report")
    report.render(six, out, title="Six arms", command="dfd report", date=DATE,
                  notebooks=[("02_benchmark", out / "notebooks" / "02 bench#1.ipynb")])
    return out


@pytest.fixture(scope="module")
def parsed(folder) -> Page:
    """The page of that report."""
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_the_page_loads_nothing(folder, parsed):
    text = (folder / "index.html").read_text(encoding="utf-8")
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "video", "base", "form"}
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "data", "poster"):
                assert value.startswith("data:")
            if name in ("href", "xlink:href"):
                assert value.startswith("#") or value == "notebooks/02%20bench%231.ipynb", (tag, value)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_link_within_the_page_has_its_target_and_no_id_is_doubled(parsed):
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for _, a in parsed.elements for name, value in a.items()
               if name in ("href", "xlink:href") and value.startswith("#")}
    assert targets and targets <= set(ids)


def test_two_reports_differ_by_their_date_alone(folder, six, tmp_path):
    report.render(six, tmp_path, title="Six arms", command="dfd report", date=DATE,
                  notebooks=[("02_benchmark", tmp_path / "notebooks" / "02 bench#1.ipynb")])
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)
    report.render(six, tmp_path, title="Six arms", command="dfd report", date=datetime(2027, 1, 1, tzinfo=UTC),
                  notebooks=[("02_benchmark", tmp_path / "notebooks" / "02 bench#1.ipynb")])
    different = [name for name in files if (folder / name).read_bytes() != (tmp_path / name).read_bytes()]
    assert [name.as_posix() for name in different] == ["index.html", "report.json"]
    one, two = ((root / "index.html").read_text(encoding="utf-8") for root in (folder, tmp_path))
    assert one.replace("4 March 2026, 05:06 UTC", "1 January 2027, 00:00 UTC") == two


def test_the_files_beside_the_page(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"index.html", "report.json", "figures/made-up.roc.png", "figures/made-up.histograms.png",
                     *(f"tables/made-up.{name}.csv" for name in
                       ("leaderboard", "pairs", "crops", "subsets", "errors", "unscored")),
                     "tables/made-up.leaderboard.tex"}
    for name in ("roc", "histograms"):
        with Image.open(folder / "figures" / f"made-up.{name}.png") as image:
            assert image.format == "PNG" and image.width > 1000 and not image.text


def test_tables_json_and_page_tell_the_same(folder, parsed, six):
    [data] = study.data_sets(six)
    board = study.leaderboard(data)
    with open(folder / "tables" / "made-up.leaderboard.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    summary = json.loads((folder / "report.json").read_text(encoding="utf-8"))["data_sets"][0]
    assert [line["arm"] for line in lines] == [row["arm"] for row in board]
    for row, line, entry in zip(board, lines, summary["leaderboard"], strict=True):
        for key in ("auc", "accuracy", "precision", "recall", "f1", "coverage"):
            found = row[key]
            assert [float(line[key + end]) for end in ("", "_low", "_high")] == [found.value, found.low, found.high]
            assert [entry[key][part] for part in ("value", "low", "high", "n", "method")] == [
                found.value, found.low, found.high, found.n, found.method]
            assert f"{found.value:.{found.decimals}f}" in parsed.texts
            assert f"{found.low:.{found.decimals}f}–{found.high:.{found.decimals}f}" in parsed.texts
        assert int(line["tp"]) == row["tp"] == entry["tp"]
    assert "\\x" not in parsed.text and "\\u" not in parsed.text  # nothing of the page's own was taken for hostile
    assert summary["images"] == 400 and summary["fakes"] == 200
    assert summary["verdict"][0].startswith("Best here: alpha · haar.")
    assert len(summary["arms"]) == 6 and summary["arms"]["alpha · none"]["git_commit"] == "c0ffee"


def test_the_first_line_is_the_notice(make_arms, tmp_path):
    notice = "Made by a program: <b>says nothing</b> about real deepfakes."
    found = rendered(make_arms(60, ("alpha",), notice=notice), tmp_path)
    assert found.texts[found.texts.index("A title") + 1] == notice  # after <title>, before the heading
    assert found.texts.index("A title") == 0


def test_the_verdict_says_what_the_tests_say(make_arms):
    def verdict(arms) -> str:
        [data] = study.data_sets(arms)
        return " ".join(p.striptags() for p in page.section(data, "x").verdict).replace("\xa0", " ")

    clear = verdict(make_arms(600, ("alpha", "gamma"), ("none",)))
    assert "Best here: alpha · none." in clear and "more than chance explains" in clear
    assert "paired DeLong, p < 0.001, Holm-corrected for 1 pair" in clear
    same = verdict(make_arms(60, ("alpha", "delta", "epsilon"), ("none",), seed=3))
    assert "Best here" in same
    tied = verdict(make_arms(40, ("delta", "epsilon"), ("none",), seed=1))
    assert "which chance alone would explain" in tied and "more than chance" not in tied
    alone = verdict(make_arms(60, ("alpha",), ("none",)))
    assert alone.startswith("One arm was scored, so nothing is compared: alpha · none.")
    cropped = verdict(make_arms(600, ("alpha", "gamma"), ("none", "retinaface")))
    assert "The face crop retinaface raises the AUC of alpha" in cropped


def test_the_verdict_names_every_arm_that_is_not_told_apart(make_arms):
    [data] = study.data_sets(make_arms(50, ("delta", "epsilon", "zeta", "gamma"), ("none",), seed=5))
    section = page.section(data, "x")
    best = section.board[0]["arm"]
    tied = {row["a"] if row["b"] == best else row["b"] for row in section.pairs
            if best in (row["a"], row["b"]) and row["auc_difference_p_holm"] >= 0.05}
    text = section.verdict[0].striptags()
    assert tied and all(name in text for name in tied)
    apart = {arm.name for arm in data.arms} - tied - {best, section.board[1]["arm"]}
    assert all(name not in text for name in apart)


HOSTILE = '<script>alert(1)</script>\n"\'><img src=x onerror=alert(2)>&amp;$\\alpha$\u202egpj.\x1b[31m{{ 7*7 }}%'


def test_hostile_strings_stay_text(make_arms, edit, tmp_path):
    def poison(frame):
        frame.loc[frame.index[:20], "path"] = [f"{HOSTILE}{i}.jpg" for i in range(20)]
        frame["dataset"] = HOSTILE
        frame["subset"] = frame["subset"].astype(object) + HOSTILE
        frame.loc[frame.index[3:6], ["status", "error", "p_fake", "logit"]] = ["error", HOSTILE, None, None]
    arms = [edit(arm, poison) for arm in make_arms(80, (f"alpha{HOSTILE}",), (f"haar{HOSTILE}", "none"), notice=HOSTILE,
                                                   root=f"/nowhere/{HOSTILE}")]
    for arm in arms:
        for key in ("summary", "trained_on", "architecture"):
            arm.metadata["card"][key] = HOSTILE
        arm.metadata["command"] = HOSTILE
    found = rendered(arms, tmp_path, title=HOSTILE, command=HOSTILE, notebooks=[(HOSTILE, tmp_path / "a.ipynb")])
    tags = [tag for tag, _ in found.elements]
    assert "script" not in tags and all(not name.startswith("on") for _, a in found.elements for name in a)
    assert all(a["src"].startswith("data:") for tag, a in found.elements if tag == "img")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "\u202e" not in text and "\x1b" not in text and "49%" not in text
    assert "<script>alert(1)</script>\\n\"'><img" in found.text  # the line break is shown as an escape
    assert {path.parent.name for path in tmp_path.rglob("*.csv")} == {"tables"}
    with open(next(tmp_path.glob("tables/*.unscored.csv")), encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert any(line["error"] == HOSTILE for line in lines)
    tex = next(tmp_path.glob("tables/*.tex")).read_text(encoding="utf-8")
    assert r"\textbackslash{}" in tex and "$\\alpha$" not in tex
    compact = Page(report.compare(arms)._repr_html_())
    assert "script" not in [tag for tag, _ in compact.elements]


def only(label):
    def change(frame):
        frame["label"] = label
    return change


def no_score(frame):
    frame[["status", "error", "p_fake", "logit"]] = ["unreadable", "not an image", None, None]


def perfect(frame):
    frame["logit"] = np.where(frame.label == "fake", np.inf, -np.inf)
    frame["p_fake"] = np.where(frame.label == "fake", 1.0, 0.0)


def constant(frame):
    frame[["logit", "p_fake"]] = [0.0, 0.5]


@pytest.mark.parametrize(("n", "crops", "change", "says"), [
    (2, ("none",), None, "no detector was scored both with a face crop and without"),
    (40, ("haar",), None, "no detector was scored both with a face crop and without"),
    (2, ("none", "haar"), only("fake"), "no real images, so the AUC is undefined"),
    (40, ("none", "haar"), only("real"), "no fake images, so the AUC is undefined"),
    (2, ("none", "haar"), no_score, "No image got a score"),
    (2, ("none", "haar"), perfect, "AUC 1.000"),
    (40, ("none", "haar"), perfect, "AUC 1.000"),
    (2, ("none", "haar"), constant, "nothing was called fake"),
    (40, ("none", "haar"), constant, "nothing was called fake"),
])
def test_thin_or_odd_data_still_makes_a_report(make_arms, edit, tmp_path, n, crops, change, says):
    arms = make_arms(n, ("alpha",), crops, unreadable=0.0)
    arms = [edit(arm, change) for arm in arms] if change else arms
    found = rendered(arms, tmp_path)
    assert says in found.text.replace("\xa0", " ")
    json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert len(report.compare(arms).leaderboard) == len(crops)


@pytest.mark.parametrize("kept", [("arm", "arm_digest"), ("arm",), ("arm", "card"), ("arm", "crop_profile")])
def test_missing_metadata_is_said_not_fatal(make_arms, edit, tmp_path, kept):
    arms = make_arms(40, ("alpha",), ("none", "haar"))
    for arm in arms:
        for key in set(arm.metadata) - set(kept):
            del arm.metadata[key]
        if "card" in kept:
            arm.metadata["card"] = {"name": "alpha", "input": {}, "output": None, "claims": [{}]}
        if "crop_profile" in kept:
            arm.metadata["crop_profile"] = {"name": "x"}
    found = rendered(arms, tmp_path)
    assert found.text.count("not recorded") > 5


def test_several_data_sets_disturbances_and_groups(make_arms, edit, tmp_path):
    def group(frame):
        frame["group"] = [f"video{i // 5}" for i in range(len(frame))]
    arms = [edit(arm, group) for arm in make_arms(100, ("alpha", "beta"))]
    arms += make_arms(80, ("alpha", "beta"), ("none", "haar"), counts={"train/real": 40, "train/fake": 40})
    arms += make_arms(80, ("alpha",), ("none", "haar"), perturbation="blur-2")
    found = rendered(arms, tmp_path)
    assert "\\x" not in found.text
    assert found.texts.count("Best on made-up:") == 2
    assert "All data sets" in found.text and "Disturbed against undisturbed images" in found.text
    assert "20 independent sources" in found.text and "from the split train" in found.text
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert len([name for name in names if name.endswith(".leaderboard.csv")]) == 2  # same name, two manifests
    assert len([name for name in names if name.endswith(".perturbations.csv")]) == 1
    comparison = report.compare(arms)
    assert comparison.leaderboard.columns[0] == "data set" and len(comparison.leaderboard) == 10


def test_two_arms_of_one_name_are_refused(six, tmp_path):
    with pytest.raises(DfdError, match="two sets of scores"):
        report.render([*six, six[0]], tmp_path, title="x")


# Pictures

@pytest.fixture
def photographed(make_arms, edit, tmp_path):
    """An arm that is wrong about everything, with real files for its images."""
    root = tmp_path / "images"
    root.mkdir()
    ids = []
    for i in range(12):
        buffer = io.BytesIO()
        Image.new("RGB", (320, 240), (20 * i, 90, 120)).save(buffer, "JPEG")
        (root / f"{i:02d}.jpg").write_bytes(buffer.getvalue())
        ids.append(hashlib.sha256(buffer.getvalue()).hexdigest())

    def change(frame):
        frame["path"], frame["id"] = [f"{i:02d}.jpg" for i in range(12)], ids
        frame["logit"] = np.where(frame.label == "fake", -1.0, 1.0) * np.linspace(3, 2, 12)
        frame["p_fake"] = 1 / (1 + np.exp(-frame["logit"]))
    arm = make_arms(12, ("alpha",), ("haar",), unreadable=0.0)[0]
    arm = edit(arm, change)
    arm.metadata["manifest"]["root"] = str(root)
    return arm, root


def picture_of(arm, row: int):
    [data] = study.data_sets([arm])
    return pictures.picture(data, data.arms[0], row)


def opened(uri: str) -> Image.Image:
    import base64

    assert uri.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def test_errors_are_shown_as_pictures_with_the_face(photographed, tmp_path):
    arm, _ = photographed
    found = rendered([arm], tmp_path / "out")
    images = [a for tag, a in found.elements if tag == "img"]
    assert len(images) == 12 and "not shown" not in found.text
    assert {(a["width"], a["height"]) for a in images} == {("160", "120")}
    row = int(np.flatnonzero(arm.frame.face_x0.notna())[0])
    pixels = np.asarray(opened(picture_of(arm, row).data)).astype(int)
    frame = pixels[40:90].mean(axis=0)  # the box goes from 60 to 200 of 320 px, here from 30 to 100 of 160
    yellow = frame[:, 0] + frame[:, 1] - 2 * frame[:, 2]
    assert 29 <= yellow[:65].argmax() <= 33 and 97 <= 65 + yellow[65:].argmax() <= 101 and yellow.max() > 150
    assert np.abs(pixels[5, 5] - np.array([20 * row, 90, 120])).max() < 12


def test_a_picture_is_upright_like_its_box(photographed, tmp_path):
    arm, root = photographed
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    buffer = io.BytesIO()
    Image.new("RGB", (320, 240)).save(buffer, "JPEG", exif=exif)
    (root / "00.jpg").write_bytes(buffer.getvalue())
    frame = arm.frame
    frame.loc[0, "id"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    found = picture_of(arm, 0)
    assert (found.width, found.height) == (120, 160)


@pytest.mark.parametrize(("spoil", "why"), [
    (lambda root: (root / "00.jpg").unlink(), "not found"),
    (lambda root: (root / "00.jpg").write_bytes(b"another image"), "changed since it was scored"),
    (lambda root: (root / "00.jpg").write_bytes(b""), "empty file"),
])
def test_a_picture_that_cannot_be_trusted_is_not_shown(photographed, spoil, why):
    arm, root = photographed
    spoil(root)
    found = picture_of(arm, 0)
    assert not found.data and why in found.why


@pytest.mark.parametrize("path", ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "a\0b.jpg"])
def test_a_picture_outside_the_folder_is_not_read(photographed, path):
    arm, root = photographed
    secret = root.parent / "secret.jpg"
    secret.write_bytes((root / "00.jpg").read_bytes())
    arm.frame.loc[0, "path"] = path
    found = picture_of(arm, 0)
    assert not found.data and ("leaves the manifest's folder" in found.why or "not found" in found.why)


def test_a_huge_file_is_not_read(photographed, monkeypatch):
    arm, _ = photographed
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    assert "the file is above" in picture_of(arm, 0).why


def test_bytes_that_are_no_image_are_not_shown(photographed):
    arm, root = photographed
    (root / "00.jpg").write_bytes(b"text")
    arm.frame.loc[0, "id"] = hashlib.sha256(b"text").hexdigest()
    assert "not an image" in picture_of(arm, 0).why


# Small things

def test_cells_and_numbers_read_well():
    assert page.score(0.5) == "0.500" and page.score(0.99999) == "0.999990" and page.score(1.0) == "1.000"
    assert page.score(1 - 1e-9) == "> 0.999999" and page.score(1e-9) == "< 0.000001" and page.score(0.0) == "0.000"
    assert tables.p_value(math.nan) == "not testable" and tables.p_value(0.0004) == "< 0.001"
    assert tables.p_value(0.9999) == "1" and tables.p_value(0.0312) == "0.031"
    assert tables.visible("a\nb\u202e\udc80ü日") == "a\\nb\\u202e\\udc80ü日"


def test_links_to_notebooks_are_relative(tmp_path):
    assert page.link(tmp_path / "notebooks" / "a b.ipynb", tmp_path / "reports" / "x") == "../../notebooks/a%20b.ipynb"
    assert page.link(Path("javascript:alert(1)"), Path()) == "javascript%3Aalert%281%29"


def test_a_notebook_shows_the_comparison_and_the_figures(six):
    from dfdlib.report import figures

    comparison = report.compare(six)
    assert comparison.leaderboard["arm"].iloc[0] == "alpha · haar" and len(comparison.crops) == 6
    assert report.leaderboard(six).equals(comparison.leaderboard)
    assert "0.9" in repr(comparison) and Page(comparison._repr_html_()).text.count("alpha · haar") >= 3
    for chart, panels in ((figures.roc(six), 3), (figures.histograms(six), 6)):
        data, size = chart._repr_png_()
        assert data.startswith(b"\x89PNG") and size["width"] > 300
        assert len([axis for axis in chart.axes if axis.get_visible()]) == panels


def test_a_detector_keeps_its_colour_and_no_class_has_it(six):
    from dfdlib.report import figures

    colour = figures.colours(six)
    assert len(set(colour.values())) == 3 and not {figures.REAL, figures.FAKE} & set(figures.DETECTORS)
    chart = figures.roc(six)
    for axis in chart.axes:
        lines = [line for line in axis.get_lines() if line.get_label().startswith(("no crop", "haar"))]
        assert {line.get_color() for line in lines} == {colour[axis.get_title("left")]} and len(lines) == 2
        assert len({str(line.get_linestyle()) for line in lines}) == 2


def test_figures_on_the_page_follow_its_colours(six):
    from dfdlib.report import figures

    svg = figures.histograms(six).svg()
    assert "currentColor" in svg and figures.INK not in svg.lower()
    assert "var(--real)" in svg and figures.REAL.lower() not in svg.lower()
    assert svg.startswith("<svg") and "<?xml" not in svg and "<!DOCTYPE" not in svg


def test_many_images_take_no_loop_over_rows(make_arms, tmp_path):
    import time

    arms = make_arms(30_000, ("alpha", "beta"), ("none", "haar"), unreadable=0.05)
    started = time.monotonic()
    report.render(arms, tmp_path, title="Large")
    assert time.monotonic() - started < 30  # about 5 s; one Python step per row and figure would take minutes
