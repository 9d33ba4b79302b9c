/* test_exit.c: exit signals as the receiver sees them: processes.md, rules 13 to 26. */
#include "test.h"

enum { SEEN = 1, GO, TRAP_OFF, REQUEST, VALUE };

struct seen { otp_pid from; int kind, code; char text[16]; };

/* Traps exits and tells the first process of each. */
static void trapper(void *arg)
{
    (void)arg;
    const otp_msg *m;
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case OTP_EXIT: {
                const otp_reason *r = otp_reason_of(m);
                struct seen s = { m->from, (int)r->kind, r->code, "" };
                if (r->text) (void)snprintf(s.text, sizeof s.text, "%s", r->text);
                CHECK_EQ(OTP_SEND(test_app, SEEN, s), 0);
                break;
            }
            case TEST_STOP: return;
        }
}

static struct seen seen(void)
{
    struct seen none = { .kind = -1 };
    const otp_msg *m = otp_recv_tag(SEEN, TEST_WAIT);
    CHECK(m != NULL);
    return m ? *OTP_PAYLOAD(m, struct seen) : none;
}

static void stop(otp_pid p, otp_ref ref)
{
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

TEST(rule_13_normal_is_ignored_by_one_that_does_not_trap)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(otp_exit_signal(p, OTP_NORMAL), 0);
        CHECK(otp_is_alive(p));
    }
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    CHECK_EQ(info.message_queue_len, 0);
    stop(p, ref);
    test_quiet();
}

static void signal_self(void *arg)
{
    const otp_reason *why = arg;
    (void)otp_exit_signal(otp_self(), *why);
    FAIL("a fatal signal to itself came back");
}

