"""Checking a dataset against the contract: every violation at once, and bad rows set aside."""

# ruff: noqa: S608  # names pass through expressions.quote and values through sources.literal

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, Final

import narwhals as nw

from loyalty_research.data.contract import CURRENCIES, TABLES
from loyalty_research.data.expressions import quote
from loyalty_research.data.rules import CODES, KNOWN, ORDER, Context, duplicate_rule, rules_for
from loyalty_research.data.sources import FILE, ROW, line_numbers, literal
from loyalty_research.data.staging import PART
from loyalty_research.errors import ContractError
from loyalty_research.i18n import message, messages

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

    from loyalty_research.data.catalogue import TableDefinition
    from loyalty_research.data.loading import Loaded
    from loyalty_research.data.rules import Rule
    from loyalty_research.data.staging import Staged

__all__ = ["CheckReport", "Quarantined", "Violation", "check_loaded", "write_quarantine"]

_FIRST: Final = 5
COLUMNS: Final = ("table", "column", "rule", "severity", "count", "first_rows")


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that rows of one table break.

    Attributes:
        table: Table of the contract.
        column: Column or columns, empty for the table as a whole.
        rule: Reason code.
        severity: ``error`` or ``warning``.
        count: Rows that break it.
        first_rows: The first of them: lines of the file (the header is line 1) for text files, with
            the file's name before them where a table has several; positions from 0 elsewhere.
        mend: What to do about it.
        in_lines: Whether ``first_rows`` are lines of a text file.
        settled: Whether its rows are set aside in quarantine, so that it stops nothing.
    """

    table: str
    column: str
    rule: str
    severity: str
    count: int
    first_rows: tuple[int | str, ...]
    mend: str
    in_lines: bool = False
    settled: bool = False

    def __str__(self) -> str:
        name = f"{self.table}.{self.column}" if self.column else self.table
        rows = f" in {self.count:,} {'row' if self.count == 1 else 'rows'}" if self.count else ""
        if not self.first_rows:
            return f"{name}: {self.rule}{rows}; {self.mend}"
        kind = "line" if self.in_lines else "position"
        many = "" if len(self.first_rows) == 1 else "s"
        lead = "at" if self.count == len(self.first_rows) else "first at"
        first = ", ".join(map(str, self.first_rows))
        return f"{name}: {self.rule}{rows} ({lead} {kind}{many} {first}); {self.mend}"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What became of the rows of one table; ``rows`` is ``kept`` plus ``set_aside``.

    Attributes:
        table: Table of the contract.
        rows: Rows read, malformed lines included.
        kept: Rows that broke no rule of severity ``error``.
        set_aside: Rows that did, each with all its reasons.
    """

    table: str
    rows: int
    kept: int
    set_aside: int


