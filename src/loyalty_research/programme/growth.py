"""Growth that comes from customers who were not paid for, beside growth from those who were."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from loyalty_research.errors import ArgumentError, DesignError, listed
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, percent
from loyalty_research.programme._customer_rows import acquired_days, customer_channels, has_acquired
from loyalty_research.programme._linearised import FEWEST, log_limits, plain_limits
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._windows import PurchaseDays

    Array = NDArray[np.float64]
    Bools = NDArray[np.bool_]

__all__ = [
    "OrganicGrowth",
    "check_channels",
    "customer_channels",
    "organic_growth",
    "revenue_growth",
    "source_of",
]

ORGANIC, PAID, UNKNOWN = "organic", "paid", "unknown"


@dataclass(frozen=True, repr=False, eq=False)
class OrganicGrowth(Result):
    """Growth between two windows by how customers were gained.

    Attributes:
        revenue: Growth of revenue by source: ``"organic"``, ``"paid"``, ``"unknown"`` where fewer than all
            channels are known, and ``"all"``.
        contribution: Of the growth of all revenue, what each source adds; the parts add up to it. Empty where a
            source rests on fewer than five customers, whose part would be what is left.
        new_customers: Growth of the number of new customers by source; None where the record is too short to tell
            new customers from old.
        customers: Customers with revenue in either window, by source.
        window: Days of a window.
        as_of: Last day observed.
    """

    title: ClassVar[str] = "Organic growth"

    revenue: dict[str, Estimate]
    contribution: dict[str, Estimate]
    new_customers: dict[str, Estimate] | None
    customers: dict[str, int]
    window: int
    as_of: dt.date

    def _rows(self) -> Iterable[Row]:
        windows = f"{self.window} days on {self.window}"
        for source, growth in self.revenue.items():
            yield Row(message("growth of revenue"), growth, group=source, estimand=windows)
        for source, part in self.contribution.items():
            yield Row(message("part of the growth of all revenue"), part, group=source, estimand=windows)
        for source, growth in (self.new_customers or {}).items():
            yield Row(message("growth of new customers"), growth, group=source, estimand=windows)

    def _verdict(self) -> str:
        own, whole = self.revenue[ORGANIC], self.revenue["all"]
        said = message(
            "In the {days} days up to {date} revenue from customers gained without payment changed by {own} ({interval}) "
            "against the {days} days before; revenue of all changed by {whole}.",
            days=f"{self.window:,}",
            date=self.as_of.isoformat(),
            own=own.format(signed=True),
            interval=own.interval(signed=True),
            whole=whole.format(signed=True),
        )
        if self.contribution:
            said = message(
                "{said} Of that they add {part} ({limits}).",
                said=said,
                part=self.contribution[ORGANIC].format(signed=True),
                limits=self.contribution[ORGANIC].interval(signed=True),
            )
        if self.new_customers is None:
            return said
        new = self.new_customers[ORGANIC]
        return message(
            "{said} The number of new ones among them changed by {new} ({interval}).",
            said=said,
            new=new.format(signed=True),
            interval=new.interval(signed=True),
        )


def organic_growth(
    transactions: Any,
    customers: Any,
    *,
    organic_channels: Sequence[str],
    paid_channels: Sequence[str] | None = None,
    window: int = 365,
    as_of: dt.date | str | None = None,
    level: float = 0.95,
) -> OrganicGrowth:
    """Return growth between two equal windows from customers gained through organic and through paid channels.

    Which channels are organic is declared: the data do not know what was paid for. The channel recorded for a customer
    is where they were counted, and does not prove that no advertisement had reached them before.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount`` in one currency;
            anything that narwhals reads. Refunds are left out.
        customers: ``customer_id``, ``acquisition_channel`` (null = not known) and, where known, ``acquired_date`` or
            ``acquired_at``, one row a customer; anything that narwhals reads.
        organic_channels: Channels that cost nothing per customer, such as recommendation.
        paid_channels: All other channels; by default every channel that is not organic.
        window: Days of a window.
        as_of: Last day observed, that day included; by default the last day of transactions.
        level: Confidence level.

    Returns:
        Growth as a fraction, with limits on the log scale, and its parts with normal limits; all
        linearised by customer, which is what resampling customers comes to.

    Raises:
        ArgumentError: On a wrong option, such as a channel that no customer has or that is not declared.
        ContractError: When a column is missing, or a row or a customer is wrong.
        DesignError: When the record is shorter than two windows, or fewer than five organic customers bought in
            either of them.

    Examples:
        >>> import pandas as pd
        >>> people = pd.DataFrame({"customer_id": [f"c{i}" for i in range(20)],
        ...                        "acquisition_channel": ["friend"] * 10 + ["advert"] * 10})
        >>> days = pd.to_datetime(["2024-01-01"] * 20 + ["2024-02-10"] * 20)
        >>> lines = pd.DataFrame({"customer_id": [*people["customer_id"]] * 2, "transacted_date": days,
        ...                       "amount": [10.0] * 20 + [12.0] * 10 + [9.0] * 10})
        >>> found = organic_growth(lines, people, organic_channels=["friend"], window=30, as_of="2024-02-29")
        >>> round(found.revenue["organic"].value, 3), round(found.contribution["organic"].value, 3)
        (0.2, 0.1)

    References:
        Davison and Hinkley (1997), Bootstrap Methods and their Application, section 2.7, for linearised ratios.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    record = purchase_days(transactions, as_of)
    channel = customer_channels(customers)
    check_channels(channel, organic_channels, paid_channels)
    source = source_of(channel, organic_channels, record.customers)
    acquired = acquired_days(customers) if has_acquired(customers) else None
    if acquired is not None and acquired.isna().any():  # who has no date could be new or old
        acquired = None
    before, after = _windows(record, window)
    had = (before > 0) | (after > 0)
    sources = [ORGANIC, PAID, *([UNKNOWN] if (had & (source == UNKNOWN)).any() else [])]
    revenue, contribution = {}, {}
    for name in [*sources, "all"]:
        own = had if name == "all" else had & (source == name)
        if name in {ORGANIC, "all"} or (_enough(before[own]) and _enough(after[own])):
            revenue[name] = revenue_growth(before[own], after[own], level=level)[0]
    whole = before[had].sum()
    # of a source that is not shown, the other parts would tell its own
    hidden = [name for name in sources if name not in revenue and (had & (source == name)).any()]
    for name in () if hidden else revenue:
        own = had if name == "all" else had & (source == name)
        contribution[name] = _contribution(
            np.where(own, after - before, 0.0)[had], before[had], whole, level=level
        )
    new = _new_customers(record, window, source, [*sources, "all"], acquired, level=level)
    return OrganicGrowth(
        revenue,
        contribution=contribution,
        new_customers=new,
        customers={name: int((had & (source == name)).sum()) for name in sources},
        window=window,
        as_of=date_of(record.end),
        checks=_checks(source[had], record, window, new, hidden),
    )


