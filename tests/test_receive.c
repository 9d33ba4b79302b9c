/* Receiving: rules 59 to 67, every form of receive, kept messages, limited mailboxes. */
#include "test.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { A = 1, B, C, D, GO, DONE, NUMBER, PID };

static int64_t real_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) abort();
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Sends a list of tags to oneself, each with its index as the payload. */
static void queue(const int *tags, int n)
{
    for (int i = 0; i < n; i++) CHECK_EQ(OTP_SEND(otp_self(), tags[i], i), 0);
}

static int number(const otp_msg *m) { return *OTP_PAYLOAD(m, int); }

static bool mailbox_empty(void) { return otp_recv(0) == NULL; }

/* Starts fn with a copy of the argument. */
static otp_pid start(otp_fn *fn, void *arg, size_t size)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = fn, .arg = arg, .arg_size = size };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

/* How a process ended: starts fn(arg) and waits for its end. */
static otp_reason ending(otp_fn *fn, void *arg)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(fn, arg, &ref);
    CHECK(p.id != 0);
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    CHECK(m != NULL && m->tag == OTP_DOWN);
    if (m == NULL) return OTP_NORMAL;
    return *otp_reason_of(m);
}

/* -- rules ------------------------------------------------------------------------------------------- */

static void wait_for_go(void *arg)
{
    (void)arg;
    int next = 0;
    if (otp_recv_tag(GO, OTP_INFINITY) == NULL) return;
    const otp_msg *m;
    while ((m = otp_recv_tag(NUMBER, 0)) != NULL) {
        CHECK_EQ(number(m), next);
        next++;
    }
    CHECK_EQ(next, 5000);
}

TEST(rule_59_send_never_blocks_and_never_fails_for_a_long_queue)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(wait_for_go, NULL, &ref);
    for (int i = 0; i < 5000; i++) CHECK_EQ(OTP_SEND(p, NUMBER, i), 0);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    CHECK(m != NULL && otp_reason_of(m)->kind == OTP_REASON_NORMAL);
    for (int i = 0; i < 5000; i++) CHECK_EQ(OTP_SEND(otp_self(), NUMBER, i), 0);
    for (int i = 0; i < 5000; i++) {
        m = otp_recv(0);
        CHECK(m != NULL && number(m) == i);
    }
    CHECK(mailbox_empty());
}

static void echo_bytes(void *arg)
{
    (void)arg;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL && m->tag != DONE)
        CHECK_EQ(otp_send(m->from, m->tag, m->data, m->size), 0);
}

TEST(rule_60_the_receiver_owns_its_own_copy)
{
    char text[] = "before";
    otp_pid p = otp_spawn(echo_bytes, NULL);
    CHECK_EQ(otp_send(p, A, text, sizeof text), 0);
    CHECK_EQ(otp_send(otp_self(), B, text, sizeof text), 0);
    memcpy(text, "after!", sizeof text);
    const otp_msg *m = otp_recv_tag(A, OTP_INFINITY);
    CHECK(m != NULL && m->size == sizeof text && memcmp(m->data, "before", sizeof text) == 0);
    m = otp_recv_tag(B, OTP_INFINITY);
    CHECK(m != NULL && m->size == sizeof text && memcmp(m->data, "before", sizeof text) == 0);
    CHECK_EQ(otp_send(p, DONE, NULL, 0), 0);
}

TEST(rule_61_the_oldest_message_wins_not_the_first_case)
{
    const otp_msg *m;
    int got = 0;
    queue((const int[]){ C, B, A }, 3);
    otp_receive (m, OTP_INFINITY) {
        case A: got = A; break;
        case B: got = B; break;
    }
    CHECK_EQ(got, B);
    m = otp_recv_tags((const int[]){ A, C }, 2, OTP_INFINITY);
    CHECK(m != NULL && m->tag == C);
    m = otp_recv_tag(A, 0);
    CHECK(m != NULL && number(m) == 2);
    CHECK(mailbox_empty());
}

TEST(rule_62_unmatched_messages_keep_their_order)
{
    const otp_msg *m;
    int left[300];
    size_t n = 0, at = 0;
    for (int i = 0; i < 300; i++) CHECK_EQ(OTP_SEND(otp_self(), A + i % 3, i), 0);
    for (int i = 0; i < 100; i++) {                         /* all B, while the others stay */
        m = otp_recv_tag(B, 0);
        CHECK(m != NULL && number(m) == 3 * i + 1);
    }
    CHECK(otp_recv_tag(B, 0) == NULL);
    for (int i = 0; i < 50; i++) {                          /* every second C, by leaving the others */
        bool skip = i % 2 != 0;
        otp_receive (m, 0) {
            case C:
                if (number(m) % 2 != 0) { otp_leave(m); break; }
                skip = true;
                break;
            case OTP_AFTER: skip = false; break;
        }
        CHECK(skip);
    }
    for (int i = 0; i < 300; i++)
        if (i % 3 == 0 || (i % 3 == 2 && i % 2 != 0)) left[n++] = i;
    while ((m = otp_recv(0)) != NULL) {
        CHECK(at < n && number(m) == left[at]);
        at++;
    }
    CHECK_EQ(at, n);
}

