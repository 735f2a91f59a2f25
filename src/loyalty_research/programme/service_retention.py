"""Whether customers who were served well come back more often, among those alike before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ContractError, DesignError, ImmortalTimeError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme._by_customer import day_numbers, purchases_between
from loyalty_research.programme._contact_rows import clustered_proportion
from loyalty_research.programme._windows import purchase_days
from loyalty_research.programme.segments import banded
from loyalty_research.programme.service import OUTCOMES, read_cases
from loyalty_research.stats.effect_sizes import e_value
from loyalty_research.stats.proportions import difference_in_proportions
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[np.float64]
    Bools = NDArray[np.bool_]

__all__ = ["ServiceRetention", "service_and_retention"]

FEWEST = 5
METHOD = "standardised, customers as clusters, t"


@dataclass(frozen=True, repr=False, eq=False)
class ServiceRetention(Result):
    """Customers who bought again after a service case, by how the case was solved.

    Attributes:
        good: Share of well-served cases after which the customer bought within the window.
        other: The same of the other cases.
        difference: Good less other among customers alike before (standardised to all cases compared).
        first_cases: Good less other, unadjusted, from the first case of each customer alone.
        by_group: Group of customers alike before to the difference within it.
        served: What counts as served well: ``"on time and in full"``, ``"on time"`` or ``"in full"``.
        day_zero: Column of the day from which the window counts.
        window: Days of the window.
        customers: Customers behind ``difference``.
        left_out: Reason to the cases left out.
    """

    title: ClassVar[str] = "Service and retention"

    good: Estimate
    other: Estimate
    difference: Estimate
    first_cases: Estimate
    by_group: dict[str, Estimate]
    served: str
    day_zero: str
    window: int
    customers: int
    left_out: dict[str, int]

    def _rows(self) -> Iterable[Row]:
        name = message("bought again within {days} days", days=self.window)
        of = message("cases compared")
        yield Row(name, self.good, group=message("served well"), estimand=of)
        yield Row(name, self.other, group=message("other cases"), estimand=of)
        less = message("difference in buying again")
        alike = message("among customers alike before, standardised to all cases compared")
        yield Row(less, self.difference, group="all", estimand=alike)
        first = message("first case of each customer, unadjusted")
        yield Row(less, self.first_cases, group="all", estimand=first)
        for group, estimate in self.by_group.items():
            yield Row(less, estimate, group=group, estimand=message("within the group"))

    def _verdict(self) -> str:
        values = {
            "served": {
                "on time and in full": message("on time and in full"),
                "on time": message("on time"),
                "in full": message("in full"),
            }[self.served],
            "days": f"{self.window:,}",
            "good": self.good.format(),
            "other": self.other.format(),
            "difference": self.difference.format(signed=True),
            "interval": self.difference.interval(signed=True),
        }
        seen = message(
            "After {good} of the cases solved {served} the customer bought within {days} days, after {other} of the "
            "others. Among customers alike before, the difference is {difference} ({interval}).",
            **values,
        )
        if self.difference.low > 0:
            return message(
                "{seen} That is consistent with good service keeping customers; nobody drew lots for who is served "
                "well, so something else about these customers or cases may be behind it.",
                seen=seen,
            )
        if self.difference.high < 0:
            return message(
                "{seen} Customers served well came back less. Nobody drew lots for who is served well, so this does "
                "not show that good service drives customers away.",
                seen=seen,
            )
        return message("{seen} Whether service goes with staying cannot be said from these data.", seen=seen)


def service_and_retention(
    tickets: Any,
    transactions: Any,
    *,
    window: int = 90,
    history: int = 365,
    frequency_edges: Sequence[float] = (0, 1, 2, 4, 8),
    covariates: Sequence[str] = (),
    as_of: dt.date | str | None = None,
    level: float = 0.95,
) -> ServiceRetention:
    """Compare whether customers buy again after cases that were solved well and after others.

    The window begins on the day when it is known how the case went: the day it was due where the table
    has ``due_date`` or ``due_at``, otherwise the day it was closed. Nothing learnt later sorts cases, so
    no case has time in which its customer could not have stayed away. Customers are compared within bands
    of how often they bought before the case was opened, and within any further columns declared.

    Args:
        tickets: ``customer_id``, ``opened_at``, ``on_time`` or ``in_full`` or both, and ``closed_at`` or
            ``due_at`` (``_date`` columns are preferred); anything that narwhals reads.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        window: Days after day zero in which the customer must buy.
        history: Days up to the opening in which purchase days are counted.
        frequency_edges: Lower edges of the bands ``[a, b)`` of purchase days before.
        covariates: Further columns of ``tickets``, known at the opening, such as ``channel``.
        as_of: Last day observed; by default the last day of ``transactions``.
        level: Confidence level.

    Returns:
        The difference among customers alike before, with customers as clusters; the unadjusted one of
        each customer's first case with Newcombe's interval; and the difference in each group.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing or a cell is of a wrong kind.
        DesignError: When no group holds enough cases of both kinds to compare.
        ImmortalTimeError: When a case counts as solved on time though it was closed after it was due.

    Examples:
        >>> day = pd.Timestamp("2024-03-01")
        >>> cases = pd.DataFrame({"customer_id": [f"c{i}" for i in range(80)], "opened_at": day,
        ...     "closed_at": day + pd.Timedelta(days=2), "on_time": [True] * 40 + [False] * 40})
        >>> back = [*range(30), *range(40, 60)]
        >>> orders = pd.DataFrame({"customer_id": ["old"] + [f"c{i}" for i in back], "amount": 10.0,
        ...     "transacted_at": [pd.Timestamp("2023-01-01")] + [pd.Timestamp("2024-04-01")] * 50})
        >>> service_and_retention(cases, orders, window=60, as_of="2024-06-30").first_cases
        25.0% (95% interval 3.8% to 43.3%; newcombe; n = 80)

    References:
        Newcombe (1998), Statistics in Medicine 17, method 10; Hernán and Robins (2020), What If, section
        13.2, standardisation; VanderWeele and Ding (2017), Annals of Internal Medicine 167, the E-value.
    """
    level = check_level(level)
    window, history = positive_days(window, "window"), positive_days(history, "history")
    frame = read_cases(tickets, covariates)
    record = purchase_days(transactions, as_of)
    served, good = _served(frame)
    column, zero = _day_zero(frame, good)
    opened = day_numbers(frame, "opened", "tickets")
    left_out, kept = _kept(record, opened, zero, good, history, window)
    if not kept.any():
        raise DesignError(
            message(
                "no case can be followed for {days} days with its outcome and {history} days before it known",
                days=f"{window:,}",
                history=f"{history:,}",
            )
        )
    frame, good, zero, opened = frame[kept].reset_index(drop=True), good[kept], zero[kept], opened[kept]
    who = frame["customer_id"]
    back = (purchases_between(record, who, zero, zero + window) > 0).astype(float)
    before = purchases_between(record, who, opened - history, opened).astype(float)
    groups = _groups(frame, before, frequency_edges, covariates)
    codes = pd.factorize(who)[0].astype(np.int64)
    return _compare(
        back,
        good == 1,
        groups,
        codes,
        order=np.lexsort((np.arange(len(zero)), zero)),
        served=served,
        day_zero=column,
        window=window,
        left_out=left_out,
        level=level,
    )


# --- cases ---------------------------------------------------------------------------------------


def _served(frame: pd.DataFrame) -> tuple[str, Array]:
    """Return what counts as served well, and 1, 0 or NaN by case: one miss is enough to count as 0."""
    have = [c for c in OUTCOMES if c in frame]
    if not have:
        raise ContractError("tickets has neither on_time nor in_full, so nothing says who was served well")
    values = frame[have].to_numpy(dtype=float)
    missed = (values == 0).any(axis=1)
    good: Array = np.where(missed, 0.0, np.where((values == 1).all(axis=1), 1.0, math.nan))
    names = {"on_time": "on time", "in_full": "in full"}
    return " and ".join(names[c] for c in have), good


def _day_zero(frame: pd.DataFrame, good: Array) -> tuple[str, Array]:
    """Return the column and the day number from which each case's window counts."""
    stem = "due" if {"due_at", "due_date"} & set(frame.columns) else "closed"
    if not {f"{stem}_at", f"{stem}_date"} & set(frame.columns):
        raise ContractError(
            "tickets has neither due_at nor closed_at, so nothing says from when a customer is to be watched"
        )
    zero = day_numbers(frame, stem, "tickets", gaps=True)
    column = f"{stem}_date" if f"{stem}_date" in frame else f"{stem}_at"
    if stem == "due" and {"closed_at", "closed_date"} & set(frame.columns):
        closed = day_numbers(frame, "closed", "tickets", gaps=True)
        later = np.flatnonzero((good == 1) & (closed > zero))
        if later.size:
            raise ImmortalTimeError(
                f"tickets calls cases well served that were closed after {column}, at {at_rows(later.tolist())}: that "
                "they were is known only after their window starts; correct on_time or the due day"
            )
    return column, zero


