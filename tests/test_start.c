/* How behaviours start: otp_start_handler, what init may say, the parent's end, casts and calls, crash reports. */
#include "test.h"

enum { GET = 1, PUT, DIE, NOTE, BAD, DEFER, QUIT };
enum say { OK, IGNORE, FAIL_WITH, STOP, STOP_NORMAL, CRASH, EXITS, BLOCKS, CONTINUES, SERVES, TRAPS, TAKES };

struct arg { enum say say; otp_pid app; };
struct state { enum say say; int n; otp_pid app; char pad[40]; };

static void note(otp_pid app, int n) { CHECK_EQ(OTP_SEND(app, NOTE, n), 0); }

static void expect(int n)
{
    const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(*OTP_PAYLOAD(m, int), n);
}

static otp_next init(void *state, const void *arg, size_t size)
{
    struct state *s = state;
    CHECK_EQ(size, sizeof(struct arg));
    const struct arg *a = arg;
    s->say = a->say;
    s->app = a->app;
    s->n = 7;
    s->pad[39] = 1;     /* .state_size reaches that far */
    switch (a->say) {
    case IGNORE: return OTP_IGNORE;
    case FAIL_WITH: return otp_fail_with(OTP_USER(5, "no disk"));
    case STOP: return otp_stop_with(OTP_USER(6, "no network"));
    case STOP_NORMAL: return otp_stop_with(OTP_NORMAL);
    case CRASH: test_crash(NULL); return OTP_OK;
    case EXITS: otp_exit(OTP_USER(8, "left"));
    case BLOCKS: note(a->app, 1); otp_sleep(OTP_INFINITY); return OTP_OK;
    case CONTINUES: return otp_continue(9);
    case SERVES: {      /* a request that is received in init must not be taken for the starter's */
        note(a->app, 1);
        const otp_msg *m = otp_recv_tag(GET, TEST_WAIT);
        CHECK(m != NULL);
        otp_from from = otp_from_of(m);
        CHECK_EQ(OTP_REPLY(from, s->n), 0);
        return OTP_OK;
    }
    case TRAPS: otp_trap_exit(true); return OTP_OK;
    case TAKES: note(a->app, 1); CHECK(otp_recv_tag(PUT, TEST_WAIT) != NULL); return OTP_OK;
    default: return OTP_OK;
    }
}

static void told(void *arg) { note(*(otp_pid *)arg, 3000); }

static otp_next message(void *state, const otp_msg *m)
{
    struct state *s = state;
    switch (m->tag) {
    case GET: CHECK(otp_is_call(m) && !otp_is_cast(m)); CHECK_EQ(OTP_REPLY(otp_from_of(m), s->n), 0); return OTP_OK;
    case PUT: s->n = (otp_is_cast(m) ? 100 : 200) + *OTP_PAYLOAD(m, int); CHECK(!otp_is_call(m)); return OTP_OK;
    case OTP_CONTINUE: note(s->app, *OTP_PAYLOAD(m, int)); return OTP_OK;
    case OTP_EXIT: note(s->app, 50); return OTP_OK;
    case DIE: otp_exit(OTP_USER(1, "told to"));
    case DEFER: CHECK_EQ(otp_defer(told, &s->app), 0); return OTP_OK;
    case QUIT: return otp_stop_with(OTP_NORMAL);
    case BAD: test_crash(NULL); return OTP_OK;
    default: return OTP_OK;
    }
}

static void terminate(void *state, const otp_reason *why)
{
    struct state *s = state;
    note(s->app, 1000 + why->code);
}

static int format(const void *state, char *out, size_t size)
{
    const struct state *s = state;
    if (s->n == -1) test_crash(NULL);
    return snprintf(out, size, "n is %d", s->n);
}

static const otp_handler handler = {
    .name = "started", .state_size = 1, .init = init, .message = message, .terminate = terminate, .format = format,
};

#define OPTS(what, ...)                                                                                     \
    (&(otp_spawn_opts){ .handler = &handler, .state_size = sizeof(struct state), .arg_size = sizeof(struct arg),    \
                        .arg = &(struct arg){ what, otp_self() }, __VA_ARGS__ })

