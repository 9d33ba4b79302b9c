/* otp_server.h: gen_server for otp.h.                                       SPDX-License-Identifier: MIT

   A server is a process with a state and a callback for each kind of message: requests that want an answer (call),
   requests that do not (cast), and everything else (info). Between messages it has no stack: an idle one costs a few
   hundred bytes.

   In ONE .c file of the program, before the includes:

       #define OTP_IMPLEMENTATION
       #include "otp_server.h"
       #include <stdio.h>

       enum { INCREMENT = 1, VALUE };
       struct counter { long n; };

       static otp_next counter_call(void *state, otp_from from, const otp_msg *m)
       {
           struct counter *c = state;                  // zeroed, in the server's own heap
           switch (m->tag) {
           case VALUE: return OTP_SERVER_REPLY(from, c->n);
           default:    return otp_stop_with(OTP_ERROR(OTP_EBADCALL));      // let it crash
           }
       }

       static otp_next counter_cast(void *state, const otp_msg *m)
       {
           struct counter *c = state;
           if (m->tag == INCREMENT) c->n++;
           return OTP_OK;
       }

       static const otp_server counter = {
           .name = "counter", .state_size = sizeof(struct counter), .call = counter_call, .cast = counter_cast,
       };

       static void app(void *arg)
       {
           (void)arg;
           long n = 0;
           otp_pid c = otp_server_start_link(&counter, NULL);
           otp_cast(c, INCREMENT, NULL, 0);
           otp_call(c, VALUE, NULL, 0, &n, sizeof n, 5000);
           printf("%ld\n", n);
       }

       int main(void) { return otp_run(app, NULL, NULL); }

   CONTENTS (search for the marks)
     1 config          none of its own: see otp.h
     2 types           >> server types
     3 functions       >> server functions   start, answers, stop, several servers
     4 implementation  >> server implementation

   NEEDS    otp.h beside it. A client needs nothing of this header: otp_call, otp_try_call, otp_cast, otp_send_request,
            otp_reply and the system requests OTP_SYS_… are otp.h's.
   NOT HERE supervision (otp_supervisor.h), state machines (otp_statem.h).
   LIMITS   - A callback that waits (a call to another server, a sleep, a read) keeps its stack until it returns, and the
              server handles nothing else meanwhile.
            - Hibernation is what every server does between messages; there is nothing to ask for.
   NAMES    otp_server_ is public, otp__server_ is private. Callbacks are called as in gen_server, without `handle_`. */

#include "otp.h"

#ifndef OTP_SERVER_H_INCLUDED
#define OTP_SERVER_H_INCLUDED

