/* Timers: rules 68 to 80, intervals, names, many at once, and the exact virtual time of the deterministic mode. */
#include "test.h"

#include <time.h>

enum { A = 1, B, GO, DONE, TICK };

static int64_t real_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) abort();
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Never early; exact where time is virtual. */
static void check_time(int64_t now, int64_t due)
{
    if (test_opt_deterministic) CHECK_EQ(now, due);
    else CHECK(now >= due);
}

static int number(const otp_msg *m) { return *OTP_PAYLOAD(m, int); }

static otp_pid start(otp_fn *fn, void *arg, size_t size)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = fn, .arg = arg, .arg_size = size };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

/* -- rules --------------------------------------------------------------------------------------------- */

TEST(rule_68_send_after_delivers_the_message_itself)
{
    int64_t begin = otp_now();
    otp_ref t = otp_send_after(7, otp_self(), A, &(int){ 41 }, sizeof(int));
    CHECK(t.id != 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL);
    check_time(otp_now(), begin + 7);
    CHECK_EQ(m->tag, A);
    CHECK_EQ(m->size, sizeof(int));
    CHECK_EQ(number(m), 41);
    test_quiet();
}

TEST(rule_68_start_timer_delivers_its_reference)
{
    int64_t begin = otp_now();
    otp_ref t = otp_start_timer(7, otp_self(), "abc", 4);
    otp_ref u = otp_start_timer(7, otp_self(), NULL, 0);
    CHECK(t.id != 0 && u.id != 0 && t.id != u.id);
    for (int i = 0; i < 2; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL);
        check_time(otp_now(), begin + 7);
        CHECK_EQ(m->tag, OTP_TIMEOUT_TAG);
        CHECK(m->ref.id == t.id || m->ref.id == u.id);
        if (m->ref.id == t.id) CHECK_STR(m->data, "abc");
        else CHECK_EQ(m->size, 0);
    }
    test_quiet();
}

TEST(rule_69_negative_times_are_refused)
{
    CHECK_EQ(otp_send_after(-1, otp_self(), A, NULL, 0).id, 0);
    CHECK_EQ(otp_send_after(INT64_MIN, otp_self(), A, NULL, 0).id, 0);
    CHECK_EQ(otp_start_timer(-1, otp_self(), NULL, 0).id, 0);
    otp_timer_opts o = { .time = -1, .to = otp_self(), .tag = A };
    CHECK_EQ(otp_timer(&o).id, 0);
    o = (otp_timer_opts){ .time = 5, .interval = -1, .to = otp_self(), .tag = A };
    CHECK_EQ(otp_timer(&o).id, 0);
    o = (otp_timer_opts){ .time = 5, .to = otp_self(), .tag = OTP_EXIT };
    CHECK_EQ(otp_timer(&o).id, 0);
    test_quiet();
}

TEST(rule_69_zero_is_delivered_too)
{
    for (int i = 0; i < 20; i++) {
        int64_t begin = otp_now();
        CHECK(otp_send_after(0, otp_self(), A, &i, sizeof i).id != 0);
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && m->tag == A && number(m) == i);
        check_time(otp_now(), begin);
    }
}

TEST(rule_70_never_early_and_in_the_order_of_the_deadlines)
{
    int64_t due[200];
    bool seen[200] = { false };
    int64_t begin = otp_now(), last = 0;
    for (int i = 0; i < 200; i++) {
        due[i] = begin + 50 + (int64_t)(otp_random() % 60);
        otp_timer_opts o = { .time = due[i], .absolute = true, .to = otp_self(), .tag = A, .data = &i, .size = sizeof i };
        CHECK(otp_timer(&o).id != 0);
    }
    for (int i = 0; i < 200; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && m->tag == A);
        int n = number(m);
        CHECK(n >= 0 && n < 200 && !seen[n]);
        seen[n] = true;
        check_time(otp_now(), due[n]);
        CHECK(due[n] >= last);
        last = due[n];
    }
    test_quiet();
}

TEST(rule_70_deadline_order_with_distinct_deadlines)
{
    int64_t base = otp_now() + 30;
    for (int i = 99; i >= 0; i--) {                         /* started in the opposite order */
        otp_timer_opts o = { .time = base + i / 4, .absolute = true, .to = otp_self(), .tag = A, .data = &i, .size = sizeof i };
        CHECK(otp_timer(&o).id != 0);
    }
    int group = 0;
    for (int i = 0; i < 100; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && number(m) / 4 >= group);
        group = number(m) / 4;
    }
}

