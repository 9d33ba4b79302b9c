#!/bin/sh
# The test programs that are about switching and faults, built as distributions build what faces the world; readelf and nm
# show that the program has what the flags promise. Ends with "N passed, N failed". CC, MODES as for tests/run.sh.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
CC=${CC:-cc}
export CC
MODES=${MODES-2 1..3}
build=build/hardened.$(basename "$CC")
fortify=3
if $CC --version 2>/dev/null | grep -q clang; then fortify=2; fi      # what clang 14 knows
CFLAGS="-O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$fortify -fstack-protector-strong -fstack-clash-protection -fPIE -flto"
machine=$(uname -m)
if [ "$machine" = x86_64 ]; then CFLAGS="$CFLAGS -fcf-protection=full"; fi
if [ "$machine" = aarch64 ]; then CFLAGS="$CFLAGS -mbranch-protection=standard"; fi
linking='-pie -flto -Wl,-z,now -Wl,-z,relro'

# -flto makes clang want a linker that knows it.
if ! echo 'int main(void) { return 0; }' >build/hardened.c || ! $CC $CFLAGS $linking -o build/hardened build/hardened.c 2>/dev/null; then
    CFLAGS=$(echo "$CFLAGS" | sed 's/ -flto//')
    linking=$(echo "$linking" | sed 's/ -flto//')
    skip "$CC -flto does not link here; without it"
fi
echo "$CC $CFLAGS $linking"
set -- tests/test_attack.c tests/test_isolation.c tests/test_stack.c tests/test_call.c tests/test_handler.c
log=$build.log
BUILD=$build CFLAGS="$CFLAGS -DTEST_CLASH" LDFLAGS=$linking MODES=$MODES sh tests/run.sh "$@" >"$log" 2>&1
add_results hardened "$log" $?
grep -v '^ok ' "$log" | sed '$d'

program=$build/test_attack
has() {         # has NAME PATTERN COMMAND…
    has_name=$1
    pattern=$2
    shift 2
    if "$@" 2>/dev/null | grep -Eq "$pattern"; then ok "$has_name"; else not_ok "$has_name: no '$pattern' in: $*"; fi
}
if command -v readelf >/dev/null 2>&1 && [ -x "$program" ]; then
    has 'position-independent executable' 'Type: *DYN' readelf -h "$program"
    has 'bound at the start (-z now)' 'FLAGS_1.*NOW.*PIE|FLAGS_1.*PIE.*NOW' readelf -d "$program"
    has 'read-only relocations' 'GNU_RELRO' readelf -lW "$program"
    has 'stack is not executable' 'GNU_STACK.* RW ' readelf -lW "$program"
    has 'stack protector' '__stack_chk_fail' nm -D "$program"
    has 'fortified library calls' '__(snprintf|vsnprintf|memcpy|memset|read|fprintf)_chk' nm -D "$program"
    # The linker marks a program only when all that it is made of is marked, the C library's start files included, which
    # they are not everywhere: so the object file is looked at, and the program for what the switch needs.
    # shellcheck disable=SC2086
    $CC -std=c11 $CFLAGS -fno-lto -pthread -I. -c -o "$build/alone.o" tests/headers/implementation.c
    if [ "$machine" = x86_64 ]; then
        has 'indirect branch tracking' 'x86 feature: .*IBT' readelf -n "$build/alone.o"
        has 'shadow stack' 'x86 feature: .*SHSTK' readelf -n "$build/alone.o"
        has 'a landing mark behind the switch' 'endbr64' sh -c "objdump -d --no-show-raw-insn '$program' | grep -A1 'jmp .*\*(%rsi)'"
    fi
    if [ "$machine" = aarch64 ]; then has 'branch targets' 'AArch64 feature: .*BTI' readelf -n "$build/alone.o"; fi
else
    skip 'readelf is not installed, or nothing was built'
fi
total
