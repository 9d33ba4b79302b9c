/* Handler processes: callbacks, messages left for later, idle times, continuing, stopping, system messages. */
#include "test.h"

enum { ADD = 1, GET, LEAVE, LATER, RETRY, IDLE, CONTINUE, STOP, FAIL, SLEEP, ASK, EXIT, NOTE, ORDER, SELECT, SELF, NOP, ALLOC };

struct note { int what, n; };

static void note(int what, int n)
{
    struct note x = { what, n };
    CHECK_EQ(OTP_SEND(test_app, NOTE, x), 0);
}

static void expect(int what, int n)
{
    const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
    CHECK(m != NULL);
    const struct note *x = OTP_PAYLOAD(m, struct note);
    CHECK_EQ(x->what, what);
    CHECK_EQ(x->n, n);
}

struct counter { int n; int marks[50]; int left; bool trace; };

static otp_next counter_init(void *state, const void *arg, size_t size)
{
    struct counter *c = state;
    for (size_t i = 0; i < sizeof *c; i++) CHECK_EQ(((const char *)state)[i], 0);
    CHECK(otp_handler_state() == state);
    if (size == sizeof(int)) c->n = *(const int *)arg;
    if (c->n == -1) return otp_stop_with(OTP_USER(11, "init said no"));
    if (c->n == -2) return otp_continue(70);
    if (c->n == -3) return otp_idle(5);
    if (c->n == -4) otp_trap_exit(true);
    return OTP_OK;
}

static otp_next counter_message(void *state, const otp_msg *m)
{
    struct counter *c = state;
    otp_from from = otp_from_of(m);
    int n = m->size == sizeof(int) ? *OTP_PAYLOAD(m, int) : 0;
    CHECK(otp_handler_state() == state);
    switch (m->tag) {
    case ADD: c->n += n; return OTP_OK;
    case GET: CHECK_EQ(OTP_REPLY(from, c->n), 0); return OTP_OK;
    case LEAVE: return OTP_LEAVE;
    case LATER:
        if (c->left == 0) return OTP_LEAVE;
        note(LATER, n);
        return OTP_OK;
    case RETRY: c->left = n; note(RETRY, n); return OTP_RETRY;
    case IDLE: return otp_idle(n);
    case OTP_IDLE: note(IDLE, c->n); return OTP_OK;
    case CONTINUE: return otp_continue(n);
    case OTP_CONTINUE:
        note(CONTINUE, *OTP_PAYLOAD(m, int));
        return *OTP_PAYLOAD(m, int) > 100 ? otp_continue(*OTP_PAYLOAD(m, int) - 1) : OTP_OK;
    case STOP: return otp_stop_with(OTP_USER(n, "stopped"));
    case EXIT: otp_exit(OTP_USER(n, "left from inside"));
    case SLEEP: {
        int local[8];
        for (int i = 0; i < 8; i++) local[i] = n + i;
        otp_sleep(n);
        for (int i = 0; i < 8; i++) CHECK_EQ(local[i], n + i);
        note(SLEEP, n);
        return OTP_OK;
    }
    case ASK: {
        int reply = 0;
        otp_pid other = *OTP_PAYLOAD(m, otp_pid);
        CHECK_EQ(otp_call(other, GET, NULL, 0, &reply, sizeof reply, TEST_WAIT), sizeof reply);
        c->n += reply;
        note(ASK, c->n);
        return OTP_OK;
    }
    case SELECT: {                                          /* a selective receive inside a callback */
        const otp_msg *x;
        int got = 0;
        otp_receive (x, TEST_WAIT) {
            case ORDER:     got = *OTP_PAYLOAD(x, int); break;
            case OTP_AFTER: got = -1; break;
        }
        note(SELECT, got);
        return OTP_OK;
    }
    case ORDER: note(ORDER, n); return OTP_OK;
    case SELF: CHECK_EQ(OTP_REPLY(from, otp_self()), 0); return OTP_OK;
    case ALLOC: CHECK(otp_alloc((size_t)n) != NULL); return OTP_OK;
    case OTP_EXIT: note(OTP_EXIT, otp_reason_of(m)->code); return OTP_OK;
    case OTP_DOWN: note(OTP_DOWN, otp_reason_of(m)->code); return OTP_OK;
    case TEST_STOP: return otp_stop_with(OTP_NORMAL);
    default:
        if (m->ref.id != 0) CHECK_EQ(otp_reply_error(from, OTP_EBADCALL), 0);
        return OTP_OK;
    }
}

