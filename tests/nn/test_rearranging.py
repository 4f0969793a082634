"""Padding, shuffles, resampling, sampling and folding: PyTorch's names, texts and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)


def agree(ours: Any, theirs: Any, *arrays: Any, rtol: float = 1e-12) -> None:
    """Both give the same numbers, and the same gradients of the sum of the squares."""
    torch = pytest.importorskip("torch")
    mine = [tg.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    got, want = ours(*mine), theirs(*other)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=rtol, atol=1e-12)
    (got * got).sum().backward()
    (want * want).sum().backward()
    for a, b in zip(mine, other):
        grad = np.zeros(a.shape) if a.grad is None else a.grad.numpy()
        np.testing.assert_allclose(grad, b.grad.numpy(), rtol=10 * rtol, atol=1e-11)


# -- padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Constant", "Zero", "Reflection", "Replication", "Circular"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_padding_layers_are_pytorchs(kind: str, rank: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    more = (2.5,) if kind == "Constant" else ()
    for padding in (1, (2, 1, 0, 2, 1, 1)[: 2 * rank], (1, -1, -1, 2, 0, 1)[: 2 * rank]):
        name = f"{kind}Pad{rank}d"
        ours = getattr(nn, name)(padding, *more)
        theirs = getattr(torch.nn, name)(padding, *more)
        assert repr(ours) == repr(theirs)
        for lead in ((2, 3), (3,)):
            agree(ours, theirs, rng.standard_normal((*lead, *(4, 5, 3)[:rank])))


def test_pad_counts_from_the_last_axis(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((3, 4, 5))
    for pad, mode, value in (
        ((1, 2), "constant", None), ((1, 0, 0, 2), "constant", 3.0),
        ((0, 1, -1, 2, 1, 1), "constant", -1.0), ((2, 2), "reflect", None),
        ((1, 3), "circular", None), ((4, 0), "replicate", None),
    ):  # fmt: skip
        agree(
            lambda a: F.pad(a, pad, mode, value),  # noqa: B023
            lambda a: torch.nn.functional.pad(a, pad, mode, value),  # noqa: B023
            x,
        )


# -- shuffles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("PixelShuffle", (3,), (2, 18, 2, 4)),
        ("PixelUnshuffle", (2,), (2, 3, 4, 6)),
        ("ChannelShuffle", (3,), (2, 6, 4, 3)),
        ("Flatten", (), (2, 3, 4)),
        ("Flatten", (-2, -1), (2, 3, 4)),
        ("Unflatten", (1, (2, 3)), (2, 6, 4)),
        ("Unflatten", (-1, (-1, 2)), (2, 6, 4)),
        ("Identity", (54,), (2, 3)),
    ],
)
def test_shuffles_are_pytorchs(
    name: str, options: Any, shape: Any, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*options), getattr(torch.nn, name)(*options)
    assert repr(ours) == repr(theirs)
    agree(ours, theirs, rng.standard_normal(shape))


def test_bilinear_is_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    ours = nn.Bilinear(3, 4, 2, dtype="float64")
    theirs = torch.nn.Bilinear(3, 4, 2, dtype=torch.float64)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    agree(ours, theirs, rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 4)))


# -- resampling ----------------------------------------------------------------------------------

RESAMPLED: list[tuple[Any, dict[str, Any]]] = [
    ((7,), {"size": 12}),
    ((7,), {"scale_factor": 1.7}),
    ((7,), {"scale_factor": 0.6, "mode": "nearest-exact"}),
    ((6, 5), {"scale_factor": 2}),
    ((6, 5), {"size": (3, 11), "mode": "nearest-exact"}),
    ((6, 5), {"size": (4, 3), "mode": "area"}),
    ((6, 5), {"scale_factor": 0.5, "mode": "area"}),
    ((7,), {"size": 11, "mode": "linear"}),
    ((7,), {"scale_factor": 2.3, "mode": "linear", "recompute_scale_factor": True}),
    ((6, 5), {"size": (4, 9), "mode": "bilinear"}),
    ((6, 5), {"scale_factor": (2, 1.5), "mode": "bilinear", "align_corners": True}),
    ((6, 5), {"scale_factor": 1.9, "mode": "bilinear"}),
    ((6, 5), {"scale_factor": 1.9, "mode": "bicubic"}),
    ((6, 5), {"size": (9, 1), "mode": "bicubic", "align_corners": True}),
    ((4, 3, 5), {"size": (5, 6, 2), "mode": "trilinear"}),
    ((4, 3, 5), {"scale_factor": 2, "mode": "trilinear", "align_corners": True}),
    ((4, 3, 5), {"scale_factor": 2}),
    ((11, 9), {"size": (4, 13), "mode": "bilinear", "antialias": True}),
    ((11, 9), {"size": (4, 5), "mode": "bicubic", "antialias": True}),
    ((11, 9), {"scale_factor": 0.4, "mode": "bicubic", "antialias": True}),
    ((11, 9), {"size": (5, 4), "mode": "bilinear", "antialias": True, "align_corners": True}),
]


@pytest.mark.parametrize(("shape", "options"), RESAMPLED)
def test_interpolate_is_pytorchs(shape: Any, options: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, *shape))
    theirs = torch.nn.functional.interpolate
    agree(lambda a: F.interpolate(a, **options), lambda a: theirs(a, **options), x)
    single = x.astype(np.float32)
    got = F.interpolate(tg.asarray(single), **options)
    assert got.dtype == np.float32
    want = theirs(torch.tensor(single), **options).numpy()
    # Either rounds positions up to 10 to float32: 1e-6 in a weight, times values up to 4.
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-5)


def test_nearest_pixels_at_ties_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for n in range(1, 24):
        x = np.arange(n, dtype=np.float32).reshape(1, 1, n)
        for m in range(1, 30):
            for mode in ("nearest", "nearest-exact"):
                for a in (x, x.astype(np.float64)):
                    want = torch.nn.functional.interpolate(torch.tensor(a), m, mode=mode)
                    got = F.interpolate(tg.asarray(a), m, mode=mode)
                    assert np.array_equal(got.numpy(), want.numpy()), (n, m, mode, a.dtype)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Upsample", {"scale_factor": 2, "mode": "bilinear"}),
        ("Upsample", {"size": (5, 7)}),
        ("Upsample", {"scale_factor": (2, 3)}),
        ("UpsamplingNearest2d", {"scale_factor": 3}),
        ("UpsamplingBilinear2d", {"size": (5, 4)}),
    ],
)
def test_upsampling_layers_are_pytorchs(name: str, options: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    assert repr(ours) == repr(theirs)
    agree(ours, theirs, rng.standard_normal((1, 2, 3, 4)))


def test_stored_numbers() -> None:
    """What PyTorch gives, so that the layers stand without it."""
    line = tg.tensor([[[1.0, 4.0, 2.0, 8.0]]])
    image = tg.tensor([[[[1.0, 4.0, 2.0], [8.0, 5.0, 7.0]]]])
    grid = [[[[-0.9, 0.3], [0.2, -0.4], [1.1, 0.8]]]]
    for found, want in (
        (F.interpolate(line, scale_factor=1.5, mode="linear"),
         [1.0, 2.5, 3.6666667, 2.3333333, 5.0, 8.0]),
        (F.interpolate(line, 3), [1.0, 4.0, 2.0]),
        (F.interpolate(line, 2, mode="area"), [2.5, 5.0]),
        (F.interpolate(image, (3, 2), mode="bicubic"),
         [1.2725694, 2.2215441, 4.5, 4.5, 7.7274306, 6.7784560]),
        (F.interpolate(image, (1, 2), mode="bilinear", antialias=True), [4.5, 4.5]),
        (F.grid_sample(image, grid), [4.29, 3.62, 1.715]),
        (F.grid_sample(image, grid, "bicubic", "border", True), [5.5827321, 4.2507120, 6.6915740]),
        (F.grid_sample(image, grid, padding_mode="reflection"), [6.6, 3.62, 7.0]),
        (F.unfold(image, 2, padding=(0, 1)),
         [0.0, 1.0, 4.0, 2.0, 1.0, 4.0, 2.0, 0.0, 0.0, 8.0, 5.0, 7.0, 8.0, 5.0, 7.0, 0.0]),
        (F.fold(tg.arange(8.0).reshape(1, 4, 2), (2, 3), 2), [0.0, 3.0, 3.0, 4.0, 11.0, 7.0]),
        (F.cdist(image[0, 0], image[0, 0, :1]), [0.0, 8.6602540]),
        (F.pad(image, (2, 1, 1, 0), "reflect"),
         [7.0, 5.0, 8.0, 5.0, 7.0, 5.0, 2.0, 4.0, 1.0, 4.0, 2.0, 4.0,
          7.0, 5.0, 8.0, 5.0, 7.0, 5.0]),
    ):  # fmt: skip
        np.testing.assert_allclose(found.numpy().reshape(-1), want, rtol=1e-7, atol=1e-7)


def test_infinite_pixels_reach_their_neighbours_alone() -> None:
    x = tg.tensor([[[1.0, 2.0, 3.0, np.inf]]])
    found = F.interpolate(x, 8, mode="linear").numpy()[0, 0]
    assert np.isfinite(found[:5]).all()
    assert not np.isfinite(found[6:]).any()


# -- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample_is_pytorchs(
    mode: str, padding: str, corners: bool, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    for size in ((4, 5), (1, 3), (3, 2, 4)):
        if mode == "bicubic" and len(size) == 3:
            continue
        x = rng.standard_normal((2, 3, *size))
        grid = rng.uniform(-3, 3, (2, *(3, 2, 4)[: len(size)], len(size)))
        agree(
            lambda a, g: F.grid_sample(a, g, mode, padding, corners),
            lambda a, g: torch.nn.functional.grid_sample(a, g, mode, padding, corners),
            x, grid, rtol=1e-9,
        )  # fmt: skip


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [False, True])
def test_the_identity_of_the_grid_is_pytorchs(
    padding: str, corners: bool, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    T = torch.nn.functional
    x = rng.standard_normal((2, 3, 4, 8))
    theta = np.broadcast_to(np.eye(2, 3), (2, 2, 3)).copy()

    def ours(a: Any, t: Any) -> Any:
        return F.grid_sample(a, F.affine_grid(t, a.shape, corners), "bilinear", padding, corners)

    def theirs(a: Any, t: Any) -> Any:
        return T.grid_sample(
            a, T.affine_grid(t, list(a.shape), corners), "bilinear", padding, corners
        )

    if not corners or padding != "zeros":  # there both ends of the image are kinks
        agree(ours, theirs, x, theta + 0.01 * rng.standard_normal(theta.shape), rtol=1e-9)
    np.testing.assert_allclose(ours(tg.asarray(x), theta).numpy(), x, atol=1e-12)


def test_affine_grid_is_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    for size in ((2, 3, 4, 5), (2, 1, 2, 3), (2, 1, 3, 4, 2)):
        theta = rng.standard_normal((2, len(size) - 2, len(size) - 1))
        for corners in (False, True):
            agree(
                lambda t: F.affine_grid(t, size, corners),  # noqa: B023
                lambda t: torch.nn.functional.affine_grid(t, list(size), corners),  # noqa: B023
                theta,
            )


def test_positions_that_are_no_numbers_are_outside() -> None:
    x, grid = tg.ones((1, 1, 2, 2)), np.full((1, 1, 3, 2), np.nan)
    grid[0, 0, 1:] = np.inf, -1e30
    for mode in ("bilinear", "nearest", "bicubic"):
        g = tg.tensor(grid, requires_grad=True)
        found = F.grid_sample(tg.asarray(x, dtype="float64"), g, mode)
        assert not found.detach().numpy().any()
        if mode != "nearest":
            found.sum().backward()
            assert g.grad is not None
            assert not g.grad.numpy().any()


# -- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": (2, 3), "dilation": (2, 1), "padding": 1, "stride": (1, 2)},
        {"kernel_size": 3, "padding": (1, 2), "stride": 3},
    ],
)
def test_fold_and_unfold_are_pytorchs(options: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Unfold(**options), torch.nn.Unfold(**options)
    assert repr(ours) == repr(theirs)
    back, again = nn.Fold((6, 7), **options), torch.nn.Fold((6, 7), **options)
    assert repr(back) == repr(again)
    for lead in ((2, 3), (3,)):
        x = rng.standard_normal((*lead, 6, 7))
        agree(ours, theirs, x)
        agree(back, again, rng.standard_normal(ours(tg.asarray(x)).shape))


# -- pairs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.5, float("inf")])
def test_distances_of_pairs_are_pytorchs(p: float, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 5, 3))
    if p:
        agree(lambda a, b: F.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), x, y, rtol=1e-9)
        agree(lambda a: F.pdist(a, p), lambda a: torch.nn.functional.pdist(a, p), x[0], rtol=1e-9)
    same = torch.cdist(torch.tensor(x), torch.tensor(x[:, ::-1].copy()), p).numpy()
    np.testing.assert_allclose(F.cdist(x, x[:, ::-1], p).numpy(), same, atol=1e-7)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
def test_equal_vectors_have_gradient_zero(p: float) -> None:
    x = tg.tensor(np.ones((3, 2)), requires_grad=True)
    (F.cdist(x, x, p).sum() + F.pdist(x, p).sum()).backward()
    assert x.grad is not None
    assert np.array_equal(x.grad.numpy(), np.zeros((3, 2)))


# -- errors --------------------------------------------------------------------------------------

IMAGE = np.ones((1, 4, 2, 3))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.pad(IMAGE, (1, 1, 1)), tg.ShapeError,
         r"pad: got pad=\(1, 1, 1\), expected two whole numbers for each of up to 4 axes, the last "
         r"axis first; try pad=\(left, right\)"),
        (lambda: F.pad(IMAGE, (3, 0), "reflect"), tg.ShapeError, "a border shorter than the axis"),
        (lambda: F.pad(IMAGE, (4, 0), "circular"), tg.ShapeError, "no longer than the axis"),
        (lambda: F.pad(IMAGE, (-2, -2)), tg.ShapeError, "no more taken away than there is"),
        (lambda: F.pad(IMAGE, (1, 1), "edge"), ValueError, "one of constant reflect replicate"),
        (lambda: F.pad(IMAGE, (1, 1), "reflect", 2.0), ValueError, "a value with constant alone"),
        (lambda: nn.ReflectionPad2d((1, 2)), ValueError, "expected a whole number, or 4 of them"),
        (lambda: nn.ReflectionPad1d(1)(IMAGE), tg.ShapeError, "expected axes CW, or NCW"),
        (lambda: F.pixel_shuffle(IMAGE, 3), tg.ShapeError, "channels that upscale_factor² divides"),
        (lambda: F.pixel_unshuffle(IMAGE, 2), tg.ShapeError, "height and width that it divides"),
        (lambda: F.channel_shuffle(IMAGE, 3), tg.ShapeError, "groups that divide C"),
        (lambda: F.interpolate(IMAGE), ValueError, "expected one of them; try scale_factor=2"),
        (lambda: F.interpolate(IMAGE, 2, mode="linear"), tg.ShapeError,
         "expected 3 axes, batch and channels first"),
        (lambda: F.interpolate(IMAGE, 2, align_corners=False), ValueError, "align_corners=None"),
        (lambda: F.interpolate(IMAGE, 2, antialias=True), ValueError, "with bilinear or bicubic"),
        (lambda: F.interpolate(IMAGE, scale_factor=0.3), tg.ShapeError, "a result with elements"),
        (lambda: F.interpolate(IMAGE.astype(int), 2), tg.DTypeError, r'astype\("float32"\)'),
        (lambda: F.grid_sample(IMAGE, np.ones((2, 1, 1, 2))), tg.ShapeError, "grid of the input's"),
        (lambda: F.grid_sample(IMAGE, np.ones((1, 1, 1, 2), "f4")), tg.DTypeError,
         r'grid.astype\("float64"\)'),
        (lambda: F.grid_sample(IMAGE, np.ones((1, 1, 1, 2)), "cubic"), ValueError, "bicubic"),
        (lambda: F.affine_grid(np.ones((2, 3)), (1, 1, 2, 2)), tg.ShapeError, "size=input.shape"),
        (lambda: F.unfold(IMAGE, 4), tg.ShapeError, "blocks no larger than the padded image"),
        (lambda: F.unfold(IMAGE[0, 0], 1), tg.ShapeError, "axes CHW, or NCHW"),
        (lambda: F.fold(IMAGE[0], (3, 3), 2), tg.ShapeError, "rows in multiples of 4, and 4 col"),
        (lambda: F.cdist(np.ones((2, 3)), np.ones((2, 2))), tg.ShapeError, r"\(\.\.\., R, M\)"),
        (lambda: F.pdist(np.ones(3)), tg.ShapeError, r"rows \(N, M\)"),
        (lambda: F.pdist(np.ones((3, 2)), -1.0), ValueError, "p >= 0"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
