/* Aliases: rules 88 to 92. */
#include "test.h"

enum { A = 1, B, GO, DONE, ALIAS };

static int number(const otp_msg *m) { return *OTP_PAYLOAD(m, int); }

static void nothing(void *arg) { (void)arg; }

/* Sends five numbered messages to the alias in arg, then DONE to its owner. */
static void five(void *arg)
{
    otp_alias a = *(otp_alias *)arg;
    for (int i = 0; i < 5; i++) CHECK_EQ(otp_send_alias(a, A, &i, sizeof i), 0);
    CHECK_EQ(otp_send(a.pid, DONE, NULL, 0), 0);
}

static otp_pid start(otp_fn *fn, void *arg, size_t size)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = fn, .arg = arg, .arg_size = size };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

static otp_alias alias_of(otp_ref ref) { return (otp_alias){ otp_self(), ref }; }

TEST(rule_88_an_alias_can_be_sent_to_and_switched_off)
{
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    CHECK(otp_same(a.pid, otp_self()));
    CHECK(a.ref.id != 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(otp_send_alias(a, A, &i, sizeof i), 0);
    for (int i = 0; i < 3; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && m->tag == A && number(m) == i && otp_same(m->from, otp_self()));
    }
    CHECK(otp_unalias(a));
    CHECK(!otp_unalias(a));
    CHECK(!otp_unalias(a));
    CHECK_EQ(otp_send_alias(a, A, NULL, 0), 0);             /* dropped silently */
    test_quiet();
}

TEST(rule_88_messages_that_came_before_stay)
{
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    CHECK_EQ(otp_send_alias(a, A, &(int){ 1 }, sizeof(int)), 0);
    CHECK_EQ(otp_process_info(otp_self(), &(otp_info){ .fd = 0 }), 0);      /* everything sent has arrived */
    CHECK(otp_unalias(a));
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && number(m) == 1);
    test_quiet();
}

TEST(rule_88_from_another_process)
{
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    otp_pid p = start(five, &a, sizeof a);
    for (int i = 0; i < 5; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && m->tag == A && number(m) == i && otp_same(m->from, p));
    }
    CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    CHECK(otp_unalias(a));
    CHECK(start(five, &a, sizeof a).id != 0);
    CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    test_quiet();
}

TEST(rule_88_many_aliases_at_once)
{
    enum { N = 60 };
    otp_alias a[N];
    for (int i = 0; i < N; i++) a[i] = otp_alias_new(OTP_ALIAS_EXPLICIT);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < i; k++) CHECK(a[i].ref.id != a[k].ref.id);
    for (int i = 0; i < N; i += 3) CHECK(otp_unalias(a[i]));
    for (int i = 0; i < N; i++) CHECK_EQ(otp_send_alias(a[i], A, &i, sizeof i), 0);
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0) continue;
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && number(m) == i);
    }
    for (int i = 0; i < N; i++) CHECK_EQ(otp_unalias(a[i]), i % 3 != 0);
    test_quiet();
}

TEST(rule_89_reply_alias_dies_with_first_message)
{
    otp_alias a = otp_alias_new(OTP_ALIAS_REPLY);
    for (int i = 0; i < 3; i++) CHECK_EQ(otp_send_alias(a, A, &i, sizeof i), 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && number(m) == 0);
    test_quiet();
    CHECK(!otp_unalias(a));
    CHECK_EQ(otp_send_alias(a, A, NULL, 0), 0);
    test_quiet();
}

TEST(rule_89_from_many_senders_exactly_one_arrives)
{
    otp_alias a = otp_alias_new(OTP_ALIAS_REPLY);
    for (int i = 0; i < 6; i++) CHECK(start(five, &a, sizeof a).id != 0);
    for (int i = 0; i < 6; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == A && number(m) == 0);
    test_quiet();
}

TEST(rule_89_a_reply_alias_may_be_switched_off_unused)
{
    otp_alias a = otp_alias_new(OTP_ALIAS_REPLY);
    CHECK(otp_unalias(a));
    CHECK(!otp_unalias(a));
    CHECK_EQ(otp_send_alias(a, A, NULL, 0), 0);
    test_quiet();
}

/* -- rule 90: the alias of a monitor ----------------------------------------------------------------------- */

static otp_ref monitor_with(otp_pid p, otp_alias_mode mode)
{
    otp_monitor_opts o = { .alias = mode };
    otp_ref r = otp_monitor_opt(p, &o);
    CHECK(r.id != 0);
    return r;
}

static void expect_one(otp_ref r)
{
    CHECK_EQ(otp_send_alias(alias_of(r), ALIAS, NULL, 0), 0);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == ALIAS);
}

