"""Scoring: one streaming pass over a manifest, all arms together, into scores files.

Worker threads read, check, decode, crop and prepare images; the calling thread runs the networks. Images travel in
blocks of BATCH manifest rows, a few blocks ahead, so that memory does not grow with the manifest. Finished blocks go
to part files; a run that was killed goes on after the last part, and ends with the same table as one that was not.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dfdlib import digests, images, runtime, scores, weights
from dfdlib.arms import BATCH, Arm
from dfdlib.errors import DfdError
from dfdlib.faces import Crop
from dfdlib.images import Unreadable
from dfdlib.manifest import Manifest
from dfdlib.progress import track

if TYPE_CHECKING:
    import numpy as np

    from dfdlib.detectors import Detector

BLOCKS_AHEAD = 4
PART_SECONDS = 5.0
PART_ROWS = 8192
COVERAGE = 0.99
EXIT_COVERAGE = 3


class Item(NamedTuple):
    """What the workers made of one image for one arm: the network's input, or why there is none."""

    prepared: np.ndarray | None
    status: str
    error: str | None
    crop: Crop | None


@dataclass
class Task:
    """An arm at work: rows below `done` are in part files, `rows` wait to be written."""

    arm: Arm
    parts: Path
    done: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)


def score(manifest: Manifest, arms: list[Arm], out: Path, *, min_coverage: float = COVERAGE) -> list[Path]:
    """Scores a manifest with all arms in one pass; arms whose scores exist cost nothing.

    Args:
        manifest: what is tested.
        arms: from `arms.plan` for this manifest.
        out: folder for the scores files.
        min_coverage: the smallest share of rows that must get a score.

    Returns:
        The scores files, in the order of `arms`.

    Raises:
        DfdError: a detector or face detector that cannot be loaded, a full disk, or (with exit code 3, after the files
            were written) a coverage below `min_coverage`.
        KeyboardInterrupt: after what was finished is safe in part files.
    """
    out.mkdir(parents=True, exist_ok=True)
    todo = [arm for arm in arms if not arm.exists(out)]
    if todo:
        _run(manifest, todo, out)
    files = [arm.file(out) for arm in arms]
    _check_coverage(files, min_coverage)
    return files


def _run(manifest: Manifest, arms: list[Arm], out: Path) -> None:
    from dfdlib import detectors

    started = datetime.now(UTC)
    # Everything that can fail for all images fails here, before the first of them is read.
    runtime.check_device(arms[0].device)
    croppers = {profile.name: profile.cropper() for profile in {arm.profile.name: arm.profile for arm in arms}.values()}
    loaded = {arm.card.name: detectors.load(arm.card, arm.device) for arm in arms}
    tasks = [_resume(arm, out) for arm in arms]
    first = min(task.done for task in tasks)
    try:
        with track(len(manifest), ", ".join(loaded), done=first) as tracker:
            for start, block in _blocks(manifest, arms, croppers, first):
                for task in tasks:
                    if start >= task.done + len(task.rows):
                        items = [item[(task.arm.card.name, task.arm.profile.name)] for item in block]
                        task.rows += _answer(task.arm, loaded[task.arm.card.name], items)
                        _flush(task, manifest.table)
                tracker.advance(len(block))
    finally:
        # Also after Ctrl-C: what the networks have answered is not asked again.
        for task in tasks:
            _flush(task, manifest.table, force=True)
    for task in tasks:
        _finish(task, manifest, out, started, loaded[task.arm.card.name])


def _resume(arm: Arm, out: Path) -> Task:
    """Finds the part files of an interrupted run of the very same arm."""
    parts = out / f".{arm.digest[:16]}.parts"
    parts.mkdir(exist_ok=True)
    done = 0
    for path in sorted(parts.glob("*.parquet")):
        first, last = (int(number) for number in path.stem.split("-"))
        if first != done:
            raise DfdError(
                f"{parts}: the part that begins with row {done} is missing.", "Remove this folder and run again."
            )
        done = last
    return Task(arm, parts, done)


