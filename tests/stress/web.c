/* web.c: thousands of processes with random links, monitors, names, timers and kills; every OTP_DOWN and OTP_EXIT must
   come exactly once, and nothing may be left.

       web [--processes N] [--seconds S] [--schedulers N] [--functions PERCENT] [--seed N]

   A few gardeners own the nodes: they start one for each slot, poke nodes at random, and start a new one when one has
   died. A poked node watches, links to, kills or leaves others, or ends. Each node keeps a book of its monitors and
   links, against which it holds what arrives: a second or unknown signal is a violation at once. Every round all stand
   still for a check: a book must not name a dead process any more (a signal was lost), it must agree with what the
   runtime knows of the node, and the books of all must agree with each other.

   PERCENT of the nodes are functions with a stack, the others are handlers without one: ThreadSanitizer of gcc can have
   some 8,000 stacks. A node that does not trap exits dies with its neighbours, and never links to others by itself: so
   a reason NOPROC in an OTP_EXIT always answers a link to a process that was dead already. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define OTP_IMPLEMENTATION
#include "otp.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POKE = 1, NOISE, SYNC, CHECK, PAUSE, SETTLE, INSPECT, GO, FINISH };
enum { MONITORS = 16, LINKS = 16, GARDENERS = 4, MAX_NODES = 100000 };

static int opt_nodes = 10000, opt_seconds = 10, opt_schedulers = 4, opt_functions = 30;
static uint64_t opt_seed;

/* Written by the gardener that owns the slot; 0: nobody lives there. */
static _Atomic(uint64_t) slots[MAX_NODES];
static atomic_bool paused;
static atomic_int violations;
static _Atomic(uint64_t) spawned, node_downs, downs, exits, noprocs, monitored, linked, killed, pokes;

