/* Seeing inside: rules 81 to 87, relations, the list, the dump, deadlocks on request, trace hooks, the log. */
#include "test.h"

#include <fcntl.h>

enum { A = 1, B, GO, DONE };

static otp_info info_of(otp_pid p)
{
    otp_info info;
    memset(&info, 0xee, sizeof info);
    CHECK_EQ(otp_process_info(p, &info), 0);
    return info;
}

static void stop(otp_pid p, otp_ref ref)
{
    CHECK_EQ(otp_send(p, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

/* -- rules --------------------------------------------------------------------------------------------- */

static void nothing(void *arg) { (void)arg; }

TEST(rule_81_a_dead_process_has_no_info)
{
    otp_ref ref;
    otp_info info;
    otp_pid p = otp_spawn_monitor(nothing, NULL, &ref), out[4];
    (void)test_down(ref);
    CHECK_EQ(otp_process_info(p, &info), OTP_ENOPROC);
    CHECK_EQ(otp_process_info((otp_pid){ 0 }, &info), OTP_ENOPROC);
    CHECK_EQ(otp_process_info((otp_pid){ ~(uint64_t)0 }, &info), OTP_ENOPROC);
    CHECK_EQ(otp_process_relations(p, OTP_LINKS, out, 4), OTP_ENOPROC);
    CHECK_EQ(otp_process_relations(p, OTP_MONITORS, out, 4), OTP_ENOPROC);
    CHECK_EQ(otp_process_relations(p, OTP_MONITORED_BY, NULL, 0), OTP_ENOPROC);
}

static void shaped(void *arg)
{
    (void)arg;
    otp_trap_exit(true);
    (void)otp_set_priority(OTP_PRIO_LOW);
    char *block = otp_alloc(50000);
    CHECK(block != NULL);
    memset(block, 1, 50000);
    CHECK_EQ(otp_register("shaped", otp_self()), 0);
    test_idle_ready(NULL);
}

TEST(rule_82_what_a_process_is)
{
    otp_ref ref;
    otp_pid p = test_start(shaped, NULL, &ref);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    otp_info i = info_of(p);
    CHECK(otp_same(i.pid, p));
    CHECK_STR(i.name, "shaped");
    CHECK(strstr(i.spawned, "test") != NULL && strchr(i.spawned, ':') != NULL);
    CHECK(otp_same(i.parent, otp_self()));
    CHECK_EQ(i.state, OTP_STATE_WAITING);
    CHECK_EQ(i.waits, OTP_WAITS_MESSAGE);
    CHECK_EQ(i.priority, OTP_PRIO_LOW);
    CHECK(i.trap_exit);
    CHECK(!i.handler);
    CHECK(i.heap_bytes >= 50000 && i.heap_bytes < 200000);
    CHECK(i.stack_bytes > 0);
    CHECK(i.memory >= i.heap_bytes + i.stack_bytes);
    CHECK_EQ(i.message_queue_len, 0);
    CHECK_EQ(i.links, 0);
    CHECK_EQ(i.monitors, 0);
    CHECK_EQ(i.monitored_by, 1);
    CHECK(i.reductions > 0);
    stop(p, ref);
}

TEST(rule_82_a_new_process_has_the_defaults)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    otp_info i = info_of(p);
    CHECK_STR(i.name, "");
    CHECK_EQ(i.priority, OTP_PRIO_NORMAL);
    CHECK(!i.trap_exit);
    CHECK_EQ(i.heap_bytes, 0);
    CHECK_EQ(i.links, 0);
    CHECK_EQ(i.calling.id, 0);
    stop(p, ref);
}

static otp_pid spawned_from_here(otp_ref *ref) { return otp_spawn_monitor(test_idle_ready, NULL, ref); }

TEST(rule_82_the_place_of_the_spawn)
{
    otp_ref ref;
    otp_pid p = spawned_from_here(&ref);
    test_ready(p);
    otp_info i = info_of(p);
    CHECK(strstr(i.spawned, "test_idle_ready") != NULL);
    CHECK(strstr(i.spawned, "test_info.c:") != NULL);
    stop(p, ref);
}

TEST(rule_82_the_queue_counts_what_the_caller_has_sent)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    size_t before = info_of(p).memory;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(otp_send(p, A, "0123456789", 10), 0);
        CHECK_EQ(info_of(p).message_queue_len, i + 1);      /* rule 52: 50 of 50 */
    }
    char big[5000] = { 0 };
    CHECK_EQ(otp_send(p, A, big, sizeof big), 0);
    CHECK(info_of(p).memory >= before + sizeof big);
    stop(p, ref);
}

