"""Claims: the files load, the audit finds what was made wrong on purpose, and keeps still where nothing is."""

from __future__ import annotations

import json
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dfdlib import claims
from dfdlib.claims.audit import implied_positives
from dfdlib.claims.figures import Figure
from dfdlib.claims.networks import parameters
from dfdlib.claims.schema import Model, Source
from dfdlib.errors import DfdError

FILES = sorted(path.stem for path in claims.CLAIMS.glob("*.yaml"))
COLUMNS = ("tn", "fp", "fn", "tp")
matrices = st.tuples(*[st.integers(1, 3000)] * 4)
digits = st.integers(3, 6)
units = st.sampled_from(["fraction", "percent"])


def source(*entries: dict, unit: str = "fraction", **more) -> Source:
    """A source with these entries, each on the same split of the same set unless it says otherwise."""
    common = {"detector": "net", "dataset": "set", "split": "test", "positive": "real"}
    listed = [{"id": f"row-{i}", **common, **entry} for i, entry in enumerate(entries)]
    return Source.model_validate(
        {"schema": 1, "name": "made", "title": "Made up", "where": "here", "unit": unit, "entries": listed, **more}
    )


def printed(value: float, digits: int, unit: str = "fraction", rounding: str = ROUND_HALF_EVEN) -> str:
    """A share with that many significant decimals of a fraction, as a paper prints it."""
    scale, decimals = (100, digits - 2) if unit == "percent" else (1, digits)
    return str((Decimal(value) * scale).quantize(Decimal(1).scaleb(-decimals), rounding=rounding))


@lru_cache
def measured(matrix: tuple[int, int, int, int]) -> dict[str, float]:
    """Metrics by scikit-learn: four images, each weighted by how many there are of its kind."""
    from sklearn import metrics

    labels, verdicts = [0, 0, 1, 1], [0, 1, 0, 1]
    each = metrics.precision_recall_fscore_support(labels, verdicts, labels=[0, 1], sample_weight=matrix)
    (_, precision), (specificity, recall), (_, f1), _ = each
    accuracy = metrics.accuracy_score(labels, verdicts, sample_weight=matrix)
    return {"accuracy": accuracy, "precision": precision, "recall": recall, "specificity": specificity, "f1": f1}


def kinds(made: Source, figure: str | None = None) -> list[str]:
    return [f.kind for f in claims.audit([made]) if figure in (None, f.figure)]


def known(name: str, entry: str, figure: str) -> claims.Finding:
    """The finding on a figure of a published source."""
    found = [
        f for f in claims.audit([claims.read(claims.CLAIMS / f"{name}.yaml")]) if (f.entry, f.figure) == (entry, figure)
    ]
    assert len(found) == 1
    return found[0]


# The files


@pytest.mark.parametrize("name", FILES)
def test_each_file_loads_and_each_of_its_figures_is_listed_and_audited(name):
    loaded = claims.read(claims.CLAIMS / f"{name}.yaml")
    listed = {(row["entry"], row["figure"]) for row in claims.rows([loaded])}
    assert {(e.id, metric) for e in loaded.entries for metric in e.metrics} <= listed
    findings = claims.audit([loaded])
    audited = {(f.entry, figure) for f in findings for figure in f.figure.split(", ")}
    assert {(e.id, metric) for e in loaded.entries for metric in e.metrics} <= audited
    assert {e.id for e in loaded.entries} | {m.id for m in loaded.models} == {f.entry for f in findings}
    assert json.loads(json.dumps([f.as_dict() for f in findings]))[0]["source"] == name


