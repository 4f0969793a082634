"""The LLVM text of the entry to BLAS: what `products` compiles.

It checks what it is given as far as it relies on it (types, dtype, shapes, layouts), and hands
everything else to the slow way. `_WORDS` names, in order, what the table behind it holds.
"""

from __future__ import annotations

from tensorgrad.codegen.native import loads
from tensorgrad.codegen.products_parts import MATRIX, ROWS, transpose

ROOM = 2**14
"""Elements of a factor that is turned on the stack before it is multiplied."""


def text(bits: int, large: int) -> str:
    """The entry as LLVM text, for a BLAS with integers of that many bits; `large` work unlocks."""
    wide = bits == 64
    return (
        _TEXT.replace("CAST", "add i64 0," if wide else "trunc i64")
        .replace("TOINT", "" if wide else "to i32")
        .replace("INT", "i64" if wide else "i32")
        .replace("LARGE", str(large))
        .replace("ROOM", str(ROOM))
    )


_WORDS = (
    "ndarray single double slow none new vectorcall save restore incref sgemm dgemm sother dother "
    "get_threads set_threads most"
)


_SIDES = (
    loads("A", "a.data m:i64 k:i64 lda:i64 ta:i64")
    + "\n"
    + loads("B", "b.data bk:i64 n:i64 ldb:i64 tb:i64")
)

