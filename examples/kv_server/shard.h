/* A shard of the store: a handler process that owns its part of the keys, for kv_server.c. SPDX-License-Identifier: MIT

   A request (SHARD_RUN) is a row of operations, run one after the other; the answer is a row of results in the same
   order, each with its length before it. So a whole pipeline of commands costs one message there and one back. */

#ifndef KV_SHARD_H
#define KV_SHARD_H

#include "buffer.h"
#include "store.h"

enum shard_tag { SHARD_RUN = 1, SHARD_TICK };

typedef enum op_code {
    OP_GET, OP_SET, OP_DEL, OP_EXISTS, OP_ADD, OP_APPEND, OP_STRLEN, OP_EXPIRE, OP_TTL, OP_PERSIST, OP_TYPE,
    OP_KEYS, OP_SCAN, OP_COUNT, OP_STATS, OP_FLUSH
} op_code;

enum op_flag {
    SET_NX = 1, SET_XX = 2, SET_GET = 4, SET_KEEPTTL = 8,
    SET_INT = 16,                       /* answers 1 or 0, as SETNX does */
    GET_DELETE = 1,                     /* GETDEL */
    TTL_MS = 1                          /* PTTL */
};

/* The key and the value follow it, padded to 8 bytes together. */
typedef struct op {
    uint16_t code, flags;
    uint32_t key_len, value_len;
    uint32_t count;                     /* of SCAN */
    uint64_t hash;
    int64_t number;                     /* what to add, the time to live in ms, or the cursor of SCAN */
} op;

/* The results of OP_DEL, OP_EXISTS and OP_COUNT are an int64_t, of OP_STATS this; of OP_KEYS an int64_t and as many
   bulks; of all others a reply that goes to the client as it is. */
typedef struct shard_stats {
    int64_t keys, expires, ops, bytes, expired, hits, misses;
} shard_stats;

typedef uint64_t result_len;

typedef struct shard_args {
    uint32_t index, count;              /* this one, and how many there are */
    uint32_t max_value;
} shard_args;

typedef struct shard {
    store store;
    shard_args args;
    int64_t now;                        /* 0: not read yet for this request */
    otp_ref timer;                      /* for the nearest expiry */
    int64_t timer_when;                 /* INT64_MAX: none is running */
    buf out, scan;
    shard_stats stats;
} shard;

static otp_next shard_init(void *state, const void *arg, size_t size)
{
    shard *s = state;
    if (size != sizeof s->args) return otp_stop_with(OTP_ERROR(OTP_EBADARG));
    memcpy(&s->args, arg, size);
    s->timer_when = INT64_MAX;
    if (!store_init(&s->store)) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    return OTP_OK;
}

static inline int64_t shard_now(shard *s)
{
    if (s->now == 0) s->now = otp_now();
    return s->now;
}

/* Finds a key that is there and not over. */
static inline entry **shard_find(shard *s, const op *o, const char *key)
{
    entry **at = store_find(&s->store, o->hash, key, o->key_len);
    if (at != NULL && (*at)->due != 0 && store_when(&s->store, *at) <= shard_now(s)) {
        store_delete(&s->store, at);
        s->stats.expired++;
        return NULL;
    }
    return at;
}

static void put_out_of_memory(buf *out) { put_text(out, "-OOM command not allowed, memory is out\r\n"); }

static void put_value(buf *out, entry **at)
{
    if (at == NULL) put_text(out, REPLY_NULL);
    else put_bulk(out, entry_value(*at), (*at)->value_len);
}

static void run_get(shard *s, const op *o, const char *key)
{
    entry **at = shard_find(s, o, key);
    if (at == NULL) s->stats.misses++;
    else s->stats.hits++;
    put_value(&s->out, at);
    if (at != NULL && (o->flags & GET_DELETE) != 0) store_delete(&s->store, at);
}

static void run_set(shard *s, const op *o, const char *key, const char *value)
{
    entry **at = shard_find(s, o, key);
    size_t start = s->out.size;
    bool refused = ((o->flags & SET_NX) != 0 && at != NULL) || ((o->flags & SET_XX) != 0 && at == NULL);
    if ((o->flags & SET_GET) != 0) put_value(&s->out, at);
    else if ((o->flags & SET_INT) != 0) put_number(&s->out, ':', refused ? 0 : 1);
    else put_text(&s->out, refused ? REPLY_NULL : REPLY_OK);
    if (refused) return;
    bool added = at == NULL;
    if (added) at = store_add(&s->store, o->hash, key, o->key_len, o->value_len);
    if (at == NULL || !store_set(&s->store, at, value, o->value_len)
        || (o->number > 0 && !store_expire(&s->store, *at, shard_now(s) + o->number))) {
        if (added && at != NULL) store_delete(&s->store, at);
        s->out.size = start;
        put_out_of_memory(&s->out);
        return;
    }
    if (o->number == 0 && (o->flags & SET_KEEPTTL) == 0) store_persist(&s->store, *at);
}

