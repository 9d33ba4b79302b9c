/* litmus.c: the checker checked. Known small programs and what the C11 memory model lets come out of them: every
   outcome that must be possible is found, none that must not be, with the reduction and without it.
                                                                            SPDX-License-Identifier: MIT */
#include "mc.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#define RLX memory_order_relaxed
#define ACQ memory_order_acquire
#define REL memory_order_release
#define SEQ memory_order_seq_cst

__attribute__((visibility("hidden"))) _Thread_local void *otp__me;
static atomic_int x, y, z;
static int plain_word, r[4];

static void setup(void)
{
    x = y = z = 0;
    plain_word = 0;
    memset(r, 0, sizeof r);
}

/* Results are kept out of the sight of the checker: they are no part of the program. */
#define HIDDEN __attribute__((no_sanitize_thread, noinline))
HIDDEN static void put(int i, int v) { r[i] = v; }
HIDDEN static void out(void) { mc_outcome((unsigned long long)(r[0] * 1000 + r[1] * 100 + r[2] * 10 + r[3])); }
#define ld(p, o) atomic_load_explicit(p, o)
#define st(p, v, o) atomic_store_explicit(p, v, o)

static void sb0_rlx(void) { st(&x, 1, RLX); put(0, ld(&y, RLX)); }
static void sb1_rlx(void) { st(&y, 1, RLX); put(1, ld(&x, RLX)); }
static void sb0_seq(void) { st(&x, 1, SEQ); put(0, ld(&y, SEQ)); }
static void sb1_seq(void) { st(&y, 1, SEQ); put(1, ld(&x, SEQ)); }
static void sb0_ra(void) { st(&x, 1, REL); put(0, ld(&y, ACQ)); }
static void sb1_ra(void) { st(&y, 1, REL); put(1, ld(&x, ACQ)); }
static void sb0_fence(void) { st(&x, 1, RLX); atomic_thread_fence(SEQ); put(0, ld(&y, RLX)); }
static void sb1_fence(void) { st(&y, 1, RLX); atomic_thread_fence(SEQ); put(1, ld(&x, RLX)); }
static void sb1_membarrier(void) { st(&y, 1, RLX); mc_syscall(SYS_membarrier, 8, 0, 0); put(1, ld(&x, RLX)); }
static void sb0_rmw(void) { st(&x, 1, RLX); atomic_fetch_add(&z, 0); put(0, ld(&y, RLX)); }
static void sb1_rmw(void) { st(&y, 1, RLX); atomic_fetch_add(&z, 0); put(1, ld(&x, RLX)); }
static void mp0_rlx(void) { st(&x, 1, RLX); st(&y, 1, RLX); }
static void mp0_rel(void) { st(&x, 1, RLX); st(&y, 1, REL); }
static void mp1_rlx(void) { put(0, ld(&y, RLX)); put(1, ld(&x, RLX)); }
static void mp1_acq(void) { put(0, ld(&y, ACQ)); put(1, ld(&x, RLX)); }
static void mp1_fence(void) { put(0, ld(&y, RLX)); atomic_thread_fence(ACQ); put(1, ld(&x, RLX)); }
static void mp0_fence(void) { st(&x, 1, RLX); atomic_thread_fence(REL); st(&y, 1, RLX); }
static void rs1(void)       /* goes on with the sequence */
{
    int v = 1;
    put(2, atomic_compare_exchange_strong_explicit(&y, &v, 2, RLX, RLX));
}
static void rs2(void) { put(0, ld(&y, ACQ)); put(1, ld(&x, RLX)); }
static void co0(void) { st(&x, 1, RLX); st(&x, 2, RLX); }
static void co1(void) { put(0, ld(&x, RLX)); put(1, ld(&x, RLX)); }
static void iriw0_ra(void) { st(&x, 1, REL); }
static void iriw1_ra(void) { st(&y, 1, REL); }
static void iriw2_ra(void) { put(0, ld(&x, ACQ)); put(1, ld(&y, ACQ)); }
static void iriw3_ra(void) { put(2, ld(&y, ACQ)); put(3, ld(&x, ACQ)); }
static void iriw0_seq(void) { st(&x, 1, SEQ); }
static void iriw1_seq(void) { st(&y, 1, SEQ); }
static void iriw2_seq(void) { put(0, ld(&x, SEQ)); put(1, ld(&y, SEQ)); }
static void iriw3_seq(void) { put(2, ld(&y, SEQ)); put(3, ld(&x, SEQ)); }
static void add(void) { put(mc_thread(), atomic_fetch_add_explicit(&x, 1, RLX)); }
static void race0(void) { plain_word = 1; st(&y, 1, REL); }
static void race0_rlx(void) { plain_word = 1; st(&y, 1, RLX); }
static void race1(void) { if (ld(&y, ACQ)) put(0, plain_word); }
static void wait0(void) { st(&x, 1, REL); mc_syscall(SYS_futex, &x, 129, 1); }
static void wait0_none(void) { st(&x, 1, REL); }
static void wait1(void) { while (ld(&x, ACQ) == 0) mc_syscall(SYS_futex, &x, 128, 0, NULL); }

