/* Timelines: what otp_trace.h writes is JSON, complete, in order and true; the rings are bounded; recording can be
   switched on and off and read while everything runs; a seed gives the same file. */

#define OTP_TRACE_NAMES 64
#include "test.h"

#include "otp_trace.h"
#include "tools/json.h"

#include <sched.h>
#include <sys/wait.h>

enum { A = 1, B, GO };

/* -- reading a timeline --------------------------------------------------------------------------------------- */

static char file_name[64];

static const char *temporary(void)
{
    if (!file_name[0]) {
        (void)snprintf(file_name, sizeof file_name, "/tmp/otp_trace_%ld.json", (long)getpid());
    }
    return file_name;
}

static json *parsed(const char *path)
{
    size_t size = 0;
    const char *error = NULL;
    char *text = json_file(path, &size);
    CHECK(text != NULL);
    json *j = json_parse(text, size, &error);
    if (!j) test_line("# %s: %s", path, error);
    CHECK(j != NULL);
    return j;
}

static bool is(const json *e, const char *ph, const char *cat)
{
    return strcmp(json_text(e, "ph"), ph) == 0 && (!cat || strcmp(json_text(e, "cat"), cat) == 0);
}

static long count(const json *j, const char *ph, const char *cat, const char *name)
{
    long n = 0;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next)
        n += is(e, ph, cat) && (!name || strcmp(json_text(e, "name"), name) == 0);
    return n;
}

static int by_track(const void *x, const void *y)
{
    const json *a = *(json *const *)x, *b = *(json *const *)y;
    double ta = json_number(a, "tid"), tb = json_number(b, "tid");
    if (ta != tb) return ta < tb ? -1 : 1;
    ta = json_number(a, "ts");
    tb = json_number(b, "ts");
    if (ta != tb) return ta < tb ? -1 : 1;
    return json_number(a, "dur") < json_number(b, "dur") ? -1 : 1;
}

/* Times are printed with three digits: what is less than half of the last one is rounding. */
#define NEARLY 0.0004

/* What must hold in every timeline. Returns how many arrows it has. */
static long check_timeline(const json *j)
{
    CHECK(j->kind == JSON_OBJECT && json_get(j, "traceEvents") && json_get(j, "traceEvents")->kind == JSON_ARRAY);
    size_t n = 0, slices = 0, starts = 0;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next) n++;
    json **slice = calloc(n + 1, sizeof *slice), **start = calloc(n + 2, sizeof *start);
    bool tracks[10000] = { false };
    CHECK(slice && start);
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next) {
        int tid = (int)json_number(e, "tid");
        CHECK(json_number(e, "pid") == 1 && tid >= 0 && tid < 10000);
        if (is(e, "M", NULL)) {
            if (strcmp(json_text(e, "name"), "thread_name") == 0) tracks[tid] = true;
            continue;
        }
        CHECK(json_number(e, "ts") >= 0);
        CHECK(tracks[tid]);             /* its name stands before */
        CHECK(json_text(e, "name")[0]);
        if (is(e, "X", NULL)) {
            CHECK(json_number(e, "dur") >= 0);
            slice[slices++] = e;
        } else if (is(e, "s", NULL)) {
            double id = json_number(e, "id");
            CHECK(id >= 1 && id <= (double)n && !start[(size_t)id]);
            start[(size_t)id] = e;
            starts++;
        } else if (!is(e, "f", NULL)) {
            CHECK(is(e, "i", NULL) && strcmp(json_text(e, "s"), "t") == 0);
        }
    }
    qsort(slice, slices, sizeof *slice, by_track);
    for (size_t i = 1; i < slices; i++) {       /* no two on a track overlap */
        if (json_number(slice[i - 1], "tid") != json_number(slice[i], "tid")) continue;
        CHECK(json_number(slice[i - 1], "ts") + json_number(slice[i - 1], "dur") <= json_number(slice[i], "ts") + NEARLY);
    }
    size_t ends = 0;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next) {
        if (!is(e, "f", NULL)) continue;
        json *s = start[(size_t)json_number(e, "id")];
        CHECK(s && json_number(s, "ts") <= json_number(e, "ts") + NEARLY);
        CHECK_STR(json_text(s, "cat"), json_text(e, "cat"));
        start[(size_t)json_number(e, "id")] = NULL;
        ends++;
    }
    CHECK_EQ(starts, ends);
    /* each end of an arrow lies in a slice of its track */
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next) {
        if (!is(e, "s", NULL) && !is(e, "f", NULL)) continue;
        bool inside = false;
        size_t low = 0, high = slices;
        while (low < high) {
            size_t mid = (low + high) / 2;
            bool before = json_number(slice[mid], "tid") < json_number(e, "tid") ||
                          (json_number(slice[mid], "tid") == json_number(e, "tid") &&
                           json_number(slice[mid], "ts") <= json_number(e, "ts") + NEARLY);
            if (before) low = mid + 1;
            else high = mid;
        }
        for (size_t i = low; i > 0 && i + 3 > low && !inside; i--)      /* slices without a length share a begin */
            inside = json_number(slice[i - 1], "tid") == json_number(e, "tid") &&
                     json_number(slice[i - 1], "ts") + json_number(slice[i - 1], "dur") + NEARLY >= json_number(e, "ts");
        CHECK(inside);
    }
    free(slice);
    free(start);
    return (long)starts;
}

