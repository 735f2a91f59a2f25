"""The one rule table: what a row must satisfy, as narwhals booleans that are true where it does not.

A rule looks at a staged table (see :mod:`loyalty_research.data.staging`). Rules about one row and
rules about neighbouring rows are all expressions, so that a table is checked in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final, Literal

import narwhals as nw

from loyalty_research.data.contract import CURRENCIES

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence

    from loyalty_research.data.contract import Column, Table

__all__ = ["CODES", "Context", "Rule", "duplicate_rule", "rules_for"]

Severity = Literal["error", "warning"]
KNOWN: Final = "__known_"
ORDER: Final = ("__part", "__file", "__row")
LINE_CODES: Final = ("malformed_line", "wrong_encoding")

CODES: Final[dict[str, tuple[Severity, str]]] = {
    # about a whole table
    "unreadable": ("error", "make the source readable"),
    "missing_column": ("error", "map a source column to it in data/datasets.yml, or add it to the file"),
    "empty_table": ("error", "the source has no rows; take the table out or fill it"),
    "malformed_line": ("error", "give the line as many fields as the header has, with quotes in pairs"),
    "wrong_encoding": ("error", "save the file as UTF-8, or declare its encoding, for example latin-1"),
    # about a cell
    "null_required": ("error", "fill it in, or leave the row out of the source"),
    "not_a_timestamp": ("error", "write ISO 8601 (2024-12-31 18:30), or declare datetime_format"),
    "not_a_date": ("error", "write ISO 8601 (2024-12-31), or declare datetime_format"),
    "not_a_decimal": ("error", "write plain numbers with a decimal point, or declare decimal and thousands"),
    "not_a_number": ("error", "write plain numbers with a decimal point, or declare decimal and thousands"),
    "not_an_integer": ("error", "write whole numbers"),
    "not_a_boolean": ("error", "write true or false"),
    "out_of_range": ("error", "correct the value; data/README.md has the range"),
    "not_allowed": ("error", "map the value to one that the contract allows; data/README.md lists them"),
    "not_a_currency": ("error", "use an ISO 4217 code such as EUR"),
    # about a row
    "several_currencies": ("error", "convert to the one currency of the dataset, or split the dataset"),
    "ends_before_it_starts": (
        "error",
        "valid_to is the first moment after the spell and lies after valid_from",
    ),
    "wrong_order": ("error", "the later of the two moments comes first; correct one of them"),
    "positive_refund": ("error", "give refunds a negative amount, for example {expr: -1 * amount}"),
    "wrong_sign": ("error", "points earned are positive, points redeemed or expired negative"),
    "off_scale": ("error", "the answer lies outside scale_min and scale_max, or these are swapped"),
    "self_referral": ("error", "a customer cannot refer themselves"),
    "endowed_over_required": ("error", "a card needs more stamps than it comes with"),
    "no_cost_object": ("error", "name the campaign, tier or reward, or call the cost fixed"),
    # about several rows
    "duplicate_key": ("error", "keep one row per key; for order lines declare group_by"),
    "lines_disagree": ("error", "lines of one order must share it; correct them or group by another key"),
    "overlapping_spells": ("error", "end each spell where the next begins"),
    "two_arms": ("error", "a customer is in one arm of an experiment; find out which one was given"),
    "changing_card": ("error", "a card has one holder, one arm and one number of stamps"),
    "unknown_customer": ("error", "add the customer to customers, or correct the id"),
    # worth knowing
    "refund": ("warning", "refunds count as negative money"),
    "anonymous": ("warning", "rows without a customer count in totals only"),
    "after_observation_end": ("warning", "rows after the observation end are left out"),
    "no_such_local_time": ("warning", "the clock jumped over this time; check timezone"),
    "rounded_money": ("warning", "money is kept to two decimals"),
    "repeated_row": ("warning", "rows equal in every column; without a key of its own a copy cannot be told"),
}
"""Every reason code with its severity and the mend."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about the rows of one table.

    Attributes:
        code: Key of :data:`CODES`.
        column: Column it is about, or several joined by commas.
        bad: True where a row breaks it; null counts as kept.
    """

    code: str
    column: str
    bad: nw.Expr

    @property
    def severity(self) -> Severity:
        """``error`` or ``warning``."""
        return CODES[self.code][0]

    @property
    def mend(self) -> str:
        """What to do about it."""
        return CODES[self.code][1]


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may know beside its own table.

    Attributes:
        table: The contract's description.
        columns: Columns that are there, helper columns included.
        generated: Keys that were numbered from the row.
        currency: The dataset's currency, or None where none is known.
        as_of: Last day observed, or None.
    """

    table: Table
    columns: frozenset[str]
    generated: tuple[str, ...]
    currency: str | None
    as_of: dt.date | None

    def has(self, *names: str) -> bool:
        """Return whether all of the columns are there."""
        return set(names) <= self.columns


