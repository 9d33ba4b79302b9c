/* What tests/top.sh looks at: processes with known mailboxes, memory and work. Says "ready" when they are as they
   should be, and ends when its standard input does. */
#define OTP_IMPLEMENTATION
#include "otp_trace.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NEVER = 1, MESSAGE };

static void waits(void *arg)
{
    (void)arg;
    if (otp_recv_tag(NEVER, OTP_INFINITY) == NULL) return;
}

static void has_memory(void *arg)
{
    size_t size = *(size_t *)arg;
    char *block = otp_alloc(size);
    if (!block) return;
    memset(block, 1, size);
    waits(NULL);
}

static void works(void *arg)
{
    (void)arg;
    for (;;) {
        otp_bump_reductions(20000);
        otp_sleep(1);
    }
}

static void computes(void *arg)
{
    (void)arg;
    for (volatile unsigned long n = 0;; n++) { }
}

static otp_pid start(const char *name, otp_fn *fn, size_t memory, int messages)
{
    otp_pid p;
    otp_spawn_opts o = { .fn = fn, .name = name, .arg = &memory, .arg_size = sizeof memory };
    int rc = otp_spawn_opt(&o, &p);
    for (int i = 0; rc == 0 && i < messages; i++) rc = OTP_SEND(p, MESSAGE, i);
    if (rc != 0) otp_exit(OTP_ERROR(rc));
    return p;
}

static void until_waiting(otp_pid p)
{
    otp_info info = { .waits = OTP_WAITS_NOTHING };
    while (info.waits != OTP_WAITS_MESSAGE) {
        int rc = otp_process_info(p, &info);
        if (rc != 0) otp_exit(OTP_ERROR(rc));
    }
}

static void app(void *arg)
{
    (void)arg;
    otp_pid p[] = {
        start("queue 300", waits, 0, 300), start("queue 20", waits, 0, 20),
        start("memory 4M", has_memory, 4 << 20, 0), start("memory 2M", has_memory, 2 << 20, 0),
    };
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++) until_waiting(p[i]);
    (void)start("works", works, 0, 0);
    (void)start("computes", computes, 0, 7);
    otp_sleep(50);      /* it has lost its scheduler by then */
    printf("ready\n");
    if (fflush(stdout) != 0) return;
    char c;
    while (otp_read(STDIN_FILENO, &c, 1, OTP_INFINITY) > 0) { }
    _exit(0);           /* one of them never ends */
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .schedulers = 2, .report_stuck = OTP_INFINITY }); }
