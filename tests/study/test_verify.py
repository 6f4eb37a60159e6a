"""`study.verify`: accuracies of a model next to published ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from study.analysis.published.model_accuracies import (
    FILE,
    PublishedAccuracy,
    check,
    measure,
    published_accuracies,
)
from study.cli.command import BAD_INPUT, FAILED, OK
from study.verify import main
from tests.support.tiny_models import make_items, make_model, make_tokenizer, naive_scores
from tests.support.tiny_models import save_folder as save_model
from trainables.data.items import Item
from trainables.models import resolve

SETS = {"arc_easy": "ARC-Easy", "arc_challenge": "ARC-Challenge"}
NUM_ITEMS = 60
MODEL = "someone/tiny"
COLUMNS = ["model", "test_sets", "metric", "value", "shots", "harness", "source", "link"]


def items_of(name: str) -> tuple[Item, ...]:
    return make_items(NUM_ITEMS, seed=list(SETS).index(name))


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test files only: neither training questions nor annotations are needed."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "arc").mkdir()
    for name, subset in SETS.items():
        rows = [
            {
                "id": item.id,
                "question": {
                    "stem": item.question,
                    "choices": [
                        {"text": text, "label": "ABCD"[index]}
                        for index, text in enumerate(item.choices)
                    ],
                },
                "answerKey": "ABCD"[item.answer],
            }
            for item in items_of(name)
        ]
        (folder / "arc" / f"{subset}.test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), kind="bytes")


@pytest.fixture(scope="module")
def expected() -> dict[tuple[str, str], float]:
    """(test set, metric) -> accuracy, by one whole forward per choice and plain counting."""
    accuracies = {}
    for name in SETS:
        items = items_of(name)
        sums = naive_scores(
            make_model("llama"),
            make_tokenizer("bytes"),
            [f"Question: {item.question}\nAnswer:" for item in items],
            [[f" {choice}" for choice in item.choices] for item in items],
        )
        lengths = [np.array([len(choice) for choice in item.choices]) for item in items]
        ways = {"acc": sums, "acc_norm": [s / n for s, n in zip(sums, lengths, strict=True)]}
        for metric, rows in ways.items():
            right = [np.argmax(row) == item.answer for row, item in zip(rows, items, strict=True)]
            accuracies[name, metric] = float(np.mean(right))
    return accuracies


def table(folder: Path, *rows: Sequence[object]) -> str:
    """Writes a table of published numbers: test sets, metric, value, shots."""
    path = folder / "published.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([MODEL, *row, "lm-eval", "someone", "https://example.org"] for row in rows)
    return str(path)


def arguments(model: Path, data_root: Path, published: str, *more: str) -> list[str]:
    where = ["--path", str(model), "--data-root", str(data_root), "--published", published]
    return [MODEL, *where, *more]


def test_the_accuracies_are_those_of_one_forward_per_choice(
    model: Path,
    data_root: Path,
    expected: dict[tuple[str, str], float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    acc = expected["arc_easy", "acc"]
    mean = (expected["arc_easy", "acc_norm"] + expected["arc_challenge", "acc_norm"]) / 2
    published = table(
        tmp_path,
        ("arc_easy", "acc", acc + 0.04, 0),  # more than 3 points, less than 2 standard errors
        ("arc_easy+arc_challenge", "acc_norm", mean, 0),
        ("arc_challenge", "acc", 1.0, 25),
    )
    assert main(arguments(model, data_root, published, "--json")) == OK
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert f"{2 * NUM_ITEMS}/{2 * NUM_ITEMS} questions" in err
    got = {
        (name, metric): accuracy["value"]
        for name, by_metric in result["accuracies"].items()
        for metric, accuracy in by_metric.items()
    }
    assert got == pytest.approx(expected)
    assert result["checked"][1]["measured"]["value"] == pytest.approx(mean)
    assert result["checked"][0]["difference"] == pytest.approx(-0.04)
    assert not any(row["is_flagged"] for row in result["checked"])


def test_a_number_that_differs_fails_the_command(
    model: Path,
    data_root: Path,
    expected: dict[tuple[str, str], float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    far = expected["arc_easy", "acc"] + 0.3
    published = table(tmp_path, ("arc_easy", "acc", far, 0), ("arc_easy", "acc", 1.0, 5))
    assert main(arguments(model, data_root, published)) == FAILED
    out = capsys.readouterr().out
    assert "-30.0  DIFFERS" in out and "not zero-shot" in out
    assert "1 of 1 comparable published number differs by more than 3 points" in out
    assert f"{NUM_ITEMS} of 2,376" in out and "Only a subset was scored" in out


def test_a_subset_is_scored_and_named(
    model: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = table(tmp_path, ("arc_easy", "acc", 0.3, 0))
    main(arguments(model, data_root, published, "--items", "7", "--json"))
    assert json.loads(capsys.readouterr().out)["num_questions"] == dict.fromkeys(SETS, 7)


@pytest.mark.parametrize(
    ("size", "published", "is_flagged"),
    [
        (10_000, 0.475, False),  # 5 standard errors, 2.5 points
        (10_000, 0.465, True),
        (100, 0.465, False),  # 3.5 points, less than 1 standard error
        (100, 0.38, True),
    ],
)
def test_a_flag_needs_points_and_standard_errors(
    size: int, published: float, is_flagged: bool
) -> None:
    correct = {"arc_easy": {"acc": [0.0, 1.0] * (size // 2)}}
    for shots in (0, 25):
        number = PublishedAccuracy(
            model=MODEL,
            test_sets="arc_easy",
            metric="acc",
            value=published,
            shots=shots,
            harness="lm-eval",
            source="someone",
            link="https://example.org",
        )
        checked = check(number, correct)
        assert checked.is_flagged == (is_flagged and not shots)
        assert checked.difference == pytest.approx(0.5 - published)


def test_standard_errors() -> None:
    half = measure([[0.0, 1.0] * 1000])
    assert half.standard_error == pytest.approx(0.5 / np.sqrt(2004))
    both = measure([[0.0, 1.0] * 1000, [1.0] * 50])
    assert both.value == pytest.approx(0.75)
    assert both.standard_error > half.standard_error / 2
    assert measure([[1.0]]).standard_error > 0.1  # one right answer is no certainty


def test_the_shipped_table_is_whole() -> None:
    for name in ("HuggingFaceTB/SmolLM2-135M-Instruct", "GEMMA-3-270m"):
        rows = published_accuracies(name)
        assert rows and all(row.link.startswith("https://") for row in rows)
        assert {row.model.partition("/")[2].lower() for row in rows} == {
            name.rpartition("/")[2].lower()
        }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("arc_easy", "acc", 54.1, 0), "row 2: value"),
        (("arc_easy", "f1", 0.5, 0), "row 2: metric"),
        (("arc_easy+copa", "acc", 0.5, 0), "test_sets has copa; the known ones are arc_easy"),
    ],
)
def test_a_faulty_table_is_refused(
    row: tuple[object, ...],
    message: str,
    model: Path,
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(model, data_root, table(tmp_path, row))) == BAD_INPUT
    out, err = capsys.readouterr()
    assert message in err and not out


def test_bad_input_names_the_value_before_a_question_is_scored(
    model: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = table(tmp_path, ("arc_easy", "acc", 0.5, 0))
    no_data, no_model = tmp_path / "empty", tmp_path / "no model"
    for bad, message in {
        ("other/model", *arguments(model, data_root, published)[1:]): "which has someone/tiny",
        tuple(arguments(model, data_root, "no.csv")): "no.csv",
        tuple(arguments(model, no_data, published)): f"{no_data / 'arc'}: no such folder",
        tuple(arguments(no_model, data_root, published)): "no model",
        tuple(arguments(model, data_root, published, "--items", "0")): "--items",
    }.items():
        assert main(bad) == BAD_INPUT
        out, err = capsys.readouterr()
        assert message in err and not out and "questions, ETA" not in err


@pytest.mark.parametrize(
    ("given", "loaded"),
    [
        ("unsloth/gemma-3-270m", "unsloth/gemma-3-270m"),
        ("google/gemma-3-270m", "google/gemma-3-270m"),
        ("Gemma-3-270M", "google/gemma-3-270m"),
    ],
)
def test_a_model_of_the_hub_is_the_one_that_was_named(
    given: str,
    loaded: str,
    data_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The shipped table has numbers of google's model, which copies are compared with."""

    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(resolve.HfApi, "model_info", no_network)
    assert main([given, "--data-root", str(data_root)]) == BAD_INPUT
    assert f"model {loaded!r}: not an embedded model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model\xff", "not UTF-8 at byte 5; save it as UTF-8"),
        (",".join(COLUMNS).encode(), "no published accuracy; add a row for each"),
    ],
)
def test_a_table_without_readable_rows_is_refused(
    content: bytes,
    message: str,
    model: Path,
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published = tmp_path / "own.csv"
    published.write_bytes(content)
    assert main(arguments(model, data_root, str(published))) == BAD_INPUT
    out, err = capsys.readouterr()
    assert f"{published}: {message}" in err and not out


def test_the_shipped_columns_are_documented_fields() -> None:
    folder = Path(__file__).parents[2] / "study" / "analysis" / "published"
    header = (folder / FILE).read_text().splitlines()[0].split(",")
    assert header == [*COLUMNS, "remark"]
