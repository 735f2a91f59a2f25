# ruff: noqa: S608  # names pass through expressions.quote and values through raw.literal

"""Checking staged tables against the rule table, one pass per table, all violations at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import narwhals as nw

from loyalty_research.data.check_report import CheckReport, Quarantined, Violation
from loyalty_research.data.contract import CURRENCIES, TABLES
from loyalty_research.data.expressions import quote
from loyalty_research.data.raw import FILE, ROW, literal
from loyalty_research.data.rules import CODES, KNOWN, LINE_CODES, ORDER, Context, duplicate_rule, rules_for
from loyalty_research.data.staging import PART
from loyalty_research.data.text_files import line_numbers

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from loyalty_research.data.definitions import TableDefinition
    from loyalty_research.data.loading import Loaded
    from loyalty_research.data.rules import Rule
    from loyalty_research.data.staging import Staged

__all__ = ["check_loaded"]

_FIRST: Final = 5


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
    """Return what is wrong with lines that are no rows: bad bytes apart from wrong fields."""
    several = sum(max(len(raw.files), 1) for raw in staged.raws) > 1
    lines: dict[str, list[int | str]] = {code: [] for code in LINE_CODES}
    for raw in staged.raws:
        for item in raw.malformed:
            lines[item.code].append(f"{raw.files[item.file].name}:{item.line}" if several else item.line)
    return [
        Violation(
            staged.table.name,
            "",
            code,
            CODES[code][0],
            len(found),
            tuple(found[:_FIRST]),
            CODES[code][1],
            in_lines=True,
        )
        for code, found in lines.items()
        if found
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
    if violation.rule in LINE_CODES:
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
