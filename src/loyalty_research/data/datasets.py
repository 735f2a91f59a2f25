"""Datasets: contract-checked tables with what a reader must know about them."""

# ruff: noqa: S608  # names pass through expressions.quote and values through sources.literal

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import narwhals as nw

from loyalty_research.data import catalogue
from loyalty_research.data.checking import check_loaded
from loyalty_research.data.contract import TABLES
from loyalty_research.data.definitions import as_date, check_zone
from loyalty_research.data.expressions import quote
from loyalty_research.data.loading import load, load_frames, present
from loyalty_research.data.quarantine import write_quarantine
from loyalty_research.errors import ArgumentError, ContractError, MissingTableError
from loyalty_research.i18n import message

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from loyalty_research.data.check_report import CheckReport
    from loyalty_research.data.definitions import Definition
    from loyalty_research.data.loading import Loaded

__all__ = ["Dataset", "check_dataset", "open_dataset"]

_KIND_WORDS: Final = {
    "real": lambda: message("Real data"),
    "simulated": lambda: message("Simulated data"),
    "published": lambda: message("Published counts"),
    "user": lambda: message("Your own data"),
}


class _Tables(dict[str, "nw.LazyFrame[Any]"]):
    """Tables by name; asking for one that is not there says which there are."""

    def __init__(self, dataset: str, tables: Mapping[str, nw.LazyFrame[Any]]) -> None:
        super().__init__(tables)
        self._dataset = dataset

    def __missing__(self, table: str) -> nw.LazyFrame[Any]:
        raise MissingTableError(
            f"{self._dataset} has no table {table!r}; it has {', '.join(self) or 'none'}. "
            "Choose another dataset, or map the table in data/datasets.yml"
        )


