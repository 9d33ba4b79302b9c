/* test_otp_test.c: otp_test.h, tested with itself. The cases of otp_test/failing.h run in a program of their own, which is this
   one again with --fixture in front; what it prints is compared. */

#define OTP_IMPLEMENTATION
#define OTP_TEST_NO_MAIN
#include "otp_test.h"
#include "otp_server.h"

#include <sys/wait.h>

#include "otp_test/failing.h"

static const char *self;

/* -- running the fixture */

typedef struct output { char *text; int status; } output;

/* Lines that depend on the machine: what comes from the log, and the order. Pids become <pid>, the program PROGRAM. In place. */
static void normalize(char *text)
{
    char *out = text;
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n") + (line[strcspn(line, "\n")] != 0);
        bool keep = strncmp(line, "     | ", 7) != 0 || strncmp(line, "     | [error] a line", 21) == 0 ||
                    strncmp(line, "     | [error] of the", 21) == 0;
        for (size_t i = 0; keep && i < n;) {
            unsigned a, b;
            int used = 0;
            if (line[i] == '<' && sscanf(line + i, "<%u.%u>%n", &a, &b, &used) == 2 && used >= 5) {
                memcpy(out, "<pid>", 5);
                out += 5;
                i += (size_t)used;
            } else if (strncmp(line + i, self, strlen(self)) == 0) {
                memcpy(out, "PROGRAM", 7);      /* shorter than any path of it */
                out += 7;
                i += strlen(self);
            } else {
                *out++ = line[i++];
            }
        }
        line += n;
    }
    *out = 0;
}

static void read_all(FILE *f, output *o)
{
    size_t used = 0, room = 1 << 20;
    o->text = otp_alloc(room);
    otp_check(o->text != NULL);
    for (size_t n; used < room - 1 && (n = fread(o->text + used, 1, room - 1 - used, f)) > 0;) used += n;
    o->text[used] = 0;
}

static output fixture(const char *options)
{
    output o = { NULL, -1 };
    char command[1024];
    (void)snprintf(command, sizeof command,
                   "ASAN_OPTIONS=detect_leaks=0:allow_user_segv_handler=1:handle_abort=0 '%s' --fixture %s 2>/dev/null", self, options);
    FILE *f = popen(command, "r");
    otp_check(f != NULL);
    read_all(f, &o);
    int status = pclose(f);
    otp_check(WIFEXITED(status));
    o.status = WEXITSTATUS(status);
    return o;
}

static void check_expected(const char *path, output o)
{
    output expected = { NULL, 0 };
    FILE *f = fopen(path, "r");
    if (!f) otp_fail("%s is missing", path);
    read_all(f, &expected);
    otp_check_eq(fclose(f), 0);
    normalize(o.text);
    const char *a = expected.text, *b = o.text;
    for (int line = 1; *a || *b; line++) {
        size_t n = strcspn(a, "\n"), k = strcspn(b, "\n");
        if (n != k || memcmp(a, b, n) != 0) otp_fail("%s:%d:\n    expected %.*s\n    printed  %.*s", path, line, (int)n, a, (int)k, b);
        a += n + (a[n] != 0);
        b += k + (b[k] != 0);
    }
}

OTP_TEST(each_kind_of_failure_is_told, .tags = "program", .timeout = 300000)
{
    output o = fixture("--order 0 --tag fixture --no-tag crash --no-tag memory");
    otp_check_eq(o.status, 1);
    check_expected("tests/otp_test/failing.expected", o);
}

#if defined(__linux__) && !defined(OTP_NO_ASM) && (defined(__x86_64__) || defined(__aarch64__))
#define NO_FAULTS NULL
#else
#define NO_FAULTS "faults are not contained here"
#endif
OTP_TEST(a_crash_fails_its_case_alone, .tags = "program", .timeout = 300000, .skip = NO_FAULTS)
{
    output o = fixture("--order 0 --tag crash");
    otp_check_eq(o.status, 1);
    check_expected("tests/otp_test/crashing.expected", o);
}

