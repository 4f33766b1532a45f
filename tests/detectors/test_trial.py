"""A card to fill in, and a look at what a detector is fed."""

from __future__ import annotations

import badfiles
import numpy as np
import pytest
import tinydetector
import yaml
from PIL import Image

from dfdlib import digests, faces
from dfdlib.detectors import card as cards
from dfdlib.detectors import template, trial
from dfdlib.errors import DfdError


def test_a_new_card_holds_what_the_file_tells_and_nothing_guessed(tmp_path):
    weights = tmp_path / "w" / "Mine (1).onnx"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    template.write(tmp_path / "My Card.yaml", weights)
    values = yaml.safe_load((tmp_path / "My Card.yaml").read_text(encoding="utf-8"))
    assert values["weights"]["sha256"] == digests.of_file(weights) and values["weights"]["bytes"] == 7
    assert values["architecture"] == "onnx-model" and values["weights"]["file"] == "w/Mine (1).onnx"
    with pytest.raises(DfdError, match="not a valid card"):
        cards.read(tmp_path / "My Card.yaml")
    with pytest.raises(DfdError, match="exists already"):
        template.write(tmp_path / "My Card.yaml", weights)
    with pytest.raises(DfdError, match="no such file"):
        template.write(tmp_path / "other.yaml", tmp_path / "nothing.pt")


def test_a_filled_in_card_is_valid(tmp_path):
    tiny = cards.read(tinydetector.make(tmp_path / "tiny"))
    template.write(tmp_path / "mine.yaml", tmp_path / "tiny" / "tiny.safetensors")
    values = yaml.safe_load((tmp_path / "mine.yaml").read_text(encoding="utf-8"))
    filled = {k: v for k, v in tiny.as_dict().items() if k not in ("name", "weights")}
    values |= filled
    values["weights"]["licence"] = "mine"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert cards.read(tmp_path / "mine.yaml").digest == tiny.digest


def test_what_the_network_is_fed_is_shown(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(badfiles.GOOD["plain.jpg"]())
    (tmp_path / "b.jpg").write_bytes(b"no image")
    card = cards.read(tinydetector.make(tmp_path))
    rows, picture = trial.try_out(card, [path, tmp_path / "b.jpg"], faces.read("none"), "cpu")
    assert rows[0]["fed"].startswith("32 x 32, 0.0") and rows[0]["verdict"] and not rows[0]["remark"]
    assert float(rows[0]["P(fake)"]) == pytest.approx(1 / (1 + np.exp(-float(rows[0]["answer"]))), abs=2e-3)
    assert rows[1]["remark"] == "not an image of a known format" and rows[1]["answer"] is None
    fed = Image.open(path).convert("RGB").resize((32, 32), Image.BICUBIC).resize((224, 224), Image.BICUBIC)
    shown = np.asarray(picture.crop((228, 0, 452, 224))).astype(int)
    assert np.abs(shown - np.asarray(fed)).mean() < 2