TEST(rule_14_normal_to_itself_ends_one_that_does_not_trap)
{
    otp_ref ref;
    otp_reason why = OTP_NORMAL;
    CHECK(otp_spawn_monitor(signal_self, &why, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

TEST(rule_15_normal_is_a_message_to_one_that_traps)
{
    otp_ref ref;
    otp_pid p = test_start(trapper, NULL, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_NORMAL), 0);
    struct seen s = seen();
    CHECK(otp_same(s.from, otp_self()));
    CHECK_EQ(s.kind, OTP_REASON_NORMAL);
    stop(p, ref);
}

TEST(rule_15_normal_to_itself_is_a_message_when_trapping)
{
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_exit_signal(otp_self(), OTP_NORMAL), 0);
    const otp_msg *m = otp_recv(0);         /* takes effect before the call returns: rule 21 */
    CHECK(m != NULL);
    CHECK_EQ(m->tag, OTP_EXIT);
    CHECK(otp_same(m->from, otp_self()));
    CHECK_EQ(otp_reason_of(m)->kind, OTP_REASON_NORMAL);
    test_quiet();
}

static void kill_self_trapping(void *arg)
{
    (void)arg;
    CHECK(!otp_trap_exit(true));
    (void)otp_exit_signal(otp_self(), OTP_KILL);
    FAIL("kill to itself came back");
}

TEST(rule_16_kill_ends_everybody)
{
    otp_ref ref;
    otp_reason why = OTP_KILL;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    p = test_start(trapper, NULL, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    CHECK(otp_spawn_monitor(signal_self, &why, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    CHECK(otp_spawn_monitor(kill_self_trapping, NULL, &ref).id != 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_KILLED);
    test_quiet();
}

TEST(rule_16_a_killed_signal_can_be_trapped)
{
    otp_ref ref;
    otp_pid p = test_start(trapper, NULL, &ref);
    CHECK_EQ(otp_exit_signal(p, otp_reason_make(OTP_REASON_KILLED, 0, NULL)), 0);
    CHECK_EQ(seen().kind, OTP_REASON_KILLED);
    stop(p, ref);
}

static void idle_linked_to(void *arg)
{
    CHECK_EQ(otp_link(*(otp_pid *)arg), 0);
    test_idle_ready(NULL);
}

static void trapper_linked_to(void *arg)
{
    CHECK_EQ(otp_link(*(otp_pid *)arg), 0);
    trapper(NULL);
}

TEST(rule_17_links_and_monitors_see_killed)
{
    otp_ref victim_down, plain_down, trap_down;
    otp_pid victim = test_start(test_idle_ready, NULL, &victim_down);
    (void)test_start(idle_linked_to, &victim, &plain_down);
    otp_pid trapping = test_start(trapper_linked_to, &victim, &trap_down);
    CHECK_EQ(otp_exit_signal(victim, OTP_KILL), 0);
    CHECK_EQ(test_down(victim_down)->kind, OTP_REASON_KILLED);
    CHECK_EQ(test_down(plain_down)->kind, OTP_REASON_KILLED);
    struct seen s = seen();
    CHECK_EQ(s.kind, OTP_REASON_KILLED);
    CHECK(otp_same(s.from, victim));
    CHECK(otp_is_alive(trapping));
    stop(trapping, trap_down);
}

static void exit_on_go(void *arg)
{
    const otp_reason *why = arg;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    CHECK(otp_recv_tag(GO, OTP_INFINITY) != NULL);
    otp_exit(*why);
}

TEST(rule_18_kill_over_a_link_is_not_special)
{
    otp_reason why = OTP_KILL;
    otp_ref peer_down, plain_down, trap_down;
    otp_pid peer = test_start(exit_on_go, &why, &peer_down);
    (void)test_start(idle_linked_to, &peer, &plain_down);
    otp_pid trapping = test_start(trapper_linked_to, &peer, &trap_down);
    CHECK_EQ(otp_send(peer, GO, NULL, 0), 0);
    CHECK_EQ(test_down(peer_down)->kind, OTP_REASON_KILL);
    CHECK_EQ(test_down(plain_down)->kind, OTP_REASON_KILL);
    struct seen s = seen();
    CHECK_EQ(s.kind, OTP_REASON_KILL);
    CHECK(otp_same(s.from, peer));
    CHECK(otp_is_alive(trapping));
    stop(trapping, trap_down);
}

static const otp_reason_kind other_kinds[] = { OTP_REASON_SHUTDOWN, OTP_REASON_KILLED, OTP_REASON_NOPROC,
                                               OTP_REASON_TIMEOUT,
                                               OTP_REASON_CALL, OTP_REASON_ERROR, OTP_REASON_USER };

TEST(rule_19_any_other_reason_ends_one_that_does_not_trap)
{
    for (size_t i = 0; i < sizeof other_kinds / sizeof other_kinds[0]; i++) {
        otp_ref ref;
        otp_pid p = test_start(test_idle_ready, NULL, &ref);
        CHECK_EQ(otp_exit_signal(p, otp_reason_make(other_kinds[i], (int)i - 3, "a text")), 0);
        const otp_reason *r = test_down(ref);
        CHECK_EQ(r->kind, other_kinds[i]);
        CHECK_EQ(r->code, (int)i - 3);
        CHECK_STR(r->text, "a text");
    }
}

TEST(rule_19_any_other_reason_is_a_message_to_one_that_traps)
{
    otp_ref ref;
    otp_pid p = test_start(trapper, NULL, &ref);
    for (size_t i = 0; i < sizeof other_kinds / sizeof other_kinds[0]; i++) {
        CHECK_EQ(otp_exit_signal(p, otp_reason_make(other_kinds[i], (int)i - 3, "a text")), 0);
        struct seen s = seen();
        CHECK_EQ(s.kind, other_kinds[i]);
        CHECK_EQ(s.code, (int)i - 3);
        CHECK_STR(s.text, "a text");
        CHECK(otp_same(s.from, otp_self()));
    }
    CHECK(otp_is_alive(p));
    stop(p, ref);
}

TEST(rule_19_to_itself)
{
    otp_ref ref;
    otp_reason why = OTP_USER(31, "self");
    CHECK(otp_spawn_monitor(signal_self, &why, &ref).id != 0);
    const otp_reason *r = test_down(ref);
    CHECK_EQ(r->kind, OTP_REASON_USER);
    CHECK_EQ(r->code, 31);
    CHECK_STR(r->text, "self");
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_exit_signal(otp_self(), why), 0);
    CHECK_EQ(test_exit_from(otp_self())->code, 31);
}

TEST(rule_19_the_text_of_a_signal_is_copied)
{
    CHECK(!otp_trap_exit(true));
    char text[200];
    memset(text, 'a', sizeof text);
    text[199] = 0;
    CHECK_EQ(otp_exit_signal(otp_self(), OTP_USER(1, text)), 0);
    memset(text, 'b', 199);
    const char *got = test_exit_from(otp_self())->text;
    CHECK(got != NULL);
    CHECK_EQ(strspn(got, "a"), 199);
    CHECK_EQ(strlen(got), 199);
}

TEST(rule_20_normal_over_a_link)
{
    otp_reason why = OTP_NORMAL;
    otp_ref peer_down, plain_down, trap_down;
    otp_info info;
    otp_pid peer = test_start(exit_on_go, &why, &peer_down);
    otp_pid plain = test_start(idle_linked_to, &peer, &plain_down);
    otp_pid trapping = test_start(trapper_linked_to, &peer, &trap_down);
    CHECK_EQ(otp_process_info(peer, &info), 0);
    CHECK_EQ(info.links, 2);
    CHECK_EQ(otp_send(peer, GO, NULL, 0), 0);
    CHECK_EQ(test_down(peer_down)->kind, OTP_REASON_NORMAL);
    struct seen s = seen();
    CHECK_EQ(s.kind, OTP_REASON_NORMAL);
    CHECK(otp_same(s.from, peer));
    CHECK(otp_is_alive(plain));
    /* the link is gone on both sides; the signal may still be on its way to the one that says nothing */
    for (int i = 0; i < 5000; i++) {
        CHECK_EQ(otp_process_info(plain, &info), 0);
        if (info.links == 0) break;
        otp_sleep(1);
    }
    CHECK_EQ(info.links, 0);
    CHECK_EQ(otp_process_info(trapping, &info), 0);
    CHECK_EQ(info.links, 0);
    stop(plain, plain_down);
    stop(trapping, trap_down);
}

TEST(rule_21_exit_signal_to_a_dead_or_no_process)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    stop(p, ref);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    CHECK_EQ(otp_exit_signal(p, OTP_NORMAL), 0);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(1, "text")), 0);
    CHECK_EQ(otp_exit_signal((otp_pid){ 0 }, OTP_KILL), 0);
    test_quiet();
}

