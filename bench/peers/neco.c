/* Workloads of `make bench` with neco, for comparison: one thread.                   SPDX-License-Identifier: MIT
   cc -O2 neco.c -lneco -lpthread -ldl && ./a.out WORKLOAD [N]

   Built where neco (https://github.com/tidwall/neco) is installed as neco.h and libneco.a, or found by CPATH and
   LIBRARY_PATH. The size of its stacks is fixed when the library is compiled, 8 MiB and a gap of 1 MiB unless told
   otherwise; skynet and idle_function, which keep 100,000 and more, need a library with NECO_STACKSIZE=131072 and
   NECO_GAPSIZE=4096 and exit with 77 where there is no room.
   neco_start runs the new coroutine at once, and a send to a waiting receiver switches to it. */

#include <neco.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *workload;
static long amount;

static long count(long standard) { return amount > 0 ? amount : standard; }

static void fail(const char *what)
{
    fprintf(stderr, "neco %s: %s\n", workload, what);
    exit(1);
}

static void must(int code, const char *what)
{
    if (code == NECO_OK) return;
    if (code == NECO_NOMEM) {
        fprintf(stderr, "%s: no memory; needs a libneco with NECO_STACKSIZE=131072 NECO_GAPSIZE=4096\n", what);
        _exit(77);
    }
    fprintf(stderr, "neco %s: %s: %s\n", workload, what, neco_strerror(code));
    exit(1);
}

static double clock_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) fail("clock_gettime");
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void report(const char *suffix, double value, const char *extra)
{
    printf("%s%s\tneco\t%.2f\t%s\n", workload, suffix, value, extra);
    if (fflush(stdout) != 0) fail("stdout");    /* neco_main ends without it */
}

static double per(double start, long operations) { return (clock_ns() - start) / (double)operations; }

static neco_chan *channel(size_t size, size_t capacity)
{
    neco_chan *c;
    must(neco_chan_make(&c, size, capacity), "neco_chan_make");
    return c;
}

static void put(neco_chan *c, int64_t value) { must(neco_chan_send(c, &value), "neco_chan_send"); }

static int64_t take(neco_chan *c)
{
    int64_t value;
    must(neco_chan_recv(c, &value), "neco_chan_recv");
    return value;
}

static void ponger(int argc, void *argv[])
{
    neco_chan *in = argv[0], *out = argv[1];
    (void)argc;
    for (int64_t n; neco_chan_recv(in, &n) == NECO_OK;) put(out, n + 1);
}

static void ping(long rounds)
{
    neco_chan *there = channel(sizeof(int64_t), 0), *back = channel(sizeof(int64_t), 0);
    must(neco_start(ponger, 2, there, back), "neco_start");
    const int64_t other = neco_lastid();
    for (long i = 0; i < rounds; i++) {
        put(there, i);
        if (take(back) != i + 1) fail("wrong answer");
    }
    must(neco_chan_close(there), "neco_chan_close");
    must(neco_join(other), "neco_join");
    must(neco_chan_release(there), "neco_chan_release");
    must(neco_chan_release(back), "neco_chan_release");
}

static void pingpong(void)
{
    const long rounds = count(2000000);
    ping(rounds / 100);
    const double start = clock_ns();
    ping(rounds);
    report("", per(start, rounds), "per round trip, one thread");
}

static void count_down(int argc, void *argv[])
{
    (void)argc;
    must(neco_waitgroup_done(argv[0]), "neco_waitgroup_done");
}

static void spawn(void)
{
    const long n = count(2000000);
    neco_waitgroup all;
    must(neco_waitgroup_init(&all), "neco_waitgroup_init");
    const double start = clock_ns();
    must(neco_waitgroup_add(&all, (int)n), "neco_waitgroup_add");
    for (long i = 0; i < n; i++) must(neco_start(count_down, 1, &all), "neco_start");
    must(neco_waitgroup_wait(&all), "neco_waitgroup_wait");
    report("", per(start, n), "per coroutine, one thread");
}

typedef struct skynet_arg { neco_chan *parent; int64_t number, size; } skynet_arg;

static void skynet_node(int argc, void *argv[])
{
    const skynet_arg a = *(const skynet_arg *)argv[0];
    (void)argc;
    if (a.size == 1) {
        put(a.parent, a.number);
        return;
    }
    neco_chan *sums = channel(sizeof(int64_t), 10);
    int64_t sum = 0;
    for (int i = 0; i < 10; i++) {
        skynet_arg child = { sums, a.number + i * (a.size / 10), a.size / 10 };
        must(neco_start(skynet_node, 1, &child), "neco_start");
    }
    for (int i = 0; i < 10; i++) sum += take(sums);
    must(neco_chan_release(sums), "neco_chan_release");
    put(a.parent, sum);
}

