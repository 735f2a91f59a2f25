"""From orders to a valued customer base in one call: fit, check on held-out days, value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._discount import YEAR
from loyalty_research.clv._orders import refuse_currencies, window_of
from loyalty_research.clv._tracking import last_period, tracking
from loyalty_research.clv.holdout import frequency_bins, holdout_accuracy
from loyalty_research.clv.lift import decile_lift
from loyalty_research.clv.portraits import alive_history, expectation_matrix
from loyalty_research.clv.spend import GammaGamma
from loyalty_research.clv.transactions import BetaGeoNBD, ModifiedBetaGeoNBD, ParetoNBD
from loyalty_research.clv.value import customer_lifetime_value
from loyalty_research.errors import ArgumentError, ConvergenceError
from loyalty_research.estimates import Check, Finding, Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.summaries import daily, purchases

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from loyalty_research.clv._discount import Convention
    from loyalty_research.clv._tracking import Tracking
    from loyalty_research.clv.holdout import FrequencyBins, HoldoutAccuracy
    from loyalty_research.clv.lift import DecileLift
    from loyalty_research.clv.portraits import AliveHistory, ExpectationMatrix
    from loyalty_research.clv.transactions import TransactionModel
    from loyalty_research.clv.value import Intervals, LifetimeValue
    from loyalty_research.estimates import Estimate

__all__ = ["MODELS", "Study", "study"]

MODELS: dict[str, type[TransactionModel]] = {
    "BG/NBD": BetaGeoNBD,
    "MBG/NBD": ModifiedBetaGeoNBD,
    "Pareto/NBD": ParetoNBD,
}
"""Models of purchases by the name the literature uses."""

WEAK = 0.01  # penalty of last resort: a log-normal prior with a standard deviation of 7
_TOLERATED = 0.05  # relative holdout bias, or share of one-time buyers, up to which nothing is marked


@dataclass(frozen=True, repr=False, eq=False)
class Study(Result):
    """A valued customer base, with what its model did on days it had not seen.

    Attributes:
        calibration: Summary with holdout columns, on which the model was tested.
        summary: Summary of all days, on which customers are valued.
        calibration_end: Last day of calibration.
        observation_end: Last day observed.
        model: Model of purchases fitted on all days.
        spend: Model of spend fitted on all days.
        tracking: Purchases over time against the calibration model.
        bins: Customers by purchases against the calibration model.
        accuracy: Holdout accuracy of the calibration model.
        lift: Holdout revenue by tenths of the calibration model's forecast.
        value: Value of every customer.
        outcome: Expected total with the interval of what may happen.
        repeated: Total if the holdout error repeats itself, or None where there was no revenue.
        alternatives: One row per model: fit, holdout error, share still buying, total value, or
            why it could not be fitted.
        dropped: Reason to rows or customers left out.
    """

    title: ClassVar[str] = "What today's customers will still bring"

    calibration: pd.DataFrame
    summary: pd.DataFrame
    calibration_end: dt.date
    observation_end: dt.date
    model: TransactionModel
    spend: GammaGamma
    tracking: Tracking
    bins: FrequencyBins
    accuracy: HoldoutAccuracy
    lift: DecileLift
    value: LifetimeValue
    outcome: Estimate
    repeated: Estimate | None
    alternatives: pd.DataFrame
    dropped: dict[str, int]

    @property
    def missed(self) -> bool:
        """Whether holdout revenue was surely off by more than 5%."""
        if self.accuracy.revenue is None:
            return False
        bias = self.accuracy.revenue[2]
        sure = bias.low > 0 or bias.high < 0
        return bool(sure and abs(bias.value) > _TOLERATED)

    def _rows(self) -> Iterable[Row]:
        yield Row("total value", self.outcome, estimand=message("realised total, chance included"))
        yield from (
            Row("value per customer", self.value.mean, estimand=message("expected value")),
            Row("share of the top 20%", self.value.concentration().top_share),
            Row("holdout bias of purchases", self.accuracy.bias),
        )
        if self.accuracy.revenue is not None:
            yield Row("holdout bias of revenue", self.accuracy.revenue[2])
        if self.repeated is not None:
            yield Row("total if the holdout error repeats", self.repeated)

    def _verdict(self) -> str:
        said = f"{self._total_headline()} {self._holdout_headline()}"
        return said if self.accuracy.beats_benchmark is not False else f"{said} {self._loses()}"

    def _loses(self) -> str:
        return message(
            "In the holdout the model loses to simply carrying each customer's last period forward: typical error "
            "{ours} against {theirs} purchases per customer. Do not value single customers by it.",
            ours=number(self.accuracy.rmse[0], digits=2),
            theirs=number(self.accuracy.rmse[1], digits=2),
        )

    def _total_headline(self) -> str:
        return message(
            "The {n} customers are expected to bring {total} over the next {length}, {mean} each; if they go "
            "on as the model describes, the total will end between {low} and {high}.",
            n=f"{len(self.summary):,}",
            total=self.outcome.format(),
            length=self._length(self.value.horizon or 0),
            mean=self.value.mean.format(),
            low=self.outcome.format(self.outcome.low),
            high=self.outcome.format(self.outcome.high),
        )

    def _length(self, time: float) -> str:
        word = message("weeks") if self.value.unit == "W" else message("days")
        return f"{number(time, digits=0 if time == round(time) else 1)} {word}"

    def _holdout_headline(self) -> str:
        held = self._length(float(self.calibration["duration_holdout"].iloc[0]))
        if self.accuracy.revenue is None or math.isnan(self.accuracy.revenue[2].value):
            return message(
                "In the {held} held out nobody bought again, so the forecast is untested.", held=held
            )
        bias = self.accuracy.revenue[2]
        return message(
            "In the {held} held out, the model expected {share} of the revenue that came in ({bias}, {interval}).",
            held=held,
            share=percent(1 + bias.value),
            bias=bias.format(signed=True),
            interval=bias.interval(signed=True),
        )

    def findings(self) -> tuple[Finding, ...]:
        """Return what the index of a site shows, value first."""
        section = message("The answer")
        loses = self.accuracy.beats_benchmark is False
        caution: Any = "caution" if self.missed or loses else "finding"
        found = [
            Finding("total-value", self._total_headline(), self.outcome, caution, section),
            Finding(
                "value-per-customer",
                message(
                    "A customer is expected to bring {mean} over the next {length} on average.",
                    mean=self.value.mean.format(),
                    length=self._length(self.value.horizon or 0),
                ),
                self.value.mean,
                caution,
                section,
            ),
        ]
        if self.accuracy.revenue is not None and not math.isnan(self.accuracy.revenue[2].value):
            found.append(
                Finding(
                    "holdout-revenue", self._holdout_headline(), self.accuracy.revenue[2], caution, section
                )
            )
        if self.repeated is not None and self.missed:
            words = message(
                "If the forecast misses by as much again, the total will be nearer {total}.",
                total=self.repeated.format(),
            )
            found.append(Finding("total-if-missed-again", words, self.repeated, "caution", section))
        if loses:
            found.append(Finding("loses-to-benchmark", self._loses(), self.accuracy.gain, "caution", section))
        share = self.value.concentration()
        found.append(Finding("concentration", share.verdict(), share.top_share, "finding", section))
        found.extend(self._still_buying(section))
        return tuple(found)

    def _still_buying(self, section: str) -> list[Finding]:
        others = self.alternatives[self.alternatives["model"] == "MBG/NBD"]
        once = round(self.model.one_time_)
        if not isinstance(self.model, BetaGeoNBD) or not once:
            return []
        said = message(
            "{count} of {n} customers bought once, and BG/NBD counts every one of them as still buying: it puts "
            "the share still buying at {share}.",
            count=f"{once:,}",
            n=f"{len(self.summary):,}",
            share=percent(self.model.mean_alive_),
        )
        if len(others) and not math.isnan(others["still_buying"].iloc[0]):
            said = message(
                "{said} MBG/NBD, which lets one-time buyers leave, puts it at {other}.",
                said=said,
                other=percent(float(others["still_buying"].iloc[0])),
            )
        many = once > _TOLERATED * len(self.summary)
        return [Finding("one-time-buyers", said, None, "caution" if many else "finding", section)]

    def alternatives_words(self) -> str:
        """Return how far the models agree, and why one is missing."""
        known = self.alternatives.dropna(subset="total")
        said = message(
            "Expected totals lie between {low} and {high}, shares still buying between {few} and {many}.",
            low=self.outcome.format(float(known["total"].min())),
            high=self.outcome.format(float(known["total"].max())),
            few=percent(float(known["still_buying"].min())),
            many=percent(float(known["still_buying"].max())),
        )
        notes = self.alternatives.loc[self.alternatives["note"] != "", "note"]
        return " ".join([said, *(f"{note}." for note in notes)])

    def history(self) -> AliveHistory:
        """Follow P(alive) through a habit that stops: five purchases at the median pace, then silence."""
        again = self.summary[self.summary["frequency"] > 0]
        pace = float((again["recency"] / again["frequency"]).median())
        longest = float(self.summary["T"].max())
        return alive_history(self.model, [pace * k for k in range(1, 6)], until=max(longest, 8 * pace))

    def expectations(self) -> ExpectationMatrix:
        """Return what customers seen the whole time are expected to buy in the next half year."""
        ahead = YEAR[self.value.unit] / 2
        return expectation_matrix(self.model, T=float(self.summary["T"].max()), ahead=ahead)

    def limits(self) -> tuple[str, ...]:
        """Return what the figures do not say, one sentence each."""
        return (
            self.value.terms,
            message(
                "Values are those of customers seen by {end}; whoever comes later is not in them.",
                end=self.observation_end.isoformat(),
            ),
            message(
                "A customer begins with the first purchase in the data. Where the data start after the "
                "customers did, ages are too short and the model sees old customers as new ones."
            ),
            message(
                "The forecast carries today's behaviour forward. It knows no seasons, prices, campaigns or "
                "competitors, and says nothing of what a programme would change."
            ),
            message(
                "The interval of the total holds the uncertainty of the parameters and the luck of single "
                "customers. How wrong the model is shows only in the holdout."
            ),
            message(
                "Purchases of one day count once, refunds are no purchases, and spend per purchase is taken "
                "as unrelated to how often somebody buys."
            ),
        )


def _fits(
    order: Sequence[str], calibration: pd.DataFrame, summary: pd.DataFrame
) -> tuple[dict[str, tuple[TransactionModel, TransactionModel]], dict[str, str]]:
    """Fit each model on calibration and on all days; say why where one has no answer."""
    fitted, failed = {}, {}
    for name in order:
        try:
            fitted[name] = MODELS[name]().fit(calibration), MODELS[name]().fit(summary)
        except ConvergenceError as reason:
            failed[name] = str(reason)
    return fitted, failed


def study(
    transactions: Any,
    *,
    horizon: float,
    annual_discount_rate: float,
    margin: float = 1.0,
    unit: str = "W",
    calibration_end: dt.date | str | None = None,
    observation_end: dt.date | str | None = None,
    model: str = "BG/NBD",
    convention: Convention = "continuous",
    currency: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = 1000,
    intervals: Intervals = "delta",
) -> Study:
    """Value the customers of a table of orders, after testing the model on held-out days.

    The models are fitted twice: on the calibration period, to be compared with the holdout, and
    on all days, to value everybody seen. The other models are fitted as well, to show what hangs
    on the choice.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``; pandas,
            Polars, a DuckDB relation or what ``summaries.daily`` returned.
        horizon: Length of time ahead, in ``unit``.
        annual_discount_rate: Effective annual rate, a fraction of 0 or more.
        margin: Share of spend that is kept, above 0 and at most 1.
        unit: ``"W"`` weeks or ``"D"`` days.
        calibration_end: Last day of calibration; by default two thirds of the observation.
        observation_end: Last day observed; by default the last day in the table.
        model: ``"BG/NBD"``, ``"MBG/NBD"`` or ``"Pareto/NBD"``. Where it cannot be fitted, the next
            one that can is used and a check says so.
        convention: ``"continuous"`` or ``"end-of-period"`` (months).
        currency: ISO 4217 code of the amounts. Where the table has a column ``currency``, every row
            must hold this one.
        level: Coverage the intervals aim at.
        seed: Seed of the simulated outcomes, and of draws and bootstrap.
        draws: Simulated outcomes.
        intervals: ``"delta"``, ``"draws"`` or ``"bootstrap"``, as ``customer_lifetime_value`` takes it,
            for the model chosen.

    Raises:
        ArgumentError: When an option is out of range or the holdout would overlap calibration.
        ContractError: When the orders break the contract or are in several currencies.
        ConvergenceError: When no model can be fitted.

    Examples:
        >>> import loyalty_research as lr
        >>> from loyalty_research.clv import study
        >>> source = lr.open_dataset("programme")
        >>> done = study(source.tables["transactions"], horizon=52, annual_discount_rate=0.1,
        ...              currency=source.currency, draws=100)
        >>> [finding.id for finding in done.findings()][:3]
        ['total-value', 'value-per-customer', 'holdout-revenue']
    """
    if model not in MODELS:
        raise ArgumentError(f"model must be one of {', '.join(MODELS)}; got {model!r}")
    if unit not in YEAR:
        raise ArgumentError(f"unit must be one of {', '.join(map(repr, YEAR))}; got {unit!r}")
    refuse_currencies(transactions, currency)
    days = daily(transactions)
    split, end = window_of(days, calibration_end, observation_end)
    window: dict[str, Any] = {"calibration_end": split, "observation_end": end}
    benchmark = last_period(days, **window)
    calibration = purchases(days, unit=unit, **window)  # type: ignore[arg-type]  # checked above
    summary = purchases(days, unit=unit, observation_end=end)  # type: ignore[arg-type]

    fitted, failed = _fits([model, *(name for name in MODELS if name != model)], calibration, summary)
    chosen = next(iter(fitted), model)
    if not fitted:
        weak = MODELS[model](penalizer=WEAK)
        fitted[model] = weak.fit(calibration), MODELS[model](penalizer=WEAK).fit(summary)
    early_spend, spend = GammaGamma().fit(calibration), GammaGamma().fit(summary)
    value_options: dict[str, Any] = {
        "horizon": horizon,
        "annual_discount_rate": annual_discount_rate,
        "margin": margin,
        "convention": convention,
        "level": level,
        "currency": currency,
    }
    own: dict[str, Any] = {} if intervals == "delta" else {"intervals": intervals, "seed": seed}
    values = {
        name: customer_lifetime_value(
            late, spend, summary, **value_options, **(own if name == chosen else {})
        )
        for name, (_, late) in fitted.items()
    }
    accuracies = {
        name: holdout_accuracy(early, calibration, benchmark=benchmark, spend_model=early_spend, level=level)
        for name, (early, _) in fitted.items()
    }
    value, accuracy = values[chosen], accuracies[chosen]
    early, late = fitted[chosen]
    revenue = accuracy.revenue
    return Study(
        calibration=calibration,
        summary=summary,
        calibration_end=split,
        observation_end=end,
        model=late,
        spend=spend,
        tracking=tracking(early, days, level=level, **window),
        bins=frequency_bins(early, calibration),
        accuracy=accuracy,
        lift=decile_lift(
            early,
            calibration,
            benchmark=benchmark,
            spend_model=early_spend,
            groups=max(2, min(10, len(calibration) // 5)),
            level=level,
        ),
        value=value,
        outcome=value.outcome_interval(seed=seed, draws=draws),
        repeated=None if revenue is None or math.isnan(revenue[2].value) else value.if_missed_again(accuracy),
        alternatives=_alternatives(fitted, failed, values, accuracies),
        dropped=_dropped(days, summary, calibration, spend),
        checks=(*_choice(model, chosen, fitted, failed), *value.checks, _held(accuracy)),
    )


def _choice(
    wanted: str,
    chosen: str,
    fitted: dict[str, tuple[TransactionModel, TransactionModel]],
    failed: dict[str, str],
) -> tuple[Check, ...]:
    """Say which model is used where it is not plainly the one asked for."""
    if chosen != wanted:
        detail = message(
            "{wanted} could not be fitted, {chosen} is used instead: {reason}",
            wanted=wanted,
            chosen=chosen,
            reason=failed[wanted],
        )
    elif fitted[chosen][0].penalizer > 0:
        detail = message(
            "no model has a maximum in these data; {wanted} is fitted with a weak penalty ({penalty:g}): {reason}",
            wanted=wanted,
            penalty=fitted[chosen][0].penalizer,
            reason=failed[wanted],
        )
    else:
        return ()
    return (Check(message("Model asked for"), "warning", detail),)


def _held(accuracy: HoldoutAccuracy) -> Check:
    name = message("Better than carrying the last period forward")
    outcome = accuracy.beats_benchmark
    detail = message(
        "typical error {ours} against {theirs} purchases per customer in the holdout",
        ours=number(accuracy.rmse[0], digits=2),
        theirs=number(accuracy.rmse[1], digits=2),
    )
    return Check(name, "passed" if outcome else "failed" if outcome is False else "warning", detail)


def _alternatives(
    fitted: dict[str, tuple[TransactionModel, TransactionModel]],
    failed: dict[str, str],
    values: dict[str, LifetimeValue],
    accuracies: dict[str, HoldoutAccuracy],
) -> pd.DataFrame:
    rows = []
    for name in MODELS:
        known = name in fitted
        revenue = accuracies[name].revenue if known else None
        rows.append(
            {
                "model": name,
                "aic": fitted[name][1].AIC_ if known else np.nan,
                "still_buying": fitted[name][1].mean_alive_ if known else np.nan,
                "bias": accuracies[name].bias.value if known else np.nan,
                "revenue_bias": revenue[2].value if revenue else np.nan,
                "error": accuracies[name].rmse[0] if known else np.nan,
                "total": float(values[name].expected_value.sum()) if known else np.nan,
                "note": failed.get(name, ""),
            }
        )
    return pd.DataFrame(rows)


def _dropped(
    days: pd.DataFrame, summary: pd.DataFrame, calibration: pd.DataFrame, spend: GammaGamma
) -> dict[str, int]:
    """Count what was left out, rows of orders first."""
    rows = {reason: int(count) for reason, count in days.attrs.get("dropped", {}).items()}
    for reason, count in summary.attrs.get("dropped", {}).items():
        rows[reason] = rows.get(reason, 0) + int(count)
    late = len(summary) - len(calibration)
    return {
        **rows,
        message("customers first seen after calibration (valued, not in the test)"): late,
        message("repeat buyers without spend (valued, not in the spend model)"): spend.dropped_[
            "mean spend of 0"
        ],
    }
