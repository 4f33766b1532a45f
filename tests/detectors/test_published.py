"""Cards of published detectors: what they state fits their architecture, and the files at hand."""

from __future__ import annotations

import importlib
import inspect

import pytest

from dfdlib import detectors, digests
from dfdlib.detectors import card as cards

PUBLISHED = [name for name in cards.names() if not name.startswith("sample-")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_architecture_takes_the_cards_arguments(name):
    card = cards.read(name)
    assert card.architecture in detectors.ARCHITECTURES
    module = importlib.import_module(f"dfdlib.detectors.{card.architecture.replace('-', '_')}")
    inspect.signature(module.load).bind("weights", **card.arguments)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if cards.read(name).architecture != "bnext"])
def test_sources_and_notes_are_stated(name):
    card = cards.read(name)
    assert card.weights.source.kind != "local" and len(card.notes) > 80 and len(card.trained_on) > 5
    assert all(claim.source for claim in card.claims)
    assert {"real", "fake"} == set(card.output.classes or ("real", "fake"))


def test_hashes_are_those_of_the_files_at_hand(shared):
    for name, file in (
        ("mesonet-4-df", "meso4-df.weights.h5"),
        ("mesonet-inception4-df", "mesoinception-df.weights.h5"),
    ):
        path, stated = shared / "weights/detectors" / file, cards.read(name).weights
        assert (digests.of_file(path), path.stat().st_size) == (stated.sha256, stated.bytes)


def test_cards_of_one_network_differ_where_they_say_so():
    processor, plugin = cards.read("vit-dima806"), cards.read("vit-dima806-rescuebox")
    assert processor.weights == plugin.weights and processor.arguments == plugin.arguments
    assert processor.input.mean == (0.5, 0.5, 0.5) and plugin.input.mean == (0, 0, 0)
    assert (processor.input.resize.interpolation, plugin.input.resize.interpolation) == ("bilinear", "bicubic")
