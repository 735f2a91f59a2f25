"""How many customers bring others, how many of those come, and what that adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.programme._contact_rows import clustered_proportion
from loyalty_research.programme._linearised import FEWEST, few, mean_count, unknown
from loyalty_research.programme._referral_rows import read_referrals
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.stats.proportions import proportion
from loyalty_research.summaries._frames import (
    as_lazy,
    as_ordinal,
    collect,
    date_column,
    day_number,
    need,
    positive_days,
)
from loyalty_research.summaries._units import spells_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate

    Bools = NDArray[np.bool_]

__all__ = ["ReferralRate", "customers_at", "referral_rate"]


@dataclass(frozen=True, repr=False, eq=False)
class ReferralRate(Result):
    """Who referred others in a window, and what came of it.

    Attributes:
        rate: Share of the customers at risk who referred at least once.
        per_customer: Referrals per customer at risk.
        conversion: Share of these referrals that brought a new customer; None where fewer than five did.
        k_factor: New customers per customer at risk: ``per_customer`` x ``conversion``; None likewise.
        at_risk: Customers at risk: those there on the first day of the window.
        referrers: Of them, those who referred.
        referrals: Their referrals.
        start: First day of the window.
        end: Last day of the window.
        conversion_window: Days within which the first purchase had to fall; None where a referral counts as
            converted once the customer who came is named.
    """

    title: ClassVar[str] = "Referrals"

    rate: Estimate
    per_customer: Estimate
    conversion: Estimate | None
    k_factor: Estimate | None
    at_risk: int
    referrers: int
    referrals: int
    start: dt.date
    end: dt.date
    conversion_window: int | None

    def _rows(self) -> Iterable[Row]:
        within = f"{self.start} to {self.end}"
        yield Row(message("customers who referred"), self.rate, estimand=within)
        yield Row(message("referrals per customer"), self.per_customer, estimand=within)
        nothing = unknown(self.rate.level)
        came = (
            "the customer who came is named"
            if self.conversion_window is None
            else f"first purchase within {self.conversion_window} days"
        )
        yield Row(message("referrals that brought a customer"), self.conversion or nothing, estimand=came)
        yield Row(
            message("new customers per customer (k-factor)"),
            self.k_factor or nothing,
            estimand="referrals per customer x conversion",
        )

    def _verdict(self) -> str:
        said = message(
            "Of {n} customers there at the start of the {days} days up to {date}, {share} referred somebody ({interval}).",
            n=f"{self.at_risk:,}",
            days=f"{(self.end - self.start).days + 1:,}",
            date=self.end.isoformat(),
            share=self.rate.format(),
            interval=self.rate.interval(),
        )
        if self.k_factor is None or self.conversion is None:
            return said
        return message(
            "{said} {conversion} of these referrals brought a new customer: {k} for each 100 customers ({low} to {high}).",
            said=said,
            conversion=self.conversion.format(),
            k=self.k_factor.format(100 * self.k_factor.value),
            low=self.k_factor.format(100 * self.k_factor.low),
            high=self.k_factor.format(100 * self.k_factor.high),
        )


def referral_rate(
    referrals: Any,
    at_risk: Any,
    *,
    as_of: dt.date | str,
    window: int = 365,
    transactions: Any = None,
    conversion_window: int | None = None,
    level: float = 0.95,
) -> ReferralRate:
    """Return the share of customers who referred others in a window, and what became of the referrals.

    At risk are those who were customers, or members, on the first day of the window: somebody who came
    later had less time to refer, and would lower the rate the faster a business grows. A referral
    counts as converted when the customer who came is named; with ``conversion_window``, when that customer's
    first purchase falls within so many days of it, and the window of referrals then ends that much
    earlier, so that each could be followed to the end. Somebody who had bought before was no new
    customer.

    Args:
        referrals: ``referrer_id``, ``referred_date`` or ``referred_at`` and, where known, ``referral_id`` and
            ``referred_id``; anything that narwhals reads.
        at_risk: Memberships (``customer_id``, ``valid_from``, ``valid_to``), customers (``customer_id``,
            ``acquired_date`` or ``acquired_at``), or any table with ``customer_id`` of those at risk.
        as_of: Last day observed, that day included.
        window: Days in which referrals are counted.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``; needed with
            ``conversion_window``.
        conversion_window: Days after the referral, its own day included, for the first purchase.
        level: Confidence level.

    Returns:
        The rate (Wilson), referrals per customer and k-factor (on the log scale, linearised by customer, so
        that one who refers often counts as one), and conversion (Wilson with referrers as clusters).

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing, or a referral is incomplete, of oneself, entered twice or part
            of a circle.
        DesignError: When fewer than five customers are at risk, one to four of them referred, or the
            transactions begin after the window.

    Examples:
        >>> people = pd.DataFrame({"customer_id": [f"c{i}" for i in range(40)],
        ...                        "acquired_at": pd.Timestamp("2023-01-01")})
        >>> made = pd.DataFrame({"referrer_id": [f"c{i}" for i in range(10)], "referred_id": None,
        ...                      "referred_at": pd.Timestamp("2024-03-01")})
        >>> referral_rate(made, people, as_of="2024-12-31", window=366).rate
        25.0% (95% interval 14.2% to 40.2%; wilson; n = 40)

    References:
        Wilson (1927), JASA 22, 209-212; Korn and Graubard (1998), Survey Methodology 24, 193-201.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    last = as_ordinal(as_of, "as_of")
    follow = 0 if conversion_window is None else positive_days(conversion_window, "conversion_window")
    if follow and transactions is None:
        raise ArgumentError("conversion_window needs transactions, in which first purchases are looked up")
    end = last - follow
    start = end - window + 1
    rows = read_referrals(referrals)
    who, checks = customers_at(at_risk, start)
    if len(who) < FEWEST:
        raise DesignError(
            f"fewer than {FEWEST} customers were there on {date_of(start)}, the first day of the window; take a "
            "shorter window"
        )
    inside = rows[(rows["day"] >= start) & (rows["day"] <= end)]
    own = inside[inside["referrer_id"].isin(who)].reset_index(drop=True)
    counts = own["referrer_id"].value_counts().reindex(who, fill_value=0).to_numpy()
    referrers = int((counts > 0).sum())
    if 0 < referrers < FEWEST:
        raise DesignError(
            f"fewer than {FEWEST} of the customers at risk referred between {date_of(start)} and {date_of(end)}, too "
            "few to be shown; take a longer window"
        )
    came, existing = _converted(own, transactions, follow, start, last)
    checks += _checks(len(inside) - len(own), existing, checked=bool(follow))
    conversion = k_factor = None
    if len(own) and not 0 < came.sum() < FEWEST:
        conversion = clustered_proportion(came, own["referrer_id"].to_numpy(), level=level)
        brought = own.loc[came, "referrer_id"].value_counts().reindex(who, fill_value=0).to_numpy()
        k_factor = mean_count(brought, level=level)
    return ReferralRate(
        proportion(referrers, len(who), level=level),
        per_customer=mean_count(counts, level=level),
        conversion=conversion,
        k_factor=k_factor,
        at_risk=len(who),
        referrers=referrers,
        referrals=len(own),
        start=date_of(start),
        end=date_of(end),
        conversion_window=conversion_window,
        checks=tuple(checks),
    )