TEST(gen_server_1_start_returns_when_init_has)
{
    otp_pid p;
    int n = 0;
    CHECK_EQ(otp_start_handler(OPTS(OK, .name = "one"), OTP_INFINITY, &p, NULL), 0);
    CHECK(otp_same(otp_whereis("one"), p));
    CHECK_EQ(otp_call(p, GET, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    CHECK_EQ(n, 7);
    test_kill(p);
}

TEST(gen_server_2_a_taken_name)
{
    otp_pid p, other;
    CHECK_EQ(otp_start_handler(OPTS(OK, .name = "one"), OTP_INFINITY, &p, NULL), 0);
    CHECK_EQ(otp_start_handler(OPTS(OK, .name = "one", .link = true), OTP_INFINITY, &other, NULL), OTP_EEXIST);
    CHECK(otp_same(p, other));
    test_kill(p);
}

TEST(gen_server_4_ignore)
{
    otp_pid p;
    otp_trap_exit(true);
    CHECK_EQ(otp_start_handler(OPTS(IGNORE, .name = "one", .link = true), OTP_INFINITY, &p, NULL), OTP_EIGNORE);
    CHECK_EQ(p.id, 0);
    CHECK_EQ(otp_whereis("one").id, 0);
    const otp_msg *m = otp_recv_tag(OTP_EXIT, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_NORMAL);
    test_quiet();       /* no terminate */
}

TEST(gen_server_5_stop_trapping)
{
    otp_pid p;
    otp_reason why;
    otp_trap_exit(true);
    CHECK_EQ(otp_start_handler(OPTS(STOP, .name = "one", .link = true), OTP_INFINITY, &p, &why), OTP_EDIED);
    CHECK_EQ(why.code, 6);
    CHECK_STR(why.text, "no network");
    CHECK_EQ(otp_whereis("one").id, 0);
    const otp_msg *m = otp_recv_tag(OTP_EXIT, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(otp_reason_of(m)->code, 6);
    CHECK_EQ(otp_start_handler(OPTS(STOP_NORMAL, .link = false), OTP_INFINITY, &p, &why), OTP_EDIED);
    CHECK_EQ(why.kind, OTP_REASON_NORMAL);
    CHECK_EQ(otp_start_handler(OPTS(OK, .name = "one"), OTP_INFINITY, &p, &why), 0);
    test_kill(p);
    test_quiet();
}

static void linked_starter(void *arg)
{
    enum say what = *(enum say *)arg;
    otp_pid p;
    int rc = otp_start_handler(OPTS(what, .link = true), OTP_INFINITY, &p, NULL);
    CHECK(rc < 0);
    otp_sleep(what == STOP || what == CRASH ? OTP_INFINITY : 0);
}

TEST(gen_server_5_stop_ends_a_linked_starter)
{
    otp_ref ref;
    enum say what = STOP;
    CHECK(otp_spawn_monitor(linked_starter, &what, &ref).id != 0);
    CHECK_EQ(test_down(ref)->code, 6);
}

TEST(gen_server_6_error_does_not_end_a_linked_starter)
{
    otp_ref ref;
    enum say what = FAIL_WITH;
    CHECK(otp_spawn_monitor(linked_starter, &what, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    otp_pid p;
    otp_reason why;
    test_log_clear();
    CHECK_EQ(otp_start_handler(OPTS(FAIL_WITH, .link = false), OTP_INFINITY, &p, &why), OTP_EDIED);
    CHECK_EQ(why.code, 5);
    CHECK_STR(why.text, "no disk");
    CHECK(!test_log_has("no disk"));
}

TEST(gen_server_7_an_exit_in_init)
{
    otp_pid p;
    otp_reason why;
    CHECK_EQ(otp_start_handler(OPTS(EXITS, .link = false), OTP_INFINITY, &p, &why), OTP_EDIED);
    CHECK_EQ(why.code, 8);
    test_quiet();       /* 10: no terminate */
}

#if TEST_FAULTS
TEST_WITH(gen_server_7_a_crash_in_init, .opts.force_isolation = true)
{
    otp_pid p;
    otp_reason why;
    CHECK_EQ(otp_start_handler(OPTS(CRASH, .name = "one"), OTP_INFINITY, &p, &why), OTP_EDIED);
    CHECK_EQ(why.kind, OTP_REASON_CRASH);
    CHECK_EQ(otp_whereis("one").id, 0);
    test_quiet();
}

TEST_WITH(gen_server_53_a_crash_report_shows_message_and_state, .opts.force_isolation = true)
{
    otp_pid p;
    otp_ref ref;
    CHECK_EQ(otp_start_handler(OPTS(OK, .monitor = &ref), OTP_INFINITY, &p, NULL), 0);
    test_log_clear();
    CHECK(otp_send_request(p, BAD, NULL, 0).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
    CHECK(test_log_has("last message: 5, 0 bytes"));
    CHECK(test_log_has("waits; state: n is 7"));
}

TEST_WITH(gen_server_70_a_format_that_crashes_keeps_the_reason, .opts.force_isolation = true)
{
    otp_pid p;
    otp_ref ref;
    CHECK_EQ(otp_start_handler(OPTS(OK, .monitor = &ref), OTP_INFINITY, &p, NULL), 0);
    const int n = -201;
    CHECK_EQ(OTP_SEND(p, PUT, n), 0);
    CHECK_EQ(otp_send(p, DIE, NULL, 0), 0);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->kind, OTP_REASON_USER);
    CHECK_EQ(why->code, 1);
}
#endif

TEST(gen_server_9_start_timeout)
{
    otp_pid p;
    otp_trap_exit(true);
    CHECK_EQ(otp_start_handler(OPTS(BLOCKS, .name = "one", .link = true), 20, &p, NULL), OTP_ETIMEOUT);
    CHECK_EQ(p.id, 0);
    CHECK_EQ(otp_whereis("one").id, 0);
    expect(1);
    test_quiet();       /* no EXIT */
}

TEST(gen_server_11_start_monitor)
{
    otp_pid p;
    otp_ref ref;
    CHECK_EQ(otp_start_handler(OPTS(STOP, .monitor = &ref), OTP_INFINITY, &p, NULL), OTP_EDIED);
    test_quiet();       /* no DOWN */
    CHECK_EQ(otp_start_handler(OPTS(OK, .monitor = &ref), OTP_INFINITY, &p, NULL), 0);
    CHECK_EQ(otp_send(p, DIE, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->code, 1);
    expect(1001);
}

TEST(gen_server_40_start_returns_before_the_continue_runs)
{
    otp_pid p;
    CHECK_EQ(otp_start_handler(OPTS(CONTINUES, .link = false), OTP_INFINITY, &p, NULL), 0);
    expect(9);
    test_kill(p);
}

static void call_by_name(void *arg)
{
    (void)arg;
    int n = 0;
    CHECK_EQ(otp_call(otp_whereis("one"), GET, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    CHECK_EQ(n, 7);
}

static void starter_of_server(void *arg)
{
    otp_pid p, app = *(otp_pid *)arg;
    struct arg a = { SERVES, app };
    otp_spawn_opts o = { .handler = &handler, .state_size = sizeof(struct state), .arg = &a, .arg_size = sizeof a,
                         .name = "one" };
    CHECK_EQ(otp_start_handler(&o, OTP_INFINITY, &p, NULL), 0);
    test_kill(p);
}

TEST(a_request_served_in_init_is_not_the_starters)
{
    otp_ref starter, client;
    otp_pid app = otp_self();
    CHECK(otp_spawn_monitor(starter_of_server, &app, &starter).id != 0);
    expect(1);
    CHECK(otp_spawn_monitor(call_by_name, NULL, &client).id != 0);
    CHECK_EQ(test_down(client)->kind, OTP_REASON_NORMAL);
    CHECK_EQ(test_down(starter)->kind, OTP_REASON_NORMAL);
}

static void parent(void *arg)
{
    otp_pid p, app = *(otp_pid *)arg;
    struct arg a = { TRAPS, app };
    otp_spawn_opts o = { .handler = &handler, .state_size = sizeof(struct state), .arg = &a, .arg_size = sizeof a,
                         .link = true };
    CHECK_EQ(otp_start_handler(&o, OTP_INFINITY, &p, NULL), 0);
    CHECK_EQ(OTP_SEND(app, PUT, p), 0);
    const otp_msg *m = otp_recv_tag(DIE, TEST_WAIT);
    CHECK(m != NULL);
    otp_exit(*OTP_PAYLOAD(m, int) ? OTP_USER(33, "parent") : OTP_NORMAL);
}

static void ends_with_parent(int code, bool suspended)
{
    otp_pid app = otp_self();
    otp_pid top = otp_spawn(parent, &app);
    const otp_msg *m = otp_recv_tag(PUT, TEST_WAIT);
    CHECK(m != NULL);
    otp_pid child = *OTP_PAYLOAD(m, otp_pid);
    otp_ref ref = otp_monitor(child);
    CHECK_EQ(otp_exit_signal(child, OTP_USER(2, "of a stranger")), 0);      /* a message like any other */
    expect(50);
    if (suspended) CHECK_EQ(otp_call(child, OTP_SYS_SUSPEND, NULL, 0, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(OTP_SEND(top, DIE, code), 0);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->code, code ? 33 : 0);
    CHECK_EQ(why->kind, code ? OTP_REASON_USER : OTP_REASON_NORMAL);
    expect(code ? 1033 : 1000);
}

TEST(gen_server_50_the_parents_exit_ends_it_though_it_traps) { ends_with_parent(1, false); }
TEST(gen_server_51_also_a_normal_one) { ends_with_parent(0, false); }
TEST(gen_server_73_also_while_suspended) { ends_with_parent(1, true); }

TEST(casts_are_told_from_messages)
{
    otp_pid p;
    int n = 0;
    CHECK_EQ(otp_start_handler(OPTS(OK, .name = "one"), OTP_INFINITY, &p, NULL), 0);
    const int one = 1;
    CHECK_EQ(otp_cast(p, PUT, &one, sizeof one), 0);
    CHECK_EQ(otp_call(p, GET, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    CHECK_EQ(n, 101);
    CHECK_EQ(OTP_SEND(p, PUT, one), 0);
    CHECK_EQ(otp_call(p, GET, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    CHECK_EQ(n, 201);
    test_kill(p);
    CHECK_EQ(otp_cast(p, PUT, &one, sizeof one), OTP_ENOPROC);
    CHECK_EQ(otp_cast(p, -30, NULL, 0), OTP_EBADARG);
}

TEST(a_start_function_says_why_it_returns_no_pid)
{
    otp_reason why;
    char text[32];
    CHECK_EQ(otp_start_failed(OTP_EDIED, OTP_USER(3, "no licence")).id, 0);
    CHECK_EQ(otp_start_result(&why), OTP_EDIED);
    CHECK_EQ(why.code, 3);
    CHECK_EQ(otp_start_failed(OTP_EIGNORE, why).id, 0);     /* the text is the one that it replaces */
    CHECK_EQ(otp_start_result(&why), OTP_EIGNORE);
    CHECK_STR(why.text, "no licence");
    CHECK_EQ(otp_start_failed(0, OTP_NORMAL).id, 0);
    CHECK_EQ(otp_start_result(&why), 0);
    CHECK_EQ(why.kind, OTP_REASON_NORMAL);
    CHECK(otp_format_pid(otp_self(), text, sizeof text) >= 5 && text[0] == '<');
}

static void stays_in_terminate(void *state, const otp_reason *why)
{
    struct state *s = state;
    note(s->app, 2000 + why->code);
    if (s->n == 107) otp_sleep(OTP_INFINITY);
    for (;;) otp_bump_reductions(100);
}

/* Between the stop and the death: kill is stronger than terminate, and what was deferred still runs. */
static void killed_in_terminate(int n, int how)
{
    static const otp_handler h = { .name = "stays", .message = message, .init = init, .terminate = stays_in_terminate };
    static otp_pid app;
    app = otp_self();
    struct arg a = { TRAPS, app };
    otp_spawn_opts o = { .handler = &h, .state_size = sizeof(struct state), .arg = &a, .arg_size = sizeof a };
    otp_ref ref;
    otp_pid p;
    o.monitor = &ref;
    CHECK_EQ(otp_start_handler(&o, OTP_INFINITY, &p, NULL), 0);
    CHECK_EQ(otp_cast(p, PUT, &n, sizeof n), 0);
    CHECK_EQ(otp_send(p, DEFER, NULL, 0), 0);
    CHECK_EQ(otp_send(p, how, NULL, 0), 0);
    expect(how == DIE ? 2001 : 2000);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    expect(3000);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->kind, OTP_REASON_KILLED);
    CHECK_EQ(why->code, 0);
    CHECK(why->text == NULL);
}

TEST(rule_16_kill_ends_one_that_sleeps_in_terminate) { killed_in_terminate(7, DIE); }
TEST(rule_16_kill_ends_one_that_computes_in_terminate) { killed_in_terminate(8, DIE); }
TEST(rule_16_kill_ends_one_that_stopped_normally) { killed_in_terminate(7, QUIT); }

static void starter_and_client(void *arg)
{
    otp_pid p, app = *(otp_pid *)arg;
    struct arg a = { TAKES, app };
    otp_spawn_opts o = { .handler = &handler, .state_size = sizeof(struct state), .arg = &a, .arg_size = sizeof a,
                         .name = "one" };
    CHECK_EQ(otp_start_handler(&o, OTP_INFINITY, &p, NULL), 0);
    int n = 0;
    CHECK_EQ(otp_call(p, GET, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    test_kill(p);
}

/* AddressSanitizer sees it when it is not. */
TEST(what_init_received_last_is_freed)
{
    otp_pid app = otp_self();
    otp_ref starter;
    CHECK(otp_spawn_monitor(starter_and_client, &app, &starter).id != 0);
    expect(1);
    CHECK_EQ(otp_send_name("one", PUT, "0123456789", 10), 0);
    CHECK_EQ(test_down(starter)->kind, OTP_REASON_NORMAL);
}

TEST(bad_arguments_start_nothing)
{
    otp_pid p = { 1 };
    otp_spawn_opts none = { .fn = linked_starter };
    CHECK_EQ(otp_start_handler(NULL, 0, &p, NULL), OTP_EBADARG);
    CHECK_EQ(otp_start_handler(&none, 0, &p, NULL), OTP_EBADARG);
    CHECK_EQ(otp_start_handler(OPTS(OK, .link = false), -5, &p, NULL), OTP_EBADARG);
    CHECK_EQ(otp_start_handler(OPTS(OK, .link = false), 0, NULL, NULL), OTP_EBADARG);
    test_quiet();
}
