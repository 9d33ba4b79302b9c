/* models.c: small instances of the lock-free parts of otp.h, run by the checker. The code under test is otp.h itself:
   only the system calls, the clock and the pause are the checker's. README.md says what each model covers.

     models [NAME…] [--mutant]      --mutant: exit status 0 when a violation is found

   SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "mc.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>

#define HIDDEN __attribute__((no_sanitize_thread, noinline))    /* of the model, not of the program */

static int64_t model_ns;            /* what the clock says */
static char arena[1 << 16];
static size_t arena_used;
HIDDEN static void *arena_take(size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (arena_used + n > sizeof arena) abort();
    arena_used += n;
    return arena + arena_used - n;  /* never used again in the same execution: a use after free is a race, not luck */
}
HIDDEN static int model_clock(struct timespec *ts)
{
    ts->tv_sec = (time_t)(model_ns / 1000000000);
    ts->tv_nsec = (long)(model_ns % 1000000000);
    return 0;
}
HIDDEN static int model_poll(struct epoll_event *ev, int timeout)
{
    int n = mc_fd_wait(timeout);
    if (n > 0) ev->data.u64 = UINT64_MAX;
    return n;
}

#define OTP_MALLOC(n) arena_take(n)
#define OTP_FREE(p) ((void)(p))
#define OTP_NO_VALGRIND
#define OTP_DEBUG                   /* the internal checks of otp.h are assertions here */
#undef OTP_ABORT
#define OTP_ABORT() mc_fail("an internal check of otp.h")
#define syscall mc_syscall
#define sched_yield() mc_pause()
#define otp__pause(...) otp__pause_##__VA_ARGS__()
#define otp__pause_() mc_pause()
#define otp__tsc(...) otp__tsc_##__VA_ARGS__()
#define otp__tsc_() ((uint64_t)1 << 40)
#define clock_gettime(clock, ts) model_clock(ts)
#define epoll_wait(fd, ev, n, timeout) model_poll(ev, timeout)
#define read(fd, p, n) ((void)(fd), (void)(p), mc_fd_read(), (ssize_t)8)
#define write(fd, p, n) ((void)(fd), (void)(p), mc_fd_write(), (ssize_t)8)
#define pthread_mutex_lock(m) (mc_mutex_lock(m), 0)
#define pthread_mutex_unlock(m) (mc_mutex_unlock(m), 0)
#define OTP_IMPLEMENTATION
#include "otp.h"
#undef read
#undef write

/* -- the world of a model ---------------------------------------------------------------------------------- */

enum { SLOTS = 8 };
static otp__sched S[3];
static otp__thread T[4];
static _Alignas(256) char slab[SLOTS * OTP__PROC_BYTES];
static otp__timer timers[4];
static _Alignas(64) char node_room[16][128];
static struct { _Alignas(64) char room[64 << 10]; _Alignas(64) otp__stack k; } stacks[8];

/* Results. */
static int got[16], bad, finished, entered;
static int frame;                   /* the saved context of the process: plain, so that every hand-over is checked */
static unsigned act;
static uint64_t first_pid;
HIDDEN static void note(int i) { got[i]++; }
HIDDEN static void wrong(void) { bad++; }
HIDDEN static void finish(void) { finished++; }
HIDDEN static void enter(void) { if (++entered != 1) mc_fail("one process runs twice at the same time"); }
HIDDEN static void leave(void) { entered--; }

static otp__proc *proc(int i) { return (otp__proc *)(void *)(slab + i * OTP__PROC_BYTES); }
static otp__node *node(int i) { return (otp__node *)(void *)node_room[i]; }

static otp__node *make(int i, uint64_t from, uint64_t to, unsigned kind, uint64_t ref)
{
    otp__node *n = node(i);
    n->to = to;
    n->m.tag = i;
    n->m.flags = kind | 2u << OTP__F_CLASS_SHIFT;
    n->m.from.id = from;
    n->m.ref.id = ref;
    n->m.size = 0;
    n->m.data = (char *)n + 56;
    return n;
}

static void open_proc(int i, otp__thread *t)
{
    otp__proc *p = proc(i);
    atomic_init(&p->pid, (uint64_t)i << 32 | 1);
    atomic_init(&p->head, OTP__EMPTY);
    p->last = &p->first;
    p->turn = OTP_REDUCTIONS;
    p->thread = t;
    if (t) t->cur = p;
}

