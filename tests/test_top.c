/* otp_survey, which looks at all processes without waking those that wait, and the live table that stands on it. */

#define OTP_TRACE_NAMES 64
#include "test.h"

#include "otp_trace.h"

enum { A = 1, B };

/* -- the survey ------------------------------------------------------------------------------------------------- */

typedef struct rows { otp_info row[300]; size_t n; int64_t all; } rows;

static void keep_row(const otp_info *o, void *arg)
{
    rows *r = arg;
    if (r->n < sizeof r->row / sizeof r->row[0]) r->row[r->n++] = *o;
}

/* On a thread that is no process: a process must not wait for itself. */
static void *survey_main(void *arg)
{
    rows *r = arg;
    test_foreign = true;
    r->n = 0;
    r->all = otp_survey(keep_row, r, 200);
    return NULL;
}

static rows *survey(void)
{
    static rows r;
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, survey_main, &r), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    return &r;
}

static otp_info *row_of(rows *r, otp_pid pid)
{
    for (size_t i = 0; i < r->n; i++)
        if (otp_same(r->row[i].pid, pid)) return &r->row[i];
    FAIL("the process is not in the table");
    return NULL;
}

static void waits_for_b(void *arg)
{
    (void)arg;
    if (otp_recv_tag(B, OTP_INFINITY) == NULL) return;
}

static otp_pid idle(const char *name, int messages)
{
    otp_pid p;
    SPAWN(&p, .fn = waits_for_b, .name = name);
    for (int i = 0; i < messages; i++) CHECK_EQ(OTP_SEND(p, A, i), 0);
    for (;;) {      /* until it has looked at all of them */
        otp_info info;
        CHECK_EQ(otp_process_info(p, &info), 0);
        if (info.waits == OTP_WAITS_MESSAGE && info.message_queue_len == (size_t)messages) return p;
        otp_yield();
    }
}

static void gone(otp_pid p)
{
    CHECK_EQ(OTP_SEND(p, B, 0), 0);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
}

/* A process that waits is told of with everything that otp_process_info knows, and does not run for it. */
TEST_REAL(who_waits_is_not_woken)
{
    otp_pid p = idle("with seven", 7);
    otp_info before, *o = row_of(survey(), p);
    CHECK_STR(o->name, "with seven");
    CHECK(o->state == OTP_STATE_WAITING && o->waits == OTP_WAITS_MESSAGE);
    CHECK_EQ(o->message_queue_len, 7);
    CHECK(o->stack_bytes > 0 && o->memory > o->stack_bytes);
    CHECK(strstr(o->spawned, "test_top.c") != NULL);
    CHECK(otp_same(o->parent, test_app));
    uint64_t reductions = o->reductions;
    for (int i = 0; i < 50; i++) o = row_of(survey(), p);
    CHECK_EQ(o->reductions, reductions);        /* each answer to a question would have counted */
    CHECK_EQ(otp_process_info(p, &before), 0);
    CHECK_EQ(before.message_queue_len, 7);
    gone(p);
}

TEST_REAL(who_may_ask)
{
    static rows r;
    CHECK_EQ(otp_survey(keep_row, &r, 100), OTP_EBADARG);       /* a process */
    CHECK(survey()->all >= 1);
}

TEST_PLAIN(no_runtime_no_rows)
{
    static rows r;
    CHECK_EQ(otp_survey(keep_row, &r, 100), OTP_ENOTUP);
    CHECK_EQ(otp_survey(NULL, &r, 100), OTP_EBADARG);
    CHECK_EQ(r.n, 0);
}

static atomic_bool go_on, running;

static void computes(void *arg)
{
    (void)arg;
    atomic_store(&running, true);
    while (atomic_load(&go_on)) { }
}

