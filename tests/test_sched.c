/* test_sched.c: schedulers: fairness, priorities (processes.md, rules 94, 97 and 98), stuck schedulers, processes on
   the main thread, blocking work, idling. */
#include "test.h"

#include <poll.h>
#include <sys/resource.h>

enum { GO = 1, DONE, BALL, TICK, STOP_BALL };

static void echo(void *arg)
{
    (void)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case BALL: CHECK_EQ(otp_send(m->from, BALL, m->data, m->size), 0); break;
            case TEST_STOP: return;
        }
}

static void round_trips(otp_pid p, int n)
{
    for (int i = 0; i < n; i++) {
        CHECK_EQ(OTP_SEND(p, BALL, i), 0);
        const otp_msg *m = otp_recv_tag(BALL, TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), i);
    }
}

/* Plays for ever, or until the app sends TEST_STOP. */
static void endless_player(void *arg)
{
    (void)arg;
    otp_pid partner = { 0 };
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case GO:
                partner = *OTP_PAYLOAD(m, otp_pid);
                (void)otp_send(partner, BALL, NULL, 0);
                break;
            case BALL: (void)otp_send(m->from, BALL, NULL, 0); break;
            case TEST_STOP: return;
        }
}

static void yield_and_tell(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++) otp_yield();
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

static void ping_pong_and_a_third(void)
{
    otp_pid a = otp_spawn(endless_player, NULL), b = otp_spawn(endless_player, NULL);
    CHECK_EQ(OTP_SEND(a, GO, b), 0);
    int n = test_many(1000, 50);
    for (int i = 0; i < 5; i++) {
        CHECK(otp_spawn(yield_and_tell, &n).id != 0);
        CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    }
    otp_pid e = otp_spawn(echo, NULL);
    round_trips(e, test_many(1000, 50));
    otp_ref timer = otp_send_after(2, otp_self(), TICK, NULL, 0);
    CHECK(timer.id != 0);
    if (!test_opt_deterministic) CHECK(otp_recv_tag(TICK, TEST_WAIT) != NULL);
    test_kill(a);
    test_kill(b);
    if (test_opt_deterministic) CHECK(otp_recv_tag(TICK, TEST_WAIT) != NULL);
    test_kill(e);
}

TEST_WITH(sched_a_ping_pong_pair_does_not_starve_a_third, .opts.schedulers = 1) { ping_pong_and_a_third(); }

TEST(sched_a_ping_pong_pair_and_a_third_on_all_schedulers) { ping_pong_and_a_third(); }

/* -- endless work: rule 97 -------------------------------------------------------------------------------- */

static otp_pid sink;

static void send_for_ever(void *arg)
{
    (void)arg;
    for (int i = 0;; i++) (void)OTP_SEND(sink, BALL, i);
}

static void yield_for_ever(void *arg)
{
    (void)arg;
    for (;;) otp_yield();
}

static void bump_for_ever(void *arg)
{
    (void)arg;
    for (;;) otp_bump_reductions(100);
}

static void look_for_ever(void *arg)
{
    (void)arg;
    for (;;) CHECK(otp_recv(0) == NULL);
}

static void ask_for_ever(void *arg)
{
    (void)arg;
    otp_info info;
    for (;;) {
        (void)otp_is_alive(sink);
        (void)otp_process_info(sink, &info);
    }
}

static void spawn_for_ever(void *arg)
{
    (void)arg;
    int none = 0;
    for (;;) {
        otp_ref ref;
        if (otp_spawn_monitor(yield_and_tell, &none, &ref).id == 0) continue;
        if (otp_recv_ref(ref, OTP_INFINITY) == NULL) return;
    }
}

static void end_at_once(void *arg) { (void)arg; }

static void spawn_only_for_ever(void *arg)
{
    (void)arg;
    for (;;) (void)otp_spawn(end_at_once, NULL);
}

static otp_fn *const endless[] = { send_for_ever, yield_for_ever, bump_for_ever, look_for_ever, ask_for_ever,
                                   spawn_only_for_ever };
enum { ENDLESS = sizeof endless / sizeof endless[0] };

