"""What may go wrong on a GPU while a network is trained: what is said, what is kept, what goes on.

Each ends with a run that works in the same process.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakecupy
import numpy as np
import pytest
from ops_tools import ReferenceLt, gpus
from test_train_cuda import Silent, history, table

import tensorgrad as tg
from tensorgrad import train
from tensorgrad.cli import main
from tensorgrad.codegen import cache
from tensorgrad.io import load_file
from tensorgrad.train import job, runfolder

QUICK = ("--target", "y", "--epochs", 2, "--layers", 8, "--quiet")


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`tensorgrad ARGS` in an empty folder: its status, and what it says on standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)

    def called(*args: object) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(one) for one in args])
        text = capsys.readouterr().err
        kept = [line for line in text.splitlines(True) if not line.startswith("warning: ")]
        assert isinstance(caught.value.code, int)
        return caught.value.code, "".join(kept)

    return called


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    return table(tmp_path / "table.csv", rng, "binary")


@pytest.fixture
def gpu() -> Iterator[Any]:
    """A machine with two GPUs."""
    with gpus(devices=2) as machine:
        yield machine


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- nothing to run on ---------------------------------------------------------------------------

NO_DRIVER = (
    "cuda: got no NVIDIA driver, expected one for CUDA 13 or later; try installing it from "
    "https://www.nvidia.com/drivers (in a container: docker run --gpus all), or device='cpu'"
)
OLD_DRIVER = (
    "cuda: got a driver for CUDA 12.4, expected one for CUDA 13 or later; try pip uninstall "
    "cupy-cuda13x && pip install 'tensorgrad[cuda12]', or driver 580 or later"
)
OLDEST_DRIVER = (
    "cuda: got a driver for CUDA 11.8, expected one for CUDA 13 or later; try driver 580 or later"
)
NO_GPU = "cuda: got no GPU, expected one that `nvidia-smi` lists; try device='cpu'"


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        ({"driver": 0}, NO_DRIVER),
        ({"driver": 12040}, OLD_DRIVER),
        ({"driver": 11080}, OLDEST_DRIVER),
        ({"devices": 0}, NO_GPU),
    ],
    ids=["no driver", "old driver", "oldest driver", "no GPU"],
)
def test_no_gpu_that_works(
    call: Any, data: Path, hardware: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with fakecupy.install(**hardware):
        for command in (("train", data, *QUICK), ("predict", "run", data), ("example", "line")):
            if command[0] == "predict":
                call("train", data, *QUICK, "--out", "run")
            assert call(*command, "--device", "cuda") == (2, f"error: {said}\n")
        assert call("train", data, *QUICK, "--out", "again")[0] == 0
        assert call("train", "--resume", "again", "--device", "cuda") == (2, f"error: {said}\n")
        assert call("train", "--resume", "again", "--epochs", 3)[0] == 0
    assert left(data.parent) == ["again", "run", "table.csv"]


def test_no_cupy(call: Any, data: Path) -> None:
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("CuPy is here")
    assert call("train", data, *QUICK, "--device", "cuda:0") == (
        2,
        "error: cuda: got no CuPy, expected it beside tensorgrad; "
        "try pip install 'tensorgrad[cuda13]' (or cuda12 for an older driver)\n",
    )
    assert left(data.parent) == ["table.csv"]
    assert call("train", data, *QUICK, "--device", "cpu")[0] == 0


def test_no_compiler(call: Any, data: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    def missing() -> Any:
        raise RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: no such file")

    with monkeypatch.context() as planted:
        planted.setattr(cupy.cuda.nvrtc, "getVersion", missing)
        assert call("train", data, *QUICK, "--device", "cuda") == (
            2,
            "error: cuda: got no NVRTC (CuPy failed to load libnvrtc.so.13: OSError: no such "
            "file), expected CUDA's compiler beside CuPy; try pip install 'tensorgrad[cuda13]'\n",
        )
    assert left(data.parent) == ["table.csv"]
    assert call("train", data, *QUICK, "--device", "cuda", "--out", "run") == (0, "")


def test_no_cublaslt(call: Any, data: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorgrad.backend.cuda import lt, products

    with monkeypatch.context() as planted:
        planted.setattr(products, "make_engine", lt.Lt)
        planted.setattr(lt, "places", lambda major=None: iter(()))
        status, said = call("train", data, *QUICK, "--device", "cuda")
    assert status == 2
    assert said.startswith("error: cuda: got no cuBLASLt in TG_CUBLASLT, NVIDIA's wheels, ")
    assert "expected libcublasLt.so.13" in said
    assert "; try pip install nvidia-cublas" in said
    assert left(data.parent) == ["table.csv"]
    assert products.make_engine is ReferenceLt
    assert call("train", data, *QUICK, "--device", "cuda", "--out", "run") == (0, "")


def test_a_kernel_that_does_not_compile(
    call: Any, data: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cupy

    plain = cupy.cuda.compiler.compile_using_nvrtc

    def planted(source: str, *args: Any, **options: Any) -> Any:
        return plain(f"{source}\nint planted = no_such_name;\n", *args, **options)

    x = tg.tensor(np.ones(3), device="cuda", requires_grad=True)
    with monkeypatch.context() as patch:
        patch.setattr(cupy.cuda.compiler, "compile_using_nvrtc", planted)
        patch.setattr(cache, "read", lambda key: None)
        with pytest.raises(tg.cuda.CompileError) as caught:
            tg.sinh(x)
    text = str(caught.value)
    first, *rest = text.splitlines()
    assert first.startswith("compile: got an error of NVRTC in ")
    assert ", expected machine code; try pip install -U nvidia-cuda-nvrtc, or reporting" in first
    assert "no_such_name" in caught.value.log in text
    assert any(line.strip().startswith("1  //") for line in rest)  # the text, numbered
    np.testing.assert_allclose(tg.sinh(x).detach().numpy(), np.sinh(1.0), rtol=1e-12)
    assert call("train", data, *QUICK, "--device", "cuda") == (0, "")


def test_a_device_that_is_not_there(call: Any, data: Path, gpu: Any) -> None:
    said = (
        "error: device: got name='cuda:2', expected one of cuda:0 to cuda:1; try device='cuda:0'\n"
    )
    assert call("train", data, *QUICK, "--device", "cuda:2") == (2, said)
    assert call("train", data, *QUICK, "--device", "gpu")[1] == (
        "error: --device: got 'gpu', expected one of cpu, cuda, cuda:N; try 'cpu'\n"
    )
    assert left(data.parent) == ["table.csv"]
    assert call("train", data, *QUICK, "--device", "cuda:1") == (0, "")


def test_mixed_devices(gpu: Any, rng: np.random.Generator) -> None:
    net = tg.nn.Linear(3, 2).to("cuda:1")
    x = rng.standard_normal((4, 3)).astype(np.float32)
    said = r"linear: got \w+ on cpu, cuda:1.*, expected all on one device; try x.to\('cpu'\)"
    with pytest.raises(tg.DeviceError, match=said):
        net(tg.tensor(x))
    net(tg.tensor(x, device="cuda:1")).sum().backward()
    want = [x.sum(0)] * 2
    np.testing.assert_allclose(net.weight.grad.numpy(), want, rtol=1e-5, atol=1e-6)


# -- out of memory -------------------------------------------------------------------------------


def test_a_batch_that_is_too_large(call: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3000, 8)).astype(np.float32)
    np.savez(tmp_path / "many.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    common = ("train", "many.npz", "--layers", "256", "--epochs", 1, "--quiet", "--out", "run")
    with gpus(memory=36 * 2**20):
        status, said = call(*common, "--device", "cuda", "--batch-size", 2100)
        assert status == 1
        first, listed, *rows = said.splitlines()
        assert first.startswith("error: memory: got a request for ")
        assert " on cuda:0 with " in first
        assert first.endswith(
            "expected room for it; try a smaller batch, tg.checkpoint, or del of what is not needed"
        )
        assert listed == "The largest live arrays:"
        assert "float32(2100, 256)" in rows[0]
        assert ", made at " in rows[0]
        assert left(tmp_path) == ["many.npz"]
        assert call(*common, "--device", "cuda", "--batch-size", 64) == (0, "")


class Full:
    """An arena that has no room for one request: the n-th from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tensorgrad.backend.cuda import arena

        self.asked = 0
        self.full = -1
        plain = arena.Arena.give

        def give(home: Any, size: int, region: Any) -> Any:
            self.asked += 1
            if self.asked == self.full:
                raise tg.cuda.OutOfMemoryError(home.refusal(size))
            return plain(home, size, region)

        monkeypatch.setattr(arena.Arena, "give", give)


