/* otp_explore.h: runs a scenario under many schedules.                     SPDX-License-Identifier: MIT

   A scenario is a function that runs as first process. It is run again and again in the deterministic mode, each time
   with another order of who runs when, until one fails: a check, a crash, a deadlock, a leak, a broken invariant. That
   one is told as a schedule that can be read, with as few preemptions as it needs, and can be replayed.

   In ONE .c file of the program, before the include:

       #define OTP_IMPLEMENTATION
       #include "otp_explore.h"
       #include <stdio.h>

       static int balance;                          // set back by the scenario, which runs many times

       static void deposit(void *arg)
       {
           int now = balance;
           otp_explore_point();                     // others may run here
           balance = now + *(const int *)arg;
       }

       static void scenario(void *arg)
       {
           (void)arg;
           static int ten = 10, five = 5;
           balance = 0;
           otp_pid a = otp_spawn(deposit, &ten), b = otp_spawn(deposit, &five);
           if (otp_await_exit(a, OTP_INFINITY, NULL) != 0 || otp_await_exit(b, OTP_INFINITY, NULL) != 0) return;
           otp_explore_check(balance == 15);
       }

       int main(void)
       {
           static otp_explore_result result;
           if (otp_explore(scenario, NULL, &(otp_explore_opts){ .seeds = 100, .quiet = true }, &result) != 1) return 1;
           printf("%s: %s\n", otp_explore_failure_name(result.failure), result.text);
           return 0;
       }

   CONTENTS (search for the marks)
     1 config          >> config
     2 types           >> types
     3 functions       >> exploring, >> inside a scenario
     4 implementation  >> runs, >> choosing, >> what happens, >> shrinking, >> watching

   NEEDS   otp.h beside it; it includes it.
   NOT HERE exhaustive search: schedules are drawn, so that passing is evidence and no proof. Interleavings of plain
           memory accesses: a switch happens where an otp_ function is called, and at otp_explore_point().
   LIMITS  - One exploration at a time, and not while the runtime is up. The runtime is started and stopped by it.
           - otp_trace() belongs to the explorer meanwhile.
           - A scenario must do the same in the same schedule: no clock but otp_now(), no chance but otp_random(),
             no threads; static data is set to its start by the scenario. Real sockets and files repeat as well as
             the system does. result.exact tells when a replay did something else.
   NAMES   otp_explore_ and OTP_EXPLORE_ are public, otp__x_ and OTP__X_ are private. */

#ifndef OTP_EXPLORE_H_INCLUDED
#define OTP_EXPLORE_H_INCLUDED

#include "otp.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- 1 config -------------------------------------------------------------------------------------------
   >> config
   OTP_STEPS                    before the include with OTP_IMPLEMENTATION: schedules may switch before the lock-free
                                steps of otp.h, too; for tests of otp.h itself
   In the environment:
   OTP_EXPLORE_REPLAY           a seed or a schedule, instead of .replay; "name:…" is for the exploration of that .name
   OTP_EXPLORE_SEEDS            how many seeds, instead of .seeds                                                    */

/* -- 2 types -------------------------------------------------------------------------------------------- */

/* >> types   How the next one to run is drawn. Mixed: seeds take turns between the two. */
typedef enum otp_explore_strategy {
    OTP_EXPLORE_MIXED,
    OTP_EXPLORE_UNIFORM,        /* at each point any of those that can run, with equal chances */
    OTP_EXPLORE_PCT             /* random priorities, the highest runs; at depth - 1 random points the running one gets
                                   the lowest: finds what needs `depth` orderings with a known probability */
} otp_explore_strategy;

typedef enum otp_explore_failure {
    OTP_EXPLORE_OK,
    OTP_EXPLORE_CHECK,          /* otp_explore_check, or the first process ended with a reason that is not normal */
    OTP_EXPLORE_CRASH,          /* a process crashed, or ended with badarg, call or system_limit */
    OTP_EXPLORE_DEADLOCK,       /* all wait for ever */
    OTP_EXPLORE_LEAK,           /* a process outlives the first one, or a block is not given back */
    OTP_EXPLORE_INVARIANT,
    OTP_EXPLORE_ENDLESS,        /* more than .max_steps */
    OTP_EXPLORE_STUCK           /* a process computes without a call */
} otp_explore_failure;

/* What goes wrong from outside, once in each run. */
typedef enum otp_explore_fault {
    OTP_EXPLORE_NO_FAULT,
    OTP_EXPLORE_FAIL_ALLOC,     /* the n-th allocation of a process: otp_alloc, a message, a spawn, otp_explore_malloc … */
    OTP_EXPLORE_KILL,           /* the process that runs at the n-th point is killed; never the first one */
    OTP_EXPLORE_IO_RESET,       /* the n-th call of otp_read, otp_write … returns OTP_ECLOSED; the fd is shut down */
    OTP_EXPLORE_IO_DELAY,       /* the n-th call of these waits for .fault_ms first */
    OTP_EXPLORE_LATE            /* at the n-th point time goes on to the next timer, though somebody could run */
} otp_explore_fault;

typedef struct otp_explore_opts {
    const char *name;           /* for reports and OTP_EXPLORE_REPLAY; NULL: the name of the scenario's function */
    uint64_t seeds;             /* how many schedules are tried; 0: 1,000 */
    uint64_t first_seed;        /* 0: 1 */
    otp_explore_strategy strategy;
    int depth;                  /* of PCT; 0: 3 */
    const char *replay;         /* a seed ("17") or a schedule (result.replay) to run instead; shrunk as well */
    const char *(*invariant)(void *arg);    /* at every point, from the scenario's first call on: NULL, or what is broken;
                                               calls no otp_ function */
    bool (*expected)(otp_pid pid, const otp_reason *why, void *arg);    /* whether this end of a process is no failure */
    const char *(*tag_name)(int tag);       /* for the schedule; may return NULL */
    otp_explore_fault fault;
    uint64_t fault_at;          /* the n; 0: seed by seed the next one, so that as many seeds as sites meet them all */
    int64_t fault_ms;           /* of a delay; 0: 1,000 */
    bool allow_leaks;           /* processes may outlive the first one; they are killed */
    int64_t grace;              /* virtual ms that they have to end by themselves; 0: 1,000 */
    uint64_t max_steps;         /* points in a run; 0: 20,000 */
    int64_t watchdog;           /* ms of processor time without a call after which a process is stuck; 0: 5,000 */
    uint64_t shrink_runs;       /* at most; 0: 2,000 */
    bool no_shrink;
    bool quiet;                 /* a failure is not printed to stderr */
    const otp_opts *runtime;    /* stack_size, max_processes, force_isolation …; NULL: the defaults */
} otp_explore_opts;

typedef struct otp_explore_result {
    uint64_t runs;              /* of the search: shrinking not counted */
    uint64_t distinct;          /* different schedules among them */
    uint64_t steps;             /* points in the plain run, which is the first: nobody is preempted */
    uint64_t fault_sites;       /* how many n there are for the fault, in that run */
    uint64_t shrink_runs;
    otp_explore_failure failure;
    uint64_t seed;              /* that failed; 0: the plain run, or a schedule that was given */
    bool exact;                 /* replays did what the run had done */
    uint64_t preemptions_found; /* in the failing run, as it was found */
    uint64_t preemptions;       /* after shrinking */
    char text[1024];            /* what failed */
    char replay[4096];          /* for .replay or OTP_EXPLORE_REPLAY */
    char schedule[16384];       /* what ran when: a line for each event */
} otp_explore_result;