static void run_add(shard *s, const op *o, const char *key)
{
    entry **at = shard_find(s, o, key);
    int64_t value = 0;
    char text[INT_DIGITS];
    if (at != NULL && !text_to_int(entry_value(*at), (*at)->value_len, &value)) {
        put_text(&s->out, REPLY_NOT_INT);
        return;
    }
    if ((o->number > 0 && value > INT64_MAX - o->number) || (o->number < 0 && value < INT64_MIN - o->number)) {
        put_text(&s->out, "-ERR increment or decrement would overflow\r\n");
        return;
    }
    value += o->number;
    uint32_t length = (uint32_t)int_to_text(value, text);
    if (at == NULL) at = store_add(&s->store, o->hash, key, o->key_len, INT_DIGITS);
    if (at == NULL || !store_set(&s->store, at, text, length)) put_out_of_memory(&s->out);
    else put_number(&s->out, ':', value);
}

static void run_append(shard *s, const op *o, const char *key, const char *value)
{
    entry **at = shard_find(s, o, key);
    if (at != NULL && (*at)->value_len > s->args.max_value - o->value_len) {
        put_text(&s->out, "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
        return;
    }
    if (at == NULL) at = store_add(&s->store, o->hash, key, o->key_len, o->value_len);
    if (at == NULL || !store_append(&s->store, at, value, o->value_len, s->args.max_value)) put_out_of_memory(&s->out);
    else put_number(&s->out, ':', (*at)->value_len);
}

static void run_expire(shard *s, const op *o, const char *key)
{
    entry **at = shard_find(s, o, key);
    bool done = at != NULL;
    if (done && o->number <= 0) store_delete(&s->store, at);
    else if (done) done = store_expire(&s->store, *at, shard_now(s) + o->number);
    put_number(&s->out, ':', done ? 1 : 0);
}

static void run_ttl(shard *s, const op *o, const char *key)
{
    entry **at = shard_find(s, o, key);
    int64_t left = -2;
    if (at != NULL && (*at)->due == 0) left = -1;
    else if (at != NULL) left = store_when(&s->store, *at) - shard_now(s);
    if (left >= 0 && (o->flags & TTL_MS) == 0) left = (left + 500) / 1000;
    put_number(&s->out, ':', left);
}

static void run_persist(shard *s, const op *o, const char *key)
{
    entry **at = shard_find(s, o, key);
    bool had = at != NULL && (*at)->due != 0;
    if (had) store_persist(&s->store, *at);
    put_number(&s->out, ':', had ? 1 : 0);
}

/* KEYS and SCAN */
typedef struct lister {
    shard *shard;
    buf *out;
    const char *pattern;
    size_t pattern_len;
    int64_t found;
} lister;

static void list_entry(const entry *e, void *arg)
{
    lister *l = arg;
    if (e->due != 0 && store_when(&l->shard->store, e) <= shard_now(l->shard)) return;
    if (l->pattern_len > 0 && !glob_match(l->pattern, l->pattern_len, e->bytes, e->key_len)) return;
    put_bulk(l->out, e->bytes, e->key_len);
    l->found++;
}

static void run_keys(shard *s, const op *o, const char *pattern)
{
    size_t start = s->out.size;
    lister l = { s, &s->out, pattern, o->value_len, 0 };
    buf_put(&s->out, &l.found, sizeof l.found);
    store_walk(&s->store, list_entry, &l);
    memcpy(s->out.data + start, &l.found, sizeof l.found);
}

/* The cursor that clients see says in which shard to go on, too: bucket * shards + shard. */
static void run_scan(shard *s, const op *o, const char *pattern)
{
    lister l = { s, &s->scan, pattern, o->value_len, 0 };
    uint64_t cursor = (uint64_t)o->number, budget = (uint64_t)o->count * 10;
    char text[INT_DIGITS];
    store_tend(&s->store);
    do cursor = store_scan(&s->store, cursor, list_entry, &l);
    while (cursor != 0 && --budget > 0 && l.found < (int64_t)o->count);
    if (cursor != 0) cursor = cursor * s->args.count + s->args.index;
    else if (s->args.index + 1 < s->args.count) cursor = s->args.index + 1;
    put_text(&s->out, "*2\r\n");
    put_bulk(&s->out, text, int_to_text((int64_t)cursor, text));
    put_number(&s->out, '*', l.found);
    buf_put(&s->out, s->scan.data, s->scan.size);
    buf_clear(&s->scan);
}

static void put_count(shard *s, int64_t count) { buf_put(&s->out, &count, sizeof count); }

static void shard_run_op(shard *s, const op *o, const char *key, const char *value)
{
    entry **at;
    switch ((op_code)o->code) {
    case OP_GET: run_get(s, o, key); break;
    case OP_SET: run_set(s, o, key, value); break;
    case OP_ADD: run_add(s, o, key); break;
    case OP_APPEND: run_append(s, o, key, value); break;
    case OP_EXPIRE: run_expire(s, o, key); break;
    case OP_TTL: run_ttl(s, o, key); break;
    case OP_PERSIST: run_persist(s, o, key); break;
    case OP_DEL:
        at = shard_find(s, o, key);
        if (at != NULL) store_delete(&s->store, at);
        put_count(s, at != NULL);
        break;
    case OP_EXISTS: put_count(s, shard_find(s, o, key) != NULL); break;
    case OP_STRLEN:
        at = shard_find(s, o, key);
        put_number(&s->out, ':', at == NULL ? 0 : (*at)->value_len);
        break;
    case OP_TYPE: put_text(&s->out, shard_find(s, o, key) == NULL ? "+none\r\n" : "+string\r\n"); break;
    case OP_KEYS: run_keys(s, o, value); break;
    case OP_SCAN: run_scan(s, o, value); break;
    case OP_COUNT: put_count(s, (int64_t)s->store.count); break;
    case OP_STATS:
        s->stats.keys = (int64_t)s->store.count;
        s->stats.expires = s->store.due_count;
        s->stats.bytes = (int64_t)s->store.bytes;
        buf_put(&s->out, &s->stats, sizeof s->stats);
        break;
    case OP_FLUSH: store_flush(&s->store); break;
    }
}

static inline size_t op_size(const op *o) { return (sizeof *o + o->key_len + (size_t)o->value_len + 7) & ~(size_t)7; }

/* Operations are 8-aligned, as the data of a message is. */
static inline const op *op_at(const char *at) { return (const op *)(const void *)at; }

/* Has the memory that a pipeline will need fetched all at once: looked up one after the other, each key would wait. */
static void prefetch(const store *s, const char *at, const char *end)
{
    for (const char *p = at; p < end; p += op_size(op_at(p)))
        __builtin_prefetch(&s->table[0][op_at(p)->hash & s->mask[0]]);
    for (const char *p = at; p < end; p += op_size(op_at(p)))
        __builtin_prefetch(s->table[0][op_at(p)->hash & s->mask[0]]);
}

/* Runs all operations of a request, and answers them with one message. */
static void shard_run(shard *s, const otp_msg *m)
{
    const char *at = m->data, *end = at + m->size;
    if (op_size(op_at(at)) < m->size) prefetch(&s->store, at, end);
    while (at < end) {
        const op *o = op_at(at);
        const char *key = at + sizeof *o;
        size_t start = s->out.size;
        buf_room(&s->out, sizeof(result_len));
        s->out.size += sizeof(result_len);
        shard_run_op(s, o, key, key + o->key_len);
        result_len length = (result_len)(s->out.size - start - sizeof length);
        memcpy(s->out.data + start, &length, sizeof length);
        s->stats.ops++;
        at += op_size(o);
    }
    int error = otp_reply(otp_from_of(m), s->out.data, s->out.size);
    if (error != 0) otp_reply_error(otp_from_of(m), error);
    buf_clear(&s->out);
}

/* Keeps a timer running for the nearest expiry. One that fires too early, since its key is gone, does no harm. */
static void shard_arm(shard *s)
{
    int64_t when = s->store.due_count == 0 ? INT64_MAX : s->store.heap[0].when;
    if (when >= s->timer_when) return;
    if (s->timer_when != INT64_MAX) otp_cancel_timer(s->timer);
    int64_t left = when - shard_now(s);
    s->timer = otp_send_after(left < 0 ? 0 : left, otp_self(), SHARD_TICK, NULL, 0);
    s->timer_when = s->timer.id != 0 ? when : INT64_MAX;    /* without memory: tried again by the next request */
}

static otp_next shard_message(void *state, const otp_msg *m)
{
    shard *s = state;
    s->now = 0;
    switch (m->tag) {
    case SHARD_RUN: shard_run(s, m); break;
    case SHARD_TICK:
        s->timer_when = INT64_MAX;
        s->stats.expired += (int64_t)store_sweep(&s->store, shard_now(s), 1000);
        break;
    default: break;
    }
    if (s->store.due_count > 0) shard_arm(s);
    return OTP_OK;
}

static const otp_handler shard_handler = {
    .name = "shard", .state_size = sizeof(shard), .init = shard_init, .message = shard_message,
};

#endif
