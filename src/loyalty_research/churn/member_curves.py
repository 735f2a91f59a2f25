"""How many members and non-members stay, day by day, beside the curves that flatter members."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.curves import KaplanMeier
from loyalty_research.churn.intervals import require_events
from loyalty_research.churn.means import common_horizon
from loyalty_research.churn.words import covariate_words
from loyalty_research.errors import ContractError, DesignError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.churn.curves import SurvivalCurves
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.estimates import Estimate

__all__ = ["MemberCurves", "member_curves"]

FEWEST = 20


@dataclass(frozen=True, repr=False)
class MemberCurves(Result):
    """Survival of members and non-members, status taken day by day, and the biased curves.

    Attributes:
        since: Day from which the curves run: earlier, too few members are watched.
        horizon: Day the verdict speaks of.
        counted: Curves by the status on each day (Simon and Makuch).
        flagged: Curves of the same customers by whether they ever joined: biased by immortal
            time, shown for contrast only.
        covariate: The membership covariate.
    """

    title: ClassVar[str] = "Members and non-members day by day"

    since: float
    horizon: float
    counted: SurvivalCurves
    flagged: SurvivalCurves
    covariate: str

    def _names(self) -> dict[tuple[bool, bool], str]:
        name = covariate_words(self.covariate)
        return {
            (False, True): message("{name} on the day", name=name),
            (False, False): message("not {name} on the day", name=name),
            (True, True): message("joined at some time (biased)"),
            (True, False): message("never joined (biased)"),
        }

    def at_horizon(self, *, flagged: bool = False) -> dict[bool, Estimate]:
        """Return the shares still there on the horizon's day, by membership.

        Args:
            flagged: Those of the biased curves instead.
        """
        curves = self.flagged if flagged else self.counted
        return {bool(k): v for k, v in curves.estimates_at(self.horizon).items()}

    def _rows(self) -> Iterable[Row]:
        for (biased, status), name in self._names().items():
            yield Row(
                message("still there on day {day}", day=number(self.horizon, digits=0)),
                self.at_horizon(flagged=biased)[status],
                group=name,
                estimand=f"S({self.horizon:g} | {self.since:g})",
                extra={"biased": biased},
            )

    def _verdict(self) -> str:
        fair, wrong = self.at_horizon(), self.at_horizon(flagged=True)
        return message(
            "Of those still there on day {since}, {member} of members and {other} of non-members would be there "
            "on day {day} if the rates of their status held. Sorted by whether they ever joined, the same "
            "customers would seem to stay at {wrong_member} and {wrong_other}: joining takes staying first.",
            since=number(self.since, digits=0),
            day=number(self.horizon, digits=0),
            member=percent(fair[True].value),
            other=percent(fair[False].value),
            wrong_member=percent(wrong[True].value),
            wrong_other=percent(wrong[False].value),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curves, the biased ones dotted and without a band, and who is at risk."""
        from loyalty_research.plots.membership import curves_beside_biased

        names = self._names()

        def named(frame: pd.DataFrame, *, biased: bool) -> pd.DataFrame:
            return frame.assign(group=[names[biased, bool(g)] for g in frame["group"]])

        return curves_beside_biased(
            named(self.counted.survival_function_, biased=False),
            named(self.flagged.survival_function_, biased=True),
            named(self.counted.at_risk_table(), biased=False),
            ax=ax,
            time_label=message(
                "{unit} since {clock}", unit=self.counted.unit.capitalize(), clock=self.counted.clock
            ),
            share_label=message("Share of those there on day {day}", day=number(self.since, digits=0)),
        )


