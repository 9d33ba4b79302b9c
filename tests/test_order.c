/* test_order.c: the order of signals: processes.md, rules 48 to 53. Rule 49 promises nothing; that nothing is lost is
   tested with it. The part of rule 51 on tables belongs to the tests of otp_ets.h. */
#include "test.h"

enum { NUMBER = 1, GO, DIE, DONE, COUNT, WHO };

struct job { otp_pid to; int id, n; };
struct numbered { int id, n; };

static void send_numbers(void *arg)
{
    const struct job *j = arg;
    for (int i = 0; i < j->n; i++) CHECK_EQ(OTP_SEND(j->to, NUMBER, ((struct numbered[1]){ { j->id, i } })[0]), 0);
}

/* Takes `total` numbers, which must be in order for each sender. */
static void take_numbers(int senders, int each)
{
    int next[16] = { 0 };
    for (int i = 0; i < senders * each; i++) {
        const otp_msg *m = otp_recv_tag(NUMBER, TEST_WAIT);
        CHECK(m != NULL);
        const struct numbered *x = OTP_PAYLOAD(m, struct numbered);
        CHECK_EQ(x->n, next[x->id]);
        next[x->id]++;
    }
}

TEST(rule_48_messages_of_one_sender_arrive_in_order)
{
    struct job j = { otp_self(), 0, test_many(50000, 300) };
    CHECK(otp_spawn(send_numbers, &j).id != 0);
    take_numbers(1, j.n);
    test_quiet();
}

TEST(rule_48_messages_of_several_senders)
{
    enum { SENDERS = 8 };
    struct job j[SENDERS];
    int n = test_many(10000, 100);
    for (int i = 0; i < SENDERS; i++) {
        j[i] = (struct job){ otp_self(), i, n };
        CHECK(otp_spawn(send_numbers, &j[i]).id != 0);
    }
    take_numbers(SENDERS, n);
    test_quiet();
}

/* Relays: the order holds over each hop. */
static void relay(void *arg)
{
    struct job *j = arg;
    const otp_msg *m;
    for (int i = 0; i < j->n; i++) {
        m = otp_recv_tag(NUMBER, TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(otp_send(j->to, NUMBER, m->data, m->size), 0);
    }
}

TEST(rule_48_order_holds_over_relays)
{
    enum { HOPS = 5 };
    struct job j[HOPS + 1];
    int n = test_many(5000, 50);
    otp_pid next = otp_self();
    for (int i = 0; i < HOPS; i++) {
        j[i] = (struct job){ next, 0, n };
        next = otp_spawn(relay, &j[i]);
    }
    j[HOPS] = (struct job){ next, 0, n };
    CHECK(otp_spawn(send_numbers, &j[HOPS]).id != 0);
    take_numbers(1, n);
    test_quiet();
}

static void *thread_sends(void *arg)
{
    send_numbers(arg);
    return NULL;
}

TEST_REAL(rule_48_messages_of_foreign_threads)
{
    enum { SENDERS = 4 };
    struct job j[SENDERS];
    pthread_t thread[SENDERS];
    int n = test_many(10000, 500);
    for (int i = 0; i < SENDERS; i++) {
        j[i] = (struct job){ otp_self(), i, n };
        CHECK_EQ(pthread_create(&thread[i], NULL, thread_sends, &j[i]), 0);
    }
    take_numbers(SENDERS, n);
    for (int i = 0; i < SENDERS; i++) CHECK_EQ(pthread_join(thread[i], NULL), 0);
}

static void send_and_signal(void *arg)
{
    const struct job *j = arg;
    for (int i = 0; i < j->n; i++) {
        if (i % 3 == 2) CHECK_EQ(otp_exit_signal(j->to, OTP_USER(i, NULL)), 0);
        else CHECK_EQ(OTP_SEND(j->to, NUMBER, i), 0);
    }
}

TEST(rule_48_messages_and_exit_signals_keep_their_order)
{
    CHECK(!otp_trap_exit(true));
    struct job j = { otp_self(), 0, test_many(10000, 100) };
    otp_pid p = otp_spawn(send_and_signal, &j);
    for (int i = 0; i < j.n; i++) {
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL);
        CHECK(otp_same(m->from, p));
        if (i % 3 == 2) {
            CHECK_EQ(m->tag, OTP_EXIT);
            CHECK_EQ(otp_reason_of(m)->code, i);
        } else {
            CHECK_EQ(m->tag, NUMBER);
            CHECK_EQ(*OTP_PAYLOAD(m, int), i);
        }
    }
    test_quiet();
}

