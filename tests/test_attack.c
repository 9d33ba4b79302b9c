/* Crash isolation attacked: what test_isolation.c leaves out. Each attack has one exact outcome; docs/isolation.md has the
   table. What must end a whole program runs in children: this program again, with TEST_CHILD set. */
#include "test.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ISOLATED(id) TEST_WITH(id, .real = true, .not_sanitized = true, .opts.force_isolation = true)
#define CHILDREN(id) TEST_WITH(id, .real = true, .plain = true, .not_sanitized = true)
#if defined(__clang__)
#define RAW __attribute__((noinline, optnone))
#else
#define RAW __attribute__((noinline, optimize("O0")))
#endif

enum { GO = 1, ASK, BAD, NOTE };

static volatile uintptr_t wild = 24;
static volatile int sink;

RAW static void fault(void) { *(volatile int *)wild = 1; }
static void crash(void *arg) { (void)arg; fault(); }

/* Runs fn in a process of its own; the reason for its end, without the text. */
static otp_reason end_of(otp_fn *fn, void *arg)
{
    otp_ref ref;
    CHECK(otp_spawn_monitor(fn, arg, &ref).id != 0);
    otp_reason why = *test_down(ref);
    why.text = NULL;
    return why;
}

/* After every attack: others run, and the allocator works. */
static void fine(void *arg)
{
    void *p[20];
    (void)arg;
    for (int i = 0; i < 20; i++) {
        p[i] = malloc((size_t)1 << i % 18);
        CHECK(p[i] != NULL);
    }
    for (int i = 0; i < 20; i++) free(p[i]);
    double x = 7;
    char text[32];
    CHECK(snprintf(text, sizeof text, "%.1f", x / 2) == 3);
    CHECK_STR(text, "3.5");
}

static void contained_as(otp_fn *fn, int sig)
{
    for (int i = 0; i < 10; i++) {
        otp_reason why = end_of(fn, NULL);
        CHECK_EQ(why.kind, OTP_REASON_CRASH);
        CHECK_EQ(why.code, sig);
        CHECK_EQ(end_of(fine, NULL).kind, OTP_REASON_NORMAL);
    }
    CHECK_EQ(otp_processes(NULL, 0), 1);
}

/* -- signal classes ----------------------------------------------------------------------------------------- */

static void raises_abort(void *arg) { (void)arg; (void)raise(SIGABRT); }
ISOLATED(abort_by_raise) { contained_as(raises_abort, SIGABRT); }

#if defined(__x86_64__)
RAW static void breakpoint(void *arg) { (void)arg; __asm__ volatile("int3"); }
RAW static void quotient_overflow(void *arg)
{
    (void)arg;
    __asm__ volatile("movl $0x80000000, %%eax\n\tcltd\n\tmovl $-1, %%ecx\n\tidivl %%ecx" : : : "eax", "ecx", "edx", "cc");
}
RAW static void privileged(void *arg) { (void)arg; __asm__ volatile("hlt"); }
RAW static void backwards(void *arg)
{
    (void)arg;
    __asm__ volatile("std" : : : "cc");
    fault();
}
RAW static void lost_frame_pointer(void *arg)
{
    (void)arg;
    __asm__ volatile("movq $0x4141, %%rbp\n\tmovl $1, (%%rbp)" : : : "memory");
}
RAW static void smashed_return(void *arg)
{
    (void)arg;
    __asm__ volatile("movabsq $0x414141414140, %%rax\n\tpushq %%rax\n\tret" : : : "rax", "memory");
}
RAW static void wild_non_canonical_jump(void *arg)
{
    (void)arg;
    __asm__ volatile("movabsq $0x4141414141414141, %%rax\n\tjmp *%%rax" : : : "rax", "memory");
}
ISOLATED(a_breakpoint) { contained_as(breakpoint, SIGTRAP); }
ISOLATED(a_quotient_that_overflows) { contained_as(quotient_overflow, SIGFPE); }
ISOLATED(a_privileged_instruction) { contained_as(privileged, SIGSEGV); }
ISOLATED(a_fault_with_the_direction_flag_set) { contained_as(backwards, SIGSEGV); }
ISOLATED(a_fault_without_a_frame_pointer) { contained_as(lost_frame_pointer, SIGSEGV); }
ISOLATED(a_return_to_nowhere) { contained_as(smashed_return, SIGSEGV); }
ISOLATED(a_jump_to_a_non_canonical_address) { contained_as(wild_non_canonical_jump, SIGSEGV); }
#endif