TEST(rule_63_after_zero_looks_through_the_whole_mailbox_once)
{
    const otp_msg *m;
    int got = 0;
    for (int i = 0; i < 200; i++) CHECK_EQ(OTP_SEND(otp_self(), A, i), 0);
    CHECK_EQ(OTP_SEND(otp_self(), B, 7), 0);
    otp_receive (m, 0) {
        case B:         got = number(m); break;
        case OTP_AFTER: got = -1; break;
    }
    CHECK_EQ(got, 7);
    got = 0;
    otp_receive (m, 0) {
        case B:         got = 1; break;
        case OTP_AFTER: got = 2; break;
    }
    CHECK_EQ(got, 2);
    CHECK(otp_recv_tag(B, 0) == NULL);
    CHECK(otp_recv_tags((const int[]){ B, C }, 2, 0) == NULL);
    CHECK(otp_recv_ref(otp_make_ref(), 0) == NULL);
    for (int i = 0; i < 200; i++) {
        m = otp_recv(0);
        CHECK(m != NULL && number(m) == i);
    }
    CHECK(otp_recv(0) == NULL);
}

static void ticker(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    for (int i = 0; i < 400; i++) {
        otp_sleep(5);
        if (otp_send(to, A, NULL, 0) < 0) return;
    }
}

TEST(rule_64_arrivals_that_do_not_match_do_not_restart_the_clock)
{
    const otp_msg *m;
    otp_pid self = otp_self();
    otp_pid p = start(ticker, &self, sizeof self);
    int64_t begin = otp_now();
    bool timed_out = false;
    otp_receive (m, 52) {
        case B:         break;
        case OTP_AFTER: timed_out = true; break;
    }
    int64_t took = otp_now() - begin;
    CHECK(timed_out);
    CHECK(took >= 52);
    CHECK(took < 2000);         /* restarted by each tick it would have lasted until the last one */
    begin = otp_now();
    CHECK(otp_recv_tag(B, 52) == NULL);
    took = otp_now() - begin;
    CHECK(took >= 52 && took < 1900);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
}

TEST(rule_64_a_queued_message_wins_against_the_timeout)
{
    const otp_msg *m;
    int got = 0;
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(OTP_SEND(otp_self(), A, i), 0);
        otp_receive (m, 0) {
            case A:         got++; break;
            case OTP_AFTER: break;
        }
    }
    CHECK_EQ(got, 100);
    /* A timer message and a timeout due at the same moment: either may win, nothing may be lost. */
    for (int i = 0; i < 20; i++) {
        CHECK(otp_send_after(3, otp_self(), B, NULL, 0).id != 0);
        m = otp_recv_tag(B, 3);
        if (m == NULL) m = otp_recv_tag(B, OTP_INFINITY);
        CHECK(m != NULL && m->tag == B);
        CHECK(mailbox_empty());
    }
}

static void recv_bad_time(void *arg) { (void)arg; (void)otp_recv(-2); }
static void recv_tag_bad_time(void *arg) { (void)arg; (void)otp_recv_tag(A, INT64_MIN); }
static void recv_ref_bad_time(void *arg) { (void)arg; (void)otp_recv_ref(otp_make_ref(), -1000); }
static bool any(const otp_msg *m, void *arg) { (void)m; (void)arg; return true; }
static void recv_match_bad_time(void *arg) { (void)arg; (void)otp_recv_match(any, NULL, -3); }
static void recv_tags_bad_time(void *arg) { (void)arg; int t = A; (void)otp_recv_tags(&t, 1, -4); }
static void receive_bad_time(void *arg)
{
    (void)arg;
    const otp_msg *m;
    otp_receive (m, -5) {
        case A:         break;
        case OTP_AFTER: break;
    }
}

TEST(rule_65_negative_times_are_bad_arguments)
{
    otp_fn *all[] = { recv_bad_time, recv_tag_bad_time, recv_ref_bad_time, recv_match_bad_time,
                      recv_tags_bad_time, receive_bad_time };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        otp_reason why = ending(all[i], NULL);
        CHECK_EQ(why.kind, OTP_REASON_BADARG);
        CHECK(why.text != NULL);
    }
}

TEST(rule_65_large_times_do_not_overflow)
{
    const int64_t times[] = { 4294967295, INT64_MAX, INT64_MAX - 1, INT64_MAX / 1000000, INT64_MAX / 1000 };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        CHECK(otp_send_after(1, otp_self(), A, NULL, 0).id != 0);
        const otp_msg *m = otp_recv_tag(A, times[i]);
        CHECK(m != NULL && m->tag == A);
    }
}

static bool is_even(const otp_msg *m, void *arg)
{
    ++*(int *)arg;
    return m->tag == NUMBER && *(const int *)m->data % 2 == 0;
}

