"""The data contract: every table and column, written once, as data.

Checks, typing at ingest, the data dictionary in ``data/README.md`` and the choice of a table for
an unknown file all read this module, so a column is added here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["CURRENCIES", "TABLES", "Column", "Table", "contract_frame"]

_CODES: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN "
    "BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS "
    "GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW "
    "KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD "
    "NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD "
    "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED "
    "VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG "
    # national codes that the euro or a redenomination replaced, found in older extracts
    "ATS BEF CYP DEM EEK ESP FIM FRF GRD HRK IEP ITL LTL LUF LVL MTL NLG PTE SIT SKK"
)
CURRENCIES: Final = tuple(_CODES.split())
"""ISO 4217 codes of money in circulation, and of those the euro replaced."""

Kind = Literal["string", "timestamp", "date", "decimal", "number", "integer", "boolean"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the contract knows.

    Attributes:
        name: Name in the contract.
        kind: ``string``, ``timestamp`` (naive UTC microseconds, with a ``_date`` column beside it
            for every ``_at``), ``date``, ``decimal`` (18 digits, two of them decimals), ``number``
            (float64), ``integer`` or ``boolean``.
        meaning: What it holds, in words.
        required: Present in every table of this name, without nulls.
        choices: Allowed values of a string, or empty for any.
        low: Smallest allowed value, or None.
        high: Largest allowed value, or None.
        open_interval: Whether ``low`` itself is not allowed.
        learnt_later: Whether the value becomes known after the row's own time, so that a view as of
            an earlier day blanks it.
        learnt_with: The moment of the row with which the value becomes known, so that a view as of a
            day before that moment blanks it; None where it is known from the start.
        references: Table whose key this column points at, or None.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    open_interval: bool = False
    learnt_later: bool = False
    learnt_with: str | None = None
    references: str | None = None

    @property
    def date_name(self) -> str | None:
        """Name of the date column beside a moment, such as ``transacted_date`` or ``valid_from_date``."""
        return self.name.removesuffix("_at") + "_date" if self.kind == "timestamp" else None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that the contract knows.

    Attributes:
        name: Plural name.
        meaning: One row is what.
        key: Columns that identify a row.
        columns: The columns; others are allowed beside them and kept.
        happens: The column that says when the row came about; rows after the observation end are
            left out by it. None for tables without a time.
        generated_key: Column that is numbered from the row where the source has none.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    happens: str | None = None
    generated_key: str | None = None

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None where it is not in the contract."""
        return next((c for c in self.columns if c.name == name), None)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the required columns, without a key that is numbered from the row."""
        return tuple(c.name for c in self.columns if c.required and c.name != self.generated_key)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns of the contract, in order."""
        return tuple(c.name for c in self.columns)


def _id(name: str, meaning: str, *, required: bool = True, references: str | None = None) -> Column:
    return Column(name, "string", meaning, required=required, references=references)


def _customer(meaning: str = "The customer.", *, required: bool = True) -> Column:
    return _id("customer_id", meaning, required=required, references="customers")


def _text(name: str, meaning: str, *choices: str, required: bool = False) -> Column:
    return Column(name, "string", meaning, choices=choices, required=required)


def _at(name: str, meaning: str, *, required: bool = False, learnt_later: bool = False) -> Column:
    return Column(name, "timestamp", meaning, required=required, learnt_later=learnt_later)


_CURRENCY = _text("currency", "ISO 4217 code; one for the whole dataset.", required=True)

