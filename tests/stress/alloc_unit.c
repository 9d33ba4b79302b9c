/* alloc_unit.c: makes one test program (TEST_FILE, TEST_UNIT its name) a part of alloc.c. */
#define UNIT_CAT2(a, b) a##b
#define UNIT_CAT(a, b) UNIT_CAT2(a, b)
#define main UNIT_CAT(TEST_UNIT, _main)
#define TEST_WAIT 2000          /* what does not come because memory is out is not worth waiting for */
#define TEST_ENDS_ALL
int main(int argc, char **argv);
#include TEST_FILE
#undef main
#include "alloc.h"

static test_case *unit_at(int i)
{
    test_case *t = test_first;
    while (t && i-- > 0) t = t->next;
    return t;
}

static int unit_tests(void)
{
    int n = 0;
    while (unit_at(n)) n++;
    return n;
}

static const char *unit_test(int i, bool *real)
{
    test_case *t = unit_at(i);
    *real = t->real;
    return t->plain || t->not_sanitized || t->opts.force_isolation ? NULL : t->name;
}

static bool unit_run(int i, bool real, bool quiet)
{
    test_case *t = unit_at(i);
    if (quiet && !freopen("/dev/null", "w", stdout)) return false;
    test_opt_deterministic = !real;
    test_main_thread = pthread_self();
    t->seconds = TEST_SANITIZED ? 10 : 40;
    return test_once(t, real ? 0 : 1);
}

#define UNIT_STR2(x) #x
#define UNIT_STR(x) UNIT_STR2(x)
__attribute__((constructor)) static void unit_add(void)
{
    static alloc_unit u = { UNIT_STR(TEST_UNIT), unit_tests, unit_test, unit_run, NULL };
    u.next = alloc_units;
    alloc_units = &u;
}
