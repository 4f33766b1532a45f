"""Every command in the README runs, in the order in which it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import badfiles
import pytest
from conftest import ROOT
from typer.testing import CliRunner

from dfdlib import cli

BLOCKS = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with what the README's commands speak of."""
    root = tmp_path_factory.mktemp("workspace")
    places = {"photos": 6, "generated": 6, "images/real": 6, "images/fake": 6}
    for seed, (folder, count) in enumerate(places.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            data = badfiles.encoded(badfiles.photo((256, 256), seed=100 * seed + i), "JPEG")
            (root / folder / f"{i}.jpg").write_bytes(data)
    (root / "photo.jpg").write_bytes(badfiles.encoded(badfiles.photo(), "JPEG"))
    (root / "notebooks").symlink_to(ROOT / "notebooks", target_is_directory=True)
    return root


def test_the_readme_has_commands():
    assert {"make benchmark", "make test"} <= set(COMMANDS) and len(COMMANDS) > 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    program, *words = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert words[0] in targets  # running them is what CI does
    elif program == "dfd":
        result = CliRunner().invoke(cli.app, words)
        assert result.exit_code == 0, (result.output, result.exception)
    else:
        assert program == "papermill"
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
