"""The scorecard: every measure of a programme on one day, its change, and its target."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.programme._scorecard_measures import MEASURES, OPTIONS
from loyalty_research.programme._scorecard_sheet import Sheet
from loyalty_research.programme._scorecard_surveys import survey_answers
from loyalty_research.programme._windows import change, date_of, purchase_days
from loyalty_research.programme.revenue import check_resamples
from loyalty_research.summaries._frames import as_ordinal, collect, positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from loyalty_research.data import Dataset
    from loyalty_research.programme._scorecard_sheet import Found
    from loyalty_research.programme._windows import PurchaseDays
    from loyalty_research.programme.returns import ReturnOnInvestment
    from loyalty_research.programme.surveys import EffortDirection

__all__ = ["Scorecard", "ScorecardLine", "scorecard"]

FEWEST = 5
RETURNS = "return_on_investment"


@dataclass(frozen=True, slots=True)
class ScorecardLine:
    """One measure of a scorecard.

    Attributes:
        key: Stable name, by which a target is declared.
        measure: Name in words.
        estimate: With its interval; None where it is not measurable.
        denominator: Whom or what ``estimate.n`` counts.
        change: Since the day compared with; None where there is none.
        target: The declared target, or None.
        status: ``"met"``, ``"missed"``, ``"not settled"``, ``"no target"`` or ``"not measurable"``.
        reason: Why the measure, or else its change, is not measurable.
    """

    key: str
    measure: str
    estimate: Estimate | None
    denominator: str
    change: Estimate | None
    target: float | None
    status: str
    reason: str


@dataclass(frozen=True, repr=False, eq=False)
class Scorecard(Result):
    """All measures of a programme on one day.

    Attributes:
        lines: One per measure, those that are not measurable among them.
        as_of: The day.
        compare_to: The earlier day compared with, or None.
        level: Confidence level.
    """

    title: ClassVar[str] = "Scorecard"

    lines: tuple[ScorecardLine, ...]
    as_of: dt.date
    compare_to: dt.date | None
    level: float

    def line(self, key: str) -> ScorecardLine:
        """Return one measure.

        Raises:
            ArgumentError: When there is none of the name.
        """
        for line in self.lines:
            if line.key == key:
                return line
        raise ArgumentError(
            f"there is no measure {key!r}; the measures are {', '.join(x.key for x in self.lines)}"
        )

    def _rows(self) -> Iterable[Row]:
        nothing = Estimate(math.nan, math.nan, math.nan, self.level, "not measurable", 0)
        for line in self.lines:
            moved = line.change or nothing
            yield Row(
                line.key,
                line.estimate or nothing,
                extra={
                    "measure": line.measure,
                    "unit": line.estimate.unit if line.estimate else None,
                    "denominator": line.denominator,
                    "change": moved.value,
                    "change_low": moved.low,
                    "change_high": moved.high,
                    "target": math.nan if line.target is None else line.target,
                    "status": line.status,
                    "reason": line.reason,
                },
            )

    def table(self) -> pd.DataFrame:
        """Return the scorecard in words, one row a measure."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "measure": line.measure,
                    "estimate": line.estimate.format() if line.estimate else "–",
                    "interval": line.estimate.interval() if line.estimate else "–",
                    "denominator": f"{line.estimate.n:,} {line.denominator}" if line.estimate else "–",
                    "change": line.change.format(signed=True) if line.change else "–",
                    "change_interval": line.change.interval(signed=True) if line.change else "–",
                    "status": line.status,
                    "reason": line.reason,
                }
                for line in self.lines
            ]
        )

    def _verdict(self) -> str:
        known = [line for line in self.lines if line.estimate is not None]
        parts = [
            message(
                "On {date}, {known} of {all} measures can be taken.",
                date=self.as_of.isoformat(),
                known=len(known),
                all=len(self.lines),
            )
        ]
        for status, said in (
            ("met", message("Target met")),
            ("missed", message("Target missed")),
            ("not settled", message("Target not settled, since the interval holds it")),
        ):
            names = [line.measure for line in known if line.status == status]
            if names:
                parts.append(message("{what}: {names}.", what=said, names=", ".join(names)))
        moved = [x for x in known if x.change and (x.change.low > 0 or x.change.high < 0)]
        if moved and self.compare_to is not None:
            parts.append(
                message(
                    "Since {date}, beyond chance one at a time: {changes}.",
                    date=self.compare_to.isoformat(),
                    changes=", ".join(f"{x.measure} {_moved(x.change)}" for x in moved),
                )
            )
        return " ".join(parts)


def _moved(estimate: Estimate | None) -> str:
    return "" if estimate is None else estimate.format(signed=True)