def check_channels(channel: pd.Series[Any], organic: Sequence[str], paid: Sequence[str] | None) -> None:
    """Raise unless channels are declared as lists that fit the channels of customers.

    Args:
        channel: Channel of each customer.
        organic: Channels declared organic.
        paid: Channels declared paid; None for all others.

    Raises:
        ArgumentError: When a channel is unknown, declared twice or not at all.
    """
    if isinstance(organic, str) or isinstance(paid, str):
        raise ArgumentError("organic_channels and paid_channels are lists of channels, such as ['friend']")
    known = sorted(channel.dropna().astype(str).unique())
    missing = [c for c in [*organic, *(paid or [])] if c not in known]
    if missing or not organic:
        what = listed(missing) if missing else "no channel"
        raise ArgumentError(
            f"organic_channels or paid_channels names {what}; the channels of customers are {listed(known)}"
        )
    both = [c for c in organic if c in (paid or [])]
    if both:
        raise ArgumentError(f"a channel is organic or paid; {listed(both)} is declared as both")
    open_ = [] if paid is None else [c for c in known if c not in {*organic, *paid}]
    if open_:
        raise ArgumentError(
            f"it is not declared whether {listed(open_)} is organic or paid; add it to organic_channels or "
            "paid_channels, or leave paid_channels out"
        )


def source_of(channel: pd.Series[Any], organic: Sequence[str], who: pd.Index[Any]) -> NDArray[Any]:
    """Return ``organic``, ``paid`` or ``unknown`` for each of some customers.

    Examples:
        >>> import pandas as pd
        >>> channel = pd.Series(["friend", "advert", None], index=["a", "b", "c"])
        >>> source_of(channel, ["friend"], pd.Index(["c", "b", "a", "z"])).tolist()
        ['unknown', 'paid', 'organic', 'unknown']
    """
    own = channel.reindex(who)
    return np.where(own.isna(), UNKNOWN, np.where(own.isin(list(organic)), ORGANIC, PAID))


