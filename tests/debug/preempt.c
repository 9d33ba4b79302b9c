/* preempt.c: OTP_PREEMPT. Compiled with -fsanitize-coverage=trace-pc, linked with an implementation that is not.
   usage: preempt [TEST]; one test per run, so that a hang is one failure. For tests/preempt.sh. */

#define _GNU_SOURCE
#include "otp.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))
enum { GO = 1, DONE };

static atomic_int flag, turns;
static int bad;
static volatile double sink;           /* keeps calls of work() from being left out */

#define CHECK(x) ((x) ? (void)0 : (void)(bad = 1, fprintf(stderr, "preempt.c:%d: %s\n", __LINE__, #x)))

/* So many edges, and a value that depends on every register that it lives in. */
static NOINLINE double work(long n)
{
    double sum = 0;
    unsigned mix = 1;
    __asm__ volatile("" : : : "memory");      /* each call counts */
    for (long i = 0; i < n; i++) {
        if (mix & 1) sum += 0.5;
        else sum -= 0.25;
        mix = mix * 1664525u + 1013904223u;
    }
    return sum + mix;
}

static void sets_flag(void *arg)
{
    (void)arg;
    atomic_store(&flag, 1);
}

static void counts_turns(void *arg)
{
    (void)arg;
    for (;;) {
        atomic_fetch_add(&turns, 1);
        otp_yield();
    }
}

/* Waits in a loop without a call for what another process does. */
static void loop(void *arg)
{
    (void)arg;
    (void)otp_spawn(sets_flag, NULL);
    while (!atomic_load(&flag)) { }
}

static void spins(void *arg)
{
    (void)arg;
    for (volatile int i = 0;; i++)
        if (i > 1000) i = 0;
}

static void killed(void *arg)
{
    (void)arg;
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(spins, NULL, &ref);
    CHECK(otp_exit_signal(p, OTP_KILL) == 0);
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    CHECK(m && otp_reason_of(m)->kind == OTP_REASON_KILLED);
}

static void off(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(counts_turns, NULL);
    otp_preempt_off();
    otp_preempt_off();
    otp_preempt_on();
    sink = work(3000000);
    CHECK(atomic_load(&turns) == 0);
    otp_preempt_on();
    sink = work(3000000);
    CHECK(atomic_load(&turns) > 5);
    CHECK(otp_exit_signal(p, OTP_KILL) == 0);
}

/* A handler: nobody else runs meanwhile. */
static atomic_int handled;
static void handler(int sig)
{
    (void)sig;
    int before = atomic_load(&turns);
    sink = work(3000000);
    if (atomic_load(&turns) == before) atomic_fetch_add(&handled, 1);
}

static void handlers(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(counts_turns, NULL);
    static char alternate[65536];                   /* where the runtime has not set one */
    stack_t ss = { .ss_sp = alternate, .ss_size = sizeof alternate }, old_ss;
    CHECK(sigaltstack(NULL, &old_ss) == 0);
    if (old_ss.ss_flags & SS_DISABLE) CHECK(sigaltstack(&ss, NULL) == 0);
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = handler;
    CHECK(sigaction(SIGILL, &sa, NULL) == 0);       /* on the process's stack */
    sa.sa_flags = SA_ONSTACK | SA_NODEFER;
    CHECK(sigaction(SIGFPE, &sa, NULL) == 0);       /* on the thread's own, with nothing blocked */
    CHECK(raise(SIGILL) == 0);
    CHECK(raise(SIGFPE) == 0);
    CHECK(atomic_load(&handled) == 2);
    sigset_t set, old;                              /* a section that a signal must not interrupt */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGSEGV);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, &old) == 0);
    int before = atomic_load(&turns);
    sink = work(3000000);
    CHECK(atomic_load(&turns) == before);
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    sink = work(3000000);
    CHECK(atomic_load(&turns) > before);
    CHECK(otp_exit_signal(p, OTP_KILL) == 0);
}

static atomic_bool stop_foreign;
static void *foreign(void *arg)
{
    otp_pid *to = arg;
    for (int i = 0; !atomic_load(&stop_foreign); i++) {
        double result = work(10000);
        if (result == 0) break;
        if (to && i < 100 && otp_send(*to, GO, NULL, 0) != 0) break;
    }
    return NULL;
}

static NOINLINE int set_errno(int e) { errno = e; return 0; }
static NOINLINE int get_errno(void) { return errno; }

/* Results stay right while processes are interrupted everywhere. */
static void worker(void *arg)
{
    otp_pid *boss = arg;
    double expected = work(20000);
    int wrong = 0;
    for (int i = 0; i < 40; i++) {
        (void)set_errno(i + 1000);
        wrong += work(20000) != expected;
        wrong += get_errno() != i + 1000;
    }
    (void)OTP_SEND(*boss, DONE, wrong);
}

static bool slowly(const otp_msg *m, void *arg)
{
    (void)arg;
    return work(3000) != 0 && m->tag == DONE;
}

static void mixed(void *arg)
{
    (void)arg;
    enum { N = 60 };
    static otp_pid me;
    me = otp_self();
    pthread_t plain, guest;
    CHECK(pthread_create(&plain, NULL, foreign, NULL) == 0);
    CHECK(pthread_create(&guest, NULL, foreign, &me) == 0);
    for (int i = 0; i < N; i++) (void)otp_spawn(worker, &me);
    for (int i = 0; i < N; i++) {
        const otp_msg *m = i % 2 ? otp_recv_match(slowly, NULL, OTP_INFINITY) : otp_recv_tag(DONE, OTP_INFINITY);
        CHECK(m && *OTP_PAYLOAD(m, int) == 0);
        while (otp_recv_tag(GO, 0)) { }
    }
    atomic_store(&stop_foreign, true);
    CHECK(pthread_join(plain, NULL) == 0 && pthread_join(guest, NULL) == 0);
}

