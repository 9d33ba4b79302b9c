/* Runs programs of the conformance test on otp.h. The same on Erlang is run.erl, which names things alike;
   docs/conformance.md says what a program is. Reads lines "IN OUT" from stdin: runs the programs of the file IN, writes
   their traces to OUT, says "done". Options: --schedulers N, --deterministic (each program with the seed it names). */
#define OTP_IMPLEMENTATION
#include "otp.h"
#include "ops.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 8 };                    /* programs that run at the same time */
enum { CMD = 1, POKE, ACK, WOKE, POKED, BRIEF };
enum { LONG = 1000 };                   /* ms: a timer of so much never fires */

typedef struct text { char *at; size_t n, size; } text;

typedef struct program {
    int id, class, workers;
    uint64_t seed;
    char *lines[LINES * 4];
    int count;
    text out;
} program;

typedef enum var_kind { NONE, MON, NAME, BOTH, ALIAS, TIMER } var_kind;
typedef struct var { var_kind kind; int owner, bound; otp_ref ref; } var;

typedef struct run run;
typedef struct worker {
    run *run;
    int i;
    otp_pid pid;
    otp_ref mon;
    bool born, brief, dead, waiting, fuzzy, named;
    char why[80];
    long seen, taken;
    int awaits;                         /* set by `await` for what comes after its acknowledgement */
    bool hibernates;
} worker;

struct run {
    program *p;
    int slot;
    otp_pid ctl;
    worker w[WORKERS];
    var vars[VARS];
    int susp[WORKERS][WORKERS];
    op_code op;
    int a[ARGS];
    int in_order;                       /* of an automatic flush */
    bool flush, nothing;                /* instead of a command: flush; do nothing */
    bool unsettled;
    char result[16384];
    size_t n;
};

/* -- text ---------------------------------------------------------------------------------------------- */

static void die(const char *what)
{
    fprintf(stderr, "conformance: %s\n", what);
    exit(2);
}

static void say(text *t, const char *format, ...) OTP_PRINTF(2, 3);
static void say(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) die("bad format");
    if (t->n + (size_t)n + 1 > t->size) {
        t->size = 2 * (t->n + (size_t)n + 512);
        char *at = realloc(t->at, t->size);
        if (!at) die("out of memory");
        t->at = at;
    }
    va_start(args, format);
    if (vsnprintf(t->at + t->n, (size_t)n + 1, format, args) != n) die("bad format");
    va_end(args);
    t->n += (size_t)n;
}

/* Appends to the result of the command. */
static void show(run *r, const char *format, ...) OTP_PRINTF(2, 3);
static void show(run *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(r->result + r->n, sizeof r->result - r->n, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof r->result - r->n) die("a result is too long");
    r->n += (size_t)n;
}

static otp_reason reason(int n)
{
    switch (n) {
    case 0: return OTP_NORMAL;
    case 1: return OTP_SHUTDOWN;
    case 2: return OTP_KILL;
    case 3: return otp_reason_make(OTP_REASON_KILLED, 0, NULL);
    case 4: return otp_reason_make(OTP_REASON_NOPROC, 0, NULL);
    case 5: return otp_reason_make(OTP_REASON_TIMEOUT, 0, NULL);
    case 6: return OTP_USER(1, NULL);
    case 7: return OTP_USER(2, NULL);
    case 8: return OTP_ERROR(2);
    default: return OTP_USER(3, "text");
    }
}

static void reason_text(const otp_reason *r, char *out, size_t size)
{
    int n;
    switch (r->kind) {
    case OTP_REASON_NORMAL:
    case OTP_REASON_SHUTDOWN:
    case OTP_REASON_KILL:
    case OTP_REASON_KILLED:
    case OTP_REASON_NOPROC:
    case OTP_REASON_TIMEOUT: {
        static const char *const names[] = {
#define X(name, what) what,
            OTP_REASONS(X)
#undef X
        };
        n = snprintf(out, size, "%s", names[r->kind]);
        break;
    }
    case OTP_REASON_CRASH: n = snprintf(out, size, "crash"); break;
    case OTP_REASON_USER:
        n = snprintf(out, size, "user%d%s%s", r->code, r->text ? ":" : "", r->text ? r->text : "");
        break;
    case OTP_REASON_ERROR: n = snprintf(out, size, "error%d", r->code); break;
    default: n = otp_format_reason(r, out, size); break;
    }
    if (n < 0 || (size_t)n >= size) die("a reason is too long");
}

static int who(run *r, otp_pid pid)
{
    for (int i = 0; i < WORKERS; i++)
        if (r->w[i].born && otp_same(r->w[i].pid, pid)) return i;
    return -1;
}

typedef struct shown { char text[120]; } shown;

static shown pid_text(run *r, otp_pid pid)
{
    shown s;
    int i = who(r, pid), n;
    if (pid.id == 0) n = snprintf(s.text, sizeof s.text, "none");
    else if (i < 0) n = snprintf(s.text, sizeof s.text, "?");
    else n = snprintf(s.text, sizeof s.text, "w%d", i);
    if (n < 0) die("bad format");
    return s;
}

static shown var_text(run *r, otp_ref ref)
{
    shown s;
    int n = -1;
    for (int v = 0; v < VARS && n < 0; v++)
        if (r->vars[v].kind != NONE && r->vars[v].ref.id == ref.id) n = snprintf(s.text, sizeof s.text, "%d", v);
    if (n < 0 && snprintf(s.text, sizeof s.text, "?") < 0) die("bad format");
    return s;
}

static const char *name(run *r, int n, char *out, size_t size)
{
    if (snprintf(out, size, "c%d_%d", r->slot, n) < 0) die("bad format");
    return out;
}

typedef struct payload { int val, timer; } payload;

static shown message(run *r, const otp_msg *m)
{
    shown s;
    int n;
    if (m->tag == OTP_EXIT) {
        char why[80];
        reason_text(otp_reason_of(m), why, sizeof why);
        n = snprintf(s.text, sizeof s.text, "EXIT(%s,%s)", pid_text(r, m->from).text, why);
    } else if (m->tag == OTP_DOWN || (m->tag >= 14 && m->tag < 20)) {
        char why[80], down[16] = "";
        reason_text(otp_reason_of(m), why, sizeof why);
        if (m->tag != OTP_DOWN && snprintf(down, sizeof down, "%d", m->tag) < 0) die("bad format");
        const char *by = otp_down_name(m);
        const char *last = by ? strrchr(by, '_') : NULL;
        n = snprintf(s.text, sizeof s.text, "DOWN%s(r%s,%s%s,%s)", down, var_text(r, m->ref).text, by ? "n" : "",
                     by ? (last ? last + 1 : by) : pid_text(r, m->from).text, why);
    } else if (m->tag == OTP_TIMEOUT_TAG) {
        n = snprintf(s.text, sizeof s.text, "TIMEOUT(r%s,%d)", var_text(r, m->ref).text, OTP_PAYLOAD(m, payload)->val);
    } else if (m->tag >= 10 && m->tag < 14) {
        const payload *p = OTP_PAYLOAD(m, payload);
        if (p->timer) n = snprintf(s.text, sizeof s.text, "m(%d,%d)", m->tag, p->val);
        else n = snprintf(s.text, sizeof s.text, "m(%d,%d,%s)", m->tag, p->val, pid_text(r, m->from).text);
    } else {
        n = snprintf(s.text, sizeof s.text, "{tag %d, from %" PRIx64 ", ref %" PRIx64 "}", m->tag, m->from.id,
                     m->ref.id);
    }
    if (n < 0 || (size_t)n >= sizeof s.text) die("a message is too long");
    return s;
}

