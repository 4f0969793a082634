"""What there is of CUDA, looked for without CuPy: driver, GPUs, libraries, caches, and what lacks.

The libraries are asked through ctypes, and none of them is told to begin work on a GPU: a process
that only asks takes no memory there. Nothing here raises.
"""

from __future__ import annotations

import ctypes
import glob
import os
import re
import sys
from collections.abc import Callable, Iterator
from ctypes import byref, c_int
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

Line = tuple[str, str]

DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
MANAGEMENT = "nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1"
NEWEST, MAJORS = 13, (13, 12)
NEEDS = {12: "525", 13: "580"}  # the first driver for each major version of CUDA
CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
_MAJOR_TAG, _MINOR_TAG = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


class Gpu(NamedTuple):
    """A GPU as the driver describes it; memory in bytes."""

    name: str
    capability: str
    memory: int


class Driver(NamedTuple):
    """The driver: the CUDA it is for (12080; 0 without one), its GPUs, or why there are none."""

    cuda: int
    gpus: tuple[Gpu, ...]
    said: str = ""


class Library(NamedTuple):
    """A library beside CuPy: the wheel's folder and its name without the end, for 13 and 12."""

    title: str
    use: str
    stem: str
    folders: tuple[str, ...]
    version: Callable[[ctypes.CDLL], str]


def lines() -> list[Line]:
    """Everything found and missing, one line each."""
    found = driver()
    installed = packages()
    major = _major(found, installed)
    there: list[Callable[[], list[Line]]] = [
        lambda: [("driver", _driver_text(found))],
        lambda: _gpu_lines(found),
        lambda: [("cupy", _cupy_text(found, installed))],
        lambda: [(one.title, _library_text(one, major, found)) for one in LIBRARIES],
        lambda: [("cuda headers", _headers_text(major, found))],
        _cache_lines,
    ]
    return [line for part in there for line in _safe(part)]


def _safe(part: Callable[[], list[Line]]) -> list[Line]:
    """What is told of one thing; an error in asking says so in its place."""
    try:
        return part()
    except Exception as error:
        return [("cuda", f"unknown ({type(error).__name__}: {error})")]


# -- driver and GPUs ---------------------------------------------------------------------------


def driver() -> Driver:
    """What the driver says; its library is there with the driver alone."""
    try:
        library = ctypes.CDLL(DRIVER)
        number = c_int()
        library.cuDriverGetVersion(byref(number))
        status = library.cuInit(0)
        if status:
            return Driver(number.value, (), _error_name(library, status))
        count = c_int()
        library.cuDeviceGetCount(byref(count))
        return Driver(number.value, tuple(_gpu(library, k) for k in range(count.value)))
    except (OSError, AttributeError):
        return Driver(0, ())


def _error_name(library: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    library.cuGetErrorName(status, byref(text))
    return (text.value or b"error %d" % status).decode()


def _gpu(library: ctypes.CDLL, k: int) -> Gpu:
    device, name, memory = c_int(), ctypes.create_string_buffer(128), ctypes.c_size_t()
    major, minor = c_int(), c_int()
    library.cuDeviceGet(byref(device), k)
    library.cuDeviceGetName(name, 128, device)
    library.cuDeviceTotalMem_v2(byref(memory), device)
    library.cuDeviceGetAttribute(byref(major), _MAJOR_TAG, device)
    library.cuDeviceGetAttribute(byref(minor), _MINOR_TAG, device)
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value)