static void start_sink(void)
{
    SPAWN(&sink, .fn = test_idle, .mailbox_limit = 100, .mailbox_full = OTP_FULL_DROP);
}

static void endless_work_and_others(void)
{
    otp_pid p[ENDLESS], e = otp_spawn(echo, NULL);
    start_sink();
    for (int i = 0; i < ENDLESS; i++) p[i] = otp_spawn(endless[i], NULL);
    round_trips(e, test_many(50, 5));
    for (int i = 0; i < ENDLESS; i++) test_kill(p[i]);
    test_kill(e);
    test_kill(sink);
}

TEST_WITH(rule_97_endless_work_leaves_others_running, .opts.schedulers = 1) { endless_work_and_others(); }

TEST(rule_97_endless_work_on_all_schedulers) { endless_work_and_others(); }

TEST(rule_97_kill_reaches_whoever_calls_in_a_loop)
{
    start_sink();
    for (int i = 0; i < ENDLESS * test_many(5, 1); i++) {
        otp_ref ref;
        otp_pid p = otp_spawn_monitor(endless[i % ENDLESS], NULL, &ref);
        if (i % 2) otp_yield();
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    }
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(spawn_for_ever, NULL, &ref);
    for (int i = 0; i < 10; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(1, NULL)), 0);
    CHECK_EQ(test_down(ref)->code, 1);
    test_kill(sink);
    test_leftovers();
    while (otp_recv(0)) { }
}

TEST(sched_reductions_grow_and_never_decrease)
{
    otp_info info;
    start_sink();
    otp_pid p = otp_spawn(send_for_ever, NULL);
    uint64_t before = 0, first = 0;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(otp_process_info(p, &info), 0);
        CHECK(info.reductions >= before);
        before = info.reductions;
        if (i == 0) first = before;
        otp_yield();
    }
    CHECK(before > first);
    test_kill(p);
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    before = info.reductions;
    otp_bump_reductions(1000);
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK(info.reductions >= before + 1000);
    test_kill(sink);
}

static atomic_bool release;
static atomic_int counters[8];

static void count_yields(void *arg)
{
    atomic_int *counter = arg;
    while (!atomic_load(&release) && !atomic_load(&test_failed)) {
        atomic_fetch_add(counter, 1);
        otp_yield();
    }
}

TEST_WITH(sched_equal_processes_share_equally, .opts.schedulers = 1, .opts.stuck = 60000)
{
    otp_pid p[4];
    int n = test_many(20000, 1000), least, most;
    atomic_store(&release, false);
    for (int i = 0; i < 4; i++) {
        atomic_store(&counters[i], 0);
        p[i] = otp_spawn(count_yields, &counters[i]);
    }
    while (atomic_load(&counters[0]) < n) otp_yield();
    atomic_store(&release, true);
    least = most = atomic_load(&counters[0]);
    for (int i = 1; i < 4; i++) {
        int c = atomic_load(&counters[i]);
        if (c < least) least = c;
        if (c > most) most = c;
    }
    CHECK(least > 0);
    CHECK(most / 2 < least);
    for (int i = 0; i < 4; i++) CHECK_EQ(otp_await_exit(p[i], TEST_WAIT, NULL), 0);
}

/* -- priorities: rule 94 ---------------------------------------------------------------------------------- */

TEST(rule_94_the_setter_returns_the_old_priority)
{
    otp_info info;
    CHECK_EQ(otp_set_priority(OTP_PRIO_LOW), OTP_PRIO_NORMAL);
    CHECK_EQ(otp_set_priority(OTP_PRIO_HIGH), OTP_PRIO_LOW);
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK_EQ(info.priority, OTP_PRIO_HIGH);
    CHECK_EQ(otp_set_priority(OTP_PRIO_MAX), OTP_PRIO_HIGH);
    CHECK_EQ(otp_set_priority(OTP_PRIO_NORMAL), OTP_PRIO_MAX);
    CHECK_EQ(otp_set_priority(OTP_PRIO_NORMAL), OTP_PRIO_NORMAL);
}

static void tell_turn(void *arg)
{
    (void)arg;
    CHECK(otp_recv_tag(GO, OTP_INFINITY) != NULL);
    CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
}

