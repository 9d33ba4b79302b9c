/* mc.c: the checker. Stateless exploration with dynamic partial-order reduction (races add backtrack points, sleep sets
   cut repetitions) over an operational form of the C11 memory model: every location has its history of stores, every
   thread the oldest entry of each that it may still read, and a message of a release store carries the view of its
   writer. Plain accesses are checked for races with vector clocks.                    SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "mc.h"
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "mc.c: only for x86-64 and AArch64"
#endif

extern _Thread_local void *otp__me __attribute__((visibility("hidden")));

enum { MAXLOC = 160, MAXMSG = 4096, MAXDEPTH = 4096, TABLE = 4096, SHADOW = 1 << 15 };
enum { RLX, CONSUME, ACQ, REL, ACQREL, SEQ };       /* as the compiler passes them */

typedef struct view { uint16_t at[MAXLOC]; uint32_t vc[MC_THREADS]; } view;
typedef struct message { uint64_t value; view seen; } message;
typedef struct dclk { int at[MC_THREADS]; } dclk;
typedef struct track { int write_by, write_at; int read_at[MC_THREADS]; dclk write, read; } track;
typedef struct location {
    uintptr_t addr;
    int size;
    uint16_t *msgs;     /* numbers in the pool */
    int n, room, floor;
    uint32_t wclk[MC_THREADS], rclk[MC_THREADS];    /* for races with plain accesses */
    track order;
    int waiting[MC_THREADS], waiters;               /* futex */
    int owner;                                      /* mutex: 0 free */
    unsigned count;                                 /* the event fd */
} location;

enum { OP_NONE, OP_LOAD, OP_STORE, OP_RMW, OP_FENCE, OP_BARRIER, OP_PAUSE, OP_WAIT, OP_WOKEN, OP_WAKE, OP_LOCK, OP_POLL,
       OP_UNTIL, OP_CHOOSE };
static const char *const op_names[] = { "none", "load", "store", "rmw", "fence", "membarrier", "pause", "futex wait",
    "woken", "futex wake", "lock", "poll", "until", "choice" };

typedef struct op { uint8_t kind, order; bool write; int loc; } op;

typedef struct thread {
    void *sp;
    char *stack;
    void *me;
    op next;
    bool finished, woken;
    view cur, acq, rel;
    int last_loc, last_msg;     /* of the last load: what a pause waits for */
    int silent;                 /* loc + 1: it gives up a bounded wait on this */
    int silent_n;
    bool (*ready)(void);
    dclk order;
} thread;

typedef struct node {
    uint8_t thread, enabled, backtrack, done, sleep;
    uint16_t choice, choices;
    int preempted;
    op what;
} node;
typedef struct event { uint8_t thread; op what; uint64_t value; int msg, msgs; void *from; } event;

static const mc_model *model;
static thread th[MC_THREADS];
static int nthreads, self = -1;
static bool running, starting, quiet, reducing, aborted, failed;
static void *main_sp;
static location locs[MAXLOC];
static int nlocs;
static struct { uintptr_t addr; int size, loc; uint32_t run; } table[TABLE];
static message *pool;
static int pool_used;
static view sview;
static track sc_track, all_track;
static node path[MAXDEPTH];
static event trace[MAXDEPTH];
static dclk clocks[MAXDEPTH];
static int depth, replay;
static uint32_t run_no;
static unsigned long long executions, cut;
static char why[400];

/* -- fibers ------------------------------------------------------------------------------------------------ */

void mc_swap(void **save, void *to);
#if defined(__x86_64__)
__asm__(".text\n.globl mc_swap\n.type mc_swap,@function\nmc_swap:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.size mc_swap,.-mc_swap\n");
static void *fiber_begin(char *stack, size_t size, void (*entry)(void))
{
    uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
    void **sp = (void **)top - 2;
    sp[0] = (void *)entry;
    sp[1] = NULL;
    return sp - 6;
}
#else
__asm__(".text\n.globl mc_swap\n.type mc_swap,%function\nmc_swap:\n"
        "sub sp,sp,#176\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\n"
        "stp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\n"
        "stp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\nmov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
        "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\n"
        "ldp x27,x28,[sp,#64]\nldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\n"
        "ldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\nadd sp,sp,#176\nret\n.size mc_swap,.-mc_swap\n");
static void *fiber_begin(char *stack, size_t size, void (*entry)(void))
{
    uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
    void **sp = (void **)(top - 176);
    memset(sp, 0, 176);
    sp[11] = (void *)entry;
    return sp;
}
#endif

static void go(int to)      /* -1: back to the explorer */
{
    int from = self;
    if (from == to) return;
    if (from >= 0) th[from].me = otp__me;
    self = to;
    otp__me = to >= 0 ? th[to].me : NULL;
    mc_swap(from >= 0 ? &th[from].sp : &main_sp, to >= 0 ? th[to].sp : main_sp);
}

/* -- failing ----------------------------------------------------------------------------------------------- */

