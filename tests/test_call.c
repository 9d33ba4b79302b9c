/* The call protocol: replies, timeouts, deaths, many requests at once. */
#include "test.h"

#include <time.h>

enum { ECHO = 1, SILENT, DIE, LARGE, SMALL, EMPTY, FAIL, TWICE, FORWARD, SLOW, ORDER, BYE, JUNK };

static int64_t real_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) abort();
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int number(const otp_msg *m) { return *OTP_PAYLOAD(m, int); }

struct forwarded { otp_from from; int n; };

static void answers_for_another(void *arg)
{
    struct forwarded f = *(struct forwarded *)arg;
    CHECK_EQ(OTP_REPLY(f.from, f.n), 0);
}

static otp_pid start(otp_fn *fn, void *arg, size_t size)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = fn, .arg = arg, .arg_size = size };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

static void server(void *arg)
{
    (void)arg;
    const otp_msg *m;
    char large[1000] = { 0 };
    while ((m = otp_recv(OTP_INFINITY)) != NULL) {
        otp_from from = otp_from_of(m);
        switch (m->tag) {
        case ECHO: CHECK(m->ref.id != 0); CHECK_EQ(otp_reply(from, m->data, m->size), 0); break;
        case SILENT: break;
        case DIE: otp_exit(OTP_USER(9, "asked to"));
        case LARGE: CHECK_EQ(otp_reply(from, large, sizeof large), 0); break;
        case SMALL: CHECK_EQ(otp_reply(from, "s", 1), 0); break;
        case EMPTY: CHECK_EQ(otp_reply(from, NULL, 0), 0); break;
        case FAIL: CHECK_EQ(otp_reply_error(from, number(m)), 0); break;
        case TWICE:
            CHECK_EQ(OTP_REPLY(from, 1), 0);
            CHECK_EQ(OTP_REPLY(from, 2), 0);
            CHECK_EQ(otp_reply_error(from, -3), 0);
            break;
        case FORWARD: {
            struct forwarded f = { from, number(m) };
            CHECK(start(answers_for_another, &f, sizeof f).id != 0);
            break;
        }
        case SLOW: {
            int ms = number(m);
            otp_sleep(ms);
            CHECK_EQ(OTP_REPLY(from, ms), 0);
            break;
        }
        case ORDER:
            CHECK_EQ(OTP_SEND(from.pid, JUNK, 1), 0);
            CHECK_EQ(OTP_REPLY(from, 2), 0);
            CHECK_EQ(OTP_SEND(from.pid, JUNK, 3), 0);
            break;
        case BYE: return;
        default: CHECK_EQ(otp_reply_error(from, OTP_EBADCALL), 0); break;
        }
    }
}

static void bye(otp_pid p, otp_ref ref)
{
    CHECK_EQ(otp_send(p, BYE, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    test_quiet();
}

/* A process that does one thing, and how it ended. */
static otp_reason ending(otp_fn *fn, otp_pid p)
{
    otp_ref ref;
    otp_pid q;
    otp_spawn_opts o = { .fn = fn, .arg = &p, .arg_size = sizeof p, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &q), 0);
    return *test_down(ref);
}

/* -- answers ------------------------------------------------------------------------------------------------ */

TEST(a_reply)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 50; i++) {
        int reply = 0;
        CHECK_EQ(otp_call(p, ECHO, &i, sizeof i, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, i);
        CHECK_EQ(otp_try_call(p, ECHO, &i, sizeof i, &reply, sizeof reply, OTP_INFINITY), sizeof reply);
        CHECK_EQ(reply, i);
    }
    bye(p, ref);
}

TEST(replies_of_all_sizes)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    uint8_t data[5000], reply[5001];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
    for (size_t size = 0; size <= sizeof data; size = size < 70 ? size + 1 : size * 3 / 2 + 1) {
        memset(reply, 0xaa, sizeof reply);
        CHECK_EQ(otp_call(p, ECHO, data, size, reply, size, TEST_WAIT), size);
        CHECK(memcmp(data, reply, size) == 0);
        CHECK_EQ(reply[size], 0xaa);
    }
    bye(p, ref);
}