/* One scheduler, and never handed on: the order of turns is exact. */
TEST_WITH(rule_94_max_before_high_before_the_others, .opts.schedulers = 1, .opts.stuck = 60000)
{
    static const otp_priority prio[] = { OTP_PRIO_LOW, OTP_PRIO_NORMAL, OTP_PRIO_HIGH, OTP_PRIO_MAX };
    for (int round = 0; round < 10; round++) {
        otp_pid p[4];
        for (int i = 0; i < 4; i++) {
            SPAWN(&p[i], .fn = tell_turn, .priority = prio[i]);
            test_until_waiting(p[i], OTP_WAITS_MESSAGE);
        }
        CHECK_EQ(otp_set_priority(OTP_PRIO_MAX), OTP_PRIO_NORMAL);
        for (int i = 0; i < 4; i++) CHECK_EQ(otp_send(p[(i + round) % 4], GO, NULL, 0), 0);
        for (int i = 0; i < 4; i++) {
            const otp_msg *m = otp_recv_tag(DONE, TEST_WAIT);
            CHECK(m != NULL);
            if (i == 0) CHECK(otp_same(m->from, p[3]));
            if (i == 1) CHECK(otp_same(m->from, p[2]));
            if (i >= 2) CHECK(otp_same(m->from, p[0]) || otp_same(m->from, p[1]));
        }
        CHECK_EQ(otp_set_priority(OTP_PRIO_NORMAL), OTP_PRIO_MAX);
        test_leftovers();
    }
}

TEST_WITH(rule_94_low_runs_less_often_but_runs, .opts.schedulers = 1, .opts.stuck = 60000)
{
    otp_pid normal, low;
    int n = test_many(50000, 3000);
    atomic_store(&release, false);
    atomic_store(&counters[0], 0);
    atomic_store(&counters[1], 0);
    SPAWN(&normal, .fn = count_yields, .arg = &counters[0]);
    SPAWN(&low, .fn = count_yields, .arg = &counters[1], .priority = OTP_PRIO_LOW);
    while (atomic_load(&counters[0]) < n) otp_yield();
    int ran = atomic_load(&counters[1]);
    atomic_store(&release, true);
    CHECK(ran > 0);
    CHECK(ran < n / 2);
    CHECK_EQ(otp_await_exit(normal, TEST_WAIT, NULL), 0);
    CHECK_EQ(otp_await_exit(low, TEST_WAIT, NULL), 0);
}

/* -- stuck schedulers: a computation or a system call in one process -------------------------------------- */

static atomic_int spinning;

/* Computes without a call until it is released. */
static void spin(void *arg)
{
    (void)arg;
    atomic_fetch_add(&spinning, 1);
    while (!atomic_load(&release) && !atomic_load(&test_failed)) { }
    atomic_fetch_sub(&spinning, 1);
}

static void block_in_read(void *arg)
{
    char byte;
    atomic_fetch_add(&spinning, 1);
    if (read(*(int *)arg, &byte, 1) != 1) FAIL("read");
    atomic_fetch_sub(&spinning, 1);
}

static void ticks_and_round_trips(void)
{
    otp_pid e = otp_spawn(echo, NULL);
    for (int i = 0; i < 20; i++) {
        int64_t start = otp_now();
        CHECK(otp_send_after(1, otp_self(), TICK, NULL, 0).id != 0);
        CHECK(otp_recv_tag(TICK, TEST_WAIT) != NULL);
        CHECK(otp_now() - start >= 1);
        round_trips(e, 50);
        otp_sleep(1);
    }
    test_kill(e);
}

TEST_WITH(sched_a_busy_loop_leaves_others_and_timers_running, .real = true, .opts.schedulers = 1)
{
    atomic_store(&release, false);
    atomic_store(&spinning, 0);
    otp_pid p = otp_spawn(spin, NULL);
    while (atomic_load(&spinning) == 0) otp_yield();
    ticks_and_round_trips();
    CHECK(otp_is_alive(test_app));
    CHECK_EQ(atomic_load(&spinning), 1);
    atomic_store(&release, true);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
}

