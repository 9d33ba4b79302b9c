/* limiter.h: a rate limiter as a server; rate_limiter.c shows it. */
#ifndef LIMITER_H
#define LIMITER_H

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

/* 0: allowed; else the ms after which it is worth asking again. */
static int64_t limiter_ask(otp_pid limiter_pid, const char *key)
{
    int64_t wait = 0;
    otp_call(limiter_pid, ASK, key, strlen(key) + 1, &wait, sizeof wait, 5000);
    return wait;
}

#endif
