/* test_spawn.c: spawning and exit reasons: processes.md, rules 1 to 12. Rule 2 (an entry function that does not
   exist) is tested as a child that crashes in its first instruction: a C function pointer cannot be missing. */
#include "test.h"

enum { GO = 1, STALE, VALUE };

static void return_at_once(void *arg) { (void)arg; }

static void exit_user(void *arg) { otp_exit(OTP_USER(*(int *)arg, "of its own")); }

static void set_flag(void *arg) { atomic_store((atomic_int *)arg, 1); }

TEST(rule_1_spawn_returns_a_pid_at_once)
{
    otp_pid a = otp_spawn(test_idle, NULL), b = otp_spawn(test_idle, NULL);
    CHECK(a.id != 0);
    CHECK(b.id != 0);
    CHECK(!otp_same(a, b));
    CHECK(!otp_same(a, otp_self()));
    CHECK(otp_is_alive(a));
    CHECK(otp_is_alive(b));
    test_kill(a);
    CHECK(!otp_is_alive(a));
    CHECK(otp_is_alive(b));
    test_kill(b);
    test_quiet();
}

TEST(rule_1_the_child_gets_its_argument)
{
    atomic_int flag = 0;
    otp_pid p = otp_spawn(set_flag, &flag);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    CHECK_EQ(atomic_load(&flag), 1);
}

static void send_self(void *arg)
{
    (void)arg;
    otp_pid me = otp_self();
    CHECK_EQ(OTP_SEND(test_app, VALUE, me), 0);
}

TEST(rule_1_self_in_the_child_is_the_returned_pid)
{
    otp_pid p = otp_spawn(send_self, NULL);
    const otp_msg *m = otp_recv_tag(VALUE, TEST_WAIT);
    CHECK(m != NULL);
    CHECK(otp_same(p, *OTP_PAYLOAD(m, otp_pid)));
    CHECK(otp_same(p, m->from));
}

TEST(rule_1_the_spawn_place_can_be_seen)
{
    otp_info info;
    otp_pid p = otp_spawn(test_idle, NULL);
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK(strstr(info.spawned, "test_idle at ") != NULL);
    CHECK(strstr(info.spawned, "test_spawn.c:") != NULL);
    CHECK(otp_same(info.pid, p));
    CHECK(otp_same(info.parent, otp_self()));
    test_kill(p);
}

TEST_WITH(rule_1_a_childs_crash_has_no_effect_on_the_spawner, .opts.force_isolation = true)
{
    for (int i = 0; i < 20; i++) {
        otp_pid p = otp_spawn(test_crash, NULL);
        CHECK(p.id != 0);
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    }
    test_quiet();
}

TEST(rule_1_a_childs_exit_has_no_effect_on_the_spawner)
{
    int code = 3;
    for (int i = 0; i < 20; i++) {
        otp_pid p = otp_spawn(exit_user, &code);
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    }
    test_quiet();
}

static void spawn_many(void *arg)
{
    int depth = (int)(intptr_t)arg;
    if (depth == 0) return;
    for (int i = 0; i < 3; i++) CHECK(otp_spawn(spawn_many, (void *)(intptr_t)(depth - 1)).id != 0);
}

TEST(rule_1_children_spawn_children)
{
    CHECK(otp_spawn(spawn_many, (void *)(intptr_t)test_many(7, 4)).id != 0);
}

TEST_WITH(rule_2_a_child_that_crashes_at_once_still_starts, .opts.force_isolation = true)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(test_crash, NULL, &ref);
    CHECK(p.id != 0);
    const otp_reason *r = test_down(ref);
    CHECK_EQ(r->kind, OTP_REASON_CRASH);
    CHECK_EQ(r->code, SIGSEGV);
    CHECK_EQ(r->address, 16);
}

TEST(rule_3_spawn_link_is_atomic)
{
    CHECK(!otp_trap_exit(true));
    for (int i = 0; i < test_many(2000, 20); i++) {
        int code = i;
        otp_pid p = otp_spawn_link(exit_user, &code);
        CHECK(p.id != 0);
        const otp_reason *r = test_exit_from(p);
        CHECK_EQ(r->kind, OTP_REASON_USER);
        CHECK_EQ(r->code, i);
        CHECK_STR(r->text, "of its own");
    }
    test_quiet();
}