static int passed, failures;
/* n outcomes follow, all that there are; n < 0: the program must be found wrong. */
static void litmus(const char *name, void (*a)(void), void (*b)(void), void (*c)(void), void (*d)(void), int n, ...)
{
    mc_model m = { .name = name, .setup = setup, .thread = { a, b, c, d }, .check = out };
    for (int reduce = 1; reduce >= 0; reduce--) {
        mc_quiet(n < 0);
        int rc = mc_explore(&m, 0, reduce);
        mc_quiet(false);
        unsigned long long got[256];
        int found = mc_outcomes(got, 256), missing = 0;
        va_list args;
        va_start(args, n);
        for (int i = 0; i < n; i++) {
            int want = va_arg(args, int), there = 0;
            for (int k = 0; k < found; k++) there |= got[k] == (unsigned long long)want;
            missing += !there;
        }
        va_end(args);
        bool good = n < 0 ? rc == 1 : rc == 0 && found == n && missing == 0;
        printf("%s litmus %s%s: %llu executions, %d outcomes\n", good ? "ok  " : "FAIL", name,
               reduce ? "" : ", not reduced", mc_executions(), found);
        for (int k = 0; !good && k < found; k++) printf("#   outcome %04llu\n", got[k]);
        if (good) passed++;
        else failures++;
    }
}

/* Random programs: the reduction must not lose an outcome of all the executions. Steps: what (load, store, exchange,
   compare and exchange, fence, membarrier), which of two words, which order. */
static struct { unsigned char what, word, order; } steps[3][4];
static int lengths[3];
HIDDEN static void read_note(int thread, int i, int v) { r[thread] = r[thread] * 8 + v + 1; (void)i; }
static void random_thread(void)
{
    int t = mc_thread();
    for (int i = 0; i < lengths[t]; i++) {
        atomic_int *w = steps[t][i].word ? &y : &x;
        int v = t * 2 + i + 1, o = steps[t][i].order;
        switch (steps[t][i].what) {
        case 0: read_note(t, i, o == 0 ? ld(w, RLX) : o == 1 ? ld(w, ACQ) : ld(w, SEQ)); break;
        case 1:
            if (o == 0) st(w, v, RLX);
            else if (o == 1) st(w, v, REL);
            else st(w, v, SEQ);
            break;
        case 2:
            read_note(t, i, o == 0   ? atomic_exchange_explicit(w, v, RLX)
                            : o == 1 ? atomic_exchange_explicit(w, v, memory_order_acq_rel)
                                     : atomic_exchange_explicit(w, v, SEQ));
            break;
        case 3: {
            int old = 0;
            (void)atomic_compare_exchange_strong_explicit(w, &old, v, memory_order_acq_rel, RLX);
            read_note(t, i, old);
            break;
        }
        case 4: atomic_thread_fence(SEQ); break;
        default: mc_syscall(SYS_membarrier, 8, 0, 0);
        }
    }
}
HIDDEN static void random_out(void)
{
    unsigned long long h = (unsigned long long)x * 64 + (unsigned long long)y;
    for (int i = 0; i < 3; i++) h = h * 4099 + (unsigned long long)r[i];
    mc_outcome(h);
}

