"""Follow-up of buyers without a contract: inactivity windows and what they assume."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research import summaries
from loyalty_research.churn.data import ChurnData, Removed
from loyalty_research.churn.spells import calendar_day, split_at_spells
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Estimate, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.proportions import proportion
from loyalty_research.stats.survival import curve_at, curve_interval, kaplan_meier, survival_at

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = [
    "InactivitySweep",
    "OneTimeBuyers",
    "add_segments",
    "follow_buyers",
    "inactivity_sweep",
    "one_time_buyers",
]


@dataclass(frozen=True, slots=True)
class _Gaps:
    """First long silence per customer, in days since 1970."""

    keys: pd.Index[Any]
    first: Ints
    gone: NDArray[np.bool_]
    gap_start: Ints
    returned: NDArray[np.bool_]
    end: int
    window: int
    dropped: dict[str, int]

    @property
    def follow(self) -> Ints:
        """Days each customer can be followed: to ``as_of - window`` and no further."""
        return self.end - self.window - self.first

    @property
    def left(self) -> NDArray[np.bool_]:
        """Who left while followed."""
        return self.gone & (self.gap_start < self.end - self.window)

    @property
    def stop(self) -> Ints:
        """End of follow-up; leaving is dated to the day after the last purchase."""
        return np.where(self.left, self.gap_start - self.first + 1, self.follow)


def _gaps(transactions: Any, inactivity_days: int, as_of: dt.date | str) -> _Gaps:
    end = calendar_day(as_of, "as_of")
    found = summaries.inactivity_gaps(
        transactions, inactivity_days=inactivity_days, as_of=end.astype("datetime64[D]").item()
    )
    gone = found["gap_start"].notna().to_numpy()
    return _Gaps(
        keys=found.index,
        first=_day_numbers(found["first_date"]),
        gone=gone,
        gap_start=np.where(gone, _day_numbers(found["gap_start"]), 0),
        returned=found["returned"].to_numpy(),
        end=int(end.astype(np.int64)),
        window=int(inactivity_days),
        dropped=dict(found.attrs["dropped"]),
    )


def _day_numbers(stamps: pd.Series[Any]) -> Ints:
    return stamps.to_numpy().astype("datetime64[D]").astype(np.int64)


def _one_per_day(transactions: Any) -> tuple[pd.DataFrame, dict[str, int]]:
    table = summaries.daily(transactions)
    return table, dict(table.attrs["dropped"])


def follow_buyers(
    transactions: Any, *, inactivity_days: int, as_of: dt.date | str, members: Any = None
) -> ChurnData:
    """Build follow-up from purchases; see :meth:`ChurnData.from_transactions`."""
    table, dropped = _one_per_day(transactions)
    gaps = _gaps(table, inactivity_days, as_of)
    kept = gaps.follow > 0
    if not kept.any():
        raise ContractError(
            f"transactions: nobody is seen for more than {inactivity_days} days before as_of; "
            "choose a shorter inactivity_days or a later as_of"
        )
    first_day = (
        table.drop_duplicates("customer_id", keep="first").set_index("customer_id").loc[gaps.keys[kept]]
    )
    origin = gaps.first[kept].astype("datetime64[D]")
    data = ChurnData(
        start=np.zeros(int(kept.sum()), dtype=np.int64),
        stop=gaps.stop[kept],
        event=gaps.left[kept],
        customer=np.arange(int(kept.sum())),
        covariates=pd.DataFrame(
            {
                "first_amount": first_day["amount"].to_numpy(dtype=np.float64),
                "first_month": origin.astype("datetime64[M]").astype(str),
            }
        ),
        origin=origin,
        keys=gaps.keys[kept],
        inactivity_days=int(inactivity_days),
        removed=(
            *(Removed(reason, count, 0) for reason, count in {**dropped, **gaps.dropped}.items() if count),
            Removed(
                message("first seen on or after {day}, too late to tell", day=_date(gaps.end - gaps.window)),
                0,
                int((~kept).sum()),
            ),
        ),
        checks=(_cut_off(gaps, kept), _left_truncation(gaps.first, gaps.end)),
    )
    if members is None:
        return data
    return split_at_spells(data, members, covariate="is_member", outside=None)


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _cut_off(gaps: _Gaps, kept: NDArray[np.bool_]) -> Check:
    return Check(
        message("Cut-off"),
        "passed",
        message(
            "Customers are followed to {day}, {window} days before the data end, since a silence that "
            "begins later cannot have lasted long enough; {short} customers first seen from then on are left out.",
            day=_date(gaps.end - gaps.window),
            window=gaps.window,
            short=f"{int((~kept).sum()):,}",
        ),
    )


def _left_truncation(first: Ints, end: int) -> Check:
    """Compare how many customers appear right after the extract begins with how many soon after.

    Customers who bought before the extract began appear as new in its first weeks; newcomers
    appear at a steady rate. A first month with more than twice the newcomers of the next one is
    not growth.
    """
    name = message("Left truncation")
    begin = int(first.min())
    span = max(7, min(28, (end - begin) // 4))
    early = int((first < begin + span).sum())
    later = int(((first >= begin + span) & (first < begin + 2 * span)).sum())
    seen = message(
        "{early} customers first appear in the {span} days after the extract begins and {later} in the next {span}",
        early=f"{early:,}",
        later=f"{later:,}",
        span=span,
    )
    surplus = (early - later) / np.sqrt(max(early + later, 1))
    if early > 2 * later and surplus > 4:
        return Check(
            name,
            "warning",
            message(
                "{seen}: most were customers before, so their clocks start at the first purchase seen, not the "
                "first made, and early leavers from before the extract are missing.",
                seen=seen,
            ),
        )
    return Check(name, "passed", message("{seen}: no sign of customers from before the extract.", seen=seen))


def add_segments(
    data: ChurnData, segments: Sequence[str], *, customers: pd.DataFrame | None = None, groups: int = 3
) -> ChurnData:
    """Add segments that were known on each customer's first day.

    Args:
        data: Follow-up from transactions.
        segments: ``"first_order"`` cuts what was spent on the first day into ``groups`` of about
            equal size; ``"first_month"`` is there already; any other name is a column of
            ``customers`` that does not change after the first day, such as a region: naming it
            declares that.
        customers: One row per customer with ``customer_id``.
        groups: Number of groups of ``"first_order"``.

    Returns:
        The data with each segment among the covariates. Customers without a value form their
        own group.

    Raises:
        ArgumentError: When a segment is unknown, or ``groups`` is below 2.
        ContractError: When all first orders are alike.

    Examples:
        >>> import pandas as pd
        >>> data = ChurnData.from_durations(pd.DataFrame(
        ...     {"duration": [5, 8, 9], "event": [1, 0, 1], "first_amount": [10., 20., 30.]}))
        >>> add_segments(data, ["first_order"]).covariates["first_order"].tolist()
        ['up to 10.00', 'over 10.00, up to 20.00', 'over 20.00']
    """
    for segment in dict.fromkeys(segments):
        data = _add_segment(data, segment, customers, groups)
    return data


def _add_segment(data: ChurnData, segment: str, customers: pd.DataFrame | None, groups: int) -> ChurnData:
    if segment in data.covariates.columns:
        return data
    if segment == "first_order" and "first_amount" in data.covariates.columns:
        return replace(data, covariates=data.covariates.assign(first_order=_amount_groups(data, groups)))
    if customers is None or segment not in customers.columns:
        known = ["first_order", *(c for c in data.covariates.columns if c != "first_amount")]
        if customers is not None:
            known += [str(c) for c in customers.columns if c != "customer_id"]
        raise ArgumentError(f"there is no segment {segment!r}; choose among {', '.join(known)}")
    values = customers.set_index("customer_id")[[segment]]
    if data.keys is not None:
        values = values.reindex(data.keys)
    named = values[segment].astype(object)
    values = values.assign(**{segment: named.where(named.notna(), message("not known")).astype(str)})
    return data.with_covariates(values, known_at="start")


@dataclass(frozen=True)
class OneTimeBuyers(Result):
    """Who bought on one day and then stayed away.

    Attributes:
        share: Share of customers.
        inactivity_days: Silence after which a customer counts as gone.
    """

    title: ClassVar[str] = "One-time buyers"

    share: Estimate
    inactivity_days: int

    def _rows(self) -> Iterable[Row]:
        yield Row("bought on one day only", self.share, estimand="1 - S(1)")

    def _verdict(self) -> str:
        return message(
            "{share} of customers bought on one day and then nothing for more than {window} days ({interval}).",
            share=self.share.format(),
            window=self.inactivity_days,
            interval=self.share.interval(),
        )


def one_time_buyers(data: ChurnData, *, level: float = 0.95) -> OneTimeBuyers:
    """Return the share of customers whose first purchase day was followed by the silence.

    Args:
        data: Follow-up from :meth:`ChurnData.from_transactions`.
        level: Confidence level.

    Raises:
        ContractError: When the data do not come from transactions.
    """
    if data.inactivity_days is None:
        raise ContractError(
            "one-time buyers are defined by an inactivity window: build the data from transactions"
        )
    first = np.unique(data.customer, return_index=True)[1]
    gone = data.event[first] & (data.stop[first] == 1)
    return OneTimeBuyers(
        share=proportion(int(gone.sum()), len(first), level=level),
        inactivity_days=data.inactivity_days,
        checks=data.checks,
    )


def _amount_groups(data: ChurnData, groups: int) -> pd.Categorical:
    if groups < 2:
        raise ArgumentError(f"groups must be 2 or more; got {groups!r}")
    spent = data.covariates["first_amount"].to_numpy(dtype=np.float64)
    firsts = np.unique(data.customer, return_index=True)[1]
    shares = np.arange(1, groups) / groups
    # an observed amount as bound, so that a label states what it does
    cuts = np.unique(np.quantile(spent[firsts], shares, method="inverted_cdf"))
    cuts = cuts[cuts < spent.max()]
    if not len(cuts):
        raise ContractError("first orders are all alike, so they form no segments; choose another segment")
    codes = np.searchsorted(cuts, spent, side="left")
    bounds = [number(float(c), digits=2) for c in cuts]
    labels = [message("up to {cut}", cut=bounds[0])]
    labels += [
        message("over {low}, up to {cut}", low=low, cut=cut) for low, cut in itertools.pairwise(bounds)
    ]
    labels.append(message("over {cut}", cut=bounds[-1]))
    return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(labels), ordered=True)


@dataclass(frozen=True)
class InactivitySweep(Result):
    """What the answer would be under other inactivity windows.

    Attributes:
        at: Day on the customers' clocks at which survival is read.
        as_of: Last day observed.
        windows: One row per window: ``inactivity_days, survival, low, high, without_cut_off,
            customers, left, returned, share_returned``.
        level: Confidence level.
    """

    title: ClassVar[str] = "Inactivity windows"

    at: int
    as_of: str
    windows: pd.DataFrame
    level: float

    def _rows(self) -> Iterable[Row]:
        for w in self.windows.to_dict("records"):
            group = message("{days} days", days=w["inactivity_days"])
            yield Row(
                "still buying",
                Estimate(
                    w["survival"], w["low"], w["high"], self.level, "log-log", int(w["customers"]), "fraction"
                ),
                group=group,
                estimand=f"S({self.at})",
                extra={"without_cut_off": w["without_cut_off"]},
            )
            back = proportion(int(w["returned"]), int(w["left"]), level=self.level) if w["left"] else None
            if back is not None:
                yield Row("bought again after counted as gone", back, group=group, estimand="share so far")

    def _verdict(self) -> str:
        known = self.windows[self.windows["left"] > 0]
        if not len(known):
            return message("No window sees anybody leave before the data end.")
        short, long = known.iloc[0], known.iloc[-1]
        told = message(
            "Of those counted as gone after {short} days of silence, {share_short} have bought again by {as_of}",
            short=int(short["inactivity_days"]),
            share_short=percent(short["share_returned"]),
            as_of=self.as_of,
        )
        if len(known) == 1:
            return message("{told}.", told=told)
        return message(
            "{told}; after {long} days, {share_long}. The window is a choice, and it moves the share still buying "
            "at day {at} from {low} to {high}.",
            told=told,
            long=int(long["inactivity_days"]),
            share_long=percent(long["share_returned"]),
            at=self.at,
            low=percent(float(known["survival"].min())),
            high=percent(float(known["survival"].max())),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw survival and the share that came back against the window."""
        from loyalty_research.plots.survival import window_sweep

        return window_sweep(self.windows, at=self.at, ax=ax)