static void spawn_link_and_wait(void *arg)
{
    CHECK(otp_spawn_link(exit_user, arg).id != 0);
    test_idle(NULL);
}

TEST(rule_3_a_parent_that_does_not_trap_dies_of_the_childs_reason)
{
    int code = 77;
    for (int i = 0; i < test_many(500, 10); i++) {
        otp_ref ref;
        CHECK(otp_spawn_monitor(spawn_link_and_wait, &code, &ref).id != 0);
        const otp_reason *r = test_down(ref);
        CHECK_EQ(r->kind, OTP_REASON_USER);
        CHECK_EQ(r->code, 77);
    }
}

TEST(rule_3_spawn_link_and_a_normal_end)
{
    otp_pid p = otp_spawn_link(return_at_once, NULL);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    test_quiet();
    CHECK(!otp_trap_exit(true));
    p = otp_spawn_link(return_at_once, NULL);
    CHECK_EQ(test_exit_from(p)->kind, OTP_REASON_NORMAL);
}

TEST(rule_4_spawn_monitor_is_atomic)
{
    otp_ref before = { 0 };
    for (int i = 0; i < test_many(2000, 20); i++) {
        int code = i;
        otp_ref ref = { 0 };
        otp_pid p = otp_spawn_monitor(exit_user, &code, &ref);
        CHECK(p.id != 0);
        CHECK(ref.id != 0);
        CHECK(ref.id != before.id);
        before = ref;
        const otp_msg *m = otp_recv(TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(m->tag, OTP_DOWN);
        CHECK(otp_same(m->from, p));
        CHECK(m->ref.id == ref.id);
        CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_USER);
        CHECK_EQ(otp_reason_of(m)->code, i);
    }
    test_quiet();
}

/* -- rule 5: options ------------------------------------------------------------------------------------- */

TEST(rule_5_link_and_monitor_options)
{
    int code = 5;
    otp_ref ref = { 0 };
    otp_pid p = { 0 };
    CHECK(!otp_trap_exit(true));
    SPAWN(&p, .fn = exit_user, .arg = &code, .link = true, .monitor = &ref);
    CHECK(p.id != 0);
    CHECK(ref.id != 0);
    CHECK_EQ(test_exit_from(p)->code, 5);
    CHECK_EQ(test_down(ref)->code, 5);
    test_quiet();
}

TEST(rule_5_name_and_priority_options)
{
    otp_pid p;
    otp_info info;
    SPAWN(&p, .fn = test_idle, .name = "rule 5", .priority = OTP_PRIO_HIGH);
    CHECK(otp_same(otp_whereis("rule 5"), p));
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_STR(info.name, "rule 5");
    CHECK_EQ(info.priority, OTP_PRIO_HIGH);
    test_kill(p);
    CHECK(otp_whereis("rule 5").id == 0);
}

static void name_is_mine(void *arg)
{
    CHECK(otp_same(otp_whereis(arg), otp_self()));
    CHECK_EQ(otp_unregister(arg), 0);
}

TEST(rule_5_the_name_is_registered_before_the_process_runs)
{
    static char name[] = "early";
    for (int i = 0; i < test_many(500, 10); i++) {
        otp_pid p;
        SPAWN(&p, .fn = name_is_mine, .arg = name, .name = name);
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    }
}

struct sample { int numbers[40]; };

static void read_sample(void *arg)
{
    const struct sample *s = arg;
    int sum = 0;
    for (int i = 0; i < 40; i++) sum += s->numbers[i];
    CHECK_EQ(OTP_SEND(test_app, VALUE, sum), 0);
}

