/* ping_pong.c: two processes send each other a number, which grows by one on every way.
   cc -O2 -pthread -I.. ping_pong.c -o ping_pong */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { PING = 1, PONG, STOP };
enum { ROUNDS = 1000 };

static void ponger(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case PING: OTP_SEND(m->from, PONG, *OTP_PAYLOAD(m, int) + 1); break;
            case STOP: printf("ponger: stop\n"); return;
        }
}

static void app(void *arg)
{
    (void)arg;
    const otp_msg *m;
    otp_ref ref;
    int n = 0;
    otp_pid p = otp_spawn_monitor(ponger, NULL, &ref);
    for (int round = 0; round < ROUNDS; round++) {
        OTP_SEND(p, PING, n + 1);
        otp_receive (m, OTP_INFINITY) {
            case PONG: n = *OTP_PAYLOAD(m, int); break;
            case OTP_DOWN: printf("the ponger is gone\n"); return;
        }
    }
    printf("%d round trips counted to %d\n", ROUNDS, n);
    otp_send(p, STOP, NULL, 0);
    otp_recv_ref(ref, OTP_INFINITY);        /* its OTP_DOWN */
    printf("app: done\n");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
1000 round trips counted to 2000
ponger: stop
app: done
*/
