"""Generators, draws and dropout: streams, states, threads, statistics, memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.backend.philox import RandomError, philox4x32
from tensorgrad.core.backward import gradients
from tensorgrad.ops import random
from tensorgrad.ops.random import Generator


def test_a_state_resumes_bit_for_bit(seed: int) -> None:
    one = Generator(seed)
    random.randn(7, generator=one)
    state = one.get_state()

    def run(source: Generator) -> list[np.ndarray]:
        return [
            random.rand(3, 2, generator=source).numpy(),
            random.randn(5, dtype="float32", generator=source).numpy(),
            random.integers(-5, 100, 9, generator=source).numpy(),
            random.permutation(11, generator=source).numpy(),
            random.bernoulli(0.3, 20, generator=source).numpy(),
            tg.dropout(np.ones(50), 0.4, generator=source).numpy(),
        ]

    first = run(one)
    other = Generator(seed + 1)
    other.set_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(first, run(other)))
    assert one.get_state() == other.get_state()
    assert not np.array_equal(first[0], run(one)[0])


def test_the_key_is_the_seed_and_the_words_are_used_once(seed: int) -> None:
    source = Generator(seed)
    a = random.rand(5, dtype="float32", generator=source).numpy()
    b = random.rand(4, dtype="float32", generator=source).numpy()
    words = philox4x32(0, seed, 12) >> 8
    assert np.array_equal(a, words[:5] * np.float32(2**-24))
    assert np.array_equal(b, words[8:12] * np.float32(2**-24))
    assert source.get_state() == (seed, 3)


def test_manual_seed_restarts_the_default_stream() -> None:
    state = random.default_generator.get_state()
    try:
        random.manual_seed(5)
        first = random.randn(4).numpy()
        random.manual_seed(5)
        assert np.array_equal(first, random.randn(4).numpy())
        assert np.array_equal(first, random.randn(4, generator=Generator(5)).numpy())
    finally:
        random.default_generator.set_state(state)


def test_threads_never_share_words(seed: int) -> None:
    source, found = Generator(seed), []

    def draw() -> None:
        found.extend([source.take("uniform", 5) for _ in range(200)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counter for _, counter in found) == [2 * k for k in range(800)]


def test_draws_have_their_moments(seed: int) -> None:
    source, n = Generator(seed), 100_000
    for x, mean, std in (
        (random.uniform(-1, 3, n, generator=source), 1.0, 4 / np.sqrt(12)),
        (random.normal(2.0, 0.5, n, generator=source), 2.0, 0.5),
        (random.integers(10, size=n, generator=source), 4.5, np.sqrt(99 / 12)),
        (random.bernoulli(0.3, n, generator=source), 0.3, np.sqrt(0.21)),
    ):
        values = x.numpy().astype(float)
        assert abs(values.mean() - mean) < 6 * std / np.sqrt(n)
        assert abs(values.std() - std) < 0.02 * std


def test_parameters_broadcast_and_keep_the_dtype(seed: int) -> None:
    source = Generator(seed)
    scale = np.array([0.0, 1.0, 100.0])
    x = random.normal(5.0, scale, dtype="float32", generator=source)
    assert (x.shape, x.dtype, x.numpy()[0]) == ((3,), np.float32, 5.0)
    assert random.uniform(0, 1, (2, 3), "float16", generator=source).dtype == np.float16
    leaf = random.randn(2, 2, generator=source, requires_grad=True)
    assert leaf.is_leaf
    assert leaf.requires_grad
    assert not random.uniform(tg.Tensor(0.0, requires_grad=True), 1.0).requires_grad


def test_draws_inside_transforms_are_constants(seed: int) -> None:
    source = Generator(seed)

    def f(x: tg.Tensor) -> tg.Tensor:
        source.manual_seed(seed)
        return x * random.normal(x, 2.0, generator=source)

    draw = f(tg.Tensor(1.5)).item() / 1.5
    assert tg.grad(f)(1.5) == pytest.approx(draw, rel=1e-12)
    assert tg.jvp(f, (1.5,), (1.0,))[1] == pytest.approx(draw, rel=1e-12)
    rows = np.asarray(tg.vmap(f)(np.array([1.5, 1.5, -2.0])))
    assert rows[:2] == pytest.approx(1.5 * draw, rel=1e-12)


def test_permutation_of_rows_keeps_their_gradients(rng: np.random.Generator) -> None:
    x = tg.Tensor(rng.standard_normal((5, 2)), requires_grad=True)
    y = random.permutation(x)
    assert sorted(map(tuple, y.tolist())) == sorted(map(tuple, x.tolist()))
    (y * y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


@pytest.mark.parametrize("seed_given", [-1, 1 << 64])
def test_seeds_outside_64_bits_are_refused(seed_given: int) -> None:
    with pytest.raises(RandomError, match=r"expected 0 <= n < 2\*\*64; try n % 2\*\*64"):
        Generator(seed_given)


# -- dropout -----------------------------------------------------------------------------------


def test_dropout_keeps_the_expectation_and_redraws_its_mask(seed: int) -> None:
    source = Generator(seed)
    x = tg.Tensor(np.ones(100_000), requires_grad=True)
    y = tg.dropout(x, 0.3, generator=source)
    values = y.detach().numpy()
    assert set(np.unique(values)) == {0.0, 1 / 0.7}
    assert abs(values.mean() - 1) < 0.01
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), values)


def test_dropout_stores_no_mask(seed: int) -> None:
    x = tg.Tensor(np.ones((300, 400)), requires_grad=True)
    y = tg.dropout(x, 0.5, generator=Generator(seed))
    assert sum(saved.nbytes for saved in y.node.saved) == 8


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64", "complex128"])
def test_dropout_in_every_dtype(dtype: str, seed: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal((7, 90)).astype(tg.dtypes.dtype(dtype))[::2, ::-1]
    y = tg.dropout(x, 0.1, generator=Generator(seed)).numpy()
    keep = y != 0
    wide = np.result_type(x.dtype if x.dtype.kind == "c" else "f4", "f4")
    assert y.dtype == x.dtype
    assert 0.8 < keep.mean() < 0.99
    want = (x.astype(wide) * wide.type(1 / 0.9)).astype(x.dtype)
    assert np.array_equal(y, np.where(keep, want, np.zeros((), x.dtype)))
    bad = np.full(1000, np.inf, x.dtype)
    dropped = tg.dropout(bad, 0.5, generator=Generator(seed)).numpy()
    assert np.count_nonzero(dropped == 0) > 300


def test_dropout_off_training_is_the_tensor_itself() -> None:
    x = tg.Tensor(np.ones(3), requires_grad=True)
    assert tg.dropout(x, 0.5, training=False) is x
    assert tg.dropout(x, 0.0) is x
    assert tg.dropout(np.array([1.0, np.inf]), 1.0).tolist() == [0.0, 0.0]
    with pytest.raises(RandomError, match=r"dropout: got p=1\.5, expected 0 <= p <= 1; try p=0\.5"):
        tg.dropout(x, 1.5)


def test_dropout_is_linear_at_every_order(seed: int) -> None:
    source = Generator(seed)
    state = source.get_state()
    x = tg.Tensor(np.arange(1.0, 9.0), requires_grad=True)

    def f(x: tg.Tensor) -> tg.Tensor:
        source.set_state(state)
        return (tg.dropout(x, 0.5, generator=source) ** 3).sum()

    mask = tg.dropout(np.ones(8), 0.5, generator=source).numpy()
    first = tg.grad(f)(x)
    np.testing.assert_allclose(np.asarray(first.detach()), 3 * mask**3 * np.arange(1.0, 9.0) ** 2)
    second = tg.grad(lambda x: tg.grad(f)(x).sum())(x)
    np.testing.assert_allclose(np.asarray(second.detach()), 6 * mask**3 * np.arange(1.0, 9.0))


def test_every_member_of_a_batch_has_its_own_mask(seed: int) -> None:
    source = Generator(seed)
    ones = np.ones((4, 60))
    y = np.asarray(tg.vmap(lambda x: tg.dropout(x, 0.5, generator=source))(ones))
    assert len({row.tobytes() for row in y}) == 4
    assert source.get_state()[1] == 4 * 15
    source = Generator(seed)
    rows = [tg.dropout(np.ones(60), 0.5, generator=source).numpy() for _ in range(4)]
    assert np.array_equal(y, rows)


def test_a_batch_of_cotangents_meets_the_mask_of_the_forward_pass(seed: int) -> None:
    x = tg.Tensor(np.ones(20), requires_grad=True)
    y = tg.dropout(x, 0.5, generator=Generator(seed))

    def pull(ct: tg.Tensor) -> tg.Tensor:
        found = gradients([y], [ct], [x.node], create_graph=False, free=False)[0]
        assert found is not None
        return found

    jacobian = np.asarray(tg.vmap(pull)(np.eye(20)))
    assert np.array_equal(jacobian, np.diag(y.detach().numpy()))