TEST(rule_70_and_71_absolute_times)
{
    int64_t base = otp_now();
    otp_timer_opts o = { .time = base + 20, .absolute = true, .to = otp_self(), .tag = A };
    CHECK(otp_timer(&o).id != 0);
    o.time = base - 1000;                                   /* in the past: at once */
    o.tag = B;
    CHECK(otp_timer(&o).id != 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == B);
    if (test_opt_deterministic) CHECK_EQ(otp_now(), base);
    m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == A);
    check_time(otp_now(), base + 20);
}

static void nothing(void *arg) { (void)arg; }

TEST(rule_72_a_timer_to_a_dead_process_is_not_active)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(nothing, NULL, &ref);
    (void)test_down(ref);
    otp_ref t = otp_send_after(1000, p, A, NULL, 0);
    CHECK(t.id != 0);
    CHECK_EQ(otp_read_timer(t), OTP_ENOENT);
    CHECK_EQ(otp_cancel_timer(t), OTP_ENOENT);
    t = otp_start_timer(1000, p, NULL, 0);
    CHECK(t.id != 0);
    CHECK_EQ(otp_read_timer(t), OTP_ENOENT);
}

TEST(rule_72_a_timer_vanishes_when_its_process_dies)
{
    otp_ref ref, t[10];
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    for (int i = 0; i < 10; i++) {
        t[i] = otp_send_after(1000 + i * 100000, p, A, NULL, 0);
        CHECK(otp_read_timer(t[i]) > 0);
    }
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    (void)test_down(ref);
    for (int i = 0; i < 5; i++) CHECK_EQ(otp_read_timer(t[i]), OTP_ENOENT);
    for (int i = 5; i < 10; i++) CHECK_EQ(otp_cancel_timer(t[i]), OTP_ENOENT);
}

TEST(rule_73_a_name_is_looked_up_when_the_time_has_come)
{
    otp_timer_opts o = { .time = 10, .name = "timer_target", .tag = A, .data = "x", .size = 2 };
    CHECK(otp_timer(&o).id != 0);                           /* nobody has the name yet */
    CHECK_EQ(otp_register("timer_target", otp_self()), 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == A && m->size == 2);
    otp_ref t = otp_timer(&o);
    CHECK(t.id != 0);
    CHECK_EQ(otp_unregister("timer_target"), 0);            /* nobody has it then: dropped */
    otp_sleep(15);
    CHECK_EQ(otp_register("timer_target", otp_self()), 0);
    CHECK(otp_recv(0) == NULL);
    CHECK_EQ(otp_read_timer(t), OTP_ENOENT);
    CHECK_EQ(otp_unregister("timer_target"), 0);
}

TEST(rule_73_the_name_may_have_moved)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    char name[] = "timer_moving";
    CHECK_EQ(otp_register(name, p), 0);
    otp_timer_opts o = { .time = 10, .name = name, .tag = A };
    CHECK(otp_timer(&o).id != 0);
    memset(name, 'x', sizeof name - 1);                     /* the name is copied */
    CHECK_EQ(otp_unregister("timer_moving"), 0);
    CHECK_EQ(otp_register("timer_moving", otp_self()), 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == A);
    CHECK_EQ(otp_unregister("timer_moving"), 0);
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    (void)test_down(ref);
}

static void starts_timer_and_dies(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    CHECK(otp_send_after(20, to, A, "left", 5).id != 0);
}

TEST(rule_74_the_death_of_the_creator_does_not_cancel)
{
    otp_pid self = otp_self();
    otp_pid p = start(starts_timer_and_dies, &self, sizeof self);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == A);
    CHECK_STR(m->data, "left");
}

TEST(rule_75_cancel_and_read_tell_the_time_left)
{
    otp_ref t = otp_send_after(1000, otp_self(), A, NULL, 0);
    int64_t left = otp_read_timer(t);
    if (test_opt_deterministic) CHECK_EQ(left, 1000);
    else CHECK(left > 0 && left <= 1000);
    otp_sleep(30);
    left = otp_read_timer(t);
    if (test_opt_deterministic) CHECK_EQ(left, 970);
    else CHECK(left > 0 && left <= 970);
    int64_t cancelled = otp_cancel_timer(t);
    if (test_opt_deterministic) CHECK_EQ(cancelled, 970);
    else CHECK(cancelled > 0 && cancelled <= left);
    CHECK_EQ(otp_cancel_timer(t), OTP_ENOENT);
    CHECK_EQ(otp_read_timer(t), OTP_ENOENT);
    if (test_opt_deterministic) otp_sleep(2000);
    CHECK(otp_recv(0) == NULL);
}

