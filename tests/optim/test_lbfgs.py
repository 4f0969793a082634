"""L-BFGS: as PyTorch's, as SciPy's minima, and its state."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim
from tensorgrad.optim.line_search import Point, strong_wolfe

OPTIONS: list[dict[str, Any]] = [
    {"lr": 0.1, "max_iter": 5},
    {"lr": 0.5, "max_iter": 4, "history_size": 3},
    {"line_search_fn": "strong_wolfe", "max_iter": 5},
    {"line_search_fn": "strong_wolfe", "max_iter": 8, "max_eval": 6, "history_size": 2, "lr": 3.0},
]


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def closed(opt: Any, loss: Any) -> Any:
    def closure() -> Any:
        opt.zero_grad()
        found = loss()
        found.backward()
        return found

    return closure


@pytest.mark.parametrize("options", OPTIONS)
def test_as_pytorch(options: dict[str, Any], rng: np.random.Generator) -> None:
    """A convex loss: where steps diverge, so do the roundings of the two."""
    torch = pytest.importorskip("torch")
    a, y = rng.standard_normal((30, 6)), rng.standard_normal(30)
    start = rng.standard_normal(6)
    p = [nn.Parameter(start[:2].copy()), nn.Parameter(start[2:].reshape(2, 2).copy())]
    q = [torch.tensor(x.detach().numpy().copy(), requires_grad=True) for x in p]
    mine, theirs = optim.LBFGS(p, **options), torch.optim.LBFGS(q, **options)

    def loss(lib: Any, x: Any, cat: Any) -> Any:
        w = cat([x[0], x[1].reshape(4)])
        return lib.log1p(lib.exp(lib.asarray(a * y[:, None]) @ w)).sum() + (w**2).sum()

    here = closed(mine, lambda: loss(tg, p, tg.concatenate))
    there = closed(theirs, lambda: loss(torch, q, torch.cat))
    for _ in range(6):
        value, other = mine.step(here).item(), theirs.step(there).item()
        assert value == pytest.approx(other, rel=1e-7)
    for x, z in zip(p, q):
        np.testing.assert_allclose(x.detach().numpy(), z.detach().numpy(), rtol=0, atol=1e-6)
    state = mine.state_dict()["state"][0]
    (kept,) = theirs.state_dict()["state"].values()
    assert state.keys() | {"al"} == kept.keys() | {"al"}
    assert (state["n_iter"], state["func_evals"]) == (kept["n_iter"], kept["func_evals"])


def test_it_finds_the_valley_s_end() -> None:
    x = nn.Parameter(np.array([-1.2, 1.0, -0.5, 0.8]))
    opt = optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe")
    opt.step(closed(opt, lambda: rosenbrock(x)))
    np.testing.assert_allclose(x.detach().numpy(), 1.0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_resuming_bit_for_bit(dtype: str) -> None:
    def made() -> tuple[Any, Any, Any]:
        start = np.array([-1.2, 1.0, -0.5, 0.8, 0.3])
        x = [nn.Parameter(tg.tensor(part).astype(dtype)) for part in (start[:2], start[2:])]
        opt = optim.LBFGS(x, max_iter=3, line_search_fn="strong_wolfe")
        loss = lambda: rosenbrock(tg.concatenate(x).astype("float64"))  # noqa: E731
        return x, opt, closed(opt, loss)

    x, opt, closure = made()
    for _ in range(3):
        opt.step(closure)
    y, again, other = made()
    for p, q in zip(x, y):
        q.data = p.data.copy()
    again.load_state_dict(pickle.loads(pickle.dumps(opt.state_dict())))
    copied = pickle.loads(pickle.dumps(opt))
    assert copied.state_dict()["state"][0]["n_iter"] == opt.state_dict()["state"][0]["n_iter"]
    for _ in range(3):
        assert opt.step(closure).item() == again.step(other).item()
    for p, q in zip(x, y):
        assert np.array_equal(
            p.detach().astype("float64").numpy(), q.detach().astype("float64").numpy()
        )


def test_a_cast_keeps_what_is_remembered() -> None:
    x = nn.Parameter(np.array([[-1.2, 1.0], [0.5, 0.2]], "f4"))
    net = nn.Module()
    net.x = x
    y = nn.Parameter(x.detach().astype("float64"))
    losses = []
    for param in (x, y):
        opt = optim.LBFGS([param], max_iter=3, max_eval=99, line_search_fn="strong_wolfe")
        closure = closed(opt, lambda param=param: rosenbrock(tg.ravel(param)))
        opt.step(closure)
        net.to("float64")
        opt.step(closure)
        assert opt.state_dict()["state"][0]["n_iter"] == 6
        assert opt.state_dict()["state"][0]["d"].dtype == "float64"
        losses.append(closure().item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_frozen_parameters_stay() -> None:
    x, y = nn.Parameter(np.array([2.0])), nn.Parameter(np.array([3.0]), requires_grad=False)
    opt = optim.LBFGS([x, y], line_search_fn="strong_wolfe")
    opt.step(closed(opt, lambda: ((x - y) ** 2).sum()))
    assert y.item() == 3.0
    assert x.item() == pytest.approx(3.0)


def test_strong_wolfe_on_a_line(rng: np.random.Generator) -> None:
    for _ in range(20):
        far, step = rng.uniform(1, 100), 10 ** rng.uniform(-3, 3)

        def along(t: float, far: float = far) -> Point:
            slope = 2 * (t - far) + np.cos(5 * t / far)
            return Point(t, (t - far) ** 2 + np.sin(5 * t / far) * far / 5, None, slope)

        start = along(0.0)
        found, _ = strong_wolfe(along, start, step, 1.0)
        assert found.value <= start.value + 1e-4 * found.step * start.slope
        assert abs(found.slope) <= 0.9 * abs(start.slope)


def test_errors() -> None:
    w, v = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2, "f4"))
    opt = optim.LBFGS([w])
    with pytest.raises(TypeError, match=r"LBFGS: got step\(\), expected step\(closure\)"):
        opt.step()
    with pytest.raises(ValueError, match=r"LBFGS: got parameters of .*, expected one group of one"):
        optim.LBFGS([w, v])
    with pytest.raises(ValueError, match="LBFGS: got a second group"):
        opt.add_param_group({"params": [v]})
    with pytest.raises(ValueError, match="line_search_fn='x', expected None or 'strong_wolfe'"):
        optim.LBFGS([w], line_search_fn="x")
    with pytest.raises(ValueError, match="LBFGS: got lr=-1"):
        optim.LBFGS([w], lr=-1)
    state = {**opt.state_dict(), "state": {0: {"d": tg.ones(3)}}}
    with pytest.raises(ValueError, match=r"vectors of \[3\] elements, expected that of 2 elements"):
        opt.load_state_dict(state)
    with pytest.raises(ValueError, match=r"the keys \['exp_avg'\]"):
        opt.load_state_dict({**state, "state": {0: {"exp_avg": tg.ones(2)}}})
