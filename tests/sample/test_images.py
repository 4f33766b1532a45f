"""The sample set's images: faces that a face detector finds, traces where they should be, no shortcut beside them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from dfdlib.sample import KINDS
from dfdlib.sample.camera import FINAL_QUALITY, encode
from dfdlib.sample.forge import before_and_after
from dfdlib.sample.writer import numbers


def pair(kind: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    before, after = before_and_after(numbers(0, "test", kind, index), kind)
    return before.astype(float), after.astype(float)


@pytest.mark.parametrize("equalised", [False, True])
def test_haar_finds_the_faces(pixels: dict[str, list[np.ndarray]], equalised: bool) -> None:
    import cv2

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    found = []
    for image in (image for images in pixels.values() for image in images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        grey = cv2.equalizeHist(grey) if equalised else grey
        found.append(len(cascade.detectMultiScale(grey, 1.1, 5, minSize=(51, 51))) > 0)
    assert np.mean(found) >= 0.95


def test_every_file_is_stored_alike(drawn: dict[str, list[bytes]]) -> None:
    seen = set()
    for file in (file for files in drawn.values() for file in files):
        with Image.open(io.BytesIO(file)) as image:
            tables = tuple(tuple(table) for table in image.quantization.values())
            seen.add((image.format, image.mode, image.size, tables, image.layer[0][1:3], tuple(sorted(image.info))))
    assert len(seen) == 1


def test_no_shortcut_separates_real_from_fake(
    drawn: dict[str, list[bytes]], pixels: dict[str, list[np.ndarray]]
) -> None:
    features = {
        "bytes": lambda file, image: len(file),
        "brightness": lambda file, image: image.mean(),
        "contrast": lambda file, image: image.std(),
        "warmth": lambda file, image: image[..., 0].mean() - image[..., 2].mean(),
    }
    labels = [kind != "real" for kind, files in drawn.items() for _ in files]
    for name, feature in features.items():
        values = [feature(f, i) for kind in drawn for f, i in zip(drawn[kind], pixels[kind], strict=True)]
        auc = roc_auc_score(labels, values)
        assert max(auc, 1 - auc) < 0.75, name


@pytest.mark.parametrize("kind", KINDS)
def test_the_forged_picture_is_the_file_and_differs_from_its_original(drawn: dict[str, list[bytes]], kind: str) -> None:
    before, after = before_and_after(numbers(0, "test", kind, 2), kind)
    assert encode(after, FINAL_QUALITY) == drawn[kind][2]
    assert np.abs(before.astype(int) - after).max() > 3


def test_real_pictures_are_their_own_original() -> None:
    before, after = pair("real", 2)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("kind", ["blend", "denoise", "splice"])
def test_local_forgeries_touch_the_face_alone(kind: str) -> None:
    for index in range(4):
        before, after = pair(kind, index)
        changed = (before != after).any(axis=2)
        assert not changed[:16].any() and not changed[-16:].any()
        assert not changed[:, :16].any() and not changed[:, -16:].any()
        assert changed[80:180, 80:180].mean() > 0.2


def test_upsampling_shows_at_the_highest_frequencies() -> None:
    def lines(image: np.ndarray) -> float:
        spectrum = np.abs(np.fft.fft2(image.mean(axis=2)))
        near = spectrum[120:137, :4].mean() + spectrum[:4, 120:137].mean()
        return (spectrum[128, :4].mean() + spectrum[:4, 128].mean()) / near

    ratios = [lines(after) / lines(before) for before, after in (pair("upsample", at) for at in range(8))]
    assert np.median(ratios) > 1.5


def test_denoising_takes_the_noise_out_of_the_face() -> None:
    def noise(image: np.ndarray) -> float:
        face = image[100:160, 100:160].mean(axis=2)
        second = face[1:-1, 1:-1] * 4 - face[:-2, 1:-1] - face[2:, 1:-1] - face[1:-1, :-2] - face[1:-1, 2:]
        return float(np.median(np.abs(second)))

    pairs = [pair("denoise", at) for at in range(6)]
    assert all(noise(after) < 0.7 * noise(before) for before, after in pairs)


def test_a_splice_brings_another_block_grid() -> None:
    def foreign_edges(image: np.ndarray) -> float:
        face = image[90:190, 64:192].mean(axis=2)
        steps = np.abs(np.diff(face, axis=1)).mean(axis=0)
        by_phase = np.array([steps[phase::8].mean() for phase in range(7)])  # phase 7 is the file's own grid
        return float(by_phase.max() / np.median(by_phase))

    grown = [foreign_edges(after) / foreign_edges(before) for before, after in (pair("splice", at) for at in range(12))]
    assert np.median(grown) > 1.05
