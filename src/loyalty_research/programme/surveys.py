"""What customers answer: net promoter score, satisfaction and effort, each on a declared scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = [
    "CustomerEffort",
    "CustomerSatisfaction",
    "EffortDirection",
    "NetPromoterScore",
    "customer_effort_score",
    "customer_satisfaction",
    "net_promoter_score",
    "response_check",
]

EffortDirection = Literal["higher is easier", "lower is easier"]

NPS_SCALES = ((0, 10), (1, 10))


@dataclass(frozen=True, repr=False, eq=False)
class NetPromoterScore(Result):
    """Promoters less detractors, in points from -100 to 100.

    Attributes:
        score: The score in points (not a percentage) with its interval.
        promoters: Share that answered 9 or 10.
        passives: Share that answered 7 or 8.
        detractors: Share that answered 6 or less.
        standard_error: Of the score, in points.
        scale: Lowest and highest answer that could be given.
    """

    title: ClassVar[str] = "Net promoter score"

    score: Estimate
    promoters: Estimate
    passives: Estimate
    detractors: Estimate
    standard_error: float
    scale: tuple[int, int]

    def change_from(self, earlier: NetPromoterScore) -> Estimate:
        """Return this score minus an earlier one, of other people or of people asked anew.

        Raises:
            ContractError: When the two scales differ: their scores have no common meaning.
        """
        if self.scale != earlier.scale:
            raise ContractError(
                f"one score is on the scale {_words(self.scale)}, the other on {_words(earlier.scale)}; scores of "
                "different scales cannot be compared"
            )
        value = self.score.value - earlier.score.value
        se = math.hypot(self.standard_error, earlier.standard_error)
        n = self.score.n + earlier.score.n
        found = _normal(value, se, self.score.level, n, end=200.0, method="normal, independent waves")
        if not se > 0:
            return found
        p = math.erfc(abs(value) / se / math.sqrt(2))
        return Estimate(value, found.low, found.high, found.level, found.method, n, "points", p)

    def _rows(self) -> Iterable[Row]:
        yield Row(message("net promoter score"), self.score, estimand="promoters - detractors")
        yield Row(message("promoters"), self.promoters)
        yield Row(message("passives"), self.passives)
        yield Row(message("detractors"), self.detractors)

    def _verdict(self) -> str:
        return message(
            "The net promoter score of the {n} who answered is {score} ({interval}): {promoters} would recommend, "
            "{detractors} would not.",
            n=f"{self.score.n:,}",
            score=self.score.format(),
            interval=self.score.interval(),
            promoters=self.promoters.format(),
            detractors=self.detractors.format(),
        )


@dataclass(frozen=True, repr=False, eq=False)
class CustomerSatisfaction(Result):
    """Share that chose one of the two best answers.

    Attributes:
        share: The share with its Wilson interval.
        scale: Lowest and highest answer that could be given; the highest is the most satisfied.
    """

    title: ClassVar[str] = "Customer satisfaction"

    share: Estimate
    scale: tuple[int, int]

    def _rows(self) -> Iterable[Row]:
        yield Row(message("satisfied customers"), self.share, estimand="share of the two best answers")

    def _verdict(self) -> str:
        return message(
            "{share} of the {n} who answered chose {second} or {best} on a scale from {worst} to {best} ({interval}).",
            share=self.share.format(),
            n=f"{self.share.n:,}",
            second=self.scale[1] - 1,
            best=self.scale[1],
            worst=self.scale[0],
            interval=self.share.interval(),
        )


@dataclass(frozen=True, repr=False, eq=False)
class CustomerEffort(Result):
    """Mean effort that customers report.

    Attributes:
        mean: Mean answer with its t interval.
        easy: Share of answers on the easy side of the middle of the scale.
        scale: Lowest and highest answer that could be given.
        direction: Which end of the scale is the easy one.
    """

    title: ClassVar[str] = "Customer effort"

    mean: Estimate
    easy: Estimate
    scale: tuple[int, int]
    direction: EffortDirection

    def _rows(self) -> Iterable[Row]:
        yield Row(message("mean effort score"), self.mean, estimand=self.direction)
        yield Row(message("found it easy"), self.easy, estimand="share on the easy side of the middle")

    def _verdict(self) -> str:
        values = {
            "mean": self.mean.format(),
            "interval": self.mean.interval(),
            "low": self.scale[0],
            "high": self.scale[1],
            "easy": self.easy.format(),
        }
        if self.direction == "higher is easier":
            return message(
                "The mean effort score is {mean} from {low} to {high}, where {high} is the easiest ({interval}); {easy} "
                "found it easy.",
                **values,
            )
        return message(
            "The mean effort score is {mean} from {low} to {high}, where {low} is the easiest ({interval}); {easy} found "
            "it easy.",
            **values,
        )


def net_promoter_score(
    scores: ArrayLike | pd.DataFrame,
    *,
    scale: tuple[int, int] = (0, 10),
    weights: ArrayLike | None = None,
    invited: int | None = None,
    level: float = 0.95,
) -> NetPromoterScore:
    """Return promoters (9 and 10) less detractors (6 and less), in points.

    A scale from 1 to 10 has one detractor's answer less, so that its scores are higher for the same
    customers (answers spread evenly give -40 points, against -45 from 0 to 10). It is taken only when
    declared, and the two are never pooled.

    Args:
        scores: Answers, whole numbers, one a respondent; or a frame with ``value`` and optionally
            ``customer_id``, ``scale_min`` and ``scale_max``, which must agree with ``scale``.
        scale: ``(0, 10)``, or ``(1, 10)`` where the question was asked so.
        weights: One positive weight an answer, such as one over the chance to respond.
        invited: Customers who were asked; gives the response rate and how far silence could move the score.
        level: Confidence level.

    Returns:
        The score with its interval, and the shares of promoters, passives and detractors.

    Raises:
        ArgumentError: On a scale that is neither, or a wrong weight or count of invitations.
        ContractError: On answers off the scale, mixed scales, missing answers or customers who answer twice.

    Examples:
        >>> score = net_promoter_score([10] * 90 + [8] * 60 + [3] * 50)
        >>> score.score
        20.00 points (95% interval 8.74 points to 31.26 points; normal, multinomial; n = 200)

    References:
        Rocks (2016), Interval estimation for the "net promoter score", The American Statistician
        70(4), 365-372, the Wald interval; variance (P + D - (P - D)^2)/n.
    """
    if tuple(scale) not in NPS_SCALES:
        raise ArgumentError(
            f"scale must be (0, 10), or (1, 10) where the question was asked so; got {scale!r}"
        )
    level = check_level(level)
    answers, weight = _answers(scores, scale, weights)
    n = answers.size
    sides = np.where(answers >= 9, 1.0, np.where(answers <= 6, -1.0, 0.0))
    mean, se = _weighted_mean(sides, weight)
    return NetPromoterScore(
        _normal(100 * mean, 100 * se, level, n, end=100.0, method="normal, multinomial"),
        promoters=_share(sides == 1, weight, level),
        passives=_share(sides == 0, weight, level),
        detractors=_share(sides == -1, weight, level),
        standard_error=100 * se,
        scale=(int(scale[0]), int(scale[1])),
        checks=(
            response_check(n, invited, 100 * mean, -100.0, 100.0, weighted=weights is not None),
            *_lowest_check(answers, scale),
            *_spread_check(se),
        ),
    )


def customer_satisfaction(
    scores: ArrayLike | pd.DataFrame,
    *,
    scale: tuple[int, int] = (1, 5),
    weights: ArrayLike | None = None,
    invited: int | None = None,
    level: float = 0.95,
) -> CustomerSatisfaction:
    """Return the share of answers that are one of the two best, with Wilson's interval.

    Args:
        scores: Answers, as for :func:`net_promoter_score`; the highest is the most satisfied.
        scale: Lowest and highest answer, at least four apart from end to end.
        weights: One positive weight an answer; the interval then uses Kish's effective size.
        invited: Customers who were asked.
        level: Confidence level.

    Raises:
        ArgumentError: On a scale of fewer than four answers, or a wrong weight or count of invitations.
        ContractError: On answers off the scale, mixed scales, missing answers or customers who answer twice.

    Examples:
        >>> customer_satisfaction([5] * 100 + [4] * 64 + [2] * 36).share
        82.0% (95% interval 76.1% to 86.7%; wilson; n = 200)
    """
    scale = _scale(scale, least=4)
    level = check_level(level)
    answers, weight = _answers(scores, scale, weights)
    best = answers >= scale[1] - 1
    share = _share(best, weight, level)
    return CustomerSatisfaction(
        share,
        scale=scale,
        checks=(
            response_check(
                answers.size, invited, 100 * share.value, 0.0, 100.0, weighted=weights is not None
            ),
        ),
    )


def customer_effort_score(
    scores: ArrayLike | pd.DataFrame,
    *,
    direction: EffortDirection,
    scale: tuple[int, int] = (1, 7),
    weights: ArrayLike | None = None,
    invited: int | None = None,
    level: float = 0.95,
) -> CustomerEffort:
    """Return the mean effort score with its t interval; both directions of the scale are in use.

    Args:
        scores: Answers, as for :func:`net_promoter_score`.
        direction: ``"higher is easier"`` ("the company made it easy": agree is high) or ``"lower is easier"``
            ("how much effort did it take").
        scale: Lowest and highest answer.
        weights: One positive weight an answer.
        invited: Customers who were asked.
        level: Confidence level.

    Raises:
        ArgumentError: When the direction is unknown, or on a wrong scale, weight or count of invitations.
        ContractError: On answers off the scale, mixed scales, missing answers, fewer than two, or customers who
            answer twice.

    Examples:
        >>> answers = [1] * 3 + [2] * 5 + [3] * 8 + [4] * 14 + [5] * 30 + [6] * 28 + [7] * 12
        >>> customer_effort_score(answers, direction="higher is easier").mean
        4.95 (95% interval 4.66 to 5.24; t; n = 100)
    """
    from scipy.special import stdtrit

    if direction not in get_args(EffortDirection):
        raise ArgumentError(
            f"direction must be one of {', '.join(map(repr, get_args(EffortDirection)))}; got {direction!r}"
        )
    scale = _scale(scale, least=3)
    level = check_level(level)
    answers, weight = _answers(scores, scale, weights)
    n = answers.size
    if n < 2:
        raise ContractError("surveys holds a single answer: a mean needs at least two for its interval")
    mean, se = _weighted_mean(answers, weight)
    se *= math.sqrt(n / (n - 1))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * se if se > 0 else math.nan
    middle = sum(scale) / 2
    easy = answers > middle if direction == "higher is easier" else answers < middle
    return CustomerEffort(
        Estimate(mean, mean - half, mean + half, level, "t", n),
        easy=_share(easy, weight, level),
        scale=scale,
        direction=direction,
        checks=(
            response_check(n, invited, mean, *map(float, scale), weighted=weights is not None),
            *_spread_check(se),
        ),
    )


# --- reading answers ---------------------------------------------------------------------------


def _words(scale: tuple[Any, Any]) -> str:
    return f"{scale[0]:g} to {scale[1]:g}"


def _scale(scale: tuple[int, int], *, least: int) -> tuple[int, int]:
    whole = len(scale) == 2 and all(float(end).is_integer() for end in scale)
    if not whole or scale[1] - scale[0] + 1 < least:
        raise ArgumentError(
            f"scale is the lowest and the highest answer, whole numbers with at least {least} answers between them and "
            f"with them, such as (1, 5); got {scale!r}"
        )
    return int(scale[0]), int(scale[1])


def _answers(
    scores: ArrayLike | pd.DataFrame, scale: tuple[int, int], weights: ArrayLike | None
) -> tuple[Array, Array]:
    """Return answers and weights, checked."""
    if isinstance(scores, pd.DataFrame):
        _check_frame(scores, scale)
        scores = scores["value"]
    answers = pd.to_numeric(pd.Series(np.asarray(scores).ravel()), errors="coerce").to_numpy(dtype=float)
    if answers.size == 0:
        raise ContractError("surveys holds no answers: there is nothing to summarise")
    missing = np.flatnonzero(np.isnan(answers))
    if missing.size:
        raise ContractError(
            f"surveys.value is missing or no number at {at_rows(missing.tolist())}; leave out who did not answer"
        )
    off = np.flatnonzero((answers < scale[0]) | (answers > scale[1]) | (answers != np.round(answers)))
    if off.size:
        raise ContractError(
            f"surveys.value lies off the scale {_words(scale)} (whole numbers) at {at_rows(off.tolist())}; declare the "
            "scale the question was asked on with scale=, or mend the answers"
        )
    if weights is None:
        return answers, np.ones(answers.size)
    weight = np.asarray(weights, dtype=float).ravel()
    if weight.size != answers.size:
        raise ArgumentError(f"there are {weight.size:,} weights for {answers.size:,} answers")
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))
    if bad.size:
        raise ArgumentError(f"weights must be above 0; they are not at {at_rows(bad.tolist())}")
    return answers, weight


def _check_frame(frame: pd.DataFrame, scale: tuple[int, int]) -> None:
    if "value" not in frame.columns:
        raise ContractError(
            f"surveys lacks the column value; it has {', '.join(map(str, frame.columns)) or 'none'}"
        )
    for column, end in zip(("scale_min", "scale_max"), scale, strict=True):
        if column in frame.columns:
            other = np.flatnonzero(frame[column].to_numpy(dtype=float) != end)
            if other.size:
                raise ContractError(
                    f"surveys.{column} is not {end} at {at_rows(other.tolist())}: answers on different scales are never "
                    "pooled; keep the answers of one scale and declare it with scale="
                )
    if "customer_id" in frame.columns:
        again = np.flatnonzero(frame["customer_id"].duplicated().to_numpy())
        if again.size:
            raise ContractError(
                f"surveys.customer_id comes more than once ({at_rows(again.tolist())} are repeats); keep one answer a "
                "customer, for example the last"
            )


# --- arithmetic --------------------------------------------------------------------------------


def _weighted_mean(values: Array, weight: Array) -> tuple[float, float]:
    """Return the weighted mean and its linearised standard error (divisor n)."""
    total = weight.sum()
    mean = float(weight @ values / total)
    return mean, float(np.sqrt(np.sum((weight * (values - mean)) ** 2)) / total)


def _normal(value: float, se: float, level: float, n: int, *, end: float, method: str) -> Estimate:
    """Return points with normal limits, which stop at the ends of what points can be."""
    from scipy.special import ndtri

    half = float(ndtri(0.5 + level / 2)) * se if se > 0 else math.nan
    low, high = (float(np.clip(value + side * half, -end, end)) for side in (-1, 1))
    return Estimate(value, low, high, level, method, int(n), "points")


def _share(chosen: NDArray[np.bool_], weight: Array, level: float) -> Estimate:
    total = weight.sum()
    share = float(weight[chosen].sum() / total)
    even = bool(np.all(weight == weight[0]))
    effective = float(total**2 / np.sum(weight**2))
    successes = float(chosen.sum()) if even else share * effective
    low, high = wilson_interval(successes, chosen.size if even else effective, level=level)
    method = "wilson" if even else "wilson, effective size"
    return Estimate(share, float(low), float(high), level, method, chosen.size, "fraction")


# --- what to know of the answers ---------------------------------------------------------------


def response_check(
    n: int, invited: int | None, value: float, worst: float, best: float, *, weighted: bool
) -> Check:
    """Say how many of those asked answered, and how far the others could move a mean of answers.

    Args:
        n: Customers who answered.
        invited: Customers who were asked; None where that is not known.
        value: The mean.
        worst: Lowest answer there could be.
        best: Highest answer there could be.
        weighted: Whether weights stand in for those who did not answer.

    Raises:
        ArgumentError: When fewer were asked than answered.
    """
    name = message("Who answered")
    if invited is None:
        said = message(
            "How many were asked is not given, so the response rate is not known. The figures hold for those who "
            "answered; the silent may think otherwise."
        )
        return Check(name, "not measurable", said)
    if isinstance(invited, bool) or invited != int(invited) or invited < n:
        raise ArgumentError(
            f"invited counts the customers who were asked, at least the {n:,} who answered; got {invited!r}"
        )
    rate = n / invited
    values = {
        "rate": percent(rate),
        "n": f"{n:,}",
        "invited": f"{int(invited):,}",
        "low": number(rate * value + (1 - rate) * worst, digits=1),
        "high": number(rate * value + (1 - rate) * best, digits=1),
    }
    if rate == 1:
        return Check(name, "passed", message("All {invited} who were asked answered.", **values))
    if weighted:
        return Check(
            name,
            "warning",
            message(
                "{rate} of those asked answered ({n} of {invited}), and weights stand in for the others. Were these at "
                "one end of the scale, the figure would lie between {low} and {high}.",
                **values,
            ),
        )
    return Check(
        name,
        "warning",
        message(
            "{rate} of those asked answered ({n} of {invited}), unweighted. Were the others all at one end of the scale, "
            "the figure would lie between {low} and {high}.",
            **values,
        ),
    )


def _lowest_check(answers: Array, scale: tuple[int, int]) -> list[Check]:
    """Say when no answer of 0 was given where many detractors answered."""
    if tuple(scale) != (0, 10) or (answers == 0).any() or (answers == 1).sum() < 5:
        return []
    said = message("Nobody answered 0 while some answered 1; make sure that the question offered 0 to 10.")
    return [Check(message("Scale from 0"), "warning", said)]


def _spread_check(se: float) -> list[Check]:
    if se > 0:
        return []
    said = message("All answers count the same, so there is no spread to take an interval from.")
    return [Check(message("Spread of the answers"), "warning", said)]
