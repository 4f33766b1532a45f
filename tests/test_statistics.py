"""Intervals and tests against scipy, published examples, plain implementations, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dfdlib import metrics, statistics
from dfdlib.errors import DfdError
from dfdlib.metrics import UndefinedMetric
from dfdlib.statistics import Difference, Interval

# Hanley and McNeil (1982): ratings 1..5 of 58 normal and 51 abnormal CT images.
CT_LABELS = np.repeat([0, 1], [58, 51])
CT_RATINGS = np.concatenate([np.repeat(range(1, 6), [33, 6, 6, 11, 2]), np.repeat(range(1, 6), [3, 2, 2, 11, 33])])


def binormal(rng: np.random.Generator, fakes: int, reals: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores of two normal classes `shift` apart."""
    labels = np.repeat([1, 0], [fakes, reals])
    return labels, rng.normal(size=fakes + reals) + shift * labels


# Proportions

@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_proportion_is_that_of_scipy(counts):
    successes, n = counts
    method = "exact" if successes in (0, n) else "wilson"
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method=method)
    found = statistics.wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("successes", "n", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718), (0, 20, 0.0, 0.1684)])
def test_proportion_of_the_published_examples(successes, n, low, high):
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I.
    found = statistics.wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_proportion_of_nothing_or_of_nonsense_is_refused():
    with pytest.raises(UndefinedMetric, match="no images"):
        statistics.proportion([])
    with pytest.raises(DfdError, match="5 successes in 4 trials"):
        statistics.wilson(5, 4)
    with pytest.raises(DfdError, match="clusters of shape"):
        statistics.proportion([True, False], clusters=[1])


def test_clusters_widen_a_proportion_as_if_each_were_one_image():
    hits = np.repeat([True] * 30 + [False] * 10, 8)  # 40 videos of 8 frames that agree
    clusters = np.repeat(np.arange(40), 8)
    found, expected = statistics.proportion(hits, clusters), statistics.wilson(30 * 39 / 40, 39)
    assert found.n == 320 and found.value == 0.75
    # 39, not 40: the variance between clusters is estimated with one degree of freedom less.
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    all_right = statistics.proportion(np.full(320, True), clusters)
    assert all_right.low == pytest.approx(0.025 ** (1 / 40))
    assert statistics.proportion(hits, np.arange(320)) == statistics.proportion(hits)
    assert statistics.proportion(hits[100:320:8], np.zeros(28)).low < 0.1  # one cluster is one observation


# AUC

def naive_delong(labels: np.ndarray, *rankings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and covariance matrix by DeLong's definition: every fake against every real."""
    kernels = [np.heaviside(r[labels == 1][:, None] - r[labels == 0][None, :], 0.5) for r in rankings]
    v10, v01 = np.array([k.mean(axis=1) for k in kernels]), np.array([k.mean(axis=0) for k in kernels])
    return np.array([k.mean() for k in kernels]), (np.atleast_2d(np.cov(v10)) / v10.shape[1]
                                                    + np.atleast_2d(np.cov(v01)) / v01.shape[1])


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 40), st.sampled_from([0, 1]))
@settings(max_examples=60)
def test_delong_is_its_definition(seed, fakes, reals, digits):
    rng = np.random.default_rng(seed)
    labels, scores = binormal(rng, fakes, reals, 0.8)
    a, b = scores.round(digits), (scores + rng.normal(size=len(scores))).round(digits)
    areas, covariance = naive_delong(labels, a, b)
    found = statistics.auc(labels, a)
    assert found.value == pytest.approx(areas[0])
    assert found.value == pytest.approx(metrics.auc(labels, a))
    if 0 < areas[0] < 1 and covariance[0, 0] > 0:
        half = statistics.Z * math.sqrt(covariance[0, 0]) / (areas[0] * (1 - areas[0]))
        assert [stats.logistic.ppf(x) for x in (found.low, found.high)] == pytest.approx(
            [stats.logistic.ppf(areas[0]) - half, stats.logistic.ppf(areas[0]) + half])
    difference = statistics.auc_difference(labels, a, b)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert difference.value == pytest.approx(areas[0] - areas[1])
    if variance > 1e-12:
        assert difference.p == pytest.approx(2 * stats.norm.sf(abs(difference.value) / math.sqrt(variance)))
        assert difference.high - difference.low <= 2 * statistics.Z * math.sqrt(variance) + 1e-12


