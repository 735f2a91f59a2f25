"""Segments by declared rules: every edge is stated, and a value on an edge belongs above it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme._contact_rows import as_moment, refuse
from loyalty_research.summaries import daily
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

__all__ = [
    "UNKNOWN",
    "age_bands",
    "banded",
    "loyalty_segments",
    "persons_and_organisations",
    "promoter_groups",
    "purchase_cycles",
    "rfm_segments",
]

UNKNOWN = "not known"
AGES = (0, 15, 22, 50)


def banded(values: pd.Series[Any], edges: Sequence[float], *, name: str = "values") -> pd.Series[Any]:
    """Return the band ``[a, b)`` of each value; the last band is open above.

    Args:
        values: Numbers; NaN becomes ``"not known"``.
        edges: Lower edges in ascending order.
        name: What the values are, for messages.

    Returns:
        Ordered categorical on the index of ``values``.

    Raises:
        ArgumentError: When edges do not ascend or are not finite.
        ContractError: When a value lies below the first edge.

    Examples:
        >>> banded(pd.Series([15, 21.9, 22, None]), [15, 22]).tolist()
        ['[15, 22)', '[15, 22)', '[22, ∞)', 'not known']
    """
    cuts = [float(e) for e in edges]
    if not cuts or not all(math.isfinite(e) for e in cuts) or any(a >= b for a, b in pairwise(cuts)):
        raise ArgumentError(
            f"edges of {name} must be finite and ascend, such as (0, 30, 90); got {list(edges)}"
        )
    found = values.astype(float).to_numpy()
    refuse(
        found < cuts[0], f"{name} lies below the first edge {cuts[0]:g}", "lower the edge or mend the rows"
    )
    above = [f"{e:g}" for e in cuts[1:]] + ["∞"]
    labels = [f"[{a:g}, {b})" for a, b in zip(cuts, above, strict=True)]
    known = np.isfinite(found)
    if np.isinf(found).any():
        raise ContractError(f"{name} holds infinite values")
    codes = np.where(
        known, np.searchsorted(cuts, np.where(known, found, cuts[0]), side="right") - 1, len(labels)
    )
    kind = pd.CategoricalDtype([*labels, UNKNOWN], ordered=True)
    return pd.Series(pd.Categorical.from_codes(codes.tolist(), dtype=kind), index=values.index, name=name)


def days_until(transactions: Any, as_of: dt.date | str) -> tuple[pd.DataFrame, pd.Timestamp]:
    """Return purchase days up to and including ``as_of``."""
    end = as_moment(as_of, "as_of").normalize()
    days = daily(transactions)
    days = days[days["transacted_date"] <= end]
    if days.empty:
        raise ContractError(f"transactions has no purchase up to {end.date()}")
    return days, end


def rfm_segments(
    transactions: Any,
    *,
    as_of: dt.date | str,
    recency_edges: Sequence[float],
    frequency_edges: Sequence[float],
    monetary_edges: Sequence[float],
    window_days: int | None = None,
) -> pd.DataFrame:
    """Return recency, frequency and spend per customer, each in its declared band.

    Edges are declared, not quantiles of the data: the same customer then has the same band next
    quarter, and a shift of the whole base is seen instead of hidden.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``; refunds
            are left out. Anything narwhals reads.
        as_of: Last day that counts.
        recency_edges: Lower edges in days since the last purchase.
        frequency_edges: Lower edges in days with a purchase.
        monetary_edges: Lower edges of mean spend per day with a purchase.
        window_days: Only purchases of so many days up to ``as_of``.

    Returns:
        Index ``customer_id``; columns ``recency, frequency, monetary_value, recency_band,
        frequency_band, monetary_band``.

    Raises:
        ArgumentError: When edges or the window are not valid.
        ContractError: When no purchase remains, or a value lies below the first edge.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": ["a", "a", "b"], "amount": [10.0, 30, 5],
        ...     "transacted_at": pd.to_datetime(["2024-01-01", "2024-03-01", "2024-01-10"])})
        >>> rfm_segments(orders, as_of="2024-03-31", recency_edges=[0, 30, 60],
        ...     frequency_edges=[1, 2], monetary_edges=[0, 10])["recency_band"].tolist()
        ['[30, 60)', '[60, ∞)']

    References:
        Hughes (1994), Strategic Database Marketing; Fader, Hardie and Lee (2005), RFM and CLV.
    """
    days, end = days_until(transactions, as_of)
    if window_days is not None:
        since = end - pd.Timedelta(days=positive_days(window_days, "window_days"))
        days = days[days["transacted_date"] > since]
        if days.empty:
            raise ContractError(f"transactions has no purchase in the {window_days} days up to {end.date()}")
    per = days.groupby("customer_id").agg(
        last=("transacted_date", "max"),
        frequency=("transacted_date", "size"),
        monetary_value=("amount", "mean"),
    )
    made = pd.DataFrame(
        {
            "recency": (end - per["last"]).dt.days,
            "frequency": per["frequency"],
            "monetary_value": per["monetary_value"],
        }
    )
    for column, edges in (
        ("recency", recency_edges),
        ("frequency", frequency_edges),
        ("monetary_value", monetary_edges),
    ):
        made[f"{column.removesuffix('_value')}_band"] = banded(made[column], edges, name=column)
    return made


def loyalty_segments(
    transactions: Any,
    customers: pd.DataFrame,
    *,
    as_of: dt.date | str,
    loyal_purchases: int,
    active_days: int,
    negative: Iterable[Any] | None = None,
) -> pd.DataFrame:
    """Return for every customer which declared rules hold, and the one segment they count in.

    potential: no purchase yet; one-time: one day with a purchase; loyal: at least
    ``loyal_purchases`` of them, the last within ``active_days``; lapsed: more than one, but none
    within ``active_days``; occasional: the rest; negative: whoever is named so, which comes before
    the others. Buying rules exclude one another, so only negative can overlap.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        customers: ``customer_id``, one row each; those without a purchase are potential.
        as_of: Last day that counts.
        loyal_purchases: Days with a purchase that make a customer loyal, at least 2.
        active_days: A last purchase in ``[0, active_days)`` days before ``as_of`` is recent.
        negative: Customers declared negative, such as detractors or those who opted out.

    Returns:
        Index ``customer_id``; boolean ``potential, one-time, loyal, negative`` (each rule by
        itself, for the overlap report) and ``segment``.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a customer repeats, or an order belongs to nobody in ``customers``.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": ["a", "a", "b"], "amount": 10.0,
        ...     "transacted_at": pd.to_datetime(["2024-03-01", "2024-03-20", "2024-03-10"])})
        >>> people = pd.DataFrame({"customer_id": list("abc")})
        >>> found = loyalty_segments(orders, people, as_of="2024-03-31", loyal_purchases=2, active_days=90)
        >>> found["segment"].tolist()
        ['loyal', 'one-time', 'potential']
    """
    positive_days(loyal_purchases, "loyal_purchases", least=2)
    positive_days(active_days, "active_days")
    people = check_customers(customers)
    days, end = days_until(transactions, as_of)
    strangers = ~days["customer_id"].isin(people).to_numpy()
    refuse(strangers, "purchase days belong to no row of customers", "add them to customers")
    per = days.groupby("customer_id")["transacted_date"].agg(["size", "max"]).reindex(people)
    count = per["size"].fillna(0).to_numpy(dtype=float)
    recent = (end - per["max"]).dt.days.to_numpy() < active_days
    declared = people.isin(list(negative)) if negative is not None else np.zeros(len(people), dtype=bool)
    rules = pd.DataFrame(
        {
            "potential": count == 0,
            "one-time": count == 1,
            "loyal": (count >= loyal_purchases) & recent,
            "negative": declared,
        },
        index=people,
    )
    names = ["negative", "potential", "one-time", "loyal", "lapsed", "occasional"]
    tests = [rules["negative"], rules["potential"], rules["one-time"], rules["loyal"], (count > 1) & ~recent]
    codes = np.select([np.asarray(t) for t in tests], list(range(5)), default=5)
    rules["segment"] = pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(names))
    return rules


def check_customers(customers: pd.DataFrame, *columns: str) -> pd.Index:
    """Return the customers of a table with one row each.

    Raises:
        ContractError: When a column is missing, or a customer is null or repeats.
    """
    missing = [c for c in ("customer_id", *columns) if c not in customers.columns]
    if missing:
        raise ContractError(f"customers lacks the column {', '.join(missing)}")
    keys = customers["customer_id"]
    refuse(keys.isna().to_numpy(), "customers.customer_id is null", "give each row its customer")
    refuse(keys.duplicated().to_numpy(), "customers.customer_id repeats", "keep one row each")
    people: pd.Index = pd.Index(keys, name="customer_id")
    return people


def age_bands(
    customers: pd.DataFrame, *, as_of: dt.date | str, edges: Sequence[float] = AGES
) -> pd.Series[Any]:
    """Return the age band of each customer on a day.

    Completed years from ``birth_date`` where it is there, otherwise ``age`` as recorded. A birthday
    on 29 February is kept on 1 March in other years.

    Args:
        customers: ``customer_id`` and ``birth_date`` or ``age``.
        as_of: Day on which ages count.
        edges: Lower edges in years; by default under 15, [15, 22), [22, 50), 50 and over.

    Raises:
        ArgumentError: When edges do not ascend.
        ContractError: When neither column is there, or somebody is born after ``as_of``.

    Examples:
        >>> people = pd.DataFrame({"customer_id": list("ab"),
        ...     "birth_date": pd.to_datetime(["2002-03-31", "2002-04-01"])})
        >>> age_bands(people, as_of="2024-03-31").tolist()
        ['[22, 50)', '[15, 22)']
    """
    people = check_customers(customers)
    if "birth_date" in customers.columns:
        born = pd.to_datetime(customers["birth_date"])
        day = as_moment(as_of, "as_of")
        refuse((born > day).to_numpy(), "customers.birth_date lies after as_of", "mend the dates")
        before = (born.dt.month > day.month) | ((born.dt.month == day.month) & (born.dt.day > day.day))
        years = day.year - born.dt.year - before.astype(float)
    elif "age" in customers.columns:
        years = customers["age"].astype(float)
    else:
        raise ContractError("customers has neither birth_date nor age, so age bands cannot be made")
    years = pd.Series(years.to_numpy(), index=people)
    return banded(years, edges, name="age")


def persons_and_organisations(customers: pd.DataFrame) -> pd.Series[Any]:
    """Return ``"person"``, ``"organisation"`` or ``"not known"`` per customer.

    Raises:
        ContractError: When ``is_organisation`` is missing or a customer repeats.

    Examples:
        >>> people = pd.DataFrame({"customer_id": list("abc"), "is_organisation": [True, False, None]})
        >>> persons_and_organisations(people).tolist()
        ['organisation', 'person', 'not known']
    """
    people = check_customers(customers, "is_organisation")
    firm = customers["is_organisation"].astype("boolean")
    labels = np.where(firm.isna(), UNKNOWN, np.where(firm.fillna(value=False), "organisation", "person"))
    return pd.Series(labels, index=people, name="legal form")


def purchase_cycles(transactions: Any, *, as_of: dt.date | str, edge_days: float) -> pd.Series[Any]:
    """Return whether a customer buys in a short or a long cycle, by the median gap in days.

    A short cycle has a median gap in ``[0, edge_days)``. Who has bought on one day only has no gap,
    so the cycle is not known; the gap that is still running is not counted, so cycles of those who
    slow down look shorter than they are.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        as_of: Last day that counts.
        edge_days: Median gap from which a cycle is long.

    Raises:
        ArgumentError: When ``edge_days`` is not positive.
        ContractError: When no purchase remains.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": list("aabbc"), "amount": 1.0, "transacted_at":
        ...     pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-01", "2024-03-01", "2024-01-01"])})
        >>> purchase_cycles(orders, as_of="2024-03-31", edge_days=30).tolist()
        ['short', 'long', 'not known']
    """
    if not (math.isfinite(edge_days) and edge_days > 0):
        raise ArgumentError(f"edge_days must be positive; got {edge_days!r}")
    days, _ = days_until(transactions, as_of)
    days = days.sort_values(["customer_id", "transacted_date"])
    gaps = days.groupby("customer_id")["transacted_date"].diff().dt.days
    middle = gaps.groupby(days["customer_id"]).median()
    labels = np.where(middle.isna(), UNKNOWN, np.where(middle < edge_days, "short", "long"))
    return pd.Series(labels, index=middle.index, name="purchase cycle")


def promoter_groups(surveys: pd.DataFrame, *, as_of: dt.date | str) -> pd.Series[Any]:
    """Return promoter [9, 10], passive [7, 9) or detractor [0, 7) by the latest answer up to a day.

    Args:
        surveys: ``customer_id, answered_at, value`` on a scale from 0 to 10, and ``scale_min``,
            ``scale_max`` where recorded.
        as_of: Last day whose answers count.

    Raises:
        ContractError: When a column is missing, a score is no whole number from 0 to 10, another
            scale is declared, or no answer remains.

    Examples:
        >>> answers = pd.DataFrame({"customer_id": list("aab"), "value": [10, 6, 9],
        ...     "answered_at": pd.to_datetime(["2024-01-01", "2024-02-01", "2024-02-01"])})
        >>> promoter_groups(answers, as_of="2024-12-31").tolist()
        ['detractor', 'promoter']

    References:
        Reichheld (2003), Harvard Business Review 81(12).
    """
    missing = [c for c in ("customer_id", "answered_at", "value") if c not in surveys.columns]
    if missing:
        raise ContractError(f"surveys lacks the column {', '.join(missing)}")
    for column, end in (("scale_min", 0), ("scale_max", 10)):
        if column in surveys.columns:
            other = (surveys[column].astype(float) != end) & surveys[column].notna()
            refuse(
                other.to_numpy(),
                f"surveys.{column} is not {end}",
                "choose the answers of one scale from 0 to 10",
            )
    value = surveys["value"].astype(float).to_numpy()
    bad = ~((value >= 0) & (value <= 10) & (value == np.floor(value)))
    refuse(bad, "surveys.value is no whole number from 0 to 10", "leave other items and empty answers out")
    seen = surveys[surveys["answered_at"] < as_moment(as_of, "as_of") + pd.Timedelta(days=1)]
    if seen.empty:
        raise ContractError(f"surveys has no answer up to {as_of}")
    latest = (
        seen.sort_values("answered_at", kind="stable").groupby("customer_id")["value"].last().astype(float)
    )
    labels = np.select([latest >= 9, latest >= 7], ["promoter", "passive"], default="detractor")
    return pd.Series(labels, index=latest.index, name="promoter group")
