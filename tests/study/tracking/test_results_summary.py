"""What a run's summary tells of reward models, policies and detectors: numbers as the files say."""

from __future__ import annotations

import pyarrow as pa

from study.tracking.rows import results_summary


def test_overall_means_ceilings_and_win_rates_have_a_number_each() -> None:
    whole = {"task": "preferences/rewardbench", "model": "small", "recipe": "lora(rank=4)",
             "source": "1/4", "subset": None, "accuracy": 0.75, "ceiling": None, "Chat": 0.8,
             "Chat Hard": 0.5, "Safety": 0.7, "Reasoning": 0.6, "four_sections": 0.65,
             "with_prior_sets": 0.66}  # fmt: skip
    sections = ("Chat", "Chat Hard", "Safety", "Reasoning")
    whole |= {f"{name} {end}": None for name in sections for end in ("low", "high")}
    whole |= {"Chat low": 0.75, "Chat high": 0.85}
    human = {**whole, "task": "preferences/pandalm", "accuracy": 0.6, "ceiling": 0.85}
    absent = {**whole, "source": "1/16", "accuracy": None}
    subset = {**whole, "subset": "hep-go", "accuracy": 0.9}
    wins = {"model": "small", "source": "lora 1/4 + SSRM round 2", "first": "after",
            "second": "before", "win_rate": 0.55, "low": 0.51, "high": 0.59,
            "p_value": 0.01}  # fmt: skip
    tables = {
        "reward models": pa.Table.from_pylist([absent, whole, human, subset]),
        "policies": pa.Table.from_pylist([wins, {**wins, "first": "gold", "win_rate": None}]),
        "failure detectors": pa.table({"num_warned": [0, 2, 1]}),
    }
    summary = results_summary(tables)
    name = "reward/preferences/rewardbench small lora 1/4"
    assert summary[f"{name}/accuracy"] == 0.75
    assert summary[f"{name}/four_sections"] == 0.65
    assert summary[f"{name}/with_prior_sets"] == 0.66
    assert (summary[f"{name}/Chat low"], summary[f"{name}/Chat high"]) == (0.75, 0.85)
    assert f"{name}/Safety low" not in summary
    assert f"{name}/ceiling" not in summary
    assert summary["reward/preferences/pandalm small lora 1/4/ceiling"] == 0.85
    assert not any("1/16" in key or "gold" in key for key in summary)
    won = "wins/small lora 1/4 + SSRM round 2: after over before"
    found = [summary[f"{won}/{part}"] for part in ("win_rate", "low", "high", "p_value")]
    assert found == [0.55, 0.51, 0.59, 0.01]
    assert summary["num_warnings"] == 2
    assert results_summary({}) == {}
