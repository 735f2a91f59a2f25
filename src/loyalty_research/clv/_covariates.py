"""Customers' fixed traits in a model of purchases: how they are coded and what they multiply.

A trait z enters through a log-linear factor of a parameter: alpha_i = alpha exp(-g z) makes customers
buy exp(g) times as often, and the dropout parameters likewise. Each coefficient has one column of
numbers; a table of loadings says which log parameters it moves, and which way.

References:
    Fader and Hardie (2007), Incorporating Time-Invariant Covariates into the Pareto/NBD and BG/NBD
    Models, note 019, brucehardie.com/notes/019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.clv._frames import fingerprint, group_rows, refuse_rows
from loyalty_research.errors import ArgumentError, ContractError, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.clv._core import Core, Parameters

    Array = NDArray[Any]

__all__ = ["Coding", "Design", "design", "objective", "row_parameters"]

_MOST_LEVELS = 50
_CHUNK = 1 << 16  # rows whose second derivatives are held at one time
_TIED = 1e-8  # share of a column that the others leave unexplained


@dataclass(frozen=True)
class Coding:
    """How one column becomes numbers.

    Attributes:
        column: Its name.
        levels: Levels of a categorical, the first being the reference; None for numbers.
    """

    column: str
    levels: tuple[str, ...] | None

    def labels(self) -> list[str]:
        """Return what is in brackets in the name of each coefficient."""
        if self.levels is None:
            return [self.column]
        return [f"{self.column}={level}" for level in self.levels[1:]]

    def encode(self, df: pd.DataFrame) -> list[Array]:
        """Return one column of numbers per coefficient, each of shape (n,).

        Raises:
            ContractError: When the column is missing, has gaps, or holds what it did not at the fit.
        """
        column = _column(df, self.column)
        if self.levels is None:
            return [_numbers(column, self.column)]
        labels = column.astype(str).to_numpy()
        unknown = ~np.isin(labels, self.levels)
        refuse_rows(
            unknown,
            column=self.column,
            rule=f"levels the model was not fitted on (it knows {listed(self.levels)})",
            mend="fit on customers of every level, or leave those out",
        )
        return [(labels == level).astype(float) for level in self.levels[1:]]


def _column(df: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in df.columns:
        raise ContractError(
            f"customer summary: no column {name!r}, which is a covariate (it has {listed(df.columns)}); "
            "join it to the summary by customer"
        )
    column = df[name]
    if column.ndim > 1:
        raise ContractError(f"customer summary: column {name} appears {column.shape[1]} times; keep one")
    refuse_rows(
        column.isna().to_numpy(dtype=bool),
        column=name,
        rule="missing values of a covariate",
        mend="fill them, for example with a level of their own such as 'unknown', or leave those customers out",
    )
    return column


def _numbers(column: pd.Series[Any], name: str) -> Array:
    from pandas.api.types import is_numeric_dtype

    if not is_numeric_dtype(column):
        raise ContractError(
            f"customer summary, column {name}: the model was fitted on numbers and this holds "
            f"{column.dtype} values; convert the column first"
        )
    values = column.to_numpy(dtype=float)
    refuse_rows(~np.isfinite(values), column=name, rule="infinite values of a covariate", mend="repair them")
    return values


def _coding(df: pd.DataFrame, name: str) -> Coding:
    from pandas.api.types import is_numeric_dtype

    column = _column(df, name)
    if is_numeric_dtype(column) and not hasattr(column, "cat"):
        if np.ptp(_numbers(column, name)) == 0:
            raise ContractError(
                f"customer summary, column {name}: the same value for all {len(df):,} customers; it cannot "
                "be a covariate, leave it out"
            )
        return Coding(name, None)
    order = column.cat.categories if hasattr(column, "cat") else None
    present = set(column.astype(str))
    levels = sorted(present) if order is None else [str(v) for v in order if str(v) in present]
    if len(levels) < 2:
        raise ContractError(
            f"customer summary, column {name}: one level for all {len(df):,} customers; it cannot be a "
            "covariate, leave it out"
        )
    if len(levels) > _MOST_LEVELS:
        raise ContractError(
            f"customer summary, column {name}: {len(levels):,} levels; group them into at most {_MOST_LEVELS}"
        )
    return Coding(name, tuple(levels))


@dataclass(frozen=True)
class Design:
    """The covariates of a fitted model.

    Attributes:
        purchase: Codings of the columns that act on the purchase rate.
        dropout: Codings of the columns that act on dropout.
        names: Names of the coefficients.
        source: For each coefficient, the position of its column among :meth:`encode`'s.
        loadings: What one unit of each coefficient's column times the coefficient adds to each log
            parameter, shape (parameters, coefficients).
        means: Mean of each coefficient's column over the customers fitted.
        scales: Standard deviation of it.
        prints: Fingerprint of each covariate together with the histories fitted.
    """

    purchase: tuple[Coding, ...]
    dropout: tuple[Coding, ...]
    names: tuple[str, ...]
    source: tuple[int, ...]
    loadings: Array
    means: Array
    scales: Array
    prints: Mapping[str, str]

    def _codings(self) -> list[Coding]:
        return list(dict.fromkeys((*self.purchase, *self.dropout)))

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the summary that are covariates."""
        return [coding.column for coding in self._codings()]

    def encode(self, df: pd.DataFrame) -> list[Array]:
        """Return the distinct columns of numbers behind the coefficients, each of shape (n,).

        Raises:
            ContractError: When a covariate is missing, has gaps, or a level is unknown.
        """
        return [column for coding in self._codings() for column in coding.encode(df)]

    def per_coefficient(self, columns: Sequence[Array]) -> list[Array]:
        """Return the column of each coefficient from what :meth:`encode` returned."""
        return [columns[place] for place in self.source]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary."""
        sides = {"purchase": self.purchase, "dropout": self.dropout}
        return {
            **{side: [[c.column, c.levels and list(c.levels)] for c in of] for side, of in sides.items()},
            "loadings": self.loadings.tolist(),
            "means": self.means.tolist(),
            "scales": self.scales.tolist(),
            "prints": dict(self.prints),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Design:
        """Return what :meth:`to_dict` wrote."""
        sides = [
            tuple(Coding(name, None if levels is None else tuple(levels)) for name, levels in saved[side])
            for side in ("purchase", "dropout")
        ]
        loadings = np.array(saved["loadings"], dtype=float)
        names, source = _names(sides[0], sides[1], len(loadings[0]))
        means, scales = (np.array(saved[key], dtype=float) for key in ("means", "scales"))
        return cls(sides[0], sides[1], names, source, loadings, means, scales, dict(saved["prints"]))


def _names(
    purchase: Sequence[Coding], dropout: Sequence[Coding], coefficients: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Name the coefficients and find their columns; dropout may have two sets, for a and for b."""
    places: dict[tuple[Coding, str], int] = {}
    for coding in dict.fromkeys((*purchase, *dropout)):
        for label in coding.labels():
            places[coding, label] = len(places)
    first = [(c, label) for c in purchase for label in c.labels()]
    second = [(c, label) for c in dropout for label in c.labels()]
    sides = [("purchase", key) for key in first]
    if coefficients == len(first) + len(second):
        sides += [("dropout", key) for key in second]
    else:
        sides += [(f"dropout {which}", key) for which in ("a", "b") for key in second]
    return tuple(f"{side}[{key[1]}]" for side, key in sides), tuple(places[key] for _, key in sides)


