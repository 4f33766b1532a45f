"""Examines a machine: will the suite run here, on what, and what would mend the rest.

Everything is looked at from outside: versions are read from the packages' metadata, and what is imported is imported in
another process, since a broken pair of native libraries may crash instead of raising.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from dfdlib.paths import PROJECT

LOCK = PROJECT / "requirements" / "lock.txt"
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "keras",
    "tensorflow",
    "retina-face",
    "opencv-contrib-python-headless",
    "gradio",
    "papermill",
    "jupyterlab",
)
PYTHON = ((3, 11), (3, 14))  # from, up to but not including
_INSTALL = "python -m pip install --require-hashes -r requirements/lock.txt"
_GIB = 2**30

# Runs in its own process and prints one line before and after each step, so that a crash tells which step it was.
_PROBE = """
import json, os, sys
def say(**found): print(json.dumps(found), flush=True)
say(step="import of torch")
import torch
cuda = torch.cuda
say(torch=torch.__version__, cuda_build=torch.version.cuda, cpu=torch.backends.cpu.get_cpu_capability(),
    mps=torch.backends.mps.is_available())
say(step="import of torchvision")
import torchvision
say(step="import of cv2")
import cv2
say(haar=os.path.isfile(os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")),
    opencv=cv2.__version__)
say(step="use of the GPU")
devices = []
for i in range(cuda.device_count() if cuda.is_available() else 0):
    found = {"name": cuda.get_device_name(i), "capability": cuda.get_device_capability(i)}
    try:
        found["free"], found["total"] = cuda.mem_get_info(i)
        found["works"] = float(torch.ones(8, device=f"cuda:{i}").sum()) == 8
    except RuntimeError as e:
        found.update(works=False, error=str(e).splitlines()[0])
    devices.append(found)
say(devices=devices)
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        status: ok; warn: the suite runs, but slower or with other numbers; fail: it does not run.
        detail: what was found.
        remedy: what to do, empty if nothing.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def examine(*, folder: Path | None = None, weights: Iterable[tuple[str, bool, str]] = ()) -> list[Check]:
    """Looks at everything that the suite needs of this machine; takes seconds, changes nothing.

    Args:
        folder: where results will be written (default: the current folder).
        weights: (name, present and unchanged, remedy) of each weights file that should be there.

    Returns:
        The checks, in the order in which a reader wants them.
    """
    folder = (folder or Path.cwd()).absolute()
    # The imports take longest, so they go on while the rest is looked at. Keras's alone would double the time.
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", _PROBE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
    ) as process:
        first = [_python(), _platform(), *_packages()]
        last = [_kernel(), *_weights(weights), _disk(folder), _writable(folder), _memory(), _keras_backend()]
        driver = _driver()
        probe = _finished(process)
    return [*first, _imports(probe), *_gpus(probe, driver), _cpu(probe), *_haar(probe), *last]


def to_json(checks: list[Check]) -> str:
    """The checks as JSON text: `{"ok": bool, "checks": [{"name", "status", "detail", "remedy"}, ...]}`."""
    found = {"ok": exit_code(checks) == 0, "checks": [asdict(check) for check in checks]}
    return json.dumps(found, indent=2, ensure_ascii=False)


def exit_code(checks: list[Check]) -> int:
    """What a command returns: 1 if any check failed, else 0."""
    return int(any(check.status == "fail" for check in checks))


# --- Python and packages ----------------------------------------------------------------------------------------------


def _python() -> Check:
    low, high = PYTHON
    found = f"{platform.python_version()} ({sys.executable})"
    if low <= sys.version_info[:2] < high:
        return Check("python", "ok", found)
    wanted = f"{low[0]}.{low[1]} to {high[0]}.{high[1] - 1}"
    return Check("python", "fail", f"{found}; the suite needs {wanted}", f"Make the environment with Python {wanted}.")


def _platform() -> Check:
    return Check("platform", "ok", f"{platform.platform()}, {platform.machine()}")


