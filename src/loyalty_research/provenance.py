"""Where a page's numbers come from: data, design, rows dropped, versions."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from html import escape
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol

from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROVENANCE_MIME", "Provenance", "provenance", "versions"]

PROVENANCE_MIME = "application/vnd.loyalty.provenance+json"
_PACKAGES = ("loyalty-research", "duckdb", "lifelines", "narwhals", "numpy", "pandas", "scipy", "statsmodels")


class _Described(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def as_of(self) -> Any: ...
    @property
    def fingerprint(self) -> str: ...


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    Examples:
        >>> sorted(versions())[:2]
        ['duckdb', 'lifelines']
    """
    found = {name: metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a reader needs to trust or to repeat a page.

    Attributes:
        dataset: Name of the dataset.
        data: What the data are: real, simulated or published counts, in a sentence.
        kind: ``"real"``, ``"simulated"``, ``"published"`` or ``"user"``.
        as_of: Last day observed, ISO date.
        currency: ISO 4217 code, or None.
        fingerprint: Content hash of the data.
        design: How groups came about, such as ``"observational"``.
        estimand: What the main number estimates.
        n: Units analysed.
        dropped: Reason to the number of rows or units left out for it.
        versions: Package to version.
    """

    dataset: str
    data: str
    kind: str
    as_of: str | None
    currency: str | None
    fingerprint: str
    design: str
    estimand: str
    n: int
    dropped: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary."""
        return {name: getattr(self, name) for name in self.__slots__}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude
        left_out = "; ".join(f"{reason}: {count:,}" for reason, count in self.dropped.items())
        rows = {
            message("Data"): f"{self.dataset}: {self.data}",
            message("Observed until"): self.as_of or message("not dated"),
            message("Currency"): self.currency or message("no money in these data"),
            message("Design"): self.design,
            message("What is estimated"): self.estimand,
            message("Units analysed"): f"{self.n:,}",
            message("Left out"): left_out or message("nothing"),
            message("Data fingerprint"): self.fingerprint,
            message("Versions"): ", ".join(f"{k} {v}" for k, v in self.versions.items()),
        }
        items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
        text = "\n".join(f"{k}: {v}" for k, v in rows.items())
        return {
            "text/html": f'<dl class="lr-provenance">{items}</dl>',
            "text/plain": text,
            PROVENANCE_MIME: self.to_dict(),
        }


def provenance(
    dataset: _Described, *, design: str, estimand: str, n: int, dropped: Mapping[str, int] | None = None
) -> Provenance:
    """Describe an analysis of a dataset; every report ends with one.

    Args:
        dataset: What ``lr.open_dataset`` returned.
        design: How the groups came about.
        estimand: What the main number estimates.
        n: Units analysed.
        dropped: Reason to rows or units left out; zero counts are kept, since they were looked for.
    """
    as_of = dataset.as_of
    return Provenance(
        dataset=dataset.name,
        data=dataset.description,
        kind=dataset.kind,
        as_of=None if as_of is None else str(as_of)[:10],
        currency=dataset.currency,
        fingerprint=dataset.fingerprint,
        design=design,
        estimand=estimand,
        n=int(n),
        dropped={str(k): int(v) for k, v in (dropped or {}).items()},
    )