TEST(rule_5_arg_size_copies_the_argument)
{
    struct sample s;
    otp_pid p;
    for (int i = 0; i < 40; i++) s.numbers[i] = i;
    SPAWN(&p, .fn = read_sample, .arg = &s, .arg_size = sizeof s);
    memset(&s, 0, sizeof s);
    const otp_msg *m = otp_recv_tag(VALUE, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(*OTP_PAYLOAD(m, int), 780);
}

static void eat_heap(void *arg)
{
    (void)arg;
    for (;;) {
        char *p = otp_alloc(4096);
        CHECK(p != NULL);
        memset(p, 1, 4096);
    }
}

TEST(rule_5_heap_limit_ends_the_process)
{
    otp_pid p;
    otp_ref ref;
    SPAWN(&p, .fn = eat_heap, .heap_limit = 1 << 20, .monitor = &ref);
    otp_reason_kind kind = test_down(ref)->kind;
    CHECK(kind == OTP_REASON_KILLED || kind == OTP_REASON_SYSTEM_LIMIT);
}

static void heap_ends(void *arg)
{
    (void)arg;
    int n = 0;
    while (otp_alloc(4096) != NULL) n++;
    CHECK(n > 0);
    CHECK(n <= 256);
}

TEST(rule_5_heap_limit_can_give_null)
{
    otp_pid p;
    otp_ref ref;
    SPAWN(&p, .fn = heap_ends, .heap_limit = 1 << 20, .heap_limit_null = true, .monitor = &ref);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

TEST(rule_5_mailbox_limit)
{
    otp_pid refuse, drop;
    otp_ref ref;
    SPAWN(&refuse, .fn = test_idle, .mailbox_limit = 4, .monitor = &ref);
    SPAWN(&drop, .fn = test_idle, .mailbox_limit = 4, .mailbox_full = OTP_FULL_DROP);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(OTP_SEND(refuse, VALUE, i), 0);
        CHECK_EQ(OTP_SEND(drop, VALUE, i), 0);
    }
    CHECK_EQ(OTP_SEND(refuse, VALUE, (int)4), OTP_EFULL);
    CHECK_EQ(OTP_SEND(drop, VALUE, (int)4), 0);
    otp_info info;
    CHECK_EQ(otp_process_info(refuse, &info), 0);
    CHECK_EQ(info.message_queue_len, 4);
    CHECK_EQ(otp_process_info(drop, &info), 0);
    CHECK_EQ(info.message_queue_len, 4);
    /* signals are never dropped */
    CHECK_EQ(otp_exit_signal(refuse, OTP_SHUTDOWN), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_SHUTDOWN);
    test_kill(drop);
}

static const otp_handler nothing = { .name = "nothing", .state_size = 8, .message = NULL };

static otp_next ignore(void *state, const otp_msg *m)
{
    (void)state;
    (void)m;
    return OTP_OK;
}
static const otp_handler ignorer = { .name = "ignorer", .state_size = 8, .message = ignore };

static void check_bad(const otp_spawn_opts *o, int code, const char *what)
{
    otp_pid p = { 0 };
    int r = otp_spawn_opt(o, &p);
    if (r != code) test_line("# bad option: %s", what);
    CHECK_EQ(r, code);
    CHECK_EQ(otp_processes(NULL, 0), 1);
}
#define BAD(code, ...) check_bad(&(otp_spawn_opts){ __VA_ARGS__ }, (code), #__VA_ARGS__)

TEST(rule_5_a_bad_option_creates_no_process)
{
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    BAD(OTP_EBADARG, .fn = NULL);
    BAD(OTP_EBADARG, .fn = test_idle, .handler = &ignorer);
    BAD(OTP_EBADARG, .handler = &nothing);
    BAD(OTP_EBADARG, .fn = test_idle, .arg = NULL, .arg_size = 8);
    BAD(OTP_EBADARG, .fn = test_idle, .name = "");
    BAD(OTP_EBADARG, .fn = test_idle, .name = name);
    BAD(OTP_EBADARG, .fn = test_idle, .priority = (otp_priority)17);
    BAD(OTP_EBADARG, .fn = test_idle, .stack_size = 1);
    BAD(OTP_EBADARG, .fn = test_idle, .stack_size = SIZE_MAX / 2);
    BAD(OTP_EBADARG, .fn = test_idle, .mailbox_limit = 1, .mailbox_full = (otp_full)9);
    otp_pid p;
    CHECK_EQ(otp_spawn_opt(NULL, &p), OTP_EBADARG);
    CHECK_EQ(otp_processes(NULL, 0), 1);
    CHECK_EQ(otp_register("taken", otp_self()), 0);
    otp_ref ref = { 0 };
    BAD(OTP_EEXIST, .fn = test_idle, .name = "taken", .link = true, .monitor = &ref);
    CHECK(otp_same(otp_whereis("taken"), otp_self()));
    otp_info info;
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK_EQ(info.links, 0);
    CHECK_EQ(info.monitors, 0);
    CHECK_EQ(otp_unregister("taken"), 0);
    test_quiet();
}

/* -- rules 6 to 8 ---------------------------------------------------------------------------------------- */

static void is_fresh(void *arg)
{
    size_t links = *(const size_t *)arg;
    otp_info info;
    CHECK(otp_recv(0) == NULL);
    CHECK(otp_get("key") == NULL);
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK_EQ(info.links, links);
    CHECK_EQ(info.monitors, 0);
    CHECK_EQ(info.priority, OTP_PRIO_NORMAL);
    CHECK_EQ(info.message_queue_len, 0);
    CHECK_STR(info.name, "");
    CHECK(!info.trap_exit);
    CHECK(!info.handler);
    CHECK_EQ(info.state, OTP_STATE_RUNNING);
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_set_priority(OTP_PRIO_NORMAL), OTP_PRIO_NORMAL);
}