def locked_versions(lock: Path = LOCK) -> dict[str, str]:
    """Versions that a requirements file pins for this Python and platform, by package name.

    Raises:
        OSError: the file can't be read.
    """
    from packaging.requirements import Requirement

    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.split("--hash")[0].split(" #")[0].strip() for line in text.splitlines())
    pins = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in pins if not pin.marker or pin.marker.evaluate()}


def _packages() -> Iterator[Check]:
    try:
        locked = locked_versions()
    except OSError as e:
        remedy = "git checkout -- requirements/lock.txt"
        yield Check("versions", "warn", f"{LOCK}: can't be read ({e.strerror})", remedy)
        locked = {}
    for name in PACKAGES:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, "fail", "not installed", _INSTALL)
            continue
        wanted = locked.get(name, found)
        if found.split("+")[0] == wanted:  # "+cu130" and the like is another build of the same version
            yield Check(name, "ok", found)
        else:
            yield Check(name, "warn", f"{found}; requirements/lock.txt pins {wanted}", _INSTALL)


def _finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the probe found, with `code`, `stderr` and `step` (what it was at when it ended)."""
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += "\nit did not end within 120 s"
    found: dict[str, Any] = {"step": "start of Python"}
    for line in out.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return {**found, "code": process.returncode, "stderr": err.strip()}


def _imports(probe: dict[str, Any]) -> Check:
    if probe["code"] == 0:
        return Check("imports", "ok", f"torch {probe['torch']}, torchvision and OpenCV {probe['opencv']} load together")
    last = (probe["stderr"].splitlines() or ["no message"])[-1]
    how = f"crashed (signal {-probe['code']})" if probe["code"] < 0 else f"failed: {last}"
    return Check("imports", "fail", f"{probe['step']} {how}", _INSTALL)


# --- machine ----------------------------------------------------------------------------------------------------------


def _driver() -> str | None:
    """Version of the NVIDIA driver and the GPUs that it sees; None without a driver."""
    program = shutil.which("nvidia-smi")
    if not program:
        return None
    query = [program, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return "; ".join(done.stdout.split("\n")).strip("; ") if done.returncode == 0 else None


def _gpus(probe: dict[str, Any], driver: str | None) -> Iterator[Check]:
    if "torch" not in probe:
        return
    build = f"CUDA {probe['cuda_build']}" if probe["cuda_build"] else "the CPU only"
    for i, device in enumerate(probe.get("devices", [])):
        yield _gpu(f"gpu {i}", device, build, driver)
    if probe.get("devices"):
        return
    if probe["mps"]:
        yield Check("gpu", "ok", "Apple GPU (MPS)")
    elif driver and probe["cuda_build"]:
        hidden = "CUDA_VISIBLE_DEVICES" in os.environ
        why = f"CUDA_VISIBLE_DEVICES is '{os.environ['CUDA_VISIBLE_DEVICES']}'" if hidden else f"torch is for {build}"
        remedy = "unset CUDA_VISIBLE_DEVICES" if hidden else f"Install an NVIDIA driver for {build} or newer"
        yield Check("gpu", "warn", f"driver {driver}, but torch can't use it: {why}", f"{remedy}, or: --device cpu")
    elif driver:
        yield Check("gpu", "warn", f"driver {driver}, but torch is built for {build}", f"{_INSTALL}, or: --device cpu")
    else:
        yield Check("gpu", "ok", f"no GPU: the CPU is used (torch is built for {build}, no NVIDIA driver found)")


def _gpu(name: str, device: dict[str, Any], build: str, driver: str | None) -> Check:
    capability = ".".join(str(part) for part in device["capability"])
    detail = f"{device['name']}, compute capability {capability}, torch for {build}"
    if driver:
        detail += f", driver {driver.split(',')[0]}"
    if not device["works"]:
        reason = device.get("error", "a sum came out wrong")
        return Check(name, "fail", f"{detail}; computing on it failed: {reason}", "Use the CPU: --device cpu")
    detail += f", {device['total'] / _GIB:.0f} GiB of memory, {device['free'] / _GIB:.0f} free"
    if device["free"] < 2 * _GIB:
        return Check(name, "warn", f"{detail}: little for a batch", "End the programs that nvidia-smi lists.")
    return Check(name, "ok", detail)


def _cpu(probe: dict[str, Any]) -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kernels = probe.get("cpu", "unknown")
    detail = f"{usable} of {os.cpu_count()} cores usable, torch computes with {kernels}"
    if kernels == "DEFAULT" and platform.machine().lower() in ("x86_64", "amd64"):
        return Check("cpu", "warn", f"{detail} instructions: no AVX2, so it is slow", "Use another machine, or a GPU.")
    return Check("cpu", "ok", f"{detail} instructions")


def _memory() -> Check:
    import psutil

    total, free = psutil.virtual_memory()[:2]
    group = Path("/sys/fs/cgroup")
    try:  # a container's limit, which psutil does not know; it reads "max" where there is none
        limit = int((group / "memory.max").read_text())
        total, free = min(total, limit), min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    detail = f"{total / _GIB:.1f} GiB, {free / _GIB:.1f} free"
    if free < 3 * _GIB:
        return Check("memory", "warn", f"{detail}: a run may be killed for want of it", "Close other programs.")
    return Check("memory", "ok", detail)


def _disk(folder: Path) -> Check:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    detail = f"{free / 1e9:.1f} GB free at {there}"
    if free < 0.2e9:
        return Check("disk", "fail", f"{detail}: too little for any run", "Free some space.")
    if free < 5e9:
        return Check("disk", "warn", f"{detail}: the results of a large data set may not fit", "Free some space.")
    return Check("disk", "ok", detail)


def _writable(folder: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Check("working folder", "ok", f"{folder} can be written")
    except OSError as e:
        remedy = "Start from a folder of your own: cd ~"
        return Check("working folder", "fail", f"{folder} can't be written ({e.strerror})", remedy)


# --- what the suite runs on -------------------------------------------------------------------------------------------


def _kernel() -> Check:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from jupyter_core.paths import jupyter_path

    remedy = "python -m ipykernel install --sys-prefix --name python3"
    try:
        # The folders are named because finding them by default would make ~/.ipython.
        spec = KernelSpecManager(kernel_dirs=jupyter_path("kernels")).get_kernel_spec("python3")
    except (NoSuchKernel, OSError, ValueError):
        return Check("jupyter kernel", "warn", "JupyterLab has no usable kernel python3 here", remedy)
    command = spec.argv[0] if spec.argv else ""
    # jupyter_client replaces these names by the interpreter that it runs on.
    own = command in ("python", "python3", f"python3.{sys.version_info.minor}")
    if own or os.path.normcase(Path(command).parent.absolute()) == os.path.normcase(Path(sys.executable).parent):
        return Check("jupyter kernel", "ok", "python3 is this environment's")
    detail = f"python3 is another interpreter ({command}), by {spec.resource_dir}; `dfd` is not affected, JupyterLab is"
    if os.environ.get("JUPYTER_PATH"):
        return Check("jupyter kernel", "warn", detail, "unset JUPYTER_PATH")
    return Check("jupyter kernel", "warn", detail, f"jupyter kernelspec remove python3 && {remedy}")


def _weights(weights: Iterable[tuple[str, bool, str]]) -> Iterator[Check]:
    for name, present, remedy in weights:
        if present:
            yield Check(f"weights {name}", "ok", "present and unchanged")
        else:
            yield Check(f"weights {name}", "warn", "missing, changed or unverified: can't be used", remedy)


def _haar(probe: dict[str, Any]) -> Iterator[Check]:
    if probe.get("haar"):
        yield Check("face cascade", "ok", f"OpenCV {probe['opencv']} has its Haar cascades")
    elif "haar" in probe:
        detail = f"OpenCV {probe['opencv']} has no Haar cascades (versions from 5 on lack them); the crop 'haar' fails"
        yield Check("face cascade", "fail", detail, _INSTALL)


def _keras_backend() -> Check:
    found = os.environ.get("KERAS_BACKEND")
    if found in (None, "torch"):
        return Check("keras backend", "ok", "torch")
    return Check(
        "keras backend",
        "warn",
        f"KERAS_BACKEND is '{found}', the suite runs Keras on torch",
        "unset KERAS_BACKEND",
    )