static char *code_page;
static void calls_data(void *arg) { (void)arg; ((void (*)(void))(uintptr_t)code_page)(); }
ISOLATED(a_call_of_data)
{
    code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code_page != MAP_FAILED);
    contained_as(calls_data, SIGSEGV);
    CHECK_EQ(munmap(code_page, 4096), 0);
}

/* -- deep stacks -------------------------------------------------------------------------------------------- */

RAW static int deep(int n)
{
    volatile char frame[1000];
    frame[n % 1000] = 1;
    if (n == 0) fault();
    return n == 0 ? 0 : deep(n - 1) + frame[n % 1000];
}
static void deep_crash(void *arg) { (void)arg; sink = deep(180); }
ISOLATED(a_fault_180_frames_deep) { contained_as(deep_crash, SIGSEGV); }

RAW static void touch_down(size_t bytes)
{
    /* What -fstack-clash-protection makes of a large frame: a touch in every page. */
    volatile char *at = __builtin_frame_address(0);
    for (size_t i = 0; i < bytes; i += 4096) at[-(ptrdiff_t)i] = 0;
}
static void probed_frame(void *arg) { (void)arg; touch_down(4 << 20); }

static void overflow_as(otp_fn *fn)
{
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(end_of(fn, NULL).kind, OTP_REASON_STACK_OVERFLOW);
        CHECK_EQ(end_of(fine, NULL).kind, OTP_REASON_NORMAL);
    }
}
ISOLATED(a_large_frame_that_is_touched_page_by_page) { overflow_as(probed_frame); }

#ifdef TEST_CLASH               /* compiled with -fstack-clash-protection */
__attribute__((noinline)) static void leaps(void *arg)
{
    (void)arg;
    volatile char frame[4 << 20];                           /* sixteen stacks and their guards */
    __asm__ volatile("" : : "r"(frame) : "memory");
    frame[0] = 1;
    static volatile int zero;
    sink = frame[zero];
}
ISOLATED(a_large_frame_that_would_leap_over_the_guard) { overflow_as(leaps); }
#endif

static void overflow_in_strlen(void *arg)
{
    /* The last bit of stack goes to a library function. */
    char *low = (char *)__builtin_frame_address(0) - (300 << 10);
    (void)arg;
    sink = (int)strlen(low);
}
ISOLATED(the_guard_read_by_a_library_function) { overflow_as(overflow_in_strlen); }

/* -- library calls ------------------------------------------------------------------------------------------ */

static void memcpy_bad(void *arg) { char b[64]; (void)arg; memcpy(b, (const void *)wild, sizeof b); sink = b[3]; }
static void strcmp_bad(void *arg) { (void)arg; sink = strcmp((const char *)wild, "x"); }
static void memchr_bad(void *arg) { (void)arg; sink = memchr((const void *)wild, 7, 1000) != NULL; }
ISOLATED(memcpy_of_a_bad_pointer) { contained_as(memcpy_bad, SIGSEGV); }
ISOLATED(strcmp_of_a_bad_pointer) { contained_as(strcmp_bad, SIGSEGV); }
ISOLATED(memchr_of_a_bad_pointer) { contained_as(memchr_bad, SIGSEGV); }

static int compare_and_crash(const void *a, const void *b)
{
    if (*(const int *)a == 3) fault();
    return *(const int *)a - *(const int *)b;
}
static void qsorts(void *arg)
{
    int v[] = { 5, 4, 3, 2, 1 };
    (void)arg;
    qsort(v, 5, sizeof v[0], compare_and_crash);
}
ISOLATED(a_callback_of_a_library_function) { contained_as(qsorts, SIGSEGV); }