/* -- 3 functions ---------------------------------------------------------------------------------------- */

/* >> exploring */

/* Runs scenario(arg) under the schedules that opts (may be NULL) describe, until one fails. Starts and stops the
   runtime. *result may be NULL.
   returns: 0 when all passed; 1 when one failed; OTP_EBADARG, OTP_EEXIST (the runtime, or an exploration, is running),
            OTP_ENOMEM, OTP_ESYSLIMIT
   caller: before start, any thread */
#define otp_explore(scenario, ...) otp_explore_at((scenario), OTP_HERE(#scenario), __VA_ARGS__) /* ... is arg, opts, result */
int otp_explore_at(otp_fn *scenario, const char *place, void *arg, const otp_explore_opts *opts,
                   otp_explore_result *result);

/* Prints a failure: what, the schedule, and how to replay it.
   returns: nothing
   caller: any thread */
void otp_explore_report(const otp_explore_result *result, int fd);

/* The name of a failure: "deadlock".
   returns: a constant string
   caller: any thread */
const char *otp_explore_failure_name(otp_explore_failure failure);

/* >> inside a scenario */

/* When cond is false, this schedule has failed, and the run ends. Outside of an exploration: the program ends.
   returns: nothing; does not return in a process when cond is false
   caller: any process of a scenario, its invariant */
#define otp_explore_check(cond) otp_explore_check_at((cond), #cond, __FILE__, __LINE__)
void otp_explore_check_at(bool cond, const char *text, const char *file, int line);

/* A point where others may run; outside of an exploration nothing. For steps of the program's own that others see: the
   two halves of a change to shared memory.
   returns: nothing
   caller: any process; others may run */
void otp_explore_point(void);

/* A line in the schedule of a failing run, in the words of printf.
   returns: nothing
   caller: any process of a scenario */
void otp_explore_note(const char *format, ...) OTP_PRINTF(1, 2);

/* malloc and free for a scenario: what is left at the end of a run is a leak, and OTP_EXPLORE_FAIL_ALLOC fails them.
   Outside of an exploration: malloc and free.
   owns: the caller, until otp_explore_free
   returns: the block, 16-aligned; NULL when memory is out, or by a fault
   caller: any process of a scenario */
#define otp_explore_malloc(size) otp_explore_malloc_at((size), OTP_HERE("malloc"))
void *otp_explore_malloc_at(size_t size, const char *place);

/* Frees a block of otp_explore_malloc; NULL is fine.
   returns: nothing
   caller: any process of a scenario */
void otp_explore_free(void *block);

#ifdef __cplusplus
}
#endif

#endif /* OTP_EXPLORE_H_INCLUDED */

/* ======================================================================================================
   4 implementation: defined where OTP_IMPLEMENTATION is.

   All runs of an exploration happen in one runtime, inside the idle callback of an otp_director (otp.h, module
   authors): when nobody is alive it looks at the run that has ended and begins the next one. The thread that called
   otp_explore waits meanwhile. A schedule is kept as what it does otherwise than the plain one, in which the
   running process goes on as long as it can, and then the one that became ready first. Such a deviation has a
   number: the point at which it happens. Shrinking takes deviations away.
   ====================================================================================================== */
#if defined(OTP_IMPLEMENTATION) && !defined(OTP_EXPLORE_IMPLEMENTATION_DONE)
#define OTP_EXPLORE_IMPLEMENTATION_DONE

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A deviation: '>' at point `at` process number n goes on; 't' time goes on there; 'k' at the at-th point where one
   can be killed it is; 'f' the at-th allocation fails; 'r', 'd' the at-th fd call is reset, is delayed by n ms. */
typedef struct otp__x_dev { uint64_t at, n; char kind; } otp__x_dev;
typedef struct otp__x_list { otp__x_dev *d; size_t n, cap; } otp__x_list;

typedef struct otp__x_proc {
    uint64_t pid, prio;
    char label[80], place[64];
    const char *waits;          /* NULL: it does not */
    uint64_t calls;
    int queued;
    bool alive;
} otp__x_proc;

typedef struct otp__x_block { struct otp__x_block *next, *prev; const char *place; size_t size; } otp__x_block;

enum { OTP__X_PLAIN, OTP__X_SEEDS, OTP__X_GIVEN, OTP__X_VERIFY, OTP__X_SHRINK, OTP__X_FINAL, OTP__X_OVER };

#define OTP__X_STREAK 500       /* points in a row after which the running one has yielded: it may wait by asking */
#define OTP__X_LOG ((size_t)1 << 20)
#define OTP__X_CHANGES 64
#define OTP__X_FEW 500          /* schedules with one preemption less that are drawn */
#define OTP__X_PAIRS 24         /* deviations among which two are tried at a time */

static struct otp__x {
    atomic_bool busy;
    otp_explore_opts o;
    otp_explore_result *result;
    otp_fn *scenario;
    void *arg;
    const char *place;
    char name[64];
    otp_director director;
    otp_trace_hooks hooks;
    /* the search */
    int phase;
    uint64_t seed, last_seed;
    bool ignore_plain;
    uint64_t open_plain;
    otp__x_list given, cur, trial;
    size_t chunk, pos, second;
    uint64_t cur_preemptions, cur_open;
    int few_left;
    bool few;                   /* this trial is drawn, with one preemption less */
    bool removed;
    otp_explore_failure want;
    char want_text[1024];
    uint64_t want_hash;
    uint64_t *seen;             /* hashes of schedules; 0: free */
    size_t seen_cap, seen_n;
    /* the run */
    atomic_bool in_run, awake;
    bool end_sent, ended, drawn, pct, log_on, in_hook;
    int end_again, nobody;
    uint64_t rng, otp_seed;
    uint64_t steps, open, kills, allocs, ios, preemptions, hash, streak, low, fault_n;
    uint64_t change[OTP__X_CHANGES];
    int changes;
    int64_t ended_at, nobody_at;
    uint64_t first, prev;       /* pids */
    otp__x_list rec;
    size_t next_dev;
    const otp__x_list *list;    /* to be followed; NULL: draw, or plain */
    size_t blocks;
    otp__x_block *mine;
    otp__x_proc *procs;
    size_t procs_n, procs_cap;
    otp_explore_failure failure;
    char text[1024];
    bool no_memory;
    /* the log of the last run */
    char *log;
    size_t log_used;
    int64_t log_time;
    /* the watchdog, and the thread that waits */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done, quit;
    pthread_t thread;
    atomic_uint progress;
    atomic_int current;         /* number of the process that runs; -1: none */
} otp__x = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static void otp__x_add(otp__x_list *l, char kind, uint64_t at, uint64_t n)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        otp__x_dev *d = realloc(l->d, cap * sizeof *d);
        if (!d) {
            otp__x.no_memory = true;
            return;
        }
        l->d = d;
        l->cap = cap;
    }
    l->d[l->n++] = (otp__x_dev){ at, n, kind };
}

static void otp__x_copy(otp__x_list *to, const otp__x_list *from)
{
    to->n = 0;
    for (size_t i = 0; i < from->n; i++) otp__x_add(to, from->d[i].kind, from->d[i].at, from->d[i].n);
}

static uint64_t otp__x_random(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);   /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const char *otp__x_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* -- processes, by number: in the order in which they were first seen */