typedef struct naming { uintptr_t addr; const char *name; } naming;
static naming names[256];
static int nnames;

void mc_name(const void *at, const char *name)
{
    for (int i = 0; i < nnames; i++)
        if (names[i].addr == (uintptr_t)at) {
            names[i].name = name;
            return;
        }
    if (nnames < 256) names[nnames++] = (naming){ (uintptr_t)at, name };
}

static const char *name_of(uintptr_t addr)
{
    static char text[32];
    for (int i = 0; i < nnames; i++)
        if (names[i].addr == addr) return names[i].name;
    (void)snprintf(text, sizeof text, "%#lx", (unsigned long)addr);
    return text;
}

static const char *const order_names[] = { "relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst" };

static void print_trace(void)
{
    printf("# %s: violation in execution %llu: %s\n", model->name, executions + 1, why);
    for (int i = 0; i < depth; i++) {
        event *e = &trace[i];
        printf("#   %3d  T%d %-10s", i, e->thread, op_names[e->what.kind]);
        if (e->what.loc >= 0)
            printf(" %-24s %-8s %#llx%s", name_of(locs[e->what.loc].addr), order_names[e->what.order],
                   (unsigned long long)e->value, e->msg < e->msgs - 1 ? "  (an older value)" : "");
        printf("   @%p\n", e->from);
    }
    fflush(stdout);
}

static void leave(bool complete)    /* the execution ends here */
{
    aborted = !complete;
    running = false;
    if (self >= 0) {
        go(-1);
        abort();
    }
}

void mc_fail(const char *what)
{
    if (!failed) {
        failed = true;
        (void)snprintf(why, sizeof why, "%s%s%d", what, self >= 0 ? ", in thread " : ", at the end ", self);
        if (!quiet) print_trace();
    }
    leave(false);
}

static void broken(const char *what)
{
    printf("# %s: the checker cannot go on: %s\n", model->name, what);
    exit(3);
}

/* The fault's frame is left for good: the execution ends as with any other violation. */
static void crashed(int sig)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, sig);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    if (!model || !running || self < 0) _exit(3);
    mc_fail(sig == SIGSEGV || sig == SIGBUS ? "a crash: bad memory access" : "a crash");
}

bool mc_catch_crashes(void)
{
    static char alt[64 << 10];
    stack_t ss = { .ss_sp = alt, .ss_size = sizeof alt };
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = crashed;
    sa.sa_flags = SA_ONSTACK;
    return sigaltstack(&ss, NULL) == 0 && sigaction(SIGSEGV, &sa, NULL) == 0 && sigaction(SIGBUS, &sa, NULL) == 0 &&
           sigaction(SIGILL, &sa, NULL) == 0;
}

/* -- views ------------------------------------------------------------------------------------------------- */

static void join_at(view *a, const view *b)
{
    for (int i = 0; i < nlocs; i++)
        if (b->at[i] > a->at[i]) a->at[i] = b->at[i];
}

static void join(view *a, const view *b)
{
    join_at(a, b);
    for (int i = 0; i < MC_THREADS; i++)
        if (b->vc[i] > a->vc[i]) a->vc[i] = b->vc[i];
}

/* -- plain accesses ---------------------------------------------------------------------------------------- */

typedef struct shadow {
    uintptr_t addr;
    uint32_t run;
    int loc;
    uint8_t wtid[8];
    uint32_t w[8], r[MC_THREADS][8];
} shadow;
static shadow shadows[SHADOW];

static shadow *shadow_of(uintptr_t addr)
{
    uintptr_t g = addr >> 3;
    unsigned h = (unsigned)((g * 0x9E3779B97F4A7C15ull) >> 40) & (SHADOW - 1);
    for (unsigned n = 0; n < SHADOW; n++, h = (h + 1) & (SHADOW - 1)) {
        if (shadows[h].run != run_no) {
            memset(&shadows[h], 0, sizeof shadows[h]);
            shadows[h].run = run_no;
            shadows[h].addr = g;
            shadows[h].loc = -1;
            return &shadows[h];
        }
        if (shadows[h].addr == g) return &shadows[h];
    }
    broken("too much memory is touched");
    return NULL;
}

static void race(uintptr_t addr, int other, const char *what, void *from)
{
    char text[200];
    (void)snprintf(text, sizeof text, "data race: %s of %s at %p with T%d", what, name_of(addr), from, other);
    mc_fail(text);
}

