/* otp_server.h against the rules of gen_server; those of the start itself are in test_start.c, too. */
#include "test.h"

#include "otp_server.h"

/* One server for all tests: requests say what it is to do, and it tells the first process what it did. */
enum {
    GET = 1, ADD, LATER, FLUSH, HELPED, EARLY, TWICE, NEVER, SLOW, STOP, STOP_REPLY, CONTINUE, IDLE, EXITS, CRASHES, NOTE,
    GO, OTHER, WORD
};
enum { E_INIT = 10000, E_CAST = 20000, E_INFO = 30000, E_CONTINUED = 40000, E_IDLE = 50000, E_TERMINATE = 60000 };
enum how { OK, IGNORE, FAIL_WITH, FAIL_STOP, TRAPS, INIT_IDLE, INIT_CONTINUE, INIT_WAITS };

struct setup { otp_pid app; enum how how; int number; };
struct state { otp_pid app; int n, left; otp_from kept[3]; int nkept; int bad_terminate; };

static otp_pid app_pid(void) { return test_app; }
static void note(otp_pid to, int what) { CHECK_EQ(OTP_SEND(to, NOTE, what), 0); }

static void expect(int what)
{
    const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(*OTP_PAYLOAD(m, int), what);
}

static otp_next init(void *state, const void *arg, size_t size)
{
    struct state *s = state;
    CHECK_EQ((uintptr_t)state % 16, 0);
    CHECK_EQ(s->n, 0);
    CHECK_EQ(size, sizeof(struct setup));
    const struct setup *a = arg;
    s->app = a->app;
    s->n = a->number;
    switch (a->how) {
    case IGNORE: return OTP_IGNORE;
    case FAIL_WITH: return otp_fail_with(OTP_USER(5, "no disk"));
    case FAIL_STOP: return otp_stop_with(OTP_USER(6, "no network"));
    case TRAPS: otp_trap_exit(true); return OTP_OK;
    case INIT_IDLE: return otp_idle(a->number);
    case INIT_CONTINUE: return otp_continue(3);
    case INIT_WAITS: {
        note(s->app, E_INIT);
        const otp_msg *m = otp_recv_tag(GO, TEST_WAIT);
        CHECK(m != NULL);
        return OTP_OK;
    }
    default: return OTP_OK;
    }
}

static void helper(void *arg)
{
    otp_from from = *(otp_from *)arg;
    CHECK_EQ(OTP_REPLY(from, 77), 0);
}

static otp_next call(void *state, otp_from from, const otp_msg *m)
{
    struct state *s = state;
    switch (m->tag) {
    case GET: return OTP_SERVER_REPLY(from, s->n);
    case ADD: s->n += *OTP_PAYLOAD(m, int); return OTP_SERVER_REPLY(from, s->n);
    case LATER: s->kept[s->nkept++] = from; note(s->app, LATER); return OTP_OK;
    case HELPED: {
        otp_pid p;
        SPAWN(&p, .fn = helper, .arg = &from, .arg_size = sizeof from);
        return OTP_OK;
    }
    case EARLY:         /* the answer goes out before the callback is over */
        CHECK_EQ(OTP_REPLY(from, s->n), 0);
        CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL);
        return OTP_OK;
    case TWICE:
        CHECK_EQ(OTP_REPLY(from, 1), 0);
        CHECK_EQ(OTP_REPLY(from, 2), 0);
        return OTP_OK;
    case NEVER: note(s->app, NEVER); return OTP_OK;
    case SLOW: note(s->app, SLOW); CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL); return OTP_SERVER_REPLY(from, s->n);
    case STOP: return otp_stop_with(OTP_USER(*OTP_PAYLOAD(m, int), "as told"));
    case STOP_REPLY: {
        char text[300] = "the last answer";
        return otp_server_stop_reply(from, text, sizeof text, OTP_NORMAL);
    }
    case CONTINUE: CHECK_EQ(OTP_REPLY(from, s->n), 0); return otp_continue(*OTP_PAYLOAD(m, int));
    case IDLE: CHECK_EQ(OTP_REPLY(from, s->n), 0); return otp_idle(*OTP_PAYLOAD(m, int));
    case EXITS: otp_exit(OTP_USER(9, "left in a call"));
    case WORD: return OTP_SERVER_REPLY(from, *OTP_PAYLOAD(m, int64_t));
    case OTHER:         /* answers the one before, and ends without an answer to this one */
        CHECK(OTP_REPLY(s->kept[0], (int64_t)7) == 0);
        return otp_stop_with(OTP_USER(71, "after the other"));
    case CRASHES: test_crash(NULL); return OTP_OK;
    default: return otp_stop_with(OTP_ERROR(OTP_EBADCALL));
    }
}

static otp_next cast(void *state, const otp_msg *m)
{
    struct state *s = state;
    int number = m->size ? *OTP_PAYLOAD(m, int) : 0;
    switch (m->tag) {
    case ADD: s->n += number; return OTP_OK;
    case FLUSH:         /* answers all that were kept, the newest first */
        while (s->nkept) {
            s->nkept--;
            CHECK_EQ(OTP_REPLY(s->kept[s->nkept], s->nkept), 0);
        }
        return OTP_OK;
    case STOP: return otp_stop_with(number ? OTP_USER(number, "cast") : OTP_NORMAL);
    case CONTINUE: note(s->app, E_CAST); return otp_continue(number);
    case IDLE: return otp_idle(number);
    case SLOW: note(s->app, SLOW); CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL); return OTP_OK;
    case EXITS: s->bad_terminate = number; return OTP_OK;
    default: note(s->app, E_CAST + m->tag); return OTP_OK;
    }
}

static otp_next info(void *state, const otp_msg *m)
{
    struct state *s = state;
    CHECK(!otp_is_call(m) && !otp_is_cast(m));
    switch (m->tag) {
    case OTP_IDLE: note(s->app, E_IDLE); return s->left-- > 0 ? otp_idle(5) : OTP_OK;
    case STOP: return otp_stop_with(OTP_USER(4, "info"));
    case IDLE: s->left = 2; return otp_idle(5);
    case CONTINUE: return otp_continue(1);
    default: note(s->app, E_INFO + m->tag); return OTP_OK;
    }
}

static otp_next continued(void *state, int what)
{
    struct state *s = state;
    note(s->app, E_CONTINUED + what);
    if (what == 99) return otp_stop_with(OTP_USER(99, "in continued"));
    return what > 0 ? otp_continue(what - 1) : OTP_OK;
}

static void terminate(void *state, const otp_reason *why)
{
    struct state *s = state;
    note(s->app, E_TERMINATE + why->code);
    if (s->bad_terminate == 1) test_crash(NULL);
    if (s->bad_terminate) otp_exit(OTP_USER(s->bad_terminate, "in terminate"));
}

