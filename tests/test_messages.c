/* Messages: copied, moved, shared; sizes and alignment; senders; values. Large blocks are counted at their source. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* The configuration macros of the header: every large block that the runtime takes and gives back is counted. */
static _Atomic long blocks_taken, blocks_given;
static void *counted_malloc(size_t n)
{
    if (n >= 4u << 20) atomic_fetch_add(&blocks_taken, 1);
    /* The size is kept in front, so that the free can tell which blocks to count. */
    max_align_t *p = malloc(n + sizeof *p);
    if (p == NULL) return NULL;
    *(size_t *)(void *)p = n;
    return p + 1;
}
static void counted_free(void *block)
{
    if (block == NULL) return;
    max_align_t *p = (max_align_t *)block - 1;
    if (*(size_t *)(void *)p >= 4u << 20) atomic_fetch_add(&blocks_given, 1);
    free(p);
}
#define OTP_MALLOC(n) counted_malloc(n)
#define OTP_FREE(p) counted_free(p)

#include "test.h"

#include <string.h>

enum { A = 1, B, GO, DONE, NUMBER };

#define LARGE ((size_t)8 << 20)

static uint8_t pattern(size_t i, size_t size) { return (uint8_t)(i * 31 + size * 7 + (i >> 8)); }

static void fill(void *data, size_t size)
{
    for (size_t i = 0; i < size; i++) ((uint8_t *)data)[i] = pattern(i, size);
}

static bool filled(const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)data)[i] != pattern(i, size)) return false;
    return true;
}

static bool aligned(const otp_msg *m) { return m->size == 0 || (uintptr_t)m->data % (m->size >= 16 ? 16 : 8) == 0; }

/* Starts fn with a copy of the argument. */
static otp_pid start(otp_fn *fn, void *arg, size_t size)
{
    otp_pid p = { 0 };
    otp_spawn_opts o = { .fn = fn, .arg = arg, .arg_size = size };
    CHECK_EQ(otp_spawn_opt(&o, &p), 0);
    return p;
}

static void await_down(otp_ref ref)
{
    const otp_msg *m = otp_recv_ref(ref, OTP_INFINITY);
    CHECK(m != NULL && m->tag == OTP_DOWN);
}

/* Waits until as many large blocks were given back as taken. */
static bool all_given(void)
{
    for (int i = 0; i < 5000 && atomic_load(&blocks_taken) != atomic_load(&blocks_given); i++) otp_sleep(1);
    return atomic_load(&blocks_taken) == atomic_load(&blocks_given);
}

static void echo(void *arg)
{
    (void)arg;
    const otp_msg *m;
    while ((m = otp_recv(OTP_INFINITY)) != NULL && m->tag != DONE) {
        CHECK(aligned(m));
        CHECK(filled(m->data, m->size));
        CHECK_EQ(otp_send(m->from, m->tag, m->data, m->size), 0);
    }
}

static void through_echo(otp_pid p, size_t size)
{
    void *data = otp_alloc(size == 0 ? 1 : size);
    CHECK(data != NULL);
    if (data == NULL) return;
    fill(data, size);
    CHECK_EQ(otp_send(p, A, data, size), 0);
    memset(data, 0xee, size);
    const otp_msg *m = otp_recv(OTP_INFINITY);
    CHECK(m != NULL);
    if (m == NULL) return;
    CHECK_EQ(m->size, size);
    CHECK(aligned(m));
    CHECK(filled(m->data, m->size));
    CHECK(otp_same(m->from, p));
    otp_free(data);
}

TEST(every_small_size)
{
    otp_pid p = otp_spawn_link(echo, NULL);
    for (size_t size = 0; size <= 300; size++) through_echo(p, size);
    CHECK_EQ(otp_send(p, DONE, NULL, 0), 0);
}

TEST(sizes_around_powers_of_two)
{
    otp_pid p = otp_spawn_link(echo, NULL);
    for (size_t size = 512; size <= 16384; size *= 2)
        for (size_t d = 0; d < 3; d++) through_echo(p, size - 1 + d);
    CHECK_EQ(otp_send(p, DONE, NULL, 0), 0);
}

