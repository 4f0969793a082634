// Rows by index: gather, and its adjoint, a sum into rows, in a fixed order.
//
// gather_rows_1, _2, _4, _8 (by the dtype's size): out[i] = table[index[i]], negative indices from
//   the end; an index out of range gives a row of zeros and sets the flag (tg_raise).
//   table (count, columns int), out (n, columns), leading dimensions; index i64 (n).
// index_add_*: out[sorted[i]] += Σ updates[order[i]] over runs of equal indices.
//   sorted i64 (n) ascending, >= 0, order i64 (n): the stable argsort that sorted it (null: none),
//   updates (n, columns), out (count, columns), which the caller has set (to zero for a gradient).
//   The sorted positions are cut into windows of 64. A run inside a window is summed and added to
//   its row; the parts of a run that crosses windows go to head and tail, (windows, columns) in the
//   compute dtype, windows = ceil(n / 64), and index_add_fold_* adds them up, to be launched next.
//   Order of the sum: by position within a window, then by window; it depends on the data alone.
//   Indices of `count` or more (or negative) are left out and set the flag to where they stood.
// index_add_atomic_f32, _f64: out[index[i]] += updates[i] in no fixed order; any order of indices.
// put_last: last[place[i]] = max(i + 1), u64, which the caller has set to 0; a place below 0 counts
//   from the end; one that is not in 0 .. count-1 then sets the flag. place i64 (n).
//   grid ceil(n / 256) or fewer, block 256.
// put_1, _2, _4, _8 (by the size of a word), to be launched next: row place[i] of out = row i of
//   values, `columns` words each, for the i that last holds: of equal places the last one wins.
// put_sorted_*: the same from the stable argsort of the places, sorted and order, without last.
// T: f32, f64, f16, bf16; summed in float, f64 in double; a row of out is rounded once.
//
// Launch: block 256; `lanes` in 1 .. 32, a power of two: threads that share a row, a group of 16
// bytes each (gather, put) or N = 16 / sizeof(T) elements. grid x = ceil(items lanes / 256), items = n
// for gather, put and atomic, windows for the others; grid y: at most ceil(columns / (lanes N)), any
// number from 1 on (the kernel walks on).
// Bytes: gather 2 n columns size; index_add (1 + 1/16) n columns size, and twice the rows it adds
// to; put 2 n columns size, 32 n more, or 16 n and what the sort moves.
// Checked: host run against NumPy. tests/cuda/test_kernels_moves.py
#define TG_HALF
#include "common.cuh"

// A group of `lanes` threads at work on one item, and the columns of each.
struct tg_lanes {
    i64 item;
    int first, step;
};
template <int N> TG_FN tg_lanes tg_lanes_of(int lanes) {
    const i64 thread = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int lane = static_cast<int>(thread % lanes) + blockIdx.y * lanes;
    return {thread / lanes, lane * N, static_cast<int>(gridDim.y) * lanes * N};
}

// export: gather_rows_1 = gather_rows<unsigned char, 256>
// export: gather_rows_2 = gather_rows<unsigned short, 256>
// export: gather_rows_4 = gather_rows<unsigned int, 256>
// export: gather_rows_8 = gather_rows<unsigned long long, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) gather_rows(
    const T* __restrict__ table, const i64* __restrict__ index, T* __restrict__ out,
    int* __restrict__ flag, i64 n, i64 count, int columns, i64 ld_table, i64 ld_out, int lanes) {
    constexpr int N = tg_wide<T>::n;
    const tg_lanes own = tg_lanes_of<N>(lanes);
    if (own.item >= n) return;
    const i64 given = index[own.item], row = given < 0 ? given + count : given;
    const bool inside = row >= 0 && row < count;
    if (!inside && own.first == 0) tg_raise(flag, own.item);
    const T* from = table + (inside ? row * ld_table : 0);
    T* to = out + own.item * ld_out;
    const bool wide = tg_aligned(from), wide_out = tg_aligned(to);
    for (int j = own.first; j < columns; j += own.step) {
        T v[N] = {};
        if (inside) tg_read(v, from, j, columns, wide, T(0));
        tg_write(to, v, j, columns, wide_out);
    }
}

