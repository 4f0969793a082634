"""Kernels that a user wrote: their text read for what they take and give, checked, launched.

A C++ pointer knows neither dtype nor length, so all that a call needs stands in the parameter list:
names say which argument it is, types what it must hold.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad._errors import DeviceError, DTypeError
from tensorgrad.backend.cuda import device
from tensorgrad.backend.cuda.module import Launcher, load

THREADS = 256
COUNT = "n"  # the parameter that is the number of elements of the first result

_TYPES = {
    "float": "float32", "double": "float64", "__half": "float16", "half": "float16",
    "bool": "bool", "char": "int8", "signed char": "int8", "unsigned char": "uint8",
    "short": "int16", "unsigned short": "uint16", "int": "int32", "unsigned": "uint32",
    "unsigned int": "uint32", "long long": "int64", "unsigned long long": "uint64",
    "int8_t": "int8", "uint8_t": "uint8", "int32_t": "int32", "int64_t": "int64",
    "size_t": "uint64",
}  # fmt: skip
_NAMES = {"float32": "float", "float64": "double", "float16": "__half", "bool": "bool",
          "int8": "signed char", "uint8": "unsigned char", "int16": "short",
          "uint16": "unsigned short", "int32": "int", "uint32": "unsigned int",
          "int64": "long long", "uint64": "unsigned long long"}  # fmt: skip
_KERNEL = re.compile(
    r"(?:template\s*<\s*(?:class|typename)\s+(?P<type>\w+)\s*>\s*)?"
    r'(?:extern\s+"C"\s+)?__global__\s+(?:__launch_bounds__\([^)]*\)\s*)?void\s+'
    r"(?:__launch_bounds__\([^)]*\)\s*)?(?P<name>\w+)\s*\((?P<list>[^)]*)\)"
)
_PARAMETER = re.compile(r"(?P<const>const\s+)?(?P<type>[\w\s]+?)\s*(?P<star>\*?)\s*(?P<name>\w+)")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: an input or output pointer, or a number; `axis` of an argument's length."""

    name: str
    type: str
    pointer: bool
    const: bool
    axis: int | None = None