/* Schedulers 0 .. n-1, each lent to the thread of its number. */
static void world(int n)
{
    memset(S, 0, sizeof S);
    memset(T, 0, sizeof T);
    memset(slab, 0, sizeof slab);
    memset(timers, 0, sizeof timers);
    memset(node_room, 0, sizeof node_room);
    memset(got, 0, sizeof got);
    arena_used = 0;
    bad = finished = entered = frame = 0;
    model_ns = 1000000000;
    /* all of it but the tables of slabs */
    memset(&otp__rt, 0, offsetof(struct otp__rt, slabs));
    memset((char *)&otp__rt + offsetof(struct otp__rt, slots), 0,
           offsetof(struct otp__rt, timer_slabs) - offsetof(struct otp__rt, slots));
    memset((char *)&otp__rt + offsetof(struct otp__rt, timer_slots), 0,
           sizeof otp__rt - offsetof(struct otp__rt, timer_slots));
    atomic_init(&otp__rt.slabs[0], slab);
    atomic_init(&otp__rt.timer_slabs[0], (char *)timers);
    atomic_init(&otp__rt.slots, SLOTS);
    otp__rt.nscheds = n;
    otp__rt.opts.max_processes = SLOTS;
    otp__rt.opts.stack_size = sizeof stacks[0].room;
    otp__rt.opts.stuck = 5;
    otp__rt.opts.report_stuck = -1;
    atomic_init(&otp__rt.up, 1);
    for (int i = 0; i < SLOTS; i++) {
        atomic_init(&proc(i)->head, OTP__CLOSED);
        atomic_init(&proc(i)->pid, (uint64_t)i << 32);
    }
    for (int i = 0; i < n; i++) {
        S[i].id = i;
        atomic_init(&S[i].next_due, INT64_MAX);
        atomic_init(&S[i].thread, &T[i]);
        otp__wheel_init(&S[i].wheel, 1000);
        otp__rt.sched[i] = &S[i];
        T[i].p = &S[i];
    }
    for (int i = 0; i < 8; i++) stacks[i].k = (otp__stack){ .base = stacks[i].room, .size = sizeof stacks[i].room };
    for (int i = 0; i < n; i++) atomic_init(&T[i].in_rt, 1);
    mc_name(&proc(0)->head, "p.head");
    mc_name(&proc(1)->head, "q.head");
    mc_name(&proc(0)->pid, "p.pid");
    mc_name(&frame, "the context of p");
    mc_name(&otp__rt.nidle, "nidle");
    mc_name(&otp__rt.inject_count, "inject_count");
    mc_name(&otp__rt.inject_lock, "inject_lock");
    mc_name(&otp__rt.poller, "poller");
    mc_name(&T[0].in_rt, "T0.in_rt");
    mc_name(&T[0].steal, "T0.steal");
    mc_name(&S[0].sleeping, "P0.sleeping");
    mc_name(&S[0].futex, "P0.futex");
    mc_name(&S[0].inbox, "P0.inbox");
    mc_name(&S[0].in_poll, "P0.in_poll");
    mc_name(&S[0].len, "P0.len");
    mc_name(&S[0].want, "P0.want");
    mc_name(&S[0].attn, "P0.attn");
    mc_name(&S[1].inbox, "P1.inbox");
    mc_name(&timers[0].state, "timer.state");
    mc_name(&timers[0].due, "timer.due");
    mc_name(&timers[0].owner, "timer.owner");
}

static otp__thread *me(void)
{
    otp__thread *t = &T[mc_thread()];
    otp__me = t;
    return t;
}

/* Runs on this thread what its P has to run; `body` is the process's code from one wait to the next. */
static void run_ready(otp__thread *t, void (*body)(otp__thread *))
{
    for (otp__proc *p; (p = otp__choose(t->p)) != NULL;) {
        t->cur = p;
        p->thread = t;
        body(t);
    }
    t->cur = NULL;
}

/* The wait of a process, as otp__suspend and the loop do it: off its stack first, then parked. */
static void park(otp__thread *t)
{
    otp__sched *s = t->p;
    s->pend = t->cur;
    s->pend_act = (uint8_t)act;
    t->cur = NULL;
    leave();
    frame++;                        /* the context is saved … */
    otp__commit(s);                 /* … and now it is parked */
}

/* -- mailbox: 4.10 ----------------------------------------------------------------------------------------- */

static int expect;

/* Receives until it has all that it expects, then is awake for ever. */
static void receiver(otp__thread *t)
{
    otp__proc *p = t->cur;
    enter();
    frame++;                        /* the context is used */
    if (otp__arrived(p)) (void)otp__take_in_once(t);
    while (p->first) {
        otp__node *n = otp__unlink(p, &p->first);
        if (n->to != otp__pid(p)) wrong();
        if (n->m.tag % 2 == 1 && n->m.tag < 4 && !got[n->m.tag - 1]) wrong();   /* the same sender's in their order */
        note(n->m.tag);
        finish();
    }
    if (p->call_reply) {
        p->call_reply = NULL;
        note(8);
        finish();
    }
    if (finished >= expect) {
        leave();
        return;
    }
    park(t);
}

static void mailbox_setup(void)
{
    world(3);
    open_proc(0, &T[0]);
    first_pid = atomic_load(&proc(0)->pid);
    for (int i = 0; i < 8; i++) (void)make(i, 0, first_pid, OTP__K_MSG, 0);
    act = OTP__ACT_PARK;
    expect = 2;
}
static void mailbox4_setup(void)
{
    mailbox_setup();
    expect = 3;
}
static void owner_thread(void)
{
    otp__thread *t = me();
    receiver(t);
    run_ready(t, receiver);
}
static void send_nodes(int from, int n)
{
    otp__thread *t = me();
    for (int i = 0; i < n; i++)
        if (!otp__push(t->p, proc(0), node(from + i))) wrong();
    run_ready(t, receiver);
}
static void sender_0(void) { send_nodes(0, 1); }
static void sender_01(void) { send_nodes(0, 2); }
static void sender_2(void) { send_nodes(2, 1); }
static void mailbox_check(void)
{
    mc_assert(!bad);
    mc_assert(finished == expect);
    for (int i = 0; i < 16; i++) mc_assert(got[i] <= 1);
    mc_assert(proc(0)->first == NULL && proc(0)->handed == NULL);
    for (int i = 0; i < 3; i++) mc_assert(atomic_load(&S[i].len) == 0 && atomic_load(&S[i].run_next) == NULL);
}

/* Waits in SIGWAIT for a reply; a plain message may come before it and must be there after it. */
static void sigwait_setup(void)
{
    mailbox_setup();
    act = OTP__ACT_SIGWAIT;
    proc(0)->call_ref = 77;
    (void)make(8, 0, first_pid, OTP__K_REPLY, 77);
    expect = 2;
}
static void replier(void)
{
    otp__thread *t = me();
    if (!otp__push(t->p, proc(0), node(8))) wrong();
    run_ready(t, receiver);
}
/* With only a plain message it may stay parked: what counts is the reply. */
static void caller_check(void)
{
    mc_assert(!bad);
    mc_assert(got[8] == 1);
    otp__proc *p = proc(0);
    int there = got[0];
    for (otp__node *n = otp__head_list(atomic_load(&p->head)); n; n = n->next) there++;
    for (otp__node *n = p->first; n; n = n->next) there++;
    mc_assert(there == 1);
}

