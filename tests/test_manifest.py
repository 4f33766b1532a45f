"""Manifests: contract 1."""

from __future__ import annotations

import random
import shutil

import badfiles
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfdlib import digests, manifest
from dfdlib.errors import DfdError
from dfdlib.manifest import Row


@pytest.fixture
def folder(tmp_path):
    for label in ("real", "fake"):
        badfiles.fill(tmp_path / "data" / label)
    return tmp_path / "data"


def rows_of(folder, seed=0):
    rows = [Row(f"{label}/{name}", label, label) for label in ("real", "fake") for name in badfiles.GOOD]
    random.Random(seed).shuffle(rows)
    return rows


def test_round_trip_and_columns(folder, tmp_path):
    made = manifest.build(rows_of(folder), folder, "mine", {"recipe": "folder"})
    manifest.write(made, tmp_path / "m.parquet")
    found = manifest.read(tmp_path / "m.parquet")
    assert found.table.equals(made.table) and found.metadata == made.metadata
    assert found.table.column_names == manifest.schema().names
    assert found.frame.path.tolist() == sorted(found.frame.path)
    row = found.frame.set_index("path").loc["real/plain.jpg"]
    assert row.id == digests.of_file(folder / "real" / "plain.jpg")
    assert (row.width, row.height, row.format) == (96, 80, "JPEG")
    assert row.bytes == (folder / "real" / "plain.jpg").stat().st_size
    assert "mine" in found._repr_html_()


def test_digest_ignores_order_and_place_but_not_content(folder, tmp_path):
    first = manifest.build(rows_of(folder, 0), folder, "mine")
    moved = shutil.copytree(folder, tmp_path / "elsewhere", symlinks=True)
    again = manifest.build(rows_of(folder, 1), moved, "mine")
    assert first.digest == again.digest and first.root != again.root
    (moved / "real" / "plain.jpg").write_bytes(b"other")
    assert manifest.build(rows_of(folder, 2), moved, "mine").digest != first.digest
    relabelled = [row._replace(label="fake") if row.path == "real/plain.jpg" else row for row in rows_of(folder)]
    assert manifest.build(relabelled, folder, "mine").digest != first.digest


def test_unreadable_files_keep_their_rows(folder):
    names = [*badfiles.BAD, "broken link.jpg"]
    frame = manifest.build([Row(f"real/{n}", "real", "r") for n in names], folder, "mine").frame.set_index("path")
    assert len(frame) == len(names)
    assert frame.loc["real/empty.jpg"].bytes == 0
    assert frame.loc["real/broken link.jpg"].isna()[["id", "bytes", "format"]].all()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no images"),
        ([Row("a.jpg", "maybe", "s")], "label 'maybe'"),
        ([Row("a.jpg", "real", "s", "dev")], "split 'dev'"),
        ([Row("a.jpg", "real", "s"), Row("a.jpg", "fake", "s")], "twice"),
        ([Row("../a.jpg", "real", "s")], "leaves the root"),
        ([Row("/etc/a.jpg", "real", "s")], "leaves the root"),
    ],
)
def test_wrong_rows_are_refused(rows, reason, tmp_path):
    with pytest.raises(DfdError, match=reason):
        manifest.build(rows, tmp_path, "mine")


def test_wrong_files_are_refused(folder, tmp_path):
    with pytest.raises(DfdError, match="no such manifest"):
        manifest.read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DfdError, match="cannot be read as Parquet"):
        manifest.read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DfdError, match="another program"):
        manifest.read(tmp_path / "other.parquet")
    made = manifest.build(rows_of(folder), folder, "mine")
    changed = made.table.set_column(2, "label", pa.array(["fake"] * len(made)))
    manifest.write(manifest.Manifest(changed, made.metadata), tmp_path / "edited.parquet")
    with pytest.raises(DfdError, match="do not match the digest"):
        manifest.read(tmp_path / "edited.parquet")
    manifest.write(manifest.Manifest(made.table.drop(["label"]), made.metadata), tmp_path / "short.parquet")
    with pytest.raises(DfdError, match="'label' is missing"):
        manifest.read(tmp_path / "short.parquet")
    old = {**made.metadata, "schema": 0}
    manifest.write(manifest.Manifest(made.table, old), tmp_path / "old.parquet")
    with pytest.raises(DfdError, match="schema version 0"):
        manifest.read(tmp_path / "old.parquet")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 99, 119, 120, 500])
def test_sample_is_stratified_exact_and_nested(limit):
    rows = [
        Row(f"{s}/{i}.jpg", "real" if s == "a" else "fake", s)
        for s, n in (("a", 60), ("b", 40), ("c", 20))
        for i in range(n)
    ]
    drawn = manifest.sample(rows, limit, seed=3)
    shuffled = random.Random(limit).sample(rows, len(rows))
    assert sorted(drawn) == sorted(manifest.sample(shuffled, limit, seed=3))
    assert len(drawn) == len(set(drawn)) == min(limit, 120)
    sizes = {s: sum(row.subset == s for row in drawn) for s in "abc"}
    if limit >= 3:
        for s, n in (("a", 60), ("b", 40), ("c", 20)):
            assert abs(sizes[s] - min(limit, 120) * n / 120) <= 1, sizes
    if 10 < limit < 100:
        assert set(drawn) != set(manifest.sample(rows, limit, seed=4))


def test_sample_needs_a_limit_of_at_least_one():
    with pytest.raises(DfdError):
        manifest.sample([Row("a.jpg", "real", "a"), Row("b.jpg", "real", "a")], 0)
