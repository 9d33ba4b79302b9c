/* A client's connection: a process that reads commands, asks the shards, and writes the replies, for kv_server.c.
                                                                                     SPDX-License-Identifier: MIT

   All commands that one read has brought make one batch: each becomes operations in the requests to the shards, and
   steps in a plan that tells how the reply is put together. Then every shard involved is asked once, and the replies
   go out with one write. Arguments are used where they were read, in c->in. */

#ifndef KV_CONNECTION_H
#define KV_CONNECTION_H

#include "buffer.h"
#include "shard.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REDIS_VERSION "7.0.0"           /* what clients are told they may expect */

/* What the program was started with; constant once the first process runs. */
static struct config {
    int port, schedulers;
    const char *bind;
    uint32_t shards, max_clients, max_value;
    bool debug;
    uint64_t hash_seed;
    int64_t started;
    otp_pid *shard;                     /* [shards] */
} config;

static atomic_bool stopping;            /* connections end when they have answered what they have read */

/* Requests to the process that knows all connections (kv_server.c), registered under this name. */
#define CLIENTS "clients"
enum clients_tag { CLIENTS_NEW = 1, CLIENTS_NAME, CLIENTS_LIST, CLIENTS_STOP, CLIENTS_KILL };

typedef struct client_name {
    int fd;
    char name[64];
} client_name;

/* -- the connection -------------------------------------------------------------------------------------- */

typedef struct argument {
    const char *p;                      /* set once the command is complete: until then the buffer may move */
    size_t at, len;                     /* at: behind the start of the command */
} argument;

typedef enum step_kind {
    STEP_TEXT,                          /* len bytes of c->text */
    STEP_COPY,                          /* a result as it is */
    STEP_DROP,                          /* a result that is +OK or nothing; an error becomes the answer of STEP_OK */
    STEP_ADD,                           /* a number, added to the sum */
    STEP_OK, STEP_SUM,                  /* answer with what was gathered so far */
    STEP_KEYS,                          /* one result of each shard, joined to one array */
    STEP_STATS, STEP_INFO               /* one result, added up; the text of INFO from all of them */
} step_kind;

typedef struct step {
    uint16_t kind, shard;
    uint32_t len;
} step;

typedef struct ask {                    /* what goes to one shard in this batch */
    buf request;
    otp_ref ref;
    const otp_msg *reply;
    const char *result;                 /* the next one in the reply */
} ask;

typedef struct connection {
    int fd;
    uint64_t id;
    bool closing;
    char name[64];
    /* input: in.data[start] begins the first command that is not complete, at is how far it is understood */
    buf in;
    size_t start, at, need;             /* need: bytes that `in` will have when the argument is complete, 0: unknown */
    int64_t missing;                    /* arguments that the command still lacks; 0: it has not begun */
    argument *argv;
    size_t argc, argv_cap;
    /* the batch */
    uint32_t commands, batch_max;
    uint32_t asked;                     /* shards with a request */
    ask *asks;                          /* [shards] */
    step *steps;
    size_t step_count, step_cap;
    buf text, out;
} connection;

typedef struct connection_args {
    int fd;
    uint64_t id;
} connection_args;

#define IN_FIRST ((size_t)16384)
#define MAX_ARGS (1024 * 1024)
#define MAX_INLINE ((size_t)65536)
#define MAX_COMMAND ((size_t)1 << 30)   /* bytes of one command with all its arguments */
#define BATCH_MAX 512u

