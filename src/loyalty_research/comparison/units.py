"""Where a dataset's groups are: a finished experiment, assignments, or a campaign."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import narwhals as nw

from loyalty_research import summaries
from loyalty_research.errors import ContractError, DesignError
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from loyalty_research.data import Dataset

__all__ = ["NoGroupsError", "Units", "find_units"]


class NoGroupsError(ContractError):
    """The dataset holds no groups that could be compared."""


@dataclass(frozen=True, slots=True)
class Units:
    """A table of units and where it came from.

    Attributes:
        table: One row per unit, as narwhals takes it.
        origin: ``"units"``, ``"assignments"``, ``"memberships"`` or ``"campaign"``.
        notes: What a reader must know about it.
        dropped: Reason to the number left out.
        campaign: The campaign, where there is one.
        earlier: The same groups in a window that ended before the campaign, for a placebo; or None.
        no_earlier: Why there is no such window.
    """

    table: Any
    origin: str
    notes: tuple[str, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    campaign: str | None = None
    earlier: pd.DataFrame | None = None
    no_earlier: str = ""


def find_units(
    source: Dataset, *, campaign: str | None = None, window_days: int = 90, pre_days: int = 90, seed: int = 0
) -> Units:
    """Return a dataset's units: its own table, else its experiment, its members, or a campaign.

    Members are set beside customers who could have joined on the same day, so that nobody had to
    stay a customer to be counted as one.

    Args:
        source: The dataset.
        campaign: Which campaign, where contacts are all there is; the one sent to most customers
            whose windows fit when None.
        window_days: Days of outcome from day zero on, for tables that are put together.
        pre_days: Days before day zero.
        seed: Of the draws of non-members.

    Raises:
        NoGroupsError: When the dataset holds no groups of any kind.
        DesignError: When no window fits.

    Examples:
        >>> import loyalty_research as lr
        >>> find_units(lr.open_dataset("carwash")).origin
        'units'
    """
    if source.has("units"):
        note = message(
            "The table units is a finished experiment, so chance is taken to have decided who is in which arm."
        )
        return Units(source.tables["units"], "units", (note,))
    if source.has("assignments") and source.has("transactions"):
        frame = summaries.units(source, window_days=window_days, pre_days=pre_days)
        note = message("Outcomes are those of {days} days from the day of assignment.", days=window_days)
        return Units(frame, "assignments", (note,), dict(frame.attrs["dropped"]))
    problem = ""
    if campaign is None and source.has("memberships") and source.has("transactions"):
        try:
            return _members(source, window_days, pre_days, seed)
        except DesignError as nobody:
            problem = message("Members cannot be compared: {why}.", why=str(nobody))
    if source.has("contacts", "campaign_id") and source.has("transactions"):
        return _campaign(source, campaign, window_days, pre_days)
    if problem:
        raise NoGroupsError(problem)
    raise NoGroupsError(
        message(
            "These data hold no groups to compare: there is no table units, no table assignments, and no memberships or "
            "contacts of a campaign beside transactions. There is {tables}.",
            tables=", ".join(source.tables),
        )
    )


def _members(source: Dataset, window: int, pre: int, seed: int) -> Units:
    frame = summaries.member_units(
        source.tables["transactions"],
        source.tables["memberships"],
        window_days=window,
        pre_days=pre,
        as_of=source.as_of,
        seed=seed,
    )
    notes = (
        message(
            "Everybody who joined is set beside a customer who could have joined on the same day, and both are "
            "followed for the {days} days after it, so that nobody had to stay to be counted.",
            days=window,
        ),
        message("Members chose to join: nobody drew lots."),
    )
    # who joins later is known only afterwards, so it must not be taken for a trait from before
    table = frame.drop(columns="joined_later")
    return Units(table, "memberships", notes, dict(frame.attrs["dropped"]))


def _campaign(source: Dataset, campaign: str | None, window: int, pre: int) -> Units:
    contacts, lines = source.tables["contacts"], source.tables["transactions"]
    build = partial(
        summaries.campaign_units, contacts, lines, window_days=window, pre_days=pre, as_of=source.as_of
    )
    names = [campaign] if campaign is not None else _by_size(contacts)
    problems = []
    for name in names:
        try:
            frame = build(campaign_id=name)
        except DesignError as problem:
            problems.append(str(problem))
            continue
        start = dt.date.fromisoformat(frame.attrs["index_date"])
        try:
            earlier, why = build(campaign_id=name, index_date=start - dt.timedelta(days=window)), ""
        except DesignError as problem:
            earlier, why = None, str(problem)
        notes = (
            message(
                "These data do not tell members from non-members, so what is compared is who was sent campaign "
                "{campaign} and who was not, in the {days} days from {day} on.",
                campaign=name,
                days=window,
                day=frame.attrs["index_date"],
            ),
            message("The sender chose whom to send it to: nobody drew lots."),
        )
        return Units(frame, "campaign", notes, dict(frame.attrs["dropped"]), name, earlier, why)
    raise DesignError("; ".join(problems[:3]))


def _by_size(contacts: Any) -> list[str]:
    frame = nw.from_native(contacts).lazy().filter(~nw.col("campaign_id").is_null())
    counted = frame.group_by("campaign_id").agg(nw.col("customer_id").n_unique().alias("_n")).collect()
    rows = [(-int(r["_n"]), r["campaign_id"]) for r in counted.rows(named=True)]
    return [name for _, name in sorted(rows, key=lambda r: (r[0], str(r[1])))]
