/* day.c: a day of virtual time of mixed load; memory must not grow after the first hours, and nothing may be left.

       day [--hours H] [--seed N] [--verbose]

   Users sleep, hold sessions and die of them; sessions are linked workers that call servers (handlers), take names, start
   and cancel timers, move, share and copy messages, allocate, defer, and end in every way that there is. Ten times an hour
   what the program holds is looked at: the C library's heap, resident pages, the runtime's records, timers, names. The number of
   users and of what each holds is bounded, so nothing has a reason to grow once each has been at its worst. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define OTP_IMPLEMENTATION
#include "otp.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ADD = 1, SLOW, LATER, DATA, TICK, END };
enum { USERS = 40, SERVERS = 4, WARM = 4 };

static int opt_hours = 24;
static uint64_t opt_seed = 1;
static bool opt_verbose;
static int failures;
static uint64_t sessions, calls, timeouts, crashes, kills, timers, names, messages, ticks;

static void fail(const char *what, long long a, long long b)
{
    if (failures++ < 20) fprintf(stderr, "failed: %s (%lld, %lld)\n", what, a, b);
}

static uint64_t chance(uint64_t n) { return otp_random() % n; }

/* -- servers ------------------------------------------------------------------------------------------------ */

struct server { int64_t sum; otp_from later[8]; int waiting; };

static otp_next server_message(void *state, const otp_msg *m)
{
    struct server *s = state;
    switch (m->tag) {
    case ADD:
        s->sum += *OTP_PAYLOAD(m, int);
        if (OTP_REPLY(otp_from_of(m), s->sum) != 0) fail("reply", 0, 0);
        break;
    case SLOW:                              /* the caller may have given up by then */
        otp_sleep((int64_t)chance(200));
        if (OTP_REPLY(otp_from_of(m), s->sum) != 0) fail("reply", 0, 0);
        break;
    case LATER:                             /* answered with the eighth, or never */
        s->later[s->waiting++] = otp_from_of(m);
        if (s->waiting < 8) break;
        for (int i = 0; i < 8; i++)
            if (OTP_REPLY(s->later[i], s->sum) != 0) fail("reply", 0, 0);
        s->waiting = 0;
        break;
    case TICK:
        ticks++;
        if (chance(400) == 0) return otp_stop_with(OTP_USER(1, "now and then a server ends"));
        return otp_idle(500);
    case END: return otp_stop_with(OTP_NORMAL);
    default: break;
    }
    return OTP_OK;
}

static const otp_handler server = { .name = "server", .state_size = sizeof(struct server), .message = server_message };

static void server_name(char *out, size_t size, int i) { (void)snprintf(out, size, "server %d", i); }

/* -- sessions ----------------------------------------------------------------------------------------------- */

static void count_down(void *arg) { --*(int *)arg; }
static int open_things;                     /* by deferred functions: one thread, so a plain number */

static void call_servers(void)
{
    char name[32];
    server_name(name, sizeof name, (int)chance(SERVERS));
    otp_pid to = otp_whereis(name);
    int one = 1;
    int64_t sum;
    static const int tags[] = { ADD, ADD, ADD, SLOW, LATER };
    int64_t rc = otp_try_call(to, tags[chance(5)], &one, sizeof one, &sum, sizeof sum, 100);
    calls++;
    if (rc == OTP_ETIMEOUT) timeouts++;
    else if (rc != (int64_t)sizeof sum && rc != OTP_ENOPROC && rc != OTP_EDIED) fail("call", rc, 0);
    otp_ref refs[3];
    for (int i = 0; i < 3; i++) refs[i] = otp_send_request(to, ADD, &one, sizeof one);
    size_t which;
    for (int i = 0; i < 2; i++)
        if (otp_wait_any(refs, 3, 300, &which) != NULL) refs[which].id = 0;
    for (int i = 0; i < 3; i++)
        if (refs[i].id != 0) (void)otp_cancel_request(refs[i]);
}

