"""The shared result protocol: estimates, checks, findings and the base of every result."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loyalty_research.errors import ArgumentError
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

__all__ = ["COLUMNS", "Check", "Estimate", "Finding", "Result", "Row", "check_level"]

COLUMNS = (
    "metric",
    "group",
    "estimand",
    "estimate",
    "low",
    "high",
    "level",
    "method",
    "n",
    "p_value",
)
"""Columns of every ``Result.to_frame()``, in this order; more may follow."""

FINDING_MIME = "application/vnd.loyalty.finding+json"


def check_level(level: float) -> float:
    """Return a confidence level, or raise.

    Raises:
        ArgumentError: When ``level`` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ArgumentError(f"level must lie strictly between 0 and 1, such as 0.95; got {level!r}")
    return float(level)


def _plain(value: Any) -> Any:
    """Turn a value into what JSON can hold; NaN and infinities become None."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value
    return str(value)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: Point estimate, in ``unit``.
        low: Lower limit; NaN where the method gives none.
        high: Upper limit; NaN where the method gives none.
        level: Coverage the limits aim at, a fraction.
        method: Name of the interval method, such as ``"newcombe"``.
        n: Observations behind the estimate.
        unit: ``"fraction"``, ``"days"``, a currency code, or None for plain numbers.
        p_value: Two-sided p-value of the null the analysis names, where it has one.

    Examples:
        >>> Estimate(0.153, 0.054, 0.249, level=0.95, method="newcombe", n=300, unit="fraction")
        15.3% (95% interval 5.4% to 24.9%; newcombe; n = 300)
    """

    value: float
    low: float
    high: float
    level: float
    method: str
    n: int
    unit: str | None = None
    p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def format(self, value: float | None = None, *, signed: bool = False) -> str:
        """Format ``value`` (the point estimate when None) in the estimate's unit."""
        shown = self.value if value is None else value
        if self.unit == "fraction":
            return percent(shown, signed=signed)
        text = number(shown, signed=signed)
        if self.unit is None:
            return text
        if len(self.unit) == 3 and self.unit.isupper():
            return f"{number(shown, digits=2 if abs(shown) < 1000 else 0, signed=signed)} {self.unit}"
        return f"{text} {self.unit}"

    def interval(self, *, signed: bool = False) -> str:
        """Return the interval as words, such as ``95% interval 5.4% to 24.9%``."""
        if math.isnan(self.low) and math.isnan(self.high):
            return message("no interval")
        return message(
            "{level} interval {low} to {high}",
            level=percent(self.level, digits=0 if round(self.level * 100, 6) % 1 == 0 else 1),
            low=self.format(self.low, signed=signed),
            high=self.format(self.high, signed=signed),
        )

    def __repr__(self) -> str:
        return f"{self.format()} ({self.interval()}; {self.method}; n = {self.n:,})"


@dataclass(frozen=True, slots=True)
class Check:
    """An assumption that was looked at.

    Attributes:
        name: What was checked, in a reader's words.
        status: ``"passed"``, ``"warning"``, ``"failed"`` or ``"not measurable"``.
        detail: What was seen, with its figures.
        gate: When a gate fails, the result gives no verdict.
        p_value: Where the check is a test.
    """

    name: str
    status: Literal["passed", "warning", "failed", "not measurable"]
    detail: str
    gate: bool = False
    p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a notebook tells the index of the site.

    Shown as a card in Jupyter and in the page; the report engine collects it from the
    executed notebook.

    Attributes:
        id: Stable name within the report, in kebab case; ``metrics.json`` is keyed by it.
        headline: One plain sentence.
        estimate: The number behind it, or None.
        status: ``"finding"``, ``"caution"`` (holds under assumptions that may fail) or
            ``"suppressed"`` (a gate failed; the headline says which).
        section: Heading it belongs under.
    """

    id: str
    headline: str
    estimate: Estimate | None = None
    status: Literal["finding", "caution", "suppressed"] = "finding"
    section: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary with the estimate flattened into it."""
        est = self.estimate
        return {
            "id": self.id,
            "headline": self.headline,
            "value": _plain(est.value) if est else None,
            "low": _plain(est.low) if est else None,
            "high": _plain(est.high) if est else None,
            "level": est.level if est else None,
            "method": est.method if est else None,
            "n": _plain(est.n) if est else None,
            "unit": est.unit if est else None,
            "status": self.status,
            "section": self.section,
        }

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude
        figure = ""
        if self.estimate is not None:
            figure = (
                f'<p class="lr-figure"><strong>{escape(self.estimate.format())}</strong> '
                f"<span>{escape(self.estimate.interval())}; {escape(self.estimate.method)}; "
                f"n = {self.estimate.n:,}</span></p>"
            )
        label = {
            "finding": message("Finding"),
            "caution": message("Read with care"),
            "suppressed": message("No verdict"),
        }[self.status]
        html = (
            f'<div class="lr-finding lr-{self.status}"><p class="lr-tag">{escape(label)}</p>'
            f'<p class="lr-headline">{escape(self.headline)}</p>{figure}</div>'
        )
        return {"text/html": html, "text/plain": self.headline, FINDING_MIME: self.to_dict()}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``Result.to_frame()``."""

    metric: str
    estimate: Estimate
    group: str | None = None
    estimand: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Base of every analysis result: frozen, tidy, printable, with a verdict it may give.

    Subclasses implement ``_rows`` and ``_verdict`` and hold their ``checks``; ``title`` heads
    the table. ``design`` and ``estimand`` say what the numbers mean.
    """

    title: ClassVar[str] = ""

    checks: tuple[Check, ...] = field(default=(), kw_only=True)

    def _rows(self) -> Iterable[Row]:
        raise TypeError(f"{type(self).__name__} defines no rows")

    def _verdict(self) -> str:
        raise TypeError(f"{type(self).__name__} defines no verdict")

    @property
    def failed_gates(self) -> tuple[Check, ...]:
        """The gates that failed; a verdict is given only when there are none."""
        return tuple(c for c in self.checks if c.gate and c.status == "failed")

    def verdict(self) -> str:
        """Return one or two plain sentences that claim no more than the design allows."""
        if self.failed_gates:
            return message(
                "No verdict: {reasons}",
                reasons="; ".join(f"{c.name} ({c.detail})" for c in self.failed_gates),
            )
        return self._verdict()

    def to_frame(self) -> pd.DataFrame:
        """Return one row per estimate, with the columns of :data:`COLUMNS` first."""
        import pandas as pd

        records = []
        for row in self._rows():
            est = row.estimate
            records.append(
                {
                    "metric": row.metric,
                    "group": row.group,
                    "estimand": row.estimand,
                    "estimate": est.value,
                    "low": est.low,
                    "high": est.high,
                    "level": est.level,
                    "method": est.method,
                    "n": est.n,
                    "p_value": float("nan") if est.p_value is None else est.p_value,
                    **row.extra,
                }
            )
        frame = pd.DataFrame(records)
        return frame if len(frame.columns) else pd.DataFrame(columns=list(COLUMNS))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary: estimates, checks and verdict."""
        frame = self.to_frame()
        return {
            "kind": type(self).__name__,
            "estimates": [_plain(record) for record in frame.to_dict("records")],
            "checks": [c.to_dict() for c in self.checks],
            "verdict": self.verdict(),
        }

    def __repr__(self) -> str:
        from loyalty_research.display import plain_table

        return f"{type(self).__name__}: {self.verdict()}\n{plain_table(self.to_frame())}"

    def _repr_html_(self) -> str:
        from loyalty_research.display import result_html

        return result_html(self)