def _driver_version() -> str:
    """The driver's own number, such as 580.65.06; "" where nothing tells it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"\s(\d{3}\.\d+(?:\.\d+)?)\s", text)
        if found:
            return found[1]
    except OSError:
        pass
    try:
        library, held = ctypes.CDLL(MANAGEMENT), ctypes.create_string_buffer(96)
        library.nvmlInit_v2()
        status = library.nvmlSystemGetDriverVersion(held, 96)
        library.nvmlShutdown()
    except (OSError, AttributeError):
        return ""
    return "" if status else held.value.decode(errors="replace")


def _driver_text(found: Driver) -> str:
    if not found.cuda:
        return (
            "none found, the cpu is used; for a GPU try installing it from "
            "https://www.nvidia.com/drivers (in a container: docker run --gpus all)"
        )
    text = f"{_driver_version()} for CUDA {_spelled(found.cuda)}".strip()
    if found.cuda // 1000 < min(MAJORS):
        return f"{text}, expected CUDA {min(MAJORS)} or later; try driver {NEEDS[min(MAJORS)]}"
    return text


def _gpu_lines(found: Driver) -> list[Line]:
    if not found.cuda:
        return []
    if not found.gpus:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = found.said or "none"
        if hidden is not None:
            return [("gpu", f"{why} under CUDA_VISIBLE_DEVICES={hidden!r}; try unsetting it")]
        return [("gpu", f"{why}; try nvidia-smi, which should list one")]
    return [
        (f"cuda:{k}", f"{gpu.name}, compute capability {gpu.capability}, {_size(gpu.memory)}")
        for k, gpu in enumerate(found.gpus)
    ]


def _spelled(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"


# -- CuPy and the libraries beside it ----------------------------------------------------------


def packages() -> dict[str, str]:
    """The versions of the packages of CuPy that are installed, by name."""
    found = {}
    for name in CUPY:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _major(found: Driver, installed: dict[str, str]) -> int:
    """The major version of CUDA that fits: CuPy's if it runs on the driver, else the driver's."""
    most = found.cuda // 1000 or NEWEST
    built = [major for name in installed for major in MAJORS if name == f"cupy-cuda{major}x"]
    fitting = [major for major in built if major <= most]
    return max(fitting, default=max((m for m in MAJORS if m <= most), default=min(MAJORS)))


def _cupy_text(found: Driver, installed: dict[str, str]) -> str:
    major = _major(found, installed)
    install = f"pip install 'tensorgrad[cuda{major}]'"
    if not installed:
        return f"missing; {_fix(install, found)}"
    shown = ", ".join(f"{version} ({name})" for name, version in installed.items())
    if len(installed) > 1:
        names = " ".join(installed)
        return f"{shown}, expected one of them; try pip uninstall -y {names} && {install}"
    (name,) = installed
    if found.cuda and name in CUPY[:2] and name != f"cupy-cuda{major}x":
        return (
            f"{shown}, expected one for CUDA {_spelled(found.cuda)}, the driver's; "
            f"try pip uninstall -y {name} && {install}"
        )
    refused = _refusal() if found.gpus else ""
    return f"{shown}; {refused}" if refused else shown


def _refusal() -> str:
    """Why CuPy does not run though there is a GPU; "" if it does."""
    import tensorgrad as tg

    try:
        tg.cuda.current_device()
    except tg.DeviceError as error:
        return str(error)
    return ""


def _fix(install: str, found: Driver) -> str:
    return f"try {install}" + ("" if found.cuda else " where there is a driver")


def _nvrtc_version(library: ctypes.CDLL) -> str:
    major, minor = c_int(), c_int()
    library.nvrtcVersion(byref(major), byref(minor))
    return f"{major.value}.{minor.value}"


def _cublas_version(library: ctypes.CDLL) -> str:
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    number = int(library.cublasLtGetVersion())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _runtime_version(library: ctypes.CDLL) -> str:
    number = c_int()
    library.cudaRuntimeGetVersion(byref(number))
    return _spelled(number.value)


LIBRARIES = (
    Library("nvrtc", "compiling kernels", "libnvrtc", ("cuda_nvrtc",), _nvrtc_version),
    Library("cublaslt", "matrix products", "libcublasLt", ("cublas",), _cublas_version),
    Library("cudart", "CUDA's runtime", "libcudart", ("cuda_runtime",), _runtime_version),
)


def _places(library: Library, major: int) -> Iterator[str]:
    """Where a library may be: the wheels, CUDA's root, the loader's path."""
    chosen = os.environ.get("TG_CUBLASLT")
    if chosen and library.title == "cublaslt":
        yield chosen
    name = f"{library.stem}.so.{major}"
    for root in _wheels(major, library.folders):
        yield os.path.join(root, "lib", name)
    for root in _roots():
        yield from (os.path.join(root, part, name) for part in ("lib64", "lib"))
    yield name


def _wheels(major: int, folders: tuple[str, ...]) -> Iterator[str]:
    """The folders of NVIDIA's wheels: one for all since CUDA 13, one for each library before."""
    for entry in sys.path:
        for folder in (f"cu{major}", *folders):
            place = os.path.join(entry, "nvidia", folder)
            if os.path.isdir(place):
                yield place


def _roots() -> list[str]:
    given = [os.environ.get(name) for name in ("CUDA_PATH", "CUDA_HOME")]
    return [root for root in (*given, "/usr/local/cuda") if root]


def _library_text(library: Library, major: int, found: Driver) -> str:
    said = ""
    for path in _places(library, major):
        if os.path.isabs(path) and not os.path.exists(path):
            continue
        try:
            loaded = ctypes.CDLL(path)
            return f"{library.version(loaded)} ({_resolved(path)})"
        except (OSError, AttributeError) as error:
            if os.path.isabs(path):
                said = said or f" ({path} does not load: {str(error).splitlines()[0]})"
    install = f"pip install 'tensorgrad[cuda{major}]'"
    if said:
        install = f"pip install --force-reinstall 'tensorgrad[cuda{major}]'"
    return f"missing, needed for {library.use}{said}; " + _fix(install, found)


def _resolved(path: str) -> str:
    """The path of a library; of a bare name, where the loader found it."""
    if os.path.isabs(path):
        return path
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            found = [line.split(maxsplit=5)[-1].strip() for line in maps if path in line]
    except OSError:
        found = []
    return found[0] if found else path


def _headers_text(major: int, found: Driver) -> str:
    places = [os.path.join(root, "include") for root in _wheels(major, ("cuda_runtime",))]
    places += [os.path.join(root, "include") for root in _roots()] + ["/usr/include"]
    there = [place for place in places if os.path.exists(os.path.join(place, "cuda_fp16.h"))]
    if there:
        return there[0]
    install = f"pip install 'tensorgrad[cuda{major}]'"
    return "missing, needed for float16 and bfloat16; " + _fix(install, found)


# -- caches ------------------------------------------------------------------------------------


def _cache_lines() -> list[Line]:
    from tensorgrad.codegen import cache

    folder = cache.folder()
    if folder is None:
        return [("kernels", "not kept: there is no home folder; try XDG_CACHE_HOME=/a/folder")]
    tuned = os.path.join(os.path.dirname(folder), "cublaslt")
    plain = glob.glob(os.path.join(folder, "*.o"))
    cubins = [path for path in plain if os.path.basename(path).startswith("cuda-")]
    cpu = list(set(plain) - set(cubins))
    return [
        ("cpu kernels", _kept(cpu, folder)),
        ("cubins", _kept(cubins, folder)),
        ("tuned products", _kept(glob.glob(os.path.join(tuned, "*.json")), tuned)),
    ]


def _kept(paths: list[str], folder: str) -> str:
    total = 0
    for path in paths:
        try:
            total += os.path.getsize(path)
        except OSError:  # another process deleted it meanwhile
            continue
    return f"{len(paths)} file{'s' * (len(paths) != 1)}, {_size(total)} in {folder}"
