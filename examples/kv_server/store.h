/* A hash table of byte strings with expiry times, for kv_server.c.                    SPDX-License-Identifier: MIT

   Chained buckets; the table grows and shrinks a few buckets per access, so that no access is slow. A binary heap
   holds the keys that expire, the nearest first. All memory comes from the process that owns the store. */

#ifndef KV_STORE_H
#define KV_STORE_H

#include <string.h>

typedef struct entry {
    struct entry *next;                 /* in its bucket */
    uint64_t hash;
    uint32_t key_len, value_len, value_cap;
    uint32_t due;                       /* 1 + its place in the heap; 0: it does not expire */
    char bytes[];                       /* the key, then value_cap bytes */
} entry;

typedef struct due {
    int64_t when;                       /* on the clock of otp_now() */
    entry *entry;
} due;

typedef struct store {
    entry **table[2];                   /* [1]: the table that replaces [0], else NULL */
    size_t mask[2];                     /* number of buckets, minus one */
    size_t moved;                       /* buckets of [0] below this one are in [1] */
    size_t count;
    size_t bytes;                       /* of all entries */
    due *heap;
    uint32_t due_count, due_cap;
} store;

#define STORE_MIN_BUCKETS ((size_t)64)

static inline const char *entry_value(const entry *e) { return e->bytes + e->key_len; }

/* Spreads all bits of a key over all bits of the hash. The seed differs from run to run; this keeps honest clients
   apart, but it is no defence against one that can measure the server. */
static inline uint64_t hash_mix(uint64_t x)
{
    x *= 0x9E3779B97F4A7C15u;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93u;
    return x ^ (x >> 32);
}

static inline uint64_t hash_bytes(const char *p, size_t n, uint64_t seed)
{
    uint64_t h = seed ^ n, word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        h = hash_mix(h ^ word);
    }
    word = 0;
    for (size_t i = 0; i < n; i++) word |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return hash_mix(h ^ word);
}

/* -- the table ----------------------------------------------------------------------------------------- */

static bool store_init(store *s)
{
    s->mask[0] = STORE_MIN_BUCKETS - 1;
    s->table[0] = otp_calloc(STORE_MIN_BUCKETS, sizeof(entry *));
    return s->table[0] != NULL;
}

static inline entry **store_bucket(store *s, uint64_t hash)
{
    size_t i = hash & s->mask[0];
    if (s->table[1] != NULL && i < s->moved) return &s->table[1][hash & s->mask[1]];
    return &s->table[0][i];
}

/* Moves one bucket that has something in it, passing at most 16 empty ones. */
static void store_move_some(store *s)
{
    for (int passed = 0; passed < 16 && s->moved <= s->mask[0]; passed++) {
        entry *e = s->table[0][s->moved];
        s->table[0][s->moved++] = NULL;
        if (e == NULL) continue;
        while (e != NULL) {
            entry *next = e->next;
            entry **to = &s->table[1][e->hash & s->mask[1]];
            e->next = *to;
            *to = e;
            e = next;
        }
        break;
    }
    if (s->moved > s->mask[0]) {
        otp_free(s->table[0]);
        s->table[0] = s->table[1];
        s->mask[0] = s->mask[1];
        s->table[1] = NULL;
        s->moved = 0;
    }
}

/* Called before each access: goes on with a resize, or starts one. */
static inline void store_tend(store *s)
{
    size_t buckets = s->mask[0] + 1, wanted = buckets;
    if (s->table[1] != NULL) {
        store_move_some(s);
        return;
    }
    if (s->count > buckets) wanted = buckets * 2;
    else if (buckets > STORE_MIN_BUCKETS && s->count < buckets / 8) wanted = buckets / 4;
    if (wanted == buckets) return;
    if (wanted < STORE_MIN_BUCKETS) wanted = STORE_MIN_BUCKETS;
    s->table[1] = otp_calloc(wanted, sizeof(entry *));   /* without memory the old table goes on, only slower */
    s->mask[1] = wanted - 1;
    s->moved = 0;
}

