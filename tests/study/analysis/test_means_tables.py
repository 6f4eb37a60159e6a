"""Published tables: what is read from them, and which are refused."""

from pathlib import Path

import pytest

from study import report

HEADER = "arm,seed,accuracy\n"
ARMS = "weak,1,0.5\nweak,2,0.52\nceiling,1,0.7\nceiling,2,0.72\n"
SOURCES = "a,1,0.6\na,2,0.62\nb,1,0.54\nb,2,0.56\n"


def written(folder: Path, text: str) -> str:
    path = folder / "table.csv"
    path.write_text(text)
    return str(path)


def test_every_source_and_every_pair_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--from", written(tmp_path, HEADER + ARMS + SOURCES)]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert [line[3] for line in lines if line[:1] == ["a"] and line[1] == "2"] == ["0.50"]
    assert any(line[:4] == ["a", "-", "b", "0.30"] for line in lines)
    assert list(tmp_path.iterdir()) == [tmp_path / "table.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns arm, seed, accuracy"),
        ("arm,accuracy\nweak,0.5\n", "must have the columns arm, seed, accuracy"),
        (HEADER + ARMS, "needs an arm besides weak and ceiling"),
        (HEADER + SOURCES, "one arm named zero_shot or weak"),
        (HEADER + ARMS + "zero_shot,1,0.4\n" + SOURCES, "one arm named zero_shot or weak"),
        (HEADER + ARMS + "a,1,60\n", "line 6: accuracy must be a number in [0, 1], got '60'"),
        (HEADER + ARMS + "a,1,nan\n", "line 6: accuracy must be a number"),
        (HEADER + ARMS + "weak,1,0.5\n", "line 6: weak has seed 1 twice"),
        ("arm,seed,accuracy,num_items\nweak,1,0.5,9\na,1,0.5,8\n", "num_items must be one number"),
        ("arm,seed,accuracy,num_items\nweak,1,0.5,1\n", "got '1'"),
    ],
)
def test_bad_tables_are_refused_before_any_output(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--from", written(tmp_path, text)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == ""


def test_a_table_or_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([]) == 2
    assert report.main(["runs/micro", "--from", "table.csv"]) == 2
    assert "leave out RUN" in capsys.readouterr().err