TEST(a_reply_that_is_shorter_leaves_the_rest)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    char reply[8] = "1234567";
    CHECK_EQ(otp_call(p, SMALL, NULL, 0, reply, sizeof reply, TEST_WAIT), 1);
    CHECK_STR(reply, "s234567");
    CHECK_EQ(otp_call(p, EMPTY, NULL, 0, reply, sizeof reply, TEST_WAIT), 0);
    CHECK_STR(reply, "s234567");
    CHECK_EQ(otp_call(p, EMPTY, NULL, 0, NULL, 0, TEST_WAIT), 0);
    bye(p, ref);
}

TEST(a_reply_that_is_too_large)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    char reply[1000];
    memset(reply, 0xaa, sizeof reply);
    CHECK_EQ(otp_try_call(p, LARGE, NULL, 0, reply, 999, TEST_WAIT), OTP_ESIZE);
    CHECK_EQ((unsigned char)reply[999], 0xaa);
    CHECK_EQ(otp_try_call(p, LARGE, NULL, 0, NULL, 0, TEST_WAIT), OTP_ESIZE);
    CHECK_EQ(otp_try_call(p, LARGE, NULL, 0, reply, 1000, TEST_WAIT), 1000);
    bye(p, ref);
}

static void call_for_large(void *arg)
{
    char c;
    (void)otp_call(*(otp_pid *)arg, LARGE, NULL, 0, &c, 1, TEST_WAIT);
    CHECK_STR("otp_call returned", "it must not");
}

TEST(call_exits_when_the_reply_is_too_large)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    otp_reason why = ending(call_for_large, p);
    CHECK_EQ(why.kind, OTP_REASON_CALL);
    CHECK_EQ(why.code, OTP_ESIZE);
    bye(p, ref);
}

static void call_for_error(void *arg)
{
    (void)otp_call(*(otp_pid *)arg, FAIL, &(int){ -42 }, sizeof(int), NULL, 0, TEST_WAIT);
    CHECK_STR("otp_call returned", "it must not");
}

TEST(an_error_as_the_reply)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    int reply = 5;
    CHECK_EQ(otp_try_call(p, FAIL, &(int){ -42 }, sizeof(int), &reply, sizeof reply, TEST_WAIT), -42);
    CHECK_EQ(otp_try_call(p, FAIL, &(int){ OTP_EBADCALL }, sizeof(int), NULL, 0, TEST_WAIT), OTP_EBADCALL);
    CHECK_EQ(otp_try_call(p, 999, NULL, 0, NULL, 0, TEST_WAIT), OTP_EBADCALL);
    CHECK_EQ(reply, 5);
    otp_reason why = ending(call_for_error, p);
    CHECK_EQ(why.kind, OTP_REASON_CALL);
    CHECK_EQ(why.code, -42);
    CHECK_EQ(otp_reply_error((otp_from){ otp_self(), { 0 } }, 0), OTP_EBADARG);
    CHECK_EQ(otp_reply_error((otp_from){ otp_self(), { 0 } }, 7), OTP_EBADARG);
    bye(p, ref);
}

TEST(only_the_first_answer_counts)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 5; i++) {
        int reply = 0;
        CHECK_EQ(otp_call(p, TWICE, NULL, 0, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, 1);
    }
    bye(p, ref);
}

TEST(the_answer_of_another_process)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 10; i++) {
        int reply = 0;
        CHECK_EQ(otp_call(p, FORWARD, &i, sizeof i, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, i);
    }
    bye(p, ref);
}

TEST(an_ordinary_message_is_no_request)
{
    CHECK_EQ(OTP_SEND(otp_self(), ECHO, 1), 0);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL);
    otp_from from = otp_from_of(m);
    CHECK_EQ(from.ref.id, 0);
    CHECK(otp_same(from.pid, otp_self()));
    (void)OTP_REPLY(from, 1);                               /* nobody waits: nothing happens */
    test_quiet();
}

