"""Service level: solved on time, in full, and both, and how long cases take to close."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme._by_customer import codes_by_customer, end_of_day, flags, moments, read_rows
from loyalty_research.programme._clustered_curve import clustered_at, clustered_median
from loyalty_research.programme._contact_rows import clustered_proportion, refuse
from loyalty_research.stats.survival import curve_interval, kaplan_meier

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["OUTCOMES", "ServiceLevel", "read_cases", "service_level"]

DAY_SECONDS = 86_400
CURVE = "kaplan-meier, log-log, customers as clusters"


@dataclass(frozen=True, repr=False, eq=False)
class ServiceLevel(Result):
    """How service cases were solved.

    Attributes:
        on_time: Share solved on time, of cases for which that is recorded; None without the column.
        in_full: Share solved in full, of cases for which that is recorded; None without the column.
        both: Share solved on time and in full, of cases for which both are recorded; None without both.
        unknown: Cases for which each of these is not recorded.
        median: Days by which half of the cases are closed; None without the moment of closing.
        closed: Days to the share closed by then.
        waiting: Cases still open at the end.
        curve: ``days, open, low, high``: share still open after so many days; limits case by case.
        cases: All cases opened by the end.
        customers: Customers who opened them.
    """

    title: ClassVar[str] = "Service level"

    on_time: Estimate | None
    in_full: Estimate | None
    both: Estimate | None
    unknown: dict[str, int]
    median: Estimate | None
    closed: dict[float, Estimate]
    waiting: int
    curve: pd.DataFrame
    cases: int
    customers: int

    def _rows(self) -> Iterable[Row]:
        for name, estimate, of in (
            (message("solved on time"), self.on_time, message("cases with on_time recorded")),
            (message("solved in full"), self.in_full, message("cases with in_full recorded")),
            (message("solved on time and in full"), self.both, message("cases with both recorded")),
        ):
            if estimate is not None:
                yield Row(name, estimate, estimand=of)
        of = message("all cases, open ones counted as waiting")
        if self.median is not None:
            yield Row(message("median days to close"), self.median, estimand=of)
        for days, share in self.closed.items():
            yield Row(message("closed within {days} days", days=f"{days:g}"), share, estimand=of)

    def _verdict(self) -> str:
        said = []
        best = self.both or self.on_time or self.in_full
        if best is not None:
            what = (
                message("on time and in full")
                if self.both is not None
                else message("on time")
                if self.on_time is not None
                else message("in full")
            )
            said.append(
                message(
                    "{share} of {n} service cases whose outcome is recorded were solved {what} ({interval}).",
                    share=best.format(),
                    n=f"{best.n:,}",
                    what=what,
                    interval=best.interval(),
                )
            )
        if self.median is not None and math.isnan(self.median.value):
            said.append(message("Fewer than half of the cases are closed within the time observed."))
        elif self.median is not None:
            said.append(
                message(
                    "Half of all cases are closed within {days} days ({interval}); {waiting} are still open.",
                    days=number(self.median.value, digits=1),
                    interval=self.median.interval(),
                    waiting=f"{self.waiting:,}",
                )
            )
        return " ".join(said)


def service_level(
    tickets: Any,
    *,
    as_of: dt.date | str | None = None,
    within_days: Sequence[float] = (1, 7, 30),
    timezone: str = "UTC",
    level: float = 0.95,
) -> ServiceLevel:
    """Return the shares of service cases solved on time, in full and both, and the time to close.

    Every share has its own denominator: the cases for which it is recorded. The others are counted, and
    a check says how far they could move it. Cases of one customer are taken together. Cases that are
    still open count as waiting, since leaving them out would make slow service look quick.

    Args:
        tickets: ``customer_id``, ``opened_at`` and at least one of ``on_time``, ``in_full`` (true, false,
            null where not known) and ``closed_at`` (null while open); anything that narwhals reads.
        as_of: Last day observed; by default the last moment in the table. What happened later is not used.
        within_days: Days for which the share closed is wanted.
        timezone: Zone of the last day; moments are naive UTC.
        level: Confidence level.

    Returns:
        Shares with Wilson's interval, at the effective number of cases where customers have several;
        median and shares closed by Kaplan-Meier.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing, a cell is of a wrong kind, or a case closes before it opens.
        DesignError: When no case was opened by the end.

    Examples:
        >>> cases = pd.DataFrame({"customer_id": list("abcdefghij"),
        ...     "opened_at": pd.Timestamp("2024-05-01"),
        ...     "closed_at": pd.to_datetime(["2024-05-03"] * 7 + [None] * 3),
        ...     "on_time": [True] * 6 + [False] * 2 + [None] * 2})
        >>> found = service_level(cases, as_of="2024-05-31")
        >>> found.on_time
        75.0% (95% interval 40.9% to 92.9%; wilson; n = 8)
        >>> found.unknown, found.median.value
        ({'on_time': 2}, 2.0)

    References:
        Wilson (1927), JASA 22; Korn and Graubard (1998), Survey Methodology 24; Kaplan and Meier (1958),
        JASA 53.
    """
    level = check_level(level)
    wanted = [float(d) for d in within_days]
    if any(not (math.isfinite(d) and d > 0) for d in wanted):
        raise ArgumentError(f"within_days must be positive numbers of days; got {list(within_days)}")
    frame = read_cases(tickets)
    end = _end(frame, as_of, timezone)
    frame = frame[frame["opened_at"] < end].reset_index(drop=True)
    if frame.empty:
        raise DesignError(message("no service case was opened by the end of the data"))
    codes = codes_by_customer(frame["customer_id"])
    late = (frame["closed_at"] >= end).to_numpy() if "closed_at" in frame else np.zeros(len(frame), bool)
    known = {c: np.where(late, math.nan, frame[c].to_numpy()) for c in OUTCOMES if c in frame}
    if len(known) == 2:
        # a sum is not known where either part is not
        known["both"] = np.where(
            np.isnan(known["on_time"] + known["in_full"]), math.nan, known["on_time"] * known["in_full"]
        )
    shares = {name: _share(values, codes, level) for name, values in known.items()}
    median, closed, curve, waiting = _time_to_close(frame, end, codes, wanted, level)
    return ServiceLevel(
        shares.get("on_time"),
        in_full=shares.get("in_full"),
        both=shares.get("both"),
        unknown={name: int(np.isnan(values).sum()) for name, values in known.items()},
        median=median,
        closed=closed,
        waiting=waiting,
        curve=curve,
        cases=len(frame),
        customers=int(codes.max()) + 1,
        checks=(*(_unknown_check(name, values) for name, values in known.items()), *_follow_up(closed)),
    )


OUTCOMES = ("on_time", "in_full")


def read_cases(tickets: Any, also: Sequence[str] = ()) -> pd.DataFrame:
    """Return checked cases: ``customer_id``, ``opened_at`` and what is there of the rest, flags as 0 and 1.

    Args:
        tickets: The table.
        also: Further columns that must be there.

    Raises:
        ContractError: When a column is missing, a cell is of a wrong kind, or a case closes before it opens.
    """
    name = "tickets"
    frame = read_rows(
        tickets,
        name,
        ("customer_id", "opened_at", *also),
        ("opened_date", "closed_at", "closed_date", "due_at", "due_date", *OUTCOMES),
    )
    refuse(
        frame["customer_id"].isna().to_numpy(),
        f"{name}.customer_id is null",
        "fill it or leave the row out",
    )
    if not {"closed_at", *OUTCOMES} & set(frame.columns):
        raise ContractError(
            f"{name} has none of closed_at, on_time and in_full, so nothing says how a case was solved"
        )
    frame["opened_at"] = moments(frame, "opened_at", name)
    for column in ("closed_at", "due_at"):
        if column in frame:
            frame[column] = moments(frame, column, name, gaps=True)
    for column in OUTCOMES:
        if column in frame:
            frame[column] = flags(frame, column, name)
    if "closed_at" in frame:
        early = (frame["closed_at"] < frame["opened_at"]).to_numpy()
        refuse(early, f"{name}.closed_at is before opened_at", "correct one of the two")
    return frame


def _end(frame: pd.DataFrame, as_of: dt.date | str | None, timezone: str) -> pd.Timestamp:
    if as_of is not None:
        return end_of_day(as_of, timezone)
    last = frame[[c for c in ("opened_at", "closed_at") if c in frame]].max().max()
    return pd.Timestamp(last) + pd.Timedelta(microseconds=1)


def _share(values: Array, codes: NDArray[np.int64], level: float) -> Estimate | None:
    known = ~np.isnan(values)
    return clustered_proportion(values[known], codes[known], level=level) if known.any() else None


def _time_to_close(
    frame: pd.DataFrame, end: pd.Timestamp, codes: NDArray[np.int64], wanted: list[float], level: float
) -> tuple[Estimate | None, dict[float, Estimate], pd.DataFrame, int]:
    if "closed_at" not in frame:
        return None, {}, pd.DataFrame(columns=["days", "open", "low", "high"]), 0
    closed = (frame["closed_at"] < end).to_numpy()
    waited = frame["closed_at"].where(closed, end) - frame["opened_at"]
    days = waited.dt.total_seconds().to_numpy(dtype=float) / DAY_SECONDS
    curve = kaplan_meier(days, closed)
    value, low, high = clustered_median(curve, days, closed, codes, level=level)
    shares = {}
    for day in wanted:
        still, least, most = clustered_at(curve, days, closed, codes, day, level=level)
        method = "not measurable" if math.isnan(still) else CURVE
        shares[day] = Estimate(1 - still, 1 - most, 1 - least, level, method, len(days), "fraction")
    lows, highs = curve_interval(curve, level=level)
    steps = curve.events > 0
    table = pd.DataFrame(
        {"days": curve.times[steps], "open": curve.survival[steps], "low": lows[steps], "high": highs[steps]}
    )
    median = Estimate(value, low, high, level, CURVE, len(days), "days")
    return median, shares, table, int((~closed).sum())


def _unknown_check(name: str, values: Array) -> Check:
    """Say how many are not recorded and how far they could move the share."""
    what = {
        "on_time": message("Cases without a record of on_time"),
        "in_full": message("Cases without a record of in_full"),
        "both": message("Cases without a record of both"),
    }[name]
    unknown = int(np.isnan(values).sum())
    if not unknown:
        return Check(what, "passed", message("Every case has its outcome."))
    good = float(np.nansum(values))
    return Check(
        what,
        "warning",
        messages(
            "{count} of {n} has none and is left out. With it, the share would lie between {low} and {high}.",
            "{count} of {n} have none and are left out. With them, the share would lie between {low} and {high}.",
            unknown,
            n=f"{values.size:,}",
            low=percent(good / values.size),
            high=percent((good + unknown) / values.size),
        ),
    )


def _follow_up(shares: dict[float, Estimate]) -> list[Check]:
    beyond = [f"{days:g}" for days, share in shares.items() if math.isnan(share.value)]
    if not beyond:
        return []
    said = message("No case was watched for {days} days, so that share is not known.", days=", ".join(beyond))
    return [Check(message("Time observed"), "not measurable", said)]
