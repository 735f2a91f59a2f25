"""From covariates to model columns, and to the few patterns that stand for many rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn.intervals import where
from loyalty_research.errors import ArgumentError, ContractError, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Design", "Encoded", "Scale", "encode", "from_columns", "from_formula", "levels_of", "standardise"]

_BLOCK = 1 << 16
_FEW = 64
_MOST_PATTERNS = 20_000


@dataclass(frozen=True, slots=True)
class Design:
    """How covariates become columns.

    Attributes:
        terms: Name of each model column, such as ``"region[T.north]"``.
        variables: Covariate each column belongs to.
        levels: Levels of each categorical covariate, the reference first.
        formula: The formula, or None when columns were listed.
        spec: formulaic's model spec, or None.
        needed: Columns a formula reads.
    """

    terms: tuple[str, ...]
    variables: tuple[str, ...]
    levels: dict[str, tuple[Any, ...]]
    formula: str | None = None
    spec: Any = None
    needed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Covariates in the order of their first column."""
        return tuple(dict.fromkeys(self.variables))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns the data must have."""
        return self.names if self.spec is None else self.needed

    def check(self, frame: pd.DataFrame, table: str = "covariates") -> None:
        """Raise where :meth:`matrix` would, counting over the whole frame.

        Raises:
            ContractError: When a column is missing or has gaps or unknown levels.
        """
        _complete(frame, self.inputs, table)
        _known_levels(frame, self.levels, table)

    def matrix(self, frame: pd.DataFrame, table: str = "covariates") -> Floats:
        """Return the model columns of a frame, shape ``(rows, terms)``.

        Raises:
            ContractError: When a column is missing or has gaps or unknown levels.
        """
        _complete(frame, self.inputs, table)
        if self.spec is not None:
            _known_levels(frame, self.levels, table)
            return _formulaic(self.spec, frame[list(self.needed)])
        out = np.empty((len(frame), len(self.terms)), order="F")
        at = 0
        for name in self.names:
            at = _fill(out, at, frame[name], name, self.levels, table)
        return out


@dataclass(frozen=True, slots=True)
class Encoded:
    """Model columns of many rows, as patterns where there are few.

    Attributes:
        z: Model columns of each pattern (of each row when ``pattern`` is None), ``(P, p)``.
        pattern: Pattern of each row, or None.
    """

    z: Floats
    pattern: Ints | None

    def rows(self, mean: Floats, spread: Floats) -> Floats:
        """Return the model columns of every row, shifted and scaled, Fortran order.

        Without patterns ``z`` itself is shifted and scaled, so call this once: at a million rows a
        copy would cost as much memory as everything else.
        """
        if self.pattern is None:
            out = np.asfortranarray(self.z)
            for j in range(out.shape[1]):
                out[:, j] -= mean[j]
                out[:, j] /= spread[j]
            return out
        out = np.empty((len(self.pattern), self.z.shape[1]), order="F")
        for j in range(out.shape[1]):
            out[:, j] = ((self.z[:, j] - mean[j]) / spread[j])[self.pattern]
        return out


def levels_of(values: pd.Series[Any]) -> tuple[Any, ...] | None:
    """Return the levels of a categorical column in order, or None for a number."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        seen = np.flatnonzero(
            np.bincount(values.cat.codes[values.cat.codes >= 0], minlength=len(values.cat.categories))
        )
        return tuple(values.cat.categories[seen].tolist())
    if pd.api.types.is_bool_dtype(values):
        return None
    if pd.api.types.is_numeric_dtype(values):
        return None
    found = pd.unique(values.dropna()).tolist()
    try:
        return tuple(sorted(found))
    except TypeError:
        return tuple(sorted(found, key=str))


def from_columns(frame: pd.DataFrame, names: Sequence[str], table: str = "covariates") -> Design:
    """Code listed covariates: numbers as they are, categories against their first level.

    Raises:
        ContractError: When a column is missing, has gaps, or does not vary.
        ArgumentError: When no covariate is named, or one twice.
    """
    chosen = list(names)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ArgumentError(f"covariates must name different columns, at least one; got {chosen!r}")
    _complete(frame, chosen, table)
    terms: list[str] = []
    variables: list[str] = []
    levels: dict[str, tuple[Any, ...]] = {}
    for name in chosen:
        found = levels_of(frame[name])
        if found is None:
            _check_number(frame[name], name, table)
            added = [name]
        else:
            if len(found) < 2:
                raise ContractError(
                    f"{table}.{name} has one level only in all {len(frame):,} rows; leave it out"
                )
            levels[name] = found
            added = [f"{name}[T.{level}]" for level in found[1:]]
        terms += added
        variables += [name] * len(added)
    return Design(tuple(terms), tuple(variables), levels)