TEST(replies_to_invented_addresses_reach_nobody)
{
    CHECK_EQ(OTP_REPLY(((otp_from){ otp_self(), otp_make_ref() }), 1), 0);
    otp_alias a = otp_alias_new(OTP_ALIAS_EXPLICIT);
    CHECK(otp_unalias(a));
    CHECK_EQ(OTP_REPLY(((otp_from){ otp_self(), a.ref }), 1), 0);
    (void)OTP_REPLY(((otp_from){ { 0 }, { 0 } }), 1);
    (void)OTP_REPLY(((otp_from){ { 12345 }, { 678 } }), 1);
    test_quiet();
}

TEST(a_reply_as_a_message)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    int error = 1;
    const otp_msg *m = otp_call_msg(p, ECHO, "hello", 6, TEST_WAIT, &error);
    CHECK(m != NULL && m->size == 6);
    CHECK_STR(m->data, "hello");
    m = otp_call_msg(p, LARGE, NULL, 0, TEST_WAIT, NULL);
    CHECK(m != NULL && m->size == 1000);
    CHECK(otp_call_msg(p, FAIL, &(int){ -77 }, sizeof(int), TEST_WAIT, &error) == NULL);
    CHECK_EQ(error, -77);
    CHECK(otp_call_msg(p, SILENT, NULL, 0, 3, &error) == NULL);
    CHECK_EQ(error, OTP_ETIMEOUT);
    CHECK(otp_call_msg(p, SILENT, NULL, 0, 3, NULL) == NULL);
    CHECK(otp_call_msg(otp_self(), ECHO, NULL, 0, 3, &error) == NULL);
    CHECK_EQ(error, OTP_ESELF);
    bye(p, ref);
}

TEST(messages_and_the_reply_keep_their_order)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 10; i++) {
        int reply = 0;
        CHECK_EQ(otp_call(p, ORDER, NULL, 0, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, 2);
        const otp_msg *m = otp_recv(0);                     /* what was sent before the reply is there */
        CHECK(m != NULL && m->tag == JUNK && number(m) == 1);
        m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && number(m) == 3);
    }
    bye(p, ref);
}

/* -- no answer ----------------------------------------------------------------------------------------------- */

static void call_silent(void *arg)
{
    (void)otp_call(*(otp_pid *)arg, SILENT, NULL, 0, NULL, 0, 2);
    CHECK_STR("otp_call returned", "it must not");
}

TEST(a_timeout)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    int64_t begin = otp_now();
    CHECK_EQ(otp_try_call(p, SILENT, NULL, 0, NULL, 0, 15), OTP_ETIMEOUT);
    CHECK(otp_now() - begin >= 15);
    CHECK(!test_opt_deterministic || otp_now() == begin + 15);
    CHECK_EQ(otp_try_call(p, SILENT, NULL, 0, NULL, 0, 0), OTP_ETIMEOUT);
    otp_reason why = ending(call_silent, p);
    CHECK_EQ(why.kind, OTP_REASON_CALL);
    CHECK_EQ(why.code, OTP_ETIMEOUT);
    CHECK(why.text != NULL);
    bye(p, ref);
}

TEST(a_late_reply_never_shows_up)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 5; i++) {
        int reply = -1;
        CHECK_EQ(otp_try_call(p, SLOW, &(int){ 10 }, sizeof(int), &reply, sizeof reply, 2), OTP_ETIMEOUT);
        CHECK_EQ(reply, -1);
        /* The next call to the same server gets its own answer, not the late one. */
        CHECK_EQ(otp_try_call(p, ECHO, &i, sizeof i, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, i);
    }
    bye(p, ref);
}

