"""Do these tools recover what a lottery found? LaLonde's test on real data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from loyalty_research.comparison._observed import welch_gap
from loyalty_research.comparison.matching import matching
from loyalty_research.comparison.weighting import entropy_balancing, inverse_probability_weighting
from loyalty_research.errors import MissingExtraError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.estimates import Estimate

__all__ = ["BenchmarkResult", "lalonde_benchmark"]

_UNIT = "USD"


@dataclass(frozen=True, repr=False)
class BenchmarkResult(Result):
    """Estimates without a lottery beside the one with it.

    Attributes:
        benchmark: Effect by the lottery.
        raw: Gap to people who were not in the experiment.
        adjusted: Name of a method to its estimate, by what was measured before.
    """

    title: ClassVar[str] = "A benchmark with a known answer"

    benchmark: Estimate
    raw: Estimate
    adjusted: dict[str, Estimate]

    def _rows(self) -> Iterator[Row]:
        yield Row(message("earnings in 1978"), self.benchmark, message("lottery"), "ITT")
        yield Row(message("earnings in 1978"), self.raw, message("treated v survey"), "not an effect")
        for name, e in self.adjusted.items():
            yield Row(message("earnings in 1978"), e, name, "ATT")

    def _verdict(self) -> str:
        values = [e.value for e in self.adjusted.values()]
        return message(
            "A lottery put the effect of the training at {truth} ({interval}). Against a survey of people who were not in "
            "it the raw gap is {raw}; adjusted for what was measured before, the same gap is {low} to {high}. What was "
            "measured was enough here; it need not be elsewhere.",
            truth=self.benchmark.format(signed=True),
            interval=self.benchmark.interval(signed=True),
            raw=self.raw.format(signed=True),
            low=number(min(values), signed=True),
            high=number(max(values), signed=True),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the estimates with the lottery's as a line.

        Args:
            ax: Axes to draw on; new ones when None.
        """
        from loyalty_research.plots.comparison import forest

        lines = [
            (message("lottery"), self.benchmark, False),
            (message("raw gap, not an effect"), self.raw, True),
            *((name, e, False) for name, e in self.adjusted.items()),
        ]
        return forest(
            [name for name, *_ in lines],
            [e.value for _, e, _ in lines],
            [e.low for _, e, _ in lines],
            [e.high for _, e, _ in lines],
            muted=[quiet for *_, quiet in lines],
            annotations=[e.format(signed=True) for _, e, _ in lines],
            reference=(self.benchmark.value, message("lottery")),
            xlabel=message("Difference in earnings of 1978, {unit}", unit=_UNIT),
            ax=ax,
        )


def _samples() -> tuple[pd.DataFrame, pd.DataFrame]:
    try:
        from causaldata import cps_mixtape, nsw_mixtape
    except ImportError as error:
        raise MissingExtraError("causaldata", "datasets") from error
    # float64 first: the stored int8 overflows in age ** 3
    nsw, cps = (
        d.load_pandas().data.drop(columns=["data_id"]).astype(float) for d in (nsw_mixtape, cps_mixtape)
    )
    return nsw, cps


def lalonde_benchmark() -> BenchmarkResult:
    """Hold the observational estimators against a lottery: the National Supported Work experiment.

    The treated of the experiment are compared with its controls (drawn by lot), and with 15,992
    people of the CPS survey who were never in it, raw and adjusted for age, schooling, origin,
    marriage and earnings before.

    Returns:
        The benchmark, the raw gap and the adjusted estimates for the treated (ATT).

    Raises:
        MissingExtraError: When causaldata is not installed.

    References:
        LaLonde (1986), American Economic Review 76, 604-620; Dehejia and Wahba (1999), JASA 94,
        1053-1062 (the subsample with earnings of 1974); Cunningham (2021), Causal Inference: The
        Mixtape, chapter 5.

    Examples:
        >>> found = lalonde_benchmark()
        >>> round(found.benchmark.value), round(found.raw.value)
        (1794, -8498)
    """
    import pandas as pd

    nsw, cps = _samples()
    both = pd.concat([nsw[nsw["treat"] == 1], cps], ignore_index=True)
    gaps = []
    for frame, words in ((nsw, "Welch t"), (both, "raw gap")):
        one, zero = (frame.loc[frame["treat"] == t, "re78"].to_numpy() for t in (1, 0))
        gaps.append(welch_gap(one, zero, level=0.95, method=words, unit=_UNIT))
    both["age2"], both["age3"], both["educ2"] = both["age"] ** 2, both["age"] ** 3, both["educ"] ** 2
    both["u74"], both["u75"] = (both["re74"] == 0).astype(float), (both["re75"] == 0).astype(float)
    given: dict[str, Any] = {
        "outcome": "re78",
        "treatment": "treat",
        "covariates": [c for c in both.columns if c not in ("re78", "treat")],
    }
    found = {
        message("inverse probability weights"): inverse_probability_weighting(
            both, estimand="ATT", **given
        ).estimate,
        message("entropy balancing"): entropy_balancing(both, estimand="ATT", **given).estimate,
        message("matching"): matching(both, estimand="ATT", **given).estimate,
    }
    return BenchmarkResult(gaps[0], gaps[1], {k: replace(e, unit=_UNIT) for k, e in found.items()})
