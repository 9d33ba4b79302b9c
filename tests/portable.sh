#!/bin/sh
# Other machines, C libraries, compilers and systems, as far as one Linux machine can show them; docs/portability.md tells
# what each target proves and what it does not. Ends with "N passed, N failed".
#
#   tests/portable.sh [TARGET…]     default: all but wide; a target whose tools are missing is skipped by name
#   tests/portable.sh wide          what make check runs: a part of each, at most about four minutes
#
# AArch64, RISC-V 64 and ARM (the 32-bit target) are cross-built statically and run under qemu's user mode emulation;
# the tests of crash isolation once more dynamically, since a static program cannot tell libc from its own code.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
all='stubs compilers cpp poll kqueue fallback i686 musl arm aarch64 riscv64'
OUT=build/portable
mkdir -p "$OUT"

# A test that cannot work in some place stands here with the reason, and nowhere else.
# Static programs: dladdr knows no symbol and no module, so a fault inside libc is contained like one in the user's code.
static_skip='a_fault_inside_malloc_ends_the_program_after_a_report,a_fault_inside_stdio_ends_the_program_after_a_report'

# musl: its libc has no unwind tables, so nested calls inside of it cannot be counted, dynamic or not.
musl_skip=$static_skip

# RISC-V: gcc makes no unwind tables for C without -fasynchronous-unwind-tables, so nested calls are not seen.
riscv_skip=$static_skip

# have COMMAND…: all of them, or a named skip.
have() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 && continue
        skip "$target: $tool is not installed"
        return 1
    done
}

# part NAME…: in make check these test programs only; otherwise nothing, which means all.
part() {
    if [ "$wide" = 0 ]; then return 0; fi
    for part_name in "$@"; do echo "tests/test_$part_name.c"; done
}

# suite NAME COMMAND…: adds the closing line of a run of the tests; the whole output is in build/portable/NAME.log.
suite() {
    suite_log=$OUT/$(echo "$1" | tr -c 'A-Za-z0-9\n' _).log
    suite_name=$1
    begin=$(date +%s)
    shift
    nice -n 5 "$@" >"$suite_log" 2>&1 </dev/null
    add_results "$suite_name" "$suite_log" $?
    line="$suite_name: ${added% *} passed, ${added#* } failed, $(($(date +%s) - begin)) s"
    if [ "${added#* }" -eq 0 ]; then
        printf 'ok   %s\n' "$line"
    else
        printf 'FAIL %s\n' "$line"
        grep -Ev '^ok ' "$suite_log" | head -n 80 | sed 's/^/     /'
    fi
}



# emulated CC EMULATOR SYSROOT PART: the tests, static; with a SYSROOT those of faults dynamic, too.
emulated() {
    emulated_cc=$1 emulated_by=$2 emulated_root=$3 emulated_tests=$4
    emulated_skip=
    if [ "$target" = riscv64 ]; then emulated_skip=$riscv_skip; fi
    have "$emulated_cc" "$emulated_by" || return 0
    check "$target: no warning, -O2 and -O0" sh -c "
        $emulated_cc -std=c11 $WARN -Werror -pthread -O2 -I. -c -o '$OUT/i.o' tests/headers/implementation.c &&
        $emulated_cc -std=c11 $WARN -Werror -pthread -O0 -I. -c -o '$OUT/i.o' tests/headers/implementation.c"
    suite "$target, static, $emulated_by, modes $modes" env CC="$emulated_cc" CFLAGS="-O2 -g -DTEST_SLOW=3" \
        LDFLAGS=-static RUNNER="$emulated_by" SKIP="$static_skip" MODES="$modes" JOBS=2 TIMEOUT=300 \
        BUILD="$OUT/$target" sh tests/run.sh $emulated_tests
    case $emulated_root in
    '') ;;
    *) suite "$target, dynamic, isolation and stacks" env CC="$emulated_cc" CFLAGS="-O1 -g -DTEST_SLOW=3" \
        RUNNER="$emulated_by -L $emulated_root" SKIP="$emulated_skip" MODES=2 JOBS=2 TIMEOUT=300 BUILD="$OUT/$target.dynamic" \
        sh tests/run.sh tests/test_isolation.c tests/test_stack.c tests/test_exit.c ;;
    esac
}

