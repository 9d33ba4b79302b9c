/* mc.h: a checker of interleavings for the real code of otp.h.             SPDX-License-Identifier: MIT

   Code compiled with -fsanitize=thread calls __tsan_… for every access to memory. mc.c defines these functions:
   threads are fibers of one thread of the system, every atomic operation is a point where another may go on, and a load
   may return any value that the C11 memory model lets it return. README.md beside this file says what that covers. */
#ifndef MC_H
#define MC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MC_THREADS 4

typedef struct mc_model {
    const char *name;
    void (*setup)(void);                    /* before each execution: plain memory, seen by all */
    void (*thread[MC_THREADS])(void);
    void (*check)(void);                    /* after each complete execution: sees everything */
    unsigned may_block;                     /* threads, as bits, that need not come to their end */
    bool give_up;                           /* bounded waits (otp__pause in a counted loop) may also end in vain */
    int preemptions;                        /* > 0: not all: at most so many switches away from one that could go on */
} mc_model;

/* Explores all executions; returns 0, or 1 after printing the first execution that breaks the model. */
int mc_explore(const mc_model *m, unsigned long long limit, bool reduce);

void mc_fail(const char *what);             /* the execution is wrong */
#define mc_assert(x) ((x) ? (void)0 : mc_fail(#x))
int mc_thread(void);                        /* which model thread runs; -1: setup or check */
int mc_choose(int n);                       /* 0 .. n-1: all are explored */
void mc_name(const void *at, const char *name);
void mc_outcome(unsigned long long word);   /* litmus tests: what came out, collected over all executions */
int mc_outcomes(unsigned long long *words, int max);
void mc_done(void);                         /* ends the calling model thread, from whatever stack it is on */
void mc_wait_until(bool (*ready)(void));    /* blocks; not a memory operation */
void mc_quiet(bool on);                     /* failures are not printed: used where one is expected */
unsigned long long mc_executions(void);
bool mc_catch_crashes(void);                /* a crash of the code under test is a violation */

/* What stands for the system. */
void mc_pause(void);
long mc_syscall(long number, ...);
void mc_mutex_lock(void *m);
void mc_mutex_unlock(void *m);
int mc_fd_wait(int timeout);
void mc_fd_write(void);
void mc_fd_read(void);
#endif
