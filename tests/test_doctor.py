"""dfdlib.doctor: what it says of this machine, and of machines that are not at hand."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from dfdlib import doctor
from dfdlib.doctor import Check

H200 = {"name": "NVIDIA H200", "capability": [9, 0], "total": 139 * 2**30, "free": 138 * 2**30, "works": True}
PROBE = {"torch": "2.12.1+cu130", "cuda_build": "13.0", "cpu": "AVX2", "mps": False, "devices": []}
DRIVER = "580.65.06, NVIDIA H200"


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict[str, Check]:
    """One real examination, as on a machine without NVIDIA's tools."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_PATH", "KERAS_BACKEND"):
            patch.delenv(name, raising=False)
        folder = tmp_path_factory.mktemp("work")
        weights = [("sample-cnn", True, "unused"), ("bnext", False, "dfd weights get bnext --from FILE")]
        return {check.name: check for check in doctor.examine(folder=folder, weights=weights)}


def only(checks) -> Check:
    (check,) = list(checks)
    return check


def test_this_machine(here):
    import torch

    assert here["imports"].status == "ok"
    assert torch.__version__ in here["imports"].detail
    assert here["cpu"].detail.endswith(f"torch computes with {torch.backends.cpu.get_cpu_capability()} instructions")
    assert here["face cascade"].status == "ok"
    assert here["working folder"].status == "ok"
    gpus = [check for name, check in here.items() if name.startswith("gpu")]
    if torch.cuda.is_available():
        assert torch.cuda.get_device_name(0) in gpus[0].detail
    elif not shutil.which("nvidia-smi") and not torch.backends.mps.is_available():
        assert gpus == [Check("gpu", "ok", gpus[0].detail)]
        assert gpus[0].detail.startswith("no GPU: the CPU is used")


def test_every_package_is_compared_with_the_lock(here):
    locked = doctor.locked_versions()
    for name in doctor.PACKAGES:
        assert here[name].status == ("ok" if metadata.version(name).split("+")[0] == locked[name] else "warn")


def test_weights_that_are_missing_only_warn(here):
    assert here["weights sample-cnn"] == Check("weights sample-cnn", "ok", "present and unchanged")
    assert here["weights bnext"].status == "warn"
    assert here["weights bnext"].remedy == "dfd weights get bnext --from FILE"


def test_whatever_is_not_ok_has_a_remedy(here):
    assert all(bool(check.remedy) == (check.status != "ok") for check in here.values())


def test_json_and_exit_code(here):
    checks = list(here.values())
    read = json.loads(doctor.to_json(checks))
    assert [Check(**check) for check in read["checks"]] == checks
    assert read["ok"] is (doctor.exit_code(checks) == 0)
    assert doctor.exit_code([]) == doctor.exit_code([Check("a", "ok", ""), Check("b", "warn", "")]) == 0
    assert doctor.exit_code([Check("a", "ok", ""), Check("b", "fail", "")]) == 1
    assert json.loads(doctor.to_json([Check("b", "fail", "é")]))["ok"] is False


# --- versions ---------------------------------------------------------------------------------------------------------


def test_the_lock_file_is_read_for_this_python_and_platform(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made by a tool\n"
        "--index-url none\n"
        "a==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        f"b==2.0 ; python_full_version < '3' \\\n    --hash=sha256:00\n"
        f"b==3.0 ; python_full_version >= '3' and sys_platform == '{sys.platform}' \\\n    --hash=sha256:00\n"
        "c==4.0 ; sys_platform == 'amiga' \\\n    --hash=sha256:00\n"
        "D.e_f==5.0    # via a\n"
    )
    assert doctor.locked_versions(lock) == {"a": "1.0", "b": "3.0", "D.e_f": "5.0"}


