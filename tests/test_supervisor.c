/* Supervisors: the rules of OTP's supervisor, DynamicSupervisor and PartitionSupervisor, one test or more for each that C has. */
#include "test.h"

#include "otp_supervisor.h"

/* -- children -------------------------------------------------------------------------------------------
   A child is a letter. What happens to it is told to the first process as an event of two characters: a+ started,
   a! would not start, a0 chose not to start, a- ended, a~ got the exit signal of its supervisor. */

enum { EVENT = 1, DIE, READY, GO, LINK_NONE, CALL };
enum how { NORMAL, SHUTDOWN, SHUTDOWN_TEXT, CRASH, BY_KILL };
enum mode { PLAIN, ENDS, DEAF, WRONG, WELL, TEXT, UNLINKED, GATED, FORGETFUL };

static _Atomic int fails[128], ignores[128], starts[128], modes[128];

static void reset(void)
{
    for (int i = 0; i < 128; i++) fails[i] = ignores[i] = starts[i] = modes[i] = 0;
    (void)otp_trap_exit(true);
}

static void event(int id, char what)
{
    const char e[2] = { (char)id, what };
    (void)otp_send(test_app, EVENT, e, sizeof e);
}

static void last_words(void *arg) { event((int)(intptr_t)arg, '-'); }

static otp_reason how_reason(enum how how)
{
    switch (how) {
    case NORMAL: return OTP_NORMAL;
    case SHUTDOWN: return OTP_SHUTDOWN;
    case SHUTDOWN_TEXT: return otp_reason_make(OTP_REASON_SHUTDOWN, 0, "for today");
    default: return OTP_USER(5, "crashed");
    }
}

static otp_reason die_reason(const otp_msg *m)
{
    const int *how = OTP_PAYLOAD(m, int);
    return how_reason((enum how)how[0]);
}

static void child(void *arg)
{
    int id = (int)(intptr_t)arg;
    enum mode mode = (enum mode)modes[id];
    otp_info me;
    CHECK_EQ(otp_process_info(otp_self(), &me), 0);
    CHECK_EQ(otp_defer(last_words, arg), 0);
    if (mode != PLAIN) (void)otp_trap_exit(true);
    if (mode == UNLINKED) CHECK_EQ(otp_unlink(me.parent), 0);
    CHECK_EQ(otp_send(me.parent, READY, NULL, 0), 0);
    for (;;) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        if (m->tag == DIE) otp_exit(die_reason(m));
        if (m->tag == CALL) CHECK_EQ(OTP_REPLY(otp_from_of(m), id), 0);
        if (m->tag != OTP_EXIT || !otp_same(m->from, me.parent)) continue;
        event(id, '~');
        switch (mode) {
        case DEAF: break;
        case WRONG: otp_exit(OTP_USER(9, "would rather not"));
        case WELL: return;
        case TEXT: otp_exit(how_reason(SHUTDOWN_TEXT));
        case FORGETFUL: CHECK_EQ(otp_unlink(me.parent), 0); otp_sleep(150); otp_exit(OTP_SHUTDOWN);
        case GATED: CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL); otp_exit(OTP_SHUTDOWN);
        default: otp_exit(*otp_reason_of(m));
        }
    }
}

static bool is_ready(const otp_msg *m, void *arg) { return m->tag == READY && otp_same(m->from, *(otp_pid *)arg); }

/* Returns when the child listens, so that its end is always told. */
static otp_pid start(void *arg)
{
    int id = (int)(intptr_t)arg;
    starts[id]++;
    if (fails[id] > 0) {
        fails[id]--;
        event(id, '!');
        return otp_start_failed(OTP_EDIED, OTP_USER(77, "no luck"));
    }
    if (ignores[id]) {
        event(id, '0');
        return otp_start_failed(OTP_EIGNORE, OTP_NORMAL);
    }
    event(id, '+');
    otp_pid pid = otp_spawn_link(child, arg);
    CHECK(otp_recv_match(is_ready, &pid, TEST_WAIT) != NULL);
    return pid;
}

static otp_pid start_supervisor(const otp_child *list, size_t n, otp_supervisor_opts o)
{
    o.children = list;
    o.child_count = n;
    return otp_supervisor_start_link(&o);
}

/* The first argument, then fields. */
#define CHILD(...) CHILD_(__VA_ARGS__, .arg_size = 0)
#define CHILD_(letter, ...) { .id = (char[]){ letter, '\0' }, .start = start, .arg = (void *)(intptr_t)(letter), __VA_ARGS__ }
#define ABC() const otp_child abc[] = { CHILD('a'), CHILD('b'), CHILD('c') }
#define SUP(...) SUP_(__VA_ARGS__, .children = NULL)
#define SUP_(list, ...) start_supervisor((list), sizeof(list) / sizeof *(list), (otp_supervisor_opts){ __VA_ARGS__ })

/* The next events are these, in this order. */
static void expect(const char *events)
{
    for (const char *e = events; *e; e += 2) {
        const otp_msg *m = otp_recv_tag(EVENT, TEST_WAIT);
        CHECK(m != NULL);
        char got[3] = { ((const char *)m->data)[0], ((const char *)m->data)[1], '\0' }, want[3] = { e[0], e[1], '\0' };
        CHECK_STR(got, want);
    }
}

static void expect_none(void)
{
    const otp_msg *m = otp_recv_tag(EVENT, 0);
    if (m) {
        char got[3] = { ((const char *)m->data)[0], ((const char *)m->data)[1], '\0' };
        CHECK_STR(got, "");
    }
}

static otp_pid pid_of(otp_pid sup, const char *id) { return otp_supervisor_child(sup, id); }

static void die(otp_pid pid, int how)
{
    CHECK(pid.id != 0);
    if (how == BY_KILL) CHECK_EQ(otp_exit_signal(pid, OTP_KILL), 0);
    else CHECK_EQ(OTP_SEND(pid, DIE, how), 0);
}

static void die_id(otp_pid sup, const char *id, int how) { die(pid_of(sup, id), how); }

static void stop(otp_pid sup) { CHECK_EQ(otp_supervisor_stop(sup, OTP_NORMAL, TEST_WAIT), 0); }

static int result(otp_reason *why) { return otp_start_result(why); }

static otp_child_info info_of(otp_pid sup, const char *id)
{
    otp_child_info all[16];
    int64_t n = otp_supervisor_which_children(sup, all, 16);
    CHECK(n >= 0 && n <= 16);
    for (int64_t i = 0; i < n; i++)
        if (strcmp(all[i].id, id) == 0) return all[i];
    FAIL("no such child");
    return all[0];
}

/* Waits until a child is in this state; -1: is gone. */
static void until(otp_pid sup, const char *id, int state)
{
    for (int i = 0; i < 20000; i++) {
        otp_child_info all[16];
        int64_t n = otp_supervisor_which_children(sup, all, 16), at = 0;
        CHECK(n >= 0 && n <= 16);
        while (at < n && strcmp(all[at].id, id) != 0) at++;
        if (at == n ? state == -1 : (int)all[at].state == state) return;
        if (i < 100) otp_yield();
        else otp_sleep(1);
    }
    FAIL("the child never comes to this state");
}

/* How a supervisor ended; the app traps exits. */
static otp_reason_kind end_of(otp_pid sup) { return test_exit_from(sup)->kind; }

/* -- flags and specs ------------------------------------------------------------------------------------ */

/* How many deaths a supervisor bears: each is told by an event. */
static void bears(otp_pid sup, int restarts)
{
    expect("a+");
    for (int i = 0; i < restarts; i++) {
        die_id(sup, "a", CRASH);
        expect("a-a+");
    }
    die_id(sup, "a", CRASH);
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    expect("a-");
    expect_none();
}

TEST(supervisor_1_elixirs_intensity_is_the_default)
{
    reset();
    const otp_child a[] = { CHILD('a') };
    bears(SUP(a), 3);
}

TEST(supervisor_1_erlangs_intensity_by_name)
{
    reset();
    const otp_child a[] = { CHILD('a') };
    bears(SUP(a, .intensity = OTP_ERLANG_INTENSITY), 1);
}

static void bad_flags(const otp_supervisor_opts *o)
{
    otp_reason why;
    CHECK_EQ(otp_supervisor_start_link(o).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK(why.text && strstr(why.text, "supervisor_data"));
    expect_none();
    test_quiet();
}

TEST(supervisor_2_bad_flags_start_nothing)
{
    reset();
    const otp_child a[] = { CHILD('a') };
    bad_flags(NULL);
    bad_flags(&(otp_supervisor_opts){ .children = a, .child_count = 1, .max_restarts = -2 });
    bad_flags(&(otp_supervisor_opts){ .children = a, .child_count = 1, .max_seconds = -1 });
    bad_flags(&(otp_supervisor_opts){ .children = a, .child_count = 1, .strategy = (otp_strategy)3 });
    bad_flags(&(otp_supervisor_opts){ .children = a, .child_count = 1, .auto_shutdown = (otp_auto_shutdown)3 });
    bad_flags(&(otp_supervisor_opts){ .children = a, .child_count = 1, .intensity = (otp_intensity)2 });
    bad_flags(&(otp_supervisor_opts){ .children = a, .child_count = 1, .name = "" });
    bad_flags(&(otp_supervisor_opts){ .child_count = 1 });
}

TEST(supervisor_3_and_48_defaults_are_filled_in)
{
    reset();
    int number = 7, error = 1;
    const otp_child list[] = {
        CHILD('w'), CHILD('s', .type = OTP_SUPERVISOR),
        CHILD('t', .restart = OTP_TEMPORARY, .shutdown = 30, .significant = true),
        { .id = "copy", .run = child, .arg = &number, .arg_size = sizeof number, .shutdown = OTP_BRUTAL_KILL },
    };
    modes[7] = ENDS;
    const otp_child three[] = { list[0], list[1], list[2] };
    otp_pid sup = SUP(three, .auto_shutdown = OTP_AUTO_ANY_SIGNIFICANT);
    const otp_child *c = otp_supervisor_get_childspec(sup, "w", &error);
    CHECK(c != NULL && error == 0);
    CHECK_STR(c->id, "w");
    CHECK(c->start == start && c->run == NULL && c->arg == (void *)(intptr_t)'w' && c->arg_size == 0);
    CHECK(c->restart == OTP_PERMANENT && c->shutdown == 5000 && c->type == OTP_WORKER && !c->significant);
    otp_free((void *)(uintptr_t)c);
    c = otp_supervisor_get_childspec(sup, "s", NULL);
    CHECK(c && c->shutdown == OTP_INFINITY && c->type == OTP_SUPERVISOR);
    otp_free((void *)(uintptr_t)c);
    c = otp_supervisor_get_childspec(sup, "t", NULL);
    CHECK(c && c->shutdown == 30 && c->restart == OTP_TEMPORARY && c->significant);
    otp_free((void *)(uintptr_t)c);
    CHECK(otp_supervisor_get_childspec(sup, "nobody", &error) == NULL);
    CHECK_EQ(error, OTP_ENOENT);
    stop(sup);
}

static _Atomic int sum_of_starts;
static otp_pid start_with_copy(void *arg)
{
    sum_of_starts += *(int *)arg;
    *(int *)arg = 1000;             /* its own copy: the next start must not see this */
    otp_pid pid = otp_spawn_link(child, (void *)(intptr_t)'x');
    CHECK(otp_recv_match(is_ready, &pid, TEST_WAIT) != NULL);
    return pid;
}

TEST(supervisor_3_arg_is_copied_for_each_start)
{
    reset();
    int number = 7;
    char id[] = "counted";
    sum_of_starts = 0;
    const otp_child list[] = { { .id = id, .start = start_with_copy, .arg = &number, .arg_size = sizeof number } };
    otp_pid sup = SUP(list);
    number = 500;
    id[0] = 'C';
    die_id(sup, "counted", CRASH);
    expect("x-");
    for (int i = 0; sum_of_starts == 7 && i < 10000; i++) otp_sleep(1);
    const otp_child *c = otp_supervisor_get_childspec(sup, "counted", NULL);
    CHECK(c != NULL);
    CHECK_EQ(*(const int *)c->arg, 7);
    CHECK_EQ(c->arg_size, sizeof number);
    CHECK_EQ(sum_of_starts, 14);
    otp_free((void *)(uintptr_t)c);
    stop(sup);
}

static void counts(void *arg)
{
    CHECK_EQ(OTP_SEND(test_app, READY, *(int *)arg), 0);
    *(int *)arg = 1000;
    test_idle(NULL);
}

TEST(supervisor_3_a_plain_function_as_a_child)
{
    reset();
    int number = 7;
    const otp_child list[] = { { .id = "plain", .run = counts, .arg = &number, .arg_size = sizeof number } };
    otp_pid sup = SUP(list);
    for (int i = 0; i < 2; i++) {
        const otp_msg *m = otp_recv_tag(READY, TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), 7);
        if (i == 0) die(m->from, BY_KILL);
    }
    stop(sup);
}