TEST(rule_75_a_fired_timer_is_gone)
{
    otp_ref t = otp_send_after(2, otp_self(), A, NULL, 0);
    CHECK(otp_recv_tag(A, TEST_WAIT) != NULL);
    CHECK_EQ(otp_read_timer(t), OTP_ENOENT);
    CHECK_EQ(otp_cancel_timer(t), OTP_ENOENT);
}

TEST(rule_75_unknown_references)
{
    CHECK_EQ(otp_cancel_timer((otp_ref){ 0 }), OTP_ENOENT);
    CHECK_EQ(otp_read_timer((otp_ref){ 0 }), OTP_ENOENT);
    for (uint64_t i = 1; i != 0; i <<= 1) {
        CHECK_EQ(otp_cancel_timer((otp_ref){ i }), OTP_ENOENT);
        CHECK_EQ(otp_read_timer((otp_ref){ ~i }), OTP_ENOENT);
    }
    for (int i = 0; i < 50; i++) CHECK_EQ(otp_cancel_timer(otp_make_ref()), OTP_ENOENT);
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    CHECK_EQ(otp_cancel_timer(ref), OTP_ENOENT);            /* the reference of a monitor is no timer */
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    (void)test_down(ref);
}

TEST(rule_75_old_references_do_not_touch_new_timers)
{
    otp_ref old[100], now[100];
    for (int i = 0; i < 100; i++) old[i] = otp_send_after(100000, otp_self(), A, NULL, 0);
    for (int i = 0; i < 100; i++) CHECK(otp_cancel_timer(old[i]) > 0);
    for (int i = 0; i < 100; i++) now[i] = otp_send_after(100000, otp_self(), A, NULL, 0);
    for (int i = 0; i < 100; i++) CHECK_EQ(otp_cancel_timer(old[i]), OTP_ENOENT);
    for (int i = 0; i < 100; i++) CHECK(otp_cancel_timer(now[i]) > 0);
}

TEST(rule_76_after_a_number_the_message_never_comes)
{
    enum { N = 200 };
    otp_ref t[N];
    bool cancelled[N] = { false }, got[N] = { false };
    for (int i = 0; i < N; i++) t[i] = otp_send_after(i % 6, otp_self(), A, &i, sizeof i);
    for (int i = 0; i < N; i++) {
        if (i % 40 == 0) otp_sleep(1);
        int64_t r = otp_cancel_timer(t[(i * 7) % N]);
        CHECK(r >= 0 || r == OTP_ENOENT);
        cancelled[(i * 7) % N] = r >= 0;
    }
    otp_sleep(20);
    const otp_msg *m;
    while ((m = otp_recv(5)) != NULL) {
        int n = number(m);
        CHECK(n >= 0 && n < N && !got[n]);
        CHECK(!cancelled[n]);
        got[n] = true;
    }
    for (int i = 0; i < N; i++) CHECK(got[i] != cancelled[i]);
}

static void cancels(void *arg)
{
    struct { otp_pid to; otp_ref t; } *a = arg;
    int64_t left = otp_cancel_timer(a->t);
    CHECK_EQ(otp_send(a->to, B, &left, sizeof left), 0);
}

TEST(rule_77_any_process_may_cancel)
{
    for (int i = 0; i < 10; i++) {
        struct { otp_pid to; otp_ref t; } a = { otp_self(), otp_send_after(50000, otp_self(), A, NULL, 0) };
        otp_pid p = start(cancels, &a, sizeof a);
        const otp_msg *m = otp_recv_tag(B, TEST_WAIT);
        CHECK(m != NULL);
        CHECK(*OTP_PAYLOAD(m, int64_t) > 0);
        CHECK_EQ(otp_cancel_timer(a.t), OTP_ENOENT);
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    }
    CHECK(otp_recv(0) == NULL);
}