static void *grow(void *block, size_t *cap, size_t first, size_t size)
{
    size_t n = *cap == 0 ? first : *cap * 2;
    void *bigger = otp_realloc(block, n * size);
    if (bigger == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    *cap = n;
    return bigger;
}

/* -- the plan ------------------------------------------------------------------------------------------ */

static inline void plan(connection *c, step_kind kind, uint32_t shard_index, size_t len)
{
    if (c->step_count == c->step_cap) c->steps = grow(c->steps, &c->step_cap, 32, sizeof(step));
    c->steps[c->step_count++] = (step){ (uint16_t)kind, (uint16_t)shard_index, (uint32_t)len };
}

/* The bytes that were put into c->text since `before` are the next part of the reply. */
static void plan_text(connection *c, size_t before) { plan(c, STEP_TEXT, 0, c->text.size - before); }

static void say(connection *c, const char *text)
{
    put_text(&c->text, text);
    plan(c, STEP_TEXT, 0, strlen(text));
}

static void say_number(connection *c, char sign, int64_t value)
{
    size_t before = c->text.size;
    put_number(&c->text, sign, value);
    plan_text(c, before);
}

static void say_bulk(connection *c, const void *data, size_t len)
{
    size_t before = c->text.size;
    put_bulk(&c->text, data, len);
    plan_text(c, before);
}

/* An error line; what the client sent may be in it, but no line break. */
static void say_error(connection *c, const char *format, ...) OTP_PRINTF(2, 3);
static void say_error(connection *c, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0) line[0] = '\0';
    for (char *p = line; *p != '\0'; p++)
        if (*p == '\r' || *p == '\n') *p = ' ';
    say(c, "-");
    say(c, line);
    say(c, "\r\n");
}

/* Adds an operation to the request to a shard. */
static void add_op(connection *c, uint32_t shard_index, const op *o, const char *key, const char *value)
{
    ask *a = &c->asks[shard_index];
    size_t size = op_size(o);
    if (a->request.size == 0) c->asked++;
    char *to = buf_room(&a->request, size);
    memcpy(to, o, sizeof *o);
    if (o->key_len > 0) memcpy(to + sizeof *o, key, o->key_len);
    if (o->value_len > 0) memcpy(to + sizeof *o + o->key_len, value, o->value_len);
    a->request.size += size;
}

static const argument no_argument = { "", 0, 0 };

/* An operation on one key, which goes to the shard that owns it. */
static void ask_key(connection *c, step_kind kind, op_code code, int flags, const argument *key, const argument *value,
                    int64_t number)
{
    uint64_t hash = hash_bytes(key->p, key->len, config.hash_seed);
    op o = { .code = (uint16_t)code, .flags = (uint16_t)flags, .key_len = (uint32_t)key->len,
             .value_len = (uint32_t)value->len, .hash = hash, .number = number };
    uint32_t owner = (uint32_t)((hash >> 32) * config.shards >> 32);
    add_op(c, owner, &o, key->p, value->p);
    plan(c, kind, owner, 0);
}

/* The same operation on every shard; STEP_KEYS takes all results at once. */
static void ask_all(connection *c, step_kind kind, op_code code, const argument *value)
{
    op o = { .code = (uint16_t)code, .value_len = (uint32_t)value->len };
    for (uint32_t i = 0; i < config.shards; i++) {
        add_op(c, i, &o, "", value->p);
        if (i == 0 || kind != STEP_KEYS) plan(c, kind, i, 0);
    }
}

#include "commands.h"

/* -- a batch: asking the shards, putting the replies together -------------------------------------------------- */

static const char *take_result(ask *a, result_len *len)
{
    memcpy(len, a->result, sizeof *len);
    const char *data = a->result + sizeof *len;
    a->result = data + *len;
    return data;
}

/* Asks every shard that has something to do; returns 0 or an error. A call hands this core to the shard and back, which is
   quicker than waking another core for a few keys: so only large batches are sent to all shards at the same time. */
static int ask_shards(connection *c)
{
    bool together = c->asked > 1 && c->step_count / c->asked > 64;
    int error = 0;
    for (uint32_t i = 0; i < config.shards; i++) {
        ask *a = &c->asks[i];
        if (a->request.size == 0) continue;
        if (together) {
            a->ref = otp_send_request(config.shard[i], SHARD_RUN, a->request.data, a->request.size);
            if (a->ref.id == 0) error = OTP_ENOMEM;
            continue;
        }
        a->reply = otp_call_msg(config.shard[i], SHARD_RUN, a->request.data, a->request.size, OTP_INFINITY, &error);
        if (a->reply == NULL) return error;
        if (c->asked > 1) a->reply = otp_keep(a->reply);
        a->result = a->reply->data;
    }
    for (uint32_t i = 0; i < config.shards && together; i++) {
        ask *a = &c->asks[i];
        if (a->ref.id == 0) continue;
        a->reply = otp_keep(otp_recv_ref(a->ref, OTP_INFINITY));
        a->result = a->reply->data;
        int code = otp_reply_code(a->reply);
        if (code != 0) error = code;
    }
    return error;
}

