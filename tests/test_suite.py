"""Suites: read, changed by --set, refused when wrong."""

from __future__ import annotations

import pytest

from dfdlib import suite
from dfdlib.errors import DfdError


@pytest.mark.parametrize("name", suite.names())
def test_every_suite_is_valid(name):
    from dfdlib import faces, recipes
    from dfdlib.detectors import card

    found = suite.read(name)
    assert found.name == name
    for data in found.data.values():
        assert set(data.parameters) <= set(recipes.get(data.recipe).parameters())
    assert all(map(faces.read, found.crops)) and all(map(card.read, found.detectors))


def test_changes():
    found = suite.read("140k", {"data.root": "/x", "data.140k.limit": 7, "crops": ["none"], "device": "cpu"})
    assert found.data["140k"].root == "/x" and found.data["140k"].limit == 7
    assert found.crops == ["none"] and found.device == "cpu"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": 1}, "colour"),
        ({"data.140k.colour": 1}, "colour"),
        ({"data.limit": 0}, "greater than or equal to 1"),
        ({"crops": "haar"}, "list"),
        ({"detectors": []}, "at least 1"),
        ({"min_coverage": 2}, "less than or equal to 1"),
        ({"title.x": 1}, "holds a value"),
        ({"name": "../x"}, "name"),
    ],
)
def test_wrong_changes_are_refused(changes, reason):
    with pytest.raises(DfdError, match=reason):
        suite.read("140k", changes)


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(DfdError, match="Did you mean 'sample'"):
        suite.read("sampel")
    for text, reason in (
        ("- a\n", "not a suite"),
        ("a: [", "not readable as YAML"),
        ("title: x\n", "data: Field required"),
    ):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(DfdError, match=reason):
            suite.read(str(tmp_path / "mine.yaml"))