static void counter_terminate(void *state, const otp_reason *why)
{
    struct counter *c = state;
    CHECK(otp_handler_state() == state);
    if (c->n >= 1000) note(TEST_STOP, (int)why->kind * 1000 + why->code);
}

static int counter_format(const void *state, char *out, size_t size)
{
    return snprintf(out, size, "counter at %d", ((const struct counter *)state)->n);
}

static const otp_handler counter = {
    .name = "counter", .state_size = sizeof(struct counter), .init = counter_init, .message = counter_message,
    .terminate = counter_terminate, .format = counter_format,
};

static otp_pid start(const otp_handler *h, int n, otp_ref *ref)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .handler = h, .arg = &n, .arg_size = sizeof n, .monitor = ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK(p.id != 0);
    return p;
}

static int get(otp_pid p)
{
    int n = -12345;
    CHECK_EQ(otp_call(p, GET, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
    return n;
}

static void send_int(otp_pid p, int tag, int n) { CHECK_EQ(OTP_SEND(p, tag, n), 0); }

static void finish(otp_pid p, otp_ref ref)
{
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

/* -- callbacks ------------------------------------------------------------------------------------------------ */

TEST(a_handler_keeps_its_state)
{
    otp_ref ref;
    otp_pid p = start(&counter, 5, &ref);
    CHECK_EQ(get(p), 5);
    for (int i = 1; i <= 100; i++) send_int(p, ADD, i);
    CHECK_EQ(get(p), 5055);
    finish(p, ref);
    expect(TEST_STOP, OTP_REASON_NORMAL * 1000);
}

TEST(init_may_stop)
{
    otp_ref ref;
    (void)start(&counter, -1, &ref);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->kind, OTP_REASON_USER);
    CHECK_EQ(why->code, 11);
    CHECK_STR(why->text, "init said no");
    test_quiet();
}

TEST(init_may_continue_before_any_message)
{
    otp_ref ref;
    for (int i = 0; i < 5; i++) {
        otp_pid p = start(&counter, -2, &ref);
        send_int(p, ORDER, 1);
        expect(CONTINUE, 70);
        expect(ORDER, 1);
        finish(p, ref);
    }
}

TEST(init_may_set_an_idle_time)
{
    otp_ref ref;
    otp_pid p = start(&counter, -3, &ref);
    expect(IDLE, -3);
    finish(p, ref);
}

static otp_next bare_message(void *state, const otp_msg *m)
{
    CHECK_EQ(otp_reply(otp_from_of(m), NULL, 0), 0);
    (void)state;
    return m->tag == TEST_STOP ? otp_stop_with(OTP_NORMAL) : OTP_OK;
}

static const otp_handler bare = { .message = bare_message };

TEST(only_the_message_callback_is_needed)
{
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .handler = &bare, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK_EQ(otp_call(p, GET, NULL, 0, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(otp_call(p, TEST_STOP, NULL, 0, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

static int init_arg;
static otp_next pointer_init(void *state, const void *arg, size_t size)
{
    (void)state;
    CHECK(arg == &init_arg);
    CHECK_EQ(size, 0);
    return OTP_OK;
}
static const otp_handler pointed = { .init = pointer_init, .message = bare_message };

TEST(the_argument_may_be_a_plain_pointer)
{
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .handler = &pointed, .arg = &init_arg, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK_EQ(otp_call(p, TEST_STOP, NULL, 0, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

static void nothing(void *arg) { (void)arg; }

TEST(bad_handlers_are_refused)
{
    otp_pid p = { 7 };
    otp_handler none = { .name = "no message callback" };
    otp_spawn_opts o = { .handler = &none };
    CHECK_EQ(otp_spawn_opt(&o, &p), OTP_EBADARG);
    o = (otp_spawn_opts){ .handler = &counter, .fn = nothing };
    CHECK_EQ(otp_spawn_opt(&o, &p), OTP_EBADARG);
    o = (otp_spawn_opts){ .fn = NULL };
    CHECK_EQ(otp_spawn_opt(&o, &p), OTP_EBADARG);
    CHECK_EQ(otp_processes(NULL, 0), 1);
}

TEST(a_large_state)
{
    static const otp_handler large = { .state_size = 300000, .message = bare_message };
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .handler = &large, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK_EQ(otp_call(p, GET, NULL, 0, NULL, 0, TEST_WAIT), 0);
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK(info.memory >= 300000);
    CHECK_EQ(otp_call(p, TEST_STOP, NULL, 0, NULL, 0, TEST_WAIT), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

TEST(the_state_is_asked_for_by_nobody_else)
{
    CHECK(otp_handler_state() == NULL);
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref), self;
    CHECK_EQ(otp_call(p, SELF, NULL, 0, &self, sizeof self, TEST_WAIT), sizeof self);
    CHECK(otp_same(self, p));
    finish(p, ref);
}

TEST(an_idle_handler_has_no_stack)
{
    otp_ref ref;
    otp_pid p = start(&counter, 1, &ref);
    CHECK_EQ(get(p), 1);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK(info.handler);
    CHECK_EQ(info.stack_bytes, 0);
    CHECK(info.memory < 2000);
    finish(p, ref);
}

/* -- messages left for later ---------------------------------------------------------------------------------- */

TEST(left_messages_come_back_in_order_before_newer_ones)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    for (int i = 1; i <= 3; i++) send_int(p, LATER, i);
    CHECK_EQ(get(p), 0);                                    /* all three were offered and left */
    CHECK(otp_recv_tag(NOTE, 0) == NULL);
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(info.message_queue_len, 3);
    CHECK_EQ(otp_suspend_process(p), 0);                    /* so that the rest is queued behind RETRY */
    send_int(p, RETRY, 1);
    send_int(p, ORDER, 4);
    send_int(p, LATER, 5);
    send_int(p, ORDER, 6);
    CHECK_EQ(otp_resume_process(p), 0);
    expect(RETRY, 1);
    for (int i = 1; i <= 3; i++) expect(LATER, i);
    expect(ORDER, 4);
    expect(LATER, 5);
    expect(ORDER, 6);
    finish(p, ref);
}

TEST(left_messages_are_not_offered_again_without_retry)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    send_int(p, LATER, 1);
    for (int i = 0; i < 10; i++) {
        send_int(p, ORDER, i);
        expect(ORDER, i);
    }
    send_int(p, RETRY, 0);                                  /* offered again, and left again */
    expect(RETRY, 0);
    send_int(p, ORDER, 20);
    expect(ORDER, 20);
    send_int(p, RETRY, 1);
    expect(RETRY, 1);
    expect(LATER, 1);
    finish(p, ref);
}

TEST(messages_left_for_ever_are_freed_at_the_end)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    for (int i = 0; i < 50; i++) send_int(p, LEAVE, i);
    for (int i = 0; i < 20; i++) send_int(p, RETRY, 0);
    for (int i = 0; i < 20; i++) expect(RETRY, 0);
    CHECK_EQ(get(p), 0);
    finish(p, ref);
}

/* -- idle and continue ------------------------------------------------------------------------------------------- */

TEST(an_idle_time)
{
    otp_ref ref;
    otp_pid p = start(&counter, 3, &ref);
    int64_t begin = otp_now();
    send_int(p, IDLE, 12);
    expect(IDLE, 3);
    CHECK(otp_now() - begin >= 12);
    CHECK(!test_opt_deterministic || otp_now() == begin + 12);
    test_quiet();                                           /* once only */
    send_int(p, IDLE, 0);
    expect(IDLE, 3);
    finish(p, ref);
}

TEST(a_message_ends_an_idle_time)
{
    otp_ref ref;
    otp_pid p = start(&counter, 3, &ref);
    send_int(p, IDLE, 40);
    send_int(p, ORDER, 1);                                  /* whose OTP_OK asks for no idle time */
    expect(ORDER, 1);
    if (test_opt_deterministic) otp_sleep(100);
    else otp_sleep(60);
    CHECK(otp_recv_tag(NOTE, 0) == NULL);
    finish(p, ref);
}

TEST(continue_comes_before_queued_messages)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    CHECK_EQ(otp_suspend_process(p), 0);
    send_int(p, CONTINUE, 103);
    for (int i = 0; i < 3; i++) send_int(p, ORDER, i);
    CHECK_EQ(otp_resume_process(p), 0);
    for (int i = 103; i >= 100; i--) expect(CONTINUE, i);
    for (int i = 0; i < 3; i++) expect(ORDER, i);
    finish(p, ref);
}

/* -- the end ------------------------------------------------------------------------------------------------------- */

TEST(stop_with_a_reason)
{
    otp_ref ref;
    otp_pid p = start(&counter, 1000, &ref);
    CHECK_EQ(otp_suspend_process(p), 0);                    /* so that it finds both */
    send_int(p, STOP, 31);
    send_int(p, ORDER, 1);                                  /* behind the stop: never handled */
    CHECK_EQ(otp_resume_process(p), 0);
    expect(TEST_STOP, OTP_REASON_USER * 1000 + 31);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->kind, OTP_REASON_USER);
    CHECK_EQ(why->code, 31);
    CHECK_STR(why->text, "stopped");
    test_quiet();
}

TEST(exit_from_inside_runs_terminate)
{
    otp_ref ref;
    otp_pid p = start(&counter, 1000, &ref);
    send_int(p, EXIT, 32);
    expect(TEST_STOP, OTP_REASON_USER * 1000 + 32);
    CHECK_EQ(test_down(ref)->code, 32);
    test_quiet();
}

TEST(rule_11_a_kill_runs_no_terminate)
{
    otp_ref ref;
    otp_pid p = start(&counter, 1000, &ref);
    CHECK_EQ(get(p), 1000);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    test_quiet();
}

TEST(exit_signals_to_a_handler_that_traps)
{
    otp_ref ref;
    otp_pid p = start(&counter, -4, &ref);
    CHECK_EQ(get(p), -4);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(21, "x")), 0);
    expect(OTP_EXIT, 21);
    CHECK_EQ(otp_exit_signal(p, OTP_NORMAL), 0);
    expect(OTP_EXIT, 0);
    finish(p, ref);
}

TEST(exit_signals_to_a_handler_that_does_not_trap)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_NORMAL), 0);
    CHECK_EQ(get(p), 0);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(22, "x")), 0);
    CHECK_EQ(test_down(ref)->code, 22);
}

