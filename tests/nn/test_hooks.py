"""Module hooks, held to PyTorch's: arguments, order, what a result replaces."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from place import array, here

import tensorgrad as tg
from tensorgrad import nn

torch = pytest.importorskip("torch")


def ours(value: Any) -> Any:
    return tg.asarray(array(value))


def flat(value: Any) -> Any:
    """What a hook saw, as NumPy: tensors of either library, tuples, None."""
    if isinstance(value, tuple):
        return tuple([flat(v) for v in value])
    if isinstance(value, dict):
        return {k: flat(v) for k, v in value.items()}
    if isinstance(value, torch.Tensor):
        return value.detach().numpy().copy()
    return here(value).copy() if isinstance(value, tg.Tensor) else value


def same(a: Any, b: Any) -> None:
    if isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            same(a[k], b[k])
    elif a is None or isinstance(a, str):
        assert a == b
    else:
        # Float32 sums of terms up to 50, which may cancel.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def both(make: Any, rng: np.random.Generator) -> list[tuple[Any, Any, Any]]:
    """(library, module, to tensor) twice, with equal weights."""
    mine, theirs = make(nn, tg), make(torch.nn, torch)
    for name, p in theirs.named_parameters():
        values = rng.standard_normal(tuple(p.shape)).astype("f4")
        with torch.no_grad():
            p.copy_(torch.from_numpy(values))
        mine.load_state_dict({name: values}, strict=False)
    return [(tg, mine, ours), (torch, theirs, torch.from_numpy)]


THEIR_WARNING = pytest.mark.filterwarnings("ignore:Full backward hook is firing")


def two_in_two_out(lib: Any, names: Any) -> Any:
    class Net(lib.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lin = lib.Linear(3, 2)

        def forward(self, a: Any, label: Any, b: Any, scale: float = 1.0) -> Any:
            if label == "fail":
                raise KeyError(label)
            return self.lin(a) * scale, label, (b * b)

    return Net()


def recorder(log: list[Any], name: str, result: Any = None) -> Any:
    """A hook that writes down what it got after the module."""

    def hook(module: Any, *given: Any) -> Any:
        log.append((name, type(module).__name__, *[flat(g) for g in given]))
        return result(*given) if result else None

    return hook


def test_backward_hooks(rng: np.random.Generator) -> None:
    x, b = rng.standard_normal((4, 3)).astype("f4"), rng.standard_normal(5).astype("f4")
    seen, grads = [], []
    for _, net, tensor in both(two_in_two_out, rng):
        log: list[Any] = []
        net.register_full_backward_hook(recorder(log, "first"))
        net.register_full_backward_hook(
            recorder(log, "doubled", lambda i, o: (i[0] * 2, None, i[2] * 3))
        )
        net.register_full_backward_hook(recorder(log, "before the others"), prepend=True)
        net.register_full_backward_pre_hook(recorder(log, "pre"))
        net.register_full_backward_pre_hook(
            recorder(log, "halved", lambda o: (o[0] / 2, None, o[2]))
        )
        one, two = tensor(x), tensor(b)
        one.requires_grad = two.requires_grad = True
        y, _, z = net(one, "a", two)
        (y.sum() + (z * z).sum()).backward()
        seen.append(log)
        grads.append(tuple(map(flat, (one.grad, two.grad, net.lin.weight.grad))))
    assert [entry[0] for entry in seen[0]] == [
        "pre", "halved", "before the others", "first", "doubled"
    ]  # fmt: skip
    for mine, theirs in zip(*seen):
        same(mine, theirs)
    same(*grads)


@THEIR_WARNING
@pytest.mark.parametrize("case", ["one", "none", "half"])
def test_backward_hooks_where_little_is_recorded(case: str, rng: np.random.Generator) -> None:
    x, b = rng.standard_normal((4, 3)).astype("f4"), rng.standard_normal(5).astype("f4")
    seen = []
    for lib, net, tensor in both(two_in_two_out, rng):
        log: list[Any] = []
        net.register_full_backward_hook(recorder(log, "hook"))
        net.register_full_backward_pre_hook(recorder(log, "pre"))
        one, two = tensor(x), tensor(b)
        one.requires_grad = case == "one"
        two.requires_grad = case == "half"
        y, _, z = net(one, "a", two)
        (y.sum() if case != "half" else z.sum()).backward()
        with lib.no_grad():
            net(one, "a", two)
        seen.append(log)
    assert len(seen[0]) == len(seen[1]) == 2
    for mine, theirs in zip(*seen):
        same(mine, theirs)


def test_backward_hooks_in_a_network_twice_and_removed(rng: np.random.Generator) -> None:
    def make(lib: Any, names: Any) -> Any:
        return lib.Sequential(lib.Linear(3, 4), lib.ReLU(), lib.Linear(4, 2), lib.Tanh())

    x = rng.standard_normal((5, 3)).astype("f4")
    seen = []
    for _, net, tensor in both(make, rng):
        log: list[Any] = []
        handles = [m.register_full_backward_hook(recorder(log, str(k))) for k, m in enumerate(net)]
        one = tensor(x)
        one.requires_grad = True
        (net(one) ** 2).sum().backward()
        (net(one) + net(one * 2)).sum().backward()
        handles[1].remove()
        handles[1].remove()
        with handles[0]:
            net(one).sum().backward()
        net(one).sum().backward()
        seen.append(log)
    assert [entry[0] for entry in seen[0]] == [entry[0] for entry in seen[1]]
    for mine, theirs in zip(*seen):
        same(mine, theirs)


def test_backward_hooks_at_second_order_and_under_transforms(rng: np.random.Generator) -> None:
    layer, calls = nn.Linear(3, 2), []
    layer.register_full_backward_hook(lambda m, i, o: calls.append(1))
    x = rng.standard_normal((4, 3)).astype("f4")
    total = lambda x: (tg.tanh(layer(tg.asarray(x))) ** 2).sum()  # noqa: E731
    with_hook = [tg.grad(total)(x), tg.hvp(total, x, x), tg.vmap(tg.grad(total))(x)]
    tg.grad(lambda x: (tg.grad(total)(x) ** 2).sum())(x)
    assert calls
    calls.clear()
    tg.jvp(total, (x,), (x,))
    tg.vmap(total)(x)
    assert not calls
    again = tg.grad(tg.checkpoint(total))(x)
    assert len(calls) == 1
    layer._hooks = None
    for found, want in zip(
        (*with_hook, again), (tg.grad(total)(x), tg.hvp(total, x, x), tg.vmap(tg.grad(total))(x),
                              tg.grad(total)(x)),
    ):  # fmt: skip
        np.testing.assert_allclose(here(found), here(want), rtol=1e-6, atol=1e-6)


def test_what_a_backward_hook_returns_is_checked(rng: np.random.Generator) -> None:
    x = ours(rng.standard_normal((4, 3)).astype("f4"))
    layer = nn.Linear(3, 2)
    for register, returned, match in [
        ("register_full_backward_hook", (None, None), "backward hook: got 2 gradients, expected 1"),
        ("register_full_backward_pre_hook", (), "pre-hook: got 0 gradients, expected 1"),
        ("register_full_backward_hook", (x[:1],), "expected None, or a cotangent of the same"),
    ]:
        given = x * 1.0
        given.requires_grad = True
        with getattr(layer, register)(lambda *a, r=returned: r):
            y = layer(given).sum()
            with pytest.raises(tg.GradientError, match=match):
                y.backward()
    with layer.register_full_backward_hook(lambda m, i, o: (x,)):
        y = layer(x).sum()
        with pytest.raises(tg.GradientError, match="none of whose inputs requires one"):
            y.backward()


# -- around forward ------------------------------------------------------------------------------


def test_forward_hooks(rng: np.random.Generator) -> None:
    x, b = rng.standard_normal((4, 3)).astype("f4"), rng.standard_normal(5).astype("f4")
    seen, out = [], []
    for _, net, tensor in both(two_in_two_out, rng):
        log: list[Any] = []
        net.register_forward_pre_hook(recorder(log, "pre"))
        net.register_forward_pre_hook(
            recorder(log, "with", lambda a, k: ((a[0] * 2, *a[1:]), {"scale": 3.0})),
            with_kwargs=True,
        )
        net.register_forward_pre_hook(
            recorder(log, "first", lambda a: (a[0] + 1, *a[1:])), prepend=True
        )
        net.register_forward_hook(recorder(log, "post", lambda a, o: (o[0] * 2, *o[1:])))
        net.register_forward_hook(recorder(log, "kwargs"), with_kwargs=True)
        net.register_forward_hook(recorder(log, "always"), always_call=True, prepend=True)
        out.append(flat(net(tensor(x), "a", tensor(b), scale=2.0)))
        with pytest.raises(KeyError):
            net(tensor(x), "fail", tensor(b))
        seen.append(log)
    assert len(seen[0]) == 6 + 4
    for mine, theirs in zip(*seen):
        same(mine, theirs)
    same(*out)


def test_hooks_that_fail(rng: np.random.Generator) -> None:
    layer = nn.Identity()
    calls: list[str] = []

    def failing(module: Any, args: Any, output: Any) -> None:
        calls.append("failing")
        raise ValueError("first")

    def always(module: Any, args: Any, output: Any) -> None:
        calls.append("always")
        raise ValueError("second")

    layer.register_forward_hook(failing)
    layer.register_forward_hook(always, always_call=True)
    with pytest.warns(UserWarning, match="second"), pytest.raises(ValueError, match="first"):
        layer(1)
    assert calls == ["failing", "always"]
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda m, a, k: a, with_kwargs=True)
    with pytest.raises(TypeError, match=r"expected None or a tuple \(args, kwargs\)"):
        layer(1)


def test_a_joined_layer_is_taken_apart_for_its_hooks(rng: np.random.Generator) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    x = ours(rng.standard_normal((5, 3)).astype("f4"))
    x.requires_grad = True
    for module in net:
        for register in ("register_forward_hook", "register_full_backward_hook"):
            seen: list[Any] = []
            with getattr(module, register)(lambda m, i, o, s=seen: s.append(o)):
                net(x).sum().backward()
            assert len(seen) == 1


# -- around the state ----------------------------------------------------------------------------


def nested(lib: Any, names: Any) -> Any:
    class Net(lib.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = lib.Linear(2, 2)
            self.outer = lib.Linear(2, 1, bias=False)

    return Net()


def test_state_dict_hooks(rng: np.random.Generator) -> None:
    seen, names = [], []
    for _, net, _ in both(nested, rng):
        log: list[Any] = []
        net.register_state_dict_pre_hook(recorder(log, "pre"))
        net.inner.register_state_dict_pre_hook(recorder(log, "pre inner"))

        def rename(module: Any, state: Any, prefix: str, meta: Any) -> None:
            state[prefix + "w"] = state.pop(prefix + "weight")

        handle = net.inner.register_state_dict_post_hook(rename)
        net.register_state_dict_post_hook(lambda m, s, p, meta, to=log: to.append(tuple(s)))
        names.append(list(net.state_dict()))
        handle.remove()
        names.append(list(net.state_dict(prefix="x.")))
        seen.append(log)
    assert names[:2] == names[2:]
    assert names[0] == ["inner.bias", "inner.w", "outer.weight"]
    assert [str(e).replace("False", "f") for e in seen[0]] == [
        str(e).replace("False", "f") for e in seen[1]
    ]
    broken = nn.Linear(1, 1)
    broken.register_state_dict_post_hook(lambda *given: given)
    with pytest.raises(TypeError, match="expected None"):
        broken.state_dict()


def test_loading_hooks(rng: np.random.Generator) -> None:
    values = {"inner.w": rng.standard_normal((2, 2)).astype("f4"),
              "inner.bias": rng.standard_normal(2).astype("f4"),
              "outer.weight": rng.standard_normal((1, 2)).astype("f4")}  # fmt: skip
    seen, weights = [], []
    for _, net, tensor in both(nested, rng):
        log: list[Any] = []

        def rename(m: Any, state: Any, prefix: str, meta: Any, strict: bool, *lists: Any) -> None:
            assert prefix == "inner."
            state[prefix + "weight"] = state.pop(prefix + "w")

        net.inner.register_load_state_dict_pre_hook(rename)
        net.inner.register_load_state_dict_post_hook(
            lambda m, keys, to=log: to.append(("inner", list(keys.missing_keys)))
        )
        net.register_load_state_dict_post_hook(
            lambda m, keys, to=log: to.append(("net", list(keys.unexpected_keys)))
        )
        given = {name: tensor(v) for name, v in values.items()}
        net.load_state_dict(given)
        weights.append(flat(net.inner.weight))
        assert "inner.w" in given
        report = net.load_state_dict(given | {"new": tensor(values["inner.bias"])}, strict=False)
        log.append(list(report.unexpected_keys))
        net.register_load_state_dict_post_hook(lambda m, keys: keys.unexpected_keys.clear())
        net.load_state_dict(given | {"new": tensor(values["inner.bias"])})
        seen.append(log)
    assert seen[0] == seen[1]
    same(*weights)


def test_loading_hooks_report_with_the_rest(rng: np.random.Generator) -> None:
    net = nn.Linear(2, 2)
    before = flat(net.weight).copy()

    def hook(m: Any, state: Any, prefix: Any, meta: Any, strict: Any, missing: Any,
             unexpected: Any, errors: Any) -> None:  # fmt: skip
        assert strict
        missing.append("gone")
        errors.append("an old format")

    net.register_load_state_dict_pre_hook(hook)
    with pytest.raises(tg.ShapeError, match="missing: gone\n  refused: an old format"):
        net.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.zeros(2)})
    np.testing.assert_array_equal(flat(net.weight), before)
    net = nn.Linear(2, 2)
    net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    net.load_state_dict({"weight": np.zeros((2, 2))})
    net.register_load_state_dict_post_hook(lambda m, keys: 1)
    with pytest.raises(TypeError, match="expected None"):
        net.load_state_dict({"weight": np.zeros((2, 2))})


def counted(module: Any, args: Any, output: Any) -> Any:
    return output + 1


def test_hooks_are_copied_and_pickled_with_their_module() -> None:
    net = nn.Sequential(nn.Identity())
    net[0].register_forward_hook(counted)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin(1) == 2
        twin[0].register_forward_hook(counted)
        assert twin(1) == 3
        assert net(1) == 2