def test_the_files_hold_every_system_of_interest():
    assert {"bnext4dfr", "rescuebox-bnext", "keras-cnn", "keras-efficientnet"} <= set(FILES)
    names = {row["detector"] for row in claims.rows() if row["source"] == "bnext4dfr"}
    whole = {f"bnext-{size}-{data}" for size in "tsm" for data in ("dffd", "cifake", "cocofake")}
    assert whole | {f"{name}-frozen" for name in whole} <= names
    assert [s.name for s in claims.load()] == FILES


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(extra=1),
        lambda v: v["entries"][0].update(accuracy="0.9"),
        lambda v: v["entries"][0]["confusion"].update(n=4),
        lambda v: v["entries"][0]["metrics"].update(accurracy="0.9"),
        lambda v: v["entries"][0]["metrics"].update(accuracy=0.9),  # not quoted: its digits are lost
        lambda v: v["entries"][0]["metrics"].update(accuracy="1.01"),
        lambda v: v["entries"][0]["metrics"].update(accuracy="90 %"),
        lambda v: v["entries"][0]["confusion"].update(tn=-1),
        lambda v: v["entries"].append(v["entries"][0]),
        lambda v: v.update(models=[{"id": "net", "input": [8, 8, 3], "layers": [{"conv": 4, "kernel": 3}]}]),
        lambda v: v.update(models=[{"id": "net", "layers": [{"dense": 4}]}]),
        lambda v: v.update(name="another"),
        lambda v: v.pop("unit"),
    ],
)
def test_a_file_with_a_mistake_is_refused(change, tmp_path):
    row = {"metrics": {"accuracy": "0.5"}, "confusion": {"tn": 1, "fp": 1, "fn": 1, "tp": 1}}
    values = source(row).model_dump(mode="json", by_alias=True, exclude_none=True)
    path = tmp_path / "made.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert claims.load(tmp_path)[0] == source(row)
    change(values)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(DfdError, match=r"made\.yaml"):
        claims.load(tmp_path)