static atomic_int deferred;
static void on_end(void *arg) { atomic_fetch_add(&deferred, *(int *)arg); }
static int one = 1, ten = 10;
static otp_next defers_init(void *state, const void *arg, size_t size)
{
    (void)state; (void)arg; (void)size;
    CHECK_EQ(otp_defer(on_end, &one), 0);
    CHECK(otp_alloc(1000) != NULL);
    return OTP_OK;
}
static otp_next defers_message(void *state, const otp_msg *m)
{
    (void)state;
    if (m->tag == TEST_STOP) return otp_stop_with(OTP_NORMAL);
    CHECK_EQ(otp_defer(on_end, &ten), 0);
    return OTP_OK;
}
static const otp_handler defers = { .init = defers_init, .message = defers_message };

TEST(deferred_functions_of_a_handler_run_at_its_end)
{
    otp_ref ref;
    otp_pid p = start(&defers, 0, &ref);
    atomic_store(&deferred, 0);
    CHECK_EQ(otp_send(p, NOP, NULL, 0), 0);
    CHECK_EQ(otp_send(p, NOP, NULL, 0), 0);
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(atomic_load(&deferred), 0);                    /* not after each callback */
    finish(p, ref);
    CHECK_EQ(atomic_load(&deferred), 21);
}

/* -- blocking inside a callback ---------------------------------------------------------------------------------------- */