target_stubs() {
    for cc in gcc clang; do
        have $cc || continue
        for system in MACOS FREEBSD NETBSD OPENBSD OTHER; do
            # These two have their own ideas of what gcc's <stddef.h> includes.
            case $cc.$system in gcc.FREEBSD | gcc.NETBSD) continue ;; esac
            for user in '' -DTEST_STUB_NO_USER; do
                check "$target: $cc, paths of $system $user" $cc -std=c11 -D_GNU_SOURCE $WARN -Werror -pthread \
                    -DTEST_STUB_$system $user -I. -Itests/stubs -include tests/stubs/bsd.h -fsyntax-only \
                    tests/headers/implementation.c
            done
        done
    done
}

# Each version of the compilers: no warning in both halves, and a program that works.
target_compilers() {
    for cc in gcc-11 gcc-12 clang-14 clang-15 clang-16 clang-19 clang-22; do
        have $cc || continue
        check "$target: $cc -O2" one_compiler $cc -O2
        if [ "$wide" = 1 ]; then continue; fi
        check "$target: $cc -O0" one_compiler $cc -O0
        check "$target: $cc -O3 -flto" one_compiler $cc '-O3 -flto'
        # shellcheck disable=SC2086
        check "$target: $cc -std=c17, declarations" $cc -std=c17 $WARN -Werror -I. -fsyntax-only tests/headers/use.c
    done
}

# shellcheck disable=SC2086
one_compiler() {
    for unit in implementation use; do
        $1 -std=c11 $WARN -Werror $2 -pthread -I. -c -o "$OUT/$unit.o" tests/headers/$unit.c || return 1
    done
    if ! $1 $2 -pthread -o "$OUT/use" "$OUT/implementation.o" "$OUT/use.o"; then
        case $2 in *flto*) echo "(no plugin of $1 for the linker)" && return 0 ;; *) return 1 ;; esac
    fi
    prints '42 6.25 7 9 done' "$OUT/use"
}

# prints TEXT COMMAND…
prints() {
    wanted=$1
    shift
    output=$(limit 60 "$@")
    if [ "$output" != "$wanted" ]; then
        echo "printed: $output"
        return 1
    fi
}

# shellcheck disable=SC2086
one_cpp() {
    $1 -std=c++$2 $WARN_BOTH -Werror -O2 -pthread -I. -o "$OUT/$3" tests/headers/$3.cpp -x none "$OUT/otp.o" || return 1
    case $3 in
    use) prints '42 7 9' "$OUT/$3" ;;
    *) prints 'sum 4950 pong 42 count 3 down 7 timer 5 shared abc' "$OUT/$3" ;;
    esac
}

target_cpp() {
    # shellcheck disable=SC2086
    check "$target: the C half" ${CC:-cc} -std=c11 $WARN -Werror -O2 -pthread -I. -c -o "$OUT/otp.o" \
        tests/headers/implementation.c
    for cxx in g++-11 g++ clang++-14 clang++-15 clang++-16 clang++-19 clang++-22; do
        have $cxx || continue
        for standard in 17 20; do
            for program in use program; do
                case $wide.$standard.$program in 1.17.use | 1.20.program) continue ;; esac
                check "$target: $program.cpp, $cxx -std=c++$standard" one_cpp $cxx $standard $program
            done
        done
    done
}

# The paths of systems without epoll and futex, run here.
target_poll() {
    suite "$target: no epoll, no futex, modes $modes" env CFLAGS='-O1 -g -DOTP_NO_LINUX' MODES="$modes" JOBS=2 \
        BUILD=$OUT/poll sh tests/run.sh $(part fd guest sched timers)
}

target_kqueue() {
    # shellcheck disable=SC2086
    check "$target: the emulation" ${CC:-cc} -std=c11 $WARN -Werror -O1 -g -Itests/stubs -c -o "$OUT/kqueue.o" \
        tests/stubs/kqueue.c
    suite "$target: emulated, modes $modes" env CFLAGS='-O1 -g -DOTP_NO_LINUX -DOTP_KQUEUE -Itests/stubs' \
        LDFLAGS="$OUT/kqueue.o" MODES="$modes" JOBS=2 BUILD=$OUT/kqueue sh tests/run.sh $(part fd guest)
}