def scorecard(
    dataset: Dataset,
    *,
    as_of: dt.date | str,
    compare_to: dt.date | str | None = None,
    measures: Sequence[str] | None = None,
    targets: Mapping[str, float] | None = None,
    window: int = 365,
    repeat_window: int = 90,
    activity_window: int = 90,
    returns: ReturnOnInvestment | None = None,
    effort_direction: EffortDirection | None = None,
    established: bool = False,
    options: Mapping[str, Any] | None = None,
    seed: int = 1,
    resamples: int = 500,
    level: float = 0.95,
) -> Scorecard:
    """Return every measure of a programme on one day, with its change and its target.

    What the data cannot carry is a line that says why. A change counts customers seen on both days as
    the same people, so its interval allows for windows that overlap. Each change is judged alone: where
    nothing at all happened, about two in five cards of ten changes show one that leaves out 0.

    Args:
        dataset: What :func:`loyalty_research.open_dataset` returned.
        as_of: The day, that day included.
        compare_to: An earlier day to compare with.
        measures: Which measures to take, by their stable names; by default all there are.
        targets: Measure to target: at least that much, at most for the two shares of the top customers,
            for costs and losses per customer, breakage and abandoned carts, and for an effort scale on
            which lower is easier.
        window: Days of a window of retention, revenue and surveys.
        repeat_window: Days within which the second purchase must fall.
        activity_window: Days within which a member must earn or burn, and of silence after which a
            customer counts as lost.
        returns: What :func:`return_on_investment` returned, since a dataset does not say which comparison
            is the programme's holdout.
        effort_direction: Which end of the effort scale is the easy one.
        established: Compare revenue of customers alone who were first seen before the earlier window, since
            whoever came in its middle seems to grow; the share of the top of the last window counts everybody.
        options: Further arguments by name, which only some measures need and say so in their reason:
            ``purposes`` gives each campaign, tier or reward that has a cost its ``"acquisition"`` or
            ``"retention"``; ``organic_channels`` lists the acquisition channels that are not paid for;
            ``redemption_days`` (the activity window) and ``breakage_months`` (12) say within which time
            points are to be redeemed; ``cart_hours`` (24) when a cart is abandoned; ``wallet_days`` (the
            window) which days category spend was asked for; ``attitude`` (``("nps", 9)``) and
            ``behaviour_days`` (2) from where on a customer counts as loyal in attitude and in behaviour;
            ``survey_weights`` gives the lower edges of bands of purchase days, such as ``(0, 1, 2, 4)``, by
            which answers are weighted to the customers asked, or to those of the window.
        seed: Seed of the bootstraps over customers.
        resamples: Resamples of the bootstraps.
        level: Confidence level.

    Returns:
        One line per measure; ``to_frame()`` has measure, estimate, interval, denominator, change with its
        interval, target, status and reason.

    Raises:
        ArgumentError: On a wrong option, such as a target for no measure or a day that is not observed.
        ContractError: When rows break the contract, such as answers off their scale.

    Examples:
        >>> import loyalty_research as lr
        >>> source = lr.open_dataset("programme")
        >>> card = scorecard(source, as_of="2024-12-31", targets={"retention": 0.3}, resamples=100)
        >>> card.line("retention").status, card.line("return_on_investment").status
        ('met', 'not measurable')
    """
    level = check_level(level)
    resamples = check_resamples(resamples)
    day = _check_day(dataset, as_of)
    then = None if compare_to is None else as_ordinal(compare_to, "compare_to")
    if then is not None and then >= day:
        raise ArgumentError(f"compare_to must be before as_of; got {date_of(then)} and {date_of(day)}")
    wanted = _check_targets(targets)
    keys = _check_measures(measures)
    sheet = Sheet(
        dataset,
        record=_purchases(dataset, day),
        answers=survey_answers(dataset),
        window=positive_days(window, "window"),
        repeat_window=positive_days(repeat_window, "repeat_window"),
        activity_window=positive_days(activity_window, "activity_window"),
        effort_direction=effort_direction,
        seed=seed,
        resamples=resamples,
        level=level,
        established=bool(established),
        options=_check_options(options),
    )
    # of the earlier day only the estimate and each customer's pull count, not the bootstrap
    before = replace(sheet, resamples=100)
    lines = [
        _returns_line(returns, wanted.get(key))
        if key == RETURNS
        else _line(sheet, before, key, day, then, wanted.get(key))
        for key in keys
    ]
    return Scorecard(
        tuple(lines),
        as_of=date_of(day),
        compare_to=None if then is None else date_of(then),
        level=level,
    )


