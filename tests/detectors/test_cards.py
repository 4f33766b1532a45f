"""Cards, preparation, polarity and safe loading of weights."""

from __future__ import annotations

import pickle

import badfiles
import numpy as np
import pytest
import tinydetector
import torch
import yaml

from dfdlib import detectors, weights
from dfdlib.detectors import card as cards
from dfdlib.detectors import state
from dfdlib.detectors.card import Input, Output
from dfdlib.detectors.prepare import prepare, to_tensor
from dfdlib.errors import DfdError
from dfdlib.images import Unreadable


@pytest.mark.parametrize("name", cards.names())
def test_every_card_is_complete_and_loads(name):
    card = cards.read(name)
    assert card.name == name and card.summary and card.trained_on and card.weights.licence
    if card.weights.source.kind == "shipped":
        assert weights.status(card).state == "ok"
        batch = np.random.default_rng(0).integers(0, 256, (3, *card.input.size, 3), dtype=np.uint8)
        logits = detectors.load(card, "cpu").logits(batch)
        assert logits.shape == (3,) and logits.dtype == np.float64 and np.isfinite(logits).all()


def write(path, change):
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))
    cards._read.cache_clear()
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.update(colour="red"), "colour"),
        (lambda v: v.pop("weights"), "weights"),
        (lambda v: v["output"].pop("positive"), "needs `positive"),
        (lambda v: v.update(output={"kind": "logits", "positive": "fake"}), "needs `classes"),
        (lambda v: v.update(output={"kind": "logits", "classes": ["fake", "fake"]}), "must name real and fake"),
        (lambda v: v["input"]["resize"].update(mode="short-side"), "belongs to mode short-side"),
        (lambda v: v["weights"].update(sha256="abc"), "sha256"),
        (lambda v: v.update(name="../x"), "name"),
        (lambda v: v.update(schema=2), "schema"),
    ],
)
def test_wrong_cards_are_refused(tmp_path, change, reason):
    with pytest.raises(DfdError, match=reason):
        cards.read(write(tinydetector.make(tmp_path), change))


def test_unknown_detectors_and_broken_yaml(tmp_path):
    with pytest.raises(DfdError, match="No detector named 'nothing-like-it'"):
        cards.read("nothing-like-it")
    with pytest.raises(DfdError, match="no such card"):
        cards.read(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(DfdError, match="not readable as YAML"):
        cards.read(tmp_path / "bad.yaml")


def test_digest_covers_what_scores_depend_on(tmp_path):
    digest = cards.read(tinydetector.make(tmp_path / "a")).digest
    assert cards.read(tinydetector.make(tmp_path / "b", summary="x", notes="y")).digest == digest
    assert cards.read(tinydetector.make(tmp_path / "c", seed=1)).digest != digest
    changed = write(tinydetector.make(tmp_path / "d"), lambda v: v["input"].update(mean=[0.5, 0.5, 0.5]))
    assert cards.read(changed).digest != digest


@pytest.mark.parametrize(
    "size", [(1, 1), (7, 300), (300, 7), (252, 252), (253, 400), (431, 250), (1024, 1024), (178, 218)]
)
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_preparation_equals_torchvision(size, method):
    from torchvision import transforms

    image = badfiles.photo(size, seed=sum(size))
    pixels = np.asarray(image)
    how = Input(size=(224, 224), resize={"mode": "short-side", "size": 252, "interpolation": method}, crop="center")
    theirs = transforms.Compose(
        [
            transforms.Resize(252, transforms.InterpolationMode(method)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
        ]
    )
    how = how.model_copy(update={"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)})
    ours = to_tensor(np.stack([prepare(pixels, how)]), how, "cpu")[0]
    assert torch.equal(ours, theirs(image))
    exact = Input(size=(96, 128), resize={"mode": "exact", "interpolation": method})
    np.testing.assert_array_equal(
        prepare(pixels, exact), transforms.Resize((96, 128), transforms.InterpolationMode(method))(image)
    )


def test_shapes_that_cannot_be_prepared():
    how = Input(size=(224, 224), resize={"mode": "short-side", "size": 252}, crop="center")
    with pytest.raises(Unreadable, match="too long and narrow"):
        prepare(np.zeros((1, 30_000, 3), np.uint8), how)
    plain = Input(size=(224, 224), resize={"mode": "none"})
    with pytest.raises(Unreadable, match="takes 224 x 224"):
        prepare(np.zeros((225, 224, 3), np.uint8), plain)
    cropped = Input(size=(224, 224), resize={"mode": "none"}, crop="center")
    assert prepare(np.zeros((230, 250, 3), np.uint8), cropped).shape == (224, 224, 3)


def test_range():
    batch = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    unit = to_tensor(batch, Input(size=(16, 16), resize={"mode": "none"}), "cpu")
    np.testing.assert_array_equal(unit[0, 0].numpy().ravel(), np.arange(256, dtype=np.float32) / np.float32(255))
    byte = to_tensor(batch, Input(size=(16, 16), resize={"mode": "none"}, range="byte"), "cpu")
    assert byte.max() == 255


def test_polarity_of_every_kind_of_output():
    from scipy.special import expit

    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0])  # of fake
    logit = np.array([-4.0, -1.0, 0.0, 2.0, 30.0])
    kinds = [
        (p[:, None], Output(kind="probability", positive="fake"), p),
        (1 - p, Output(kind="probability", positive="real"), p),
        (np.c_[1 - p, p], Output(kind="probabilities", classes=("real", "fake")), p),
        (np.c_[p, 1 - p], Output(kind="probabilities", classes=("fake", "real")), p),
        (logit[:, None], Output(kind="logit", positive="fake"), expit(logit)),
        (-logit[:, None], Output(kind="logit", positive="real"), expit(logit)),
        (np.c_[logit * 0, logit], Output(kind="logits", classes=("real", "fake")), expit(logit)),
        (np.c_[logit, logit * 0], Output(kind="logits", classes=("fake", "real")), expit(logit)),
    ]
    for answer, output, expected in kinds:
        np.testing.assert_allclose(expit(detectors.to_logit(answer, output)), expected, rtol=1e-12, atol=1e-300)
    with pytest.raises(DfdError, match="answers 2 values"):
        detectors.to_logit(np.zeros((3, 2)), Output(kind="logit", positive="fake"))


class Trap:
    def __reduce__(self):
        return (open, ("trap-was-sprung", "w"))


def test_pickled_code_in_weights_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in (("a.pt", {"state_dict": Trap()}), ("b.ckpt", Trap())):
        torch.save(content, tmp_path / name)
        with pytest.raises(DfdError, match="not loaded"):
            state.read_tensors(tmp_path / name)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DfdError):
        state.read_tensors(tmp_path / "c.pt")
    assert not (tmp_path / "trap-was-sprung").exists()


def test_lambda_layers_do_not_run(tmp_path, monkeypatch):
    from dfdlib import runtime
    from dfdlib.detectors import keras_model

    keras = runtime.keras()
    monkeypatch.chdir(tmp_path)
    spring = keras.layers.Lambda(lambda x: open("trap-was-sprung", "w") and x)  # noqa: SIM115
    model = keras.Sequential([keras.Input((8, 8, 3)), spring])
    (tmp_path / "trap-was-sprung").unlink(missing_ok=True)
    for name in ("lambda.keras", "lambda.h5"):
        model.save(tmp_path / name)
        with pytest.raises(DfdError, match="cannot be loaded"):
            keras_model.load(tmp_path / name)
    assert not (tmp_path / "trap-was-sprung").exists()


def test_weights_load_whole_or_not_at_all(tmp_path):
    from safetensors.torch import save_file

    module = torch.nn.Linear(3, 2)
    save_file(
        {"weight": torch.ones(2, 3), "bias": torch.tensor([1, -1], dtype=torch.int8)}, tmp_path / "ok.safetensors"
    )
    loaded = state.load_strict(module, state.read_tensors(tmp_path / "ok.safetensors"), tmp_path)
    assert loaded.bias.tolist() == [1.0, -1.0] and loaded.bias.dtype == torch.float32
    for tensors, reason in (
        ({"weight": torch.ones(2, 3)}, "1 missing, first bias"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "x": torch.ones(1)}, "1 not of this network, first x"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, "1 of another shape, first weight"),
    ):
        with pytest.raises(DfdError, match=reason):
            state.load_strict(torch.nn.Linear(3, 2), tensors, tmp_path)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "ok.safetensors").read_bytes()[:50])
    with pytest.raises(DfdError, match="cannot be read as weights"):
        state.read_tensors(tmp_path / "cut.safetensors")