def _kept(
    record: PurchaseDays, opened: Array, zero: Array, good: Array, history: int, window: int
) -> tuple[dict[str, int], Bools]:
    kept = np.ones(len(zero), dtype=bool)
    left_out = {}
    for reason, bad in (
        (message("without a day on which the outcome was known"), np.isnan(zero)),
        (message("without a recorded outcome"), np.isnan(good)),
        (message("not followed for the whole window"), ~(zero + window <= record.end)),
        (message("opened before the record is long enough"), opened - history < record.begin - 1),
    ):
        left_out[reason] = int((kept & bad).sum())
        kept &= ~bad
    return left_out, kept


def _groups(
    frame: pd.DataFrame, before: Array, edges: Sequence[float], covariates: Sequence[str]
) -> pd.Series[Any]:
    names = banded(pd.Series(before), edges, name="purchase days before").astype(str)
    for column in covariates:
        names = names + ", " + frame[column].astype("string").fillna("not known").astype(str)
    return names


# --- comparing -----------------------------------------------------------------------------------


def _contrast(
    back: Array, good: Bools, group: NDArray[np.int64], codes: NDArray[np.int64], level: float
) -> tuple[Estimate, float, float]:
    """Return the standardised difference and the two standardised shares; every group holds both kinds."""
    n = len(back)
    size = np.bincount(group)
    weight = size / n
    cell = 2 * group + good
    count = np.bincount(cell, minlength=2 * size.size)
    share = np.bincount(cell, weights=back, minlength=2 * size.size) / count
    gap = share[1::2] - share[0::2]
    value = float(weight @ gap)
    # the residual of a small cell is too small by what its own mean took
    swell = np.sqrt(count / np.maximum(count - 1, 1))
    moved = np.where(good, 1.0, -1.0) * weight[group] * swell[cell] * (back - share[cell]) / count[cell]
    moved += (gap[group] - value) / n
    by_customer = np.bincount(pd.factorize(codes)[0], weights=moved)
    clusters = by_customer.size
    se = math.sqrt(float(by_customer @ by_customer) * clusters / (clusters - 1))
    half = float(stats.t.isf((1 - level) / 2, clusters - 1)) * se if se > 0 else math.nan
    found = Estimate(value, value - half, value + half, level, METHOD, n, "fraction")
    return found, float(weight @ share[1::2]), float(weight @ share[0::2])


