"""dfdlib.notebooks: what stops a run before it starts, what counts as a success, what a failure leaves behind."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfdlib import notebooks
from dfdlib.errors import DfdError
from dfdlib.progress import MIME as PROGRESS_MIME
from dfdlib.progress import Progress

PARAMETERS = """\
limit: int | None = None  # first images only
rate = 0.5  # a share
title = "none"  # heading
fast = False  # skip the rest
names: list[str] = []  # detectors
sizes = [1, 2]
table = ""  # [file] the manifest
"""


def make(path: Path, *cells: str, parameters: str | None = PARAMETERS) -> Path:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Test")])
    if parameters is not None:
        nb.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    nb.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return make(tmp_path / "n.ipynb")


# --- parameters -------------------------------------------------------------------------------------------------------


def test_parameters_with_defaults_kinds_and_comments(tmp_path):
    source = (
        "# the first line\n"
        'a = "x # no comment"  # help of a\n'
        "b: int | None = None\n"
        "c: float = 2  # becomes a float\n"
        "d = -1.5\n"
        "e = [\n    'x',  # inner\n    'y',\n]  # help of e\n"
        "f: list[float] = [1, 2.5]\n"
        "g = None\n"
        "h: Optional[bool] = True\n"
        "i = {'k': [1]}\n"
        "j = []\n"
        "k: int = None\n"
    )
    found = notebooks.parameters(make(tmp_path / "n.ipynb", parameters=source))
    assert {name: (p.default, p.kind, p.help) for name, p in found.items()} == {
        "a": ("x # no comment", "str", "help of a"),
        "b": (None, "int | None", ""),
        "c": (2.0, "float", "becomes a float"),
        "d": (-1.5, "float", ""),
        "e": (["x", "y"], "list[str]", "help of e"),
        "f": ([1.0, 2.5], "list[float]", ""),
        "g": (None, "any | None", ""),
        "h": (True, "bool | None", ""),
        "i": ({"k": [1]}, "dict", ""),
        "j": ([], "list", ""),
        "k": (None, "int | None", ""),
    }
    assert isinstance(found["c"].default, float)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1 + 1", "not a literal: 1 + 1"),
        ("x = Path('a')", "not a literal"),
        ("x = 1, 2", "not a literal"),
        ("x = b'a'", "not a literal"),
        ("import os\nx = 1", "has: import os"),
        ("x = y = 1", "has: x = y = 1"),
        ("x: int", "has: x: int"),
        ("x += 1", "has: x += 1"),
        ("x = 1\nx = 2", "'x' is assigned twice"),
        ("x = ", "line 1 of the parameters cell is not Python"),
        ("%matplotlib inline", "is not Python"),
        ("x: int = 'a'", "'a' is not of type int"),
        ("x: int = True", "True is not of type int"),
        ("x: Path = 'a'", "annotated 'Path'"),
        ("x: int | str = 1", "annotated 'int | str'"),
    ],
)
def test_a_parameters_cell_that_is_not_plain_is_refused(tmp_path, source, said):
    with pytest.raises(DfdError, match=re.escape(said)) as error:
        notebooks.parameters(make(tmp_path / "n.ipynb", parameters=source))
    assert "n.ipynb" in error.value.message and error.value.hint


def test_exactly_one_parameters_cell(tmp_path, notebook):
    with pytest.raises(DfdError, match="no code cells tagged 'parameters'"):
        notebooks.parameters(make(tmp_path / "none.ipynb", "x = 1", parameters=None))
    nb = nbformat.read(notebook, as_version=4)
    nb.cells.append(nbformat.v4.new_code_cell("y = 1", metadata={"tags": ["parameters"]}))
    nbformat.write(nb, notebook)
    with pytest.raises(DfdError, match="2 code cells tagged 'parameters'"):
        notebooks.parameters(notebook)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"worksheets": []}'])
def test_a_file_that_is_no_notebook(tmp_path, text):
    (tmp_path / "n.ipynb").write_text(text)
    with pytest.raises(DfdError, match="not a notebook"):
        notebooks.parameters(tmp_path / "n.ipynb")
    with pytest.raises(DfdError, match="can't be read"):
        notebooks.parameters(tmp_path / "other.ipynb")


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", True),
        ("limit", "3"),
        ("limit", 3.0),
        ("limit", [3]),
        ("rate", False),
        ("rate", "0.5"),
        ("rate", None),
        ("title", 7),
        ("title", None),
        ("title", ["a"]),
        ("fast", 1),
        ("fast", "true"),
        ("fast", None),
        ("names", "bnext"),
        ("names", ("bnext",)),
        ("names", ["bnext", 1]),
        ("names", ["bnext", None]),
        ("names", None),
        ("sizes", [1, True]),
        ("sizes", [1.5]),
        ("sizes", 1),
    ],
)
def test_a_value_of_another_type_is_refused(notebook, name, value):
    with pytest.raises(DfdError, match=f"'{name}': .* is not of type") as error:
        notebooks.validate(notebook, {name: value})
    assert "limit (int | None), rate (float)" in error.value.hint


def test_values_are_completed_and_fitted(notebook, tmp_path):
    (tmp_path / "m.parquet").touch()
    given = {"limit": 3, "rate": 1, "names": ["a"], "table": Path("m.parquet")}
    complete = notebooks.validate(notebook, given, cwd=tmp_path)
    assert complete == {
        "limit": 3, "rate": 1.0, "title": "none", "fast": False, "names": ["a"], "sizes": [1, 2], "table": "m.parquet",
    }  # fmt: skip
    assert isinstance(complete["rate"], float)
    assert notebooks.validate(notebook, {"limit": None})["limit"] is None


def test_all_problems_are_told_at_once(notebook, tmp_path):
    with pytest.raises(DfdError) as error:
        notebooks.validate(notebook, {"limt": 3, "xyzzy": 1, "fast": 1, "table": "no.parquet"}, cwd=tmp_path)
    assert error.value.message.splitlines() == [
        "n.ipynb can't run with these parameters:",
        "  'limt' is not a parameter; did you mean 'limit'?",
        "  'xyzzy' is not a parameter",
        "  'fast': 1 is not of type bool (skip the rest)",
        f"  'table': there is no file no.parquet in {tmp_path}",
    ]


def test_files_and_folders_must_be_there_relative_to_the_working_folder(tmp_path, monkeypatch):
    source = 'a: list[str] = []  # [file] some\nb = "."  # [folder] one\nc = "nowhere"  # no marker'
    notebook = make(tmp_path / "n.ipynb", parameters=source)
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "x.csv").touch()
    notebooks.validate(notebook, {"a": ["x.csv", str(work / "x.csv")], "b": "sub"}, cwd=work)
    for values, said in [
        ({"a": ["x.csv", "y.csv"]}, "no file y.csv"),
        ({"a": ["sub"]}, "no file sub"),
        ({"b": "x.csv"}, "no folder x.csv"),
    ]:
        with pytest.raises(DfdError, match=said):
            notebooks.validate(notebook, values, cwd=work)
    with pytest.raises(DfdError, match=r"no file x\.csv"):
        notebooks.validate(notebook, {"a": ["x.csv"]}, cwd=tmp_path)
    monkeypatch.chdir(work)
    notebooks.validate(notebook, {"a": ["x.csv"]})


def test_nothing_is_started_for_wrong_parameters(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "_kernel", lambda *_: pytest.fail("a kernel was started"))
    for values, cwd, output in [
        ({"nam": []}, tmp_path, tmp_path / "out.ipynb"),
        ({"table": "no.parquet"}, tmp_path, tmp_path / "out.ipynb"),
        ({}, tmp_path / "nowhere", tmp_path / "out.ipynb"),
        ({}, tmp_path, notebook),
        ({}, tmp_path, tmp_path / "out.html"),
        ({}, tmp_path, notebook / "out.ipynb"),  # below a file
    ]:
        with pytest.raises(DfdError):
            notebooks.run(notebook, output, values, cwd=cwd)
    assert not (tmp_path / "out.ipynb").exists()


texts = st.text(st.characters(codec="utf-8"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), scalars | st.lists(scalars) | st.dictionaries(texts, scalars)))
def test_values_reach_the_notebook_unchanged(values):
    from papermill.parameterize import parameterize_notebook

    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]})])
    for cell in nb.cells:
        cell.metadata.papermill = {}
    nb.metadata.papermill = {}
    injected = parameterize_notebook(nb, values, kernel_name="python3", language="python").cells[1].source
    found = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(injected).body}
    assert found == values
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in values.items()}


# --- a run that succeeds ----------------------------------------------------------------------------------------------

LOOK = """\
import json, os, sys
backend = os.environ.get("KERAS_BACKEND")
print(json.dumps([sys.executable, os.getcwd(), "hostile" in globals(), backend, sys.flags.utf8_mode]))
print("half", end="")
"""
TRACK = """\
from dfdlib import progress
progress.EVERY = 0.05
import time
with progress.track(40, "sample-bnext") as tracker:
    for _ in range(40):
        time.sleep(0.01)
        tracker.advance()