static void skynet(void)
{
    int64_t leaves = 1000000;
    while (amount > 0 && leaves > amount && leaves > 10) leaves /= 10;      /* a power of ten */
    skynet_arg root = { channel(sizeof(int64_t), 1), 0, leaves };
    const double start = clock_ns();
    must(neco_start(skynet_node, 1, &root), "neco_start");
    if (take(root.parent) != leaves * (leaves - 1) / 2) fail("wrong sum");
    report("", per(start, (long)leaves), "per leaf, one thread");
    must(neco_chan_release(root.parent), "neco_chan_release");
}

static void producer(int argc, void *argv[])
{
    neco_chan *items = argv[0];
    const long n = *(const long *)argv[1];
    (void)argc;
    for (long i = 1; i <= n; i++) put(items, i);
}

static void fanin(void)
{
    enum { PRODUCERS = 8 };
    const long n = count(2000000) / PRODUCERS;
    neco_chan *items = channel(sizeof(int64_t), 1024);
    int64_t sum = 0;
    const double start = clock_ns();
    for (int i = 0; i < PRODUCERS; i++) must(neco_start(producer, 2, items, &n), "neco_start");
    for (long i = 0; i < n * PRODUCERS; i++) sum += take(items);
    const double took = per(start, n * PRODUCERS);
    if (sum != (int64_t)PRODUCERS * n * (n + 1) / 2) fail("wrong sum");
    report("", took, "per message, 8 producers, one thread");
}

static double resident_bytes(void)
{
    long total, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) fail("/proc/self/statm");
    if (fscanf(f, "%ld %ld", &total, &resident) != 2) fail("/proc/self/statm");
    if (fclose(f) != 0) fail("/proc/self/statm");
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

/* An inbox of its own, as a process has; the wake-up and the answer are empty messages. */
static void sleeper(int argc, void *argv[])
{
    neco_chan *inbox = argv[0], *awake = argv[1];
    (void)argc;
    while (neco_chan_recv(inbox, NULL) == NECO_OK) must(neco_chan_send(awake, NULL), "neco_chan_send");
}

typedef struct waker_arg { neco_chan **inboxes; long n; } waker_arg;

static void waker(int argc, void *argv[])
{
    const waker_arg a = *(const waker_arg *)argv[0];
    (void)argc;
    for (long i = 0; i < a.n; i++) must(neco_chan_send(a.inboxes[i], NULL), "neco_chan_send");
}

static void idle_function(void)
{
    const long n = count(200000);
    char extra[64];
    neco_chan *awake = channel(0, 1024);
    waker_arg all = { malloc((size_t)n * sizeof(neco_chan *)), n };
    if (all.inboxes == NULL) fail("memory");
    memset(all.inboxes, 1, (size_t)n * sizeof(neco_chan *));    /* touched now, so that it does not count below */
    snprintf(extra, sizeof extra, "per coroutine, %ld coroutines, one thread", n);

    const double before = resident_bytes();
    double start = clock_ns();
    for (long i = 0; i < n; i++) {
        all.inboxes[i] = channel(0, 0);
        must(neco_start(sleeper, 2, all.inboxes[i], awake), "neco_start");     /* runs until it waits */
    }
    const double created = per(start, n);
    const double bytes = (resident_bytes() - before) / (double)n;

    start = clock_ns();
    must(neco_start(waker, 1, &all), "neco_start");
    for (long i = 0; i < n; i++) must(neco_chan_recv(awake, NULL), "neco_chan_recv");
    report("", per(start, n), extra);
    report("_create", created, extra);
    report("_bytes", bytes, "unit=bytes");
}

static const struct { const char *name; void (*run)(void); } workloads[] = {
    { "pingpong", pingpong }, { "spawn", spawn }, { "skynet", skynet }, { "fanin_1", fanin },
    { "idle_function", idle_function },
};

int neco_main(int argc, char **argv)
{
    neco_env_setpaniconerror(false);    /* codes instead, so that must() sees them */
    workload = argc > 1 ? argv[1] : "";
    amount = argc > 2 ? atol(argv[2]) : 0;
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++)
        if (strcmp(workload, workloads[i].name) == 0) {
            workloads[i].run();
            return 0;
        }
    fprintf(stderr, "neco: unknown workload %s\n", workload);
    return 2;
}