/* Its mailbox can be counted although it does not answer: on its scheduler, and when it has lost that. */
static void look_at_a_busy_one(bool lose)
{
    atomic_store(&go_on, true);
    atomic_store(&running, false);
    otp_pid p = otp_spawn(computes, NULL);
    while (!atomic_load(&running)) otp_yield();
    for (int i = 0; i < 12; i++) CHECK_EQ(OTP_SEND(p, A, i), 0);
    int64_t since = otp_now();
    do {
        if (lose) otp_sleep(20);
        int64_t begin = otp_now();
        otp_info *o = row_of(survey(), p);
        CHECK_EQ(o->state, OTP_STATE_RUNNING);
        CHECK_EQ(o->message_queue_len, 12);
        if (!TEST_SANITIZED) CHECK(otp_now() - begin < 2000);   /* it did not wait the 5 s of otp_process_info */
    } while (lose && otp_now() - since < 60);
    atomic_store(&go_on, false);
    CHECK_EQ(otp_await_exit(p, TEST_WAIT, NULL), 0);
}

TEST_WITH(who_computes_is_seen, .real = true, .opts.schedulers = 2, .opts.stuck = 60000, .opts.report_stuck = OTP_INFINITY)
{
    look_at_a_busy_one(false);
}

TEST_WITH(who_computes_without_a_scheduler_is_seen, .real = true, .opts.schedulers = 1, .opts.stuck = 1,
          .opts.report_stuck = OTP_INFINITY)
{
    look_at_a_busy_one(true);
}

static void yields(void *arg)
{
    (void)arg;
    while (atomic_load(&go_on)) otp_yield();
}

/* Processes that are always about to run are asked, and answer. */
TEST_REAL(who_is_runnable_answers)
{
    atomic_store(&go_on, true);
    otp_pid p[50];
    for (int i = 0; i < 50; i++) {
        p[i] = otp_spawn(yields, NULL);
        for (int k = 0; k < i; k++) CHECK_EQ(OTP_SEND(p[i], A, k), 0);
    }
    for (int round = 0; round < test_many(20, 5); round++) {
        rows *r = survey();
        int known = 0;
        for (int i = 0; i < 50; i++) {
            otp_info *o = row_of(r, p[i]);
            if (o->message_queue_len == SIZE_MAX) continue;
            CHECK_EQ(o->message_queue_len, i);
            known++;
        }
        CHECK(known > 0);
    }
    atomic_store(&go_on, false);
    for (int i = 0; i < 50; i++) CHECK_EQ(otp_await_exit(p[i], TEST_WAIT, NULL), 0);
}

static void *surveys(void *arg)
{
    long *n = arg;
    test_foreign = true;
    static rows r;
    while (atomic_load(&go_on)) {
        r.n = 0;
        if (otp_survey(keep_row, &r, 10) < 1) FAIL("no rows");
        ++*n;
    }
    return NULL;
}

static void hop(void *arg)
{
    otp_pid next = *(otp_pid *)arg;
    for (;;) {
        const otp_msg *m = otp_recv_tag(A, OTP_INFINITY);
        int left = *OTP_PAYLOAD(m, int);
        if (left >= 0 && OTP_SEND(left == 0 ? test_app : next, left == 0 ? B : A, left - 1) != 0) return;
    }
}

static void short_lived(void *arg)
{
    (void)arg;
    otp_sleep(1);
}

/* No message and no wake-up is lost while somebody looks all the time: a ring of processes in which one message goes
   round, sleeps, calls, births and deaths. */
TEST_WITH(nothing_is_lost_while_it_looks, .real = true, .seconds = 60)
{
    enum { RING = 20 };
    otp_pid ring[RING];
    long n = 0;
    pthread_t t;
    for (int i = 0; i < RING; i++) {
        otp_pid to = i ? ring[i - 1] : test_app;
        SPAWN(&ring[i], .fn = hop, .arg = &to, .arg_size = sizeof to);
    }
    atomic_store(&go_on, true);
    CHECK_EQ(pthread_create(&t, NULL, surveys, &n), 0);
    for (int round = 0; round < test_many(300, 50); round++) {
        CHECK_EQ(OTP_SEND(ring[RING - 1], A, RING - 1), 0);
        otp_pid s = otp_spawn(short_lived, NULL);
        CHECK(otp_recv_tag(B, TEST_WAIT) != NULL);
        otp_info info;
        CHECK_EQ(otp_process_info(ring[round % RING], &info), 0);
        if (round % 4 == 0) CHECK_EQ(otp_await_exit(s, TEST_WAIT, NULL), 0);
        if (round % 4 == 1) otp_sleep(1);
    }
    atomic_store(&go_on, false);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK(n > 0);
    for (int i = 0; i < RING; i++) test_kill(ring[i]);
}

