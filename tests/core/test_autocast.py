"""Mixed precision: what is cast, what is recorded, and what becomes of it in the transforms."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.core.autocast import CASTS, HIGH, LOW, POLICY, current
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.core.watch import EVERY

F = nn.functional
Draw = np.random.Generator


def narrow(rng: Draw, *shape: int, dtype: str = "float32") -> tg.Tensor:
    return tg.tensor(rng.standard_normal(shape)).astype(dtype)


def within_one(rng: Draw, *shape: int) -> tg.Tensor:
    """Values whose derivatives are bounded, so that the error of rounding them is."""
    return tg.tensor(rng.uniform(-1, 1, shape)).astype("float32")


# -- the lists ---------------------------------------------------------------------------------


def test_the_lists_name_primitives() -> None:
    for namespace in tg.ops.NAMESPACES:
        getattr(tg, namespace)
    x, y = tg.ones((2, 3, 4)), tg.ones((2, 3, 4))
    tg.layer_norm(x, 4), tg.rms_norm(x, 4), F.batch_norm(x, None, None, training=True)
    F.batch_norm(x, tg.zeros(3), tg.ones(3)), F.normalize(x), F.pairwise_distance(x, y)
    F.cosine_similarity(x, y), F.cosine_embedding_loss(x[0], y[0], tg.ones(3))
    F.triplet_margin_loss(x, y, y), F.huber_loss(x, y), F.smooth_l1_loss(x, y)
    made = {*PRIMITIVES, *[op.name for op in EVERY]}
    assert not [name for name in POLICY if name not in made]
    assert len(POLICY) == len(LOW.split()) + len(HIGH.split())


def by_result(rng: Draw) -> dict[str, dict[str, Callable[[], Any]]]:
    """Calls by the dtype that they give in bfloat16."""
    m, q, image = narrow(rng, 4, 4), narrow(rng, 2, 3, 4, 4), narrow(rng, 2, 3, 5, 5)
    low, labels = m.astype("bfloat16"), tg.tensor([0, 1, 2, 3])
    positive = tg.absolute(low) + 1
    return {
        "bfloat16": {
            "matmul": lambda: m @ m,
            "np.matmul": lambda: np.matmul(m, m),
            "np.dot": lambda: np.dot(m, m),
            "tensordot": lambda: np.tensordot(m, m),
            "einsum": lambda: np.einsum("ij,kj->ik", m, m),
            "linear": lambda: tg.linear(m, m, m[0]),
            "linear without bias": lambda: tg.linear(m, m),
            "linear_relu": lambda: tg.linear_relu(m, m, m[0]),
            "linear_gelu": lambda: tg.linear_gelu(m, m, m[0]),
            "conv1d": lambda: F.conv1d(image[0], image[0, :, :, :2]),
            "conv2d": lambda: F.conv2d(image, image[:, :, :2, :2]),
            "conv_transpose2d": (
                lambda: F.conv_transpose2d(image, image[:1, :, :2, :2][:, :3].swapaxes(0, 1))
            ),
            "attention": lambda: F.scaled_dot_product_attention(q, q, q),
            "attention of two": (
                lambda: F.scaled_dot_product_attention(q, q, q.astype("bfloat16"))
            ),
            "attention with mask": lambda: F.scaled_dot_product_attention(q, q, q, attn_mask=m),
            "lstm": lambda: nn.LSTM(4, 3)(image[0, :, :, :4])[0],
            "gru": lambda: nn.GRU(4, 3)(image[0, :, :, :4].astype("bfloat16"))[0],
            "rnn": lambda: nn.RNN(4, 3)(image[0, :, :, :4])[0],
            "gru cell": lambda: nn.GRUCell(4, 3)(m),
            "relu": lambda: tg.relu(low),
            "gelu": lambda: tg.gelu(low),
            "tanh": lambda: np.tanh(low),
            "add": lambda: low + low,
            "concatenate": lambda: np.concatenate([low, low]),
            "max": lambda: low.max(),
            "mean": lambda: low.mean(),
        },
        "float32": {
            "exp": lambda: np.exp(low),
            "log": lambda: np.log(positive),
            "power": lambda: positive**1.5,
            "square": lambda: low**2,
            "reciprocal": lambda: np.reciprocal(positive),
            "sum": lambda: low.sum(),
            "cumsum": lambda: np.cumsum(low),
            "prod": lambda: np.prod(low),
            "softmax": lambda: tg.softmax(low),
            "log_softmax": lambda: tg.log_softmax(low),
            "logsumexp": lambda: tg.logsumexp(low),
            "norm": lambda: np.linalg.norm(low),
            "layer_norm": lambda: tg.layer_norm(low, 4, m[0], m[1]),
            "rms_norm": lambda: tg.rms_norm(low, 4),
            "group_norm": lambda: F.group_norm(low, 2),
            "batch_norm": lambda: nn.BatchNorm1d(4)(low),
            "cross_entropy": lambda: F.cross_entropy(low, labels),
            "mse_loss": lambda: F.mse_loss(low, m),
            "l1_loss": lambda: F.l1_loss(low, low),
            "kl_div": lambda: F.kl_div(low, positive),
            "bce": lambda: F.binary_cross_entropy_with_logits(low, tg.sigmoid(low)),
            "softplus": lambda: F.softplus(low),
            "inv": lambda: np.linalg.inv(low + 4 * tg.eye(4, dtype="bfloat16")),
            "fft": lambda: np.fft.fft(low).real,
            "add": lambda: low + m,
            "concatenate": lambda: np.concatenate([low, m]),
            "where": lambda: np.where(m > 0, low, m),
        },
    }


def test_what_each_operation_gives(rng: Draw) -> None:
    for want, cases in by_result(rng).items():
        for name, run in cases.items():
            with tg.autocast("bfloat16"):
                assert run().dtype.name == want, name


def test_float16_too(rng: Draw) -> None:
    x = narrow(rng, 3, 3)
    with tg.autocast("float16"):
        assert (x @ x).dtype == tg.float16
        assert np.exp(x @ x).dtype == tg.float32
        assert (x @ x.astype("bfloat16")).dtype == tg.float16


def test_wide_and_whole_numbers_are_left_alone(rng: Draw) -> None:
    x, z = narrow(rng, 3, 3, dtype="float64"), narrow(rng, 3, 3, dtype="complex64")
    n = tg.tensor([[1, 2], [3, 4]])
    with tg.autocast("bfloat16"):
        assert (x @ x).dtype == tg.float64
        assert (x @ x.astype("float32")).dtype == tg.float64
        assert (z @ z).dtype == tg.complex64
        assert (n @ n).dtype == n.dtype
        assert x.astype("float32").sum(dtype="float64").dtype == tg.float64


def test_writes_in_place_are_left_alone(rng: Draw) -> None:
    x, low = narrow(rng, 3, 3), narrow(rng, 3, 3, dtype="bfloat16")
    with tg.autocast("bfloat16"):
        x += low
        assert x.dtype == tg.float32
        low += 1
        assert low.dtype.name == "bfloat16"


def test_a_formula_of_the_user_is_not_taken_for_ours(rng: Draw) -> None:
    @tg.fuse
    def linear(x: Any, w: Any, b: Any) -> Any:
        return x * w + b

    x = narrow(rng, 5)
    with tg.autocast("bfloat16"):
        assert linear(x, x, x).dtype == tg.float32


def test_as_pytorch_has_it(rng: Draw) -> None:
    """Where PyTorch's list for the CPU has an operation that is in ours, both give one dtype."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    m, image = rng.standard_normal((4, 4)), rng.standard_normal((2, 3, 5, 5))
    labels = np.array([0, 1, 2, 3])
    pairs: list[tuple[Any, Any]] = [
        (lambda x, i, n: x @ x, lambda x, i, n: x @ x),
        (lambda x, i, n: F.linear(x, x, x[0]), lambda x, i, n: f.linear(x, x, x[0])),
        (lambda x, i, n: F.conv2d(i, i), lambda x, i, n: f.conv2d(i, i)),
        (lambda x, i, n: np.einsum("ij,kj", x, x), lambda x, i, n: torch.einsum("ij,kj", x, x)),
        (
            lambda x, i, n: F.scaled_dot_product_attention(i, i, i),
            lambda x, i, n: f.scaled_dot_product_attention(i, i, i),
        ),
        (lambda x, i, n: F.cross_entropy(x @ x, n), lambda x, i, n: f.cross_entropy(x @ x, n)),
        (lambda x, i, n: F.mse_loss(x @ x, x @ x), lambda x, i, n: f.mse_loss(x @ x, x @ x)),
        (lambda x, i, n: F.l1_loss(x @ x, x), lambda x, i, n: f.l1_loss(x @ x, x)),
        (lambda x, i, n: F.huber_loss(x @ x, x), lambda x, i, n: f.huber_loss(x @ x, x)),
        (lambda x, i, n: (x @ x) + x, lambda x, i, n: (x @ x) + x),
        (lambda x, i, n: F.relu(x @ x), lambda x, i, n: f.relu(x @ x)),
        (lambda x, i, n: F.gelu(x @ x), lambda x, i, n: f.gelu(x @ x)),
        (lambda x, i, n: np.concatenate([x @ x, x]), lambda x, i, n: torch.cat([x @ x, x])),
        (lambda x, i, n: np.prod(x @ x, axis=0), lambda x, i, n: torch.prod(x @ x, 0)),
        (
            lambda x, i, n: np.linalg.norm(
                np.linalg.inv((x @ x) / 64 + tg.eye(4, dtype="float32"))
            ),
            lambda x, i, n: torch.linalg.inv((x @ x) / 64 + torch.eye(4)).norm(),
        ),
    ]
    for k, (ours, theirs) in enumerate(pairs):
        given = (
            tg.tensor(m, dtype="float32"),
            tg.tensor(image, dtype="float32"),
            tg.tensor(labels),
        )
        with tg.autocast("bfloat16"):
            found = ours(*given)
        twins = [torch.tensor(a, dtype=torch.float32) for a in (m, image)]
        with torch.autocast("cpu", torch.bfloat16):
            want = theirs(*twins, torch.tensor(labels))
        assert found.dtype.name == str(want.dtype).removeprefix("torch."), k
        np.testing.assert_allclose(here(found), want.double().numpy(), rtol=0.03, atol=0.03)


