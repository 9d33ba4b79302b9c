#!/bin/sh
# The programs of tests/stress/: load, refusals, long times; ends with "N passed, N failed".
#
#   tests/stress.sh [web | day | alloc …]       default: all three
#
# SECONDS_EACH   of the web, in each build: default 10. For a minute under both sanitizers: SECONDS_EACH=60
# BUILDS         of the web: default "plain asan tsan"
# HOURS          of virtual time: default 24
# MOST           in how many tests each place of allocation is refused: default 3; 0: in every test
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
CC=${CC:-cc}
each=${SECONDS_EACH:-10}
build=build/stress
mkdir -p "$build"
export ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=1:abort_on_error=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=0:exitcode=66

# make_it NAME BUILD: build/stress/NAME.BUILD
make_it() {
    case $2 in
    plain) flags='-O2 -g' ;;
    asan) flags='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined' ;;
    tsan) flags='-O1 -g -fno-omit-frame-pointer -fsanitize=thread' ;;
    esac
    if ! echo 'int main(void) { return 0; }' | $CC $flags -o "$build/works" -x c - >/dev/null 2>&1; then
        skip "$CC $flags does not work here"
        return 1
    fi
    # shellcheck disable=SC2086
    if ! $CC -std=c11 $WARN $flags -pthread -I. -o "$build/$1.$2" "tests/stress/$1.c" >"$build/$1.$2.build.log" 2>&1; then
        not_ok "tests/stress/$1.c does not compile ($2)"
        head -n 40 "$build/$1.$2.build.log"
        return 1
    fi
}

# run_it NAME LIMIT COMMAND…: shows what it says, and counts it.
run_it() {
    log=$build/$1.log
    name=$1
    shift
    limit_for=$1
    shift
    limit "$limit_for" "$@" >"$log" 2>&1 </dev/null
    add_results "$name" "$log" $?
    echo "$name: ${added% *} passed, ${added#* } failed"
    grep -v ' passed, ' "$log" | tail -n 40 | sed 's/^/     /'
}

if [ $# -eq 0 ]; then set -- web day alloc; fi
for what in "$@"; do
    case $what in
    web)
        for kind in ${BUILDS:-plain asan tsan}; do
            make_it web "$kind" || continue
            # A fibre of gcc's ThreadSanitizer for each stack, some 8,000 of them at most: nearly all are handlers there.
            share=30
            if [ "$kind" = tsan ]; then share=1; fi
            run_it "web.$kind" $((each * 6 + 240)) "$build/web.$kind" --seconds "$each" --functions $share
        done
        ;;
    day) if make_it day plain; then run_it day 900 "$build/day.plain" --hours "${HOURS:-24}"; fi ;;
    alloc)
        run_it alloc.asan 1500 sh tests/stress/alloc.sh asan --most "${MOST:-3}" --real
        run_it alloc.plain 900 sh tests/stress/alloc.sh plain --most "${MOST:-3}" --from
        ;;
    *) echo "usage: $0 [web | day | alloc …]" >&2; exit 2 ;;
    esac
done
total