TEST(rule_21_a_signal_to_itself_is_synchronous)
{
    CHECK(!otp_trap_exit(true));
    for (int i = 0; i < test_many(1000, 20); i++) {
        CHECK_EQ(otp_exit_signal(otp_self(), OTP_USER(i, NULL)), 0);
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL);
        CHECK_EQ(otp_reason_of(m)->code, i);
    }
}

static void send_signal(void *arg)
{
    CHECK_EQ(otp_exit_signal(*(otp_pid *)arg, OTP_USER(2, NULL)), 0);
}

TEST(rule_22_from_is_the_sender_of_the_signal)
{
    otp_ref ref;
    otp_reason why = OTP_USER(3, NULL);
    otp_pid p = test_start(trapper, NULL, &ref);
    otp_pid sender = otp_spawn(send_signal, &p);
    struct seen s = seen();
    CHECK(otp_same(s.from, sender));
    CHECK_EQ(s.code, 2);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(1, NULL)), 0);
    CHECK(otp_same(seen().from, otp_self()));
    stop(p, ref);

    otp_pid peer = test_start(exit_on_go, &why, &ref);
    otp_ref trap_down;
    p = test_start(trapper_linked_to, &peer, &trap_down);
    CHECK_EQ(otp_send(peer, GO, NULL, 0), 0);
    s = seen();
    CHECK(otp_same(s.from, peer));
    CHECK_EQ(s.code, 3);
    CHECK_EQ(test_down(ref)->code, 3);
    stop(p, trap_down);
}

