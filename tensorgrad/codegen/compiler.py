"""LLVM text to machine code in this process, by way of the disk cache."""

from __future__ import annotations

import threading
from functools import cache as once
from importlib import import_module
from typing import Any

from tensorgrad.codegen import cache

FORMAT = 1
"""Raised when the meaning of a text changes without the text: it is a part of every key."""


class Compiler:
    """One engine for the process; what it loads is never unloaded."""

    def __init__(self) -> None:
        # Untyped, and slow to import: hence by name, and now.
        lite, llvm = import_module("llvmlite"), import_module("llvmlite.binding")
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._llvm: Any = llvm
        triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features().flatten()
        target = llvm.Target.from_triple(triple)

        def machine() -> Any:
            return target.create_target_machine(cpu=cpu, features=features, opt=2, jit=True)

        self._machine = machine()
        # The engine owns the machine that it is given.
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
        version = (lite.__version__, llvm.llvm_version_info)
        self._host = "\n".join(map(str, (FORMAT, triple, cpu, features, version)))
        self._addresses: dict[str, int] = {}
        self._lock = threading.Lock()

    def key(self, text: str) -> str:
        """A hash of the text without its first line (a comment), the processor and LLVM."""
        from hashlib import sha256  # late: for import time

        code = text.partition("\n")[2]
        return sha256(f"{self._host}\n{code}".encode()).hexdigest()

    def address(self, text: str) -> int:
        """Where the function @KERNEL of `text` lies, compiled or loaded.

        Raises RuntimeError with LLVM's message where the text is malformed.
        """
        key = self.key(text)
        with self._lock:
            if key not in self._addresses:
                name = f"tg_{key}"
                code = cache.read(key)
                if code is None:
                    code = self._compile(text.replace("@KERNEL", f"@{name}"))
                    cache.write(key, code)
                self._engine.add_object_file(self._llvm.ObjectFileRef.from_data(code))
                self._engine.finalize_object()
                self._addresses[key] = self._engine.get_function_address(name)
            return self._addresses[key]

    def _compile(self, text: str) -> bytes:
        # No pass runs: the text is vectors already, and the optimizer makes it slower.
        module = self._llvm.parse_assembly(text)
        module.verify()
        return bytes(self._machine.emit_object(module))


@once
def compiler() -> Compiler:
    """The process's compiler; raises ImportError without llvmlite."""
    return Compiler()
