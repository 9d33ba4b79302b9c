/* alloc_impl.c: otp.h with every allocation and every thread start behind a function that can refuse. The place of a
   call is its return address: where a function is inlined, each copy is a place of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "alloc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

alloc_shared *alloc_state;
alloc_unit *alloc_units;

#define PLACE ((uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0)))

static unsigned site_of(uintptr_t addr)
{
    unsigned i = (unsigned)(addr * 0x9e3779b97f4a7c15u >> 52);
    for (;; i = (i + 1) % ALLOC_SITES) {
        uintptr_t there = atomic_load(&alloc_state->sites[i].addr);
        if (there == addr) return i;
        if (there == 0 && atomic_compare_exchange_strong(&alloc_state->sites[i].addr, &there, addr)) return i;
        if (there == addr) return i;
    }
}

static bool refuse(uintptr_t place)
{
    alloc_shared *a = alloc_state;
    if (!a || !atomic_load(&a->armed)) return false;
    long call = atomic_fetch_add(&a->calls, 1) + 1;
    unsigned site = site_of(place);
    (void)atomic_fetch_add(&a->sites[site].called, 1);
    if (call < ALLOC_CALLS && a->n == 0) a->order[call] = (uint16_t)site;
    if (a->n == 0 || (a->from ? call < a->n : call != a->n)) return false;
    (void)atomic_fetch_add(&a->sites[site].failed, 1);
    atomic_store(&a->hit, true);
    return true;
}

static void *counted(void *block)
{
    if (block && alloc_state) (void)atomic_fetch_add(&alloc_state->live, 1);
    return block;
}

__attribute__((noinline)) static void *alloc_malloc(size_t size) { return refuse(PLACE) ? NULL : counted(malloc(size)); }
__attribute__((noinline)) static void *alloc_calloc(size_t n, size_t size)
{
    return refuse(PLACE) ? NULL : counted(calloc(n, size));
}
__attribute__((noinline)) static int alloc_memalign(void **block, size_t align, size_t size)
{
    if (refuse(PLACE)) return ENOMEM;
    int rc = posix_memalign(block, align, size);
    if (rc == 0) (void)counted(*block);
    return rc;
}
static void alloc_free(void *block)
{
    if (block && alloc_state) (void)atomic_fetch_sub(&alloc_state->live, 1);
    free(block);
}
__attribute__((noinline)) static void *alloc_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    if (refuse(PLACE)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return mmap(at, size, prot, flags, fd, offset);
}
__attribute__((noinline)) static int alloc_thread(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return refuse(PLACE) ? EAGAIN : pthread_create(t, attr, fn, arg);
}
/* The runtime says in its log why it ends the program; that is an outcome of its own. */
_Noreturn static void alloc_give_up(void) { _exit(ALLOC_GAVE_UP); }

#define malloc(size) alloc_malloc(size)
#define calloc(n, size) alloc_calloc(n, size)
#define posix_memalign(block, align, size) alloc_memalign(block, align, size)
#define free(block) alloc_free(block)
#define mmap(...) alloc_mmap(__VA_ARGS__)
#define pthread_create(...) alloc_thread(__VA_ARGS__)
#define OTP_ABORT() alloc_give_up()
#define OTP_IMPLEMENTATION
#include "otp.h"