/* A thread of the program that waits with a timeout is not kept from it. */
static void *waits_ms(void *arg)
{
    test_foreign = true;
    int64_t begin = otp_now();
    while (otp_now() - begin < 100)
        if (otp_recv_tag(B, 2) != NULL) FAIL("a message came from nowhere");
    atomic_store((atomic_bool *)arg, false);
    return NULL;
}

TEST_REAL(threads_of_the_program_wait_undisturbed)
{
    long n = 0;
    pthread_t t, w;
    atomic_store(&go_on, true);
    CHECK_EQ(pthread_create(&w, NULL, waits_ms, &go_on), 0);
    CHECK_EQ(pthread_create(&t, NULL, surveys, &n), 0);
    CHECK_EQ(pthread_join(w, NULL), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
}

/* In the deterministic mode nobody is touched; what can be told without that is told. */
static void det_app(void *arg)
{
    (void)arg;
    otp_pid p = idle("det", 3);
    otp_info *o = row_of(survey(), p);
    CHECK(o->message_queue_len == SIZE_MAX);
    CHECK_STR(o->name, "det");
    CHECK_EQ(o->state, OTP_STATE_WAITING);
    gone(p);
}

TEST_PLAIN(deterministic_runs_are_not_disturbed)
{
    if (otp_run(det_app, NULL, &(otp_opts){ .deterministic = true, .seed = 5 }) != 0) FAIL("the run failed");
}

/* -- the live table --------------------------------------------------------------------------------------------- */

static char path[80];

static const char *socket_path(void)
{
    (void)snprintf(path, sizeof path, "/tmp/otp_top_%ld.sock", (long)getpid());
    return path;
}

static int connected(void)
{
    struct sockaddr_un at;
    memset(&at, 0, sizeof at);
    at.sun_family = AF_UNIX;
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path());
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void put(int fd, const char *text) { CHECK_EQ(otp_write(fd, text, strlen(text), TEST_WAIT), strlen(text)); }

/* The answer up to the line that ends it. */
static const char *get(int fd)
{
    static char text[200000];
    size_t n = 0;
    for (;;) {
        int64_t got = otp_read(fd, text + n, sizeof text - 1 - n, TEST_WAIT);
        CHECK(got > 0);
        n += (size_t)got;
        text[n] = 0;
        if (strncmp(text, "error\t", 6) == 0 && text[n - 1] == '\n') return text;
        if (n >= 4 && strcmp(text + n - 4, "end\n") == 0) return text;
    }
}

/* The name in the k-th row, "" when it has none. */
static const char *name_in(const char *text, int k)
{
    static char name[64];
    name[0] = 0;
    for (const char *c = strstr(text, "\nrow\t"); c; c = strstr(c + 1, "\nrow\t"))
        if (k-- == 0) {
            const char *from = strchr(c + 5, '\t') + 1;
            (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(from, "\t"), from);
            return name;
        }
    FAIL("too few rows");
    return name;
}

static int rows_in(const char *text)
{
    int n = 0;
    for (const char *c = strstr(text, "\nrow\t"); c; c = strstr(c + 1, "\nrow\t")) n++;
    return n;
}

static void has_memory(void *arg)
{
    (void)arg;
    char *block = otp_alloc(3 << 20);
    CHECK(block != NULL);
    memset(block, 1, 3 << 20);
    waits_for_b(NULL);
}

TEST_REAL(sorted_as_asked)
{
    CHECK_EQ(otp_top_listen(socket_path()), 0);
    struct stat st;
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
    otp_pid few = idle("few", 5), many = idle("many", 500), large, p;
    SPAWN(&large, .fn = has_memory, .name = "large");
    test_until_waiting(large, OTP_WAITS_MESSAGE);
    int fd = connected();
    put(fd, "top q 2\n");
    const char *text = get(fd);
    CHECK_EQ(rows_in(text), 2);
    CHECK_STR(name_in(text, 0), "many");
    CHECK_STR(name_in(text, 1), "few");
    CHECK(strstr(text, "\t500\t") != NULL);
    put(fd, "top m 100\n");
    text = get(fd);
    CHECK(rows_in(text) >= 4);
    CHECK_STR(name_in(text, 0), "large");
    put(fd, "top n 100\n");
    text = get(fd);
    CHECK_STR(name_in(text, 0), "few");
    CHECK_STR(name_in(text, 1), "large");
    CHECK_STR(name_in(text, 2), "many");
    /* reductions: of the time since the last request of this client */
    for (int i = 0; i < 3; i++) otp_bump_reductions(3000000);
    put(fd, "top r 10\n");
    text = get(fd);
    CHECK_STR(name_in(text, 0), "");            /* the first process, which has no name */
    CHECK(strstr(text, "the first process") != NULL);
    static const otp_spawn_opts none = { .fn = waits_for_b, .name = "idle" };
    CHECK_EQ(otp_spawn_opt_at(&none, &p, "place\twith a tab at x.c:1"), 0);
    put(fd, "top n 1\ntop n 100\n");            /* two at once */
    text = get(fd);
    if (rows_in(text) == 1) text = get(fd);
    CHECK(strstr(text, "place?with a tab at x.c:1") != NULL);
    put(fd, "nonsense\n");
    CHECK_STR(get(fd), "error\tunknown request\n");
    put(fd, "top r 0\n");
    CHECK_STR(get(fd), "error\tunknown request\n");
    put(fd, "top x 5\n");
    CHECK_STR(get(fd), "error\tunknown request\n");
    CHECK_EQ(otp_close(fd), 0);
    gone(few);
    gone(many);
    gone(large);
    gone(p);
    CHECK_EQ(otp_top_close(), 0);
    CHECK(access(path, F_OK) != 0);
    CHECK_EQ(otp_top_close(), OTP_ENOENT);
}

TEST_REAL(clients_come_and_go)
{
    CHECK_EQ(otp_top_listen(socket_path()), 0);
    otp_pid p[200];
    for (int i = 0; i < 200; i++) SPAWN(&p[i], .fn = waits_for_b);
    int steady = connected();
    for (int round = 0; round < 30; round++) {
        int fd = connected();
        put(fd, round % 3 == 0 ? "top q" : "top q 100000\n");   /* gone in the middle of a line, or of the answer */
        if (round % 3 == 1) (void)get(fd);
        CHECK_EQ(otp_close(fd), 0);
        put(steady, "top q 300\n");
        CHECK(rows_in(get(steady)) >= 200);
    }
    /* one that asks and does not read: the others are served, and it gets its answers in the end */
    int lazy = connected();
    for (int i = 0; i < 100; i++) put(lazy, "top m 1000\n");
    for (int i = 0; i < 10; i++) {
        put(steady, "top n 1\n");
        CHECK_EQ(rows_in(get(steady)), 1);
    }
    int ends = 0;
    char buffer[4096], last = 0;
    while (ends < 100) {        /* counts the lines "end" */
        int64_t n = otp_read(lazy, buffer, sizeof buffer, TEST_WAIT);
        CHECK(n > 0);
        for (int64_t i = 0; i < n; i++) {
            if (last == '\n' && buffer[i] == 'e') ends++;
            last = buffer[i];
        }
    }
    int full[OTP_TOP_CLIENTS];
    for (int i = 2; i < OTP_TOP_CLIENTS; i++) full[i] = connected();
    char one;
    int over = connected();     /* one too many: it is cut off */
    CHECK_EQ(otp_read(over, &one, 1, TEST_WAIT), 0);
    CHECK_EQ(otp_close(over), 0);
    for (int i = 2; i < OTP_TOP_CLIENTS; i++) CHECK_EQ(otp_close(full[i]), 0);
    CHECK_EQ(otp_top_close(), 0);
    CHECK_EQ(otp_read(steady, &one, 1, TEST_WAIT), 0);
    CHECK_EQ(otp_close(steady), 0);
    CHECK_EQ(otp_close(lazy), 0);
    for (int i = 0; i < 200; i++) gone(p[i]);
}

TEST_REAL(the_timeline_through_the_socket)
{
    (void)otp_trace_stop();
    CHECK_EQ(otp_top_listen(socket_path()), 0);
    int fd = connected();
    put(fd, "trace\n");
    CHECK(strncmp(get(fd), "error\tthe program records no timeline", 37) == 0);
    CHECK_EQ(otp_trace_start(NULL), 0);
    put(fd, "trace\n");
    char text[4096];
    size_t n = 0, want = 0;
    while (n < want || want == 0) {
        int64_t got = otp_read(fd, text + n, sizeof text - 1 - n, TEST_WAIT);
        CHECK(got > 0);
        n += (size_t)got;
        text[n] = 0;
        if (want == 0 && strchr(text, '\n')) {
            CHECK_EQ(sscanf(text, "trace %zu", &want), 1);
            want += (size_t)(strchr(text, '\n') + 1 - text);
            CHECK(want < sizeof text);
        }
    }
    CHECK_EQ(n, want);
    CHECK(strncmp(strchr(text, '\n') + 1, "{\"displayTimeUnit\"", 18) == 0);
    CHECK_STR(text + n - 4, "\n]}\n");
    CHECK_EQ(otp_trace_stop(), 0);
    CHECK_EQ(otp_close(fd), 0);
    CHECK_EQ(otp_top_close(), 0);
}

TEST_PLAIN(places_for_the_socket)
{
    char at[120];
    CHECK_EQ(otp_top_listen(NULL), OTP_EBADARG);
    CHECK_EQ(otp_top_listen(""), OTP_EBADARG);
    memset(at, 'x', sizeof at - 1);
    at[sizeof at - 1] = 0;
    CHECK_EQ(otp_top_listen(at), OTP_EBADARG);
    CHECK_EQ(otp_top_listen("/nowhere/at/all"), OTP_EIO);
    CHECK_EQ(otp_top_listen("/dev/null"), OTP_EEXIST);      /* not a socket: it stays */
    CHECK_EQ(access("/dev/null", F_OK), 0);
    CHECK_EQ(otp_top_listen(socket_path()), 0);
    CHECK_EQ(otp_top_listen(socket_path()), OTP_EEXIST);
    /* without a runtime the table is empty */
    int fd = connected();
    CHECK_EQ(write(fd, "top q 5\n", 8), 8);
    char text[200] = "";
    size_t n = 0;
    while (!strstr(text, "end\n")) {
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        CHECK(got > 0);
        n += (size_t)got;
        text[n] = 0;
    }
    CHECK(strncmp(text, "head\t0\t0\t", 9) == 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(otp_top_close(), 0);
    /* what a program that died has left behind is replaced, what somebody listens on is not */
    struct sockaddr_un un;
    memset(&un, 0, sizeof un);
    un.sun_family = AF_UNIX;
    (void)snprintf(un.sun_path, sizeof un.sun_path, "%s", socket_path());
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(bind(other, (struct sockaddr *)&un, sizeof un), 0);
    CHECK_EQ(listen(other, 1), 0);
    CHECK_EQ(otp_top_listen(socket_path()), OTP_EEXIST);
    CHECK_EQ(close(other), 0);
    CHECK_EQ(otp_top_listen(socket_path()), 0);
    CHECK_EQ(otp_top_close(), 0);
}

/* -- otp_dump on a signal --------------------------------------------------------------------------------------- */

TEST_WITH(a_signal_prints_the_table, .real = true, .not_sanitized = true, .opts.dump_signal = SIGUSR2)
{
    otp_pid p = idle("seen on a signal", 1);
    int pipes[2], old = dup(STDERR_FILENO);
    CHECK(old >= 0 && pipe(pipes) == 0);
    CHECK(dup2(pipes[1], STDERR_FILENO) >= 0);
    int rc = kill(getpid(), SIGUSR2);
    char text[65536];
    size_t n = 0;
    text[0] = 0;
    while (rc == 0 && !strstr(text, "seen on a signal") && n < sizeof text - 1) {
        ssize_t got = read(pipes[0], text + n, sizeof text - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
        text[n] = 0;
    }
    CHECK(dup2(old, STDERR_FILENO) >= 0);
    CHECK_EQ(rc, 0);
    CHECK(strstr(text, "waits for") != NULL && strstr(text, "seen on a signal") != NULL);
    CHECK(strstr(text, "a message") != NULL);
    CHECK(close(old) == 0 && close(pipes[0]) == 0 && close(pipes[1]) == 0);
    gone(p);
}
