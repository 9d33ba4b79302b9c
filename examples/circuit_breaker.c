/* circuit_breaker.c: after five failures in a row nobody tries any more; after 30 s one caller may try.
   cc -O2 -pthread -I.. circuit_breaker.c -o circuit_breaker */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include <stdio.h>

enum { ENTER = 1, LEAVE, HALF };
enum { CLOSED, OPEN, HALF_OPEN, LIMIT = 5, REST = 30000 };

/* Callers do the work themselves. Each is monitored while it does: one that dies has failed. */
struct work { struct work *next; otp_ref ref; int epoch; };
struct breaker { int state, failures, epoch; bool trial; struct work *first; };
struct result { otp_ref ref; bool ok; };

static otp_next call(void *state, otp_from from, const otp_msg *m)
{
    struct breaker *b = state;
    struct work *w = m->tag == ENTER && b->state != OPEN && !b->trial ? otp_alloc(sizeof *w) : NULL;
    if (!w) return otp_reply_error(from, OTP_ECLOSED) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    *w = (struct work){ b->first, otp_monitor(from.pid), b->epoch };
    b->first = w;
    b->trial = b->state == HALF_OPEN;       /* one caller, the others are refused */
    return OTP_SERVER_REPLY(from, w->ref);
}

static otp_next settle(struct breaker *b, otp_ref ref, bool ok)
{
    struct work **link = &b->first;
    while (*link && (*link)->ref.id != ref.id) link = &(*link)->next;
    struct work *w = *link;
    if (!w) return OTP_OK;
    bool current = w->epoch == b->epoch;    /* what began before the last change of state does not count */
    *link = w->next;
    otp_free(w);
    (void)otp_demonitor(ref, OTP_FLUSH);
    if (!current) return OTP_OK;
    b->failures = ok ? 0 : b->failures + 1;
    if (b->state == CLOSED && b->failures < LIMIT) return OTP_OK;
    b->state = ok ? CLOSED : OPEN;
    b->trial = false;
    b->epoch++;
    return ok || otp_send_after(REST, otp_self(), HALF, NULL, 0).id ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

static otp_next cast(void *state, const otp_msg *m)
{
    const struct result *r = OTP_PAYLOAD(m, struct result);
    return settle(state, r->ref, r->ok);
}

static otp_next info(void *state, const otp_msg *m)
{
    struct breaker *b = state;
    if (m->tag == HALF) b->state = HALF_OPEN;
    return m->tag == OTP_DOWN ? settle(state, m->ref, false) : OTP_OK;
}

static const otp_server breaker = { "breaker", sizeof(struct breaker), .call = call, .cast = cast, .info = info };

enum { WORKS, FAILS, DIES };
struct client { otp_pid breaker; int what, ms; const char *name; };

static void client(void *arg)
{
    struct client c = *(struct client *)arg;
    struct result r = { .ok = c.what == WORKS };
    int64_t rc = otp_try_call(c.breaker, ENTER, NULL, 0, &r.ref, sizeof r.ref, 5000);
    printf("%s: %s\n", c.name, rc < 0 ? "refused" : c.what == WORKS ? "works" : c.what == FAILS ? "fails" : "dies");
    if (rc < 0) return;
    otp_sleep(c.ms);
    if (c.what != DIES) (void)otp_cast(c.breaker, LEAVE, &r, sizeof r);
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
