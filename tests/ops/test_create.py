"""Creation: dtypes, sharing of memory, leaves and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import DeviceError, DTypeError, GradientError, ShapeError
from tensorgrad.ops.create import from_numpy


def test_dtypes_are_numpys() -> None:
    for made, dtype in (
        (tg.tensor([1.0, 2.0]), "float64"),
        (tg.tensor([1, 2]), "int64"),
        (tg.tensor([True]), "bool"),
        (tg.zeros(3), "float64"),
        (tg.full((2,), 7), "int64"),
        (tg.arange(4), "int64"),
        (tg.arange(0.0, 1.0, 0.5), "float64"),
        (tg.eye(2, dtype="float32"), "float32"),
        (tg.ones_like(np.ones(2, "f4")), "float32"),
        (tg.one_hot(np.array([0]), 2), "int64"),
        (tg.tensor([1.0], "bfloat16"), "bfloat16"),
    ):
        assert made.dtype.name == dtype


@pytest.mark.cpu_only("what lies on a GPU shares no memory with NumPy")
def test_tensor_copies_and_asarray_shares(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    assert not np.shares_memory(tg.tensor(x).numpy(), x)
    assert np.shares_memory(tg.asarray(x).numpy(), x)
    assert np.shares_memory(from_numpy(x).numpy(), x)
    leaf = tg.Tensor(x, requires_grad=True)
    assert tg.asarray(leaf) is leaf
    assert tg.asarray(leaf, "float32").requires_grad


def test_requires_grad_makes_a_leaf() -> None:
    for made in (
        tg.tensor([1.0], requires_grad=True),
        tg.zeros((2, 3), requires_grad=True),
        tg.linspace(0, 1, 5, requires_grad=True),
        tg.zeros_like(np.ones(2), requires_grad=True),
    ):
        assert made.is_leaf
        assert made.requires_grad
    assert not tg.zeros_like(tg.zeros(2, requires_grad=True)).requires_grad


def test_numpys_like_functions_on_tensors() -> None:
    x = tg.Tensor(np.ones((2, 3), "f4"), requires_grad=True)
    for made, value in (
        (np.zeros_like(x), 0),
        (np.ones_like(x), 1),
        (np.full_like(x, 5), 5),
    ):
        assert isinstance(made, tg.Tensor)
        assert not made.requires_grad
        assert made.dtype == np.float32
        assert np.array_equal(made.numpy(), np.full((2, 3), value))


def test_a_list_of_tensors_is_stacked_off_the_tape() -> None:
    found = tg.tensor([tg.tensor(1.0), 2.0])
    assert found.tolist() == [1.0, 2.0]
    assert found.device == tg.zeros(()).device
    with pytest.raises(GradientError, match="on the tape"):
        tg.tensor([tg.Tensor(1.0, requires_grad=True)])


def test_one_hot_infers_the_classes() -> None:
    assert tg.one_hot([2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: tg.tensor(tg.Tensor(1.0, requires_grad=True)),
            GradientError,
            "tensor: got a tensor on the tape, expected a value without a past; "
            "try x.detach() for a constant, or tg.asarray(x) to keep the gradient",
        ),
        (
            lambda: tg.zeros((2, -1)),
            ShapeError,
            "zeros: got shape=(2, -1), expected lengths >= 0; try shape=()",
        ),
        (
            lambda: tg.zeros((2, 2.5)),
            DTypeError,
            "zeros: got 2.5, expected an integer; try int(2.5)",
        ),
        (
            lambda: tg.zeros(2, device="mars:9"),
            DeviceError,
            "device: got 'mars:9', expected cpu, cuda or cuda:N; try device='cpu'",
        ),
        pytest.param(
            lambda: tg.one_hot(np.array([[0, 4]]), 4),
            IndexError,
            "one_hot: got label 4 in row 1, expected 0 <= label < 4; "
            "try a larger num_classes, or labels from 0",
            marks=pytest.mark.cpu_only("a kernel tells the row, and later: tests/cuda"),
        ),
        (
            lambda: from_numpy([1.0]),
            DTypeError,
            "from_numpy: got array=[1.0], expected a NumPy array; try tg.tensor(x)",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


# -- copies and ranges -------------------------------------------------------------------------


@pytest.mark.cpu_only("what lies on a GPU shares no memory with NumPy")
def test_asarray_copies_as_it_is_told(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    assert np.shares_memory(tg.asarray(x, copy=False), x)
    assert not np.shares_memory(tg.asarray(x, copy=True), x)
    assert not np.shares_memory(tg.asarray(memoryview(x), copy=True), x)
    t = tg.Tensor(x, requires_grad=True)
    assert tg.asarray(t, copy=False) is t
    assert not np.shares_memory(tg.asarray(t, copy=True), x)
    assert tg.asarray(t, copy=True).requires_grad
    for given, dtype in (([1.0], None), (x, "float32"), (t, "float32"), (1.0, None)):
        with pytest.raises(ValueError, match=r"asarray: got .* copy=False, expected an array of"):
            tg.asarray(given, dtype, copy=False)


def test_the_step_of_a_range(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 3))
    for options in ({}, {"endpoint": False}, {"axis": -1}):
        want, step = np.linspace(a, b, 4, retstep=True, **options)
        got, found = np.linspace(tg.asarray(a), b, 4, retstep=True, **options)
        np.testing.assert_allclose(here(got), want, rtol=1e-14)
        np.testing.assert_allclose(here(found), step, rtol=1e-14)
    assert tg.linspace(0, 1, 5, retstep=True)[1].item() == 0.25
    assert np.isnan(tg.linspace(0, 1, 1, retstep=True)[1].item())


def test_gradients_of_ranges_in_their_ends() -> None:
    _, pull = tg.vjp(lambda a, b: tg.linspace(a, b, 5)[1::3], np.float64(1), np.float64(3))
    moved = [[here(g).item() for g in pull(ct)] for ct in np.eye(2)]
    assert moved == [[0.75, 0.25], [0.0, 1.0]]
    middle = tg.grad(lambda a, b: np.geomspace(a, b, 3)[1], argnums=(0, 1))(1.0, 4.0)
    np.testing.assert_allclose([float(g) for g in middle], [1.0, 0.25], rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tg.geomspace(0, 1), "geomspace: got end=float64(), expected ends that are not 0; "
                                     "try linspace"),
        (lambda: tg.logspace(0, 1, -2), "logspace: got num=-2, expected num >= 0; try num=50"),
    ],
)  # fmt: skip
def test_errors_of_ranges(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected") as found:
        call()
    assert str(found.value) == message