static otp__x_proc *otp__x_find(uint64_t pid)
{
    for (size_t i = otp__x.procs_n; i-- > 0;)       /* few, and mostly the newest */
        if (otp__x.procs[i].pid == pid) return &otp__x.procs[i];
    return NULL;
}

static otp__x_proc *otp__x_proc_of(uint64_t pid)
{
    struct otp__x *x = &otp__x;
    otp__x_proc *p = otp__x_find(pid);
    if (p) return p;
    if (x->procs_n == x->procs_cap) {
        size_t cap = x->procs_cap ? x->procs_cap * 2 : 32;
        p = realloc(x->procs, cap * sizeof *p);
        if (!p) {
            x->no_memory = true;
            return x->procs;
        }
        x->procs = p;
        x->procs_cap = cap;
    }
    p = &x->procs[x->procs_n++];
    memset(p, 0, sizeof *p);
    p->pid = pid;
    p->alive = true;
    if (x->pct) p->prio = otp__x_random(&x->rng) | (uint64_t)1 << 63;
    return p;
}

static size_t otp__x_number(uint64_t pid) { return (size_t)(otp__x_proc_of(pid) - otp__x.procs); }

/* "clerk at /somewhere/shop.c:31": the label, and shop.c:31; the second clerk is clerk#2. */
static void otp__x_label(otp__x_proc *p, const char *place)
{
    const char *at = place ? strstr(place, " at ") : NULL;
    int len = at ? (int)(at - place) : place ? (int)strlen(place) : 0;
    (void)snprintf(p->place, sizeof p->place, "%s", at ? otp__x_base(at + 4) : "");
    if (p->label[0]) return;        /* it has a name */
    char base[48];
    (void)snprintf(base, sizeof base, "%.*s", len > 40 ? 40 : len, place ? place : "");
    size_t same = 1, n = strlen(base);
    for (otp__x_proc *q = otp__x.procs; q < p; q++)
        same += strncmp(q->label, base, n) == 0 && (q->label[n] == 0 || q->label[n] == '#');
    if (same > 1) (void)snprintf(p->label, sizeof p->label, "%s#%zu", base, same);
    else (void)snprintf(p->label, sizeof p->label, "%s", base);
}

static const char *otp__x_who(uint64_t pid)
{
    otp__x_proc *p = pid ? otp__x_find(pid) : NULL;
    return p ? p->label : pid ? "a dead process" : "the runtime";
}

/* -- what goes wrong */

OTP_PRINTF(2, 3)
static void otp__x_fail(otp_explore_failure what, const char *format, ...)
{
    struct otp__x *x = &otp__x;
    if (x->failure != OTP_EXPLORE_OK || x->end_sent) return;
    x->failure = what;
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(x->text, sizeof x->text, format, ap);
    va_end(ap);
}

/* -- the log of the last run: what happened, by whom */

OTP_PRINTF(2, 3)
static void otp__x_say(uint64_t pid, const char *format, ...)
{
    struct otp__x *x = &otp__x;
    if (!x->log_on || x->end_sent || x->log_used + 600 > OTP__X_LOG) return;
    int64_t now = otp_now_ns();
    if (now != x->log_time && x->log_time != 0) {
        int n = snprintf(x->log + x->log_used, 100, "  -- %lld ms later\n", (long long)((now - x->log_time) / 1000000));
        if (n > 0) x->log_used += (size_t)n;
    }
    x->log_time = now;
    char what[400];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    int n = snprintf(x->log + x->log_used, 512, "  %-14s %s\n", pid ? otp__x_who(pid) : "", what);
    if (n > 0) x->log_used += (size_t)n < 512 ? (size_t)n : 511;
}

static const char *otp__x_tag(int tag, char *out, size_t size)
{
    static const struct { int tag; const char *name; } ours[] = {
        { OTP_AFTER, "the end of its time" }, { OTP_EXIT, "EXIT" }, { OTP_DOWN, "DOWN" }, { OTP_REPLY_TAG, "a reply" },
        { OTP_TIMEOUT_TAG, "a timeout" }, { OTP_CONTINUE, "continue" }, { OTP_IDLE, "idle" },
    };
    const char *given = otp__x.o.tag_name ? otp__x.o.tag_name(tag) : NULL;
    if (given) return given;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (ours[i].tag == tag) return ours[i].name;
    (void)snprintf(out, size, "message %d", tag);
    return out;
}

/* >> what happens   The hooks. They only look. */

static void otp__x_on_spawn(otp_pid parent, otp_pid child, const char *place, void *arg)
{
    (void)arg;
    if (!otp__x.in_run) return;
    otp__x_proc *p = otp__x_proc_of(child.id);
    otp__x_label(p, place);
    if (otp__x.first == 0) otp__x.first = child.id;
    else otp__x_say(parent.id, "starts %s (%s)", p->label, p->place);
}

static void otp__x_on_exit(otp_pid pid, const otp_reason *why, void *arg)
{
    (void)arg;
    struct otp__x *x = &otp__x;
    if (!x->in_run) return;
    char reason[256];
    (void)otp_format_reason(why, reason, sizeof reason);
    otp__x_say(pid.id, "ends: %s", reason);
    otp__x_proc *p = otp__x_proc_of(pid.id);
    p->alive = false;
    if (x->prev == pid.id) x->prev = 0;
    if (pid.id == x->first) {
        x->ended = true;
        x->ended_at = otp_now_ns();
    }
    if (x->end_sent || why->kind == OTP_REASON_NORMAL || why->kind == OTP_REASON_SHUTDOWN) return;
    if (x->o.expected && x->o.expected(pid, why, x->arg)) return;
    switch (why->kind) {
    case OTP_REASON_CRASH:
    case OTP_REASON_STACK_OVERFLOW:
    case OTP_REASON_BADARG:
    case OTP_REASON_CALL:
    case OTP_REASON_SYSTEM_LIMIT: otp__x_fail(OTP_EXPLORE_CRASH, "%s ended: %s", p->label, reason); break;
    default:
        if (pid.id == x->first) otp__x_fail(OTP_EXPLORE_CHECK, "%s, the first process, ended: %s", p->label, reason);
    }
}

static void otp__x_on_send(otp_pid from, otp_pid to, int tag, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    char text[32];
    otp__x_proc *p = otp__x.log_on ? otp__x_find(to.id) : NULL;
    otp__x_say(from.id, "sends %s to %s%s", otp__x_tag(tag, text, sizeof text), otp__x_who(to.id),
               p && !p->alive ? ", which is dead" : "");
}

static void otp__x_on_receive(otp_pid pid, otp_pid from, int tag, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    char text[32];
    otp__x_say(pid.id, "receives %s from %s", otp__x_tag(tag, text, sizeof text), otp__x_who(from.id));
}

static void otp__x_on_event(enum otp_event what, otp_pid who, otp_pid other, int n, const char *text, void *arg)
{
    (void)arg;
    struct otp__x *x = &otp__x;
    if (!x->in_run) return;
    otp__x_proc *p;
    char tag[32];
    switch (what) {
    case OTP_EVENT_SIGNAL: otp__x_say(who.id, "sends the signal %s to %s", text, otp__x_who(other.id)); break;
    case OTP_EVENT_TIMER:
        p = who.id ? otp__x_find(who.id) : NULL;
        otp__x_say(0, "(a timer of %s: %s)", p ? p->label : "a name", otp__x_tag(n, tag, sizeof tag));
        break;
    case OTP_EVENT_WAIT:
        p = otp__x_proc_of(who.id);
        p->waits = text;
        p->calls = other.id;
        p->queued = n;
        if (x->prev == who.id) x->prev = 0;
        if (other.id) otp__x_say(who.id, "waits for %s to %s", text, otp__x_who(other.id));
        else otp__x_say(who.id, "waits for %s", text);
        break;
    case OTP_EVENT_LOOKUP:
        otp__x_say(who.id, "looks up %s: %s", text, other.id ? otp__x_who(other.id) : "nobody");
        break;
    default:
        p = otp__x_proc_of(who.id);
        if (!p->label[0]) (void)snprintf(p->label, sizeof p->label, "%s", text);    /* not born yet: this is its name */
        else otp__x_say(who.id, "is registered as %s", text);
    }
}

