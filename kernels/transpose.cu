// Transpose of matrices: out[b, j, i] = x[b, i, j].
//
// x (batch, rows, columns) with strides (stride_x, ld_x, 1), out (batch, columns, rows) with
// (stride_out, ld_out, 1), in elements; out does not overlap x. Any dtype by its size in bytes.
//
// transpose_1, _2, _4, _8, _16: block 256; grid (ceil(columns / 32), ceil(rows / 32), batch), where
// the last two may be cut to 65535 (the kernel walks on). Static shared memory 32 x 33 elements.
// Tiles of 32 x 32 are read along rows and written along rows of out; the 33rd element of a tile's
// row keeps the column accesses in different banks.
// Bytes: 2 batch rows columns size. Checked: host run against NumPy:
// tests/cuda/test_kernels_moves.py
#include "common.cuh"

struct alignas(16) tg_bytes16 {
    u64 low, high;
};

// export: transpose_1 = transpose<unsigned char, 256>
// export: transpose_2 = transpose<unsigned short, 256>
// export: transpose_4 = transpose<unsigned int, 256>
// export: transpose_8 = transpose<unsigned long long, 256>
// export: transpose_16 = transpose<tg_bytes16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) transpose(
    const T* __restrict__ x, T* __restrict__ out, i64 batch, i64 rows, i64 columns, i64 ld_x,
    i64 ld_out, i64 stride_x, i64 stride_out) {
    __shared__ T tile[32][33];
    const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
    const i64 left = static_cast<i64>(blockIdx.x) * 32;
    for (i64 b = blockIdx.z; b < batch; b += gridDim.z) {
        const T* in = x + b * stride_x;
        T* to = out + b * stride_out;
        for (i64 top = static_cast<i64>(blockIdx.y) * 32; top < rows; top += gridDim.y * 32ll) {
#pragma unroll
            for (int k = ty; k < 32; k += BLOCK / 32)
                if (top + k < rows && left + tx < columns)
                    tile[k][tx] = in[(top + k) * ld_x + left + tx];
            __syncthreads();
#pragma unroll
            for (int k = ty; k < 32; k += BLOCK / 32)
                if (left + k < columns && top + tx < rows)
                    to[(left + k) * ld_out + top + tx] = tile[tx][k];
            __syncthreads();
        }
    }
}