def test_delong_of_the_published_example():
    # Stata's manual, `roctab`, on the same ratings: area 0.8932, standard error 0.0307.
    found = statistics.auc(CT_LABELS, CT_RATINGS)
    scale = found.value * (1 - found.value)
    width = stats.logistic.ppf(found.high) - stats.logistic.ppf(found.low)
    assert found.value == pytest.approx(0.8932, abs=5e-5)
    assert width * scale / (2 * statistics.Z) == pytest.approx(0.0307, abs=5e-5)


def test_auc_interval_agrees_with_a_bootstrap_of_images():
    rng = np.random.default_rng(5)
    labels, scores = binormal(rng, 150, 120, 1.2)
    fakes, reals = scores[:150], scores[150:]
    drawn = [stats.mannwhitneyu(rng.choice(fakes, 150), rng.choice(reals, 120)).statistic / (150 * 120)
             for _ in range(1500)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = statistics.auc(labels, scores)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)


def test_auc_does_not_change_with_a_monotone_transform_and_mirrors_with_the_labels():
    labels, scores = binormal(np.random.default_rng(1), 60, 50, 1.0)
    found = statistics.auc(labels, scores)
    assert statistics.auc(labels, np.exp(3 * scores)) == found
    extreme = np.where(scores > 1, np.inf, scores)
    assert math.isfinite(statistics.auc(labels, extreme).low)
    mirrored = statistics.auc(1 - labels, scores)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("fakes", "reals"), [(1, 1), (3, 50), (40, 40), (500, 500)])
def test_a_perfect_auc_still_has_an_interval(fakes, reals):
    labels = np.repeat([1, 0], [fakes, reals])
    perfect, worst = statistics.auc(labels, labels), statistics.auc(labels, -labels)
    assert perfect.value == perfect.high == 1 and 0 < perfect.low < 1
    assert (worst.low, worst.high) == pytest.approx((0, 1 - perfect.low))
    # The lower limit is the area that Hanley and McNeil's variance makes just unsurprising.
    area = perfect.low
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    mean = (fakes + reals) / 2 - 1
    variance = (area * (1 - area) + mean * (q1 - area**2) + mean * (q2 - area**2)) / (fakes * reals)
    assert 1 - area == pytest.approx(statistics.Z * math.sqrt(variance))


def test_auc_of_all_tied_or_of_single_images_is_uncertain():
    tied = statistics.auc([1] * 20 + [0] * 20, np.zeros(40))
    assert tied.value == 0.5 and tied.low < 0.35 and tied.high > 0.65
    single = statistics.auc([1, 0, 0, 0], [2.0, 1.0, 3.0, 0.0])
    assert single.value == pytest.approx(2 / 3) and single.high - single.low > 0.7


@pytest.mark.parametrize("function", [
    lambda labels: statistics.auc(labels, labels), lambda labels: statistics.auc_difference(labels, labels, labels)])
def test_auc_of_one_class_is_undefined(function):
    with pytest.raises(UndefinedMetric, match="no real images"):
        function(np.ones(5))


def naive_obuchowski(labels, scores, clusters) -> float:
    """Variance by the formulas of Obuchowski (1997), with loops."""
    fakes, reals = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    v10 = {i: np.mean(np.heaviside(scores[i] - scores[reals], 0.5)) for i in fakes}
    v01 = {j: np.mean(np.heaviside(scores[fakes] - scores[j], 0.5)) for j in reals}
    area, m, n = np.mean(list(v10.values())), len(fakes), len(reals)
    names = sorted(set(clusters))
    x = {c: sum(v10[i] - area for i in fakes if clusters[i] == c) for c in names}
    y = {c: sum(v01[j] - area for j in reals if clusters[j] == c) for c in names}
    i10, i01 = len({clusters[i] for i in fakes}), len({clusters[j] for j in reals})
    s10 = i10 / ((i10 - 1) * m) * sum(v**2 for v in x.values())
    s01 = i01 / ((i01 - 1) * n) * sum(v**2 for v in y.values())
    s11 = len(names) / (len(names) - 1) * sum(x[c] * y[c] for c in names)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("seed", range(5))