/* -- locks of the user's: a deferred function gives them back -------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void unlock(void *arg) { if (pthread_mutex_unlock(arg) != 0) abort(); }
static void crash_with_lock(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_mutex_lock(&lock), 0);
    CHECK_EQ(otp_defer(unlock, &lock), 0);
    fault();
}
ISOLATED(a_lock_is_given_back_by_a_deferred_function)
{
    contained_as(crash_with_lock, SIGSEGV);
    CHECK_EQ(pthread_mutex_trylock(&lock), 0);
    CHECK_EQ(pthread_mutex_unlock(&lock), 0);
}

/* -- during the end ----------------------------------------------------------------------------------------- */

static atomic_int ran;
static void counts(void *arg) { (void)arg; (void)atomic_fetch_add(&ran, 1); }
static void counts_and_faults(void *arg) { counts(arg); fault(); }
static void counts_and_overflows(void *arg) { counts(arg); touch_down(4 << 20); }
static void counts_and_exits(void *arg) { counts(arg); otp_exit(OTP_USER(99, "from a deferred function")); }
static void counts_and_aborts(void *arg) { counts(arg); abort(); }

static void defer_all(void)
{
    otp_fn *const all[] = { counts, counts_and_faults, counts, counts_and_overflows, counts, counts_and_exits, counts,
                            counts_and_aborts, counts };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) CHECK_EQ(otp_defer(all[i], NULL), 0);
}
static void bad_defers_normal(void *arg) { (void)arg; defer_all(); }
static void bad_defers_exit(void *arg) { (void)arg; defer_all(); otp_exit(OTP_USER(7, NULL)); }
static void bad_defers_crash(void *arg) { (void)arg; defer_all(); fault(); }
static void bad_defers_overflow(void *arg) { (void)arg; defer_all(); touch_down(4 << 20); }
static void bad_defers_killed(void *arg) { (void)arg; defer_all(); (void)otp_exit_signal(otp_self(), OTP_KILL); }

ISOLATED(faults_in_deferred_functions_of_every_kind_of_end)
{
    static const struct { otp_fn *fn; otp_reason_kind kind; } ends[] = {
        { bad_defers_exit, OTP_REASON_USER }, { bad_defers_crash, OTP_REASON_CRASH },
        { bad_defers_overflow, OTP_REASON_STACK_OVERFLOW }, { bad_defers_killed, OTP_REASON_KILLED },
        { bad_defers_normal, OTP_REASON_NORMAL },
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        atomic_store(&ran, 0);
        CHECK_EQ(end_of(ends[i].fn, NULL).kind, ends[i].kind);     /* the first reason stands */
        CHECK_EQ(atomic_load(&ran), 9);                             /* each was called, once */
        CHECK_EQ(end_of(fine, NULL).kind, OTP_REASON_NORMAL);
    }
}

/* -- handlers ----------------------------------------------------------------------------------------------- */

static otp_next bad_message(void *state, const otp_msg *m)
{
    (void)state;
    if (m->tag == BAD) fault();
    if (m->tag == GO) return otp_stop_with(OTP_USER(5, NULL));
    return OTP_OK;
}
static void bad_terminate(void *state, const otp_reason *why)
{
    (void)state; (void)why;
    counts(NULL);
    fault();
}
static bool bad_system(void *state, const otp_msg *m)
{
    (void)state;
    if (m->tag == OTP_SYS_GET_STATE) fault();
    return false;
}
static const otp_handler fragile = {
    .name = "fragile", .state_size = 64, .message = bad_message, .terminate = bad_terminate, .system = bad_system
};

/* Asks a fragile handler from within its own callback. */
static otp_next asks(void *state, const otp_msg *m)
{
    (void)state;
    otp_pid to = *OTP_PAYLOAD(m, otp_pid);
    int64_t rc = otp_try_call(to, BAD, NULL, 0, NULL, 0, TEST_WAIT);
    CHECK_EQ(OTP_REPLY(otp_from_of(m), rc), 0);
    return OTP_OK;
}
static const otp_handler asker = { .name = "asker", .message = asks };
static otp_next blocks_then_faults(void *state, const otp_msg *m)
{
    (void)state; (void)m;
    otp_sleep(1);                           /* it has a stack now */
    sink = deep(50);
    return OTP_OK;
}
static const otp_handler blocker = { .name = "blocker", .message = blocks_then_faults };

