from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_data import ROOT, needs
from trainables.data.loading.files import Row
from trainables.data.loading.preference_pairs import Pair, pair_item
from trainables.data.splits import make_split
from trainables.data.tasks.preferences import hh_rlhf, pandalm, ultrafeedback
from trainables.data.tasks.registry import load_task
from trainables.errors import DataError

ASK = "\n\nHuman: How do I boil an egg?\n\nAssistant: In water.\n\nHuman: How long?"


def hh_row(chosen: str, rejected: str) -> dict[str, str]:
    return {"chosen": chosen, "rejected": rejected}


def chat(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]


def row(values: dict[str, Any]) -> Row:
    return Row(where="x, line 1", values=values)


def test_order_of_responses_does_not_tell_which_is_better() -> None:
    """Exchanging chosen and rejected changes the answer and not one byte beside it."""
    for n in range(50):
        ours = pair_item(Pair(prompt=f"p{n}", chosen="good", rejected="bad"), "x")
        theirs = pair_item(Pair(prompt=f"p{n}", chosen="bad", rejected="good"), "x")
        assert (ours.id, ours.choices, ours.group) == (theirs.id, theirs.choices, theirs.group)
        assert ours.answer == 1 - theirs.answer
        assert ours.choices[ours.answer] == "good"


def test_better_answer_stands_first_half_of_the_time_and_always_the_same() -> None:
    def draw() -> list[int]:
        pairs = (Pair(prompt=f"p{n}", chosen=f"a{n}", rejected=f"b{n}") for n in range(1000))
        return [pair_item(pair, "x").answer for pair in pairs]

    assert 440 < sum(draw()) < 560  # 500 expected, sd 16
    assert draw() == draw()


def test_equal_responses_and_an_empty_prompt_are_refused() -> None:
    with pytest.raises(DataError, match="x: chosen and rejected are the same text"):
        pair_item(Pair(prompt="p", chosen="same ", rejected="same"), "x")
    with pytest.raises(DataError, match="x: the prompt is empty"):
        pair_item(Pair(prompt=" ", chosen="a", rejected="b"), "x")
    assert "" in pair_item(Pair(prompt="p", chosen="a", rejected=""), "x").choices


def test_transcripts_are_parted_where_they_differ() -> None:
    pair = hh_rlhf.parse_row(
        row(hh_row(f"{ASK}\n\nAssistant: Ten minutes.", f"{ASK}\n\nAssistant: One hour."))
    )
    assert pair.prompt == ASK.strip()
    assert (pair.chosen, pair.rejected) == ("Ten minutes.", "One hour.")


def test_transcripts_that_differ_earlier_keep_the_rest_as_response() -> None:
    chosen = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant: Bye."
    rejected = "\n\nHuman: Hi\n\nAssistant: What?"
    pair = hh_rlhf.parse_row(row(hh_row(chosen, rejected)))
    assert pair.prompt == "Human: Hi"
    assert pair.chosen == "Hello.\n\nHuman: Bye\n\nAssistant: Bye."
    assert pair.rejected == "What?"


def test_transcript_that_begins_another_still_has_a_response() -> None:
    short = "\n\nHuman: Hi\n\nAssistant: Hello."
    pair = hh_rlhf.parse_row(row(hh_row(f"{short}\n\nHuman: Bye\n\nAssistant: Bye.", short)))
    assert (pair.prompt, pair.rejected) == ("Human: Hi", "Hello.")
    assert pair.chosen.startswith("Hello.\n\nHuman: Bye")


def test_empty_answer_in_a_transcript_stays() -> None:
    pair = hh_rlhf.parse_row(row(hh_row(f"{ASK}\n\nAssistant:", f"{ASK}\n\nAssistant: One hour.")))
    assert (pair.chosen, pair.rejected) == ("", "One hour.")


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [
        ("no turns", "no turns at all", "must be a transcript"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: c\n\nAssistant: d", "share no first turn"),
        ("", "\n\nHuman: c", "chosen is empty"),
    ],
)
def test_bad_transcripts_are_refused(chosen: str, rejected: str, message: str) -> None:
    with pytest.raises(DataError, match=f"x, line 1: .*{message}"):
        hh_rlhf.parse_row(row(hh_row(chosen, rejected)))


def test_message_lists_share_their_context() -> None:
    values = {"chosen": chat("Hi", "Hello."), "rejected": chat("Hi", "What?"),
              "score_chosen": 8.0, "score_rejected": 6.5}  # fmt: skip
    pair = ultrafeedback.parse_row(row(values))
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Hi", "Hello.", "What?")
    assert pair.hardness == {"closeness": -1.5}
    shared = ("Hi", "Hello.", "Bye")
    longer = {"chosen": chat(*shared, "Bye."), "rejected": chat(*shared, "No.")}
    assert (
        ultrafeedback.parse_row(row(longer)).prompt == "User: Hi\n\nAssistant: Hello.\n\nUser: Bye"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chosen": chat("Hi", "a"), "rejected": chat("Ho", "b")}, "differ before their last"),
        ({"chosen": chat("Hi"), "rejected": chat("Hi", "b")}, "an assistant's answer at its end"),
        ({"chosen": "Hi", "rejected": chat("Hi", "b")}, "a list of .role, content."),
        ({"rejected": chat("Hi", "b")}, "'chosen'"),
    ],
)
def test_bad_message_lists_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"x, line 1: .*{message}"):
        ultrafeedback.parse_row(row(values))