static json *written(otp_trace_summary *sum)
{
    CHECK_EQ(otp_trace_write(temporary(), sum), 0);
    json *j = parsed(temporary());
    CHECK(unlink(temporary()) == 0);
    CHECK_EQ(check_timeline(j), count(j, "s", NULL, NULL));
    CHECK_EQ(sum->arrows, count(j, "s", "message", NULL));
    CHECK_EQ(sum->slices, count(j, "X", "process", NULL));
    CHECK_EQ(sum->spawns, count(j, "i", "process", "spawn"));
    return j;
}

static void recording(uint32_t events)
{
    (void)otp_trace_stop();     /* a test before this one may have failed */
    CHECK_EQ(otp_trace_start(&(otp_trace_opts){ .ring_events = events }), 0);
    otp_sleep(1);               /* a turn that has begun before is not seen */
}

/* -- what is recorded ------------------------------------------------------------------------------------------- */

static void echo(void *arg)
{
    (void)arg;
    for (;;) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        if (m->tag == TEST_STOP) return;
        CHECK_EQ(otp_send(m->from, m->tag + 1, m->data, m->size), 0);
    }
}

static void end(otp_pid pid)
{
    CHECK_EQ(otp_send(pid, TEST_STOP, NULL, 0), 0);
    CHECK_EQ(otp_await_exit(pid, TEST_WAIT, NULL), 0);
}

TEST(messages_have_arrows)
{
    recording(0);
    otp_pid p;
    CHECK_EQ(otp_spawn_opt(&(otp_spawn_opts){ .fn = echo, .name = "the echo" }, &p), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(OTP_SEND(p, 2 * A, i), 0);
        CHECK(otp_recv_tag(2 * A + 1, TEST_WAIT) != NULL);
    }
    otp_trace_summary sum;
    json *j = written(&sum);
    CHECK_EQ(sum.sends, 40);
    CHECK_EQ(sum.arrows, 40);
    CHECK_EQ(sum.spawns, 1);
    CHECK_EQ(sum.dropped, 0);
    CHECK(count(j, "X", "process", "the echo") >= 1);
    /* the ends of an arrow are where they should be */
    long there = 0;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next) {
        json *args = json_get(e, "args");
        if (!is(e, "s", "message") || json_number(args, "tag") != 2 * A) continue;
        CHECK(json_number(args, "size") == sizeof(int));
        CHECK(strstr(json_text(args, "to"), "the echo") != NULL);
        there++;
    }
    CHECK_EQ(there, 20);
    end(p);
    CHECK_EQ(otp_trace_stop(), 0);
}

