"""Arms made by a formula: three detectors of different skill, with and without a crop, some images unreadable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dfdlib import scores
from dfdlib.scores import Scores

SKILL = {"alpha": 2.6, "beta": 1.7, "gamma": 0.3}
GAIN = {"none": 0.0, "haar": 0.5, "retinaface": 0.9}


def rows(n: int, rng: np.random.Generator, dataset: str = "made-up") -> pd.DataFrame:
    """The images of a manifest: half of them fake, of three kinds, sorted by path."""
    fake = np.arange(n) % 2 == 1
    kind = np.where(fake, np.array(["stylegan", "diffusion", "faceswap"])[rng.integers(0, 3, n)], "camera")
    paths = [f"{k}/{i:06d}.jpg" for i, k in enumerate(kind)]
    frame = pd.DataFrame({
        "id": [hashlib.sha256(path.encode()).hexdigest() for path in paths], "path": paths,
        "label": np.where(fake, "fake", "real"), "dataset": dataset, "subset": kind, "group": None})
    return frame.sort_values("path", ignore_index=True)


def metadata(frame: pd.DataFrame, detector: str, crop: str, perturbation: str, **manifest: Any) -> dict[str, Any]:
    """What scoring records."""
    digest = hashlib.sha256("".join(frame["id"]).encode()).hexdigest()
    return {
        "arm": {"detector": detector, "crop": crop, "perturbation": perturbation},
        "arm_digest": hashlib.sha256(f"{digest}{detector}{crop}{perturbation}".encode()).hexdigest(),
        "manifest": {"digest": digest, "recipe": "made_up", "recipe_version": 1, "root": "/nowhere", "licence": "none",
                     "notice": "", "parameters": {"seed": 0}, "counts": {"test/real": len(frame) // 2}, **manifest},
        "card": {"name": detector, "family": "cnn", "summary": f"{detector}, a detector that does not exist",
                 "architecture": "formula", "weights": {"file": f"{detector}.safetensors", "licence": "Apache-2.0"},
                 "input": {"size": [224, 224], "crop": "center", "range": "unit", "mean": [0, 0, 0], "std": [1, 1, 1],
                           "resize": {"mode": "short-side", "size": 252, "interpolation": "bilinear",
                                      "library": "pil"}},
                 "output": {"kind": "logit", "positive": "real"}, "trained_on": "nothing",
                 "claims": [{"dataset": "made-up", "metric": "accuracy", "value": 0.99, "source": "hearsay"}]},
        "card_digest": hashlib.sha256(detector.encode()).hexdigest(), "weights_sha256": "0" * 64,
        "crop_profile": {"name": crop, "detector": crop, "which": "largest", "margin": 0.3, "square": True,
                         "fallback": "full-frame"},
        "crop_digest": hashlib.sha256(crop.encode()).hexdigest(), "device": "cpu", "dtype": "float32",
        "versions": {"python": "3.12.1", "torch": "2.12.1"}, "hardware": {"cpu": "a processor", "cores": 2},
        "git_commit": "c0ffee", "started": "2026-01-02T03:04:05+00:00", "wall_seconds": 12.5,
        "images_per_second": len(frame) / 12.5, "command": "dfd score made-up.parquet"}


def arm(frame: pd.DataFrame, detector: str, crop: str, rng: np.random.Generator, *, perturbation: str = "none",
        base: np.ndarray | None = None, unreadable: float = 0.01, **manifest: Any) -> Scores:
    """One arm's scores; `base` is what all arms have in common, so that they are correlated as real ones are."""
    n = len(frame)
    shared = np.zeros(n) if base is None else base
    skill = SKILL.get(detector, 1.0) + GAIN.get(crop, 0.0) - (0.8 if perturbation != "none" else 0.0)
    logit = 1.5 * ((frame["label"] == "fake").to_numpy() * skill - skill / 2 + 0.8 * shared + 0.6 * rng.normal(size=n))
    bad = np.random.default_rng(99).random(n) < unreadable
    found = rng.random(n) < 0.9
    found, seen = found & ~bad, crop != "none"
    boxes = {name: np.where(found & seen, value, np.nan) for name, value in
             (("face_x0", 60.0), ("face_y0", 50.0), ("face_x1", 200.0), ("face_y1", 210.0), ("face_score", 0.97))}
    own = pd.DataFrame({
        "detector": detector, "crop": crop, "perturbation": perturbation,
        "p_fake": np.where(bad, np.nan, 1 / (1 + np.exp(-logit))), "logit": np.where(bad, np.nan, logit),
        "status": np.where(bad, "unreadable", "ok"), "error": np.where(bad, "cannot be decoded: truncated", None),
        "face_found": pd.array(found if seen else [None] * n, dtype="boolean"),
        "face_count": pd.array(found.astype(int) if seen else [None] * n, dtype="Int64"), **boxes})
    table = pa.Table.from_pandas(pd.concat([frame, own], axis=1), schema=scores.schema(), preserve_index=False)
    return Scores(table, metadata(frame, detector, crop, perturbation, **manifest))


def edited(one: Scores, change: Callable[[pd.DataFrame], None], **meta: Any) -> Scores:
    """A copy of an arm after `change(frame)`, which edits in place; `meta` replaces parts of its metadata."""
    frame = one.table.to_pandas()
    change(frame)
    return Scores(pa.Table.from_pandas(frame, schema=scores.schema(), preserve_index=False), {**one.metadata, **meta})


def make(n: int = 400, detectors: tuple[str, ...] = ("alpha", "beta", "gamma"),
         crops: tuple[str, ...] = ("none", "haar"), seed: int = 0, frame: pd.DataFrame | None = None,
         **options: Any) -> list[Scores]:
    """Arms of detectors x crops on one manifest."""
    rng = np.random.default_rng(seed)
    frame = rows(n, rng) if frame is None else frame
    base = rng.normal(size=len(frame))
    return [arm(frame, detector, crop, rng, base=base, **options) for detector in detectors for crop in crops]


@pytest.fixture
def make_arms():
    """`make`, as a fixture."""
    return make


@pytest.fixture
def edit():
    """`edited`, as a fixture."""
    return edited


@pytest.fixture(scope="session")
def six() -> list[Scores]:
    """Three detectors with and without a crop, 400 images."""
    return make()
