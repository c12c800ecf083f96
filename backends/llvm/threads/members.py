"""The members of a team, as LLVM IR: slots, the barrier, what a worker does, how it is sent a call and waited for.

Barriers are those of Hensgen, Finkel and Manber (*Two algorithms for barrier synchronization*, 1988): in round ``r``
each member tells the one ``2**r`` further on that it has come, by a number that only grows, and waits to be told.
"""

from __future__ import annotations

from string import Template

MOST_THREADS = 64
"""Members of the largest team."""

ALONE = "@threads.alone"
"""The slot of a team of one."""

BARRIER = "@threads.barrier"
"""``void barrier(slot)``: returns when every member has called it."""

PATIENCE = 100
"""Looks before a member leaves its processor: some 5 µs."""


def members_text(futex: int, pause: str) -> str:
    """Variables and functions of the members; the attributes ``#0`` are the module's.

    Args:
        futex: the number of the system's futex call.
        pause: the instruction that tells the processor of a loop that waits.
    """
    return _MEMBERS.substitute(
        slots=MOST_THREADS,
        patience=PATIENCE,
        futex=futex,
        pause=pause,
        told_of_it=_look("i64", "%mine", "uge", "%mark", pause, enter="round", leave="told"),
        all_done=_look("i32", "%done.at", "eq", "%sent", pause, enter="enter", leave="leave"),
    )


def _look(dtype: str, address: str, relation: str, wanted: str, pause: str, enter: str, leave: str) -> str:
    """The blocks of a loop that looks at a number until it is as wanted, at last from time to time only.

    Args:
        dtype: of the number.
        address: of the number.
        relation: in which it must stand to what is ``wanted``.
        wanted: what it is compared with.
        pause: the instruction between two looks.
        enter: the block from which the first one is entered; it has ``%patience.first``.
        leave: the block that follows.
    """
    return f"""\
look:
  %patience = phi i64 [ %patience.first, %{enter} ], [ %less, %pause ], [ 0, %yield ]
  %seen = load atomic {dtype}, ptr {address} acquire, align {int(dtype[1:]) // 8}
  %as.wanted = icmp {relation} {dtype} %seen, {wanted}
  br i1 %as.wanted, label %{leave}, label %wait
wait:
  %patient = icmp ne i64 %patience, 0
  br i1 %patient, label %pause, label %yield
pause:
  {pause}
  %less = sub i64 %patience, 1
  br label %look
yield:
  call i32 @sched_yield()
  br label %look
"""


