/* test_monitor.c: monitors: processes.md, rules 36 to 47. */
#include "test.h"

enum { GO = 1, REF, DONE, MY_DOWN, VALUE };

/* Ends when told to: 0 normally, else with USER and that code. */
static void end_on_go(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(GO, OTP_INFINITY);
    CHECK(m != NULL);
    int code = *OTP_PAYLOAD(m, int);
    if (code != 0) otp_exit(OTP_USER(code, "told to"));
}

static void end_at_once(void *arg) { (void)arg; }

static otp_pid dead_process(void)
{
    otp_pid p = otp_spawn(end_at_once, NULL);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    return p;
}

static size_t monitors_of(otp_pid p)
{
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(otp_process_relations(p, OTP_MONITORS, NULL, 0), info.monitors);
    return info.monitors;
}

static size_t watchers_of(otp_pid p)
{
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(otp_process_relations(p, OTP_MONITORED_BY, NULL, 0), info.monitored_by);
    return info.monitored_by;
}

TEST(rule_36_n_monitors_give_n_downs)
{
    enum { N = 50 };
    otp_ref ref[N];
    bool seen[N] = { false };
    otp_pid p = otp_spawn(end_on_go, NULL);
    for (int i = 0; i < N; i++) {
        ref[i] = otp_monitor(p);
        CHECK(ref[i].id != 0);
        for (int k = 0; k < i; k++) CHECK(ref[k].id != ref[i].id);
    }
    CHECK_EQ(monitors_of(otp_self()), N);
    CHECK_EQ(watchers_of(p), N);
    CHECK_EQ(OTP_SEND(p, GO, (int)7), 0);
    for (int i = 0; i < N; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(m->tag, OTP_DOWN);
        CHECK(otp_same(m->from, p));
        CHECK_EQ(otp_reason_of(m)->code, 7);
        CHECK_STR(otp_reason_of(m)->text, "told to");
        CHECK(otp_down_name(m) == NULL);
        int at = 0;
        while (at < N && ref[at].id != m->ref.id) at++;
        CHECK(at < N);
        CHECK(!seen[at]);
        seen[at] = true;
    }
    CHECK_EQ(monitors_of(otp_self()), 0);
    test_quiet();
}

TEST(rule_37_monitoring_a_dead_process)
{
    otp_pid p = dead_process();
    for (int i = 0; i < 5; i++) {
        otp_ref ref = otp_monitor(p);
        CHECK(ref.id != 0);
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(m->tag, OTP_DOWN);
        CHECK(m->ref.id == ref.id);
        CHECK(otp_same(m->from, p));
        CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_NOPROC);
    }
    CHECK_EQ(monitors_of(otp_self()), 0);
    CHECK_EQ(test_down(otp_monitor((otp_pid){ 0 }))->kind, OTP_REASON_NOPROC);
    test_quiet();
}

TEST(rule_37_monitoring_during_the_death)
{
    for (int i = 0; i < test_many(2000, 30); i++) {
        otp_pid p = otp_spawn(end_at_once, NULL);
        for (int k = 0; k < i % 4; k++) otp_yield();
        otp_reason_kind kind = test_down(otp_monitor(p))->kind;
        CHECK(kind == OTP_REASON_NORMAL || kind == OTP_REASON_NOPROC);
    }
    test_quiet();
}

TEST(rule_38_monitoring_an_unregistered_name)
{
    otp_ref ref = otp_monitor_name("nobody here");
    CHECK(ref.id != 0);
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(m->tag, OTP_DOWN);
    CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_NOPROC);
    CHECK_STR(otp_down_name(m), "nobody here");
    CHECK_EQ(monitors_of(otp_self()), 0);
    test_quiet();
}

