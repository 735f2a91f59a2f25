"""What customers who were referred bring, beside others gained in the same months."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._customer_rows import acquired_days
from loyalty_research.programme._linearised import FEWEST, few, log_limits, plain_limits, unknown
from loyalty_research.programme._referral_rows import read_referrals
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.summaries._frames import EPOCH, as_ordinal, positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["ReferredValue", "gained_in_window", "referred_customer_value", "standardised_gap"]

_METHOD = "t, standardised by month, referrers as clusters"


@dataclass(frozen=True, repr=False, eq=False)
class ReferredValue(Result):
    """First spend of referred customers, beside that of others gained in the same months.

    Attributes:
        gap: Mean of the referred less the mean of the others, who are weighted to the months in which
            the referred came.
        ratio: The same as a ratio; not measurable where either mean is 0.
        unadjusted: Difference of the plain means, whatever the month.
        referred_mean: Mean spend of the referred.
        others_mean: Mean spend of the others, weighted to the same months.
        referred: Referred customers compared.
        others: Others gained in those months.
        window: Days since the first purchase, that day included.
    """

    title: ClassVar[str] = "Spend of referred customers"

    gap: Estimate
    ratio: Estimate
    unadjusted: Estimate
    referred_mean: float
    others_mean: float
    referred: int
    others: int
    window: int

    def _rows(self) -> Iterable[Row]:
        yield Row(
            message("referred customers less others"),
            self.gap,
            estimand="difference among customers gained in the same months; no effect",
        )
        yield Row(
            message("referred customers per 1 of others"),
            self.ratio,
            estimand="ratio among customers gained in the same months; no effect",
        )
        yield Row(
            message("referred customers less others"),
            self.unadjusted,
            estimand="plain difference, months not alike; no effect",
        )

    def _verdict(self) -> str:
        values = {
            "n": f"{self.referred:,}",
            "days": f"{self.window:,}",
            "mine": self.gap.format(self.referred_mean),
            "theirs": self.gap.format(self.others_mean),
            "interval": self.gap.interval(signed=True),
            "gap": self.gap.format(signed=True),
        }
        if self.gap.low > 0:
            return message(
                "In the {days} days from their first purchase {n} referred customers spent {mine} each, others gained in "
                "the same months {theirs}: {gap} ({interval}). That is consistent with referrals bringing better "
                "customers; but referred customers select themselves, so it is no effect of being referred.",
                **values,
            )
        if self.gap.high < 0:
            return message(
                "In the {days} days from their first purchase {n} referred customers spent {mine} each, others gained in "
                "the same months {theirs}: {gap} ({interval}). That is consistent with referrals bringing customers "
                "who spend less; but referred customers select themselves, so it is no effect of being referred.",
                **values,
            )
        return message(
            "In the {days} days from their first purchase {n} referred customers spent {mine} each, others gained in the "
            "same months {theirs}. The data do not tell them apart: {gap} ({interval}). Referred customers select "
            "themselves, so neither would be an effect of being referred.",
            **values,
        )


def referred_customer_value(
    transactions: Any,
    referrals: Any,
    *,
    customers: Any = None,
    window: int = 180,
    acquired_since: dt.date | str | None = None,
    as_of: dt.date | str | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> ReferredValue:
    """Return what referred customers spend in their first days, beside others gained in the same months.

    Both are followed for the same days from their first purchase, and only customers followed to the end
    count. The others are weighted so that they came in the same months as the referred. The channel
    cannot be held alike: being referred is a channel. Who is referred is chosen, by themselves and by
    those who know them, so the difference describes customers and is not what referring does to them.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount`` in one currency;
            anything that narwhals reads. Refunds are left out.
        referrals: ``referrer_id``, ``referred_id``, ``referred_date`` or ``referred_at``.
        customers: ``customer_id`` and ``acquired_at`` or ``acquired_date``, to leave out those whom the
            record shows only from a later purchase on.
        window: Days from the first purchase, that day included.
        acquired_since: First day of first purchases that count; by default all.
        as_of: Last day observed, that day included; by default the last day of transactions.
        currency: ISO 4217 code, for sentences.
        level: Confidence level.

    Returns:
        Difference and ratio with limits, in which customers brought by the same person count as one group.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column or a row is wrong, such as a referral of oneself.
        DesignError: When fewer than five referred customers, or five others, can be compared.

    Examples:
        >>> days = pd.to_datetime(["2024-01-05"] * 12 + ["2024-01-20"] * 12)
        >>> lines = pd.DataFrame({"customer_id": [f"c{i}" for i in range(24)], "transacted_date": days,
        ...                       "amount": [20.0, 30.0] * 6 + [10.0, 20.0] * 6})
        >>> made = pd.DataFrame({"referrer_id": [f"c{i}" for i in range(12, 24)],
        ...     "referred_id": [f"c{i}" for i in range(12)], "referred_at": pd.Timestamp("2024-01-02")})
        >>> referred_customer_value(lines, made, window=30, as_of="2024-03-31").gap.value
        10.0

    References:
        Schmitt, Skiera and Van den Bulte (2011), Referral Programs and Customer Value, Journal of Marketing
        75(1), 46-59, for the question; Hernan and Robins (2020), Causal Inference: What If, section 13.3,
        for standardisation.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    since = None if acquired_since is None else as_ordinal(acquired_since, "acquired_since")
    record = purchase_days(transactions, as_of)
    rows = read_referrals(referrals)
    known = None if customers is None else acquired_days(customers)
    frame, left_out = gained_in_window(record, rows, window, since=since, acquired=known)
    return _assemble(frame, left_out, record, window, currency=currency, level=level, dated=known is not None)


