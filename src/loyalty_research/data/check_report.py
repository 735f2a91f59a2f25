"""What a check found: every violation of the contract, for people and as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final

from loyalty_research.errors import ContractError
from loyalty_research.i18n import message, messages

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["CheckReport", "Quarantined", "Violation"]

_COLUMNS: Final = ("table", "column", "rule", "severity", "count", "first_rows")


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

        rows = [[getattr(v, name) for name in _COLUMNS] for v in self.violations]
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"count": "int64"})

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
