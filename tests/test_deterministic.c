/* The deterministic mode: the same seed gives the same run, other seeds give others, time is virtual, deadlocks are
   found. Each test starts runtimes of its own. */
#include "test.h"

#include <time.h>

enum { A = 1, B, READ, WRITE, DONE, NOTE };

static int64_t real_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) abort();
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int run(otp_fn *fn, void *arg, uint64_t seed)
{
    otp_opts o = { .deterministic = true, .seed = seed, .log = test_log };
    return otp_run(fn, arg, &o);
}

static int number(const otp_msg *m) { return *OTP_PAYLOAD(m, int); }

/* -- a record of everything that happens ------------------------------------------------------------------------ */

static uint64_t record;                     /* a hash of all events in their order */
static int events;
static uint64_t known[256];                 /* pids by their first appearance: their numbers may differ between runs */
static int known_count;

static void mix(uint64_t x)
{
    record = (record ^ x) * 0x100000001b3u;
    record ^= record >> 29;
}

static uint64_t index_of(otp_pid p)
{
    for (int i = 0; i < known_count; i++)
        if (known[i] == p.id) return (uint64_t)i;
    if (known_count == 256) return 256;
    known[known_count] = p.id;
    return (uint64_t)known_count++;
}

static void event(int what, otp_pid a, otp_pid b, int64_t n)
{
    events++;
    mix((uint64_t)what);
    mix(index_of(a));
    mix(index_of(b));
    mix((uint64_t)n);
    mix((uint64_t)otp_now());
}

static void on_spawn(otp_pid parent, otp_pid child, const char *place, void *arg) { (void)place; (void)arg; event(1, parent, child, 0); }
static void on_end(otp_pid pid, const otp_reason *why, void *arg) { (void)arg; event(2, pid, pid, (int)why->kind); }
static void on_send(otp_pid from, otp_pid to, int tag, size_t size, void *arg) { (void)arg; (void)size; event(3, from, to, tag); }
static void on_receive(otp_pid pid, otp_pid from, int tag, size_t size, void *arg) { (void)arg; (void)size; event(4, pid, from, tag); }
static void on_in(otp_pid pid, int scheduler, void *arg) { (void)arg; event(5, pid, pid, scheduler); }
static void on_out(otp_pid pid, int scheduler, void *arg) { (void)arg; event(6, pid, pid, scheduler); }

static const otp_trace_hooks hooks = {
    .spawn = on_spawn, .exit = on_end, .send = on_send, .receive = on_receive, .in = on_in, .out = on_out,
};

/* -- a busy program -------------------------------------------------------------------------------------------------- */

static void server(void *arg)
{
    (void)arg;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL && m->tag != DONE) {
        if (m->ref.id == 0) continue;
        otp_from from = otp_from_of(m);
        int n = number(m);
        if (n % 4 == 0) otp_sleep(n % 7);
        CHECK_EQ(OTP_REPLY(from, n), 0);
    }
}

static void short_lived(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    otp_yield();
    int r = OTP_SEND(to, NOTE, 1);
    CHECK(r == 0 || r == OTP_ENOPROC);                      /* the first process may have ended */
}

struct worker { otp_pid server, app; int n; };

static void worker(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 12; i++) {
        int reply = 0, v = w->n * 100 + i;
        switch (otp_random() % 5) {
        case 0: (void)otp_try_call(w->server, A, &v, sizeof v, &reply, sizeof reply, 3); break;
        case 1: otp_yield(); break;
        case 2: otp_sleep((int64_t)(otp_random() % 4)); break;
        case 3: CHECK_EQ(OTP_SEND(w->app, NOTE, v), 0); break;
        default: {
            otp_pid p;
            otp_spawn_opts o = { .fn = short_lived, .arg = &w->app, .arg_size = sizeof w->app, .link = true };
            CHECK_EQ(otp_spawn_opt(&o, &p), 0);
            break;
        }
        }
    }
    CHECK_EQ(OTP_SEND(w->app, DONE, w->n), 0);
}