_ALL: Final = (
    Table(
        "customers",
        "One row per customer.",
        ("customer_id",),
        (
            _id("customer_id", "Key that the other tables refer to."),
            _at("acquired_at", "When the person or firm became a customer."),
            Column("birth_date", "date", "Date of birth."),
            Column("age", "number", "Age in years.", low=0, high=120),
            _text("gender", "As the source records it."),
            _text("region", "As the source records it."),
            _text("acquisition_channel", "How the customer was won."),
            Column("is_organisation", "boolean", "A firm rather than a person."),
        ),
        happens="acquired_at",
    ),
    Table(
        "transactions",
        "One row per order; order lines are grouped at ingest.",
        ("transaction_id",),
        (
            _id("transaction_id", "Key of the order."),
            _customer(
                "Who bought; null for an anonymous sale, which is counted and never joined.", required=False
            ),
            _at("transacted_at", "When the order was placed.", required=True),
            Column("amount", "decimal", "What was paid; negative for a refund.", required=True),
            _CURRENCY,
            _text("type", "Sale or refund.", "sale", "refund"),
            Column("discount_amount", "decimal", "Reduction granted, as a positive figure.", low=0),
            _text("coupon_code", "Coupon that was used."),
            _text("channel", "Where the order was placed, such as web or store."),
            _text("store_id", "Shop."),
            _text("partner_id", "Partner of a coalition."),
            Column("cost_of_goods", "decimal", "What the goods cost the seller.", low=0),
        ),
        happens="transacted_at",
    ),
    Table(
        "memberships",
        "One row per spell of membership at one tier; half-open, never overlapping.",
        ("customer_id", "valid_from"),
        (
            _customer("The member."),
            _at("valid_from", "First moment of the spell.", required=True),
            _at("valid_to", "First moment after the spell; null while it lasts.", learnt_later=True),
            _text("programme_id", "Programme, where there are several."),
            _text("tier", "Tier during the spell."),
            _text("reason", "Why the spell began.", "enrol", "upgrade", "downgrade", "cancel", "expire"),
        ),
        happens="valid_from",
    ),
    Table(
        "contacts",
        "One row per contact event: a message sent, opened, redeemed.",
        ("contact_id",),
        (
            _id("contact_id", "Key of the event."),
            _customer("Who was contacted."),
            _text("campaign_id", "Campaign the contact belongs to."),
            _at("sent_at", "When the event took place.", required=True),
            _text("channel", "Channel or kind of campaign."),
            _text("event", "What happened.", "sent", "delivered", "open", "click", "redeem", "opt_out"),
            Column("has_consent", "boolean", "Whether the customer had agreed to be contacted."),
        ),
        happens="sent_at",
    ),
    Table(
        "points_ledger",
        "One row per movement of points.",
        ("entry_id",),
        (
            _id("entry_id", "Key of the movement."),
            _customer("Whose account."),
            _at("occurred_at", "When the movement was booked.", required=True),
            Column("points", "number", "Signed: earning adds, redeeming and expiry subtract.", required=True),
            _text("type", "Kind of movement.", "earn", "redeem", "adjust", "expire", "refund"),
            _at("expires_at", "When earned points lapse, as known at earning."),
            _text("partner_id", "Partner of a coalition."),
        ),
        happens="occurred_at",
    ),
    Table(
        "card_events",
        "One row per event of a stamp card.",
        ("card_id", "occurred_at", "event_no"),
        (
            _id("card_id", "The card."),
            _at("occurred_at", "When the event took place.", required=True),
            Column("event_no", "integer", "Order of events of one moment.", required=True, low=0),
            _customer("Who holds the card."),
            _text("event", "What happened.", "issued", "stamp", "completed", "redeemed", "expired", "lost"),
            Column(
                "required_stamps", "integer", "Stamps a reward takes, with given ones.", required=True, low=1
            ),
            Column("endowed_stamps", "integer", "Stamps given at issue.", required=True, low=0),
            _text("arm", "Experimental arm of the card."),
            _text("cluster_id", "Unit of assignment where it is larger than a card, such as a day."),
            Column("cycle", "integer", "Which card of the customer this is, from 1.", low=1),
            Column("paid_value", "decimal", "What was paid on the visit of a stamp.", low=0),
        ),
        happens="occurred_at",
    ),
    Table(
        "assignments",
        "One row per customer of an experiment.",
        ("experiment_id", "customer_id"),
        (
            _id("experiment_id", "The experiment."),
            _customer("Who was assigned."),
            _text("arm", "Arm assigned.", required=True),
            _at("assigned_at", "When the arm was drawn.", required=True),
            _at("exposed_at", "When the customer first met the treatment.", learnt_later=True),
            _text("strata", "Stratum of the draw."),
            _text("cluster_id", "Unit of assignment where it is larger than a customer."),
            Column(
                "assignment_probability",
                "number",
                "Probability of the arm that was drawn.",
                low=0,
                high=1,
                open_interval=True,
            ),
        ),
        happens="assigned_at",
    ),
    Table(
        "units",
        "A ready-made experiment table, one row per unit, with any outcomes and covariates.",
        ("unit_id",),
        (
            _id("unit_id", "Key of the unit; numbered from the row where absent."),
            _text("arm", "Arm of the unit.", required=True),
            _text("strata", "Stratum of the draw."),
            _text("cluster_id", "Unit of assignment where it is larger than a row."),
        ),
        generated_key="unit_id",
    ),
    Table(
        "referrals",
        "One row per referral.",
        ("referral_id",),
        (
            _id("referral_id", "Key of the referral."),
            _id("referrer_id", "Customer who referred.", references="customers"),
            _id("referred_id", "Customer who came.", required=False, references="customers"),
            _at("referred_at", "When the referral was made.", required=True),
            _text("reward_id", "Reward that was given for it."),
        ),
        happens="referred_at",
    ),
    Table(
        "tickets",
        "One row per service case.",
        ("ticket_id",),
        (
            _id("ticket_id", "Key of the case."),
            _customer("Who asked."),
            _at("opened_at", "When the case was opened.", required=True),
            _at("closed_at", "When it was closed; null while open.", learnt_later=True),
            _text("channel", "Channel of the case."),
            Column(
                "on_time", "boolean", "Whether it was solved within the promise.", learnt_with="closed_at"
            ),
            Column(
                "in_full", "boolean", "Whether it was solved completely, at once.", learnt_with="closed_at"
            ),
        ),
        happens="opened_at",
    ),
    Table(
        "carts",
        "One row per shopping cart, ordered or abandoned.",
        ("cart_id",),
        (
            _id("cart_id", "Key of the cart."),
            _customer("Who filled it; null where nobody was signed in.", required=False),
            _at("opened_at", "When the first item went in.", required=True),
            _at("ordered_at", "When it was ordered; null while it is abandoned.", learnt_later=True),
            Column(
                "transaction_id",
                "string",
                "Order that came of it; null without one.",
                learnt_with="ordered_at",
            ),
            Column("amount", "decimal", "What the items in it would cost or did cost.", low=0),
        ),
        happens="opened_at",
    ),
    Table(
        "surveys",
        "One row per answer to one survey item.",
        ("response_id",),
        (
            _id("response_id", "Key of the answer."),
            _customer("Who answered."),
            _at("answered_at", "When.", required=True),
            _at("invited_at", "When the invitation was sent."),
            _text("instrument", "Questionnaire, such as nps or csat."),
            _text("item", "Question."),
            Column("value", "number", "Answer on the scale."),
            Column("scale_min", "number", "Lowest answer the scale allows."),
            Column("scale_max", "number", "Highest answer the scale allows."),
        ),
        happens="answered_at",
    ),
    Table(
        "costs",
        "One row per cost rate of a campaign, tier or reward.",
        ("cost_id",),
        (
            _id("cost_id", "Key of the cost."),
            _text("campaign_id", "Campaign the cost belongs to."),
            _text("tier", "Tier the cost belongs to."),
            _text("reward_id", "Reward the cost belongs to."),
            _text(
                "unit",
                "What the amount is paid for.",
                "per_contact",
                "per_redemption",
                "per_member_month",
                "fixed",
            ),
            Column("amount", "decimal", "Cost per unit.", required=True, low=0),
            _CURRENCY,
            _at("valid_from", "First moment the rate holds."),
            _at("valid_to", "First moment it no longer holds; null while it lasts."),
        ),
    ),
)

TABLES: Final[dict[str, Table]] = {table.name: table for table in _ALL}
"""Every table of the contract by name; customers first, since others refer to them."""


def contract_frame() -> list[dict[str, str]]:
    """Return the contract as plain rows: table, column, type, required, meaning.

    Examples:
        >>> contract_frame()[0]["column"], len(TABLES)
        ('customer_id', 13)
    """
    rows = []
    for table in _ALL:
        for column in table.columns:
            rule = ", ".join(column.choices)
            if column.low is not None or column.high is not None:
                low = "" if column.low is None else f"{'>' if column.open_interval else '>='} {column.low:g}"
                high = "" if column.high is None else f"<= {column.high:g}"
                rule = " and ".join(part for part in (low, high) if part)
            need = "yes" if column.required else "no"
            if column.name == table.generated_key:
                need = "numbered where absent"
            rows.append(
                {
                    "table": table.name,
                    "column": column.name,
                    "type": column.kind,
                    "required": need,
                    "key": "yes" if column.name in table.key else "no",
                    "allowed": rule,
                    "meaning": column.meaning,
                }
            )
    return rows