static void otp__x_no_log(otp_level level, const char *text, void *arg)
{
    (void)arg;
    const otp_opts *r = otp__x.o.runtime;
    if (otp__x.log_on && r && r->log) r->log(level, text, r->log_arg);
}

/* Whether a counted fault happens now. */
static bool otp__x_fault(otp_explore_fault fault, char kind, uint64_t at, uint64_t *ms)
{
    struct otp__x *x = &otp__x;
    bool yes = false;
    uint64_t n = (uint64_t)x->o.fault_ms;
    const otp__x_list *l = x->few ? &x->cur : x->list;
    if (l) {
        for (size_t i = 0; i < l->n && !yes; i++) {
            yes = l->d[i].kind == kind && l->d[i].at == at;
            n = l->d[i].n;
        }
    } else {
        yes = x->drawn && x->o.fault == fault && at == x->fault_n;
    }
    if (!yes) return false;
    if (ms) *ms = n;
    otp__x_add(&x->rec, kind, at, kind == 'd' ? n : 0);
    x->hash = (x->hash ^ (at << 8 | (unsigned char)kind)) * 0x100000001b3u;
    return true;
}

static bool otp__x_refuse(otp_pid pid, const char *what, void *arg)
{
    (void)arg;
    struct otp__x *x = &otp__x;
    if (!x->in_run || x->end_sent) return false;
    x->allocs++;
    if (!otp__x_fault(OTP_EXPLORE_FAIL_ALLOC, 'f', x->allocs, NULL)) return false;
    otp__x_say(pid.id, "gets no memory for a %s", what);
    return true;
}

static int64_t otp__x_io(otp_pid pid, int fd, const char *what, void *arg)
{
    (void)arg;
    (void)fd;
    struct otp__x *x = &otp__x;
    uint64_t ms = 0;
    if (!x->in_run || x->end_sent) return 0;
    x->ios++;
    if (otp__x_fault(OTP_EXPLORE_IO_RESET, 'r', x->ios, NULL)) {
        otp__x_say(pid.id, "is about to %s, and finds the connection reset", what);
        return OTP_ECLOSED;
    }
    if (otp__x_fault(OTP_EXPLORE_IO_DELAY, 'd', x->ios, &ms)) {
        otp__x_say(pid.id, "is about to %s, and is held up for %llu ms", what, (unsigned long long)ms);
        return (int64_t)ms;
    }
    return 0;
}

/* >> choosing */

static int otp__x_draw_pct(const otp_pid *who, int n, int cur, bool yield)
{
    struct otp__x *x = &otp__x;
    for (int i = 0; i < n; i++) (void)otp__x_proc_of(who[i].id);
    if (cur >= 0 && n > 1) {
        bool change = yield;
        for (int i = 0; i < x->changes; i++) change |= x->change[i] == x->open;
        if (change) otp__x_proc_of(who[cur].id)->prio = --x->low;
    }
    int best = 0;
    for (int i = 1; i < n; i++)
        if (otp__x_find(who[i].id)->prio > otp__x_find(who[best].id)->prio) best = i;
    return best;
}

/* What this run does at this point, where the plain run would do `plain`. */
static int otp__x_pick(const otp_pid *who, int n, int cur, int plain, bool yield)
{
    struct otp__x *x = &otp__x;
    if (x->list) {
        const otp__x_list *l = x->list;
        while (x->next_dev < l->n && (l->d[x->next_dev].kind != '>' || l->d[x->next_dev].at < x->steps)) x->next_dev++;
        if (x->next_dev < l->n && l->d[x->next_dev].at == x->steps)
            for (int i = 0; i < n; i++)
                if (otp__x_number(who[i].id) == l->d[x->next_dev].n) return i;
        return plain;
    }
    if (!x->drawn || n < 2) return plain;
    if (x->few && cur >= 0 && !yield) {
        bool change = false;
        for (int i = 0; i < x->changes; i++) change |= x->change[i] == x->open;
        if (!change) return plain;
    }
    if (x->pct) return otp__x_draw_pct(who, n, cur, yield);
    if (!yield) return (int)(otp__x_random(&x->rng) % (uint64_t)n);
    int k = (int)(otp__x_random(&x->rng) % (uint64_t)(n - 1));
    return k + (k >= cur);
}

