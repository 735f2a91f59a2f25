"""What the answer would be under other inactivity windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.silences import silences
from loyalty_research.churn.spells import calendar_day
from loyalty_research.churn.transactions import one_per_day
from loyalty_research.churn.words import shown_count
from loyalty_research.display import table
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.proportions import proportion
from loyalty_research.stats.survival import curve_at, curve_interval, kaplan_meier, survival_at

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.churn.transactions import Gaps
    from loyalty_research.display import Html

__all__ = ["InactivitySweep", "inactivity_sweep"]


@dataclass(frozen=True)
class InactivitySweep(Result):
    """What the answer would be under other inactivity windows.

    Attributes:
        at: Day on the customers' clocks at which survival is read.
        as_of: Last day observed.
        windows: One row per window: ``inactivity_days, survival, low, high, without_cut_off,
            customers, left, returned, share_returned, bought_lately, seen``: the last two count
            customers who bought within the window before ``as_of``, and all customers.
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

    def _window(self, inactivity_days: int) -> dict[str, Any]:
        rows = self.windows[self.windows["inactivity_days"] == inactivity_days]
        if len(rows) != 1:
            raise ArgumentError(f"the sweep has no window of {inactivity_days} days")
        return {str(k): v for k, v in rows.iloc[0].items()}

    def returned(self, inactivity_days: int) -> Estimate | None:
        """Return the share of those counted as gone who bought again by ``as_of``, if any are gone."""
        row = self._window(inactivity_days)
        if not row["left"]:
            return None
        return proportion(int(row["returned"]), int(row["left"]), level=self.level)

    def returned_words(self, inactivity_days: int) -> str:
        """Say how many of those counted as gone came back."""
        share = self.returned(inactivity_days)
        if share is None:
            return message("Nobody counts as gone after {window} days of silence.", window=inactivity_days)
        return message(
            "{share} of those counted as gone after {window} days of silence bought again by {as_of}: they paused.",
            share=share.format(),
            window=inactivity_days,
            as_of=self.as_of,
        )

    def bought_lately(self, inactivity_days: int) -> Estimate:
        """Return the share of all customers seen who bought within the window before ``as_of``."""
        row = self._window(inactivity_days)
        return proportion(int(row["bought_lately"]), int(row["seen"]), level=self.level)

    def beside_model(self, inactivity_days: int, mean_alive: float) -> str:
        """Set the window rule beside a model's mean chance that customers still buy.

        Args:
            inactivity_days: One of the windows.
            mean_alive: Mean P(alive) of all customers at ``as_of`` under a model of buying.
        """
        return message(
            "On {as_of}, {share} of all customers seen had bought within the last {window} days; a model of "
            "irregular buying gives a customer a chance of {alive} on average of still being one. The window "
            "counts slow buyers as gone, the model allows for them.",
            as_of=self.as_of,
            share=self.bought_lately(inactivity_days).format(),
            window=inactivity_days,
            alive=percent(mean_alive),
        )

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

    def table(self) -> Html:
        """Return the windows as a table for a page; the biased column only where it differs."""
        columns = ["inactivity_days", "customers", "left", "survival", "share_returned"]
        headings = {
            "inactivity_days": message("Window, days"),
            "customers": message("Customers followed"),
            "left": message("Counted as gone"),
            "survival": message("Still buying on day {at}", at=number(self.at, digits=0)),
            "share_returned": message("Of those gone, bought again"),
        }
        note = None
        if (self.windows["without_cut_off"] - self.windows["survival"]).abs().max() > 0.005:
            columns.append("without_cut_off")
            headings["without_cut_off"] = message("Still buying, cut-off forgotten (biased)")
            note = message(
                "The last column follows customers to the very end, as if a silence could be judged at once."
            )
        formats = dict.fromkeys(columns[3:], "percent") | dict.fromkeys(["customers", "left"], shown_count)
        return table(
            self.windows[columns],
            caption=message("What each window says"),
            formats=formats,
            headings=headings,
            note=note,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw survival and the share that came back against the window."""
        from loyalty_research.plots.survival import window_sweep

        return window_sweep(self.windows, at=self.at, ax=ax)


def inactivity_sweep(
    transactions: Any,
    *,
    windows: Sequence[int] = (30, 60, 90, 120, 180),
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
        >>> sweep = inactivity_sweep(bought, windows=[30, 60], as_of="2024-06-30", at=20)
        >>> sweep.windows[["inactivity_days", "survival", "left", "returned"]]
           inactivity_days  survival  left  returned
        0               30       0.0     2         1
        1               60       0.5     2         0
    """
    if not len(windows):
        raise ArgumentError("give at least one inactivity window")
    table, _ = one_per_day(transactions)
    seen = silences(table, as_of)
    rows = [_one_window(seen.first_gaps(w), at, level) for w in sorted(set(windows))]
    return InactivitySweep(
        at=int(at), as_of=str(calendar_day(as_of, "as_of")), windows=pd.DataFrame(rows), level=level
    )


def _one_window(gaps: Gaps, at: int, level: float) -> dict[str, Any]:
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
        "bought_lately": int((gaps.last >= gaps.end - gaps.window).sum()),
        "seen": len(gaps.last),
    }
