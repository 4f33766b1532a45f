"""Uncertainty: an interval for every figure, and tests for differences between arms that saw the same images.

All intervals are at 95 %. Images that share a source (frames of one video, a photo and its forgery) are not independent
draws. Give their `clusters`, and every method here counts them as that many sources, not that many images:

- proportion: Wilson (1927), or Clopper and Pearson (1934) where all or none succeed;
  with clusters at the effective sample size (Korn and Graubard, 1998);
- AUC: DeLong et al. (1988), computed as by Sun and Xu (2014), on the logit scale; with clusters Obuchowski (1997);
  where there is no variance to work with (a perfect ranking, all tied) method 5 of Newcombe (2006);
- difference of AUCs: paired DeLong; with clusters Obuchowski (1997);
- difference of accuracies: method 10 of Newcombe (1998) and McNemar's exact test; with clusters Obuchowski (1998);
- F1 and what else follows from the four counts: BCa bootstrap (Efron, 1987), stratified by class; with clusters it
  draws whole clusters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfdlib.errors import DfdError
from dfdlib.metrics import THRESHOLD, Confusion, UndefinedMetric, checked, confusion, missing_class

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LEVEL = 0.95
Z = 1.959963984540054  # the normal quantile of 1 - (1 - LEVEL) / 2
RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval.

    Attributes:
        value, low, high: the estimate and the two limits.
        n: the images it rests on.
        method: how the limits were found, in words.
    """

    value: float
    low: float
    high: float
    n: int
    method: str

    @property
    def decimals(self) -> int:
        """Decimals to print, 3 to 6: enough to show the interval's width, and not to round to a 0 or 1 that is not."""
        small = [self.high - self.low, abs(self.value), abs(1 - self.value)]
        return min(6, max([3, *(math.ceil(-math.log10(part)) for part in small if part > 0)]))

    def __format__(self, spec: str) -> str:
        spec = spec or f".{self.decimals}f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self)


@dataclass(frozen=True)
class Difference(Interval):
    """A difference between two arms on the same images.

    Attributes:
        p: two-sided p value of "there is no difference"; NaN where the data cannot test it.
        test: the test that gave it, in words.
    """

    p: float
    test: str

    @property
    def decimals(self) -> int:
        """Decimals to print, 3 to 6: enough to show the interval's width."""
        width = self.high - self.low
        return 3 if width <= 0 else min(6, max(3, math.ceil(-math.log10(width))))


def wilson(successes: float, n: float) -> Interval:
    """Interval of a proportion from counts: Wilson's score interval, Clopper and Pearson's where it is 0 or 1.

    Args:
        successes: 0..n; an effective (clustered) sample may have fractions.
        n: trials.

    Raises:
        UndefinedMetric: n is 0.
        DfdError: successes outside 0..n.
    """
    if n <= 0:
        raise UndefinedMetric("proportion", "no images")
    if not 0 <= successes <= n:
        raise DfdError(f"{successes} successes in {n} trials.", "Give counts from 0 to n.")
    share = successes / n
    if successes in (0, n):
        exact = ((1 - LEVEL) / 2) ** (1 / n)
        low, high = (0.0, 1 - exact) if successes == 0 else (exact, 1.0)
        return Interval(share, low, high, round(n), "Clopper-Pearson")
    return Interval(share, *_score_limits(share, n), round(n), "Wilson")


def proportion(hits: ArrayLike, clusters: ArrayLike | None = None) -> Interval:
    """Interval of the share of hits.

    Args:
        hits: shape (n,), bool.
        clusters: shape (n,), whole numbers; images with the same number are not independent. None: all are.

    Raises:
        UndefinedMetric: n is 0.
    """
    hits = np.asarray(hits, dtype=bool)
    n, total = len(hits), int(hits.sum())
    groups = _compact(clusters, n)
    if groups is None or n == 0:
        return wilson(total, n)
    share = total / n
    sizes = np.bincount(groups)
    if total in (0, n):
        effective = float(len(sizes))  # nothing shows how alike the images of a cluster are: count each once
    else:
        deviations = np.bincount(groups, hits) - share * sizes
        variance = _scale(len(sizes)) * float(np.sum(deviations**2)) / n**2
        effective = min(n, share * (1 - share) / variance) if variance > 0 else n
        if len(sizes) == 1:
            effective = 1.0
    found = wilson(share * effective if total < n else effective, effective)
    return Interval(share, found.low, found.high, n, f"{found.method}, {len(sizes)} clusters")