static void die_on_demand(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(DIE, OTP_INFINITY);
    CHECK(m != NULL);
    otp_exit(OTP_USER(*OTP_PAYLOAD(m, int), NULL));
}

TEST(rule_48_monitor_then_message)
{
    for (int i = 0; i < test_many(3000, 30); i++) {
        otp_pid p = otp_spawn(die_on_demand, NULL);
        if (i % 2) otp_yield();
        otp_ref ref = otp_monitor(p);
        CHECK_EQ(OTP_SEND(p, DIE, i), 0);
        const otp_reason *r = test_down(ref);
        CHECK_EQ(r->kind, OTP_REASON_USER);         /* never noproc: the monitor came first */
        CHECK_EQ(r->code, i);
    }
    test_quiet();
}

TEST(rule_48_link_then_message)
{
    CHECK(!otp_trap_exit(true));
    for (int i = 0; i < test_many(3000, 30); i++) {
        otp_pid p = otp_spawn(die_on_demand, NULL);
        if (i % 2) otp_yield();
        CHECK_EQ(otp_link(p), 0);
        CHECK_EQ(OTP_SEND(p, DIE, i), 0);
        const otp_reason *r = test_exit_from(p);
        CHECK_EQ(r->kind, OTP_REASON_USER);
        CHECK_EQ(r->code, i);
    }
    test_quiet();
}

TEST(rule_48_unlink_or_demonitor_then_message)
{
    CHECK(!otp_trap_exit(true));
    for (int i = 0; i < test_many(2000, 30); i++) {
        otp_pid p = otp_spawn_link(die_on_demand, NULL);
        otp_ref ref = otp_monitor(p);
        if (i % 2) otp_yield();
        CHECK_EQ(otp_unlink(p), 0);
        CHECK(otp_demonitor(ref, OTP_INFO));
        CHECK_EQ(OTP_SEND(p, DIE, i), 0);
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
        CHECK(otp_recv(0) == NULL);
    }
    test_quiet();
}

/* One that links, unlinks, links … to the same process ends up as its last word says. */
static void link_back_and_forth(void *arg)
{
    const struct job *j = arg;
    for (int i = 0; i < j->n; i++) {
        CHECK_EQ(otp_link(j->to), 0);
        if (i % 5 == 0) otp_yield();
        CHECK_EQ(otp_unlink(j->to), 0);
    }
    if (j->id) CHECK_EQ(otp_link(j->to), 0);
    CHECK_EQ(OTP_SEND(j->to, DIE, (int)66), 0);
    CHECK_EQ(otp_await_exit(j->to, TEST_WAIT, NULL), 0);
    if (j->id) test_idle(NULL);
}

TEST(rule_48_link_and_unlink_back_and_forth)
{
    for (int i = 0; i < test_many(200, 10); i++) {
        otp_ref ref;
        struct job j = { otp_spawn(die_on_demand, NULL), i % 2, 10 };
        CHECK(otp_spawn_monitor(link_back_and_forth, &j, &ref).id != 0);
        const otp_reason *r = test_down(ref);
        CHECK_EQ(r->kind, i % 2 ? OTP_REASON_USER : OTP_REASON_NORMAL);
    }
    test_quiet();
}

static void two_signals(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    CHECK_EQ(otp_exit_signal(to, OTP_USER(1, NULL)), 0);
    CHECK_EQ(otp_exit_signal(to, OTP_USER(2, NULL)), 0);
    CHECK_EQ(otp_exit_signal(to, OTP_KILL), 0);
}

