/* links_monitors.c: linked processes die together; a monitor only tells.
   cc -O2 -pthread -I.. links_monitors.c -o links_monitors */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { READY = 1, GO };

static void printer(void *arg)
{
    (void)arg;
    otp_recv_tag(GO, OTP_INFINITY);
    otp_exit(OTP_USER(7, "out of paper"));
}

static void spooler(void *arg)
{
    const otp_pid *pids = arg;              /* the app, the printer */
    otp_link(pids[1]);
    otp_send(pids[0], READY, NULL, 0);
    otp_recv_tag(GO, OTP_INFINITY);         /* never comes */
}

static void bystander(void *arg)
{
    (void)arg;
    otp_recv_tag(GO, OTP_INFINITY);
}

static void tell(const char *who, otp_ref ref)
{
    char text[128];
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    otp_format_reason(otp_reason_of(m), text, sizeof text);
    printf("%s: %s\n", who, text);
}

static void app(void *arg)
{
    (void)arg;
    otp_ref a, b, c;
    otp_pid printer_pid = otp_spawn_monitor(printer, NULL, &a);
    otp_pid pids[2] = { otp_self(), printer_pid };      /* app outlives the spooler, so its stack will do */
    otp_pid spooler_pid = otp_spawn_monitor(spooler, pids, &b);
    otp_pid bystander_pid = otp_spawn_monitor(bystander, NULL, &c);

    otp_recv_tag(READY, OTP_INFINITY);
    otp_send(printer_pid, GO, NULL, 0);
    tell("printer", a);
    tell("spooler", b);                     /* of the same reason, through the link */
    printf("alive: %d %d %d\n", otp_is_alive(printer_pid), otp_is_alive(spooler_pid), otp_is_alive(bystander_pid));

    /* A monitor that is no longer wanted; OTP_FLUSH: even if its message has already come. */
    otp_demonitor(c, OTP_FLUSH);
    otp_exit_signal(bystander_pid, OTP_KILL);
    tell("again", otp_monitor(printer_pid));
    printf("messages left: %d\n", otp_recv(0) != NULL);
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
printer: user 7: out of paper
spooler: user 7: out of paper
alive: 0 0 1
again: noproc
messages left: 0
*/