@dataclass(frozen=True)
class CheckReport:
    """Every violation of the contract in a dataset.

    Attributes:
        name: Dataset.
        violations: In the order of tables; errors before warnings.
        rows: Table to the number of rows looked at.
        quarantined: What was kept and what was set aside, for tables that ask for quarantine.
        path: Quarantine file that was written, or None.
    """

    name: str
    violations: tuple[Violation, ...]
    rows: dict[str, int] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...] = ()
    path: Path | None = None

    @property
    def errors(self) -> tuple[Violation, ...]:
        """Violations that stop the work: errors whose rows are not in quarantine."""
        return tuple(v for v in self.violations if v.severity == "error" and not v.settled)

    @property
    def warnings(self) -> tuple[Violation, ...]:
        """Violations of severity ``warning``."""
        return tuple(v for v in self.violations if v.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether the dataset can be worked with."""
        return not self.errors

    def to_frame(self) -> pd.DataFrame:
        """Return one row per violation: table, column, rule, severity, count, first_rows."""
        import pandas as pd

        rows = [[getattr(v, name) for name in COLUMNS] for v in self.violations]
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"count": "int64"})

    def headline(self) -> str:
        """Return one sentence: what was looked at and how it came out."""
        total = sum(self.rows.values())
        looked = ", ".join(
            (
                messages("{count} table", "{count} tables", len(self.rows)),
                messages("{count} row", "{count} rows", total),
            )
        )
        if self.ok and not self.violations:
            return message("{name} follows the contract ({looked}).", name=self.name, looked=looked)
        found = ", ".join(
            text
            for count, text in (
                (len(self.errors), messages("{count} error", "{count} errors", len(self.errors))),
                (len(self.warnings), messages("{count} warning", "{count} warnings", len(self.warnings))),
                (
                    sum(q.set_aside for q in self.quarantined),
                    messages(
                        "{count} row in quarantine",
                        "{count} rows in quarantine",
                        sum(q.set_aside for q in self.quarantined),
                    ),
                ),
            )
            if count
        )
        if self.ok:
            return message(
                "{name} follows the contract ({looked}; {found}).", name=self.name, looked=looked, found=found
            )
        return message(
            "{name} breaks the contract ({looked}; {found}).", name=self.name, looked=looked, found=found
        )

    def raise_if_failed(self) -> CheckReport:
        """Return the report, or raise with everything there is to mend.

        Raises:
            ContractError: When there is an error whose rows are not in quarantine.
        """
        if not self.ok:
            raise ContractError(
                "\n".join([self.headline(), *(f"- {violation}" for violation in self.errors)])
            )
        return self

    def __repr__(self) -> str:
        order = {"error": message("error"), "warning": message("warning")}
        lines = [
            f"- {message('in quarantine') if v.settled else order[v.severity]}: {v}" for v in self.violations
        ]
        lines += [
            message(
                "- {table}: {rows} rows = {kept} kept + {aside} in quarantine",
                table=q.table,
                rows=f"{q.rows:,}",
                kept=f"{q.kept:,}",
                aside=f"{q.set_aside:,}",
            )
            for q in self.quarantined
        ]
        return "\n".join([self.headline(), *lines])

    def _repr_html_(self) -> str:
        from loyalty_research.display import table

        if not self.violations:
            return f"<p>{escape(self.headline())}</p>"
        frame = self.to_frame().assign(
            first_rows=[", ".join(map(str, v.first_rows)) for v in self.violations],
            mend=[v.mend for v in self.violations],
        )
        headings = {"first_rows": message("first rows"), "mend": message("what to do")}
        return table(frame, caption=self.headline(), headings=headings).html


def _violation(staged: Staged, rule: Rule, count: int, keys: Iterable[tuple[int, int, int]]) -> Violation:
    first, lines = _positions(staged, list(keys))
    return Violation(
        staged.table.name, rule.column, rule.code, rule.severity, count, first, rule.mend, in_lines=lines
    )


def _positions(staged: Staged, keys: Sequence[tuple[int, int, int]]) -> tuple[tuple[int | str, ...], bool]:
    """Return where rows are, in words that find them in the source."""
    if not staged.positional:
        return (), False
    sources = sum(max(len(raw.files), 1) for raw in staged.raws)
    found: list[int | str] = []
    for part, file, row in keys:
        raw = staged.raws[part]
        place = line_numbers(raw, file, [row]).get(row) if raw.text else row
        if place is None:
            continue
        name = raw.files[file].name if raw.files else f"part {part + 1}"
        found.append(place if sources == 1 else f"{name}:{place}")
    return tuple(found), all(raw.text for raw in staged.raws)


def _frame(loaded: Loaded, staged: Staged) -> nw.LazyFrame[Any]:
    """Return the staged rows, with a marker beside each customer that the customers table knows."""
    frame: nw.LazyFrame[Any] = nw.from_native(loaded.connection.table(quote(staged.name)))
    customers = loaded.staged.get("customers")
    if customers is None or "customer_id" not in customers.columns or staged.table.name == "customers":
        return frame
    rows = loaded.connection.table(quote(customers.name))
    known: nw.LazyFrame[Any] = (
        nw.from_native(rows).select("customer_id").filter(~nw.col("customer_id").is_null())
    )
    if "customers" in loaded.quarantined:
        good = loaded.connection.sql(
            f"SELECT customer_id FROM {quote(customers.name)} WHERE ({PART}, {FILE}, {ROW}) NOT IN "
            f"(SELECT ({PART}, {FILE}, {ROW}) FROM bad_customers) AND customer_id IS NOT NULL"
        )
        known = nw.from_native(good)
    known = known.unique("customer_id")
    for column in staged.table.columns:
        if column.references == "customers" and column.name in staged.columns:
            marked = known.with_columns(nw.col("customer_id").alias(f"{KNOWN}{column.name}"))
            marked = marked.rename({"customer_id": f"__key_{column.name}"})
            frame = frame.join(marked, how="left", left_on=column.name, right_on=f"__key_{column.name}")
    return frame


def _figures(
    frame: nw.LazyFrame[Any], bad: dict[str, nw.Expr], distinct: nw.Expr | None = None
) -> dict[str, int]:
    """Return how many rows each expression calls bad, and the distinct keys, in one query."""
    wanted = {name: nw.col(f"__is_{name}").sum() for name in bad}
    if distinct is not None:
        wanted["distinct"] = distinct
    if not wanted:
        return {}
    # flags first: an aggregate cannot hold a window
    flagged = frame.with_columns(**{f"__is_{name}": _flag(expression) for name, expression in bad.items()})
    values = flagged.select(**wanted).to_native().fetchall()[0]
    return {name: int(value or 0) for name, value in zip(wanted, values, strict=True)}


def _flag(bad: nw.Expr) -> nw.Expr:
    return nw.when(bad).then(nw.lit(1)).otherwise(nw.lit(0))


def _first(frame: nw.LazyFrame[Any], bad: nw.Expr) -> list[tuple[int, int, int]]:
    kept = frame.with_columns(__is_bad=bad).filter(nw.col("__is_bad")).select(*ORDER)
    rows = kept.sort(*ORDER).head(_FIRST).to_native().fetchall()
    return [(int(part), int(file), int(row)) for part, file, row in rows]


def _check_table(
    loaded: Loaded, staged: Staged, currency: str | None, as_of: dt.date | None
) -> tuple[list[Violation], list[Rule], nw.LazyFrame[Any]]:
    """Return the violations of one table, the rules of severity error that rows break, and its frame."""
    table = staged.table
    frame = _frame(loaded, staged)
    columns = frozenset(frame.collect_schema().names())
    context = Context(table, columns, staged.generated, currency, as_of)
    found = [
        Violation(table.name, name, "missing_column", "error", staged.count, (), CODES["missing_column"][1])
        for name in table.required
        if name not in columns
    ]
    if staged.count == 0:
        mend = CODES["empty_table"][1]
        return [*found, Violation(table.name, "", "empty_table", "error", 0, (), mend)], [], frame
    rules = rules_for(context)
    double = duplicate_rule(context)
    bad = {f"r{i}": rule.bad for i, rule in enumerate(rules)}
    seen = _figures(frame, bad, double[1] if double else None)
    if double is not None and seen["distinct"] < staged.count:
        rules.append(double[0])
        seen.update(_figures(frame, {f"r{len(rules) - 1}": double[0].bad}))
    broken = [(rule, seen[f"r{i}"]) for i, rule in enumerate(rules) if seen[f"r{i}"]]
    found += [_violation(staged, rule, count, _first(frame, rule.bad)) for rule, count in broken]
    errors = [rule for rule, _ in broken if rule.severity == "error"]
    return found, errors, frame


def _malformed(staged: Staged) -> list[Violation]:
    several = sum(max(len(raw.files), 1) for raw in staged.raws) > 1
    lines: list[int | str] = [
        f"{raw.files[item.file].name}:{item.line}" if several else item.line
        for raw in staged.raws
        for item in raw.malformed
    ]
    if not lines:
        return []
    severity, mend = CODES["malformed_line"]
    first = tuple(lines[:_FIRST])
    return [
        Violation(staged.table.name, "", "malformed_line", severity, len(lines), first, mend, in_lines=True)
    ]


def _mark_bad(loaded: Loaded, staged: Staged, rules: Sequence[Rule], frame: nw.LazyFrame[Any]) -> int:
    """Keep the places of bad rows with all their reasons in ``bad_<table>``; return how many."""
    name = f"bad_{staged.table.name}"
    loaded.connection.execute(f"DROP TABLE IF EXISTS {quote(name)}")
    if not rules:
        loaded.connection.execute(
            f"CREATE TABLE {quote(name)} ({PART} INTEGER, {FILE} BIGINT, {ROW} BIGINT, reasons VARCHAR[])"
        )
        return 0
    flags = {f"__flag_{i}": _flag(rule.bad) for i, rule in enumerate(rules)}
    marked = frame.with_columns(**flags)
    worst = marked.filter(nw.max_horizontal(*flags) == 1).select(*ORDER, *flags)
    reasons = ", ".join(
        f"CASE WHEN {quote(flag)} = 1 THEN {literal(f'{rule.column}: {rule.code}')} END"
        for flag, rule in zip(flags, rules, strict=True)
    )
    worst.to_native().project(
        f"{PART}, {FILE}, {ROW}, list_filter([{reasons}], lambda reason: reason IS NOT NULL) AS reasons"
    ).create(name)
    return int(loaded.connection.execute(f"SELECT count(*) FROM {quote(name)}").fetchall()[0][0])


def _settle(loaded: Loaded, staged: Staged, rules: Sequence[Rule], frame: nw.LazyFrame[Any]) -> Quarantined:
    """Mark bad rows and count: every row read is either kept or set aside."""
    bad = _mark_bad(loaded, staged, rules, frame)
    lines = sum(len(raw.malformed) for raw in staged.raws)
    return Quarantined(staged.table.name, staged.count + lines, staged.count - bad, bad + lines)


def _table_level(violation: Violation, policy: TableDefinition) -> bool:
    """Whether leaving rows out would not mend it."""
    if violation.rule == "malformed_line":
        # an order whose line cannot be read would come out too small
        return bool(policy.group_by)
    return violation.rule in {"missing_column", "empty_table", "unreadable"}


def _apply_policy(
    loaded: Loaded, policy: TableDefinition, made: Quarantined, violations: list[Violation]
) -> list[Violation]:
    """Settle the violations whose rows go into quarantine, unless they are too many."""
    share = made.set_aside / made.rows if made.rows else 0.0
    if made.set_aside and (share > policy.max_bad_share or not made.kept):
        mend = (
            f"{share:.1%} of the rows are bad and max_bad_share is {policy.max_bad_share:.1%}; "
            "mend the source, or raise the share"
        )
        return [
            *violations,
            Violation(policy.name, "", "too_many_bad_rows", "error", made.set_aside, (), mend),
        ]
    if made.set_aside:
        loaded.quarantined[policy.name] = made.set_aside
    return [
        v if v.severity != "error" or _table_level(v, policy) else replace(v, settled=True)
        for v in violations
    ]


def check_loaded(loaded: Loaded, *, as_of: dt.date | None = None, mark_all: bool = False) -> CheckReport:
    """Check staged tables; set bad rows aside where a table's definition asks for it.

    Args:
        loaded: Staged tables. Tables in quarantine are noted in it, so that views leave bad rows out.
        as_of: Last day observed, for the warning about later rows.
        mark_all: Mark the bad rows of every table, for :func:`write_quarantine`.

    Returns:
        The report; nothing is written here.
    """
    currency = loaded.currency or _main_currency(loaded)
    found = [
        Violation(name, "", "unreadable", CODES["unreadable"][0], 0, (), reason)
        for name, reason in loaded.unreadable.items()
    ]
    reconciled = []
    loaded.quarantined.clear()
    for name in (table for table in TABLES if table in loaded.staged):
        staged, policy = loaded.staged[name], loaded.policies[name]
        violations, rules, frame = _check_table(loaded, staged, currency, as_of)
        violations = [*_malformed(staged), *violations]
        if mark_all or policy.on_bad_rows == "quarantine":
            made = _settle(loaded, staged, rules, frame)
            reconciled.append(made)
            if policy.on_bad_rows == "quarantine":
                violations = _apply_policy(loaded, policy, made, violations)
        found += violations
    rank = {name: i for i, name in enumerate(TABLES)}
    found.sort(key=lambda v: (rank[v.table], v.severity != "error"))
    rows = {name: staged.count for name, staged in loaded.staged.items()}
    return CheckReport(loaded.name, tuple(found), rows, tuple(reconciled))


def _main_currency(loaded: Loaded) -> str | None:
    """Return the most frequent currency, against which others stand out."""
    counts: dict[str, int] = {}
    for staged in loaded.staged.values():
        if staged.table.column("currency") is None or "currency" not in staged.columns:
            continue
        rows = loaded.connection.execute(
            f"SELECT currency, count(*) FROM {quote(staged.name)} WHERE currency IS NOT NULL GROUP BY 1"
        ).fetchall()
        for code, count in rows:
            counts[str(code)] = counts.get(str(code), 0) + int(count)
    known = {code: count for code, count in counts.items() if code in CURRENCIES}
    return max(sorted(known), key=lambda code: known[code], default=None)


def write_quarantine(loaded: Loaded, report: CheckReport, path: Path) -> CheckReport:
    """Write bad rows to a Parquet file and return the report with its path.

    Columns: ``table``; ``source`` (file name); ``row`` (line of a text file, the header being line
    1, or position from 0); ``reasons`` (every one, as ``column: rule``); ``cells`` (the row as it was
    read, as JSON); ``line`` (a malformed line as it stands).

    Args:
        loaded: Staged tables whose bad rows are marked.
        report: What marked them.
        path: File to write, replaced as a whole.
    """
    pieces = []
    for made in report.quarantined:
        if made.set_aside:
            staged = loaded.staged[made.table]
            pieces += [_bad_rows(loaded, staged), _bad_lines(loaded, staged)]
    if not pieces:
        return report
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        loaded.connection.execute(
            f"COPY (SELECT * FROM ({' UNION ALL '.join(pieces)}) ORDER BY 1, 2, 3) "
            f"TO {literal(str(unfinished))} (FORMAT parquet)"
        )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return replace(report, path=path)


def _sources(staged: Staged) -> dict[tuple[int, int], str]:
    return {
        (part, file): path.name for part, raw in enumerate(staged.raws) for file, path in enumerate(raw.files)
    }


def _bad_rows(loaded: Loaded, staged: Staged) -> str:
    """Return the query of a table's bad rows with their place in the source."""
    connection, name = loaded.connection, staged.table.name
    keys = connection.execute(f"SELECT {PART}, {FILE}, {ROW} FROM bad_{name} ORDER BY ALL").fetchall()
    places: list[int] = []
    for (part, file), group in itertools.groupby(keys, key=lambda key: (key[0], key[1])):
        rows = [int(key[2]) for key in group]
        raw = staged.raws[part]
        lines = line_numbers(raw, file, rows) if raw.text and raw.files else {}
        places += [lines.get(row, row) for row in rows]
    table = f"places_{name}"
    names = _sources(staged)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT unnest(?::INTEGER[]) AS p, unnest(?::BIGINT[]) AS f, "
        "unnest(?::BIGINT[]) AS r, unnest(?::BIGINT[]) AS place, unnest(?::VARCHAR[]) AS source",
        [
            [key[0] for key in keys],
            [key[1] for key in keys],
            [key[2] for key in keys],
            places,
            [names.get((key[0], key[1])) for key in keys],
        ],
    )
    whole = all(raw.positional for raw in staged.raws) and not loaded.policies[name].group_by
    if whole:
        cells = " UNION ALL ".join(
            f"SELECT {part} AS p, {FILE} AS f, {ROW} AS r, {_as_json(list(raw.types))} AS cells FROM ({raw.sql})"
            for part, raw in enumerate(staged.raws)
        )
    else:
        shown = [*staged.columns, *staged.extras]
        cells = f"SELECT {PART} AS p, {FILE} AS f, {ROW} AS r, {_as_json(shown)} AS cells FROM {quote(staged.name)}"
    return (
        f'SELECT {literal(name)} AS "table", l.source, l.place AS row, b.reasons, c.cells, NULL::VARCHAR AS line '
        f"FROM bad_{name} AS b JOIN {table} AS l ON (b.{PART}, b.{FILE}, b.{ROW}) = (l.p, l.f, l.r) "
        f"JOIN ({cells}) AS c ON (l.p, l.f, l.r) = (c.p, c.f, c.r)"
    )


def _as_json(names: Sequence[str]) -> str:
    fields = ", ".join(f"{literal(name)}, CAST({quote(name)} AS VARCHAR)" for name in names)
    return f"CAST(json_object({fields}) AS VARCHAR)"


def _bad_lines(loaded: Loaded, staged: Staged) -> str:
    """Return the query of the lines of a table's files that are no rows."""
    name = f"malformed_{staged.table.name}"
    items = [(raw.files[item.file].name, item) for raw in staged.raws for item in raw.malformed]
    loaded.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT unnest(?::VARCHAR[]) AS source, unnest(?::BIGINT[]) AS place, "
        "unnest(?::VARCHAR[]) AS problem, unnest(?::VARCHAR[]) AS line",
        [
            [source for source, _ in items],
            [item.line for _, item in items],
            [item.problem for _, item in items],
            [item.text for _, item in items],
        ],
    )
    return f"SELECT {literal(staged.table.name)}, source, place, ['malformed_line: ' || problem], NULL, line FROM {name}"