static int by_text(const void *a, const void *b) { return strcmp(((const shown *)a)->text, ((const shown *)b)->text); }

/* All that is in the mailbox; from the one with number in_order on, sorted. */
static void drain(run *r, worker *w, int in_order)
{
    shown all[400];
    int n = 0;
    const otp_msg *m;
    while ((m = otp_recv(0)) != NULL) {
        if (n == 400) die("too many messages");
        all[n++] = message(r, m);
        w->taken++;
    }
    if (in_order < n) qsort(all + in_order, (size_t)(n - in_order), sizeof all[0], by_text);
    show(r, "[");
    for (int i = 0; i < n; i++) show(r, "%s%s", i ? " " : "", all[i].text);
    show(r, "]");
}

/* -- the workers --------------------------------------------------------------------------------------- */

static long queued(otp_pid pid)
{
    otp_info info;
    int e = otp_process_info(pid, &info);
    if (e == 0) return (long)info.message_queue_len;
    if (e != OTP_ENOPROC) die("otp_process_info failed");
    return -1;
}

static void fired(otp_ref timer)
{
    while (otp_read_timer(timer) >= 0) otp_sleep(1);
}

static void more(otp_pid pid, long before, long n)
{
    if (before < 0) return;
    for (;;) {
        long now = queued(pid);
        if (now < 0 || now >= before + n) return;
        otp_sleep(1);
    }
}

/* Three timers in another order than that of their deadlines, all started before the first is due. */
static void in_order(otp_pid pid, int val)
{
    static const int order[] = { 2, 0, 1 };
    for (int64_t wait = 3;; wait *= 2) {
        int64_t base = otp_now() + wait;
        otp_ref refs[3];
        int cancelled = 0;
        for (int i = 0; i < 3; i++) {
            payload p = { val + order[i], 1 };
            otp_timer_opts o = { .time = base + order[i], .absolute = true, .to = pid, .tag = 10, .data = &p,
                                 .size = sizeof p };
            refs[i] = otp_timer(&o);
        }
        if (otp_now() < base || !otp_is_alive(pid)) return;
        for (int i = 0; i < 3; i++) cancelled += otp_cancel_timer(refs[i]) >= 0;
        if (cancelled != 3) die("too slow for timers");
    }
}

static void brief(void *arg)
{
    worker *x = arg;
    x->pid = otp_self();
    int why = x->run->a[3];
    if (otp_send(x->run->ctl, BRIEF, NULL, 0) != 0) die("the controller is gone");
    otp_exit(reason(why));
}

static void work(void *arg);

static void start(run *r, worker *x, otp_fn *fn, int kind, int v, int owner)
{
    otp_ref ref = { 0 };
    otp_pid pid = { 0 };
    if (kind == 0) {
        pid = otp_spawn(fn, x);
    } else if (kind == 1) {
        pid = otp_spawn_link(fn, x);
    } else if (kind == 2) {
        pid = otp_spawn_monitor(fn, x, &ref);
    } else {
        otp_spawn_opts o = { .fn = fn, .arg = x, .link = true, .monitor = &ref };
        if (otp_spawn_opt(&o, &pid) != 0) die("cannot spawn");
    }
    if (pid.id == 0) die("cannot spawn");
    if (fn == work) x->pid = pid;
    if (kind & 2) r->vars[v] = (var){ MON, owner, -1, ref };
    show(r, "ok");
}

static bool exit_from(const otp_msg *m, void *arg) { return m->tag == OTP_EXIT && otp_same(m->from, *(otp_pid *)arg); }

static void took(run *r, worker *w, const otp_msg *m)
{
    if (m) w->taken++;
    show(r, "%s", m ? message(r, m).text : "nothing");
}

static void relations(run *r, worker *x, int what)
{
    otp_pid all[64];
    enum otp_relation item = what == 0 ? OTP_LINKS : what == 1 ? OTP_MONITORS : OTP_MONITORED_BY;
    int64_t n = otp_process_relations(x->pid, item, all, 64);
    if (n > 64) die("too many relations");
    if (n == OTP_ENOPROC) {
        show(r, "dead");
        return;
    }
    if (n < 0) die("otp_process_relations failed");
    if (what == 1 && x->named) {
        show(r, "%" PRId64, n);
        return;
    }
    show(r, "[");
    int shown_count = 0;
    for (int i = 0; i < WORKERS; i++)
        for (int64_t k = 0; k < n; k++)
            if (who(r, all[k]) == i) show(r, "%sw%d", shown_count++ ? " " : "", i);
    show(r, "]");
}

static void names(run *r)
{
    char prefix[16], all[256][64];
    if (snprintf(prefix, sizeof prefix, "c%d_", r->slot) < 0) die("bad format");
    size_t n = otp_registered(all, 256);
    for (size_t i = 0; i < n && i < 256; i++)
        if (strncmp(all[i], prefix, strlen(prefix)) == 0)
            show(r, " %s=%s", all[i] + strlen(prefix), pid_text(r, otp_whereis(all[i])).text);
}

static void timer(run *r, worker *w, const int *a)
{
    char buf[32];
    payload p = { a[4], 1 };
    otp_pid to = a[0] < 2 ? r->w[a[1]].pid : otp_whereis(name(r, a[1] % NAMES, buf, sizeof buf));
    long before = to.id ? queued(to) : -1;
    otp_ref ref = { 0 };
    if (a[0] == 0) {
        ref = otp_send_after(a[2], to, a[3], &p, sizeof p);
    } else if (a[0] == 1) {
        ref = otp_start_timer(a[2], to, &p, sizeof p);
    } else {
        otp_timer_opts o = { .time = a[2], .name = name(r, a[1] % NAMES, buf, sizeof buf), .timeout = a[0] == 3,
                             .tag = a[0] == 3 ? 0 : a[3], .data = &p, .size = sizeof p };
        ref = otp_timer(&o);
    }
    if (ref.id == 0) die("cannot start a timer");
    if (a[2] < LONG) {
        fired(ref);
        if (to.id) more(to, before, 1);
    }
    r->vars[a[5]] = (var){ TIMER, w->i, -1, ref };
    show(r, "ok");
}