static otp_next count_message(void *state, const otp_msg *m)
{
    int *n = state;
    if (m->tag == TEST_STOP) return otp_stop_with(OTP_NORMAL);
    ++*n;
    return OTP_REPLY(otp_from_of(m), *n) == 0 ? OTP_OK : otp_stop_with(OTP_ERROR(OTP_ENOMEM));
}

static const otp_handler counter = { .name = "a \"counter\"", .state_size = sizeof(int), .message = count_message };

/* A call is two arrows; a handler goes by the name of its handler. Names are any bytes, the file is UTF-8. */
TEST(calls_handlers_and_names)
{
    recording(0);
    otp_pid h, bytes;
    int n = 0;
    CHECK_EQ(otp_spawn_opt(&(otp_spawn_opts){ .handler = &counter }, &h), 0);
    for (int i = 1; i <= 5; i++) {
        CHECK_EQ(otp_call(h, A, NULL, 0, &n, sizeof n, TEST_WAIT), sizeof n);
        CHECK_EQ(n, i);
    }
    CHECK_EQ(otp_spawn_opt(&(otp_spawn_opts){ .fn = echo, .name = "a\xff\xc3\xa9\x01\\" }, &bytes), 0);
    CHECK_EQ(OTP_SEND(bytes, A, n), 0);
    CHECK(otp_recv_tag(A + 1, TEST_WAIT) != NULL);
    end(bytes);
    end(h);
    otp_trace_summary sum;
    json *j = written(&sum);
    CHECK(count(j, "X", "process", "a \"counter\"") >= 1);
    CHECK(count(j, "X", "process", "a\xef\xbf\xbd\xc3\xa9\x01\\") >= 1);
    CHECK(sum.arrows >= 12);
    CHECK_EQ(sum.exits, 2);
    CHECK_EQ(count(j, "i", "process", "exit: normal"), 2);
    CHECK_EQ(otp_trace_stop(), 0);
}

/* A selective receive looks at messages and leaves them: the arrow ends where the message was kept. */
TEST(left_messages_have_one_arrow)
{
    recording(0);
    otp_pid me = otp_self();
    for (int i = 0; i < 10; i++) CHECK_EQ(OTP_SEND(me, B, i), 0);
    CHECK_EQ(OTP_SEND(me, A, 0), 0);
    const otp_msg *m;
    otp_receive (m, TEST_WAIT) {
        case A: break;
        case OTP_AFTER: FAIL("no message"); break;
    }
    otp_sleep(3);
    for (int i = 0; i < 10; i++) CHECK(otp_recv_tag(B, 0) != NULL);
    otp_trace_summary sum;
    json *j = written(&sum);
    CHECK_EQ(sum.arrows, 11);
    double first = 0;
    long late = 0;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next)
        if (is(e, "s", "message") && first == 0) first = json_number(e, "ts");
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next)
        late += is(e, "f", "message") && json_number(e, "ts") - first >= 2000;
    CHECK_EQ(late, 10);
    CHECK(sum.wakes >= 2);      /* the sleeps */
    CHECK_EQ(otp_trace_stop(), 0);
}

static void dies(void *arg) { (void)arg; }

/* Who was named is named after its end; the table of names is bounded, the newest stay. */
TEST(the_dead_keep_their_names)
{
    recording(0);
    char name[32];
    for (int i = 0; i < 100; i++) {
        otp_pid p;
        (void)snprintf(name, sizeof name, "short lived %d", i);
        CHECK_EQ(otp_spawn_opt(&(otp_spawn_opts){ .fn = dies, .name = name }, &p), 0);
        CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    }
    otp_trace_summary sum;
    json *j = written(&sum);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "short lived %d", i);
        CHECK_EQ(count(j, "X", "process", name) >= 1, i >= 100 - OTP_TRACE_NAMES);
    }
    CHECK_EQ(sum.exits, 100);
    CHECK(count(j, "X", "process", "process") >= 36);   /* the function of otp_spawn_opt's place */
    CHECK_EQ(otp_trace_stop(), 0);
}

/* -- bounds ----------------------------------------------------------------------------------------------------- */