def member_curves(
    data: ChurnData, *, horizon: float | None = None, covariate: str = "is_member", level: float = 0.95
) -> MemberCurves:
    """Follow members and non-members by their status on each day.

    Args:
        data: Follow-up split where memberships begin and end (``members=`` of
            :meth:`ChurnData.from_transactions`, or :meth:`ChurnData.time_varying`).
        horizon: Day the verdict speaks of; by default half a year after the curves start, or as
            far as both groups are watched.
        covariate: The membership covariate, True while somebody is a member.
        level: Confidence level.

    Returns:
        Curves from the first day on which a twentieth of all who ever join, and 20 at least, are
        watched as members. They follow no fixed set of people: whoever joins moves from one curve
        to the other.

    Raises:
        ContractError: When the covariate is missing or not a yes or no, or nobody left.
        DesignError: When there are never as many members, or non-members, watched at once.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from loyalty_research.churn import ChurnData, member_curves
        >>> rng = np.random.default_rng(1)
        >>> join, life = rng.integers(1, 60, 400), rng.integers(60, 200, 400)
        >>> frame = pd.concat([
        ...     pd.DataFrame({"id": np.arange(400), "start": 0, "stop": join, "event": 0, "is_member": False}),
        ...     pd.DataFrame({"id": np.arange(200), "start": join[:200], "stop": life[:200], "event": 1,
        ...                   "is_member": True}),
        ...     pd.DataFrame({"id": np.arange(200, 400), "start": join[200:], "stop": life[200:], "event": 1,
        ...                   "is_member": False})])
        >>> found = member_curves(ChurnData.from_intervals(frame, id="id"), horizon=120)
        >>> found.since < 20, found.counted.labels
        (True, [False, True])

    References:
        Simon, Makuch (1984), Statistics in Medicine 3.
    """
    if covariate not in data.covariates.columns or data.covariates[covariate].dtype != bool:
        raise ContractError(
            f"the data have no yes-or-no covariate {covariate}; split them with members= or time_varying()"
        )
    require_events(data)
    flag = data.covariates[covariate].to_numpy()
    ever = np.zeros(data.n_customers, dtype=bool)
    ever[data.customer[flag]] = True
    since = _first_day(data, flag, int(ever.sum()))
    later = np.flatnonzero(data.stop > since)
    there = np.isin(data.customer, data.customer[(data.start <= since) & (data.stop > since)])
    whole = data.take(later)
    counted = replace(whole, start=np.maximum(whole.start, since))
    same = data.take(np.flatnonzero((data.stop > since) & there))
    joined = pd.Series(ever[data.customer[(data.stop > since) & there]], index=same.covariates.index)
    flagged = replace(
        same,
        start=np.maximum(same.start, since),
        covariates=same.covariates.assign(**{covariate: joined}),
    )
    if joined.nunique() < 2:
        raise DesignError("all of those watched join, or none: there is nobody to compare with")
    last = min(common_horizon(counted, covariate), common_horizon(flagged, covariate))
    day = min(since + 180.0, last) if horizon is None or not since < horizon <= last else float(horizon)
    fit = KaplanMeier(level=level, horizon=day)
    return MemberCurves(
        since=float(since),
        horizon=day,
        counted=fit.fit(counted, by=covariate),
        flagged=fit.fit(flagged, by=covariate),
        covariate=covariate,
        checks=data.checks,
    )


def _first_day(data: ChurnData, flag: NDArray[np.bool_], ever: int) -> int:
    """Return the first day on which enough members, and others, are watched."""
    need = max(FEWEST, int(np.ceil(ever / 20)))
    for status, least in ((True, need), (False, FEWEST)):
        if _watched(data, flag == status).max(initial=0) < least:
            name = covariate_words("is_member") if status else message("non-member")
            raise DesignError(
                f"too few {name}s: fewer than {least:,} are ever watched at once, so curves would say nothing"
            )
    enough = (_watched(data, flag) >= need) & (_watched(data, ~flag) >= FEWEST)
    days = np.flatnonzero(enough)
    if not len(days):
        raise DesignError("members and non-members are never watched in numbers at once")
    return int(days[0])


def _watched(data: ChurnData, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count, for each whole day, the intervals that run from it on."""
    last = int(np.ceil(data.last))
    begin = np.bincount(np.ceil(data.start[rows]).astype(np.int64), minlength=last + 1)
    end = np.bincount(np.ceil(data.stop[rows]).astype(np.int64), minlength=last + 1)
    return np.cumsum(begin - end)[:last]