constexpr int tg_window = 64;

// A window of sorted positions: [begin, end), and whether its last run goes on in the next one.
struct tg_span {
    i64 begin, end;
    bool open;
};
TG_FN tg_span tg_window_of(const i64* sorted, i64 window, i64 n) {
    const i64 begin = window * tg_window, end = begin + tg_window < n ? begin + tg_window : n;
    return {begin, end, end < n && sorted[end] == sorted[end - 1]};
}

template <int N, class T, class C>
TG_FN void tg_add_row(T* out, const C (&v)[N], int j, int columns) {
    const bool wide = tg_aligned(out);
    C sum[N];
    tg_read(sum, out, j, columns, wide, C(0));
#pragma unroll
    for (int k = 0; k < N; k++) sum[k] += v[k];
    tg_write(out, sum, j, columns, wide);
}

// export: index_add_f32 = index_add<float, 256>
// export: index_add_f64 = index_add<double, 256>
// export: index_add_f16 = index_add<__half, 256>
// export: index_add_bf16 = index_add<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) index_add(
    const T* __restrict__ updates, const i64* __restrict__ sorted, const i64* __restrict__ order,
    T* __restrict__ out, tg_compute<T>* __restrict__ head, tg_compute<T>* __restrict__ tail,
    int* __restrict__ flag, i64 n, i64 count, int columns, i64 ld_updates, i64 ld_out, int lanes) {
    using C = tg_compute<T>;
    constexpr int N = tg_wide<T>::n;
    const tg_lanes own = tg_lanes_of<N>(lanes);
    if (own.item * tg_window >= n) return;
    const tg_span w = tg_window_of(sorted, own.item, n);
    for (int j = own.first; j < columns; j += own.step) {
        bool begun = w.begin > 0 && sorted[w.begin - 1] == sorted[w.begin];
        for (i64 i = w.begin; i < w.end; begun = false) {
            const i64 row = sorted[i], start = i;
            C sum[N] = {}, v[N];
            for (; i < w.end && sorted[i] == row; i++) {
                const T* from = updates + (order ? order[i] : i) * ld_updates;
                tg_read(v, from, j, columns, tg_aligned(from), C(0));
#pragma unroll
                for (int k = 0; k < N; k++) sum[k] += v[k];
            }
            if (row < 0 || row >= count) {
                if (j == 0) tg_raise(flag, order ? order[start] : start);
            } else if (begun) {
                tg_write(head + own.item * columns, sum, j, columns, false);
            } else if (i == w.end && w.open) {
                tg_write(tail + own.item * columns, sum, j, columns, false);
            } else {
                tg_add_row(out + row * ld_out, sum, j, columns);
            }
        }
    }
}

// export: index_add_fold_f32 = index_add_fold<float, 256>
// export: index_add_fold_f64 = index_add_fold<double, 256>
// export: index_add_fold_f16 = index_add_fold<__half, 256>
// export: index_add_fold_bf16 = index_add_fold<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) index_add_fold(
    const i64* __restrict__ sorted, const tg_compute<T>* __restrict__ head,
    const tg_compute<T>* __restrict__ tail, T* __restrict__ out, i64 n, i64 count, int columns,
    i64 ld_out, int lanes) {
    using C = tg_compute<T>;
    constexpr int N = tg_wide<T>::n;
    const tg_lanes own = tg_lanes_of<N>(lanes);
    if (own.item * tg_window >= n) return;
    tg_span w = tg_window_of(sorted, own.item, n);
    if (!w.open) return;
    const i64 row = sorted[w.end - 1];
    // Only the window in which the run begins adds it up.
    if (row < 0 || row >= count) return;
    if (w.begin > 0 && sorted[w.begin] == row && sorted[w.begin - 1] == row) return;
    for (int j = own.first; j < columns; j += own.step) {
        C sum[N], v[N];
        tg_read(sum, tail + own.item * columns, j, columns, false, C(0));
        i64 window = own.item;
        do {
            window++;
            tg_read(v, head + window * columns, j, columns, false, C(0));
#pragma unroll
            for (int k = 0; k < N; k++) sum[k] += v[k];
            w = tg_window_of(sorted, window, n);
        } while (w.open && sorted[w.end - 1] == row);
        tg_add_row(out + row * ld_out, sum, j, columns);
    }
}

