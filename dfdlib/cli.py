"""The command line: `dfd`. Each command is a few lines that call the library and print what it says.

Imports stand within the commands: `dfd --help` must not wait for any of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dfdlib.errors import DfdError

INTERRUPTED = 130
EXIT_CODES = """
Exit codes: 0 done; 1 an error, told in words; 2 wrong usage; 3 too few images got a score; 130 interrupted (the same
command goes on where it stopped).
"""

app = typer.Typer(
    name="dfd",
    help="Evaluation suite for deepfake image detectors: the same numbers for everybody.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Test sets: recipes, manifests, audits.", no_args_is_help=True)
detectors_app = typer.Typer(help="Detectors and their cards.", no_args_is_help=True)
weights_app = typer.Typer(help="Weights files of detectors.", no_args_is_help=True)
crops_app = typer.Typer(help="Crop profiles: how faces are found and cut out.", no_args_is_help=True)
claims_app = typer.Typer(help="Published figures, as data.", no_args_is_help=True)
for group, group_app in (
    ("data", data_app),
    ("detectors", detectors_app),
    ("weights", weights_app),
    ("crops", crops_app),
    ("claims", claims_app),
):
    app.add_typer(group_app, name=group)

console = Console()
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Detectors = Annotated[list[str], typer.Option("--detector", "-d", help="Name or card (.yaml); repeatable.")]
Crops = Annotated[list[str], typer.Option("--crop", "-c", help="Crop profile; repeatable.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Coverage = Annotated[float, typer.Option(min=0, max=1, help="Smallest share of images that must get a score.")]
Changes = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A value (YAML); repeatable.")]


def main() -> None:
    """Runs the command line; errors that the user can act on are told without a traceback."""
    try:
        app()
    except DfdError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # Typer makes this of Ctrl-C
            Console(stderr=True).print("\n[yellow]interrupted[/]: the same command goes on where it stopped")
        raise


def _complain(error: DfdError) -> None:
    out = Console(stderr=True, soft_wrap=True)
    out.print("[bold red]error:[/] ", end="")
    out.print(error.message, markup=False, highlight=False)
    if error.hint:
        out.print(f"  -> {error.hint}", markup=False, highlight=False, style="cyan")


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows as a table, or as JSON."""
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0] if rows else ("nothing to show",):
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_escaped("" if value is None else str(value)) for value in row.values()))
    console.print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    # A file name may hold a newline or an escape sequence: neither may act on the terminal.
    return escape("".join(char if char.isprintable() else repr(char)[1:-1] for char in text))


def _changes(given: list[str]) -> dict[str, Any]:
    import yaml

    changes = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise DfdError(
                f"--set {item}: not of the form KEY=VALUE.", "For example: --set data.root=FOLDER", exit_code=2
            )
        try:
            changes[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise DfdError(f"--set {item}: the value is not YAML ({error}).", "Quote it.", exit_code=2) from error
    return changes


@app.command()
def doctor(as_json: Json = False) -> None:
    """Looks at Python, packages, GPU, kernel, weights and disk; each problem comes with its remedy.

    Exit code 1 where the suite cannot run. Example: dfd doctor
    """
    from dfdlib import doctor as checks
    from dfdlib import weights
    from dfdlib.detectors import card

    every = [card.read(name) for name in card.names()]
    states = {c.name: weights.status(c) for c in every}
    # Weights that nobody asked for yet are no problem: they are counted, not listed.
    told = [s for c in every if (s := states[c.name]).state != "missing" or c.weights.source.kind == "shipped"]
    found = checks.examine(weights=[(s.name, s.state == "ok", s.remedy) for s in told])
    present = sum(s.state == "ok" for s in states.values())
    found.append(
        checks.Check("weights", "ok", f"of {len(every)} detectors {present} have theirs (dfd weights list)", "")
    )
    if as_json:
        print(checks.to_json(found))
    else:
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for check in found:
            console.print(
                f"[{colours[check.status]}]{check.status:4}[/] [bold]{_escaped(check.name)}[/]: "
                f"{_escaped(check.detail)}",
                soft_wrap=True,
                highlight=False,
            )
            if check.remedy:
                console.print(f"     -> {_escaped(check.remedy)}", style="cyan", soft_wrap=True, highlight=False)
    raise typer.Exit(checks.exit_code(found))


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """Lists the data sets that can be prepared. Example: dfd data list"""
    from dfdlib import recipes

    found = [recipes.get(name) for name in recipes.names()]
    rows = [{"name": r.name, "title": r.title, "licence": r.licence, "how to get it": r.obtain} for r in found]
    if as_json:
        rows = [
            {**row, "layout": r.layout, "citation": r.citation, "parameters": r.parameters(), "version": r.version}
            for row, r in zip(rows, found, strict=True)
        ]
    _show(rows, as_json)


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="Recipe: dfd data list")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(help="Manifest to write (.parquet).")],
    split: Annotated[str | None, typer.Option(help="Keep only train, val or test.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stratified sample of this many images.")] = None,
    seed: Annotated[int, typer.Option(help="Of that sample.")] = 0,
    changes: Changes = [],  # noqa: B006
) -> None:
    """Makes a manifest: the table of images under test, with the digest of each.

    Example: dfd data prepare 140k --root ~/140k --split test --out 140k.parquet
    """
    from dfdlib import manifest, recipes

    table = recipes.prepare(name, root, split=split, limit=limit, seed=seed, parameters=_changes(changes))
    manifest.write(table, out)
    _show(table.counts().to_dict("records"), False)
    console.print(f"{len(table):,} images, digest {table.digest[:12]}: {out}", soft_wrap=True, highlight=False)


