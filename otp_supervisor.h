/* otp_supervisor.h: Supervisor, DynamicSupervisor and PartitionSupervisor for otp.h.   SPDX-License-Identifier: MIT

   A supervisor is a process that starts others, its children, and starts them anew when they end. It has no stack
   while nothing happens. What shall happen to whom is data: a table of children.

   In ONE .c file of the program, before the includes:

       #define OTP_IMPLEMENTATION
       #include "otp_supervisor.h"
       #include <stdio.h>

       enum { BOOM = 1 };

       static void worker(void *arg)
       {
           printf("%s runs\n", (const char *)arg);
           otp_recv_tag(BOOM, OTP_INFINITY);
           otp_exit(OTP_USER(1, "boom"));              // ends this process; its supervisor starts another
       }

       static const otp_child children[] = {
           { .id = "reader", .run = worker, .arg = "reader" },
           { .id = "writer", .run = worker, .arg = "writer" },
       };

       static void app(void *arg)
       {
           (void)arg;
           otp_pid top = otp_supervisor_start_link(&(otp_supervisor_opts){
               .name = "app", .strategy = OTP_ONE_FOR_ONE, .children = children, .child_count = 2 });
           otp_send(otp_supervisor_child(top, "writer"), BOOM, NULL, 0);
           otp_sleep(10);
           otp_supervisor_stop(top, OTP_NORMAL, 5000);     // writer first, then reader
       }

       int main(void) { return otp_run(app, NULL, NULL); }

   CONTENTS (search for the marks)
     1 config          none of its own: see otp.h
     2 types           >> supervisor types
     3 functions       >> supervisors, >> dynamic supervisors, >> partition supervisors, >> the tree
     4 implementation  >> supervisor implementation

   NEEDS    otp.h beside it. Children may be anything that a linked process can be.
   NOT HERE Servers (otp_server.h). Tasks.
   LIMITS   - A start function runs in the supervisor: until it returns the supervisor does nothing else, and a fault
              or an otp_exit in it ends the supervisor. It should do no more than start a process.
            - A child must be linked to its supervisor, as all start_link functions do it.
            - A request to a supervisor waits without limit, and must not come from a child's own init.
   NAMES    otp_supervisor_, otp_dynamic_supervisor_, otp_partition are public, otp__sup_ is private. */

#include "otp.h"

#ifndef OTP_SUPERVISOR_H_INCLUDED
#define OTP_SUPERVISOR_H_INCLUDED

