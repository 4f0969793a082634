"""NumPy's allocation handler as LLVM text: blocks of dead arrays become the next arrays.

A block of LARGE bytes or more is a mapping of its own, from 4 MiB on over whole huge pages. When it
is given back it is kept in a list, newest last, up to a bound in bytes; there the next request of
its size finds it, and the oldest leave when the bound is reached. Smaller blocks come from the C
library and go back to it. The 64 bytes before the data say where they belong.
"""

from __future__ import annotations

import mmap

LARGE = 2**17
"""Bytes from which a block is kept."""

PAGE, SLOTS = 2**16, 64
"""A multiple of every system's page; the blocks that may be kept."""

_HUGE = 2**21

# Words of the table that the code works on: its own functions, the C library's, its state.
FUNCTIONS = ("take", "zeroed", "resize", "give", "trim")
TRIM = FUNCTIONS.index("trim")
LIBRARY = ("mmap", "munmap", "madvise", "malloc", "free", "memset", "memcpy")
_MMAP, _MUNMAP, MADVISE, _MALLOC, _FREE, _MEMSET, _MEMCPY = range(5, 12)
_LOCK, HELD, BOUND, _COUNT, REUSED, _FIRST = range(12, 18)
WORDS = _FIRST + 2 * SLOTS


def _at(name: str, word: int | str) -> str:
    return f"  %{name}.at = getelementptr i64, ptr %t, i64 {word}"


def _get(name: str, word: int | str, kind: str = "i64") -> str:
    return f"{_at(name, word)}\n  %{name} = load {kind}, ptr %{name}.at"


def _add(name: str, word: int, by: str) -> str:
    return f"""{_get(name + ".old", word)}
  %{name}.new = add i64 %{name}.old, {by}
  store i64 %{name}.new, ptr %{name}.old.at"""


_LOCKING = f"""
; never waits for long: whoever finds it taken does without, so a fork cannot leave it stuck
define internal i1 @KERNEL.lock(ptr %t) {{
entry:
{_at("lock", _LOCK)}
  br label %try
try:
  %k = phi i64 [0, %entry], [%k.next, %try]
  %pair = cmpxchg ptr %lock.at, i64 0, i64 1 acquire monotonic
  %won = extractvalue {{ i64, i1 }} %pair, 1
  %k.next = add i64 %k, 1
  %tired = icmp eq i64 %k.next, 100
  %leave = or i1 %won, %tired
  br i1 %leave, label %done, label %try
done:
  ret i1 %won
}}

define internal void @KERNEL.unlock(ptr %t) {{
{_at("lock", _LOCK)}
  store atomic i64 0, ptr %lock.at release, align 8
  ret void
}}
"""

_KEPT = f"""
; takes the block in slot %i out of the list, the oldest of which stands first
define internal ptr @KERNEL.drop(ptr %t, i64 %i) {{
entry:
{_add("count", _COUNT, "-1")}
  %word = mul i64 %i, 2
  %first.word = add i64 %word, {_FIRST}
{_at("slot", "%first.word")}
  %block = load ptr, ptr %slot.at
  %size.at = getelementptr i64, ptr %slot.at, i64 1
  %size = load i64, ptr %size.at
  %less = sub i64 0, %size
{_add("held", HELD, "%less")}
  br label %check
check:
  %k = phi i64 [%i, %entry], [%k.next, %move]
  %k.next = add i64 %k, 1
  %more = icmp slt i64 %k, %count.new
  br i1 %more, label %move, label %done
move:
  %to.word = mul i64 %k, 2
  %to.first = add i64 %to.word, {_FIRST}
{_at("to", "%to.first")}
  %from.at = getelementptr i64, ptr %to.at, i64 2
  %pair = load <2 x i64>, ptr %from.at, align 8
  store <2 x i64> %pair, ptr %to.at, align 8
  br label %check
done:
  ret ptr %block
}}

; gives a mapping back to the system; its first word is its start, its second its length
define internal void @KERNEL.unmap(ptr %t, ptr %data) {{
  %base.at = getelementptr i8, ptr %data, i64 -64
  %base = load ptr, ptr %base.at
  %length.at = getelementptr i8, ptr %data, i64 -56
  %length = load i64, ptr %length.at
{_get("munmap", _MUNMAP, "ptr")}
  %result = call i32 %munmap(ptr %base, i64 %length)
  ret void
}}

; the newest block of exactly that size, or null
define internal ptr @KERNEL.find(ptr %t, i64 %size) {{
entry:
  %won = call i1 @KERNEL.lock(ptr %t)
  br i1 %won, label %begin, label %without
begin:
{_get("count", _COUNT)}
  br label %check
check:
  %k = phi i64 [%count, %begin], [%i, %look]
  %i = sub i64 %k, 1
  %more = icmp sge i64 %i, 0
  br i1 %more, label %look, label %nothing
look:
  %word = mul i64 %i, 2
  %size.word = add i64 %word, {_FIRST + 1}
{_get("found", "%size.word")}
  %same = icmp eq i64 %found, %size
  br i1 %same, label %take, label %check
take:
  %block = call ptr @KERNEL.drop(ptr %t, i64 %i)
{_add("reused", REUSED, "1")}
  call void @KERNEL.unlock(ptr %t)
  ret ptr %block
nothing:
  call void @KERNEL.unlock(ptr %t)
  br label %without
without:
  ret ptr null
}}

define internal void @KERNEL.trim(ptr %t) {{
entry:
  %won = call i1 @KERNEL.lock(ptr %t)
  br i1 %won, label %check, label %done
check:
{_get("count", _COUNT)}
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %one, label %end
one:
  %block = call ptr @KERNEL.drop(ptr %t, i64 0)
  call void @KERNEL.unmap(ptr %t, ptr %block)
  br label %check
end:
  call void @KERNEL.unlock(ptr %t)
  br label %done
done:
  ret void
}}
"""

