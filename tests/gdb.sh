#!/bin/sh
# tools/otp-gdb.py on a program that has a process in each state (tests/debug/states.c): live, in a core that gdb wrote and
# in one that the kernel wrote. What the commands print is compared with tests/debug/states.expected. Ends with
# "N passed, N failed".
#
#   tests/gdb.sh [--update]      --update writes the expected output anew, from the first build
#
# What differs from run to run is replaced by letters: addresses, times, thread numbers, reductions. Of backtraces only
# the names of the program's own and of the public functions are compared: how the private ones are inlined is the
# compiler's choice.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
root=$PWD
dir=$root/build/gdb
rm -rf "$dir"
mkdir -p "$dir"

# gdb_run LOG PROGRAM [CORE]: the commands come from stdin.
gdb_run() {
    log=$1
    shift
    {
        printf '%s\n' 'set confirm off' 'set pagination off' 'set debuginfod enabled off' "source $root/tools/otp-gdb.py"
        cat
    } >"$log.gdb"
    (cd "$dir" && limit 120 gdb -nx -batch -x "$log.gdb" "$@" >"$log" 2>&1 </dev/null)
}

if ! command -v gdb >/dev/null 2>&1; then
    skip 'gdb is not installed'
    echo '0 passed, 0 failed'
    exit 0
fi
# A container may forbid tracing, and a gdb may come without Python.
echo 'int main(void) { return 0; }' | ${CC:-cc} -g -o "$dir/true" -x c -
printf 'python print(1)\nrun\n' | gdb_run "$dir/true.log" "$dir/true"
if ! grep -q 'exited normally' "$dir/true.log"; then
    skip "gdb cannot run a program here, or has no Python: $(tail -n 1 "$dir/true.log")"
    echo '0 passed, 0 failed'
    exit 0
fi

looks() {
    printf '%s\n' 'echo == otp ps\n' 'otp ps' 'echo == otp ps waiting\n' 'otp ps suspended' 'echo == otp bt all\n' \
        'otp bt all' 'echo == otp bt, by name and number\n' 'otp bt waiter' 'otp bt 0x200000001' 'otp bt <5.1>'
    for who in sleeper waiter left idle; do printf 'echo == otp mailbox %s\\n\notp mailbox %s\n' $who $who; done
    printf '%s\n' 'echo == otp mailbox sleeper 2\n' 'otp mailbox sleeper 2'
    for who in '<11.1>' kid waiter 0.1; do printf 'echo == otp links %s\\n\notp links %s\n' "$who" "$who"; done
    for who in 11.1 sleeper blocker left pinned; do printf 'echo == otp info %s\\n\notp info %s\n' $who $who; done
    printf '%s\n' 'echo == otp queues\n' 'otp queues' 'echo == otp timers\n' 'otp timers' 'otp timers waiter' \
        'echo == otp select\n' 'otp select caller' 'frame function asks' 'info locals' 'otp select none' \
        'echo == end\n'
}

