/* otp_trace.h: timelines and the live table for programs on otp.h.        SPDX-License-Identifier: MIT

   What ran when on which scheduler, who slept, who stole, which message woke whom: as a file for chrome://tracing
   or ui.perfetto.dev. And the processes of a running program in a terminal, sorted as top does it.

   In ONE .c file of the program, before the include:

       #define OTP_IMPLEMENTATION
       #include "otp_trace.h"
       #include <stdio.h>

       static void worker(void *arg)
       {
           OTP_SEND(*(otp_pid *)arg, 1, 42);
       }

       static void app(void *arg)
       {
           (void)arg;
           otp_pid me = otp_self();
           if (otp_spawn(worker, &me).id == 0) return;
           const otp_msg *m = otp_recv(1000);
           printf("%d\n", m ? *OTP_PAYLOAD(m, int) : 0);
       }

       int main(void) { return otp_run(app, NULL, NULL); }

   Build: cc -pthread program.c      it includes otp.h. Nothing is recorded until it is asked for:

       OTP_TRACE=trace.json ./program      the last events of each scheduler are written when the program ends
       OTP_TOP=/tmp/top.sock ./program     … and in another terminal: otp-top /tmp/top.sock

   or, by call, otp_trace_start, otp_trace_write, otp_trace_stop and otp_top_listen. In both variables %p becomes
   the number of the process of the system. They are ignored in programs with borrowed rights (set-uid).

   CONTENTS (search for the marks)
     1 config          >> trace config
     2 types           >> trace options
     3 functions       >> timelines, >> live table
     4 implementation  >> ring, >> recording, >> writing, >> serving, >> environment

   NEEDS    otp.h and what it needs. The live table needs Unix sockets.
   NOT HERE traces of single functions; a program's own events; a picture: tools/trace_svg.c draws one.
   LIMITS   - A program that dies of a signal writes no file. With otp_top_listen, otp-top --trace fetches it before.
            - Places of spawns and names of handlers are kept as pointers: they must stay as long as the program,
              which string literals do.
            - Exit, link and monitor signals have no arrows, messages and replies have.
            - A hook for otp_trace of the program's own and a timeline exclude each other.
   NAMES    otp_ and OTP_ are public, otp__ and OTP__ are private. */

#if defined(OTP_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#ifndef OTP_TRACE_H_INCLUDED
#define OTP_TRACE_H_INCLUDED

#include "otp.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- 1 config -------------------------------------------------------------------------------------------
   >> trace config   Define any of these before the include with OTP_IMPLEMENTATION; each shows its default.

   OTP_TRACE_EVENTS 32768       events that each scheduler keeps, of 40 bytes each
   OTP_TRACE_NAMES 4096         names of processes that are remembered after their end
   OTP_TOP_CLIENTS 16           clients of the live table at the same time                                  */

/* -- 2 types ------------------------------------------------------------------------------------------ */

/* >> trace options   All zero means the defaults. */
typedef struct otp_trace_opts {
    const char *path;           /* otp_trace_stop writes it; copied; NULL: only otp_trace_write writes */
    uint32_t ring_events;       /* for each scheduler, rounded up to a power of two; 0: OTP_TRACE_EVENTS */
    bool no_messages;           /* who ran where and when, without messages: cheaper, and reaches further back */
} otp_trace_opts;

/* What stands in a written timeline. */
typedef struct otp_trace_summary {
    uint64_t slices;            /* turns of processes on schedulers */
    uint64_t sends;             /* messages sent, replies included */
    uint64_t arrows;            /* … whose receiving is there as well */
    uint64_t spawns, exits;
    uint64_t wakes;             /* by timers, fds and the like */
    uint64_t sleeps, steals;    /* of schedulers */
    uint64_t blocking;          /* pieces of blocking work */
    uint64_t lost;              /* times that a stuck process lost its scheduler */
    uint64_t tracks;            /* rows of the picture */
    uint64_t dropped;           /* older events that the rings no longer hold */
    int64_t ns;                 /* from the first event to the last */
} otp_trace_summary;

/* -- 3 functions ---------------------------------------------------------------------------------------- */

/* >> timelines */

/* Starts to record, in a ring for each scheduler that keeps the newest events: it may stay on for ever. Before the
   runtime starts or while it runs: turns that have begun before are not seen. What was recorded earlier is forgotten.
   opts may be NULL.
   owns: the rings stay until the program ends, and are used again
   returns: 0; OTP_EBADARG (more than 2^28 events, a path of more than 4,000 bytes); OTP_EEXIST (it records already)
   caller: any thread */
int otp_trace_start(const otp_trace_opts *opts);

/* Stops recording, and writes the file that otp_trace_start named. What was recorded stays for otp_trace_write.
   returns: 0; OTP_ENOENT (it does not record); OTP_EIO, OTP_ENOMEM: the file could not be written
   caller: any thread; blocks it while the file is written */
int otp_trace_stop(void);

/* Writes what is recorded now, while everything goes on. *out (may be NULL) tells what it was.
   returns: 0; OTP_EIO; OTP_ENOMEM; OTP_EBADARG (no path)
   caller: any thread; blocks it while the file is written */
int otp_trace_write(const char *path, otp_trace_summary *out);

/* The same, to an fd, which stays open.
   returns: 0; OTP_EIO; OTP_ENOMEM
   caller: any thread; blocks it while the file is written */
int otp_trace_write_fd(int fd, otp_trace_summary *out);

/* >> live table */

/* Serves the table of processes on a Unix socket that only this user may open (mode 0600), from a thread of its own:
   it answers as well when all schedulers compute. What is at `path` is replaced if it is a socket nobody listens on.
   returns: 0; OTP_EBADARG (no path, or too long for a socket), OTP_EEXIST (it listens already, or something else is
            at path), OTP_EIO, OTP_ESYSLIMIT (no thread)
   caller: any thread */
int otp_top_listen(const char *path);

/* Ends that: the socket is removed, the clients are cut off. A program that dies leaves the socket behind, which the
   next otp_top_listen replaces.
   returns: 0; OTP_ENOENT (it does not listen)
   caller: any thread that is not a process */
int otp_top_close(void);

#ifdef __cplusplus
}
#endif

#endif /* OTP_TRACE_H_INCLUDED */

/* ======================================================================================================
   4 implementation: defined where OTP_IMPLEMENTATION is.

   Glossary.
   event     five words: what a hook has seen, or a slice of time when it is over.
   ring      the newest events of one scheduler, written by whoever holds the scheduler.
   track     a row of the picture: a scheduler, or a lane for what runs beside the schedulers.
   slice     a stretch of time on a track, with a begin and an end.
   ====================================================================================================== */
#if defined(OTP_IMPLEMENTATION) && !defined(OTP_TRACE_IMPLEMENTATION_DONE)
#define OTP_TRACE_IMPLEMENTATION_DONE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef OTP_TRACE_EVENTS
#define OTP_TRACE_EVENTS 32768
#endif
#ifndef OTP_TRACE_NAMES
#define OTP_TRACE_NAMES 4096
#endif
#ifndef OTP_TOP_CLIENTS
#define OTP_TOP_CLIENTS 16
#endif

/* -- 4.1 ring -------------------------------------------------------------------------------------------
   >> ring   One writer, any number of readers, nobody waits.
   1. A hook that belongs to a scheduler runs on the thread that holds the scheduler, and a scheduler is handed from
      thread to thread with release and acquire (otp.h, 4.11). So a ring has one writer at a time, and each sees
      what the one before wrote.
   2. The writer stores the five words of event i into slot i mod size, and then head = i + 1, all with release.
   3. A reader loads head (acquire), copies the words of the slots behind it (acquire), and loads head again: h. It
      keeps the events whose number is above h - size. An event that was overwritten while it was copied is not
      among them: a copied word that belongs to event i + size was stored (release) after head = i + size, so the
      acquire that saw it makes the second load give at least i + size, and i is not above that minus size.
   4. A slice is written when it is over; the one under way stands in `now`: begin is set last and cleared first, all
      in release; a reader takes it when begin is the same before and after. It is read before the ring: when it
      ends meanwhile it is in both, and the same begin tells.
   5. Events before `floor` belong to an earlier recording.
   The words are atomics, so there is no data race for a tool to find; on x86-64 these are plain stores.
   What happens outside of schedulers goes to one ring with a lock: blocking work, foreign threads. */