def from_formula(frame: pd.DataFrame, formula: str, table: str = "covariates") -> Design:
    """Code covariates by a formula, such as ``"region + log(first_amount)"``.

    Raises:
        ContractError: When a column is missing, has gaps, or does not vary.
        ArgumentError: When the formula cannot be read or has no covariate.
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        parsed: Any = Formula(formula)
        # formulaic does not see the variables of stateful transforms such as center()
        named = {str(v) for v in parsed.required_variables} | (_names_in(formula) & set(frame.columns))
    except (FormulaicError, SyntaxError) as error:
        raise ArgumentError(f"the formula {formula!r} cannot be read: {_plain_words(error)}") from error
    if hasattr(parsed, "lhs") or "1" not in {str(term) for term in parsed}:
        raise ArgumentError(
            f"give the right-hand side only and leave the intercept alone (the baseline hazard takes it); "
            f"got {formula!r}"
        )
    needed = sorted(named)
    _complete(frame, needed, table)
    levels: dict[str, tuple[Any, ...]] = {}
    for name in needed:
        found = levels_of(frame[name])
        if found is not None:
            if len(found) < 2:
                raise ContractError(
                    f"{table}.{name} has one level only in all {len(frame):,} rows; leave it out"
                )
            levels[name] = found
        else:
            _check_number(frame[name], name, table)
    try:
        matrix = parsed.get_model_matrix(_tidy(frame, needed))
    except (FormulaicError, SyntaxError, NameError, TypeError, ValueError) as error:
        raise ArgumentError(f"the formula {formula!r} cannot be evaluated: {_plain_words(error)}") from error
    spec = matrix.model_spec
    terms = [str(c) for c in matrix.columns if c != "Intercept"]
    if not terms:
        raise ArgumentError(f"the formula {formula!r} names no covariate")
    owner = {column: str(term) for term, columns in spec.term_indices.items() for column in columns}
    variables = [owner[i] for i, c in enumerate(matrix.columns) if c != "Intercept"]
    return Design(tuple(terms), tuple(variables), levels, formula, spec, tuple(needed))


def _plain_words(error: Exception) -> str:
    """Return an error of formulaic on one line, without the marks and colours it points with."""
    bare = re.sub(r"\x1b\[[0-9;]*m|[⧛⧚]", "", str(error))
    return " ".join(bare.split())


def _names_in(formula: str) -> set[str]:
    """Return everything in a formula that could be a column, backquoted names included."""
    return {quoted or plain for quoted, plain in re.findall(r"`([^`]+)`|([^\W\d][\w.]*)", formula)}


def encode(design: Design, frame: pd.DataFrame, table: str = "covariates") -> Encoded:
    """Return the model columns, as patterns where a few stand for all rows."""
    codes = _pattern_codes(frame[list(design.inputs)])
    if codes is None:
        return Encoded(design.matrix(frame, table), None)
    # the spec is fitted by now: centring and splines replay their stored state, row by row
    pattern, first = codes
    return Encoded(design.matrix(frame.iloc[first], table), pattern)


@dataclass(frozen=True, slots=True)
class Scale:
    """Columns shifted and scaled for Newton's sake; coefficients are turned back exactly."""

    mean: Floats
    spread: Floats


def standardise(design: Design, encoded: Encoded, n: int) -> Scale:
    """Return column means and standard deviations; raise on columns that are combinations."""
    z = encoded.z
    share = np.full(n, 1.0 / n) if encoded.pattern is None else np.bincount(encoded.pattern) / n
    mean = share @ z
    cross = np.zeros((z.shape[1], z.shape[1]))
    for at in range(0, len(z), _BLOCK):
        centred = z[at : at + _BLOCK] - mean
        cross += centred.T @ (centred * share[at : at + _BLOCK, None])
    spread = np.sqrt(np.diag(cross))
    flat = spread <= 1e-12 * (1.0 + np.abs(mean))
    if flat.any():
        names = ", ".join(t for t, f in zip(design.terms, flat, strict=True) if f)
        raise ContractError(f"covariates: {names} does not vary; leave it out")
    correlation = cross / np.outer(spread, spread)
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < 1e-10 * len(values):
        involved = np.abs(vectors[:, 0]) > 0.05
        names = ", ".join(t for t, f in zip(design.terms, involved, strict=True) if f)
        raise ContractError(f"covariates: {names} add up to each other exactly; leave one of them out")
    return Scale(mean, spread)