TEST(rule_82_the_own_queue)
{
    for (int i = 0; i < 10; i++) CHECK_EQ(OTP_SEND(otp_self(), A, i), 0);
    CHECK_EQ(info_of(otp_self()).message_queue_len, 10);
    for (int i = 0; i < 10; i++) CHECK(otp_recv(0) != NULL);
    CHECK_EQ(info_of(otp_self()).message_queue_len, 0);
}

TEST(rule_84_links_monitors_monitored_by)
{
    otp_ref ref[3], extra[2];
    otp_pid p[3], out[8];
    otp_trap_exit(true);
    for (int i = 0; i < 3; i++) p[i] = test_start(test_idle_ready, NULL, &ref[i]);
    CHECK_EQ(otp_link(p[0]), 0);
    CHECK_EQ(otp_link(p[2]), 0);
    CHECK_EQ(otp_link(p[2]), 0);
    extra[0] = otp_monitor(p[1]);
    extra[1] = otp_monitor(p[1]);

    int64_t n = otp_process_relations(otp_self(), OTP_LINKS, out, 8);
    CHECK_EQ(n, 2);
    CHECK(otp_same(out[0], p[0]) || otp_same(out[1], p[0]));
    CHECK(otp_same(out[0], p[2]) || otp_same(out[1], p[2]));
    CHECK_EQ(info_of(otp_self()).links, 2);
    CHECK_EQ(info_of(otp_self()).monitors, 5);
    CHECK_EQ(info_of(otp_self()).monitored_by, 0);

    n = otp_process_relations(otp_self(), OTP_MONITORS, out, 8);
    CHECK_EQ(n, 5);
    int found[3] = { 0 };
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 3; k++)
            if (otp_same(out[i], p[k])) found[k]++;
    CHECK_EQ(found[0], 1);
    CHECK_EQ(found[1], 3);
    CHECK_EQ(found[2], 1);

    n = otp_process_relations(p[1], OTP_MONITORED_BY, out, 8);     /* once per monitor */
    CHECK_EQ(n, 3);
    for (int i = 0; i < 3; i++) CHECK(otp_same(out[i], otp_self()));
    CHECK_EQ(info_of(p[1]).monitored_by, 3);
    CHECK_EQ(otp_process_relations(p[0], OTP_LINKS, out, 8), 1);
    CHECK(otp_same(out[0], otp_self()));
    CHECK_EQ(otp_process_relations(p[1], OTP_LINKS, out, 8), 0);

    out[2] = (otp_pid){ 7 };                                /* no more than max are copied */
    CHECK_EQ(otp_process_relations(otp_self(), OTP_MONITORS, out, 2), 5);
    CHECK_EQ(out[2].id, 7);
    CHECK_EQ(otp_process_relations(otp_self(), OTP_MONITORS, NULL, 0), 5);

    CHECK(otp_demonitor(extra[0], 0));
    CHECK_EQ(info_of(p[1]).monitored_by, 2);
    CHECK_EQ(otp_unlink(p[2]), 0);
    CHECK_EQ(info_of(p[2]).links, 0);
    CHECK_EQ(info_of(otp_self()).links, 1);
    for (int i = 0; i < 3; i++) stop(p[i], ref[i]);
    CHECK(otp_recv_ref(extra[1], TEST_WAIT) != NULL);
    CHECK(otp_recv_tag(OTP_EXIT, TEST_WAIT) != NULL);
    CHECK_EQ(info_of(otp_self()).links, 0);
    CHECK_EQ(info_of(otp_self()).monitors, 0);
}

static void waits_for_an_end(void *arg)
{
    const otp_pid *to = arg;
    (void)otp_await_exit(*to, OTP_INFINITY, NULL);
}

static void waits_for_a_call(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    CHECK_EQ(otp_try_call(to, A, NULL, 0, NULL, 0, OTP_INFINITY), 0);
}

static void sleeps(void *arg)
{
    (void)arg;
    otp_sleep(OTP_INFINITY);
}

static void yields(void *arg)
{
    (void)arg;
    while (otp_recv_tag(TEST_STOP, 0) == NULL) otp_yield();
}

