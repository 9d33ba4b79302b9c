#!/bin/sh
# OTP_PREEMPT: a file that is compiled with -fsanitize-coverage=trace-pc is preempted in loops without a call. With gcc and
# clang; ends with "N passed, N failed".
#
#   tests/preempt.sh             the tests
#   tests/preempt.sh cost        what an edge costs: instructions by callgrind, and time
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
dir=build/preempt
mkdir -p "$dir"

# build NAME COMPILER FLAGS…: the implementation plainly, the program with edges and, NAME.plain, without.
build() {
    out=$dir/$1
    compiler=$2
    shift 2
    {
        $compiler -std=c11 $WARN -Werror -DOTP_PREEMPT "$@" -g -pthread -I. -c -o "$out.otp.o" tests/headers/implementation.c &&
            $compiler -std=c11 $WARN -Werror "$@" -g -pthread -I. -fsanitize-coverage=trace-pc -c -o "$out.o" tests/debug/preempt.c &&
            $compiler -std=c11 "$@" -g -pthread -I. -c -o "$out.plain.o" tests/debug/preempt.c &&
            $compiler "$@" -pthread -o "$out" "$out.o" "$out.otp.o" &&
            $compiler "$@" -pthread -o "$out.plain" "$out.plain.o" "$out.otp.o"
    } >"$out.log" 2>&1
}

if [ "${1-}" = cost ]; then
    for compiler in gcc clang; do
        build cost.$compiler $compiler -O2 || { cat "$dir/cost.$compiler.log"; continue; }
        for what in "" .plain; do
            bin=$dir/cost.$compiler$what
            echo "$compiler -O2$what: $("$bin" cost)"
            valgrind --tool=callgrind --callgrind-out-file="$bin.callgrind" "$bin" cost 200000 >/dev/null 2>&1
            echo "    $(sed -n 's/^summary: //p' "$bin.callgrind") instructions for 5 * 200000 rounds"
        done
    done
    exit
fi

while read -r compiler flags; do
    command -v "$compiler" >/dev/null 2>&1 || { skip "$compiler is not installed"; continue; }
    name=$compiler$(echo "$flags" | tr -d ' =')
    # shellcheck disable=SC2086
    if ! build "$name" "$compiler" $flags; then
        not_ok "$compiler $flags: does not build"
        head -n 20 "$dir/$name.log"
        continue
    fi
    for test in $("$dir/$name"); do
        check "$compiler $flags: $test" limit 60 "$dir/$name" "$test"
    done
    # The same without edges must hang, or the test shows nothing.
    limit 1 "$dir/$name.plain" loop >/dev/null 2>&1
    case $? in
    124 | 137) ok "$compiler $flags: without edges the loop goes on for ever" ;;
    *) not_ok "$compiler $flags: without edges the loop ends, too" ;;
    esac
done <<'BUILDS'
gcc -O0
gcc -O2
gcc -O3 -march=native
gcc -O2 -DOTP_NO_ASM
clang -O2
clang -O2 -fPIC -DOTP_DEBUG
BUILDS

# Program and implementation in one file: clang leaves the implementation out; gcc cannot, which is said, and is safe.
{ sed -n '1,/^#define _GNU_SOURCE/p' tests/debug/preempt.c
  printf '#define OTP_PREEMPT\n#define OTP_IMPLEMENTATION\n'
  sed '1,/^#define _GNU_SOURCE/d' tests/debug/preempt.c; } >"$dir/one.c"
for compiler in gcc clang; do
    command -v $compiler >/dev/null 2>&1 || continue
    for flags in -O2 '-O0 -DOTP_NO_ASM'; do
        # shellcheck disable=SC2086
        if ! $compiler -std=c11 $flags -g -pthread -I. -fsanitize-coverage=trace-pc -o "$dir/one" "$dir/one.c" >"$dir/one.log" 2>&1; then
            not_ok "one file, $compiler $flags: does not compile"
            head -n 20 "$dir/one.log"
        elif [ $compiler = clang ]; then
            check "one file, $compiler $flags: loop" limit 60 "$dir/one" loop
            check "one file, $compiler $flags: mixed_2" limit 60 "$dir/one" mixed_2
        else
            check "one file, $compiler $flags: mixed_2, not preempted" limit 60 "$dir/one" mixed_2
            check "one file, $compiler $flags: the log says so" sh -c "timeout 20 $dir/one mixed_1 2>&1 |
                grep -q 'OTP_PREEMPT is off: the file with OTP_IMPLEMENTATION must be compiled without'"
        fi
    done
done
total
