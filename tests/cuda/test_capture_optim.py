"""The updates as generated kernels: mixed dtypes, the factor, the flag, in one launch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from elementwise_tools import Case, expected, run
from nvrtc import ARCHITECTURES, compile
from ops_tools import gpus, launches
from sources import Needs, Text, joined
from test_nvrtc import complaints

import tensorgrad as tg
from tensorgrad.codegen.cuda import elementwise
from tensorgrad.optim import adagrad, adam, adam_family, sgd, sign
from tensorgrad.optim.norm import copied, guarded, limited, scaled

RULES: dict[str, tuple[Any, int, list[float]]] = {
    "sgd": (sgd.sgd, 0, [0.1, 0.01]),
    "momentum": (sgd.momentum, 1, [0.1, 0.9, 0.7, 0.01]),
    "nag": (sgd.nag, 1, [0.1, 0.9, 0.01]),
    "adam": (adam.adam, 2, [0.1, 0.1, 0.99, 0.01, 1e-8, 0.02]),
    "adamw": (adam.adamw, 2, [0.1, 0.1, 0.99, 0.01, 1e-8, 0.98]),
    "amsgrad": (adam.amsgrad, 3, [0.1, 0.1, 0.99, 0.01, 1e-8, 0.02]),
    "amsgradw": (adam.amsgradw, 3, [0.1, 0.1, 0.99, 0.01, 1e-8, 0.98]),
    "adamax": (adam_family.adamax, 2, [0.1, 0.1, 0.99, 1e-8, 0.02]),
    "nadam": (adam_family.nadam, 2, [0.1, 0.2, 0.1, 0.99, 0.01, 1e-8, 0.98, 0.02]),
    "radam": (adam_family.radam, 2, [0.1, 0.2, 0.1, 0.99, 0.01, 1e-8, 0.98, 0.02]),
    "adagrad": (adagrad.adagrad, 1, [0.1, 0.2, 1e-8, 0.02]),
    "rmsprop": (adagrad.rmsprop, 1, [0.1, 0.99, 0.01, 1e-8, 0.02]),
    "rmsprop_momentum": (adagrad.rmsprop_momentum, 2, [0.1, 0.99, 0.01, 1e-8, 0.02, 0.9]),
    "adadelta": (adagrad.adadelta, 2, [0.1, 0.99, 0.01, 1e-6, 0.02]),
    "asgd": (sgd.asgd, 1, [0.1, 0.99, 0.5, 0.02]),
    "rprop": (sign.rprop, 2, [0.1, 0.5, 1.2, 1e-6, 50.0]),
    "lion": (sign.lion, 1, [0.1, 0.1, 0.01, 0.98]),
}


def rule_of(name: str, form: str) -> tuple[Any, int, list[float]]:
    """A rule, how many states it has, and its numbers."""
    rule, states, numbers = RULES[name]
    count = 2 + states + len(numbers)
    if form == "scaled":
        return scaled(rule, count), states, [*numbers, 0.37]
    if form == "guarded":
        return guarded(rule, count, states), states, [*numbers, 0.37, 0.0]
    return rule, states, numbers


FORMS = ("plain", "scaled", "guarded")


@pytest.mark.parametrize("name", RULES)
def test_a_step_is_one_kernel(rng: Any, name: str, request: pytest.FixtureRequest) -> None:
    """A form of each rule by chance; with --full every one."""
    full = request.config.getoption("--full")
    for form in FORMS if full else (str(rng.choice(FORMS)),):
        one_kernel(rng, name, form)


def one_kernel(rng: Any, name: str, form: str) -> None:
    """Float32 parameters and states under gradients of a narrow dtype, with a copy in it."""
    rule, states, numbers = rule_of(name, form)
    cases = []
    for kind in ("float32", "float16", "bfloat16"):
        n = int(rng.integers(1, 3000))
        held = [rng.standard_normal(n).astype("f4"), rng.standard_normal(n).astype("f4")]
        held += [rng.random(n).astype("f4") for _ in range(states)]
        held[1] = np.asarray(tg.tensor(held[1]).astype(kind).numpy())
        scalars = [np.array(value, "f4") for value in numbers]
        made = copied(rule).primitive.formula
        kinds = ("float32",) * (1 + states)
        cases.append(Case(made, [*held, *scalars], real="float32", asked=(*kinds, kind)))
    for case, outs in zip(cases, run(cases, ("ascending", "random"))):
        for got, want in zip(outs, expected(case), strict=True):
            assert np.array_equal(got, want.astype(got.dtype)), got.dtype


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_their_machine_code(arch: str) -> None:
    texts = []
    for name in RULES:
        rule, states, numbers = rule_of(name, "guarded")
        given = ["float32"] * (2 + states + len(numbers))
        reads: Any = ["each"] * (2 + states) + ["one"] * len(numbers)
        source = elementwise(rule.primitive.formula, given, "flat", False, reads)
        texts.append(Text(name, source.text, {source.name: Needs(2 + states, 1 + states)}))
    assert not list(complaints(compile(joined(texts), arch), texts))


@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("name", RULES)
def test_gradients_that_are_no_numbers_change_nothing(rng: Any, name: str, where: str) -> None:
    rule, states, numbers = rule_of(name, "guarded")
    with gpus():
        for bad in (False, True):
            gradient = rng.standard_normal(20)
            gradient[3] = rng.choice([np.inf, np.nan]) if bad else 1.0
            held = [rng.standard_normal(20), gradient, *[rng.random(20) for _ in range(states)]]
            given = [tg.tensor(a, dtype="float32", device=where) for a in held]
            before = [t.numpy().copy() for t in given]
            inverse = tg.tensor(0.5, dtype="float64", device=where)
            found = limited([given[1].data], 0.25, inverse.data)
            one = tg.tensor([1.0, 1.0], device=where)
            factor, skip = (
                value["float32"] if isinstance(value, dict) else (one[0] * value).data
                for value in (found.factor, found.skip)
            )
            scalars = [tg.tensor(v, dtype="float32", device=where).data for v in numbers[:-2]]
            arrays = [t.data for t in given]
            rule.kernel(*arrays, *scalars, factor, skip, out=(arrays[0], *arrays[2:]))
            same = [np.array_equal(t.numpy(), b) for t, b in zip(given, before)]
            assert same[0] == bad
            assert all(same[2:]) == bad or not states
            if not bad:
                norm = 0.5 * np.linalg.norm(gradient.astype("f4").astype("f8"))
                assert float(tg.asarray(found.norm).item()) == pytest.approx(norm, rel=1e-6)
                factor = float(tg.asarray(factor).item())
                assert factor == pytest.approx(0.5 * min(1, 0.25 / norm), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_masters_and_their_copies_are_one_launch(rng: Any, dtype: str) -> None:
    value, gradients = rng.normal(size=100), [rng.normal(size=100) for _ in range(4)]

    def trained(device: str, captured: bool = False) -> Any:
        param = tg.nn.Parameter(tg.tensor(value).astype(dtype).to(device))
        opt = tg.optim.AdamW([param], lr=1e-3)
        held = tg.zeros(100, dtype=dtype, device=device)

        def step(x: tg.Tensor) -> None:
            opt.zero_grad()
            (param * x).sum().backward()
            opt.step()

        if captured:
            first = tg.tensor(gradients[0]).astype(dtype).to(device)
            state, before = opt.state_dict(), param.data.copy()
            run = tg.cuda.capture(step, (held,))
            param.data = before
            opt.load_state_dict(state)
            run(first)
        for g in gradients[captured:]:
            x = tg.tensor(g).astype(dtype).to(device)
            run(x) if captured else step(x)
        state = opt.state_dict()["state"][0]
        return state["master"].to("cpu").numpy(), param.detach().astype("float32").to("cpu").numpy()

    want = trained("cpu")
    with gpus():
        for captured in (False, True):
            launches().clear()
            found = trained("cuda", captured)
            assert not [name for name in launches() if "copy" in name]
            for f, w in zip(found, want):
                np.testing.assert_allclose(f, w, rtol=1e-6, atol=1e-6)