class Dataset:
    """Tables that follow the contract, and what a reader must know about them.

    Made by :func:`loyalty_research.open_dataset` or :meth:`from_frames`.

    Attributes:
        name: Name or path it was opened by.
        description: One sentence that says what the data are.
        kind: ``real``, ``simulated``, ``published`` or ``user``.
        currency: ISO 4217 code, or None where there is no money.
        timezone: IANA name of the zone that days are counted in.
        as_of: Last day observed, or None where nothing is dated.
        calibration_end: Last day of the declared calibration period, or None.
        notices: What limits the data, such as left truncation.
        truth: True parameters of simulated data; empty for all other.
        tables: Table of the contract to a lazy frame; moments are naive UTC microseconds, and every
            ``<x>_at`` has a ``<x>_date`` beside it, the day in ``timezone``.
        dropped: Reason to the number of rows left out for it.
    """

    name: str
    description: str
    kind: str
    currency: str | None
    timezone: str
    as_of: dt.date | None
    calibration_end: dt.date | None
    notices: tuple[str, ...]
    truth: dict[str, Any]
    tables: Mapping[str, nw.LazyFrame[Any]]
    dropped: dict[str, int]

    def __init__(
        self,
        loaded: Loaded,
        *,
        name: str,
        description: str,
        kind: str,
        as_of: dt.date | None,
        calibration_end: dt.date | None,
        notices: tuple[str, ...],
        truth: Mapping[str, Any],
        report: CheckReport,
    ) -> None:
        if kind not in _KIND_WORDS:
            raise ArgumentError(f"kind must be one of {', '.join(_KIND_WORDS)}; got {kind!r}")
        self._loaded = loaded
        self._report = report
        self._declared = as_of is not None
        self.name, self.description, self.kind = name, description, kind
        self.currency, self.timezone = loaded.currency, loaded.zone
        self.as_of, self.calibration_end = as_of, calibration_end
        self.notices, self.truth = notices, dict(truth)
        if as_of is None:
            self.as_of = _last_day(loaded)
            if self.as_of is not None:
                self.notices += (_end_notice(self.as_of),)
        self._views, self.dropped = present(
            loaded, as_of, "all" if as_of is None else f"until_{as_of:%Y%m%d}"
        )
        tables = {
            table: nw.from_native(loaded.connection.table(quote(view))) for table, view in self._views.items()
        }
        self.tables = MappingProxyType(_Tables(self.name, tables))
        self._money()

    def _money(self) -> None:
        """Take the currency from the rows where none was declared."""
        if self.currency is not None:
            return
        for table in ("transactions", "costs"):
            if self.has(table, "currency"):
                found = self._rows(f"SELECT DISTINCT currency FROM {self._view(table)} ORDER BY 1 LIMIT 2")
                if len(found) == 1:
                    self.currency = found[0][0]

    def _view(self, table: str) -> str:
        return quote(self._views[table])

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._loaded.connection.execute(sql).fetchall()

    @classmethod
    def from_frames(
        cls,
        name: str,
        tables: Mapping[str, pd.DataFrame],
        *,
        description: str,
        kind: str,
        currency: str | None = None,
        timezone: str = "UTC",
        as_of: dt.date | str | None = None,
        calibration_end: dt.date | str | None = None,
        notices: Sequence[str] = (),
        truth: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """Make a dataset of frames whose columns follow the contract.

        Args:
            name: What the dataset is called.
            tables: Table of the contract to its frame.
            description: One sentence that says what the data are.
            kind: ``real``, ``simulated``, ``published`` or ``user``.
            currency: ISO 4217 code, filled in where a table has no currency column.
            timezone: Zone in which naive moments are local and days are counted.
            as_of: Last day observed; by default the day of the last event.
            calibration_end: Last day of the calibration period.
            notices: What limits the data.
            truth: True parameters of simulated data.

        Raises:
            ContractError: When a table is not in the contract or its rows break it, listing all there
                is to mend.

        Examples:
            >>> import pandas as pd
            >>> orders = pd.DataFrame({
            ...     "transaction_id": ["t1", "t2"], "customer_id": ["a", "a"],
            ...     "transacted_at": pd.to_datetime(["2024-01-31 23:30", "2024-02-02 10:00"]),
            ...     "amount": [10.0, 12.5]})
            >>> shop = Dataset.from_frames("shop", {"transactions": orders}, currency="EUR",
            ...     description="Two orders.", kind="user", timezone="Europe/Madrid")
            >>> shop.frame("transactions")[["transacted_at", "transacted_date", "amount"]]
                    transacted_at transacted_date  amount
            0 2024-01-31 22:30:00      2024-01-31    10.0
            1 2024-02-02 09:00:00      2024-02-02    12.5
        """
        day = None if as_of is None else as_date(as_of)
        loaded = load_frames(name, tables, zone=check_zone(timezone, "timezone"), currency=currency)
        return cls(
            loaded,
            report=check_loaded(loaded, as_of=day).raise_if_failed(),
            name=name,
            description=description,
            kind=kind,
            as_of=day,
            calibration_end=None if calibration_end is None else as_date(calibration_end),
            notices=tuple(notices),
            truth=truth or {},
        )

    def has(self, table: str, *columns: str) -> bool:
        """Return whether a table is there and has all of the columns.

        Args:
            table: Table of the contract.
            *columns: Columns that must be among its own.
        """
        if table not in self._views:
            return False
        staged = self._loaded.staged[table]
        return set(columns) <= {*staged.columns, *staged.extras}

    def frame(self, table: str) -> pd.DataFrame:
        """Return a table as a pandas frame, money as float64 and days as midnight.

        Raises:
            ContractError: When the dataset has no such table.
        """
        self.tables[table]  # names the tables there are when this one is not
        found = self._loaded.connection.execute(f"SELECT * FROM {self._view(table)}").df()
        # pandas' own nullable integers trip numpy code; a missing count is NaN as everywhere else
        gappy = [name for name in found.columns if str(found[name].dtype) == "Int64"]
        return found.astype(dict.fromkeys(gappy, "float64"))

    def check(self) -> CheckReport:
        """Return what the check of the contract found; an open dataset has no errors, warnings maybe."""
        return self._report

    @cached_property
    def fingerprint(self) -> str:
        """Content hash: the same for the same rows in any order, another for any other content."""
        tables = {}
        for name in self._views:
            staged = self._loaded.staged[name]
            columns = sorted({*staged.columns, *staged.extras})
            cells = ", ".join(f"coalesce(CAST({quote(c)} AS VARCHAR), chr(30))" for c in columns)
            row = f"concat_ws(chr(31), {cells})"
            # a sum of digests does not depend on the order of rows, but on how often each stands
            digest = f"SELECT count(*), sum(md5_number_lower({row})) FROM {self._view(name)}"
            tables[name] = [columns, *map(str, self._rows(digest)[0])]
        facts = [
            tables,
            self.currency,
            self.timezone,
            self.as_of and self.as_of.isoformat(),
            self.calibration_end and self.calibration_end.isoformat(),
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def rename(self, name: str) -> None:
        """Give the dataset, and what its check says, another name."""
        self.name = name
        self._report = replace(self._report, name=name)

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        return {
            name: int(self._rows(f"SELECT count(*) FROM {self._view(name)}")[0][0]) for name in self._views
        }

    def viewed(self, as_of: dt.date | str) -> Dataset:
        """Return the dataset as it was known at the end of a day.

        Args:
            as_of: Last day that may be seen. It lies before the declared end of observation; where none
                is declared, it may lie after the last event and declares the end.

        Raises:
            ArgumentError: When the day lies after the declared end.
            ContractError: When nothing had happened by then.
        """
        day = as_date(as_of)
        if self._declared and self.as_of is not None and day > self.as_of:
            raise ArgumentError(
                f"as_of={day} lies after {self.as_of}, the last day that {self.name} observes"
            )
        notices = self.notices
        if not self._declared and self.as_of is not None:
            notices = tuple(notice for notice in notices if notice != _end_notice(self.as_of))
        if self.has("units"):
            notices += (
                message("The table units has no dates: a view as of an earlier day shows all of it."),
            )
        calibration_end = self.calibration_end
        if calibration_end is not None and calibration_end >= day:
            calibration_end = None
        view = Dataset(
            self._loaded,
            name=self.name,
            description=self.description,
            kind=self.kind,
            as_of=day,
            calibration_end=calibration_end,
            notices=tuple(dict.fromkeys(notices)),
            truth=self.truth,
            report=self._report,
        )
        if not any(view.counts().values()):
            raise ContractError(f"{self.name} has no rows up to {day}")
        return view

    def _facts(self) -> dict[str, str]:
        rows = "; ".join(
            message("{table}: {count} rows", table=table, count=f"{count:,}")
            for table, count in self.counts().items()
        )
        facts = {
            message("Rows"): rows,
            message("Observed until"): self.as_of.isoformat() if self.as_of else message("not dated"),
            message("Currency"): self.currency or message("no money in these data"),
            message("Days counted in"): self.timezone,
        }
        if self.dropped:
            left_out = "; ".join(f"{reason}: {count:,}" for reason, count in self.dropped.items())
            facts[message("Left out")] = left_out
        return facts

    def __repr__(self) -> str:
        lines = [f"{self.name} ({_KIND_WORDS[self.kind]()}): {self.description}"]
        lines += [f"  {key}: {value}" for key, value in self._facts().items()]
        lines += [f"  - {notice}" for notice in self.notices]
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude
        facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in self._facts().items())
        notes = "".join(f"<li>{escape(notice)}</li>" for notice in self.notices)
        html = (
            f'<aside class="lr-callout lr-dataset lr-{escape(self.kind)}" aria-label="{escape(message("The data"))}">'
            f'<p class="lr-tag">{escape(_KIND_WORDS[self.kind]())}</p>'
            f'<p class="lr-headline"><strong>{escape(self.name)}</strong>: {escape(self.description)}</p>'
            f"<dl>{facts}</dl>{f'<ul>{notes}</ul>' if notes else ''}</aside>"
        )
        return {"text/html": html, "text/plain": repr(self)}


def _end_notice(day: dt.date) -> str:
    return message(
        "No end of observation was declared; {day}, the day of the last event, is taken for it.",
        day=day.isoformat(),
    )


def _last_day(loaded: Loaded) -> dt.date | None:
    """Return the day of the last event of any table, None where nothing is dated."""
    days = []
    for staged in loaded.staged.values():
        happens = TABLES[staged.table.name].happens
        if happens is None or happens not in staged.columns or staged.table.name == "customers":
            continue
        day = staged.table.column(happens)
        name = quote(str(day.date_name)) if day else ""
        days += [
            row[0]
            for row in loaded.connection.execute(f"SELECT max({name}) FROM {quote(staged.name)}").fetchall()
        ]
    return max((day for day in days if day is not None), default=None)


def open_dataset(name_or_path: str | Path, *, as_of: dt.date | str | None = None) -> Dataset:
    """Open a dataset of ``data/datasets.yml``, or a file or folder of your own.

    Args:
        name_or_path: A name; or a CSV, Parquet or DuckDB file, or a folder of files called after
            tables of the contract.
        as_of: View the data as they were known at the end of this day.

    Raises:
        ArgumentError: When name_or_path is neither text nor a path, or as_of is no day.
        ContractError: When there is no such dataset, or its rows break the contract.

    Examples:
        >>> open_dataset("carwash").counts()
        {'units': 300}
    """
    catalogue.check_declared(name_or_path)
    definition = catalogue.define(name_or_path)
    dataset = _generate(definition) if definition.generator else _read(definition)
    return dataset if as_of is None else dataset.viewed(as_of)


def _read(definition: Definition) -> Dataset:
    loaded = load(definition)
    report = check_loaded(loaded, as_of=definition.as_of).raise_if_failed()
    if loaded.quarantined:
        report = write_quarantine(loaded, report, _quarantine_path(definition))
    return Dataset(
        loaded,
        name=definition.name,
        description=definition.description,
        kind=definition.kind,
        as_of=definition.as_of,
        calibration_end=definition.calibration_end,
        notices=(*definition.notices, *loaded.notices),
        truth={},
        report=report,
    )


def _quarantine_path(definition: Definition) -> Path:
    safe = re.sub(r"[^\w.-]+", "_", definition.name)
    return definition.root / "data" / "cache" / "quarantine" / f"{safe}.parquet"


def _generate(definition: Definition) -> Dataset:
    """Run a registered generator and give its dataset the declared name."""
    asked = definition.generator
    function = catalogue.generator(str(asked.get("name", ""))).load()
    arguments = dict(asked.get("arguments") or {})
    leading = [arguments.pop("kind")] if "kind" in arguments else []
    made = function(*leading, **arguments)
    if not isinstance(made, Dataset):
        raise ContractError(f"{definition.name}: the generator {asked.get('name')!r} returned no Dataset")
    made.description = definition.description or made.description
    made.notices = (*definition.notices, *made.notices)
    made.rename(definition.name)
    return made


def check_dataset(
    name_or_path: str | Path, *, as_of: dt.date | str | None = None, quarantine: str | Path | None = None
) -> CheckReport:
    """Check a dataset against the contract and report every violation, without raising for them.

    Args:
        name_or_path: As for :func:`open_dataset`.
        as_of: Last day observed, where it is not the declared one.
        quarantine: Parquet file to write the bad rows of every table to, each with all its reasons.

    Returns:
        The report; ``.ok`` says whether the dataset can be opened.

    Raises:
        ContractError: When there is no such dataset, or its definition is wrong.

    Examples:
        >>> check_dataset("carwash")
        carwash follows the contract (1 table, 300 rows).
    """
    catalogue.check_declared(name_or_path)
    definition = catalogue.define(name_or_path)
    if definition.generator:
        return _generate(definition).check()
    loaded = load(definition)
    end = definition.as_of if as_of is None else as_date(as_of)
    report = check_loaded(loaded, as_of=end, mark_all=quarantine is not None)
    return report if quarantine is None else write_quarantine(loaded, report, Path(quarantine))