TEST(rule_6_a_new_process_inherits_nothing)
{
    int value = 1;
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_set_priority(OTP_PRIO_HIGH), OTP_PRIO_NORMAL);
    CHECK(otp_put("key", &value) == NULL);
    CHECK_EQ(otp_register("parent", otp_self()), 0);
    otp_pid other = otp_spawn_link(test_idle, NULL);
    otp_ref watch = otp_monitor(other);
    CHECK_EQ(OTP_SEND(otp_self(), VALUE, value), 0);

    size_t links = 0;
    otp_ref ref;
    CHECK(otp_spawn_monitor(is_fresh, &links, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    links = 1;
    otp_pid p = otp_spawn_link(is_fresh, &links);
    CHECK_EQ(test_exit_from(p)->kind, OTP_REASON_NORMAL);

    CHECK(otp_demonitor(watch, OTP_FLUSH));
    CHECK_EQ(otp_unregister("parent"), 0);
    test_kill(other);
}

static void wait_go_only(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    CHECK(otp_recv_tag(GO, OTP_INFINITY) != NULL);
    CHECK(otp_recv(0) == NULL);
}

TEST_WITH(rule_7_a_stale_pid_is_dead, .opts.max_processes = 16)
{
    otp_ref ref;
    otp_pid stale = otp_spawn_monitor(return_at_once, NULL, &ref);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    for (int i = 0; i < test_many(3000, 50); i++) {
        otp_pid p = test_start(wait_go_only, NULL, &ref);
        CHECK(!otp_same(p, stale));
        CHECK(!otp_is_alive(stale));
        int sent = OTP_SEND(stale, STALE, i);
        CHECK(sent == 0 || sent == OTP_ENOPROC);
        CHECK_EQ(otp_exit_signal(stale, OTP_KILL), 0);
        otp_info info;
        CHECK_EQ(otp_process_info(stale, &info), OTP_ENOPROC);
        CHECK_EQ(test_down(otp_monitor(stale))->kind, OTP_REASON_NOPROC);
        CHECK_EQ(otp_register("stale", stale), OTP_ENOPROC);
        CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
        if (i % 7 == 0) stale = p;
    }
}

TEST(rule_7_the_zero_pid_and_made_up_pids_are_dead)
{
    static const uint64_t made_up[] = { 0, 1, 0x7fffffff, 0x7fffffffffffffff, 0x8000000000000001, UINT64_MAX };
    CHECK(!otp_trap_exit(true));
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++) {
        otp_pid p = { made_up[i] };
        if (otp_same(p, otp_self())) continue;
        otp_info info;
        CHECK(!otp_is_alive(p));
        CHECK_EQ(otp_send(p, STALE, NULL, 0), OTP_ENOPROC);
        CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        CHECK_EQ(otp_process_info(p, &info), OTP_ENOPROC);
        CHECK_EQ(otp_process_relations(p, OTP_LINKS, NULL, 0), OTP_ENOPROC);
        CHECK_EQ(test_down(otp_monitor(p))->kind, OTP_REASON_NOPROC);
        CHECK_EQ(otp_link(p), 0);
        CHECK_EQ(test_exit_from(p)->kind, OTP_REASON_NOPROC);
        CHECK_EQ(otp_unlink(p), 0);
        CHECK_EQ(otp_await_exit(p, 0, NULL), 0);
    }
    test_quiet();
}