_FRESH = f"""
; a new mapping, from 4 MiB on over whole huge pages
define internal ptr @KERNEL.map(ptr %t, i64 %size) {{
entry:
{_get("mmap", _MMAP, "ptr")}
{_get("munmap", _MUNMAP, "ptr")}
{_get("madvise", MADVISE, "ptr")}
  %advised = icmp ne ptr %madvise, null
  %big = icmp uge i64 %size, {2 * _HUGE}
  %huge = and i1 %advised, %big
  %unit = select i1 %huge, i64 {_HUGE}, i64 {PAGE}
  %length = add i64 %size, {PAGE}
  %room = add i64 %length, %unit
  %raw = call ptr %mmap(ptr null, i64 %room, i32 3, i32 FLAGS, i32 -1, i64 0)
  %start = ptrtoint ptr %raw to i64
  %failed = icmp eq i64 %start, -1
  br i1 %failed, label %none, label %cut
cut:
  %last = add i64 %unit, {PAGE - 1}
  %high = add i64 %start, %last
  %mask = sub i64 0, %unit
  %address = and i64 %high, %mask
  %data = inttoptr i64 %address to ptr
  %base = getelementptr i8, ptr %data, i64 -{PAGE}
  %base.address = sub i64 %address, {PAGE}
  %before = sub i64 %base.address, %start
  %head = icmp ne i64 %before, 0
  br i1 %head, label %front, label %tail
front:
  %r1 = call i32 %munmap(ptr %raw, i64 %before)
  br label %tail
tail:
  %used = add i64 %before, %length
  %after = sub i64 %room, %used
  %rest = icmp ne i64 %after, 0
  br i1 %rest, label %back, label %advise
back:
  %end = getelementptr i8, ptr %data, i64 %size
  %r2 = call i32 %munmap(ptr %end, i64 %after)
  br label %advise
advise:
  br i1 %huge, label %tell, label %mark
tell:
  %r3 = call i32 %madvise(ptr %data, i64 %size, i32 14)
  br label %mark
mark:
  call void @KERNEL.head(ptr %data, ptr %base, i64 %length, i64 %size)
  ret ptr %data
none:
  ret ptr null
}}

; what lies before the data: where the block starts, a mapping's length or 0, the room for data
define internal void @KERNEL.head(ptr %data, ptr %base, i64 %length, i64 %size) {{
  %base.at = getelementptr i8, ptr %data, i64 -64
  store ptr %base, ptr %base.at
  %length.at = getelementptr i8, ptr %data, i64 -56
  store i64 %length, ptr %length.at
  %size.at = getelementptr i8, ptr %data, i64 -48
  store i64 %size, ptr %size.at
  ret void
}}
"""

