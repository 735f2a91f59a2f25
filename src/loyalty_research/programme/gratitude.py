"""How long customers wait for thanks: time from an event to the message that thanks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._contact_rows import as_moment, check_consent, gate_consent, refuse
from loyalty_research.stats.survival import curve_interval, curve_quantile, kaplan_meier, survival_at

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.programme._contact_rows import Consent
    from loyalty_research.stats.survival import SurvivalCurve

__all__ = ["GratitudeLatency", "gratitude_latency"]

DAY_SECONDS = 86_400
METHOD: Literal["log-log"] = "log-log"


@dataclass(frozen=True, repr=False)
class GratitudeLatency(Result):
    """Time from an event to thanks, those not yet thanked included.

    Attributes:
        median: Days by which half are thanked; NaN where half are not thanked within the data.
        thanked: Days to the share thanked by then.
        waiting: Customers not thanked by the last day observed.
        curve: ``time, waiting, low, high``: share still waiting after so many days.
    """

    title: ClassVar[str] = "Time to thanks"

    median: Estimate
    thanked: dict[float, Estimate]
    waiting: int
    curve: pd.DataFrame

    def _rows(self) -> Iterable[Row]:
        estimand = message("first event of each customer, not yet thanked counted as waiting")
        yield Row(message("median days to thanks"), self.median, estimand=estimand)
        for days, share in self.thanked.items():
            yield Row(message("thanked within {days} days", days=f"{days:g}"), share, estimand=estimand)

    def _verdict(self) -> str:
        waiting = message(
            "{waiting} of {n} were not thanked by the end of the data.",
            waiting=f"{self.waiting:,}",
            n=f"{self.median.n:,}",
        )
        if math.isnan(self.median.value):
            return message("Fewer than half are thanked within the time observed. {waiting}", waiting=waiting)
        return message(
            "Half of the customers are thanked within {days} days of the event ({interval}). {waiting}",
            days=number(self.median.value, digits=1),
            interval=self.median.interval(),
            waiting=waiting,
        )


def gratitude_latency(
    events: pd.DataFrame,
    thanks: pd.DataFrame,
    *,
    as_of: dt.date | str,
    event_at: str = "occurred_at",
    thanked_at: str = "sent_at",
    within_days: Sequence[float] = (1, 7, 30),
    without_consent: Consent = "error",
    level: float = 0.95,
) -> GratitudeLatency:
    """Return how long customers wait for thanks after their first event.

    Who is not thanked yet is censored at the last day observed: leaving them out would make a
    programme that thanks quickly or never look quick. Thanks sent before the event thank for
    something else and do not count.

    Args:
        events: ``customer_id`` and ``event_at``: what deserves thanks, such as a first order.
        thanks: ``customer_id`` and ``thanked_at``: messages that thank, such as the ``sent`` rows of
            a thank-you campaign.
        as_of: Last day observed.
        event_at: Column of ``events`` with naive moments.
        thanked_at: Column of ``thanks`` with naive moments.
        within_days: Days for which the share thanked is wanted.
        without_consent: Thanks sent without consent, where ``thanks`` has a column ``has_consent``, are
            refused (``"error"``), dropped (``"leave-out"``) or kept (``"count"``); the last two count them.
        level: Confidence level.

    Returns:
        Median and shares by Kaplan-Meier with log-log limits; one observation per customer.

    Raises:
        ArgumentError: When ``within_days`` or ``as_of`` is not valid.
        ContractError: When a column is missing or a cell empty.
        DesignError: When no event lies before the end.

    Examples:
        >>> events = pd.DataFrame({"customer_id": list("abcd"), "occurred_at": pd.Timestamp("2024-05-01")})
        >>> thanks = pd.DataFrame({"customer_id": list("abc"),
        ...     "sent_at": pd.to_datetime(["2024-05-03", "2024-05-05", "2024-05-11"])})
        >>> gratitude_latency(events, thanks, as_of="2024-05-31").median.value
        7.0

    References:
        Kaplan and Meier (1958), JASA 53, 457-481; Brookmeyer and Crowley (1982), Biometrics 38.
    """
    check_level(level)
    wanted = [float(d) for d in within_days]
    if any(not (math.isfinite(d) and d > 0) for d in wanted):
        raise ArgumentError(f"within_days must be positive numbers of days; got {list(within_days)}")
    end = as_moment(as_of, "as_of") + pd.Timedelta(days=1)
    first = _moments(events, event_at, "events").groupby("customer_id")["moment"].min()
    first = first[first < end]
    if first.empty:
        raise DesignError("no event lies before the end of the data, so nobody could have been thanked")
    check_consent(without_consent)
    allowed, consent = gate_consent(thanks, without_consent, table="thanks")
    said = _moments(allowed, thanked_at, "thanks")
    said = said[said["moment"] < end]
    # the first thanks at or after the event
    said = said.join(first.rename("event"), on="customer_id", how="inner")
    reply = said[said["moment"] >= said["event"]].groupby("customer_id")["moment"].min().reindex(first.index)
    thanked = reply.notna().to_numpy()
    waited: pd.Series[Any] = reply.fillna(end) - first
    days = np.asarray(waited.dt.total_seconds(), dtype=float) / DAY_SECONDS
    curve = kaplan_meier(days, thanked)
    value, low, high = curve_quantile(curve, level=level, kind=METHOD)
    shares = {d: _thanked_by(curve, d, level) for d in wanted}
    return GratitudeLatency(
        median=Estimate(value, low, high, level, METHOD, len(first), "days"),
        thanked=shares,
        waiting=int((~thanked).sum()),
        curve=_frame(curve, level),
        checks=(_follow_up(shares), consent),
    )


def _moments(frame: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    missing = [c for c in ("customer_id", column) if c not in frame.columns]
    if missing:
        raise ContractError(f"{name} lacks the column {', '.join(missing)}")
    for c in ("customer_id", column):
        refuse(frame[c].isna().to_numpy(), f"{name}.{c} is null", "fill it or leave the row out")
    moment: Any = frame[column]
    if not pd.api.types.is_datetime64_dtype(moment):
        raise ContractError(f"{name}.{column} must hold moments without a time zone; it is {moment.dtype}")
    return pd.DataFrame({"customer_id": frame["customer_id"], "moment": moment})


def _thanked_by(curve: SurvivalCurve, days: float, level: float) -> Estimate:
    """Return one less the share still waiting; without a value beyond the time observed."""
    waiting = float(survival_at(curve, [days])[0])
    if math.isnan(waiting):
        return Estimate(math.nan, math.nan, math.nan, level, "not measurable", int(curve.n), "fraction")
    low, high = curve_interval(curve, level=level, kind=METHOD)
    at = int(np.searchsorted(curve.times, days, side="right")) - 1
    # before the first event nothing has been seen to vary
    limits = (math.nan, math.nan) if at < 0 else (1 - float(high[at]), 1 - float(low[at]))
    return Estimate(1 - waiting, *limits, level, METHOD, int(curve.n), "fraction")


def _frame(curve: SurvivalCurve, level: float) -> pd.DataFrame:
    low, high = curve_interval(curve, level=level, kind=METHOD)
    steps: NDArray[np.bool_] = curve.events > 0
    return pd.DataFrame(
        {"time": curve.times[steps], "waiting": curve.survival[steps], "low": low[steps], "high": high[steps]}
    )


def _follow_up(shares: dict[float, Estimate]) -> Check:
    beyond = [f"{days:g}" for days, share in shares.items() if math.isnan(share.value)]
    name = message("Time observed")
    if not beyond:
        return Check(name, "passed", message("Somebody was watched for every number of days asked for."))
    return Check(
        name,
        "not measurable",
        message("Nobody was watched for {days} days, so that share is not known.", days=", ".join(beyond)),
    )