def _check_day(dataset: Dataset, as_of: dt.date | str) -> int:
    """Return the day number of a day that the dataset observes."""
    if not hasattr(dataset, "tables"):
        raise ArgumentError(
            f"dataset must be what open_dataset returned; got {type(dataset).__name__}: make one of frames with "
            "Dataset.from_frames"
        )
    day = as_ordinal(as_of, "as_of")
    if dataset.as_of is not None and day > dataset.as_of.toordinal():
        # refuses a day after a declared end; where none is declared, the day declares it
        dataset.viewed(date_of(day))
    return day


def _purchases(dataset: Dataset, day: int) -> PurchaseDays | None:
    """Return the purchases up to a day, or None where no customer made one."""
    import narwhals as nw

    if not dataset.has("transactions", "customer_id", "amount"):
        return None
    lines = dataset.tables["transactions"]
    sale = ~nw.col("customer_id").is_null() & (nw.col("amount") >= 0)
    if not len(collect(lines.filter(sale).select("customer_id").head(1))):
        return None
    return purchase_days(lines, date_of(day))


def _check_measures(measures: Sequence[str] | None) -> list[str]:
    """Return the measures to take, in the order of the card."""
    known = [*MEASURES, RETURNS]
    if measures is None:
        return known
    if isinstance(measures, str) or not len(measures):
        raise ArgumentError(f"measures must be a list of names, such as ['retention']; got {measures!r}")
    odd = [key for key in measures if key not in known]
    if odd:
        raise ArgumentError(f"measures names {', '.join(odd)}; the measures are {', '.join(known)}")
    return [key for key in known if key in measures]


def _check_targets(targets: Mapping[str, float] | None) -> dict[str, float]:
    wanted = dict(targets or {})
    known = [*MEASURES, RETURNS]
    odd = [key for key in wanted if key not in known]
    if odd:
        raise ArgumentError(f"targets names {', '.join(odd)}; the measures are {', '.join(known)}")
    wrong = [key for key, value in wanted.items() if not math.isfinite(value)]
    if wrong:
        raise ArgumentError(f"the target of {', '.join(wrong)} is no finite number")
    return wanted


def _check_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    wanted = dict(options or {})
    odd = [key for key in wanted if key not in OPTIONS]
    if odd:
        raise ArgumentError(f"options names {', '.join(odd)}; the options are {', '.join(OPTIONS) or 'none'}")
    return wanted


def _found(sheet: Sheet, key: str, day: int) -> tuple[Found | None, str]:
    """Return a measure on a day, or why there is none."""
    try:
        found = MEASURES[key][1](sheet, day)
    except DesignError as error:
        return None, str(error)
    if found.estimate.n < FEWEST:
        return None, message("it counts fewer than {fewest} customers", fewest=FEWEST)
    return found, ""


def _line(
    sheet: Sheet, before: Sheet, key: str, day: int, then: int | None, target: float | None
) -> ScorecardLine:
    name, _, more = MEASURES[key]
    if key == "effort" and sheet.effort_direction == "lower is easier":
        more = False
    now, reason = _found(sheet, key, day)
    if now is None:
        return ScorecardLine(
            key,
            name(),
            None,
            "",
            None,
            target,
            "not measurable",
            message("not measurable because {why}", why=reason),
        )
    moved = None
    if then is not None:
        earlier, reason = _found(before, key, then)
        if earlier is None:
            reason = message("change not measurable because {why}", why=reason)
        else:
            moved = change(now.estimate, earlier.estimate, now.moved, earlier.moved)
    return ScorecardLine(
        key,
        name(),
        now.estimate,
        now.denominator,
        moved,
        target,
        _status(now.estimate, target, more=more),
        reason,
    )


def _returns_line(returns: ReturnOnInvestment | None, target: float | None) -> ScorecardLine:
    key, name = RETURNS, message("Return on investment")
    if returns is None:
        reason = message(
            "not measurable because no comparison with a holdout was given: sales of members would for the most part "
            "have come without the programme"
        )
        return ScorecardLine(key, name, None, "", None, target, "not measurable", reason)
    who = message("customers, {held} of them held out", held=f"{returns.held_out:,}")
    status = _status(returns.roi, target, more=True)
    return ScorecardLine(key, name, returns.roi, who, None, target, status, "")


def _status(estimate: Estimate, target: float | None, *, more: bool) -> str:
    if target is None:
        return "no target"
    sign = 1 if more else -1
    ends: list[Any] = sorted((sign * estimate.low, sign * estimate.high))
    if math.isnan(estimate.low) or math.isnan(estimate.high) or ends[0] < sign * target <= ends[1]:
        return "not settled"
    return "met" if ends[0] >= sign * target else "missed"
