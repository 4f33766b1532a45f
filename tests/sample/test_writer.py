"""The sample set on disk: the same bytes for everybody, the promised layout, runs that go on where they stopped."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfdlib.errors import DfdError
from dfdlib.sample import KINDS, SPLITS, generate
from dfdlib.sample.writer import items, picture, place

COUNTS = {"val": 13, "test": 9}
GOLDENS = {  # image 3 of the test split, seed 0
    "real": "dbc9c2b87bc1c648d4b9ca382273e77967c8fef064b36dbb1298f441d6f309ab",
    "blend": "92ad2066405e3d77c4f8e2c172a0362e4c0afb5b4fa84d787f206baa636a72d5",
    "upsample": "67c3049ae9c4680e4b456d4662d9a148dfd020229a4889ab2a2466a8abdc732a",
    "denoise": "0cd76e9b89fb223c65d8791c66071d2385f97a808d269507b2fe250b4dc58630",
    "splice": "98b1d2b394b513099fa3e8e429c4f782562c0fdd23d9fd71e673b7c076219f4a",
}


def tree(root: Path) -> dict[str, str]:
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*.jpg"))
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "set"
    generate(root, counts=COUNTS, workers=1)
    return root


@pytest.mark.parametrize("kind", ("real", *KINDS))
def test_an_image_has_the_recorded_bytes(kind: str) -> None:
    assert hashlib.sha256(picture(0, "test", kind, 3)).hexdigest() == GOLDENS[kind]


def test_two_processes_write_what_one_writes(made: Path, tmp_path: Path) -> None:
    counts = {"val": 26, "test": 18}  # more than one piece of work, so that two processes start
    generate(tmp_path / "set", counts=counts, workers=2)
    two = tree(tmp_path / "set")
    assert len(two) == 44
    assert tree(made).items() <= two.items()


def test_vector_instructions_change_no_bit() -> None:
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    present = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if not present:
        pytest.skip("this processor has no vector instructions beyond numpy's baseline")
    code = (
        "import hashlib; from dfdlib.sample.writer import picture; "
        "print(*(hashlib.sha256(picture(0, 'test', kind, 3)).hexdigest() "
        "for kind in ('real', 'blend', 'upsample', 'denoise', 'splice')))"
    )
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(present)}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert answer.stdout.split() == [GOLDENS[kind] for kind in ("real", *KINDS)]


@pytest.mark.parametrize("total", [0, 1, 2, 7, 8, 9, 600])
def test_half_of_a_split_is_real_and_the_forgeries_share_the_rest(total: int) -> None:
    kinds = [kind for _, kind, _ in items({"test": total})]
    shares = [kinds.count(kind) for kind in KINDS]
    assert len(kinds) == total
    assert kinds.count("real") - sum(shares) == total % 2
    assert max(shares) - min(shares) <= 1


def test_layout(made: Path) -> None:
    expected = {place(made, item).relative_to(made).as_posix() for item in items(COUNTS)}
    assert set(tree(made)) == expected
    assert "test/real/00004.jpg" in expected and "val/fake/blend/00001.jpg" in expected
    marker = json.loads((made / "sample.json").read_text(encoding="utf-8"))
    assert (marker["seed"], marker["counts"], marker["finished"]) == (0, COUNTS, True)
    assert not list(made.rglob("*.part"))


def test_splits_seeds_and_indices_give_different_images() -> None:
    seen = {picture(seed, split, "real", at) for seed in (0, 1) for split in SPLITS for at in (0, 1)}
    assert len(seen) == 12


def test_a_deleted_file_comes_back_and_the_others_stay(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    generate(root, counts={"test": 4}, workers=1)
    before, gone, kept = tree(root), root / "test/real/00001.jpg", root / "test/real/00000.jpg"
    gone.unlink()
    os.utime(kept, ns=(1, 1))
    steps: list[tuple[int, int]] = []
    generate(root, counts={"test": 4}, workers=1, progress=lambda there, total: steps.append((there, total)))
    assert tree(root) == before
    assert steps == [(4, 4)]
    assert kept.stat().st_mtime_ns == 1


def test_other_counts_keep_what_fits_and_drop_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "set"
    generate(root, counts={"test": 6}, workers=1)
    six = tree(root)
    generate(root, counts={"test": 3}, workers=1)
    three = tree(root)
    assert len(three) == 3 and three.items() <= six.items()


def test_another_seed_replaces_the_set(tmp_path: Path) -> None:
    root = tmp_path / "set"
    generate(root, counts={"test": 2}, workers=1)
    first = tree(root)
    generate(root, counts={"test": 2}, seed=1, workers=1)
    second = tree(root)
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "test" / "real" / "00000.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DfdError, match=r"not a sample set"):
        generate(tmp_path, counts={"test": 2}, workers=1)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("arguments", [{"counts": {"tset": 2}}, {"counts": {"test": -1}}, {"seed": -1}])
def test_senseless_requests_are_refused(tmp_path: Path, arguments: dict) -> None:
    with pytest.raises(DfdError, match="make no sense"):
        generate(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()