OTP_TEST(memory_that_is_left_is_told, .tags = "program", .timeout = 300000, .skip = OTP__TEST_MEMORY ? NULL : "memory is not checked here")
{
    output o = fixture("--order 0 --tag memory");
    otp_check_eq(o.status, 1);
    otp_check_str_has(o.text, "left behind: 1008 bytes of memory, each time it runs");
    otp_check_str_has(o.text, "left behind: 1008 bytes of memory, with each seed");
    otp_check_str_has(o.text, "\n0 passed, 2 failed\n");
}

OTP_TEST(a_case_that_computes_for_ever_is_told, .tags = "program", .timeout = 300000)
{
    output o = fixture("--only computes_for_ever --order 0");
    otp_check_eq(o.status, 1);
    otp_check_str_has(o.text, "did not end within 50 ms: it computes");
    otp_check_str_has(o.text, "\n0 passed, 1 failed\n");
    o = fixture("--only computes_for_ever_in_virtual_time --only check --order 0");
    otp_check_eq(o.status, 1);
    otp_check_str_has(o.text, "did not end within 50 ms");
    otp_check_str_has(o.text, "--seed 1 --only computes_for_ever_in_virtual_time");
    otp_check_str_has(o.text, "\n0 passed, 2 failed\n");
}

OTP_TEST(a_seed_that_fails_fails_again, .tags = "program", .timeout = 300000)
{
    output o = fixture("--only races_under_some_seeds --order 0");
    const char *seed = strstr(o.text, "replay: ");
    char options[256];
    unsigned long long n;
    otp_check(seed != NULL);
    seed = strstr(seed, "--seed ");
    otp_check(seed != NULL);
    otp_check_eq(sscanf(seed, "--seed %llu", &n), 1);
    otp_check_gt(n, 1);             /* some pass: the seed makes the difference */
    (void)snprintf(options, sizeof options, "%.*s --order 0", (int)strcspn(seed, "\n"), seed);
    output again = fixture(options);
    otp_check_eq(again.status, 1);
    otp_check_str_has(again.text, "\n0 passed, 1 failed\n");
    *strstr(o.text, "seed ") = 0;
    *strstr(again.text, "seed ") = 0;
    otp_check_str(o.text, again.text);
    (void)snprintf(options, sizeof options, "--seed %llu --only races_under_some_seeds", n - 1);
    otp_check_eq(fixture(options).status, 0);
}

OTP_TEST(async_cases_run_side_by_side, .tags = "program", .timeout = 300000)
{
    output o = fixture("--tag async --order 0");
    otp_check_eq(o.status, 1);
    check_expected("tests/otp_test/async.expected", o);
}

/* -- the command line */

OTP_TEST(the_order_is_shuffled_and_repeats, .tags = "program")
{
    output a = fixture("--tag async --not async_3 --order 5"), b = fixture("--tag async --not async_3 --order 5"),
           c = fixture("--tag async --not async_3 --order 6");
    normalize(a.text);
    normalize(b.text);
    normalize(c.text);
    otp_check_str(a.text, b.text);
    otp_check(strcmp(strchr(a.text, '\n'), strchr(c.text, '\n')) != 0);
}

OTP_TEST(list_help_and_wrong_options, .tags = "program")
{
    output o = fixture("--list --only check_s");
    otp_check_eq(o.status, 0);
    otp_check_str_has(o.text, "check_signs (tests/otp_test/failing.h:");
    otp_check_str_has(o.text, "check_str_has (tests/otp_test/failing.h:");
    otp_check(strstr(o.text, "check_eq") == NULL);
    o = fixture("--list --only check_s --not has --not null");
    otp_check(strstr(o.text, "check_str_has") == NULL);
    o = fixture("--list --only races_under_some_seeds");
    otp_check_str_has(o.text, ", 1000 seeds, tags: race\n");
    o = fixture("--list --tag mem");                /* a tag is a word */
    otp_check_eq(o.status, 2);
    o = fixture("--help");
    otp_check_eq(o.status, 0);
    otp_check_str_has(o.text, "usage: ");
    otp_check_eq(fixture("--only no_such_case").status, 2);
    otp_check_eq(fixture("--seed 0").status, 2);
    otp_check_eq(fixture("--seeds 5..4").status, 2);
    otp_check_eq(fixture("--wrong").status, 2);
    otp_check_eq(fixture("--junit").status, 2);
}