# -- programs ----------------------------------------------------------------------------------


class Net(nn.Module):
    """A convolution, attention over the pixels, and dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.after = nn.LayerNorm(8)
        self.dense = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.conv(x)))
        x = x.reshape((x.shape[0], 8, -1)).swapaxes(1, 2)
        x = self.after(x + self.attention(x, x, x)[0])
        return self.dense(x.mean(axis=1))


def losses(make: Callable[[], nn.Module], x: Any, y: Any, dtype: str | None) -> list[float]:
    tg.manual_seed(3)
    net = make()
    opt = tg.optim.SGD(net.parameters(), lr=0.1)
    found = []
    for _ in range(10):
        opt.zero_grad()
        with tg.autocast(dtype or "bfloat16", enabled=dtype is not None):
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        assert all(p.grad is None or p.grad.dtype == tg.float32 for p in net.parameters())
        opt.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_nets_follow_float32(rng: Draw, dtype: str) -> None:
    y = tg.tensor(rng.integers(0, 3, 12))
    flat, image = narrow(rng, 12, 5), narrow(rng, 12, 1, 4, 4)

    def dense() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 3))

    rounding = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    for make, x in ((dense, flat), (Net, image)):
        want, found = (losses(make, x, y, one) for one in (None, dtype))
        assert found != want
        np.testing.assert_allclose(found, want, rtol=8 * rounding)
        assert found[-1] < found[0]


def test_gradients_go_to_the_float32_leaf(rng: Draw) -> None:
    w, x = narrow(rng, 3, 3), narrow(rng, 3, 3)
    w.requires_grad = True
    with tg.autocast("bfloat16"):
        y = x @ w
        loss = (y @ w).sum()
    loss.backward()
    assert w.grad is not None
    assert w.grad.dtype == tg.float32
    a, b = x.numpy().astype("f8"), w.detach().numpy().astype("f8")
    one = np.ones((3, 3))
    want = a.T @ (one @ b.T) + (a @ b).T @ one
    a, b = np.abs(a), np.abs(b)
    size = a.T @ (one @ b.T) + (a @ b).T @ one  # of the terms: each is rounded 5 times
    assert np.all(np.abs(w.grad.numpy() - want) <= 2**-6 * size)


def test_two_losses_of_one_block_have_a_backward_each(rng: Draw) -> None:
    w, x = narrow(rng, 3, 3), narrow(rng, 3, 3)
    w.requires_grad = True
    with tg.autocast("bfloat16"):
        first, second = (x @ w).sum(), (w @ x).sum()
        first.backward()
    once = w.grad.numpy().copy()
    second.backward()
    assert not np.array_equal(w.grad.numpy(), once)


def test_backward_runs_in_the_dtypes_of_forward(rng: Draw) -> None:
    """Products of float32 values are not cast in backward, though it is called in a block."""
    x = narrow(rng, 4, 4)
    w = narrow(rng, 4, 4)
    w.requires_grad = True
    loss = ((x @ w) ** 2).sum()
    with tg.autocast("bfloat16"):
        loss.backward()
    a, b = x.numpy(), w.detach().numpy()
    np.testing.assert_allclose(w.grad.numpy(), 2 * a.T @ (a @ b), rtol=1e-5, atol=1e-5)
    with tg.autocast("bfloat16"):
        (g,) = (tg.grad(lambda w: tg.exp(x @ w).sum())(w),)
    assert g.dtype == tg.float32


def test_second_order(rng: Draw) -> None:
    x, v = within_one(rng, 3, 3), within_one(rng, 3, 3)

    def f(w: Any) -> Any:
        with tg.autocast("bfloat16"):
            return tg.sum(np.tanh(x @ w))

    (found,) = tg.hvp(f, (v,), (v,))
    (want,) = tg.hvp(lambda w: tg.sum(np.tanh(x @ w)), (v,), (v,))
    np.testing.assert_allclose(here(found), here(want), atol=0.05)


# -- values of leaves --------------------------------------------------------------------------


def test_a_leaf_is_cast_once_in_a_block(rng: Draw) -> None:
    w, x = narrow(rng, 3, 3), narrow(rng, 3, 3)
    w.requires_grad = True
    with tg.autocast("bfloat16"):
        x @ w, w @ x, tg.linear(x, w)
        state = current()
        assert state is not None
        assert list(state.held) == [id(w)]
        with tg.no_grad(), tg.autocast("bfloat16"):
            assert (x @ w).node is None
            assert current().held is state.held  # type: ignore[union-attr]
    with tg.autocast("bfloat16"):
        assert not current().held  # type: ignore[union-attr]


def test_a_leaf_that_was_written_to_is_cast_again(rng: Draw) -> None:
    w, x = nn.Parameter(narrow(rng, 3, 3)), narrow(rng, 3, 3)
    opt = tg.optim.SGD([w], lr=1.0)
    with tg.autocast("bfloat16"):
        before = x @ w
        before.sum().backward()
        opt.step()
        after = x @ w
        w.data = w.data * 2
        doubled = x @ w
    low = w.detach().astype("bfloat16")
    np.testing.assert_array_equal(
        doubled.detach().to("cpu").astype("float32").numpy(),
        (x.astype("bfloat16") @ low).to("cpu").astype("float32").numpy(),
    )
    assert not np.array_equal(*[y.detach().to("cpu").astype("float32") for y in (before, after)])


def test_leaves_that_are_gone_are_forgotten(rng: Draw) -> None:
    x = narrow(rng, 3, 3)
    with tg.autocast("bfloat16"):
        for _ in range(5):
            tg.grad(lambda w: tg.sum(x @ w))(narrow(rng, 3, 3))
        assert not current().held  # type: ignore[union-attr]


# -- transforms --------------------------------------------------------------------------------


def test_transforms(rng: Draw) -> None:
    w, x, t = within_one(rng, 4, 3), within_one(rng, 5, 4), within_one(rng, 4, 3)

    def f(w: Any, row: Any) -> Any:
        with tg.autocast("bfloat16"):
            return tg.sum(tg.softmax(row @ w) ** 2)

    def plain(w: Any, row: Any) -> Any:
        return tg.sum(tg.softmax(row @ w) ** 2)

    def close(found: Any, want: Any) -> None:
        np.testing.assert_allclose(np.asarray(found), np.asarray(want), atol=0.01)

    value, moved = tg.jvp(lambda w: f(w, x[0]), (w,), (t,))
    want = tg.jvp(lambda w: plain(w, x[0]), (w,), (t,))
    assert value.dtype == moved.dtype == tg.float32
    close(value, want[0]), close(moved, want[1])
    mapped = tg.vmap(lambda row: f(w, row))
    close(mapped(x), tg.vmap(lambda row: plain(w, row))(x))
    each = tg.vmap(tg.grad(f), in_axes=(None, 0))(w, x)
    assert each.dtype == tg.float32
    close(each, tg.vmap(tg.grad(plain), in_axes=(None, 0))(w, x))
    _, turned = tg.jvp(tg.grad(lambda w: f(w, x[0])), (w,), (t,))
    close(turned, tg.jvp(tg.grad(lambda w: plain(w, x[0])), (w,), (t,))[1])


def test_what_is_run_again_is_cast_again(rng: Draw) -> None:
    w, x = narrow(rng, 4, 4), narrow(rng, 3, 4)
    seen: list[str] = []

    def block(x: Any, w: Any) -> Any:
        y = x @ w
        seen.append(y.dtype.name)
        return np.tanh(y) @ w

    grads = []
    for run in (block, tg.checkpoint(block)):
        w.requires_grad, w.grad = True, None
        with tg.autocast("bfloat16"):
            loss = run(x, w).sum()
        loss.backward()
        grads.append(w.grad.numpy().copy())
    assert seen == ["bfloat16"] * 3
    np.testing.assert_allclose(grads[0], grads[1], atol=0.02)
    w.grad = None
    with tg.autocast("bfloat16"):
        tg.checkpoint(lambda x: block(x, w))(x).sum().backward()
    np.testing.assert_allclose(grads[0], w.grad.numpy(), atol=0.02)


# -- blocks ------------------------------------------------------------------------------------


def test_blocks_nest() -> None:
    x = tg.ones((2, 2), dtype="float32")
    with tg.autocast("bfloat16"):
        with tg.autocast("float16"):
            assert (x @ x).dtype == tg.float16
        with tg.autocast(enabled=False):
            assert (x @ x).dtype == tg.float32
            assert not tg.is_autocast_enabled()
            assert tg.get_autocast_dtype() is None
            with tg.autocast():
                assert (x @ x).dtype.name == "bfloat16"
        assert (x @ x).dtype.name == "bfloat16"
        assert tg.is_autocast_enabled()
        assert tg.get_autocast_dtype().name == "bfloat16"
    assert (x @ x).dtype == tg.float32
    assert not CASTS
    assert current() is None


def test_an_error_ends_a_block() -> None:
    with pytest.raises(ZeroDivisionError), tg.autocast():
        1 / 0  # noqa: B018
    assert current() is None


def test_a_decorator_calls_itself() -> None:
    x = tg.ones((2, 2), dtype="float32")

    @tg.autocast("bfloat16")
    def f(n: int) -> list[str]:
        return [(x @ x).dtype.name, *(f(n - 1) if n else [])]

    assert f(2) == ["bfloat16"] * 3
    assert (x @ x).dtype == tg.float32
    assert not CASTS


def test_threads_and_tasks_do_not_leak() -> None:
    x = tg.ones((2, 2), dtype="float32")
    seen: list[str] = []

    async def inside(there: asyncio.Event) -> str:
        await there.wait()
        return (x @ x).dtype.name  # type: ignore[no-any-return]

    async def outside(there: asyncio.Event) -> str:
        with tg.autocast("bfloat16"):
            there.set()
            await asyncio.sleep(0)
            return (x @ x).dtype.name  # type: ignore[no-any-return]

    async def both() -> list[str]:
        there = asyncio.Event()
        return list(await asyncio.gather(inside(there), outside(there)))

    with tg.autocast("bfloat16"):
        other = threading.Thread(target=lambda: seen.append((x @ x).dtype.name))
        other.start()
        other.join()
    assert seen == ["float32"]
    assert asyncio.run(both()) == ["float32", "bfloat16"]


def test_layers_take_both_floats_in_a_block_only(rng: Draw) -> None:
    layer, x = nn.Linear(3, 2), narrow(rng, 4, 3, dtype="bfloat16")
    with tg.autocast("bfloat16"):
        assert layer(x).dtype.name == "bfloat16"
        with pytest.raises(tg.DTypeError, match="Linear: got an input of int64"):
            layer(tg.tensor([[1, 2, 3]]))
    with pytest.raises(tg.DTypeError, match="Linear: got an input of bfloat16"):
        layer(x)


def test_other_dtypes_are_refused() -> None:
    for dtype in ("float32", "cpu", np.float64):
        with pytest.raises(
            tg.DTypeError, match=r"autocast: got dtype=.*, expected bfloat16 or float16; try tg.aut"
        ):
            tg.autocast(dtype)
