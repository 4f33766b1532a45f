"""The notebooks themselves: thin, without outputs, and running end to end on a small suite."""

from __future__ import annotations

import json
import subprocess
import sys

import badfiles
import pytest
import tinydetector
import yaml
from conftest import ROOT

from dfdlib import notebooks, scores, suite
from dfdlib.errors import DfdError

FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_notebooks_are_thin(path):
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert not any(c["outputs"] or c["execution_count"] for c in cells)
    lines = [line for c in cells for line in "".join(c["source"]).splitlines() if line.strip()]
    assert len(cells) <= 12 and len(lines) <= 60
    assert not any(line.lstrip().startswith(("def ", "class ")) for line in lines)
    assert all(p.help for p in notebooks.parameters(path).values()), "every parameter has a comment"


def test_a_suite_end_to_end_and_again(tmp_path, monkeypatch):
    """Prepare, benchmark, compare; then again, when no detector may be loaded."""
    monkeypatch.chdir(tmp_path)
    for label in ("real", "fake"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(20):
            image = badfiles.photo((64, 64), seed=i + 50 * (label == "fake"))
            (tmp_path / "data" / label / f"{i}.jpg").write_bytes(badfiles.encoded(image, "JPEG"))
    card = tinydetector.make(tmp_path / "cards")
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(
            {
                "title": "Small",
                "data": {"first": {"recipe": "folder", "root": "data"}},
                "detectors": [str(card)],
                "crops": ["none", "haar"],
            }
        )
    )
    said: list[str] = []
    chosen = suite.read("mine.yaml")
    page = suite.run(chosen, tmp_path / "out", said.append, "dfd run mine.yaml")
    assert page == tmp_path / "out" / "index.html" and "Small" in page.read_text(encoding="utf-8")
    arms = scores.read_folder(tmp_path / "out" / "scores")
    assert [a.arm for a in arms] == ["tiny · haar", "tiny · none"] and {len(a) for a in arms} == {40}
    records = {p.name for p in (tmp_path / "out" / "notebooks").iterdir()}
    assert records == {
        f"{n}.{e}"
        for n in ("01_prepare_data-first", "02_benchmark-first-tiny", "03_compare")
        for e in ("ipynb", "html")
    }
    for name in records:
        if name.endswith(".html"):
            assert f"notebooks/{name}" in page.read_text(encoding="utf-8")
    # Weights are checked, but a second run may not load them: the file is the same, torch can't be imported.
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "scores").iterdir()}
    suite.run(chosen, tmp_path / "out", said.append)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "scores").iterdir()} == times
    assert any("scores exist, nothing to do" in line for line in said)


def test_papermill_by_hand(tmp_path):
    """As the README has it: a notebook by itself, with parameters on the command line."""
    (tmp_path / "data" / "real").mkdir(parents=True)
    (tmp_path / "data" / "fake").mkdir()
    for label in ("real", "fake"):
        (tmp_path / "data" / label / "a.jpg").write_bytes(badfiles.encoded(badfiles.photo(), "JPEG"))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            str(ROOT / "notebooks" / "01_prepare_data.ipynb"),
            "out.ipynb",
            "-p",
            "recipe",
            "folder",
            "-p",
            "root",
            "data",
            "-p",
            "out",
            "m.parquet",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "m.parquet").is_file()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('split = "test"', None),
        ('splitt = "test"', "'splitt' is not a parameter; did you mean 'split'"),
        ("seed = True", "not of type int"),
        ("root = 7", "not of type str"),
    ],
)
def test_papermill_by_hand_cannot_misspell(line, reason):
    cells = json.loads(FILES[0].read_text(encoding="utf-8"))["cells"]
    sources = ["", next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))]
    if reason is None:
        notebooks.check_injected([*sources, f"# Parameters\n{line}\n", "x = 1"])
    else:
        with pytest.raises(DfdError, match=reason):
            notebooks.check_injected([*sources, f"# Parameters\n{line}\n", "x = 1"])


def test_every_notebook_starts_with_the_check():
    for path in FILES:
        sources = ["".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        assert sum("start()\n" in source for source in sources) == 1, path.name