/* Linked and signalled by another process than the one that it is linked to. */
TEST(rule_22_a_killed_peer_is_the_sender_not_its_killer)
{
    otp_ref ref, trap_down;
    otp_pid peer = test_start(test_idle_ready, NULL, &ref);
    otp_pid p = test_start(trapper_linked_to, &peer, &trap_down);
    CHECK_EQ(otp_exit_signal(peer, OTP_USER(8, NULL)), 0);
    CHECK(otp_same(seen().from, peer));
    CHECK_EQ(test_down(ref)->code, 8);
    stop(p, trap_down);
}

static void trap_late(void *arg)
{
    (void)arg;
    const otp_msg *m;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    CHECK(otp_recv_tag(GO, OTP_INFINITY) != NULL);
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    m = otp_recv_tag(OTP_EXIT, OTP_INFINITY);
    CHECK(m != NULL);
    CHECK_EQ(otp_reason_of(m)->code, 1);
    CHECK(otp_recv_tag(TRAP_OFF, OTP_INFINITY) != NULL);    /* a second EXIT is in the mailbox by now */
    CHECK(otp_trap_exit(false));
    m = otp_recv_tag(OTP_EXIT, 0);
    CHECK(m != NULL);
    CHECK_EQ(otp_reason_of(m)->code, 2);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    test_idle(NULL);
}

TEST(rule_23_trapping_is_judged_when_the_signal_is_taken_in)
{
    otp_ref ref;
    otp_pid p = test_start(trap_late, NULL, &ref);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    test_ready(p);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(1, NULL)), 0);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(2, NULL)), 0);
    CHECK_EQ(otp_send(p, TRAP_OFF, NULL, 0), 0);
    test_ready(p);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(3, NULL)), 0);
    CHECK_EQ(test_down(ref)->code, 3);
}

TEST(rule_24_setting_the_flag_returns_the_old_value)
{
    CHECK(!otp_trap_exit(false));
    CHECK(!otp_trap_exit(true));
    CHECK(otp_trap_exit(true));
    CHECK(otp_trap_exit(false));
    CHECK(!otp_trap_exit(false));
    otp_info info;
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK(!info.trap_exit);
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK(info.trap_exit);
}

TEST(rule_25_exit_messages_stand_in_arrival_order)
{
    CHECK(!otp_trap_exit(true));
    otp_pid me = otp_self();
    for (int i = 0; i < 30; i += 3) {
        CHECK_EQ(OTP_SEND(me, VALUE, i), 0);
        CHECK_EQ(otp_exit_signal(me, OTP_USER(i + 1, NULL)), 0);
        CHECK_EQ(OTP_SEND(me, REQUEST, i + 2), 0);
    }
    /* selectively out of the middle … */
    const otp_msg *m = otp_recv_tag(OTP_EXIT, 0);
    CHECK(m != NULL);
    CHECK_EQ(otp_reason_of(m)->code, 1);
    /* … and the rest in order */
    for (int i = 0; i < 30; i++) {
        if (i == 1) continue;
        m = otp_recv(0);
        CHECK(m != NULL);
        if (i % 3 == 1) {
            CHECK_EQ(m->tag, OTP_EXIT);
            CHECK_EQ(otp_reason_of(m)->code, i);
        } else {
            CHECK_EQ(m->tag, i % 3 == 0 ? VALUE : REQUEST);
            CHECK_EQ(*OTP_PAYLOAD(m, int), i);
        }
    }
    CHECK(otp_recv(0) == NULL);
}

/* -- rule 26: whatever it waits in, it dies at once ------------------------------------------------------- */

static atomic_int went_on;

static void in_receive(void *arg)
{
    (void)arg;
    const otp_msg *m;
    otp_receive (m, OTP_INFINITY) {
        case GO: break;
    }
    atomic_fetch_add(&went_on, 1);
}

static void in_recv_ref(void *arg)
{
    (void)arg;
    (void)otp_recv_ref(otp_make_ref(), OTP_INFINITY);
    atomic_fetch_add(&went_on, 1);
}

static void in_timed_receive(void *arg)
{
    (void)arg;
    (void)otp_recv(3600 * 1000);
    atomic_fetch_add(&went_on, 1);
}

static void in_sleep(void *arg)
{
    (void)arg;
    otp_sleep(OTP_INFINITY);
    atomic_fetch_add(&went_on, 1);
}