def test_clustered_auc_is_obuchowskis(seed):
    rng = np.random.default_rng(seed)
    labels, scores = binormal(rng, 40, 30, 1.0)
    clusters = rng.integers(0, 18, 70)
    scores = (scores + rng.normal(size=18)[clusters]).round(1)
    found = statistics.auc(labels, scores, clusters)
    half = (stats.logistic.ppf(found.high) - stats.logistic.ppf(found.low)) / 2
    expected = statistics.Z * math.sqrt(naive_obuchowski(labels, scores, clusters)) / (found.value * (1 - found.value))
    assert half == pytest.approx(expected)
    assert "18 clusters" in found.method


def test_clusters_of_one_image_change_nothing():
    labels, scores = binormal(np.random.default_rng(2), 40, 30, 1.0)
    other, single = scores + np.random.default_rng(3).normal(size=70), np.random.default_rng(4).permutation(70)
    assert statistics.auc(labels, scores, single) == statistics.auc(labels, scores)
    assert statistics.auc_difference(labels, scores, other, single) == statistics.auc_difference(labels, scores, other)
    assert statistics.f1(labels, stats.norm.cdf(scores), single) == statistics.f1(labels, stats.norm.cdf(scores))


def test_repeated_images_in_clusters_add_no_evidence():
    labels, scores = binormal(np.random.default_rng(8), 50, 50, 1.0)
    once = statistics.auc(labels, scores)
    clusters = np.tile(np.arange(100), 4)
    four = statistics.auc(np.tile(labels, 4), np.tile(scores, 4), clusters)
    assert (four.low, four.high) == pytest.approx((once.low, once.high), abs=1e-3)
    naive = statistics.auc(np.tile(labels, 4), np.tile(scores, 4))
    assert naive.high - naive.low == pytest.approx((once.high - once.low) / 2, rel=0.05)


def test_identical_and_degenerate_rankings_have_defined_differences():
    labels, scores = binormal(np.random.default_rng(2), 20, 20, 1.0)
    same = statistics.auc_difference(labels, scores, np.exp(scores))
    assert (same.value, same.p) == (0.0, 1.0)
    perfect_against_constant = statistics.auc_difference(labels, labels, np.zeros(40))
    assert perfect_against_constant.value == 0.5 and math.isnan(perfect_against_constant.p)
    assert 0 < perfect_against_constant.low < 0.5 < perfect_against_constant.high


# Verdicts

@pytest.mark.parametrize(("counts", "low", "high"), [
    ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe (1998), paired data, method 10
    ((1, 1, 7, 12), -0.507, -0.026),  # Bentur et al. (2009), in Fagerland et al. (2014)
])
def test_paired_proportions_of_the_published_examples(counts, low, high):
    assert statistics.newcombe_paired(*counts) == pytest.approx((low, high), abs=6e-4)


def test_mcnemar_is_the_binomial_tail():
    for only_a, only_b in [(0, 0), (1, 0), (5, 5), (12, 2), (2, 12), (40, 61)]:
        n, few = only_a + only_b, min(only_a, only_b)
        tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
        assert statistics.mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * tail))


def test_accuracy_difference_counts_pairs():
    a = np.array([1] * 36 + [1] * 12 + [0] * 2, dtype=bool)
    b = np.array([1] * 36 + [0] * 12 + [1] * 2, dtype=bool)
    found = statistics.accuracy_difference(a, b)
    assert found.value == pytest.approx(0.2) and found.n == 50
    assert (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert found.p == statistics.mcnemar(12, 2)
    turned = statistics.accuracy_difference(b, a)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p))
    with pytest.raises(DfdError, match="not pairs"):
        statistics.accuracy_difference(a, b[:-1])