TEST(rule_85_states)
{
    CHECK_EQ(info_of(otp_self()).state, OTP_STATE_RUNNING);
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(test_idle, NULL, &ref);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    stop(p, ref);

    p = otp_spawn_monitor(sleeps, NULL, &ref);
    test_until_waiting(p, OTP_WAITS_SLEEP);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    (void)test_down(ref);

    otp_ref server_ref;
    otp_pid server = otp_spawn_monitor(test_idle, NULL, &server_ref);
    otp_spawn_opts o = { .fn = waits_for_a_call, .arg = &server, .arg_size = sizeof server, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    test_until_waiting(p, OTP_WAITS_CALL);
    CHECK(otp_same(info_of(p).calling, server));
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    (void)test_down(ref);
    o.fn = waits_for_an_end;
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    test_until_waiting(p, OTP_WAITS_CALL);
    CHECK(otp_same(info_of(p).calling, server));
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    (void)test_down(ref);
    stop(server, server_ref);

    p = otp_spawn_monitor(yields, NULL, &ref);
    for (int i = 0; i < 20; i++) {
        otp_info now = info_of(p);
        CHECK(now.state == OTP_STATE_RUNNING || now.state == OTP_STATE_RUNNABLE);
        CHECK_EQ(now.waits, OTP_WAITS_NOTHING);
    }
    CHECK_EQ(otp_suspend_process(p), 0);
    CHECK_EQ(info_of(p).state, OTP_STATE_SUSPENDED);
    CHECK_EQ(otp_resume_process(p), 0);
    stop(p, ref);
}

static void reads_fd(void *arg)
{
    int fd = *(int *)arg;
    char c;
    CHECK_EQ(otp_read(fd, &c, 1, OTP_INFINITY), 1);
}

static atomic_int release_blocking;
static void block_here(void *arg)
{
    (void)arg;
    while (atomic_load(&release_blocking) == 0) (void)usleep(1000);
}
static void blocks(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_blocking(block_here, NULL), 0);
}

TEST_REAL(rule_85_states_of_outside_work)
{
    int fds[2];
    otp_ref ref;
    otp_pid p;
    CHECK_EQ(pipe(fds), 0);
    otp_spawn_opts o = { .fn = reads_fd, .arg = &fds[0], .arg_size = sizeof fds[0], .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    test_until_waiting(p, OTP_WAITS_FD);
    CHECK_EQ(info_of(p).fd, fds[0]);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);

    atomic_store(&release_blocking, 0);
    p = otp_spawn_monitor(blocks, NULL, &ref);
    test_until_waiting(p, OTP_WAITS_BLOCKING);
    atomic_store(&release_blocking, 1);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
}

TEST(rule_86_reductions_never_decrease_and_grow_with_work)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(yields, NULL, &ref);
    uint64_t last = 0, mine = info_of(otp_self()).reductions, first = info_of(p).reductions;
    for (int i = 0; i < 30; i++) {
        uint64_t now = info_of(p).reductions, own = info_of(otp_self()).reductions;
        CHECK(now >= last);
        CHECK(own >= mine);
        last = now;
        mine = own;
        otp_yield();
    }
    CHECK(last > first);
    uint64_t before = info_of(otp_self()).reductions;
    otp_bump_reductions(1000);
    CHECK(info_of(otp_self()).reductions >= before + 1000);
    otp_bump_reductions(100000);                            /* more than a turn */
    CHECK(info_of(otp_self()).reductions >= before + 101000);
    stop(p, ref);
}

TEST(rule_87_the_list_has_every_living_process_once)
{
    enum { N = 40 };
    otp_pid p[N], out[N + 10];
    otp_ref ref[N];
    CHECK_EQ(otp_processes(NULL, 0), 1);
    for (int i = 0; i < N; i++) p[i] = otp_spawn_monitor(test_idle, NULL, &ref[i]);
    CHECK_EQ(otp_processes(NULL, 0), N + 1);
    for (int i = 0; i < N; i += 2) {
        CHECK_EQ(otp_exit_signal(p[i], OTP_KILL), 0);
        (void)test_down(ref[i]);
    }
    size_t n = otp_processes(out, N + 10);
    CHECK_EQ(n, N / 2 + 1);
    for (int i = -1; i < N; i++) {
        int seen = 0;
        otp_pid who = i < 0 ? otp_self() : p[i];
        for (size_t k = 0; k < n; k++)
            if (otp_same(out[k], who)) seen++;
        CHECK_EQ(seen, i < 0 || i % 2 != 0 ? 1 : 0);
    }
    out[3] = (otp_pid){ 9 };
    CHECK_EQ(otp_processes(out, 3), n);
    CHECK_EQ(out[3].id, 9);
    for (int i = 1; i < N; i += 2) stop(p[i], ref[i]);
    CHECK_EQ(otp_processes(NULL, 0), 1);
}