static int format(const void *state, char *out, size_t size)
{
    const struct state *s = state;
    return snprintf(out, size, "n = %d", s->n);
}

static int code_change(void *state, const void *extra, size_t size)
{
    struct state *s = state;
    if (size != sizeof(int)) return OTP_EBADARG;
    s->n += *(const int *)extra;
    return 0;
}

static const otp_server server = {
    .name = "probe", .state_size = sizeof(struct state), .init = init, .call = call, .cast = cast, .info = info,
    .continued = continued, .terminate = terminate, .format = format, .code_change = code_change,
};
static const otp_server bare = { .name = "bare" };

#define OPTS(what, n, ...)                                                                                  \
    (&(otp_server_opts){ .arg = &(struct setup){ app_pid(), what, n }, .arg_size = sizeof(struct setup), __VA_ARGS__ })

static otp_pid start(enum how how, int n)
{
    otp_pid p = otp_server_start(&server, OPTS(how, n, .name = NULL));
    CHECK(p.id != 0);
    return p;
}

static int get(otp_pid p)
{
    int n = -1;
    CHECK_EQ(otp_call(p, GET, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    return n;
}

/* Ends it, and takes what terminate tells. */
static void end(otp_pid p)
{
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
    expect(E_TERMINATE);
}

static int64_t try_number(otp_pid p, int tag, int number)
{
    int n;
    return otp_try_call(p, tag, &number, sizeof number, &n, sizeof n, TEST_WAIT);
}

static void cast_number(otp_pid p, int tag, int number) { CHECK_EQ(otp_cast(p, tag, &number, sizeof number), 0); }

static int64_t sys(otp_pid p, int tag) { return otp_try_call(p, tag, NULL, 0, NULL, 0, TEST_WAIT); }

/* -- start ---------------------------------------------------------------------------------------------- */

static void release_init(void *arg)
{
    (void)arg;
    otp_pid p = otp_whereis("one");
    CHECK(p.id != 0);
    cast_number(p, 700, 0);                         /* waits until init is over */
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
}

static void starter(void *arg)
{
    (void)arg;
    otp_pid p = otp_server_start(&server, OPTS(INIT_WAITS, 1, .name = "one"));
    CHECK(p.id != 0);
    note(app_pid(), 1);
}

TEST(gen_server_1_messages_sent_during_init_wait)
{
    otp_ref ref;
    CHECK(otp_spawn_monitor(starter, NULL, &ref).id != 0);
    expect(E_INIT);
    CHECK(otp_is_alive(otp_whereis("one")));
    CHECK(otp_spawn(release_init, NULL).id != 0);
    for (int i = 0; i < 2; i++) {                   /* started, and the cast, in either order */
        const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
        CHECK(m != NULL);
        int what = *OTP_PAYLOAD(m, int);
        CHECK(what == 1 || what == E_CAST + 700);
    }
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    end(otp_whereis("one"));
}

TEST(gen_server_2_init_is_not_called_when_the_name_is_taken)
{
    otp_pid p = otp_server_start(&server, OPTS(OK, 1, .name = "one"));
    CHECK_EQ(otp_server_start_link(&server, OPTS(INIT_WAITS, 1, .name = "one")).id, 0);
    CHECK_EQ(otp_start_result(NULL), OTP_EEXIST);
    CHECK_EQ(otp_processes(NULL, 0), 2);
    CHECK(otp_same(otp_whereis("one"), p));
    end(p);
    test_quiet();
}

TEST(gen_server_3_what_init_may_return)
{
    otp_pid p = start(INIT_IDLE, 0);                /* {ok, S, T} */
    expect(E_IDLE);
    end(p);
    p = start(INIT_CONTINUE, 0);                    /* {ok, S, {continue, C}} */
    for (int i = 3; i >= 0; i--) expect(E_CONTINUED + i);
    end(p);
    p = otp_server_start(&bare, NULL);              /* no init at all */
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
}

static void starts_badly(void *arg)
{
    enum how how = *(enum how *)arg;
    otp_reason why;
    CHECK_EQ(otp_server_start_link(&server, OPTS(how, 1, .name = "one")).id, 0);
    CHECK_EQ(otp_whereis("one").id, 0);
    CHECK_EQ(otp_start_result(&why), how == IGNORE ? OTP_EIGNORE : OTP_EDIED);
    CHECK_EQ(why.code, how == IGNORE ? OTP_EIGNORE : 5);
}

TEST(gen_server_4_5_6_ignore_stop_error_and_a_linked_starter)
{
    otp_ref ref;
    enum how how = IGNORE;
    CHECK(otp_spawn_monitor(starts_badly, &how, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    how = FAIL_WITH;
    CHECK(otp_spawn_monitor(starts_badly, &how, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    how = FAIL_STOP;
    CHECK(otp_spawn_monitor(starts_badly, &how, &ref).id != 0);
    CHECK_EQ(test_down(ref)->code, 6);
    test_quiet();                                   /* 10: no terminate */
}

TEST(gen_server_8_a_retry_never_finds_the_name_taken)
{
    for (int i = 0; i < test_many(200, 20); i++) {
        otp_reason why;
        CHECK_EQ(otp_server_start(&server, OPTS(i % 2 ? FAIL_STOP : FAIL_WITH, 1, .name = "one")).id, 0);
        CHECK_EQ(otp_start_result(&why), OTP_EDIED);
        CHECK_EQ(otp_whereis("one").id, 0);
        CHECK_EQ(otp_processes(NULL, 0), 1);
    }
    test_quiet();
}

TEST(gen_server_9_10_a_start_timeout_kills_without_terminate)
{
    otp_trap_exit(true);
    CHECK_EQ(otp_server_start_link(&server, OPTS(INIT_WAITS, 1, .name = "one", .timeout = 10)).id, 0);
    CHECK_EQ(otp_start_result(NULL), OTP_ETIMEOUT);
    CHECK_EQ(otp_whereis("one").id, 0);
    expect(E_INIT);
    test_quiet();
}

TEST(gen_server_11_start_monitor)
{
    otp_ref ref;
    CHECK_EQ(otp_server_start_monitor(&server, OPTS(FAIL_STOP, 1, .name = NULL), &ref).id, 0);
    test_quiet();                                   /* no DOWN */
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    cast_number(p, STOP, 3);
    CHECK_EQ(test_down(ref)->code, 3);
    expect(E_TERMINATE + 3);
}

static void starts_and_ends(void *arg)
{
    bool link = *(bool *)arg;
    otp_pid p = link ? otp_server_start_link(&server, OPTS(OK, 1, .name = "one"))
                     : otp_server_start(&server, OPTS(OK, 1, .name = "one"));
    CHECK(p.id != 0);
    otp_exit(OTP_USER(12, "the starter"));
}

TEST(gen_server_13_the_starters_death_has_no_effect_without_a_link)
{
    otp_ref ref;
    bool link = false;
    CHECK(otp_spawn_monitor(starts_and_ends, &link, &ref).id != 0);
    CHECK_EQ(test_down(ref)->code, 12);
    CHECK_EQ(get(otp_whereis("one")), 1);
    end(otp_whereis("one"));
}

TEST(gen_server_14_start_options)
{
    static int there;
    otp_pid p = otp_server_start(&bare, &(otp_server_opts){ .arg = &there, .priority = OTP_PRIO_HIGH, .mailbox_limit = 1 });
    otp_info i;
    CHECK_EQ(otp_process_info(p, &i), 0);
    CHECK_EQ(i.priority, OTP_PRIO_HIGH);
    CHECK(i.handler);
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    CHECK_EQ(otp_cast(p, 1, NULL, 0), 0);
    CHECK_EQ(otp_cast(p, 1, NULL, 0), OTP_EFULL);
    CHECK_EQ(otp_try_call(p, 1, NULL, 0, NULL, 0, TEST_WAIT), OTP_EFULL);
    test_kill(p);
    CHECK_EQ(otp_server_start(&bare, &(otp_server_opts){ .arg_size = 3 }).id, 0);
    CHECK_EQ(otp_start_result(NULL), OTP_EBADARG);
    CHECK_EQ(otp_server_start(NULL, NULL).id, 0);
    CHECK_EQ(otp_start_result(NULL), OTP_EBADARG);
    CHECK_EQ(otp_server_start(&bare, &(otp_server_opts){ .timeout = -7 }).id, 0);
    CHECK_EQ(otp_start_result(NULL), OTP_EBADARG);
}

static otp_next big_init(void *state, const void *arg, size_t size)
{
    (void)state;
    const unsigned char *bytes = arg;
    CHECK_EQ(size, 5000);
    CHECK_EQ(bytes[0] + bytes[4999], 3 + 4);
    return OTP_OK;
}

static otp_next pointer_init(void *state, const void *arg, size_t size)
{
    CHECK_EQ(size, 0);
    *(const void **)state = arg;
    return OTP_OK;
}

TEST(an_argument_is_copied_or_handed_over)
{
    const otp_server big = { .name = "big", .init = big_init };
    const otp_server pointer = { .name = "pointer", .init = pointer_init, .state_size = sizeof(void *) };
    unsigned char bytes[5000] = { 3 };
    bytes[4999] = 4;
    otp_pid p = otp_server_start(&big, &(otp_server_opts){ .arg = bytes, .arg_size = sizeof bytes });
    CHECK(p.id != 0);
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
    p = otp_server_start(&pointer, &(otp_server_opts){ .arg = bytes });
    void *got = NULL;
    CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, &got, sizeof got, TEST_WAIT), sizeof got);
    CHECK(got == bytes);
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
}

/* -- call ----------------------------------------------------------------------------------------------- */

TEST(gen_server_15_16_timeout_zero_infinity_and_bad_times)
{
    otp_pid p = start(OK, 5);
    int n = 0;
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    CHECK_EQ(otp_try_call(p, NEVER, NULL, 0, NULL, 0, 0), OTP_ETIMEOUT);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    expect(NEVER);                                  /* it is handled all the same, and as a request */
    CHECK_EQ(otp_try_call(p, GET, NULL, 0, &n, sizeof n, OTP_INFINITY), sizeof n);
    CHECK_EQ(otp_try_call(p, GET, NULL, 0, &n, sizeof n, -5), OTP_EBADARG);
    end(p);
}

TEST(gen_server_16_timeout_and_a_late_reply_that_is_dropped)
{
    otp_pid p = start(OK, 5);
    CHECK_EQ(otp_try_call(p, LATER, NULL, 0, NULL, 0, 5), OTP_ETIMEOUT);
    expect(LATER);
    CHECK_EQ(otp_cast(p, FLUSH, NULL, 0), 0);
    CHECK_EQ(get(p), 5);                            /* the late reply has been sent, and is not taken for this one */
    test_quiet();
    end(p);
}

static void calls_and_exits(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    otp_call(p, NEVER, NULL, 0, NULL, 0, 5);
}

TEST(gen_server_16_timeout_ends_a_caller_that_does_not_handle_it)
{
    otp_pid p = start(OK, 5);
    otp_ref ref;
    CHECK(otp_spawn_monitor(calls_and_exits, &p, &ref).id != 0);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->kind, OTP_REASON_CALL);
    CHECK_EQ(why->code, OTP_ETIMEOUT);
    expect(NEVER);
    end(p);
}

TEST(gen_server_17_noproc_at_once)
{
    otp_pid p = start(OK, 5), nobody = { 0 };
    end(p);
    CHECK_EQ(otp_try_call(p, GET, NULL, 0, NULL, 0, OTP_INFINITY), OTP_ENOPROC);
    CHECK_EQ(otp_try_call(nobody, GET, NULL, 0, NULL, 0, OTP_INFINITY), OTP_ENOPROC);
    CHECK_EQ(otp_try_call(otp_whereis("nobody"), GET, NULL, 0, NULL, 0, OTP_INFINITY), OTP_ENOPROC);
}

static otp_next calls_itself(void *state, otp_from from, const otp_msg *m)
{
    (void)state;
    (void)m;
    return OTP_SERVER_REPLY(from, otp_try_call(otp_self(), GET, NULL, 0, NULL, 0, OTP_INFINITY));
}

TEST(gen_server_18_a_call_to_itself)
{
    const otp_server narcissus = { .name = "narcissus", .call = calls_itself };
    otp_pid p = otp_server_start(&narcissus, NULL);
    int64_t rc = 0;
    CHECK_EQ(otp_call(p, GET, NULL, 0, &rc, sizeof rc, TEST_WAIT), sizeof rc);
    CHECK_EQ(rc, OTP_ESELF);
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
    CHECK_EQ(otp_server_stop(otp_self(), OTP_NORMAL, TEST_WAIT), OTP_ESELF);
}

static void queued_caller(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    int n;
    note(app_pid(), (int)otp_try_call(p, GET, NULL, 0, &n, sizeof n, OTP_INFINITY));
}

static void until_queue(otp_pid p, size_t n)
{
    otp_info i;
    for (int k = 0; k < 20000; k++) {
        CHECK_EQ(otp_process_info(p, &i), 0);
        if (i.message_queue_len >= n) return;
        otp_sleep(1);
    }
    FAIL("the messages never come");
}

TEST(gen_server_19_20_a_death_reaches_the_served_and_all_queued_callers)
{
    enum { CALLERS = 10 };
    otp_pid p = start(OK, 5);
    otp_ref served = otp_send_request(p, SLOW, NULL, 0);
    expect(SLOW);
    for (int i = 0; i < CALLERS; i++) CHECK(otp_spawn(queued_caller, &p).id != 0);
    until_queue(p, CALLERS);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(2, "ended")), 0);
    for (int i = 0; i < CALLERS; i++) expect(OTP_EDIED);
    CHECK_EQ(test_down(served)->code, 2);
}

TEST(gen_server_19_the_reason_of_a_death_is_told_also_normal)
{
    otp_pid p = start(OK, 5);
    int zero = 0;
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    CHECK_EQ(otp_cast(p, STOP, &zero, sizeof zero), 0);
    otp_ref ref = otp_send_request(p, GET, NULL, 0);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    expect(E_TERMINATE);
}

TEST(gen_server_19_an_answer_to_another_request_does_not_count_for_this_one)
{
    otp_pid p = start(OK, 5);
    otp_ref first = otp_send_request(p, LATER, NULL, 0);
    expect(LATER);
    CHECK_EQ(otp_try_call(p, OTHER, NULL, 0, NULL, 0, TEST_WAIT), OTP_EDIED);
    const otp_msg *m = otp_recv_ref(first, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(m->tag, OTP_REPLY_TAG);
    expect(E_TERMINATE + 71);
}

TEST(gen_server_53_a_report_names_no_client_that_was_answered)
{
    otp_ref ref;
    int64_t sum = 0, one = 1;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 8, .name = NULL), &ref);
    CHECK_EQ(otp_call(p, WORD, &one, sizeof one, &sum, sizeof sum, TEST_WAIT), sizeof sum);
    cast_number(p, STOP, 21);
    CHECK_EQ(test_down(ref)->code, 21);
    CHECK(test_log_wait("state: n = 8"));
    CHECK(!test_log_has("waits"));
    expect(E_TERMINATE + 21);
}

