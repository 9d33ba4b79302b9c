/* test_link.c: links: processes.md, rules 27 to 35. */
#include "test.h"

enum { GO = 1, UNLINK, DONE, LINK };

static size_t links_of(otp_pid p)
{
    otp_info info;
    CHECK_EQ(otp_process_info(p, &info), 0);
    int64_t n = otp_process_relations(p, OTP_LINKS, NULL, 0);
    CHECK_EQ(n, info.links);
    return info.links;
}

/* Exits with USER and the number that comes with GO. */
static void exit_on_go(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(GO, OTP_INFINITY);
    CHECK(m != NULL);
    otp_exit(OTP_USER(*OTP_PAYLOAD(m, int), NULL));
}

static void exit_at_once(void *arg) { otp_exit(OTP_USER((int)(intptr_t)arg, NULL)); }

static void end_with(otp_pid p, int code)
{
    otp_ref ref = otp_monitor(p);
    CHECK_EQ(OTP_SEND(p, GO, code), 0);
    CHECK_EQ(test_down(ref)->code, code);
}

TEST(rule_27_linking_twice_and_unlinking_once_leaves_no_link)
{
    CHECK(!otp_trap_exit(true));
    otp_pid p = otp_spawn(exit_on_go, NULL);
    CHECK_EQ(otp_link(p), 0);
    CHECK_EQ(otp_link(p), 0);
    CHECK_EQ(links_of(otp_self()), 1);
    CHECK_EQ(links_of(p), 1);
    CHECK_EQ(otp_unlink(p), 0);
    CHECK_EQ(links_of(otp_self()), 0);
    CHECK_EQ(links_of(p), 0);
    end_with(p, 4);
    test_quiet();
}

static void link_back(void *arg)
{
    CHECK_EQ(otp_link(*(otp_pid *)arg), 0);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    exit_on_go(NULL);
}

TEST(rule_27_linking_twice_gives_one_exit)
{
    CHECK(!otp_trap_exit(true));
    otp_pid p = otp_spawn_link(exit_on_go, NULL);
    for (int i = 0; i < 5; i++) CHECK_EQ(otp_link(p), 0);
    CHECK_EQ(links_of(otp_self()), 1);
    end_with(p, 4);
    CHECK_EQ(test_exit_from(p)->code, 4);
    test_quiet();
}

TEST(rule_27_linking_from_both_sides_is_one_link)
{
    CHECK(!otp_trap_exit(true));
    otp_pid me = otp_self();
    for (int i = 0; i < test_many(300, 5); i++) {
        otp_pid p = otp_spawn(link_back, &me);
        CHECK_EQ(otp_link(p), 0);
        test_ready(p);
        CHECK_EQ(links_of(me), 1);
        CHECK_EQ(links_of(p), 1);
        end_with(p, i);
        CHECK_EQ(test_exit_from(p)->code, i);
        CHECK_EQ(links_of(me), 0);
    }
    test_quiet();
}

TEST(rule_27_unlink_and_link_again)
{
    CHECK(!otp_trap_exit(true));
    otp_pid p = otp_spawn_link(exit_on_go, NULL);
    for (int i = 0; i < test_many(200, 10); i++) {
        CHECK_EQ(otp_unlink(p), 0);
        CHECK_EQ(otp_link(p), 0);
    }
    CHECK_EQ(links_of(otp_self()), 1);
    CHECK_EQ(links_of(p), 1);
    end_with(p, 9);
    CHECK_EQ(test_exit_from(p)->code, 9);
    test_quiet();
}

static void link_self_and_exit(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_link(otp_self()), 0);
    otp_exit(OTP_USER(6, NULL));
}

TEST(rule_28_a_link_to_itself_does_nothing)
{
    CHECK_EQ(otp_link(otp_self()), 0);
    CHECK_EQ(links_of(otp_self()), 0);
    CHECK_EQ(otp_unlink(otp_self()), 0);
    test_quiet();
    otp_ref ref;
    CHECK(otp_spawn_monitor(link_self_and_exit, NULL, &ref).id != 0);
    CHECK_EQ(test_down(ref)->code, 6);
}

static void link_to(void *arg)
{
    CHECK_EQ(otp_link(*(otp_pid *)arg), 0);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    test_idle(NULL);
}