static otp_pid start_handler(const otp_handler *h, otp_ref *ref)
{
    otp_pid p;
    SPAWN(&p, .handler = h, .monitor = ref);
    return p;
}

ISOLATED(a_fault_in_terminate_leaves_the_first_reason)
{
    otp_ref ref;
    atomic_store(&ran, 0);
    otp_pid p = start_handler(&fragile, &ref);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    const otp_reason *why = test_down(ref);
    CHECK_EQ(why->kind, OTP_REASON_USER);
    CHECK_EQ(why->code, 5);
    CHECK_EQ(atomic_load(&ran), 1);
}

ISOLATED(a_fault_in_the_system_callback)
{
    otp_ref ref;
    otp_pid p = start_handler(&fragile, &ref);
    CHECK_EQ(otp_try_call(p, OTP_SYS_GET_STATE, NULL, 0, NULL, 0, TEST_WAIT), OTP_EDIED);
    CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
}

ISOLATED(a_fault_in_a_handler_called_by_a_handler)
{
    otp_ref ref, other;
    otp_pid a = start_handler(&asker, &other);
    for (int i = 0; i < 10; i++) {
        otp_pid p = start_handler(&fragile, &ref);
        int64_t rc = 0;
        CHECK_EQ(otp_try_call(a, ASK, &p, sizeof p, &rc, sizeof rc, TEST_WAIT), sizeof rc);
        CHECK_EQ(rc, OTP_EDIED);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
    }
    for (int i = 0; i < 10; i++) {
        otp_pid p = start_handler(&blocker, &ref);
        int64_t rc = 0;
        CHECK_EQ(otp_try_call(a, ASK, &p, sizeof p, &rc, sizeof rc, TEST_WAIT), sizeof rc);
        CHECK_EQ(rc, OTP_EDIED);
        CHECK_EQ(test_down(ref)->kind, OTP_REASON_CRASH);
    }
    CHECK(otp_is_alive(a));
    test_kill(a);
    CHECK_EQ(test_down(other)->kind, OTP_REASON_KILLED);
}

/* -- in children -------------------------------------------------------------------------------------------- */

static void run_in_process(otp_fn *fn)
{
    otp_ref ref;
    otp_pid p;
    otp_spawn_opts o = { .fn = fn, .name = "culprit", .monitor = &ref };
    if (otp_spawn_opt(&o, &p) != 0) _exit(50);
    const otp_msg *m = otp_recv_ref(ref, TEST_WAIT);
    if (m == NULL) _exit(51);
    if (otp_reason_of(m)->kind != OTP_REASON_CRASH) _exit(52);
}

static void app_of_attack(void *arg) { run_in_process(*(otp_fn **)arg); }

/* The size of the top of the heap is overwritten: malloc notices while it holds its lock. */
static void corrupts_the_heap(void *arg)
{
    (void)arg;
    enum { BYTES = 100000 };
    size_t *volatile last = malloc(BYTES);      /* from the top, not from a free list; volatile: its size is forgotten */
    if (!last) _exit(53);
    volatile size_t *words = last;
    for (size_t i = 0; i < 8; i++) words[BYTES / sizeof *words + i] = (size_t)0x4141414141414141;
    void *volatile more = malloc(120000);
    _exit(more ? 54 : 55);
}

static void snprintf_bad(void *arg) { char b[64]; (void)arg; sink = snprintf(b, sizeof b, "%s", (const char *)wild); }
static char *volatile kept;
static void strdup_bad(void *arg) { (void)arg; kept = strdup((const char *)wild); }

RAW static void smash(char *at, size_t n)
{
    for (volatile size_t i = 0; i < n; i++) at[i] = 0x41;
}
#if !defined(__clang__)
__attribute__((noinline, optimize("stack-protector-all"))) static void smashes_its_frame(void *arg)
{
    char b[16];
    (void)arg;
    smash(b, 64);
    sink = b[3];
}
#else
static void smashes_its_frame(void *arg) { (void)arg; smash((char *)&(int){ 0 }, 1); }
#endif

