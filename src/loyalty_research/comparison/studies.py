"""From a dataset to the comparisons it allows: what notebook 02 shows.

What a dataset cannot answer is said in words instead of failing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import narwhals as nw

from loyalty_research.comparison._lots import by_segment, certificate_of, compliers_of
from loyalty_research.comparison.design import Comparison
from loyalty_research.comparison.metrics import Mean, Proportion, parse_metric
from loyalty_research.comparison.observational import ObservationalResult, analyse_observational
from loyalty_research.comparison.result import NOT_AN_EFFECT, capital, change, change_interval, design_words
from loyalty_research.comparison.units import NoGroupsError, find_units
from loyalty_research.errors import ArgumentError, ContractError, DesignError, listed
from loyalty_research.estimates import Check, Finding
from loyalty_research.i18n import message
from loyalty_research.summaries import group_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.comparison.certificate import Certificate
    from loyalty_research.comparison.compliers import ComplierProfile
    from loyalty_research.comparison.metrics import Metric
    from loyalty_research.comparison.result import ComparisonResult
    from loyalty_research.comparison.segments import SegmentResult
    from loyalty_research.comparison.units import Units
    from loyalty_research.data import Dataset

__all__ = ["DESIGNS_OF_A_STUDY", "Study", "study"]

DESIGNS_OF_A_STUDY = ("recorded", "randomised", "encouragement", "observational")
"""``"recorded"`` takes assignments and finished experiments for chance, and campaigns for choice."""

_CONTROLS = ("control", "not targeted", "non-member")
_CHOSEN = ("campaign", "memberships")
_MEANS = ("spend", "orders")
_SHARES = ("converted", "completed", "visit", "conversion")
_BACKGROUND = ("age", "gender", "region", "acquisition_channel")
_LEAST_UNITS = 5
_LEAST_COMPARED = 30
_LABEL = "membership"
_COUPON = "coupon"


@dataclass(frozen=True, slots=True)
class Study:
    """Every comparison of one dataset.

    Attributes:
        units: The table of units; None when the dataset holds no groups.
        main: The comparison of the arms; None with ``reason``.
        members: Members beside non-members among the same people; None where that is not known.
        placebo: The comparison in a window before the campaign; None where there is none.
        redeemers: Households that redeemed a coupon of the campaign beside others it was sent to;
            None where that is not known.
        segments: Effects of assignment by segment, one per column asked for.
        certificate: How often the analysis differs where nothing can; None without lots.
        compliers: What those whom the invitation moved are like; None without an invitation.
        reason: Why there is nothing to compare.
        notes: What a reader must know before the numbers.
        truth: True effects of simulated data.
    """

    units: Units | None
    main: ComparisonResult | None
    members: ObservationalResult | None = None
    placebo: ObservationalResult | None = None
    redeemers: ObservationalResult | None = None
    segments: tuple[SegmentResult, ...] = ()
    certificate: Certificate | None = None
    compliers: ComplierProfile | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    truth: Mapping[str, Any] = field(default_factory=dict)

    @property
    def design(self) -> str:
        """The designs, in words."""
        return ", ".join(r.design for r in self.results) or message("nothing to compare")

    @property
    def estimand(self) -> str:
        """What the first comparison estimates."""
        return self.main.estimand if self.main else message("nothing")

    @property
    def n(self) -> int:
        """Units compared."""
        return self.main.n if self.main else 0

    @property
    def dropped(self) -> dict[str, int]:
        """Reason to the number left out."""
        return {**(self.units.dropped if self.units else {}), **(self.main.dropped if self.main else {})}

    @property
    def results(self) -> tuple[ComparisonResult, ...]:
        """The comparisons there are, the one of the arms first."""
        return tuple(r for r in (self.main, self.members, self.redeemers) if r is not None)

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings, the answer first; or why there is none."""
        if self.main is None:
            return (Finding("nothing-to-compare", self.reason, status="suppressed", section="The answer"),)
        section = "The answer"
        found = self.main.findings(section=section)
        if self.members is not None:
            # the comparison by membership says the same with more behind it
            found = tuple(f for f in found if not f.id.endswith("raw-gap"))
        if self.members is not None:
            found += self.members.findings(section=section, prefix="members")
        return found + (() if self.redeemers is None else (_redeemed_more(self.redeemers, section),))

    def tables(self) -> Iterator[tuple[pd.DataFrame, str]]:
        """Yield tables with their captions: all of what decides, the main estimates of the rest."""
        for result in self.results:
            explored = {m.label for m in result.metrics if m.role != "primary"}
            for metric in dict.fromkeys(row.metric for row in result.rows if row.metric not in explored):
                caption = message(
                    "{metric}: every estimate, what it estimates and how ({design} design)",
                    metric=metric,
                    design=result.design,
                )
                yield result.table(metric=metric), caption
            if explored:
                rows = tuple(r for r in result.main_rows() if r.metric in explored)
                caption = message("Other measures, main estimates ({design} design)", design=result.design)
                yield replace(result, rows=rows).table(), caption

    def forests(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield a picture of each comparison's estimates, with its alternative text and caption."""
        for result in self.results:
            relative = result.design == "randomised" and len(result.metrics) > 1
            metric = None if relative else _first(result).label
            caption = message(
                "Each line is an estimate with its {level} interval; the upright line is no difference. Design: {design}.",
                level=f"{result.level:.0%}",
                design=design_words(result.design),
            )
            yield result.plot(metric=metric), result.plot_text(metric=metric), caption

    def balance_pictures(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield love and overlap plots of observational comparisons, likewise."""
        for result in self.results:
            if isinstance(result, ObservationalResult):
                yield from _balance_pictures(result)

    def checks(self) -> tuple[tuple[tuple[Check, ...], str], ...]:
        """Return the checks of each comparison with a caption."""
        out = [
            (result.checks, message("Checks of the {design} comparison", design=result.design))
            for result in self.results
        ]
        if self.certificate is not None:
            out.append((self.certificate.checks, self.certificate.verdict()))
        if self.units is not None and self.units.origin == "campaign":
            out.append(((self._placebo_check(),), message("Placebo in an earlier window")))
        return tuple(out)

    def _placebo_check(self) -> Check:
        name = message("the same comparison before the campaign began")
        if self.placebo is None:
            return Check(name, "not measurable", self.units.no_earlier if self.units else "")
        estimate = self.placebo.estimate(estimand="ATO")
        text = message(
            "{metric}: {difference} ({interval}) where there can be no effect",
            metric=self.placebo.rows[0].metric,
            difference=estimate.format(signed=True),
            interval=estimate.interval(signed=True),
        )
        return Check(name, "passed" if estimate.low <= 0 <= estimate.high else "warning", text)

    def segment_pictures(self) -> Iterator[tuple[Axes, str, str, pd.DataFrame]]:
        """Yield the effects by segment, with alternative text, caption and table."""
        for found in self.segments:
            caption = message(
                "{metric} by {by}: intervals hold for all segments at once; the dashed line is everybody.",
                metric=capital(found.metric),
                by=found.by,
            )
            yield found.plot(), found.verdict(), caption, found.table()

    def who(self) -> pd.DataFrame:
        """Return those whom the invitation moved beside everybody; empty without an invitation."""
        import pandas as pd

        if self.compliers is None:
            return pd.DataFrame()
        return pd.DataFrame(
            [
                {
                    message("Measured before"): name,
                    message("Those the invitation moved"): e.format(),
                    message("Interval"): e.interval(),
                    message("Everybody"): e.format(self.compliers.everybody[name]),
                }
                for name, e in self.compliers.means.items()
            ]
        )

    def truths(self) -> pd.DataFrame:
        """Return estimates of the first metric beside the simulation's truth; empty for other data."""
        import pandas as pd

        columns = [
            message("Estimate"),
            message("Found"),
            message("Interval"),
            message("True effect"),
            message("Interval holds it"),
        ]
        rows = []
        for label, result, estimand, key in (
            (
                message("raw gap between members and non-members, were it the effect on members"),
                self.members,
                "not an effect",
                "att",
            ),
            (message("effect of the invitation (ITT)"), self.main, "ITT", "itt"),
            (
                message("effect of joining on those the invitation moved (CACE)"),
                self.main,
                "CACE",
                "effect_per_member",
            ),
            (message("observational, everybody (ATE)"), self.members, "ATE", "ate"),
        ):
            known = self._truth(result, key)
            if result is None or known is None or estimand not in {r.estimand for r in result.rows}:
                continue
            e = result.estimate(metric=_first(result).label, estimand=estimand)
            held = message("yes") if e.low <= known <= e.high else message("no")
            rows.append(
                (
                    label,
                    change(e, signed=True),
                    change_interval(e),
                    change(replace(e, value=known), signed=True),
                    held,
                )
            )
        return pd.DataFrame(rows, columns=columns)

    def _truth(self, result: ComparisonResult | None, key: str) -> float | None:
        """Return a truth of the first metric; simulations name those of spend without a suffix."""
        if result is None:
            return None
        column = _first(result).outcomes
        value = (
            self.truth.get(key if column == ("spend",) else f"{key}_{column[0]}")
            if len(column) == 1
            else None
        )
        return None if value is None else float(value)

    def limits(self) -> tuple[str, ...]:
        """Return what the numbers cannot say, one sentence each."""
        out = [
            message("{design}: {estimand}.", design=capital(design_words(r.design)), estimand=r.estimand)
            for r in self.results
        ]
        if any(r.design == "observational" for r in self.results):
            out.append(
                message(
                    "Where people chose, whatever sets the groups apart and was not measured is still in the difference; "
                    "the checks say how strong it would have to be."
                )
            )
        if self.members is not None:
            out.append(
                message(
                    "Who is a member is known for the window as a whole: somebody who joined late had to stay until then, "
                    "which makes members look better still."
                )
            )
        if self.main is not None and self.main.design != "observational":
            out.append(
                message("The result holds for these customers and this window; effects may fade or build up.")
            )
        return tuple(out)


def _redeemed_more(redeemers: ObservationalResult, section: str) -> Finding:
    """Say what redeemers spent more and why it is no effect, whatever is adjusted for."""
    gap = redeemers.estimate(estimand=NOT_AN_EFFECT)
    words = message(
        "{metric}: {gap} ({interval}) more where a coupon was redeemed. Redeeming takes a purchase in the same window, so "
        "this is no effect, whatever is adjusted for.",
        metric=capital(redeemers.rows[0].metric),
        gap=change(gap, signed=True),
        interval=change_interval(gap),
    )
    return Finding("redeemers-raw-gap", words, gap, "caution", section)


def _first(result: ComparisonResult) -> Metric:
    return next(m for m in result.metrics if m.role == "primary")


def _balance_pictures(result: ObservationalResult) -> Iterator[tuple[Axes, str, str]]:
    for group in result.groups:
        if group.shown_balance is None:
            continue
        words = {"group": group.name, "control": result.control}
        said = group.shown_balance.verdict()
        caption = message("How far “{group}” and “{control}” differ in what was measured before.", **words)
        yield result.plot_balance(group=group.name), said, caption
        alt = message(
            "Spread of the estimated chance of being in “{group}”, in both groups. {said}",
            group=group.name,
            said=next(c.detail for c in result.checks if c.gate and f"“{group.name}”" in c.name),
        )
        yield (
            result.plot_overlap(group=group.name),
            alt,
            message("Where the two halves overlap there is somebody to compare with."),
        )


def _schema(table: Any) -> dict[str, Any]:
    return dict(nw.from_native(table).lazy().collect_schema())


def _usable(table: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Keep the columns that are complete and vary: others cannot serve as covariates."""
    if not names:
        return ()
    frame = nw.from_native(table).lazy()
    row = (
        frame.select(
            *(nw.col(c).is_null().sum().alias(f"_m{i}") for i, c in enumerate(names)),
            *(nw.col(c).n_unique().alias(f"_u{i}") for i, c in enumerate(names)),
        )
        .collect()
        .rows(named=True)[0]
    )
    return tuple(c for i, c in enumerate(names) if not row[f"_m{i}"] and row[f"_u{i}"] > 1)


def _metrics(texts: Sequence[str], schema: Mapping[str, Any], currency: str | None) -> tuple[Metric, ...]:
    """Read the metrics asked for, else declare what the table measures: the first one decides."""
    if texts:
        return tuple(parse_metric(text) for text in texts)
    found: list[Metric] = []
    for name in _MEANS:
        if name in schema:
            found.append(
                Mean(
                    name, unit=currency if name == "spend" else None, role="secondary" if found else "primary"
                )
            )
    for name in _SHARES:
        if name in schema:
            found.append(Proportion(name, role="secondary" if found else "primary"))
    if not found:
        known = ", ".join((*_MEANS, *_SHARES))
        raise ContractError(
            message(
                "No outcome is known by its name ({known}): name the metrics, such as mean:COLUMN; the columns are {columns}.",
                known=known,
                columns=", ".join(schema),
            )
        )
    return tuple(found)


def _before(table: Any, schema: Mapping[str, Any], *, background: bool) -> tuple[str, ...]:
    """Return the columns known to be from before: numbers called pre_..., and who the customer is."""
    names = [c for c, kind in schema.items() if c.startswith("pre_") and kind.is_numeric()]
    return _usable(table, [*names, *([c for c in _BACKGROUND if c in schema] if background else [])])


def _chosen(design: str, *, chance: bool, member: str | None) -> str:
    if design != "recorded":
        return design
    if not chance:
        return "observational"
    return "encouragement" if member is not None else "randomised"


def _control(table: Any, schema: Mapping[str, Any], assignment: str, control: str | None) -> str:
    """Return the control's label: the one given, or the one that is called so."""
    if assignment not in schema:
        raise ContractError(f"units has no column {assignment!r}; it has {', '.join(schema)}")
    if control is not None:
        return control
    seen = nw.from_native(table).lazy().select(nw.col(assignment)).unique().collect()[assignment].to_list()
    labels = sorted(group_label(v) for v in seen if v is not None)
    known = [c for c in _CONTROLS if c in labels]
    if not known:
        raise ArgumentError(f"control is needed: which of {listed(labels)} are the others compared with?")
    return known[0]


def study(
    source: Dataset,
    *,
    design: str = "recorded",
    assignment: str = "arm",
    control: str | None = None,
    ratio: Sequence[float] = (),
    metrics: Sequence[str] = (),
    covariates: Sequence[str] = (),
    received: str | None = "is_member",
    strata: str | None = None,
    cluster: str | None = None,
    placebo: str | None = None,
    campaign: str | None = None,
    window_days: int = 90,
    pre_days: int = 90,
    segments: Sequence[str] = (),
    splits: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Study:
    """Run every comparison a dataset allows.

    Args:
        source: What ``lr.open_dataset`` returned.
        design: One of :data:`DESIGNS_OF_A_STUDY`.
        assignment: Column of the arm or group.
        control: Label of the group compared with; ``control`` and ``not targeted`` are found.
        ratio: Planned sizes of the arms, control first; one number when all are equal, empty when not known.
        metrics: Texts for :func:`parse_metric`; by default the outcomes the table is known to hold.
        covariates: Columns measured before; by default those called ``pre_...``, and without chance
            also age, gender, region and acquisition channel.
        received: Column that says who is a member, where there is one: the same people are then
            also compared by membership, as an observational comparison.
        strata: Column within which chance decided.
        cluster: Column of what was assigned as a whole.
        placebo: Column with an outcome from before, for observational comparisons.
        campaign: Which campaign, where contacts are all there is.
        window_days: Days of outcome.
        pre_days: Days before.
        segments: Columns known before, by which effects of assignment are shown; designs with chance.
        splits: How often the arms are drawn again for the A/A certificate; 0 for none.
        level: Coverage of the intervals.
        seed: Of the draws.

    Returns:
        The study; without groups to compare, one that says why.

    Raises:
        ArgumentError: When an option is out of range.
        ContractError: When a named column is absent or holds what it cannot.
        DesignError: When the data cannot carry the design.

    Examples:
        >>> import loyalty_research as lr
        >>> study(lr.open_dataset("carwash"), ratio=(1, 1)).main.arms
        ('endowed',)
    """
    if design not in DESIGNS_OF_A_STUDY:
        raise ArgumentError(f"design is one of {', '.join(DESIGNS_OF_A_STUDY)}; got {design!r}")
    try:
        units = find_units(source, campaign=campaign, window_days=window_days, pre_days=pre_days, seed=seed)
    except NoGroupsError as nothing:
        return Study(None, None, reason=str(nothing))
    if units.origin in _CHOSEN and design in ("randomised", "encouragement"):
        who = "members chose to join"
        if units.origin == "campaign":
            who = f"the sender chose whom campaign {units.campaign} went to"
        raise DesignError(f"design={design!r} does not fit: {who}; use 'observational'")
    schema = _schema(units.table)
    member = received if received is not None and received in schema else None
    chosen = _chosen(design, chance=units.origin not in _CHOSEN, member=member)
    declared = _metrics(metrics, schema, source.currency)
    control = _control(units.table, schema, assignment, control)
    before = tuple(covariates) or _before(units.table, schema, background=False)
    wider = tuple(covariates) or _before(units.table, schema, background=True)
    observe = _Observational(declared, cluster, level)
    main: ComparisonResult
    lots: Comparison | None = None
    if chosen == "observational":
        main = observe(units.table, wider, assignment=assignment, control=control, placebo=placebo)
    else:
        lots = Comparison(
            declared,
            design="encouragement" if chosen == "encouragement" else "randomised",
            assignment=assignment,
            control=control,
            ratio=tuple(ratio) or None,
            unit="unit_id" if "unit_id" in schema and cluster is None else None,
            received=member if chosen == "encouragement" else None,
            covariates=before,
            strata=strata,
            cluster=cluster,
            level=level,
            seed=seed,
        )
        main = lots.analyse(units.table)
    few = [f"“{name}”" for name, n in main.sizes.items() if n < _LEAST_UNITS]
    if few:
        reason = message(
            "{groups} has fewer than {least} units, too few to show.",
            groups=", ".join(few),
            least=_LEAST_UNITS,
        )
        return Study(units, None, reason=reason)
    members = earlier = None
    if member is not None and chosen != "observational" and wider:
        labelled = _labelled(units.table, schema, member)
        members = observe(labelled, wider, assignment=_LABEL, control="non-member", placebo=placebo)
    if units.earlier is not None and chosen == "observational":
        varied = _usable(units.earlier, wider)
        earlier = observe(units.earlier, varied, assignment=assignment, control=control) if varied else None
    redeemers = _redeemers(units, schema, wider, observe)
    return Study(
        units,
        main,
        members,
        earlier,
        redeemers,
        segments=by_segment(lots, units.table, segments),
        certificate=certificate_of(lots, units.table, splits=splits, seed=seed),
        compliers=compliers_of(lots, units.table, before),
        notes=(*units.notes, _said(main), *([_redeeming()] if redeemers is not None else [])),
        truth=source.truth,
    )


def _redeeming() -> str:
    return message(
        "Redeeming a coupon takes a purchase in the window that is measured, so those who redeemed spend more by "
        "definition: no adjustment for what was before undoes that, and their difference is shown to say so."
    )


def _redeemers(
    units: Units, schema: Mapping[str, Any], covariates: Sequence[str], observe: _Observational
) -> ObservationalResult | None:
    """Compare those who redeemed a coupon with others the campaign was sent to."""
    if units.origin != "campaign" or "redeemed" not in schema or not covariates:
        return None
    sent = nw.from_native(units.table).lazy().filter(nw.col("arm") == "targeted")
    word = nw.when(nw.col("redeemed")).then(nw.lit("redeemed")).otherwise(nw.lit("did not redeem"))
    labelled = sent.with_columns(word.alias(_COUPON))
    counts = [
        len(labelled.filter(nw.col(_COUPON) == w).select(_COUPON).collect())
        for w in ("redeemed", "did not redeem")
    ]
    if min(counts) < _LEAST_COMPARED:
        return None
    return observe(labelled, _usable(labelled, covariates), assignment=_COUPON, control="did not redeem")


@dataclass(frozen=True, slots=True)
class _Observational:
    """Observational comparisons of the same metrics."""

    metrics: tuple[Metric, ...]
    cluster: str | None
    level: float

    def __call__(
        self,
        table: Any,
        covariates: Sequence[str],
        *,
        assignment: str,
        control: str,
        placebo: str | None = None,
    ) -> ObservationalResult:
        plan = Comparison(
            self.metrics,
            design="observational",
            assignment=assignment,
            control=control,
            covariates=covariates,
            cluster=self.cluster,
            placebo=placebo,
            level=self.level,
        )
        return analyse_observational(plan, table)


def _said(main: ComparisonResult) -> str:
    return message(
        "Design: {design}. What is estimated: {estimand}.",
        design=design_words(main.design),
        estimand=main.estimand,
    )


def _labelled(table: Any, schema: Mapping[str, Any], member: str) -> nw.LazyFrame[Any]:
    """Add the membership as words, so that pages read “member” and not “True”."""
    column = nw.col(member)
    inside = column if schema[member] == nw.Boolean else column == 1
    word = nw.when(inside).then(nw.lit("member")).otherwise(nw.lit("non-member"))
    frame: nw.LazyFrame[Any] = nw.from_native(table).lazy()
    return frame.with_columns(nw.when(~column.is_null()).then(word).alias(_LABEL))
