"""pyproject.toml, the lock, environment.yml and the installed packages say the same; imports are light and safe."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

LOCK = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")
PINS = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]]


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_every_dependency_is_locked_and_installed_so(wanted):
    assert wanted.name in PINS, f"{wanted.name} is not in the lock: make lock"
    assert PINS[wanted.name] in wanted.specifier
    assert metadata.version(wanted.name) == PINS[wanted.name], "the environment is not the locked one: make setup"


@pytest.mark.parametrize("name", ["lock.txt", "bootstrap.txt"])
def test_locks_have_hashes_and_no_addresses(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|--(index|extra|find)", text)
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert entries and all("--hash=sha256:" in entry for entry in entries)


def test_conda_installs_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, nested = environment["dependencies"]
    assert pip == "pip" and nested == {"pip": ["-r requirements/lock.txt"]}
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_importing_the_library_is_light():
    done = python(
        "import sys, dfdlib, dfdlib.cli; print([m for m in sys.modules if m.split('.')[0] in "
        "('torch', 'tensorflow', 'keras', 'matplotlib', 'pandas', 'gradio', 'sklearn', 'cv2', 'pyarrow')])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("code", ["import tensorflow; runtime.torch()", "runtime.torch(); import tensorflow"])
def test_tensorflow_and_torch_meet_without_a_crash(code):
    done = python(f"from dfdlib import runtime; {code}; import torchvision, timm, tensorflow; print('alive')")
    assert done.returncode == 0 and "alive" in done.stdout, done.stderr[-2000:]


def test_keras_on_another_backend_is_told():
    done = python(
        "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'\nimport keras\nfrom dfdlib import runtime\n"
        "try: runtime.keras()\nexcept runtime.DfdError as error: print(error)"
    )
    assert "tensorflow backend" in done.stdout, done.stderr[-2000:]


def test_nothing_names_a_place_on_somebodys_machine():
    files = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True).stdout.split(
        "\0"
    )
    if not any(files):
        pytest.skip("not a git checkout")
    for name in filter(None, files):
        data = (ROOT / name).read_bytes()
        if b"\0" not in data[:4000]:
            assert not re.search(rb"/(home|Users)/[a-z]|[A-Z]:\\\\Users|/ro{2}t/", data), name
