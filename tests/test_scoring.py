"""Scoring: a row for every image, one pass, resumable to the same table; contract 2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import badfiles
import numpy as np
import pyarrow as pa
import pytest
import tinydetector
from PIL import Image

from dfdlib import arms, detectors, images, manifest, scores, scoring
from dfdlib.detectors import card as cards
from dfdlib.errors import DfdError
from dfdlib.manifest import Row


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tinydetector.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """200 good images and the bad ones."""
    root = tmp_path_factory.mktemp("images")
    rows = []
    for i in range(200):
        label = "real" if i % 3 else "fake"
        (root / f"{i:03}.jpg").write_bytes(badfiles.encoded(badfiles.photo((40 + i % 7, 36), seed=i), "JPEG"))
        rows.append(Row(f"{i:03}.jpg", label, f"s{i % 2}", group=f"g{i // 4}"))
    good, bad = badfiles.fill(root / "odd")
    rows += [Row(f"odd/{name}", "fake", "odd") for name in sorted(good | bad)]
    return manifest.build(rows, root, "mine", {"recipe": "test"})


def plan(table, *cards_, crops=("none",)):
    return arms.plan(table, [str(c) for c in cards_], crops, "cpu")


def run(table, planned, out):
    return [scores.read(path) for path in scoring.score(table, planned, out, min_coverage=0)]


def test_every_row_is_there_and_bad_images_say_why(table, tiny, tmp_path):
    [found] = run(table, plan(table, tiny), tmp_path)
    frame = found.frame
    assert frame.path.tolist() == table.frame.path.tolist() and frame.id.equals(table.frame.id)
    assert frame.group.equals(table.frame.group)
    bad = {f"odd/{name}" for name in [*badfiles.BAD, "broken link.jpg"]}
    assert set(frame[frame.status != "ok"].path) == bad
    assert frame[frame.status != "ok"].error.str.len().min() > 5
    assert frame[frame.status != "ok"][["p_fake", "logit"]].isna().all(axis=None)
    fine = frame[frame.status == "ok"]
    assert fine.p_fake.between(0, 1).all() and fine.error.isna().all()
    assert np.allclose(fine.p_fake, 1 / (1 + np.exp(-fine.logit)), rtol=0, atol=1e-15)
    assert fine.logit.std() > 0.1, "the detector should tell images apart, or these tests see nothing"


def test_scores_are_those_of_the_network(table, tiny, tmp_path):
    """Against a plain loop over PIL and timm, without any of the project's preparation."""
    import torch

    [found] = run(table, plan(table, tiny), tmp_path)
    network = detectors.load(cards.read(tiny), "cpu").network
    for path, logit in list(zip(found.frame.path, found.frame.logit, strict=True))[:40]:
        pixels = np.asarray(Image.open(table.root / path).convert("RGB").resize((32, 32), Image.BICUBIC))
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            assert abs(network(tensor).item() - logit) < 1e-5


def test_metadata_traces_the_scores(table, tiny, tmp_path):
    [found] = run(table, plan(table, tiny), tmp_path)
    meta = found.metadata
    assert meta["manifest"]["digest"] == table.digest
    assert meta["weights_sha256"] == meta["card"]["weights"]["sha256"]
    assert meta["arm"] == {"detector": "tiny", "crop": "none", "perturbation": "none"}
    assert meta["versions"]["torch"] and meta["hardware"]["cpu"] and meta["images_per_second"] > 0
    assert found.arm == "tiny · none" and "tiny" in found._repr_html_()


