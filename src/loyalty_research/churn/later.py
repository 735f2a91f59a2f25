"""Whether a model fitted on early customers holds for those who came later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.cox import CoxPH
from loyalty_research.churn.split import split_by_time
from loyalty_research.churn.validation import predictive_accuracy
from loyalty_research.churn.words import covariate_words
from loyalty_research.display import table
from loyalty_research.errors import ContractError, ConvergenceError, DesignError
from loyalty_research.estimates import Check, Result
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.churn.validation import PredictiveAccuracy
    from loyalty_research.display import Html
    from loyalty_research.estimates import Row

__all__ = ["LaterCustomers", "judge_on_later_customers"]

FEWEST = 200
SHARES = (0.6, 0.75, 0.9)


@dataclass(frozen=True, repr=False)
class LaterCustomers(Result):
    """Predictions for customers who came after the model was fitted.

    Attributes:
        accuracy: Concordance, AUC, Brier scores and calibration.
        split: Last day the model was fitted on.
        trained: Customers it was fitted on.
        tested: Customers it was judged on.
        covariates: Covariates it used.
        unseen: Covariates left out, since later customers have values nobody had before.
        truncated: Whether most early customers bought before the data begin.
    """

    title: ClassVar[str] = "Later customers"

    accuracy: PredictiveAccuracy
    split: str
    trained: int
    tested: int
    covariates: tuple[str, ...]
    unseen: tuple[str, ...]
    truncated: bool

    def _rows(self) -> Iterable[Row]:
        yield from self.accuracy._rows()  # noqa: SLF001 - one result made of another

    @property
    def headline(self) -> str:
        """Whether the model ranks later customers rightly, in one sentence without interval."""
        return self.accuracy.headline

    def _verdict(self) -> str:
        told = message(
            "Fitted on {trained} customers as they were known on {split}, and judged on the {tested} who first "
            "bought after it.",
            trained=number(self.trained, digits=0),
            tested=number(self.tested, digits=0),
            split=self.split,
        )
        if self.unseen:
            told = message(
                "{told} Left out: {names}, of which later customers have values of their own.",
                told=told,
                names=", ".join(covariate_words(c) for c in self.unseen),
            )
        if self.truncated:
            told = message(
                "{told} Most of the earlier ones were customers before the data begin and the later ones are new, so "
                "that they may well differ.",
                told=told,
            )
        return f"{told} {self.accuracy.verdict()}"

    def table(self) -> Html:
        """Return ranking and distance of the predictions as a table for a page."""
        frame = self.accuracy.to_frame()
        named = frame["metric"].str
        shown = frame[named.contains("concordance|AUC|Brier") & ~named.contains("scaled")]
        columns = ["metric", "estimate", "low", "high"]
        headings = {}
        if "null" in shown and shown["null"].notna().any():
            columns.append("null")
            headings["null"] = message("The same chance for everybody")
        formats = dict.fromkeys(columns[1:], ",.3f")
        return table(
            shown[columns],
            caption=message("How near predictions come to what later customers did"),
            formats=formats,
            headings=headings,
            note=message(
                "A concordance or AUC of 0.5 is a coin. A Brier score is a distance: lower is better, and it should "
                "be below that of giving everybody the same chance."
            ),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the share who left against the chance predicted, on the last day judged."""
        return self.accuracy.plot_calibration(ax=ax)