enum {  /* kinds of events; slices first, so that they come before what happens at their very begin */
    OTP__T_RAN, OTP__T_IDLE, OTP__T_BLOCKED, OTP__T_LOST, OTP__T_SPAWN, OTP__T_WAKE, OTP__T_STEAL, OTP__T_SEND,
    OTP__T_RECEIVE, OTP__T_EXIT
};
#define OTP__T_WORDS 5
#define OTP__T_SHIFT 56
#define OTP__T_HANDLER ((uint64_t)1 << 55)      /* the text is the name of a handler, not a place */

typedef struct otp__tring otp__tring;
struct otp__tring {
    _Atomic(uint64_t) head;
    _Atomic(uint64_t) floor;
    _Atomic(uint64_t) begin, pid, text, handler;    /* the slice under way; pid 0: asleep */
    uint64_t size;
    int scheduler;
    bool main;
    otp__tring *older;          /* of another size, for the same scheduler */
    _Atomic(uint64_t) word[];
};

#define OTP__T_RINGS 257        /* as many schedulers as there can be, and the main thread */
#define OTP__T_BESIDE 1024      /* what runs beside the schedulers at a time */

typedef struct otp__tname { uint64_t pid; char text[64]; } otp__tname;
typedef struct otp__tbeside { uint64_t pid, begin, text; int kind; } otp__tbeside;

static struct otp__tstate {
    _Atomic(otp__tring *) ring[OTP__T_RINGS];
    _Atomic(uint64_t) size;
    pthread_mutex_t mutex;      /* all below; taken inside of the runtime's own locks, never around them */
    bool on;
    otp__tring *others;
    otp__tbeside beside[OTP__T_BESIDE];
    int besides;
    otp__tname name[OTP_TRACE_NAMES];
    uint64_t names;             /* given so far */
    uint64_t since;             /* ticks: a slice that was begun before was not watched to its end */
    char path[4096];
} otp__trace = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static otp__tring *otp__tring_new(uint64_t size, int scheduler)
{
    otp__tring *r = NULL;
    void *at;
    if (posix_memalign(&at, 64, sizeof *r + size * OTP__T_WORDS * sizeof r->word[0]) != 0) return NULL;
    r = memset(at, 0, sizeof *r);
    for (uint64_t i = 0; i < size * OTP__T_WORDS; i++) atomic_init(&r->word[i], 0);
    r->size = size;
    r->scheduler = scheduler;
    r->main = scheduler >= 0 && scheduler == otp_schedulers();
    return r;
}

static void otp__tring_put(otp__tring *r, int kind, uint64_t ticks, uint64_t pid, uint64_t a, uint64_t b, uint64_t bits)
{
    uint64_t i = atomic_load_explicit(&r->head, memory_order_relaxed);  /* our own, or handed over: step 1 */
    _Atomic(uint64_t) *w = &r->word[(i & (r->size - 1)) * OTP__T_WORDS];
    /* release: step 3 */
    atomic_store_explicit(w, ticks, memory_order_release);
    atomic_store_explicit(w + 1, pid, memory_order_release);
    atomic_store_explicit(w + 2, a, memory_order_release);
    atomic_store_explicit(w + 3, b, memory_order_release);
    atomic_store_explicit(w + 4, (uint64_t)kind << OTP__T_SHIFT | bits, memory_order_release);
    atomic_store_explicit(&r->head, i + 1, memory_order_release);
}

/* The first event of a scheduler, or the first of a recording with rings of another size. */
static __attribute__((noinline, cold)) otp__tring *otp__tring_make(int scheduler, uint64_t size)
{
    otp__tring *newest = atomic_load_explicit(&otp__trace.ring[scheduler], memory_order_relaxed), *r = newest;
    while (r && r->size != size) r = r->older;
    if (!r) {
        r = otp__tring_new(size, scheduler);
        if (!r) return NULL;    /* without memory nothing is recorded */
        r->older = newest;
    } else if (r != newest) {
        otp__tring *before = newest;
        while (before->older != r) before = before->older;
        before->older = r->older;
        r->older = newest;
    }
    /* what it holds is of an earlier recording; release: for readers */
    atomic_store_explicit(&r->floor, atomic_load_explicit(&r->head, memory_order_relaxed), memory_order_release);
    atomic_store_explicit(&otp__trace.ring[scheduler], r, memory_order_release);
    return r;
}

/* The ring of the scheduler; NULL: none, the event is one of the others'. */
static inline otp__tring *otp__tring_of(int scheduler)
{
    if (scheduler < 0 || scheduler >= OTP__T_RINGS) return NULL;
    /* relaxed: only the holder of the scheduler sets it */
    otp__tring *r = atomic_load_explicit(&otp__trace.ring[scheduler], memory_order_relaxed);
    uint64_t size = atomic_load_explicit(&otp__trace.size, memory_order_relaxed);
    return r && r->size == size ? r : otp__tring_make(scheduler, size);
}

static void otp__tlock(void) { (void)pthread_mutex_lock(&otp__trace.mutex); }
static void otp__tunlock(void) { (void)pthread_mutex_unlock(&otp__trace.mutex); }

static void otp__tput(const otp_trace_point *at, int kind, uint64_t pid, uint64_t a, uint64_t b, uint64_t bits)
{
    otp__tring *r = otp__tring_of(at->scheduler);
    if (r) {
        otp__tring_put(r, kind, at->ticks, pid, a, b, bits);
        return;
    }
    otp__tlock();
    if (otp__trace.others) otp__tring_put(otp__trace.others, kind, at->ticks, pid, a, b, bits);
    otp__tunlock();
}

/* -- 4.2 recording --------------------------------------------------------------------------------------
   >> recording   The hooks. */

static void otp__tring_begin(otp__tring *r, uint64_t ticks, uint64_t pid, const char *text, bool handler)
{
    atomic_store_explicit(&r->begin, 0, memory_order_release);      /* step 4 */
    atomic_store_explicit(&r->pid, pid, memory_order_release);
    atomic_store_explicit(&r->text, (uint64_t)(uintptr_t)text, memory_order_release);
    atomic_store_explicit(&r->handler, handler ? OTP__T_HANDLER : 0, memory_order_release);
    atomic_store_explicit(&r->begin, ticks, memory_order_release);
}

static void otp__tring_end(otp__tring *r, uint64_t ticks, uint64_t pid, int kind)
{
    uint64_t begin = atomic_load_explicit(&r->begin, memory_order_relaxed);
    if (begin == 0 || atomic_load_explicit(&r->pid, memory_order_relaxed) != pid) return;   /* begun before we recorded */
    atomic_store_explicit(&r->begin, 0, memory_order_release);
    otp__tring_put(r, kind, begin, pid, atomic_load_explicit(&r->text, memory_order_relaxed), ticks - begin,
                   atomic_load_explicit(&r->handler, memory_order_relaxed));
}

static void otp__t_in(otp_pid pid, int scheduler, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__tring *r = otp__tring_of(scheduler);
    if (r) otp__tring_begin(r, at.ticks, pid.id, at.handler ? at.handler : at.place, at.handler != NULL);
}

static void otp__t_out(otp_pid pid, int scheduler, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__tring *r = otp__tring_of(scheduler);
    if (r) otp__tring_end(r, at.ticks, pid.id, OTP__T_RAN);
}

static void otp__t_idle(int scheduler, bool begin, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__tring *r = otp__tring_of(scheduler);
    if (r && begin) otp__tring_begin(r, at.ticks, 0, NULL, false);
    else if (r) otp__tring_end(r, at.ticks, 0, OTP__T_IDLE);
}

static void otp__t_message(uint64_t who, uint64_t peer, int tag, size_t size, int kind)
{
    otp_trace_point at;
    otp_trace_here(&at);
    uint64_t bytes = size < 0x7fffff ? size : 0x7fffff;
    otp__tput(&at, kind, who, peer, at.message, bytes << 32 | (uint32_t)tag);
}

static void otp__t_send(otp_pid from, otp_pid to, int tag, size_t size, void *arg)
{
    (void)arg;
    otp__t_message(from.id, to.id, tag, size, OTP__T_SEND);
}

static void otp__t_receive(otp_pid pid, otp_pid from, int tag, size_t size, void *arg)
{
    (void)arg;
    otp__t_message(pid.id, from.id, tag, size, OTP__T_RECEIVE);
}

static void otp__t_wake(otp_pid pid, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__tput(&at, OTP__T_WAKE, pid.id, 0, 0, 0);
}

static void otp__t_spawn(otp_pid parent, otp_pid child, const char *place, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__tput(&at, OTP__T_SPAWN, parent.id, child.id, (uint64_t)(uintptr_t)place, 0);
}

