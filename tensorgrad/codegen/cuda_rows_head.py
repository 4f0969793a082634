"""What the CUDA texts of reduce formulas share: vectors of a row, sums across threads."""

HEAD = r"""
#ifndef TG_ROWS
#define TG_ROWS
// N elements side by side, as numbers of the computation; `wide`: 16-byte accesses are aligned.
template <int N, class C, class T> TG_FN void tg_take(C* to, const T* from, bool wide) {
    if (N > 1 && sizeof(T) * N <= 16 && wide) {
        const Vec<T, N> v = tg_vec_load<N>(from);
#pragma unroll
        for (int k = 0; k < N; k++) to[k] = static_cast<C>(tg_load(v.v[k]));
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) to[k] = static_cast<C>(tg_load(from[k]));
    }
}
template <int N, class C, class T> TG_FN void tg_give(T* to, const C* from, bool wide) {
    Vec<T, N> v;
#pragma unroll
    for (int k = 0; k < N; k++) v.v[k] = tg_store<T>(from[k]);
    if (N > 1 && sizeof(T) * N <= 16 && wide) {
        tg_vec_store(to, v);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) to[k] = v.v[k];
    }
}
// The compiler forgets where a value came from: what it would keep in registers from one pass to
// the next, or from row to row, it computes again.
#ifdef CUDA_HOST_SIM
template <class T> TG_FN void tg_forget(T&) {}
#else
TG_FN void tg_forget(int& x) { asm volatile("" : "+r"(x)); }
TG_FN void tg_forget(i64& x) { asm volatile("" : "+l"(x)); }
TG_FN void tg_forget(float& x) { asm volatile("" : "+f"(x)); }
TG_FN void tg_forget(double& x) { asm volatile("" : "+d"(x)); }
TG_FN void tg_forget(bool& x) {
    int y = x;
    tg_forget(y);
    x = y;
}
template <int Q, int N, class T> TG_FN void tg_forget(T (&x)[Q][N]) {
#pragma unroll
    for (int q = 0; q < Q; q++) {
#pragma unroll
        for (int k = 0; k < N; k++) tg_forget(x[q][k]);
    }
}
#endif
template <int N, class C> TG_FN void tg_fill(C* to, C x) {
#pragma unroll
    for (int k = 0; k < N; k++) to[k] = x;
}
template <int N, class F, class C> TG_FN void tg_join(F f, C* to, const C* x) {
#pragma unroll
    for (int k = 0; k < N; k++) to[k] = f(to[k], x[k]);
}
// The halves of the lanes of a vector are joined until one is left.
template <int N, class F, class C> TG_FN C tg_halve(F f, C* x) {
#pragma unroll
    for (int o = N / 2; o > 0; o /= 2) {
#pragma unroll
        for (int k = 0; k < o; k++) x[k] = f(x[k], x[k + o]);
    }
    return x[0];
}
// The threads t, t + GROUP, t + 2 GROUP, ... join their values by halves; all get the result.
template <int LANES, int GROUP, class F, class C> TG_FN C tg_across(F f, C v, C* fold) {
    const int t = threadIdx.x;
    __syncthreads();
    fold[t] = v;
#pragma unroll
    for (int o = LANES / 2 * GROUP; o >= GROUP; o /= 2) {
        __syncthreads();
        if (t < o) fold[t] = f(fold[t], fold[t + o]);
    }
    __syncthreads();
    return fold[t % GROUP];
}
// The sum of the lines of partial sums. Many: 16 threads take every 16th line and join their values
// by halves. Few: a thread for each column.
template <class C, class T>
TG_FN void tg_fold(const C* lines, i64 parts, i64 length, T* to, C* fold) {
    const int t = threadIdx.x;
    const bool many = parts > 32;
    const i64 first = static_cast<i64>(blockIdx.x) * (many ? 32 : 512);
    if (first >= length) return;
    const i64 j = first + (many ? t % 32 : t);
    C v = 0;
    if (j < length) {
#pragma unroll 4
        for (i64 p = many ? t / 32 : 0; p < parts; p += many ? 16 : 1) {
            v = v + lines[p * length + j];
        }
    }
    if (many) v = tg_across<16, 32>(tg_plus(), v, fold);
    if (j < length && (t < 32 || !many)) to[j] = tg_store<T>(v);
}
#endif
"""