TEST(rule_66_a_refused_message_counts_as_no_match)
{
    const otp_msg *m;
    int looked = 0, got = -1;
    for (int i = 1; i < 10; i++) CHECK_EQ(OTP_SEND(otp_self(), NUMBER, i), 0);
    m = otp_recv_match(is_even, &looked, 0);
    CHECK(m != NULL && number(m) == 2);
    CHECK_EQ(looked, 2);
    otp_receive (m, 0) {
        case NUMBER:
            if (number(m) < 7) { otp_leave(m); break; }
            got = number(m);
            break;
        case OTP_AFTER: got = -2; break;
    }
    CHECK_EQ(got, 7);
    otp_receive (m, 0) {                                    /* all refused: the time is over at once */
        case NUMBER:    otp_leave(m); break;
        case OTP_AFTER: got = -3; break;
    }
    CHECK_EQ(got, -3);
    const int rest[] = { 1, 3, 4, 5, 6, 8, 9 };
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        m = otp_recv(0);
        CHECK(m != NULL && number(m) == rest[i]);
    }
    CHECK(mailbox_empty());
}

static void ref_of_timer_with_queue(int queued, int rounds)
{
    for (int i = 0; i < queued; i++) CHECK_EQ(OTP_SEND(otp_self(), A, i), 0);
    for (int i = 0; i < rounds; i++) {
        otp_ref t = otp_start_timer(0, otp_self(), &i, sizeof i);
        const otp_msg *m = otp_recv_ref(t, OTP_INFINITY);
        CHECK(m != NULL && m->tag == OTP_TIMEOUT_TAG && m->ref.id == t.id && number(m) == i);
    }
    for (int i = 0; i < queued; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && m->tag == A && number(m) == i);
    }
    CHECK(mailbox_empty());
}

TEST(rule_67_receive_by_reference_leaves_a_long_queue_in_order) { ref_of_timer_with_queue(300, 10); }

static int64_t time_of_refs(int rounds, otp_pid server)
{
    int64_t begin = real_ns();
    for (int i = 0; i < rounds; i++) {
        otp_ref r = otp_send_request(server, A, &i, sizeof i);
        CHECK(r.id != 0);
        const otp_msg *m = otp_recv_ref(r, OTP_INFINITY);
        CHECK(m != NULL && m->tag == OTP_REPLY_TAG && number(m) == i);
    }
    return real_ns() - begin;
}

static void replier(void *arg)
{
    (void)arg;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL && m->tag != DONE)
        CHECK_EQ(otp_reply(otp_from_of(m), m->data, m->size), 0);
}

TEST_REAL(rule_67_receive_by_reference_is_not_quadratic)
{
    otp_pid server = otp_spawn_link(replier, NULL);
    int64_t empty = time_of_refs(500, server);
    for (int i = 0; i < 100000; i++) CHECK_EQ(OTP_SEND(otp_self(), B, i), 0);
    int64_t full = time_of_refs(500, server);
    /* A search through 100,000 messages costs at least 100 us: 500 of them 50 ms. */
    CHECK(full < empty * 10 + 20000000);
    for (int i = 0; i < 100000; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && m->tag == B && number(m) == i);
    }
    CHECK(mailbox_empty());
    CHECK_EQ(otp_send(server, DONE, NULL, 0), 0);
}

/* -- the forms ---------------------------------------------------------------------------------------- */

TEST(recv_takes_the_oldest)
{
    queue((const int[]){ C, A, B }, 3);
    for (int i = 0; i < 3; i++) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        CHECK(m != NULL && number(m) == i && m->tag == ((const int[]){ C, A, B })[i]);
    }
    int64_t begin = otp_now();
    CHECK(otp_recv(20) == NULL);
    CHECK(otp_now() - begin >= 20);
}

struct job { otp_pid to; int64_t ms; int tag; };

static void send_later(void *arg)
{
    struct job *j = arg;
    otp_sleep(j->ms);
    CHECK_EQ(OTP_SEND(j->to, j->tag, 99), 0);
}

static void later(int64_t ms, int tag)
{
    struct job j = { otp_self(), ms, tag };
    CHECK(start(send_later, &j, sizeof j).id != 0);
}

static bool wants(const otp_msg *m, void *arg) { return m->tag == *(int *)arg; }

TEST(every_form_waits_for_a_message_that_comes_later)
{
    const otp_msg *m;
    int tag = D;
    queue((const int[]){ A, A, A }, 3);
    later(5, B);
    m = otp_recv_tag(B, OTP_INFINITY);
    CHECK(m != NULL && m->tag == B && number(m) == 99);
    later(5, B);
    m = otp_recv_tag(B, 60000);
    CHECK(m != NULL && m->tag == B);
    later(5, C);
    m = otp_recv_tags((const int[]){ D, C }, 2, 60000);
    CHECK(m != NULL && m->tag == C);
    later(5, D);
    m = otp_recv_match(wants, &tag, 60000);
    CHECK(m != NULL && m->tag == D);
    otp_ref t = otp_start_timer(5, otp_self(), NULL, 0);
    m = otp_recv_ref(t, 60000);
    CHECK(m != NULL && m->tag == OTP_TIMEOUT_TAG && m->ref.id == t.id && m->size == 0);
    later(5, B);
    int got = 0;
    otp_receive (m, 60000) {
        case B:         got = number(m); break;
        case OTP_AFTER: got = -1; break;
    }
    CHECK_EQ(got, 99);
    for (int i = 0; i < 3; i++) {
        m = otp_recv(0);
        CHECK(m != NULL && number(m) == i);
    }
    later(5, C);
    m = otp_recv(60000);
    CHECK(m != NULL && m->tag == C);
    CHECK(mailbox_empty());
}