static void otp__t_exit(otp_pid pid, const otp_reason *why, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__tput(&at, OTP__T_EXIT, pid.id, (uint64_t)why->kind, (uint64_t)(int64_t)why->code, 0);
}

static void otp__t_steal(int scheduler, int from, int n, void *arg)
{
    (void)arg;
    (void)scheduler;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__tput(&at, OTP__T_STEAL, 0, (uint64_t)(unsigned)from, (uint64_t)(unsigned)n, 0);
}

/* What runs beside the schedulers: begun here, and an event when it is over. */
static void otp__t_beside(uint64_t pid, bool begin, int kind, uint64_t ticks, uint64_t text)
{
    otp__tlock();
    int i = 0;
    if (begin) {
        if (otp__trace.besides < OTP__T_BESIDE)
            otp__trace.beside[otp__trace.besides++] = (otp__tbeside){ pid, ticks, text, kind };
    } else {
        while (i < otp__trace.besides && (otp__trace.beside[i].pid != pid || otp__trace.beside[i].kind != kind)) i++;
        if (i < otp__trace.besides) {
            otp__tbeside b = otp__trace.beside[i];
            otp__trace.beside[i] = otp__trace.beside[--otp__trace.besides];
            if (otp__trace.others)
                otp__tring_put(otp__trace.others, kind, b.begin, pid, b.text, ticks - b.begin, 0);
        }
    }
    otp__tunlock();
}

static void otp__t_blocking(otp_pid pid, bool begin, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    otp__t_beside(pid.id, begin, OTP__T_BLOCKED, at.ticks, 0);
}

/* begin: on the thread that takes the scheduler away, which nobody else holds at this moment. */
static void otp__t_lost(otp_pid pid, int scheduler, bool begin, void *arg)
{
    (void)arg;
    otp_trace_point at;
    otp_trace_here(&at);
    uint64_t text = 0;
    otp__tring *r = begin ? otp__tring_of(scheduler) : NULL;
    if (r) {
        if (atomic_load_explicit(&r->pid, memory_order_relaxed) == pid.id)
            text = atomic_load_explicit(&r->text, memory_order_relaxed);
        otp__tring_end(r, at.ticks, pid.id, OTP__T_RAN);
    }
    otp__t_beside(pid.id, begin, OTP__T_LOST, at.ticks, text);
}

static void otp__t_name(otp_pid pid, const char *name, void *arg)
{
    (void)arg;
    otp__tlock();
    otp__tname *n = &otp__trace.name[otp__trace.names++ % OTP_TRACE_NAMES];
    n->pid = pid.id;
    (void)snprintf(n->text, sizeof n->text, "%s", name);
    otp__tunlock();
}

#define OTP__T_TURNS                                                                                        \
    .spawn = otp__t_spawn, .exit = otp__t_exit, .in = otp__t_in, .out = otp__t_out, .name = otp__t_name,    \
    .idle = otp__t_idle, .steal = otp__t_steal, .blocking = otp__t_blocking, .lost = otp__t_lost
static const otp_trace_hooks otp__trace_turns = { OTP__T_TURNS };
static const otp_trace_hooks otp__trace_all = {
    OTP__T_TURNS, .send = otp__t_send, .receive = otp__t_receive, .wake = otp__t_wake,
};

/* All names of living processes, for those that are given none while we record. */
static otp__tname *otp__tnames_living(size_t *n)
{
    size_t room = otp_registered(NULL, 0) + 16;
    char (*text)[64] = calloc(room, sizeof *text);
    otp__tname *names = calloc(room, sizeof *names);
    *n = 0;
    if (text && names) {
        size_t all = otp_registered(text, room);
        for (size_t i = 0; i < all && i < room; i++) {
            names[*n].pid = otp_whereis(text[i]).id;
            memcpy(names[*n].text, text[i], sizeof names[*n].text);
            if (names[*n].pid) (*n)++;
        }
    }
    free(text);
    return names;
}

int otp_trace_start(const otp_trace_opts *opts)
{
    otp_trace_opts o = { 0 };
    if (opts) o = *opts;
    if (o.ring_events > 1u << 28 || (o.path && strlen(o.path) > 4000)) return OTP_EBADARG;
    uint64_t want = o.ring_events ? o.ring_events : OTP_TRACE_EVENTS, size = 16;
    while (size < want) size *= 2;
    size_t n = 0;
    bool up = otp_schedulers() > 0;
    otp__tname *living = up ? otp__tnames_living(&n) : NULL;
    otp_trace_point now = { 0 };
    if (up) otp_trace_here(&now);       /* before a start of the runtime the ticks may be of another clock */
    otp__tlock();
    int rc = otp__trace.on ? OTP_EEXIST : 0;
    if (rc == 0) {
        otp__trace.on = true;
        (void)snprintf(otp__trace.path, sizeof otp__trace.path, "%s", o.path ? o.path : "");
        atomic_store_explicit(&otp__trace.size, size, memory_order_relaxed);
        otp__trace.since = now.ticks;
        for (int i = 0; i < OTP__T_RINGS; i++) {
            otp__tring *r = atomic_load_explicit(&otp__trace.ring[i], memory_order_acquire);
            if (!r) continue;
            /* release: who sees it sees the events that it forgets */
            atomic_store_explicit(&r->floor, atomic_load(&r->head), memory_order_release);
            if (!up) atomic_store(&r->begin, 0);    /* nobody writes there now */
        }
        if (otp__trace.others && otp__trace.others->size != size) {
            free(otp__trace.others);
            otp__trace.others = NULL;
        }
        if (!otp__trace.others) otp__trace.others = otp__tring_new(size, -1);
        if (otp__trace.others) atomic_store(&otp__trace.others->floor, atomic_load(&otp__trace.others->head));
        otp__trace.besides = 0;
        otp__trace.names = 0;
        for (size_t i = 0; living && i < n && i < OTP_TRACE_NAMES; i++) otp__trace.name[otp__trace.names++] = living[i];
    }
    otp__tunlock();
    free(living);
    if (rc == 0) otp_trace(o.no_messages ? &otp__trace_turns : &otp__trace_all);
    return rc;
}

/* -- 4.3 writing ----------------------------------------------------------------------------------------
   >> writing   Copies the rings, sorts, finds for each receive its send and for each process its name, and prints
   one event on each line. The text depends on nothing but the events: in the deterministic mode the same seed gives
   the same file. */

/* A table from a number that is not 0 (a pid, a message) to another one, for at most n of them. */
typedef struct otp__tmap { size_t cap; uint64_t *key, *value; } otp__tmap;

static bool otp__tmap_new(otp__tmap *m, size_t n)
{
    m->cap = 16;
    while (m->cap < n * 2) m->cap *= 2;
    m->key = calloc(m->cap, sizeof *m->key);
    m->value = calloc(m->cap, sizeof *m->value);
    return m->key && m->value;
}

static void otp__tmap_free(otp__tmap *m)
{
    free(m->key);
    free(m->value);
    memset(m, 0, sizeof *m);
}

static size_t otp__tmap_slot(const otp__tmap *m, uint64_t key)
{
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (m->cap - 1);
    while (m->key[i] != 0 && m->key[i] != key) i = (i + 1) & (m->cap - 1);
    return i;
}

/* What stands at the key: 0 when nothing was put there. */
static uint64_t otp__tmap_get(const otp__tmap *m, uint64_t key)
{
    return m->cap && key ? m->value[otp__tmap_slot(m, key)] : 0;
}

/* The same as a place to put something. */
static uint64_t *otp__tmap_at(otp__tmap *m, uint64_t key)
{
    size_t i = otp__tmap_slot(m, key);
    m->key[i] = key;
    return &m->value[i];
}

typedef struct otp__tev {
    uint64_t ticks, w[OTP__T_WORDS - 1];
    int64_t at, end;            /* ns since the first event */
    uint64_t seq;
    int track;                  /* tid in the file */
    int kind;
} otp__tev;

typedef struct otp__tbook {     /* everything that goes into one file */
    otp__tev *ev;
    size_t n, room;
    otp__tname *name;
    size_t names;
    otp__tmap name_of;          /* pid: index + 1 */
    bool used[OTP__T_RINGS];
    int main;                   /* the ring of the main thread; -1: none */
    bool virtual;
    bool failed;
    otp_trace_summary sum;
    FILE *f;
    bool comma;
    size_t *slice;              /* indexes of slices by track and time */
    size_t slices;
    size_t *pair;
    uint64_t arrow;
} otp__tbook;