TEST(rule_29_a_link_to_a_dead_process_exits_one_that_does_not_trap)
{
    otp_ref ref;
    otp_pid pids[2] = { otp_spawn_monitor(exit_at_once, NULL, &ref), { 0 } };
    (void)test_down(ref);
    for (int i = 0; i < 2; i++) {
        CHECK(otp_spawn_monitor(link_to, &pids[i], &ref).id != 0);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_NOPROC);
    }
    const otp_msg *m = otp_recv_tag(TEST_READY, 0);     /* when it gets so far is not promised for a dead pid */
    (void)m;
}

TEST(rule_29_a_link_to_a_dead_process_is_a_message_to_one_that_traps)
{
    CHECK(!otp_trap_exit(true));
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(exit_at_once, NULL, &ref);
    (void)test_down(ref);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(otp_link(p), 0);
        CHECK_EQ(test_exit_from(p)->kind, OTP_REASON_NOPROC);
        CHECK_EQ(links_of(otp_self()), 0);
    }
    test_quiet();
}

static void unlink_on_demand(void *arg)
{
    const otp_pid peer = *(const otp_pid *)arg;
    const otp_msg *m;
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case UNLINK:
                CHECK_EQ(otp_unlink(peer), 0);
                CHECK_EQ(otp_send(m->from, DONE, NULL, 0), 0);
                break;
            case GO: otp_exit(OTP_USER(*OTP_PAYLOAD(m, int), NULL));
        }
}

TEST(rule_30_either_side_may_unlink)
{
    CHECK(!otp_trap_exit(true));
    otp_pid me = otp_self();
    otp_pid p = otp_spawn_link(unlink_on_demand, &me);
    CHECK_EQ(links_of(me), 1);
    CHECK_EQ(links_of(p), 1);
    otp_pid linked;
    CHECK_EQ(otp_process_relations(p, OTP_LINKS, &linked, 1), 1);
    CHECK(otp_same(linked, me));
    CHECK_EQ(otp_send(p, UNLINK, NULL, 0), 0);
    CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    CHECK_EQ(links_of(me), 0);
    CHECK_EQ(links_of(p), 0);
    end_with(p, 3);
    test_quiet();
}

TEST(rule_30_unlinking_what_is_not_linked)
{
    otp_ref ref;
    otp_pid dead = otp_spawn_monitor(exit_at_once, NULL, &ref);
    (void)test_down(ref);
    otp_pid p = otp_spawn(test_idle, NULL);
    CHECK_EQ(otp_unlink(p), 0);
    CHECK_EQ(otp_unlink(p), 0);
    CHECK_EQ(otp_unlink(dead), 0);
    CHECK_EQ(otp_unlink((otp_pid){ 0 }), 0);
    CHECK(otp_is_alive(p));
    test_kill(p);
    test_quiet();
}

static void linker(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(LINK, OTP_INFINITY);
    CHECK(m != NULL);
    CHECK_EQ(otp_link(*OTP_PAYLOAD(m, otp_pid)), 0);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    exit_on_go(NULL);
}

/* Both directions of the death: the one that linked dies, the one that was linked to dies. */
TEST(rule_30_links_work_in_both_directions)
{
    for (int who = 0; who < 2; who++) {
        otp_ref a_down, b_down;
        otp_pid a = otp_spawn_monitor(linker, NULL, &a_down);
        otp_pid b = otp_spawn_monitor(exit_on_go, NULL, &b_down);
        CHECK_EQ(OTP_SEND(a, LINK, b), 0);
        test_ready(a);
        CHECK_EQ(links_of(b), 1);
        CHECK_EQ(OTP_SEND(who ? a : b, GO, 50 + who), 0);
        CHECK_EQ(test_down(a_down)->code, 50 + who);
        CHECK_EQ(test_down(b_down)->code, 50 + who);
    }
}

TEST(rule_31_after_unlink_no_exit_arrives_any_more)
{
    CHECK(!otp_trap_exit(true));
    int early = 0;
    for (int i = 0; i < test_many(3000, 30); i++) {
        otp_pid p = otp_spawn_link(exit_at_once, NULL);
        if (i % 3 == 1) otp_yield();
        CHECK_EQ(otp_unlink(p), 0);
        if (test_exit_flush(p)) early++;
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
        CHECK(otp_recv(0) == NULL);
    }
    (void)early;
    test_quiet();
}

