/* alloc.h: what alloc_impl.c, alloc_unit.c and alloc.c know of each other.                                            */
#ifndef ALLOC_H_INCLUDED
#define ALLOC_H_INCLUDED

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { ALLOC_SITES = 4096, ALLOC_CALLS = 1 << 20, ALLOC_GAVE_UP = 77 };

typedef struct alloc_site { atomic_uintptr_t addr; atomic_uint called, failed; } alloc_site;

/* In memory shared with the children. */
typedef struct alloc_shared {
    atomic_long calls;          /* since the run began */
    atomic_long live;           /* blocks that the runtime holds */
    atomic_bool armed;          /* count, and fail */
    long n;                     /* which one fails; 0: none */
    bool from;                  /* all from there on */
    atomic_bool hit;            /* it came so far */
    alloc_site sites[ALLOC_SITES];
    uint16_t order[ALLOC_CALLS];        /* which site each call was at */
} alloc_shared;
extern alloc_shared *alloc_state;

/* One test program. */
typedef struct alloc_unit {
    const char *name;
    int (*tests)(void);
    const char *(*test)(int i, bool *real);             /* NULL: not for this driver */
    bool (*run)(int i, bool real, bool quiet);
    struct alloc_unit *next;
} alloc_unit;
extern alloc_unit *alloc_units;

#endif
