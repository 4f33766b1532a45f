"""The command line, as a user types it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import badfiles
import pytest
import tinydetector
from conftest import ROOT
from typer.testing import CliRunner

from dfdlib import cli, scores
from dfdlib.errors import DfdError

COMMANDS = [
    "doctor",
    "score",
    "report",
    "run",
    "check",
    "benchmark",
    "data list",
    "data prepare",
    "data audit",
    "detectors list",
    "detectors show",
    "weights list",
    "weights get",
    "weights verify",
    "crops list",
]


def dfd(*words: object, fails: int = 0) -> str:
    """Runs a command in this process and returns what it printed; an error comes as its own text."""
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    if isinstance(result.exception, DfdError):
        assert result.exception.exit_code == fails, result.exception
        return str(result.exception)
    assert result.exit_code == fails, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tinydetector.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for label, seed in (("real", 0), ("fake/gan", 100), ("fake/diffusion", 200)):
        (root / label).mkdir(parents=True)
        for i in range(12):
            (root / label / f"{i}.jpg").write_bytes(badfiles.encoded(badfiles.photo((64, 64), seed + i), "JPEG"))
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    text = dfd(*command.split(), "--help")
    assert "Example" in text


def test_exit_codes_are_documented():
    assert "3 too few images" in " ".join(dfd("--help").split())


def test_lists_are_json_too(tiny):
    assert {"sample", "folder", "celeba"} <= {row["name"] for row in json.loads(dfd("data", "list", "--json"))}
    assert "haar" in {row["name"] for row in json.loads(dfd("crops", "list", "--json"))}
    assert json.loads(dfd("detectors", "show", tiny, "--json"))["name"] == "tiny"
    states = {row["state"] for row in json.loads(dfd("weights", "list", "--json"))}
    assert states <= {"ok", "missing", "changed", "unverified"}
    assert isinstance(json.loads(dfd("detectors", "list", "--json")), list)


def test_prepare_audit_score_report(images, tiny, tmp_path):
    table, out = tmp_path / "m.parquet", tmp_path / "scores"
    assert "36 images" in dfd("data", "prepare", "folder", "--root", images, "--out", table)
    assert "Nothing found" in dfd("data", "audit", table)
    text = dfd("score", table, "-d", tiny, "-c", "none", "-c", "haar", "--out", out)
    assert "2 arms scored, 0 existed already" in text
    assert "0 arms scored, 2 existed already" in dfd(
        "score", table, "-d", tiny, "-c", "none", "-c", "haar", "--out", out
    )
    assert [s.arm for s in scores.read_folder(out)] == ["tiny · haar", "tiny · none"]
    dfd("report", out, "--out", tmp_path / "report", "--title", "Mine & <others>")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Mine &amp; &lt;others&gt;" in page and "tiny" in page


def test_two_folders_straight_to_a_report(images, tiny, tmp_path):
    dfd("benchmark", "--real", images / "real", "--fake", images / "fake", "-d", tiny, "--out", tmp_path / "mine")
    assert (tmp_path / "mine" / "index.html").is_file()
    [found] = scores.read_folder(tmp_path / "mine" / "scores")
    assert set(found.frame.subset) == {"real", "gan", "diffusion"} and len(found) == 36
    assert "no such folder" in dfd("benchmark", "--real", images / "no", "--fake", images, "-d", tiny, fails=1)


def test_audit_finds_what_is_wrong(images, tmp_path):
    data = (images / "real" / "0.jpg").read_bytes()
    for name in ("real/a.jpg", "fake/b.jpg", "real/c.jpg", "real/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "real/c.jpg").write_bytes(data + b"x")
    (tmp_path / "real/d.jpg").write_bytes(b"nothing")
    dfd("data", "prepare", "folder", "--root", tmp_path, "--out", tmp_path / "m.parquet")
    (tmp_path / "real/c.jpg").write_bytes(data + b"y")
    found = {row["kind"]: row for row in json.loads(dfd("data", "audit", tmp_path / "m.parquet", "--json"))}
    assert found["same image, both labels"]["examples"] == ["fake/b.jpg", "real/a.jpg"]
    assert found["changed"]["examples"] == ["real/c.jpg"] and found["unreadable"]["examples"] == ["real/d.jpg"]


def test_check_gives_verdicts_and_the_csv(images, tiny, tmp_path):
    text = dfd(
        "check",
        images / "real",
        tmp_path / "nothere.jpg",
        "-d",
        tiny,
        "-c",
        "haar",
        "--csv",
        tmp_path / "o.csv",
        fails=3,
    )
    assert "cannot be opened" in " ".join(text.split())
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text("utf-8").splitlines()))
    assert len(rows) == 13 and list(rows[0])[:3] == ["image_path", "prediction", "confidence"]
    for row in rows:
        if row["prediction"] == "error":
            assert row["image_path"].endswith("nothere.jpg") and not row["p_fake"]
        else:
            p = float(row["p_fake"])
            assert float(row["confidence"]) == pytest.approx(max(p, 1 - p), abs=1e-12)
            assert row["prediction"].endswith("real" if p < 0.4 else "fake" if p >= 0.6 else "uncertain")
    assert (
        "no images in this folder" in dfd("check", tmp_path / "empty", "-d", tiny, fails=1)
        if ((tmp_path / "empty").mkdir() is None)
        else True
    )


def test_check_with_odd_names(tiny, tmp_path):
    good, bad = badfiles.fill(tmp_path / "odd")
    found = json.loads(dfd("check", tmp_path / "odd", "-d", tiny, "--json", fails=3))
    assert {row["image_path"].rsplit("odd/")[-1] for row in found} == good | bad
    assert {row["image_path"].rsplit("odd/")[-1] for row in found if row["prediction"] == "error"} == bad
    dfd("check", tmp_path / "odd", "-d", tiny, fails=3)


def test_low_coverage_is_exit_code_3(tiny, tmp_path):
    for label in ("real", "fake"):
        badfiles.fill(tmp_path / label)
    dfd("data", "prepare", "folder", "--root", tmp_path, "--out", tmp_path / "m.parquet")
    words = ["score", tmp_path / "m.parquet", "-d", tiny, "--out", tmp_path / "s"]
    assert "have a score" in dfd(*words, fails=3)
    dfd(*words, "--min-coverage", "0.3")


def test_wrong_words(tmp_path):
    assert "KEY=VALUE" in dfd("run", "sample", "--set", "nonsense", fails=2)
    assert "No suite" in dfd("run", "nothing", fails=1)
    assert "Did you mean" in dfd("data", "prepare", "sampl", "--root", tmp_path, "--out", tmp_path / "m", fails=1)
    dfd("score", fails=2)
    manifest_file = tmp_path / "text.parquet"
    manifest_file.write_text("x")
    assert "cannot be read as Parquet" in dfd("data", "audit", manifest_file, fails=1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_leaves_a_state_that_resumes(images, tiny, tmp_path):
    """Interrupted after its first part file; the same command then ends well."""
    dfd("data", "prepare", "folder", "--root", images, "--out", tmp_path / "m.parquet")
    words = ["score", str(tmp_path / "m.parquet"), "-d", str(tiny), "--out", str(tmp_path / "s")]
    code = (
        # a background job inherits an ignored SIGINT
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from dfdlib import cli, detectors\nanswer = detectors.Detector.answer\n"
        "def stopped(self, batch):\n    os.kill(os.getpid(), signal.SIGINT)\n    return answer(self, batch)\n"
        "detectors.Detector.answer = stopped\nsys.argv = ['dfd', *sys.argv[1:]]\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130 and "goes on where it stopped" in done.stderr, done.stderr[-2000:]
    assert not scores.files(tmp_path / "s")
    assert "1 arms scored" in dfd(*words)


def test_errors_are_told_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dfdlib.cli", "detectors", "show", "[red]x"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: No detector named '[red]x'" in done.stderr and "-> " in done.stderr
