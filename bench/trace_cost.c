/* trace_cost: what a timeline costs: two processes on one scheduler send a message back and forth.
   cc -O2 -pthread -I. -o trace_cost bench/trace_cost.c

   trace_cost                       alternates between off, turns only and all; prints the ns for each message
   trace_cost off|turns|all N       N messages in one mode, for: valgrind --tool=callgrind --collect-atstart=yes …
                                    (the difference of two runs with different N is free of what starting costs) */

#define OTP_IMPLEMENTATION
#include "otp_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OFF, TURNS, ALL, ROUNDS = 41, MESSAGES = 400000 };

static const char *const modes[] = { "off", "turns", "all" };
static int only = -1;
static long count = MESSAGES;

static void ponger(void *arg)
{
    (void)arg;
    for (;;) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        if (OTP_SEND(m->from, 1, *OTP_PAYLOAD(m, long)) != 0) return;
    }
}

static double one(otp_pid to, int mode, long n)
{
    otp_trace_opts o = { .no_messages = mode == TURNS };
    if (mode != OFF && otp_trace_start(&o) != 0) abort();
    int64_t begin = otp_now_ns();
    for (long i = 0; i < n / 2; i++)
        if (OTP_SEND(to, 1, i) != 0 || !otp_recv(OTP_INFINITY)) abort();
    int64_t end = otp_now_ns();
    if (mode != OFF && otp_trace_stop() != 0) abort();
    return (double)(end - begin) / (double)n;
}

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static void app(void *arg)
{
    (void)arg;
    static double ns[3][ROUNDS];
    otp_pid p = otp_spawn(ponger, NULL);
    if (only >= 0) {
        (void)one(p, only, count);
    } else {
        for (int i = 0; i < 3; i++) (void)one(p, i, count);
        for (int r = 0; r < ROUNDS; r++)
            for (int i = 0; i < 3; i++) ns[i][r] = one(p, i, count);
        for (int i = 0; i < 3; i++) {
            qsort(ns[i], ROUNDS, sizeof ns[i][0], by_size);
            printf("%-6s %6.1f ns for each message at best, median %.1f\n", modes[i], ns[i][0], ns[i][ROUNDS / 2]);
        }
    }
    if (otp_exit_signal(p, OTP_KILL) != 0) abort();
}

int main(int argc, char **argv)
{
    for (int i = 0; argc > 2 && i < 3; i++)
        if (strcmp(argv[1], modes[i]) == 0) only = i;
    if (argc > 2) count = strtol(argv[2], NULL, 10);
    if ((argc > 2 && only < 0) || count < 2) {
        fprintf(stderr, "usage: trace_cost [off|turns|all MESSAGES]\n");
        return 2;
    }
    return otp_run(app, NULL, &(otp_opts){ .schedulers = 1 });
}
