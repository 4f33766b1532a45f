"""Recipes: from the layouts of real data sets, whole, partial and wrong, to rows."""

from __future__ import annotations

import badfiles
import pytest

from dfdlib import manifest, recipes
from dfdlib.errors import DfdError


def plant(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(badfiles.encoded(badfiles.photo(seed=hash(name) % 1000), "JPEG"))
    return root


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_complete(name):
    recipe = recipes.get(name)
    assert recipe.name == name and recipe.version >= 1
    assert all((recipe.title, recipe.licence, recipe.obtain, recipe.layout))
    assert recipe.rows.__doc__


def test_unknown_names_get_a_suggestion(tmp_path):
    with pytest.raises(DfdError, match="Did you mean 'celeba'"):
        recipes.get("celebba")
    with pytest.raises(DfdError, match="no parameter colour"):
        recipes.prepare("folder", tmp_path, parameters={"colour": 1})
    with pytest.raises(DfdError, match="Unknown split"):
        recipes.prepare("folder", tmp_path, split="dev")
    with pytest.raises(DfdError, match="no such folder"):
        recipes.prepare("folder", tmp_path / "nowhere")


def test_folder(tmp_path):
    plant(tmp_path, "0_real/a.jpg", "1_fake/gan/b.JPG", "1_fake/diffusion/c.png", "1_fake/d.jpg", "1_fake/notes.txt")
    found = recipes.prepare("folder", tmp_path).frame.set_index("path")
    assert found.label.to_dict() == {
        "0_real/a.jpg": "real",
        "1_fake/gan/b.JPG": "fake",
        "1_fake/diffusion/c.png": "fake",
        "1_fake/d.jpg": "fake",
    }
    assert found.subset["1_fake/gan/b.JPG"] == "gan" and found.subset["1_fake/d.jpg"] == "fake"
    plant(tmp_path, "real/e.jpg")
    with pytest.raises(DfdError, match="more than one folder of real"):
        recipes.prepare("folder", tmp_path)
    assert len(recipes.prepare("folder", tmp_path, parameters={"real": "0_real"})) == 4


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(DfdError, match=r"no folder of real images(.|\n)*Found: an empty folder"):
        recipes.prepare("folder", tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "fake").mkdir()
    with pytest.raises(DfdError, match="no images"):
        recipes.prepare("folder", tmp_path)


@pytest.mark.parametrize("inner", ["", "real-vs-fake/", "real_vs_fake/real-vs-fake/"])
def test_140k(tmp_path, inner):
    for split in ("train", "valid", "test"):
        plant(tmp_path, f"{inner}{split}/real/1.jpg", f"{inner}{split}/fake/2.jpg")
    found = recipes.prepare("140k", tmp_path)
    assert sorted(found.frame.split) == ["test", "test", "train", "train", "val", "val"]
    assert set(found.frame.subset) == {"ffhq", "stylegan"}
    assert len(recipes.prepare("140k", tmp_path, split="val")) == 2


def test_140k_half_unpacked(tmp_path):
    plant(tmp_path, "real_vs_fake/real-vs-fake/test/real/1.jpg")
    with pytest.raises(DfdError, match=r"Expected:(.|\n)*Found: real_vs_fake/"):
        recipes.prepare("140k", tmp_path)


def test_openforensics(tmp_path):
    plant(tmp_path, "Dataset/Test/Real/real_0.jpg", "Dataset/Test/Fake/fake_0.jpg")
    assert recipes.prepare("openforensics", tmp_path).metadata["counts"] == {"test/fake": 1, "test/real": 1}
    assert len(recipes.prepare("openforensics", tmp_path / "Dataset")) == 2
    plant(tmp_path, "Dataset/Train/Real/real_1.jpg")
    with pytest.raises(DfdError, match="'Fake' is missing"):
        recipes.prepare("openforensics", tmp_path)


def test_celeba(tmp_path):
    plant(tmp_path, *(f"img_align_celeba/{n:06d}.jpg" for n in (1, 2, 3, 189999, 190000)))
    with pytest.raises(DfdError, match=r"list_eval_partition.txt is missing"):
        recipes.prepare("celeba", tmp_path)
    found = recipes.prepare("celeba", tmp_path, parameters={"rule": "number>=190000"})
    assert found.frame.path.tolist() == ["img_align_celeba/190000.jpg"]
    lines = ["000001.jpg 0", "000002.jpg 1", "000003.jpg 2", "189999.jpg 2", "190000.jpg 2"]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines))
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 77\n")
    found = recipes.prepare("celeba", tmp_path).frame
    assert found.split.tolist() == ["train", "val", "test", "test", "test"] and found.group[0] == "77"
    (tmp_path / "list_eval_partition.txt").write_text(lines[0])
    with pytest.raises(DfdError, match="not in list_eval_partition"):
        recipes.prepare("celeba", tmp_path)


def test_limit_is_drawn_before_files_are_read(tmp_path, monkeypatch):
    plant(tmp_path, *(f"{label}/{i}.jpg" for label in ("real", "fake") for i in range(20)))
    read, header = [], manifest.images.read_header
    monkeypatch.setattr(manifest.images, "read_header", lambda path: read.append(path) or header(path))
    assert len(recipes.prepare("folder", tmp_path, limit=6)) == len(read) == 6


def test_file_names_that_are_not_unicode_get_a_row(tmp_path):
    import os

    plant(tmp_path, "real/a.jpg", "fake/b.jpg")
    try:
        with open(os.fsencode(tmp_path / "real") + b"/odd\xff.jpg", "wb") as file:
            file.write(b"x")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes only Unicode names")
    frame = recipes.prepare("folder", tmp_path).frame
    assert "real/odd\\xff.jpg" in set(frame.path) and len(frame) == 3


@pytest.mark.parametrize(
    ("name", "place", "counts"),
    [
        (
            "140k",
            "140k",
            {
                "test/fake": 282,
                "test/real": 147,
                "train/fake": 563,
                "train/real": 797,
                "val/fake": 255,
                "val/real": 156,
            },
        ),
        ("openforensics", "openforensics", {"test/fake": 10, "test/real": 10}),
        ("folder", "hardfake", {"test/fake": 700, "test/real": 589}),
    ],
)
def test_real_files(shared, name, place, counts):
    found = recipes.prepare(name, shared / "data" / place)
    assert found.metadata["counts"] == counts
    index = {line.rsplit(",", 1)[1].strip() for line in (shared / "data" / "index.csv").read_text("utf-8").splitlines()}
    assert set(found.frame.id) <= index
