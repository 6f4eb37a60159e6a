"""Canary: another gold answer in the raw files changes gold, and nothing that comes before it.

Ids, texts, groups, measures, split, pool and draws are those of the data without its labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search_spaces.data_source import OWN_KINDS
from search_spaces.levels import Level
from trainables.data.draws import CellDraws, Draw
from trainables.data.measures import MADE_OF_GOLD
from trainables.data.splits import make_split
from trainables.data.task import SplitTask, TaskData
from trainables.data.tasks.questions import arc
from trainables.data.tasks.questions.mmlu import SUBJECTS
from trainables.data.tasks.registry import TASKS, load_task

Row = dict[str, Any]
Files = dict[str, list[Row]]


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A raw copy of a data set, and how its rows look where the other answer is gold."""

    files: Callable[[], Files]
    turned: Callable[[Row], Row]


def chat(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def exchanged(*pairs: tuple[str, str]) -> Callable[[Row], Row]:
    """Returns what exchanges fields of a row, each pair of them."""

    def turned(row: Row) -> Row:
        names = dict(pairs) | {second: first for first, second in pairs}
        return {names.get(name, name): value for name, value in row.items()}

    return turned


def with_copies(rows: list[Row], turned: Callable[[Row], Row]) -> list[Row]:
    """Adds repeated rows: of one with its own gold answer, of another with the other one."""
    return [*rows, rows[3], rows[-3], turned(rows[5]), turned(rows[-5])]


def hh(part: str) -> list[Row]:
    def transcript(asked: int, answer: str) -> str:
        return f"\n\nHuman: {part} {asked}?\n\nAssistant: {answer}"

    return [
        {
            "chosen": transcript(n // 2, f"yes {n}"),
            "rejected": transcript(n // 2, "no" + " more" * (n % 5)),
        }
        for n in range(60)
    ]


def ultrafeedback(part: str) -> list[Row]:
    return [
        {
            "chosen": chat(f"{part} {n}", f"good {n}"),
            "rejected": chat(f"{part} {n}", f"bad {n}"),
            "score_chosen": 5.0 + n % 4,
            "score_rejected": 5.0,  # every fourth pair has equal scores
            "source": ("a", "b")[n % 2],
        }
        for n in range(60)
    ]


def rewardbench() -> list[Row]:
    return [
        {
            "prompt": f"bench{' x' * (n % 5)} {n}",
            "chosen": f"yes {n}",
            "rejected": "no",
            "subset": "donotanswer",
        }
        for n in range(60)
    ]


def panda() -> list[Row]:
    votes = ((1, 1, 2), (2, 2, 2), (1, 0, 1), (0, 0, 1), (1, 2, 0), (2, 2, 1))
    return [
        {"idx": n, "instruction": f"panda {n}", "input": "", "response1": f"a {n}",
         "response2": "b", "motivation_app": "x",
         **{f"annotator{i + 1}": vote for i, vote in enumerate(votes[n % 6])}}
        for n in range(60)
    ]  # fmt: skip


def votes_turned(row: Row) -> Row:
    other = {0: 0, 1: 2, 2: 1}
    return row | {name: other[row[name]] for name in row if name.startswith("annotator")}


def llmbar() -> list[Row]:
    return [
        {"subset": ("Natural", "Adversarial/Manual")[n % 2], "input": f"bar {n}",
         "output_1": f"a {n}", "output_2": "b", "label": 1 + n % 3 % 2}
        for n in range(60)
    ]  # fmt: skip


def label_turned(row: Row) -> Row:
    return row | {"label": 3 - row["label"]}


CHOSEN = exchanged(("chosen", "rejected"))
SCORED = exchanged(("chosen", "rejected"), ("score_chosen", "score_rejected"))


def preferences() -> Files:
    return {
        "ultrafeedback/train_prefs": with_copies(ultrafeedback("train"), SCORED),
        "ultrafeedback/test_prefs": [*ultrafeedback("test"), SCORED(ultrafeedback("train")[8])],
        "rewardbench/filtered": with_copies(rewardbench(), CHOSEN),
        "pandalm/testset-v1": panda(),
        "llmbar/llmbar": with_copies(llmbar(), label_turned),
        "hh_rlhf/test": with_copies(hh("test"), CHOSEN),
    }


def preference_turned(row: Row) -> Row:
    """Turns a row of any of the sets, known by its fields."""
    by_field = {"annotator1": votes_turned, "label": label_turned, "score_chosen": SCORED}
    turned = next((way for field, way in by_field.items() if field in row), CHOSEN)
    return turned(row)


def next_answer(field: str, number: int) -> Callable[[Row], Row]:
    return lambda row: row | {field: (row[field] + 1) % number}


def mmlu() -> Files:
    rows = {
        part: [
            {
                "question": f"{part} {subject} {n}?",
                "subject": subject,
                "choices": [f"{n}", "much longer than the others", "c", "d"],
                "answer": n % 4,
            }
            for subject in SUBJECTS
            for n in range(8)
        ]
        for part in ("validation", "test")
    }
    rows["test"] = with_copies(rows["test"], next_answer("answer", 4))
    return {f"mmlu/{part}": found for part, found in rows.items()}


def arc_rows(start: int) -> list[Row]:
    return [
        {
            "id": f"q{start + n}",
            "question": {
                "stem": f"ask {(start + n) // 2}?",
                "choices": [
                    {"text": f"a{n} {'long ' * place}", "label": label}
                    for place, label in enumerate("ABCD")
                ],
            },
            "answerKey": "ABCD"[n % 4],
        }
        for n in range(30)
    ]


def key_turned(row: Row) -> Row:
    return row | {"answerKey": "ABCD"[("ABCD".index(row["answerKey"]) + 1) % 4]}


def arc_files() -> Files:
    parts = [f"ARC-{s}.{part}" for s in ("Easy", "Challenge") for part in ("train", "dev", "test")]
    return {f"arc/{part}": arc_rows(30 * place) for place, part in enumerate(parts)}


def science_turned(row: Row) -> Row:
    return key_turned(row) if "answerKey" in row else next_answer("answer", 4)(row)


def gsm8k(part: str) -> list[Row]:
    return [
        {
            "question": f"{part} how many {n}?",
            "answer": "\n".join(f"step {step}" for step in range(2 + n % 6)) + f"\n#### {n}",
        }
        for n in range(60)
    ]


def retold(row: Row) -> Row:
    """Returns the row with another solution, of more steps, that comes to another answer."""
    return row | {"answer": "one more step\n" + number_turned(row)["answer"]}


def number_turned(row: Row) -> Row:
    solution, _, number = row["answer"].rpartition("####")
    return row | {"answer": f"{solution}#### {int(number) + 1000}"}


def strategyqa() -> list[Row]:
    return [
        {"qid": f"q{n}", "term": "t", "question": f"is it {n // 2}?", "answer": n % 3 == 0,
         "facts": ["a fact."] * (n % 4), "decomposition": ["how?"] * (1 + n % 5)}
        for n in range(60)
    ]  # fmt: skip


def truth_turned(row: Row) -> Row:
    return row | {"answer": not row["answer"]}


def mine() -> list[Row]:
    return [
        {"id": f"q{n}", "question": f"which {n // 3}?", "choices": [f"a{n}", "bbbbb", "cc"],
         "answer": n % 3, "steps": 1 + n % 4}
        for n in range(90)
    ]  # fmt: skip


RAW: Mapping[str, Raw] = {
    "hh_rlhf": Raw(
        files=lambda: {
            "hh_rlhf/train": with_copies(hh("train"), CHOSEN),
            "hh_rlhf/test": with_copies(hh("test"), CHOSEN),
        },
        turned=CHOSEN,
    ),
    "ultrafeedback": Raw(
        files=lambda: {k: v for k, v in preferences().items() if k.startswith("ultrafeedback")},
        turned=SCORED,
    ),
    "rewardbench": Raw(
        files=lambda: {"rewardbench/filtered": with_copies(rewardbench(), CHOSEN)}, turned=CHOSEN
    ),
    "pandalm": Raw(files=lambda: {"pandalm/testset-v1": panda()}, turned=votes_turned),
    "llmbar": Raw(
        files=lambda: {"llmbar/llmbar": with_copies(llmbar(), label_turned)}, turned=label_turned
    ),
    "preferences": Raw(files=preferences, turned=preference_turned),
    "mmlu_stem5": Raw(files=mmlu, turned=next_answer("answer", 4)),
    "arc": Raw(files=arc_files, turned=key_turned),
    "science": Raw(files=lambda: arc_files() | mmlu(), turned=science_turned),
    "gsm8k": Raw(
        files=lambda: {
            "gsm8k/train": [
                *with_copies(gsm8k("train"), number_turned),
                *map(retold, gsm8k("train")[20:30]),
            ],
            "gsm8k/test": gsm8k("test"),
        },
        turned=number_turned,
    ),
    "strategyqa": Raw(
        files=lambda: {"strategyqa/train": strategyqa(), "strategyqa/dev": []}, turned=truth_turned
    ),
    "jsonl": Raw(files=lambda: {"jsonl/mine": mine()}, turned=next_answer("answer", 3)),
}
GENERATED = {"micro", "micro_preferences"}
"""Tasks without files: their own tests say what their gold is."""


def test_every_loader_has_a_canary() -> None:
    assert set(RAW) | GENERATED | OWN_KINDS == set(TASKS), "own data has one schema: jsonl"


def written(root: Path, files: Files) -> Path:
    for name, rows in files.items():
        path = root / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def two_of_three(rows: Iterable[Row], turned: Callable[[Row], Row]) -> list[Row]:
    return [turned(row) if n % 3 else row for n, row in enumerate(rows)]


def seen(data: TaskData) -> dict[str, object]:
    """Returns all of a task that is no gold, as it is before any model runs."""
    split = make_split(data, n_train=10)
    task = SplitTask(data=data, split=split)
    measure = min(data.cuts.keys() - MADE_OF_GOLD, default=None)

    def draw(use: Any, n: int, level: Level | None = None) -> Draw:
        return Draw(
            task=data.name, measure=measure if level else None, level=level, n=n, study_seed=0,
            seed=1, use=use,
        )  # fmt: skip

    levels = [level for level in data.cuts.get(measure or "", ()) if task.pool_ids(measure, level)]
    draws = CellDraws(
        labelled=(draw("train", 4),),
        validation=(draw("validation", 2),),
        unlabelled=tuple(draw("unlabelled", 9, level) for level in (*levels, None)),
    )
    return {
        "items": [
            (i.id, i.question, () if data.free_form else i.choices, i.group, i.topic, i.reasoning)
            for i in data.items
        ],
        "measures": {k: v for k, v in data.measures.items() if k not in MADE_OF_GOLD},
        "cuts": {k: v for k, v in data.cuts.items() if k not in MADE_OF_GOLD},
        "notes": data.notes,
        "test": data.test,
        "split": split,
        "draws": task.drawn_ids(draws) if split.pool else None,
    }


@pytest.fixture
def annotated(monkeypatch: pytest.MonkeyPatch) -> None:
    """ARC's annotations for the made-up questions: the real ones are checked against their hash."""
    labels = {
        f"{prefix}q{n}": {"grade": f"Grade 0{3 + n % 6}", "bloom": "Applying",
                          "depth_of_knowledge": "I", "difficulty": ("Low", "High")[n % 2]}
        for prefix in arc.SUBSETS.values()
        for n in range(180)
    }  # fmt: skip
    monkeypatch.setattr(arc, "local_annotations", lambda folder: labels)


@pytest.mark.usefixtures("annotated")
@pytest.mark.parametrize("name", sorted(RAW))
def test_other_gold_in_the_files_changes_gold_alone(name: str, tmp_path: Path) -> None:
    raw = RAW[name]
    ours = load_task(name, written(tmp_path / "ours", raw.files()))
    files = {part: two_of_three(rows, raw.turned) for part, rows in raw.files().items()}
    theirs = load_task(name, written(tmp_path / "theirs", files))

    def gold(data: TaskData) -> list[str]:
        return [item.choices[item.answer] for item in data.items]

    first, second = seen(ours), seen(theirs)
    for part in first:
        if part == "notes":
            # How many copies contradict each other is said of gold.
            continue
        assert second[part] == first[part], part
    differing = sum(a != b for a, b in zip(gold(ours), gold(theirs), strict=True))
    assert differing > len(ours.items) / 3, "the canary sang"


def test_a_pair_of_equal_scores_is_dropped_and_counted(tmp_path: Path) -> None:
    files = {"ultrafeedback/train": ultrafeedback("train"), "ultrafeedback/test": []}
    data = load_task("ultrafeedback", written(tmp_path, files))
    assert len(data.items) == 45
    assert "15 pairs whose responses have one score were dropped" in " ".join(data.notes)
    assert set(data.measures["closeness"].values()) == {-1.0, -2.0, -3.0}


def test_a_test_part_of_its_own_is_the_test(tmp_path: Path) -> None:
    """Its pairs are tested on, and what has their prompt is not trained on."""
    repeated = [*hh("train"), CHOSEN(hh("test")[2])]
    files = {"hh_rlhf/train": repeated, "hh_rlhf/test": hh("test")}
    data = load_task("hh_rlhf", written(tmp_path, files))
    split = make_split(data, n_train=10)
    asked = {item.id: item.question for item in data.items}
    assert {asked[id_].split()[1] for id_ in split.test} == {"test"} and len(split.test) == 60
    assert {asked[id_].split()[1] for id_ in split.pool} == {"train"} and len(split.pool) == 60