static void plain(uintptr_t addr, size_t size, bool write, void *from)
{
    if (!running || self < 0 || addr == (uintptr_t)&otp__me) return;     /* a thread-local is each fiber's own */
    thread *t = &th[self];
    for (size_t i = 0; i < size;) {
        shadow *s = shadow_of(addr + i);
        unsigned b = (unsigned)(addr + i) & 7;
        if (s->loc >= 0) {
            location *l = &locs[s->loc];
            if (addr < l->addr + (unsigned)l->size && l->addr < addr + size)
                for (int u = 0; u < nthreads; u++)
                    if (u != self && (l->wclk[u] > t->cur.vc[u] || (write && l->rclk[u] > t->cur.vc[u])))
                        race(addr, u, write ? "plain write (atomic elsewhere)" : "plain read (atomic elsewhere)", from);
        }
        for (; b < 8 && i < size; b++, i++) {
            if (s->w[b] && s->wtid[b] != self && s->w[b] > t->cur.vc[s->wtid[b]])
                race(addr, s->wtid[b], write ? "write" : "read", from);
            if (write) {
                for (int u = 0; u < nthreads; u++)
                    if (u != self && s->r[u][b] > t->cur.vc[u]) race(addr, u, "write", from);
                s->w[b] = t->cur.vc[self];
                s->wtid[b] = (uint8_t)self;
            } else {
                s->r[self][b] = t->cur.vc[self];
            }
        }
    }
}

/* -- locations --------------------------------------------------------------------------------------------- */

static uint64_t memory(uintptr_t addr, int size)
{
    switch (size) {
    case 1: return *(volatile uint8_t *)addr;
    case 2: return *(volatile uint16_t *)addr;
    case 4: return *(volatile uint32_t *)addr;
    default: return *(volatile uint64_t *)addr;
    }
}

static void memory_set(uintptr_t addr, int size, uint64_t v)
{
    switch (size) {
    case 1: *(volatile uint8_t *)addr = (uint8_t)v; return;
    case 2: *(volatile uint16_t *)addr = (uint16_t)v; return;
    case 4: *(volatile uint32_t *)addr = (uint32_t)v; return;
    default: *(volatile uint64_t *)addr = v;
    }
}

static message *append(location *l, uint64_t v)
{
    if (l->n == l->room) {
        l->room = l->room ? l->room * 2 : 16;
        l->msgs = realloc(l->msgs, sizeof *l->msgs * (size_t)l->room);
        if (!l->msgs) abort();
    }
    if (pool_used == MAXMSG) broken("too many stores");
    l->msgs[l->n++] = (uint16_t)pool_used;
    message *m = &pool[pool_used++];
    m->value = v;
    memset(&m->seen, 0, sizeof m->seen);
    return m;
}

static void track_init(track *t)
{
    memset(t, 0, sizeof *t);
    t->write_at = -1;
    for (int i = 0; i < MC_THREADS; i++) {
        t->read_at[i] = -1;
        t->write.at[i] = t->read.at[i] = -1;
    }
}

static int location_of(uintptr_t addr, int size)
{
    unsigned h = (unsigned)(((uint64_t)addr * 0x9E3779B97F4A7C15ull) >> 50) & (TABLE - 1);
    for (; table[h].run == run_no; h = (h + 1) & (TABLE - 1))
        if (table[h].addr == addr) return table[h].loc;
    if (nlocs == MAXLOC) broken("too many locations");
    table[h].run = run_no;
    table[h].addr = addr;
    table[h].loc = nlocs;
    location *l = &locs[nlocs];
    uint16_t *msgs = l->msgs;
    int room = l->room;
    memset(l, 0, sizeof *l);
    l->msgs = msgs;
    l->room = room;
    l->addr = addr;
    l->size = size;
    track_init(&l->order);
    if (size) {
        (void)append(l, memory(addr, size));
        shadow_of(addr)->loc = nlocs;
    }
    return nlocs++;
}

/* A plain write to an atomic that came in between (nobody may race with it): the history begins again there. */
static void refresh(location *l)
{
    uint64_t v = memory(l->addr, l->size);
    if (v != pool[l->msgs[l->n - 1]].value) {
        (void)append(l, v);
        l->floor = l->n - 1;
    }
}

/* -- exploring --------------------------------------------------------------------------------------------- */

static bool is_enabled(int i)
{
    thread *t = &th[i];
    if (t->finished || t->next.kind == OP_NONE) return false;
    location *l = t->next.loc >= 0 ? &locs[t->next.loc] : NULL;
    switch (t->next.kind) {
    case OP_PAUSE: return l->n - 1 > t->last_msg || (model->give_up && t->silent_n == 0);
    case OP_WOKEN: return t->woken;
    case OP_LOCK: return l->owner == 0;
    case OP_POLL: return l->count > 0;
    case OP_UNTIL: return t->ready();
    default: return true;
    }
}

static bool sc_write(const op *o) { return o->kind == OP_FENCE || o->kind == OP_WAIT || o->kind == OP_WAKE; }
static bool sc(const op *o) { return o->order == SEQ || sc_write(o); }

static bool dependent(const op *a, const op *b)
{
    bool all = a->kind == OP_BARRIER || b->kind == OP_BARRIER || a->kind == OP_UNTIL || b->kind == OP_UNTIL;
    if (all) return true;
    if (a->loc >= 0 && a->loc == b->loc && (a->write || b->write)) return true;
    return sc(a) && sc(b) && (sc_write(a) || sc_write(b));
}