def write_hh(root: Path) -> None:
    for subset in ("helpful-base", "harmless-base"):
        folder = root / "hh_rlhf" / subset
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            ask = f"\n\nHuman: {subset} {split} %d?"
            rows = [
                hh_row(
                    f"{ask % (n // 2)}\n\nAssistant: yes {n}", f"{ask % (n // 2)}\n\nAssistant: no"
                )
                for n in range(100)
            ]
            lines = "\n".join(map(json.dumps, [*rows, rows[0]]))
            (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


def test_subsets_in_folders_are_read_repeats_dropped_and_prompts_kept_whole(tmp_path: Path) -> None:
    write_hh(tmp_path)
    data = load_task("hh_rlhf", tmp_path)
    assert len(data.items) == 400
    assert "4 of 404 rows repeat another row" in data.notes[0]
    split = make_split(data, n_train=20)
    pool = set(split.pool)
    sides: dict[str | None, set[bool]] = {}
    for item in data.items:
        sides.setdefault(item.group, set()).add(item.id in pool)
    assert all(len(both) == 1 for both in sides.values())
    assert Counter(len(both) for both in sides.values())[1] == 200


def test_chosen_equal_to_rejected_names_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "rewardbench"
    folder.mkdir()
    good = {"prompt": "p", "chosen": "a", "rejected": "b", "subset": "llmbar-natural", "id": 1}
    lines = [json.dumps(good), json.dumps(good | {"rejected": " a"})]
    (folder / "filtered.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"filtered\.jsonl, line 2: chosen and rejected are the"):
        load_task("rewardbench", tmp_path)
    data = load_task("rewardbench", tmp_path, skip_bad_rows=True)
    assert (len(data.items), len(data.skipped)) == (1, 1)
    assert data.items[0].topic == "llmbar-natural"


@needs("pandalm")
def test_pandalm_drops_ties_and_keeps_empty_responses() -> None:
    data = load_task("pandalm", ROOT)
    assert len(data.items) == 999 - 105
    assert data.notes[0].startswith("105 pairs whose majority vote is a tie were dropped")
    with gzip.open(ROOT / "pandalm" / "testset-v1.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [(str(r["response1"]).strip(), str(r["response2"]).strip()) for r in rows]
    assert sum("" in pair for pair in texts) == 54
    kept = {f"pandalm-{r['idx']}" for r, pair in zip(rows, texts, strict=True) if "" in pair}
    assert sum("" in item.choices for item in data.items) == len(
        kept & {item.id for item in data.items}
    )
    assert Counter(data.measures["disagreement"].values()) == {0: 794, 1: 100}
    against = {f"pandalm-{r['idx']}": [r[f"annotator{i}"] for i in (1, 2, 3)] for r in rows}
    ties = data.measures["tie_votes"]
    assert all(ties[id_] == sum(int(vote) == 0 for vote in against[id_]) for id_ in ties)
    assert len(ties) == len(data.items)


def panda(**votes: int) -> dict[str, Any]:
    return {"idx": 3, "instruction": "", "input": "i", "response1": True, "response2": "no"} | votes


def test_pandalm_reads_booleans_and_prompts_without_instruction(tmp_path: Path) -> None:
    (tmp_path / "pandalm").mkdir()
    rows = [panda(annotator1=1, annotator2=1, annotator3=2)]
    (tmp_path / "pandalm" / "testset-v1.json").write_text(json.dumps(rows))
    item = load_task("pandalm", tmp_path).items[0]
    assert (item.id, item.question, item.choices[item.answer]) == ("pandalm-3", "i", "True")


def test_pandalm_votes_are_checked() -> None:
    with pytest.raises(DataError, match=r"votes must be 0 \(similar\), 1 or 2"):
        pandalm._majority(row({"annotator1": 1, "annotator2": 1, "annotator3": 7}))
    assert pandalm._majority(row({"annotator1": 0, "annotator2": 1, "annotator3": 2}))[0] == 0


@needs("llmbar")
def test_llmbar_has_its_five_subsets() -> None:
    data = load_task("llmbar", ROOT)
    assert Counter(item.topic for item in data.items) == {
        "Natural": 100, "Adversarial/Neighbor": 134, "Adversarial/GPTInst": 92,
        "Adversarial/GPTOut": 47, "Adversarial/Manual": 46,
    }  # fmt: skip
    assert Counter(data.measures["adversarial"].values()) == {0: 100, 1: 319}
    assert 160 < sum(item.answer for item in data.items) < 260


def test_llmbar_in_its_repository_layout_is_read(tmp_path: Path) -> None:
    rows = [{"input": "i", "output_1": "a", "output_2": "b", "label": 2}]
    for number, subset in enumerate(
        ("Natural", "Adversarial/Neighbor", "Adversarial/GPTInst", "Adversarial/GPTOut",
         "Adversarial/Manual")
    ):  # fmt: skip
        folder = tmp_path / "llmbar" / "LLMBar" / subset
        folder.mkdir(parents=True)
        rows[0]["input"] = f"i{number}"
        (folder / "dataset.json").write_text(json.dumps(rows))
    data = load_task("llmbar", tmp_path)
    assert len(data.items) == 5
    assert all(item.choices[item.answer] == "b" for item in data.items)