def test_a_folder_without_claims_and_a_file_that_is_no_yaml_are_told(tmp_path):
    with pytest.raises(DfdError, match="no files of claims"):
        claims.load(tmp_path)
    (tmp_path / "broken.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(DfdError, match="not readable as YAML"):
        claims.load(tmp_path)


# Figures against counts


@settings(max_examples=30, deadline=None)
@given(matrices, digits, units, st.sampled_from(["real", "fake"]))
def test_a_consistent_row_gives_no_finding(matrix, digits, unit, positive):
    figures = {name: printed(value, digits, unit) for name, value in measured(matrix).items()}
    row = {"metrics": figures, "confusion": dict(zip(COLUMNS, matrix, strict=True)), "positive": positive}
    findings = claims.audit([source(row, unit=unit)])
    assert [f.kind for f in findings] == ["agrees"] * 5
    assert [f.recomputed.split(" ")[0] for f in findings] == list(figures.values())


@settings(max_examples=30, deadline=None)
@given(
    matrices, st.integers(4, 7), st.sampled_from(["accuracy", "precision", "recall", "f1"]), st.sampled_from([-1, 1])
)
def test_a_wrong_last_digit_is_found(matrix, digits, metric, step):
    exact = Decimal(measured(matrix)[metric])
    unit = Decimal(1).scaleb(-digits)
    wrong = exact.quantize(unit) + step * unit
    assume(0 <= wrong <= 1)
    row = {"metrics": {metric: str(wrong)}, "confusion": dict(zip(COLUMNS, matrix, strict=True))}
    (finding,) = claims.audit([source(row)])
    assert finding.wrong and finding.recomputed.startswith(str(exact.quantize(unit)))


def test_a_figure_that_was_cut_is_told_from_one_that_was_rounded():
    matrix = dict(zip(COLUMNS, (1, 0, 1, 1), strict=True))  # accuracy 2/3

    def found(text: str) -> claims.Finding:
        (finding,) = claims.audit([source({"metrics": {"accuracy": text}, "confusion": matrix})])
        return finding

    assert found("0.667").kind == found("0.7").kind == "agrees"
    assert found("0.666").kind == found("0.668").kind == "disagrees"
    assert "Cut" in found("0.666").explanation and "Cut" not in found("0.668").explanation


@settings(max_examples=30, deadline=None)
@given(matrices)
def test_single_precision_is_allowed_where_digits_go_beyond_it(matrix):
    exact = measured(matrix)["accuracy"]
    assume(exact > 0.5)
    counts = dict(zip(COLUMNS, matrix, strict=True))
    single = Decimal(float(np.float32(exact)))
    for rounding in (ROUND_HALF_EVEN, ROUND_FLOOR):
        text = str(single.quantize(Decimal("1e-10"), rounding=rounding))
        assert kinds(source({"metrics": {"accuracy": text}, "confusion": counts})) == ["agrees"]
    beside = str((single + Decimal(2) ** -24 * (-1 if exact > 0.9 else 1)).quantize(Decimal("1e-10")))
    assert kinds(source({"metrics": {"accuracy": beside}, "confusion": counts})) != ["agrees"]


@settings(max_examples=30, deadline=None)
@given(matrices)
def test_a_figure_of_the_other_class_or_of_another_metric_is_named(matrix):
    tn, fp, fn, tp = matrix
    here, there = measured(matrix), measured((tp, fn, fp, tn))
    assume(len({printed(v, 4) for v in (*here.values(), *there.values())}) == 7)  # accuracy, and recall = specificity
    counts = dict(zip(COLUMNS, matrix, strict=True))
    (swapped,) = claims.audit([source({"metrics": {"f1": printed(there["f1"], 6)}, "confusion": counts})])
    assert swapped.kind == "other metric" and "with fake as the positive class" in swapped.explanation.lower()
    (wrong,) = claims.audit([source({"metrics": {"accuracy": printed(here["f1"], 6)}, "confusion": counts})])
    assert wrong.kind == "other metric" and "f1 with real as the positive class" in wrong.explanation


@settings(max_examples=30, deadline=None)
@given(matrices)
def test_where_no_class_is_stated_the_one_that_fits_is_found(matrix):
    tn, fp, fn, tp = matrix
    cells = {"real_as_real": tp, "real_as_fake": fn, "fake_as_real": fp, "fake_as_fake": tn}  # real is positive
    figures = {name: printed(value, 6) for name, value in measured(matrix).items() if name != "accuracy"}
    findings = claims.audit([source({"metrics": figures, "confusion": cells, "positive": None})])
    assert [f.kind for f in findings] == ["agrees"] * 4
    assume(tn != tp)
    assert all("real as the positive class, which the source does not state" in f.explanation for f in findings)


# Swapped columns


@settings(max_examples=60, deadline=None)
@given(matrices, st.permutations(range(4)), st.permutations(range(4)), st.integers(0, 10**6), st.booleans())
def test_swapped_columns_are_found_with_what_they_hold(matrix, cells, columns, auc, stated):
    tn, fp, fn, tp = matrix
    assume(len(set(matrix)) == 4 and len({tp + fn, tn + fp, tp + fp, tn + fn}) == 4)
    true = {name: printed(measured(matrix)[name], 6) for name in ("accuracy", "precision", "recall")}
    true["auc"] = printed(auc / 10**6, 6)
    assume(len(set(true.values())) == 4)
    names = list(true)
    row = {
        "metrics": {column: true[names[i]] for column, i in zip(names, columns, strict=True)},
        "confusion": {column: matrix[i] for column, i in zip(COLUMNS, cells, strict=True)},
    }
    sizes = {"n_real": tp + fn, "n_fake": tn + fp}
    other = {"metrics": true, "confusion": dict(zip(COLUMNS, matrix, strict=True)), "detector": "another"}
    # The classes' sizes are known from the row itself, or from another row on the same split.
    made = source({**row, **sizes}) if stated else source(row, other)
    findings = [f for f in claims.audit([made]) if f.entry == "row-0"]
    found = {f.figure: f for f in findings}
    if list(cells) == list(columns) == [0, 1, 2, 3]:
        assert not any(f.wrong for f in findings)
        return
    if list(cells) == list(columns) == [0, 2, 1, 3] and not stated:
        # FP and FN, precision and recall: consistent as it stands, only the classes are not those of the other row.
        assert [f.figure for f in findings if f.wrong] == ["real, fake"]
        return
    assert found["row"].recomputed == f"TN {tn}, FP {fp}, FN {fn}, TP {tp}"
    for name in ("accuracy", "precision", "recall"):
        in_place = row["metrics"][name] == true[name]
        assert found[name].kind == ("agrees" if in_place else "columns misplaced")
        assert found[name].recomputed.split(" ")[0] == true[name]


def test_without_the_sizes_of_the_classes_both_readings_are_told():
    matrix = (900, 50, 100, 950)
    true = {name: printed(measured(matrix)[name], 6) for name in ("accuracy", "precision", "recall")}
    moved = {"tn": 50, "fp": 900, "fn": 100, "tp": 950}
    (row, *_) = claims.audit([source({"metrics": true, "confusion": moved})])
    assert row.kind == "columns misplaced" and "fp holds TN, tn holds FP" in row.explanation
    assert "Fits as well" in row.explanation and "precision holds recall" in row.explanation
    claim = {"metrics": {"precision": true["precision"]}, "detector": "net"}
    assert kinds(source({"metrics": true, "confusion": moved}, claim))[-1] == "not checkable"


def test_stated_sizes_that_no_order_of_the_columns_has_are_not_explained_away():
    matrix = (900, 50, 100, 950)
    true = {name: printed(measured(matrix)[name], 6) for name in ("accuracy", "precision", "recall")}
    moved = {"tn": 50, "fp": 900, "fn": 100, "tp": 950}
    found = kinds(source({"metrics": true, "confusion": moved, "n_real": 7, "n_fake": 8}))
    assert "columns misplaced" not in found and "counts disagree" in found


# Figures without counts


@settings(max_examples=30, deadline=None)
@given(matrices, digits)
def test_the_implied_share_of_positives_covers_the_true_one(matrix, digits):
    figures = {name: Figure(printed(measured(matrix)[name], digits)) for name in ("accuracy", "precision", "recall")}
    implied = implied_positives(figures)
    assume(implied is not None)
    assert implied.possible
    assert implied.low <= Fraction(matrix[2] + matrix[3], sum(matrix)) <= implied.high


def test_figures_that_no_matrix_has_and_rows_that_need_other_test_sets_are_found():
    impossible = {"precision": "0.90", "recall": "0.90", "accuracy": "0.50"}
    negative = {"precision": "0.500", "recall": "0.999", "accuracy": "0.300"}  # more false positives than negatives
    for figures in (impossible, negative):
        assert kinds(source({"metrics": figures})) == ["disagrees"]
    one, two = (
        {k: printed(v, 4) for k, v in measured(m).items() if k in impossible}
        for m in [(90, 10, 20, 80), (90, 10, 40, 160)]
    )
    assert kinds(source({"metrics": one}, {"metrics": two})) == ["disagrees"] * 2
    assert kinds(source({"metrics": one}, {"metrics": two, "split": "val"})) == ["not checkable"] * 2
    assert kinds(source({"metrics": one}, {"metrics": one})) == ["not checkable"] * 2


def test_a_claim_is_held_against_the_row_that_it_repeats():
    matrix = (900, 50, 100, 950)
    true = {name: printed(measured(matrix)[name], 6) for name in ("accuracy", "precision", "recall")} | {
        "auc": "0.977000"
    }
    row = {"metrics": true, "confusion": dict(zip(COLUMNS, matrix, strict=True))}

    def claimed(**metrics: str) -> str:
        return kinds(source(row, {"metrics": metrics}))[-1]

    assert claimed(precision=true["precision"][:4]) == "agrees" == claimed(auc="0.98")
    assert claimed(precision="0.98") == "other metric"  # the AUC
    assert claimed(precision=printed(measured(matrix)["recall"], 4)) == "other metric"
    assert claimed(precision="0.123") == "disagrees" == claimed(auc="0.99")
    assert kinds(source(row, {"metrics": {"precision": "0.123"}, "detector": "another"}))[-1] == "not checkable"


# Counts, speed, scores


def test_counts_are_added_up():
    matrix = {"tn": 40, "fp": 10, "fn": 5, "tp": 45}
    assert set(kinds(source({"confusion": matrix, "n": 100, "n_real": 50, "n_fake": 50}))) == {
        "agrees",
        "not checkable",
    }
    assert kinds(source({"confusion": matrix, "n": 101}), "n") == ["counts disagree"]
    assert kinds(source({"n": 100, "n_real": 50, "n_fake": 51}), "n") == ["counts disagree"]
    assert kinds(source({"confusion": matrix, "n_real": 49, "n_fake": 51}), "real, fake") == ["counts disagree"]
    assert kinds(source({"confusion": matrix, "uncertain": 101}), "uncertain") == ["counts disagree"]
    assert kinds(source({"confusion": matrix}, {"n": 99}), "images of the split") == ["counts disagree"] * 2
    assert kinds(source({"confusion": matrix}, {"n": 100}), "images of the split") == []


def test_images_are_held_against_the_size_of_the_split_and_sums_of_splits():
    splits = [{"dataset": "set", "split": s, "n": n} for s, n in (("train", 700), ("val", 200), ("test", 100))]
    entries = [{"n": 700, "split": "train"}, {"n": 900, "split": "train"}, {"n": 901, "split": "train"}]
    findings = claims.audit([source(*entries, splits=splits)])
    assert [f.kind for f in findings] == ["agrees", "counts disagree", "counts disagree"]
    assert "It is train 700 + val 200." in findings[1].explanation and "It is" not in findings[2].explanation


@settings(max_examples=30, deadline=None)
@given(st.integers(100, 10**6), st.integers(1, 300))
def test_a_rate_is_that_of_images_and_minutes(images, minutes):
    rate = images / minutes / 60

    def kind(rate: float) -> list[str]:
        speed = {"minutes": str(minutes), "images_per_second": f"{rate:.1f}"}
        return kinds(source({"n": images, "speed": speed}), "images per second")

    assert kind(rate) == ["agrees"]
    assert kind(rate / 2.5 - 0.2 if rate > 1 else rate * 4 + 0.2) == ["disagrees"]  # beyond half a minute of one


def test_single_scores_are_counted_under_both_polarities():
    scores = {"label": "fake", "high_means": "fake", "values": ["0.5", "0.51", ".9", "0.1"]}
    (finding,) = claims.audit([source({"scores": scores, "threshold": "0.5"})])
    assert finding.recomputed.startswith("0.5000 [0.150, 0.850]")  # Wilson's interval of 2 in 4
    scores |= {"high_means": "real", "values": [".9", ".9", ".9", ".1"]}
    (finding,) = claims.audit([source({"scores": scores, "threshold": "0.5"})])
    assert "1 of 4 called fake; 3 if a high score means fake" in finding.explanation


def test_every_metric_is_recomputed_for_both_classes():
    matrix = (90, 10, 20, 80)
    rows = claims.recomputed([source({"confusion": dict(zip(COLUMNS, matrix, strict=True))})])
    for positive, expected in (("real", measured(matrix)), ("fake", measured((80, 20, 10, 90)))):
        assert {r["metric"]: r["value"] for r in rows if r["positive"] == positive} == pytest.approx(expected)
    assert all(r["low"] < r["value"] < r["high"] for r in rows if r["metric"] != "f1")


# Networks


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_weights_are_those_that_torch_counts(data):
    from torch import nn, zeros

    channels, side = data.draw(st.integers(1, 4)), data.draw(st.integers(24, 40))
    size, layers, modules = [side, data.draw(st.integers(24, 40)), channels], [], []
    for _ in range(data.draw(st.integers(0, 3))):
        width, kernel = data.draw(st.integers(1, 6)), data.draw(st.sampled_from([1, 3, 5]))
        padding = data.draw(st.sampled_from(["valid", "same"]))
        layers += [{"conv": width, "kernel": kernel, "padding": padding}, {"pool": 2}, {"dropout": "0.5"}]
        modules += [nn.Conv2d(channels, width, kernel, padding=padding), nn.MaxPool2d(2), nn.Dropout()]
        channels = width
        if len(layers) == 6:
            break
    layers += [{"dense": 7}, {"dense": 1}]
    net = nn.Sequential(*modules, nn.Flatten(), nn.LazyLinear(7), nn.Linear(7, 1))
    net(zeros(1, size[2], size[0], size[1]))
    model = Model.model_validate({"id": "net", "input": size, "layers": layers})
    assert sum(parameters(model)) == sum(p.numel() for p in net.parameters())


def test_totals_are_weights_or_what_the_optimizer_adds():
    model = {"id": "net", "input": [4, 4, 1], "layers": [{"dense": 2}], "optimizer": "adam"}  # 34 weights
    for total, kind in ((34, "agrees"), (70, "other metric"), (104, "other metric"), (35, "disagrees")):
        assert kinds(source(models=[{**model, "total_parameters": total}])) == [kind]
    without = {**model, "optimizer": None, "total_parameters": 70}
    assert kinds(source(models=[without])) == ["disagrees"]
    assert kinds(source(models=[{"id": "net", "total_parameters": 70}])) == ["not checkable"]
    with pytest.raises(DfdError, match="nothing is left of the image"):
        parameters(Model.model_validate({**model, "layers": [{"pool": 5}, {"dense": 1}]}))


def test_operations_are_held_against_the_usual_ways_to_count():
    def kind(gflops: str) -> str:
        return kinds(source(models=[{"id": "net", "gflops": gflops, "multiply_adds": {"all": 1640, "binary": 1600}}]))[
            0
        ]

    assert {kind("1.64"), kind("3.28"), kind("0.065"), kind("0.13")} == {"agrees"}
    assert kind("0.65") == kind("2.5") == "disagrees"
    (finding,) = claims.audit(
        [source(models=[{"id": "net", "gflops": "0.65", "multiply_adds": {"all": 1640, "binary": 1600}}])]
    )
    assert "64 between signs as one, if the unit were 10^8" in finding.explanation


@pytest.mark.slow
def test_keras_counts_the_same_backbone_and_the_same_slots_of_adam():
    import torch  # noqa: F401  (before Keras)

    from dfdlib import runtime

    runtime.keras()
    import keras

    layers = next(m for m in claims.read(claims.CLAIMS / "keras-efficientnet.yaml").models if m.layers).layers
    net = keras.applications.EfficientNetV2B0(include_top=False, weights=None, pooling="max", input_shape=(256, 256, 3))
    assert (net.count_params(), net.output_shape[-1]) == (layers[0].parameters, layers[0].features)
    small = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    adam = keras.optimizers.Adam()
    adam.build(small.trainable_variables)
    assert sum(int(np.prod(v.shape)) for v in adam.variables) == 2 * small.count_params() + 2


@pytest.mark.slow
@pytest.mark.parametrize("size", "TSM")
def test_multiply_adds_are_those_of_the_architecture(size):
    import torch

    from dfdlib.detectors.bnext import BinaryConv, BNext

    counted = {"all": 0, "binary": 0}

    def count(module, inputs, output):
        per_value = next(p for p in module.parameters()).shape[1:].numel()
        counted["all"] += output.numel() * per_value
        counted["binary"] += output.numel() * per_value * isinstance(module, BinaryConv)

    net = BNext(size).eval()
    net.set_temperature(1e-8)
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear, BinaryConv)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        net(torch.rand(1, 3, 224, 224))
    models = {m.id: m for m in claims.read(claims.CLAIMS / "bnext4dfr.yaml").models}
    stated = models[f"bnext-{size.lower()}"].multiply_adds
    assert (stated.all, stated.binary) == (round(counted["all"] / 1e6), round(counted["binary"] / 1e6))