TEST(rule_48_the_first_of_two_signals_counts)
{
    for (int i = 0; i < test_many(2000, 20); i++) {
        otp_ref ref;
        otp_pid p = otp_spawn_monitor(test_idle, NULL, &ref);
        CHECK(otp_spawn(two_signals, &p).id != 0);
        CHECK_EQ(test_down(ref)->code, 1);
    }
    test_quiet();
}

static void count_to_go(void *arg)
{
    (void)arg;
    int n = 0;
    const otp_msg *m;
    for (bool on = true; on;)
        otp_receive (m, OTP_INFINITY) {
            case NUMBER: n++; break;
            case GO: on = false; break;
        }
    CHECK_EQ(OTP_SEND(test_app, COUNT, n), 0);
}

TEST(rule_49_nothing_is_lost_between_living_processes)
{
    enum { SENDERS = 6, RECEIVERS = 3 };
    struct job j[RECEIVERS][SENDERS];
    otp_pid to[RECEIVERS];
    otp_ref ref[RECEIVERS][SENDERS];
    int n = test_many(2000, 30);
    for (int r = 0; r < RECEIVERS; r++) {
        to[r] = otp_spawn(count_to_go, NULL);
        for (int s = 0; s < SENDERS; s++) {
            j[r][s] = (struct job){ to[r], s, n };
            CHECK(otp_spawn_monitor(send_numbers, &j[r][s], &ref[r][s]).id != 0);
        }
    }
    for (int r = 0; r < RECEIVERS; r++) {
        for (int s = 0; s < SENDERS; s++) CHECK_EQ(test_down(ref[r][s])->kind, OTP_REASON_NORMAL);
        CHECK_EQ(otp_send(to[r], GO, NULL, 0), 0);
        const otp_msg *m = otp_recv_tag(COUNT, TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), SENDERS * n);
    }
    test_quiet();
}

static void send_and_end(void *arg)
{
    struct job *j = arg;
    send_numbers(j);
    switch (j->id) {
    case 0: return;
    case 1: otp_exit(OTP_USER(1, NULL));
    default: (void)otp_exit_signal(otp_self(), OTP_KILL);
    }
}

TEST(rule_50_down_and_exit_come_after_the_messages)
{
    CHECK(!otp_trap_exit(true));
    for (int i = 0; i < test_many(1500, 21); i++) {
        struct job j = { otp_self(), i % 3, 1 + i % 17 };
        otp_ref ref;
        otp_pid p = { 0 };
        SPAWN(&p, .fn = send_and_end, .arg = &j, .link = true, .monitor = &ref);
        for (int k = 0; k < j.n; k++) {
            const otp_msg *m = otp_recv(TEST_WAIT);
            CHECK(m != NULL);
            CHECK_EQ(m->tag, NUMBER);
            CHECK_EQ(OTP_PAYLOAD(m, struct numbered)->n, k);
        }
        bool down = false, left = false;
        for (int k = 0; k < 2; k++) {
            const otp_msg *m = otp_recv(TEST_WAIT);
            CHECK(m != NULL);
            CHECK(m->tag == OTP_DOWN || m->tag == OTP_EXIT);
            CHECK(otp_same(m->from, p));
            if (m->tag == OTP_DOWN) down = true;
            else left = true;
        }
        CHECK(down);
        CHECK(left);
    }
    test_quiet();
}

static void named(void *arg)
{
    const struct job *j = arg;
    CHECK_EQ(otp_register("named", otp_self()), 0);
    CHECK_EQ(otp_send(j->to, TEST_READY, NULL, 0), 0);
    if (j->id == 0) return;
    if (j->id == 1) otp_exit(OTP_USER(1, NULL));
    test_idle(NULL);
}

