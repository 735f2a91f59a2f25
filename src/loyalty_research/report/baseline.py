"""Findings against the committed ones, within declared tolerances."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.report.catalogue import find_root, load_catalogue, near
from loyalty_research.report.publish import write_atomically
from loyalty_research.report.run import site_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from loyalty_research.report.catalogue import Catalogue

__all__ = ["Difference", "Tolerance", "Tolerances", "compare", "differences", "load_tolerances", "update"]

NUMBERS = ("value", "low", "high")
EXACT = ("level", "method", "n", "unit", "status", "section")
_FIGURES = re.compile(r"[-−+]?\d[\d,.]*")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a number may be from its baseline.

    Attributes:
        relative: As a fraction of the baseline.
        absolute: In the number's own unit; the larger of the two counts.
    """

    relative: float = 1e-6
    absolute: float = 1e-9

    def holds(self, old: float, new: float) -> bool:
        """Whether ``new`` is near enough to ``old``."""
        return math.isclose(old, new, rel_tol=self.relative, abs_tol=self.absolute)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """``reports/baseline/tolerances.yml``.

    Attributes:
        default: For every number that has none of its own.
        findings: Report id to finding id to tolerance.
    """

    default: Tolerance
    findings: Mapping[str, Mapping[str, Tolerance]]

    def of(self, report: str, finding: str) -> Tolerance:
        """Return the tolerance of a finding."""
        return self.findings.get(report, {}).get(finding, self.default)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in a report's metrics that left its baseline.

    Attributes:
        report: Report id.
        finding: Finding id, or ``"(report)"``.
        what: Field.
        old: Value in the baseline.
        new: Value in the site.
    """

    report: str
    finding: str
    what: str
    old: Any
    new: Any


def load_tolerances(folder: Path) -> Tolerances:
    """Read ``tolerances.yml`` of a baseline folder; without it the defaults apply.

    Args:
        folder: The baseline's folder.

    Raises:
        ArgumentError: On an unknown key or a value that is no positive number.
    """
    path = folder / "tolerances.yml"
    if not path.exists():
        return Tolerances(Tolerance(), {})
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        raise ArgumentError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or set(document) - {"default", "reports"}:
        raise ArgumentError(f"{path.name} has the keys 'default' and 'reports'; got {document!r}")
    default = _tolerance(document.get("default") or {}, "default", Tolerance())
    reports = {
        str(report): {
            str(finding): _tolerance(entry, f"{report}.{finding}", default)
            for finding, entry in items.items()
        }
        for report, items in (document.get("reports") or {}).items()
    }
    return Tolerances(default, reports)


def _tolerance(entry: Any, where: str, default: Tolerance) -> Tolerance:
    known = ("relative", "absolute")
    if not isinstance(entry, dict):
        raise ArgumentError(f"tolerances.yml, {where}: must be a mapping of {' and '.join(known)}")
    for key, value in entry.items():
        if key not in known:
            raise ArgumentError(f"tolerances.yml, {where}: unknown key {key!r}{near(str(key), known)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ArgumentError(f"tolerances.yml, {where}: {key} must be a number from 0 up; got {value!r}")
    return Tolerance(
        float(entry.get("relative", default.relative)), float(entry.get("absolute", default.absolute))
    )


def differences(
    report: str, old: Mapping[str, Any], new: Mapping[str, Any], tolerances: Tolerances
) -> list[Difference]:
    """Return where a report's metrics left their baseline.

    Numbers are compared within tolerances, sentences by their words (the figures in them are
    the numbers once more). Fingerprints are not compared: data that changed without moving a
    number have moved nothing a reader sees.

    Args:
        report: Report id.
        old: Metrics of the baseline.
        new: Metrics of the site.
        tolerances: How far numbers may be.
    """
    found = [
        Difference(report, "(report)", key, old.get(key), new.get(key))
        for key in ("as_of", "dataset")
        if old.get(key) != new.get(key)
    ]
    before = {finding["id"]: finding for finding in old["findings"]}
    after = {finding["id"]: finding for finding in new["findings"]}
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            found.append(Difference(report, name, "finding", "there", "missing"))
        elif name not in before:
            found.append(Difference(report, name, "finding", "missing", "there"))
        else:
            found += _of_finding(report, before[name], after[name], tolerances.of(report, name))
    return found


def _of_finding(
    report: str, old: Mapping[str, Any], new: Mapping[str, Any], tolerance: Tolerance
) -> list[Difference]:
    found = []
    for key in NUMBERS:
        a, b = old.get(key), new.get(key)
        same = a is b is None or (a is not None and b is not None and tolerance.holds(a, b))
        if not same:
            found.append(Difference(report, old["id"], key, a, b))
    found += [
        Difference(report, old["id"], key, old.get(key), new.get(key))
        for key in EXACT
        if old.get(key) != new.get(key)
    ]
    if _FIGURES.sub("#", old["headline"]) != _FIGURES.sub("#", new["headline"]):
        found.append(Difference(report, old["id"], "headline", old["headline"], new["headline"]))
    return found


def _chosen(ids: Sequence[str], out: Path | None) -> tuple[Catalogue, list[str], Path, Path]:
    catalogue = load_catalogue(find_root())
    names = [report.id for report in catalogue.choose(ids)]
    return catalogue, names, site_folder(catalogue.root, out), catalogue.root / "reports" / "baseline"


def _metrics(path: Path, mend: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArgumentError(f"there is no {path.name} in {path.parent.name}/: {mend}") from None
    except ValueError:
        raise ArgumentError(f"{path.name} in {path.parent.name}/ is damaged: {mend}") from None
    if not isinstance(found, dict) or "findings" not in found:
        raise ArgumentError(f"{path.name} in {path.parent.name}/ is damaged: {mend}")
    return found


def compare(ids: Sequence[str], *, out: Path | None, say: Callable[[str], None]) -> int:
    """Compare a site with the baseline and say what differs.

    Args:
        ids: Reports; the default ones when empty.
        out: The site's folder; ``reports/site`` when None.
        say: Takes lines.

    Returns:
        0 when nothing differs, else 1.

    Raises:
        ArgumentError: When a report has no page or no baseline.
    """
    catalogue, names, site, folder = _chosen(ids, out)
    tolerances = load_tolerances(folder)
    unknown = [name for name in tolerances.findings if name not in catalogue.reports]
    if unknown:
        raise ArgumentError(f"tolerances.yml names {unknown[0]!r}, which is not in the catalogue")
    found = []
    for name in names:
        old = _metrics(folder / f"{name}.metrics.json", f"run loyalty diff --update {name}")
        new = _metrics(site / f"{name}.metrics.json", f"run loyalty report {name}")
        found += differences(name, old, new, tolerances)
    for line in _lines(found):
        say(line)
    noun = "report" if len(names) == 1 else "reports"
    say(
        f"{len(found)} {'difference' if len(found) == 1 else 'differences'} from the baseline in {len(names)} {noun}"
        if found
        else f"{len(names)} {noun} as in the baseline"
    )
    return 1 if found else 0


def _lines(found: Sequence[Difference]) -> list[str]:
    if not found:
        return []
    rows = [("report", "finding", "what", "baseline", "site", "relative change")]
    rows += [(d.report, d.finding, d.what, _shown(d.old), _shown(d.new), _change(d)) for d in found]
    widths = [min(max(len(row[i]) for row in rows), 48) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shown(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else "none" if value is None else str(value)


def _change(difference: Difference) -> str:
    old, new = difference.old, difference.new
    if difference.what in NUMBERS and old and new is not None:
        return f"{(new - old) / abs(old):+.2e}"
    return ""


def update(ids: Sequence[str], *, out: Path | None, say: Callable[[str], None]) -> int:
    """Take the site's findings as the baseline.

    Args:
        ids: Reports; the default ones when empty.
        out: The site's folder; ``reports/site`` when None.
        say: Takes lines.

    Returns:
        0.

    Raises:
        ArgumentError: When a report has no page.
    """
    _, names, site, folder = _chosen(ids, out)
    files = {name: site / f"{name}.metrics.json" for name in names}
    for name, path in files.items():
        _metrics(path, f"run loyalty report {name}")
    for name, path in files.items():
        write_atomically(folder / path.name, path.read_bytes())
        say(f"{name}: reports/baseline/{path.name}")
    return 0
