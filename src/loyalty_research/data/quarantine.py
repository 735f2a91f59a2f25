# ruff: noqa: S608  # names pass through expressions.quote and values through raw.literal

"""Bad rows set aside in a Parquet file, each with all its reasons and its place in the source."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from loyalty_research.data.expressions import quote
from loyalty_research.data.raw import FILE, ROW, literal
from loyalty_research.data.staging import PART
from loyalty_research.data.text_files import line_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loyalty_research.data.check_report import CheckReport
    from loyalty_research.data.loading import Loaded
    from loyalty_research.data.staging import Staged

__all__ = ["write_quarantine"]


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
            [f"{item.code}: {item.problem}" for _, item in items],
            [item.text for _, item in items],
        ],
    )
    return f"SELECT {literal(staged.table.name)}, source, place, [problem], NULL, line FROM {name}"
