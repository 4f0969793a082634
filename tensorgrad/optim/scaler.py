"""GradScaler: losses scaled up so that 16-bit gradients do not vanish, the scale found by trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import tensorgrad as tg
from tensorgrad.optim.memory import copy, multiply
from tensorgrad.optim.norm import limited
from tensorgrad.optim.optimizer import need_between

_KEYS = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
_STEPPED = "stepped"
_UNSCALED = "unscaled"


class Stepping(Protocol):
    """What it asks of an optimizer."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> Any: ...

    def step_unless(self, inverse: Any, flag: Any = 0.0) -> Any: ...


class GradScaler:
    """Scales a loss, and the gradients back in front of a step, which overflow leaves out.

    The scale starts at `init_scale`; a step with a gradient that is not finite is skipped and
    multiplies it by `backoff_factor`, `growth_interval` steps without one by `growth_factor`.
    float16 needs it, bfloat16 does not. `skipped` counts the steps that were left out. On a GPU the
    scale lives there: a step waits for nothing, can be a part of a captured one, and counts as an
    update of the optimizer also where it changed nothing. Micikevicius et al., "Mixed precision
    training", 2018.

    >>> import tensorgrad as tg
    >>> w = tg.nn.Parameter([0.25])
    >>> opt, scaler = tg.optim.SGD([w], lr=0.25), GradScaler(1024.0)
    >>> with tg.autocast("float16"):
    ...     loss = (w @ w).sum()
    >>> scaler.scale(loss).backward()
    >>> scaler.step(opt)
    >>> scaler.update()
    >>> w.tolist(), scaler.skipped
    ([0.125], 0)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        """Raises `ValueError` unless growth_factor > 1, backoff_factor < 1 and the rest > 0."""
        self._enabled = enabled
        self._growth, self._backoff = float(growth_factor), float(backoff_factor)
        self._interval, self._first = growth_interval, float(init_scale)
        if not growth_factor > 1:
            raise ValueError(
                f"GradScaler: got growth_factor={growth_factor}, expected one above 1; try 2.0"
            )
        need_between("GradScaler", 0, 1, backoff_factor=backoff_factor)
        need_between("GradScaler", 1, growth_interval=growth_interval)
        need_between("GradScaler", 2.0**-126, 2.0**128, init_scale=init_scale)
        self._place("cpu")
        self._scaled = False
        self._stages: dict[int, tuple[Stepping, str, Any]] = {}

    def _place(self, device: str) -> None:
        """The scale, the steps since it changed and those left out, in memory of a device."""
        self._device = device
        self._scale = tg.full((), self._first, dtype="float64", device=device)
        self._tracker = tg.zeros((), dtype="float64", device=device)
        self._skipped = tg.zeros((), dtype="float64", device=device)

    def _follow(self, device: str) -> None:
        """Bring the state to where the losses are."""
        if device != self._device:
            held = (self._scale, self._tracker, self._skipped)
            self._scale, self._tracker, self._skipped = (one.to(device) for one in held)
            self._device = device

    # -- a step --------------------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """A loss, or a list or tuple of losses, times the scale; in float32 at least."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, list | tuple):
            return type(outputs)(self.scale(one) for one in outputs)
        if not isinstance(outputs, tg.Tensor):
            raise TypeError(
                f"GradScaler.scale: got {type(outputs).__name__}, expected a loss, or a list of "
                "them; try scaler.scale(loss)"
            )
        self._scaled = True
        self._follow(outputs.device)
        # The scale is beyond float16: a loss of 16 bits is scaled in 32.
        return outputs * self._scale.astype(tg.result_type(outputs.dtype, "float32"))

    def unscale_(self, optimizer: Stepping) -> None:
        """Divide the gradients of an optimizer by the scale, in place: to clip or read them.

        `step` does it by itself otherwise. Raises `RuntimeError` for a second time in one step, and
        as `step` does before it.
        """
        if not self._enabled:
            return
        self._expect("unscale_", optimizer, ())
        grads = self._gradients("unscale_", optimizer)
        inverse = (1 / self._scale).to(tg.Tensor(grads[0]).device)
        found = limited(grads, float("inf"), inverse.data)
        there = isinstance(found.skip, dict)
        for grad in grads:
            multiply(grad, found.factor if there else inverse.item())
        flag = tg.Tensor(found.skip["float64"]) if there else found.skip
        self._stages[id(optimizer)] = (optimizer, _UNSCALED, flag)

    def step(self, optimizer: Stepping) -> None:
        """`optimizer.step()` with the gradients divided by the scale; nothing if one overflowed.

        Raises `RuntimeError` for a second time before `update`, before any loss was scaled, and
        where no parameter has a gradient; `TypeError` for L-BFGS.
        """
        if not self._enabled:
            optimizer.step()
            return
        self._expect("step", optimizer, (_UNSCALED,))
        stage = self._stages.get(id(optimizer))
        if stage is None:
            self._gradients("step", optimizer)
        inverse = 1 / self._scale if stage is None else tg.ones_like(self._scale)
        inverse = inverse.to(optimizer.param_groups[0]["params"][0].device)
        flag = optimizer.step_unless(inverse, 0.0 if stage is None else stage[2])
        self._stages[id(optimizer)] = (optimizer, _STEPPED, flag)

    def update(self, new_scale: float | None = None) -> None:
        """Bring the scale up to date after the steps: lower it, raise it, or set it.

        Raises `RuntimeError` where no optimizer was stepped or unscaled since the last time.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            need_between("GradScaler", 2.0**-126, 2.0**128, new_scale=float(new_scale))
            copy(self._scale.data, float(new_scale))
            self._stages.clear()
            return
        if not self._stages:
            raise RuntimeError(
                "GradScaler: got update() before a step, expected scaler.step(optimizer) first; "
                "try that"
            )
        flag = tg.zeros((), dtype="float64", device=self._device)
        for _, _, found in self._stages.values():
            there = isinstance(found, tg.Tensor)
            flag = tg.maximum(flag, found.to(self._device) if there else found)
        count = self._tracker + 1
        grown = self._scale * self._growth
        full = (count >= self._interval) & (grown < 2.0**128)  # beyond float32 it stays
        raised = tg.where(full, grown, self._scale)
        again = tg.where(count >= self._interval, 0.0, count)
        # Into the same memory: a captured step reads it there.
        copy(self._scale.data, tg.where(flag == 0, raised, self._scale * self._backoff))
        copy(self._tracker.data, tg.where(flag == 0, again, 0.0))
        copy(self._skipped.data, self._skipped + flag)
        self._stages.clear()

    def _expect(self, name: str, optimizer: Stepping, allowed: tuple[str, ...]) -> None:
        """Raise unless what was done with an optimizer since the last update allows this."""
        stage = self._stages.get(id(optimizer))
        if stage is not None and stage[1] not in allowed:
            raise RuntimeError(
                f"GradScaler.{name}: got {type(optimizer).__name__} that was {stage[1]} already, "
                "expected once a step; try scaler.update() in between"
            )

    def _gradients(self, name: str, optimizer: Stepping) -> list[Any]:
        """The arrays of the gradients; raises where there is nothing to divide by the scale."""
        kind, fix = type(optimizer).__name__, "scaler.scale(loss).backward() first"
        if not self._scaled:
            raise RuntimeError(
                f"GradScaler.{name}: got {kind} before a loss was scaled, expected gradients of a "
                f"scaled loss; try {fix}"
            )
        params = [p for group in optimizer.param_groups for p in group["params"]]
        grads = [p.grad.data for p in params if p.grad is not None]
        if not grads:
            raise RuntimeError(
                f"GradScaler.{name}: got {kind} none of whose parameters has a gradient, expected "
                f"one at least; try {fix}"
            )
        return grads

    # -- state ---------------------------------------------------------------------------------

    @property
    def skipped(self) -> int:
        """How many updates of the scale found a gradient that was not finite.

        On a GPU reading it waits for the steps.
        """
        return int(self._skipped.item())

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """What losses are multiplied by; on a GPU reading it waits for the steps."""
        return float(self._scale.item()) if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is raised by."""
        return self._growth

    def get_backoff_factor(self) -> float:
        """What the scale is lowered by."""
        return self._backoff

    def get_growth_interval(self) -> int:
        """How many steps without overflow raise the scale."""
        return self._interval

    def state_dict(self) -> dict[str, Any]:
        """The scale, the factors and the steps since it changed; {} where it is not enabled."""
        if not self._enabled:
            return {}
        now = (self.get_scale(), self._growth, self._backoff, self._interval)
        return {**dict(zip(_KEYS, now)), _KEYS[-1]: int(self._tracker.item())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a `state_dict`; raises `ValueError` for one of another kind."""
        if not self._enabled:
            return
        missing = [key for key in _KEYS if key not in state_dict]
        if missing:
            raise ValueError(
                f"GradScaler: got a state without {', '.join(missing)}, expected that of an "
                "enabled one; try GradScaler().state_dict()"
            )
        self._growth, self._backoff = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._interval = state_dict["growth_interval"]
        copy(self._scale.data, float(state_dict["scale"]))
        copy(self._tracker.data, float(state_dict["_growth_tracker"]))

    def __repr__(self) -> str:
        return f"GradScaler(scale={self.get_scale():g}, skipped={self.skipped})"
