"""What a run offers by name: optimizers, schedules, losses, data; each resumes bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import optim, train
from tensorgrad.data.toys import TOYS
from tensorgrad.io import load_file
from tensorgrad.train.choices import OPTIMIZERS, UPDATES
from tensorgrad.train.loop import Loop
from tensorgrad.train.objective import objective

Fit = Callable[..., train.Result]


class StopAt(train.Reporter):
    """Interrupts a run after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_step(self, loop: Loop) -> None:
        if loop.progress.step == self.step:
            loop.stop("interrupted")


def batch_of(name: str) -> dict[str, Any]:
    """84 rows train: four steps an epoch, or one for an optimizer of the full batch."""
    return {"batch_size": 84 if name == "lbfgs" else 21}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns_at_its_own_rate(blobs: Path, fit: Fit, name: str) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", **batch_of(name)}
    epochs = 5 if name == "lbfgs" else 60
    found = fit(optimizer=name, epochs=epochs, patience=0, **options)
    assert found.history[0]["lr"] == UPDATES[name].lr
    assert found.history[-1]["loss"] < 0.9 * found.history[0]["loss"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes_bit_for_bit(
    blobs: Path, fit: Fit, name: str, rng: np.random.Generator
) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "optimizer": name}
    options |= {"epochs": 5, **batch_of(name)}
    whole = fit(**options)
    stopped = fit(StopAt(int(rng.integers(1, 5))), **options)
    assert stopped.summary["reason"] == "interrupted"
    found = train.resume(stopped.folder)
    for file in ("model.safetensors", "state.safetensors"):
        one, two = (load_file(run.folder / file) for run in (whole, found))
        assert list(one) == list(two)
        for key, value in one.items():
            np.testing.assert_array_equal(value, two[key])


def test_muon_is_for_the_matrices_alone(blobs: Path, fit: Fit) -> None:
    net = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.PReLU(), tg.nn.Linear(3, 1))
    config = train.Config(optimizer="muon", weight_decay=0.2, clip_norm=1e-3, lr=0.5)
    mover = train.Recipe(config, 1).optimizer(net)
    shapes = [[param.ndim for param in group["params"]] for group in mover.param_groups]
    assert shapes == [[2, 2], [1, 1, 1]]
    assert [group["weight_decay"] for group in mover.param_groups] == [0.2, 0.0]
    (net(tg.ones((4, 2), dtype="float32")) ** 2).sum().backward()
    mover.step()
    assert optim.grad_norm(net.parameters()) == pytest.approx(1e-3, rel=1e-2)
    with pytest.raises(ValueError, match="Muon: got 0 states, expected 2"):
        mover.load_state_dict({})


def test_lbfgs_takes_the_full_batch(blobs: Path, fit: Fit, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "optimizer": "lbfgs"}
    with pytest.raises(train.ConfigError) as caught:
        fit(**options)
    assert str(caught.value) == (
        "batch_size: got 32, which makes 3 steps an epoch, beside optimizer lbfgs, expected the "
        "full batch, since a step compares losses of the same rows; try --batch-size 96"
    )
    assert list(tmp_path.iterdir()) == [blobs]
    found = fit(batch_size=96, epochs=10, **options)
    assert found.summary["test_accuracy"] == 1.0


@pytest.mark.parametrize("name", ["lbfgs", "rprop"])
def test_l2_of_an_optimizer_without_decay_is_in_the_loss(blobs: Path, fit: Fit, name: str) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "batch_size": 96}
    free, bound = (fit(optimizer=name, epochs=15, l2=l2, **options) for l2 in (0.0, 0.5))
    norms = [np.linalg.norm(run.net[0].weight.detach().numpy()) for run in (free, bound)]
    assert norms[1] < 0.7 * norms[0]


def test_one_betas_default_beside_one_given() -> None:
    net = tg.nn.Linear(2, 1)
    config = train.Config(optimizer="lion", beta1=0.5)
    (group,) = train.Recipe(config, 1).optimizer(net).param_groups
    assert group["betas"] == (0.5, 0.99)
    config = train.Config(optimizer="rmsprop", rho=0.8, momentum=0.3)
    (group,) = train.Recipe(config, 1).optimizer(net).param_groups
    assert (group["alpha"], group["momentum"]) == (0.8, 0.3)


def rates(config: train.Config, steps: int = 1) -> list[float]:
    recipe, net = train.Recipe(config, steps), tg.nn.Linear(1, 1)
    mover, found = recipe.optimizer(net), []
    for step in range(config.epochs * steps):
        recipe.set_rate(mover, step, 1.0)
        found.append(recipe.rate(mover))
    return found


