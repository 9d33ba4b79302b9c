#!/bin/sh
# Installs by apt-get what is missing for a target; elsewhere prints what it would need.
#
#   tools/deps.sh check       for make check: compilers, sanitizers, valgrind, clang-format, the Redis clients, Erlang, portable
#   tools/deps.sh bench       for make bench: the peers and the programs that measure and draw
#   tools/deps.sh portable    for make portable: cross compilers, emulators, musl, more versions of the compilers
#   tools/deps.sh             all of it
#
# make test needs none of them: gcc or clang, make and git are enough.

# "command package" or "file package", the names of Debian and Ubuntu.
for_check='gcc gcc
g++ g++
make make
git git
clang clang
clang-format clang-format
valgrind valgrind
gdb gdb
tmux tmux
redis-cli redis-tools
erl erlang-base
erlc erlang-base'
for_bench='erl erlang-base
erlc erlang-base
go golang-go
hyperfine hyperfine
gnuplot gnuplot-nox
redis-server redis-server
/usr/include/boost/context/fiber.hpp libboost-context-dev
/usr/include/boost/fiber/all.hpp libboost-fiber-dev
/usr/include/caf/all.hpp libcaf-dev'
# The headers of a cross compiler's libc are only recommended by it, so they are named; clang-22 is an update.
for_portable='aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
/usr/aarch64-linux-gnu/include/stdio.h libc6-dev-arm64-cross
riscv64-linux-gnu-gcc gcc-riscv64-linux-gnu
/usr/riscv64-linux-gnu/include/stdio.h libc6-dev-riscv64-cross
arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf
/usr/arm-linux-gnueabihf/include/stdio.h libc6-dev-armhf-cross
i686-linux-gnu-gcc gcc-i686-linux-gnu
/usr/i686-linux-gnu/include/stdio.h libc6-dev-i386-cross
qemu-aarch64 qemu-user
musl-gcc musl-tools
gcc-11 gcc-11
g++-11 g++-11
gcc-12 gcc-12
clang-14 clang-14
clang-15 clang-15
clang-16 clang-16
clang-19 clang-19
clang-22 clang-22'

case ${1-all} in
check) list="$for_check
$for_portable" ;;
portable) list=$for_portable ;;
bench) list=$for_bench ;;
all) list="$for_check
$for_portable
$for_bench" ;;
*) echo "usage: $0 [check | portable | bench]" >&2; exit 2 ;;
esac

packages=$(printf '%s\n' "$list" | while read -r command package; do
    case $command in
    /*) [ -e "$command" ] || echo "$package" ;;
    *) command -v "$command" >/dev/null 2>&1 || echo "$package" ;;
    esac
done | sort -u | tr '\n' ' ')
# The sanitizers of clang are a package of their own, which comes as a recommendation only.
if [ "${1-all}" != bench ] && ! echo 'int main(void) { return 0; }' |
        clang -fsanitize=thread -o /dev/null -x c - >/dev/null 2>&1; then
    version=$(clang --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p' | head -n 1)
    packages="$packages${version:+libclang-rt-$version-dev }"
fi

if [ -z "$packages" ]; then
    echo 'nothing is missing'
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "no apt-get here; please install what these Debian packages hold: $packages"
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1; then
    sudo='sudo'
else
    echo "please run as root: apt-get install $packages"
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q || echo 'apt-get update failed, going on with what is known'
# One by one where not all can be had together: some is better than nothing.
# shellcheck disable=SC2086
$sudo apt-get install -q -y --no-install-recommends $packages || {
    failed=0
    for package in $packages; do
        $sudo apt-get install -q -y --no-install-recommends "$package" || failed=1
    done
    exit $failed
}