def _checked(names: Sequence[str], option: str) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"{option} must be a list of column names, such as ['channel']; got {names!r}")
    if len(set(names)) < len(names):
        raise ArgumentError(f"{option} names a column twice: {', '.join(names)}")
    taken = [name for name in names if name in ("frequency", "recency", "T")]
    if taken:
        raise ArgumentError(
            f"{option}: {', '.join(taken)} is what the model explains, so it cannot be a covariate"
        )
    return tuple(names)


def design(
    df: pd.DataFrame,
    *,
    purchase: Sequence[str],
    dropout: Sequence[str],
    loads_purchase: Sequence[float],
    loads_dropout: Sequence[Sequence[float]],
    histories: Sequence[Array],
    weight: Array | None,
) -> tuple[Design, list[Array]]:
    """Code covariates for a fit.

    Args:
        df: The summary.
        purchase: Columns that act on the purchase rate.
        dropout: Columns that act on dropout.
        loads_purchase: What a purchase coefficient adds to each log parameter, shape (k,).
        loads_dropout: The same for each set of dropout coefficients, shape (sets, k).
        histories: frequency, recency and T of the rows, each of shape (n,).
        weight: Customers behind each row, shape (n,), or None.

    Returns:
        The design and its distinct columns of numbers.

    Raises:
        ArgumentError: When the options are no lists of columns.
        ContractError: When a column is missing, has gaps, does not vary or repeats others.
    """
    first = _checked(purchase, "purchase_covariates")
    second = _checked(dropout, "dropout_covariates")
    codings = {name: _coding(df, name) for name in dict.fromkeys((*first, *second))}
    sides = [tuple(codings[name] for name in names) for names in (first, second)]
    wide = [[label for coding in side for label in coding.labels()] for side in sides]
    loadings = [loads_purchase] * len(wide[0]) + [load for load in loads_dropout for _ in wide[1]]
    names, source = _names(sides[0], sides[1], len(loadings))
    columns = [column for coding in codings.values() for column in coding.encode(df)]
    share = np.ones(len(df)) if weight is None else weight
    share = share / share.sum()
    means = np.array([share @ columns[place] for place in source])
    scales = np.array(
        [np.sqrt(share @ (columns[place] - m) ** 2) for place, m in zip(source, means, strict=True)]
    )
    _refuse_repeats(columns, [label for coding in codings.values() for label in coding.labels()])
    prints = {name: _fingerprint(coding.encode(df), histories, weight) for name, coding in codings.items()}
    out = Design(sides[0], sides[1], names, source, np.array(loadings, dtype=float).T, means, scales, prints)
    return out, columns


