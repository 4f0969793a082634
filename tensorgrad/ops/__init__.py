"""The operations, one file a family. Importing this package fills the registry."""

from __future__ import annotations

import importlib
import pkgutil

from tensorgrad.ops import methods, protocols

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

methods.attach()
protocols.build()