static void bad_child(otp_child bad, const char *what)
{
    otp_reason why;
    const otp_child list[] = { CHILD('a'), bad };
    CHECK_EQ(SUP(list).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK(why.text && strstr(why.text, "start_spec: child 1") && strstr(why.text, what));
    CHECK(!strstr(what, "duplicate") == (otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .name = "x" }).id != 0));
    CHECK_EQ(result(&why), 0);
    CHECK_EQ(otp_supervisor_stop(otp_whereis("x"), OTP_NORMAL, TEST_WAIT), 0);
    expect_none();
}

TEST(supervisor_4_bad_specs)
{
    reset();
    bad_child((otp_child){ .start = start }, "no id");
    bad_child((otp_child){ .id = "", .start = start }, "no id");
    bad_child((otp_child){ .id = "0123456789012345678901234567890123456789012345678901234567890123", .start = start }, "63");
    bad_child((otp_child){ .id = "b" }, "start or run");
    bad_child((otp_child){ .id = "b", .start = start, .run = child }, "start or run");
    bad_child((otp_child){ .id = "b", .start = start, .shutdown = -4 }, "shutdown");
    bad_child((otp_child){ .id = "b", .start = start, .restart = (otp_restart)3 }, "restart");
    bad_child((otp_child){ .id = "b", .start = start, .type = (otp_child_type)2 }, "type");
    bad_child((otp_child){ .id = "b", .start = start, .arg_size = 1 }, "arg");
}

TEST(supervisor_5_all_specs_are_checked_before_any_child_starts)
{
    reset();
    otp_reason why;
    const otp_child list[] = { CHILD('a'), CHILD('b'), CHILD('a') };
    CHECK_EQ(SUP(list).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK(why.text && strstr(why.text, "duplicate_child_name"));
    expect_none();
    test_quiet();
}

/* -- start ---------------------------------------------------------------------------------------------- */

TEST(supervisor_8_children_start_one_after_another)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc, .name = "top");
    CHECK(sup.id != 0);
    CHECK(otp_same(otp_whereis("top"), sup));
    CHECK_EQ(result(NULL), 0);
    for (int i = 'a'; i <= 'c'; i++) CHECK_EQ(starts[i], 1);
    expect("a+b+c+");
    stop(sup);
    expect("c-b-a-");
}

TEST(supervisor_9_what_start_functions_give)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b', .restart = OTP_TEMPORARY), CHILD('c') };
    ignores['a'] = ignores['b'] = 1;
    otp_pid sup = SUP(list);
    expect("a0b0c+");
    otp_child_info all[4];
    CHECK_EQ(otp_supervisor_which_children(sup, all, 4), 2);        /* the temporary one is dropped */
    CHECK_STR(all[1].id, "a");
    CHECK_EQ(all[1].state, OTP_CHILD_STOPPED);
    CHECK_EQ(all[1].pid.id, 0);
    stop(sup);
}

static otp_pid says_nothing(void *arg)
{
    (void)arg;
    return (otp_pid){ 0 };
}

TEST(supervisor_9_a_start_function_that_gives_no_reason)
{
    reset();
    otp_reason why;
    const otp_child mute = { .id = "mute", .start = says_nothing };
    const otp_child list[] = { CHILD('a') };
    ignores['a'] = 1;
    otp_pid sup = SUP(list);        /* the supervisor's last start says ignore … */
    CHECK_EQ(otp_supervisor_start_child(sup, &mute).id, 0);
    CHECK_EQ(result(&why), OTP_ESYSLIMIT);      /* … which must not be taken for this one's */
    stop(sup);
}

TEST(supervisor_10_rollback_when_a_child_does_not_start)
{
    reset();
    otp_reason why;
    ABC();
    fails['c'] = 1;
    otp_pid sup = SUP(abc, .name = "top");
    CHECK_EQ(sup.id, 0);
    CHECK_EQ(result(&why), OTP_EDIED);
    CHECK_EQ(why.kind, OTP_REASON_SHUTDOWN);
    CHECK(why.text && strstr(why.text, "failed_to_start_child c") && strstr(why.text, "no luck"));
    expect("a+b+c!b-a-");
    const otp_msg *m = otp_recv_tag(OTP_EXIT, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_SHUTDOWN);
    CHECK_EQ(otp_whereis("top").id, 0);
    CHECK_EQ(starts['c'], 1);
    test_quiet();
}

TEST(supervisor_11_it_traps_exits_and_is_the_linked_parent)
{
    reset();
    const otp_child list[] = { CHILD('a') };
    otp_pid sup = SUP(list), a = pid_of(sup, "a"), linked[2];
    otp_info info;
    CHECK_EQ(otp_process_info(sup, &info), 0);
    CHECK(info.trap_exit && info.handler);
    CHECK_EQ(otp_process_info(a, &info), 0);
    CHECK(otp_same(info.parent, sup));
    CHECK_EQ(otp_process_relations(a, OTP_LINKS, linked, 2), 1);
    CHECK(otp_same(linked[0], sup));
    stop(sup);
}

/* -- when to restart ------------------------------------------------------------------------------------- */

static void restarts(otp_restart restart, int how, bool again)
{
    reset();
    const otp_child list[] = { CHILD('a', .restart = restart) };
    otp_pid sup = SUP(list);
    expect("a+");
    die_id(sup, "a", how);
    expect("a-");
    if (again) expect("a+");
    until(sup, "a", again ? OTP_CHILD_RUNNING : restart == OTP_TEMPORARY ? -1 : OTP_CHILD_STOPPED);
    expect_none();
    if (again) CHECK_EQ(info_of(sup, "a").restarts, 1);
    stop(sup);
}

TEST(supervisor_12_permanent_normal) { restarts(OTP_PERMANENT, NORMAL, true); }
TEST(supervisor_12_permanent_shutdown) { restarts(OTP_PERMANENT, SHUTDOWN, true); }
TEST(supervisor_12_permanent_crash) { restarts(OTP_PERMANENT, CRASH, true); }
TEST(supervisor_12_permanent_killed) { restarts(OTP_PERMANENT, BY_KILL, true); }
TEST(supervisor_12_transient_normal) { restarts(OTP_TRANSIENT, NORMAL, false); }
TEST(supervisor_12_transient_shutdown) { restarts(OTP_TRANSIENT, SHUTDOWN, false); }
TEST(supervisor_12_transient_shutdown_with_text) { restarts(OTP_TRANSIENT, SHUTDOWN_TEXT, false); }
TEST(supervisor_12_transient_crash) { restarts(OTP_TRANSIENT, CRASH, true); }
TEST(supervisor_12_transient_killed) { restarts(OTP_TRANSIENT, BY_KILL, true); }
TEST(supervisor_12_and_13_temporary_is_forgotten) { restarts(OTP_TEMPORARY, CRASH, false); }
TEST(supervisor_13_temporary_that_ended_well) { restarts(OTP_TEMPORARY, NORMAL, false); }

static void reports(otp_restart restart, int how, bool reported)
{
    reset();
    const otp_child list[] = { CHILD('a', .restart = restart) };
    otp_pid sup = SUP(list, .name = "top"), a = pid_of(sup, "a");
    char pid[32];
    CHECK(otp_format_pid(a, pid, sizeof pid) > 0);
    test_log_clear();
    die(a, how);
    expect("a+a-");
    for (int i = 0; otp_same(pid_of(sup, "a"), a); i++) otp_sleep(i > 100);
    CHECK_EQ(test_log_has("supervisor top"), reported);
    if (reported) CHECK(test_log_has("child_terminated: child a") && test_log_has(pid));
    if (reported) CHECK(test_log_has(how == CRASH ? "user 5: crashed" : "normal"));
    stop(sup);
    while (otp_recv(0) != NULL) {}
}

TEST(supervisor_14_what_is_reported)
{
    reports(OTP_PERMANENT, NORMAL, true);
    reports(OTP_PERMANENT, CRASH, true);
    reports(OTP_TRANSIENT, NORMAL, false);
    reports(OTP_TRANSIENT, CRASH, true);
    reports(OTP_TEMPORARY, NORMAL, false);
    reports(OTP_TEMPORARY, SHUTDOWN, false);
    reports(OTP_TEMPORARY, CRASH, true);
}

static void stranger(void *arg) { CHECK_EQ(otp_exit_signal(*(otp_pid *)arg, OTP_USER(1, "not a child")), 0); }

TEST(supervisor_15_exits_of_strangers_and_other_messages)
{
    reset();
    const otp_child list[] = { CHILD('a') };
    otp_pid sup = SUP(list, .max_restarts = OTP_NO_RESTARTS), a = pid_of(sup, "a");
    test_log_clear();
    otp_ref ref;
    CHECK(otp_spawn_monitor(stranger, &sup, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    CHECK_EQ(otp_send(sup, 12345, "x", 1), 0);
    CHECK_EQ(otp_send(sup, OTP_TAG_MIN - 112, "not a seq", 3), 0);      /* its own tag in the wrong form */
    CHECK_EQ(otp_try_call(sup, 4711, NULL, 0, NULL, 0, TEST_WAIT), OTP_EBADCALL);
    CHECK(otp_same(pid_of(sup, "a"), a));
    CHECK(test_log_has("12345") && test_log_has("4711"));
    CHECK(!test_log_has("not a child"));
    stop(sup);
}

/* -- strategies ------------------------------------------------------------------------------------------ */

TEST(supervisor_16_one_for_one)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc), a = pid_of(sup, "a"), b = pid_of(sup, "b"), c = pid_of(sup, "c");
    expect("a+b+c+");
    die(b, CRASH);
    expect("b-b+");
    CHECK(otp_same(pid_of(sup, "a"), a) && otp_same(pid_of(sup, "c"), c));
    CHECK(pid_of(sup, "b").id != 0 && !otp_same(pid_of(sup, "b"), b));
    expect_none();
    stop(sup);
}