OTP_TEST(tap_and_colors, .tags = "program")
{
    output o = fixture("--tap --order 0 --tag async --no-tag fixture");
    otp_check_eq(o.status, 1);
    otp_check_str_has(o.text, "TAP version 13\n");
    otp_check_str_has(o.text, "\nok 1 - async_1\n");
    otp_check_str_has(o.text, "\nnot ok 2 - async_2\n# tests/otp_test/failing.h:");
    otp_check_str_has(o.text, "\nok 6 - skipped # SKIP not today\n1..6\n");
    otp_check(strchr(o.text, 033) == NULL);
    o = fixture("--order 0 --color always --only async_1");
    otp_check_str_has(o.text, "\033[32mok  \033[0m async_1\n");
}

OTP_TEST(junit, .tags = "program")
{
    char path[] = "/tmp/otp_test_XXXXXX", options[128];
    int fd = mkstemp(path);
    otp_check_ge(fd, 0);
    otp_check_eq(close(fd), 0);
    (void)snprintf(options, sizeof options, "--order 0 --tag async --junit %s", path);
    otp_check_eq(fixture(options).status, 1);
    FILE *f = fopen(path, "r");
    otp_check(f != NULL);
    output o = { NULL, 0 };
    read_all(f, &o);
    otp_check_eq(fclose(f), 0);
    otp_check_eq(unlink(path), 0);
    otp_check_str_has(o.text, "tests=\"6\" failures=\"3\" skipped=\"2\" errors=\"0\"");
    otp_check_str_has(o.text, "name=\"async_2\" file=\"tests/otp_test/failing.h\" line=\"");
    otp_check_str_has(o.text, "<failure message=\"failed\">     tests/otp_test/failing.h:");
    otp_check_str_has(o.text, "<skipped message=\"not today\"/>");
    otp_check_str_has(o.text, "&lt;");              /* the pid of what async_3 left */
    otp_check_eq(fixture("--only async_1 --junit /nowhere/at/all").status, 1);
}

OTP_TEST(repeat_runs_until_some_fail, .tags = "program")
{
    output o = fixture("--only async_1 --repeat 3 --order 7");
    otp_check_eq(o.status, 0);
    otp_check_str_has(o.text, "round 3, order 9\n");
    otp_check_str_has(o.text, "\n3 passed, 0 failed\n");
    o = fixture("--only check --repeat 3");
    otp_check_str_has(o.text, "\n0 passed, 1 failed\n");
}

OTP_TEST(timeout_of_the_command_line, .tags = "program")
{
    output o = fixture("--only waits_too_long_in_virtual_time --timeout 1234");
    otp_check_str_has(o.text, "did not end within 1234 ms: it waits for a message");
}

/* -- what cases can do */

OTP_TEST(checks_hold)
{
    otp_check_eq(otp_self(), otp_self());
    otp_check_ne(otp_make_ref(), otp_make_ref());
    otp_check_lt(-1, 0u);
    otp_check_gt(UINT64_MAX, -1);
    otp_check_le(2, 2.0);
    otp_check_ge('b', 'a');
    otp_check_eq((void *)NULL, 0);
    otp_check_eq((const char *)"x" == NULL, false);
    otp_check_str(NULL, NULL);
    otp_check_str("a", "a");
    otp_check_mem("ab", "ab", 2);
    otp_check_near(0.1 + 0.2, 0.3, 1e-9);
    otp_check_str(otp_test_name(), "checks_hold");
    otp_check_eq(otp_test_seed(), 0);
}

static uint64_t last_seed;
OTP_TEST(the_seed_is_known, .seeds = 3)
{
    otp_check_ge(otp_test_seed(), 1);
    otp_check_ne(otp_test_seed(), last_seed);
    last_seed = otp_test_seed();
}