static void violation(const char *what, uint64_t a, uint64_t b)
{
    if (atomic_fetch_add(&violations, 1) < 20)
        fprintf(stderr, "violation: %s (%" PRIx64 ", %" PRIx64 ")\n", what, a, b);
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* -- nodes ------------------------------------------------------------------------------------------------ */

enum { LINKED, UNLINKED, MAYBE_NOPROC };
struct monitor { uint64_t ref, pid; uint32_t slot; };
struct link { uint64_t pid; uint32_t slot; int state; };

struct node {
    uint64_t rng;
    uint32_t slot;
    bool trap, named;
    int nmonitors, nlinks;
    struct monitor monitors[MONITORS];
    struct link links[LINKS];
    uint64_t *dead;             /* whose end came over a link: a process ends once */
    unsigned ndead, cap;
};

struct start { uint32_t slot; bool trap; uint64_t seed; };

struct answer { int pending; uint64_t monitors, monitored_by, links, link_hash; };

static void node_init(struct node *n, const struct start *s)
{
    memset(n, 0, sizeof *n);
    n->slot = s->slot;
    n->rng = s->seed | 1;
    n->trap = s->trap;
    if (n->trap) (void)otp_trap_exit(true);
}

static uint32_t pick(struct node *n, uint64_t *pid)
{
    uint32_t slot = (uint32_t)(next(&n->rng) % (uint64_t)opt_nodes);
    *pid = atomic_load(&slots[slot]);
    return slot;
}

static bool dead_before(struct node *n, uint64_t pid)
{
    for (unsigned i = 0; i < n->ndead; i++)
        if (n->dead[i] == pid) return true;
    if (n->ndead == n->cap) {
        unsigned cap = n->cap ? 2 * n->cap : 8;
        uint64_t *more = otp_realloc(n->dead, cap * sizeof *more);
        if (!more) {
            violation("no memory", 0, 0);
            return false;
        }
        n->dead = more;
        n->cap = cap;
    }
    n->dead[n->ndead++] = pid;
    return false;
}

static struct link *find_link(struct node *n, uint64_t pid)
{
    for (int i = 0; i < n->nlinks; i++)
        if (n->links[i].pid == pid) return &n->links[i];
    return NULL;
}

static void on_down(struct node *n, const otp_msg *m)
{
    (void)atomic_fetch_add(&downs, 1);
    for (int i = 0; i < n->nmonitors; i++) {
        if (n->monitors[i].ref != m->ref.id) continue;
        if (n->monitors[i].pid != m->from.id) violation("a DOWN of another process", m->ref.id, m->from.id);
        n->monitors[i] = n->monitors[--n->nmonitors];
        return;
    }
    violation("a second DOWN, or one after otp_demonitor", m->ref.id, m->from.id);
}

static void on_exit_message(struct node *n, const otp_msg *m)
{
    (void)atomic_fetch_add(&exits, 1);
    const otp_reason *why = otp_reason_of(m);
    struct link *l = find_link(n, m->from.id);
    if (!n->trap) violation("an EXIT message without trapping", m->from.id, 0);
    if (why->kind == OTP_REASON_NOPROC) {
        (void)atomic_fetch_add(&noprocs, 1);
        if (!l) violation("a second EXIT with noproc", m->from.id, n->slot);
        else *l = n->links[--n->nlinks];
        return;
    }
    if (dead_before(n, m->from.id)) violation("a second EXIT", m->from.id, n->slot);
    /* Its link to us and ours to it may have crossed its end: then a noproc for ours is on its way. */
    if (l) l->state = MAYBE_NOPROC;
}

/* There is one link between two, and either of them may take it away. So that a book stays true, a pair of slots has
   links that both may make and nobody takes away, or links that one of them makes and takes away. */
static bool both_ways(const struct node *n, uint32_t slot) { return ((n->slot ^ slot) & 1) != 0; }
static bool may_link(const struct node *n, uint32_t slot) { return both_ways(n, slot) || n->slot < slot; }

/* False: the node ends. */
static bool poke(struct node *n)
{
    uint64_t pid;
    uint32_t slot = pick(n, &pid);
    unsigned what = (unsigned)(next(&n->rng) % 100);
    bool other = pid != 0 && pid != otp_self().id;
    (void)atomic_fetch_add(&pokes, 1);
    if (what < 34 && other && n->nmonitors < MONITORS) {
        otp_ref ref = otp_monitor((otp_pid){ pid });
        if (ref.id == 0) violation("no monitor", pid, 0);
        n->monitors[n->nmonitors++] = (struct monitor){ ref.id, pid, slot };
        (void)atomic_fetch_add(&monitored, 1);
    } else if (what >= 34 && what < 44 && n->nmonitors > 0) {
        int i = (int)(next(&n->rng) % (uint64_t)n->nmonitors);
        (void)otp_demonitor((otp_ref){ n->monitors[i].ref }, OTP_FLUSH);
        n->monitors[i] = n->monitors[--n->nmonitors];
    } else if (what >= 44 && what < 64 && other && n->trap && n->nlinks < LINKS && may_link(n, slot) && !find_link(n, pid)) {
        n->links[n->nlinks++] = (struct link){ pid, slot, LINKED };
        if (otp_link((otp_pid){ pid }) != 0) violation("no link", pid, 0);
        (void)atomic_fetch_add(&linked, 1);
    } else if (what >= 64 && what < 72 && n->nlinks > 0) {
        int i = (int)(next(&n->rng) % (uint64_t)n->nlinks);
        if (both_ways(n, n->links[i].slot)) return true;
        if (otp_unlink((otp_pid){ n->links[i].pid }) != 0) violation("no unlink", n->links[i].pid, 0);
        n->links[i].state = UNLINKED;
    } else if (what >= 72 && what < 76 && other) {
        (void)atomic_fetch_add(&killed, 1);
        if (otp_exit_signal((otp_pid){ pid }, OTP_KILL) != 0) violation("no kill", pid, 0);
    } else if (what == 76) {
        otp_exit(OTP_USER((int)n->slot, "a reason with a text that travels along all links and monitors"));
    } else if (what == 77) {
        return false;
    } else if (what >= 78 && what < 82) {
        if (otp_send_after((int64_t)(next(&n->rng) % 50), otp_self(), POKE, NULL, 0).id == 0) violation("no timer", 0, 0);
    } else if (what == 82 && !n->named) {
        char name[32];
        (void)snprintf(name, sizeof name, "node %u", (unsigned)(n->slot % 97));
        n->named = otp_register(name, otp_self()) == 0;
    } else if (other) {
        char text[200] = "noise";
        (void)otp_send((otp_pid){ pid }, NOISE, text, (size_t)(next(&n->rng) % sizeof text));
    }
    return true;
}

/* What the book says against what the gardeners and the runtime know; all stand still. */
static void check(struct node *n, const otp_msg *m)
{
    struct answer a = { 0 };
    int live_links = 0;
    for (int i = 0; i < n->nmonitors; i++)
        if (atomic_load(&slots[n->monitors[i].slot]) != n->monitors[i].pid) a.pending++;
    for (int i = 0; i < n->nlinks;) {
        struct link *l = &n->links[i];
        if (l->state != LINKED) {       /* what was in the mailbox has come by now */
            *l = n->links[--n->nlinks];
            continue;
        }
        if (atomic_load(&slots[l->slot]) != l->pid) a.pending++;
        live_links++;
        i++;
    }
    otp_info info;
    if (otp_process_info(otp_self(), &info) != 0) violation("no info", n->slot, 0);
    if (info.monitors != (size_t)n->nmonitors) a.pending++;
    if (info.links < (size_t)live_links) a.pending++;
    otp_pid peers[1024];
    int64_t count = otp_process_relations(otp_self(), OTP_LINKS, peers, 1024);
    if (count < 0) violation("no relations", n->slot, (uint64_t)count);
    for (int64_t i = 0; i < count && i < 1024; i++) {
        uint64_t lo = peers[i].id, hi = otp_self().id;
        if (lo > hi) {
            lo = hi;
            hi = peers[i].id;
        }
        a.link_hash ^= (lo * 0x9e3779b97f4a7c15u) ^ (hi * 0xc2b2ae3d27d4eb4fu);    /* comes twice, or is half a link */
    }
    a.monitors = info.monitors;
    a.monitored_by = info.monitored_by;
    a.links = info.links;
    (void)otp_reply(otp_from_of(m), &a, sizeof a);
}

static bool node_message(struct node *n, const otp_msg *m)
{
    switch (m->tag) {
    case OTP_DOWN: on_down(n, m); break;
    case OTP_EXIT: on_exit_message(n, m); break;
    case POKE: return atomic_load(&paused) || poke(n);
    case SYNC: (void)otp_reply(otp_from_of(m), NULL, 0); break;
    case CHECK: check(n, m); break;
    default: break;
    }
    return true;
}

static void node_function(void *arg)
{
    struct node n;
    node_init(&n, arg);
    for (const otp_msg *m; (m = otp_recv(OTP_INFINITY)) != NULL && node_message(&n, m);) { }
}

static otp_next handler_init(void *state, const void *arg, size_t size)
{
    (void)size;
    node_init(state, arg);
    return OTP_OK;
}

static otp_next handler_message(void *state, const otp_msg *m)
{
    return node_message(state, m) ? OTP_OK : otp_stop_with(OTP_NORMAL);
}

static const otp_handler node_handler = {
    .name = "node", .state_size = sizeof(struct node), .init = handler_init, .message = handler_message
};

/* -- gardeners -------------------------------------------------------------------------------------------- */

struct garden { uint64_t rng; uint32_t from, to; uint64_t *refs; uint64_t born, gone; bool paused, finished; };
struct sum { uint64_t deaths, pending, nodes, monitors, monitored_by, links, link_hash; };

static void plant(struct garden *g, uint32_t slot)
{
    uint64_t r = next(&g->rng);
    struct start s = { .slot = slot, .trap = r % 4 != 0, .seed = next(&g->rng) };
    otp_ref ref;
    otp_pid pid;
    otp_spawn_opts o = { .arg = &s, .arg_size = sizeof s, .monitor = &ref };
    if ((int)(r / 4 % 100) < opt_functions) o.fn = node_function;
    else o.handler = &node_handler;
    int rc = otp_spawn_opt(&o, &pid);
    if (rc != 0) {
        violation(otp_strerror(rc), slot, 0);
        otp_exit(OTP_ERROR(rc));
    }
    g->refs[slot - g->from] = ref.id;
    g->born++;
    (void)atomic_fetch_add(&spawned, 1);
    atomic_store(&slots[slot], pid.id);
}

static uint32_t garden_down(struct garden *g, const otp_msg *m)
{
    for (uint32_t slot = g->from; slot < g->to; slot++) {
        if (atomic_load_explicit(&slots[slot], memory_order_relaxed) != m->from.id) continue;
        if (g->refs[slot - g->from] != m->ref.id) violation("a DOWN with a wrong reference", m->from.id, m->ref.id);
        atomic_store(&slots[slot], 0);
        g->gone++;
        (void)atomic_fetch_add(&node_downs, 1);
        return slot;
    }
    violation("a gardener got a second DOWN", m->from.id, m->ref.id);
    return UINT32_MAX;
}

static void settle(struct garden *g, struct sum *sum)
{
    for (uint32_t slot = g->from; slot < g->to; slot++) {
        uint64_t pid = atomic_load(&slots[slot]);
        if (pid == 0) continue;
        int64_t rc = otp_try_call((otp_pid){ pid }, SYNC, NULL, 0, NULL, 0, 60000);
        if (rc == OTP_ETIMEOUT) violation("a node does not answer", slot, pid);
        if (rc != 0) sum->deaths++;
    }
    for (const otp_msg *m; (m = otp_recv_tag(OTP_DOWN, 0)) != NULL;) (void)garden_down(g, m);
}

static void inspect(struct garden *g, struct sum *sum)
{
    for (uint32_t slot = g->from; slot < g->to; slot++) {
        uint64_t pid = atomic_load(&slots[slot]);
        struct answer a;
        if (pid == 0) continue;
        int64_t rc = otp_try_call((otp_pid){ pid }, CHECK, NULL, 0, &a, sizeof a, 60000);
        if (rc == OTP_ETIMEOUT) violation("a node does not answer", slot, pid);
        if (rc != (int64_t)sizeof a) {
            sum->deaths++;
            continue;
        }
        sum->pending += (uint64_t)a.pending;
        sum->nodes++;
        sum->monitors += a.monitors;
        sum->monitored_by += a.monitored_by;
        sum->links += a.links;
        sum->link_hash ^= a.link_hash;
    }
    for (const otp_msg *m; (m = otp_recv_tag(OTP_DOWN, 0)) != NULL;) (void)garden_down(g, m);
}

static void garden_request(struct garden *g, const otp_msg *m)
{
    struct sum sum = { 0 };
    switch (m->tag) {
    case PAUSE: g->paused = true; break;
    case SETTLE:
    case INSPECT: {
        otp_from from = otp_from_of(m);
        if (m->tag == SETTLE) settle(g, &sum);
        else inspect(g, &sum);
        (void)otp_reply(from, &sum, sizeof sum);
        return;
    }
    case GO:
        g->paused = false;
        for (uint32_t slot = g->from; slot < g->to; slot++)
            if (atomic_load(&slots[slot]) == 0) plant(g, slot);
        break;
    case FINISH: {
        otp_from from = otp_from_of(m);
        for (uint32_t slot = g->from; slot < g->to; slot++) {
            uint64_t pid = atomic_load(&slots[slot]);
            if (pid != 0 && otp_exit_signal((otp_pid){ pid }, OTP_KILL) != 0) violation("no kill", pid, 0);
        }
        while (g->gone < g->born) {
            const otp_msg *d = otp_recv_tag(OTP_DOWN, 60000);
            if (!d) {
                violation("a gardener misses DOWNs", g->born, g->gone);
                break;
            }
            (void)garden_down(g, d);
        }
        if (otp_recv_tag(OTP_DOWN, 100) != NULL) violation("a DOWN too many", g->born, g->gone);
        g->finished = true;
        (void)otp_reply(from, NULL, 0);
        return;
    }
    default: return;
    }
    (void)otp_reply(otp_from_of(m), NULL, 0);
}

static void gardener(void *arg)
{
    struct garden g = *(struct garden *)arg;
    g.refs = otp_calloc(g.to - g.from, sizeof *g.refs);
    if (!g.refs) otp_exit(OTP_ERROR(OTP_ENOMEM));
    for (uint32_t slot = g.from; slot < g.to; slot++) plant(&g, slot);
    while (!g.finished) {
        for (int i = 0; i < 64 && !g.paused; i++) {
            uint64_t pid = atomic_load(&slots[next(&g.rng) % (uint64_t)opt_nodes]);
            if (pid != 0) (void)otp_send((otp_pid){ pid }, POKE, NULL, 0);
        }
        /* The answer of one keeps the mailboxes of all short. */
        uint64_t pid = g.paused ? 0 : atomic_load(&slots[next(&g.rng) % (uint64_t)opt_nodes]);
        if (pid != 0 && otp_try_call((otp_pid){ pid }, SYNC, NULL, 0, NULL, 0, 60000) == OTP_ETIMEOUT)
            violation("a node does not answer", pid, 0);
        for (const otp_msg *m; !g.finished && (m = otp_recv(g.paused ? OTP_INFINITY : 0)) != NULL;) {
            if (m->tag == OTP_DOWN) {
                uint32_t slot = garden_down(&g, m);
                if (!g.paused && slot != UINT32_MAX) plant(&g, slot);
            } else {
                garden_request(&g, m);
            }
        }
    }
}

/* -- rounds ----------------------------------------------------------------------------------------------- */

static otp_pid gardeners[GARDENERS];
static int rounds;

static struct sum ask_all(int what)
{
    struct sum all = { 0 };
    for (int i = 0; i < GARDENERS; i++) {
        struct sum s = { 0 };
        if (otp_try_call(gardeners[i], what, NULL, 0, &s, sizeof s, 300000) < 0) violation("a gardener is gone", (uint64_t)i, 0);
        all.deaths += s.deaths;
        all.pending += s.pending;
        all.nodes += s.nodes;
        all.monitors += s.monitors;
        all.monitored_by += s.monitored_by;
        all.links += s.links;
        all.link_hash ^= s.link_hash;
    }
    return all;
}

static void check_all(void)
{
    struct sum s = { 0 };
    atomic_store(&paused, true);
    (void)ask_all(PAUSE);
    for (int i = 0; i < 2 || (s.deaths != 0 && i < 1000); i++) s = ask_all(SETTLE);
    bool good = false;
    for (int i = 0; i < 200 && !good && atomic_load(&violations) == 0; i++) {   /* a signal may still be on its way */
        if (i > 0) otp_sleep(20);
        s = ask_all(INSPECT);
        good = s.deaths == 0 && s.pending == 0 && s.monitors + s.nodes == s.monitored_by && s.link_hash == 0;
    }
    if (!good) {
        violation("signals are missing: book entries of dead ones, deaths", s.pending, s.deaths);
        violation("monitors and monitored_by", s.monitors + s.nodes, s.monitored_by);
        violation("links, and what is left of their pairs", s.links, s.link_hash);
    }
    rounds++;
    atomic_store(&paused, false);
    (void)ask_all(GO);
}

static void app(void *arg)
{
    (void)arg;
    otp_ref refs[GARDENERS];
    for (int i = 0; i < GARDENERS; i++) {
        struct garden g = { .rng = opt_seed * 31 + (uint64_t)i * 7919 + 1 };
        g.from = (uint32_t)((int64_t)opt_nodes * i / GARDENERS);
        g.to = (uint32_t)((int64_t)opt_nodes * (i + 1) / GARDENERS);
        otp_spawn_opts o = { .fn = gardener, .arg = &g, .arg_size = sizeof g, .monitor = &refs[i] };
        if (otp_spawn_opt(&o, &gardeners[i]) != 0) otp_exit(OTP_USER(1, "no gardener"));
    }
    int64_t end = otp_now() + (int64_t)opt_seconds * 1000, step = opt_seconds > 20 ? 4000 : 2000;
    while (otp_now() < end && atomic_load(&violations) == 0) {
        int64_t left = end - otp_now();
        otp_sleep(left < step ? left : step);
        check_all();
    }
    (void)ask_all(FINISH);
    for (int i = 0; i < GARDENERS; i++) {
        const otp_msg *m = otp_recv_ref(refs[i], 60000);
        if (!m || otp_reason_of(m)->kind != OTP_REASON_NORMAL) violation("a gardener did not end in order", (uint64_t)i, 0);
    }
    if (otp_recv(0) != NULL) violation("a message too many", 0, 0);
    for (int i = 0; i < 1000 && otp_processes(NULL, 0) > 1; i++) otp_sleep(10);
    if (otp_processes(NULL, 0) != 1) violation("processes are left", otp_processes(NULL, 0), 0);
    if (otp_registered(NULL, 0) != 0) violation("names are left", otp_registered(NULL, 0), 0);
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--processes N] [--seconds S] [--schedulers N] [--functions PERCENT] [--seed N]\n", program);
    return 2;
}

