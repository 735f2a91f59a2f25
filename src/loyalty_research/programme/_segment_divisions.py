"""The ways to divide a dataset's customers on a day, and what a page needs of each."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.i18n import message
from loyalty_research.programme._windows import date_of, purchase_days
from loyalty_research.programme.relationship_segments import (
    consent_of_the_young,
    published_rules,
    relationship_segments,
)
from loyalty_research.programme.segment_outcomes import segment_outcomes
from loyalty_research.programme.segment_stability import segment_overlap, segment_stability
from loyalty_research.programme.segments import (
    UNKNOWN,
    age_bands,
    loyalty_segments,
    persons_and_organisations,
    promoter_groups,
    purchase_cycles,
    rfm_segments,
)
from loyalty_research.programme.value_segments import value_segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Check
    from loyalty_research.programme._windows import PurchaseDays
    from loyalty_research.programme.cycle_mixture import CycleMixture
    from loyalty_research.programme.relationship_segments import ConsentOfTheYoung
    from loyalty_research.programme.segment_outcomes import SegmentOutcomes
    from loyalty_research.programme.segment_stability import SegmentOverlap, SegmentStability
    from loyalty_research.programme.value_segments import ValueSegments

__all__ = ["Division", "Moments", "Outlook", "Predicted", "Prediction", "named_divisions"]


class Prediction(Protocol):
    """What is expected of each customer, such as ``clv.outlook`` returns."""

    @property
    def predictions(self) -> pd.DataFrame:
        """``frequency, probability_alive, expected_purchases`` by customer."""

    @property
    def draws(self) -> tuple[Any, Any]:
        """The last two under drawn parameters, each of shape (customers, draws)."""

    @property
    def model(self) -> Any:
        """The fitted model, to carry on to a later day."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was found amiss with it."""


class Outlook(Protocol):
    """What predicts each customer's next days from purchases up to a day."""

    def __call__(self, transactions: Any, *, until: dt.date, days: int, **options: Any) -> Prediction:
        """Return the predictions."""


@dataclass(frozen=True, slots=True)
class Division:
    """One way to divide customers.

    Attributes:
        name: In a reader's words.
        outcomes: What its segments did in the days after.
        stability: Whether customers stayed in them; None where they cannot move.
    """

    name: str
    outcomes: SegmentOutcomes
    stability: SegmentStability | None


