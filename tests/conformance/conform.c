/* The conformance test: writes random programs, has each runner run them, compares the traces with those of the first
   runner, and shrinks a program on which they differ. docs/conformance.md says how it is used.

       conform [options] NAME 'COMMAND' [NAME 'COMMAND' ...]

   --seed S       the programs follow from it; default: from the clock. --from I, --count N: which of them
   --seconds T    no new batch after so much time      --dir D     where the files go
   --program F    runs the programs of this file instead
   --show         prints each program and the trace of the first runner

   A runner reads lines "IN OUT" from stdin, runs the programs of IN, writes their traces to OUT and says "done". */
#define _POSIX_C_SOURCE 200809L
#include "ops.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 500, RUNNERS = 8, LINE = 64, PATIENCE = 60, IMPATIENCE = 10, SHOWN = 3 };

typedef struct program {
    int id, class, workers, count;
    uint64_t seed;
    char line[LINES][LINE];
} program;

typedef struct runner {
    const char *name, *command;
    pid_t pid;
    int in, out;
    char *trace[BATCH];
    long differences;
} runner;

static runner runners[RUNNERS];
static int runner_count;
static const char *dir = "build/conformance";
static uint64_t base_seed;
static bool show_all;

static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "conform: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(2);
}

static double seconds(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) die("no clock");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* -- writing programs ---------------------------------------------------------------------------------- */

static uint64_t chance;

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static int below(int n)
{
    chance += 0x9e3779b97f4a7c15u;
    return (int)(mixed(chance) % (uint64_t)n);
}

typedef struct op_info { const char *name, *args; int weight; } op_info;
static const op_info ops[] = {
#define X(name, args, weight) { #name, args, weight },
    OPS(X)
#undef X
};

/* What the writer believes of the program so far. It only makes interesting commands likely, so it may err. */
enum { INBOX = 24 };
typedef struct mail { int tag, val, from, var; } mail;
typedef struct belief {
    bool born[WORKERS], dead[WORKERS], traps[WORKERS], link[WORKERS][WORKERS];
    int awaits[WORKERS], suspended[WORKERS], by[WORKERS][WORKERS];
    int name[NAMES];                    /* who has it; -1: nobody */
    mail inbox[WORKERS][INBOX];
    int mails[WORKERS];
    char kind[VARS];                    /* m t a as in ops.h; b: a monitor with an alias; -: none was made */
    int owner[VARS], target[VARS], vars, value;
} belief;

static void arrives(belief *b, int to, int tag, int val, int from, int var)
{
    if (to < 0 || b->dead[to]) return;
    if (b->awaits[to] == tag) b->awaits[to] = 0;
    else if (b->mails[to] < INBOX) b->inbox[to][b->mails[to]++] = (mail){ tag, val, from, var };
}

static void dies(belief *b, int i, bool normal)
{
    if (b->dead[i]) return;
    b->dead[i] = true;
    for (int n = 0; n < NAMES; n++)
        if (b->name[n] == i) b->name[n] = -1;
    for (int v = 0; v < b->vars; v++)
        if ((b->kind[v] == 'm' || b->kind[v] == 'b') && b->target[v] == i) {
            arrives(b, b->owner[v], -3, 0, i, v);
            b->target[v] = -1;
        }
    for (int k = 0; k < WORKERS; k++) {
        bool linked = b->link[i][k];
        b->link[i][k] = b->link[k][i] = false;
        if (b->by[i][k]) b->suspended[k] -= b->by[i][k];
        b->by[i][k] = 0;
        if (linked && b->traps[k]) arrives(b, k, -2, 0, i, -1);
        else if (linked && !normal) dies(b, k, false);
    }
}

static bool able(const belief *b, int i) { return b->born[i] && !b->dead[i] && !b->awaits[i] && !b->suspended[i]; }

/* Any of those whose bit is set; -1 when none is. */
static int any_of(unsigned set)
{
    int all[WORKERS], n = 0;
    for (int i = 0; i < WORKERS; i++)
        if (set >> i & 1) all[n++] = i;
    return n ? all[below(n)] : -1;
}