#define OTP__T_MAIN 300         /* tid of the main thread; schedulers have their number + 1 */
#define OTP__T_BLOCK_LANE 1000
#define OTP__T_LOST_LANE 3000
#define OTP__T_OTHERS 9000

static void otp__tbook_add(otp__tbook *b, const uint64_t *w, uint64_t seq, int track)
{
    if (b->n == b->room) {
        size_t room = b->room ? b->room * 2 : 4096;
        otp__tev *more = realloc(b->ev, room * sizeof *more);
        if (!more) {
            b->failed = true;
            return;
        }
        b->ev = more;
        b->room = room;
    }
    int kind = (int)(w[OTP__T_WORDS - 1] >> OTP__T_SHIFT);
    bool slice = kind <= OTP__T_LOST;
    if ((w[0] >> 63 != 0) != b->virtual) return;        /* of a run on another clock */
    if (slice && w[0] < otp__trace.since && w[0] >> 63 == otp__trace.since >> 63) return;
    otp__tev *e = &b->ev[b->n++];
    memset(e, 0, sizeof *e);
    e->ticks = w[0];
    memcpy(e->w, w + 1, sizeof e->w);
    e->kind = kind;
    e->seq = seq;
    e->track = track;
}

/* Step 3 and 4 of the argument. `end` is when a slice under way is cut. */
static void otp__tbook_ring(otp__tbook *b, otp__tring *r, int track, uint64_t end)
{
    /* acquire: all loads here pair with the stores of the writer */
    uint64_t begin = atomic_load_explicit(&r->begin, memory_order_acquire);
    uint64_t now[OTP__T_WORDS] = { begin, atomic_load_explicit(&r->pid, memory_order_acquire),
                                   atomic_load_explicit(&r->text, memory_order_acquire), end - begin,
                                   atomic_load_explicit(&r->handler, memory_order_acquire) };
    bool under_way = begin != 0 && end > begin && atomic_load_explicit(&r->begin, memory_order_acquire) == begin;
    now[4] |= (uint64_t)(now[1] ? OTP__T_RAN : OTP__T_IDLE) << OTP__T_SHIFT;
    uint64_t floor = atomic_load_explicit(&r->floor, memory_order_acquire);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    uint64_t from = head - floor > r->size ? head - r->size : floor;
    size_t first = b->n;
    for (uint64_t i = from; i < head; i++) {
        uint64_t w[OTP__T_WORDS];
        for (size_t k = 0; k < OTP__T_WORDS; k++)
            w[k] = atomic_load_explicit(&r->word[(i & (r->size - 1)) * OTP__T_WORDS + k], memory_order_acquire);
        otp__tbook_add(b, w, i, track);
    }
    uint64_t h = atomic_load_explicit(&r->head, memory_order_acquire), valid = h >= r->size ? h - r->size + 1 : 0;
    if (valid < from) valid = from;
    size_t to = first;
    for (size_t i = first; i < b->n; i++) {
        if (b->ev[i].seq < valid) continue;
        if (b->ev[i].kind <= OTP__T_LOST && b->ev[i].ticks == begin) under_way = false;
        b->ev[to++] = b->ev[i];
    }
    b->n = to;
    b->sum.dropped += valid - floor;
    if (under_way) otp__tbook_add(b, now, head, track);
}

static int otp__tev_compare(const void *x, const void *y)
{
    const otp__tev *a = x, *b = y;
    if (a->ticks != b->ticks) return a->ticks < b->ticks ? -1 : 1;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    if (a->track != b->track) return a->track < b->track ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* Everything that is recorded, oldest first, with its time in ns. */
static bool otp__tbook_open(otp__tbook *b)
{
    otp_trace_point now;
    otp_trace_here(&now);
    b->virtual = now.ticks >> 63 != 0;
    b->main = -1;
    size_t living_n = 0;
    otp__tname *living = otp_schedulers() > 0 ? otp__tnames_living(&living_n) : NULL;
    otp__tlock();
    for (int i = 0; i < OTP__T_RINGS; i++) {
        otp__tring *r = atomic_load_explicit(&otp__trace.ring[i], memory_order_acquire);
        if (!r || r->size != atomic_load(&otp__trace.size)) continue;
        size_t before = b->n;
        otp__tbook_ring(b, r, r->main ? OTP__T_MAIN : i + 1, now.ticks);
        if (b->n > before) b->used[i] = true;
        if (r->main) b->main = i;
    }
    if (otp__trace.others) otp__tbook_ring(b, otp__trace.others, OTP__T_OTHERS, now.ticks);
    for (int i = 0; i < otp__trace.besides; i++) {
        otp__tbeside *s = &otp__trace.beside[i];
        uint64_t w[OTP__T_WORDS] = { s->begin, s->pid, s->text, now.ticks - s->begin,
                                     (uint64_t)s->kind << OTP__T_SHIFT };
        if (now.ticks > s->begin) otp__tbook_add(b, w, (uint64_t)i, OTP__T_OTHERS);
    }
    /* names: of the living first, then those given, the newest last */
    uint64_t given = otp__trace.names < OTP_TRACE_NAMES ? otp__trace.names : OTP_TRACE_NAMES;
    b->name = calloc(living_n + given + 1, sizeof *b->name);
    for (size_t i = 0; b->name && living && i < living_n; i++) b->name[b->names++] = living[i];
    for (uint64_t i = otp__trace.names - given; b->name && i < otp__trace.names; i++)
        b->name[b->names++] = otp__trace.name[i % OTP_TRACE_NAMES];
    otp__tunlock();
    free(living);
    if (b->failed || !b->name || !otp__tmap_new(&b->name_of, b->names)) return false;
    for (size_t i = 0; i < b->names; i++) *otp__tmap_at(&b->name_of, b->name[i].pid) = i + 1;
    if (b->n == 0) return true;
    qsort(b->ev, b->n, sizeof *b->ev, otp__tev_compare);
    /* The runtime may still be measuring the counter: two points fix it for the whole file. */
    uint64_t first = b->ev[0].ticks, last = now.ticks > first ? now.ticks : first + 1;
    double scale = b->virtual ? 1 : (double)(otp_ticks_ns(last) - otp_ticks_ns(first)) / (double)(last - first);
    for (size_t i = 0; i < b->n; i++) {
        otp__tev *e = &b->ev[i];
        bool slice = e->kind <= OTP__T_LOST;
        e->at = (int64_t)((double)(e->ticks - first) * scale);
        e->end = slice ? (int64_t)((double)(e->ticks - first + e->w[2]) * scale) : e->at;
        if (e->end > b->sum.ns) b->sum.ns = e->end;
    }
    return true;
}

/* What runs beside the schedulers gets lanes, so that no two slices of a track overlap. */
static void otp__tbook_lanes(otp__tbook *b)
{
    int64_t *end[2] = { calloc(OTP__T_BESIDE * 2, sizeof(int64_t)), calloc(OTP__T_BESIDE * 2, sizeof(int64_t)) };
    for (size_t i = 0; i < b->n && end[0] && end[1]; i++) {
        otp__tev *e = &b->ev[i];
        if (e->kind != OTP__T_BLOCKED && e->kind != OTP__T_LOST) continue;
        int64_t *lanes = end[e->kind == OTP__T_LOST];
        int lane = 0;
        while (lane < OTP__T_BESIDE * 2 - 1 && lanes[lane] > e->at) lane++;
        lanes[lane] = e->end;
        e->track = (e->kind == OTP__T_LOST ? OTP__T_LOST_LANE : OTP__T_BLOCK_LANE) + lane;
    }
    b->failed |= !end[0] || !end[1];
    free(end[0]);
    free(end[1]);
}

static const otp__tev *otp__slice_events;    /* of the book being sorted, under otp__slice_lock: qsort has no argument */
static pthread_mutex_t otp__slice_lock = PTHREAD_MUTEX_INITIALIZER;
static int otp__slice_compare(const void *x, const void *y)
{
    const otp__tev *a = &otp__slice_events[*(const size_t *)x], *b = &otp__slice_events[*(const size_t *)y];
    if (a->track != b->track) return a->track < b->track ? -1 : 1;
    return a < b ? -1 : a > b;
}

static bool otp__tbook_slices(otp__tbook *b)
{
    b->slice = malloc((b->n + 1) * sizeof *b->slice);
    if (!b->slice) return false;
    for (size_t i = 0; i < b->n; i++)
        if (b->ev[i].kind <= OTP__T_LOST) b->slice[b->slices++] = i;
    (void)pthread_mutex_lock(&otp__slice_lock);
    otp__slice_events = b->ev;
    qsort(b->slice, b->slices, sizeof *b->slice, otp__slice_compare);
    (void)pthread_mutex_unlock(&otp__slice_lock);
    for (size_t i = 1; i < b->slices; i++) {    /* rounding, or counters that are not quite in step */
        otp__tev *p = &b->ev[b->slice[i - 1]], *e = &b->ev[b->slice[i]];
        if (p->track != e->track || p->end <= e->at) continue;
        if (p->end > e->end) e->end = p->end;
        e->at = p->end;
    }
    return true;
}

/* The place of the first slice of the track that begins after `at`, among the sorted ones. */
static size_t otp__tbook_after(const otp__tbook *b, int track, int64_t at)
{
    size_t low = 0, high = b->slices;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const otp__tev *e = &b->ev[b->slice[mid]];
        if (e->track < track || (e->track == track && e->at <= at)) low = mid + 1;
        else high = mid;
    }
    return low;
}

