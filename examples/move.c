/* move.c: a block of a process's own heap is handed to another process without a copy.
   cc -O2 -pthread -I.. move.c -o move */

#define OTP_IMPLEMENTATION
#include "otp.h"
#include <stdio.h>

enum { PICTURE = 1, SEEN };
enum { PIXELS = 1 << 20 };

struct seen { unsigned long sum; uintptr_t address; };

static size_t heap_bytes(void)
{
    otp_info info;
    return otp_process_info(otp_self(), &info) == 0 ? info.heap_bytes : 0;
}

static void viewer(void *arg)
{
    (void)arg;
    const otp_msg *m = otp_recv_tag(PICTURE, OTP_INFINITY);
    const unsigned char *pixels = m->data;
    struct seen s = { 0, (uintptr_t)m->data };
    for (size_t i = 0; i < m->size; i++) s.sum += pixels[i];
    OTP_SEND(m->from, SEEN, s);
}

static void app(void *arg)
{
    (void)arg;
    otp_pid p = otp_spawn_link(viewer, NULL);

    unsigned char *pixels = otp_alloc(PIXELS);
    if (pixels == NULL) otp_exit(OTP_ERROR(OTP_ENOMEM));
    for (size_t i = 0; i < PIXELS; i++) pixels[i] = (unsigned char)(i % 3);
    uintptr_t address = (uintptr_t)pixels;
    printf("before: %s\n", heap_bytes() >= PIXELS ? "the picture is mine" : "where is it?");

    int rc = otp_send_move(p, PICTURE, pixels, PIXELS);     /* pixels is spent from here on */
    if (rc != 0) otp_exit(OTP_ERROR(rc));
    printf("after: %s\n", heap_bytes() < PIXELS ? "it is not mine any more" : "it is still here");

    const struct seen *s = OTP_PAYLOAD(otp_recv_tag(SEEN, OTP_INFINITY), struct seen);
    printf("the viewer saw a sum of %lu, %s\n", s->sum, s->address == address ? "in the same memory" : "in a copy");
}

int main(void) { return otp_run(app, NULL, NULL); }

/* Output:
before: the picture is mine
after: it is not mine any more
the viewer saw a sum of 1048575, in the same memory
*/
