"""Writes the sample set: which images, in which files, by how many processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from dfdlib.errors import DfdError
from dfdlib.sample.camera import FINAL_QUALITY, encode
from dfdlib.sample.forge import KINDS, photograph

VERSION = 1  # of the generator: raise it whenever an image changes
SPLITS = ("train", "val", "test")
COUNTS = {"train": 1600, "val": 400, "test": 600}
CHUNK = 20  # images per piece of work
Item = tuple[str, str, int]  # split, kind ("real" or one of KINDS), index


def numbers(seed: int, split: str, kind: str, index: int) -> np.random.Generator:
    """The random numbers of one image."""
    entropy = [seed, SPLITS.index(split), ("real", *KINDS).index(kind), index]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def picture(seed: int, split: str, kind: str, index: int) -> bytes:
    """One image as the bytes of a 256x256 JPEG; depends on these four values alone, on every machine."""
    return encode(photograph(numbers(seed, split, kind, index), kind), FINAL_QUALITY)


def items(counts: dict[str, int]) -> Iterator[Item]:
    """The images of a set: half of each split real, the rest shared by the forgeries."""
    for split, total in counts.items():
        fakes, rest = divmod(total // 2, len(KINDS))
        shares = {"real": total - total // 2} | {kind: fakes + (place < rest) for place, kind in enumerate(KINDS)}
        for kind, share in shares.items():
            for index in range(share):
                yield split, kind, index


def place(root: Path, item: Item) -> Path:
    """The file of an image."""
    split, kind, index = item
    return root / split / ("real" if kind == "real" else f"fake/{kind}") / f"{index:05d}.jpg"


def generate(
    root: Path,
    *,
    counts: dict[str, int] | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the sample set below `root`: `<split>/real/00000.jpg`, `<split>/fake/<kind>/00000.jpg`, `sample.json`.

    A finished set with the same generator, seed and counts is left alone; an unfinished one goes on where it stopped;
    one of another generator or seed is replaced.

    Args:
        root: folder of the set, created if need be; a folder with other content is refused.
        counts: images per split (train, val, test); COUNTS if None.
        seed: of the whole set, 0 or more.
        workers: processes; all processors if None, none but this one if 1.
        progress: called with (images there, images in all) after each piece of work.

    Raises:
        DfdError: an unknown split, a negative number, a folder that holds something else, or a worker that died.
    """
    root, counts = Path(root), dict(COUNTS if counts is None else counts)
    if set(counts) - set(SPLITS) or any(count < 0 for count in counts.values()) or seed < 0:
        raise DfdError(f"sample set: counts {counts} or seed {seed} make no sense", f"Splits are {', '.join(SPLITS)}.")
    wanted = list(items(counts))
    recipe = {"generator": VERSION, "seed": seed, "counts": counts}
    _prepare(root, recipe, wanted)
    missing = [item for item in wanted if not place(root, item).is_file()]
    if missing:
        for folder in {place(root, item).parent for item in missing}:
            folder.mkdir(parents=True, exist_ok=True)
        _write_all(root, seed, missing, workers or _processors(), len(wanted), progress)
    _mark(root, recipe, finished=True)


def _prepare(root: Path, recipe: dict, wanted: list[Item]) -> None:
    """Clears away what belongs to another set, then marks this one as begun."""
    marker = root / "sample.json"
    if marker.is_file():
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
            same = all(found[key] == recipe[key] for key in ("generator", "seed"))
            if same and found["finished"] and found["counts"] == recipe["counts"]:
                return
        except (ValueError, KeyError, TypeError) as error:
            raise DfdError(f"{marker}: unreadable ({error})", "Delete that folder, or name another.") from error
        if not same:
            for split in SPLITS:
                shutil.rmtree(root / split, ignore_errors=True)
        else:
            _remove_surplus(root, wanted)
    elif root.is_dir() and any(root.iterdir()):
        raise DfdError(f"{root}: not empty and not a sample set (no sample.json)", "Name an empty or a new folder.")
    _mark(root, recipe, finished=False)


def _remove_surplus(root: Path, wanted: list[Item]) -> None:
    keep = {place(root, item) for item in wanted}
    for split in SPLITS:
        for file in (root / split).rglob("*.jpg"):
            if file not in keep:
                file.unlink()


def _mark(root: Path, recipe: dict, finished: bool) -> None:
    root.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**recipe, "finished": finished}, indent=1) + "\n"
    _put(root / "sample.json", text.encode())


def _put(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    half = path.with_name(f"{path.name}.{os.getpid()}.part")
    half.write_bytes(data)
    os.replace(half, path)


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _write_chunk(root: Path, seed: int, chunk: list[Item]) -> int:
    for item in chunk:
        _put(place(root, item), picture(seed, *item))
    return len(chunk)


def _write_all(
    root: Path, seed: int, missing: list[Item], workers: int, total: int, progress: Callable[[int, int], None] | None
) -> None:
    done = total - len(missing)
    report = progress or (lambda there, all_: None)
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    if workers == 1 or len(chunks) == 1:
        for chunk in chunks:
            done += _write_chunk(root, seed, chunk)
            report(done, total)
        return
    # spawn everywhere: forking a process that runs threads (torch, Jupyter) can hang
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
            for future in as_completed([pool.submit(_write_chunk, root, seed, chunk) for chunk in chunks]):
                done += future.result()
                report(done, total)
    except BrokenProcessPool as error:
        raise DfdError(
            f"{root}: a process died while drawing the sample set",
            "Run it again (finished images are kept), with workers=1 if it dies again.",
        ) from error