TEST(a_late_reply_does_not_end_the_next_call)
{
    otp_ref ref[2];
    otp_pid p = otp_spawn_monitor(server, NULL, &ref[0]), q = otp_spawn_monitor(server, NULL, &ref[1]);
    for (int i = 0; i < 5; i++) {
        int reply = -1;
        CHECK_EQ(otp_try_call(p, SLOW, &(int){ 6 }, sizeof(int), &reply, sizeof reply, 2), OTP_ETIMEOUT);
        CHECK_EQ(otp_try_call(q, SLOW, &(int){ 9 }, sizeof(int), &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, 9);
    }
    CHECK_EQ(otp_send(p, BYE, NULL, 0), 0);
    CHECK_EQ(test_down(ref[0])->kind, OTP_REASON_NORMAL);
    bye(q, ref[1]);
}

static void call_echo(void *arg)
{
    (void)otp_call(*(otp_pid *)arg, ECHO, NULL, 0, NULL, 0, TEST_WAIT);
    CHECK_STR("otp_call returned", "it must not");
}

TEST(a_dead_server)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    bye(p, ref);
    CHECK_EQ(otp_try_call(p, ECHO, NULL, 0, NULL, 0, TEST_WAIT), OTP_ENOPROC);
    CHECK_EQ(otp_try_call(p, ECHO, NULL, 0, NULL, 0, OTP_INFINITY), OTP_ENOPROC);
    CHECK_EQ(otp_try_call((otp_pid){ 0 }, ECHO, NULL, 0, NULL, 0, TEST_WAIT), OTP_ENOPROC);
    otp_reason why = ending(call_echo, p);
    CHECK_EQ(why.kind, OTP_REASON_CALL);
    CHECK_EQ(why.code, OTP_ENOPROC);
    test_quiet();
}

static void call_to_die(void *arg)
{
    (void)otp_call(*(otp_pid *)arg, DIE, NULL, 0, NULL, 0, TEST_WAIT);
    CHECK_STR("otp_call returned", "it must not");
}

TEST(the_server_dies_during_the_call)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    CHECK_EQ(otp_try_call(p, DIE, NULL, 0, NULL, 0, OTP_INFINITY), OTP_EDIED);
    const otp_reason *r = test_down(ref);
    CHECK(r->kind == OTP_REASON_USER && r->code == 9);
    test_quiet();
    p = otp_spawn_monitor(server, NULL, &ref);
    otp_reason why = ending(call_to_die, p);
    CHECK_EQ(why.kind, OTP_REASON_CALL);
    CHECK_EQ(why.code, OTP_EDIED);
    (void)test_down(ref);
    test_quiet();
}

static void kills(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    otp_sleep(3);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
}

TEST(the_server_is_killed_during_the_call)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    CHECK(start(kills, &p, sizeof p).id != 0);
    CHECK_EQ(otp_try_call(p, SILENT, NULL, 0, NULL, 0, OTP_INFINITY), OTP_EDIED);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    test_quiet();
}

static void call_slow(void *arg)
{
    (void)otp_try_call(*(otp_pid *)arg, SLOW, &(int){ 20 }, sizeof(int), NULL, 0, OTP_INFINITY);
    CHECK_STR("otp_try_call returned", "it must not");
}

TEST(the_caller_is_killed_during_the_call)
{
    otp_ref ref[2];
    otp_pid p = otp_spawn_monitor(server, NULL, &ref[0]), q;
    otp_spawn_opts o = { .fn = call_slow, .arg = &p, .arg_size = sizeof p, .monitor = &ref[1] };
    CHECK_EQ(otp_spawn_opt(&o, &q), 0);
    test_until_waiting(q, OTP_WAITS_CALL);
    CHECK_EQ(otp_exit_signal(q, OTP_KILL), 0);
    CHECK_EQ(test_down(ref[1])->kind, OTP_REASON_KILLED);
    bye(p, ref[0]);                                         /* the reply to the dead one is no error */
}

static void call_self(void *arg)
{
    (void)arg;
    (void)otp_call(otp_self(), ECHO, NULL, 0, NULL, 0, TEST_WAIT);
    CHECK_STR("otp_call returned", "it must not");
}

TEST(a_call_to_oneself)
{
    CHECK_EQ(otp_try_call(otp_self(), ECHO, NULL, 0, NULL, 0, OTP_INFINITY), OTP_ESELF);
    otp_reason why = ending(call_self, otp_self());
    CHECK_EQ(why.kind, OTP_REASON_CALL);
    CHECK_EQ(why.code, OTP_ESELF);
    test_quiet();
}

