"""What a distribution is: a table of functions of its standard form, and SciPy's methods on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad._errors import NotDifferentiable
from tensorgrad.backend import base
from tensorgrad.core.calls import operands
from tensorgrad.ops.elementary import exp, log
from tensorgrad.ops.elementwise import floor, where

Function = Callable[..., Any]
INF = float("inf")


class Distribution:
    """A family of distributions, with the methods and parameters of `scipy.stats.NAME`.

    Every method takes numbers, arrays or tensors that broadcast: the point, the shape parameters,
    then `loc` and `scale` (of a discrete one `loc` alone), by position or by name. Gradients exist
    in the point and in every parameter; outside the support they are 0.
    """

    last: tuple[str, ...] = ("loc", "scale")

    def __init__(
        self,
        name: str,
        parameters: str = "",
        support: tuple[float, float] = (-INF, INF),
        inside: float = 0.5,
        **functions: Function,
    ) -> None:
        """`functions` are those of the standard form: f(z, *shape parameters).

        `inside` is a point of the support, which stands in for points outside of it.
        """
        self.name, self.support, self._inside = name, support, inside
        self.shapes = tuple(parameters.split())
        self._functions = functions
        self.__doc__ = f"{name}: as scipy.stats.{name}, parameters {', '.join(self.parameters)}."

    def __repr__(self) -> str:
        return f"<distribution {self.name}({', '.join(self.parameters)})>"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return (*self.shapes, *self.last)

    def _given(self, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        """The parameters of a call, in order."""
        found = dict(zip(self.parameters, args))
        wrong = [k for k in named if k not in self.parameters or k in found]
        found.update(named)
        missing = [k for k in self.shapes if k not in found]
        if len(args) > len(self.parameters) or wrong or missing:
            raise TypeError(
                f"{self.name}.{method}: got {len(args)} parameters and {sorted(named)}, expected "
                f"{', '.join(self.parameters)}; try {self.name}.{method}(x, "
                f"{', '.join(f'{k}=...' for k in self.parameters)})"
            )
        return [found.get(k, {"loc": 0.0, "scale": 1.0}.get(k)) for k in self.parameters]

    def _function(self, method: str) -> Function:
        found = self._functions.get(method)
        if found is None:
            raise NotDifferentiable(
                f"{self.name}.{method}: got a call, expected one of "
                f"{', '.join(sorted(self._functions))}; try scipy.stats.{self.name} for constants"
            )
        return found

    def _split(
        self, method: str, x: Any, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, list[Any], Any, Any]:
        """The standardised point, the shape parameters, loc and scale."""
        *given, loc, scale = self._given(method, args, named)
        x, *given = operands((x, *given), f"{self.name}.{method}")
        z = x if _is(loc, 0.0) else x - loc
        return (z if _is(scale, 1.0) else z / scale), given, loc, scale

    def _kept(self, function: Function, z: Any, given: list[Any], ends: tuple[float, float]) -> Any:
        """function(z) on the support, and what it is below and above it."""
        low, high = self.support
        if (low, high) == (-INF, INF):
            return _quiet(function, z, *given)
        below, above = z < low, z > high
        found = _quiet(function, where(below | above, self._inside, z), *given)
        found = where(below, ends[0], found)
        return found if high == INF else where(above, ends[1], found)

    # -- densities -----------------------------------------------------------------------------

    def logpdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """The logarithm of the density; -inf outside the support."""
        z, given, _, scale = self._split("logpdf", x, args, named)
        found = self._kept(self._function("logpdf"), z, given, (-INF, -INF))
        return found if _is(scale, 1.0) else found - log(scale)

    def pdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """The density."""
        return exp(self.logpdf(x, *args, **named))

    # -- probabilities -------------------------------------------------------------------------

    def cdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """The probability of a value of at most x."""
        z, given, _, _ = self._split("cdf", x, args, named)
        return self._kept(self._function("cdf"), z, given, (0.0, 1.0))

    def sf(self, x: Any, *args: Any, **named: Any) -> Any:
        """The probability of a value above x, accurate where it is small."""
        z, given, _, _ = self._split("sf", x, args, named)
        return self._kept(self._function("sf"), z, given, (1.0, 0.0))

    def logcdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """log cdf(x)."""
        z, given, _, _ = self._split("logcdf", x, args, named)
        function = self._functions.get("logcdf") or _log_of(self._function("cdf"))
        return self._kept(function, z, given, (-INF, 0.0))

    def logsf(self, x: Any, *args: Any, **named: Any) -> Any:
        """log sf(x)."""
        z, given, _, _ = self._split("logsf", x, args, named)
        function = self._functions.get("logsf") or _log_of(self._function("sf"))
        return self._kept(function, z, given, (0.0, -INF))

    def ppf(self, q: Any, *args: Any, **named: Any) -> Any:
        """The point x at which cdf(x) = q."""
        *given, loc, scale = self._given("ppf", args, named)
        q, *given = operands((q, *given), f"{self.name}.ppf")
        return self._moved(_quiet(self._function("ppf"), q, *given), loc, scale)

    def isf(self, q: Any, *args: Any, **named: Any) -> Any:
        """The point x at which sf(x) = q."""
        *given, loc, scale = self._given("isf", args, named)
        q, *given = operands((q, *given), f"{self.name}.isf")
        return self._moved(_quiet(self._function("isf"), q, *given), loc, scale)

    @staticmethod
    def _moved(z: Any, loc: Any, scale: Any) -> Any:
        z = z if _is(scale, 1.0) else z * scale
        return z if _is(loc, 0.0) else z + loc

    def entropy(self, *args: Any, **named: Any) -> Any:
        """The differential entropy -∫ p log p."""
        *given, _, scale = self._given("entropy", args, named)
        scale, *given = operands((scale, *given), f"{self.name}.entropy")
        return self._function("entropy")(*given) + log(scale)


class Discrete(Distribution):
    """A family on the integers; `logpmf` and `pmf` in place of the densities."""

    last = ("loc",)

    def _at(
        self, method: str, k: Any, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, list[Any]]:
        *given, loc = self._given(method, args, named)
        k, *given = operands((k, *given), f"{self.name}.{method}")
        return (k if _is(loc, 0.0) else k - loc), given

    def logpmf(self, k: Any, *args: Any, **named: Any) -> Any:
        """The logarithm of the probability of k; -inf for what is no integer of the support."""
        z, given = self._at("logpmf", k, args, named)
        z = z * 1.0
        found = self._kept(self._function("logpmf"), z, given, (-INF, -INF))
        return where(z != floor(z), where(z == z, -INF, z), found)

    def pmf(self, k: Any, *args: Any, **named: Any) -> Any:
        """The probability of k."""
        return exp(self.logpmf(k, *args, **named))

    def _split(
        self, method: str, x: Any, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, list[Any], Any, Any]:
        z, given = self._at(method, x, args, named)
        return floor(z * 1.0), given, 0.0, 1.0

    def entropy(self, *args: Any, **named: Any) -> Any:
        """The entropy -Σ p log p."""
        *given, _ = self._given("entropy", args, named)
        return self._function("entropy")(*operands(tuple(given), f"{self.name}.entropy"))


def _quiet(function: Function, z: Any, *given: Any) -> Any:
    """function(z, ...) without warnings: log 0 and the like are values at the ends."""
    with base.of(z.value()).quiet():
        return function(z, *given)


def _log_of(function: Function) -> Function:
    return lambda *args: log(function(*args))


def _is(value: Any, number: float) -> bool:
    return type(value) in (int, float) and value == number
