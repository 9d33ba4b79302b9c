/* shared_block.c: a large block that a hundred processes read without a copy of it being made.
   cc -O2 -pthread -I.. shared_block.c -o shared_block */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { BLOCK = 1, RESULT };
enum { READERS = 100, SIZE = 1 << 20 };

struct result { unsigned long sum; uintptr_t address; };

static void reader(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(BLOCK, OTP_INFINITY);
    const unsigned char *bytes = m->data;
    struct result r = { 0, (uintptr_t)m->data };
    for (size_t i = 0; i < m->size; i += 1024) r.sum += bytes[i];
    OTP_SEND(m->from, RESULT, r);
}                                           /* the last one to let go of the block frees it */

static void app(void *arg)
{
    (void)arg;
    otp_shared *block = otp_shared_new(NULL, SIZE);
    if (block == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    unsigned char *bytes = otp_shared_data(block);      /* to be filled before the first send */
    for (size_t i = 0; i < SIZE; i++) bytes[i] = (unsigned char)(i / 1024 % 10);
    uintptr_t address = (uintptr_t)bytes;

    for (int i = 0; i < READERS; i++) {
        int rc = otp_send_shared(otp_spawn_link(reader, NULL), BLOCK, block);
        if (rc != 0) otp_exit(OTP_ERROR(rc));
    }
    otp_shared_drop(block);                             /* the messages hold it as long as they need it */

    unsigned long sum = 0;
    int same = 0;
    for (int i = 0; i < READERS; i++) {
        const struct result *r = OTP_PAYLOAD(otp_recv_tag(RESULT, OTP_INFINITY), struct result);
        sum += r->sum;
        same += r->address == address;
    }
    printf("%d processes read %d bytes each: sum %lu\n", READERS, SIZE, sum);
    printf("%d of them at the same address\n", same);
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
100 processes read 1048576 bytes each: sum 459600
100 of them at the same address
*/
