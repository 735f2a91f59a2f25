"""Does the forecast put the right customers first? The holdout by tenths of the forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._frames import histories_of
from loyalty_research.clv._kinds import require_purchases, require_spend
from loyalty_research.clv.holdout import benchmark_of, holdout_of, revenue_of
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.clv.spend import GammaGamma
    from loyalty_research.clv.transactions import TransactionModel

    Array = NDArray[Any]

__all__ = ["DecileLift", "decile_lift"]

_FEWEST = 5  # customers a group must hold to be shown


@dataclass(frozen=True, repr=False, eq=False)
class DecileLift(Result):
    """Holdout by groups of customers ranked by forecast.

    Attributes:
        groups: One row per group, the best forecast first: ``group``, ``customers``, ``expected``
            and ``actual`` (means per customer), ``low``, ``high`` (t interval of the actual mean),
            ``lift`` (actual over the mean of all), ``share`` (of everything that happened).
        top_share: Share of what happened that the first group made.
        benchmark_share: The same when the benchmark ranks the customers.
        gain: Difference of the two.
        measure: ``"purchases"`` or ``"revenue"``.
        benchmark: Name of the benchmark.
    """

    title: ClassVar[str] = "Holdout by forecast"

    groups: pd.DataFrame
    top_share: Estimate
    benchmark_share: Estimate
    gain: Estimate
    measure: str
    benchmark: str

    @property
    def beats_benchmark(self) -> bool | None:
        """Whether the model surely ranks better; None when it cannot be told."""
        if self.gain.low > 0:
            return True
        return False if self.gain.high < 0 else None

    def _rows(self) -> Iterable[Row]:
        first = 1 / len(self.groups)
        yield Row(f"share of the first {first:.0%} by forecast", self.top_share, group="model")
        yield Row(f"share of the first {first:.0%} by forecast", self.benchmark_share, group=self.benchmark)
        yield Row("share gained over the benchmark", self.gain)

    def _verdict(self) -> str:
        if math.isnan(self.top_share.value):
            return message("Nobody bought again in the holdout, so the ranking cannot be measured.")
        what = message("purchases") if self.measure == "purchases" else message("revenue")
        ending = {
            True: message("better than ranking by the benchmark"),
            False: message("worse than ranking by the benchmark"),
            None: message("not to be told from ranking by the benchmark"),
        }[self.beats_benchmark]
        return message(
            "The {share} of customers with the highest forecast made {top} of the holdout {what} ({interval}), "
            "{lift} times their share; {ending} ({name}: {other}).",
            share=percent(1 / len(self.groups), digits=0),
            top=self.top_share.format(),
            what=what,
            interval=self.top_share.interval(),
            lift=number(float(self.groups["lift"].iloc[0]), digits=1),
            ending=ending,
            name=self.benchmark,
            other=self.benchmark_share.format(),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw actual and expected means of each group."""
        from loyalty_research.plots.clv_programme import decile_lift as draw

        revenue = self.measure == "revenue"
        return draw(self.groups, ax=ax, unit=message("mean revenue in the holdout") if revenue else "")