"""
RESULT = """\
from dfdlib import notebooks
notebooks.show_result({"limit": limit, "names": names, "rate": rate})
"""


@pytest.fixture(scope="module")
def success(tmp_path_factory):
    """One run in the most awkward place: hostile kernelspecs and start-up files, blanks, quotes, braces, umlauts."""
    tmp_path = tmp_path_factory.mktemp("kernel")
    folder = tmp_path / 'it\'s a {limit} "Prüfung"'
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    for file in (startup / "00.py", tmp_path / "start.py"):
        file.write_text("hostile = True\n")
    notebook = make(folder / "n ö.ipynb", LOOK, "", TRACK, RESULT)
    output = folder / "out" / "n ö.ipynb"
    output.parent.mkdir()
    output.with_name("n ö.failed.ipynb").write_text("an earlier failure")
    heard: list[Progress] = []
    values = {"limit": 3, "names": ["it's", 'a "b"', "\\n{c}", "ü"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
        patch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
        patch.setenv("PYTHONSTARTUP", str(tmp_path / "start.py"))
        patch.setenv("KERAS_BACKEND", "tensorflow")
        before = Path.cwd()
        done = notebooks.run(notebook, output, values, cwd=folder, title="A & B", progress=heard.append)
        assert Path.cwd() == before
    return done, heard, notebook


def test_the_result_comes_back(success):
    done, _, notebook = success
    assert done.result == {"limit": 3, "names": ["it's", 'a "b"', "\\n{c}", "ü"], "rate": 0.5}
    assert done.output == notebook.parent / "out" / "n ö.ipynb"
    assert 0 < done.seconds < 60


def test_the_kernel_is_this_interpreter_in_the_given_folder(success):
    _, heard, notebook = success
    look = json.loads(next(str(report) for report in heard if str(report).startswith("[")))
    assert look == [sys.executable, str(notebook.parent), False, None, 1]


def test_cells_lines_and_tasks_are_reported_live(success):
    _, heard, _ = success
    cells = [report for report in heard if report.what == "cell"]
    assert [(report.done, report.total) for report in cells] == [(i, 5) for i in range(1, 6)]
    assert heard.index(Progress("half")) < heard.index(cells[3])
    tasks = [report for report in heard if report.what == "sample-bnext"]
    assert len(tasks) > 2
    assert (tasks[-1].done, tasks[-1].total, tasks[-1].unit) == (40, 40, "images")
    assert 0 < tasks[-1].rate <= 100  # each takes a hundredth of a second at the least
    assert cells[3] in heard[: heard.index(tasks[0])] and cells[4] in heard[heard.index(tasks[-1]) :]


def test_the_executed_copy_is_whole_and_keeps_one_line_of_progress(success):
    done, heard, notebook = success
    nb = nbformat.read(done.output, as_version=4)
    nbformat.validate(nb)
    shown = [out for cell in nb.cells for out in cell.get("outputs", []) if PROGRESS_MIME in out.get("data", {})]
    assert len(shown) == 1
    assert shown[0].data["text/plain"] == str([report for report in heard if report.what == "sample-bnext"][-1])
    assert nb.metadata.papermill.parameters.names == ["it's", 'a "b"', "\\n{c}", "ü"]
    assert str(notebook.parent) not in json.dumps(nb.metadata)
    assert sorted(path.name for path in done.output.parent.iterdir()) == ["n ö.ipynb"]  # no failed copy, no half file


def test_the_same_notebook_runs_by_papermill_alone(success, tmp_path, monkeypatch):
    import papermill

    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    _, _, notebook = success
    copy = tmp_path / "n.ipynb"
    copy.write_bytes(notebook.read_bytes())
    nb = papermill.execute_notebook(
        copy, tmp_path / "out.ipynb", {"limit": 4}, kernel_name="python3", language="python", progress_bar=False
    )
    assert notebooks._result(nb)["limit"] == 4


def test_a_result_that_json_can_not_hold_is_refused():
    for value in (float("nan"), object(), {1, 2}):
        with pytest.raises(DfdError, match="not plain JSON"):
            notebooks.show_result({"x": value})


# --- a run that fails -------------------------------------------------------------------------------------------------


@pytest.fixture
def fail(tmp_path: Path):
    """Runs cells that must fail where an earlier run succeeded; gives the error and the failed copy."""

    def run(*cells: str, **options: Any) -> tuple[DfdError, nbformat.NotebookNode]:
        notebook = make(tmp_path / "n.ipynb", *cells)
        output = tmp_path / "out" / "n.ipynb"
        output.parent.mkdir(exist_ok=True)
        output.write_text("an earlier success")
        with pytest.raises(DfdError) as error:
            notebooks.run(notebook, output, {}, cwd=tmp_path, **options)
        assert output.read_text() == "an earlier success"
        assert sorted(path.name for path in output.parent.iterdir()) == ["n.failed.ipynb", "n.ipynb"]
        nb = nbformat.read(output.with_name("n.failed.ipynb"), as_version=4)
        nbformat.validate(nb)
        assert nb.cells[0].source.startswith("**This run failed**")
        assert nb.metadata.papermill.exception is True
        return error.value, nb

    return run


def status(nb: nbformat.NotebookNode) -> list[str]:
    return [cell.metadata.papermill.status for cell in nb.cells if cell.cell_type == "code"]


def test_an_exception_is_told_with_its_cell(fail, tmp_path):
    cells = ["def half(x):\n    return x / 0\n", "print('before')\nhalf(3)", "after = 1"]
    error, nb = fail(*cells, title="02_benchmark")
    lines = error.message.splitlines()
    assert lines[:4] == [
        "02_benchmark stopped in cell [4]: ZeroDivisionError: division by zero",
        "The cell:",
        "    print('before')",
        "    half(3)",
    ]
    assert "return x / 0" in error.message
    assert lines[-1] == f"The notebook as far as it came: {tmp_path / 'out' / 'n.failed.ipynb'}"
    assert "\x1b" not in error.message
    assert error.hint
    assert status(nb) == ["completed", "completed", "completed", "failed", "pending"]


def test_a_dfd_error_comes_through_as_it_is(fail):
    raising = "raise DfdError('no weights: a.bin\\n  -> really', 'dfd weights get a', exit_code=3)"
    error, nb = fail("from dfdlib.errors import DfdError", raising, "after = 1")
    assert (error.message, error.hint, error.exit_code) == ("no weights: a.bin\n  -> really", "dfd weights get a", 3)
    assert status(nb)[-2:] == ["failed", "pending"]


def test_sys_exit_is_no_success(fail):
    error, nb = fail("import sys\nsys.exit(0)", "after = 1")
    assert "stopped in cell [3]" in error.message and "sys.exit(0)" in error.message
    assert status(nb)[-2:] == ["failed", "pending"]


def test_a_kernel_that_ends_is_no_success(fail):
    error, nb = fail("x = 1", "import os\nos._exit(0)")  # papermill calls every cell of this one completed
    assert "stopped in cell [4]: the kernel ended (exit status 0)" in error.message
    assert error.hint == "Run the same command again: it resumes."
    assert status(nb)[-2:] == ["completed", "failed"]


@pytest.mark.skipif(os.name == "nt", reason="signals end a process on POSIX only")
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("import os\nos.kill(os.getpid(), 9)", ["was killed (SIGKILL), most likely because memory ran out"]),
        ("import ctypes\nctypes.string_at(0)", ["crashed (SIGSEGV)", "Fatal Python error", "in string_at"]),
    ],
)
def test_a_kernel_that_is_killed_or_crashes(fail, monkeypatch, cell, said):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # where ipykernel sees it, it treats stderr in another way
    error, nb = fail(cell, "after = 1")
    assert all(text in error.message for text in said)
    assert error.hint == "Run the same command again: it resumes."
    assert status(nb)[-2:] == ["failed", "pending"]


def test_a_timeout(fail):
    error, nb = fail("import time\ntime.sleep(60)", "after = 1", timeout=2)
    assert "stopped in cell [3]: the notebook took longer than 2 s" in error.message
    assert status(nb)[-2:] == ["failed", "pending"]


def test_a_timeout_is_for_the_whole_notebook(monkeypatch):
    nb = nbformat.v4.new_notebook()
    assert notebooks._Watch(nb, None, None).seconds_left(None) is None
    moments = iter([50.0, 50.0, 53.0, 59.0, 60.0, 99.0])
    monkeypatch.setattr(notebooks, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    watch = notebooks._Watch(nb, None, 10)
    left = [watch.seconds_left(None) for _ in range(5)]
    assert left == [10, 7, 1, 1, 1]  # never 0, which would mean no limit


def test_a_kernel_that_does_not_start(fail, tmp_path, monkeypatch):
    broken = tmp_path / "ipykernel_launcher.py"
    broken.write_text("raise SystemExit('no zmq here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error, nb = fail("x = 1")
    assert "its kernel did not start" in error.message and "no zmq here" in error.message
    assert "dfd doctor" in error.hint
    assert set(status(nb)) == {"pending"}


@pytest.mark.skipif(os.name == "nt", reason="a signal can't be sent to oneself there")
def test_ctrl_c_ends_the_kernel_too(tmp_path, request):
    notebook = make(tmp_path / "n.ipynb", "import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(60)")
    pids = []

    def hear(report: Progress) -> None:
        if report.what.startswith("pid"):
            pids.append(int(report.what.split()[1]))
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    # Tests that run as a background job inherit an ignored SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        notebooks.run(notebook, tmp_path / "out.ipynb", {}, cwd=tmp_path, progress=hear)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert not (tmp_path / "out.ipynb").exists()
    assert status(nbformat.read(tmp_path / "out.failed.ipynb", as_version=4))[-1] == "failed"


def test_a_failed_copy_that_can_not_be_saved_hides_nothing(tmp_path):
    nb = nbformat.v4.new_notebook(cells=[], metadata={"papermill": {}})
    (tmp_path / "file").touch()
    said = notebooks._save_failed(notebooks._Watch(nb, None, None), tmp_path / "file" / "n.ipynb", "ValueError: x")
    assert said.startswith("The notebook as far as it came could not be saved")


# --- the page ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page would load, and its policy."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[tuple[str, str]] = []
        self.policy = ""
        self.links: list[str] = []
        self.styles: list[str] = []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self._in_style = tag == "style"
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""
        if tag == "a":
            self.links.append(named.get("href") or "")
        else:
            found = [(tag, named[name] or "") for name in ("src", "href", "data", "srcset", "poster") if name in named]
            self.loads += [(tag, value) for tag, value in found if not value.startswith("data:")]

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)


def test_the_page_loads_nothing_from_outside(success, tmp_path):
    done, _, _ = success
    nb = nbformat.read(done.output, as_version=4)
    hostile = (
        '<script src="https://a.example/x.js"></script><img alt="x" src=\'//b.example/y.png\'><iframe SRC = http://c>'
    )
    nb.cells[2].outputs.append(nbformat.v4.new_output("display_data", {"text/html": hostile}))
    nb.cells.append(nbformat.v4.new_markdown_cell("$a^2$ ![x](http://d.example/z.png) [more](https://e.example)"))
    nb.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(nb, tmp_path / "n.ipynb")
    notebooks.export_html(tmp_path / "n.ipynb", tmp_path / "n.html")
    text = (tmp_path / "n.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == []
    assert not any(word in style for style in page.styles for word in ("@import", "url(http", "url(//", 'url("http'))
    assert page.policy.startswith("default-src 'none'")
    assert "https://e.example" in page.links
    assert "cdnjs" not in text  # what nbconvert loads its scripts from
    assert "<title>A &amp; B</title>" in text
    assert "sample-bnext: 40/40 images" in text


def test_a_page_of_a_missing_or_broken_notebook(tmp_path):
    (tmp_path / "n.ipynb").write_text("{")
    for name in ("n.ipynb", "none.ipynb"):
        with pytest.raises(DfdError):
            notebooks.export_html(tmp_path / name, tmp_path / "n.html")
    assert not (tmp_path / "n.html").exists()