def auc(labels: ArrayLike, ranking: ArrayLike, clusters: ArrayLike | None = None) -> Interval:
    """AUC with DeLong's interval on the logit scale, which stays inside 0..1.

    Args:
        labels: shape (n,), 1 = fake.
        ranking: shape (n,), higher = more fake; may be infinite.
        clusters: as in `proportion`.

    Raises:
        UndefinedMetric: one class only.
    """
    fake, scores = checked(labels, ranking)
    groups = _compact(clusters, len(fake))
    of_fakes, of_reals = _placements(fake, scores)
    area = float(of_fakes.mean())
    variance = _variance(fake, of_fakes, of_reals, groups)
    if not variance > 0 or area in (0, 1):
        low, high = _newcombe(area, *_independent(fake, groups))
        return Interval(area, low, high, len(fake), "Newcombe")
    half = Z * math.sqrt(variance) / (area * (1 - area))
    middle = math.log(area / (1 - area))
    name = "DeLong" if groups is None else f"Obuchowski, {groups.max() + 1} clusters"
    return Interval(area, _expit(middle - half), _expit(middle + half), len(fake), f"{name}, logit scale")


def auc_difference(labels: ArrayLike, a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None) -> Difference:
    """AUC of ranking `a` minus AUC of ranking `b` on the same images: paired DeLong.

    The variance of the difference is DeLong's variance of the differences of the placements: one formula serves both.

    Raises:
        UndefinedMetric: one class only.
    """
    fake, first = checked(labels, a)
    _, second = checked(labels, b)
    groups = _compact(clusters, len(fake))
    (fakes_a, reals_a), (fakes_b, reals_b) = _placements(fake, first), _placements(fake, second)
    difference = float(fakes_a.mean() - fakes_b.mean())
    variance = _variance(fake, fakes_a - fakes_b, reals_a - reals_b, groups)
    test = "paired DeLong" if groups is None else f"paired Obuchowski, {groups.max() + 1} clusters"
    if np.array_equal(fakes_a, fakes_b) and np.array_equal(reals_a, reals_b):
        return Difference(0.0, 0.0, 0.0, len(fake), "the same ranking", 1.0, test)
    if variance > 1e-15:
        half = Z * math.sqrt(variance)
        p = math.erfc(abs(difference) / math.sqrt(2 * variance))
        low, high = max(-1.0, difference - half), min(1.0, difference + half)
        return Difference(difference, low, high, len(fake), test, p, test)
    # No variance to work with (two perfect or constant rankings): the two intervals, squared and added.
    one, two = auc(fake, first, groups), auc(fake, second, groups)
    low, high = _square_and_add(one, two, 0.0)
    return Difference(difference, low, high, len(fake), "square and add", math.nan, "none: no variance")


def accuracy_difference(right_a: ArrayLike, right_b: ArrayLike, clusters: ArrayLike | None = None) -> Difference:
    """Accuracy of arm `a` minus accuracy of arm `b` on the same images.

    Args:
        right_a, right_b: shape (n,), bool: the verdict was right.
        clusters: as in `proportion`.

    Raises:
        UndefinedMetric: n is 0.
    """
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    n = len(right_a)
    if right_b.shape != right_a.shape:
        raise DfdError(f"{n} and {len(right_b)} verdicts are not pairs.", "Compare arms on the same images.")
    if n == 0:
        raise UndefinedMetric("difference of accuracies", "no images")
    groups = _compact(clusters, n)
    if groups is not None:
        return _clustered_difference(right_a, right_b, groups)
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    low, high = newcombe_paired(int(np.sum(right_a & right_b)), only_a, only_b, int(np.sum(~right_a & ~right_b)))
    return Difference((only_a - only_b) / n, low, high, n, "Newcombe, paired", mcnemar(only_a, only_b), "exact McNemar")