TEST(gen_server_21_a_finished_call_leaves_nothing_behind)
{
    otp_pid p = start(OK, 5);
    for (int i = 0; i < 20; i++) CHECK_EQ(get(p), 5);
    CHECK_EQ(otp_try_call(p, NEVER, NULL, 0, NULL, 0, 1), OTP_ETIMEOUT);
    expect(NEVER);
    otp_info i;
    CHECK_EQ(otp_process_info(otp_self(), &i), 0);
    CHECK_EQ(i.monitors, 0);
    CHECK_EQ(i.message_queue_len, 0);
    end(p);
    test_quiet();
}

TEST(gen_server_22_calls_and_casts_of_one_client_keep_their_order)
{
    otp_pid p = start(OK, 0);
    int sum = 0;
    for (int i = 1; i <= 100; i++) {
        cast_number(p, ADD, i);
        sum += i;
        if (i % 7 == 0) CHECK_EQ(get(p), sum);
    }
    CHECK_EQ(get(p), sum);
    end(p);
}

/* -- replies -------------------------------------------------------------------------------------------- */

TEST(gen_server_24_a_stored_from_is_answered_later_in_any_order)
{
    otp_pid p = start(OK, 5);
    otp_ref refs[3];
    for (int i = 0; i < 3; i++) {
        refs[i] = otp_send_request(p, LATER, NULL, 0);
        expect(LATER);
    }
    CHECK_EQ(get(p), 5);                            /* it serves others meanwhile */
    CHECK_EQ(otp_cast(p, FLUSH, NULL, 0), 0);
    for (int i = 0; i < 3; i++) {
        size_t which;
        const otp_msg *m = otp_wait_any(refs, 3, TEST_WAIT, &which);
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), which);
        CHECK_EQ(which, 2 - i);
        refs[which].id = 0;
    }
    end(p);
}