TEST_REAL(large_sizes_up_to_a_mebibyte)
{
    otp_pid p = otp_spawn_link(echo, NULL);
    for (size_t size = 32768; size <= 1u << 20; size *= 2)
        for (size_t d = 0; d < 3; d++) through_echo(p, size - 1 + d);
    for (size_t size = 1000; size < 1u << 20; size = size * 5 / 3 + 13) through_echo(p, size);
    CHECK_EQ(otp_send(p, DONE, NULL, 0), 0);
}

TEST(many_sizes_in_one_mailbox)
{
    uint8_t data[2000];
    for (size_t size = 0; size < 200; size++) {
        fill(data, size * 10);
        CHECK_EQ(otp_send(otp_self(), (int)size, data, size * 10), 0);
    }
    for (int size = 199; size >= 0; size -= 2) {
        const otp_msg *m = otp_recv_tag(size, 0);
        CHECK(m != NULL && m->size == (size_t)size * 10 && aligned(m) && filled(m->data, m->size));
    }
    for (int size = 0; size < 200; size += 2) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && m->tag == size && m->size == (size_t)size * 10 && filled(m->data, m->size));
    }
}

TEST(an_empty_message_has_no_bytes)
{
    CHECK_EQ(otp_send(otp_self(), A, NULL, 0), 0);
    CHECK_EQ(otp_send(otp_self(), B, "x", 0), 0);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && m->tag == A && m->size == 0 && m->ref.id == 0);
    m = otp_recv(0);
    CHECK(m != NULL && m->tag == B && m->size == 0 && m->ref.id == 0);
}

struct point { int x, y; double z; char name[20]; };

TEST(values_of_every_kind)
{
    const struct point p = { 1, 2, 3.5, "here" };
    struct point q = { .x = 9 };
    otp_pid self = otp_self();
    int numbers[3] = { 4, 5, 6 };
    CHECK_EQ(OTP_SEND(self, A, 41), 0);
    CHECK_EQ(OTP_SEND(self, A, 41L), 0);
    CHECK_EQ(OTP_SEND(self, A, 1.25), 0);
    CHECK_EQ(OTP_SEND(self, A, p), 0);
    CHECK_EQ(OTP_SEND(self, A, q), 0);
    CHECK_EQ(OTP_SEND(self, A, self), 0);
    CHECK_EQ(OTP_SEND(self, A, (uint8_t)200), 0);
    CHECK_EQ(OTP_SEND(self, A, &numbers[0]), 0);
    CHECK_EQ(OTP_SEND(self, A, "hello"), 0);
    const otp_msg *m;
    CHECK((m = otp_recv(0)) != NULL && m->size == sizeof(int) && *OTP_PAYLOAD(m, int) == 41);
    CHECK((m = otp_recv(0)) != NULL && m->size == sizeof(long) && *OTP_PAYLOAD(m, long) == 41);
    CHECK((m = otp_recv(0)) != NULL && m->size == sizeof(double) && *OTP_PAYLOAD(m, double) > 1.2);
    CHECK((m = otp_recv(0)) != NULL && m->size == sizeof p && strcmp(OTP_PAYLOAD(m, struct point)->name, "here") == 0);
    CHECK(OTP_PAYLOAD(m, struct point)->y == 2);
    CHECK((m = otp_recv(0)) != NULL && OTP_PAYLOAD(m, struct point)->x == 9);
    CHECK((m = otp_recv(0)) != NULL && otp_same(*OTP_PAYLOAD(m, otp_pid), self));
    CHECK((m = otp_recv(0)) != NULL && m->size == 1 && *OTP_PAYLOAD(m, uint8_t) == 200);
    CHECK((m = otp_recv(0)) != NULL && *OTP_PAYLOAD(m, int *) == numbers);
    CHECK((m = otp_recv(0)) != NULL && m->size == 6 && strcmp(m->data, "hello") == 0);
    CHECK(otp_recv(0) == NULL);
}

/* -- from ---------------------------------------------------------------------------------------------------- */

static void tell_self(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    CHECK_EQ(OTP_SEND(to, NUMBER, otp_self()), 0);
}

