"""Reward models and policies."""

from __future__ import annotations

from study.analysis.preferences.policies import WinRate
from study.analysis.preferences.reward_models import RewardRow
from study.analysis.preferences.rewardbench import SUBSETS
from study.formatting import DASH, number, percent
from study.reporting.charts.filters import Filters, method_of
from study.reporting.charts.intervals import IntervalLine, interval_chart
from study.reporting.content import Content
from study.reporting.sections.section import Block, Bullets, Section
from study.reporting.sentences import ceiling_text, labels_text, prior_text, source_of
from study.reporting.tables import PageColumn, PageTable, make_table, text_column


def rewards_section(content: Content) -> Section | None:
    """Returns accuracy on preference pairs; None if the study has none."""
    rows = content.rewards
    if not rows:
        return None
    benched = [row for row in rows if row.sections]
    blocks: list[Block] = [
        "Accuracy on response pairs, by subset, averaged over seeds; an exact tie counts half. "
        "Pairs shown in both orders are free of position bias. The ceiling is the accuracy of one "
        "annotator against the others.",
        make_table(
            "reward-rows",
            "Accuracy on preference pairs, %",
            (
                text_column("task", lambda row: row.task),
                text_column("model", lambda row: row.model),
                text_column("method", lambda row: method_of(row.recipe)),
                text_column("trained on", lambda row: row.source),
                text_column("orders", lambda row: "both" if row.orders == "all" else "one"),
                PageColumn("right %", "percent", lambda row: row.accuracy),
                PageColumn("ties %", "percent", lambda row: row.tie_share),
                PageColumn("pairs", "number", lambda row: row.num_pairs),
                PageColumn("seeds", "number", lambda row: row.num_seeds),
                text_column("subsets (%), or why there is no number", _subsets),
            ),
            rows,
            _of_reward,
        ),
    ]
    if benched:
        blocks += [
            _bench_table(benched),
            f"{prior_text(benched)} A section has no mean if one of its subsets has no test pair.",
        ]
    ceilings = [f"{ceiling.task}: {ceiling_text(ceiling)}" for ceiling in content.ceilings]
    return Section(
        name="rewards",
        title="Reward models",
        label="Reward models",
        blocks=[*blocks, Bullets(lines=ceilings)],
    )


def _of_reward(row: RewardRow) -> Filters:
    return Filters(model=row.model, method=method_of(row.recipe), task=row.task)


def _subsets(row: RewardRow) -> str:
    named = (f"{name} {percent(value)}" for name, value in row.subsets.items())
    return row.reason or ", ".join(named) or DASH


def _bench_table(rows: list[RewardRow]) -> PageTable:
    def section(name: str) -> PageColumn:
        return text_column(name, lambda row: _section_text(row, name))

    return make_table(
        "rewardbench",
        "RewardBench: sections by corrected weights (Safety also by the old ones), and overall",
        (
            text_column("model", lambda row: row.model),
            text_column("method", lambda row: method_of(row.recipe)),
            text_column("trained on", lambda row: row.source),
            *(section(name) for name in SUBSETS),
            PageColumn("Safety (old)", "percent", lambda row: row.sections_old.get("Safety")),
            PageColumn("4 sections", "percent", lambda row: row.overall),
            PageColumn("with prior sets", "percent", lambda row: row.overall_with_prior),
        ),
        rows,
        _of_reward,
    )


def _section_text(row: RewardRow, name: str) -> str:
    text = percent({str(key): value for key, value in row.sections.items()}.get(name))
    interval = {str(key): value for key, value in row.intervals.items()}.get(name)
    if interval is None or interval.low is None:
        return text
    return f"{text} [{percent(interval.low)}, {percent(interval.high)}]"


def policies_section(content: Content) -> Section | None:
    """Returns win rates of policies; None if the study trains none."""
    rows = content.alignment
    if not rows:
        return None
    known = [row for row in rows if row.rate.estimate is not None]
    charts: list[Block] = []
    if known:
        best = max(known, key=lambda row: row.rate.estimate or 0.0)
        charts = [
            interval_chart(
                "win-rates",
                [_win_line(row) for row in known],
                title="Win rates under the gold reward",
                quote=(
                    f"{best.first} wins most often: {_win_text(best)} against {best.second} "
                    f"({best.comparison.model}, {source_of(best.comparison)})."
                ),
                reading="Share of questions won, a tie counts half; 50 % is an even match.",
                table="win-rate-rows",
                axis="wins %",
                references=(50.0,),
            )
        ]
    return Section(
        name="policies",
        title="Policies",
        label="Policies",
        blocks=[
            "Does self-training help a policy? Each policy is trained by DPO on pairs of answers "
            "of its base, labelled by the reward model before or after self-training, or by the "
            "gold reward (an upper bound); base is not trained. Policies answer the same test "
            "questions with the same random numbers: the higher gold reward wins, a tie counts "
            "half. Intervals are over questions and seeds; p tests for an even match. Labels "
            "right: agreement of the training preferences with the gold reward.",
            *charts,
            make_table(
                "win-rate-rows",
                "Win rates under the gold reward",
                (
                    text_column("model", lambda row: row.comparison.model),
                    text_column("reward model", lambda row: source_of(row.comparison)),
                    text_column("policy", lambda row: row.first),
                    text_column("against", lambda row: row.second),
                    text_column("wins", lambda row: row.reason or _win_text(row)),
                    PageColumn("p", "p", lambda row: row.rate.p_value),
                    text_column("mean rewards", _rewards_text),
                    text_column(
                        "labels right %", lambda row: "" if row.reason else labels_text(row)
                    ),
                    text_column(
                        "questions x answers",
                        lambda row: f"{row.num_questions} x {row.num_samples}",
                    ),
                    PageColumn("seeds", "number", lambda row: row.num_seeds),
                ),
                rows,
                _of_win,
            ),
        ],
    )


def _of_win(row: WinRate) -> Filters:
    comparison = row.comparison
    return Filters(model=comparison.model, method=comparison.recipe.method, task=comparison.task)


def _rewards_text(row: WinRate) -> str:
    return "" if row.reason else f"{number(row.first_reward)} : {number(row.second_reward)}"


def _win_text(row: WinRate) -> str:
    rate = row.rate
    if rate.low is None or rate.high is None:
        return f"{percent(rate.estimate)} %"
    return f"{percent(rate.estimate)} % [{percent(rate.low)}, {percent(rate.high)}]"


def _win_line(row: WinRate) -> IntervalLine:
    rate = row.rate

    def scaled(value: float | None) -> float | None:
        return None if value is None else 100.0 * value

    return IntervalLine(
        filters=_of_win(row),
        panel=f"{row.comparison.model}: {source_of(row.comparison)}",
        label=f"{row.first} against {row.second}",
        estimate=scaled(rate.estimate),
        low=scaled(rate.low),
        high=scaled(rate.high),
        said=_win_text(row),
        more={"questions": row.num_questions, "seeds": row.num_seeds},
    )