def test_one_cycle_behind_a_warm_up() -> None:
    config = train.Config(schedule="one_cycle", epochs=12, warmup=2, lr=1.0)
    found = rates(config)
    assert found[2:] == [optim.OneCycle(10)(k) for k in range(10)]
    assert found[0] < found[1] < found[2] == pytest.approx(1 / 25)
    assert max(found) == pytest.approx(1.0)
    assert math.isclose(found[-1], 1 / 25e4)


def test_plateau_divides_by_ten() -> None:
    config = train.Config(schedule="plateau", decay=0.1, decay_epochs=3)
    recipe, progress = train.Recipe(config, 1), train.Progress()
    factors = []
    for score in (0.5, 0.6, 0.6, 0.59, 0.6, 0.61, 0.6):
        recipe.watch(progress, score)
        factors.append(progress.plateau_factor)
    assert factors == [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1]


def test_maxout_of_three_pieces(blobs: Path, fit: Fit) -> None:
    found = fit(data=str(blobs), target="kind", activation="maxout", pieces=3, layers=(5,))
    net, plan, _ = train.load_model(found.folder / "model.safetensors")
    assert (plan.pieces, net[0].weight.shape) == (3, (15, 2))


def test_label_smoothing(blobs: Path, fit: Fit) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "epochs": 40, "lr": 0.05}
    found = fit(label_smoothing=0.3, **options)
    floor = -(0.8 * math.log(0.8) + 0.2 * math.log(0.1))  # the entropy of a smoothed label
    assert found.summary["val_loss"] > 0.99 * floor
    with pytest.raises(train.ConfigError) as caught:
        fit(data="plane", label_smoothing=0.1)
    assert str(caught.value) == (
        "label_smoothing: got 0.1 beside loss mse of a regression task, expected loss "
        "cross_entropy; try leaving it out"
    )


def test_rmse_of_a_perfect_fit_has_gradient_zero() -> None:
    loss = objective("regression", train.Config(loss="rmse")).loss
    out = tg.tensor([[1.0], [2.0]], requires_grad=True)
    loss(out, tg.tensor([[1.0], [2.0]])).backward()
    assert out.grad is not None
    assert out.grad.tolist() == [[0.0], [0.0]]
    assert loss(out, tg.tensor([[0.0], [5.0]])).item() == pytest.approx(math.sqrt(5.0))


@pytest.mark.parametrize("name", TOYS)
def test_every_toy(fit: Fit, name: str) -> None:
    found = fit(data=name, layers=(32, 16), lr=0.02, epochs=40, patience=0)
    score = found.summary.get("test_accuracy", found.summary.get("test_r2"))
    assert score > {"spiral": 0.6, "multi-gauss": 0.7}.get(name, 0.85)


# -- a loss of one's own -----------------------------------------------------------------------

OWN = """
import numpy as np

def logcosh(outputs, targets):
    return np.log(np.cosh(outputs - targets)).mean()

def rows(outputs, targets):
    return ((outputs - targets) ** 2).mean(1)

def number(outputs, targets):
    return 1.0

constant = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def test_own_loss(own: str, fit: Fit) -> None:
    found = fit(data="plane", loss=f"{own}:logcosh", layers=(), lr=0.05, epochs=30)
    assert found.summary["test_r2"] > 0.95
    same = train.resume(found.folder)
    assert same.summary["test_loss"] == found.summary["test_loss"]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (
            "rows",
            "got a tensor of shape (32,) for outputs (32, 1) and targets (32, 1), expected a "
            "scalar tensor; try .mean()",
        ),
        (
            "number",
            "got float for outputs (32, 1) and targets (32, 1), expected a scalar tensor; "
            "try NumPy's functions on the outputs",
        ),
        (
            "logcos",
            "got no such function in {own}, expected a function of outputs and targets; "
            "try '{own}:logcosh'",
        ),
        (
            "constant",
            "got int in {own}, expected a function of outputs and targets; "
            "try def constant(outputs, targets)",
        ),
    ],
)
def test_own_loss_refused(own: str, fit: Fit, tmp_path: Path, function: str, said: str) -> None:
    with pytest.raises(train.ConfigError) as caught:
        fit(data="plane", loss=f"{own}:{function}")
    assert str(caught.value) == f"loss {own}:{function}: " + said.format(own=own)
    assert not (tmp_path / "run1").exists()


def test_own_loss_without_its_module(tmp_path: Path, fit: Fit, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(train.ConfigError) as caught:
        fit(data="plane", loss="nowhere.mine:f")
    assert str(caught.value) == (
        f"loss nowhere.mine:f: got no module 'nowhere.mine' in {tmp_path}, expected the file of "
        "the function; try the folder that holds nowhere/mine.py"
    )
