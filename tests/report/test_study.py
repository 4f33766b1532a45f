"""The rows of a report against scikit-learn, against counting, and on sets that have holes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from dfdlib.errors import DfdError
from dfdlib.report import study
from dfdlib.report.study import Undefined
from dfdlib.statistics import Difference, Interval


def ok_rows(arm) -> pd.DataFrame:
    frame = arm.frame
    return frame[frame.status == "ok"].assign(fake=lambda f: f.label == "fake", called=lambda f: f.p_fake > 0.5)


def test_leaderboard_is_what_scikit_learn_finds_and_sorted_by_auc(six):
    [data] = study.data_sets(six)
    board = study.leaderboard(data)
    assert [row["auc"].value for row in board] == sorted((row["auc"].value for row in board), reverse=True)
    by_name = {arm.arm: ok_rows(arm) for arm in six}
    for row in board:
        rows = by_name[row["arm"]]
        expected = {"auc": oracle.roc_auc_score(rows.fake, rows.logit),
                    "accuracy": oracle.accuracy_score(rows.fake, rows.called),
                    "precision": oracle.precision_score(rows.fake, rows.called),
                    "recall": oracle.recall_score(rows.fake, rows.called),
                    "f1": oracle.f1_score(rows.fake, rows.called)}
        assert {key: row[key].value for key in expected} == pytest.approx(expected)
        assert all(row[key].low < row[key].value < row[key].high for key in expected)
        assert [row[key] for key in ("tn", "fp", "fn", "tp")] == oracle.confusion_matrix(
            rows.fake, rows.called).ravel().tolist()
        assert row["scored"] == len(rows) < row["n"] == 400
        assert row["coverage"].value == len(rows) / 400
        if row["crop"] == "none":
            assert row["faces"] is None
        else:
            assert row["faces"].value == pytest.approx(rows.face_found.mean())


def test_pairs_use_the_images_that_both_scored(six, edit):
    def lose(frame):
        frame.loc[:49, ["status", "p_fake", "logit"]] = ["error", None, None]
    some = [edit(six[0], lose), *six[1:3]]
    [data] = study.data_sets(some)
    rows = study.pairs(data)
    assert len(rows) == 3
    frames = {arm.arm: arm.frame for arm in some}
    for row in rows:
        a, b = frames[row["a"]], frames[row["b"]]
        both = (a.status == "ok") & (b.status == "ok")
        fake = a.label[both] == "fake"
        expected = oracle.roc_auc_score(fake, a.logit[both]) - oracle.roc_auc_score(fake, b.logit[both])
        assert row["auc_difference"].value == pytest.approx(expected)
        assert row["n"] == both.sum()
        assert row["auc_difference_p_holm"] >= row["auc_difference"].p


def test_crop_changes_count_flips_on_the_same_images(six):
    [data] = study.data_sets(six)
    rows = study.changes(data, "crop")
    assert [(row["arm"], row["images"]) for row in rows] == [
        (f"{name} · haar", which) for name in ("alpha", "beta", "gamma") for which in ("all", "with a face")]
    before, after = six[0].frame, six[1].frame
    for row, keep in ((rows[0], after.status == "ok"), (rows[1], after.face_found.fillna(False).astype(bool))):
        old, new, fake = before.p_fake[keep] > 0.5, after.p_fake[keep] > 0.5, before.label[keep] == "fake"
        assert (row["to_fake"], row["to_real"]) == ((new & ~old).sum(), (old & ~new).sum())
        assert (row["mended"], row["broken"]) == (((new == fake) & (old != fake)).sum(),
                                                  ((new != fake) & (old == fake)).sum())
        assert row["accuracy_difference"].value == pytest.approx((new == fake).mean() - (old == fake).mean())
        assert row["auc_difference"].value == pytest.approx(
            oracle.roc_auc_score(fake, after.logit[keep]) - oracle.roc_auc_score(fake, before.logit[keep]))
    assert study.changes(data, "perturbation") == []


def test_perturbations_are_compared_with_the_same_detector_and_crop(make_arms):
    plain = make_arms(200, ("alpha",), ("none", "haar"))
    disturbed = make_arms(200, ("alpha",), ("none", "haar"), perturbation="jpeg-50")
    [data] = study.data_sets([*disturbed, *plain])
    assert [arm.name for arm in data.plain] == ["alpha · none", "alpha · haar"]
    rows = study.changes(data, "perturbation")
    assert [(row["arm"], row["base"]) for row in rows] == [
        ("alpha · none · jpeg-50", "alpha · none"), ("alpha · haar · jpeg-50", "alpha · haar")]
    crops = study.changes(data, "crop")
    assert {(row["arm"], row["base"]) for row in crops} == {
        ("alpha · haar", "alpha · none"), ("alpha · haar · jpeg-50", "alpha · none · jpeg-50")}
    assert len(study.pairs(data)) == 1  # disturbed arms do not compete


def test_subsets_are_fakes_of_one_kind_against_all_reals(six):
    [data] = study.data_sets(six)
    rows = {(row["arm"], row["subset"], row["label"]): row for row in study.subsets(data)}
    frame = ok_rows(six[0])
    for kind in ("diffusion", "faceswap", "stylegan"):
        row = rows["alpha · none", kind, "fake"]
        chosen = frame[(frame.subset == kind) | ~frame.fake]
        assert row["auc"].value == pytest.approx(oracle.roc_auc_score(chosen.fake, chosen.logit))
        assert row["right"].value == pytest.approx(frame[frame.subset == kind].called.mean())
        assert row["n"] == (frame.subset == kind).sum() and not row["small"]
    real = rows["alpha · none", "camera", "real"]
    assert real["auc"] is None and real["right"].value == pytest.approx(1 - frame[~frame.fake].called.mean())


def test_small_and_nameless_subsets_are_told(make_arms, edit):
    def rename(frame):
        frame.loc[frame.index[frame.label == "fake"][:7], "subset"] = None
    [data] = study.data_sets([edit(make_arms(100, ("alpha",), ("none",), unreadable=0.0)[0], rename)])
    row = next(row for row in study.subsets(data) if row["subset"] == "(no subset)")
    assert row["n"] == row["images"] == 7 and row["small"]


def test_worst_errors_are_the_most_confident_also_beyond_saturation(make_arms, edit):
    def saturate(frame):
        reals = frame.index[frame.label == "real"]
        frame.loc[reals[:3], "logit"] = [50.0, np.inf, 60.0]
        frame.loc[reals[:3], "p_fake"] = 1.0
    [data] = study.data_sets([edit(make_arms(100, ("alpha",), ("none",), unreadable=0.0)[0], saturate)])
    reals = np.flatnonzero(~data.fake)
    found = {kind: (rows, total) for kind, rows, total in study.worst(data, data.arms[0], 4)}
    rows, total = found["false alarm"]
    assert rows[:3].tolist() == reals[[1, 2, 0]].tolist() and len(rows) == 4 <= total
    rows, _ = found["miss"]
    logits = data.arms[0].logit[rows]
    assert data.fake[rows].all() and np.all(np.diff(logits) >= 0) and logits.max() <= 0


def test_failures_list_every_image_and_arm(six, edit):
    def fail(frame):
        frame.loc[7, ["status", "error", "p_fake", "logit"]] = ["error", None, None, None]
    [data] = study.data_sets([edit(six[0], fail), *six[1:]])
    found = study.failures(data)
    bad = six[1].frame.status != "ok"
    assert len(found) == 6 * bad.sum() + (0 if bad[7] else 1)
    own = found[(found.row == 7) & (found.arm == "alpha · none")]
    assert own.error.tolist() == ["no reason recorded"] and own.status.tolist() == ["error"]
    assert found.row.is_monotonic_increasing


def test_groups_are_clusters_within_their_data_set(make_arms, edit):
    one = make_arms(120, ("alpha",), ("none",), unreadable=0.0)[0]

    def group(frame):
        frame["group"] = [f"video{i // 4}" for i in range(119)] + [None]
        frame["dataset"] = np.where(np.arange(120) < 60, "a", "b")
        frame.loc[frame.index[60:64], "group"] = "video0"  # the same name in another data set is another video
    [data] = study.data_sets([edit(one, group)])
    assert data.clusters is not None and len(set(data.clusters[:4])) == 1
    assert data.clusters[60] not in data.clusters[:60]
    assert (data.clusters == data.clusters[119]).sum() == 1
    assert len(set(data.clusters)) == 31
    assert data.name == "a + b"
    [single] = study.data_sets([edit(one, lambda frame: frame.__setitem__("group", frame["path"]))])
    assert single.clusters is None


def test_clusters_reach_every_figure(make_arms, edit):
    def repeat(frame):  # 50 images, each eight times: that is 50 images' worth of evidence
        for name in ("label", "p_fake", "logit", "subset", "face_found"):
            frame[name] = np.repeat(frame[name].to_numpy()[:50], 8)
    def group(frame):
        repeat(frame)
        frame["group"] = np.repeat([f"g{i}" for i in range(50)], 8)
    arms = make_arms(400, ("alpha",), ("none", "haar"), unreadable=0.0)
    narrow, wide = ([study.data_sets([edit(arm, change) for arm in arms])[0] for change in (repeat, group)])
    for rows_of in (study.leaderboard, study.pairs, lambda d: study.changes(d, "crop"), study.subsets):
        for one, two in zip(rows_of(narrow), rows_of(wide), strict=True):
            for key, value in one.items():
                if isinstance(value, Interval) and value.high - value.low > 0.01 and key not in ("coverage",):
                    assert two[key].high - two[key].low > 1.5 * (value.high - value.low), (key, value, two[key])


def test_one_class_leaves_holes_that_say_why(make_arms):
    frame = next(iter(make_arms(60, ("alpha",), ("none",)))).frame
    fakes = frame.loc[frame.label == "fake", ["id", "path", "label", "dataset", "subset", "group"]]
    [data] = study.data_sets(make_arms(detectors=("alpha",), crops=("none",), frame=fakes.reset_index(drop=True)))
    row = study.leaderboard(data)[0]
    assert row["auc"] == Undefined("no real images")
    assert isinstance(row["recall"], Interval) and isinstance(row["accuracy"], Interval)
    assert row["precision"].value == 1.0
    assert study.subsets(data)[0]["auc"] == Undefined("no real images")


def test_an_arm_without_scores_leaves_holes(make_arms):
    [data] = study.data_sets(make_arms(60, ("alpha",), ("none", "haar"), unreadable=1.1))
    row = study.leaderboard(data)[0]
    assert row["coverage"].value == 0.0 and row["scored"] == 0
    assert {key: row[key] for key in ("auc", "accuracy")} == dict.fromkeys(("auc", "accuracy"), Undefined("no images"))
    assert row["precision"] == Undefined("nothing was called fake") and row["recall"] == Undefined("no fake images")
    change = study.changes(data, "crop")[0]
    assert isinstance(change["auc_difference"], Undefined) and change["auc_difference_p_holm"] is None


def test_arms_of_different_manifests_are_never_paired(make_arms):
    data = study.data_sets([*make_arms(80, ("alpha", "beta"), ("none",)), *make_arms(90, ("alpha",), ("none", "haar"))])
    assert [len(one) for one in data] == [80, 90]
    assert [len(study.pairs(one)) for one in data] == [1, 1]
    assert all(isinstance(row["auc_difference"], Difference) for one in data for row in study.pairs(one))


def test_scores_that_name_no_manifest_are_grouped_by_their_rows(make_arms, edit):
    bare = [edit(arm, lambda frame: None, manifest={}) for n in (40, 60) for arm in make_arms(n, ("alpha",))]
    assert [len(one.arms) for one in study.data_sets(bare)] == [2, 2]


def test_bad_input_is_refused(six, edit):
    with pytest.raises(DfdError, match="no scores to report on"):
        study.data_sets([])
    with pytest.raises(DfdError, match="alpha · none: two sets of scores on the same manifest"):
        study.data_sets([six[0], six[2], six[0]])
    with pytest.raises(DfdError, match="not the same rows as alpha · none"):
        study.data_sets([six[0], edit(six[1], lambda frame: frame.__setitem__("label", "real"))])

    def lose(frame):
        frame.loc[frame.index[frame.status == "ok"][0], "logit"] = None
    with pytest.raises(DfdError, match="alpha · none: 1 rows have status ok but no score"):
        study.data_sets([edit(six[0], lose)])


def test_endings_that_give_the_label_away_are_found(make_arms, edit):
    def rename(frame):
        frame["path"] = np.where(frame.label == "fake", frame.path.str.replace(".jpg", ".PNG"), frame.path)
    one = make_arms(40, ("alpha",), ("none",))[0]
    assert study.suffixes_tell(study.data_sets([one])[0]) is None
    assert study.suffixes_tell(study.data_sets([edit(one, rename)])[0]) == (["jpg"], ["png"])