TEST(a_callback_may_sleep)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    for (int i = 1; i <= 5; i++) {
        send_int(p, SLEEP, i);
        send_int(p, ORDER, i);
    }
    for (int i = 1; i <= 5; i++) {
        expect(SLEEP, i);
        expect(ORDER, i);
    }
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(info.stack_bytes, 0);                          /* and gives its stack back afterwards */
    finish(p, ref);
}

TEST(a_callback_may_call_another_handler)
{
    otp_ref ref[3];
    otp_pid p[3];
    for (int i = 0; i < 3; i++) p[i] = start(&counter, i + 1, &ref[i]);
    CHECK_EQ(OTP_SEND(p[0], ASK, p[1]), 0);
    expect(ASK, 3);
    CHECK_EQ(OTP_SEND(p[1], ASK, p[2]), 0);
    CHECK_EQ(OTP_SEND(p[0], ASK, p[1]), 0);
    int sum = 0;
    for (int i = 0; i < 2; i++) {
        const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
        CHECK(m != NULL);
        sum += OTP_PAYLOAD(m, struct note)->n;
    }
    CHECK(sum == 5 + 8 || sum == 5 + 5);                    /* p[1] asked before or after it answered p[0] */
    for (int i = 0; i < 3; i++) finish(p[i], ref[i]);
}

