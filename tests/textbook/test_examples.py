"""The examples run, print their numbers and save their pictures."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tensorgrad.examples import EXAMPLES

pytest.importorskip("matplotlib")

PRINTED = {
    "valley": ("-7.915547895", "-1.307088763", "-0.00075602", "crosses the small valley"),
    "line": ("least squares",),
    "cost": ("parameters", "reverse", "forward"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    example = importlib.import_module(EXAMPLES[name])
    if name == "cost":
        monkeypatch.setattr(example, "DEPTHS", (1, 2))
    example.main(tmp_path / "pictures")
    printed = capsys.readouterr().out
    for text in PRINTED[name]:
        assert text in printed
    picture = tmp_path / "pictures" / f"{name}.svg"
    assert str(picture) in printed.replace("\n", "")
    assert picture.read_text().lstrip().startswith("<?xml")


def test_a_file_name_chooses_the_format(tmp_path: Path) -> None:
    example = importlib.import_module(EXAMPLES["valley"])
    example.main(tmp_path / "paths.png")
    assert (tmp_path / "paths.png").read_bytes().startswith(b"\x89PNG")


def test_the_current_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    importlib.import_module(EXAMPLES["valley"]).main()
    assert (tmp_path / "valley.svg").exists()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_first_line_says_what_it_shows(name: str) -> None:
    first = (importlib.import_module(EXAMPLES[name]).__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 80