TEST(gen_server_24_another_process_answers)
{
    otp_pid p = start(OK, 5);
    int n = 0;
    CHECK_EQ(otp_call(p, HELPED, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    CHECK_EQ(n, 77);
    end(p);
}

TEST(gen_server_25_a_reply_before_the_callback_is_over)
{
    otp_pid p = start(OK, 5);
    int n = 0;
    CHECK_EQ(otp_call(p, EARLY, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    CHECK_EQ(n, 5);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    end(p);
}

TEST(gen_server_26_a_second_reply_is_dropped)
{
    otp_pid p = start(OK, 5);
    for (int i = 0; i < 10; i++) {
        int n = 0;
        CHECK_EQ(otp_call(p, TWICE, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
        CHECK_EQ(n, 1);
        CHECK_EQ(get(p), 5);
    }
    test_quiet();
    end(p);
}

static void asks_and_ends(void *arg)
{
    CHECK(otp_send_request(*(otp_pid *)arg, LATER, NULL, 0).id != 0);
}

TEST(gen_server_27_a_reply_to_a_dead_client)
{
    otp_pid p = start(OK, 5);
    otp_ref ref;
    CHECK(otp_spawn_monitor(asks_and_ends, &p, &ref).id != 0);
    expect(LATER);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    CHECK_EQ(otp_cast(p, FLUSH, NULL, 0), 0);
    CHECK_EQ(get(p), 5);
    end(p);
}

TEST(gen_server_28_a_request_that_is_never_answered)
{
    otp_pid p = start(OK, 5);
    CHECK_EQ(otp_try_call(p, NEVER, NULL, 0, NULL, 0, 5), OTP_ETIMEOUT);
    expect(NEVER);
    CHECK_EQ(get(p), 5);
    end(p);
}

/* -- cast, info ----------------------------------------------------------------------------------------- */

TEST(gen_server_29_a_cast_to_nobody)
{
    otp_pid p = start(OK, 5), nobody = { 0 };
    end(p);
    CHECK_EQ(otp_cast(p, ADD, NULL, 0), OTP_ENOPROC);       /* which may be ignored: the caller goes on */
    CHECK_EQ(otp_cast(nobody, ADD, NULL, 0), OTP_ENOPROC);
}

static void brief(void *arg) { (void)arg; }

static otp_next watcher_cast(void *state, const otp_msg *m)
{
    (void)state;
    (void)m;
    otp_ref ref;
    otp_trap_exit(true);
    CHECK(otp_spawn_link(brief, NULL).id != 0);
    CHECK(otp_spawn_monitor(brief, NULL, &ref).id != 0);
    CHECK(otp_start_timer(1, otp_self(), NULL, 0).id != 0);
    CHECK(otp_send_request(otp_self(), 1, NULL, 0).id != 0);
    return OTP_OK;
}

static otp_next watcher_call(void *state, otp_from from, const otp_msg *m)
{
    (void)state;
    (void)m;
    return OTP_SERVER_REPLY(from, 1);
}

static otp_next watcher_info(void *state, const otp_msg *m)
{
    (void)state;
    note(app_pid(), m->tag);
    return OTP_OK;
}

TEST(gen_server_30_down_exit_timers_and_answers_go_to_info)
{
    const otp_server watcher = { .name = "watcher", .call = watcher_call, .cast = watcher_cast, .info = watcher_info };
    otp_pid p = otp_server_start(&watcher, NULL);
    int seen = 0;
    CHECK_EQ(otp_cast(p, 1, NULL, 0), 0);
    for (int i = 0; i < 4; i++) {
        const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
        CHECK(m != NULL);
        seen |= 1 << -*OTP_PAYLOAD(m, int);
    }
    CHECK_EQ(seen, 1 << -OTP_EXIT | 1 << -OTP_DOWN | 1 << -OTP_TIMEOUT_TAG | 1 << -OTP_REPLY_TAG);
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
}

TEST(gen_server_31_without_info_a_message_is_logged_and_dropped)
{
    otp_pid p = otp_server_start(&bare, NULL);
    CHECK_EQ(otp_send(p, 321, "abc", 3), 0);
    CHECK_EQ(sys(p, OTP_SYS_GET_STATE), 0);
    CHECK(test_log_has("warning: server bare has no info: message 321, 3 bytes, is dropped"));
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
}

TEST(gen_server_32_41_a_missing_callback_ends_it)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&bare, NULL, &ref);
    CHECK_EQ(otp_try_call(p, GET, NULL, 0, NULL, 0, TEST_WAIT), OTP_EDIED);
    CHECK_EQ(test_down(ref)->code, OTP_EBADCALL);
    p = otp_server_start_monitor(&bare, NULL, &ref);
    CHECK_EQ(otp_cast(p, ADD, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->code, OTP_EBADCALL);
    const otp_server no_continued = { .name = "x", .init = init, .state_size = sizeof(struct state) };
    p = otp_server_start_monitor(&no_continued, OPTS(INIT_CONTINUE, 1, .name = NULL), &ref);
    CHECK(p.id != 0);
    CHECK_EQ(test_down(ref)->code, OTP_EBADCALL);
}

/* -- what callbacks return ------------------------------------------------------------------------------ */

TEST(gen_server_33_34_stop_from_each_callback)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    CHECK_EQ(try_number(p, STOP, 21), OTP_EDIED);
    CHECK_EQ(test_down(ref)->code, 21);
    expect(E_TERMINATE + 21);
    p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    cast_number(p, STOP, 22);
    CHECK_STR(test_down(ref)->text, "cast");
    expect(E_TERMINATE + 22);
    p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    CHECK_EQ(otp_send(p, STOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->code, 4);
    expect(E_TERMINATE + 4);
    p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    cast_number(p, CONTINUE, 99);
    CHECK_EQ(test_down(ref)->code, 99);
    expect(E_CAST);
    expect(E_CONTINUED + 99);
    expect(E_TERMINATE + 99);
}

TEST(gen_server_33_a_reply_with_idle_and_with_continue)
{
    otp_pid p = start(OK, 1);
    CHECK_EQ(try_number(p, IDLE, 1), sizeof(int));
    expect(E_IDLE);
    CHECK_EQ(try_number(p, CONTINUE, 1), sizeof(int));
    expect(E_CONTINUED + 1);
    expect(E_CONTINUED);
    end(p);
}

TEST(gen_server_35_stop_with_a_reply_runs_terminate_first)
{
    for (int i = 0; i < test_many(50, 3); i++) {
        otp_ref ref;
        char text[300];
        otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = "one"), &ref);
        CHECK_EQ(otp_call(p, STOP_REPLY, NULL, 0, text, sizeof text, TEST_WAIT), sizeof text);
        CHECK_STR(text, "the last answer");
        const otp_msg *m = otp_recv_tag(NOTE, 0);   /* it is there already */
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), E_TERMINATE);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    }
}

TEST(gen_server_36_stop_without_a_reply)
{
    otp_pid p = start(OK, 1);
    int code = 31;
    otp_ref ref = otp_send_request(p, STOP, &code, sizeof code);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->code, 31);
    CHECK_STR(why->text, "as told");
    expect(E_TERMINATE + 31);
}