/* The slice of the track in which `at` lies. */
static const otp__tev *otp__tbook_at(const otp__tbook *b, int track, int64_t at)
{
    size_t i = otp__tbook_after(b, track, at);
    const otp__tev *e = i > 0 ? &b->ev[b->slice[i - 1]] : NULL;
    return e && e->track == track && at <= e->end ? e : NULL;
}

/* Printing. */

static void otp__tprint_text(FILE *f, const char *text, size_t n)
{
    const unsigned char *c = (const unsigned char *)text, *end = c + n;
    while (c < end) {
        unsigned len = *c < 0x80 ? 1 : *c >= 0xc2 && *c < 0xe0 ? 2 : (*c & 0xf0) == 0xe0 ? 3 : *c >= 0xf0 && *c < 0xf5 ? 4 : 0;
        bool ok = len > 0 && (size_t)(end - c) >= len;
        for (unsigned i = 1; ok && i < len; i++) ok = (c[i] & 0xc0) == 0x80;
        if (ok && len == 3) ok = !(c[0] == 0xe0 && c[1] < 0xa0) && !(c[0] == 0xed && c[1] > 0x9f);
        if (ok && len == 4) ok = !(c[0] == 0xf0 && c[1] < 0x90) && !(c[0] == 0xf4 && c[1] > 0x8f);
        if (!ok) {      /* names are bytes; JSON is UTF-8 */
            fputs("\\ufffd", f);
            c++;
            continue;
        }
        if (*c == '"' || *c == '\\') fprintf(f, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f) fprintf(f, "\\u%04x", *c);
        else (void)fwrite(c, 1, len, f);
        c += len;
    }
}

/* Microseconds with three digits behind the point, without floating point. */
static void otp__tprint_time(otp__tbook *b, const char *key, int64_t ns)
{
    fprintf(b->f, ",\"%s\":%lld.%03lld", key, (long long)(ns / 1000), (long long)(ns % 1000));
}

static void otp__tprint_begin(otp__tbook *b, const char *ph, int track, int64_t at)
{
    fprintf(b->f, "%s\n{\"ph\":\"%s\",\"pid\":1,\"tid\":%d", b->comma ? "," : "", ph, track);
    b->comma = true;
    if (at >= 0) otp__tprint_time(b, "ts", at);
}

static const char *otp__tbook_name(const otp__tbook *b, uint64_t pid)
{
    uint64_t i = otp__tmap_get(&b->name_of, pid);
    return i ? b->name[i - 1].text : NULL;
}

/* The pid as text, with the name when there is one: <12.3> counter. */
static void otp__tprint_pid(otp__tbook *b, const char *key, uint64_t pid)
{
    char text[64];
    (void)otp_format_pid((otp_pid){ pid }, text, sizeof text);
    const char *name = pid ? otp__tbook_name(b, pid) : NULL;
    fprintf(b->f, "\"%s\":\"", key);
    if (pid) otp__tprint_text(b->f, text, strlen(text));
    else fputs("nobody", b->f);
    if (name) fputc(' ', b->f);
    if (name) otp__tprint_text(b->f, name, strlen(name));
    fputc('"', b->f);
}

/* What the slices of a process are called: its name, else that of its handler, else the function it began in. */
static void otp__tprint_who(otp__tbook *b, uint64_t pid, uint64_t text, bool handler)
{
    const char *name = otp__tbook_name(b, pid), *t = (const char *)(uintptr_t)text;
    fputs(",\"name\":\"", b->f);
    if (name) {
        otp__tprint_text(b->f, name, strlen(name));
    } else if (t) {
        const char *end = handler ? NULL : strstr(t, " at ");
        otp__tprint_text(b->f, t, end ? (size_t)(end - t) : strlen(t));
    } else {
        char who[64];
        (void)otp_format_pid((otp_pid){ pid }, who, sizeof who);
        otp__tprint_text(b->f, who, strlen(who));
    }
    fputc('"', b->f);
}

static void otp__tprint_slice(otp__tbook *b, const otp__tev *e)
{
    static const char *const cats[] = { "process", "scheduler", "blocking", "without scheduler" };
    uint64_t pid = e->w[0], text = e->w[1];
    bool handler = (e->w[3] & OTP__T_HANDLER) != 0;
    otp__tprint_begin(b, "X", e->track, e->at);
    otp__tprint_time(b, "dur", e->end - e->at);
    fprintf(b->f, ",\"cat\":\"%s\"", cats[e->kind]);
    if (e->kind == OTP__T_IDLE) {
        fputs(",\"name\":\"asleep\"}", b->f);
        return;
    }
    otp__tprint_who(b, pid, text, handler);
    fputs(",\"args\":{", b->f);
    otp__tprint_pid(b, "pid", pid);
    if (text) {
        fprintf(b->f, ",\"%s\":\"", handler ? "handler" : "spawned");
        otp__tprint_text(b->f, (const char *)(uintptr_t)text, strlen((const char *)(uintptr_t)text));
        fputc('"', b->f);
    }
    fputs("}}", b->f);
}

/* One end of an arrow. */
static void otp__tprint_end(otp__tbook *b, bool start, const char *what, int track, int64_t at)
{
    otp__tprint_begin(b, start ? "s" : "f", track, at);
    fprintf(b->f, ",\"cat\":\"%s\",\"name\":\"%s\",\"id\":%llu%s}", what, what, (unsigned long long)b->arrow,
            start ? "" : ",\"bp\":\"e\"");
}

/* The slice from which an arrow starts. What happens between slices (a timer fires, a thread of the program's own
   sends) gets one of its own, of a microsecond or what there is room for. False when there is none. */
static bool otp__tprint_source(otp__tbook *b, const otp__tev *e, int64_t *at, const char *what, int64_t *others_end)
{
    *at = e->at;
    if (otp__tbook_at(b, e->track, e->at)) return true;
    size_t next = otp__tbook_after(b, e->track, e->at);
    int64_t room = 1000;
    if (next < b->slices && b->ev[b->slice[next]].track == e->track && b->ev[b->slice[next]].at - e->at < room)
        room = b->ev[b->slice[next]].at - e->at;
    int i = e->track == OTP__T_OTHERS ? OTP__T_RINGS : e->track == OTP__T_MAIN ? OTP__T_RINGS + 1 : e->track - 1;
    if (others_end[i] > *at) {      /* behind the one before */
        room -= others_end[i] - *at;
        *at = others_end[i];
    }
    if (room <= 0) {
        if (e->track != OTP__T_OTHERS) return false;
        room = 1;       /* nothing else is on that track */
    }
    others_end[i] = *at + room;
    otp__tprint_begin(b, "X", e->track, *at);
    otp__tprint_time(b, "dur", room);
    fprintf(b->f, ",\"cat\":\"other\",\"name\":\"%s\",\"args\":{", what);
    otp__tprint_pid(b, "pid", e->w[0]);
    fputs("}}", b->f);
    return true;
}

static void otp__tprint_message(otp__tbook *b, const otp__tev *s, const otp__tev *r, int64_t *others_end)
{
    int64_t at;
    if (!otp__tbook_at(b, r->track, r->at)) return;
    if (!otp__tprint_source(b, s, &at, "send", others_end)) return;
    b->arrow++;
    otp__tprint_begin(b, "s", s->track, at);
    uint64_t size = s->w[3] >> 32 & 0x7fffff;
    fprintf(b->f, ",\"cat\":\"message\",\"name\":\"message\",\"id\":%llu,\"args\":{\"tag\":%d,\"size\":%llu,",
            (unsigned long long)b->arrow, (int)(uint32_t)s->w[3], (unsigned long long)size);
    otp__tprint_pid(b, "from", s->w[0]);
    fputc(',', b->f);
    otp__tprint_pid(b, "to", s->w[1]);
    fputs("}}", b->f);
    otp__tprint_end(b, false, "message", r->track, r->at);
    b->sum.arrows++;
}

