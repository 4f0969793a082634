"""`tensorgrad check`: a user's function against differences, exit code 1 when it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SOURCE = """
import numpy as np, tensorgrad as tg

def energy(x, w, n=2):
    return np.tanh(x @ w) ** n

def broken(x, w):
    return np.sin(x) + tg.tensor(w.detach().numpy() ** 2) * np.cos(x)

def product(first, *rest):
    return first * rest[0] * rest[1]

def parts(x, w):
    return {"a": x * w, "b": [np.sin(x)]}

def nothing(x, w):
    return None

constant = 3.0
"""


@pytest.fixture
def module(tmp_path: Path, rng: np.random.Generator) -> str:
    name = f"functions_{rng.integers(2**40)}"  # a module is imported once in a process
    (tmp_path / f"{name}.py").write_text(SOURCE)
    np.savez(tmp_path / "named.npz", w=rng.standard_normal((4, 2)), x=rng.standard_normal((3, 4)))
    np.savez(tmp_path / "placed.npz", *rng.standard_normal((2, 5)))
    return name


def test_a_right_function_is_0_and_one_line_an_argument(
    cli: Callable[..., Any], module: str
) -> None:
    for options in ([], ["--order", 2], ["--full"], ["--elements", 3, "--seed", 7]):
        found = cli("check", f"{module}:energy", "--input", "named.npz", *options)
        assert (found.status, found.err) == (0, "")
        lines = found.out.splitlines()
        count = 8 if "--order" in options else 4
        assert len(lines) == count + 2
        assert lines[0].split() == "argument shape order mode error worst element".split()
        assert all(line.rstrip().endswith("ok") for line in lines[1:-1])
        assert lines[-1].startswith(f"{count} of {count} agree; seed ")
    assert lines[-1].endswith("seed 7")


def test_a_wrong_one_is_1_and_names_argument_size_and_worst_element(
    cli: Callable[..., Any], module: str
) -> None:
    found = cli("check", f"{module}:broken", "--input", "placed.npz")
    assert found.status == 1
    lines = found.out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["x", "w", "x", "w"]
    for line in lines[2:5:2]:
        assert "1.0e+00" in line
        assert "w[" in line
        assert line.rstrip().endswith("WRONG in 5 of 5")
    assert lines[-1].startswith("2 of 4 agree")


def test_any_number_of_arguments_and_containers_of_results(
    cli: Callable[..., Any], module: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "three.npz", *np.ones((3, 2)))
    found = cli("check", f"{module}:product", "--input", "three.npz")
    assert (found.status, found.err) == (0, "")
    names = [line.split()[0] for line in found.out.splitlines()[1:4]]
    assert names == ["first", "rest[0]", "rest[1]"]
    for options in ([], ["--full"]):
        found = cli("check", f"{module}:parts", "--input", "placed.npz", *options)
        assert (found.status, found.err) == (0, "")


@pytest.mark.parametrize(
    ("target", "file", "text"),
    [
        ("energy", "named.npz", "MODULE:FUNCTION: got '{m}', expected a module and a function"),
        ("{m}:nope", "named.npz", "has no function nope"),
        ("{m}:constant", "named.npz", "expected a function"),
        ("no_such_module:f", "named.npz", "got 'no_such_module', expected a module"),
        ("{m}:broken", "none.npz", "--input: got none.npz"),
        ("{m}:broken", "{m}.py", "expected a file of np.savez"),
        ("{m}:broken", "other.npz", "expected the first parameters of {m}:broken: x, w"),
        ("{m}:energy", "three.npz", "got arr_0, arr_1, arr_2, arr_3 in three.npz, expected the fi"),
        ("{m}:nothing", "placed.npz", "got no floating-point result of {m}:nothing"),
        ("{m}:energy", "whole.npz", "got no floating-point array in whole.npz"),
    ],
)
def test_input_that_cannot_be_used_is_2_with_one_line(
    cli: Callable[..., Any], module: str, tmp_path: Path, target: str, file: str, text: str
) -> None:
    np.savez(tmp_path / "three.npz", *np.ones((4, 2)))
    np.savez(tmp_path / "other.npz", x=np.ones(2), v=np.ones(2))
    np.savez(tmp_path / "whole.npz", x=np.ones((2, 2), int), w=np.ones((2, 2), int))
    target = module if target == "energy" else target.format(m=module)
    found = cli("check", target, "--input", file.format(m=module))
    assert found.status == 2
    assert len(found.err.splitlines()) == 1
    assert text.format(m=module) in found.err
