"""Where things are, and how files are written so that a killed process leaves no half of one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfdlib.errors import DfdError

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = PROJECT / "notebooks"
SUITES = NOTEBOOKS / "suites"
SHIPPED_WEIGHTS = PROJECT / "weights"


def weights_home() -> Path:
    """Folder of downloaded weights: $DFD_WEIGHTS, or `dfdlib/weights` in the user's cache folder."""
    if os.environ.get("DFD_WEIGHTS"):
        return Path(os.environ["DFD_WEIGHTS"])
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "dfdlib" / "weights"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; renames it to `path` when the block ends well, else removes it.

    Raises:
        DfdError: the disk is full, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DfdError(
                f"No space left on the disk while writing {path}.",
                "Free some space and run the same command again: what was finished is kept.",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    # mkstemp makes private files; results should get the permissions that the user's other files get.
    mask = os.umask(0)
    os.umask(mask)
    return mask