def _windows(record: PurchaseDays, window: int) -> tuple[Array, Array]:
    record.need(2 * window, "growth between two windows")
    middle = record.end - window
    return record.revenue(middle - window, middle), record.revenue(middle, record.end)


def _enough(values: Array) -> bool:
    return int((values > 0).sum()) >= FEWEST


def revenue_growth(before: Array, after: Array, *, level: float) -> tuple[Estimate, Array]:
    """Return growth of revenue, and by how much each customer moves it.

    Args:
        before: Revenue of the earlier window by customer, shape (n,).
        after: Revenue of the later one, shape (n,).
        level: Confidence level.

    Raises:
        DesignError: When fewer than five customers bought in either window.

    Examples:
        >>> growth, moved = revenue_growth(np.full(8, 10.0), np.full(8, 11.0) + np.arange(8) / 7, level=0.95)
        >>> round(growth.value, 3), bool(abs(moved.sum()) < 1e-12)
        (0.15, True)
    """
    if not (_enough(before) and _enough(after)):
        raise DesignError(
            message(
                "fewer than {fewest} customers gained through channels declared organic bought in one of the windows",
                fewest=FEWEST,
            )
        )
    ratio = float(after.sum() / before.sum())
    moved = after / after.sum() - before / before.sum()
    n = int(before.size)
    spread = math.sqrt(float(moved @ moved))
    return log_limits(ratio, spread, level=level, n=n, unit="fraction", less=1.0), ratio * moved


def _contribution(gain: Array, before: Array, whole: float, *, level: float) -> Estimate:
    value = float(gain.sum() / whole)
    moved = (gain - value * before) / whole
    return plain_limits(
        value, math.sqrt(float(moved @ moved)), level=level, n=int(gain.size), unit="fraction"
    )


def _new_customers(
    record: PurchaseDays,
    window: int,
    source: NDArray[Any],
    names: list[str],
    acquired: pd.Series[float] | None,
    *,
    level: float,
) -> dict[str, Estimate] | None:
    """Return growth of the number of new customers; a customer is new on the day acquired, or first seen."""
    first = record.first
    if acquired is not None:
        known = acquired.reindex(record.customers)
        first = np.where(known.isna(), first, known)
    elif record.begin > record.end - 5 * window // 2:
        return None
    middle = record.end - window
    earlier, later = (first > middle - window) & (first <= middle), first > middle
    found, hidden = {}, False
    for name in names:
        mine = np.ones(len(source), dtype=bool) if name == "all" else source == name
        counts = int((earlier & mine).sum()), int((later & mine).sum())
        if min(counts) >= FEWEST:
            # different people in each window, so the two numbers vary apart, each like a Poisson count
            spread = math.sqrt(1 / counts[0] + 1 / counts[1])
            found[name] = log_limits(
                counts[1] / counts[0],
                spread,
                level=level,
                n=sum(counts),
                unit="fraction",
                less=1.0,
                method="log, poisson counts",
            )
        hidden |= sum(counts) > 0 and name not in found
    if hidden:  # the number of all would tell that of the source left out
        found.pop("all", None)
    return found if ORGANIC in found else None


def _checks(
    source: NDArray[Any],
    record: PurchaseDays,
    window: int,
    new: dict[str, Estimate] | None,
    hidden: list[str],
) -> tuple[Check, ...]:
    lost = float((source == UNKNOWN).mean())
    found = [
        Check(
            message("Organic is declared"),
            "not measurable",
            message(
                "The channel says where a customer was counted. It does not prove that no advertisement had reached them, "
                "nor that a programme brought them."
            ),
        ),
        Check(
            message("Channel is known"),
            "warning" if lost > 0.05 else "passed",
            message(
                "The channel is not known of {share} of the customers with revenue; they stand apart.",
                share=percent(lost),
            ),
        ),
    ]
    if hidden:
        said = message(
            "Fewer than {fewest} customers of a source bought in one of the windows; it is not shown, nor are the parts of "
            "the growth that would tell it.",
            fewest=FEWEST,
        )
        found.append(Check(message("Every source has enough customers"), "not measurable", said))
    if new is None:
        said = message(
            "New customers are too few in a window, or cannot be told from old ones: without dates of acquisition that takes "
            "{need} days of transactions, and the record has {have}.",
            need=f"{5 * window // 2:,}",
            have=f"{record.end - record.begin + 1:,}",
        )
        found.append(Check(message("New customers"), "not measurable", said))
    return tuple(found)
