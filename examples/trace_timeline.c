/* trace_timeline.c: what ran when on which scheduler, as a file for chrome://tracing or ui.perfetto.dev.
   A boss hands numbers to three workers, which compute, answer and sleep a little; for some numbers they do blocking work besides.
   Without the calls here, OTP_TRACE=file.json in the environment does the same for any program with otp_trace.h.
   cc -O2 -pthread -I.. trace_timeline.c -o trace_timeline */

#define OTP_IMPLEMENTATION
#include "otp_trace.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { JOB = 1, RESULT, WORKERS = 3, ROUNDS = 4 };

static void nap(void *arg)
{
    (void)arg;
    if (usleep(300) != 0) perror("usleep");
}

static unsigned long compute(unsigned long n)
{
    volatile unsigned long x = n;
    for (int i = 0; i < 60000; i++) x = x * 31 + 7;
    return x;
}

static void worker(void *arg)
{
    (void)arg;
    for (;;) {
        const otp_msg *m = otp_recv_tag(JOB, OTP_INFINITY);
        unsigned long n = *OTP_PAYLOAD(m, unsigned long);
        OTP_SEND(m->from, RESULT, compute(n));
        if (n == 0 && otp_blocking(nap, NULL) != 0) return;
        otp_sleep(1);
    }
}

static void app(void *arg)
{
    const char *file = arg;
    otp_pid pool[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        char name[32];
        if (snprintf(name, sizeof name, "worker %d", i) < 0) return;
        if (otp_spawn_opt(&(otp_spawn_opts){ .fn = worker, .name = name }, &pool[i]) != 0) return;
    }
    for (unsigned long round = 0; round < ROUNDS; round++) {
        for (unsigned long i = 0; i < WORKERS; i++) OTP_SEND(pool[i], JOB, round * i);
        for (int i = 0; i < WORKERS; i++)
            if (!otp_recv_tag(RESULT, 5000)) otp_exit(OTP_USER(1, "no answer"));
    }
    for (int i = 0; i < WORKERS; i++)
        if (otp_exit_signal(pool[i], OTP_KILL) != 0 || otp_await_exit(pool[i], 5000, NULL) != 0) return;

    otp_trace_summary sum;
    int rc = otp_trace_write(file, &sum);       /* everything goes on meanwhile */
    if (rc != 0) otp_exit(OTP_ERROR(rc));
    printf("%llu spawns, %llu exits, %llu messages, %llu arrows\n", (unsigned long long)sum.spawns,
           (unsigned long long)sum.exits, (unsigned long long)sum.sends, (unsigned long long)sum.arrows);
    printf("%s\n", sum.slices >= 10 && sum.dropped == 0 ? "the timeline is complete" : "something is missing");
}

int main(int argc, char **argv)
{
    static char unnamed[] = "/dev/null";
    otp_opts opts = { .schedulers = 2 };
    if (otp_trace_start(NULL) != 0) return 1;
    return otp_run(app, argc > 1 ? argv[1] : unnamed, &opts);
}

/* Output:
4 spawns, 3 exits, 24 messages, 24 arrows
the timeline is complete
*/
