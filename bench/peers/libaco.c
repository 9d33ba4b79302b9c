/* The ctxswitch workload of `make bench` with libaco, for comparison.               SPDX-License-Identifier: MIT
   cc -O2 libaco.c -laco

   Built where libaco (https://github.com/hnes/libaco) is installed as aco.h and libaco.a, or found by CPATH and
   LIBRARY_PATH. The coroutine has a stack for itself, so that no switch copies one. */

#include <aco.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double clock_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) exit(1);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void other(void)
{
    for (;;) aco_yield();
}

int main(int argc, char **argv)
{
    const long rounds = argc > 1 && atol(argv[1]) > 0 ? atol(argv[1]) / 2 : 20000000;
    aco_thread_init(NULL);
    aco_t *first = aco_create(NULL, NULL, 0, NULL, NULL);
    aco_share_stack_t *stack = aco_share_stack_new(0);
    aco_t *coroutine = aco_create(first, stack, 0, other, NULL);    /* each of them ends the program when it fails */
    aco_resume(coroutine);
    const double start = clock_ns();
    for (long i = 0; i < rounds; i++) aco_resume(coroutine);
    printf("ctxswitch\tlibaco\t%.2f\tper switch\n", (clock_ns() - start) / (double)(2 * rounds));
    aco_destroy(coroutine);
    aco_share_stack_destroy(stack);
    aco_destroy(first);
    return 0;
}
