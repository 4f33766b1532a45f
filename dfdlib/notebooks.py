"""Runs a parameterized notebook with papermill, so that a success is a success and a failure says what to do.

What papermill leaves open is closed here: unknown, misspelt or mistyped parameters stop the run before a kernel starts;
the kernel is always this interpreter; a notebook counts as done only if every code cell ran, in order and without an
error; the output appears whole or not at all. A notebook needs one cell tagged `parameters` and may end with
`show_result`; it stays an ordinary notebook for JupyterLab and for papermill by hand.
"""

from __future__ import annotations

import ast
import asyncio
import copy
import difflib
import io
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dfdlib.errors import DfdError
from dfdlib.paths import NOTEBOOKS, PROJECT, written_whole
from dfdlib.progress import MIME as PROGRESS_MIME
from dfdlib.progress import Progress

RESULT_MIME = "application/vnd.dfd.result+json"
RESUME = "Run the same command again: it resumes."
_SCALARS = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}
_KINDS = {*_SCALARS, "list", *(f"list[{name}]" for name in _SCALARS)}
_KERNEL_OPTIONS = [
    "--HistoryManager.hist_file=:memory:",
    "--IPKernelApp.capture_fd_output=False",  # so that the last words of a crash reach the log
    "--IPKernelApp.log_level=40",
]
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())  # what Jupyter logs about a failure is said better by the DfdError


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Attributes:
        name: the variable's name.
        default: its value in the notebook.
        kind: `str`, `int`, `float`, `bool`, `dict`, `list`, `list[str]`, ..., or `any`; ` | None` if it may be None.
        help: the comment behind the assignment.
    """

    name: str
    default: Any
    kind: str
    help: str


@dataclass(frozen=True)
class Executed:
    """A notebook that ran to its end.

    Attributes:
        output: the executed copy.
        seconds: wall time of the run, the kernel's start included.
        result: what the notebook gave to `show_result`, None if nothing.
    """

    output: Path
    seconds: float
    result: dict[str, Any] | None


class _Stopped(Exception):
    """A run that ended early."""

    def __init__(self, what: str, detail: str = "", hint: str = RESUME, original: DfdError | None = None) -> None:
        super().__init__(what)
        self.what, self.detail, self.hint, self.original = what, detail, hint, original


# --- parameters -------------------------------------------------------------------------------------------------------


def parameters(notebook: Path) -> dict[str, Parameter]:
    """Reads the parameters of a notebook from its cell tagged `parameters`, without running anything.

    Args:
        notebook: an .ipynb file whose parameters cell holds nothing but assignments of literals.

    Returns:
        Parameters by name, in the order of the cell.

    Raises:
        DfdError: the file is no notebook, has none or several such cells, or the cell holds something else.
    """
    code = [cell for cell in _cells(notebook) if cell["cell_type"] == "code"]
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise DfdError(
            f"{notebook}: {len(tagged) or 'no'} code cell{'s' * (len(tagged) != 1)} tagged 'parameters', one is needed",
            "Give exactly one code cell of the notebook the tag 'parameters'.",
        )
    return _assigned(notebook, "".join(tagged[0]["source"]))


def _assigned(notebook: Path, source: str) -> dict[str, Parameter]:
    """The parameters that a cell's source assigns."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as e:
        raise DfdError(
            f"{notebook}: line {e.lineno} of the parameters cell is not Python: {e.msg}",
            "Write one line for each parameter: name = value  # what it is",
        ) from e
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in statements:
        parameter = _parameter(notebook, statement, comments.get(statement.end_lineno or 0, ""))
        if parameter.name in found:
            raise DfdError(f"{notebook}: parameter '{parameter.name}' is assigned twice", "Remove one of the lines.")
        found[parameter.name] = parameter
    return found