static void use_timers(void)
{
    otp_ref r[6];
    for (int i = 0; i < 6; i++) {
        r[i] = i % 2 ? otp_send_after((int64_t)chance(2000), otp_self(), TICK, NULL, 0)
                     : otp_start_timer((int64_t)chance(100000), otp_self(), "x", 2);
        timers++;
    }
    otp_ref every = otp_timer(&(otp_timer_opts){ .time = 10, .interval = 20, .to = otp_self(), .tag = TICK });
    otp_ref named = otp_timer(&(otp_timer_opts){ .time = (int64_t)chance(3000), .name = "server 0", .tag = TICK });
    if (every.id == 0 || named.id == 0) fail("timer", 0, 0);
    otp_sleep((int64_t)chance(300));
    for (int i = 0; i < 4; i++) (void)otp_cancel_timer(r[i]);
    if (chance(2)) (void)otp_cancel_timer(every);           /* else it ends with the process */
}

static void send_all_ways(otp_pid to)
{
    static char text[8000];
    size_t size = (size_t)chance(sizeof text);
    (void)otp_send(to, DATA, text, size);
    void *block = otp_alloc(size + 1);
    int rc = block ? otp_send_move(to, DATA, block, size + 1) : 0;
    if (rc != 0 && rc != OTP_ENOPROC) fail("move", rc, 0);
    otp_shared *s = otp_shared_new(text, size);
    for (int i = 0; s && i < 3; i++) (void)otp_send_shared(to, DATA, s);
    if (s && chance(2)) otp_shared_drop(s);                 /* else it is dropped at the end */
    messages += 5;
    for (const otp_msg *m; (m = otp_recv(0)) != NULL;)
        if (chance(4) == 0) (void)otp_keep(m);
}

static void partner(void *arg)
{
    if (chance(2)) (void)otp_trap_exit(true);
    for (const otp_msg *m; (m = otp_recv(*(int64_t *)arg)) != NULL;)
        if (m->tag == OTP_EXIT && chance(2)) otp_exit(OTP_SHUTDOWN);
}

static void session(void *arg)
{
    uint64_t what = chance(1000);
    int64_t patience = (int64_t)chance(3000);
    char name[40];
    (void)snprintf(name, sizeof name, "session %d", *(int *)arg);
    sessions++;
    if (otp_register(name, otp_self()) == 0) names++;
    open_things++;
    if (otp_defer(count_down, &open_things) != 0) fail("defer", 0, 0);
    for (uint64_t i = chance(20); i > 0; i--) {
        char *p = otp_alloc((size_t)chance(6000));
        if (p && chance(2)) otp_free(p);
        else if (p) (void)otp_realloc(p, (size_t)chance(20000));
    }
    if (otp_put("key", name) != NULL) fail("put", 0, 0);
    otp_ref ref;
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = partner, .arg = &patience, .arg_size = sizeof patience, .link = chance(2) != 0, .monitor = &ref };
    if (chance(20) == 0) o.stack_size = 65536;
    if (otp_spawn_opt(&o, &p) != 0) fail("spawn", 0, 0);
    call_servers();
    use_timers();
    send_all_ways(p);
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    (void)otp_send_alias(a, DATA, "to myself", 10);
    if (chance(2)) (void)otp_unalias(a);
    (void)otp_monitor_name("server 1");
    if (what < 100) {
        crashes++;
        otp_exit(OTP_USER((int)what, "the end of a session"));
    }
    if (what < 150) {
        kills++;
        (void)otp_exit_signal(p, OTP_KILL);
    }
    if (what < 200) (void)otp_exit_signal(otp_self(), OTP_KILL);
    if (what < 300 && otp_suspend_process(p) == 0 && chance(2) && otp_resume_process(p) != 0) fail("resume", 0, 0);
    if (what < 400) (void)otp_demonitor(ref, OTP_FLUSH);
    else (void)otp_recv_ref(ref, 4000);
    if (what < 500) otp_hibernate(count_down, &(int){ 0 });  /* never gets a message: its user kills it */
}