static void put_keys(connection *c)
{
    int64_t total = 0, count;
    result_len len;
    for (uint32_t i = 0; i < config.shards; i++) {
        memcpy(&count, c->asks[i].result + sizeof len, sizeof count);
        total += count;
    }
    put_number(&c->out, '*', total);
    for (uint32_t i = 0; i < config.shards; i++) {
        const char *data = take_result(&c->asks[i], &len);
        buf_put(&c->out, data + sizeof count, len - sizeof count);
    }
}

static void put_replies(connection *c)
{
    const char *text = c->text.data;
    int64_t sum = 0, one;
    const char *failed = NULL;
    result_len len, failed_len = 0;
    shard_stats stats = { 0 };
    for (const step *s = c->steps, *end = s + c->step_count; s < end; s++) {
        const char *data;
        switch ((step_kind)s->kind) {
        case STEP_TEXT:
            buf_put(&c->out, text, s->len);
            text += s->len;
            break;
        case STEP_COPY:
            data = take_result(&c->asks[s->shard], &len);
            buf_put(&c->out, data, len);
            break;
        case STEP_DROP:
            data = take_result(&c->asks[s->shard], &len);
            if (len > 0 && data[0] == '-' && failed == NULL) {
                failed = data;
                failed_len = len;
            }
            break;
        case STEP_OK:
            if (failed == NULL) put_text(&c->out, REPLY_OK);
            else buf_put(&c->out, failed, failed_len);
            failed = NULL;
            break;
        case STEP_ADD:
            memcpy(&one, take_result(&c->asks[s->shard], &len), sizeof one);
            sum += one;
            break;
        case STEP_SUM:
            put_number(&c->out, ':', sum);
            sum = 0;
            break;
        case STEP_KEYS: put_keys(c); break;
        case STEP_STATS: add_stats(&stats, take_result(&c->asks[s->shard], &len)); break;
        case STEP_INFO:
            put_info(&c->out, &stats);
            stats = (shard_stats){ 0 };
            break;
        }
    }
}

/* Answers all commands that were read so far. Returns whether the connection goes on. */
static bool finish_batch(connection *c)
{
    if (c->step_count == 0) return !c->closing;
    int error = c->asked > 0 ? ask_shards(c) : 0;
    if (error == 0) {
        put_replies(c);
    } else {
        put_text(&c->out, "-ERR the store does not answer: ");
        put_text(&c->out, otp_strerror(error));
        put_text(&c->out, "\r\n");
        c->closing = true;
    }
    for (uint32_t i = 0; i < config.shards && c->asked > 0; i++) {
        ask *a = &c->asks[i];
        if (c->asked > 1 && a->reply != NULL) otp_drop(a->reply);
        a->reply = NULL;
        a->ref.id = 0;
        buf_clear(&a->request);
    }
    /* A client that fetches large values gets them one by one, so that what it makes us hold stays small. */
    c->batch_max = c->out.size > 1024 * 1024 ? 1 : BATCH_MAX;
    c->commands = 0;
    c->asked = 0;
    c->step_count = 0;
    buf_clear(&c->text);
    int64_t written = otp_write(c->fd, c->out.data, c->out.size, OTP_INFINITY);
    buf_clear(&c->out);
    return written >= 0 && !c->closing;
}

/* -- reading commands ------------------------------------------------------------------------------------ */

typedef enum parsed { PARSED_COMMAND, PARSED_PART, PARSED_BAD } parsed;

static parsed bad(connection *c, const char *what)
{
    say_error(c, "ERR Protocol error: %s", what);
    c->closing = true;
    return PARSED_BAD;
}

static inline void add_argument(connection *c, size_t at, size_t len)
{
    if (c->argc == c->argv_cap) c->argv = grow(c->argv, &c->argv_cap, 16, sizeof(argument));
    c->argv[c->argc++] = (argument){ .at = at - c->start, .len = len };
}

