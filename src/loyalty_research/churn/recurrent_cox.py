"""What shifts the rate of leaving when customers come back and may leave again."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from loyalty_research.churn.cox import CoxPH
from loyalty_research.churn.data import ChurnData
from loyalty_research.churn.followup import Followup
from loyalty_research.churn.words import covariate_words, term_words
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Result, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.churn.cox import CoxFit
    from loyalty_research.churn.recurrent import RecurrentData
    from loyalty_research.estimates import Row

__all__ = ["RecurrentCox", "RecurrentCoxFit"]


@dataclass(frozen=True, slots=True)
class RecurrentCox:
    """Cox regression of repeated events, with errors robust to customers who repeat.

    Spells of one customer resemble each other, so errors that take them for independent find
    effects where there are none; here they are always clustered, by customer or wider.

    Args:
        clock: ``"calendar"`` compares customers at the same day since their start (Andersen and
            Gill); ``"gap"`` at the same day since their start or last return.
        by_order: Give the first, second, ... event a baseline of its own (Prentice, Williams and
            Peterson), up to this number; later ones share the last. None for one baseline.
        ties: ``"efron"`` or ``"breslow"``.
        cluster: Covariate with clusters wider than customers, such as the store; the data's own
            by default, or else the customer.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is not one of the above.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import RecurrentData
        >>> frame = pd.DataFrame({"id": [1, 1, 2, 2, 3, 4, 4], "start": [0, 40, 0, 60, 0, 0, 30],
        ...     "stop": [30, 80, 50, 90, 90, 20, 85], "event": [1, 1, 1, 0, 0, 1, 1],
        ...     "invited": [0, 0, 1, 1, 1, 0, 0]})
        >>> data = RecurrentData.from_intervals(frame, id="id")
        >>> fit = RecurrentCox().fit(data, covariates=["invited"])
        >>> fit.params_.round(3).to_dict(), fit.standard_errors_.round(3).to_dict()
        ({'invited': -1.698}, {'invited': 0.766})

    References:
        Andersen, Gill (1982), Annals of Statistics 10; Prentice, Williams, Peterson (1981),
        Biometrika 68; Lin, Wei (1989), JASA 84; Therneau, Grambsch (2000), chapter 8.
    """

    clock: Literal["calendar", "gap"] = field(default="calendar", kw_only=True)
    by_order: int | None = field(default=None, kw_only=True)
    ties: Literal["efron", "breslow"] = field(default="efron", kw_only=True)
    cluster: str | None = field(default=None, kw_only=True)
    level: float = field(default=0.95, kw_only=True)

    def __post_init__(self) -> None:
        if self.clock not in ("calendar", "gap"):
            raise ArgumentError(f"clock must be 'calendar' or 'gap'; got {self.clock!r}")
        if self.ties not in ("efron", "breslow"):
            raise ArgumentError(f"ties must be 'efron' or 'breslow'; got {self.ties!r}")
        if self.by_order is not None and self.by_order < 1:
            raise ArgumentError(f"by_order must be 1 or more; got {self.by_order!r}")
        check_level(self.level)

    def fit(
        self, data: RecurrentData, *, formula: str | None = None, covariates: Sequence[str] | None = None
    ) -> RecurrentCoxFit:
        """Fit the model.

        Args:
            data: Recurrent follow-up.
            formula: Right-hand side, such as ``"region + earlier_lapses"``.
            covariates: Columns instead of a formula.

        Raises:
            ArgumentError: When neither or both of ``formula`` and ``covariates`` are given.
            ContractError: When nobody left, or a covariate is missing, has gaps, one level only,
                or is a combination of others.
            DesignError: When the risk sets do not identify the coefficients, or a term separates
                those who leave from those who stay.
            ConvergenceError: When the likelihood cannot be maximised.
        """
        timed = data.gap_times() if self.clock == "gap" else data
        parts = {f.name: getattr(timed, f.name) for f in fields(Followup)}
        rows = ChurnData(**parts)
        if self.by_order is not None:
            rows = _stratified(rows, np.minimum(data.order, self.by_order - 1))
        if rows.cluster is None and self.cluster is None:
            rows = replace(rows, cluster=rows.customer)
        model = CoxPH(ties=self.ties, cluster=self.cluster, level=self.level).fit(
            rows, formula=formula, covariates=covariates
        )
        if model.separated_:
            names = ", ".join(term_words(model.state.design, t) for t in model.separated_)
            raise DesignError(
                f"{names}: nobody (or everybody) with that value left, so the ratio has no finite estimate and no "
                "error that allows for repeated events; leave it out or join its levels"
            )
        # the engine's test of proportional hazards takes spells for independent, so it is left out
        kept = tuple(c for c in model.checks if c.p_value is None)
        return RecurrentCoxFit(
            model=model,
            clock=self.clock,
            events=int(data.event.sum()),
            repeated=int((np.bincount(data.customer[data.event]) > 1).sum()),
            checks=(*kept, _inflation(model)),
        )


def _stratified(data: ChurnData, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> ChurnData:
    """Cross the strata with the order of the event."""
    width = int(order.max()) + 1
    if data.strata is None:
        return replace(
            data, strata=order, strata_labels=tuple(range(1, width + 1)), strata_names=("event_order",)
        )
    found, codes = np.unique(data.strata * width + order, return_inverse=True)
    labels = []
    for code in found.tolist():
        own = data.strata_labels[code // width]
        labels.append((*(own if isinstance(own, tuple) else (own,)), code % width + 1))
    return replace(
        data,
        strata=codes.astype(np.int64),
        strata_labels=tuple(labels),
        strata_names=(*data.strata_names, "event_order"),
    )


def _inflation(model: CoxFit) -> Check:
    """Say what taking spells for independent would have done to the errors."""
    ratio = float(np.nanmax(model.standard_errors_.to_numpy() / model.naive_standard_errors_.to_numpy()))
    return Check(
        message("Repeated events of one customer"),
        "passed",
        message(
            "Errors are clustered; taking spells for independent would have multiplied the one most affected by "
            "{factor}.",
            factor=number(1 / ratio, digits=2),
        ),
    )


@dataclass(frozen=True, repr=False)
class RecurrentCoxFit(Result):
    """A fitted Cox model of repeated events.

    Attributes:
        model: The fit on which everything rests; its own verdict and predictions are those of a
            first event and do not apply.
        clock: ``"calendar"`` or ``"gap"``.
        events: Events.
        repeated: Customers with more than one.
    """

    title: ClassVar[str] = "Cox model of repeated events"

    model: CoxFit
    clock: Literal["calendar", "gap"]
    events: int
    repeated: int

    @property
    def params_(self) -> pd.Series[float]:
        """Log rate ratio per term."""
        return self.model.params_

    @property
    def standard_errors_(self) -> pd.Series[float]:
        """Cluster-robust standard error per term."""
        return self.model.standard_errors_

    @property
    def naive_standard_errors_(self) -> pd.Series[float]:
        """What the errors would be if spells were independent; for comparison only."""
        return self.model.naive_standard_errors_

    @property
    def covariance_(self) -> pd.DataFrame:
        """Cluster-robust covariance of the coefficients."""
        return self.model.covariance_

    @property
    def log_likelihood_(self) -> float:
        """Log partial likelihood at the fit."""
        return self.model.log_likelihood_

    @property
    def summary(self) -> pd.DataFrame:
        """Coefficients and rate ratios per term, in lifelines' columns."""
        return self.model.summary

    def _rows(self) -> Iterable[Row]:
        for row in self.model._rows():  # noqa: SLF001 - the same rows under another name
            yield replace(
                row,
                metric=message("rate ratio"),
                estimand=message("ratio of leaving rates over repeated events, other covariates equal"),
            )

    def _verdict(self) -> str:
        design, limits = self.model.state.design, self.model.limits_
        clear = [t for t in limits.index if limits["p"][t] < 1 - self.model.state.options.level]
        said = [
            message(
                "{term}: customers leave {ratio} times as often ({level} interval {low} to {high}), returns counted.",
                term=term_words(design, str(t)),
                ratio=number(float(np.exp(self.params_[t])), digits=2),
                level=percent(self.model.state.options.level, digits=0),
                low=number(float(np.exp(limits["low"][t])), digits=2),
                high=number(float(np.exp(limits["high"][t])), digits=2),
            )
            for t in sorted(clear, key=lambda t: float(limits["p"][t]))[:2]
        ]
        if not said:
            said = [message("No covariate shifts how often customers leave beyond chance.")]
        chosen = [covariate_words(v) for v in design.inputs if v in self.model.state.data.chosen]
        if chosen:
            said.append(
                message(
                    "Customers choose this themselves ({names}), so these figures compare people who differ in more than that.",
                    names=", ".join(chosen),
                )
            )
        else:
            said.append(message("These are associations, not effects."))
        return " ".join(said)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the rate ratios with their intervals."""
        return self.model.plot(ax=ax)