TEST(bad_arguments)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    CHECK_EQ(otp_try_call(p, OTP_EXIT, NULL, 0, NULL, 0, TEST_WAIT), OTP_EBADARG);
    CHECK_EQ(otp_try_call(p, -1, NULL, 0, NULL, 0, TEST_WAIT), OTP_EBADARG);
    CHECK_EQ(otp_try_call(p, ECHO, NULL, 0, NULL, 0, -2), OTP_EBADARG);
    CHECK_EQ(otp_try_call(p, ECHO, NULL, 0, NULL, 0, INT64_MIN), OTP_EBADARG);
    CHECK_EQ(otp_try_call(p, EMPTY, NULL, 0, NULL, 0, INT64_MAX), 0);
    bye(p, ref);
}

/* -- the mailbox during calls ------------------------------------------------------------------------------------ */

TEST(calls_leave_the_mailbox_as_it_is)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(OTP_SEND(otp_self(), JUNK, i), 0);
        int reply = -1;
        CHECK_EQ(otp_call(p, ECHO, &i, sizeof i, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, i);
    }
    for (int i = 0; i < 100; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && m->tag == JUNK && number(m) == i);
    }
    bye(p, ref);
}

static int64_t time_of_calls(otp_pid p, int rounds)
{
    int64_t begin = real_ns();
    for (int i = 0; i < rounds; i++) {
        int reply = -1;
        CHECK_EQ(otp_call(p, ECHO, &i, sizeof i, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, i);
    }
    return real_ns() - begin;
}

TEST_REAL(ten_thousand_waiting_messages_do_not_slow_a_call)
{
    enum { ROUNDS = 5000 };
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    int64_t empty = time_of_calls(p, ROUNDS);
    for (int i = 0; i < 10000; i++) CHECK_EQ(OTP_SEND(otp_self(), JUNK, i), 0);
    int64_t full = time_of_calls(p, ROUNDS);
    /* Were each call to look through 10,000 messages it would take 10 us more: 50 ms. */
    CHECK(full < empty * 5 + 25000000);
    for (int i = 0; i < 10000; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && number(m) == i);
    }
    bye(p, ref);
}

TEST(messages_pile_up_during_a_call_without_ending_it)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 10; i++) CHECK(otp_send_after(i, otp_self(), JUNK, &i, sizeof i).id != 0);
    int reply = 0;
    CHECK_EQ(otp_call(p, SLOW, &(int){ 20 }, sizeof(int), &reply, sizeof reply, TEST_WAIT), sizeof reply);
    CHECK_EQ(reply, 20);
    for (int i = 0; i < 10; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL && number(m) == i);
    }
    bye(p, ref);
}

static void dies_soon(void *arg)
{
    (void)arg;
    otp_sleep(3);
    otp_exit(OTP_USER(4, "soon"));
}

TEST(exits_and_downs_of_others_wait_during_a_call)
{
    otp_ref ref, other;
    otp_trap_exit(true);
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    otp_pid q = otp_spawn_monitor(dies_soon, NULL, &other);
    CHECK_EQ(otp_link(q), 0);
    int reply = 0;
    CHECK_EQ(otp_call(p, SLOW, &(int){ 20 }, sizeof(int), &reply, sizeof reply, TEST_WAIT), sizeof reply);
    CHECK_EQ(test_exit_from(q)->code, 4);
    CHECK_EQ(test_down(other)->code, 4);
    bye(p, ref);
}

static void linked_caller(void *arg)
{
    CHECK(otp_spawn_link(dies_soon, NULL).id != 0);
    (void)otp_try_call(*(otp_pid *)arg, SILENT, NULL, 0, NULL, 0, OTP_INFINITY);
    CHECK_STR("otp_try_call returned", "it must not");
}

TEST(rule_26_a_fatal_signal_ends_a_call)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    otp_reason why = ending(linked_caller, p);
    CHECK_EQ(why.kind, OTP_REASON_USER);
    CHECK_EQ(why.code, 4);
    bye(p, ref);
}

/* -- chains and crowds ---------------------------------------------------------------------------------------------- */

static void link_of_chain(void *arg)
{
    otp_pid next = *(otp_pid *)arg;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL) {
        if (m->tag == BYE) return;
        otp_from from = otp_from_of(m);
        int n = number(m) + 1, reply = 0;
        if (next.id != 0) {
            CHECK_EQ(otp_call(next, ECHO, &n, sizeof n, &reply, sizeof reply, TEST_WAIT), sizeof reply);
            n = reply;
        }
        CHECK_EQ(OTP_REPLY(from, n), 0);
    }
}