TEST_WITH(sched_a_blocking_system_call_leaves_others_and_timers_running, .real = true, .opts.schedulers = 1)
{
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    atomic_store(&spinning, 0);
    otp_pid p = otp_spawn(block_in_read, &fds[0]);
    while (atomic_load(&spinning) == 0) otp_yield();
    ticks_and_round_trips();
    CHECK_EQ(atomic_load(&spinning), 1);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

TEST_REAL(sched_many_stuck_processes)
{
    enum { READERS = 10, SPINNERS = 2 };
    int fds[2];
    otp_pid p[READERS + SPINNERS];
    CHECK_EQ(pipe(fds), 0);
    atomic_store(&release, false);
    atomic_store(&spinning, 0);
    for (int i = 0; i < READERS; i++) p[i] = otp_spawn(block_in_read, &fds[0]);
    for (int i = 0; i < SPINNERS; i++) p[READERS + i] = otp_spawn(spin, NULL);
    while (atomic_load(&spinning) < READERS + SPINNERS) otp_yield();
    ticks_and_round_trips();
    atomic_store(&release, true);
    CHECK_EQ(write(fds[1], "0123456789", READERS), READERS);
    for (int i = 0; i < READERS + SPINNERS; i++) CHECK_EQ(otp_await_exit(p[i], TEST_WAIT, NULL), 0);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

/* Stuck for a moment, over and over: the scheduler is taken and the process comes back to another one. */
static void stuck_often(void *arg)
{
    int *n = arg;
    for (int i = 0; i < 8; i++) {
        int64_t start = otp_now_ns();
        while (otp_now_ns() - start < 8000000) { }          /* that call does not suspend */
        otp_yield();
        (*n)++;
        struct timespec t = { 0, 7000000 };
        if (nanosleep(&t, NULL) != 0) FAIL("nanosleep");
        CHECK_EQ(OTP_SEND(test_app, DONE, *n), 0);
    }
}

TEST_WITH(sched_coming_back_from_being_stuck, .real = true, .opts.schedulers = 1, .opts.stuck = 1)
{
    enum { N = 3 };
    int n[N] = { 0 };
    for (int i = 0; i < N; i++) CHECK(otp_spawn(stuck_often, &n[i]).id != 0);
    otp_pid e = otp_spawn(echo, NULL);
    for (int i = 0; i < 8 * N; i++) {
        CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
        round_trips(e, 20);
    }
    for (int i = 0; i < N; i++) CHECK_EQ(n[i], 8);
    test_kill(e);
}

TEST_WITH(sched_the_log_names_who_is_stuck, .real = true, .opts.schedulers = 1, .opts.report_stuck = 20)
{
    otp_pid p;
    atomic_store(&release, false);
    atomic_store(&spinning, 0);
    SPAWN(&p, .fn = spin, .name = "the spinner");
    CHECK(test_log_wait("the spinner"));
    CHECK(test_log_has("warning: "));
    atomic_store(&release, true);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
}

static void spin_and_yield(void *arg)
{
    spin(arg);
    otp_yield();
    FAIL("a killed process went on");
}

TEST_REAL(rule_97_a_computing_process_dies_at_its_next_call)
{
    otp_ref ref;
    atomic_store(&release, false);
    atomic_store(&spinning, 0);
    otp_pid p = otp_spawn_monitor(spin_and_yield, NULL, &ref);
    while (atomic_load(&spinning) == 0) otp_yield();
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(atomic_load(&spinning), 1);
    atomic_store(&release, true);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
}

/* -- several cores ---------------------------------------------------------------------------------------- */

TEST(sched_the_number_of_schedulers)
{
    CHECK_EQ(otp_schedulers(), test_opt_deterministic ? 1 : test_opt_schedulers);
}

static void meet(void *arg)
{
    atomic_int *here = arg;
    atomic_fetch_add(here, 1);
    while (atomic_load(here) < 2 && !atomic_load(&test_failed)) { }
}

/* Neither is handed on: they meet only if an idle scheduler steals one of them. */
TEST_WITH(sched_work_is_stolen, .real = true, .opts.schedulers = 2, .opts.stuck = 60000,
          .opts.report_stuck = OTP_INFINITY)
{
    for (int i = 0; i < 50; i++) {
        atomic_int here = 0;
        otp_pid a = otp_spawn(meet, &here), b = otp_spawn(meet, &here);
        CHECK_EQ(otp_await_exit(a, TEST_WAIT, NULL), 0);
        CHECK_EQ(otp_await_exit(b, TEST_WAIT, NULL), 0);
    }
}

static void play_n(void *arg)
{
    const otp_msg *m;
    otp_pid e = otp_spawn_link(echo, NULL);
    round_trips(e, *(int *)arg);
    CHECK_EQ(otp_send(e, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(otp_await_exit(e, TEST_WAIT, NULL), 0);
    otp_receive (m, 0) {
        case BALL: FAIL("one ball too many");
    }
}

TEST(sched_many_pairs)
{
    enum { PAIRS = 64 };
    otp_ref ref[PAIRS];
    int n = test_many(500, 10), pairs = test_many(PAIRS, 16);
    for (int i = 0; i < pairs; i++) CHECK(otp_spawn_monitor(play_n, &n, &ref[i]).id != 0);
    for (int i = 0; i < pairs; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
}

struct ring { otp_pid next; };

static void ring_node(void *arg)
{
    (void)arg;
    otp_pid next = { 0 };
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case GO: next = *OTP_PAYLOAD(m, otp_pid); break;
            case BALL: {
                int left = *OTP_PAYLOAD(m, int);
                if (left == 0) CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
                else CHECK_EQ(OTP_SEND(next, BALL, (int)(left - 1)), 0);
                break;
            }
            case TEST_STOP: return;
        }
}

TEST(sched_ring)
{
    enum { N = 503 };
    static otp_pid p[N];
    int n = test_many(N, 50);
    for (int i = 0; i < n; i++) p[i] = otp_spawn(ring_node, NULL);
    for (int i = 0; i < n; i++) CHECK_EQ(OTP_SEND(p[i], GO, p[(i + 1) % n]), 0);
    for (int tokens = 0; tokens < 3; tokens++) CHECK_EQ(OTP_SEND(p[tokens * 7], BALL, (int)(n * 10)), 0);
    for (int tokens = 0; tokens < 3; tokens++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    for (int i = 0; i < n; i++) CHECK_EQ(otp_send(p[i], TEST_STOP, NULL, 0), 0);
}

/* -- the main thread -------------------------------------------------------------------------------------- */

__attribute__((noinline)) static bool on_main_thread(void)
{
    if (test_opt_deterministic) return true;    /* there is one scheduler, on a thread of its own */
    __asm__ volatile("" ::: "memory");          /* pthread_self is const for the compiler; a process moves */
    return pthread_equal(pthread_self(), test_main_thread) != 0;
}

static void pinned(void *arg)
{
    otp_pid e = *(otp_pid *)arg;
    for (int i = 0; i < 30; i++) {
        CHECK(on_main_thread());
        if (i % 3 == 0) otp_yield();
        if (i % 3 == 1) otp_sleep(1);
        if (i % 3 == 2) round_trips(e, 5);
    }
    CHECK(on_main_thread());
}

static otp_next pinned_message(void *state, const otp_msg *m)
{
    (void)state;
    CHECK(on_main_thread());
    if (m->tag == TEST_STOP) return otp_stop_with(OTP_NORMAL);
    CHECK_EQ(otp_send(m->from, BALL, m->data, m->size), 0);
    return OTP_OK;
}

static const otp_handler pinned_handler = { .name = "pinned", .state_size = 8, .message = pinned_message };

TEST(sched_pinned_processes_stay_on_the_main_thread)
{
    enum { N = 4 };
    otp_ref ref[N];
    otp_pid p, h, e = otp_spawn(echo, NULL);
    for (int i = 0; i < N; i++)
        SPAWN(&p, .fn = pinned, .arg = &e, .main_thread = true, .monitor = &ref[i]);
    SPAWN(&h, .handler = &pinned_handler, .main_thread = true);
    round_trips(h, test_many(100, 10));
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
    test_kill(e);
    CHECK_EQ(otp_send(h, TEST_STOP, NULL, 0), 0);
}

TEST(sched_pinned_processes_can_be_killed)
{
    start_sink();
    for (int i = 0; i < test_many(20, 3); i++) {
        otp_ref a_down, b_down;
        otp_pid a, b;
        SPAWN(&a, .fn = test_idle, .main_thread = true, .monitor = &a_down);
        SPAWN(&b, .fn = send_for_ever, .main_thread = true, .monitor = &b_down);
        CHECK_EQ(otp_exit_signal(a, OTP_KILL), 0);
        CHECK_EQ(otp_exit_signal(b, OTP_SHUTDOWN), 0);
        CHECK_EQ(test_down(a_down)->kind, OTP_REASON_KILLED);
        CHECK_EQ(test_down(b_down)->kind, OTP_REASON_SHUTDOWN);
    }
    test_kill(sink);
}

/* What computes on the main thread does not disturb the others. */
TEST_REAL(sched_a_busy_loop_on_the_main_thread)
{
    otp_pid p;
    atomic_store(&release, false);
    atomic_store(&spinning, 0);
    SPAWN(&p, .fn = spin, .main_thread = true);
    while (atomic_load(&spinning) == 0) otp_yield();
    ticks_and_round_trips();
    atomic_store(&release, true);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
}

static atomic_int polled;
static void pinned_and_polled(void *arg)
{
    pinned(arg);
    atomic_fetch_add(&polled, 1);
}

TEST_PLAIN(sched_poll_runs_pinned_processes)
{
    enum { N = 3 };
    CHECK_EQ(otp_poll(0), OTP_ENOTUP);
    CHECK_EQ(otp_poll_fd(), OTP_ENOTUP);
    for (int round = 0; round < 3; round++) {
        atomic_store(&polled, 0);
        CHECK_EQ(otp_start(&(otp_opts){ .schedulers = test_opt_schedulers, .log = test_log }), 0);
        CHECK_EQ(otp_start(NULL), OTP_EEXIST);
        otp_pid p, e = otp_spawn(echo, NULL);
        CHECK(e.id != 0);
        CHECK_EQ(otp_poll(0), 0);
        int fd = otp_poll_fd();
        CHECK(fd >= 0);
        for (int i = 0; i < N; i++)
            SPAWN(&p, .fn = pinned_and_polled, .arg = &e, .main_thread = true);
        while (atomic_load(&polled) < N && !atomic_load(&test_failed)) {
            if (round == 1) {
                int turns = otp_poll(100);
                CHECK(turns >= 0);
                continue;
            }
            struct pollfd ready = { .fd = fd, .events = POLLIN };
            int n = poll(&ready, 1, 10000);
            CHECK_EQ(n, 1);
            CHECK(otp_poll(0) >= 0);
        }
        CHECK_EQ(otp_exit_signal(e, OTP_KILL), 0);
        CHECK_EQ(otp_await_exit(e, TEST_WAIT, NULL), 0);
        CHECK_EQ(otp_stop(5000), 0);
        CHECK_EQ(otp_poll(0), OTP_ENOTUP);
    }
}

/* -- blocking work ---------------------------------------------------------------------------------------- */

struct work { int in, out; int fd; };

static void square(void *arg)
{
    struct work *w = arg;
    w->out = w->in * w->in;
}

TEST(sched_blocking_work)
{
    for (int i = 0; i < test_many(200, 3); i++) {
        struct work w = { .in = i };
        CHECK_EQ(otp_blocking(square, &w), 0);
        CHECK_EQ(w.out, i * i);
    }
}

static void wait_for_byte(void *arg)
{
    struct work *w = arg;
    char byte;
    w->out = read(w->fd, &byte, 1) == 1 ? w->in : -1;
}

static void work_blocking(void *arg)
{
    struct work *w = arg;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    CHECK_EQ(otp_blocking(wait_for_byte, w), 0);
    CHECK_EQ(w->out, w->in);
}

TEST_WITH(sched_blocking_leaves_others_running, .real = true, .opts.schedulers = 1)
{
    enum { N = 20 };
    struct work w[N];
    otp_ref ref[N];
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    for (int i = 0; i < N; i++) {
        w[i] = (struct work){ .in = i + 1, .fd = fds[0] };
        (void)test_start(work_blocking, &w[i], &ref[i]);
    }
    ticks_and_round_trips();
    for (int i = 0; i < N; i++) CHECK_EQ(w[i].out, 0);
    CHECK_EQ(write(fds[1], "01234567890123456789", N), N);
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

static void sleep_in_work(void *arg)
{
    struct timespec t = { 0, 1000000 };
    if (nanosleep(&t, NULL) != 0) return;
    square(arg);
}

static void blocking_job(void *arg)
{
    struct work *w = arg;
    CHECK_EQ(otp_blocking(sleep_in_work, w), 0);
    CHECK_EQ(w->out, w->in * w->in);
}

TEST_WITH(sched_more_blocking_work_than_threads, .real = true, .opts.blocking_threads = 3)
{
    enum { N = 60 };
    struct work w[N];
    otp_ref ref[N];
    for (int i = 0; i < N; i++) {
        w[i] = (struct work){ .in = i };
        CHECK(otp_spawn_monitor(blocking_job, &w[i], &ref[i]).id != 0);
    }
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
}

struct long_work { int fd; char *heap; atomic_int done; };

static void wait_and_write(void *arg)
{
    struct long_work *w = arg;
    char byte;
    bool ok = read(w->fd, &byte, 1) == 1;
    memset(w->heap, 'x', 1000);
    atomic_store(&w->done, ok ? 1 : -1);
}

static void blocking_with_heap(void *arg)
{
    struct long_work *w = arg;
    w->heap = otp_alloc(1000);
    CHECK(w->heap != NULL);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    (void)otp_blocking(wait_and_write, w);
    FAIL("a killed process went on");
}

/* The work goes on in memory of the killed process, which is there until it is done (address sanitizer). */
TEST_REAL(sched_killed_during_blocking_work)
{
    enum { N = 5 };
    static struct long_work w[N];
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    for (int i = 0; i < N; i++) {
        w[i].fd = fds[0];
        atomic_store(&w[i].done, 0);
        otp_ref ref;
        otp_pid p = test_start(blocking_with_heap, &w[i], &ref);
        test_until_waiting(p, OTP_WAITS_BLOCKING);
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK_EQ(write(fds[1], "x", 1), 1);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
        for (int k = 0; k < 5000 && atomic_load(&w[i].done) == 0; k++) otp_sleep(1);
        CHECK_EQ(atomic_load(&w[i].done), 1);
    }
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

/* -- idling: rule 98 -------------------------------------------------------------------------------------- */

static int64_t cpu_us(void)
{
    struct rusage u;
    CHECK_EQ(getrusage(RUSAGE_SELF, &u), 0);
    return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void idle_for_300_ms(void)
{
    enum { N = 100 };
    otp_pid p[N];
    otp_ref timer = otp_send_after(3600 * 1000, otp_self(), TICK, NULL, 0);
    for (int i = 0; i < N; i++) p[i] = otp_spawn(test_idle, NULL);
    for (int i = 0; i < N; i++) test_until_waiting(p[i], OTP_WAITS_MESSAGE);
    otp_sleep(50);                              /* whoever spins before parking has parked */
    int64_t before = cpu_us();
    otp_sleep(300);
    int64_t used = cpu_us() - before;
    if (used >= 3000) test_line("# %lld us of CPU time in 300 ms", (long long)used);
    CHECK(used < 3000);                         /* 1 % of one core */
    CHECK(otp_cancel_timer(timer) > 0);
    for (int i = 0; i < N; i++) CHECK_EQ(otp_send(p[i], TEST_STOP, NULL, 0), 0);
}

TEST_WITH(rule_98_an_idle_runtime_uses_no_cpu, .real = true, .not_sanitized = true) { idle_for_300_ms(); }

TEST_WITH(rule_98_not_even_with_8_schedulers, .real = true, .not_sanitized = true, .opts.schedulers = 8)
{
    idle_for_300_ms();
}
