// The runtime under cuda_host.h: one fiber per CUDA thread of a block, on one OS thread.
//
// A fiber runs until it waits (barrier, vote, shuffle) or ends; the scheduler releases a warp's
// lanes when all live lanes that their mask names wait at the same operation, and a block when all
// its threads wait at the same __syncthreads. Nothing left to run is reported as a fault.
//
// Schedules: even: the warps step through their phases side by side; ascending, descending: one
// warp, then one block, as far as it can go; random: warps, lanes and blocks shuffled by the seed.
//
// Compiled once, without sanitizers; where their runtime is loaded it is told of every fiber and,
// as release and acquire, of every barrier that orders memory: __syncthreads and __syncwarp, not
// shuffles and votes.
#include "cuda_host.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__x86_64__) && !defined(CUDA_HOST_UCONTEXT)
#define SWITCH_BY_ASM 1
#else
#include <ucontext.h>
#endif

extern "C" {
#define WEAK __attribute__((weak))
void* __tsan_get_current_fiber() WEAK;
void* __tsan_create_fiber(unsigned) WEAK;
void __tsan_destroy_fiber(void*) WEAK;
void __tsan_switch_to_fiber(void*, unsigned) WEAK;
void __tsan_acquire(void*) WEAK;
void __tsan_release(void*) WEAK;
void __sanitizer_start_switch_fiber(void**, const void*, size_t) WEAK;
void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) WEAK;
void __asan_unpoison_memory_region(const volatile void*, size_t) WEAK;
void __asan_poison_memory_region(const volatile void*, size_t) WEAK;
}

namespace cuda_host {

Thread* current;
uint3 block_index;
dim3 block_size, grid_size;
unsigned char* dynamic_shared;

namespace {

constexpr size_t stack_bytes = 256 * 1024, page = 4096;
constexpr unsigned max_threads = 1024, max_shared = 227 * 1024;
enum State { ready, waiting, done };

struct Fiber {
    Thread seen;  // first: the kernel's view
    State state;
    unsigned arrivals[2];
    char* stack;
    void* stack_pointer;
    void* tsan;
    void* asan;
#ifndef SWITCH_BY_ASM
    ucontext_t context;
#endif
};

Fiber fibers[max_threads];
unsigned n_threads, n_done;
void (*kernel)(void*);
void* kernel_context;
char message[1024];
bool failed;
void* main_stack_pointer;
void *main_tsan, *main_asan;
const void* main_stack;
size_t main_stack_bytes;
#ifndef SWITCH_BY_ASM
ucontext_t main_context;
#endif
uint64_t random_state;
char start_tag, end_tag, barrier_tags[33][2];
alignas(16) unsigned char shared_bytes[max_shared + 16];

unsigned random_below(unsigned n) {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<unsigned>((random_state >> 33) % n);
}
template <class T> void shuffle_order(T* order, unsigned n) {
    for (unsigned i = n; i > 1; i--) {
        const unsigned j = random_below(i);
        const T kept = order[i - 1];
        order[i - 1] = order[j], order[j] = kept;
    }
}
void poison(volatile char* begin, volatile char* end) {
    while (begin != end) *begin++ = static_cast<char>(0xff);
}
void acquire(void* tag) {
    if (__tsan_acquire) __tsan_acquire(tag);
}
void release(void* tag) {
    if (__tsan_release) __tsan_release(tag);
}
Fiber* self() { return reinterpret_cast<Fiber*>(current); }

// ------------------------------------------------------------------ switching

#ifdef SWITCH_BY_ASM
asm(R"(
.text
.hidden cuda_host_switch
.globl cuda_host_switch
.type cuda_host_switch,@function
cuda_host_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size cuda_host_switch,.-cuda_host_switch
)");
extern "C" void cuda_host_switch(void** save, void* to);
#endif

void to_scheduler() {
    Fiber* me = self();
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&me->asan, main_stack, main_stack_bytes);
    if (main_tsan) __tsan_switch_to_fiber(main_tsan, 1);  // 1: the switch itself orders nothing
#ifdef SWITCH_BY_ASM
    cuda_host_switch(&me->stack_pointer, main_stack_pointer);
#else
    swapcontext(&me->context, &main_context);
#endif
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(me->asan, &main_stack, &main_stack_bytes);
}

void to_fiber(Fiber* fiber) {
    current = &fiber->seen;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&main_asan, fiber->stack, stack_bytes);
    if (main_tsan) __tsan_switch_to_fiber(fiber->tsan, 1);
#ifdef SWITCH_BY_ASM
    cuda_host_switch(&main_stack_pointer, fiber->stack_pointer);
#else
    swapcontext(&main_context, &fiber->context);
#endif
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(main_asan, nullptr, nullptr);
}

