/* handler.c: a counter as a handler process: a state and a function called once per message, no stack while idle.
   cc -O2 -pthread -I.. handler.c -o handler */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { INCREMENT = 1, VALUE, STOP };

struct counter { long n; };

static otp_next counter_init(void *state, const void *arg, size_t size)
{
    struct counter *c = state;                              /* zeroed, in the process's own heap */
    if (size == sizeof c->n) c->n = *(const long *)arg;
    return OTP_OK;
}

static otp_next counter_message(void *state, const otp_msg *m)
{
    struct counter *c = state;
    switch (m->tag) {
    case INCREMENT: c->n++; return OTP_OK;
    case VALUE:     OTP_REPLY(otp_from_of(m), c->n); return OTP_OK;
    case STOP:      return otp_stop_with(OTP_NORMAL);
    default:        return otp_stop_with(OTP_ERROR(OTP_EBADCALL));
    }
}

static void counter_terminate(void *state, const otp_reason *why)
{
    const struct counter *c = state;
    if (why->kind == OTP_REASON_NORMAL) printf("counter: ends at %ld\n", c->n);
}

static const otp_handler counter = {
    .name = "counter", .state_size = sizeof(struct counter),
    .init = counter_init, .message = counter_message, .terminate = counter_terminate,
};

/* What its users call. */
static otp_pid counter_start(long first)
{
    otp_pid pid;
    int rc = otp_spawn_opt(&(otp_spawn_opts){ .handler = &counter, .arg = &first, .arg_size = sizeof first }, &pid);
    if (rc != 0) otp_exit(OTP_ERROR(rc));
    return pid;
}

static void counter_increment(otp_pid c) { otp_send(c, INCREMENT, NULL, 0); }

static long counter_value(otp_pid c)
{
    long n;
    otp_call(c, VALUE, NULL, 0, &n, sizeof n, 5000);
    return n;
}

static void app(void *arg)
{
    (void)arg;
    otp_pid c = counter_start(10);
    printf("at first: %ld\n", counter_value(c));
    for (int i = 0; i < 5; i++) counter_increment(c);
    printf("after five: %ld\n", counter_value(c));
    otp_send(c, STOP, NULL, 0);
    if (otp_await_exit(c, OTP_INFINITY, NULL) == 0) printf("app: done\n");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
at first: 10
after five: 15
counter: ends at 15
app: done
*/