static void raises_segv(void *arg) { (void)arg; (void)raise(SIGSEGV); }
static void kills_with_abort(void *arg)
{
    (void)arg;
    if (kill(getpid(), SIGABRT) != 0) _exit(56);
    for (;;) otp_sleep(10);
}
static void faults_with_the_signal_blocked(void *arg)
{
    sigset_t all;
    (void)arg;
    if (sigfillset(&all) != 0 || pthread_sigmask(SIG_SETMASK, &all, NULL) != 0) _exit(57);
    fault();
}
static void blocking_job(void *arg) { (void)arg; (void)otp_blocking(crash, NULL); }
static void faulting_log(otp_level level, const char *text, void *arg)
{
    (void)level; (void)text; (void)arg;
    fault();
}
static void at_exit_faults(otp_pid pid, void *arg) { (void)pid; (void)arg; fault(); }

static struct sigaction old_segv;
static atomic_int handled;
static void chains(int sig, siginfo_t *info, void *context)
{
    (void)atomic_fetch_add(&handled, 1);
    old_segv.sa_sigaction(sig, info, context);
}
static void takes(int sig, siginfo_t *info, void *context)
{
    (void)info; (void)context;
    _exit(sig == SIGSEGV ? 35 : 36);
}
static void plain(int sig) { _exit(sig == SIGSEGV ? 37 : 38); }

static void install(void (*fn)(int, siginfo_t *, void *), int flags)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = fn;
    sa.sa_flags = SA_SIGINFO | flags;
    if (sigaction(SIGSEGV, &sa, &old_segv) != 0) _exit(58);
}

static void installs_then_crashes(void *arg)
{
    install(*(int *)arg == 0 ? chains : takes, SA_ONSTACK);
    for (int i = 0; i < 5; i++) run_in_process(crash);
}

static void *foreign_fault(void *arg)
{
    fault();
    return arg;
}

static void run(otp_fn *fn, const otp_opts *o) { _exit(otp_run(app_of_attack, &fn, o)); }

/* Before main(): in a child, does what TEST_CHILD says and never comes back. */
__attribute__((constructor)) static void in_child(void)
{
    const char *mode = getenv("TEST_CHILD");
    int zero_or_one = 0;
    if (mode == NULL) return;
    (void)alarm(20);
    if (strcmp(mode, "heap") == 0) run(corrupts_the_heap, NULL);
    if (strcmp(mode, "snprintf") == 0) run(snprintf_bad, NULL);
    if (strcmp(mode, "strdup") == 0) run(strdup_bad, NULL);
    if (strcmp(mode, "smash") == 0) run(smashes_its_frame, NULL);
    if (strcmp(mode, "raise") == 0) run(raises_segv, NULL);
    if (strcmp(mode, "kill abort") == 0) run(kills_with_abort, NULL);
    if (strcmp(mode, "blocked") == 0) run(faults_with_the_signal_blocked, NULL);
    if (strcmp(mode, "job") == 0) run(blocking_job, NULL);
    if (strcmp(mode, "log") == 0) run(crash, &(otp_opts){ .log = faulting_log });
    if (strcmp(mode, "at_exit") == 0) {
        if (otp_at_exit(at_exit_faults, NULL) != 0) _exit(59);
        run(crash, NULL);
    }
    if (strcmp(mode, "after chains") == 0) {
        int rc = otp_run(installs_then_crashes, &zero_or_one, NULL);
        struct sigaction now;
        if (sigaction(SIGSEGV, NULL, &now) != 0 || now.sa_sigaction != chains) _exit(60);       /* it stays */
        _exit(rc == 0 && atomic_load(&handled) == 5 ? 0 : 61);
    }
    if (strcmp(mode, "after takes") == 0) {
        zero_or_one = 1;
        _exit(otp_run(installs_then_crashes, &zero_or_one, NULL));
    }
    if (strncmp(mode, "before", 6) == 0) {
        pthread_t t;
        if (strcmp(mode, "before ignored") == 0) {
            if (signal(SIGSEGV, SIG_IGN) == SIG_ERR) _exit(62);
        } else if (signal(SIGSEGV, plain) == SIG_ERR) {
            _exit(62);
        }
        if (otp_start(NULL) != 0) _exit(63);
        run_in_process(crash);                              /* contained all the same */
        if (strcmp(mode, "before restored") == 0) {
            if (otp_stop(5000) != 0) _exit(64);
            if (signal(SIGSEGV, SIG_DFL) != plain) _exit(65);
            _exit(0);
        }
        if (pthread_create(&t, NULL, foreign_fault, NULL) != 0 || pthread_join(t, NULL) != 0) _exit(66);
        _exit(67);
    }
    _exit(68);
}