TEST(supervisor_17_one_for_all)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc, .strategy = OTP_ONE_FOR_ALL);
    expect("a+b+c+");
    die_id(sup, "b", CRASH);
    expect("b-c-a-a+b+c+");
    CHECK_EQ(info_of(sup, "a").restarts, 1);
    expect_none();
    stop(sup);
    expect("c-b-a-");
}

TEST(supervisor_18_rest_for_one)
{
    reset();
    const otp_child abcd[] = { CHILD('a'), CHILD('b'), CHILD('c'), CHILD('d') };
    otp_pid sup = SUP(abcd, .strategy = OTP_REST_FOR_ONE), a = pid_of(sup, "a");
    expect("a+b+c+d+");
    die_id(sup, "b", CRASH);
    expect("b-d-c-b+c+d+");
    CHECK(otp_same(pid_of(sup, "a"), a));
    die_id(sup, "d", CRASH);
    expect("d-d+");
    expect_none();
    stop(sup);
}

TEST(supervisor_19_temporary_siblings_are_dropped)
{
    for (int strategy = OTP_ONE_FOR_ALL; strategy <= OTP_REST_FOR_ONE; strategy++) {
        reset();
        const otp_child list[] = { CHILD('a'), CHILD('t', .restart = OTP_TEMPORARY), CHILD('c') };
        otp_pid sup = SUP(list, .strategy = (otp_strategy)strategy);
        expect("a+t+c+");
        die_id(sup, "a", CRASH);
        expect("a-c-t-a+c+");
        CHECK_EQ(otp_supervisor_which_children(sup, NULL, 0), 2);
        expect_none();
        stop(sup);
        expect("c-a-");
    }
}

TEST(supervisor_20_siblings_without_a_process_are_started_again)
{
    for (int strategy = OTP_ONE_FOR_ALL; strategy <= OTP_REST_FOR_ONE; strategy++) {
        reset();
        const otp_child list[] = { CHILD('a'), CHILD('t', .restart = OTP_TRANSIENT), CHILD('i'), CHILD('m') };
        ignores['i'] = 1;
        otp_pid sup = SUP(list, .strategy = (otp_strategy)strategy);
        expect("a+t+i0m+");
        die_id(sup, "t", NORMAL);
        expect("t-");
        until(sup, "t", OTP_CHILD_STOPPED);
        CHECK_EQ(otp_supervisor_terminate_child(sup, "m"), 0);
        expect("m-");
        ignores['i'] = 0;
        die_id(sup, "a", CRASH);
        expect("a-a+t+i+m+");
        stop(sup);
        expect("m-i-t-a-");
    }
}

TEST(supervisor_21_a_group_restart_counts_once)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc, .strategy = OTP_ONE_FOR_ALL, .max_restarts = 2);
    expect("a+b+c+");
    for (int i = 0; i < 2; i++) {
        die_id(sup, "c", CRASH);
        expect("c-b-a-a+b+c+");
    }
    die_id(sup, "c", CRASH);
    expect("c-b-a-");
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
}

TEST(supervisor_22_the_place_is_kept)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc);
    die_id(sup, "a", CRASH);
    expect("a+b+c+a-a+");
    otp_child_info all[3];
    CHECK_EQ(otp_supervisor_which_children(sup, all, 3), 3);
    CHECK_STR(all[0].id, "c");
    CHECK_STR(all[2].id, "a");
    stop(sup);
    expect("c-b-a-");
}

TEST(supervisor_23_a_normal_end_restarts_the_group_too)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc, .strategy = OTP_ONE_FOR_ALL);
    expect("a+b+c+");
    die_id(sup, "a", NORMAL);
    expect("a-c-b-a+b+c+");
    stop(sup);
}

/* -- intensity ------------------------------------------------------------------------------------------- */

TEST(supervisor_24_stamps_leave_the_window)
{
    reset();
    const otp_child list[] = { CHILD('a') };
    otp_pid sup = SUP(list, .max_restarts = 1, .max_seconds = 1);
    expect("a+");
    for (int i = 0; i < (test_opt_deterministic ? 20 : 2); i++) {
        die_id(sup, "a", CRASH);
        expect("a-a+");
        otp_sleep(2050);
    }
    stop(sup);
}

/* Virtual time: exact to the millisecond. */
TEST(supervisor_24_a_stamp_as_old_as_the_period_counts)
{
    if (!test_opt_deterministic) return;
    reset();
    const otp_child list[] = { CHILD('a') };
    otp_pid sup = SUP(list, .max_restarts = 1, .max_seconds = 3);
    otp_sleep(1000 - otp_now() % 1000 + 900);       /* late in a second */
    die_id(sup, "a", CRASH);
    expect("a+a-a+");
    otp_sleep(3101);                                /* 4 whole seconds later */
    die_id(sup, "a", CRASH);
    expect("a-a+");
    otp_sleep(3950);                                /* 3 whole seconds later, though nearly 4 have passed */
    die_id(sup, "a", CRASH);
    expect("a-");
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
}

TEST(supervisor_25_intensity_none)
{
    reset();
    const otp_child a[] = { CHILD('a') };
    bears(SUP(a, .max_restarts = OTP_NO_RESTARTS), 0);
}

TEST(supervisor_25_intensity_many)
{
    reset();
    const otp_child a[] = { CHILD('a') };
    bears(SUP(a, .max_restarts = 20, .max_seconds = 1000), 20);
}

TEST(supervisor_26_giving_up)
{
    reset();
    ABC();
    test_log_clear();
    otp_pid sup = SUP(abc, .max_restarts = OTP_NO_RESTARTS);
    expect("a+b+c+");
    die_id(sup, "b", CRASH);
    expect("b-c-a-");
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    CHECK(test_log_has("reached_max_restart_intensity"));
}

static otp_pid start_fragile(void *arg)
{
    const otp_child list[] = { CHILD('x') };
    (void)arg;
    event('S', '+');
    return SUP(list, .max_restarts = OTP_NO_RESTARTS);
}

static void escalates(otp_restart restart, bool again)
{
    reset();
    const otp_child list[] = { { .id = "S", .start = start_fragile, .type = OTP_SUPERVISOR, .restart = restart } };
    otp_pid sup = SUP(list), inner = pid_of(sup, "S");
    expect("S+x+");
    die_id(inner, "x", CRASH);
    expect("x-");
    if (again) expect("S+x+");
    until(sup, "S", again ? OTP_CHILD_RUNNING : restart == OTP_TEMPORARY ? -1 : OTP_CHILD_STOPPED);
    if (again) CHECK(!otp_same(pid_of(sup, "S"), inner));
    expect_none();
    stop(sup);
}

TEST(supervisor_27_a_permanent_supervisor_comes_back) { escalates(OTP_PERMANENT, true); }
TEST(supervisor_27_a_transient_supervisor_does_not) { escalates(OTP_TRANSIENT, false); }
TEST(supervisor_27_a_temporary_supervisor_is_forgotten) { escalates(OTP_TEMPORARY, false); }

TEST(supervisor_28_children_share_the_budget)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc);
    expect("a+b+c+");
    die_id(sup, "a", CRASH);
    expect("a-a+");
    die_id(sup, "b", CRASH);
    expect("b-b+");
    die_id(sup, "c", CRASH);
    expect("c-c+");
    die_id(sup, "a", CRASH);
    expect("a-c-b-");
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
}

/* -- failing restarts ------------------------------------------------------------------------------------ */

TEST(supervisor_29_and_31_failed_tries_use_up_the_budget)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b') };
    otp_pid sup = SUP(list);
    expect("a+b+");
    fails['a'] = 1000;
    die_id(sup, "a", CRASH);
    expect("a-a!a!a!b-");
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    expect_none();
}

TEST(supervisor_30_a_later_try_may_work)
{
    reset();
    const otp_child list[] = { CHILD('a') };
    otp_pid sup = SUP(list);
    fails['a'] = 2;
    die_id(sup, "a", CRASH);
    expect("a+a-a!a!a+");
    until(sup, "a", OTP_CHILD_RUNNING);
    CHECK_EQ(info_of(sup, "a").restarts, 3);
    stop(sup);
}

TEST(supervisor_30_and_33_requests_are_served_between_tries)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b') };
    otp_pid sup = SUP(list, .max_restarts = 1 << 30);
    expect("a+b+");
    fails['a'] = 1 << 30;
    die_id(sup, "a", CRASH);
    expect("a-a!a!a!");
    CHECK_EQ(info_of(sup, "a").state, OTP_CHILD_RESTARTING);
    CHECK_EQ(info_of(sup, "a").pid.id, 0);
    CHECK_EQ(pid_of(sup, "a").id, 0);
    CHECK_EQ(otp_supervisor_restart_child(sup, "a").id, 0);
    CHECK_EQ(result(NULL), OTP_EBUSY);
    CHECK_EQ(otp_supervisor_delete_child(sup, "a"), OTP_EBUSY);
    otp_child_counts n;
    CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
    CHECK_EQ(n.specs, 2);
    CHECK_EQ(n.active, 1);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "a"), 0);          /* cancels the retry */
    CHECK_EQ(info_of(sup, "a").state, OTP_CHILD_STOPPED);
    while (otp_recv_tag(EVENT, 0) != NULL) {}
    int tries = starts['a'];
    CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
    CHECK_EQ(starts['a'], tries);
    fails['a'] = 0;
    CHECK(otp_supervisor_restart_child(sup, "a").id != 0);
    expect("a+");
    stop(sup);
    expect("b-a-");
}

TEST(supervisor_30_it_can_be_stopped_between_tries)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b') };
    otp_pid sup = SUP(list, .max_restarts = 1 << 30);
    expect("a+b+");
    fails['a'] = 1 << 30;
    die_id(sup, "a", CRASH);
    expect("a-a!");
    stop(sup);
    CHECK_EQ(end_of(sup), OTP_REASON_NORMAL);
}

TEST(supervisor_32_retry_of_one_for_all)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc, .strategy = OTP_ONE_FOR_ALL);
    expect("a+b+c+");
    fails['b'] = 1;
    die_id(sup, "c", CRASH);
    expect("c-b-a-a+b!a-a+b+c+");
    expect_none();
    stop(sup);
}

TEST(supervisor_32_retry_of_rest_for_one)
{
    reset();
    const otp_child abcd[] = { CHILD('a'), CHILD('b'), CHILD('c'), CHILD('d') };
    otp_pid sup = SUP(abcd, .strategy = OTP_REST_FOR_ONE);
    expect("a+b+c+d+");
    fails['c'] = 1;
    die_id(sup, "b", CRASH);
    expect("b-d-c-b+c!c+d+");         /* from the one that failed to start, not from the one that died */
    expect_none();
    stop(sup);
}

TEST(supervisor_34_ignore_at_a_restart)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b') };
    otp_pid sup = SUP(list);
    expect("a+b+");
    ignores['a'] = 1;
    die_id(sup, "a", CRASH);
    expect("a-a0");
    until(sup, "a", OTP_CHILD_STOPPED);
    CHECK_EQ(otp_supervisor_which_children(sup, NULL, 0), 2);
    stop(sup);
}

/* -- shutdown -------------------------------------------------------------------------------------------- */