TEST(the_ring_is_bounded_and_keeps_the_newest)
{
    recording(64);
    otp_pid p = otp_spawn(echo, NULL);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(OTP_SEND(p, 1000 + 2 * i, i), 0);
        CHECK(otp_recv_tag(1000 + 2 * i + 1, TEST_WAIT) != NULL);
    }
    otp_trace_summary sum;
    json *j = written(&sum);
    uint64_t rings = (uint64_t)otp_schedulers() + 2;
    CHECK(sum.dropped >= 2000);
    CHECK(sum.slices + sum.sends + sum.wakes + sum.spawns <= 64 * rings);
    bool newest = false;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next) {
        if (!is(e, "s", "message")) continue;
        CHECK(json_number(json_get(e, "args"), "tag") > 1000 + 2 * 500);
        newest |= json_number(json_get(e, "args"), "tag") == 1000 + 2 * 999 + 1;
    }
    CHECK(newest);
    end(p);
    CHECK_EQ(otp_trace_stop(), 0);
}

TEST(without_messages_only_who_ran)
{
    (void)otp_trace_stop();
    CHECK_EQ(otp_trace_start(&(otp_trace_opts){ .no_messages = true }), 0);
    otp_pid p = otp_spawn(echo, NULL);
    CHECK_EQ(OTP_SEND(p, A, 1), 0);
    CHECK(otp_recv_tag(A + 1, TEST_WAIT) != NULL);
    end(p);
    otp_trace_summary sum;
    (void)written(&sum);
    CHECK_EQ(sum.sends, 0);
    CHECK_EQ(sum.wakes, 0);
    CHECK_EQ(sum.spawns, 1);
    CHECK_EQ(sum.exits, 1);
    CHECK(sum.slices >= 2);
    CHECK_EQ(otp_trace_stop(), 0);
}

TEST(start_and_stop_again_and_again)
{
    static const uint32_t sizes[] = { 100, 5000, 100, 16, 5000 };
    otp_trace_summary sum;
    (void)otp_trace_stop();
    CHECK_EQ(otp_trace_stop(), OTP_ENOENT);
    CHECK_EQ(otp_trace_start(&(otp_trace_opts){ .ring_events = UINT32_MAX }), OTP_EBADARG);
    otp_pid p = otp_spawn(echo, NULL);
    for (int i = 0; i < test_many(100, 20); i++) {
        CHECK_EQ(otp_trace_start(&(otp_trace_opts){ .ring_events = sizes[i % 5] }), 0);
        CHECK_EQ(otp_trace_start(NULL), OTP_EEXIST);
        CHECK_EQ(OTP_SEND(p, A, i), 0);
        CHECK(otp_recv_tag(A + 1, TEST_WAIT) != NULL);
        CHECK_EQ(otp_trace_stop(), 0);
        CHECK_EQ(OTP_SEND(p, A, i), 0);     /* nobody sees this one */
        CHECK(otp_recv_tag(A + 1, TEST_WAIT) != NULL);
        if (i % 10) continue;
        (void)written(&sum);                /* what was recorded is still there, and nothing older */
        CHECK_EQ(sum.sends, 2);
        CHECK_EQ(sum.spawns, 0);
    }
    end(p);
}

TEST(bad_paths)
{
    recording(0);
    CHECK_EQ(otp_trace_write(NULL, NULL), OTP_EBADARG);
    CHECK_EQ(otp_trace_write("", NULL), OTP_EBADARG);
    CHECK_EQ(otp_trace_write("/nowhere/at/all.json", NULL), OTP_EIO);
    CHECK_EQ(otp_trace_write_fd(-1, NULL), OTP_EIO);
    CHECK_EQ(otp_trace_stop(), 0);
    CHECK_EQ(otp_trace_start(&(otp_trace_opts){ .path = "/nowhere/at/%p.json" }), 0);
    CHECK_EQ(otp_trace_stop(), OTP_EIO);
    if (access("/dev/full", W_OK) == 0) CHECK_EQ(otp_trace_write("/dev/full", NULL), OTP_EIO);
}