TEST(a_callback_may_receive_selectively)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    send_int(p, SELECT, 0);
    send_int(p, ADD, 5);
    send_int(p, ORDER, 9);
    expect(SELECT, 9);
    CHECK_EQ(get(p), 5);                                    /* what it passed over was handled afterwards */
    finish(p, ref);
}

TEST(left_messages_stay_left_around_a_blocking_callback)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    send_int(p, LATER, 1);
    send_int(p, SLEEP, 2);
    send_int(p, LATER, 2);
    expect(SLEEP, 2);
    send_int(p, RETRY, 1);
    expect(RETRY, 1);
    expect(LATER, 1);
    expect(LATER, 2);
    finish(p, ref);
}

TEST(a_handler_that_blocks_can_be_killed)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    send_int(p, SLEEP, 1000000);
    test_until_waiting(p, OTP_WAITS_SLEEP);
    CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_SHUTDOWN);
}

static otp_next wrong_hibernate(void *state, const otp_msg *m)
{
    (void)state;
    if (m->tag == NOP) otp_hibernate(nothing, NULL);
    return OTP_OK;
}
static const otp_handler hibernates = { .message = wrong_hibernate };

TEST(a_handler_must_not_hibernate)
{
    otp_ref ref;
    otp_pid p = start(&hibernates, 0, &ref);
    CHECK_EQ(otp_send(p, NOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_BADARG);
}

/* -- system messages ------------------------------------------------------------------------------------------------------ */

static void sys(otp_pid p, int tag) { CHECK_EQ(otp_call(p, tag, NULL, 0, NULL, 0, TEST_WAIT), 0); }

TEST(suspend_and_resume)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    sys(p, OTP_SYS_SUSPEND);
    for (int i = 0; i < 3; i++) send_int(p, ORDER, i);
    CHECK_EQ(otp_try_call(p, GET, NULL, 0, &(int){ 0 }, sizeof(int), 5), OTP_ETIMEOUT);
    CHECK(otp_recv_tag(NOTE, 0) == NULL);
    sys(p, OTP_SYS_RESUME);
    for (int i = 0; i < 3; i++) expect(ORDER, i);
    CHECK_EQ(get(p), 0);
    sys(p, OTP_SYS_RESUME);                                 /* harmless */
    sys(p, OTP_SYS_SUSPEND);
    sys(p, OTP_SYS_SUSPEND);
    sys(p, OTP_SYS_RESUME);                                 /* one resume is enough, as in OTP */
    CHECK_EQ(get(p), 0);
    finish(p, ref);
}