static int otp__x_choose(const otp_pid *who, int n, enum otp_point point, void *arg)
{
    (void)arg;
    struct otp__x *x = &otp__x;
    atomic_store_explicit(&x->progress, atomic_load_explicit(&x->progress, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (!x->in_run || x->end_sent) return 0;
    bool runs = point != OTP_POINT_NONE;
    x->steps++;
    if (x->o.invariant && x->failure == OTP_EXPLORE_OK && x->steps > 1) {   /* at the first one nothing has run */
        x->in_hook = true;
        const char *broken = x->o.invariant(x->arg);
        x->in_hook = false;
        if (broken) otp__x_fail(OTP_EXPLORE_INVARIANT, "%s", broken);
    }
    if (x->steps > x->o.max_steps) otp__x_fail(OTP_EXPLORE_ENDLESS, "more than %llu points", (unsigned long long)x->o.max_steps);
    if (n == 0) {       /* all wait, for timers or fds */
        int64_t now = otp_now_ns();
        x->nobody = now == x->nobody_at ? x->nobody + 1 : 0;
        x->nobody_at = now;
        if (x->nobody > x->o.watchdog) otp__x_fail(OTP_EXPLORE_DEADLOCK, "all wait, and the fd that somebody waits for is never ready");
    }
    if (x->ended && x->failure == OTP_EXPLORE_OK && otp_now_ns() - x->ended_at > x->o.grace * 1000000) {
        if (x->o.allow_leaks) {
            x->end_sent = true;
            return OTP_DIRECT_END;
        }
        for (size_t i = 0; i < x->procs_n; i++)
            if (x->procs[i].alive) {
                otp__x_fail(OTP_EXPLORE_LEAK, "%s (%s) still runs %lld ms after the end of the first process",
                            x->procs[i].label, x->procs[i].place, (long long)x->o.grace);
                break;
            }
    }
    if (x->failure != OTP_EXPLORE_OK || x->no_memory) {
        x->end_sent = true;
        return OTP_DIRECT_END;
    }
    if (n == 0) return 0;
    int cur = runs ? 0 : -1;
    for (int i = 0; cur < 0 && x->prev && i < n; i++)
        if (who[i].id == x->prev) cur = i;      /* left between two messages: it could go on */
    if (x->streak >= OTP__X_STREAK) point = OTP_POINT_YIELD;
    bool yield = point == OTP_POINT_YIELD && cur >= 0 && n > 1;
    int plain = yield ? cur == 0 : cur >= 0 ? cur : 0;
    x->open += n > 1;
    if (otp__x_fault(OTP_EXPLORE_LATE, 't', x->steps, NULL)) {
        otp__x_say(0, "(time goes on, though %s could run)", otp__x_who(who[0].id));
        return OTP_DIRECT_TIME;
    }
    if (runs && who[0].id != x->first && point != OTP_POINT_STEP) {
        x->kills++;
        if (otp__x_fault(OTP_EXPLORE_KILL, 'k', x->kills, NULL)) {
            otp__x_say(who[0].id, "is killed here");
            return OTP_DIRECT_KILL;
        }
    }
    int k = otp__x_pick(who, n, cur, plain, yield);
    size_t number = otp__x_number(who[k].id);
    if (k != plain) otp__x_add(&x->rec, '>', x->steps, number);
    if (cur >= 0 && k != cur && !yield) {
        x->preemptions++;
        otp__x_say(who[cur].id, "-- is preempted here");
    }
    if (n > 1) x->hash = (x->hash ^ (x->steps << 20 | number)) * 0x100000001b3u;
    x->streak = who[k].id == x->prev && n > 1 && !yield ? x->streak + 1 : 0;
    x->prev = who[k].id;
    x->procs[number].waits = NULL;
    atomic_store_explicit(&x->current, (int)number, memory_order_relaxed);
    return k;
}

/* >> runs   One after the other. */

static void otp__x_name_seen(struct otp__x *x)
{
    uint64_t h = x->hash | 1;
    if (x->seen_n * 2 >= x->seen_cap) {
        size_t cap = x->seen_cap ? x->seen_cap * 2 : 4096;
        uint64_t *table = calloc(cap, sizeof *table);
        if (!table) {
            x->no_memory = true;
            return;
        }
        for (size_t i = 0; i < x->seen_cap; i++)
            if (x->seen[i]) {
                size_t at = (size_t)(x->seen[i] >> 8) & (cap - 1);
                while (table[at]) at = (at + 1) & (cap - 1);
                table[at] = x->seen[i];
            }
        free(x->seen);
        x->seen = table;
        x->seen_cap = cap;
    }
    size_t at = (size_t)(h >> 8) & (x->seen_cap - 1);
    while (x->seen[at] && x->seen[at] != h) at = (at + 1) & (x->seen_cap - 1);
    if (x->seen[at]) return;
    x->seen[at] = h;
    x->seen_n++;
    x->result->distinct++;
}

static size_t otp__x_write(const otp__x_list *l, char *out, size_t size)
{
    size_t at = 0;
    int n = l->n ? 0 : snprintf(out, size, "-");
    for (size_t i = 0; i < l->n && at < size; i++) {
        const otp__x_dev *d = &l->d[i];
        n = d->kind == '>' || d->kind == 'd'
                ? snprintf(out + at, size - at, "%s%llu%c%llu", i ? " " : "", (unsigned long long)d->at, d->kind,
                           (unsigned long long)d->n)
                : snprintf(out + at, size - at, "%s%llu%c", i ? " " : "", (unsigned long long)d->at, d->kind);
        if (n > 0) at += (size_t)n;
    }
    return at;
}

/* A schedule as text: false when it is none. */
static bool otp__x_read(otp__x_list *l, const char *text)
{
    l->n = 0;
    if (strcmp(text, "-") == 0) return true;
    while (*text) {
        char *end;
        unsigned long long at = strtoull(text, &end, 10), n = 0;
        char kind = *end;
        if (end == text || kind == 0 || !strchr(">tkfrd", kind)) return false;
        text = end + 1;
        if (kind == '>' || kind == 'd') {
            n = strtoull(text, &end, 10);
            if (end == text) return false;
            text = end;
        }
        otp__x_add(l, kind, at, n);
        while (*text == ' ') text++;
    }
    return l->n > 0;
}

/* >> shrinking   The next trial: what is left without `chunk` deviations from `pos` on; then without any two, since a
   deviation can be there only to undo what another one did. In the end schedules are drawn that have one preemption
   less: where taking one away moves all that follows, nothing else helps. False when there is none left to try. */
static bool otp__x_next_few(struct otp__x *x)
{
    x->few = x->cur_preemptions > 0 && x->cur_preemptions <= OTP__X_CHANGES && x->few_left > 0;
    x->few_left -= x->few;
    return x->few;
}

static bool otp__x_next_trial(struct otp__x *x)
{
    x->few = false;
    if (x->result->shrink_runs >= x->o.shrink_runs || x->cur.n == 0) return false;
    while (x->second == 0 && x->pos >= x->cur.n) {
        if (x->chunk == 1 && !x->removed) {
            if (x->cur.n > OTP__X_PAIRS) return otp__x_next_few(x);
            x->second = 1;
        } else if (x->chunk > 1) {
            x->chunk /= 2;
        }
        x->pos = 0;
        x->removed = false;
    }
    if (x->second > 0 && x->second >= x->cur.n) x->second = ++x->pos + 1;
    if (x->second > 0 && x->second >= x->cur.n) return otp__x_next_few(x);
    x->trial.n = 0;
    for (size_t i = 0; i < x->cur.n; i++)
        if ((i < x->pos || i >= x->pos + x->chunk) && (x->second == 0 || i != x->second))
            otp__x_add(&x->trial, x->cur.d[i].kind, x->cur.d[i].at, x->cur.d[i].n);
    return true;
}

static bool otp__x_same_failure(const struct otp__x *x)
{
    if (x->failure != x->want) return false;
    return (x->want != OTP_EXPLORE_CHECK && x->want != OTP_EXPLORE_INVARIANT) || strcmp(x->text, x->want_text) == 0;
}

static void otp__x_trial_over(struct otp__x *x)
{
    x->result->shrink_runs++;
    if (x->few) {
        if (!otp__x_same_failure(x) || x->preemptions >= x->cur_preemptions) return;
        otp__x_copy(&x->cur, &x->rec);
        x->cur_preemptions = x->preemptions;
        x->cur_open = x->open;
        x->few_left = OTP__X_FEW;
        x->chunk = x->cur.n > 1 ? x->cur.n / 2 : 1;
        x->pos = x->second = 0;
        return;
    }
    if (!otp__x_same_failure(x)) {
        if (x->second > 0) x->second++;
        else x->pos += x->chunk;
        return;
    }
    /* what it really did is the same or less: a deviation that had become impossible is gone */
    otp__x_copy(&x->cur, x->rec.n <= x->trial.n ? &x->rec : &x->trial);
    x->removed = true;
    x->cur_preemptions = x->preemptions;
    x->cur_open = x->open;
    if (x->second > 0) x->second = x->pos = 0;
    if (x->chunk > x->cur.n && x->cur.n > 0) x->chunk = x->cur.n;
}

static void otp__x_found(struct otp__x *x, uint64_t seed)
{
    x->result->seed = seed;
    x->result->preemptions_found = x->preemptions;
    x->result->exact = true;
    x->want = x->failure;
    x->want_hash = x->hash;
    (void)snprintf(x->want_text, sizeof x->want_text, "%s", x->text);
    otp__x_copy(&x->cur, &x->rec);
    x->phase = x->o.no_shrink || x->want == OTP_EXPLORE_STUCK ? OTP__X_FINAL : OTP__X_VERIFY;
}

/* The last run: its log becomes the schedule; the middle of a long one is left out. */
static void otp__x_final(struct otp__x *x)
{
    otp_explore_result *r = x->result;
    r->failure = x->want;
    if (x->failure != x->want || (r->shrink_runs == 0 && x->hash != x->want_hash)) r->exact = false;
    (void)snprintf(r->text, sizeof r->text, "%s", x->failure == x->want ? x->text : x->want_text);
    r->preemptions = x->preemptions;
    if (otp__x_write(&x->cur, r->replay, sizeof r->replay) >= sizeof r->replay)
        (void)snprintf(r->replay, sizeof r->replay, "%llu", (unsigned long long)r->seed);
    size_t room = sizeof r->schedule - 1;
    x->log[x->log_used] = 0;
    if (x->log_used <= room) {
        memcpy(r->schedule, x->log, x->log_used + 1);
        return;
    }
    size_t head = room / 4;
    while (head > 0 && x->log[head - 1] != '\n') head--;
    const char *tail = x->log + x->log_used - (room / 2);
    while (*tail && tail[-1] != '\n') tail++;
    memcpy(r->schedule, x->log, head);
    (void)snprintf(r->schedule + head, sizeof r->schedule - head, "  …\n%s", tail);
}

/* A run is over; what comes next? */
static void otp__x_run_over(struct otp__x *x)
{
    otp_explore_result *r = x->result;
    bool failed = x->failure != OTP_EXPLORE_OK;
    if (x->phase <= OTP__X_GIVEN) {
        r->runs++;
        otp__x_name_seen(x);
    }
    switch (x->phase) {
    case OTP__X_PLAIN:
        r->steps = x->steps;
        x->open_plain = x->open;
        r->fault_sites = x->o.fault == OTP_EXPLORE_FAIL_ALLOC ? x->allocs
                         : x->o.fault == OTP_EXPLORE_KILL     ? x->kills
                         : x->o.fault == OTP_EXPLORE_LATE     ? x->steps
                         : x->o.fault != OTP_EXPLORE_NO_FAULT ? x->ios
                                                              : 0;
        if (failed && !x->ignore_plain) otp__x_found(x, 0);
        else x->phase = x->seed <= x->last_seed ? OTP__X_SEEDS : OTP__X_OVER;
        break;
    case OTP__X_SEEDS:
        if (failed) otp__x_found(x, x->seed);
        else if (x->seed++ >= x->last_seed) x->phase = OTP__X_OVER;
        break;
    case OTP__X_GIVEN:
        if (failed) otp__x_found(x, 0);
        else x->phase = OTP__X_OVER;
        break;
    case OTP__X_VERIFY:
        if (!otp__x_same_failure(x) || x->hash != x->want_hash) r->exact = false;
        x->phase = OTP__X_FINAL;
        if (otp__x_same_failure(x) && x->cur.n > 0) {
            x->chunk = x->cur.n > 1 ? x->cur.n / 2 : 1;
            x->pos = x->second = 0;
            x->removed = false;
            x->few_left = OTP__X_FEW;
            x->cur_preemptions = x->preemptions;
            x->cur_open = x->open;
            x->phase = OTP__X_SHRINK;
        }
        break;
    case OTP__X_SHRINK: otp__x_trial_over(x); break;
    default: otp__x_final(x); x->phase = OTP__X_OVER;
    }
    if (x->phase == OTP__X_SHRINK && !otp__x_next_trial(x)) x->phase = OTP__X_FINAL;
    if (x->phase != OTP__X_SHRINK) x->few = false;
    if (x->no_memory) x->phase = OTP__X_OVER;
}

static void otp__x_run_begin(struct otp__x *x)
{
    x->end_sent = x->ended = x->drawn = x->pct = false;
    x->end_again = x->nobody = 0;
    x->steps = x->open = x->kills = x->allocs = x->ios = x->preemptions = x->streak = x->hash = 0;
    x->ended_at = x->nobody_at = 0;
    x->first = x->prev = 0;
    x->rec.n = x->procs_n = x->next_dev = 0;
    x->failure = OTP_EXPLORE_OK;
    x->text[0] = 0;
    x->changes = 0;
    x->fault_n = 0;
    x->list = x->phase == OTP__X_GIVEN ? &x->given : x->phase == OTP__X_SHRINK ? &x->trial : &x->cur;
    if (x->phase <= OTP__X_SEEDS) x->list = NULL;
    x->log_on = x->phase == OTP__X_FINAL;
    x->log_used = 0;
    x->log_time = 0;
    atomic_store(&x->current, -1);
    if (x->phase == OTP__X_SEEDS) {
        x->drawn = true;
        x->rng = x->seed * 0x2545f4914f6cdd1du;
        x->pct = x->o.strategy == OTP_EXPLORE_PCT || (x->o.strategy == OTP_EXPLORE_MIXED && x->seed % 2 == 0);
        int depth = x->o.strategy == OTP_EXPLORE_PCT ? x->o.depth : 1 + (int)(x->seed / 2 % (uint64_t)x->o.depth);
        x->low = (uint64_t)1 << 32;     /* below every first priority, and sinking */
        for (; x->pct && x->changes < depth - 1 && x->changes < OTP__X_CHANGES; x->changes++)
            x->change[x->changes] = 1 + otp__x_random(&x->rng) % (x->open_plain + 1);
        if (x->o.fault != OTP_EXPLORE_NO_FAULT) {
            uint64_t sites = x->result->fault_sites;
            x->fault_n = x->o.fault_at ? x->o.fault_at : sites ? 1 + (x->seed - 1) % sites : 0;
        }
    }
    if (x->few) {
        x->list = NULL;
        x->drawn = true;
        x->rng = x->result->shrink_runs;
        for (; x->changes < (int)x->cur_preemptions - 1; x->changes++)
            x->change[x->changes] = 1 + otp__x_random(&x->rng) % (x->cur_open + 1);
    }
    /* the same for all runs that repeat this one */
    x->otp_seed = 1;
    atomic_store(&x->in_run, true);
}

static void otp__x_blocks_free(struct otp__x *x)
{
    while (x->mine) {
        otp__x_block *b = x->mine;
        x->mine = b->next;
        free(b);
    }
}

/* Nobody can go on: who waits for what. */
static void otp__x_waiting(struct otp__x *x, char *out, size_t size)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < x->procs_n && at + 1 < size; i++) {
        otp__x_proc *p = &x->procs[i];
        if (!p->alive) continue;
        int n = snprintf(out + at, size - at, "%s%s (%s) waits for %s%s%s", at ? "; " : "", p->label, p->place,
                         p->waits ? p->waits : "nothing", p->calls ? " to " : "", p->calls ? otp__x_who(p->calls) : "");
        if (n > 0) at += (size_t)n;
        if (p->queued == 0 || at + 1 >= size) continue;
        n = snprintf(out + at, size - at, ", %d message%s in its mailbox", p->queued, p->queued == 1 ? "" : "s");
        if (n > 0) at += (size_t)n;
    }
}

