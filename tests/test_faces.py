"""Crop profiles and the Haar cascade."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dfdlib import faces, images
from dfdlib.errors import DfdError
from dfdlib.faces import Face, Profile, enlarged, haar


@pytest.mark.parametrize("name", faces.names())
def test_every_profile_is_complete_and_loads(name):
    profile = faces.read(name)
    assert profile.name == name and profile.summary
    found = profile.cropper()(np.zeros((40, 50, 3), np.uint8))
    assert found.image.shape == (40, 50, 3) and found.face is None


def test_none_comes_first():
    assert faces.names()[0] == "none"


def test_wrong_profiles_are_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nversion: 1\nsummary: s\ndetector: none\nmargn: 2\n")
    with pytest.raises(DfdError, match="margn"):
        faces.read(path)
    path.write_text("name: mine\nversion: 1\nsummary: s\ndetector: nobody\n")
    with pytest.raises(DfdError, match="'nobody' cannot be loaded"):
        faces.read(path).cropper()


def test_which_face():
    small, large = Face(0, 0, 10, 10, 9.0), Face(20, 20, 50, 50, 1.0)
    image = np.arange(60 * 70 * 3, dtype=np.uint8).reshape(60, 70, 3)
    for which, expected in (("largest", large), ("most-confident", small)):
        profile = Profile(name="t", version=1, summary="t", detector="haar", which=which)
        for order in ([small, large], [large, small]):
            crop = profile._cut(image, order)
            assert crop.face == expected and crop.count == 2
            box = [int(v) for v in expected[:4]]
            np.testing.assert_array_equal(crop.image, image[box[1] : box[3], box[0] : box[2]])


def test_margins_stay_within_the_image():
    rng = np.random.default_rng(0)
    for _ in range(500):
        width, height = rng.integers(1, 400, 2)
        x0, y0 = rng.uniform(-20, width), rng.uniform(-20, height)
        face = Face(x0, y0, x0 + rng.uniform(1, 300), y0 + rng.uniform(1, 300), 1.0)
        a, b, c, d = enlarged(face, rng.uniform(0, 2), bool(rng.integers(2)), width, height)
        assert 0 <= a < c <= width and 0 <= b < d <= height
    assert enlarged(Face(40, 40, 60, 80, 1), 0.5, False, 200, 200) == (30, 20, 70, 100)
    assert enlarged(Face(40, 40, 60, 80, 1), 0.5, True, 200, 200) == (10, 20, 90, 100)


def test_haar_equals_opencv_and_scales_boxes(shared):
    paths = sorted((shared / "data" / "openforensics").rglob("*.jpg"))
    settings = faces.read("haar").arguments
    find, hits, same = haar.make(**settings), 0, 0
    for path in paths:
        image = images.decode(path.read_bytes())
        cascade = cv2.CascadeClassifier(str(haar.cascade_path()))
        grey = cv2.equalizeHist(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY))
        theirs = cascade.detectMultiScale(grey, 1.1, 5, minSize=(51, 51))
        ours = find(image)
        assert [tuple(map(int, f[:4])) for f in ours] == [(x, y, x + w, y + h) for x, y, w, h in theirs]
        hits += bool(ours)
        large = find(cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))
        same += any(_iou(Face(*(v / 4 for v in one[:4]), 0), two) > 0.5 for one in large for two in ours)
    assert hits >= 0.8 * len(paths)
    assert same >= 0.8 * hits, "boxes are in pixels of the image, not of the size that was searched"


def _iou(one: Face, two: Face) -> float:
    width = max(0, min(one.x1, two.x1) - max(one.x0, two.x0))
    height = max(0, min(one.y1, two.y1) - max(one.y0, two.y0))
    return width * height / (one.area + two.area - width * height)


def test_an_opencv_without_cascades_is_told(monkeypatch):
    monkeypatch.setattr(haar, "cascade_path", lambda: None)
    with pytest.raises(DfdError, match="ships no Haar cascade"):
        faces.read("haar").cropper()