def _compare(
    back: Array,
    good: Bools,
    groups: pd.Series[Any],
    codes: NDArray[np.int64],
    *,
    order: NDArray[np.int64],
    served: str,
    day_zero: str,
    window: int,
    left_out: dict[str, int],
    level: float,
) -> ServiceRetention:
    seen = pd.DataFrame({"group": groups, "good": good, "who": codes}).drop_duplicates()
    people = pd.crosstab(seen["group"], seen["good"]).reindex(columns=[False, True], fill_value=0)
    fit = people.index[(people >= FEWEST).all(axis=1)]
    inside = groups.isin(fit).to_numpy()
    if not inside.any():
        raise DesignError(
            message(
                "no group of customers alike before holds {fewest} customers served well and {fewest} others; take "
                "wider bands or fewer covariates",
                fewest=FEWEST,
            )
        )
    first = np.zeros(len(codes), dtype=bool)
    first[order[np.unique(codes[order], return_index=True)[1]]] = True
    first &= inside
    left_out = {**left_out, message("in groups without both kinds"): int((~inside).sum())}
    label, names = pd.factorize(groups[inside], sort=True)
    difference, well, badly = _contrast(back[inside], good[inside], label, codes[inside], level)
    by_group = {}
    for i, name in enumerate(names):
        own = inside.copy()
        own[inside] = label == i
        by_group[str(name)] = _contrast(
            back[own], good[own], np.zeros(int(own.sum()), int), codes[own], level
        )[0]
    one, two = first & good, first & ~good
    if min(one.sum(), two.sum()) == 0:
        raise DesignError(message("all customers' first cases were solved alike"))
    return ServiceRetention(
        good=clustered_proportion(back[inside & good], codes[inside & good], level=level),
        other=clustered_proportion(back[inside & ~good], codes[inside & ~good], level=level),
        difference=difference,
        first_cases=difference_in_proportions(
            int(back[one].sum()), int(one.sum()), int(back[two].sum()), int(two.sum()), level=level
        ),
        by_group=by_group,
        served=served,
        day_zero=day_zero,
        window=window,
        customers=len(np.unique(codes[inside])),
        left_out=left_out,
        checks=(
            _overlap_check(int(inside.sum()), len(inside)),
            _left_out_check(left_out),
            _hidden_check(well, badly),
        ),
    )


def _overlap_check(inside: int, cases: int) -> Check:
    share = inside / cases
    return Check(
        message("Customers alike before in both kinds"),
        "passed" if inside == cases else "warning" if share >= 0.5 else "failed",
        message(
            "{share} of {cases} cases lie in groups with at least {fewest} customers of both kinds and are compared.",
            share=percent(share),
            cases=f"{cases:,}",
            fewest=FEWEST,
        ),
        gate=True,
    )


def _left_out_check(left_out: dict[str, int]) -> Check:
    some = {reason: count for reason, count in left_out.items() if count}
    name = message("Cases left out")
    if not some:
        return Check(name, "passed", message("Every case is compared."))
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in some.items())
    said = messages(
        "{count} case is left out: {reasons}.",
        "{count} cases are left out: {reasons}.",
        sum(some.values()),
        reasons=reasons,
    )
    return Check(name, "warning", said)


def _hidden_check(well: float, badly: float) -> Check:
    name = message("Hidden differences")
    if not (well > 0 and badly > 0):
        return Check(
            name, "not measurable", message("One kind has nobody who came back, so there is no ratio.")
        )
    return Check(
        name,
        "warning",
        message(
            "The ratio of the two shares is {ratio}. A hidden difference between customers would explain it away if it "
            "went with good service and with coming back by a ratio of {needed} each (E-value).",
            ratio=number(well / badly),
            needed=number(e_value(well / badly)),
        ),
    )