#ifdef __cplusplus
extern "C" {
#endif

/* -- 2 types --------------------------------------------------------------------------------------------
   >> supervisor types   All zero is the default. */

typedef enum otp_restart {
    OTP_PERMANENT,              /* is always started again */
    OTP_TRANSIENT,              /* is started again unless it ended with normal or shutdown */
    OTP_TEMPORARY               /* is never started again, and forgotten when it ends */
} otp_restart;

typedef enum otp_child_type { OTP_WORKER, OTP_SUPERVISOR } otp_child_type;

/* How long a child may take to end after it got the exit signal `shutdown`; then it is killed. In ms, or … */
#define OTP_BRUTAL_KILL ((int64_t)-2)       /* it is killed at once, without `shutdown` before */
#define OTP_SHUTDOWN_NOW ((int64_t)-3)      /* 0 ms; a plain 0 is the default. OTP_INFINITY: it is never killed */

typedef struct otp_child {
    const char *id;             /* 1 to 63 bytes, one of a kind in its supervisor; copied. Dynamic: may be NULL */
    otp_pid (*start)(void *arg);    /* starts it, linked, and returns its pid; zero: otp_start_result() tells why. Or … */
    otp_fn *run;                /* … a plain function, which is spawned, linked; exactly one of the two */
    void *arg;
    size_t arg_size;            /* > 0: arg is copied, and each start gets its own copy, which is gone when start returns (run
                                   keeps it). 0: the pointer itself is handed over */
    otp_restart restart;
    int64_t shutdown;           /* 0: 5,000 for workers, OTP_INFINITY for supervisors */
    otp_child_type type;
    bool significant;           /* its end may end the supervisor, see otp_auto_shutdown; not for permanent ones */
} otp_child;

typedef enum otp_strategy {
    OTP_ONE_FOR_ONE,            /* the child that ended is started again */
    OTP_ONE_FOR_ALL,            /* all others are ended, last one first, and then all are started */
    OTP_REST_FOR_ONE            /* those behind it are ended, last one first, and then it and those are started */
} otp_strategy;

typedef enum otp_auto_shutdown {
    OTP_AUTO_NEVER,
    OTP_AUTO_ANY_SIGNIFICANT,   /* ends with shutdown when one significant child has ended and is not started again */
    OTP_AUTO_ALL_SIGNIFICANT    /* … when the last one has */
} otp_auto_shutdown;

/* How many restarts within how many seconds are bearable; one more ends the supervisor with `shutdown`. */
typedef enum otp_intensity {
    OTP_ELIXIR_INTENSITY,       /* 3 in 5 s where max_restarts and max_seconds are 0 */
    OTP_ERLANG_INTENSITY        /* 1 in 5 s */
} otp_intensity;
#define OTP_NO_RESTARTS (-1)    /* as max_restarts: the first failure ends the supervisor */

typedef struct otp_supervisor_opts {
    const char *name;           /* registered; copied */
    otp_strategy strategy;
    otp_intensity intensity;
    int max_restarts;           /* 0: as intensity says; OTP_NO_RESTARTS */
    int max_seconds;            /* 0: 5 */
    otp_auto_shutdown auto_shutdown;
    const otp_child *children;  /* started in this order; copied */
    size_t child_count;
} otp_supervisor_opts;

typedef struct otp_dynamic_supervisor_opts {
    const char *name;
    otp_intensity intensity;
    int max_restarts;
    int max_seconds;
    uint32_t max_children;      /* 0: no limit */
    void *extra;                /* for its start functions: otp_dynamic_supervisor_extra() */
    size_t extra_size;          /* > 0: extra is copied */
} otp_dynamic_supervisor_opts;

typedef struct otp_partition_supervisor_opts {
    const char *name;           /* must be given: partitions are found by it */
    int partitions;             /* 0: one for each scheduler */
    otp_child child;            /* started once for each partition, with the ids "0", "1" … */
    void *(*with_arguments)(void *arg, int partition);  /* NULL, or makes each partition's own arg */
    otp_strategy strategy;
    otp_intensity intensity;
    int max_restarts;
    int max_seconds;
} otp_partition_supervisor_opts;

typedef enum otp_child_state { OTP_CHILD_STOPPED, OTP_CHILD_RUNNING, OTP_CHILD_RESTARTING } otp_child_state;

typedef struct otp_child_info {
    char id[64];                /* "" when it has none */
    otp_pid pid;                /* zero unless it runs; of a dynamic one that is restarting: the old pid */
    otp_child_state state;
    otp_child_type type;
    otp_restart restart;
    uint32_t restarts;          /* how often it was started again */
} otp_child_info;

typedef struct otp_child_counts {
    size_t specs;               /* children, whether they run or not */
    size_t active;              /* those that run */
    size_t supervisors;         /* those of type OTP_SUPERVISOR, whether they run or not */
    size_t workers;
} otp_child_counts;

/* -- 3 functions ----------------------------------------------------------------------------------------
   A supervisor serves one request after the other. A code that is not listed is one of otp_try_call's: OTP_ENOPROC
   when there is no such supervisor, OTP_EDIED when it ends meanwhile, OTP_ESELF, OTP_ENOMEM; OTP_EBADCALL when it is
   of another kind.
   >> supervisors */

/* Starts a supervisor, linked to the caller, and all of its children, one after the other. When one of them does not
   start, those before it are ended in reverse, and the supervisor ends with `shutdown` and a text that says why.
   returns: its pid; zero: otp_start_result() tells why: OTP_EDIED, OTP_EEXIST (the name is taken), OTP_ENOMEM,
            OTP_ESYSLIMIT, OTP_EBADARG and a text for a bad option or child: nothing was started
   caller: any process; may suspend
   like: supervisor:start_link/3 */
#define otp_supervisor_start_link(...) otp_supervisor_start_link_at(__VA_ARGS__, OTP_HERE("supervisor"))   /* ... is opts */
otp_pid otp_supervisor_start_link_at(const otp_supervisor_opts *opts, const char *place);

/* Ends a supervisor of any kind, after its children, and waits until it is dead.
   returns: 0; OTP_ENOPROC; OTP_EDIED when it ended for another reason than `why`; OTP_ETIMEOUT: it will stop later;
            OTP_EBADARG, OTP_ESELF, OTP_ENOMEM
   caller: any process; may suspend
   like: Supervisor.stop/3 */
int otp_supervisor_stop(otp_pid supervisor, otp_reason why, int64_t timeout);

/* Adds a child behind the others and starts it. A child that does not start is not kept; one that chose not to start
   is, unless it is temporary.
   returns: its pid; zero: otp_start_result() tells why: OTP_EEXIST: the id is taken (otp_supervisor_child: by whom);
            OTP_EBADARG and a text: a bad child; OTP_EIGNORE, and whatever its start gave
   caller: any process; may suspend
   like: supervisor:start_child/2 */
otp_pid otp_supervisor_start_child(otp_pid supervisor, const otp_child *child);

/* Starts a child again that does not run.
   returns: its pid; zero: otp_start_result() tells why: OTP_ENOENT: no such child; OTP_EEXIST: it runs; OTP_EBUSY: the
            supervisor is about to restart it; OTP_EIGNORE, and whatever its start gave: it stays as it is
   caller: any process; may suspend
   like: supervisor:restart_child/2 */
otp_pid otp_supervisor_restart_child(otp_pid supervisor, const char *id);

/* Ends a child, which is not started again by itself; a temporary one is forgotten. Does not count as a restart.
   returns: 0, also when it did not run; OTP_ENOENT
   caller: any process; may suspend
   like: supervisor:terminate_child/2 */
int otp_supervisor_terminate_child(otp_pid supervisor, const char *id);

/* Forgets a child that does not run.
   returns: 0; OTP_ENOENT; OTP_EEXIST: it runs; OTP_EBUSY: the supervisor is about to restart it
   caller: any process; may suspend
   like: supervisor:delete_child/2 */
int otp_supervisor_delete_child(otp_pid supervisor, const char *id);

/* Who runs under this id now.
   returns: a pid; zero when nobody does
   caller: any process; may suspend */
otp_pid otp_supervisor_child(otp_pid supervisor, const char *id);

/* The children, the newest first; at most `max` of them are copied to out.
   returns: how many there are
   caller: any process; may suspend
   like: supervisor:which_children/1 */
int64_t otp_supervisor_which_children(otp_pid supervisor, otp_child_info *out, size_t max);

/* Counts the children; for supervisors of any kind.
   returns: 0 and *out
   caller: any process; may suspend
   like: supervisor:count_children/1 */
int otp_supervisor_count_children(otp_pid supervisor, otp_child_counts *out);

/* What a child was described as, with the defaults filled in.
   owns: the caller: otp_free((void *)child) frees it with its id and its copied arg
   returns: the child; NULL and *error (may be NULL): OTP_ENOENT
   caller: any process; may suspend
   like: supervisor:get_childspec/2 */
const otp_child *otp_supervisor_get_childspec(otp_pid supervisor, const char *id, int *error);

/* >> dynamic supervisors   Children are started on demand, any number of the same kind, and are known by their pids.
   What a start and an end costs does not grow with their number. Each is restarted for itself (one_for_one). */

/* Starts one, linked to the caller; it has no children, also after it was restarted itself.
   returns: as otp_supervisor_start_link
   caller: any process; may suspend
   like: DynamicSupervisor.start_link/1 */
#define otp_dynamic_supervisor_start_link(...)                                                              \
    otp_dynamic_supervisor_start_link_at(__VA_ARGS__, OTP_HERE("dynamic supervisor"))                       /* ... is opts */
otp_pid otp_dynamic_supervisor_start_link_at(const otp_dynamic_supervisor_opts *opts, const char *place);

/* Starts a child.
   returns: its pid; zero: otp_start_result() tells why: OTP_EFULL: max_children are there, its start was not called;
            OTP_EBADARG and a text: a bad child; OTP_EIGNORE, and whatever its start gave
   caller: any process; may suspend
   like: DynamicSupervisor.start_child/2 */
otp_pid otp_dynamic_supervisor_start_child(otp_pid supervisor, const otp_child *child);

/* Ends a child and forgets it; one that is restarting has its old pid.
   returns: 0; OTP_ENOENT
   caller: any process; may suspend
   like: DynamicSupervisor.terminate_child/2 */
int otp_dynamic_supervisor_terminate_child(otp_pid supervisor, otp_pid child);

/* The children in pages, the oldest first: *cursor is 0 before the first page. Whoever is there all the time is
   listed once.
   returns: how many were copied to out, at most `max`; 0 when there are no more
   caller: any process; may suspend
   like: DynamicSupervisor.which_children/1 */
int64_t otp_dynamic_supervisor_which_children(otp_pid supervisor, uint64_t *cursor, otp_child_info *out, size_t max);

/* In a start function: the `extra` of the dynamic supervisor that it runs in. It must outlive the supervisor, or was
   copied.
   returns: the pointer; NULL elsewhere
   caller: a start function
   like: extra_arguments */
void *otp_dynamic_supervisor_extra(void);

/* >> partition supervisors   N children of one kind, of which each key has its own: work that one process would be
   too slow for. */

/* Starts one with all its partitions, linked to the caller.
   returns: as otp_supervisor_start_link
   caller: any process; may suspend
   like: PartitionSupervisor.start_link/1 */
#define otp_partition_supervisor_start_link(...)                                                            \
    otp_partition_supervisor_start_link_at(__VA_ARGS__, OTP_HERE("partition supervisor"))                   /* ... is opts */
otp_pid otp_partition_supervisor_start_link_at(const otp_partition_supervisor_opts *opts, const char *place);

/* The partition that a key belongs to: abs(key) modulo their number. Asks no process and takes no lock.
   returns: a pid; zero when there is no such supervisor, or while this partition does not run
   caller: any thread
   like: {:via, PartitionSupervisor, {name, key}} */
otp_pid otp_partition(const char *name, int64_t key);

/* The same for a key of bytes, by a hash of them.
   returns: as otp_partition
   caller: any thread */
otp_pid otp_partition_of(const char *name, const void *key, size_t size);

/* The number of partitions.
   returns: the number; 0 when there is no such supervisor
   caller: any thread
   like: PartitionSupervisor.partitions/1 */
int otp_partitions(const char *name);

/* Changes the number of partitions to 0 … what it was started with: surplus ones are ended, missing ones are started.
   returns: 0; OTP_ENOENT: no such supervisor; OTP_EBADARG; what the start of a partition gave
   caller: any process; may suspend
   like: PartitionSupervisor.resize!/2 */
int otp_partition_resize(const char *name, int partitions);

/* >> the tree */

/* Writes a supervisor and all below it as text, a line for each process: what it is called, its pid, what it is and
   does, and how often it was restarted. Nested supervisors are asked, each for a second at most. A dynamic supervisor
   shows its first 10.
   returns: the length as snprintf does; OTP_ENOPROC, OTP_ETIMEOUT, OTP_EBADCALL when the first one does not answer
   caller: any process; may suspend */
int otp_supervisor_format_tree(otp_pid supervisor, char *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* OTP_SUPERVISOR_H_INCLUDED */

/* -- 4 implementation -----------------------------------------------------------------------------------
   >> supervisor implementation   One handler for the three kinds. Glossary:
     spec   what a child was described as, in the supervisor's heap: its image (what a request carries), ids and args
            included; children that are described alike one after the other share one
     kid    a child: a place in the array `kids`, which is in start order; an empty place has no spec. A kid that
            restarts keeps its place. `seq` grows along the array, so that a kid is found again after places were moved.
     index  a hash table from pids to places, for kids whose pid is not 0, the old pids of restarting ones included
   Start functions run in here, and nothing else of the user's: no place moves while they do. */
#if defined(OTP_IMPLEMENTATION) && !defined(OTP_SUPERVISOR_IMPLEMENTATION_DONE)
#define OTP_SUPERVISOR_IMPLEMENTATION_DONE

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OTP__SUP_STATIC, OTP__SUP_DYNAMIC, OTP__SUP_PARTITION };

enum {      /* requests; below those of otp_server.h */
    OTP__SUP_START = OTP_TAG_MIN - 100, /* an image -> otp__sup_started */
    OTP__SUP_RESTART = OTP_TAG_MIN - 101,       /* an id -> otp__sup_started */
    OTP__SUP_TERMINATE = OTP_TAG_MIN - 102,     /* an id */
    OTP__SUP_TERMINATE_PID = OTP_TAG_MIN - 103, /* a pid */
    OTP__SUP_DELETE = OTP_TAG_MIN - 104,        /* an id */
    OTP__SUP_CHILD = OTP_TAG_MIN - 105,         /* an id -> a pid */
    OTP__SUP_WHICH = OTP_TAG_MIN - 106,         /* otp__sup_page -> otp__sup_page and otp_child_info[] */
    OTP__SUP_COUNT = OTP_TAG_MIN - 107,         /* -> otp_child_counts */
    OTP__SUP_SPEC = OTP_TAG_MIN - 108,          /* an id -> an image */
    OTP__SUP_ABOUT = OTP_TAG_MIN - 109,         /* -> otp__sup_about */
    OTP__SUP_RESIZE = OTP_TAG_MIN - 110,        /* an int */
    OTP__SUP_STOP = OTP_TAG_MIN - 111,          /* an otp_reason, its text behind it */
    OTP__SUP_RETRY = OTP_TAG_MIN - 112          /* to itself: the seq of a kid that failed to start */
};

/* An image: the child with its defaults filled in, the id, the bytes of arg; each part is padded to 16. */
#define OTP__SUP_PAD(n) (((n) + 15) & ~(size_t)15)

typedef struct otp__sup_spec {
    otp_child c;                /* first: otp_supervisor_get_childspec gives it away. Its pointers lead into image */
    size_t size;                /* of the image */
    uint32_t refs;
    _Alignas(16) char image[];
} otp__sup_spec;

typedef struct otp__sup_kid {
    uint64_t pid;               /* 0: it does not run */
    otp__sup_spec *spec;        /* NULL: an empty place */
    uint64_t seq;
    uint32_t restarts;
    bool down;                  /* pid is that of a dead one: it is to be restarted */
} otp__sup_kid;

/* The pids of a partition supervisor, for everybody. Tables are found by name in a list that only grows: a reader may
   hold one for any time. A name that comes back uses the table that it had, if that is large enough. Not in the heap
   of the supervisor, as readers outlive it. */
typedef struct otp__sup_table {
    struct otp__sup_table *next;
    char name[64];
    int room;
    _Atomic int count;          /* 0: the supervisor is not there */
    _Atomic uint64_t pids[];
} otp__sup_table;
static _Atomic(otp__sup_table *) otp__sup_tables;

typedef struct otp__sup {
    otp__sup_kid *kids;
    uint32_t used, room, live;  /* places in use, empty ones included; places; kids */
    uint32_t *index;            /* 0 or a place + 1 */
    uint32_t bits;              /* 2^bits entries, at least twice `room` */
    int kind;
    uint64_t seq;
    int64_t *stamps;            /* seconds of the last restarts: a ring of stamp_room */
    uint32_t stamp_first, stamp_count, stamp_room;
    uint64_t restarts;
    uint32_t max_restarts;
    int max_seconds;
    otp_strategy strategy;
    otp_auto_shutdown auto_shutdown;
    uint32_t max_children;
    otp__sup_spec *last;        /* the newest spec of a dynamic supervisor */
    void *extra;
    otp__sup_table *table;
    char name[64];
} otp__sup;

/* What init gets: this, the images, and the bytes of extra. */
typedef struct otp__sup_begin {
    int kind;
    otp_strategy strategy;
    otp_auto_shutdown auto_shutdown;
    uint32_t max_restarts;
    int max_seconds;
    uint32_t max_children;
    size_t count;
    void *extra;
    size_t extra_size;
    otp__sup_table *table;
    char name[64];
} otp__sup_begin;

typedef struct otp__sup_started { otp_pid pid; int rc; otp_reason why; char text[160]; } otp__sup_started;
typedef struct otp__sup_page { uint64_t cursor, total; uint32_t max; bool newest_first; } otp__sup_page;
typedef struct otp__sup_about {
    char name[64];
    int kind;
    otp_strategy strategy;
    uint32_t max_restarts;
    int max_seconds;
    uint64_t restarts;
} otp__sup_about;

/* -- specs */

static size_t otp__sup_image_size(const otp_child *c)
{
    return OTP__SUP_PAD(sizeof *c) + OTP__SUP_PAD((c->id ? strlen(c->id) : 0) + 1) + OTP__SUP_PAD(c->arg_size);
}

/* Every byte of it is written, so that two images can be compared as bytes. */
static size_t otp__sup_image(char *out, const otp_child *c)
{
    size_t head = OTP__SUP_PAD(sizeof *c), id = c->id ? strlen(c->id) : 0, size = otp__sup_image_size(c);
    otp_child *to = (otp_child *)(void *)out;
    memset(out, 0, size);
    to->id = c->id ? "" : NULL;
    to->start = c->start;
    to->run = c->run;
    to->arg = c->arg_size ? NULL : c->arg;
    to->arg_size = c->arg_size;
    to->restart = c->restart;
    to->shutdown = c->shutdown                    ? c->shutdown
                   : c->type == OTP_SUPERVISOR ? OTP_INFINITY
                                                 : 5000;
    to->type = c->type;
    to->significant = c->significant;
    if (id) memcpy(out + head, c->id, id);
    if (c->arg_size) memcpy(out + head + OTP__SUP_PAD(id + 1), c->arg, c->arg_size);
    return size;
}

/* The size of an image that stands at `image`. */
static size_t otp__sup_image_measure(const char *image)
{
    const otp_child *c = (const otp_child *)(const void *)image;
    size_t head = OTP__SUP_PAD(sizeof *c);
    return head + OTP__SUP_PAD(strlen(image + head) + 1) + OTP__SUP_PAD(c->arg_size);
}

static otp__sup_spec *otp__sup_spec_new(const void *image, size_t size)
{
    otp__sup_spec *spec = otp_alloc(sizeof *spec + size);
    if (!spec) return NULL;
    memcpy(spec->image, image, size);
    memcpy(&spec->c, image, sizeof spec->c);
    spec->size = size;
    spec->refs = 1;
    char *id = spec->image + OTP__SUP_PAD(sizeof spec->c);
    if (spec->c.id) spec->c.id = id;
    if (spec->c.arg_size) spec->c.arg = id + OTP__SUP_PAD(strlen(id) + 1);
    return spec;
}

static void otp__sup_spec_drop(otp__sup_spec *spec)
{
    if (--spec->refs == 0) otp_free(spec);
}

/* NULL when a child is well described, or what is wrong. */
static const char *otp__sup_child_bad(const otp_child *c, int kind)
{
    if (!c) return "there is no child";
    if (kind != OTP__SUP_DYNAMIC && (!c->id || !c->id[0])) return "it has no id";
    if (c->id && strlen(c->id) > 63) return "its id has more than 63 bytes";
    if ((c->start == NULL) == (c->run == NULL)) return "it needs either start or run";
    if (c->arg_size && !c->arg) return "arg_size without arg";
    if ((unsigned)c->restart > OTP_TEMPORARY) return "unknown restart";
    if ((unsigned)c->type > OTP_SUPERVISOR) return "unknown type";
    if (c->shutdown < OTP_SHUTDOWN_NOW) return "unknown shutdown";
    if (c->significant && c->restart == OTP_PERMANENT) return "significant and permanent";
    if (c->significant && kind != OTP__SUP_STATIC) return "significant, but this kind of supervisor has no auto_shutdown";
    return NULL;
}

static const char *const otp__sup_no_auto = "significant, but the supervisor has no auto_shutdown";

/* -- kids */

static bool otp__sup_runs(const otp__sup_kid *k) { return k->pid != 0 && !k->down; }

/* Processes that were started one after the other mostly stand in places that follow each other, which is what the
   upper half of a pid tells: 16 such share a cache line of the index. */
static uint32_t otp__sup_hash(const otp__sup *s, uint64_t pid)
{
    uint64_t place = pid >> 32, line = ((place >> 4) * UINT64_C(0x9E3779B97F4A7C15)) >> (64 + 4 - s->bits);
    return (uint32_t)(line << 4 | (place & 15));
}

static void otp__sup_index_put(otp__sup *s, const otp__sup_kid *k)
{
    uint32_t mask = (UINT32_C(1) << s->bits) - 1, i = otp__sup_hash(s, k->pid);
    while (s->index[i]) i = (i + 1) & mask;
    s->index[i] = (uint32_t)(k - s->kids) + 1;
}

static otp__sup_kid *otp__sup_find_pid(const otp__sup *s, uint64_t pid)
{
    if (!pid || !s->index) return NULL;
    uint32_t mask = (UINT32_C(1) << s->bits) - 1;
    for (uint32_t i = otp__sup_hash(s, pid); s->index[i]; i = (i + 1) & mask)
        if (s->kids[s->index[i] - 1].pid == pid) return &s->kids[s->index[i] - 1];
    return NULL;
}

/* Takes a kid out of the index; entries behind it that would not be found any more are moved up. */
static void otp__sup_index_remove(otp__sup *s, const otp__sup_kid *k)
{
    uint32_t mask = (UINT32_C(1) << s->bits) - 1, place = (uint32_t)(k - s->kids) + 1, hole = otp__sup_hash(s, k->pid);
    while (s->index[hole] != place) hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; s->index[i]; i = (i + 1) & mask) {
        uint32_t home = otp__sup_hash(s, s->kids[s->index[i] - 1].pid);
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        s->index[hole] = s->index[i];
        hole = i;
    }
    s->index[hole] = 0;
}