static _Atomic int64_t model_time;
/* A hint is never lost: the process looks at its clock, and is asleep only if it was early. */
static void waiter(otp__thread *t)
{
    otp__proc *p = t->cur;
    enter();
    frame++;
    if (otp__arrived(p)) (void)otp__take_in_once(t);
    while (p->first) note(otp__unlink(p, &p->first)->m.tag);
    if (atomic_load_explicit(&model_time, memory_order_relaxed) >= p->deadline) {
        finish();
        leave();
        return;
    }
    park(t);
}
static void hint_setup(void)
{
    mailbox_setup();
    atomic_init(&model_time, 0);
    mc_name(&model_time, "the clock");
    proc(0)->deadline = 10;
}
static void hint_setup_sig(void)
{
    hint_setup();
    act = OTP__ACT_SIGWAIT;
}
static void waiter_thread(void)
{
    otp__thread *t = me();
    waiter(t);
    run_ready(t, waiter);
}
static void hinter(void)            /* a timer fires: it is late enough */
{
    otp__thread *t = me();
    atomic_store_explicit(&model_time, 10, memory_order_relaxed);
    otp__hint(t->p, first_pid);
    run_ready(t, waiter);
}
static void hint_sender(void)
{
    otp__thread *t = me();
    (void)otp__push(t->p, proc(0), node(0));
    run_ready(t, waiter);
}
static void hint_check(void)
{
    mc_assert(finished == 1);
    mc_assert(got[0] <= 1);
    otp__proc *p = proc(0);
    int there = got[0];
    for (otp__node *n = otp__head_list(atomic_load(&p->head)); n; n = n->next) there++;
    for (otp__node *n = p->first; n; n = n->next) there++;
    for (otp__node *n = p->handed; n; n = n->next) there++;
    mc_assert(there == (proc(0)->prio == 9 ? 0 : 1));
}
static void hint_only_check(void) { mc_assert(finished == 1); }

/* -- slots: 4.8, 4.10 steps 5 to 7, 4.17 ------------------------------------------------------------------- */

/* p takes what has come, ends, and a newer process begins in its slot and waits. q (on T1) monitors the first p and
   must hear of its end exactly once, whichever way: by the exit, by the last drain, by a dropper, or at once. */
static void second(otp__thread *t)
{
    otp__proc *p = t->cur;
    if (p == proc(1)) {             /* q, woken by its DOWN */
        if (otp__arrived(p)) (void)otp__take_in_once(t);
        if (p->call_reply) {
            p->call_reply = NULL;
            note(8);
            return;
        }
        t->p->pend = p;
        t->p->pend_act = OTP__ACT_SIGWAIT;
        t->cur = NULL;
        otp__commit(t->p);
        return;
    }
    enter();
    frame++;
    if (otp__arrived(p)) (void)otp__take_in_once(t);
    while (p->first) {
        otp__node *n = otp__unlink(p, &p->first);
        if (n->to != otp__pid(p)) wrong();
        note(n->m.tag + 4);
    }
    park(t);
}
static void reuse_setup(void)
{
    world(3);
    open_proc(0, &T[0]);
    open_proc(1, &T[1]);
    proc(1)->call_ref = 77;
    first_pid = atomic_load(&proc(0)->pid);
    (void)make(0, 0, first_pid, OTP__K_MSG, 0);
    (void)make(1, atomic_load(&proc(1)->pid), first_pid, OTP__K_MONITOR, 77);
    /* nodes for the answers */
    for (int i = 0; i < 3; i++) {
        otp__chain *c = (otp__chain *)(void *)node_room[8 + 2 * i];
        otp__chain *d = (otp__chain *)(void *)node_room[9 + 2 * i];
        c->next = NULL;
        d->next = NULL;
        S[i].mem.list[otp__class_of(otp__node_bytes(sizeof(otp__why)))] = (otp__list){ c, 1, NULL };
        S[i].mem.list[2] = (otp__list){ d, 1, NULL };
        static _Alignas(64) char rel_room[3][256];      /* for a table of relations */
        otp__chain *e = (otp__chain *)(void *)rel_room[i];
        e->next = NULL;
        S[i].mem.list[7] = (otp__list){ e, 1, NULL };
    }
    act = OTP__ACT_PARK;
}
static void ender(void)
{
    otp__thread *t = me();
    otp__proc *p = t->cur;
    if (otp__arrived(p)) (void)otp__take_in_once(t);
    while (p->first) note(otp__unlink(p, &p->first)->m.tag);
    otp_reason why = { OTP_REASON_NORMAL, 0, 0, NULL };
    otp__close(t, p, &why);
    otp__bury(t, p, OTP_REASON_NORMAL);
    otp__proc *next = otp__spawn_new(t, NULL, NULL, "second");
    if (next != p) mc_fail("another slot");
    otp__spawn_open(t, next);
    run_ready(t, second);
}
static void reuse_sender(void)
{
    otp__thread *t = me();
    otp__proc *p = otp__find(first_pid);
    if (!p || !otp__push(t->p, p, node(0))) note(1);
    run_ready(t, second);
}
static void reuse_monitor(void)
{
    otp__thread *t = me();
    otp__proc *q = t->cur, *p = otp__find(first_pid);
    if (!p || !otp__push(t->p, p, node(1))) otp__undeliverable(t->p, node(1));
    second(t);
    (void)q;
    run_ready(t, second);
}
static void reuse_check(void)
{
    mc_assert(!bad);
    mc_assert(got[4] == 0 && got[5] == 0);      /* nothing for the newer one */
    mc_assert(got[0] + got[1] <= 1);
    mc_assert(got[8] == 1);                     /* q has heard of it, once */
    mc_assert(proc(0)->first == NULL && proc(0)->handed == NULL);
    mc_assert(atomic_load(&proc(0)->head) == OTP__PARKED);
    mc_assert(otp__pid_gen(atomic_load(&proc(0)->pid)) == 2);
}
static void reuse2_check(void)
{
    mc_assert(!bad);
    mc_assert(got[4] == 0 && got[5] == 0);
    mc_assert(atomic_load(&proc(0)->head) == OTP__PARKED);
}

