"""Declarations of what is compared: means, proportions, ratios of sums and quantiles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMS", "Mean", "Metric", "Proportion", "Quantile", "Ratio", "parse_metric"]

FORMS = ("mean:COLUMN", "proportion:COLUMN", "ratio:NUMERATOR/DENOMINATOR", "quantile:COLUMN, q=0.5")
"""What :func:`parse_metric` reads; options may follow, such as ``, cap=0.99, role=secondary``."""

_DIRECTIONS = ("up", "down")
_ROLES = ("primary", "secondary", "guardrail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Options every metric has.

    Attributes:
        covariates: Columns measured before assignment that explain the outcome; the difference
            is adjusted for them.
        cap: Percentile of the pooled outcome, a fraction such as 0.99, above which it is cut.
        direction: ``"up"`` when more is better, ``"down"`` when less is.
        margin: Largest loss that still counts as no worse, positive, in the metric's units.
        role: ``"primary"`` (decides; adjusted together), ``"secondary"`` (explores) or
            ``"guardrail"`` (must not get worse).
        equivalence: Whether to ask if the difference lies within plus and minus ``margin``.
        family: Name of the family whose p-values are adjusted together; primary metrics form one
            when None, other metrics are left as they are.
        name: What tables call it; the column names by default.
        unit: Currency code or word such as ``"days"`` for sentences; None for plain numbers.
    """

    covariates: tuple[str, ...] = ()
    cap: float | None = None
    direction: Literal["up", "down"] = "up"
    margin: float | None = None
    role: Literal["primary", "secondary", "guardrail"] = "primary"
    equivalence: bool = False
    family: str | None = None
    name: str | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        names = (self.covariates,) if isinstance(self.covariates, str) else tuple(self.covariates)
        object.__setattr__(self, "covariates", names)
        twice = sorted({c for c in names if names.count(c) > 1} | (set(names) & set(self.outcomes)))
        if twice:
            raise ArgumentError(
                f"{self.label}: {', '.join(twice)} is named twice among outcome and covariates"
            )
        if self.cap is not None and not 0 < self.cap < 1:
            raise ArgumentError(
                f"{self.label}: cap is a percentile as a fraction, such as 0.99; got {self.cap!r}"
            )
        if self.direction not in _DIRECTIONS:
            raise ArgumentError(f"{self.label}: direction is 'up' or 'down'; got {self.direction!r}")
        if self.margin is not None and not (math.isfinite(self.margin) and self.margin > 0):
            raise ArgumentError(
                f"{self.label}: margin is a positive loss that is tolerated; got {self.margin!r}"
            )
        if self.equivalence and self.margin is None:
            raise ArgumentError(
                f"{self.label}: equivalence=True needs margin=, the difference that is tolerated"
            )
        if self.role not in _ROLES:
            raise ArgumentError(f"{self.label}: role is one of {', '.join(_ROLES)}; got {self.role!r}")

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Columns that define the metric."""
        raise TypeError(f"{type(self).__name__} declares no outcome: use Mean, Proportion, Ratio or Quantile")

    @property
    def domains(self) -> tuple[str, ...]:
        """What values each outcome may have."""
        return ("finite",)

    @property
    def label(self) -> str:
        """Name of the metric."""
        return self.name or " / ".join(self.outcomes)

    @property
    def shown_unit(self) -> str | None:
        """Unit of the estimate."""
        return self.unit

    def adjusted_for(self, covariates: tuple[str, ...]) -> Metric:
        """Return the metric with more covariates, those it has already left as they are."""
        extra = tuple(c for c in covariates if c not in self.covariates and c not in self.outcomes)
        return replace(self, covariates=(*self.covariates, *extra))


@dataclass(frozen=True, slots=True)
class Mean(Metric):
    """Mean of a column over units.

    Attributes:
        column: Numeric column; missing values are left out and counted.

    Examples:
        >>> Mean("spend", covariates=("pre_spend",), cap=0.99).label
        'spend'
    """

    column: str = field(kw_only=False)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)


@dataclass(frozen=True, slots=True)
class Proportion(Metric):
    """Share of units with a 1 (or True) in a column of 0 and 1.

    Attributes:
        column: Column of 0 and 1 or of booleans; missing values are left out and counted.

    Examples:
        >>> Proportion("visited").label
        'visited'
    """

    column: str = field(kw_only=False)

    def __post_init__(self) -> None:
        """Refuse a cap, which would change what a share means."""
        Metric.__post_init__(self)
        if self.cap is not None:
            raise ArgumentError(f"{self.label}: a proportion has no cap")

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def domains(self) -> tuple[str, ...]:
        """Only 0 and 1."""
        return ("binary",)

    @property
    def shown_unit(self) -> str | None:
        """A fraction."""
        return "fraction"


@dataclass(frozen=True, slots=True)
class Ratio(Metric):
    """Sum of one column over the sum of another, such as spend per order.

    Both parts vary between units, which the delta method accounts for.

    Attributes:
        numerator: Column summed above the line.
        denominator: Exposure summed below it; never negative.

    Examples:
        >>> Ratio("spend", "orders").label
        'spend / orders'
    """

    numerator: str = field(kw_only=False)
    denominator: str = field(kw_only=False)

    def __post_init__(self) -> None:
        """Refuse the same column twice."""
        Metric.__post_init__(self)
        if self.numerator == self.denominator:
            raise ArgumentError(f"the ratio of {self.numerator} to itself is always 1")

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Numerator and denominator."""
        return (self.numerator, self.denominator)

    @property
    def domains(self) -> tuple[str, ...]:
        """An exposure is never negative."""
        return ("finite", "nonnegative")


