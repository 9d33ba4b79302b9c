/* timers.c: messages that come later: once, with a reference, again and again, or never.
   cc -O2 -pthread -I.. timers.c -o timers */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { TEA = 1, TICK, ALARM };

static void app(void *arg)
{
    (void)arg;
    const otp_msg *m;
    otp_pid me = otp_self();
    int64_t start = otp_now();

    otp_send_after(30, me, TEA, "green", sizeof "green");   /* an ordinary message, later */
    otp_ref timer = otp_start_timer(10, me, NULL, 0);       /* one that tells its reference */
    otp_ref alarm = otp_send_after(3600000, me, ALARM, NULL, 0);

    for (int i = 0; i < 2; i++)
        otp_receive (m, OTP_INFINITY) {
            case TEA:
                printf("tea: %s, %s\n", (const char *)m->data, otp_now() - start >= 30 ? "in time" : "early");
                break;
            case OTP_TIMEOUT_TAG:
                printf("timer: %s\n", m->ref.id == timer.id ? "the one started" : "another one");
                break;
        }

    int64_t left = otp_cancel_timer(alarm);                 /* from now on it cannot come any more */
    printf("alarm cancelled: %s\n", left > 3500000 && left < 3600000 ? "almost an hour was left" : "too late");
    printf("cancelled again: %s\n", otp_strerror((int)otp_cancel_timer(alarm)));

    otp_ref ticks = otp_timer(&(otp_timer_opts){ .time = 5, .interval = 5, .to = me, .tag = TICK });
    int n = 0;
    while (n < 3)
        otp_receive (m, 10000) {
            case TICK:      printf("tick %d\n", ++n); break;
            case OTP_AFTER: printf("no tick\n"); return;
        }
    if (otp_cancel_timer(ticks) >= 0) printf("no more ticks\n");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
timer: the one started
tea: green, in time
alarm cancelled: almost an hour was left
cancelled again: not there
tick 1
tick 2
tick 3
no more ticks
*/
