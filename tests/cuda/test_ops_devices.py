"""Devices of the CUDA backend: where results live, what is refused, faults, capture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import test_registry as shared
from ops_tools import gpus, here, there
from test_registry_cuda import SLOW

import tensorgrad as tg
from tensorgrad.core.registry import OPERATIONS


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus(devices=2) as machine:
        yield machine


@pytest.mark.gpus(2)
def test_results_live_where_their_arrays_do(gpu: Any, rng: np.random.Generator) -> None:
    x = there(rng.standard_normal((4, 3)), "cuda:1")
    found = tg.softmax(tg.linear(x, x) * 2 + 1)[[0, 1]].sum(0)
    assert found.device == "cuda:1"
    assert x.device == "cuda:1"
    assert tg.zeros((2,), device="cuda").device == "cuda:0"
    with tg.device("cuda:1"):
        assert tg.tensor([1.0, 2.0]).device == "cuda:1"
        assert tg.rand(3).device == "cuda:1"


@pytest.mark.gpus(2)
def test_gradients_come_back_through_a_move(gpu: Any, rng: np.random.Generator) -> None:
    value = rng.standard_normal(5)
    x = tg.tensor(value, requires_grad=True)
    y = x.to("cuda:0") * 2
    z = (y.to("cuda:1") ** 2).sum()
    assert (y.device, z.device) == ("cuda:0", "cuda:1")
    z.to("cpu").backward()
    assert x.grad is not None
    assert x.grad.device == "cpu"
    np.testing.assert_allclose(here(x.grad), 8 * value)


def moved(value: Any, device: str, found: list[Any]) -> Any:
    """Arguments with their arrays as tensors of a device; those with a gradient go to `found`."""
    if isinstance(value, np.ndarray | np.generic):
        x = tg.tensor(value, device=device, requires_grad=value.dtype.kind in "fc")
        found += [x] if x.requires_grad else []
        return x
    if isinstance(value, dict):
        return {k: moved(v, device, found) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(moved(v, device, found) for v in value)
    return value


def squares(values: Any) -> Any:
    """The sum of the squares of what is on the tape; None if nothing is."""
    parts = [v * tg.conj(v) for v in values if isinstance(v, tg.Tensor) and v.node is not None]
    return sum(tg.real(v).sum() for v in parts if v.dtype.kind in "fc") if parts else None


OF_THE_HOST = {"linalg.cho_factor": "which triangle it is, which `cho_solve` asks on the host"}
"""Operations with a result that is on the CPU, and why."""


@pytest.mark.gpus(2)
def test_what_an_operation_makes_lies_beside_its_input(
    gpu: Any, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    """Under `--backend` a bare array goes to the GPU wherever it was made; here none does."""
    names = [n for n in shared.NAMES if n not in (*shared.REFUSED, *OF_THE_HOST)]
    if not request.config.getoption("--full"):
        quick = [n for n in names if not n.startswith(SLOW)]
        names = [str(n) for n in rng.choice(quick, 6, replace=False)]
    for name in names:
        found = shared.samples(name, rng)
        for k in rng.permutation(len(found))[:2]:
            leaves: list[Any] = []
            args, options = moved(found[k], "cuda:1", leaves)
            try:
                made = shared.leaves(OPERATIONS[name].function(*args, **options))
                devices = {v.device for v in made if isinstance(v, tg.Tensor) and leaves}
                assert devices <= {"cuda:1"}, f"{name}: {found[k]}"
                for _ in range(2):
                    total = squares(made)
                    if not isinstance(total, tg.Tensor) or total.node is None:
                        break
                    for leaf in leaves:
                        leaf.grad = None
                    total.backward(create_graph=True)
                    made = [leaf.grad for leaf in leaves if leaf.grad is not None]
            except tg.DeviceError as error:
                raise AssertionError(f"{name}: {found[k]}: {error}") from error
            except (tg.TensorgradError, TypeError, ValueError, NotImplementedError):
                continue  # what a GPU refuses by name


@pytest.mark.gpus(2)
def test_mixed_devices_are_refused(gpu: Any) -> None:
    here_, first, second = (tg.ones((3,), device=d) for d in ("cpu", "cuda:0", "cuda:1"))
    for x, y in ((first, second), (here_, first), (first, here_), (second, first)):
        for call in (tg.add, tg.matmul, lambda a, b: tg.where(a > 0, a, b)):
            with pytest.raises(tg.DeviceError, match=r"expected all on one device; try x.to\("):
                call(x, y)
    with pytest.raises(tg.DeviceError, match="cuda:9"):
        tg.zeros((2,), device="cuda:9")


@pytest.mark.gpus(2)
def test_numbers_and_lists_go_where_the_array_is(gpu: Any, rng: np.random.Generator) -> None:
    x = there(rng.standard_normal((3, 4)), "cuda:1")
    for found in (x + 1, 2.0 * x, x[[0, 2]], x[[True, False, True]], tg.take(x, [1, 1], 1),
                  tg.cross_entropy(x, [0, 1, 3]), x + np.float64(1)):  # fmt: skip
        assert found.device == "cuda:1"


def test_host_values(gpu: Any) -> None:
    x = there(np.array([1.5]))
    assert (x.item(), float(x[0]), int(x[0]), bool(x[0])) == (1.5, 1.5, 1, True)
    assert x.tolist() == [1.5]
    assert "1.5" in repr(x)
    np.testing.assert_array_equal(np.asarray(x), [1.5])


# -- what kernels find wrong ---------------------------------------------------------------------


@pytest.mark.parametrize("bad", [7, -8])
def test_an_index_out_of_range_is_told_before_a_value_is_read(bad: int, gpu: Any) -> None:
    x = there(np.arange(7.0))
    found = x[there(np.array([0, bad, 3]))]
    with pytest.raises(IndexError, match=r"take: got an index out of range in row 1, expected -7"):
        found.numpy()
    assert x[[6, -7]].tolist() == [6.0, 0.0]  # the process goes on


def test_labels_out_of_range(gpu: Any, rng: np.random.Generator) -> None:
    x, wrong = there(rng.standard_normal((4, 3))), there(np.array([0, 1, 5, 2]))
    for call in (lambda: tg.cross_entropy(x, wrong),
                 lambda: tg.cross_entropy(x, wrong, reduction="sum"),
                 lambda: tg.nll_loss(x, wrong), lambda: tg.one_hot(wrong, 3)):  # fmt: skip
        with pytest.raises(IndexError, match=r"out of range in row 2, expected 0 <= label < 3"):
            call().numpy()


def test_more_ranges_than_words(gpu: Any) -> None:
    from tensorgrad.backend.cuda import faults

    for size in range(1, faults.WORDS + 10):
        faults.faults().word(faults.Fault("take", "an index", size, "x"))
    x = there(np.arange(4321.0))
    with pytest.raises(IndexError, match="take: got an index out of range in row 0"):
        x[there(np.array([4321]))].numpy()


def test_nothing_is_written_out_of_range(gpu: Any) -> None:
    x, far = there(np.zeros((3, 4))), there(np.array([0, 4]))
    with pytest.raises(IndexError):
        x[9] = 1.0
    x[0, far] = 1.0
    with pytest.raises(IndexError, match="setitem: got an index out of range in row 1"):
        x.numpy()
    np.testing.assert_array_equal(here(x), [[1, 0, 0, 0], [0] * 4, [0] * 4])
    with pytest.raises(IndexError, match="put_along_axis: got an index out of range in row 0"):
        tg.put_along_axis(x, there(np.array([[4]])), there(np.ones((1, 1))), 1).numpy()


# -- capture -------------------------------------------------------------------------------------


def test_a_training_step_is_captured(gpu: Any, rng: np.random.Generator) -> None:
    from tensorgrad.backend.cuda.graph import capture

    x, y = there(rng.standard_normal((16, 6)).astype("f4")), there(rng.integers(0, 3, 16))
    first = [rng.standard_normal(s).astype("f4") / 3 for s in ((8, 6), (8,), (3, 8), (3,))]

    def program() -> Any:
        params = [tg.nn.Parameter(there(a)) for a in first]
        optimizer = tg.optim.SGD(params, lr=0.1)

        def step(inputs: Any, labels: Any) -> Any:
            w1, b1, w2, b2 = params
            hidden = tg.linear_relu(tg.Tensor(inputs), w1, b1)
            loss = tg.cross_entropy(tg.linear(hidden, w2, b2), tg.Tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.data

        return step

    eager = program()
    losses = [here(eager(x.data, y.data)) for _ in range(5)]
    captured = capture(program(), (x.data, y.data))  # two steps are its warm-up
    replayed = [here(captured(x.data, y.data)) for _ in range(3)]
    np.testing.assert_array_equal(replayed, losses[2:])
    captured.close()


def test_negative_exponents_of_whole_numbers_are_refused() -> None:
    with gpus():
        x = tg.tensor([1, 2, 3], device="cuda")
        y = x ** tg.tensor([2, -1, 2], device="cuda")
        with pytest.raises(ValueError, match=r"power: got exponent out of range in row 1"):
            y.numpy()
        assert (x ** tg.tensor([2, 0, 1], device="cuda")).tolist() == [1, 1, 3]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_number_that_is_no_probability_is_refused(dtype: str) -> None:
    with gpus():
        p = tg.tensor([[0.5, 0.0], [1.0, 0.5]], device="cuda", dtype=dtype)
        t = tg.tensor([[0.0, 1.0], [1.25, 0.5]], device="cuda", dtype=dtype)
        with pytest.raises(ValueError, match="binary_cross_entropy") as caught:
            tg.binary_cross_entropy(p, t).item()
        assert str(caught.value) == (
            "binary_cross_entropy: got target outside 0 to 1 at element 2, expected "
            "probabilities; try labels 0 and 1"
        )
        assert np.isfinite(float(tg.binary_cross_entropy(p, p).item()))
        with pytest.raises(ValueError, match="got input outside 0 to 1 at element 2"):
            tg.binary_cross_entropy(t, p).item()


VIEWS = {
    "broadcast": lambda x: tg.broadcast_to(x, (2, 3, 3)),
    "of a broadcast": lambda x: tg.broadcast_to(x, (2, 3, 3))[0],
    "turned": lambda x: tg.broadcast_to(x, (2, 3, 3))[1].T[:, ::-1],
    "reshaped": lambda x: tg.broadcast_to(x, (2, 3, 3))[0].reshape(9),
    "diagonal": lambda x: x.diagonal(),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, 0),
    "parts": lambda x: tg.split(tg.broadcast_to(x, (2, 3, 3))[0], 3)[0],
    "copied": lambda x: tg.broadcast_to(x, (2, 3, 3)).reshape(18),
    "row": lambda x: x[1],
    "same shape": lambda x: x.T.reshape(3, 3)[::2],
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_what_nobody_may_write_are_refused_as_on_the_cpu(
    name: str, gpu: Any, rng: np.random.Generator
) -> None:
    x, refusals = rng.standard_normal((3, 3)), []
    for device in ("cpu", "cuda:0"):
        refusals.append([])
        for write in (lambda v: v.__setitem__(0, 1.0), lambda v: v.__iadd__(v[:1]),
                      lambda v: v.fill(2.0), lambda v: v.sort()):  # fmt: skip
            given = tg.tensor(x, device=device)
            try:
                write(VIEWS[name](given))
            except ValueError as error:
                refusals[-1].append(str(error))
    assert refusals[0] == refusals[1]
    assert len(refusals[0]) == (0 if name in ("copied", "row", "same shape") else 4)


@pytest.mark.parametrize("name", ["of a broadcast", "diagonal", "windows", "row", "same shape"])
def test_a_write_is_seen_through_any_view(name: str, gpu: Any, rng: np.random.Generator) -> None:
    """A view that an operation saved belongs to the memory that it looks at."""
    x = there(rng.standard_normal((3, 3)))
    leaf = tg.tensor(1.5, device="cuda:0", requires_grad=True)
    loss = (leaf * VIEWS[name](x)).sum()
    x[1:] = 0.0
    with pytest.raises(tg.InPlaceError, match="overwritten"):
        loss.backward()