class Counts(Silent):
    """Notes how many arrays had been asked for after each step."""

    def __init__(self, full: Full) -> None:
        super().__init__()
        self.full, self.after = full, [0]

    def interrupted(self, where: Any) -> None:
        self.said.append(f"saved after step {where['step']}")

    def on_step(self, loop: Any) -> None:
        self.after.append(self.full.asked)


@pytest.mark.parametrize("other", ["cuda", "cpu"])
def test_out_of_memory_at_any_place_of_a_step(
    data: Path, gpu: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """What was trained before is saved, and the resumed run is that without the error."""
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)
    options: dict[str, Any] = {
        "data": str(data), "target": "y", "layers": (8,), "dropout": 0.3, "epochs": 2,
        "batch_size": 7, "patience": 0, "device": "cuda",
    }  # fmt: skip
    full = Full(monkeypatch)
    counts = Counts(full)
    whole = train.run(train.Config(out=str(data.parent / "whole"), **options), counts)
    saved = 0
    places = rng.integers(counts.after[2] + 1, counts.after[8], 3)
    for number, place in enumerate(places):
        out, report = data.parent / f"run{number}", Counts(full)
        full.asked, full.full = 0, int(place)
        with pytest.raises(tg.cuda.OutOfMemoryError, match="memory: got a request for"):
            train.run(train.Config(out=str(out), **options), report)
        full.full = -1
        done = len(report.after) - 1
        assert 0 < done < 12
        if not report.said[1:]:
            assert not out.exists()  # the weights were being moved
            continue
        ends = {done % 6} | ({6} if done % 6 == 0 else set())  # of an epoch: before or after it
        assert report.said[1] in [f"saved after step {step}" for step in ends]
        saved += 1
        found = train.resume(out, {"device": other}, Silent())
        if other == "cpu":
            assert found.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-3)
            continue
        assert history(found.folder) == history(whole.folder)
        one, two = (load_file(run.folder / "state.safetensors") for run in (whole, found))
        for key, value in one.items():
            np.testing.assert_array_equal(two[key], value, err_msg=key)
    assert saved


