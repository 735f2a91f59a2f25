"""What the money put into a programme earned, against customers who were held out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows, listed
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.stats.ratios import fieller
from loyalty_research.stats.retention import retention_multiplier, retention_table
from loyalty_research.summaries._frames import need

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["ReturnOnInvestment", "retention_multiplier", "retention_table", "return_on_investment"]


@dataclass(frozen=True, repr=False, eq=False)
class ReturnOnInvestment(Result):
    """Margin that would not have come without the programme, less its cost, per unit of cost.

    Attributes:
        roi: (incremental margin - cost) / cost; 0 breaks even, -1 loses all of it.
        margin: Incremental margin per treated customer, before the programme's cost.
        cost: Cost per treated customer, beyond that per customer held out.
        treated: Treated customers.
        held_out: Customers held out.
    """

    title: ClassVar[str] = "Return on investment"

    roi: Estimate
    margin: Estimate
    cost: Estimate
    treated: int
    held_out: int

    def _rows(self) -> Iterable[Row]:
        yield Row(message("return on investment"), self.roi, estimand="(incremental margin - cost) / cost")
        yield Row(message("incremental margin per treated customer"), self.margin)
        yield Row(message("cost per treated customer"), self.cost)

    def _verdict(self) -> str:
        values = {
            "treated": f"{self.treated:,}",
            "held": f"{self.held_out:,}",
            "cost": self.cost.format(),
            "margin": self.margin.format(),
            "roi": self.roi.format(signed=True),
            "interval": self.roi.interval(signed=True),
        }
        if self.roi.low > 0:
            return message(
                "Against {held} customers held out, each of {treated} treated brought {margin} more margin for a cost of "
                "{cost}: it paid for itself, with a return of {roi} ({interval}).",
                **values,
            )
        if self.roi.high < 0:
            return message(
                "Against {held} customers held out, each of {treated} treated brought {margin} more margin for a cost of "
                "{cost}: it cost more than it brought, with a return of {roi} ({interval}).",
                **values,
            )
        return message(
            "Against {held} customers held out, each of {treated} treated brought {margin} more margin for a cost of "
            "{cost}. Whether it paid for itself cannot be said: the return is {roi} ({interval}).",
            **values,
        )


def return_on_investment(
    units: pd.DataFrame,
    *,
    treated: str,
    control: str,
    outcome: str,
    margin_rate: float,
    cost: str | float,
    arm: str = "arm",
    currency: str | None = None,
    level: float = 0.95,
) -> ReturnOnInvestment:
    """Return the return on investment from incremental margin against a holdout.

    Sales of members are no return: most would have come without the programme. What counts is the
    margin by which treated customers exceed customers who were held out at random. The cost may vary by
    customer (rewards taken), so that the return is a ratio of two means that move together.

    Args:
        units: One row a customer: the arm, the outcome and, where it varies, the cost.
        treated: Label of the arm the money was spent on.
        control: Label of the arm held out.
        outcome: Column of revenue, or of margin before the programme's cost.
        margin_rate: Share of the outcome that is margin; 1 where the column already is margin.
        cost: Column of cost per customer, or one cost for each treated customer.
        arm: Column of the arm.
        currency: ISO 4217 code, for sentences.
        level: Confidence level.

    Returns:
        The return with Fieller's interval; without limits where cost is not clearly above 0.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing or an amount is no number.
        DesignError: When no one was held out, an arm has fewer than two customers, or the treated cost no
            more than those held out.

    Examples:
        >>> units = pd.DataFrame({"arm": ["in"] * 4 + ["out"] * 4, "spend": [30, 34, 26, 30, 20, 18, 24, 18]})
        >>> found = return_on_investment(
        ...     units, treated="in", control="out", outcome="spend", margin_rate=0.4, cost=2.0)
        >>> round(found.roi.value, 6)
        1.0

    References:
        Fieller (1954), JRSS B 16, 175-185; Welch (1947), Biometrika 34, for the degrees of freedom.
    """
    level = check_level(level)
    if not 0 < margin_rate <= 1:
        raise ArgumentError(
            f"margin_rate is the share of {outcome} that is margin, above 0 and up to 1; got {margin_rate!r}"
        )
    columns = [arm, outcome, *([cost] if isinstance(cost, str) else [])]
    need(list(units.columns), columns, "units")
    own, held = (_arm(units, arm, label) for label in (treated, control))
    if len(held) < 2:
        raise DesignError(
            f"units has {len(held)} customers in the arm {control!r}; without a holdout of at least two the return on "
            f"investment is not measurable, since nobody shows what would have been sold anyway (the arms are "
            f"{listed(sorted(units[arm].dropna().astype(str).unique()))})"
        )
    if len(own) < 2:
        raise DesignError(f"units has {len(own)} customers in the arm {treated!r}; at least two are needed")
    gain, loss = (margin_rate * _amounts(units, outcome, rows) for rows in (own, held))
    paid, unpaid = _costs(units, cost, own, held)
    return _assemble(gain, loss, paid, unpaid, level=level, currency=currency)


def _arm(units: pd.DataFrame, arm: str, label: str) -> NDArray[np.int64]:
    return np.flatnonzero((units[arm] == label).to_numpy(dtype=bool, na_value=False))


def _amounts(units: pd.DataFrame, column: str, rows: NDArray[np.int64]) -> Array:
    values = pd.to_numeric(units[column], errors="coerce").to_numpy(dtype=float)[rows]
    bad = rows[~np.isfinite(values)]
    if bad.size:
        raise ContractError(
            f"units.{column} is missing or no number at {at_rows(bad.tolist())}; give each customer an amount, 0 where "
            "there was none"
        )
    return values


def _costs(
    units: pd.DataFrame, cost: str | float, own: NDArray[np.int64], held: NDArray[np.int64]
) -> tuple[Array, Array]:
    if isinstance(cost, str):
        paid, unpaid = _amounts(units, cost, own), _amounts(units, cost, held)
    else:
        if not math.isfinite(cost):
            raise ArgumentError(f"cost is an amount for each treated customer, or a column; got {cost!r}")
        paid, unpaid = np.full(own.size, float(cost)), np.zeros(held.size)
    if not paid.mean() - unpaid.mean() > 0:
        raise DesignError(
            "treated customers cost no more than those held out, so there is no investment to speak of a return on"
        )
    return paid, unpaid


def _assemble(
    gain: Array, loss: Array, paid: Array, unpaid: Array, *, level: float, currency: str | None
) -> ReturnOnInvestment:
    from scipy.special import stdtrit

    sides = [np.cov(np.stack(pair)) / pair[0].size for pair in ((gain, paid), (loss, unpaid))]
    (v_margin, between), (_, v_cost) = sides[0] + sides[1]
    margin, cost = float(gain.mean() - loss.mean()), float(paid.mean() - unpaid.mean())
    n = gain.size + loss.size
    spread = [float(s[0, 0]) for s in sides]
    rate = message("times the cost")
    if not v_margin > 0:
        dof = math.nan
        limits = (math.nan, math.nan)
        half = math.nan
    else:
        shares = [v**2 / (size - 1) for v, size in zip(spread, (gain.size, loss.size), strict=True)]
        dof = float(v_margin**2 / sum(shares))
        critical = float(stdtrit(dof, 0.5 + level / 2))
        half = critical * math.sqrt(v_margin)
        limits = fieller(margin, cost, float(v_margin), float(v_cost), float(between), critical)
    half_cost = float(stdtrit(n - 2, 0.5 + level / 2)) * math.sqrt(v_cost) if v_cost > 0 else math.nan
    return ReturnOnInvestment(
        Estimate(margin / cost - 1, limits[0] - 1, limits[1] - 1, level, "fieller", n, rate),
        margin=Estimate(margin, margin - half, margin + half, level, "welch", n, currency),
        cost=Estimate(cost, cost - half_cost, cost + half_cost, level, "t", n, currency),
        treated=gain.size,
        held_out=loss.size,
        checks=(_limits_check(limits, cost, v_cost),),
    )


def _limits_check(limits: tuple[float, float], cost: float, v_cost: Any) -> Check:
    name = message("Cost is clearly above 0")
    if not math.isnan(limits[0]):
        return Check(name, "passed", message("The return has limits on both sides."))
    return Check(
        name,
        "warning",
        message(
            "The cost per customer ({cost}, standard error {error}) or the margin is too uncertain, or does not vary, "
            "so the return has no finite limits.",
            cost=number(cost),
            error=number(math.sqrt(float(v_cost))),
        ),
    )