OTP_TEST(receive_takes_the_first_and_leaves_the_others, .seeds = 20)
{
    const otp_msg *m;
    for (int i = 0; i < 5; i++) OTP_SEND(otp_self(), i % 2 ? PING : PONG, i);
    m = otp_assert_receive(PING);
    otp_check_eq(*OTP_PAYLOAD(m, int), 1);
    otp_assert_match(m, m->tag == PONG && *OTP_PAYLOAD(m, int) > 0);
    otp_check_eq(*OTP_PAYLOAD(m, int), 2);
    otp_refute_match(m, *OTP_PAYLOAD(m, int) == 2, 0);
    m = otp_assert_received(PONG);
    otp_check_eq(*OTP_PAYLOAD(m, int), 0);
    m = otp_assert_receive_from(otp_self());
    otp_check_eq(*OTP_PAYLOAD(m, int), 3);
    m = otp_assert_received(PONG);
    otp_check_eq(*OTP_PAYLOAD(m, int), 4);
    otp_refute_received(PONG);
    otp_check(otp_recv(0) == NULL);
    otp_ref ref = otp_start_timer(90, otp_self(), NULL, 0);
    m = otp_assert_receive_ref(ref);
    otp_check_eq(m->tag, OTP_TIMEOUT_TAG);
}

static int eventually_counter;
OTP_TEST(eventually_evaluates_until_it_holds, .seeds = 5)
{
    eventually_counter = 0;
    otp_check(otp_eventually(++eventually_counter == 50, 1000));
    otp_check_eq(eventually_counter, 50);
    int64_t began = otp_now();
    otp_check(!otp_eventually(eventually_counter == 0, 500));
    otp_check_ge(otp_now() - began, 500);
}

/* Supervised children tell who ends, in order, to a process that outlives them. */
static int ended[8];
static atomic_int ended_count;

static void tell(void *arg)
{
    int i = atomic_fetch_add(&ended_count, 1);
    otp_check_lt(i, 8);
    ended[i] = (int)(intptr_t)arg;
}

static void child(void *arg)
{
    if (otp_defer(tell, arg) != 0) otp_fail("no memory");
    otp_recv_tag(PONG, OTP_INFINITY);
}

static otp_pid start_child(void *arg) { return otp_spawn_link(child, arg); }

static void check_ended(void *arg)
{
    otp_check_eq(atomic_load(&ended_count), (int)(intptr_t)arg);
    for (int i = 0; i < (int)(intptr_t)arg; i++) otp_check_eq(ended[i], (int)(intptr_t)arg - i);
    tell((void *)100);
}

static void check_hook_before(void *arg)
{
    (void)arg;
    otp_check_eq(ended[3], 100);        /* the hook that was added later ran before */
}

OTP_TEST(supervised_end_in_reverse_order_and_hooks_follow, .seeds = 20)
{
    otp_pid test = otp_self();
    memset(ended, 0, sizeof ended);
    atomic_store(&ended_count, 0);
    otp_check_eq(otp_on_exit(check_hook_before, NULL), 0);
    otp_check_eq(otp_on_exit(check_ended, (void *)3), 0);
    for (intptr_t i = 1; i <= 3; i++) {
        otp_pid pid = otp_start_supervised(start_child, (void *)i);
        otp_info info;
        otp_check_eq(otp_process_info(pid, &info), 0);
        otp_check_ne(info.parent, test);
        otp_yield();
    }
    /* each has to have come as far as its defer */
    otp_sleep(1);
}

OTP_TEST(a_crash_of_a_supervised_process_fails_nothing, .seeds = 20)
{
    atomic_store(&ended_count, 0);
    otp_pid pid = otp_start_supervised(start_child, (void *)1);
    otp_ref ref = otp_monitor(pid);
    otp_check_eq(otp_exit_signal(pid, OTP_KILL), 0);
    otp_check_eq(otp_reason_of(otp_assert_receive_ref(ref))->kind, OTP_REASON_KILLED);
    otp_check_eq(otp_stop_supervised(pid), OTP_ENOENT);
    pid = otp_start_supervised(start_child, (void *)2);
    otp_check_eq(otp_stop_supervised(pid), 0);
    otp_check(!otp_is_alive(pid));
}

OTP_TEST(a_start_that_fails_can_be_looked_at, .seeds = 5)
{
    int code = 0;
    atomic_store(&ended_count, 0);
    otp_check_eq(otp_try_start_supervised(ill_start, NULL, &code).id, 0);
    otp_check_eq(code, OTP_EDIED);
    otp_check_ne(otp_try_start_supervised(start_child, NULL, NULL).id, 0);
}