TEST(rule_79_intervals_do_not_drift)
{
    int64_t begin = otp_now();
    otp_timer_opts o = { .time = 10, .interval = 10, .to = otp_self(), .tag = TICK };
    otp_ref t = otp_timer(&o);
    CHECK(t.id != 0);
    for (int i = 1; i <= 10; i++) {
        CHECK(otp_recv_tag(TICK, TEST_WAIT) != NULL);
        check_time(otp_now(), begin + 10 * i);
        if (i % 3 == 0) otp_sleep(4);                       /* a slow receiver does not shift the period */
    }
    otp_sleep(35);                                          /* three more, late but not lost */
    int64_t left = otp_cancel_timer(t);
    CHECK(left >= 0);
    if (test_opt_deterministic) CHECK(left <= 10);
    int n = 0;
    while (otp_recv_tag(TICK, 0) != NULL) n++;
    if (test_opt_deterministic) CHECK_EQ(n, 3);
    else CHECK(n >= 3);
    CHECK_EQ(otp_cancel_timer(t), OTP_ENOENT);
    if (test_opt_deterministic) otp_sleep(1000);
    CHECK(otp_recv(0) == NULL);
}

TEST(rule_79_an_interval_with_another_first_time)
{
    int64_t begin = otp_now();
    otp_timer_opts o = { .time = 3, .interval = 8, .to = otp_self(), .timeout = true, .data = "tick", .size = 5 };
    otp_ref t = otp_timer(&o);
    for (int i = 0; i < 5; i++) {
        const otp_msg *m = otp_recv_ref(t, TEST_WAIT);
        CHECK(m != NULL && m->tag == OTP_TIMEOUT_TAG && m->ref.id == t.id);
        CHECK_STR(m->data, "tick");
        check_time(otp_now(), begin + 3 + 8 * i);
    }
    CHECK(otp_cancel_timer(t) >= 0);
}

static void three_ticks(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    for (int i = 0; i < 3; i++) CHECK(otp_recv_tag(TICK, TEST_WAIT) != NULL);
}

TEST(rule_79_intervals_end_with_their_process)
{
    otp_ref ref;
    otp_pid p = test_start(three_ticks, NULL, &ref);
    otp_timer_opts o = { .time = 1, .interval = 2, .to = p, .tag = TICK };
    otp_ref t = otp_timer(&o);
    CHECK(t.id != 0);
    (void)test_down(ref);
    otp_sleep(5);
    CHECK_EQ(otp_read_timer(t), OTP_ENOENT);
    CHECK_EQ(otp_cancel_timer(t), OTP_ENOENT);
}

TEST(intervals_to_a_name_go_on_without_a_holder)
{
    otp_timer_opts o = { .time = 5, .interval = 5, .name = "ticked", .tag = TICK };
    otp_ref t = otp_timer(&o);
    CHECK(t.id != 0);
    otp_sleep(22);
    CHECK_EQ(otp_register("ticked", otp_self()), 0);
    CHECK(otp_recv_tag(TICK, TEST_WAIT) != NULL);
    CHECK(otp_recv_tag(TICK, TEST_WAIT) != NULL);
    CHECK(otp_cancel_timer(t) >= 0);
    CHECK_EQ(otp_unregister("ticked"), 0);
}

/* -- many ------------------------------------------------------------------------------------------------ */

TEST(thousands_of_timers_fire_once_each)
{
    int n = test_many(20000, 1000);
    char *seen = otp_calloc((size_t)n, 1);
    CHECK(seen != NULL);
    for (int i = 0; i < n; i++)
        CHECK(otp_send_after((int64_t)(otp_random() % 100), otp_self(), A, &i, sizeof i).id != 0);
    for (int i = 0; i < n; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL);
        int k = number(m);
        CHECK(k >= 0 && k < n && !seen[k]);
        seen[k] = 1;
    }
    test_quiet();
}

TEST(far_deadlines)
{
    const int64_t far[] = { 255, 256, 257, 65535, 65536, 65537, 16777215, 16777216, 16777217, 4294967295, 4294967296,
                            1000000000000, INT64_MAX / 2000000, INT64_MAX };
    enum { N = sizeof far / sizeof far[0] };
    otp_ref t[N];
    int64_t begin = otp_now();
    for (int i = 0; i < N; i++) {
        t[i] = otp_send_after(far[i], otp_self(), A, &i, sizeof i);
        CHECK(t[i].id != 0);
    }
    for (int i = 3; i < N; i++) {
        int64_t left = otp_read_timer(t[i]);
        CHECK(left <= far[i] && (left > far[i] / 2 || left > INT64_MAX / 2000000));
    }
    int last = 3;
    if (test_opt_deterministic) last = 12;                  /* the others after 30 years of virtual time */
    for (int i = 0; i < last; i++) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        CHECK(m != NULL);
        CHECK_EQ(number(m), i);
        check_time(otp_now(), begin + far[i]);
    }
    for (int i = last; i < N; i++) CHECK(otp_cancel_timer(t[i]) > 0);
    CHECK(otp_recv(0) == NULL);
}

