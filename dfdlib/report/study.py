"""What a report says, as values: data sets, arms, rows of figures with their intervals. Nothing here draws or writes.

Arms are compared only on the same manifest, and only on the images that both of them scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dfdlib import metrics, statistics
from dfdlib.errors import DfdError
from dfdlib.metrics import THRESHOLD, UndefinedMetric
from dfdlib.statistics import Difference, Interval

if TYPE_CHECKING:
    import pandas as pd

    from dfdlib.scores import Scores

SMALL = 30  # a cell that rests on fewer images is marked
NONE = "none"
Row = dict[str, Any]


@dataclass(frozen=True)
class Undefined:
    """A figure that the data does not define, and why."""

    why: str

    def __str__(self) -> str:
        return f"undefined: {self.why}"


@dataclass(frozen=True)
class Arm:
    """One arm's answers, row by row as in its data set.

    Attributes:
        scores: where they come from.
        ok: bool, the image got a score.
        p_fake, logit: float64, NaN where not ok.
        face: bool, a face was found; None for a crop that looks for none.
    """

    scores: Scores
    ok: np.ndarray
    p_fake: np.ndarray
    logit: np.ndarray
    face: np.ndarray | None

    @property
    def name(self) -> str:
        """The arm in words."""
        return self.scores.arm

    @property
    def key(self) -> tuple[str, str, str]:
        """Detector, crop, perturbation."""
        return self.scores.detector, self.scores.crop, self.scores.perturbation


@dataclass(frozen=True)
class DataSet:
    """The arms that scored one manifest, and what is known of its images.

    Attributes:
        digest: the manifest's.
        name: of the data set, for people.
        manifest: the manifest's metadata.
        rows: id, path, label, dataset, subset, group of each image.
        fake: bool, shape (n,).
        clusters: whole numbers, shape (n,): images of one group share one; None where no two images do.
        arms: sorted by detector, crop (none first), perturbation.
    """

    digest: str
    name: str
    manifest: dict[str, Any]
    rows: pd.DataFrame
    fake: np.ndarray
    clusters: np.ndarray | None
    arms: tuple[Arm, ...]

    def __len__(self) -> int:
        return len(self.fake)

    @property
    def plain(self) -> tuple[Arm, ...]:
        """The arms on undisturbed images; all arms where there are none."""
        return tuple(arm for arm in self.arms if arm.scores.perturbation == NONE) or self.arms

    def among(self, rows: np.ndarray) -> np.ndarray | None:
        """The clusters of some rows."""
        return None if self.clusters is None else self.clusters[rows]


def data_sets(arms: Iterable[Scores]) -> list[DataSet]:
    """Sorts scores into data sets, one per manifest, in the order in which they come.

    Raises:
        DfdError: no scores; the same arm twice on a manifest; scores of one manifest with other rows; an ok row without
            a score.
    """
    by_manifest: dict[str, list[Scores]] = {}
    for scores in arms:
        by_manifest.setdefault(_manifest_digest(scores), []).append(scores)
    if not by_manifest:
        raise DfdError("There are no scores to report on.", "Score a manifest first: dfd score")
    return [_data_set(digest, members) for digest, members in by_manifest.items()]


def _manifest_digest(scores: Scores) -> str:
    digest = (scores.metadata.get("manifest") or {}).get("digest")
    if digest:
        return digest
    import pandas as pd

    # Scores that do not name their manifest may be compared only with scores of the very same rows.
    hashed = pd.util.hash_pandas_object(scores.frame[["id", "path", "label"]].astype(str), index=False)
    return f"rows-{int(hashed.sum()):016x}-{len(hashed)}"


def _data_set(digest: str, members: list[Scores]) -> DataSet:
    crops = {scores.crop: (scores.crop != NONE, scores.crop) for scores in members}
    members = sorted(members, key=lambda s: (s.detector, crops[s.crop], s.perturbation != NONE, s.perturbation))
    for one, two in pairwise(members):
        if one.arm == two.arm:
            raise DfdError(f"{one.arm}: two sets of scores on the same manifest ({one.digest[:12]} and "
                           f"{two.digest[:12]}).", "Report on one of them: move the other to another folder.")
    rows = members[0].frame[["id", "path", "label", "dataset", "subset", "group"]]
    for scores in members[1:]:
        if not rows[["id", "path", "label"]].equals(scores.frame[["id", "path", "label"]]):
            raise DfdError(f"{scores.arm}: not the same rows as {members[0].arm}, though both name the manifest "
                           f"{digest[:12]}.", "Score this arm again.")
    names = sorted(rows["dataset"].dropna().unique())
    return DataSet(digest, " + ".join(names) or "images", members[0].metadata.get("manifest") or {}, rows,
                   (rows["label"] == "fake").to_numpy(), _clusters(rows), tuple(map(_arm, members)))


def _arm(scores: Scores) -> Arm:
    frame = scores.frame
    ok = (frame["status"] == "ok").to_numpy()
    p_fake, logit = (frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("p_fake", "logit"))
    missing = int(np.sum(ok & (np.isnan(p_fake) | np.isnan(logit))))
    if missing:
        raise DfdError(f"{scores.arm}: {missing} rows have status ok but no score.", "Score this arm again.")
    looks = bool(frame["face_found"].notna().any())
    face = frame["face_found"].fillna(False).to_numpy(dtype=bool) if looks else None
    return Arm(scores, ok, p_fake, logit, face)


def _clusters(rows: pd.DataFrame) -> np.ndarray | None:
    import pandas as pd

    grouped = rows["group"].notna()
    if not grouped.any():
        return None
    names = rows["dataset"].fillna("").str.cat(rows["group"].fillna(""), sep="\0").where(grouped)
    codes, found = pd.factorize(names)
    codes[codes < 0] = len(found) + np.arange(int((codes < 0).sum()))  # an image without a group stands for itself
    return None if len(np.unique(codes)) == len(codes) else codes


def tried(figure: Callable[..., Interval], *arguments: Any) -> Interval | Undefined:
    """Calls a function; an undefined metric becomes a cell that says why."""
    try:
        return figure(*arguments)
    except UndefinedMetric as problem:
        return Undefined(problem.why)


# Rows of the report's tables: dictionaries of text, numbers, intervals and `Undefined`.

def leaderboard(data: DataSet) -> list[Row]:
    """One row per arm with every metric, the best AUC first."""
    rows = [_leaderboard_row(data, arm) for arm in data.arms]
    return sorted(rows, key=lambda row: (-row["auc"].value if isinstance(row["auc"], Interval) else 2.0))


def _leaderboard_row(data: DataSet, arm: Arm) -> Row:
    ok = arm.ok
    fake, p_fake, clusters = data.fake[ok], arm.p_fake[ok], data.among(ok)
    counts = metrics.confusion(fake, p_fake)
    called = p_fake > THRESHOLD

    def share(metric: str, hits: np.ndarray, among: np.ndarray | slice = slice(None)) -> Interval | Undefined:
        def figure() -> Interval:
            getattr(counts, metric)  # raises with the reason where it is undefined
            return statistics.proportion(hits[among], None if clusters is None else clusters[among])
        return tried(figure)

    return {
        "arm": arm.name, "detector": arm.scores.detector, "crop": arm.scores.crop,
        "perturbation": arm.scores.perturbation, "auc": tried(statistics.auc, fake, arm.logit[ok], clusters),
        "accuracy": share("accuracy", called == fake), "precision": share("precision", fake, called),
        "recall": share("recall", called, fake), "f1": tried(statistics.f1, fake, p_fake, clusters),
        "tn": counts.tn, "fp": counts.fp, "fn": counts.fn, "tp": counts.tp, "n": len(data), "scored": int(ok.sum()),
        "coverage": tried(statistics.proportion, ok, data.clusters),
        "faces": None if arm.face is None else tried(statistics.proportion, arm.face[ok], clusters),
        "images_per_second": arm.scores.metadata.get("images_per_second")}


def pairs(data: DataSet) -> list[Row]:
    """The AUCs of every two arms on undisturbed images, paired; p values Holm-corrected over all of them."""
    rows = []
    for one, two in combinations(data.plain, 2):
        both = one.ok & two.ok
        rows.append({"a": one.name, "b": two.name, "n": int(both.sum()),
                     "auc_difference": tried(statistics.auc_difference, data.fake[both], one.logit[both],
                                             two.logit[both], data.among(both))})
    return with_holm(rows, "auc_difference")


def changes(data: DataSet, factor: str) -> list[Row]:
    """Each arm against the one that differs from it in `factor` being "none", on the images that both scored.

    Args:
        data: one data set.
        factor: "crop" or "perturbation". A crop is also compared on the images in which it found a face.
    """
    place = ("detector", "crop", "perturbation").index(factor)
    by_key = {arm.key: arm for arm in data.arms}
    rows = []
    for arm in data.arms:
        base = by_key.get((*arm.key[:place], NONE, *arm.key[place + 1:]))
        if arm.key[place] == NONE or base is None:
            continue
        both = arm.ok & base.ok
        rows.append(_change(data, arm, base, both, "all"))
        if factor == "crop" and arm.face is not None:
            rows.append(_change(data, arm, base, both & arm.face, "with a face"))
    return with_holm(with_holm(rows, "auc_difference"), "accuracy_difference")


def _change(data: DataSet, arm: Arm, base: Arm, rows: np.ndarray, which: str) -> Row:
    fake, clusters = data.fake[rows], data.among(rows)
    now, before = arm.p_fake[rows] > THRESHOLD, base.p_fake[rows] > THRESHOLD
    right_now, right_before = now == fake, before == fake
    return {
        "arm": arm.name, "base": base.name, "detector": arm.scores.detector, "crop": arm.scores.crop,
        "perturbation": arm.scores.perturbation, "images": which, "n": int(rows.sum()),
        "auc": tried(statistics.auc, fake, arm.logit[rows], clusters),
        "auc_difference": tried(statistics.auc_difference, fake, arm.logit[rows], base.logit[rows], clusters),
        "accuracy": tried(statistics.proportion, right_now, clusters),
        "accuracy_difference": tried(statistics.accuracy_difference, right_now, right_before, clusters),
        "to_fake": int(np.sum(now & ~before)), "to_real": int(np.sum(before & ~now)),
        "mended": int(np.sum(right_now & ~right_before)), "broken": int(np.sum(right_before & ~right_now))}


def with_holm(rows: list[Row], key: str) -> list[Row]:
    """Adds `<key>_p_holm`: the p values of one column of differences, corrected for each other."""
    tested = [i for i, row in enumerate(rows) if isinstance(row[key], Difference)]
    adjusted = dict(zip(tested, statistics.holm([rows[i][key].p for i in tested]), strict=True))
    return [{**row, f"{key}_p_holm": float(adjusted[i]) if i in adjusted else None} for i, row in enumerate(rows)]


def subsets(data: DataSet) -> list[Row]:
    """Per arm and subset: AUC of its fakes against all reals, and the share of its images that were called right."""
    names = data.rows["subset"].fillna("(no subset)").to_numpy()
    found = []
    for label, of_label in (("fake", data.fake), ("real", ~data.fake)):
        for subset in sorted(set(names[of_label])):
            members = of_label & (names == subset)
            found += [_subset_row(data, arm, subset, label, members) for arm in data.arms]
    return found


def _subset_row(data: DataSet, arm: Arm, subset: str, label: str, members: np.ndarray) -> Row:
    own = members & arm.ok
    against = own | (arm.ok & ~data.fake)
    called = arm.p_fake[own] > THRESHOLD
    area = None
    if label == "fake":
        area = tried(statistics.auc, data.fake[against], arm.logit[against], data.among(against))
    return {"subset": subset, "label": label, "images": int(members.sum()), "arm": arm.name, "n": int(own.sum()),
            "small": int(own.sum()) < SMALL, "auc": area,
            "right": tried(statistics.proportion, called == data.fake[own], data.among(own))}


def failures(data: DataSet) -> pd.DataFrame:
    """Every image and arm without a score: row, path, arm, status, error; in the order of the manifest."""
    import pandas as pd

    parts = [arm.scores.frame.loc[~arm.ok, ["path", "status", "error"]].assign(
        arm=arm.name, row=np.flatnonzero(~arm.ok)) for arm in data.arms]
    found = pd.concat(parts, ignore_index=True).sort_values(["row", "arm"], kind="stable", ignore_index=True)
    found["error"] = found["error"].fillna("no reason recorded")
    return found[["row", "path", "arm", "status", "error"]]


def worst(data: DataSet, arm: Arm, count: int) -> Iterator[tuple[str, np.ndarray, int]]:
    """The most confident wrong verdicts of an arm.

    Yields:
        "false alarm" or "miss", the rows (the worst first, at most `count`), and how many there are in all.
    """
    called = arm.ok & (arm.p_fake > THRESHOLD)
    for kind, wrong, sign in (("false alarm", called & ~data.fake, -1.0),
                              ("miss", arm.ok & ~called & data.fake, 1.0)):
        rows = np.flatnonzero(wrong)
        order = np.argsort(sign * arm.logit[rows], kind="stable")
        yield kind, rows[order[:count]], len(rows)


def suffixes_tell(data: DataSet) -> tuple[list[str], list[str]] | None:
    """The file name endings of reals and of fakes, where they have none in common: a shortcut for any detector."""
    endings = data.rows["path"].str.extract(r"\.([^./]+)$", expand=False).str.lower().fillna("(none)")
    real, fake = (sorted(endings[rows].unique()) for rows in (~data.fake, data.fake))
    return (real, fake) if real and fake and not set(real) & set(fake) else None
