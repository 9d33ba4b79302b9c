/* test_names.c: registered names: processes.md, rules 54 to 58. */
#include "test.h"

enum { NUMBER = 1, GO, DONE };

static void end_at_once(void *arg) { (void)arg; }

TEST(rule_54_register_a_process)
{
    otp_pid p = otp_spawn(test_idle, NULL);
    CHECK_EQ(otp_register("somebody", p), 0);
    CHECK(otp_same(otp_whereis("somebody"), p));
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_STR(info.name, "somebody");
    test_kill(p);
    CHECK(otp_whereis("somebody").id == 0);
}

TEST(rule_54_register_fails)
{
    otp_pid a = otp_spawn(test_idle, NULL), b = otp_spawn(test_idle, NULL), dead = otp_spawn(end_at_once, NULL);
    CHECK_EQ(otp_await_exit(dead, TEST_WAIT, NULL), 0);
    CHECK_EQ(otp_register("a", a), 0);
    CHECK_EQ(otp_register("a", b), OTP_EEXIST);             /* the name is taken */
    CHECK_EQ(otp_register("a", a), OTP_EEXIST);
    CHECK_EQ(otp_register("a2", a), OTP_EEXIST);            /* the process has one */
    CHECK(otp_whereis("a2").id == 0);
    CHECK_EQ(otp_register("dead", dead), OTP_ENOPROC);
    CHECK_EQ(otp_register("nobody", (otp_pid){ 0 }), OTP_ENOPROC);
    CHECK_EQ(otp_register("remote", (otp_pid){ 0x8000000000000001 }), OTP_ENOPROC);
    CHECK_EQ(otp_register(NULL, b), OTP_EBADARG);
    CHECK_EQ(otp_register("", b), OTP_EBADARG);
    char name[65];
    memset(name, 'x', 64);
    name[64] = 0;
    CHECK_EQ(otp_register(name, b), OTP_EBADARG);           /* 64 bytes */
    name[63] = 0;
    CHECK_EQ(otp_register(name, b), 0);                     /* 63 bytes */
    CHECK(otp_same(otp_whereis(name), b));
    CHECK_EQ(otp_registered(NULL, 0), 2);
    test_kill(a);
    test_kill(b);
}

TEST(rule_54_the_name_is_copied)
{
    char name[16] = "before";
    otp_pid p = otp_spawn(test_idle, NULL);
    CHECK_EQ(otp_register(name, p), 0);
    memcpy(name, "after!", 7);
    CHECK(otp_same(otp_whereis("before"), p));
    CHECK(otp_whereis("after!").id == 0);
    test_kill(p);
}

TEST(rule_55_unknown_names)
{
    CHECK(otp_whereis("unknown").id == 0);
    CHECK(otp_whereis("").id == 0);
    CHECK(otp_whereis(NULL).id == 0);
    CHECK_EQ(otp_unregister("unknown"), OTP_ENOENT);
    CHECK_EQ(otp_register("known", otp_self()), 0);
    CHECK(otp_whereis("know").id == 0);
    CHECK(otp_whereis("known ").id == 0);
    CHECK(otp_whereis("Known").id == 0);
    CHECK_EQ(otp_unregister("known"), 0);
    CHECK_EQ(otp_unregister("known"), OTP_ENOENT);
    CHECK(otp_whereis("known").id == 0);
}

static void take_name(void *arg)
{
    CHECK_EQ(otp_unregister(arg), 0);
    CHECK_EQ(otp_register(arg, otp_self()), 0);
    test_idle_ready(NULL);
}

TEST(rule_56_any_process_may_unregister_any_name)
{
    static char name[] = "shared";
    otp_ref a_down, b_down;
    otp_pid a = test_start(test_idle_ready, NULL, &a_down);
    CHECK_EQ(otp_register(name, a), 0);
    otp_pid b = test_start(take_name, name, &b_down);
    CHECK(otp_same(otp_whereis(name), b));
    CHECK(otp_is_alive(a));
    /* one that has lost its name may have another, and its end frees nobody else's */
    CHECK_EQ(otp_register("other", a), 0);
    test_kill(a);
    CHECK_EQ(test_down(a_down)->kind, OTP_REASON_KILLED);
    CHECK(otp_same(otp_whereis(name), b));
    CHECK(otp_whereis("other").id == 0);
    test_kill(b);
    CHECK_EQ(test_down(b_down)->kind, OTP_REASON_KILLED);
}

TEST(rule_56_the_name_is_free_again_at_once)
{
    for (int i = 0; i < test_many(1500, 30); i++) {
        otp_pid p;
        otp_ref ref;
        SPAWN(&p, .fn = i % 2 ? end_at_once : test_idle, .name = "again", .monitor = &ref);
        if (i % 2 == 0) CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        (void)test_down(ref);
    }
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(otp_register("again", otp_self()), 0);
        CHECK_EQ(otp_unregister("again"), 0);
    }
}

static void race_for_name(void *arg)
{
    (void)arg;
    int r = otp_register("contended", otp_self());
    CHECK(r == 0 || r == OTP_EEXIST);
    CHECK_EQ(OTP_SEND(test_app, DONE, r), 0);
    test_idle(NULL);
}

