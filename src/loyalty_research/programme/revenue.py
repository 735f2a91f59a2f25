"""Revenue of customers one has: how much is kept, and on how few of them it rests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._resampling import gini_draws, scheme, studentised_pivots, top_draws
from loyalty_research.programme._windows import date_of, one_currency, purchase_days
from loyalty_research.summaries._frames import need, positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[np.float64]

__all__ = [
    "RevenueConcentration",
    "RevenueRetention",
    "check_resamples",
    "period_revenue",
    "revenue_concentration",
    "revenue_retention",
    "top_share",
    "window_revenue",
]

PERCENTILE = "bootstrap percentile over customers"


@dataclass(frozen=True, repr=False, eq=False)
class RevenueRetention(Result):
    """What last period's customers bring this period, as a share of what they brought then.

    Attributes:
        gross: Share kept when nobody's increase is counted; at most 1.
        net: Share kept with increases; above 1 where they outweigh the losses (negative churn).
        start: Revenue of the earlier period, in the data's currency.
        churn: Of it, what customers brought who brought nothing in the later one.
        contraction: Decrease of the customers who brought less.
        expansion: Increase of the customers who brought more.
        currency: ISO 4217 code, or None.
    """

    title: ClassVar[str] = "Revenue retention"

    gross: Estimate
    net: Estimate
    start: float
    churn: float
    contraction: float
    expansion: float
    currency: str | None

    def _rows(self) -> Iterable[Row]:
        yield Row(message("gross revenue retention"), self.gross, estimand="(S - churn - contraction) / S")
        yield Row(
            message("net revenue retention"), self.net, estimand="(S - churn - contraction + expansion) / S"
        )

    def _verdict(self) -> str:
        said = message(
            "Of each 100 brought by the customers of the earlier period, these brought {net} in the later one "
            "({interval}); without anybody's increase it would be {gross}.",
            net=number(100 * self.net.value, digits=1),
            gross=number(100 * self.gross.value, digits=1),
            interval=self.net.interval(),
        )
        if self.net.low > 1:
            return message(
                "{said} Increases outweigh losses: churn of revenue is negative ({churn}).",
                said=said,
                churn=percent(1 - self.net.value),
            )
        return said


@dataclass(frozen=True, repr=False, eq=False)
class RevenueConcentration(Result):
    """On how few customers revenue rests, and whether they are the same ones later.

    Attributes:
        top: Share of revenue of the top customers in the period by which they were ranked.
        gini: Gini coefficient of revenue over customers, 0 (all equal) to nearly 1.
        later: Share that the same top customers bring of the later revenue of all customers ranked; None
            without a later period.
        share: Share of customers that is called top.
        lorenz: ``customers, revenue``: cumulative shares, from the smallest customer up.
    """

    title: ClassVar[str] = "Concentration of revenue"

    top: Estimate
    gini: Estimate
    later: Estimate | None
    share: float
    lorenz: pd.DataFrame

    def _rows(self) -> Iterable[Row]:
        top = percent(self.share, digits=0)
        yield Row(message("share of revenue of the top {top}", top=top), self.top, estimand="in period")
        if self.later is not None:
            yield Row(
                message("share of revenue of the top {top}", top=top), self.later, estimand="out of period"
            )
        yield Row(message("Gini coefficient"), self.gini)

    def _verdict(self) -> str:
        said = message(
            "The top {share} of customers brought {top} of revenue ({interval}).",
            share=percent(self.share, digits=0),
            top=self.top.format(),
            interval=self.top.interval(),
        )
        if self.later is None:
            return said
        if self.later.high >= self.top.value:
            return message(
                "{said} In the later period the same customers bring {later} ({interval}).",
                said=said,
                later=self.later.format(),
                interval=self.later.interval(),
            )
        return message(
            "{said} In the later period the same customers bring {later} ({interval}): part of the first figure is "
            "chance, since they were picked by it.",
            said=said,
            later=self.later.format(),
            interval=self.later.interval(),
        )


def period_revenue(
    transactions: Any,
    *,
    window: int = 365,
    as_of: dt.date | str | None = None,
    established: bool = False,
) -> pd.DataFrame:
    """Return what each customer brought in the window up to the last day, and in the one before.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount`` in one currency;
            anything that narwhals reads.
        window: Days of a window.
        as_of: Last day observed; by default the last day in the table.
        established: Leave out customers first seen after the earlier window began. Somebody who came in its
            middle brought half a window's revenue there, which beside a whole later window looks like growth.

    Returns:
        ``before`` and ``after`` of every customer with a purchase in either, indexed by ``customer_id``.

    Raises:
        ContractError: When a column or a row is wrong, or amounts are in several currencies.
        DesignError: When the record is shorter than two windows; or, with ``established``, does not reach
            half a window further back, or nobody was there before.

    Examples:
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "b", "a"],
        ...     "transacted_date": pd.to_datetime(["2024-01-01", "2024-01-04", "2024-01-08"]),
        ...     "amount": [10.0, 20.0, 12.5],
        ... })
        >>> period_revenue(lines, window=5, as_of="2024-01-10").to_dict("list")
        {'before': [10.0, 20.0], 'after': [12.5, 0.0]}
    """
    window = positive_days(window, "window")
    one_currency(transactions)
    record = purchase_days(transactions, as_of)
    frame = window_revenue(record, window, established=established)
    return frame[(frame["before"] > 0) | (frame["after"] > 0)]


def window_revenue(record: PurchaseDays, window: int, *, established: bool = False) -> pd.DataFrame:
    """Return ``before`` and ``after`` as :func:`period_revenue` does, of every customer of a record.

    Raises:
        DesignError: As :func:`period_revenue`.
    """
    record.need(2 * window, "revenue of two windows")
    middle = record.end - window
    frame = pd.DataFrame(
        {
            "before": record.revenue(middle - window, middle),
            "after": record.revenue(middle, record.end),
        },
        index=pd.Index(record.customers, name="customer_id"),
    )
    if not established:
        return frame
    # a shorter reach would leave the few who came first to stand for all
    record.need(5 * window // 2 + 1, "revenue of established customers")
    there = record.first <= middle - window
    if not there.any():
        raise DesignError(
            f"nobody was a customer before {date_of(middle - window + 1)}; take a shorter window"
        )
    return frame[there]


def revenue_retention(
    revenue: pd.DataFrame,
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
    currency: str | None = None,
) -> RevenueRetention:
    """Return gross and net revenue retention of the earlier period's customers.

    Customers who are new in the later period count in neither. The four parts are added up in whole
    hundredths, so that start - churn - contraction + expansion is the later revenue exactly.

    Args:
        revenue: ``before`` and ``after``, one row a customer, such as :func:`period_revenue` returns.
        seed: Seed of the bootstrap over customers.
        resamples: Resamples of the bootstrap.
        level: Confidence level.
        currency: ISO 4217 code, for sentences.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing, or an amount is negative, missing or finer than a hundredth.
        DesignError: When fewer than two customers brought revenue in the earlier period.

    Examples:
        >>> made = pd.DataFrame({"before": [60.0, 20.0, 20.0], "after": [66.0, 0.0, 18.0]})
        >>> kept = revenue_retention(made, seed=1, resamples=200)
        >>> round(kept.gross.value, 2), round(kept.net.value, 2)
        (0.78, 0.84)

    References:
        Davison and Hinkley (1997), Bootstrap Methods and their Application, section 5.2, studentised limits.
    """
    level = check_level(level)
    resamples = check_resamples(resamples)
    before, after = _cents(revenue, "before"), _cents(revenue, "after")
    had = before > 0
    if had.sum() < 2:
        raise DesignError(
            f"{int(had.sum())} customers brought revenue in the earlier period; at least two are needed"
        )
    before, after = before[had], after[had]
    start, end = int(before.sum()), int(after.sum())
    churn = int(before[after == 0].sum())
    expansion = int(np.maximum(after - before, 0).sum())
    contraction = int(np.maximum(before - after, 0)[after > 0].sum())
    if start - churn - contraction + expansion != end:
        raise ContractError("revenue does not add up: amounts are too large to be counted in hundredths")
    parts = np.stack([np.minimum(before, after), after], axis=1).astype(float)
    limits = _studentised(parts, before.astype(float), seed=seed, resamples=resamples, level=level)
    n = int(had.sum())
    method = f"bootstrap-t over customers{scheme(n)}"
    gross, net = (Estimate(v, low, high, level, method, n, "fraction") for v, low, high in limits)
    identity = message(
        "{start} less {churn} lost with customers and {contraction} in decreases, plus {expansion} in increases, is "
        "{end}, to the hundredth.",
        start=number(start / 100, digits=2),
        churn=number(churn / 100, digits=2),
        contraction=number(contraction / 100, digits=2),
        expansion=number(expansion / 100, digits=2),
        end=number(end / 100, digits=2),
    )
    return RevenueRetention(
        gross,
        net=net,
        start=start / 100,
        churn=churn / 100,
        contraction=contraction / 100,
        expansion=expansion / 100,
        currency=currency,
        checks=(Check(message("Revenue adds up"), "passed", identity),),
    )


def revenue_concentration(
    revenue: ArrayLike | pd.DataFrame,
    *,
    seed: int,
    share: float = 0.2,
    resamples: int = 1000,
    level: float = 0.95,
) -> RevenueConcentration:
    """Return the share of revenue of the top customers, in and out of the period that ranks them.

    Whoever ranks customers by last year's revenue and adds that same revenue up finds the lucky
    along with the good. The fair question is what the same customers bring afterwards. Customers
    without revenue in the ranking period are not among those ranked.

    Args:
        revenue: Revenue of each customer; or a frame with ``before``, which ranks, and ``after``.
        seed: Seed of the bootstrap over customers.
        share: Share of customers that is called top.
        resamples: Resamples of the bootstrap.
        level: Confidence level.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When an amount is negative, missing or finer than a hundredth.
        DesignError: When fewer than two customers brought revenue.

    Examples:
        >>> found = revenue_concentration([80.0, 5.0, 5.0, 5.0, 5.0], seed=1, resamples=200)
        >>> round(found.top.value, 2), round(found.gini.value, 2)
        (0.8, 0.6)

    References:
        Gastwirth (1972), Review of Economics and Statistics 54, 306-316, for the interpolated Lorenz curve;
        Davison and Hinkley (1997), section 5.3, percentile limits.
    """
    level = check_level(level)
    resamples = check_resamples(resamples)
    if not 0 < share < 1:
        raise ArgumentError(f"share must lie strictly between 0 and 1, such as 0.2; got {share!r}")
    frame = (
        revenue
        if isinstance(revenue, pd.DataFrame)
        else pd.DataFrame({"before": np.asarray(revenue).ravel()})
    )
    ranked, brought = _ranked(frame)
    shares = _top_estimates(ranked, brought, share, seed=seed, resamples=resamples, level=level)
    spread = gini_draws(ranked, seed=seed, resamples=resamples)
    low, high = np.quantile(spread, [0.5 - level / 2, 0.5 + level / 2])
    n = ranked.size
    equal = Estimate(
        gini(ranked, np.ones(n)), float(low), float(high), level, f"{PERCENTILE}{scheme(n)}", n, None
    )
    later = len(brought) > 1 and bool(brought[1].any())
    cumulative = np.concatenate([[0.0], np.cumsum(ranked) / ranked.sum()])
    return RevenueConcentration(
        shares[0],
        gini=equal,
        later=shares[1] if later else None,
        share=share,
        lorenz=pd.DataFrame({"customers": np.arange(n + 1) / n, "revenue": cumulative}),
        checks=_later_checks(given=len(brought) > 1, brought=later),
    )


def top_share(
    revenue: pd.DataFrame, *, share: float, seed: int, resamples: int, level: float
) -> tuple[Estimate, Estimate | None]:
    """Return the share of revenue of the top customers, and what the same bring of the later revenue.

    Args:
        revenue: ``before``, which ranks, and possibly ``after``, as for :func:`revenue_concentration`.
        share: Share of customers that is called top.
        seed: Seed of the bootstrap over customers.
        resamples: Resamples of the bootstrap.
        level: Confidence level.

    Returns:
        In period; and out of it, None without later revenue.

    Raises:
        ContractError: When an amount is negative, missing or finer than a hundredth.
        DesignError: When fewer than two customers brought revenue.

    Examples:
        >>> made = pd.DataFrame({"before": [80.0, 5, 5, 5, 5], "after": [10.0, 10, 10, 10, 10]})
        >>> now, later = top_share(made, share=0.2, seed=1, resamples=100, level=0.95)
        >>> round(now.value, 2), round(later.value, 2)
        (0.8, 0.2)
    """
    ranked, brought = _ranked(revenue)
    if len(brought) > 1 and not brought[1].any():
        brought = brought[:1]
    found = _top_estimates(ranked, brought, share, seed=seed, resamples=resamples, level=level)
    return found[0], found[1] if len(found) > 1 else None


def _ranked(frame: pd.DataFrame) -> tuple[Array, list[Array]]:
    """Return revenue that ranks, ascending, and what is added up: the same, and later revenue if given."""
    before = _cents(frame, "before").astype(float)
    had = before > 0
    if had.sum() < 2:
        raise DesignError(f"{int(had.sum())} customers brought revenue; at least two are needed")
    order = np.argsort(before[had], kind="stable")
    ranked = before[had][order]
    later = [_cents(frame, "after").astype(float)[had][order]] if "after" in frame.columns else []
    return ranked, [ranked, *later]


def _top_estimates(
    ranked: Array, brought: list[Array], share: float, *, seed: int, resamples: int, level: float
) -> list[Estimate]:
    n = ranked.size
    kept = top_weights(ranked, np.ones(n), share)
    summed = [x for x in brought if x.any()]
    draws = top_draws(ranked, summed, share, seed=seed, resamples=resamples)
    low, high = np.nanquantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    method = f"{PERCENTILE}{scheme(n)}"
    return [
        Estimate(float(kept @ x / x.sum()), float(lo), float(hi), level, method, n, "fraction")
        for x, lo, hi in zip(summed, low, high, strict=True)
    ]


# --- arithmetic on sorted revenue ----------------------------------------------------------------


def top_weights(ranked: Array, weight: Array, share: float) -> Array:
    """Return how much of each customer belongs to the top share; those equal at the line share it.

    Args:
        ranked: Revenue, ascending, shape (n,).
        weight: How often each customer counts, shape (n,).
        share: Share of customers that is top.

    Examples:
        >>> top_weights(np.array([1.0, 2.0, 2.0, 5.0]), np.ones(4), 0.5)
        array([0. , 0.5, 0.5, 1. ])
    """
    wanted = share * weight.sum()
    beyond = weight.sum() - np.cumsum(weight)  # weight of all who rank above
    line = ranked[int(np.argmax(beyond < wanted))]
    above, at = ranked > line, ranked == line
    kept = np.where(above, weight, 0.0)
    kept[at] = weight[at] * (wanted - weight[above].sum()) / weight[at].sum()
    return kept


def gini(ranked: Array, weight: Array) -> float:
    """Return the Gini coefficient of ascending revenue, by the trapezoids under Lorenz's curve.

    Examples:
        >>> gini(np.array([1.0, 1.0, 1.0]), np.ones(3))
        0.0
        >>> round(gini(np.array([0.0, 0.0, 0.0, 8.0]), np.ones(4)), 2)
        0.75
    """
    part = weight * ranked
    upper = np.cumsum(part)
    area = float(weight @ (upper - part / 2)) / (weight.sum() * upper[-1])
    return round(float(1 - 2 * area), 15) + 0.0


def _cents(frame: pd.DataFrame, column: str) -> NDArray[np.int64]:
    need(list(frame.columns), [column], "revenue")
    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if wrong.size:
        raise ContractError(
            f"revenue.{column} is missing or negative at {at_rows(wrong.tolist())}; give each customer the period's "
            "revenue, 0 where there was none"
        )
    scaled = np.round(values * 100)
    finer = np.flatnonzero(np.abs(values * 100 - scaled) > 1e-3)
    if finer.size:
        raise ContractError(
            f"revenue.{column} is finer than a hundredth at {at_rows(finer.tolist())}; round it to cents first"
        )
    return scaled.astype(np.int64)


def check_resamples(resamples: int) -> int:
    """Return a number of resamples, or raise ArgumentError."""
    if isinstance(resamples, bool) or resamples != int(resamples) or resamples < 100:
        raise ArgumentError(f"resamples must be a whole number of at least 100; got {resamples!r}")
    return int(resamples)


def _studentised(
    parts: Array, base: Array, *, seed: int, resamples: int, level: float
) -> list[tuple[float, float, float]]:
    """Return value, low and high of each ratio of a column of ``parts`` to ``base``."""
    ratio, se, pivots = studentised_pivots(parts, base, seed=seed, resamples=resamples)
    found = []
    for j in range(parts.shape[1]):
        known = pivots[np.isfinite(pivots[:, j]), j]
        if not se[j] > 0 or known.size < resamples / 2:
            found.append((float(ratio[j]), math.nan, math.nan))
            continue
        upper, lower = np.quantile(known, [0.5 + level / 2, 0.5 - level / 2])
        found.append(
            (float(ratio[j]), max(float(ratio[j] - upper * se[j]), 0.0), float(ratio[j] - lower * se[j]))
        )
    found[0] = (found[0][0], found[0][1], min(found[0][2], 1.0) if found[0][2] == found[0][2] else math.nan)
    return found


def _later_checks(*, given: bool, brought: bool) -> tuple[Check, ...]:
    name = message("Out of period")
    if not given:
        said = message(
            "Revenue of a later period is not given, so it is not known whether the top customers stay so."
        )
        return (Check(name, "not measurable", said),)
    if not brought:
        return (Check(name, "not measurable", message("The customers ranked brought nothing later.")),)
    return ()
