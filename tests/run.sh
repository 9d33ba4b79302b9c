#!/bin/sh
# Builds the test programs and runs each of them in every mode; ends with "N passed, N failed".
#
#   tests/run.sh [tests/test_x.c …]          default: all of tests/test_*.c
#
# MODES    what to run each program with: a number is a count of schedulers, A..B is the deterministic mode
#          with these seeds. Default "1 2 8 1..20".
# ONLY     the name of one test.
# BUILD    where the programs go, default build/tests. A different one for each set of flags.
# JOBS     programs that run at the same time, default 1; compilers: 2.
# TIMEOUT  seconds for one run of one program, default 120.
# RUNNER   what runs the programs, such as an emulator; default nothing.
# SKIP     names of tests to leave out, with commas.
# CC, CFLAGS, LDFLAGS as usual. WERROR= (empty) lets warnings pass.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh

MODES=${MODES-1 2 8 1..20}
BUILD=${BUILD:-build/tests}
CC=${CC:-cc}
CFLAGS=${CFLAGS--O1 -g}
WERROR=${WERROR--Werror}
export BUILD CC CFLAGS LDFLAGS WERROR ONLY TIMEOUT RUNNER SKIP

# compile OUTPUT SOURCE FLAGS…: if the sources are newer; what the compiler says goes to OUTPUT.build.log.
compile() {
    out=$1
    from=$2
    shift 2
    if [ -f "$out" ] && [ -z "$(find ./*.h tests/*.h "$from" -newer "$out" 2>/dev/null)" ]; then return 0; fi
    rm -f "$out"
    # shellcheck disable=SC2086
    $CC -std=c11 $WARN $WERROR $CFLAGS -pthread -I. -o "$out" "$from" "$@" >"$out.build.log" 2>&1
}

if [ "${1-}" = --build ]; then                  # one program, called below
    bin=$BUILD/$(basename "$2" .c)
    # One implementation for all, but for programs that configure it in a way of their own.
    if grep -q '^#define OTP_' "$2"; then set -- "$2"; else set -- "$2" -DTEST_LINKED "$BUILD/otp.o"; fi
    # shellcheck disable=SC2086
    compile "$bin" "$@" ${LDFLAGS-}
    exit 0                                      # a missing program is reported below
elif [ "${1-}" = --one ]; then                  # one program in one mode, called below
    bin=$BUILD/$2
    log=$bin.$3.log
    case $3 in
    *..*) set -- "$bin" --deterministic --seeds "$3" ;;
    *) set -- "$bin" --schedulers "$3" ;;
    esac
    if [ -n "$ONLY" ]; then set -- "$@" --only "$ONLY"; fi
    if [ -n "${SKIP-}" ]; then set -- "$@" --skip "$SKIP"; fi
    # shellcheck disable=SC2086
    limit "${TIMEOUT:-120}" ${RUNNER-} "$@" >"$log" 2>&1 </dev/null
    echo $? >"$log.status"
    exit 0
fi

# Flags that changed make everything stale.
mkdir -p "$BUILD"
flags="$CC $CFLAGS ${LDFLAGS-}"
if [ "$(cat "$BUILD/flags" 2>/dev/null)" != "$flags" ]; then
    rm -f "$BUILD"/test_* "$BUILD/otp.o"
    printf '%s\n' "$flags" >"$BUILD/flags"
fi

if [ $# -eq 0 ]; then set -- tests/test_*.c; fi
if ! compile "$BUILD/otp.o" tests/headers/implementation.c -c; then
    not_ok 'the implementation does not compile:'
    head -n 40 "$BUILD/otp.o.build.log"
    total
    exit
fi
printf '%s\n' "$@" | xargs -P 2 -n 1 sh tests/run.sh --build

list=$BUILD/list
: >"$list"
for source in "$@"; do
    name=$(basename "$source" .c)
    if [ ! -x "$BUILD/$name" ]; then
        not_ok "$source does not compile:"
        head -n 40 "$BUILD/$name.build.log" 2>/dev/null
        continue
    fi
    for mode in $MODES; do echo "$name $mode" >>"$list"; done
done
xargs -P "${JOBS:-1}" -n 2 sh tests/run.sh --one <"$list"

while read -r name mode; do
    log=$BUILD/$name.$mode.log
    status=$(cat "$log.status" 2>/dev/null || echo 99)
    case $mode in
    *..*) how="seeds $mode" ;;
    *) how="$mode scheduler(s)" ;;
    esac
    add_results "$name" "$log" "$status"
    line="$name, $how: ${added% *} passed, ${added#* } failed"
    if [ "${added#* }" -eq 0 ]; then
        echo "ok   $line"
        continue
    fi
    case $status in
    124 | 137 | 142) echo "FAIL $line (killed after ${TIMEOUT:-120} s)" ;;
    *) echo "FAIL $line (exit status $status)" ;;
    esac
    # The failing tests first, then the end of the log, where a crash report or a sanitizer speaks.
    grep '^not ok' "$log" | head -n 20 | sed 's/^/     /'
    grep -v '^ok ' "$log" | tail -n "${SHOW_LINES:-60}" | sed 's/^/   | /'
done <"$list"
total