TEST_REAL(rule_80_many_pending_timers_do_not_slow_the_next_one)
{
    enum { ROUNDS = 20000 };
    int n = test_many(100000, 20000);
    int64_t time[2];
    otp_ref *t = otp_calloc((size_t)n, sizeof *t);
    CHECK(t != NULL);
    for (int k = 0; k < 2; k++) {
        int64_t begin = real_ns();
        for (int i = 0; i < ROUNDS; i++) {
            otp_ref r = otp_send_after(5000 + i % 1000, otp_self(), A, NULL, 0);
            CHECK(otp_cancel_timer(r) >= 0);
        }
        time[k] = real_ns() - begin;
        for (int i = 0; k == 0 && i < n; i++) {
            t[i] = otp_send_after(3600000 + (i * 37) % 100000, otp_self(), A, NULL, 0);
            CHECK(t[i].id != 0);
        }
    }
    /* Were each start or cancel to pass 20,000 records or more, each would cost 20 us: 400 ms together. */
    CHECK(time[1] < time[0] * 10 + 100000000);
    for (int i = 0; i < n; i++) CHECK(otp_cancel_timer(t[i]) > 0);
    CHECK(otp_recv(0) == NULL);
}

TEST_WITH(a_million_live_timers, .real = true, .seconds = 60)
{
    int n = test_many(1000000, 50000);
    otp_ref *t = otp_calloc((size_t)n, sizeof *t);
    CHECK(t != NULL);
    for (int i = 0; i < n; i++) {
        t[i] = otp_start_timer(1000000 + i % 5000, otp_self(), NULL, 0);
        CHECK(t[i].id != 0);
    }
    for (int i = 0; i < n; i += 2) CHECK(otp_cancel_timer(t[i]) > 0);
    for (int i = 0; i < n; i++) {
        int64_t left = otp_read_timer(t[i]);
        if (i % 2 == 0) CHECK_EQ(left, OTP_ENOENT);
        else CHECK(left > 0 && left <= 1005000);
    }
    for (int i = 1; i < n; i += 2) CHECK(otp_cancel_timer(t[i]) > 0);
    CHECK(otp_recv(0) == NULL);
}

static void sleeper(void *arg)
{
    int64_t ms = *(int64_t *)arg, begin = otp_now();
    otp_sleep(ms);
    check_time(otp_now(), begin + ms);
    CHECK_EQ(otp_send(test_app, DONE, &ms, sizeof ms), 0);
}

TEST(many_sleepers_wake_in_their_time)
{
    int n = test_many(2000, 50);
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        int64_t ms = (int64_t)(otp_random() % 50);
        sum += ms;
        CHECK(start(sleeper, &ms, sizeof ms).id != 0);
    }
    for (int i = 0; i < n; i++) {
        const otp_msg *m = otp_recv_tag(DONE, TEST_WAIT);
        CHECK(m != NULL);
        sum -= *OTP_PAYLOAD(m, int64_t);
    }
    CHECK_EQ(sum, 0);
}

TEST(sleeping)
{
    int64_t begin = otp_now();
    otp_sleep(0);
    check_time(otp_now(), begin);
    begin = otp_now();
    otp_sleep(25);
    check_time(otp_now(), begin + 25);
    CHECK_EQ(OTP_SEND(otp_self(), A, 1), 0);                /* a message does not end a sleep, nor is it lost */
    begin = otp_now();
    otp_sleep(10);
    check_time(otp_now(), begin + 10);
    CHECK(otp_recv_tag(A, 0) != NULL);
}

static void sleeps_wrong(void *arg)
{
    (void)arg;
    otp_sleep(-2);
    CHECK_STR("otp_sleep returned", "it must not");
}