/* Makes sure that one more kid has a place. Places move. */
static bool otp__sup_reserve(otp__sup *s)
{
    if (s->used < s->room) return true;
    uint32_t room = s->room, used = 0;
    if (s->live >= room / 2) {
        if (room > UINT32_MAX / 4) return false;
        room = room ? room * 2 : 8;
        otp__sup_kid *kids = otp_realloc(s->kids, room * sizeof *kids);
        if (!kids) return false;
        s->kids = kids;
    }
    uint32_t bits = 5;
    while ((UINT32_C(1) << bits) < 2 * room) bits++;
    if (bits != s->bits) {
        uint32_t *index = otp_alloc((size_t)4 << bits);
        if (!index) return false;           /* more places than before do no harm */
        otp_free(s->index);
        s->index = index;
        s->bits = bits;
    }
    memset(s->index, 0, (size_t)4 << bits);
    for (uint32_t i = 0; i < s->used; i++)
        if (s->kids[i].spec) s->kids[used++] = s->kids[i];
    s->used = used;
    s->room = room;
    for (uint32_t i = 0; i < used; i++)
        if (s->kids[i].pid) otp__sup_index_put(s, &s->kids[i]);
    return true;
}

/* A place was reserved. */
static otp__sup_kid *otp__sup_add(otp__sup *s, otp__sup_spec *spec)
{
    otp__sup_kid *k = &s->kids[s->used++];
    *k = (otp__sup_kid){ .spec = spec, .seq = s->seq++ };
    s->live++;
    return k;
}

/* All changes of a kid's pid. */
static void otp__sup_set_pid(otp__sup *s, otp__sup_kid *k, otp_pid pid)
{
    if (k->pid) otp__sup_index_remove(s, k);
    k->pid = pid.id;
    k->down = false;
    if (k->pid) otp__sup_index_put(s, k);
    /* release: who finds the pid sees what was written before its process was started */
    if (s->table) atomic_store_explicit(&s->table->pids[k->seq], pid.id, memory_order_release);
}

static void otp__sup_set_none(otp__sup *s, otp__sup_kid *k) { otp__sup_set_pid(s, k, (otp_pid){ 0 }); }

static void otp__sup_remove(otp__sup *s, otp__sup_kid *k)
{
    otp__sup_set_none(s, k);
    otp__sup_spec_drop(k->spec);
    k->spec = NULL;
    s->live--;
}

/* It has ended and is not started again. A partition always keeps its place. */
static void otp__sup_ended(otp__sup *s, otp__sup_kid *k)
{
    bool temporary = s->kind == OTP__SUP_STATIC && k->spec->c.restart == OTP_TEMPORARY;
    if (temporary || s->kind == OTP__SUP_DYNAMIC) otp__sup_remove(s, k);
    else otp__sup_set_none(s, k);
}

static otp__sup_kid *otp__sup_find_id(const otp__sup *s, const otp_msg *m)
{
    const char *id = m->data;
    if (!m->size || id[m->size - 1]) return NULL;
    for (uint32_t i = 0; i < s->used; i++)
        if (s->kids[i].spec && strcmp(s->kids[i].spec->c.id, id) == 0) return &s->kids[i];
    return NULL;
}

/* The first place whose kid has this seq or a newer one. */
static uint32_t otp__sup_find_seq(const otp__sup *s, uint64_t seq)
{
    uint32_t low = 0, high = s->used;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->kids[middle].seq < seq) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* -- reports, starting, ending */