TEST(from_is_the_sender)
{
    otp_pid self = otp_self();
    for (int i = 0; i < 20; i++)
        CHECK(start(tell_self, &self, sizeof self).id != 0);
    for (int i = 0; i < 20; i++) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        CHECK(m != NULL && otp_same(m->from, *OTP_PAYLOAD(m, otp_pid)));
    }
    CHECK_EQ(otp_send(self, A, NULL, 0), 0);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && otp_same(m->from, self));
}

/* -- receivers that are not there ---------------------------------------------------------------------------- */

static void nothing(void *arg) { (void)arg; }

static void dead_or_zero(int result) { CHECK(result == 0 || result == OTP_ENOPROC); }

TEST(sending_to_the_dead_is_no_error)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(nothing, NULL, &ref), zero = { 0 };
    await_down(ref);
    dead_or_zero(OTP_SEND(p, A, 1));
    int *block = otp_alloc(sizeof *block);
    CHECK(block != NULL);
    dead_or_zero(otp_send_move(p, A, block, sizeof *block));
    otp_shared *s = otp_shared_new("abc", 4);
    CHECK(s != NULL);
    dead_or_zero(otp_send_shared(p, A, s));
    CHECK(memcmp(otp_shared_data(s), "abc", 4) == 0);
    CHECK_EQ(OTP_SEND(zero, A, 1), OTP_ENOPROC);
    block = otp_alloc(100);
    CHECK_EQ(otp_send_move(zero, A, block, 100), OTP_ENOPROC);
    CHECK_EQ(otp_send_shared(zero, A, s), OTP_ENOPROC);
    otp_shared_drop(s);
    CHECK_EQ(otp_send_name("nobody has this name", A, NULL, 0), OTP_ENOENT);
}

static void one_message(void *arg)
{
    (void)arg;
    (void)otp_recv(OTP_INFINITY);
}

TEST(sending_while_the_receiver_ends)
{
    for (int i = 0; i < 30; i++) {
        otp_ref ref;
        otp_pid p = otp_spawn_monitor(one_message, NULL, &ref);
        for (int k = 0; k < 10; k++) {
            dead_or_zero(OTP_SEND(p, A, k));
            int *block = otp_alloc(64);
            CHECK(block != NULL);
            dead_or_zero(otp_send_move(p, A, block, 64));
            if (k % 3 == i % 3) otp_yield();
        }
        await_down(ref);
    }
    otp_info info;
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK_EQ(info.heap_bytes, 0);
}

TEST(bad_tags_leave_the_block_with_its_owner)
{
    char *block = otp_alloc(32);
    CHECK(block != NULL);
    if (block == NULL) return;
    memset(block, 7, 32);
    CHECK_EQ(otp_send_move(otp_self(), OTP_EXIT, block, 32), OTP_EBADARG);
    CHECK(block[31] == 7);
    otp_free(block);
    otp_shared *s = otp_shared_new("abc", 4);
    CHECK_EQ(otp_send_shared(otp_self(), OTP_DOWN, s), OTP_EBADARG);
    CHECK(memcmp(otp_shared_data(s), "abc", 4) == 0);
    otp_shared_drop(s);
    CHECK(otp_recv(0) == NULL);
}

/* -- move ------------------------------------------------------------------------------------------------------ */

struct moved { uintptr_t at; size_t size; };

static void take_moved(void *arg)
{
    (void)arg;
    const otp_msg *m;
    while ((m = otp_recv_tag(A, OTP_INFINITY)) != NULL) {
        if (m->size == 0) break;
        struct moved r = { (uintptr_t)m->data, m->size };
        CHECK(filled(m->data, m->size));
        CHECK_EQ(OTP_SEND(m->from, B, r), 0);
    }
}

