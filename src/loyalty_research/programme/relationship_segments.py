"""Segments by relationship, the published loyalty rules that overlap, and consent of the young."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ContractError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.programme._contact_rows import clustered_proportion, read_contacts, refuse
from loyalty_research.programme.segment_stability import hidden_share
from loyalty_research.programme.segments import banded, check_customers, days_until
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from loyalty_research.estimates import Estimate

__all__ = ["ConsentOfTheYoung", "consent_of_the_young", "published_rules", "relationship_segments"]

ADULT = 15
_ANSWERS = ("open", "click", "redeem")
_LEAST = 5


def relationship_segments(
    transactions: Any,
    *,
    as_of: dt.date | str,
    tenure_edges: Sequence[float] = (0, 90, 365),
    interaction_edges: Sequence[float] = (0, 1, 4),
    window_days: int = 90,
    contacts: Any = None,
) -> pd.DataFrame:
    """Return how long each customer has been one, and how much has passed between the two lately.

    Tenure counts from the first purchase in the record; an extract that begins after customers did makes it
    too short. An interaction is a day with a purchase, or a message that was opened, clicked or redeemed.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        as_of: Last day that counts.
        tenure_edges: Lower edges in days since the first purchase.
        interaction_edges: Lower edges in interactions of the window.
        window_days: Days up to ``as_of`` in which interactions count.
        contacts: ``customer_id, sent_at, event``; None counts purchases alone.

    Returns:
        Index ``customer_id``; ``tenure``, ``interactions``, ``tenure_band``, ``interaction_band`` and
        ``segment``, both bands in words.

    Raises:
        ArgumentError: When edges or the window are not valid.
        ContractError: When no purchase remains, or a table is wrong.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": list("aab"), "amount": 1.0,
        ...     "transacted_at": pd.to_datetime(["2023-01-01", "2024-03-01", "2024-03-20"])})
        >>> relationship_segments(orders, as_of="2024-03-31", tenure_edges=[0, 365],
        ...     interaction_edges=[0, 2])["segment"].tolist()
        ['tenure [365, ∞), interactions [0, 2)', 'tenure [0, 365), interactions [0, 2)']
    """
    days, end = days_until(transactions, as_of)
    since = end - pd.Timedelta(days=positive_days(window_days, "window_days"))
    first = days.groupby("customer_id")["transacted_date"].min()
    lately = days[days["transacted_date"] > since].groupby("customer_id").size()
    count = lately.reindex(first.index, fill_value=0)
    if contacts is not None:
        rows = read_contacts(contacts)
        answered = rows[rows["event"].isin(_ANSWERS)]
        inside = (answered["sent_at"] >= since + pd.Timedelta(days=1)) & (
            answered["sent_at"] < end + pd.Timedelta(days=1)
        )
        # a message opened and then clicked is one interaction
        keys = [c for c in ("customer_id", "campaign_id", "sent_at") if c in answered.columns]
        each = answered.loc[inside, keys].drop_duplicates()
        count = count.add(each.groupby("customer_id").size().reindex(first.index, fill_value=0))
    made = pd.DataFrame({"tenure": (end - first).dt.days, "interactions": count})
    made["tenure_band"] = banded(made["tenure"], tenure_edges, name="tenure")
    made["interaction_band"] = banded(made["interactions"], interaction_edges, name="interactions")
    pairs = [
        message("tenure {tenure}, interactions {count}", tenure=a, count=b)
        for a in made["tenure_band"].cat.categories
        for b in made["interaction_band"].cat.categories
    ]
    wide = len(made["interaction_band"].cat.categories)
    codes = made["tenure_band"].cat.codes.to_numpy() * wide + made["interaction_band"].cat.codes.to_numpy()
    made["segment"] = pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(pairs), ordered=True)
    return made


def published_rules(
    transactions: Any,
    customers: pd.DataFrame,
    *,
    as_of: dt.date | str,
    loyal_purchases: int,
    active_days: int,
    memberships: pd.DataFrame | None = None,
    negative: Iterable[Any] | None = None,
) -> pd.DataFrame:
    """Return the rules by which loyalty segments are usually described, each by itself.

    They are published as segments and are not: potential customers are said to be those who might buy more,
    most of whom are current customers; negative ones those who bought once and never again, who are mostly
    walk-ins. The rules are returned one by one so that :func:`segment_overlap` can say how far that goes here.

    - current: a purchase in ``[0, active_days)`` days before ``as_of``;
    - potential: fewer than ``loyal_purchases`` purchase days, and none or a recent one last;
    - walk-in: has bought, without a membership on the day (left out where there are no memberships);
    - loyal: at least ``loyal_purchases`` purchase days, however long ago;
    - negative: one purchase day, not recent, or declared so.

    Args:
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        customers: ``customer_id``, one row each.
        as_of: Last day that counts.
        loyal_purchases: Days with a purchase that make a customer loyal, at least 2.
        active_days: Days within which a last purchase is recent.
        memberships: ``customer_id, valid_from`` and, where it ended, ``valid_to``.
        negative: Customers declared negative, such as detractors.

    Returns:
        Index ``customer_id``, one boolean column a rule.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a customer repeats, or an order belongs to nobody in ``customers``.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": list("aab"), "amount": 1.0,
        ...     "transacted_at": pd.to_datetime(["2024-03-01", "2024-03-20", "2023-01-01"])})
        >>> people = pd.DataFrame({"customer_id": list("abc")})
        >>> rules = published_rules(orders, people, as_of="2024-03-31", loyal_purchases=3, active_days=90)
        >>> rules.columns[rules.loc["a"]].tolist(), rules.columns[rules.loc["b"]].tolist()
        (['current', 'potential'], ['negative'])
    """
    positive_days(loyal_purchases, "loyal_purchases", least=2)
    positive_days(active_days, "active_days")
    people = check_customers(customers)
    days, end = days_until(transactions, as_of)
    strangers = ~days["customer_id"].isin(people).to_numpy()
    refuse(strangers, "purchase days belong to no row of customers", "add them to customers")
    per = days.groupby("customer_id")["transacted_date"].agg(["size", "max"]).reindex(people)
    count = per["size"].fillna(0).to_numpy(dtype=float)
    recent = (end - per["max"]).dt.days.to_numpy() < active_days
    named = np.zeros(len(people), bool) if negative is None else people.isin(list(negative))
    rules = {
        "current": recent,
        "potential": (count < loyal_purchases) & (recent | (count == 0)),
        "loyal": count >= loyal_purchases,
        "negative": ((count == 1) & ~recent) | named,
    }
    if memberships is not None:
        rules["walk-in"] = (count > 0) & ~people.isin(_members(memberships, end))
    return pd.DataFrame(rules, index=people)


def _members(memberships: pd.DataFrame, end: pd.Timestamp) -> pd.Index[Any]:
    """Return who holds a membership on a day."""
    missing = [c for c in ("customer_id", "valid_from") if c not in memberships.columns]
    if missing:
        raise ContractError(f"memberships lacks the column {', '.join(missing)}")
    tomorrow = end + pd.Timedelta(days=1)
    held = pd.to_datetime(memberships["valid_from"]) < tomorrow
    if "valid_to" in memberships.columns:
        until = pd.to_datetime(memberships["valid_to"])
        held &= until.isna() | (until >= tomorrow)
    return pd.Index(memberships.loc[held, "customer_id"].unique())


@dataclass(frozen=True, repr=False, eq=False)
class ConsentOfTheYoung(Result):
    """Messages to customers below the age of consent.

    Attributes:
        without: Share of the messages to them that carry no consent; None where none was sent, hidden where
            it rests on fewer than five customers.
        messages: Messages sent to them.
        young: Customers below the age on the day of a message.
        unknown: Messages to customers whose age is not known.
        age: Age from which customers decide for themselves.
    """

    title: ClassVar[str] = "Consent of the young"

    without: Estimate | None
    messages: int
    young: int
    unknown: int
    age: int

    def _rows(self) -> Iterable[Row]:
        if self.without is not None:
            yield Row(
                message("messages without consent"),
                self.without,
                group=message("customers under {age}", age=self.age),
            )

    def _verdict(self) -> str:
        if self.without is None:
            return message("No message went to a customer known to be under {age}.", age=self.age)
        if not self.without.n:
            return message(
                "Messages went to fewer than five customers under {age}, or all but a few of them are alike; no share "
                "is shown.",
                age=self.age,
            )
        if self.without.value > 0:
            return message(
                "{share} of {n} messages to customers under {age} carry no consent ({interval}): they should not have "
                "been sent. Who is under {age} needs a guardian's consent, and belongs in no segment for marketing.",
                share=self.without.format(),
                n=f"{self.messages:,}",
                age=self.age,
                interval=self.without.interval(),
            )
        return message(
            "All {n} messages to customers under {age} carry consent; whether a guardian gave it is not in the data.",
            n=f"{self.messages:,}",
            age=self.age,
        )


def consent_of_the_young(
    customers: pd.DataFrame, contacts: Any, *, age: int = ADULT, level: float = 0.95
) -> ConsentOfTheYoung:
    """Return how many messages to customers below the age of consent carry none.

    The age counts on the day of each message: completed years from ``birth_date``, or ``age`` as recorded,
    which may be older than the message. A message whose consent is not recorded counts as without.

    Args:
        customers: ``customer_id`` and ``birth_date`` or ``age``.
        contacts: ``customer_id, sent_at, event, has_consent``; only what was sent counts.
        age: Age from which customers decide for themselves; the law's, where it differs.
        level: Confidence level.

    Raises:
        ArgumentError: When ``age`` is not a whole number above 0.
        ContractError: When a column is missing, or a customer repeats.

    Examples:
        >>> people = pd.DataFrame({"customer_id": range(20), "age": [12] * 10 + [30] * 10})
        >>> sent = pd.DataFrame({"customer_id": range(20), "sent_at": pd.Timestamp("2024-01-01"),
        ...                      "event": "sent", "has_consent": [True] * 5 + [False] * 5 + [True] * 10})
        >>> consent_of_the_young(people, sent).without.value
        0.5

    References:
        Regulation (EU) 2016/679, article 8: below an age that states set between 13 and 16, consent is a
        guardian's.
    """
    level = check_level(level)
    age = positive_days(age, "age")
    people = check_customers(customers)
    rows = read_contacts(contacts)
    if "has_consent" not in rows.columns:
        raise ContractError("contacts has no column has_consent, so consent cannot be looked at")
    sent = rows[rows["event"] == "sent"]
    table = customers.set_axis(people)
    years = _years(table, sent)
    young = (years < age).to_numpy()
    some = sent[young]
    missing = ~some["has_consent"].astype("boolean").fillna(value=False).to_numpy(dtype=bool)
    without = None
    if len(some):
        bad, fine = some.loc[missing, "customer_id"].nunique(), some.loc[~missing, "customer_id"].nunique()
        few = 0 < bad < _LEAST or 0 < fine < _LEAST
        without = (
            hidden_share(level) if few else clustered_proportion(missing, some["customer_id"], level=level)
        )
    unknown = int(years.isna().sum())
    return ConsentOfTheYoung(
        without=without,
        messages=len(some),
        young=int(some["customer_id"].nunique()),
        unknown=unknown,
        age=age,
        checks=(
            Check(
                message("Age known"),
                "warning" if unknown else "passed",
                message(
                    "Of {n} messages sent, {unknown} went to customers whose age is not known.",
                    n=f"{len(sent):,}",
                    unknown=f"{unknown:,}",
                ),
            ),
        ),
    )


def _years(customers: pd.DataFrame, sent: pd.DataFrame) -> pd.Series[Any]:
    """Return the age of each message's customer on its day."""
    who = sent["customer_id"]
    if "birth_date" in customers.columns:
        born = who.map(pd.to_datetime(customers["birth_date"]))
        day = sent["sent_at"]
        before = (born.dt.month > day.dt.month) | (
            (born.dt.month == day.dt.month) & (born.dt.day > day.dt.day)
        )
        years: pd.Series[Any] = day.dt.year - born.dt.year - before.astype(float)
        return years
    if "age" in customers.columns:
        return who.map(customers["age"].astype(float))
    raise ContractError("customers has neither birth_date nor age, so who is young is not known")
