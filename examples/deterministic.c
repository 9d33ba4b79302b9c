/* deterministic.c: a race that is found by trying seeds, and replayed from its seed.
   Two clerks sell the last ticket: each asks whether it is still there, and then takes it.
   cc -O2 -pthread -I.. deterministic.c -o deterministic */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>
#include <string.h>

enum { ASK = 1, TAKE };

struct run { char trace[32]; int sold; };       /* one runtime after the other fills it */

static void office(void *arg)
{
    struct run *run = arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case ASK:
                strcat(run->trace, *OTP_PAYLOAD(m, int) == 1 ? "ask1 " : "ask2 ");
                OTP_REPLY(otp_from_of(m), run->sold);
                break;
            case TAKE:
                strcat(run->trace, *OTP_PAYLOAD(m, int) == 1 ? "take1 " : "take2 ");
                run->sold++;
                OTP_REPLY(otp_from_of(m), run->sold);
                break;
        }
}

struct clerk { int number; otp_pid office; };

static void clerk(void *arg)
{
    const struct clerk *c = arg;
    int sold;
    otp_sleep(30000);                           /* half a minute of virtual time costs nothing */
    otp_call(c->office, ASK, &c->number, sizeof c->number, &sold, sizeof sold, 5000);
    if (sold == 0)                              /* the bug: the other one may have asked meanwhile */
        otp_call(c->office, TAKE, &c->number, sizeof c->number, &sold, sizeof sold, 5000);
}

static void app(void *arg)
{
    otp_pid pid = otp_spawn_link(office, arg);
    struct clerk one = { 1, pid }, two = { 2, pid };
    otp_pid a = otp_spawn_link(clerk, &one), b = otp_spawn_link(clerk, &two);
    if (otp_await_exit(a, OTP_INFINITY, NULL) != 0 || otp_await_exit(b, OTP_INFINITY, NULL) != 0)
        otp_exit(OTP_USER(1, "no end"));
}

static struct run run_with(uint64_t seed)
{
    struct run run = { "", 0 };
    if (otp_run(app, &run, &(otp_opts){ .deterministic = true, .seed = seed }) != 0) run.sold = -1;
    return run;
}

int main(void)
{
    int raced = 0, fine = 0;
    struct run first = { "", 0 };
    uint64_t first_seed = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct run run = run_with(seed);
        if (run.sold == 1) fine++;
        if (run.sold == 2 && raced++ == 0) { first = run; first_seed = seed; }
    }
    printf("of 100 seeds %s sold one ticket, %s sold two\n", fine > 0 ? "some" : "none", raced > 0 ? "some" : "none");
    if (raced == 0) return 1;
    for (int i = 1; i <= 2; i++) {
        struct run again = run_with(first_seed);
        printf("replay %d: %s trace\n", i, strcmp(again.trace, first.trace) == 0 ? "the same" : "another");
    }
    return 0;
}

/* Output:
of 100 seeds some sold one ticket, some sold two
replay 1: the same trace
replay 2: the same trace
*/
