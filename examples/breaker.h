/* breaker.h: a circuit breaker as a server; circuit_breaker.c shows it.

   Callers do the work themselves: they enter, and say afterwards how it went. After LIMIT failures in a row nobody may
   enter for REST ms; then one may, and decides. Each is monitored while it works: one that dies has failed. */
#ifndef BREAKER_H
#define BREAKER_H

#include "otp_server.h"

enum { ENTER = 1, LEAVE, HALF };
enum { CLOSED, OPEN, HALF_OPEN, LIMIT = 5, REST = 30000 };

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

/* Asks whether the work may be done; *work is for breaker_leave. False: the circuit is open. */
static bool breaker_enter(otp_pid breaker_pid, otp_ref *work)
{
    return otp_try_call(breaker_pid, ENTER, NULL, 0, work, sizeof *work, 5000) >= 0;
}

static void breaker_leave(otp_pid breaker_pid, otp_ref work, bool ok)
{
    struct result r = { work, ok };
    (void)otp_cast(breaker_pid, LEAVE, &r, sizeof r);
}

#endif