/* -- names: 4.15, exit's exchange and register's check are a pair -------------------------------------------- */

static otp__name *name_table[4];
static void names_setup(void)
{
    world(2);
    open_proc(0, &T[0]);
    first_pid = atomic_load(&proc(0)->pid);
    memset(name_table, 0, sizeof name_table);
    otp__rt.names = name_table;
    otp__rt.name_cap = 4;
    mc_name(&proc(0)->name, "p.name");
}
static void name_ender(void)
{
    otp__thread *t = me();
    otp__proc *p = t->cur;
    otp_reason why = { OTP_REASON_NORMAL, 0, 0, NULL };
    otp__close(t, p, &why);
    otp__bury(t, p, OTP_REASON_NORMAL);
}
static void name_registrar(void)
{
    (void)me();
    (void)otp__name_set("x", proc(0), first_pid, false);
}
static void names_check(void)
{
    mc_assert(otp__rt.name_count == 0);
    for (int i = 0; i < 4; i++) mc_assert(name_table[i] == NULL);
    mc_assert(atomic_load(&proc(0)->name) == NULL);
}

/* -- the door: 4.11 ---------------------------------------------------------------------------------------- */

static int used;                    /* plain data of P0 */
static void back_on_native(otp__thread *t)      /* what otp__thread_main does with a P that is gone */
{
    otp__proc *p = t->cur;
    t->cur = NULL;
    otp__put_rel(&t->steal, 0);
    (void)pthread_mutex_lock(&otp__rt.mutex);
    t->lost_at = 0;
    t->next = otp__rt.spare;
    otp__rt.spare = t;
    (void)pthread_mutex_unlock(&otp__rt.mutex);
    otp__inject(p);
    note(2);
}
static int rounds;
static void user_code(void *arg)    /* a process on its own stack that goes in and out */
{
    (void)arg;
    for (int i = 0; i < rounds; i++) {
        otp__thread *t = otp__in();
        if (t != &T[0]) wrong();
        otp__sched *s = t->p;
        used++;
        otp__proc *p = otp__q_pop(&s->q[OTP__Q_WOKEN]);
        if (p) {
            otp__len_add(s, -1);
            otp__enqueue(s, p, OTP__Q_WOKEN);
        }
        otp__out(t);
    }
    note(0);
    mc_done();
}
static void door_thread(void)
{
    otp__thread *t = me();
    t->cur->stack = &stacks[0].k;
    otp__ctx_fresh(&t->native, otp__stack_top(&stacks[0].k), user_code, NULL);
    back_on_native(t);
}
static void door_setup(void)
{
    world(2);
    used = 0;
    rounds = 2;
    open_proc(0, &T[0]);
    T[3].p = NULL;
    atomic_init(&T[0].in_rt, 0);
    for (int i = 2; i < 4; i++) {
        open_proc(i, NULL);
        otp__q_push(&S[0].q[OTP__Q_WOKEN], proc(i));
    }
    atomic_init(&S[0].len, 2);
    atomic_init(&T[2].in_rt, 1);
    atomic_init(&T[3].in_rt, 1);
    otp__rt.spare = &T[3];
    mc_name(&used, "the data of P0");
    mc_name(&T[3].futex, "T3.futex");
}
static void door1_setup(void)
{
    door_setup();
    rounds = 1;
}
static void fence_setup(void)       /* no membarrier here */
{
    door1_setup();
    otp__rt.fence = true;
    for (int i = 0; i < 4; i++) atomic_init(&T[i].steal, OTP__STEAL_FENCE);
}
static void thief(void)
{
    otp__thread *t = me();
    if (otp__borrow(t->p, &S[0])) note(1);
}
static void door3_setup(void)      /* two thieves */
{
    door1_setup();
    S[2].id = 2;
    otp__rt.nscheds = 3;
    otp__rt.sched[2] = &S[2];
    T[2].p = &S[2];
    atomic_init(&S[2].next_due, INT64_MAX);
    atomic_init(&S[2].thread, &T[2]);
}
static void two_thefts(void)
{
    thief();
    thief();
}
static void replacer(void)
{
    otp__me = NULL;
    otp__replace(&S[0], 1);
}
static void replacer1(void)         /* as thread 1: the spare is then thread 2 */
{
    otp__rt.spare = &T[2];
    replacer();
}
/* The spare: waits for a P and uses it as the loop would. */
static void spare(void)
{
    otp__thread *t = me();
    while (!otp__get_acq(&t->futex)) (void)otp__futex_wait(&t->futex, 0, -1);
    otp__put_rlx(&t->futex, 0);
    if (!t->p) return;
    otp__put_rel(&t->in_rt, 1);
    used++;
    otp__proc *p = otp__q_pop(&t->p->q[OTP__Q_WOKEN]);
    if (p) {
        otp__len_add(t->p, -1);
        otp__enqueue(t->p, p, OTP__Q_WOKEN);
    }
    note(3);
}
/* Every process stands in exactly one queue. */
static int count_queues(void)
{
    int n = 0, seen[SLOTS] = { 0 };
    otp__proc *all[64];
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < OTP__QUEUES; k++)
            for (otp__proc *p = S[i].q[k].head; p && n < 64; p = p->qn) all[n++] = p;
        for (otp__proc *p = S[i].fresh_new; p && n < 64; p = p->qn) all[n++] = p;
        otp__proc *next = atomic_load(&S[i].run_next);
        if (next) all[n++] = next;
        for (otp__proc *p = atomic_load(&S[i].inbox); p && n < 64; p = p->qn) all[n++] = p;
    }
    for (otp__proc *p = otp__rt.inject.head; p && n < 64; p = p->qn) all[n++] = p;
    for (int i = 0; i < n; i++) seen[((char *)all[i] - slab) / OTP__PROC_BYTES]++;
    for (int i = 0; i < SLOTS; i++) mc_assert(seen[i] <= 1);
    return n;
}
static void door_check(void)
{
    mc_assert(!bad);
    mc_assert(count_queues() == 2 + got[2]);    /* who lost its P put its process into the injection queue */
    mc_assert(got[0] + got[2] == 1);
    mc_assert(got[3] >= got[2]);                /* and then another thread has it */
    mc_assert((atomic_load(&T[0].steal) & OTP__STEAL_MASK) == OTP__STEAL_NONE ||
              (atomic_load(&T[0].steal) & OTP__STEAL_MASK) == OTP__STEAL_GONE);
    if (got[2]) mc_assert(T[0].p == NULL);
}