TEST(a_chain_of_calls)
{
    enum { N = 12 };
    otp_pid p[N + 1];
    otp_ref ref[N];
    p[N] = (otp_pid){ 0 };
    for (int i = N - 1; i >= 0; i--) {
        otp_spawn_opts o = { .fn = link_of_chain, .arg = &p[i + 1], .arg_size = sizeof p[0], .monitor = &ref[i] };
        CHECK_EQ(otp_spawn_opt(&o, &p[i]), 0);
    }
    for (int k = 0; k < 3; k++) {
        int reply = 0;
        CHECK_EQ(otp_call(p[0], ECHO, &k, sizeof k, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, k + N);
    }
    for (int i = 0; i < N; i++) bye(p[i], ref[i]);
}

static void mutual(void *arg)
{
    /* Two of these call each other at the same time: both time out, or one dies of it first. */
    (void)arg;
    const otp_msg *m = otp_recv_tag(JUNK, OTP_INFINITY);
    if (m == NULL) return;
    otp_pid other = *OTP_PAYLOAD(m, otp_pid);
    int64_t r = otp_try_call(other, ECHO, NULL, 0, NULL, 0, 10);
    CHECK(r == OTP_ETIMEOUT || r == OTP_EDIED || r == OTP_ENOPROC);
}

TEST(two_processes_that_call_each_other)
{
    otp_ref ref[2];
    otp_pid p[2];
    for (int i = 0; i < 2; i++) p[i] = otp_spawn_monitor(mutual, NULL, &ref[i]);
    for (int i = 0; i < 2; i++) CHECK_EQ(OTP_SEND(p[i], JUNK, p[1 - i]), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
}

static void many_calls(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    int rounds = test_many(200, 20);
    for (int i = 0; i < rounds; i++) {
        int reply = -1;
        CHECK_EQ(otp_call(p, i % 5 == 0 ? FORWARD : ECHO, &i, sizeof i, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        CHECK_EQ(reply, i);
    }
}

TEST(many_callers_of_one_server)
{
    enum { N = 20 };
    otp_ref ref, refs[N];
    otp_pid p = otp_spawn_monitor(server, NULL, &ref), q;
    for (int i = 0; i < N; i++) {
        otp_spawn_opts o = { .fn = many_calls, .arg = &p, .arg_size = sizeof p, .monitor = &refs[i] };
        CHECK_EQ(otp_spawn_opt(&o, &q), 0);
    }
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(refs[i])->kind, OTP_REASON_NORMAL);
    bye(p, ref);
}

/* -- requests --------------------------------------------------------------------------------------------------------- */

TEST(a_request_and_its_answer)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    otp_ref r = otp_send_request(p, ECHO, "abc", 4);
    CHECK(r.id != 0);
    const otp_msg *m = otp_recv_ref(r, TEST_WAIT);
    CHECK(m != NULL && m->tag == OTP_REPLY_TAG && m->ref.id == r.id && m->size == 4);
    CHECK_STR(m->data, "abc");
    CHECK_EQ(otp_reply_code(m), 0);
    r = otp_send_request(p, FAIL, &(int){ -55 }, sizeof(int));
    m = otp_recv_ref(r, TEST_WAIT);
    CHECK(m != NULL && m->tag == OTP_REPLY_TAG);
    CHECK_EQ(otp_reply_code(m), -55);
    r = otp_send_request(p, TWICE, NULL, 0);
    m = otp_recv_ref(r, TEST_WAIT);
    CHECK(m != NULL && number(m) == 1);
    bye(p, ref);
}

TEST(a_request_to_the_dead_and_to_the_dying)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    otp_ref r = otp_send_request(p, DIE, NULL, 0);
    const otp_msg *m = otp_recv_ref(r, TEST_WAIT);
    CHECK(m != NULL && m->tag == OTP_DOWN && m->ref.id == r.id);
    CHECK_EQ(otp_reply_code(m), OTP_EDIED);
    CHECK_EQ(otp_reason_of(m)->code, 9);
    (void)test_down(ref);
    r = otp_send_request(p, ECHO, NULL, 0);
    CHECK(r.id != 0);
    m = otp_recv_ref(r, TEST_WAIT);
    CHECK(m != NULL && m->tag == OTP_DOWN);
    CHECK_EQ(otp_reply_code(m), OTP_ENOPROC);
    test_quiet();
}

TEST(an_answered_request_leaves_no_down)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    otp_ref r = otp_send_request(p, ECHO, NULL, 0);
    CHECK(otp_recv_ref(r, TEST_WAIT) != NULL);
    bye(p, ref);
}