static void otp__tprint_instant(otp__tbook *b, const otp__tev *e)
{
    otp__tprint_begin(b, "i", e->track, e->at);
    fputs(",\"s\":\"t\"", b->f);
    if (e->kind == OTP__T_STEAL) {
        fprintf(b->f, ",\"cat\":\"scheduler\",\"name\":\"steal\",\"args\":{\"from\":%llu,\"processes\":%llu}}",
                (unsigned long long)e->w[1], (unsigned long long)e->w[2]);
        return;
    }
    if (e->kind == OTP__T_EXIT) {
        char why[128];
        otp_reason r = otp_reason_make((otp_reason_kind)e->w[1], (int)(int64_t)e->w[2], NULL);
        (void)otp_format_reason(&r, why, sizeof why);
        fputs(",\"cat\":\"process\",\"name\":\"exit: ", b->f);
        otp__tprint_text(b->f, why, strlen(why));
        fputs("\",\"args\":{", b->f);
    } else if (e->kind == OTP__T_SPAWN) {
        fputs(",\"cat\":\"process\",\"name\":\"spawn\",\"args\":{", b->f);
        otp__tprint_pid(b, "child", e->w[1]);
        fputs(",\"place\":\"", b->f);
        const char *place = (const char *)(uintptr_t)e->w[2];
        if (place) otp__tprint_text(b->f, place, strlen(place));
        fputs("\",", b->f);
    } else {
        fputs(",\"cat\":\"process\",\"name\":\"wake\",\"args\":{", b->f);
    }
    otp__tprint_pid(b, e->kind == OTP__T_SPAWN ? "parent" : "pid", e->w[0]);
    fputs("}}", b->f);
}

static void otp__tprint_track(otp__tbook *b, int track, const char *name, int number)
{
    otp__tprint_begin(b, "M", track, -1);
    fprintf(b->f, ",\"name\":\"thread_name\",\"args\":{\"name\":\"%s", name);
    if (number >= 0) fprintf(b->f, " %d", number);
    fputs("\"}}", b->f);
    otp__tprint_begin(b, "M", track, -1);
    fprintf(b->f, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":%d}}", track);
    b->sum.tracks++;
}

static void otp__tprint_tracks(otp__tbook *b)
{
    otp__tprint_begin(b, "M", 0, -1);
    fputs(",\"name\":\"process_name\",\"args\":{\"name\":\"otp.h\"}}", b->f);
    for (int i = 0; i < OTP__T_RINGS; i++) {
        if (!b->used[i]) continue;
        if (i == b->main) otp__tprint_track(b, OTP__T_MAIN, "main thread", -1);
        else otp__tprint_track(b, i + 1, "scheduler", i);
    }
    int last = -1;
    bool others = false;
    for (size_t i = 0; i < b->slices; i++) {    /* sorted by track */
        int track = b->ev[b->slice[i]].track;
        if (track < OTP__T_BLOCK_LANE || track == last) continue;
        last = track;
        if (track >= OTP__T_LOST_LANE) otp__tprint_track(b, track, "without scheduler", track - OTP__T_LOST_LANE + 1);
        else otp__tprint_track(b, track, "blocking", track - OTP__T_BLOCK_LANE + 1);
    }
    for (size_t i = 0; i < b->n && !others; i++) others = b->ev[i].track == OTP__T_OTHERS;
    if (others) otp__tprint_track(b, OTP__T_OTHERS, "other threads", -1);
}

/* Which end belongs to which begin: pair[i] is the event + 1 at which the arrow from event i ends. */
static bool otp__tbook_pairs(otp__tbook *b)
{
    otp__tmap messages, spawned;
    memset(&messages, 0, sizeof messages);
    memset(&spawned, 0, sizeof spawned);
    b->pair = calloc(b->n + 1, sizeof *b->pair);
    bool ok = b->pair && otp__tmap_new(&messages, b->n + 1) && otp__tmap_new(&spawned, b->n + 1);
    for (size_t i = 0; ok && i < b->n; i++) {
        const otp__tev *e = &b->ev[i];
        if (e->kind == OTP__T_SPAWN) *otp__tmap_at(&spawned, e->w[1]) = i + 1;
        if (e->kind == OTP__T_RAN) {    /* its first turn */
            uint64_t spawn = otp__tmap_get(&spawned, e->w[0]);
            if (spawn) b->pair[spawn - 1] = i + 1;
            if (spawn) *otp__tmap_at(&spawned, e->w[0]) = 0;
        }
        /* A message keeps its number until it is freed: a later send with the same one is another message. Its last
           receive is the one that kept it: a selective receive looks at many and leaves them. */
        if (e->kind == OTP__T_SEND && e->w[2]) *otp__tmap_at(&messages, e->w[2]) = i + 1;
        if (e->kind != OTP__T_RECEIVE) continue;
        uint64_t send = otp__tmap_get(&messages, e->w[2]);
        const otp__tev *s = send ? &b->ev[send - 1] : NULL;
        if (s && s->w[0] == e->w[1] && s->w[1] == e->w[0] && (uint32_t)s->w[3] == (uint32_t)e->w[3])
            b->pair[send - 1] = i + 1;
    }
    otp__tmap_free(&messages);
    otp__tmap_free(&spawned);
    return ok;
}

static void otp__tprint_all(otp__tbook *b)
{
    int64_t others_end[OTP__T_RINGS + 2] = { 0 }, from;
    fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", b->f);
    otp__tprint_tracks(b);
    for (size_t i = 0; i < b->n; i++) {
        const otp__tev *e = &b->ev[i], *to = b->pair[i] ? &b->ev[b->pair[i] - 1] : NULL;
        switch (e->kind) {
        case OTP__T_RAN: b->sum.slices++; otp__tprint_slice(b, e); break;
        case OTP__T_IDLE: b->sum.sleeps++; otp__tprint_slice(b, e); break;
        case OTP__T_BLOCKED: b->sum.blocking++; otp__tprint_slice(b, e); break;
        case OTP__T_LOST: b->sum.lost++; otp__tprint_slice(b, e); break;
        case OTP__T_WAKE: b->sum.wakes++; otp__tprint_instant(b, e); break;
        case OTP__T_STEAL: b->sum.steals++; otp__tprint_instant(b, e); break;
        case OTP__T_EXIT: b->sum.exits++; otp__tprint_instant(b, e); break;
        case OTP__T_SPAWN:
            b->sum.spawns++;
            otp__tprint_instant(b, e);
            if (!to || !otp__tprint_source(b, e, &from, "spawn", others_end)) break;
            b->arrow++;
            otp__tprint_end(b, true, "spawn", e->track, from);
            otp__tprint_end(b, false, "spawn", to->track, to->at);
            break;
        case OTP__T_SEND:
            b->sum.sends++;
            if (to) otp__tprint_message(b, e, to, others_end);
            break;
        default: break;
        }
    }
    fputs("\n]}\n", b->f);
}

static int otp__trace_print(FILE *f, otp_trace_summary *out)
{
    otp__tbook b;
    memset(&b, 0, sizeof b);
    b.f = f;
    bool ok = otp__tbook_open(&b);
    if (ok) otp__tbook_lanes(&b);
    ok = ok && !b.failed && otp__tbook_slices(&b) && otp__tbook_pairs(&b);
    if (ok) otp__tprint_all(&b);
    free(b.ev);
    free(b.name);
    otp__tmap_free(&b.name_of);
    free(b.slice);
    free(b.pair);
    if (out) *out = b.sum;
    return ok ? 0 : OTP_ENOMEM;
}

/* Puts the number of this process of the system in the place of %p. False when there is no room. */
static bool otp__tpath(const char *path, char *out, size_t size)
{
    size_t n = 0;
    for (; *path && n + 24 < size; path++) {
        if (path[0] == '%' && path[1] == 'p') {
            n += (size_t)snprintf(out + n, size - n, "%ld", (long)getpid());
            path++;
        } else {
            out[n++] = *path;
        }
    }
    out[n] = 0;
    return *path == 0;
}

