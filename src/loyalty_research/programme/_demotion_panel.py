"""Members beside one another at each evaluation of their tier: who fell, who kept it, what they spent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.i18n import message
from loyalty_research.programme.tier_spells import activity_lines, check_period, tier_states
from loyalty_research.summaries._frames import as_ordinal, to_dates

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.programme.tier_spells import TierStates

    Array = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["LENGTH", "Calendar", "Evaluations", "Window", "calendar", "declared_lines", "evaluations"]

LENGTH = {"M": 1, "Q": 3, "Y": 12}
"""Months of a calendar period."""
LEAST = 5
"""Fewest members of either kind whose spread says how sure a stack is."""


@dataclass(frozen=True, slots=True)
class Window:
    """Periods around an evaluation.

    Attributes:
        period: Calendar period in which spend is added up.
        qualifying: Calendar period whose activity decides.
        before: Periods of comparison before the qualifying ones.
        counted: Periods of ``period`` in one of ``qualifying``.
        after: Periods from the fall on.
    """

    period: str
    qualifying: str
    before: int
    counted: int
    after: int

    @property
    def leads(self) -> Integers:
        """Periods since the fall, the first of comparison first."""
        return np.arange(-self.before - self.counted, self.after)


@dataclass(frozen=True, slots=True)
class Evaluations:
    """One row per member and evaluation at which the member could fall.

    Attributes:
        customer: Code of the member, shape (n,).
        stack: Code of tier and moment, shape (n,).
        fell: Whether the member is in a lower tier afterwards, shape (n,).
        outcomes: Outcome per period of the window, shape (n, leads).
        activity: Activity of the qualifying period less the line of the tier held; NaN where the
            moment does not begin a qualifying period or no lines were named, shape (n,).
        reach: How far activity may lie from the line before another tier's line comes in: below and
            above, shape (n, 2).
        moments: Stacks.
        dropped: Reason to the members and evaluations left out.
    """

    customer: Integers
    stack: Integers
    fell: Mask
    outcomes: Array
    activity: Array
    reach: Array
    moments: int
    dropped: dict[str, int]

    def part(self, keep: Mask) -> Evaluations:
        """Return the rows for which ``keep`` holds, stacks with too few of a kind left out."""
        stack = self.stack
        size = int(stack.max(initial=-1)) + 1
        fell = np.bincount(stack[keep & self.fell], minlength=size)
        kept = np.bincount(stack[keep & ~self.fell], minlength=size)
        keep = keep & ((fell >= LEAST) & (kept >= LEAST))[stack]
        codes, again = np.unique(stack[keep], return_inverse=True)
        return Evaluations(
            customer=np.unique(self.customer[keep], return_inverse=True)[1],
            stack=again,
            fell=self.fell[keep],
            outcomes=self.outcomes[keep],
            activity=self.activity[keep],
            reach=self.reach[keep],
            moments=len(codes),
            dropped=self.dropped,
        )


def declared_lines(lines: Mapping[str, float] | None, tiers: Sequence[str]) -> Array:
    """Return the line of each tier, lowest tier first; 0 for the lowest, NaN where none is named.

    Raises:
        ArgumentError: When a line is no number above 0, of no tier, or not above that of the tier below.
    """
    out = np.full(len(tiers), math.nan)
    out[0] = 0.0
    if lines is None:
        return out
    if not isinstance(lines, Mapping) or not lines:
        raise ArgumentError("lines names tiers with what it takes to keep them, such as {'gold': 300}")
    for name, line in lines.items():
        if name not in list(tiers)[1:]:
            raise ArgumentError(
                f"lines names {name!r}; the tiers with a line are {', '.join(list(tiers)[1:])}"
            )
        if isinstance(line, bool) or not (math.isfinite(line) and line > 0):
            raise ArgumentError(f"lines are numbers above 0; got {line!r} for {name!r}")
        out[list(tiers).index(name)] = line
    known = out[np.isfinite(out)]
    if (np.diff(known) <= 0).any():
        raise ArgumentError("the line of a higher tier is higher; name tiers and lines the lowest first")
    return out


@dataclass(frozen=True, slots=True)
class Calendar:
    """Tiers and spend of members side by side, by calendar period that is over.

    Attributes:
        ids: Identifier of each member, shape (n,).
        ends: Last day (day number) of each period, from the first purchase or spell on, shape (m,).
        tier: State at each end, -1 before the first spell, shape (n, m).
        held: States below this are tiers; from it on the member left.
        spend: What was bought in each period, shape (n, m).
        known: Period of the first purchase or spell, shape (n,).
    """

    ids: NDArray[Any]
    ends: Integers
    tier: Integers
    held: int
    spend: Array
    known: Integers


def calendar(states: TierStates, transactions: Any, *, period: str, measure: str, as_of: Any) -> Calendar:
    """Lay tiers and spend side by side.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When transactions break their contract.
    """
    found, _ = activity_lines(transactions, period, measure, as_of)
    row = pd.Index(states.ids).get_indexer(pd.Index(found["customer_id"]))
    found, row = found[row >= 0], row[row >= 0]
    first = pd.Period(to_dates(states.ends[:1])[0], freq=period).ordinal
    column = found["period"].to_numpy() - first
    early = max(0, -int(column.min(initial=0)))
    column = column + early
    inside = column < early + len(states.ends)
    spend = np.zeros((states.customers, early + len(states.ends)))
    np.add.at(spend, (row[inside], column[inside]), found[measure].to_numpy(dtype=float)[inside])
    tier = np.full(spend.shape, -1, dtype=np.int64)
    tier[:, early:] = states.table()
    ends = pd.PeriodIndex.from_ordinals(np.arange(first - early, first), freq=period).end_time  # type: ignore[attr-defined]
    days = [e.date().toordinal() for e in ends]
    seen = (tier >= 0) | (spend > 0)
    return Calendar(
        ids=states.ids,
        ends=np.concatenate([np.array(days, dtype=np.int64), states.ends]),
        tier=tier,
        held=len(states.names) if states.left is None else states.left,
        spend=spend.round(6),
        known=seen.argmax(axis=1).astype(np.int64),
    )


def _windows(found: Calendar, window: Window) -> tuple[Integers, Integers, NDArray[np.bool_], dict[str, int]]:
    """Return member, moment and whether the moment begins a qualifying period, of all that could fall."""
    table = found.tier
    need = window.before + window.counted
    moments = np.arange(need, len(found.ends) - window.after + 1)
    if not len(moments):
        raise DesignError(
            f"{len(found.ends)} periods are over, and a fall needs {need} before it and {window.after} from it on; "
            "take shorter periods, or fewer of them (before=, after=)"
        )
    earlier, now = table[:, moments - 1], table[:, moments]
    could = (earlier > 0) & (earlier < found.held)
    new = could & (found.known[:, None] > moments - need)
    # who reached the tier within the period that decides is there for having bought much in it
    began = table[:, moments - window.counted - 1]
    if window.counted > 1:
        began = np.where(began < 0, table[:, moments - window.counted], began)
    late = could & ~new & ((began < earlier) | (began >= found.held))
    new |= late
    gone = could & ~new & (now == found.held)
    risen = could & ~new & (now > earlier) & (now < found.held)
    member, place = np.nonzero(could & ~new & ~gone & ~risen)
    starts = to_dates(found.ends[moments])
    begins = np.array(
        [pd.Period(d, window.period).start_time == pd.Period(d, window.qualifying).start_time for d in starts]
    )
    dropped = {
        message("members known for too short a time, by evaluation"): int((new & ~late).sum()),
        message("members who reached the tier in the periods that decided, by evaluation"): int(late.sum()),
        message("members who left, by evaluation"): int(gone.sum()),
        message("members who rose, by evaluation"): int(risen.sum()),
    }
    return member, moments[place], begins[place], dropped


def evaluations(
    memberships: Any,
    transactions: Any,
    *,
    tiers: Sequence[str],
    lines: Mapping[str, float] | None,
    window: Window,
    measure: str,
    as_of: dt.date | str,
) -> Evaluations:
    """Lay members' tiers and spend out by evaluation.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a table breaks its contract.
        DesignError: When no window is complete, or nobody fell beside members who kept the tier.
    """
    check_period(window.period)
    heights = declared_lines(lines, tiers)
    last = as_ordinal(as_of, "as_of")
    states = tier_states(memberships, tiers=tiers, as_of=as_of, period=window.period)
    both = calendar(
        states, transactions, period=window.period, measure=measure, as_of=to_dates([last])[0].date()
    )
    member, moment, begins, dropped = _windows(both, window)
    tier = both.tier[member, moment - 1]
    outcomes = both.spend[member[:, None], moment[:, None] + window.leads[None, :]]
    counted = both.spend[member[:, None], moment[:, None] - 1 - np.arange(window.counted)[None, :]].sum(
        axis=1
    )
    line = heights[tier]
    activity = np.where(begins, counted.round(6) - line, math.nan)
    above = np.append(heights[1:], math.inf)[tier]
    found = Evaluations(
        customer=member,
        stack=np.unique(moment * len(states.names) + tier, return_inverse=True)[1],
        fell=both.tier[member, moment] < tier,
        outcomes=outcomes,
        activity=activity,
        # a neighbour without a line sets no limit
        reach=np.nan_to_num(np.column_stack([line - heights[tier - 1], above - line]), nan=math.inf),
        moments=0,
        dropped=dropped,
    )
    whole = found.part(np.ones(len(member), dtype=bool))
    if not whole.moments:
        raise DesignError(
            f"there is no evaluation at which {LEAST} members fell and {LEAST} kept the same tier, each with all "
            "periods around it observed"
        )
    dropped[message("evaluations with fewer than 5 of a kind, rows")] = len(member) - len(whole.fell)
    return whole