/* The event that p is about to do (with the order `now`) races with the one at depth i: one of the threads that can
   begin what came since then without i is to be tried in the place of i. (Source sets: adding p itself is not enough when
   p is asleep there, because what must come before p in the other order may be of another thread.) */
static void race_with(int i, int p, const dclk *now)
{
    node *n = &path[i];
    int u = n->thread;
    unsigned seen = 0, initials = 0;
    int first[MC_THREADS] = { 0 };      /* of each thread: its first event that does not come after i */
    for (int j = i + 1; j <= depth; j++) {
        const dclk *c = j < depth ? &clocks[j] : now;
        int q = j < depth ? path[j].thread : p;
        if ((j < depth && c->at[u] >= i) || (seen >> q & 1)) continue;
        bool initial = true;
        for (int w = 0; w < nthreads; w++)
            if ((seen >> w & 1) && c->at[w] >= first[w]) initial = false;
        if (initial) initials |= 1u << q;
        first[q] = j;
        seen |= 1u << q;
    }
    initials &= n->enabled;
    if (initials == 0) n->backtrack |= n->enabled;
    else if ((initials & n->backtrack) == 0)
        n->backtrack |= (uint8_t)((initials >> p & 1) ? 1u << p : initials & (~initials + 1));
}

static void races(const track *k, int p, bool write, const dclk *now)
{
    for (int u = 0; u < nthreads; u++) {
        int at[2] = { k->write_at >= 0 && k->write_by == u ? k->write_at : -1, write ? k->read_at[u] : -1 };
        for (int i = 0; i < 2; i++)
            if (u != p && at[i] >= 0 && th[p].order.at[u] < at[i]) race_with(at[i], p, now);
    }
}

/* The order so far. */
static void touch(const track *k, bool write, dclk *now)
{
    for (int u = 0; u < nthreads; u++) {
        if (k->write.at[u] > now->at[u]) now->at[u] = k->write.at[u];
        if (write && k->read.at[u] > now->at[u]) now->at[u] = k->read.at[u];
    }
}

static void touched(track *k, int p, bool write, const dclk *now)
{
    if (write) {
        k->write_at = depth;
        k->write_by = p;
        k->write = *now;
        for (int u = 0; u < nthreads; u++) k->read_at[u] = -1;
        k->read = *now;
    } else {
        k->read_at[p] = depth;
        for (int u = 0; u < nthreads; u++)
            if (now->at[u] > k->read.at[u]) k->read.at[u] = now->at[u];
    }
}

/* Who goes on: fills path[depth] and returns the thread, or -1: the execution is over. */
static int pick(void)
{
    if (depth == MAXDEPTH) broken("an execution is too long");
    node *n = &path[depth];
    unsigned enabled = 0, live = 0;
    for (int i = 0; i < nthreads; i++) {
        enabled |= (unsigned)is_enabled(i) << i;
        live |= (unsigned)!th[i].finished << i;
    }
    if (depth >= replay) {
        memset(n, 0, sizeof *n);
        n->enabled = (uint8_t)enabled;
        if (depth > 0) {
            node *before = &path[depth - 1];
            n->preempted = before->preempted;
            unsigned asleep = before->sleep | (unsigned)(before->done & ~(1u << before->thread));
            for (int i = 0; i < nthreads; i++)
                if ((asleep >> i & 1) && i != before->thread && (enabled >> i & 1) &&
                    !dependent(&th[i].next, &before->what))
                    n->sleep |= (uint8_t)(1u << i);
        }
        if (!reducing) n->sleep = 0;
        if (enabled == 0) {
            if (live & ~model->may_block) mc_fail("lost wake-up: a thread waits for ever");
            leave(true);
            return -1;
        }
        unsigned can = enabled & ~n->sleep;
        if (can == 0) {
            cut++;
            leave(false);
            return -1;
        }
        int last = depth > 0 ? path[depth - 1].thread : 0;
        n->thread = (uint8_t)((can >> last & 1) ? last : __builtin_ctz(can));
        n->backtrack = reducing ? (uint8_t)(1u << n->thread) : (uint8_t)can;
    } else if (n->enabled != enabled) {
        broken("an execution does not repeat itself");
    }
    return n->thread;
}

/* Called by whoever has just announced an operation: hands over to the one that is chosen. */
static void reschedule(void)
{
    int next = pick();
    if (next < 0) return;
    go(next);
}

static void remember(uint64_t value, int msg, int msgs)
{
    event *e = &trace[depth - 1];
    e->value = value;
    e->msg = msg;
    e->msgs = msgs;
}