def test_missing_and_changed_weights_are_told(tmp_path):
    card = cards.read(tinydetector.make(tmp_path))
    assert weights.status(card).state == "ok"
    path = weights.locate(card)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DfdError, match="sha256 is not that of the card"):
        detectors.load(card, "cpu")
    path.write_bytes(data[:-1])
    with pytest.raises(DfdError, match="bytes, the card says"):
        weights.checked(card)
    path.unlink()
    with pytest.raises(DfdError, match="missing"):
        weights.checked(card)
    brought = tmp_path / "brought.bin"
    brought.write_bytes(data[:-1])
    with pytest.raises(DfdError, match="is not that of 'tiny'"):
        weights.install(card, brought)
    assert not path.exists()
    brought.write_bytes(data)
    assert weights.install(card, brought) == path and weights.checked(card) == path


def test_architecture_and_arguments_of_a_card_are_checked(tmp_path):
    with pytest.raises(DfdError, match="unknown architecture 'resnet'"):
        detectors.load(cards.read(tinydetector.make(tmp_path / "a", architecture="resnet")), "cpu")
    wrong = {**tinydetector.ARGUMENTS, "colour": 1}
    with pytest.raises(DfdError, match="arguments do not fit"):
        detectors.load(cards.read(tinydetector.make(tmp_path / "b", arguments=wrong)), "cpu")
    deeper = {**tinydetector.ARGUMENTS, "depth": 2}
    with pytest.raises(DfdError, match="does not fit the architecture"):
        detectors.load(cards.read(tinydetector.make(tmp_path / "c", arguments=deeper)), "cpu")


@pytest.mark.parametrize(("name", "auc", "accuracy"), [("cnn3-140k", 0.968, 0.900), ("mesonet-140k", 0.969, 0.881)])
def test_real_weights_on_real_images(shared, tmp_path, name, auc, accuracy):
    """The figures stated beside these weights, measured by other code on the same 429 images."""
    from sklearn.metrics import accuracy_score, roc_auc_score

    from dfdlib import arms, recipes, scores, scoring

    table = recipes.prepare("140k", shared / "data" / "140k", split="test")
    [path] = scoring.score(table, arms.plan(table, [f"tests/cards/{name}.yaml"], ["none"], "cpu"), tmp_path)
    frame = scores.read(path).frame
    truth = frame.label == "fake"
    assert len(frame) == 429
    assert abs(roc_auc_score(truth, frame.logit) - auc) <= 0.003
    assert abs(accuracy_score(truth, frame.p_fake > 0.5) - accuracy) <= 0.003