def test_asking_again_runs_nothing(table, tiny, tmp_path, monkeypatch):
    planned = plan(table, tiny, crops=("none", "haar"))
    first = run(table, planned, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    monkeypatch.setattr(detectors, "load", lambda *_: pytest.fail("a detector was loaded"))
    assert [s.table for s in run(table, planned, tmp_path)] == [s.table for s in first]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_another_card_or_manifest_is_another_arm(table, tiny, tmp_path):
    [arm] = plan(table, tiny)
    other = tinydetector.make(tmp_path, output={"kind": "logit", "positive": "real"})
    assert plan(table, other)[0].digest != arm.digest
    same = tinydetector.make(tmp_path / "again", summary="Other words.", claims=[])
    assert plan(table, same)[0].digest == arm.digest
    part = manifest.build([Row("000.jpg", "fake", "s")], table.root, "mine")
    assert plan(part, tiny)[0].digest != arm.digest
    assert plan(table, tiny, crops=("haar",))[0].digest != arm.digest


def test_polarity(table, tiny, tmp_path):
    mirrored = tinydetector.make(tmp_path, "mirrored", output={"kind": "logit", "positive": "real"})
    one, two = run(table, plan(table, tiny, mirrored), tmp_path / "out")
    np.testing.assert_array_equal(one.frame.logit, -two.frame.logit)


def test_one_pass_reads_each_image_once(table, tiny, tmp_path, monkeypatch):
    other = tinydetector.make(tmp_path, "other", seed=1)
    reads, reader = [], images.read_bytes
    monkeypatch.setattr(images, "read_bytes", lambda path: reads.append(path) or reader(path))
    together = run(table, plan(table, tiny, other, crops=("none", "haar")), tmp_path / "together")
    assert len(reads) == len(table)
    for single in together:
        [alone] = run(
            table, plan(table, tiny if single.detector == "tiny" else other, crops=(single.crop,)), tmp_path / "alone"
        )
        assert alone.table.equals(single.table)


def test_an_interrupted_run_goes_on(table, tiny, tmp_path, monkeypatch):
    planned = plan(table, tiny, crops=("none", "haar"))
    whole = run(table, planned, tmp_path / "whole")
    calls, forward = [], detectors.Detector.answer

    def interrupted(self, batch):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(detectors.Detector, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(table, planned, tmp_path / "again")
    assert not scores.files(tmp_path / "again")
    for part, single in zip(run(table, planned, tmp_path / "again"), whole, strict=True):
        assert part.table.equals(single.table)
    assert len(calls) == 6 + 2 * 7 - 5, "what was answered before must not be asked again"
    assert len(list((tmp_path / "again").iterdir())) == 2, "nothing temporary stays"


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_run_ends_with_the_same_table(table, tiny, tmp_path):
    manifest.write(table, tmp_path / "m.parquet")
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from dfdlib import arms, detectors, manifest, scoring
        scoring.PART_SECONDS = 0
        forward = detectors.Detector.answer
        detectors.Detector.answer = lambda self, batch: time.sleep(0.3) or forward(self, batch)
        table = manifest.read(Path({str(tmp_path / "m.parquet")!r}))
        scoring.score(table, arms.plan(table, [{str(tiny)!r}], ["none"], "cpu"), Path({str(tmp_path / "out")!r}))
    """)
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").glob(".*.parts/*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it ended before it was killed"
    [resumed], [whole] = run(table, plan(table, tiny), tmp_path / "out"), run(table, plan(table, tiny), tmp_path / "w")
    assert resumed.table.equals(whole.table)


def test_low_coverage_is_an_error_with_its_own_code(table, tiny, tmp_path):
    with pytest.raises(DfdError, match=r"only 9\d\.\d+% of \d+ images") as caught:
        scoring.score(table, plan(table, tiny), tmp_path, min_coverage=0.99)
    assert caught.value.exit_code == scoring.EXIT_COVERAGE
    assert len(scores.read_folder(tmp_path)[0]) == len(table), "the scores are kept all the same"


def test_a_file_that_changed_is_not_scored(tiny, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(badfiles.GOOD["plain.jpg"]())
    table = manifest.build([Row("a.jpg", "real", "s")], tmp_path, "mine")
    path.write_bytes(badfiles.GOOD["cmyk.jpg"]())
    [found] = run(table, plan(table, tiny), tmp_path / "out")
    assert found.frame.status[0] == "unreadable" and "changed after the manifest" in found.frame.error[0]


def test_a_batch_that_does_not_fit_is_halved(table, tiny, tmp_path, monkeypatch):
    import torch

    whole = run(table, plan(table, tiny), tmp_path / "whole")[0]
    forward = detectors.Detector.answer

    def small_memory(self, batch):
        if len(batch) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, batch)

    monkeypatch.setattr(detectors.Detector, "answer", small_memory)
    found = run(table, plan(table, tiny), tmp_path / "halved")[0]
    np.testing.assert_allclose(found.frame.logit, whole.frame.logit, rtol=0, atol=1e-5)
    assert found.metadata["batches_halved"] > 0
    monkeypatch.setattr(detectors.Detector, "answer", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(DfdError, match="one image does not fit"):
        run(table, plan(table, tiny), tmp_path / "none")


def test_nan_and_infinity(table, tiny, tmp_path, monkeypatch):
    answers = iter([np.array([np.nan, np.inf, -np.inf, 0.0, *[1.0] * 28])] + [np.zeros(32)] * 10)
    monkeypatch.setattr(detectors.Detector, "logits", lambda self, batch: next(answers)[: len(batch)])
    frame = run(table, plan(table, tiny), tmp_path)[0].frame
    assert frame.status[0] == "error" and "NaN" in frame.error[0] and np.isnan(frame.p_fake[0])
    assert frame.p_fake[1:4].tolist() == [1.0, 0.0, 0.5] and np.isposinf(frame.logit[1])


def test_a_face_detector_that_fails_on_an_image_costs_one_row(table, tiny, tmp_path, monkeypatch):
    from dfdlib import faces

    def make(**_):
        def find(image):
            if image.shape[1] == 40:
                raise RuntimeError("bad luck")
            return [faces.Face(1, 2, 20, 30, 0.5)]

        return find

    monkeypatch.setattr("dfdlib.faces.haar.make", make)
    frame = run(table, plan(table, tiny, crops=("none", "haar")), tmp_path)[1].frame
    narrow = frame.path.isin([f"{i:03}.jpg" for i in range(0, 200, 7)])
    assert (frame[narrow].status == "error").all() and frame[narrow].error.str.contains("bad luck").all()
    rest = frame[~narrow & (frame.status == "ok")]
    assert rest.face_found.all() and (rest.face_x1 == 20).all() and (rest.face_count == 1).all()


def test_plans_that_make_no_sense(table, tiny):
    with pytest.raises(DfdError, match="same detector twice"):
        plan(table, tiny, tiny)
    with pytest.raises(DfdError, match=r"No crop profile 'har'\. Did you mean 'haar'"):
        plan(table, tiny, crops=("har",))
    with pytest.raises(DfdError, match="Unknown device"):
        arms.plan(table, [str(tiny)], ["none"], "tpu")
    with pytest.raises(DfdError, match="No detector"):
        arms.plan(table, [], ["none"], "cpu")


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    import errno

    from dfdlib import paths

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(paths.os, "replace", full)
    with pytest.raises(DfdError, match="No space left on the disk"), paths.written_whole(tmp_path / "x") as temporary:
        temporary.write_text("x")
    assert not list(tmp_path.iterdir())


def test_stored_digest_of_other_files_is_none(tmp_path):
    assert scores.stored_digest(tmp_path / "none") is None
    (tmp_path / "x").write_text("x")
    assert scores.stored_digest(tmp_path / "x") is None
    with pytest.raises(DfdError, match="no scores here"):
        scores.read_folder(tmp_path)


def test_schema_round_trip_of_a_frame(table, tiny, tmp_path):
    [found] = run(table, plan(table, tiny, crops=("haar",)), tmp_path)
    scores.write(tmp_path / "copy.scores.parquet", found.frame, found.metadata)
    again = scores.read(tmp_path / "copy.scores.parquet")
    assert again.table.equals(found.table) and isinstance(again.table, pa.Table)


@pytest.mark.slow
def test_memory_stays_flat(tiny, tmp_path):
    """The peak over 20,000 rows is at most 100 MB above that over 1,000 rows, each in a process of its own."""
    pytest.importorskip("resource")
    data = [badfiles.encoded(badfiles.photo((96, 96), seed=i), "JPEG") for i in range(50)]
    for i in range(20_000):
        (tmp_path / f"{i:05}.jpg").write_bytes(data[i % 50] + b"%d" % i)
    code = textwrap.dedent(f"""
        import resource, sys
        from pathlib import Path
        from dfdlib import arms, manifest, scoring
        root, n = Path({str(tmp_path)!r}), int(sys.argv[1])
        rows = [manifest.Row(f"{{i:05}}.jpg", "real" if i % 2 else "fake", "s") for i in range(n)]
        table = manifest.build(rows, root, "mine")
        scoring.score(table, arms.plan(table, [{str(tiny)!r}], ["none", "haar"], "cpu"), root / f"out{{n}}")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """)

    def peak(n):
        done = subprocess.run([sys.executable, "-c", code, str(n)], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1]) / 1024

    small, large = peak(1_000), peak(20_000)
    assert large - small < 100, (small, large)
