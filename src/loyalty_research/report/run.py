"""Making a site: which reports need a run, running them, publishing each as it ends."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError, LoyaltyError
from loyalty_research.report import keys, site
from loyalty_research.report.catalogue import find_root, load_catalogue
from loyalty_research.report.execute import kernel_environment
from loyalty_research.report.manifest import Entry, Failure, read_manifest
from loyalty_research.report.plan import Keys, command, make_plans, words
from loyalty_research.report.pool import Pool
from loyalty_research.report.preflight import check_inputs
from loyalty_research.report.publish import open_site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loyalty_research.report.catalogue import Catalogue
    from loyalty_research.report.console import Console
    from loyalty_research.report.manifest import Manifest
    from loyalty_research.report.plan import Plan
    from loyalty_research.report.publish import Site

__all__ = ["Request", "default_jobs", "make_site", "site_folder"]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        ids: Reports by id; the default ones when empty.
        given: Parameters as texts.
        jobs: Reports to run at once.
        force: Run even what is unchanged.
        out: The site's folder (default: ``reports/site``).
        everything: Every report of the catalogue.
        check: Only say whether the pages are up to date.
    """

    ids: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    force: bool = False
    out: Path | None = None
    everything: bool = False
    check: bool = False


def default_jobs() -> int:
    """Return how many reports run at once unless told: two, or one on a single core."""
    return min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def site_folder(root: Path, out: Path | None) -> Path:
    """Return the site's folder.

    Raises:
        ArgumentError: When something that is no folder is in its place.
    """
    folder = (out or root / "reports" / "site").expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{folder} is not a folder; choose another --out")
    return folder


def make_site(request: Request, console: Console) -> int:
    """Make or check the pages that were asked for.

    Args:
        request: What was asked for.
        console: Where to say how it goes.

    Returns:
        0 when every page is as it should be, 1 when a report failed or (checking) is not up to date.

    Raises:
        LoyaltyError: On bad input or usage, before anything is written; a parameter given by hand
            that a notebook refuses writes nothing for that report.
    """
    catalogue = load_catalogue(find_root())
    keys_of = Keys(catalogue.root)
    chosen = catalogue.choose(request.ids, everything=request.everything)
    plans = make_plans(catalogue, chosen, request.given, keys_of=keys_of)
    folder = site_folder(catalogue.root, request.out)
    if request.check:
        return _check(plans, folder, console)
    checked = not folder.exists()
    if checked:
        _open_inputs(plans)
        folder.mkdir(parents=True, exist_ok=True)
    with open_site(folder) as locked:
        manifest = read_manifest(folder)
        todo = [plan for plan in plans if request.force or not _is_fresh(plan, manifest, folder)]
        if not checked:
            _open_inputs(todo)
        run = _Run(catalogue, keys_of, locked, manifest, console)
        for plan in plans:
            if plan not in todo:
                console.line(f"{plan.report.id}: unchanged")
        failed = run.execute(todo, jobs=request.jobs)
        if failed or run.made or not run.refused:
            run.publish()
    if run.refused:
        if not any(folder.iterdir()):
            folder.rmdir()  # this run made it, for nothing
        raise ArgumentError("\n".join(run.refused))
    console.line(_last_line(plans, failed, folder))
    return 1 if failed else 0


def _is_fresh(plan: Plan, manifest: Manifest, folder: Path) -> bool:
    entry = manifest.reports.get(plan.report.id)
    return (
        entry is not None
        and plan.key is not None
        and entry.failure is None
        and entry.key == plan.key
        and entry.intact(folder)
    )


def _check(plans: Sequence[Plan], folder: Path, console: Console) -> int:
    manifest = read_manifest(folder)
    behind = 0
    for plan in plans:
        name = plan.report.id
        entry = manifest.reports.get(name)
        if entry is not None and entry.failure is not None:
            state = f"failed: {entry.failure.message}"
        elif entry is None or not entry.files:
            state = "not made yet"
        elif _is_fresh(plan, manifest, folder):
            state = "up to date"
        elif entry.key == plan.key:
            state = "its files were changed or removed, or its data cannot be compared"
        else:
            state = "out of date"
        behind += state != "up to date"
        console.line(f"{name}: {state}")
    return 1 if behind else 0


def _open_inputs(plans: Sequence[Plan]) -> None:
    for folder in dict.fromkeys(plan.notebook.parent for plan in plans):
        inputs = [
            (name, plan.as_of) for plan in plans if plan.notebook.parent == folder for name in plan.inputs
        ]
        check_inputs(inputs, folder=folder)


def _last_line(plans: Sequence[Plan], failed: int, folder: Path) -> str:
    index = folder / "index.html"
    here = Path.cwd()
    shown = index.relative_to(here) if index.is_relative_to(here) else index
    if failed:
        return f"{failed} of {len(plans)} reports failed; the index says which: {shown}"
    return f"{len(plans)} {'report is' if len(plans) == 1 else 'reports are'} up to date: {shown}"


