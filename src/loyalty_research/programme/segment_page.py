"""From a dataset to its segments on one day, and what they then did."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.errors import ContractError, ConvergenceError, DesignError
from loyalty_research.estimates import Check, Finding, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._scorecard_sources import because
from loyalty_research.programme._segment_divisions import Moments, named_divisions
from loyalty_research.programme._segment_words import calibration, place, plain, rank, rule_names, with_limits
from loyalty_research.programme.cycle_mixture import cycle_mixture
from loyalty_research.programme.segments import AGES
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.data import Dataset
    from loyalty_research.programme._segment_divisions import Division, Outlook
    from loyalty_research.programme.cycle_mixture import CycleMixture
    from loyalty_research.programme.relationship_segments import ConsentOfTheYoung
    from loyalty_research.programme.segment_outcomes import SegmentLater
    from loyalty_research.programme.segment_stability import SegmentOverlap
    from loyalty_research.programme.value_segments import ValueSegments

__all__ = ["SegmentStudy", "segment_study"]

_SMALL = 6  # divisions of more segments are compared, not listed
_CLAIM = 0.7


@dataclass(frozen=True)
class SegmentStudy:
    """Segments as they stood one window before the last day, and what became of them.

    Attributes:
        placed: Customers by what the model expected; None with a reason among ``missing``.
        divisions: Each way to divide the same customers, the model's first where there is one.
        overlap: Rules as they are published, which overlap; None likewise.
        cycles: Whether there are two kinds of purchase cycle; None likewise.
        consent: Messages to the young; None likewise.
        split: Day on which segments were made.
        as_of: Last day.
        window: Days between the two.
        model: Checks of the model of purchases; None without one.
        missing: What could not be made, with the reason.
        currency: ISO 4217 code, or None.
    """

    placed: ValueSegments | None
    divisions: tuple[Division, ...]
    overlap: SegmentOverlap | None
    cycles: CycleMixture | None
    consent: ConsentOfTheYoung | None
    split: dt.date | None
    as_of: dt.date | None
    window: int
    model: tuple[Check, ...] | None
    missing: tuple[Check, ...]
    currency: str | None

    @property
    def main(self) -> Division | None:
        """The division whose segments have names: the model's, or else that of declared rules."""
        return self.divisions[0] if self.divisions else None

    def findings(self) -> tuple[Finding, ...]:
        """Return what to know of the segments first: what the loyal one brought later."""
        if self.main is None:
            return ()
        loyal = self.main.outcomes.later.get("loyal")
        if loyal is None or math.isnan(loyal.share.value):
            return ()
        said = self.main.outcomes.claim_verdict(share=_CLAIM)
        if self.placed is not None:
            said = message(
                "{said} Loyal here: at least {alive} likely to be a customer still, and expected to buy on {edge} days or "
                "more in {window}.",
                said=said,
                alive=percent(self.placed.alive_edge, digits=0),
                edge=f"{self.placed.purchases_edge:g}",
                window=self.window,
            )
        return (Finding("loyal-segment", said, loyal.share, section=message("The answer")),)

    def claim(self) -> tuple[str, ...]:
        """Hold “the loyal segment brings more than 70% of revenue” against the days after."""
        said = [
            message("By {name}: {said}", name=one.name, said=one.outcomes.claim_verdict(share=_CLAIM))
            for one in self.divisions
            if "loyal" in one.outcomes.later
        ]
        return tuple(said) or (self.reasons()[0],)

    def reasons(self) -> tuple[str, ...]:
        """Return why what is missing is, one sentence each."""
        return tuple(c.detail for c in self.missing) or (
            message("Not measurable because the record is too short."),
        )

    def words(self) -> tuple[str, ...]:
        """Return what is said of the segments, one paragraph each."""
        said = []
        if self.placed is not None:
            said.append(self.placed.verdict())
        if self.main is not None:
            said.append(self.main.outcomes.verdict())
        return tuple(said)

    def _ordered(self) -> list[tuple[str, SegmentLater]]:
        """Return the main segments, the best first where they have an order."""
        if self.main is None:
            return []
        return sorted(self.main.outcomes.later.items(), key=place)

    def table(self) -> pd.DataFrame:
        """Return the main division in words: size, what was expected, and what was done."""
        if self.main is None:
            return pd.DataFrame()
        rows = []
        for segment, later in self._ordered():
            row = {message("Segment"): segment}
            if self.placed is not None:
                row[message("Share of customers")] = with_limits(self.placed.sizes[segment])
                row[message("Still customers, as modelled")] = with_limits(self.placed.still.get(segment))
                row[message("Purchases expected")] = plain(self.placed.ahead.get(segment), digits=2)
            else:
                count = self.main.outcomes.customers[segment]
                row[message("Customers")] = "–" if count is None else f"{count:,}"
            row[message("Purchases made")] = with_limits(later.purchases, digits=2)
            row[message("Share of revenue before")] = plain(later.share_before)
            row[message("Share of revenue after")] = with_limits(later.share)
            rows.append(row)
        return pd.DataFrame(rows)

    def moves(self) -> pd.DataFrame:
        """Return where customers of each segment were one window later, in per cent."""
        if self.main is None or self.main.stability is None:
            return pd.DataFrame()
        cells = self.main.stability.transitions
        wide = cells.pivot_table(
            index="before", columns="after", values="share", sort=False, dropna=False, observed=False
        )
        order = [s for s, _ in self._ordered() if s in wide.index]
        columns = [*[s for s in order if s in wide.columns], *[c for c in wide.columns if c not in order]]
        shown = wide.loc[order, columns].map(lambda v: percent(v, digits=0))
        shown.columns = pd.Index([str(c) for c in shown.columns])
        return shown.reset_index(names=message("From"))

    def move_words(self) -> tuple[str, ...]:
        """Return whether customers stay in their segment, in words."""
        if self.main is None or self.main.stability is None:
            return ()
        found = self.main.stability
        if found.agreement is None:
            return (found.verdict(),)
        return (
            found.verdict(),
            message(
                "On a scale from 0, as good as chance, to 1, all the same, the two placements agree at {value} (adjusted "
                "Rand index).",
                value=with_limits(found.agreement, digits=2),
            ),
        )

    def compared(self) -> pd.DataFrame:
        """Return every division: how well it told later purchases, and whether it holds over time."""
        rows = []
        ranked = sorted(self.divisions, key=rank, reverse=True)
        for one in ranked:
            agreement = None if one.stability is None else one.stability.agreement
            rows.append(
                {
                    message("Divided by"): one.name,
                    message("Segments"): len(one.outcomes.later),
                    message("Differences in later purchases it explains"): with_limits(
                        one.outcomes.explained
                    ),
                    message("Agreement a window later, 0 to 1"): with_limits(agreement, digits=2),
                }
            )
        return pd.DataFrame(rows)

    def others(self) -> pd.DataFrame:
        """Return the segments of the divisions of few, in words: size and what they did."""
        rows = [
            {
                message("Divided by"): one.name,
                message("Segment"): segment,
                message("Purchases made"): with_limits(later.purchases, digits=2),
                message("Share of revenue after"): with_limits(later.share),
                message("Customers"): one.outcomes.customers[segment],
            }
            for one in self.divisions[1:]
            if len(one.outcomes.later) <= _SMALL
            for segment, later in sorted(one.outcomes.later.items(), key=place)
        ]
        return pd.DataFrame(rows)

    def overlaps(self) -> pd.DataFrame:
        """Return pairs of published rules that share customers, the largest overlap first."""
        if self.overlap is None:
            return pd.DataFrame()
        names = rule_names()
        rows = []
        for record, share in zip(
            self.overlap.pairs.to_dict("records"), self.overlap.shares.values(), strict=True
        ):
            hidden = record["customers"] is None
            if not hidden and not record["customers"]:
                continue
            pair = message("{a} and {b}", a=names[record["first"]], b=names[record["second"]])
            rows.append(
                (
                    -1.0 if hidden else share.value,
                    {
                        message("Both"): pair,
                        message("Customers"): record["customers"],
                        message("Of those under either"): with_limits(share),
                    },
                )
            )
        rows.sort(key=lambda row: -row[0])
        return pd.DataFrame([row for _, row in rows])

    def absent(self) -> pd.DataFrame:
        """Return what customers cannot be divided by, and why; those of one reason are one row."""
        reasons: dict[str, list[str]] = {}
        for one in self.missing:
            reasons.setdefault(because(one.detail), []).append(one.name)
        rows = [("; ".join(names), reason) for reason, names in reasons.items()]
        return pd.DataFrame(rows, columns=[message("Not measurable"), message("Because")])

    def tables(self) -> Iterator[tuple[pd.DataFrame, str, str | None]]:
        """Yield the tables that are not empty, each with caption and note."""
        after = message("{window} days after", window=self.window)
        yield from (
            (frame, caption, note)
            for frame, caption, note in (
                (
                    self.table(),
                    message(
                        "Segments of {split}, and what their customers did in the {after}",
                        split=self.split,
                        after=after,
                    ),
                    self._edges(),
                ),
                (
                    self.moves(),
                    message("Where customers of each segment were {after}", after=after),
                    " ".join(
                        (
                            *self.move_words(),
                            message(
                                "– stands for fewer than five customers, and for what would reveal them."
                            ),
                        )
                    ),
                ),
                (
                    self.compared(),
                    message(
                        "Ways to divide the same customers, the one that tells later purchases best first"
                    ),
                    message(
                        "100% would be segments in which all customers buy equally often. Agreement is from 0, as "
                        "good as chance, to 1, everybody in the same segment as before; where tenure divides, customers move on by "
                        "themselves."
                    ),
                ),
                (
                    self.others(),
                    message("The other divisions, segment by segment, in the {after}", after=after),
                    None,
                ),
                (
                    self.overlaps(),
                    message("Loyalty segments as they are usually described overlap"),
                    self._rules(),
                ),
                (self.absent(), message("What customers cannot be divided by here"), None),
            )
            if len(frame)
        )

    def _edges(self) -> str | None:
        if self.placed is None:
            return None
        return message(
            "Loyal: at least {alive} likely to be customers still, and expected to buy on {edge} days or more in a window; "
            "occasional: as likely, fewer days; one-time and lapsed: less likely, after one purchase day and after "
            "more. Purchases are days with a purchase, per customer.",
            alive=percent(self.placed.alive_edge, digits=0),
            edge=f"{self.placed.purchases_edge:g}",
        )

    def _rules(self) -> str | None:
        if self.overlap is None:
            return None
        return message(
            "{said} Current: bought in the last window; potential: fewer purchase days than loyal, the last in the last "
            "window or none yet; walk-in: bought without a membership; negative: bought once, before the last window.",
            said=self.overlap.verdict(),
        )

    def notes(self) -> tuple[str, ...]:
        """Return what else was found, one paragraph each."""
        parts = (self.cycles, self.consent)
        return tuple(part.verdict() for part in parts if part is not None)

    def checks(self) -> tuple[Check, ...]:
        """Return every check of the parts once."""
        parts: list[Any] = [self.cycles, self.consent]
        if self.main is not None:
            parts += [self.main.outcomes, self.main.stability]
        found = [c for part in parts if part is not None for c in part.checks]
        own = () if self.placed is None or self.main is None else (calibration(self.main),)
        every = dict.fromkeys([*(self.model or ()), *own, *found])
        warned = {c.name for c in every if c.status != "passed"}
        return tuple(c for c in every if c.status != "passed" or c.name not in warned)

    def pictures(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of what segments did next, with alternative text and caption."""
        from loyalty_research.plots.scorecard import segment_purchases

        if self.main is None:
            return
        rows: list[dict[str, Any]] = []
        for segment, later in self._ordered():
            if math.isnan(later.purchases.value):
                continue
            ahead = None if self.placed is None else self.placed.ahead.get(segment)
            rows.append(
                {
                    "segment": segment,
                    "made": later.purchases.value,
                    "low": later.purchases.low,
                    "high": later.purchases.high,
                    "expected": math.nan if ahead is None else ahead.value,
                }
            )
        if not rows:
            return
        frame = pd.DataFrame(rows)
        told = "; ".join(f"{r['segment']} {number(float(r['made']), digits=2)}" for r in rows)
        yield (
            segment_purchases(frame, days=self.window),
            message(
                "Purchase days per customer in the {days} days after segments were made: {told}.",
                days=self.window,
                told=told,
            ),
            message(
                "Mark and line: what customers did, with its interval. Hollow mark: what the model had expected."
            )
            if frame["expected"].notna().any()
            else message("Mark and line: what customers did, with its interval."),
        )


def segment_study(
    source: Dataset,
    *,
    window: int,
    as_of: dt.date | None = None,
    outlook: Outlook | None = None,
    alive_edge: float = 0.5,
    loyal_purchases: int = 2,
    age_edges: Sequence[float] = AGES,
    seed: int = 0,
    level: float = 0.95,
) -> SegmentStudy:
    """Make segments one window before the last day, and follow them into that window.

    Args:
        source: What ``lr.open_dataset`` returned.
        window: Days followed, and days in which somebody who bought last counts as recent.
        as_of: Last day; by default the last day observed.
        outlook: What predicts each customer's purchases, such as ``clv.outlook``; None leaves segments to
            declared rules.
        alive_edge: P(alive) from which somebody counts as a customer.
        loyal_purchases: Purchase days, so far or expected in the window, that make a customer loyal; at
            least 2.
        age_edges: Lower edges of age bands, in years.
        seed: Seed of the draws.
        level: Confidence level.

    Returns:
        The segments there are, and for the others the reason.

    Raises:
        ArgumentError: On a wrong option.

    Examples:
        >>> import loyalty_research as lr
        >>> found = segment_study(lr.open_dataset("cdnow-sample"), window=180)
        >>> found.split.isoformat(), found.main.name
        ('1998-01-01', 'declared rules on purchases')
    """
    level = check_level(level)
    window = positive_days(window, "window")
    loyal = positive_days(loyal_purchases, "loyal_purchases", least=2)
    missing: list[Check] = []

    def attempt(name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (ContractError, ConvergenceError, DesignError) as reason:
            why = message("Not measurable because {why}.", why=str(reason).rstrip("."))
            missing.append(Check(name, "not measurable", why))
            return None

    at = attempt(
        message("Segments"),
        lambda: Moments.of(source, window=window, as_of=as_of, loyal=loyal, level=level),
    )
    if at is None:
        return SegmentStudy(
            None, (), None, None, None, None, as_of, window, None, tuple(missing), source.currency
        )
    predicted = None
    if outlook is not None:
        predicted = attempt(
            message("Segments by what is expected"),
            lambda: at.predict(outlook, alive_edge=alive_edge, seed=seed),
        )
    cycles = attempt(message("Purchase cycles"), lambda: cycle_mixture(at.days, as_of=at.split, level=level))
    divisions = [
        made
        for name, make in named_divisions(at, predicted, cycles, age_edges)
        if (made := attempt(name, functools.partial(make, name))) is not None
    ]
    return SegmentStudy(
        placed=None if predicted is None else predicted.placed,
        divisions=tuple(divisions),
        overlap=attempt(message("Overlap of published rules"), at.overlap),
        cycles=cycles,
        consent=attempt(message("Consent of the young"), at.consent),
        split=at.split,
        as_of=at.last,
        window=window,
        model=None if predicted is None else predicted.checks,
        missing=tuple(missing),
        currency=source.currency,
    )