@pytest.mark.parametrize(
    ("version", "status"), [("2.12.1", "ok"), ("2.12.1+cu130", "ok"), ("2.12.10", "warn"), ("2.13.0", "warn")]
)
def test_another_version_warns(monkeypatch, version, status):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch",))
    monkeypatch.setattr(doctor, "locked_versions", lambda: {"torch": "2.12.1"})
    monkeypatch.setattr(doctor.metadata, "version", lambda name: version)
    check = only(doctor._packages())
    assert (check.name, check.status) == ("torch", status)
    assert version in check.detail and ("pins 2.12.1" in check.detail) == (status == "warn")


def test_a_missing_package_fails_and_a_missing_lock_warns(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    assert only(doctor._packages()).status == "fail"
    monkeypatch.setattr(doctor, "LOCK", tmp_path / "none.txt")
    monkeypatch.setattr(doctor, "locked_versions", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "no such file")))
    assert [check.status for check in doctor._packages()] == ["warn", "fail"]


@pytest.mark.parametrize(("minor", "status"), [(10, "fail"), (11, "ok"), (13, "ok"), (14, "fail")])
def test_python_must_be_in_range(monkeypatch, minor, status):
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(version_info=(3, minor, 0), executable="python"))
    assert doctor._python().status == status


# --- the probe --------------------------------------------------------------------------------------------------------


def probed(monkeypatch, program: str) -> tuple[dict[str, Check], int]:
    monkeypatch.setattr(doctor, "_PROBE", program)
    monkeypatch.setattr(doctor, "_packages", list)
    checks = doctor.examine()
    return {check.name: check for check in checks}, doctor.exit_code(checks)


@pytest.mark.skipif(os.name == "nt", reason="signals end a process on POSIX only")
def test_a_crash_while_importing_is_told_and_is_survived(monkeypatch):
    program = """import ctypes
print('{"step": "import of torchvision"}', flush=True)
ctypes.string_at(0)
"""
    checks, code = probed(monkeypatch, program)
    assert checks["imports"].status == "fail" and code == 1
    assert checks["imports"].detail == "import of torchvision crashed (signal 11)"
    assert "gpu" not in checks  # nothing is known


def test_an_import_error_is_told(monkeypatch):
    program = """print('{"step": "import of torch"}')
print('a line that a library prints')
raise ImportError("libcudart.so.13: no such file")
"""
    checks, code = probed(monkeypatch, program)
    assert code == 1
    assert checks["imports"].detail == "import of torch failed: ImportError: libcudart.so.13: no such file"


# --- GPU, by what other machines say ----------------------------------------------------------------------------------


def test_a_working_gpu():
    check = only(doctor._gpus({**PROBE, "devices": [H200]}, DRIVER))
    assert check == Check(
        "gpu 0",
        "ok",
        "NVIDIA H200, compute capability 9.0, torch for CUDA 13.0, driver 580.65.06, 139 GiB of memory, 138 free",
    )


def test_gpus_that_are_full_or_do_not_compute():
    broken = {**H200, "works": False, "error": "no kernel image is available for execution on the device"}
    checks = list(doctor._gpus({**PROBE, "devices": [H200, {**H200, "free": 2**30}, broken]}, None))
    assert [(check.name, check.status) for check in checks] == [("gpu 0", "ok"), ("gpu 1", "warn"), ("gpu 2", "fail")]
    assert "no kernel image" in checks[2].detail and "--device cpu" in checks[2].remedy


@pytest.mark.parametrize(
    ("probe", "driver", "visible", "status", "said"),
    [
        ({}, None, None, "ok", "no GPU: the CPU is used (torch is built for CUDA 13.0"),
        ({"cuda_build": None}, None, None, "ok", "no GPU: the CPU is used (torch is built for the CPU only"),
        ({"mps": True, "cuda_build": None}, None, None, "ok", "Apple GPU"),
        ({}, DRIVER, None, "warn", "torch can't use it: torch is for CUDA 13.0"),
        ({}, DRIVER, "", "warn", "torch can't use it: CUDA_VISIBLE_DEVICES is ''"),
        ({"cuda_build": None}, DRIVER, None, "warn", "torch is built for the CPU only"),
    ],
)
def test_no_usable_gpu(monkeypatch, probe, driver, visible, status, said):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    check = only(doctor._gpus({**PROBE, **probe}, driver))
    assert check.status == status
    assert said in check.detail
    assert bool(check.remedy) == (status == "warn")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo '580.65.06, NVIDIA H200'", "580.65.06, NVIDIA H200"),
        ("echo '580.65.06, A'; echo '580.65.06, B'", "580.65.06, A; 580.65.06, B"),
        ("echo 'Failed to initialize NVML'; exit 18", None),
    ],
)
def test_the_driver_is_asked_by_nvidia_smi(monkeypatch, tmp_path, script, found):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert doctor._driver() == found