/* Returns where the pointer to the entry is, valid until the next call with this store; NULL when there is none. */
static entry **store_find(store *s, uint64_t hash, const char *key, size_t key_len)
{
    store_tend(s);
    for (entry **at = store_bucket(s, hash); *at != NULL; at = &(*at)->next)
        if ((*at)->hash == hash && (*at)->key_len == key_len && memcmp((*at)->bytes, key, key_len) == 0) return at;
    return NULL;
}

/* -- expiry: a binary heap, each entry knows its place in it ------------------------------------------------ */

static inline void due_place(store *s, uint32_t i, due d)
{
    s->heap[i] = d;
    d.entry->due = i + 1;
}

static void due_sift(store *s, uint32_t i, due d)
{
    while (i > 0 && s->heap[(i - 1) / 2].when > d.when) {
        due_place(s, i, s->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child + 1 < s->due_count && s->heap[child + 1].when < s->heap[child].when) child++;
        if (child >= s->due_count || s->heap[child].when >= d.when) break;
        due_place(s, i, s->heap[child]);
        i = child;
    }
    due_place(s, i, d);
}

static void store_persist(store *s, entry *e)
{
    if (e->due == 0) return;
    uint32_t i = e->due - 1;
    due last = s->heap[--s->due_count];
    e->due = 0;
    if (last.entry != e) due_sift(s, i, last);
}

static bool store_expire(store *s, entry *e, int64_t when)
{
    if (e->due != 0) {
        due_sift(s, e->due - 1, (due){ when, e });
        return true;
    }
    if (s->due_count == s->due_cap) {
        uint32_t cap = s->due_cap == 0 ? 64 : s->due_cap * 2;
        due *heap = otp_realloc(s->heap, cap * sizeof *heap);
        if (heap == NULL) return false;
        s->heap = heap;
        s->due_cap = cap;
    }
    due_sift(s, s->due_count++, (due){ when, e });
    return true;
}

/* When it expires; INT64_MAX: never. */
static inline int64_t store_when(const store *s, const entry *e)
{
    return e->due == 0 ? INT64_MAX : s->heap[e->due - 1].when;
}

static void store_delete(store *s, entry **at)
{
    entry *e = *at;
    store_persist(s, e);
    *at = e->next;
    s->count--;
    s->bytes -= sizeof *e + e->key_len + e->value_cap;
    otp_free(e);
}

/* Deletes what is over at `now`, at most `max` entries; returns how many. */
static size_t store_sweep(store *s, int64_t now, size_t max)
{
    size_t n = 0;
    for (; n < max && s->due_count > 0 && s->heap[0].when <= now; n++) {
        entry *e = s->heap[0].entry, **at = store_bucket(s, e->hash);
        while (*at != e) at = &(*at)->next;
        store_delete(s, at);
    }
    return n;
}

/* -- values -------------------------------------------------------------------------------------------- */

/* Gives an entry room for a value of `cap` bytes; it may move. */
static bool store_resize(store *s, entry **at, uint32_t cap)
{
    entry *e = otp_realloc(*at, sizeof *e + (*at)->key_len + cap);
    if (e == NULL) return false;
    s->bytes += cap;
    s->bytes -= e->value_cap;
    e->value_cap = cap;
    *at = e;
    if (e->due != 0) s->heap[e->due - 1].entry = e;
    return true;
}

/* Adds an entry for a key that is not there, with an empty value. Returns as store_find; NULL when memory is out. */
static entry **store_add(store *s, uint64_t hash, const char *key, uint32_t key_len, uint32_t cap)
{
    entry *e = otp_alloc(sizeof *e + key_len + cap), **at = store_bucket(s, hash);
    if (e == NULL) return NULL;
    *e = (entry){ .next = *at, .hash = hash, .key_len = key_len, .value_cap = cap };
    memcpy(e->bytes, key, key_len);
    *at = e;
    s->count++;
    s->bytes += sizeof *e + key_len + cap;
    return at;
}

