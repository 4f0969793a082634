"""Philox 4x32-10 as machine code: sixteen blocks at a time, the bits that NumPy would compute."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.native import address, builtin
from tensorgrad.codegen.ufunc import layout_known

_WIDTH, _ROUNDS = 16, 10
_M0, _M1, _W0, _W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
_V, _LOW = f"<{_WIDTH} x i64>", "splat (i64 4294967295)"


def _spread(name: str, value: str) -> list[str]:
    """Lines that put a 64-bit number in every lane of %name."""
    zero = f"<{_WIDTH} x i32> zeroinitializer"
    return [
        f"  %{name}.one = insertelement {_V} poison, i64 {value}, i32 0",
        f"  %{name} = shufflevector {_V} %{name}.one, {_V} poison, {zero}",
    ]


def _keys() -> list[str]:
    """Round keys: each half grows by its Weyl constant modulo 2^32."""
    lines = ["  %key.low = and i64 %key, 4294967295", "  %key.high = lshr i64 %key, 32"]
    for r in range(_ROUNDS):
        for half, step, name in (("low", _W0, "a"), ("high", _W1, "b")):
            lines += [
                f"  %{name}{r}.sum = add i64 %key.{half}, {r * step}",
                f"  %{name}{r}.cut = and i64 %{name}{r}.sum, 4294967295",
                *_spread(f"{name}{r}", f"%{name}{r}.cut"),
            ]
    return lines


def _rounds() -> tuple[list[str], list[str]]:
    """The rounds on four vectors of words, each kept in 64 bits; and their names at the end."""
    lines, x = [], ["%x0", "%x1", "%x2", "%x3"]
    for r in range(_ROUNDS):
        for k, (word, factor) in enumerate(((x[0], _M0), (x[2], _M1))):
            lines += [
                f"  %p{r}.{k} = mul {_V} {word}, splat (i64 {factor})",
                f"  %h{r}.{k} = lshr {_V} %p{r}.{k}, splat (i64 32)",
                f"  %l{r}.{k} = and {_V} %p{r}.{k}, {_LOW}",
            ]
        for name, high, word, key in (("s", 1, x[1], "a"), ("t", 0, x[3], "b")):
            lines += [
                f"  %{name}{r}.half = xor {_V} %h{r}.{high}, {word}",
                f"  %{name}{r} = xor {_V} %{name}{r}.half, %{key}{r}",
            ]
        x = [f"%s{r}", f"%l{r}.1", f"%t{r}", f"%l{r}.0"]
    return lines, x


def text() -> str:
    """The built-in function fill(key, low, high, count, words) as LLVM text."""
    rounds, x = _rounds()
    narrow, pair, quad = (f"<{n * _WIDTH} x i32>" for n in (1, 2, 4))
    join = ", ".join(f"i32 {k}" for k in range(2 * _WIDTH))
    # Lane k's words x0 .. x3 lie side by side.
    woven = ", ".join(f"i32 {j * _WIDTH + k}" for k in range(_WIDTH) for j in range(4))
    whole = ", ".join(f"i32 {k}" for k in range(4 * _WIDTH))
    lanes = ", ".join(f"i64 {k}" for k in range(_WIDTH))
    body = [
        *rounds,
        *[f"  %n{k} = trunc {_V} {name} to {narrow}" for k, name in enumerate(x)],
        f"  %q0 = shufflevector {narrow} %n0, {narrow} %n1, <{2 * _WIDTH} x i32> <{join}>",
        f"  %q1 = shufflevector {narrow} %n2, {narrow} %n3, <{2 * _WIDTH} x i32> <{join}>",
        f"  %all = shufflevector {pair} %q0, {pair} %q1, <{4 * _WIDTH} x i32> <{whole}>",
        f"  %woven = shufflevector {quad} %all, {quad} poison, <{4 * _WIDTH} x i32> <{woven}>",
    ]
    constant = [line for k in (1, 2, 3) for line in _spread(f"x{k}", f"%c{k}")]
    return (
        _TEXT.replace("KEYS", "\n".join([*_keys(), *constant]))
        .replace("BODY", "\n".join(body))
        .replace("QUAD", quad)
        .replace("VECTOR", _V)
        .replace("LANES", lanes)
        .replace("WIDTH", str(_WIDTH))
        .replace("START", "\n".join(_spread("first", "%begin")))
    )


_TEXT = """; fill(key, counter's low 64 bits, its high 64 bits, blocks, words): Philox 4x32-10
define ptr @KERNEL(ptr %self, ptr %args, i64 %nargs) {
entry:
  %numbers = alloca [4 x i64]
  %rest = alloca QUAD, align 64
  %table = getelementptr i8, ptr %self, i64 32
  %number = load ptr, ptr %table
  %none.at = getelementptr ptr, ptr %table, i64 1
  %none = load ptr, ptr %none.at
  %incref.at = getelementptr ptr, ptr %table, i64 2
  %incref = load ptr, ptr %incref.at
  br label %argument
argument:
  %a = phi i64 [0, %entry], [%a.next, %argument]
  %from = getelementptr ptr, ptr %args, i64 %a
  %object = load ptr, ptr %from
  %value = call i64 %number(ptr %object)
  %to = getelementptr i64, ptr %numbers, i64 %a
  store i64 %value, ptr %to
  %a.next = add i64 %a, 1
  %a.more = icmp slt i64 %a.next, 4
  br i1 %a.more, label %argument, label %known
known:
  %key = load i64, ptr %numbers
  %low.at = getelementptr i64, ptr %numbers, i64 1
  %low = load i64, ptr %low.at
  %high.at = getelementptr i64, ptr %numbers, i64 2
  %high = load i64, ptr %high.at
  %count.at = getelementptr i64, ptr %numbers, i64 3
  %count = load i64, ptr %count.at
  %array.at = getelementptr ptr, ptr %args, i64 4
  %array = load ptr, ptr %array.at
  %words.at = getelementptr i8, ptr %array, i64 16
  %words = load ptr, ptr %words.at
  %c0 = and i64 %low, 4294967295
  %c1 = lshr i64 %low, 32
  %c2 = and i64 %high, 4294967295
  %c3 = lshr i64 %high, 32
KEYS
  br label %blocks
blocks:
  %i = phi i64 [0, %known], [%i.next, %written]
  %i.next = add i64 %i, WIDTH
  %begin = add i64 %c0, %i
START
  %x0 = add VECTOR %first, <LANES>
BODY
  %at = getelementptr [4 x i32], ptr %words, i64 %i
  %full = icmp sle i64 %i.next, %count
  br i1 %full, label %write, label %part
write:
  store QUAD %woven, ptr %at, align 4
  br label %written
part:
  store QUAD %woven, ptr %rest, align 64
  %left = sub i64 %count, %i
  %bytes = mul i64 %left, 16
  call void @llvm.memcpy.p0.p0.i64(ptr %at, ptr %rest, i64 %bytes, i1 false)
  br label %written
written:
  %more = icmp slt i64 %i.next, %count
  br i1 %more, label %blocks, label %done
done:
  call void %incref(ptr %none)
  ret ptr %none
}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""


def _build() -> Callable[..., None] | None:
    if not layout_known():
        return None
    api = ctypes.pythonapi
    words = [address(api.PyLong_AsUnsignedLongLongMask), id(None), address(api.Py_IncRef)]
    return builtin("philox", compiler().address(text()), words)


def fill() -> Callable[..., None] | None:
    """f(key, low, high, blocks, words): 4 words of 32 bits a block; None without generated code.

    Block i is that of the counter high 2^64 + low + i; the low 32 bits must not wrap. `words` is a
    contiguous array with room for 4 blocks of words.
    """
    return KERNELS.find("philox", _build)  # type: ignore[no-any-return]