def inactivity_sweep(
    transactions: Any,
    windows: Sequence[int] = (30, 60, 90, 120, 180),
    *,
    as_of: dt.date | str,
    at: int,
    level: float = 0.95,
) -> InactivitySweep:
    """Repeat the analysis under several inactivity windows.

    Args:
        transactions: As :meth:`ChurnData.from_transactions`.
        windows: Inactivity windows in days.
        as_of: Last day observed.
        at: Day on the customers' clocks at which the share still buying is read.
        level: Confidence level.

    Returns:
        For each window the share still buying at day ``at`` (NaN where the cut-off ends
        follow-up earlier), how many were followed and left, and how many of those who left
        bought again by ``as_of``: the later somebody left, the less time there was to see it.
        ``without_cut_off`` is what forgetting the cut-off would have given, a known error.

    Raises:
        ArgumentError: When no window is given, or one is not a whole number of days.
        ContractError: When the transactions break their contract.

    Examples:
        >>> import pandas as pd
        >>> bought = pd.DataFrame({"customer_id": [1, 1, 2], "amount": [9., 9., 9.],
        ...     "transacted_at": pd.to_datetime(["2024-01-01", "2024-02-15", "2024-01-10"])})
        >>> sweep = inactivity_sweep(bought, [30, 60], as_of="2024-06-30", at=20)
        >>> sweep.windows[["inactivity_days", "survival", "left", "returned"]]
           inactivity_days  survival  left  returned
        0               30       0.0     2         1
        1               60       0.5     2         0
    """
    if not len(windows):
        raise ArgumentError("give at least one inactivity window")
    table, _ = _one_per_day(transactions)
    rows = [_one_window(_gaps(table, w, as_of), at, level) for w in sorted(set(windows))]
    return InactivitySweep(
        at=int(at), as_of=str(calendar_day(as_of, "as_of")), windows=pd.DataFrame(rows), level=level
    )


def _one_window(gaps: _Gaps, at: int, level: float) -> dict[str, Any]:
    kept, left = gaps.follow > 0, gaps.left & (gaps.follow > 0)
    survival = low = high = float("nan")
    if kept.any():
        curve = kaplan_meier(gaps.stop[kept], left[kept])
        low, high = (
            float(curve_at(curve, v, [at], before=1.0)[0]) for v in curve_interval(curve, level=level)
        )
        survival = float(survival_at(curve, [at])[0])
    # the known error: everybody followed to the last day, as if a silence could be seen at once
    stop = np.where(gaps.gone, gaps.gap_start - gaps.first + 1, gaps.end - gaps.first)
    seen = stop > 0
    naive = kaplan_meier(stop[seen], gaps.gone[seen]) if seen.any() else None
    back, gone = int((gaps.returned & left).sum()), int(left.sum())
    return {
        "inactivity_days": gaps.window,
        "survival": survival,
        "low": low,
        "high": high,
        "without_cut_off": (float("nan") if naive is None else float(survival_at(naive, [at])[0])),
        "customers": int(kept.sum()),
        "left": gone,
        "returned": back,
        "share_returned": back / gone if gone else float("nan"),
    }