def test_out_of_memory_in_a_captured_step(gpu: Any, rng: np.random.Generator) -> None:
    def step(net: Any) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for param in net.parameters():
                param.grad = None
            loss = (net(x) ** 2).mean()
            loss.backward()
            return loss

        return run

    tg.cuda.set_memory_limit(48 * 2**20)
    net = tg.nn.Sequential(tg.nn.Linear(16, 512), tg.nn.ReLU(), tg.nn.Linear(512, 1)).to("cuda")
    x = tg.tensor(rng.standard_normal((4096, 16)).astype(np.float32), device="cuda")
    with pytest.raises(tg.cuda.OutOfMemoryError) as caught:
        tg.cuda.capture(step(net), (x,))
    assert f"made at {__file__}:" in str(caught.value)
    del caught
    expected = (net(x[8:16]) ** 2).mean().item()
    captured = tg.cuda.capture(step(net), (x[:8],))
    assert captured(x[8:16]).item() == pytest.approx(expected, rel=1e-6)
    captured.close()
    tg.cuda.set_memory_limit(None)


# -- interrupted and killed ----------------------------------------------------------------------


def test_an_interrupt_within_a_step(
    data: Path, gpu: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C ends a run at once: files are whole, and the last state goes on."""
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)
    monkeypatch.setattr(runfolder, "_SAVE_EVERY", 0.0)
    options: dict[str, Any] = {
        "data": str(data), "target": "y", "layers": (8,), "epochs": 4, "dropout": 0.2,
        "patience": 0, "device": "cuda",
    }  # fmt: skip
    full = Full(monkeypatch)
    counts = Counts(full)
    whole = train.run(train.Config(out=str(data.parent / "whole"), **options), counts)

    def refusal(self: Any, size: int) -> str:
        raise KeyboardInterrupt

    from tensorgrad.backend.cuda import arena

    full.asked, full.full = 0, int(rng.integers(counts.after[4], counts.after[8]))
    out = data.parent / "run"
    with monkeypatch.context() as planted:
        planted.setattr(arena.Arena, "refusal", refusal)
        with pytest.raises(KeyboardInterrupt):
            train.run(train.Config(out=str(out), **options), Silent())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert history(train.resume(out, report=Silent()).folder) == history(whole.folder)


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[3:]
from ops_tools import gpus
from tensorgrad import train
from tensorgrad.train import job, runfolder
job.draw_curves = lambda history, path: None
runfolder._SAVE_EVERY = 0.0
left, plain = [int(sys.argv[2])], getattr(os, sys.argv[1])

def kill(*args):
    if sys.argv[1] == "replace" and "/run/" not in str(args[1]):
        return plain(*args)  # the kernels' cache
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*args)

setattr(os, sys.argv[1], kill)
with gpus(devices=2):
    train.run(train.Config(data="table.csv", target="y", layers=(8,), epochs=3, patience=0,
                           dropout=0.2, device="cuda:1", out="run"), train.Reporter())
"""


def test_a_process_that_is_killed_in_a_checkpoint(
    data: Path, gpu: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a file is on the disk, or before it takes its name."""
    call = str(rng.choice(["fsync", "replace"]))
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)
    monkeypatch.chdir(data.parent)
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), str(here.parents[1])]
    # config.toml, metrics.jsonl, then state and model of each epoch
    number = int(rng.integers(5, 9))
    if call == "fsync":
        number *= 2  # the file's, and its folder's
    code = [sys.executable, "-c", KILLED, call, str(number), *paths]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    options = {"data": "table.csv", "target": "y", "layers": (8,), "epochs": 3, "patience": 0}
    whole = train.run(train.Config(out="whole", dropout=0.2, device="cuda:1", **options), Silent())
    found = train.resume("run", report=Silent())
    assert history(found.folder) == history(whole.folder)
    for name in ("model.safetensors", "state.safetensors"):
        one, two = (load_file(run.folder / name) for run in (whole, found))
        for key, value in one.items():
            np.testing.assert_array_equal(two[key], value, err_msg=key)
    assert not [p for p in found.folder.iterdir() if p.name.endswith(".tmp")]