def _fingerprint(columns: Sequence[Array], histories: Sequence[Array], weight: Array | None) -> str:
    parts = [*histories, *columns]
    first, where = group_rows(*parts)
    return fingerprint(*(part[first] for part in parts), np.bincount(where, weights=weight).astype(float))


def _refuse_repeats(columns: Sequence[Array], labels: Sequence[str]) -> None:
    table = np.column_stack(columns)
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    left = np.linalg.qr(table, mode="r")
    tied = [
        label
        for label, rest in zip(labels, np.abs(np.diag(left)), strict=True)
        if rest < _TIED * len(table) ** 0.5
    ]
    if tied:
        raise ContractError(
            f"customer summary: the covariate {tied[0]} follows from the others exactly, so their effects "
            "cannot be told apart; leave one of them out"
        )


def row_parameters(parameters: Array, loadings: Array, columns: Array | Sequence[Array]) -> Parameters:
    """Return the model's parameters for each row.

    Args:
        parameters: The model's own parameters, then exp(coefficient) of each covariate.
        loadings: Shape (own parameters, coefficients).
        columns: The column of each coefficient, each of shape (n,).

    Returns:
        One number for a parameter no covariate moves, else an array of shape (n,).
    """
    own = len(loadings)
    coefficients = np.log(parameters[own:])
    out: list[float | Array] = []
    for value, load in zip(parameters[:own], loadings, strict=True):
        moved = [j for j in range(len(coefficients)) if load[j]]
        if moved:
            out.append(value * np.exp(sum(load[j] * coefficients[j] * columns[j] for j in moved)))
        else:
            out.append(float(value))
    return out


def objective(
    core: Core, histories: Sequence[Array], weight: Array, loadings: Array, columns: Sequence[Array]
) -> Callable[[Array], tuple[float, Array, Array]]:
    """Return log-likelihood, gradient and Hessian in log parameters and coefficients.

    Args:
        core: The model.
        histories: frequency, recency, T of distinct rows, each of shape (n,).
        weight: Customers behind each row, shape (n,).
        loadings: Shape (own parameters, coefficients).
        columns: The column of each coefficient, each of shape (n,).
    """
    own, z = len(loadings), np.stack(columns)

    def at(theta: Array) -> tuple[float, Array, Array]:
        parameters, value = np.exp(theta), 0.0
        gradient, hessian = np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
        for begin in range(0, len(weight), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            rows = row_parameters(parameters, loadings, z[:, part])
            terms = core.terms(rows, *(column[part] for column in histories))
            value += float(weight[part] @ terms[0])
            scale = np.stack([np.broadcast_to(v, terms[0].shape) for v in rows])
            slope = terms[1] * scale * weight[part]
            bend = terms[2] * (scale[:, None] * scale[None, :] * weight[part])
            bend[range(own), range(own)] += slope
            _chain(gradient, hessian, slope, bend, _moves(loadings, z[:, part]))
        return value, gradient, hessian

    return at


def _moves(loadings: Array, z: Array) -> list[tuple[Array, Array]]:
    """Return, for each log parameter, the positions it depends on and its slopes in them (m, n)."""
    own, out = len(loadings), []
    for k, load in enumerate(loadings):
        moved = np.flatnonzero(load)
        slopes = np.concatenate([np.ones((1, z.shape[1])), load[moved, None] * z[moved]])
        out.append((np.concatenate([[k], own + moved]), slopes))
    return out


def _chain(
    gradient: Array, hessian: Array, slope: Array, bend: Array, moves: Sequence[tuple[Array, Array]]
) -> None:
    """Add rows' derivatives in their own log parameters to those in the model's, by the chain rule."""
    for k, (at, first) in enumerate(moves):
        gradient[at] += first @ slope[k]
        for j, (other, second) in enumerate(moves):
            hessian[np.ix_(at, other)] += (first * bend[k, j]) @ second.T