static void expect_none(otp_ref r)
{
    CHECK_EQ(otp_send_alias(alias_of(r), ALIAS, NULL, 0), 0);
    test_quiet();
}

static void finish(otp_pid p, otp_ref ref)
{
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

TEST(rule_90_demonitor_mode_ends_at_demonitor)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_ref r = monitor_with(p, OTP_ALIAS_DEMONITOR);
    expect_one(r);
    expect_one(r);                                          /* messages through it do not end it */
    CHECK(otp_demonitor(r, 0));
    expect_none(r);
    CHECK(!otp_unalias(alias_of(r)));
    finish(p, first);
    test_quiet();
}

TEST(rule_90_demonitor_mode_ends_with_down)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_ref r = monitor_with(p, OTP_ALIAS_DEMONITOR);
    expect_one(r);
    finish(p, first);
    CHECK_EQ(test_down(r)->kind, OTP_REASON_NORMAL);
    expect_none(r);
    CHECK(!otp_unalias(alias_of(r)));
}

TEST(rule_90_reply_mode_ends_alias_and_monitor_with_the_first_message)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_ref r = monitor_with(p, OTP_ALIAS_REPLY);
    expect_one(r);
    expect_none(r);
    CHECK(!otp_demonitor(r, OTP_INFO));                     /* the monitor is gone, too */
    finish(p, first);
    test_quiet();                                           /* no DOWN for r */
}

TEST(rule_90_reply_mode_ends_with_down_and_with_demonitor)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_ref r = monitor_with(p, OTP_ALIAS_REPLY), s = monitor_with(p, OTP_ALIAS_REPLY);
    CHECK(otp_demonitor(s, OTP_INFO));
    expect_none(s);
    finish(p, first);
    CHECK_EQ(test_down(r)->kind, OTP_REASON_NORMAL);
    expect_none(r);
}

TEST(rule_90_explicit_mode_lives_until_unalias)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_ref r = monitor_with(p, OTP_ALIAS_EXPLICIT), s = monitor_with(p, OTP_ALIAS_EXPLICIT);
    CHECK(otp_demonitor(s, 0));
    expect_one(s);                                          /* after demonitor */
    finish(p, first);
    CHECK_EQ(test_down(r)->kind, OTP_REASON_NORMAL);
    expect_one(r);                                          /* after DOWN */
    expect_one(r);
    CHECK(otp_unalias(alias_of(r)));
    CHECK(!otp_unalias(alias_of(r)));
    expect_none(r);
    CHECK(otp_unalias(alias_of(s)));
    expect_none(s);
}

TEST(rule_90_unalias_leaves_the_monitor)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_ref r = monitor_with(p, OTP_ALIAS_EXPLICIT), s = monitor_with(p, OTP_ALIAS_DEMONITOR);
    CHECK(otp_unalias(alias_of(r)));
    CHECK(otp_unalias(alias_of(s)));
    expect_none(r);
    expect_none(s);
    finish(p, first);
    CHECK_EQ(test_down(r)->kind, OTP_REASON_NORMAL);
    CHECK_EQ(test_down(s)->kind, OTP_REASON_NORMAL);
    test_quiet();
}

TEST(rule_90_a_plain_monitor_is_no_alias)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_ref r = otp_monitor(p), s = monitor_with(p, OTP_ALIAS_NONE);
    expect_none(r);
    expect_none(s);
    CHECK(!otp_unalias(alias_of(r)));
    CHECK(otp_demonitor(r, OTP_INFO));
    CHECK(otp_demonitor(s, OTP_INFO));
    finish(p, first);
    test_quiet();
}

TEST(rule_40_90_a_monitor_on_itself_is_no_alias)
{
    static const otp_alias_mode modes[] = { OTP_ALIAS_EXPLICIT, OTP_ALIAS_DEMONITOR, OTP_ALIAS_REPLY };
    for (int i = 0; i < 3; i++) {
        otp_monitor_opts o = { .alias = modes[i] };
        otp_ref ref = otp_monitor_opt(otp_self(), &o);
        CHECK(ref.id != 0);
        CHECK_EQ(otp_send_alias(alias_of(ref), A, &i, sizeof i), 0);
        test_quiet();
        CHECK(!otp_unalias(alias_of(ref)));
        CHECK(!otp_demonitor(ref, OTP_INFO));
    }
}