TEST(supervisor_35_one_at_a_time_in_reverse)
{
    reset();
    ABC();
    for (int i = 'a'; i <= 'c'; i++) modes[i] = GATED;
    otp_pid sup = SUP(abc, .name = "top"), pid[3] = { pid_of(sup, "a"), pid_of(sup, "b"), pid_of(sup, "c") };
    expect("a+b+c+");
    CHECK_EQ(otp_exit_signal(sup, OTP_SHUTDOWN), 0);    /* from its parent */
    for (int i = 2; i >= 0; i--) {
        const char want[] = { (char)('a' + i), '~', '\0' }, end[] = { (char)('a' + i), '-', '\0' };
        expect(want);
        otp_yield();
        expect_none();                                  /* the next one has not been told yet */
        CHECK_EQ(otp_send(pid[i], GO, NULL, 0), 0);
        expect(end);
    }
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
}

static void shuts_down(int64_t shutdown, int mode, const char *events, const char *report)
{
    reset();
    test_log_clear();
    const otp_child list[] = { CHILD('a', .shutdown = shutdown, .restart = OTP_TRANSIENT) };
    modes['a'] = mode;
    otp_pid sup = SUP(list);
    expect("a+");
    stop(sup);
    expect(events);
    expect_none();
    CHECK_EQ(test_log_has("shutdown_error"), report != NULL);
    if (report) CHECK(test_log_has(report));
    while (otp_recv(0) != NULL) {}
}

TEST(supervisor_36_brutal_kill) { shuts_down(OTP_BRUTAL_KILL, ENDS, "a-", NULL); }
TEST(supervisor_36_within_the_time) { shuts_down(0, ENDS, "a~a-", NULL); }
TEST(supervisor_36_the_time_is_over) { shuts_down(20, DEAF, "a~a-", "killed"); }
TEST(supervisor_36_infinity) { shuts_down(OTP_INFINITY, ENDS, "a~a-", NULL); }
TEST(supervisor_36_zero_does_not_wait)
{
    reset();
    const otp_child list[] = { CHILD('a', .shutdown = OTP_SHUTDOWN_NOW) };
    modes['a'] = DEAF;
    otp_pid sup = SUP(list);
    expect("a+");
    int64_t before = otp_now();
    stop(sup);
    CHECK(!test_opt_deterministic || otp_now() == before);
    const otp_msg *m = otp_recv_tag(EVENT, TEST_WAIT);         /* a~ if it was quick */
    CHECK(m != NULL);
    if (((const char *)m->data)[1] == '~') expect("a-");
}

TEST(supervisor_37_a_child_that_unlinked_itself)
{
    reset();
    ABC();
    modes['b'] = UNLINKED;
    otp_pid sup = SUP(abc);
    expect("a+b+c+");
    stop(sup);
    expect("c-");
    const otp_msg *m = otp_recv_tag(EVENT, TEST_WAIT);
    CHECK(m != NULL && ((const char *)m->data)[0] == 'b');      /* trapping: the signal is from its parent */
    if (((const char *)m->data)[1] == '~') expect("b-");
    expect("a-");
}

TEST(supervisor_37_an_unlinked_child_that_has_ended_before)
{
    reset();
    ABC();
    modes['b'] = UNLINKED;
    otp_pid sup = SUP(abc), b = pid_of(sup, "b");
    die(b, NORMAL);
    CHECK_EQ(otp_await_exit(b, TEST_WAIT, NULL), 0);
    expect("a+b+c+b-");
    test_log_clear();
    stop(sup);
    expect("c-a-");
    CHECK(test_log_has("shutdown_error: child b"));
}

TEST(supervisor_38_other_reasons_are_reported_only)
{
    shuts_down(0, WRONG, "a~a-", "would rather not");
    shuts_down(0, WELL, "a~a-", NULL);
    shuts_down(0, TEXT, "a~a-", NULL);
    reset();
    test_log_clear();
    const otp_child list[] = { CHILD('a'), CHILD('b') };
    modes['b'] = WELL;
    otp_pid sup = SUP(list);
    stop(sup);
    expect("a+b+b~b-a-");
    CHECK(test_log_has("shutdown_error: child b"));     /* normal, but it is permanent */
    CHECK(!test_log_has("shutdown_error: child a"));
}

TEST(supervisor_38_the_true_reason_of_one_that_had_died_before)
{
    reset();
    test_log_clear();
    const otp_child list[] = { CHILD('a'), CHILD('b', .shutdown = OTP_INFINITY) };
    modes['b'] = GATED;
    otp_pid sup = SUP(list), a = pid_of(sup, "a"), b = pid_of(sup, "b");
    CHECK_EQ(otp_exit_signal(sup, OTP_SHUTDOWN), 0);
    expect("a+b+b~");                       /* the supervisor waits for b */
    die(a, CRASH);
    CHECK_EQ(otp_await_exit(a, TEST_WAIT, NULL), 0);
    CHECK_EQ(otp_send(b, GO, NULL, 0), 0);
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    CHECK(test_log_has("shutdown_error: child a") && test_log_has("user 5: crashed"));
    CHECK(!test_log_has("noproc"));
}

struct parent { otp_pid app; const otp_child *children; size_t count; };

static void parent(void *arg)
{
    const struct parent *p = arg;
    otp_pid sup = otp_supervisor_start_link(&(otp_supervisor_opts){ .children = p->children, .child_count = p->count });
    CHECK_EQ(OTP_SEND(p->app, READY, sup), 0);
    const otp_msg *m = otp_recv_tag(DIE, OTP_INFINITY);
    otp_exit(die_reason(m));
}

static void dies_with_parent(int how, otp_reason_kind kind)
{
    reset();
    ABC();
    struct parent p = { otp_self(), abc, 3 };
    otp_pid top = otp_spawn(parent, &p);
    const otp_msg *m = otp_recv_tag(READY, TEST_WAIT);
    CHECK(m != NULL);
    otp_ref ref = otp_monitor(*OTP_PAYLOAD(m, otp_pid));
    die(top, how);
    expect("a+b+c+c-b-a-");
    CHECK_EQ(test_down(ref)->kind, kind);
}

TEST(supervisor_39_it_ends_with_its_parent) { dies_with_parent(CRASH, OTP_REASON_USER); }
TEST(supervisor_39_also_a_normal_one) { dies_with_parent(NORMAL, OTP_REASON_NORMAL); }
TEST(supervisor_39_or_a_killed_one) { dies_with_parent(BY_KILL, OTP_REASON_KILLED); }

TEST(supervisor_39_stop_with_a_reason)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc);
    CHECK_EQ(otp_supervisor_stop(sup, OTP_USER(3, "closing time"), TEST_WAIT), 0);
    expect("a+b+c+c-b-a-");
    const otp_reason *why = test_exit_from(sup);
    CHECK_EQ(why->code, 3);
    CHECK_STR(why->text, "closing time");
    CHECK_EQ(otp_supervisor_stop(sup, OTP_NORMAL, TEST_WAIT), OTP_ENOPROC);
    CHECK_EQ(otp_supervisor_stop(otp_self(), OTP_NORMAL, TEST_WAIT), OTP_ESELF);
    CHECK_EQ(otp_supervisor_stop(sup, OTP_NORMAL, -5), OTP_EBADARG);
}

TEST(supervisor_39_stop_in_vain)
{
    reset();
    const otp_child list[] = { CHILD('a', .shutdown = OTP_INFINITY) };
    modes['a'] = GATED;
    otp_pid sup = SUP(list), a = pid_of(sup, "a");
    CHECK_EQ(otp_supervisor_stop(sup, OTP_NORMAL, 5), OTP_ETIMEOUT);
    CHECK_EQ(otp_send(a, GO, NULL, 0), 0);
    CHECK_EQ(end_of(sup), OTP_REASON_NORMAL);
}

TEST(supervisor_40_a_killed_supervisor)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b') };
    modes['b'] = GATED;
    otp_pid sup = SUP(list), b = pid_of(sup, "b");
    otp_ref ref = otp_monitor(pid_of(sup, "a")), ref_b = otp_monitor(b);
    CHECK_EQ(otp_exit_signal(sup, OTP_KILL), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);      /* no order, no shutdown */
    CHECK_EQ(otp_send(b, GO, NULL, 0), 0);                  /* it traps: a message */
    CHECK_EQ(test_down(ref_b)->kind, OTP_REASON_SHUTDOWN);
    CHECK_EQ(end_of(sup), OTP_REASON_KILLED);
}

static otp_next ignore_all(void *state, const otp_msg *m)
{
    (void)state;
    (void)m;
    return OTP_OK;
}

static void ended_as_server(void *state, const otp_reason *why)
{
    (void)state;
    event(why->kind == OTP_REASON_SHUTDOWN ? 'T' : 't', '-');
}

static otp_next trap_init(void *state, const void *arg, size_t size)
{
    (void)state;
    (void)size;
    if (arg) (void)otp_trap_exit(true);
    return OTP_OK;
}

static otp_pid start_handler(void *arg)
{
    static const otp_handler h = { .name = "h", .state_size = 8, .init = trap_init, .message = ignore_all, .terminate = ended_as_server };
    const otp_spawn_opts o = { .handler = &h, .link = true, .arg = arg };
    otp_pid pid;
    if (otp_start_handler(&o, OTP_INFINITY, &pid, NULL) < 0) pid.id = 0;
    return pid;
}

TEST(supervisor_41_terminate_runs_only_in_a_worker_that_traps)
{
    reset();
    int yes = 1;
    const otp_child list[] = { { .id = "traps", .start = start_handler, .arg = &yes }, { .id = "plain", .start = start_handler } };
    otp_pid sup = SUP(list);
    stop(sup);
    expect("T-");
    expect_none();
}

/* -- requests -------------------------------------------------------------------------------------------- */

TEST(supervisor_42_start_child)
{
    reset();
    ABC();
    otp_reason why;
    otp_pid sup = SUP(abc);
    const otp_child d = CHILD('d'), e = CHILD('e'), i = CHILD('i'), t = CHILD('t', .restart = OTP_TEMPORARY);
    otp_pid pid = otp_supervisor_start_child(sup, &d);
    CHECK(pid.id != 0);
    CHECK_EQ(result(NULL), 0);
    CHECK(otp_same(pid_of(sup, "d"), pid));
    CHECK_EQ(otp_supervisor_start_child(sup, &d).id, 0);            /* already_started */
    CHECK_EQ(result(NULL), OTP_EEXIST);
    CHECK(otp_same(pid_of(sup, "d"), pid));
    CHECK_EQ(otp_supervisor_terminate_child(sup, "d"), 0);
    CHECK_EQ(otp_supervisor_start_child(sup, &d).id, 0);            /* already_present */
    CHECK_EQ(result(NULL), OTP_EEXIST);
    CHECK_EQ(pid_of(sup, "d").id, 0);
    fails['e'] = 1;
    CHECK_EQ(otp_supervisor_start_child(sup, &e).id, 0);
    CHECK_EQ(result(&why), OTP_EDIED);
    CHECK_EQ(why.code, 77);
    CHECK_STR(why.text, "no luck");
    CHECK_EQ(otp_supervisor_which_children(sup, NULL, 0), 4);       /* not kept */
    CHECK(otp_supervisor_start_child(sup, &e).id != 0);
    ignores['i'] = ignores['t'] = 1;
    CHECK_EQ(otp_supervisor_start_child(sup, &i).id, 0);
    CHECK_EQ(result(NULL), OTP_EIGNORE);
    CHECK_EQ(otp_supervisor_start_child(sup, &t).id, 0);
    CHECK_EQ(result(NULL), OTP_EIGNORE);
    CHECK_EQ(otp_supervisor_which_children(sup, NULL, 0), 6);       /* i is kept, the temporary t is not */
    CHECK_EQ(otp_supervisor_start_child(sup, &(otp_child){ .id = "bad" }).id, 0);
    CHECK_EQ(result(NULL), OTP_EBADARG);
    expect("a+b+c+d+d-e!e+i0t0");
    stop(sup);
    expect("e-c-b-a-");
}