/* Replaces the value. The memory is kept when the new value fits and fills at least half of it. */
static bool store_set(store *s, entry **at, const char *value, uint32_t length)
{
    uint32_t cap = (*at)->value_cap;
    if ((length > cap || (cap > 64 && length < cap / 2)) && !store_resize(s, at, length)) return false;
    entry *e = *at;
    if (length > 0) memcpy(e->bytes + e->key_len, value, length);
    e->value_len = length;
    return true;
}

/* Appends to the value; the memory grows by doubling, so that many small pieces are cheap. */
static bool store_append(store *s, entry **at, const char *value, uint32_t length, uint32_t max)
{
    uint32_t total = (*at)->value_len + length;
    if (total > (*at)->value_cap) {
        uint32_t cap = total > max / 2 ? max : total * 2;
        if (!store_resize(s, at, cap) && !store_resize(s, at, total)) return false;
    }
    entry *e = *at;
    if (length > 0) memcpy(e->bytes + e->key_len + e->value_len, value, length);
    e->value_len = total;
    return true;
}

static void store_flush(store *s)
{
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; s->table[t] != NULL && i <= s->mask[t]; i++)
            for (entry *e = s->table[t][i], *next; e != NULL; e = next) {
                next = e->next;
                otp_free(e);
            }
    }
    entry **small = otp_calloc(STORE_MIN_BUCKETS, sizeof *small);
    if (small != NULL) {
        otp_free(s->table[0]);
        s->table[0] = small;
        s->mask[0] = STORE_MIN_BUCKETS - 1;
    } else {
        memset(s->table[0], 0, (s->mask[0] + 1) * sizeof *s->table[0]);
    }
    otp_free(s->table[1]);
    otp_free(s->heap);
    *s = (store){ .table = { s->table[0] }, .mask = { s->mask[0] } };
}

/* -- walking ------------------------------------------------------------------------------------------- */

typedef void store_visit(const entry *e, void *arg);

static void store_walk_bucket(const store *s, int t, uint64_t i, store_visit *visit, void *arg)
{
    for (const entry *e = s->table[t][i & s->mask[t]]; e != NULL; e = e->next) visit(e, arg);
}

static uint64_t reverse_bits(uint64_t x)
{
    uint64_t r = 0;
    for (int i = 0; i < 64; i++, x >>= 1) r = r << 1 | (x & 1);
    return r;
}

/* The cursor counts with its highest bit first: when a table doubles, the buckets that one bucket becomes have the same
   low bits, so what was visited before stays visited, and no key that is there all the time is missed. */
static uint64_t cursor_after(uint64_t cursor, uint64_t mask) { return reverse_bits(reverse_bits(cursor | ~mask) + 1); }

/* Visits one bucket (and, during a resize, the buckets it becomes); returns the next cursor, 0 at the end. */
static uint64_t store_scan(const store *s, uint64_t cursor, store_visit *visit, void *arg)
{
    if (s->table[1] == NULL) {
        store_walk_bucket(s, 0, cursor, visit, arg);
        return cursor_after(cursor & s->mask[0], s->mask[0]);
    }
    int small = s->mask[0] < s->mask[1] ? 0 : 1, large = 1 - small;
    cursor &= s->mask[large];
    store_walk_bucket(s, small, cursor, visit, arg);
    do {
        store_walk_bucket(s, large, cursor, visit, arg);
        cursor = cursor_after(cursor, s->mask[large]);
    } while ((cursor & (s->mask[small] ^ s->mask[large])) != 0);
    return cursor;
}

static void store_walk(const store *s, store_visit *visit, void *arg)
{
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; s->table[t] != NULL && i <= s->mask[t]; i++) store_walk_bucket(s, t, i, visit, arg);
}

#endif
