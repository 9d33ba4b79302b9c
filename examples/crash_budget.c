/* crash_budget.c: a supervisor bears two crashes within five seconds. The third one ends it, and then it is its own supervisor
   that starts it anew, with all that belongs to it: failure climbs the tree until somebody can clean up.
   cc -O2 -pthread -I.. crash_budget.c -o crash_budget */

#define OTP_IMPLEMENTATION
#include "otp_supervisor.h"
#include <stdio.h>

enum { FAIL = 1 };

static void flaky(void *arg)
{
    (void)arg;
    if (otp_recv_tag(FAIL, OTP_INFINITY)) otp_exit(OTP_USER(1, "no connection"));
}

static otp_pid flaky_start_link(void *arg)
{
    printf("    flaky starts\n");
    otp_pid pid = otp_spawn_link(flaky, arg);
    if (otp_register("flaky", pid) < 0) return otp_start_failed(OTP_EEXIST, OTP_NORMAL);
    return pid;
}

static otp_pid pool_start_link(void *arg)
{
    (void)arg;
    static const otp_child children[] = { { .id = "flaky", .start = flaky_start_link } };
    printf("  pool starts\n");
    return otp_supervisor_start_link(&(otp_supervisor_opts){
        .name = "pool", .max_restarts = 2, .max_seconds = 5, .children = children, .child_count = 1 });
}

static void app(void *arg)
{
    (void)arg;
    static const otp_child children[] = { { .id = "pool", .start = pool_start_link, .type = OTP_SUPERVISOR } };
    printf("top starts\n");
    otp_pid top = otp_supervisor_start_link(&(otp_supervisor_opts){ .children = children, .child_count = 1 });
    for (int i = 1; i <= 3; i++) {
        otp_pid old = otp_whereis("flaky");
        printf("crash %d\n", i);
        otp_send(old, FAIL, NULL, 0);
        while (otp_whereis("flaky").id == 0 || otp_same(otp_whereis("flaky"), old)) otp_sleep(1);
    }
    otp_pid pool = otp_supervisor_child(top, "pool");
    printf("a new pool: %s\n", otp_same(pool, otp_whereis("pool")) ? "yes" : "no");
    if (otp_supervisor_stop(top, OTP_NORMAL, 5000) == 0) printf("stopped\n");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
top starts
  pool starts
    flaky starts
crash 1
    flaky starts
crash 2
    flaky starts
crash 3
  pool starts
    flaky starts
a new pool: yes
stopped
*/
