"""Files of tensors: safetensors and npz, written so that a crash never leaves half of one."""

from tensorgrad.io.atomic import WriteError, atomic_write
from tensorgrad.io.models import load_model, save_model
from tensorgrad.io.tensors import load_file, load_metadata, save_file

__all__ = [
    "WriteError",
    "atomic_write",
    "load_file",
    "load_metadata",
    "load_model",
    "save_file",
    "save_model",
]