static void random_programs(int n)
{
    unsigned seed = 12345;
    int lost = 0, several = 0;
    unsigned long long all = 0, some = 0;
    for (int k = 0; k < n; k++) {
        for (int t = 0; t < 3; t++) {
            lengths[t] = 1 + (int)((seed = seed * 1103515245u + 12345u) >> 16) % (t == 2 ? 2 : 3);
            for (int i = 0; i < lengths[t]; i++) {
                seed = seed * 1103515245u + 12345u;
                static const unsigned char kinds[] = { 0, 0, 0, 1, 1, 1, 2, 3, 4, 5 };
                steps[t][i].what = kinds[(seed >> 8) % 10];
                steps[t][i].word = seed >> 14 & 1;
                steps[t][i].order = (unsigned char)((seed >> 16) % 3);
            }
        }
        mc_model m = { .name = "random", .setup = setup, .thread = { random_thread, random_thread, random_thread },
                       .check = random_out };
        unsigned long long a[256], b[256];
        if (mc_explore(&m, 0, false) != 0) lost++;
        int na = mc_outcomes(a, 256);
        all += mc_executions();
        if (mc_explore(&m, 0, true) != 0) lost++;
        int nb = mc_outcomes(b, 256);
        some += mc_executions();
        several += na > 1;
        bool same = na == nb;
        for (int i = 0; i < na && same; i++) {
            bool there = false;
            for (int j = 0; j < nb; j++) there |= a[i] == b[j];
            same = there;
        }
        if (!same) printf("#   program %d: %d outcomes, %d with the reduction\n", k, na, nb);
        lost += !same;
    }
    printf("%s litmus %d random programs (%d with several outcomes): %llu executions, %llu with the reduction\n",
           lost ? "FAIL" : "ok  ", n, several, all, some);
    if (lost) failures++;
    else passed++;
}

int main(void)
{
    random_programs(2000);
    litmus("store buffering, relaxed", sb0_rlx, sb1_rlx, NULL, NULL, 4, 0, 1000, 100, 1100);
    litmus("store buffering, release and acquire", sb0_ra, sb1_ra, NULL, NULL, 4, 0, 1000, 100, 1100);
    litmus("store buffering, seq_cst", sb0_seq, sb1_seq, NULL, NULL, 3, 1000, 100, 1100);
    litmus("store buffering, fences", sb0_fence, sb1_fence, NULL, NULL, 3, 1000, 100, 1100);
    litmus("store buffering, one fence", sb0_fence, sb1_rlx, NULL, NULL, 4, 0, 1000, 100, 1100);
    litmus("store buffering, membarrier on one side", sb0_rlx, sb1_membarrier, NULL, NULL, 3, 1000, 100, 1100);
    litmus("store buffering, read-modify-write of one word", sb0_rmw, sb1_rmw, NULL, NULL, 3, 1000, 100, 1100);
    litmus("message passing, relaxed", mp0_rlx, mp1_rlx, NULL, NULL, 4, 0, 100, 1000, 1100);
    litmus("message passing, release only", mp0_rel, mp1_rlx, NULL, NULL, 4, 0, 100, 1000, 1100);
    litmus("message passing, acquire only", mp0_rlx, mp1_acq, NULL, NULL, 4, 0, 100, 1000, 1100);
    litmus("message passing, release and acquire", mp0_rel, mp1_acq, NULL, NULL, 3, 0, 100, 1100);
    litmus("message passing, fences", mp0_fence, mp1_fence, NULL, NULL, 3, 0, 100, 1100);
    litmus("release sequence through an exchange", mp0_rel, rs1, rs2, NULL, 7, 0, 100, 10, 110, 1100, 1110, 2110);
    litmus("coherence", co0, co1, NULL, NULL, 6, 0, 100, 200, 1100, 1200, 2200);
    litmus("independent reads, acquire", iriw0_ra, iriw1_ra, iriw2_ra, iriw3_ra, 16, 0, 1, 10, 11, 100, 101, 110, 111,
           1000, 1001, 1010, 1011, 1100, 1101, 1110, 1111);
    litmus("independent reads, seq_cst", iriw0_seq, iriw1_seq, iriw2_seq, iriw3_seq, 15, 0, 1, 10, 11, 100, 101, 110,
           111, 1000, 1001, 1011, 1100, 1101, 1110, 1111);
    litmus("atomic addition", add, add, add, NULL, 6, 120, 210, 1020, 1200, 2010, 2100);
    litmus("publication of plain data", race0, race1, NULL, NULL, 2, 0, 1000);
    litmus("a data race is found", race0_rlx, race1, NULL, NULL, -1);
    litmus("a futex", wait0, wait1, NULL, NULL, 1, 0);
    litmus("a lost wake-up is found", wait0_none, wait1, NULL, NULL, -1);
    printf("%d passed, %d failed\n", passed, failures);
    return failures ? 1 : 0;
}