/* Does the command r->op; returns false when the worker is to return. */
static bool perform(run *r, worker *w)
{
    int a[ARGS];
    char buf[32];
    const otp_msg *m;
    memcpy(a, r->a, sizeof a);          /* another command may come as soon as a brief process is seen */
    worker *x = &r->w[(unsigned)a[0] % WORKERS];
    var *v = &r->vars[(unsigned)a[0] % VARS];
    switch (r->op) {
    case OP_spawn: start(r, x, work, a[1], a[2], w->i); break;
    case OP_brief: start(r, x, brief, a[1], a[2], w->i); break;
    case OP_link:
        if (otp_link(x->pid) != 0) die("link failed");
        show(r, "ok");
        break;
    case OP_unlink:
        if (otp_unlink(x->pid) != 0) die("unlink failed");
        show(r, "ok");
        break;
    case OP_unlink_flush:
        if (otp_unlink(x->pid) != 0) die("unlink failed");
        m = otp_recv_match(exit_from, &x->pid, 0);
        w->taken += m != NULL;
        show(r, m ? "true" : "false");
        break;
    case OP_monitor:
        r->vars[a[1]] = (var){ MON, w->i, -1, otp_monitor(x->pid) };
        show(r, "ok");
        break;
    case OP_monitor_name: {
        const char *n = name(r, a[0], buf, sizeof buf);
        r->vars[a[1]] = (var){ NAME, w->i, who(r, otp_whereis(n)), otp_monitor_name(n) };
        w->named = true;
        show(r, "ok");
        break;
    }
    case OP_monitor_opt: {
        otp_monitor_opts o = { .tag = a[3], .alias = (otp_alias_mode)a[2] };
        r->vars[a[1]] = (var){ a[2] ? BOTH : MON, w->i, -1, otp_monitor_opt(x->pid, &o) };
        show(r, "ok");
        break;
    }
    case OP_demonitor: {
        long before = queued(otp_self());
        bool was = otp_demonitor(v->ref, ((a[1] & 1) ? OTP_FLUSH : 0) | ((a[1] & 2) ? OTP_INFO : 0));
        if ((a[1] & 1) && queued(otp_self()) < before) w->taken++;
        show(r, was ? "true" : "false");
        break;
    }
    case OP_alias: {
        otp_alias alias = otp_alias_new(a[1] == 1 ? OTP_ALIAS_EXPLICIT : OTP_ALIAS_REPLY);
        r->vars[a[0]] = (var){ ALIAS, w->i, -1, alias.ref };
        show(r, "ok");
        break;
    }
    case OP_unalias: show(r, otp_unalias((otp_alias){ r->w[v->owner].pid, v->ref }) ? "true" : "false"); break;
    case OP_send_alias: {
        payload p = { a[2], 0 };
        int e = otp_send_alias((otp_alias){ r->w[v->owner].pid, v->ref }, a[1], &p, sizeof p);
        show(r, e == 0 || e == OTP_ENOPROC ? "ok" : "error");
        break;
    }
    case OP_signal: show(r, otp_exit_signal(x->pid, reason(a[1])) == 0 ? "ok" : "error"); break;
    case OP_exit: otp_exit(reason(a[0]));
    case OP_return: return false;
    case OP_crash: {
        static volatile uintptr_t nowhere = 16;
        *(volatile int *)nowhere = 1;
        break;
    }
    case OP_trap: show(r, otp_trap_exit(a[0] == 1) ? "true" : "false"); break;
    case OP_register:
        show(r, otp_register(name(r, a[0], buf, sizeof buf), r->w[a[1]].pid) == 0 ? "ok" : "error");
        break;
    case OP_unregister: show(r, otp_unregister(name(r, a[0], buf, sizeof buf)) == 0 ? "ok" : "error"); break;
    case OP_whereis: show(r, "%s", pid_text(r, otp_whereis(name(r, a[0], buf, sizeof buf))).text); break;
    case OP_registered: names(r); break;
    case OP_send: {
        payload p = { a[2], 0 };
        int e = otp_send(x->pid, a[1], &p, sizeof p);
        show(r, e == 0 || e == OTP_ENOPROC ? "ok" : "error");
        break;
    }
    case OP_send_name: {
        payload p = { a[2], 0 };
        show(r, otp_send_name(name(r, a[0], buf, sizeof buf), a[1], &p, sizeof p) == 0 ? "ok" : "error");
        break;
    }
    case OP_timer: timer(r, w, a); break;
    case OP_timers: {
        long before = queued(x->pid);
        in_order(x->pid, a[1]);
        more(x->pid, before, 3);
        show(r, "ok");
        break;
    }
    case OP_cancel: show(r, otp_cancel_timer(v->ref) >= 0 ? "left" : "false"); break;
    case OP_read: show(r, otp_read_timer(v->ref) >= 0 ? "left" : "false"); break;
    case OP_recv: took(r, w, otp_recv(a[0])); break;
    case OP_recv_tag: took(r, w, otp_recv_tag(a[0], a[1])); break;
    case OP_recv_tags: {
        int tags[] = { a[0], a[1] };
        took(r, w, otp_recv_tags(tags, 2, 0));
        break;
    }
    case OP_recv_ref: took(r, w, otp_recv_ref(v->ref, a[1])); break;
    case OP_recv_from: took(r, w, otp_recv_match(exit_from, &x->pid, 0)); break;
    case OP_recv_val: {
        bool found = false;
        int tag = a[0];
        otp_receive (m, 0) {
            case 10: case 11: case 12: case 13:
                if (m->tag != tag || OTP_PAYLOAD(m, payload)->val < a[1]) {
                    otp_leave(m);
                    break;
                }
                found = true;
                took(r, w, m);
                break;
            case OTP_AFTER: break;
        }
        if (!found) took(r, w, NULL);
        break;
    }
    case OP_flush: drain(r, w, INT32_MAX); break;
    case OP_await:
        w->awaits = a[0];
        show(r, "ok");
        break;
    case OP_alive: show(r, otp_is_alive(x->pid) ? "true" : "false"); break;
    case OP_relations: relations(r, x, a[1]); break;
    case OP_queue: {
        long n = queued(x->pid);
        if (n < 0) show(r, "dead");
        else show(r, "%ld", n);
        break;
    }
    case OP_trapping: {
        otp_info info;
        int e = otp_process_info(x->pid, &info);
        show(r, e == OTP_ENOPROC ? "dead" : e != 0 ? "error" : info.trap_exit ? "true" : "false");
        break;
    }
    case OP_put:
    case OP_get:
    case OP_erase: {
        if (snprintf(buf, sizeof buf, "k%d", a[0]) < 0) die("bad format");
        void *old = r->op == OP_put   ? otp_put(buf, (void *)(intptr_t)(a[1] + 1))
                    : r->op == OP_get ? otp_get(buf)
                                      : otp_erase(buf);
        if (old) show(r, "%d", (int)(intptr_t)old - 1);
        else show(r, "none");
        break;
    }
    case OP_priority: {
        static const otp_priority levels[] = { OTP_PRIO_LOW, OTP_PRIO_NORMAL, OTP_PRIO_HIGH };
        otp_priority old = otp_set_priority(levels[a[0]]);
        show(r, old == OTP_PRIO_LOW ? "low" : old == OTP_PRIO_NORMAL ? "normal" : "high");
        break;
    }
    case OP_suspend: show(r, otp_suspend_process(x->pid) == 0 ? "ok" : "error"); break;
    case OP_resume: show(r, otp_resume_process(x->pid) == 0 ? "ok" : "error"); break;
    case OP_hibernate:
        w->hibernates = true;
        show(r, "ok");
        break;
    case OP_yield:
        otp_yield();
        show(r, "ok");
        break;
    case OP_COUNT: break;
    }
    return true;
}

