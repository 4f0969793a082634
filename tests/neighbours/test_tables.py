"""pandas, xarray, scikit-learn, matplotlib: tensors off the tape are arrays to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

RECORDED = "got a tensor on the tape, where a gradient would be cut silently"


def test_pandas(rng: np.random.Generator) -> None:
    pd = pytest.importorskip("pandas")
    x = tg.asarray(rng.standard_normal((4, 2)))
    frame = pd.DataFrame(x.numpy(), columns=["a", "b"])
    np.testing.assert_array_equal(tg.asarray(frame.to_numpy()).numpy(), x.numpy())
    np.testing.assert_array_equal(tg.asarray(frame["a"].to_numpy()).numpy(), x[:, 0].numpy())
    column = pd.Series(np.asarray(x[:, 1]), name="b")
    np.testing.assert_array_equal(column, frame["b"])
    frame["c"] = np.asarray(x[:, 0] * 2)
    np.testing.assert_array_equal(frame["c"], frame["a"] * 2)
    given = tg.tensor(frame[["a", "b"]].to_numpy(), requires_grad=True)
    (given**2).sum().backward()
    assert given.grad is not None
    np.testing.assert_allclose(given.grad.numpy(), 2 * frame[["a", "b"]])
    found = tg.grad(lambda x: np.sum(x**2))(frame["a"].to_numpy())
    np.testing.assert_allclose(found, 2 * frame["a"])
    with pytest.raises(tg.GradientError, match=RECORDED):
        np.asarray(given)


def test_xarray(rng: np.random.Generator) -> None:
    xr = pytest.importorskip("xarray")
    x = tg.asarray(rng.standard_normal((3, 2)))
    table = xr.DataArray(x.numpy(), dims=("time", "place"), coords={"place": ["a", "b"]})
    np.testing.assert_array_equal(tg.asarray(table.values).numpy(), x.numpy())
    found = tg.grad(lambda v: np.sum(np.sin(v)))(table.values)
    result = table.copy(data=found)
    np.testing.assert_allclose(result.sel(place="b"), np.cos(x.numpy()[:, 1]))
    whole = xr.apply_ufunc(tg.grad(lambda v: np.sum(v**2)), table)
    np.testing.assert_allclose(whole, 2 * x.numpy())
    assert whole.dims == ("time", "place")


def test_scikit_learn(rng: np.random.Generator) -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    w = tg.tensor(rng.standard_normal(3), requires_grad=True)
    x = tg.asarray(rng.standard_normal((60, 3)) * 2 + 1)
    y = x @ w
    scaled = StandardScaler().fit_transform(x)
    np.testing.assert_allclose(scaled, (x.numpy() - x.numpy().mean(0)) / x.numpy().std(0))
    model = Ridge(alpha=1e-8).fit(x, y.detach())
    np.testing.assert_allclose(model.coef_, w.detach().numpy(), atol=1e-6)
    assert r2_score(y.detach(), model.predict(x)) > 0.999
    labels = (y.detach() > 0).numpy()
    train, test, of_train, of_test = train_test_split(scaled, labels, random_state=0)
    assert LogisticRegression().fit(train, of_train).score(test, of_test) > 0.6
    with pytest.raises(tg.GradientError, match=RECORDED):
        Ridge().fit(x, y)


@pytest.fixture
def axes() -> Iterator[Any]:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, found = plt.subplots()
    yield found
    plt.close(figure)


def test_matplotlib(axes: Any, rng: np.random.Generator) -> None:
    x = tg.asarray(np.linspace(0, 1, 20))
    y = tg.tensor(rng.standard_normal(20), requires_grad=True)
    (line,) = axes.plot(x, (y * 2).detach())
    np.testing.assert_array_equal(line.get_ydata(), 2 * y.detach().numpy())
    axes.scatter(x, x, c=x)
    axes.hist(x)
    axes.bar(x, x)
    axes.errorbar(x, x, yerr=x)
    axes.imshow(tg.asarray(rng.random((4, 5))))
    axes.fill_between(x, x, x + 1)
    axes.figure.canvas.draw()
    for draw in (
        lambda: axes.plot(x, y * 2),
        lambda: axes.scatter(x, y),
        lambda: axes.imshow(tg.stack([y, y])),
        lambda: axes.hist(y),
    ):
        with pytest.raises(tg.GradientError, match=RECORDED):
            draw()