static void user(void *arg)
{
    int me = *(int *)arg;
    (void)otp_trap_exit(true);
    for (;;) {
        const otp_msg *m = otp_recv_tag(END, 1 + (int64_t)chance(20000));
        if (m) return;
        otp_ref ref;
        otp_pid p;
        otp_spawn_opts o = { .fn = session, .arg = &me, .arg_size = sizeof me, .monitor = &ref, .link = chance(3) == 0 };
        if (otp_spawn_opt(&o, &p) != 0) {
            fail("spawn", 0, 0);
            return;
        }
        if (otp_recv_ref(ref, 20000) == NULL) {             /* it hibernates, or waits */
            (void)otp_exit_signal(p, OTP_KILL);
            if (otp_recv_ref(ref, 60000) == NULL) fail("a session that does not die", me, 0);
        }
        while (otp_recv_tag(OTP_EXIT, 0) != NULL) { }
        if (chance(50) == 0) otp_exit(OTP_USER(2, "a user ends, too"));
    }
}

/* -- what is held ------------------------------------------------------------------------------------------- */

struct held { long heap, resident, records, timer_records, armed, processes, names; };

static struct held look(void)
{
    struct held h = { 0 };
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    struct mallinfo2 mi = mallinfo2();
    h.heap = (long)((mi.uordblks + mi.hblkhd) / 1024);
#endif
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1 || fclose(f) != 0) fail("statm", 0, 0);
    h.resident = pages * (sysconf(_SC_PAGESIZE) / 1024);
    h.records = (long)otp__get(&otp__rt.slots);
    uint32_t n = otp__get(&otp__rt.timer_slots);
    h.timer_records = (long)n;
    for (uint32_t i = 0; i < n; i++) {
        char *slab = otp__get_acq(&otp__rt.timer_slabs[i / OTP__TIMERS_PER_SLAB]);
        otp__timer *t = (otp__timer *)(void *)(slab + i % OTP__TIMERS_PER_SLAB * OTP__TIMER_BYTES);
        if ((otp__get(&t->state) & 3) == OTP__TIMER_ARMED) h.armed++;
    }
    h.processes = (long)otp_processes(NULL, 0);
    h.names = (long)otp_registered(NULL, 0);
    return h;
}

/* How much lives at a time is chance; what leaks raises the least that is ever held. Records are never given back: there
   the most counts. */
static void add(struct held *a, const struct held *b)
{
    if (a->heap == 0 || b->heap < a->heap) a->heap = b->heap;
    if (a->resident == 0 || b->resident < a->resident) a->resident = b->resident;
    if (b->records > a->records) a->records = b->records;
    if (b->timer_records > a->timer_records) a->timer_records = b->timer_records;
    if (b->armed > a->armed) a->armed = b->armed;
    if (b->processes > a->processes) a->processes = b->processes;
    if (b->names > a->names) a->names = b->names;
}

static void not_more(const char *what, long warm, long later, long slack)
{
    if (later > warm + slack) fail(what, warm, later);
}

static struct held first, last;      /* of the first hours, and of as many last ones */

static otp_pid start_server(int i, otp_ref *ref)
{
    char name[32];
    otp_pid p = { 0 };
    server_name(name, sizeof name, i);
    otp_spawn_opts o = { .handler = &server, .name = name, .monitor = ref };
    if (otp_spawn_opt(&o, &p) != 0) fail("a server does not start", i, 0);
    return p;
}

static otp_pid start_user(int i, otp_ref *ref)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = user, .arg = &i, .arg_size = sizeof i, .monitor = ref };
    if (otp_spawn_opt(&o, &p) != 0) fail("a user does not start", i, 0);
    return p;
}