/* -- schedulers ------------------------------------------------------------------------------------------------- */

static atomic_bool go_on;

static void storm(void *arg)
{
    otp_pid next = *(otp_pid *)arg;
    if (OTP_SEND(next, A, 0) < 0) return;
    while (atomic_load(&go_on)) {
        const otp_msg *m = otp_recv(5);
        if (m && OTP_SEND(next, A, 0) < 0) continue;    /* it may have ended before us */
        if (otp_spawn(dies, NULL).id == 0) return;
    }
}

/* Written while all schedulers run at full speed: each file is complete and true. */
TEST_REAL(written_while_everything_runs)
{
    recording(256);
    atomic_store(&go_on, true);
    otp_pid pool[8];
    for (int i = 0; i < 8; i++) {
        otp_pid to = i ? pool[i - 1] : test_app;
        CHECK_EQ(otp_spawn_opt(&(otp_spawn_opts){ .fn = storm, .arg = &to, .arg_size = sizeof to }, &pool[i]), 0);
    }
    for (int i = 0; i < test_many(30, 8); i++) {
        otp_trace_summary sum;
        (void)written(&sum);
        if (i % 5 == 4) recording(i % 2 ? 256 : 1024);
        while (otp_recv(0)) { }
    }
    atomic_store(&go_on, false);
    for (int i = 0; i < 8; i++) CHECK_EQ(otp_await_exit(pool[i], TEST_WAIT, NULL), 0);
    CHECK_EQ(otp_trace_stop(), 0);
}

static void computes(void *arg)
{
    (void)arg;
    while (atomic_load(&go_on)) { }
}

/* A process that computes loses its scheduler: it goes on in a track of its own. */
TEST_WITH(a_stuck_process_is_seen_beside_its_scheduler, .real = true, .opts.schedulers = 1, .opts.report_stuck = OTP_INFINITY)
{
    recording(0);
    atomic_store(&go_on, true);
    otp_pid p = otp_spawn(computes, NULL), e = otp_spawn(echo, NULL);
    otp_trace_summary sum = { 0 };
    json *j = NULL;
    do {                        /* under way */
        CHECK_EQ(OTP_SEND(e, A, 0), 0);
        CHECK(otp_recv_tag(A + 1, TEST_WAIT) != NULL);
        j = written(&sum);
    } while (count(j, "X", "without scheduler", "computes") == 0);
    atomic_store(&go_on, false);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
    j = written(&sum);          /* over */
    CHECK(sum.lost >= 1);       /* the first process computes, too, while it reads the file */
    CHECK_EQ(count(j, "X", "without scheduler", "computes"), 1);
    CHECK(count(j, "X", "process", "computes") >= 2);   /* before, and when it was back */
    end(e);
    CHECK_EQ(otp_trace_stop(), 0);
}

static void work(void *arg)
{
    (void)arg;
    while (atomic_load(&go_on)) (void)usleep(100);
}

static void blocks(void *arg)
{
    (void)arg;
    CHECK_EQ(otp_blocking(work, NULL), 0);
}

/* Blocking work that overlaps lies in lanes of its own; sleeping schedulers are seen. */
TEST_REAL(blocking_work_and_sleep)
{
    recording(0);
    atomic_store(&go_on, true);
    otp_pid p[3];
    for (int i = 0; i < 3; i++) p[i] = otp_spawn(blocks, NULL);
    otp_trace_summary sum = { 0 };
    while (sum.blocking < 3) {      /* under way */
        otp_sleep(1);
        (void)written(&sum);
    }
    atomic_store(&go_on, false);
    for (int i = 0; i < 3; i++) CHECK_EQ(otp_await_exit(p[i], TEST_WAIT, NULL), 0);
    otp_sleep(5);
    json *j = written(&sum);
    CHECK_EQ(count(j, "X", "blocking", "blocks"), 0);   /* who blocks has no place there: its pid */
    CHECK_EQ(sum.blocking, 3);
    CHECK_EQ(count(j, "M", NULL, "thread_name") >= 3 + 1, true);
    CHECK(sum.sleeps >= 1);
    CHECK(sum.wakes >= 3);
    CHECK_EQ(otp_trace_stop(), 0);
}

