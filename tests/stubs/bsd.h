/* Included before otp.h when a compiler on Linux is told that it compiles for another system (tests/portable.sh): the
   system headers that otp.h asks for, and then an error for each use of what they hold of Linux alone. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#undef __linux__
#undef CPU_COUNT
#undef MADV_HUGEPAGE
#undef MADV_NOHUGEPAGE
#undef SOCK_NONBLOCK
#undef SOCK_CLOEXEC
#if defined(TEST_STUB_MACOS)
#define __APPLE__ 1
#undef __ELF__
#undef MSG_NOSIGNAL
#define SO_NOSIGPIPE 0x1022
#pragma GCC poison getcontext setcontext makecontext swapcontext
#elif defined(TEST_STUB_FREEBSD)
#define __FreeBSD__ 14
#undef MAP_NORESERVE
#elif defined(TEST_STUB_NETBSD)
#define __NetBSD__ 1
#elif defined(TEST_STUB_OPENBSD)
#define __OpenBSD__ 1
#undef MAP_NORESERVE
#pragma GCC poison mincore getcontext setcontext makecontext swapcontext
#elif defined(TEST_STUB_OTHER)
#define __sun 1             /* neither epoll nor kqueue */
#else
#error "which system?"
#endif
#pragma GCC poison accept4 pipe2 eventfd epoll_create1 epoll_ctl epoll_wait sched_getaffinity syscall gettid prctl