TEST(a_moved_block_is_not_copied)
{
    const size_t sizes[] = { 16, 100, 1000, 5000, 70000 };
    otp_pid p = otp_spawn_link(take_moved, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = otp_alloc(sizes[i]);
        CHECK(block != NULL);
        if (block == NULL) return;
        fill(block, sizes[i]);
        uintptr_t at = (uintptr_t)block;
        CHECK_EQ(otp_send_move(p, A, block, sizes[i]), 0);
        const otp_msg *m = otp_recv_tag(B, OTP_INFINITY);
        CHECK(m != NULL && OTP_PAYLOAD(m, struct moved)->size == sizes[i]);
        if (m != NULL) CHECK(OTP_PAYLOAD(m, struct moved)->at == at);
    }
    CHECK_EQ(otp_send(p, A, NULL, 0), 0);
}

TEST(a_moved_block_leaves_the_heap_of_its_sender)
{
    otp_info info;
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    size_t before = info.heap_bytes;
    void *block = otp_alloc(10000);
    CHECK(block != NULL);
    if (block == NULL) return;
    fill(block, 10000);
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK(info.heap_bytes >= before + 10000);
    CHECK_EQ(otp_send_move(otp_self(), A, block, 10000), 0);
    CHECK_EQ(otp_process_info(otp_self(), &info), 0);
    CHECK_EQ(info.heap_bytes, before);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && m->size == 10000 && filled(m->data, m->size));
}

TEST(a_part_of_a_block_can_be_moved)
{
    void *block = otp_alloc(1000);
    CHECK(block != NULL);
    if (block == NULL) return;
    fill(block, 10);
    CHECK_EQ(otp_send_move(otp_self(), A, block, 10), 0);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && m->size == 10 && filled(m->data, 10));
}

static void keeps_and_dies(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(A, OTP_INFINITY);
    if (m != NULL) (void)otp_keep(m);
    (void)otp_recv_tag(GO, OTP_INFINITY);
}

TEST_REAL(moved_blocks_are_freed_with_their_receiver)
{
    long before = atomic_load(&blocks_taken);
    otp_ref ref;
    for (int i = 0; i < 4; i++) {
        otp_pid p = otp_spawn_monitor(keeps_and_dies, NULL, &ref);
        for (int k = 0; k < 3; k++) {                       /* the first is received and kept, the others stay queued */
            void *block = otp_alloc(LARGE);
            CHECK(block != NULL);
            if (block == NULL) return;
            *(int *)block = k;
            CHECK_EQ(otp_send_move(p, A, block, LARGE), 0);
        }
        if (i % 2 == 0) CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
        else CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        await_down(ref);
    }
    CHECK_EQ(atomic_load(&blocks_taken) - before, 12);
    CHECK(all_given());
}

/* -- shared ------------------------------------------------------------------------------------------------------ */

struct seen { uintptr_t at; size_t size; bool good; };

static void reader(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    const otp_msg *m = otp_recv_tag(A, OTP_INFINITY);
    if (m == NULL) return;
    struct seen s = { (uintptr_t)m->data, m->size, filled(m->data, m->size < 100000 ? m->size : 100) };
    CHECK_EQ(OTP_SEND(to, B, s), 0);
    (void)otp_keep(m);
    (void)otp_recv_tag(GO, OTP_INFINITY);
}

TEST(shared_blocks_are_read_where_they_are)
{
    CHECK(otp_shared_new(NULL, SIZE_MAX - 8) == NULL);
    const size_t sizes[] = { 1, 16, 1000, 100000 };
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        otp_pid self = otp_self(), p[5];
        otp_shared *s = otp_shared_new(NULL, sizes[k]);
        CHECK(s != NULL);
        if (s == NULL) return;
        CHECK_EQ(otp_shared_size(s), sizes[k]);
        if (sizes[k] < 100000) fill(otp_shared_data(s), sizes[k]);
        else fill(otp_shared_data(s), 100000);
        for (int i = 0; i < 5; i++) {
            p[i] = start(reader, &self, sizeof self);
            CHECK_EQ(otp_send_shared(p[i], A, s), 0);
        }
        for (int i = 0; i < 5; i++) {
            const otp_msg *m = otp_recv_tag(B, OTP_INFINITY);
            CHECK(m != NULL);
            if (m == NULL) return;
            const struct seen *r = OTP_PAYLOAD(m, struct seen);
            CHECK(r->good || sizes[k] >= 100000);
            CHECK_EQ(r->size, sizes[k]);
            CHECK(r->at == (uintptr_t)otp_shared_data(s));
        }
        for (int i = 0; i < 5; i++) CHECK_EQ(otp_send(p[i], GO, NULL, 0), 0);
        otp_shared_drop(s);
    }
}

