/* names.c: processes that are found by a name, which goes when they go.
   cc -O2 -pthread -I.. names.c -o names */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { HELLO = 1, STOP };

static void clerk(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case HELLO: otp_reply(otp_from_of(m), "welcome", sizeof "welcome"); break;
            case STOP: return;
        }
}

static void show_names(void)
{
    char names[8][64];
    size_t n = otp_registered(names, 8);
    printf("registered:");
    for (size_t i = 0; i < n && i < 8; i++) printf(" %s", names[i]);
    printf("\n");
}

static void app(void *arg)
{
    (void)arg;
    otp_pid pid;
    char answer[16];

    /* Named before it runs: nobody can see it without its name. */
    int rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = clerk, .name = "clerk" }, &pid);
    if (rc != 0) otp_exit(OTP_ERROR(rc));
    rc = otp_register("app", otp_self());
    if (rc != 0) otp_exit(OTP_ERROR(rc));
    show_names();

    otp_call(otp_whereis("clerk"), HELLO, NULL, 0, answer, sizeof answer, 5000);
    printf("the clerk says: %s\n", answer);
    rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = clerk, .name = "clerk" }, &pid);
    printf("a second clerk: %s\n", otp_strerror(rc));

    otp_ref ref = otp_monitor_name("clerk");
    if (otp_send_name("clerk", STOP, NULL, 0) != 0) return;
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    printf("down: %s\n", otp_down_name(m));
    printf("found: %s\n", otp_whereis("clerk").id == 0 ? "nobody" : "somebody");
    printf("sending: %s\n", otp_strerror(otp_send_name("clerk", HELLO, NULL, 0)));
    show_names();
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
registered: app clerk
the clerk says: welcome
a second clerk: already there
down: clerk
found: nobody
sending: not there
registered: app
*/