/* -- the dump -------------------------------------------------------------------------------------------- */

static bool dumped(const char *what)
{
    /* Into a pipe large enough for a few lines; read by the same process. */
    static char text[65536];
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0);
    otp_dump(fds[1]);
    CHECK_EQ(close(fds[1]), 0);
    size_t size = 0;
    ssize_t r;
    while ((r = read(fds[0], text + size, sizeof text - 1 - size)) > 0) size += (size_t)r;
    CHECK_EQ(close(fds[0]), 0);
    text[size] = 0;
    return strstr(text, what) != NULL;
}

TEST_REAL(the_dump_names_every_process)
{
    otp_ref ref[2];
    otp_pid p = spawned_from_here(&ref[0]);
    otp_pid q = test_start(shaped, NULL, &ref[1]);
    test_ready(p);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    test_until_waiting(q, OTP_WAITS_MESSAGE);
    CHECK(dumped("shaped"));
    CHECK(dumped("test_idle_ready"));
    CHECK(dumped("test_info.c"));
    stop(p, ref[0]);
    stop(q, ref[1]);
    CHECK(!dumped("test_idle_ready"));
}

TEST_REAL(a_dump_to_a_bad_fd_is_harmless) { otp_dump(-1); }

static _Atomic long dump_bytes;
static int dump_to[2];
static void *reads_dump(void *arg)
{
    (void)arg;
    char buffer[4096];
    ssize_t r;
    while ((r = read(dump_to[0], buffer, sizeof buffer)) > 0) atomic_fetch_add(&dump_bytes, (long)r);
    return NULL;
}

static void spawns_short(void *arg)
{
    (void)arg;
    while (otp_recv_tag(TEST_STOP, 0) == NULL) {
        CHECK(otp_spawn(nothing, NULL).id != 0);
        otp_yield();
    }
}

TEST_REAL(a_dump_while_processes_come_and_go)
{
    otp_ref ref[3];
    otp_pid p[3];
    pthread_t thread;
    CHECK_EQ(pipe(dump_to), 0);
    CHECK_EQ(pthread_create(&thread, NULL, reads_dump, NULL), 0);
    for (int i = 0; i < 3; i++) p[i] = otp_spawn_monitor(spawns_short, NULL, &ref[i]);
    for (int i = 0; i < 50; i++) {
        otp_dump(dump_to[1]);
        otp_yield();
    }
    for (int i = 0; i < 3; i++) stop(p[i], ref[i]);
    CHECK_EQ(close(dump_to[1]), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(atomic_load(&dump_bytes) > 0);
    CHECK_EQ(close(dump_to[0]), 0);
}

/* -- deadlocks on request --------------------------------------------------------------------------------- */

static int deadlock_count(int wanted)
{
    /* A process may be on its way to its wait still. */
    int n = -1;
    for (int i = 0; i < 3000 && n != wanted; i++) {
        n = otp_check_deadlock();
        if (n != wanted) otp_yield();
    }
    return n;
}

static void calls_partner(void *arg)
{
    otp_pid *partner = arg;
    const otp_msg *m = otp_recv_tag(GO, OTP_INFINITY);
    if (m == NULL) return;
    *partner = *OTP_PAYLOAD(m, otp_pid);
    (void)otp_try_call(*partner, A, NULL, 0, NULL, 0, OTP_INFINITY);
}

TEST_REAL(a_deadlock_is_found_on_request)
{
    otp_ref ref[2];
    otp_pid p[2], none = { 0 };
    for (int i = 0; i < 2; i++) {
        otp_spawn_opts o = { .fn = calls_partner, .arg = &none, .arg_size = sizeof none, .monitor = &ref[i] };
        CHECK_EQ(otp_spawn_opt(&o, &p[i]), 0);
    }
    for (int i = 0; i < 2; i++) CHECK_EQ(OTP_SEND(p[i], GO, p[1 - i]), 0);
    for (int i = 0; i < 2; i++) test_until_waiting(p[i], OTP_WAITS_CALL);
    CHECK_EQ(deadlock_count(2), 2);
    CHECK(test_log_has("test_info.c:"));
    CHECK(test_log_has("a call"));
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(otp_exit_signal(p[i], OTP_KILL), 0);
        (void)test_down(ref[i]);
    }
}

