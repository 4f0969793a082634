"""The CUDA backend: CuPy's arrays, our kernels, NVIDIA's libraries; imported for a device only."""
