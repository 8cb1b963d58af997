"""The session at the top of the README prints what it shows."""

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
SESSION = re.search(r"(?:^    .*\n)+", README, re.MULTILINE)[0]


def session() -> dict[str, list[str]]:
    """The commands of the session, each with the lines shown below it; `...` stands for left-out lines."""
    shown: dict[str, list[str]] = {}
    for line in SESSION.splitlines():
        text = line.removeprefix("    ")
        if text.startswith("$ "):
            shown[text.partition("#")[0].strip().removeprefix("$ ")] = []
        else:
            shown[list(shown)[-1]].append(text)
    return shown


@pytest.mark.parametrize("command", ["callsheet init spring", "callsheet plan spring/campaign.toml"])
def test_a_command_prints_what_the_readme_shows(call, tmp_path, monkeypatch, command):
    """Line by line, in this order."""
    monkeypatch.chdir(tmp_path)
    shown = session()
    for each in dict.fromkeys(("callsheet init spring", command)):
        code, out, _ = call(*shlex.split(each)[1:])
        assert code == 0
    pattern = "\n".join(r"(?:.*\n)*?.*" if line == "..." else re.escape(line) for line in shown[command])
    assert re.fullmatch(pattern, out.rstrip("\n")), out


def test_the_readme_shows_its_picture_early():
    """A reader sees what comes out within the first 40 lines, and the picture is there."""
    at, line = next((at, line) for at, line in enumerate(README.splitlines(), 1) if line.startswith("!["))
    assert at <= 40
    assert (Path(__file__).parents[3] / line.partition("(")[2].rstrip(")")).is_file()


def test_the_readme_links_to_files_that_exist():
    """Every relative link."""
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (Path(__file__).parents[3] / link.partition("#")[0]).exists(), link