static int living(const belief *b, bool with_mail)
{
    unsigned set = 0, better = 0;
    for (int i = 0; i < WORKERS; i++)
        if (able(b, i)) {
            set |= 1u << i;
            if (b->mails[i]) better |= 1u << i;
        }
    int i = with_mail && below(100) < 80 ? any_of(better) : -1;
    return i >= 0 ? i : any_of(set);
}

/* The worker that a command is about: one that it has something to do with, if possible. */
static int other(const belief *b, int actor, op_code o)
{
    unsigned born = 0, alive = 0, better = 0;
    for (int i = 0; i < WORKERS; i++) {
        if (!b->born[i]) continue;
        born |= 1u << i;
        if (!b->dead[i]) alive |= 1u << i;
        bool likely = false;
        switch (o) {
        case OP_unlink: likely = b->link[actor][i]; break;
        case OP_relations:
            for (int k = 0; k < WORKERS; k++) likely = likely || b->link[i][k];
            break;
        case OP_resume: likely = b->by[actor][i] > 0; break;
        case OP_signal: likely = b->traps[i] && !b->dead[i]; break;
        case OP_send: likely = b->awaits[i] && !b->dead[i]; break;
        case OP_unlink_flush:
        case OP_recv_from:
            for (int k = 0; k < b->mails[actor]; k++)
                likely = likely || (b->inbox[actor][k].tag == -2 && b->inbox[actor][k].from == i);
            break;
        default: break;
        }
        if (likely) better |= 1u << i;
    }
    int likely = below(100) < (o == OP_signal || o == OP_send ? 35 : 70) ? any_of(better) : -1;
    if (likely >= 0) return likely;
    int lives = below(100) < 75 ? any_of(alive & ~(1u << actor)) : -1;
    if (lives >= 0) return lives;
    return below(100) < 3 ? below(WORKERS) : any_of(born);
}

static int variable(const belief *b, int actor, char kind)
{
    int own[VARS], any[VARS], n = 0, m = 0;
    if (kind == 'y' && b->mails[actor] && below(2)) {
        int v = b->inbox[actor][below(b->mails[actor])].var;
        if (v >= 0) return v;
    }
    for (int v = 0; v < b->vars; v++) {
        char k = b->kind[v];
        bool fits = kind == 'y' || k == kind || (k == 'b' && (kind == 'm' || kind == 'a'));
        if (!fits) continue;
        any[m++] = v;
        if (b->owner[v] == actor) own[n++] = v;
    }
    if (n && kind != 't' && below(100) < 85) return own[below(n)];
    return m ? any[below(m)] : -1;
}

static int a_name(const belief *b, bool taken)
{
    for (int n = 0; n < 8; n++) {
        int i = below(NAMES - 1);
        if ((b->name[i] >= 0) == taken) return i;
    }
    return below(NAMES - 1);
}

/* Fills in the arguments of a command; false when it cannot be had now. */
static bool arguments(belief *b, int actor, op_code o, int *a, int *count)
{
    static const int tags[] = { 10, 11, 12, 14, 15, -2, -2, -3, -3, -5 };
    const mail *likely = b->mails[actor] && below(100) < 60 ? &b->inbox[actor][below(b->mails[actor])] : NULL;
    int n = 0;
    for (const char *p = ops[o].args; *p; p++, n++) {
        switch (*p) {
        case 'w': a[n] = below(100) < 5 ? actor : other(b, actor, o); break;
        case 'W':
            a[n] = 0;
            while (a[n] < WORKERS && b->born[a[n]]) a[n]++;
            if (a[n] == WORKERS) return false;
            break;
        case 'r': a[n] = below(100) < 60 ? 5 + below(5) : below(5); break;
        case 'v':
            if (b->vars == VARS) return false;
            a[n] = b->vars;
            break;
        case 'm': case 't': case 'a': case 'y':
            a[n] = variable(b, actor, *p);
            if (a[n] < 0) return false;
            break;
        case 'n': a[n] = below(100) < 75 ? a_name(b, o != OP_register) : below(NAMES - 1); break;
        case 'g':
            a[n] = 10 + below(3);
            if (o == OP_recv_val && likely && likely->tag >= 10 && likely->tag < 13) a[n] = likely->tag;
            if (o == OP_send && b->awaits[a[0]] && below(100) < 70) a[n] = b->awaits[a[0]];
            break;
        case 'G': a[n] = likely && n == 0 ? likely->tag : tags[below(10)]; break;
        case 'u': a[n] = below(2) ? 0 : 14 + below(2); break;
        case 'A': a[n] = below(2) ? 1 : 3; break;
        case 'x': a[n] = o == OP_recv_val ? (likely ? likely->val : below(1 + b->value)) : (b->value += 3); break;
        case 'i': a[n] = below(100) < 92 ? 0 : 1 + below(2); break;
        case 'j': a[n] = below(100) < 30 ? below(3) : 3600000; break;
        case '2': a[n] = below(100) < 70; break;
        default: a[n] = below(*p - '0'); break;
        }
    }
    *count = n;
    return true;
}