static void spin(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2000 && atomic_load(&go_on); i++) otp_yield();
}

/* Work for two is on one scheduler until another one takes some. */
TEST_WITH(steals_are_seen, .real = true, .opts.schedulers = 2)
{
    recording(0);
    atomic_store(&go_on, true);
    otp_trace_summary sum = { 0 };
    while (sum.steals == 0) {
        otp_pid p[20];
        for (int i = 0; i < 20; i++) p[i] = otp_spawn(spin, NULL);
        for (int i = 0; i < 20; i++) CHECK_EQ(otp_await_exit(p[i], TEST_WAIT, NULL), 0);
        (void)written(&sum);
    }
    CHECK_EQ(otp_trace_stop(), 0);
}

static void *foreign(void *arg)
{
    test_foreign = true;
    for (int i = 0; i < 10; i++)
        if (OTP_SEND(*(otp_pid *)arg, A, i) != 0) FAIL("a send failed");
    return NULL;
}

/* A thread of the program's own sends: its arrows start in the track of the others. */
TEST_REAL(other_threads_have_a_track)
{
    recording(0);
    otp_pid me = otp_self();
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, foreign, &me), 0);
    for (int i = 0; i < 10; i++) CHECK(otp_recv_tag(A, TEST_WAIT) != NULL);
    CHECK_EQ(pthread_join(t, NULL), 0);
    otp_trace_summary sum;
    json *j = written(&sum);
    CHECK_EQ(sum.arrows, 10);
    CHECK_EQ(count(j, "X", "other", "send"), 10);
    CHECK_EQ(otp_trace_stop(), 0);
}

/* The ring alone, overwritten as fast as one thread can while another one copies: what is kept is whole and in order.
   Through the interface it would take days to meet; so this test reaches inside. */
static void *fills(void *arg)
{
    for (uint64_t i = 1; atomic_load(&go_on); i++) {
        otp__tring_put(arg, OTP__T_SEND, i, i * 3, ~i, i ^ 0x5555, i & 0xffff);
        if (i % 256 == 0) (void)sched_yield();  /* a slow reader has a chance, too */
    }
    return NULL;
}

TEST_PLAIN(a_ring_is_copied_while_it_is_overwritten)
{
    otp__tring *r = otp__tring_new(64, -1);
    CHECK(r != NULL);
    pthread_t t;
    atomic_store(&go_on, true);
    CHECK_EQ(pthread_create(&t, NULL, fills, r), 0);
    uint64_t wrong = 0, kept = 0, last = 0;
    for (int round = 0; round < test_many(20000, 2000) || kept == 0 || last <= 64; round++) {
        otp__tbook b;
        memset(&b, 0, sizeof b);
        otp__tbook_ring(&b, r, 1, UINT64_MAX >> 1);
        for (size_t k = 0; k < b.n; k++) {
            uint64_t i = b.ev[k].ticks;
            const uint64_t *w = b.ev[k].w;
            wrong += i != b.ev[k].seq + 1 || w[0] != i * 3 || w[1] != ~i || w[2] != (i ^ 0x5555) || (w[3] & 0xffff) != (i & 0xffff);
            kept++;
            last = i;
        }
        CHECK(b.n <= 64);
        free(b.ev);
    }
    atomic_store(&go_on, false);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(wrong, 0);
    free(r);
}

/* -- the environment, and the deterministic mode: in programs of their own ----------------------------------------- */

static void det_worker(void *arg)
{
    (void)arg;
    for (;;) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        if (m->tag == TEST_STOP) return;
        otp_sleep((int64_t)(otp_random() % 20));
        if (OTP_SEND(m->from, B, 1) != 0) return;
    }
}