TEST(supervisor_43_terminate_child)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('t', .restart = OTP_TEMPORARY) };
    otp_pid sup = SUP(list);
    expect("a+t+");
    CHECK_EQ(otp_supervisor_terminate_child(sup, "a"), 0);
    expect("a-");
    CHECK_EQ(info_of(sup, "a").state, OTP_CHILD_STOPPED);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "a"), 0);          /* already stopped */
    CHECK_EQ(otp_supervisor_terminate_child(sup, "t"), 0);
    expect("t-");
    CHECK_EQ(otp_supervisor_terminate_child(sup, "t"), OTP_ENOENT);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "nobody"), OTP_ENOENT);
    CHECK_EQ(otp_supervisor_terminate_child(sup, NULL), OTP_ENOENT);
    expect_none();
    stop(sup);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "a"), OTP_ENOPROC);
}

TEST(supervisor_44_restart_child)
{
    reset();
    otp_reason why;
    const otp_child list[] = { CHILD('a') };
    otp_pid sup = SUP(list);
    CHECK_EQ(otp_supervisor_restart_child(sup, "a").id, 0);
    CHECK_EQ(result(NULL), OTP_EEXIST);
    CHECK_EQ(otp_supervisor_restart_child(sup, "nobody").id, 0);
    CHECK_EQ(result(NULL), OTP_ENOENT);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "a"), 0);
    fails['a'] = 1;
    CHECK_EQ(otp_supervisor_restart_child(sup, "a").id, 0);
    CHECK_EQ(result(&why), OTP_EDIED);
    CHECK_EQ(why.code, 77);
    CHECK_EQ(info_of(sup, "a").state, OTP_CHILD_STOPPED);           /* stays stopped */
    otp_pid pid = otp_supervisor_restart_child(sup, "a");
    CHECK(pid.id != 0 && otp_same(pid_of(sup, "a"), pid));
    expect("a+a-a!a+");
    stop(sup);
}

TEST(supervisor_45_delete_child)
{
    reset();
    ABC();
    otp_pid sup = SUP(abc);
    CHECK_EQ(otp_supervisor_delete_child(sup, "b"), OTP_EEXIST);
    CHECK_EQ(otp_supervisor_delete_child(sup, "nobody"), OTP_ENOENT);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "b"), 0);
    CHECK_EQ(otp_supervisor_delete_child(sup, "b"), 0);
    CHECK_EQ(otp_supervisor_delete_child(sup, "b"), OTP_ENOENT);
    CHECK_EQ(otp_supervisor_which_children(sup, NULL, 0), 2);
    const otp_child b = CHILD('b');
    CHECK(otp_supervisor_start_child(sup, &b).id != 0);             /* the id is free, and the new one goes last */
    expect("a+b+c+b-b+");
    stop(sup);
    expect("b-c-a-");
}

TEST(supervisor_46_which_children)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('s', .type = OTP_SUPERVISOR, .restart = OTP_TRANSIENT), CHILD('c') };
    ignores['c'] = 1;
    otp_pid sup = SUP(list);
    otp_child_info all[3];
    CHECK_EQ(otp_supervisor_which_children(sup, all, 3), 3);
    CHECK_STR(all[0].id, "c");
    CHECK_EQ(all[0].state, OTP_CHILD_STOPPED);
    CHECK_STR(all[1].id, "s");
    CHECK_EQ(all[1].type, OTP_SUPERVISOR);
    CHECK_EQ(all[1].restart, OTP_TRANSIENT);
    CHECK_STR(all[2].id, "a");
    CHECK(otp_same(all[2].pid, pid_of(sup, "a")));
    memset(all, 0, sizeof all);
    CHECK_EQ(otp_supervisor_which_children(sup, all, 1), 3);        /* no more than there is room for */
    CHECK_STR(all[0].id, "c");
    CHECK_STR(all[1].id, "");
    stop(sup);
    CHECK_EQ(otp_supervisor_which_children(sup, all, 3), OTP_ENOPROC);
}

TEST(supervisor_46_more_children_than_one_answer_holds)
{
    reset();
    int many = test_many(3000, 1100);
    otp_pid sup = otp_supervisor_start_link(&(otp_supervisor_opts){ .name = "many" });
    for (int i = 0; i < many; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%d", i);
        CHECK(otp_supervisor_start_child(sup, &(otp_child){ .id = id, .run = test_idle }).id != 0);
    }
    otp_child_info *all = otp_calloc((size_t)many, sizeof *all);
    CHECK_EQ(otp_supervisor_which_children(sup, all, (size_t)many), many);
    for (int i = 0; i < many; i++) CHECK_EQ(atoi(all[i].id), many - 1 - i);
    stop(sup);
}

TEST(supervisor_47_count_children)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('s', .type = OTP_SUPERVISOR), CHILD('c') };
    otp_pid sup = SUP(list);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "a"), 0);
    otp_child_counts n;
    CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
    CHECK_EQ(n.specs, 3);
    CHECK_EQ(n.active, 2);
    CHECK_EQ(n.supervisors, 1);
    CHECK_EQ(n.workers, 2);
    stop(sup);
}

static otp_pid start_gated(void *arg)
{
    event('g', '+');
    CHECK(otp_recv_tag(GO, TEST_WAIT) != NULL);
    return otp_spawn_link(test_idle, arg);
}

static void counts_children(void *arg)
{
    otp_child_counts n;
    CHECK_EQ(otp_supervisor_count_children(*(otp_pid *)arg, &n), 0);
    CHECK_EQ(n.active, 1);
    event('n', '=');
}

static void starts_gated(void *arg)
{
    CHECK(otp_supervisor_start_child(*(otp_pid *)arg, &(otp_child){ .id = "g", .start = start_gated }).id != 0);
}

TEST(supervisor_49_requests_wait_for_a_slow_start)
{
    reset();
    otp_pid sup = otp_supervisor_start_link(&(otp_supervisor_opts){ .name = "slow" });
    otp_ref one, two;
    CHECK(otp_spawn_monitor(starts_gated, &sup, &one).id != 0);
    expect("g+");
    CHECK(otp_spawn_monitor(counts_children, &sup, &two).id != 0);
    otp_sleep(5);
    expect_none();
    CHECK_EQ(otp_send(sup, GO, NULL, 0), 0);
    expect("n=");
    CHECK_EQ(test_down(one)->kind, OTP_REASON_NORMAL);
    CHECK_EQ(test_down(two)->kind, OTP_REASON_NORMAL);
    stop(sup);
}

TEST(supervisor_50_by_hand_does_not_count)
{
    reset();
    const otp_child list[] = { CHILD('a') };
    otp_pid sup = SUP(list, .max_restarts = 1);
    expect("a+");
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(otp_supervisor_terminate_child(sup, "a"), 0);
        CHECK(otp_supervisor_restart_child(sup, "a").id != 0);
        expect("a-a+");
    }
    die_id(sup, "a", CRASH);
    expect("a-a+");
    stop(sup);
}

/* -- auto_shutdown ---------------------------------------------------------------------------------------- */

TEST(supervisor_51_significant_needs_auto_shutdown)
{
    reset();
    otp_reason why;
    const otp_child list[] = { CHILD('a', .restart = OTP_TRANSIENT, .significant = true) };
    CHECK_EQ(SUP(list).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK(why.text && strstr(why.text, "significant"));
    const otp_child permanent[] = { CHILD('a', .significant = true) };
    CHECK_EQ(SUP(permanent, .auto_shutdown = OTP_AUTO_ANY_SIGNIFICANT).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    otp_pid sup = otp_supervisor_start_link(&(otp_supervisor_opts){ .name = "x" });
    CHECK_EQ(otp_supervisor_start_child(sup, &list[0]).id, 0);
    CHECK_EQ(result(NULL), OTP_EBADARG);
    expect_none();
    stop(sup);
}

TEST(supervisor_52_any_significant)
{
    for (int i = 0; i < 3; i++) {
        reset();
        const otp_child list[] = { CHILD('a'), CHILD('b', .restart = i ? OTP_TEMPORARY : OTP_TRANSIENT, .significant = true),
                                   CHILD('c', .restart = OTP_TRANSIENT, .significant = true) };
        otp_pid sup = SUP(list, .auto_shutdown = OTP_AUTO_ANY_SIGNIFICANT);
        expect("a+b+c+");
        die_id(sup, "b", i == 2 ? CRASH : NORMAL);
        expect("b-c-a-");
        CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    }
}

TEST(supervisor_53_all_significant)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b', .restart = OTP_TEMPORARY, .significant = true),
                               CHILD('c', .restart = OTP_TRANSIENT, .significant = true), CHILD('d', .restart = OTP_TEMPORARY) };
    otp_pid sup = SUP(list, .auto_shutdown = OTP_AUTO_ALL_SIGNIFICANT);
    expect("a+b+c+d+");
    die_id(sup, "b", CRASH);
    until(sup, "b", -1);
    die_id(sup, "d", NORMAL);
    until(sup, "d", -1);
    expect("b-d-");
    expect_none();
    die_id(sup, "c", NORMAL);
    expect("c-a-");
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
}

TEST(supervisor_54_what_does_not_trigger_it)
{
    reset();
    const otp_child list[] = { CHILD('a'), CHILD('b', .restart = OTP_TRANSIENT, .significant = true),
                               CHILD('t', .restart = OTP_TEMPORARY, .significant = true) };
    otp_pid sup = SUP(list, .strategy = OTP_ONE_FOR_ALL, .auto_shutdown = OTP_AUTO_ANY_SIGNIFICANT);
    expect("a+b+t+");
    die_id(sup, "b", CRASH);                /* it is restarted; its sibling t is stopped and dropped */
    expect("b-t-a-a+b+");
    die_id(sup, "a", CRASH);                /* it is stopped with the group */
    expect("a-b-a+b+");
    CHECK_EQ(otp_supervisor_terminate_child(sup, "b"), 0);
    expect("b-");
    CHECK(pid_of(sup, "a").id != 0);
    expect_none();
    stop(sup);
}

static otp_pid start_auto(void *arg)
{
    const otp_child list[] = { CHILD('x', .restart = OTP_TRANSIENT, .significant = true) };
    (void)arg;
    return SUP(list, .auto_shutdown = OTP_AUTO_ANY_SIGNIFICANT);
}

TEST(supervisor_55_the_parent_sees_shutdown)
{
    reset();
    const otp_child list[] = { { .id = "S", .start = start_auto, .type = OTP_SUPERVISOR, .restart = OTP_TRANSIENT },
                               { .id = "P", .start = start_auto, .type = OTP_SUPERVISOR } };
    otp_pid sup = SUP(list);
    expect("x+x+");
    die_id(pid_of(sup, "S"), "x", NORMAL);
    expect("x-");
    until(sup, "S", OTP_CHILD_STOPPED);
    die_id(pid_of(sup, "P"), "x", NORMAL);
    expect("x-x+");
    stop(sup);
}

