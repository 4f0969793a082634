"""L-BFGS with a strong Wolfe line search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.bucket import MASTER, Bucket
from tensorgrad.optim.line_search import Point, strong_wolfe
from tensorgrad.optim.memory import copy, quiet
from tensorgrad.optim.optimizer import Group, Optimizer
from tensorgrad.optim.params import members
from tensorgrad.optim.slot import Slot

Memory = dict[str, Any]
_VECTORS, _LISTS = ("d", "prev_flat_grad"), ("old_dirs", "old_stps")
_NUMBERS = ("func_evals", "n_iter", "t", "ro", "H_diag", "prev_loss")
_KEYS = {*_VECTORS, *_LISTS, *_NUMBERS, MASTER}


@tg.fuse
def _along(start: Any, step: Any, direction: Any) -> Any:
    return start + step * direction


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of gradient and position.

    `step(closure)` takes up to `max_iter` iterations; the closure clears the gradients, computes
    the loss, calls `backward` and returns the loss. With line_search_fn="strong_wolfe" the step
    along each direction meets the strong Wolfe conditions, without it it is `lr`. It returns the
    loss before the first iteration. For losses without noise; all parameters together are one group
    of one dtype and device. Nocedal, "Updating quasi-Newton matrices with limited storage", 1980;
    Liu, Nocedal 1989.

    >>> import tensorgrad as tg
    >>> x = tg.nn.Parameter([-1.0, 1.0])
    >>> opt = LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(3):
    ...     loss = opt.step(closure)
    >>> bool(closure() < 1e-9)
    True
    """

    not_negative = (
        "lr",
        "max_iter",
        "max_eval",
        "tolerance_grad",
        "tolerance_change",
        "history_size",
    )

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        self._memory: Memory = {}
        named: Group = {"lr": lr, "max_iter": max_iter}
        named["max_eval"] = max_iter * 5 // 4 if max_eval is None else max_eval
        more = {"history_size": history_size, "line_search_fn": line_search_fn}
        tolerances = {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
        super().__init__(params, {**named, **tolerances, **more})

    def variant(self, group: Group) -> tuple[Any, tuple[str, ...]]:
        return None, ()

    def check(self, group: Group) -> None:
        super().check(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(
                f"LBFGS: got line_search_fn={group['line_search_fn']!r}, expected None or "
                f"'strong_wolfe'; try 'strong_wolfe'"
            )

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take the parameters; a second group raises `ValueError`."""
        named = members(group)
        kinds = {(p.dtype.name, p.device) for p in named["params"] if isinstance(p, tg.Tensor)}
        if self.param_groups or len(kinds) > 1:
            got = "a second group" if self.param_groups else f"parameters of {sorted(kinds)}"
            raise ValueError(
                f"LBFGS: got {got}, expected one group of one dtype on one device; "
                f"try all parameters in one list"
            )
        super().add_param_group({**group, **named})

    # -- steps ---------------------------------------------------------------------------------

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        if closure is None:
            raise TypeError(
                "LBFGS: got step(), expected step(closure); try a function that clears the "
                "gradients, computes the loss, calls backward and returns the loss"
            )
        first = closure()
        with quiet(self._settled()[0].flat):
            self._iterate(closure, _value(first))
        return first

    def step_unless(self, inverse: Any, flag: Any = 0.0) -> Any:
        raise TypeError(
            "LBFGS: got a GradScaler, expected none: it calls backward many times in a step; "
            "try optim.Adam, or training in float32"
        )

    def _iterate(self, closure: Callable[[], Any], loss: float) -> None:
        group, memory, grad = self.param_groups[0], self._memory, self._gradient()
        memory["func_evals"] = memory.get("func_evals", 0) + 1
        evals, tiny = 1, group["tolerance_change"]
        most, searched = group["max_eval"], group["line_search_fn"] is not None
        if _largest(grad) <= group["tolerance_grad"]:
            return
        for iteration in range(1, group["max_iter"] + 1):
            direction = self._direction(grad)
            memory["prev_flat_grad"], memory["prev_loss"] = grad, loss
            first = memory["n_iter"] == 1
            step = group["lr"]
            if first:
                step = min(1.0, 1.0 / float(tg.sum(abs(grad)).item())) * step
            slope, before, last = _dot(grad, direction), loss, iteration == group["max_iter"]
            memory["d"], memory["t"] = direction, step
            if slope > -tiny:
                return
            here = Point(0.0, loss, grad, slope)
            if searched:
                here, tried = self._search(closure, here, direction, step, most - evals)
            else:
                here, tried = self._plain_step(closure, here, direction, step, last)
            loss, grad, memory["t"] = here.value, here.gradient, here.step
            evals += tried
            memory["func_evals"] += tried
            if last or evals >= most or _largest(grad) <= group["tolerance_grad"]:
                return
            if _largest(direction) * here.step <= tiny or abs(loss - before) < tiny:
                return

    def _direction(self, grad: Any) -> Any:
        """-H g by the two loops over what is remembered; H is never written down."""
        memory = self._memory
        memory["n_iter"] = memory.get("n_iter", 0) + 1
        if memory["n_iter"] == 1:
            memory.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -grad
        changes, steps, ro = memory["old_dirs"], memory["old_stps"], memory["ro"]
        change, moved = grad - memory["prev_flat_grad"], memory["d"] * memory["t"]
        curvature = _dot(change, moved)
        if curvature > 1e-10:
            if len(changes) == self.param_groups[0]["history_size"]:
                for kept in (changes, steps, ro):
                    del kept[:1]
            changes.append(change)
            steps.append(moved)
            ro.append(1.0 / curvature)
            memory["H_diag"] = curvature / _dot(change, change)
        found, shares = -grad, []
        for change, moved, inverse in zip(changes[::-1], steps[::-1], ro[::-1]):
            shares.append(_dot(moved, found) * inverse)
            found = _along(found, -shares[-1], change)
        found = found * memory["H_diag"]
        for change, moved, inverse, share in zip(changes, steps, ro, shares[::-1]):
            found = _along(found, share - _dot(change, found) * inverse, moved)
        return found

    def _search(
        self, closure: Callable[[], Any], start: Point, direction: Any, step: float, most: int
    ) -> tuple[Point, int]:
        origin = tg.tensor(self._flat())

        def along(step: float) -> Point:
            self._put(_along(origin, step, direction))
            value = _value(closure())
            gradient = self._gradient()
            return Point(step, value, gradient, _dot(gradient, direction))

        reach, tiny = _largest(direction), self.param_groups[0]["tolerance_change"]
        found = strong_wolfe(along, start, step, reach, tolerance_change=tiny, most=most)
        self._put(_along(origin, found[0].step, direction))
        return found

    def _plain_step(
        self, closure: Callable[[], Any], start: Point, direction: Any, step: float, last: bool
    ) -> tuple[Point, int]:
        self._put(_along(tg.Tensor(self._flat()), step, direction))
        if last:
            return start._replace(step=step), 0
        value = _value(closure())
        return Point(step, value, self._gradient(), 0.0), 1

    # -- parameters as one vector ---------------------------------------------------------------

    def _settled(self) -> tuple[Bucket, list[Slot]]:
        """The bucket with the values that were assigned since, and who has a gradient."""
        (bucket,) = self._buckets[0]
        touched = bucket.settle()
        if touched is None:
            self._rebuild(0)
            return self._settled()
        return bucket, touched

    def _flat(self) -> Any:
        """All parameters; nothing of the user's has run since they were settled."""
        return self._buckets[0][0].flat

    def _put(self, values: Any) -> None:
        self._buckets[0][0].put(values.data)

    def _gradient(self) -> Any:
        """A copy of all gradients in the dtype of the update, zero where there is none."""
        bucket, touched = self._settled()
        return tg.Tensor(bucket.gathered(touched))

    def _rebuild(self, index: int) -> None:
        packed = self._packed()
        super()._rebuild(index)
        self._unpack(packed)

    def _packed(self) -> Memory:
        """What is remembered, its vectors in the order of the parameters' elements."""
        (bucket,) = self._buckets[0]

        def pack(vector: Any) -> Any:
            array = vector.data  # of the dtype before, where the parameters have been cast
            if bucket.width == 2:
                array = array.view(tg.result_type(vector.dtype, tg.complex64))
            return tg.concatenate([tg.ravel(tg.Tensor(s.of(array))) for s in bucket.slots])

        return _mapped(self._memory, pack)

    def _unpack(self, packed: Mapping[str, Any]) -> None:
        (bucket,) = self._buckets[0]
        dtype = tg.dtypes.compute(bucket.slots[0].param.dtype)

        def unpack(vector: Any) -> Any:
            array, at = tg.zeros(bucket.size, dtype=dtype, device=vector.device).data, 0
            for slot in bucket.slots:
                count = slot.param.size
                copy(slot.of(array), tg.reshape(vector[at : at + count], slot.param.shape))
                at += count
            return tg.Tensor(array.view(bucket.flat.dtype)).to(tg.Tensor(bucket.flat).device)

        self._memory = _mapped(packed, unpack)

    # -- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """As `Optimizer.state_dict`; what is remembered is the state of the first parameter.

        Its keys are PyTorch's.
        """
        saved = super().state_dict()
        if self._memory:
            saved["state"] = {0: self._packed()}
        bucket, _ = self._settled()
        if MASTER in bucket.state:
            held = [tg.ravel(tg.Tensor(s.of(bucket.state[MASTER]))) for s in bucket.slots]
            saved["state"].setdefault(0, {})[MASTER] = tg.concatenate(held)
        return saved

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a `state_dict`; `ValueError` for one that does not fit, and nothing changes."""
        given = dict(state_dict["state"].get(0, {}))
        count = sum(param.size for param in self.param_groups[0]["params"])
        vectors = [given[name] for name in (*_VECTORS, MASTER) if name in given]
        vectors += [vector for name in _LISTS for vector in given.get(name, ())]
        sizes = {vector.size for vector in vectors} - {count}
        unknown = sorted(given.keys() - _KEYS)
        if sizes or unknown:
            got = f"the keys {unknown}" if unknown else f"vectors of {sorted(sizes)} elements"
            raise ValueError(
                f"LBFGS: got a state with {got}, expected that of {count} elements; "
                f"try an optimizer of the same parameters"
            )
        super().load_state_dict({**state_dict, "state": {}})
        master = given.pop(MASTER, None)
        self._unpack(given)
        if master is not None:
            at = 0
            (bucket,) = self._buckets[0]
            for slot in bucket.slots:
                part = master[at : at + slot.param.size]
                copy(slot.of(bucket.state[MASTER]), tg.reshape(part, slot.param.shape))
                at += slot.param.size

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_memory": {}}


def _mapped(memory: Mapping[str, Any], change: Callable[[Any], Any]) -> Memory:
    """The memory with another form of its vectors."""
    found = dict(memory)
    found.update({name: change(found[name]) for name in _VECTORS if name in found})
    found.update({name: [*map(change, found[name])] for name in _LISTS if name in found})
    if "ro" in found:
        found["ro"] = list(found["ro"])
    return found


def _value(loss: Any) -> float:
    return float(loss.item() if isinstance(loss, tg.Tensor) else loss)


def _dot(one: Any, other: Any) -> float:
    return float(one.data.dot(other.data))


def _largest(vector: Any) -> float:
    return float(tg.max(abs(vector)).item())