// A fiber lives on from block to block: one turn of the loop is one thread of one block.
void fiber_main() {
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_stack_bytes);
    for (;;) {
        acquire(&start_tag);
        kernel(kernel_context);
        release(&end_tag);
        self()->state = done;
        n_done++;
        to_scheduler();
    }
}

void renew(Fiber* fiber, bool new_stack = false) {
    if (new_stack && fiber->stack) munmap(fiber->stack, stack_bytes), fiber->stack = nullptr;
    if (!fiber->stack) {
        void* memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) abort();
        fiber->stack = static_cast<char*>(memory);
        mprotect(fiber->stack, page, PROT_NONE);
    } else if (__asan_unpoison_memory_region) {
        __asan_unpoison_memory_region(fiber->stack, stack_bytes);
    }
#ifdef SWITCH_BY_ASM
    void** top = reinterpret_cast<void**>(fiber->stack + stack_bytes - 64);
    *--top = nullptr;  // fiber_main returns nowhere; the stack is aligned as after a call
    *--top = reinterpret_cast<void*>(&fiber_main);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber->stack_pointer = top;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = stack_bytes;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, &fiber_main, 0);
#endif
    if (!main_tsan) return;
    if (fiber->tsan) {
        __tsan_switch_to_fiber(fiber->tsan, 1);  // what it did comes before what follows
        release(&end_tag);
        __tsan_switch_to_fiber(main_tsan, 1);
        __tsan_destroy_fiber(fiber->tsan);
    }
    fiber->tsan = __tsan_create_fiber(0);
}

// ------------------------------------------------------------------ faults

void report(const char* format, ...) {
    if (failed) return;
    failed = true;
    int n = snprintf(message, sizeof message, "block (%u,%u,%u)", block_index.x, block_index.y,
                     block_index.z);
    if (current) {
        const uint3 t = current->index;
        n += snprintf(message + n, sizeof message - n, ", thread (%u,%u,%u)", t.x, t.y, t.z);
    }
    n += snprintf(message + n, sizeof message - n, ": ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message + n, sizeof message - n, format, arguments);
    va_end(arguments);
}

sigjmp_buf after_signal;
void on_signal(int number, siginfo_t* info, void*) {
    report("%s at address %p: a misaligned access, one outside the arrays, or a division by 0",
           number == SIGFPE ? "SIGFPE" : number == SIGBUS ? "SIGBUS" : "SIGSEGV", info->si_addr);
    siglongjmp(after_signal, 1);
}

// While a kernel runs a bad access ends the launch, not the process; a sanitizer does it better.
struct Signals {
    static constexpr int numbers[3] = {SIGSEGV, SIGBUS, SIGFPE};
    struct sigaction before[3];
    stack_t stack_before;
    const bool used = !__tsan_acquire && !__asan_unpoison_memory_region;
    Signals() {
        if (!used) return;
        static char stack[64 * 1024];
        stack_t own{};
        own.ss_sp = stack, own.ss_size = sizeof stack;
        sigaltstack(&own, &stack_before);
        struct sigaction action{};
        action.sa_sigaction = on_signal, action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < 3; i++) sigaction(numbers[i], &action, &before[i]);
    }
    ~Signals() {
        if (!used) return;
        for (int i = 0; i < 3; i++) sigaction(numbers[i], &before[i], nullptr);
        sigaltstack(&stack_before, nullptr);
    }
};

const char* const names[] = {"__syncthreads", "__syncwarp", "a shuffle", "a vote"};