@dataclass(frozen=True, slots=True)
class Quantile(Metric):
    """Quantile of a column over units, such as the median spend.

    Only randomised designs compare quantiles, without covariates, strata or clusters; the column is
    fetched, since order statistics are no sums.

    Attributes:
        column: Numeric column; missing values are left out and counted.
        q: Which quantile, a fraction.

    Examples:
        >>> Quantile("spend", q=0.9).label
        'spend, quantile 0.9'
    """

    column: str = field(kw_only=False)
    q: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what a quantile cannot have."""
        Metric.__post_init__(self)
        if not 0 < self.q < 1:
            raise ArgumentError(f"{self.label}: q is a fraction between 0 and 1; got {self.q!r}")
        if self.cap is not None or self.covariates:
            raise ArgumentError(f"{self.label}: a quantile takes no cap and no covariates")

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def label(self) -> str:
        """Name of the metric."""
        return self.name or f"{self.column}, quantile {self.q:g}"

    def adjusted_for(self, covariates: tuple[str, ...]) -> Metric:
        """Return the metric as it is: covariates of the plan do not apply."""
        del covariates
        return self


def _option(text: str, name: str, value: str) -> Any:
    convert: dict[str, Callable[[str], Any]] = {
        "cap": float,
        "margin": float,
        "q": float,
        "equivalence": _yes_or_no,
    }
    known = {f.name for f in fields(Metric)} - {"covariates"}
    if text.strip().startswith("quantile"):
        known |= {"q"}
    if name not in known:
        raise ArgumentError(f"{text!r}: unknown option {name!r}; options are {', '.join(sorted(known))}")
    try:
        return convert.get(name, str)(value)
    except (ValueError, KeyError):
        kind = "true or false" if name == "equivalence" else "a number"
        raise ArgumentError(f"{text!r}: {name} must be {kind}; got {value!r}") from None


def _yes_or_no(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def parse_metric(text: str, *, covariates: tuple[str, ...] = ()) -> Metric:
    """Read a metric from text, as notebooks and the command line give it.

    Args:
        text: ``"mean:spend"``, ``"proportion:converted"``, ``"ratio:spend/orders"`` or
            ``"quantile:spend, q=0.9"``; options may follow after commas, such as ``"mean:spend, cap=0.99, role=secondary"``.
        covariates: Pre-period columns to adjust for.

    Returns:
        The metric.

    Raises:
        ArgumentError: When the text has another form; the message lists the forms.

    Examples:
        >>> parse_metric("ratio:spend/orders, direction=down").outcomes
        ('spend', 'orders')
    """
    head, *options = (part.strip() for part in text.split(","))
    kind, colon, columns = (part.strip() for part in head.partition(":"))
    parts = [part.strip() for part in columns.split("/")] if kind == "ratio" else [columns]
    makers: dict[str, tuple[type[Mean | Proportion | Quantile | Ratio], int]] = {
        "mean": (Mean, 1),
        "proportion": (Proportion, 1),
        "quantile": (Quantile, 1),
        "ratio": (Ratio, 2),
    }
    if kind not in makers or not colon or len(parts) != makers[kind][1] or not all(parts):
        raise ArgumentError(f"cannot read the metric {text!r}; the forms are {', '.join(FORMS)}")
    given: dict[str, Any] = {}
    for option in options:
        name, equals, value = (part.strip() for part in option.partition("="))
        if not equals or not value:
            raise ArgumentError(f"{text!r}: an option is written name=value; got {option!r}")
        given[name] = _option(text, name, value)
    return makers[kind][0](*parts, covariates=covariates, **given)
