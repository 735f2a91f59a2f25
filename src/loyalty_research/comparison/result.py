"""What a comparison returns: rows, checks, sentences and a picture."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Finding, Result, Row
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.comparison.metrics import Metric

__all__ = ["NOT_AN_EFFECT", "ComparisonResult", "Statement", "change", "change_interval", "shown", "slug"]

NOT_AN_EFFECT = "not an effect"
"""Estimand of a raw gap: what it is called wherever it is shown."""

WAS_THERE_BEFORE = "part of the gap that was there before"
"""Estimand of what adjustment takes out of a raw gap."""


def slug(text: str) -> str:
    """Return text in kebab case for a finding's id.

    Examples:
        >>> slug("Spend / order: Mens E-Mail")
        'spend-order-mens-e-mail'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def shown(value: float, unit: str | None) -> str:
    """Format a level, such as a mean, in its unit."""
    if math.isnan(value):
        return "–"
    return Estimate(value, math.nan, math.nan, 0.95, "", 0, unit).format()


def _points(value: float, *, signed: bool) -> str:
    return number(100 * value, digits=2, signed=signed)


def change(estimate: Estimate, *, signed: bool = False) -> str:
    """Format a difference: shares in percentage points, everything else in its unit."""
    if estimate.unit == "fraction":
        return message("{value} points", value=_points(estimate.value, signed=signed))
    return estimate.format(signed=signed)


def change_interval(estimate: Estimate) -> str:
    """Format the interval of a difference as words."""
    if estimate.unit != "fraction" or math.isnan(estimate.low):
        return estimate.interval()
    return message(
        "{level} interval {low} to {high} points",
        level=percent(estimate.level, digits=0 if round(estimate.level * 100, 6) % 1 == 0 else 1),
        low=_points(estimate.low, signed=False),
        high=_points(estimate.high, signed=False),
    )


def capital(text: str) -> str:
    """Return text with its first letter in upper case, for the start of a sentence.

    Examples:
        >>> capital("spend per order")
        'Spend per order'
    """
    return text[:1].upper() + text[1:]


def design_words(design: str) -> str:
    """Return a design as a reader would say it, its name behind."""
    words = {
        "randomised": message("arms drawn by lot (randomised)"),
        "encouragement": message("invitations drawn by lot, joining by choice (encouragement)"),
        "observational": message("groups by choice, alike units compared (observational)"),
        "panel": message("the same units before and after they started (panel)"),
        "threshold": message("a line decided, those right at it compared (threshold)"),
    }
    return words[design]