TEST(rule_39_monitoring_by_name)
{
    otp_pid p, q;
    SPAWN(&p, .fn = end_on_go, .name = "watched");
    otp_ref by_name = otp_monitor_name("watched"), by_pid = otp_monitor(p);
    CHECK_EQ(monitors_of(otp_self()), 2);
    CHECK_EQ(watchers_of(p), 2);
    /* the name moves, the monitor does not */
    CHECK_EQ(otp_unregister("watched"), 0);
    SPAWN(&q, .fn = end_on_go, .name = "watched");
    CHECK_EQ(OTP_SEND(q, GO, (int)1), 0);
    CHECK_EQ(otp_await_exit(q, TEST_WAIT, NULL), 0);
    test_quiet();
    CHECK_EQ(OTP_SEND(p, GO, (int)2), 0);
    const otp_msg *m = otp_recv_ref(by_name, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(m->tag, OTP_DOWN);
    CHECK_STR(otp_down_name(m), "watched");
    CHECK_EQ(otp_reason_of(m)->code, 2);
    m = otp_recv_ref(by_pid, TEST_WAIT);
    CHECK(m != NULL);
    CHECK(otp_down_name(m) == NULL);
    CHECK(otp_same(m->from, p));
    test_quiet();
}

TEST(rule_39_a_down_by_name_can_be_kept)
{
    otp_pid p;
    SPAWN(&p, .fn = end_on_go, .name = "kept");
    otp_ref ref = otp_monitor_name("kept");
    CHECK_EQ(OTP_SEND(p, GO, (int)3), 0);
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    CHECK(m != NULL);
    m = otp_keep(m);
    CHECK_EQ(OTP_SEND(otp_self(), VALUE, (int)1), 0);
    CHECK(otp_recv(0) != NULL);
    CHECK_STR(otp_down_name(m), "kept");
    CHECK_EQ(otp_reason_of(m)->code, 3);
    CHECK_STR(otp_reason_of(m)->text, "told to");
    otp_drop(m);
}

static void monitor_self(void *arg)
{
    (void)arg;
    otp_ref ref = otp_monitor(otp_self());
    CHECK(ref.id != 0);
    CHECK(otp_recv(0) == NULL);
    otp_exit(OTP_USER(3, NULL));
}

TEST(rule_40_monitoring_itself)
{
    otp_ref a = otp_monitor(otp_self()), b = otp_monitor(otp_self());
    CHECK(a.id != 0);
    CHECK(b.id != 0);
    CHECK(a.id != b.id);
    test_quiet();
    CHECK(otp_demonitor(a, 0));
    CHECK(otp_demonitor(b, OTP_FLUSH));
    otp_ref ref;
    CHECK(otp_spawn_monitor(monitor_self, NULL, &ref).id != 0);
    CHECK_EQ(test_down(ref)->code, 3);
    test_quiet();
}

static void watch_and_wait(void *arg)
{
    otp_ref ref = otp_monitor(*(otp_pid *)arg);
    CHECK(ref.id != 0);
    test_idle_ready(NULL);
}

TEST(rule_41_monitors_are_one_way)
{
    otp_ref down;
    otp_pid watched = otp_spawn(test_idle, NULL);
    otp_pid watcher = test_start(watch_and_wait, &watched, &down);
    otp_info info;
    CHECK_EQ(watchers_of(watched), 1);
    otp_pid who[2] = { { 0 }, { 0 } };
    CHECK_EQ(otp_process_relations(watched, OTP_MONITORED_BY, who, 2), 1);
    CHECK(otp_same(who[0], watcher));
    CHECK_EQ(otp_process_relations(watcher, OTP_MONITORS, who, 2), 1);
    CHECK(otp_same(who[0], watched));
    CHECK_EQ(otp_exit_signal(watcher, OTP_USER(1, NULL)), 0);
    CHECK_EQ(test_down(down)->code, 1);
    for (int i = 0; i < 5000 && watchers_of(watched) != 0; i++) otp_sleep(1);
    CHECK_EQ(watchers_of(watched), 0);
    CHECK_EQ(otp_process_info(watched, &info), 0);
    CHECK_EQ(info.message_queue_len, 0);
    CHECK_EQ(info.links, 0);
    CHECK(otp_is_alive(watched));
    test_kill(watched);
}

TEST(rule_42_down_comes_for_every_reason_whether_trapping_or_not)
{
    for (int trap = 0; trap < 2; trap++) {
        (void)otp_trap_exit(trap);
        for (int code = 0; code < 2; code++) {
            otp_pid p = otp_spawn(end_on_go, NULL);
            otp_ref ref = otp_monitor(p);
            CHECK_EQ(OTP_SEND(p, GO, code), 0);
            CHECK_EQ(test_down(ref)->kind, code ? OTP_REASON_USER : OTP_REASON_NORMAL);
        }
        otp_pid p = otp_spawn(test_idle, NULL);
        otp_ref ref = otp_monitor(p);
        CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_SHUTDOWN);
        p = otp_spawn(test_idle, NULL);
        ref = otp_monitor(p);
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    }
    test_quiet();
}