static void busy(void *arg)
{
    (void)arg;
    otp_trace(&hooks);
    otp_pid s = otp_spawn(server, NULL), p;
    for (int i = 0; i < 5; i++) {
        struct worker w = { s, otp_self(), i };
        otp_spawn_opts o = { .fn = worker, .arg = &w, .arg_size = sizeof w, .priority = i == 4 ? OTP_PRIO_LOW : OTP_PRIO_NORMAL };
        CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    }
    for (int i = 0; i < 5; i++) {
        const otp_msg *m = otp_recv_tag(DONE, 100000);
        CHECK(m != NULL);
        mix((uint64_t)number(m));
    }
    mix((uint64_t)otp_now());
    CHECK_EQ(otp_exit_signal(s, OTP_KILL), 0);
    CHECK_EQ(otp_await_exit(s, TEST_WAIT, NULL), 0);
    otp_trace(NULL);
}

static uint64_t record_of(uint64_t seed)
{
    record = 0xcbf29ce484222325u;
    events = 0;
    known_count = 0;
    CHECK_EQ(run(busy, NULL, seed), 0);
    CHECK(events > 100);
    return record;
}

TEST_PLAIN(the_same_seed_gives_the_same_run)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t first = record_of(seed);
        CHECK(record_of(seed) == first);
        if (seed % 10 == 0) CHECK(record_of(seed) == first);
    }
}

TEST_PLAIN(other_seeds_give_other_runs)
{
    enum { N = 100 };
    uint64_t seen[N];
    int different = 0;
    for (uint64_t seed = 0; seed < N; seed++) {
        seen[seed] = record_of(seed + 1);
        bool is_new = true;
        for (uint64_t k = 0; k < seed; k++)
            if (seen[k] == seen[seed]) is_new = false;
        if (is_new) different++;
    }
    CHECK(different > N * 9 / 10);
}

static void draws(void *arg)
{
    uint64_t *out = arg;
    for (int i = 0; i < 20; i++) out[i] = otp_random();
}

TEST_PLAIN(random_numbers_follow_from_the_seed)
{
    uint64_t a[20], b[20], c[20];
    CHECK_EQ(run(draws, a, 7), 0);
    CHECK_EQ(run(draws, b, 7), 0);
    CHECK_EQ(run(draws, c, 8), 0);
    CHECK(memcmp(a, b, sizeof a) == 0);
    CHECK(memcmp(a, c, sizeof a) != 0);
    for (int i = 1; i < 20; i++) CHECK(a[i] != a[i - 1]);
}

/* -- interleavings ------------------------------------------------------------------------------------------------------- */

static void store(void *arg)
{
    (void)arg;
    int value = 0;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL) {
        if (m->tag == READ) CHECK_EQ(OTP_REPLY(otp_from_of(m), value), 0);
        else if (m->tag == WRITE) value = number(m);
        else return;
    }
}

static void adds_one(void *arg)
{
    /* The classic mistake: read, then write. */
    struct worker *w = arg;
    int value = 0;
    CHECK_EQ(otp_call(w->server, READ, NULL, 0, &value, sizeof value, OTP_INFINITY), sizeof value);
    value++;
    CHECK_EQ(OTP_SEND(w->server, WRITE, value), 0);
    CHECK_EQ(OTP_SEND(w->app, DONE, 0), 0);
}

static void lost_update(void *arg)
{
    otp_pid s = otp_spawn(store, NULL), p;
    struct worker w = { s, otp_self(), 0 };
    otp_spawn_opts o = { .fn = adds_one, .arg = &w, .arg_size = sizeof w };
    for (int i = 0; i < 2; i++) CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    for (int i = 0; i < 2; i++) CHECK(otp_recv_tag(DONE, OTP_INFINITY) != NULL);
    CHECK_EQ(otp_call(s, READ, NULL, 0, arg, sizeof(int), OTP_INFINITY), sizeof(int));
    CHECK_EQ(otp_send(s, DONE, NULL, 0), 0);
}

