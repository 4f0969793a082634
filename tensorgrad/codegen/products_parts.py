"""The functions in LLVM text that the entry to BLAS calls."""

from __future__ import annotations

# A matrix is described by six words: data, rows, columns, leading dimension, transposed or not,
# and the byte behind its last.
MATRIX = """
define internal i1 @KERNEL.matrix(ptr %a, ptr %ndarray, ptr %descr, i64 %size, ptr %found) {
  %type.at = getelementptr i8, ptr %a, i64 8
  %type = load ptr, ptr %type.at
  %exact = icmp eq ptr %type, %ndarray
  br i1 %exact, label %array, label %no
array:
  %descr.at = getelementptr i8, ptr %a, i64 56
  %own = load ptr, ptr %descr.at
  %same = icmp eq ptr %own, %descr
  %nd.at = getelementptr i8, ptr %a, i64 24
  %nd = load i32, ptr %nd.at
  %flat = icmp eq i32 %nd, 2
  %flags.at = getelementptr i8, ptr %a, i64 64
  %flags = load i32, ptr %flags.at
  %aligned = and i32 %flags, 256
  %straight = icmp ne i32 %aligned, 0
  %both = and i1 %same, %flat
  %fit = and i1 %both, %straight
  br i1 %fit, label %matrix, label %no
matrix:
  %data.at = getelementptr i8, ptr %a, i64 16
  %data = load ptr, ptr %data.at
  %dims.at = getelementptr i8, ptr %a, i64 32
  %dims = load ptr, ptr %dims.at
  %steps.at = getelementptr i8, ptr %a, i64 40
  %steps = load ptr, ptr %steps.at
  %m = load i64, ptr %dims
  %n.at = getelementptr i64, ptr %dims, i64 1
  %n = load i64, ptr %n.at
  %down = load i64, ptr %steps
  %right.at = getelementptr i64, ptr %steps, i64 1
  %right = load i64, ptr %right.at
  store ptr %data, ptr %found
  %f1 = getelementptr i64, ptr %found, i64 1
  store i64 %m, ptr %f1
  %f2 = getelementptr i64, ptr %found, i64 2
  store i64 %n, ptr %f2
  %f3 = getelementptr i64, ptr %found, i64 3
  %f4 = getelementptr i64, ptr %found, i64 4
  %row = mul i64 %n, %size
  %packed = icmp eq i64 %right, %size
  %apart = icmp sge i64 %down, %row
  %down.rest = srem i64 %down, %size
  %down.whole = icmp eq i64 %down.rest, 0
  %rows.apart = and i1 %apart, %down.whole
  %rows = and i1 %packed, %rows.apart
  br i1 %rows, label %plain, label %other
plain:
  %last.row = sub i64 %m, 1
  %down.far = mul i64 %last.row, %down
  %down.size = add i64 %down.far, %row
  %down.ld = sdiv i64 %down, %size
  store i64 %down.ld, ptr %f3
  store i64 0, ptr %f4
  br label %some
other:
  %column = mul i64 %m, %size
  %stacked = icmp eq i64 %down, %size
  %beside = icmp sge i64 %right, %column
  %right.rest = srem i64 %right, %size
  %right.whole = icmp eq i64 %right.rest, 0
  %columns.apart = and i1 %beside, %right.whole
  %columns = and i1 %stacked, %columns.apart
  br i1 %columns, label %turned, label %no
turned:
  %last.column = sub i64 %n, 1
  %right.far = mul i64 %last.column, %right
  %right.size = add i64 %right.far, %column
  %right.ld = sdiv i64 %right, %size
  store i64 %right.ld, ptr %f3
  store i64 1, ptr %f4
  br label %some
some:
  %bytes = phi i64 [%down.size, %plain], [%right.size, %turned]
  %end = getelementptr i8, ptr %data, i64 %bytes
  %f5 = getelementptr i64, ptr %found, i64 5
  store ptr %end, ptr %f5
  %area = mul i64 %m, %n
  %full = icmp sgt i64 %area, 0
  ret i1 %full
no:
  ret i1 false
}

define internal i1 @KERNEL.overlap(ptr %x, ptr %y) {
  %x.start = load ptr, ptr %x
  %y.start = load ptr, ptr %y
  %x.at = getelementptr i64, ptr %x, i64 5
  %x.end = load ptr, ptr %x.at
  %y.at = getelementptr i64, ptr %y, i64 5
  %y.end = load ptr, ptr %y.at
  %before = icmp ult ptr %x.start, %y.end
  %after = icmp ult ptr %y.start, %x.end
  %both = and i1 %before, %after
  ret i1 %both
}
"""