@dataclass(frozen=True, slots=True)
class Predicted:
    """Customers placed by what a model expects of them.

    Attributes:
        placed: As they stood at first.
        later: Segments of the same customers one window later, by the same model.
        expected: Purchase days expected of each in the window.
        checks: What was found amiss with the model.
    """

    placed: ValueSegments
    later: pd.Series[Any]
    expected: pd.Series[float]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Moments:
    """A record of purchases, and the two days between which segments are followed.

    Attributes:
        source: The dataset.
        record: Purchase days up to the last day.
        known: Customers who had bought by the first of the two days.
        split: The first day: segments are made at its end.
        last: The last day.
        window: Days between the two.
        loyal: Purchase days that make a customer loyal.
        level: Confidence level.
    """

    source: Dataset
    record: PurchaseDays
    known: pd.Index[Any]
    split: dt.date
    last: dt.date
    window: int
    loyal: int
    level: float

    @classmethod
    def of(cls, source: Dataset, *, window: int, as_of: dt.date | None, loyal: int, level: float) -> Moments:
        """Read a dataset's purchases.

        Raises:
            ContractError: When a row is wrong.
            DesignError: When there are no transactions, or none before the window.
        """
        if not source.has("transactions", "customer_id", "amount"):
            raise DesignError("the dataset has no table transactions with customer_id and amount")
        record = purchase_days(source.tables["transactions"], as_of or source.as_of)
        last = date_of(record.end)
        split = last - dt.timedelta(days=window)
        known = record.customers[record.first <= split.toordinal()]
        if not len(known):
            raise DesignError(f"nobody had bought by {split}; take a shorter window")
        return cls(source, record, known, split, last, window, loyal, level)

    @property
    def days(self) -> pd.DataFrame:
        """Purchase days up to the last day, one row a customer and day."""
        return self.record.frame

    def people(self, day: dt.date) -> pd.DataFrame:
        """Return everybody to place on a day: customers in their table, and those who had bought."""
        bought = self.days.loc[self.days["transacted_date"] <= pd.Timestamp(day), "customer_id"]
        if not self.source.has("customers", "customer_id"):
            return pd.DataFrame({"customer_id": bought.unique()})
        listed = self.source.frame("customers")
        if "acquired_date" in listed.columns:
            listed = listed[~(pd.to_datetime(listed["acquired_date"]) > pd.Timestamp(day))]
        every = pd.Index(listed["customer_id"]).union(pd.Index(bought.unique()), sort=False).unique()
        return pd.DataFrame({"customer_id": every})

    def predict(self, outlook: Outlook, *, alive_edge: float, seed: int) -> Predicted:
        """Place customers on both days by one model, fitted to what was known on the first."""
        first = outlook(self.days, until=self.split, days=self.window, seed=seed, level=self.level)
        placed = value_segments(
            first.predictions,
            alive_edge=alive_edge,
            purchases_edge=float(self.loyal),
            draws=first.draws,
            level=self.level,
        )
        again = outlook(self.days, until=self.last, days=self.window, model=first.model, draws=20)
        later = value_segments(
            again.predictions, alive_edge=alive_edge, purchases_edge=float(self.loyal), level=self.level
        )
        return Predicted(
            placed, later.labels, first.predictions["expected_purchases"], (*first.checks, *placed.checks)
        )

    def divide(
        self,
        name: str,
        first: pd.Series[Any],
        later: pd.Series[Any] | None,
        expected: pd.Series[float] | None = None,
    ) -> Division:
        """Follow segments of the customers who had bought by the first day.

        Raises:
            DesignError: When all of them are in one segment.
        """
        labels = first[first.index.isin(self.known)]
        if labels.nunique() < 2:
            raise DesignError("all customers are in one segment")
        outcomes = segment_outcomes(
            labels,
            self.record,
            after=self.split,
            days=self.window,
            expected=expected,
            currency=self.source.currency,
            level=self.level,
        )
        moved = None if later is None else segment_stability(labels, later, level=self.level)
        return Division(name, outcomes, moved)

    def rules(self, day: dt.date) -> pd.Series[Any]:
        """Return segments by declared rules."""
        people = self.people(day)
        found = loyalty_segments(
            self.days, people, as_of=day, loyal_purchases=self.loyal, active_days=self.window
        )
        labels: pd.Series[Any] = found["segment"]
        return labels

    def recency_frequency(self, day: dt.date) -> pd.Series[Any]:
        """Return segments by days since the last purchase and number of purchase days."""
        found = rfm_segments(
            self.days,
            as_of=day,
            recency_edges=(0, self.window / 2, self.window),
            frequency_edges=(0, 2, max(self.loyal, 3)),
            monetary_edges=(0,),
        )
        return found["recency_band"].astype(str) + found["frequency_band"].astype(str)

    def relationship(self, day: dt.date) -> pd.Series[Any]:
        """Return segments by tenure and interaction."""
        contacts = self.source.frame("contacts") if self.source.has("contacts", "event", "sent_at") else None
        found = relationship_segments(
            self.days,
            as_of=day,
            tenure_edges=(0, self.window, 2 * self.window),
            window_days=self.window,
            contacts=contacts,
        )
        since, lately = (found[c].astype(str).map(in_words) for c in ("tenure_band", "interaction_band"))
        pairs = zip(since, lately, strict=True)
        words = [message("{days} days, {count} interactions", days=a, count=b) for a, b in pairs]
        return pd.Series(words, index=found.index)

    def promoters(self, day: dt.date) -> pd.Series[Any]:
        """Return promoters, passives and detractors, and everybody who was not asked.

        Raises:
            DesignError: When nobody was asked whether they would recommend.
        """
        if not self.source.has("surveys", "customer_id", "instrument", "value"):
            raise DesignError("the data have no surveys with instrument and value")
        answers = self.source.frame("surveys")
        asked = answers[answers["instrument"].astype("string").str.lower() == "nps"]
        if asked.empty:
            raise DesignError("surveys have no answers to the instrument nps")
        return promoter_groups(asked, as_of=day).reindex(self.known).fillna(UNKNOWN)

    def _from_customers(self, make: Callable[[pd.DataFrame], pd.Series[Any]]) -> pd.Series[Any]:
        if not self.source.has("customers", "customer_id"):
            raise DesignError("the dataset has no table customers")
        return make(self.source.frame("customers")).astype(str)

    def ages(self, edges: Sequence[float]) -> pd.Series[Any]:
        """Return age bands on the first day."""
        bands = self._from_customers(lambda people: age_bands(people, as_of=self.split, edges=edges))
        return bands.map(in_words)

    def forms(self) -> pd.Series[Any]:
        """Return persons and organisations."""
        return self._from_customers(persons_and_organisations)

    def cycles(self, day: dt.date, found: CycleMixture) -> pd.Series[Any]:
        """Return short and long cycles, where there are two kinds.

        Raises:
            DesignError: When there are not.
        """
        if not found.two_kinds:
            raise DesignError("the gaps between purchases do not show two kinds of customers")
        return purchase_cycles(self.days, as_of=day, edge_days=found.edge_days)

    def overlap(self) -> SegmentOverlap:
        """Return how far published rules overlap on the last day."""
        held = self.source.frame("memberships") if self.source.has("memberships", "valid_from") else None
        rules = published_rules(
            self.days,
            self.people(self.last),
            as_of=self.last,
            loyal_purchases=max(self.loyal, 2),
            active_days=self.window,
            memberships=held,
        )
        return segment_overlap(rules, level=self.level)

    def consent(self) -> ConsentOfTheYoung:
        """Return messages to the young without consent.

        Raises:
            DesignError: When ages or consents are not in the data.
        """
        if not self.source.has("contacts", "has_consent"):
            raise DesignError("the dataset has no table contacts with has_consent")
        if not (self.source.has("customers", "birth_date") or self.source.has("customers", "age")):
            raise DesignError("the dataset has no table customers with birth_date or age")
        return consent_of_the_young(
            self.source.frame("customers"), self.source.frame("contacts"), level=self.level
        )


