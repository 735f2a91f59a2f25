"""An experiment watched while it runs: the estimate at every look, and when it may be believed."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import narwhals as nw

from loyalty_research.comparison.looks import Anytime, Looks
from loyalty_research.comparison.result import capital, change, change_interval
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message
from loyalty_research.summaries._frames import as_lazy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.estimates import Estimate
    from loyalty_research.stats.spending import Spending

__all__ = ["Monitoring", "monitor"]


@dataclass(frozen=True, slots=True)
class Watched:
    """One look.

    Attributes:
        at: Last moment that was seen.
        n: Units seen by then.
        fixed: Estimate with the interval of a single look.
        allowed: Estimate with the interval that allows for all looks.
    """

    at: object
    n: int
    fixed: Estimate
    allowed: Estimate


@dataclass(frozen=True, repr=False)
class Monitoring(Result):
    """A difference over the looks at it.

    Attributes:
        metric: What is compared.
        group: Arms compared.
        looks: One entry per look, in order.
    """

    title: ClassVar[str] = "Sequential path"

    metric: str
    group: str
    looks: tuple[Watched, ...]

    @property
    def crossed(self) -> Watched | None:
        """First look whose interval leaves zero out, allowing for all looks."""
        return next((w for w in self.looks if not w.allowed.low <= 0 <= w.allowed.high), None)

    def _rows(self) -> Iterator[Row]:
        for number, w in enumerate(self.looks, start=1):
            extra = {"look": number, "at": w.at, "fixed_low": w.fixed.low, "fixed_high": w.fixed.high}
            yield Row(self.metric, w.allowed, self.group, "ITT", extra)

    def _verdict(self) -> str:
        first, last = self.crossed, self.looks[-1]
        words = {"metric": capital(self.metric), "looks": len(self.looks)}
        if first is None:
            return message(
                "{metric}: after {looks} looks no clear difference ({difference}; {interval}, allowing for all looks).",
                difference=change(last.allowed, signed=True),
                interval=change_interval(last.allowed),
                **words,
            )
        return message(
            "{metric}: the difference became clear at look {look} of {looks}, with {n} units: {difference} ({interval}, "
            "allowing for all looks).",
            look=self.looks.index(first) + 1,
            n=f"{first.n:,}",
            difference=change(first.allowed, signed=True),
            interval=change_interval(first.allowed),
            **words,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the estimate over the looks with both intervals.

        Args:
            ax: Axes to draw on; new ones when None.
        """
        from loyalty_research.plots.comparison import sequential_path

        scale = 100.0 if self.looks[0].fixed.unit == "fraction" else 1.0
        unit = message("percentage points") if scale == 100 else self.looks[0].fixed.unit
        return sequential_path(
            [w.n for w in self.looks],
            [scale * w.fixed.value for w in self.looks],
            [(scale * w.fixed.low, scale * w.fixed.high) for w in self.looks],
            [(scale * w.allowed.low, scale * w.allowed.high) for w in self.looks],
            ylabel=message(
                "Difference in {metric}{unit}", metric=self.metric, unit=f", {unit}" if unit else ""
            ),
            ax=ax,
        )


def monitor(
    plan: Comparison,
    table: Any,
    *,
    when: str,
    looks: Sequence[object],
    planned: int | None = None,
    narrowest_at: float | None = None,
    spending: Spending = "obrien-fleming",
    metric: str | None = None,
    arm: str | None = None,
) -> Monitoring:
    """Analyse an experiment as it stood at each look.

    Give ``planned`` for looks that were set beforehand (Lan-DeMets bounds), or ``narrowest_at`` to
    look whenever one likes (confidence sequences).

    Args:
        plan: A comparison of design ``"randomised"`` without ``looks=``.
        table: One row per unit, as for :meth:`Comparison.analyse`.
        when: Column that says when a unit's outcome was known.
        looks: Last moment seen at each look, rising.
        planned: Units the whole experiment was planned for.
        narrowest_at: Units at which confidence sequences are narrowest, chosen before the first look.
        spending: How Lan-DeMets bounds spend the error.
        metric: Label of the metric; the first when None.
        arm: Treated arm; the only one when None.

    Returns:
        Every look with the interval of a single look and the one that allows for all.

    Raises:
        ArgumentError: When looks do not rise, or not exactly one of ``planned`` and
            ``narrowest_at`` is given.
        ContractError: When columns are absent or hold what they cannot.
        DesignError: When the design draws no lots, or more units were seen than planned.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.comparison import Comparison, Mean
        >>> units = pd.DataFrame({"arm": ["a", "b"] * 100, "day": [i // 50 for i in range(200)]})
        >>> units["spend"] = [i % 7 + 3.0 * (i % 2) for i in range(200)]
        >>> plan = Comparison(Mean("spend"), design="randomised", assignment="arm", control="a")
        >>> monitor(plan, units, when="day", looks=[0, 1, 2, 3], planned=200).crossed.n
        50
    """
    if plan.design != "randomised" or plan.looks is not None:
        raise DesignError("monitoring needs design='randomised' and no looks= in the plan")
    if (planned is None) == (narrowest_at is None):
        raise ArgumentError("give planned= for looks set beforehand, or narrowest_at= to look at any time")
    moments = list(looks)
    if not moments or any(not a < b for a, b in itertools.pairwise(moments)):  # type: ignore[operator]
        raise ArgumentError(f"looks must rise; got {moments!r}")
    frame = as_lazy(table, "units")
    if when not in frame.collect_schema().names():
        raise ContractError(f"units has no column {when!r}")
    label = metric or plan.metrics[0].label
    seen = [frame.filter(nw.col(when) <= at) for at in moments]
    fixed = [plan.analyse(part) for part in seen]
    several = fixed[-1].arms
    if arm is None and len(several) > 1:
        raise ArgumentError(f"arm= is needed: which of {', '.join(several)}?")
    group = f"{arm or several[0]} v {fixed[-1].control}"
    out = []
    for number, (at, part, result) in enumerate(zip(moments, seen, fixed, strict=True), start=1):
        if planned is None:
            rule: Looks | Anytime = Anytime(float(narrowest_at or 0))
        else:
            if result.n > planned:
                raise DesignError(
                    f"{result.n:,} units were seen by look {number}, more than the {planned:,} planned"
                )
            rule = Looks([r.n / planned for r in fixed[:number]], look=number, spending=spending)
        allowing = copy.copy(plan)
        allowing.looks = rule
        estimates = [r.estimate(metric=label, group=group) for r in (result, allowing.analyse(part))]
        out.append(Watched(at, result.n, *estimates))
    return Monitoring(label, group, tuple(out))