// export: index_add_atomic_f32 = index_add_atomic<float, 256>
// export: index_add_atomic_f64 = index_add_atomic<double, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) index_add_atomic(
    const T* __restrict__ updates, const i64* __restrict__ index, T* __restrict__ out,
    int* __restrict__ flag, i64 n, i64 count, int columns, i64 ld_updates, i64 ld_out, int lanes) {
    const tg_lanes own = tg_lanes_of<1>(lanes);
    if (own.item >= n) return;
    const i64 row = index[own.item];
    if (row < 0 || row >= count) {
        if (own.first == 0) tg_raise(flag, own.item);
        return;
    }
    for (int j = own.first; j < columns; j += own.step)
        atomicAdd(out + row * ld_out + j, updates[own.item * ld_updates + j]);
}

// export: put_last = put_last_of<256>
template <int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) put_last_of(
    const i64* __restrict__ place, u64* __restrict__ last, int* __restrict__ flag, i64 n,
    i64 count) {
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK;
    for (i64 i = static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x; i < n; i += stride) {
        const i64 to = place[i] < 0 ? place[i] + count : place[i];
        if (to < 0 || to >= count)
            tg_raise(flag, i);
        else
            atomicMax(last + to, static_cast<u64>(i) + 1);
    }
}

template <class T>
TG_FN void tg_put_row(const T* from, T* to, const tg_lanes& own, int columns) {
    constexpr int N = tg_wide<T>::n;
    const bool wide = tg_aligned(from), wide_out = tg_aligned(to);
    for (int j = own.first; j < columns; j += own.step) {
        T v[N];
        tg_read(v, from, j, columns, wide, T(0));
        tg_write(to, v, j, columns, wide_out);
    }
}

// export: put_1 = put<unsigned char, 256>
// export: put_2 = put<unsigned short, 256>
// export: put_4 = put<unsigned int, 256>
// export: put_8 = put<unsigned long long, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) put(
    const i64* __restrict__ place, const u64* __restrict__ last, const T* __restrict__ values,
    T* __restrict__ out, i64 n, i64 count, int columns, int lanes) {
    const tg_lanes own = tg_lanes_of<tg_wide<T>::n>(lanes);
    if (own.item >= n) return;
    const i64 given = place[own.item], to = given < 0 ? given + count : given;
    if (to < 0 || to >= count || last[to] != static_cast<u64>(own.item) + 1) return;
    tg_put_row(values + own.item * columns, out + to * columns, own, columns);
}

// export: put_sorted_1 = put_sorted<unsigned char, 256>
// export: put_sorted_2 = put_sorted<unsigned short, 256>
// export: put_sorted_4 = put_sorted<unsigned int, 256>
// export: put_sorted_8 = put_sorted<unsigned long long, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) put_sorted(
    const i64* __restrict__ sorted, const i64* __restrict__ order, const T* __restrict__ values,
    T* __restrict__ out, int* __restrict__ flag, i64 n, i64 count, int columns, int lanes) {
    const tg_lanes own = tg_lanes_of<tg_wide<T>::n>(lanes);
    if (own.item >= n) return;
    const i64 to = sorted[own.item], from = order[own.item];
    if (to < 0 || to >= count) {
        if (own.first == 0) tg_raise(flag, from);
    } else if (own.item + 1 == n || sorted[own.item + 1] != to) {
        tg_put_row(values + from * columns, out + to * columns, own, columns);
    }
}