// Who waits where, when nothing can run on.
void report_deadlock() {
    char text[700];
    int n = 0;
    bool told[max_threads]{};
    for (unsigned i = 0, lines = 0; i < n_threads && lines < 4; i++) {
        const Thread& t = fibers[i].seen;
        if (told[i] || fibers[i].state != waiting) continue;
        unsigned count = 0;
        for (unsigned j = i; j < n_threads; j++) {
            const Thread& u = fibers[j].seen;
            if (fibers[j].state != waiting || u.line != t.line || u.kind != t.kind) continue;
            if (strcmp(u.file, t.file) == 0) told[j] = true, count++;
        }
        n += snprintf(text + n, sizeof text - n, "%s%u threads (first: %u) wait at %s in %.80s:%d",
                      lines ? ", " : "", count, i, names[t.kind], t.file, t.line);
        lines++;
    }
    current = nullptr;
    report("divergent barrier: %s, %u have exited", text, n_done);
}

// ------------------------------------------------------------------ releasing those who wait

bool complete(unsigned first, unsigned end, unsigned mask, Kind kind) {
    for (unsigned i = first; i < end; i++) {
        const Fiber& f = fibers[i];
        if (!((mask >> (i - first)) & 1) || f.state == done) continue;
        if (f.state != waiting || f.seen.kind != kind || f.seen.mask != mask) return false;
    }
    return true;
}

void release_lanes(unsigned first, unsigned end, unsigned mask) {
    unsigned votes = 0;
    for (unsigned i = first; i < end; i++)
        if (((mask >> (i - first)) & 1) && fibers[i].state == waiting && fibers[i].seen.predicate)
            votes |= 1u << (i - first);
    for (unsigned i = first; i < end; i++) {
        Thread& t = fibers[i].seen;
        if (!((mask >> (i - first)) & 1) || fibers[i].state != waiting) continue;
        t.result = votes;
        if (t.kind != shuffle) continue;
        const unsigned from = first + (t.source < 0 ? t.lane : static_cast<unsigned>(t.source));
        const bool named = from < end && ((mask >> (from - first)) & 1);
        if (named && fibers[from].state != done)
            memcpy(t.taken, fibers[from].seen.given, sizeof t.taken);
        else memset(t.taken, 0xff, sizeof t.taken);
    }
    for (unsigned i = first; i < end; i++)
        if (((mask >> (i - first)) & 1) && fibers[i].state == waiting) fibers[i].state = ready;
}

// Releases what can be released in the warp; whether some lane can run.
bool warp_can_run(unsigned warp) {
    const unsigned first = warp * 32, end = first + 32 < n_threads ? first + 32 : n_threads;
    bool any = false;
    for (unsigned i = first; i < end; i++) {
        const Fiber& f = fibers[i];
        if (f.state == waiting && f.seen.kind != block_barrier &&
            complete(first, end, f.seen.mask, f.seen.kind))
            release_lanes(first, end, f.seen.mask);
        any = any || f.state == ready;
    }
    return any;
}

bool release_block() {
    unsigned yes = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        const Fiber& f = fibers[i];
        if (f.state != waiting || f.seen.kind != block_barrier) return false;
        if (f.seen.line != fibers[0].seen.line || strcmp(f.seen.file, fibers[0].seen.file) != 0)
            return false;
        yes += f.seen.predicate != 0;
    }
    for (unsigned i = 0; i < n_threads; i++)
        fibers[i].seen.result = yes, fibers[i].state = ready;
    return true;
}

// ------------------------------------------------------------------ one block, all blocks

void begin_block(bool unordered) {
    n_done = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        Fiber& f = fibers[i];
        if (!f.stack || unordered) renew(&f, unordered);
        f.state = ready;
        f.arrivals[0] = f.arrivals[1] = 0;
        f.seen.lane = i % 32;
        f.seen.predicate = 0;
        f.seen.index = {i % block_size.x, i / block_size.x % block_size.y,
                        i / (block_size.x * block_size.y)};
    }
    if (!unordered) acquire(&end_tag);
    release(&start_tag);
}