TEST(waiting_for_any_of_many)
{
    enum { N = 40 };
    otp_ref ref[4], r[N];
    otp_pid p[4];
    int pending = N, sum = 0;
    for (int i = 0; i < 4; i++) p[i] = otp_spawn_monitor(server, NULL, &ref[i]);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(OTP_SEND(otp_self(), JUNK, i), 0);
        r[i] = otp_send_request(p[i % 4], i % 3 == 0 ? FORWARD : ECHO, &i, sizeof i);
        CHECK(r[i].id != 0);
    }
    while (pending > 0) {
        size_t which = N;
        const otp_msg *m = otp_wait_any(r, N, TEST_WAIT, &which);
        CHECK(m != NULL && m->tag == OTP_REPLY_TAG && which < N && r[which].id == m->ref.id);
        CHECK_EQ(number(m), which);
        sum += number(m);
        r[which].id = 0;
        pending--;
    }
    CHECK_EQ(sum, N * (N - 1) / 2);
    size_t which = 99;
    CHECK(otp_wait_any(r, N, OTP_INFINITY, &which) == NULL);        /* all are zero: not a wait for ever */
    CHECK(otp_wait_any(NULL, 0, OTP_INFINITY, &which) == NULL);
    for (int i = 0; i < N; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && m->tag == JUNK && number(m) == i);
    }
    for (int i = 0; i < 4; i++) bye(p[i], ref[i]);
}

TEST(waiting_for_any_with_deaths_and_timeouts)
{
    otp_ref ref[3], r[3];
    otp_pid p[3];
    size_t which = 99;
    for (int i = 0; i < 3; i++) p[i] = otp_spawn_monitor(server, NULL, &ref[i]);
    r[0] = otp_send_request(p[0], SILENT, NULL, 0);
    CHECK(otp_wait_any(r, 1, 3, &which) == NULL);
    CHECK(otp_wait_any(r, 1, 0, &which) == NULL);
    r[1] = otp_send_request(p[1], DIE, NULL, 0);
    r[2] = (otp_ref){ 0 };
    const otp_msg *m = otp_wait_any(r, 3, TEST_WAIT, &which);
    CHECK(m != NULL && m->tag == OTP_DOWN);
    CHECK_EQ(which, 1);
    CHECK_EQ(otp_reply_code(m), OTP_EDIED);
    r[1] = (otp_ref){ 0 };
    r[2] = otp_send_request(p[2], ECHO, "x", 2);
    m = otp_wait_any(r, 3, TEST_WAIT, &which);
    CHECK(m != NULL && m->tag == OTP_REPLY_TAG);
    CHECK_EQ(which, 2);
    CHECK_EQ(otp_exit_signal(p[0], OTP_KILL), 0);
    m = otp_wait_any(r, 1, TEST_WAIT, &which);
    CHECK(m != NULL && m->tag == OTP_DOWN && which == 0);
    CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_KILLED);
    (void)test_down(ref[0]);
    (void)test_down(ref[1]);
    bye(p[2], ref[2]);
}

TEST(a_cancelled_request_is_forgotten)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 5; i++) {
        otp_ref r = otp_send_request(p, SLOW, &(int){ 2 }, sizeof(int));
        CHECK_EQ(otp_cancel_request(r), 0);
        CHECK_EQ(otp_cancel_request(r), OTP_ENOENT);
    }
    otp_ref r = otp_send_request(p, ECHO, NULL, 0);
    otp_sleep(30);                                          /* its answer is in the mailbox */
    (void)otp_cancel_request(r);
    test_quiet();
    CHECK_EQ(otp_cancel_request(otp_make_ref()), OTP_ENOENT);
    CHECK_EQ(otp_cancel_request((otp_ref){ 0 }), OTP_ENOENT);
    r = otp_send_request(p, SILENT, NULL, 0);
    CHECK_EQ(otp_cancel_request(r), 0);
    bye(p, ref);                                            /* no DOWN either */
}