def _pattern_codes(frame: pd.DataFrame) -> tuple[Ints, Ints] | None:
    """Return each row's pattern and a row that shows each, or None when there are many."""
    width, key = 1, np.zeros(len(frame), dtype=np.int64)
    for name in frame.columns:
        values = frame[name]
        if isinstance(values.dtype, pd.CategoricalDtype):
            codes, size = values.cat.codes.to_numpy(), len(values.cat.categories)
        else:
            if values.iloc[:10_000].nunique() > _FEW:
                return None
            codes, found = pd.factorize(values)
            size = len(found)
        width *= max(size, 1)
        if size > _FEW * 4 or width > 100 * _MOST_PATTERNS:
            return None
        key = key * size + codes
    seen = (
        np.flatnonzero(np.bincount(key, minlength=width))
        if width <= 4 * len(frame) + 1024
        else np.unique(key)
    )
    if len(seen) > min(_MOST_PATTERNS, max(1, len(frame) // 2)):
        return None
    table = np.full(width, -1, dtype=np.int64)
    table[seen] = np.arange(len(seen))
    pattern = table[key]
    first = np.empty(len(seen), dtype=np.int64)
    first[pattern[::-1]] = np.arange(len(frame))[::-1]
    return pattern, first


def _complete(frame: pd.DataFrame, names: Sequence[str], table: str) -> None:
    missing = [n for n in names if n not in frame.columns]
    if missing:
        raise ContractError(
            f"{table} lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"they have {', '.join(map(str, frame.columns)) or 'none'}"
        )
    for name in names:
        gaps = frame[name].isna().to_numpy()
        if gaps.any():
            raise ContractError(
                f"{table}.{name} is missing in {where(gaps)}; fill it, or give missing values a level of their own"
            )


def _check_number(values: pd.Series[Any], name: str, table: str) -> None:
    array = values.to_numpy(dtype=np.float64)
    odd = ~np.isfinite(array)
    if odd.any():
        raise ContractError(f"{table}.{name} is infinite in {where(odd)}; cap or leave them out")
    if array.min() == array.max():
        raise ContractError(f"{table}.{name} has one value only in all {len(array):,} rows; leave it out")


def _codes(values: pd.Series[Any], name: str, known: tuple[Any, ...], table: str) -> Ints:
    """Return each row's place among the known levels."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        place = pd.Index(list(known)).get_indexer(pd.Index(values.cat.categories.astype(object)))
        codes = np.append(place, -1)[values.cat.codes.to_numpy()]
    else:
        codes = pd.Index(list(known)).get_indexer(pd.Index(values.astype(object)))
    if (codes < 0).any():
        raise ContractError(
            f"{table}.{name} holds levels the model has not seen in {where(codes < 0)}; it knows {listed(known)}"
        )
    return np.asarray(codes, dtype=np.int64)


def _known_levels(frame: pd.DataFrame, levels: dict[str, tuple[Any, ...]], table: str) -> None:
    for name, known in levels.items():
        _codes(frame[name], name, known, table)


def _fill(
    out: Floats,
    at: int,
    values: pd.Series[Any],
    name: str,
    levels: dict[str, tuple[Any, ...]],
    table: str,
) -> int:
    """Write a covariate's columns from column ``at`` on; return the next column."""
    if name not in levels:
        if levels_of(values) is not None:
            raise ContractError(f"{table}.{name} is {values.dtype}, and the model was fitted on numbers")
        out[:, at] = values.to_numpy(dtype=np.float64)
        return at + 1
    codes = _codes(values, name, levels[name], table)
    for k in range(1, len(levels[name])):
        out[:, at] = codes == k
        at += 1
    return at


def _tidy(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Drop unused categories, so that formulaic codes the levels that occur."""
    kept = frame[list(names)].copy()
    for name in names:
        if isinstance(kept[name].dtype, pd.CategoricalDtype):
            kept[name] = kept[name].cat.remove_unused_categories()
    return kept


def _formulaic(spec: Any, frame: pd.DataFrame) -> Floats:
    matrix: pd.DataFrame = spec.get_model_matrix(frame)
    columns = [c for c in matrix.columns if c != "Intercept"]
    return matrix[columns].to_numpy(dtype=np.float64)
