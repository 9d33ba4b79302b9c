/* circuit_breaker.c: after five failures in a row nobody tries any more; after 30 s one caller may try.
   The breaker itself is breaker.h.
   cc -O2 -pthread -I.. circuit_breaker.c -o circuit_breaker */

#define OTP_IMPLEMENTATION
#include "breaker.h"
#include <stdio.h>

enum { WORKS, FAILS, DIES };
struct client { otp_pid breaker; int what, ms; const char *name; };

static void client(void *arg)
{
    struct client c = *(struct client *)arg;
    otp_ref work;
    bool allowed = breaker_enter(c.breaker, &work);
    printf("%s: %s\n", c.name, !allowed ? "refused" : c.what == WORKS ? "works" : c.what == FAILS ? "fails" : "dies");
    if (!allowed) return;
    otp_sleep(c.ms);
    if (c.what != DIES) breaker_leave(c.breaker, work, c.what == WORKS);
}

static void try(otp_pid b, int what, int ms, const char *name)
{
    struct client c = { b, what, ms, name };
    otp_pid p;
    if (otp_spawn_opt(&(otp_spawn_opts){ .fn = client, .arg = &c, .arg_size = sizeof c }, &p) == 0) otp_sleep(10);
}

static void app(void *arg)
{
    (void)arg;
    otp_pid b = otp_server_start_link(&breaker, NULL);
    try(b, WORKS, 100, "slow");                     /* its late success must not close the circuit */
    for (int i = 0; i < 4; i++) try(b, FAILS, 0, "early");
    try(b, DIES, 0, "fifth");
    try(b, WORKS, 0, "open");
    otp_sleep(REST);
    try(b, FAILS, 50, "trial"), try(b, WORKS, 0, "beside the trial");
    otp_sleep(REST + 100);
    try(b, WORKS, 0, "second trial"), try(b, WORKS, 0, "closed");
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .deterministic = true }); }     /* virtual time */

/* Output:
slow: works
early: fails
early: fails
early: fails
early: fails
fifth: dies
open: refused
trial: fails
beside the trial: refused
second trial: works
closed: works
*/