static void otp__sup_report(const otp__sup *s, const char *context, const otp__sup_spec *spec, uint64_t pid,
                            const otp_reason *why)
{
    static const char *const restarts[] = { "permanent", "transient", "temporary" };
    char self[32], child[32], reason[256];
    (void)otp_format_pid(otp_self(), self, sizeof self);
    (void)otp_format_pid((otp_pid){ pid }, child, sizeof child);
    (void)otp_format_reason(why, reason, sizeof reason);
    otp_log(OTP_LOG_ERROR, "supervisor %s%s%s: %s: child %s %s, %s %s: %s", s->name, s->name[0] ? " " : "", self, context,
            spec->c.id ? spec->c.id : "-", pid ? child : "without process", restarts[spec->c.restart],
            spec->c.type == OTP_SUPERVISOR ? "supervisor" : "worker", reason);
}

/* Returns 0 and *pid, or what otp_start_result() says; *why lasts until the next start. */
static int otp__sup_start(const otp__sup_spec *spec, otp_pid *pid, otp_reason *why)
{
    const otp_child *c = &spec->c;
    pid->id = 0;
    int rc;
    if (c->run) {
        otp_spawn_opts o = { .fn = c->run, .arg = c->arg, .arg_size = c->arg_size, .link = true };
        rc = otp_spawn_opt_at(&o, pid, "child of a supervisor");
    } else {
        void *arg = c->arg_size ? otp_alloc(c->arg_size) : c->arg;
        if (c->arg_size && !arg) {
            rc = OTP_ENOMEM;
        } else {
            if (c->arg_size) memcpy(arg, c->arg, c->arg_size);
            (void)otp_start_failed(0, OTP_NORMAL);      /* one that says nothing must not inherit what the last one said */
            *pid = c->start(arg);
            if (c->arg_size) otp_free(arg);
            rc = pid->id ? 0 : otp_start_result(why);
            if (rc == OTP_EDIED) return rc;
            if (rc == 0 && !pid->id) rc = OTP_ESYSLIMIT;
        }
    }
    *why = rc ? OTP_ERROR(rc) : OTP_NORMAL;
    return rc;
}

static bool otp__sup_is_exit(const otp_msg *m, void *arg)
{
    return m->tag == OTP_EXIT && otp_same(m->from, *(otp_pid *)arg);
}

/* Whether this is how a child ends that was asked to. */
static bool otp__sup_well(const otp_child *c, const otp_reason *why)
{
    if (c->shutdown == OTP_BRUTAL_KILL) return why->kind == OTP_REASON_KILLED;
    if (why->kind == OTP_REASON_SHUTDOWN && !why->code && !why->text) return true;
    return c->restart != OTP_PERMANENT && (why->kind == OTP_REASON_SHUTDOWN || why->kind == OTP_REASON_NORMAL);
}

/* Ends the process of a kid, if it has one, and waits for its death: by a monitor, so that one that unlinked itself
   is seen, too. */
static void otp__sup_end(otp__sup *s, const otp__sup_kid *k)
{
    if (!otp__sup_runs(k)) return;
    const otp_child *c = &k->spec->c;
    otp_pid pid = { k->pid };
    otp_ref ref = otp_monitor(pid);
    const otp_msg *m = NULL;
    if (c->shutdown != OTP_BRUTAL_KILL) {
        (void)otp_exit_signal(pid, OTP_SHUTDOWN);
        if (c->shutdown != OTP_SHUTDOWN_NOW) m = otp_recv_ref(ref, c->shutdown);
    }
    if (!m) {
        (void)otp_exit_signal(pid, OTP_KILL);
        m = otp_recv_ref(ref, OTP_INFINITY);
    }
    const otp_msg *down = otp_keep(m);
    const otp_reason *why = otp_reason_of(down);
    /* Its death may have been told over the link first, and must not be taken for that of a child that runs. */
    (void)otp_unlink(pid);
    const otp_msg *linked = otp_recv_match(otp__sup_is_exit, &pid, 0);
    if (linked && why->kind == OTP_REASON_NOPROC) why = otp_reason_of(linked);
    if (!otp__sup_well(c, why)) otp__sup_report(s, "shutdown_error", k->spec, k->pid, why);
    otp_drop(down);
}

/* Ends the kids from place `first` on, the last one first; temporary ones are forgotten. */
static void otp__sup_end_from(otp__sup *s, uint32_t first)
{
    for (uint32_t i = s->used; i-- > first;) {
        if (!s->kids[i].spec) continue;
        otp__sup_end(s, &s->kids[i]);
        otp__sup_ended(s, &s->kids[i]);
    }
}

/* -- ending all at once: what dynamic supervisors do */

/* The kids with this shutdown that are still there are killed. */
static void otp__sup_kill_late(otp__sup *s, int64_t shutdown)
{
    for (uint32_t i = 0; i < s->used; i++)
        if (s->kids[i].spec && otp__sup_runs(&s->kids[i]) && s->kids[i].spec->c.shutdown == shutdown)
            (void)otp_exit_signal((otp_pid){ s->kids[i].pid }, OTP_KILL);
}

/* One message while all end. Returns whether it was the death of a kid. */
static bool otp__sup_end_message(otp__sup *s, const otp_msg *m)
{
    if (otp_is_call(m)) {
        if (otp_reply_error(otp_from_of(m), OTP_EDIED) < 0)
            otp_log(OTP_LOG_ERROR, "supervisor %s: no memory for an answer", s->name);
        return false;
    }
    if (m->tag != OTP_EXIT && m->tag != OTP_DOWN) return false;
    otp__sup_kid *k = otp__sup_find_pid(s, m->from.id);
    if (!k || k->down) return false;
    const otp_reason *why = otp_reason_of(m);
    if (!otp__sup_well(&k->spec->c, why)) otp__sup_report(s, "shutdown_error", k->spec, k->pid, why);
    k->down = true;     /* the index stays as it is: nobody will need it */
    return true;
}

static void otp__sup_end_all(otp__sup *s)
{
    typedef struct { int64_t shutdown; bool over; } limit;
    limit one, *limits = &one;          /* the different times, of which there is mostly one */
    size_t count = 0;
    uint32_t left = 0;
    const otp__sup_spec *last = NULL;
    for (uint32_t i = 0; i < s->used; i++) {
        const otp__sup_kid *k = &s->kids[i];
        if (!k->spec || !otp__sup_runs(k)) continue;
        int64_t shutdown = k->spec->c.shutdown;
        left++;
        if (shutdown != OTP_BRUTAL_KILL) (void)otp_exit_signal((otp_pid){ k->pid }, OTP_SHUTDOWN);
        if (shutdown == OTP_BRUTAL_KILL || shutdown == OTP_SHUTDOWN_NOW)
            (void)otp_exit_signal((otp_pid){ k->pid }, OTP_KILL);
        if (shutdown < 0 || k->spec == last) continue;
        last = k->spec;
        size_t j = 0;
        while (j < count && limits[j].shutdown != shutdown) j++;
        if (j < count) continue;
        if (count) {
            limit *more = otp_realloc(limits == &one ? NULL : limits, (count + 1) * sizeof *more);
            if (!more) continue;        /* it is waited for without limit */
            if (limits == &one) more[0] = one;
            limits = more;
        }
        limits[count++] = (limit){ shutdown, false };
    }
    /* Deaths come over the links, which costs less than monitors. When it becomes quiet those that are left are
       monitored, since one of them may have unlinked itself. */
    bool monitored = false;
    int64_t begin = otp_now();
    while (left) {
        int64_t passed = otp_now() - begin, wait = monitored ? OTP_INFINITY : 100;
        for (size_t i = 0; i < count; i++) {
            if (limits[i].over) continue;
            if (passed >= limits[i].shutdown) {
                otp__sup_kill_late(s, limits[i].shutdown);
                limits[i].over = true;
            } else if (wait == OTP_INFINITY || limits[i].shutdown - passed < wait) {
                wait = limits[i].shutdown - passed;
            }
        }
        const otp_msg *m = NULL;
        for (int i = 0; i < 256 && left && (m = otp_recv(wait)) != NULL; i++)
            if (otp__sup_end_message(s, m)) left--;
        if (m || monitored || !left) continue;
        monitored = true;
        for (uint32_t i = 0; i < s->used; i++)
            if (s->kids[i].spec && otp__sup_runs(&s->kids[i])) (void)otp_monitor((otp_pid){ s->kids[i].pid });
    }
    if (limits != &one) otp_free(limits);
}

/* -- restarting */

/* Whether one more restart is bearable; it is counted. */
static bool otp__sup_budget(otp__sup *s)
{
    int64_t now = otp_now() / 1000;
    while (s->stamp_count && s->stamps[s->stamp_first] < now - s->max_seconds) {
        s->stamp_first = (s->stamp_first + 1) % s->stamp_room;
        s->stamp_count--;
    }
    if (s->stamp_count >= s->max_restarts) return false;
    if (s->stamp_count == s->stamp_room) {
        uint32_t room = s->stamp_room ? s->stamp_room * 2 : 4;
        int64_t *stamps = otp_alloc(room * sizeof *stamps);
        if (!stamps) return false;
        for (uint32_t i = 0; i < s->stamp_count; i++) stamps[i] = s->stamps[(s->stamp_first + i) % s->stamp_room];
        otp_free(s->stamps);
        s->stamps = stamps;
        s->stamp_first = 0;
        s->stamp_room = room;
    }
    s->stamps[(s->stamp_first + s->stamp_count++) % s->stamp_room] = now;
    return true;
}

/* Starts a kid again. False: it failed, and will be tried again when the messages that are waiting now have been
   served. */
