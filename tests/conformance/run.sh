#!/bin/sh
# The conformance test: random programs on Erlang and on otp.h, with 1 and 2 schedulers and in the deterministic mode;
# their traces must be the same. Ends with "N passed, N failed". docs/conformance.md says more.
#
# SEED       what the programs follow from; default: from the clock
# N, FROM    how many programs, default 20000, and the number of the first, default 1
# SECONDS_MAX  no new batch after so much time, default 170
# PROGRAM    a file of programs to run instead
# SHOW=1     prints each program and its trace
# BUILD      where things go, default build/conformance
# CC, CFLAGS as usual.
cd "$(dirname "$0")/../.." || exit 1
. tools/tally.sh

BUILD=${BUILD:-build/conformance}
CC=${CC:-cc}
for tool in erl erlc; do
    if ! command -v $tool >/dev/null 2>&1; then
        echo "skipped: $tool is not installed; make deps installs it (Debian: erlang-base)"
        exit 77
    fi
done

mkdir -p "$BUILD"
rm -f "$BUILD"/difference_*
build() {
    # shellcheck disable=SC2086
    $CC -std=c11 $WARN -Werror ${CFLAGS--O2 -g} -pthread -I. -o "$BUILD/$1" "tests/conformance/$1.c"
}
if ! build conform || ! build run || ! erlc -Wall -o "$BUILD" tests/conformance/run.erl; then
    not_ok 'the conformance test does not compile'
    total
    exit
fi

set -- --dir "$BUILD" --count "${N:-20000}" --from "${FROM:-1}" --seconds "${SECONDS_MAX:-170}"
if [ -n "${SEED-}" ]; then set -- "$@" --seed "$SEED"; fi
if [ -n "${PROGRAM-}" ]; then set -- "$@" --program "$PROGRAM"; fi
if [ -n "${SHOW-}" ]; then set -- "$@" --show; fi
exec "$BUILD/conform" "$@" erl "exec erl +S 2:2 -noshell -pa $BUILD -s run main" \
    c1 "exec $BUILD/run --schedulers 1" c2 "exec $BUILD/run --schedulers 2" det "exec $BUILD/run --deterministic"