static int otp__x_idle(size_t alive, size_t blocks, void *arg)
{
    (void)arg;
    struct otp__x *x = &otp__x;
    atomic_fetch_add_explicit(&x->progress, 1, memory_order_relaxed);
    if (x->phase == OTP__X_OVER || !atomic_load(&x->awake)) return 0;
    if (x->in_run && alive > 0) {
        if (!x->ended) {
            char text[900];
            otp__x_waiting(x, text, sizeof text);
            otp__x_fail(OTP_EXPLORE_DEADLOCK, "all wait for ever: %s", text);
        } else if (!x->o.allow_leaks) {
            char text[900];
            otp__x_waiting(x, text, sizeof text);
            otp__x_fail(OTP_EXPLORE_LEAK, "the first process has ended, and is outlived: %s", text);
        }
        x->end_sent = true;
        if (x->end_again++ < 100) return OTP_DIRECT_END;
        x->phase = OTP__X_OVER;         /* they survive a kill: a bug of the runtime's; otp_stop tells */
    } else if (x->in_run) {
        x->in_run = false;
        if (blocks > x->blocks)
            otp__x_fail(OTP_EXPLORE_LEAK, "%zu blocks of the runtime's memory are not given back", blocks - x->blocks);
        if (x->mine) {
            const char *at = strstr(x->mine->place, " at ");
            otp__x_fail(OTP_EXPLORE_LEAK, "a block of %zu bytes from %s is never freed", x->mine->size,
                        at ? otp__x_base(at + 4) : x->mine->place);
        }
        otp__x_blocks_free(x);
        otp__x_run_over(x);
    } else {
        x->thread = pthread_self();
    }
    if (x->phase == OTP__X_OVER) {
        (void)pthread_mutex_lock(&x->mutex);
        x->done = true;
        (void)pthread_cond_broadcast(&x->cond);
        (void)pthread_mutex_unlock(&x->mutex);
        return 0;
    }
    otp__x_run_begin(x);
    x->blocks = blocks;
    if (otp_spawn_at(x->scenario, x->arg, x->place).id == 0) x->no_memory = true;
    return 1;
}