/* -- dynamic supervisors ---------------------------------------------------------------------------------- */

static otp_pid dynamic(void) { return otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .name = "dynamic" }); }

static otp_pid add(otp_pid sup, int letter, otp_restart restart)
{
    const otp_child c = { .start = start, .arg = (void *)(intptr_t)letter, .restart = restart };
    return otp_dynamic_supervisor_start_child(sup, &c);
}

static size_t active(otp_pid sup)
{
    otp_child_counts n;
    CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
    return n.active;
}

static void until_active(otp_pid sup, size_t n)
{
    for (int i = 0; i < 20000 && active(sup) != n; i++) otp_sleep(i > 100);
    CHECK_EQ(active(sup), n);
}

TEST(supervisor_56_flags_of_dynamic_supervisors)
{
    reset();
    otp_reason why;
    CHECK_EQ(otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .max_restarts = -7 }).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK_EQ(otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .extra_size = 7 }).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    otp_pid sup = otp_dynamic_supervisor_start_link(NULL);
    CHECK(sup.id != 0);
    otp_pid pid = add(sup, 'a', OTP_PERMANENT);
    expect("a+");
    for (int i = 0; i < 3; i++) {           /* Elixir's 3 in 5 s */
        otp_child_info info;
        die(pid, CRASH);
        expect("a-a+");
        uint64_t cursor = 0;
        CHECK_EQ(otp_dynamic_supervisor_which_children(sup, &cursor, &info, 1), 1);
        CHECK_EQ(info.restarts, i + 1);
        pid = info.pid;
    }
    die(pid, CRASH);
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    expect("a-");
}

TEST(supervisor_57_ids_do_not_matter)
{
    reset();
    otp_reason why;
    otp_pid sup = dynamic(), a = add(sup, 'a', OTP_PERMANENT), b = add(sup, 'a', OTP_PERMANENT);
    CHECK(a.id && b.id && !otp_same(a, b));
    otp_child_info all[3];
    uint64_t cursor = 0;
    CHECK_EQ(otp_dynamic_supervisor_which_children(sup, &cursor, all, 3), 2);
    CHECK_STR(all[0].id, "");
    CHECK(otp_same(all[0].pid, a) && otp_same(all[1].pid, b));
    CHECK_EQ(otp_dynamic_supervisor_which_children(sup, &cursor, all, 3), 0);
    CHECK_EQ(otp_dynamic_supervisor_start_child(sup, &(otp_child){ .id = "x" }).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK_EQ(otp_dynamic_supervisor_start_child(sup, &(otp_child){ .run = child, .significant = true, .restart = OTP_TEMPORARY }).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    stop(sup);
}

TEST(supervisor_58_max_children)
{
    reset();
    otp_pid sup = otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .max_children = 2, .max_restarts = 1 << 30 });
    otp_pid a = add(sup, 'a', OTP_PERMANENT);
    CHECK(add(sup, 'b', OTP_TEMPORARY).id != 0);
    CHECK_EQ(add(sup, 'c', OTP_PERMANENT).id, 0);
    CHECK_EQ(result(NULL), OTP_EFULL);
    CHECK_EQ(starts['c'], 0);
    expect("a+b+");
    fails['a'] = 1 << 30;
    die(a, CRASH);
    expect("a-a!");
    CHECK_EQ(add(sup, 'c', OTP_PERMANENT).id, 0);           /* one that is restarting has its slot */
    CHECK_EQ(result(NULL), OTP_EFULL);
    CHECK_EQ(otp_dynamic_supervisor_terminate_child(sup, a), 0);
    CHECK(add(sup, 'c', OTP_PERMANENT).id != 0);
    stop(sup);
}

TEST(supervisor_59_ignore_keeps_nothing)
{
    reset();
    otp_pid sup = dynamic();
    ignores['i'] = fails['f'] = 1;
    CHECK_EQ(add(sup, 'i', OTP_PERMANENT).id, 0);
    CHECK_EQ(result(NULL), OTP_EIGNORE);
    otp_reason why;
    CHECK_EQ(add(sup, 'f', OTP_PERMANENT).id, 0);
    CHECK_EQ(result(&why), OTP_EDIED);
    CHECK_EQ(why.code, 77);
    otp_child_counts n;
    CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
    CHECK_EQ(n.specs, 0);
    stop(sup);
}

static otp_pid start_with_extra(void *arg)
{
    const int *extra = otp_dynamic_supervisor_extra();
    CHECK(extra != NULL);
    CHECK_EQ(*extra, 42);
    return start(arg);
}

TEST(supervisor_60_extra_arguments)
{
    reset();
    int extra = 42;
    otp_pid sup = otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .extra = &extra, .extra_size = sizeof extra });
    extra = 0;
    otp_pid pid = otp_dynamic_supervisor_start_child(sup, &(otp_child){ .start = start_with_extra, .arg = (void *)(intptr_t)'a' });
    CHECK(pid.id != 0);
    die(pid, CRASH);
    expect("a+a-a+");                                       /* also at a restart */
    CHECK(otp_dynamic_supervisor_extra() == NULL);
    stop(sup);
}

TEST(supervisor_61_terminate_child_takes_a_pid)
{
    reset();
    otp_pid sup = otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .max_restarts = 1 << 30 });
    otp_pid a = add(sup, 'a', OTP_PERMANENT), b = add(sup, 'b', OTP_PERMANENT);
    CHECK_EQ(otp_dynamic_supervisor_terminate_child(sup, a), 0);
    CHECK_EQ(otp_dynamic_supervisor_terminate_child(sup, a), OTP_ENOENT);
    CHECK_EQ(otp_dynamic_supervisor_terminate_child(sup, (otp_pid){ 0 }), OTP_ENOENT);
    expect("a+b+a-");
    fails['b'] = 1 << 30;
    die(b, CRASH);
    expect("b-b!b!");
    otp_child_info info;
    uint64_t cursor = 0;
    CHECK_EQ(otp_dynamic_supervisor_which_children(sup, &cursor, &info, 1), 1);
    CHECK_EQ(info.state, OTP_CHILD_RESTARTING);
    CHECK(otp_same(info.pid, b));                           /* the old pid */
    CHECK_EQ(otp_dynamic_supervisor_terminate_child(sup, b), 0);
    CHECK_EQ(active(sup), 0);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "b"), OTP_EBADCALL);
    CHECK_EQ(otp_supervisor_delete_child(sup, "b"), OTP_EBADCALL);
    CHECK_EQ(otp_supervisor_restart_child(sup, "b").id, 0);
    CHECK_EQ(result(NULL), OTP_EBADCALL);
    stop(sup);
    const otp_child list[] = { CHILD('x') };
    sup = SUP(list);
    CHECK_EQ(otp_dynamic_supervisor_terminate_child(sup, pid_of(sup, "x")), OTP_EBADCALL);
    stop(sup);
}

TEST(supervisor_62_and_34_failed_restarts_of_dynamic_children)
{
    reset();
    otp_pid sup = dynamic(), a = add(sup, 'a', OTP_PERMANENT), b = add(sup, 'b', OTP_PERMANENT);
    expect("a+b+");
    fails['a'] = 1;
    die(a, CRASH);
    expect("a-a!a+");
    ignores['b'] = 1;
    die(b, CRASH);
    expect("b-b0");
    until_active(sup, 1);
    otp_child_counts n;
    CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
    CHECK_EQ(n.specs, 1);                                   /* one that ignores is removed */
    otp_pid c = add(sup, 'c', OTP_TRANSIENT);
    fails['c'] = 1000;
    die(c, CRASH);
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);             /* each try counts: 3 are used up, the next is too many */
    CHECK_EQ(starts['c'], 1);
}

TEST(supervisor_62_tries_use_up_the_budget)
{
    reset();
    otp_pid sup = dynamic(), a = add(sup, 'a', OTP_PERMANENT);
    fails['a'] = 1000;
    die(a, CRASH);
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    expect("a+a-a!a!a!");
    expect_none();
}

TEST(supervisor_63_all_end_at_once)
{
    reset();
    otp_pid sup = dynamic(), pid[5];
    for (int i = 0; i < 5; i++) {
        modes['a' + i] = GATED;
        pid[i] = add(sup, 'a' + i, OTP_PERMANENT);
    }
    expect("a+b+c+d+e+");
    CHECK_EQ(otp_exit_signal(sup, OTP_SHUTDOWN), 0);
    for (int i = 0; i < 5; i++) CHECK(otp_recv_tag(EVENT, TEST_WAIT) != NULL);      /* all are told before one has ended */
    CHECK_EQ(otp_supervisor_count_children(sup, &(otp_child_counts){ 0 }), OTP_EDIED);      /* and requests are not kept waiting */
    for (int i = 0; i < 5; i++) CHECK_EQ(otp_send(pid[i], GO, NULL, 0), 0);
    for (int i = 0; i < 5; i++) CHECK(otp_recv_tag(EVENT, TEST_WAIT) != NULL);
    CHECK_EQ(end_of(sup), OTP_REASON_SHUTDOWN);
    expect_none();
}

static void add_with(otp_pid sup, int letter, int64_t shutdown, int mode)
{
    modes[letter] = mode;
    const otp_child c = { .start = start, .arg = (void *)(intptr_t)letter, .shutdown = shutdown, .restart = OTP_TEMPORARY };
    CHECK(otp_dynamic_supervisor_start_child(sup, &c).id != 0);
}

TEST(supervisor_63_each_time_has_its_own_limit)
{
    reset();
    otp_pid sup = dynamic();
    add_with(sup, 'a', 60, DEAF);
    add_with(sup, 'b', 20, DEAF);
    add_with(sup, 'c', OTP_BRUTAL_KILL, PLAIN);
    add_with(sup, 'd', 40, DEAF);
    add_with(sup, 'e', OTP_INFINITY, ENDS);
    expect("a+b+c+d+e+");
    test_log_clear();
    stop(sup);
    char order[9];
    int n = 0;
    for (const otp_msg *m; (m = otp_recv_tag(EVENT, 0)) != NULL && n < 8;)
        if (((const char *)m->data)[1] == '-' && strchr("bda", ((const char *)m->data)[0])) order[n++] = ((const char *)m->data)[0];
    order[n] = '\0';
    CHECK_EQ(n, 3);
    if (test_opt_deterministic) CHECK_STR(order, "bda");
    CHECK(test_log_has("shutdown_error"));
}

TEST(supervisor_63_and_37_children_that_unlinked_themselves)
{
    reset();
    otp_pid sup = dynamic();
    add_with(sup, 'a', OTP_INFINITY, UNLINKED);     /* before */
    add_with(sup, 'b', OTP_INFINITY, FORGETFUL);    /* while it is told to end */
    add_with(sup, 'c', 0, PLAIN);
    stop(sup);
}

TEST(supervisor_64_counts_of_dynamic_children)
{
    reset();
    otp_pid sup = otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .max_restarts = 1 << 30 });
    otp_pid a = add(sup, 'a', OTP_PERMANENT);
    (void)add(sup, 'b', OTP_PERMANENT);
    expect("a+b+");
    fails['a'] = 1 << 30;
    die(a, CRASH);
    expect("a-a!");
    otp_child_counts n;
    CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
    CHECK_EQ(n.specs, 2);
    CHECK_EQ(n.active, 1);
    stop(sup);
}