/* Does what it is told, and then makes sure that all it has sent has arrived. */
static void work(void *arg)
{
    worker *w = arg;
    run *r = w->run;
    for (;;) {
        const otp_msg *m = otp_recv_tags((int[]){ CMD, POKE }, 2, OTP_INFINITY);
        if (m->tag == POKE) {
            if (otp_send(r->ctl, POKED, NULL, 0) != 0) die("the controller is gone");
            continue;
        }
        if (r->flush) drain(r, w, r->in_order);
        else if (!r->nothing && !perform(r, w)) return;
        for (int i = 0; i < WORKERS; i++)
            if (r->w[i].born && i != w->i) (void)otp_is_alive(r->w[i].pid);
        int tag = w->awaits;
        bool hibernates = w->hibernates;
        w->awaits = 0;
        w->hibernates = false;
        if (otp_send(r->ctl, ACK, NULL, 0) != 0) die("the controller is gone");
        while (tag) {
            m = otp_recv_tags((int[]){ tag, POKE }, 2, OTP_INFINITY);
            if (m->tag == POKE) {
                if (otp_send(r->ctl, POKED, NULL, 0) != 0) die("the controller is gone");
                continue;
            }
            w->taken++;
            shown s = message(r, m);
            if (otp_send(r->ctl, WOKE, s.text, sizeof s.text) != 0) die("the controller is gone");
            tag = 0;
        }
        if (hibernates) otp_hibernate(work, w);
    }
}

/* -- the controller ------------------------------------------------------------------------------------ */

typedef enum state { READY, UNBORN, DEAD, SUSPENDED, WAITING } state;
static const char *const state_names[] = { "ready", "unborn", "dead", "suspended", "waiting" };

static bool alive(run *r, int i) { return i >= 0 && r->w[i].born && !r->w[i].brief && !r->w[i].dead; }

/* Whether somebody who lives has suspended it. */
static bool suspended(run *r, int i)
{
    for (int k = 0; k < WORKERS; k++)
        if (r->susp[k][i] > 0 && alive(r, k)) return true;
    return false;
}

static state state_of(run *r, int i)
{
    if (i < 0 || !r->w[i].born) return UNBORN;
    if (!alive(r, i)) return DEAD;
    if (suspended(r, i)) return SUSPENDED;
    return r->w[i].waiting ? WAITING : READY;
}

static void born(worker *w)
{
    w->born = true;
    w->mon = otp_monitor(w->pid);
}

static void down(worker *w, const otp_msg *m)
{
    reason_text(otp_reason_of(m), w->why, sizeof w->why);
    w->dead = true;
}

static bool of_worker(const otp_msg *m, void *arg)
{
    worker *w = arg;
    if (m->tag == OTP_DOWN) return m->ref.id == w->mon.id;
    return (m->tag == ACK || m->tag == WOKE || m->tag == POKED) && otp_same(m->from, w->pid);
}

/* Has the worker do what r says; returns false when it did not live to tell. */
static bool command(run *r, worker *w)
{
    r->n = 0;
    r->result[0] = 0;
    if (otp_send(w->pid, CMD, NULL, 0) != 0) die("a worker is gone");
    const otp_msg *m = otp_recv_match(of_worker, w, OTP_INFINITY);
    if (m->tag == ACK) return true;
    if (m->tag != OTP_DOWN) die("a worker does not keep to the protocol");
    down(w, m);
    return false;
}

static bool is_gone(run *r, const bool *gone, otp_pid p)
{
    int i = who(r, p);
    return i >= 0 && gone[i];
}

/* Whether it has noticed all deaths that are known. */
static bool clean(run *r, int i, const bool *gone)
{
    static const enum otp_relation items[] = { OTP_LINKS, OTP_MONITORS, OTP_MONITORED_BY };
    worker *w = &r->w[i];
    if (w->brief) return false;
    for (int k = 0; k < 3; k++) {
        otp_pid all[64];
        int64_t n = otp_process_relations(w->pid, items[k], all, 64);
        if (n == OTP_ENOPROC) return false;
        if (n < 0 || n > 64) die("otp_process_relations failed");
        for (int64_t j = 0; j < n; j++)
            if (is_gone(r, gone, all[j])) return false;
    }
    otp_info info;
    int e = otp_process_info(w->pid, &info);
    if (e != 0 && e != OTP_ENOPROC) die("otp_process_info failed");
    return e == 0 && (info.state == OTP_STATE_SUSPENDED) == suspended(r, i);
}

/* Waits until nothing is on its way: whoever is dead must have been noticed by each that has a relation to it. A link
   or monitor that is still listed means that its signal has not been taken in. docs/conformance.md has the argument. */
static void settle(run *r)
{
    for (int n = 0; n < 810 && !r->unsettled; n++) {
        bool gone[WORKERS] = { false }, ok = true;
        for (int i = 0; i < WORKERS; i++)
            if (r->w[i].born) gone[i] = !otp_is_alive(r->w[i].pid);
        for (int i = 0; i < WORKERS; i++)
            if (gone[i] && alive(r, i)) down(&r->w[i], otp_recv_match(of_worker, &r->w[i], OTP_INFINITY));
        for (int i = 0; i < WORKERS && ok; i++)
            if (r->w[i].born && !gone[i]) ok = clean(r, i, gone);
        if (ok) return;
        if (n < 20) otp_yield();
        else otp_sleep(1);
    }
    if (!r->unsettled) say(&r->p->out, "unsettled\n");
    r->unsettled = true;
}