TEST(a_negative_sleep_is_a_bad_argument)
{
    otp_ref ref;
    CHECK(otp_spawn_monitor(sleeps_wrong, NULL, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_BADARG);
}

static void sleeps_for_ever(void *arg)
{
    (void)arg;
    otp_sleep(OTP_INFINITY);
    CHECK_STR("otp_sleep returned", "it must not");
}

TEST(an_endless_sleep_ends_with_the_process)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(sleeps_for_ever, NULL, &ref);
    CHECK_EQ(OTP_SEND(p, A, 1), 0);
    test_until_waiting(p, OTP_WAITS_SLEEP);
    CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_SHUTDOWN);
}

TEST(bad_timer_options)
{
    otp_timer_opts o = { .time = 1000, .tag = A };          /* to nobody: as to a dead process */
    CHECK_EQ(otp_read_timer(otp_timer(&o)), OTP_ENOENT);
    char name[80];
    memset(name, 'n', sizeof name);
    name[79] = 0;
    o.name = name;                                          /* names have at most 63 bytes */
    CHECK_EQ(otp_timer(&o).id, 0);
    o.name = "";
    CHECK_EQ(otp_timer(&o).id, 0);
    test_quiet();
}

static void guest_body(otp_pid to)
{
    CHECK(otp_send_after(2, to, A, "guest", 6).id != 0);
    otp_ref t = otp_send_after(100000, to, B, NULL, 0);
    CHECK(otp_read_timer(t) > 0);
    CHECK(otp_cancel_timer(t) > 0);
    CHECK(otp_send_after(-5, to, B, NULL, 0).id == 0);
}

static void *guest(void *arg)
{
    guest_body(*(otp_pid *)arg);
    return NULL;
}

TEST_REAL(timers_from_a_foreign_thread)
{
    pthread_t thread;
    otp_pid self = otp_self();
    CHECK_EQ(pthread_create(&thread, NULL, guest, &self), 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == A);
    CHECK_STR(m->data, "guest");
    CHECK_EQ(pthread_join(thread, NULL), 0);
    test_quiet();
}

/* -- virtual time ---------------------------------------------------------------------------------------- */

TEST(thirty_seconds_take_no_real_time)
{
    if (!test_opt_deterministic) return;
    int64_t real = real_ns(), begin = otp_now();
    CHECK(otp_recv_tag(A, 30000) == NULL);
    CHECK_EQ(otp_now(), begin + 30000);
    otp_sleep(3600000);
    CHECK_EQ(otp_now(), begin + 3630000);
    CHECK_EQ(otp_now_ns() / 1000000, otp_now());
    CHECK(real_ns() - real < 2000000000);
}

TEST(virtual_time_stands_still_while_somebody_can_run)
{
    if (!test_opt_deterministic) return;
    int64_t begin = otp_now();
    CHECK(otp_send_after(1, otp_self(), A, NULL, 0).id != 0);
    for (int i = 0; i < 1000; i++) {
        otp_yield();
        CHECK_EQ(otp_now(), begin);
    }
    CHECK(otp_recv(0) == NULL);
    CHECK(otp_recv(1) != NULL);
    CHECK_EQ(otp_now(), begin + 1);
}

TEST(the_clock_never_goes_back)
{
    int64_t last = otp_now(), last_ns = otp_now_ns();
    for (int i = 0; i < 200; i++) {
        int64_t now = otp_now(), ns = otp_now_ns();
        CHECK(now >= last && ns >= last_ns);
        CHECK(ns / 1000000 >= now);
        last = now;
        last_ns = ns;
        otp_yield();
    }
}

TEST(receive_deadlines_and_timers_in_one_process)
{
    /* Short and long waits in turn: an entry armed for an earlier wait must neither end a later one nor be missed. */
    int64_t begin = otp_now();
    CHECK(otp_recv_tag(B, 5) == NULL);
    check_time(otp_now(), begin + 5);
    for (int i = 0; i < 10; i++) {
        CHECK(otp_send_after(1, otp_self(), A, NULL, 0).id != 0);
        CHECK(otp_recv_tag(A, 40) != NULL);                 /* arms 40 ms, ends after 1 */
        begin = otp_now();
        CHECK(otp_recv_tag(B, 3) == NULL);                  /* earlier than what is armed */
        check_time(otp_now(), begin + 3);
    }
    begin = otp_now();
    CHECK(otp_recv_tag(B, 90) == NULL);                     /* old entries fire in between */
    check_time(otp_now(), begin + 90);
}
