"""Meso4 and MesoInception4, against Keras with the published layers and the published weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dfdlib import runtime
from dfdlib.detectors import keras_h5, meso
from dfdlib.detectors.keras_model import _tensorflow_hidden
from dfdlib.errors import DfdError

FILES = {False: "meso4-df.weights.h5", True: "mesoinception-df.weights.h5"}


def keras_model(inception: bool):
    """The layers of the paper and of the authors' code."""
    layers = runtime.keras().layers

    def convolution(x, width, kernel, dilation=1):
        return layers.Conv2D(width, kernel, padding="same", activation="relu", dilation_rate=dilation)(x)

    def module(x, a, b, c, d):
        branches = [convolution(x, a, 1)]
        for dilation, width in ((1, b), (2, c), (3, d)):
            branches.append(convolution(convolution(x, width, 1), width, 3, dilation))
        return layers.Concatenate()(branches)

    first = x = layers.Input((256, 256, 3))
    stages = [
        (lambda x: module(x, 1, 4, 4, 2)) if inception else (lambda x: convolution(x, 8, 3)),
        (lambda x: module(x, 2, 4, 4, 2)) if inception else (lambda x: convolution(x, 8, 5)),
        lambda x: convolution(x, 16, 5),
        lambda x: convolution(x, 16, 5),
    ]
    for stage, pool in zip(stages, (2, 2, 2, 4), strict=True):
        x = layers.MaxPooling2D(pool, padding="same")(layers.BatchNormalization()(stage(x)))
    x = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(16)(layers.Dropout(0.5)(layers.Flatten()(x))))
    return runtime.keras().Model(first, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(x)))


@pytest.fixture(scope="module")
def images(shared):
    """Twelve real photographs and fakes, 256 x 256."""
    paths = sorted((shared / "data/openforensics/Dataset/Test").glob("*/*.jpg"))[::2]
    paths += sorted((shared / "data/diffusionto/fake").glob("*.png"))[:2]
    assert len(paths) == 12
    pixels = [np.asarray(Image.open(path).convert("RGB").resize((256, 256)), np.float32) / 255 for path in paths]
    return np.stack(pixels)


@pytest.mark.parametrize("inception", [False, True])
def test_published_weights_answer_as_in_keras(shared, images, inception, tmp_path):
    path = shared / "weights" / "detectors" / FILES[inception]
    theirs = keras_model(inception)
    shutil.copyfile(path, tmp_path / "keras2.h5")  # Keras 3 takes ".weights.h5" for its own format
    with _tensorflow_hidden():
        theirs.load_weights(tmp_path / "keras2.h5")
    ours = meso.load(path, inception=inception)
    with torch.inference_mode():
        expected = theirs(images, training=False).cpu().numpy()
        answer = ours(torch.from_numpy(images).permute(0, 3, 1, 2)).sigmoid().numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


def test_parameter_counts():
    """Meso4's is stated in the paper (section 4.1)."""
    trainable = [sum(p.numel() for p in meso.Meso(inception=inception).parameters()) for inception in (False, True)]
    assert trainable == [27_977, keras_model(True).count_params() - 2 * (11 + 12 + 16 + 16)]


def write_keras2(path, layers):
    """A Keras 2 weights file by hand: {layer: {array: values}}, in this order."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in arrays]
            for name, values in arrays.items():
                group[f"{layer}/{name}:0"] = values
    return path


def stored(path):
    """A weights file as {layer: {array: values}}."""
    layers = {}
    for name, values in keras_h5.read_arrays(path).items():
        layer, array = name.split("/")
        layers.setdefault(layer, {})[array] = values
    return layers


def test_layers_are_taken_by_number_not_by_place(shared, images, tmp_path):
    """Keras writes branches in the order of the graph, and counts on from earlier models."""
    path = shared / "weights" / "detectors" / FILES[False]
    layers = stored(path)
    # conv2d_5 .. conv2d_8 become conv2d_8 .. conv2d_11: as text, 10 sorts before 8.
    moved = {}
    for name, arrays in reversed(layers.items()):
        kind, _, number = name.rpartition("_")
        moved[f"{kind}_{int(number) + 3}"] = arrays
    again = meso.load(write_keras2(tmp_path / "moved.h5", moved))
    expected = meso.load(path).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("dense_4"), "holds 1 layers 'dense'"),
        (lambda w: w.update(conv2d_9=w["conv2d_8"]), "holds 5 layers 'conv2d'"),
        (lambda w: w["dense_3"].pop("bias"), "1 missing"),
        (lambda w: w.update(prelu={"alpha": np.ones(3)}), "1 not of this network, first prelu/alpha"),
        (lambda w: w["dense_3"].update(kernel=np.zeros((1024, 8))), "of another shape"),
    ],
)
def test_files_that_do_not_fit_are_refused(shared, tmp_path, change, reason):
    layers = stored(shared / "weights" / "detectors" / FILES[False])
    change(layers)
    with pytest.raises(DfdError, match=reason):
        meso.load(write_keras2(tmp_path / "changed.h5", layers))


def test_other_files_are_refused(shared, tmp_path):
    with pytest.raises(DfdError, match="holds 4 layers 'conv2d', the network has 16"):
        meso.load(shared / "weights" / "detectors" / FILES[False], inception=True)
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(DfdError, match="cannot be read as a Keras 2 weights file"):
        meso.load(tmp_path / "text.h5")
    import h5py

    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(DfdError, match="layer_names"):
        meso.load(tmp_path / "empty.h5")