TEST(state_can_be_read_while_suspended)
{
    otp_ref ref;
    struct counter c;
    otp_pid p = start(&counter, 44, &ref);
    sys(p, OTP_SYS_SUSPEND);
    memset(&c, 0xff, sizeof c);
    CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, &c, sizeof c, TEST_WAIT), sizeof c);
    CHECK_EQ(c.n, 44);
    sys(p, OTP_SYS_RESUME);
    finish(p, ref);
}

TEST(state_can_be_read_and_replaced)
{
    otp_ref ref;
    struct counter c;
    otp_pid p = start(&counter, 44, &ref);
    CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, &c, sizeof c, TEST_WAIT), sizeof c);
    CHECK_EQ(c.n, 44);
    c.n = 45;
    CHECK(otp_try_call(p, OTP_SYS_REPLACE_STATE, &c, sizeof c, NULL, 0, TEST_WAIT) >= 0);
    CHECK_EQ(get(p), 45);
    CHECK(otp_try_call(p, OTP_SYS_REPLACE_STATE, &c, sizeof c - 1, NULL, 0, TEST_WAIT) < 0);    /* not a state */
    CHECK(otp_try_call(p, OTP_SYS_REPLACE_STATE, NULL, 0, NULL, 0, TEST_WAIT) < 0);
    CHECK_EQ(get(p), 45);
    finish(p, ref);
}

TEST(tracing_a_handler)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    CHECK(otp_try_call(p, OTP_SYS_TRACE, &(int){ 1 }, sizeof(int), NULL, 0, TEST_WAIT) >= 0);
    send_int(p, ADD, 3);
    CHECK_EQ(get(p), 3);
    CHECK(otp_try_call(p, OTP_SYS_TRACE, &(int){ 0 }, sizeof(int), NULL, 0, TEST_WAIT) >= 0);
    CHECK_EQ(get(p), 3);
    finish(p, ref);
}

TEST(a_suspended_handler_can_be_stopped_by_signals)
{
    otp_ref ref;
    otp_pid p = start(&counter, 0, &ref);
    sys(p, OTP_SYS_SUSPEND);
    CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_SHUTDOWN);
}

static bool special_system(void *state, const otp_msg *m)
{
    (void)state;
    if (m->tag != OTP_SYS_GET_STATE) return false;
    CHECK_EQ(otp_reply(otp_from_of(m), "special", 8), 0);
    return true;
}
static const otp_handler special = {
    .state_size = sizeof(struct counter), .init = counter_init, .message = counter_message, .system = special_system,
};

TEST(the_system_callback_sees_requests_first)
{
    otp_ref ref;
    char text[100];
    otp_pid p = start(&special, 0, &ref);
    CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, text, sizeof text, TEST_WAIT), 8);
    CHECK_STR(text, "special");
    sys(p, OTP_SYS_SUSPEND);                                /* not answered by it: as usual */
    send_int(p, ORDER, 1);
    CHECK_EQ(otp_call(p, OTP_SYS_GET_STATE, NULL, 0, text, sizeof text, TEST_WAIT), 8);
    CHECK(otp_recv_tag(NOTE, 0) == NULL);
    sys(p, OTP_SYS_RESUME);
    expect(ORDER, 1);
    finish(p, ref);
}