/* Announces an operation, waits until it is chosen, and enters it into the orders. */
static void step(int kind, int order, bool write, int loc, void *from)
{
    thread *t = &th[self];
    if (t->silent && !(kind == OP_LOAD && loc == t->silent - 1)) t->silent = t->silent_n = 0;
    t->next = (op){ (uint8_t)kind, (uint8_t)order, write, loc };
    if (starting) go(-1);
    else reschedule();
    node *n = &path[depth];
    n->what = t->next;
    trace[depth] = (event){ (uint8_t)self, t->next, 0, 0, 0, from };
    bool all = kind == OP_BARRIER || kind == OP_UNTIL;
    dclk now = t->order;
    if (loc >= 0) touch(&locs[loc].order, write, &now);
    if (sc(&t->next)) touch(&sc_track, sc_write(&t->next), &now);
    touch(&all_track, all, &now);
    if (reducing && depth >= replay - 1) {
        if (loc >= 0) races(&locs[loc].order, self, write, &now);
        if (sc(&t->next)) races(&sc_track, self, sc_write(&t->next), &now);
        races(&all_track, self, all, &now);
    }
    now.at[self] = depth;
    t->order = now;
    clocks[depth] = now;
    if (loc >= 0) touched(&locs[loc].order, self, write, &now);
    if (sc(&t->next)) touched(&sc_track, self, sc_write(&t->next), &now);
    touched(&all_track, self, all, &now);
    depth++;
    t->next.kind = OP_NONE;
}

/* The data choice of the operation under way. */
static int choose(int n)
{
    node *at = &path[depth - 1];
    if (depth - 1 >= replay) {
        at->choice = 0;
        at->choices = (uint16_t)n;
    } else if (at->choices == 0) {
        at->choices = (uint16_t)n;
    }
    return at->choice;
}

int mc_choose(int n)
{
    if (!running || self < 0) return 0;
    step(OP_CHOOSE, RLX, false, -1, __builtin_return_address(0));
    return choose(n);
}

/* -- atomic operations ------------------------------------------------------------------------------------- */

static bool acquires(int o) { return o == ACQ || o == ACQREL || o == SEQ || o == CONSUME; }
static bool releases(int o) { return o == REL || o == ACQREL || o == SEQ; }

static void fence(int t)
{
    join_at(&th[t].cur, &sview);
    join_at(&sview, &th[t].cur);
}

/* Plain accesses elsewhere that are not ordered with this atomic one. */
static void atomic_race(location *l, bool write, void *from)
{
    shadow *s = shadow_of(l->addr);
    thread *t = &th[self];
    for (unsigned b = (unsigned)l->addr & 7; b < ((unsigned)l->addr & 7) + (unsigned)l->size && b < 8; b++) {
        if (s->w[b] && s->wtid[b] != self && s->w[b] > t->cur.vc[s->wtid[b]])
            race(l->addr, s->wtid[b], "atomic access after a plain write", from);
        for (int u = 0; write && u < nthreads; u++)
            if (u != self && s->r[u][b] > t->cur.vc[u]) race(l->addr, u, "atomic write after a plain read", from);
    }
    if (write) l->wclk[self] = t->cur.vc[self];
    else l->rclk[self] = t->cur.vc[self];
}

static uint64_t read_msg(location *l, int i, int order)
{
    thread *t = &th[self];
    message *m = &pool[l->msgs[i]];
    int loc = (int)(l - locs);
    if (i > t->cur.at[loc]) t->cur.at[loc] = (uint16_t)i;
    join(acquires(order) ? &t->cur : &t->acq, &m->seen);
    t->last_loc = loc;
    t->last_msg = i;
    return m->value;
}

static int oldest(location *l, int order)
{
    int loc = (int)(l - locs), low = th[self].cur.at[loc];
    if (order == SEQ && sview.at[loc] > low) low = sview.at[loc];
    return low > l->floor ? low : l->floor;
}

static void write_msg(location *l, uint64_t v, int order, const message *from)
{
    thread *t = &th[self];
    int loc = (int)(l - locs);
    view before;
    if (from) before = from->seen;
    message *m = append(l, v);
    t->cur.at[loc] = (uint16_t)(l->n - 1);
    m->seen = releases(order) ? t->cur : t->rel;
    m->seen.at[loc] = (uint16_t)(l->n - 1);
    if (from) join(&m->seen, &before);
    if (order == SEQ) sview.at[loc] = (uint16_t)(l->n - 1);
    if (releases(order)) t->cur.vc[self]++;
    memory_set(l->addr, l->size, v);
    remember(v, 0, 0);
}

static uint64_t do_load(uintptr_t addr, int size, int order, void *from)
{
    if (!running || self < 0) return memory(addr, size);
    int loc = location_of(addr, size);
    location *l = &locs[loc];
    thread *t = &th[self];
    if (t->silent == loc + 1) return pool[l->msgs[t->last_msg]].value;
    step(OP_LOAD, order, false, loc, from);
    atomic_race(l, false, from);
    refresh(l);
    int low = oldest(l, order), c = choose(l->n - low), i = l->n - 1 - c;
    uint64_t v = read_msg(l, i, order);
    remember(v, i, l->n);
    return v;
}