/* >> watching   A process that makes no call cannot be left; it is told, and ended as by abort(). */

static bool otp__x_contained(const otp_opts *r)
{
    bool on = !r || !r->no_isolation;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    on = on && r && r->force_isolation;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    on = on && r && r->force_isolation;
#endif
#endif
    return on;
}

/* ms of processor time that the scheduler's thread has used; < 0: unknown. */
static int64_t otp__x_cpu(struct otp__x *x)
{
#if defined(__linux__) || defined(__FreeBSD__)
    clockid_t clock;
    struct timespec ts;
    if (pthread_getcpuclockid(x->thread, &clock) == 0 && clock_gettime(clock, &ts) == 0)
        return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
#else
    (void)x;
#endif
    return -1;
}

static void otp__x_stuck(struct otp__x *x, int who, bool again)
{
    bool contained = otp__x_contained(x->o.runtime) && !again;
    char text[300];
    (void)snprintf(text, sizeof text, "%s (%s) has computed for %lld ms without a call", x->procs[who].label,
                   x->procs[who].place, (long long)x->o.watchdog);
    if (!again) otp__x_fail(OTP_EXPLORE_STUCK, "%s", text);
    if (!contained) {
        fprintf(stderr, "otp_explore: %s: seed %llu: stuck: %s; it cannot be stopped, the program ends\n", x->name,
                (unsigned long long)x->seed, text);
        OTP_ABORT();
    }
    (void)pthread_kill(x->thread, SIGABRT);     /* contained by otp.h: this process ends as by abort() */
}

/* It computes when it has used that much processor time; on a loaded machine real time says nothing, so that it takes
   much more of it to be stuck in a system call. */
static void *otp__x_watch(void *arg)
{
    struct otp__x *x = arg;
    unsigned last = 0;
    int told = 0;
    int64_t real = 0, cpu = 0, limit = x->o.watchdog, step = limit / 4 > 0 ? limit / 4 : 1;
    (void)pthread_mutex_lock(&x->mutex);
    while (!x->quit) {
        struct timespec ts;
        (void)clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_sec += (time_t)(step / 1000);
        ts.tv_nsec += (long)(step % 1000) * 1000000;
        if (ts.tv_nsec >= 1000000000) {
            ts.tv_nsec -= 1000000000;
            ts.tv_sec++;
        }
        (void)pthread_cond_timedwait(&x->cond, &x->mutex, &ts);
        int who = atomic_load(&x->current);
        if (x->quit || who < 0 || !atomic_load(&x->in_run)) continue;
        unsigned now = atomic_load(&x->progress);
        int64_t used = otp__x_cpu(x);
        if (now != last) {
            last = now;
            real = told = 0;
            cpu = used;
            continue;
        }
        real += step;
        int times = (int)((used >= 0 && used - cpu >= limit ? 1 : 0) + real / (20 * limit));
        if (times <= told) continue;
        otp__x_stuck(x, who, told > 0);
        told = times + 1;       /* the next time only after much longer: a crash takes its time */
    }
    (void)pthread_mutex_unlock(&x->mutex);
    return NULL;
}

/* -- exploring: the interface -- */

static bool otp__x_all_digits(const char *s)
{
    if (!*s) return false;
    for (; *s; s++)
        if (*s < '0' || *s > '9') return false;
    return true;
}

/* .replay, or what the environment says to this exploration. */
static const char *otp__x_replay(const struct otp__x *x)
{
    const char *env = getenv("OTP_EXPLORE_REPLAY");
    if (!env || !*env) return x->o.replay;
    const char *colon = strchr(env, ':');
    if (!colon) return env;
    size_t n = (size_t)(colon - env);
    return strlen(x->name) == n && strncmp(x->name, env, n) == 0 ? colon + 1 : x->o.replay;
}

static int otp__x_resolve(struct otp__x *x, const otp_explore_opts *opts)
{
    otp_explore_opts *o = &x->o;
    *o = opts ? *opts : (otp_explore_opts){ 0 };
    if ((unsigned)o->strategy > OTP_EXPLORE_PCT || (unsigned)o->fault > OTP_EXPLORE_LATE || o->depth < 0 ||
        o->depth > OTP__X_CHANGES || o->grace < 0 || o->watchdog < 0 || o->fault_ms < 0)
        return OTP_EBADARG;
    const char *seeds = getenv("OTP_EXPLORE_SEEDS");
    if (seeds && otp__x_all_digits(seeds)) o->seeds = strtoull(seeds, NULL, 10);
    if (!o->seeds) o->seeds = 1000;
    if (!o->first_seed) o->first_seed = 1;
    if (!o->depth) o->depth = 3;
    if (!o->grace) o->grace = 1000;
    if (!o->max_steps) o->max_steps = 20000;
    if (!o->watchdog) o->watchdog = 5000;
    if (!o->fault_ms) o->fault_ms = 1000;
    if (!o->shrink_runs) o->shrink_runs = 2000;
    const char *at = strstr(x->place, " at ");
    (void)snprintf(x->name, sizeof x->name, "%.*s", o->name ? 63 : at ? (int)(at - x->place) : 63, o->name ? o->name : x->place);
    x->seed = o->first_seed;
    x->last_seed = o->first_seed + o->seeds - 1;
    x->phase = OTP__X_PLAIN;
    const char *replay = otp__x_replay(x);
    if (!replay) return 0;
    if (otp__x_all_digits(replay)) {
        x->seed = x->last_seed = strtoull(replay, NULL, 10);
        x->ignore_plain = x->seed != 0;
        if (x->seed == 0) x->seed = 1;  /* only the plain run: above the last */
        return 0;
    }
    x->phase = OTP__X_GIVEN;
    return otp__x_read(&x->given, replay) ? 0 : OTP_EBADARG;
}

static void otp__x_free(struct otp__x *x)
{
    otp__x_list *lists[] = { &x->given, &x->cur, &x->trial, &x->rec };
    for (size_t i = 0; i < 4; i++) {
        free(lists[i]->d);
        *lists[i] = (otp__x_list){ NULL, 0, 0 };
    }
    free(x->seen);
    free(x->procs);
    free(x->log);
    x->seen = NULL;
    x->procs = NULL;
    x->log = NULL;
    x->seen_cap = x->seen_n = x->procs_cap = x->procs_n = 0;
}