int main(int argc, char **argv)
{
    opt_seed = (uint64_t)getpid();
    for (int i = 1; i < argc; i += 2) {
        char *end = NULL;
        long v = i + 1 < argc ? strtol(argv[i + 1], &end, 10) : -1;
        if (v < 0 || !end || *end) return usage(argv[0]);
        if (strcmp(argv[i], "--processes") == 0 && v >= GARDENERS && v <= MAX_NODES) opt_nodes = (int)v;
        else if (strcmp(argv[i], "--seconds") == 0 && v > 0 && v < 1000000) opt_seconds = (int)v;
        else if (strcmp(argv[i], "--schedulers") == 0 && v > 0 && v <= 64) opt_schedulers = (int)v;
        else if (strcmp(argv[i], "--functions") == 0 && v <= 100) opt_functions = (int)v;
        else if (strcmp(argv[i], "--seed") == 0) opt_seed = (uint64_t)v;
        else return usage(argv[0]);
    }
    int rc = otp_run(app, NULL, &(otp_opts){ .schedulers = opt_schedulers, .report_stuck = OTP_INFINITY, .log_level = OTP_LOG_NONE });
    if (rc != 0) violation("otp_run", (uint64_t)(int64_t)rc, 0);
    printf("%d nodes, %d %% of them functions, %d schedulers, %d s, seed %" PRIu64 ": %d checks of all\n", opt_nodes, opt_functions,
           opt_schedulers, opt_seconds, opt_seed, rounds);
    printf("%" PRIu64 " pokes, %" PRIu64 " spawns, %" PRIu64 " ends told to gardeners, %" PRIu64 " kills, %" PRIu64
           " monitors, %" PRIu64 " links, %" PRIu64 " DOWN, %" PRIu64 " EXIT (%" PRIu64 " of them noproc)\n",
           atomic_load(&pokes), atomic_load(&spawned), atomic_load(&node_downs), atomic_load(&killed), atomic_load(&monitored),
           atomic_load(&linked), atomic_load(&downs), atomic_load(&exits), atomic_load(&noprocs));
    if (atomic_load(&spawned) != atomic_load(&node_downs)) violation("spawns and ends", spawned, node_downs);
    if (atomic_load(&downs) == 0 || atomic_load(&exits) == 0) violation("nothing happened", 0, 0);
    int bad = atomic_load(&violations);
    printf("%d passed, %d failed\n", bad ? 0 : rounds + 1, bad);
    return bad ? 1 : 0;
}