static void do_store(uintptr_t addr, int size, uint64_t v, int order, void *from)
{
    if (!running || self < 0) {
        memory_set(addr, size, v);
        return;
    }
    int loc = location_of(addr, size);
    step(OP_STORE, order, true, loc, from);
    atomic_race(&locs[loc], true, from);
    refresh(&locs[loc]);
    write_msg(&locs[loc], v, order, NULL);
}

enum { XCHG, ADD, SUB, AND, OR };
static uint64_t do_rmw(uintptr_t addr, int size, uint64_t v, int order, int what, void *from)
{
    int loc = -1;
    uint64_t old;
    message *m = NULL;
    if (!running || self < 0) old = memory(addr, size);
    else {
        loc = location_of(addr, size);
        step(OP_RMW, order, true, loc, from);
        location *l = &locs[loc];
        atomic_race(l, true, from);
        refresh(l);
        m = &pool[l->msgs[l->n - 1]];
        old = read_msg(l, l->n - 1, order);
    }
    uint64_t now = what == XCHG  ? v
                   : what == ADD ? old + v
                   : what == SUB ? old - v
                   : what == AND ? (old & v)
                                 : (old | v);
    if (size < 8) now &= ((uint64_t)1 << (size * 8)) - 1;
    if (loc < 0) memory_set(addr, size, now);
    else write_msg(&locs[loc], now, order, m);
    return old;
}

static bool do_cas(uintptr_t addr, int size, uint64_t *expected, uint64_t v, int order, int fail_order, void *from)
{
    if (!running || self < 0) {
        uint64_t old = memory(addr, size);
        if (old == *expected) {
            memory_set(addr, size, v);
            return true;
        }
        *expected = old;
        return false;
    }
    int loc = location_of(addr, size);
    location *l = &locs[loc];
    step(OP_RMW, order, true, loc, from);
    atomic_race(l, true, from);
    refresh(l);
    /* The newest value, or a failure with an older one, which cannot be the expected one. */
    int low = oldest(l, fail_order), n = 1, pick_msg[64];
    pick_msg[0] = l->n - 1;
    for (int i = l->n - 2; i >= low && n < 64; i--)
        if (pool[l->msgs[i]].value != *expected) pick_msg[n++] = i;
    int i = pick_msg[choose(n)];
    uint64_t old = pool[l->msgs[i]].value;
    if (old != *expected) {
        old = read_msg(l, i, fail_order);
        *expected = old;
        remember(old, i, l->n);
        return false;
    }
    message *m = &pool[l->msgs[i]];
    (void)read_msg(l, i, order);
    write_msg(l, v, order, m);
    return true;
}

static void do_fence(int order, void *from)
{
    if (!running || self < 0) return;
    thread *t = &th[self];
    step(OP_FENCE, order, false, -1, from);
    if (acquires(order)) join(&t->cur, &t->acq);
    if (order == SEQ) fence(self);
    if (releases(order)) {
        t->rel = t->cur;
        t->cur.vc[self]++;
    }
}

#define FROM __builtin_return_address(0)
#define ATOMIC(bits, type) \
    type __tsan_atomic##bits##_load(const volatile type *p, int o); \
    type __tsan_atomic##bits##_load(const volatile type *p, int o) \
    { return (type)do_load((uintptr_t)p, bits / 8, o, FROM); } \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int o); \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int o) \
    { do_store((uintptr_t)p, bits / 8, v, o, FROM); } \
    type __tsan_atomic##bits##_exchange(volatile type *p, type v, int o); \
    type __tsan_atomic##bits##_exchange(volatile type *p, type v, int o) \
    { return (type)do_rmw((uintptr_t)p, bits / 8, v, o, XCHG, FROM); } \
    type __tsan_atomic##bits##_fetch_add(volatile type *p, type v, int o); \
    type __tsan_atomic##bits##_fetch_add(volatile type *p, type v, int o) \
    { return (type)do_rmw((uintptr_t)p, bits / 8, v, o, ADD, FROM); } \
    type __tsan_atomic##bits##_fetch_sub(volatile type *p, type v, int o); \
    type __tsan_atomic##bits##_fetch_sub(volatile type *p, type v, int o) \
    { return (type)do_rmw((uintptr_t)p, bits / 8, v, o, SUB, FROM); } \
    type __tsan_atomic##bits##_fetch_and(volatile type *p, type v, int o); \
    type __tsan_atomic##bits##_fetch_and(volatile type *p, type v, int o) \
    { return (type)do_rmw((uintptr_t)p, bits / 8, v, o, AND, FROM); } \
    type __tsan_atomic##bits##_fetch_or(volatile type *p, type v, int o); \
    type __tsan_atomic##bits##_fetch_or(volatile type *p, type v, int o) \
    { return (type)do_rmw((uintptr_t)p, bits / 8, v, o, OR, FROM); } \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *c, type v, int o, int f); \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *c, type v, int o, int f) \
    { uint64_t old = *c; bool ok = do_cas((uintptr_t)p, bits / 8, &old, v, o, f, FROM); *c = (type)old; return ok; } \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *c, type v, int o, int f); \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *c, type v, int o, int f) \
    { uint64_t old = *c; bool ok = do_cas((uintptr_t)p, bits / 8, &old, v, o, f, FROM); *c = (type)old; return ok; }
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

