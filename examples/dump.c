/* dump.c: a table of all processes on stderr: who they are, where they were started, what they wait for.
   A debugger can call otp_dump(2), and .dump_signal = SIGUSR1 prints it on a signal.
   cc -O2 -pthread -I.. dump.c -o dump */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>
#include <unistd.h>

enum { NEVER = 1, QUESTION };

static void waits_for_message(void *arg)
{
    (void)arg;
    otp_recv_tag(NEVER, OTP_INFINITY);
}

static void waits_for_time(void *arg)
{
    (void)arg;
    otp_sleep(OTP_INFINITY);
}

static void waits_for_answer(void *arg)
{
    (void)arg;
    otp_call(otp_whereis("reader"), QUESTION, NULL, 0, NULL, 0, OTP_INFINITY);
}

/* Waits until the process has come to rest. */
static bool waits(otp_pid pid, otp_waits what)
{
    otp_info info;
    for (int i = 0; i < 1000; i++) {
        if (otp_process_info(pid, &info) != 0) return false;
        if (info.waits == what) return true;
        otp_sleep(1);
    }
    return false;
}

static otp_pid start(const char *name, otp_fn *fn)
{
    otp_pid pid;
    int rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = fn, .name = name }, &pid);
    if (rc != 0) otp_exit(OTP_ERROR(rc));
    return pid;
}

static void app(void *arg)
{
    (void)arg;
    otp_pid reader = start("reader", waits_for_message);
    otp_pid sleeper = start("sleeper", waits_for_time);
    otp_pid client = start("client", waits_for_answer);
    for (int i = 0; i < 3; i++) OTP_SEND(sleeper, NEVER, i);            /* a mailbox that grows */

    if (!waits(reader, OTP_WAITS_MESSAGE) || !waits(sleeper, OTP_WAITS_SLEEP) || !waits(client, OTP_WAITS_CALL))
        otp_exit(OTP_USER(1, "somebody does not wait"));
    otp_dump(STDERR_FILENO);
    printf("ok\n");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
ok
*/
