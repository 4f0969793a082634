// Stands in for libcublasLt: keeps a log of its calls, multiplies host memory, fails on request.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>
typedef long long i64;
struct Made { std::map<int, i64> is; };
struct Result { uint64_t algo[8]; size_t workspace; int state; float waves; int reserved[4]; };
static std::string text; static std::string failing; static int status_of; static int alive;
static int say(const char* name, std::string more = "") {
  text += name + more + "\n";
  return failing == name ? status_of : 0;
}
static i64 get(void* p, int key) { auto& m = ((Made*)p)->is; return m.count(key) ? m[key] : 0; }
static int set(void* p, int key, const void* buf, size_t n) {
  i64 v = 0; memcpy(&v, buf, n); ((Made*)p)->is[key] = v; return 0;
}
static int make(void** p) { *p = new Made; ++alive; return 0; }
static int end(void* p) { delete (Made*)p; --alive; return 0; }
template <class T>
static void multiply(void* pd, const T* s, const T* A, void* a, const T* B, void* b, const T* t,
                     T* D, void* d) {
  i64 m = get(d, 2), n = get(d, 3), count = get(d, 5) ? get(d, 5) : 1;
  i64 ta = get(pd, 3), tb = get(pd, 4), k = get(a, ta ? 2 : 3);
  const T* bias = get(pd, 7) & 4 ? (const T*)get(pd, 8) : nullptr;
  for (i64 z = 0; z < count; ++z)
    for (i64 j = 0; j < n; ++j)
      for (i64 i = 0; i < m; ++i) {
        const T* u = A + z * get(a, 6); const T* v = B + z * get(b, 6);
        T* w = D + z * get(d, 6) + j * get(d, 4) + i;
        double sum = 0;
        for (i64 l = 0; l < k; ++l)
          sum += (double)u[ta ? i * get(a, 4) + l : l * get(a, 4) + i] *
                 (double)v[tb ? l * get(b, 4) + j : j * get(b, 4) + l];
        *w = *s * sum + (*t ? *t * *w : 0) + (bias ? bias[i] : 0);
      }
}
extern "C" {
size_t cublasLtGetVersion() { return 130800; }
int cublasLtCreate(void** h) { int r = say("Create"); return r ? r : make(h); }
int cublasLtDestroy(void* h) { end(h); return say("Destroy"); }
int cublasLtMatmulDescCreate(void** p, int compute, int scale) {
  int r = say("MatmulDescCreate"); if (r) return r;
  make(p); ((Made*)*p)->is = {{0, compute}, {1, scale}}; return 0;
}
int cublasLtMatmulDescDestroy(void* p) { return end(p); }
int cublasLtMatmulDescSetAttribute(void* p, int key, const void* b, size_t n) {
  i64 v = 0; memcpy(&v, b, n);
  int r = say("MatmulDescSetAttribute", " " + std::to_string(key) + " " + std::to_string(v));
  return r ? r : set(p, key, b, n);
}
int cublasLtMatmulDescGetAttribute(void* p, int key, void* b, size_t n, size_t*) {
  i64 v = get(p, key); memcpy(b, &v, n); return 0;
}
int cublasLtMatrixLayoutCreate(void** p, int type, uint64_t rows, uint64_t columns, i64 ld) {
  int r = say("MatrixLayoutCreate"); if (r) return r;
  make(p); ((Made*)*p)->is = {{0, type}, {2, (i64)rows}, {3, (i64)columns}, {4, ld}}; return 0;
}
int cublasLtMatrixLayoutDestroy(void* p) { return end(p); }
int cublasLtMatrixLayoutSetAttribute(void* p, int key, const void* b, size_t n) {
  return set(p, key, b, n);
}
int cublasLtMatrixLayoutGetAttribute(void* p, int key, void* b, size_t n, size_t*) {
  i64 v = get(p, key); memcpy(b, &v, n); return 0;
}
int cublasLtMatmulPreferenceCreate(void** p) { return make(p); }
int cublasLtMatmulPreferenceDestroy(void* p) { return end(p); }
int cublasLtMatmulPreferenceSetAttribute(void* p, int key, const void* b, size_t n) {
  return set(p, key, b, n);
}
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void* pref, int wanted,
                                   Result* r, int* found) {
  std::string asked = " workspace " + std::to_string(get(pref, 1));
  asked += " aligned " + std::to_string(get(pref, 5));
  int got = say("MatmulAlgoGetHeuristic", asked + " reductions " + std::to_string(get(pref, 3)));
  *found = 0; if (got) return got;
  for (int i = 0; i < wanted && i < 3; ++i, ++*found) {
    r[i] = {}; r[i].algo[0] = 100 + i; r[i].workspace = 1024; r[i].state = i == 1 ? 15 : 0;
  }
  return 0;
}
int cublasLtMatmulAlgoCheck(void*, void*, void*, void*, void*, void*, const uint64_t* algo,
                            Result* r) {
  r->workspace = algo[0]; return say("MatmulAlgoCheck");
}
int cublasLtMatmul(void*, void* p, const void* s, const void* A, void* a, const void* B, void* b,
                   const void* t, const void* C, void* c, void* D, void* d, const uint64_t* algo,
                   void* ws, size_t bytes, void* stream) {
  char more[200];
  snprintf(more, 200, " algo %llu workspace %llu %zu stream %llu in place %d",
           (unsigned long long)*algo, (unsigned long long)ws, bytes, (unsigned long long)stream,
           C == D && c == d);
  int r = say("Matmul", more); if (r) return r;
  if (get(a, 0) == 0)
    multiply(p, (float*)s, (float*)A, a, (float*)B, b, (float*)t, (float*)D, d);
  if (get(a, 0) == 1)
    multiply(p, (double*)s, (double*)A, a, (double*)B, b, (double*)t, (double*)D, d);
  return 0;
}
const char* stub_log() { return text.c_str(); }
void stub_clear() { text.clear(); }
void stub_fail(const char* name, int status) { failing = name; status_of = status; }
int stub_alive() { return alive; }
}