def judge_on_later_customers(
    data: ChurnData,
    *,
    covariates: Sequence[str],
    days: Sequence[int] = (30, 90, 180),
    level: float = 0.95,
    seed: int = 0,
) -> LaterCustomers:
    """Fit a Cox model on early customers and judge it on those who came later.

    The split is the day by which 60% of the customers had come (75% or 90% where that leaves
    less than 30 days to learn from). The model sees nothing after it, and each later customer is
    judged from the first day on, by what was known on it.

    Args:
        data: Follow-up with a calendar, from transactions or subscriptions.
        covariates: What to predict from, known on the first day.
        days: Days after the first to judge; those further ahead than the model has seen are left
            out.
        level: Confidence level.
        seed: Seed of the bootstrap behind calibration.

    Raises:
        DesignError: When the data carry no calendar, covariates change over time, or there are
            too few later customers, too little time, or too few who leave to judge by.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from loyalty_research.churn import ChurnData, judge_on_later_customers
        >>> rng = np.random.default_rng(3)
        >>> start = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 200, 1500), unit="D")
        >>> life = np.ceil(rng.exponential(np.where(np.arange(1500) % 2, 60, 240)))
        >>> lives = pd.DataFrame({"customer_id": np.arange(1500), "valid_from": start,
        ...     "valid_to": start + pd.to_timedelta(life, unit="D"), "tier": np.arange(1500) % 2})
        >>> data = ChurnData.from_subscriptions(lives, as_of="2024-06-30")
        >>> found = judge_on_later_customers(data, covariates=["tier"])
        >>> found.tested, 0.6 < found.accuracy.concordance.estimate.value < 0.75
        (604, True)
    """
    if data.origin is None:
        raise DesignError("these data have no calendar, so there are no later customers")
    first = np.unique(data.customer, return_index=True)[1]
    moving = [c for c in covariates if _changes(data, c, first)]
    if moving:
        raise DesignError(f"{', '.join(moving)} change over time; name covariates known on the first day")
    day, reach = _split_day(data)
    train, test = split_by_time(data, str(day), who="newcomers")
    unseen = [c for c in covariates if not _seen(train.covariates[c], test.covariates[c])]
    used = [c for c in covariates if c not in unseen and len(train.covariates[c].unique()) > 1]
    if not used:
        raise DesignError("later customers share no value of the covariates with earlier ones")
    ahead = [d for d in days if d <= reach] or [reach]
    # categories nobody has in training are no levels of the model
    trimmed = replace(train, covariates=_trimmed(train.covariates, used))
    try:
        accuracy = predictive_accuracy(
            CoxPH(level=level), trimmed, test, times=ahead, covariates=used, level=level, seed=seed
        )
    except (ContractError, ConvergenceError) as reason:
        raise DesignError(f"predictions for later customers cannot be judged: {reason}") from reason
    return LaterCustomers(
        accuracy=accuracy,
        split=str(day),
        trained=train.n_customers,
        tested=accuracy.customers,
        covariates=tuple(used),
        unseen=tuple(unseen),
        truncated=any(c.name == message("Left truncation") and c.status == "warning" for c in data.checks),
        checks=(*accuracy.checks, _left_check(accuracy)),
    )


def _changes(data: ChurnData, name: str, first: NDArray[np.int64]) -> bool:
    codes = pd.factorize(data.covariates[name])[0]
    return bool((codes != codes[first][data.customer]).any())


def _split_day(data: ChurnData) -> tuple[np.datetime64, int]:
    """Return the day to split at, and how many days ahead can be learnt and judged."""
    begun: Any = data.origin
    origin = np.sort(begun.astype("datetime64[D]"))
    reach = 0
    for share in SHARES:
        day = origin[int(share * len(origin))]
        later = (begun > day)[data.customer]
        if int((origin > day).sum()) < FEWEST:
            break
        reach = min(int((day - origin[0]).astype(int)), int(data.stop[later].max())) - 1
        if reach >= 30:
            return day, reach
    raise DesignError(
        f"too few customers came late enough: at least {FEWEST} must come after 30 days from which to learn"
    )


def _seen(train: pd.Series[Any], test: pd.Series[Any]) -> bool:
    if pd.api.types.is_numeric_dtype(train) and not pd.api.types.is_bool_dtype(train):
        return True
    return set(test.unique()) <= set(train.unique())


def _trimmed(frame: pd.DataFrame, used: Sequence[str]) -> pd.DataFrame:
    return frame.assign(
        **{
            c: frame[c].cat.remove_unused_categories()
            for c in used
            if isinstance(frame[c].dtype, pd.CategoricalDtype)
        }
    )


def _left_check(accuracy: PredictiveAccuracy) -> Check:
    return Check(
        message("Leavers to judge by"),
        "passed" if accuracy.left >= 100 else "warning",
        message(
            "{left} of {tested} later customers left within {days} days.",
            left=number(accuracy.left, digits=0),
            tested=number(accuracy.customers, digits=0),
            days=number(accuracy.times[-1], digits=0),
        ),
    )
