"""The flat buckets: what moves parameters out of them, and how they come back."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from place import address, array

import tensorgrad as tg
from tensorgrad import nn, optim


def network() -> Any:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batch(rng: np.random.Generator, dtype: str = "float32") -> Any:
    return tg.asarray(rng.standard_normal((8, 5)).astype(dtype))


def learn(net: Any, opt: Any, x: Any, steps: int = 1) -> None:
    for _ in range(steps):
        opt.zero_grad()
        (net(x) ** 2).sum().backward()
        opt.step()


def weights(net: Any) -> list[Any]:
    return [np.array(p.detach().numpy()) for p in net.parameters()]


def assert_equal(one: list[Any], other: list[Any]) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def homed(opt: Any) -> bool:
    """Every parameter is a view of a bucket, and its gradient goes there."""
    slots = [slot for _, slot, _ in opt._slots()]
    return all(
        slot.param.data is slot.view
        and (slot.param.node is None or slot.param.node.into is slot.buffer)
        for slot in slots
    )


def reference(net: Any, x: Any, steps: int) -> list[Any]:
    """Where a fresh copy of the network gets in so many undisturbed steps."""
    twin = copy.deepcopy(net)
    learn(twin, optim.Adam(twin.parameters(), 0.01), x, steps)
    return weights(twin)


# -- memory --------------------------------------------------------------------------------------


def test_slices_are_aligned_and_written_directly(rng: np.random.Generator) -> None:
    net = network()
    before = weights(net)
    opt = optim.Adam(net.parameters())
    assert homed(opt)
    assert_equal(weights(net), before)
    for p in net.parameters():
        assert address(p.data) % 64 == 0
        assert p.data.flags.forc
    (net(batch(rng)) ** 2).sum().backward()
    for p in net.parameters():
        assert p.grad is not None
        assert p.grad.data is p.node.into


def test_layouts_and_shapes(rng: np.random.Generator) -> None:
    odd = [
        nn.Parameter(np.float64(2.0)),
        nn.Parameter(rng.standard_normal((4, 3)).T),
        nn.Parameter(np.zeros((0, 3))),
        nn.Parameter(rng.standard_normal((3, 4))[::2, ::-1]),
        nn.Parameter(np.broadcast_to(1.5, (2, 2))),
        nn.Parameter(np.ones(3, np.float32)),
    ]
    before = [np.array(p.detach().numpy()) for p in odd]
    opt = optim.SGD(odd, lr=1.0)
    assert_equal([p.detach().numpy() for p in odd], before)
    for p in odd:
        (p * 2).sum().backward()
    opt.step()
    for p, start in zip(odd, before):
        assert np.array_equal(p.detach().numpy(), start - 2)
        assert p.shape == start.shape
        assert p.dtype == start.dtype


def test_memory_is_flat_and_needs_no_collector(rng: np.random.Generator) -> None:
    import gc

    net = network()
    opt = optim.Adam(net.parameters())
    x = batch(rng)
    learn(net, opt, x, 3)
    gc.collect()
    gc.disable()
    try:
        learn(net, opt, x, 1)
        count = len(gc.get_objects())
        learn(net, opt, x, 50)
        assert len(gc.get_objects()) - count < 20
        assert gc.collect() == 0
    finally:
        gc.enable()


# -- what disturbs a bucket ------------------------------------------------------------------------


def test_assigning_data(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    want = reference(net, x, 3)
    opt = optim.Adam(net.parameters(), 0.01)
    learn(net, opt, x)
    net[0].weight.data = net[0].weight.data.copy()
    learn(net, opt, x)
    assert homed(opt)
    opt.zero_grad()
    (net(x) ** 2).sum().backward()
    net[0].bias.data = net[0].bias.data + 0  # between backward and step
    opt.step()
    assert homed(opt)
    assert_equal(weights(net), want)


def test_assigning_another_shape_raises(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.Adam(net.parameters())
    learn(net, opt, x)
    net[2].bias.data = array(np.zeros(2, np.float32))
    with pytest.raises(tg.ShapeError, match="try a new optimizer"):
        opt.step()


def test_loading_a_state_dict_keeps_the_bucket(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    state = {name: np.array(value.numpy()) for name, value in net.state_dict().items()}
    opt = optim.SGD(net.parameters(), 0.01)
    learn(net, opt, x, 2)
    moved = weights(net)
    net.load_state_dict(state)
    assert homed(opt)
    learn(net, opt, x, 2)
    assert_equal(weights(net), moved)


def test_to_rebuilds_and_keeps_the_state(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.Adam(net.parameters(), 0.01)
    learn(net, opt, x, 2)
    old = opt.state_dict()["state"]
    net.to("float64")
    learn(net, opt, x.astype("float64"), 0)
    opt.step()  # the gradients moved with the parameters
    assert homed(opt)
    new = opt.state_dict()["state"]
    assert all(new[k]["exp_avg"].dtype == np.float64 for k in new)
    assert all(new[k]["step"] == old[k]["step"] + 1 for k in new)
    learn(net, opt, x.astype("float64"), 2)
    assert all(p.dtype == np.float64 and p.data is not None for p in net.parameters())
    half = network()
    mixed = optim.Adam(half.parameters())
    half[0].to("float64")
    half[2].bias.grad = tg.ones((3,), dtype="float32")
    mixed.step()
    assert homed(mixed)


def test_a_missing_gradient_is_skipped(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.Adam(net.parameters(), 0.01, weight_decay=0.1)
    learn(net, opt, x)
    before = weights(net)
    opt.zero_grad()
    (net(x) ** 2).sum().backward()
    net[0].bias.grad = None
    net[2].weight.grad = None
    opt.step()
    after = weights(net)
    assert [np.array_equal(a, b) for a, b in zip(before, after)] == [False, True, True, False]
    steps = [held["step"] for held in opt.state_dict()["state"].values()]
    assert steps == [2, 1, 1, 2]
    opt.zero_grad()
    opt.step()
    assert_equal(weights(net), after)


def test_frozen_parameters(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.Adam(net.parameters(), 0.01)
    learn(net, opt, x)
    before = weights(net)
    net[0].requires_grad_(False)
    learn(net, opt, x, 2)
    assert_equal(weights(net)[:2], before[:2])
    net[0].requires_grad_(True)
    learn(net, opt, x, 2)
    assert homed(opt)
    assert not np.array_equal(weights(net)[0], before[0])
    (net(x) ** 2).sum().backward()
    assert net[0].weight.grad.data is net[0].weight.node.into


def test_frozen_from_the_start(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    net[0].requires_grad_(False)
    opt = optim.SGD(net.parameters(), 0.01)
    before = weights(net)
    learn(net, opt, x)
    assert_equal(weights(net)[:2], before[:2])
    assert not np.array_equal(weights(net)[2], before[2])


def test_tied_weights(rng: np.random.Generator) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)
            self.b.weight = self.a.weight

        def forward(self, input: Any) -> Any:
            return self.b(tg.tanh(self.a(input)))

    net, x = Tied(), batch(rng)
    start = weights(net)
    opt = optim.SGD(net.parameters(), 0.01)
    learn(net, opt, x)
    assert net.a.weight is net.b.weight
    w, b, c = start

    def loss(w: Any) -> Any:
        hidden = tg.tanh(tg.linear(x, w, b))
        return (tg.linear(hidden, w, c) ** 2).sum()

    want = w - np.float32(0.01) * tg.grad(loss)(w)
    np.testing.assert_allclose(net.a.weight.detach().numpy(), want, rtol=1e-5, atol=1e-6)


def test_accumulated_hooked_and_given_gradients(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    start = weights(net)
    opt = optim.SGD(net.parameters(), 1.0)

    def gradients() -> list[Any]:
        return [np.array(p.grad.numpy()) for p in net.parameters()]

    (net(x) ** 2).sum().backward()
    once = gradients()
    (net(x) ** 2).sum().backward()
    np.testing.assert_allclose(gradients()[0], 2 * once[0], rtol=1e-6)
    opt.zero_grad()
    remove = net[0].bias.register_hook(lambda g: g * 3)
    (net(x) ** 2).sum().backward()
    np.testing.assert_allclose(gradients()[1], 3 * once[1], rtol=1e-6)
    remove()
    opt.zero_grad()
    for p in net.parameters():
        p.grad = tg.ones(p.shape, dtype=p.dtype)
    opt.step()
    np.testing.assert_allclose(weights(net)[0], start[0] - 1, rtol=1e-6)


def test_backward_adds_to_a_gradient_that_was_given() -> None:
    w = nn.Parameter([1.0, 2.0])
    optim.SGD([w], 0.1)
    w.grad = tg.ones((2,), dtype="float32")
    (w * 3).sum().backward()
    assert w.grad.tolist() == [4.0, 4.0]


def test_who_holds_a_gradient_keeps_it(rng: np.random.Generator) -> None:
    net = network()
    opt = optim.SGD(net.parameters(), 0.1)

    def backward() -> None:
        opt.zero_grad()
        (net(batch(rng)) ** 2).sum().backward()

    takers: list[Any] = [
        lambda p: p.grad,
        lambda p: p.grad.numpy(),
        lambda p: p.grad.numpy()[1:],
        lambda p: p.grad.detach(),
    ]
    for take in takers:
        backward()
        held = take(net[0].weight)
        before = np.array(held)
        backward()
        assert np.array_equal(np.asarray(held), before)
        assert not np.array_equal(np.asarray(take(net[0].weight)), before)
        del held
    backward()
    product = (net[0].weight * net[0].weight.grad).sum()  # the graph saves the gradient
    before = np.array(net[0].weight.grad.numpy())
    backward()
    opt.zero_grad()
    product.backward()
    assert np.array_equal(net[0].weight.grad.numpy(), before)
    opt.zero_grad()
    bucket = address(net[0].weight.node.into)
    backward()
    backward()
    assert address(net[0].weight.grad.data) == bucket  # held by nobody: the bucket stays


def test_create_graph_then_step(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    want = reference(net, x, 1)
    opt = optim.Adam(net.parameters(), 0.01)
    (net(x) ** 2).sum().backward(create_graph=True)
    assert net[0].weight.grad.requires_grad
    opt.step()
    for got, wanted in zip(weights(net), want):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    opt.zero_grad()


def test_a_gradient_inside_jvp_is_refused() -> None:
    w = nn.Parameter(np.ones(2))
    opt = optim.SGD([w], 0.1)

    def inside(x: Any) -> Any:
        w.grad = x * 2
        opt.step()
        return x

    with pytest.raises(tg.GradientError, match="inside jvp or vmap"):
        tg.jvp(inside, (np.ones(2),), (np.ones(2),))


def test_two_optimizers_on_one_parameter(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    start = weights(net)
    one, two = optim.SGD(net.parameters(), 0.5), optim.SGD(net.parameters(), 0.25)
    (net(x) ** 2).sum().backward()
    gradient = [np.array(p.grad.numpy()) for p in net.parameters()]
    one.step()
    two.step()
    for got, w, g in zip(weights(net), start, gradient):
        np.testing.assert_allclose(got, w - 0.75 * g, rtol=1e-5, atol=1e-5)


def test_a_step_between_forward_and_backward_is_noticed(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.SGD(net.parameters(), 0.1)
    loss = (net(x) ** 2).sum()
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(tg.InPlaceError, match="overwritten"):
        loss.backward()


# -- state ---------------------------------------------------------------------------------------

ALL: dict[str, Any] = {
    "SGD": lambda p: optim.SGD(p, 0.01),
    "SGD nesterov": lambda p: optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "Momentum": lambda p: optim.Momentum(p, 0.01, dampening=0.5),
    "NAG": lambda p: optim.NAG(p, 0.01),
    "ASGD": lambda p: optim.ASGD(p, lambd=0.1, t0=1),
    "Adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1, initial_accumulator_value=0.5),
    "RMSprop": lambda p: optim.RMSprop(p, momentum=0.9, centered=True),
    "Adadelta": lambda p: optim.Adadelta(p),
    "Adam": lambda p: optim.Adam(p, 0.01),
    "AdamW amsgrad": lambda p: optim.AdamW(p, 0.01, amsgrad=True),
    "Adamax": lambda p: optim.Adamax(p),
    "NAdam": lambda p: optim.NAdam(p),
    "RAdam": lambda p: optim.RAdam(p, betas=(0.9, 0.8)),
    "Rprop": lambda p: optim.Rprop(p),
    "Lion": lambda p: optim.Lion(p),
    "LARS": lambda p: optim.LARS(p),
    "LAMB": lambda p: optim.LAMB(p),
    "Adafactor": lambda p: optim.Adafactor(p),
    "Muon": lambda p: optim.Muon([x for x in p if x.ndim == 2]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_resuming_bit_for_bit(name: str, dtype: str, rng: np.random.Generator) -> None:
    net, x = network().to(dtype), batch(rng).astype(dtype)
    opt = ALL[name](net.parameters())
    learn(net, opt, x, 3)
    model = {key: value.detach().to(device="cpu") * 1 for key, value in net.state_dict().items()}
    state = pickle.loads(pickle.dumps(opt.state_dict()))
    learn(net, opt, x, 3)
    again = network().to(dtype)
    again.load_state_dict(model)
    resumed = ALL[name](again.parameters())
    resumed.load_state_dict(state)
    learn(again, resumed, x, 3)
    assert_equal(weights(net), weights(again))
    for number, one in opt.state_dict()["state"].items():
        other = resumed.state_dict()["state"][number]
        assert all(np.array_equal(np.asarray(one[k]), np.asarray(other[k])) for k in one)


@pytest.mark.parametrize("name", ["SGD nesterov", "RMSprop", "AdamW amsgrad", "Adafactor", "LAMB"])
def test_a_state_brings_its_settings(name: str, rng: np.random.Generator) -> None:
    """Loaded into an optimizer of other settings, which keeps other states."""
    net, x = network(), batch(rng)
    opt = ALL[name](net.parameters())
    learn(net, opt, x, 3)
    twin = copy.deepcopy(net)
    plain = type(opt)(twin.parameters())
    learn(twin, plain, x)
    twin.load_state_dict(net.state_dict())
    plain.load_state_dict(opt.state_dict())
    learn(net, opt, x, 2)
    learn(twin, plain, x, 2)
    assert_equal(weights(net), weights(twin))


@pytest.mark.parametrize("name", ALL)
def test_a_cast_keeps_the_state(name: str, rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = ALL[name](net.parameters())
    learn(net, opt, x, 2)
    before = opt.state_dict()["state"][0]
    net.to("float64")
    opt.zero_grad()
    opt.step()  # nothing to update, but the buckets are built anew
    after = opt.state_dict()["state"][0]
    assert after.keys() == before.keys()
    for key in before.keys() - {"step"}:
        assert after[key].dtype == "float64"
        assert np.array_equal(after[key].numpy(), before[key].numpy())


def test_momentum_that_comes_later(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    twin = copy.deepcopy(net)
    a, b = optim.SGD(net.parameters(), 0.01), optim.SGD(twin.parameters(), 0.01)
    learn(net, a, x, 2)
    learn(twin, b, x, 2)
    a.param_groups[0]["momentum"] = 0.9
    late = optim.Momentum(twin.parameters(), 0.01, 0.9)
    learn(net, a, x, 3)
    learn(twin, late, x, 3)
    assert_equal(weights(net), weights(twin))


def test_state_dict_is_pytorchs_and_a_copy(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.Adam([{"params": net[0].parameters(), "lr": 0.1}, {"params": [net[2].weight]}])
    assert opt.state_dict()["state"] == {}
    learn(net, opt, x)
    state = opt.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2]]
    assert [group["lr"] for group in state["param_groups"]] == [0.1, 1e-3]
    assert set(state["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    before = np.array(state["state"][0]["exp_avg"].numpy())
    learn(net, opt, x)
    assert np.array_equal(state["state"][0]["exp_avg"].numpy(), before)
    torch = pytest.importorskip("torch")
    twin = torch.optim.Adam([torch.ones(7, 5, requires_grad=True)])
    assert {"state", "param_groups"} == set(twin.state_dict())


def test_a_state_that_does_not_fit_changes_nothing(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.Adam(net.parameters(), 0.01)
    learn(net, opt, x)
    good = opt.state_dict()
    learn(net, opt, x)
    now = opt.state_dict()["state"][0]["exp_avg"].numpy()
    with pytest.raises(ValueError, match=r"groups with \[2\] parameters, expected \[4\]"):
        opt.load_state_dict(optim.Adam(net[0].parameters()).state_dict())
    bad = copy.deepcopy(good)
    bad["state"][3]["exp_avg"] = tg.zeros((2,))
    with pytest.raises(ValueError, match=r"got exp_avg of shape \(2,\) for parameter 3"):
        opt.load_state_dict(bad)
    del bad["state"][3]["exp_avg"]
    with pytest.raises(ValueError, match="try the class that saved it"):
        opt.load_state_dict(bad)
    assert np.array_equal(opt.state_dict()["state"][0]["exp_avg"].numpy(), now)


def test_copied_and_pickled_with_the_model(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    opt = optim.Adam(net.parameters(), 0.01)
    learn(net, opt, x, 2)
    pairs = [copy.deepcopy((net, opt)), pickle.loads(pickle.dumps((net, opt)))]
    learn(net, opt, x, 2)
    for twin, other in pairs:
        assert homed(other)
        learn(twin, other, x, 2)
        assert_equal(weights(twin), weights(net))


# -- groups and errors -----------------------------------------------------------------------------


def test_groups(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    start = weights(net)
    opt = optim.SGD([{"params": net[0].parameters(), "lr": 0.0}, {"params": net[2].weight}], 0.1)
    opt.add_param_group({"params": [net[2].bias], "lr": 0.2, "name": "head"})
    (net(x) ** 2).sum().backward()
    gradient = [np.array(p.grad.numpy()) for p in net.parameters()]
    opt.step()
    for got, w, g, lr in zip(weights(net), start, gradient, (0, 0, 0.1, 0.2)):
        np.testing.assert_allclose(got, w - np.float32(lr) * g, rtol=1e-5, atol=1e-6)
    opt.param_groups[1]["lr"] = 0.0
    opt.param_groups[2]["lr"] = 0.0
    before = weights(net)
    opt.step()
    assert_equal(weights(net), before)
    assert "lr: 0.0" in repr(opt)


def test_closure() -> None:
    w = nn.Parameter([1.0])
    opt = optim.SGD([w], 0.5)

    def closure() -> Any:
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 1.0
    assert w.tolist() == [0.0]


def test_nan_gradients_pass_silently() -> None:
    w = nn.Parameter([1.0, 2.0])
    opt = optim.Adam([w])
    w.grad = tg.tensor([np.nan, 0.0], dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opt.step()
    assert np.isnan(w.tolist()[0])
    assert w.tolist()[1] == 2.0


def test_errors() -> None:
    net = network()
    w = nn.Parameter([1.0])
    with pytest.raises(ValueError, match="got no parameters"):
        optim.Adam([])
    with pytest.raises(ValueError, match="a parameter of shape"):
        optim.Adam([w, w])
    with pytest.raises(ValueError, match="twice"):
        optim.Adam([{"params": [w]}, {"params": [w]}])
    with pytest.raises(TypeError, match=r"got a module.*model.parameters\(\)"):
        optim.Adam(net)
    with pytest.raises(TypeError, match=r"try \[param\]"):
        optim.Adam(w)
    with pytest.raises(TypeError, match="got float, expected parameters"):
        optim.Adam([1.0])
    with pytest.raises(tg.GradientError, match="no floating leaf"):
        optim.Adam([w * 2])
    with pytest.raises(tg.GradientError, match="no floating leaf"):
        optim.Adam([tg.tensor([1, 2])])
    with pytest.raises(ValueError, match="without params"):
        optim.Adam([{"params": []}])
    with pytest.raises(ValueError, match="got a group with 'rate'"):
        optim.Adam([{"params": [w], "rate": 1}])
    base = tg.ones((3, 3))
    with pytest.raises(ValueError, match="share memory"):
        optim.Adam([nn.Parameter(base), nn.Parameter(base.T)])
    optim.Adam([nn.Parameter(base[:, 0]), nn.Parameter(base[:, 1])])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: optim.SGD(p, None), "SGD: got lr=None, expected a number; try lr=0.1"),
        (lambda p: optim.SGD(p, [0.1]), r"SGD: got lr=\[0.1\], expected a number"),
        (lambda p: optim.Adam(p, betas=0.9), r"Adam: got betas=0.9, expected two numbers; try be"),
        (lambda p: optim.LAMB(p, betas=(0.9,)), r"LAMB: got betas=\(0.9,\), expected two numbers"),
        (lambda p: optim.Adafactor(p, eps=1e-3), "Adafactor: got eps=0.001, expected two numbers"),
    ],
)
def test_settings_that_are_no_numbers(make: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        make([nn.Parameter([1.0])])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: optim.SGD(p, -1.0), r"SGD: got lr=-1.0, expected lr >= 0"),
        (lambda p: optim.SGD(p, float("nan")), "got lr=nan"),
        (lambda p: optim.SGD(p, 1.0, weight_decay=-1), "weight_decay >= 0"),
        (lambda p: optim.Momentum(p, 1.0, -0.1), "momentum >= 0"),
        (lambda p: optim.NAG(p, 1.0, -0.1), "momentum >= 0"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), "0 <= beta1 < 1"),
        (lambda p: optim.Adam(p, betas=(0.9, -1)), "0 <= beta2 < 1"),
        (lambda p: optim.AdamW(p, eps=-1), "AdamW: got eps=-1"),
        (lambda p: optim.SGD(p, nesterov=True), "SGD: got nesterov=True with momentum=0.0"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "dampening=0.1"),
        (lambda p: optim.ASGD(p, lambd=-1), "ASGD: got lambd=-1"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), "Adagrad: got lr_decay=-1"),
        (lambda p: optim.RMSprop(p, alpha=-1), "RMSprop: got alpha=-1"),
        (lambda p: optim.Adadelta(p, rho=1.5), "Adadelta: got rho=1.5, expected 0 <= rho < 1"),
        (lambda p: optim.Adamax(p, betas=(0.9, 2)), "Adamax: got beta2=2"),
        (lambda p: optim.NAdam(p, momentum_decay=-1), "NAdam: got momentum_decay=-1"),
        (lambda p: optim.RAdam(p, lr=-1), "RAdam: got lr=-1"),
        (lambda p: optim.Rprop(p, etas=(1.2, 0.5)), r"Rprop: got etas=\(1.2, 0.5\), expected 0 <"),
        (lambda p: optim.Rprop(p, step_sizes=(2, 1)), r"step_sizes=\(2, 1\), expected the least"),
        (lambda p: optim.Lion(p, betas=(-1, 0.9)), "Lion: got beta1=-1"),
        (lambda p: optim.LARS(p, trust_coefficient=-1), "LARS: got trust_coefficient=-1"),
        (lambda p: optim.LAMB(p, weight_decay=-1), "LAMB: got weight_decay=-1"),
        (lambda p: optim.Adafactor(p, d=0.5), "Adafactor: got d=0.5, expected d >= 1"),
        (lambda p: optim.Adafactor(p, beta2_decay=0.5), "beta2_decay=0.5, expected beta2_decay <="),
    ],
)
def test_bad_hyper_parameters(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make([nn.Parameter([1.0])])