TEST(gen_server_39_continue_runs_before_what_waits_already)
{
    otp_pid p = start(OK, 1);
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    cast_number(p, CONTINUE, 2);
    cast_number(p, 800, 0);
    CHECK_EQ(otp_send(p, 801, NULL, 0), 0);
    CHECK_EQ(otp_send(p, CONTINUE, NULL, 0), 0);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    expect(E_CAST);
    for (int i = 2; i >= 0; i--) expect(E_CONTINUED + i);
    expect(E_CAST + 800);
    expect(E_INFO + 801);
    expect(E_CONTINUED + 1);
    expect(E_CONTINUED);
    end(p);
}

/* -- idle time ------------------------------------------------------------------------------------------ */

TEST(gen_server_42_46_idle_time_again_and_again)
{
    otp_pid p = start(OK, 1);
    int64_t before = otp_now();
    CHECK_EQ(otp_send(p, IDLE, NULL, 0), 0);        /* 3 times 5 ms, as info asks for it again */
    for (int i = 0; i < 3; i++) expect(E_IDLE);
    CHECK(otp_now() - before >= 15);
    end(p);
    test_quiet();
}

TEST(gen_server_43_any_message_ends_the_idle_time)
{
    for (int kind = 0; kind < 3; kind++) {
        otp_pid p = start(INIT_IDLE, test_opt_deterministic ? 500 : 200);
        if (kind == 0) CHECK_EQ(get(p), test_opt_deterministic ? 500 : 200);
        else if (kind == 1) cast_number(p, ADD, 1);
        else CHECK_EQ(otp_send(p, 1, NULL, 0), 0);
        if (kind == 2) expect(E_INFO + 1);
        otp_sleep(test_opt_deterministic ? 1000 : 250);
        test_quiet();
        end(p);
    }
}

TEST(gen_server_44_a_system_request_does_not_end_the_idle_time)
{
    otp_pid p = start(INIT_IDLE, 50);
    for (int i = 0; i < 3; i++) CHECK_EQ(otp_try_call(p, OTP_SYS_TRACE, &i, 0, NULL, 0, TEST_WAIT), 0);
    expect(E_IDLE);
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    cast_number(p, IDLE, 5);
    otp_sleep(10);
    test_quiet();
    CHECK_EQ(sys(p, OTP_SYS_RESUME), 0);
    expect(E_IDLE);
    end(p);
}