static void stubborn(void *arg)
{
    (void)arg;
    (void)otp_trap_exit(true);
    otp_recv_tag(PONG, OTP_INFINITY);
}

static otp_pid start_stubborn(void *arg) { return otp_spawn_link(stubborn, arg); }

OTP_TEST(a_child_that_does_not_stop_is_killed, .seeds = 5)
{
    otp_pid pid = otp_start_supervised(start_stubborn);
    otp_sleep(1);
    int64_t began = otp_now();
    otp_check_eq(otp_stop_supervised(pid), 0);
    otp_check_ge(otp_now() - began, 5000);
    otp_check(otp_log_has("it is killed"));
}

static void log_something(void *arg) { otp_log(OTP_LOG_WARNING, "%s", (const char *)arg); }

OTP_TEST(the_log_is_captured, .async = true)
{
    otp_log(OTP_LOG_NOTICE, "before");
    char *text = otp_capture_log(log_something, "something");
    otp_check_str(text, "[warning] something\n");
    otp_check(otp_log_has("before"));
    otp_check(!otp_log_has("of the other"));
}

OTP_TEST(the_log_of_another_case_is_apart, .async = true)
{
    otp_log(OTP_LOG_NOTICE, "of the other");
    otp_check(!otp_log_has("something"));
    otp_sleep(5);
    otp_check(otp_log_has("of the other"));
}

OTP_TEST(linked_processes_end_with_their_case, .seeds = 5)
{
    otp_check_eq(otp_register("linked", otp_spawn_link(idle, NULL)), 0);
}

static void *volatile cache;
OTP_TEST(memory_of_the_first_run_may_stay, .skip = OTP__TEST_MEMORY ? NULL : "memory is not checked here")
{
    if (!cache) cache = malloc(5000);
    otp_check(cache != NULL);
}

OTP_TEST(memory_that_is_meant_to_stay, .keeps_memory = true)
{
    void **more = malloc(sizeof *more);
    otp_check(more != NULL);
    *more = kept;
    kept = more;
}

static int more_counter;
OTP_TEST(timers_that_are_cancelled_are_none, .seeds = 3)
{
    otp_ref ref = otp_timer(&(otp_timer_opts){ .time = 60000, .name = "nobody", .tag = PING });
    otp_check_eq(otp_timers(NULL, 0), 1);
    otp_check_ge(otp_cancel_timer(ref), 0);
    otp_check_eq(otp_timers(NULL, 0), 0);
    otp_pid to[4];
    ref = otp_send_after(60000, otp_self(), PING, NULL, 0);
    otp_check_eq(otp_timers(to, 4), 1);
    otp_check_eq(to[0], otp_self());
    otp_check_ge(otp_cancel_timer(ref), 0);
    more_counter++;
}

/* -- main: the options of tests/run.sh */

static char self_path[4096];

int main(int argc, char **argv)
{
    char *args[64];
    int n = 0;
    bool is_fixture = argc > 1 && strcmp(argv[1], "--fixture") == 0;
    ssize_t size = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    self = size > 0 ? self_path : argv[0];
    args[n++] = argv[0];
    for (int i = is_fixture ? 2 : 1; i < argc && n < 50; i++) {
        bool seeds = strcmp(argv[i], "--deterministic") == 0;   /* --seeds, which follows, is known to otp_test_main */
        /* What runs a program does not depend on the number of schedulers here: once is enough. */
        if (seeds || (!is_fixture && strcmp(argv[i], "--schedulers") == 0 && i + 1 < argc && strcmp(argv[i + 1], "2") != 0)) {
            static char no_tag[] = "--no-tag", program[] = "program";
            args[n++] = no_tag;
            args[n++] = program;
        }
        if (!seeds) args[n++] = argv[i];
    }
    if (!is_fixture) {
        static char no[] = "--no-tag", fixture_tag[] = "fixture", spin_tag[] = "spin", async_tag[] = "async", race[] = "race";
        args[n++] = no;
        args[n++] = fixture_tag;
        args[n++] = no;
        args[n++] = spin_tag;
        args[n++] = no;
        args[n++] = async_tag;
        args[n++] = no;
        args[n++] = race;
    }
    args[n] = NULL;
    return otp_test_main(n, args);
}