def _any(conditions: Sequence[nw.Expr]) -> nw.Expr:
    return reduce(or_, conditions)


def _cells(context: Context) -> Iterator[Rule]:
    """Rules that the contract's description of a column implies."""
    words = {"integer": "not_an_integer", "timestamp": "not_a_timestamp"}
    for column in context.table.columns:
        name = column.name
        if name not in context.columns:
            continue
        value = nw.col(name)
        unread = nw.lit(value=False)
        if context.has(f"__bad_{name}"):
            unread = nw.col(f"__bad_{name}").fill_null(value=False)
            yield Rule(words.get(column.kind, f"not_a_{column.kind}"), name, unread)
        if column.required:
            yield Rule("null_required", name, value.is_null() & ~unread)
        if column.choices:
            yield Rule("not_allowed", name, ~value.is_in(column.choices))
        if column.low is not None or column.high is not None:
            yield Rule("out_of_range", name, _outside(column))
        if context.has(f"{KNOWN}{name}"):
            yield Rule("unknown_customer", name, ~value.is_null() & nw.col(f"{KNOWN}{name}").is_null())


def _helpers(context: Context) -> Iterator[Rule]:
    """Rules whose outcome staging worked out, since it sees the cell as it was written."""
    prefixes = {"__gap_": "no_such_local_time", "__cut_": "rounded_money", "__differ_": "lines_disagree"}
    for column in context.table.columns:
        for prefix, code in prefixes.items():
            if context.has(f"{prefix}{column.name}"):
                yield Rule(code, column.name, nw.col(f"{prefix}{column.name}"))


def _outside(column: Column) -> nw.Expr:
    value, found = nw.col(column.name), []
    if column.low is not None:
        found.append(value <= column.low if column.open_interval else value < column.low)
    if column.high is not None:
        found.append(value > column.high)
    return _any(found)


def _money(context: Context) -> Iterator[Rule]:
    if context.has("currency"):
        currency = nw.col("currency")
        yield Rule("not_a_currency", "currency", ~currency.is_in(CURRENCIES))
        if context.currency is not None:
            yield Rule(
                "several_currencies", "currency", currency.is_in(CURRENCIES) & (currency != context.currency)
            )
    if context.table.name == "transactions" and context.has("amount"):
        amount = nw.col("amount")
        yield Rule("refund", "amount", amount < 0)
        if context.has("type"):
            yield Rule("positive_refund", "type, amount", (nw.col("type") == "refund") & (amount > 0))
    if context.table.name == "transactions" and context.has("customer_id"):
        yield Rule("anonymous", "customer_id", nw.col("customer_id").is_null())


def _time(context: Context) -> Iterator[Rule]:
    ordered = {
        "points_ledger": (("occurred_at", "expires_at"),),
        "assignments": (("assigned_at", "exposed_at"),),
        "tickets": (("opened_at", "closed_at"),),
        "carts": (("opened_at", "ordered_at"),),
        "surveys": (("invited_at", "answered_at"),),
    }
    for first, second in ordered.get(context.table.name, ()):
        if context.has(first, second):
            yield Rule("wrong_order", f"{first}, {second}", nw.col(second) < nw.col(first))
    if context.has("valid_from", "valid_to"):
        yield Rule(
            "ends_before_it_starts", "valid_from, valid_to", nw.col("valid_to") <= nw.col("valid_from")
        )
    happens = context.table.column(context.table.happens) if context.table.happens else None
    if context.as_of is not None and happens is not None and context.has(happens.name):
        yield Rule(
            "after_observation_end", happens.name, nw.col(str(happens.date_name)) > nw.lit(context.as_of)
        )


def _overlapping(by: Sequence[str]) -> nw.Expr:
    """True for both rows of every neighbouring pair of spells that share a moment.

    With spells sorted by their start, any overlap shows between neighbours; an open spell overlaps
    all that follow.
    """
    order = ["valid_from", *ORDER]

    def beside(name: str, step: int) -> nw.Expr:
        return nw.col(name).shift(step).over(*by, order_by=order)

    start, end = nw.col("valid_from"), nw.col("valid_to")
    following = beside("valid_from", -1)
    previous_start, previous_end = beside("valid_from", 1), beside("valid_to", 1)
    with_next = ~following.is_null() & (end.is_null() | (following < end))
    with_previous = ~previous_start.is_null() & (previous_end.is_null() | (start < previous_end))
    return (with_next | with_previous) & ~start.is_null() & ~nw.col("customer_id").is_null()


