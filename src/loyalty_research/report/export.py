"""Writing simulated programmes and customer summaries to files."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError, ContractError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from loyalty_research.data import Dataset

__all__ = ["write_simulated", "write_summaries"]


def write_simulated(
    kind: str,
    *,
    customers: int,
    seed: int,
    truth: Mapping[str, Any],
    out: Path,
    force: bool,
    say: Callable[[str], None],
) -> None:
    """Simulate a programme and write its tables, ``truth.json`` and ``dataset.yml``, all or nothing.

    Args:
        kind: Kind of programme.
        customers: How many customers.
        seed: Seed of the random numbers.
        truth: True parameters that differ from the kind's own.
        out: Folder to write to.
        force: Replace an earlier simulation that is there.
        say: Takes lines.

    Raises:
        ArgumentError: When the folder holds files, or holds something that is no simulation.
    """
    out = out.expanduser().resolve()
    earlier = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if earlier and not force:
        raise ArgumentError(f"{out} holds files already; choose another --out, or --force to replace them")
    if earlier and not (out / "truth.json").is_file():
        raise ArgumentError(f"{out} holds something that is no simulation; choose another --out")
    from loyalty_research.data.definitions import FOLDER_ENTRY
    from loyalty_research.simulate import simulate

    dataset = simulate(kind, customers=customers, seed=seed, **truth)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        counts = {table: _write_table(dataset, table, draft) for table in dataset.tables}
        known = {"kind": kind, "customers": customers, "seed": seed, "truth": dataset.truth}
        (draft / "truth.json").write_text(json.dumps(known, indent=1, default=str) + "\n", "utf-8")
        (draft / FOLDER_ENTRY).write_text(_entry(dataset), "utf-8")
        draft.chmod(0o755)
        _put_in_place(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for table, count in counts.items():
        say(f"{out / table}.parquet: {count:,} rows")
    say(f"{out / 'truth.json'}: the true parameters")


def _entry(dataset: Dataset) -> str:
    """Return what has to be known of the tables to read them as they were made."""
    import yaml

    said: dict[str, Any] = {
        "description": dataset.description,
        "kind": dataset.kind,
        "timezone": dataset.timezone,
        "currency": dataset.currency,
        "observation": {"end": dataset.as_of},
        "notices": list(dataset.notices),
    }
    return yaml.safe_dump({key: value for key, value in said.items() if value}, sort_keys=False)


def _put_in_place(draft: Path, out: Path) -> None:
    if not out.exists():
        draft.rename(out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    out.rename(old / out.name)
    draft.rename(out)
    shutil.rmtree(old)


def _write_table(dataset: Dataset, table: str, folder: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = dataset.tables[table].collect(backend="pyarrow").to_native()
    # moments are UTC; unmarked they would be read as the clock of the dataset's time zone
    moment, marked = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
    known = set(rows.column_names)
    # days are counted again on opening
    days = [c for c in known if c.endswith("_date") and {c[:-5], c[:-5] + "_at"} & known]
    rows = rows.drop_columns(sorted(days))
    rows = rows.cast(pa.schema([f.with_type(marked) if f.type == moment else f for f in rows.schema]))
    pq.write_table(rows, folder / f"{table}.parquet", compression="zstd")
    return int(rows.num_rows)


def write_summaries(
    name: str,
    *,
    summaries: Sequence[str] | None,
    unit: str,
    inactivity_days: int,
    period: str,
    calibration_end: str | None,
    as_of: str | None,
    out: Path,
    force: bool,
    say: Callable[[str], None],
) -> None:
    """Write customer summaries of a dataset as Parquet files.

    Args:
        name: Dataset.
        summaries: ``"purchases"``, ``"inactivity_gaps"``, ``"cohorts"``; purchases when None.
        unit: Unit of purchases, ``"D"`` or ``"W"``.
        inactivity_days: A longer gap counts as inactivity.
        period: Period of cohorts.
        calibration_end: Last day of the purchases that models are fitted to; the dataset's own when
            None, no holdout for ``"none"``.
        as_of: Last day to observe, or None for the dataset's own.
        out: Folder to write to.
        force: Replace files that are there.
        say: Takes lines.

    Raises:
        ArgumentError: When a file is there already.
        ContractError: When the dataset has no transactions.
    """
    chosen = list(dict.fromkeys(summaries or ["purchases"]))
    targets = {summary: out.expanduser() / f"{summary}.parquet" for summary in chosen}
    there = [path for path in targets.values() if path.exists()]
    if there and not force:
        raise ArgumentError(f"{there[0]} is there already; choose another --out, or --force to replace it")
    from loyalty_research.data import open_dataset

    dataset = open_dataset(name, as_of=as_of)
    if not dataset.has("transactions"):
        raise ContractError(f"dataset {name} has no table transactions, which summaries are made from")
    split = _split(dataset, calibration_end)
    frames = {s: _summary(dataset, s, unit, inactivity_days, period, split) for s in chosen}
    for summary, frame in frames.items():
        _write_frame(frame, targets[summary])
        cut = f"; fitted to {split}, held out after it" if summary == "purchases" and split else ""
        say(f"{targets[summary]}: {len(frame):,} rows{cut}")


def _split(dataset: Dataset, asked: str | None) -> dt.date | None:
    from loyalty_research.data.definitions import as_date

    if asked is None:
        return dataset.calibration_end
    return None if asked == "none" else as_date(asked, "calibration_end")


def _summary(
    dataset: Dataset, summary: str, unit: str, inactivity_days: int, period: str, split: dt.date | None
) -> pd.DataFrame:
    from loyalty_research import summaries

    orders = dataset.tables["transactions"]
    if summary == "purchases":
        # the parser admits "D" and "W" only
        return summaries.purchases(
            orders,
            unit=unit,  # type: ignore[arg-type]
            calibration_end=split,
            observation_end=dataset.as_of,
        ).reset_index()
    if summary == "inactivity_gaps":
        found = summaries.inactivity_gaps(orders, inactivity_days=inactivity_days, as_of=dataset.as_of)
        return found.reset_index()
    return summaries.cohorts(orders, period=period, as_of=dataset.as_of)  # type: ignore[arg-type]


def _write_frame(frame: pd.DataFrame, path: Path) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    from loyalty_research.report.publish import write_atomically

    # attrs hold dates, which Parquet's own metadata of pandas frames cannot
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", coerce_timestamps="us")
    write_atomically(path, buffer.getvalue())