static bool otp__sup_start_again(otp__sup *s, otp__sup_kid *k)
{
    otp_pid pid;
    otp_reason why;
    k->restarts++;
    int rc = otp__sup_start(k->spec, &pid, &why);
    if (rc == 0) {
        otp__sup_set_pid(s, k, pid);
    } else if (rc == OTP_EIGNORE) {
        otp__sup_ended(s, k);
    } else {
        otp__sup_report(s, "start_error", k->spec, k->pid, &why);
        k->down = true;
        if (OTP_SEND(otp_self(), OTP__SUP_RETRY, k->seq) < 0)
            otp_exit(otp_reason_make(OTP_REASON_SYSTEM_LIMIT, 0, "supervisor: retry"));
        return false;
    }
    return true;
}

/* False: the supervisor gives up. */
static bool otp__sup_restart(otp__sup *s, otp__sup_kid *k)
{
    k->down = true;
    if (!otp__sup_budget(s)) {
        otp_reason why = otp_reason_make(OTP_REASON_SHUTDOWN, 0, "reached_max_restart_intensity");
        otp__sup_report(s, "shutdown", k->spec, k->pid, &why);
        otp__sup_ended(s, k);
        return false;
    }
    s->restarts++;
    if (s->strategy == OTP_ONE_FOR_ONE) {
        (void)otp__sup_start_again(s, k);
        return true;
    }
    uint32_t first = s->strategy == OTP_ONE_FOR_ALL ? 0 : (uint32_t)(k - s->kids);
    otp__sup_set_none(s, k);
    otp__sup_end_from(s, first);
    for (uint32_t i = first; i < s->used; i++) {
        k = &s->kids[i];
        if (!k->spec || k->spec->c.restart == OTP_TEMPORARY) continue;
        if (!otp__sup_start_again(s, k)) break;
    }
    return true;
}

/* A kid has ended by itself. False: the supervisor gives up. */
static bool otp__sup_exit(otp__sup *s, const otp_msg *m)
{
    otp__sup_kid *k = otp__sup_find_pid(s, m->from.id);
    if (!k || k->down) return true;
    const otp_reason *why = otp_reason_of(m);
    const otp_child *c = &k->spec->c;
    bool well = why->kind == OTP_REASON_NORMAL || why->kind == OTP_REASON_SHUTDOWN;
    if (!well || c->restart == OTP_PERMANENT) otp__sup_report(s, "child_terminated", k->spec, k->pid, why);
    if (s->table) atomic_store_explicit(&s->table->pids[k->seq], 0, memory_order_release);
    if (c->restart == OTP_PERMANENT || (c->restart == OTP_TRANSIENT && !well)) return otp__sup_restart(s, k);
    bool significant = c->significant;
    otp__sup_ended(s, k);
    if (!significant || s->auto_shutdown == OTP_AUTO_NEVER) return true;
    if (s->auto_shutdown == OTP_AUTO_ANY_SIGNIFICANT) return false;
    for (uint32_t i = 0; i < s->used; i++)
        if (s->kids[i].spec && s->kids[i].pid && s->kids[i].spec->c.significant) return true;
    return false;
}

/* -- requests */

static void otp__sup_fail(otp__sup_started *r, int rc, otp_reason why)
{
    r->rc = rc;
    r->why = why;
    r->why.text = NULL;
    if (why.text) (void)snprintf(r->text, sizeof r->text, "%s", why.text);
}

static void otp__sup_start_child(otp__sup *s, const otp_msg *m, otp__sup_started *r)
{
    const otp_child *c = m->data;
    otp_reason why;
    if (s->kind == OTP__SUP_PARTITION) { otp__sup_fail(r, OTP_EBADCALL, OTP_ERROR(OTP_EBADCALL)); return; }
    if (s->kind == OTP__SUP_DYNAMIC) {
        if (c->significant) {
            otp__sup_fail(r, OTP_EBADARG, otp_reason_make(OTP_REASON_ERROR, OTP_EBADARG, otp__sup_no_auto));
            return;
        }
        if (s->live >= s->max_children) { otp__sup_fail(r, OTP_EFULL, OTP_ERROR(OTP_EFULL)); return; }
    } else {
        if (!c->id || (c->significant && s->auto_shutdown == OTP_AUTO_NEVER)) {
            const char *bad = c->id ? otp__sup_no_auto : "it has no id";
            otp__sup_fail(r, OTP_EBADARG, otp_reason_make(OTP_REASON_ERROR, OTP_EBADARG, bad));
            return;
        }
        const char *id = (const char *)m->data + OTP__SUP_PAD(sizeof *c);
        const otp_msg by_id = { .data = id, .size = strlen(id) + 1 };
        if (otp__sup_find_id(s, &by_id)) { otp__sup_fail(r, OTP_EEXIST, OTP_ERROR(OTP_EEXIST)); return; }
    }
    otp__sup_spec *spec = s->last;
    if (spec && spec->size == m->size && memcmp(spec->image, m->data, m->size) == 0) {
        spec->refs++;
    } else {
        spec = otp__sup_spec_new(m->data, m->size);
        if (spec && s->kind == OTP__SUP_DYNAMIC) {
            if (s->last) otp__sup_spec_drop(s->last);
            s->last = spec;
            spec->refs++;
        }
    }
    if (!spec || !otp__sup_reserve(s)) {
        otp__sup_fail(r, OTP_ENOMEM, OTP_ERROR(OTP_ENOMEM));
        if (spec) otp__sup_spec_drop(spec);
        return;
    }
    int rc = otp__sup_start(spec, &r->pid, &why);
    if (rc == 0) {
        otp__sup_set_pid(s, otp__sup_add(s, spec), r->pid);
    } else {
        otp__sup_fail(r, rc, why);
        if (rc != OTP_EIGNORE) otp__sup_report(s, "start_error", spec, 0, &why);
        bool keep = rc == OTP_EIGNORE && s->kind == OTP__SUP_STATIC && spec->c.restart != OTP_TEMPORARY;
        if (keep) (void)otp__sup_add(s, spec);
        else otp__sup_spec_drop(spec);
    }
}

/* 0 when a kid is there and has no process and will have none. */
static int otp__sup_stopped(const otp__sup_kid *k)
{
    if (!k) return OTP_ENOENT;
    return k->down ? OTP_EBUSY : k->pid ? OTP_EEXIST : 0;
}

static int otp__sup_restart_child(otp__sup *s, otp__sup_kid *k, otp__sup_started *r)
{
    otp_reason why;
    int rc = otp__sup_stopped(k);
    if (rc < 0) {
        otp__sup_fail(r, rc, OTP_ERROR(rc));
        return rc;
    }
    rc = otp__sup_start(k->spec, &r->pid, &why);
    if (rc == 0) otp__sup_set_pid(s, k, r->pid);
    else {
        otp__sup_fail(r, rc, why);
        if (rc != OTP_EIGNORE) otp__sup_report(s, "start_error", k->spec, 0, &why);
    }
    return rc;
}

static int otp__sup_terminate_child(otp__sup *s, otp__sup_kid *k)
{
    if (!k) return OTP_ENOENT;
    otp__sup_end(s, k);
    otp__sup_ended(s, k);
    return 0;
}

static int otp__sup_resize(otp__sup *s, int count)
{
    if (s->kind != OTP__SUP_PARTITION) return OTP_EBADCALL;
    if (count < 0 || (uint32_t)count > s->used) return OTP_EBADARG;
    otp__sup_started r;
    for (uint32_t i = 0; i < (uint32_t)count; i++) {    /* what there is to start runs before anybody is sent there */
        if (s->kids[i].pid) continue;
        int rc = otp__sup_restart_child(s, &s->kids[i], &r);
        if (rc < 0 && rc != OTP_EIGNORE) return rc;
    }
    atomic_store_explicit(&s->table->count, count, memory_order_release);
    for (uint32_t i = s->used; i-- > (uint32_t)count;) (void)otp__sup_terminate_child(s, &s->kids[i]);
    return 0;
}

static int otp__sup_which(const otp__sup *s, const otp_msg *m)
{
    const otp__sup_page *page = OTP_PAYLOAD(m, otp__sup_page);
    uint32_t max = page->max < s->live ? page->max : s->live, count = 0;
    otp__sup_page *out = otp_calloc(1, sizeof *out + max * sizeof(otp_child_info));
    if (!out) return otp_reply_error(otp_from_of(m), OTP_ENOMEM);
    otp_child_info *info = (otp_child_info *)(void *)(out + 1);
    out->total = s->live;
    uint32_t i = otp__sup_find_seq(s, page->cursor);
    while (count < max && (page->newest_first ? i > 0 : i < s->used)) {
        const otp__sup_kid *k = &s->kids[page->newest_first ? --i : i++];
        out->cursor = page->newest_first ? k->seq : k->seq + 1;
        if (!k->spec) continue;
        if (k->spec->c.id) (void)snprintf(info->id, sizeof info->id, "%s", k->spec->c.id);
        info->state = k->down ? OTP_CHILD_RESTARTING : k->pid ? OTP_CHILD_RUNNING : OTP_CHILD_STOPPED;
        info->pid.id = k->down && s->kind != OTP__SUP_DYNAMIC ? 0 : k->pid;
        info->type = k->spec->c.type;
        info->restart = k->spec->c.restart;
        info->restarts = k->restarts;
        info++;
        count++;
    }
    out->max = count;
    int rc = otp_reply(otp_from_of(m), out, sizeof *out + count * sizeof *info);
    otp_free(out);
    return rc;
}

static int otp__sup_count(const otp__sup *s, otp_from from)
{
    otp_child_counts n = { .specs = s->live };
    for (uint32_t i = 0; i < s->used; i++) {
        if (!s->kids[i].spec) continue;
        if (otp__sup_runs(&s->kids[i])) n.active++;
        if (s->kids[i].spec->c.type == OTP_SUPERVISOR) n.supervisors++;
        else n.workers++;
    }
    return OTP_REPLY(from, n);
}

static int otp__sup_answer(otp_from from, int rc)
{
    return rc < 0 ? otp_reply_error(from, rc) : otp_reply(from, NULL, 0);
}