#ifdef __cplusplus
extern "C" {
#endif

/* -- 2 types --------------------------------------------------------------------------------------------
   >> server types   Every callback gets the state, and returns how to go on: OTP_OK, OTP_SERVER_REPLY(from, value),
   otp_idle(ms), otp_continue(what), otp_stop_with(reason), or otp_server_stop_reply(…). A request may be answered now,
   later, or by another process: keep `from` and call otp_reply. A missing callback is an unknown request: it ends the
   server, save for `info` (told in the log, dropped). */

typedef struct otp_server {
    const char *name;           /* for reports: "counter" */
    size_t state_size;          /* bytes of zeroed state in the server's heap */
    /* Runs before start returns; arg is valid until it returns. OTP_IGNORE: no server after all;
       otp_stop_with: the start fails, links break; otp_fail_with: the start fails quietly. NULL: OTP_OK. */
    otp_next (*init)(void *state, const void *arg, size_t size);
    otp_next (*call)(void *state, otp_from from, const otp_msg *m);
    otp_next (*cast)(void *state, const otp_msg *m);
    /* Everything else: what came by otp_send, OTP_DOWN, OTP_EXIT, timers, OTP_IDLE. */
    otp_next (*info)(void *state, const otp_msg *m);
    otp_next (*continued)(void *state, int what);   /* after otp_continue(what), before any other message */
    /* On a stop and on otp_exit in a callback; not on a kill, a crash, or an exit signal that is not trapped. */
    void (*terminate)(void *state, const otp_reason *why);
    int (*format)(const void *state, char *out, size_t size);   /* the state in words, for reports; as snprintf */
    /* On OTP_SYS_CHANGE_CODE, while suspended: makes the state fit new code. Returns 0, or an OTP_E… for the caller. */
    int (*code_change)(void *state, const void *extra, size_t size);
} otp_server;

typedef struct otp_server_opts {
    const void *arg;            /* for init */
    size_t arg_size;            /* > 0: arg is copied; 0: the pointer itself is handed over */
    const char *name;           /* registered before init runs; copied */
    int64_t timeout;            /* ms for init, then it is killed; 0: no limit */
    otp_priority priority;
    size_t stack_size;          /* of the stack that a callback runs on, as in otp_spawn_opts */
    size_t heap_limit;          /* as in otp_spawn_opts */
    uint32_t mailbox_limit;     /* as in otp_spawn_opts; a call to a full server fails with OTP_EFULL */
} otp_server_opts;

/* -- 3 functions ----------------------------------------------------------------------------------------
   >> server functions */

/* Starts a server, linked to the caller, and returns when its init has. When the caller ends, so does the server, with
   the same reason; if it traps exits, after terminate. opts may be NULL.
   returns: its pid; zero when it did not start: otp_start_result() tells why (OTP_EEXIST: the name is taken,
            OTP_EIGNORE, OTP_EDIED: init failed or crashed, OTP_ETIMEOUT, OTP_EBADARG, OTP_ENOMEM, OTP_ESYSLIMIT)
   caller: any process; may suspend
   like: gen_server:start_link/4 */
#define otp_server_start_link(server, ...)  /* ... is opts */ \
    otp_server_start_link_at((server), __VA_ARGS__, OTP_HERE("server"))
otp_pid otp_server_start_link_at(const otp_server *server, const otp_server_opts *opts, const char *place);

/* The same without a link.
   returns: as otp_server_start_link
   caller: any process; may suspend
   like: gen_server:start/4 */
#define otp_server_start(server, ...) otp_server_start_at((server), __VA_ARGS__, OTP_HERE("server")) /* ... is opts */
otp_pid otp_server_start_at(const otp_server *server, const otp_server_opts *opts, const char *place);

/* The same with a monitor; when the start fails there is none.
   returns: as otp_server_start_link, and *ref
   caller: any process; may suspend
   like: gen_server:start_monitor/4 */
#define otp_server_start_monitor(server, ...)  /* ... is opts, ref */ \
    otp_server_start_monitor_at((server), __VA_ARGS__, OTP_HERE("server"))
otp_pid otp_server_start_monitor_at(const otp_server *server, const otp_server_opts *opts, otp_ref *ref,
                                    const char *place);

/* Answers a request and goes on: what most callbacks return. The data is copied.
   returns: what the callback returns: OTP_OK; when memory is out the end of the server, so that the client learns it
   caller: a callback of the server
   like: {reply, Reply, State} */
static inline otp_next otp_server_reply(otp_from from, const void *data, size_t size)
{
    return otp_reply(from, data, size) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

/* The same with a value: return OTP_SERVER_REPLY(from, c->n). */
#ifdef __cplusplus
#define OTP_SERVER_REPLY(from, ...) otp__server_reply_value((from), __VA_ARGS__)
#else
#define OTP_SERVER_REPLY(from, ...)                                                                         \
    otp_server_reply((from), (__typeof__(__VA_ARGS__)[1]){ __VA_ARGS__ }, sizeof(__typeof__(__VA_ARGS__)))
#endif

/* Ends a server after the messages that it has, with terminate, and waits until it is dead. Also one that is suspended,
   and any other handler: it is OTP_SYS_TERMINATE with a monitor.
   returns: 0; OTP_ENOPROC; OTP_EDIED when it ended for another reason than `why`; OTP_ETIMEOUT: it will stop later;
            OTP_EBADARG, OTP_ESELF, OTP_ENOMEM
   caller: any process; may suspend
   like: gen_server:stop/3 */
int otp_server_stop(otp_pid server, otp_reason why, int64_t timeout);

/* Answers a request and stops: terminate runs first, then the answer is sent, then the server ends. The data is copied.
   returns: what the callback returns
   caller: a callback of the server
   like: {stop, Reason, Reply, State} */
otp_next otp_server_stop_reply(otp_from from, const void *data, size_t size, otp_reason why);

/* Asks n servers the same and gathers what is answered within `timeout` ms of the call: the i-th answer is copied to
   replies + i * reply_size, and sizes[i] (sizes may be NULL) gets its size or why there is none, as otp_try_call has it.
   An answer that comes later is dropped.
   returns: the number of answers; OTP_EBADARG, OTP_ENOMEM
   caller: any process; may suspend
   like: gen_server:multi_call/4 */
int64_t otp_server_multi_call(const otp_pid *servers, size_t n, int tag, const void *data, size_t size, void *replies,
                              size_t reply_size, int64_t *sizes, int64_t timeout);

#ifdef __cplusplus
}
template <class T> inline otp_next otp__server_reply_value(otp_from from, const T &v)
{
    return otp_server_reply(from, &v, sizeof v);
}
#endif

#endif /* OTP_SERVER_H_INCLUDED */

/* -- 4 implementation -----------------------------------------------------------------------------------
   >> server implementation   One otp_handler for all servers: its state is a header and, behind it, the user's. */
#if defined(OTP_IMPLEMENTATION) && !defined(OTP_SERVER_IMPLEMENTATION_DONE)
#define OTP_SERVER_IMPLEMENTATION_DONE

#include <string.h>

typedef struct otp__server_state {
    const otp_server *cb;
    struct otp__server_last *last;      /* an answer to be sent after terminate */
} otp__server_state;
_Static_assert(sizeof(otp__server_state) % 16 == 0 || sizeof(void *) < 8, "the user's state is aligned as a block");
#define OTP__SERVER_HEAD ((sizeof(otp__server_state) + 15) & ~(size_t)15)

typedef struct otp__server_last { otp_from from; size_t size; char data[]; } otp__server_last;

/* What init gets: the callbacks, and the user's argument behind or beside them. */
typedef struct otp__server_start { const otp_server *cb; const void *arg; size_t size; } otp__server_start;
#define OTP__SERVER_ARG ((sizeof(otp__server_start) + 15) & ~(size_t)15)

static void *otp__server_user(void *state) { return (char *)state + OTP__SERVER_HEAD; }

static otp_next otp__server_init(void *state, const void *arg, size_t size)
{
    otp__server_state *s = state;
    const otp__server_start *start = arg;
    (void)size;
    s->cb = start->cb;
    if (!s->cb->init) return OTP_OK;
    const void *theirs = start->size ? (const char *)arg + OTP__SERVER_ARG : start->arg;
    return s->cb->init(otp__server_user(state), theirs, start->size);
}

static otp_next otp__server_unknown(const otp__server_state *s, const otp_msg *m)
{
    if (!otp_is_call(m) && !otp_is_cast(m)) {
        otp_log(OTP_LOG_WARNING, "server %s has no info: message %d, %zu bytes, is dropped",
                s->cb->name ? s->cb->name : "", m->tag, m->size);
        return OTP_OK;
    }
    return otp_stop_with(OTP_ERROR(OTP_EBADCALL));
}

static otp_next otp__server_message(void *state, const otp_msg *m)
{
    const otp__server_state *s = state;
    void *user = otp__server_user(state);
    if (otp_is_call(m)) return s->cb->call ? s->cb->call(user, otp_from_of(m), m) : otp__server_unknown(s, m);
    if (otp_is_cast(m)) return s->cb->cast ? s->cb->cast(user, m) : otp__server_unknown(s, m);
    if (m->tag == OTP_CONTINUE)
        return s->cb->continued ? s->cb->continued(user, *OTP_PAYLOAD(m, int)) : otp_stop_with(OTP_ERROR(OTP_EBADCALL));
    return s->cb->info ? s->cb->info(user, m) : otp__server_unknown(s, m);
}

static void otp__server_terminate(void *state, const otp_reason *why)
{
    otp__server_state *s = state;
    if (s->cb->terminate) s->cb->terminate(otp__server_user(state), why);
    if (s->last && otp_reply(s->last->from, s->last->data, s->last->size) < 0)
        otp_log(OTP_LOG_ERROR, "server %s: no memory for its last answer", s->cb->name ? s->cb->name : "");
}

static bool otp__server_system(void *state, const otp_msg *m)
{
    otp__server_state *s = state;
    void *user = otp__server_user(state);
    otp_from from = otp_from_of(m);
    int rc = 0;
    switch (m->tag) {
    case OTP_SYS_GET_STATE: rc = otp_reply(from, user, s->cb->state_size); break;
    case OTP_SYS_REPLACE_STATE:
        if (m->size != s->cb->state_size) rc = otp_reply_error(from, OTP_ESIZE);
        else {
            if (m->size) memcpy(user, m->data, m->size);
            rc = otp_reply(from, NULL, 0);
        }
        break;
    case OTP_SYS_CHANGE_CODE: {
        int changed = s->cb->code_change ? s->cb->code_change(user, m->data, m->size) : OTP_EBADCALL;
        rc = changed < 0 ? otp_reply_error(from, changed) : otp_reply(from, NULL, 0);
        break;
    }
    default: return false;
    }
    if (rc < 0)
        otp_log(OTP_LOG_ERROR, "server %s: no memory to answer a system request", s->cb->name ? s->cb->name : "");
    return true;
}

static int otp__server_format(const void *state, char *out, size_t size)
{
    const otp__server_state *s = state;
    if (s->cb->format) return s->cb->format((const char *)state + OTP__SERVER_HEAD, out, size);
    return snprintf(out, size, "%zu bytes", s->cb->state_size);
}

static const char *otp__server_label(const void *state)
{
    const otp__server_state *s = state;
    return s->cb->name ? s->cb->name : "server";
}

static const otp_handler otp__server_handler = {
    .name = "server", .label = otp__server_label, .init = otp__server_init, .message = otp__server_message,
    .terminate = otp__server_terminate, .system = otp__server_system, .format = otp__server_format,
};

static otp_pid otp__server_go(const otp_server *server, const otp_server_opts *opts, bool link, otp_ref *ref,
                              const char *place)
{
    static const otp_server_opts none;
    const otp_server_opts *o = opts ? opts : &none;
    otp_pid pid = { 0 };
    char small[256], *block = small;
    size_t size = OTP__SERVER_ARG + o->arg_size;
    otp_spawn_opts spawn = {
        .handler = server ? &otp__server_handler : NULL,
        .state_size = OTP__SERVER_HEAD + (server ? server->state_size : 0),
        .name = o->name, .link = link, .monitor = ref, .priority = o->priority, .stack_size = o->stack_size,
        .heap_limit = o->heap_limit, .mailbox_limit = o->mailbox_limit,
    };
    if (o->arg_size && !o->arg) spawn.handler = NULL;       /* a bad argument, which otp_start_handler tells */
    if (size > sizeof small) block = otp_alloc(size);
    if (block) {
        otp__server_start start = { server, o->arg, o->arg_size };
        memcpy(block, &start, sizeof start);
        if (o->arg_size && o->arg) memcpy(block + OTP__SERVER_ARG, o->arg, o->arg_size);
        spawn.arg = block;
        spawn.arg_size = size;
    } else {
        spawn.handler = NULL;
    }
    if (otp_start_handler_at(&spawn, o->timeout ? o->timeout : OTP_INFINITY, &pid, NULL, place) < 0) pid.id = 0;
    if (block != small) otp_free(block);
    return pid;
}

otp_pid otp_server_start_link_at(const otp_server *server, const otp_server_opts *opts, const char *place)
{
    return otp__server_go(server, opts, true, NULL, place);
}

otp_pid otp_server_start_at(const otp_server *server, const otp_server_opts *opts, const char *place)
{
    return otp__server_go(server, opts, false, NULL, place);
}

otp_pid otp_server_start_monitor_at(const otp_server *server, const otp_server_opts *opts, otp_ref *ref,
                                    const char *place)
{
    otp_ref unused;
    return otp__server_go(server, opts, false, ref ? ref : &unused, place);
}

otp_next otp_server_stop_reply(otp_from from, const void *data, size_t size, otp_reason why)
{
    otp__server_state *s = otp_handler_state();
    otp__server_last *last = s ? otp_alloc(sizeof *last + size) : NULL;
    if (last) {
        last->from = from;
        last->size = size;
        if (size) memcpy(last->data, data, size);
        s->last = last;
    }
    return otp_stop_with(why);
}

int otp_server_stop(otp_pid server, otp_reason why, int64_t timeout)
{
    if (timeout < 0 && timeout != OTP_INFINITY) return OTP_EBADARG;
    if (otp_same(server, otp_self())) return OTP_ESELF;
    size_t text = why.text ? strlen(why.text) + 1 : 0;
    char small[256], *block = sizeof why + text <= sizeof small ? small : otp_alloc(sizeof why + text);
    if (!block) return OTP_ENOMEM;
    memcpy(block, &why, sizeof why);
    if (text) memcpy(block + sizeof why, why.text, text);
    /* the request is answered by the death; the monitor tells its reason */
    otp_ref ref = otp_monitor(server);
    otp_ref request = otp_send_request(server, OTP_SYS_TERMINATE, block, sizeof why + text);
    if (block != small) otp_free(block);
    const otp_msg *m = request.id ? otp_recv_ref(ref, timeout) : NULL;
    int rc = OTP_ETIMEOUT;
    if (m) {
        const otp_reason *how = otp_reason_of(m);
        bool as_asked = how->kind == why.kind && how->code == why.code;
        rc = as_asked ? 0 : how->kind == OTP_REASON_NOPROC ? OTP_ENOPROC : OTP_EDIED;
    } else {
        (void)otp_demonitor(ref, OTP_FLUSH);
    }
    if (request.id) (void)otp_cancel_request(request);
    return request.id ? rc : OTP_ENOMEM;
}

int64_t otp_server_multi_call(const otp_pid *servers, size_t n, int tag, const void *data, size_t size, void *replies,
                              size_t reply_size, int64_t *sizes, int64_t timeout)
{
    if ((n && !servers) || (size && !data) || (reply_size && !replies) || (timeout < 0 && timeout != OTP_INFINITY))
        return OTP_EBADARG;
    otp_ref *refs = otp_calloc(n ? n : 1, sizeof *refs);
    if (!refs) return OTP_ENOMEM;
    int64_t deadline = timeout == OTP_INFINITY ? OTP_INFINITY : otp_now() + timeout, answers = 0;
    for (size_t i = 0; i < n; i++) {
        refs[i] = otp_send_request(servers[i], tag, data, size);
        if (sizes) sizes[i] = refs[i].id ? OTP_ETIMEOUT : OTP_ENOMEM;
    }
    for (size_t i = 0;;) {
        int64_t left = deadline == OTP_INFINITY ? OTP_INFINITY : deadline - otp_now();
        const otp_msg *m = otp_wait_any(refs, n, left < 0 && deadline != OTP_INFINITY ? 0 : left, &i);
        if (!m) break;
        refs[i].id = 0;
        int64_t got = otp_reply_code(m);
        if (got == 0) got = m->size > reply_size ? OTP_ESIZE : (int64_t)m->size;
        if (got > 0) memcpy((char *)replies + i * reply_size, m->data, m->size);
        if (got >= 0) answers++;
        if (sizes) sizes[i] = got;
    }
    for (size_t i = 0; i < n; i++)
        if (refs[i].id) (void)otp_cancel_request(refs[i]);
    otp_free(refs);
    return answers;
}

#endif /* OTP_IMPLEMENTATION */

/* MIT License. Copyright (c) 2026 the otp.h authors.

   Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
   documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
   rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
   persons to whom the Software is furnished to do so, subject to the following conditions: the above copyright notice
   and this permission notice shall be included in all copies or substantial portions of the Software.

   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
   WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
   COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
   OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
