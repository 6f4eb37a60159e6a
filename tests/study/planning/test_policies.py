"""Policies in a plan, and as cells: whose preferences they are trained on, and what they leave."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from scipy.special import softmax

from search_spaces.base_models import BaseModelRef
from search_spaces.cell import Cell
from search_spaces.recipes import LinearProbe, LoRA, PolicyDPO, QLoRA
from search_spaces.space import Space
from search_spaces.studies.lab.ssrm_rm_micro import fractions_of, lab_axis, ssrm_align
from study.analysis.preferences.policies import label_accuracy_of
from study.artifacts.plan import Plan
from study.planning.planner import Inputs, make_plan
from study.planning.units import make_units
from tests.support.workers import worker_of
from tests.trainables.self_training.test_studies import turned
from trainables.cells.planned import PlannedCell
from trainables.cells.policy import read_reward_model
from trainables.data.items import Item
from trainables.data.lab.preferences import gold_reward
from trainables.data.prompts.formats import get_prompt
from trainables.data.task import SplitTask
from trainables.data.tasks.preferences.micro_preferences import questions_of
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import CellContext
from trainables.methods.dispatch import restore
from trainables.methods.dpo.sampling import Sampling, sample_texts
from trainables.models.loading import load_base
from trainables.storage import layout
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record

NUM_QUESTIONS, NUM_SAMPLES, NUM_TEST = 12, 2, 12
POLICY = PolicyDPO(
    num_questions=NUM_QUESTIONS, num_samples=NUM_SAMPLES, epochs=1, batch_size=4, learning_rate=1e-2
)
RECIPE = LoRA(n_train=16, rank=2, epochs=1, learning_rate=1e-2, batch_size=4, orders="all")


def small_space() -> Space:
    conditions = fractions_of(16, "pairs", fractions=(Fraction(1, 2),), rounds=2)
    return Space(
        name="small_align",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(lab_axis().model_copy(update={"conditions": conditions}),),
        methods=(RECIPE,),
        policy=POLICY,
        seeds=2,
    )


@pytest.fixture(scope="module")
def planned() -> tuple[Plan, Inputs]:
    """The plan, with so few test items that its cells run in a moment."""
    plan, inputs = make_plan(small_space())
    task = inputs.tasks["micro_preferences"]
    few = SplitTask(data=task.data, split=replace(task.split, test=task.split.test[:NUM_TEST]))
    return plan, replace(inputs, tasks={"micro_preferences": few})


def cells_by_id(plan: Plan) -> dict[str, PlannedCell]:
    return {cell.id: cell for cell in plan.cells}


def test_each_policy_starts_from_the_reward_model_that_labels_for_it(
    planned: tuple[Plan, Inputs],
) -> None:
    plan, _ = planned
    cells = cells_by_id(plan)
    (found,) = plan.policies
    for name, round_ in (("before", 0), ("after", 2)):
        arm = getattr(found, name)
        for seed, id_ in enumerate(arm.cells):
            parent = cells[cells[id_].cell.parent or ""]
            assert (parent.cell.round, parent.cell.seed) == (round_, seed)
            assert parent.keeps_state and cells[id_].cell.seed == seed
            assert cells[id_].cell.recipe == POLICY
    assert [cells[id_].cell.parent for id_ in found.gold.cells] == [None, None]
    assert {cells[id_].cell.training_hash for id_ in found.gold.cells} == {
        cells[id_].cell.training_hash for id_ in found.after.cells
    }
    assert len(found.base.cells) == 1 and not found.base.draws
    assert Counter(c.cell.recipe.method for c in plan.cells)["dpo"] == 2 + 2 + 2 + 1


def test_a_policy_runs_behind_its_reward_model(planned: tuple[Plan, Inputs]) -> None:
    plan, _ = planned
    for unit in make_units(plan.cells):
        ids = [cell.id for cell in unit]
        for cell in unit:
            assert cell.cell.parent is None or ids.index(cell.cell.parent) < ids.index(cell.id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": PolicyDPO(labels="gold")}, "the plan adds the policies"),
        ({"methods": (QLoRA(),)}, "share one base"),
        ({"methods": (LinearProbe(),)}, "share one base"),
        ({"tasks": (lab_axis().model_copy(update={"task": "ultrafeedback"}),)}, "gold reward"),
        ({"tasks": (lab_axis().model_copy(update={"conditions": ()}),)}, "no condition has"),
    ],
)
def test_spaces_whose_policies_cannot_be_judged_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Space.model_validate({**dict(ssrm_align()), **changes})


def test_a_policy_of_a_reward_model_has_a_parent(planned: tuple[Plan, Inputs]) -> None:
    plan, _ = planned
    cell = cells_by_id(plan)[plan.policies[0].after.cells[0]].cell
    with pytest.raises(ValidationError, match="starts from that model's cell"):
        Cell.model_validate({**dict(cell), "parent": None})
    with pytest.raises(ValidationError, match="starts from that model's cell"):
        Cell.model_validate({**dict(cell), "recipe": PolicyDPO(labels="gold")})


def run(plan: Plan, inputs: Inputs, ids: list[str], out: Path) -> None:
    cells = cells_by_id(plan)
    worker_of(inputs, out).run([tuple(cells[id_] for id_ in ids)], [0])


def failure(out: Path, id_: str) -> str | None:
    path = out / "cells" / id_ / "failure.json"
    return json.loads(path.read_text())["reason"] if path.exists() else None


@pytest.fixture(scope="module")
def ran(planned: tuple[Plan, Inputs], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed: the labelled reward model and its policy, the policy of gold, and the base."""
    plan, inputs = planned
    out = tmp_path_factory.mktemp("runs")
    found = plan.policies[0]
    policies = [found.before.cells[0], found.gold.cells[0], found.base.cells[0]]
    parent = cells_by_id(plan)[policies[0]].cell.parent or ""
    run(plan, inputs, [parent, *policies], out)
    assert [failure(out, id_) for id_ in (parent, *policies)] == [None] * 4
    return out