static bool had(belief *b, int i, const int *tag, int from, int var)
{
    for (int k = 0; k < b->mails[i]; k++) {
        const mail *m = &b->inbox[i][k];
        if ((tag && m->tag != *tag) || (from >= 0 && m->from != from) || (var >= 0 && m->var != var)) continue;
        memmove(&b->inbox[i][k], &b->inbox[i][k + 1], (size_t)(b->mails[i] - k - 1) * sizeof *m);
        b->mails[i]--;
        return true;
    }
    return false;
}

static void watch(belief *b, int actor, int v, int target, char kind)
{
    b->kind[v] = kind;
    b->owner[v] = actor;
    b->target[v] = target;
    b->vars++;
    if (target == actor || kind == 't' || kind == 'a' || kind == '-') b->target[v] = -1;
    else if (target < 0 || b->dead[target]) arrives(b, actor, -3, 0, target, v);
}

/* What the writer then believes. */
static void believe(belief *b, int actor, op_code o, const int *a)
{
    static const int exits = -2;
    switch (o) {
    case OP_spawn:
        b->born[a[0]] = true;
        b->link[actor][a[0]] = b->link[a[0]][actor] = a[1] & 1;
        watch(b, actor, a[2], a[0], a[1] & 2 ? 'm' : '-');
        break;
    case OP_brief:
        b->born[a[0]] = true;
        b->link[actor][a[0]] = b->link[a[0]][actor] = a[1] & 1;
        watch(b, actor, a[2], a[0], a[1] & 2 ? 'm' : '-');
        dies(b, a[0], a[3] == 0);
        break;
    case OP_link:
        if (b->dead[a[0]] && b->traps[actor]) arrives(b, actor, -2, 0, a[0], -1);
        else if (b->dead[a[0]]) dies(b, actor, false);
        else if (a[0] != actor) b->link[actor][a[0]] = b->link[a[0]][actor] = true;
        break;
    case OP_unlink_flush:
        (void)had(b, actor, &exits, a[0], -1);
        b->link[actor][a[0]] = b->link[a[0]][actor] = false;
        break;
    case OP_unlink: b->link[actor][a[0]] = b->link[a[0]][actor] = false; break;
    case OP_monitor: watch(b, actor, a[1], a[0], 'm'); break;
    case OP_monitor_name: watch(b, actor, a[1], b->name[a[0]], 'm'); break;
    case OP_monitor_opt: watch(b, actor, a[1], a[0], a[2] ? 'b' : 'm'); break;
    case OP_demonitor:
        if (b->owner[a[0]] == actor) b->target[a[0]] = -1;
        if ((a[1] & 1) && b->owner[a[0]] == actor) (void)had(b, actor, NULL, -1, a[0]);
        break;
    case OP_alias: watch(b, actor, a[0], -1, 'a'); break;
    case OP_send_alias: arrives(b, b->owner[a[0]], a[1], a[2], actor, a[0]); break;
    case OP_signal:
        if (b->traps[a[0]] && a[1] != 2) arrives(b, a[0], -2, 0, actor, -1);
        else if (a[1] != 0 || a[0] == actor) dies(b, a[0], a[1] == 0);
        break;
    case OP_exit: dies(b, actor, a[0] == 0); break;
    case OP_return: dies(b, actor, true); break;
    case OP_crash: dies(b, actor, false); break;
    case OP_trap: b->traps[actor] = a[0] == 1; break;
    case OP_await: b->awaits[actor] = had(b, actor, a, -1, -1) ? 0 : a[0]; break;
    case OP_suspend:
        if (a[0] == actor || b->dead[a[0]]) break;
        b->suspended[a[0]]++;
        b->by[actor][a[0]]++;
        break;
    case OP_resume:
        if (b->by[actor][a[0]] == 0) break;
        b->suspended[a[0]]--;
        b->by[actor][a[0]]--;
        break;
    case OP_register:
        for (int n = 0; n < NAMES; n++)
            if (b->name[n] == a[1]) return;
        if (b->name[a[0]] < 0 && !b->dead[a[1]]) b->name[a[0]] = a[1];
        break;
    case OP_unregister: b->name[a[0]] = -1; break;
    case OP_send: arrives(b, a[0], a[1], a[2], actor, -1); break;
    case OP_send_name: arrives(b, b->name[a[0]], a[1], a[2], actor, -1); break;
    case OP_timer:
        watch(b, actor, a[5], -1, 't');
        if (a[2] < 1000) arrives(b, a[0] < 2 ? a[1] : b->name[a[1] % NAMES], a[0] & 1 ? -5 : a[3], a[4], -1, a[5]);
        break;
    case OP_timers:
        for (int i = 0; i < 3; i++) arrives(b, a[0], 10, a[1] + i, -1, -1);
        break;
    case OP_recv: (void)had(b, actor, NULL, -1, -1); break;
    case OP_recv_tag: (void)had(b, actor, a, -1, -1); break;
    case OP_recv_ref: (void)had(b, actor, NULL, -1, a[0]); break;
    case OP_recv_from: (void)had(b, actor, &exits, a[0], -1); break;
    case OP_flush: b->mails[actor] = 0; break;
    default: break;
    }
}