# What stays the same: from stdin to stdout.
normal() {
    sed -n '/^== /,/^== end/p' | awk '
        /^#[0-9]+ / {
            name = $0
            sub(/^#[0-9]+ +(0x[0-9a-f]+ in )?/, "", name)
            sub(/ .*/, "", name)
            if (name ~ /^(otp_[a-z]+(_[a-z]+)*|otp__enter|waits_deeper|waiter|caller|asks|sleeper|reader|spin|spinner|job|blocker|boss|kid|main|crasher)$/)
                print "    " name
            next
        }
        /^== otp bt/ { bt = 1 }
        /^== / && !/^== otp bt/ { bt = 0 }
        !bt || /^(<|==)|\(/ { print }' | sed -E '
        s/0x[0-9a-f]+/ADDR/g; s/thread [0-9]+/thread T/g; s/#[0-9a-f]{8,}/#REF/g
        s/(in|within) [0-9]+ ms/in TIME/; s/^in TIME +/in TIME  /; s/fd [0-9]+ */fd N /; s/[0-9]+ turns/N turns/
        s/^reductions .*/reductions  N/; s/[0-9]+ bytes deep/N bytes deep/
        s/(waits for events|sleeps|looks for work)/is idle/
        s/ +[0-9]+ +([0-9]+)  ((process|a thread) )/ N \1  \2/; s/(states\.c):[0-9]+/\1:L/
        s/^[0-9]+(\t|  +).*$//; s/ -O[0-9]//; s/^question = .*/question = "how?"/' | grep -Ev '^$|^warning: '
}

# compare NAME LOG: with the expected output.
compare() {
    normal <"$2" >"$2.normal"
    if [ "$update" = 1 ]; then
        cp "$2.normal" tests/debug/states.expected
        update=0
    fi
    check "$1" diff -u tests/debug/states.expected "$2.normal"
}

has() {
    name=$1
    log=$2
    shift 2
    for text; do
        if ! grep -qF -- "$text" "$log"; then
            not_ok "$name: not there: $text"
            tail -n 25 "$log" | sed 's/^/     /'
            return
        fi
    done
    ok "$name"
}

# dump_core NAME PROGRAM ARGS…: runs it until it dumps core; sets core, or says why there is none.
dump_core() {
    core=
    case $(cat /proc/sys/kernel/core_pattern 2>/dev/null) in
    '|'* | /* | '') skip "$1: this system keeps no core files beside the program (core_pattern)"; return 1 ;;
    esac
    of=$1
    shift
    rm -rf "$dir/cores"
    mkdir "$dir/cores"
    (ulimit -c unlimited && cd "$dir/cores" && limit 60 "$@") >/dev/null 2>&1
    core=$(find "$dir/cores" -type f -name 'core*' | head -n 1)
    if [ -n "$core" ]; then return 0; fi
    skip "$of: no core file was written (ulimit -c)"
    return 1
}

update=0
if [ "${1-}" = --update ]; then update=1; fi

# The constants that the script repeats.
{
    echo '#define OTP_IMPLEMENTATION'
    echo '#include "otp.h"'
    printf '%s\n' 'python for k, v in K.items(): print("_Static_assert((unsigned)%s == %uu, \"%s\");" % (k, v, k))' |
        sed 's/%uu/%du/' >"$dir/constants.py"
    gdb_run "$dir/constants.log" "$dir/true" <"$dir/constants.py"
    grep '^_Static_assert' "$dir/constants.log"
} >"$dir/constants.c"
check "constants: $(grep -c Static_assert "$dir/constants.c") are those of otp.h" \
    ${CC:-cc} -std=c11 -fsyntax-only -I. -pthread "$dir/constants.c"

first=
while read -r compiler flags; do
    command -v "$compiler" >/dev/null 2>&1 || { skip "$compiler is not installed"; continue; }
    name="$compiler $flags"
    program=$dir/states.$compiler$(echo "$flags" | tr -d ' =')
    # shellcheck disable=SC2086
    if ! $compiler -std=c11 $WARN $flags -g -pthread -I. -o "$program" tests/debug/states.c >"$dir/build.log" 2>&1; then
        not_ok "$name: does not compile"
        cat "$dir/build.log"
        continue
    fi
    rm -f "$dir/core.gcore"
    { printf 'break stop_here\nrun 1\n'; looks; echo "otp core $dir/core.gcore"; echo kill; } |
        gdb_run "$program.live.log" "$program"
    compare "$name, live" "$program.live.log"
    if [ -f "$dir/core.gcore" ]; then
        looks | gdb_run "$program.gcore.log" "$program" "$dir/core.gcore"
        compare "$name, core of otp core" "$program.gcore.log"
    else
        not_ok "$name: otp core wrote nothing"
        tail -n 3 "$program.live.log"
    fi
    if [ -z "$first" ]; then first=$program; fi
    case $flags in *-O2*) ;; *) continue ;; esac
    if dump_core "$name, core of the kernel" "$program" 1 abort; then
        looks | gdb_run "$program.core.log" "$program" "$core"
        compare "$name, core of the kernel" "$program.core.log"
    fi
    printf 'break stop_here\nrun 2\notp ps\notp bt all\notp queues\nkill\n' | gdb_run "$program.two.log" "$program"
    has "$name, two schedulers" "$program.two.log" '14 processes' 'spinner running on thread' 'scheduler 1' 'in otp_sleep'
done <<'BUILDS'
gcc -O2
clang -O2
gcc -O0
gcc -O2 -fomit-frame-pointer -fcf-protection=full -fPIE -pie
gcc -O1 -DOTP_NO_ASM
BUILDS
if [ -z "$first" ]; then total; exit; fi

# A fault that isolation does not contain.
if dump_core 'crash' "$first" 1 crash; then
    printf 'otp ps\notp bt crasher\notp bt 0.1\n' | gdb_run "$dir/crash.log" "$first" "$core"
    has 'a core of a crashed process' "$dir/crash.log" 'running on thread 1' 'crasher (arg' 'in otp__enter'
fi

# From the debugger: the program's own table.
printf 'break stop_here\nrun 1\ncall (void)otp_dump(1)\nkill\n' | gdb_run "$dir/dump.log" "$first"
has 'otp_dump called from gdb' "$dir/dump.log" '<3.1>          sleeper              waiting   time'

# Clear messages.
printf 'otp ps\n' | gdb_run "$dir/before.log" "$first"
has 'before run' "$dir/before.log" 'otp: the program does not run'
printf 'break stop_here\nrun 1 idle\notp ps\nkill\n' | gdb_run "$dir/idle.log" "$first"
has 'before otp_start' "$dir/idle.log" 'otp: the runtime is not running'
printf 'otp ps\n' | gdb_run "$dir/none.log" "$dir/true"
has 'a program without otp.h' "$dir/none.log" 'otp: no otp.h here'
strip -g -o "$dir/stripped" "$first"
printf 'break stop_here\nrun 1\notp ps\nkill\n' | gdb_run "$dir/stripped.log" "$dir/stripped"
has 'without debug information' "$dir/stripped.log" 'otp: this program has no debug information of otp.h'
strip -o "$dir/bare" "$first"
printf 'otp ps\n' | gdb_run "$dir/bare.log" "$dir/bare"
has 'a stripped program' "$dir/bare.log" 'otp: no otp.h here'
printf '%s\n' 'break stop_here' 'run 1' 'otp bt nobody' | gdb_run "$dir/nobody.log" "$first"
printf '%s\n' 'break stop_here' 'run 1' 'otp bt <3.2>' | gdb_run "$dir/dead.log" "$first"
printf '%s\n' 'break stop_here' 'run 1' 'otp select idle' | gdb_run "$dir/select.log" "$first"
has 'an unknown name' "$dir/nobody.log" "no process has the pid or name 'nobody'"
has 'a dead pid' "$dir/dead.log" 'no process <3.2> is alive'
has 'frames of a handler' "$dir/select.log" 'a handler between messages'

# Lists that do not end, and pointers to nowhere: told, and never followed for ever.
gdb_run "$dir/broken.log" "$first" <<'BROKEN'
break stop_here
run 1
python
def put(addr, value): gdb.selected_inferior().write_memory(addr, value.to_bytes(8, 'little'))
rt = Runtime()
sleeper, waiter, left, pinned = [rt.find(w) for w in ('sleeper', 'waiter', 'left', 'pinned')]
node = sleeper['head'] & ~7
put(node, node)                                 # a mailbox that is a ring
put(waiter['first'], 0x10)                      # … and one that leads nowhere
put(pinned.at('qn'), pinned.addr)               # a run queue that is a ring
put(rt.find('kid').at('rel'), 0x1000)           # relations that cannot be read
put(rt.find('idle').at('run.h'), 0x1000)
put(rt.find('blocker').at('stack'), 0x1000)
put(rt.find('reader').stack().at('ctx.sp'), 0x1000)
end
echo == ps\n
otp ps
echo == mailboxes\n
otp mailbox sleeper
otp mailbox waiter
echo == queues\n
otp queues
otp bt all
otp info 11.1
otp timers
echo == links\n
otp links kid
BROKEN
has 'broken lists' "$dir/broken.log" '14 processes' '1 new    message' ' 1? ' 'the list is broken or is being changed' \
    'inbox    <10.1> pinned, … the list is broken' 'its stack cannot be read' '3 timers' \
    'otp: Cannot access memory at address 0x1000 (is the core file complete?)' 'spinner running on thread'
total
