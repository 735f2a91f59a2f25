"""What campaigns, tiers and rewards cost in a window, by item and by the customer it was spent on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError, DesignError, at_rows, listed
from loyalty_research.i18n import message
from loyalty_research.summaries._frames import as_lazy, collect, date_column, day_number, need

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]

__all__ = ["CostLine", "cost_lines", "overlapping_rates", "read_costs"]

KINDS = {"campaign_id": "campaign", "tier": "tier", "reward_id": "reward"}
UNITS = ("per_contact", "per_redemption", "per_member_month", "fixed")
MONTH = 365.25 / 12
ENDLESS = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class CostLine:
    """What one rate came to in a window.

    Attributes:
        item: Campaign, tier or reward.
        kind: ``"campaign"``, ``"tier"`` or ``"reward"``.
        unit: Unit of the rate.
        quantity: Contacts, redemptions, member-months, or the share of a fixed cost that falls in the window.
        by_customer: Spend by customer; empty for a fixed cost.
        spend: Spend in all.
    """

    item: str
    kind: str
    unit: str
    quantity: float
    by_customer: pd.Series[float]
    spend: float


def read_costs(costs: Any) -> pd.DataFrame:
    """Check a costs table.

    Args:
        costs: ``unit``, ``amount``, one of ``campaign_id``, ``tier`` and ``reward_id`` filled in each row, and
            where known ``valid_from``, ``valid_to`` (or their ``_date``) and ``currency``; anything that
            narwhals reads.

    Returns:
        ``item``, ``kind``, ``unit``, ``amount``, ``since`` and ``until`` (day numbers, half-open).

    Raises:
        ContractError: When a column is missing or a row cannot be told: no unit, amount or item, several
            items, a rate that ends before it begins, several currencies.
    """
    lazy = as_lazy(costs, "costs")
    columns = list(lazy.collect_schema())
    need(columns, ["unit", "amount"], "costs")
    names = [c for c in KINDS if c in columns]
    if not names:
        need(columns, ["campaign_id"], "costs")
    others = {c: nw.col(c) for c in ("currency",) if c in columns}
    for end in ("valid_from", "valid_to"):
        if end in columns or f"{end}_date" in columns:
            others[end] = day_number(nw.col(_date(lazy, columns, end)))
    frame = collect(lazy.select(*names, "unit", "amount", **others))
    if frame.empty:
        raise ContractError("costs is empty: there is nothing to add up")
    amount = pd.to_numeric(frame["amount"], errors="coerce").to_numpy(dtype=float)
    _refuse(
        ~frame["unit"].isin(UNITS).to_numpy(), "have no unit that is known", f"units are {', '.join(UNITS)}"
    )
    _refuse(
        ~(np.isfinite(amount) & (amount >= 0)), "have no amount of 0 or more", "give each rate its amount"
    )
    filled = frame[names].notna().to_numpy()
    _refuse(
        filled.sum(axis=1) != 1,
        "do not name exactly one campaign, tier or reward",
        "split such a cost into one row for each thing it was spent on",
    )
    monies = sorted(frame["currency"].dropna().unique()) if "currency" in frame.columns else []
    if len(monies) > 1:
        raise ContractError(f"costs are in several currencies ({listed(monies)}); convert them to one")
    first = filled.argmax(axis=1)
    since, until = (_days(frame, name) for name in ("valid_from", "valid_to"))
    until = np.where(until < 1, ENDLESS, until)
    _refuse(until <= since, "end before they begin", "valid_to is the first day a rate no longer holds")
    fixed = (frame["unit"] == "fixed").to_numpy()
    _refuse(
        fixed & ((since < 1) | (until == ENDLESS)),
        "are fixed costs without valid_from and valid_to",
        "say over which days the amount is spent",
    )
    return pd.DataFrame(
        {
            "item": [str(frame[names[k]].iloc[i]) for i, k in enumerate(first)],
            "kind": [KINDS[names[k]] for k in first],
            "unit": frame["unit"].to_numpy(),
            "amount": amount,
            "since": since,
            "until": until,
        }
    )


def _date(lazy: nw.LazyFrame[Any], columns: list[str], end: str) -> str:
    own = f"{end}_date" if f"{end}_date" in columns else end
    kind = lazy.collect_schema()[own]
    # a column that is null throughout has no type of its own
    if isinstance(kind, (nw.Date, nw.Datetime)):
        return date_column(lazy, "costs", own)
    raise ContractError(
        f"costs.{own} is {kind}, not a date; parse it first, or leave the column out where no rate has such a day"
    )


def _days(frame: pd.DataFrame, column: str) -> NDArray[np.int64]:
    if column not in frame.columns:
        return np.zeros(len(frame), dtype=np.int64)
    return frame[column].to_numpy(dtype=np.int64)


def _refuse(bad: Bools, what: str, mend: str) -> None:
    if bad.any():
        raise ContractError(f"costs {what} at {at_rows(np.flatnonzero(bad).tolist())}; {mend}")


def overlapping_rates(costs: pd.DataFrame) -> int:
    """Return how many rates of the same item and unit begin while an earlier one still holds.

    Examples:
        >>> overlapping_rates(pd.DataFrame({"item": "x", "unit": "per_contact",
        ...                                 "since": [1, 5, 9], "until": [5, 10, 12]}))
        1
    """
    held = costs[costs["unit"] != "fixed"].sort_values(["item", "unit", "since"], kind="stable")
    before = held.groupby(["item", "unit"])["until"].cummax().groupby([held["item"], held["unit"]]).shift()
    return int((held["since"] < before.fillna(0)).sum())


def cost_lines(costs: pd.DataFrame, begin: int, end: int, tables: Mapping[str, Any]) -> tuple[CostLine, ...]:
    """Return what each rate came to on the days after ``begin`` and up to ``end``.

    Args:
        costs: What :func:`read_costs` returned.
        begin: Day number before the first day.
        end: Day number of the last day.
        tables: ``contacts``, ``memberships``, ``points_ledger`` and ``referrals``, where there are any.

    Raises:
        ContractError: When a table lacks a column.
        DesignError: When a rate counts something that the data do not hold.
    """
    counted: dict[tuple[str, str, str], pd.DataFrame] = {}
    found = []
    for row in costs.to_dict("records"):
        item, kind, unit, amount = row["item"], row["kind"], row["unit"], row["amount"]
        low, high = max(row["since"], begin + 1), min(row["until"], end + 1)
        days = max(high - low, 0)
        if unit == "fixed":
            share = days / (row["until"] - row["since"])
            nobody = pd.Series(dtype=float)
            found.append(CostLine(item, kind, unit, share, nobody, share * amount))
            continue
        if (item, kind, unit) not in counted:
            counted[item, kind, unit] = _units_of(item, kind, unit, costs, tables)
        units = counted[item, kind, unit]
        if unit == "per_member_month":
            stretch = np.minimum(units["until"], high) - np.maximum(units["since"], low)
            units = units.assign(number=np.maximum(stretch, 0) / MONTH)
        else:
            units = units[(units["day"] >= low) & (units["day"] < high)]
        own = units.groupby("customer_id")["number"].sum()
        own = own[own > 0] * amount
        quantity = float(units["number"].sum())
        found.append(CostLine(item, kind, unit, quantity, own, quantity * amount))
    return tuple(found)


def _units_of(
    item: str, kind: str, unit: str, costs: pd.DataFrame, tables: Mapping[str, Any]
) -> pd.DataFrame:
    """Return ``customer_id``, ``day`` and ``number`` of what a rate counts, or spells of members."""
    if (kind, unit) == ("tier", "per_member_month"):
        return _member_spells(_table(tables, "memberships", item, unit), item)
    if kind == "campaign" and unit in {"per_contact", "per_redemption"}:
        event = "sent" if unit == "per_contact" else "redeem"
        table = _table(tables, "contacts", item, unit)
        return _events(table, "contacts", "sent", {"campaign_id": item, "event": event})
    if (kind, unit) == ("reward", "per_redemption"):
        return _rewards(item, costs, tables)
    raise DesignError(
        message(
            "costs holds a rate {unit} of the {kind} {item}, which is not counted that way: contacts and redemptions are of "
            "campaigns, redemptions also of rewards, member-months of tiers",
            unit=unit,
            kind=kind,
            item=item,
        )
    )


def _table(tables: Mapping[str, Any], name: str, item: str, unit: str) -> Any:
    if tables.get(name) is None:
        raise DesignError(
            message(
                "costs holds a rate {unit} of {item}, and there is no table {table} to count it in",
                unit=unit,
                item=item,
                table=name,
            )
        )
    return tables[name]


def _events(
    table: Any, name: str, moment: str, wanted: Mapping[str, str], who: str = "customer_id"
) -> pd.DataFrame:
    """Count events by customer and day."""
    lazy = as_lazy(table, name)
    need(list(lazy.collect_schema()), [who, *wanted], name)
    when = date_column(lazy, name, f"{moment}_date", f"{moment}_at")
    for column, value in wanted.items():
        lazy = lazy.filter(nw.col(column) == value)
    counted = lazy.select(customer_id=nw.col(who), day=day_number(nw.col(when)))
    return collect(counted.group_by("customer_id", "day").agg(number=nw.len())).astype({"number": float})


def _rewards(item: str, costs: pd.DataFrame, tables: Mapping[str, Any]) -> pd.DataFrame:
    """Count rewards: those of referrals by name, those bought with points by the ledger."""
    referrals, ledger = tables.get("referrals"), tables.get("points_ledger")
    given: set[str] = set()
    if referrals is not None:
        lazy = as_lazy(referrals, "referrals")
        if "reward_id" in lazy.collect_schema():
            known = collect(lazy.select("reward_id").unique())["reward_id"].dropna()
            given = {str(name) for name in known}
            if item in given:
                return _events(referrals, "referrals", "referred", {"reward_id": item}, who="referrer_id")
    if ledger is None:
        raise DesignError(
            message(
                "costs holds a rate per_redemption of {item}, which neither referrals nor a points_ledger counts",
                item=item,
            )
        )
    if "reward_id" in as_lazy(ledger, "points_ledger").collect_schema():
        return _events(ledger, "points_ledger", "occurred", {"type": "redeem", "reward_id": item})
    rewards = costs.loc[(costs["kind"] == "reward") & (costs["unit"] == "per_redemption"), "item"]
    others = sorted(set(rewards) - given - {item})
    if others:
        raise DesignError(
            message(
                "points_ledger does not say which reward was redeemed, and costs prices several ({items}); add reward_id to "
                "the ledger",
                items=listed([item, *others]),
            )
        )
    return _events(ledger, "points_ledger", "occurred", {"type": "redeem"})


def _member_spells(memberships: Any, tier: str) -> pd.DataFrame:
    lazy = as_lazy(memberships, "memberships")
    columns = list(lazy.collect_schema())
    need(columns, ["customer_id", "tier"], "memberships")
    begin = date_column(lazy, "memberships", "valid_from_date", "valid_from")
    chosen = {"since": day_number(nw.col(begin))}
    if "valid_to_date" in columns or "valid_to" in columns:
        chosen["until"] = day_number(nw.col(date_column(lazy, "memberships", "valid_to_date", "valid_to")))
    spells = collect(lazy.filter(nw.col("tier") == tier).select("customer_id", **chosen))
    until = spells["until"] if "until" in spells else pd.Series(0, index=spells.index)
    return spells.assign(until=until.where(until >= 1, ENDLESS))