def newcombe_paired(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Limits of a difference of paired proportions, from the four counts: method 10 of Newcombe (1998)."""
    n = both + only_a + only_b + neither
    # Wilson's limits also where a proportion is 0 or 1: the method is defined with them.
    one, two = (Interval(k / n, *_score_limits(k / n, n), n, "Wilson") for k in (both + only_a, both + only_b))
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    excess = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0)  # the paper's continuity correction of phi
    return _square_and_add(one, two, excess / math.sqrt(margins) if margins else 0.0)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p value of McNemar's test, from the images that exactly one of two arms called right."""
    from scipy.special import bdtr  # the binomial distribution without the seconds that importing scipy.stats takes

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def bootstrap(metric: str, labels: ArrayLike, p_fake: ArrayLike, clusters: ArrayLike | None = None,
              resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """Bootstrap (BCa: Efron, 1987) of any metric that follows from the four counts at the threshold.

    Reals and fakes are drawn separately, as the test set was; with clusters, whole clusters are drawn, separately for
    those of reals, of fakes and of both. Clusters with the same four counts are interchangeable: one multinomial draw
    of how often each kind occurs replaces drawing them one by one. The distribution is the same, and the cost does not
    grow with the number of images.

    Args:
        metric: name of a property of `metrics.Confusion`: "f1", "balanced_accuracy", "mcc", ...
        labels, p_fake: shape (n,), as in `metrics.confusion`.
        clusters: as in `proportion`.

    Raises:
        UndefinedMetric: the metric is undefined on the images themselves, or every resample gives the same value.
    """
    fake, scores = checked(labels, p_fake)
    value = getattr(confusion(fake, scores), metric)
    groups = _compact(clusters, len(fake))
    strata = _strata(fake, scores > THRESHOLD, groups)
    drawn = _drawn_counts(strata, resamples, np.random.default_rng(seed))
    values = getattr(Confusion(*drawn.T), metric)
    values = values[np.isfinite(values)]
    if not values.size or np.ptp(values) == 0:
        raise UndefinedMetric(f"bootstrap interval of {metric}", "every resample gives the same value")
    low, high = np.quantile(values, _bca_levels(value, values, strata, metric))
    name = "bootstrap" if groups is None else f"bootstrap, {groups.max() + 1} clusters"
    return Interval(value, float(low), float(high), len(fake), name)


def f1(labels: ArrayLike, p_fake: ArrayLike, clusters: ArrayLike | None = None) -> Interval:
    """F1 with its bootstrap interval; where no resample can differ (no error, or no hit), the exact one.

    F1 = 2 J / (1 + J) with the proportion J = TP / (TP + FP + FN), so the limits of J give those of F1.

    Raises:
        UndefinedMetric: no fakes and nothing called fake.
    """
    fake, scores = checked(labels, p_fake)
    counts = confusion(fake, scores)
    value = counts.f1
    if 0 < value < 1:
        return bootstrap("f1", fake, scores, clusters)
    involved = fake | (scores > THRESHOLD)
    share = proportion(np.full(int(involved.sum()), value == 1), _compact(clusters, len(fake), involved))
    low, high = (2 * limit / (1 + limit) for limit in (share.low, share.high))
    return Interval(value, low, high, len(fake), f"{share.method} of TP / (TP + FP + FN)")


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's (1979) adjusted p values, in the order given: small ones still mean "real" when many were asked.

    A NaN counts as a question asked and stays NaN.
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)  # NaN last
    steps = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _placements(fake: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # For each fake the share of reals below it, for each real the share of fakes above it (ties count half): ranks
    # among all less ranks among its own kind, as Sun and Xu do it, in O(n log n).
    if not fake.any() or fake.all():
        raise UndefinedMetric("AUC", missing_class(fake))
    fakes, reals = scores[fake], scores[~fake]
    ranks = _midranks(np.concatenate([fakes, reals]))
    of_fakes = (ranks[:len(fakes)] - _midranks(fakes)) / len(reals)
    of_reals = 1 - (ranks[len(fakes):] - _midranks(reals)) / len(fakes)
    return of_fakes, of_reals


def _midranks(scores: np.ndarray) -> np.ndarray:
    # Ranks from 1; scores that tie share the mean of their ranks.
    _, place, often = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(often) - (often - 1) / 2)[place]


def _variance(fake: np.ndarray, of_fakes: np.ndarray, of_reals: np.ndarray, groups: np.ndarray | None) -> float:
    # Obuchowski's variance: deviations are summed within a cluster before they are squared. With every image its own
    # cluster the cross term vanishes and DeLong's variance is left.
    if groups is None:
        if len(of_fakes) < 2 or len(of_reals) < 2:
            return 0.0
        return float(of_fakes.var(ddof=1) / len(of_fakes) + of_reals.var(ddof=1) / len(of_reals))
    count = int(groups.max()) + 1
    with_fakes, with_reals = len(np.unique(groups[fake])), len(np.unique(groups[~fake]))
    if with_fakes < 2 or with_reals < 2:
        return 0.0
    sums_fakes = np.bincount(groups[fake], of_fakes - of_fakes.mean(), count) / len(of_fakes)
    sums_reals = np.bincount(groups[~fake], of_reals - of_reals.mean(), count) / len(of_reals)
    return max(0.0, float(_scale(with_fakes) * np.sum(sums_fakes**2) + _scale(with_reals) * np.sum(sums_reals**2)
                          + 2 * _scale(count) * np.sum(sums_fakes * sums_reals)))


def _newcombe(area: float, fakes: int, reals: int) -> tuple[float, float]:
    # Newcombe (2006), part 2, method 5: the limits are the areas that would just not be surprised by the observed one,
    # with Hanley and McNeil's variance for exponential scores taken at the limit itself.
    from scipy.optimize import brentq

    mean = (fakes + reals) / 2 - 1

    def surprise(limit: float) -> float:
        spread = 1 + mean * ((1 - limit) / (2 - limit) + limit / (1 + limit))
        return (area - limit) ** 2 - Z * Z * limit * (1 - limit) * spread / (fakes * reals)

    low = 0.0 if area == 0 else brentq(surprise, 0, area - 1e-12 if area == 1 else area)
    high = 1.0 if area == 1 else brentq(surprise, 1e-12 if area == 0 else area, 1)
    return low, high


def _square_and_add(one: Interval, two: Interval, phi: float) -> tuple[float, float]:
    # Newcombe's combination of two intervals to one of their difference; phi is their correlation.
    down, up = one.value - one.low, one.high - one.value
    below, above = two.value - two.low, two.high - two.value
    difference = one.value - two.value
    return (difference - math.sqrt(max(0.0, down**2 - 2 * phi * down * above + above**2)),
            difference + math.sqrt(max(0.0, up**2 - 2 * phi * up * below + below**2)))


def _score_limits(share: float, n: float) -> tuple[float, float]:
    centre = share + Z * Z / (2 * n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return (centre - half) / (1 + Z * Z / n), (centre + half) / (1 + Z * Z / n)


def _clustered_difference(right_a: np.ndarray, right_b: np.ndarray, groups: np.ndarray) -> Difference:
    # Obuchowski (1998): the mean difference, with a variance between clusters.
    n = len(groups)
    gains = right_a.astype(float) - right_b
    difference = float(gains.mean())
    count = int(groups.max()) + 1
    sums = np.bincount(groups, gains - difference)
    variance = _scale(count) * float(np.sum(sums**2)) / n**2 if count > 1 else 0.0
    test = f"Obuchowski, {count} clusters"
    if not gains.any():
        low, high = newcombe_paired(int(np.sum(right_a)), 0, 0, int(np.sum(~right_a)))
        return Difference(0.0, low, high, n, "Newcombe, paired", 1.0, test)
    if variance <= 1e-15:
        low, high = _square_and_add(proportion(right_a, groups), proportion(right_b, groups), 0.0)
        return Difference(difference, low, high, n, "square and add", math.nan, "none: no variance")
    half = Z * math.sqrt(variance)
    return Difference(difference, max(-1.0, difference - half), min(1.0, difference + half), n, test,
                      math.erfc(abs(difference) / math.sqrt(2 * variance)), test)


def _drawn_counts(strata: list[tuple[np.ndarray, np.ndarray]], resamples: int, rng: np.random.Generator) -> np.ndarray:
    # Shape (resamples, 4): tn, fp, fn, tp of each resample.
    drawn = np.zeros((resamples, 4), dtype=np.int64)
    for kinds, often in strata:
        total = int(often.sum())
        block = max(1, 4_000_000 // len(kinds))  # bounds the memory where nearly every cluster is of its own kind
        for start in range(0, resamples if total else 0, block):
            rows = min(block, resamples - start)
            drawn[start:start + rows] += rng.multinomial(total, often / total, size=rows) @ kinds
    return drawn


def _bca_levels(value: float, values: np.ndarray, strata: list[tuple[np.ndarray, np.ndarray]],
                metric: str) -> np.ndarray:
    # The quantiles to take instead of 2.5 and 97.5 %: corrected for the bias of the resamples (ties count half), and
    # for a spread that changes with the value, which leaving out one cluster of each kind in turn tells.
    from scipy.special import ndtr, ndtri

    share = np.mean(values < value) + np.mean(values == value) / 2
    bias = ndtri(np.clip(share, 0.5 / len(values), 1 - 0.5 / len(values)))
    total = sum(often @ kinds for kinds, often in strata)
    cubes = squares = 0.0
    for kinds, often in strata:
        size = int(often.sum())
        if size < 2:
            continue
        kinds, often = kinds[often > 0], often[often > 0]
        own = often @ kinds
        # The rest of the stratum is scaled up to its full size: the shares of reals and fakes are by design.
        left = getattr(Confusion(*(total - own + (own - kinds) * size / (size - 1)).T), metric)
        left = np.nan_to_num(left, nan=value)
        influence = (size - 1) * (np.average(left, weights=often) - left)
        cubes += often @ influence**3 / size**3
        squares += often @ influence**2 / size**2
    skew = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    shifted = bias + np.array([-Z, Z])
    return ndtr(bias + shifted / (1 - skew * shifted))


def _strata(fake: np.ndarray, called: np.ndarray, groups: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    # Per stratum: the kinds of cluster in it (rows of tn, fp, fn, tp) and how many there are of each kind.
    cell = 2 * fake + called
    if groups is None:
        counts = np.bincount(cell, minlength=4)
        return [(np.eye(4, dtype=np.int64)[part], counts[part]) for part in (slice(0, 2), slice(2, 4))]
    members = np.bincount(4 * groups + cell, minlength=4 * (int(groups.max()) + 1)).reshape(-1, 4)
    stratum = (members[:, :2].sum(axis=1) > 0) + 2 * (members[:, 2:].sum(axis=1) > 0)
    return [np.unique(members[stratum == part], axis=0, return_counts=True) for part in np.unique(stratum)]


def _compact(clusters: ArrayLike | None, n: int, keep: np.ndarray | None = None) -> np.ndarray | None:
    # Clusters numbered 0..k-1, or None where every image is its own.
    if clusters is None:
        return None
    clusters = np.asarray(clusters)
    if clusters.shape != (n,):
        raise DfdError(f"clusters of shape {clusters.shape} for {n} images.", "Give one cluster number per image.")
    names, groups = np.unique(clusters if keep is None else clusters[keep], return_inverse=True)
    return None if len(names) == len(groups) else groups


def _independent(fake: np.ndarray, groups: np.ndarray | None) -> tuple[int, int]:
    # How many fakes and reals to count: images, or the clusters that hold some.
    if groups is None:
        return int(fake.sum()), int((~fake).sum())
    return len(np.unique(groups[fake])), len(np.unique(groups[~fake]))


def _scale(count: int) -> float:
    return count / (count - 1) if count > 1 else 1.0


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