TEST_PLAIN(a_race_goes_both_ways)
{
    int outcomes[3] = { 0 };
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int value = 0;
        CHECK_EQ(run(lost_update, &value, seed), 0);
        CHECK(value == 1 || value == 2);
        outcomes[value]++;
    }
    CHECK(outcomes[1] > 0);
    CHECK(outcomes[2] > 0);
}

static void sends_number(void *arg)
{
    struct worker *w = arg;
    CHECK_EQ(OTP_SEND(w->app, NOTE, w->n), 0);
}

static void order_of_three(void *arg)
{
    int *order = arg;
    otp_pid p;
    *order = 0;
    for (int i = 1; i <= 3; i++) {
        struct worker w = { { 0 }, otp_self(), i };
        otp_spawn_opts o = { .fn = sends_number, .arg = &w, .arg_size = sizeof w };
        CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    }
    for (int i = 0; i < 3; i++) {
        const otp_msg *m = otp_recv_tag(NOTE, OTP_INFINITY);
        CHECK(m != NULL);
        *order = *order * 10 + number(m);
    }
}

TEST_PLAIN(all_orders_of_three_processes_are_found)
{
    const int all[] = { 123, 132, 213, 231, 312, 321 };
    int found[6] = { 0 };
    for (uint64_t seed = 1; seed <= 500; seed++) {
        int order;
        CHECK_EQ(run(order_of_three, &order, seed), 0);
        for (int i = 0; i < 6; i++)
            if (all[i] == order) found[i]++;
    }
    for (int i = 0; i < 6; i++) CHECK(found[i] > 0);
}

/* -- virtual time -------------------------------------------------------------------------------------------------------------- */

static void long_waits(void *arg)
{
    (void)arg;
    int64_t begin = otp_now();
    CHECK(otp_recv(30000) == NULL);
    CHECK_EQ(otp_now() - begin, 30000);
    otp_sleep(86400000);
    CHECK_EQ(otp_now() - begin, 86430000);
    CHECK(otp_send_after(3600000, otp_self(), NOTE, NULL, 0).id != 0);
    CHECK(otp_recv_tag(NOTE, OTP_INFINITY) != NULL);
    CHECK_EQ(otp_now() - begin, 90030000);
}

TEST_PLAIN(a_day_takes_no_time)
{
    int64_t begin = real_ns();
    CHECK_EQ(run(long_waits, NULL, 1), 0);
    CHECK(real_ns() - begin < 2000000000);
}

static void reads_clock(void *arg) { *(int64_t *)arg = otp_now(); }

TEST_PLAIN(every_run_starts_at_the_same_time)
{
    int64_t first, second;
    CHECK_EQ(run(reads_clock, &first, 1), 0);
    CHECK_EQ(run(long_waits, NULL, 2), 0);
    CHECK_EQ(run(reads_clock, &second, 3), 0);
    CHECK_EQ(first, second);
}

static void ten_real_ms(void *arg)
{
    (void)arg;
    int64_t begin = real_ns();
    otp_sleep(10);
    CHECK(real_ns() - begin >= 10000000);
}

TEST_PLAIN(real_time_comes_back_afterwards)
{
    otp_opts o = { .schedulers = test_opt_schedulers, .log = test_log };
    CHECK_EQ(run(long_waits, NULL, 1), 0);
    CHECK_EQ(otp_run(ten_real_ms, NULL, &o), 0);
}

/* -- deadlocks ------------------------------------------------------------------------------------------------------------------- */

static void calls_other(void *arg)
{
    const otp_msg *m = otp_recv_tag(NOTE, OTP_INFINITY);
    CHECK(m != NULL);
    otp_pid other = *OTP_PAYLOAD(m, otp_pid);
    (void)arg;
    (void)otp_try_call(other, READ, NULL, 0, NULL, 0, OTP_INFINITY);
    CHECK_STR("the call came back", "it must not");
}

