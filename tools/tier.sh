#!/bin/sh
# The two tiers of tests: the steps of each, one after the other, and one closing line "N passed, N failed".
#
#   tools/tier.sh quick       make test: about three minutes; needs a C compiler and make
#   tools/tier.sh wide        make check: all compilers, sanitizers and seeds
#
# The output of a step goes to build/logs/, and to the terminal when it fails.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
CC=${CC:-cc}
mkdir -p build/logs

# step "NAME" COMMAND…: adds the closing line of the command.
step() {
    step_name=$1
    shift
    log_of "$step_name"
    begin=$(date +%s)
    printf '%-58s ' "$step_name"
    "$@" >"$log" 2>&1 </dev/null
    report "$step_name" $?
}

log_of() { log=build/logs/$(echo "$1" | tr -c 'A-Za-z0-9\n' _).log; }

report() { # name, exit status
    log_of "$1"
    add_results "$1" "$log" "$2"
    printf '%5d passed %3d failed  %4d s\n' "${added% *}" "${added#* }" $(($(date +%s) - begin))
    if [ "${added#* }" -ne 0 ]; then
        grep -Ev '^ok |^[0-9]+ passed, [0-9]+ failed' "$log" | head -n 150 | sed 's/^/    /'
        echo "    (all of it: $log)"
    fi
}

# pair "NAME" "COMMAND" "NAME" "COMMAND": two steps at the same time; the commands are lines for sh.
pair() {
    begin=$(date +%s)
    log_of "$1"
    sh -c "$2" >"$log" 2>&1 </dev/null &
    first=$!
    log_of "$3"
    sh -c "$4" >"$log" 2>&1 </dev/null &
    second=$!
    printf '%-58s ' "$1"
    wait $first
    report "$1" $?
    printf '%-58s ' "$3"
    wait $second
    report "$3" $?
}

have() {
    if command -v "$1" >/dev/null 2>&1; then return 0; fi
    skip "$2: $1 is not installed"
    return 1
}

# Whether the compiler can build and run a program with these flags: a sanitizer may be missing on this system.
# shellcheck disable=SC2086
works() {
    echo 'int main(void) { return 0; }' | $1 $2 -o build/works -x c - >/dev/null 2>&1 && build/works && return 0
    skip "$1 $2 does not work here"
    return 1
}

quick() {
    step 'docstrings' sh tools/check_docs.sh
    step 'rules and their tests' sh tools/rules.sh
    pair 'header compile tests' 'sh tests/headers.sh' \
        'examples' 'CFLAGS=-O0 sh tools/run_example.sh'         # their own flags come in the wide tier
    pair 'snippets of the documentation' 'sh tools/snippets.sh' \
        'tests, deterministic, 100 seeds' "MODES='1..100' sh tests/run.sh"
    step 'tests, 1, 2 and 8 schedulers' env MODES='1 2 8' JOBS=2 sh tests/run.sh
    if [ -f tests/kv.sh ]; then step 'key-value server' sh tests/kv.sh; fi
    step 'otp-top and pictures of timelines' sh tests/top.sh
}

wide() {
    switching='tests/test_call.c tests/test_exit.c tests/test_handler.c tests/test_receive.c tests/test_sched.c'
    step 'form of the sources' sh tools/check_format.sh
    step 'headers, gcc and clang, all flags' sh tests/headers.sh wide
    if have gcc 'models of the lock-free parts'; then
        step 'models of the lock-free parts' sh tests/models/run.sh
    fi
    step 'tests, deterministic, 1,000 seeds' env MODES='1..500 501..1000' JOBS=2 TIMEOUT=900 sh tests/run.sh

    # The suite with other compilers and flags; -O1 with the default compiler is what make test does.
    while read -r compiler flags; do
        if command -v "$compiler" >/dev/null 2>&1 && works "$compiler" "$flags"; then
            # -flto links slowly; the portable switch has no crash isolation: for both the tests that are about switching.
            case $flags in
            *-flto* | *NO_ASM*) set -- $switching ;;
            *) set -- ;;
            esac
            step "tests, $compiler $flags" env CC="$compiler" CFLAGS="$flags" MODES='2 1..3' JOBS=2 \
                BUILD="build/wide/$compiler$(echo "$flags" | tr -d ' ')" sh tests/run.sh "$@"
        fi
    done <<'VARIANTS'
gcc -O0 -g
gcc -O3 -flto
gcc -O2 -fPIC -pie -fcf-protection=full
gcc -O2 -DOTP_NO_ASM
clang -O0 -g
clang -O2
clang -O3 -flto -fPIC
VARIANTS

    # The programs of the runtime; those of the modules in the long tier.
    core='alias call deterministic exit fd guest handler info link messages misc monitor names order receive sched spawn timers'
    core=$(for name in $core; do echo tests/test_$name.c; done)
    for compiler in gcc; do
        have $compiler "sanitizers of $compiler" || continue
        modes='2 1..3'
        if [ $compiler = gcc ]; then modes='2 8 1..20'; fi
        if works $compiler '-fsanitize=address,undefined'; then
            step "tests, asan+ubsan, $compiler" env CC=$compiler MODES="$modes" JOBS=2 sh tests/sanitize.sh asan $core
        fi
        if works $compiler '-fsanitize=thread'; then
            step "tests, tsan, $compiler" env CC=$compiler MODES="$modes" JOBS=2 sh tests/sanitize.sh tsan $core
        fi
    done
    for compiler in gcc clang; do
        if have $compiler "hardened build of $compiler"; then
            step "hardened build, $compiler" env CC=$compiler sh tests/hardening.sh
        fi
    done
    step 'stress: web, a day' sh tests/stress.sh web day
    if have gdb 'otp-gdb.py'; then step 'gdb: live, and in cores' sh tests/gdb.sh; fi
    step 'profiles: frame pointers and perf' sh tests/perf.sh
    step 'examples, their own flags' env BUILD=build/examples.own sh tools/run_example.sh
    if have clang 'examples with clang'; then
        step 'examples, clang' env CC=clang BUILD=build/examples.clang sh tools/run_example.sh
    fi
    if have erl 'comparison with Erlang'; then step 'the same programs on Erlang' sh tests/conformance/run.sh; fi
    if [ -f tests/kv.sh ]; then step 'key-value server, real clients' sh tests/kv.sh wide; fi
}

# What takes longer still: by hand, before a release.
long() {
    for compiler in gcc clang; do
        step "all tests, asan+ubsan, $compiler" env CC=$compiler MODES='2 8 1..20' JOBS=2 sh tests/sanitize.sh asan
        step "all tests, tsan, $compiler" env CC=$compiler MODES='2 8 1..20' JOBS=2 sh tests/sanitize.sh tsan
    done
    step 'stress: refused allocations' sh tests/stress.sh alloc
    step 'other machines, libraries, compilers, systems' sh tests/portable.sh wide
    step 'preemption by reductions, gcc and clang' sh tests/preempt.sh
    if have valgrind 'examples under valgrind'; then step 'examples under valgrind' sh tests/sanitize.sh valgrind; fi
}

case ${1-} in
quick | wide | long) ;;
*) echo "usage: $0 quick | wide | long" >&2; exit 2 ;;
esac
begin_all=$(date +%s)
"$1"
echo "$(($(date +%s) - begin_all)) s in all"
total