TEST_WITH(rule_8_the_process_limit, .opts.max_processes = 32)
{
    otp_pid pids[64], p = { 0 };
    int n = 0;
    while (n < 64 && (pids[n] = otp_spawn(test_idle, NULL)).id != 0) n++;
    CHECK(n > 0);
    CHECK(n < 32);
    CHECK_EQ(otp_spawn_opt((&(otp_spawn_opts){ .fn = test_idle }), &p), OTP_ESYSLIMIT);
    CHECK(otp_spawn_link(test_idle, NULL).id == 0);
    otp_ref ref;
    CHECK(otp_spawn_monitor(test_idle, NULL, &ref).id == 0);
    otp_info info;
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK_EQ(info.links, 0);
    for (int i = 0; i < n; i++) CHECK(otp_is_alive(pids[i]));
    CHECK_EQ(otp_processes(NULL, 0), n + 1);
    for (int round = 0; round < 5; round++) {
        test_kill(pids[round]);
        /* the slot may come back a little after its process is known to be dead */
        for (int i = 0; i < 2000 && (pids[round] = otp_spawn(test_idle, NULL)).id == 0; i++) otp_sleep(1);
        CHECK(pids[round].id != 0);
        CHECK(otp_spawn(test_idle, NULL).id == 0);
    }
    for (int i = 0; i < n; i++) test_kill(pids[i]);
    test_quiet();
}

/* -- rules 9 to 12: exit reasons ------------------------------------------------------------------------- */

TEST(rule_9_returning_is_normal)
{
    otp_ref ref;
    CHECK(otp_spawn_monitor(return_at_once, NULL, &ref).id != 0);
    const otp_reason *r = test_down(ref);
    CHECK_EQ(r->kind, OTP_REASON_NORMAL);
    CHECK_EQ(r->code, 0);
    CHECK_EQ(r->address, 0);
    CHECK(r->text == NULL);
}

struct deep {
    otp_reason why;
    int depth;
};

static int exit_deep(const struct deep *d, int depth)
{
    volatile int here = depth;
    if (depth < 0) return 0;
    if (depth == 0) otp_exit(d->why);
    return exit_deep(d, depth - 1) + here;
}

static void exit_with(void *arg)
{
    const struct deep *d = arg;
    (void)exit_deep(d, d->depth);
    FAIL("otp_exit came back");
}

TEST(rule_10_exit_gives_exactly_this_reason)
{
    const otp_reason reasons[] = { OTP_NORMAL,
                                   OTP_SHUTDOWN,
                                   OTP_KILL,
                                   OTP_ERROR(OTP_EIO),
                                   OTP_USER(-7, NULL),
                                   OTP_USER(42, "the answer"),
                                   otp_reason_make(OTP_REASON_TIMEOUT, 3, "slow"),
                                   otp_reason_make(OTP_REASON_KILLED, 0, NULL),
                                   otp_reason_make(OTP_REASON_NOPROC, 0, NULL) };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        struct deep d = { reasons[i], (int)(i * 10) };
        otp_ref ref;
        CHECK(otp_spawn_monitor(exit_with, &d, &ref).id != 0);
        const otp_reason *r = test_down(ref);
        CHECK_EQ(r->kind, reasons[i].kind);
        CHECK_EQ(r->code, reasons[i].code);
        if (reasons[i].text) CHECK_STR(r->text, reasons[i].text);
        else CHECK(r->text == NULL);
    }
}

static void exit_with_local_text(void *arg)
{
    (void)arg;
    char text[300];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    otp_exit(OTP_USER(1, text));
}

static void exit_with_heap_text(void *arg)
{
    (void)arg;
    char *text = otp_strdup("from the heap of the dead");
    CHECK(text != NULL);
    otp_exit(OTP_USER(2, text));
}

TEST(rule_10_the_text_of_a_reason_is_copied)
{
    otp_ref a, b;
    CHECK(otp_spawn_monitor(exit_with_local_text, NULL, &a).id != 0);
    CHECK(otp_spawn_monitor(exit_with_heap_text, NULL, &b).id != 0);
    CHECK_STR(test_down(b)->text, "from the heap of the dead");
    const otp_reason *r = test_down(a);
    CHECK(r->text != NULL);
    CHECK_EQ(strlen(r->text), 299);
    CHECK_EQ(strspn(r->text, "x"), 299);
}