/* Reads "<number>\r\n" behind the character at *at; *at moves behind the line only when it is complete. */
static inline parsed parse_length(const connection *c, size_t *at, int64_t *value)
{
    const char *p = c->in.data + *at + 1, *end = c->in.data + c->in.size;
    bool negative = p < end && *p == '-';
    int64_t n = 0;
    int digits = 0;
    if (negative) p++;
    for (; p < end && *p >= '0' && *p <= '9'; p++, digits++) {
        if (digits == 18) return PARSED_BAD;
        n = n * 10 + (*p - '0');
    }
    if (p < end && (*p != '\r' || digits == 0)) return PARSED_BAD;
    if (end - p < 2) return PARSED_PART;
    if (p[1] != '\n') return PARSED_BAD;
    *value = negative ? -n : n;
    *at = (size_t)(p + 2 - c->in.data);
    return PARSED_COMMAND;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A command typed by hand: words on a line, possibly "quoted\x00" or 'quoted'. Unquotes in place. */
static parsed parse_inline(connection *c)
{
    char *p = c->in.data + c->at, *end = c->in.data + c->in.size;
    char *line_end = memchr(p, '\n', (size_t)(end - p));
    if (line_end == NULL) {
        if ((size_t)(end - p) > MAX_INLINE) return bad(c, "too big inline request");
        return PARSED_PART;
    }
    c->at = (size_t)(line_end + 1 - c->in.data);
    if (line_end > p && line_end[-1] == '\r') line_end--;
    while (p < line_end) {
        char *word = p, *to = p, quote = '\0';
        if (*p == ' ' || *p == '\t') {
            p++;
            continue;
        }
        if (*p == '"' || *p == '\'') quote = *p++;
        for (;; p++) {
            if (p >= line_end) {
                if (quote != '\0') return bad(c, "unbalanced quotes in request");
                break;
            }
            if (quote == '\0' ? *p == ' ' || *p == '\t' : *p == quote) break;
            if (quote == '\0' && (*p == '"' || *p == '\'')) return bad(c, "unbalanced quotes in request");
            if (quote == '"' && *p == '\\' && p + 1 < line_end) {
                static const char escapes[] = "n\nr\rt\tb\ba\a";
                p++;
                if (*p == 'x' && p + 2 < line_end && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
                    *to++ = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
                    p += 2;
                } else {
                    size_t i = 0;
                    while (escapes[i] != '\0' && escapes[i] != *p) i += 2;
                    *to++ = escapes[i] != '\0' ? escapes[i + 1] : *p;
                }
            } else if (quote == '\'' && *p == '\\' && p + 1 < line_end && p[1] == '\'') {
                *to++ = *++p;
            } else {
                *to++ = *p;
            }
        }
        if (quote != '\0' && ++p < line_end && *p != ' ' && *p != '\t') return bad(c, "unbalanced quotes in request");
        add_argument(c, (size_t)(word - c->in.data), (size_t)(to - word));
    }
    return PARSED_COMMAND;
}

static parsed parse_arguments(connection *c)
{
    while (c->missing > 0) {
        if (c->at == c->in.size) return PARSED_PART;
        char first = c->in.data[c->at];
        if (first != '$') {
            char what[] = "expected '$', got ' '";
            what[sizeof what - 3] = first >= ' ' && first <= '~' ? first : '?';
            return bad(c, what);
        }
        size_t at = c->at;
        int64_t len;
        parsed r = parse_length(c, &at, &len);
        if (r == PARSED_PART) return r;
        if (r == PARSED_BAD || len < 0 || len > config.max_value) return bad(c, "invalid bulk length");
        if (c->in.size - at < (size_t)len + 2) {
            c->need = at + (size_t)len + 2;
            return PARSED_PART;
        }
        add_argument(c, at, (size_t)len);
        at += (size_t)len;
        if (memcmp(c->in.data + at, "\r\n", 2) != 0) return bad(c, "expected a line break behind the bulk");
        c->at = at + 2;
        c->missing--;
    }
    return PARSED_COMMAND;
}

/* Finds the next command. A part of one is remembered, so that slow senders cost no more than quick ones. */
static parsed parse(connection *c)
{
    c->need = 0;
    for (;;) {
        parsed r;
        if (c->missing == 0) {
            c->start = c->at;
            c->argc = 0;
            if (c->at == c->in.size) return PARSED_PART;
            if (c->in.data[c->at] != '*') {
                r = parse_inline(c);
            } else {
                int64_t n;
                r = parse_length(c, &c->at, &n);
                if (r == PARSED_BAD || (r == PARSED_COMMAND && n > MAX_ARGS)) return bad(c, "invalid multibulk length");
                if (r == PARSED_COMMAND && n > 0) c->missing = n;
            }
        } else {
            r = PARSED_COMMAND;
        }
        if (r == PARSED_COMMAND) r = parse_arguments(c);
        if (r != PARSED_COMMAND) return r;
        if (c->argc == 0) continue;         /* an empty line, or "*0" */
        for (size_t i = 0; i < c->argc; i++) c->argv[i].p = c->in.data + c->start + c->argv[i].at;
        return PARSED_COMMAND;
    }
}

/* Makes room in c->in and reads what is there. Returns as otp_read. */
static int64_t read_more(connection *c)
{
    if (c->start == c->in.size) {
        c->start = c->at = 0;
        buf_clear(&c->in);
    } else if (c->start > 0 && c->in.cap - c->in.size < c->in.cap / 2) {
        c->in.size -= c->start;
        memmove(c->in.data, c->in.data + c->start, c->in.size);
        c->at -= c->start;
        if (c->need > 0) c->need -= c->start;
        c->start = 0;
    }
    if (c->in.size - c->start > MAX_COMMAND) {
        bad(c, "too big request");
        finish_batch(c);
        return OTP_ESIZE;
    }
    /* Room for the rest of a large value, but no more than has arrived already: its length is only a promise. */
    size_t room = c->need > c->in.size ? c->need - c->in.size : IN_FIRST / 8;
    size_t most = c->in.size > IN_FIRST ? c->in.size : IN_FIRST;
    buf_room(&c->in, c->in.cap == 0 || room > most ? most : room);
    bool large = c->in.cap > BUF_SMALL || c->out.cap > BUF_SMALL;
    int64_t n = otp_read(c->fd, c->in.data + c->in.size, c->in.cap - c->in.size, large ? 1000 : OTP_INFINITY);
    if (n == OTP_ETIMEOUT) {                /* quiet for a second: give back what large values needed */
        if (c->in.size == 0) buf_release(&c->in);
        buf_release(&c->out);
        for (uint32_t i = 0; i < config.shards; i++) buf_release(&c->asks[i].request);
        buf_room(&c->in, IN_FIRST);
        n = otp_read(c->fd, c->in.data + c->in.size, c->in.cap - c->in.size, OTP_INFINITY);
    }
    if (n > 0) c->in.size += (size_t)n;
    if (c->in.size == c->in.cap && c->in.cap < BUF_SMALL) buf_reserve(&c->in, c->in.cap);   /* a long pipeline */
    return n;
}

/* The process. Its memory goes with it, and the process "clients" closes the fd when it has ended, however it ends. */
static void connection_run(void *arg)
{
    const connection_args *args = arg;
    connection *c = otp_calloc(1, sizeof *c);
    if (c == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    c->asks = otp_calloc(config.shards, sizeof *c->asks);
    if (c->asks == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    c->fd = args->fd;
    c->id = args->id;
    c->batch_max = BATCH_MAX;
    for (;;) {
        parsed r = PARSED_PART;
        while (!c->closing && c->commands < c->batch_max && (r = parse(c)) == PARSED_COMMAND) {
            c->commands++;
            run_command(c);
        }
        if (!finish_batch(c)) return;
        if (r == PARSED_COMMAND) continue;
        if (atomic_load_explicit(&stopping, memory_order_relaxed)) return;      /* a hint: a late look does no harm */
        if (read_more(c) <= 0) return;
    }
}

#endif