@data_app.command("audit")
def data_audit(manifest_file: Annotated[Path, typer.Argument(metavar="M.parquet")], as_json: Json = False) -> None:
    """Looks for changed and unreadable files, duplicates and imbalance. Example: dfd data audit 140k.parquet"""
    from dfdlib import audit, manifest

    findings = [finding.as_dict() for finding in audit.audit(manifest.read(manifest_file))]
    if not findings and not as_json:
        console.print("Nothing found.")
        return
    _show(
        [{**row, "examples": row["examples"] if as_json else "\n".join(row["examples"])} for row in findings], as_json
    )


@detectors_app.command("list")
def detectors_list(as_json: Json = False) -> None:
    """Lists the detectors that come with the suite. Example: dfd detectors list"""
    from dfdlib import weights
    from dfdlib.detectors import card

    cards = [card.read(name) for name in card.names()]
    _show(
        [
            {
                "name": c.name,
                "family": c.family,
                "trained on": c.trained_on,
                "licence": c.weights.licence,
                "megabytes": c.weights.bytes and round(c.weights.bytes / 1e6, 2),
                "weights": weights.status(c, hash_file=False).state,
            }
            for c in cards
        ],
        as_json,
    )


@detectors_app.command("show")
def detectors_show(name: Annotated[str, typer.Argument(help="Name, or a card's path.")], as_json: Json = False) -> None:
    """Shows a detector's card. Example: dfd detectors show sample-vit"""
    import yaml

    from dfdlib.detectors import card

    values = card.read(name).as_dict()
    print(json.dumps(values, indent=2) if as_json else yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@detectors_app.command("new")
def detectors_new(
    card_file: Annotated[Path, typer.Argument(metavar="CARD.yaml", help="The card to write.")],
    weights_file: Annotated[Path, typer.Option("--weights", help="Your detector's weights.")],
) -> None:
    """Writes a card to fill in for your own weights file. Example: dfd detectors new mine.yaml --weights mine.pt"""
    from dfdlib.detectors import template

    template.write(card_file, weights_file)
    console.print(
        f"{card_file}: replace every FILL-IN, then look at what it does: dfd detectors try {card_file} IMAGES",
        soft_wrap=True,
        highlight=False,
    )


@detectors_app.command("try")
def detectors_try(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_CARD")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    crop: Annotated[str, typer.Option("--crop", "-c", help="Crop profile.")] = "none",
    picture: Annotated[Path, typer.Option(help="Where to put the picture of what the network is fed.")] = Path(
        "try.png"
    ),
    device: Device = "auto",
) -> None:
    """Shows what a detector is fed (as a picture) and what it answers: a wrong polarity or resize is seen at once.

    Example: dfd detectors try mine.yaml real.jpg fake.jpg
    """
    from dfdlib import faces
    from dfdlib.detectors import card, trial
    from dfdlib.paths import written_whole

    rows, drawn = trial.try_out(card.read(name), images, faces.read(crop), device)
    _show(rows, False)
    with written_whole(picture) as temporary:
        drawn.save(temporary, "PNG")
    console.print(f"left the image, right what the network is fed: {picture}", soft_wrap=True, highlight=False)


@claims_app.command("list")
def claims_list(as_json: Json = False) -> None:
    """Lists published figures with their sources. Example: dfd claims list --json"""
    from dfdlib import claims

    _show(claims.rows(), as_json)


@claims_app.command("audit")
def claims_audit(
    everything: Annotated[bool, typer.Option("--all", help="Also what agrees, and what cannot be checked.")] = False,
    as_json: Json = False,
) -> None:
    """Recomputes published figures from published counts and lists what does not add up. Example: dfd claims audit"""
    from dfdlib import claims

    found = claims.audit()
    shown = found if everything else [finding for finding in found if finding.wrong]
    _show([finding.as_dict() for finding in shown], as_json)
    if not as_json:
        agree = sum(finding.kind == "agrees" for finding in found)
        console.print(
            f"{len(found)} checks: {agree} agree, {sum(f.wrong for f in found)} do not add up", highlight=False
        )


@crops_app.command("list")
def crops_list(as_json: Json = False) -> None:
    """Lists the crop profiles. Example: dfd crops list"""
    from dfdlib import faces

    _show(
        [
            {"name": p.name, "version": p.version, "summary": p.summary, "no face": p.fallback}
            for p in map(faces.read, faces.names())
        ],
        as_json,
    )


@weights_app.command("list")
def weights_list(as_json: Json = False) -> None:
    """Lists weights files, whether they are the ones that the cards mean, and what to do. Example: dfd weights list"""
    from dfdlib import weights
    from dfdlib.detectors import card

    states = [weights.status(card.read(name)) for name in card.names()]
    _show(
        [
            {"name": s.name, "state": s.state, "detail": s.detail, "file": str(s.path), "remedy": s.remedy}
            for s in states
        ],
        as_json,
    )


@weights_app.command("get")
def weights_get(
    name: Annotated[str, typer.Argument(help="Detector: name or card.")],
    source: Annotated[Path | None, typer.Option("--from", help="A file that you already have.")] = None,
) -> None:
    """Downloads a detector's weights and checks them; --from takes a file that you have. Goes on where it stopped.

    Where the author publishes no sha256, that of the first file is recorded in weights/lock.yaml; another file is an
    error from then on. Example: dfd weights get sample-vit
    """
    from dfdlib import weights
    from dfdlib.detectors import card

    def say(line: str) -> None:
        console.print(_escaped(line), soft_wrap=True, highlight=False)

    found = card.read(name)
    path = weights.install(found, source, say) if source else weights.get(found, say)
    say(f"{found.name}: {path}")


@weights_app.command("verify")
def weights_verify(name: Annotated[str, typer.Argument(help="Detector: name or card.")]) -> None:
    """Compares a weights file with its card or the lock: size and sha256. Example: dfd weights verify sample-cnn"""
    from dfdlib import weights
    from dfdlib.detectors import card

    found = card.read(name)
    path, known = weights.checked(found), weights.identity(found)
    line = f"ok: {path} has sha256 {known.sha256}, as {known.stated} says"
    console.print(_escaped(line), soft_wrap=True, highlight=False)


@app.command()
def score(
    manifest_file: Annotated[Path, typer.Argument(metavar="M.parquet")],
    detector: Detectors,
    out: Annotated[Path, typer.Option(help="Folder for the scores.")],
    crop: Crops = ["none"],  # noqa: B006
    device: Device = "auto",
    min_coverage: Coverage = 0.99,
) -> None:
    """Scores a manifest with detectors x crops, in one pass. Scores that exist are not computed again.

    Example: dfd score 140k.parquet -d sample-vit -d sample-cnn -c none -c haar --out scores
    """
    from dfdlib import arms, manifest, scoring

    table = manifest.read(manifest_file)
    planned = arms.plan(table, detector, crop, device)
    present = sum(arm.exists(out) for arm in planned)
    for path in scoring.score(table, planned, out, min_coverage=min_coverage):
        print(path)
    console.print(f"{len(planned) - present} arms scored, {present} existed already", highlight=False)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with scores.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")],
    title: Annotated[str, typer.Option(help="Heading.")] = "Comparison of deepfake detectors",
) -> None:
    """Renders the comparison of all scores in a folder. Example: dfd report scores --out reports/mine"""
    from dfdlib import report as reports
    from dfdlib import scores

    print(reports.render(scores.read_folder(folder), out, title=title, command=_command()))


