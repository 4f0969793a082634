"""What is said where cuDNN, or a part of it, is missing."""

from __future__ import annotations

import sys
from typing import Any

import fakecudnn
import fakecupy
import pytest

from tensorgrad._errors import DeviceError


@pytest.mark.parametrize("major", [12, 13])
def test_what_is_said_where_it_is_missing(monkeypatch: Any, major: int) -> None:
    wheels = rf"try pip install 'tensorgrad\[cudnn\]' nvidia-cudnn-cu{major}"
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with fakecupy.install(runtime=1000 * major):
        import cupy

        from tensorgrad.backend.cuda import dnn

        q = cupy.ones((1, 1, 2, 8), "f2")
        assert not dnn.available()
        assert not dnn.supports("sdpa", q, q, q)
        with pytest.raises(DeviceError, match=wheels):
            dnn.sdpa(q, q, q)
    for version, got in ((0, "Unable to find symbol"), (8907, "8907")):
        with fakecupy.install(runtime=1000 * major), fakecudnn.install(version=version):
            import cupy

            from tensorgrad.backend.cuda import dnn

            q = cupy.ones((1, 1, 2, 8), "f2")
            assert not dnn.available()
            with pytest.raises(DeviceError, match=f"cudnn: got .*{got}.*{wheels}"):
                dnn.sdpa(q, q, q)


def test_without_a_gpu_there_is_none() -> None:
    with fakecupy.install(devices=0), fakecudnn.install():
        from tensorgrad.backend.cuda import dnn

        assert not dnn.available()