TEST(rule_56_one_of_many_gets_the_name)
{
    enum { N = 16 };
    for (int round = 0; round < test_many(50, 5); round++) {
        otp_pid p[N];
        int winners = 0;
        otp_pid winner = { 0 };
        for (int i = 0; i < N; i++) p[i] = otp_spawn(race_for_name, NULL);
        for (int i = 0; i < N; i++) {
            const otp_msg *m = otp_recv_tag(DONE, TEST_WAIT);
            CHECK(m != NULL);
            if (*OTP_PAYLOAD(m, int) != 0) continue;
            winners++;
            winner = m->from;
        }
        CHECK_EQ(winners, 1);
        CHECK(otp_same(otp_whereis("contended"), winner));
        for (int i = 0; i < N; i++) test_kill(p[i]);
    }
}

static void echo(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(NUMBER, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(otp_send(m->from, DONE, m->data, m->size), 0);
}

TEST(rule_57_send_to_names)
{
    otp_pid p;
    int n = 5;
    CHECK_EQ(otp_send_name("nobody", NUMBER, &n, sizeof n), OTP_ENOENT);
    int bad = otp_send_name(NULL, NUMBER, &n, sizeof n);
    CHECK(bad == OTP_ENOENT || bad == OTP_EBADARG);
    SPAWN(&p, .fn = echo, .name = "echo");
    CHECK_EQ(otp_send_name("echo", NUMBER, &n, sizeof n), 0);
    const otp_msg *m = otp_recv_tag(DONE, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(*OTP_PAYLOAD(m, int), 5);
    CHECK(otp_same(m->from, p));
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    CHECK_EQ(otp_send_name("echo", NUMBER, &n, sizeof n), OTP_ENOENT);
    test_quiet();
}

TEST(rule_57_send_to_the_dead_is_dropped)
{
    otp_pid p = otp_spawn(end_at_once, NULL);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    for (int i = 0; i < 10; i++) {
        int r = OTP_SEND(p, NUMBER, i);
        CHECK(r == 0 || r == OTP_ENOPROC);
    }
    CHECK_EQ(otp_send((otp_pid){ 0 }, NUMBER, NULL, 0), OTP_ENOPROC);
    test_quiet();
}

TEST(rule_58_the_list_of_names)
{
    static const char *const names[] = { "delta", "alpha", "charlie", "bravo", "alphabet" };
    static const char *const sorted[] = { "alpha", "alphabet", "bravo", "charlie", "delta" };
    enum { N = 5 };
    otp_pid p[N];
    char out[N + 1][64];
    CHECK_EQ(otp_registered(out, N), 0);
    for (int i = 0; i < N; i++)
        SPAWN(&p[i], .fn = test_idle, .name = names[i]);
    CHECK_EQ(otp_registered(out, N + 1), N);
    for (int i = 0; i < N; i++) CHECK_STR(out[i], sorted[i]);
    memset(out, 0, sizeof out);
    CHECK_EQ(otp_registered(out, 2), N);
    CHECK_STR(out[0], "alpha");
    CHECK_STR(out[1], "alphabet");
    CHECK_STR(out[2], "");
    test_kill(p[1]);                                        /* alpha */
    CHECK_EQ(otp_unregister("charlie"), 0);
    CHECK_EQ(otp_registered(out, N), 3);
    CHECK_STR(out[0], "alphabet");
    CHECK_STR(out[1], "bravo");
    CHECK_STR(out[2], "delta");
    for (int i = 0; i < N; i++) test_kill(p[i]);
    CHECK_EQ(otp_registered(out, N), 0);
}

static void live_and_die(void *arg)
{
    char name[32];
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "%s %d", (char *)arg, i);
        otp_pid p;
        SPAWN(&p, .fn = test_idle, .name = name);
        test_kill(p);
    }
}

TEST(rule_58_no_dead_names_in_the_list)
{
    static char a[] = "a", b[] = "b", c[] = "c";
    otp_ref ref[3];
    CHECK(otp_spawn_monitor(live_and_die, a, &ref[0]).id != 0);
    CHECK(otp_spawn_monitor(live_and_die, b, &ref[1]).id != 0);
    CHECK(otp_spawn_monitor(live_and_die, c, &ref[2]).id != 0);
    for (int i = 0; i < test_many(200, 10); i++) {
        char out[16][64];
        size_t n = otp_registered(out, 16);
        CHECK(n <= 3);
        for (size_t k = 1; k < n; k++) CHECK(strcmp(out[k - 1], out[k]) < 0);
        otp_yield();
    }
    for (int i = 0; i < 3; i++) CHECK_EQ(test_down(ref[i])->kind, OTP_REASON_NORMAL);
    CHECK_EQ(otp_registered(NULL, 0), 0);
}

TEST(rule_58_many_names)
{
    enum { MOST = 2000 };
    static otp_pid p[MOST];
    int n = test_many(MOST, 100);
    char name[32];
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "process %d", i);
        SPAWN(&p[i], .fn = test_idle, .name = name);
    }
    CHECK_EQ(otp_registered(NULL, 0), n);
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "process %d", i);
        CHECK(otp_same(otp_whereis(name), p[i]));
        CHECK_EQ(otp_send_name(name, TEST_STOP, NULL, 0), 0);
    }
    for (int i = 0; i < n; i++) CHECK_EQ(otp_await_exit(p[i], TEST_WAIT, NULL), 0);
    CHECK_EQ(otp_registered(NULL, 0), 0);
}
