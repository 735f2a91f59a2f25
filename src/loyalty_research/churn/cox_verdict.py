"""What a Cox model lets one say, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.churn.means import common_horizon, rmst
from loyalty_research.churn.words import covariate_words, term_words
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from loyalty_research.churn.cox_state import State
    from loyalty_research.churn.means import RestrictedMeans
    from loyalty_research.estimates import Check

__all__ = ["caveat", "cox_verdict", "restricted_means"]


def cox_verdict(state: State, params: pd.Series[float], limits: pd.DataFrame, checks: Sequence[Check]) -> str:
    """Return the verdict: hazard ratios, or mean times where ratios change over time."""
    broken = any(c.p_value is not None and c.status == "warning" for c in checks)
    if broken:
        sentences = [
            message("Hazard ratios change over time here, so single ratios mislead; mean times say more."),
            *_mean_sentences(state),
        ]
        if len(sentences) == 1:
            sentences.append(message("Read the survival curves of groups instead."))
    else:
        sentences = _ratio_sentences(state, params, limits)
    return " ".join([*sentences, caveat(state.design.inputs, state.data.chosen)])


def caveat(inputs: Sequence[str], chosen: Sequence[str]) -> str:
    """Return what a regression on customers as they are does not say.

    Args:
        inputs: Covariates of the model.
        chosen: Covariates customers choose for themselves.
    """
    own = [v for v in inputs if v in chosen]
    if not own:
        return message("These are associations, not effects.")
    return message(
        "Customers choose this themselves ({names}), so these figures compare people who differ in more than that.",
        names=", ".join(covariate_words(c) for c in own),
    )


def _ratio_sentences(state: State, params: pd.Series[float], limits: pd.DataFrame) -> list[str]:
    clear = limits.index[limits["p"] < 0.05]
    if not len(clear):
        return [message("No covariate shifts the rate of leaving beyond chance.")]
    order = np.argsort(limits.loc[clear, "p"].to_numpy(), kind="stable")[:2]
    return [_ratio_sentence(state, str(clear[i]), params, limits) for i in order]


def _ratio_sentence(state: State, term: str, params: pd.Series[float], limits: pd.DataFrame) -> str:
    ratio, low, high = (float(np.exp(v)) for v in (params[term], limits["low"][term], limits["high"][term]))
    level = percent(state.options.level, digits=0)
    between = message(
        "{level} interval {low} to {high}",
        level=level,
        low=number(low, digits=2),
        high=number(high, digits=2),
    )
    if not np.isfinite(params[term]):
        return message(
            "{term}: nobody (or everybody) left, so the ratio has a bound only ({between}).",
            term=term_words(state.design, term),
            between=between,
        )
    if ratio < 1:
        return message(
            "{term}: the rate of leaving is {share} lower (ratio {ratio}, {between}).",
            term=term_words(state.design, term),
            share=percent(1 - ratio, digits=0),
            ratio=number(ratio, digits=2),
            between=between,
        )
    if ratio >= 2:
        return message(
            "{term}: the rate of leaving is {ratio} times as high ({between}).",
            term=term_words(state.design, term),
            ratio=number(ratio, digits=1),
            between=between,
        )
    return message(
        "{term}: the rate of leaving is {share} higher (ratio {ratio}, {between}).",
        term=term_words(state.design, term),
        share=percent(ratio - 1, digits=0),
        ratio=number(ratio, digits=2),
        between=between,
    )


def restricted_means(state: State, variable: str) -> RestrictedMeans | None:
    """Return mean times by a categorical covariate that is fixed per customer, or None."""
    data = state.data
    if variable not in data.covariates.columns:
        return None
    values = data.covariates[variable]
    if not (variable in state.design.levels or values.nunique() == 2) or _changes(state, variable):
        return None
    if data.start[np.unique(data.customer, return_index=True)[1]].any():
        return None
    tau = state.options.horizon or common_horizon(data, variable)
    levels = state.design.levels.get(variable)
    reference = levels[0] if levels else min(values.unique().tolist())
    return rmst(data, tau=tau, by=variable, reference=reference, level=state.options.level)


def _changes(state: State, variable: str) -> bool:
    data = state.data
    if data.n_customers == len(data.stop):
        return False
    codes = data.covariates[variable].astype("category").cat.codes.to_numpy()
    first = np.unique(data.customer, return_index=True)[1]
    return bool((codes != codes[first][data.customer]).any())


def _mean_sentences(state: State) -> list[str]:
    for variable in state.design.inputs:
        means = restricted_means(state, variable)
        if means is not None:
            # the widest gap tells the story; the rest are in the table
            words = means.words(means.widest)
            if len(means.others) == 1:
                return [words]
            return [words, message("Other groups are in the table of mean times.")]
    return []
