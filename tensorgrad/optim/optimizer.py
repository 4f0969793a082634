"""Optimizer: parameter groups in flat buckets, one fused formula a bucket and step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import tensorgrad as tg
from tensorgrad.optim.bucket import MASTER, Bucket
from tensorgrad.optim.memory import copy, on_device, recording
from tensorgrad.optim.norm import Limit, copied, guarded, inputs, limited, negated, scaled
from tensorgrad.optim.params import groups_of, members, need_params, need_settings
from tensorgrad.optim.slot import Slot

Group = dict[str, Any]
Scalars = Callable[[Group, int], Sequence[float]]
Hook = Callable[..., Any]
Given = tuple[tuple[Any, ...], dict[str, Any]]  # the arguments of a step
Work = list[tuple[Group, Bucket, list[Slot]]]
# What a group may hold beside hyper-parameters.
_FREE_KEYS = ("params", "param_names", "name", "initial_lr")


class Optimizer:
    """Base of the optimizers whose update is one elementwise formula.

    A subclass gives `state_names`, the arrays kept beside each parameter (zeros at first); `rule`,
    the fused formula rule(param, grad, *state, *scalars) -> (param, *state); and
    `scalars(group, step)`, the numbers that the rule takes, from the group's hyper-parameters and
    the count of the update (from 1). It may name hyper-parameters that are `not_negative`, check
    more in `check(group)`, and give groups other formulas and states by their hyper-parameters in
    `variant(group)`. A group with `maximize` takes every gradient with the other sign.

    Parameters are moved into flat buckets when the optimizer is made: `param.data` and `.grad`
    are views from then on. A parameter whose `.grad` is None is skipped.

    With `max_grad_norm` the update works on the gradients times min(1, max_grad_norm / (norm +
    1e-6)), norm the 2-norm of all of them together, as after `clip_grad_norm_`; `.grad` stays as
    it is and `grad_norm` is the norm in the last step.

    A step may be a part of what `tg.cuda.capture` records: each replay counts an update and reads
    the hyper-parameters as they are then.

    >>> class SignDescent(Optimizer):
    ...     rule = staticmethod(tg.fuse(lambda param, grad, lr: param - lr * tg.sign(grad)))
    ...     def scalars(self, group, step):
    ...         return (group["lr"],)
    >>> w = tg.nn.Parameter([1.0, -1.0])
    >>> (w * w).sum().backward()
    >>> SignDescent([w], {"lr": 0.5}).step()
    >>> w.tolist()
    [0.5, -0.5]
    """

    state_names: ClassVar[Sequence[str]] = ()
    not_negative: ClassVar[Sequence[str]] = ()
    rule: ClassVar[Any]

    def __init__(
        self,
        params: Iterable[Any],
        defaults: Mapping[str, Any],
        max_grad_norm: float | None = None,
    ) -> None:
        """`params`: parameters, or dictionaries {"params": ..., "lr": ...} of groups."""
        if max_grad_norm is not None:
            need_between(self._name, 0, max_grad_norm=max_grad_norm)
        self.max_grad_norm = max_grad_norm
        self._norm: Any = None
        self.defaults = dict(defaults)
        self._before: dict[int, Hook] = {}
        self._after: dict[int, Hook] = {}
        self.param_groups: list[Group] = []
        self._buckets: list[list[Bucket]] = []
        for group in groups_of(self._name, params):
            self.add_param_group(group)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        """The numbers that `rule` takes at update number `step` (from 1)."""
        raise TypeError(f"{self._name}: expected the class to define scalars(self, group, step)")

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        """The formula of a group, and the names of the states that it keeps."""
        return type(self).rule, self.state_names

    def check(self, group: Group) -> None:
        """Raise `ValueError` for hyper-parameters that make no sense."""
        for name in self.not_negative:
            need_between(self._name, 0, **{name: group[name]})
        for k, beta in enumerate(group.get("betas", ()), 1):
            need_between(self._name, 0, 1, **{f"beta{k}": beta})

    # -- steps ---------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what `closure`, run first, returns.

        Raises `ShapeError` for a parameter that was given another shape.
        """
        return self._hooked(self._step, () if closure is None else (closure,))

    def _hooked(self, run: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """What `run` gives for the arguments that the hooks before it leave; then those after."""
        given: Given = (args, {})
        for hook in list(self._before.values()):
            given = hook(self, *given) or given
        found = run(*given[0], **given[1])
        for hook in list(self._after.values()):
            hook(self, *given)
        return found

    def register_step_pre_hook(self, hook: Hook) -> tg.RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before every `step`; what it returns replaces both.

        Gives the handle whose `remove()` takes it away. A copied or pickled optimizer has no hooks.
        """
        return tg.RemovableHandle(self._before, hook)

    def register_step_post_hook(self, hook: Hook) -> tg.RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after every `step`.

        A step that `GradScaler` leaves out has none, unless its host does not know: on a GPU.
        """
        return tg.RemovableHandle(self._after, hook)

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else closure()
        work = self._work()
        if self.max_grad_norm is None:
            self._update(work, None, ())
        else:
            limit = self._limit(work, self.max_grad_norm)
            self._update(work, limit.norm, (limit.factor,))
        return loss

    def step_unless(self, inverse: Any, flag: Any = 0.0) -> Any:
        """Update by the gradients times `inverse`, unless one is not finite; then gives 1, else 0.

        Nor is anything updated where `flag` is not 0. `inverse` is a 0-d float64 tensor; on a GPU
        the other two are too, the host waits for nothing, and a step that does nothing counts as
        an update.
        """
        work = self._work()
        most = math.inf if self.max_grad_norm is None else self.max_grad_norm
        limit = self._limit(work, most, inverse.data)
        if isinstance(limit.skip, float):  # the host has seen it
            known = max(float(tg.asarray(flag).item()), limit.skip)
            if not known:
                self._hooked(lambda: self._update(work, limit.norm, (limit.factor,)), ())
            return known
        skip = tg.maximum(tg.Tensor(limit.skip["float64"]), flag)
        flags = {name: skip.astype(name).data for name in limit.skip}
        self._hooked(lambda: self._update(work, limit.norm, (limit.factor, flags)), ())
        return skip

    def _update(self, work: Work, norm: Any, more: tuple[Any, ...]) -> None:
        """Run the formulas; `more` is what a formula takes besides: a factor, then a flag."""
        if self.max_grad_norm is None:
            norm = None
        rules = [self._form(group, len(more)) for group, _, _ in work]
        captured = recording()
        if captured is not None and any(on_device(bucket.flat) for _, bucket, _ in work):
            captured.check(partial(self._check_replay, work, rules, len(more)))
            captured.each(partial(self._set_norm, norm))
        else:
            self._norm = norm
        for (group, bucket, touched), rule in zip(work, rules):
            kernel = self._kernel(bucket, rule)
            bucket.step(touched, kernel, partial(self.scalars, group), more)

    def _form(self, group: Group, more: int) -> Any:
        """The formula of a group with what is done to its gradients before; see `_update`."""
        rule, states = self.variant(group)
        if group.get("maximize"):
            rule = negated(rule)
        if more == 2:
            return guarded(rule, inputs(rule), len(states))
        return scaled(rule, inputs(rule)) if more else rule

    def _kernel(self, bucket: Bucket, rule: Any) -> Callable[..., Any]:
        """What updates the arrays of a bucket."""
        found: Callable[..., Any] = (copied(rule) if bucket.copies else rule).kernel
        return found

    def _limit(self, work: Work, most: Any, inverse: Any = None) -> Limit:
        """The factor that limits the norm of all gradients times `inverse`."""
        parts = [part for _, bucket, touched in work for part in bucket.gradients(touched)]
        captured = recording()
        if captured is not None and parts and on_device(parts[0]):
            (most,) = captured.numbers(self._most, ("float64",))
        return limited(parts, most, inverse)

    @property
    def grad_norm(self) -> float | None:
        """The norm of all gradients in the last step, None without a limit.

        On a GPU reading it waits for the step.
        """
        found = self._norm
        return found if found is None or type(found) is float else float(tg.Tensor(found).item())

    # -- in a captured step --------------------------------------------------------------------

    def _most(self) -> tuple[float]:
        return (math.inf if self.max_grad_norm is None else self.max_grad_norm,)

    def _set_norm(self, norm: Any) -> None:
        self._norm = None if self.max_grad_norm is None else norm

    def _check_replay(self, work: Work, rules: list[Any], more: int) -> None:
        """Raise unless a replay would do what a step of this optimizer does."""
        there = {id(bucket) for buckets in self._buckets for bucket in buckets}
        got = ""
        if any(id(bucket) not in there for _, bucket, _ in work):
            got = "parameters that moved"
        elif self.max_grad_norm is not None and not more:
            got = f"max_grad_norm={self.max_grad_norm}"
        elif any(self._form(g, more) is not rule for (g, _, _), rule in zip(work, rules)):
            got = "other hyper-parameters"
        if got:
            raise tg.cuda.CaptureError(
                f"{self._name}: got {got} since the capture, expected all as it was there; "
                f"try capturing again"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every gradient to None, or with set_to_none=False those that there are to zero."""
        if not set_to_none:
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is not None:
                        param.grad = tg.zeros_like(param.grad)
        for bucket in (one for buckets in self._buckets for one in buckets if set_to_none):
            bucket.clear()

    def _work(self) -> Work:
        """The buckets with what is to be updated in each; they are built anew after a `.to()`."""
        work = []
        for index, group in enumerate(self.param_groups):
            names = self.variant(group)[1]
            for bucket in self._buckets[index]:
                touched = bucket.settle() if bucket.names == names else None
                if touched is None:
                    self._rebuild(index)
                    return self._work()
                if touched:
                    work.append((group, bucket, touched))
        return work

    def _rebuild(self, index: int) -> None:
        """New buckets for a group, with the state of the old ones cast to their dtypes."""
        pairs = [(slot, bucket) for bucket in self._buckets[index] for slot in bucket.slots]
        before = {id(slot.param): (slot, bucket.kept(slot)) for slot, bucket in pairs}
        self._buckets[index] = self._gathered(self.param_groups[index])
        for bucket in self._buckets[index]:
            for slot in bucket.slots:
                was, held = before[id(slot.param)]
                slot.steps = was.steps
                for name, array in bucket.kept(slot).items():
                    if name in held:
                        copy(array, held[name])

    def _gathered(self, group: Group) -> list[Bucket]:
        """The buckets of the parameters of a group, one a dtype and device."""
        kinds: dict[tuple[Any, str], list[tg.Tensor]] = {}
        for param in group["params"]:
            kinds.setdefault((param.dtype, param.device), []).append(param)
        return [self._bucket(group, members) for members in kinds.values()]

    def _bucket(self, group: Group, members: Sequence[tg.Tensor]) -> Bucket:
        return Bucket(members, self.variant(group)[1])

    # -- groups --------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a dictionary of "params" and the hyper-parameters that differ from the defaults.

        Raises `TypeError` for what is no tensor, `ValueError` for hyper-parameters that make no
        sense or are unknown and for a parameter given twice, `GradientError` for what is no leaf.
        """
        new: Group = {**self.defaults, **group, **members(group)}
        if isinstance(new.get("lr"), tg.Tensor):
            new["lr"] = float(new["lr"].item())
        unknown = [key for key in group if key not in self.defaults and key not in _FREE_KEYS]
        if unknown:
            raise ValueError(
                f"{self._name}: got a group with {unknown[0]!r}, expected some of "
                f"{', '.join(self.defaults)}; try one of these"
            )
        self.check(new)
        self._check_params(new["params"])
        self.param_groups.append(new)
        self._buckets.append(self._gathered(new))

    def _check_params(self, params: Sequence[Any]) -> None:
        """Raise for what this optimizer cannot update; see `need_params`."""
        need_params(self._name, params, [p for group in self.param_groups for p in group["params"]])

    # -- state ---------------------------------------------------------------------------------

    def _slots(self) -> Iterator[tuple[int, Slot, Bucket]]:
        """(number, slot, bucket) of every parameter, numbered through the groups in order."""
        number = 0
        for group, buckets in zip(self.param_groups, self._buckets):
            place = {id(slot.param): (slot, bucket) for bucket in buckets for slot in bucket.slots}
            for param in group["params"]:
                yield number, *place[id(param)]
                number += 1

    @property
    def state(self) -> dict[tg.Tensor, dict[str, Any]]:
        """{parameter: {"step": n, name: tensor}} of every parameter that has had an update.

        The tensors are views: what is written into them counts.
        """
        return {
            slot.param: {
                "step": slot.steps,
                **{name: tg.Tensor(array) for name, array in bucket.kept(slot).items()},
            }
            for _, slot, bucket in self._slots()
            if slot.steps
        }

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {"step": n, name: tensor}}, "param_groups": [...]}, all copies.

        Parameters are numbered through the groups in order, as in PyTorch; one that has had no
        update has no state. Loaded into an optimizer of the same parameters it resumes bit for bit.
        """
        state: dict[int, dict[str, Any]] = {}
        for number, slot, bucket in self._slots():
            if slot.steps:
                held = {name: tg.tensor(array) for name, array in bucket.kept(slot).items()}
                state[number] = {"step": slot.steps, **held}
        groups, number = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append({**group, "params": list(range(number, number + count))})
            number += count
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state and the hyper-parameters of a `state_dict`.

        Raises `ValueError` for other groups or shapes than this optimizer's; then nothing changes.
        """
        if not {"param_groups", "state"} <= set(state_dict):
            raise ValueError(
                f"{self._name}: got a state of {sorted(map(str, state_dict))[:4]}, expected "
                '"param_groups" and "state"; try optimizer.state_dict()'
            )
        groups, state = state_dict["param_groups"], state_dict["state"]
        here = [len(group["params"]) for group in self.param_groups]
        there = [len(group["params"]) for group in groups]
        if here != there:
            raise ValueError(
                f"{self._name}: got a state of groups with {there} parameters, expected {here}; "
                f"try an optimizer of the same parameters"
            )
        merged = [
            {**group, **saved, "params": group["params"]}
            for group, saved in zip(self.param_groups, groups)
        ]
        self._check_states(merged, state)
        need_settings(self._name, self.defaults, groups)
        for index, (group, new) in enumerate(zip(self.param_groups, merged)):
            group.update(new)
            if any(bucket.names != self.variant(group)[1] for bucket in self._buckets[index]):
                self._rebuild(index)
        for number, slot, bucket in self._slots():
            given = state.get(number)
            slot.steps = 0 if given is None else int(given["step"])
            for name, array in bucket.kept(slot).items():
                value = given[name] if given is not None else slot.param if name == MASTER else 0
                copy(array, value)

    def _check_states(self, groups: Sequence[Group], state: Mapping[int, Any]) -> None:
        number = 0
        for group in groups:
            self.check(group)
            for param in group["params"]:
                if number in state:
                    self._check_state(number, self._shapes(group, param), state[number])
                number += 1

    def _shapes(self, group: Group, param: tg.Tensor) -> dict[str, tuple[int, ...]]:
        """What is kept beside a parameter, and in which shape."""
        names = [*self.variant(group)[1]]
        if tg.dtypes.compute(param.dtype) != param.dtype:
            names.append(MASTER)
        return dict.fromkeys(names, param.shape)

    def _check_state(
        self, number: int, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]
    ) -> None:
        names = {"step", *wanted}
        if set(given) != names:
            raise ValueError(
                f"{self._name}: got state {sorted(given)} for parameter {number}, expected "
                f"{sorted(names)}; try the class that saved it"
            )
        for name, shape in wanted.items():
            if tuple(given[name].shape) != shape:
                raise ValueError(
                    f"{self._name}: got {name} of shape {tuple(given[name].shape)} for parameter "
                    f"{number}, expected {shape}; try an optimizer of the same parameters"
                )

    def __getstate__(self) -> dict[str, Any]:
        kept = {key: value for key, value in self.__dict__.items() if key != "_buckets"}
        hooks: dict[str, Any] = {"_before": {}, "_after": {}}
        return {**kept, **hooks, "_norm": self.grad_norm, "_saved": self.state_dict()}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        saved = kept.pop("_saved")
        self.__dict__.update(kept)
        self._buckets = [self._gathered(group) for group in self.param_groups]
        self.load_state_dict(saved)

    def __repr__(self) -> str:
        lines = []
        for k, group in enumerate(self.param_groups):
            lines.append(f"  group {k}: {len(group['params'])} parameters")
            lines += [f"    {key}: {group[key]}" for key in group if key != "params"]
        return f"{self._name}(\n" + "\n".join(lines) + "\n)"


def need_between(op: str, low: float, high: float = math.inf, **value: float) -> None:
    """Raise `ValueError` unless low <= value < high (NaN never is), `TypeError` for no number."""
    ((name, number),) = value.items()
    fix = f"try {name}={low or 0.1:g}"
    try:
        fine = bool(low <= number < high)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: got {name}={number!r}, expected a number; {fix}") from None
    if not fine:
        rule = f"{name} >= {low:g}" if high == math.inf else f"{low:g} <= {name} < {high:g}"
        raise ValueError(f"{op}: got {name}={number}, expected {rule}; {fix}")
