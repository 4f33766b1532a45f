"""The machine and its libraries: importing torch and Keras in a safe order, the device, and what to record of both."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

from dfdlib.errors import DfdError
from dfdlib.paths import PROJECT

# Packages whose version can move a score.
SCORING_PACKAGES = ("torch", "timm", "keras", "numpy", "pillow", "opencv-contrib-python-headless")


def torch() -> ModuleType:
    """PyTorch, imported so that it does not crash beside TensorFlow.

    TensorFlow >= 2.20 loaded before triton (which torchvision and timm import) ends the process with a segmentation
    fault. So triton is loaded here at once; where somebody imported TensorFlow first, it is kept out instead: only
    torch.compile needs it.
    """
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        sys.modules["triton"] = None  # type: ignore[assignment]  # makes `import triton` an ordinary ImportError
    # Threads that wait by spinning take the cores from those that decode images: many times slower on few cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch as module

    if "triton" not in sys.modules:
        with suppress(ImportError):  # it comes with torch on Linux only
            import triton  # noqa: F401
    return module


def keras() -> ModuleType:
    """Keras 3 on its torch backend: one framework, one device, no TensorFlow in the process.

    Raises:
        DfdError: Keras was imported before with another backend; it cannot change within a process.
    """
    torch()
    given = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = given or "torch"
    import keras as module

    if given is None:
        # Not left set, for child processes: with it, `import tensorflow` by itself loads torch too late and crashes.
        del os.environ["KERAS_BACKEND"]

    if module.backend.backend() != "torch":
        raise DfdError(
            f"Keras runs on its {module.backend.backend()} backend in this process.",
            "Restart the kernel, leave KERAS_BACKEND alone, and load detectors before you import Keras.",
        )
    return module


@cache
def device(wanted: str = "auto") -> str:
    """The device that scores are computed on: "cpu", "cuda" or "mps".

    Asks the driver, not torch, so that a run whose scores exist needs no torch.

    Args:
        wanted: auto, cpu, cuda or mps. `auto` takes CUDA where a driver reports a device, else the CPU.

    Raises:
        DfdError: an unknown name.
    """
    if wanted not in ("auto", "cpu", "cuda", "mps"):
        raise DfdError(f"Unknown device '{wanted}'.", "Devices are: auto, cpu, cuda, mps")
    if wanted != "auto":
        return wanted
    return "cuda" if _cuda_devices() else "cpu"


def _cuda_devices() -> int:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        count = ctypes.c_int(0)
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
        return 0 if failed else count.value
    except OSError:
        return 0


def check_device(name: str) -> None:
    """Makes sure that torch can use the device.

    Raises:
        DfdError: it cannot; the message says how to go on.
    """
    module = torch()
    usable = {"cpu": True, "cuda": module.cuda.is_available(), "mps": module.backends.mps.is_available()}[name]
    if not usable:
        raise DfdError(
            f"PyTorch {module.__version__} cannot use the device '{name}'.",
            "See `dfd doctor`, or compute on the CPU: --device cpu",
        )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move a score."""
    found = {"python": platform.python_version(), "dfdlib": metadata.version("dfdlib")}
    for name in SCORING_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware(device_name: str) -> dict[str, Any]:
    """Processor, cores, memory, system, and the GPU's name where one is used."""
    import psutil

    found = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
    }
    if device_name == "cuda":
        found["gpu"] = torch().cuda.get_device_name()
    return found


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The project's commit, with `+changes` where the checkout has uncommitted ones; None outside a checkout."""
    if not (PROJECT / ".git").exists():
        return None
    try:

        def ask(*words: str) -> str:
            return subprocess.run(
                ["git", "-C", str(PROJECT), *words], capture_output=True, text=True, timeout=20, check=True
            ).stdout.strip()

        changed = ask("status", "--porcelain", "--untracked-files=no")
        return ask("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
