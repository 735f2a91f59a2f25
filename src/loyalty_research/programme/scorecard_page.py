"""From a dataset to the scorecard a page shows: what can be measured, and why the rest cannot."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Finding, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme import _scorecard_pictures, _scorecard_sayings
from loyalty_research.programme._scorecard_pictures import PERIODS
from loyalty_research.programme._scorecard_sources import (
    because,
    established_revenue,
    holdout_units,
    last_day,
)
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.programme.claims import spend_by_age
from loyalty_research.programme.retention import repeat_purchase_rate, retention_rate
from loyalty_research.programme.returns import return_on_investment
from loyalty_research.programme.revenue import revenue_concentration, revenue_retention
from loyalty_research.programme.scorecard import scorecard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._windows import PurchaseDays
    from loyalty_research.programme.claims import SpendByAge
    from loyalty_research.programme.retention import RepeatPurchase, Retention
    from loyalty_research.programme.returns import ReturnOnInvestment
    from loyalty_research.programme.revenue import RevenueConcentration, RevenueRetention
    from loyalty_research.programme.scorecard import Scorecard
    from loyalty_research.programme.surveys import EffortDirection

__all__ = ["ScorecardStudy", "scorecard_study"]

EPOCH = dt.date(2000, 1, 1)
WINDOWS = (365, 180, 90, 30)
ACTIVITY = 90  # days in which a member shows up, or a second purchase falls, unless windows are shorter


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
        as_of: Last day observed; None where nothing is dated.
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
    as_of: dt.date | None
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
            said = f"{self.revenue.verdict()} {self.newcomer_words()}".strip()
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
            reason = because(self.missing[0].detail)
            said = message("No measure can be taken: {reason}.", reason=reason)
            return (Finding("nothing-to-measure", said, status="suppressed", section=section),)
        return tuple(found)

    def newcomer_words(self) -> str:
        """Say what became of customers gained within the earlier window."""
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
        """Return the scorecard in words: the measures there are, those with a target first."""
        rows = []
        known = [line for line in self.card.lines if line.estimate is not None]
        changes = self.card.compare_to is not None and any(line.change for line in known)
        aimed = any(line.target is not None for line in known)
        for line in sorted(known, key=lambda line: line.target is None):
            estimate = line.estimate
            if estimate is None:
                continue
            row = {"measure": line.measure, "estimate": _with_limits(estimate)}
            if aimed:
                row["status"] = line.status
            if changes:
                row["change"] = "–" if line.change is None else _change(line.change)
            row["denominator"] = f"{estimate.n:,} {line.denominator}"
            rows.append(row)
        return pd.DataFrame(rows, columns=["measure", "estimate", "denominator"] if not rows else None)

    @property
    def note(self) -> str | None:
        """Why some measures have no change; None where all have one, or none is asked for."""
        if self.card.compare_to is None:
            return None
        reasons: dict[str, list[str]] = {}
        for line in self.card.lines:
            if line.estimate is not None and line.change is None and line.reason:
                reasons.setdefault(because(line.reason), []).append(line.measure)
        said = [
            message("{names}: {reason}", names=", ".join(names), reason=reason)
            for reason, names in reasons.items()
        ]
        return message("Without a change: {said}.", said="; ".join(said)) if said else None

    def unmeasured(self) -> pd.DataFrame:
        """Return what is not measurable, and because of what; measures of one reason are one row."""
        said = {c.name: c.detail for c in self.missing}
        lines = [line for line in self.card.lines if line.estimate is None]
        pairs = [(line.measure, said.get(line.measure, line.reason)) for line in lines]
        named = {name for name, _ in pairs}
        pairs += [(c.name, c.detail) for c in self.missing if c.name not in named]
        reasons: dict[str, list[str]] = {}
        for measure, reason in pairs:
            reasons.setdefault(because(reason), []).append(measure)
        rows = [("; ".join(names), reason) for reason, names in reasons.items()]
        return pd.DataFrame(rows, columns=["measure", "reason"])

    def checks(self) -> tuple[Check, ...]:
        """Return every check of the measures once."""
        if not self.parts:
            return self.missing
        return tuple(dict.fromkeys(c for part in self.parts for c in part.checks))

    @property
    def design(self) -> str:
        """How the figures came about, in words."""
        if self.returns is None:
            return message("description of customers over time; no comparison")
        return message("the return: customers held out by lot; all else: description of customers over time")

    @property
    def estimand(self) -> str:
        """What is measured, in words."""
        if self.as_of is None:
            return message("nothing, since the data are not dated")
        return message("Measures of windows of {days} days up to {day}", days=self.window, day=self.as_of)

    @property
    def caption(self) -> str:
        """What the table of measures shows."""
        level = percent(self.card.level, digits=0)
        if self.card.compare_to is None or self.as_of is None:
            return message("What can be measured, with {level} intervals", level=level)
        return message(
            "What can be measured on {day}, with {level} intervals, and its change since {before}",
            day=self.as_of,
            level=level,
            before=self.card.compare_to,
        )

    @property
    def headings(self) -> dict[str, str]:
        """Words for the columns of :meth:`measures`."""
        words = {
            "measure": message("Measure"),
            "estimate": message("Estimate"),
            "denominator": message("Of how many"),
            "change": message("Change"),
            "status": message("Target"),
        }
        return {name: words[name] for name in self.measures().columns}

    # --- pictures, each with alternative text and caption ------------------------------------------

    def bridge(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of revenue kept and lost."""
        return _scorecard_pictures.bridge(self)

    def cohorts(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of retention by age."""
        return _scorecard_pictures.cohorts(self)

    def rests(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of concentration."""
        return _scorecard_pictures.rests(self)

    # --- sayings -----------------------------------------------------------------------------------

    def pareto(self) -> tuple[str, ...]:
        """Hold “a fifth of customers brings four fifths of revenue” against both windows."""
        return _scorecard_sayings.pareto(self)

    def profit(self) -> tuple[str, pd.DataFrame | None]:
        """Price a rise in retention by the usual formula, over the interval of one's own retention."""
        return _scorecard_sayings.profit(self)

    def cost_of_winning(self) -> tuple[str, pd.DataFrame | None]:
        """Ask what “winning costs 5 to 10 times keeping” would mean here."""
        return _scorecard_sayings.cost_of_winning(self)

    def older_spend_more(self) -> tuple[str, ...]:
        """Ask whether older customers spend more, with those who stopped counted in."""
        return _scorecard_sayings.older_spend_more(self)

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

    def reason(self, name: str) -> str:
        """Return why a measure is missing, by a part of its name."""
        found = [c.detail for c in self.missing if name in c.name.lower()]
        return found[0] if found else message("Not measurable because the record is too short.")


def _with_limits(estimate: Estimate, *, signed: bool = False) -> str:
    def shown(value: float) -> str:
        if estimate.unit is None and 0.1 <= abs(estimate.value) < 100:  # two decimals are enough to read
            return number(value, digits=2, signed=signed)
        return estimate.format(value, signed=signed)

    if math.isnan(estimate.low):
        return shown(estimate.value)
    # the unit stands with the figure and is not said three times
    unit = "" if estimate.unit in (None, "fraction") else f" {estimate.unit}"
    low, high = (shown(v).removesuffix(unit) for v in (estimate.low, estimate.high))
    return message("{value} ({low} to {high})", value=shown(estimate.value), low=low, high=high)


def _change(change: Estimate) -> str:
    """Return a change with its limits; that of a share counts percentage points."""
    if change.unit != "fraction":
        return _with_limits(change, signed=True)
    value, low, high = (
        number(100 * v, digits=1, signed=True) for v in (change.value, change.low, change.high)
    )
    if math.isnan(change.low):
        return message("{value} points", value=value)
    return message("{value} points ({low} to {high})", value=value, low=low, high=high)


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
    effort_direction: EffortDirection | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> ScorecardStudy:
    """Measure what a dataset says of a programme's health.

    Args:
        source: What ``lr.open_dataset`` returned; without ``transactions`` most measures are missing, with the
            reason.
        window: Days of a window; by default the longest of 365, 180, 90 and 30 of which three fit into the
            record, or else two.
        period: Calendar period of the cohorts: ``"W"``, ``"M"`` or ``"Q"``.
        share: Share of customers that is called top.
        targets: Measure of the scorecard to target.
        margin: Share of spend that is kept; None where not known, and then there is no return.
        points: Rise in retention to price, a fraction.
        annual_discount_rates: Yearly rates for that price.
        acquisition_cost: What winning one customer costs; None where not known.
        keeping_cost: What keeping one customer costs; None where not known. Without the two, what the
            scorecard measures of both is taken, where ``options`` declares what costs are for.
        effort_direction: Which end of the effort scale is the easy one; None where not known.
        options: Further arguments by name of :func:`scorecard`, such as ``purposes`` of costs.
        seed: Seed of the bootstraps.
        level: Confidence level.

    Returns:
        The measures there are, and for the others the reason.

    Raises:
        ArgumentError: On a wrong option, or when one of the two costs is missing.
        ContractError: When amounts are in several currencies, or a row is wrong.
        DesignError: When the record is too short for any window.

    Examples:
        >>> import loyalty_research as lr
        >>> found = scorecard_study(lr.open_dataset("cdnow-sample"), window=180)
        >>> found.retention.rolling.n, found.as_of.isoformat()
        (608, '1998-06-30')
    """
    level = check_level(level)
    if period not in PERIODS:
        raise ArgumentError(f"period is one of {', '.join(PERIODS)}; got {period!r}")
    costs = _costs(acquisition_cost, keeping_cost)
    record = _record(source)
    if record is None:
        day = source.as_of or last_day(source)
        window = WINDOWS[0] if window is None else window
    else:
        window = _window(window, record.end - record.begin + 1)
        day = date_of(record.end)
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

    def purchases() -> PurchaseDays:
        if record is None:
            raise DesignError(message("the data have no transactions with customer_id and amount"))
        return record

    # daily purchases carry all that these measures read, and are fewer than the lines
    attempt(
        "retention",
        message("Retention"),
        lambda: retention_rate(
            purchases().frame,
            window=window,
            period=period,  # type: ignore[arg-type]
            as_of=day,
            level=level,
        ),
    )
    attempt(
        "repeat",
        message("Repeat purchase"),
        lambda: repeat_purchase_rate(purchases().frame, window=min(window, ACTIVITY), as_of=day, level=level),
    )
    attempt("returns", message("Return on investment"), lambda: _returns(source, margin, window, level))
    attempt(
        "made",
        message("Retention and concentration of revenue"),
        lambda: established_revenue(purchases(), window),
    )
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
        lambda: spend_by_age(purchases().frame, window=window, as_of=day, level=level),
    )
    earlier = None if record is None or record.end - window <= record.begin else record.end - window
    card = scorecard(
        source,
        # where nothing is dated no measure looks at the day
        as_of=day or EPOCH,
        compare_to=None if earlier is None else date_of(earlier),
        targets=targets,
        window=window,
        repeat_window=min(window, ACTIVITY),
        activity_window=min(window, ACTIVITY),
        returns=tried["returns"],
        # a customer who came in the middle of the earlier window would pass for growth
        established=newcomers is not None,
        effort_direction=effort_direction,
        options=options,
        seed=seed,
        level=level,
    )
    return ScorecardStudy(
        card,
        **tried,
        newcomers=newcomers,
        window=window,
        as_of=day,
        points=points,
        rates=tuple(float(r) for r in annual_discount_rates),
        costs=costs or _measured_costs(card),
        missing=tuple(missing),
        currency=source.currency,
    )


