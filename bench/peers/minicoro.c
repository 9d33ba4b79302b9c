/* The ctxswitch workload of `make bench` with minicoro, for comparison.             SPDX-License-Identifier: MIT
   cc -O2 -flto minicoro.c -lminicoro

   Built where minicoro (https://github.com/edubart/minicoro) is installed, or found by CPATH and LIBRARY_PATH:
   minicoro.h, and its implementation half as libminicoro.a. With -flto on both sides the compiler sees them as one, as
   in a program that includes the implementation; without it a switch takes half as long again. */

#include <minicoro.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void must(mco_result code, const char *what)
{
    if (code == MCO_SUCCESS) return;
    fprintf(stderr, "minicoro: %s: %s\n", what, mco_result_description(code));
    exit(1);
}

static double clock_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) exit(1);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void other(mco_coro *self)
{
    for (;;) must(mco_yield(self), "mco_yield");
}

int main(int argc, char **argv)
{
    const long rounds = argc > 1 && atol(argv[1]) > 0 ? atol(argv[1]) / 2 : 20000000;
    mco_desc description = mco_desc_init(other, 0);
    mco_coro *coroutine;
    must(mco_create(&coroutine, &description), "mco_create");
    must(mco_resume(coroutine), "mco_resume");
    const double start = clock_ns();
    for (long i = 0; i < rounds; i++) must(mco_resume(coroutine), "mco_resume");
    printf("ctxswitch\tminicoro\t%.2f\tper switch\n", (clock_ns() - start) / (double)(2 * rounds));
    return 0;
}