TEST(rule_10_await_exit_tells_the_reason)
{
    int code = 12;
    otp_reason why = OTP_NORMAL;
    CHECK_EQ(otp_await_exit(otp_spawn(exit_user, &code), TEST_WAIT, &why), 0);
    /* it may have been dead already, when nobody can tell any more */
    CHECK((why.kind == OTP_REASON_USER && why.code == 12) || why.kind == OTP_REASON_NOPROC);
    otp_pid p = otp_spawn(test_idle, NULL);
    CHECK_EQ(otp_await_exit(p, 1, &why), OTP_ETIMEOUT);
    CHECK_EQ(otp_await_exit(p, 0, &why), OTP_ETIMEOUT);
    test_kill(p);
    test_quiet();
}

TEST(rule_10_reasons_as_text)
{
    char text[100];
    otp_reason r = OTP_USER(42, "the answer");
    CHECK(otp_format_reason(&r, text, sizeof text) > 0);
    CHECK(strstr(text, "42") != NULL);
    CHECK(strstr(text, "the answer") != NULL);
    r = OTP_NORMAL;
    CHECK_EQ(otp_format_reason(&r, text, sizeof text), 6);
    CHECK_STR(text, "normal");
    volatile size_t small = 4;                  /* volatile: gcc would warn of the truncation that is meant */
    CHECK_EQ(otp_format_reason(&r, text, small), 6);
    CHECK_STR(text, "nor");
    CHECK_EQ(otp_format_reason(&r, NULL, 0), 6);
}

struct trail {
    atomic_int n;
    int steps[8];
    atomic_int after;
};

static void leave_mark(struct trail *t, int mark)
{
    int n = atomic_load(&t->n);
    t->steps[n] = mark;
    atomic_store(&t->n, n + 1);
}
static void mark_1(void *arg) { leave_mark(arg, 1); }
static void mark_2(void *arg) { leave_mark(arg, 2); }
static void mark_3(void *arg) { leave_mark(arg, 3); }

static void defer_and_wait(void *arg)
{
    struct trail *t = arg;
    CHECK_EQ(otp_defer(mark_1, t), 0);
    CHECK_EQ(otp_defer(mark_2, t), 0);
    CHECK_EQ(otp_defer(mark_3, t), 0);
    CHECK_EQ(otp_undefer(mark_2, t, false), 0);
    CHECK_EQ(otp_undefer(mark_2, t, false), OTP_ENOENT);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    test_idle(NULL);
    atomic_store(&t->after, 1);
}

/* The C side of rule 11: no code of the process runs after a fatal signal but what it deferred. */
TEST(rule_11_a_signal_ends_it_where_it_stands_and_runs_what_was_deferred)
{
    const otp_reason how[] = { OTP_KILL, OTP_SHUTDOWN, OTP_USER(1, NULL) };
    for (int i = 0; i < 4; i++) {
        struct trail t = { .n = 0 };
        otp_ref ref;
        otp_pid p = test_start(defer_and_wait, &t, &ref);
        if (i < 3) CHECK_EQ(otp_exit_signal(p, how[i]), 0);
        else CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
        (void)test_down(ref);
        CHECK_EQ(atomic_load(&t.n), 2);
        CHECK_EQ(t.steps[0], 3);
        CHECK_EQ(t.steps[1], 1);
        CHECK_EQ(atomic_load(&t.after), i == 3);
    }
}

static void defer_in_exit(void *arg)
{
    CHECK_EQ(otp_defer(mark_1, arg), 0);
    otp_exit(OTP_USER(4, NULL));
}

static void defer_and_crash(void *arg)
{
    CHECK_EQ(otp_defer(mark_1, arg), 0);
    CHECK_EQ(otp_defer(test_crash, NULL), 0);
    CHECK_EQ(otp_defer(mark_2, arg), 0);
    test_crash(NULL);
}