/* -- stealing by asking: 4.9, 4.25 ------------------------------------------------------------------------- */

static void ask_setup(void)
{
    world(3);
    open_proc(0, &T[0]);
    for (int i = 2; i < 5; i++) {
        open_proc(i, NULL);
        otp__q_push(&S[0].q[OTP__Q_WOKEN], proc(i));
    }
    atomic_init(&S[0].len, 3);
}
static void ask2_setup(void)
{
    ask_setup();
    otp__rt.nscheds = 2;
}
static void asked(void)             /* the owner: looks at each turn whether somebody asks */
{
    otp__thread *t = me();
    for (int i = 0; i < 2; i++) {
        if (otp__get(&t->p->attn)) {
            (void)atomic_exchange_explicit(&t->p->attn, 0, memory_order_acquire);
            if (otp__get(&t->p->want)) otp__donate(t->p);
        }
        otp__proc *p = otp__choose(t->p);
        if (p) otp__enqueue(t->p, p, OTP__Q_YIELDED);
    }
}
static void asker(void)
{
    otp__thread *t = me();
    (void)otp__steal(t->p);
}
static void ask_check(void)
{
    mc_assert(count_queues() == 3);
    mc_assert(atomic_load(&S[0].want) == NULL);
}

/* -- idle: 4.25 -------------------------------------------------------------------------------------------- */

static void idle_setup(void)
{
    world(2);
    for (int i = 2; i < 5; i++) open_proc(i, NULL);
}
static void sleeper(void)           /* until it has got something */
{
    otp__thread *t = me();
    for (;;) {
        bool some = otp__inject_take(t->p);
        some |= otp__inbox_take(t->p);
        if (some) break;
        if (otp__get(&otp__rt.stop)) break;
        otp__doze(t->p);
    }
    note(mc_thread());
}
static void injector(void)
{
    otp__me = NULL;
    otp__inject(proc(2));
}
static void giver(void)
{
    otp__me = NULL;
    proc(3)->qn = NULL;
    otp__inbox_push(&S[0], proc(3));
}
static void stopper(void)           /* as otp__stop does */
{
    otp__put_seq(&otp__rt.stop, 1);
    for (int i = 0; i < otp__rt.nscheds; i++) otp__wake(&S[i]);
}
static void idle_check(void)        /* whoever is asleep: nothing is left for it */
{
    mc_assert(atomic_load(&otp__rt.inject_count) == 0);
    mc_assert(atomic_load(&S[0].inbox) == NULL && atomic_load(&S[1].inbox) == NULL);
    mc_assert(otp__rt.inject.head == NULL);
}
static void polled_setup(void)      /* somebody else polls: both sleep on their futex */
{
    idle_setup();
    atomic_init(&otp__rt.poller, 1);
}

/* The main P waits for work or for the end of the first process. (The system call between the store and the look is a
   fence here as it is in the kernel.) */
static void main_setup(void)
{
    world(1);
    S[1].id = 1;
    S[1].main = true;
    S[1].poll_deadline = -1;
    otp__rt.sched[1] = &S[1];
    mc_name(&S[1].sleeping, "main.sleeping");
    mc_name(&S[1].futex, "main.futex");
    mc_name(&otp__rt.app_done, "app_done");
}
static void main_thread(void)
{
    (void)me();
    (void)otp__idle_main(&S[1]);
    finish();
}
static void app_ender(void)         /* as in otp__bury */
{
    otp__put_seq(&otp__rt.app_done, 1);
    otp__futex_wake(&otp__rt.app_done);
    otp__wake(otp__rt.sched[otp__rt.nscheds]);
}
static void main_check(void) { mc_assert(finished == 1); }

/* A stop frees no scheduler that a thread from outside still looks at. */
static void closing_setup(void)
{
    world(1);
    open_proc(2, NULL);
    atomic_init(&otp__rt.nidle, 1);
    atomic_init(&S[0].sleeping, 1);
    mc_name(&otp__rt.outside, "outside");
    mc_name(&otp__rt.closing, "closing");
}
static void closer(void)            /* the begin of otp__threads_end, and its end */
{
    otp__put_seq(&otp__rt.closing, 1);
    while (otp__get_seq(&otp__rt.outside) != 0) mc_pause();
    *(volatile unsigned *)(void *)&S[0].sleeping = 7;       /* freed: plain, so that every other use is a race */
    *(volatile unsigned *)(void *)&S[0].futex = 7;
}

