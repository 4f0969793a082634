"""Watching: what stands between a call and its kernel, and in backward, while somebody looks.

A `Watch` sees every kernel that runs in its context and every node that backward walks. While none
is open anywhere the tables of kernels hold the bare kernels, so that a call costs what it costs.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tensorgrad import _config
from tensorgrad.core.tape import Array, Node

if TYPE_CHECKING:
    from tensorgrad.core.primitive import Primitive

Pairs = list[tuple[int, Any]]
Deliver = Callable[[Node, Any], None]
EVERY: weakref.WeakSet[Primitive] = weakref.WeakSet()
"""All primitives, those of one decorated function too."""


class Watch:
    """What one watcher does; here nothing but the work itself."""

    def kernel(
        self, op: Primitive | Source, run: Callable[[], Any], arrays: Sequence[Array]
    ) -> Any:
        """Around one kernel: `run()` gives its output, or a tuple."""
        return run()

    def pull(self, node: Node, ct: Any, run: Callable[[], Pairs]) -> Pairs:
        """Around one node in backward: `run()` gives (input, cotangent) pairs; `ct` its own."""
        return run()

    def leaf(self, node: Node, ct: Any) -> None:
        """After a cotangent was delivered, to a leaf or to what was asked for."""


class Watched:
    """A kernel that tells the watches of its context, if there are any."""

    __slots__ = ("bare", "op")

    def __init__(self, op: Primitive, bare: Callable[..., Any]) -> None:
        self.op, self.bare = op, bare

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)

    def __call__(self, *arrays: Array, **params: Any) -> Any:
        watches = _config.watches.get()
        if not watches:
            return self.bare(*arrays, **params)
        run = partial(self.bare, *arrays, **params)
        for watch in watches:
            run = partial(watch.kernel, self.op, run, arrays)
        return run()


_open = 0
_lock = threading.Lock()


def watched(op: Primitive, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that was just found, as the table of its primitive should hold it now."""
    return Watched(op, kernel) if _open else kernel


class Source(NamedTuple):
    """What makes arrays out of none, as a watch sees it: by name, like an operation."""

    name: str


def source(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """A backend's function that makes an array out of none, under the eyes of the watches."""
    if not _open:
        return make

    def run(*given: Any, **options: Any) -> Any:
        made = partial(make, *given, **options)
        for watch in _config.watches.get():
            made = partial(watch.kernel, Source(name), made, ())
        return made()

    return run


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """The block that a watch sees; those of other threads and tasks it does not."""
    _count(+1)
    try:
        with _config.setting(_config.watches, (*_config.watches.get(), watch)):
            yield
    finally:
        _count(-1)


def _all() -> list[Primitive]:
    """All primitives there are; another thread may make one meanwhile."""
    while True:
        try:
            return list(EVERY)
        except RuntimeError:  # the set changed size
            continue


def _count(change: int) -> None:
    """Open or close a watch; the first one and the last one change the tables of kernels."""
    global _open
    with _lock:
        before, _open = _open, _open + change
        if before and _open:
            return
        for op in _all():
            for kind, kernel in list(op.kernels.items()):
                bare = kernel.bare if type(kernel) is Watched else kernel
                op.kernels[kind] = watched(op, bare)


def pulled(
    watches: Sequence[Watch], node: Any, ct: Any, wanted: Sequence[int], into: Any
) -> Iterable[tuple[int, Any]]:
    """The cotangents of one node's inputs under the eyes of `watches`; `into` None for tensors."""
    primitive = node.primitive

    def run() -> Pairs:
        if into is None:
            return list(primitive.vjp(node, ct, wanted))
        return list(primitive.pull(node, ct, wanted, into))

    seen: Callable[[], Pairs] = run
    for watch in watches:
        seen = partial(watch.pull, node, ct, seen)
    return seen()


def seen(deliver: Deliver) -> tuple[tuple[Watch, ...], Deliver]:
    """The watches of this context, and a delivery that tells them."""
    watches = _config.watches.get()
    if not watches:
        return watches, deliver

    def told(node: Node, ct: Any) -> None:
        deliver(node, ct)
        for watch in watches:
            watch.leaf(node, ct)

    return watches, told