static void add_line(program *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(p->line[p->count], LINE, format, args);
    va_end(args);
    if (n < 0 || n >= LINE) die("a line is too long");
    p->count++;
}

/* A racy program: observers, who have the lowest numbers, watch the others, who harm each other. */
static void write_racy(program *p)
{
    p->class = 1;
    p->workers = 3 + below(WORKERS - 2);
    int observers = p->workers / 3, length = 10 + below(LINES - 12), vars = 0;
    int monitors[VARS], timers[VARS], of_monitor[VARS], of_timer[VARS], m = 0, t = 0;
    while (p->count < length) {
        bool watches = below(100) < 40;
        int actor = watches ? below(observers) : observers + below(p->workers - observers);
        int target = observers + below(p->workers - observers), pick = below(100), i;
        if (watches) {
            if (pick < 20) {
                add_line(p, "%d link %d", actor, target);
            } else if (pick < 38) {
                add_line(p, "%d unlink_flush %d", actor, target);
            } else if (pick < 62) {
                of_monitor[m] = actor;
                monitors[m++] = vars;
                add_line(p, "%d monitor %d %d", actor, target, vars++);
            } else if (pick < 78 && m > 0) {
                i = below(m);
                add_line(p, "%d demonitor %d %d", of_monitor[i], monitors[i], below(4));
            } else if (pick < 86) {
                of_timer[t] = actor;
                timers[t++] = vars;
                add_line(p, "%d timer 0 %d %d 12 %d %d", actor, actor, below(3), p->count, vars);
                vars++;
            } else if (pick < 92 && t > 0) {
                i = below(t);
                add_line(p, "%d cancel %d", of_timer[i], timers[i]);
            } else if (pick < 94) {
                add_line(p, "%d unalias %d", actor, actor);
            } else if (pick >= 94) {
                add_line(p, "%d yield", actor);
            }
        } else if (pick < 35) {
            add_line(p, "%d send %d 10 0", actor, below(p->workers));
        } else if (pick < 50) {
            add_line(p, "%d signal %d 6", actor, below(observers));
        } else if (pick < 62) {
            add_line(p, "%d signal %d %d", actor, target, below(10));
        } else if (pick < 74) {
            add_line(p, "%d link %d", actor, target);
        } else if (pick < 80) {
            add_line(p, "%d unlink %d", actor, target);
        } else if (pick < 84) {
            add_line(p, "%d monitor %d %d", actor, target, VARS - 1);
        } else if (pick < 88) {
            add_line(p, "%d trap %d", actor, below(2));
        } else if (pick < 91) {
            add_line(p, "%d register %d %d", actor, below(NAMES), actor);
        } else if (pick < 95) {
            add_line(p, "%d send_alias %d 11 0", actor, below(observers));
        } else {
            add_line(p, "%d yield", actor);
        }
    }
}