static int otp__sup_answer_started(otp_from from, const otp__sup_started *r)
{
    if (r->pid.id) return otp_reply(from, &r->pid, sizeof r->pid);
    return otp_reply(from, r, sizeof *r);
}

/* Those of dynamic supervisors know no ids. */
static bool otp__sup_by_id(int tag)
{
    return tag == OTP__SUP_RESTART || tag == OTP__SUP_TERMINATE || tag == OTP__SUP_DELETE || tag == OTP__SUP_CHILD ||
           tag == OTP__SUP_SPEC;
}

static otp_next otp__sup_call(otp__sup *s, const otp_msg *m)
{
    otp_from from = otp_from_of(m);
    otp__sup_started r = { .rc = 0 };
    int rc;
    if (s->kind == OTP__SUP_DYNAMIC && otp__sup_by_id(m->tag)) {
        rc = otp_reply_error(from, OTP_EBADCALL);
    } else {
        otp__sup_kid *k = otp__sup_by_id(m->tag) ? otp__sup_find_id(s, m) : NULL;
        switch (m->tag) {
        case OTP__SUP_START:
            otp__sup_start_child(s, m, &r);
            rc = otp__sup_answer_started(from, &r);
            break;
        case OTP__SUP_RESTART:
            (void)otp__sup_restart_child(s, k, &r);
            rc = otp__sup_answer_started(from, &r);
            break;
        case OTP__SUP_TERMINATE: rc = otp__sup_answer(from, otp__sup_terminate_child(s, k)); break;
        case OTP__SUP_TERMINATE_PID:
            k = otp__sup_find_pid(s, OTP_PAYLOAD(m, otp_pid)->id);
            rc = otp__sup_answer(from, s->kind == OTP__SUP_DYNAMIC ? otp__sup_terminate_child(s, k) : OTP_EBADCALL);
            break;
        case OTP__SUP_DELETE:
            rc = s->kind == OTP__SUP_PARTITION ? OTP_EBADCALL : otp__sup_stopped(k);
            if (rc == 0) otp__sup_remove(s, k);
            rc = otp__sup_answer(from, rc);
            break;
        case OTP__SUP_CHILD:
            if (k && otp__sup_runs(k)) r.pid.id = k->pid;
            rc = OTP_REPLY(from, r.pid);
            break;
        case OTP__SUP_WHICH: rc = otp__sup_which(s, m); break;
        case OTP__SUP_COUNT: rc = otp__sup_count(s, from); break;
        case OTP__SUP_SPEC:
            rc = k ? otp_reply(from, k->spec->image, k->spec->size) : otp_reply_error(from, OTP_ENOENT);
            break;
        case OTP__SUP_ABOUT: {
            otp__sup_about about;
            memset(&about, 0, sizeof about);
            memcpy(about.name, s->name, sizeof about.name);
            about.kind = s->kind;
            about.strategy = s->strategy;
            about.max_restarts = s->max_restarts;
            about.max_seconds = s->max_seconds;
            about.restarts = s->restarts;
            rc = OTP_REPLY(from, about);
            break;
        }
        case OTP__SUP_RESIZE: rc = otp__sup_answer(from, otp__sup_resize(s, *OTP_PAYLOAD(m, int))); break;
        case OTP__SUP_STOP: {
            otp_reason why = *OTP_PAYLOAD(m, otp_reason);
            why.text = m->size > sizeof why ? (const char *)m->data + sizeof why : NULL;
            return otp_stop_with(why);
        }
        default:
            otp_log(OTP_LOG_WARNING, "supervisor %s: unknown request %d", s->name, m->tag);
            rc = otp_reply_error(from, OTP_EBADCALL);
        }
    }
    if (rc < 0) otp_log(OTP_LOG_ERROR, "supervisor %s: no memory for an answer", s->name);
    return OTP_OK;
}

/* -- the handler */

static void otp__sup_table_close(void *arg)
{
    otp__sup_table *table = arg;
    atomic_store_explicit(&table->count, 0, memory_order_release);
    for (int i = 0; i < table->room; i++) atomic_store_explicit(&table->pids[i], 0, memory_order_relaxed);
}

static otp__sup_table *otp__sup_table_find(const char *name)
{
    otp__sup_table *t = atomic_load_explicit(&otp__sup_tables, memory_order_acquire);  /* its name was written before */
    while (t && strcmp(t->name, name) != 0) t = t->next;
    return t;
}

/* The name is registered: nobody else looks for a table of this name. Newer tables stand before older ones. */
static otp__sup_table *otp__sup_table_of(const char *name, int room)
{
    otp__sup_table *t = otp__sup_table_find(name);
    if (t && t->room >= room) return t;
    t = calloc(1, sizeof *t + (size_t)room * sizeof t->pids[0]);
    if (!t) return NULL;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->room = room;
    t->next = atomic_load_explicit(&otp__sup_tables, memory_order_relaxed);
    /* release: whoever finds the table finds its name. A failed exchange reads `next` anew. */
    while (!atomic_compare_exchange_weak_explicit(&otp__sup_tables, &t->next, t, memory_order_release,
                                                  memory_order_relaxed)) {}
    return t;
}

static otp_next otp__sup_init_failed(otp__sup *s, const otp__sup_kid *k, const otp_reason *why)
{
    char reason[160], text[320];
    (void)otp_format_reason(why, reason, sizeof reason);
    (void)snprintf(text, sizeof text, "failed_to_start_child %s: %s", k->spec->c.id, reason);
    otp__sup_report(s, "start_error", k->spec, 0, why);
    otp__sup_end_from(s, 0);
    return otp_stop_with(otp_reason_make(OTP_REASON_SHUTDOWN, 0, text));
}

static otp_next otp__sup_init(void *state, const void *arg, size_t size)
{
    otp__sup *s = state;
    const otp__sup_begin *b = arg;
    const char *at = (const char *)arg + OTP__SUP_PAD(sizeof *b);
    (void)size;
    (void)otp_trap_exit(true);
    s->kind = b->kind;
    s->strategy = b->strategy;
    s->auto_shutdown = b->auto_shutdown;
    s->max_restarts = b->max_restarts;
    s->max_seconds = b->max_seconds;
    s->max_children = b->max_children;
    memcpy(s->name, b->name, sizeof s->name);
    if (s->kind == OTP__SUP_PARTITION) {
        s->table = otp__sup_table_of(b->name, (int)b->count);
        if (!s->table || otp_defer(otp__sup_table_close, s->table) < 0) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
    }
    for (size_t i = 0; i < b->count; i++) {
        size_t bytes = otp__sup_image_measure(at);
        otp__sup_spec *spec = otp__sup_spec_new(at, bytes);
        if (!spec || !otp__sup_reserve(s)) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
        (void)otp__sup_add(s, spec);
        at += bytes;
    }
    s->extra = b->extra;
    if (b->extra_size) {
        s->extra = otp_alloc(b->extra_size);
        if (!s->extra) return otp_stop_with(OTP_ERROR(OTP_ENOMEM));
        memcpy(s->extra, at, b->extra_size);
    }
    if (s->extra) (void)otp_put("otp_dynamic_supervisor_extra", s->extra);
    for (uint32_t i = 0; i < s->used; i++) {
        otp_pid pid;
        otp_reason why;
        otp__sup_kid *k = &s->kids[i];
        int rc = otp__sup_start(k->spec, &pid, &why);
        if (rc == 0) otp__sup_set_pid(s, k, pid);
        else if (rc == OTP_EIGNORE) otp__sup_ended(s, k);
        else return otp__sup_init_failed(s, k, &why);
    }
    if (s->table) atomic_store_explicit(&s->table->count, (int)b->count, memory_order_release);   /* after all pids */
    return OTP_OK;
}

static otp_next otp__sup_message(void *state, const otp_msg *m)
{
    otp__sup *s = state;
    if (otp_is_call(m)) return otp__sup_call(s, m);
    if (m->tag == OTP_EXIT) return otp__sup_exit(s, m) ? OTP_OK : otp_stop_with(OTP_SHUTDOWN);
    if (m->tag == OTP__SUP_RETRY && m->size == sizeof(uint64_t)) {
        uint64_t seq = *OTP_PAYLOAD(m, uint64_t);
        uint32_t i = otp__sup_find_seq(s, seq);
        if (i == s->used || s->kids[i].seq != seq || !s->kids[i].spec || !s->kids[i].down) return OTP_OK;
        return otp__sup_restart(s, &s->kids[i]) ? OTP_OK : otp_stop_with(OTP_SHUTDOWN);
    }
    otp_log(OTP_LOG_WARNING, "supervisor %s: unexpected message %d, %zu bytes, is dropped", s->name, m->tag, m->size);
    return OTP_OK;
}

static void otp__sup_terminate(void *state, const otp_reason *why)
{
    otp__sup *s = state;
    (void)why;
    if (s->kind == OTP__SUP_DYNAMIC) otp__sup_end_all(s);
    else otp__sup_end_from(s, 0);
}

/* Its state is full of pointers: it can be seen through requests, but not replaced. */
static bool otp__sup_system(void *state, const otp_msg *m)
{
    const otp__sup *s = state;
    if (m->tag != OTP_SYS_REPLACE_STATE && m->tag != OTP_SYS_GET_STATE) return false;
    if (otp_reply_error(otp_from_of(m), OTP_EBADCALL) < 0)
        otp_log(OTP_LOG_ERROR, "supervisor %s: no memory for an answer", s->name);
    return true;
}

static int otp__sup_format(const void *state, char *out, size_t size)
{
    const otp__sup *s = state;
    return snprintf(out, size, "%u children, %llu restarts", s->live, (unsigned long long)s->restarts);
}

static const otp_handler otp__sup_handler = {
    .name = "supervisor", .state_size = sizeof(otp__sup), .init = otp__sup_init, .message = otp__sup_message,
    .terminate = otp__sup_terminate, .system = otp__sup_system, .format = otp__sup_format,
};

/* -- starting a supervisor */

