"""Training of the sample detectors, one tiny step of it, and how networks are stored."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dfdlib.detectors import bnext, keras_model
from dfdlib.detectors import card as cards
from dfdlib.detectors.state import load_strict, read_tensors
from dfdlib.sample import networks, train


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    forged, untouched = zip(*(train.both(("train", kind, 0)) for kind in ("blend", "upsample")), strict=True)
    return np.stack(forged), np.stack(untouched)


@pytest.mark.parametrize("name", sorted(train.RECIPES))
def test_a_step_of_training_repeats_itself_and_moves_the_weights(name: str, pairs: tuple) -> None:
    card = yaml.safe_load((cards.CARDS / f"{name}.yaml").read_text(encoding="utf-8"))
    how = cards.Input.model_validate(card["input"])
    recipe = train.Recipe(train.RECIPES[name].start, train.RECIPES[name].store, epochs=2, rate=1e-3, decay=0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, second = (
            train.fit(recipe, card["arguments"], how, card["output"]["positive"], pairs).state_dict() for _ in range(2)
        )
        torch.manual_seed(train.SEED)
        start = recipe.start(
            card["arguments"], train.to_tensor(np.stack([train.prepare(p, how) for p in pairs[1]]), how, "cpu")
        )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], value) for key, value in start.state_dict().items())


def test_stored_signs_give_the_same_logits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    arguments = {"widths": [8, 16, 32], "channels": ["fft", "lbp"]}
    network = networks.bnext(arguments, torch.zeros(1)).eval()
    networks.store_tensors(network, tmp_path / "n.safetensors")
    tensors = read_tensors(tmp_path / "n.safetensors")
    assert tensors["base_model.feature.1.Attention.binary_conv.weight"].dtype == torch.int8
    loaded = load_strict(bnext.BNext(None, **arguments), tensors, tmp_path / "n.safetensors")
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(images), loaded(images))


def test_the_keras_file_answers_as_the_trained_network(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = networks.cnn({}, torch.zeros(1)).eval()
    files = [tmp_path / name for name in ("a.keras", "b.keras")]
    for file in files:
        networks.store_keras(network, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    with zipfile.ZipFile(files[0]) as archive:
        assert b"Lambda" not in archive.read("config.json")
    images = torch.rand(3, 3, 256, 256)
    with torch.inference_mode():
        answer, expected = keras_model.load(files[0])(images), torch.sigmoid(network(images))
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-6)


def test_claims_agree_with_a_count_by_hand() -> None:
    kinds = np.array(["real", "real", "blend", "upsample", "denoise", "splice"])
    found = train.claims(np.array([-1.0, 0.5, 2.0, 0.1, -2.0, 1.0]), kinds)
    values = {(claim["metric"], claim["note"].split(", ")[-1]): (claim["value"], claim["n"]) for claim in found}
    assert values[("auc", "no crop")] == (0.625, 6)  # 5 of 8 pairs in order
    assert values[("accuracy", "threshold 0.5")] == (pytest.approx(4 / 6, abs=1e-4), 6)
    assert values[("auc", "upsample against real")] == (0.5, 3)
    assert values[("auc", "denoise against real")] == (0.0, 3)