TEST_REAL(something_on_its_way_is_no_deadlock)
{
    otp_ref ref;
    otp_pid p = test_start(test_idle_ready, NULL, &ref);
    test_until_waiting(p, OTP_WAITS_MESSAGE);
    CHECK_EQ(deadlock_count(1), 1);
    otp_ref t = otp_send_after(100000, p, A, NULL, 0);
    CHECK_EQ(otp_check_deadlock(), 0);                      /* a timer will wake it */
    CHECK(otp_cancel_timer(t) > 0);
    CHECK_EQ(deadlock_count(1), 1);
    otp_ref other;
    otp_pid q = otp_spawn_monitor(yields, NULL, &other);
    CHECK_EQ(otp_check_deadlock(), 0);                      /* somebody runs */
    stop(q, other);
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    otp_spawn_opts o = { .fn = reads_fd, .arg = &fds[0], .arg_size = sizeof fds[0], .monitor = &other };
    CHECK_EQ(otp_spawn_opt(&o, &q), 0);
    test_until_waiting(q, OTP_WAITS_FD);
    CHECK_EQ(otp_check_deadlock(), 0);                      /* an fd may become ready */
    CHECK_EQ(write(fds[1], "x", 1), 1);
    (void)test_down(other);
    CHECK_EQ(otp_close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
    stop(p, ref);
}

/* -- trace hooks ---------------------------------------------------------------------------------------------- */

static atomic_int spawned, ended, sent, received, ins, outs, wrong;
static _Atomic uint64_t last_spawned, last_ended;

static void on_spawn(otp_pid parent, otp_pid child, const char *place, void *arg)
{
    if (arg != (void *)&spawned || parent.id == 0 || place == NULL || strstr(place, "test_info.c") == NULL)
        atomic_fetch_add(&wrong, 1);
    atomic_store(&last_spawned, child.id);
    atomic_fetch_add(&spawned, 1);
}
static void on_exit_hook(otp_pid pid, const otp_reason *why, void *arg)
{
    if (arg != (void *)&spawned || why == NULL || why->kind != OTP_REASON_USER || why->code != 3) atomic_fetch_add(&wrong, 1);
    atomic_store(&last_ended, pid.id);
    atomic_fetch_add(&ended, 1);
}
static void on_send(otp_pid from, otp_pid to, int tag, size_t size, void *arg)
{
    if (tag != B) return;
    if (arg != (void *)&spawned || from.id == 0 || to.id == 0 || size != sizeof(int)) atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&sent, 1);
}
static void on_receive(otp_pid pid, otp_pid from, int tag, size_t size, void *arg)
{
    if (tag != B) return;
    if (arg != (void *)&spawned || from.id == 0 || pid.id == 0 || size != sizeof(int)) atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&received, 1);
}
static void on_in(otp_pid pid, int scheduler, void *arg)
{
    if (arg != (void *)&spawned || pid.id == 0 || scheduler < 0) atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&ins, 1);
}
static void on_out(otp_pid pid, int scheduler, void *arg)
{
    if (arg != (void *)&spawned || pid.id == 0 || scheduler < 0) atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&outs, 1);
}

static const otp_trace_hooks hooks = {
    .spawn = on_spawn, .exit = on_exit_hook, .send = on_send, .receive = on_receive, .in = on_in, .out = on_out, .arg = &spawned,
};

static void traced(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        const otp_msg *m = otp_recv_tag(B, TEST_WAIT);
        CHECK(m != NULL);
        CHECK_EQ(OTP_SEND(m->from, A, i), 0);
    }
    otp_exit(OTP_USER(3, "traced"));
}

static otp_pid last_traced;
static void traced_round(void)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(traced, NULL, &ref);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(OTP_SEND(p, B, i), 0);
        CHECK(otp_recv_tag(A, TEST_WAIT) != NULL);
    }
    CHECK_EQ(test_down(ref)->code, 3);
    last_traced = p;
}