static otp_pid start_dynamic(void *arg)
{
    (void)arg;
    return otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .max_restarts = OTP_NO_RESTARTS, .name = "inner" });
}

TEST(supervisor_65_a_restarted_one_comes_back_empty)
{
    reset();
    const otp_child list[] = { { .id = "D", .start = start_dynamic, .type = OTP_SUPERVISOR } };
    otp_pid sup = SUP(list), inner = pid_of(sup, "D"), a = add(inner, 'a', OTP_PERMANENT);
    CHECK(otp_same(otp_whereis("inner"), inner));
    die(a, CRASH);
    expect("a+a-");
    for (int i = 0; i < 20000; i++) {
        otp_pid now = pid_of(sup, "D");
        if (now.id && !otp_same(now, inner)) break;
        otp_sleep(i > 100);
    }
    CHECK(!otp_same(otp_whereis("inner"), inner));
    CHECK_EQ(active(otp_whereis("inner")), 0);
    stop(sup);
}

TEST(dynamic_children_come_and_go_in_great_numbers)
{
    reset();
    enum { MAX = 20000 };
    int many = test_many(MAX, 300);
    otp_pid sup = otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .max_restarts = 1 << 30 });
    otp_pid *pids = otp_calloc((size_t)many, sizeof *pids);
    otp_child_info *all = otp_calloc((size_t)many, sizeof *all);
    CHECK(pids && all);
    const otp_child c = { .run = test_idle };
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < many; i++)
            if (!pids[i].id) CHECK((pids[i] = otp_dynamic_supervisor_start_child(sup, &c)).id != 0);
        for (int i = 0; i < many; i++) {            /* two of three go again */
            if (i % 3 == round) continue;
            CHECK_EQ(otp_dynamic_supervisor_terminate_child(sup, pids[i]), 0);
            pids[i].id = 0;
        }
        size_t left = 0, found = 0;
        for (int i = 0; i < many; i++) left += pids[i].id != 0;
        CHECK_EQ(active(sup), left);
        uint64_t cursor = 0;
        for (int64_t got; (got = otp_dynamic_supervisor_which_children(sup, &cursor, all, 77)) > 0;) {
            for (int64_t i = 0; i < got; i++) CHECK(otp_is_alive(all[i].pid));
            found += (size_t)got;
        }
        CHECK_EQ(found, left);
    }
    stop(sup);
    for (int i = 0; i < many; i++)
        if (pids[i].id) CHECK(!otp_is_alive(pids[i]));
}

TEST(pages_list_whoever_stays_once)
{
    reset();
    otp_pid sup = otp_dynamic_supervisor_start_link(&(otp_dynamic_supervisor_opts){ .max_restarts = 1 << 30 });
    const otp_child c = { .run = test_idle };
    otp_pid pids[40];
    for (int i = 0; i < 40; i++) CHECK((pids[i] = otp_dynamic_supervisor_start_child(sup, &c)).id != 0);
    otp_child_info page[10];
    uint64_t cursor = 0;
    int seen[40] = { 0 };
    for (int round = 0;; round++) {
        int64_t n = otp_dynamic_supervisor_which_children(sup, &cursor, page, 10);
        if (n == 0 || round > 40) break;
        for (int64_t i = 0; i < n; i++)
            for (int j = 0; j < 40; j++) seen[j] += otp_same(page[i].pid, pids[j]);
        /* places move: some of those that were listed go, and new ones come */
        for (int j = 0; j < 40; j++)
            if (seen[j] && j % 10 < 8) (void)otp_dynamic_supervisor_terminate_child(sup, pids[j]);
        for (int j = 0; j < 30 && round == 0; j++) CHECK(otp_dynamic_supervisor_start_child(sup, &c).id != 0);
    }
    for (int j = 0; j < 40; j++) CHECK_EQ(seen[j], 1);
    stop(sup);
}

/* -- partition supervisors -------------------------------------------------------------------------------- */

static void *letter_of(void *arg, int partition) { return (void *)((intptr_t)arg + partition); }

#define PARTS(...) PARTS_(__VA_ARGS__, .intensity = OTP_ELIXIR_INTENSITY)
#define PARTS_(n, ...)                                                                                      \
    otp_partition_supervisor_start_link(&(otp_partition_supervisor_opts){                                   \
        .name = "parts", .partitions = (n), .with_arguments = letter_of,                                    \
        .child = { .start = start, .arg = (void *)(intptr_t)'a' }, __VA_ARGS__ })

static int asks(otp_pid pid)
{
    int id = 0;
    CHECK_EQ(otp_call(pid, CALL, NULL, 0, &id, sizeof id, TEST_WAIT), sizeof id);
    return id;
}