def customers_at(table: Any, day: int) -> tuple[pd.Index[Any], list[Check]]:
    """Return who was a member or customer on a day, each once, and what is to be said of it.

    Args:
        table: Memberships, customers, or any table with ``customer_id``.
        day: Day number.

    Raises:
        ContractError: When a column is missing or a row lacks its customer or first day.
    """
    lazy = as_lazy(table, "at_risk")
    columns = list(lazy.collect_schema())
    need(columns, ["customer_id"], "at_risk")
    name = message("Customers at risk")
    if "valid_from" in columns or "valid_from_date" in columns:
        spells = spells_of(table)
        _filled(spells["customer_id"].isna() | (spells["since"] < 1), "memberships", "valid_from")
        open_, until = spells["until"] < 1, spells["until"]
        held = spells[(spells["since"] <= day) & (open_ | (until > day))]
        said = message("Members held on {date}; those who left later stay in.", date=date_of(day).isoformat())
        return pd.Index(held["customer_id"].unique()), [Check(name, "passed", said)]
    if "acquired_at" in columns or "acquired_date" in columns:
        when = date_column(lazy, "customers", "acquired_date", "acquired_at")
        frame = collect(lazy.select("customer_id", day=day_number(nw.col(when))))
        _filled(frame["customer_id"].isna(), "customers", "customer_id")
        undated = int((frame["day"] < 1).sum())
        there = frame[(frame["day"] <= day) & (frame["day"] >= 1)]
        said = message(
            "Customers acquired by {date}; {undated} without a date of acquisition are left out.",
            date=date_of(day).isoformat(),
            undated=few(undated),
        )
        check = Check(name, "warning" if undated else "passed", said)
        return pd.Index(there["customer_id"].unique()), [check]
    frame = collect(lazy.select("customer_id"))
    _filled(frame["customer_id"].isna(), "at_risk", "customer_id")
    said = message(
        "Taken as given: the table does not say since when they are customers, so those who came within the window "
        "count like the others."
    )
    return pd.Index(frame["customer_id"].unique()), [Check(name, "not measurable", said)]


def _filled(missing: Any, table: str, column: str) -> None:
    bad = np.flatnonzero(missing.to_numpy(dtype=bool))
    if bad.size:
        raise ContractError(
            f"{table} lacks customer_id or {column} at {at_rows(bad.tolist())}; give each row its value or leave it out"
        )


def _converted(own: pd.DataFrame, transactions: Any, follow: int, start: int, last: int) -> tuple[Bools, int]:
    """Return which referrals brought a new customer, and how many named somebody who had bought before."""
    named = own["referred_id"].notna().to_numpy(dtype=bool)
    if not follow:
        return named, 0
    record = purchase_days(transactions, date_of(last))
    if record.begin > start:
        raise DesignError(
            f"transactions begin on {date_of(record.begin)}, within the window of referrals from {date_of(start)}: who "
            "had bought before cannot be told; take a shorter window, or load the earlier transactions"
        )
    first = pd.Series(record.first, index=record.customers)
    bought = own["referred_id"].map(first).to_numpy(dtype=float)
    waited = bought - own["day"].to_numpy(dtype=float)
    # nobody bought: waited is NaN, and no comparison with it holds
    return named & (waited >= 0) & (waited <= follow), int((waited < 0).sum())


def _checks(others: int, existing: int, *, checked: bool) -> list[Check]:
    found = []
    if others:
        said = message(
            "Referrals of the window that came from customers who were not there on its first day are not counted: "
            "{count}.",
            count=few(others),
        )
        found.append(Check(message("Referrals by others"), "warning", said))
    name = message("The customers who came are new")
    if not checked:
        said = message("Without transactions it is not known whether those referred had bought before.")
        found.append(Check(name, "not measurable", said))
    elif existing:
        said = message(
            "Referrals that named somebody who had bought before brought no new customer: {count}.",
            count=few(existing),
        )
        found.append(Check(name, "warning", said))
    else:
        said = message("Nobody who was referred had bought before, as far as is seen.")
        found.append(Check(name, "passed", said))
    return found
