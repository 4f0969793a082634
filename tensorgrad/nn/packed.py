"""Sequences of different lengths: padded in one array, or packed step by step without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import tensorgrad as tg


class PackedSequence(NamedTuple):
    """The steps of several sequences in one array: all first steps, all second ones, and so on.

    data (Σ lengths, ...), the longest sequence first; `batch_sizes` says how many sequences reach
    each step. `sorted_indices` are the sequences as they were given, by falling length, and
    `unsorted_indices` lead back (both None: they came in that order).
    """

    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None


def _whole(values: Any) -> Any:
    """Numbers as an array of int64 on the host."""
    found = np.asarray(values.to("cpu") if isinstance(values, tg.Tensor) else values)
    return found.astype(np.int64) if found.dtype.kind in "iu" else found


def _beside(x: Any, values: Any) -> Any:
    """An array of the host as a tensor on the device of x."""
    return tg.tensor(values, device=x.device)


def _checked(op: str, lengths: Any, rows: int, steps: int) -> Any:
    found = _whole(lengths)
    fits = found.dtype.kind == "i" and found.shape == (rows,)
    if not fits or not rows or found.min() < 1 or found.max() > steps:
        raise ValueError(
            f"{op}: got lengths={found.tolist()}, expected {rows} whole numbers from 1 to {steps}; "
            "try leaving out empty sequences"
        )
    return found


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack sequences that were padded to one length.

    input (steps, batch, ...), with batch_first (batch, steps, ...); `lengths` one for each
    sequence, falling, unless `enforce_sorted` is False. Raises `ValueError` for lengths that do not
    fit.

    >>> packed = pack_padded_sequence(tg.tensor([[1.0, 2.0], [3.0, 0.0]]), [2, 1])
    >>> packed.data, packed.batch_sizes
    (tensor([1., 2., 3.]), tensor([2, 1]))
    """
    x = input if isinstance(input, tg.Tensor) else tg.tensor(input)
    if x.ndim < 2:
        raise tg.ShapeError(
            f"pack_padded_sequence: got an input of shape {x.shape}, expected (steps, batch, ...); "
            "try input[:, None]"
        )
    x = x.swapaxes(0, 1) if batch_first else x
    found = _checked("pack_padded_sequence", lengths, x.shape[1], x.shape[0])
    order = np.argsort(-found, kind="stable")
    if enforce_sorted and (np.diff(found) > 0).any():
        raise ValueError(
            f"pack_padded_sequence: got lengths={found.tolist()}, expected them to fall; "
            "try enforce_sorted=False"
        )
    sizes = (np.arange(found.max())[:, None] < found).sum(axis=1)
    data = _steps(x, sizes, order)
    if enforce_sorted:
        return PackedSequence(data, tg.tensor(sizes))
    return PackedSequence(
        data, tg.tensor(sizes), _beside(x, order), _beside(x, np.argsort(order))
    )  # fmt: skip


def packed_like(x: Any, packed: PackedSequence) -> PackedSequence:
    """Sequences (steps, batch, ...) in the order and of the lengths of those that are packed."""
    sizes, order = _whole(packed.batch_sizes), packed.sorted_indices
    order = np.arange(x.shape[1]) if order is None else _whole(order)
    return packed._replace(data=_steps(x, sizes, order))


def _steps(x: Any, sizes: Any, order: Any) -> Any:
    """The first sizes[k] sequences of an order at each step k, one step behind the other."""
    step, place = np.nonzero(np.arange(len(order)) < sizes[:, None])
    return x[_beside(x, step), _beside(x, order[place])]


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """(the sequences padded to one length, their lengths), in the order in which they were given.

    The inverse of `pack_padded_sequence`. Raises `ValueError` for a `total_length` below the
    longest sequence.

    >>> packed = pack_padded_sequence(tg.tensor([[1.0, 2.0], [3.0, 0.0]]), [2, 1])
    >>> pad_packed_sequence(packed)
    (tensor([[1., 2.],
            [3., 0.]]), tensor([2, 1]))
    """
    sizes = _whole(sequence.batch_sizes)
    longest = len(sizes)
    steps = longest if total_length is None else total_length
    if steps < longest:
        raise ValueError(
            f"pad_packed_sequence: got total_length={steps}, expected {longest} at least, the "
            f"longest sequence; try total_length={longest}"
        )
    place = np.arange(sizes[0])
    inside = np.concatenate([place < sizes[:, None], np.zeros((steps - longest, len(place)), bool)])
    starts = np.concatenate([np.cumsum(sizes) - sizes, np.zeros(steps - longest, np.int64)])
    index, lengths = np.where(inside, starts[:, None] + place, 0), inside.sum(axis=0)
    if sequence.unsorted_indices is not None:
        back = _whole(sequence.unsorted_indices)
        index, inside, lengths = index[:, back], inside[:, back], lengths[back]
    data = sequence.data
    found = data[_beside(data, index)]
    mask = inside.reshape(*inside.shape, *(1,) * (data.ndim - 1))
    found = tg.where(_beside(data, mask), found, padding_value)
    return (found.swapaxes(0, 1) if batch_first else found), tg.tensor(lengths)


def pad_sequence(
    sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Any:  # fmt: skip
    """Sequences (steps, ...) as one array (longest, batch, ...), filled up with `padding_value`.

    Raises `ValueError` for no sequence, or for another side than "right" and "left".

    >>> pad_sequence([tg.tensor([1.0, 2.0]), tg.tensor([3.0])], batch_first=True)
    tensor([[1., 2.],
            [3., 0.]])
    """
    if not sequences or padding_side not in ("right", "left"):
        raise ValueError(
            f"pad_sequence: got {len(sequences)} sequences, padding_side={padding_side!r}, "
            'expected one at least, and "right" or "left"; try padding_side="right"'
        )
    given = [x if isinstance(x, tg.Tensor) else tg.tensor(x) for x in sequences]
    longest = max(len(x) for x in given)
    padded = []
    for x in given:
        more = longest - len(x)
        ends = (0, more) if padding_side == "right" else (more, 0)
        widths = (ends, *((0, 0),) * (x.ndim - 1))
        padded.append(tg.pad(x, widths, constant_values=padding_value))
    return tg.stack(padded, axis=0 if batch_first else 1)


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (steps, ...); see `pack_padded_sequence`.

    >>> pack_sequence([tg.tensor([1.0, 2.0]), tg.tensor([3.0])]).data
    tensor([1., 3., 2.])
    """
    lengths = [len(x) for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of an array (longest, batch, ...), or with batch_first (batch, longest, ...).

    Raises `ValueError` for lengths that do not fit.

    >>> unpad_sequence(tg.tensor([[1.0, 2.0], [3.0, 0.0]]), [2, 1])
    [tensor([1., 3.]), tensor([2.])]
    """
    x = padded_sequences if isinstance(padded_sequences, tg.Tensor) else tg.tensor(padded_sequences)
    x = x if batch_first else x.swapaxes(0, 1)
    found = _checked("unpad_sequence", lengths, x.shape[0], x.shape[1])
    return [x[k, :n] for k, n in enumerate(found.tolist())]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences, each with its own length, in the order in which they were given.

    >>> unpack_sequence(pack_sequence([tg.tensor([1.0, 2.0]), tg.tensor([3.0])]))
    [tensor([1., 2.]), tensor([3.])]
    """
    return unpad_sequence(*pad_packed_sequence(packed_sequences))