def _memberships(context: Context) -> Iterator[Rule]:
    if context.table.name == "memberships" and context.has("customer_id", "valid_from", "valid_to"):
        by = ["customer_id", *(["programme_id"] if context.has("programme_id") else [])]
        yield Rule("overlapping_spells", "valid_from, valid_to", _overlapping(by))


def _varies(name: str, by: Sequence[str]) -> nw.Expr:
    return nw.col(name).min().over(*by) != nw.col(name).max().over(*by)


def _experiments(context: Context) -> Iterator[Rule]:
    if context.table.name == "assignments" and context.has("experiment_id", "customer_id", "arm"):
        by = ["experiment_id", "customer_id"]
        keyed = _any([nw.col(name).is_null() for name in by])
        yield Rule("two_arms", "arm", _varies("arm", by) & ~keyed)


def _cards(context: Context) -> Iterator[Rule]:
    if context.table.name != "card_events" or not context.has("card_id"):
        return
    for name in ("customer_id", "arm", "required_stamps", "endowed_stamps"):
        if context.has(name):
            yield Rule("changing_card", name, _varies(name, ["card_id"]) & ~nw.col("card_id").is_null())
    if context.has("required_stamps", "endowed_stamps"):
        over = nw.col("endowed_stamps") >= nw.col("required_stamps")
        yield Rule("endowed_over_required", "endowed_stamps, required_stamps", over)


def _others(context: Context) -> Iterator[Rule]:
    name = context.table.name
    if name == "points_ledger" and context.has("points", "type"):
        points, kind = nw.col("points"), nw.col("type")
        wrong = ((kind == "earn") & (points < 0)) | (kind.is_in(["redeem", "expire"]) & (points > 0))
        yield Rule("wrong_sign", "points, type", wrong)
    if name == "surveys" and context.has("value"):
        value = nw.col("value")
        found = []
        if context.has("scale_min"):
            found.append(value < nw.col("scale_min"))
        if context.has("scale_max"):
            found.append(value > nw.col("scale_max"))
        if context.has("scale_min", "scale_max"):
            found.append(nw.col("scale_min") >= nw.col("scale_max"))
        if found:
            yield Rule("off_scale", "value", _any([part.fill_null(value=False) for part in found]))
    if name == "referrals" and context.has("referrer_id", "referred_id"):
        same = nw.col("referrer_id") == nw.col("referred_id")
        yield Rule("self_referral", "referrer_id, referred_id", same)
    if name == "costs" and context.has("unit"):
        objects = [c for c in ("campaign_id", "tier", "reward_id") if context.has(c)]
        nothing = reduce(
            lambda a, b: a & b, [nw.col(c).is_null() for c in objects], ~nw.col("unit").is_null()
        )
        yield Rule("no_cost_object", "unit", nothing & (nw.col("unit") != "fixed"))


_MAKERS: Final[tuple[Callable[[Context], Iterator[Rule]], ...]] = (
    _cells,
    _helpers,
    _money,
    _time,
    _memberships,
    _experiments,
    _cards,
    _others,
)


def rules_for(context: Context) -> list[Rule]:
    """Return the rules that apply to a table with these columns."""
    return [rule for make in _MAKERS for rule in make(context)]


def duplicate_rule(context: Context) -> tuple[Rule, nw.Expr] | None:
    """Return the rule for double keys and a cheap figure that equals the row count where none is.

    Counting distinct keys costs a fraction of looking at every key's rows, so the rule itself is
    asked only when the figure says so. A key that was numbered from the row cannot be double; there,
    rows that equal another in everything else are pointed out instead. Units are exempt from that,
    since two units may well have the same figures.
    """
    key = context.table.key
    if not context.has(*key):
        return None
    if not set(key) & set(context.generated):
        filled = ~_any([nw.col(name).is_null() for name in key])
        return Rule("duplicate_key", ", ".join(key), (nw.len().over(*key) > 1) & filled), _distinct(key)
    rest = sorted(name for name in context.columns if name not in context.generated and name[:2] != "__")
    if context.table.name == "units" or not rest:
        return None
    return Rule("repeated_row", ", ".join(key), nw.len().over(*rest) > 1), _distinct(rest)


def _distinct(names: Sequence[str]) -> nw.Expr:
    cells = [nw.col(name).cast(nw.String).fill_null("\x1e") for name in names]
    joined = cells[0] if len(cells) == 1 else nw.concat_str(cells, separator="\x1f")
    return joined.n_unique()
