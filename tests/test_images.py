"""Images are read to upright RGB, or to a reason why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import badfiles
import numpy as np
import pytest
from PIL import Image

from dfdlib import images
from dfdlib.images import Unreadable, decode, read_bytes, read_header


@pytest.mark.parametrize("name", badfiles.GOOD)
def test_good_images_become_uint8_rgb(name):
    found = decode(badfiles.GOOD[name]())
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated.jpg", "truncated"),
        ("text.jpg", "not an image"),
        ("bomb.png", "limit of 100 megapixels"),
        ("script.svg.png", "not an image"),
        ("half header.png", "not an image|cannot be decoded|truncated"),
    ],
)
def test_bad_images_are_told_why(name, reason):
    with pytest.raises(Unreadable, match=reason):
        decode(badfiles.BAD[name]())


def test_every_allowed_format_is_one_that_pillow_knows():
    Image.init()
    assert set(images.FORMATS) <= set(Image.OPEN)


def test_orientation_is_applied():
    upright = decode(badfiles.GOOD["plain.jpg"]())
    turned = decode(badfiles.GOOD["rotated.jpg"]())  # the same pixels, tagged "turn by 90 degrees clockwise"
    assert np.array_equal(turned, np.rot90(upright, k=-1))


def test_sixteen_bits_keep_their_upper_eight():
    values = np.random.default_rng(0).integers(0, 65536, (40, 30), dtype=np.uint16)
    found = decode(badfiles.encoded(Image.fromarray(values), "PNG"))
    assert np.array_equal(found[..., 0], values // 256) and np.array_equal(found[..., 0], found[..., 2])


def test_animation_gives_its_first_frame_and_alpha_is_dropped():
    data = badfiles.GOOD["animated.gif"]()
    first = Image.open(__import__("io").BytesIO(data)).convert("RGB")
    assert np.array_equal(decode(data), np.asarray(first))
    rgba = badfiles.photo().convert("RGBA")
    rgba.putalpha(0)
    assert np.array_equal(decode(badfiles.encoded(rgba, "PNG")), np.asarray(badfiles.photo()))


def test_broken_exif_does_not_cost_the_image():
    data = badfiles.encoded(badfiles.photo(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff")
    assert decode(data).shape == (80, 96, 3)


@pytest.mark.parametrize("seed", range(200))
def test_damaged_bytes_never_raise_anything_else(seed):
    rng = np.random.default_rng(seed)
    name = ["plain.jpg", "palette alpha.png", "animated.gif", "sixteen.png"][seed % 4]
    data = bytearray(badfiles.GOOD[name]())
    for place in rng.integers(0, len(data), 12):
        data[place] = rng.integers(0, 256)
    try:
        found = decode(bytes(data[: rng.integers(1, len(data) + 1)]))
    except Unreadable as reason:
        assert str(reason) and "\n" not in str(reason)
    else:
        assert found.dtype == np.uint8 and found.shape[2] == 3


def test_headers_of_bad_files_are_null_but_hashed(tmp_path):
    _, bad = badfiles.fill(tmp_path)
    text = read_header(tmp_path / "text.jpg")
    assert text.id and text.bytes == 17 and text.width is None and text.format is None
    assert read_header(tmp_path / "missing.jpg") == images.Header(None, None, None, None, None)
    plain = read_header(tmp_path / "plain.jpg")
    assert (plain.width, plain.height, plain.format) == (96, 80, "JPEG")
    assert bad


def test_reasons_for_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(Unreadable, match="empty file"):
        read_bytes(tmp_path / "empty.jpg")
    with pytest.raises(Unreadable, match="cannot be opened"):
        read_bytes(tmp_path / "missing.jpg")
    with pytest.raises(Unreadable, match="cannot be opened"):
        read_bytes(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="permissions of this kind are POSIX only")
def test_no_permission_is_a_reason(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(badfiles.GOOD["plain.jpg"]())
    path.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(Unreadable, match="Permission denied"):
            read_bytes(path)
        return
    # root may read everything: ask as somebody else
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != Path(folder.root) and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    code = (
        "import os, pathlib, sys; from dfdlib import images; os.setuid(65534)\n"
        "try: images.read_bytes(pathlib.Path(sys.argv[1]))\n"
        "except images.Unreadable as reason: print(reason)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "Permission denied" in done.stdout, done.stderr