def rewards(out: Path, id_: str) -> bytes:
    return (out / "cells" / id_ / "rewards.parquet").read_bytes()


def curve(out: Path, id_: str) -> bytes:
    return (out / "cells" / id_ / "curve.jsonl").read_bytes()


def test_rewards_of_the_base_are_those_of_its_own_samples(
    planned: tuple[Plan, Inputs], ran: Path
) -> None:
    plan, inputs = planned
    id_ = plan.policies[0].base.cells[0]
    rows = pq.read_table(io.BytesIO(rewards(ran, id_))).to_pylist()
    (source,) = inputs.models.values()
    base = load_base(source, "float32", "none", "cpu")
    test = questions_of(inputs.tasks["micro_preferences"].split.test)
    prompt = get_prompt("micro_preferences", "text")
    asked = [Item(id=q.id, question=q.text, choices=(), answer=0) for q in test]
    prompts = {item.id: prompt.prompt(item) for item in asked}
    texts = sample_texts(base, prompts, Sampling(num_samples=NUM_SAMPLES), 0, "test")
    oracle = {q.id: [gold_reward(q.problem, text) for text in texts[q.id]] for q in test}
    found = {(row["question_id"], row["sample"]): row["reward"] for row in rows}
    assert found == {(q, s): value for q, row in oracle.items() for s, value in enumerate(row)}


def test_policies_leave_scores_rewards_and_a_curve(planned: tuple[Plan, Inputs], ran: Path) -> None:
    plan, _ = planned
    storage, found = open_storage(str(ran)), plan.policies[0]
    for id_, is_trained in ((found.gold.cells[0], True), (found.base.cells[0], False)):
        record = read_record(storage, id_)
        files = [layout.rewards(id_)] + [layout.pairs(id_)] * is_trained
        assert record.num_items == NUM_TEST and set(record.files) == set(files)
        assert (ran / "cells" / id_ / "curve.jsonl").exists() == is_trained
    note = " ".join(read_record(storage, found.before.cells[0]).notes)
    assert f"answer pairs to {NUM_QUESTIONS} questions" in note
    assert rewards(ran, found.gold.cells[0]) != rewards(ran, found.base.cells[0])
    pairs = pq.read_table(ran / layout.pairs(found.gold.cells[0]))
    assert pairs.num_rows > 1 and label_accuracy_of(pairs) == 1.0
    # The same questions, answers and draws: only who says which is better differs.
    assert curve(ran, found.before.cells[0]) != curve(ran, found.gold.cells[0])


def test_nothing_of_a_pairs_gold_reaches_a_reward_models_policy(
    planned: tuple[Plan, Inputs], ran: Path, tmp_path: Path
) -> None:
    """Canary: every pool item has another gold answer and stored order; the bytes are the same."""
    plan, inputs = planned
    id_ = plan.policies[0].before.cells[0]
    parent = cells_by_id(plan)[id_].cell.parent or ""
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / parent).symlink_to(ran / "cells" / parent)
    task = inputs.tasks["micro_preferences"]
    pool = set(task.split.pool)
    items = tuple(turned(item) if item.id in pool else item for item in task.data.items)
    other = SplitTask(data=replace(task.data, items=items), split=task.split)
    run(plan, replace(inputs, tasks={"micro_preferences": other}), [id_], tmp_path)
    assert failure(tmp_path, id_) is None
    assert rewards(tmp_path, id_) == rewards(ran, id_)
    assert curve(tmp_path, id_) == curve(ran, id_)


def test_a_policy_without_its_reward_model_says_so(
    planned: tuple[Plan, Inputs], tmp_path: Path
) -> None:
    plan, inputs = planned
    id_ = plan.policies[0].after.cells[0]
    run(plan, inputs, [id_], tmp_path)
    reason = failure(tmp_path, id_)
    assert reason is not None and "has not finished" in reason


def test_a_reward_models_preference_is_of_the_answers_not_of_their_order(
    planned: tuple[Plan, Inputs], ran: Path
) -> None:
    plan, inputs = planned
    cell = cells_by_id(plan)[plan.policies[0].before.cells[0]].cell
    (source,) = inputs.models.values()
    base = load_base(source, "float32", "none", "cpu")
    task = inputs.tasks["micro_preferences"]
    context = CellContext(
        cell=cell,
        prompt=get_prompt("micro_preferences", "text"),
        items=task.data.items,
        states=StateCache(),
        log=lambda row: None,
    )
    model = read_reward_model(open_storage(str(ran)), cell.parent or "", context, base)
    items = task.by_id(task.split.test[:4])
    swapped = [replace(item, choices=item.choices[::-1]) for item in items]
    ours, theirs = model.prefer(base, items), model.prefer(base, swapped)
    assert [a + b for a, b in zip(ours, theirs, strict=True)] == pytest.approx([1.0] * 4, abs=1e-6)
    assert len(set(ours)) > 1
    with restore(model.context, base, model.state) as fitted:
        given, other = fitted.answer(items).log_probs, fitted.answer(swapped).log_probs
    assert given is not None and other is not None
    oracle = [(softmax(a)[0] + softmax(b)[1]) / 2 for a, b in zip(given, other, strict=True)]
    assert ours == pytest.approx(oracle)