def decile_lift(
    model: TransactionModel,
    df: pd.DataFrame,
    *,
    benchmark: pd.Series[float] | None = None,
    spend_model: GammaGamma | None = None,
    groups: int = 10,
    level: float = 0.95,
) -> DecileLift:
    """Rank customers by what they are expected to do in the holdout, and look at what they did.

    Customers with the same forecast are taken together: each group gets its part of their mean, so
    the order of the rows decides nothing.

    Args:
        model: Fitted on the calibration columns.
        df: What ``summaries.purchases(..., calibration_end=)`` returned.
        benchmark: Forecast of each customer on the index of ``df``, such as ``last_period``; by
            default the customer's own calibration rate goes on.
        spend_model: Fitted on the calibration columns; given, revenue is ranked and compared.
        groups: Number of groups of equal size, 10 for tenths.
        level: Coverage the intervals aim at.

    Raises:
        ContractError: When holdout columns are missing or a row breaks the rules.
        ArgumentError: When ``groups`` is out of range, or holdout durations differ.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from loyalty_research import summaries
        >>> from loyalty_research.clv import BetaGeoNBD, decile_lift
        >>> rng = np.random.default_rng(1)
        >>> days = pd.to_timedelta(rng.integers(0, 180, 400), unit="D")
        >>> orders = pd.DataFrame({"customer_id": rng.integers(0, 60, 400), "amount": 10.0,
        ...                        "transacted_date": pd.Timestamp("2024-01-01") + days})
        >>> summary = summaries.purchases(orders, unit="W", calibration_end="2024-04-30")
        >>> model = BetaGeoNBD(penalizer=0.1).fit(summary)
        >>> decile_lift(model, summary, groups=3).groups["lift"].round(2).tolist()
        [1.19, 1.13, 0.69]

    References:
        Malthouse and Blattberg (2005), Can we predict customer lifetime value?, Journal of
        Interactive Marketing 19(1), for what rankings by lifetime value get wrong.
    """
    check_level(level)
    require_purchases(model)
    if spend_model is not None:
        require_spend(spend_model)
    histories_of(df, unit=model.unit_)
    actual, duration = holdout_of(df)
    most = len(actual) // _FEWEST
    if not (isinstance(groups, int) and 2 <= groups <= max(most, 2)) or most < 2:
        raise ArgumentError(
            f"groups must be a whole number of at least 2 that leaves {_FEWEST} customers in each; got {groups!r} "
            f"for {len(actual):,} customers"
        )
    forecast = model.conditional_expected_purchases(duration, df).to_numpy()
    naive, name = benchmark_of(df, benchmark, duration)
    if spend_model is not None:
        forecast, actual = revenue_of(spend_model, df, forecast, actual)
    own, other = (_in_first(values, 1 / groups) for values in (forecast, naive))
    return DecileLift(
        _by_group(forecast, actual, groups=groups, level=level),
        top_share=_share(own, actual, level),
        benchmark_share=_share(other, actual, level),
        gain=_share(own - other, actual, level),
        measure="purchases" if spend_model is None else "revenue",
        benchmark=name,
    )


def _in_first(forecast: Array, share: float) -> Array:
    """Return how much of each customer belongs to the first ``share`` by forecast, shape (n,).

    Customers with the forecast at the boundary belong in part, all of them equally.
    """
    _, where, counts = np.unique(-forecast, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    room = np.clip(share * len(forecast) - before, 0, counts)
    return np.asarray((room / counts)[where], dtype=float)


def _share(belongs: Array, actual: Array, level: float) -> Estimate:
    """Return a share of the total with the delta-method interval of a ratio."""
    from scipy.special import ndtri

    n, total = len(actual), float(actual.sum())
    method = "ratio, delta method"
    if total <= 0:
        return Estimate(math.nan, math.nan, math.nan, level, method, n, unit="fraction")
    share = float(belongs @ actual) / total
    error = float(((belongs - share) * actual).std(ddof=1)) * math.sqrt(n) / total
    reach = float(ndtri((1 + level) / 2)) * error
    return Estimate(share, share - reach, share + reach, level, method, n, unit="fraction")


def _by_group(forecast: Array, actual: Array, *, groups: int, level: float) -> pd.DataFrame:
    from scipy.special import stdtrit

    n, mean = len(actual), float(actual.mean())
    rows = []
    before, first = np.zeros(n), 0
    for group in range(1, groups + 1):
        upto = _in_first(forecast, group / groups)
        part = upto - before
        size = float(part.sum())
        centre = float(part @ actual) / size
        spread = math.sqrt(max(float(part @ (actual - centre) ** 2) / max(size - 1, 1), 0.0))
        reach = float(stdtrit(max(size - 1, 1), (1 + level) / 2)) * spread / math.sqrt(size)
        last = round(group * n / groups)
        rows.append(
            {
                "group": group,
                "customers": last - first,
                "expected": float(part @ forecast) / size,
                "actual": centre,
                "low": centre - reach,
                "high": centre + reach,
                "lift": centre / mean if mean > 0 else math.nan,
                "share": centre * size / (mean * n) if mean > 0 else math.nan,
            }
        )
        before, first = upto, last
    return pd.DataFrame(rows)