def test_clustered_accuracy_difference_is_a_t_like_test_of_cluster_means():
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(30), 5)
    a = rng.random(150) < 0.5 + 0.4 * (rng.random(30) < 0.5)[clusters]
    b = rng.random(150) < 0.5
    found = statistics.accuracy_difference(a, b, clusters)
    means = (a.astype(float) - b).reshape(30, 5).mean(axis=1)
    error = means.std(ddof=1) / math.sqrt(30)
    assert found.value == pytest.approx(means.mean())
    assert found.high - found.low == pytest.approx(2 * statistics.Z * error)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(means.mean()) / error))
    assert statistics.accuracy_difference(a, a, clusters).p == 1.0


# Bootstrap

@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", "mcc"])
def test_bootstrap_is_that_of_scipy(metric):
    labels, scores = binormal(np.random.default_rng(11), 90, 150, 1.5)
    p_fake = stats.norm.cdf(scores - 0.75)

    def statistic(fakes, reals, axis=-1):
        counts = metrics.Confusion(np.sum(~reals, axis), np.sum(reals, axis), np.sum(~fakes, axis), np.sum(fakes, axis))
        return getattr(counts, metric)

    called = p_fake > 0.5
    expected = stats.bootstrap((called[labels == 1], called[labels == 0]), statistic, n_resamples=5000, batch=1000,
                               method="BCa", rng=np.random.default_rng(0)).confidence_interval
    found = statistics.bootstrap(metric, labels, p_fake)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found == statistics.bootstrap(metric, labels, p_fake)
    assert found != statistics.bootstrap(metric, labels, p_fake, seed=1)


def test_bootstrap_refuses_false_certainty():
    with pytest.raises(UndefinedMetric, match="every resample gives the same value"):
        statistics.bootstrap("balanced_accuracy", [0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])


def test_cluster_bootstrap_draws_whole_clusters():
    rng = np.random.default_rng(12)
    videos = rng.random(60) < 0.5
    clusters = np.repeat(np.arange(60), 6)
    labels = videos[clusters].astype(int)
    p_fake = np.where(rng.random(60) < 0.8, labels[::6], 1 - labels[::6])[clusters].astype(float)  # frames agree
    found = statistics.bootstrap("f1", labels, p_fake, clusters)
    per_video = statistics.bootstrap("f1", labels[::6], p_fake[::6])
    assert (found.low, found.high) == pytest.approx((per_video.low, per_video.high), abs=0.012)
    naive = statistics.f1(labels, p_fake)
    assert found.high - found.low > 1.8 * (naive.high - naive.low)


def test_cluster_bootstrap_with_mixed_clusters_agrees_with_a_plain_one():
    rng = np.random.default_rng(13)
    clusters = rng.integers(0, 50, 300)
    labels = rng.integers(0, 2, 300)
    labels[[np.flatnonzero(clusters == c)[k] for c in range(50) for k in (0, 1)]] = [0, 1] * 50
    p_fake = (rng.random(300) < np.where(labels == 1, 0.8, 0.2) + rng.normal(0, 0.1, 50)[clusters]).astype(float)
    members = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
    assert all(len(set(labels[rows])) == 2 for rows in members)  # one stratum
    values = []
    for _ in range(1500):
        rows = np.concatenate([members[c] for c in rng.integers(0, len(members), len(members))])
        values.append(metrics.confusion(labels[rows], p_fake[rows]).f1)
    found = statistics.f1(labels, p_fake, clusters)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.015)


def test_f1_without_a_single_error_is_not_certain():
    labels = np.repeat([1, 0], [40, 60])
    perfect = statistics.f1(labels, labels.astype(float))
    share = statistics.wilson(40, 40).low  # the reals that were called real take no part
    assert perfect.value == perfect.high == 1 and perfect.low == pytest.approx(2 * share / (1 + share))
    useless = statistics.f1(labels, np.zeros(100))
    assert useless.value == useless.low == 0 and 0 < useless.high < 0.2
    with pytest.raises(UndefinedMetric):
        statistics.f1(np.zeros(5), np.zeros(5))


# Many questions at once