def _cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells as JSON: reading them with nbformat would take a second, for its import."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except OSError as e:
        raise DfdError(f"{notebook}: can't be read ({e.strerror})", "Check the path of the notebook.") from e
    except (ValueError, KeyError, TypeError) as e:
        raise DfdError(f"{notebook}: not a notebook of format 4", "Open it in JupyterLab and save it again.") from e
    return cells


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").rstrip() for t in tokens if t.type == tokenize.COMMENT}


def _parameter(notebook: Path, statement: ast.stmt, comment: str) -> Parameter:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            kind = ""
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            kind = _annotated_kind(notebook, name, ast.unparse(annotation))
        case _:
            text = ast.unparse(statement).splitlines()[0]
            raise DfdError(
                f"{notebook}: the parameters cell may only assign literals to names, but has: {text}",
                "Move everything else to a later cell.",
            )
    try:
        default = ast.literal_eval(value)
        kind = kind or _kind_of(default)
        if default is None and not kind.endswith(" | None"):
            kind += " | None"
        return Parameter(name, _fit(default, kind), kind, comment)
    except ValueError as e:
        raise DfdError(
            f"{notebook}: the default of parameter '{name}' is not a literal: {ast.unparse(value)}",
            "Use a text, number, True, False, None, list or dict; compute other things in a later cell.",
        ) from e
    except TypeError as e:
        raise DfdError(
            f"{notebook}: the default of parameter '{name}' is not of its type: {e}",
            "Mend the default or the annotation.",
        ) from e


def _annotated_kind(notebook: Path, name: str, annotation: str) -> str:
    base = re.sub(r"^(typing\.)?Optional\[(.+)\]$", r"\2 | None", annotation.strip("'\""))
    options = [part.strip() for part in base.split("|")]
    named = [re.sub(r"^dict\[.*\]$", "dict", part) for part in options if part != "None"]
    if len(named) != 1 or named[0] not in _KINDS:
        raise DfdError(
            f"{notebook}: parameter '{name}' is annotated '{annotation}', which is not supported",
            f"Use one of {', '.join(sorted(_KINDS))}, with or without ' | None'.",
        )
    return named[0] + " | None" * ("None" in options)


def _kind_of(value: Any) -> str:
    if value is None:
        return "any | None"
    if isinstance(value, list):
        kinds = {_kind_of(item) for item in value}
        kinds = {"float"} if kinds == {"int", "float"} else kinds
        return f"list[{kinds.pop()}]" if len(kinds) == 1 and kinds <= _SCALARS.keys() else "list"
    if type(value).__name__ not in _SCALARS:
        raise ValueError(f"a {type(value).__name__} can't be a parameter")
    return type(value).__name__


def _fit(value: Any, kind: str) -> Any:
    """The value as the notebook gets it; TypeError if it is not of this kind."""
    base, optional = kind.removesuffix(" | None"), kind.endswith(" | None")
    if value is None and optional:
        return None
    if base in ("list", "any") and isinstance(value, list):
        return [_fit(item, "any | None") for item in value]
    if base.startswith("list[") and isinstance(value, list):
        return [_fit(item, base[5:-1]) for item in value]
    if base == "any" and isinstance(value, tuple(_SCALARS.values())):
        return value
    if base == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if base == "str" and isinstance(value, Path):
        return str(value)
    if base in _SCALARS and isinstance(value, _SCALARS[base]) and (base == "bool" or not isinstance(value, bool)):
        return value
    raise TypeError(f"{value!r} is not of type {kind}")


def validate(notebook: Path, values: dict[str, Any], *, cwd: Path | None = None) -> dict[str, Any]:
    """Checks values for the parameters of a notebook before anything is started.

    Args:
        notebook: an .ipynb file with a parameters cell.
        values: by parameter name; the others keep their defaults.
        cwd: the folder in which the notebook will run (default: the current one). A parameter whose comment says
            `[file]` or `[folder]` must, unless it is empty, name one that exists, relative to this folder.

    Returns:
        A value for every parameter; whole numbers given for a float are floats, paths are texts.

    Raises:
        DfdError: names every unknown parameter, wrong type and missing file.
    """
    return _completed(notebook, parameters(notebook), values, cwd or Path.cwd())