static void in_call(void *arg)
{
    int answer;
    (void)otp_try_call(*(otp_pid *)arg, REQUEST, NULL, 0, &answer, sizeof answer, OTP_INFINITY);
    atomic_fetch_add(&went_on, 1);
}

static void in_await_exit(void *arg)
{
    (void)otp_await_exit(*(otp_pid *)arg, OTP_INFINITY, NULL);
    atomic_fetch_add(&went_on, 1);
}

static void hibernated(void *arg)
{
    (void)arg;
    atomic_fetch_add(&went_on, 1);
}

static void in_hibernate(void *arg) { otp_hibernate(hibernated, arg); }

static void check_dies_in(otp_fn *fn, void *arg, int i)
{
    static const otp_reason_kind seen_as[] = { OTP_REASON_KILLED, OTP_REASON_USER, OTP_REASON_SHUTDOWN };
    const otp_reason signals[] = { OTP_KILL, OTP_USER(1, NULL), OTP_SHUTDOWN };
    for (int k = 0; k < 3; k++) {
        otp_ref ref;
        otp_pid p = otp_spawn_monitor(fn, arg, &ref);
        CHECK(p.id != 0);
        /* once while it waits, and once while it is on its way there */
        if (i == 0)
            for (otp_info info = { .state = OTP_STATE_NONE }; info.state != OTP_STATE_WAITING; otp_yield())
                CHECK_EQ(otp_process_info(p, &info), 0);
        CHECK_EQ(otp_exit_signal(p, signals[k]), 0);
        CHECK_EQ(test_down(ref)->kind, seen_as[k]);
        CHECK_EQ(atomic_load(&went_on), 0);
    }
}

TEST(rule_26_one_that_waits_dies_at_once)
{
    atomic_store(&went_on, 0);
    otp_pid server = otp_spawn(test_idle, NULL);
    for (int i = 0; i < test_many(20, 2); i++) {
        check_dies_in(in_receive, NULL, i);
        check_dies_in(in_recv_ref, NULL, i);
        check_dies_in(in_timed_receive, NULL, i);
        check_dies_in(in_sleep, NULL, i);
        check_dies_in(in_call, &server, i);
        check_dies_in(in_await_exit, &server, i);
        check_dies_in(in_hibernate, NULL, i);
    }
    test_kill(server);
    test_quiet();
}

static void in_wait_fd(void *arg)
{
    (void)otp_wait_fd(*(int *)arg, OTP_READ, OTP_INFINITY);
    atomic_fetch_add(&went_on, 1);
}

static void in_read(void *arg)
{
    char byte;
    (void)otp_read(*(int *)arg, &byte, 1, OTP_INFINITY);
    atomic_fetch_add(&went_on, 1);
}

TEST_REAL(rule_26_one_that_waits_for_an_fd_dies_at_once)
{
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    atomic_store(&went_on, 0);
    for (int i = 0; i < 5; i++) {
        check_dies_in(in_wait_fd, &fds[0], i);
        check_dies_in(in_read, &fds[0], i);
    }
    /* the fd is free for the next one */
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(otp_wait_fd(fds[0], OTP_READ, TEST_WAIT), OTP_READ);
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

TEST(rule_26_an_ignored_signal_does_not_disturb_the_wait)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    for (int i = 0; i < 10; i++) CHECK_EQ(otp_exit_signal(p, OTP_NORMAL), 0);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    stop(p, ref);
}

static void sleep_and_tell(void *arg)
{
    int64_t start = otp_now(), ms = *(int64_t *)arg;
    (void)otp_trap_exit(true);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    otp_sleep(ms);
    CHECK(otp_now() - start >= ms);
    CHECK_EQ(otp_reason_of(otp_recv_tag(OTP_EXIT, 0))->code, 5);
}

TEST(rule_26_a_trapped_signal_does_not_end_a_sleep)
{
    otp_ref ref;
    int64_t ms = 20;
    otp_pid p = test_start(sleep_and_tell, &ms, &ref);
    CHECK_EQ(otp_exit_signal(p, OTP_USER(5, NULL)), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}