static void det_app(void *arg)
{
    (void)arg;
    otp_pid w[5];
    for (int i = 0; i < 5; i++) w[i] = otp_spawn_link(det_worker, NULL);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 5; i++)
            if (OTP_SEND(w[i], A, round) != 0) return;
        for (int i = 0; i < 5; i++)
            if (otp_recv_tag(B, OTP_INFINITY) == NULL) return;
    }
    for (int i = 0; i < 5; i++)
        if (otp_send(w[i], TEST_STOP, NULL, 0) != 0) return;
}

/* Does nothing but when it is started by the test below. */
TEST_PLAIN(program_for_the_next_test)
{
    const char *seed = getenv("TEST_TRACE_SEED");
    if (!seed) return;
    otp_opts o = { .deterministic = true, .seed = strtoull(seed, NULL, 10) };
    if (otp_run(det_app, NULL, &o) != 0) FAIL("the program failed");
}

static char *of_seed(const char *seed, size_t *size)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        static char only[] = "--only", name[] = "program_for_the_next_test", self[] = "/proc/self/exe";
        char *argv[] = { self, only, name, NULL };
        if (setenv("TEST_TRACE_SEED", seed, 1) != 0 || setenv("OTP_TRACE", "/tmp/otp_trace_%p.json", 1) != 0) _exit(9);
        int null = open("/dev/null", O_WRONLY);
        if (null < 0 || dup2(null, STDOUT_FILENO) < 0) _exit(9);
        execv(self, argv);
        _exit(9);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/otp_trace_%ld.json", (long)child);
    (void)check_timeline(parsed(path));
    char *text = json_file(path, size);
    CHECK(text != NULL && unlink(path) == 0);
    return text;
}

TEST_WITH(the_variable_is_obeyed_and_a_seed_gives_the_same_file, .real = true, .plain = true, .seconds = 60)
{
    if (access("/proc/self/exe", X_OK) != 0) return;
    size_t a_size = 0, b_size = 0, c_size = 0;
    char *a = of_seed("7", &a_size), *b = of_seed("7", &b_size), *c = of_seed("8", &c_size);
    CHECK_EQ(a_size, b_size);
    CHECK(memcmp(a, b, a_size) == 0);
    CHECK(a_size != c_size || memcmp(a, c, a_size) != 0);
    const char *error = NULL;
    json *j = json_parse(a, a_size, &error);
    CHECK_EQ(count(j, "s", "message", NULL), 5 * (2 * 10 + 1));
    CHECK_EQ(count(j, "i", "process", "exit: normal"), 6);
    double last = 0;
    for (json *e = json_get(j, "traceEvents")->first; e; e = e->next)
        if (json_number(e, "ts") > last) last = json_number(e, "ts");
    CHECK(last > 10000);        /* virtual time passes: sleeps of some ms, ten rounds */
    free(a);
    free(b);
    free(c);
}

/* -- the parser, which judges all of this ------------------------------------------------------------------------- */

TEST_PLAIN(the_parser_is_strict)
{
    static const char *const good[] = { "{}", " [1, -0.5e3, true, null, \"a\\u00e9\\ud83d\\ude00\\n\"] ", "{\"a\":{\"b\":[]}}" };
    static const char *const bad[] = {
        "", "{", "[1,]", "{\"a\":1,}", "{\"a\" 1}", "01", "1.", "\"a", "\"\\x\"", "\"\\ud800\"", "\"\xff\"", "\"\n\"", "[1] 2",
        "{a:1}", "'a'", "nul", "{\"a\":1,\"a\":2}", "[1 2]", "+1", "\"\\u12\"", "-",
    };
    const char *error;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) CHECK(json_parse(good[i], strlen(good[i]), &error) != NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (json_parse(bad[i], strlen(bad[i]), &error) != NULL) test_line("# accepted: %s", bad[i]);
        CHECK(json_parse(bad[i], strlen(bad[i]), &error) == NULL);
    }
    json *j = json_parse(good[1], strlen(good[1]), NULL);
    CHECK(j->first->next->number == -500);
    CHECK_STR(j->first->next->next->next->next->text, "a\xc3\xa9\xf0\x9f\x98\x80\n");
}
