"""From a dataset to the scorecard a page shows: what can be measured, and why the rest cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Finding, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme._scorecard_sources import established_revenue, holdout_units, pooled_retention
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.programme.claims import spend_by_age
from loyalty_research.programme.retention import repeat_purchase_rate, retention_rate
from loyalty_research.programme.returns import return_on_investment
from loyalty_research.programme.revenue import revenue_concentration, revenue_retention
from loyalty_research.programme.scorecard import scorecard
from loyalty_research.stats.retention import retention_table

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.claims import SpendByAge
    from loyalty_research.programme.retention import RepeatPurchase, Retention
    from loyalty_research.programme.returns import ReturnOnInvestment
    from loyalty_research.programme.revenue import RevenueConcentration, RevenueRetention
    from loyalty_research.programme.scorecard import Scorecard

__all__ = ["ScorecardStudy", "named_numbers", "scorecard_study"]

WINDOWS = (365, 180, 90, 30)
ACTIVITY = 90  # days in which a member shows up, or a second purchase falls, unless windows are shorter
_LEAST = 5  # fewer customers are not shown
_PARETO = 0.8
_COST_RATIOS = (1, 2, 5, 10)
_PERIODS = {"W": "weeks", "M": "months", "Q": "quarters"}


@dataclass(frozen=True)
class ScorecardStudy:
    """What a dataset says of a programme's health.

    Attributes:
        card: Every measure on the last day, with its change and target.
        returns: Return against those held out; None with a reason among ``missing``.
        retention: Who comes back; None likewise.
        repeat: Who buys a second time; None likewise.
        revenue: Revenue kept of established customers; None likewise.
        concentration: On how few of them revenue rests; None likewise.
        ages: Spend by age of the customer; None likewise.
        newcomers: Customers left out of ``revenue`` because they came within the earlier window; None
            where the record does not reach further back, so that all are in.
        window: Length of the windows, in days.
        as_of: Last day observed.
        points: Rise in retention of the claim on profit, a fraction.
        rates: Yearly discount rates of that claim.
        costs: What winning and keeping a customer cost; None where not known.
        missing: What could not be measured, with the reason.
        currency: ISO 4217 code, or None.
    """

    card: Scorecard
    returns: ReturnOnInvestment | None
    retention: Retention | None
    repeat: RepeatPurchase | None
    revenue: RevenueRetention | None
    concentration: RevenueConcentration | None
    ages: SpendByAge | None
    newcomers: int | None
    window: int
    as_of: dt.date
    points: float
    rates: tuple[float, ...]
    costs: tuple[float, float] | None
    missing: tuple[Check, ...]
    currency: str | None

    @property
    def n(self) -> int:
        """Customers in the record."""
        return self.repeat.customers if self.repeat is not None else 0

    @property
    def parts(self) -> tuple[Any, ...]:
        """The results there are."""
        every = (self.returns, self.retention, self.repeat, self.revenue, self.concentration, self.ages)
        return tuple(p for p in every if p is not None)

    def findings(self) -> tuple[Finding, ...]:
        """Return the answer: what the programme returns, who stays, what revenue is kept, on whom it rests."""
        section = message("The answer")
        found = []
        if self.returns is not None:
            status: Any = "caution" if self.returns.roi.low <= 0 <= self.returns.roi.high else "finding"
            found.append(Finding("return", self.returns.verdict(), self.returns.roi, status, section))
        if self.retention is not None and self.retention.rolling is not None:
            found.append(
                Finding("retention", self.retention.verdict(), self.retention.rolling, section=section)
            )
        if self.revenue is not None:
            kind: Any = "caution" if self.newcomers is None else "finding"
            said = f"{self.revenue.verdict()} {self._newcomers()}".strip()
            found.append(Finding("net-revenue-retention", said, self.revenue.net, kind, section))
        if self.repeat is not None:
            found.append(Finding("repeat-purchase", self.repeat.verdict(), self.repeat.rate, section=section))
        if self.concentration is not None:
            told = self.concentration.later or self.concentration.top
            found.append(Finding("concentration", self.concentration.verdict(), told, section=section))
        active = self.card.line("active_membership").estimate
        if active is not None:
            said = message(
                "Of {n} members, {share} earned or used points in the last {days} days ({interval}).",
                n=f"{active.n:,}",
                days=min(self.window, ACTIVITY),
                share=active.format(),
                interval=active.interval(),
            )
            found.append(Finding("active-members", said, active, section=section))
        if not found:
            reasons = " ".join(c.detail for c in self.missing)
            return (Finding("nothing-to-measure", reasons, status="suppressed", section=section),)
        return tuple(found)

    def _newcomers(self) -> str:
        if self.newcomers is None:
            return message(
                "Customers gained within the earlier window are in it, with part of a window only, which flatters the "
                "figure; the record is too short to leave them out."
            )
        if not self.newcomers:
            return ""
        return messages(
            "{count} customer gained within the earlier window is left out, having been there for part of it.",
            "{count} customers gained within the earlier window are left out, having been there for part of it.",
            self.newcomers,
        )

    def measures(self) -> pd.DataFrame:
        """Return the scorecard in words: the measures there are."""
        table = self.card.table()
        table = table[table["status"] != "not measurable"].drop(columns="reason")
        if self.card.compare_to is None or (table["change"] == "–").all():
            table = table.drop(columns=["change", "change_interval"])
        if (table["status"] == "no target").all():
            table = table.drop(columns="status")
        return table

    def unmeasured(self) -> pd.DataFrame:
        """Return what cannot be measured, and why."""
        table = self.card.table()
        table = table.loc[table["status"] == "not measurable", ["measure", "reason"]]
        known = [(c.name, c.detail) for c in self.missing if c.name not in set(table["measure"])]
        said = {c.name: c.detail for c in self.missing}
        table["reason"] = [said.get(m, _sentence(r)) for m, r in table.itertuples(index=False)]
        return pd.concat([table, pd.DataFrame(known, columns=["measure", "reason"])], ignore_index=True)

    def checks(self) -> tuple[Check, ...]:
        """Return every check of the measures once."""
        return tuple(dict.fromkeys(c for part in self.parts for c in part.checks))

    @property
    def design(self) -> str:
        """How the figures came about, in words."""
        if self.returns is None:
            return message("description of customers over time; no comparison")
        return message("the return: customers held out by lot; all else: description of customers over time")

    @property
    def headings(self) -> dict[str, str]:
        """Words for the columns of :meth:`measures`."""
        words = {
            "measure": message("Measure"),
            "estimate": message("Estimate"),
            "interval": message("Interval"),
            "denominator": message("Of how many"),
            "change": message("Change"),
            "change_interval": message("Interval of the change"),
            "status": message("Target"),
        }
        return {name: words[name] for name in self.measures().columns}

    # --- pictures ----------------------------------------------------------------------------------

    def bridge(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of revenue kept and lost, with alternative text and caption."""
        from loyalty_research.plots.scorecard import revenue_bridge

        if self.revenue is None:
            return
        kept = self.revenue
        end = kept.start - kept.churn - kept.contraction + kept.expansion
        steps = [
            (message("earlier window"), kept.start),
            (message("customers who stopped"), -kept.churn),
            (message("those who spent less"), -kept.contraction),
            (message("those who spent more"), kept.expansion),
            (message("later window"), end),
        ]
        yield (
            revenue_bridge(pd.DataFrame(steps, columns=["step", "amount"]), currency=self.currency),
            message("Steps from the revenue of one window to that of the next. {said}", said=kept.verdict()),
            message(
                "Customers who bought in the earlier window of {days} days. {newcomers}",
                days=self.window,
                newcomers=self._newcomers(),
            ),
        )

    def cohorts(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of retention by age, with alternative text and caption."""
        from loyalty_research.plots.scorecard import retention_by_age

        if self.retention is None:
            return
        pooled = pooled_retention(self.retention.triangle)
        if len(pooled) < 2:
            return
        cells = self.retention.triangle
        few = (cells["customers"] < _LEAST) | cells["active"].between(1, _LEAST - 1)
        cells = cells[cells["period"] > 0].assign(retention=cells["retention"].where(~few))
        words = _PERIODS[self.retention.period]
        first, last = pooled.iloc[0], pooled.iloc[-1]
        yield (
            retention_by_age(cells, pooled, period=words),
            message(
                "Share of a cohort that buys, by {period} since its first purchase: {first} after one, {last} after {n}.",
                period=words,
                first=percent(first["retention"]),
                last=percent(last["retention"]),
                n=int(last["period"]),
            ),
            message(
                "Each thin line is a cohort; the thick one all of them, each as far as it was followed. Periods "
                "that are not over are left out."
            ),
        )

    def rests(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of concentration, with alternative text and caption."""
        from loyalty_research.plots.scorecard import concentration

        if self.concentration is None:
            return
        found = self.concentration
        later = None if found.later is None else found.later.value
        yield (
            concentration(found.lorenz, top=found.share, later=later),
            message("Cumulative share of revenue, the largest customers first. {said}", said=found.verdict()),
            message("Customers are ranked by one window and followed into the next."),
        )

    # --- claims ------------------------------------------------------------------------------------

    def pareto(self) -> tuple[str, ...]:
        """Hold “a fifth of customers brings four fifths of revenue” against both windows."""
        if self.concentration is None:
            return (self._reason("concentration"),)
        said = [
            _against(
                self.concentration.top, self.concentration.share, message("the window they were picked by")
            )
        ]
        if self.concentration.later is not None:
            said.append(
                _against(self.concentration.later, self.concentration.share, message("the window after it"))
            )
        return tuple(said)

    def profit(self) -> tuple[str, pd.DataFrame | None]:
        """Price a rise in retention by the usual formula, over the interval of one's own retention."""
        rolling = None if self.retention is None else self.retention.rolling
        if rolling is None or math.isnan(rolling.low):
            return self._reason("retention"), None
        kept = [rolling.low, rolling.value, rolling.high]
        per_window = [(1 + rate) ** (self.window / 365) - 1 for rate in self.rates]
        table = retention_table(retentions=kept, annual_discount_rates=per_window, points=self.points)
        table.columns = pd.Index(
            [message("Discount {rate} a year", rate=percent(r, digits=0)) for r in self.rates]
        )
        names = [message("low limit"), message("estimate"), message("high limit")]
        table.insert(
            0, message("Retention"), [f"{percent(k)} ({name})" for k, name in zip(kept, names, strict=True)]
        )
        gains = table.iloc[:, 1:].to_numpy(dtype=float)
        if np.isnan(gains).all():
            said = message(
                "The formula has no answer for {points} points more than {retention}: retention would pass 100%.",
                points=number(100 * self.points, digits=0),
                retention=rolling.format(),
            )
            return said, None
        return (
            message(
                "{points} points more retention from one window of {days} days to the next would raise value by "
                "{low} to {high} under the formula, depending on retention and discount. The formula takes "
                "customers as equal, margins as constant and the future as endless, and says nothing of what the rise costs.",
                points=number(100 * self.points, digits=0),
                days=self.window,
                low=percent(float(np.nanmin(gains)), digits=0),
                high=percent(float(np.nanmax(gains)), digits=0),
            ),
            table.reset_index(drop=True),
        )

    def cost_of_winning(self) -> tuple[str, pd.DataFrame | None]:
        """Ask what “winning costs 5 to 10 times keeping” would mean here."""
        if self.costs is None:
            said = message(
                "What winning and keeping a customer cost is not in the data, so the ratio is not measurable; name both "
                "costs to get it."
            )
        else:
            said = message(
                "With {win} to win a customer and {keep} to keep one, winning costs {ratio} times keeping.",
                win=self._money(self.costs[0]),
                keep=self._money(self.costs[1]),
                ratio=number(self.costs[0] / self.costs[1], digits=1),
            )
        if self.ages is None:
            return said, None
        even = self.ages.new_to_kept
        said = message(
            "{said} Cost is half of the question: a new customer spends {even} per 1 of a kept one "
            "({interval}) in a window of {days} days, so keeping brings more per unit of money once winning costs more "
            "than that many times as much.",
            said=said,
            even=even.format(),
            interval=even.interval(),
            days=self.window,
        )
        ratios = [float(r) for r in _COST_RATIOS]
        if self.costs is not None:
            ratios = sorted({*ratios, self.costs[0] / self.costs[1]})
        rows = [(f"{r:g}", r / even.value, r / even.high, r / even.low) for r in ratios]
        columns = ["Winning costs, per 1 of keeping", "estimate", "low", "high"]
        return said, pd.DataFrame(rows, columns=columns)

    def older_spend_more(self) -> tuple[str, ...]:
        """Ask whether older customers spend more, with those who stopped counted in."""
        if self.ages is None:
            return (self._reason("age"),)
        return self.ages.verdict(), self.ages.claim_verdict()

    def limits(self) -> tuple[str, ...]:
        """Return what the figures cannot say, one sentence each."""
        out = [
            message(
                "Nobody says when they leave. A customer who does not buy in a window of {days} days counts as "
                "not kept, and may come back.",
                days=self.window,
            ),
            message("Intervals cover chance in who the customers are; seasons and prices are not in them."),
        ]
        if self.returns is None:
            first = message(
                "Everything here describes customers. None of it says that the programme caused it: for that, "
                "customers must have been held out by lot, at a known cost and margin."
            )
            return (first, *out)
        return (
            message(
                "The return compares all customers assigned, whether they joined or not, over the {days} days from the day "
                "of assignment. Points earned by then and redeemed later are not yet among its costs, nor is "
                "what it costs to run the programme. All other figures describe customers and say nothing of causes.",
                days=self.window,
            ),
            *out,
        )

    def _reason(self, name: str) -> str:
        found = [c.detail for c in self.missing if name in c.name.lower()]
        return found[0] if found else message("Not measurable because the record is too short.")

    def _money(self, value: float) -> str:
        return number(value, digits=2) + (f" {self.currency}" if self.currency else "")


def _sentence(reason: str) -> str:
    words = f"{reason[:1].upper()}{reason[1:]}"
    return words if words.endswith(".") else f"{words}."


def _against(share: Estimate, top: float, where: str) -> str:
    words = {
        "where": where,
        "share": share.format(),
        "interval": share.interval(),
        "top": percent(top, digits=0),
    }
    if share.low <= _PARETO <= share.high:
        return message(
            "The top {top} bring {share} ({interval}) of revenue in {where}: 80% is within the interval.",
            **words,
        )
    if share.high < _PARETO:
        return message(
            "The top {top} bring {share} ({interval}) of revenue in {where}: less than the saying's 80%.",
            **words,
        )
    return message(
        "The top {top} bring {share} ({interval}) of revenue in {where}: more than the saying's 80%.", **words
    )


def _window(asked: int | None, days: int) -> int:
    """Return the window asked for, or the longest usual one of which three fit, or else two."""
    if asked is not None:
        return asked
    fitting = [w for times in (3, 2) for w in WINDOWS if times * w <= days]
    if not fitting:
        raise DesignError(
            f"the record has {days:,} days, which is too short for two windows of {WINDOWS[-1]}; name a shorter window"
        )
    return fitting[0]


def _returns(source: Dataset, margin: float | None, window: int, level: float) -> ReturnOnInvestment:
    """Compare those a lot was drawn for with those held out, margin and cost in the same days."""
    if margin is None:
        raise DesignError("no margin was named: the share of spend that is kept")
    units = holdout_units(source, window)
    treated = next(a for a in units["arm"].unique() if a != "control")
    return return_on_investment(
        units,
        treated=treated,
        control="control",
        outcome="spend",
        margin_rate=margin,
        cost="cost",
        currency=source.currency,
        level=level,
    )


def scorecard_study(
    source: Dataset,
    *,
    window: int | None = None,
    period: str = "M",
    share: float = 0.2,
    targets: Mapping[str, float] | None = None,
    margin: float | None = None,
    points: float = 0.05,
    annual_discount_rates: Sequence[float] = (0.0, 0.1, 0.2),
    acquisition_cost: float | None = None,
    keeping_cost: float | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> ScorecardStudy:
    """Measure what a dataset's transactions say of a programme's health.

    Args:
        source: What ``lr.open_dataset`` returned; it needs ``transactions``.
        window: Days of a window; by default the longest of 365, 180, 90 and 30 of which three fit into the
            record, or else two.
        period: Calendar period of the cohorts: ``"W"``, ``"M"`` or ``"Q"``.
        share: Share of customers that is called top.
        targets: Measure of the scorecard to target.
        margin: Share of spend that is kept; None where not known, and then there is no return.
        points: Rise in retention to price, a fraction.
        annual_discount_rates: Yearly rates for that price.
        acquisition_cost: What winning one customer costs; None where not known.
        keeping_cost: What keeping one customer costs; None where not known.
        seed: Seed of the bootstraps.
        level: Confidence level.

    Returns:
        The measures there are, and for the others the reason.

    Raises:
        ArgumentError: On a wrong option, or when one of the two costs is missing.
        ContractError: When there are no transactions, or several currencies.
        DesignError: When the record is too short for any window.

    Examples:
        >>> import loyalty_research as lr
        >>> found = scorecard_study(lr.open_dataset("cdnow-sample"), window=180)
        >>> found.retention.rolling.n, found.as_of.isoformat()
        (608, '1998-06-30')
    """
    level = check_level(level)
    if period not in _PERIODS:
        raise ArgumentError(f"period is one of {', '.join(_PERIODS)}; got {period!r}")
    costs = _costs(acquisition_cost, keeping_cost)
    if not source.has("transactions", "customer_id", "amount"):
        raise ContractError("the dataset has no table transactions with customer_id and amount")
    lines = source.frame("transactions")
    currencies = 1 if "currency" not in lines else len(lines["currency"].dropna().unique())
    if currencies > 1:
        raise ContractError(
            f"transactions holds {currencies} currencies; choose one, or convert amounts first"
        )
    record = purchase_days(lines, source.as_of)
    window = _window(window, record.end - record.begin + 1)
    end = date_of(record.end)
    tried: dict[str, Any] = {}
    missing: list[Check] = []

    def attempt(field: str, name: str, measure: Callable[[], Any]) -> None:
        try:
            tried[field] = measure()
        except DesignError as reason:
            tried[field] = None
            missing.append(
                Check(name, "not measurable", message("Not measurable because {why}.", why=str(reason)))
            )

    # daily purchases carry all that these measures read, and are fewer than the lines
    days = record.frame
    attempt(
        "retention",
        message("Retention"),
        lambda: retention_rate(days, window=window, period=period, as_of=end, level=level),  # type: ignore[arg-type]
    )
    attempt(
        "repeat",
        message("Repeat purchase"),
        lambda: repeat_purchase_rate(days, window=min(window, ACTIVITY), as_of=end, level=level),
    )
    attempt("returns", message("Return on investment"), lambda: _returns(source, margin, window, level))
    attempt("made", message("Revenue of two windows"), lambda: established_revenue(record, window))
    made, newcomers = tried.pop("made") or (None, None)
    tried |= {"revenue": None, "concentration": None}
    if made is not None:
        attempt(
            "revenue",
            message("Revenue retention"),
            lambda: revenue_retention(made, seed=seed, level=level, currency=source.currency),
        )
        attempt(
            "concentration",
            message("Concentration of revenue"),
            lambda: revenue_concentration(made, seed=seed, share=share, level=level),
        )
    attempt(
        "ages",
        message("Spend by age of the customer"),
        lambda: spend_by_age(days, window=window, as_of=end, level=level),
    )
    earlier = record.end - window
    card = scorecard(
        source,
        as_of=end,
        compare_to=date_of(earlier) if earlier > record.begin else None,
        targets=targets,
        window=window,
        repeat_window=min(window, ACTIVITY),
        activity_window=min(window, ACTIVITY),
        returns=tried["returns"],
        seed=seed,
        level=level,
    )
    return ScorecardStudy(
        card,
        **tried,
        newcomers=newcomers,
        window=window,
        as_of=end,
        points=points,
        rates=tuple(float(r) for r in annual_discount_rates),
        costs=costs,
        missing=tuple(missing),
        currency=source.currency,
    )


def named_numbers(texts: Sequence[str]) -> dict[str, float]:
    """Read pairs written as ``name=number``, in their order.

    Raises:
        ArgumentError: When a text is not of this form, or a name stands twice.

    Examples:
        >>> named_numbers(["retention=0.6", "net_promoter_score=20"])
        {'retention': 0.6, 'net_promoter_score': 20.0}
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise ArgumentError(
                f"write a name and a number, such as 'retention=0.6'; got {text!r}"
            ) from error
    if len(found) != len(texts):
        raise ArgumentError(f"a name stands twice: {', '.join(texts)}")
    return found


def _costs(winning: float | None, keeping: float | None) -> tuple[float, float] | None:
    given = [c for c in (winning, keeping) if c is not None]
    if not given:
        return None
    if len(given) == 1 or any(not (math.isfinite(c) and c > 0) for c in given):
        raise ArgumentError(
            f"acquisition_cost and keeping_cost go together, both above 0; got {winning!r} and {keeping!r}"
        )
    return given[0], given[1]
