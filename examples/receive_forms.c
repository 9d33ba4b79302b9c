/* receive_forms.c: one protocol, three ways to receive. A machine gives a can to each PICK, but only for a
   COIN; customers that pick before there is a coin wait for one.
   cc -O2 -pthread -I.. receive_forms.c -o receive_forms */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { COIN = 1, PICK, CAN };

/* 1. otp_receive: every kind in one place, and what cannot be served yet is left. The usual form. */
static void machine_macro(void *arg)
{
    (void)arg;
    const otp_msg *m;
    int coins = 0;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case COIN:
                coins++;
                break;
            case PICK:
                if (coins == 0) { otp_leave(m); break; }
                coins--;
                OTP_SEND(m->from, CAN, *OTP_PAYLOAD(m, int));
                break;
        }
}

/* 2. Functions: the shortest form when the order of the protocol is the order of the program. */
static void machine_functions(void *arg)
{
    (void)arg;
    for (;;) {
        otp_recv_tag(COIN, OTP_INFINITY);
        const otp_msg *m = otp_recv_tag(PICK, OTP_INFINITY);
        OTP_SEND(m->from, CAN, *OTP_PAYLOAD(m, int));
    }
}

/* 3. A loop that takes everything as it comes, and has to remember by itself what it cannot serve yet. */
static void machine_loop(void *arg)
{
    (void)arg;
    const otp_msg *waiting[8];
    size_t first = 0, last = 0;             /* a ring: at most 8 wait here */
    int coins = 0;
    for (;;) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        switch (m->tag) {
        case COIN: coins++; break;
        case PICK: waiting[last++ % 8] = otp_keep(m); break;
        }
        for (; coins > 0 && first < last; coins--, first++) {
            m = waiting[first % 8];
            OTP_SEND(m->from, CAN, *OTP_PAYLOAD(m, int));
            otp_drop(m);
        }
    }
}

static void app(void *arg)
{
    (void)arg;
    otp_fn *machines[] = { machine_macro, machine_functions, machine_loop };
    for (size_t i = 0; i < 3; i++) {
        otp_pid p = otp_spawn_link(machines[i], NULL);
        for (int customer = 1; customer <= 3; customer++) OTP_SEND(p, PICK, customer);
        for (int coin = 0; coin < 3; coin++) otp_send(p, COIN, NULL, 0);
        printf("form %zu: cans for", i + 1);
        for (int can = 0; can < 3; can++)
            printf(" %d", *OTP_PAYLOAD(otp_recv_tag(CAN, OTP_INFINITY), int));
        printf("\n");
    }
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
form 1: cans for 1 2 3
form 2: cans for 1 2 3
form 3: cans for 1 2 3
*/