static void deadlock(void *arg)
{
    (void)arg;
    otp_pid p[2];
    static const char *const names[] = { "left hand", "right hand" };
    for (int i = 0; i < 2; i++) {
        otp_spawn_opts o = { .fn = calls_other, .name = names[i] };
        CHECK_EQ(otp_spawn_opt(&o, &p[i]), 0);
    }
    for (int i = 0; i < 2; i++) CHECK_EQ(OTP_SEND(p[i], NOTE, p[1 - i]), 0);
    (void)otp_recv_tag(DONE, OTP_INFINITY);
    CHECK_STR("the receive came back", "it must not");
}

TEST_PLAIN(a_deadlock_is_found_and_told)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        test_log_clear();
        CHECK_EQ(run(deadlock, NULL, seed), 1);
        CHECK(test_log_has("left hand"));
        CHECK(test_log_has("right hand"));
        CHECK(test_log_has("deadlock"));
        CHECK(test_log_has("call"));                        /* what the two wait for */
        CHECK(test_log_has("message"));                     /* and the first process */
    }
}

static void alone(void *arg)
{
    (void)arg;
    (void)otp_recv(OTP_INFINITY);
    CHECK_STR("the receive came back", "it must not");
}

TEST_PLAIN(one_process_that_waits_for_nobody)
{
    test_log_clear();
    CHECK_EQ(run(alone, NULL, 1), 1);
    CHECK(test_log_has("deadlock"));
}

static void timer_to_dead(void *arg)
{
    /* A timer whose process is dead will not wake anybody either. */
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(test_idle, NULL, &ref);
    CHECK(otp_send_after(1000000, p, NOTE, NULL, 0).id != 0);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK(otp_recv_ref(ref, TEST_WAIT) != NULL);
    *(int64_t *)arg = otp_now();
    (void)otp_recv(OTP_INFINITY);
    CHECK_STR("the receive came back", "it must not");
}

static void waits_with_timer(void *arg)
{
    (void)arg;
    CHECK(otp_send_after(1000000, otp_self(), NOTE, NULL, 0).id != 0);
    CHECK(otp_recv_tag(NOTE, OTP_INFINITY) != NULL);
}

TEST_PLAIN(a_pending_timer_is_no_deadlock)
{
    int64_t at = 0;
    test_log_clear();
    CHECK_EQ(run(waits_with_timer, NULL, 1), 0);
    CHECK(!test_log_has("deadlock"));
    CHECK_EQ(run(timer_to_dead, &at, 1), 1);
    CHECK(test_log_has("deadlock"));
}

static void ends_with_waiting_others(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) CHECK(otp_spawn(test_idle, NULL).id != 0);
    otp_sleep(100);
}

TEST_PLAIN(processes_that_wait_when_the_first_one_ends_are_no_deadlock)
{
    test_log_clear();
    CHECK_EQ(run(ends_with_waiting_others, NULL, 1), 0);
    CHECK(!test_log_has("deadlock"));
}

/* -- the outside world -------------------------------------------------------------------------------------------------------------- */

static void adds(void *arg) { ++*(int *)arg; }

static void blocking_and_pipes(void *arg)
{
    int *n = arg, fds[2];
    char c = 0;
    for (int i = 0; i < 10; i++) CHECK_EQ(otp_blocking(adds, n), 0);
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(otp_read(fds[0], &c, 1, 5), OTP_ETIMEOUT);
    CHECK_EQ(otp_write(fds[1], "p", 1, TEST_WAIT), 1);
    CHECK_EQ(otp_read(fds[0], &c, 1, TEST_WAIT), 1);
    CHECK_EQ(c, 'p');
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(otp_close(fds[1]), 0);
}

TEST_PLAIN(blocking_work_and_pipes)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        int n = 0;
        CHECK_EQ(run(blocking_and_pipes, &n, seed), 0);
        CHECK_EQ(n, 10);
    }
}

static void says_schedulers(void *arg) { *(int *)arg = otp_schedulers(); }

TEST_PLAIN(there_is_one_scheduler)
{
    int n = 0;
    otp_opts o = { .deterministic = true, .seed = 0, .log = test_log };
    CHECK_EQ(otp_run(says_schedulers, &n, &o), 0);
    CHECK_EQ(n, 1);
}