TEST(every_form_times_out)
{
    const otp_msg *m;
    int tag = D;
    queue((const int[]){ A }, 1);
    int64_t begin = otp_now();
    CHECK(otp_recv_tag(B, 4) == NULL);
    CHECK(otp_recv_tags((const int[]){ B, C }, 2, 4) == NULL);
    CHECK(otp_recv_match(wants, &tag, 4) == NULL);
    CHECK(otp_recv_ref(otp_make_ref(), 4) == NULL);
    int got = 0;
    otp_receive (m, 4) {
        case B:         got = 1; break;
        case OTP_AFTER: got = 2; CHECK(m != NULL && m->tag == OTP_AFTER && m->size == 0); break;
    }
    CHECK_EQ(got, 2);
    CHECK(otp_now() - begin >= 20);
    otp_receive (m, 1) { case B: got = 3; break; }          /* OTP_AFTER need not be listed */
    CHECK_EQ(got, 2);
    m = otp_recv(0);
    CHECK(m != NULL && m->tag == A);
    CHECK(mailbox_empty());
}

TEST(recv_tags_with_no_tags_takes_nothing)
{
    queue((const int[]){ A }, 1);
    CHECK(otp_recv_tags(NULL, 0, 0) == NULL);
    CHECK(otp_recv_tags(NULL, 0, 3) == NULL);
    CHECK(otp_recv(0) != NULL);
}

TEST(recv_tags_with_many_tags)
{
    int tags[100];
    for (int i = 0; i < 100; i++) tags[i] = 1000 + 2 * i;
    for (int i = 0; i < 200; i++) CHECK_EQ(OTP_SEND(otp_self(), 1000 + i, i), 0);
    for (int i = 0; i < 100; i++) {
        const otp_msg *m = otp_recv_tags(tags, 100, 0);
        CHECK(m != NULL && number(m) == 2 * i);
    }
    CHECK(otp_recv_tags(tags, 100, 0) == NULL);
    for (int i = 0; i < 100; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && number(m) == 2 * i + 1);
    }
}

TEST(tags_at_their_limits)
{
    CHECK_EQ(otp_send(otp_self(), 0, NULL, 0), 0);
    CHECK_EQ(otp_send(otp_self(), INT_MAX, NULL, 0), 0);
    CHECK_EQ(otp_send(otp_self(), INT_MIN, NULL, 0), 0);
    CHECK_EQ(otp_send(otp_self(), OTP_TAG_MIN - 1, NULL, 0), 0);
    CHECK_EQ(otp_send(otp_self(), -1, NULL, 0), OTP_EBADARG);
    CHECK_EQ(otp_send(otp_self(), OTP_EXIT, NULL, 0), OTP_EBADARG);
    CHECK_EQ(otp_send(otp_self(), OTP_DOWN, NULL, 0), OTP_EBADARG);
    CHECK_EQ(otp_send(otp_self(), OTP_TAG_MIN + 1, NULL, 0), OTP_EBADARG);
    const otp_msg *m;
    int got = 0;
    otp_receive (m, 0) { case INT_MAX: got = 1; break; case OTP_AFTER: got = -1; break; }
    CHECK_EQ(got, 1);
    otp_receive (m, 0) { case INT_MIN: got = 2; break; case OTP_AFTER: got = -1; break; }
    CHECK_EQ(got, 2);
    otp_receive (m, 0) { case OTP_TAG_MIN - 1: got = 3; break; case OTP_AFTER: got = -1; break; }
    CHECK_EQ(got, 3);
    otp_receive (m, 0) { case 0: got = 4; break; case OTP_AFTER: got = -1; break; }
    CHECK_EQ(got, 4);
    CHECK(mailbox_empty());
}

static int return_from_inside(int64_t ms)
{
    const otp_msg *m;
    otp_receive (m, ms) {
        case A:         return number(m);
        case B:
            for (int i = 0; i < 3; i++)
                if (i == 2) return 1000 + number(m);
            break;
        case OTP_AFTER: return -1;
    }
    return -2;
}

TEST(return_from_inside_a_body)
{
    queue((const int[]){ C, A, B, A }, 4);
    CHECK_EQ(return_from_inside(OTP_INFINITY), 1);
    CHECK_EQ(return_from_inside(OTP_INFINITY), 1002);
    CHECK_EQ(return_from_inside(0), 3);
    CHECK_EQ(return_from_inside(0), -1);
    CHECK_EQ(return_from_inside(3), -1);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && m->tag == C);
    CHECK(mailbox_empty());
}