# What is wrong in print, found by computation alone


def test_the_accuracy_that_is_an_f1():
    finding = known("rescuebox-bnext", "no-crop", "accuracy")
    assert finding.kind == "other metric" and finding.recomputed.startswith("0.99973655")
    assert "f1 with real as the positive class" in finding.explanation
    for entry, figure in (("no-crop", "f1"), ("retinaface-crop", "f1"), ("retinaface-crop", "accuracy")):
        assert known("rescuebox-bnext", entry, figure).kind == "agrees"


def test_the_row_whose_columns_are_misplaced():
    row = known("keras-efficientnet", "effnetv2b0-val", "row")
    assert row.kind == "columns misplaced" and row.recomputed == "TN 18614, FP 1027, FN 348, TP 19439"
    assert "Fits as well" not in row.explanation  # the class sizes of another row leave one reading
    for words in ("precision holds auc", "recall holds precision", "auc holds recall"):
        assert words in row.explanation
    assert known("keras-efficientnet", "effnetv2b0-val", "precision").recomputed.startswith("0.949819")
    assert known("keras-efficientnet", "effnetv2b0-val", "recall").recomputed.startswith("0.982413")
    claim = known("keras-efficientnet", "effnetv2b0-claim", "precision")
    assert claim.kind == "other metric" and "AUC" in claim.explanation
    assert known("keras-efficientnet", "effnetv2b0-claim", "accuracy").kind == "agrees"


