"""The pool of threads, as LLVM IR: it lies in the code itself and needs the C library and nothing else.

Every thread of a *team* runs one and the same body of an entry point, each with a *slot* that says which member of how
many it is; the body splits what is worth it and waits at barriers.  The first member is the caller's thread, the others
are workers, made when they are first asked for.  Between two calls a worker spins for about a tenth of a millisecond
and then sleeps on a futex.

* One call at a time has the pool.  One that comes meanwhile runs alone, which gives the same bits.
* The lock holds the number of the process, so the child after a fork finds that its workers are gone, and makes others.
* Workers take no signals, and a process ends without asking them.  Code that is unloaded ends them first (``end``).
"""

from __future__ import annotations

from string import Template

from graphc.backends.llvm.threads.members import MOST_THREADS, PATIENCE, members_text
from graphc.kernel.target import Target

RUN = "@threads.run"
"""``i32 run(i32 threads, body, inputs, outputs, states, arena, error)``: calls the body with a team."""

END = "@threads.end"
"""``void end()``: ends the workers."""

# The number of the futex call, and how to tell the processor that it is in a loop that waits.
_FUTEX = {"x86_64": 202, "aarch64": 98}
_PAUSE = {
    "x86_64": ("void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}


def supports_threads(target: Target) -> bool:
    """Whether there is a pool for a target: on Linux, where the number of the futex call is known."""
    return "linux" in target.triple and _architecture(target) in _FUTEX


def pool_text(target: Target, private_bytes: int) -> str:
    """The variables and functions of the pool; the attributes ``#0`` are the module's.

    Args:
        target: for which :func:`supports_threads`.
        private_bytes: memory of its own that each worker gets.
    """
    architecture = _architecture(target)
    members = members_text(_FUTEX[architecture], _PAUSE[architecture][1])
    calls = _CALLS.substitute(slots=MOST_THREADS, private=max(64, private_bytes), patience=PATIENCE)
    return f"{members}\n{calls}"


def pool_declarations(target: Target) -> tuple[str, ...]:
    """The functions that the pool calls."""
    return (
        f"declare {_PAUSE[_architecture(target)][0]}",
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1 immarg)",
        "declare i64 @llvm.umin.i64(i64, i64)",
        "declare i64 @llvm.ctpop.i64(i64)",
        "declare i32 @getpid()",
        "declare i32 @sched_yield()",
        "declare i32 @sched_getaffinity(i32, i64, ptr)",
        "declare i64 @syscall(i64, ...)",
        "declare ptr @aligned_alloc(i64, i64)",
        "declare void @free(ptr)",
        # Before version 2.34 of the GNU C library these are in a library of their own, which a program may lack.
        "declare extern_weak i32 @pthread_create(ptr, ptr, ptr, ptr)",
        "declare extern_weak i32 @pthread_join(i64, ptr)",
        "declare extern_weak i32 @pthread_sigmask(i32, ptr, ptr)",
    )


def _architecture(target: Target) -> str:
    first = target.triple.split("-", maxsplit=1)[0]
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(first, first)


_CALLS = Template("""\
; As many members as can be had, up to a number.
define internal i64 @threads.gather(i64 %wanted) #0 {
enter:
  %all = alloca [16 x i64], align 8
  %before = alloca [16 x i64], align 8
  %processors = alloca [16 x i64], align 8
  %living = load i64, ptr @threads.workers, align 8
  %present = add i64 %living, 1
  %enough = icmp uge i64 %present, %wanted
  %can = icmp ne ptr @pthread_create, null
  %cannot = xor i1 %can, true
  %settled = or i1 %enough, %cannot
  br i1 %settled, label %leave, label %hire
hire:                                             ; with all signals blocked, which a thread inherits: SIG_SETMASK
  call void @llvm.memset.p0.i64(ptr %all, i8 -1, i64 128, i1 false)
  call i32 @pthread_sigmask(i32 2, ptr %all, ptr %before)
  call void @llvm.memset.p0.i64(ptr %processors, i8 0, i64 128, i1 false)
  call i32 @sched_getaffinity(i32 0, i64 128, ptr %processors)
  br label %word
word:
  %place = phi i64 [ 0, %hire ], [ %place.next, %word ]
  %counted = phi i64 [ 0, %hire ], [ %counted.next, %word ]
  %word.at = getelementptr i64, ptr %processors, i64 %place
  %bits = load i64, ptr %word.at, align 8
  %ones = call i64 @llvm.ctpop.i64(i64 %bits)
  %counted.next = add i64 %counted, %ones
  %place.next = add i64 %place, 1
  %more.words = icmp ult i64 %place.next, 16
  br i1 %more.words, label %word, label %counted.all
counted.all:
  %known = icmp ne i64 %counted.next, 0
  %fewer = icmp ult i64 %counted.next, %wanted
  %crowded = and i1 %known, %fewer
  %patience = select i1 %crowded, i64 0, i64 $patience
  store i64 %patience, ptr @threads.patience, align 8
  br label %next
next:
  %count = phi i64 [ %present, %counted.all ], [ %grown, %made ]
  %slot = getelementptr %threads.slot, ptr @threads.slots, i64 %count
  store i64 %count, ptr %slot, align 8
  %thread.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 3
  %sent.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 6
  store i64 0, ptr %sent.at, align 8
  %done.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 8
  store i32 0, ptr %done.at, align 4
  %memory.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 4
  %kept = load ptr, ptr %memory.at, align 8
  %has.memory = icmp ne ptr %kept, null
  br i1 %has.memory, label %start, label %allocate
allocate:
  %memory = call ptr @aligned_alloc(i64 64, i64 $private)
  store ptr %memory, ptr %memory.at, align 8
  %is.memory = icmp ne ptr %memory, null
  br i1 %is.memory, label %start, label %hired
start:
  %failed = call i32 @pthread_create(ptr %thread.at, ptr null, ptr @threads.work, ptr %slot)
  %is.made = icmp eq i32 %failed, 0
  br i1 %is.made, label %made, label %hired
made:
  store i64 %count, ptr @threads.workers, align 8
  %grown = add i64 %count, 1
  %more = icmp ult i64 %grown, %wanted
  br i1 %more, label %next, label %hired
hired:
  call i32 @pthread_sigmask(i32 2, ptr %before, ptr null)
  br label %leave
leave:
  %workers = load i64, ptr @threads.workers, align 8
  %found = add i64 %workers, 1
  %members = call i64 @llvm.umin.i64(i64 %found, i64 %wanted)
  ret i64 %members
}

define internal i32 @threads.run(
  i32 %threads, ptr %body, ptr %inputs, ptr %outputs, ptr %states, ptr %arena, ptr %error
) #0 {
enter:
  %several = icmp sgt i32 %threads, 1
  br i1 %several, label %ask, label %alone
ask:
  %process = call i32 @getpid()
  %process.long = zext i32 %process to i64
  %free = shl i64 %process.long, 1
  %taken = or i64 %free, 1
  %lock = load atomic i64, ptr @threads.lock monotonic, align 8
  %busy = icmp eq i64 %lock, %taken
  br i1 %busy, label %alone, label %try
try:
  %exchange = cmpxchg ptr @threads.lock, i64 %lock, i64 %taken acquire monotonic, align 8
  %won = extractvalue { i64, i1 } %exchange, 1
  br i1 %won, label %own, label %alone
own:
  %known = icmp eq i64 %lock, %free
  br i1 %known, label %form, label %begin
begin:                                            ; the first call of this process: nobody works for it yet
  store i64 0, ptr @threads.workers, align 8
  store i64 0, ptr @threads.ending, align 8
  %old = load i64, ptr getelementptr (%threads.slot, ptr @threads.slots, i64 0, i32 2), align 8
  %new = add i64 %old, 2                          ; a worker of the parent may have been one barrier ahead
  store i64 %new, ptr getelementptr (%threads.slot, ptr @threads.slots, i64 0, i32 2), align 8
  br label %form
form:
  %threads.long = zext i32 %threads to i64
  %wanted = call i64 @llvm.umin.i64(i64 %threads.long, i64 $slots)
  %members = call i64 @threads.gather(i64 %wanted)
  %passed = load i64, ptr getelementptr (%threads.slot, ptr @threads.slots, i64 0, i32 2), align 8
  store i64 %members, ptr getelementptr (%threads.slot, ptr @threads.slots, i64 0, i32 1), align 8
  store ptr %body, ptr @threads.call, align 8
  store ptr %inputs, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 1), align 8
  store ptr %outputs, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 2), align 8
  store ptr %states, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 3), align 8
  store ptr %arena, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 4), align 8
  store i64 %members, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 5), align 8
  store i64 %passed, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 6), align 8
  br label %next
next:
  %number = phi i64 [ 1, %form ], [ %number.next, %send ]
  %all = icmp uge i64 %number, %members
  br i1 %all, label %lead, label %send
send:
  %slot = getelementptr %threads.slot, ptr @threads.slots, i64 %number
  call void @threads.send(ptr %slot)
  %number.next = add i64 %number, 1
  br label %next
lead:
  %result = call i32 %body(ptr %inputs, ptr %outputs, ptr %states, ptr %arena, ptr %error, ptr @threads.slots)
  br label %await
await:
  %waited = phi i64 [ 1, %lead ], [ %waited.next, %join ]
  %everyone = icmp uge i64 %waited, %members
  br i1 %everyone, label %finish, label %join
join:
  %worker = getelementptr %threads.slot, ptr @threads.slots, i64 %waited
  call void @threads.join(ptr %worker)
  %waited.next = add i64 %waited, 1
  br label %await
finish:
  store atomic i64 %free, ptr @threads.lock release, align 8
  ret i32 %result
alone:
  %result.alone = call i32 %body(ptr %inputs, ptr %outputs, ptr %states, ptr %arena, ptr %error, ptr @threads.alone)
  ret i32 %result.alone
}

define internal void @threads.end() #0 {
enter:
  %process = call i32 @getpid()
  %process.long = zext i32 %process to i64
  %free = shl i64 %process.long, 1
  %taken = or i64 %free, 1
  br label %look
look:
  %lock = load atomic i64, ptr @threads.lock monotonic, align 8
  %parts = lshr i64 %lock, 1
  %ours = icmp eq i64 %parts, %process.long
  br i1 %ours, label %try, label %leave
try:
  %exchange = cmpxchg ptr @threads.lock, i64 %free, i64 %taken acquire monotonic, align 8
  %won = extractvalue { i64, i1 } %exchange, 1
  br i1 %won, label %own, label %yield
yield:                                            ; a call has the pool
  call i32 @sched_yield()
  br label %look
own:
  %workers = load i64, ptr @threads.workers, align 8
  store i64 1, ptr @threads.ending, align 8
  br label %next
next:
  %number = phi i64 [ 1, %own ], [ %number.next, %ended ]
  %all = icmp ugt i64 %number, %workers
  br i1 %all, label %over, label %ended
ended:
  %slot = getelementptr %threads.slot, ptr @threads.slots, i64 %number
  call void @threads.send(ptr %slot)
  %thread.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 3
  %thread = load i64, ptr %thread.at, align 8
  call i32 @pthread_join(i64 %thread, ptr null)
  %memory.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 4
  %memory = load ptr, ptr %memory.at, align 8
  call void @free(ptr %memory)
  store ptr null, ptr %memory.at, align 8
  %number.next = add i64 %number, 1
  br label %next
over:
  store i64 0, ptr @threads.ending, align 8
  store i64 0, ptr @threads.workers, align 8
  store atomic i64 %free, ptr @threads.lock release, align 8
  br label %leave
leave:
  ret void
}
""")
