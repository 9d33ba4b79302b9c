#!/bin/sh
# Allocation failure at every place of otp.h, driven by the test programs (see alloc.c); ends with "N passed, N failed".
#
#   tests/stress/alloc.sh [asan | plain] [options of alloc.c]
#
# asan: every block is malloc's, so each use of the runtime's memory is a place of its own. plain: slabs, as in real use.
# Afterwards the places that the program has are compared with those that were refused: PLACES lists them all.
cd "$(dirname "$0")/../.." || exit 1
. tools/tally.sh
CC=${CC:-cc}
kind=${1:-asan}
[ $# -gt 0 ] && shift
build=build/stress/alloc.$kind
mkdir -p "$build"
# -fno-omit…: readable reports. No sibling calls, so that a return address is a place; no PIE, so that it is an address.
flags='-O1 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-pie'
case $kind in
asan) flags="$flags -fsanitize=address,undefined -fno-sanitize-recover=undefined" ;;
plain) ;;
*) echo "usage: $0 [asan | plain] [options of alloc.c]" >&2; exit 2 ;;
esac
export ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0:abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=halt_on_error=1:exitcode=99

# compile OBJECT SOURCE FLAGS…
compile() {
    object=$build/$1
    source=$2
    shift 2
    if [ -f "$object" ] && [ -z "$(find otp.h tests/*.[ch] tests/stress/alloc* -newer "$object" | grep -v alloc.sh)" ]; then return 0; fi
    # shellcheck disable=SC2086
    $CC -std=c11 $WARN -Werror $flags -pthread -I. -Itests -Itests/stress -c -o "$object" "$source" "$@"
}
compile impl.o tests/stress/alloc_impl.c || exit 1
compile alloc.o tests/stress/alloc.c || exit 1
for source in tests/stress/alloc_more.c tests/test_*.c; do
    # A program that configures otp.h for itself cannot share it; modules are not what is looked at here.
    if grep -Eq '^#define OTP_|^#include "otp_' "$source"; then continue; fi
    name=$(basename "$source" .c)
    compile "$name.o" tests/stress/alloc_unit.c -DTEST_LINKED -DTEST_UNIT="$name" -DTEST_FILE="\"$source\"" || exit 1
done
# shellcheck disable=SC2086
$CC $flags -no-pie -pthread -o "$build/alloc" "$build"/*.o || exit 1

"$build/alloc" --sites "$build/sites" "$@" >"$build/log"
status=$?
sed '$d' "$build/log"

# All places: what follows a call of one of the functions that can refuse.
objdump -d --no-show-raw-insn "$build/alloc" | awk '
    here { sub(":", "", $1); print $1; here = 0 }
    /call.*<alloc_(malloc|calloc|memalign|mmap|thread)(\.[a-z0-9.]*)?>/ { here = 1 }' | sort -u >"$build/places"
awk '$3 > 0 { print $1 }' "$build/sites" | sort -u >"$build/refused"
comm -23 "$build/places" "$build/refused" >"$build/missed"
echo "$(wc -l <"$build/places") places, $(comm -12 "$build/places" "$build/refused" | wc -l) of them refused; not reached:"
name_places() {
    while read -r place; do
        addr2line -s -f -i -e "$build/alloc" "$(printf '%x' $((0x$place - 1)))" | paste - - |
            awk '{ if (NR > 1) printf " < "; printf "%s (%s)", $1, $2 } END { print "" }'
    done
}
name_places <"$build/missed" | sort | uniq -c | sort -rn
name_places <"$build/refused" | sort >"$build/refused.names"
tail -n 1 "$build/log"
exit $status