static void write_program(program *p, int id)
{
    chance = mixed(base_seed) ^ mixed((uint64_t)id * 0x9e3779b97f4a7c15u + 1);
    belief b;
    memset(&b, 0, sizeof b);
    memset(p, 0, sizeof *p);
    p->id = id;
    p->seed = mixed(chance) | 1;
    if (below(100) < 25) {
        write_racy(p);
        return;
    }
    p->workers = 2 + below(4);
    for (int i = 0; i < p->workers; i++) b.born[i] = true;
    for (int i = 0; i < NAMES; i++) b.name[i] = -1;
    int total = 0, length = 6 + below(40);
    for (int o = 0; o < OP_COUNT; o++) total += ops[o].weight;
    while (p->count < length) {
        int pick = below(total), o = 0, a[ARGS] = { 0 }, n = 0;
        while (pick >= ops[o].weight) pick -= ops[o++].weight;
        bool takes = (o >= OP_recv && o <= OP_flush) || o == OP_unlink_flush || o == OP_demonitor;
        int actor = below(100) < 98 ? living(&b, takes) : below(WORKERS);
        if (actor < 0) break;           /* nobody is left */
        if (!arguments(&b, actor, (op_code)o, a, &n)) continue;
        char text[LINE] = "";
        size_t at = 0;
        for (int i = 0; i < n; i++) at += (size_t)snprintf(text + at, sizeof text - at, " %d", a[i]);
        add_line(p, "%d %s%s", actor, ops[o].name, text);
        believe(&b, actor, (op_code)o, a);
    }
}

/* -- runners ------------------------------------------------------------------------------------------- */

