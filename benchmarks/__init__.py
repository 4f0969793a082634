"""What tensorgrad costs beside NumPy, PyTorch, JAX and HIPS autograd: `pytest benchmarks`.

Libraries read these variables when they are first imported, so they are set before all else.
"""

import os

for _name in ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMEXPR"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
