"""Metrics against scikit-learn, on random and on extreme inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from dfdlib import metrics
from dfdlib.errors import DfdError
from dfdlib.metrics import Confusion, UndefinedMetric

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")


@st.composite
def scored(draw) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores with many ties, both classes present."""
    n = draw(st.integers(2, 60))
    labels = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    labels[0], labels[1] = False, True
    scores = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.500001, 0.75, 1.0]), min_size=n, max_size=n))
    return labels, np.array(scores)


@given(scored())
def test_verdict_metrics_are_those_of_scikit_learn(case):
    labels, scores = case
    called = scores > 0.5
    counts = metrics.confusion(labels, scores)
    assert [counts.tn, counts.fp, counts.fn, counts.tp] == oracle.confusion_matrix(
        labels, called, labels=[False, True]).ravel().tolist()
    assert counts.accuracy == pytest.approx(oracle.accuracy_score(labels, called))
    assert counts.balanced_accuracy == pytest.approx(oracle.balanced_accuracy_score(labels, called))
    assert counts.recall == pytest.approx(oracle.recall_score(labels, called))
    assert counts.specificity == pytest.approx(oracle.recall_score(~labels, ~called))
    assert counts.f1 == pytest.approx(oracle.f1_score(labels, called))
    if called.any():
        assert counts.precision == pytest.approx(oracle.precision_score(labels, called))
        if not called.all():
            assert counts.mcc == pytest.approx(oracle.matthews_corrcoef(labels, called))


@given(scored())
def test_ranking_metrics_are_those_of_scikit_learn(case):
    labels, scores = case
    assert metrics.auc(labels, scores) == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert metrics.average_precision(labels, scores) == pytest.approx(oracle.average_precision_score(labels, scores))
    assert metrics.brier(labels, scores) == pytest.approx(oracle.brier_score_loss(labels, scores))
    false_alarms, recall = metrics.roc_curve(labels, scores)
    every = np.stack(oracle.roc_curve(labels, scores, drop_intermediate=False)[:2], axis=1).round(9).tolist()
    found = np.stack([false_alarms, recall], axis=1).round(9).tolist()
    assert all(point in every for point in found) and found[0] == [0, 0] and found[-1] == [1, 1]
    assert np.trapezoid(recall, false_alarms) == pytest.approx(metrics.auc(labels, scores))


def test_auc_counts_pairs():
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 80), rng.integers(0, 12, 80)
    pairs = [(fake > real) + (fake == real) / 2 for fake in scores[labels == 1] for real in scores[labels == 0]]
    assert metrics.auc(labels, scores) == pytest.approx(np.mean(pairs))


def test_infinite_logits_rank_where_saturated_probabilities_tie():
    labels = [0, 0, 1, 1]
    logits = np.array([-np.inf, 40.0, 45.0, np.inf])
    assert metrics.auc(labels, logits) == 1.0
    with np.errstate(over="ignore"):
        saturated = 1 / (1 + np.exp(-logits))
    assert metrics.auc(labels, saturated) == pytest.approx(0.75)  # 40, 45 and inf are all exactly 1
    assert metrics.average_precision(labels, logits) == 1.0
    assert metrics.roc_curve(labels, logits)[1][-1] == 1.0


def test_a_score_that_equals_the_threshold_is_called_real():
    assert metrics.confusion([0, 1], [0.5, 0.5]) == Confusion(tn=1, fp=0, fn=1, tp=0)
    assert metrics.confusion([0, 1], [0.3, 0.3], threshold=0.2) == Confusion(tn=0, fp=1, fn=0, tp=1)


@pytest.mark.parametrize(("counts", "metric", "why"), [
    (Confusion(0, 0, 0, 0), "accuracy", "no images"),
    (Confusion(5, 0, 3, 0), "precision", "nothing was called fake"),
    (Confusion(5, 1, 0, 0), "recall", "no fake images"),
    (Confusion(0, 0, 1, 4), "specificity", "no real images"),
    (Confusion(0, 0, 1, 4), "balanced_accuracy", "no real images"),
    (Confusion(5, 0, 0, 0), "f1", "no fake images, and nothing called fake"),
    (Confusion(5, 0, 5, 0), "mcc", "only one class, or only one kind of verdict"),
])
def test_an_undefined_metric_raises_and_says_why(counts, metric, why):
    with pytest.raises(UndefinedMetric, match=why) as caught:
        getattr(counts, metric)
    assert caught.value.why == why and isinstance(caught.value, DfdError)


@pytest.mark.parametrize("function", [metrics.auc, metrics.average_precision, metrics.roc_curve])
@pytest.mark.parametrize(("labels", "why"), [([1, 1], "no real images"), ([0, 0], "no fake images"), ([], "no images")])
def test_ranking_one_class_is_undefined(function, labels, why):
    with pytest.raises(UndefinedMetric, match=why):
        function(labels, np.linspace(0, 1, len(labels)))


def test_arrays_of_counts_give_nan_where_undefined():
    counts = Confusion(tn=np.array([5, 5]), fp=np.array([0, 1]), fn=np.array([3, 3]), tp=np.array([0, 2]))
    assert np.isnan(counts.precision[0]) and counts.precision[1] == pytest.approx(2 / 3)
    assert counts.f1.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("function", [metrics.confusion, metrics.auc, metrics.brier])
@pytest.mark.parametrize(("labels", "scores", "message"), [
    ([0, 1], [0.1, np.nan], "1 of 2 scores are NaN"),
    ([0, 2], [0.1, 0.9], "labels must be 0"),
    ([0, 1, 1], [0.1, 0.9], "do not belong together"),
    ([[0], [1]], [[0.1], [0.9]], "do not belong together"),
])
def test_bad_input_is_refused(function, labels, scores, message):
    with pytest.raises(DfdError, match=message):
        function(labels, scores)


def test_published_matrix_gives_its_true_accuracy():
    # A matrix that was published with an "accuracy" of 0.9997500777, which is the F1 of the other class.
    counts = Confusion(tn=10000, fp=0, fn=5, tp=8974)
    assert counts.accuracy == pytest.approx(0.999737, abs=5e-7)
    assert Confusion(tn=counts.tp, fp=counts.fn, fn=counts.fp, tp=counts.tn).f1 == pytest.approx(0.9997500777)
