"""The ``loyalty`` command.

Exit codes: 0 done; 1 a report failed, a page is out of date, or numbers differ; 2 bad input or
usage, with one message and nothing written. Everything heavy is imported inside the commands.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from loyalty_research import __version__
from loyalty_research.errors import ArgumentError, LoyaltyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]


def _report(options: argparse.Namespace) -> int:
    from loyalty_research.report.console import Console
    from loyalty_research.report.plan import parse_assignments
    from loyalty_research.report.run import Request, default_jobs, make_site

    if options.ids and options.all:
        raise ArgumentError("name the reports or give --all, not both")
    request = Request(
        ids=tuple(options.ids),
        given=parse_assignments(options.parameter),
        jobs=options.jobs or default_jobs(),
        force=options.force,
        out=options.out,
        everything=options.all,
        check=options.check,
    )
    return make_site(request, Console())


def _diff(options: argparse.Namespace) -> int:
    from loyalty_research.report.baseline import compare, update

    act = update if options.update else compare
    return act(options.ids, out=options.out, say=_say)


def _notebooks(options: argparse.Namespace) -> int:
    from loyalty_research.report.notebooks import describe_notebooks

    del options
    return describe_notebooks(_say)


def _datasets(options: argparse.Namespace) -> int:
    from loyalty_research.data.catalogue import describe_names

    del options
    for entry in describe_names():
        _say(f"{entry['name']} ({entry['kind']})")
        _say(textwrap.fill(entry["description"], 96, initial_indent="    ", subsequent_indent="    "))
    return 0


def _check(options: argparse.Namespace) -> int:
    from loyalty_research.data import check_dataset

    report = check_dataset(options.name, as_of=options.as_of, quarantine=options.quarantine)
    _say(repr(report))
    return 0 if report.ok else 2


def _simulate(options: argparse.Namespace) -> int:
    from loyalty_research.report.export import write_simulated
    from loyalty_research.report.plan import parse_assignments

    write_simulated(
        options.kind,
        customers=options.customers,
        seed=options.seed,
        truth={name: _number(text) for name, text in parse_assignments(options.parameter).items()},
        out=options.out,
        force=options.force,
        say=_say,
    )
    return 0


def _summarise(options: argparse.Namespace) -> int:
    from loyalty_research.report.export import write_summaries

    write_summaries(
        options.name,
        summaries=options.summary,
        unit=options.unit,
        inactivity_days=options.inactivity_days,
        period=options.period,
        calibration_end=options.calibration_end,
        as_of=options.as_of,
        out=options.out,
        force=options.force,
        say=_say,
    )
    return 0


def _number(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=96)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loyalty",
        description="Measure loyalty programmes honestly: data in, reports out.",
        epilog=_text(
            """
            examples:
              loyalty report                            make the default reports into reports/site
              loyalty report churn -p inactivity_days=90 --out /tmp/site
              loyalty check mine                        check a dataset of data/datasets.yml
              loyalty notebooks                         list notebooks and their parameters

            exit codes: 0 done; 1 a report failed or differs; 2 bad input or usage
            """
        ),
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"loyalty {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_report,
        _add_check,
        _add_datasets,
        _add_simulate,
        _add_summarise,
        _add_notebooks,
        _add_diff,
    ):
        add(commands)
    return parser


def _text(text: str) -> str:
    return textwrap.dedent(text).strip()


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    act: Callable[[argparse.Namespace], int],
    *,
    short: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=short,
        description=_text(description),
        epilog="examples:\n" + textwrap.indent(_text(examples), "  "),
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.set_defaults(act=act)
    # also after the command, where it is usually added; SUPPRESS keeps the one before it
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "report",
        _report,
        short="make reports from notebooks",
        description="""
            Run the notebooks of reports/catalogue.yml and write a page for each, an index and a
            manifest. A report whose notebook, parameters, data and code are unchanged is left as it
            is. A report that fails leaves the others, and its own last good page, in place.
            """,
        examples="""
            loyalty report                               the default reports
            loyalty report churn lifetime-value --jobs 2
            loyalty report lifetime-value -p dataset=mine --out mine-site
            loyalty report --check                       only say whether pages are up to date
            """,
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="reports to make (default: the default ones)")
    _parameter(
        parser,
        "parameter of the notebook, instead of the catalogue's value; the page keeps its name and says so, "
        "and the next run without it makes the catalogue's page again: use --out to keep both",
    )
    parser.add_argument("--all", action="store_true", help="every report of the catalogue")
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="reports to run at once (default: 2, or 1 on one core)"
    )
    parser.add_argument("--force", action="store_true", help="run unchanged reports as well")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the site (default: reports/site)")
    parser.add_argument(
        "--check", action="store_true", help="run nothing; exit 1 unless every page is up to date"
    )


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "check",
        _check,
        short="check a dataset against the data contract",
        description="""
            Check every table of a dataset against the contract in data/README.md and list all
            violations: table, column, rule, count, first row positions. Exit code 2 when there are
            errors; warnings alone leave it 0.
            """,
        examples="""
            loyalty check cdnow
            loyalty check sales.csv
            loyalty check mine --quarantine bad-rows.parquet
            """,
    )
    parser.add_argument("name", metavar="NAME", help="name in data/datasets.yml, or a file or folder")
    parser.add_argument("--as-of", metavar="DAY", help="last day to observe, such as 2024-12-31")
    parser.add_argument("--quarantine", type=Path, metavar="FILE", help="write the bad rows to this file")


def _add_datasets(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _command(
        commands,
        "datasets",
        _datasets,
        short="list the named datasets",
        description="List the datasets of data/datasets.yml: name, kind, and what they are.",
        examples="loyalty datasets",
    )


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "simulate",
        _simulate,
        short="write a simulated programme with known truth",
        description="""
            Simulate a programme and write its tables as Parquet files of the data contract, with
            truth.json beside them: the true parameters an analysis should find again.
            """,
        examples="""
            loyalty simulate points --customers 5000 --seed 1 --out data/raw/points
            loyalty report churn -p dataset=data/raw/points --out points-site
            """,
    )
    parser.add_argument(
        "kind",
        metavar="KIND",
        help="points, tiers, paid, coalition, sweepstakes, non-monetary, stamp-card or none",
    )
    parser.add_argument("--customers", type=_positive, required=True, metavar="N", help="how many customers")
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="seed of the random numbers")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--force", action="store_true", help="write over an earlier simulation")
    _parameter(parser, "a true parameter of the simulation")


def _add_summarise(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "summarise",
        _summarise,
        short="write customer summaries of a dataset",
        description="""
            Reduce the transactions of a dataset to the small tables that the models take, and write
            them as Parquet. They hold customer ids: treat them as the data themselves.
            """,
        examples="""
            loyalty summarise cdnow --out data/cache/cdnow
            loyalty summarise mine --summary inactivity_gaps --inactivity-days 60 --out gaps
            """,
    )
    parser.add_argument("name", metavar="NAME", help="name in data/datasets.yml, or a file or folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--summary",
        action="append",
        choices=["purchases", "inactivity_gaps", "cohorts"],
        help="which summary; may be repeated (default: purchases)",
    )
    parser.add_argument("--unit", choices=["D", "W"], default="D", help="purchases: time unit (default: D)")
    parser.add_argument(
        "--inactivity-days",
        type=_positive,
        default=90,
        metavar="N",
        help="inactivity_gaps: a longer gap counts (default: 90)",
    )
    parser.add_argument(
        "--period", choices=["W", "M", "Q"], default="M", help="cohorts: calendar period (default: M)"
    )
    parser.add_argument(
        "--calibration-end",
        metavar="DAY",
        help="purchases: last day to fit to, later ones are held out; none for no holdout "
        "(default: the dataset's own)",
    )
    parser.add_argument("--as-of", metavar="DAY", help="last day to observe, such as 2024-12-31")
    parser.add_argument("--force", action="store_true", help="write over earlier files")


def _add_notebooks(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _command(
        commands,
        "notebooks",
        _notebooks,
        short="list notebooks with their parameters, and check how they are stored",
        description="""
            List every notebook with its parameters, their types, defaults and meaning. Exit code 1
            when one is stored with outputs, has no typed parameters cell or is too long.
            """,
        examples="loyalty notebooks",
    )


def _add_diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "diff",
        _diff,
        short="compare the site's findings with the committed ones",
        description="""
            Compare every finding of the site with reports/baseline/, within the tolerances of
            reports/baseline/tolerances.yml. Exit code 1 when something differs.
            """,
        examples="""
            loyalty diff
            loyalty diff churn
            loyalty diff --update                        accept the site's findings as the baseline
            """,
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="reports to compare (default: the default ones)")
    parser.add_argument("--update", action="store_true", help="write the baseline instead of comparing")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the site (default: reports/site)")


def _parameter(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"{text}; may be repeated",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Words after ``loyalty`` (default: those of the process).
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:  # argparse leaves ids that come after an option
        if not hasattr(options, "ids") or any(word.startswith("-") for word in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        options.ids += rest
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character gets a question mark
            stream.reconfigure(errors="replace")
    try:
        code: int = options.act(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("loyalty: stopped; finished pages are in place\n")
        return 130
    except (LoyaltyError, OSError) as error:
        if options.debug:
            raise
        sys.stderr.write(f"loyalty: error: {error}\n")
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