TEST(rule_51_the_name_is_free_when_the_end_is_known)
{
    CHECK(!otp_trap_exit(true));
    for (int i = 0; i < test_many(1500, 30); i++) {
        struct job j = { otp_self(), i % 3, 0 };
        otp_ref ref;
        otp_pid p;
        SPAWN(&p, .fn = named, .arg = &j, .link = true, .monitor = &ref);
        test_ready(p);
        if (j.id == 2) CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        /* whichever is the first to tell: DOWN, EXIT, await_exit, is_alive */
        switch (i / 3 % 4) {
        case 0: (void)test_down(ref); break;
        case 1: (void)test_exit_from(p); break;
        case 2: CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0); break;
        default: while (otp_is_alive(p)) otp_yield();
        }
        CHECK(otp_whereis("named").id == 0);
        CHECK_EQ(otp_registered(NULL, 0), 0);
        CHECK_EQ(otp_send_name("named", GO, NULL, 0), OTP_ENOENT);
        (void)otp_unlink(p);
        (void)test_exit_flush(p);
        CHECK(otp_demonitor(ref, OTP_FLUSH));
    }
    test_quiet();
}

static void kill_and_ask(void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        otp_pid p = otp_spawn(test_idle, NULL);
        if (i % 2) otp_yield();
        CHECK(otp_is_alive(p));
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK(!otp_is_alive(p));
    }
}

TEST(rule_52_is_alive_knows_of_the_callers_signals)
{
    enum { N = 4 };
    int n = test_many(500, 10);
    otp_ref ref[N];
    for (int i = 0; i < N; i++) CHECK(otp_spawn_monitor(kill_and_ask, &n, &ref[i]).id != 0);
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
    test_quiet();
}

static void busy_with_yields(void *arg)
{
    (void)arg;
    for (;;) otp_yield();
}

TEST(rule_52_is_alive_of_a_busy_process)
{
    for (int i = 0; i < test_many(200, 5); i++) {
        otp_pid p = otp_spawn(busy_with_yields, NULL);
        if (i % 2) otp_yield();
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK(!otp_is_alive(p));
    }
}

TEST(rule_52_process_info_knows_of_the_callers_signals)
{
    otp_info info;
    for (int i = 0; i < test_many(1000, 20); i++) {
        otp_pid p = otp_spawn(test_idle, NULL);
        if (i % 2) otp_yield();
        int n = i % 10;
        for (int k = 0; k < n; k++) CHECK_EQ(OTP_SEND(p, NUMBER, k), 0);
        CHECK_EQ(otp_process_info(p, &info), 0);
        CHECK_EQ(info.message_queue_len, n);
        CHECK_EQ(otp_link(p), 0);
        otp_ref ref = otp_monitor(p);
        CHECK_EQ(otp_process_info(p, &info), 0);
        CHECK_EQ(info.links, 1);
        CHECK_EQ(info.monitored_by, 1);
        CHECK_EQ(otp_unlink(p), 0);
        CHECK(otp_demonitor(ref, 0));
        CHECK_EQ(otp_process_info(p, &info), 0);
        CHECK_EQ(info.links, 0);
        CHECK_EQ(info.monitored_by, 0);
        CHECK_EQ(otp_exit_signal(p, OTP_USER(1, NULL)), 0);
        CHECK_EQ(otp_process_info(p, &info), OTP_ENOPROC);
    }
    test_quiet();
}

static bool listed(otp_pid p)
{
    otp_pid pids[256];
    size_t n = otp_processes(pids, 256);
    for (size_t i = 0; i < n && i < 256; i++)
        if (otp_same(pids[i], p)) return true;
    return false;
}

TEST(rule_53_one_that_is_not_alive_is_nowhere)
{
    for (int i = 0; i < test_many(500, 15); i++) {
        otp_pid p;
        SPAWN(&p, .fn = test_idle, .name = "rule 53");
        CHECK(listed(p));
        CHECK(otp_same(otp_whereis("rule 53"), p));
        if (i % 3 == 0) CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
        else CHECK_EQ(otp_exit_signal(p, i % 3 == 1 ? OTP_KILL : OTP_SHUTDOWN), 0);
        while (otp_is_alive(p)) otp_yield();
        CHECK(otp_whereis("rule 53").id == 0);
        CHECK(!listed(p));
        otp_info info;
        CHECK_EQ(otp_process_info(p, &info), OTP_ENOPROC);
        CHECK_EQ(otp_register("rule 53", p), OTP_ENOPROC);
    }
    test_quiet();
}