static void start(runner *r)
{
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0) die("no pipe");
    r->pid = fork();
    if (r->pid < 0) die("cannot fork");
    if (r->pid == 0) {
        if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0) _exit(127);
        for (int fd = 3; fd < 256; fd++) (void)close(fd);
        if (setpgid(0, 0) != 0) _exit(127);
        (void)execl("/bin/sh", "sh", "-c", r->command, (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    r->in = in[1];
    r->out = out[0];
}

static void stop(runner *r)
{
    if (r->pid == 0) return;
    (void)close(r->in);
    (void)close(r->out);
    (void)kill(-r->pid, SIGKILL);
    (void)waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

static void path_of(char *out, size_t size, const char *name, const char *end)
{
    int n = snprintf(out, size, "%s/%s.%s", dir, name, end);
    if (n < 0 || (size_t)n >= size) die("a path is too long");
}

static void print_program(FILE *f, const program *p)
{
    fprintf(f, "program %d %d %d %" PRIu64 "\n", p->id, p->class, p->workers, p->seed);
    for (int i = 0; i < p->count; i++) fprintf(f, "%s\n", p->line[i]);
    fprintf(f, "end\n");
}

static void ask(runner *r)
{
    char in[1024], out[1024], line[2100];
    path_of(in, sizeof in, "batch", "txt");
    path_of(out, sizeof out, r->name, "out");
    (void)remove(out);
    if (r->pid == 0) start(r);
    int n = snprintf(line, sizeof line, "%s %s\n", in, out);
    if (n < 0 || write(r->in, line, (size_t)n) != n) stop(r);
}

/* Waits for "done"; false when it died or took too long. */
static bool answered(runner *r, double end)
{
    char buf[64];
    size_t n = 0;
    if (r->pid == 0) return false;
    while (n < sizeof buf) {
        struct pollfd f = { .fd = r->out, .events = POLLIN };
        double left = end - seconds();
        int ready = left > 0 ? poll(&f, 1, (int)(left * 1000) + 1) : 0;
        ssize_t got = ready > 0 ? read(r->out, buf + n, sizeof buf - n) : 0;
        if (got <= 0) break;
        n += (size_t)got;
        if (n >= 5 && memcmp(buf + n - 5, "done\n", 5) == 0) return true;
    }
    stop(r);
    return false;
}

static char *copy(const char *s, size_t n)
{
    char *c = malloc(n + 1);
    if (!c) die("out of memory");
    memcpy(c, s, n);
    c[n] = 0;
    return c;
}

static void read_traces(runner *r, int count)
{
    char path[1024];
    path_of(path, sizeof path, r->name, "out");
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) die("no traces in %s", path);
    long size = ftell(f);
    if (size < 0 || fseek(f, 0, SEEK_SET) != 0) die("no traces in %s", path);
    char *all = malloc((size_t)size + 1);
    if (!all || fread(all, 1, (size_t)size, f) != (size_t)size) die("no traces in %s", path);
    all[size] = 0;
    (void)fclose(f);
    const char *at = all;
    for (int i = 0; i < count; i++) {
        const char *end = at ? strstr(at, "\nend\n") : NULL;
        r->trace[i] = end ? copy(at, (size_t)(end + 5 - at)) : copy("no trace\n", 9);
        at = end ? end + 5 : NULL;
    }
    free(all);
}

static void write_batch(const program *p, int count)
{
    char path[1024];
    path_of(path, sizeof path, "batch", "txt");
    FILE *f = fopen(path, "wb");
    if (!f) die("cannot write %s", path);
    for (int i = 0; i < count; i++) print_program(f, &p[i]);
    if (fclose(f) != 0) die("cannot write %s", path);
}

/* Runs the programs on the runners of the set; their traces are then at runner.trace, to be freed by forget(). */
static void run_batch(runner *const *set, int n, const program *p, int count)
{
    bool ok[RUNNERS];
    write_batch(p, count);
    for (int i = 0; i < n; i++) ask(set[i]);
    double end = seconds() + (count > 1 ? PATIENCE : IMPATIENCE);
    for (int i = 0; i < n; i++) {
        ok[i] = answered(set[i], end);
        if (ok[i]) read_traces(set[i], count);
    }
    for (int i = 0; i < n; i++) {       /* which one was it? */
        for (int k = 0, dead = 0; k < count && !ok[i]; k++) {
            char *text = NULL;
            if (k == 0) memset(set[i]->trace, 0, sizeof set[i]->trace);
            if (dead == SHOWN) {        /* enough: the rest would take for ever */
                const char *same = i > 0 ? set[0]->trace[k] : "not run\n";
                set[i]->trace[k] = copy(same, strlen(same));
                continue;
            }
            write_batch(&p[k], 1);
            ask(set[i]);
            if (answered(set[i], seconds() + IMPATIENCE)) {
                char *first = set[i]->trace[0];
                read_traces(set[i], 1);
                text = set[i]->trace[0];
                set[i]->trace[0] = first;
            }
            dead += text == NULL;
            set[i]->trace[k] = text ? text : copy("the runner died or hung\n", 24);
        }
    }
}

static void forget(runner *const *set, int n, int count)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < count; k++) free(set[i]->trace[k]);
}

/* -- shrinking ----------------------------------------------------------------------------------------- */

/* Whether the traces of the runner and of the first one differ in one of so many runs; their traces if so. */
static bool differs(runner *r, const program *p, int copies, char **wanted, char **got)
{
    static program all[BATCH];
    runner *set[2] = { &runners[0], r };
    bool found = false;
    for (int i = 0; i < copies; i++) {
        all[i] = *p;
        all[i].seed = p->seed + (uint64_t)i * 2;
    }
    run_batch(set, 2, all, copies);
    for (int i = 0; i < copies && !found; i++) {
        if (strcmp(runners[0].trace[i], r->trace[i]) == 0) continue;
        found = true;
        free(*wanted);
        free(*got);
        *wanted = copy(runners[0].trace[i], strlen(runners[0].trace[i]));
        *got = copy(r->trace[i], strlen(r->trace[i]));
    }
    forget(set, 2, copies);
    return found;
}

static bool mentions(const char *args, const int *a, int actor, int worker, int count)
{
    for (int i = 0; i < count && args[i]; i++)
        if ((args[i] == 'w' || args[i] == 'W') && a[i] == worker) return true;
    return actor == worker;
}