def test_holm_steps_down():
    found = statistics.holm([0.01, 0.04, 0.03, 0.005])
    assert found.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert statistics.holm([]).tolist() == []
    with_nan = statistics.holm([0.01, math.nan])
    assert with_nan[0] == pytest.approx(0.02) and math.isnan(with_nan[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_raw_and_bonferronis_and_keeps_the_order(p_values):
    raw, adjusted = np.array(p_values), statistics.holm(p_values)
    assert np.all(adjusted >= raw - 1e-15) and np.all(adjusted <= np.minimum(1, raw * len(raw)) + 1e-15)
    order = np.argsort(raw)
    assert np.all(np.diff(adjusted[order]) >= 0)


def test_an_interval_prints_with_the_digits_it_deserves():
    assert str(Interval(0.9, 0.85, 0.93, 100, "x")) == "0.900 [0.850, 0.930]"
    assert str(Interval(0.99972, 0.9996, 0.9999, 10**5, "x")) == "0.9997 [0.9996, 0.9999]"
    assert str(Interval(0.99996, 0.95, 1.0, 10**5, "x")) == "0.99996 [0.95000, 1.00000]"
    assert str(Interval(1.0, 0.95, 1.0, 70, "x")) == "1.000 [0.950, 1.000]"
    assert str(Difference(0.00001, -0.02, 0.02, 70, "x", 0.9, "y")) == "0.000 [-0.020, 0.020]"
    assert f"{Interval(0.9, 0.85, 0.93, 100, 'x'):.1%}" == "90.0% [85.0%, 93.0%]"


# Coverage: of 95 % intervals, about 95 % hold the truth

def coverage(seed: int, runs: int, clustered: bool) -> dict[str, float]:
    """Share of runs in which each interval holds the known truth (binormal scores, threshold 0.5)."""
    rng = np.random.default_rng(seed)
    shift = 1.5
    sigma = 1.0 if clustered else 0.0  # spread of what the images of one cluster have in common
    recall = stats.norm.cdf(shift / 2 / math.hypot(1, sigma))
    truth = {"auc": stats.norm.cdf(shift / math.sqrt(2 + 2 * sigma**2)), "accuracy": recall,
             "f1": recall, "auc difference": 0.0, "accuracy difference": 0.0}
    held = dict.fromkeys(truth, 0)
    labels = np.repeat([1, 0], [80, 80])
    clusters = np.repeat(np.arange(80), 2) if clustered else None  # two images of one class each
    for _ in range(runs):
        shared = rng.normal(scale=sigma, size=80).repeat(2) if clustered else 0.0
        a, b = (rng.normal(size=160) + shift * labels + shared for _ in range(2))
        right_a, right_b = (a > shift / 2) == labels, (b > shift / 2) == labels
        found = {"auc": statistics.auc(labels, a, clusters), "accuracy": statistics.proportion(right_a, clusters),
                 "f1": statistics.bootstrap("f1", labels, stats.norm.cdf(a - shift / 2), clusters, resamples=1000),
                 "auc difference": statistics.auc_difference(labels, a, b, clusters),
                 "accuracy difference": statistics.accuracy_difference(right_a, right_b, clusters)}
        for name, interval in found.items():
            held[name] += interval.low <= truth[name] <= interval.high
    return {name: count / runs for name, count in held.items()}


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_hold_the_truth_about_as_often_as_they_claim(clustered):
    found = coverage(1, 300, clustered)
    assert all(share > 0.915 for share in found.values()), found  # 0.95 less 2.8 standard errors of 300 runs


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_hold_the_truth_in_many_runs(clustered):
    found = coverage(2, 5000, clustered)
    assert all(0.935 < share < 0.975 for share in found.values()), found


def test_ignoring_clusters_would_claim_too_much():
    rng = np.random.default_rng(4)
    labels, held = np.repeat([1, 0], [80, 80]), 0
    truth = stats.norm.cdf(1.5 / math.sqrt(2 + 2 * 4))
    for _ in range(200):
        scores = rng.normal(size=160) + 1.5 * labels + rng.normal(scale=2, size=20).repeat(8)
        found = statistics.auc(labels, scores)
        held += found.low <= truth <= found.high
    assert held / 200 < 0.85
