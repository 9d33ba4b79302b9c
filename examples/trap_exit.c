/* trap_exit.c: a process that traps exits gets the deaths of its linked processes as messages.
   cc -O2 -pthread -I.. trap_exit.c -o trap_exit */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>
#include <stdlib.h>

static void returns(void *arg) { (void)arg; }

static void exits(void *arg)
{
    (void)arg;
    otp_exit(OTP_USER(42, "no coffee left"));
}

static void aborts(void *arg)
{
    (void)arg;
    abort();                                /* a failed assert ends the same way */
}

static void sleeps(void *arg)
{
    (void)arg;
    otp_sleep(OTP_INFINITY);
}

static void wait_exit(const char *who, otp_pid pid)
{
    char text[128];
    const otp_msg *m;
    otp_receive (m, OTP_INFINITY) {
        case OTP_EXIT:
            if (!otp_same(m->from, pid)) { otp_leave(m); break; }
            otp_format_reason(otp_reason_of(m), text, sizeof text);
            printf("%s: %s\n", who, text);
            break;
    }
}

static void app(void *arg)
{
    (void)arg;
    otp_trap_exit(true);
    wait_exit("returns", otp_spawn_link(returns, NULL));
    wait_exit("exits", otp_spawn_link(exits, NULL));
    wait_exit("aborts", otp_spawn_link(aborts, NULL));

    otp_pid a = otp_spawn_link(sleeps, NULL);
    otp_exit_signal(a, OTP_NORMAL);         /* ignored by a process that does not trap exits */
    printf("asked normally: %s\n", otp_is_alive(a) ? "lives on" : "has ended");
    otp_exit_signal(a, OTP_SHUTDOWN);
    wait_exit("asked to shut down", a);

    otp_pid b = otp_spawn_link(sleeps, NULL);
    otp_exit_signal(b, OTP_KILL);           /* would work on a process that traps exits, too */
    wait_exit("killed", b);
}

/* .force_isolation: the abort is contained even under sanitizers and Valgrind. */
int main(void) { return otp_run(app, NULL, &(otp_opts){ .force_isolation = true }); }

/* Output:
returns: normal
exits: user 42: no coffee left
aborts: crash: SIGABRT
asked normally: lives on
asked to shut down: shutdown
killed: killed
*/