TEST(rule_31_an_exit_in_the_mailbox_stays)
{
    CHECK(!otp_trap_exit(true));
    otp_pid p = otp_spawn_link(exit_on_go, NULL);
    end_with(p, 7);
    /* rule 50: the EXIT was sent before the DOWN or after it; both are here once nothing moves any more */
    const otp_msg *m = otp_recv_tag(OTP_EXIT, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(OTP_SEND(otp_self(), DONE, (int)0), 0);
    otp_leave(m);
    CHECK_EQ(otp_unlink(p), 0);
    CHECK_EQ(test_exit_from(p)->code, 7);
    CHECK(otp_recv_tag(DONE, 0) != NULL);
    test_quiet();
}

struct group { otp_pid target; int n; };

static void watch_and_report(void *arg)
{
    const otp_pid target = *(const otp_pid *)arg;
    CHECK(!otp_trap_exit(true));
    CHECK_EQ(otp_link(target), 0);
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    int code = test_exit_from(target)->code;
    CHECK_EQ(links_of(otp_self()), 0);
    CHECK_EQ(OTP_SEND(test_app, DONE, code), 0);
}

TEST(rule_32_a_dying_process_tells_all_links)
{
    int n = test_many(500, 30);
    otp_pid target = otp_spawn(exit_on_go, NULL);
    for (int i = 0; i < n; i++) CHECK(otp_spawn(watch_and_report, &target).id != 0);
    for (int i = 0; i < n; i++) CHECK(otp_recv_tag(TEST_READY, TEST_WAIT) != NULL);
    CHECK_EQ(links_of(target), n);
    end_with(target, 99);
    for (int i = 0; i < n; i++) {
        const otp_msg *m = otp_recv_tag(DONE, TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(*OTP_PAYLOAD(m, int), 99);
    }
    test_quiet();
}

TEST(rule_32_a_process_with_many_links_and_unlinks)
{
    enum { MOST = 200 };
    int n = test_many(MOST, 20);
    otp_pid pids[MOST], out[MOST];
    CHECK(!otp_trap_exit(true));
    for (int i = 0; i < n; i++) pids[i] = otp_spawn_link(exit_on_go, NULL);
    for (int i = 0; i < n; i += 2) CHECK_EQ(otp_unlink(pids[i]), 0);
    CHECK_EQ(otp_process_relations(otp_self(), OTP_LINKS, out, MOST), n / 2);
    for (int i = 0; i < n / 2; i++) {
        int found = 0;
        for (int k = 1; k < n; k += 2) found += otp_same(pids[k], out[i]);
        CHECK_EQ(found, 1);
    }
    for (int i = 0; i < n; i++) end_with(pids[i], i);
    for (int i = 1; i < n; i += 2) CHECK_EQ(test_exit_from(pids[i])->code, i);
    CHECK_EQ(links_of(otp_self()), 0);
    test_quiet();
}

static void unlink_at_once(void *arg)
{
    int i = (int)(intptr_t)arg;
    otp_pid p = otp_spawn_link(exit_at_once, (void *)(intptr_t)13);
    if (i % 3 == 1) otp_yield();
    if (i % 3 == 2) (void)otp_await_exit(p, TEST_WAIT, NULL);
    CHECK_EQ(otp_unlink(p), 0);
    /* whoever gets here has unlinked in time, and must live */
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    CHECK(otp_recv(0) == NULL);
}

TEST(rule_33_a_link_signal_after_the_unlink_is_dropped)
{
    int lived = 0;
    for (int i = 0; i < test_many(2000, 30); i++) {
        otp_ref ref;
        CHECK(otp_spawn_monitor(unlink_at_once, (void *)(intptr_t)i, &ref).id != 0);
        const otp_reason *r = test_down(ref);
        if (r->kind == OTP_REASON_NORMAL) {
            lived++;
        } else {
            CHECK_EQ(r->kind, OTP_REASON_USER);
            CHECK_EQ(r->code, 13);
        }
    }
    (void)lived;
}

static void chain_link(void *arg)
{
    int depth = (int)(intptr_t)arg;
    if (depth == 0) {
        CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
        exit_on_go(NULL);
    }
    CHECK(otp_spawn_link(chain_link, (void *)(intptr_t)(depth - 1)).id != 0);
    test_idle(NULL);
}

TEST(rule_34_a_chain_dies_as_one)
{
    int n = test_many(200, 10);
    otp_ref ref;
    CHECK(otp_spawn_monitor(chain_link, (void *)(intptr_t)n, &ref).id != 0);
    const otp_msg *m = otp_recv_tag(TEST_READY, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(otp_processes(NULL, 0), n + 2);
    CHECK_EQ(OTP_SEND(m->from, GO, (int)21), 0);
    const otp_reason *r = test_down(ref);
    CHECK_EQ(r->kind, OTP_REASON_USER);
    CHECK_EQ(r->code, 21);
}

static void chain_stop(void *arg)
{
    CHECK(!otp_trap_exit(true));
    otp_pid child = otp_spawn_link(chain_link, arg);
    int code = test_exit_from(child)->code;
    CHECK_EQ(OTP_SEND(test_app, DONE, code), 0);
    test_idle(NULL);
}

TEST(rule_34_one_that_traps_stops_the_chain)
{
    otp_ref ref;
    otp_pid middle = otp_spawn_monitor(chain_stop, (void *)(intptr_t)3, &ref);
    CHECK_EQ(otp_link(middle), 0);
    const otp_msg *m = otp_recv_tag(TEST_READY, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(OTP_SEND(m->from, GO, (int)22), 0);
    m = otp_recv_tag(DONE, TEST_WAIT);
    CHECK(m != NULL);
    CHECK_EQ(*OTP_PAYLOAD(m, int), 22);
    CHECK(otp_is_alive(middle));
    CHECK_EQ(otp_send(middle, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    test_quiet();
}

/* A ring of links dies too, once each. */
static void ring_member(void *arg)
{
    (void)arg;
    const otp_msg *m;
    CHECK_EQ(otp_send(test_app, TEST_READY, NULL, 0), 0);
    for (;;)
        otp_receive (m, OTP_INFINITY) {
            case LINK:
                CHECK_EQ(otp_link(*OTP_PAYLOAD(m, otp_pid)), 0);
                CHECK_EQ(otp_send(test_app, DONE, NULL, 0), 0);
                break;
            case GO: otp_exit(OTP_USER(23, NULL));
        }
}

TEST(rule_34_a_ring_dies_as_one)
{
    enum { N = 20 };
    otp_pid p[N];
    otp_ref ref[N];
    for (int i = 0; i < N; i++) p[i] = test_start(ring_member, NULL, &ref[i]);
    for (int i = 0; i < N; i++) CHECK_EQ(OTP_SEND(p[i], LINK, p[(i + 1) % N]), 0);
    for (int i = 0; i < N; i++) CHECK(otp_recv_tag(DONE, TEST_WAIT) != NULL);
    for (int i = 0; i < N; i++) CHECK_EQ(links_of(p[i]), 2);
    CHECK_EQ(otp_send(p[5], GO, NULL, 0), 0);
    for (int i = 0; i < N; i++) CHECK_EQ(test_down(ref[i])->code, 23);
    test_quiet();
}

TEST(rule_35_linking_during_the_death_gives_the_reason_or_noproc)
{
    CHECK(!otp_trap_exit(true));
    int real = 0, gone = 0;
    for (int i = 0; i < test_many(3000, 30); i++) {
        otp_pid p = otp_spawn(exit_at_once, (void *)(intptr_t)(i + 1));
        for (int k = 0; k < i % 4; k++) otp_yield();
        CHECK_EQ(otp_link(p), 0);
        const otp_reason *r = test_exit_from(p);
        if (r->kind == OTP_REASON_NOPROC) {
            gone++;
        } else {
            CHECK_EQ(r->kind, OTP_REASON_USER);
            CHECK_EQ(r->code, i + 1);
            real++;
        }
        CHECK(otp_recv(0) == NULL);
    }
    CHECK(real + gone > 0);
    test_quiet();
}

static void link_and_wait(void *arg)
{
    CHECK_EQ(otp_link(*(otp_pid *)arg), 0);
    test_idle(NULL);
}

/* Many link to one that is dying, none of them trapping: each must die. */
TEST(rule_35_nobody_who_links_to_a_dying_process_survives)
{
    for (int round = 0; round < test_many(100, 5); round++) {
        enum { N = 8 };
        otp_ref ref[N], target_down;
        otp_pid target = otp_spawn_monitor(exit_on_go, NULL, &target_down);
        for (int i = 0; i < N; i++) {
            if (i == round % N) CHECK_EQ(OTP_SEND(target, GO, (int)31), 0);
            CHECK(otp_spawn_monitor(link_and_wait, &target, &ref[i]).id != 0);
        }
        for (int i = 0; i < N; i++) {
            const otp_reason *r = test_down(ref[i]);
            CHECK((r->kind == OTP_REASON_USER && r->code == 31) || r->kind == OTP_REASON_NOPROC);
        }
        CHECK_EQ(test_down(target_down)->code, 31);
    }
    test_quiet();
}
