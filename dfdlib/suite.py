"""A suite: a YAML file that names data sets, detectors and crops; running it is running the notebooks.

Everything that a suite makes lies in one folder, `reports/<suite>` unless told otherwise:

    manifests/<data set>.parquet   scores/*.scores.parquet   notebooks/*.ipynb, *.html   index.html and its tables
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfdlib import arms, manifest, recipes
from dfdlib.errors import DfdError
from dfdlib.paths import NOTEBOOKS, SUITES

Say = Callable[[str], None]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """One data set of a suite, with the options of `recipes.prepare`."""

    recipe: str
    root: str
    split: str | None = None
    limit: Annotated[int | None, Field(ge=1)] = None
    seed: int = 0
    parameters: dict[str, Any] = {}


class Suite(_Strict):
    """What is compared: every detector with every crop on every data set. Relative paths start where one is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    data: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], Data], Field(min_length=1)]
    detectors: Annotated[list[str], Field(min_length=1)]
    crops: Annotated[list[str], Field(min_length=1)] = ["none"]
    device: str = "auto"
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.99


def names() -> list[str]:
    """Names of the suites that come with the project, sorted."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def read(name_or_path: str, changes: dict[str, Any] | None = None) -> Suite:
    """The suite of that name, or in that YAML file, with changes.

    Args:
        name_or_path: a name from `names()`, or a path that ends in .yaml.
        changes: values by dotted path, such as {"data.140k.root": "..."}; with one data set `data.root` will do.

    Raises:
        DfdError: no such suite, not YAML, an unknown key (in the file or among the changes), a value of the wrong type.
    """
    path = Path(name_or_path) if name_or_path.endswith((".yaml", ".yml")) else SUITES / f"{name_or_path}.yaml"
    if not path.is_file():
        near = get_close_matches(name_or_path, names(), 1)
        raise DfdError(
            f"No suite '{name_or_path}'." + (f" Did you mean '{near[0]}'?" if near else ""),
            f"Known: {', '.join(names())}; or give the path of your own (.yaml).",
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise DfdError(f"{path}: not a suite.", f"See {SUITES / 'sample.yaml'} for the form.")
        for key, value in (changes or {}).items():
            _change(values, key, value)
        return Suite.model_validate({"name": path.stem, **values})
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DfdError(f"{path}: not readable as YAML ({error}).", "Mend the file.") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DfdError(f"{path}: not a valid suite: {problems}.", "Mend the file or the --set option.") from error


def _change(values: dict[str, Any], key: str, value: Any) -> None:
    words = key.split(".")
    sets = values.get("data")
    if words[0] == "data" and isinstance(sets, dict) and len(sets) == 1 and len(words) > 1 and words[1] not in sets:
        words.insert(1, next(iter(sets)))
    for word in words[:-1]:
        values = values.setdefault(word, {})
        if not isinstance(values, dict):
            raise DfdError(
                f"--set {key}: '{word}' holds a value, nothing can be set below it.", "See the suite's file."
            )
    values[words[-1]] = value


def run(suite: Suite, out: Path, say: Say, command: str = "") -> Path:
    """Runs a suite: prepares its data, scores what is not scored yet, compares.

    Args:
        suite: what to run.
        out: folder for everything that is made.
        say: gets one line for each step and its progress.
        command: as the user typed it, for the record.

    Returns:
        The report's index.html.

    Raises:
        DfdError: from any notebook; running the same suite again goes on where it stopped.
    """
    for detector in suite.detectors:
        _check_detector(detector, suite)
    total = len(suite.data) * (1 + len(suite.detectors)) + 1
    steps = iter(range(1, total + 1))
    records: list[Path] = []
    for name, data in suite.data.items():
        path = out / "manifests" / f"{name}.parquet"
        values = {**data.model_dump(), "dataset": name, "out": str(path)}
        records.append(_notebook("01_prepare_data", name, values, out, say, f"[{next(steps)}/{total}]"))
        table = manifest.read(path)
        for detector in suite.detectors:
            records.append(_benchmark(suite, detector, path, table, name, out, say, f"[{next(steps)}/{total}]"))
    records.append(out / "notebooks" / "03_compare.html")
    values = {
        "scores": str(out / "scores"),
        "out": str(out),
        "title": suite.title,
        "command": command,
        "arms": [arm.file(Path()).name for name in suite.data for arm in _arms(suite, out, name)],
        "notebooks": [path.relative_to(out).as_posix() for path in records],
    }
    _notebook("03_compare", "", values, out, say, f"[{next(steps)}/{total}]")
    return out / "index.html"


def _check_detector(name: str, suite: Suite) -> None:
    # A detector whose weights are missing should be told before an hour of scoring, not after.
    from dfdlib import faces, weights
    from dfdlib.detectors import card

    weights.checked(card.read(name))
    for crop in suite.crops:
        faces.read(crop)
    for data in suite.data.values():
        recipes.get(data.recipe)


def _arms(suite: Suite, out: Path, name: str) -> list[arms.Arm]:
    table = manifest.read(out / "manifests" / f"{name}.parquet")
    return arms.plan(table, suite.detectors, suite.crops, suite.device)


def _benchmark(
    suite: Suite, detector: str, path: Path, table: manifest.Manifest, name: str, out: Path, say: Say, step: str
) -> Path:
    planned = arms.plan(table, [detector], suite.crops, suite.device)
    title = f"{name}-{planned[0].card.name}"
    record = out / "notebooks" / f"02_benchmark-{title}.ipynb"
    if (
        record.is_file()
        and record.with_suffix(".html").is_file()
        and all(arm.exists(out / "scores") for arm in planned)
    ):
        say(f"{step} 02_benchmark {title}: scores exist, nothing to do")
        return record.with_suffix(".html")
    values = {
        "manifest": str(path),
        "detector": detector,
        "crop": ",".join(suite.crops),
        "out": str(out / "scores"),
        "device": suite.device,
        "min_coverage": suite.min_coverage,
    }
    return _notebook("02_benchmark", title, values, out, say, step)


def _notebook(stem: str, title: str, values: dict[str, Any], out: Path, say: Say, step: str) -> Path:
    """Executes one notebook; returns the HTML copy of its record."""
    from dfdlib import notebooks

    name = f"{stem}-{title}" if title else stem
    record = out / "notebooks" / f"{name}.ipynb"
    heading = f"{step} {stem} {title}".rstrip()
    say(heading)
    done = notebooks.run(
        NOTEBOOKS / f"{stem}.ipynb",
        record,
        values,
        cwd=Path.cwd(),
        title=name,
        progress=lambda report: say(f"{heading}: {report}"),
    )
    notebooks.export_html(record, record.with_suffix(".html"))
    say(f"{heading}: done in {done.seconds:.0f} s")
    return record.with_suffix(".html")
