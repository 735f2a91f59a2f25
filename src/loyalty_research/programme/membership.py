"""How many members a programme has, and how many of them use it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.stats.proportions import proportion
from loyalty_research.summaries._frames import (
    as_lazy,
    as_ordinal,
    collect,
    date_column,
    day_number,
    flag,
    need,
    positive_days,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loyalty_research.estimates import Estimate

__all__ = ["ActiveMembership", "active_membership_rate"]

USES = ("earn", "redeem")
MOMENTS = ("valid_from", "valid_to", "occurred")


@dataclass(frozen=True, repr=False, eq=False)
class ActiveMembership(Result):
    """Members held, and those of them who earned or burned points lately.

    Attributes:
        rate: Active members as a share of members held.
        held: Members on the last day.
        active: Of them, those with at least one earn or burn in the window.
        window: Length of the window, in days.
        as_of: The last day.
    """

    title: ClassVar[str] = "Active membership"

    rate: Estimate
    held: int
    active: int
    window: int
    as_of: dt.date

    def _rows(self) -> Iterable[Row]:
        yield Row(
            message("active membership"),
            self.rate,
            estimand=f"earned or burned within {self.window} days",
            extra={"held": self.held, "active": self.active},
        )

    def _verdict(self) -> str:
        return message(
            "Of {held} members held on {date}, {active} earned or burned points at least once in the {days} days up to "
            "then: {rate} ({interval}).",
            held=f"{self.held:,}",
            date=self.as_of.isoformat(),
            active=f"{self.active:,}",
            days=f"{self.window:,}",
            rate=self.rate.format(),
            interval=self.rate.interval(),
        )


def active_membership_rate(
    memberships: Any, points_ledger: Any, *, as_of: dt.date | str, window: int = 90, level: float = 0.95
) -> ActiveMembership:
    """Return the share of members held who earned or burned points at least once in a stated window.

    A member is held on a day when one of their memberships has begun and has not ended by then.
    Points that expire or are adjusted are no use of the programme.

    Args:
        memberships: ``customer_id``, ``valid_from`` and ``valid_to`` (null = open), as dates or naive
            timestamps, ``valid_from_date`` and ``valid_to_date`` preferred; anything that narwhals reads.
        points_ledger: ``customer_id``, ``occurred_date`` or ``occurred_at``, ``type``.
        as_of: The last day, that day included.
        window: Days up to the last day.
        level: Confidence level.

    Returns:
        The rate with Wilson's interval, members held and members active.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing, or a date or a type is null.
        DesignError: When no member is held on the day, or the ledger begins within the window.

    Examples:
        >>> members = pd.DataFrame({
        ...     "customer_id": ["a", "b", "c"], "valid_to": pd.to_datetime([None, None, "2024-02-01"]),
        ...     "valid_from": pd.to_datetime(["2024-01-01"] * 3),
        ... })
        >>> ledger = pd.DataFrame({
        ...     "customer_id": ["a", "b", "c"], "type": ["earn", "expire", "earn"],
        ...     "occurred_at": pd.to_datetime(["2024-02-20", "2024-02-20", "2024-01-20"]),
        ... })
        >>> active_membership_rate(members, ledger, as_of="2024-02-29", window=30).rate
        50.0% (95% interval 9.5% to 90.5%; wilson; n = 2)
    """
    level = check_level(level)
    window = positive_days(window, "window")
    day = as_ordinal(as_of, "as_of")
    held, active, young = membership_on(memberships, points_ledger, day, window)
    if not len(held):
        raise DesignError(f"no member is held on {dt.date.fromordinal(day)}: there is nobody to be active")
    return ActiveMembership(
        proportion(int(active.sum()), len(held), level=level),
        held=len(held),
        active=int(active.sum()),
        window=window,
        as_of=dt.date.fromordinal(day),
        checks=(_young_check(young, len(held), window),),
    )


def membership_on(
    memberships: Any, points_ledger: Any, day: int, window: int
) -> tuple[pd.Index[Any], Any, int]:
    """Return members held on a day, who of them was active, and how many joined within the window."""
    spells = _dated(memberships, "memberships", ("valid_from", "valid_to"), ())
    uses = _dated(points_ledger, "points_ledger", ("occurred",), ("type",))
    _refuse_null(spells, "memberships", ("customer_id", "valid_from"))
    _refuse_null(uses, "points_ledger", ("customer_id", "occurred", "type"))
    start = day - window
    first = collect(uses.select(nw.col("occurred").min()))["occurred"].iloc[0]
    if not first <= start + 1:
        raise DesignError(
            f"points_ledger has no entry as early as the window of {window:,} days up to "
            f"{dt.date.fromordinal(day)}; take a shorter window, or load the earlier entries"
        )
    now = (nw.col("valid_from") <= day) & ((nw.col("valid_to") < 1) | (nw.col("valid_to") > day))
    held = collect(
        spells.with_columns(_now=flag(now))
        .group_by("customer_id")
        .agg(nw.col("_now").max(), nw.col("valid_from").min())
        .filter(nw.col("_now") == 1)
        .sort("customer_id")
    )
    inside = (nw.col("occurred") > start) & (nw.col("occurred") <= day) & nw.col("type").is_in(USES)
    users = collect(uses.filter(inside).select("customer_id").unique())["customer_id"]
    who = pd.Index(held["customer_id"])
    return who, who.isin(users), int((held["valid_from"] > start).sum())


def _dated(table: Any, name: str, moments: tuple[str, ...], others: tuple[str, ...]) -> nw.LazyFrame[Any]:
    """Return the customer, each moment as a day number, below 1 where it is null, and other columns."""
    frame = as_lazy(table, name)
    need(list(frame.collect_schema()), ["customer_id", *others], name)
    days = {}
    for moment in moments:
        plain = f"{moment}_at" if moment == "occurred" else moment
        days[moment] = day_number(nw.col(date_column(frame, name, f"{moment}_date", plain)))
    return frame.select("customer_id", *others, **days)


def _refuse_null(frame: nw.LazyFrame[Any], name: str, columns: tuple[str, ...]) -> None:
    bad = {c: nw.col(c) < 1 if c in MOMENTS else nw.col(c).is_null() for c in columns}
    counts = collect(frame.select(**{c: flag(wrong).sum() for c, wrong in bad.items()})).iloc[0]
    for column, wrong in bad.items():
        if counts[column] > 0:  # of no rows, engines say null
            rows = np.flatnonzero(collect(frame.select(bad=flag(wrong)))["bad"].to_numpy())
            raise ContractError(
                f"{name}.{column} is null at {at_rows(rows.tolist())}; give each row its value or leave it out"
            )


def _young_check(young: int, held: int, window: int) -> Check:
    name = message("Members who joined within the window")
    if not young:
        return Check(name, "passed", message("All members had the whole window to be active in."))
    return Check(
        name,
        "warning",
        message(
            "{young} of {held} members joined in the last {days} days and had less time to be active; joining often "
            "comes with a purchase, so they may as well raise the rate as lower it.",
            young=f"{young:,}",
            held=f"{held:,}",
            days=f"{window:,}",
        ),
    )
