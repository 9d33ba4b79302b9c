/* counter.c: the smallest useful server: casts change it, calls read it, a message that nobody knows is dropped.
   cc -O2 -pthread -I.. counter.c -o counter */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include <stdio.h>

enum { INCREMENT = 1, ADD, VALUE };

struct counter { long n; };

static otp_next counter_init(void *state, const void *arg, size_t size)
{
    struct counter *c = state;                  /* zeroed, in the server's own heap */
    if (size == sizeof c->n) c->n = *(const long *)arg;
    return OTP_OK;
}

static otp_next counter_call(void *state, otp_from from, const otp_msg *m)
{
    struct counter *c = state;
    switch (m->tag) {
    case VALUE: return OTP_SERVER_REPLY(from, c->n);
    default: return otp_stop_with(OTP_ERROR(OTP_EBADCALL));
    }
}

static otp_next counter_cast(void *state, const otp_msg *m)
{
    struct counter *c = state;
    switch (m->tag) {
    case INCREMENT: c->n++; break;
    case ADD: c->n += *OTP_PAYLOAD(m, long); break;
    }
    return OTP_OK;
}

static void counter_terminate(void *state, const otp_reason *why)
{
    const struct counter *c = state;
    char text[64];
    if (otp_format_reason(why, text, sizeof text) > 0) printf("ends at %ld: %s\n", c->n, text);
}

static const otp_server counter = {
    .name = "counter", .state_size = sizeof(struct counter), .init = counter_init, .call = counter_call,
    .cast = counter_cast, .terminate = counter_terminate,
};

/* What clients use. They need not know that it is a server. */
static void increment(const char *name) { (void)otp_cast(otp_whereis(name), INCREMENT, NULL, 0); }

static long value(const char *name)
{
    long n = 0;
    otp_call(otp_whereis(name), VALUE, NULL, 0, &n, sizeof n, 5000);
    return n;
}

static void app(void *arg)
{
    (void)arg;
    long start = 40;
    otp_server_opts opts = { .arg = &start, .arg_size = sizeof start, .name = "visits" };
    otp_pid c = otp_server_start_link(&counter, &opts);
    increment("visits");
    increment("visits");
    printf("%ld\n", value("visits"));
    if (otp_server_start(&counter, &opts).id == 0)
        printf("a second one: %s\n", otp_strerror(otp_start_result(NULL)));
    if (otp_server_stop(c, OTP_NORMAL, 5000) != 0) printf("it did not stop\n");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
42
a second one: already there
ends at 42: normal
*/
