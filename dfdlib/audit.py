"""What is wrong with a manifest's images, before anything is scored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dfdlib import images
from dfdlib.manifest import Manifest
from dfdlib.progress import track


@dataclass(frozen=True)
class Finding:
    """One finding: `kind`, how many images it concerns, what it means, and a few examples (paths)."""

    kind: str
    images: int
    meaning: str
    examples: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "examples": list(self.examples)}


def audit(manifest: Manifest) -> list[Finding]:
    """Reads every file again and compares it with the manifest; finds duplicates and imbalance.

    Returns:
        Findings, the gravest first; empty when there is nothing to say.
    """
    frame = manifest.frame
    findings = _files(manifest)
    known = frame[frame.id.notna()]
    labels = known.groupby("id").label.nunique()
    findings.append(
        _finding(
            "same image, both labels",
            known[known.id.isin(labels[labels > 1].index)].path,
            "The same bytes count as real and as fake: one of the labels is wrong.",
        )
    )
    splits = known.groupby("id").split.nunique()
    findings.append(
        _finding(
            "same image, several splits",
            known[known.id.isin(splits[splits > 1].index)].path,
            "The same bytes are in more than one split: the test is not independent.",
        )
    )
    findings.append(
        _finding(
            "duplicates",
            known[known.id.duplicated(keep=False)].path,
            "The same bytes under several names: they count more than once.",
        )
    )
    for split, part in frame.groupby("split"):
        shares = part.label.value_counts(normalize=True)
        if len(shares) < 2 or shares.min() < 0.1:
            rare = "one class only" if len(shares) < 2 else f"{shares.idxmin()} is {shares.min():.1%}"
            findings.append(Finding("imbalance", len(part), f"Split {split}: {rare}; accuracy says little here.", ()))
    return [finding for finding in findings if finding.images]


def _files(manifest: Manifest) -> list[Finding]:
    unreadable, changed = [], []
    frame = manifest.frame
    with track(len(frame), "auditing") as tracker:
        for expected, path in zip(frame.id, frame.path, strict=True):
            found = images.read_header(manifest.root / path)
            if found.id is None or found.format is None:
                unreadable.append(path)
            elif found.id != expected:
                changed.append(path)
            tracker.advance()
    return [
        _finding("changed", changed, "The bytes are not those that the manifest was made of: prepare it again."),
        _finding("unreadable", unreadable, "No image header could be read: they will get a row without a score."),
    ]


def _finding(kind: str, paths: Any, meaning: str) -> Finding:
    paths = sorted(paths)
    return Finding(kind, len(paths), meaning, tuple(paths[:5]))