def _completed(notebook: Path, known: dict[str, Parameter], values: dict[str, Any], cwd: Path) -> dict[str, Any]:
    problems = [_unknown(name, known) for name in values if name not in known]
    complete = {}
    for name, parameter in known.items():
        try:
            complete[name] = _fit(values.get(name, parameter.default), parameter.kind)
        except TypeError as e:
            problems.append(f"'{name}': {e} ({parameter.help})" if parameter.help else f"'{name}': {e}")
            continue
        problems += [f"'{name}': {problem}" for problem in _missing(complete[name], parameter.help, cwd)]
    if problems:
        raise DfdError(
            "\n  ".join([f"{notebook.name} can't run with these parameters:", *problems]),
            f"Parameters of this notebook: {', '.join(f'{p.name} ({p.kind})' for p in known.values())}.",
        )
    return complete


def _unknown(name: str, known: dict[str, Parameter]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"'{name}' is not a parameter" + (f"; did you mean '{close[0]}'?" if close else "")


def _missing(value: Any, comment: str, cwd: Path) -> list[str]:
    names = [name for name in (value if isinstance(value, list) else [value]) if name and isinstance(name, str)]
    problems = []
    if "[file]" in comment:
        problems += [f"there is no file {name} in {cwd}" for name in names if not (cwd / name).is_file()]
    if "[folder]" in comment:
        problems += [f"there is no folder {name} in {cwd}" for name in names if not (cwd / name).is_dir()]
    return problems


# --- within a notebook ------------------------------------------------------------------------------------------------


def start() -> None:
    """First call of every notebook: settles where it runs, and checks what papermill by hand only warns of.

    Relative paths start at the project also in JupyterLab, which starts a kernel in the notebook's own folder;
    papermill starts it where it was called, and there it stays.

    Raises:
        DfdError: a parameter given to papermill is unknown, of the wrong type, or names a file that is missing.
    """
    if Path.cwd() == NOTEBOOKS:
        os.chdir(PROJECT)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    check_injected(shell.user_ns.get("In", []) if shell else [])


def check_injected(cells: list[str]) -> None:
    """Checks the cell of values that papermill put behind the parameters cell; see `validate`.

    Args:
        cells: sources of the cells that ran so far.
    """
    for before, cell in pairwise(cells):
        if cell.startswith("# Parameters\n"):
            here = Path("this notebook")
            values = {name: given.default for name, given in _assigned(here, cell).items()}
            _completed(here, _assigned(here, before), values, Path.cwd())


# --- run --------------------------------------------------------------------------------------------------------------


def show_result(result: dict[str, Any]) -> None:
    """Shows a result in a notebook's last cell, in the form that `run` reads back.

    Args:
        result: plain JSON values, by name.

    Raises:
        DfdError: it holds something that JSON can't, such as NaN or a NumPy array.
    """
    try:
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise DfdError(f"the result of this notebook is not plain JSON: {e}", "Give numbers, texts, lists.") from e
    from IPython.display import display

    display({RESULT_MIME: json.loads(text), "text/plain": text}, raw=True)


def run(
    notebook: Path,
    output: Path,
    values: dict[str, Any],
    *,
    cwd: Path,
    title: str = "",
    progress: Callable[[Progress], None] | None = None,
    timeout: int | None = None,
) -> Executed:
    """Runs a notebook in a kernel of this interpreter and writes the executed copy.

    The output is replaced only by a run that succeeded. One that failed leaves what it did in `<name>.failed.ipynb`
    beside it, until the next success.

    Args:
        notebook: the .ipynb file; it is not changed.
        output: the executed copy, another .ipynb file; its folder is made.
        values: parameters by name, see `validate`.
        cwd: the folder in which the notebook runs.
        title: the name in messages and in the page's head (default: the notebook's).
        progress: called with each report: a cell that starts (`what` is "cell"), a task that reports by
            `dfdlib.progress.track`, or a line that the notebook prints (`done` is None).
        timeout: seconds that the whole notebook may take.

    Raises:
        DfdError: wrong parameters, or the notebook failed: the cell, the error and where the failed copy is. A DfdError
            raised in the notebook comes through as it is.
        KeyboardInterrupt: after the kernel was shut down.
    """
    started = time.monotonic()
    notebook, output, cwd = Path(notebook).absolute(), Path(output).absolute(), Path(cwd).absolute()
    title = title or notebook.stem
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    if not cwd.is_dir():
        raise DfdError(f"{cwd}: no such folder to run {title} in", "Check the working folder.")
    values = validate(notebook, values, cwd=cwd)
    _prepare(notebook, output)
    with _scratch() as scratch, _kernel(cwd, scratch) as kernel:
        nb = _load(notebook, values, title)  # its imports take as long as the kernel's start, which goes on meanwhile
        watch = _Watch(nb, progress, timeout)
        try:
            _execute(watch, kernel, scratch / "kernel.log")
        except _Stopped as stop:
            raise _explained(stop, title, watch, _save_failed(watch, failed, stop.what)) from None
        except KeyboardInterrupt:
            _save_failed(watch, failed, "interrupted")
            raise
    _save(nb, output)
    failed.unlink(missing_ok=True)
    return Executed(output, time.monotonic() - started, _result(nb))


class _Watch:
    """What is known about a run while it goes on; forwards its progress."""

    def __init__(self, nb: Any, listener: Callable[[Progress], None] | None, timeout: int | None) -> None:
        self.nb = nb
        self.timeout = timeout
        self.cell: int | None = None  # index of the cell that was started last
        self._listener = listener or (lambda report: None)
        self._deadline = time.monotonic() + timeout if timeout else None
        self._rest = ""
        self._code = [i for i, cell in enumerate(nb.cells) if cell.cell_type == "code" and cell.source.strip()]

    @property
    def number(self) -> int:
        """The running cell's number as a notebook shows it, 0 before the first."""
        return self._code.index(self.cell) + 1 if self.cell is not None else 0

    def starts(self, cell: Any, cell_index: int) -> None:
        self._flush()
        self.cell = cell_index
        self._listener(Progress("cell", self.number, len(self._code)))

    def hears(self, message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            *lines, self._rest = (self._rest + content["text"]).split("\n")
            for line in lines:
                self._listener(Progress(line.rsplit("\r", 1)[-1]))
        elif PROGRESS_MIME in content.get("data", {}):
            self._listener(Progress(**content["data"][PROGRESS_MIME]))

    def seconds_left(self, cell: Any) -> int | None:
        return None if self._deadline is None else max(1, round(self._deadline - time.monotonic()))  # 0 means no limit

    def ends(self) -> None:
        """Raises _Stopped unless every code cell ran, in order, without an error."""
        self._flush()
        count = 0
        for index in self._code:
            self.cell, cell = index, self.nb.cells[index]
            for out in cell.outputs:
                if out.output_type == "error":
                    raise _error(out)
            if (cell.execution_count or 0) <= count:
                raise _Stopped("it was not run", hint=RESUME)
            count = cell.execution_count

    def _flush(self) -> None:
        if self._rest:
            self._listener(Progress(self._rest))
        self._rest = ""


def _error(out: Any) -> _Stopped:
    if out.ename == "DfdError":
        message, arrow, hint = out.evalue.rpartition("\n  -> ")
        code = re.search(r"\(exit code (\d+)\)", out.traceback[-1] if out.traceback else "")
        known = {"exit_code": int(code[1])} if code else {}
        words = (message, hint) if arrow else (out.evalue,)
        return _Stopped(out.evalue, original=DfdError(*words, **known))
    if out.ename == "SystemExit":
        return _Stopped(f"the cell ended the notebook by sys.exit({out.evalue})", hint="A notebook may not call exit.")
    lines = _ANSI.sub("", "\n".join(out.traceback)).rstrip().splitlines()
    return _Stopped(f"{out.ename}: {out.evalue}", "\n".join(lines[-12:]), "Fix the cause, then run it again.")


def _explained(stop: _Stopped, title: str, watch: _Watch, saved: str) -> DfdError:
    if stop.original:
        return stop.original
    parts = [f"{title} stopped in cell [{watch.number}]: {stop.what}" if watch.number else f"{title}: {stop.what}"]
    if watch.cell is not None:
        lines = watch.nb.cells[watch.cell].source.strip().splitlines()
        parts += ["The cell:", *(f"    {line}" for line in lines[:6]), *["    ..."] * (len(lines) > 6)]
    if stop.detail:
        parts += ["What it said last:", *(f"    {line}" for line in stop.detail.splitlines())]
    return DfdError("\n".join([*parts, saved]), stop.hint)


def _prepare(notebook: Path, output: Path) -> None:
    if output == notebook or output.suffix != ".ipynb":
        raise DfdError(f"{output}: not another .ipynb file than {notebook.name}", "Choose another name for the copy.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as e:
        raise DfdError(f"{output.parent}: can't be written ({e.strerror})", "Choose another output folder.") from e


def _load(notebook: Path, values: dict[str, Any], title: str) -> Any:
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    nb = load_notebook_node(str(notebook))
    if values:
        nb = parameterize_notebook(nb, values, kernel_name="python3", language="python")
    nb.metadata.title = title
    nb.metadata.papermill.input_path = notebook.name  # the name only: the record may be published
    return nb


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dfd-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _environment(scratch: Path) -> dict[str, str]:
    """The kernel's: this process's, made independent of the user's IPython settings, without telemetry."""
    return {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONSTARTUP", "KERAS_BACKEND")},
        "PYTHONUTF8": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash in native code tells in kernel.log where it was
        "IPYTHONDIR": str(scratch / "ipython"),
        "DO_NOT_TRACK": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


@contextmanager
def _kernel(cwd: Path, scratch: Path) -> Iterator[Any]:
    """A starting kernel of this interpreter; it is gone when the context ends.

    The kernelspec is made here, in memory: any that is found by name could be replaced by the user's or JUPYTER_PATH's.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_core.utils import run_sync

    class ThisInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=[*command, *_KERNEL_OPTIONS], language="python")

    manager = AsyncKernelManager(
        kernel_spec_manager=ThisInterpreter(), connection_file=str(scratch / "kernel.json"), log=_log
    )
    if os.name == "posix" and len(str(scratch)) < 80:  # other users can listen to TCP; a socket's path must be short
        manager.transport, manager.ip = "ipc", str(scratch / "kernel")
    if os.name == "nt":  # what zmq needs, and what papermill sets, but only after the kernel's start
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
    graceful = False
    with open(scratch / "kernel.log", "wb") as log:
        try:
            run_sync(manager.start_kernel)(cwd=str(cwd), env=_environment(scratch), stdout=log, stderr=log)
            yield manager
            graceful = True
        finally:
            if manager.has_kernel:
                run_sync(manager.shutdown_kernel)(now=not graceful)


def _execute(watch: _Watch, kernel: Any, log: Path) -> None:
    """Runs the cells with papermill's client; _Stopped if that does not reach the end of the notebook."""
    from jupyter_core.utils import run_sync
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NotebookExecutionManager

    class Client(PapermillNotebookClient):
        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            watch.hears(msg)
            return super().process_message(msg, cell, cell_index)

    record = NotebookExecutionManager(watch.nb, progress_bar=False, autosave_cell_every=0)
    client = Client(
        record,
        km=kernel,
        log=_log,
        timeout_func=watch.seconds_left,
        on_cell_execute=watch.starts,
        startup_timeout=180,
        iopub_timeout=60,
        coalesce_streams=True,
    )
    record.notebook_start()
    try:
        client.execute()
    except CellTimeoutError as e:
        lost = "IOPub" in str(e)  # the cell ended, but the messages that should tell so did not come
        raise _Stopped("its output got lost" if lost else f"the notebook took longer than {watch.timeout} s") from None
    except DeadKernelError:
        raise _dead(run_sync(kernel.provisioner.poll)(), log) from None
    except RuntimeError as e:
        if watch.cell is not None:
            raise
        raise _Stopped(f"its kernel did not start ({e})", _tail(log), "Run: dfd doctor") from e
    finally:
        record.notebook_complete()
        run_sync(_cancel_tasks)()
        if client.kc:
            client.kc.stop_channels()
    watch.ends()


async def _cancel_tasks() -> None:
    """Ends what an interrupted client was waiting for; asyncio would complain about it later, on the terminal."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _dead(code: int | None, log: Path) -> _Stopped:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = f"was killed ({name}), most likely because memory ran out" if -code == 9 else f"crashed ({name})"
    else:
        why = f"ended (exit status {code})"
    return _Stopped(f"the kernel {why}", _tail(log))


def _tail(log: Path) -> str:
    """The end of the kernel's log, or, where Python tells of a crash, the innermost calls: it prints them first."""
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    fatal = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if fatal is None:
        return "\n".join(lines[-12:])
    calls = next((i for i, line in enumerate(lines) if line.startswith("Current thread")), fatal)
    return "\n".join(lines[max(0, fatal - 3) : fatal + 1] + lines[calls : calls + 8])


def _result(nb: Any) -> dict[str, Any] | None:
    outputs = [out for cell in nb.cells for out in cell.get("outputs", [])]
    shown = [out.data[RESULT_MIME] for out in outputs if RESULT_MIME in out.get("data", {})]
    return shown[-1] if shown else None


def _save_failed(watch: _Watch, path: Path, what: str) -> str:
    """Writes a copy that says that it failed, whatever papermill recorded; returns the sentence for the user."""
    import nbformat

    nb = copy.deepcopy(watch.nb)
    for index, cell in enumerate(nb.cells):
        if watch.cell is None or index > watch.cell:
            cell.metadata.papermill.update(status="pending", exception=None)
        elif index == watch.cell:
            cell.metadata.papermill.update(status="failed", exception=True)
    nb.metadata.papermill.exception = True
    where = f" in cell [{watch.number}]" if watch.number else ""
    nb.cells.insert(0, nbformat.v4.new_markdown_cell(f"**This run failed**{where}: {what}"))
    try:
        _save(nb, path)
    except (DfdError, OSError) as e:
        return f"The notebook as far as it came could not be saved: {e}"
    return f"The notebook as far as it came: {path}"


def _save(nb: Any, path: Path) -> None:
    import nbformat

    with written_whole(path) as part:
        part.write_text(nbformat.writes(nb), encoding="utf-8")


# --- page -------------------------------------------------------------------------------------------------------------

_PAGE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; media-src data:; font-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
_OUTSIDE = re.compile(
    r"""(<(?:script|link|img|iframe|source|video|audio|embed|object)\b[^>]*?\s)(src|href|data)(?=\s*=\s*["']?\s*(?:https?:)?//)""",
    re.IGNORECASE,
)


def export_html(executed: Path, html: Path) -> None:
    """Writes an executed notebook as one HTML file that loads nothing from outside.

    The scripts that nbconvert would fetch (MathJax, RequireJS, Mermaid, widgets) are left out, so formulas stay as they
    are typed. Addresses that an output loads something from are disarmed; links to click on stay. A content security
    policy keeps the browser from fetching what else there may be.

    Raises:
        DfdError: the notebook can't be read, or the disk is full.
    """
    _cells(executed)
    import nbformat
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_file="page.html.j2", extra_loaders=[DictLoader({"page.html.j2": _PAGE})])
    page, _ = exporter.from_notebook_node(nbformat.read(executed, as_version=4))
    with written_whole(html) as part:
        part.write_text(_OUTSIDE.sub(r"\1data-outside-\2", page), encoding="utf-8")