def in_words(band: str) -> str:
    """Return a band of whole numbers as a reader would say it.

    Examples:
        >>> in_words("[15, 22)"), in_words("[50, ∞)"), in_words("[0, 1)"), in_words("not known")
        ('15 to 21', '50 or more', '0', 'not known')
    """
    found = re.fullmatch(r"\[(\d+), (\d+|∞)\)", band)
    if found is None:
        return band
    low, above = found.groups()
    if above == "∞":
        return message("{low} or more", low=low)
    high = int(above) - 1
    return low if high == int(low) else message("{low} to {high}", low=low, high=high)


def named_divisions(
    at: Moments, predicted: Predicted | None, cycles: CycleMixture | None, age_edges: Sequence[float]
) -> Iterator[tuple[str, Callable[[str], Division]]]:
    """Yield each way to divide customers, with what makes it from its name."""
    if predicted is not None:
        yield (
            message("what the model expects"),
            lambda name: at.divide(name, predicted.placed.labels, predicted.later, predicted.expected),
        )
    moving: list[tuple[str, Callable[[dt.date], pd.Series[Any]]]] = [
        (message("declared rules on purchases"), at.rules),
        (message("recency and frequency"), at.recency_frequency),
        (message("tenure and interaction"), at.relationship),
        (message("promoters to detractors"), at.promoters),
    ]
    if cycles is not None:
        moving.append((message("short and long purchase cycle"), lambda day: at.cycles(day, cycles)))
    for words, make in moving:
        yield words, lambda name, make=make: at.divide(name, make(at.split), make(at.last))  # type: ignore[misc]
    yield message("age"), lambda name: at.divide(name, at.ages(age_edges), None)
    yield message("persons and organisations"), lambda name: at.divide(name, at.forms(), None)