/* A process that was killed in otp_blocking is put in line by the loop or by the worker, once: 4.12, 4.23. */
static otp__job job;
static otp__ext job_ext;
static void job_setup(void)
{
    world(1);
    open_proc(0, &T[0]);
    memset(&job, 0, sizeof job);
    memset(&job_ext, 0, sizeof job_ext);
    job.p = proc(0);
    job_ext.job = &job;
    proc(0)->ext = &job_ext;
    atomic_init(&proc(0)->head, OTP__CLOSED);
    mc_name(&job.state, "job.state");
}
static void job_thread(void)
{
    otp__thread *t = me();
    otp__proc *p = t->cur;
    t->p->pend = p;
    t->p->pend_act = OTP__ACT_JOB;
    t->cur = NULL;
    frame++;                        /* its context is saved */
    otp__commit(t->p);
    if (otp__choose(t->p)) {
        frame++;
        note(0);
    }
}
static void job_worker(void)        /* the end of a job, as the pool does it */
{
    otp__me = NULL;
    if (atomic_exchange_explicit(&job.state, OTP__JOB_DONE, memory_order_acq_rel) == OTP__JOB_ORPHAN) {
        frame++;                    /* whoever takes it from the injection queue uses the context */
        otp__inject(job.p);
        note(1);
    }
}
static void job_check(void)
{
    mc_assert(got[0] + got[1] == 1);
    mc_assert(count_queues() == got[1]);
}

/* -- timers: 4.13 ------------------------------------------------------------------------------------------ */

static otp_ref timer_ref;
static void timer_setup(void)
{
    world(3);
    open_proc(0, NULL);             /* the receiver, awake somewhere */
    first_pid = atomic_load(&proc(0)->pid);
    otp__timer *tm = &timers[0];
    atomic_init(&otp__rt.timer_slots, 1);
    tm->node = make(0, 0, first_pid, OTP__K_MSG, 0);
    atomic_init(&tm->due, 1005);
    atomic_init(&tm->to, first_pid);
    atomic_init(&tm->state, 1u << 2 | OTP__TIMER_ARMED);
    timer_ref.id = OTP__TIMER_REF | (uint64_t)1 << 32;
    otp__timer_insert(&S[0], tm, model_ns);
}
static void timer_far_setup(void)   /* not due when the owner looks, but swept */
{
    timer_setup();
}
static void firer(void)             /* the P of the wheel: the time has come; the record is then used again */
{
    otp__thread *t = me();
    otp__timers_run(t->p, 1005);
    otp__timer *tm = otp__timer_new(t->p);
    if (!tm) mc_fail("no timer");
    otp__put_rlx(&tm->due, 1010);
    otp__put_rlx(&tm->to, first_pid);
    tm->node = NULL;
    tm->more = NULL;
    otp__put_rel(&tm->state, (otp__get(&tm->state) & ~3u) | OTP__TIMER_ARMED);
    otp__timer_insert(t->p, tm, model_ns);
}
static void sweeper(void)
{
    otp__thread *t = me();
    otp__timer_sweep(t->p);
    otp__timers_run(t->p, 1005);
}
static void canceller(void)
{
    (void)me();
    if (otp_cancel_timer(timer_ref) >= 0) note(mc_thread());
}
static int delivered(void)
{
    int n = 0;
    for (otp__node *l = otp__head_list(atomic_load(&proc(0)->head)); l; l = l->next) n++;
    return n;
}
static void timer_check(void)
{
    mc_assert(got[1] + got[2] + delivered() == 1);      /* exactly one of them wins */
    mc_assert((atomic_load(&timers[0].state) & 3) == OTP__TIMER_ARMED);     /* nobody touches the newer one */
    mc_assert(atomic_load(&timers[0].state) >> 2 == 2);
    mc_assert(S[0].wheel.count == 1);
}
static void sweep_check(void) { mc_assert(got[1] + got[2] + delivered() == 1); }
/* From a thread without a wheel: on its way when it is cancelled. */
static void way_setup(void)
{
    world(3);
    open_proc(0, NULL);
    first_pid = atomic_load(&proc(0)->pid);
    atomic_init(&otp__rt.timer_slots, 1);
    timer_ref.id = OTP__TIMER_REF | (uint64_t)1 << 32;
    otp__timer *tm = &timers[0];
    tm->node = make(0, 0, first_pid, OTP__K_MSG, 0);
    atomic_init(&tm->due, 1005);
    atomic_init(&tm->to, first_pid);
    atomic_init(&tm->state, 1u << 2 | OTP__TIMER_ARMED);
    atomic_init(&tm->owner, -1);
}
static void way_sender(void)
{
    (void)me();
    otp__timer_inject(&timers[0]);
    if (otp_cancel_timer(timer_ref) >= 0) note(mc_thread());
}
static void way_owner(void)
{
    otp__thread *t = me();
    (void)otp__inject_take(t->p);
    otp__timers_run(t->p, 1005);
}
static void way_check(void)
{
    int queued = otp__rt.inject_timers != NULL;
    mc_assert(got[1] + delivered() + (queued && !got[1]) == 1);
}

/* -- chains between schedulers: 4.5 ------------------------------------------------------------------------ */

static _Alignas(64) char blocks[3 * 64 + 8][64];
static void chain_setup(void)
{
    world(2);
    memset(blocks, 0, sizeof blocks);
    otp__rt.depot[2] = NULL;
    mc_name(&otp__rt.depot_lock[2], "depot_lock");
}
static void freer(void)             /* more than two chains: one goes to the depot */
{
    otp__thread *t = me();
    for (int i = 0; i < 130; i++) {
        blocks[i][32] = 1;          /* its last use */
        otp__mem_put(t->p, blocks[i], 2);
    }
}
static void taker(void)
{
    otp__thread *t = me();
    otp__chain *c = NULL;
    otp__lock(&otp__rt.depot_lock[2]);
    bool some = otp__rt.depot[2] != NULL;
    otp__unlock(&otp__rt.depot_lock[2]);
    if (!some) return;              /* else it would carve new ones */
    for (int i = 0; i < 64; i++) {
        c = otp__mem_get(t->p, 2);
        if (!c) mc_fail("no block");
        ((char *)c)[32] = 2;
        note(0);
    }
    for (int i = 0; i < 1; i++) otp__mem_put(t->p, c, 2);
}
static void chain_check(void)
{
    int twos = 0;
    for (int i = 0; i < 130; i++) twos += blocks[i][32] == 2;
    mc_assert(twos == 0 || twos == 64);
}

/* -- guests: 4.27 ------------------------------------------------------------------------------------------ */