TEST(goto_continue_and_falling_out_of_a_body)
{
    const otp_msg *m;
    int got = 0;
    queue((const int[]){ A, B, C, D }, 4);
    otp_receive (m, 0) {
        case B: goto out;
        case OTP_AFTER: got = -1; break;
    }
    got = 7;
out:
    CHECK_EQ(got, 0);
    CHECK_EQ(m->tag, B);
    otp_receive (m, 0) {
        case A: got++; continue;                            /* as break: the message is taken */
        case OTP_AFTER: got = -1; break;
    }
    CHECK_EQ(got, 1);
    otp_receive (m, 0) {
        case C: got++;                                      /* falls out at the end */
    }
    CHECK_EQ(got, 2);
    CHECK(otp_recv(0) != NULL);
    CHECK(mailbox_empty());
}

TEST(two_cases_share_a_body_and_cases_fall_through)
{
    const otp_msg *m;
    int got = 0;
    queue((const int[]){ D, C, B, A }, 4);
    for (int i = 0; i < 2; i++)
        otp_receive (m, 0) {
            case A:
            case B:
            case C:         got = got * 10 + m->tag; break;
            case OTP_AFTER: got = -1; break;
        }
    CHECK_EQ(got, C * 10 + B);
    CHECK(otp_recv_tag(D, 0) != NULL);
    CHECK(otp_recv_tag(A, 0) != NULL);
    CHECK(mailbox_empty());
}

TEST(receive_as_the_body_of_if_and_loops)
{
    const otp_msg *m;
    int sum = 0;
    for (int i = 1; i <= 10; i++) CHECK_EQ(OTP_SEND(otp_self(), NUMBER, i), 0);
    for (int i = 0; i < 10; i++)
        if (i >= 0)
            otp_receive (m, 0) { case NUMBER: sum += number(m); break; }
        else
            sum = -1000;
    CHECK_EQ(sum, 55);
}

TEST(nested_receives_with_two_variables)
{
    const otp_msg *m, *n;
    int got = 0;
    queue((const int[]){ C, A, B, A, B }, 5);
    otp_receive (m, 0) {
        case A:
            CHECK_EQ(number(m), 1);
            otp_receive (n, 0) {
                case B:
                    CHECK_EQ(number(n), 2);
                    otp_receive (n, 0) {
                        case C:         got += 100; break;
                        case OTP_AFTER: got = -1; break;
                    }
                    got += 10;
                    break;
                case OTP_AFTER: got = -1; break;
            }
            got += 1;
            break;
        case OTP_AFTER: got = -1; break;
    }
    CHECK_EQ(got, 111);
    m = otp_recv(0);
    CHECK(m != NULL && number(m) == 3);
    m = otp_recv(0);
    CHECK(m != NULL && number(m) == 4);
    CHECK(mailbox_empty());
}

TEST(nested_receives_with_one_variable)
{
    const otp_msg *m;
    int got = 0;
    queue((const int[]){ A, B, A, B }, 4);
    for (int i = 0; i < 2; i++)
        otp_receive (m, 0) {
            case A:
                otp_receive (m, 0) {
                    case B:         got += number(m); break;
                    case OTP_AFTER: got = -100; break;
                }
                break;
            case OTP_AFTER: got = -100; break;
        }
    CHECK_EQ(got, 4);
    CHECK(mailbox_empty());
}

TEST(a_nested_receive_that_times_out_does_not_end_the_outer_one_twice)
{
    const otp_msg *m, *n;
    int outer = 0, inner = 0;
    queue((const int[]){ A, A }, 2);
    otp_receive (m, 0) {
        case A:
            outer++;
            otp_receive (n, 2) {
                case B:         inner = -1; break;
                case OTP_AFTER: inner++; break;
            }
            break;
        case OTP_AFTER: outer = -100; break;
    }
    CHECK_EQ(outer, 1);
    CHECK_EQ(inner, 1);
    CHECK(otp_recv(0) != NULL);
    CHECK(mailbox_empty());
}

TEST(leave_in_a_receive_that_waits)
{
    const otp_msg *m;
    int seen = 0, got = 0;
    CHECK_EQ(OTP_SEND(otp_self(), NUMBER, 1), 0);
    later(5, NUMBER);
    otp_receive (m, OTP_INFINITY) {
        case NUMBER:
            seen++;
            if (number(m) != 99) { otp_leave(m); break; }
            got = number(m);
            break;
    }
    CHECK_EQ(got, 99);
    CHECK_EQ(seen, 2);                                      /* what was left is not offered again */
    m = otp_recv(0);
    CHECK(m != NULL && number(m) == 1);
    CHECK(mailbox_empty());
}

TEST(leave_after_recv_puts_the_message_back)
{
    queue((const int[]){ A, B, C }, 3);
    const otp_msg *m = otp_recv_tag(B, 0);
    CHECK(m != NULL);
    if (m != NULL) otp_leave(m);
    for (int i = 0; i < 3; i++) {
        m = otp_recv(0);
        CHECK(m != NULL && number(m) == i);
    }
    CHECK(mailbox_empty());
}