def spoken(estimand: str) -> str:
    """Return an estimand in words, its abbreviation behind it.

    Examples:
        >>> spoken("ITT")
        'effect of assignment (ITT)'
    """
    words = {
        "ITT": message("effect of assignment (ITT)"),
        "CACE": message("effect of joining on those the invitation moved (CACE)"),
        "ATE": message("difference for everybody (ATE)"),
        "ATO": message("difference for those who could be in either group (ATO)"),
        "ATT": message("effect on those treated (ATT)"),
        "ATT by period": message("effect on those treated, by period (ATT)"),
        "LATE at the line": message("effect on those right at the line (LATE)"),
    }
    return words.get(estimand, estimand)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of the verdict with the number behind it.

    Attributes:
        id: Stable name in kebab case.
        sentence: What a reader is told.
        estimate: The number behind it, or None.
        caution: Whether it holds only under assumptions that may fail.
    """

    id: str
    sentence: str
    estimate: Estimate | None = None
    caution: bool = False


@dataclass(frozen=True, repr=False)
class ComparisonResult(Result):
    """Differences between groups, each with its estimand.

    Attributes:
        design: ``"randomised"``, ``"encouragement"``, ``"observational"``, ``"panel"`` or
            ``"threshold"``.
        estimand: What the main numbers estimate, in a reader's words.
        control: Label of the group compared with.
        arms: Labels of the other groups.
        level: Coverage the intervals aim at.
        metrics: Declarations, in order.
        rows: One line per estimate.
        sizes: Group to its units.
        dropped: Reason to units left out.
        statements: Sentences of the verdict.
    """

    title: ClassVar[str] = "Comparison"

    design: str
    estimand: str
    control: str
    arms: tuple[str, ...]
    level: float
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    sizes: Mapping[str, int]
    statements: tuple[Statement, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def _rows(self) -> Iterator[Row]:
        for row in self.rows:
            yield Row(row.metric, row.estimate, row.group, row.estimand, {"design": self.design, **row.extra})

    def _verdict(self) -> str:
        return " ".join(s.sentence for s in self.statements)

    @property
    def n(self) -> int:
        """Units in all groups."""
        return sum(self.sizes.values())

    def findings(self, *, section: str = "", prefix: str = "") -> tuple[Finding, ...]:
        """Return what an index should show: one finding a statement, or the failed gate.

        Args:
            section: Heading they belong under.
            prefix: Put before each id, so that two results on one page differ.
        """
        lead = f"{prefix}-" if prefix else ""
        if self.failed_gates:
            return (Finding(f"{lead}no-verdict", self.verdict(), status="suppressed", section=section),)
        return tuple(
            Finding(f"{lead}{s.id}", s.sentence, s.estimate, "caution" if s.caution else "finding", section)
            for s in self.statements
        )

    def estimate(
        self, *, metric: str | None = None, group: str | None = None, estimand: str | None = None
    ) -> Estimate:
        """Return one estimate; the first that fits.

        Args:
            metric: Label of the metric; any when None.
            group: Group compared, such as ``"invited v control"``; any when None.
            estimand: Such as ``"ITT"``; any when None.

        Raises:
            ArgumentError: When no row fits.
        """
        for row in self.rows:
            if (
                metric in (None, row.metric)
                and group in (None, row.group)
                and estimand in (None, row.estimand)
            ):
                return row.estimate
        have = sorted({f"{r.metric} / {r.group} / {r.estimand}" for r in self.rows})
        raise ArgumentError(f"no estimate fits; there are {'; '.join(have)}")

    def table(self, *, metric: str | None = None) -> pd.DataFrame:
        """Return the estimates as text for a page: levels, difference and interval in their units.

        Args:
            metric: Label of one metric; all when None.
        """
        import pandas as pd

        records = []
        for row in self.rows:
            if metric not in (None, row.metric):
                continue
            e, extra = row.estimate, row.extra
            levels = [extra.get(name, math.nan) for name in ("control", "treated")]
            records.append(
                {
                    message("Measure"): row.metric,
                    message("What is estimated"): spoken(row.estimand or ""),
                    message("Difference"): change(e, signed=True),
                    message("Interval"): extra.get("set") or _limits_text(e),
                    message("In control"): shown(levels[0], e.unit),
                    message("In the group"): shown(levels[1], e.unit),
                    message("Groups"): row.group,
                    message("Method"): e.method.removesuffix(", M-estimated"),
                    message("n"): f"{e.n:,}",
                }
            )
        frame = pd.DataFrame(records)
        return frame if metric is None else frame.drop(columns=message("Measure"))

    def main_rows(self) -> tuple[Row, ...]:
        """Return one or two rows a metric and group: the estimates that verdicts speak of."""
        chosen = (
            ("ITT", "CACE")
            if self.design == "encouragement"
            else ("ITT", "ATE", "ATO", "ATT", "LATE at the line")
        )
        kept: dict[tuple[str, str | None, str], Row] = {}
        for row in self.rows:
            # the first of an estimand is the default one, and an average over everybody comes before others
            estimand = "ATE" if row.estimand == "ATO" else str(row.estimand)
            if row.estimand in chosen and row.extra.get("role") != "placebo":
                kept.setdefault((row.metric, row.group, estimand), row)
        return tuple(kept.values())

    def _pictured(self, metric: str | None) -> tuple[list[tuple[str, Estimate, bool]], str | None]:
        """Return lines of the forest, and the unit of its axis."""
        labels = list(dict.fromkeys(row.metric for row in self.rows))
        if metric is not None and metric not in labels:
            raise ArgumentError(f"there is no metric {metric!r}; there is {', '.join(labels)}")
        if metric is None and len(labels) > 1 and all("relative" in row.extra for row in self.rows):
            lines = []
            for row in self.rows:
                e, extra = row.estimate, row.extra
                relative = Estimate(
                    extra["relative"],
                    extra["relative_low"],
                    extra["relative_high"],
                    e.level,
                    e.method,
                    e.n,
                    "fraction",
                )
                lines.append((_line_label(row, several=len(self.arms) > 1), relative, False))
            return lines, "relative"
        chosen = metric or labels[0]
        rows = [row for row in self.rows if row.metric == chosen]
        varied = len({row.estimand for row in rows} | {row.estimate.method for row in rows}) > 1
        lines = [
            (
                _estimator_label(row, rows) if varied else _line_label(row, several=len(self.arms) > 1),
                row.estimate,
                row.estimand == NOT_AN_EFFECT,
            )
            for row in rows
            if not math.isnan(row.estimate.value)
        ]
        return lines, rows[0].estimate.unit

    def plot(
        self, ax: Axes | None = None, *, metric: str | None = None, reference: tuple[float, str] | None = None
    ) -> Axes:
        """Draw a forest: estimates, intervals and the line of no difference.

        Several metrics of a randomised comparison share one axis of relative change; a chosen
        metric is drawn in its own unit, and raw gaps are hollow and grey.

        Args:
            ax: Axes to draw on; new ones when None.
            metric: Label of one metric.
            reference: A value and its name to mark, such as a simulation's truth.
        """
        from loyalty_research.plots.comparison import forest

        lines, unit = self._pictured(metric)
        percents = unit in ("fraction", "relative")
        scale = 100.0 if percents else 1.0
        if unit == "relative":
            xlabel = message("Change against {control}, %", control=self.control)
        elif unit == "fraction":
            xlabel = message("Difference, percentage points")
        else:
            xlabel = message("Difference{unit}", unit=f", {unit}" if unit else "")
        annotations = [
            (e.format(signed=True) if unit == "relative" else change(e, signed=True)) for _, e, _ in lines
        ]
        return forest(
            [label for label, *_ in lines],
            [scale * e.value for _, e, _ in lines],
            [scale * e.low for _, e, _ in lines],
            [scale * e.high for _, e, _ in lines],
            muted=[quiet for *_, quiet in lines],
            annotations=annotations,
            reference=None if reference is None else (scale * reference[0], reference[1]),
            xlabel=xlabel,
            ax=ax,
        )

    def plot_text(self, *, metric: str | None = None) -> str:
        """Return what the forest shows, for readers who cannot see it."""
        lines, unit = self._pictured(metric)
        said = []
        for label, e, _ in lines:
            size = e.format(signed=True) if unit == "relative" else change(e, signed=True)
            within = e.interval(signed=True) if unit == "relative" else change_interval(e)
            said.append(f"{label}: {size} ({within})")
        return message(
            "Forest plot of differences from {control}. {lines}.", control=self.control, lines="; ".join(said)
        )


def _limits_text(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "–"
    low, high = (
        change(Estimate(v, math.nan, math.nan, estimate.level, "", 0, estimate.unit))
        for v in (estimate.low, estimate.high)
    )
    return message("{low} to {high}", low=low, high=high)


def _line_label(row: Row, *, several: bool) -> str:
    return f"{row.metric}: {row.group}" if several else row.metric


def _estimator_label(row: Row, rows: list[Row]) -> str:
    if row.estimand == NOT_AN_EFFECT:
        return message("raw gap, not an effect")
    label = spoken(row.estimand or "")
    alone = sum(r.estimand == row.estimand for r in rows) == 1
    return label if alone else f"{label}: {row.estimate.method.removesuffix(', M-estimated')}"


def as_numbers(**values: Any) -> dict[str, float]:
    """Return extra columns as plain floats."""
    return {name: float(value) for name, value in values.items()}