TEST(rule_43_no_down_after_demonitor)
{
    for (int i = 0; i < test_many(2000, 30); i++) {
        otp_pid p = otp_spawn(end_at_once, NULL);
        otp_ref ref = otp_monitor(p);
        for (int k = 0; k < i % 4; k++) otp_yield();
        CHECK(otp_demonitor(ref, 0));
        bool queued = otp_recv_ref(ref, 0) != NULL;
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
        CHECK(otp_recv_ref(ref, 0) == NULL);
        (void)queued;
    }
    test_quiet();
}

/* Waits until the DOWN is in the mailbox, and leaves it there. */
static void until_queued(otp_ref ref)
{
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    CHECK(m != NULL);
    otp_leave(m);
}

TEST(rule_43_a_queued_down_stays_unless_flushed)
{
    otp_pid p = otp_spawn(end_on_go, NULL);
    otp_ref a = otp_monitor(p), b = otp_monitor(p);
    CHECK_EQ(OTP_SEND(p, GO, (int)2), 0);
    until_queued(a);
    until_queued(b);
    CHECK(otp_demonitor(a, 0));
    CHECK(otp_demonitor(b, OTP_FLUSH));
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL);
    CHECK(m->ref.id == a.id);
    CHECK(otp_recv(0) == NULL);
    test_quiet();
}

TEST(rule_44_demonitor_tells_whether_the_monitor_was_there)
{
    otp_pid p = otp_spawn(end_on_go, NULL);
    otp_ref a = otp_monitor(p), b = otp_monitor(p), c = otp_monitor(p), d = otp_monitor(p);
    CHECK(otp_demonitor(a, OTP_INFO));              /* it was there */
    CHECK(!otp_demonitor(a, OTP_INFO));
    CHECK(otp_demonitor(a, 0));                     /* without the question always true */
    CHECK(otp_demonitor(d, OTP_INFO | OTP_FLUSH));
    CHECK_EQ(OTP_SEND(p, GO, (int)2), 0);
    until_queued(b);
    until_queued(c);
    CHECK(!otp_demonitor(b, OTP_INFO));             /* it has fired; its DOWN stays */
    CHECK(!otp_demonitor(c, OTP_INFO | OTP_FLUSH)); /* it has fired; its DOWN goes */
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL);
    CHECK(m->ref.id == b.id);
    CHECK(otp_recv(0) == NULL);
    CHECK(!otp_demonitor(b, OTP_INFO));
    test_quiet();
}

static void tell_ref(void *arg)
{
    otp_ref ref = otp_monitor(*(otp_pid *)arg);
    CHECK_EQ(OTP_SEND(test_app, REF, ref), 0);
    int code = test_down(ref)->code;
    CHECK_EQ(OTP_SEND(test_app, DONE, code), 0);
}