static void nothing(void *arg) { (void)arg; }

TEST(leave_after_the_neighbours_in_the_mailbox_are_gone)
{
    /* In the mailbox: A, DOWN, B, DOWN, C. The body takes away what stands beside the message that it leaves. */
    const otp_msg *m;
    for (int which = A; which <= C; which++) {
        otp_ref r[2];
        int seen = 0;
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(OTP_SEND(otp_self(), A + i, A + i), 0);
            otp_pid p = otp_spawn_monitor(nothing, NULL, &r[i]);
            CHECK(p.id != 0);
            while (otp_is_alive(p)) otp_yield();
            otp_info info;
            do {
                CHECK_EQ(otp_process_info(otp_self(), &info), 0);
                if (info.message_queue_len < 2 * (size_t)i + 2) otp_yield();
            } while (info.message_queue_len < 2 * (size_t)i + 2);
        }
        CHECK_EQ(OTP_SEND(otp_self(), C, C), 0);
        otp_receive (m, 0) {
            case A:
            case B:
            case C:
                if (m->tag != which) { otp_leave(m); break; }
                seen++;
                CHECK(!otp_demonitor(r[0], OTP_FLUSH | OTP_INFO));
                CHECK(!otp_demonitor(r[1], OTP_FLUSH | OTP_INFO));
                otp_leave(m);
                break;
        }
        CHECK_EQ(seen, 1);
        for (int i = A; i <= C; i++) {
            m = otp_recv(0);
            CHECK(m != NULL && m->tag == i && number(m) == i);
        }
        CHECK(mailbox_empty());
    }
}

static void selective_sender(void *arg)
{
    struct job *j = arg;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(OTP_SEND(j->to, j->tag, i), 0);
        if (i % 7 == 0) otp_yield();
    }
}

TEST(selective_receive_from_many_senders_keeps_each_ones_order)
{
    for (int s = 0; s < 8; s++) {
        struct job j = { otp_self(), 0, 100 + s };
        CHECK(start(selective_sender, &j, sizeof j).id != 0);
    }
    for (int s = 7; s >= 4; s--)
        for (int i = 0; i < 50; i++) {
            const otp_msg *m = otp_recv_tag(100 + s, OTP_INFINITY);
            CHECK(m != NULL && number(m) == i);
        }
    int next[4] = { 0 };
    for (int k = 0; k < 200; k++) {
        const otp_msg *m = otp_recv_tags((const int[]){ 100, 101, 102, 103 }, 4, OTP_INFINITY);
        CHECK(m != NULL);
        if (m == NULL) return;
        int s = m->tag - 100;
        CHECK_EQ(number(m), next[s]);
        next[s]++;
    }
    CHECK(mailbox_empty());
}

/* -- the life of a message ------------------------------------------------------------------------------- */

TEST(keep_and_drop)
{
    const otp_msg *kept[50];
    for (int i = 0; i < 50; i++) CHECK_EQ(OTP_SEND(otp_self(), NUMBER, i), 0);
    for (int i = 0; i < 50; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL);
        if (m == NULL) return;
        kept[i] = otp_keep(m);
        CHECK(kept[i] != NULL);
    }
    for (int i = 0; i < 50; i++) {                          /* more traffic, which must not touch the kept ones */
        CHECK_EQ(OTP_SEND(otp_self(), A, -i), 0);
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && number(m) == -i);
    }
    for (int i = 49; i >= 0; i--) {
        CHECK(number(kept[i]) == i && kept[i]->tag == NUMBER && otp_same(kept[i]->from, otp_self()));
        if (i % 2 == 0) otp_drop(kept[i]);                  /* the others are freed with the process */
    }
}

TEST(keep_makes_an_outer_message_last_through_a_nested_receive)
{
    const otp_msg *m, *n;
    int sum = 0;
    queue((const int[]){ A, B }, 2);
    otp_receive (m, 0) {
        case A: {
            const otp_msg *outer = otp_keep(m);
            otp_receive (n, 0) { case B: sum = number(n) * 10 + number(outer); break; }
            otp_drop(outer);
            break;
        }
    }
    CHECK_EQ(sum, 10);
    CHECK(mailbox_empty());
}

TEST(drop_gives_a_received_message_back_early)
{
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(OTP_SEND(otp_self(), NUMBER, i), 0);
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && number(m) == i);
        if (m != NULL) otp_drop(m);
    }
    CHECK(mailbox_empty());
}

struct big { int a[100]; };

static void payload_too_short(void *arg)
{
    (void)arg;
    CHECK_EQ(OTP_SEND(otp_self(), NUMBER, 5), 0);
    const otp_msg *m = otp_recv(0);
    if (m == NULL) return;
    CHECK_EQ(*OTP_PAYLOAD(m, int), 5);
    CHECK_EQ(OTP_PAYLOAD(m, struct big)->a[0], 0);          /* does not return */
    CHECK_STR("OTP_PAYLOAD returned", "it must not");
}