_ALLOCATOR = f"""
declare i64 @llvm.ctlz.i64(i64, i1)
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
declare {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64, i64)

define internal ptr @KERNEL.take(ptr %t, i64 %size) {{
entry:
  %few = icmp ult i64 %size, {LARGE}
  br i1 %few, label %small, label %large
small:
{_get("malloc", _MALLOC, "ptr")}
  %room = add i64 %size, 128
  %raw = call ptr %malloc(i64 %room)
  %failed = icmp eq ptr %raw, null
  br i1 %failed, label %none, label %align
align:
  %start = ptrtoint ptr %raw to i64
  %high = add i64 %start, 127
  %address = and i64 %high, -64
  %data = inttoptr i64 %address to ptr
  call void @KERNEL.head(ptr %data, ptr %raw, i64 0, i64 %size)
  ret ptr %data
large:
  ; at most an eighth more than asked for, so that nearly equal sizes share their blocks
  %zeros = call i64 @llvm.ctlz.i64(i64 %size, i1 true)
  %top = sub i64 60, %zeros
  %eighth = shl i64 1, %top
  %step = call i64 @llvm.umax.i64(i64 %eighth, i64 {PAGE})
  %less = sub i64 %step, 1
  %sum = add i64 %size, %less
  %mask = sub i64 0, %step
  %whole = and i64 %sum, %mask
  %kept = call ptr @KERNEL.find(ptr %t, i64 %whole)
  %found = icmp ne ptr %kept, null
  br i1 %found, label %again, label %fresh
again:
  ret ptr %kept
fresh:
  %new = call ptr @KERNEL.map(ptr %t, i64 %whole)
  %got = icmp ne ptr %new, null
  br i1 %got, label %first, label %retry
first:
  ret ptr %new
retry:
  call void @KERNEL.trim(ptr %t)
  %second = call ptr @KERNEL.map(ptr %t, i64 %whole)
  ret ptr %second
none:
  ret ptr null
}}

define internal ptr @KERNEL.zeroed(ptr %t, i64 %n, i64 %each) {{
  %pair = call {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64 %n, i64 %each)
  %size = extractvalue {{ i64, i1 }} %pair, 0
  %over = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %over, label %none, label %take
take:
  %data = call ptr @KERNEL.take(ptr %t, i64 %size)
  %failed = icmp eq ptr %data, null
  br i1 %failed, label %none, label %clear
clear:
{_get("memset", _MEMSET, "ptr")}
  %cleared = call ptr %memset(ptr %data, i32 0, i64 %size)
  ret ptr %data
none:
  ret ptr null
}}

define internal void @KERNEL.give(ptr %t, ptr %data, i64 %size) {{
entry:
  %null = icmp eq ptr %data, null
  br i1 %null, label %done, label %which
which:
  %length.at = getelementptr i8, ptr %data, i64 -56
  %length = load i64, ptr %length.at
  %small = icmp eq i64 %length, 0
  br i1 %small, label %back, label %large
back:
  %base.at = getelementptr i8, ptr %data, i64 -64
  %base = load ptr, ptr %base.at
{_get("free", _FREE, "ptr")}
  call void %free(ptr %base)
  br label %done
large:
  %room.at = getelementptr i8, ptr %data, i64 -48
  %room = load i64, ptr %room.at
{_get("bound", BOUND)}
  %fits = icmp ule i64 %room, %bound
  br i1 %fits, label %locking, label %away
locking:
  %won = call i1 @KERNEL.lock(ptr %t)
  br i1 %won, label %check, label %away
check:
{_get("count", _COUNT)}
{_get("held", HELD)}
  %held.then = add i64 %held, %room
  %over = icmp ugt i64 %held.then, %bound
  %full = icmp eq i64 %count, {SLOTS}
  %evict = or i1 %over, %full
  br i1 %evict, label %oldest, label %keep
oldest:
  %old = call ptr @KERNEL.drop(ptr %t, i64 0)
  call void @KERNEL.unmap(ptr %t, ptr %old)
  br label %check
keep:
  store i64 %held.then, ptr %held.at
  %word = mul i64 %count, 2
  %slot.word = add i64 %word, {_FIRST}
{_at("slot", "%slot.word")}
  store ptr %data, ptr %slot.at
  %size.at = getelementptr i64, ptr %slot.at, i64 1
  store i64 %room, ptr %size.at
  %count.then = add i64 %count, 1
  store i64 %count.then, ptr %count.at
  call void @KERNEL.unlock(ptr %t)
  br label %done
away:
  call void @KERNEL.unmap(ptr %t, ptr %data)
  br label %done
done:
  ret void
}}

define internal ptr @KERNEL.resize(ptr %t, ptr %data, i64 %size) {{
entry:
  %null = icmp eq ptr %data, null
  br i1 %null, label %plain, label %room
plain:
  %made = call ptr @KERNEL.take(ptr %t, i64 %size)
  ret ptr %made
room:
  %room.at = getelementptr i8, ptr %data, i64 -48
  %has = load i64, ptr %room.at
  %half = lshr i64 %has, 1
  %enough = icmp ule i64 %size, %has
  %worth = icmp uge i64 %size, %half
  %stay = and i1 %enough, %worth
  br i1 %stay, label %same, label %move
same:
  ret ptr %data
move:
  %new = call ptr @KERNEL.take(ptr %t, i64 %size)
  %failed = icmp eq ptr %new, null
  br i1 %failed, label %none, label %copy
copy:
  %some = call i64 @llvm.umin.i64(i64 %has, i64 %size)
{_get("memcpy", _MEMCPY, "ptr")}
  %copied = call ptr %memcpy(ptr %new, ptr %data, i64 %some)
  call void @KERNEL.give(ptr %t, ptr %data, i64 %has)
  ret ptr %new
none:
  ret ptr null
}}
"""


def text() -> str:
    """@KERNEL(table) writes the addresses of the other functions into the table."""
    stores = "\n".join(
        f"{_at(name, k)}\n  store ptr @KERNEL.{name}, ptr %{name}.at"
        for k, name in enumerate(FUNCTIONS)
    )
    flags = str(mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    first = "; the memory of arrays, handed out again\n"
    main = f"define void @KERNEL(ptr %t) {{\n{stores}\n  ret void\n}}\n"
    return first + main + _LOCKING + _KEPT + _FRESH.replace("FLAGS", flags) + _ALLOCATOR