/* Takes a worker out that no command names, and gives those above it the next lower number. */
static bool without_worker(program *p, int worker)
{
    program q = *p;
    for (int i = 0; i < q.count; i++) {
        int actor, a[ARGS] = { 0 }, n = 0, count = 0;
        char name[32];
        const char *args = NULL;
        if (sscanf(q.line[i], "%d %31s%n", &actor, name, &n) != 2) return false;
        for (int o = 0; o < OP_COUNT; o++)
            if (strcmp(ops[o].name, name) == 0) args = ops[o].args;
        if (!args) return false;
        for (int m; count < ARGS && sscanf(q.line[i] + n, "%d%n", &a[count], &m) == 1; count++) n += m;
        if (mentions(args, a, actor, worker, count)) return false;
        char text[LINE] = "";
        size_t at = 0;
        for (int k = 0; k < count; k++)
            at += (size_t)snprintf(text + at, sizeof text - at, " %d",
                                   (args[k] == 'w' || args[k] == 'W') && a[k] > worker ? a[k] - 1 : a[k]);
        int length = snprintf(q.line[i], LINE, "%d %s%s", actor > worker ? actor - 1 : actor, name, text);
        if (length < 0 || length >= LINE) return false;
    }
    if (worker < q.workers) q.workers--;
    *p = q;
    return q.workers > 0;
}

static void shrink(runner *r, program *p, int copies, char **wanted, char **got)
{
    bool smaller = true;
    double end = seconds() + PATIENCE;      /* candidates that hang take their time */
    while (smaller && seconds() < end) {
        smaller = false;
        for (int chunk = p->count / 2 ? p->count / 2 : 1; chunk >= 1; chunk /= 2) {
            for (int at = 0; at < p->count && seconds() < end;) {
                program q = *p;
                int n = at + chunk <= q.count ? chunk : q.count - at;
                memmove(q.line[at], q.line[at + n], (size_t)(q.count - at - n) * LINE);
                q.count -= n;
                if (differs(r, &q, copies, wanted, got)) {
                    *p = q;
                    smaller = true;
                } else {
                    at += chunk;
                }
            }
        }
        for (int w = WORKERS - 1; w >= 0; w--) {
            program q = *p;
            if (w < q.workers && without_worker(&q, w) && differs(r, &q, copies, wanted, got)) {
                *p = q;
                smaller = true;
            }
        }
    }
}

static void print_traces(const char *name, const char *wanted, const char *got)
{
    while (*wanted || *got) {
        size_t a = strcspn(wanted, "\n"), b = strcspn(got, "\n");
        bool same = a == b && strncmp(wanted, got, a) == 0;
        if (same) {
            printf("        %.*s\n", (int)a, wanted);
        } else {
            if (*wanted) printf("  %-5s %.*s\n", runners[0].name, (int)a, wanted);
            if (*got) printf("  %-5s %.*s\n", name, (int)b, got);
        }
        wanted += a + (wanted[a] == '\n');
        got += b + (got[b] == '\n');
    }
}

static void report(runner *r, const program *p, const char *first_wanted, const char *first_got)
{
    char *wanted = copy(first_wanted, strlen(first_wanted)), *got = copy(first_got, strlen(first_got));
    double begin = seconds();
    program q = *p;
    printf("difference: program %d, runner %s\n", p->id, r->name);
    printf("  again: make conformance SEED=%" PRIu64 " FROM=%d N=1\n", base_seed, p->id);
    (void)fflush(stdout);
    int copies = 1;
    while (copies <= 256 && !differs(r, &q, copies, &wanted, &got)) copies *= 4;
    if (copies > 256) {
        printf("  seen once, and not in 341 further runs; the program is not shrunk\n");
    } else {
        copies = copies == 1 ? 1 : copies * 2 > BATCH ? BATCH : copies * 2;
        shrink(r, &q, copies, &wanted, &got);
        printf("  shrunk from %d commands to %d in %.1f s%s\n", p->count, q.count, seconds() - begin,
               copies == 1 ? "" : "; it does not happen each time");
    }
    print_program(stdout, &q);
    printf("  traces:\n");
    print_traces(r->name, wanted, got);
    printf("\n");
    (void)fflush(stdout);
    char path[1024], name[64];
    if (snprintf(name, sizeof name, "difference_%d_%s", p->id, r->name) < 0) die("bad format");
    path_of(path, sizeof path, name, "txt");
    FILE *f = fopen(path, "wb");
    if (f) {
        print_program(f, &q);
        (void)fclose(f);
    }
    free(wanted);
    free(got);
}