static void poke(run *r, worker *w)
{
    state s = state_of(r, w->i);
    if (s == DEAD) w->waiting = false;
    if (s != WAITING) return;
    if (otp_send(w->pid, POKE, NULL, 0) != 0) die("a worker is gone");
    for (;;) {
        const otp_msg *m = otp_recv_match(of_worker, w, OTP_INFINITY);
        if (m->tag == POKED) return;
        if (m->tag != WOKE) die("a worker does not keep to the protocol");
        w->waiting = false;
        say(&r->p->out, "  w%d got %s\n", w->i, (const char *)m->data);
    }
}

static void flush(run *r, worker *w, long in_order_count)
{
    r->flush = true;
    r->in_order = in_order_count < 0 ? 0 : in_order_count > INT32_MAX ? INT32_MAX : (int)in_order_count;
    if (!command(r, w)) die("a worker died of a flush");
    r->flush = false;
    w->fuzzy = false;
    say(&r->p->out, "  w%d had %s\n", w->i, r->result);
}

/* Deaths in one step reach a mailbox in any order: two or more such messages are taken out at once and shown sorted. */
static void arrivals(run *r, worker *w, bool deaths)
{
    if (!alive(r, w->i)) return;
    long queue = queued(w->pid), fresh = queue + w->taken - w->seen;
    w->seen = queue + w->taken;
    if (!(deaths && fresh > 1) && !w->fuzzy) return;
    if (state_of(r, w->i) == READY) flush(r, w, w->fuzzy ? 0 : queue - fresh);
    else w->fuzzy = true;
}

/* Which worker a command is about; -1 for none. */
static int target(run *r)
{
    switch (r->op) {
    case OP_link: case OP_unlink: case OP_unlink_flush: case OP_alive: case OP_queue: case OP_trapping: case OP_suspend:
    case OP_resume: case OP_recv_from: case OP_timers: case OP_monitor: case OP_signal: case OP_relations: case OP_send:
    case OP_monitor_opt: return r->a[0];
    case OP_register: return r->a[1];
    case OP_timer: return r->a[0] < 2 ? r->a[1] : -1;
    default: return -1;
    }
}

/* Whether the command makes no sense here; the same decisions as in run.erl. */
static bool skipped(run *r)
{
    int t = target(r);
    if (t >= 0 && !r->w[t].born) return true;
    var *v = &r->vars[(unsigned)r->a[0] % VARS];
    char buf[32];
    switch (r->op) {
    case OP_spawn:
    case OP_brief: return r->w[r->a[0]].born;
    case OP_demonitor: return v->kind != MON && v->kind != NAME && v->kind != BOTH;
    case OP_unalias: return v->kind != ALIAS && v->kind != BOTH;
    case OP_send_alias:
        if (v->kind != ALIAS && v->kind != BOTH) return true;
        return state_of(r, v->owner) == SUSPENDED || state_of(r, v->owner) == WAITING;
    case OP_cancel:
    case OP_read: return v->kind != TIMER;
    case OP_recv_ref: return v->kind == NONE;
    case OP_timers: return state_of(r, t) == WAITING;
    case OP_timer:
        if (t < 0) t = who(r, otp_whereis(name(r, r->a[1] % NAMES, buf, sizeof buf)));
        return r->a[2] < LONG && state_of(r, t) == WAITING;
    default: return false;
    }
}

static bool parse(run *r, const char *line, int *actor)
{
    static const char *const names_of[] = {
#define X(name, args, weight) #name,
        OPS(X)
#undef X
    };
    char op_name[32];
    int n = 0;
    if (sscanf(line, "%d %31s%n", actor, op_name, &n) != 2 || *actor < 0 || *actor >= WORKERS) return false;
    memset(r->a, 0, sizeof r->a);
    for (int i = 0; i < ARGS; i++) {
        int m = 0;
        if (sscanf(line + n, "%d%n", &r->a[i], &m) != 1) break;
        n += m;
    }
    for (int i = 0; i < OP_COUNT; i++)
        if (strcmp(names_of[i], op_name) == 0) {
            r->op = (op_code)i;
            return true;
        }
    return false;
}

static void step(run *r, const char *line)
{
    text *out = &r->p->out;
    int actor;
    if (!parse(r, line, &actor)) die("a bad line in a program");
    if (r->unsettled) return;           /* nothing can be said about what would come now */
    state s = state_of(r, actor);
    if (s != READY || skipped(r)) {
        say(out, "%s -> %s\n", line, s != READY ? state_names[s] : "skip");
        return;
    }
    worker *w = &r->w[actor];
    op_code what = r->op;
    int a0 = r->a[0], a1 = r->a[1], a2 = r->a[2];
    bool was_dead[WORKERS];
    for (int i = 0; i < WORKERS; i++) was_dead[i] = r->w[i].dead;
    bool told = command(r, w);
    char result[sizeof r->result];
    memcpy(result, r->result, r->n + 1);
    worker *x = &r->w[(unsigned)a0 % WORKERS];
    switch (what) {
    case OP_spawn: born(x); break;
    case OP_brief:
        if (otp_recv_tag(BRIEF, OTP_INFINITY) == NULL) die("a brief process is lost");
        x->born = true;
        x->brief = true;
        /* The worker may have died of it before it could note the reference: then any other does as well. */
        if ((a1 & 2) && !told) r->vars[a2] = (var){ MON, actor, -1, otp_make_ref() };
        break;
    case OP_demonitor:
        if (r->vars[a0].kind == NAME && r->vars[a0].owner == actor) r->vars[a0].kind = MON;
        break;
    case OP_await: w->waiting = told; break;
    case OP_suspend: r->susp[actor][a0] += told && strcmp(result, "ok") == 0; break;
    case OP_resume: r->susp[actor][a0] -= told && strcmp(result, "ok") == 0; break;
    default: break;
    }
    settle(r);
    if (what == OP_send_alias && !r->unsettled && state_of(r, r->vars[a0].owner) == READY) {
        /* It may have ended a monitor of the alias's owner: what the owner then sends has to arrive, too. */
        r->nothing = true;
        (void)command(r, &r->w[r->vars[a0].owner]);
        r->nothing = false;
        settle(r);
    }
    for (int i = 0; i < WORKERS; i++)
        if (r->w[i].waiting && !r->unsettled) poke(r, &r->w[i]);
    say(out, "%s -> %s", line, w->dead ? "died" : result);
    bool deaths = false;
    for (int i = 0; i < WORKERS; i++)
        if (r->w[i].dead && !was_dead[i]) {
            say(out, "%s w%d:%s", deaths ? "" : "; dead", i, r->w[i].why);
            deaths = true;
        }
    say(out, "\n");
    for (int i = 0; i < WORKERS; i++)
        if (r->w[i].born && !r->unsettled) arrivals(r, &r->w[i], deaths || what == OP_brief);
}

