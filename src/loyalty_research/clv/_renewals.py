"""Tables of contract lifetimes: single spells, and survivors of cohorts, checked and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.clv._contractual import Spells
from loyalty_research.clv._frames import check_weights, columns, count_rows, refuse_rows
from loyalty_research.errors import ContractError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]

__all__ = ["cohort_spells", "observed", "single_spells"]


def _whole(values: Array, name: str, *, least: int, mend: str) -> None:
    bad = ~(np.isfinite(values) & (values >= least) & (values == np.rint(values)))
    refuse_rows(bad, column=name, rule=f"values that are not whole numbers of {least} or more", mend=mend)


def single_spells(df: pd.DataFrame, weights: str | ArrayLike | None) -> Spells:
    """Return distinct spells of a table with one row per customer.

    Raises:
        ContractError: When a row is no spell.
    """
    periods, churned = columns(df, ("periods", "churned"))
    _whole(periods, "periods", least=0, mend="count contract periods, not days or dates")
    refuse_rows(
        ~np.isin(churned, (0.0, 1.0)),
        column="churned",
        rule="values other than 0 and 1",
        mend="1 says that the customer left at the end of the last period, 0 that the contract runs on",
    )
    refuse_rows(
        (periods == 0) & (churned == 1),
        column="periods",
        rule="customers who left after 0 periods",
        mend="the first period counts as 1: a customer who never renewed left after 1 period",
    )
    weight = check_weights(weights, df)
    (periods, churned), counts = count_rows(weight, periods, churned)
    return Spells(periods, churned, counts)


def cohort_spells(survivors: pd.DataFrame | pd.Series[Any]) -> tuple[Spells, float]:
    """Return distinct spells from survivors per period, and how many customers were ever seen.

    Args:
        survivors: A series indexed by period, or a table with columns period, survivors and, with
            more than one cohort, cohort.

    Raises:
        ContractError: When periods are missing or out of order, or survivors increase.
    """
    import pandas as pd

    if isinstance(survivors, pd.Series):
        survivors = pd.DataFrame({"period": survivors.index, "survivors": survivors.to_numpy()})
    period, count = columns(survivors, ("period", "survivors"))
    _whole(period, "period", least=0, mend="number periods 0, 1, 2 from the start of the contract")
    refuse_rows(
        ~(np.isfinite(count) & (count >= 0)),
        column="survivors",
        rule="values that are not counts of 0 or more",
        mend="give how many of the cohort are still customers; leave out periods not yet observed",
    )
    if "cohort" in survivors.columns:
        refuse_rows(
            survivors["cohort"].isna().to_numpy(dtype=bool),
            column="cohort",
            rule="missing cohorts",
            mend="name the cohort of every row",
        )
        cohort = pd.factorize(survivors["cohort"], sort=True)[0]
    else:
        cohort = np.zeros(len(survivors), dtype=np.int64)
    order = np.lexsort((period, cohort))
    same = np.concatenate([[False], cohort[order][1:] == cohort[order][:-1]])
    _refuse_sequence(period, count, order, same)
    lost = np.concatenate([[0.0], count[order][:-1] - count[order][1:]])
    last = np.concatenate([~same[1:], [True]])
    time = period[order]
    late = ~same & (time > 0)
    parts = (
        (time[same], np.ones(same.sum()), lost[same]),
        (time[last], np.zeros(last.sum()), count[order][last]),
        (time[late], np.zeros(late.sum()), -count[order][late]),
    )
    t, left, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    used = weight != 0
    (t, left), totals = count_rows(weight[used], t[used], left[used])
    return Spells(t, left, totals), float(count[order][~same].sum())


def _refuse_sequence(period: Array, count: Array, order: Array, same: Array) -> None:
    """Raise when a cohort's periods have gaps or repeat, or its survivors increase."""
    step, rise = np.diff(period[order], prepend=0), np.diff(count[order], prepend=0)
    wrong = np.zeros(len(period), dtype=bool)
    wrong[order] = same & (step != 1)
    refuse_rows(
        wrong,
        column="period",
        rule="periods that do not follow the one before within a cohort",
        mend="give every period of a cohort once, without gaps; name cohorts in a column cohort",
    )
    wrong[order] = same & (rise > 0)
    refuse_rows(
        wrong,
        column="survivors",
        rule="more survivors than in the period before",
        mend="a cohort cannot grow; count customers who come back as a cohort of their own",
    )


def observed(spells: Spells) -> pd.DataFrame:
    """Return what was seen per period: at risk, lost, and the product-limit share surviving.

    Args:
        spells: Distinct spells.
    """
    import pandas as pd

    t, left, weight = spells
    most = int(t.max())
    held = np.bincount(t.astype(np.int64), weights=weight, minlength=most + 1)
    lost = np.bincount(t.astype(np.int64), weights=weight * left, minlength=most + 1)
    risk = held[::-1].cumsum()[::-1]
    seen = np.flatnonzero(risk[1:] > 1e-9) + 1
    kept = np.cumprod(1 - lost[seen] / risk[seen])
    return pd.DataFrame({"period": seen, "at_risk": risk[seen], "lost": lost[seen], "survival": kept})


def refuse_short(spells: Spells, *, parameters: int, model: str) -> None:
    """Raise when too few renewals were observed to tell the parameters apart.

    Raises:
        ContractError: Naming how many renewals there are and how many are needed.
    """
    gone = np.unique(spells.periods[(spells.left > 0) & (spells.weight > 0)])
    reach = int(spells.periods.max())
    if not len(gone):
        raise ContractError(
            "contract lifetimes: nobody left, so nothing is known about leaving; observe more periods"
        )
    if reach < parameters:
        raise ContractError(
            f"contract lifetimes: {reach} renewal{'s' if reach != 1 else ''} observed, and {model} needs at least "
            f"{parameters} to tell its parameters apart; observe more periods"
        )