class UserKernel:
    """A kernel, called with the arguments of the function that it stands for, by name.

    Raises `ValueError` for a text without the kernel, or with parameters that f does not have.
    """

    def __init__(self, op: str, source: str | PathLike[str], f: Callable[..., Any]) -> None:
        self.op = op
        self.text = _text(op, source)
        found = list(_KERNEL.finditer(_COMMENT.sub("", self.text)))
        named = [k for k in found if k["name"] == getattr(f, "__name__", "")]
        if len(named or found) != 1:
            names = ", ".join(k["name"] for k in found) or "none"
            raise ValueError(
                f"{op}: got a text with the kernels {names}, expected one, or one named as the "
                'function; try extern "C" __global__ void name(const float* x, float* y, long '
                "long n)"
            )
        kernel = (named or found)[0]
        self.name, self.template = kernel["name"], kernel["type"]
        if not self.template and f'extern "C" __global__ void {self.name}' not in re.sub(
            r"\s+", " ", kernel[0]
        ):
            raise ValueError(
                f'{op}: got the kernel {self.name} without extern "C", expected it, or template '
                '<class T>, so that it can be found by name; try extern "C" __global__ void'
            )
        self.parameters = [self._parameter(p) for p in kernel["list"].split(",")]
        self._check(list(inspect.signature(f).parameters))
        self._known: dict[str, Launcher] = {}

    def _parameter(self, text: str) -> Parameter:
        found = _PARAMETER.fullmatch(text.replace("__restrict__", " ").strip())
        kind = "" if found is None else " ".join(found["type"].split())
        if found is None or (kind not in _TYPES and kind != self.template):
            raise ValueError(
                f"{self.op}: got the kernel parameter {text.strip()!r}, expected a pointer to or "
                f"a number of one of {', '.join(_TYPES)}; try const float* x"
            )
        return Parameter(found["name"], kind, bool(found["star"]), bool(found["const"]))

    def _check(self, names: Sequence[str]) -> None:
        """Tell lengths from numbers, and refuse what f has no argument for."""
        inputs = {p.name for p in self.parameters if p.pointer and p.const}
        for k, p in enumerate(self.parameters):
            lead, _, axis = p.name.rpartition("_")
            if p.pointer or p.name in names or p.name == COUNT:
                continue
            if lead in inputs and axis.isdigit():
                self.parameters[k] = Parameter(p.name, p.type, False, False, int(axis))
        wrong = [
            p.name
            for p in self.parameters
            if p.axis is None
            and p.name not in names
            and p.name != COUNT
            and (p.const or not p.pointer)
        ]
        results = [p for p in self.parameters if p.pointer and not p.const]
        if wrong or not results:
            raise ValueError(
                f"{self.op}: got the kernel parameters {wrong or 'without a result'}, expected "
                f"the function's own ({', '.join(names)}), {COUNT}, lengths of axes as x_0, and a "
                "pointer that is not const for each result; try renaming them"
            )

    def __call__(self, given: dict[str, Any], shapes: Any) -> Any:
        """The results at these arguments; `shapes` of them, None: that of the arguments together.

        Raises `DTypeError` where an array's dtype is not the kernel's, `DeviceError` for arrays on
        several devices.
        """
        inputs = {p.name: given[p.name] for p in self.parameters if p.pointer and p.const}
        where = {self._home(name, x) for name, x in inputs.items()}
        if len(where) != 1:
            raise DeviceError(
                f"{self.op}: got arrays on the GPUs {sorted(where)}, expected one; try x.to(...)"
            )
        kind = self._kind(inputs)
        cupy = device.cupy()
        with device.using(where.pop()):
            if shapes is None:
                common = np.broadcast_shapes(*[x.shape for x in inputs.values()])
                inputs = {name: cupy.broadcast_to(x, common) for name, x in inputs.items()}
                shapes = [common] * sum(p.pointer and not p.const for p in self.parameters)
            elif not shapes or isinstance(shapes[0], int):
                shapes = [shapes]
            inputs = {name: cupy.ascontiguousarray(x) for name, x in inputs.items()}
            return self._run(cupy, given, inputs, list(shapes), kind)

    def _run(
        self, cupy: Any, given: dict[str, Any], inputs: dict[str, Any], shapes: Any, kind: str
    ) -> Any:
        results: list[Any] = []
        args: list[Any] = []
        count = prod(shapes[0])
        for p in self.parameters:
            dtype = np.dtype(kind if p.type == self.template else _TYPES[p.type])
            if p.pointer and not p.const:
                results.append(cupy.empty(shapes[len(results)], dtype))
                args.append(int(results[-1].data.ptr))
            elif p.pointer:
                args.append(int(inputs[p.name].data.ptr))
            elif p.axis is not None:
                args.append(dtype.type(inputs[p.name.rpartition("_")[0]].shape[p.axis]))
            else:
                own = p.name in given
                args.append(dtype.type(given[p.name] if own else count))
        if count:
            self._launcher(kind)((-(-count // THREADS),), (THREADS,), *args)
        return results[0] if len(results) == 1 else tuple(results)

    def _home(self, name: str, x: Any) -> int:
        found = getattr(getattr(x, "device", None), "id", None)
        if found is None:
            raise DeviceError(
                f"{self.op}: got {type(x).__name__} for {name}, expected an array on the GPU as "
                'the others; try tg.tensor(x, device="cuda")'
            )
        return int(found)

    def _kind(self, inputs: dict[str, Any]) -> str:
        """What the template's type stands for; raises `DTypeError` for arrays of another dtype."""
        kind = ""
        for p in self.parameters:
            if p.pointer and p.const:
                own = inputs[p.name].dtype.name
                if p.type == self.template:
                    kind = kind or own
                    want = kind
                else:
                    want = _TYPES[p.type]
                if own != want or own not in _NAMES:
                    raise DTypeError(
                        f"{self.op}: got {own} for {p.name}, expected {want} as the kernel's "
                        f"{p.type}*; try x.astype({want!r}), or template <class T>"
                    )
        return kind

    def _launcher(self, kind: str) -> Launcher:
        found = self._known.get(kind)
        if found is None:
            text, name = self.text, self.name
            if self.template:
                name = f"{self.name}_{kind}"
                text = f"{text}\n// export: {name} = {self.name}<{_NAMES[kind]}>\n"
            found = self._known[kind] = load(text, (name,))[name]
        return found


def _text(op: str, source: str | PathLike[str]) -> str:
    """The CUDA text itself, or what stands in a file of that name."""
    path = fspath(source)
    if isinstance(source, str) and "__global__" in source:
        return source
    if not path.endswith(".cu"):
        raise ValueError(
            f"{op}: got cuda={path[:60]!r}, expected CUDA C++ with a __global__ function, or the "
            "path of a .cu file; try Path(__file__).with_name('kernel.cu')"
        )
    return Path(path).read_text(encoding="utf-8")