ROWS = """
define internal void @KERNEL.add_TYPE(ptr %c, i64 %m, i64 %n, i64 %ld, ptr %bias) {
  br label %row
row:
  %i = phi i64 [0, %0], [%i.next, %last]
  %line = mul i64 %i, %ld
  %at = getelementptr TYPE, ptr %c, i64 %line
  br label %wide
wide:
  %j = phi i64 [0, %row], [%j.next, %body]
  %j.next = add i64 %j, 16
  %more = icmp sle i64 %j.next, %n
  br i1 %more, label %body, label %rest
body:
  %p = getelementptr TYPE, ptr %at, i64 %j
  %q = getelementptr TYPE, ptr %bias, i64 %j
  %x = load <16 x TYPE>, ptr %p, align 1
  %y = load <16 x TYPE>, ptr %q, align 1
  %z = fadd <16 x TYPE> %x, %y
  store <16 x TYPE> %z, ptr %p, align 1
  br label %wide
rest:
  %k = phi i64 [%j, %wide], [%k.next, %one]
  %some = icmp slt i64 %k, %n
  br i1 %some, label %one, label %last
one:
  %u = getelementptr TYPE, ptr %at, i64 %k
  %v = getelementptr TYPE, ptr %bias, i64 %k
  %s = load TYPE, ptr %u
  %t = load TYPE, ptr %v
  %w = fadd TYPE %s, %t
  store TYPE %w, ptr %u
  %k.next = add i64 %k, 1
  br label %rest
last:
  %i.next = add i64 %i, 1
  %again = icmp slt i64 %i.next, %m
  br i1 %again, label %row, label %done
done:
  ret void
}
"""


def transpose() -> str:
    """A matrix of floats turned, tile by tile: four rounds of shuffles for 16 rows of 16."""
    v, lines, tile = "<16 x float>", [], [f"%r{k}" for k in range(16)]
    for stage in range(4):
        step, fresh = 1 << stage, [""] * 16
        for k in range(16):
            if not k & step:
                low = [j - step + 16 if j & step else j for j in range(16)]
                high = [j + 16 if j & step else j + step for j in range(16)]
                for name, other, lanes in ((k, "a", low), (k | step, "b", high)):
                    fresh[name] = f"%s{stage}{other}{k}"
                    mask = ", ".join(f"i32 {j}" for j in lanes)
                    pair = f"{v} {tile[k]}, {v} {tile[k | step]}"
                    lines.append(f"  {fresh[name]} = shufflevector {pair}, <16 x i32> <{mask}>")
        tile = fresh
    loads, stores = [], []
    for k in range(16):
        loads += [f"  %d{k} = mul i64 %ld, {k}", f"  %e{k} = mul i64 %rows, {k}"]
        loads += [f"  %l{k} = getelementptr float, ptr %from, i64 %d{k}"]
        loads += [f"  %r{k} = load {v}, ptr %l{k}, align 4"]
        stores += [f"  %m{k} = getelementptr float, ptr %to, i64 %e{k}"]
        stores += [f"  store {v} {tile[k]}, ptr %m{k}, align 4"]
    return _TURN.replace("TILE", "\n".join([*loads, *lines, *stores]))


_TURN = """
define internal void @KERNEL.transpose(ptr %x, i64 %ld, i64 %rows, i64 %columns, ptr %y) {
  br label %down
down:
  %i = phi i64 [0, %0], [%i.next, %right.end]
  br label %right
right:
  %j = phi i64 [0, %down], [%j.next, %right]
  %line = mul i64 %i, %ld
  %at = add i64 %line, %j
  %from = getelementptr float, ptr %x, i64 %at
  %turned.line = mul i64 %j, %rows
  %turned.at = add i64 %turned.line, %i
  %to = getelementptr float, ptr %y, i64 %turned.at
TILE
  %j.next = add i64 %j, 16
  %j.more = icmp slt i64 %j.next, %columns
  br i1 %j.more, label %right, label %right.end
right.end:
  %i.next = add i64 %i, 16
  %i.more = icmp slt i64 %i.next, %rows
  br i1 %i.more, label %down, label %done
done:
  ret void
}
"""
