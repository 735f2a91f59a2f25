"""Cross-fitting: flexible models of membership and outcome without the bias of judging their own fit."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.comparison._propensity import NoOverlapError
from loyalty_research.comparison._weights import Potential
from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["check_learners", "cross_fitted"]

_LEAST = 0.01


def check_learners(learners: Any) -> tuple[Any, Any]:
    """Return classifier and regressor, or raise.

    Raises:
        ArgumentError: When they lack the methods of scikit-learn's estimators.
    """
    try:
        classifier, regressor = learners
    except (TypeError, ValueError):
        raise ArgumentError(
            "learners is a pair: a classifier of membership and a regressor of the outcome"
        ) from None
    for model, needs in ((classifier, ("fit", "predict_proba")), (regressor, ("fit", "predict"))):
        lacking = [n for n in needs if not callable(getattr(model, n, None))]
        if lacking:
            raise ArgumentError(
                f"{type(model).__name__} has no {' and no '.join(lacking)}, which cross-fitting needs"
            )
    return classifier, regressor


def cross_fitted(
    x: Array,
    treated: Array,
    y: Array,
    *,
    learners: tuple[Any, Any],
    folds: int,
    seed: int,
    clusters: NDArray[np.int64] | None = None,
) -> tuple[Potential, Array]:
    """Return the augmented comparison with every unit predicted by models that never saw it.

    Args:
        x: Covariates, shape (n, p).
        treated: 0 or 1, shape (n,).
        y: Outcome, shape (n,).
        learners: Classifier and regressor.
        folds: Parts; units of a cluster stay together.
        seed: Of the parts, and of learners that take a ``random_state``.
        clusters: Cluster of each unit.

    Returns:
        The comparison and the propensities.

    Raises:
        NoOverlapError: When a propensity comes out below 1% or above 99%.

    References:
        Chernozhukov et al. (2018), The Econometrics Journal 21, C1-C68, definition 3.2 and theorem 5.1.
    """
    rng = np.random.default_rng(seed)
    unit = np.arange(len(y)) if clusters is None else clusters
    labels = np.unique(unit)
    part = rng.permuted(np.arange(len(labels)) % folds)[np.searchsorted(labels, unit)]
    chance, one, zero = np.empty(len(y)), np.empty(len(y)), np.empty(len(y))
    for fold in range(folds):
        held, rest = part == fold, part != fold
        if len(np.unique(treated[rest])) < 2:
            raise NoOverlapError("a fold leaves only one group to learn from: take fewer folds=")
        classifier = _seeded(learners[0], seed).fit(x[rest], treated[rest].astype(int))
        chance[held] = classifier.predict_proba(x[held])[:, 1]
        for group, into in ((1.0, one), (0.0, zero)):
            rows = rest & (treated == group)
            into[held] = _seeded(learners[1], seed).fit(x[rows], y[rows]).predict(x[held])
    extreme = int(np.sum((chance < _LEAST) | (chance > 1 - _LEAST)))
    if extreme:
        raise NoOverlapError(
            f"{extreme:,} units have a fitted chance of being in the group below 1% or above 99%: restrict the comparison "
            "to units that could be in either group, or use overlap_weighting"
        )
    score_one = one + treated / chance * (y - one)
    score_zero = zero + (1 - treated) / (1 - chance) * (y - zero)
    found = Potential(
        float(score_one.mean()),
        float(score_zero.mean()),
        score_one - score_one.mean(),
        score_zero - score_zero.mean(),
    )
    return found, chance


def _seeded(model: Any, seed: int) -> Any:
    """Return a fresh copy that draws from the seed where it draws at all."""
    fresh = deepcopy(model)
    if getattr(fresh, "random_state", 0) is None and hasattr(fresh, "set_params"):
        fresh.set_params(random_state=seed)
    return fresh