TEST(rule_90_on_a_dead_process)
{
    otp_ref first;
    otp_pid p = otp_spawn_monitor(nothing, NULL, &first);
    (void)test_down(first);
    otp_ref r = monitor_with(p, OTP_ALIAS_DEMONITOR), s = monitor_with(p, OTP_ALIAS_EXPLICIT);
    CHECK_EQ(test_down(r)->kind, OTP_REASON_NOPROC);
    CHECK_EQ(test_down(s)->kind, OTP_REASON_NOPROC);
    expect_none(r);
    expect_one(s);
    CHECK(otp_unalias(alias_of(s)));
}

TEST(rule_90_the_tag_of_a_down_can_be_chosen)
{
    otp_ref first;
    otp_pid p = test_start(test_idle_ready, NULL, &first);
    otp_monitor_opts o = { .tag = 77, .alias = OTP_ALIAS_REPLY };
    otp_ref r = otp_monitor_opt(p, &o);
    finish(p, first);
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL && m->tag == 77 && m->ref.id == r.id);
    expect_none(r);
}

/* -- rule 91: nothing of an ended call ever arrives ------------------------------------------------------------ */

static void answers_late(void *arg)
{
    /* Collects requests, answers all of them when told, twice each, and ends. */
    (void)arg;
    otp_from who[20];
    int n = 0;
    for (;;) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        if (m == NULL) return;
        if (m->tag == GO) break;
        if (n < 20) who[n++] = otp_from_of(m);
    }
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < n; i++) CHECK_EQ(OTP_REPLY(who[i], i), 0);
}

TEST(rule_91_nothing_follows_a_call_that_timed_out)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(answers_late, NULL, &ref);
    int reply;
    for (int i = 0; i < 10; i++) CHECK_EQ(otp_try_call(p, A, NULL, 0, &reply, sizeof reply, i % 3), OTP_ETIMEOUT);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    test_quiet();
}

TEST(rule_91_reply_and_timeout_at_the_same_time)
{
    /* The answer comes about when the time is over: one or the other, and nothing is left. */
    for (int i = 0; i < 10; i++) {
        otp_ref ref;
        otp_pid p = otp_spawn_monitor(answers_late, NULL, &ref);
        CHECK(otp_send_after(2, p, GO, NULL, 0).id != 0);
        int reply = -1;
        int64_t r = otp_try_call(p, A, NULL, 0, &reply, sizeof reply, 2);
        /* On a busy machine the server may have been told to end before it got the request. */
        CHECK(r == OTP_ETIMEOUT || r == OTP_EDIED || r == OTP_ENOPROC || (r == (int64_t)sizeof reply && reply == 0));
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
        test_quiet();
    }
}

/* -- rule 92 ------------------------------------------------------------------------------------------------------ */

static void makes_alias(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    CHECK_EQ(OTP_SEND(to, ALIAS, a), 0);
    CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL);
}

TEST(rule_92_an_alias_dies_with_its_creator)
{
    otp_pid self = otp_self();
    otp_pid p = start(makes_alias, &self, sizeof self);
    otp_ref ref = otp_monitor(p);
    const otp_msg *m = otp_recv_tag(ALIAS, TEST_WAIT);
    CHECK(m != NULL);
    otp_alias a = *OTP_PAYLOAD(m, otp_alias);
    CHECK(otp_same(a.pid, p));
    CHECK(!otp_unalias(a));                                 /* only its owner can switch it off */
    CHECK_EQ(otp_send_alias(a, GO, NULL, 0), 0);            /* it worked */
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    otp_pid next[8];
    otp_ref refs[8];
    for (int i = 0; i < 8; i++) next[i] = test_start(test_idle_ready, NULL, &refs[i]);      /* one gets its slot */
    int r = otp_send_alias(a, TEST_STOP, NULL, 0);
    CHECK(r == 0 || r == OTP_ENOPROC);
    for (int i = 0; i < 8; i++) {
        otp_info info;
        CHECK_EQ(otp_process_info(next[i], &info), 0);
        CHECK_EQ(info.message_queue_len, 0);
        CHECK_EQ(otp_send(next[i], TEST_STOP, NULL, 0), 0);
        (void)test_down(refs[i]);
    }
}

TEST(rule_92_only_the_owner_is_reached)
{
    /* The reference with another pid is not an alias of that process. */
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    CHECK_EQ(otp_send_alias((otp_alias){ p, a.ref }, TEST_STOP, NULL, 0), 0);
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(info.message_queue_len, 0);
    CHECK(otp_unalias(a));
    finish(p, ref);
    int r = otp_send_alias((otp_alias){ { 0 }, { 0 } }, A, NULL, 0);
    CHECK(r == 0 || r == OTP_ENOPROC);
    CHECK(!otp_unalias((otp_alias){ otp_self(), { 0 } }));
    CHECK_EQ(otp_send_alias(a, OTP_EXIT, NULL, 0), OTP_EBADARG);
}