TEST_WITH(rule_11_deferred_functions_run_after_exit_and_crash, .opts.force_isolation = true)
{
    struct trail t = { .n = 0 };
    otp_ref ref;
    CHECK(otp_spawn_monitor(defer_in_exit, &t, &ref).id != 0);
    CHECK_EQ(test_down(ref)->code, 4);
    CHECK_EQ(atomic_load(&t.n), 1);
    atomic_store(&t.n, 0);
    CHECK(otp_spawn_monitor(defer_and_crash, &t, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
    CHECK_EQ(atomic_load(&t.n), 2);
    CHECK_EQ(t.steps[0], 2);
    CHECK_EQ(t.steps[1], 1);
}

struct ended {
    struct trail *trail;
    otp_reason why;
};

static otp_next ended_init(void *state, const void *arg, size_t size)
{
    struct ended *e = state;
    memcpy(&e->trail, arg, size);
    return OTP_OK;
}

static otp_next ended_message(void *state, const otp_msg *m)
{
    (void)state;
    switch (m->tag) {
    case GO: return otp_stop_with(OTP_USER(*OTP_PAYLOAD(m, int), "asked"));
    case VALUE: otp_exit(OTP_USER(9, NULL));
    default: return OTP_OK;
    }
}

static void ended_terminate(void *state, const otp_reason *why)
{
    struct ended *e = state;
    leave_mark(e->trail, why->code);
}

static const otp_handler ended = { .name = "ended",
                                   .state_size = sizeof(struct ended),
                                   .init = ended_init,
                                   .message = ended_message,
                                   .terminate = ended_terminate };

static otp_pid start_ended(struct trail *t, otp_ref *ref)
{
    otp_pid p;
    SPAWN(&p, .handler = &ended, .arg = &t, .arg_size = sizeof t, .monitor = ref);
    return p;
}

TEST(rule_11_no_terminate_callback_runs_on_an_exit_signal)
{
    struct trail t = { .n = 0 };
    otp_ref ref;
    otp_pid p = start_ended(&t, &ref);
    CHECK_EQ(OTP_SEND(p, GO, (int)6), 0);
    CHECK_EQ(test_down(ref)->code, 6);
    CHECK_EQ(atomic_load(&t.n), 1);
    CHECK_EQ(t.steps[0], 6);
    p = start_ended(&t, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    CHECK_EQ(atomic_load(&t.n), 1);
    p = start_ended(&t, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(5, NULL)), 0);
    CHECK_EQ(test_down(ref)->code, 5);
    CHECK_EQ(atomic_load(&t.n), 1);
}

TEST_WITH(rule_12_a_crash_is_logged_and_exit_is_not, .opts.force_isolation = true)
{
    int code = 8;
    otp_ref ref;
    const otp_reason quiet[] = { OTP_NORMAL, OTP_SHUTDOWN, OTP_USER(3, "silent") };
    for (size_t i = 0; i < 3; i++) {
        struct deep d = { quiet[i], 2 };
        CHECK(otp_spawn_monitor(exit_with, &d, &ref).id != 0);
        (void)test_down(ref);
    }
    CHECK(otp_spawn_monitor(exit_user, &code, &ref).id != 0);
    (void)test_down(ref);
    otp_pid p = otp_spawn(test_idle, NULL);
    test_kill(p);
    CHECK_EQ(test_log_count("error: "), 0);
    SPAWN(&p, .fn = test_crash, .name = "the crasher", .monitor = &ref);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
    CHECK(test_log_wait("error: "));
    CHECK(test_log_wait("the crasher"));
    CHECK(test_log_wait("SIGSEGV"));
    CHECK(test_log_wait("test_spawn.c"));
}

TEST(rule_12_handlers_log_every_end_but_normal_and_shutdown)
{
    struct trail t = { .n = 0 };
    otp_ref ref;
    otp_pid p = start_ended(&t, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_SHUTDOWN);
    CHECK_EQ(test_log_count("error: "), 0);
    p = start_ended(&t, &ref);
    CHECK_EQ(OTP_SEND(p, GO, (int)6), 0);
    CHECK_EQ(test_down(ref)->code, 6);
    CHECK(test_log_wait("error: "));
    CHECK(test_log_wait("ended"));
    test_log_clear();
    p = start_ended(&t, &ref);
    CHECK_EQ(otp_send(p, VALUE, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->code, 9);
    CHECK(test_log_wait("error: "));
}

static void misuse(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv(TEST_WAIT);
    CHECK(m != NULL);
    (void)OTP_PAYLOAD(m, struct sample);        /* the message is shorter */
    FAIL("a short payload was taken");
}

TEST(rule_12_misuse_ends_the_process_with_badarg_and_is_logged)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(misuse, NULL, &ref);
    CHECK_EQ(OTP_SEND(p, VALUE, (int)1), 0);
    const otp_reason *r = test_down(ref);
    CHECK_EQ(r->kind, OTP_REASON_BADARG);
    CHECK(r->text != NULL);
    CHECK(test_log_wait("error: "));
    CHECK(test_log_wait("badarg"));
}