/* -- running ------------------------------------------------------------------------------------------- */

static int read_program_file(const char *path, program *p)
{
    FILE *f = fopen(path, "r");
    int n = 0;
    char line[LINE];
    if (!f) die("cannot read %s", path);
    while (n < BATCH && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "program ", 8) == 0) {
            memset(&p[n], 0, sizeof p[n]);
            if (sscanf(line, "program %d %d %d %" SCNu64, &p[n].id, &p[n].class, &p[n].workers, &p[n].seed) != 4)
                die("a bad line in %s", path);
        } else if (strcmp(line, "end") == 0) {
            n++;
        } else if (p[n].count < LINES) {
            add_line(&p[n], "%s", line);
        }
    }
    (void)fclose(f);
    return n;
}

int main(int argc, char **argv)
{
    static program p[BATCH];
    runner *set[RUNNERS];
    const char *file = NULL;
    long from = 1, count = 20000, programs = 0, reported = 0, differences = 0;
    double limit = 0, begin = seconds();
    base_seed = (uint64_t)time(NULL);
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--show") == 0) {
            show_all = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0) base_seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--from") == 0) from = strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--count") == 0) count = strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0) limit = strtod(value, NULL);
        else if (strcmp(argv[i], "--dir") == 0) dir = value;
        else if (strcmp(argv[i], "--program") == 0) file = value;
        else die("unknown option %s", argv[i]);
        i++;
    }
    for (; i + 1 < argc && runner_count < RUNNERS; i += 2) {
        runners[runner_count].name = argv[i];
        runners[runner_count].command = argv[i + 1];
        set[runner_count] = &runners[runner_count];
        runner_count++;
    }
    if (runner_count < 1 || i < argc) die("usage: conform [options] NAME COMMAND ..., at most %d", RUNNERS);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) die("cannot ignore SIGPIPE");
    printf("seed %" PRIu64 "\n", base_seed);
    (void)fflush(stdout);
    while (programs < count && (limit <= 0 || seconds() - begin < limit) && reported < SHOWN) {
        int n = count - programs < BATCH ? (int)(count - programs) : BATCH;
        if (file) n = read_program_file(file, p);
        else
            for (int k = 0; k < n; k++) write_program(&p[k], (int)(from + programs + k));
        run_batch(set, runner_count, p, n);
        for (int k = 0; k < n; k++) {
            if (show_all) {
                print_program(stdout, &p[k]);
                printf("%s\n", runners[0].trace[k]);
            }
            for (int r = 1; r < runner_count; r++)
                if (strcmp(runners[0].trace[k], runners[r].trace[k]) != 0) runners[r].differences++;
        }
        programs += n;
        for (int k = 0; k < n && reported < SHOWN; k++)
            for (int r = 1; r < runner_count; r++) {
                char *wanted = runners[0].trace[k], *got = runners[r].trace[k];
                if (strcmp(wanted, got) == 0) continue;
                char *saved[RUNNERS][BATCH];
                for (int j = 0; j < runner_count; j++) memcpy(saved[j], runners[j].trace, sizeof saved[j]);
                report(&runners[r], &p[k], wanted, got);
                for (int j = 0; j < runner_count; j++) memcpy(runners[j].trace, saved[j], sizeof saved[j]);
                reported++;
                break;                  /* the other runners mostly differ in the same way */
            }
        forget(set, runner_count, n);
        if (file) break;
    }
    for (int r = 0; r < runner_count; r++) stop(&runners[r]);
    for (int r = 1; r < runner_count; r++) {
        printf("%s against %s: %ld programs, %ld differ\n", runners[r].name, runners[0].name, programs,
               runners[r].differences);
        differences += runners[r].differences;
    }
    printf("%.0f s\n", seconds() - begin);
    printf("%ld passed, %ld failed\n", programs * (runner_count > 1 ? runner_count - 1 : 1) - differences, differences);
    return differences ? 1 : 0;
}
