/* rate_limiter.c: at most n requests for each key: a token bucket, and a sliding window without bursts at its edges.
   cc -O2 -pthread -I.. rate_limiter.c -o rate_limiter */

#define OTP_IMPLEMENTATION
#include "otp_server.h"
#include <stdio.h>
#include <string.h>

enum { ASK = 1, COUNT, SWEEP };
enum kind { BUCKET, WINDOW };
enum { LIMIT = 3, INTERVAL = 1000 };                /* 3 in a second */

struct key {
    struct key *next;
    char name[16];
    int64_t last, tokens;       /* of a bucket: in 1/INTERVAL of a token */
    int64_t times[LIMIT];       /* of a window: the last LIMIT allowed ones, the oldest at `at` */
    int at;
};
struct limiter { enum kind kind; struct key *first; int keys; };

static otp_next init(void *state, const void *arg, size_t size)
{
    struct limiter *l = state;
    if (size == sizeof l->kind) l->kind = *(const enum kind *)arg;
    otp_timer_opts sweep = { .time = INTERVAL, .interval = INTERVAL, .to = otp_self(), .tag = SWEEP };
    return otp_timer(&sweep).id ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

/* 0: allowed; else the ms after which it is worth asking again. */
static int64_t take(enum kind kind, struct key *k, int64_t now)
{
    int64_t oldest = k->times[k->at], full = (int64_t)LIMIT * INTERVAL;
    k->tokens += (now - k->last) * LIMIT;
    if (k->tokens > full) k->tokens = full;
    k->last = now;
    if (kind == BUCKET && k->tokens < INTERVAL) return (INTERVAL - k->tokens + LIMIT - 1) / LIMIT;
    if (kind == WINDOW && now - oldest < INTERVAL) return oldest + INTERVAL - now;
    k->tokens -= INTERVAL;
    k->times[k->at] = now;
    k->at = (k->at + 1) % LIMIT;
    return 0;
}

static otp_next call(void *state, otp_from from, const otp_msg *m)
{
    struct limiter *l = state;
    if (m->tag == COUNT) return OTP_SERVER_REPLY(from, l->keys);
    const char *name = (const char *)m->data;
    struct key *k = l->first;
    while (k && strcmp(k->name, name) != 0) k = k->next;
    if (!k) {
        if (!(k = otp_calloc(1, sizeof *k))) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
        (void)snprintf(k->name, sizeof k->name, "%s", name);
        k->last = otp_now(), k->tokens = (int64_t)LIMIT * INTERVAL;
        for (int i = 0; i < LIMIT; i++) k->times[i] = k->last - INTERVAL;
        k->next = l->first, l->first = k, l->keys++;
    }
    return OTP_SERVER_REPLY(from, take(l->kind, k, otp_now()));
}

static otp_next info(void *state, const otp_msg *m)
{
    struct limiter *l = state;                      /* a key that was idle for an interval is as good as new */
    for (struct key **link = &l->first, *k; m->tag == SWEEP && (k = *link) != NULL;) {
        if (otp_now() - k->last < INTERVAL) link = &k->next;
        else *link = k->next, otp_free(k), l->keys--;
    }
    return OTP_OK;
}

static const otp_server limiter = { "limiter", sizeof(struct limiter), .init = init, .call = call, .info = info };

static void app(void *arg)
{
    (void)arg;
    for (enum kind kind = BUCKET; kind <= WINDOW; kind++) {
        int keys, allowed = 0;
        int64_t wait = 0;
        otp_pid l = otp_server_start_link(&limiter, &(otp_server_opts){ .arg = &kind, .arg_size = sizeof kind });
        for (int ms = 0; ms < 3000; ms += 50) {     /* every 50 ms for 3 s */
            otp_call(l, ASK, "ann", 4, &wait, sizeof wait, 5000);
            if (wait == 0) allowed++;
            otp_sleep(50);
        }
        otp_call(l, ASK, "bob", 4, &wait, sizeof wait, 5000);
        otp_call(l, COUNT, NULL, 0, &keys, sizeof keys, 5000);
        printf("%s: %d of 60 allowed, %d keys", kind == BUCKET ? "bucket" : "window", allowed, keys);
        otp_sleep(3 * INTERVAL);
        otp_call(l, COUNT, NULL, 0, &keys, sizeof keys, 5000);
        printf(", %d when idle\n", keys);
    }
}

int main(void) { return otp_run(app, NULL, &(otp_opts){ .deterministic = true }); }     /* virtual time */

/* Output:
bucket: 11 of 60 allowed, 2 keys, 0 when idle
window: 9 of 60 allowed, 2 keys, 0 when idle
*/