TEST(rule_45_demonitor_of_unknown_refs_is_harmless)
{
    otp_ref zero = { 0 }, made_up = { 0x7fffffffffffffff };
    CHECK(otp_demonitor(zero, 0));
    CHECK(otp_demonitor(made_up, OTP_FLUSH));
    CHECK(otp_demonitor(otp_make_ref(), 0));
    CHECK(!otp_demonitor(otp_make_ref(), OTP_INFO));

    otp_pid p = otp_spawn(end_on_go, NULL);
    otp_pid watcher = otp_spawn(tell_ref, &p);
    const otp_msg *m = otp_recv_tag(REF, TEST_WAIT);
    CHECK(m != NULL);
    otp_ref foreign = *OTP_PAYLOAD(m, otp_ref);
    CHECK(otp_demonitor(foreign, OTP_FLUSH));
    CHECK(!otp_demonitor(foreign, OTP_INFO));
    CHECK_EQ(monitors_of(watcher), 1);
    CHECK_EQ(OTP_SEND(p, GO, (int)6), 0);
    m = otp_recv_tag(DONE, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(*OTP_PAYLOAD(m, int), 6);
    CHECK(otp_demonitor(foreign, 0));

    /* the ref of a request and of a timer */
    otp_pid idle = otp_spawn(test_idle, NULL);
    otp_ref timer = otp_send_after(1, otp_self(), VALUE, NULL, 0);
    CHECK(otp_demonitor(timer, OTP_FLUSH));
    CHECK(otp_recv_tag(VALUE, TEST_WAIT) != NULL);
    test_kill(idle);
    test_quiet();
}

TEST(rule_46_the_tag_option)
{
    otp_pid p = otp_spawn(end_on_go, NULL);
    otp_ref a = otp_monitor_opt(p, &(otp_monitor_opts){ .tag = MY_DOWN }), b = otp_monitor_opt(p, NULL);
    CHECK(a.id != 0);
    CHECK_EQ(OTP_SEND(p, GO, (int)9), 0);
    const otp_msg *m = otp_recv_tag(MY_DOWN, TEST_WAIT);
    CHECK(m != NULL);
    CHECK(m->ref.id == a.id);
    CHECK(otp_same(m->from, p));
    CHECK_EQ(otp_reason_of(m)->code, 9);
    CHECK_EQ(test_down(b)->code, 9);
    /* also for one that is dead */
    a = otp_monitor_opt(p, &(otp_monitor_opts){ .tag = MY_DOWN });
    m = otp_recv_tag(MY_DOWN, TEST_WAIT);
    CHECK(m != NULL);
    CHECK(m->ref.id == a.id);
    CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_NOPROC);
    /* and flush finds it */
    p = otp_spawn(end_at_once, NULL);
    a = otp_monitor_opt(p, &(otp_monitor_opts){ .tag = MY_DOWN });
    until_queued(a);
    CHECK(otp_demonitor(a, OTP_FLUSH));
    test_quiet();
}

TEST(rule_47_a_ref_fires_once)
{
    otp_ref before = { 0 };
    for (int i = 0; i < test_many(500, 10); i++) {
        otp_pid p = otp_spawn(end_on_go, NULL);
        otp_ref ref = otp_monitor(p);
        CHECK(ref.id != before.id);
        before = ref;
        CHECK_EQ(OTP_SEND(p, GO, i), 0);
        (void)test_down(ref);
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK(otp_recv_ref(ref, 0) == NULL);
        CHECK(!otp_demonitor(ref, OTP_INFO));
    }
    test_quiet();
}

/* Many watchers of one process, which come and go while it dies. */
static void watch_some(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    for (int i = 0; i < 20; i++) {
        otp_ref a = otp_monitor(p), b = otp_monitor(p);
        if (i % 2) otp_yield();
        CHECK(otp_demonitor(a, OTP_FLUSH));
        CHECK(otp_recv_ref(a, 0) == NULL);
        CHECK(otp_demonitor(b, OTP_FLUSH));
    }
    otp_ref last = otp_monitor(p);
    const otp_reason *r = test_down(last);
    CHECK(r->kind == OTP_REASON_NOPROC || r->code == 8);
    CHECK(otp_recv(0) == NULL);
    CHECK_EQ(monitors_of(otp_self()), 0);
}

TEST(rule_47_watchers_that_come_and_go)
{
    for (int round = 0; round < test_many(30, 3); round++) {
        enum { N = 10 };
        otp_ref ref[N];
        otp_pid p = otp_spawn(end_on_go, NULL);
        for (int i = 0; i < N; i++) CHECK(otp_spawn_monitor(watch_some, &p, &ref[i]).id != 0);
        if (round % 2) otp_yield();
        CHECK_EQ(OTP_SEND(p, GO, (int)8), 0);
        for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
    }
    test_quiet();
}
