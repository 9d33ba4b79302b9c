/* alloc.c: every test of the suite with its n-th allocation (or thread start) refused, n = 1, 2, 3 … until none is left.

       alloc [--each K] [--most M] [--from] [--real] [--only UNIT] [--test NAME] [--n N] [--sites FILE] [--verbose]

   Each n is a child: the test runs once with the refusal, and may end as it likes, in order; then it runs once more
   without one, and must pass. A crash, a hang, a sanitizer's report, and blocks that are held afterwards beyond those
   of two undisturbed runs are failures. --each K: of the calls at one place, the first K in each test (0: all).
   --most M: each place in M tests at most (0: in all). --from: all from the n-th on are refused: then the runtime may
   give up with a line in its log, since it cannot tell that a process has ended. --real: the tests that use two
   schedulers, real time and fds, as well. --n N: this one only. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "alloc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static long opt_each = 1, opt_most, opt_n;
static bool opt_from, opt_real, opt_verbose;
static const char *opt_only, *opt_test, *opt_sites;
static long passed, failed, runs, gave_up, clean_errors;

static int redirect(const char *log)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    return fd >= 0 && dup2(fd, 1) >= 0 && dup2(fd, 2) >= 0 ? 0 : -1;
}

enum { CHILD_OK, CHILD_ERROR_FIRST, CHILD_BAD_SECOND = 10 };

/* Runs test i twice in a child, the first time with refusal n; its wait status, and the blocks held at the end. */
static int child(alloc_unit *u, int i, bool real, long n, long *live)
{
    alloc_shared *a = alloc_state;
    atomic_store(&a->calls, 0);
    atomic_store(&a->live, 0);
    atomic_store(&a->hit, false);
    a->n = n;
    a->from = opt_from;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        if (setrlimit(RLIMIT_CORE, &none) != 0 || redirect("build/stress/alloc.child.log") != 0) _exit(60);
        atomic_store(&a->armed, true);
        bool first = u->run(i, real, false);
        atomic_store(&a->armed, false);
        bool second = u->run(i, real, false);
        _exit(!second ? CHILD_BAD_SECOND : first ? CHILD_OK : CHILD_ERROR_FIRST);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("alloc");
        exit(2);
    }
    *live = atomic_load(&a->live);
    runs++;
    return status;
}

static void show_child(void)
{
    FILE *f = fopen("build/stress/alloc.child.log", "r");
    char line[400];
    for (int n = 0; f && n < 25 && fgets(line, sizeof line, f); n++) printf("     | %s", line);
    if (f && fclose(f) != 0) return;
}

static void one_test(alloc_unit *u, int i, const char *name, bool real)
{
    static uint32_t seen[ALLOC_SITES];
    static uint16_t order[ALLOC_CALLS];
    static uint32_t tests[ALLOC_SITES];     /* in which it was refused */
    long held, live, bad = 0, given_up = 0, errors = 0, tried = 0;
    int status = child(u, i, real, 0, &held);
    long calls = atomic_load(&alloc_state->calls);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != CHILD_OK) {
        printf("FAIL %s %s: without a refusal: status %x\n", u->name, name, (unsigned)status);
        show_child();
        failed++;
        return;
    }
    if (calls >= ALLOC_CALLS) calls = ALLOC_CALLS - 1;
    memset(seen, 0, sizeof seen);
    memcpy(order, alloc_state->order, (size_t)(calls + 1) * sizeof order[0]);
    for (long n = 1; n <= calls && bad < 3; n++) {
        uint16_t site = order[n];
        if (opt_n > 0 && n != opt_n) continue;
        if (opt_each > 0 && seen[site] >= (unsigned long)opt_each) continue;
        if (seen[site]++ == 0) tests[site]++;
        if (opt_most > 0 && tests[site] > (unsigned long)opt_most) continue;
        status = child(u, i, real, n, &live);
        tried++;
        if (!WIFEXITED(status)) {
            printf("FAIL %s %s, n = %ld: killed by signal %d\n", u->name, name, n, WTERMSIG(status));
        } else if (WEXITSTATUS(status) == ALLOC_GAVE_UP && opt_from) {
            given_up++;
            continue;
        } else if (WEXITSTATUS(status) > CHILD_ERROR_FIRST) {
            printf("FAIL %s %s, n = %ld: %s (exit status %d)\n", u->name, name, n,
                   WEXITSTATUS(status) == CHILD_BAD_SECOND ? "the undisturbed run after it fails" : "it does not end in order",
                   WEXITSTATUS(status));
        } else if (!real && live != held) {
            printf("FAIL %s %s, n = %ld: %ld blocks are held, and %ld without a refusal\n", u->name, name, n, live, held);
        } else {
            errors += WEXITSTATUS(status) == CHILD_ERROR_FIRST;
            continue;
        }
        printf("     replay: alloc --only %s --test %s --each 0 --n %ld%s%s\n", u->name, name, n, opt_from ? " --from" : "",
               real ? " --real" : "");
        show_child();
        bad++;
    }
    if (opt_verbose || bad)
        printf("%s %s %s: %ld allocations, %ld refused one by one: %ld told an error, %ld gave up\n", bad ? "FAIL" : "ok  ",
               u->name, name, calls, tried, errors, given_up);
    if (fflush(stdout) != 0) exit(2);
    gave_up += given_up;
    clean_errors += errors;
    if (bad) failed++;
    else passed++;
}

static void write_sites(void)
{
    FILE *f = fopen(opt_sites, "w");
    if (!f) {
        perror(opt_sites);
        exit(2);
    }
    for (int i = 0; i < ALLOC_SITES; i++) {
        alloc_site *s = &alloc_state->sites[i];
        if (atomic_load(&s->addr) == 0) continue;
        fprintf(f, "%lx %u %u\n", (unsigned long)atomic_load(&s->addr), atomic_load(&s->called), atomic_load(&s->failed));
    }
    if (fclose(f) != 0) exit(2);
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--each K] [--most M] [--from] [--real] [--only UNIT] [--test NAME] [--n N] [--sites FILE] [--verbose]\n", program);
    return 2;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--from") == 0) opt_from = true;
        else if (strcmp(argv[i], "--real") == 0) opt_real = true;
        else if (strcmp(argv[i], "--verbose") == 0) opt_verbose = true;
        else if (!value) return usage(argv[0]);
        else if (strcmp(argv[i], "--each") == 0) opt_each = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--n") == 0) opt_n = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--most") == 0) opt_most = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0) opt_only = argv[++i];
        else if (strcmp(argv[i], "--test") == 0) opt_test = argv[++i];
        else if (strcmp(argv[i], "--sites") == 0) opt_sites = argv[++i];
        else return usage(argv[0]);
    }
    alloc_state = mmap(NULL, sizeof *alloc_state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (alloc_state == MAP_FAILED) return 2;
    for (alloc_unit *u = alloc_units; u; u = u->next) {
        if (opt_only && strcmp(opt_only, u->name) != 0) continue;
        for (int i = 0; i < u->tests(); i++) {
            bool real;
            const char *name = u->test(i, &real);
            if (!name || (real && !opt_real) || (opt_test && strcmp(opt_test, name) != 0)) continue;
            one_test(u, i, name, real);
        }
    }
    if (opt_sites) write_sites();
    printf("%ld runs: %ld ended with an error that the test saw, %ld gave up in words, the others passed\n", runs, clean_errors,
           gave_up);
    printf("%ld passed, %ld failed\n", passed, failed);
    return failed ? 1 : 0;
}