int otp_trace_write(const char *path, otp_trace_summary *out)
{
    char real[4200];
    if (!path || !*path || !otp__tpath(path, real, sizeof real)) return OTP_EBADARG;
    FILE *f = fopen(real, "we");
    if (!f) return OTP_EIO;
    int rc = otp__trace_print(f, out);
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0) bad = true;
    return rc == 0 && bad ? OTP_EIO : rc;
}

int otp_trace_write_fd(int fd, otp_trace_summary *out)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    FILE *f = copy >= 0 ? fdopen(copy, "w") : NULL;
    if (!f) {
        if (copy >= 0) (void)close(copy);
        return OTP_EIO;
    }
    int rc = otp__trace_print(f, out);
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0) bad = true;
    return rc == 0 && bad ? OTP_EIO : rc;
}

int otp_trace_stop(void)
{
    char path[sizeof otp__trace.path];
    otp__tlock();
    bool on = otp__trace.on;
    otp__trace.on = false;
    memcpy(path, otp__trace.path, sizeof path);
    if (on) otp_trace(NULL);
    otp__tunlock();
    if (!on) return OTP_ENOENT;
    return path[0] ? otp_trace_write(path, NULL) : 0;
}

/* -- 4.4 serving ----------------------------------------------------------------------------------------
   >> serving   One thread for all clients. Requests and answers are lines of text, fields apart by tabs:
     top KEY N      KEY is r (reductions since this client's last request), m (memory), q (queue) or n (name):
                    "head" schedulers processes running queue memory reductions ms, at most N lines
                    "row" pid name state waits queue delta reductions memory heap spawned, and "end"
     trace          "trace" and the number of bytes of a timeline, which follow; "error" and a text without one
   A client that does not read gets nothing more until it has. */

typedef struct otp__trow { otp_info o; uint64_t delta; } otp__trow;

typedef struct otp__tclient {
    int fd;
    char in[256];
    size_t in_n;
    char *out;
    size_t out_n, out_at;
    otp__tmap reds;             /* pid: reductions at the last request */
    bool again;                 /* it has asked before */
} otp__tclient;

static struct otp__top {
    pthread_mutex_t mutex;      /* starting and ending */
    pthread_t thread;
    bool up;
    int fd, quit[2];
    long pid;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    otp__tclient client[OTP_TOP_CLIENTS];
    int clients;
} otp__top = { .mutex = PTHREAD_MUTEX_INITIALIZER };

typedef struct otp__tquery {    /* one survey */
    otp__tclient *c;
    otp__trow *row;
    size_t n, limit;
    uint64_t *seen;             /* pids and reductions by turns */
    size_t seen_n, seen_room;
    uint64_t processes, running, queue, memory, reductions;
    bool failed;
} otp__tquery;

static char otp__top_key;       /* of the survey under way: qsort has no argument, and one thread does it */

static int otp__trow_compare(const void *x, const void *y)
{
    const otp__trow *a = x, *b = y;
    uint64_t ka = a->delta, kb = b->delta;
    if (otp__top_key == 'n') {
        const char *na = a->o.name[0] ? a->o.name : a->o.spawned, *nb = b->o.name[0] ? b->o.name : b->o.spawned;
        int order = (a->o.name[0] == 0) - (b->o.name[0] == 0);
        if (order == 0) order = strcmp(na, nb);
        if (order != 0) return order;
        ka = kb = 0;
    }
    if (otp__top_key == 'm') ka = a->o.memory, kb = b->o.memory;
    if (otp__top_key == 'q') ka = a->o.message_queue_len + 1, kb = b->o.message_queue_len + 1;    /* unknown: 0 */
    if (ka != kb) return ka > kb ? -1 : 1;
    return a->o.pid.id < b->o.pid.id ? -1 : a->o.pid.id > b->o.pid.id;
}

static void otp__tquery_row(const otp_info *o, void *arg)
{
    otp__tquery *q = arg;
    uint64_t before = otp__tmap_get(&q->c->reds, o->pid.id);
    q->processes++;
    q->running += o->state == OTP_STATE_RUNNING || o->state == OTP_STATE_RUNNABLE;
    if (o->message_queue_len != SIZE_MAX) q->queue += o->message_queue_len;
    q->memory += o->memory;
    q->reductions += o->reductions - before;
    if (q->seen_n == q->seen_room) {
        size_t room = q->seen_room ? q->seen_room * 2 : 256;
        uint64_t *more = realloc(q->seen, room * 2 * sizeof *more);
        if (!more) {
            q->failed = true;
            return;
        }
        q->seen = more;
        q->seen_room = room;
    }
    q->seen[q->seen_n * 2] = o->pid.id;
    q->seen[q->seen_n++ * 2 + 1] = o->reductions;
    if (q->n == q->limit * 2) {     /* the better half stays */
        qsort(q->row, q->n, sizeof *q->row, otp__trow_compare);
        q->n = q->limit;
    }
    q->row[q->n].o = *o;
    q->row[q->n++].delta = o->reductions - before;
}

