"""What segments did in the days after they were made: whether they tell who buys, and how often they were wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import DesignError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._windows import PurchaseDays, date_of, purchase_days
from loyalty_research.programme.segment_stability import (
    check_labels,
    hidden_share,
    segment_order,
    suppression_check,
)
from loyalty_research.stats.proportions import proportion
from loyalty_research.summaries._frames import as_ordinal, positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["SegmentLater", "SegmentOutcomes", "segment_outcomes", "variance_explained"]

GONE = ("one-time", "lapsed")
STILL = ("loyal", "occasional")
_LEAST = 5
_LOGIT = "logit, linearised by customer"


@dataclass(frozen=True, slots=True)
class SegmentLater:
    """What one segment did.

    Attributes:
        bought: Share of its customers who bought in the days after.
        purchases: Purchase days in them, per customer of the segment.
        revenue: Spend in them, per customer of the segment.
        share: Share of all identified revenue of the days after, newcomers' included.
        share_before: Share of the revenue of as many days before: the segment's own, since it was made
            from them.
        against_expected: Purchase days made per one expected, where predictions were given.
    """

    bought: Estimate
    purchases: Estimate
    revenue: Estimate
    share: Estimate
    share_before: Estimate
    against_expected: Estimate | None


@dataclass(frozen=True, repr=False, eq=False)
class SegmentOutcomes(Result):
    """Segments against what their customers did afterwards.

    Attributes:
        later: Segment to what it did; hidden segments have no values.
        customers: Segment to its number of customers; None where hidden.
        explained: Share of the differences in later purchases that the segment explains, 0 to 1; None where
            nobody bought, or there is one segment.
        wrong_still: Of those placed as customers still, the share who did not buy; None where no such segment.
        wrong_gone: Of those placed as gone, the share who bought; None likewise.
        newcomers: Share of the later revenue from customers who were in no segment.
        after: Day on which the segments were made.
        days: Days looked at, before and after.
        currency: ISO 4217 code, or None.
    """

    title: ClassVar[str] = "What the segments did next"

    later: dict[str, SegmentLater]
    customers: dict[str, int | None]
    explained: Estimate | None
    wrong_still: Estimate | None
    wrong_gone: Estimate | None
    newcomers: Estimate
    after: dt.date
    days: int
    currency: str | None

    def _rows(self) -> Iterable[Row]:
        for segment, found in self.later.items():
            yield Row(message("bought in the days after"), found.bought, group=segment)
            yield Row(message("purchase days per customer"), found.purchases, group=segment)
            yield Row(message("revenue per customer"), found.revenue, group=segment)
            yield Row(message("share of later revenue"), found.share, group=segment)
            yield Row(message("share of revenue before"), found.share_before, group=segment)
            if found.against_expected is not None:
                yield Row(message("purchases made per one expected"), found.against_expected, group=segment)
        yield Row(message("share of later revenue"), self.newcomers, group=message("came later"))
        for name, estimate in (
            (message("differences explained by the segment"), self.explained),
            (message("placed as customers, did not buy"), self.wrong_still),
            (message("placed as gone, bought"), self.wrong_gone),
        ):
            if estimate is not None:
                yield Row(name, estimate, group="all")

    def _verdict(self) -> str:
        said = []
        if self.explained is not None:
            said.append(
                message(
                    "The segments explain {share} ({interval}) of the differences between customers in purchases over "
                    "the next {days} days.",
                    share=self.explained.format(),
                    interval=self.explained.interval(),
                    days=self.days,
                )
            )
        else:
            said.append(message("Nothing can be said of how well the segments tell customers apart."))
        if self.wrong_still is not None and self.wrong_still.n:
            said.append(
                message(
                    "Of those placed as customers still, {share} did not buy in that time.",
                    share=self.wrong_still.format(),
                )
            )
        if self.wrong_gone is not None and self.wrong_gone.n:
            said.append(message("Of those placed as gone, {share} did buy.", share=self.wrong_gone.format()))
        return " ".join(said)

    def claim_verdict(self, *, segment: str = "loyal", share: float = 0.7) -> str:
        """Say whether a segment brings more than a share of revenue, in the days before and after.

        Args:
            segment: The segment.
            share: The share that is claimed, a fraction.
        """
        found = self.later.get(segment)
        if found is None or not found.share.n or math.isnan(found.share.value):
            return message("No segment of {name} customers can be shown.", name=segment)
        count = self.customers[segment]
        words = {
            "count": number(count, digits=0),
            "part": percent((count or 0) / found.share.n),
            "name": segment,
            "before": found.share_before.format(),
            "later": found.share.format(),
            "interval": found.share.interval(),
            "claim": percent(share, digits=0),
            "days": self.days,
        }
        if found.share.low > share:
            return message(
                "The {count} customers placed as {name} ({part}) brought {before} of revenue in the {days} days they "
                "were picked by, and {later} ({interval}) in the {days} days after: more than {claim}.",
                **words,
            )
        if found.share.high < share:
            return message(
                "The {count} customers placed as {name} ({part}) brought {before} of revenue in the {days} days they "
                "were picked by, and {later} ({interval}) in the {days} days after: less than {claim}.",
                **words,
            )
        return message(
            "The {count} customers placed as {name} ({part}) brought {before} of revenue in the {days} days they "
            "were picked by, and {later} ({interval}) in the {days} days after: these data do not decide about {claim}.",
            **words,
        )


def segment_outcomes(
    labels: pd.Series[Any],
    transactions: Any,
    *,
    after: dt.date | str,
    days: int,
    until: dt.date | str | None = None,
    expected: pd.Series[float] | None = None,
    still: Sequence[str] = STILL,
    gone: Sequence[str] = GONE,
    currency: str | None = None,
    level: float = 0.95,
) -> SegmentOutcomes:
    """Follow segments into days that they were not made from.

    A segment that is judged by the days it was made from is always right: whoever spent most then is
    called loyal. Here the days after count, with all customers of the segment, those who stopped among
    them, and with the revenue of newcomers in the denominator.

    Somebody who does not buy in the days after may still be a customer, one who buys rarely; so the two
    shares of wrong placements are an upper bound of error for those placed as customers.

    Args:
        labels: Segment per customer as of the end of ``after``, index the customer.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount`` in one currency; or the
            purchase days read from it, where several divisions are followed.
        after: Day on which the segments were made, that day included.
        days: Days looked at, from the day after on; as many up to ``after`` are set beside them.
        until: Last day observed; by default the last day in the table.
        expected: Purchase days expected of each customer in these days, index the customer.
        still: Segments whose customers are taken to be customers still.
        gone: Segments whose customers are taken to have left.
        currency: ISO 4217 code.
        level: Confidence level.

    Raises:
        ContractError: When a customer repeats or has no segment, or a row of transactions is wrong.
        DesignError: When the days after are not over, or the days before are not in the record.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": list("abcdef") * 2, "amount": 10.0,
        ...     "transacted_date": pd.to_datetime(["2024-01-05"] * 6 + ["2024-01-15"] * 6)})
        >>> found = segment_outcomes(pd.Series("loyal", index=list("abcdef")), orders,
        ...                          after="2024-01-10", days=5)
        >>> found.later["loyal"].bought.value, found.newcomers.value
        (1.0, 0.0)
    """
    level = check_level(level)
    days = positive_days(days, "days")
    check_labels(labels, "labels")
    start = as_ordinal(after, "after")
    record = transactions if isinstance(transactions, PurchaseDays) else purchase_days(transactions, until)
    if record.end < start + days:
        raise DesignError(
            f"the {days:,} days after {date_of(start)} are not over: the record ends on {date_of(record.end)}; "
            "take an earlier day"
        )
    if record.begin > start:
        raise DesignError(f"transactions has no purchase up to {date_of(start)}")
    people = labels.index
    bought, spent = _totals(record, people, start, start + days)
    _, spent_before = _totals(record, people, start - days, start)
    everything, before = (
        float(record.amount[(record.day > low) & (record.day <= low + days)].sum())
        for low in (start, start - days)
    )
    order = segment_order(labels)
    position = labels.map({s: i for i, s in enumerate(order)}).to_numpy(dtype=np.int64)
    wanted = None if expected is None else expected.reindex(people).to_numpy(dtype=float)
    hidden, secret = _hidden(position, bought, len(order))
    later = {}
    for no, segment in enumerate(order):
        inside = position == no
        if hidden[no]:
            blank = hidden_share(level)
            later[str(segment)] = SegmentLater(blank, blank, blank, blank, blank, None)
            continue
        later[str(segment)] = SegmentLater(
            hidden_share(level)
            if secret[no]
            else proportion(int((bought[inside] > 0).sum()), int(inside.sum()), level=level),
            purchases=_mean(bought[inside], level),
            revenue=_mean(spent[inside], level, currency),
            share=_share(np.where(inside, spent, 0.0), spent, everything, level),
            share_before=_share(np.where(inside, spent_before, 0.0), spent_before, before, level),
            against_expected=None if wanted is None else _ratio(bought[inside], wanted[inside], level),
        )
    counts = np.bincount(position, minlength=len(order))
    several = len(order) > 1 and bool(bought.any())
    return SegmentOutcomes(
        later=later,
        customers={str(s): None if hidden[i] else int(counts[i]) for i, s in enumerate(order)},
        explained=variance_explained(bought, position, level=level) if several else None,
        wrong_still=_wrong(labels, still, bought == 0, secret[position], level),
        wrong_gone=_wrong(labels, gone, bought > 0, secret[position], level),
        newcomers=_share(spent * 0, spent, everything, level, rest=True),
        after=date_of(start),
        days=days,
        currency=currency,
        checks=(suppression_check(int(hidden.sum())),),
    )


def _totals(record: PurchaseDays, people: pd.Index[Any], low: int, high: int) -> tuple[Array, Array]:
    """Return purchase days and spend of each customer after one day and up to another."""
    inside = (record.day > low) & (record.day <= high)
    rows = people.get_indexer(record.customers)[record.code[inside]]
    known = rows >= 0
    size = len(people)
    bought = np.bincount(rows[known], minlength=size).astype(float)
    spent = np.bincount(rows[known], weights=record.amount[inside][known], minlength=size).round(2)
    return bought, spent


def _hidden(position: Array, bought: Array, segments: int) -> tuple[Array, Array]:
    """Say which segments rest on too few customers or buyers, or would give such a one away.

    Returns:
        Segments to hide, and segments whose share of buyers is hidden since few did not buy, each of shape
        (segments,).
    """
    counts = np.bincount(position, minlength=segments)
    buyers = np.bincount(position[bought > 0], minlength=segments)
    hidden = _with_what_reveals(counts, np.zeros(segments, dtype=bool))
    hidden = _with_what_reveals(buyers, hidden)
    return hidden, _with_what_reveals(counts - buyers, hidden)


def _with_what_reveals(counts: Array, hidden: Array) -> Array:
    """Hide cells of one to four and what reveals them; those hidden already count as one cell of the total."""
    shown = np.flatnonzero(~hidden)
    merged = pd.DataFrame({"customers": np.append(counts[shown], counts[hidden].sum())})
    blank = suppress_small_cells(merged, count="customers")["customers"].isna().to_numpy()[:-1]
    out: Array = hidden.copy()
    out[shown[blank]] = True
    return out


def _mean(values: Array, level: float, unit: str | None = None) -> Estimate:
    from scipy.special import stdtrit

    n, mean = values.size, float(values.mean())
    half = float(stdtrit(n - 1, (1 + level) / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    if not half > 0:
        return Estimate(mean, math.nan, math.nan, level, "t", n, unit)
    return Estimate(mean, mean - half, mean + half, level, "t", n, unit)


def _share(part: Array, spent: Array, everything: float, level: float, *, rest: bool = False) -> Estimate:
    """Return a share of all revenue; customers in no segment count as one more, which only adds spread."""
    from scipy.special import expit, logit, ndtri

    n = spent.size
    if not everything > 0:
        return Estimate(math.nan, math.nan, math.nan, level, _LOGIT, n, "fraction")
    others = everything - float(spent.sum())
    value = others / everything if rest else float(part.sum()) / everything
    moved = ((0.0 if rest else part) - value * spent) / everything
    error = math.sqrt(float(moved @ moved))
    if not (1e-9 < value < 1 - 1e-9 and error > 0):
        return Estimate(min(max(value, 0.0), 1.0), math.nan, math.nan, level, _LOGIT, n, "fraction")
    half = float(ndtri((1 + level) / 2)) * error / (value * (1 - value))
    low, high = expit(logit(value) - half), expit(logit(value) + half)
    return Estimate(value, float(low), float(high), level, _LOGIT, n, "fraction")


def _ratio(made: Array, wanted: Array, level: float) -> Estimate | None:
    """Return purchases made per one expected, on the log scale."""
    from scipy.special import ndtri

    known = np.isfinite(wanted)
    made, wanted = made[known], wanted[known]
    if not (made.sum() > 0 and wanted.sum() > 0):
        return None
    value = float(made.sum() / wanted.sum())
    # what was expected is given; what was made varies between customers
    gap = made - value * wanted
    half = float(ndtri((1 + level) / 2)) * math.sqrt(float(gap @ gap)) / float(made.sum())
    low, high = value * math.exp(-half), value * math.exp(half)
    return Estimate(value, low, high, level, "log ratio, linearised by customer", int(made.size))


def _wrong(
    labels: pd.Series[Any], names: Sequence[str], bad: Array, secret: Array, level: float
) -> Estimate | None:
    inside = labels.isin(list(names)).to_numpy()
    count, n = int(bad[inside].sum()), int(inside.sum())
    if not n:
        return None
    # next to the shares of the other segments it would tell the hidden one's
    if secret[inside].any() or 0 < count < _LEAST or 0 < n - count < _LEAST:
        return hidden_share(level)
    return proportion(count, n, level=level)


def variance_explained(values: Array, groups: Array, *, level: float = 0.95) -> Estimate:
    """Return the share of a variance that lies between groups, with a large-sample interval.

    Args:
        values: One number per customer, shape (n,).
        groups: Group of each, whole numbers from 0, shape (n,).
        level: Coverage aimed at.

    Returns:
        From 0 to 1; without limits where it is either. At 0 it is biased upwards by about the number of
        groups less one over n.

    Raises:
        DesignError: When values do not vary, or there is one group.

    Examples:
        >>> found = variance_explained(np.array([0.0, 1, 2, 3, 4, 9]), np.array([0, 0, 0, 1, 1, 1]))
        >>> round(found.value, 3)
        0.554

    References:
        Pearson (1905), On the General Theory of Skew Correlation, the correlation ratio; limits by the delta
        method on the logit scale.
    """
    from scipy.special import expit, logit, ndtri

    y = np.asarray(values, dtype=float)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    count = np.bincount(codes)
    if len(count) < 2 or not np.ptp(y) > 0:
        raise DesignError("differences can be explained only between two groups or more, in what varies")
    y = y - y.mean()
    means = np.bincount(codes, weights=y) / count
    within, total = means[codes], float(y @ y)
    value = float((count * means**2).sum()) / total
    moved = (2 * within * y - within**2 - value * y**2) / total
    error = math.sqrt(float(moved @ moved))
    method = "logit, linearised by customer"
    if not (1e-12 < value < 1 - 1e-12 and error > 0):
        return Estimate(value, math.nan, math.nan, level, method, y.size, "fraction")
    half = float(ndtri((1 + level) / 2)) * error / (value * (1 - value))
    low, high = expit(logit(value) - half), expit(logit(value) + half)
    return Estimate(value, float(low), float(high), level, method, y.size, "fraction")