TEST_REAL(a_shared_block_is_released_when_its_last_holder_exits)
{
    otp_pid self = otp_self(), p[3];
    otp_ref ref[3];
    long taken = atomic_load(&blocks_taken), given = atomic_load(&blocks_given);
    otp_shared *s = otp_shared_new(NULL, LARGE);
    CHECK(s != NULL);
    if (s == NULL) return;
    fill(otp_shared_data(s), 100);
    CHECK_EQ(atomic_load(&blocks_taken), taken + 1);
    for (int i = 0; i < 3; i++) {
        otp_spawn_opts o = { .fn = reader, .arg = &self, .arg_size = sizeof self, .monitor = &ref[i] };
        CHECK_EQ(otp_spawn_opt(&o, &p[i]), 0);
        CHECK_EQ(otp_send_shared(p[i], A, s), 0);
    }
    for (int i = 0; i < 3; i++) CHECK(otp_recv_tag(B, OTP_INFINITY) != NULL);
    otp_shared_drop(s);
    CHECK_EQ(atomic_load(&blocks_given), given);
    CHECK_EQ(otp_send(p[1], GO, NULL, 0), 0);               /* ends normally */
    await_down(ref[1]);
    CHECK_EQ(atomic_load(&blocks_given), given);
    CHECK_EQ(otp_exit_signal(p[0], OTP_KILL), 0);           /* is killed */
    await_down(ref[0]);
    CHECK_EQ(atomic_load(&blocks_given), given);
    CHECK_EQ(otp_exit_signal(p[2], OTP_USER(1, "enough")), 0);
    await_down(ref[2]);
    CHECK(all_given());
    CHECK_EQ(atomic_load(&blocks_given), given + 1);
}

static void creates_and_dies(void *arg)
{
    (void)arg;
    otp_shared *s = otp_shared_new(NULL, LARGE);
    CHECK(s != NULL);
    (void)otp_recv_tag(GO, OTP_INFINITY);
}

TEST_REAL(a_shared_block_is_released_with_the_process_that_made_it)
{
    long taken = atomic_load(&blocks_taken);
    for (int i = 0; i < 2; i++) {
        otp_ref ref;
        otp_pid p = otp_spawn_monitor(creates_and_dies, NULL, &ref);
        if (i == 0) CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
        else {
            while (atomic_load(&blocks_taken) < taken + 2) otp_sleep(1);
            CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
        }
        await_down(ref);
    }
    CHECK_EQ(atomic_load(&blocks_taken), taken + 2);
    CHECK(all_given());
}

TEST_REAL(queued_shared_messages_are_released_with_the_mailbox)
{
    otp_ref ref;
    otp_pid p = otp_spawn_monitor(creates_and_dies, NULL, &ref);    /* never receives A */
    otp_shared *s = otp_shared_new(NULL, LARGE);
    CHECK(s != NULL);
    for (int i = 0; i < 10; i++) CHECK_EQ(otp_send_shared(p, A, s), 0);
    otp_shared_drop(s);
    CHECK_EQ(otp_exit_signal(p, OTP_KILL), 0);
    await_down(ref);
    CHECK(all_given());
}

static void takes_reference(void *arg)
{
    otp_pid to = *(otp_pid *)arg;
    const otp_msg *m = otp_recv_tag(A, OTP_INFINITY);
    if (m == NULL) return;
    otp_shared *s = otp_shared_of(m);
    CHECK(s != NULL);
    if (s == NULL) return;
    CHECK(otp_shared_data(s) == m->data);
    otp_drop(m);
    (void)otp_recv_tag(GO, OTP_INFINITY);                   /* the message is gone, the block is not */
    CHECK(filled(otp_shared_data(s), otp_shared_size(s)));
    CHECK_EQ(otp_send_shared(to, B, s), 0);                 /* and can be sent on */
    otp_shared_drop(s);
}

