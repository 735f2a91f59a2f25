"""How good are a model's predictions on customers and days it has not seen?"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from loyalty_research.churn import ipcw
from loyalty_research.churn.brier import brier_score
from loyalty_research.churn.calibration import calibration, d_calibration
from loyalty_research.churn.concordance import concordance
from loyalty_research.churn.dynamic_auc import dynamic_auc
from loyalty_research.churn.intervals import where
from loyalty_research.churn.split import runs
from loyalty_research.errors import ArgumentError, ContractError, DesignError, ImmortalTimeError, at_rows
from loyalty_research.estimates import Check, Result, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.survival import kaplan_meier, survival_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.brier import BrierScores
    from loyalty_research.churn.calibration import Calibration, DCalibration
    from loyalty_research.churn.concordance import Concordance
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.churn.dynamic_auc import DynamicAUC
    from loyalty_research.estimates import Row

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["PredictiveAccuracy", "predictive_accuracy", "survival_of"]

_CHUNK = 32


@runtime_checkable
class Predicts(Protocol):
    """A fitted model that predicts survival."""

    def predict_survival(
        self, df: pd.DataFrame, *, times: ArrayLike, alive_at: ArrayLike = 0
    ) -> pd.DataFrame:
        """Return ``row, time, estimate`` per row of ``df`` and time, rows in order."""


@runtime_checkable
class Fits(Protocol):
    """A model still to be fitted."""

    def fit(
        self, data: ChurnData, *, formula: str | None = None, covariates: Sequence[str] | None = None
    ) -> Any:
        """Return the fitted model."""


def survival_of(
    fit: Predicts, df: pd.DataFrame, *, when: ArrayLike, alive_at: ArrayLike, extrapolate: bool = False
) -> Floats:
    """Return each customer's predicted survival at its own time.

    Args:
        fit: A fitted model.
        df: One row per customer.
        when: Day on each one's clock, shape ``(n,)``.
        alive_at: Day on which each is known to be still there, shape ``(n,)``.
        extrapolate: Let a parametric model speak beyond the days it was fitted on.

    Returns:
        Survival given alive at ``alive_at``, NaN where the model says nothing.

    Raises:
        ArgumentError: When the model cannot extrapolate.
    """
    further = {"extrapolate": True} if extrapolate else {}
    if extrapolate and "extrapolate" not in inspect.signature(fit.predict_survival).parameters:
        raise ArgumentError(
            f"{type(fit).__name__} knows nothing beyond the days it was fitted on, so it cannot extrapolate; use a "
            "parametric model"
        )
    days = np.asarray(when, dtype=np.float64)
    given = np.asarray(alive_at, dtype=np.float64)
    frame = df.reset_index(drop=True)
    found = np.full(len(frame), np.nan)
    distinct, place = np.unique(days, return_inverse=True)
    for first in range(0, len(distinct), _CHUNK):
        rows = np.flatnonzero((place >= first) & (place < first + _CHUNK))
        asked = distinct[first : first + _CHUNK]
        answer = fit.predict_survival(frame.iloc[rows], times=asked, alive_at=given[rows], **further)
        table = answer["estimate"].to_numpy(dtype=np.float64).reshape(len(rows), len(asked))
        found[rows] = table[np.arange(len(rows)), place[rows] - first]
    return found


@dataclass(frozen=True, repr=False)
class PredictiveAccuracy(Result):
    """A model's predictions against what happened, on test data.

    Days are counted from the day each customer came under test, and every prediction is given
    that the customer was still there on it.

    Attributes:
        times: Days judged.
        concordance: Who leaves first (Uno's, up to the last day judged).
        auc: Who has left by each day.
        brier: Distance of chances from outcomes, beside the same chance for everybody of a tenure.
        calibrations: Calibration at each day judged.
        d_calibration: Fit over the whole follow-up; None for fewer than 50 customers, or weights.
        customers: Customers tested.
        left: Of them, those who left by the last day judged.
        predictions: ``duration, event, entry`` and predicted survival per day judged, one row per
            customer tested; no keys.
        level: Confidence level.
        unit: Unit of time.
    """

    title: ClassVar[str] = "Accuracy of predictions"

    times: tuple[float, ...]
    concordance: Concordance
    auc: DynamicAUC
    brier: BrierScores
    calibrations: tuple[Calibration, ...]
    d_calibration: DCalibration | None
    customers: int
    left: int
    predictions: pd.DataFrame
    level: float
    unit: str

    @property
    def calibration(self) -> Calibration:
        """Calibration at the last day judged."""
        return self.calibrations[-1]

    def _rows(self) -> Iterable[Row]:
        parts: list[Result] = [self.concordance, self.auc, self.brier, *self.calibrations]
        if self.d_calibration is not None:
            parts.append(self.d_calibration)
        for part in parts:
            yield from part._rows()  # noqa: SLF001 - one result made of others

    @property
    def headline(self) -> str:
        """Whether the model ranks customers rightly, in one sentence without interval."""
        share = percent(self.concordance.estimate.value, digits=0)
        if self.concordance.estimate.low > 0.5:
            return message(
                "On later days, the model said rightly who of two customers would leave first {share} of the time.",
                share=share,
            )
        return message(
            "On later days, the model was no better than a coin at saying who of two customers would leave first ({share}).",
            share=share,
        )

    def _verdict(self) -> str:
        return f"{self.concordance.verdict()} {self.brier.verdict()} {self.calibration.verdict()}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the area under the curve over time."""
        return self.auc.plot(ax=ax)

    def plot_calibration(self, ax: Axes | None = None, *, time: float | None = None) -> Axes:
        """Draw observed against predicted chances of leaving.

        Args:
            ax: Axes to draw on.
            time: One of the days judged; the last by default.

        Raises:
            ArgumentError: When the day was not judged.
        """
        if time is None:
            return self.calibration.plot(ax=ax)
        for found in self.calibrations:
            if found.time == time:
                return found.plot(ax=ax)
        raise ArgumentError(
            f"day {time:g} was not judged; the days are {', '.join(f'{t:g}' for t in self.times)}"
        )

    def plot_brier(self, ax: Axes | None = None) -> Axes:
        """Draw the Brier score over time beside the comparison's."""
        return self.brier.plot(ax=ax)


def predictive_accuracy(
    model: Predicts | Fits,
    train: ChurnData,
    test: ChurnData,
    *,
    times: ArrayLike,
    formula: str | None = None,
    covariates: Sequence[str] | None = None,
    kind: Literal["harrell", "uno"] = "uno",
    extrapolate: bool = False,
    bootstrap: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> PredictiveAccuracy:
    """Judge a model's predictions on test data.

    Args:
        model: A model to fit on ``train`` (``CoxPH()``, with ``formula`` or ``covariates``), or
            one already fitted on it; anything with ``predict_survival``.
        train: Training data, from :func:`split_by_time`.
        test: Test data.
        times: Days after each test customer came under test, ascending.
        formula: Right-hand side, for a model to fit.
        covariates: Columns, for a model to fit.
        kind: Concordance to report.
        extrapolate: Let a parametric model (``ParametricAFT``) speak of tenures beyond those trained
            on; otherwise customers who would reach them are left out and counted.
        bootstrap: Resamples behind the intervals of calibration.
        seed: Their seed.
        level: Confidence level.

    Raises:
        ArgumentError: When both or neither of a fitted model and its covariates are given, or a
            time is beyond the follow-up.
        ImmortalTimeError: When test covariates change after the day of prediction.
        DesignError: When the model was fitted on other data, test days were trained on, the
            model says nothing about the days judged, or causes of leaving are told apart.
        ContractError: When nobody left in the test.

    Examples:
        >>> from lifelines.datasets import load_rossi
        >>> from loyalty_research.churn import ChurnData, CoxPH, split_by_time
        >>> rossi = load_rossi()
        >>> odd, even = (ChurnData.from_durations(rossi.iloc[i::2], duration="week", event="arrest",
        ...              unit="weeks") for i in (0, 1))
        >>> found = predictive_accuracy(CoxPH(), odd, even, covariates=["age", "prio"], times=[20, 40])
        >>> 0.5 < found.concordance.estimate.value < 0.7, found.customers
        (True, 216)
    """
    check_level(level)
    if test.causes is not None or train.causes is not None:
        raise DesignError(
            "these data tell causes of leaving apart, and survival means staying whatever the cause; judge with "
            "train.any_cause() and test.any_cause()"
        )
    fit = _fitted(model, train, formula, covariates)
    subjects = _subjects(fit, test, covariates)
    overlap = _overlap(train, subjects)
    days = np.atleast_1d(np.asarray(times, dtype=np.float64))
    entry = subjects.start.astype(np.float64)
    chance = np.column_stack(
        [
            survival_of(fit, subjects.covariates, when=entry + d, alive_at=entry, extrapolate=extrapolate)
            for d in days
        ]
    )
    known = np.asarray(~np.isnan(chance).any(axis=1))
    support = _support(known, train, days)
    subjects, entry, chance = subjects.take(np.flatnonzero(known)), entry[known], chance[known]
    lasted = subjects.stop - subjects.start
    obs = ipcw.observed(lasted, subjects.event, weights=subjects.weights)
    days = ipcw.horizons(days, obs, strictly=True)
    left = int((subjects.event & (lasted <= days[-1])).sum())
    if left < 5:
        raise ContractError(
            f"{left} of {obs.n:,} test customers left by {days[-1]:g} {subjects.unit}: too few to judge a model by; "
            "judge a later time or split earlier"
        )
    shared: dict[str, Any] = {"weights": subjects.weights, "cluster": subjects.cluster, "level": level}
    seen = (lasted, subjects.event)
    judged = tuple(
        calibration(*seen, chance[:, j], time=float(d), bootstrap=bootstrap, seed=seed, **shared)
        for j, d in enumerate(days)
        if (subjects.event & (lasted <= d)).any()
    )
    return PredictiveAccuracy(
        times=tuple(float(d) for d in days),
        concordance=concordance(*seen, 1.0 - chance[:, -1], kind=kind, tau=float(days[-1]), **shared),
        auc=dynamic_auc(*seen, 1.0 - chance, times=days, **shared),
        brier=brier_score(*seen, chance, times=days, null=_null(train, entry, days), **shared),
        calibrations=judged,
        d_calibration=_distribution(fit, subjects, lasted, entry, float(days[-1]), extrapolate),
        customers=obs.n,
        left=left,
        predictions=pd.DataFrame(
            {"duration": lasted, "event": subjects.event, "entry": entry}
            | {f"survival_{d:g}": chance[:, j] for j, d in enumerate(days)}
        ),
        level=level,
        unit=subjects.unit,
        checks=(*train.checks, overlap, support, *judged[-1].checks),
    )


def _fitted(
    model: Predicts | Fits, train: ChurnData, formula: str | None, covariates: Sequence[str] | None
) -> Predicts:
    if isinstance(model, Fits):
        fitted: Predicts = model.fit(train, formula=formula, covariates=covariates)
        return fitted
    if not isinstance(model, Predicts):
        raise ArgumentError(f"model must have fit or predict_survival; got {type(model).__name__}")
    if formula is not None or covariates is not None:
        raise ArgumentError("the model is fitted already; leave formula and covariates out")
    own = getattr(getattr(model, "state", None), "data", train)
    if own is not train and not (
        np.array_equal(own.stop, train.stop)
        and np.array_equal(own.event, train.event)
        and np.array_equal(own.start, train.start)
    ):
        raise DesignError(
            "the model was fitted on other data than train, so what it saw of the test is unknown; fit it on train"
        )
    return model


def _subjects(fit: Predicts, test: ChurnData, covariates: Sequence[str] | None) -> ChurnData:
    """Return test customers with one interval each and the covariates known when it starts."""
    if len(test.stop) == test.n_customers:
        return test
    design = getattr(getattr(fit, "state", None), "design", None)
    used = list(design.inputs) if design is not None else list(covariates or test.covariates.columns)
    order = np.lexsort((test.start, test.customer))
    first = order[np.unique(test.customer[order], return_index=True)[1]]
    changed = np.zeros(len(test.stop), dtype=bool)
    for name in used:
        codes = pd.factorize(test.covariates[name])[0]
        changed |= codes != codes[first][test.customer]
    if changed.any():
        raise ImmortalTimeError(
            f"test covariates ({', '.join(used)}) change after the day of prediction in "
            f"{int(changed.sum()):,} of {len(changed):,} intervals, test data: {at_rows(np.flatnonzero(changed).tolist())}; "
            "nobody could know those values on that day: use split_by_time, which keeps the values then in force"
        )
    from dataclasses import replace

    last = runs(test)[first]
    return replace(test.take(first), stop=test.stop[last], event=test.event[last])


def _overlap(train: ChurnData, test: ChurnData) -> Check:
    """Raise where a day of a customer was both trained and tested on."""
    name = message("Apart from training")
    if train.keys is None or test.keys is None:
        return Check(
            name,
            "not measurable",
            message(
                "The data carry no customer keys, so that nobody was trained on the days tested is taken on trust."
            ),
        )
    seen = np.zeros(train.n_customers)
    np.maximum.at(seen, train.customer, train.stop)
    place = train.keys.get_indexer(test.keys)
    both = place >= 0
    clash = both & (seen[np.maximum(place, 0)] > test.start)
    if clash.any():
        raise DesignError(
            f"training holds days that are tested, for the customers in test data: {where(clash)}; split with "
            "split_by_time, or keep customers apart"
        )
    return Check(
        name,
        "passed",
        message(
            "No day of any customer was both trained and tested on; {count} customers tested were in training "
            "up to the day their test began.",
            count=f"{int(both.sum()):,}",
        ),
    )


def _support(known: NDArray[np.bool_], train: ChurnData, days: Floats) -> Check:
    """Say how many customers the model can be judged on; raise where there are none."""
    lost = int((~known).sum())
    if not known.any():
        raise DesignError(
            f"the model says nothing about any of the {len(known):,} test customers up to {days[-1]:g} {train.unit} "
            f"ahead: training followed nobody beyond day {train.last:g}, and their tenures lie beyond it. Judge "
            "earlier times, test newcomers (split_by_time(who='newcomers')), or use ParametricAFT with extrapolate=True"
        )
    return Check(
        message("Reach of the model"),
        "warning" if lost else "passed",
        message(
            "{kept} of {all} test customers could be judged to day {day} ahead; the tenures of the others run past "
            "day {last}, the last one trained on.",
            kept=f"{int(known.sum()):,}",
            all=f"{len(known):,}",
            day=number(float(days[-1]), digits=0),
            last=number(train.last, digits=0),
        ),
    )


def _null(train: ChurnData, entry: Floats, days: Floats) -> Floats | None:
    """Return the chance training gives everybody of a tenure, whatever their covariates.

    None where some tenure runs past training (a parametric model goes on): everybody is then
    compared with the share of test customers still there, a stricter mark.
    """
    curve = kaplan_meier(
        train.stop, train.event, entry=train.start if train.start.any() else None, weights=train.weights
    )

    if entry.max() + days[-1] > curve.last:
        return None
    now = survival_at(curve, entry)
    given = np.column_stack([survival_at(curve, entry + d) for d in days])
    kept: Floats = np.divide(given, now[:, None], out=np.zeros_like(given), where=now[:, None] > 0)
    return kept


def _distribution(
    fit: Predicts, subjects: ChurnData, lasted: NDArray[Any], entry: Floats, horizon: float, extrapolate: bool
) -> DCalibration | None:
    """Test the whole distribution of leaving times up to the last day judged."""
    if len(lasted) < 50 or subjects.weights is not None:
        return None
    end = np.minimum(lasted.astype(np.float64), horizon)
    gone = subjects.event & (lasted <= horizon)
    # for whole days the step before is a day earlier; a hair earlier otherwise
    whole = bool((entry == np.floor(entry)).all() and (end == np.floor(end)).all())
    gap = 1.0 if whole else 1e-6 * max(horizon, 1e-3)
    at_end, before = (
        survival_of(fit, subjects.covariates, when=entry + when, alive_at=entry, extrapolate=extrapolate)
        for when in (end, np.maximum(end - gap, 0))
    )
    return d_calibration(at_end, gone, survival_before_end=np.maximum(before, at_end))