static void finish(run *r)
{
    text *out = &r->p->out;
    for (int i = 0; i < WORKERS; i++) {
        worker *w = &r->w[i];
        state s = state_of(r, i);
        if (s == UNBORN || r->unsettled) continue;
        if (s == READY) flush(r, w, w->fuzzy ? 0 : INT32_MAX);
        else if (s == DEAD) say(out, "  w%d is dead\n", i);
        else say(out, "  w%d is %s, %ld queued\n", i, state_names[s], queued(w->pid));
    }
    for (int v = 0; v < VARS; v++)
        if (r->vars[v].kind == TIMER) (void)otp_cancel_timer(r->vars[v].ref);
    for (int i = 0; i < WORKERS; i++)
        if (alive(r, i) && otp_exit_signal(r->w[i].pid, OTP_KILL) != 0) die("kill failed");
    say(out, "  ends:");
    for (int i = 0; i < WORKERS; i++) {
        if (!alive(r, i)) continue;
        /* one that was suspended is resumed by the end of who suspended it: it may say something before it dies */
        const otp_msg *m = NULL;
        do m = otp_recv_match(of_worker, &r->w[i], OTP_INFINITY);
        while (m->tag != OTP_DOWN);
        down(&r->w[i], m);
        say(out, " %s", r->w[i].why);
    }
    r->n = 0;
    r->result[0] = 0;
    names(r);
    say(out, "; names left:%s\n", r->result);
}

static void stepwise(program *p, int slot)
{
    run *r = calloc(1, sizeof *r);
    if (!r) die("out of memory");
    r->p = p;
    r->slot = slot;
    r->ctl = otp_self();
    for (int i = 0; i < WORKERS; i++) {
        r->w[i].run = r;
        r->w[i].i = i;
    }
    for (int i = 0; i < p->workers; i++) {
        r->w[i].pid = otp_spawn(work, &r->w[i]);
        if (r->w[i].pid.id == 0) die("cannot spawn");
        born(&r->w[i]);
    }
    for (int i = 0; i < p->count; i++) step(r, p->lines[i]);
    finish(r);
    free(r);
}

/* -- racy programs ------------------------------------------------------------------------------------- */

/* All workers go through their commands at the same time. Those with the lowest numbers are observers: they trap exits,
   nobody harms them, and what they have seen in the end must obey the rules whatever the order was. The others send
   each observer messages and exit signals with running numbers, harm each other, and end with a reason of their own. */
enum { GO = 20, ALIASED, LISTED, FINISH, FACTS, NUMBER, NOTHING, TOTAL, BY_ALIAS, BY_TIMER, SIGNALS = 100, ENDS = 900 };
typedef enum expected { KEPT, ONE, NO, ANY } expected;
static const char *const expected_names[] = { "kept", "one", "none", "any" };

typedef struct racer {
    run *run;
    int i, observers;
    otp_alias alias;
    int links[WORKERS], sent[WORKERS];
    struct { bool is; int target, val; otp_ref ref; expected e; } mon[VARS], timer[VARS];
    int unaliased;                      /* 0: not tried; 1: true; 2: false */
    text facts;
} racer;

static bool numbered(const otp_reason *why)
{
    return why->kind == OTP_REASON_USER && why->code >= SIGNALS && why->code < ENDS;
}

static bool death_of(const otp_msg *m, void *arg)
{
    return m->tag == OTP_EXIT && otp_same(m->from, *(otp_pid *)arg) && !numbered(otp_reason_of(m));
}

static bool timer_of(const otp_msg *m, void *arg) { return m->tag == BY_TIMER && *OTP_PAYLOAD(m, int) == *(int *)arg; }

static void observe(racer *o, run *r)
{
    int *a = r->a;
    bool known = a[0] >= 0 && a[0] < r->p->workers;
    unsigned v = (unsigned)a[0] % VARS;
    switch (r->op) {
    case OP_link:
        if (!known || otp_link(r->w[a[0]].pid) != 0) break;
        o->links[a[0]]++;
        break;
    case OP_unlink_flush:
        if (!known || otp_unlink(r->w[a[0]].pid) != 0) break;
        while (otp_recv_match(death_of, &r->w[a[0]].pid, 0)) { }
        o->links[a[0]] = 0;
        break;
    case OP_monitor:
        v = (unsigned)a[1] % VARS;
        if (!known) break;
        o->mon[v].is = true;
        o->mon[v].target = a[0];
        o->mon[v].ref = otp_monitor(r->w[a[0]].pid);
        o->mon[v].e = KEPT;
        break;
    case OP_demonitor: {
        if (!o->mon[v].is || o->mon[v].e != KEPT) break;
        bool was = otp_demonitor(o->mon[v].ref, ((a[1] & 1) ? OTP_FLUSH : 0) | ((a[1] & 2) ? OTP_INFO : 0));
        o->mon[v].e = (a[1] & 1) ? NO : a[1] == 0 ? ANY : was ? NO : ONE;
        break;
    }
    case OP_timer: {
        v = (unsigned)a[5] % VARS;
        if (a[0] != 0 || a[2] >= LONG) break;
        o->timer[v].is = true;
        o->timer[v].val = a[4];
        o->timer[v].e = ONE;
        o->timer[v].ref = otp_send_after(a[2], otp_self(), BY_TIMER, &a[4], sizeof a[4]);
        break;
    }
    case OP_cancel:
        if (o->timer[v].is && otp_cancel_timer(o->timer[v].ref) >= 0) o->timer[v].e = NO;
        break;
    case OP_unalias:
        if (!o->unaliased) o->unaliased = otp_unalias(o->alias) ? 1 : 2;
        break;
    case OP_yield: otp_yield(); break;
    default: break;
    }
}

