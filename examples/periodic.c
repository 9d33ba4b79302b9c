/* periodic.c: work every 100 ms that takes 30 ms itself: a timer with an interval stays on time, one that is started
   again after the work drifts. The two never overlap themselves.
   cc -O2 -pthread -I.. periodic.c -o periodic */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include <inttypes.h>
#include <stdio.h>

enum { TICK = 1, REPORT };
enum { PERIOD = 100, WORK = 30, TIMES = 5 };

struct worker { bool drifts; int64_t start, at[TIMES]; int n; };

static otp_next init(void *state, const void *arg, size_t size)
{
    struct worker *w = state;
    w->drifts = size == sizeof(bool) && *(const bool *)arg;
    w->start = otp_now();
    otp_timer_opts tick = { .time = PERIOD, .interval = w->drifts ? 0 : PERIOD, .to = otp_self(), .tag = TICK };
    return otp_timer(&tick).id ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

static otp_next info(void *state, const otp_msg *m)
{
    struct worker *w = state;
    if (m->tag != TICK || w->n == TIMES) return OTP_OK;
    w->at[w->n++] = otp_now() - w->start;
    otp_sleep(WORK);                    /* the next tick waits in the mailbox if this takes too long */
    if (w->drifts && !otp_send_after(PERIOD, otp_self(), TICK, NULL, 0).id)
        return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    return OTP_OK;
}

static otp_next call(void *state, otp_from from, const otp_msg *m)
{
    const struct worker *w = state;
    return m->tag == REPORT ? OTP_SERVER_REPLY(from, *w) : otp_stop_with(OTP_ERROR(OTP_EBADCALL));
}

static const otp_server worker = { "worker", sizeof(struct worker), .init = init, .call = call, .info = info };

static void app(void *arg)
{
    (void)arg;
    for (int drifts = 0; drifts < 2; drifts++) {
        bool b = drifts;
        otp_pid p = otp_server_start_link(&worker, &(otp_server_opts){ .arg = &b, .arg_size = sizeof b });
        otp_sleep((TIMES + 2) * PERIOD);
        struct worker w;
        otp_call(p, REPORT, NULL, 0, &w, sizeof w, 5000);
        printf("%s:", drifts ? "started again" : "interval");
        for (int i = 0; i < w.n; i++) printf(" %" PRId64, w.at[i]);
        printf("\n");
    }
}

/* Virtual time shows the exact milliseconds. */
int main(void) { return otp_run(app, NULL, &(otp_opts){ .deterministic = true }); }

/* Output:
interval: 100 200 300 400 500
started again: 100 230 360 490 620
*/
