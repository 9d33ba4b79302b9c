/* Workloads of `make bench` with libdill, for comparison: one thread.                SPDX-License-Identifier: MIT
   cc -O2 libdill.c -ldill && ./a.out WORKLOAD [N]

   Built where libdill (https://github.com/sustrik/libdill) is installed, or found by CPATH and LIBRARY_PATH. */

#include <libdill.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *workload;
static long amount;

static long count(long standard) { return amount > 0 ? amount : standard; }

static void must(int code, const char *what)
{
    if (code >= 0) return;
    perror(what);
    exit(1);
}

static double clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void report(double start, long operations, const char *extra)
{
    printf("%s\tlibdill\t%.2f\t%s\n", workload, (clock_ns() - start) / (double)operations, extra);
}

static void put(int channel, long value) { must(chsend(channel, &value, sizeof value, -1), "chsend"); }

static coroutine void ponger(int in, int out)
{
    for (long n; chrecv(in, &n, sizeof n, -1) == 0;) put(out, n + 1);
}

static void ping(long rounds)
{
    int there[2], back[2];
    long answer;
    must(chmake(there), "chmake");
    must(chmake(back), "chmake");
    const int other = go(ponger(there[1], back[1]));
    must(other, "go");
    for (long i = 0; i < rounds; i++) {
        put(there[0], i);
        must(chrecv(back[0], &answer, sizeof answer, -1), "chrecv");
        if (answer != i + 1) abort();
    }
    must(hclose(other), "hclose");
    for (int i = 0; i < 2; i++) {
        must(hclose(there[i]), "hclose");
        must(hclose(back[i]), "hclose");
    }
}

static void pingpong(void)
{
    const long rounds = count(2000000);
    ping(rounds / 100);
    const double start = clock_ns();
    ping(rounds);
    report(start, rounds, "per round trip");
}

static coroutine void pair(long rounds) { ping(rounds); }

static void pingpong_pairs(void)
{
    const long pairs = 64, rounds = count(3200000) / pairs;
    const int all = bundle();
    must(all, "bundle");
    const double start = clock_ns();
    for (long i = 0; i < pairs; i++) must(bundle_go(all, pair(rounds)), "bundle_go");
    must(bundle_wait(all, -1), "bundle_wait");
    report(start, pairs * rounds, "per round trip, 64 pairs, one thread");
    must(hclose(all), "hclose");
}

static coroutine void node(int in, int out, int done)
{
    for (long left; chrecv(in, &left, sizeof left, -1) == 0;) put(left == 0 ? done : out, left - 1);
}

static void ring(void)
{
    enum { RING = 503 };
    static int link[RING][2];
    int done[2];
    long token;
    const long hops = count(5000000);
    must(chmake(done), "chmake");
    for (int i = 0; i < RING; i++) must(chmake(link[i]), "chmake");
    for (int i = 0; i < RING; i++) must(go(node(link[i][1], link[(i + 1) % RING][0], done[1])), "go");
    put(link[0][0], RING);
    must(chrecv(done[0], &token, sizeof token, -1), "chrecv");
    const double start = clock_ns();
    put(link[0][0], hops);
    must(chrecv(done[0], &token, sizeof token, -1), "chrecv");
    report(start, hops, "per hop, 503 coroutines, one thread");
}

static coroutine void count_down(long *left) { --*left; }

static void spawn(void)
{
    long n = count(3000000), left = n;
    const int all = bundle();
    must(all, "bundle");
    const double start = clock_ns();
    for (long i = 0; i < n; i++) must(bundle_go(all, count_down(&left)), "bundle_go");
    must(bundle_wait(all, -1), "bundle_wait");
    if (left != 0) abort();
    report(start, n, "per coroutine, one thread");
    must(hclose(all), "hclose");
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } workloads[] = {
        { "pingpong", pingpong }, { "pingpong_pairs", pingpong_pairs }, { "ring", ring }, { "spawn", spawn },
    };
    workload = argc > 1 ? argv[1] : "";
    amount = argc > 2 ? atol(argv[2]) : 0;
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++)
        if (strcmp(workload, workloads[i].name) == 0) {
            workloads[i].run();
            return 0;
        }
    fprintf(stderr, "libdill: unknown workload %s\n", workload);
    return 2;
}
