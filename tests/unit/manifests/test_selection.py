"""Which jobs a person has chosen, from a file or by their ids."""

from pathlib import Path

import pytest

from callsheet.errors import ManifestError, UsageError
from manifests.selection import Kept, meant_id, read_kept


def selection(folder: Path, text: str) -> str:
    """Write a selection and return its path."""
    path = folder / "selection.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("custom_id\na\nb\n", ["a", "b"]),
        ("Custom ID,Verdict\na,Keep\nb,retake\nc,\nd,reject\ne, keep \n", ["a", "e"]),
    ],
)
def test_rows_that_are_kept(tmp_path: Path, text: str, kept: list[str]) -> None:
    """Every row without a column of verdicts, else those that say keep, in any case."""
    assert [each.custom_id for each in read_kept([selection(tmp_path, text)], option="--keep")] == kept


def test_ids_stand_for_themselves() -> None:
    """What names no file is an id, or several with commas between them."""
    assert read_kept(["a", "b"], option="--keep") == [Kept("a", "--keep", 0), Kept("b", "--keep", 0)]
    assert read_kept(["a, b"], option="--keep") == read_kept(["a", "b"], option="--keep")


@pytest.mark.parametrize(
    ("written", "known", "meant"),
    [
        ("'-dash", {"-dash"}, "-dash"),
        ("-dash", {"-dash"}, "-dash"),
        ("'-dash", {"-dash", "'-dash"}, "'-dash"),
        ("'hero", {"hero"}, "'hero"),
        ("'-dash", {"hero"}, "'-dash"),
    ],
)
def test_an_id_may_have_the_apostrophe_of_the_results(written: str, known: set[str], meant: str) -> None:
    """Only where the results would have put it, and where no other clip is called so."""
    assert meant_id(written, known) == meant


def test_a_single_name_is_one_name(tmp_path: Path) -> None:
    """From Python: a text or a path was taken letter by letter, or refused."""
    assert read_kept("hero", option="keep") == [Kept("hero", "keep", 0)]
    path = Path(selection(tmp_path, "custom_id\na\n"))
    assert [each.custom_id for each in read_kept(path, option="keep")] == ["a"]


def test_a_file_that_is_not_there_is_no_id(tmp_path: Path) -> None:
    """A misspelt path is said as such, and not looked up as a job."""
    with pytest.raises(UsageError, match="there is no file"):
        read_kept([str(tmp_path / "selektion.csv")], option="--keep")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name\na\n", [(0, "custom_id")]),
        ("custom_id,verdict\na,maybe\n,keep\n", [(2, "verdict"), (3, "custom_id")]),
    ],
)
def test_mistakes_are_named_together(tmp_path: Path, text: str, where: list[tuple[int, str]]) -> None:
    """With file, row and column."""
    with pytest.raises(ManifestError) as refused:
        read_kept([selection(tmp_path, text)], option="--keep")
    assert [(each.row, each.column) for each in refused.value.problems] == where