static void race(racer *w, racer *all, run *r)
{
    int *a = r->a;
    char buf[32];
    int x = a[0] >= 0 && a[0] < r->p->workers ? a[0] : -1;
    bool seen = x >= 0 && x < w->observers;
    otp_pid to = { x >= 0 ? r->w[x].pid.id : 0 };
    int e = 0;
    switch (r->op) {
    case OP_send:
        if (seen) w->sent[x]++;
        if (x >= 0) e = otp_send(to, seen ? NUMBER : NOTHING, &w->sent[x], sizeof w->sent[x]);
        break;
    case OP_signal:
        if (seen) e = otp_exit_signal(to, OTP_USER(SIGNALS + ++w->sent[x], NULL));
        else if (x >= 0) e = otp_exit_signal(to, reason(a[1]));
        break;
    case OP_send_alias:
        if (seen) e = otp_send_alias(all[x].alias, BY_ALIAS, NULL, 0);
        break;
    case OP_link:
        if (x >= 0 && !seen) e = otp_link(to);
        break;
    case OP_unlink:
        if (x >= 0 && !seen) e = otp_unlink(to);
        break;
    case OP_monitor:
        if (x >= 0) (void)otp_monitor(to);
        break;
    case OP_trap: (void)otp_trap_exit(a[0] == 1); break;
    case OP_register: e = otp_register(name(r, a[0], buf, sizeof buf), otp_self()) == OTP_EBADARG; break;
    case OP_yield: otp_yield(); break;
    default: break;
    }
    if (e != 0 && e != OTP_ENOPROC) die("a racy command failed");
}

static bool not_finish(const otp_msg *m, void *arg)
{
    (void)arg;
    return m->tag != FINISH;
}

/* What must hold of worker t, now that all is over. */
static void facts_of(racer *o, int t, const otp_msg *const *all, int count)
{
    run *r = o->run;
    const char *why = r->w[t].why;
    otp_pid pid = r->w[t].pid;
    int exits = 0, real = 0, wrong = 0, number = 0, total = -1;
    bool dead = false, ordered = true, late = false;
    for (int i = 0; i < count; i++) {
        const otp_msg *m = all[i];
        if (!otp_same(m->from, pid)) continue;
        int n = 0;
        if (m->tag == NUMBER) n = *OTP_PAYLOAD(m, int);
        else if (m->tag == OTP_EXIT && numbered(otp_reason_of(m))) n = otp_reason_of(m)->code - SIGNALS;
        else if (m->tag == TOTAL) total = *OTP_PAYLOAD(m, int);
        if (n && !dead) ordered = ordered && n == ++number;
        if (n && dead) late = true;
        if (m->tag == OTP_DOWN) dead = true;
        if (m->tag == OTP_EXIT && !n) {
            char is[80];
            reason_text(otp_reason_of(m), is, sizeof is);
            dead = true;
            exits++;
            real += strcmp(is, "noproc") != 0;
            wrong += strcmp(is, "noproc") != 0 && strcmp(is, why) != 0;
        }
    }
    int links = o->links[t];
    char own[32];
    if (snprintf(own, sizeof own, "user%d", ENDS + t) < 0) die("bad format");
    if (links && (exits < 1 || exits > links)) say(&o->facts, " %d EXIT for %d links to w%d", exits, links, t);
    if (links && real > 1 && strcmp(why, "noproc") != 0) say(&o->facts, " EXIT of w%d twice", t);
    if (links && wrong) say(&o->facts, " EXIT of w%d with a wrong reason", t);
    if (!links && exits) say(&o->facts, " %d EXIT of w%d, which is not linked", exits, t);
    if (!ordered) say(&o->facts, " out of order: w%d", t);
    if (late) say(&o->facts, " after its death: w%d", t);
    if (strcmp(own, why) == 0 && total != number) say(&o->facts, " something of w%d is lost", t);
}

static void facts(racer *o)
{
    enum { MOST = 1000 };
    static const otp_msg *none;
    const otp_msg **all = calloc(MOST, sizeof none);
    if (!all) die("out of memory");
    int count = 0, aliased = 0;
    const otp_msg *m;
    while ((m = otp_recv_match(not_finish, NULL, 0)) != NULL) {
        if (count == MOST) die("too many messages");
        all[count++] = otp_keep(m);
        aliased += m->tag == BY_ALIAS;
    }
    for (unsigned v = 0; v < VARS; v++) {
        int n = 0;
        if (o->timer[v].is) {
            for (int i = 0; i < count; i++) n += timer_of(all[i], &o->timer[v].val);
            if (n == 0 && o->timer[v].e == ONE) n += otp_recv_match(timer_of, &o->timer[v].val, 5000) != NULL;
            if (n != (o->timer[v].e == ONE)) say(&o->facts, " timer r%u came %d times", v, n);
        }
        if (!o->mon[v].is || o->mon[v].target < o->observers) continue;
        n = 0;
        for (int i = 0; i < count; i++) {
            if (all[i]->tag != OTP_DOWN || all[i]->ref.id != o->mon[v].ref.id) continue;
            char is[80];
            reason_text(otp_reason_of(all[i]), is, sizeof is);
            n++;
            if (strcmp(is, "noproc") != 0 && strcmp(is, o->run->w[o->mon[v].target].why) != 0)
                say(&o->facts, " DOWN for r%u with a wrong reason", v);
        }
        expected e = o->mon[v].e;
        if (e == ANY ? n > 1 : e == NO ? n != 0 : n != 1)
            say(&o->facts, " %d DOWN for r%u (%s)", n, v, expected_names[e]);
    }
    for (int t = o->observers; t < o->run->p->workers; t++) facts_of(o, t, all, count);
    if (o->unaliased == 1 ? aliased != 0 : o->unaliased == 2 ? aliased != 1 : aliased > 1)
        say(&o->facts, " %d messages through the alias", aliased);
    for (int i = 0; i < count; i++) otp_drop(all[i]);
    free(all);
}

static void racing(void *arg)
{
    racer *w = arg;
    run *r = w->run, *mine = calloc(1, sizeof *mine);   /* parse() writes into it */
    if (!mine) die("out of memory");
    if (otp_defer(free, mine) != 0) die("cannot defer");
    bool observer = w->i < w->observers;
    if (observer) {
        (void)otp_trap_exit(true);
        w->alias = otp_alias_new(OTP_ALIAS_REPLY);
        if (otp_send(r->ctl, ALIASED, NULL, 0) != 0) die("the controller is gone");
    }
    (void)otp_recv_tag(GO, OTP_INFINITY);
    for (int i = 0; i < WORKERS; i++) mine->w[i].pid = r->w[i].pid;
    mine->p = r->p;
    mine->slot = r->slot;
    for (int i = 0; i < r->p->count; i++) {
        int actor;
        if (!parse(mine, r->p->lines[i], &actor)) die("a bad line in a program");
        if (actor != w->i) continue;
        if (observer) observe(w, mine);
        else race(w, w - w->i, mine);
    }
    if (!observer) {
        for (int i = 0; i < w->observers; i++)
            if (otp_send(r->w[i].pid, TOTAL, &w->sent[i], sizeof w->sent[i]) != 0) die("an observer is gone");
        otp_exit(OTP_USER(ENDS + w->i, NULL));
    }
    if (otp_send(r->ctl, LISTED, NULL, 0) != 0) die("the controller is gone");
    (void)otp_recv_tag(FINISH, OTP_INFINITY);
    facts(w);
    if (otp_send(r->ctl, FACTS, NULL, 0) != 0) die("the controller is gone");
    (void)otp_recv_tag(GO, OTP_INFINITY);
}