def _blocks(manifest: Manifest, arms: list[Arm], croppers: dict, first: int) -> Iterator[tuple[int, list[dict]]]:
    """Yields (first row, items per row) with the workers some blocks ahead."""
    ids, paths = manifest.table.column("id").to_pylist(), manifest.table.column("path").to_pylist()
    waiting: deque[tuple[int, list[Future]]] = deque()
    pool = ThreadPoolExecutor(max_workers=_workers(), thread_name_prefix="images")
    try:
        for start in range(first, len(manifest), BATCH):
            stop = min(start + BATCH, len(manifest))
            waiting.append(
                (
                    start,
                    [
                        pool.submit(_examine, manifest.root / paths[i], ids[i], arms, croppers)
                        for i in range(start, stop)
                    ],
                )
            )
            if len(waiting) > BLOCKS_AHEAD:
                begin, futures = waiting.popleft()
                yield begin, [future.result() for future in futures]
        for begin, futures in waiting:
            yield begin, [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _workers() -> int:
    import os

    return max(2, os.cpu_count() or 1)


def _examine(path: Path, expected: str | None, arms: list[Arm], croppers: dict) -> dict[tuple[str, str], Item]:
    """Reads, checks and decodes one image once, crops it once per profile, prepares it once per kind of input."""
    from dfdlib.detectors.prepare import prepare

    try:
        data = images.read_bytes(path)
        if expected is not None and digests.of_bytes(data) != expected:
            raise Unreadable("the file changed after the manifest was made")
        image = images.decode(data)
    except Unreadable as reason:
        return {(arm.card.name, arm.profile.name): Item(None, "unreadable", str(reason), None) for arm in arms}
    crops, inputs, found = {}, {}, {}
    for arm in arms:
        crop = None
        try:
            name = arm.profile.name
            if name not in crops:
                crops[name] = croppers[name](image)
            crop, key = crops[name], (name, arm.card.input)
            if key not in inputs:
                inputs[key] = prepare(crop.image, arm.card.input)
            # The pixels of the crop are not kept: blocks wait in memory.
            item = Item(inputs[key], "ok", None, crop._replace(image=None))
        except Unreadable as reason:
            item = Item(None, "unreadable", str(reason), crop and crop._replace(image=None))
        except Exception as error:  # one image must not end a batch; its row carries the reason, coverage counts it
            item = Item(None, "error", f"{type(error).__name__}: {error}"[:300], crop and crop._replace(image=None))
        found[(arm.card.name, arm.profile.name)] = item
    return found


def _answer(arm: Arm, detector: Detector, items: list[Item]) -> list[dict[str, Any]]:
    """Runs the network on the readable images of a block and makes the rows' own columns."""
    import numpy as np
    from scipy.special import expit

    usable = [item.prepared for item in items if item.prepared is not None]
    logits = iter(detector.logits(np.stack(usable)) if usable else ())
    rows = []
    for item in items:
        row: dict[str, Any] = {
            "p_fake": None,
            "logit": None,
            "status": item.status,
            "error": item.error,
            **_face(arm, item),
        }
        if item.prepared is not None:
            logit = float(next(logits))
            if np.isnan(logit):
                row.update(status="error", error="the network answered NaN")
            else:
                row.update(logit=logit, p_fake=float(expit(logit)))
        rows.append(row)
    return rows


def _face(arm: Arm, item: Item) -> dict[str, Any]:
    face = item.crop.face if item.crop else None
    count = item.crop.count if item.crop else None
    return {
        "face_found": None if count is None else face is not None,
        "face_count": count,
        "face_x0": face and float(face.x0),
        "face_y0": face and float(face.y0),
        "face_x1": face and float(face.x1),
        "face_y1": face and float(face.y1),
        "face_score": face and float(face.score),
    }


def _flush(task: Task, manifest_rows: Any, force: bool = False) -> None:
    """Writes waiting rows to a part file, every few seconds or when asked."""
    import pyarrow as pa

    seconds = time.monotonic() - task.started
    if not task.rows or not (force or seconds > PART_SECONDS or len(task.rows) >= PART_ROWS):
        return
    stop = task.done + len(task.rows)
    kept = manifest_rows.slice(task.done, len(task.rows)).select(["id", "path", "label", "dataset", "subset", "group"])
    columns = {name: kept.column(name) for name in kept.column_names}
    for name, value in (
        ("detector", task.arm.card.name),
        ("crop", task.arm.profile.name),
        ("perturbation", task.arm.perturbation),
    ):
        columns[name] = pa.array([value] * len(task.rows), pa.string())
    own = pa.Table.from_pylist(task.rows, schema=pa.schema([f for f in scores.schema() if f.name in task.rows[0]]))
    columns |= {name: own.column(name) for name in own.column_names}
    table = pa.table([columns[name] for name in scores.schema().names], schema=scores.schema())
    from dfdlib import tables

    tables.write(task.parts / f"{task.done:012d}-{stop:012d}.parquet", table, {"seconds": seconds})
    task.done, task.rows, task.started = stop, [], time.monotonic()


def _finish(task: Task, manifest: Manifest, out: Path, started: datetime, detector: Detector) -> None:
    import json

    import pyarrow.parquet as pq

    from dfdlib import tables

    parts = sorted(task.parts.glob("*.parquet"))
    if task.done != len(manifest):
        raise DfdError(f"{task.parts}: {task.done} of {len(manifest)} rows.", "Run again: it goes on from there.")
    seconds = sum(json.loads(pq.read_schema(path).metadata[tables.KEY])["seconds"] for path in parts)
    scores.merge(task.arm.file(out), parts, _metadata(task.arm, manifest, detector, started, seconds))
    shutil.rmtree(task.parts, ignore_errors=True)


def _metadata(arm: Arm, manifest: Manifest, detector: Detector, started: datetime, seconds: float) -> dict[str, Any]:
    return {
        "arm": {"detector": arm.card.name, "crop": arm.profile.name, "perturbation": arm.perturbation},
        "arm_digest": arm.digest,
        "manifest": {key: value for key, value in manifest.metadata.items() if key not in ("kind", "schema")},
        "card": arm.card.as_dict(),
        "card_digest": arm.card.digest,
        "weights_sha256": weights.sha256(arm.card),
        "crop_profile": arm.profile.model_dump(mode="json"),
        "crop_digest": arm.profile.digest,
        "device": arm.device,
        "dtype": "float32",
        "batch": BATCH,
        "batches_halved": detector.halvings,
        "versions": runtime.versions(),
        "hardware": runtime.hardware(arm.device),
        "git_commit": runtime.git_commit(),
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(seconds, 3),
        "images_per_second": round(len(manifest) / seconds, 3) if seconds > 0 else None,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "",
    }


def _check_coverage(files: list[Path], least: float) -> None:
    for path in files:
        found = scores.read(path)
        if found.coverage < least:
            bad = found.frame[found.frame.status != "ok"].iloc[0]
            raise DfdError(
                f"{found.arm}: only {found.coverage:.2%} of {len(found):,} images have a score (at least "
                f"{least:.0%} are needed). First: {bad.path!r}: {bad.error}",
                f"Every image's reason is in {path}. Mend the files, or allow it: --min-coverage 0",
                exit_code=EXIT_COVERAGE,
            )