TEST(a_reference_of_ones_own_outlives_the_message)
{
    otp_pid self = otp_self(), p;
    uint8_t data[500];
    fill(data, sizeof data);
    p = start(takes_reference, &self, sizeof self);
    otp_shared *s = otp_shared_new(data, sizeof data);
    CHECK(s != NULL);
    CHECK_EQ(otp_send_shared(p, A, s), 0);
    otp_shared_drop(s);
    CHECK_EQ(otp_send(p, GO, NULL, 0), 0);
    const otp_msg *m = otp_recv_tag(B, OTP_INFINITY);
    CHECK(m != NULL && m->size == sizeof data && filled(m->data, m->size));
}

TEST(an_ordinary_message_has_no_shared_block)
{
    CHECK_EQ(OTP_SEND(otp_self(), A, 1), 0);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && otp_shared_of(m) == NULL);
    void *block = otp_alloc(100);
    CHECK(block != NULL);
    CHECK_EQ(otp_send_move(otp_self(), A, block, 100), 0);
    m = otp_recv(0);
    CHECK(m != NULL && otp_shared_of(m) == NULL);
}

TEST(a_shared_block_of_no_bytes)
{
    otp_shared *s = otp_shared_new(NULL, 0);
    CHECK(s != NULL);
    if (s == NULL) return;
    CHECK_EQ(otp_shared_size(s), 0);
    CHECK_EQ(otp_send_shared(otp_self(), A, s), 0);
    otp_shared_drop(s);
    const otp_msg *m = otp_recv(0);
    CHECK(m != NULL && m->size == 0);
}

TEST(shared_to_oneself_twice)
{
    otp_shared *s = otp_shared_new("twice", 6);
    CHECK(s != NULL);
    CHECK_EQ(otp_send_shared(otp_self(), A, s), 0);
    CHECK_EQ(otp_send_shared(otp_self(), A, s), 0);
    otp_shared_drop(s);
    for (int i = 0; i < 2; i++) {
        const otp_msg *m = otp_recv(0);
        CHECK(m != NULL && m->size == 6 && strcmp(m->data, "twice") == 0);
    }
    CHECK(otp_recv(0) == NULL);
}

/* -- all together -------------------------------------------------------------------------------------------------- */

static void relay(void *arg)
{
    /* Passes every message on to the next in the ring, changing the way it travels each time. */
    otp_pid next = *(otp_pid *)arg;
    const otp_msg *m;
    int n = 0;
    while ((m = otp_recv(OTP_INFINITY)) != NULL) {
        if (m->tag == DONE) break;
        CHECK(filled(m->data, m->size));
        if (n % 3 == 0) CHECK_EQ(otp_send(next, A, m->data, m->size), 0);
        else if (n % 3 == 1) {
            void *block = otp_alloc(m->size == 0 ? 1 : m->size);
            CHECK(block != NULL);
            if (block == NULL) return;
            memcpy(block, m->data, m->size);
            CHECK_EQ(otp_send_move(next, A, block, m->size), 0);
        } else {
            otp_shared *s = otp_shared_new(m->data, m->size);
            CHECK(s != NULL);
            CHECK_EQ(otp_send_shared(next, A, s), 0);
            otp_shared_drop(s);
        }
        n++;
    }
}

TEST(a_chain_of_processes_passes_bytes_in_every_way)
{
    otp_pid p[6];
    p[0] = otp_self();
    for (int i = 1; i < 6; i++)
        p[i] = start(relay, &p[i - 1], sizeof p[0]);
    uint8_t data[3000];
    for (size_t i = 1; i <= 40; i++) {
        fill(data, i * 70);
        CHECK_EQ(otp_send(p[5], A, data, i * 70), 0);
    }
    for (size_t i = 1; i <= 40; i++) {
        const otp_msg *m = otp_recv(OTP_INFINITY);
        CHECK(m != NULL && m->size == i * 70 && filled(m->data, m->size));
    }
    for (int i = 1; i < 6; i++) CHECK_EQ(otp_send(p[i], DONE, NULL, 0), 0);
}