/* Waits until nothing of those who died is on its way to the observer. */
static void noticed(run *r, int observer, int observers)
{
    for (int tries = 0; tries < 3000; tries++) {
        bool ok = true;
        for (int k = 0; k < 2; k++) {
            otp_pid all[256];
            int64_t n = otp_process_relations(r->w[observer].pid, k ? OTP_MONITORS : OTP_LINKS, all, 256);
            if (n < 0 || n > 256) die("otp_process_relations failed");
            for (int64_t i = 0; i < n; i++) ok = ok && who(r, all[i]) < observers;
        }
        if (ok) return;
        otp_sleep(1);
    }
    say(&r->p->out, "  w%d has never learnt of a death\n", observer);
}

static void racy(program *p, int slot)
{
    run *r = calloc(1, sizeof *r);
    racer *w = calloc(WORKERS, sizeof *w);
    if (!r || !w) die("out of memory");
    int observers = p->workers / 3 ? p->workers / 3 : 1;
    r->p = p;
    r->slot = slot;
    r->ctl = otp_self();
    for (int i = 0; i < p->workers; i++) {
        w[i].run = r;
        w[i].i = i;
        w[i].observers = observers;
        r->w[i].i = i;
        r->w[i].pid = otp_spawn(racing, &w[i]);
        if (r->w[i].pid.id == 0) die("cannot spawn");
        born(&r->w[i]);
    }
    for (int i = 0; i < observers; i++) (void)otp_recv_tag(ALIASED, OTP_INFINITY);
    for (int i = 0; i < p->workers; i++)
        if (otp_send(r->w[i].pid, GO, NULL, 0) != 0 && i < observers) die("an observer is gone");
    for (int i = 0; i < observers; i++) (void)otp_recv_tag(LISTED, OTP_INFINITY);
    for (int i = observers; i < p->workers; i++) down(&r->w[i], otp_recv_match(of_worker, &r->w[i], OTP_INFINITY));
    for (int i = 0; i < observers; i++) noticed(r, i, observers);
    for (int i = 0; i < observers; i++)
        if (otp_send(r->w[i].pid, FINISH, NULL, 0) != 0) die("an observer is gone");
    for (int i = 0; i < observers; i++) (void)otp_recv_tag(FACTS, OTP_INFINITY);
    for (int i = 0; i < observers; i++) {
        if (otp_send(r->w[i].pid, GO, NULL, 0) != 0) die("an observer is gone");
        (void)otp_recv_match(of_worker, &r->w[i], OTP_INFINITY);
        say(&p->out, "  w%d:%s\n", i, w[i].facts.n ? w[i].facts.at : " fine");
        free(w[i].facts.at);
    }
    r->n = 0;
    r->result[0] = 0;
    names(r);
    say(&p->out, "  names left:%s\n", r->result);
    free(w);
    free(r);
}

static void run_program(program *p, int slot)
{
    say(&p->out, "program %d\n", p->id);
    if (p->class == 1) racy(p, slot);
    else stepwise(p, slot);
    say(&p->out, "end\n");
}

/* -- files and modes ----------------------------------------------------------------------------------- */

static program *programs;
static int program_count;
static atomic_int next_program;

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) die("cannot read the programs");
    long n = ftell(f);
    if (n < 0 || fseek(f, 0, SEEK_SET) != 0) die("cannot read the programs");
    char *all = malloc((size_t)n + 1);
    if (!all || fread(all, 1, (size_t)n, f) != (size_t)n || fclose(f) != 0) die("cannot read the programs");
    all[n] = 0;
    return all;
}

static void read_programs(char *all)
{
    program *p = NULL;
    int size = 0;
    program_count = 0;
    for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "program ", 8) == 0) {
            if (program_count == size) {
                size = 2 * size + 64;
                programs = realloc(programs, (size_t)size * sizeof *programs);
                if (!programs) die("out of memory");
            }
            p = &programs[program_count++];
            memset(p, 0, sizeof *p);
            if (sscanf(line, "program %d %d %d %" SCNu64, &p->id, &p->class, &p->workers, &p->seed) != 4)
                die("a bad program");
        } else if (strcmp(line, "end") != 0 && p) {
            if (p->count == (int)(sizeof p->lines / sizeof p->lines[0])) die("a program is too long");
            p->lines[p->count++] = line;
        }
    }
}

static void controller(void *arg)
{
    int slot = (int)(intptr_t)arg;
    for (;;) {
        int i = atomic_fetch_add(&next_program, 1);
        if (i >= program_count) return;
        run_program(&programs[i], slot);
    }
}

static void window(void *arg)
{
    (void)arg;
    otp_ref refs[WINDOW];
    atomic_store(&next_program, 0);
    for (int i = 0; i < WINDOW; i++)
        if (otp_spawn_monitor(controller, (void *)(intptr_t)(i + 1), &refs[i]).id == 0) die("cannot spawn");
    for (int i = 0; i < WINDOW; i++) {
        const otp_msg *m = otp_recv_ref(refs[i], OTP_INFINITY);
        if (otp_reason_of(m)->kind != OTP_REASON_NORMAL) die("a controller died");
    }
}

static void alone(void *arg) { run_program(arg, 1); }

static void quiet(otp_level level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

int main(int argc, char **argv)
{
    otp_opts o = { .log = quiet, .schedulers = 1 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--deterministic") == 0) o.deterministic = true;
        else if (strcmp(argv[i], "--schedulers") == 0 && i + 1 < argc) o.schedulers = atoi(argv[++i]);
        else die("usage: run [--schedulers N | --deterministic]");
    }
    char line[4096], in[2048], out[2048];
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%2047s %2047s", in, out) != 2) die("bad request");
        char *all = read_file(in);
        read_programs(all);
        (void)alarm(120);               /* one that hangs does not stay behind for ever */
        if (o.deterministic) {
            for (int i = 0; i < program_count; i++) {
                o.seed = programs[i].seed;
                if (otp_run(alone, &programs[i], &o) != 0) die("otp_run failed");
            }
        } else if (otp_run(window, NULL, &o) != 0) {
            die("otp_run failed");
        }
        FILE *f = fopen(out, "wb");
        if (!f) die("cannot write the traces");
        for (int i = 0; i < program_count; i++) {
            text *t = &programs[i].out;
            if (fwrite(t->at, 1, t->n, f) != t->n) die("cannot write the traces");
            free(t->at);
        }
        if (fclose(f) != 0) die("cannot write the traces");
        free(all);
        if (puts("done") < 0 || fflush(stdout) != 0) die("cannot answer");
    }
    free(programs);
    return 0;
}