TEST(gen_server_45_idle_zero)
{
    otp_pid p = start(OK, 1);
    cast_number(p, IDLE, 0);
    expect(E_IDLE);                                 /* at once when nothing waits */
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    cast_number(p, IDLE, 0);
    cast_number(p, 800, 0);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    expect(E_CAST + 800);                           /* what waits is handled, and no timeout comes */
    test_quiet();
    end(p);
}

TEST(gen_server_47_between_messages_it_has_no_stack)
{
    otp_pid p = start(OK, 1);
    CHECK_EQ(get(p), 1);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    otp_info i;
    CHECK_EQ(otp_process_info(p, &i), 0);
    CHECK_EQ(i.stack_bytes, 0);
    CHECK(i.memory <= 512);
    end(p);
}

/* -- terminate ------------------------------------------------------------------------------------------ */

TEST(gen_server_48_an_exit_in_a_callback_runs_terminate)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    CHECK_EQ(otp_try_call(p, EXITS, NULL, 0, NULL, 0, TEST_WAIT), OTP_EDIED);
    CHECK_EQ(test_down(ref)->code, 9);
    expect(E_TERMINATE + 9);
}

TEST(gen_server_49_no_terminate_for_kill_and_untrapped_signals)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(TRAPS, 1, .name = NULL), &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_SHUTDOWN);
    test_quiet();
}

static void parent(void *arg)
{
    enum how how = *(enum how *)arg;
    otp_pid p = otp_server_start_link(&server, OPTS(how, 1, .name = "one"));
    CHECK(p.id != 0);
    note(app_pid(), 1);
    const otp_msg *m = otp_recv_tag(GO, TEST_WAIT);
    CHECK(m != NULL);
    otp_exit(OTP_USER(*OTP_PAYLOAD(m, int), "parent"));
}

static otp_pid start_parent(enum how *how, otp_pid *child, otp_ref *ref)
{
    otp_pid top = otp_spawn(parent, how);
    expect(1);
    *child = otp_whereis("one");
    *ref = otp_monitor(*child);
    return top;
}

TEST(gen_server_50_the_parents_end)
{
    otp_pid child;
    otp_ref ref;
    enum how how = TRAPS;
    otp_pid top = start_parent(&how, &child, &ref);
    CHECK_EQ(otp_exit_signal(child, OTP_USER(3, "a stranger")), 0);
    expect(E_INFO + OTP_EXIT);                      /* from others: a message */
    CHECK_EQ(OTP_SEND(top, GO, 41), 0);
    CHECK_EQ(test_down(ref)->code, 41);
    expect(E_TERMINATE + 41);
    how = OK;                                       /* not trapping: no terminate */
    top = start_parent(&how, &child, &ref);
    CHECK_EQ(OTP_SEND(top, GO, 42), 0);
    CHECK_EQ(test_down(ref)->code, 42);
    test_quiet();
}

TEST(gen_server_52_an_exit_in_terminate_cuts_it_short)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    cast_number(p, EXITS, 66);
    cast_number(p, STOP, 22);
    CHECK_EQ(test_down(ref)->code, 22);             /* the first reason stays */
    expect(E_TERMINATE + 22);
}

TEST(gen_server_53_a_report_for_other_ends_than_normal_and_shutdown)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 8, .name = NULL), &ref);
    cast_number(p, STOP, 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    expect(E_TERMINATE);
    p = otp_server_start(&server, OPTS(OK, 8, .name = NULL));
    CHECK_EQ(otp_server_stop(p, OTP_SHUTDOWN, TEST_WAIT), 0);
    expect(E_TERMINATE);
    CHECK(!test_log_has("error"));
    p = otp_server_start_monitor(&server, OPTS(OK, 8, .name = NULL), &ref);
    CHECK_EQ(try_number(p, STOP, 21), OTP_EDIED);
    CHECK_EQ(test_down(ref)->code, 21);
    CHECK(test_log_wait("as told"));
    CHECK(test_log_has("probe"));
    CHECK(test_log_has("last message: 10, 4 bytes"));
    CHECK(test_log_has("state: n = 8"));
    expect(E_TERMINATE + 21);
}

static void asks_where(void *state, const otp_reason *why)
{
    (void)state;
    (void)why;
    note(app_pid(), otp_same(otp_whereis("one"), otp_self()));
}

TEST(gen_server_54_terminate_then_the_name_then_monitors)
{
    const otp_server named = { .name = "named", .terminate = asks_where };
    for (int i = 0; i < test_many(50, 3); i++) {
        otp_ref ref;
        otp_pid p = otp_server_start_monitor(&named, &(otp_server_opts){ .name = "one" }, &ref);
        CHECK(p.id != 0);
        CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, NULL, 0, TEST_WAIT), 0);
        int rc = otp_server_stop(p, OTP_NORMAL, TEST_WAIT);
        CHECK_EQ(rc, 0);
        CHECK_EQ(otp_whereis("one").id, 0);
        const otp_msg *m = otp_recv_tag(NOTE, 0);
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), 1);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    }
}

static int deferred;
static void count_deferred(void *arg) { (*(int *)arg)++; }

static otp_next owner_call(void *state, otp_from from, const otp_msg *m)
{
    (void)state;
    (void)m;
    CHECK_EQ(otp_defer(count_deferred, &deferred), 0);
    CHECK(otp_send_after(20, otp_self(), 1, NULL, 0).id != 0);
    CHECK(otp_alloc(1000) != NULL);
    (void)otp_monitor(app_pid());
    return OTP_SERVER_REPLY(from, 1);
}

TEST(gen_server_55_a_kill_cleans_up_without_terminate)
{
    const otp_server owner = { .name = "owner", .call = owner_call };
    deferred = 0;
    otp_pid p = otp_server_start(&owner, &(otp_server_opts){ .name = "one" });
    CHECK_EQ(try_number(p, GET, 1), sizeof(int));
    test_kill(p);
    CHECK_EQ(deferred, 1);
    CHECK_EQ(otp_whereis("one").id, 0);
    otp_info i;
    CHECK_EQ(otp_process_info(otp_self(), &i), 0);
    CHECK_EQ(i.monitored_by, 0);
    test_quiet();
}

/* -- stop ----------------------------------------------------------------------------------------------- */

TEST(gen_server_56_stop_handles_what_waits_and_runs_terminate)
{
    otp_pid p = start(OK, 1);
    cast_number(p, 800, 0);
    CHECK_EQ(otp_server_stop(p, OTP_USER(7, "maintenance"), TEST_WAIT), 0);
    CHECK(!otp_is_alive(p));
    expect(E_CAST + 800);
    expect(E_TERMINATE + 7);
    test_quiet();
}