def gained_in_window(
    record: PurchaseDays,
    referrals: pd.DataFrame,
    window: int,
    *,
    since: int | None = None,
    acquired: pd.Series[float] | None = None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return first spend of customers followed for a window, with who was referred, and who was left out.

    Args:
        record: Purchases up to the last day observed.
        referrals: What :func:`read_referrals` returned.
        window: Days from the first purchase.
        since: First day of first purchases that count, or None.
        acquired: Day number on which each customer was acquired, by customer, or None.

    Returns:
        ``value``, ``referred``, ``month`` (number of the month) and ``group`` (the referrer, None for the others),
        indexed by customer; and reason to customers left out.
    """
    first = record.first
    age = record.day - first[record.code]
    inside = age < window
    value = np.bincount(
        record.code[inside], weights=record.amount[inside], minlength=len(record.customers)
    ).round(2)
    brought = referrals.dropna(subset=["referred_id"])
    where = record.customers.get_indexer(pd.Index(brought["referred_id"]))
    seen = where >= 0
    named = np.zeros(len(record.customers), dtype=bool)
    named[where[seen]] = True
    group = np.full(len(record.customers), None, dtype=object)
    group[where[seen]] = brought["referrer_id"].to_numpy(dtype=object)[seen]
    day = np.full(len(record.customers), np.iinfo(np.int64).max)
    day[where[seen]] = brought["day"].to_numpy()[seen]
    chosen = first + window - 1 <= record.end
    if since is not None:
        chosen &= first >= since
    before = named & (first < day)
    left_out = {"bought before": int((before & chosen).sum())}
    chosen &= ~before
    if acquired is not None:
        earlier = (acquired.reindex(record.customers) < record.begin).to_numpy()
        left_out["acquired before the record"] = int((earlier & chosen).sum())
        chosen &= ~earlier
    months = (first - EPOCH).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    frame = pd.DataFrame(
        {"value": value, "referred": named, "month": months, "group": group}, index=record.customers
    )
    return frame[chosen], left_out


@dataclass(frozen=True)
class Gap:
    """A standardised difference.

    Attributes:
        frame: Customers compared.
        mean: Mean of the referred.
        other: Mean of the others, weighted to the months of the referred.
        moved: By how much each customer moves the difference, shape (n,).
        moved_log: By how much each customer moves the logarithm of the ratio, shape (n,); NaN where a
            mean is not positive.
        alone: Referred customers left out, since too few others came in their month.
    """

    frame: pd.DataFrame
    mean: float
    other: float
    moved: Array
    moved_log: Array
    alone: int


def standardised_gap(frame: pd.DataFrame) -> Gap:
    """Compare referred customers with others weighted to the same months.

    A month counts when at least one referred customer and two others came in it.

    Args:
        frame: ``value``, ``referred``, ``month``, as :func:`gained_in_window` returns.

    Raises:
        DesignError: When fewer than five referred customers or others remain.

    Examples:
        >>> made = pd.DataFrame({"value": [4.0, 6, 8, 8, 8, 1, 3, 2, 2, 7], "referred": [True] * 5 + [False] * 5,
        ...                      "month": [0, 0, 1, 1, 1, 0, 0, 1, 1, 1], "group": range(10)})
        >>> gap = standardised_gap(made)
        >>> round(gap.mean, 3), round(gap.other, 3)
        (6.8, 3.0)
    """
    month = pd.factorize(frame["month"])[0]
    size = int(month.max(initial=-1)) + 1
    yes = frame["referred"].to_numpy()
    mine, theirs = (np.bincount(month[rows], minlength=size) for rows in (yes, ~yes))
    used = (mine > 0) & (theirs > 1)
    kept = used[month] if size else np.zeros(0, dtype=bool)
    alone = int((yes & ~kept).sum())
    frame, month, yes = frame[kept], month[kept], yes[kept]
    if yes.sum() < FEWEST or (~yes).sum() < FEWEST:
        raise DesignError(
            message(
                "fewer than {fewest} referred customers, or others gained in the same months, were followed to the end "
                "of the window",
                fewest=FEWEST,
            )
        )
    value = frame["value"].to_numpy(dtype=float)
    sums = np.bincount(month[~yes], weights=value[~yes], minlength=size)
    means = np.divide(sums, theirs, out=np.zeros(size), where=theirs > 0)
    n = int(yes.sum())
    mean, other = float(value[yes].mean()), float(means[month[yes]].mean())
    # of others: within their month, enlarged for the mean that is taken from the same few
    share = np.divide(mine / n, np.sqrt(theirs * (theirs - 1.0)), out=np.zeros(size), where=used)
    pull = np.where(yes, 0.0, -share[month] * (value - means[month]))
    moved, moved_log = pull.copy(), np.full(len(value), math.nan)
    moved[yes] = (value[yes] - means[month[yes]] - (mean - other)) / n
    if mean > 0 and other > 0:
        moved_log = pull / other
        moved_log[yes] = (value[yes] / mean - means[month[yes]] / other) / n
    return Gap(frame, mean, other, moved, moved_log, alone)


def gap_error(moved: Array, frame: pd.DataFrame) -> tuple[float, float]:
    """Return the standard error of an estimate and its degrees of freedom; referrers are clusters.

    Args:
        moved: By how much each customer moves the estimate, shape (n,).
        frame: ``referred``, ``month``, ``group``.

    References:
        Satterthwaite (1946), Biometrics Bulletin 2, 110-114.
    """
    yes = frame["referred"].to_numpy()
    clusters = np.bincount(pd.factorize(frame["group"].to_numpy()[yes])[0], weights=moved[yes])
    g = clusters.size
    mine = float(clusters @ clusters) * g / max(g - 1, 1)
    theirs = float(moved[~yes] @ moved[~yes])
    rest = int((~yes).sum()) - frame["month"].nunique()
    total = mine + theirs
    if not total > 0:
        return 0.0, math.inf
    freedom = total**2 / (mine**2 / max(g - 1, 1) + theirs**2 / max(rest, 1))
    return math.sqrt(total), freedom


def gap_estimate(gap: Gap, *, level: float, currency: str | None) -> Estimate:
    """Return the standardised difference with its limits."""
    error, freedom = gap_error(gap.moved, gap.frame)
    return plain_limits(
        gap.mean - gap.other,
        error,
        level=level,
        n=len(gap.frame),
        unit=currency,
        freedom=freedom,
        method=_METHOD,
    )


def _assemble(
    frame: pd.DataFrame,
    left_out: dict[str, int],
    record: PurchaseDays,
    window: int,
    *,
    currency: str | None,
    level: float,
    dated: bool,
) -> ReferredValue:
    gap = standardised_gap(frame)
    n = len(gap.frame)
    ratio = unknown(level, n=n)
    if gap.mean > 0 and gap.other > 0:
        error, freedom = gap_error(gap.moved_log, gap.frame)
        ratio = log_limits(
            gap.mean / gap.other, error, level=level, n=n, freedom=freedom, method=f"log {_METHOD}"
        )
    yes = frame["referred"].to_numpy()
    return ReferredValue(
        gap_estimate(gap, level=level, currency=currency),
        ratio=ratio,
        unadjusted=_plain(frame["value"].to_numpy(dtype=float), yes, level=level, currency=currency),
        referred_mean=gap.mean,
        others_mean=gap.other,
        referred=int(gap.frame["referred"].sum()),
        others=int((~gap.frame["referred"]).sum()),
        window=window,
        checks=_checks(gap, left_out, record, dated=dated),
    )


def _plain(value: Array, yes: NDArray[np.bool_], *, level: float, currency: str | None) -> Estimate:
    """Welch's difference of the plain means."""
    parts = [(v.mean(), v.var(ddof=1) / v.size, v.size) for v in (value[yes], value[~yes])]
    variance = float(sum(v for _, v, _ in parts))
    below = sum(v**2 / (size - 1) for _, v, size in parts)
    freedom = float(variance**2 / below) if below > 0 else math.inf
    gap = float(parts[0][0] - parts[1][0])
    error = math.sqrt(variance)
    return plain_limits(gap, error, level=level, n=value.size, unit=currency, freedom=freedom, method="welch")


def _checks(gap: Gap, left_out: dict[str, int], record: PurchaseDays, *, dated: bool) -> tuple[Check, ...]:
    chosen = Check(
        message("Who is referred"),
        "not measurable",
        message(
            "Referred customers select themselves, and those who know them select them: a difference may have been there "
            "before the referral. Months of the first purchase are alike; the channel cannot be, since a referral "
            "is one."
        ),
    )
    share = gap.alone / (gap.alone + int(gap.frame["referred"].sum()))
    found = [chosen]
    said = message(
        "Referred customers left out because fewer than two others came in their month: {count}.",
        count=few(gap.alone),
    )
    found.append(Check(message("Others in the same months"), "warning" if share > 0.1 else "passed", said))
    if left_out["bought before"]:
        said = message(
            "Customers who had bought before they were referred count on neither side: {count}.",
            count=few(left_out["bought before"]),
        )
        found.append(Check(message("Customers already"), "warning", said))
    name = message("First purchases")
    if dated:
        said = message(
            "Customers acquired before the record begins ({date}) count on neither side: {count}.",
            date=date_of(record.begin).isoformat(),
            count=few(left_out["acquired before the record"]),
        )
        found.append(Check(name, "passed", said))
    else:
        said = message(
            "A customer's first purchase is the first one in the record, which begins on {date}: whoever was a customer "
            "before then counts as new among the others.",
            date=date_of(record.begin).isoformat(),
        )
        found.append(Check(name, "not measurable", said))
    groups = gap.frame.loc[gap.frame["referred"], "group"].nunique()
    found.append(
        Check(
            message("Referrers"),
            "warning" if groups < 30 else "passed",
            message(
                "The referred were brought by {groups} customers; limits from fewer than {least} are rough.",
                groups=few(groups),
                least=number(30, digits=0),
            ),
        )
    )
    return tuple(found)