static void payload_of_nothing(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_send(otp_self(), NUMBER, NULL, 0), 0);
    const otp_msg *m = otp_recv(0);
    if (m == NULL) return;
    (void)OTP_PAYLOAD(m, char);
    CHECK_STR("OTP_PAYLOAD returned", "it must not");
}

TEST(payload_that_is_too_short_ends_the_process)
{
    otp_ref ref;
    (void)otp_spawn_monitor(payload_too_short, NULL, &ref);
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    CHECK(m != NULL && m->tag == OTP_DOWN);
    if (m == NULL) return;
    const otp_reason *why = otp_reason_of(m);
    CHECK_EQ(why->kind, OTP_REASON_BADARG);
    CHECK(why->text != NULL && strstr(why->text, "struct big") != NULL);
    otp_reason other = ending(payload_of_nothing, NULL);
    CHECK_EQ(other.kind, OTP_REASON_BADARG);
}

TEST(payload_may_be_longer_than_asked)
{
    struct big b = { { 41 } };
    CHECK_EQ(OTP_SEND(otp_self(), NUMBER, b), 0);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && number(m) == 41);
    CHECK_EQ(m->size, sizeof b);
}

static void reason_of_plain(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_send(otp_self(), NUMBER, NULL, 0), 0);
    const otp_msg *m = otp_recv(0);
    if (m == NULL) return;
    (void)otp_reason_of(m);
    CHECK_STR("otp_reason_of returned", "it must not");
}

TEST(reason_of_an_ordinary_message_is_a_bad_argument)
{
    otp_reason why = ending(reason_of_plain, NULL);
    CHECK_EQ(why.kind, OTP_REASON_BADARG);
}

/* -- limited mailboxes ------------------------------------------------------------------------------------- */

static void limited(void *arg)
{
    /* Waits for the end of the process in arg (a signal, which needs no room in the mailbox), then counts. */
    struct { otp_pid gate, report; } *a = arg;
    (void)otp_await_exit(a->gate, OTP_INFINITY, NULL);
    int n = 0, sum = 0;
    const otp_msg *m;
    while ((m = otp_recv_tag(NUMBER, 0)) != NULL) {
        n++;
        sum = sum * 10 + number(m);
    }
    CHECK_EQ(OTP_SEND(a->report, NUMBER, n), 0);
    CHECK_EQ(OTP_SEND(a->report, NUMBER, sum), 0);
    while ((m = otp_recv(OTP_INFINITY)) != NULL && m->tag != DONE)
        CHECK_EQ(OTP_SEND(a->report, NUMBER, number(m)), 0);
}

static void gate(void *arg)
{
    (void)arg;
    (void)otp_recv_tag(GO, OTP_INFINITY);
}