TEST(gen_server_56_stop_also_a_suspended_one_and_any_handler)
{
    otp_pid p = start(OK, 1);
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    cast_number(p, 800, 0);
    end(p);
    test_quiet();
}

TEST(gen_server_57_stop_of_the_dead_and_another_reason)
{
    otp_pid p = start(OK, 1), nobody = { 0 };
    end(p);
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), OTP_ENOPROC);
    CHECK_EQ(otp_server_stop(nobody, OTP_NORMAL, OTP_INFINITY), OTP_ENOPROC);
    p = start(OK, 1);
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    cast_number(p, STOP, 5);                        /* it stops before the request is its turn */
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    int rc = otp_server_stop(p, OTP_NORMAL, TEST_WAIT);
    CHECK(rc == OTP_EDIED || rc == OTP_ENOPROC);
    expect(E_TERMINATE + 5);
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, -3), OTP_EBADARG);
    test_quiet();
}

TEST(gen_server_58_stop_and_its_timeout)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 1, .name = NULL), &ref);
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    CHECK_EQ(otp_server_stop(p, OTP_USER(7, NULL), 5), OTP_ETIMEOUT);
    CHECK(otp_is_alive(p));
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->code, 7);
    expect(E_TERMINATE + 7);
    test_quiet();
}

/* -- asynchronous requests ------------------------------------------------------------------------------ */

TEST(gen_server_59_60_61_requests_and_their_answers)
{
    otp_pid p = start(OK, 5), nobody = { 0 };
    otp_ref ref = otp_send_request(nobody, GET, NULL, 0);
    CHECK(ref.id != 0);
    size_t which;
    const otp_msg *m = otp_wait_any(&ref, 1, TEST_WAIT, &which);
    CHECK(m != NULL);
    CHECK_EQ(otp_reply_code(m), OTP_ENOPROC);
    ref = otp_send_request(p, LATER, NULL, 0);
    expect(LATER);
    CHECK(otp_wait_any(&ref, 1, 1, &which) == NULL);        /* the request lives on */
    CHECK_EQ(otp_cast(p, FLUSH, NULL, 0), 0);
    m = otp_wait_any(&ref, 1, TEST_WAIT, &which);
    CHECK(m != NULL);
    CHECK_EQ(otp_reply_code(m), 0);
    ref = otp_send_request(p, LATER, NULL, 0);
    expect(LATER);
    CHECK(otp_wait_any(&ref, 1, 1, &which) == NULL);
    CHECK_EQ(otp_cancel_request(ref), 0);                   /* given up: the late answer is dropped */
    CHECK_EQ(otp_cast(p, FLUSH, NULL, 0), 0);
    CHECK_EQ(get(p), 5);
    test_quiet();
    end(p);
}

TEST(gen_server_62_63_collections_of_requests)
{
    enum { N = 5 };
    otp_pid p[N];
    otp_ref refs[N];
    bool seen[N] = { false };
    size_t which;
    for (int i = 0; i < N; i++) p[i] = start(OK, i);
    for (int i = 0; i < N; i++) refs[i] = otp_send_request(p[i], GET, NULL, 0);
    for (int i = 0; i < N; i++) {
        const otp_msg *m = otp_wait_any(refs, N, TEST_WAIT, &which);
        CHECK(m != NULL);
        CHECK(!seen[which]);
        CHECK_EQ(*OTP_PAYLOAD(m, int), which);
        seen[which] = true;
        refs[which].id = 0;
    }
    CHECK(otp_wait_any(refs, N, OTP_INFINITY, &which) == NULL);     /* an empty collection does not wait */
    for (int i = 0; i < N; i++) end(p[i]);
}

TEST(gen_server_65_multi_call)
{
    otp_pid p[5] = { start(OK, 10), { 0 }, start(OK, 12), start(OK, 13), start(OK, 14) };
    int replies[5] = { 0 };
    int64_t sizes[5];
    CHECK_EQ(otp_server_stop(p[3], OTP_NORMAL, TEST_WAIT), 0);
    expect(E_TERMINATE);
    CHECK_EQ(sys(p[4], OTP_SYS_SUSPEND), 0);                /* late */
    CHECK_EQ(otp_server_multi_call(p, 5, GET, NULL, 0, replies, sizeof replies[0], sizes, 50), 2);
    CHECK_EQ(replies[0], 10);
    CHECK_EQ(replies[2], 12);
    CHECK_EQ(sizes[0], sizeof(int));
    CHECK_EQ(sizes[1], OTP_ENOPROC);
    CHECK_EQ(sizes[3], OTP_ENOPROC);
    CHECK_EQ(sizes[4], OTP_ETIMEOUT);
    CHECK_EQ(sys(p[4], OTP_SYS_RESUME), 0);
    CHECK_EQ(get(p[4]), 14);                                /* the late answer is dropped */
    test_quiet();
    CHECK_EQ(otp_server_multi_call(p, 1, GET, NULL, 0, replies, 1, sizes, TEST_WAIT), 0);
    CHECK_EQ(sizes[0], OTP_ESIZE);
    CHECK_EQ(otp_server_multi_call(NULL, 0, GET, NULL, 0, NULL, 0, NULL, OTP_INFINITY), 0);
    CHECK_EQ(otp_server_multi_call(NULL, 1, GET, NULL, 0, NULL, 0, NULL, 1), OTP_EBADARG);
    CHECK_EQ(otp_server_multi_call(p, 1, GET, NULL, 0, NULL, 0, NULL, -7), OTP_EBADARG);
    end(p[0]);
    end(p[2]);
    end(p[4]);
}

/* -- names, system requests ----------------------------------------------------------------------------- */

TEST(gen_server_67_69_by_pid_and_by_name)
{
    otp_pid p = otp_server_start(&server, OPTS(OK, 3, .name = "one"));
    CHECK(otp_same(otp_whereis("one"), p));
    CHECK_EQ(get(otp_whereis("one")), 3);
    CHECK_EQ(otp_send_name("one", 1, NULL, 0), 0);
    expect(E_INFO + 1);
    end(p);
    CHECK_EQ(otp_whereis("one").id, 0);
}

static bool slow_then_system(otp_pid p)
{
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    cast_number(p, ADD, 1);
    otp_ref ref = otp_send_request(p, OTP_SYS_GET_STATE, NULL, 0);
    cast_number(p, ADD, 1);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    CHECK(m != NULL);
    return OTP_PAYLOAD(m, struct state)->n == 1;
}