def _command() -> str:
    return " ".join(["dfd", *sys.argv[1:]])


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or its path (.yaml).")],
    changes: Changes = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder for everything; reports/<suite> if not given.")] = None,
) -> None:
    """Runs a suite: prepares, benchmarks and compares, by its notebooks; prints the path of the report.

    Examples: dfd run sample   |   dfd run 140k --set data.root=~/140k --set crops=[none,haar]
    """
    from dfdlib import suite as suites

    chosen = suites.read(suite, _changes(changes))
    print(suites.run(chosen, out or Path("reports") / chosen.name, _Steps(), _command()))


class _Steps:
    """Prints the runner's lines; in a terminal the running one is overwritten."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status = self._console.status("")

    def __call__(self, line: str) -> None:
        settled = line.endswith("nothing to do") or ": done in" in line
        if not self._console.is_terminal:
            if settled or "/s" in line:
                print(line, file=sys.stderr, flush=True)
        elif settled:
            self._status.stop()
            self._console.print(f"[green]✓[/] {_escaped(line)}", highlight=False)
        else:
            self._status.update(_escaped(line))
            self._status.start()


@app.command()
def check(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE_OR_FOLDER...")],
    detector: Detectors,
    crop: Annotated[str, typer.Option("--crop", "-c", help="Crop profile.")] = "none",
    csv: Annotated[Path | None, typer.Option(help="Also write the table here.")] = None,
    threshold: Annotated[
        float, typer.Option(min=0.001, max=0.999, help="P(fake) above which an image counts as fake.")
    ] = 0.5,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Verdicts for your own images, without labels.

    Example: dfd check photo.jpg holiday/ -d sample-cnn --csv out.csv
    """
    from dfdlib.check import check as examine
    from dfdlib.paths import written_whole

    table = examine(images, detector, crop, device, threshold)
    if csv:
        with written_whole(csv) as temporary:
            table.to_csv(temporary, index=False, encoding="utf-8")
    if as_json:
        print(table.to_json(orient="records", indent=2, force_ascii=False))
    else:
        _show(
            [
                {
                    "image": row.image_path,
                    "detector": row.detector,
                    "verdict": row.prediction,
                    "P(fake)": f"{row.p_fake:.3f}" if row.status == "ok" else None,
                    "faces": row.face_count,
                    "remark": row.error,
                }
                for row in table.astype(object).where(table.notna(), None).itertuples()
            ],
            False,
        )
        console.print(
            f"Threshold: P(fake) > {threshold:g} counts as fake. A verdict is a hint, not a proof.", highlight=False
        )
    if (table.status != "ok").any():
        raise typer.Exit(3)


