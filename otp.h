/* otp.h: Erlang/OTP's processes for C programs.                        SPDX-License-Identifier: MIT

   Stackful lightweight processes on all cores, with mailboxes and selective receive, links, monitors, exit
   signals, timers, calls, crash isolation and a deterministic test mode.

   In ONE .c file of the program, before the include:

       #define OTP_IMPLEMENTATION
       #include "otp.h"
       #include <stdio.h>

       enum { PING = 1, PONG };

       static void ponger(void *arg)
       {
           (void)arg;
           const otp_msg *m;
           otp_receive (m, OTP_INFINITY) {
               case PING: OTP_SEND(m->from, PONG, *OTP_PAYLOAD(m, int) + 1); break;
           }
       }

       static void app(void *arg)
       {
           (void)arg;
           const otp_msg *m;
           OTP_SEND(otp_spawn_link(ponger, NULL), PING, 41);
           otp_receive (m, 1000) {
               case PONG:      printf("%d\n", *OTP_PAYLOAD(m, int)); break;
               case OTP_AFTER: printf("no answer within a second\n"); break;
           }
       }

       int main(void) { return otp_run(app, NULL, NULL); }

   Build: cc -pthread program.c     (recommended besides: -Wl,-z,now -fstack-clash-protection)
   All other files include otp.h without the define.

   CONTENTS (search for the marks)
     1 config          >> config
     2 types           >> types: >> errors, >> reasons, >> messages, >> options
     3 functions       >> runtime, >> processes, >> links and monitors, >> names, >> sending,
                       >> receiving, >> calls, >> timers, >> memory, >> blocking and files,
                       >> handlers, >> seeing inside, >> module authors
     4 implementation  its own table of contents stands at its top

   NEEDS   C11 or C++17 for the declarations; C11 with GNU asm (gcc, clang) for the implementation;
           pthreads. Linux is the home; other Unixes build on the portable paths.
   NOT HERE gen_server, gen_statem, supervisors, tables: modules of their own, on top of this one.
   LIMITS  - `errno`, thread-locals and rounding modes belong to threads, and a process may wake on another
             thread after any call that may suspend: read errno before the next otp_ call.
           - Never hold a pthread mutex across a call that may suspend. C++: no such call in a catch block.
           - A crash is contained when it happens in the process's own code. Memory that it scribbled over
             first is not repaired; a crash inside malloc or stdio ends the program after a report.
           - Under sanitizers and Valgrind faults end the program, unless otp_opts.force_isolation is set.
           - A process that computes without calling otp_ does not delay the others, but a signal to it
             (kill included) takes effect only at its next otp_ call.
   NAMES   otp_ and OTP_ are public, otp__ and OTP__ are private. Names are Erlang's where it has one. */

#if defined(OTP_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1       /* the implementation needs more of libc than C11 names */
#endif

#ifndef OTP_H_INCLUDED
#define OTP_H_INCLUDED

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OTP_VERSION "0.1.0"

/* -- 1 config -------------------------------------------------------------------------------------------
   >> config   Define any of these before the include with OTP_IMPLEMENTATION; each shows its default.

   OTP_MALLOC(n) malloc(n)      where large blocks come from; must be thread-safe
   OTP_FREE(p)   free(p)
   OTP_ABORT()   abort()        how the program ends when the runtime itself is broken
   OTP_REDUCTIONS 4000          reductions a process may use before it goes to the back of the line
   OTP_DEBUG                    when defined: internal checks, and misuse stops the program with its place
   OTP_NO_ASM                   when defined: the portable context switch instead of inline assembly
   OTP_NO_VALGRIND              when defined: no Valgrind hints even if its headers are installed
   OTP_PREEMPT                  when defined: files compiled with -fsanitize-coverage=trace-pc (not this one) are
                                preempted in loops without a call; see docs/debugging.md
   OTP_STEPS                    when defined: an otp_director may switch before our lock-free steps, too
   OTP_NO_LINUX                 when defined: on Linux, what other systems use (for tests): poll, no futex;
                                with OTP_KQUEUE, which needs a sys/event.h, kqueue                         */

#if defined(__GNUC__) || defined(__clang__)
#define OTP_NORETURN __attribute__((noreturn))
#define OTP_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define OTP_NORETURN
#define OTP_PRINTF(f, a)
#endif

/* -- 2 types ------------------------------------------------------------------------------------------ */

/* A process. The zero pid is nobody: sending to it gives OTP_ENOPROC. A pid never names a newer process.
   Bit 63 is kept for processes on other nodes. Compare with otp_same(). */
typedef struct otp_pid { uint64_t id; } otp_pid;

/* A reference: unique in this run of the program (a monitor, a request, a timer, or just a fresh mark). */
typedef struct otp_ref { uint64_t id; } otp_ref;

/* An address that can be switched off: a process, and a reference that it made for this purpose. */
typedef struct otp_alias { otp_pid pid; otp_ref ref; } otp_alias;

/* Whom to answer: taken from a request with otp_from_of(), usable by any process, once. */
typedef struct otp_from { otp_pid pid; otp_ref ref; } otp_from;

typedef void otp_fn(void *arg);

#define OTP_INFINITY ((int64_t)-1)          /* as a time: wait for ever */

/* >> errors   Every function that can fail returns one of these negative numbers. */
#define OTP_ERRORS(X)                                                                                       \
    X(OTP_EBADARG,   -1, "bad argument")                                                                    \
    X(OTP_ENOPROC,   -2, "no such process")                                                                 \
    X(OTP_ETIMEOUT,  -3, "timeout")                                                                         \
    X(OTP_ENOMEM,    -4, "out of memory")                                                                   \
    X(OTP_ESYSLIMIT, -5, "a limit of the system or of the runtime is reached")                              \
    X(OTP_EFULL,     -6, "the mailbox is full")                                                             \
    X(OTP_EEXIST,    -7, "already there")                                                                   \
    X(OTP_ENOENT,    -8, "not there")                                                                       \
    X(OTP_ESIZE,     -9, "the reply is larger than the buffer")                                             \
    X(OTP_EBUSY,    -10, "another process already waits for it")                                            \
    X(OTP_ECLOSED,  -11, "closed")                                                                          \
    X(OTP_EIO,      -12, "input or output error")                                                           \
    X(OTP_ENOTPROC, -13, "only a process may call this")                                                    \
    X(OTP_ENOTUP,   -14, "the runtime is not running")                                                      \
    X(OTP_EBADCALL, -15, "unknown request")                                                                 \
    X(OTP_ESELF,    -16, "a process cannot call itself")                                                    \
    X(OTP_EDIED,    -17, "the process died before it answered")                                             \
    X(OTP_EIGNORE,  -18, "it chose not to start")
enum otp_error {
#define OTP__X(name, number, text) name = number,
    OTP_ERRORS(OTP__X)
#undef OTP__X
    OTP_DONE = 0
};

/* >> reasons   Why a process ended. */
#define OTP_REASONS(X)                                                                                      \
    X(NORMAL,         "normal")          /* its function returned */                                        \
    X(SHUTDOWN,       "shutdown")        /* asked to end by its supervisor or the runtime */                \
    X(KILL,           "kill")            /* as a signal: cannot be trapped; receivers die of KILLED */      \
    X(KILLED,         "killed")                                                                             \
    X(NOPROC,         "noproc")          /* there was no such process */                                    \
    X(TIMEOUT,        "timeout")         /* a call was not answered in time */                              \
    X(BADARG,         "badarg")          /* a function of this header was misused; text tells how */        \
    X(CALL,           "call")            /* a call failed: code is the OTP_E…, text says of what */         \
    X(CRASH,          "crash")           /* code is the signal number, address the faulting address */      \
    X(STACK_OVERFLOW, "stack_overflow")                                                                     \
    X(SYSTEM_LIMIT,   "system_limit")    /* no memory, no process slot, heap limit */                       \
    X(NOCONNECTION,   "noconnection")    /* kept for processes on other nodes */                            \
    X(ERROR,          "error")           /* code is an OTP_E… */                                            \
    X(USER,           "user")            /* code and text are the program's own */
typedef enum otp_reason_kind {
#define OTP__X(name, text) OTP_REASON_##name,
    OTP_REASONS(OTP__X)
#undef OTP__X
    OTP_REASON_COUNT
} otp_reason_kind;

typedef struct otp_reason {
    otp_reason_kind kind;
    int code;                   /* a signal number, an OTP_E… or the program's own number */
    uintptr_t address;          /* of a crash */
    const char *text;           /* may be NULL; copied whenever a reason is passed on */
} otp_reason;

/* Makes a reason; the macros below are its short forms. Does not suspend.
   returns: the reason; its text is not copied here
   caller: any thread */
static inline otp_reason otp_reason_make(otp_reason_kind kind, int code, const char *text)
{
    otp_reason r;
    r.kind = kind;
    r.code = code;
    r.address = 0;
    r.text = text;
    return r;
}
#define OTP_NORMAL            otp_reason_make(OTP_REASON_NORMAL, 0, NULL)
#define OTP_SHUTDOWN          otp_reason_make(OTP_REASON_SHUTDOWN, 0, NULL)
#define OTP_KILL              otp_reason_make(OTP_REASON_KILL, 0, NULL)
#define OTP_ERROR(code)       otp_reason_make(OTP_REASON_ERROR, (code), NULL)
#define OTP_USER(code, text)  otp_reason_make(OTP_REASON_USER, (code), (text))

/* >> messages   A received message. It is valid until the process receives again, ends, or drops it;
   otp_keep() makes it last. `data` is at least 16-aligned when it holds 16 bytes or more, else 8-aligned. */
#define OTP__F_CALL (1u << 20)      /* private; see otp_is_call, otp_is_cast */
#define OTP__F_CAST (1u << 26)
#define OTP__F_ASKED (1u << 27)
typedef struct otp_msg {
    int tag;                    /* >= 0: the program's own; < 0: one of the OTP_… tags below */
    uint32_t flags;             /* private */
    otp_pid from;               /* who sent it */
    otp_ref ref;                /* of a request, reply, monitor, timer or alias; else 0 */
    size_t size;                /* bytes at data */
    const void *data;
} otp_msg;

enum otp_tag {
    OTP_AFTER = -1,             /* the pseudo message of a receive whose time is over */
    OTP_EXIT = -2,              /* a trapped exit signal: from, data = otp_reason */
    OTP_DOWN = -3,              /* a monitor fired: from, ref, data = otp_reason (see otp_down_name) */
    OTP_REPLY_TAG = -4,         /* the answer to otp_send_request: ref, data */
    OTP_TIMEOUT_TAG = -5,       /* otp_start_timer: ref, data */
    OTP_CONTINUE = -6,          /* to a handler: it asked for this with otp_continue(); data = int */
    OTP_IDLE = -7,              /* to a handler: its idle time is over */
    OTP_SYS_SUSPEND = -20,      /* system requests (sys:suspend/1 …), sent with otp_call */
    OTP_SYS_RESUME = -21,
    OTP_SYS_GET_STATE = -22,
    OTP_SYS_REPLACE_STATE = -23,
    OTP_SYS_TRACE = -24,        /* data = int: 0 off, 1 on */
    OTP_SYS_CHANGE_CODE = -25,  /* only while suspended; answered by the handler's `system` */
    OTP_SYS_TERMINATE = -26,    /* data = otp_reason, its text behind it with the final 0; answered by the death */
    OTP_TAG_MIN = -1000         /* tags below this are free for modules on top of this one */
};

void otp__payload_short(const otp_msg *m, size_t size, const char *type) OTP_NORETURN;

/* The payload as a pointer to const `type`; ends the process with badarg if the message is shorter. */
#define OTP_PAYLOAD(m, type) ((const type *)otp_payload((m), sizeof(type), #type))

typedef enum otp_priority { OTP_PRIO_NORMAL, OTP_PRIO_LOW, OTP_PRIO_HIGH, OTP_PRIO_MAX } otp_priority;

/* What happens to a message that finds a limited mailbox full. Signals are never dropped. */
typedef enum otp_full {
    OTP_FULL_REFUSE,            /* otp_send returns OTP_EFULL */
    OTP_FULL_DROP               /* the new message is dropped silently */
} otp_full;

/* >> handlers (types)   A process without a stack of its own: a state, and a function called once per message.
   The engine in which servers, state machines and supervisors run. Return one of OTP_OK … to go on. */
typedef struct otp_next { int op; int arg; int64_t idle; } otp_next;

typedef struct otp_handler {
    const char *name;           /* for reports: "counter" */
    const char *(*label)(const void *state);    /* or NULL; instead of name, for a handler that many kinds share; no otp_ calls */
    size_t state_size;          /* bytes of zeroed state in the process heap */
    otp_next (*init)(void *state, const void *arg, size_t size);   /* or NULL */
    otp_next (*message)(void *state, const otp_msg *m);
    void (*terminate)(void *state, const otp_reason *why);         /* or NULL; runs on a stop and on a crash-free exit */
    /* or NULL; sees every OTP_SYS_… request first, returns true when it has answered it */
    bool (*system)(void *state, const otp_msg *m);
    /* or NULL; writes the state as text for reports, returns the length as snprintf does */
    int (*format)(const void *state, char *out, size_t size);
} otp_handler;

/* >> options   All zero means the defaults. */
typedef struct otp_spawn_opts {
    otp_fn *fn;                 /* the function, or … */
    const otp_handler *handler; /* … the handler; exactly one of the two */
    void *arg;
    size_t arg_size;            /* > 0: arg's bytes are copied into the new process's heap first */
    size_t state_size;          /* bytes of a handler's state; 0: as the handler says */
    const char *name;           /* registered before the process runs; copied */
    const char *label;          /* shown in reports when it has no name; must outlive the process */
    bool link;
    otp_ref *monitor;           /* set to the reference of an atomic monitor */
    otp_priority priority;
    size_t stack_size;          /* bytes; 0: the runtime's default; at least 16 KiB + the signal frame */
    size_t heap_limit;          /* bytes of otp_alloc; beyond: the process is killed; 0: none */
    bool heap_limit_null;       /* beyond the limit otp_alloc returns NULL instead */
    uint32_t mailbox_limit;     /* messages; 0: none */
    otp_full mailbox_full;
    bool main_thread;           /* runs only on the thread in otp_run, or in otp_poll (deterministic: as any other) */
} otp_spawn_opts;

typedef enum otp_level {
    OTP_LOG_DEFAULT, OTP_LOG_ERROR, OTP_LOG_WARNING, OTP_LOG_NOTICE, OTP_LOG_INFO, OTP_LOG_DEBUG, OTP_LOG_NONE
} otp_level;

typedef struct otp_opts {
    int schedulers;             /* 0: one per core that this program may use */
    uint32_t max_processes;     /* 0: 16,777,216 */
    size_t stack_size;          /* bytes reserved per stack; 0: 256 KiB; only touched pages cost memory */
    int64_t shutdown;           /* otp_run: ms to let processes end after the first one has; 0: 5,000 */
    int64_t stuck;              /* ms in one process after which its scheduler is handed on; 0: 5 */
    int64_t report_stuck;       /* ms in one process that are worth a warning; 0: 100; OTP_INFINITY: never */
    int blocking_threads;       /* at most, for otp_blocking; 0: 64 */
    bool no_isolation;          /* faults end the program, as without this header */
    bool force_isolation;       /* contain faults under sanitizers and Valgrind too */
    bool deterministic;         /* one scheduler, virtual time, order from the seed */
    uint64_t seed;
    int dump_signal;            /* a signal that prints otp_dump(); 0: none */
    void (*log)(otp_level level, const char *text, void *arg);    /* NULL: stderr; any thread */
    void *log_arg;
    otp_level log_level;        /* OTP_LOG_DEFAULT: OTP_LOG_NOTICE */
} otp_opts;

typedef struct otp_timer_opts {
    int64_t time;               /* ms from now, or with .absolute on the clock of otp_now() */
    bool absolute;
    int64_t interval;           /* > 0: again every so many ms, without drift, until cancelled or `to` is dead */
    otp_pid to;
    const char *name;           /* instead of `to`: looked up when the time has come */
    bool timeout;               /* delivers OTP_TIMEOUT_TAG with the reference, as otp_start_timer */
    int tag;
    const void *data;
    size_t size;
} otp_timer_opts;

typedef enum otp_alias_mode {
    OTP_ALIAS_NONE,             /* monitors: no alias */
    OTP_ALIAS_EXPLICIT,         /* lives until otp_unalias */
    OTP_ALIAS_DEMONITOR,        /* … or until the monitor ends */
    OTP_ALIAS_REPLY             /* … or until the first message through it, which ends the monitor too */
} otp_alias_mode;

typedef struct otp_monitor_opts {
    int tag;                    /* instead of OTP_DOWN; 0: OTP_DOWN */
    otp_alias_mode alias;       /* the alias is { otp_self(), the returned reference } */
} otp_monitor_opts;

enum otp_demonitor_flag { OTP_FLUSH = 1, OTP_INFO = 2 };

typedef enum otp_state {
    OTP_STATE_NONE, OTP_STATE_RUNNING, OTP_STATE_RUNNABLE, OTP_STATE_WAITING, OTP_STATE_SUSPENDED, OTP_STATE_EXITING
} otp_state;
typedef enum otp_waits {
    OTP_WAITS_NOTHING, OTP_WAITS_MESSAGE, OTP_WAITS_CALL, OTP_WAITS_FD, OTP_WAITS_SLEEP, OTP_WAITS_BLOCKING, OTP_WAITS_RESUME
} otp_waits;

/* What process_info/1 tells. Strings are copies. */
typedef struct otp_info {
    otp_pid pid;
    char name[64];              /* "" when it has none */
    char spawned[96];           /* "function at file.c:12" */
    otp_state state;
    otp_waits waits;
    otp_pid parent;
    otp_pid calling;            /* whom it waits for, in OTP_WAITS_CALL */
    int fd;                     /* in OTP_WAITS_FD */
    otp_priority priority;
    bool trap_exit;
    bool handler;
    uint64_t reductions;
    size_t message_queue_len;
    size_t heap_bytes;          /* of otp_alloc */
    size_t stack_bytes;         /* touched; 0: it has no stack now */
    size_t memory;              /* record, heap, stack and messages */
    size_t links, monitors, monitored_by;
} otp_info;

enum otp_relation { OTP_LINKS, OTP_MONITORS, OTP_MONITORED_BY };

/* Called as things happen, on the thread where they happen, most of them in the middle of the runtime. A hook must call
   no function of this header but otp_trace_here, otp_schedulers, otp_same, otp_strerror and otp_format_reason. */
typedef struct otp_trace_hooks {
    void (*spawn)(otp_pid parent, otp_pid child, const char *place, void *arg);
    void (*exit)(otp_pid pid, const otp_reason *why, void *arg);
    void (*send)(otp_pid from, otp_pid to, int tag, size_t size, void *arg);
    void (*receive)(otp_pid pid, otp_pid from, int tag, size_t size, void *arg);
    void (*in)(otp_pid pid, int scheduler, void *arg);
    void (*out)(otp_pid pid, int scheduler, void *arg);
    void (*wake)(otp_pid pid, void *arg);                           /* by a timer, an fd or the like: not by a message */
    void (*name)(otp_pid pid, const char *name, void *arg);         /* it gets this name; the text is not kept */
    void (*idle)(int scheduler, bool begin, void *arg);             /* it goes to sleep, and wakes; not deterministic */
    void (*steal)(int scheduler, int from, int n, void *arg);       /* it has taken n processes over from another one */
    void (*blocking)(otp_pid pid, bool begin, void *arg);           /* on the thread that does the blocking work */
    void (*lost)(otp_pid pid, int scheduler, bool begin, void *arg);    /* a stuck process goes on without its
                                                                           scheduler, and is back (scheduler is -1) */
    void *arg;
} otp_trace_hooks;

/* What a hook can learn about its call. */
typedef struct otp_trace_point {
    uint64_t ticks;             /* when: see otp_ticks_ns */
    int scheduler;              /* on whose behalf: 0 and up; otp_schedulers(): the main thread; -1: none */
    uint64_t message;           /* in send and receive: the same in both, and in no other message meanwhile */
    const char *place;          /* in `in`: where the process was spawned */
    const char *handler;        /* in `in`: the name of its handler; NULL: it has none */
} otp_trace_point;

enum otp_fd_events { OTP_READ = 1, OTP_WRITE = 2, OTP_HANGUP = 4 };

struct sockaddr;

/* -- 3 functions ---------------------------------------------------------------------------------------
   "any process" includes guests: a thread of the program's own becomes one with its first call that needs a
   mailbox, and its receives block the thread. "may suspend": other processes run meanwhile, and the process
   may wake on another thread; a pending exit signal takes effect there. All functions that send may suspend. */

/* >> runtime */

/* Starts the runtime, runs app(arg) as its first process, and stops when that process has ended.
   returns: 0 when it ended normally or by shutdown, 1 when it ended otherwise; < 0 when the runtime could not
            start: OTP_EBADARG, OTP_ENOMEM, OTP_ESYSLIMIT, OTP_EEXIST (it runs already)
   caller: before start, on the main thread
   like: erl -s */
int otp_run(otp_fn *app, void *arg, const otp_opts *opts);

/* Starts the runtime inside an existing program and returns; opts may be NULL.
   returns: 0; OTP_EBADARG, OTP_ENOMEM, OTP_ESYSLIMIT, OTP_EEXIST (it runs already)
   caller: before start, any thread */
int otp_start(const otp_opts *opts);

/* Asks every process to shut down, kills what is left after `timeout` ms, and stops the threads. What did not
   end in time is named in the log. The runtime can be started again afterwards.
   returns: 0 when all ended by themselves; the number of processes that had to be killed; OTP_ESYSLIMIT when some
            computes for ever: the runtime then stays up, and otp_stop can be tried again; OTP_ENOTUP; OTP_EBADARG
            from inside a process
   caller: any thread that is not a process
   like: init:stop/0 */
int otp_stop(int64_t timeout);

/* Runs the processes spawned with .main_thread until none is runnable, waiting up to `timeout` ms for one.
   returns: the number of turns given; OTP_ENOTUP; OTP_EBUSY when another thread is in it or otp_run is
   caller: the thread that such processes must run on */
int otp_poll(int64_t timeout);

/* An fd for a foreign event loop: readable when otp_poll(0) has something to run.
   returns: the fd, owned by the runtime; OTP_ENOTUP, OTP_ESYSLIMIT
   caller: any thread */
int otp_poll_fd(void);

/* Milliseconds on a clock that never goes back; virtual in the deterministic mode. Does not suspend.
   returns: the time
   caller: any thread
   like: erlang:monotonic_time(millisecond) */
int64_t otp_now(void);

/* The same in nanoseconds.
   returns: the time
   caller: any thread */
int64_t otp_now_ns(void);

/* A random number; in the deterministic mode it follows from the seed. Does not suspend.
   returns: 64 random bits, not for secrets
   caller: any thread
   like: rand:uniform/0 */
uint64_t otp_random(void);

/* The number of schedulers of the running runtime.
   returns: the number; 0 when it is not running
   caller: any thread */
int otp_schedulers(void);

/* The text of an OTP_E… code.
   returns: a constant string
   caller: any thread */
const char *otp_strerror(int code);

/* Writes a reason as text, e.g. "crash: SIGSEGV at 0x10".
   returns: the length as snprintf does
   caller: any thread */
int otp_format_reason(const otp_reason *r, char *out, size_t size);

/* >> processes */

#define OTP__STR2(x) #x
#define OTP__STR(x) OTP__STR2(x)
#define OTP_HERE(what) what " at " __FILE__ ":" OTP__STR(__LINE__)

/* Starts a process that runs fn(arg); it ends when fn returns. Never fails because of what fn does. arg is passed as it
   is and must live as long as fn uses it; otp_spawn_opt with .arg_size gives the process a copy of its own.
   returns: its pid; a zero pid when the process limit is reached or memory is out
   caller: any thread; may suspend
   like: erlang:spawn/1 */
#define otp_spawn(fn, ...) otp_spawn_at((fn), (__VA_ARGS__), OTP_HERE(#fn))    /* ... is arg: may hold commas */
otp_pid otp_spawn_at(otp_fn *fn, void *arg, const char *place);

/* The same, linked to the caller in one step.
   returns: as otp_spawn
   caller: any process; may suspend
   like: erlang:spawn_link/1 */
#define otp_spawn_link(fn, ...) otp_spawn_link_at((fn), (__VA_ARGS__), OTP_HERE(#fn))
otp_pid otp_spawn_link_at(otp_fn *fn, void *arg, const char *place);

/* The same, monitored by the caller in one step; *ref is the monitor.
   returns: as otp_spawn
   caller: any process; may suspend
   like: erlang:spawn_monitor/1 */
#define otp_spawn_monitor(fn, ...) otp_spawn_monitor_at((fn), __VA_ARGS__, OTP_HERE(#fn))  /* ... is arg, ref */
otp_pid otp_spawn_monitor_at(otp_fn *fn, void *arg, otp_ref *ref, const char *place);

/* Starts a process as the options say. Bad options create no process.
   returns: 0 and *pid; OTP_EBADARG, OTP_ESYSLIMIT, OTP_ENOMEM, OTP_EEXIST (the name is taken), OTP_ENOTPROC
   caller: any thread (links and monitors: any process); may suspend
   like: erlang:spawn_opt/2 */
#define otp_spawn_opt(...) otp_spawn_opt_at(__VA_ARGS__, OTP_HERE("process"))  /* ... is opts, pid */
int otp_spawn_opt_at(const otp_spawn_opts *opts, otp_pid *pid, const char *place);

/* The calling process. Does not suspend.
   returns: its pid; a zero pid on a thread that is neither a process nor a guest (a guest stays one until it ends)
   caller: any thread
   like: erlang:self/0 */
otp_pid otp_self(void);

/* Whether two pids are the same process. Does not suspend.
   returns: true or false
   caller: any thread */
static inline bool otp_same(otp_pid a, otp_pid b) { return a.id == b.id; }

/* Whether a process is alive, with every signal that the caller has sent it taken into account.
   returns: true or false
   caller: any process; may suspend
   like: erlang:is_process_alive/1 */
bool otp_is_alive(otp_pid pid);

/* Ends the calling process from any depth of calls. On a guest thread: a fatal error of the program.
   returns: never
   caller: any process
   like: erlang:exit/1 */
void otp_exit(otp_reason why) OTP_NORETURN;

/* Sends an exit signal: OTP_KILL cannot be trapped; OTP_NORMAL is ignored unless the receiver traps exits.
   returns: 0, also for a dead pid
   caller: any thread; may suspend, and does not return when it ends the caller itself
   like: erlang:exit/2 */
int otp_exit_signal(otp_pid pid, otp_reason why);

/* Switches the trapping of exit signals on or off: trapped ones become OTP_EXIT messages.
   returns: the old value
   caller: any process; may suspend
   like: process_flag(trap_exit, on) */
bool otp_trap_exit(bool on);

/* Lets others run.
   returns: nothing
   caller: any process; may suspend
   like: erlang:yield/0 */
void otp_yield(void);

/* Waits `ms` milliseconds, or for ever with OTP_INFINITY; other negative times are badarg.
   returns: nothing
   caller: any process; may suspend
   like: timer:sleep/1 */
void otp_sleep(int64_t ms);

/* Gives the stack back. The process goes on in fn(arg), on a fresh stack, when a message is in its mailbox
   (at once if one is there already). Deferred functions, heap, links, monitors and name stay.
   returns: never
   caller: any process, not a handler or guest
   like: erlang:hibernate/3 */
void otp_hibernate(otp_fn *fn, void *arg) OTP_NORETURN;

/* Sets the caller's priority.
   returns: the old one
   caller: any process
   like: process_flag(priority, p) */
otp_priority otp_set_priority(otp_priority p);

/* Process-local values. Keys are compared as strings and copied; values are the caller's.
   returns: put and erase: the old value or NULL; get: the value or NULL
   caller: any process
   like: put/2, get/1, erase/1 */
void *otp_put(const char *key, void *value);
void *otp_get(const char *key);
void *otp_erase(const char *key);

/* Stops a process from running until resumed as often as suspended by the caller, or until the caller ends.
   returns: 0 when it is suspended; OTP_ENOPROC; OTP_EBADARG for oneself; resume: 0; OTP_ENOENT when the caller
            has not suspended it; OTP_ENOPROC when it has died since
   caller: any process; may suspend
   like: erlang:suspend_process/1, resume_process/1 */
int otp_suspend_process(otp_pid pid);
int otp_resume_process(otp_pid pid);

/* Waits until a process has ended; *why (may be NULL) gets the reason, without its text. It is noproc when the process
   had ended before: otp_spawn_monitor always tells the true one.
   returns: 0; OTP_ETIMEOUT
   caller: any process, any thread; may suspend */
int otp_await_exit(otp_pid pid, int64_t ms, otp_reason *why);

/* >> links and monitors */

/* Links the caller and pid. To a dead pid: an OTP_EXIT message with noproc if exits are trapped, else the
   caller exits with noproc. To itself: nothing.
   returns: 0; OTP_ENOMEM: there is no link
   caller: any process; may suspend
   like: erlang:link/1 */
int otp_link(otp_pid pid);

/* Removes the link. No exit signal through it arrives any more; an OTP_EXIT already in the mailbox stays.
   returns: 0, also when there was no link
   caller: any process; may suspend
   like: erlang:unlink/1 */
int otp_unlink(otp_pid pid);

/* Watches pid: one OTP_DOWN message when it ends, at once with noproc when it is dead.
   returns: a new reference; zero when memory is out
   caller: any process; may suspend
   like: erlang:monitor/2 */
otp_ref otp_monitor(otp_pid pid);

/* Watches the process that has this name now; otp_down_name() tells the name.
   returns: a new reference; zero when memory is out
   caller: any process; may suspend
   like: erlang:monitor(process, Name) */
otp_ref otp_monitor_name(const char *name);

/* The same with options; opts may be NULL.
   returns: a new reference; zero when memory is out
   caller: any process; may suspend
   like: erlang:monitor/3 */
otp_ref otp_monitor_opt(otp_pid pid, const otp_monitor_opts *opts);

/* Ends a monitor. OTP_FLUSH also removes its OTP_DOWN from the mailbox. OTP_INFO asks whether it was there.
   returns: true; with OTP_INFO false when the monitor was already gone
   caller: any process; may suspend
   like: erlang:demonitor/2 */
bool otp_demonitor(otp_ref ref, int flags);

/* The name given to otp_monitor_name.
   returns: a string valid as long as the message; NULL when the monitor was on a pid
   caller: the owner of the message */
const char *otp_down_name(const otp_msg *m);

/* The reason in an OTP_EXIT or OTP_DOWN message.
   returns: a reason valid as long as the message; badarg exit for other messages
   caller: the owner of the message */
const otp_reason *otp_reason_of(const otp_msg *m);

/* Makes an address for messages that can be switched off again.
   returns: the alias, owned by the caller, gone when it ends
   caller: any process
   like: erlang:alias/1 */
otp_alias otp_alias_new(otp_alias_mode mode);

/* Switches an alias off: what is sent to it from now on is dropped.
   returns: true once, then false
   caller: the owner; may suspend
   like: erlang:unalias/1 */
bool otp_unalias(otp_alias a);

/* A fresh reference. Does not suspend. A receive by it skips what was in the mailbox before.
   returns: the reference
   caller: any thread
   like: erlang:make_ref/0 */
otp_ref otp_make_ref(void);

/* >> names */

/* Gives a living process a name of 1 to 63 bytes, one name for each.
   returns: 0; OTP_EEXIST (the name is taken, or the process has one); OTP_ENOPROC; OTP_EBADARG; OTP_ENOMEM
   caller: any thread; may suspend
   like: erlang:register/2 */
int otp_register(const char *name, otp_pid pid);

/* Frees a name.
   returns: 0; OTP_ENOENT
   caller: any thread
   like: erlang:unregister/1 */
int otp_unregister(const char *name);

/* Who has this name. Does not suspend.
   returns: a pid; zero when nobody
   caller: any thread
   like: erlang:whereis/1 */
otp_pid otp_whereis(const char *name);

/* All names of living processes, in the order of the alphabet: at most `max` of them are copied to out.
   returns: how many there are
   caller: any thread
   like: erlang:registered/0 */
size_t otp_registered(char (*out)[64], size_t max);

/* >> sending   Data is copied; the caller keeps its own. A dead receiver is not an error: OTP_ENOPROC only
   says that it was known to be dead, as also for a zero pid. */

/* Sends a message.
   returns: 0; OTP_ENOPROC; OTP_EFULL; OTP_ENOMEM; OTP_EBADARG (a tag below 0 and above OTP_TAG_MIN)
   caller: any thread; may suspend
   like: erlang:send/2 */
int otp_send(otp_pid to, int tag, const void *data, size_t size);

/* Sends a message that a behaviour hands to its cast callback, apart from others: otp_is_cast() tells.
   returns: as otp_send
   caller: any thread; may suspend
   like: gen_server:cast/2 */
int otp_cast(otp_pid to, int tag, const void *data, size_t size);

/* Sends to a registered name.
   returns: as otp_send; OTP_ENOENT when nobody has the name
   caller: any thread; may suspend */
int otp_send_name(const char *name, int tag, const void *data, size_t size);

/* Sends through an alias.
   returns: as otp_send; 0 also when the alias is switched off
   caller: any thread; may suspend */
int otp_send_alias(otp_alias to, int tag, const void *data, size_t size);

/* Hands over a block from otp_alloc without copying; it becomes the message's data.
   owns: the block is spent when 0, OTP_ENOPROC or OTP_EFULL is returned
   returns: as otp_send
   caller: any process; may suspend */
int otp_send_move(otp_pid to, int tag, void *block, size_t size);

/* A block of bytes that many processes read and nobody changes once it has been sent; counted references.
   owns: the caller's reference is dropped by otp_shared_drop, or when the process ends
   returns: the block; NULL when memory is out
   caller: any process
   like: reference-counted binaries */
typedef struct otp_shared otp_shared;
otp_shared *otp_shared_new(const void *data, size_t size);

/* The bytes of a shared block: to be filled before it is first sent, and only read from then on.
   returns: a pointer valid as long as a reference is held
   caller: any process that holds a reference */
void *otp_shared_data(otp_shared *s);
size_t otp_shared_size(const otp_shared *s);

/* Drops the caller's reference.
   returns: nothing
   caller: the process that holds the reference */
void otp_shared_drop(otp_shared *s);

/* Sends a shared block: the receiver reads the same bytes as m->data, and holds them as long as the message.
   returns: as otp_send
   caller: any process that holds a reference; may suspend */
int otp_send_shared(otp_pid to, int tag, otp_shared *s);

/* The caller's own reference to the shared block behind a message.
   returns: the block; NULL when the message carries none
   caller: the owner of the message */
otp_shared *otp_shared_of(const otp_msg *m);

/* Sends a value: OTP_SEND(pid, TAG, 41) or OTP_SEND(pid, TAG, my_struct). */
#ifdef __cplusplus
#define OTP_SEND(to, tag, ...) otp__send_value((to), (tag), __VA_ARGS__)
#else
#define OTP_SEND(to, tag, ...)                                                                              \
    otp_send((to), (tag), (__typeof__(__VA_ARGS__)[1]){ __VA_ARGS__ }, sizeof(__typeof__(__VA_ARGS__)))
#endif

/* >> receiving */

/* otp_receive (m, ms) { case TAG: …; break; case OTP_AFTER: …; break; }   Erlang's receive … after.
   The body is the inside of a switch on the tag. The first message, oldest first, whose tag is listed is taken out;
   all others stay where they are. After `ms` without one: OTP_AFTER, if listed. 0 looks once. A case that looks
   closer and does not want the message says otp_leave(m); break;. Leave a body by break, return or goto; `continue` does
   what break does. m is a `const otp_msg *` declared before. */
#define otp_receive(m, ms) OTP__RECEIVE(m, ms, OTP__CAT(otp__s, __LINE__))
#define OTP__CAT2(a, b) a##b
#define OTP__CAT(a, b) OTP__CAT2(a, b)
#define OTP__RECEIVE(m, ms, s)                                                                              \
    for (otp__scan s = otp__scan_begin(ms); otp__scan_next(&s, &(m));)                                      \
        switch ((m)->tag) default: for (otp_leave(m); 0;)

/* Puts a message that was just received back to its place; the receive goes on behind it.
   returns: nothing
   caller: the owner of the message, before it receives again */
void otp_leave(const otp_msg *m);

/* Takes the oldest message, waiting up to `ms`.
   returns: the message; NULL when the time is over
   caller: any process; may suspend */
const otp_msg *otp_recv(int64_t ms);

/* Takes the oldest message with this tag; the others stay.
   returns: the message; NULL when the time is over
   caller: any process; may suspend */
const otp_msg *otp_recv_tag(int tag, int64_t ms);

/* Takes the oldest message with one of n tags.
   returns: the message; NULL when the time is over
   caller: any process; may suspend */
const otp_msg *otp_recv_tags(const int *tags, size_t n, int64_t ms);

/* Takes the oldest message with this reference, skipping what was there before the reference was made.
   returns: the message; NULL when the time is over
   caller: any process; may suspend */
const otp_msg *otp_recv_ref(otp_ref ref, int64_t ms);

/* Takes the oldest message that the predicate accepts; the predicate must not call otp_ functions that suspend.
   returns: the message; NULL when the time is over
   caller: any process; may suspend */
const otp_msg *otp_recv_match(bool (*match)(const otp_msg *m, void *arg), void *arg, int64_t ms);

/* Keeps a received message beyond the next receive. Without memory for it the caller ends with system_limit.
   owns: the caller; until otp_drop, or the end of the process
   returns: the message
   caller: the owner of the message */
const otp_msg *otp_keep(const otp_msg *m);

/* Drops a kept message, or gives a received one back early.
   returns: nothing
   caller: the owner of the message */
void otp_drop(const otp_msg *m);

/* The payload, checked; what OTP_PAYLOAD stands on.
   returns: the data; does not return when it has fewer than `size` bytes
   caller: the owner of the message */
static inline const void *otp_payload(const otp_msg *m, size_t size, const char *type)
{
    if (m->size < size) otp__payload_short(m, size, type);
    return m->data;
}

/* >> calls   The protocol that all behaviours share. Request: a message with m->ref set. Reply: to otp_from_of(m). */

/* Sends a request and waits for its reply, of which up to reply_size bytes are copied to reply.
   A shorter reply leaves the rest of the buffer as it was. A late reply never shows up in the mailbox. The time a call
   takes does not depend on how full the mailbox is.
   returns: the size of the reply; does not return when there is none in `ms`, the process is dead, dies first,
            is the caller, or answers with more than reply_size bytes: the caller exits with reason CALL
   caller: any process (a guest: the program ends); may suspend
   like: gen_server:call/3 */
int64_t otp_call(otp_pid to, int tag, const void *data, size_t size, void *reply, size_t reply_size, int64_t ms);

/* The same, with a code instead of an exit.
   returns: the size of the reply; OTP_ETIMEOUT, OTP_ENOPROC, OTP_EDIED, OTP_ESELF, OTP_ESIZE, OTP_EBADARG,
            OTP_ENOMEM, OTP_EFULL (its mailbox is limited), or the negative code that the server gave to otp_reply_error
   caller: any process; may suspend */
int64_t otp_try_call(otp_pid to, int tag, const void *data, size_t size, void *reply, size_t reply_size, int64_t ms);

/* The same, with the reply as a message of its own (valid until the next receive), NULL and *error otherwise.
   returns: the reply; NULL: *error (may be NULL) is one of the codes of otp_try_call
   caller: any process; may suspend */
const otp_msg *otp_call_msg(otp_pid to, int tag, const void *data, size_t size, int64_t ms, int *error);

/* Whom to answer for a request. Does not suspend.
   returns: the address; its ref is zero when m is not a request
   caller: the owner of the message */
static inline otp_from otp_from_of(const otp_msg *m)
{
    otp_from f;
    f.pid = m->from;
    f.ref = m->ref;
    return f;
}

/* Whether a message is a request that waits for an answer (otp_call, otp_send_request), or came by otp_cast.
   returns: true or false
   caller: the owner of the message */
static inline bool otp_is_call(const otp_msg *m) { return (m->flags & (OTP__F_CALL | OTP__F_ASKED)) != 0; }
static inline bool otp_is_cast(const otp_msg *m) { return (m->flags & OTP__F_CAST) != 0; }

/* Answers a request: now, later, or from another process. Only the first answer counts.
   returns: 0, also when nobody waits any more; OTP_ENOMEM
   caller: any thread; may suspend
   like: gen_server:reply/2 */
int otp_reply(otp_from to, const void *data, size_t size);

/* Answers with a negative code, which the caller gets as the result of otp_try_call.
   returns: 0; OTP_EBADARG when code is not negative
   caller: any thread; may suspend */
int otp_reply_error(otp_from to, int code);

/* Answers with a value: OTP_REPLY(from, c->n). */
#ifdef __cplusplus
#define OTP_REPLY(to, ...) otp__reply_value((to), __VA_ARGS__)
#else
#define OTP_REPLY(to, ...) otp_reply((to), (__typeof__(__VA_ARGS__)[1]){ __VA_ARGS__ }, sizeof(__typeof__(__VA_ARGS__)))
#endif

/* Sends a request without waiting. The answer comes as a message with this reference: OTP_REPLY_TAG, or
   OTP_DOWN when the process is dead or dies first.
   returns: the reference; zero when memory is out
   caller: any process; may suspend
   like: gen_server:send_request/2 */
otp_ref otp_send_request(otp_pid to, int tag, const void *data, size_t size);

/* Waits for the answer to any of n requests; *which is its index. Zero references are skipped: set refs[*which].id to 0
   to go on with the rest.
   returns: the message (OTP_REPLY_TAG or OTP_DOWN); NULL when the time is over or all n are zero
   caller: any process; may suspend
   like: gen_server:receive_response/3 */
const otp_msg *otp_wait_any(const otp_ref *refs, size_t n, int64_t ms, size_t *which);

/* The code in an answer: what otp_reply_error gave.
   returns: 0 for an ordinary reply, the code otherwise; OTP_EDIED or OTP_ENOPROC for OTP_DOWN
   caller: the owner of the message */
int otp_reply_code(const otp_msg *m);

/* Forgets a request: its answer will never arrive; one that is in the mailbox is removed.
   returns: 0; OTP_ENOENT when it was answered or unknown
   caller: the owner of the reference; may suspend */
int otp_cancel_request(otp_ref ref);

/* >> timers   1 ms resolution, never early. Timers to one process fire in the order of their deadlines. */

/* Sends a message after `ms` milliseconds; a timer to a process that dies vanishes.
   returns: a reference to cancel it by; zero when memory is out or ms is negative
   caller: any thread
   like: erlang:send_after/3 */
otp_ref otp_send_after(int64_t ms, otp_pid to, int tag, const void *data, size_t size);

/* Delivers OTP_TIMEOUT_TAG, with the timer's reference in m->ref.
   returns: as otp_send_after
   caller: any thread
   like: erlang:start_timer/3 */
otp_ref otp_start_timer(int64_t ms, otp_pid to, const void *data, size_t size);

/* Starts a timer as the options say.
   returns: as otp_send_after; zero also for bad options
   caller: any thread
   like: timer:send_interval/3 for .interval, erlang:start_timer/4 for .absolute */
otp_ref otp_timer(const otp_timer_opts *opts);

/* Stops a timer. After a result >= 0 its message never comes; after OTP_ENOENT it may be in the mailbox.
   returns: the ms that were left; OTP_ENOENT when it has fired, was cancelled, or is unknown
   caller: any thread
   like: erlang:cancel_timer/1 */
int64_t otp_cancel_timer(otp_ref timer);

/* The time that a timer has left.
   returns: ms; OTP_ENOENT as above
   caller: any thread
   like: erlang:read_timer/1 */
int64_t otp_read_timer(otp_ref timer);

/* >> memory   Of the calling process: freed when it ends, however it ends. A guest's is freed with its thread. */

/* Allocates from the process heap; 16-aligned, not cleared (otp_calloc: cleared).
   returns: the block; NULL when memory is out or the heap limit says so
   caller: any process */
void *otp_alloc(size_t size);
void *otp_calloc(size_t n, size_t size);
void *otp_realloc(void *block, size_t size);
char *otp_strdup(const char *s);

/* Frees a block of the calling process; NULL is fine.
   returns: nothing
   caller: the process that allocated it */
void otp_free(void *block);

/* Has fn(arg) called when the process ends, by whatever cause; the last deferred runs first. A fault in one skips
   the rest of that one.
   returns: 0; OTP_ENOMEM
   caller: any process */
int otp_defer(otp_fn *fn, void *arg);

/* Takes back the newest otp_defer of this fn and arg, and with `run` calls it now.
   returns: 0; OTP_ENOENT
   caller: any process */
int otp_undefer(otp_fn *fn, void *arg, bool run);

/* >> blocking and files */

/* Runs fn(arg) on a thread of its own while other processes run on. fn must not use the calling process's
   functions (otp_send to others is fine). A process that is killed meanwhile keeps its memory until fn returns.
   returns: 0; OTP_ESYSLIMIT when no thread can be had
   caller: any process; may suspend */
int otp_blocking(otp_fn *fn, void *arg);

/* Waits until fd is ready for `events`, for `ms`.
   returns: the OTP_READ, OTP_WRITE, OTP_HANGUP that hold; OTP_ETIMEOUT; OTP_ECLOSED when otp_close was called on
            it meanwhile; OTP_EBUSY; OTP_EBADARG (not an fd that can be waited for)
   caller: any process; may suspend */
int otp_wait_fd(int fd, int events, int64_t ms);

/* Reads what is there, up to size bytes, waiting for the first; makes the fd non-blocking.
   returns: bytes; 0 at the end; OTP_ETIMEOUT, OTP_ECLOSED, OTP_EBUSY, OTP_EIO, OTP_EBADARG
   caller: any process; may suspend */
int64_t otp_read(int fd, void *buf, size_t size, int64_t ms);

/* Writes all of it.
   returns: size; OTP_ETIMEOUT (a part may be written), OTP_ECLOSED (also: the peer is gone), OTP_EBUSY, OTP_EIO,
            OTP_EBADARG
   caller: any process; may suspend */
int64_t otp_write(int fd, const void *buf, size_t size, int64_t ms);

/* Accepts a connection: non-blocking, close-on-exec.
   returns: the fd; OTP_ETIMEOUT, OTP_ECLOSED, OTP_EBUSY, OTP_EIO, OTP_ESYSLIMIT (no fds left), OTP_EBADARG
   caller: any process; may suspend */
int otp_accept(int fd, int64_t ms);

/* Connects a socket, which becomes non-blocking.
   returns: 0; OTP_ETIMEOUT, OTP_ECLOSED (refused or reset), OTP_EIO, OTP_EBUSY, OTP_EBADARG
   caller: any process; may suspend */
int otp_connect(int fd, const struct sockaddr *addr, size_t addr_size, int64_t ms);

/* Closes an fd that was used with the functions above and tells whoever waits on it OTP_ECLOSED.
   returns: 0; OTP_EBADARG
   caller: any thread */
int otp_close(int fd);

/* >> handlers */

/* What a handler returns: go on. */
#define OTP_OK otp_next_make(0, 0, -1)
/* The message stays in the mailbox, and is not offered again before a callback returns OTP_RETRY. */
#define OTP_LEAVE otp_next_make(1, 0, -1)
/* Go on, and offer the left messages again, oldest first, before newer ones. */
#define OTP_RETRY otp_next_make(2, 0, -1)
/* From init only: the process ends with normal, and who started it with otp_start_handler gets OTP_EIGNORE. */
#define OTP_IGNORE otp_next_make(5, 0, -1)

/* What these macros stand on.
   returns: what the callback returns
   caller: a handler's callback */
static inline otp_next otp_next_make(int op, int arg, int64_t idle)
{
    otp_next n;
    n.op = op;
    n.arg = arg;
    n.idle = idle;
    return n;
}

/* End with this reason, after terminate; its text is copied.
   returns: what the callback returns
   caller: a handler's callback */
otp_next otp_stop_with(otp_reason why);

/* From init only: the process ends with normal, so that no link breaks and nothing is reported, and who started it with
   otp_start_handler gets OTP_EDIED and this reason.
   returns: what the callback returns
   caller: a handler's init
   like: {error, Reason} */
otp_next otp_fail_with(otp_reason why);

/* Go on, and get OTP_CONTINUE with `what` as its data before any other message.
   returns: what the callback returns
   caller: a handler's callback
   like: {noreply, State, {continue, What}} */
static inline otp_next otp_continue(int what) { return otp_next_make(4, what, -1); }

/* Go on, and get OTP_IDLE when no message comes for `ms`.
   returns: what the callback returns
   caller: a handler's callback
   like: {noreply, State, Timeout} */
static inline otp_next otp_idle(int64_t ms) { return otp_next_make(0, 0, ms); }

/* Starts a handler, and returns when its init has: what every behaviour's start_link stands on. opts as for
   otp_spawn_opt; `timeout` ms for init, then it is killed. A handler started with .link whose caller ends, ends with the same
   reason, also when it traps exits. *why (may be NULL): with OTP_EDIED the reason, whose text lasts until the caller
   starts another. When init fails the process is dead and its name free before this returns; a caller that is linked and does
   not trap exits dies of it, unless init said OTP_IGNORE or otp_fail_with.
   returns: 0 and *pid; OTP_EEXIST and in *pid who has the name; OTP_EIGNORE; OTP_EDIED; OTP_ETIMEOUT; OTP_EBADARG, OTP_ENOMEM,
            OTP_ESYSLIMIT, OTP_ENOTUP
   caller: any process; may suspend
   like: proc_lib:start_link/5 */
#define otp_start_handler(...) otp_start_handler_at(__VA_ARGS__, OTP_HERE("handler"))  /* ... is opts, timeout, pid, why */
int otp_start_handler_at(const otp_spawn_opts *opts, int64_t timeout, otp_pid *pid, otp_reason *why, const char *place);

/* How the caller's last otp_start_handler ended, for those who got only a pid from a behaviour's start function; *why (may
   be NULL) as there.
   returns: what it returned; 0 when there was none
   caller: any process */
int otp_start_result(otp_reason *why);

/* Says why a start function of one's own returns no pid: what otp_start_result() tells from now on. OTP_EIGNORE: it
   chose not to start; OTP_EDIED: `why` tells, its text is copied; 0 forgets how the last start ended.
   returns: a zero pid
   caller: any process */
otp_pid otp_start_failed(int rc, otp_reason why);

/* The state of the handler that runs in the calling process.
   returns: the state; NULL in other processes
   caller: any process */
void *otp_handler_state(void);

/* >> seeing inside */

/* All living processes, at most `max` of which are copied to out.
   returns: how many there are
   caller: any thread
   like: erlang:processes/0 */
size_t otp_processes(otp_pid *out, size_t max);

/* Writes a pid as it stands in reports and tables, e.g. "<12.3>".
   returns: the length as snprintf does
   caller: any thread, also inside a trace hook
   like: pid_to_list/1 */
int otp_format_pid(otp_pid pid, char *out, size_t size);

/* What a process is and does, with every signal that the caller has sent it taken into account.
   returns: 0; OTP_ENOPROC; OTP_ENOMEM; OTP_ETIMEOUT after 5 s when it computes without a call
   caller: any process; may suspend
   like: erlang:process_info/1 */
int otp_process_info(otp_pid pid, otp_info *out);

/* The pids that a process is linked to, watches, or is watched by.
   returns: how many there are, at most `max` of which are in out; OTP_ENOPROC; OTP_ETIMEOUT as above
   caller: any process; may suspend
   like: process_info(Pid, links | monitors | monitored_by) */
int64_t otp_process_relations(otp_pid pid, enum otp_relation what, otp_pid *out, size_t max);

/* The deepest use of the caller's stack so far, in bytes.
   returns: bytes, rounded up to pages
   caller: any process */
size_t otp_stack_high_water(void);

/* Prints a table of all processes to an fd. May be called from a debugger; what it shows is a snapshot without locks.
   returns: nothing
   caller: any thread, a debugger */
void otp_dump(int fd);

/* Whether every process waits for something that cannot come: no message, timer, fd or thread is on its way. Logs
   what each waits for. In the deterministic mode this is found without asking and ends the run.
   returns: the number of waiting processes in a deadlock, the caller not counted; 0 when there is none
   caller: any thread */
int otp_check_deadlock(void);

/* Writes a line to the log when `level` is at or above the log level.
   returns: nothing
   caller: any thread
   like: logger:log/2 */
void otp_log(otp_level level, const char *format, ...) OTP_PRINTF(2, 3);

/* Installs trace hooks for the whole runtime; NULL switches them off. The struct must stay until then.
   returns: nothing
   caller: any thread
   like: erlang:trace/3 */
void otp_trace(const otp_trace_hooks *hooks);

/* >> module authors   For headers that stand on this one. */

/* Counts work done on behalf of the calling process; it may be put to the back of the line.
   returns: nothing
   caller: any process; may suspend
   like: erlang:bump_reductions/1 */
void otp_bump_reductions(int n);

/* Between these two OTP_PREEMPT does not end the caller's turn: for code that calls back while it must not be
   interrupted. They nest. Without OTP_PREEMPT they do nothing.
   returns: nothing
   caller: any process */
void otp_preempt_off(void);
void otp_preempt_on(void);

/* Called with the process that a message or signal should go to when its pid is not local (bit 63).
   Until a distribution module sets it, such pids behave as dead.
   returns: nothing
   caller: before start */
void otp_set_remote(int (*route)(otp_pid to, int tag, const void *data, size_t size, void *arg), void *arg);

/* Calls fn(pid, arg) in each ending process after its deferred functions and before anybody learns of its end.
   returns: 0; OTP_ESYSLIMIT when 8 are set
   caller: before start */
int otp_at_exit(void (*fn)(otp_pid pid, void *arg), void *arg);

/* The receivers of all timers that are running (otp_send_after, otp_start_timer, otp_timer), at most `max` of which are
   copied to out: a zero pid for a timer to a name. Timers to processes that are dead do not count. What is started or
   fires meanwhile may be missed.
   returns: how many there are
   caller: any process */
size_t otp_timers(otp_pid *out, size_t max);

/* Calls row(info, arg) for each living process, without waking one that waits: such a process is looked at where it
   lies, one that computes is looked at over its shoulder, and the others, which are about to run, are asked and have
   `ms` to answer. For who does not answer (and for all in the deterministic mode, which this must not disturb)
   message_queue_len is SIZE_MAX, and stack, links and monitors are 0. row is called on the calling thread.
   returns: the number of processes; OTP_ENOTUP; OTP_EBADARG inside a process; OTP_ENOMEM
   caller: any thread that is not a process */
int64_t otp_survey(void (*row)(const otp_info *info, void *arg), void *arg, int64_t ms);

/* Inside a trace hook: where and when it is called. Cheap: no system call where the processor has a clock.
   returns: nothing
   caller: a trace hook */
void otp_trace_here(otp_trace_point *out);

/* Ticks as nanoseconds: on the clock of otp_now_ns(), and virtual for ticks of the deterministic mode, where each
   tick that is asked for comes at least a microsecond after the one before.
   returns: the time
   caller: any thread, also inside a trace hook */
int64_t otp_ticks_ns(uint64_t ticks);

/* Who decides in the deterministic mode, in place of the seed: for explorers of schedules (otp_explore.h). Callbacks run
   inside the runtime, on the scheduler's thread; they may be NULL, and call no otp_ function but otp_now(); idle may
   spawn besides. */
enum otp_point {
    OTP_POINT_NONE,             /* nobody runs: the last one waits, has ended, or is a handler between two messages */
    OTP_POINT_CALL,             /* the running process leaves a call, or begins to receive */
    OTP_POINT_YIELD,            /* it asks that others run */
    OTP_POINT_STEP              /* it is about to do a lock-free step of ours; with OTP_STEPS defined */
};
enum otp_direct {
    OTP_DIRECT_KILL = -1,       /* the running process is killed */
    OTP_DIRECT_TIME = -2,       /* the clock goes on to the next timer, though somebody could run */
    OTP_DIRECT_END = -3         /* all processes are killed */
};
enum otp_event { OTP_EVENT_SIGNAL, OTP_EVENT_TIMER, OTP_EVENT_WAIT, OTP_EVENT_NAME, OTP_EVENT_LOOKUP };
typedef struct otp_director {
    /* Who of n goes on: an index, or one of the above. Unless the point is NONE, who[0] runs now. The others stand in the
       order in which they became ready. */
    int (*choose)(const otp_pid *who, int n, enum otp_point point, void *arg);
    /* Nobody can run (any more), and no timer or fd is waited for. 0: sleep; OTP_DIRECT_END; 1: it has spawned something. When none
       is alive, clock, random numbers (from *seed) and order of pids have been set back. `blocks`: of our memory, in use. */
    int (*idle)(size_t alive, size_t blocks, void *arg);
    bool (*refuse)(otp_pid pid, const char *what, void *arg);       /* an allocation of this process: true, it fails */
    /* An fd helper is called: 0; ms to wait first; < 0: the code that it returns (OTP_ECLOSED also shuts the fd down). */
    int64_t (*io)(otp_pid pid, int fd, const char *what, void *arg);
    /* SIGNAL: from who to other, text is its kind; TIMER: one for who fires; WAIT: who waits for text (other: whom it
       calls), with n messages in its mailbox; NAME: who is registered as text; LOOKUP: who asks for the name text, and
       finds other. */
    void (*event)(enum otp_event what, otp_pid who, otp_pid other, int n, const char *text, void *arg);
    const uint64_t *seed;
    void *arg;
} otp_director;

/* Installs a director for the next runtimes in the deterministic mode; NULL takes it away. The struct must stay.
   returns: 0; OTP_EEXIST when the runtime is up
   caller: before start */
int otp_direct(const otp_director *director);

/* A place where the director may let others run. Signals do not take effect there. Without a director: nothing.
   returns: nothing
   caller: any thread; others may run */
void otp_direct_point(void);

/* The machinery of otp_receive: not to be used by hand. */
typedef struct otp__scan { const otp_msg *given; int64_t ms, deadline; } otp__scan;
static inline otp__scan otp__scan_begin(int64_t ms)
{
    otp__scan s;
    s.given = NULL;
    s.ms = ms;
    s.deadline = 0;
    return s;
}
bool otp__scan_next(otp__scan *s, const otp_msg **m);

#ifdef __cplusplus
}
template <class T> inline int otp__send_value(otp_pid to, int tag, const T &v) { return otp_send(to, tag, &v, sizeof v); }
template <class T> inline int otp__reply_value(otp_from to, const T &v) { return otp_reply(to, &v, sizeof v); }
#endif

#endif /* OTP_H_INCLUDED */

/* ======================================================================================================
   4 implementation: defined where OTP_IMPLEMENTATION is.

   4.1  platform     >> platform   compilers, sanitizers, atomics, small helpers
   4.2  context      >> ctx        the switch itself, per machine
   4.3  structures   >> structs    glossary, and every private type
   4.4  clock        >> clock
   4.5  memory       >> mem        size classes per scheduler, chains between them
   4.6  stacks       >> stack      leased stacks and their guards
   4.7  log          >> log
   4.8  slots        >> slot       pids and process records
   4.9  queues       >> queue      run queues, injection, who runs next
   4.10 mailbox      >> mbox       push, hint, close: the argument stands there
   4.11 the door     >> door       entering and leaving the runtime; a scheduler that is gone
   4.12 loop         >> loop       the scheduler loop, suspending, parking
   4.13 timers       >> timer
   4.14 relations    >> rel        links, monitors, aliases, requests of one process
   4.15 names        >> name
   4.16 signals      >> signal     what the owner does with what arrives
   4.17 exit         >> exit
   4.18 spawn        >> spawn
   4.19 waiting      >> wait       the one wait loop; receive; calls
   4.20 handlers     >> handler
   4.21 heap         >> heap
   4.22 isolation    >> fault      faults become exits
   4.23 blocking     >> blocking
   4.24 fds          >> fd
   4.25 idle         >> idle       sleeping, waking, stealing by asking
   4.26 monitor      >> monitor    the thread that replaces stuck schedulers
   4.27 guests       >> guest      threads of the program's own
   4.28 runtime      >> start      start, stop, run, poll
   4.29 seeing       >> info       process info, dump, deadlock
   4.30 direction    >> direct     schedules that an explorer chooses
   ====================================================================================================== */
#if defined(OTP_IMPLEMENTATION) && !defined(OTP_IMPLEMENTATION_DONE)
#define OTP_IMPLEMENTATION_DONE

#ifdef __cplusplus
#error "otp.h: the implementation is C11; define OTP_IMPLEMENTATION in a .c file, and include otp.h without it in C++"
#endif

/* -- 4.1 platform ---------------------------------------------------------------------------------------
   >> platform */

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
#include <unistd.h>

#ifndef MAP_ANONYMOUS
#error "otp.h: include it with OTP_IMPLEMENTATION before any system header, or compile with -D_GNU_SOURCE"
#endif

#if defined(__linux__) && !defined(OTP_NO_LINUX)
#define OTP__LINUX 1
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/prctl.h>
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) || \
    defined(__DragonFly__) || defined(OTP_KQUEUE)
#include <sys/event.h>
#ifdef EVFILT_USER      /* an older NetBSD or OpenBSD has none: poll */
#define OTP__KQUEUE 1
#endif
#endif

/* FreeBSD has no MAP_NORESERVE; OpenBSD lets sp point only into what was mapped as a stack. */
#ifdef MAP_NORESERVE
#define OTP__MAP_LARGE (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#else
#define OTP__MAP_LARGE (MAP_PRIVATE | MAP_ANONYMOUS)
#endif
#if defined(__OpenBSD__) && defined(MAP_STACK)
#define OTP__MAP_STACK MAP_STACK
#else
#define OTP__MAP_STACK 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define OTP__ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define OTP__TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OTP__ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define OTP__TSAN 1
#endif
#if __has_feature(memory_sanitizer)
#error "otp.h: MemorySanitizer cannot follow processes from stack to stack"
#endif
#if __has_feature(safe_stack) || __has_feature(shadow_call_stack)
#error "otp.h: -fsanitize=safe-stack and shadow-call-stack keep state per thread that belongs to a process's stack"
#endif
#endif
#ifndef OTP__ASAN
#define OTP__ASAN 0
#endif
#ifndef OTP__TSAN
#define OTP__TSAN 0
#endif

#if OTP__ASAN
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size);
void __asan_unpoison_memory_region(void const volatile *p, size_t n);
void __lsan_register_root_region(const void *p, size_t n);
void __lsan_unregister_root_region(const void *p, size_t n);
#endif
#if OTP__TSAN
void __tsan_func_exit(void);
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

#if !defined(OTP_NO_VALGRIND) && defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define OTP__VALGRIND 1
#endif
#endif
#ifndef OTP__VALGRIND
#define OTP__VALGRIND 0
#endif

#ifndef OTP_MALLOC
#define OTP_MALLOC(n) malloc(n)
#define OTP_FREE(p) free(p)
#endif
#ifndef OTP_ABORT
#define OTP_ABORT() abort()
#endif
#ifndef OTP_REDUCTIONS
#define OTP_REDUCTIONS 4000
#endif

#define OTP__INLINE static inline __attribute__((always_inline))
#define OTP__NOINLINE __attribute__((noinline))
#define OTP__COLD __attribute__((noinline, cold))
#define otp__likely(x) __builtin_expect(!!(x), 1)
#define otp__unlikely(x) __builtin_expect(!!(x), 0)

/* OTP_PREEMPT: this file's own edges are not counted; see 4.12. */
#if defined(OTP_PREEMPT) && defined(__clang__)
#define OTP__NO_EDGES __attribute__((no_sanitize("coverage")))
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#elif defined(OTP_PREEMPT) && defined(__has_attribute)
#if __has_attribute(no_sanitize_coverage)
#define OTP__NO_EDGES __attribute__((no_sanitize_coverage))
#endif
#endif
#ifndef OTP__NO_EDGES
#define OTP__NO_EDGES
#endif

#ifdef OTP_DEBUG
#define OTP__CHECK(x) ((x) ? (void)0 : otp__broken(#x, __FILE__, __LINE__))
#else
#define OTP__CHECK(x) ((void)0)
#endif

/* For snapshots of other processes' records: racy on purpose, in type-stable memory. */
#if defined(__clang__)
#define OTP__SNAPSHOT __attribute__((no_sanitize("thread")))
#else
#define OTP__SNAPSHOT __attribute__((no_sanitize_thread))
#endif

/* Reads what the caller points to before the runtime is entered: a bad pointer is then the process's own fault. */
#define OTP__TOUCH_STEP 4096u
static void otp__touch(const void *p, size_t n)
{
    const volatile char *c = p;
    for (size_t i = 0; i < n; i += OTP__TOUCH_STEP) (void)c[i];
    if (n) (void)c[n - 1];
}

static void otp__touch_text(const char *text)
{
    for (const volatile char *c = text; c && *c; c++) { }
}

#define otp__get(p) atomic_load_explicit((p), memory_order_relaxed)
#define otp__get_acq(p) atomic_load_explicit((p), memory_order_acquire)
#define otp__get_seq(p) atomic_load_explicit((p), memory_order_seq_cst)
#define otp__put_rlx(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define otp__put_rel(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define otp__put_seq(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)
/* A failed exchange only makes the caller look again, so its order may be relaxed. */
#define otp__cas(p, old, new, order) \
    atomic_compare_exchange_strong_explicit((p), (old), (new), order, memory_order_relaxed)
#define otp__cas_weak(p, old, new, order) \
    atomic_compare_exchange_weak_explicit((p), (old), (new), order, memory_order_relaxed)

OTP__INLINE void otp__pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

typedef struct otp__spin { atomic_uint held; } otp__spin;

static void otp__lock(otp__spin *l)
{
    for (unsigned n = 0; atomic_exchange_explicit(&l->held, 1, memory_order_acquire) != 0;)
        while (otp__get(&l->held) != 0) {
            if (++n % 64 == 0) sched_yield();   /* the holder may have lost its core */
            else otp__pause();
        }
}

static void otp__unlock(otp__spin *l) { otp__put_rel(&l->held, 0); }

#ifdef OTP_DEBUG
OTP__COLD OTP_NORETURN static void otp__broken(const char *what, const char *file, int line)
{
    fprintf(stderr, "otp.h: internal check failed: %s (%s:%d)\n", what, file, line);
    OTP_ABORT();
    _Exit(134);
}
#endif

/* -- 4.2 context ----------------------------------------------------------------------------------------
   >> ctx   A context is pc, sp, fp and the one other register that compilers do not let us name; every other
   register is a clobber of the asm. Nothing is pushed inside the asm: that would destroy the red zone of the
   function it is inlined into. swap(): save here, go there. fresh(): save here, call fn(arg) on another stack, by
   a jump, so that the processor's return predictor stays in step. go() and go_fresh(): the same without saving.
   enter(): call fn(arg) on this stack so that every unwinder ends there. */

#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define OTP__CFI(x) x
#else
#define OTP__CFI(x)
#endif

#if defined(__x86_64__) && !defined(__ILP32__) && !defined(OTP_NO_ASM)
#define OTP__ASM 1
typedef struct otp__ctx { void *pc, *sp, *fp, *bx; } otp__ctx;
#if defined(__CET__) && (__CET__ & 1)
#define OTP__ENDBR "endbr64\n\t"
#else
#define OTP__ENDBR
#endif
#ifdef __AVX512F__
#define OTP__CLOB512                                                                                        \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",    \
        "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define OTP__CLOB512
#endif
#define OTP__CLOB_FP                                                                                        \
    "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "xmm0", "xmm1", "xmm2", "xmm3",    \
        "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",        \
        "xmm15" OTP__CLOB512

OTP__INLINE void otp__ctx_swap(otp__ctx *from, otp__ctx *to)
{
    register otp__ctx *f __asm__("rdi") = from;
    register otp__ctx *t __asm__("rsi") = to;
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, (%%rdi)\n\tmovq %%rsp, 8(%%rdi)\n\tmovq %%rbp, 16(%%rdi)\n\tmovq %%rbx, 24(%%rdi)\n\t"
                     OTP__CFI(".cfi_remember_state\n\t.cfi_undefined rip\n\t")
                     "movq 8(%%rsi), %%rsp\n\tmovq 16(%%rsi), %%rbp\n\tmovq 24(%%rsi), %%rbx\n\tjmp *(%%rsi)\n"
                     OTP__CFI(".cfi_restore_state\n\t") "1:\t" OTP__ENDBR
                     : "+r"(f), "+r"(t)
                     :
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",
                       OTP__CLOB_FP);
}

OTP__INLINE void otp__ctx_fresh(otp__ctx *from, void *top, void (*fn)(void *), void *arg)
{
    register void *a __asm__("rdi") = arg;
    register otp__ctx *f __asm__("rsi") = from;
    register void *s __asm__("rdx") = top;
    register void (*g)(void *) __asm__("rcx") = fn;
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, (%%rsi)\n\tmovq %%rsp, 8(%%rsi)\n\tmovq %%rbp, 16(%%rsi)\n\tmovq %%rbx, 24(%%rsi)\n\t"
                     OTP__CFI(".cfi_remember_state\n\t.cfi_undefined rip\n\t")
                     "movq %%rdx, %%rsp\n\txorl %%ebp, %%ebp\n\tpushq $0\n\tjmp *%%rcx\n"
                     OTP__CFI(".cfi_restore_state\n\t") "1:\t" OTP__ENDBR
                     : "+r"(f), "+r"(s), "+r"(a), "+r"(g)
                     :
                     : "rax", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc", OTP__CLOB_FP);
}

OTP__INLINE OTP_NORETURN void otp__ctx_go(otp__ctx *to)
{
    __asm__ volatile("movq 8(%0), %%rsp\n\tmovq 16(%0), %%rbp\n\tmovq 24(%0), %%rbx\n\tjmp *(%0)"
                     : : "S"(to) : "memory");
    __builtin_unreachable();
}

OTP__INLINE OTP_NORETURN void otp__ctx_go_fresh(void *top, void (*fn)(void *), void *arg)
{
    __asm__ volatile("movq %0, %%rsp\n\txorl %%ebp, %%ebp\n\tcld\n\tpushq $0\n\tjmp *%1"
                     : : "d"(top), "c"(fn), "D"(arg) : "memory");
    __builtin_unreachable();
}

static OTP__NOINLINE void otp__enter(void (*fn)(void *), void *arg)
{
    register void *a __asm__("rdi") = arg;
    register void (*g)(void *) __asm__("rcx") = fn;     /* not the compiler's choice: it could be rbp */
    __asm__ volatile("movq %%rsp, %%r12\n\tmovq %%rbp, %%r13\n\tsubq $128, %%rsp\n\tandq $-16, %%rsp\n\txorl %%ebp, %%ebp\n\t"
                     OTP__CFI(".cfi_remember_state\n\t.cfi_undefined rip\n\t.cfi_undefined rbp\n\t")
                     "call *%%rcx\n\tmovq %%r13, %%rbp\n\tmovq %%r12, %%rsp\n\t" OTP__CFI(".cfi_restore_state\n\t")
                     : "+r"(a), "+r"(g)
                     :
                     : "rax", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "memory", "cc", OTP__CLOB_FP);
}

#elif defined(__aarch64__) && !defined(__ILP32__) && !defined(OTP_NO_ASM)
#define OTP__ASM 1
typedef struct otp__ctx { void *pc, *sp, *fp, *bx; } otp__ctx;
#if defined(__ARM_FEATURE_BTI_DEFAULT)
#define OTP__BTI "hint #36\n\t"
#else
#define OTP__BTI
#endif
#if defined(__APPLE__)
#define OTP__X18
#else
#define OTP__X18 "x18",
#endif
#define OTP__CLOB_FP                                                                                        \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",   \
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",   \
        "v30", "v31"

OTP__INLINE void otp__ctx_swap(otp__ctx *from, otp__ctx *to)
{
    register otp__ctx *f __asm__("x0") = from;
    register otp__ctx *t __asm__("x1") = to;
    __asm__ volatile("adr x2, 1f\n\tmov x3, sp\n\tstp x2, x3, [x0]\n\tstp x29, x19, [x0, #16]\n\t"
                     "ldp x16, x3, [x1]\n\tldp x29, x19, [x1, #16]\n\tmov sp, x3\n\tbr x16\n1:\t" OTP__BTI
                     : "+r"(f), "+r"(t)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17", OTP__X18 "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "memory",
                       "cc", OTP__CLOB_FP);
}

OTP__INLINE void otp__ctx_fresh(otp__ctx *from, void *top, void (*fn)(void *), void *arg)
{
    register void *a __asm__("x0") = arg;
    register otp__ctx *f __asm__("x1") = from;
    register void *s __asm__("x2") = top;
    register void (*g)(void *) __asm__("x16") = fn;
    __asm__ volatile("adr x3, 1f\n\tmov x4, sp\n\tstp x3, x4, [x1]\n\tstp x29, x19, [x1, #16]\n\t"
                     "mov sp, x2\n\tmov x29, xzr\n\tmov x30, xzr\n\tbr x16\n1:\t" OTP__BTI
                     : "+r"(f), "+r"(s), "+r"(a), "+r"(g)
                     :
                     : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x17",
                       OTP__X18 "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "memory", "cc",
                       OTP__CLOB_FP);
}

OTP__INLINE OTP_NORETURN void otp__ctx_go(otp__ctx *to)
{
    register otp__ctx *t __asm__("x1") = to;
    __asm__ volatile("ldp x16, x3, [x1]\n\tldp x29, x19, [x1, #16]\n\tmov sp, x3\n\tbr x16" : : "r"(t) : "memory");
    __builtin_unreachable();
}

OTP__INLINE OTP_NORETURN void otp__ctx_go_fresh(void *top, void (*fn)(void *), void *arg)
{
    register void *a __asm__("x0") = arg;
    register void *s __asm__("x2") = top;
    register void (*g)(void *) __asm__("x16") = fn;
    __asm__ volatile("mov sp, x2\n\tmov x29, xzr\n\tmov x30, xzr\n\tbr x16" : : "r"(a), "r"(s), "r"(g) : "memory");
    __builtin_unreachable();
}

static OTP__NOINLINE void otp__enter(void (*fn)(void *), void *arg)
{
    register void *a __asm__("x0") = arg;
    register void (*g)(void *) __asm__("x1") = fn;
    __asm__ volatile("mov x20, x29\n\tmov x29, xzr\n\t" OTP__CFI(".cfi_remember_state\n\t.cfi_undefined x30\n\t")
                     "blr x1\n\tmov x29, x20\n\t" OTP__CFI(".cfi_restore_state\n\t")
                     : "+r"(a), "+r"(g)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                       "x16", "x17", OTP__X18 "x20", "x30", "memory", "cc", OTP__CLOB_FP);
}

#elif defined(__riscv) && __riscv_xlen == 64 && !defined(__riscv_vector) && !defined(OTP_NO_ASM)
#define OTP__ASM 1
typedef struct otp__ctx { void *pc, *sp, *fp, *bx; } otp__ctx;
#define OTP__CLOB_FP                                                                                        \
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "ft8", "ft9", "ft10", "ft11", "fa0", "fa1",     \
        "fa2", "fa3", "fa4", "fa5", "fa6", "fa7", "fs0", "fs1", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7",   \
        "fs8", "fs9", "fs10", "fs11"
#define OTP__CLOB_INT                                                                                       \
    "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a2", "a3", "a4", "a5", "a6", "a7", "s2", "s3", "s4",   \
        "s5", "s6", "s7", "s8", "s9", "s10", "s11"

OTP__INLINE void otp__ctx_swap(otp__ctx *from, otp__ctx *to)
{
    register otp__ctx *f __asm__("a0") = from;
    register otp__ctx *t __asm__("a1") = to;
    __asm__ volatile("lla t0, 1f\n\tsd t0, 0(a0)\n\tsd sp, 8(a0)\n\tsd s0, 16(a0)\n\tsd s1, 24(a0)\n\t"
                     "ld t0, 0(a1)\n\tld sp, 8(a1)\n\tld s0, 16(a1)\n\tld s1, 24(a1)\n\tjr t0\n1:\n\t"
                     : "+r"(f), "+r"(t) : : "memory", OTP__CLOB_INT, OTP__CLOB_FP);
}

OTP__INLINE void otp__ctx_fresh(otp__ctx *from, void *top, void (*fn)(void *), void *arg)
{
    register void *a __asm__("a0") = arg;
    register otp__ctx *f __asm__("a1") = from;
    register void *s __asm__("a2") = top;
    register void (*g)(void *) __asm__("a3") = fn;
    __asm__ volatile("lla t0, 1f\n\tsd t0, 0(a1)\n\tsd sp, 8(a1)\n\tsd s0, 16(a1)\n\tsd s1, 24(a1)\n\t"
                     "mv sp, a2\n\tli s0, 0\n\tli ra, 0\n\tjr a3\n1:\n\t"
                     : "+r"(f), "+r"(s), "+r"(a), "+r"(g)
                     :
                     : "memory", "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a4", "a5", "a6", "a7", "s2", "s3",
                       "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", OTP__CLOB_FP);
}

OTP__INLINE OTP_NORETURN void otp__ctx_go(otp__ctx *to)
{
    register otp__ctx *t __asm__("a1") = to;
    __asm__ volatile("ld t0, 0(a1)\n\tld sp, 8(a1)\n\tld s0, 16(a1)\n\tld s1, 24(a1)\n\tjr t0" : : "r"(t) : "memory");
    __builtin_unreachable();
}

OTP__INLINE OTP_NORETURN void otp__ctx_go_fresh(void *top, void (*fn)(void *), void *arg)
{
    register void *a __asm__("a0") = arg;
    register void *s __asm__("a2") = top;
    register void (*g)(void *) __asm__("a3") = fn;
    __asm__ volatile("mv sp, a2\n\tli s0, 0\n\tli ra, 0\n\tjr a3" : : "r"(a), "r"(s), "r"(g) : "memory");
    __builtin_unreachable();
}

static OTP__NOINLINE void otp__enter(void (*fn)(void *), void *arg)
{
    register void *a __asm__("a0") = arg;
    register void (*g)(void *) __asm__("a1") = fn;
    __asm__ volatile("mv s2, s0\n\tli s0, 0\n\t" OTP__CFI(".cfi_remember_state\n\t.cfi_undefined ra\n\t")
                     "jalr a1\n\tmv s0, s2\n\t" OTP__CFI(".cfi_restore_state\n\t")
                     : "+r"(a), "+r"(g)
                     :
                     : "memory", "a2", "a3", "a4", "a5", "a6", "a7", "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6",
                       "s2", OTP__CLOB_FP);
}

#else /* the portable way: correct everywhere, slow (two system calls a switch) */
#define OTP__ASM 0
#include <ucontext.h>
typedef struct otp__ctx { ucontext_t uc; } otp__ctx;

static OTP__NOINLINE void otp__ctx_swap(otp__ctx *from, otp__ctx *to) { (void)swapcontext(&from->uc, &to->uc); }

static void otp__ctx_main(unsigned f1, unsigned f0, unsigned a1, unsigned a0)
{
    void (*fn)(void *) = (void (*)(void *))(((uintptr_t)f1 << 16 << 16) | f0);
    fn((void *)(((uintptr_t)a1 << 16 << 16) | a0));
}

static void otp__ctx_make(ucontext_t *uc, void *top, void (*fn)(void *), void *arg)
{
    uintptr_t f = (uintptr_t)fn, a = (uintptr_t)arg;
    (void)getcontext(uc);
    uc->uc_stack.ss_size = 8192;
    uc->uc_stack.ss_sp = (char *)top - uc->uc_stack.ss_size;
    uc->uc_link = NULL;
    makecontext(uc, (void (*)(void))otp__ctx_main, 4, (unsigned)(f >> 16 >> 16), (unsigned)f,
                (unsigned)(a >> 16 >> 16), (unsigned)a);
}

static OTP__NOINLINE void otp__ctx_fresh(otp__ctx *from, void *top, void (*fn)(void *), void *arg)
{
    ucontext_t uc;
    otp__ctx_make(&uc, top, fn, arg);
    (void)swapcontext(&from->uc, &uc);
}

OTP_NORETURN static OTP__NOINLINE void otp__ctx_go(otp__ctx *to)
{
    (void)setcontext(&to->uc);
    __builtin_unreachable();
}

OTP_NORETURN static OTP__NOINLINE void otp__ctx_go_fresh(void *top, void (*fn)(void *), void *arg)
{
    /* built in memory of the thread, not on the stack that is about to be reused */
    static _Thread_local ucontext_t uc;
    otp__ctx_make(&uc, top, fn, arg);
    (void)setcontext(&uc);
    __builtin_unreachable();
}

static OTP__NOINLINE void otp__enter(void (*fn)(void *), void *arg) { fn(arg); }
#endif

/* -- 4.3 structures -------------------------------------------------------------------------------------
   >> structs   Glossary.
   T, thread     an OS thread of ours (or a guest's). Owns a native stack and an alternate signal stack.
   P, scheduler  queues, free lists, timers, clock: lent to one T at a time, which may lose it while in user code.
   process       a record of 256 bytes, type-stable: never unmapped, reused with a new generation.
   owner         whoever may touch a process's private fields: the T running it, or who moved it away from parked.
   stack         leased: the loop runs on one, calls a process on it, and leaves it behind when the process blocks.
   node          a message or signal in flight.
   hint          a wake-up that says only "look again".
   guest         the process record of a thread of the program's own. */

typedef struct otp__node otp__node;
typedef struct otp__proc otp__proc;
typedef struct otp__sched otp__sched;
typedef struct otp__thread otp__thread;
typedef struct otp__stack otp__stack;
typedef struct otp__timer otp__timer;

struct otp__node {
    otp__node *next;
    uint64_t to;                /* the pid it was sent to: a newer process in the same slot drops it */
    otp_msg m;
};

/* otp_msg.flags */
enum {
    OTP__K_MSG, OTP__K_EXIT, OTP__K_LINK, OTP__K_UNLINK, OTP__K_UNLINK_ACK, OTP__K_MONITOR, OTP__K_DEMONITOR,
    OTP__K_DOWN, OTP__K_REPLY, OTP__K_SUSPEND, OTP__K_RESUME, OTP__K_ASK,
    OTP__K_MASK = 0xff,
    OTP__F_CLASS_SHIFT = 8,     /* size class of the node, 8 bits; 255: from OTP_MALLOC */
    OTP__F_KEPT = 1 << 16,
    OTP__F_COUNTED = 1 << 17,   /* counted against a mailbox limit */
    OTP__F_MOVED = 1 << 18,     /* data is a block of a process heap */
    OTP__F_SHARED = 1 << 19,    /* data is in an otp_shared */
    /* OTP__F_CALL = 1 << 20       a request: whoever drops it must answer
       OTP__F_CAST = 1 << 26       sent by otp_cast
       OTP__F_ASKED = 1 << 27      a request whose sender has given it up: handled as one, but nobody waits */
    OTP__F_ERROR = 1 << 21,     /* a reply that is an error code */
    OTP__F_LINKED = 1 << 22,    /* an exit signal that came over a link */
    OTP__F_NOPROC = 1 << 23,    /* … as the answer to a link signal */
    OTP__F_STATIC = 1 << 24,    /* not from our memory */
    OTP__F_DOWN = 1 << 25,      /* a message that was a monitor's */
    OTP__F_RESERVE = 1 << 26    /* from the reserve for ends that must be told (4.10), and goes back there */
};

enum {  /* otp__proc.flags */
    OTP__P_TRAP = 1, OTP__P_GUEST = 2, OTP__P_PINNED = 4, OTP__P_HANDLER = 8, OTP__P_EXITING = 16, OTP__P_INITED = 32,
    OTP__P_SYS_SUSPENDED = 64, OTP__P_TRACED = 128
};

enum {  /* otp__proc.has: what there is to clean up */
    OTP__HAS_REL = 1, OTP__HAS_HEAP = 2, OTP__HAS_EXT = 4, OTP__HAS_DEFER = 8, OTP__HAS_REQ = 16, OTP__HAS_CONT = 32,
    OTP__HAS_SUSPEND = 64, OTP__HAS_BIG_STACK = 128, OTP__HAS_IDLE = 256, OTP__HAS_APP = 512, OTP__HAS_ASLEEP = 1024,
    OTP__HAS_FD = 2048,
    OTP__HAS_START = 4096,      /* a handler whose init somebody waits for: that is its request (req_ref) */
    OTP__HAS_PARENT = 8192,     /* ends with its parent, also when it traps exits */
    OTP__HAS_REPORT = 16384,    /* its state has been, or is being, written into a crash report */
    OTP__HAS_TERMINATE = 32768  /* a handler that is in its terminate: `kill` still ends it */
};

#define OTP__TIMED 0x80         /* in otp__proc.waits: there is a deadline */

enum {  /* what the loop does with a process that left its stack */
    OTP__ACT_NONE, OTP__ACT_PARK = 1, OTP__ACT_SIGWAIT = 2,    /* the mailbox head that each means */
    OTP__ACT_YIELD, OTP__ACT_JOB, OTP__ACT_DONE
};

/* Bits of the mailbox head; see 4.10. */
#define OTP__EMPTY ((uintptr_t)0)
#define OTP__PARKED ((uintptr_t)1)
#define OTP__SIGWAIT ((uintptr_t)2)
#define OTP__CLOSED ((uintptr_t)3)
#define OTP__NUDGE ((uintptr_t)4)
#define OTP__HEAD_BITS ((uintptr_t)7)

typedef struct otp__block otp__block;       /* process heap, 4.21 */
typedef struct otp__rel otp__rel;           /* relations, 4.14 */
typedef struct otp__name otp__name;         /* names, 4.15 */
typedef struct otp__defer otp__defer;

typedef struct otp__job otp__job;
struct otp__job { otp__job *next; otp_fn *fn; void *arg; otp__proc *p; uint64_t pid; atomic_uint state; };   /* 4.23 */

typedef struct otp__box { otp_reason r; size_t bytes; char text[]; } otp__box;

typedef struct otp__dict { struct otp__dict *next; void *value; char key[]; } otp__dict;

typedef struct otp__ext {       /* what few processes have */
    size_t heap_limit;
    size_t stack_size;
    otp__dict *dict;
    otp__box *why;              /* of an exit under way */
    otp__box *answer;           /* what the starter is told instead of it */
    otp__box *start_why;        /* why the last start of another one failed */
    int start_rc;
    const char *label;
    otp__defer *defers;
    int suspended;              /* how often others suspended it */
    int cont;                   /* what otp_continue said */
    otp__node *kept;            /* by otp_keep; linked by next and, backwards, by to */
    void *init_arg;             /* a handler's, until its init has run */
    size_t init_size;
    otp__job *job;              /* that otp_blocking waits for */
    bool heap_null;
    bool told;                  /* its end has been told, but a job still runs */
    otp_full full;
} otp__ext;

struct otp__proc {
    /* senders */
    _Atomic(uintptr_t) head;
    _Atomic(uint64_t) pid;
    otp__proc *qn;              /* next in a run queue or free list */
    otp__node *handed;          /* what the waker brought; owner */
    uint8_t prio, flags, act;
    _Atomic(uint8_t) waits;
    atomic_uint mq_limit, mq_count;
    uint16_t has;
    bool special;               /* a guest, pinned, or of another priority: no shortcuts */
    uint8_t calm;               /* OTP_PREEMPT: > 0: edges do not end its turn; the process's own, also outside */
    otp__thread *thread;        /* that ran it last */
    otp__node *cur;             /* the message handed to the user */
    /* the owner, per message */
    otp__node *first;
    otp__node **last;
    otp__node **mark;           /* function processes: where messages after mark_ref begin; handlers: scan position */
    union { otp__node **left; otp__proc *qp; } u;   /* where a left message went; in a fresh queue: previous */
    otp__stack *stack;
    union { otp_fn *fn; const otp_handler *h; } run;
    void *arg;                  /* or a handler's state */
    uint32_t reds;              /* reductions used since the last fold into reds_base */
    uint32_t turn;              /* the turn is over when reds gets there */
    /* calls, relations, heap */
    uint64_t call_ref;          /* the call it waits in */
    otp__node *call_reply;
    uint64_t req_ref, req_from; /* the request received last and not yet answered */
    otp__rel *rel;
    otp__block *heap;
    _Atomic(otp__name *) name;
    const char *place;
    /* rare */
    int64_t deadline;
    int64_t armed;              /* when a wake-up entry is due in some wheel, in ns; 0: none */
    uint64_t parent;
    otp__ext *ext;
    size_t heap_bytes;
    uint64_t reds_base;
    uint64_t waits_for;         /* the pid it calls, or the fd */
    uint64_t mark_ref;
};
#define OTP__PROC_BYTES 256
_Static_assert(sizeof(otp__proc) <= OTP__PROC_BYTES, "a process record is four cache lines");

struct otp__stack {             /* stands at the top of the stack that it describes */
    otp__ctx ctx;
    otp__stack *next;
    char *base;                 /* lowest usable address */
    size_t size;                /* usable bytes, up to the end of the mapping */
    size_t guard;
    void *fiber;                /* ThreadSanitizer */
    void *fake;                 /* AddressSanitizer */
    bool deep;                  /* used since it was last looked at */
    bool own_map;               /* mapped alone: of another size than the default */
};

typedef struct otp__queue { otp__proc *head, *tail; } otp__queue;

#define OTP__CLASSES 27
typedef struct otp__chain { struct otp__chain *next, *chains; uint32_t count; } otp__chain;
typedef struct otp__list { otp__chain *head; uint32_t count; otp__chain *full; } otp__list;
typedef struct otp__mem { otp__list list[OTP__CLASSES]; } otp__mem;

#define OTP__WHEEL0 256
#define OTP__WHEEL 64
#define OTP__LEVELS 5
typedef struct otp__tlink { struct otp__tlink *next, *prev; } otp__tlink;    /* circular; a slot is a head */
typedef struct otp__wheel {
    int64_t now;                /* ms: all before it have fired */
    size_t count;               /* timers in it, cancelled ones included */
    size_t sweep_at;
    atomic_uint cancelled;      /* by others: unlinked at the next sweep */
    otp__tlink slot0[OTP__WHEEL0];
    otp__tlink slot[OTP__LEVELS][OTP__WHEEL];
    uint64_t bits0[OTP__WHEEL0 / 64], bits[OTP__LEVELS];
    otp__tlink far;             /* beyond the last level */
    otp__tlink soon;            /* due before `now`, sorted: they fire at the next look */
} otp__wheel;

enum { OTP__ATTN_WANT = 1, OTP__ATTN_CLOCK = 2 };
enum { OTP__Q_MAX, OTP__Q_HIGH, OTP__Q_WOKEN, OTP__Q_YIELDED, OTP__Q_LOW, OTP__QUEUES };

struct otp__sched {
    _Atomic(otp__proc *) run_next;      /* the process just woken; others only look whether there is one */
    uint32_t chain, looks;
    uint32_t urgent;            /* processes in the max and high queues */
    otp__proc *pend;            /* left its stack; to be parked or queued by the loop */
    uint8_t pend_act;
    bool main;                  /* runs only processes pinned to the main thread */
    int id;
    otp__stack *stacks;         /* hot cache, last in first out */
    uint32_t stack_count;
    otp__stack *odd;            /* of another size: the loop has just left it, to be freed by the next one */
    otp__proc *free_procs;
    uint32_t free_count;
    uint64_t ref;               /* next reference */
    otp__queue q[OTP__QUEUES];
    otp__proc *fresh_new, *fresh_old;   /* never run yet: taken newest first, given away oldest first */
    uint32_t fresh_len;
    uint32_t fresh_round;       /* how often there were none left */
    uint32_t asked_round;       /* … when another scheduler asked for work */
    uint64_t asked_at;          /* cycles */
    uint32_t patience;          /* turns until the yielded ones come first: as many as were queued before them */
    uint32_t wake_tick, wake_gap;   /* when a sleeper may be woken again */
    otp__proc *start;           /* to be started on the stack that the loop has just moved to */
    uint64_t tsc0, rng;
    int64_t ns0, ns_last;
    int64_t vnow;               /* virtual time */
    otp__proc *directed;        /* who is to run next: chosen while the last one still ran */
    _Atomic(uint64_t) spawned, exited;  /* written by the owner only */
    int64_t poll_deadline;      /* main: when otp_poll gives up; -1: it does not */
    otp__mem mem;
    otp__timer *free_timers;
    otp__wheel wheel;
    bool no_next;               /* those that wake go to the end of the line: timers and fds, deterministic, main */
    int spin;                   /* ns to spin before sleeping: doubled when it paid, else halved */
    uint64_t seen_slices;       /* the monitor's */
    int64_t seen_at;
    bool reported;
    /* read by others */
    _Alignas(64) atomic_uint len;       /* queued, run_next not counted */
    _Atomic(uint64_t) slices;
    _Atomic(int64_t) next_due;  /* ms */
    _Atomic(otp__thread *) thread;
    _Alignas(64) _Atomic(otp__sched *) want;    /* a scheduler that asks for work */
    atomic_uint attn;           /* somebody asks for work, or the monitor says: look at the clock */
    _Alignas(64) _Atomic(otp__proc *) inbox;    /* what others gave, linked by qn */
    atomic_uint sleeping;       /* 1: asleep, whoever makes it 0 wakes it */
    atomic_uint futex;
    atomic_uint in_poll;
};

enum {
    OTP__STEAL_NONE,
    OTP__STEAL_ASKED,
    OTP__STEAL_GONE,
    OTP__STEAL_BORROWED,
    OTP__STEAL_MASK = 3,
    OTP__STEAL_LOOK = 4,        /* with BORROWED: it was GONE, and will be again; see otp__over_shoulder */
    OTP__STEAL_FENCE = 8,
    OTP__STEAL_TAKER = 16       /* times who asks: a P's id + 1, 0 for the monitor, from 1 << 20 for who looks */
};

typedef struct otp__fault { int sig; uintptr_t addr; bool overflow; int depth; void *ip[24]; bool fatal; } otp__fault;

struct otp__thread {
    atomic_uint in_rt;          /* 1: it may be using its P */
    atomic_uint steal;          /* OTP__STEAL_…; how P is taken from it, see 4.11 */
    otp__sched *p;              /* NULL: guest or spare */
    otp__proc *cur;
    otp__stack *stack;          /* that the loop stands on */
    int action;                 /* what the native stack has to do */
    otp__ctx native;
    void *native_fiber;
    void *native_fake;
    const void *native_base;
    size_t native_size;
    pthread_t pthread;
    atomic_uint futex;
    otp__thread *next;          /* spare list */
    otp__thread *all_next;
    otp__proc *guest;
    void *altstack;
    size_t altstack_size;
    int64_t lost_at;            /* when its P was given to another thread; 0: it has one, or none is due */
    char who[160];              /* the process that held it */
    uint64_t traced;            /* the message that a trace hook is called for */
    otp__node *copying;         /* user bytes are being copied: a fault here is the process's, and this node is freed */
    otp__fault fault;
    otp__ctx walk;              /* where the fault handler goes on when its own walk over the stack faults */
    bool walking, walk_lost;
    bool quit;
#ifdef OTP_PREEMPT
    sigset_t mask;              /* the signals it usually blocks */
#endif
};

enum { OTP__TIMER_FREE, OTP__TIMER_ARMED, OTP__TIMER_FIRED, OTP__TIMER_CANCELLED };

typedef struct otp__tmore { int64_t interval; char name[64]; } otp__tmore;
struct otp__timer {
    otp__tlink link;            /* first: a link is a timer */
    _Atomic(int64_t) due;       /* ms */
    _Atomic(uint64_t) to;
    otp__node *node;            /* the message to send; NULL: only wake `to` */
    otp__tmore *more;           /* what few timers have */
    uint32_t index;
    atomic_uint state;          /* generation << 2 | OTP__TIMER_… */
    atomic_int owner;           /* the P in whose wheel it is; -1: on its way */
};
#define OTP__TIMER_BYTES 64

#define OTP__SLAB ((size_t)2 << 20)
#define OTP__PROCS_PER_SLAB (OTP__SLAB / OTP__PROC_BYTES)
#define OTP__TIMERS_PER_SLAB (OTP__SLAB / OTP__TIMER_BYTES)
#define OTP__MAX_SLABS 16384
#define OTP__MAX_SCHEDS 256

struct otp__name { otp__name *next; uint64_t pid; uint32_t hash; char text[64]; };
struct otp__defer { otp__defer *next; otp_fn *fn; void *arg; };

/* The whole runtime. What must outlive a stop (slabs, slots, generations) is never reset. */
static struct otp__rt {
    /* read-mostly, hot */
    atomic_uint nidle;
    atomic_uint inject_count;
    _Atomic(const otp_trace_hooks *) trace;
    bool det;
    atomic_bool slow;           /* deterministic or traced: turns do more */
    bool use_tsc;
    bool isolation;
    bool fence;                 /* no membarrier here: pay at every door */
    int nscheds;
    atomic_int up;              /* 0 down, 1 running, 2 stopping */
    otp__sched *sched[OTP__MAX_SCHEDS + 1];
    otp_opts opts;
    uint64_t tsc_mult;          /* ns per tick, 32.32; 0: not known yet */
    uint64_t tsc_first;
    int64_t ns_first;
    size_t page, guard;
    atomic_int guard_mode;
    /* slots */
    otp__spin slot_lock;
    char *_Atomic slabs[OTP__MAX_SLABS];
    atomic_uint slots;          /* carved so far */
    otp__proc *free_procs;
    char *_Atomic timer_slabs[OTP__MAX_SLABS];
    atomic_uint timer_slots;
    /* memory */
    otp__spin depot_lock[OTP__CLASSES];
    otp__chain *depot[OTP__CLASSES];
    otp__spin slab_lock;
    char *slab_at, *slab_end;
    otp__spin guest_lock;
    otp__mem guest_mem;
    otp__spin reserve_lock;
    otp__node *reserve;
    otp__timer *guest_timers_free;
    /* stacks */
    otp__spin stack_lock;
    otp__stack *stacks, *other_stacks;  /* of the default size, and of earlier ones */
    char *stack_at;
    unsigned stack_left;
    /* injection */
    otp__spin inject_lock;
    otp__queue inject;
    otp__timer *inject_timers;
    /* idle */
    atomic_uint poller;         /* 1: somebody sleeps in the poll, or polls */
    atomic_uint spinning;
    int poll_fd, wake_fd[2];
    atomic_uint fd_waiters;
    atomic_uint blocked;        /* processes whose otp_blocking runs */
    /* threads */
    pthread_mutex_t mutex;
    otp__thread *threads, *spare, *old_threads;
    int nthreads;
    atomic_uint monitor_futex, monitor_asleep;
    pthread_t monitor;
    bool monitor_up;
    _Atomic(otp__sched *) main_sched;
    otp__thread *main_thread;
    int main_event[2];          /* what otp_poll_fd gives, and where to write */
    bool main_event_up, forked;
    uint64_t ref_base;          /* references go on over restarts */
    atomic_uint stop, closing, outside;     /* closing: schedulers are about to be freed */
    _Atomic(uint64_t) live;     /* processes that count for otp_stop; kept per spawn and exit in guests, else per P */
    /* names */
    otp__spin name_lock;
    otp__name **names;
    uint32_t name_cap, name_count;
    /* the rest */
    _Atomic(uint64_t) guest_ref, guest_rng;
    _Atomic(uint64_t) ticks;    /* the last ones given in the deterministic mode */
    int (*route)(otp_pid, int, const void *, size_t, void *);
    void *route_arg;
    void (*at_exit[8])(otp_pid, void *);
    void *at_exit_arg[8];
    int at_exits;
    atomic_uint app_done;
    bool app_failed;
    bool deadlocked;
    bool directing;             /* the director is being asked */
    const otp_director *director;
    size_t carved[OTP__CLASSES];    /* blocks made of slabs so far; under slab_lock */
} otp__rt;

/* The thread-local pointer to T is read whole, by volatile asm where possible: a compiler would otherwise keep
   the address of a thread-local in a register across a switch to another thread. */
#if OTP__ASM && defined(__x86_64__) && defined(__ELF__)
__attribute__((visibility("hidden"), used, tls_model("initial-exec"))) _Thread_local otp__thread *otp__me;
OTP__INLINE otp__thread *otp__self_thread(void)
{
    otp__thread *t;
    __asm__ volatile("movq otp__me@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(t));
    return t;
}
#elif OTP__ASM && defined(__aarch64__) && defined(__ELF__)
__attribute__((visibility("hidden"), used, tls_model("initial-exec"))) _Thread_local otp__thread *otp__me;
OTP__INLINE otp__thread *otp__self_thread(void)
{
    otp__thread *t;
    void *tp;
    __asm__ volatile("adrp %0, :gottprel:otp__me\n\tldr %0, [%0, :gottprel_lo12:otp__me]\n\tmrs %1, tpidr_el0\n\t"
                     "ldr %0, [%0, %1]"
                     : "=&r"(t), "=&r"(tp));
    return t;
}
#else
static _Thread_local otp__thread *otp__me;
#if defined(__clang__)
__attribute__((noinline, optnone))
#else
__attribute__((noinline, noipa))
#endif
OTP__NO_EDGES static otp__thread *otp__self_thread(void)
{
    return otp__me;
}
#endif

/* The forward declarations: what a lower section needs of a higher one. */
static void otp__wake_for_work(void);
static void otp__undeliverable(otp__sched *s, otp__node *n);
static void otp__loop(void *stack);
static void otp__handler_run(void *proc);
static void otp__hibernated(void *proc);
static void otp__exit_now(otp__thread *t, const otp_reason *why) OTP_NORETURN;
static otp__proc *otp__idle(otp__sched *s);
static otp__thread *otp__guest_thread(void);
static void otp__timers_run(otp__sched *s, int64_t now);
static void otp__timer_insert(otp__sched *s, otp__timer *tm, int64_t now);
static int otp__fd_poll(otp__sched *s, int64_t ms);
static void otp__fd_counted(otp__proc *p, bool on);
static void otp__wake(otp__sched *s);
static int otp__deadlock_report(otp__proc *except);
static void otp__survey_answer(otp__node *n, otp__proc *p);
static otp__proc *otp__choose_directed(otp__sched *s);
static bool otp__idle_directed(otp__sched *s);
static otp__thread *otp__directed_turn(otp__thread *t, enum otp_point point);
static bool otp__refused_slow(const char *what);
static void otp__event(enum otp_event what, uint64_t who, uint64_t other, int n, const char *text);

/* Before a lock-free step that meets others; see 4.30. */
#ifdef OTP_STEPS
static void otp__step(otp__sched *s);
#define OTP__STEP(s) otp__step(s)
#else
#define OTP__STEP(s) ((void)0)
#endif

/* Whether a director lets an allocation fail. */
OTP__INLINE bool otp__refused(const char *what) { return otp__unlikely(otp__get(&otp__rt.slow)) && otp__refused_slow(what); }

/* -- 4.4 clock ------------------------------------------------------------------------------------------
   >> clock   A P keeps a pair (counter, ns) that is at most a millisecond old; between refreshes the cycle counter
   is scaled, where the kernel itself uses it as its clock. */

OTP__INLINE uint64_t otp__tsc(void)
{
#if defined(__x86_64__)
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return ((uint64_t)hi << 32) | lo;
#elif defined(__aarch64__)
    uint64_t v;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
    return 0;
#endif
}

static int64_t otp__clock(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void otp__clock_start(void)
{
    otp__rt.use_tsc = false;
#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
    char text[32] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        if (n > 0 && (strncmp(text, "tsc", 3) == 0 || strncmp(text, "arch_sys_counter", 16) == 0))
            otp__rt.use_tsc = true;
        (void)close(fd);
    }
#endif
    if (otp__rt.tsc_first == 0) {
        otp__rt.tsc_first = otp__tsc();
        otp__rt.ns_first = otp__clock();
    }
}

static OTP__NOINLINE int64_t otp__clock_refresh(otp__sched *s)
{
    uint64_t tsc = otp__tsc();
    int64_t ns = otp__clock();
    if (otp__rt.use_tsc) {
        uint64_t mult = __atomic_load_n(&otp__rt.tsc_mult, __ATOMIC_RELAXED);
        int64_t dns = ns - otp__rt.ns_first;
        uint64_t dt = tsc - otp__rt.tsc_first;
        if (mult == 0 && dns > 20000000 && dt > 1000) {  /* 20 ms: an error of 1e-6 */
            mult = (uint64_t)(((double)dns / (double)dt) * 4294967296.0);
            __atomic_store_n(&otp__rt.tsc_mult, mult, __ATOMIC_RELAXED);
        }
        s->tsc0 = mult ? tsc : 0;
    }
    if (ns < s->ns_last) ns = s->ns_last;
    s->ns0 = s->ns_last = ns;
    return ns;
}

/* Nanoseconds, now. */
static int64_t otp__now(otp__sched *s)
{
    if (otp__rt.det) return otp__rt.sched[0] ? otp__rt.sched[0]->vnow : 0;
    if (!s) return otp__clock();
    if (s->tsc0 != 0) {
        uint64_t d = otp__tsc() - s->tsc0;
        if (d < 1000000) {      /* a third of a millisecond or so */
            int64_t ns = s->ns0 + (int64_t)((d * __atomic_load_n(&otp__rt.tsc_mult, __ATOMIC_RELAXED)) >> 32);
            if (ns < s->ns_last) ns = s->ns_last;
            return s->ns_last = ns;
        }
    }
    return otp__clock_refresh(s);
}

OTP__INLINE int64_t otp__ms(int64_t ns) { return ns / 1000000; }

static uint64_t otp__rng_next(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);   /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* -- 4.5 memory -----------------------------------------------------------------------------------------
   >> mem   Blocks of up to 4 KiB come from 27 size classes. Each P has a list per class and one full chain of 64
   in reserve; chains travel between schedulers through a depot. Larger blocks are OTP_MALLOC's. With
   AddressSanitizer every block is malloc's, so that it sees misuse. Guests share one set under a lock. */

static const uint16_t otp__class_bytes[OTP__CLASSES] = {
    32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048,
    2560, 3072, 3584, 4096
};
#define OTP__CLASS_BIG 255u
#define OTP__CHAIN 64u

OTP__INLINE unsigned otp__class_of(size_t size)
{
    if (size <= 128) return size <= 32 ? 0 : (unsigned)((size + 15) / 16) - 2;
    if (size > 4096) return OTP__CLASS_BIG;
    unsigned b = 63u - (unsigned)__builtin_clzll((unsigned long long)(size - 1));
    return 7 + (b - 7) * 4 + (unsigned)(((size - 1) >> (b - 2)) & 3);
}

static void *otp__map_slab(bool huge)
{
    char *m = mmap(NULL, OTP__SLAB * 2, PROT_READ | PROT_WRITE, OTP__MAP_LARGE, -1, 0);
    if (m == MAP_FAILED) return NULL;
    char *a = (char *)(((uintptr_t)m + OTP__SLAB - 1) & ~(uintptr_t)(OTP__SLAB - 1));
    if (a > m) (void)munmap(m, (size_t)(a - m));
    if (a + OTP__SLAB < m + 2 * OTP__SLAB) (void)munmap(a + OTP__SLAB, (size_t)(m + OTP__SLAB - a));
#ifdef MADV_HUGEPAGE
    if (huge) (void)madvise(a, OTP__SLAB, MADV_HUGEPAGE);
#else
    (void)huge;
#endif
#if OTP__ASAN
    __lsan_register_root_region(a, OTP__SLAB);
#endif
    return a;
}

/* A chain of up to 64 blocks of a class: from the depot, or new. */
static OTP__NOINLINE otp__chain *otp__mem_chain(unsigned cls)
{
    otp__lock(&otp__rt.depot_lock[cls]);
    otp__chain *c = otp__rt.depot[cls];
    if (c) otp__rt.depot[cls] = c->chains;
    otp__unlock(&otp__rt.depot_lock[cls]);
    if (c) return c;
    size_t bytes = otp__class_bytes[cls];
    otp__lock(&otp__rt.slab_lock);
    if (otp__rt.slab_at == NULL || (size_t)(otp__rt.slab_end - otp__rt.slab_at) < bytes) {
        char *slab = otp__map_slab(true);
        if (!slab) {
            otp__unlock(&otp__rt.slab_lock);
            return NULL;
        }
        otp__rt.slab_at = slab;
        otp__rt.slab_end = slab + OTP__SLAB;
    }
    char *at = otp__rt.slab_at;
    size_t n = (size_t)(otp__rt.slab_end - at) / bytes;
    if (n > OTP__CHAIN) n = OTP__CHAIN;
    otp__rt.slab_at = at + n * bytes;
    otp__rt.carved[cls] += n;
    otp__unlock(&otp__rt.slab_lock);
    for (size_t i = 0; i < n; i++)
        ((otp__chain *)(void *)(at + i * bytes))->next =
            i + 1 < n ? (otp__chain *)(void *)(at + (i + 1) * bytes) : NULL;
    c = (otp__chain *)(void *)at;
    c->count = (uint32_t)n;
    return c;
}

static OTP__NOINLINE void *otp__mem_refill(otp__list *l, unsigned cls)
{
    otp__chain *c = l->full;
    if (c) l->full = NULL;
    else if ((c = otp__mem_chain(cls)) == NULL) return NULL;
    l->count = c->count - 1;
    l->head = c->next;
    return c;
}

static OTP__NOINLINE void otp__mem_spill(otp__list *l, unsigned cls)
{
    otp__chain *c = l->full;
    l->head->count = l->count;
    l->full = l->head;
    l->head = NULL;
    l->count = 0;
    if (!c) return;
    otp__lock(&otp__rt.depot_lock[cls]);
    c->chains = otp__rt.depot[cls];
    otp__rt.depot[cls] = c;
    otp__unlock(&otp__rt.depot_lock[cls]);
}

OTP__INLINE void *otp__mem_pop(otp__mem *mem, unsigned cls)
{
    otp__list *l = &mem->list[cls];
    otp__chain *c = l->head;
    if (otp__unlikely(!c)) return otp__mem_refill(l, cls);
    l->head = c->next;
    l->count--;
    return c;
}

/* The same, NULL when the list is empty. */
OTP__INLINE void *otp__mem_try(otp__mem *mem, unsigned cls)
{
    otp__list *l = &mem->list[cls];
    otp__chain *c = l->head;
    if (otp__likely(c != NULL)) {
        l->head = c->next;
        l->count--;
    }
    return c;
}

OTP__INLINE void otp__list_push(otp__list *l, void *block)
{
    otp__chain *c = block;
    c->next = l->head;
    l->head = c;
    l->count++;
}

OTP__INLINE void otp__mem_push(otp__mem *mem, void *block, unsigned cls)
{
    otp__list *l = &mem->list[cls];
    if (otp__unlikely(l->count >= OTP__CHAIN))
        otp__mem_spill(l, cls); /* before: so that push and pop in turn do not move chains */
    otp__list_push(l, block);
}

/* s is NULL for guests, which share one set of lists. */
OTP__INLINE void *otp__mem_get(otp__sched *s, unsigned cls)
{
#if OTP__ASAN
    (void)s;
    return malloc(otp__class_bytes[cls]);
#else
    if (otp__likely(s != NULL)) return otp__mem_pop(&s->mem, cls);
    otp__lock(&otp__rt.guest_lock);
    void *b = otp__mem_pop(&otp__rt.guest_mem, cls);
    otp__unlock(&otp__rt.guest_lock);
    return b;
#endif
}

OTP__INLINE void otp__mem_put(otp__sched *s, void *block, unsigned cls)
{
#if OTP__ASAN
    (void)s;
    (void)cls;
    free(block);
#else
    if (otp__likely(s != NULL)) {
        otp__mem_push(&s->mem, block, cls);
        return;
    }
    otp__lock(&otp__rt.guest_lock);
    otp__mem_push(&otp__rt.guest_mem, block, cls);
    otp__unlock(&otp__rt.guest_lock);
#endif
}

/* Large blocks, 16-aligned also where malloc aligns to 8 only: 32-bit machines. */
static void *otp__big_get(size_t bytes)
{
    if (_Alignof(max_align_t) >= 16) return OTP_MALLOC(bytes);
    char *raw = bytes < SIZE_MAX - 16 ? OTP_MALLOC(bytes + 16) : NULL;
    if (!raw) return NULL;
    char *block = (char *)(((uintptr_t)raw + 16) & ~(uintptr_t)15);
    ((void **)(void *)block)[-1] = raw;
    return block;
}

static void otp__big_put(void *block)
{
    if (_Alignof(max_align_t) >= 16) OTP_FREE(block);
    else OTP_FREE(((void **)block)[-1]);
}

/* Blocks of any size whose size the caller remembers. */
static void *otp__new(otp__sched *s, size_t bytes)
{
    unsigned cls = otp__class_of(bytes);
    if (otp__refused("block")) return NULL;
    return cls == OTP__CLASS_BIG ? otp__big_get(bytes) : otp__mem_get(s, cls);
}

static void otp__delete(otp__sched *s, void *block, size_t bytes)
{
    unsigned cls = otp__class_of(bytes);
    if (cls == OTP__CLASS_BIG) otp__big_put(block);
    else otp__mem_put(s, block, cls);
}

/* Gives a P's lists to the depot: at a stop. */
static void otp__mem_flush(otp__mem *mem)
{
    for (unsigned cls = 0; cls < OTP__CLASSES; cls++) {
        otp__list *l = &mem->list[cls];
        for (int i = 0; i < 2; i++) {
            otp__chain *c = i ? l->full : l->head;
            if (!c) continue;
            if (!i) c->count = l->count;
            c->chains = otp__rt.depot[cls];
            otp__rt.depot[cls] = c;
        }
        memset(l, 0, sizeof *l);
    }
}

/* -- 4.6 stacks -----------------------------------------------------------------------------------------
   >> stack   Stacks are reserved in groups, only touched pages cost memory, and are reused last in first out.
   The description stands at the top of the stack itself, in its first page, at an offset that differs from stack
   to stack so that hot frames do not all compete for one set of the cache. Below the usable part is a guard. */

#define OTP__MADV_GUARD_INSTALL 102     /* Linux 6.13 */
enum { OTP__GUARD_MADVISE, OTP__GUARD_MPROTECT, OTP__GUARD_NONE };
#define OTP__STACK_HOT 32u      /* stacks a P keeps */
#define OTP__STACK_GROUP 16u
#define OTP__STACK_MAX ((SIZE_MAX >> (sizeof(size_t) > 4 ? 24 : 2)) + 1)    /* 1 TiB, or 1 GiB */
#define OTP__STACK_KEEP 16384u  /* bytes of a cached stack that stay resident */

static void otp__stack_start(void)
{
    long page = sysconf(_SC_PAGESIZE);
    otp__rt.page = page > 0 ? (size_t)page : 4096;
    otp__rt.guard = otp__rt.page > 65536 ? otp__rt.page : 65536;
    otp__rt.guard_mode = OTP__GUARD_MPROTECT;
#ifdef __linux__
    /* An emulator may accept the advice and do nothing: a system call must find the page unreadable. */
    int fds[2];
    char *m = mmap(NULL, otp__rt.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m != MAP_FAILED) {
        if (madvise(m, otp__rt.page, OTP__MADV_GUARD_INSTALL) == 0 && pipe2(fds, O_CLOEXEC) == 0) {
            if (write(fds[1], m, 1) < 0 && errno == EFAULT) otp__rt.guard_mode = OTP__GUARD_MADVISE;
            (void)close(fds[0]);
            (void)close(fds[1]);
        }
        (void)munmap(m, otp__rt.page);
    }
#endif
}

static void otp__stack_guard(char *at, size_t bytes)
{
#ifdef __linux__
    if (otp__rt.guard_mode == OTP__GUARD_MADVISE && madvise(at, bytes, OTP__MADV_GUARD_INSTALL) == 0) return;
#endif
    if (otp__rt.guard_mode != OTP__GUARD_NONE && mprotect(at, bytes, PROT_NONE) != 0)
        otp__rt.guard_mode = OTP__GUARD_NONE;   /* out of mappings: later stacks have none */
}

static otp__stack *otp__stack_describe(char *map, size_t size, size_t guard, bool own_map)
{
    unsigned color = (unsigned)((uintptr_t)map / (size + guard)) % 20;
    char *top = map + guard + size;
#if OTP__ASAN
    __asan_unpoison_memory_region(map + guard, size);   /* the addresses may have been another stack's */
#endif
    otp__stack *k = (otp__stack *)(void *)(top - ((sizeof(otp__stack) + 63) & ~(size_t)63) - color * 64);
    memset(k, 0, sizeof *k);
    k->base = map + guard;
    k->size = size;
    k->guard = guard;
    k->own_map = own_map;
    otp__stack_guard(map, guard);
#if OTP__VALGRIND
    (void)VALGRIND_STACK_REGISTER(k->base, top);
#endif
#if OTP__ASAN
    __lsan_register_root_region(k->base, size);
#endif
    return k;
}

static OTP__NOINLINE otp__stack *otp__stack_new(size_t size)
{
    size_t guard = otp__rt.guard;
    size_t all = size + guard;
    int flags = OTP__MAP_LARGE | OTP__MAP_STACK;
    if (size != otp__rt.opts.stack_size) {
        char *m = mmap(NULL, all, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (m == MAP_FAILED) return NULL;
        return otp__stack_describe(m, size, guard, true);
    }
    otp__lock(&otp__rt.stack_lock);
    otp__stack *k = otp__rt.stacks;
    char *map = NULL;
    if (k) otp__rt.stacks = k->next;
    else {
        if (otp__rt.stack_left == 0)
            for (unsigned n = OTP__STACK_GROUP; n > 0; n /= 4) {    /* smaller groups when address space is short */
                char *m = mmap(NULL, all * n, PROT_READ | PROT_WRITE, flags, -1, 0);
                if (m == MAP_FAILED) continue;
#ifdef MADV_NOHUGEPAGE
                (void)madvise(m, all * n, MADV_NOHUGEPAGE);
#endif
                otp__rt.stack_at = m;
                otp__rt.stack_left = n;
                break;
            }
        if (otp__rt.stack_left > 0) {
            map = otp__rt.stack_at;
            otp__rt.stack_at += all;
            otp__rt.stack_left--;
        }
    }
    otp__unlock(&otp__rt.stack_lock);
    return map ? otp__stack_describe(map, size, guard, false) : k;    /* touches its first page: not under the lock */
}

/* At a start with another default size: the stacks of that size come to the fore. */
static void otp__stack_resize(size_t old)
{
    if (old == otp__rt.opts.stack_size) return;
    otp__rt.stack_left = 0;     /* what is left of a group stays address space */
    otp__stack *all[2] = { otp__rt.stacks, otp__rt.other_stacks };
    otp__rt.stacks = otp__rt.other_stacks = NULL;
    for (int i = 0; i < 2; i++)
        for (otp__stack *k = all[i], *next; k; k = next) {
            next = k->next;
            otp__stack **list = k->size == otp__rt.opts.stack_size ? &otp__rt.stacks : &otp__rt.other_stacks;
            k->next = *list;
            *list = k;
        }
}

OTP__INLINE char *otp__stack_top(otp__stack *k) { return (char *)k; }

/* Which of these pages are in memory; false where that cannot be asked. */
static bool otp__stack_resident(char *at, size_t bytes, unsigned char *vec)
{
#ifdef __OpenBSD__
    (void)at;
    (void)bytes;
    (void)vec;
    return false;
#else
    return mincore(at, bytes, (void *)vec) == 0;
#endif
}

/* How many bytes below the end of the mapping are resident, counted from the deepest touched page. */
static size_t otp__stack_used(otp__stack *k)
{
    unsigned char vec[64];
    for (char *at = k->base; at < k->base + k->size;) {
        size_t n = (size_t)(k->base + k->size - at) / otp__rt.page;
        if (n > sizeof vec) n = sizeof vec;
        if (!otp__stack_resident(at, n * otp__rt.page, vec)) return 0;
        for (size_t i = 0; i < n; i++)
            if (vec[i] & 1) return (size_t)(k->base + k->size - at) - i * otp__rt.page;
        at += n * otp__rt.page;
    }
    return 0;
}

/* Gives the pages below the first few back, if a process went deeper. */
static void otp__stack_trim(otp__stack *k)
{
    if (k->size <= OTP__STACK_KEEP) return;
    unsigned char vec[4] = { 0 };   /* frames grow page by page: the next few tell */
    char *at = k->base + k->size - OTP__STACK_KEEP - 4 * otp__rt.page;
    if (at < k->base || !otp__stack_resident(at, 4 * otp__rt.page, vec) || ((vec[0] | vec[1] | vec[2] | vec[3]) & 1))
        (void)madvise(k->base, k->size - OTP__STACK_KEEP, MADV_DONTNEED);
}

OTP__INLINE otp__stack *otp__stack_take(otp__sched *s)
{
    otp__stack *k = s->stacks;
    if (otp__likely(k != NULL)) {
        s->stacks = k->next;
        s->stack_count--;
    } else {
        k = otp__stack_new(otp__rt.opts.stack_size);
        if (!k) return NULL;
    }
#if OTP__TSAN
    if (!k->fiber) k->fiber = __tsan_create_fiber(0);
#endif
#if OTP__ASAN
    __asan_unpoison_memory_region(k->base, (size_t)((char *)k - k->base));
#endif
    return k;
}

static OTP__NOINLINE void otp__stack_spill(otp__sched *s, otp__stack *k)
{
    (void)s;
    if (k->own_map) {
#if OTP__TSAN
        if (k->fiber) __tsan_destroy_fiber(k->fiber);
#endif
#if OTP__ASAN
        __lsan_unregister_root_region(k->base, k->size);
#endif
        (void)munmap(k->base - k->guard, k->size + k->guard);
        return;
    }
    otp__stack_trim(k);
    otp__lock(&otp__rt.stack_lock);
    k->next = otp__rt.stacks;
    otp__rt.stacks = k;
    otp__unlock(&otp__rt.stack_lock);
}

/* Into the hot cache. The caller may still stand on it: it is not unmapped while it is in the cache of the P that
   this very thread holds, and this P's next lease is what the thread leaves it by. */
OTP__INLINE void otp__stack_put(otp__sched *s, otp__stack *k)
{
    if (otp__unlikely(k->own_map)) {
        s->odd = k;
        return;
    }
    k->next = s->stacks;
    k->deep = true;
    s->stacks = k;
    s->stack_count++;
}

static void otp__stack_limit(otp__sched *s)
{
    while (s->stack_count > OTP__STACK_HOT) {   /* the oldest would be better, the second newest is cheap */
        otp__stack *k = s->stacks->next;
        s->stacks->next = k->next;
        s->stack_count--;
        otp__stack_spill(s, k);
    }
}

/* What the sanitizers need to hear. before: leaving the stack `from` (NULL: its frames are dropped) for `to`. */
OTP__INLINE void otp__san_leave(otp__stack *from, otp__stack *to)
{
#if OTP__TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
#if OTP__ASAN
    __sanitizer_start_switch_fiber(from ? &from->fake : NULL, to->base, to->size);
#endif
    (void)from;
    (void)to;
}

OTP__INLINE void otp__san_arrive(otp__stack *on)
{
#if OTP__ASAN
    __sanitizer_finish_switch_fiber(on ? on->fake : NULL, NULL, NULL);
#endif
    (void)on;
}

/* The frames of the current stack are abandoned and it is used from its top again. Inlined: ThreadSanitizer would
   count a return from here on the new fibre. */
OTP__INLINE void otp__san_abandon(otp__stack *k)
{
#if OTP__TSAN
    void *old = k->fiber;
    k->fiber = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(k->fiber, 0);
    __tsan_destroy_fiber(old);
#endif
#if OTP__ASAN
    __asan_unpoison_memory_region(k->base, (size_t)((char *)k - k->base));
    __sanitizer_start_switch_fiber(NULL, k->base, k->size);
#endif
    (void)k;
}

/* -- 4.7 log --------------------------------------------------------------------------------------------
   >> log   Lines go to the hook, or to stderr with one write each. Never called from the fault handler. */

static const char *otp__level_name[] = { "", "error", "warning", "notice", "info", "debug" };

OTP_PRINTF(2, 0)
static void otp__vlog(otp_level level, const char *format, va_list ap)
{
    otp_level limit = otp__rt.opts.log_level == OTP_LOG_DEFAULT ? OTP_LOG_NOTICE : otp__rt.opts.log_level;
    if (level > limit || limit == OTP_LOG_NONE || level <= OTP_LOG_DEFAULT) return;
    char text[2048];
    int n = vsnprintf(text, sizeof text, format, ap);
    if (n < 0) return;
    if (otp__rt.opts.log) {
        otp__rt.opts.log(level, text, otp__rt.opts.log_arg);
        return;
    }
    char line[2200];
    n = snprintf(line, sizeof line, "[%s] %s\n", otp__level_name[level], text);
    if (n > 0 && write(2, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0) return;
}

OTP_PRINTF(2, 3)
static void otp__log(otp_level level, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    otp__vlog(level, format, ap);
    va_end(ap);
}

const char *otp_strerror(int code)
{
    switch (code) {
#define OTP__X(name, number, text) case number: return text;
        OTP_ERRORS(OTP__X)
#undef OTP__X
    default: return code >= 0 ? "no error" : "unknown error";
    }
}

static const char *otp__signal_name(int sig)
{
    switch (sig) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    case SIGABRT: return "SIGABRT";
    case SIGTRAP: return "SIGTRAP";
    default: return "signal";
    }
}

int otp_format_reason(const otp_reason *r, char *out, size_t size)
{
    static const char *const names[] = {
#define OTP__X(name, text) text,
        OTP_REASONS(OTP__X)
#undef OTP__X
    };
    const char *kind = (unsigned)r->kind < OTP_REASON_COUNT ? names[r->kind] : "unknown";
    const char *sep = r->text ? ": " : "", *text = r->text ? r->text : "";
    switch (r->kind) {
    case OTP_REASON_CRASH:
        if (r->code == SIGABRT) return snprintf(out, size, "%s: SIGABRT%s%s", kind, sep, text);
        return snprintf(out, size, "%s: %s at %#llx%s%s", kind, otp__signal_name(r->code),
                        (unsigned long long)r->address, sep, text);
    case OTP_REASON_STACK_OVERFLOW:
        return snprintf(out, size, "%s at %#llx%s%s", kind, (unsigned long long)r->address, sep, text);
    case OTP_REASON_CALL:
    case OTP_REASON_ERROR: return snprintf(out, size, "%s: %s%s%s", kind, otp_strerror(r->code), sep, text);
    case OTP_REASON_USER: return snprintf(out, size, "%s %d%s%s", kind, r->code, sep, text);
    default: return snprintf(out, size, "%s%s%s", kind, sep, text);
    }
}

/* -- 4.8 slots ------------------------------------------------------------------------------------------
   >> slot   pid: bits 0..31 generation (never 0), 32..58 slot, 63 remote. A record is free when its head is CLOSED;
   its generation is that of its last pid. A slot whose generation is used up is never used again. */

#define OTP__REMOTE ((uint64_t)1 << 63)
OTP__INLINE uint64_t otp__pid(otp__proc *p) { return otp__get(&p->pid); }
OTP__INLINE uint32_t otp__pid_slot(uint64_t id) { return (uint32_t)(id >> 32) & 0x7ffffffu; }
OTP__INLINE uint32_t otp__pid_gen(uint64_t id) { return (uint32_t)id; }

OTP__INLINE otp__proc *otp__slot_proc(uint32_t slot)
{
    char *slab = otp__get_acq(&otp__rt.slabs[slot / OTP__PROCS_PER_SLAB]);
    return (otp__proc *)(void *)(slab + (size_t)(slot % OTP__PROCS_PER_SLAB) * OTP__PROC_BYTES);
}

/* The record that a pid names, or NULL if it names no living local process (as far as can be seen from outside). */
OTP__INLINE otp__proc *otp__find(uint64_t id)
{
    if (otp__unlikely(id == 0 || (id & OTP__REMOTE))) return NULL;     /* >> remote: see otp_set_remote */
    uint32_t slot = otp__pid_slot(id);
    if (otp__unlikely(slot / OTP__PROCS_PER_SLAB >= OTP__MAX_SLABS)) return NULL;
    char *slab = otp__get_acq(&otp__rt.slabs[slot / OTP__PROCS_PER_SLAB]);
    if (otp__unlikely(!slab)) return NULL;
    otp__proc *p = (otp__proc *)(void *)(slab + (size_t)(slot % OTP__PROCS_PER_SLAB) * OTP__PROC_BYTES);
    return otp__get_acq(&p->pid) == id ? p : NULL;      /* acquire: who finds it dead sees what it did */
}

/* A chain of free records for a P: from the common list, or carved. Returns NULL at the process limit. */
static OTP__NOINLINE otp__proc *otp__slot_chain(uint32_t want, uint32_t *count)
{
    otp__proc *first = NULL, **last = &first;
    otp__lock(&otp__rt.slot_lock);
    for (*count = 0; *count < want; ++*count) {
        otp__proc *p = otp__rt.free_procs;
        if (p && otp__pid_slot(otp__pid(p)) >= otp__rt.opts.max_processes) break; /* the list was sorted at the start */
        if (p) otp__rt.free_procs = p->qn;
        else {
            uint32_t slot = otp__get(&otp__rt.slots);
            if (slot >= otp__rt.opts.max_processes || slot / OTP__PROCS_PER_SLAB >= OTP__MAX_SLABS) break;
            if (slot % OTP__PROCS_PER_SLAB == 0 && !otp__get(&otp__rt.slabs[slot / OTP__PROCS_PER_SLAB])) {
                char *slab = otp__map_slab(true);
                if (!slab) break;
                otp__put_rel(&otp__rt.slabs[slot / OTP__PROCS_PER_SLAB], slab);
            }
            p = otp__slot_proc(slot);
            otp__put_rlx(&p->head, OTP__CLOSED);
            otp__put_rlx(&p->pid, (uint64_t)slot << 32);    /* generation 0 names nobody */
            otp__put_rel(&otp__rt.slots, slot + 1);
        }
        p->qn = NULL;
        *last = p;
        last = &p->qn;
    }
    otp__unlock(&otp__rt.slot_lock);
    return first;
}

OTP__INLINE otp__proc *otp__slot_take(otp__sched *s)
{
    if (otp__unlikely(!s)) {
        uint32_t n;
        return otp__slot_chain(1, &n);
    }
    otp__proc *p = s->free_procs;
    if (otp__unlikely(!p)) {
        uint32_t share = otp__rt.opts.max_processes / (8 * (uint32_t)otp__rt.nscheds) + 1;
        p = otp__slot_chain(share < 64 ? share : 64, &s->free_count);
        if (!p) return NULL;
    }
    s->free_procs = p->qn;
    s->free_count--;
    return p;
}

static void otp__slot_put(otp__sched *s, otp__proc *p)
{
    if (otp__unlikely(otp__pid_gen(otp__get(&p->pid)) == UINT32_MAX)) return;      /* retired */
    if (otp__likely(s != NULL && s->free_count < 4096)) {
        p->qn = s->free_procs;
        s->free_procs = p;
        s->free_count++;
        return;
    }
    otp__lock(&otp__rt.slot_lock);
    p->qn = otp__rt.free_procs;
    otp__rt.free_procs = p;
    if (s)
        for (int i = 0; i < 2048; i++) {
            otp__proc *q = s->free_procs;
            s->free_procs = q->qn;
            s->free_count--;
            q->qn = otp__rt.free_procs;
            otp__rt.free_procs = q;
        }
    otp__unlock(&otp__rt.slot_lock);
}

static int otp__pid_text(uint64_t id, char *out, size_t size)
{
    return snprintf(out, size, "<%u.%u>", otp__pid_slot(id), otp__pid_gen(id));
}


static uint64_t otp__ref_new(otp__sched *s)
{
    if (s) return ((uint64_t)(s->id + 1) << 48) | (++s->ref & 0xffffffffffffu);
    return atomic_fetch_add_explicit(&otp__rt.guest_ref, 1, memory_order_relaxed) + 1;
}

/* -- 4.9 queues -----------------------------------------------------------------------------------------
   >> queue   All plain memory: a P is used by one thread at a time. Order of choice: max, high; the process just
   woken (run_next), a limited number of times in a row; then woken ones first in first out, new ones newest first
   (a tree of processes is then walked in depth, in little memory), those that used up their turn, low ones. So
   that none of these starves, a yielded one runs after at most as many turns as were queued when it came to the
   front, every 512th turn starts with the oldest new one (more often costs a tree of processes its depth: each branch that is
   begun needs stacks of its own), every 8th with a low one. In the deterministic mode the seed chooses. */

OTP__INLINE void otp__q_push(otp__queue *q, otp__proc *p)
{
    p->qn = NULL;
    if (q->tail) q->tail->qn = p;
    else q->head = p;
    q->tail = p;
}

OTP__INLINE otp__proc *otp__q_pop(otp__queue *q)
{
    otp__proc *p = q->head;
    if (p && (q->head = p->qn) == NULL) q->tail = NULL;
    return p;
}

OTP__INLINE void otp__len_add(otp__sched *s, int n) { otp__put_rlx(&s->len, otp__get(&s->len) + (unsigned)n); }

#ifdef OTP__LINUX
/* What the kernel reads: on 32-bit machines time_t may be wider than in the old call. No <linux/futex.h>: musl's
   compiler wrapper does not see the kernel's headers. */
#if !defined(SYS_futex) || (defined(__x86_64__) && defined(__ILP32__))
typedef struct timespec otp__futex_time;
#else
typedef struct otp__futex_time { long tv_sec, tv_nsec; } otp__futex_time;
#endif
#ifdef SYS_futex
#define OTP__SYS_FUTEX SYS_futex
#else
#define OTP__SYS_FUTEX SYS_futex_time64
#endif
#else
/* No futex: words share a few conditions. Who is woken for another's word looks at its own and sleeps again. */
typedef struct otp__bed { pthread_mutex_t lock; pthread_cond_t wake; } otp__bed;
#define OTP__BED { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER }
static otp__bed otp__beds[8] = { OTP__BED, OTP__BED, OTP__BED, OTP__BED, OTP__BED, OTP__BED, OTP__BED, OTP__BED };
static otp__bed *otp__bed_of(atomic_uint *word) { return &otp__beds[(uintptr_t)word / 64 % 8]; }
#endif

static int otp__futex_wait(atomic_uint *word, unsigned value, int64_t ns)
{
#ifdef OTP__LINUX
    otp__futex_time ts = { 0, 0 };
    if (ns >= 0) {
        if (ns > INT64_C(1000000000000000000)) ns = INT64_C(1000000000000000000);     /* 30 years; fits 32 bits */
        ts.tv_sec = (long)(ns / 1000000000);
        ts.tv_nsec = (long)(ns % 1000000000);
    }
    return (int)syscall(OTP__SYS_FUTEX, word, 128 /* FUTEX_WAIT_PRIVATE */, value, ns >= 0 ? &ts : NULL, NULL, 0);
#else
    otp__bed *b = otp__bed_of(word);
    struct timespec ts;
    if (ns > 1000000000) ns = 1000000000;   /* the clock of conditions may be set back: look again now and then */
    if (ns >= 0) {
        (void)clock_gettime(CLOCK_REALTIME, &ts);
        ns += ts.tv_nsec;
        ts.tv_sec += (time_t)(ns / 1000000000);
        ts.tv_nsec = (long)(ns % 1000000000);
    }
    (void)pthread_mutex_lock(&b->lock);
    if (otp__get_seq(word) == value) {
        if (ns >= 0) (void)pthread_cond_timedwait(&b->wake, &b->lock, &ts);
        else (void)pthread_cond_wait(&b->wake, &b->lock);
    }
    (void)pthread_mutex_unlock(&b->lock);
    return 0;
#endif
}

static void otp__futex_wake(atomic_uint *word)
{
#ifdef OTP__LINUX
    (void)syscall(OTP__SYS_FUTEX, word, 129 /* FUTEX_WAKE_PRIVATE */, 1, NULL, NULL, 0);
#else
    otp__bed *b = otp__bed_of(word);
    (void)pthread_mutex_lock(&b->lock);     /* nobody is between its look at the word and its sleep */
    (void)pthread_cond_broadcast(&b->wake);
    (void)pthread_mutex_unlock(&b->lock);
#endif
}

/* An fd that others make readable: [0] to wait for, [1] to write to. */
static bool otp__event_make(int fds[2])
{
#ifdef OTP__LINUX
    fds[0] = fds[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fds[0] >= 0;
#else
    if (pipe(fds) != 0) {
        fds[0] = fds[1] = -1;
        return false;
    }
    for (int i = 0; i < 2; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0 || fcntl(fds[i], F_SETFL, O_NONBLOCK) != 0) return false;
    return true;
#endif
}

static void otp__event_set(const int fds[2])
{
    uint64_t one = 1;
    if (write(fds[1], &one, sizeof one) < 0) return;    /* full: it is readable anyway */
}

static void otp__event_clear(const int fds[2])
{
    uint64_t all[64];
    while (read(fds[0], all, sizeof all) == (ssize_t)sizeof all) continue;
}

/* Threads that are not ours touch schedulers only between these two: a stop waits for them before it frees any. A pair:
   they count up (seq_cst) and look at `closing`; the stop sets `closing` (seq_cst) and looks at the count. */
static bool otp__outside_in(void)
{
    atomic_fetch_add_explicit(&otp__rt.outside, 1, memory_order_seq_cst);
    return !otp__get_seq(&otp__rt.closing);
}

static void otp__outside_out(void) { atomic_fetch_sub_explicit(&otp__rt.outside, 1, memory_order_release); }

/* For processes that become runnable on a thread without a P of the right kind. */
static void otp__inject_in(otp__proc *p)
{
    if ((p->flags & OTP__P_PINNED) && !otp__rt.det) {
        otp__sched *m = otp__rt.sched[otp__rt.nscheds];
        otp__proc *head = otp__get(&m->inbox);
        do p->qn = head;
        while (!otp__cas_weak(&m->inbox, &head, p, memory_order_seq_cst));
        if (otp__get_seq(&m->sleeping)) otp__wake(m);
        if (otp__rt.main_event_up) otp__event_set(otp__rt.main_event);
        return;
    }
    otp__lock(&otp__rt.inject_lock);
    otp__q_push(&otp__rt.inject, p);
    otp__put_seq(&otp__rt.inject_count, otp__get(&otp__rt.inject_count) + 1);
    otp__unlock(&otp__rt.inject_lock);
    if (otp__get_seq(&otp__rt.nidle)) otp__wake_for_work();
}

static void otp__inject(otp__proc *p)
{
    if (otp__outside_in()) otp__inject_in(p);
    otp__outside_out();
}

static void otp__enqueue(otp__sched *s, otp__proc *p, int queue)
{
    if (otp__unlikely(p->special || s->main)) {
        if ((p->flags & OTP__P_PINNED) ? !s->main && !otp__rt.det : s->main) {
            otp__inject(p);
            return;
        }
    }
    if (otp__unlikely(p->special && p->prio != OTP_PRIO_NORMAL)) {
        s->urgent += p->prio != OTP_PRIO_LOW;
        queue = p->prio == OTP_PRIO_MAX ? OTP__Q_MAX : p->prio == OTP_PRIO_HIGH ? OTP__Q_HIGH : OTP__Q_LOW;
    }
    otp__q_push(&s->q[queue], p);
    otp__len_add(s, 1);
}

#define OTP__TRACE(hook, ...)                                                                                \
    do {                                                                                                    \
        const otp_trace_hooks *otp__h = otp__get_acq(&otp__rt.trace);                                       \
        if (otp__unlikely(otp__h != NULL) && otp__h->hook) otp__h->hook(__VA_ARGS__, otp__h->arg);          \
    } while (0)

/* For a message: the hook can ask which one. */
static OTP__COLD void otp__trace_message(otp__node *n, uint64_t to, bool sent)
{
    const otp_trace_hooks *h = otp__get_acq(&otp__rt.trace);
    if (!h || !(sent ? h->send : h->receive)) return;
    otp__thread *t = otp__self_thread();
    if (t) t->traced = (uint64_t)(uintptr_t)n;
    if (sent) h->send(n->m.from, (otp_pid){ to }, n->m.tag, n->m.size, h->arg);
    else h->receive((otp_pid){ to }, n->m.from, n->m.tag, n->m.size, h->arg);
    if (t) t->traced = 0;
}

static OTP__NOINLINE void otp__make_runnable_slow(otp__sched *s, otp__proc *p)
{
    if (p->flags & OTP__P_GUEST) {
        otp__thread *t = p->thread;
        otp__put_seq(&t->futex, 1);
        otp__futex_wake(&t->futex);
    } else if (!s) {
        otp__inject(p);
    } else {
        otp__enqueue(s, p, OTP__Q_WOKEN);
    }
}

/* A process that has just been moved away from parked. */
OTP__INLINE void otp__make_runnable(otp__sched *s, otp__proc *p)
{
    if (otp__unlikely(!s || p->special || s->no_next)) {
        otp__make_runnable_slow(s, p);
        return;
    }
    otp__proc *displaced = otp__get(&s->run_next);
    otp__put_rlx(&s->run_next, p);
    if (displaced) otp__enqueue(s, displaced, OTP__Q_WOKEN);
}

OTP__INLINE void otp__fresh_push(otp__sched *s, otp__proc *p)
{
    if (otp__unlikely(p->special || s->main)) {
        otp__enqueue(s, p, OTP__Q_WOKEN);
        return;
    }
    p->qn = s->fresh_new;
    p->u.qp = NULL;
    if (s->fresh_new) s->fresh_new->u.qp = p;
    else s->fresh_old = p;
    s->fresh_new = p;
    s->fresh_len++;
    otp__len_add(s, 1);
}

OTP__INLINE otp__proc *otp__fresh_pop(otp__sched *s, bool oldest)
{
    otp__proc *p = oldest ? s->fresh_old : s->fresh_new;
    if (!p) return NULL;
    if (oldest) {
        if ((s->fresh_old = p->u.qp) != NULL) s->fresh_old->qn = NULL;
        else s->fresh_new = NULL;
    } else {
        if ((s->fresh_new = p->qn) != NULL) s->fresh_new->u.qp = NULL;
        else s->fresh_old = NULL;
    }
    p->u.left = NULL;
    if (--s->fresh_len == 0) s->fresh_round++;
    return p;
}

OTP__INLINE otp__proc *otp__yielded_pop(otp__sched *s)
{
    otp__proc *p = otp__q_pop(&s->q[OTP__Q_YIELDED]);
    s->patience = otp__get(&s->len);
    return p;
}

/* The one place where it is decided who runs next, in the deterministic mode by the seed. */
static otp__proc *otp__choose_det(otp__sched *s)
{
    if (otp__get(&s->len) == 0) return NULL;    /* nothing to choose: nothing is drawn, so that runs repeat */
    if (otp__rt.director) return otp__choose_directed(s);
    for (otp__proc *p; (p = otp__fresh_pop(s, true)) != NULL;) otp__q_push(&s->q[OTP__Q_WOKEN], p);
    for (otp__proc *p; (p = otp__q_pop(&s->q[OTP__Q_YIELDED])) != NULL;) otp__q_push(&s->q[OTP__Q_WOKEN], p);
    if (otp__rng_next(&s->rng) % 8 == 0)
        for (otp__proc *p; (p = otp__q_pop(&s->q[OTP__Q_LOW])) != NULL;) otp__q_push(&s->q[OTP__Q_WOKEN], p);
    int which = s->q[OTP__Q_MAX].head     ? OTP__Q_MAX
                : s->q[OTP__Q_HIGH].head  ? OTP__Q_HIGH
                : s->q[OTP__Q_WOKEN].head ? OTP__Q_WOKEN
                                          : OTP__Q_LOW;
    otp__queue *q = &s->q[which];
    if (!q->head) return NULL;
    s->urgent -= which == OTP__Q_MAX || which == OTP__Q_HIGH;
    unsigned n = 0;
    for (otp__proc *p = q->head; p && n < 64; p = p->qn) n++;
    unsigned k = (unsigned)(otp__rng_next(&s->rng) % n);
    otp__proc *before = NULL, *p = q->head;
    for (; k > 0; k--) {
        before = p;
        p = p->qn;
    }
    if (before) before->qn = p->qn;
    else q->head = p->qn;
    if (q->tail == p) q->tail = before;
    otp__len_add(s, -1);
    return p;
}

static OTP__NOINLINE otp__proc *otp__choose_urgent(otp__sched *s)
{
    otp__proc *p = otp__q_pop(s->q[OTP__Q_MAX].head ? &s->q[OTP__Q_MAX] : &s->q[OTP__Q_HIGH]);
    s->urgent--;
    otp__len_add(s, -1);
    return p;
}

static OTP__NOINLINE otp__proc *otp__choose_queued(otp__sched *s)
{
    s->chain = 0;
    if (otp__get(&s->len) == 0) return NULL;
    uint32_t turn = ++s->looks & 511;   /* not the number of switches: a pair in run_next would be in step with it */
    otp__proc *p = NULL;
    if (otp__unlikely(s->patience == 0)) p = otp__yielded_pop(s);
    else s->patience--;
    if (otp__unlikely((turn & 7) == 4) && !p) p = otp__q_pop(&s->q[OTP__Q_LOW]);
    else if (otp__unlikely(turn == 8) && !p) p = otp__fresh_pop(s, true);
    if (!p && !(p = otp__q_pop(&s->q[OTP__Q_WOKEN])) && !(p = otp__fresh_pop(s, false)) && !(p = otp__yielded_pop(s)))
        p = otp__q_pop(&s->q[OTP__Q_LOW]);
    if (p) otp__len_add(s, -1);
    return p;
}

OTP__INLINE otp__proc *otp__choose(otp__sched *s)
{
    if (otp__unlikely(otp__rt.det)) return otp__choose_det(s);
    if (otp__unlikely(s->urgent)) return otp__choose_urgent(s);
    otp__proc *p = otp__get(&s->run_next);
    if (p) {
        otp__put_rlx(&s->run_next, NULL);
        if (otp__likely(++s->chain < 64)) return p;
        if (otp__get(&s->len) == 0) {
            s->chain = 0;
            return p;
        }
        otp__enqueue(s, p, OTP__Q_WOKEN);
    }
    return otp__choose_queued(s);
}

/* Half of what waits here, as a chain linked by qn: for another scheduler. First those that have run before: they
   bring their partners along. New ones only with `fresh`, the oldest first: in a tree the largest branches. */
static otp__proc *otp__give(otp__sched *s, bool fresh, bool with_next)
{
    static const uint8_t order[] = { OTP__Q_MAX, OTP__Q_HIGH, OTP__Q_YIELDED, OTP__Q_WOKEN, OTP__Q_LOW };
    unsigned n = otp__get(&s->len) - (fresh ? 0 : s->fresh_len) + (with_next && otp__get(&s->run_next) ? 1 : 0);
    otp__proc *chain = NULL, **last = &chain;
    for (unsigned want = (n + 1) / 2; want > 0; want--) {
        otp__proc *p = NULL;
        for (size_t i = 0; !p && i < sizeof order; i++) {
            p = otp__q_pop(&s->q[order[i]]);
            if (p && i < 2) s->urgent--;
        }
        if (!p && fresh) p = otp__fresh_pop(s, true);
        if (p) otp__len_add(s, -1);
        else if (with_next && (p = otp__get(&s->run_next)) != NULL) otp__put_rlx(&s->run_next, NULL);
        if (!p) break;
        p->qn = NULL;
        *last = p;
        last = &p->qn;
    }
    return chain;
}

static void otp__inbox_push(otp__sched *s, otp__proc *chain)
{
    otp__proc *last = chain;
    while (last->qn) last = last->qn;
    otp__proc *head = otp__get(&s->inbox);
    do last->qn = head;
    while (!otp__cas_weak(&s->inbox, &head, chain, memory_order_seq_cst));
    if (otp__get_seq(&s->sleeping)) otp__wake(s);
}

static bool otp__inbox_take(otp__sched *s)
{
    if (otp__get(&s->inbox) == NULL) return false;
    otp__proc *p = atomic_exchange_explicit(&s->inbox, NULL, memory_order_acquire);
    for (otp__proc *next; p; p = next) {
        next = p->qn;
        otp__enqueue(s, p, OTP__Q_WOKEN);
    }
    return true;
}

/* Answers a scheduler that asks for work. Done by the owner of s, in the loop. New processes that come and go within
   microseconds are cheaper to run where they were made: they are given only when they have been waiting for a while. */
static OTP__NOINLINE void otp__donate(otp__sched *s)
{
    bool fresh = otp__get(&s->len) == s->fresh_len;
    if (fresh) {
        uint64_t now = otp__tsc();
        if (s->asked_at == 0 || s->asked_round != s->fresh_round) {
            s->asked_at = now;
            s->asked_round = s->fresh_round;
        }
        if (s->fresh_len > 0 && now - s->asked_at < 20000) return;      /* some microseconds: ask again */
    }
    s->asked_at = 0;
    otp__sched *thief = atomic_exchange_explicit(&s->want, NULL, memory_order_acq_rel);
    if (!thief || otp__get(&s->len) == 0) return;
    otp__proc *chain = otp__give(s, fresh, false);
    if (chain) {
        s->wake_gap = 0;
        otp__inbox_push(thief, chain);
    }
}

/* A fair share of what came in from other threads. */
static bool otp__inject_take(otp__sched *s)
{
    if (otp__get(&otp__rt.inject_count) == 0 || s->main) return false;
    otp__queue got = { NULL, NULL };
    otp__lock(&otp__rt.inject_lock);
    unsigned n = 0, all = otp__get(&otp__rt.inject_count), share = all / (unsigned)otp__rt.nscheds + 1;
    for (otp__proc *p; n < share && (p = otp__q_pop(&otp__rt.inject)) != NULL; n++) otp__q_push(&got, p);
    otp__timer *timers = otp__rt.inject_timers;
    otp__rt.inject_timers = NULL;
    for (otp__timer *tm = timers; tm; tm = (otp__timer *)(void *)tm->link.next) n++;
    otp__put_seq(&otp__rt.inject_count, all - n);
    otp__unlock(&otp__rt.inject_lock);
    for (otp__proc *p; (p = otp__q_pop(&got)) != NULL;) otp__enqueue(s, p, OTP__Q_WOKEN);
    for (otp__timer *next; timers; timers = next) {
        next = (otp__timer *)(void *)timers->link.next;
        otp__timer_insert(s, timers, 0);
    }
    return n > 0;
}

/* -- 4.10 mailbox ---------------------------------------------------------------------------------------
   >> mbox   One head word: a list of nodes, newest first, and three low bits.

     EMPTY, list          the owner runs, is queued to run, or is about to park
     … + NUDGE            the same, and "look at your conditions again"
     PARKED               the owner waits, any message wakes it
     SIGWAIT (+ list)     the owner waits for signals, replies and hints only; plain messages pile up
     CLOSED               dead, or the slot is free

   The argument, in steps.
   1. Every change of the head is a read-modify-write (push, wake, hint, park by CAS; drain and close by exchange),
      save for the opening of a slot, which nobody can race with: while CLOSED nobody else writes the head. So all
      pushes and the drain that takes them form one release sequence: the drain's acquire sees every node's content.
   2. Private fields (queue, context, deadline, run queue link) belong to whoever moved the head away from PARKED or
      SIGWAIT, until the process runs. Only one CAS can win that, so a process is put into a run queue once.
   3. A process is parked after its context is saved, by the loop or by the process that it switched straight to:
      the release of that CAS publishes the context to
      whoever wakes it (acquire).
   4. If anything arrived between the owner's last look and the park, the head is not EMPTY, the park's CAS fails, and
      the owner is put straight back. A hint (timer, fd, resume) leaves NUDGE in an awake owner's head for the same
      reason: otherwise the owner that has looked at its clock just before would sleep through its deadline.
   5. A wake-up promises nothing: the owner looks at signals, messages and deadline, and parks again. So stale hints
      and stale pushes cost a turn and no more. ABA is harmless: a push needs only the top pointer to be current, and
      a head found PARKED or CLOSED in a newer incarnation of the slot receives a node whose `to` does not match.
   6. Nodes for an older incarnation are dropped by the receiver; what asks for an answer is answered (noproc): by the
      sender that finds CLOSED, by the receiver that drops, and by the last drain of an ending process.
   7. A newer incarnation writes its generation first, then opens the head with a release store.
   No fence and no sequentially consistent order is needed here, except that exit's exchange and register's check of
   the head form a pair of their own (4.15). tests/models/ runs this code through all interleavings of small instances:
   models mailbox*, sigwait, hint*, reuse* and names. */

OTP__INLINE otp__node *otp__head_list(uintptr_t h) { return (otp__node *)(h & ~OTP__HEAD_BITS); }

/* The part of a push that is nearly always all of it. EMPTY: done. PARKED: done, and the receiver, which waited, is the
   caller's to make runnable. Else nothing is done, and this is the head in the way: CLOSED, or SIGWAIT with its list. */
OTP__INLINE uintptr_t otp__push_plain(otp__proc *p, otp__node *n)
{
    uintptr_t h = otp__get(&p->head);
    for (;;) {
        if (h == OTP__PARKED) {
            if (otp__cas_weak(&p->head, &h, OTP__EMPTY, memory_order_acq_rel)) {   /* acquire: its private fields */
                p->handed = n;
                n->next = NULL;
                __builtin_prefetch(p->stack);       /* its context: it often goes on within nanoseconds */
                return OTP__PARKED;
            }
        } else if (otp__likely((h & 3) == 0)) {
            n->next = otp__head_list(h);
            if (otp__cas_weak(&p->head, &h, (uintptr_t)n | (h & OTP__NUDGE), memory_order_release)) return OTP__EMPTY;
        } else {
            return h;
        }
    }
}

/* A signal to a process that waits for one, without messages in its list: true, and it is the caller's to make runnable. */
OTP__INLINE bool otp__push_awaited(otp__proc *p, otp__node *n)
{
    uintptr_t h = OTP__SIGWAIT;
    if (otp__unlikely(!otp__cas(&p->head, &h, OTP__EMPTY, memory_order_acq_rel))) return false; /* acquire: as above */
    p->handed = n;
    n->next = NULL;
    return true;
}

/* Hands a node over. False when the receiver is dead: the node is still the caller's. */
OTP__INLINE bool otp__push(otp__sched *s, otp__proc *p, otp__node *n)
{
    for (;;) {
        uintptr_t h = otp__push_plain(p, n);
        if (otp__likely(h == OTP__EMPTY)) {
            return true;
        } else if (h == OTP__PARKED) {
            otp__make_runnable(s, p);
            return true;
        } else if (h == OTP__CLOSED) {
            (void)otp__get_acq(&p->head);   /* as in otp__find */
            return false;
        } else {    /* SIGWAIT */
            otp__node *list = otp__head_list(h);
            n->next = list;
            if ((n->m.flags & OTP__K_MASK) == OTP__K_MSG) {
                if (otp__cas_weak(&p->head, &h, (uintptr_t)n | OTP__SIGWAIT, memory_order_release)) return true;
            } else if (!list) {
                if (otp__push_awaited(p, n)) {
                    otp__make_runnable(s, p);
                    return true;
                }
            } else if (otp__cas_weak(&p->head, &h, (uintptr_t)n, memory_order_acq_rel)) {
                otp__make_runnable(s, p);
                return true;
            }
        }
    }
}

/* "Look again", to process p if it is still pid. */
static void otp__hint(otp__sched *s, uint64_t pid)
{
    otp__proc *p = otp__find(pid);
    if (!p) return;
    uintptr_t h = otp__get(&p->head);
    for (;;) {
        if (h == OTP__CLOSED || (h & OTP__NUDGE)) return;
        if (h == OTP__PARKED || (h & 3) == OTP__SIGWAIT) {
            uintptr_t awake = h == OTP__PARKED ? OTP__EMPTY : (uintptr_t)otp__head_list(h);
            if (otp__cas_weak(&p->head, &h, awake, memory_order_acq_rel)) {
                OTP__TRACE(wake, (otp_pid){ pid });
                otp__make_runnable(s, p);
                return;
            }
        } else if (otp__cas_weak(&p->head, &h, h | OTP__NUDGE, memory_order_acq_rel)) {
            return;
        }
    }
}

/* Nodes. */

OTP__INLINE size_t otp__node_bytes(size_t payload) { return payload <= 8 ? 64 : 64 + payload; }

#define OTP__CLASS_WORD 2u      /* of a node with up to 8 bytes */

OTP__INLINE otp__node *otp__node_fill(otp__node *n, unsigned cls, uint64_t from, uint64_t to, int tag, unsigned kind,
                                      size_t size)
{
    n->to = to;
    n->m.tag = tag;
    n->m.flags = kind | cls << OTP__F_CLASS_SHIFT;
    n->m.from.id = from;
    n->m.ref.id = 0;
    n->m.size = size;
    n->m.data = (char *)n + (size <= 8 ? 56 : 64);
    return n;
}

/* A node with room for `size` bytes, which the caller fills through n->m.data. */
OTP__INLINE otp__node *otp__node_new(otp__sched *s, uint64_t from, uint64_t to, int tag, unsigned kind, size_t size)
{
    unsigned cls = otp__likely(size <= 8) ? OTP__CLASS_WORD : otp__class_of(otp__node_bytes(size));
    otp__node *n = otp__unlikely(cls == OTP__CLASS_BIG) ? otp__big_get(otp__node_bytes(size)) : otp__mem_get(s, cls);
    if (otp__unlikely(!n)) return NULL;
    return otp__node_fill(n, cls, from, to, tag, kind, size);
}
_Static_assert(sizeof(otp__node) <= 56 || sizeof(void *) < 8, "eight bytes of payload fit the first cache line");

OTP__INLINE otp__node *otp__node_of(const otp_msg *m)
{
    return (otp__node *)(void *)((char *)(uintptr_t)m - offsetof(otp__node, m));
}

struct otp_shared { atomic_uint refs; size_t size; _Alignas(16) char data[]; };

static void otp__shared_unref(otp_shared *sh)
{
    /* release: our reads are done before the last one frees; acquire: they all are before we free */
    if (atomic_fetch_sub_explicit(&sh->refs, 1, memory_order_acq_rel) == 1) otp__big_put(sh);
}

/* 32 bytes; the data follows. */
struct otp__block { _Alignas(16) otp__block *next; otp__block *prev; size_t size; uint32_t cls, magic; };

static void otp__block_delete(otp__sched *s, otp__block *b)
{
    if (b->cls == OTP__CLASS_BIG) otp__big_put(b);
    else otp__mem_put(s, b, b->cls);
}

static OTP__NOINLINE void otp__node_payload_free(otp__sched *s, otp__node *n)
{
    if (n->m.flags & OTP__F_MOVED) otp__block_delete(s, (otp__block *)(uintptr_t)n->m.data - 1);
    if (n->m.flags & OTP__F_SHARED)
        otp__shared_unref((otp_shared *)(void *)((char *)(uintptr_t)n->m.data - offsetof(otp_shared, data)));
}

/* When memory is out, processes end, and that must be told to those who wait for it: these nodes are kept for it. */
#define OTP__RESERVE_NODES 256u
#define OTP__RESERVE_BYTES ((size_t)256)

static bool otp__reserve_start(void)
{
    static bool up;
    if (up) return true;
    char *block = OTP_MALLOC(OTP__RESERVE_NODES * OTP__RESERVE_BYTES);  /* for the life of the program */
    if (!block) return false;
    for (unsigned i = 0; i < OTP__RESERVE_NODES; i++) {
        otp__node *n = (otp__node *)(void *)(block + i * OTP__RESERVE_BYTES);
        n->next = otp__rt.reserve;
        otp__rt.reserve = n;
    }
    return up = true;
}

static OTP__COLD otp__node *otp__reserve_take(void)
{
    otp__lock(&otp__rt.reserve_lock);
    otp__node *n = otp__rt.reserve;
    if (n) otp__rt.reserve = n->next;
    otp__unlock(&otp__rt.reserve_lock);
    return n;
}

static OTP__COLD void otp__reserve_put(otp__node *n)
{
    otp__lock(&otp__rt.reserve_lock);
    n->next = otp__rt.reserve;
    otp__rt.reserve = n;
    otp__unlock(&otp__rt.reserve_lock);
}

static OTP__NOINLINE void otp__node_free_big(otp__node *n)
{
    if (n->m.flags & OTP__F_RESERVE) otp__reserve_put(n);
    else otp__big_put(n);
}

OTP__INLINE void otp__node_free(otp__sched *s, otp__node *n)
{
    if (otp__unlikely(n->m.flags & (OTP__F_MOVED | OTP__F_SHARED))) otp__node_payload_free(s, n);
    unsigned cls = (n->m.flags >> OTP__F_CLASS_SHIFT) & 0xff;
    if (otp__unlikely(cls == OTP__CLASS_BIG)) otp__node_free_big(n);
    else otp__mem_put(s, n, cls);
}

static OTP__COLD otp__node *otp__reserve_node(uint64_t from, uint64_t to, int tag, unsigned kind)
{
    otp__node *n = otp__reserve_take();
    if (!n) return NULL;
    n->to = to;
    n->m.tag = tag;
    n->m.flags = kind | OTP__CLASS_BIG << OTP__F_CLASS_SHIFT | OTP__F_RESERVE;
    n->m.from.id = from;
    n->m.ref.id = 0;
    n->m.size = 0;
    n->m.data = (char *)n + 64;
    return n;
}

/* A signal that has no way to fail: answers, and what takes back an earlier one. */
static otp__node *otp__node_sure(otp__sched *s, uint64_t from, uint64_t to, int tag, unsigned kind)
{
    otp__node *n = otp__node_new(s, from, to, tag, kind, 0);
    return otp__likely(n != NULL) ? n : otp__reserve_node(from, to, tag, kind);
}

/* Sends a signal without a payload. False when memory is out; the requests, which can tell it, leave the reserve alone. */
static bool otp__signal(otp__sched *s, uint64_t from, uint64_t to, unsigned kind, uint64_t ref)
{
    otp__proc *p = otp__find(to);
    if (otp__unlikely(otp__get(&otp__rt.slow))) otp__event(OTP_EVENT_SIGNAL, from, to, (int)kind, NULL);
    OTP__STEP(s);
    bool request = kind == OTP__K_LINK || kind == OTP__K_MONITOR;
    otp__node *n = request ? otp__node_new(s, from, to, 0, kind, 0) : otp__node_sure(s, from, to, 0, kind);
    if (!n) return false;
    n->m.ref.id = ref;
    if (!p || !otp__push(s, p, n)) otp__undeliverable(s, n);
    return true;
}

/* The payload of exit and down signals: a reason with its text behind it, and the name a monitor was made by. */
typedef struct otp__why { otp_reason r; const char *name; } otp__why;

static otp__node *otp__why_node(otp__sched *s, uint64_t from, uint64_t to, int tag, unsigned kind, const otp_reason *r,
                                const char *name)
{
    size_t text = r->text ? strlen(r->text) + 1 : 0, named = name ? strlen(name) + 1 : 0;
    otp__node *n = otp__node_new(s, from, to, tag, kind, sizeof(otp__why) + text + named);
    if (!n) return NULL;
    otp__why *w = (otp__why *)(uintptr_t)n->m.data;
    w->r = *r;
    w->name = NULL;
    if (text) w->r.text = memcpy(w + 1, r->text, text);
    if (named) w->name = memcpy((char *)(w + 1) + text, name, named);
    return n;
}

/* The same from the reserve; NULL when that is used up, too. A text is cut to what fits. */
static OTP__COLD otp__node *otp__why_reserve(uint64_t from, uint64_t to, int tag, unsigned kind, const otp_reason *r)
{
    otp__node *n = otp__reserve_node(from, to, tag, kind);
    if (!n) return NULL;
    otp__why *w = (otp__why *)(uintptr_t)n->m.data;
    w->r = *r;
    w->name = NULL;
    n->m.size = sizeof *w;
    if (r->text) {
        size_t room = OTP__RESERVE_BYTES - 64 - sizeof *w, text = strlen(r->text);
        if (text >= room) text = room - 1;
        char *copy = memcpy(w + 1, r->text, text);
        copy[text] = 0;
        w->r.text = copy;
        n->m.size += text + 1;
    }
    return n;
}

/* Sends an exit or down signal. When the reserve is used up as well, somebody would wait for ever: the program ends. */
static void otp__signal_why(otp__sched *s, uint64_t from, uint64_t to, unsigned kind, unsigned flags, uint64_t ref,
                            const otp_reason *r)
{
    otp__proc *p = otp__find(to);
    if (otp__unlikely(otp__get(&otp__rt.slow))) otp__event(OTP_EVENT_SIGNAL, from, to, (int)kind, NULL);
    if (!p) return;     /* exit and down signals ask for no answer */
    OTP__STEP(s);
    int tag = kind == OTP__K_DOWN ? OTP_DOWN : OTP_EXIT;
    otp__node *n = otp__why_node(s, from, to, tag, kind | flags, r, NULL);
    if (otp__unlikely(!n)) n = otp__why_reserve(from, to, tag, kind | flags, r);
    if (otp__unlikely(!n)) {
        otp__log(OTP_LOG_ERROR, "out of memory for an exit signal: giving up");
        OTP_ABORT();
        return;
    }
    n->m.ref.id = ref;
    if (!otp__push(s, p, n)) otp__node_free(s, n);
}

/* A node that its receiver will never take in: answered where it asks for an answer, and freed. */
static void otp__undeliverable(otp__sched *s, otp__node *n)
{
    otp_reason noproc = otp_reason_make(OTP_REASON_NOPROC, 0, NULL);
    uint64_t from = n->m.from.id, to = n->to, ref = n->m.ref.id;
    switch (n->m.flags & OTP__K_MASK) {
    case OTP__K_LINK: otp__signal_why(s, to, from, OTP__K_EXIT, OTP__F_LINKED | OTP__F_NOPROC, 0, &noproc); break;
    case OTP__K_UNLINK: (void)otp__signal(s, to, from, OTP__K_UNLINK_ACK, ref); break;
    case OTP__K_ASK:
        if (n->m.size) otp__survey_answer(n, NULL);     /* only those of otp_survey bring something along */
        else otp__signal_why(s, to, from, OTP__K_DOWN, 0, ref, &noproc);
        break;
    case OTP__K_MONITOR:
    case OTP__K_SUSPEND: otp__signal_why(s, to, from, OTP__K_DOWN, 0, ref, &noproc); break;
    case OTP__K_MSG:
        if (n->m.flags & OTP__F_CALL) otp__signal_why(s, to, from, OTP__K_DOWN, 0, ref, &noproc);
        break;
    default: break;
    }
    if (n->m.flags & OTP__F_COUNTED) {
        otp__proc *p = otp__slot_proc(otp__pid_slot(to));
        atomic_fetch_sub_explicit(&p->mq_count, 1, memory_order_relaxed);
    }
    otp__node_free(s, n);
}

/* -- 4.11 the door --------------------------------------------------------------------------------------
   >> door   Every function of the interface goes in and out. Between, T may use its P; outside (user code) the P can
   be taken from it: for good by the monitor when the process is stuck (the P goes to another thread), or for a
   moment by an idle scheduler that takes work.

   The handshake. T: in_rt = 1; [compiler barrier]; read steal.   Taker: CAS steal 0 -> ASKED; membarrier; read in_rt.
   1. The membarrier makes the other core behave as if a full fence stood at some point of its program order. If
      that point is before T's store, T's read of steal comes after the taker's CAS and sees ASKED. If it is after
      the store, the taker's read sees in_rt = 1. So never do both miss each other.
   2. Taker reads 1: CAS ASKED -> 0 and leave. T sees ASKED: CAS ASKED -> 0 and keep P. Either may win, harmlessly.
   3. Taker reads 0 (acquire, pairs with T's release on the way out: all T did to P is visible), then CAS ASKED -> GONE
      or BORROWED. If T entered meanwhile it has put 0 and the CAS fails. Otherwise P is the taker's, with all its data,
      and T, on its way in, sees GONE or BORROWED.
   4. BORROWED ends with a release store of 0, which T reads with acquire, whether it waited for it or finds it over:
      a whole loan may pass between two looks of T. GONE is ended by T itself, once it is a spare. So T's plain uses of
      P are ordered against the taker's in all cases.
   Checked by the models borrow*, replace and borrow_replace of tests/models/.
   Where there is no membarrier every entry pays a fence (OTP__STEAL_FENCE makes steal never 0). ThreadSanitizer
   does not know membarrier: there both sides use sequentially consistent operations. */

#if OTP__TSAN
#define OTP__DOOR memory_order_seq_cst
#define OTP__DOOR_LOOK memory_order_seq_cst
#else
#define OTP__DOOR memory_order_relaxed
#define OTP__DOOR_LOOK memory_order_acquire     /* step 4 */
#endif

static void otp__membarrier(void)
{
#if defined(OTP__LINUX) && !OTP__TSAN
    if (!otp__rt.fence) {
        (void)syscall(SYS_membarrier, 8 /* MEMBARRIER_CMD_PRIVATE_EXPEDITED */, 0, 0);
        return;
    }
#endif
    static atomic_uint fence;       /* a fence that ThreadSanitizer knows, too */
    (void)atomic_fetch_add_explicit(&fence, 0, memory_order_seq_cst);
}

static OTP__NOINLINE otp__thread *otp__in_slow(otp__thread *t)
{
    for (;;) {
        if (otp__rt.fence) otp__membarrier();
        unsigned v = otp__get_acq(&t->steal), kind = v & OTP__STEAL_MASK;
        if (kind == OTP__STEAL_NONE) return t;
        if (kind == OTP__STEAL_ASKED) {
            if (otp__cas(&t->steal, &v, v & OTP__STEAL_FENCE, memory_order_acq_rel)) return t;
        } else if (kind == OTP__STEAL_BORROWED) {
            otp__pause();
        } else {    /* gone: leave the process to whoever has a P, and become a spare */
            otp__stack *mine = t->cur->stack;
            t->action = OTP__ACT_YIELD;
#if OTP__TSAN
            __tsan_switch_to_fiber(t->native_fiber, 0);
#endif
#if OTP__ASAN
            __sanitizer_start_switch_fiber(&mine->fake, t->native_base, t->native_size);
#endif
            otp__ctx_swap(&mine->ctx, &t->native);
            otp__san_arrive(mine);
            return otp__self_thread();  /* the loop of some P went on here: in_rt is 1 */
        }
    }
}

OTP__INLINE otp__thread *otp__in(void)
{
    otp__thread *t = otp__self_thread();
    if (otp__unlikely(!t)) t = otp__guest_thread();
    atomic_store_explicit(&t->in_rt, 1, OTP__DOOR);
    atomic_signal_fence(memory_order_seq_cst);
    if (otp__unlikely(atomic_load_explicit(&t->steal, OTP__DOOR_LOOK) != 0)) t = otp__in_slow(t);
    return t;
}

/* In, when nothing is special: a process of ours, on its P, nobody traces, no run is deterministic. */
OTP__INLINE bool otp__in_fast(otp__thread *t)
{
    if (OTP__ASAN || otp__unlikely(!t)) return false;
    atomic_store_explicit(&t->in_rt, 1, OTP__DOOR);
    atomic_signal_fence(memory_order_seq_cst);
    return otp__likely(atomic_load_explicit(&t->steal, OTP__DOOR) == 0 && t->p && t->cur && !otp__get(&otp__rt.slow));
}

OTP__INLINE void otp__out(otp__thread *t)
{
    atomic_store_explicit(&t->in_rt, 0, OTP__TSAN ? memory_order_seq_cst : memory_order_release);
}

/* -- 4.12 loop ------------------------------------------------------------------------------------------
   >> loop   The loop runs on a leased stack. It calls a new process on that very stack; when the process blocks, the
   stack stays behind with it and the loop starts again on another. A suspended process is gone to by dropping the
   loop's own stack. Nothing is live across the call of a process but the stack's own handle k: thread and scheduler
   may be others afterwards. Who arrives parks who left: models loop* and blocking of tests/models/. */

OTP__INLINE void otp__trace_sched(otp__sched *s, otp__proc *p, bool in)
{
    const otp_trace_hooks *h = otp__get_acq(&otp__rt.trace);
    if (otp__unlikely(h != NULL)) {
        otp_pid pid = { otp__pid(p) };
        if (in && h->in) h->in(pid, s->id, h->arg);
        if (!in && h->out) h->out(pid, s->id, h->arg);
    }
}

/* What becomes of a process that left its stack: parked only now, with its context saved (4.10, step 3). */
static OTP__NOINLINE void otp__commit_slow(otp__sched *s, otp__proc *p)
{
    if (otp__unlikely(otp__get(&otp__rt.slow))) {
        otp__trace_sched(s, p, false);
        if (s->pend_act <= OTP__ACT_SIGWAIT) otp__event(OTP_EVENT_WAIT, otp__pid(p), 0, 0, NULL);
    }
    switch (s->pend_act) {
    case OTP__ACT_PARK:
    case OTP__ACT_SIGWAIT: {
        uintptr_t h = OTP__EMPTY;
        if (!otp__cas(&p->head, &h, s->pend_act, memory_order_release)) otp__make_runnable(s, p);
        return;
    }
    case OTP__ACT_JOB: {    /* its end is told, its job runs on; release: its context */
        unsigned runs = 0;
        if (!otp__cas(&p->ext->job->state, &runs, 2 /* orphan */, memory_order_acq_rel))
            otp__enqueue(s, p, OTP__Q_WOKEN);
        return;
    }
    default:
        otp__enqueue(s, p, OTP__Q_YIELDED);
    }
}

static OTP__NOINLINE void otp__periodic(otp__sched *s)
{
    if (s->main) {
        (void)otp__inbox_take(s);
        return;
    }
    (void)otp__inject_take(s);
    (void)otp__inbox_take(s);
    int64_t due = otp__get(&s->next_due);
    if (due != INT64_MAX) {
        int64_t now = otp__ms(otp__now(s));
        if (now >= due) otp__timers_run(s, now);
    }
    if (otp__get(&otp__rt.fd_waiters)) (void)otp__fd_poll(s, 0);
    if (s->stack_count > OTP__STACK_HOT) otp__stack_limit(s);
}

static OTP__NOINLINE void otp__attend(otp__sched *s)
{
    /* acquire: pairs with the release of who asks; what it wants is read after the flag is down */
    unsigned why = otp__get(&s->attn) ? atomic_exchange_explicit(&s->attn, 0, memory_order_acquire) : 0;
    if (otp__get(&s->want)) {
        otp__donate(s);
        if (otp__get(&s->want)) otp__put_rlx(&s->attn, OTP__ATTN_WANT);    /* not yet: look again next time */
    }
    if (why != OTP__ATTN_WANT) otp__periodic(s);
}

OTP__INLINE otp__proc *otp__pick(otp__sched *s)
{
    for (;;) {
        uint32_t tick = (uint32_t)otp__get(&s->slices);
        if (otp__unlikely((tick & 63) == 0) || otp__unlikely(otp__get(&s->attn))) otp__attend(s);
        otp__proc *p = otp__choose(s);
        if (otp__likely(p != NULL)) {
            if (otp__unlikely(otp__get(&s->len) >= 1 && otp__get(&otp__rt.nidle) != 0) &&
                tick - s->wake_tick >= s->wake_gap) {
                s->wake_tick = tick;    /* if the sleeper gets nothing, the next time is later; the monitor wakes too */
                s->wake_gap = s->wake_gap < 2048 ? s->wake_gap * 2 + 16 : 4096;
                otp__wake_for_work();
            }
            return p;
        }
        p = otp__idle(s);
        if (p) return p;
        if (otp__get(&otp__rt.stop) || (s->main && otp__self_thread()->quit)) return NULL;
    }
}

static void otp__proc_end(otp__thread *t, otp__proc *p, const otp_reason *why);

OTP__INLINE void otp__commit(otp__sched *s)
{
    otp__proc *p = s->pend;
    uintptr_t h = OTP__EMPTY;
    s->pend = NULL;
    if (otp__likely(s->pend_act <= OTP__ACT_SIGWAIT && !otp__get(&otp__rt.slow)) &&
        otp__cas(&p->head, &h, s->pend_act, memory_order_release))
        return;
    otp__commit_slow(s, p);
}

OTP__INLINE void otp__turn_begin(otp__proc *p)
{
    if (otp__unlikely(p->reds > 1u << 30)) {
        p->reds_base += p->reds;
        p->reds = 0;
    }
    p->turn = p->reds + OTP_REDUCTIONS;
}

/* What only tracing and the deterministic mode want at the begin of a turn. */
static OTP__NOINLINE void otp__slow_turn(otp__sched *s, otp__proc *p)
{
    if (otp__rt.director && otp__rt.det) p->turn = p->reds + 1;      /* each call is a point where it may end */
    else if (otp__rt.det) p->turn = p->reds + 1 + (uint32_t)(otp__rng_next(&s->rng) % 24);
    otp__trace_sched(s, p, true);
}

static OTP__NOINLINE void otp__loop(void *stack)
{
    otp__stack *k = stack;
    otp__san_arrive(NULL);
    for (;;) {
        otp__thread *t = otp__self_thread();
        otp__sched *s = t->p;
        t->stack = k;
        if (otp__unlikely(s->odd != NULL && s->odd != k)) {
            otp__stack_spill(s, s->odd);
            s->odd = NULL;
        }
        if (s->pend) {
            otp__commit(s);
        }
        otp__proc *p = s->start;
        if (otp__likely(p == NULL)) {
            p = otp__pick(s);
            if (otp__unlikely(p == NULL)) {     /* the runtime stops, or otp_poll has done its turns */
                otp__stack_put(s, k);
                t->action = OTP__ACT_NONE;
#if OTP__TSAN
                __tsan_func_exit();
                __tsan_switch_to_fiber(t->native_fiber, 0);
#endif
#if OTP__ASAN
                __sanitizer_start_switch_fiber(NULL, t->native_base, t->native_size);
#endif
                otp__ctx_go(&t->native);
            }
        } else {
            s->start = NULL;
        }
        OTP__CHECK(otp__get(&p->head) != OTP__PARKED);
        t->cur = p;
        p->thread = t;
        otp__put_rlx(&s->slices, otp__get(&s->slices) + 1);
        otp__turn_begin(p);
        if (otp__unlikely(otp__get(&otp__rt.slow))) otp__slow_turn(s, p);
        otp__stack *its = p->stack;
        if (its) {
            otp__stack_put(s, k);
#if OTP__TSAN
            __tsan_func_exit();     /* this loop's frame is never returned from */
#endif
            otp__san_leave(NULL, its);
            otp__ctx_go(&its->ctx);
        }
        size_t size = otp__unlikely(p->has & OTP__HAS_BIG_STACK) ? p->ext->stack_size : otp__rt.opts.stack_size;
        if (otp__unlikely(k->size != size)) {       /* it wants another size, or the last one did */
            otp__stack *other = size == otp__rt.opts.stack_size ? otp__stack_take(s) : otp__stack_new(size);
            if (!other) {
                p->stack = k;
                otp_reason why = otp_reason_make(OTP_REASON_SYSTEM_LIMIT, 0, "no memory for a stack");
                otp__proc_end(t, p, &why);
                continue;
            }
#if OTP__TSAN
            if (!other->fiber) other->fiber = __tsan_create_fiber(0);
#endif
            s->start = p;
            otp__stack_put(s, k);
            otp__stack *old = k;
            otp__san_leave(NULL, other);
            (void)old;
            otp__ctx_go_fresh(otp__stack_top(other), otp__loop, other);
        }
        p->stack = k;
        if ((p->flags & OTP__P_HANDLER) || otp__unlikely(p->has & OTP__HAS_ASLEEP)) {
            otp__out(t);
            otp__enter(p->flags & OTP__P_HANDLER ? otp__handler_run : otp__hibernated, p);
            t = otp__in();
            p = t->cur;
            s = t->p;
            if (otp__likely(p->act != OTP__ACT_DONE)) {     /* between messages it has no stack */
                p->stack = NULL;
                s->pend = p;
                s->pend_act = p->act;
                t->cur = NULL;
                continue;
            }
        } else {
            otp_fn *fn = p->run.fn;
            void *arg = p->arg;
            otp__out(t);
            otp__enter(fn, arg);
            t = otp__in();
            p = t->cur;
        }
        otp_reason why = { OTP_REASON_NORMAL, 0, 0, NULL };
        otp__proc_end(t, p, &why);
    }
}

/* Leaves the calling process's stack to it and goes on in the loop, which does `act` with the process. Returns when
   somebody has it run again, perhaps on another thread. */
/* A function that suspends, and goes back to its caller by a jump. The processor guesses where a `ret` leads from the
   calls that it saw last: those of the process that ran before, so that the first `ret` to the code of another one is
   always guessed wrong. A jump is guessed by what led to it. Costs 4 ns a switch less, measured with a pair. */
#if OTP__ASM && defined(__x86_64__) && defined(__ELF__) && !OTP__TSAN && !OTP__ASAN
#if defined(__CET__) && (__CET__ & 1)
#define OTP__NOTRACK "notrack "
#else
#define OTP__NOTRACK ""
#endif
#define OTP__BACK_BY_JUMP(type, name, params)                                                               \
    __attribute__((noinline, used, visibility("hidden"))) type name##_body params;                          \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wunused-parameter\"")                 \
    __attribute__((naked, noinline, no_instrument_function)) static type name params                        \
    {                                                                                                       \
        __asm__("pushq %rbp\n\t" OTP__CFI(".cfi_adjust_cfa_offset 8\n\t.cfi_offset rbp, -16\n\t")           \
                "movq %rsp, %rbp\n\tcall " #name "_body\n\tpopq %rbp\n\t"                                   \
                OTP__CFI(".cfi_adjust_cfa_offset -8\n\t.cfi_restore rbp\n\t")                               \
                "popq %rcx\n\t" OTP__CFI(".cfi_adjust_cfa_offset -8\n\t.cfi_register rip, rcx\n\t")         \
                OTP__NOTRACK "jmp *%rcx");                                                                  \
    }                                                                                                       \
    _Pragma("GCC diagnostic pop")                                                                           \
    type name##_body params
#else
#define OTP__BACK_BY_JUMP(type, name, params) static OTP__NOINLINE type name params
#endif

OTP__INLINE otp__thread *otp__suspend(otp__thread *t, unsigned act)
{
    otp__sched *s = t->p;
    otp__proc *p = t->cur;
    otp__stack *mine = p->stack;
    OTP__CHECK(mine && otp__get(&t->in_rt) && !s->pend);
    otp__proc *next = otp__get(&s->run_next);
    uint64_t slices = otp__get(&s->slices);
    if (otp__likely(next && next->stack && (slices & 63) && ++s->chain < 64 && !s->urgent && !otp__get(&otp__rt.slow) &&
                    !otp__get(&s->attn))) {
        /* straight to the process that the loop would choose; who arrives there does what the loop would do first */
        otp__put_rlx(&s->run_next, NULL);
        otp__put_rlx(&s->slices, slices + 1);
        s->pend = p;
        s->pend_act = (uint8_t)act;
        t->cur = next;
        next->thread = t;
        otp__turn_begin(next);
        otp__san_leave(mine, next->stack);
        otp__ctx_swap(&mine->ctx, &next->stack->ctx);
        otp__san_arrive(mine);
        t = otp__self_thread();
        s = t->p;
        if (otp__likely(s->pend != NULL)) otp__commit(s);
        return t;
    }
    otp__stack *k = otp__stack_take(s);
    if (otp__unlikely(!k)) {
        otp_reason why = otp_reason_make(OTP_REASON_SYSTEM_LIMIT, 0, "no memory for a stack");
        otp__exit_now(t, &why);
    }
    s->pend = p;
    s->pend_act = (uint8_t)act;
    otp__san_leave(mine, k);
    otp__ctx_fresh(&mine->ctx, otp__stack_top(k), otp__loop, k);
    otp__san_arrive(mine);
    t = otp__self_thread();
    s = t->p;
    if (s->pend) otp__commit(s);
    return t;
}

static OTP__NOINLINE otp__thread *otp__suspend_yield(otp__thread *t) { return otp__suspend(t, OTP__ACT_YIELD); }

static otp__thread *otp__take_in(otp__thread *t);
OTP__INLINE bool otp__arrived(otp__proc *p) { return p->handed != NULL || otp__get(&p->head) != OTP__EMPTY; }

/* The process has used up its turn. */
static OTP__NOINLINE otp__thread *otp__turn_over(otp__thread *t)
{
    otp__proc *p = t->cur;
    if (!t->p || (p->flags & OTP__P_GUEST)) {   /* a guest's turn never ends */
        p->reds_base += p->reds;
        p->reds = 0;
        p->turn = UINT32_MAX;
        return t;
    }
    otp__sched *s = t->p;
    if (otp__unlikely(otp__rt.det && otp__rt.director)) return otp__directed_turn(t, OTP_POINT_CALL);
    if (!otp__rt.det) {
        otp__periodic(s);
        if (otp__unlikely(otp__get(&s->attn))) otp__attend(s);
    }
    if (otp__rt.det || otp__get(&s->len) != 0 || otp__get(&s->run_next)) t = otp__suspend_yield(t);
    else {
        otp__put_rlx(&s->slices, otp__get(&s->slices) + 1);
            otp__turn_begin(p);
    }
    if (otp__arrived(p) && (!(p->flags & OTP__P_EXITING) || (p->has & OTP__HAS_TERMINATE))) t = otp__take_in(t);
    return t;
}

/* Counts n reductions; true when the turn is over. */
OTP__INLINE otp__thread *otp__count(otp__thread *t, int n)
{
    otp__proc *p = t->cur;
    if (otp__likely(p != NULL) && otp__unlikely((p->reds += (unsigned)n) >= p->turn)) return otp__turn_over(t);
    return t;
}

/* OTP_PREEMPT. Compilers put a call of __sanitizer_cov_trace_pc() into every edge of the files that are compiled with
   -fsanitize-coverage=trace-pc. It only counts, in a thread-local: that is right on any thread, in signal handlers and
   before the start. When the count is used up it is looked whether a process may be interrupted here.
   1. in_rt is 0 on this thread: so this is user code, called by the process, or by a signal handler.
   2. The frame is on the process's own stack: no handler on an alternate stack, no fibre of the user's.
   3. No signal is blocked that this thread does not always block: no signal handler, and no section that the user
      protects against them. A switch would take the mask along to other processes.
   Then it is as if the process called otp_bump_reductions() here. This file itself must not be instrumented: between
   otp__self_thread() and in_rt = 1 an edge would move the process to another thread. clang leaves it out by the pragma
   in 4.1; with gcc otp_start() notices it, and preemption is off. */
#ifdef OTP_PREEMPT
#define OTP__EDGES 4096             /* edges between two looks */
#define OTP__EDGES_PER_REDUCTION 16

#if defined(__ELF__)
__attribute__((tls_model("initial-exec")))
#endif
static _Thread_local int otp__edges;
static bool otp__instrumented;      /* this file is; set at a start */

void __sanitizer_cov_trace_pc(void);

/* Whether this thread blocks no signal that it does not always block. */
OTP__NO_EDGES static bool otp__mask_usual(const otp__thread *t)
{
    sigset_t now;
    (void)sigemptyset(&now);
    if (pthread_sigmask(SIG_BLOCK, NULL, &now) != 0) return false;
    for (int sig = 1; sig < 64; sig++)
        if (sigismember(&now, sig) == 1 && sigismember(&t->mask, sig) != 1) return false;
    return true;
}

/* Not inlined: the address of errno is read anew, on the thread that it is now. */
OTP__NO_EDGES static OTP__NOINLINE void otp__errno_put(int e)
{
    __asm__ volatile("" : : : "memory");
    errno = e;
}

OTP__NO_EDGES static OTP__NOINLINE void otp__preempt(void)
{
    otp__edges = OTP__EDGES;
    otp__thread *t = otp__self_thread();
    otp__proc *p = t ? t->cur : NULL;
    if (!p || otp__get(&t->in_rt) || p->calm || (p->flags & OTP__P_GUEST) || otp__instrumented) return;
    p->reds += OTP__EDGES / OTP__EDGES_PER_REDUCTION;
    if (otp__likely(p->reds < p->turn)) return;
    const char *here = __builtin_frame_address(0);
    otp__stack *k = p->stack;
    if (!k || here < k->base || here > (const char *)k || !otp__mask_usual(t)) return;
    int e = errno;
    t = otp__in();
    t = otp__count(t, 0);
    otp__out(t);
    otp__errno_put(e);
}

OTP__NO_EDGES void __sanitizer_cov_trace_pc(void)
{
    if (otp__unlikely(--otp__edges < 0)) otp__preempt();
}

/* An edge of this file. */
static OTP__NOINLINE void otp__edge_probe(void) { __asm__ volatile("" : : : "memory"); }

OTP__NO_EDGES static void otp__preempt_start(void)
{
    volatile int *edges = &otp__edges;
    *edges = OTP__EDGES;
    otp__edge_probe();
    otp__instrumented = *edges != OTP__EDGES;
    if (otp__instrumented)
        otp__log(OTP_LOG_WARNING, "OTP_PREEMPT is off: the file with OTP_IMPLEMENTATION must be compiled without "
                                  "-fsanitize-coverage");
}

static void otp__calm(otp__proc *p, int by) { p->calm = (uint8_t)(p->calm + by); }
static void otp__mask_note(otp__thread *t)
{
    (void)sigemptyset(&t->mask);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &t->mask);
}
#else
static void otp__preempt_start(void) { }
static void otp__calm(otp__proc *p, int by) { (void)p, (void)by; }
static void otp__mask_note(otp__thread *t) { (void)t; }
#endif

/* -- 4.13 timers ----------------------------------------------------------------------------------------
   >> timer   A hashed hierarchical wheel per P, 1 ms a slot. A timer's state word says generation and ARMED, FIRED or
   CANCELLED; only the winner of the CAS away from ARMED may act on it, so a cancel from another P that succeeds means
   that the message never comes. Only the wheel's P unlinks: what others cancelled is swept when it is half of the
   wheel. Timers cascade to the front of a slot, since they are older than what was put there directly: equal
   deadlines fire in the order of their start. Who wins is checked by the models timer* of tests/models/. */

#define OTP__TIMER_REF ((uint64_t)1 << 63)
#define OTP__BY_NAME UINT64_MAX         /* otp__timer.to: the name is looked up when it fires */

static void otp__wheel_init(otp__wheel *w, int64_t now)
{
    memset(w, 0, sizeof *w);
    w->now = now;
    w->sweep_at = 4096;
    for (int i = 0; i < OTP__WHEEL0; i++) w->slot0[i].next = w->slot0[i].prev = &w->slot0[i];
    for (int l = 0; l < OTP__LEVELS; l++)
        for (int i = 0; i < OTP__WHEEL; i++) w->slot[l][i].next = w->slot[l][i].prev = &w->slot[l][i];
    w->far.next = w->far.prev = &w->far;
    w->soon.next = w->soon.prev = &w->soon;
}

#define OTP__WHEEL_SLOTS (OTP__WHEEL0 + OTP__LEVELS * OTP__WHEEL + 2)
static otp__tlink *otp__wheel_slot(otp__wheel *w, int i)
{
    if (i < OTP__WHEEL0) return &w->slot0[i];
    i -= OTP__WHEEL0;
    if (i < OTP__LEVELS * OTP__WHEEL) return &w->slot[i / OTP__WHEEL][i % OTP__WHEEL];
    return i == OTP__LEVELS * OTP__WHEEL ? &w->far : &w->soon;
}

static otp__timer *otp__timer_at(uint32_t index)
{
    if (index >= otp__get_acq(&otp__rt.timer_slots)) return NULL;
    char *slab = otp__get_acq(&otp__rt.timer_slabs[index / OTP__TIMERS_PER_SLAB]);
    return (otp__timer *)(void *)(slab + (index % OTP__TIMERS_PER_SLAB) * OTP__TIMER_BYTES);
}

static OTP__NOINLINE otp__timer *otp__timer_carve(uint32_t want)
{
    otp__timer *first = NULL;
    otp__lock(&otp__rt.slot_lock);
    for (uint32_t i = 0; i < want; i++) {
        uint32_t index = otp__get(&otp__rt.timer_slots);
        if (index / OTP__TIMERS_PER_SLAB >= OTP__MAX_SLABS) break;
        if (index % OTP__TIMERS_PER_SLAB == 0) {
            char *slab = otp__map_slab(true);
            if (!slab) break;
            otp__put_rel(&otp__rt.timer_slabs[index / OTP__TIMERS_PER_SLAB], slab);
        }
        otp__put_rel(&otp__rt.timer_slots, index + 1);
        otp__timer *tm = otp__timer_at(index);
        tm->index = index;
        tm->link.next = (otp__tlink *)first;
        first = tm;
    }
    otp__unlock(&otp__rt.slot_lock);
    return first;
}

OTP__INLINE otp__timer *otp__timer_new(otp__sched *s)
{
    otp__timer *tm;
    if (otp__refused("timer")) return NULL;
    if (otp__unlikely(!s)) {
        otp__lock(&otp__rt.guest_lock);
        tm = otp__rt.guest_timers_free;
        if (tm) otp__rt.guest_timers_free = (otp__timer *)(void *)tm->link.next;
        otp__unlock(&otp__rt.guest_lock);
        return tm ? tm : otp__timer_carve(1);
    }
    tm = s->free_timers;
    if (otp__unlikely(!tm) && !(tm = otp__timer_carve(64))) return NULL;
    s->free_timers = (otp__timer *)(void *)tm->link.next;
    return tm;
}

static void otp__timer_free(otp__sched *s, otp__timer *tm)
{
    if (tm->node) otp__node_free(s, tm->node);
    if (tm->more) otp__delete(s, tm->more, sizeof *tm->more);
    tm->node = NULL;
    tm->more = NULL;
    uint32_t gen = (otp__get(&tm->state) >> 2) + 1;
    otp__put_rel(&tm->state, gen << 2 | OTP__TIMER_FREE);
    if (gen >= (1u << 30) - 1) return;      /* retired */
    tm->link.next = (otp__tlink *)s->free_timers;
    s->free_timers = tm;
}

OTP__INLINE void otp__tlink_remove(otp__tlink *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
}

static void otp__wheel_place(otp__wheel *w, otp__timer *tm, bool front)
{
    int64_t due = otp__get(&tm->due), delta = due - w->now;
    otp__tlink *slot = &w->far;
    if (otp__unlikely(delta < 0)) {
        for (slot = &w->soon; slot->prev != &w->soon && otp__get(&((otp__timer *)(void *)slot->prev)->due) > due;)
            slot = slot->prev;
        front = false;
    } else if (delta < OTP__WHEEL0) {
        unsigned i = (unsigned)due & (OTP__WHEEL0 - 1);
        slot = &w->slot0[i];
        w->bits0[i / 64] |= (uint64_t)1 << (i % 64);
    } else {
        for (int l = 0; l < OTP__LEVELS; l++) {
            int shift = 8 + 6 * l;
            if (delta >= (int64_t)1 << (shift + 6)) continue;
            unsigned i = (unsigned)(due >> shift) & (OTP__WHEEL - 1);
            slot = &w->slot[l][i];
            w->bits[l] |= (uint64_t)1 << i;
            break;
        }
    }
    otp__tlink *before = front ? slot : slot->prev, *after = before->next;
    tm->link.prev = before;
    tm->link.next = after;
    before->next = &tm->link;
    after->prev = &tm->link;
}

static void otp__wheel_cascade(otp__wheel *w, otp__tlink *slot)
{
    otp__tlink *l = slot->prev;
    if (l == slot) return;
    slot->prev->next = NULL;
    slot->next->prev = NULL;
    slot->next = slot->prev = slot;
    for (otp__tlink *prev; l; l = prev) {   /* last first, each to the front: the order stays */
        prev = l->prev;
        otp__wheel_place(w, (otp__timer *)(void *)l, true);
    }
}

/* The earliest slot, from w->now on, that has something to do: exact in the first level, else when it cascades. */
static int64_t otp__wheel_next_slot(const otp__wheel *w)
{
    int64_t best = INT64_MAX;
    for (int n = 0; n < OTP__WHEEL0;) {
        unsigned i = (unsigned)(w->now + n) & (OTP__WHEEL0 - 1);
        uint64_t bits = w->bits0[i / 64] >> (i % 64);
        if (bits) {
            best = w->now + n + __builtin_ctzll(bits);
            break;
        }
        n += 64 - (int)(i % 64);
    }
    for (int l = 0; l < OTP__LEVELS; l++) {
        if (!w->bits[l]) continue;
        int shift = 8 + 6 * l;
        int64_t base = w->now >> shift;
        for (int k = 0; k <= OTP__WHEEL; k++)
            if (w->bits[l] >> ((base + k) & (OTP__WHEEL - 1)) & 1) {
                int64_t at = (base + k) << shift;
                if (at < w->now) continue;      /* this round's slot has cascaded: it is the next round's */
                if (at < best) best = at;
                break;
            }
    }
    if (w->far.next != &w->far) {
        int shift = 8 + 6 * OTP__LEVELS;
        int64_t at = ((w->now + ((int64_t)1 << shift) - 1) >> shift) << shift;
        if (at < best) best = at;
    }
    return best;
}

/* The earliest time at which something may be due. */
static int64_t otp__wheel_next(const otp__wheel *w)
{
    if (w->count == 0) return INT64_MAX;
    if (w->soon.next != &w->soon) return otp__get(&((otp__timer *)(void *)w->soon.next)->due);
    return otp__wheel_next_slot(w);
}

static bool otp__timer_dead(uint64_t to)
{
    otp__proc *p = to == OTP__BY_NAME ? NULL : otp__find(to);
    return to != OTP__BY_NAME && (!p || otp__get_acq(&p->head) == OTP__CLOSED);
}

static void otp__timer_sweep(otp__sched *s)
{
    otp__wheel *w = &s->wheel;
    size_t left = 0;
    for (int i = 0; i < OTP__WHEEL_SLOTS; i++) {
        otp__tlink *slot = otp__wheel_slot(w, i);
        for (otp__tlink *l = slot->next, *next; l != slot; l = next) {
            next = l->next;
            otp__timer *tm = (otp__timer *)(void *)l;
            unsigned state = otp__get_acq(&tm->state);
            bool dead = otp__timer_dead(otp__get(&tm->to));
            if (dead && (state & 3) == OTP__TIMER_ARMED)
                dead = otp__cas(&tm->state, &state, (state & ~3u) | OTP__TIMER_CANCELLED, memory_order_acq_rel);
            if (!dead && (state & 3) != OTP__TIMER_CANCELLED) {
                left++;
                continue;
            }
            otp__tlink_remove(l);
            otp__timer_free(s, tm);
        }
    }
    w->count = left;
    otp__put_rlx(&w->cancelled, 0);
    w->sweep_at = left * 2 < 4096 ? 4096 : left * 2;
}

/* now in ns, 0: to be read if it is needed (9 ns). */
static void otp__timer_insert(otp__sched *s, otp__timer *tm, int64_t now)
{
    otp__wheel *w = &s->wheel;
    if ((otp__get_acq(&tm->state) & 3) == OTP__TIMER_CANCELLED) {   /* a guest's, cancelled on its way here */
        otp__timer_free(s, tm);
        return;
    }
    if (w->count == 0) w->now = otp__ms(now ? now : otp__now(s));
    otp__put_rlx(&tm->owner, s->id);
    otp__wheel_place(w, tm, false);
    int64_t due = otp__get(&tm->due);
    if (due < otp__get(&s->next_due)) otp__put_rlx(&s->next_due, due);
    unsigned cancelled = otp__get(&w->cancelled);
    if (otp__unlikely(++w->count >= w->sweep_at || (cancelled > 1024 && cancelled > w->count / 2))) otp__timer_sweep(s);
}

/* From a thread without a wheel: some P will put it into its own. */
static void otp__timer_inject(otp__timer *tm)
{
    otp__put_rlx(&tm->owner, -1);
    otp__lock(&otp__rt.inject_lock);
    tm->link.next = (otp__tlink *)otp__rt.inject_timers;
    otp__rt.inject_timers = tm;
    otp__put_seq(&otp__rt.inject_count, otp__get(&otp__rt.inject_count) + 1);
    otp__unlock(&otp__rt.inject_lock);
    if (otp__outside_in() && otp__get_seq(&otp__rt.nidle)) otp__wake_for_work();
    otp__outside_out();
}

OTP__INLINE int64_t otp__due_ms(int64_t ns) { return (ns + 999999) / 1000000; }

/* Has process p, which is the caller's, look again at `deadline` (ns) or soon after. At most one entry per process
   is armed unless an earlier one is needed; entries are never cancelled, a late one only hints. */
/* False when memory is out: then the caller must not park, but look again and again. */
static OTP__NOINLINE bool otp__arm_slow(otp__sched *s, otp__proc *p, int64_t deadline, int64_t now)
{
    otp__timer *tm = otp__timer_new(s);
    if (otp__unlikely(!tm)) {
        if (otp__rt.det) s->vnow += 1000000;    /* virtual time would stand still */
        return false;
    }
    otp__put_rlx(&tm->due, otp__due_ms(deadline));
    otp__put_rlx(&tm->to, otp__pid(p));
    tm->node = NULL;
    tm->more = NULL;
    otp__put_rel(&tm->state, (otp__get(&tm->state) & ~3u) | OTP__TIMER_ARMED);
    p->armed = deadline;
    if (otp__unlikely(s->main)) otp__timer_inject(tm);
    else otp__timer_insert(s, tm, now);
    return true;
}

OTP__INLINE bool otp__arm(otp__sched *s, otp__proc *p, int64_t deadline, int64_t now)
{
    if (p->armed > now && p->armed <= deadline && !otp__rt.det) return true;
    return otp__arm_slow(s, p, deadline, now);
}

static int otp__name_find(const char *name, uint64_t *pid);
static void otp__deliver(otp__sched *s, uint64_t to, otp__node *n);

/* Deterministic mode: nobody would notice it, so the clock need not stop there. */
static bool otp__timer_stale(otp__timer *tm, uint64_t to)
{
    if (otp__timer_dead(to)) return true;
    otp__proc *p = otp__find(to);
    return !tm->node && (!(otp__get(&p->waits) & OTP__TIMED) || otp__due_ms(p->armed) != otp__get(&tm->due));
}

static void otp__timer_fire(otp__sched *s, otp__timer *tm)
{
    unsigned state = otp__get_acq(&tm->state);
    if ((state & 3) != OTP__TIMER_ARMED ||
        !otp__cas(&tm->state, &state, (state & ~3u) | OTP__TIMER_FIRED, memory_order_acq_rel)) {
        /* one that was cancelled on its way here was not counted; only we count down */
        if (otp__get(&s->wheel.cancelled)) atomic_fetch_sub_explicit(&s->wheel.cancelled, 1, memory_order_relaxed);
        otp__timer_free(s, tm);
        return;
    }
    uint64_t to = otp__get(&tm->to);
    if (otp__rt.det) {
        if (otp__timer_stale(tm, to)) {
            otp__timer_free(s, tm);
            return;
        }
        int64_t ns = otp__get(&tm->due) * 1000000;
        if (ns > s->vnow) s->vnow = ns;
        otp__event(OTP_EVENT_TIMER, to == OTP__BY_NAME ? 0 : to, 0, tm->node ? tm->node->m.tag : OTP_AFTER, NULL);
    }
    if (!tm->node) {
        otp__hint(s, to);
        otp__timer_free(s, tm);
        return;
    }
    otp__node *n = tm->node;
    otp__tmore *more = tm->more;
    if (to == OTP__BY_NAME && otp__name_find(more->name, &to) < 0) to = 0;
    n->to = to;
    if (more && more->interval > 0 && (more->name[0] || otp__find(to))) {
        otp__node *copy = otp__node_new(s, n->m.from.id, to, n->m.tag, OTP__K_MSG, n->m.size);
        if (copy) {
            if (n->m.size) memcpy((char *)(uintptr_t)copy->m.data, n->m.data, n->m.size);
            copy->m.ref = n->m.ref;
            otp__deliver(s, to, copy);
        }
        otp__put_rlx(&tm->due, otp__get(&tm->due) + more->interval);    /* from the deadline, not from now: no drift */
        otp__put_rel(&tm->state, (state & ~3u) | OTP__TIMER_ARMED);
        s->wheel.count++;
        otp__wheel_place(&s->wheel, tm, false);
        return;
    }
    tm->node = NULL;
    otp__timer_free(s, tm);
    otp__deliver(s, to, n);
}

/* Fires a list that has been taken out of its slot. */
static void otp__timers_fire(otp__sched *s, otp__tlink *first)
{
    for (otp__tlink *next; first; first = next) {
        next = first->next;
        s->wheel.count--;
        otp__timer_fire(s, (otp__timer *)(void *)first);
    }
}

static otp__tlink *otp__tlink_take(otp__tlink *slot)
{
    otp__tlink *first = slot->next;
    if (first == slot) return NULL;
    slot->prev->next = NULL;
    slot->next = slot->prev = slot;
    return first;
}

/* Fires what is due at `now` (ms). What is started while these fire waits for the next look. */
static OTP__NOINLINE void otp__timers_run(otp__sched *s, int64_t now)
{
    otp__wheel *w = &s->wheel;
    s->no_next = true;      /* those that wake go to the end of the line */
    otp__tlink *last = &w->soon;
    while (last->next != &w->soon && otp__get(&((otp__timer *)(void *)last->next)->due) <= now) last = last->next;
    if (last != &w->soon) {
        otp__tlink *first = w->soon.next, *rest = last->next;
        w->soon.next = rest;
        rest->prev = &w->soon;
        last->next = NULL;
        otp__timers_fire(s, first);
    }
    while (w->now <= now && w->count > 0) {
        unsigned i = (unsigned)w->now & (OTP__WHEEL0 - 1);
        if (i == 0) {
            int l = 0;
            for (; l < OTP__LEVELS; l++) {
                unsigned j = (unsigned)(w->now >> (8 + 6 * l)) & (OTP__WHEEL - 1);
                w->bits[l] &= ~((uint64_t)1 << j);
                otp__wheel_cascade(w, &w->slot[l][j]);
                if (j != 0) break;
            }
            if (l == OTP__LEVELS) otp__wheel_cascade(w, &w->far);
        }
        if (!(w->bits0[i / 64] >> (i % 64) & 1)) { /* to the next slot in use, or the next cascade that brings some */
            w->now++;
            int64_t next = otp__wheel_next_slot(w);
            w->now = next > now ? now + 1 : next;
            continue;
        }
        w->bits0[i / 64] &= ~((uint64_t)1 << (i % 64));
        otp__tlink *first = otp__tlink_take(&w->slot0[i]);
        w->now++;
        otp__timers_fire(s, first);
    }
    s->no_next = otp__rt.det;
    if (w->count == 0) w->now = now;
    otp__put_rlx(&s->next_due, otp__wheel_next(w));
}

/* -- 4.14 relations -------------------------------------------------------------------------------------
   >> rel   What one process has to do with others, in one table per process, which exists from the first entry on.
   Entries stand in a dense array in an order that depends only on what was done (so that runs repeat); a hash of
   positions is added when there are more than eight. Only the owner touches it.

   Links: LINK(A) sets the entry on both sides; UNLINK carries an id and is answered by UNLINK_ACK, and until the answer
   comes the side that unlinked ignores LINK, UNLINK and exit signals of the other side, since they were sent before
   it knew. Thus both sides agree in the end, whatever crosses on the way. */

enum { OTP__R_LINK, OTP__R_MON_OUT, OTP__R_MON_IN, OTP__R_ALIAS, OTP__R_REQ_OUT, OTP__R_REQ_IN, OTP__R_SUSPEND };

#define OTP__KEY_PID ((uint64_t)1 << 62)        /* links: key is the pid | this; everything else: a reference */
#define OTP__KEY_SUSPEND ((uint64_t)3 << 61)

typedef struct otp__ent {
    uint64_t key;
    uint64_t who;
    char *name;             /* monitors by name */
    int tag;
    uint8_t kind;
    uint8_t mode;           /* otp_alias_mode */
    uint16_t count;         /* suspended so often; links: 1 while linked (0: only waiting for UNLINK_ACK) */
    uint64_t ack;           /* links: the id of the unlink under way */
} otp__ent;

struct otp__rel { uint32_t count, cap, mask; uint32_t *hash; otp__ent e[]; };

#define OTP__REL_FIRST 3u
#define OTP__REL_PLAIN 8u

static size_t otp__rel_bytes(uint32_t cap) { return sizeof(otp__rel) + cap * sizeof(otp__ent); }
OTP__INLINE uint32_t otp__rel_hash(uint64_t key) { return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32); }

static otp__ent *otp__rel_find(const otp__proc *p, uint64_t key)
{
    otp__rel *r = p->rel;
    if (!r) return NULL;
    if (!r->hash) {
        for (uint32_t i = 0; i < r->count; i++)
            if (r->e[i].key == key) return &r->e[i];
        return NULL;
    }
    for (uint32_t h = otp__rel_hash(key);; h++) {
        uint32_t at = r->hash[h & r->mask];
        if (at == 0) return NULL;
        if (r->e[at - 1].key == key) return &r->e[at - 1];
    }
}

static uint32_t otp__rel_where(const otp__rel *r, uint32_t pos)
{
    uint32_t h = otp__rel_hash(r->e[pos].key);
    while (r->hash[h & r->mask] != pos + 1) h++;
    return h & r->mask;
}

static void otp__rel_hash_add(otp__rel *r, uint32_t pos)
{
    uint32_t h = otp__rel_hash(r->e[pos].key);
    while (r->hash[h & r->mask] != 0) h++;
    r->hash[h & r->mask] = pos + 1;
}

/* A new entry, zeroed but for its key; NULL when memory is out. Moves the other entries. */
static otp__ent *otp__rel_add(otp__sched *s, otp__proc *p, uint64_t key, int kind)
{
    otp__rel *r = p->rel;
    if (!r || r->count == r->cap) {
        uint32_t cap = r ? r->cap * 2 : OTP__REL_FIRST;
        otp__rel *bigger = otp__new(s, otp__rel_bytes(cap));
        if (!bigger) return NULL;
        uint32_t *hash = NULL, slots = 16;
        if (cap > OTP__REL_PLAIN) {
            while (slots < cap * 2) slots *= 2;
            hash = otp__new(s, slots * sizeof *hash);
            if (!hash) {
                otp__delete(s, bigger, otp__rel_bytes(cap));
                return NULL;
            }
            memset(hash, 0, slots * sizeof *hash);
        }
        bigger->count = 0;
        if (r) {
            memcpy(bigger, r, otp__rel_bytes(r->count));
            if (r->hash) otp__delete(s, r->hash, ((size_t)r->mask + 1) * sizeof *hash);
            otp__delete(s, r, otp__rel_bytes(r->cap));
        }
        r = bigger;
        r->cap = cap;
        r->mask = slots - 1;
        r->hash = hash;
        for (uint32_t i = 0; hash && i < r->count; i++) otp__rel_hash_add(r, i);
        p->rel = r;
        p->has |= OTP__HAS_REL;
    }
    otp__ent *e = &r->e[r->count++];
    memset(e, 0, sizeof *e);
    e->key = key;
    e->kind = (uint8_t)kind;
    if (r->hash) otp__rel_hash_add(r, r->count - 1);
    return e;
}

static void otp__rel_free(otp__sched *s, otp__proc *p)
{
    otp__rel *r = p->rel;
    if (r->hash) otp__delete(s, r->hash, ((size_t)r->mask + 1) * sizeof *r->hash);
    otp__delete(s, r, otp__rel_bytes(r->cap));
    p->rel = NULL;
    p->has &= (uint16_t)~OTP__HAS_REL;
}

static void otp__rel_remove(otp__sched *s, otp__proc *p, otp__ent *e)
{
    otp__rel *r = p->rel;
    uint32_t pos = (uint32_t)(e - r->e), last = r->count - 1;
    if (e->name) otp__delete(s, e->name, strlen(e->name) + 1);
    if (r->hash) {
        uint32_t hole = otp__rel_where(r, pos);
        if (pos != last) r->hash[otp__rel_where(r, last)] = pos + 1;
        r->hash[hole] = 0;
        if (pos != last) r->e[pos] = r->e[last];
        r->count = last;
        for (uint32_t i = (hole + 1) & r->mask; r->hash[i] != 0; i = (i + 1) & r->mask) {  /* close the gap */
            uint32_t home = otp__rel_hash(r->e[r->hash[i] - 1].key) & r->mask;
            if (((i - home) & r->mask) >= ((i - hole) & r->mask)) {
                r->hash[hole] = r->hash[i];
                r->hash[i] = 0;
                hole = i;
            }
        }
    } else {
        if (pos != last) r->e[pos] = r->e[last];
        r->count = last;
    }
    if (r->count == 0 && r->cap > OTP__REL_FIRST * 4) otp__rel_free(s, p);
}

static otp__ext *otp__ext_of(otp__sched *s, otp__proc *p)
{
    if (p->ext) return p->ext;
    otp__ext *x = otp__new(s, sizeof *x);
    if (!x) return NULL;
    memset(x, 0, sizeof *x);
    p->ext = x;
    p->has |= OTP__HAS_EXT;
    return x;
}

/* An idle handler should not pay for what its start needed. */
static void otp__ext_trim(otp__sched *s, otp__proc *p)
{
    static const otp__ext empty;
    otp__ext *x = p->ext;
    if (!x) return;
    x->init_arg = NULL;
    x->init_size = 0;
    if (memcmp(x, &empty, sizeof empty) != 0) return;
    p->ext = NULL;
    p->has &= (uint16_t)~OTP__HAS_EXT;
    otp__delete(s, x, sizeof *x);
}

/* -- 4.15 names -----------------------------------------------------------------------------------------
   >> name   One table under one lock; a process has at most one name. A process that ends closes its mailbox (seq_cst)
   and then looks at p->name; register sets p->name (seq_cst) and then looks at the mailbox: one of the two sees the
   other, so a dead process keeps no name, and its name is free before anybody learns of its death. */

static uint32_t otp__name_hash(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h ^ (h >> 15);
}

static otp__name **otp__name_at(const char *name, uint32_t hash)
{
    otp__name **at = &otp__rt.names[hash & (otp__rt.name_cap - 1)];
    while (*at && ((*at)->hash != hash || strcmp((*at)->text, name) != 0)) at = &(*at)->next;
    return at;
}

static int otp__name_find(const char *name, uint64_t *pid)
{
    int rc = OTP_ENOENT;
    *pid = 0;
    otp__lock(&otp__rt.name_lock);
    if (otp__rt.name_count > 0) {
        otp__name *n = *otp__name_at(name, otp__name_hash(name));
        if (n) {
            *pid = n->pid;
            rc = 0;
        }
    }
    otp__unlock(&otp__rt.name_lock);
    if (rc == 0) {      /* one that is ending has no name any more */
        otp__proc *p = otp__find(*pid);
        if (!p || otp__get_acq(&p->head) == OTP__CLOSED) {
            *pid = 0;
            rc = OTP_ENOENT;
        }
    }
    return rc;
}

static bool otp__name_ok(const char *name)
{
    if (!name || !name[0]) return false;
    for (size_t i = 0; i < 64; i++)
        if (!name[i]) return strcmp(name, "undefined") != 0 && strcmp(name, "nil") != 0;
    return false;
}

static bool otp__name_grow(void)
{
    uint32_t cap = otp__rt.name_cap ? otp__rt.name_cap * 4 : 64;
    otp__name **table = OTP_MALLOC(cap * sizeof *table);
    if (!table) return false;
    memset(table, 0, cap * sizeof *table);
    for (uint32_t i = 0; i < otp__rt.name_cap; i++)
        for (otp__name *n = otp__rt.names[i], *next; n; n = next) {
            next = n->next;
            n->next = table[n->hash & (cap - 1)];
            table[n->hash & (cap - 1)] = n;
        }
    if (otp__rt.names) OTP_FREE(otp__rt.names);
    otp__rt.names = table;
    otp__rt.name_cap = cap;
    return true;
}

/* `unborn`: the process is not open yet and belongs to the caller. */
static int otp__name_set(const char *name, otp__proc *p, uint64_t pid, bool unborn)
{
    otp__name *n = otp__refused("name") ? NULL : OTP_MALLOC(sizeof *n);
    if (!n) return OTP_ENOMEM;
    OTP__STEP(unborn ? NULL : otp__rt.sched[0]);
    n->hash = otp__name_hash(name);
    n->pid = pid;
    (void)snprintf(n->text, sizeof n->text, "%s", name);
    otp__lock(&otp__rt.name_lock);
    int rc = 0;
    if (otp__rt.name_count >= otp__rt.name_cap && !otp__name_grow() && otp__rt.name_cap == 0) rc = OTP_ENOMEM;
    otp__name **at = rc == 0 ? otp__name_at(name, n->hash) : NULL;
    if (rc == 0 && *at) rc = OTP_EEXIST;
    if (rc == 0 && otp__pid(p) != pid) rc = OTP_ENOPROC;
    if (rc == 0 && otp__get(&p->name)) rc = OTP_EEXIST;
    if (rc == 0) {
        n->next = NULL;
        *at = n;
        otp__rt.name_count++;
        otp__put_seq(&p->name, n);
        if (!unborn && (otp__get_seq(&p->head) == OTP__CLOSED || otp__pid(p) != pid)) {
            *at = NULL;
            otp__rt.name_count--;
            otp__name *mine =
                n; /* the ending process may have taken it out of p->name, never freed it: we hold the lock */
            (void)atomic_compare_exchange_strong(&p->name, &mine, NULL);
            rc = OTP_ENOPROC;
        }
    }
    if (rc == 0) OTP__TRACE(name, (otp_pid){ pid }, name);      /* under the lock: in the order in which they are given */
    otp__unlock(&otp__rt.name_lock);
    if (rc == 0 && otp__get(&otp__rt.slow)) otp__event(OTP_EVENT_NAME, pid, 0, 0, name);
    if (rc < 0) OTP_FREE(n);
    return rc;
}

/* Takes a process's name away, or, with p NULL, this name from whoever has it. */
static int otp__name_unset(otp__proc *p, const char *name)
{
    otp__lock(&otp__rt.name_lock);
    otp__name *n = p ? otp__get(&p->name) : NULL;
    if (p) name = n ? n->text : NULL;
    otp__name **at = name && otp__rt.name_count > 0 ? otp__name_at(name, otp__name_hash(name)) : NULL;
    n = at ? *at : NULL;
    if (n) {
        otp__proc *q = p ? p : otp__find(n->pid);
        if (q) otp__put_seq(&q->name, NULL);
        *at = n->next;
        otp__rt.name_count--;
    }
    otp__unlock(&otp__rt.name_lock);
    if (n) OTP_FREE(n);
    return n ? 0 : OTP_ENOENT;
}

/* Copies a process's name: "" when it has none. */
static void otp__name_copy(otp__proc *p, char *out, size_t size)
{
    out[0] = 0;
    if (!otp__get(&p->name)) return;
    otp__lock(&otp__rt.name_lock);
    otp__name *n = otp__get(&p->name);
    if (n) (void)snprintf(out, size, "%s", n->text);
    otp__unlock(&otp__rt.name_lock);
}

/* "<3.1> name (spawned function at file.c:12)" */
OTP__SNAPSHOT static void otp__describe(otp__proc *p, char *out, size_t size)
{
    char pid[32], name[64];
    (void)otp__pid_text(otp__pid(p), pid, sizeof pid);
    otp__name_copy(p, name, sizeof name);
    const char *label = name[0]                                         ? name
                        : p->ext && p->ext->label                       ? p->ext->label
                        : !(p->flags & OTP__P_HANDLER)                  ? ""
                        : p->run.h->label && (p->flags & OTP__P_INITED) ? p->run.h->label(p->arg)
                        : p->run.h->name                                ? p->run.h->name
                                                                        : "";
    (void)snprintf(out, size, "%s%s%s (spawned %s)", pid, label[0] ? " " : "", label,
                   p->place ? p->place : "by a thread");
}

int otp_register(const char *name, otp_pid pid)
{
    if (!otp__name_ok(name)) return OTP_EBADARG;
    otp__thread *t = otp__in();
    otp__proc *p = otp__find(pid.id);
    int rc = !p || otp__get_acq(&p->head) == OTP__CLOSED ? OTP_ENOPROC : otp__name_set(name, p, pid.id, false);
    t = otp__count(t, 4);
    otp__out(t);
    return rc;
}

int otp_unregister(const char *name)
{
    if (!name) return OTP_ENOENT;
    otp__touch_text(name);
    otp__thread *t = otp__in();
    uint64_t pid;
    int rc = otp__name_find(name, &pid);
    if (rc == 0) rc = otp__name_unset(NULL, name);
    otp__out(t);
    if (otp__unlikely(otp__get(&otp__rt.slow))) otp_direct_point();
    return rc;
}

otp_pid otp_whereis(const char *name)
{
    otp_pid pid = { 0 };
    if (!name) return pid;
    otp__touch_text(name);
    otp__thread *t = otp__in();
    (void)otp__name_find(name, &pid.id);
    bool slow = otp__get(&otp__rt.slow);
    if (otp__unlikely(slow) && t->cur) otp__event(OTP_EVENT_LOOKUP, otp__pid(t->cur), pid.id, 0, name);
    otp__out(t);
    if (otp__unlikely(slow)) otp_direct_point();
    return pid;
}

static int otp__name_compare(const void *a, const void *b) { return strcmp(a, b); }

size_t otp_registered(char (*out)[64], size_t max)
{
    otp__thread *t = otp__in();
    otp__lock(&otp__rt.name_lock);
    size_t n = 0;
    char(*all)[64] = otp__rt.name_count ? OTP_MALLOC((size_t)otp__rt.name_count * 64) : NULL;
    for (uint32_t i = 0; i < otp__rt.name_cap; i++)
        for (otp__name *e = otp__rt.names[i]; e; e = e->next) {
            otp__proc *p = otp__find(e->pid);
            if (!p || otp__get_acq(&p->head) == OTP__CLOSED) continue;
            if (all) memcpy(all[n], e->text, 64);
            n++;
        }
    otp__unlock(&otp__rt.name_lock);
    otp__out(t);
    if (!all) return n;
    qsort(all, n, 64, otp__name_compare);
    for (size_t i = 0; i < n && i < max; i++) memcpy(out[i], all[i], 64);
    OTP_FREE(all);
    return n;
}

/* -- 4.16 signals ---------------------------------------------------------------------------------------
   >> signal   The owner takes in what has arrived, oldest first: messages go to its private queue, signals take
   effect. An exit signal that ends the process puts the rest back to be answered by the exit. */

OTP__INLINE void otp__queue_node(otp__proc *p, otp__node *n)
{
    n->next = NULL;
    *p->last = n;
    p->last = &n->next;
}

/* Turns a signal into a message with the same payload. */
OTP__INLINE void otp__queue_as(otp__proc *p, otp__node *n, int tag)
{
    n->m.flags = (n->m.flags & ~(uint32_t)OTP__K_MASK) | OTP__K_MSG;
    n->m.tag = tag;
    otp__queue_node(p, n);
}

/* Takes the first node out of the private queue, while there is no current and no left message. */
OTP__INLINE otp__node *otp__unlink_first(otp__proc *p)
{
    otp__node *n = p->first;
    p->first = n->next;
    if (p->last == &n->next) p->last = &p->first;
    if (p->mark == &n->next) p->mark = &p->first;
    return n;
}

/* Takes the node behind `link` out of it. */
OTP__INLINE otp__node *otp__unlink(otp__proc *p, otp__node **link)
{
    otp__node *n = *link;
    *link = n->next;
    if (p->last == &n->next) p->last = link;
    if (p->mark == &n->next) p->mark = link;
    if (otp__unlikely(p->cur != NULL) && p->cur->next == (otp__node *)(void *)&n->next)
        p->cur->next = (otp__node *)(void *)link;
    if (otp__unlikely(p->u.left == &n->next)) p->u.left = link;
    return n;
}

/* A fresh reference: nothing that is in the queue now can carry it, so a receive by it starts behind. */
OTP__INLINE void otp__mark(otp__proc *p, uint64_t ref)
{
    if (p && !(p->flags & (OTP__P_HANDLER | OTP__P_EXITING))) {
        p->mark = p->last;
        p->mark_ref = ref;
    }
}

static otp__node **otp__queue_find_ref(otp__proc *p, uint64_t ref, int tag)
{
    for (otp__node **link = &p->first; *link; link = &(*link)->next)
        if ((*link)->m.ref.id == ref && (tag == 0 || (*link)->m.tag == tag)) return link;
    return NULL;
}

/* Answers a K_ASK: what is asked stands in m.tag; see 4.29. */
static void otp__answer_ask(otp__sched *s, otp__proc *p, otp__node *n);

/* One signal. Returns a reason when it ends the process: the node is then still the caller's. */
static const otp_reason *otp__signal_in(otp__sched *s, otp__proc *p, otp__node *n)
{
    uint64_t from = n->m.from.id, ref = n->m.ref.id;
    otp__ent *e;
    switch (n->m.flags & OTP__K_MASK) {
    case OTP__K_EXIT: {
        const otp_reason *why = n->m.data;
        if (n->m.flags & OTP__F_LINKED) {
            e = otp__rel_find(p, from | OTP__KEY_PID);
            if (!e || e->count == 0 || (e->ack && !(n->m.flags & OTP__F_NOPROC))) break;   /* unlinked */
            if (e->ack) e->count = 0;       /* the answer to its UNLINK is still to come */
            else otp__rel_remove(s, p, e);
        } else if (why->kind == OTP_REASON_KILL && !(p->flags & OTP__P_GUEST)) {
            if (p->flags & OTP__P_EXITING) {
                if (!(p->has & OTP__HAS_TERMINATE)) break;
                if (p->ext && p->ext->why) p->ext->why->r = otp_reason_make(OTP_REASON_KILLED, 0, NULL);
            }
            ((otp_reason *)(uintptr_t)n->m.data)->kind = OTP_REASON_KILLED;
            return why;
        }
        if (p->flags & (OTP__P_TRAP | OTP__P_GUEST)) {
            otp__queue_as(p, n, OTP_EXIT);
            return NULL;
        }
        if (p->flags & OTP__P_EXITING) break;
        if (why->kind == OTP_REASON_NORMAL && (from != otp__pid(p) || (n->m.flags & OTP__F_LINKED))) break;
        return why;
    }
    case OTP__K_LINK:
        e = otp__rel_find(p, from | OTP__KEY_PID);
        if (e && e->ack) break;
        if (!e) e = otp__rel_add(s, p, from | OTP__KEY_PID, OTP__R_LINK);
        if (!e) {
            otp__undeliverable(s, n);
            return NULL;
        }
        e->who = from;
        e->count = 1;
        break;
    case OTP__K_UNLINK:
        (void)otp__signal(s, otp__pid(p), from, OTP__K_UNLINK_ACK, ref);
        e = otp__rel_find(p, from | OTP__KEY_PID);
        if (e && !e->ack) otp__rel_remove(s, p, e);
        break;
    case OTP__K_UNLINK_ACK:
        e = otp__rel_find(p, from | OTP__KEY_PID);
        if (e && e->ack == ref) {
            e->ack = 0;
            if (e->count == 0) otp__rel_remove(s, p, e);
        }
        break;
    case OTP__K_MONITOR:
        e = otp__rel_add(s, p, ref, OTP__R_MON_IN);
        if (!e) {
            otp__undeliverable(s, n);
            return NULL;
        }
        e->who = from;
        break;
    case OTP__K_DEMONITOR:
        if (p->req_ref == ref) {
            p->req_ref = 0;
            break;
        }
        e = otp__rel_find(p, ref);
        if (e && (e->kind == OTP__R_MON_IN || e->kind == OTP__R_REQ_IN)) otp__rel_remove(s, p, e);
        else {  /* a request given up before it was received: nobody is to be told of our death */
            otp__node **link = otp__queue_find_ref(p, ref, 0);
            if (link) (*link)->m.flags = ((*link)->m.flags & ~(uint32_t)OTP__F_CALL) | OTP__F_ASKED;
        }
        break;
    case OTP__K_DOWN:
        if (p->call_ref == ref && ref != 0) {
            if (p->call_reply) break;
            p->call_reply = n;
            return NULL;
        }
        e = otp__rel_find(p, ref);
        if (!e || (e->kind != OTP__R_MON_OUT && e->kind != OTP__R_REQ_OUT)) break;
        {
            int tag = e->tag ? e->tag : OTP_DOWN;
            if (e->name) {
                otp__node *named = otp__why_node(s, 0, n->to, tag, OTP__K_MSG, n->m.data, e->name);
                if (named) {
                    named->m.ref = n->m.ref;
                    otp__node_free(s, n);
                    n = named;
                }
            }
            if (e->mode == OTP_ALIAS_EXPLICIT) e->kind = OTP__R_ALIAS;
            else otp__rel_remove(s, p, e);
            n->m.flags |= OTP__F_DOWN;
            otp__queue_as(p, n, tag);
            return NULL;
        }
    case OTP__K_REPLY:
        if (p->call_ref == ref && ref != 0) {
            if (p->call_reply) break;
            p->call_reply = n;
            return NULL;
        }
        e = otp__rel_find(p, ref);
        if (!e) break;
        if (e->kind == OTP__R_REQ_OUT) {
            if (from != e->who) (void)otp__signal(s, otp__pid(p), e->who, OTP__K_DEMONITOR, ref);
            otp__rel_remove(s, p, e);
        } else if (e->kind == OTP__R_ALIAS || (e->kind == OTP__R_MON_OUT && e->mode != OTP_ALIAS_NONE)) {
            if (e->mode == OTP_ALIAS_REPLY) {
                if (e->kind == OTP__R_MON_OUT) (void)otp__signal(s, otp__pid(p), e->who, OTP__K_DEMONITOR, ref);
                otp__rel_remove(s, p, e);
            }
        } else {
            break;
        }
        otp__queue_as(p, n, n->m.tag);
        return NULL;
    case OTP__K_SUSPEND: {
        otp__ext *x = otp__ext_of(s, p);
        if (!x || (p->flags & OTP__P_GUEST)) {
            otp__undeliverable(s, n);
            return NULL;
        }
        x->suspended++;
        p->has |= OTP__HAS_SUSPEND;
        (void)otp__signal(s, otp__pid(p), from, OTP__K_REPLY, ref);
        break;
    }
    case OTP__K_RESUME:
        if (p->ext && p->ext->suspended > 0) {
            p->ext->suspended -= n->m.tag < p->ext->suspended ? n->m.tag : p->ext->suspended;
            if (p->ext->suspended == 0) p->has &= (uint16_t)~OTP__HAS_SUSPEND;
        }
        break;
    case OTP__K_ASK: otp__answer_ask(s, p, n); return NULL;
    default: break;
    }
    otp__node_free(s, n);
    return NULL;
}

/* Takes in what has arrived. Does not return when an exit signal ends the process. */
static OTP__NOINLINE otp__thread *otp__take_in_signals(otp__thread *t, otp__node *n)
{
    otp__proc *p = t->cur;
    otp__sched *s = t->p;
    for (otp__node *next; n; n = next) {
        next = n->next;
        if (otp__unlikely(n->to != otp__pid(p))) {
            otp__undeliverable(s, n);
            continue;
        }
        if ((n->m.flags & OTP__K_MASK) == OTP__K_MSG) {
            otp__queue_node(p, n);
            continue;
        }
        const otp_reason *why = otp__signal_in(s, p, n);
        if (why) {      /* the exit answers and frees the rest, and the node that why stands in */
            otp_reason copy = *why;
            p->handed = n;
            otp__exit_now(t, &copy);
        }
    }
    return t;
}

static otp__thread *otp__wait_suspended(otp__thread *t);

static otp__thread *otp__take_in_once(otp__thread *t)
{
    otp__proc *p = t->cur;
    otp__node *n = p->handed;
    if (n) {
        p->handed = NULL;
        if (otp__likely(n->next == NULL && (n->m.flags & OTP__K_MASK) == OTP__K_MSG && n->to == otp__pid(p)))
            otp__queue_node(p, n);
        else t = otp__take_in_signals(t, n);
    }
    if (otp__unlikely(otp__get(&p->head) ==
                      OTP__CLOSED)) /* a deferred function of one that is dead: nothing will come */
        otp__exit_now(t, &(otp_reason){ OTP_REASON_KILLED, 0, 0, NULL });
    OTP__STEP(t->p);
    if (otp__get(&p->head) != OTP__EMPTY) {
        /* acquire: what the senders wrote into the nodes */
        uintptr_t h = atomic_exchange_explicit(&p->head, OTP__EMPTY, memory_order_acquire);
        otp__node *list = NULL;
        bool plain = true;
        uint64_t pid = otp__pid(p);
        for (otp__node *next, *at = otp__head_list(h); at; at = next) {     /* newest first: turn it round */
            next = at->next;
            plain &= (at->m.flags & OTP__K_MASK) == OTP__K_MSG && at->to == pid;
            at->next = list;
            list = at;
        }
        if (otp__likely(plain)) {
            for (otp__node *next; list; list = next) {
                next = list->next;
                otp__queue_node(p, list);
            }
        } else {
            t = otp__take_in_signals(t, list);
        }
    }
    return t;
}

static otp__thread *otp__take_in(otp__thread *t)
{
    t = otp__take_in_once(t);
    return otp__unlikely(t->cur->has & OTP__HAS_SUSPEND) ? otp__wait_suspended(t) : t;
}

/* -- 4.17 exit ------------------------------------------------------------------------------------------
   >> exit   Order: terminate and deferred functions (user code, on the process's own stack); the mailbox is closed
   (from here on it is not alive); the name is freed; at_exit functions; links and monitors are told and what the
   mailbox still holds is answered; heap and record are freed. A record that is free has every field zero that spawn
   does not set. */

static otp__box *otp__box_new(otp__sched *s, const otp_reason *why)
{
    size_t text = why->text ? strlen(why->text) + 1 : 1;
    otp__box *b = otp__new(s, sizeof *b + text);
    if (!b) return NULL;
    b->r = *why;
    b->bytes = sizeof *b + text;
    if (why->text) b->r.text = memcpy(b->text, why->text, text);
    return b;
}

static void otp__answer_rest(otp__sched *s, otp__node *n, const otp_reason *why, uint64_t pid)
{
    for (otp__node *next; n; n = next) {
        next = n->next;
        if (n->to == pid) {     /* for us: the true reason; for a predecessor in the slot: noproc */
            unsigned kind = n->m.flags & OTP__K_MASK;
            uint64_t from = n->m.from.id, ref = n->m.ref.id;
            if (kind == OTP__K_LINK) {
                otp__signal_why(s, pid, from, OTP__K_EXIT, OTP__F_LINKED | OTP__F_NOPROC, 0, why);
                otp__node_free(s, n);
                continue;
            }
            if (kind == OTP__K_MONITOR || (kind == OTP__K_MSG && (n->m.flags & OTP__F_CALL))) {
                otp__signal_why(s, pid, from, OTP__K_DOWN, 0, ref, why);
                if (n->m.flags & OTP__F_COUNTED) {
                    otp__proc *p = otp__slot_proc(otp__pid_slot(pid));
                    atomic_fetch_sub_explicit(&p->mq_count, 1, memory_order_relaxed);
                }
                otp__node_free(s, n);
                continue;
            }
        }
        otp__undeliverable(s, n);
    }
}

static void otp__heap_free_all(otp__sched *s, otp__proc *p);

/* Tells everybody, and answers what the mailbox holds. `rest` is the last drain, newest first. */
static OTP__NOINLINE void otp__close_tell(otp__sched *s, otp__proc *p, uint64_t pid, const otp_reason *why,
                                          otp__node *rest)
{
    if (otp__get_seq(&p->name)) (void)otp__name_unset(p, NULL);
    for (int i = 0; i < otp__rt.at_exits; i++) otp__rt.at_exit[i]((otp_pid){ pid }, otp__rt.at_exit_arg[i]);
    if (p->req_ref) {
        bool answer = (p->has & OTP__HAS_START) && p->ext && p->ext->answer;
        otp__signal_why(s, pid, p->req_from, OTP__K_DOWN, 0, p->req_ref, answer ? &p->ext->answer->r : why);
        p->req_ref = 0;
    }
    for (otp__rel *r = p->rel; r && r->count > 0;) {
        otp__ent e = r->e[--r->count];
        switch (e.kind) {
        case OTP__R_LINK:
            if (e.count) otp__signal_why(s, pid, e.who, OTP__K_EXIT, OTP__F_LINKED, 0, why);
            break;
        case OTP__R_MON_IN:
        case OTP__R_REQ_IN: otp__signal_why(s, pid, e.who, OTP__K_DOWN, 0, e.key, why); break;
        case OTP__R_MON_OUT:
        case OTP__R_REQ_OUT: (void)otp__signal(s, pid, e.who, OTP__K_DEMONITOR, e.key); break;
        case OTP__R_SUSPEND: {
            otp__proc *q = otp__find(e.who);
            otp__node *n = otp__node_sure(s, pid, e.who, e.count, OTP__K_RESUME);
            if (n && (!q || !otp__push(s, q, n))) otp__node_free(s, n);
            break;
        }
        default: break;
        }
        if (e.name) otp__delete(s, e.name, strlen(e.name) + 1);
    }
    if (p->rel) otp__rel_free(s, p);
    otp__answer_rest(s, p->first, why, pid);
    if (p->handed) otp__answer_rest(s, p->handed, why, pid);
    otp__node *list = NULL;
    for (otp__node *next; rest; rest = next) {  /* turned round: answers keep the senders' order */
        next = rest->next;
        rest->next = list;
        list = rest;
    }
    otp__answer_rest(s, list, why, pid);
    p->first = p->handed = NULL;
    p->last = &p->first;
}

/* Frees what the process owned. */
static OTP__NOINLINE void otp__close_free(otp__sched *s, otp__proc *p)
{
    if (p->call_reply) otp__node_free(s, p->call_reply);
    if (p->cur) otp__node_free(s, p->cur);
    if (p->heap) otp__heap_free_all(s, p);
    otp__ext *x = p->ext;
    if (x) {
        for (otp__node *n = x->kept, *next; n; n = next) {
            next = n->next;
            otp__node_free(s, n);
        }
        for (otp__dict *d = x->dict, *next; d; d = next) {
            next = d->next;
            OTP_FREE(d);
        }
        otp__box *boxes[] = { x->why, x->answer, x->start_why };
        for (size_t i = 0; i < sizeof boxes / sizeof boxes[0]; i++)
            if (boxes[i]) otp__delete(s, boxes[i], boxes[i]->bytes);
        otp__delete(s, x, sizeof *x);
    }
    p->cur = p->call_reply = NULL;
    p->ext = NULL;
    p->call_ref = 0;
    p->armed = p->deadline = 0;
    p->heap_bytes = 0;
    otp__put_rlx(&p->mq_limit, 0);
    p->has = 0;
}

static OTP__NOINLINE void otp__trace_exit(otp__sched *s, uint64_t pid, const otp_reason *why)
{
    const otp_trace_hooks *hooks = otp__get_acq(&otp__rt.trace);
    if (hooks && hooks->exit) hooks->exit((otp_pid){ pid }, why, hooks->arg);
    if (hooks && hooks->out) hooks->out((otp_pid){ pid }, s ? s->id : -1, hooks->arg);
}

/* Closes the mailbox: from here on the process is not alive. */
OTP__INLINE void otp__close(otp__thread *t, otp__proc *p, const otp_reason *why)
{
    otp__sched *s = t->p;
    uint64_t pid = otp__pid(p);
    OTP__STEP(s);
    if (otp__unlikely(otp__get(&otp__rt.slow))) otp__trace_exit(s, pid, why);
    uintptr_t h = atomic_exchange_explicit(&p->head, OTP__CLOSED, memory_order_seq_cst);   /* seq_cst: see 4.15 */
    uintptr_t more = h | (uintptr_t)p->first | (uintptr_t)p->handed | (uintptr_t)otp__get_seq(&p->name) |
                     (unsigned)otp__rt.at_exits | (p->has & (OTP__HAS_REL | OTP__HAS_REQ));
    if (otp__unlikely(more != 0))
        otp__close_tell(s, p, pid, why, otp__head_list(h));
}

/* Gives the record back. */
OTP__INLINE void otp__bury(otp__thread *t, otp__proc *p, otp_reason_kind kind)
{
    otp__sched *s = t->p;
    bool app = (p->has & OTP__HAS_APP) != 0;
    OTP__CHECK(otp__get(&p->head) == OTP__CLOSED && !p->first);
    if (otp__unlikely(((uintptr_t)p->cur | (uintptr_t)p->armed | (uintptr_t)p->call_reply | p->has) != 0))
        otp__close_free(s, p);
    t->cur = NULL;
    p->stack = NULL;
    if (s) otp__put_rlx(&s->exited, otp__get(&s->exited) + 1);
    otp__slot_put(s, p);
    if (otp__unlikely(app)) {
        otp__rt.app_failed = kind != OTP_REASON_NORMAL && kind != OTP_REASON_SHUTDOWN;
        otp__put_seq(&otp__rt.app_done, 1);
        otp__futex_wake(&otp__rt.app_done);
        otp__wake(otp__rt.sched[otp__rt.nscheds]);
    }
}

/* The deferred functions: user code. Returns the thread it is on afterwards. */
static otp__thread *otp__run_defers(otp__thread *t)
{
    otp__proc *p = t->cur;
    while (p->ext && p->ext->defers) {
        otp__defer *d = p->ext->defers, it = *d;
        p->ext->defers = d->next;
        otp__delete(t->p, d, sizeof *d);
        otp__out(t);
        it.fn(it.arg);
        t = otp__in();
    }
    p->has &= (uint16_t)~OTP__HAS_DEFER;
    return t;
}

static otp__thread *otp__crash_report(otp__thread *t, const otp_reason *why, const otp__fault *f);

/* What both ways to end have in common, before the mailbox is closed. Returns a reason that lasts. `own`: the process
   said so itself; deaths by an exit signal are not reported, nor are the plain exits of function processes. */
static const otp_reason *otp__begin_exit(otp__thread **t, const otp_reason *why, bool own)
{
    otp__proc *p = (*t)->cur;
    if (p->flags & OTP__P_EXITING)
        return p->ext && p->ext->why ? &p->ext->why->r : why; /* again, after a fault in a defer */
    p->flags |= OTP__P_EXITING;
    if (p->has & OTP__HAS_FD) otp__fd_counted(p, false);     /* it was killed in an fd wait */
    if (why->kind != OTP_REASON_NORMAL || (p->has & OTP__HAS_DEFER)) {
        otp__ext *x = otp__ext_of((*t)->p, p);
        if (x && !x->why) x->why = otp__box_new((*t)->p, why);
        if (x && x->why) why = &x->why->r;
    }
    if (why->kind == OTP_REASON_BADARG || why->kind == OTP_REASON_SYSTEM_LIMIT || why->kind == OTP_REASON_CALL ||
        (own && (p->flags & OTP__P_HANDLER) && why->kind != OTP_REASON_NORMAL && why->kind != OTP_REASON_SHUTDOWN))
        *t = otp__crash_report(*t, why, NULL);
    return why;
}

static void otp__proc_end(otp__thread *t, otp__proc *p, const otp_reason *why)
{
    if (otp__unlikely(why->kind != OTP_REASON_NORMAL || (p->has & OTP__HAS_DEFER))) {
        why = otp__begin_exit(&t, why, false);
        t = otp__run_defers(t);
    }
    otp_reason_kind kind = why->kind;
    otp__close(t, p, why);
    otp__bury(t, p, kind);
}

/* Ends the calling process from any depth: its stack is used again from the top by the loop. */
static OTP__NOINLINE void otp__exit_now(otp__thread *t, const otp_reason *why)
{
    otp__proc *p = t->cur;
    if (p->flags & OTP__P_GUEST) {
        char text[256];
        (void)otp_format_reason(why, text, sizeof text);
        otp__log(OTP_LOG_ERROR, "a thread that is not a process would have to exit: %s", text);
        OTP_ABORT();
        _Exit(134);
    }
    p->has &= (uint16_t)~OTP__HAS_TERMINATE;
    why = otp__begin_exit(&t, why, false);
    otp_reason_kind kind = why->kind;
    otp__ext *x = p->ext;
    if (x && x->job && !x->told) {      /* its end is told now; what its job may use stays until the job returns */
        x->told = true;
        otp__close(t, p, why);
        while (otp__get_acq(&x->job->state) != 1 /* done */) t = otp__suspend(t, OTP__ACT_JOB);
        atomic_fetch_sub_explicit(&otp__rt.blocked, 1, memory_order_relaxed);
    }
    t = otp__run_defers(t);
    otp__stack *k = p->stack;
    if (!(p->ext && p->ext->told)) otp__close(t, p, why);
    otp__bury(t, p, kind);
    otp__san_abandon(k);
    otp__ctx_go_fresh(otp__stack_top(k), otp__loop, k);
}

static OTP__COLD OTP_NORETURN void otp__badarg(otp__thread *t, const char *fn, const char *what, long long value)
{
    char text[200];
    (void)snprintf(text, sizeof text, "%s: %s %lld", fn, what, value);
#ifdef OTP_DEBUG
    fprintf(stderr, "otp.h: misuse: %s\n", text);
    OTP_ABORT();
#endif
    otp_reason why = otp_reason_make(OTP_REASON_BADARG, 0, text);
    otp__exit_now(t, &why);
}

/* The door for functions that only a process or a guest may call. */
static OTP__NOINLINE otp__thread *otp__become_guest(otp__thread *t);
OTP__INLINE otp__thread *otp__in_proc(void)
{
    otp__thread *t = otp__in();
    if (otp__unlikely(!t->cur)) t = otp__become_guest(t);
    return t;
}

void otp_exit(otp_reason why)
{
    otp__touch_text(why.text);
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    if ((p->flags & OTP__P_HANDLER) && !(p->flags & OTP__P_EXITING)) {
        const otp_reason *last = otp__begin_exit(&t, &why, true);
        if ((p->flags & OTP__P_INITED) && p->run.h->terminate) {
            p->has |= OTP__HAS_TERMINATE;
            otp__out(t);
            p->run.h->terminate(p->arg, last);
            t = otp__in();
        }
        why = *last;
    }
    otp__exit_now(t, &why);
}

int otp_exit_signal(otp_pid pid, otp_reason why)
{
    otp__touch_text(why.text);
    otp__thread *t = otp__in();
    uint64_t self = t->cur ? otp__pid(t->cur) : 0;
    otp__signal_why(t->p, self, pid.id, OTP__K_EXIT, 0, 0, &why);
    t = otp__count(t, 2);
    if (pid.id == self && self && !(t->cur->flags & OTP__P_EXITING)) t = otp__take_in(t);
    otp__out(t);
    return 0;
}

bool otp_trap_exit(bool on)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    if (!(p->flags & (OTP__P_EXITING | OTP__P_GUEST)) && otp__arrived(p))
        t = otp__take_in(t); /* judged by the old flag */
    bool old = (p->flags & OTP__P_TRAP) != 0;
    p->flags = (uint8_t)(on ? p->flags | OTP__P_TRAP : p->flags & ~OTP__P_TRAP);
    otp__out(t);
    return old;
}

/* -- 4.18 spawn -----------------------------------------------------------------------------------------
   >> spawn */

static void *otp__heap_alloc(otp__sched *s, otp__proc *p, size_t size);

/* A record for a new process, filled in but not open: nobody else can see it yet. */
OTP__INLINE otp__proc *otp__spawn_new(otp__thread *t, otp_fn *fn, void *arg, const char *place)
{
    otp__proc *p = otp__refused("process") ? NULL : otp__slot_take(t->p);
    if (otp__unlikely(!p)) return NULL;
    uint64_t pid = otp__pid(p) + 1;
    otp__put_rel(&p->pid, pid);
    p->handed = NULL;
    p->prio = OTP_PRIO_NORMAL;
    p->flags = 0;
    p->has = 0;
    p->act = 0;
    p->special = false;
#ifdef OTP_PREEMPT
    p->calm = 0;
#endif
    otp__put_rlx(&p->waits, OTP_WAITS_NOTHING);
    p->first = NULL;
    p->last = &p->first;
    p->mark = NULL;
    p->u.left = NULL;
    p->stack = NULL;
    p->thread = NULL;
    p->run.fn = fn;
    p->arg = arg;
    p->place = place;
    p->parent = t->cur ? otp__pid(t->cur) : 0;
    p->reds = 0;
    p->turn = OTP_REDUCTIONS;
    p->reds_base = 0;
    return p;
}

/* Opens it and puts it in line. */
OTP__INLINE void otp__spawn_open(otp__thread *t, otp__proc *p)
{
    otp__sched *s = t->p;
    if (otp__unlikely(otp__get(&otp__rt.slow))) {
        const otp_trace_hooks *hooks = otp__get_acq(&otp__rt.trace);
        if (hooks && hooks->spawn) hooks->spawn((otp_pid){ p->parent }, (otp_pid){ otp__pid(p) }, p->place, hooks->arg);
    }
    otp__put_rel(&p->head, OTP__EMPTY);     /* the new generation is in place first */
    if (otp__likely(s != NULL)) {
        otp__put_rlx(&s->spawned, otp__get(&s->spawned) + 1);
        otp__fresh_push(s, p);
    } else {
        atomic_fetch_add_explicit(&otp__rt.live, 1, memory_order_relaxed);
        otp__inject(p);
    }
}

/* Both halves of a link or a monitor from the spawner. False when memory is out. */
static bool otp__spawn_tie(otp__thread *t, otp__proc *p, bool link, otp_ref *monitor)
{
    otp__sched *s = t->p;
    otp__proc *me = t->cur;
    if (link) {
        otp__ent *mine = otp__rel_add(s, me, otp__pid(p) | OTP__KEY_PID, OTP__R_LINK);
        if (!mine) return false;
        mine->who = otp__pid(p);
        mine->count = 1;
        otp__ent *its = otp__rel_add(s, p, otp__pid(me) | OTP__KEY_PID, OTP__R_LINK);
        if (!its) {
            otp__rel_remove(s, me, mine);
            return false;
        }
        its->who = otp__pid(me);
        its->count = 1;
    }
    if (monitor) {
        monitor->id = otp__ref_new(s);
        otp__ent *mine = otp__rel_add(s, me, monitor->id, OTP__R_MON_OUT);
        otp__ent *its = mine ? otp__rel_add(s, p, monitor->id, OTP__R_MON_IN) : NULL;
        if (its) {
            mine->who = otp__pid(p);
            its->who = otp__pid(me);
            otp__mark(me, monitor->id);
            return true;
        }
        if (mine) otp__rel_remove(s, me, mine);
        if (link) otp__rel_remove(s, me, otp__rel_find(me, otp__pid(p) | OTP__KEY_PID));
        return false;
    }
    return true;
}

/* Takes back a record that was never opened. */
static void otp__spawn_undo(otp__thread *t, otp__proc *p)
{
    if (otp__get(&p->name)) (void)otp__name_unset(p, NULL);
    if (p->rel) otp__rel_free(t->p, p);
    otp__close_free(t->p, p);
    p->flags = 0;
    p->place = NULL;
    otp__slot_put(t->p, p);
}

static int otp__spawn_fill(otp__thread *t, otp__proc *p, const otp_spawn_opts *o)
{
    otp__sched *s = t->p;
    p->prio = (uint8_t)o->priority;
    if (o->main_thread) p->flags |= OTP__P_PINNED;
    p->special = o->main_thread || o->priority != OTP_PRIO_NORMAL;
    size_t stack = (o->stack_size + otp__rt.page - 1) / otp__rt.page * otp__rt.page;
    if (o->heap_limit || o->heap_limit_null || o->mailbox_limit || o->label ||
        (stack && stack != otp__rt.opts.stack_size) || (o->handler && o->arg)) {
        otp__ext *x = otp__ext_of(s, p);
        if (!x) return OTP_ENOMEM;
        x->heap_limit = o->heap_limit;
        x->heap_null = o->heap_limit_null;
        x->label = o->label;
        x->full = o->mailbox_full;
        otp__put_rlx(&p->mq_limit, o->mailbox_limit);
        if (stack && stack != otp__rt.opts.stack_size) {
            x->stack_size = stack;
            p->has |= OTP__HAS_BIG_STACK;
        }
    }
    void *arg = o->arg;
    if (o->arg_size) {
        arg = otp__heap_alloc(s, p, o->arg_size);
        if (!arg) return OTP_ENOMEM;
        memcpy(arg, o->arg, o->arg_size);
    }
    if (o->handler) {
        p->flags |= OTP__P_HANDLER;
        p->run.h = o->handler;
        p->arg = NULL;
        size_t state = o->state_size ? o->state_size : o->handler->state_size;
        if (state) {
            p->arg = otp__heap_alloc(s, p, state);
            if (!p->arg) return OTP_ENOMEM;
            memset(p->arg, 0, state);
        }
        if (p->ext) {
            p->ext->init_arg = arg;
            p->ext->init_size = o->arg_size;
        }
    } else {
        p->arg = arg;
    }
    return 0;
}

/* start: 0, or the reference by which the caller waits for the end of its init. */
static int otp__spawn(const otp_spawn_opts *o, otp_pid *pid, uint64_t start, const char *place)
{
    otp__thread *t = o->link || o->monitor ? otp__in_proc() : otp__in();
    int rc = otp__get(&otp__rt.up) ? 0 : OTP_ENOTUP;
    otp__proc *p = rc == 0 ? otp__spawn_new(t, o->fn, o->arg, place) : NULL;
    if (rc == 0 && !p) rc = OTP_ESYSLIMIT;
    if (p) {
        rc = otp__spawn_fill(t, p, o);
        if (rc == 0 && o->name) rc = otp__name_set(o->name, p, otp__pid(p), true);
        if (rc == 0 && (o->link || o->monitor) && !otp__spawn_tie(t, p, o->link, o->monitor)) rc = OTP_ENOMEM;
        if (rc < 0) otp__spawn_undo(t, p);
        else {
            pid->id = otp__pid(p);
            if (start) {
                p->req_ref = start;
                p->req_from = otp__pid(t->cur);
                p->has |= OTP__HAS_REQ | OTP__HAS_START;
                if (o->link) p->has |= OTP__HAS_PARENT;
                t->cur->call_ref = start;
                t->cur->waits_for = pid->id;
            }
            otp__spawn_open(t, p);
        }
    }
    t = otp__count(t, 16);
    otp__out(t);
    return rc;
}

otp_pid otp_spawn_at(otp_fn *fn, void *arg, const char *place)
{
    otp_pid pid = { 0 };
    otp__thread *t = otp__in();
    otp__proc *p = otp__likely(fn != NULL && otp__get(&otp__rt.up)) ? otp__spawn_new(t, fn, arg, place) : NULL;
    if (otp__likely(p != NULL)) {
        pid.id = otp__pid(p);
        otp__spawn_open(t, p);
    }
    t = otp__count(t, 16);
    otp__out(t);
    return pid;
}

otp_pid otp_spawn_link_at(otp_fn *fn, void *arg, const char *place)
{
    otp_pid pid = { 0 };
    if (otp__spawn(&(otp_spawn_opts){ .fn = fn, .arg = arg, .link = true }, &pid, 0, place) < 0) pid.id = 0;
    return pid;
}

otp_pid otp_spawn_monitor_at(otp_fn *fn, void *arg, otp_ref *ref, const char *place)
{
    otp_pid pid = { 0 };
    if (otp__spawn(&(otp_spawn_opts){ .fn = fn, .arg = arg, .monitor = ref }, &pid, 0, place) < 0) pid.id = 0;
    return pid;
}

static size_t otp__min_stack(void)
{
    long sig = 0;
#ifdef _SC_MINSIGSTKSZ
    sig = sysconf(_SC_MINSIGSTKSZ);
#endif
    return 16384 + (size_t)(sig > 0 ? sig : 4096);
}

static int otp__spawn_check(const otp_spawn_opts *o)
{
    if (!o || (o->fn == NULL) == (o->handler == NULL)) return OTP_EBADARG;
    if (o->handler && !o->handler->message) return OTP_EBADARG;
    if (o->arg_size && !o->arg) return OTP_EBADARG;
    if (o->name && !otp__name_ok(o->name)) return OTP_EBADARG;
    if ((unsigned)o->priority > OTP_PRIO_MAX || (unsigned)o->mailbox_full > OTP_FULL_DROP) return OTP_EBADARG;
    if (o->stack_size && (o->stack_size < otp__min_stack() || o->stack_size > OTP__STACK_MAX)) return OTP_EBADARG;
    otp__touch(o->arg, o->arg_size);
    otp__touch_text(o->label);
    if (o->monitor) o->monitor->id = 0;
    return 0;
}

int otp_spawn_opt_at(const otp_spawn_opts *o, otp_pid *pid, const char *place)
{
    otp_pid unused;
    int rc = otp__spawn_check(o);
    if (rc < 0) return rc;
    if (pid) pid->id = 0;
    return otp__spawn(o, pid ? pid : &unused, 0, place);
}

otp_pid otp_self(void)
{
    otp__thread *t = otp__self_thread();
    return (otp_pid){ t && t->cur ? otp__pid(t->cur) : 0 };
}

/* -- 4.19 waiting ---------------------------------------------------------------------------------------
   >> wait   Every wait is the same loop: look (at signals, messages or the reply, at the deadline), park, again. */

static otp__thread *otp__guest_wait(otp__thread *t, unsigned act, int64_t deadline);

/* Parks the caller once. deadline in ns, 0: none. Comes back for any reason or none. */
OTP__INLINE otp__thread *otp__wait(otp__thread *t, unsigned act, int64_t deadline, int64_t now, int why)
{
    otp__proc *p = t->cur;
    otp__put_rlx(&p->waits, (uint8_t)(why | (deadline ? OTP__TIMED : 0)));
    if (otp__unlikely(p->special) && (p->flags & OTP__P_GUEST)) return otp__guest_wait(t, act, deadline);
    if (deadline && otp__unlikely(!otp__arm(t->p, p, deadline, now))) act = OTP__ACT_YIELD;
    return otp__suspend(t, act);
}

static OTP__NOINLINE otp__thread *otp__wait_sig(otp__thread *t, int64_t deadline, int64_t now, int why)
{
    t = otp__wait(t, OTP__ACT_SIGWAIT, deadline, now, why);
    return otp__arrived(t->cur) ? otp__take_in(t) : t;
}

static otp__thread *otp__wait_suspended(otp__thread *t)
{
    while (t->cur->has & OTP__HAS_SUSPEND) {
        t = otp__wait(t, OTP__ACT_SIGWAIT, 0, 0, OTP_WAITS_RESUME);
        if (otp__arrived(t->cur)) t = otp__take_in_once(t);
    }
    return t;
}

static const otp__node otp__after = { .m = { .tag = OTP_AFTER, .flags = OTP__F_STATIC } };

OTP__INLINE void otp__drop_cur(otp__thread *t, otp__proc *p)
{
    otp__node *n = p->cur;
    if (n) {
        p->cur = NULL;
        otp__node_free(t->p, n);
    }
}

/* The same where it takes no call: false, and nothing is done, where it does. */
OTP__INLINE bool otp__drop_fast(otp__sched *s, otp__proc *p)
{
    otp__node *n = p->cur;
    if (!n) return true;
    unsigned cls = (n->m.flags >> OTP__F_CLASS_SHIFT) & 0xff;
    if (otp__unlikely(cls == OTP__CLASS_BIG || (n->m.flags & (OTP__F_MOVED | OTP__F_SHARED)))) return false;
    otp__list *l = &s->mem.list[cls];
    if (otp__unlikely(l->count >= OTP__CHAIN)) return false;
    p->cur = NULL;
    otp__list_push(l, n);
    return true;
}

OTP__INLINE void otp__req_in(otp__proc *p, otp__node *n)
{
    p->req_ref = n->m.ref.id;
    p->req_from = n->m.from.id;
    p->has |= OTP__HAS_REQ;
}

static OTP__NOINLINE void otp__hand_slow(otp__thread *t, otp__proc *p, otp__node *n)
{
    if (n->m.flags & OTP__F_COUNTED) {
        n->m.flags &= ~(uint32_t)OTP__F_COUNTED;
        atomic_fetch_sub_explicit(&p->mq_count, 1, memory_order_relaxed);
    }
    if (n->m.flags & OTP__F_CALL) {
        bool start = (p->has & OTP__HAS_START) != 0;    /* a request in init: the starter's keeps its place */
        if (p->req_ref) {   /* the one before has not been answered yet: remember it in the table */
            uint64_t ref = start ? n->m.ref.id : p->req_ref, from = start ? n->m.from.id : p->req_from;
            otp__ent *e = otp__rel_add(t->p, p, ref, OTP__R_REQ_IN);
            if (e) {
                e->who = from;
            } else {    /* our end could not be told to that caller: it is told now that there will be no answer */
                otp_reason why = otp_reason_make(OTP_REASON_SYSTEM_LIMIT, OTP_ENOMEM, "out of memory");
                otp__signal_why(t->p, otp__pid(p), from, OTP__K_DOWN, 0, ref, &why);
            }
        }
        if (!start) otp__req_in(p, n);
    }
    if (otp__unlikely(otp__get(&otp__rt.slow))) otp__trace_message(n, otp__pid(p), false);
}

/* Makes a node, which is in no queue, the current message; link is where otp_leave puts it back. */
OTP__INLINE const otp_msg *otp__current(otp__proc *p, otp__node *n, otp__node **link)
{
    n->next = (otp__node *)(void *)link;    /* where otp_leave puts it back */
    p->cur = n;
    p->reds++;
    return &n->m;
}

OTP__INLINE const otp_msg *otp__handed(otp__thread *t, otp__proc *p, otp__node *n, otp__node **link)
{
    (void)otp__current(p, n, link);
    unsigned special = n->m.flags & (OTP__F_COUNTED | OTP__F_CALL);
    if (otp__unlikely(otp__get(&otp__rt.slow))) {
        otp__hand_slow(t, p, n);
    } else if (special) {
        if (otp__likely(special == OTP__F_CALL && !p->req_ref)) otp__req_in(p, n);
        else otp__hand_slow(t, p, n);
    }
    return &n->m;
}

/* Takes the node behind link out and makes it the current message. */
OTP__INLINE const otp_msg *otp__hand(otp__thread *t, otp__proc *p, otp__node **link)
{
    return otp__handed(t, p, otp__unlink(p, link), link);
}

static void otp__check_ms(otp__thread *t, int64_t ms, const char *fn)
{
    if (otp__unlikely(ms < 0 && ms != OTP_INFINITY))
        otp__badarg(t, fn, "a time must be >= 0 or OTP_INFINITY, not", (long long)ms);
}

static int64_t otp__deadline(otp__sched *s, int64_t ms, int64_t *now)
{
    *now = otp__now(s);
    int64_t at;
    if (__builtin_mul_overflow(ms, (int64_t)1000000, &at) || __builtin_add_overflow(at, *now, &at))
        return INT64_MAX - 1000000;
    return at;
}

/* What a receive wants. */
typedef struct otp__want {
    int how;
    int tag;
    const int *tags;
    size_t n;
    const otp_ref *refs;
    bool (*match)(const otp_msg *, void *);
    void *arg;
    size_t *which;
} otp__want;
enum { OTP__ANY, OTP__TAG, OTP__TAGS, OTP__REF, OTP__MATCH, OTP__REFS };

OTP__INLINE bool otp__wanted(const otp__want *w, const otp_msg *m, otp__thread **t)
{
    switch (w->how) {
    case OTP__ANY: return true;
    case OTP__TAG: return m->tag == w->tag;
    case OTP__TAGS:
        for (size_t i = 0; i < w->n; i++)
            if (w->tags[i] == m->tag) return true;
        return false;
    case OTP__REF: return m->ref.id == w->refs->id;
    case OTP__MATCH: {
        otp__out(*t);       /* user code */
        bool yes = w->match(m, w->arg);
        *t = otp__in();
        return yes;
    }
    default:
        if (m->tag != OTP_REPLY_TAG && m->tag != OTP_DOWN) return false;
        for (size_t i = 0; i < w->n; i++)
            if (w->refs[i].id && w->refs[i].id == m->ref.id) {
                if (w->which) *w->which = i;
                return true;
            }
        return false;
    }
}

/* Whether what the waker brought is a message for an empty queue: it need not go through it. */
OTP__INLINE bool otp__alone(otp__proc *p, otp__node *n)
{
    return n && !p->first && !n->next && (n->m.flags & OTP__K_MASK) == OTP__K_MSG && n->to == otp__pid(p);
}

OTP__INLINE const otp_msg *otp__receive_as(const otp__want *w, int64_t ms, const char *fn)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__check_ms(t, ms, fn);
    otp__drop_cur(t, p);
    if (otp__unlikely(p->reds >= p->turn)) t = otp__turn_over(t);
    int64_t deadline = 0, now = 0;
    otp__node **link = &p->first;
    if (w->how == OTP__REF && p->mark && p->mark_ref == w->refs->id && !(p->flags & OTP__P_HANDLER)) link = p->mark;
    for (;;) {
        otp__node *n = p->handed;
        if (otp__alone(p, n) && w->how <= OTP__TAG && otp__wanted(w, &n->m, &t)) {
            p->handed = NULL;
            const otp_msg *m = otp__handed(t, p, n, &p->first);
            otp__out(t);
            return m;
        }
        for (; *link; link = &(*link)->next)
            if (otp__wanted(w, &(*link)->m, &t)) {
                const otp_msg *m = otp__hand(t, p, link);
                otp__out(t);
                return m;
            }
        if (otp__arrived(p)) {
            t = otp__take_in(t);
            if (*link) continue;
        }
        if (ms >= 0) {
            if (ms == 0) break;
            if (!deadline) deadline = otp__deadline(t->p, ms, &now);
            else if ((now = otp__now(t->p)) >= deadline) break;
        }
        t = otp__wait(t, OTP__ACT_PARK, deadline, now, OTP_WAITS_MESSAGE);
    }
    t = otp__count(t, 1);
    otp__out(t);
    return NULL;
}

const otp_msg *otp_recv(int64_t ms)
{
    return otp__receive_as(&(otp__want){ .how = OTP__ANY }, ms, "otp_recv");
}

const otp_msg *otp_recv_tag(int tag, int64_t ms)
{
    return otp__receive_as(&(otp__want){ .how = OTP__TAG, .tag = tag }, ms, "otp_recv_tag");
}

const otp_msg *otp_recv_tags(const int *tags, size_t n, int64_t ms)
{
    otp__touch(tags, n * sizeof *tags);
    return otp__receive_as(&(otp__want){ .how = OTP__TAGS, .tags = tags, .n = n }, ms, "otp_recv_tags");
}

const otp_msg *otp_recv_ref(otp_ref ref, int64_t ms)
{
    return otp__receive_as(&(otp__want){ .how = OTP__REF, .refs = &ref }, ms, "otp_recv_ref");
}

const otp_msg *otp_recv_match(bool (*match)(const otp_msg *m, void *arg), void *arg, int64_t ms)
{
    return otp__receive_as(&(otp__want){ .how = OTP__MATCH, .match = match, .arg = arg }, ms, "otp_recv_match");
}

const otp_msg *otp_wait_any(const otp_ref *refs, size_t n, int64_t ms, size_t *which)
{
    bool some = false;
    for (size_t i = 0; i < n; i++) some |= refs[i].id != 0;
    if (!some) return NULL;
    return otp__receive_as(&(otp__want){ .how = OTP__REFS, .refs = refs, .n = n, .which = which }, ms, "otp_wait_any");
}

/* The next message behind link, waited for if there is none. */
OTP__INLINE bool otp__scan_from(otp__thread *t, otp__node **link, otp__scan *sc, const otp_msg **m)
{
    otp__proc *p = t->cur;
    int64_t now = 0;
    for (;;) {
        otp__node *n = p->handed;
        if (otp__alone(p, n)) {
            p->handed = NULL;
            *m = sc->given = otp__handed(t, p, n, &p->first);
            break;
        }
        if (*link) {
            *m = sc->given = otp__hand(t, p, link);
            break;
        }
        if (otp__arrived(p)) {
            t = otp__take_in(t);
            if (*link) continue;
        }
        if (sc->ms >= 0) {
            if (sc->ms > 0 && !sc->deadline) sc->deadline = otp__deadline(t->p, sc->ms, &now);
            else if (sc->ms == 0 || (now = otp__now(t->p)) >= sc->deadline) {
                *m = sc->given = &otp__after.m;
                t = otp__count(t, 1);
                break;
            }
        }
        t = otp__wait(t, OTP__ACT_PARK, sc->deadline, now, OTP_WAITS_MESSAGE);
    }
    otp__out(t);
    return true;
}

static OTP__NOINLINE bool otp__scan_first(otp__thread *t, otp__scan *sc, const otp_msg **m)
{
    return otp__scan_from(t, &t->cur->first, sc, m);
}

/* The same, nothing being there: for a wait without end, and a waker that brings a message. */
OTP__BACK_BY_JUMP(bool, otp__scan_wait, (otp__thread *t, otp__scan *sc, const otp_msg **m))
{
    if (otp__likely(sc->ms < 0 && !otp__arrived(t->cur))) {
        t = otp__wait(t, OTP__ACT_PARK, 0, 0, OTP_WAITS_MESSAGE);
        otp__proc *p = t->cur;
        otp__node *n = p->handed;
        if (otp__likely(otp__alone(p, n) && !(n->m.flags & (OTP__F_COUNTED | OTP__F_CALL)) && !otp__get(&otp__rt.slow))) {
            p->handed = NULL;
            *m = sc->given = otp__current(p, n, &p->first);
            otp__out(t);
            return true;
        }
    }
    return otp__scan_first(t, sc, m);
}

/* All that otp__scan_next does, from the start. */
static OTP__NOINLINE bool otp__scan_any(otp__scan *sc, const otp_msg **m)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__node **link = p->u.left;
    p->u.left = NULL;
    if (!sc->given) {
        otp__check_ms(t, sc->ms, "otp_receive");
        otp__drop_cur(t, p);
        if (otp__unlikely(p->reds >= p->turn)) t = otp__turn_over(t);
        link = &p->first;
    }
    return otp__scan_from(t, link, sc, m);
}

/* What is nearly always the case is done here, without a call, so that it needs no frame: the last message was taken;
   or the next one is there and nothing is special. */
bool otp__scan_next(otp__scan *sc, const otp_msg **m)
{
    otp__thread *t = otp__self_thread();
    if (sc->given) {    /* again: was the last one left, or taken? */
        if (otp__unlikely(t->cur->u.left) && sc->given != &otp__after.m) return otp__scan_any(sc, m);
        t->cur->u.left = NULL;
        return false;
    }
    if (otp__unlikely(!otp__in_fast(t))) return otp__scan_any(sc, m);
    otp__proc *p = t->cur;
    if (otp__unlikely(p->reds >= p->turn || sc->ms < OTP_INFINITY || !otp__drop_fast(t->p, p))) return otp__scan_any(sc, m);
    p->u.left = NULL;
    otp__node *n = p->first;
    if (!n) return otp__scan_wait(t, sc, m);
    if (otp__unlikely(n->m.flags & (OTP__F_COUNTED | OTP__F_CALL))) return otp__scan_first(t, sc, m);
    *m = sc->given = otp__current(p, otp__unlink_first(p), &p->first);
    otp__out(t);
    return true;
}

static void otp__leave_node(otp__proc *p, otp__node *n)
{
    otp__node **link = (otp__node **)(void *)n->next;
    n->next = *link;
    *link = n;
    if (!n->next) p->last = &n->next;
    p->cur = NULL;
    p->u.left = &n->next;
    if (otp__get(&p->mq_limit) && !(n->m.flags & OTP__F_COUNTED)) {
        n->m.flags |= OTP__F_COUNTED;
        atomic_fetch_add_explicit(&p->mq_count, 1, memory_order_relaxed);
    }
    if (n->m.flags & OTP__F_CALL) p->req_ref = 0;
}

void otp_leave(const otp_msg *m)
{
    otp__thread *t = otp__in_proc();
    if (m && t->cur->cur && &t->cur->cur->m == m) otp__leave_node(t->cur, t->cur->cur);
    otp__out(t);
}

const otp_msg *otp_keep(const otp_msg *m)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__node *n = p->cur;
    otp__ext *x = m && n && &n->m == m ? otp__ext_of(t->p, p) : NULL;
    if (x) {
        p->cur = NULL;
        n->m.flags |= OTP__F_KEPT;
        n->next = x->kept;
        n->to = 0;
        if (x->kept) x->kept->to = (uint64_t)(uintptr_t)n;
        x->kept = n;
    } else if (m && n && &n->m == m) {
        otp_reason why = otp_reason_make(OTP_REASON_SYSTEM_LIMIT, OTP_ENOMEM, "otp_keep: out of memory");
        otp__exit_now(t, &why);
    }
    otp__out(t);
    return m;
}

void otp_drop(const otp_msg *m)
{
    if (!m) return;
    otp__node *n = otp__node_of(m);
    otp__touch(n, sizeof *n);
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    if (n == p->cur) {
        otp__drop_cur(t, p);
    } else if (m->flags & OTP__F_KEPT) {
        otp__node *prev = (otp__node *)(uintptr_t)n->to;
        if (prev) prev->next = n->next;
        else p->ext->kept = n->next;
        if (n->next) n->next->to = n->to;
        otp__node_free(t->p, n);
    }
    otp__out(t);
}

void otp__payload_short(const otp_msg *m, size_t size, const char *type)
{
    otp__thread *t = otp__in_proc();
    char text[160];
    (void)snprintf(text, sizeof text, "OTP_PAYLOAD: message %d has %zu bytes, %s needs %zu", m->tag, m->size, type,
                   size);
    otp_reason why = otp_reason_make(OTP_REASON_BADARG, 0, text);
    otp__exit_now(t, &why);
}

/* Sending. */

/* A mailbox limit: counts the node, or refuses. */
static OTP__NOINLINE int otp__limit(otp__proc *p, otp__node *n)
{
    unsigned count = atomic_fetch_add_explicit(&p->mq_count, 1, memory_order_relaxed);
    if (count < otp__get(&p->mq_limit)) {
        n->m.flags |= OTP__F_COUNTED;
        return 0;
    }
    atomic_fetch_sub_explicit(&p->mq_count, 1, memory_order_relaxed);
    otp__ext *x = p->ext;   /* set before the process was opened, and as long as it lives */
    return x && x->full == OTP_FULL_DROP ? 1 : OTP_EFULL;
}

/* Hands a message over; the node is spent whatever happens. */
OTP__INLINE int otp__post(otp__sched *s, uint64_t to, otp__node *n)
{
    otp__proc *p = otp__find(to);
    __builtin_prefetch(p ? (void *)&p->first : NULL);   /* a receiver that waits is written to next */
    if (otp__unlikely(otp__get(&otp__rt.slow))) otp__trace_message(n, to, true);
    OTP__STEP(s);
    if (otp__unlikely(!p)) {
        otp__undeliverable(s, n);
        return OTP_ENOPROC;
    }
    if (otp__unlikely(otp__get(&p->mq_limit)) && (n->m.flags & OTP__K_MASK) == OTP__K_MSG) {
        int rc = otp__limit(p, n);
        if (rc) {
            if (rc > 0 && (n->m.flags & OTP__F_CALL)) return otp__undeliverable(s, n), 0;
            otp__node_free(s, n);
            return rc > 0 ? 0 : rc;
        }
    }
    if (otp__unlikely(!otp__push(s, p, n))) {
        otp__undeliverable(s, n);
        return OTP_ENOPROC;
    }
    return 0;
}

static void otp__deliver(otp__sched *s, uint64_t to, otp__node *n) { (void)otp__post(s, to, n); }

/* Copies the caller's bytes into a node. They may be a bad pointer: the fault is the process's own, and the node
   is given back by the landing (4.22). */
OTP__INLINE void otp__copy_in(otp__thread *t, otp__node *n, const void *data, size_t size)
{
    t->copying = n;
    atomic_signal_fence(memory_order_seq_cst);
    if (otp__likely(size == 8)) memcpy((char *)(uintptr_t)n->m.data, data, 8);
    else memcpy((char *)(uintptr_t)n->m.data, data, size);
    atomic_signal_fence(memory_order_seq_cst);
    t->copying = NULL;
}

OTP__INLINE otp__node *otp__node_copy(otp__thread *t, uint64_t to, int tag, unsigned kind, const void *data,
                                      size_t size)
{
    if (otp__refused("message")) return NULL;
    otp__node *n = otp__node_new(t->p, t->cur ? otp__pid(t->cur) : 0, to, tag, kind, size);
    if (otp__unlikely(!n)) return NULL;
    if (size) otp__copy_in(t, n, data, size);
    return n;
}

OTP__INLINE bool otp__tag_ok(int tag) { return tag >= 0 || tag < OTP_TAG_MIN; }

static OTP__NOINLINE int otp__send_remote(otp_pid to, int tag, const void *data, size_t size)
{
    return otp__rt.route ? otp__rt.route(to, tag, data, size, otp__rt.route_arg) : OTP_ENOPROC;
}

/* What a thread that is not ours may not do: anything while nothing runs, and disturb a deterministic run. */
static int otp__foreign(void)
{
    int up = otp__get(&otp__rt.up);
    return up == 0 ? OTP_ENOTUP : otp__rt.det && up == 1 ? OTP_ENOTPROC : 0;
}

#define OTP__SEND_REDS 6        /* so that a producer lets its consumer run before the messages leave the cache */

static OTP__NOINLINE int otp__send_any(otp_pid to, int tag, const void *data, size_t size, unsigned kind)
{
    if (otp__unlikely(!otp__tag_ok(tag) || (size && !data))) return OTP_EBADARG;
    if (otp__unlikely(to.id & OTP__REMOTE)) return otp__send_remote(to, tag, data, size);
    otp__thread *t = otp__in();
    int rc = otp__likely(t->p != NULL) ? 0 : otp__foreign();
    if (otp__likely(rc == 0)) {
        otp__node *n = otp__node_copy(t, to.id, tag, kind, data, size);
        rc = otp__likely(n != NULL) ? otp__post(t->p, to.id, n) : OTP_ENOMEM;
    }
    t = otp__count(t, OTP__SEND_REDS);
    otp__out(t);
    return rc;
}

/* The ends of a fast send that need a call. */
static OTP__NOINLINE int otp__sent_turn(otp__thread *t)
{
    t = otp__turn_over(t);
    otp__out(t);
    return 0;
}

static OTP__NOINLINE int otp__sent_woke(otp__thread *t, otp__proc *p)
{
    otp__make_runnable(t->p, p);
    t = otp__count(t, OTP__SEND_REDS);
    otp__out(t);
    return 0;
}

static OTP__NOINLINE int otp__sent_push(otp__thread *t, otp__proc *p, otp__node *n)
{
    int rc = 0;
    if (!otp__push(t->p, p, n)) {
        otp__undeliverable(t->p, n);
        rc = OTP_ENOPROC;
    }
    t = otp__count(t, OTP__SEND_REDS);
    otp__out(t);
    return rc;
}

/* What is nearly always the case is done here, without a call, so that it needs no frame: a word or nothing for a
   process that is there. All else is otp__send_any's, from the start. */
OTP__INLINE int otp__send(otp_pid to, int tag, const void *data, size_t size, unsigned kind)
{
    otp__thread *t = otp__self_thread();
    if (otp__unlikely(tag < 0 || (size != 0 && (size != 8 || !data)) || !otp__in_fast(t))) goto any;
    otp__proc *p = otp__find(to.id);
    if (otp__unlikely(!p || otp__get(&p->mq_limit))) goto any;
    __builtin_prefetch(&p->first);      /* a receiver that waits is written to next */
    otp__sched *s = t->p;
    otp__node *n = otp__mem_try(&s->mem, OTP__CLASS_WORD);
    if (otp__unlikely(!n)) goto any;
    (void)otp__node_fill(n, OTP__CLASS_WORD, otp__pid(t->cur), to.id, tag, kind, size ? 8 : 0);
    if (size) otp__copy_in(t, n, data, 8);
    uintptr_t h = otp__push_plain(p, n);
    if (h == OTP__PARKED) {
        if (otp__unlikely(p->special || s->no_next || otp__get(&s->run_next))) return otp__sent_woke(t, p);
        otp__put_rlx(&s->run_next, p);
    } else if (otp__unlikely(h != OTP__EMPTY)) {
        return otp__sent_push(t, p, n);
    }
    if (otp__unlikely((t->cur->reds += OTP__SEND_REDS) >= t->cur->turn)) return otp__sent_turn(t);
    otp__out(t);
    return 0;
any:
    return otp__send_any(to, tag, data, size, kind);
}

int otp_send(otp_pid to, int tag, const void *data, size_t size) { return otp__send(to, tag, data, size, OTP__K_MSG); }

int otp_cast(otp_pid to, int tag, const void *data, size_t size)
{
    return otp__send(to, tag, data, size, OTP__K_MSG | OTP__F_CAST);
}

int otp_send_name(const char *name, int tag, const void *data, size_t size)
{
    otp_pid to = otp_whereis(name);
    return to.id ? otp_send(to, tag, data, size) : OTP_ENOENT;
}

int otp_send_alias(otp_alias to, int tag, const void *data, size_t size)
{
    if (!otp__tag_ok(tag) || (size && !data)) return OTP_EBADARG;
    otp__thread *t = otp__in();
    otp__node *n = otp__node_copy(t, to.pid.id, tag, OTP__K_REPLY, data, size);
    if (n) n->m.ref = to.ref;
    int rc = n ? otp__post(t->p, to.pid.id, n) : OTP_ENOMEM;
    t = otp__count(t, 1);
    otp__out(t);
    return rc == OTP_ENOPROC ? 0 : rc;
}

otp_shared *otp_shared_new(const void *data, size_t size)
{
    otp_shared *sh = size <= SIZE_MAX / 2 ? otp__big_get(sizeof *sh + size) : NULL;
    if (!sh) return NULL;
    atomic_init(&sh->refs, 1);
    sh->size = size;
    if (data && size) memcpy(sh->data, data, size);
    otp_shared *held = sh;
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    /* the process's own reference hangs on its heap, so that it is dropped with it */
    otp_shared **slot = otp__heap_alloc(t->p, p, sizeof held);
    otp__out(t);
    if (!slot) {
        otp__big_put(sh);
        return NULL;
    }
    *slot = sh;
    ((otp__block *)(void *)slot - 1)->magic = 0x5a8ed;
    return sh;
}

void *otp_shared_data(otp_shared *s) { return s->data; }
size_t otp_shared_size(const otp_shared *s) { return s->size; }

int otp_send_shared(otp_pid to, int tag, otp_shared *sh)
{
    if (!sh || !otp__tag_ok(tag)) return OTP_EBADARG;
    otp__thread *t = otp__in();
    otp__node *n = otp__node_new(t->p, t->cur ? otp__pid(t->cur) : 0, to.id, tag, OTP__K_MSG, 0);
    int rc = OTP_ENOMEM;
    if (n) {
        atomic_fetch_add_explicit(&sh->refs, 1, memory_order_relaxed);  /* from a reference that is held */
        n->m.flags |= OTP__F_SHARED;
        n->m.data = sh->data;
        n->m.size = sh->size;
        rc = otp__post(t->p, to.id, n);
    }
    t = otp__count(t, 1);
    otp__out(t);
    return rc;
}

otp_ref otp_make_ref(void)
{
    otp__thread *t = otp__in();
    otp__proc *p = t->cur;
    otp_ref ref = { otp__ref_new(t->p) };
    otp__mark(p, ref.id);
    otp__out(t);
    return ref;
}

/* Calls. */

/* Waits for the reply or the DOWN with reference p->call_ref. NULL when the time is over; 0 is no deadline. */
static OTP__NOINLINE otp__node *otp__await_until(otp__thread **t, int64_t deadline, int waits)
{
    otp__proc *p = (*t)->cur;
    int64_t now = 0;
    for (;;) {
        if (otp__arrived(p)) *t = otp__take_in(*t);
        if (p->call_reply) break;
        if (deadline && (now = otp__now((*t)->p)) >= deadline) break;
        *t = otp__wait(*t, OTP__ACT_SIGWAIT, deadline, now, waits);
    }
    otp__node *n = p->call_reply;
    p->call_reply = NULL;
    p->call_ref = 0;
    if (otp__unlikely(otp__get(&otp__rt.slow)) && n) otp__trace_message(n, otp__pid(p), false);
    return n;
}

/* The same for `ms`. Mostly nothing has arrived, and the reply is what wakes us: that is done here, in the caller's frame,
   since each return on a stack that was left and entered again is one that the processor predicts wrongly. */
OTP__INLINE otp__node *otp__await_reply(otp__thread **t, int64_t ms, int waits)
{
    otp__proc *p = (*t)->cur;
    int64_t deadline = 0, now = 0;
    if (ms >= 0) deadline = otp__deadline((*t)->p, ms, &now);
    if (otp__likely(ms != 0 && !otp__arrived(p) && !p->call_reply)) {
        *t = otp__wait(*t, OTP__ACT_SIGWAIT, deadline, now, waits);
        otp__node *n = p->handed;
        if (otp__likely(n && !n->next && (n->m.flags & OTP__K_MASK) == OTP__K_REPLY && n->m.ref.id == p->call_ref &&
                        n->to == otp__pid(p) && !otp__get(&otp__rt.slow))) {
            p->handed = NULL;
            p->call_ref = 0;
            return n;
        }
    }
    return otp__await_until(t, deadline, waits);
}

/* The reply as a node, or NULL and *error. *why gets what is known of a death. */
OTP__INLINE otp__node *otp__call(otp__thread **tp, otp_pid to, int tag, const void *data, size_t size, int64_t ms,
                                 int *error, otp_reason_kind *why)
{
    otp__thread *t = *tp;
    otp__proc *p = t->cur;
    *why = OTP_REASON_NOPROC;
    if (otp__unlikely(to.id == otp__pid(p))) return *error = OTP_ESELF, NULL;
    if (otp__unlikely((size && !data) || (tag < 0 && tag > OTP_SYS_SUSPEND) || (ms < 0 && ms != OTP_INFINITY)))
        return *error = OTP_EBADARG, NULL;
    otp__node *n = otp__node_copy(t, to.id, tag, OTP__K_MSG | OTP__F_CALL, data, size);
    if (otp__unlikely(!n)) return *error = OTP_ENOMEM, NULL;
    uint64_t ref = otp__ref_new(t->p);
    n->m.ref.id = ref;
    p->call_ref = ref;
    p->waits_for = to.id;
    int rc = otp__post(t->p, to.id, n);
    if (otp__unlikely(rc < 0)) {
        p->call_ref = 0;
        return *error = rc, NULL;
    }
    p->reds += 2;
    n = otp__await_reply(tp, ms, OTP_WAITS_CALL);
    t = *tp;
    if (otp__unlikely(!n)) {
        (void)otp__signal(t->p, otp__pid(p), to.id, OTP__K_DEMONITOR, ref);
        return *error = OTP_ETIMEOUT, NULL;
    }
    if (otp__unlikely((n->m.flags & OTP__K_MASK) == OTP__K_DOWN)) {
        *why = ((const otp_reason *)n->m.data)->kind;
        *error = *why == OTP_REASON_NOPROC ? OTP_ENOPROC : OTP_EDIED;
        otp__node_free(t->p, n);
        return NULL;
    }
    if (otp__unlikely(n->m.from.id != to.id)) (void)otp__signal(t->p, otp__pid(p), to.id, OTP__K_DEMONITOR, ref);
    if (otp__unlikely(n->m.flags & OTP__F_ERROR)) {
        memcpy(error, n->m.data, sizeof *error);
        otp__node_free(t->p, n);
        return NULL;
    }
    return n;
}

OTP__INLINE int64_t otp__try_call(otp__thread **t, otp_pid to, int tag, const void *data, size_t size, void *reply,
                                  size_t reply_size, int64_t ms, otp_reason_kind *why)
{
    int error = 0;
    otp__node *n = otp__call(t, to, tag, data, size, ms, &error, why);
    if (otp__unlikely(!n)) return error;
    int64_t got = (int64_t)n->m.size;
    if (otp__unlikely(n->m.size > reply_size)) got = OTP_ESIZE;
    else if (got > 0) {
        (*t)->copying = n;
        atomic_signal_fence(memory_order_seq_cst);
        if (otp__likely(got == 8)) memcpy(reply, n->m.data, 8);
        else memcpy(reply, n->m.data, n->m.size);
        atomic_signal_fence(memory_order_seq_cst);
        (*t)->copying = NULL;
    }
    otp__node_free((*t)->p, n);
    return got;
}

int64_t otp_try_call(otp_pid to, int tag, const void *data, size_t size, void *reply, size_t reply_size, int64_t ms)
{
    otp__thread *t = otp__in_proc();
    otp_reason_kind why;
    int64_t rc = otp__try_call(&t, to, tag, data, size, reply, reply_size, ms, &why);
    t = otp__count(t, 1);
    otp__out(t);
    return rc;
}

static OTP__COLD OTP_NORETURN void otp__call_failed(otp__thread *t, otp_pid to, int tag, int code, otp_reason_kind kind)
{
    char pid[32], reason[64], text[200];
    (void)otp__pid_text(to.id, pid, sizeof pid);
    (void)otp_format_reason(&(otp_reason){ kind, 0, 0, NULL }, reason, sizeof reason);
    (void)snprintf(text, sizeof text, "otp_call to %s, request %d%s%s", pid, tag,
                   code == OTP_EDIED ? ": it died: " : "", code == OTP_EDIED ? reason : "");
    otp_reason why = otp_reason_make(OTP_REASON_CALL, code, text);
    otp__exit_now(t, &why);
}

int64_t otp_call(otp_pid to, int tag, const void *data, size_t size, void *reply, size_t reply_size, int64_t ms)
{
    otp__thread *t = otp__in_proc();
    otp_reason_kind why;
    int64_t rc = otp__try_call(&t, to, tag, data, size, reply, reply_size, ms, &why);
    if (otp__unlikely(rc < 0)) otp__call_failed(t, to, tag, (int)rc, why);
    t = otp__count(t, 1);
    otp__out(t);
    return rc;
}

const otp_msg *otp_call_msg(otp_pid to, int tag, const void *data, size_t size, int64_t ms, int *error)
{
    otp__thread *t = otp__in_proc();
    otp_reason_kind why;
    int code = 0;
    otp__node *n = otp__call(&t, to, tag, data, size, ms, &code, &why);
    if (n) {
        otp__drop_cur(t, t->cur);
        n->m.flags = (n->m.flags & ~(uint32_t)OTP__K_MASK) | OTP__K_MSG;
        t->cur->cur = n;
    }
    if (error) *error = code;
    otp__out(t);
    return n ? &n->m : NULL;
}

static int otp__reply(otp_from to, const void *data, size_t size, unsigned flags)
{
    otp__thread *t = otp__in();
    otp__proc *p = t->cur;
    otp__node *n = otp__node_copy(t, to.pid.id, OTP_REPLY_TAG, OTP__K_REPLY | flags, data, size);
    if (n) {
        n->m.ref = to.ref;
        if (p && p->req_ref == to.ref.id) p->req_ref = 0;
        else if (p && p->rel) {
            otp__ent *e = otp__rel_find(p, to.ref.id);
            if (e && e->kind == OTP__R_REQ_IN) otp__rel_remove(t->p, p, e);
        }
        (void)otp__post(t->p, to.pid.id, n);
    }
    t = otp__count(t, 1);
    otp__out(t);
    return n ? 0 : OTP_ENOMEM;
}

static OTP__NOINLINE int otp__reply_any(otp_from to, const void *data, size_t size)
{
    if (size && !data) return OTP_EBADARG;
    return to.ref.id ? otp__reply(to, data, size, 0) : 0;
}

/* The ends of a fast reply that need a call. */
static OTP__NOINLINE int otp__replied_push(otp__thread *t, otp__proc *p, otp__node *n)
{
    if (!otp__push(t->p, p, n)) otp__undeliverable(t->p, n);
    t = otp__count(t, 1);
    otp__out(t);
    return 0;
}

static OTP__NOINLINE int otp__replied_woke(otp__thread *t, otp__proc *p)
{
    otp__make_runnable(t->p, p);
    t = otp__count(t, 1);
    otp__out(t);
    return 0;
}

/* As otp__send: what is nearly always the case is done here, without a call. A word or nothing, from the process that has
   just been asked, to a client that waits. */
int otp_reply(otp_from to, const void *data, size_t size)
{
    otp__thread *t = otp__self_thread();
    if (otp__unlikely(!to.ref.id || (size != 0 && (size != 8 || !data)) || !otp__in_fast(t))) goto any;
    otp__proc *p = otp__find(to.pid.id);
    if (otp__unlikely(!p || t->cur->req_ref != to.ref.id)) goto any;
    otp__sched *s = t->p;
    otp__node *n = otp__mem_try(&s->mem, OTP__CLASS_WORD);
    if (otp__unlikely(!n)) goto any;
    (void)otp__node_fill(n, OTP__CLASS_WORD, otp__pid(t->cur), to.pid.id, OTP_REPLY_TAG, OTP__K_REPLY, size ? 8 : 0);
    n->m.ref = to.ref;
    if (size) otp__copy_in(t, n, data, 8);
    t->cur->req_ref = 0;
    if (otp__unlikely(!otp__push_awaited(p, n))) return otp__replied_push(t, p, n);
    if (otp__unlikely(p->special || s->no_next || otp__get(&s->run_next))) return otp__replied_woke(t, p);
    otp__put_rlx(&s->run_next, p);
    if (otp__unlikely(++t->cur->reds >= t->cur->turn)) return otp__sent_turn(t);
    otp__out(t);
    return 0;
any:
    return otp__reply_any(to, data, size);
}

int otp_reply_error(otp_from to, int code)
{
    if (code >= 0) return OTP_EBADARG;
    return to.ref.id ? otp__reply(to, &code, sizeof code, OTP__F_ERROR) : 0;
}

int otp_reply_code(const otp_msg *m)
{
    int code = 0;
    if (m->tag == OTP_DOWN) return otp_reason_of(m)->kind == OTP_REASON_NOPROC ? OTP_ENOPROC : OTP_EDIED;
    if (m->flags & OTP__F_ERROR) memcpy(&code, m->data, sizeof code);
    return code;
}

otp_ref otp_send_request(otp_pid to, int tag, const void *data, size_t size)
{
    otp_ref ref = { 0 };
    if ((size && !data) || (tag < 0 && tag > OTP_SYS_SUSPEND)) return ref;
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__node *n = otp__node_copy(t, to.id, tag, OTP__K_MSG | OTP__F_CALL, data, size);
    uint64_t id = otp__ref_new(t->p);
    otp__ent *e = n ? otp__rel_add(t->p, p, id, OTP__R_REQ_OUT) : NULL;
    if (e) {
        ref.id = n->m.ref.id = id;
        e->who = to.id;
        otp__mark(p, id);
        if (otp__post(t->p, to.id, n) == OTP_EFULL)
            otp__signal_why(t->p, to.id, otp__pid(p), OTP__K_DOWN, 0, id,
                            &(otp_reason){ OTP_REASON_SYSTEM_LIMIT, OTP_EFULL, 0, "the mailbox is full" });
    } else if (n) {
        otp__node_free(t->p, n);
    }
    t = otp__count(t, 2);
    otp__out(t);
    return ref;
}

int otp_cancel_request(otp_ref ref)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__ent *e = otp__rel_find(p, ref.id);
    int rc = OTP_ENOENT;
    if (e && e->kind == OTP__R_REQ_OUT) {
        (void)otp__signal(t->p, otp__pid(p), e->who, OTP__K_DEMONITOR, ref.id);
        otp__rel_remove(t->p, p, e);
        rc = 0;
    } else {
        otp__node **link = otp__queue_find_ref(p, ref.id, 0);
        if (link && ((*link)->m.tag == OTP_REPLY_TAG || (*link)->m.tag == OTP_DOWN))
            otp__node_free(t->p, otp__unlink(p, link));
    }
    otp__out(t);
    return rc;
}

/* Links, monitors, aliases. */

int otp_link(otp_pid pid)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    int rc = 0;
    if (pid.id != otp__pid(p)) {
        otp__ent *e = otp__rel_find(p, pid.id | OTP__KEY_PID);
        if (!e || e->count == 0) {
            if (!e) e = otp__rel_add(t->p, p, pid.id | OTP__KEY_PID, OTP__R_LINK);
            if (!e) {
                rc = OTP_ENOMEM;
            } else {
                e->who = pid.id;
                e->count = 1;
                if (!otp__signal(t->p, otp__pid(p), pid.id, OTP__K_LINK, 0)) {
                    rc = OTP_ENOMEM;
                    e = otp__rel_find(p, pid.id | OTP__KEY_PID);
                    e->count = 0;
                    if (!e->ack) otp__rel_remove(t->p, p, e);
                }
                if (otp__arrived(p) && !(p->flags & OTP__P_EXITING)) t = otp__take_in(t); /* it may have been dead */
            }
        }
    }
    t = otp__count(t, 2);
    otp__out(t);
    return rc;
}

int otp_unlink(otp_pid pid)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__ent *e = otp__rel_find(p, pid.id | OTP__KEY_PID);
    if (e && e->count) {
        uint64_t id = otp__ref_new(t->p);
        e->count = 0;
        e->ack = id;
        (void)otp__signal(t->p, otp__pid(p), pid.id, OTP__K_UNLINK, id);
    }
    t = otp__count(t, 2);
    otp__out(t);
    return 0;
}

static otp_ref otp__monitor(otp_pid pid, const otp_monitor_opts *o, const char *name)
{
    otp_ref ref = { 0 };
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    char *copy = NULL;
    if (name) {
        copy = otp__new(t->p, strlen(name) + 1);
        if (!copy) {
            otp__out(t);
            return ref;
        }
        (void)strcpy(copy, name);
    }
    uint64_t id = otp__ref_new(t->p);
    if (pid.id == otp__pid(p)) {
        ref.id = id;            /* a mere reference: as in Erlang not even an alias, whatever was asked for */
        if (copy) otp__delete(t->p, copy, strlen(copy) + 1);
    } else {
        otp__ent *e = otp__rel_add(t->p, p, id, OTP__R_MON_OUT);
        if (e) {
            ref.id = id;
            e->who = pid.id;
            e->name = copy;
            e->tag = o ? o->tag : 0;
            e->mode = o ? (uint8_t)o->alias : OTP_ALIAS_NONE;
            otp__mark(p, id);
            if (!otp__signal(t->p, otp__pid(p), pid.id, OTP__K_MONITOR, id)) {
                ref.id = 0;
                e = otp__rel_find(p, id);
                otp__rel_remove(t->p, p, e);
            }
        } else if (copy) {
            otp__delete(t->p, copy, strlen(copy) + 1);
        }
    }
    t = otp__count(t, 2);
    otp__out(t);
    return ref;
}

otp_ref otp_monitor(otp_pid pid) { return otp__monitor(pid, NULL, NULL); }
otp_ref otp_monitor_opt(otp_pid pid, const otp_monitor_opts *opts) { return otp__monitor(pid, opts, NULL); }
otp_ref otp_monitor_name(const char *name) { return otp__monitor(otp_whereis(name), NULL, name ? name : ""); }

bool otp_demonitor(otp_ref ref, int flags)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__ent *e = otp__rel_find(p, ref.id);
    bool was = e && e->kind == OTP__R_MON_OUT;
    if (was) {
        (void)otp__signal(t->p, otp__pid(p), e->who, OTP__K_DEMONITOR, ref.id);
        e = otp__rel_find(p, ref.id);
        if (e->mode == OTP_ALIAS_EXPLICIT) e->kind = OTP__R_ALIAS;
        else otp__rel_remove(t->p, p, e);
    }
    if (flags & OTP_FLUSH)
        for (otp__node **link = &p->first; *link;) {
            if ((*link)->m.ref.id == ref.id && ((*link)->m.flags & OTP__F_DOWN)) {
                otp__node_free(t->p, otp__unlink(p, link));
                break;
            }
            link = &(*link)->next;
        }
    t = otp__count(t, 2);
    otp__out(t);
    return flags & OTP_INFO ? was : true;
}

const char *otp_down_name(const otp_msg *m)
{
    return m->flags & OTP__F_DOWN ? ((const otp__why *)m->data)->name : NULL;
}

const otp_reason *otp_reason_of(const otp_msg *m)
{
    if (m->tag == OTP_EXIT || (m->flags & OTP__F_DOWN)) return m->data;
    otp__thread *t = otp__in_proc();
    otp__badarg(t, "otp_reason_of", "this message carries no reason: tag", m->tag);
}

otp_alias otp_alias_new(otp_alias_mode mode)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp_alias a = { { otp__pid(p) }, { otp__ref_new(t->p) } };
    otp__ent *e = otp__rel_add(t->p, p, a.ref.id, OTP__R_ALIAS);
    if (e) e->mode = (uint8_t)(mode == OTP_ALIAS_REPLY ? OTP_ALIAS_REPLY : OTP_ALIAS_EXPLICIT);
    else a.ref.id = 0;
    otp__out(t);
    return a;
}

bool otp_unalias(otp_alias a)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    bool was = false;
    if (a.pid.id == otp__pid(p)) {
        if (otp__arrived(p) && !(p->flags & OTP__P_EXITING))
            t = otp__take_in(t); /* what was sent before it was switched off */
        otp__ent *e = otp__rel_find(p, a.ref.id);
        if (e && e->kind == OTP__R_ALIAS) {
            otp__rel_remove(t->p, p, e);
            was = true;
        } else if (e && e->kind == OTP__R_MON_OUT && e->mode != OTP_ALIAS_NONE) {
            e->mode = OTP_ALIAS_NONE;   /* the monitor stays */
            was = true;
        }
    }
    otp__out(t);
    return was;
}

/* Other waits. */

void otp_yield(void)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    if (p->flags & OTP__P_GUEST) {
        otp__out(t);
        (void)sched_yield();
        return;
    }
    p->turn = p->reds;
    t = otp__unlikely(otp__rt.det && otp__rt.director) ? otp__directed_turn(t, OTP_POINT_YIELD) : otp__turn_over(t);
    otp__out(t);
}

void otp_sleep(int64_t ms)
{
    otp__thread *t = otp__in_proc();
    otp__check_ms(t, ms, "otp_sleep");
    int64_t now = 0, deadline = ms < 0 ? 0 : otp__deadline(t->p, ms, &now);
    while (deadline == 0 || now < deadline) {
        t = otp__wait_sig(t, deadline, now, OTP_WAITS_SLEEP);
        now = otp__now(t->p);
    }
    otp__out(t);
}

void otp_hibernate(otp_fn *fn, void *arg)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    if (!fn || (p->flags & (OTP__P_GUEST | OTP__P_HANDLER)))
        otp__badarg(t, "otp_hibernate", "only a function process, with a function:", fn ? 1 : 0);
    otp__drop_cur(t, p);
    if (otp__arrived(p)) t = otp__take_in(t);
    otp__sched *s = t->p;
    otp__stack *k = p->stack;
    p->run.fn = fn;
    p->arg = arg;
    p->stack = NULL;
    p->mark = NULL;
    p->has |= OTP__HAS_ASLEEP;
    otp__put_rlx(&p->waits, OTP_WAITS_MESSAGE);
    s->pend = p;
    s->pend_act = p->first ? OTP__ACT_YIELD : OTP__ACT_PARK;    /* with a message there already it wakes at once */
    t->cur = NULL;
    if (k->size > OTP__STACK_KEEP) otp__put_rlx(&s->attn, OTP__ATTN_CLOCK);
    otp__san_abandon(k);
    otp__ctx_go_fresh(otp__stack_top(k), otp__loop, k);
}

/* What the loop calls when a hibernated process wakes: for a message only does it get its stack back. */
static OTP__NOINLINE void otp__hibernated(void *arg)
{
    otp__proc *p = arg;
    otp__thread *t = otp__in();
    if (otp__arrived(p)) t = otp__take_in(t);
    if (!p->first) {
        otp__put_rlx(&p->waits, OTP_WAITS_MESSAGE);
        p->act = OTP__ACT_PARK;
        otp__out(t);
        return;
    }
    p->act = OTP__ACT_DONE;
    p->has &= (uint16_t)~OTP__HAS_ASLEEP;
    otp_fn *fn = p->run.fn;
    void *fn_arg = p->arg;
    otp__out(t);
    fn(fn_arg);
}

otp_priority otp_set_priority(otp_priority prio)
{
    otp__thread *t = otp__in_proc();
    if ((unsigned)prio > OTP_PRIO_MAX) otp__badarg(t, "otp_set_priority", "no such priority:", prio);
    otp_priority old = (otp_priority)t->cur->prio;
    t->cur->prio = (uint8_t)prio;
    t->cur->special = prio != OTP_PRIO_NORMAL || (t->cur->flags & (OTP__P_PINNED | OTP__P_GUEST));
    otp__out(t);
    return old;
}

static otp__dict **otp__dict_at(otp__proc *p, const char *key)
{
    static otp__dict *none;
    if (!p->ext || !key) return &none;
    otp__dict **at = &p->ext->dict;
    while (*at && strcmp((*at)->key, key) != 0) at = &(*at)->next;
    return at;
}

void *otp_put(const char *key, void *value)
{
    otp__touch_text(key);
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    void *old = NULL;
    if (!key) otp__badarg(t, "otp_put", "the key is NULL:", 0);
    otp__ext *x = otp__ext_of(t->p, p);
    otp__dict **at = x ? otp__dict_at(p, key) : NULL;
    if (at && *at) {
        old = (*at)->value;
        (*at)->value = value;
    } else if (at) {
        otp__dict *d = OTP_MALLOC(sizeof *d + strlen(key) + 1);
        if (d) {
            d->next = NULL;
            d->value = value;
            (void)strcpy(d->key, key);
            *at = d;
        } else {
            x = NULL;
        }
    }
    if (!x) {
        otp_reason why = otp_reason_make(OTP_REASON_SYSTEM_LIMIT, OTP_ENOMEM, "otp_put: out of memory");
        otp__exit_now(t, &why);
    }
    otp__out(t);
    return old;
}

void *otp_get(const char *key)
{
    otp__touch_text(key);
    otp__thread *t = otp__in_proc();
    otp__dict *d = *otp__dict_at(t->cur, key);
    otp__out(t);
    return d ? d->value : NULL;
}

void *otp_erase(const char *key)
{
    otp__touch_text(key);
    otp__thread *t = otp__in_proc();
    otp__dict **at = otp__dict_at(t->cur, key), *d = *at;
    void *old = d ? d->value : NULL;
    if (d) {
        *at = d->next;
        OTP_FREE(d);
    }
    otp__out(t);
    return old;
}

/* Sends a signal that is answered through the call slot, and waits. NULL: timeout. */
static otp__node *otp__ask(otp__thread **t, uint64_t to, unsigned kind, int what, int64_t ms)
{
    otp__proc *p = (*t)->cur, *q = otp__find(to);
    otp__node *n = otp__node_sure((*t)->p, otp__pid(p), to, what, kind);
    if (!n) return NULL;
    uint64_t ref = otp__ref_new((*t)->p);
    n->m.ref.id = ref;
    p->call_ref = ref;
    p->waits_for = to;      /* for who looks: not the pid of an earlier call */
    if (!q || !otp__push((*t)->p, q, n)) otp__undeliverable((*t)->p, n);
    n = otp__await_reply(t, ms, OTP_WAITS_CALL);
    if (!n && (kind == OTP__K_MONITOR)) (void)otp__signal((*t)->p, otp__pid(p), to, OTP__K_DEMONITOR, ref);
    return n;
}

int otp_await_exit(otp_pid pid, int64_t ms, otp_reason *why)
{
    if (why) *why = OTP_NORMAL;
    otp__thread *t = otp__in_proc();
    otp__check_ms(t, ms, "otp_await_exit");
    if (pid.id == otp__pid(t->cur) && ms == OTP_INFINITY)
        otp__badarg(t, "otp_await_exit", "a process cannot wait for its own end:", 0);
    otp__node *n = otp__ask(&t, pid.id, OTP__K_MONITOR, 0, ms);
    int rc = n ? 0 : OTP_ETIMEOUT;
    if (n) {
        if (why) {
            memcpy(why, n->m.data, sizeof *why);
            why->text = NULL;
        }
        otp__node_free(t->p, n);
    }
    otp__out(t);
    return rc;
}

int otp_suspend_process(otp_pid pid)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    int rc = OTP_EBADARG;
    if (pid.id != otp__pid(p)) {
        otp__node *n = otp__ask(&t, pid.id, OTP__K_SUSPEND, 0, OTP_INFINITY);
        rc = !n ? OTP_ENOMEM : (n->m.flags & OTP__K_MASK) == OTP__K_DOWN ? OTP_ENOPROC : 0;
        if (n) otp__node_free(t->p, n);
        if (rc == 0) {
            otp__ent *e = otp__rel_find(p, pid.id | OTP__KEY_SUSPEND);
            if (!e) e = otp__rel_add(t->p, p, pid.id | OTP__KEY_SUSPEND, OTP__R_SUSPEND);
            if (e) {
                e->who = pid.id;
                e->count++;
            } else {    /* nobody could take it back */
                otp__proc *q = otp__find(pid.id);
                n = otp__node_sure(t->p, otp__pid(p), pid.id, 1, OTP__K_RESUME);
                if (n && (!q || !otp__push(t->p, q, n))) otp__node_free(t->p, n);
                rc = OTP_ENOMEM;
            }
        }
    }
    otp__out(t);
    return rc;
}

int otp_resume_process(otp_pid pid)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur, *q = otp__find(pid.id);
    otp__ent *e = otp__rel_find(p, pid.id | OTP__KEY_SUSPEND);
    int rc = e ? 0 : OTP_ENOENT;
    if (e) {
        otp__node *n = otp__node_sure(t->p, otp__pid(p), pid.id, 1, OTP__K_RESUME);
        if (n && (!q || !otp__push(t->p, q, n))) {
            otp__node_free(t->p, n);
            rc = OTP_ENOPROC;
        }
        if (--e->count == 0 || rc != 0) otp__rel_remove(t->p, p, e);
    }
    otp__out(t);
    return rc;
}

/* Timers, the interface. */

static int64_t otp__timer_due(otp__sched *s, int64_t time, bool absolute, int64_t *now)
{
    int64_t last = INT64_MAX / 1000000 - 1;     /* the end of time: 292 years */
    if (absolute) return time < 0 ? 0 : time > last ? last : time;
    return otp__due_ms(otp__deadline(s, time, now));
}

static OTP__NOINLINE otp__tmore *otp__timer_more(otp__sched *s, int64_t interval, const char *name)
{
    otp__tmore *more = otp__new(s, sizeof *more);
    if (!more) return NULL;
    more->interval = interval;
    (void)snprintf(more->name, sizeof more->name, "%s", name ? name : "");
    return more;
}

/* Inlined, and o's address goes nowhere, so that the two short forms pay only for what they use. */
OTP__INLINE otp_ref otp__timer_start(const otp_timer_opts *o)
{
    otp_ref ref = { 0 };
    if ((o->time < 0 && !o->absolute) || (o->size && !o->data) || (!o->timeout && !otp__tag_ok(o->tag))) return ref;
    otp__thread *t = otp__in();
    otp__sched *s = t->p;
    otp__node *n = otp__get(&otp__rt.up) ? otp__node_copy(t, o->to.id, o->timeout ? OTP_TIMEOUT_TAG : o->tag,
                                                          OTP__K_MSG, o->data, o->size)
                                         : NULL;
    bool more = o->interval || o->name;
    otp__tmore *what = n && more ? otp__timer_more(s, o->interval, o->name) : NULL;
    otp__timer *tm = n && (!more || what) ? otp__timer_new(s) : NULL;
    if (otp__likely(tm != NULL)) {
        uint32_t gen = otp__get(&tm->state) >> 2;
        ref.id = OTP__TIMER_REF | (uint64_t)gen << 32 | tm->index;
        if (o->timeout) {
            n->m.ref = ref;
            if (t->cur && o->to.id == otp__pid(t->cur)) otp__mark(t->cur, ref.id);
        }
        int64_t now = 0;
        otp__put_rlx(&tm->due, otp__timer_due(s, o->time, o->absolute, &now));
        otp__put_rlx(&tm->to, o->name ? OTP__BY_NAME : o->to.id);
        tm->node = n;
        tm->more = what;
        otp__put_rel(&tm->state, gen << 2 | OTP__TIMER_ARMED);
        if (otp__likely(s && !s->main)) otp__timer_insert(s, tm, now);
        else otp__timer_inject(tm);
    } else if (n) {
        otp__node_free(s, n);
        if (what) otp__delete(s, what, sizeof *what);
    }
    t = otp__count(t, 1);
    otp__out(t);
    return ref;
}

otp_ref otp_timer(const otp_timer_opts *o)
{
    if (!o || o->interval < 0 || (o->name && !otp__name_ok(o->name))) return (otp_ref){ 0 };
    return otp__timer_start(o);
}

otp_ref otp_send_after(int64_t ms, otp_pid to, int tag, const void *data, size_t size)
{
    return otp__timer_start(&(otp_timer_opts){ .time = ms, .to = to, .tag = tag, .data = data, .size = size });
}

otp_ref otp_start_timer(int64_t ms, otp_pid to, const void *data, size_t size)
{
    return otp__timer_start(&(otp_timer_opts){ .time = ms, .to = to, .timeout = true, .data = data, .size = size });
}

static otp__timer *otp__timer_of(otp_ref ref, unsigned *armed)
{
    if (!(ref.id & OTP__TIMER_REF)) return NULL;
    otp__timer *tm = otp__timer_at((uint32_t)ref.id);
    *armed = ((uint32_t)(ref.id >> 32) & 0x3fffffffu) << 2 | OTP__TIMER_ARMED;
    return tm && otp__get_acq(&tm->state) == *armed ? tm : NULL;
}

static int64_t otp__timer_left(otp__thread *t, otp__timer *tm)
{
    int64_t due = otp__get(&tm->due), now = otp__now(t->p);
    int64_t left = due > INT64_MAX / 1000000 ? due - otp__ms(now) : (due * 1000000 - now) / 1000000;
    return left < 0 ? 0 : left;
}

int64_t otp_read_timer(otp_ref ref)
{
    otp__thread *t = otp__in();
    unsigned armed;
    otp__timer *tm = otp__timer_of(ref, &armed);
    int64_t left = OTP_ENOENT;
    if (tm) {
        uint64_t to = otp__get(&tm->to);
        left = otp__timer_left(t, tm);
        if (otp__timer_dead(to) || otp__get_acq(&tm->state) != armed) left = OTP_ENOENT;
    }
    otp__out(t);
    return left;
}

/* A record may be freed and taken again meanwhile: its fields are read without its lock, as a snapshot. */
OTP__SNAPSHOT size_t otp_timers(otp_pid *out, size_t max)
{
    otp__touch(out, max * sizeof *out);
    otp__thread *t = otp__in();
    size_t n = 0;
    uint32_t slots = otp__get_acq(&otp__rt.timer_slots);
    for (uint32_t i = 0; i < slots; i++) {
        otp__timer *tm = otp__timer_at(i);
        uint64_t to = otp__get(&tm->to);
        if ((otp__get_acq(&tm->state) & 3) != OTP__TIMER_ARMED || !tm->node || otp__timer_dead(to)) continue;
        if (n++ < max) out[n - 1].id = to == OTP__BY_NAME ? 0 : to;
    }
    otp__out(t);
    return n;
}

int64_t otp_cancel_timer(otp_ref ref)
{
    otp__thread *t = otp__in();
    otp__sched *s = t->p;
    unsigned armed;
    otp__timer *tm = otp__timer_of(ref, &armed);
    int64_t left = OTP_ENOENT;
    /* acquire: what was written before it was armed; release: our reads of it are done before the owner frees it */
    if (tm) {
        uint64_t to = otp__get(&tm->to);
        left = otp__timer_left(t, tm);
        OTP__STEP(s);
        int owner = otp__get(&tm->owner);
        if (!otp__cas(&tm->state, &armed, (armed & ~3u) | OTP__TIMER_CANCELLED, memory_order_acq_rel))
            left = OTP_ENOENT;
        else {
            if (otp__timer_dead(to)) left = OTP_ENOENT;
            if (s && owner == s->id) {
                otp__tlink_remove(&tm->link);
                s->wheel.count--;
                otp__timer_free(s, tm);
            } else if (owner >= 0 && otp__rt.sched[owner]) {
                atomic_fetch_add_explicit(&otp__rt.sched[owner]->wheel.cancelled, 1, memory_order_relaxed);
            }
        }
    }
    t = otp__count(t, 1);
    otp__out(t);
    return left;
}

/* -- 4.20 handlers --------------------------------------------------------------------------------------
   >> handler   Called by the loop on its own stack, once per turn: messages are handed to the callback until there
   are none, or the turn is over. p->mark is the scan position: what stands before it was left. */

enum { OTP__N_OK, OTP__N_LEAVE, OTP__N_RETRY, OTP__N_STOP, OTP__N_CONTINUE, OTP__N_IGNORE, OTP__N_FAIL };

static otp_next otp__end_with(otp_reason why, int op)
{
    otp__touch_text(why.text);
    otp__thread *t = otp__in_proc();
    otp__ext *x = otp__ext_of(t->p, t->cur);
    if (x) {
        if (x->why) otp__delete(t->p, x->why, x->why->bytes);
        x->why = otp__box_new(t->p, &why);
    }
    otp__out(t);
    return otp_next_make(op, (int)why.kind, -1);
}

otp_next otp_stop_with(otp_reason why) { return otp__end_with(why, OTP__N_STOP); }
otp_next otp_fail_with(otp_reason why) { return otp__end_with(why, OTP__N_FAIL); }

void *otp_handler_state(void)
{
    otp__thread *t = otp__self_thread();
    return t && t->cur && (t->cur->flags & OTP__P_HANDLER) ? t->cur->arg : NULL;
}

/* The engine's own answers to system requests. */
static otp__thread *otp__handler_system(otp__thread *t, otp__proc *p, otp__node *n)
{
    const otp_handler *h = p->run.h;
    const otp_msg *m = &n->m;
    otp_from from = otp_from_of(m);
    bool refused = m->tag == OTP_SYS_CHANGE_CODE && !(p->flags & OTP__P_SYS_SUSPENDED);
    otp__out(t);
    if (refused || !h->system || !h->system(p->arg, m)) {
        int rc = 0;
        switch (m->tag) {
        case OTP_SYS_SUSPEND:
            p->flags |= OTP__P_SYS_SUSPENDED;
            rc = otp_reply(from, NULL, 0);
            break;
        case OTP_SYS_RESUME:
            p->flags &= (uint8_t)~OTP__P_SYS_SUSPENDED;
            rc = otp_reply(from, NULL, 0);
            break;
        case OTP_SYS_GET_STATE: rc = otp_reply(from, p->arg, h->state_size); break;
        case OTP_SYS_REPLACE_STATE:
            if (m->size != h->state_size) rc = otp_reply_error(from, OTP_ESIZE);
            else {
                if (m->size) memcpy(p->arg, m->data, m->size);
                rc = otp_reply(from, NULL, 0);
            }
            break;
        case OTP_SYS_TRACE: {
            int on = m->size >= sizeof on ? *(const int *)m->data : 0;
            p->flags = (uint8_t)(on ? p->flags | OTP__P_TRACED : p->flags & ~OTP__P_TRACED);
            rc = otp_reply(from, NULL, 0);
            break;
        }
        default: rc = otp_reply_error(from, OTP_EBADCALL);
        }
        if (rc < 0) otp__log(OTP_LOG_ERROR, "handler: no memory to answer a system request");
    }
    return otp__in();
}

/* The parent has ended: so does what it started and linked, whatever else waits. */
static bool otp__is_parents_exit(const otp__proc *p, const otp__node *n)
{
    return n->m.tag == OTP_EXIT && (p->has & OTP__HAS_PARENT) && n->m.from.id == p->parent;
}

static bool otp__is_system(const otp__node *n)
{
    return n->m.tag <= OTP_SYS_SUSPEND && n->m.tag >= OTP_SYS_TERMINATE && otp_is_call(&n->m);
}

/* What the callback said. False when the process ends. */
static bool otp__handler_next(otp__thread *t, otp__proc *p, otp_next next, otp__node *n)
{
    p->has &= (uint16_t)~OTP__HAS_IDLE;
    switch (next.op) {
    case OTP__N_LEAVE:
        if (n && p->cur == n) {
            otp__leave_node(p, n);
            p->mark = &n->next;
        }
        break;
    case OTP__N_RETRY: p->mark = &p->first; break;
    case OTP__N_STOP:
    case OTP__N_IGNORE:
    case OTP__N_FAIL: return false;
    case OTP__N_CONTINUE: {
        otp__ext *x = otp__ext_of(t->p, p);
        if (x) {
            x->cont = next.arg;
            p->has |= OTP__HAS_CONT;
        }
        break;
    }
    default: break;
    }
    if (next.idle >= 0) {
        int64_t now;
        p->deadline = otp__deadline(t->p, next.idle, &now);
        p->has |= OTP__HAS_IDLE;
    }
    return true;
}

static OTP_NORETURN void otp__handler_stop(otp__thread *t, otp__proc *p, int kind)
{
    otp_reason why = p->ext && p->ext->why ? p->ext->why->r : otp_reason_make((otp_reason_kind)kind, 0, NULL);
    const otp_reason *last = otp__begin_exit(&t, &why, true);
    if (p->run.h->terminate) {
        p->has |= OTP__HAS_TERMINATE;
        otp__out(t);
        p->run.h->terminate(p->arg, last);
        t = otp__in();
    }
    otp__exit_now(t, last);
}

/* Init says that there is nothing to run: no terminate. With OTP_IGNORE and otp_fail_with the process itself ends well. */
static OTP_NORETURN void otp__handler_unstarted(otp__thread *t, otp__proc *p, otp_next next)
{
    otp__ext *x = otp__ext_of(t->p, p);
    otp_reason why = x && x->why ? x->why->r : otp_reason_make((otp_reason_kind)next.arg, 0, NULL);
    if (next.op != OTP__N_STOP) {
        otp_reason ignored = OTP_ERROR(OTP_EIGNORE);
        if (x) x->answer = otp__box_new(t->p, next.op == OTP__N_IGNORE ? &ignored : &why);
        if (x && x->why) otp__delete(t->p, x->why, x->why->bytes);
        if (x) x->why = NULL;
        why = OTP_NORMAL;
    }
    const otp_reason *last = otp__begin_exit(&t, &why, true);
    otp__exit_now(t, last);
}

static OTP__NOINLINE otp__thread *otp__handler_init(otp__thread *t, otp__proc *p)
{
    const otp_handler *h = p->run.h;
    p->mark = &p->first;
    otp_next next = OTP_OK;
    if (h->init) {
        otp__ext *x = p->ext;
        void *arg = x ? x->init_arg : NULL;
        size_t size = x ? x->init_size : 0;
        otp__out(t);
        next = h->init(p->arg, arg, size);
        if (size) otp_free(arg);
        t = otp__in();
        otp__drop_cur(t, p);    /* what init received last */
    }
    otp__ext_trim(t->p, p);
    if (!otp__handler_next(t, p, next, NULL)) otp__handler_unstarted(t, p, next);
    p->flags |= OTP__P_INITED;
    if (p->has & OTP__HAS_START) {      /* somebody waits for this moment */
        uint64_t from = p->req_from, ref = p->req_ref;
        p->has &= (uint16_t)~OTP__HAS_START;
        if (!otp__signal(t->p, otp__pid(p), from, OTP__K_REPLY, ref))
            otp__handler_stop(t, p, OTP_REASON_SYSTEM_LIMIT);   /* which answers, too */
        p->req_ref = 0;
    }
    return t;
}

/* The next node to hand out: while suspended only system requests. */
static otp__node **otp__handler_scan(otp__proc *p)
{
    otp__node **link = p->mark;
    if (otp__likely(!(p->flags & OTP__P_SYS_SUSPENDED))) return link;
    for (link = &p->first; *link && !otp__is_system(*link) && !otp__is_parents_exit(p, *link);) link = &(*link)->next;
    return link;
}

static OTP__NOINLINE otp__thread *otp__handler_pseudo(otp__thread *t, otp__proc *p, int tag, int *data)
{
    otp_msg m = { .tag = tag, .flags = OTP__F_STATIC, .size = data ? sizeof *data : 0, .data = data };
    otp__out(t);
    otp_next next = p->run.h->message(p->arg, &m);
    t = otp__in();
    otp__drop_cur(t, p);
    if (!otp__handler_next(t, p, next, NULL)) otp__handler_stop(t, p, next.arg);
    return t;
}

/* Somebody asks it to stop, by OTP_SYS_TERMINATE. Comes back when the request makes no sense. */
static void otp__handler_terminate(otp__thread *t, otp__proc *p, const otp_msg *m)
{
    if (m->size < sizeof(otp_reason)) return;
    otp_reason why = *(const otp_reason *)m->data;
    if ((unsigned)why.kind >= OTP_REASON_COUNT) return;
    const char *bytes = m->data;
    why.text = m->size > sizeof why && bytes[m->size - 1] == 0 ? bytes + sizeof why : NULL;
    otp__ext *x = otp__ext_of(t->p, p);
    if (x && !x->why) x->why = otp__box_new(t->p, &why);
    otp__handler_stop(t, p, (int)why.kind);
}

static OTP__NOINLINE otp__thread *otp__handler_special(otp__thread *t, otp__proc *p, otp__node *n)
{
    if (otp__is_system(n)) {
        if (n->m.tag == OTP_SYS_TERMINATE) otp__handler_terminate(t, p, &n->m);
        t = otp__handler_system(t, p, n);
        otp__drop_cur(t, p);
        return t;
    }
    if (otp__is_parents_exit(p, n)) {
        const otp_reason *why = n->m.data;
        otp__ext *x = otp__ext_of(t->p, p);
        if (x && !x->why) x->why = otp__box_new(t->p, why);
        otp__handler_stop(t, p, (int)why->kind);
    }
    if (!(p->flags & OTP__P_TRACED)) return t;
    char who[160];
    otp__describe(p, who, sizeof who);
    otp__log(OTP_LOG_NOTICE, "%s got message %d, %zu bytes, from <%u.%u>", who, n->m.tag, n->m.size,
             otp__pid_slot(n->m.from.id), otp__pid_gen(n->m.from.id));
    return t;
}

static OTP__NOINLINE void otp__handler_run(void *arg)
{
    otp__proc *p = arg;
    otp__thread *t = otp__in();
    if (otp__unlikely(!(p->flags & OTP__P_INITED))) {
        if (otp__arrived(p)) t = otp__take_in(t);
        t = otp__handler_init(t, p);
    }
    for (;;) {
        if (otp__unlikely(p->has & OTP__HAS_CONT) && !(p->flags & OTP__P_SYS_SUSPENDED)) {
            int what = p->ext->cont;
            p->has &= (uint16_t)~OTP__HAS_CONT;
            t = otp__handler_pseudo(t, p, OTP_CONTINUE, &what);
            continue;
        }
        otp__node **link = otp__handler_scan(p);
        otp__node *n = *link;
        if (!n && otp__arrived(p)) {
            n = p->handed;
            if (otp__likely(otp__alone(p, n) && p->reds < p->turn && !(p->flags & OTP__P_SYS_SUSPENDED))) {
                p->handed = NULL;
            } else {
                t = otp__take_in(t);
                link = otp__handler_scan(p);
                n = *link;
            }
        }
        if (n) {
            if (otp__unlikely(p->reds >= p->turn)) {
                p->act = OTP__ACT_YIELD;
                break;
            }
            (void)otp__handed(t, p, n == *link ? otp__unlink(p, link) : n, link);
            if (otp__unlikely((p->flags & (OTP__P_SYS_SUSPENDED | OTP__P_TRACED)) || n->m.tag < 0)) {
                t = otp__handler_special(t, p, n);
                if (p->cur != n) continue;
            }
            p->reds += 2;
            otp__out(t);
            otp_next next = p->run.h->message(p->arg, &n->m);
            t = otp__in();
            if (otp__likely(next.op == OTP__N_OK && next.idle < 0)) {
                p->has &= (uint16_t)~OTP__HAS_IDLE;
                otp__drop_cur(t, p);
                continue;
            }
            if (!otp__handler_next(t, p, next, n)) otp__handler_stop(t, p, next.arg);
            otp__drop_cur(t, p);
            continue;
        }
        p->act = OTP__ACT_PARK;
        if (otp__unlikely(p->has & OTP__HAS_IDLE) && !(p->flags & OTP__P_SYS_SUSPENDED)) {
            int64_t now = otp__now(t->p);
            if (now >= p->deadline) {
                p->has &= (uint16_t)~OTP__HAS_IDLE;
                t = otp__handler_pseudo(t, p, OTP_IDLE, NULL);
                continue;
            }
            if (!otp__arm(t->p, p, p->deadline, now)) p->act = OTP__ACT_YIELD;
        }
        otp__put_rlx(&p->waits, p->has & OTP__HAS_IDLE ? OTP_WAITS_MESSAGE | OTP__TIMED : OTP_WAITS_MESSAGE);
        break;
    }
    otp__out(t);
}

/* The starter's side. The process was opened with the starter's request in place, so its init's end or its own answers. */
static int otp__start_handler(const otp_spawn_opts *o, int64_t timeout, otp_pid *pid, const char *place)
{
    otp__thread *t = otp__in_proc();
    uint64_t ref = otp__ref_new(t->p);
    otp__out(t);
    int rc = otp__spawn(o, pid, ref, place);
    if (rc == OTP_EEXIST) *pid = otp_whereis(o->name);
    if (rc < 0) return rc;
    otp_pid child = *pid;
    t = otp__in_proc();
    otp__node *n = otp__await_reply(&t, timeout, OTP_WAITS_CALL);
    if (otp__likely(n && (n->m.flags & OTP__K_MASK) == OTP__K_REPLY)) {
        otp__node_free(t->p, n);
        otp__out(t);
        return 0;
    }
    pid->id = 0;
    otp__ext *x = n ? otp__ext_of(t->p, t->cur) : NULL;
    if (n) {
        const otp_reason *r = n->m.data;
        rc = r->kind == OTP_REASON_ERROR && r->code == OTP_EIGNORE ? OTP_EIGNORE : OTP_EDIED;
        if (x && x->start_why) otp__delete(t->p, x->start_why, x->start_why->bytes);
        if (x) x->start_why = otp__box_new(t->p, r);
        otp__node_free(t->p, n);
        otp__out(t);
    } else {
        rc = OTP_ETIMEOUT;
        otp__out(t);
        if (o->link) (void)otp_unlink(child);
        (void)otp_exit_signal(child, OTP_KILL);
        (void)otp_await_exit(child, OTP_INFINITY, NULL);
        t = otp__in_proc();
        for (otp__node **link = &t->cur->first; *link; link = &(*link)->next)   /* it had ended just before */
            if ((*link)->m.tag == OTP_EXIT && (*link)->m.from.id == child.id) {
                otp__node_free(t->p, otp__unlink(t->cur, link));
                break;
            }
        otp__out(t);
    }
    if (o->monitor) (void)otp_demonitor(*o->monitor, OTP_FLUSH);
    return rc;
}

int otp_start_handler_at(const otp_spawn_opts *o, int64_t timeout, otp_pid *pid, otp_reason *why, const char *place)
{
    int rc = otp__spawn_check(o);
    if (rc == 0 && (!o->handler || !pid || (timeout < 0 && timeout != OTP_INFINITY))) rc = OTP_EBADARG;
    if (pid) pid->id = 0;
    if (rc == 0) rc = otp__start_handler(o, timeout, pid, place);
    otp__thread *t = otp__in_proc();
    otp__ext *x = rc < 0 ? otp__ext_of(t->p, t->cur) : t->cur->ext;
    if (x) x->start_rc = rc;
    otp__out(t);
    if (rc == OTP_EDIED) (void)otp_start_result(why);
    return rc;
}

int otp_start_result(otp_reason *why)
{
    otp__thread *t = otp__in_proc();
    otp__ext *x = t->cur->ext;
    if (why) *why = x && x->start_why ? x->start_why->r : OTP_NORMAL;
    int rc = x ? x->start_rc : 0;
    otp__out(t);
    return rc;
}

otp_pid otp_start_failed(int rc, otp_reason why)
{
    otp__touch_text(why.text);
    otp__thread *t = otp__in_proc();
    otp__ext *x = rc < 0 ? otp__ext_of(t->p, t->cur) : t->cur->ext;
    if (x) {
        otp__box *box = rc < 0 ? otp__box_new(t->p, &why) : NULL;     /* first: the text may be that of the old one */
        if (x->start_why) otp__delete(t->p, x->start_why, x->start_why->bytes);
        x->start_why = box;
        x->start_rc = rc;
    }
    otp__out(t);
    return (otp_pid){ 0 };
}

/* -- 4.21 heap ------------------------------------------------------------------------------------------
   >> heap   Every block of a process carries a header that links it to the process, so that an exit frees them all. */

_Static_assert(sizeof(otp__block) % 16 == 0, "blocks keep the alignment of their class");

#define OTP__BLOCK_MAGIC 0xb10cu
#define OTP__SHARED_MAGIC 0x5a8edu

static void *otp__heap_alloc(otp__sched *s, otp__proc *p, size_t size)
{
    otp__ext *x = p->ext;
    if (otp__refused("heap")) return NULL;
    if (otp__unlikely(size > SIZE_MAX / 2 || (x && x->heap_limit && size + p->heap_bytes > x->heap_limit))) return NULL;
    unsigned cls = otp__class_of(sizeof(otp__block) + size);
    otp__block *b = otp__unlikely(cls == OTP__CLASS_BIG) ? otp__big_get(sizeof(otp__block) + size) : otp__mem_get(s, cls);
    if (otp__unlikely(!b)) return NULL;
    b->size = size;
    b->cls = cls;
    b->magic = OTP__BLOCK_MAGIC;
    b->prev = NULL;
    b->next = p->heap;
    if (b->next) b->next->prev = b;
    p->heap = b;
    p->heap_bytes += size;
    p->has |= OTP__HAS_HEAP;
    return b + 1;
}

static void otp__heap_unlink(otp__proc *p, otp__block *b)
{
    if (b->prev) b->prev->next = b->next;
    else p->heap = b->next;
    if (b->next) b->next->prev = b->prev;
    p->heap_bytes -= b->size;
}

static void otp__heap_free_all(otp__sched *s, otp__proc *p)
{
    for (otp__block *b = p->heap, *next; b; b = next) {
        next = b->next;
        if (b->magic == OTP__SHARED_MAGIC) otp__shared_unref(*(otp_shared **)(void *)(b + 1));
        otp__block_delete(s, b);
    }
    p->heap = NULL;
    p->heap_bytes = 0;
}

/* Beyond the limit: the process is killed, with a line in the log, unless it asked for NULL. */
static OTP__COLD void *otp__heap_full(otp__thread *t, size_t size)
{
    otp__proc *p = t->cur;
    otp__ext *x = p->ext;
    if (!x || !x->heap_limit || x->heap_null || (p->flags & (OTP__P_GUEST | OTP__P_EXITING)) ||
        size + p->heap_bytes <= x->heap_limit)
        return NULL;
    char who[160];
    otp__describe(p, who, sizeof who);
    otp__log(OTP_LOG_ERROR, "%s: heap limit of %zu bytes reached: killed", who, x->heap_limit);
    otp_reason why = otp_reason_make(OTP_REASON_KILLED, 0, NULL);
    otp__exit_now(t, &why);
}

void *otp_alloc(size_t size)
{
    otp__thread *t = otp__in_proc();
    void *block = otp__heap_alloc(t->p, t->cur, size);
    if (otp__unlikely(!block)) block = otp__heap_full(t, size);
    otp__out(t);
    return block;
}

void *otp_calloc(size_t n, size_t size)
{
    size_t all;
    if (__builtin_mul_overflow(n, size, &all)) return NULL;
    void *block = otp_alloc(all);
    return block ? memset(block, 0, all) : NULL;
}

void otp_free(void *block)
{
    if (!block) return;
    otp__block *b = (otp__block *)block - 1;
    otp__touch(b, sizeof *b);
    otp__thread *t = otp__in_proc();
    if (otp__unlikely(b->magic != OTP__BLOCK_MAGIC))
        otp__badarg(t, "otp_free", "not a block of otp_alloc, or freed already:", 0);
    b->magic = 0;
    otp__heap_unlink(t->cur, b);
    otp__block_delete(t->p, b);
    otp__out(t);
}

void *otp_realloc(void *block, size_t size)
{
    if (!block) return otp_alloc(size);
    if (size > SIZE_MAX / 2) return NULL;
    otp__block *b = (otp__block *)block - 1;
    if (size <= b->size) return block;
    if (b->cls != OTP__CLASS_BIG && sizeof *b + size <= otp__class_bytes[b->cls]) {
        otp__thread *t = otp__in_proc();
        otp__proc *p = t->cur;
        bool fits = !(p->ext && p->ext->heap_limit && p->heap_bytes - b->size + size > p->ext->heap_limit);
        if (fits) {
            p->heap_bytes += size - b->size;
            b->size = size;
        }
        otp__out(t);
        if (fits) return block;
    }
    void *bigger = otp_alloc(size);
    if (!bigger) return NULL;
    memcpy(bigger, block, b->size);
    otp_free(block);
    return bigger;
}

char *otp_strdup(const char *str)
{
    size_t n = strlen(str) + 1;
    char *copy = otp_alloc(n);
    return copy ? memcpy(copy, str, n) : NULL;
}

void otp_shared_drop(otp_shared *sh)
{
    if (!sh) return;
    otp__thread *t = otp__in_proc();
    for (otp__block *b = t->cur->heap; b; b = b->next)
        if (b->magic == OTP__SHARED_MAGIC && *(otp_shared **)(void *)(b + 1) == sh) {
            otp__heap_unlink(t->cur, b);
            otp__block_delete(t->p, b);
            otp__shared_unref(sh);
            break;
        }
    otp__out(t);
}

otp_shared *otp_shared_of(const otp_msg *m)
{
    if (!(m->flags & OTP__F_SHARED)) return NULL;
    otp_shared *sh = (otp_shared *)(void *)((char *)(uintptr_t)m->data - offsetof(otp_shared, data));
    otp__thread *t = otp__in_proc();
    otp_shared **slot = otp__heap_alloc(t->p, t->cur, sizeof *slot);
    if (slot) {
        atomic_fetch_add_explicit(&sh->refs, 1, memory_order_relaxed);  /* the message holds one */
        *slot = sh;
        ((otp__block *)(void *)slot - 1)->magic = OTP__SHARED_MAGIC;
    }
    otp__out(t);
    return slot ? sh : NULL;
}

int otp_send_move(otp_pid to, int tag, void *block, size_t size)
{
    if (!block) return otp_send(to, tag, NULL, size);
    otp__block *b = (otp__block *)block - 1;
    if (!otp__tag_ok(tag) || b->magic != OTP__BLOCK_MAGIC || size > b->size) return OTP_EBADARG;
    otp__thread *t = otp__in_proc();
    otp__node *n = otp__node_new(t->p, otp__pid(t->cur), to.id, tag, OTP__K_MSG, 0);
    int rc = OTP_ENOMEM;
    if (n) {
        otp__heap_unlink(t->cur, b);
        n->m.flags |= OTP__F_MOVED;
        n->m.data = block;
        n->m.size = size;
        rc = otp__post(t->p, to.id, n);
    }
    t = otp__count(t, 1);
    otp__out(t);
    return rc;
}

int otp_defer(otp_fn *fn, void *arg)
{
    if (!fn) return OTP_EBADARG;
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__ext *x = otp__ext_of(t->p, p);
    otp__defer *d = x ? otp__new(t->p, sizeof *d) : NULL;
    if (d) {
        d->next = x->defers;
        d->fn = fn;
        d->arg = arg;
        x->defers = d;
        p->has |= OTP__HAS_DEFER;
    }
    otp__out(t);
    return d ? 0 : OTP_ENOMEM;
}

int otp_undefer(otp_fn *fn, void *arg, bool run)
{
    otp__thread *t = otp__in_proc();
    otp__defer *none = NULL, **at = t->cur->ext ? &t->cur->ext->defers : &none, *d;
    while ((d = *at) != NULL && (d->fn != fn || d->arg != arg)) at = &d->next;
    if (d) {
        *at = d->next;
        otp__delete(t->p, d, sizeof *d);
    }
    otp__out(t);
    if (d && run) fn(arg);
    return d ? 0 : OTP_ENOENT;
}

/* -- 4.22 isolation -------------------------------------------------------------------------------------
   >> fault   The handler decides on the alternate stack whether the fault is the process's own; if so it changes the
   saved context so that the thread goes on in the landing, at the top of the process's stack, with its frames dropped.
   Contained: this thread runs a process, outside the runtime (or copying user bytes), on its own stack, and the
   signal was made by the fault itself. Everything else goes to the handler found at start. */

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)) && \
    OTP__ASM
#define OTP__ISOLATION 1
#include <dlfcn.h>
#include <link.h>
#include <ucontext.h>
#include <unwind.h>
#else
#define OTP__ISOLATION 0
#endif

/* What a handler was doing: the message, who waits for its answer, and the state in the words of its own format. That is
   user code: a fault in it costs this part of the report, and the reason stays. */
static otp__thread *otp__crash_state(otp__thread *t, const otp_reason *why)
{
    otp__proc *p = t->cur;
    if (!(p->flags & OTP__P_HANDLER) || !(p->flags & OTP__P_INITED) || (p->has & OTP__HAS_REPORT)) return t;
    p->has |= OTP__HAS_REPORT;
    char text[1024] = "", from[32], client[48] = "";
    int at = 0;
    if (p->cur) {
        (void)otp__pid_text(p->cur->m.from.id, from, sizeof from);
        if (p->req_ref && !(p->has & OTP__HAS_START)) {
            (void)otp__pid_text(p->req_from, client, sizeof client - 12);
            (void)strcat(client, " waits");
        }
        at = snprintf(text, sizeof text, "last message: %d, %zu bytes, from %s%s%s", p->cur->m.tag, p->cur->m.size, from,
                      client[0] ? "; client " : "", client);
    }
    otp__ext *x = otp__ext_of(t->p, p);
    if (x && !x->why) x->why = otp__box_new(t->p, why);
    if (p->run.h->format && at >= 0 && x && x->why) {
        int head = snprintf(text + at, sizeof text - (size_t)at, "%sstate: ", at ? "; " : "");
        if (at > 0 || head > 0) at += head;
        otp__out(t);
        int n = p->run.h->format(p->arg, text + at, sizeof text - (size_t)at);
        t = otp__in();
        if (n < 0) (void)snprintf(text + at, sizeof text - (size_t)at, "(format says %d)", n);
    }
    if (text[0]) otp__log(OTP_LOG_ERROR, "  %s", text);
    return t;
}

static otp__thread *otp__crash_report(otp__thread *t, const otp_reason *why, const otp__fault *f)
{
    otp__proc *p = t->cur;
    char who[200], reason[300], trace[900] = "";
    otp__describe(p, who, sizeof who);
    (void)otp_format_reason(why, reason, sizeof reason);
    size_t at = 0;
    for (int i = 0; f && i < f->depth && at < sizeof trace - 120; i++) {
        int n = 0;
#if OTP__ISOLATION
        Dl_info d = { 0 };
        if (dladdr(f->ip[i], &d) && d.dli_sname)
            n = snprintf(trace + at, sizeof trace - at, "\n    %s+%#lx", d.dli_sname,
                         (unsigned long)((char *)f->ip[i] - (char *)d.dli_saddr));
        else if (d.dli_fname)
            n = snprintf(trace + at, sizeof trace - at, "\n    %s+%#lx", d.dli_fname,
                         (unsigned long)((char *)f->ip[i] - (char *)d.dli_fbase));
        else
#endif
            n = snprintf(trace + at, sizeof trace - at, "\n    %p", f->ip[i]);
        if (n > 0) at += (size_t)n;
    }
    unsigned queue = 0;
    for (otp__node *n = p->first; n; n = n->next) queue++;
    for (otp__node *n = otp__head_list(otp__get_acq(&p->head)); n; n = n->next) queue++;
    otp__log(OTP_LOG_ERROR, "process %s ended: %s; %u messages in its mailbox%s%s", who, reason, queue,
             at ? ", calls:" : "", trace);
    return otp__crash_state(t, why);
}

#if OTP__ISOLATION

static void otp__landing(void *thread);
static bool otp__unwinds;
static struct sigaction otp__old_action[65];
static const int otp__fault_signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP };
static struct { uintptr_t lo, hi; } otp__libc[3];   /* libc, the dynamic linker, libstdc++ */

static int otp__find_libc(struct dl_phdr_info *i, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    static const char *const names[3] = { "/libc.", "/ld-", "/libstdc++" };
    for (int k = 0; k < 3; k++) {
        if (!i->dlpi_name || !strstr(i->dlpi_name, names[k])) continue;
        for (int h = 0; h < i->dlpi_phnum; h++)
            if (i->dlpi_phdr[h].p_type == PT_LOAD && (i->dlpi_phdr[h].p_flags & PF_X)) {
                otp__libc[k].lo = i->dlpi_addr + i->dlpi_phdr[h].p_vaddr;
                otp__libc[k].hi = otp__libc[k].lo + i->dlpi_phdr[h].p_memsz;
            }
    }
    return 0;
}

static bool otp__in_libc(uintptr_t ip)
{
    for (int k = 0; k < 3; k++)
        if (ip >= otp__libc[k].lo && ip < otp__libc[k].hi) return true;
    return false;
}

typedef struct otp__walk { otp__fault *f; uintptr_t pc; bool seen; bool user; int libc; uintptr_t outer; } otp__walk;

static _Unwind_Reason_Code otp__walk_step(struct _Unwind_Context *c, void *arg)
{
    otp__walk *w = arg;
    uintptr_t ip = _Unwind_GetIP(c);
    if (ip == 0) return _URC_END_OF_STACK;      /* the process's entry */
    if (!w->seen) {     /* the handler's own frames and the signal frame */
        if (ip != w->pc) return _URC_NO_REASON;
        w->seen = true;
    }
    if (!w->user) {
        if (otp__in_libc(ip)) {
            w->libc++;
            w->outer = ip;
        } else {
            w->user = true;
        }
    }
    if (w->f->depth < (int)(sizeof w->f->ip / sizeof w->f->ip[0])) w->f->ip[w->f->depth++] = (void *)ip;
    return w->f->depth < 24 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Walks over the frames that have faulted. What they saved may be garbage, which the unwinder follows: a fault of its
   own makes the swap below come back a second time, with what was found until then. Everything that is used after it
   lives across the call of the unwinder, too, so the compiler keeps it where it was. */
static OTP__NOINLINE void otp__walk_guarded(otp__walk *w)
{
    otp__thread *t = otp__self_thread();
    t->walk_lost = false;
    otp__ctx_swap(&t->walk, &t->walk);
    t = otp__self_thread();
    if (!t->walk_lost) {
        t->walking = true;
        (void)_Unwind_Backtrace(otp__walk_step, w);
    }
    t->walking = false;
}

static void otp__uc_resume(ucontext_t *u, const otp__ctx *at)
{
#if defined(__x86_64__)
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)at->pc;
    u->uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)at->sp;
    u->uc_mcontext.gregs[REG_RBP] = (greg_t)(uintptr_t)at->fp;
    u->uc_mcontext.gregs[REG_RBX] = (greg_t)(uintptr_t)at->bx;
#elif defined(__aarch64__)
    u->uc_mcontext.pc = (uintptr_t)at->pc;
    u->uc_mcontext.sp = (uintptr_t)at->sp;
    u->uc_mcontext.regs[29] = (uintptr_t)at->fp;
    u->uc_mcontext.regs[19] = (uintptr_t)at->bx;
#else
    u->uc_mcontext.__gregs[0] = (uintptr_t)at->pc;
    u->uc_mcontext.__gregs[2] = (uintptr_t)at->sp;
    u->uc_mcontext.__gregs[8] = (uintptr_t)at->fp;
    u->uc_mcontext.__gregs[9] = (uintptr_t)at->bx;
#endif
}

static uintptr_t otp__uc_pc(const ucontext_t *u)
{
#if defined(__x86_64__)
    return (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)u->uc_mcontext.pc;
#else
    return (uintptr_t)u->uc_mcontext.__gregs[0];
#endif
}

static uintptr_t otp__uc_sp(const ucontext_t *u)
{
#if defined(__x86_64__)
    return (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (uintptr_t)u->uc_mcontext.sp;
#else
    return (uintptr_t)u->uc_mcontext.__gregs[2];
#endif
}

static void otp__uc_land(ucontext_t *u, otp__stack *k, void *arg)
{
    uintptr_t sp = (uintptr_t)otp__stack_top(k);
#if OTP__ASAN
    __asan_unpoison_memory_region(k->base, (size_t)((char *)k - k->base));   /* the dropped frames had red zones */
#endif
#if defined(__x86_64__)
    sp -= 8;
    *(uintptr_t *)sp = 0;
    u->uc_mcontext.gregs[REG_RSP] = (greg_t)sp;
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)otp__landing;
    u->uc_mcontext.gregs[REG_RDI] = (greg_t)(uintptr_t)arg;
    u->uc_mcontext.gregs[REG_RBP] = 0;
    u->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)0x500;    /* direction, trap */
#elif defined(__aarch64__)
    u->uc_mcontext.sp = sp;
    u->uc_mcontext.pc = (uintptr_t)otp__landing;
    u->uc_mcontext.regs[0] = (uintptr_t)arg;
    u->uc_mcontext.regs[29] = u->uc_mcontext.regs[30] = 0;
    u->uc_mcontext.pstate &= ~(uint64_t)0xc00;      /* BTYPE */
#else
    u->uc_mcontext.__gregs[2] = sp;
    u->uc_mcontext.__gregs[0] = (uintptr_t)otp__landing;
    u->uc_mcontext.__gregs[10] = (uintptr_t)arg;
    u->uc_mcontext.__gregs[8] = u->uc_mcontext.__gregs[1] = 0;
#endif
}

/* Not ours: what was there before us. */
static void otp__fault_pass(int sig, siginfo_t *si, void *uc)
{
    struct sigaction *old = &otp__old_action[sig];
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, si, uc);
        return;
    }
    if (old->sa_handler == SIG_IGN && si->si_code <= 0) return;
    if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
        return;
    }
    (void)signal(sig, SIG_DFL);     /* the fault happens again, or the signal is sent again, and ends the program */
    if (si->si_code <= 0) (void)raise(sig);
}

static void otp__fault_say(const char *text)
{
    if (write(2, text, strlen(text)) < 0) return;
}

static void otp__fault_handler(int sig, siginfo_t *si, void *uc)
{
    ucontext_t *u = uc;
    otp__thread *t = otp__self_thread();
    otp__proc *p = t ? t->cur : NULL;
    if (t && t->walking) {
        t->walking = false;
        t->walk_lost = true;
        otp__uc_resume(u, &t->walk);
        return;
    }
    bool own = sig == SIGABRT ? si->si_code == SI_TKILL && si->si_pid == getpid() : si->si_code > 0;
    bool outside = t && (otp__get(&t->in_rt) == 0 || t->copying);
    if (!p || !own || !outside || !p->stack || (p->flags & OTP__P_GUEST)) {
        otp__fault_pass(sig, si, uc);
        return;
    }
    otp__stack *k = p->stack;
    uintptr_t sp = otp__uc_sp(u), addr = sig == SIGABRT ? 0 : (uintptr_t)si->si_addr, base = (uintptr_t)k->base;
    uintptr_t low = base - k->guard;
    if (sp < low || sp > (uintptr_t)k) {        /* some other stack: a fibre of the user's, or it is lost */
        otp__fault_pass(sig, si, uc);
        return;
    }
    otp__fault *f = &t->fault;
    f->sig = sig;
    f->addr = addr;
    f->depth = 0;
    f->overflow = sig != SIGABRT && (sp < base || (addr >= low && addr < base));
    if (!f->overflow) {
        otp__walk w = { f, otp__uc_pc(u), false, false, 0, 0 };
        Dl_info module;
        bool wild = dladdr((void *)w.pc, &module) == 0;
        if (otp__unwinds && !wild) {
            otp__walk_guarded(&w);
        } else if (!wild) {
            f->ip[f->depth++] = (void *)w.pc;
        } else {    /* a call of something that is no code: the unwinder would read there */
            f->ip[f->depth++] = (void *)w.pc;
#if defined(__x86_64__)
            if (sp % sizeof sp == 0 && sp < (uintptr_t)k) f->ip[f->depth++] = *(void **)sp;
#endif
        }
        bool fatal = false;
        if (w.libc > 1) {       /* inside nested calls of libc: its locks and lists may be half-way */
            Dl_info d;
            const char *name = dladdr((void *)(w.outer - 1), &d) && d.dli_sname ? d.dli_sname : "?";
            fatal = strcmp(name, "abort") != 0 && strcmp(name, "__assert_fail") != 0 && strcmp(name, "__assert") != 0 &&
                    strcmp(name, "raise") != 0 && strcmp(name, "gsignal") != 0 &&
                    strcmp(name, "__assert_perror_fail") != 0;
            if (fatal) {
                char who[200];
                otp__describe(p, who, sizeof who);
                otp__fault_say("otp.h: process ");
                otp__fault_say(who);
                otp__fault_say(" crashed inside a library call (");
                otp__fault_say(name);
                otp__fault_say("), which cannot be contained: the program ends\n");
            }
        }
        if (fatal) {
            otp__fault_pass(sig, si, uc);
            return;
        }
    }
    otp__uc_land(u, k, t);
}

/* Here the thread goes on: on the process's stack, emptied. */
static OTP__NOINLINE void otp__landing(void *arg)
{
    otp__thread *t = arg;
    otp__fault f = t->fault;
    otp__proc *p = t->cur;
    if (t->copying) {
        otp__node *n = t->copying;
        t->copying = NULL;
        if (otp__get(&t->in_rt)) otp__node_free(t->p, n);
    }
    p->call_ref = 0;
    t = otp__in();      /* may find that its P is gone: everything is in order for that */
    p = t->cur;
    otp_reason why = { f.overflow ? OTP_REASON_STACK_OVERFLOW : OTP_REASON_CRASH, f.sig, f.addr, NULL };
    char text[96];
    if (f.overflow) {
        (void)snprintf(text, sizeof text, "the stack of %zu bytes is too small", p->stack->size);
        why.text = text;
    }
    t = otp__crash_report(t, &why, &f);
    otp__exit_now(t, &why);
}

static void otp__fault_start(void)
{
    (void)dl_iterate_phdr(otp__find_libc, NULL);
    /* Without tables (musl-gcc's linker makes no index of them, and there are flags against them) the unwinder aborts. */
    otp__unwinds = _Unwind_FindEnclosingFunction((char *)(uintptr_t)otp__fault_start + 1) != NULL;
    otp__fault unused = { 0 };
    otp__walk w = { &unused, 0, false, false, 0, 0 };
    if (otp__unwinds) (void)_Unwind_Backtrace(otp__walk_step, &w);  /* loads what it needs now, not in a handler */
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = otp__fault_handler;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;     /* NODEFER: see otp__walk_guarded */
    (void)sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < sizeof otp__fault_signals / sizeof otp__fault_signals[0]; i++)
        (void)sigaction(otp__fault_signals[i], &sa, &otp__old_action[otp__fault_signals[i]]);
}

static void otp__fault_stop(void)
{
    for (size_t i = 0; i < sizeof otp__fault_signals / sizeof otp__fault_signals[0]; i++) {
        int sig = otp__fault_signals[i];
        struct sigaction now;
        /* a handler that the user has installed after us stays */
        if (sigaction(sig, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == otp__fault_handler)
            (void)sigaction(sig, &otp__old_action[sig], NULL);
    }
}

static void otp__altstack_start(otp__thread *t)
{
    long min = 0;
#ifdef _SC_MINSIGSTKSZ
    min = sysconf(_SC_MINSIGSTKSZ);
#endif
    stack_t old;
    if (sigaltstack(NULL, &old) == 0 && !(old.ss_flags & SS_DISABLE) && old.ss_size >= 32768) return;
    t->altstack_size = (size_t)(min > 0 ? min : 8192) + 65536;
    t->altstack = mmap(NULL, t->altstack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->altstack == MAP_FAILED) {
        t->altstack = NULL;
        return;
    }
    stack_t ss;
    memset(&ss, 0, sizeof ss);
    ss.ss_sp = t->altstack;
    ss.ss_size = t->altstack_size;
    (void)sigaltstack(&ss, NULL);
}

static void otp__altstack_stop(otp__thread *t)
{
    if (!t->altstack) return;
    stack_t ss;
    memset(&ss, 0, sizeof ss);
    ss.ss_flags = SS_DISABLE;
    (void)sigaltstack(&ss, NULL);
    (void)munmap(t->altstack, t->altstack_size);
    t->altstack = NULL;
}

#else
static void otp__fault_start(void) { }
static void otp__fault_stop(void) { }
static void otp__altstack_start(otp__thread *t) { (void)t; }
static void otp__altstack_stop(otp__thread *t) { (void)t; }
#endif

/* -- 4.23 blocking --------------------------------------------------------------------------------------
   >> blocking   A pool of plain threads that grows up to a limit. A job stands on the stack of the process that waits
   for it. When that process is killed meanwhile its end is told at once, but its deferred functions, heap and stack wait
   until the job returns (4.17): the job may hold pointers into them. job->state says who wakes the process. */

enum { OTP__JOB_RUNS, OTP__JOB_DONE, OTP__JOB_ORPHAN };     /* ORPHAN: told dead, and parked until the job returns */



static struct {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    otp__job *first, **last;
    int threads, idle, queued;
    bool quit;
} otp__pool = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static void *otp__pool_main(void *arg)
{
    (void)arg;
    (void)pthread_mutex_lock(&otp__pool.mutex);
    for (;;) {
        otp__job *j = otp__pool.first;
        if (!j) {
            if (otp__pool.quit) break;      /* the runtime stops */
            struct timespec ts;
            (void)clock_gettime(CLOCK_REALTIME, &ts);
            ts.tv_sec += 10;
            otp__pool.idle++;
            int rc = pthread_cond_timedwait(&otp__pool.cond, &otp__pool.mutex, &ts);
            otp__pool.idle--;
            if (rc != 0 && !otp__pool.first) break;     /* nothing to do for 10 s */
            continue;
        }
        if ((otp__pool.first = j->next) == NULL) otp__pool.last = &otp__pool.first;
        otp__pool.queued--;
        (void)pthread_mutex_unlock(&otp__pool.mutex);
        uint64_t pid = j->pid;
        otp__proc *p = j->p;
        OTP__TRACE(blocking, (otp_pid){ pid }, true);
        j->fn(j->arg);
        OTP__TRACE(blocking, (otp_pid){ pid }, false);
        /* acq_rel: what fn wrote is seen by the process; its context, when it is an orphan, by whoever runs it */
        if (atomic_exchange_explicit(&j->state, OTP__JOB_DONE, memory_order_acq_rel) == OTP__JOB_ORPHAN) otp__inject(p);
        else otp__hint(NULL, pid);
        (void)pthread_mutex_lock(&otp__pool.mutex);
    }
    otp__pool.threads--;
    (void)pthread_cond_broadcast(&otp__pool.cond);
    (void)pthread_mutex_unlock(&otp__pool.mutex);
    return NULL;
}

static bool otp__pool_add(otp__job *j)
{
    (void)pthread_mutex_lock(&otp__pool.mutex);
    if (!otp__pool.last) otp__pool.last = &otp__pool.first;
    /* a thread that is idle may have been woken for an earlier job already: each queued one counts */
    if (otp__pool.queued >= otp__pool.idle && otp__pool.threads < otp__rt.opts.blocking_threads) {
        pthread_t th;
        sigset_t all, old;
        (void)sigfillset(&all);     /* signals go to the program's own threads */
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        if (pthread_create(&th, NULL, otp__pool_main, NULL) == 0) {
            (void)pthread_detach(th);
            otp__pool.threads++;
        }
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    bool ok = otp__pool.threads > 0;
    if (ok) {
        j->next = NULL;
        *otp__pool.last = j;
        otp__pool.last = &j->next;
        otp__pool.queued++;
        (void)pthread_cond_signal(&otp__pool.cond);
    }
    (void)pthread_mutex_unlock(&otp__pool.mutex);
    return ok;
}

/* At a stop, when no process is left: the threads end, and are waited for. */
static void otp__pool_stop(void)
{
    (void)pthread_mutex_lock(&otp__pool.mutex);
    otp__pool.quit = true;
    (void)pthread_cond_broadcast(&otp__pool.cond);
    while (otp__pool.threads > 0) (void)pthread_cond_wait(&otp__pool.cond, &otp__pool.mutex);
    otp__pool.quit = false;
    (void)pthread_mutex_unlock(&otp__pool.mutex);
}

int otp_blocking(otp_fn *fn, void *arg)
{
    if (!fn) return OTP_EBADARG;
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__ext *x = otp__ext_of(t->p, p);
    if (otp__rt.det || (p->flags & OTP__P_GUEST) || !x || (p->flags & OTP__P_EXITING)) {    /* in place */
        if (otp__rt.det) {
            p->turn = p->reds;
            t = otp__turn_over(t);
        }
        otp__calm(p, 1);
        otp__out(t);
        fn(arg);
        otp__calm(p, -1);
        return 0;
    }
    otp__job j = { .fn = fn, .arg = arg, .p = p, .pid = otp__pid(p), .state = OTP__JOB_RUNS };
    if (!otp__pool_add(&j)) {
        otp__out(t);
        return OTP_ESYSLIMIT;
    }
    x->job = &j;
    atomic_fetch_add_explicit(&otp__rt.blocked, 1, memory_order_relaxed);
    while (otp__get_acq(&j.state) == OTP__JOB_RUNS) t = otp__wait_sig(t, 0, 0, OTP_WAITS_BLOCKING);
    atomic_fetch_sub_explicit(&otp__rt.blocked, 1, memory_order_relaxed);
    x->job = NULL;
    t = otp__count(t, 10);
    otp__out(t);
    return 0;
}

/* -- 4.24 fds -------------------------------------------------------------------------------------------
   >> fd   One poll set, edge-triggered. Each direction of an fd has a word: 0, READY (an event came that nobody has
   used), or the pid that waits. A waiter tries the call first; then 0 -> pid and parks. The poller exchanges READY in
   and hints whoever stood there. The waiter that finds READY puts 0 and tries again: no edge is lost, since it is
   recorded before the waiter can park. A read that got less than it asked for has emptied a stream: the next one
   need not try first, since whatever comes from then on makes an event (an end that came together with the last bytes
   does not: `hup` tells). fds from otp_accept and otp_connect are registered once for their life; others are
   re-armed at each wait, since they may have been closed and reused behind our back. */

#define OTP__FD_READY UINT64_MAX       /* no pid */
OTP__INLINE bool otp__fd_waiter(uint64_t w) { return w != 0 && w != OTP__FD_READY; }
typedef struct otp__fd {
    _Atomic(uint64_t) wait[2];
    atomic_uint gen;
    atomic_bool ours, added;
    atomic_bool drained;        /* the last read got less than it asked for */
    atomic_bool hup;            /* the other side has closed: there is an end to be read */
} otp__fd;
#define OTP__FD_CHUNK 1024
static otp__fd *_Atomic otp__fd_chunks[1024];

static otp__fd *otp__fd_at(int fd)
{
    if (fd < 0 || fd >= OTP__FD_CHUNK * 1024) return NULL;
    otp__fd *c = otp__get_acq(&otp__fd_chunks[fd / OTP__FD_CHUNK]);
    if (!c) {
        otp__fd *fresh = calloc(OTP__FD_CHUNK, sizeof *fresh);
        if (!fresh) return NULL;
        if (atomic_compare_exchange_strong(&otp__fd_chunks[fd / OTP__FD_CHUNK], &c, fresh)) c = fresh;
        else free(fresh);
    }
    return &c[fd % OTP__FD_CHUNK];
}

static void otp__fd_event(otp__sched *s, int fd, unsigned gen, bool in, bool out, bool hup)
{
    otp__fd *f = otp__fd_at(fd);
    if (!f || (otp__get_acq(&f->gen) & 0xffffffu) != (gen & 0xffffffu)) return;   /* closed and reused since */
    if (hup) otp__put_rel(&f->hup, true);
    for (int dir = 0; dir < 2; dir++)
        if (dir ? out : in) {
            /* acq_rel: the waiter's registration is seen, and it sees that the event came first */
            uint64_t who = atomic_exchange_explicit(&f->wait[dir], OTP__FD_READY, memory_order_acq_rel);
            if (otp__fd_waiter(who)) otp__hint(s, who);
        }
}

/* Adds an fd to the poll set, or arms it again. 0, or -errno. */
static int otp__fd_add(int fd, otp__fd *f)
{
    uint64_t token = (uint64_t)(otp__get(&f->gen) & 0xffffffu) << 32 | (uint32_t)fd;
#if !defined(OTP__LINUX)
    struct stat st;
    if (fstat(fd, &st) != 0) return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) return -EPERM;      /* as epoll says */
#endif
#if defined(OTP__LINUX)
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = token };
    bool added = otp__get(&f->added);
    if (epoll_ctl(otp__rt.poll_fd, added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) == 0) {
        otp__put_rlx(&f->added, true);
        return 0;
    }
    int e = errno;
    if ((e == ENOENT || e == EEXIST) &&
        epoll_ctl(otp__rt.poll_fd, e == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev) == 0) {
        otp__put_rlx(&f->added, true);
        return 0;
    }
    return -errno;
#elif defined(OTP__KQUEUE)
    struct kevent ev[2];
    void *gen = (void *)(uintptr_t)(token >> 32);   /* the event itself names the fd */
    EV_SET(&ev[0], (uintptr_t)fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, gen);
    EV_SET(&ev[1], (uintptr_t)fd, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0, gen);
    /* one by one: many fds know only one of the two, and the first refusal would end the list */
    int refused = 0, e = 0;
    for (int i = 0; i < 2; i++)
        if (kevent(otp__rt.poll_fd, &ev[i], 1, NULL, 0, NULL) < 0) {
            e = errno;
            refused++;
        }
    if (refused == 2) return -e;
    otp__put_rlx(&f->added, true);
    return 0;
#else
    (void)token;
    /* Never `added`: each wait comes here. A pair: the waiter has set its word and looks at `poller`; the poller
       sets that and then looks at the words. */
    atomic_thread_fence(memory_order_seq_cst);
    if (otp__get_seq(&otp__rt.poller)) otp__event_set(otp__rt.wake_fd);
    return 0;
#endif
}

/* Waits for events up to ms (-1: for ever) and hints who waits. Only one thread at a time: see otp__rt.poller. */
static int otp__fd_wait_events(otp__sched *s, int64_t ms)
{
    int n = 0, timeout = ms < 0 ? -1 : ms > 1000000 ? 1000000 : (int)ms;
#if defined(OTP__LINUX)
    struct epoll_event ev[128];
    n = epoll_wait(otp__rt.poll_fd, ev, 128, timeout);
    s->no_next = true;
    for (int i = 0; i < n; i++) {
        if (ev[i].data.u64 == UINT64_MAX) {
            otp__event_clear(otp__rt.wake_fd);
            continue;
        }
        uint32_t e = ev[i].events;
        otp__fd_event(s, (int)(uint32_t)ev[i].data.u64, (unsigned)(ev[i].data.u64 >> 32),
                      (e & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0,
                      (e & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0, (e & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    }
    s->no_next = otp__rt.det;
#elif defined(OTP__KQUEUE)
    struct kevent ev[128];
    struct timespec ts = { timeout / 1000, (timeout % 1000) * 1000000L };
    n = kevent(otp__rt.poll_fd, NULL, 0, ev, 128, timeout < 0 ? NULL : &ts);
    s->no_next = true;
    for (int i = 0; i < n; i++) {
        if (ev[i].filter == EVFILT_USER) continue;
        otp__fd_event(s, (int)ev[i].ident, (unsigned)(uintptr_t)ev[i].udata, ev[i].filter == EVFILT_READ,
                      ev[i].filter == EVFILT_WRITE, (ev[i].flags & EV_EOF) != 0);
    }
    s->no_next = otp__rt.det;
#else
    /* poll: whoever waits now; a new waiter ends a poll under way, see otp__fd_add */
    static struct pollfd *set;
    static int room;
    int max = 0;
    atomic_thread_fence(memory_order_seq_cst);
    if (!set && (set = malloc(64 * sizeof *set)) != NULL) room = 64;
    if (!set) return 0;
    set[max++] = (struct pollfd){ .fd = otp__rt.wake_fd[0], .events = POLLIN };
    for (int c = 0; c < 1024; c++) {
        otp__fd *chunk = otp__get_acq(&otp__fd_chunks[c]);
        for (int i = 0; chunk && i < OTP__FD_CHUNK; i++) {
            int events = (otp__fd_waiter(otp__get(&chunk[i].wait[0])) ? POLLIN : 0) |
                         (otp__fd_waiter(otp__get(&chunk[i].wait[1])) ? POLLOUT : 0);
            if (!events) continue;
            if (max == room) {
                struct pollfd *more = realloc(set, (size_t)room * 2 * sizeof *set);
                if (!more) break;   /* the others have their turn when these are done */
                set = more;
                room *= 2;
            }
            set[max++] = (struct pollfd){ .fd = c * OTP__FD_CHUNK + i, .events = (short)events };
        }
    }
    n = poll(set, (nfds_t)max, timeout);
    s->no_next = true;
    for (int i = 0; n > 0 && i < max; i++) {
        if (!set[i].revents) continue;
        if (i == 0) {
            otp__event_clear(otp__rt.wake_fd);
            continue;
        }
        otp__fd *f = otp__fd_at(set[i].fd);
        otp__fd_event(s, set[i].fd, otp__get(&f->gen), (set[i].revents & ~POLLOUT) != 0,
                      (set[i].revents & ~POLLIN) != 0, (set[i].revents & (POLLHUP | POLLERR)) != 0);
    }
    s->no_next = otp__rt.det;
#endif
    return n;
}

static int otp__fd_poll(otp__sched *s, int64_t ms)
{
    unsigned no = 0;
    if (otp__get(&otp__rt.poller) || !otp__cas(&otp__rt.poller, &no, 1, memory_order_acquire)) return 0;
    int n = otp__fd_wait_events(s, ms);
    otp__put_rel(&otp__rt.poller, 0);
    return n;
}

static bool otp__poll_start(void)
{
    if (otp__rt.poll_fd > 0) return true;   /* kept over restarts: fds stay registered */
#if defined(OTP__LINUX)
    otp__rt.poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = UINT64_MAX };
    return otp__rt.poll_fd >= 0 && otp__event_make(otp__rt.wake_fd) &&
           epoll_ctl(otp__rt.poll_fd, EPOLL_CTL_ADD, otp__rt.wake_fd[0], &ev) == 0;
#elif defined(OTP__KQUEUE)
    otp__rt.poll_fd = kqueue();
    struct kevent ev;
    EV_SET(&ev, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
    return otp__rt.poll_fd >= 0 && kevent(otp__rt.poll_fd, &ev, 1, NULL, 0, NULL) == 0;
#else
    otp__rt.poll_fd = 1;
    return otp__event_make(otp__rt.wake_fd);
#endif
}

static void otp__poll_wake(void)
{
#if defined(OTP__KQUEUE)
    struct kevent ev;
    EV_SET(&ev, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
    (void)kevent(otp__rt.poll_fd, &ev, 1, NULL, 0, NULL);
#else
    otp__event_set(otp__rt.wake_fd);
#endif
}

/* Waiters are counted: while there are any, busy schedulers look at the poll set. An exit ends the count, too. */
static void otp__fd_counted(otp__proc *p, bool on)
{
    if (((p->has & OTP__HAS_FD) != 0) == on) return;
    p->has ^= OTP__HAS_FD;
    if (on) atomic_fetch_add_explicit(&otp__rt.fd_waiters, 1, memory_order_relaxed);
    else atomic_fetch_sub_explicit(&otp__rt.fd_waiters, 1, memory_order_relaxed);
}

/* Parks until direction dir of fd has an event. 0; OTP_ETIMEOUT, OTP_ECLOSED, OTP_EBUSY, or -errno - 1000. */
static int otp__fd_wait(otp__thread **t, int fd, otp__fd *f, int dir, unsigned gen, int64_t *deadline, int64_t ms)
{
    otp__proc *p = (*t)->cur;
    uint64_t me = otp__pid(p);
    int64_t now = 0;
    bool armed = false;
    int rc = 0;
    for (;;) {
        uint64_t w = otp__get_acq(&f->wait[dir]);
        if (otp__get_acq(&f->gen) != gen) {
            rc = OTP_ECLOSED;
            break;
        }
        if (w == OTP__FD_READY) {
            if (otp__cas(&f->wait[dir], &w, 0, memory_order_acq_rel)) break;
            continue;
        }
        if (w != 0 && w != me) {
            otp__proc *other = otp__find(w);
            if (other && otp__get_acq(&other->head) != OTP__CLOSED) {
                rc = OTP_EBUSY;
                break;
            }
        }
        if (w != me && !otp__cas(&f->wait[dir], &w, me, memory_order_acq_rel)) continue;
        if (!armed) {   /* after the word is set: an event from here on finds us */
            armed = true;
            if (!otp__get(&f->ours) || !otp__get(&f->added)) {
                int e = otp__fd_add(fd, f);
                if (e < 0) {
                    otp__put_rel(&f->wait[dir], 0);
                    rc = e == -EPERM ? 0 : e - 1000;    /* EPERM: a regular file, always ready */
                    break;
                }
            }
            otp__fd_counted(p, true);
            continue;
        }
        if (ms >= 0) {
            if (!*deadline) *deadline = otp__deadline((*t)->p, ms, &now);
            else now = otp__now((*t)->p);
            if (now >= *deadline) {
                if (!otp__cas(&f->wait[dir], &w, 0, memory_order_acq_rel) && w != me) continue;
                rc = OTP_ETIMEOUT;
                break;
            }
        }
        p->waits_for = (uint64_t)fd;
        *t = otp__wait_sig(*t, *deadline, now, OTP_WAITS_FD);
    }
    otp__fd_counted(p, false);
    return rc;
}

static void otp__fd_renew(int fd, bool ours)
{
    otp__fd *f = otp__fd_at(fd);
    if (!f) return;
    atomic_fetch_add_explicit(&f->gen, 1, memory_order_acq_rel);
    for (int dir = 0; dir < 2; dir++) {
        uint64_t who = atomic_exchange_explicit(&f->wait[dir], 0, memory_order_acq_rel);
        if (otp__fd_waiter(who)) otp__hint(NULL, who);
    }
    otp__put_rlx(&f->added, false);
    otp__put_rlx(&f->drained, false);
    otp__put_rlx(&f->hup, false);
    otp__put_rel(&f->ours, ours);
}

static bool otp__nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
#if !defined(MSG_NOSIGNAL) && defined(SO_NOSIGPIPE)
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);     /* fails for what is no socket */
#endif
    return flags >= 0 && ((flags & O_NONBLOCK) || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

static int otp__fd_error(int e)
{
    switch (e) {
    case ECONNRESET:
    case EPIPE:
    case ECONNREFUSED:
    case ECONNABORTED:
    case ENOTCONN: return OTP_ECLOSED;
    case EBADF:
    case EINVAL:
    case ENOTSOCK: return OTP_EBADARG;
    case EMFILE:
    case ENFILE: return OTP_ESYSLIMIT;
    case ENOMEM:
    case ENOBUFS: return OTP_ENOMEM;
    default: return OTP_EIO;
    }
}

enum { OTP__IO_READ, OTP__IO_WRITE, OTP__IO_ACCEPT, OTP__IO_CONNECT };

/* One attempt: >= 0 or -errno. User bytes are the kernel's to check. */
static int64_t otp__io_try(int op, int fd, void *buf, size_t size)
{
    ssize_t n;
    do {
        switch (op) {
        case OTP__IO_READ:
            n = recv(fd, buf, size, 0);     /* cheaper than read */
            if (n < 0 && errno == ENOTSOCK) n = read(fd, buf, size);
            break;
        case OTP__IO_WRITE:
#ifdef MSG_NOSIGNAL
            n = send(fd, buf, size, MSG_NOSIGNAL);
            if (n < 0 && errno == ENOTSOCK)
#endif
                n = write(fd, buf, size);
            break;
        case OTP__IO_ACCEPT:
#ifdef OTP__LINUX
            n = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
            n = accept(fd, NULL, NULL);
            if (n >= 0) (void)fcntl((int)n, F_SETFD, FD_CLOEXEC);
#endif
            break;
        default: {
            int e = 0;
            socklen_t len = sizeof e;
            n = getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
            if (n == 0 && e != 0) return -e;
            if (n == 0) {   /* no error: connected, or still on its way */
                struct sockaddr_storage peer;
                len = sizeof peer;
                if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0) return errno == ENOTCONN ? -EAGAIN : -errno;
            }
        }
        }
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -(errno == EWOULDBLOCK ? EAGAIN : errno) : n;
}

/* Lets the director delay a call, or end it with a code. */
static int64_t otp__io_directed(otp__thread **t, int fd, const char *what)
{
    const otp_director *d = otp__rt.det ? otp__rt.director : NULL;
    if (!d || !d->io || !(*t)->cur) return 0;
    int64_t ms = d->io((otp_pid){ otp__pid((*t)->cur) }, fd, what, d->arg);
    if (ms == OTP_ECLOSED) (void)shutdown(fd, SHUT_RDWR);      /* the other side sees it, too */
    if (ms <= 0) return ms;
    int64_t now, deadline = otp__deadline((*t)->p, ms, &now);
    while (now < deadline) {
        *t = otp__wait_sig(*t, deadline, now, OTP_WAITS_SLEEP);
        now = otp__now((*t)->p);
    }
    return 0;
}

static const char *const otp__io_names[] = { "read", "write", "accept", "connect" };

/* Tries, and waits as long as the call says EAGAIN. */
static int64_t otp__io(int op, int fd, void *buf, size_t size, int64_t ms)
{
    if (ms < 0 && ms != OTP_INFINITY) return OTP_EBADARG;
    otp__thread *t = otp__in_proc();
    otp__fd *f = otp__fd_at(fd);
    int64_t rc = f ? 0 : OTP_EBADARG, deadline = 0;
    if (f && !otp__get(&f->ours) && !otp__nonblock(fd)) rc = OTP_EBADARG;
    if (rc == 0 && otp__unlikely(otp__get(&otp__rt.slow))) rc = otp__io_directed(&t, fd, otp__io_names[op]);
    unsigned gen = f ? otp__get_acq(&f->gen) : 0;
    bool skip = false;
#ifdef OTP__LINUX
    skip = op == OTP__IO_READ && rc == 0 && ms != 0 && otp__get(&f->drained) && otp__get(&f->ours) &&
           otp__get(&f->added) && !otp__get_acq(&f->hup);
#endif
    while (rc == 0) {
        int64_t n = skip ? -EAGAIN : otp__io_try(op, fd, buf, size);
        skip = false;
        t->cur->reds += 50;     /* a system call */
        if (n != -EAGAIN) {
            if (op == OTP__IO_READ) otp__put_rlx(&f->drained, n > 0 && (size_t)n < size);
            rc = n < 0 ? otp__fd_error((int)-n) : n;
            break;
        }
        rc = otp__fd_wait(&t, fd, f, op == OTP__IO_WRITE || op == OTP__IO_CONNECT, gen, &deadline, ms);
        if (rc <= -1000) rc = otp__fd_error((int)(-rc - 1000));
    }
    t = otp__count(t, 1);
    otp__out(t);
    return rc;
}

int64_t otp_read(int fd, void *buf, size_t size, int64_t ms) { return otp__io(OTP__IO_READ, fd, buf, size, ms); }

int64_t otp_write(int fd, const void *buf, size_t size, int64_t ms)
{
    size_t done = 0;
    do {
        int64_t n = otp__io(OTP__IO_WRITE, fd, (char *)(uintptr_t)buf + done, size - done, ms);
        if (n < 0) return n;
        done += (size_t)n;
    } while (done < size);
    return (int64_t)size;
}

int otp_accept(int fd, int64_t ms)
{
    int64_t got = otp__io(OTP__IO_ACCEPT, fd, NULL, 0, ms);
    if (got >= 0) {
        otp__fd_renew((int)got, true);
#ifndef OTP__LINUX
        (void)otp__nonblock((int)got);
#endif
    }
    return (int)got;
}

int otp_connect(int fd, const struct sockaddr *addr, size_t addr_size, int64_t ms)
{
    if (!addr || fd < 0 || !otp__nonblock(fd)) return OTP_EBADARG;
    otp__fd_renew(fd, true);
    if (otp__unlikely(otp__get(&otp__rt.slow))) {
        otp__thread *t = otp__in_proc();
        int64_t fault = otp__io_directed(&t, fd, "connect to");
        otp__out(t);
        if (fault < 0) return (int)fault;
    }
    int rc = connect(fd, addr, (socklen_t)addr_size);
    if (rc == 0) return 0;
    if (errno != EINPROGRESS && errno != EINTR && errno != EAGAIN) return otp__fd_error(errno);
    int64_t n = otp__io(OTP__IO_CONNECT, fd, NULL, 0, ms);
    return n < 0 ? (int)n : 0;
}

int otp_wait_fd(int fd, int events, int64_t ms)
{
    if (!(events & (OTP_READ | OTP_WRITE)) || (ms < 0 && ms != OTP_INFINITY)) return OTP_EBADARG;
    otp__thread *t = otp__in_proc();
    otp__proc *p = t->cur;
    otp__fd *f = otp__fd_at(fd);
    if (!f) {
        otp__out(t);
        return OTP_EBADARG;
    }
    unsigned gen = otp__get_acq(&f->gen);
    uint64_t me = otp__pid(p);
    int64_t deadline = 0, now = 0;
    int rc = otp__unlikely(otp__get(&otp__rt.slow)) ? (int)otp__io_directed(&t, fd, "wait for") : 0;
    otp__fd_counted(p, true);
    while (rc == 0) {
        struct pollfd pfd = { .fd = fd,
                              .events =
                                  (short)((events & OTP_READ ? POLLIN : 0) | (events & OTP_WRITE ? POLLOUT : 0)) };
        for (int dir = 0; dir < 2 && rc == 0; dir++) {      /* first stand there, then look: no event is missed */
            if (!(events & (dir ? OTP_WRITE : OTP_READ))) continue;
            uint64_t w = otp__get_acq(&f->wait[dir]);
            otp__proc *other = otp__fd_waiter(w) && w != me ? otp__find(w) : NULL;
            if (other && otp__get_acq(&other->head) != OTP__CLOSED) rc = OTP_EBUSY;
            else if (!otp__cas(&f->wait[dir], &w, me, memory_order_acq_rel)) dir--;
        }
        int e = rc == 0 ? otp__fd_add(fd, f) : 0;
        if (rc == 0 && otp__get_acq(&f->gen) != gen) rc = OTP_ECLOSED;
        if (rc == 0 && e < 0) rc = e == -EPERM ? OTP_EBADARG : otp__fd_error(-e);    /* EPERM: a regular file */
        if (rc == 0 && poll(&pfd, 1, 0) > 0) {
            if (pfd.revents & POLLNVAL) rc = OTP_EBADARG;
            else
                rc = (pfd.revents & POLLIN ? OTP_READ : 0) | (pfd.revents & POLLOUT ? OTP_WRITE : 0) |
                     (pfd.revents & (POLLHUP | POLLERR) ? OTP_HANGUP | (events & 3) : 0);
        }
        if (rc == 0 && ms >= 0) {
            if (!deadline) deadline = otp__deadline(t->p, ms, &now);
            else now = otp__now(t->p);
            if (now >= deadline) rc = OTP_ETIMEOUT;
        }
        if (rc == 0) {
            p->waits_for = (uint64_t)fd;
            t = otp__wait_sig(t, deadline, now, OTP_WAITS_FD);
            if (otp__get_acq(&f->gen) != gen) rc = OTP_ECLOSED;
        }
        for (int dir = 0; dir < 2; dir++) {
            uint64_t w = me;
            (void)otp__cas(&f->wait[dir], &w, 0, memory_order_acq_rel);
        }
    }
    otp__fd_counted(p, false);
    t = otp__count(t, 50);
    otp__out(t);
    return rc;
}

int otp_close(int fd)
{
    otp__fd *f = otp__fd_at(fd);
    if (!f || fcntl(fd, F_GETFD) < 0) return OTP_EBADARG;
    otp__thread *t = otp__in();
#ifdef OTP__LINUX
    struct epoll_event unused = { 0 };
    if (otp__get(&f->added)) (void)epoll_ctl(otp__rt.poll_fd, EPOLL_CTL_DEL, fd, &unused); /* a dup may keep it alive */
#endif
    otp__fd_renew(fd, false);
    otp__out(t);
    return close(fd) == 0 || errno == EINTR ? 0 : OTP_EBADARG;
}

/* -- 4.25 idle ------------------------------------------------------------------------------------------
   >> idle   A P without work looks at everything that could bring some, asks a busy P for half of its queue, spins
   for a moment (one P at a time, and only while spinning has paid lately), and sleeps: one in the poll, the others on
   their futex. Sleeping is a pair: the sleeper sets `sleeping` and nidle (seq_cst) and then looks at inbox and
   injection; whoever brings something there (seq_cst) then looks at sleeping or nidle. What a busy P has in its own
   queues is never lost with a missed wake-up, only shared later. Models idle*, ask* and closing of tests/models/. */

static void otp__wake(otp__sched *s)
{
    unsigned one = 1;
    if (!s || !otp__get_seq(&s->sleeping) || !otp__cas(&s->sleeping, &one, 0, memory_order_seq_cst)) return;
    otp__put_seq(&s->futex, 1);
    if (otp__get_seq(&s->in_poll)) otp__poll_wake();
    else otp__futex_wake(&s->futex);
}

static OTP__NOINLINE void otp__wake_for_work(void)
{
    for (int i = 0; i < otp__rt.nscheds; i++)
        if (otp__get(&otp__rt.sched[i]->sleeping)) {
            otp__wake(otp__rt.sched[i]);
            return;
        }
}

/* Takes P v from its thread vt, which is then BORROWED. `taker`: who asks, see OTP__STEAL_TAKER. */
static bool otp__claim(otp__thread *vt, otp__sched *v, unsigned taker)
{
    unsigned none = otp__rt.fence ? OTP__STEAL_FENCE : 0, base = none;
    unsigned asked = base | OTP__STEAL_ASKED | taker * OTP__STEAL_TAKER;
    if (!vt || !otp__cas(&vt->steal, &none, asked, memory_order_seq_cst)) return false;
    otp__membarrier();
    /* acquire: everything its thread did to the P before it went out */
    bool outside = atomic_load_explicit(&vt->in_rt, OTP__TSAN ? memory_order_seq_cst : memory_order_acquire) == 0;
    if (!outside) {
        (void)otp__cas(&vt->steal, &asked, base, memory_order_seq_cst);
        return false;
    }
    if (!otp__cas(&vt->steal, &asked, base | OTP__STEAL_BORROWED, memory_order_seq_cst)) return false;
    if (vt->p != v) {
        otp__put_rel(&vt->steal, base);
        return false;
    }
    return true;
}

static void otp__unclaim(otp__thread *vt) { otp__put_rel(&vt->steal, otp__rt.fence ? OTP__STEAL_FENCE : 0); }

/* Takes half of what waits at a P whose thread is in user code. */
static bool otp__borrow(otp__sched *s, otp__sched *v)
{
    otp__thread *vt = otp__get_acq(&v->thread);
    if (!otp__claim(vt, v, (unsigned)s->id + 1)) return false;
    otp__proc *chain = otp__give(v, true, true);
    otp__unclaim(vt);
    for (otp__proc *next; chain; chain = next) {
        next = chain->qn;
        otp__enqueue(s, chain, OTP__Q_WOKEN);
    }
    return otp__get(&s->len) > 0;
}

static bool otp__steal(otp__sched *s)
{
    int n = otp__rt.nscheds;
    if (n < 2) return false;
    int first = (int)(otp__rng_next(&s->rng) % (uint64_t)n);
    for (int i = 0; i < n; i++) {
        otp__sched *v = otp__rt.sched[(first + i) % n], *none = NULL;
        if (v == s || otp__get(&v->sleeping)) continue;
        unsigned len = otp__get(&v->len);
        if (len == 0 && !otp__get(&v->run_next)) continue;
        if (len > 0 && otp__cas(&v->want, &none, s, memory_order_acq_rel)) {
            otp__put_rel(&v->attn, OTP__ATTN_WANT);
            for (int spin = 0; spin < 600 && otp__get(&v->want) == s; spin++) otp__pause();
            otp__sched *mine = s;
            bool answered = !otp__cas(&v->want, &mine, NULL, memory_order_acq_rel);
            for (int spin = 0; answered && spin < 400 && !otp__get(&s->inbox); spin++) otp__pause();
            if (otp__inbox_take(s)) {
                OTP__TRACE(steal, s->id, v->id, (int)otp__get(&s->len));
                return true;
            }
            if (answered) continue;
        }
        if (otp__borrow(s, v)) {
            OTP__TRACE(steal, s->id, v->id, (int)otp__get(&s->len));
            return true;
        }
    }
    return false;
}

static bool otp__look(otp__sched *s)
{
    (void)otp__inject_take(s);
    (void)otp__inbox_take(s);
    int64_t due = otp__get(&s->next_due);
    if (due != INT64_MAX) {
        int64_t now = otp__ms(otp__now(s));
        if (now >= due) otp__timers_run(s, now);
    }
    if (otp__get(&s->len) == 0 && !otp__get(&s->run_next) && otp__get(&otp__rt.fd_waiters)) (void)otp__fd_poll(s, 0);
    return otp__get(&s->len) > 0 || otp__get(&s->run_next);
}

/* Sleeps until something may be there. */
static void otp__doze(otp__sched *s)
{
    for (otp__stack *k = s->stacks; k; k = k->next)     /* there is time: give back what deep processes have touched */
        if (k->deep) {
            otp__stack_trim(k);
            k->deep = false;
        }
    otp__put_seq(&s->futex, 0);
    otp__put_seq(&s->sleeping, 1);
    atomic_fetch_add_explicit(&otp__rt.nidle, 1, memory_order_seq_cst);
    if (!otp__get_seq(&s->inbox) && !otp__get_seq(&otp__rt.inject_count) && !otp__get_seq(&otp__rt.stop)) {
        int64_t due = otp__get(&s->next_due), ns = -1;
        if (due != INT64_MAX) {
            ns = due * 1000000 - otp__now(s);
            if (ns < 0) ns = 0;
        }
        unsigned no = 0;
        if (ns != 0 && otp__cas(&otp__rt.poller, &no, 1, memory_order_acquire)) {
            otp__put_seq(&s->in_poll, 1);
            /* whoever woke us before in_poll was set has used the futex word */
            if (!otp__get_seq(&s->futex)) (void)otp__fd_wait_events(s, ns < 0 ? -1 : (ns + 999999) / 1000000);
            otp__put_seq(&s->in_poll, 0);
            otp__put_rel(&otp__rt.poller, 0);
        } else if (ns != 0) {
            (void)otp__futex_wait(&s->futex, 0, ns);
        }
    }
    (void)atomic_exchange_explicit(&s->sleeping, 0, memory_order_seq_cst);
    atomic_fetch_sub_explicit(&otp__rt.nidle, 1, memory_order_seq_cst);
    otp__put_rlx(&s->slices, otp__get(&s->slices) + 1);     /* the time asleep is nobody's turn */
    if (otp__get_seq(&otp__rt.monitor_asleep)) {    /* a pair: nidle goes down first; the monitor sets this first */
        otp__put_seq(&otp__rt.monitor_futex, 1);
        otp__futex_wake(&otp__rt.monitor_futex);
    }
}

static uint64_t otp__live(void)
{
    uint64_t n = otp__get(&otp__rt.live);
    for (int i = 0; i <= otp__rt.nscheds; i++)
        if (otp__rt.sched[i]) n += otp__get(&otp__rt.sched[i]->spawned) - otp__get(&otp__rt.sched[i]->exited);
    return n;
}

static void otp__signal_all(otp_reason_kind kind);

/* Deterministic mode: time goes on only when nobody can run. */
static otp__proc *otp__idle_det(otp__sched *s)
{
    while (!otp__get(&otp__rt.stop)) {
        if (otp__inject_take(s)) return otp__choose(s);
        if (otp__unlikely(otp__rt.director != NULL) && otp__idle_directed(s)) {
            if (otp__get(&s->len) > 0) return otp__choose(s);
            continue;
        }
        if (otp__get(&otp__rt.fd_waiters) && otp__fd_poll(s, 0) > 0 && otp__get(&s->len)) return otp__choose(s);
        int64_t due = otp__get(&s->next_due);
        if (due != INT64_MAX) {
            otp__timers_run(s, due);    /* sets the clock, if any of them is still wanted */
            if (otp__get(&s->len) > 0) return otp__choose(s);
            continue;
        }
        if (otp__get(&otp__rt.fd_waiters)) {
            (void)otp__fd_poll(s, 1);
            continue;
        }
        if (otp__live() > 0 && otp__get(&otp__rt.up) == 1 && !otp__rt.deadlocked && !otp__get_seq(&otp__rt.app_done)) {
            if (otp__deadlock_report(NULL) == 0) continue;      /* one is on its way here */
            otp__rt.deadlocked = true;
            otp__signal_all(OTP_REASON_KILL);
            if (otp__get(&s->len) > 0 || otp__get(&s->run_next)) return otp__choose(s);
            continue;
        }
        otp__doze(s);
    }
    return NULL;
}

static otp__proc *otp__idle_main(otp__sched *s)
{
    otp__thread *t = otp__self_thread();
    for (;;) {
        if (otp__inbox_take(s)) return otp__choose(s);
        int64_t ns = -1;
        if (s->poll_deadline >= 0) {
            ns = s->poll_deadline - otp__clock();
            if (ns <= 0) break;
        } else if (otp__get_seq(&otp__rt.app_done)) {
            break;
        }
        otp__put_seq(&s->futex, 0);
        otp__put_seq(&s->sleeping, 1);
        if (!otp__get_seq(&s->inbox) && !(s->poll_deadline < 0 && otp__get_seq(&otp__rt.app_done))) {
            OTP__TRACE(idle, s->id, true);
            (void)otp__futex_wait(&s->futex, 0, ns);
            OTP__TRACE(idle, s->id, false);
        }
        otp__put_seq(&s->sleeping, 0);
    }
    t->quit = true;
    return NULL;
}

static OTP__NOINLINE otp__proc *otp__idle(otp__sched *s)
{
    if (otp__rt.det) return otp__idle_det(s);
    if (s->main) return otp__idle_main(s);
    while (!otp__get(&otp__rt.stop)) {
        if (otp__look(s) || otp__steal(s)) return otp__choose(s);
        unsigned no = 0;
        if (s->spin >= 500 && otp__cas(&otp__rt.spinning, &no, 1, memory_order_relaxed)) {
            bool found = false;
            int64_t until = otp__now(s) + s->spin;
            do {
                for (int i = 0; i < 20; i++) otp__pause();
                found = otp__look(s) || (otp__get(&s->inbox) != NULL);
            } while (!found && otp__now(s) < until && !otp__get(&otp__rt.stop));
            otp__put_rlx(&otp__rt.spinning, 0);
            s->spin = found ? (s->spin < 8000 ? s->spin * 2 : 16000) : s->spin / 2;
            if (found) continue;
        }
        int64_t before = otp__now(s);
        OTP__TRACE(idle, s->id, true);
        otp__doze(s);
        OTP__TRACE(idle, s->id, false);
        if (s->spin < 500 && otp__now(s) - before < 20000) s->spin = 2000;  /* a short nap: spinning would have paid */
    }
    return NULL;
}

/* -- 4.26 monitor ---------------------------------------------------------------------------------------
   >> monitor   Looks every few milliseconds whether a P has been in one process all the while although other work
   waits; then the P goes to a spare thread. Sleeps when all sleep. */

static bool otp__thread_start(otp__thread *t);

static otp__thread *otp__thread_new(void)
{
    otp__lock(&otp__rt.slot_lock);
    otp__thread *t = otp__rt.old_threads;
    if (t) otp__rt.old_threads = t->next;
    otp__unlock(&otp__rt.slot_lock);
    if (!t) t = OTP_MALLOC(sizeof *t);
    if (!t) return NULL;
    memset(t, 0, sizeof *t);
    otp__put_rlx(&t->steal, otp__rt.fence ? OTP__STEAL_FENCE : 0);
    otp__put_rlx(&t->in_rt, 1);
    return t;
}

/* Never really freed: a snapshot may still look at the T that a process ran on last. */
static void otp__thread_free(otp__thread *t)
{
    otp__lock(&otp__rt.slot_lock);
    t->cur = NULL;
    t->next = otp__rt.old_threads;
    otp__rt.old_threads = t;
    otp__unlock(&otp__rt.slot_lock);
}

static void otp__thread_assign(otp__thread *t, otp__sched *s)
{
    t->p = s;
    otp__put_rel(&s->thread, t);
    otp__put_seq(&t->futex, 1);
    otp__futex_wake(&t->futex);
}

static void otp__replace(otp__sched *s, int64_t now)
{
    otp__thread *vt = otp__get_acq(&s->thread);
    (void)pthread_mutex_lock(&otp__rt.mutex);
    otp__thread *nt = otp__rt.spare;
    if (nt) otp__rt.spare = nt->next;
    (void)pthread_mutex_unlock(&otp__rt.mutex);
    if (!nt) {
        if (otp__rt.nthreads >= otp__rt.nscheds + 1024 || (nt = otp__thread_new()) == NULL) return;
        if (!otp__thread_start(nt)) {
            otp__thread_free(nt);
            return;
        }
    }
    if (otp__claim(vt, s, 0)) {
        if (vt->cur) otp__describe(vt->cur, vt->who, sizeof vt->who);
        vt->lost_at = s->seen_at > 0 ? s->seen_at : now;
        if (vt->cur) OTP__TRACE(lost, (otp_pid){ otp__pid(vt->cur) }, s->id, true);     /* the P is ours alone here */
        vt->p = NULL;
        otp__put_rlx(&s->slices, otp__get(&s->slices) + 1);
        otp__put_rel(&vt->steal, (otp__rt.fence ? OTP__STEAL_FENCE : 0u) | OTP__STEAL_GONE);
        s->reported = false;
        otp__thread_assign(nt, s);
        return;
    }
    (void)pthread_mutex_lock(&otp__rt.mutex);
    nt->next = otp__rt.spare;
    otp__rt.spare = nt;
    (void)pthread_mutex_unlock(&otp__rt.mutex);
}

static void otp__monitor_sched(otp__sched *s, int64_t now)
{
    uint64_t slices = otp__get(&s->slices);
    if (slices != s->seen_slices || otp__get(&s->sleeping)) {
        s->seen_slices = slices;
        s->seen_at = now;
        s->reported = false;
        otp__put_rlx(&s->attn, OTP__ATTN_CLOCK);
        if (otp__get(&s->len) && otp__get(&otp__rt.nidle)) otp__wake_for_work();
        return;
    }
    int64_t held = now - s->seen_at;
    bool queued = otp__get(&s->len) || otp__get(&s->run_next) || otp__get(&s->inbox) || otp__get(&otp__rt.inject_count);
    int64_t due = otp__get(&s->next_due);
    bool work = queued || (due != INT64_MAX && due <= otp__ms(now)) ||
                (otp__get(&otp__rt.fd_waiters) && !otp__get(&otp__rt.poller));
    if (work && otp__get(&otp__rt.nidle)) otp__wake_for_work();
    if (work && held >= otp__rt.opts.stuck * 1000000) {
        otp__replace(s, now);
        return;
    }
    int64_t report = otp__rt.opts.report_stuck;
    if (report >= 0 && held >= report * 1000000 && !s->reported) {
        otp__thread *vt = otp__get_acq(&s->thread);
        if (otp__claim(vt, s, 0)) {
            char who[160] = "";
            if (vt->cur) otp__describe(vt->cur, who, sizeof who);
            otp__unclaim(vt);
            s->reported = true;
            if (who[0])
                otp__log(OTP_LOG_WARNING, "process %s has held scheduler %d for %lld ms", who, s->id,
                         (long long)(held / 1000000));
        }
    }
}

static void *otp__monitor_main(void *arg)
{
    (void)arg;
    int64_t step = otp__rt.opts.stuck;
    if (otp__rt.opts.report_stuck >= 0 && otp__rt.opts.report_stuck < step) step = otp__rt.opts.report_stuck;
    step = step > 30 ? 10000000 : step * 1000000 / 3;
    if (step < 500000) step = 500000;
    while (!otp__get_acq(&otp__rt.stop)) {
        if (otp__get_seq(&otp__rt.nidle) == (unsigned)otp__rt.nscheds) {
            otp__put_seq(&otp__rt.monitor_futex, 0);
            otp__put_seq(&otp__rt.monitor_asleep, 1);
            if (otp__get_seq(&otp__rt.nidle) == (unsigned)otp__rt.nscheds && !otp__get_seq(&otp__rt.stop))
                (void)otp__futex_wait(&otp__rt.monitor_futex, 0, 1000000000);
            otp__put_seq(&otp__rt.monitor_asleep, 0);
        } else {
            struct timespec ts = { (time_t)(step / 1000000000), (long)(step % 1000000000) };
            (void)nanosleep(&ts, NULL);
        }
        int64_t now = otp__clock(), report = otp__rt.opts.report_stuck;
        for (int i = 0; i < otp__rt.nscheds; i++) otp__monitor_sched(otp__rt.sched[i], now);
        if (report < 0) continue;
        (void)pthread_mutex_lock(&otp__rt.mutex);
        for (otp__thread *t = otp__rt.threads; t; t = t->all_next)
            if (t->lost_at && now - t->lost_at >= report * 1000000) {
                if ((otp__get_acq(&t->steal) & OTP__STEAL_MASK) == OTP__STEAL_GONE)
                    otp__log(OTP_LOG_WARNING,
                             "process %s has held a thread for %lld ms; its scheduler went on without it", t->who,
                             (long long)((now - t->lost_at) / 1000000));
                t->lost_at = 0;
            }
        (void)pthread_mutex_unlock(&otp__rt.mutex);
    }
    return NULL;
}

/* A thread of ours: runs the loop for the P it is given, until that is taken from it, and waits for another. */
static void *otp__thread_main(void *arg)
{
    otp__thread *t = arg;
    otp__me = t;
#if OTP__TSAN
    t->native_fiber = __tsan_get_current_fiber();
#endif
#if OTP__ASAN && defined(__linux__)
    pthread_attr_t attr;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        void *base;
        (void)pthread_attr_getstack(&attr, &base, &t->native_size);
        t->native_base = base;
        (void)pthread_attr_destroy(&attr);
    }
#endif
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    otp__mask_note(t);
    if (otp__rt.isolation) otp__altstack_start(t);
    for (;;) {
        while (!otp__get_acq(&t->futex)) (void)otp__futex_wait(&t->futex, 0, -1);
        otp__put_rlx(&t->futex, 0);
        if (!t->p) {
            if (otp__get_acq(&otp__rt.stop)) break;
            continue;
        }
        otp__put_rel(&t->in_rt, 1);
        otp__stack *k = otp__stack_take(t->p);
        if (!k) {
            otp__log(OTP_LOG_ERROR, "no memory for a scheduler's stack");
            OTP_ABORT();
            break;
        }
#if OTP__TSAN
        __tsan_switch_to_fiber(k->fiber, 0);
#endif
#if OTP__ASAN
        __sanitizer_start_switch_fiber(&t->native_fake, k->base, k->size);
#endif
        otp__ctx_fresh(&t->native, otp__stack_top(k), otp__loop, k);
#if OTP__ASAN
        __sanitizer_finish_switch_fiber(t->native_fake, NULL, NULL);
#endif
        if (t->action == OTP__ACT_NONE) break;  /* the runtime stops */
        otp__proc *p = t->cur;                  /* its P is gone; its process goes on elsewhere, its context is saved */
        t->cur = NULL;
        OTP__TRACE(lost, (otp_pid){ otp__pid(p) }, -1, false);
        otp__put_rel(&t->steal, otp__rt.fence ? OTP__STEAL_FENCE : 0);
        (void)pthread_mutex_lock(&otp__rt.mutex);
        t->lost_at = 0;
        t->next = otp__rt.spare;
        otp__rt.spare = t;
        (void)pthread_mutex_unlock(&otp__rt.mutex);
        otp__inject(p);
    }
    otp__altstack_stop(t);
    return NULL;
}

static bool otp__thread_start(otp__thread *t)
{
    sigset_t block, old;
    (void)sigfillset(&block);   /* asynchronous signals go to the program's own threads */
    /* SIGPROF comes only when a profiler asks for it, and belongs to the thread that used the time */
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) (void)sigdelset(&block, faults[i]);
    (void)pthread_sigmask(SIG_SETMASK, &block, &old);
    bool ok = pthread_create(&t->pthread, NULL, otp__thread_main, t) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ok) {
        (void)pthread_mutex_lock(&otp__rt.mutex);
        t->all_next = otp__rt.threads;
        otp__rt.threads = t;
        otp__rt.nthreads++;
        (void)pthread_mutex_unlock(&otp__rt.mutex);
    }
    return ok;
}

/* -- 4.27 guests ----------------------------------------------------------------------------------------
   >> guest   A thread of the program's own gets a T with its first call, and a record with a mailbox with the first
   call that needs one. Its waits are on its futex. It cannot be killed: exit signals reach it as messages. */

static pthread_key_t otp__guest_key;
static pthread_once_t otp__guest_once = PTHREAD_ONCE_INIT;

static void otp__guest_end(void *arg)
{
    otp__thread *t = arg;
    otp__me = t;        /* in case the thread-local is gone already */
    if (t->guest) {
        otp_reason why = { OTP_REASON_NORMAL, 0, 0, NULL };
        otp__proc *p = t->guest;
        t->cur = p;
        t = otp__run_defers(t);
        otp__close(t, p, &why);
        otp__bury(t, p, OTP_REASON_NORMAL);
    }
    otp__me = NULL;
    otp__thread_free(t);
}

static void otp__guest_key_make(void) { (void)pthread_key_create(&otp__guest_key, otp__guest_end); }

static OTP__COLD otp__thread *otp__guest_thread(void)
{
    (void)pthread_once(&otp__guest_once, otp__guest_key_make);
    otp__thread *t = otp__thread_new();
    if (!t) {
        fprintf(stderr, "otp.h: out of memory for a thread\n");
        OTP_ABORT();
        _Exit(134);
    }
    t->pthread = pthread_self();
    otp__put_rlx(&t->steal, 0);
    otp__me = t;
    (void)pthread_setspecific(otp__guest_key, t);
    return t;
}

static OTP__NOINLINE otp__thread *otp__become_guest(otp__thread *t)
{
    if (otp__rt.opts.max_processes == 0) otp__rt.opts.max_processes = 1u << 24;    /* before the first start */
    if (t->guest) {
        t->cur = t->guest;
        return t;
    }
    otp__proc *p = otp__spawn_new(t, NULL, NULL, "a thread of the program");
    if (!p) {
        fprintf(stderr, "otp.h: no process slot for a thread\n");
        OTP_ABORT();
        _Exit(134);
    }
    p->flags = OTP__P_GUEST;
    p->special = true;
    p->thread = t;
    p->turn = UINT32_MAX;
    otp__put_rel(&p->head, OTP__EMPTY);
    t->guest = t->cur = p;
    return t;
}

static otp__thread *otp__guest_wait(otp__thread *t, unsigned act, int64_t deadline)
{
    otp__proc *p = t->cur;
    uintptr_t h = OTP__EMPTY;
    if (!otp__cas(&p->head, &h, act == OTP__ACT_PARK ? OTP__PARKED : OTP__SIGWAIT, memory_order_release)) return t;
    while (!otp__get_acq(&t->futex)) {
        int64_t left = -1;
        if (deadline && (left = deadline - otp__clock()) <= 0) {
            h = otp__get(&p->head);     /* take it back, unless somebody is just waking us */
            bool ours = h == OTP__PARKED ? otp__cas(&p->head, &h, OTP__EMPTY, memory_order_acq_rel)
                        : (h & 3) == OTP__SIGWAIT
                            ? otp__cas(&p->head, &h, (uintptr_t)otp__head_list(h), memory_order_acq_rel)
                            : false;
            if (ours) {
                return t;
            }
            left = -1;
        }
        (void)otp__futex_wait(&t->futex, 0, left);
    }
    otp__put_rlx(&t->futex, 0);
    return t;
}

/* -- 4.28 runtime ---------------------------------------------------------------------------------------
   >> start */

static void otp__fork_child(void)
{
    otp__put_seq(&otp__rt.up, 0);       /* only the calling thread lives on: nothing of the runtime works here */
    otp__rt.forked = true;
    otp__me = NULL;
}

static void otp__atfork_make(void) { (void)pthread_atfork(NULL, NULL, otp__fork_child); }

static void otp__dump_on_signal(int sig)
{
    int e = errno;
    (void)sig;
    otp_dump(2);
    errno = e;
}

static int otp__cores(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

static int otp__resolve(const otp_opts *in, otp_opts *o)
{
    *o = in ? *in : (otp_opts){ 0 };
    if (o->schedulers < 0 || o->schedulers > OTP__MAX_SCHEDS || o->shutdown < OTP_INFINITY || o->stuck < 0 ||
        o->blocking_threads < 0 || o->report_stuck < OTP_INFINITY || o->max_processes > 1u << 27 ||
        (unsigned)o->log_level > OTP_LOG_NONE)
        return OTP_EBADARG;
    if (o->stack_size && (o->stack_size < otp__min_stack() || o->stack_size > OTP__STACK_MAX)) return OTP_EBADARG;
    if (o->deterministic) o->schedulers = 1;
    if (!o->schedulers) o->schedulers = otp__cores() > OTP__MAX_SCHEDS ? OTP__MAX_SCHEDS : otp__cores();
    if (!o->max_processes) o->max_processes = 1u << 24;
    if (!o->stack_size) o->stack_size = 256 << 10;
    if (!o->shutdown) o->shutdown = 5000;
    if (!o->stuck) o->stuck = 5;
    if (!o->report_stuck) o->report_stuck = 100;
    if (!o->blocking_threads) o->blocking_threads = 64;
    o->stack_size = (o->stack_size + otp__rt.page - 1) / otp__rt.page * otp__rt.page;
    return 0;
}

static bool otp__shadow_stack_ok(void)
{
#if defined(__x86_64__) && OTP__ASM
    uint64_t ssp = 0;
    __asm__ volatile("rdsspq %0" : "+r"(ssp));      /* a no-op where shadow stacks are off */
#ifdef OTP__LINUX
    if (ssp != 0 && syscall(SYS_arch_prctl, 0x5002 /* ARCH_SHSTK_DISABLE */, 1ul) == 0) ssp = 0;
#endif
    if (ssp != 0) {
        fprintf(stderr, "otp.h: shadow stacks are locked on: compile with -fcf-protection=branch\n");
        return false;
    }
#endif
    return true;
}

/* In the deterministic mode slots are given in the same order in every run; a lower limit hides the higher ones. */
static void otp__slots_sort(void)
{
    uint32_t n = otp__get(&otp__rt.slots);
    otp__rt.free_procs = NULL;
    for (uint32_t i = n; i-- > 0;) {
        otp__proc *p = otp__slot_proc(i);
        if (otp__get(&p->head) != OTP__CLOSED || otp__pid_gen(otp__pid(p)) == UINT32_MAX) continue;
        p->qn = otp__rt.free_procs;
        otp__rt.free_procs = p;
    }
}

static otp__sched *otp__sched_new(int id)
{
    void *at = NULL;
    if (posix_memalign(&at, 64, sizeof(otp__sched)) != 0) return NULL;
    otp__sched *s = memset(at, 0, sizeof(otp__sched));
    s->id = id;
    s->main = id == otp__rt.nscheds;
    s->rng = otp__rt.det ? otp__rt.opts.seed : (uint64_t)otp__clock() + (uint64_t)id;
    s->vnow = otp__rt.det ? 1000000000 : 0;
    s->no_next = otp__rt.det || s->main;
    s->poll_deadline = -1;
    s->ref = otp__rt.det ? 0 : otp__rt.ref_base;
    otp__put_rlx(&s->next_due, INT64_MAX);
    otp__wheel_init(&s->wheel, otp__ms(otp__rt.det ? s->vnow : otp__clock()));
    return s;
}

static void otp__sched_free(otp__sched *s)
{
    if (!s) return;
    otp__wheel *w = &s->wheel;
    for (int i = 0; i < OTP__WHEEL_SLOTS; i++) {
        otp__tlink *slot = otp__wheel_slot(w, i);
        for (otp__tlink *l = slot->next, *next; l != slot; l = next) {
            next = l->next;
            otp__timer_free(s, (otp__timer *)(void *)l);
        }
    }
    while (s->free_timers) {
        otp__timer *tm = s->free_timers;
        s->free_timers = (otp__timer *)(void *)tm->link.next;
        tm->link.next = (otp__tlink *)otp__rt.guest_timers_free;
        otp__rt.guest_timers_free = tm;
    }
    if (s->odd) otp__stack_spill(s, s->odd);
    while (s->stacks) {
        otp__stack *k = s->stacks;
        s->stacks = k->next;
        otp__stack_spill(s, k);
    }
    while (s->free_procs) {
        otp__proc *p = s->free_procs;
        s->free_procs = p->qn;
        p->qn = otp__rt.free_procs;
        otp__rt.free_procs = p;
    }
    if (s->ref > otp__rt.ref_base) otp__rt.ref_base = s->ref;
    otp__mem_flush(&s->mem);
    free(s);
}

static void otp__threads_end(void)
{
    otp__put_seq(&otp__rt.closing, 1);
    while (otp__get_seq(&otp__rt.outside) != 0) (void)sched_yield();
    otp__put_seq(&otp__rt.stop, 1);
    for (int i = 0; i < otp__rt.nscheds; i++) otp__wake(otp__rt.sched[i]);
    otp__put_seq(&otp__rt.monitor_futex, 1);
    otp__futex_wake(&otp__rt.monitor_futex);
    if (otp__rt.monitor_up) (void)pthread_join(otp__rt.monitor, NULL);
    otp__rt.monitor_up = false;
    for (otp__thread *t = otp__rt.threads; t; t = t->all_next) {
        otp__put_seq(&t->futex, 1);
        otp__futex_wake(&t->futex);
    }
    while (otp__rt.threads) {
        otp__thread *t = otp__rt.threads;
        otp__rt.threads = t->all_next;
        (void)pthread_join(t->pthread, NULL);
        otp__thread_free(t);
    }
    otp__rt.spare = NULL;
    otp__rt.nthreads = 0;
    for (int i = 0; i <= otp__rt.nscheds; i++) {
        otp__sched_free(otp__rt.sched[i]);
        otp__rt.sched[i] = NULL;
    }
    if (otp__rt.isolation) otp__fault_stop();
    if (otp__rt.opts.dump_signal) (void)signal(otp__rt.opts.dump_signal, SIG_DFL);
}

int otp_start(const otp_opts *opts)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!otp__self_thread()) {      /* without memory for its record the door would end the program */
        otp__thread *t = otp__thread_new();
        if (!t) return OTP_ENOMEM;
        otp__thread_free(t);
    }
    otp__thread *self = otp__in();
    otp__out(self);
    int down = 0;
    if (!atomic_compare_exchange_strong(&otp__rt.up, &down, 2)) return OTP_EEXIST;
    (void)pthread_once(&once, otp__atfork_make);
    otp__stack_start();
    otp_opts o;
    int rc = otp__rt.forked ? OTP_ENOTUP : otp__resolve(opts, &o);
    if (rc == 0 && !otp__shadow_stack_ok()) rc = OTP_ESYSLIMIT;
    if (rc == 0) {
        size_t old = otp__rt.opts.stack_size;
        otp__rt.opts = o;
        otp__stack_resize(old);
    }
    if (rc == 0 && !otp__reserve_start()) rc = OTP_ENOMEM;
    if (rc == 0 && !otp__poll_start()) rc = OTP_ESYSLIMIT;
    if (rc < 0) {
        otp__put_seq(&otp__rt.up, 0);
        return rc;
    }
    otp__rt.det = o.deterministic;
    otp__rt.directing = false;
    otp__put_rlx(&otp__rt.slow, o.deterministic || otp__get(&otp__rt.trace));
    otp__rt.nscheds = o.schedulers;
#ifdef OTP__LINUX
    otp__rt.fence = syscall(SYS_membarrier, 16 /* MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED */, 0, 0) != 0;
#else
    otp__rt.fence = true;
#endif
    otp__clock_start();
    otp__preempt_start();
    (void)pthread_mutex_init(&otp__rt.mutex, NULL);
    otp__put_rlx(&otp__rt.stop, 0);
    otp__put_seq(&otp__rt.closing, 0);
    otp__put_rlx(&otp__rt.nidle, 0);
    otp__put_rlx(&otp__rt.poller, 0);
    otp__put_rlx(&otp__rt.spinning, 0);
    otp__put_rlx(&otp__rt.app_done, 0);
    otp__put_rlx(&otp__rt.blocked, 0);
    otp__put_rlx(&otp__rt.fd_waiters, 0);
    otp__put_rlx(&otp__rt.live, 0);
    otp__put_rlx(&otp__rt.ticks, 0);
    otp__rt.app_failed = otp__rt.deadlocked = false;
    otp__rt.main_thread = NULL;
    if (otp__rt.det || otp__get(&otp__rt.slots) > o.max_processes) otp__slots_sort();
    bool sanitized = OTP__ASAN || OTP__TSAN;
#if OTP__VALGRIND
    sanitized |= RUNNING_ON_VALGRIND != 0;
#endif
    otp__rt.isolation = !o.no_isolation && (!sanitized || o.force_isolation);
    if (otp__rt.isolation) otp__fault_start();
    if (o.dump_signal) {
        struct sigaction sa;
        memset(&sa, 0, sizeof sa);
        sa.sa_handler = otp__dump_on_signal;
        sa.sa_flags = SA_RESTART | SA_ONSTACK;
        (void)sigaction(o.dump_signal, &sa, NULL);
    }
    for (int i = 0; i <= otp__rt.nscheds && rc == 0; i++) {
        otp__sched *s = otp__rt.sched[i] = otp__sched_new(i);
        otp__stack *k = s ? otp__stack_take(s) : NULL;      /* the first one of its loop */
        if (k) otp__stack_put(s, k);
        else rc = OTP_ENOMEM;
    }
    if (!otp__rt.main_event_up) otp__rt.main_event_up = otp__event_make(otp__rt.main_event);
    for (int i = 0; i < otp__rt.nscheds && rc == 0; i++) {
        otp__thread *t = otp__thread_new();
        if (t) {
            t->p = otp__rt.sched[i];
            otp__put_rel(&otp__rt.sched[i]->thread, t);
            otp__put_rel(&t->futex, 1);
        }
        if (!t || !otp__thread_start(t)) {
            if (t) otp__thread_free(t);
            rc = OTP_ESYSLIMIT;
        }
    }
    if (rc == 0 && !otp__rt.det) {
        sigset_t all, old;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        if (pthread_create(&otp__rt.monitor, NULL, otp__monitor_main, NULL) == 0) otp__rt.monitor_up = true;
        else rc = OTP_ESYSLIMIT;
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (rc < 0) otp__threads_end();
    otp__put_seq(&otp__rt.up, rc == 0 ? 1 : 0);
    return rc;
}

/* `asked` (may be NULL) remembers by slot which generation has been told already. */
OTP__SNAPSHOT static void otp__signal_some(otp_reason_kind kind, uint32_t *asked, uint32_t n)
{
    otp_reason why = otp_reason_make(kind, 0, NULL);
    otp__thread *t = otp__in();
    for (uint32_t i = 0; i < n; i++) {
        otp__proc *p = otp__slot_proc(i);
        uint64_t pid = otp__pid(p);
        if (otp__get_acq(&p->head) == OTP__CLOSED || (p->flags & OTP__P_GUEST)) continue;
        if (asked && asked[i] == otp__pid_gen(pid)) continue;
        if (asked) asked[i] = otp__pid_gen(pid);
        otp__signal_why(t->p, 0, pid, OTP__K_EXIT, 0, 0, &why);
    }
    otp__out(t);
}

static void otp__signal_all(otp_reason_kind kind) { otp__signal_some(kind, NULL, otp__get_acq(&otp__rt.slots)); }

/* Waits until no process lives, or `ms` have passed. */
static bool otp__await_none(int64_t ms)
{
    int64_t until = otp__clock() + ms * 1000000;
    for (long nap = 20000; otp__live() > 0; nap = nap < 2000000 ? nap * 2 : nap) {
        if (ms >= 0 && otp__clock() >= until) return false;
        struct timespec ts = { 0, nap };
        (void)nanosleep(&ts, NULL);
    }
    return true;
}

OTP__SNAPSHOT int otp_stop(int64_t timeout)
{
    otp__thread *self = otp__self_thread();
    if (self && self->p && self->cur) return OTP_EBADARG;
    if (timeout < 0 && timeout != OTP_INFINITY) return OTP_EBADARG;
    int up = 1;
    if (!atomic_compare_exchange_strong(&otp__rt.up, &up, 2)) return OTP_ENOTUP;
    int killed = 0;
    /* Those that are spawned meanwhile are asked, too. */
    uint32_t slots = otp__get_acq(&otp__rt.slots) + 4096;
    uint32_t *asked = OTP_MALLOC(slots * sizeof *asked);
    if (asked) memset(asked, 0, slots * sizeof *asked);
    int64_t until = otp__clock() + (timeout < 0 ? 0 : timeout * 1000000);
    bool none = false;
    for (int64_t step = 1; !none; step = step < 50 ? step * 2 : step) {
        uint32_t n = otp__get_acq(&otp__rt.slots);
        if (asked || step == 1) otp__signal_some(OTP_REASON_SHUTDOWN, asked, asked && n > slots ? slots : n);
        int64_t left = timeout < 0 ? step : (until - otp__clock() + 999999) / 1000000;
        if (left <= 0) break;
        none = otp__await_none(left < step ? left : step);
    }
    if (asked) OTP_FREE(asked);
    if (!none && otp__live() > 0) {
        uint32_t n = otp__get_acq(&otp__rt.slots);
        for (uint32_t i = 0; i < n; i++) {
            otp__proc *p = otp__slot_proc(i);
            if (otp__get_acq(&p->head) == OTP__CLOSED || (p->flags & OTP__P_GUEST)) continue;
            char who[160];
            otp__describe(p, who, sizeof who);
            if (++killed <= 20)
                otp__log(OTP_LOG_WARNING, "process %s did not end within %lld ms: killed", who, (long long)timeout);
        }
        for (int tries = 0; tries < 20 && otp__live() > 0; tries++) {
            otp__signal_all(OTP_REASON_KILL);
            (void)otp__await_none(100);
        }
        if (otp__live() > 0) {
            otp__log(OTP_LOG_ERROR, "%llu processes compute without a call and cannot be ended: their threads stay",
                     (unsigned long long)otp__live());
            otp__put_seq(&otp__rt.up, 1);
            return OTP_ESYSLIMIT;
        }
    }
    otp__pool_stop();
    otp__threads_end();
    otp__put_seq(&otp__rt.up, 0);
    return killed;
}

int otp_schedulers(void) { return otp__get(&otp__rt.up) ? otp__rt.nscheds : 0; }

/* Lets this thread run the main P until there is nothing to run. */
static void otp__main_run(otp__sched *s)
{
    otp__thread *t = otp__in();
    otp__proc *guest = t->cur;
    t->cur = NULL;
    t->p = s;
    t->quit = false;
    otp__mask_note(t);
    otp__put_rel(&s->thread, t);
    otp__stack *k = otp__stack_take(s);
    if (k) {
#if OTP__TSAN
        t->native_fiber = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(k->fiber, 0);
#endif
#if OTP__ASAN && defined(__linux__)
        pthread_attr_t attr;
        if (!t->native_size && pthread_getattr_np(pthread_self(), &attr) == 0) {
            void *base;
            (void)pthread_attr_getstack(&attr, &base, &t->native_size);
            t->native_base = base;
            (void)pthread_attr_destroy(&attr);
        }
        __sanitizer_start_switch_fiber(&t->native_fake, k->base, k->size);
#endif
        otp__ctx_fresh(&t->native, otp__stack_top(k), otp__loop, k);
#if OTP__ASAN
        __sanitizer_finish_switch_fiber(t->native_fake, NULL, NULL);
#endif
    }
    t->p = NULL;
    t->cur = guest;
    otp__out(t);
}

int otp_run(otp_fn *app, void *arg, const otp_opts *opts)
{
    if (!app) return OTP_EBADARG;
    int rc = otp_start(opts);
    if (rc < 0) return rc;
    otp__thread *t = otp__in();
    otp__sched *m = otp__rt.sched[otp__rt.nscheds];
    if (otp__rt.isolation) otp__altstack_start(t);
    otp__proc *p = otp__spawn_new(t, app, arg, "the first process");
    if (p) {
        p->has |= OTP__HAS_APP;
        otp__spawn_open(t, p);
    }
    otp__out(t);
    if (p) {
        otp__sched *none = NULL;
        if (!otp__rt.det && atomic_compare_exchange_strong(&otp__rt.main_sched, &none, m)) {
            m->poll_deadline = -1;
            otp__main_run(m);
            otp__put_seq(&otp__rt.main_sched, NULL);
        }
        while (!otp__get_seq(&otp__rt.app_done)) (void)otp__futex_wait(&otp__rt.app_done, 0, -1);
    }
    bool failed = !p || otp__rt.app_failed;
    rc = otp_stop(otp__rt.opts.shutdown);
    otp__altstack_stop(t);
    if (!p) return OTP_ENOMEM;
    return rc < 0 ? rc : failed || otp__rt.deadlocked;
}

int otp_poll(int64_t timeout)
{
    if (timeout < 0 && timeout != OTP_INFINITY) return OTP_EBADARG;
    if (otp__get(&otp__rt.up) != 1) return OTP_ENOTUP;
    otp__thread *self = otp__self_thread();
    if (self && self->p) return OTP_EBUSY;
    otp__sched *m = otp__rt.sched[otp__rt.nscheds], *none = NULL;
    if (!atomic_compare_exchange_strong(&otp__rt.main_sched, &none, m)) return OTP_EBUSY;
    if (otp__rt.main_event_up) otp__event_clear(otp__rt.main_event);
    uint64_t before = otp__get(&m->slices);
    m->poll_deadline = timeout < 0 ? INT64_MAX : otp__clock() + timeout * 1000000;
    otp__main_run(m);
    int turns = (int)(otp__get(&m->slices) - before);
    otp__put_seq(&otp__rt.main_sched, NULL);
    return turns;
}

int otp_poll_fd(void)
{
    if (otp__get(&otp__rt.up) == 0) return OTP_ENOTUP;
    return otp__rt.main_event_up ? otp__rt.main_event[0] : OTP_ESYSLIMIT;
}

int64_t otp_now_ns(void)
{
    otp__thread *t = otp__in();
    int64_t ns = otp__now(t->p);
    otp__out(t);
    return ns;
}

int64_t otp_now(void) { return otp__ms(otp_now_ns()); }

uint64_t otp_random(void)
{
    otp__thread *t = otp__in();
    uint64_t v;
    if (t->p) v = otp__rng_next(&t->p->rng);
    else {
        uint64_t x = atomic_fetch_add_explicit(&otp__rt.guest_rng, 0x632be59bd9b4e019u, memory_order_relaxed) +
                     (uint64_t)otp__clock();
        v = otp__rng_next(&x);
    }
    otp__out(t);
    return v;
}

/* -- 4.29 seeing ----------------------------------------------------------------------------------------
   >> info */

enum { OTP__ASK_ALIVE, OTP__ASK_INFO, OTP__ASK_RELATION, OTP__ASK_SURVEY = 100 };

static const char *const otp__state_names[] = { "none", "running", "runnable", "waiting", "suspended", "exiting" };
static const char *const otp__waits_names[] = { "nothing", "a message",     "a call",  "an fd",
                                                "time",    "blocking work", "a resume" };

/* Told by the mailbox head, and by the thread that ran it last. */
OTP__SNAPSHOT static otp_state otp__state_of(otp__proc *p)
{
    uintptr_t h = otp__get_acq(&p->head);
    if (h == OTP__CLOSED) return OTP_STATE_NONE;
    if (h == OTP__PARKED || (h & 3) == OTP__SIGWAIT) return OTP_STATE_WAITING;
    if (p->flags & OTP__P_EXITING) return OTP_STATE_EXITING;
    otp__thread *t = p->thread;
    return (p->flags & OTP__P_GUEST) || (t && t->cur == p) ? OTP_STATE_RUNNING : OTP_STATE_RUNNABLE;
}

static void otp__info_waits(otp__proc *p, otp_info *o)
{
    o->calling.id = o->waits == OTP_WAITS_CALL ? p->waits_for : 0;
    o->fd = o->waits == OTP_WAITS_FD ? (int)p->waits_for : -1;
}

/* By the owner, or, `mine` false, from outside as a snapshot without locks. */
OTP__SNAPSHOT static void otp__info_fill(otp__proc *p, otp_info *o, bool mine)
{
    memset(o, 0, sizeof *o);
    o->pid.id = otp__pid(p);
    if (mine) otp__name_copy(p, o->name, sizeof o->name);
    (void)snprintf(o->spawned, sizeof o->spawned, "%s", p->place ? p->place : "");
    o->state = otp__state_of(p);
    o->waits = o->state == OTP_STATE_WAITING ? (otp_waits)(otp__get(&p->waits) & 15) : OTP_WAITS_NOTHING;
    if (o->waits == OTP_WAITS_RESUME) o->state = OTP_STATE_SUSPENDED;
    o->parent.id = p->parent;
    o->priority = (otp_priority)p->prio;
    o->trap_exit = (p->flags & OTP__P_TRAP) != 0;
    o->handler = (p->flags & OTP__P_HANDLER) != 0;
    o->reductions = p->reds_base + p->reds;
    o->heap_bytes = p->heap_bytes;
    if (!mine) return;
    otp__info_waits(p, o);
    for (otp__node *n = otp__head_list(otp__get_acq(&p->head)); n; n = n->next)
        o->message_queue_len += (n->m.flags & OTP__K_MASK) == OTP__K_MSG;
    o->memory = OTP__PROC_BYTES + o->heap_bytes;
    for (otp__node *n = p->first; n; n = n->next) {
        o->message_queue_len++;
        o->memory += otp__node_bytes(n->m.size);
    }
    bool lent = (p->has & OTP__HAS_ASLEEP) || (o->handler && !p->cur);  /* only to look at its signals */
    if (p->stack && !lent) o->stack_bytes = otp__stack_used(p->stack);
    o->memory += o->stack_bytes;
    for (uint32_t i = 0; p->rel && i < p->rel->count; i++) {
        otp__ent *e = &p->rel->e[i];
        o->links += e->kind == OTP__R_LINK && e->count;
        o->monitors += e->kind == OTP__R_MON_OUT;
        o->monitored_by += e->kind == OTP__R_MON_IN;
    }
}

static size_t otp__relations(otp__proc *p, int what, otp_pid *out, size_t max)
{
    size_t n = 0;
    for (uint32_t i = 0; p->rel && i < p->rel->count; i++) {
        otp__ent *e = &p->rel->e[i];
        bool yes = what == OTP_LINKS ? e->kind == OTP__R_LINK && e->count
                 : what == OTP_MONITORS ? e->kind == OTP__R_MON_OUT : e->kind == OTP__R_MON_IN;
        if (!yes) continue;
        if (n < max) out[n].id = e->who;
        n++;
    }
    return n;
}

/* By a process that has been asked: it may have been woken only to answer. What did it do before? */
static void otp__info_asked(otp__proc *p, otp_info *o)
{
    otp__info_fill(p, o, true);
    if (o->state != OTP_STATE_RUNNING && o->state != OTP_STATE_RUNNABLE) return;
    o->waits = (otp_waits)(otp__get(&p->waits) & 15);
    if ((o->handler && !p->cur) || (p->has & OTP__HAS_ASLEEP)) {
        o->memory -= o->stack_bytes;    /* the stack that it answers on is not its own */
        o->stack_bytes = 0;
    }
    if (o->waits != OTP_WAITS_NOTHING)
        o->state = p->has & OTP__HAS_SUSPEND ? OTP_STATE_SUSPENDED : OTP_STATE_WAITING;
    otp__info_waits(p, o);
}

static void otp__answer_ask(otp__sched *s, otp__proc *p, otp__node *n)
{
    int what = n->m.tag;
    if (what == OTP__ASK_SURVEY) {
        otp__survey_answer(n, p);
        otp__node_free(s, n);
        return;
    }
    uint64_t from = n->m.from.id, ref = n->m.ref.id, me = otp__pid(p);
    size_t size = what == OTP__ASK_INFO ? sizeof(otp_info) : 0;
    if (what >= OTP__ASK_RELATION) size = otp__relations(p, what - OTP__ASK_RELATION, NULL, 0) * sizeof(otp_pid);
    otp__node *r = otp__node_new(s, me, from, 0, OTP__K_REPLY, size);
    bool short_of = !r && size > 0;
    if (!r) r = otp__reserve_node(me, from, 0, OTP__K_REPLY);   /* without what was asked for, if that is more than alive */
    if (!r) {
        otp__undeliverable(s, n);
        return;
    }
    r->m.ref.id = ref;
    if (short_of) {
        r->m.flags |= OTP__F_ERROR;
    } else if (what == OTP__ASK_INFO) {
        otp__info_asked(p, (otp_info *)(uintptr_t)r->m.data);
    } else if (what >= OTP__ASK_RELATION) {
        (void)otp__relations(p, what - OTP__ASK_RELATION, (otp_pid *)(uintptr_t)r->m.data, size / sizeof(otp_pid));
    }
    otp__proc *q = otp__find(from);
    if (!q || !otp__push(s, q, r)) otp__node_free(s, r);
    otp__node_free(s, n);
}

OTP__SNAPSHOT bool otp_is_alive(otp_pid pid)
{
    otp__thread *t = otp__in_proc();
    otp__proc *p = otp__find(pid.id);
    bool alive = p != NULL;
    if (p && p != t->cur) {
        uintptr_t h = otp__get_acq(&p->head);
        if (h == OTP__CLOSED) alive = false;
        else if (h != OTP__PARKED && h != OTP__SIGWAIT &&
                 !(p->flags & OTP__P_GUEST)) { /* a signal of ours may be on its way */
            otp__node *n = otp__ask(&t, pid.id, OTP__K_ASK, OTP__ASK_ALIVE, OTP_INFINITY);
            alive = n && (n->m.flags & OTP__K_MASK) == OTP__K_REPLY;
            if (n) otp__node_free(t->p, n);
        }
    } else if (p) {
        alive = !(p->flags & OTP__P_EXITING);
    }
    t = otp__count(t, 1);
    otp__out(t);
    return alive;
}

int otp_process_info(otp_pid pid, otp_info *out)
{
    if (!out) return OTP_EBADARG;
    memset(out, 0, sizeof *out);    /* outside: a bad pointer is the caller's fault */
    otp__thread *t = otp__in_proc();
    int rc = 0;
    if (pid.id == otp__pid(t->cur)) {
        if (otp__arrived(t->cur) && !(t->cur->flags & OTP__P_EXITING)) t = otp__take_in(t);
        otp__info_fill(t->cur, out, true);
    } else {
        otp__node *n = otp__ask(&t, pid.id, OTP__K_ASK, OTP__ASK_INFO, 5000);
        if (!n) rc = OTP_ETIMEOUT;
        else if ((n->m.flags & OTP__K_MASK) == OTP__K_DOWN) rc = OTP_ENOPROC;
        else if (n->m.flags & OTP__F_ERROR) rc = OTP_ENOMEM;
        else memcpy(out, n->m.data, sizeof *out);
        if (n) otp__node_free(t->p, n);
    }
    otp__out(t);
    return rc;
}

int64_t otp_process_relations(otp_pid pid, enum otp_relation what, otp_pid *out, size_t max)
{
    if ((unsigned)what > OTP_MONITORED_BY || (max && !out)) return OTP_EBADARG;
    if (max) memset(out, 0, max * sizeof *out);
    otp__thread *t = otp__in_proc();
    int64_t rc;
    if (pid.id == otp__pid(t->cur)) {
        if (otp__arrived(t->cur) && !(t->cur->flags & OTP__P_EXITING)) t = otp__take_in(t);
        rc = (int64_t)otp__relations(t->cur, (int)what, out, max);
    } else {
        otp__node *n = otp__ask(&t, pid.id, OTP__K_ASK, OTP__ASK_RELATION + (int)what, 5000);
        if (!n) rc = OTP_ETIMEOUT;
        else if ((n->m.flags & OTP__K_MASK) == OTP__K_DOWN) rc = OTP_ENOPROC;
        else if (n->m.flags & OTP__F_ERROR) rc = OTP_ENOMEM;
        else {
            size_t all = n->m.size / sizeof(otp_pid);
            rc = (int64_t)all;
            if (all > max) all = max;
            if (all) memcpy(out, n->m.data, all * sizeof(otp_pid));
        }
        if (n) otp__node_free(t->p, n);
    }
    otp__out(t);
    return rc;
}

int otp_format_pid(otp_pid pid, char *out, size_t size) { return otp__pid_text(pid.id, out, size); }

OTP__SNAPSHOT size_t otp_processes(otp_pid *out, size_t max)
{
    size_t n = 0;
    uint32_t slots = otp__get_acq(&otp__rt.slots);
    for (uint32_t i = 0; i < slots; i++) {
        otp__proc *p = otp__slot_proc(i);
        uint64_t pid = otp__pid(p);
        if (otp__get_acq(&p->head) == OTP__CLOSED || (p->flags & (OTP__P_GUEST | OTP__P_EXITING))) continue;
        if (n < max) out[n].id = pid;
        n++;
    }
    return n;
}

/* otp_survey looks at each process in the gentlest way that its state allows.
   1. It waits (head PARKED or SIGWAIT): as if to wake it the head is moved to awake, which makes its private fields
      ours (4.10, step 2); then it is parked again as the loop would do it (step 4): if anything has arrived
      meanwhile, that fails, and it is made runnable.
   2. It computes: its thread is outside the runtime. While the thread's P is claimed (4.11) it cannot come in. When
      the thread has lost its P, steal is GONE, and GONE -> BORROWED + LOOK; membarrier; in_rt is 0, and the word is
      still ours: then its thread, on its way in, waits. It had not seen GONE before: it would have in_rt 1, or have
      written the word when it became a spare; nobody else writes LOOK, since surveys take turns.
   3. Else it runs in the runtime or will soon: it gets a signal, and answers in its turn, as to otp_process_info. The
      answers go straight into a block that the last of them frees. */

typedef struct otp__survey {
    atomic_uint refs, left, done;
    struct otp__answer { atomic_uint state; otp_info o; } row[];     /* state 1: answered, 2: it has died */
} otp__survey;

typedef struct otp__question { otp__survey *v; size_t row; } otp__question;

static void otp__survey_unref(otp__survey *v)
{
    /* acq_rel: all uses are over before the last one frees */
    if (atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) OTP_FREE(v);
}

static void otp__survey_answer(otp__node *n, otp__proc *p)
{
    otp__question q;
    memcpy(&q, n->m.data, sizeof q);
    if (p) otp__info_asked(p, &q.v->row[q.row].o);
    otp__put_rel(&q.v->row[q.row].state, p ? 1 : 2);
    if (atomic_fetch_sub_explicit(&q.v->left, 1, memory_order_acq_rel) == 1) {
        otp__put_seq(&q.v->done, 1);
        otp__futex_wake(&q.v->done);
    }
    otp__survey_unref(q.v);
}

/* Step 1. */
static bool otp__look_at_waiting(otp__proc *p, otp_info *o)
{
    uintptr_t h = otp__get(&p->head);
    if (h != OTP__PARKED && (h & 3) != OTP__SIGWAIT) return false;
    uintptr_t awake = h == OTP__PARKED ? OTP__EMPTY : (uintptr_t)otp__head_list(h), was = h;
    if (!otp__cas(&p->head, &h, awake, memory_order_acq_rel)) return false;     /* acquire: its private fields */
    bool guest = (p->flags & OTP__P_GUEST) != 0;    /* in this slot since a moment only; it may wait for its futex alone */
    if (!guest) {
        otp__info_fill(p, o, true);
        o->waits = (otp_waits)(otp__get(&p->waits) & 15);
        o->state = o->waits == OTP_WAITS_RESUME ? OTP_STATE_SUSPENDED : OTP_STATE_WAITING;
        otp__info_waits(p, o);
    }
    /* release: as the loop, for whoever wakes it */
    if (guest || !otp__cas(&p->head, &awake, was, memory_order_release)) otp__make_runnable(NULL, p);
    return !guest;
}

/* Step 2. t may have gone over to another process, or have ended: threads are never really freed. */
OTP__SNAPSHOT static bool otp__over_shoulder(otp__proc *p, otp_info *o)
{
    otp__thread *t = p->thread;
    if (!t || t->cur != p || otp__get(&t->in_rt)) return false;
    unsigned base = otp__rt.fence ? OTP__STEAL_FENCE : 0, gone = base | OTP__STEAL_GONE;
    unsigned look = base | OTP__STEAL_BORROWED | OTP__STEAL_LOOK;
    otp__sched *v = t->p;
    if (v) {
        static atomic_uint looks;       /* several threads may look at once: each is a taker of its own */
        unsigned taker = (1u << 20) + (atomic_fetch_add_explicit(&looks, 1, memory_order_relaxed) & 0xfffffu);
        if (!otp__claim(t, v, taker)) return false;
    } else {
        if (!otp__cas(&t->steal, &gone, look, memory_order_seq_cst)) return false;
        otp__membarrier();
        bool outside = atomic_load_explicit(&t->in_rt, OTP__TSAN ? memory_order_seq_cst : memory_order_acquire) == 0;
        unsigned ours = look;
        if (!outside || otp__get_seq(&t->steal) != look) {
            (void)otp__cas(&t->steal, &ours, base | OTP__STEAL_GONE, memory_order_seq_cst);
            return false;
        }
    }
    bool its = t->cur == p && !(p->flags & (OTP__P_GUEST | OTP__P_EXITING));
    if (its) otp__info_fill(p, o, true);
    if (v) otp__unclaim(t);
    else otp__put_rel(&t->steal, base | OTP__STEAL_GONE);
    return its;
}

/* What can be told without any of this. */
OTP__SNAPSHOT static bool otp__glance(otp__proc *p, otp_info *o)
{
    if (otp__get_acq(&p->head) == OTP__CLOSED) return false;
    otp__info_fill(p, o, false);
    otp__name_copy(p, o->name, sizeof o->name);
    o->memory = OTP__PROC_BYTES + o->heap_bytes;
    o->message_queue_len = SIZE_MAX;
    return o->state != OTP_STATE_NONE;
}

/* Asks the n processes and waits for their answers. NULL when memory is out. */
static otp__survey *otp__survey_ask(const uint64_t *pids, size_t n, int64_t ms)
{
    otp__survey *v = OTP_MALLOC(sizeof *v + n * sizeof v->row[0]);
    if (!v) return NULL;
    memset(v, 0, sizeof *v + n * sizeof v->row[0]);
    otp__put_rlx(&v->refs, (unsigned)n + 1);
    otp__put_rlx(&v->left, (unsigned)n);
    for (size_t i = 0; i < n; i++) {
        otp__question q = { v, i };
        otp__proc *p = otp__find(pids[i]);
        otp__node *m = otp__node_new(NULL, 0, pids[i], OTP__ASK_SURVEY, OTP__K_ASK, sizeof q);
        if (!m) {       /* as if it had not answered */
            if (atomic_fetch_sub_explicit(&v->left, 1, memory_order_acq_rel) == 1) otp__put_seq(&v->done, 1);
            otp__survey_unref(v);
            continue;
        }
        memcpy((void *)(uintptr_t)m->m.data, &q, sizeof q);
        if (!p || !otp__push(NULL, p, m)) otp__undeliverable(NULL, m);
    }
    int64_t until = otp__clock() + ms * 1000000;
    while (!otp__get_seq(&v->done)) {
        int64_t left = until - otp__clock();
        if (left <= 0) break;
        (void)otp__futex_wait(&v->done, 0, left);
    }
    return v;
}

OTP__SNAPSHOT static int64_t otp__survey_all(void (*row)(const otp_info *info, void *arg), void *arg, int64_t ms)
{
    int64_t n = 0;
    size_t asked = 0, room = 0;
    uint64_t *pids = NULL;
    uint32_t slots = otp__get_acq(&otp__rt.slots);
    for (uint32_t i = 0; i < slots; i++) {
        otp__proc *p = otp__slot_proc(i);
        uint64_t pid = otp__pid(p);
        otp_info o;
        if (otp__get_acq(&p->head) == OTP__CLOSED || (p->flags & OTP__P_GUEST)) continue;
        if (!otp__rt.det && (otp__look_at_waiting(p, &o) || otp__over_shoulder(p, &o))) {
            row(&o, arg);
            n++;
            continue;
        }
        if (asked == room) {
            size_t more = room ? room * 2 : 64;
            uint64_t *larger = OTP_MALLOC(more * sizeof *larger);
            if (!larger) break;
            if (pids) {
                memcpy(larger, pids, asked * sizeof *pids);
                OTP_FREE(pids);
            }
            pids = larger;
            room = more;
        }
        pids[asked++] = pid;
    }
    otp__survey *v = asked && !otp__rt.det ? otp__survey_ask(pids, asked, ms) : NULL;
    for (size_t i = 0; i < asked; i++) {
        /* acquire: the row was filled in before */
        unsigned state = v ? otp__get_acq(&v->row[i].state) : 0;
        otp_info o;
        otp__proc *p = state == 0 ? otp__find(pids[i]) : NULL;
        if (state == 1) o = v->row[i].o;
        else if (!p || !(otp__over_shoulder(p, &o) || otp__glance(p, &o))) continue;
        row(&o, arg);
        n++;
    }
    if (v) otp__survey_unref(v);
    if (pids) OTP_FREE(pids);
    return n;
}

int64_t otp_survey(void (*row)(const otp_info *info, void *arg), void *arg, int64_t ms)
{
    static pthread_mutex_t turns = PTHREAD_MUTEX_INITIALIZER;
    if (!row || ms < 0) return OTP_EBADARG;
    otp__thread *t = otp__self_thread();
    if (t && t->p) return OTP_EBADARG;
    (void)pthread_mutex_lock(&turns);
    bool in = otp__outside_in() && otp__get(&otp__rt.up);
    int64_t n = in ? otp__survey_all(row, arg, ms) : OTP_ENOTUP;
    otp__outside_out();
    (void)pthread_mutex_unlock(&turns);
    return n;
}

size_t otp_stack_high_water(void)
{
    otp__thread *t = otp__in_proc();
    size_t used = t->cur->stack ? otp__stack_used(t->cur->stack) : 0;
    otp__out(t);
    return used;
}

OTP__SNAPSHOT void otp_dump(int fd)
{
    char line[320];
    int len = snprintf(line, sizeof line, "%-14s %-20s %-9s %-13s %6s %10s %9s  %s\n", "pid", "name", "state",
                       "waits for", "queue", "reductions", "heap", "spawned");
    if (write(fd, line, (size_t)len) < 0) return;
    uint32_t slots = otp__get_acq(&otp__rt.slots);
    for (uint32_t i = 0; i < slots; i++) {
        otp__proc *p = otp__slot_proc(i);
        if (otp__get_acq(&p->head) == OTP__CLOSED) continue;
        otp_info o;
        char pid[32];
        otp__info_fill(p, &o, false);
        otp__name *nm = otp__get_acq(&p->name);
        (void)otp__pid_text(o.pid.id, pid, sizeof pid);
        const char *name = nm ? nm->text : o.handler && p->run.h->name ? p->run.h->name : "";
        len = snprintf(line, sizeof line, "%-14s %-20s %-9s %-13s %6zu %10llu %9zu  %s\n", pid, name,
                       otp__state_names[o.state % 6], otp__waits_names[o.waits % 7], o.message_queue_len,
                       (unsigned long long)o.reductions, o.heap_bytes, o.spawned);
        if (len > (int)sizeof line - 1) len = (int)sizeof line - 1;
        if (write(fd, line, (size_t)len) < 0) return;
    }
}

/* Logs what everybody but `except` waits for. Returns how many wait, 0 when somebody could go on. */
OTP__SNAPSHOT static int otp__deadlock_report(otp__proc *except)
{
    int n = 0;
    uint32_t slots = otp__get_acq(&otp__rt.slots);
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < slots; i++) {
            otp__proc *p = otp__slot_proc(i);
            uintptr_t h = otp__get_acq(&p->head);
            if (h == OTP__CLOSED || p == except || (p->flags & OTP__P_GUEST)) continue;
            if (round == 0) {
                if (h != OTP__PARKED && (h & 3) != OTP__SIGWAIT) return 0;
                if (otp__get(&p->waits) & OTP__TIMED) return 0;
                n++;
                continue;
            }
            char who[160];
            otp__describe(p, who, sizeof who);
            unsigned queue = 0;
            for (otp__node *m = p->first; m; m = m->next) queue++;
            otp__log(OTP_LOG_ERROR, "deadlock: %s waits for %s, %u messages in its mailbox", who,
                     otp__waits_names[(otp__get(&p->waits) & 15) % 7], queue);
        }
    return n;
}

int otp_check_deadlock(void)
{
    otp__thread *t = otp__in();
    bool possible = otp__get(&otp__rt.up) && !otp__get(&otp__rt.fd_waiters) && !otp__get(&otp__rt.blocked) &&
                    !otp__get(&otp__rt.inject_count);
    uint32_t timers = otp__get_acq(&otp__rt.timer_slots);
    for (uint32_t i = 0; possible && i < timers; i++) {     /* a timer whose message somebody will get */
        otp__timer *tm = otp__timer_at(i);
        possible =
            (otp__get_acq(&tm->state) & 3) != OTP__TIMER_ARMED || !tm->node || otp__timer_dead(otp__get(&tm->to));
    }
    int n = possible ? otp__deadlock_report(t->cur) : 0;
    otp__out(t);
    return n;
}

void otp_log(otp_level level, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    otp__vlog(level, format, ap);
    va_end(ap);
}

void otp_trace(const otp_trace_hooks *hooks)
{
    otp__put_rel(&otp__rt.trace, hooks);
    otp__put_rlx(&otp__rt.slow, otp__rt.det || hooks);
}

/* The top bit tells virtual ticks from those of the processor's counter, which is far from it. */
#define OTP__TICKS_VIRTUAL ((uint64_t)1 << 63)

void otp_trace_here(otp_trace_point *out)
{
    otp__thread *t = otp__self_thread();
    otp__proc *p = t ? t->cur : NULL;
    out->scheduler = t && t->p ? t->p->id : -1;
    out->message = t ? t->traced : 0;
    out->place = p ? p->place : NULL;
    out->handler = p && (p->flags & OTP__P_HANDLER) ? p->run.h->name : NULL;
    if (otp__unlikely(otp__rt.det)) {
        uint64_t now = otp__rt.sched[0] ? (uint64_t)otp__rt.sched[0]->vnow : 0, after = otp__get(&otp__rt.ticks) + 1000;
        out->ticks = now > after ? now : after;
        otp__put_rlx(&otp__rt.ticks, out->ticks);   /* relaxed: one scheduler runs, and what it does goes in turns */
        out->ticks |= OTP__TICKS_VIRTUAL;
    } else {
        out->ticks = otp__rt.use_tsc ? otp__tsc() : (uint64_t)otp__clock();
    }
}

int64_t otp_ticks_ns(uint64_t ticks)
{
    if (ticks & OTP__TICKS_VIRTUAL) return (int64_t)(ticks & ~OTP__TICKS_VIRTUAL);
    if (!otp__rt.use_tsc) return (int64_t)ticks;
    uint64_t mult = __atomic_load_n(&otp__rt.tsc_mult, __ATOMIC_RELAXED);
    int64_t d = (int64_t)(ticks - otp__rt.tsc_first);
    if (mult == 0) {    /* the runtime has not measured it yet */
        uint64_t dt = otp__tsc() - otp__rt.tsc_first;
        return dt ? otp__rt.ns_first + (int64_t)((double)d * ((double)(otp__clock() - otp__rt.ns_first) / (double)dt)) : 0;
    }
    return otp__rt.ns_first + (int64_t)((double)d * ((double)mult / 4294967296.0));
}

void otp_bump_reductions(int n)
{
    otp__thread *t = otp__in_proc();
    t = otp__count(t, n > 0 ? n : 0);
    otp__out(t);
}

void otp_preempt_off(void)
{
    otp__thread *t = otp__self_thread();
    if (t && t->cur) otp__calm(t->cur, 1);
}

void otp_preempt_on(void)
{
    otp__thread *t = otp__self_thread();
    if (t && t->cur) otp__calm(t->cur, -1);
}

void otp_set_remote(int (*route)(otp_pid to, int tag, const void *data, size_t size, void *arg), void *arg)
{
    otp__rt.route_arg = arg;
    otp__rt.route = route;
}

int otp_at_exit(void (*fn)(otp_pid pid, void *arg), void *arg)
{
    if (!fn) return OTP_EBADARG;
    if (otp__rt.at_exits == 8) return OTP_ESYSLIMIT;
    otp__rt.at_exit[otp__rt.at_exits] = fn;
    otp__rt.at_exit_arg[otp__rt.at_exits++] = arg;
    return 0;
}

#if defined(OTP_PREEMPT) && defined(__clang__)
#pragma clang attribute pop
#endif

/* -- 4.30 direction -------------------------------------------------------------------------------------
   >> direct   Deterministic mode only, with an otp_director: it is asked at every point where a process may be left, and
   whenever nobody runs. A process that is left in the midst of a call stands in the queue as one whose turn is over.
   All is asked for on paths that are slow anyway: a turn is over after each call, and otp__rt.slow is set. */

#define OTP__DIRECTED 256       /* candidates that are offered */

/* Everybody who can run, into one queue, and into who[]. */
static int otp__candidates(otp__sched *s, otp_pid *who, int n)
{
    otp__queue *q = &s->q[OTP__Q_WOKEN];
    static const uint8_t others[] = { OTP__Q_MAX, OTP__Q_HIGH, OTP__Q_YIELDED, OTP__Q_LOW };
    for (otp__proc *p; (p = otp__fresh_pop(s, true)) != NULL;) otp__q_push(q, p);
    for (size_t i = 0; i < sizeof others; i++)
        for (otp__proc *p; (p = otp__q_pop(&s->q[others[i]])) != NULL;) otp__q_push(q, p);
    s->urgent = 0;
    for (otp__proc *p = q->head; p && n < OTP__DIRECTED; p = p->qn) who[n++].id = otp__pid(p);
    return n;
}

static void otp__directed_take(otp__sched *s, otp__proc *p)
{
    otp__queue *q = &s->q[OTP__Q_WOKEN];
    otp__proc *before = NULL;
    for (otp__proc *at = q->head; at != p; at = at->qn) before = at;
    if (before) before->qn = p->qn;
    else q->head = p->qn;
    if (q->tail == p) q->tail = before;
    otp__len_add(s, -1);
}

/* Asks until there is an answer: who goes on; NULL: nobody can. */
static otp__proc *otp__ask_director(otp__sched *s, otp__proc *running, enum otp_point point)
{
    const otp_director *d = otp__rt.director;
    otp_pid who[OTP__DIRECTED];
    for (;;) {
        if (running) who[0].id = otp__pid(running);
        int n = otp__candidates(s, who, running ? 1 : 0);
        otp__rt.directing = true;
        int k = d->choose ? d->choose(who, n, point, d->arg) : 0;
        if (k == OTP_DIRECT_END) otp__signal_all(OTP_REASON_KILL);
        if (k == OTP_DIRECT_KILL && running)
            otp__signal_why(s, 0, who[0].id, OTP__K_EXIT, 0, 0, &(otp_reason){ OTP_REASON_KILL, 0, 0, NULL });
        otp__rt.directing = false;
        if (k == OTP_DIRECT_TIME && otp__get(&s->next_due) != INT64_MAX) otp__timers_run(s, otp__get(&s->next_due));
        otp__put_rlx(&otp__self_thread()->in_rt, 1);    /* signal_all, and hooks that read the clock, went out */
        if (k == OTP_DIRECT_TIME || (k == OTP_DIRECT_END && n > 0)) continue;
        if (running && k <= 0) return running;
        if (n == 0) return NULL;
        otp__proc *p = s->q[OTP__Q_WOKEN].head;
        for (int i = running ? 1 : 0; i < k && p->qn; i++) p = p->qn;
        return p;
    }
}

/* The loop: nobody runs. */
static OTP__NOINLINE otp__proc *otp__choose_directed(otp__sched *s)
{
    otp__proc *p = s->directed;
    s->directed = NULL;
    if (!p) p = otp__ask_director(s, NULL, OTP_POINT_NONE);
    if (p) otp__directed_take(s, p);
    return p;
}

static otp__thread *otp__directed_here(otp__thread *t, enum otp_point point)
{
    otp__sched *s = t->p;
    if (!s || !t->cur || !t->cur->stack || (t->cur->flags & OTP__P_GUEST) || otp__rt.directing) return t;
    otp__proc *next = otp__ask_director(s, t->cur, point);
    if (next == t->cur) return t;
    s->directed = next;
    return otp__suspend_yield(t);
}

static OTP__NOINLINE otp__thread *otp__directed_turn(otp__thread *t, enum otp_point point)
{
    t = otp__directed_here(t, point);
    otp__proc *p = t->cur;
    if (otp__arrived(p) && !(p->flags & OTP__P_EXITING)) t = otp__take_in(t);
    return t;
}

#ifdef OTP_STEPS
/* Only for code on a process's own stack: the loop, and what it does for itself, cannot be left. */
static OTP__NOINLINE void otp__step(otp__sched *s)
{
    if (!s || !otp__rt.det || !otp__rt.director) return;
    otp__thread *t = otp__self_thread();
    otp__stack *k = t && t->p == s && t->cur ? t->cur->stack : NULL;
    char *here = __builtin_frame_address(0);
    if (k && here >= k->base && here < (char *)k) (void)otp__directed_here(t, OTP_POINT_STEP);
}
#endif

void otp_direct_point(void)
{
    if (!otp__rt.det || !otp__rt.director || otp__rt.directing) return;
    otp__thread *t = otp__in();
    t = otp__directed_here(t, OTP_POINT_CALL);
    otp__out(t);
}

static OTP__COLD bool otp__refused_slow(const char *what)
{
    const otp_director *d = otp__rt.det ? otp__rt.director : NULL;
    otp__thread *t = otp__self_thread();
    if (!d || !d->refuse || !t || !t->p || !t->cur || (t->cur->flags & OTP__P_EXITING)) return false;
    return d->refuse((otp_pid){ otp__pid(t->cur) }, what, d->arg);
}

static OTP__COLD void otp__event(enum otp_event what, uint64_t who, uint64_t other, int n, const char *text)
{
    const otp_director *d = otp__rt.det ? otp__rt.director : NULL;
    if (!d || !d->event || otp__rt.directing) return;
    static const char *const kinds[] = { "message", "exit",  "link",    "unlink", "unlink ack", "monitor",
                                         "demonitor", "down", "reply", "suspend", "resume",    "question" };
    if (what == OTP_EVENT_SIGNAL) text = kinds[n];
    otp__proc *p = what == OTP_EVENT_WAIT ? otp__find(who) : NULL;
    if (p) {
        unsigned waits = otp__get(&p->waits) & 15;
        text = otp__waits_names[waits % 7];
        if (waits == OTP_WAITS_CALL) other = p->waits_for;
        n = 0;
        for (otp__node *m = p->first; m; m = m->next) n++;
    }
    d->event(what, (otp_pid){ who }, (otp_pid){ other }, n, text, d->arg);
}

/* All as at the start: what a run does must not depend on the ones before it. */
static void otp__directed_reset(otp__sched *s)
{
    otp__wheel *w = &s->wheel;
    for (int i = 0; w->count > 0 && i < OTP__WHEEL_SLOTS; i++) {
        otp__tlink *slot = otp__wheel_slot(w, i);
        for (otp__tlink *l = slot->next, *next; l != slot; l = next) {
            next = l->next;
            otp__timer_free(s, (otp__timer *)(void *)l);
        }
    }
    s->vnow = 1000000000;
    s->ref = 0;
    otp__wheel_init(w, otp__ms(s->vnow));
    otp__put_rlx(&s->next_due, INT64_MAX);
    otp__put_rlx(&s->slices, 0);
    otp__proc *turned = NULL, *sorted = NULL;   /* by slot: those used last stand in front, in some order */
    for (otp__proc *p, *next = s->free_procs; (p = next) != NULL; turned = p) {
        next = p->qn;
        p->qn = turned;
    }
    for (otp__proc *p, *next = turned; (p = next) != NULL;) {
        next = p->qn;
        otp__proc **at = &sorted;
        while (*at && otp__pid_slot(otp__pid(*at)) < otp__pid_slot(otp__pid(p))) at = &(*at)->qn;
        p->qn = *at;
        *at = p;
    }
    s->free_procs = sorted;
}

static size_t otp__list_free(const otp__list *l) { return (l->head ? l->count : 0) + (l->full ? l->full->count : 0); }

/* Blocks of ours that somebody holds; those of AddressSanitizer, and above 4 KiB, are not counted. */
static size_t otp__blocks(otp__sched *s)
{
    size_t n = 0;
    for (unsigned cls = 0; cls < OTP__CLASSES; cls++) {
        n += otp__rt.carved[cls] - otp__list_free(&s->mem.list[cls]) - otp__list_free(&otp__rt.guest_mem.list[cls]) -
             otp__list_free(&otp__rt.sched[otp__rt.nscheds]->mem.list[cls]);
        for (otp__chain *c = otp__rt.depot[cls]; c; c = c->chains) n -= c->count;
    }
    return n;
}

/* True when there is something to look at. */
static OTP__NOINLINE bool otp__idle_directed(otp__sched *s)
{
    const otp_director *d = otp__rt.director;
    size_t alive = (size_t)otp__live();
    if (!d->idle || otp__get(&otp__rt.up) != 1) return false;
    if (alive > 0 && (otp__get(&s->next_due) != INT64_MAX || otp__get(&otp__rt.fd_waiters))) {
        (void)otp__ask_director(s, NULL, OTP_POINT_NONE);      /* it may want to end a run that only waits */
        return otp__get(&s->len) > 0;
    }
    if (alive == 0) otp__directed_reset(s);
    int k = d->idle(alive, otp__blocks(s), d->arg);
    if (alive == 0 && d->seed) s->rng = *d->seed;
    if (k == OTP_DIRECT_END) otp__signal_all(OTP_REASON_KILL);
    otp__put_rlx(&otp__self_thread()->in_rt, 1);
    if (k == 0) otp__doze(s);
    return true;
}

int otp_direct(const otp_director *director)
{
    if (otp__get(&otp__rt.up) != 0) return OTP_EEXIST;
    otp__rt.director = director;
    return 0;
}

#endif /* OTP_IMPLEMENTATION */

/* MIT License. Copyright (c) 2026 the otp.h authors.

   Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
   documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
   rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
   persons to whom the Software is furnished to do so, subject to the following conditions: the above copyright notice
   and this permission notice shall be included in all copies or substantial portions of the Software.

   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
   WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
   COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
   OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