static otp_pid limited_process(otp_pid g, uint32_t limit, otp_full policy)
{
    struct { otp_pid gate, report; } a = { g, otp_self() };
    otp_pid p;
    otp_spawn_opts o = { .fn = limited, .arg = &a, .arg_size = sizeof a, .mailbox_limit = limit, .mailbox_full = policy };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

static int next_number(void)
{
    const otp_msg *m = otp_recv_tag(NUMBER, OTP_INFINITY);
    CHECK(m != NULL);
    return m == NULL ? -1 : number(m);
}

TEST(a_full_mailbox_that_refuses)
{
    otp_pid g = otp_spawn(gate, NULL);
    otp_pid p = limited_process(g, 3, OTP_FULL_REFUSE);
    for (int i = 1; i <= 3; i++) CHECK_EQ(OTP_SEND(p, NUMBER, i), 0);
    CHECK_EQ(OTP_SEND(p, NUMBER, 4), OTP_EFULL);
    CHECK_EQ(OTP_SEND(p, NUMBER, 5), OTP_EFULL);
    CHECK_EQ(otp_send(g, GO, NULL, 0), 0);
    CHECK_EQ(next_number(), 3);
    CHECK_EQ(next_number(), 123);
    for (int i = 10; i < 30; i++) {                         /* there is room again */
        CHECK_EQ(OTP_SEND(p, NUMBER, i), 0);
        CHECK_EQ(next_number(), i);
    }
    CHECK_EQ(otp_send(p, DONE, NULL, 0), 0);
}

TEST(a_full_mailbox_that_drops)
{
    otp_pid g = otp_spawn(gate, NULL);
    otp_pid p = limited_process(g, 2, OTP_FULL_DROP);
    for (int i = 1; i <= 5; i++) CHECK_EQ(OTP_SEND(p, NUMBER, i), 0);
    CHECK_EQ(otp_send(g, GO, NULL, 0), 0);
    CHECK_EQ(next_number(), 2);
    CHECK_EQ(next_number(), 12);                            /* the new ones were dropped */
    CHECK_EQ(OTP_SEND(p, NUMBER, 10), 0);
    CHECK_EQ(next_number(), 10);
    CHECK_EQ(otp_send(p, DONE, NULL, 0), 0);
}

TEST(moved_and_shared_messages_obey_the_limit)
{
    otp_pid g = otp_spawn(gate, NULL);
    otp_pid p = limited_process(g, 1, OTP_FULL_REFUSE);
    CHECK_EQ(OTP_SEND(p, NUMBER, 1), 0);
    int *block = otp_alloc(sizeof *block);
    CHECK(block != NULL);
    if (block == NULL) return;
    *block = 2;
    CHECK_EQ(otp_send_move(p, NUMBER, block, sizeof *block), OTP_EFULL);    /* and the block is spent */
    otp_shared *s = otp_shared_new(&(int){ 3 }, sizeof(int));
    CHECK(s != NULL);
    CHECK_EQ(otp_send_shared(p, NUMBER, s), OTP_EFULL);
    otp_shared_drop(s);
    CHECK_EQ(otp_send(g, GO, NULL, 0), 0);
    CHECK_EQ(next_number(), 1);
    CHECK_EQ(next_number(), 1);
    CHECK_EQ(otp_send(p, DONE, NULL, 0), 0);
}

struct trapper { otp_pid gate, report; };

static void trapper(void *arg)
{
    struct trapper *a = arg;
    otp_trap_exit(true);
    CHECK_EQ(OTP_SEND(a->report, GO, 0), 0);
    otp_ref r = otp_monitor(a->gate);
    const otp_msg *m;
    int exits = 0, downs = 0, numbers = 0;
    (void)otp_await_exit(a->gate, OTP_INFINITY, NULL);
    while ((m = otp_recv(0)) != NULL) {
        if (m->tag == OTP_EXIT) exits++;
        else if (m->tag == OTP_DOWN && m->ref.id == r.id) downs++;
        else if (m->tag == NUMBER) numbers++;
    }
    /* The monitor's DOWN may still be on its way after the wait. */
    while (downs == 0 && (m = otp_recv_ref(r, OTP_INFINITY)) != NULL) downs++;
    CHECK_EQ(OTP_SEND(a->report, NUMBER, exits), 0);
    CHECK_EQ(OTP_SEND(a->report, NUMBER, downs), 0);
    CHECK_EQ(OTP_SEND(a->report, NUMBER, numbers), 0);
}

static void signals_pass(otp_full policy)
{
    otp_pid g = otp_spawn(gate, NULL), p;
    struct trapper a = { g, otp_self() };
    otp_spawn_opts o = { .fn = trapper, .arg = &a, .arg_size = sizeof a, .mailbox_limit = 1, .mailbox_full = policy };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK(otp_recv_tag(GO, OTP_INFINITY) != NULL);          /* it traps exits now */
    for (int i = 0; i < 5; i++) CHECK_EQ(OTP_SEND(p, NUMBER, i), i == 0 || policy == OTP_FULL_DROP ? 0 : OTP_EFULL);
    for (int i = 0; i < 5; i++) CHECK_EQ(otp_exit_signal(p, OTP_SHUTDOWN), 0);
    CHECK(otp_is_alive(p));                                 /* the five signals are taken in */
    CHECK_EQ(otp_send(g, GO, NULL, 0), 0);
    CHECK_EQ(next_number(), 5);
    CHECK_EQ(next_number(), 1);
    CHECK_EQ(next_number(), 1);
}

TEST(signals_are_never_dropped_from_a_full_mailbox_that_refuses) { signals_pass(OTP_FULL_REFUSE); }
TEST(signals_are_never_dropped_from_a_full_mailbox_that_drops) { signals_pass(OTP_FULL_DROP); }

TEST(a_process_with_a_full_mailbox_can_be_killed)
{
    otp_pid g = otp_spawn(gate, NULL);
    otp_pid p = limited_process(g, 1, OTP_FULL_REFUSE);
    otp_ref ref = otp_monitor(p);
    CHECK_EQ(OTP_SEND(p, NUMBER, 1), 0);
    CHECK_EQ(OTP_SEND(p, NUMBER, 2), OTP_EFULL);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    CHECK(m != NULL && otp_reason_of(m)->kind == OTP_REASON_KILLED);
    CHECK_EQ(otp_send(g, GO, NULL, 0), 0);
}

static void caller_with_full_mailbox(void *arg)
{
    otp_pid *a = arg;
    CHECK_EQ(OTP_SEND(otp_self(), NUMBER, 1), 0);
    CHECK_EQ(OTP_SEND(otp_self(), NUMBER, 2), OTP_EFULL);
    int reply = 0;
    CHECK_EQ(otp_try_call(*a, A, &(int){ 77 }, sizeof(int), &reply, sizeof reply, OTP_INFINITY), (int)sizeof reply);
    CHECK_EQ(reply, 77);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && number(m) == 1);
    CHECK(mailbox_empty());
}

TEST(replies_come_through_a_full_mailbox)
{
    otp_pid server = otp_spawn_link(replier, NULL), p;
    otp_ref ref;
    otp_spawn_opts o = { .fn = caller_with_full_mailbox, .arg = &server, .arg_size = sizeof server,
                         .monitor = &ref, .mailbox_limit = 1 };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    CHECK(m != NULL && otp_reason_of(m)->kind == OTP_REASON_NORMAL);
    CHECK_EQ(otp_send(server, DONE, NULL, 0), 0);
}
