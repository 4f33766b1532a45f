"""The published Keras networks: their sizes as printed, and EfficientNetV2B0 filled by name."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from dfdlib import runtime
from dfdlib.detectors import keras_efficientnetv2b0
from dfdlib.errors import DfdError


def cnn(padding: list[str], dropout: bool):
    """Convolutions of 16, 32 and 16, each pooled; Dense 256, Dense 1."""
    keras = runtime.keras()
    layers = [keras.Input((256, 256, 3))]
    for width, pad in zip((16, 32, 16), padding, strict=True):
        layers += [keras.layers.Conv2D(width, 3, padding=pad, activation="relu"), keras.layers.MaxPooling2D()]
        layers += [keras.layers.Dropout(0.5)] if dropout and len(layers) > 3 else []
    layers += [keras.layers.Flatten(), keras.layers.Dense(256, activation="relu")]
    return keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])


def test_published_totals_are_those_of_the_optimizer():
    """The totals in the README are twice the weights and two more: Adam's moments, its step and its rate."""
    for padding, dropout, printed in ((["valid"] * 3, False, 7_393_252), (["same", "same", "valid"], True, 7_892_964)):
        assert 2 * cnn(padding, dropout).count_params() + 2 == printed


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory):
    """A network with random weights, statistics too, and its file as Keras's own writer for Keras 2 makes it."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    model = keras_efficientnetv2b0.build(64)
    random = np.random.default_rng(0)
    for variable in model.weights:  # kernels are random already
        if "kernel" not in variable.path:
            low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.05
            variable.assign(random.uniform(low, low + 0.1, tuple(variable.shape)))
    path = tmp_path_factory.mktemp("keras") / "efficientnet.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
        base = file["efficientnetv2-b0"]
        names = [name.decode() if isinstance(name, bytes) else name for name in base.attrs["weight_names"]]
        renamed = [re.sub(r"(dwconv2/)kernel", r"\1depthwise_kernel", name) for name in names]  # as Keras 2 called it
        assert sum(a != b for a, b in zip(names, renamed, strict=True)) > 10
        for old, new in zip(names, renamed, strict=True):
            base.move(old, new)
        base.attrs["weight_names"] = [name.encode() for name in renamed]
    return model, path


def test_efficientnet_is_as_large_as_published_and_filled_whole(efficientnet):
    model, path = efficientnet
    assert model.count_params() == 5_920_593
    ours = keras_efficientnetv2b0.load(path, size=64)
    for own, theirs in zip(ours.model.weights, model.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), theirs.numpy())
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 3, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        expected = model(images.permute(0, 2, 3, 1), training=False)
        assert 0 < expected.min() < expected.max() < 1
        torch.testing.assert_close(ours(images), expected, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_efficientnet_loads_whole_or_not_at_all(efficientnet, change):
    model, path = efficientnet
    arrays = keras_efficientnetv2b0.read_arrays(path)
    name = "block2a_expand_bn/gamma"
    if change == "missing":
        arrays.pop(name)
    elif change == "surplus":
        arrays["extra/gamma"] = arrays[name]
    else:
        arrays[name] = arrays[name][:-1]
    with pytest.raises(DfdError, match="does not fit the architecture"):
        keras_efficientnetv2b0._fill(model, arrays, path)