def test_the_counts_that_are_not_those_of_the_split():
    training = known("keras-efficientnet", "effnetv2b0-train", "images of the split")
    assert training.kind == "counts disagree" and "train 140002 + val 39428" in training.explanation
    for entry in ("cnn-tuned-val", "effnetv2l-val"):
        assert known("keras-efficientnet", entry, "images of the split").kind == "counts disagree"
    assert known("keras-efficientnet", "cnn-benchmark-val", "images of the split").kind == "agrees"


@pytest.mark.parametrize(("model", "total"), [("v1", 3696625), ("v2", 3946481), ("v3", 3946481)])
def test_the_totals_that_are_the_optimizers(model, total):
    finding = known("keras-cnn", f"keras-cnn-{model}", "parameters")
    assert (finding.kind, finding.recomputed) == ("other metric", str(total))


def test_rates_agree_with_counts_and_minutes():
    assert {known("rescuebox-bnext", e, "images per second").kind for e in ("no-crop", "retinaface-crop")} == {"agrees"}


@pytest.mark.parametrize("name", FILES)
def test_no_name_makes_a_finding(name):
    """The audit computes: other words for detectors, entries and notes leave the kinds as they are."""
    loaded = claims.read(claims.CLAIMS / f"{name}.yaml")
    values = loaded.model_dump(mode="json", by_alias=True, exclude_none=True)
    for i, entry in enumerate(values["entries"]):
        entry |= {"id": f"e{i}", "detector": f"d-{entry['detector'][::-1]}", "note": "", "where": ""}
    for i, model in enumerate(values.get("models", [])):
        model |= {"id": f"m{i}", "note": ""}
    renamed = Source.model_validate({**values, "name": "made", "title": "", "where": "", "note": ""})
    assert [(f.figure, f.kind) for f in claims.audit([renamed])] == [(f.figure, f.kind) for f in claims.audit([loaded])]