static otp_pid otp__sup_bad(const char *format, size_t child, const char *what)
{
    char text[200];
    (void)snprintf(text, sizeof text, format, child, what);
    return otp_start_failed(OTP_EBADARG, otp_reason_make(OTP_REASON_ERROR, OTP_EBADARG, text));
}

static const char *otp__sup_flags(otp__sup_begin *b, const char *name, otp_strategy strategy, otp_intensity intensity,
                                  int restarts, int seconds)
{
    size_t length = name ? strlen(name) : 0;
    if (name && (length == 0 || length > 63)) return "a name has 1 to 63 bytes";
    if ((unsigned)strategy > OTP_REST_FOR_ONE) return "unknown strategy";
    if ((unsigned)intensity > OTP_ERLANG_INTENSITY) return "unknown intensity";
    if (restarts < OTP_NO_RESTARTS) return "negative max_restarts";
    if (seconds < 0) return "negative max_seconds";
    if (name) memcpy(b->name, name, length);
    b->strategy = strategy;
    b->max_restarts = restarts > 0                               ? (uint32_t)restarts
                      : restarts == OTP_NO_RESTARTS              ? 0
                      : intensity == OTP_ERLANG_INTENSITY ? 1
                                                                 : 3;
    b->max_seconds = seconds ? seconds : 5;
    return NULL;
}

static otp_pid otp__sup_go(const otp__sup_begin *b, const otp_child *children, const char *place)
{
    size_t size = OTP__SUP_PAD(sizeof *b) + b->extra_size;
    for (size_t i = 0; i < b->count; i++) {
        const char *bad = otp__sup_child_bad(&children[i], b->kind);
        if (!bad && children[i].significant && b->auto_shutdown == OTP_AUTO_NEVER) bad = otp__sup_no_auto;
        for (size_t j = 0; !bad && b->kind == OTP__SUP_STATIC && j < i; j++)
            if (strcmp(children[i].id, children[j].id) == 0) bad = "duplicate_child_name";
        if (bad) return otp__sup_bad("start_spec: child %zu: %s", i, bad);
        size += otp__sup_image_size(&children[i]);
    }
    char *block = otp_alloc(size), *at = block + OTP__SUP_PAD(sizeof *b);
    if (!block) return otp_start_failed(OTP_ENOMEM, OTP_NORMAL);
    memset(block, 0, OTP__SUP_PAD(sizeof *b));
    memcpy(block, b, sizeof *b);
    for (size_t i = 0; i < b->count; i++) at += otp__sup_image(at, &children[i]);
    if (b->extra_size) memcpy(at, b->extra, b->extra_size);
    otp_spawn_opts o = { .handler = &otp__sup_handler, .arg = block, .arg_size = size, .link = true };
    if (b->name[0]) o.name = b->name;
    otp_pid pid = { 0 };
    int rc = otp_start_handler_at(&o, OTP_INFINITY, &pid, NULL, place);
    otp_free(block);
    if (rc < 0) pid.id = 0;
    return pid;
}

otp_pid otp_supervisor_start_link_at(const otp_supervisor_opts *o, const char *place)
{
    otp__sup_begin b;
    memset(&b, 0, sizeof b);
    const char *bad = !o                                                            ? "there are no options"
                      : o->child_count && !o->children                              ? "child_count without children"
                      : (unsigned)o->auto_shutdown > OTP_AUTO_ALL_SIGNIFICANT ? "unknown auto_shutdown"
                                                                                    : NULL;
    if (!bad) bad = otp__sup_flags(&b, o->name, o->strategy, o->intensity, o->max_restarts, o->max_seconds);
    if (bad) return otp__sup_bad("supervisor_data: %.0zu%s", 0, bad);
    b.kind = OTP__SUP_STATIC;
    b.auto_shutdown = o->auto_shutdown;
    b.count = o->child_count;
    return otp__sup_go(&b, o->children, place);
}

otp_pid otp_dynamic_supervisor_start_link_at(const otp_dynamic_supervisor_opts *opts, const char *place)
{
    static const otp_dynamic_supervisor_opts none;
    const otp_dynamic_supervisor_opts *o = opts ? opts : &none;
    otp__sup_begin b;
    memset(&b, 0, sizeof b);
    const char *bad = o->extra_size && !o->extra ? "extra_size without extra" : NULL;
    if (!bad) bad = otp__sup_flags(&b, o->name, OTP_ONE_FOR_ONE, o->intensity, o->max_restarts, o->max_seconds);
    if (bad) return otp__sup_bad("supervisor_data: %.0zu%s", 0, bad);
    b.kind = OTP__SUP_DYNAMIC;
    b.max_children = o->max_children ? o->max_children : UINT32_MAX;
    b.extra = o->extra;
    b.extra_size = o->extra_size;
    return otp__sup_go(&b, NULL, place);
}

otp_pid otp_partition_supervisor_start_link_at(const otp_partition_supervisor_opts *o, const char *place)
{
    otp__sup_begin b;
    memset(&b, 0, sizeof b);
    const char *bad = !o                                             ? "there are no options"
                      : !o->name                                     ? "it has no name"
                      : o->partitions < 0 || o->partitions > 1 << 20 ? "1 to 1,048,576 partitions"
                                                                     : NULL;
    if (!bad) bad = otp__sup_flags(&b, o->name, o->strategy, o->intensity, o->max_restarts, o->max_seconds);
    if (bad) return otp__sup_bad("supervisor_data: %.0zu%s", 0, bad);
    b.kind = OTP__SUP_PARTITION;
    b.count = (size_t)(o->partitions ? o->partitions : otp_schedulers());
    otp_child *children = otp_calloc(b.count, sizeof *children + 24);
    if (!children) return otp_start_failed(OTP_ENOMEM, OTP_NORMAL);
    char *ids = (char *)(children + b.count);
    for (size_t i = 0; i < b.count; i++, ids += 24) {
        children[i] = o->child;
        children[i].id = ids;
        (void)snprintf(ids, 24, "%zu", i);
        if (o->with_arguments) children[i].arg = o->with_arguments(o->child.arg, (int)i);
    }
    otp_pid pid = otp__sup_go(&b, children, place);
    otp_free(children);
    return pid;
}

/* -- the side of the callers */

int otp_supervisor_stop(otp_pid sup, otp_reason why, int64_t timeout)
{
    if (timeout < 0 && timeout != OTP_INFINITY) return OTP_EBADARG;
    if (otp_same(sup, otp_self())) return OTP_ESELF;
    size_t text = why.text ? strlen(why.text) + 1 : 0;
    char *block = otp_alloc(sizeof why + text);
    if (!block) return OTP_ENOMEM;
    memcpy(block, &why, sizeof why);
    if (text) memcpy(block + sizeof why, why.text, text);
    /* the monitor tells the true reason; the request is answered by the death */
    otp_ref ref = otp_monitor(sup), request = otp_send_request(sup, OTP__SUP_STOP, block, sizeof why + text);
    otp_free(block);
    const otp_msg *m = request.id ? otp_recv_ref(ref, timeout) : NULL;
    int rc = request.id ? OTP_ETIMEOUT : OTP_ENOMEM;
    if (m) {
        const otp_reason *how = otp_reason_of(m);
        rc = how->kind == OTP_REASON_NOPROC ? OTP_ENOPROC : OTP_EDIED;
        if (how->kind == why.kind && how->code == why.code) rc = 0;
    } else {
        (void)otp_demonitor(ref, OTP_FLUSH);
    }
    if (request.id) (void)otp_cancel_request(request);
    return rc;
}

static otp_pid otp__sup_ask_start(otp_pid sup, int tag, const void *data, size_t size)
{
    otp__sup_started r = { .rc = 0 };
    int64_t got = otp_try_call(sup, tag, data, size, &r, sizeof r, OTP_INFINITY);
    if (got < 0) return otp_start_failed((int)got, OTP_ERROR((int)got));
    if (r.pid.id) {
        (void)otp_start_failed(0, OTP_NORMAL);
        return r.pid;
    }
    r.why.text = r.text[0] ? r.text : NULL;
    return otp_start_failed(r.rc, r.why);
}

static otp_pid otp__sup_ask_start_child(otp_pid sup, const otp_child *child, int kind)
{
    const char *bad = otp__sup_child_bad(child, kind);
    if (bad) return otp__sup_bad("start_spec: %.0zu%s", 0, bad);
    size_t size = otp__sup_image_size(child);
    _Alignas(16) char small[512];
    char *image = size <= sizeof small ? small : otp_alloc(size);
    if (!image) return otp_start_failed(OTP_ENOMEM, OTP_NORMAL);
    (void)otp__sup_image(image, child);
    otp_pid pid = otp__sup_ask_start(sup, OTP__SUP_START, image, size);
    if (image != small) otp_free(image);
    return pid;
}

otp_pid otp_supervisor_start_child(otp_pid sup, const otp_child *child)
{
    return otp__sup_ask_start_child(sup, child, OTP__SUP_STATIC);
}

otp_pid otp_dynamic_supervisor_start_child(otp_pid sup, const otp_child *child)
{
    return otp__sup_ask_start_child(sup, child, OTP__SUP_DYNAMIC);
}

otp_pid otp_supervisor_restart_child(otp_pid sup, const char *id)
{
    if (!id) return otp_start_failed(OTP_ENOENT, OTP_ERROR(OTP_ENOENT));
    return otp__sup_ask_start(sup, OTP__SUP_RESTART, id, strlen(id) + 1);
}

/* Asks by id; a code, or 0. */
static int otp__sup_ask(otp_pid sup, int tag, const char *id, void *reply, size_t size)
{
    if (!id) return OTP_ENOENT;
    int64_t got = otp_try_call(sup, tag, id, strlen(id) + 1, reply, size, OTP_INFINITY);
    return got < 0 ? (int)got : 0;
}

int otp_supervisor_terminate_child(otp_pid sup, const char *id)
{
    return otp__sup_ask(sup, OTP__SUP_TERMINATE, id, NULL, 0);
}