_MEMBERS = Template("""\
; The number of the process times two, and one more while a call has the pool.
@threads.lock = internal global i64 0, align 64

; The call: body, inputs, outputs, states, arena, members, barriers passed before it.
%threads.call = type { ptr, ptr, ptr, ptr, ptr, i64, i64 }
@threads.call = internal global %threads.call zeroinitializer, align 64

; Workers that live, whether they are to end, and how often a member looks before it leaves its processor to another
; thread: never, where there are more of them than processors.
@threads.workers = internal global i64 0, align 64
@threads.ending = internal global i64 0, align 8
@threads.patience = internal global i64 $patience, align 8

; A member: its number, members, barriers it has passed, its pthread_t, memory of its own; on another line the count of
; calls it was sent, whether it sleeps, and how many calls it has done; and a line for each round of a barrier, on which
; it is told that another one has come.
%threads.slot = type { i64, i64, i64, i64, ptr, [3 x i64], i32, i32, i32, [13 x i32], [6 x [8 x i64]] }
@threads.slots = internal global [$slots x %threads.slot] zeroinitializer, align 64
@threads.alone = internal constant [8 x i64] [i64 0, i64 1, i64 0, i64 0, i64 0, i64 0, i64 0, i64 0], align 64

define internal void @threads.barrier(ptr %slot) #0 {
enter:
  %members.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 1
  %members = load i64, ptr %members.at, align 8
  %several = icmp ugt i64 %members, 1
  br i1 %several, label %begin, label %leave
begin:
  %number = load i64, ptr %slot, align 8
  %passed.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 2
  %passed = load i64, ptr %passed.at, align 8
  %mark = add i64 %passed, 1
  store i64 %mark, ptr %passed.at, align 8
  %patience.first = load i64, ptr @threads.patience, align 8
  br label %round
round:
  %which = phi i64 [ 0, %begin ], [ %which.next, %told ]
  %distance = shl i64 1, %which
  %further = add i64 %number, %distance
  %beyond = icmp uge i64 %further, %members
  %around = sub i64 %further, %members
  %other = select i1 %beyond, i64 %around, i64 %further
  %theirs = getelementptr %threads.slot, ptr @threads.slots, i64 %other, i32 10, i64 %which
  store atomic i64 %mark, ptr %theirs release, align 8
  %mine = getelementptr %threads.slot, ptr %slot, i64 0, i32 10, i64 %which
  br label %look
${told_of_it}told:
  %which.next = add i64 %which, 1
  %reached = shl i64 1, %which.next
  %more = icmp ult i64 %reached, %members
  br i1 %more, label %round, label %leave
leave:
  ret void
}

; Runs what it is sent until it is to end.
define internal ptr @threads.work(ptr %slot) #0 {
enter:
  %error = alloca [4 x i64], align 8
  %members.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 1
  %passed.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 2
  %sent.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 6
  %asleep.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 7
  %done.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 8
  br label %idle
idle:
  %done = phi i32 [ 0, %enter ], [ %now, %run ]
  br label %look
look:
  %patience = phi i64 [ 2000, %idle ], [ %less, %pause ], [ 0, %woken ]
  %now = load atomic i32, ptr %sent.at acquire, align 4
  %fresh = icmp ne i32 %now, %done
  br i1 %fresh, label %start, label %wait
wait:
  %patient = icmp ne i64 %patience, 0
  br i1 %patient, label %pause, label %sleep
pause:
  $pause
  %less = sub i64 %patience, 1
  br label %look
sleep:                                            ; unless it has been sent something since it looked: FUTEX_WAIT
  store atomic i32 1, ptr %asleep.at seq_cst, align 4
  fence seq_cst
  call i64 (i64, ...) @syscall(i64 $futex, ptr %sent.at, i64 128, i32 %done, ptr null)
  br label %woken
woken:
  store atomic i32 0, ptr %asleep.at seq_cst, align 4
  br label %look
start:
  %ending = load i64, ptr @threads.ending, align 8
  %is.over = icmp ne i64 %ending, 0
  br i1 %is.over, label %over, label %run
run:
  %body = load ptr, ptr @threads.call, align 8
  %inputs = load ptr, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 1), align 8
  %outputs = load ptr, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 2), align 8
  %states = load ptr, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 3), align 8
  %arena = load ptr, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 4), align 8
  %members = load i64, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 5), align 8
  %passed = load i64, ptr getelementptr (%threads.call, ptr @threads.call, i64 0, i32 6), align 8
  store i64 %members, ptr %members.at, align 8
  store i64 %passed, ptr %passed.at, align 8
  call i32 %body(ptr %inputs, ptr %outputs, ptr %states, ptr %arena, ptr %error, ptr %slot)
  store atomic i32 %now, ptr %done.at release, align 4
  br label %idle
over:
  ret ptr null
}

; Tells a worker that there is a call for it, and wakes it.
define internal void @threads.send(ptr %slot) #0 {
  %sent.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 6
  %sent = load i32, ptr %sent.at, align 4
  %next = add i32 %sent, 1
  store atomic i32 %next, ptr %sent.at seq_cst, align 4
  fence seq_cst
  %asleep.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 7
  %asleep = load atomic i32, ptr %asleep.at seq_cst, align 4
  %sleeps = icmp ne i32 %asleep, 0
  br i1 %sleeps, label %wake, label %leave
wake:                                             ; FUTEX_WAKE
  call i64 (i64, ...) @syscall(i64 $futex, ptr %sent.at, i64 129, i32 1)
  br label %leave
leave:
  ret void
}

; Returns when a worker has done all that it was sent: behind a barrier it might still be telling others of it.
define internal void @threads.join(ptr %slot) #0 {
enter:
  %sent.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 6
  %sent = load i32, ptr %sent.at, align 4
  %done.at = getelementptr %threads.slot, ptr %slot, i64 0, i32 8
  %patience.first = load i64, ptr @threads.patience, align 8
  br label %look
${all_done}leave:
  ret void
}
""")