def test_no_driver(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._driver() is None


# --- the rest of the machine ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "status"), [(0.19e9, "fail"), (0.2e9, "warn"), (4.99e9, "warn"), (5e9, "ok")])
def test_free_space(monkeypatch, tmp_path, free, status):
    usage = namedtuple("usage", "total used free")
    asked = []
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: asked.append(path) or usage(9e9, 0, free))
    assert doctor._disk(tmp_path / "not" / "there" / "yet").status == status
    assert asked == [tmp_path]


def test_memory(monkeypatch):
    psutil = pytest.importorskip("psutil")
    memory = namedtuple("memory", "total available")
    for gib, status in [(1, "warn"), (4, "ok")]:
        monkeypatch.setattr(psutil, "virtual_memory", lambda gib=gib: memory(4 * 2**30, gib * 2**30))
        monkeypatch.setattr(doctor.Path, "read_text", lambda self: "max\n")
        assert doctor._memory().status == status
    values = {"memory.max": str(8 * 2**30), "memory.current": str(7 * 2**30)}  # a container with 1 of 8 GiB left
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(64 * 2**30, 60 * 2**30))
    monkeypatch.setattr(doctor.Path, "read_text", lambda self: values[self.name])
    check = doctor._memory()
    assert (check.status, check.detail[:18]) == ("warn", "8.0 GiB, 1.0 free:")


def test_a_folder_that_can_not_be_written(tmp_path):
    assert doctor._writable(tmp_path).status == "ok"
    assert list(tmp_path.iterdir()) == []
    assert doctor._writable(tmp_path / "none").status == "fail"


def test_a_slow_cpu(monkeypatch):
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    assert doctor._cpu({"cpu": "DEFAULT"}).status == "warn"
    assert doctor._cpu({"cpu": "AVX2"}).status == "ok"
    monkeypatch.setattr(doctor.platform, "machine", lambda: "arm64")
    assert doctor._cpu({"cpu": "DEFAULT"}).status == "ok"


def test_opencv_without_cascades():
    check = only(doctor._haar({"haar": False, "opencv": "5.0.0"}))
    assert check.status == "fail" and "5.0.0" in check.detail


@pytest.mark.parametrize(("value", "status"), [(None, "ok"), ("torch", "ok"), ("tensorflow", "warn")])
def test_keras_backend(monkeypatch, value, status):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if value:
        monkeypatch.setenv("KERAS_BACKEND", value)
    assert doctor._keras_backend().status == status


# --- Jupyter kernel ---------------------------------------------------------------------------------------------------


def kernelspec(folder: Path, text: str) -> Path:
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("python", "ok"),
        ("python3", "ok"),
        (sys.executable, "ok"),
        ("/usr/bin/env", "warn"),
        ("/opt/other/bin/python", "warn"),
        ("julia", "warn"),
    ],
)
def test_the_kernel_python3_must_be_this_interpreter(monkeypatch, tmp_path, command, status):
    spec = {"argv": [command, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "x"}
    monkeypatch.setenv("JUPYTER_PATH", str(kernelspec(tmp_path, json.dumps({**spec, "language": "python"}))))
    check = doctor._kernel()
    assert check.status == status
    if status == "warn":
        assert command in check.detail and str(tmp_path) in check.detail
        assert check.remedy == "unset JUPYTER_PATH"


def test_a_broken_kernelspec(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_PATH", str(kernelspec(tmp_path, "{")))
    check = doctor._kernel()
    assert check.status == "warn" and check.remedy