/* A field of a line: no tabs, no ends of lines. */
static void otp__tfield(FILE *f, const char *text)
{
    fputc('\t', f);
    for (const char *c = text; *c; c++) fputc((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c, f);
}

static void otp__tprint_rows(FILE *f, const otp__tquery *q)
{
    static const char *const states[] = { "none", "running", "runnable", "waiting", "suspended", "exiting" };
    static const char *const waits[] = { "", "message", "call", "fd", "time", "blocking", "resume" };
    for (size_t i = 0; i < q->n && i < q->limit; i++) {
        const otp_info *o = &q->row[i].o;
        char pid[32], queue[32] = "-";
        (void)otp_format_pid(o->pid, pid, sizeof pid);
        if (o->message_queue_len != SIZE_MAX) (void)snprintf(queue, sizeof queue, "%zu", o->message_queue_len);
        fputs("row", f);
        otp__tfield(f, pid);
        otp__tfield(f, o->name);
        otp__tfield(f, (unsigned)o->state < 6 ? states[o->state] : "?");
        otp__tfield(f, (unsigned)o->waits < 7 ? waits[o->waits] : "?");
        otp__tfield(f, queue);
        fprintf(f, "\t%llu\t%llu\t%zu\t%zu", (unsigned long long)q->row[i].delta, (unsigned long long)o->reductions,
                o->memory, o->heap_bytes);
        otp__tfield(f, o->spawned);
        fputc('\n', f);
    }
}

static void otp__top_table(otp__tclient *c, FILE *f, char key, size_t limit)
{
    otp__tquery q;
    memset(&q, 0, sizeof q);
    q.c = c;
    q.limit = limit;
    q.row = malloc(limit * 2 * sizeof *q.row);
    if (!q.row) {
        fputs("error\tout of memory\n", f);
        return;
    }
    otp__top_key = key;
    (void)otp_survey(otp__tquery_row, &q, 100);     /* no runtime: no rows */
    qsort(q.row, q.n, sizeof *q.row, otp__trow_compare);
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    fprintf(f, "head\t%d\t%llu\t%llu\t%llu\t%llu\t%llu\t%lld\n", otp_schedulers(), (unsigned long long)q.processes,
            (unsigned long long)q.running, (unsigned long long)q.queue, (unsigned long long)q.memory,
            (unsigned long long)(c->again ? q.reductions : 0), (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
    otp__tprint_rows(f, &q);
    fputs("end\n", f);
    otp__tmap_free(&c->reds);
    if (!q.failed && otp__tmap_new(&c->reds, q.seen_n))
        for (size_t i = 0; i < q.seen_n; i++) *otp__tmap_at(&c->reds, q.seen[i * 2]) = q.seen[i * 2 + 1];
    else otp__tmap_free(&c->reds);
    c->again = true;
    free(q.seen);
    free(q.row);
}

static void otp__top_trace(FILE *f)
{
    otp__tlock();
    bool on = otp__trace.on;
    otp__tunlock();
    char *text = NULL;
    size_t n = 0;
    FILE *m = on ? open_memstream(&text, &n) : NULL;
    int rc = m ? otp__trace_print(m, NULL) : 0;
    bool bad = m && fclose(m) != 0;
    if (!on) fputs("error\tthe program records no timeline: start it with OTP_TRACE=file.json\n", f);
    else if (!m || rc != 0 || bad) fputs("error\tout of memory\n", f);
    else fprintf(f, "trace\t%zu\n", n);
    if (m && rc == 0 && !bad) (void)fwrite(text, 1, n, f);
    free(text);
}

/* The answer to one line. False: the client is to be dropped. */
static bool otp__top_answer(otp__tclient *c, const char *line)
{
    FILE *f = open_memstream(&c->out, &c->out_n);
    if (!f) return false;
    char key;
    unsigned limit;
    c->out_at = 0;
    if (sscanf(line, "top %c %u", &key, &limit) == 2 && strchr("rmqn", key) && limit > 0 && limit <= 100000)
        otp__top_table(c, f, key, limit);
    else if (strcmp(line, "trace") == 0) otp__top_trace(f);
    else fputs("error\tunknown request\n", f);
    return fclose(f) == 0 && c->out;
}

static void otp__tclient_end(int i)
{
    otp__tclient *c = &otp__top.client[i];
    (void)close(c->fd);
    free(c->out);
    otp__tmap_free(&c->reds);
    otp__top.client[i] = otp__top.client[--otp__top.clients];
}

/* What the client has sent and what it can take. False: it has gone, or says nothing that can be understood. */
static bool otp__tclient_serve(otp__tclient *c)
{
    for (;;) {
        while (c->out && c->out_at < c->out_n) {
            ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
            c->out_at += (size_t)n;
        }
        free(c->out);
        c->out = NULL;
        char *end = memchr(c->in, '\n', c->in_n);
        if (!end) {
            if (c->in_n == sizeof c->in) return false;
            ssize_t n = recv(c->fd, c->in + c->in_n, sizeof c->in - c->in_n, 0);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
            if (n == 0) return false;
            c->in_n += (size_t)n;
            continue;
        }
        char line[sizeof c->in];
        size_t used = (size_t)(end - c->in) + 1;
        memcpy(line, c->in, used);
        line[used - 1] = 0;
        memmove(c->in, end + 1, c->in_n -= used);
        if (!otp__top_answer(c, line)) return false;
    }
}

static void otp__top_accept(void)
{
    int fd = accept(otp__top.fd, NULL, NULL);
    if (fd < 0) return;
    int flags = fcntl(fd, F_GETFL);
    if (otp__top.clients == OTP_TOP_CLIENTS || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        (void)close(fd);
        return;
    }
#ifdef SO_NOSIGPIPE
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    otp__tclient *c = &otp__top.client[otp__top.clients++];
    memset(c, 0, sizeof *c);
    c->fd = fd;
}

static void *otp__top_main(void *arg)
{
    (void)arg;
    for (;;) {
        struct pollfd p[OTP_TOP_CLIENTS + 2];
        int n = otp__top.clients;
        p[0] = (struct pollfd){ .fd = otp__top.quit[0], .events = POLLIN };
        p[1] = (struct pollfd){ .fd = otp__top.fd, .events = POLLIN };
        for (int i = 0; i < n; i++)
            p[i + 2] = (struct pollfd){ .fd = otp__top.client[i].fd,
                                        .events = otp__top.client[i].out ? POLLOUT : POLLIN };
        if (poll(p, (nfds_t)n + 2, -1) < 0 && errno != EINTR) break;
        if (p[0].revents) break;
        for (int i = n - 1; i >= 0; i--)    /* downwards: the last one takes the place of one that ends */
            if (p[i + 2].revents && !otp__tclient_serve(&otp__top.client[i])) otp__tclient_end(i);
        if (p[1].revents) otp__top_accept();
    }
    while (otp__top.clients > 0) otp__tclient_end(0);
    return NULL;
}

/* Whether a new socket may be put there: nothing is, or a socket on which nobody listens, which is removed. */
static bool otp__top_place(const struct sockaddr_un *at)
{
    struct stat st;
    if (lstat(at->sun_path, &st) != 0) return errno == ENOENT;
    if (!S_ISSOCK(st.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return false;
    bool dead = connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return dead && unlink(at->sun_path) == 0;
}

static void otp__top_at_exit(void)
{
    if (otp__top.up && otp__top.pid == (long)getpid()) (void)unlink(otp__top.path);
}

static int otp__top_start(const struct sockaddr_un *at)
{
    if (!otp__top_place(at)) return OTP_EEXIST;
    otp__top.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (otp__top.fd < 0) return OTP_EIO;
    if (fcntl(otp__top.fd, F_SETFD, FD_CLOEXEC) < 0 || bind(otp__top.fd, (const struct sockaddr *)at, sizeof *at) != 0) {
        (void)close(otp__top.fd);
        return OTP_EIO;
    }
    /* before listen nobody can connect: there is no moment in which others could */
    bool ok = chmod(at->sun_path, S_IRUSR | S_IWUSR) == 0 && listen(otp__top.fd, 8) == 0 &&
              fcntl(otp__top.fd, F_SETFL, O_NONBLOCK) == 0;
    bool piped = ok && pipe(otp__top.quit) == 0;
    int rc = !piped ? OTP_EIO : 0;
    if (piped && (fcntl(otp__top.quit[0], F_SETFD, FD_CLOEXEC) < 0 || fcntl(otp__top.quit[1], F_SETFD, FD_CLOEXEC) < 0))
        rc = OTP_EIO;
    if (rc == 0) {
        sigset_t all, old;
        (void)sigfillset(&all);     /* signals go to the program's own threads */
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        if (pthread_create(&otp__top.thread, NULL, otp__top_main, NULL) != 0) rc = OTP_ESYSLIMIT;
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (rc < 0) {
        if (piped) (void)close(otp__top.quit[0]);
        if (piped) (void)close(otp__top.quit[1]);
        (void)close(otp__top.fd);
        (void)unlink(at->sun_path);
    }
    return rc;
}

int otp_top_listen(const char *path)
{
    static bool registered;
    struct sockaddr_un at;
    char real[sizeof at.sun_path + 32];
    memset(&at, 0, sizeof at);
    at.sun_family = AF_UNIX;
    if (!path || !*path || !otp__tpath(path, real, sizeof real) || strlen(real) >= sizeof at.sun_path) return OTP_EBADARG;
    memcpy(at.sun_path, real, strlen(real));
    (void)pthread_mutex_lock(&otp__top.mutex);
    int rc = otp__top.up ? OTP_EEXIST : otp__top_start(&at);
    if (rc == 0) {
        otp__top.up = true;
        otp__top.pid = (long)getpid();
        memcpy(otp__top.path, at.sun_path, sizeof at.sun_path);
        if (!registered && atexit(otp__top_at_exit) == 0) registered = true;
    }
    (void)pthread_mutex_unlock(&otp__top.mutex);
    return rc;
}

int otp_top_close(void)
{
    (void)pthread_mutex_lock(&otp__top.mutex);
    int rc = otp__top.up ? 0 : OTP_ENOENT;
    if (rc == 0) {
        while (write(otp__top.quit[1], "", 1) < 0 && errno == EINTR) { }
        (void)pthread_join(otp__top.thread, NULL);
        (void)unlink(otp__top.path);
        (void)close(otp__top.fd);
        (void)close(otp__top.quit[0]);
        (void)close(otp__top.quit[1]);
        otp__top.up = false;
    }
    (void)pthread_mutex_unlock(&otp__top.mutex);
    return rc;
}

/* -- 4.5 environment ------------------------------------------------------------------------------------
   >> environment   OTP_TRACE and OTP_TOP are obeyed before main begins. A child after fork writes nothing. */

static long otp__trace_pid;

static void otp__trace_at_exit(void)
{
    if (otp__trace_pid != (long)getpid()) return;
    int rc = otp_trace_stop();
    if (rc < 0 && rc != OTP_ENOENT) fprintf(stderr, "otp_trace.h: OTP_TRACE: %s\n", otp_strerror(rc));
}

static const char *otp__trace_variable(const char *name)
{
#if defined(__linux__)
    const char *value = secure_getenv(name);
#else
    const char *value = getuid() == geteuid() && getgid() == getegid() ? getenv(name) : NULL;
#endif
    return value && *value ? value : NULL;
}

static __attribute__((constructor)) void otp__trace_environment(void)
{
    const char *file = otp__trace_variable("OTP_TRACE"), *top = otp__trace_variable("OTP_TOP");
    if (file) {
        int rc = otp_trace_start(&(otp_trace_opts){ .path = file });
        otp__trace_pid = (long)getpid();
        if (rc == 0 && atexit(otp__trace_at_exit) != 0) rc = OTP_ENOMEM;
        if (rc < 0) fprintf(stderr, "otp_trace.h: OTP_TRACE=%s: %s\n", file, otp_strerror(rc));
    }
    int rc = top ? otp_top_listen(top) : 0;
    if (rc < 0) fprintf(stderr, "otp_trace.h: OTP_TOP=%s: %s\n", top, otp_strerror(rc));
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