static void guest_setup(void)
{
    world(2);
    otp__rt.nscheds = 2;
    open_proc(0, &T[0]);
    T[0].p = NULL;
    proc(0)->flags = OTP__P_GUEST;
    proc(0)->special = true;
    first_pid = atomic_load(&proc(0)->pid);
    for (int i = 0; i < 4; i++) (void)make(i, 0, first_pid, OTP__K_MSG, 0);
    mc_name(&T[0].futex, "T0.futex");
}
static void guest(void)
{
    otp__thread *t = me();
    otp__proc *p = t->cur;
    for (int left = 2; left > 0;) {
        if (otp__arrived(p)) t = otp__take_in_once(t);
        for (; p->first; left--) note(otp__unlink(p, &p->first)->m.tag);
        if (left > 0) t = otp__guest_wait(t, OTP__ACT_PARK, 0);
    }
    finish();
}
static void guest_timed(void)       /* its time is over at once: it may take itself back */
{
    otp__thread *t = me();
    otp__proc *p = t->cur;
    t = otp__guest_wait(t, OTP__ACT_PARK, 1);
    if (otp__arrived(p)) t = otp__take_in_once(t);
    while (p->first) note(otp__unlink(p, &p->first)->m.tag);
    if (!got[0]) t = otp__guest_wait(t, OTP__ACT_PARK, 0);
    if (otp__arrived(p)) t = otp__take_in_once(t);
    while (p->first) note(otp__unlink(p, &p->first)->m.tag);
    finish();
}
static void guest_sender(void)
{
    otp__thread *t = me();
    int i = mc_thread() - 1;
    if (!otp__push(t->p, proc(0), node(i))) wrong();
}
static void guest_check(void)
{
    mc_assert(!bad && finished == 1);
    mc_assert(got[0] == 1 && got[1] <= 1);
}

/* -- the loop: 4.12, with the real switch of stacks ----------------------------------------------------------- */

/* P0 runs p and q, which wait for messages; P1 sends to them meanwhile and then runs whom it woke. The runtime is
   stopping, so that a loop without work ends. Locals whose address is known stand for the saved contexts. */
static int *volatile known;
static void local_set(int *v, int to)
{
    known = v;
    *v = to;
}
static uint64_t pid_p, pid_q;
static bool loop_twice;
static void loop_p(void *arg)
{
    (void)arg;
    int mine;
    local_set(&mine, 1);
    for (int i = 0; i < (loop_twice ? 2 : 1); i++) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        if (!m || mine != 1) wrong();
        note(m->tag);
        if (loop_twice && i == 0 && otp_send((otp_pid){ pid_q }, 3, NULL, 0) != 0) wrong();
    }
    finish();
}
static void loop_q(void *arg)
{
    (void)arg;
    int mine;
    local_set(&mine, 2);
    if (otp_send((otp_pid){ pid_p }, 1, NULL, 0) != 0) wrong();
    for (int i = 0; i < (loop_twice ? 2 : 1); i++) {
        const otp_msg *m = otp_recv(OTP_INFINITY);      /* straight to p, which is in run_next */
        if (!m || mine != 2) wrong();
        note(m->tag);
    }
    if (loop_twice && otp_send((otp_pid){ pid_p }, 4, NULL, 0) != 0) wrong();
    finish();
}
static void loop_fresh(int i, otp_fn *fn)
{
    open_proc(i, NULL);
    proc(i)->run.fn = fn;
    proc(i)->thread = NULL;
    otp__fresh_push(&S[0], proc(i));
}
static void loop_setup(void)
{
    loop_twice = false;
    world(2);
    known = NULL;
    loop_fresh(1, loop_q);
    loop_fresh(0, loop_p);          /* the newest runs first */
    pid_p = atomic_load(&proc(0)->pid);
    pid_q = atomic_load(&proc(1)->pid);
    atomic_init(&S[0].slices, 1);
    atomic_init(&S[1].slices, 1);
    atomic_init(&otp__rt.stop, 1);
    for (int i = 0; i < 2; i++) {
        for (int k = 1; k < 4; k++) otp__stack_put(&S[i], &stacks[4 * i + k].k);
        otp__chain *last = NULL;
        for (int k = 0; k < 4; k++) {
            otp__chain *c = (otp__chain *)(void *)node_room[8 * i + k];
            c->next = last;
            last = c;
        }
        S[i].mem.list[2] = (otp__list){ last, 4, NULL };
        T[i].cur = NULL;
    }
    for (int k = 0; k < 8; k++) stacks[k].k.deep = false;
}
static void loop2_setup(void)
{
    loop_setup();
    loop_twice = true;
}
static void loop_thread(void)
{
    otp__thread *t = me();
    otp__stack *k = &stacks[4 * mc_thread()].k;
    otp__ctx_fresh(&t->native, otp__stack_top(k), otp__loop, k);
}
static void loop_sender(void)       /* P1: to q, then the loop */
{
    (void)me();
    if (otp_send((otp_pid){ pid_q }, 2, NULL, 0) != 0) wrong();
    (void)otp__in();
    loop_thread();
}
static void loop_check(void)
{
    mc_assert(!bad);
    mc_assert(finished == 2 && got[1] == 1 && got[2] == 1);
    mc_assert(got[3] == loop_twice && got[4] == loop_twice);
    mc_assert(atomic_load(&proc(0)->head) == OTP__CLOSED && atomic_load(&proc(1)->head) == OTP__CLOSED);
    mc_assert(atomic_load(&S[0].exited) + atomic_load(&S[1].exited) == 2);
    mc_assert(count_queues() == 0);
    mc_assert(!S[0].pend && !S[1].pend);
}

/* -- all of them ------------------------------------------------------------------------------------------- */