static void long_job(void *arg)
{
    (void)arg;
    int before = atomic_load(&turns);
    sink = work(20000000);
    flag = atomic_load(&turns) - before;
}

static void blocking(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(counts_turns, NULL);
    CHECK(otp_blocking(long_job, NULL) == 0);
    CHECK(atomic_load(&flag) > 0);              /* the others went on */
    CHECK(otp_exit_signal(p, OTP_KILL) == 0);
}

static void job_in_place(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn(counts_turns, NULL);
    CHECK(otp_blocking(long_job, NULL) == 0);
    CHECK(atomic_load(&flag) == 0);             /* deterministic: the job runs in place, and is not interrupted */
    CHECK(otp_exit_signal(p, OTP_KILL) == 0);
}

/* The same seed gives the same order, with preemption too. */
static char order[400];
static void appends(void *arg)
{
    for (int i = 0; i < 20; i++) {
        sink = work(30000);
        order[strlen(order)] = *(const char *)arg;
    }
}

static void race(void *arg)
{
    (void)arg;
    otp_ref refs[3];
    static char names[] = "abc";
    for (int i = 0; i < 3; i++) (void)otp_spawn_monitor(appends, &names[i], &refs[i]);
    for (int i = 0; i < 3; i++) (void)otp_recv_ref(refs[i], OTP_INFINITY);
}

static int same_order(void)
{
    char first[sizeof order] = "";
    for (int i = 0; i < 3; i++) {
        memset(order, 0, sizeof order);
        CHECK(otp_run(race, NULL, &(otp_opts){ .deterministic = true, .seed = 5 }) == 0);
        if (i == 0) (void)memcpy(first, order, sizeof first);
        CHECK(strlen(order) == 60 && strcmp(order, first) == 0);
    }
    CHECK(strcmp(first, "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbcccccccccccccccccccc") != 0);
    return bad;
}

/* One edge a round. */
static NOINLINE void rounds(long n)
{
    for (long i = 0; i < n; i++) __asm__ volatile("" : : : "memory");
}

/* What an edge costs: the time of the same loop with and without. */
static int cost(long n)
{
    for (int i = 0; i < 5; i++) {
        struct timespec a, b;
        (void)clock_gettime(CLOCK_MONOTONIC, &a);
        rounds(n);
        (void)clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%.2f ", (double)(b.tv_sec - a.tv_sec) * 1e9 / (double)n + (double)(b.tv_nsec - a.tv_nsec) / (double)n);
    }
    printf("ns per round\n");
    return 0;
}

static const struct { const char *name; otp_fn *fn; otp_opts opts; } tests[] = {
    { "loop", loop, { .schedulers = 1, .stuck = 600000 } },         /* the scheduler is never handed on */
    { "loop_main_thread", NULL, { .schedulers = 1, .stuck = 600000 } },
    { "killed", killed, { .schedulers = 1, .stuck = 600000 } },
    { "off", off, { .schedulers = 1, .stuck = 600000 } },
    { "handlers", handlers, { .schedulers = 1, .stuck = 600000 } },
    { "blocking", blocking, { .schedulers = 1, .stuck = 600000 } },
    { "job_in_place", job_in_place, { .deterministic = true, .seed = 3 } },
    { "mixed_1", mixed, { .schedulers = 1, .stuck = 1 } },
    { "mixed_2", mixed, { .schedulers = 2, .stuck = 1 } },
    { "mixed_8", mixed, { .schedulers = 8, .stuck = 1 } },
};

/* Two processes of the main thread: one waits in a loop for the other. */
static void on_main(void *arg)
{
    (void)arg;
    while (!atomic_load(&flag)) { }
}

static void main_thread(void *arg)
{
    (void)arg;
    otp_pid a, b;
    otp_ref ra, rb;
    CHECK(otp_spawn_opt(&(otp_spawn_opts){ .fn = on_main, .main_thread = true, .monitor = &ra }, &a) == 0);
    CHECK(otp_spawn_opt(&(otp_spawn_opts){ .fn = sets_flag, .main_thread = true, .monitor = &rb }, &b) == 0);
    CHECK(otp_recv_ref(ra, OTP_INFINITY) && otp_recv_ref(rb, OTP_INFINITY));
}

int main(int argc, char **argv)
{
    sink = work(100000);                         /* before the start */
    if (argc < 2) {
        for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) printf("%s ", tests[i].name);
        printf("same_order\n");
        return 0;
    }
    if (strcmp(argv[1], "same_order") == 0) return same_order();
    if (strcmp(argv[1], "cost") == 0) return cost(argc > 2 ? atol(argv[2]) : 20000000);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (strcmp(argv[1], tests[i].name) != 0) continue;
        CHECK(otp_run(tests[i].fn ? tests[i].fn : main_thread, NULL, &tests[i].opts) == 0);
        sink = work(100000);                     /* after the stop */
        return bad;
    }
    fprintf(stderr, "no such test: %s\n", argv[1]);
    return 2;
}