def _record(source: Dataset) -> PurchaseDays | None:
    """Return purchase days, or None where the data have no transactions.

    Raises:
        ContractError: When amounts are in several currencies.
    """
    if not source.has("transactions", "customer_id", "amount"):
        return None
    lines = source.frame("transactions")
    currencies = 1 if "currency" not in lines else len(lines["currency"].dropna().unique())
    if currencies > 1:
        raise ContractError(
            f"transactions holds {currencies} currencies; choose one, or convert amounts first"
        )
    return purchase_days(lines, source.as_of)


def _measured_costs(card: Scorecard) -> tuple[float, float] | None:
    """Return what winning and keeping a customer cost where the scorecard measures both."""
    found = [card.line(key).estimate for key in ("acquisition_cost", "retention_cost")]
    known = [e.value for e in found if e is not None and e.value > 0]
    return (known[0], known[1]) if len(known) == 2 else None


def _costs(winning: float | None, keeping: float | None) -> tuple[float, float] | None:
    given = [c for c in (winning, keeping) if c is not None]
    if not given:
        return None
    if len(given) == 1 or any(not (math.isfinite(c) and c > 0) for c in given):
        raise ArgumentError(
            f"acquisition_cost and keeping_cost go together, both above 0; got {winning!r} and {keeping!r}"
        )
    return given[0], given[1]