static const mc_model models[] = {
    { .name = "mailbox", .setup = mailbox_setup, .thread = { owner_thread, sender_0, sender_2 },
      .check = mailbox_check },
    { .name = "mailbox_order", .setup = mailbox_setup, .thread = { owner_thread, sender_01 }, .check = mailbox_check },
    { .name = "mailbox_three", .setup = mailbox4_setup, .thread = { owner_thread, sender_01, sender_2 },
      .check = mailbox_check, .preemptions = 3 },
    { .name = "sigwait", .setup = sigwait_setup, .thread = { owner_thread, sender_0, replier }, .check = caller_check },
    { .name = "hint", .setup = hint_setup, .thread = { waiter_thread, hinter }, .check = hint_only_check },
    { .name = "hint_sigwait", .setup = hint_setup_sig, .thread = { waiter_thread, hinter, hint_sender },
      .check = hint_check },
    { .name = "hint_message", .setup = hint_setup, .thread = { waiter_thread, hinter, hint_sender },
      .check = hint_check },
    { .name = "reuse", .setup = reuse_setup, .thread = { ender, reuse_monitor }, .check = reuse_check },
    { .name = "reuse_message", .setup = reuse_setup, .thread = { ender, reuse_sender }, .check = reuse2_check },
    { .name = "reuse_both", .setup = reuse_setup, .thread = { ender, reuse_monitor, reuse_sender },
      .check = reuse_check, .preemptions = 2 },
    { .name = "names", .setup = names_setup, .thread = { name_ender, name_registrar }, .check = names_check },
    { .name = "borrow", .setup = door_setup, .thread = { door_thread, thief }, .check = door_check },
    { .name = "borrow_twice", .setup = door1_setup, .thread = { door_thread, two_thefts }, .check = door_check },
    { .name = "borrow_two", .setup = door3_setup, .thread = { door_thread, thief, thief }, .check = door_check },
    { .name = "borrow_fence", .setup = fence_setup, .thread = { door_thread, thief }, .check = door_check },
    { .name = "replace", .setup = door_setup, .thread = { door_thread, replacer1, spare },
      .check = door_check, .may_block = 4 },
    { .name = "borrow_replace", .setup = door1_setup, .thread = { door_thread, thief, replacer, spare },
      .check = door_check,
      .may_block = 8, .preemptions = 2 },
    { .name = "ask", .setup = ask2_setup, .thread = { asked, asker }, .check = ask_check, .give_up = true },
    { .name = "ask_two", .setup = ask_setup, .thread = { asked, asker, asker }, .check = ask_check, .give_up = true,
      .preemptions = 2 },
    { .name = "idle_inject", .setup = polled_setup, .thread = { sleeper, injector },
      .check = idle_check, .may_block = 3 },
    { .name = "idle_poll", .setup = idle_setup, .thread = { sleeper, injector }, .check = idle_check, .may_block = 3 },
    { .name = "idle_inbox", .setup = polled_setup, .thread = { sleeper, giver }, .check = idle_check, .may_block = 3 },
    { .name = "idle_inbox_poll", .setup = idle_setup, .thread = { sleeper, giver },
      .check = idle_check, .may_block = 3 },
    { .name = "idle_stop", .setup = idle_setup, .thread = { sleeper, stopper }, .check = idle_check },
    { .name = "idle_two", .setup = idle_setup, .thread = { sleeper, sleeper, injector },
      .check = idle_check, .may_block = 3, .preemptions = 3 },
    { .name = "idle_main", .setup = main_setup, .thread = { main_thread, app_ender }, .check = main_check },
    { .name = "closing", .setup = closing_setup, .thread = { injector, closer } },
    { .name = "blocking", .setup = job_setup, .thread = { job_thread, job_worker }, .check = job_check },
    { .name = "timer", .setup = timer_setup, .thread = { firer, canceller }, .check = timer_check },
    { .name = "timer_two", .setup = timer_setup, .thread = { firer, canceller, canceller }, .check = timer_check },
    { .name = "timer_sweep", .setup = timer_far_setup, .thread = { sweeper, canceller }, .check = sweep_check },
    { .name = "timer_on_its_way", .setup = way_setup, .thread = { way_owner, way_sender }, .check = way_check },
    { .name = "chains", .setup = chain_setup, .thread = { freer, taker }, .check = chain_check },
    { .name = "loop", .setup = loop_setup, .thread = { loop_thread, loop_sender }, .check = loop_check },
    { .name = "loop_twice", .setup = loop2_setup, .thread = { loop_thread, loop_sender }, .check = loop_check },
    { .name = "guest", .setup = guest_setup, .thread = { guest, guest_sender, guest_sender }, .check = guest_check },
    { .name = "guest_timed", .setup = guest_setup, .thread = { guest_timed, guest_sender }, .check = guest_check },
};

int main(int argc, char **argv)
{
    bool mutant = false;
    unsigned long long limit = 0;
    int names = 0, passed = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutant") == 0) mutant = true;
        else if (strncmp(argv[i], "--limit=", 8) == 0) limit = strtoull(argv[i] + 8, NULL, 10);
        else names++;
    }
    if (!mc_catch_crashes()) return 2;
    mc_quiet(mutant && !getenv("SHOW"));
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        bool chosen = names == 0;
        for (int i = 1; i < argc; i++) chosen |= strcmp(argv[i], models[m].name) == 0;
        if (!chosen) continue;
        struct timespec a, b;
        (void)timespec_get(&a, TIME_UTC);
        int rc = mc_explore(&models[m], limit, true);
        (void)timespec_get(&b, TIME_UTC);
        double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
        bool good = rc == (mutant ? 1 : 0);
        printf("%s model %s: %llu executions%s, %.1f s\n", good ? "ok  " : "FAIL", models[m].name, mc_executions(),
               rc == 1                     ? " to a violation"
               : rc == 2                   ? ", not all of them"
               : models[m].preemptions > 0 ? ", all with few preemptions"
                                           : ", all", s);
        fflush(stdout);
        if (good) passed++;
        else failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed || passed == 0;
}