static char child_text[65536];

static int run_child(const char *mode)
{
    int out[2], status = -1;
    if (pipe(out) != 0) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        if (setenv("TEST_CHILD", mode, 1) != 0 || dup2(out[1], 2) < 0 || dup2(out[1], 1) < 0) _exit(90);
        for (int fd = 3; fd < 100; fd++) (void)close(fd);
        (void)execl("/proc/self/exe", "child", (char *)NULL);
        _exit(91);
    }
    if (pid < 0 || close(out[1]) != 0) return -1;
    size_t n = 0;
    ssize_t r;
    while (n < sizeof child_text - 1 && (r = read(out[0], child_text + n, sizeof child_text - 1 - n)) > 0) n += (size_t)r;
    child_text[n] = 0;
    if (close(out[0]) != 0 || waitpid(pid, &status, 0) != pid) return -1;
    return status;
}

/* The program ends by this signal, after saying `text` (NULL: anything). */
static void ends(const char *mode, int sig, const char *text)
{
    int status = run_child(mode);
    if (!WIFSIGNALED(status) || (text && !strstr(child_text, text)))
        test_line("# %s: status %x: %.700s", mode, (unsigned)status, child_text);
    CHECK(WIFSIGNALED(status));
    if (WIFSIGNALED(status)) CHECK_EQ(WTERMSIG(status), sig);
    if (text) CHECK(strstr(child_text, text) != NULL);
}

static void exits(const char *mode, int code)
{
    int status = run_child(mode);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        test_line("# %s: status %x: %.700s", mode, (unsigned)status, child_text);
    CHECK(WIFEXITED(status));
    if (WIFEXITED(status)) CHECK_EQ(WEXITSTATUS(status), code);
}

#define IN_LIBRARY "crashed inside a library call ("

#ifdef __GLIBC__
CHILDREN(a_heap_that_is_found_corrupt_under_mallocs_lock_ends_the_program) { ends("heap", SIGABRT, IN_LIBRARY); }
CHILDREN(a_bad_string_in_snprintf_ends_the_program) { ends("snprintf", SIGSEGV, IN_LIBRARY); }
CHILDREN(a_bad_string_in_strdup_ends_the_program) { ends("strdup", SIGSEGV, IN_LIBRARY); }
#if !defined(__clang__)
CHILDREN(a_smashed_stack_that_the_compiler_notices_ends_the_program) { ends("smash", SIGABRT, "__stack_chk_fail"); }
#endif
#endif
CHILDREN(a_raised_sigsegv_is_no_fault_of_a_process) { ends("raise", SIGSEGV, NULL); }
CHILDREN(an_abort_sent_by_kill_ends_the_program) { ends("kill abort", SIGABRT, NULL); }
CHILDREN(a_fault_with_its_signal_blocked_ends_the_program) { ends("blocked", SIGSEGV, NULL); }
CHILDREN(a_fault_in_a_blocking_job_ends_the_program) { ends("job", SIGSEGV, NULL); }
CHILDREN(a_fault_in_the_log_hook_ends_the_program) { ends("log", SIGSEGV, NULL); }
CHILDREN(a_fault_in_an_at_exit_function_ends_the_program) { ends("at_exit", SIGSEGV, "culprit"); }
CHILDREN(a_handler_installed_later_that_passes_on) { exits("after chains", 0); }
CHILDREN(a_handler_installed_later_that_does_not_pass_on) { exits("after takes", 35); }
CHILDREN(an_older_handler_gets_faults_of_foreign_threads) { exits("before plain", 37); }
CHILDREN(an_older_handler_is_back_after_the_stop) { exits("before restored", 0); }
CHILDREN(an_ignored_signal_does_not_make_a_foreign_fault_endless) { ends("before ignored", SIGSEGV, NULL); }