target_fallback() {
    for cc in gcc clang; do
        have $cc || continue
        suite "$target: the portable switch, $cc, modes $modes" env CC=$cc CFLAGS='-O2 -g -DOTP_NO_ASM' MODES="$modes" \
            JOBS=2 BUILD=$OUT/fallback.$cc sh tests/run.sh
    done
}

target_i686() {
    have i686-linux-gnu-gcc || return 0
    echo 'int main(void) { return 0; }' | i686-linux-gnu-gcc -static -o "$OUT/probe" -x c -
    by=
    if ! "$OUT/probe" 2>/dev/null; then
        have qemu-i386 || return 0
        by=qemu-i386
    fi
    # -Wno-psabi: the note that gcc 11 has aligned 64-bit atomics
    suite "$target: ${by:-native}, modes $modes" env CC=i686-linux-gnu-gcc CFLAGS='-O2 -g -Wno-psabi' LDFLAGS=-static \
        RUNNER=$by MODES="$modes" JOBS=2 SKIP="$static_skip" BUILD=$OUT/i686 sh tests/run.sh \
        $(part alias call deterministic exit fd handler info messages misc order receive spawn stack)
    # A time_t of 64 bits on a machine of 32: what the kernel is told of times.
    suite "$target: 64-bit time_t, timers and idling" env CC=i686-linux-gnu-gcc LDFLAGS=-static RUNNER=$by MODES=2 JOBS=2 \
        CFLAGS='-O2 -g -Wno-psabi -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64' BUILD=$OUT/i686.time64 \
        sh tests/run.sh tests/test_timers.c tests/test_sched.c
}

target_musl() {
    have musl-gcc || return 0
    # shellcheck disable=SC2086
    check "$target: what the unwinder asks for" musl-gcc -std=c11 $WARN -Werror -O1 -c -o "$OUT/musl_unwind.o" \
        tests/stubs/musl_unwind.c
    # Linked without an index of unwind tables, as musl-gcc does by itself: the runtime starts, and reports have no calls.
    check "$target: without unwind tables" musl_no_tables
    suite "$target: static, modes $modes" env CC=musl-gcc CFLAGS='-O2 -g' MODES="$modes" JOBS=2 SKIP="$musl_skip" \
        LDFLAGS="-static -Wl,--eh-frame-hdr $OUT/musl_unwind.o" BUILD=$OUT/musl.static sh tests/run.sh \
        $(part fd isolation sched spawn stack)
    if [ "$wide" = 1 ]; then return 0; fi
    suite "$target: dynamic, modes $modes" env CC=musl-gcc CFLAGS='-O2 -g' MODES="$modes" JOBS=2 SKIP="$musl_skip" \
        LDFLAGS="-Wl,--eh-frame-hdr $OUT/musl_unwind.o" BUILD=$OUT/musl.dynamic sh tests/run.sh
}

musl_no_tables() {
    musl-gcc -O1 -std=c11 -pthread -I. -o "$OUT/no_tables" tests/test_isolation.c "$OUT/musl_unwind.o" &&
        limit 100 "$OUT/no_tables" --schedulers 2 --skip "$musl_skip"
}

target_arm() { emulated arm-linux-gnueabihf-gcc qemu-arm '' "$(part order receive sched stack timers)"; }
target_aarch64() {
    emulated aarch64-linux-gnu-gcc qemu-aarch64 /usr/aarch64-linux-gnu \
        "$(part alias call exit fd guest handler link monitor order receive sched spawn timers)"
}
target_riscv64() { emulated riscv64-linux-gnu-gcc qemu-riscv64 /usr/riscv64-linux-gnu ''; }

wide=0
modes=${MODES:-1 2 1..5}
case ${1-} in
wide)
    wide=1
    modes=2
    set -- stubs compilers cpp poll kqueue i686 musl arm aarch64
    ;;
'') set -- $all ;;
esac
for target in "$@"; do
    case " $all " in
    *" $target "*) "target_$target" ;;
    *) echo "no target $target; there are: $all" >&2; exit 2 ;;
    esac
done
total