class _Run:
    """One run that holds a site's lock."""

    def __init__(
        self, catalogue: Catalogue, keys_of: Keys, locked: Site, manifest: Manifest, console: Console
    ) -> None:
        self._catalogue = catalogue
        self._keys = keys_of
        self._site = locked
        self._manifest = manifest
        self._console = console
        self._git = manifest.git
        self.made: set[str] = set()
        self.refused: list[str] = []

    def execute(self, todo: Sequence[Plan], *, jobs: int) -> int:
        """Run reports, publish each as it ends; return how many failed."""
        if not todo:
            return 0
        self._git = keys.git_state(self._catalogue.root)
        scratch = self._site.stage()
        pool = Pool(jobs=jobs, environment=kernel_environment(scratch), folder=scratch)
        plans = {plan.report.id: plan for plan in todo}
        work = [self._job(plan) for plan in todo]
        stages = {job["id"]: Path(job["stage"]) for job in work}
        ended = failed = 0
        with closing(pool.run(work)) as events:
            for name, event in events:
                match event["event"]:
                    case "cell":
                        self._console.running(name, f"cell {event['cell']} of {event['cells']}")
                    case "started":
                        self._console.running(name, "starting")
                    case "done":
                        ended += 1
                        self._done(plans[name], event, stages[name])
                    case "failed" if event.get("refused") and plans[name].changed:
                        # a parameter typed by hand that the notebook cannot use: as if refused at the start
                        ended += 1
                        self._console.running(name, None)
                        self.refused.append(f"{name}: {event['message']}")
                    case "failed":
                        ended, failed = ended + 1, failed + 1
                        self._failed(plans[name], event, stages[name])
                self._console.status(ended, len(todo))
        self._console.clear()
        return failed

    def _job(self, plan: Plan) -> dict[str, Any]:
        report = plan.report
        return {
            "id": report.id,
            "notebook": str(plan.notebook),
            "stage": str(self._site.stage()),
            "root": str(self._catalogue.root),
            "site": str(self._site.folder),
            "parameters": plan.overrides,
            "timeout": report.timeout,
            "inputs": list(plan.inputs),
            "context": {
                "report": asdict(report),
                "sensitivity": site.sensitivity_words()[report.sensitivity],
                "parameters": {name: words(value) for name, value in plan.parameters.items()},
                "changed": list(plan.changed),
                "git": self._git,
                "command": command(plan),
            },
        }

    def _done(self, plan: Plan, event: Mapping[str, Any], stage: Path) -> None:
        name = plan.report.id
        names = [f"{name}.html", f"{name}.ipynb", f"{name}.metrics.json"]
        seed = plan.parameters.get("seed")
        entry = self._entry(plan)
        entry.key = plan.key
        entry.provenance = event["provenance"]
        entry.findings = event["findings"]
        entry.seed = seed if isinstance(seed, int) else None
        entry.git = self._git
        entry.generated_at = _now()
        entry.duration = event["duration"]
        entry.warnings = event["warnings"]
        entry.files = {file: keys.file_hash(stage / file) for file in names}
        self._manifest.reports[name] = entry
        self.made.add(name)
        self.publish({file: stage / file for file in names}, remove=[f"failed/{name}.ipynb"])
        self._console.running(name, None)
        found = len(entry.findings)
        self._console.line(
            f"{name}: made in {event['duration']:.1f} s, {found} {'finding' if found == 1 else 'findings'}"
        )
        for warning in entry.warnings:
            self._console.line(f"{name}: look into this: {warning}")

    def _failed(self, plan: Plan, event: Mapping[str, Any], stage: Path) -> None:
        name = plan.report.id
        kept = f"failed/{name}.ipynb"
        earlier = self._manifest.reports.get(name)
        entry = self._entry(plan) if earlier is None else earlier
        damaged = [] if entry.intact(self._site.folder) else list(entry.files)
        if damaged:  # what is left of it is no good page
            entry = self._entry(plan)
        entry.failure = Failure(event["message"], _now(), kept if event["notebook"] else None)
        self._manifest.reports[name] = entry
        files = {kept: stage / f"{name}.ipynb"} if event["notebook"] else {}
        self.publish(files, remove=damaged if files else [*damaged, kept])
        self._console.running(name, None)
        self._console.line(f"{name}: FAILED: {event['message']}")

    def _entry(self, plan: Plan) -> Entry:
        report = plan.report
        return Entry(
            title=report.title,
            notebook=report.notebook,
            audience=report.audience,
            sensitivity=report.sensitivity,
            parameters=plan.parameters,
            changed=list(plan.changed),
        )

    def publish(self, files: Mapping[str, Path] | None = None, *, remove: Sequence[str] = ()) -> None:
        """Put files into the site together with the index and the manifest that tell of them."""
        retired = [name for name in self._manifest.reports if name not in self._catalogue.reports]
        gone = [file for name in retired for file in self._manifest.reports[name].files]
        self._manifest.reports = {
            name: self._manifest.reports[name]
            for name in self._catalogue.reports
            if name in self._manifest.reports
        }
        entries = self._manifest.reports
        shown = site.cards(entries, {name: self._fresh(name, entry) for name, entry in entries.items()})
        key = site.index_key(shown, self._keys.machinery)
        index = self._site.folder / "index.html"
        same = key == self._manifest.index_key and index.is_file()
        if same and keys.file_hash(index) == self._manifest.site.get("index.html") and not files:
            return
        self._write(dict(files or {}), [*remove, *gone], site.index_page(shown), key)

    def _write(self, files: dict[str, Path], remove: Sequence[str], index: str, key: str) -> None:
        from loyalty_research.provenance import versions

        stage = self._site.stage()
        (stage / "index.html").write_text(index, "utf-8")
        self._manifest.index_key = key
        self._manifest.site = {"index.html": keys.file_hash(stage / "index.html")}
        self._manifest.git = self._git
        self._manifest.packages = versions()
        (stage / "manifest.json").write_text(self._manifest.to_json(), "utf-8")
        site_files = {name: stage / name for name in ("index.html", "manifest.json")}
        self._site.commit({**files, **site_files}, remove=remove)

    def _fresh(self, name: str, entry: Entry) -> bool:
        if name in self.made:
            return True
        report = self._catalogue.reports[name]
        try:
            inputs = report.inputs(entry.parameters)
            key = self._keys.of(report, self._catalogue.notebook(report), entry.parameters, inputs)
        except LoyaltyError:  # its data are gone, so it could not be made again
            return False
        return key is not None and key == entry.key


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