_MAIN = """
define ptr @KERNEL(ptr %self, ptr %args, i64 %nargs) {
  %table = getelementptr i8, ptr %self, i64 32
LOADS
  %A = alloca [6 x i64]
  %B = alloca [6 x i64]
  %C = alloca [6 x i64]
  %dims = alloca [2 x i64]
  %enough = icmp uge i64 %nargs, 2
  %limited = icmp ule i64 %nargs, 4
  %counted = and i1 %enough, %limited
  br i1 %counted, label %first, label %slow
first:
  %a = load ptr, ptr %args
  %b.at = getelementptr ptr, ptr %args, i64 1
  %b = load ptr, ptr %b.at
  %a.type.at = getelementptr i8, ptr %a, i64 8
  %a.type = load ptr, ptr %a.type.at
  %a.exact = icmp eq ptr %a.type, %ndarray
  br i1 %a.exact, label %kind, label %slow
kind:
  %descr.at = getelementptr i8, ptr %a, i64 56
  %descr = load ptr, ptr %descr.at
  %is.single = icmp eq ptr %descr, %single
  %is.double = icmp eq ptr %descr, %double
  %known = or i1 %is.single, %is.double
  br i1 %known, label %sides, label %slow
sides:
  %size = select i1 %is.single, i64 4, i64 8
  %a.ok = call i1 @KERNEL.matrix(ptr %a, ptr %ndarray, ptr %descr, i64 %size, ptr %A)
  br i1 %a.ok, label %second, label %slow
second:
  %b.ok = call i1 @KERNEL.matrix(ptr %b, ptr %ndarray, ptr %descr, i64 %size, ptr %B)
  br i1 %b.ok, label %inner, label %slow
inner:
SIDES
  %meet = icmp eq i64 %k, %bk
  %area = mul i64 %m, %n
  %work = mul i64 %area, %k
  %limit.number = ptrtoint ptr %most to i64
  %bounded = icmp sle i64 %work, %limit.number
  %direct = and i1 %meet, %bounded
  br i1 %direct, label %adding, label %slow
adding:
  %adds = icmp eq i64 %nargs, 4
  br i1 %adds, label %bias, label %target
bias:
  %v.at = getelementptr ptr, ptr %args, i64 3
  %v = load ptr, ptr %v.at
  %v.none = icmp eq ptr %v, %none
  br i1 %v.none, label %target, label %vector
vector:
  %v.type.at = getelementptr i8, ptr %v, i64 8
  %v.type = load ptr, ptr %v.type.at
  %v.exact = icmp eq ptr %v.type, %ndarray
  br i1 %v.exact, label %vector.kind, label %slow
vector.kind:
  %v.descr.at = getelementptr i8, ptr %v, i64 56
  %v.descr = load ptr, ptr %v.descr.at
  %v.same = icmp eq ptr %v.descr, %descr
  %v.nd.at = getelementptr i8, ptr %v, i64 24
  %v.nd = load i32, ptr %v.nd.at
  %v.flat = icmp eq i32 %v.nd, 1
  %v.flags.at = getelementptr i8, ptr %v, i64 64
  %v.flags = load i32, ptr %v.flags.at
  %v.bits = and i32 %v.flags, 257
  %v.plain = icmp eq i32 %v.bits, 257
  %v.one = and i1 %v.same, %v.flat
  %v.fit = and i1 %v.one, %v.plain
  br i1 %v.fit, label %vector.size, label %slow
vector.size:
  %v.dims.at = getelementptr i8, ptr %v, i64 32
  %v.dims = load ptr, ptr %v.dims.at
  %v.n = load i64, ptr %v.dims
  %v.data.at = getelementptr i8, ptr %v, i64 16
  %v.data = load ptr, ptr %v.data.at
  %v.match = icmp eq i64 %v.n, %n
  br i1 %v.match, label %target, label %slow
target:
  %offset = phi ptr [null, %adding], [null, %bias], [%v.data, %vector.size]
  %given = icmp uge i64 %nargs, 3
  br i1 %given, label %asked, label %make
asked:
  %c.at = getelementptr ptr, ptr %args, i64 2
  %c = load ptr, ptr %c.at
  %c.none = icmp eq ptr %c, %none
  br i1 %c.none, label %make, label %check
check:
  %c.ok = call i1 @KERNEL.matrix(ptr %c, ptr %ndarray, ptr %descr, i64 %size, ptr %C)
  br i1 %c.ok, label %fits, label %slow
fits:
  %c.m.at = getelementptr i64, ptr %C, i64 1
  %c.m = load i64, ptr %c.m.at
  %c.n.at = getelementptr i64, ptr %C, i64 2
  %c.n = load i64, ptr %c.n.at
  %c.flags.at = getelementptr i8, ptr %c, i64 64
  %c.flags = load i32, ptr %c.flags.at
  %c.bits = and i32 %c.flags, 1024
  %c.open = icmp ne i32 %c.bits, 0
  %c.high = icmp eq i64 %c.m, %m
  %c.wide = icmp eq i64 %c.n, %n
  %c.shape = and i1 %c.high, %c.wide
  %c.ready = and i1 %c.shape, %c.open
  br i1 %c.ready, label %layout, label %slow
layout:
  %c.t.at = getelementptr i64, ptr %C, i64 4
  %c.t = load i64, ptr %c.t.at
  %c.ld.at = getelementptr i64, ptr %C, i64 3
  %c.ld = load i64, ptr %c.ld.at
  %c.first = load ptr, ptr %C
  %c.turned = icmp ne i64 %c.t, 0
  %biased = icmp ne ptr %offset, null
  %awkward = and i1 %c.turned, %biased
  %a.on = call i1 @KERNEL.overlap(ptr %A, ptr %C)
  %b.on = call i1 @KERNEL.overlap(ptr %B, ptr %C)
  %shared = or i1 %a.on, %b.on
  %unfit = or i1 %awkward, %shared
  br i1 %unfit, label %slow, label %held
held:
  call void %incref(ptr %c)
  br label %multiply
make:
  store i64 %m, ptr %dims
  %dims.n = getelementptr i64, ptr %dims, i64 1
  store i64 %n, ptr %dims.n
  call void %incref(ptr %descr)
  %fresh = call ptr %new(ptr %ndarray, ptr %descr, i32 2, ptr %dims,
    ptr null, ptr null, i32 0, ptr null)
  %failed = icmp eq ptr %fresh, null
  br i1 %failed, label %error, label %made
made:
  %fresh.at = getelementptr i8, ptr %fresh, i64 16
  %fresh.data = load ptr, ptr %fresh.at
  br label %multiply
multiply:
  %result = phi ptr [%c, %held], [%fresh, %made]
  %data = phi ptr [%c.first, %held], [%fresh.data, %made]
  %ldc = phi i64 [%c.ld, %held], [%n, %made]
  %turned = phi i1 [%c.turned, %held], [false, %made]
  ; cᵀ = bᵀ aᵀ where the result lies transposed
  %x.data = select i1 %turned, ptr %b.data, ptr %a.data
  %y.data = select i1 %turned, ptr %a.data, ptr %b.data
  %x.ld = select i1 %turned, i64 %ldb, i64 %lda
  %y.ld = select i1 %turned, i64 %lda, i64 %ldb
  %flip = zext i1 %turned to i64
  %x.t = select i1 %turned, i64 %tb, i64 %ta
  %y.t = select i1 %turned, i64 %ta, i64 %tb
  %x.way = xor i64 %x.t, %flip
  %y.way = xor i64 %y.t, %flip
  %x.small = trunc i64 %x.way to i32
  %y.small = trunc i64 %y.way to i32
  %x.code = add i32 %x.small, 111
  %y.code = add i32 %y.small, 111
  %p = select i1 %turned, i64 %n, i64 %m
  %q = select i1 %turned, i64 %m, i64 %n
  %p.int = CAST %p TOINT
  %slow.way = icmp eq i64 %y.way, 1
  %y.sides = or i64 %q, %k
  %y.rest = and i64 %y.sides, 15
  %even = icmp eq i64 %y.rest, 0
  %y.area = mul i64 %q, %k
  %y.few = icmp sle i64 %y.area, ROOM
  %tall = icmp sge i64 %p, 32
  %t1 = and i1 %slow.way, %even
  %t2 = and i1 %y.few, %tall
  %t3 = and i1 %t1, %t2
  %turning = and i1 %t3, %is.single
  br i1 %turning, label %turn, label %ready
turn:
  ; OpenBLAS is slow at a small right factor that lies transposed: by half of the product
  %room = alloca float, i64 %y.area, align 64
  call void @KERNEL.transpose(ptr %y.data, i64 %y.ld, i64 %q, i64 %k, ptr %room)
  br label %ready
ready:
  %z.data = phi ptr [%y.data, %multiply], [%room, %turn]
  %z.ld = phi i64 [%y.ld, %multiply], [%q, %turn]
  %z.code = phi i32 [%y.code, %multiply], [111, %turn]
  %q.int = CAST %q TOINT
  %k.int = CAST %k TOINT
  %x.int = CAST %x.ld TOINT
  %z.int = CAST %z.ld TOINT
  %c.int = CAST %ldc TOINT
  %p.few = icmp sle i64 %p, 2
  %q.few = icmp sle i64 %q, 2
  %few = or i1 %p.few, %q.few
  ; columns of the left factor in the same places of the caches, and many of them
  %x.bytes = mul i64 %x.ld, %size
  %x.page = and i64 %x.bytes, 4095
  %x.even = icmp eq i64 %x.page, 0
  %x.turned = icmp ne i64 %x.way, 0
  %x.long = icmp sge i64 %k, 256
  %x.both = and i1 %x.even, %x.turned
  %x.hard = and i1 %x.both, %x.long
  %other = or i1 %few, %x.hard
  %single.gemm = select i1 %other, ptr %sother, ptr %sgemm
  %double.gemm = select i1 %other, ptr %dother, ptr %dgemm
  %large = icmp sge i64 %work, LARGE
  br i1 %large, label %release, label %threads
release:
  %state = call ptr %save()
  br label %threads
threads:
  %held.state = phi ptr [null, %ready], [%state, %release]
  %settable = icmp ne ptr %set_threads, null
  br i1 %settable, label %one, label %gemm
one:
  %before = call i32 %get_threads()
  %several = icmp ne i32 %before, 1
  br i1 %several, label %limit, label %gemm
limit:
  call void %set_threads(i32 1)
  br label %gemm
gemm:
  %back = phi i32 [1, %threads], [1, %one], [%before, %limit]
  br i1 %is.single, label %gemm.single, label %gemm.double
gemm.single:
  call void %single.gemm(i32 101, i32 %x.code, i32 %z.code,
    INT %p.int, INT %q.int, INT %k.int, float 1.0, ptr %x.data, INT %x.int,
    ptr %z.data, INT %z.int, float 0.0, ptr %data, INT %c.int)
  br label %multiplied
gemm.double:
  call void %double.gemm(i32 101, i32 %x.code, i32 %z.code,
    INT %p.int, INT %q.int, INT %k.int, double 1.0, ptr %x.data, INT %x.int,
    ptr %z.data, INT %z.int, double 0.0, ptr %data, INT %c.int)
  br label %multiplied
multiplied:
  %changed = icmp ne i32 %back, 1
  br i1 %changed, label %reset, label %plus
reset:
  call void %set_threads(i32 %back)
  br label %plus
plus:
  %wanted = icmp ne ptr %offset, null
  br i1 %wanted, label %rows, label %finish
rows:
  br i1 %is.single, label %rows.single, label %rows.double
rows.single:
  call void @KERNEL.add_float(ptr %data, i64 %m, i64 %n, i64 %ldc, ptr %offset)
  br label %finish
rows.double:
  call void @KERNEL.add_double(ptr %data, i64 %m, i64 %n, i64 %ldc, ptr %offset)
  br label %finish
finish:
  br i1 %large, label %resume, label %done
resume:
  call void %restore(ptr %held.state)
  br label %done
done:
  ret ptr %result
slow:
  %answer = call ptr %vectorcall(ptr %slow_call, ptr %args, i64 %nargs, ptr null)
  ret ptr %answer
error:
  ret ptr null
}
"""

_TEXT = (
    "; entry of a matrix product\n"
    + MATRIX
    + ROWS.replace("TYPE", "float")
    + ROWS.replace("TYPE", "double")
    + transpose()
    + _MAIN.replace("LOADS", loads("table", _WORDS))
    .replace("SIDES", _SIDES)
    .replace("%slow_call", "%slow.function")
).replace("%slow = load", "%slow.function = load")
