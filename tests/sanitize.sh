#!/bin/sh
# The test programs under a sanitizer, or examples under Valgrind; ends with "N passed, N failed".
#
#   tests/sanitize.sh asan | tsan | ubsan | valgrind
#
# asan includes ubsan and the leak check. MODES, ONLY and CC as for tests/run.sh.
cd "$(dirname "$0")/.." || exit 1
CC=${CC:-cc}
export CC
MODES=${MODES-1 2 8 1..10}
TIMEOUT=${TIMEOUT:-600}
export MODES TIMEOUT

common='-O1 -g -fno-omit-frame-pointer'
case ${1-} in
asan)
    export ASAN_OPTIONS="detect_stack_use_after_return=0:detect_leaks=1:abort_on_error=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
    export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
    CFLAGS="$common -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    ;;
ubsan)
    export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
    CFLAGS="$common -fsanitize=undefined -fno-sanitize-recover=undefined"
    ;;
tsan)
    export TSAN_OPTIONS="halt_on_error=0:exitcode=66:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}"
    CFLAGS="$common -fsanitize=thread"
    ;;
valgrind)
    # A few that cover switching, sending, ending and timers; the rest would only be slow.
    set --
    for name in hello ping_pong selective_receive links_monitors trap_exit timers handler calls move shared_block counter delayed_reply worker_pool; do
        if [ -f examples/$name.c ]; then set -- "$@" examples/$name.c; fi
    done
    export WRAP='valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite'
    export TIMEOUT=120 BUILD=build/valgrind CFLAGS='-O1 -g'
    . tools/tally.sh
    mkdir -p build/valgrind
    sh tools/run_example.sh "$@" >build/valgrind/examples.log 2>&1
    add_results examples build/valgrind/examples.log $?
    sed '$d' build/valgrind/examples.log
    # Tests, with one order of events each. helgrind is of no use here: see docs/testing.md.
    for name in link timers handler; do
        program=build/valgrind/test_$name
        # shellcheck disable=SC2086
        if ! $CC -std=c11 $CFLAGS -pthread -I. -o "$program" "tests/test_$name.c"; then
            not_ok "tests/test_$name.c does not compile"
            continue
        fi
        # shellcheck disable=SC2086
        limit 600 $WRAP --show-leak-kinds=definite "$program" --deterministic --seeds 1..1 >"$program.log" 2>&1
        add_results "test_$name" "$program.log" $?
        echo "test_$name under memcheck: ${added% *} passed, ${added#* } failed"
        grep -E '^(not ok|==)' "$program.log" | head -n 40
    done
    total
    exit
    ;;
*)
    echo "usage: $0 asan | tsan | ubsan | valgrind" >&2
    exit 2
    ;;
esac
BUILD=build/$1.$(basename "$CC")
export BUILD CFLAGS
shift
exec sh tests/run.sh "$@"