#define PLAIN(n) \
    void __tsan_read##n(void *p); \
    void __tsan_read##n(void *p) { plain((uintptr_t)p, n, false, FROM); } \
    void __tsan_write##n(void *p); \
    void __tsan_write##n(void *p) { plain((uintptr_t)p, n, true, FROM); } \
    void __tsan_unaligned_read##n(void *p); \
    void __tsan_unaligned_read##n(void *p) { plain((uintptr_t)p, n, false, FROM); } \
    void __tsan_unaligned_write##n(void *p); \
    void __tsan_unaligned_write##n(void *p) { plain((uintptr_t)p, n, true, FROM); }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_read_range(void *p, size_t n);
void __tsan_read_range(void *p, size_t n) { plain((uintptr_t)p, n, false, FROM); }
void __tsan_write_range(void *p, size_t n);
void __tsan_write_range(void *p, size_t n) { plain((uintptr_t)p, n, true, FROM); }
void __tsan_init(void);
void __tsan_init(void) { }
void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc) { (void)pc; }
void __tsan_func_exit(void);
void __tsan_func_exit(void) { }
void __tsan_atomic_thread_fence(int o);
void __tsan_atomic_thread_fence(int o) { do_fence(o, FROM); }
void __tsan_atomic_signal_fence(int o);
void __tsan_atomic_signal_fence(int o) { (void)o; }

/* -- the system -------------------------------------------------------------------------------------------- */

/* In a loop that waits for the location loaded last: goes on when there is something newer, which is then seen (a
   store becomes visible in finite time). With give_up, also goes on without: the loop then sees no change at all. */
void mc_pause(void)
{
    if (!running || self < 0) return;
    thread *t = &th[self];
    if (t->silent) {
        if (++t->silent_n < 3000) return;
        t->silent = 0;          /* an endless loop: it can only wait */
    }
    int n = t->silent_n;
    int loc = t->last_loc, seen = t->last_msg;
    t->next.kind = OP_NONE;
    step(OP_PAUSE, RLX, false, loc, FROM);
    t->silent_n = n;
    location *l = &locs[loc];
    bool newer = l->n - 1 > seen;
    int c = choose(model->give_up && newer && n == 0 ? 2 : 1);
    if (newer && c == 0) {
        if (t->cur.at[loc] < seen + 1) t->cur.at[loc] = (uint16_t)(seen + 1);
        t->silent_n = 0;
    } else {
        t->silent = loc + 1;
        t->silent_n = 1;
    }
}

long mc_syscall(long number, ...)
{
    if (!running || self < 0) return 0;
    void *from = FROM;
    thread *t = &th[self];
    if (number == SYS_membarrier) {
        step(OP_BARRIER, SEQ, true, -1, from);
        fence(self);
        for (int round = 0; round < 2; round++)
            for (int i = 0; i < nthreads; i++) fence(i);
        return 0;
    }
    if (number != SYS_futex) broken("an unknown system call");
    va_list args;
    va_start(args, number);
    uint32_t *word = va_arg(args, uint32_t *);
    int what = va_arg(args, int);
    unsigned value = va_arg(args, unsigned);
    const void *time = what == FUTEX_WAIT_PRIVATE ? va_arg(args, const void *) : NULL;
    va_end(args);
    int loc = location_of((uintptr_t)word, 4);
    location *l = &locs[loc];
    if (what == FUTEX_WAKE_PRIVATE) {
        step(OP_WAKE, SEQ, true, loc, from);
        fence(self);
        if (l->waiters > 0) {
            th[l->waiting[0]].woken = true;
            for (int i = 1; i < l->waiters; i++) l->waiting[i - 1] = l->waiting[i];
            l->waiters--;
        }
        return 0;
    }
    step(OP_WAIT, SEQ, true, loc, from);
    fence(self);
    refresh(l);
    t->cur.at[loc] = (uint16_t)(l->n - 1);      /* the kernel reads it on this core: no older value is read later */
    remember(pool[l->msgs[l->n - 1]].value, l->n - 1, l->n);
    if (pool[l->msgs[l->n - 1]].value != value) return -1;
    if (time) return -1;        /* a wait with a limit may end at once */
    t->woken = false;
    l->waiting[l->waiters++] = self;
    step(OP_WOKEN, SEQ, true, loc, from);
    return 0;
}

void mc_mutex_lock(void *m)
{
    if (!running || self < 0) return;
    int loc = location_of((uintptr_t)m, 0);
    step(OP_LOCK, RLX, true, loc, FROM);
    locs[loc].owner = self + 1;
    if (locs[loc].n) join(&th[self].cur, &pool[locs[loc].msgs[locs[loc].n - 1]].seen);
}