TEST(a_request_answered_and_taken_is_unknown)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    otp_ref r = otp_send_request(p, ECHO, NULL, 0);
    CHECK(otp_recv_ref(r, TEST_WAIT) != NULL);
    CHECK_EQ(otp_cancel_request(r), OTP_ENOENT);
    bye(p, ref);
}

TEST(requests_to_oneself)
{
    otp_ref r = otp_send_request(otp_self(), ECHO, "me", 3);
    CHECK(r.id != 0);
    const otp_msg *m = otp_recv_tag(ECHO, TEST_WAIT);
    CHECK(m != NULL && m->ref.id != 0);
    CHECK_EQ(otp_reply(otp_from_of(m), m->data, m->size), 0);
    m = otp_recv_ref(r, TEST_WAIT);
    CHECK(m != NULL && m->tag == OTP_REPLY_TAG && m->size == 3);
    test_quiet();
}

TEST(a_thousand_requests_at_once)
{
    int n = test_many(1000, 100);
    otp_ref ref, *r = otp_calloc((size_t)n, sizeof *r);
    CHECK(r != NULL);
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < n; i++) r[i] = otp_send_request(p, ECHO, &i, sizeof i);
    for (int i = n - 1; i >= 0; i--) {                      /* taken in the opposite order */
        const otp_msg *m = otp_recv_ref(r[i], TEST_WAIT);
        CHECK(m != NULL && number(m) == i);
    }
    bye(p, ref);
}

/* -- foreign threads ---------------------------------------------------------------------------------------------------- */

struct guest { otp_pid p; pthread_t thread; int failures; };

static void *guest_calls(void *arg)
{
    struct guest *g = arg;
    for (int i = 0; i < 200; i++) {
        int reply = -1;
        if (otp_try_call(g->p, ECHO, &i, sizeof i, &reply, sizeof reply, TEST_WAIT) != (int64_t)sizeof reply || reply != i)
            g->failures++;
    }
    if (otp_try_call(g->p, SILENT, NULL, 0, NULL, 0, 5) != OTP_ETIMEOUT) g->failures++;
    if (otp_try_call(g->p, FAIL, &(int){ -8 }, sizeof(int), NULL, 0, TEST_WAIT) != -8) g->failures++;
    otp_ref r = otp_send_request(g->p, ECHO, "g", 2);
    const otp_msg *m = otp_recv_ref(r, TEST_WAIT);
    if (m == NULL || m->tag != OTP_REPLY_TAG || m->size != 2) g->failures++;
    if (otp_recv(0) != NULL) g->failures++;
    return NULL;
}

TEST_REAL(calls_from_foreign_threads)
{
    otp_ref ref;
    struct guest g[4];
    otp_pid p = otp_spawn_monitor(server, NULL, &ref);
    for (int i = 0; i < 4; i++) {
        g[i] = (struct guest){ .p = p };
        CHECK_EQ(pthread_create(&g[i].thread, NULL, guest_calls, &g[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(g[i].thread, NULL), 0);
        CHECK_EQ(g[i].failures, 0);
    }
    bye(p, ref);
}

static otp_from to_answer;
static void *guest_answers(void *arg)
{
    (void)arg;
    if (OTP_REPLY(to_answer, 1234) != 0) abort();
    return NULL;
}

static void answered_by_thread(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv(OTP_INFINITY);
    if (m == NULL) return;
    to_answer = otp_from_of(m);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, guest_answers, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST_REAL(the_answer_of_a_foreign_thread)
{
    otp_pid p = otp_spawn(answered_by_thread, NULL);
    int reply = 0;
    CHECK_EQ(otp_call(p, ECHO, NULL, 0, &reply, sizeof reply, TEST_WAIT), sizeof reply);
    CHECK_EQ(reply, 1234);
}