/* The runtime is up and begins; waits until the last run is over. */
static int otp__x_wait(struct otp__x *x)
{
    pthread_t watch;
    if (pthread_create(&watch, NULL, otp__x_watch, x) != 0) return OTP_ESYSLIMIT;
    (void)pthread_mutex_lock(&x->mutex);
    while (!x->done) (void)pthread_cond_wait(&x->cond, &x->mutex);
    x->quit = true;
    (void)pthread_cond_broadcast(&x->cond);
    (void)pthread_mutex_unlock(&x->mutex);
    (void)pthread_join(watch, NULL);
    return 0;
}

/* A process that only sees to it that the runtime is awake: with its end, idle is called. Before that this thread still
   uses the runtime. */
static void otp__x_first(void *arg) { atomic_store(&((struct otp__x *)arg)->awake, true); }

static int otp__x_explore(struct otp__x *x)
{
    const otp_opts *given = x->o.runtime;
    otp_opts r = given ? *given : (otp_opts){ 0 };
    r.deterministic = true;
    r.seed = 1;
    r.log = otp__x_no_log;
    r.log_arg = NULL;
    x->director = (otp_director){ .choose = otp__x_choose, .idle = otp__x_idle, .refuse = otp__x_refuse,
                                  .io = otp__x_io, .event = otp__x_on_event, .seed = &x->otp_seed };
    x->hooks = (otp_trace_hooks){ .spawn = otp__x_on_spawn, .exit = otp__x_on_exit, .send = otp__x_on_send,
                                  .receive = otp__x_on_receive };
    int rc = otp_direct(&x->director);
    if (rc < 0) return rc;
    otp_trace(&x->hooks);
    rc = otp_start(&r);
    if (rc == 0) {
        rc = otp_spawn_at(otp__x_first, x, "the explorer").id ? otp__x_wait(x) : OTP_ENOMEM;
        int stopped = otp_stop(1000);
        if (rc == 0 && stopped < 0) rc = stopped;
    }
    otp_trace(NULL);
    (void)otp_direct(NULL);
    return rc;
}

int otp_explore_at(otp_fn *scenario, const char *place, void *arg, const otp_explore_opts *opts,
                   otp_explore_result *result)
{
    struct otp__x *x = &otp__x;
    if (!scenario) return OTP_EBADARG;
    if (otp_schedulers() > 0 || atomic_exchange(&x->busy, true)) return OTP_EEXIST;
    otp_explore_result *own = result ? result : malloc(sizeof *own);
    x->log = malloc(OTP__X_LOG);
    x->scenario = scenario;
    x->place = place;
    x->arg = arg;
    x->result = own;
    x->no_memory = x->done = x->quit = x->ignore_plain = x->few = false;
    atomic_store(&x->in_run, false);
    atomic_store(&x->awake, false);
    int rc = own && x->log ? 0 : OTP_ENOMEM;
    if (rc == 0) {
        memset(own, 0, sizeof *own);
        rc = otp__x_resolve(x, opts);
    }
    if (rc == 0) rc = otp__x_explore(x);
    if (rc == 0 && x->no_memory) rc = OTP_ENOMEM;
    if (rc == 0 && own->failure != OTP_EXPLORE_OK) rc = 1;
    if (rc == 1 && !x->o.quiet) otp_explore_report(own, 2);
    otp__x_free(x);
    if (!result) free(own);
    atomic_store(&x->busy, false);
    return rc;
}

const char *otp_explore_failure_name(otp_explore_failure failure)
{
    static const char *const names[] = { "ok", "check", "crash", "deadlock", "leak", "invariant", "endless", "stuck" };
    return (unsigned)failure <= OTP_EXPLORE_STUCK ? names[failure] : "unknown";
}

void otp_explore_report(const otp_explore_result *r, int fd)
{
    size_t size = sizeof *r + 1024;
    char *text = malloc(size);
    if (!text) return;
    int n = r->failure == OTP_EXPLORE_OK
                ? snprintf(text, size, "%llu runs, %llu different schedules: all passed\n", (unsigned long long)r->runs,
                           (unsigned long long)r->distinct)
                : snprintf(text, size,
                           "%s: %s\nfound by seed %llu, in run %llu; %llu preemption%s, shrunk to %llu:\n%s"
                           "replay: OTP_EXPLORE_REPLAY='%s'%s\n",
                           otp_explore_failure_name(r->failure), r->text, (unsigned long long)r->seed,
                           (unsigned long long)r->runs, (unsigned long long)r->preemptions_found,
                           r->preemptions_found == 1 ? "" : "s", (unsigned long long)r->preemptions, r->schedule, r->replay,
                           r->exact ? "" : "\n(not exact: the scenario does not do the same in the same schedule)");
    for (int at = 0; at < n;) {
        ssize_t w = write(fd, text + at, (size_t)(n - at));
        if (w <= 0) break;
        at += (int)w;
    }
    free(text);
}

void otp_explore_check_at(bool cond, const char *text, const char *file, int line)
{
    if (cond) return;
    if (!atomic_load(&otp__x.in_run)) {
        fprintf(stderr, "otp_explore_check: %s (%s:%d)\n", text, otp__x_base(file), line);
        OTP_ABORT();
        return;
    }
    if (!otp__x.in_hook) otp__x_say(otp_self().id, "finds: %s does not hold (%s:%d)", text, otp__x_base(file), line);
    otp__x_fail(OTP_EXPLORE_CHECK, "%s (%s:%d)", text, otp__x_base(file), line);
    if (!otp__x.in_hook && otp_self().id != 0) otp_exit(OTP_USER(1, "check failed"));
}

void otp_explore_point(void) { otp_direct_point(); }

void otp_explore_note(const char *format, ...)
{
    if (!atomic_load(&otp__x.in_run) || !otp__x.log_on) return;
    char text[300];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    otp__x_say(otp_self().id, "%s", text);
}

void *otp_explore_malloc_at(size_t size, const char *place)
{
    struct otp__x *x = &otp__x;
    bool inside = atomic_load(&x->in_run);
    if (size > SIZE_MAX / 2 || (inside && otp__x_refuse(otp_self(), "block of malloc", NULL))) return NULL;
    otp__x_block *b = malloc(sizeof *b + size);
    if (!b) return NULL;
    *b = (otp__x_block){ .place = inside ? place : NULL, .size = size };
    if (inside) {
        b->next = x->mine;
        if (b->next) b->next->prev = b;
        x->mine = b;
    }
    return b + 1;
}

void otp_explore_free(void *block)
{
    if (!block) return;
    otp__x_block *b = (otp__x_block *)block - 1;
    if (b->place) {
        if (b->prev) b->prev->next = b->next;
        else otp__x.mine = b->next;
        if (b->next) b->next->prev = b->prev;
    }
    free(b);
}

_Static_assert(sizeof(otp__x_block) % 16 == 0, "blocks are 16-aligned behind their header");

#endif /* OTP_IMPLEMENTATION */

/* MIT License. Copyright (c) 2026 the otp.h authors.

   Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
   documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
   rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
   persons to whom the Software is furnished to do so, subject to the following conditions: the above copyright notice
   and this permission notice shall be included in all copies or substantial portions of the Software.

   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
   WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
   COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
   OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