TEST(supervisor_66_partitions)
{
    reset();
    otp_reason why;
    otp_pid sup = PARTS(3);
    CHECK(sup.id != 0);
    expect("a+b+c+");
    CHECK_EQ(otp_partitions("parts"), 3);
    CHECK_EQ(otp_partition_supervisor_start_link(&(otp_partition_supervisor_opts){ .child = { .start = start } }).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK_EQ(PARTS(-1).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK_EQ(otp_partition_supervisor_start_link(&(otp_partition_supervisor_opts){ .name = "x" }).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    CHECK_EQ(PARTS(2).id, 0);
    CHECK_EQ(result(&why), OTP_EEXIST);
    CHECK_EQ(otp_partitions("parts"), 3);
    stop(sup);
    expect("c-b-a-");
    CHECK_EQ(otp_partitions("parts"), 0);
    CHECK_EQ(otp_partition("parts", 1).id, 0);
    sup = PARTS(0);
    CHECK_EQ(otp_partitions("parts"), otp_schedulers());
    stop(sup);
}

TEST(supervisor_67_the_same_key_gives_the_same_partition)
{
    reset();
    otp_pid sup = PARTS(3);
    otp_pid one = otp_partition("parts", 1);
    CHECK_EQ(asks(one), 'b');
    CHECK(otp_same(otp_partition("parts", 4), one) && otp_same(otp_partition("parts", -4), one));
    CHECK_EQ(asks(otp_partition("parts", INT64_MIN)), 'a' + (int)((UINT64_C(1) << 63) % 3));
    CHECK(otp_same(otp_partition_of("parts", "joe", 3), otp_partition_of("parts", "joe", 3)));
    int hits[3] = { 0 };
    for (int i = 0; i < 300; i++) hits[asks(otp_partition_of("parts", &i, sizeof i)) - 'a']++;
    for (int i = 0; i < 3; i++) CHECK(hits[i] > 50);
    CHECK_EQ(otp_partition("nobody", 1).id, 0);
    stop(sup);
}

TEST(supervisor_68_each_has_its_own_arguments)
{
    reset();
    otp_pid sup = PARTS(3);
    for (int i = 0; i < 3; i++) CHECK_EQ(asks(otp_partition("parts", i)), 'a' + i);
    stop(sup);
}

TEST(supervisor_69_routing_finds_the_new_process)
{
    reset();
    otp_pid sup = PARTS(3), old = otp_partition("parts", 1);
    expect("a+b+c+");
    die(old, CRASH);
    expect("b-b+");
    otp_pid now = pid_of(sup, "1");
    CHECK(now.id && !otp_same(now, old));
    CHECK(otp_same(otp_partition("parts", 1), now));
    otp_child_info all[3];
    CHECK_EQ(otp_supervisor_which_children(sup, all, 3), 3);
    CHECK_STR(all[0].id, "2");
    CHECK_STR(all[2].id, "0");
    CHECK_EQ(otp_supervisor_start_child(sup, &(otp_child){ .id = "3", .start = start }).id, 0);
    CHECK_EQ(result(NULL), OTP_EBADCALL);
    stop(sup);
}

TEST(supervisor_69_a_killed_one_routes_nowhere)
{
    reset();
    otp_pid sup = PARTS(3);
    CHECK_EQ(otp_exit_signal(sup, OTP_KILL), 0);
    CHECK_EQ(end_of(sup), OTP_REASON_KILLED);
    CHECK_EQ(otp_partitions("parts"), 0);
    CHECK_EQ(otp_partition("parts", 1).id, 0);
    sup = PARTS(5);                                         /* a larger one of the same name */
    CHECK_EQ(otp_partitions("parts"), 5);
    CHECK_EQ(asks(otp_partition("parts", 4)), 'e');
    stop(sup);
}

TEST(supervisor_70_resize)
{
    reset();
    otp_pid sup = PARTS(4);
    expect("a+b+c+d+");
    CHECK_EQ(otp_partition_resize("parts", 2), 0);
    expect("d-c-");
    CHECK_EQ(otp_partitions("parts"), 2);
    CHECK_EQ(asks(otp_partition("parts", 3)), 'b');
    CHECK_EQ(otp_partition_resize("parts", 5), OTP_EBADARG);
    CHECK_EQ(otp_partition_resize("parts", -1), OTP_EBADARG);
    CHECK_EQ(otp_partition_resize("nobody", 1), OTP_ENOENT);
    fails['d'] = 1;
    CHECK_EQ(otp_partition_resize("parts", 4), OTP_EDIED);
    CHECK_EQ(otp_partitions("parts"), 2);
    CHECK_EQ(otp_partition_resize("parts", 4), 0);
    expect("c+d!d+");
    CHECK_EQ(asks(otp_partition("parts", 3)), 'd');
    CHECK_EQ(otp_partition_resize("parts", 0), 0);
    expect("d-c-b-a-");
    CHECK_EQ(otp_partition("parts", 0).id, 0);
    stop(sup);
}

TEST(supervisor_72_partitions_are_not_significant)
{
    reset();
    otp_reason why;
    const otp_partition_supervisor_opts o = {
        .name = "parts", .child = { .start = start, .restart = OTP_TRANSIENT, .significant = true },
    };
    CHECK_EQ(otp_partition_supervisor_start_link(&o).id, 0);
    CHECK_EQ(result(&why), OTP_EBADARG);
    otp_pid sup = PARTS(2, .strategy = OTP_ONE_FOR_ALL);
    expect("a+b+");
    die(otp_partition("parts", 1), CRASH);
    expect("b-a-a+b+");
    stop(sup);
}

/* -- the tree --------------------------------------------------------------------------------------------- */

static char tree[8192];

static const char *tree_of(otp_pid sup)
{
    int n = otp_supervisor_format_tree(sup, tree, sizeof tree);
    CHECK(n > 0 && (size_t)n < sizeof tree && (size_t)n == strlen(tree));
    return tree;
}

/* "… <pid>": what a line begins with. */
static const char *line(const char *what, otp_pid pid)
{
    static char text[128];
    char p[32];
    CHECK(otp_format_pid(pid, p, sizeof p) > 0);
    (void)snprintf(text, sizeof text, "%s %s ", what, p);
    return text;
}

TEST(the_tree_as_text)
{
    reset();
    const otp_child list[] = { CHILD('a'), { .id = "S", .start = start_fragile, .type = OTP_SUPERVISOR },
                               { .id = "D", .start = start_dynamic, .type = OTP_SUPERVISOR }, CHILD('i') };
    ignores['i'] = 1;
    otp_pid sup = SUP(list, .name = "top", .strategy = OTP_REST_FOR_ONE, .max_restarts = 7, .max_seconds = 9);
    for (int i = 0; i < 13; i++) CHECK(add(pid_of(sup, "D"), 'd', OTP_TEMPORARY).id != 0);
    expect("a+S+x+i0d+d+d+d+d+d+d+d+d+d+d+d+d+");
    die_id(sup, "a", CRASH);
    expect("a-d-d-d-d-d-d-d-d-d-d-d-d-d-x-a+S+x+i0");
    for (int i = 0; i < 13; i++) CHECK(add(pid_of(sup, "D"), 'd', OTP_TEMPORARY).id != 0);
    const char *t = tree_of(sup);
    CHECK(strstr(t, line("top", sup)) == t);
    CHECK(strstr(t, "supervisor, rest_for_one, 1 restarts (7 in 9 s are allowed)\n") != NULL);
    CHECK(strstr(t, line("\n  a", pid_of(sup, "a"))) != NULL);
    CHECK(strstr(t, ", 1 restarts\n") != NULL);
    CHECK(strstr(t, line("\n  S", pid_of(sup, "S"))) != NULL);
    CHECK(strstr(t, line("\n    x", pid_of(pid_of(sup, "S"), "x"))) != NULL);
    CHECK(strstr(t, "dynamic supervisor, one_for_one, 0 restarts (0 in 5 s are allowed)\n    <") != NULL);
    CHECK(strstr(t, "\n    … and 3 more\n") != NULL);
    CHECK(strstr(t, "\n  i is stopped, 1 restarts\n") != NULL);
    char small[10];
    CHECK_EQ(otp_supervisor_format_tree(sup, small, sizeof small) > 100, 1);
    CHECK_EQ(strlen(small), 9);
    stop(sup);
    CHECK_EQ(otp_supervisor_format_tree(sup, small, sizeof small), OTP_ENOPROC);
}

TEST(the_tree_of_one_that_does_not_answer)
{
    reset();
    const otp_child list[] = { { .id = "mute", .run = test_idle, .type = OTP_SUPERVISOR, .shutdown = OTP_BRUTAL_KILL }, CHILD('a') };
    otp_pid sup = SUP(list);
    fails['a'] = 1 << 30;
    CHECK(strstr(tree_of(sup), "supervisor (does not answer: timeout)") != NULL);
    stop(sup);
}

/* -- races ------------------------------------------------------------------------------------------------
   For the deterministic mode above all: each seed is another order. */

static void killer(void *arg)
{
    const otp_pid *p = arg;
    for (int i = (int)(otp_random() % 8); i > 0; i--) otp_yield();
    CHECK_EQ(otp_exit_signal(*p, (otp_random() & 1) ? OTP_KILL : OTP_USER(1, "raced")), 0);
}

static otp_ref kills(otp_pid *p)
{
    otp_ref ref;
    CHECK(otp_spawn_monitor(killer, p, &ref).id != 0);
    return ref;
}

static void yields(void)
{
    for (int i = (int)(otp_random() % 8); i > 0; i--) otp_yield();
}

TEST(a_child_dies_while_its_supervisor_ends_it)
{
    for (int i = 0; i < test_many(200, 3); i++) {
        reset();
        ABC();
        otp_pid sup = SUP(abc, .strategy = (otp_strategy)(i % 3)), b = pid_of(sup, "b"), c = pid_of(sup, "c");
        otp_ref one = kills(&b), two = kills(&c);
        yields();
        CHECK_EQ(otp_supervisor_stop(sup, OTP_NORMAL, TEST_WAIT), 0);
        (void)test_down(one);
        (void)test_down(two);
        CHECK_EQ(otp_whereis("x").id, 0);
        (void)test_exit_from(sup);
        while (otp_recv(0) != NULL) {}
        CHECK_EQ(otp_processes(NULL, 0), 1);
    }
}

/* The death of a child that terminate_child has ended must not be taken for one that is to be restarted. */
TEST(a_child_dies_while_it_is_terminated)
{
    for (int i = 0; i < test_many(200, 3); i++) {
        reset();
        ABC();
        otp_pid sup = SUP(abc), b = pid_of(sup, "b");
        otp_ref ref = kills(&b);
        yields();
        CHECK_EQ(otp_supervisor_terminate_child(sup, "b"), 0);
        (void)test_down(ref);
        otp_child_info info = info_of(sup, "b");
        CHECK_EQ(info.state, OTP_CHILD_STOPPED);
        if (!otp_is_alive(b)) info = info_of(sup, "b");
        CHECK_EQ(info.state, OTP_CHILD_STOPPED);
        CHECK(starts['b'] <= 2);
        CHECK(otp_supervisor_restart_child(sup, "b").id != 0);
        CHECK_EQ(info_of(sup, "b").state, OTP_CHILD_RUNNING);
        stop(sup);
        while (otp_recv(0) != NULL) {}
    }
}

/* A retry is on its way while the child is terminated, started by hand, and dies again. */
TEST(a_restart_races_terminate_child)
{
    for (int i = 0; i < test_many(200, 3); i++) {
        reset();
        ABC();
        otp_pid sup = SUP(abc, .max_restarts = 1 << 30, .strategy = (otp_strategy)(i % 3));
        fails['b'] = 1 << 30;
        die_id(sup, "b", CRASH);
        yields();
        CHECK_EQ(otp_supervisor_terminate_child(sup, "b"), 0);
        fails['b'] = 0;
        otp_pid b = otp_supervisor_restart_child(sup, "b");
        CHECK(b.id != 0);
        yields();
        /* a group that waited for the retry waits for ever, as in OTP */
        if (i % 3 != OTP_ONE_FOR_ONE && otp_supervisor_restart_child(sup, "c").id == 0) CHECK_EQ(result(NULL), OTP_EEXIST);
        otp_child_counts n;
        CHECK_EQ(otp_supervisor_count_children(sup, &n), 0);
        CHECK_EQ(n.specs, 3);
        CHECK_EQ(n.active, 3);
        stop(sup);
        while (otp_recv(0) != NULL) {}
        CHECK_EQ(otp_processes(NULL, 0), 1);
    }
}

static void named(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_send(test_app, READY, NULL, 0), 0);
    test_idle(NULL);
}

static otp_pid start_named(void *arg)
{
    otp_pid pid;
    int rc = otp_spawn_opt(&(otp_spawn_opts){ .fn = named, .name = "the name", .link = true, .arg = arg }, &pid);
    return rc < 0 ? otp_start_failed(rc, OTP_ERROR(rc)) : pid;
}

/* A name is free before anybody learns of its owner's death: a restart never finds it held by the predecessor. */
TEST(the_name_of_a_child_that_died_is_free)
{
    reset();
    const otp_child list[] = { { .id = "n", .start = start_named } };
    otp_pid sup = SUP(list, .max_restarts = 1 << 30), last = { 0 };
    CHECK(otp_recv_tag(READY, TEST_WAIT) != NULL);
    for (int i = 0; i < test_many(500, 20); i++) {
        otp_pid pid = otp_whereis("the name");
        CHECK(pid.id != 0 && !otp_same(pid, last));
        CHECK_EQ(otp_exit_signal(pid, OTP_KILL), 0);
        CHECK(otp_recv_tag(READY, TEST_WAIT) != NULL);
        last = pid;
    }
    for (int i = 0; pid_of(sup, "n").id == last.id; i++) otp_sleep(i > 100);
    CHECK_EQ(info_of(sup, "n").restarts, test_many(500, 20));       /* no try failed */
    stop(sup);
}

/* Somebody else has the name: tries fail until it is free. */
TEST(the_name_of_a_child_is_held_by_another)
{
    reset();
    const otp_child list[] = { { .id = "n", .start = start_named } };
    otp_pid sup = SUP(list, .max_restarts = 1 << 30), other;
    CHECK(otp_recv_tag(READY, TEST_WAIT) != NULL);
    CHECK_EQ(otp_supervisor_terminate_child(sup, "n"), 0);
    SPAWN(&other, .fn = test_idle, .name = "the name");
    CHECK_EQ(otp_supervisor_restart_child(sup, "n").id, 0);
    CHECK_EQ(result(NULL), OTP_EEXIST);
    test_kill(other);
    CHECK(otp_supervisor_restart_child(sup, "n").id != 0);
    stop(sup);
}

TEST(dynamic_children_die_while_their_supervisor_ends_them)
{
    for (int i = 0; i < test_many(100, 3); i++) {
        reset();
        otp_pid sup = dynamic(), pids[20];
        otp_ref refs[20];
        for (int j = 0; j < 20; j++) pids[j] = add(sup, 'a' + j, j % 2 ? OTP_TEMPORARY : OTP_TRANSIENT);
        for (int j = 0; j < 20; j += 4) refs[j] = kills(&pids[j]);
        yields();
        int rc = otp_supervisor_stop(sup, OTP_NORMAL, TEST_WAIT);
        CHECK(rc == 0 || rc == OTP_EDIED || rc == OTP_ENOPROC);     /* so many crashes may have been too much for it */
        for (int j = 0; j < 20; j += 4) (void)test_down(refs[j]);
        (void)test_exit_from(sup);
        for (int j = 0; j < 20; j++) CHECK(!otp_is_alive(pids[j]));
        while (otp_recv(0) != NULL) {}
    }
}

static void client(void *arg)
{
    otp_pid sup = *(otp_pid *)arg;
    static const char *const ids[] = { "a", "b", "c" };
    for (int i = 0; i < 10; i++) {
        const char *id = ids[otp_random() % 3];
        switch (otp_random() % 5) {
        case 0: (void)otp_supervisor_terminate_child(sup, id); break;
        case 1: (void)otp_supervisor_restart_child(sup, id); break;
        case 2: {
            otp_pid pid = otp_supervisor_child(sup, id);
            if (pid.id) (void)otp_exit_signal(pid, OTP_KILL);
            break;
        }
        case 3: {
            const int crash = CRASH;
            otp_pid pid = otp_supervisor_child(sup, id);
            if (pid.id) (void)OTP_SEND(pid, DIE, crash);
            break;
        }
        default: {
            otp_child_counts n;
            if (otp_supervisor_count_children(sup, &n) == 0) CHECK(n.specs == 3 && n.active <= 3);
        }
        }
    }
}

/* Whatever they do, all come back or stay stopped, none is lost and none runs twice. */
TEST(many_clients_and_crashes)
{
    for (int i = 0; i < test_many(60, 3); i++) {
        reset();
        ABC();
        otp_pid sup = SUP(abc, .max_restarts = 1 << 30, .strategy = (otp_strategy)(i % 3));
        otp_ref refs[4];
        for (int j = 0; j < 4; j++) CHECK(otp_spawn_monitor(client, &sup, &refs[j]).id != 0);
        for (int j = 0; j < 4; j++) CHECK_EQ(test_down(refs[j])->kind, OTP_REASON_NORMAL);
        for (const char *id = "abc"; *id; id++) {
            const char name[] = { *id, '\0' };
            if (otp_supervisor_restart_child(sup, name).id == 0) CHECK(result(NULL) == OTP_EEXIST || result(NULL) == OTP_EBUSY);
        }
        until_active(sup, 3);
        stop(sup);
        while (otp_recv(0) != NULL) {}
        CHECK_EQ(otp_processes(NULL, 0), 1);
    }
}