TEST(trace_hooks_see_what_happens)
{
    atomic_int *all[] = { &spawned, &ended, &sent, &received, &ins, &outs, &wrong };
    for (size_t i = 0; i < 7; i++) atomic_store(all[i], 0);
    traced_round();
    for (size_t i = 0; i < 7; i++) CHECK_EQ(atomic_load(all[i]), 0);
    otp_trace(&hooks);
    traced_round();
    otp_trace(NULL);
    CHECK_EQ(atomic_load(&spawned), 1);
    CHECK_EQ(atomic_load(&ended), 1);
    CHECK(atomic_load(&last_spawned) == last_traced.id);
    CHECK(atomic_load(&last_ended) == last_traced.id);
    CHECK_EQ(atomic_load(&sent), 10);
    CHECK_EQ(atomic_load(&received), 10);
    CHECK(atomic_load(&ins) > 0);
    CHECK(atomic_load(&outs) > 0);
    CHECK_EQ(atomic_load(&wrong), 0);
    traced_round();
    CHECK_EQ(atomic_load(&spawned), 1);
    CHECK_EQ(atomic_load(&received), 10);
}

TEST(trace_hooks_may_be_missing)
{
    static const otp_trace_hooks none = { .arg = NULL };
    otp_trace(&none);
    traced_round();
    otp_trace(NULL);
}

/* -- small things ----------------------------------------------------------------------------------------------- */

TEST(errors_have_texts)
{
    for (int code = -17; code <= 0; code++) {
        const char *text = otp_strerror(code);
        CHECK(text != NULL && text[0] != 0);
    }
    CHECK_STR(otp_strerror(OTP_ETIMEOUT), "timeout");
    CHECK(otp_strerror(-12345) != NULL);
    CHECK(otp_strerror(7) != NULL);
}

TEST(reasons_have_texts)
{
    char text[200];
    for (int kind = 0; kind < OTP_REASON_COUNT; kind++) {
        otp_reason r = otp_reason_make((otp_reason_kind)kind, 0, NULL);
        CHECK(otp_format_reason(&r, text, sizeof text) > 0);
        CHECK(text[0] != 0);
    }
    otp_reason crash = otp_reason_make(OTP_REASON_CRASH, SIGSEGV, NULL);
    crash.address = 16;
    CHECK(otp_format_reason(&crash, text, sizeof text) > 0);
    CHECK_STR(text, "crash: SIGSEGV at 0x10");
    otp_reason user = OTP_USER(5, "the text");
    int n = otp_format_reason(&user, text, sizeof text);
    CHECK(strstr(text, "the text") != NULL && strchr(text, '5') != NULL);
    CHECK_EQ(n, strlen(text));
    char small[4];
    CHECK_EQ(otp_format_reason(&user, small, sizeof small), n);     /* as snprintf */
    CHECK_EQ(small[3], 0);
    CHECK_EQ(otp_format_reason(&user, NULL, 0), n);
}

TEST(the_log_has_levels)
{
    otp_log(OTP_LOG_ERROR, "an error %d", 1);
    otp_log(OTP_LOG_NOTICE, "a notice %s", "two");
    otp_log(OTP_LOG_DEBUG, "not %s", "this one");
    CHECK(test_log_has("error: an error 1"));
    CHECK(test_log_has("notice: a notice two"));
    CHECK(!test_log_has("this one"));
}

TEST_WITH(the_log_level_can_be_lower, .opts.log_level = OTP_LOG_DEBUG)
{
    otp_log(OTP_LOG_DEBUG, "a small thing");
    CHECK(test_log_has("debug: a small thing"));
}

TEST_WITH(the_log_can_be_off, .opts.log_level = OTP_LOG_NONE)
{
    otp_log(OTP_LOG_ERROR, "nobody hears this");
    CHECK(!test_log_has("nobody"));
}

static void touches_stack(void *arg)
{
    size_t *out = *(size_t **)arg;
    out[0] = otp_stack_high_water();
    volatile char deep[40000];
    for (size_t i = 0; i < sizeof deep; i += 512) deep[i] = 1;
    out[1] = otp_stack_high_water() + (size_t)(deep[0] - 1);
}

TEST(the_high_water_mark_of_a_stack)
{
    size_t out[2] = { 0, 0 }, *at = out;
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .fn = touches_stack, .arg = &at, .arg_size = sizeof at, .monitor = &ref };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_NORMAL);
    CHECK(out[0] > 0);
    CHECK(out[1] >= 40000 && out[1] <= 256 * 1024);
}

TEST(random_numbers_differ)
{
    uint64_t a = otp_random(), b = otp_random(), c = otp_random();
    CHECK(a != b && b != c);
    CHECK(otp_schedulers() >= 1);
}