TEST(gen_server_71_system_requests_wait_in_order)
{
    otp_pid p = start(OK, 0);
    CHECK(slow_then_system(p));
    CHECK_EQ(get(p), 2);
    end(p);
}

TEST(gen_server_72_a_system_request_and_its_timeout)
{
    otp_pid p = start(OK, 0);
    struct state s;
    CHECK_EQ(otp_cast(p, SLOW, NULL, 0), 0);
    expect(SLOW);
    CHECK_EQ(otp_try_call(p, OTP_SYS_GET_STATE, NULL, 0, &s, sizeof s, 5), OTP_ETIMEOUT);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    end(p);
    CHECK_EQ(otp_try_call(p, OTP_SYS_GET_STATE, NULL, 0, &s, sizeof s, OTP_INFINITY), OTP_ENOPROC);
}

TEST(gen_server_73_74_suspended_it_handles_system_requests_only)
{
    otp_pid p = start(OK, 4);
    struct state s;
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    cast_number(p, 801, 0);
    CHECK_EQ(otp_send(p, 802, NULL, 0), 0);
    cast_number(p, 803, 0);
    test_quiet();
    CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, &s, sizeof s, TEST_WAIT), sizeof s);
    s.n = 44;
    CHECK_EQ(otp_try_call(p, OTP_SYS_REPLACE_STATE, &s, sizeof s, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(sys(p, OTP_SYS_RESUME), 0);            /* once is enough */
    expect(E_CAST + 801);
    expect(E_INFO + 802);
    expect(E_CAST + 803);
    CHECK_EQ(get(p), 44);
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);  /* signals are obeyed */
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
}

TEST(gen_server_75_replace_state)
{
    otp_pid p = start(OK, 4);
    struct state s;
    CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, &s, sizeof s, TEST_WAIT), sizeof s);
    CHECK_EQ(s.n, 4);
    s.n = 5;
    CHECK_EQ(otp_try_call(p, OTP_SYS_REPLACE_STATE, &s, sizeof s, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(get(p), 5);
    CHECK_EQ(otp_try_call(p, OTP_SYS_REPLACE_STATE, &s, sizeof s - 1, NULL, 0, TEST_WAIT), OTP_ESIZE);
    CHECK_EQ(get(p), 5);
    end(p);
}

TEST(gen_server_76_change_code_only_while_suspended)
{
    otp_pid p = start(OK, 4);
    int extra = 10;
    CHECK_EQ(otp_try_call(p, OTP_SYS_CHANGE_CODE, &extra, sizeof extra, NULL, 0, TEST_WAIT), OTP_EBADCALL);
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    CHECK_EQ(otp_try_call(p, OTP_SYS_CHANGE_CODE, &extra, sizeof extra, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(otp_try_call(p, OTP_SYS_CHANGE_CODE, &extra, 1, NULL, 0, TEST_WAIT), OTP_EBADARG);
    CHECK_EQ(sys(p, OTP_SYS_RESUME), 0);
    CHECK_EQ(get(p), 14);
    end(p);
    p = otp_server_start(&bare, NULL);
    CHECK_EQ(sys(p, OTP_SYS_SUSPEND), 0);
    CHECK_EQ(sys(p, OTP_SYS_CHANGE_CODE), OTP_EBADCALL);    /* it has none */
    CHECK_EQ(otp_server_stop(p, OTP_NORMAL, TEST_WAIT), 0);
}

TEST_WITH(gen_server_79_trace_logs_each_message, .opts.log_level = OTP_LOG_NOTICE)
{
    otp_pid p = start(OK, 4);
    int on = 1;
    CHECK_EQ(otp_try_call(p, OTP_SYS_TRACE, &on, sizeof on, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(get(p), 4);
    CHECK(test_log_has("got message 1, 0 bytes"));
    CHECK_EQ(sys(p, OTP_SYS_TRACE), 0);
    int before = test_log_count("got message");
    CHECK_EQ(get(p), 4);
    CHECK_EQ(test_log_count("got message"), before);
    end(p);
}

TEST(gen_server_81_terminate_by_system_request)
{
    otp_pid p = start(OK, 4);
    otp_ref ref = otp_monitor(p);
    struct { otp_reason why; char text[8]; } wire = { OTP_USER(17, NULL), "upgrade" };
    CHECK_EQ(otp_try_call(p, OTP_SYS_TERMINATE, &wire, 3, NULL, 0, TEST_WAIT), OTP_EBADCALL);       /* no reason */
    CHECK_EQ(otp_try_call(p, OTP_SYS_TERMINATE, &wire, sizeof wire, NULL, 0, TEST_WAIT), OTP_EDIED);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->code, 17);
    CHECK_STR(why->text, "upgrade");
    expect(E_TERMINATE + 17);
}

TEST(gen_server_82_process_info_of_a_server)
{
    otp_pid p = otp_server_start(&server, OPTS(OK, 3, .name = "one"));
    otp_info i;
    CHECK_EQ(otp_process_info(p, &i), 0);
    CHECK_STR(i.name, "one");
    CHECK(i.handler);
    CHECK(otp_same(i.parent, otp_self()));
    CHECK(strstr(i.spawned, "test_server.c:") != NULL);
    end(p);
}

#if TEST_FAULTS
TEST_WITH(gen_server_19_48_a_crash_in_a_callback, .opts.force_isolation = true)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 4, .name = NULL), &ref);
    CHECK_EQ(otp_try_call(p, CRASHES, NULL, 0, NULL, 0, TEST_WAIT), OTP_EDIED);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
    test_quiet();                                   /* no terminate: the state may be broken */
    CHECK(test_log_wait("state: n = 4"));
}

TEST_WITH(gen_server_52_a_crash_in_terminate_is_reported, .opts.force_isolation = true)
{
    otp_ref ref;
    otp_pid p = otp_server_start_monitor(&server, OPTS(OK, 4, .name = NULL), &ref);
    cast_number(p, EXITS, 1);
    cast_number(p, STOP, 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    expect(E_TERMINATE);
    CHECK(test_log_wait("SIGSEGV"));
}
#endif

/* -- several at once ------------------------------------------------------------------------------------ */

static void adder(void *arg)
{
    otp_pid p = *(otp_pid *)arg;
    for (int i = 0; i < 50; i++) CHECK_EQ(try_number(p, ADD, 1), sizeof(int));
    note(app_pid(), 1);
}

TEST(many_clients_of_one_server)
{
    otp_pid p = start(OK, 0);
    for (int i = 0; i < 20; i++) CHECK(otp_spawn(adder, &p).id != 0);
    for (int i = 0; i < 20; i++) expect(1);
    CHECK_EQ(get(p), 1000);
    end(p);
}