@app.command()
def benchmark(
    real: Annotated[Path, typer.Option(help="Folder of real images.")],
    fake: Annotated[Path, typer.Option(help="Folder of fake images; its first level of folders names the subsets.")],
    detector: Detectors,
    crop: Crops = ["none"],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder for manifest, scores and report.")] = Path("reports/mine"),
    limit: Annotated[int | None, typer.Option(min=1, help="Stratified sample of this many images.")] = None,
    device: Device = "auto",
    min_coverage: Coverage = 0.99,
) -> None:
    """From two folders of your own straight to a report, without any YAML.

    Example: dfd benchmark --real photos --fake generated -d sample-vit -c none -c haar
    """
    import os

    from dfdlib import arms, manifest, recipes, scores, scoring
    from dfdlib import report as reports

    for folder in (real, fake):
        if not folder.is_dir():
            raise DfdError(f"{folder}: no such folder.", "Give two folders of images.")
    root = Path(os.path.commonpath([real.resolve(), fake.resolve()]))
    folders = {"real": str(real.resolve().relative_to(root)), "fake": str(fake.resolve().relative_to(root))}
    table = recipes.prepare("folder", root, dataset="mine", limit=limit, parameters=folders)
    manifest.write(table, out / "manifest.parquet")
    files = scoring.score(table, arms.plan(table, detector, crop, device), out / "scores", min_coverage=min_coverage)
    print(
        reports.render(list(map(scores.read, files)), out, title=f"{real.name} against {fake.name}", command=_command())
    )


if __name__ == "__main__":
    main()