void run_block(int schedule) {
    const unsigned n_warps = (n_threads + 31) / 32;
    unsigned warps[32], lanes[32];
    for (unsigned i = 0; i < 32; i++) {
        warps[i] = schedule == 2 ? n_warps - 1 - i : i;
        lanes[i] = schedule == 2 ? 31 - i : i;
    }
    while (n_done < n_threads && !failed) {
        bool progress = false;
        if (schedule == 3) shuffle_order(warps, n_warps);
        for (unsigned w = 0; w < n_warps && !failed; w++) {
            const unsigned first = warps[w] * 32;
            while (!failed && warp_can_run(warps[w])) {
                progress = true;
                if (schedule == 3) shuffle_order(lanes, 32);
                for (unsigned l = 0; l < 32 && !failed; l++) {
                    const unsigned i = first + lanes[l];
                    if (i < n_threads && fibers[i].state == ready) to_fiber(&fibers[i]);
                }
                if (schedule == 0 || (schedule == 3 && random_below(4) == 0)) break;
            }
        }
        if (n_done < n_threads && !failed && !release_block() && !progress) report_deadlock();
    }
}

void run_blocks(const Launch* launch, char* bss, char* end) {
    const uint64_t gx = launch->grid[0], gy = launch->grid[1];
    const uint64_t n = launch->blocks ? launch->n_blocks : gx * gy * launch->grid[2];
    constexpr uint64_t most = 1 << 20;  // a larger grid is shuffled in pieces of this size
    static uint64_t order[most];
    for (uint64_t base = 0; base < n && !failed; base += most) {
        const uint64_t count = n - base < most ? n - base : most;
        for (uint64_t i = 0; i < count; i++)
            order[i] = launch->schedule == 2 ? n - 1 - base - i : base + i;
        if (launch->schedule == 3) shuffle_order(order, static_cast<unsigned>(count));
        for (uint64_t i = 0; i < count && !failed; i++) {
            const uint64_t b = launch->blocks ? launch->blocks[order[i]] : order[i];
            block_index = {static_cast<unsigned>(b % gx), static_cast<unsigned>(b / gx % gy),
                           static_cast<unsigned>(b / (gx * gy))};
            if (bss) poison(bss, end);
            poison(reinterpret_cast<char*>(shared_bytes),
                   reinterpret_cast<char*>(shared_bytes) + launch->shared);
            begin_block(launch->unordered_blocks);
            run_block(launch->schedule);
        }
    }
}

void run_guarded(const Launch* launch, char* bss, char* end) {
    const Signals signals;
    if (sigsetjmp(after_signal, 1) == 0) run_blocks(launch, bss, end);
}

}  // namespace

void wait() {
    Fiber* me = self();
    const Kind kind = me->seen.kind;
    void* tag = nullptr;  // two per barrier, so that who runs ahead adds nothing to this phase
    if (kind == block_barrier) tag = &barrier_tags[32][me->arrivals[0]++ & 1];
    if (kind == warp_barrier)
        tag = &barrier_tags[(me - fibers) / 32][me->arrivals[1]++ & 1];
    me->state = waiting;
    if (tag) release(tag);
    to_scheduler();
    if (tag) acquire(tag);
}

void fault(const char* text) {
    report("%s", text);
    to_scheduler();
    __builtin_unreachable();
}

const char* run(const Launch* launch, void (*body)(void*), void* context, char* bss, char* end) {
    grid_size = dim3(launch->grid[0], launch->grid[1], launch->grid[2]);
    block_size = dim3(launch->block[0], launch->block[1], launch->block[2]);
    n_threads = block_size.x * block_size.y * block_size.z;
    kernel = body, kernel_context = context, failed = false, current = nullptr;
    random_state = launch->seed * 2654435761u + 12345;
    dynamic_shared = shared_bytes;
    if (__asan_poison_memory_region) {
        bss = nullptr;  // red zones lie between the variables
        __asan_unpoison_memory_region(shared_bytes, sizeof shared_bytes);
        __asan_poison_memory_region(shared_bytes + launch->shared,
                                    sizeof shared_bytes - launch->shared);
    }
    if (__tsan_get_current_fiber) main_tsan = __tsan_get_current_fiber();
    release(&start_tag);
    run_guarded(launch, bss, end);
    if (failed)
        for (unsigned i = 0; i < n_threads; i++) renew(&fibers[i]);
    acquire(&end_tag);
    current = nullptr;
    return failed ? message : nullptr;
}

}  // namespace cuda_host
