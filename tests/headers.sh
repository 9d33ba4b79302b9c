#!/bin/sh
# What a header promises to whoever includes it: no warning, C11 and C++17, two translation units, no macro and no
# symbol that is not ours, under the flags that people build with.
#
#   tests/headers.sh          with $CC, and with a C++ compiler if there is one
#   tests/headers.sh wide     with gcc and clang at the same time, and a program linked and run under each set of flags
#   tests/headers.sh wide gcc with one of them
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
BUILD=${BUILD:-build/headers}
CC=${CC:-cc}
mkdir -p "$BUILD"
C11="-std=c11 $WARN -Werror -pthread -I."
CPP17="-std=c++17 $WARN_BOTH -Werror -pthread -I."

# Each macro that is defined by the file itself must be ours; _GNU_SOURCE and its like are for the system's headers.
no_leak() {
    printf '%s#include "%s"\n' "$2" "$1" | $CC -std=c11 -I. -E -dD -x c - >"$BUILD/macros" || return 1
    awk -v header="$1" '
        /^# [0-9]+ "/ { ours = index($3, header "\"") > 0 }
        ours && /^#define / {
            count++
            name = $2
            sub(/\(.*/, "", name)
            if (name ~ /^(OTP_|otp_)|^(_GNU_SOURCE|_DEFAULT_SOURCE|_DARWIN_C_SOURCE|__BSD_VISIBLE)$/) next
            print "leaked: " $0
            bad = 1
        }
        END { if (!count) print "no macro found"; exit bad || !count }' "$BUILD/macros"
}

# What the object offers to the linker must be ours; otp_test.h also brings main().
no_symbol() {
    case $1 in
    */otp_test.h.o) but='^_?main$' ;;
    *) but='^$' ;;
    esac
    symbols=$(nm -g "$1" | awk -v but="$but" 'NF == 3 && $2 != "U" && $2 != "w" && $3 !~ /^_?otp_/ && $3 !~ but { print $3 }')
    if [ -n "$symbols" ]; then
        echo "symbols without our prefix: $symbols"
        return 1
    fi
}

# The public half includes small standard headers only.
light() {
    includes=$(awk '/^#define OTP_[A-Z_]*H_INCLUDED/ { on = 1 } /^#endif \/\* OTP_[A-Z_]*H_INCLUDED/ { exit }
                    on && /^#include/ && !/<std(bool|def|int)\.h>|"otp[a-z_]*\.h"/' "$1")
    if [ -n "$includes" ]; then
        echo "$includes"
        return 1
    fi
}

declarations() {
    for header in otp*.h; do
        check "$header: declarations, C11, $CC" sh -c "echo '#include \"$header\"' | $CC $C11 -fsyntax-only -x c -"
        check "$header: implementation, C11, $CC" sh -c "printf '#define OTP_IMPLEMENTATION\n#include \"$header\"\n' |
            $CC $C11 $level -c -o '$BUILD/$header.o' -x c -"
        check "$header: no leaked macro in the public half, $CC" no_leak "$header" ''
        check "$header: no leaked macro in the implementation, $CC" no_leak "$header" '#define OTP_IMPLEMENTATION
'
        if [ -n "$cxx" ]; then
            check "$header: declarations, C++17, $cxx" sh -c "echo '#include \"$header\"' | $cxx $CPP17 -fsyntax-only -x c++ -"
        fi
        if command -v nm >/dev/null 2>&1; then check "$header: no leaked symbol, $CC" no_symbol "$BUILD/$header.o"; fi
    done
}

# linked "flags": implementation and use in two translation units. clang warns of flags that are for the linker.
# shellcheck disable=SC2086
linked() {
    for unit in implementation use; do
        $CC $C11 -Wno-unused-command-line-argument $1 -c -o "$BUILD/$unit.o" tests/headers/$unit.c || return 1
    done
    $CC $1 -pthread -o "$BUILD/use" "$BUILD/implementation.o" "$BUILD/use.o" || return 1
    output=$(limit 60 "$BUILD/use")
    if [ "$output" != '42 6.25 7 9 done' ]; then
        echo "printed: $output"
        return 1
    fi
}

linked_cpp() {
    # shellcheck disable=SC2086
    $CC $C11 -O2 -c -o "$BUILD/implementation.o" tests/headers/implementation.c &&
        $cxx $CPP17 -O2 -pthread -o "$BUILD/usepp" "$BUILD/implementation.o" -x c++ tests/headers/use.cpp -x none || return 1
    output=$(limit 60 "$BUILD/usepp")
    if [ "$output" != '42 7 9' ]; then
        echo "printed: $output"
        return 1
    fi
}

# Whether the compiler and the linker of this machine know the flags.
# shellcheck disable=SC2086
knows() { echo 'int main(void) { return 0; }' | $CC $1 -Werror -o "$BUILD/probe" -x c - 2>/dev/null; }

for header in otp*.h; do check "$header: includes small standard headers only" light "$header"; done

level=-O2       # what warns only with optimisation is found in the wide tier
if [ "${1-}" != wide ]; then
    level=-O0
    cxx=$(find_cxx)
    declarations
    check "two translation units, $CC -O2" linked -O2
    if [ -n "$cxx" ]; then check "C++17 program with the C implementation, $cxx" linked_cpp; else skip 'no C++ compiler'; fi
    total
    exit
fi

if [ $# -lt 2 ]; then
    compilers=
    for compiler in gcc clang; do
        if ! command -v $compiler >/dev/null 2>&1; then skip "$compiler is not installed"; continue; fi
        compilers="$compilers $compiler"
        BUILD=$BUILD/$compiler sh tests/headers.sh wide $compiler >"$BUILD/$compiler.log" 2>&1 &
    done
    wait
    for compiler in $compilers; do
        grep -Ev '^[0-9]+ passed, [0-9]+ failed' "$BUILD/$compiler.log"
        add_results "$compiler" "$BUILD/$compiler.log" 0
    done
    total
    exit
fi

CC=$2
if [ "$CC" = gcc ]; then cxx=g++; else cxx=clang++; fi
if ! command -v $cxx >/dev/null 2>&1; then cxx=; skip "no C++ compiler beside $CC"; fi
declarations
if [ -n "$cxx" ]; then check "C++17 program with the C implementation, $cxx" linked_cpp; fi
while read -r flags; do
    if knows "$flags"; then
        check "two translation units, $CC $flags" linked "$flags"
    else
        skip "$CC does not know $flags"
    fi
done <<'FLAGS'
-O0
-O1
-O2
-O3
-Os
-O3 -march=native
-O2 -flto
-O3 -flto -fno-plt
-O2 -fPIC -pie
-O0 -fPIC
-O2 -fcf-protection=full
-O3 -flto -fPIC -fcf-protection=full
-O2 -fstack-protector-all -fstack-clash-protection
-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
-O2 -fno-omit-frame-pointer
-O2 -fno-asynchronous-unwind-tables
-O2 -DOTP_DEBUG
-O0 -DOTP_DEBUG
-O2 -DOTP_NO_ASM
-O2 -DOTP_NO_VALGRIND
-O2 -static
-O1 -fsanitize=address,undefined
-O1 -fsanitize=thread
-O2 -Wl,-z,now
FLAGS
total