/* -- many -------------------------------------------------------------------------------------------------------------------- */

struct small { int n; };
static otp_next small_message(void *state, const otp_msg *m)
{
    struct small *s = state;
    switch (m->tag) {
    case ADD:
        s->n += *OTP_PAYLOAD(m, int);
        CHECK_EQ(OTP_SEND(m->from, NOTE, s->n), 0);
        return OTP_OK;
    case TEST_STOP: return otp_stop_with(OTP_NORMAL);
    default: return OTP_OK;
    }
}
static const otp_handler small = { .name = "small", .state_size = sizeof(struct small), .message = small_message };

static void many_idle(int n)
{
    otp_pid *p = otp_calloc((size_t)n, sizeof *p);
    CHECK(p != NULL);
    otp_spawn_opts o = { .handler = &small };
    for (int i = 0; i < n; i++) CHECK_EQ(otp_spawn_opt(&o, &p[i]), 0);
    CHECK_EQ(otp_processes(NULL, 0), n + 1);
    for (int round = 1; round <= 2; round++) {
        long sum = 0;
        for (int i = 0; i < n; i++) send_int(p[i], ADD, i % 7);
        for (int i = 0; i < n; i++) {
            const otp_msg *m = otp_recv_tag(NOTE, TEST_WAIT);
            CHECK(m != NULL);
            sum += *OTP_PAYLOAD(m, int);
        }
        long expected = 0;
        for (int i = 0; i < n; i++) expected += round * (i % 7);
        CHECK_EQ(sum, expected);
    }
    otp_info info;
    CHECK_EQ(otp_process_info(p[n / 2], &info), 0);
    CHECK(info.memory <= 1024);
    CHECK_EQ(info.stack_bytes, 0);
    for (int i = 0; i < n; i++) CHECK_EQ(otp_send(p[i], TEST_STOP, NULL, 0), 0);
    for (int i = 0; i < n; i++) CHECK_EQ(otp_await_exit(p[i], TEST_WAIT, NULL), 0);
    CHECK_EQ(otp_processes(NULL, 0), 1);
}

TEST(a_hundred_idle_handlers) { many_idle(100); }

TEST_WITH(a_hundred_thousand_idle_handlers, .real = true, .seconds = 60) { many_idle(test_many(100000, 20000)); }

static otp_next spreads(void *state, const otp_msg *m)
{
    /* Handlers that start handlers: a tree, whose leaves report. */
    struct small *s = state;
    if (m->tag != ADD) return OTP_OK;
    int depth = *OTP_PAYLOAD(m, int);
    if (depth == 0) {
        CHECK_EQ(OTP_SEND(test_app, NOTE, s->n), 0);
        return otp_stop_with(OTP_NORMAL);
    }
    static const otp_handler tree = { .name = "tree", .state_size = sizeof(struct small), .message = spreads };
    for (int i = 0; i < 3; i++) {
        otp_pid p;
        otp_spawn_opts o = { .handler = &tree };
        CHECK_EQ(otp_spawn_opt(&o, &p), 0);
        CHECK_EQ(OTP_SEND(p, ADD, depth - 1), 0);
    }
    return otp_stop_with(OTP_NORMAL);
}

TEST(a_tree_of_handlers)
{
    static const otp_handler tree = { .name = "tree", .state_size = sizeof(struct small), .message = spreads };
    otp_pid p;
    otp_spawn_opts o = { .handler = &tree };
    int leaves = test_opt_deterministic ? 27 : 729;
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    send_int(p, ADD, test_opt_deterministic ? 3 : 6);
    for (int i = 0; i < leaves; i++) CHECK(otp_recv_tag(NOTE, TEST_WAIT) != NULL);
}