int otp_supervisor_delete_child(otp_pid sup, const char *id) { return otp__sup_ask(sup, OTP__SUP_DELETE, id, NULL, 0); }

otp_pid otp_supervisor_child(otp_pid sup, const char *id)
{
    otp_pid pid = { 0 };
    if (otp__sup_ask(sup, OTP__SUP_CHILD, id, &pid, sizeof pid) < 0) pid.id = 0;
    return pid;
}

int otp_dynamic_supervisor_terminate_child(otp_pid sup, otp_pid child)
{
    int64_t got = otp_try_call(sup, OTP__SUP_TERMINATE_PID, &child, sizeof child, NULL, 0, OTP_INFINITY);
    return got < 0 ? (int)got : 0;
}

int otp_supervisor_count_children(otp_pid sup, otp_child_counts *out)
{
    int64_t got = otp_try_call(sup, OTP__SUP_COUNT, NULL, 0, out, sizeof *out, OTP_INFINITY);
    return got < 0 ? (int)got : 0;
}

const otp_child *otp_supervisor_get_childspec(otp_pid sup, const char *id, int *error)
{
    int unused;
    if (!error) error = &unused;
    const otp_msg *m = NULL;
    *error = OTP_ENOENT;
    if (id) m = otp_call_msg(sup, OTP__SUP_SPEC, id, strlen(id) + 1, OTP_INFINITY, error);
    if (!m) return NULL;
    otp__sup_spec *spec = otp__sup_spec_new(m->data, m->size);
    *error = spec ? 0 : OTP_ENOMEM;
    return spec ? &spec->c : NULL;
}

/* One page. Returns how many were copied; *page gets the next cursor and the total. */
static int64_t otp__sup_ask_page(otp_pid sup, otp__sup_page *page, otp_child_info *out, int64_t timeout)
{
    int error;
    const otp_msg *m = otp_call_msg(sup, OTP__SUP_WHICH, page, sizeof *page, timeout, &error);
    if (!m) return error;
    bool newest_first = page->newest_first;
    memcpy(page, m->data, sizeof *page);
    page->newest_first = newest_first;
    if (page->max) memcpy(out, (const char *)m->data + sizeof *page, page->max * sizeof *out);
    return page->max;
}

enum { OTP__SUP_PAGE = 1024 };      /* kids in one answer */

int64_t otp_supervisor_which_children(otp_pid sup, otp_child_info *out, size_t max)
{
    if (max && !out) return OTP_EBADARG;
    otp__sup_page page = { .cursor = UINT64_MAX, .newest_first = true };
    size_t have = 0;
    for (;;) {
        page.max = max - have < OTP__SUP_PAGE ? (uint32_t)(max - have) : OTP__SUP_PAGE;
        int64_t got = otp__sup_ask_page(sup, &page, out ? out + have : NULL, OTP_INFINITY);
        if (got < 0) return got;
        have += (size_t)got;
        if (got < OTP__SUP_PAGE || have == max) return (int64_t)page.total;
    }
}

int64_t otp_dynamic_supervisor_which_children(otp_pid sup, uint64_t *cursor, otp_child_info *out, size_t max)
{
    if (!cursor || (max && !out)) return OTP_EBADARG;
    otp__sup_page page = { .cursor = *cursor };
    size_t have = 0;
    while (have < max) {
        page.max = max - have < OTP__SUP_PAGE ? (uint32_t)(max - have) : OTP__SUP_PAGE;
        uint32_t asked = page.max;
        int64_t got = otp__sup_ask_page(sup, &page, out + have, OTP_INFINITY);
        if (got < 0) return got;
        if (got) *cursor = page.cursor;
        else page.cursor = *cursor;
        have += (size_t)got;
        if (got < asked) break;
    }
    return (int64_t)have;
}

void *otp_dynamic_supervisor_extra(void) { return otp_get("otp_dynamic_supervisor_extra"); }

/* -- partitions */

static otp_pid otp__sup_partition(const char *name, uint64_t key)
{
    otp__sup_table *t = name ? otp__sup_table_find(name) : NULL;
    int count = t ? atomic_load_explicit(&t->count, memory_order_acquire) : 0;     /* the pids were written before */
    if (count == 0) return (otp_pid){ 0 };
    return (otp_pid){ atomic_load_explicit(&t->pids[key % (uint64_t)count], memory_order_acquire) };
}

otp_pid otp_partition(const char *name, int64_t key)
{
    return otp__sup_partition(name, key < 0 ? 0 - (uint64_t)key : (uint64_t)key);
}

otp_pid otp_partition_of(const char *name, const void *key, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);       /* FNV-1a, and a last mixing, since few low bits are used */
    for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)key)[i]) * UINT64_C(0x100000001b3);
    return otp__sup_partition(name, (hash ^ (hash >> 32)) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

int otp_partitions(const char *name)
{
    otp__sup_table *t = name ? otp__sup_table_find(name) : NULL;
    return t ? atomic_load_explicit(&t->count, memory_order_acquire) : 0;
}

int otp_partition_resize(const char *name, int partitions)
{
    otp_pid sup = name ? otp_whereis(name) : (otp_pid){ 0 };
    if (!sup.id) return OTP_ENOENT;
    int64_t got = otp_try_call(sup, OTP__SUP_RESIZE, &partitions, sizeof partitions, NULL, 0, OTP_INFINITY);
    return got < 0 ? (int)got : 0;
}

/* -- the tree */

typedef struct otp__sup_text { char *out; size_t size, length; } otp__sup_text;

static void otp__sup_print(otp__sup_text *t, const char *format, ...) OTP_PRINTF(2, 3);
static void otp__sup_print(otp__sup_text *t, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    size_t left = t->length < t->size ? t->size - t->length : 0;
    int n = vsnprintf(left ? t->out + t->length : NULL, left, format, ap);
    va_end(ap);
    if (n > 0) t->length += (size_t)n;
}

static void otp__sup_print_state(otp__sup_text *t, otp_pid pid)
{
    static const char *const states[] = { "", "runs", "is about to run", "waits", "is suspended", "ends" };
    otp_info info;
    if (otp_process_info(pid, &info) != 0) otp__sup_print(t, "has ended");
    else otp__sup_print(t, "%s", (unsigned)info.state < sizeof states / sizeof states[0] ? states[info.state] : "");
}

enum { OTP__SUP_TREE_PAGE = 10, OTP__SUP_TREE_DEPTH = 32 };

/* What stands behind "name <pid>" in the line of a supervisor, and the lines below it. */
static int otp__sup_print_tree(otp__sup_text *t, otp_pid sup, int depth)
{
    static const char *const strategies[] = { "one_for_one", "one_for_all", "rest_for_one" };
    static const char *const kinds[] = { "supervisor", "dynamic supervisor", "partition supervisor" };
    char pid[32];
    otp__sup_about about;
    int64_t got = otp_try_call(sup, OTP__SUP_ABOUT, NULL, 0, &about, sizeof about, 1000);
    if (got >= 0 && (size_t)got < sizeof about) got = OTP_EBADCALL;
    if (got < 0) return (int)got;
    if (depth == 0) {
        (void)otp_format_pid(sup, pid, sizeof pid);
        otp__sup_print(t, "%s%s%s", about.name, about.name[0] ? " " : "", pid);
    }
    otp__sup_print(t, " %s, %s, %llu restarts (%u in %d s are allowed)", kinds[about.kind], strategies[about.strategy],
                   (unsigned long long)about.restarts, about.max_restarts, about.max_seconds);
    otp__sup_page page = { .max = OTP__SUP_TREE_PAGE };
    uint64_t shown = 0;
    for (;;) {
        otp_child_info kids[OTP__SUP_TREE_PAGE];
        page.max = OTP__SUP_TREE_PAGE;
        got = otp__sup_ask_page(sup, &page, kids, 1000);
        if (got < 0) otp__sup_print(t, "\n%*s(does not answer: %s)", depth * 2 + 2, "", otp_strerror((int)got));
        for (int64_t i = 0; i < got; i++) {
            const otp_child_info *k = &kids[i];
            (void)otp_format_pid(k->pid, pid, sizeof pid);
            otp__sup_print(t, "\n%*s%s%s%s", depth * 2 + 2, "", k->id, k->id[0] ? " " : "",
                           k->state == OTP_CHILD_STOPPED      ? "is stopped"
                           : k->state == OTP_CHILD_RESTARTING ? "is restarting"
                                                              : pid);
            if (k->state == OTP_CHILD_RUNNING && k->type == OTP_SUPERVISOR && depth < OTP__SUP_TREE_DEPTH) {
                int rc = otp__sup_print_tree(t, k->pid, depth + 1);
                if (rc < 0) otp__sup_print(t, " supervisor (does not answer: %s)", otp_strerror(rc));
            } else if (k->state == OTP_CHILD_RUNNING) {
                otp__sup_print(t, " ");
                otp__sup_print_state(t, k->pid);
            }
            if (k->restarts && (k->type == OTP_WORKER || k->state != OTP_CHILD_RUNNING))
                otp__sup_print(t, ", %u restarts", k->restarts);
        }
        shown += got > 0 ? (uint64_t)got : 0;
        if (got < OTP__SUP_TREE_PAGE) return 0;
        if (about.kind == OTP__SUP_DYNAMIC) {
            unsigned long long more = page.total > shown ? page.total - shown : 0;
            if (more) otp__sup_print(t, "\n%*s… and %llu more", depth * 2 + 2, "", more);
            return 0;
        }
    }
}

int otp_supervisor_format_tree(otp_pid sup, char *out, size_t size)
{
    if (size && !out) return OTP_EBADARG;
    otp__sup_text t = { out, size, 0 };
    if (size) out[0] = '\0';
    int rc = otp__sup_print_tree(&t, sup, 0);
    if (rc < 0) return rc;
    otp__sup_print(&t, "\n");
    return (int)t.length;
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