static void app(void *arg)
{
    (void)arg;
    enum { ALL = SERVERS + USERS };
    otp_pid pids[ALL];
    otp_ref refs[ALL];
    for (int i = 0; i < ALL; i++) pids[i] = i < SERVERS ? start_server(i, &refs[i]) : start_user(i, &refs[i]);
    int64_t begin = otp_now();
    for (int look_at = 1; look_at <= opt_hours * 10;) {
        int64_t left = begin + look_at * (int64_t)360000 - otp_now();
        const otp_msg *m = left > 0 ? otp_recv_tag(OTP_DOWN, left) : NULL;
        for (int i = 0; m && i < ALL; i++)
            if (refs[i].id == m->ref.id) pids[i] = i < SERVERS ? start_server(i, &refs[i]) : start_user(i, &refs[i]);
        if (m || otp_now() < begin + look_at * (int64_t)360000) continue;
        struct held h = look();
        int hour = (look_at - 1) / 10;
        if (hour < WARM) add(&first, &h);
        if (hour >= opt_hours - WARM) add(&last, &h);
        if (opt_verbose && look_at % 10 == 0)
            printf("hour %2d: %ld KiB of heap, %ld KiB resident, %ld records, %ld timer records, %ld armed, %ld processes, %ld names\n",
                   hour + 1, h.heap, h.resident, h.records, h.timer_records, h.armed, h.processes, h.names);
        look_at++;
    }
    for (int i = ALL - 1; i >= 0; i--) {
        (void)otp_send(pids[i], END, NULL, 0);
        while (otp_is_alive(pids[i]) && otp_await_exit(pids[i], 3600000, NULL) != 0) fail("it does not end", i, 0);
    }
    otp_pid rest[256];
    for (int tries = 0; tries < 1000 && otp_processes(NULL, 0) > 1; tries++) {      /* partners, suspended ones among them */
        size_t n = otp_processes(rest, 256);
        for (size_t i = 0; i < n && i < 256; i++)
            if (!otp_same(rest[i], otp_self())) (void)otp_exit_signal(rest[i], OTP_KILL);
        otp_sleep(10000);
    }
    otp_sleep(2 * 3600000);                 /* timers to the dead have come and gone, and wake-ups that were not needed */
    struct held end = look();
    if (end.processes != 1) fail("processes are left", end.processes, 1);
    if (end.names != 0) fail("names are left", end.names, 0);
    if (end.armed != 0) fail("timers are left", end.armed, 0);
    if (open_things != 0) fail("deferred functions that did not run", open_things, 0);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            opt_verbose = true;
            continue;
        }
        unsigned long long v = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
        if (strcmp(argv[i], "--hours") == 0 && end && !*end && v >= 2 * WARM && v < 100000) opt_hours = (int)v;
        else if (strcmp(argv[i], "--seed") == 0 && end && !*end) opt_seed = v;
        else {
            fprintf(stderr, "usage: %s [--hours H, at least %d] [--seed N] [--verbose]\n", argv[0], 2 * WARM);
            return 2;
        }
        i++;
    }
    struct timespec a, b;
    if (clock_gettime(CLOCK_MONOTONIC, &a) != 0) return 2;
    int rc = otp_run(app, NULL, &(otp_opts){ .deterministic = true, .seed = opt_seed, .log_level = OTP_LOG_NONE });
    if (rc != 0) fail("otp_run", rc, 0);
    if (clock_gettime(CLOCK_MONOTONIC, &b) != 0) return 2;
    not_more("the heap grows (KiB)", first.heap, last.heap, 150);
    not_more("resident memory grows (KiB)", first.resident, last.resident, 600);
    not_more("process records grow", first.records, last.records, first.records / 4);
    not_more("timer records grow", first.timer_records, last.timer_records, first.timer_records / 4);
    not_more("processes grow", first.processes, last.processes, first.processes / 4);
    printf("%d h, seed %" PRIu64 ", in %.1f s: %" PRIu64 " sessions, %" PRIu64 " calls (%" PRIu64 " timeouts), %" PRIu64 " exits by reason, %"
           PRIu64 " kills, %" PRIu64 " timers, %" PRIu64 " names, %" PRIu64 " messages, %" PRIu64 " ticks\n", opt_hours, opt_seed,
           (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9, sessions, calls, timeouts, crashes, kills, timers,
           names, messages, ticks);
    printf("the first %d h and the last: %ld and %ld KiB of heap, %ld and %ld KiB resident, %ld and %ld records, %ld and %ld timer records\n",
           WARM, first.heap, last.heap, first.resident, last.resident, first.records, last.records, first.timer_records, last.timer_records);
    if (sessions < (uint64_t)opt_hours * 1000) fail("little has happened", (long long)sessions, opt_hours);
    printf("%d passed, %d failed\n", failures ? 0 : 1, failures);
    return failures ? 1 : 0;
}
