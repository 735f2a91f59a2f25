"""What every mechanism can do, and the results it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ContractError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.mechanisms._book import day_number, read_book
from loyalty_research.mechanisms._checks import fraction
from loyalty_research.stats.proportions import difference_in_proportions, proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from loyalty_research.mechanisms._book import Book, Earned

    Floats = NDArray[np.float64]

__all__ = [
    "BreakEven",
    "Mechanism",
    "MechanismAudit",
    "MechanismCost",
    "Settlement",
    "audit_verdict",
    "figure",
    "plain",
    "points_text",
    "pull_in",
    "uplift_result",
]


def plain(value: float) -> str:
    """Write a figure of the rules without needless decimals."""
    return f"{value:,.10g}"


def _written(value: object) -> str:
    """Write a rule's figures as one cell."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_written(entry)}" for name, entry in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(_written(entry) for entry in value)
    return plain(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def points_text(value: float) -> str:
    """Return ``1 point`` or ``2 points``."""
    return message("1 point") if value == 1 else message("{points} points", points=plain(value))


def figure(
    metric: str,
    value: float,
    *,
    unit: str | None = None,
    n: int = 0,
    method: str = "closed form",
    group: str | None = None,
) -> Row:
    """Return a row for a figure that follows from the rules and so has no interval."""
    return Row(
        metric, Estimate(value, math.nan, math.nan, level=0.95, method=method, n=n, unit=unit), group=group
    )


@dataclass(frozen=True, repr=False)
class _Figures(Result):
    """A result made of rows and one sentence."""

    rows: tuple[Row, ...]
    sentence: str

    def _rows(self) -> Iterable[Row]:
        return self.rows

    def _verdict(self) -> str:
        return self.sentence

    def __getitem__(self, metric: str) -> Estimate:
        """Return the estimate of a metric by name."""
        for row in self.rows:
            if row.metric == metric:
                return row.estimate
        raise KeyError(metric)


@dataclass(frozen=True, repr=False)
class MechanismCost(_Figures):
    """What the rules give back on observed sales.

    Attributes:
        rows: Spend, value, cost, effective rebate and its spread between customers.
        sentence: The verdict.
    """

    title: ClassVar[str] = "Cost of the mechanism"


@dataclass(frozen=True, repr=False)
class MechanismAudit(_Figures):
    """What the rules promise, held against the data; ``checks`` carry the outcomes.

    Attributes:
        rows: The figures looked at.
        sentence: The verdict.
    """

    title: ClassVar[str] = "Audit of the mechanism"


@dataclass(frozen=True, repr=False)
class BreakEven(_Figures):
    """What must change for the mechanism to pay for itself.

    Attributes:
        rows: The figures, the one to beat first.
        sentence: The verdict.
    """

    title: ClassVar[str] = "Break-even of the mechanism"

    @property
    def value(self) -> float:
        """The figure to beat."""
        return self.rows[0].estimate.value


@dataclass(frozen=True, slots=True)
class Settlement:
    """The account of a mechanism over a table of transactions, in money.

    Attributes:
        value: Worth to customers of what was given, less fees.
        cost: Its cost to the shop, less fees.
        owed: Worth to customers of what is still open.
    """

    value: float
    cost: float
    owed: float


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """Base of the programme mechanisms: frozen rules that explain and evaluate themselves.

    Attributes:
        source: Where the figures come from; empty for rules of your own.
    """

    kind: ClassVar[str] = ""
    needs_partner: ClassVar[bool] = False

    source: str = ""

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        raise TypeError(f"{type(self).__name__} has no sentence")

    def rules(self) -> dict[str, Any]:
        """Return the rules by name, as ``mechanism(kind, **rules)`` takes them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __str__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        from loyalty_research.display import prose, table

        stated = {
            name: value for name, value in self.rules().items() if value is not None and name != "source"
        }
        shown = pd.DataFrame({"rule": list(stated), "figure": [_written(v) for v in stated.values()]})
        shown.columns = pd.Index([message("Rule"), message("Figure")])
        note = message("Source: {source}", source=self.source) if self.source else None
        words = prose(self.sentence()).html
        if not stated:
            return words
        caption = message("Rules of the mechanism {kind}", kind=self.kind)
        return words + table(shown, caption=caption, note=note).html

    def _earn(self, book: Book) -> Earned:
        raise TypeError(f"{type(self).__name__} has no rule for {book.customers:,} customers")

    def earn(self, transactions: Any, *, redeemed: float = 1.0) -> pd.DataFrame:
        """Apply the rules to a table of transactions, in the order of time.

        Args:
            transactions: ``customer_id``, ``transacted_at`` (or ``transacted_date``), ``amount``;
                optionally ``type``, ``currency``, ``partner_id``. Any frame that narwhals knows.
            redeemed: Share of rewards due that customers take; fees and the bonus on loaded money
                count in full whatever it is.

        Returns:
            One row per transaction, with its index: ``earned`` (points, stamps or plays), ``value``
            (worth to the customer of what falls due with it) and ``cost`` (to the shop). Refunds and
            rows without a customer earn nothing.

        Raises:
            ContractError: When a column is missing or unusable, or there are several currencies.
            ArgumentError: When the rules lack a figure that is needed, or ``redeemed`` is no fraction.
        """
        fraction("redeemed", redeemed)
        book = read_book(transactions, partner=self.needs_partner)
        earned = self._earn(book)
        value, cost = earned.total(redeemed=redeemed)
        columns = {"earned": earned.units, "value": value, "cost": cost}
        out = {name: np.zeros(len(book.index)) for name in columns}
        for name, values in columns.items():
            out[name][book.row] = values
        return pd.DataFrame(out, index=book.index)

    def cost(self, transactions: Any, *, redeemed: float = 1.0, level: float = 0.95) -> MechanismCost:
        """Return what the rules cost on observed sales, and the effective rebate.

        Args:
            transactions: As for :meth:`earn`.
            redeemed: Share of rewards due that customers take; the rest is breakage. Fees and the
                bonus on loaded money are not rewards due: they count in full.
            level: Coverage of the intervals.

        Returns:
            Spend, value, cost, the rebate and cost per unit of spend (ratios of sums, delta method
            over customers), the share of customers who get anything (Wilson), and the spread of
            customers' own rebates. The sales are taken as they are: no customer is assumed to buy
            more or less for the mechanism.

        Raises:
            ContractError: As for :meth:`earn`, and when all sales are for 0.
            ArgumentError: When an option is out of its range.
        """
        check_level(level)
        fraction("redeemed", redeemed)
        book = read_book(transactions, partner=self.needs_partner)
        earned = self._earn(book)
        return _cost(self, book, earned, redeemed, level)

    def owed(self, transactions: Any, *, as_of: Any, redeemed: float = 1.0) -> float:
        """Return what is promised and still open at the end of a day, at its worth to customers.

        Args:
            transactions: As for :meth:`earn`; later rows are left out.
            as_of: The day, a date.
            redeemed: Share of rewards due that have been taken; what is due and not taken is owed.

        Returns:
            Money: rewards not taken, what has been earned towards the next reward and has not
            lapsed, money stored on cards (at its average) and the part of fees that pays for days
            to come. Benefits that cannot be saved up, such as a discount at the till, are not owed.

        Raises:
            ContractError: As for :meth:`earn`.
            ArgumentError: When a figure is missing from the rules, or an option is unusable.
        """
        fraction("redeemed", redeemed)
        day = day_number(as_of)
        book = read_book(transactions, partner=self.needs_partner).until(day)
        return self._owed(book, day, redeemed) if len(book.row) else 0.0

    def settle(self, transactions: Any, *, as_of: Any, redeemed: float = 1.0) -> Settlement:
        """Return what the rules gave, cost and still owe at the end of a day, in one go.

        Args:
            transactions: As for :meth:`earn`; later rows are left out.
            as_of: The day, a date.
            redeemed: Share of rewards due that have been taken.

        Raises:
            ContractError: As for :meth:`earn`.
            ArgumentError: When a figure is missing from the rules, or an option is unusable.
        """
        fraction("redeemed", redeemed)
        day = day_number(as_of)
        book = read_book(transactions, partner=self.needs_partner).until(day)
        if not len(book.row):
            return Settlement(0.0, 0.0, 0.0)
        value, cost = self._earn(book).total(redeemed=redeemed)
        return Settlement(float(value.sum()), float(cost.sum()), self._owed(book, day, redeemed))

    def _owed(self, book: Book, day: int, redeemed: float) -> float:
        del day  # rewards due never lapse
        return (1 - redeemed) * float(self._earn(book).value.sum())

    def break_even(self, *args: Any, **options: Any) -> BreakEven:
        """Return what must change for the mechanism to pay for itself; each kind says what it needs."""
        raise TypeError(f"{type(self).__name__} has no break-even for {args}, {options}")

    def audit(self, transactions: Any = None, *, level: float = 0.95) -> MechanismAudit:
        """Hold the rules against what they promise."""
        raise TypeError(f"{type(self).__name__} has no audit of {type(transactions)} at {level}")


def _ratio(top: Floats, bottom: Floats, level: float) -> Estimate:
    """Return a ratio of sums over customers with its delta-method interval."""
    n, total = len(top), float(bottom.sum())
    value = float(top.sum()) / total
    half = math.nan
    if n > 1:
        rest = top - value * bottom
        half = float(stats.norm.isf((1 - level) / 2)) * math.sqrt(n / (n - 1) * float(rest @ rest)) / total
    return Estimate(
        value, value - half, value + half, level=level, method="delta over customers", n=n, unit="fraction"
    )


def _cost(rules: Mechanism, book: Book, earned: Earned, redeemed: float, level: float) -> MechanismCost:
    spend = book.per_customer(book.amount)
    if spend.sum() == 0:
        raise ContractError("transactions.amount is 0 in every sale: there is no spend to give a rebate on")
    value, cost = (book.per_customer(part) for part in earned.total(redeemed=redeemed))
    n = len(spend)
    rebate = _ratio(value, spend, level)
    reached = proportion(int((value > 0).sum()), n, level=level)
    own = value[spend > 0] / spend[spend > 0]
    spread = np.quantile(own, [0.1, 0.5, 0.9])
    rows = [
        Row("effective rebate", rebate),
        Row("cost per unit of spend", _ratio(cost, spend, level)),
        Row("customers rewarded", reached),
        figure("spend", float(spend.sum()), n=n, method="sum"),
        figure("value to customers", float(value.sum()), n=n, method="sum"),
        figure("cost", float(cost.sum()), n=n, method="sum"),
        *(
            figure(
                f"customer's own rebate, {label}", float(q), unit="fraction", n=len(own), method="quantile"
            )
            for label, q in zip(("lowest tenth", "median", "highest tenth"), spread, strict=True)
        ),
    ]
    said = {
        "spend": number(float(spend.sum())),
        "value": number(abs(float(value.sum()))),
        "rebate": rebate.format(),
        "interval": rebate.interval(),
        "share": reached.format(),
    }
    sentence = (
        message(
            "Applied to sales of {spend}, the rules give back {value}, that is {rebate} of spend ({interval}); "
            "{share} of customers get something. Nobody is assumed to buy more for it.",
            **said,
        )
        if value.sum() >= 0
        else message(
            "Applied to sales of {spend}, customers would pay {value} more in fees than they save, a rebate of "
            "{rebate} of spend ({interval}); {share} of customers would gain. Nobody is assumed to buy more for it.",
            **said,
        )
    )
    left = book.anonymous + book.refunds
    check = Check(
        message("Rows left out"),
        "warning" if left else "passed",
        message(
            "{anonymous} without a customer, {refunds} refunds; refunds take nothing back here",
            anonymous=f"{book.anonymous:,}",
            refunds=f"{book.refunds:,}",
        ),
    )
    checks = () if rules.kind == "none" and not left else (check,)
    return MechanismCost(tuple(rows), sentence, checks=checks)


def pull_in(position: Floats, line: float, *, band: float, level: float) -> tuple[list[Row], Check]:
    """Ask whether totals land just past a line more often than past lines that mean nothing.

    Where customers stretch an order to reach a reward, totals within ``band`` above the line
    outnumber those within ``band`` below it. Prices on a grid do that as well, so the share above is
    compared with the same share at the placebo lines 0.2, 0.4, 0.6 and 0.8 of the way.

    Args:
        position: Running totals modulo the line, in [0, line).
        line: The line.
        band: Width on either side, a share of the line, at most 0.1.
        level: Coverage of the intervals.
    """
    width = band * line
    name = message("Threshold pull-in")

    def sides(at: float) -> tuple[int, int]:
        off = np.mod(position - at + 1e-9 * line, line)
        return int((off < width).sum()), int((off >= line - width).sum())

    above, below = sides(0.0)
    placebo = np.array([sides(share * line) for share in (0.2, 0.4, 0.6, 0.8)]).sum(axis=0)
    n, m = above + below, int(placebo.sum())
    if n < 20 or m < 20:
        seen = message("only {count} totals lie near the line; 20 are needed", count=f"{min(n, m):,}")
        return [], Check(name, "not measurable", seen)
    at_line = proportion(above, n, level=level)
    elsewhere = proportion(int(placebo[0]), m, level=level)
    excess = difference_in_proportions(above, n, int(placebo[0]), m, level=level)
    rows = [
        Row("just past the line", at_line),
        Row("just past placebo lines", elsewhere),
        Row("pull-in", excess, estimand="share just past the line minus the same share at placebo lines"),
    ]
    detail = message(
        "{at_line} of totals near the line lie just past it, {elsewhere} at lines that mean nothing; "
        "difference {excess}",
        at_line=at_line.format(),
        elsewhere=elsewhere.format(),
        excess=excess.interval(signed=True),
    )
    return rows, Check(name, "warning" if excess.low > 0 else "passed", detail, p_value=excess.p_value)


def audit_verdict(name: str, checks: Sequence[Check]) -> str:
    """Say how many checks passed and which did not."""
    bad = [c for c in checks if c.status in ("warning", "failed")]
    blind = [c.name for c in checks if c.status == "not measurable"]
    text = (
        message("{name}: nothing found against the rules.", name=name)
        if not bad
        else message("{name}: {found}.", name=name, found="; ".join(f"{c.name} ({c.detail})" for c in bad))
    )
    if blind:
        text += " " + message("Not measurable here: {blind}.", blind=", ".join(blind))
    return text


def uplift_result(uplift: float, cost: float, margin: float, *, per: str) -> BreakEven:
    """Return the break-even of a reward that every sale earns."""
    rows = (
        figure("rise of sales to break even", uplift, unit="fraction"),
        figure("cost of rewards", cost, unit="fraction" if per == "spend" else None),
        figure("margin before rewards", margin, unit="fraction" if per == "spend" else None),
    )
    if math.isinf(uplift):
        text = message("The rewards cost the whole margin or more: no rise of sales pays for them.")
    else:
        text = message(
            "Members must buy {uplift} more than they would have without the programme; below that it costs "
            "more than it brings.",
            uplift=percent(uplift),
        )
    return BreakEven(rows, text)