void mc_mutex_unlock(void *m)
{
    if (!running || self < 0) return;
    location *l = &locs[location_of((uintptr_t)m, 0)];
    append(l, 0)->seen = th[self].cur;
    th[self].cur.vc[self]++;
    l->owner = 0;
}

static char event_fd;
int mc_fd_wait(int timeout)
{
    if (!running || self < 0) return 0;
    if (timeout == 0) broken("a poll without waiting");
    step(OP_POLL, SEQ, true, location_of((uintptr_t)&event_fd, 0), FROM);
    return 1;
}

void mc_fd_write(void)
{
    if (!running || self < 0) return;
    int loc = location_of((uintptr_t)&event_fd, 0);
    step(OP_WAKE, SEQ, true, loc, FROM);
    fence(self);
    locs[loc].count++;
}

void mc_fd_read(void)
{
    if (!running || self < 0) return;
    int loc = location_of((uintptr_t)&event_fd, 0);
    step(OP_WAKE, SEQ, true, loc, FROM);
    fence(self);
    locs[loc].count = 0;
}

void mc_wait_until(bool (*ready)(void))
{
    th[self].ready = ready;
    step(OP_UNTIL, RLX, false, -1, FROM);
}

/* -- running ----------------------------------------------------------------------------------------------- */

int mc_thread(void) { return running ? self : -1; }
void mc_quiet(bool on) { quiet = on; }
unsigned long long mc_executions(void) { return executions; }

static unsigned long long outcome[256];
static int outcomes;
void mc_outcome(unsigned long long word)
{
    for (int i = 0; i < outcomes; i++)
        if (outcome[i] == word) return;
    if (outcomes == 256) broken("too many outcomes");
    outcome[outcomes++] = word;
}

int mc_outcomes(unsigned long long *words, int max)
{
    for (int i = 0; i < outcomes && i < max; i++) words[i] = outcome[i];
    return outcomes;
}

void mc_done(void)
{
    th[self].finished = true;
    th[self].next.kind = OP_NONE;
    if (starting) go(-1);
    else reschedule();
    abort();
}

static void fiber_main(void)
{
    model->thread[self]();
    mc_done();
}

static void begin_thread(int i)
{
    thread *t = &th[i];
    char *stack = t->stack;
    memset(t, 0, sizeof *t);
    t->stack = stack;
    t->cur.vc[i] = 1;
    t->last_loc = -1;
    for (int u = 0; u < MC_THREADS; u++) t->order.at[u] = -1;
    t->sp = fiber_begin(stack, 256 << 10, fiber_main);
    go(i);      /* up to its first operation */
}

static void execute(void)
{
    run_no++;
    nlocs = pool_used = depth = 0;
    memset(&sview, 0, sizeof sview);
    track_init(&sc_track);
    track_init(&all_track);
    aborted = false;
    running = false;
    self = -1;
    model->setup();
    running = starting = true;
    for (int i = 0; i < nthreads && !failed; i++) begin_thread(i);
    starting = false;
    if (failed) return;
    int first = pick();
    if (first >= 0) go(first);
    self = -1;
    running = false;
    if (!aborted && model->check) model->check();
}

/* The next execution to try; false: all have been. */
static bool backtrack(void)
{
    for (int i = depth - 1; i >= 0; i--) {
        node *n = &path[i];
        if (n->choice + 1 < n->choices) {
            n->choice++;
            replay = i + 1;
            return true;
        }
        n->done |= (uint8_t)(1u << n->thread);
        for (;;) {
            unsigned can = n->backtrack & n->enabled & ~(unsigned)(n->done | n->sleep);
            if (!can) break;
            int next = __builtin_ctz(can), last = i > 0 ? path[i - 1].thread : 0;
            int preempted = (i > 0 ? path[i - 1].preempted : 0) + (i > 0 && next != last && (n->enabled >> last & 1));
            if (model->preemptions && preempted > model->preemptions) {
                n->done |= (uint8_t)(1u << next);
                continue;
            }
            n->preempted = preempted;
            n->thread = (uint8_t)next;
            n->choice = n->choices = 0;
            replay = i + 1;
            return true;
        }
    }
    return false;
}

int mc_explore(const mc_model *m, unsigned long long limit, bool reduce)
{
    model = m;
    reducing = reduce;
    executions = cut = 0;
    replay = 0;
    outcomes = 0;
    failed = false;
    if (!pool) {
        pool = malloc(sizeof *pool * MAXMSG);
        for (int i = 0; i < MC_THREADS; i++)
            th[i].stack = mmap(NULL, 256 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!pool) abort();
    }
    for (nthreads = 0; nthreads < MC_THREADS && m->thread[nthreads]; nthreads++) { }
    for (;;) {
        execute();
        if (failed) return 1;
        executions++;
        if (!backtrack()) return 0;
        if (limit && executions >= limit) return 2;
    }
}
