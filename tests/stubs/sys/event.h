/* A stand-in for the <sys/event.h> of the BSDs and macOS, so that the kqueue path of otp.h is compiled, and with
   tests/stubs/kqueue.c also run, on Linux. The names and the meaning of the fields are those of kqueue(2); the numbers are
   our own. */
#ifndef TEST_STUB_EVENT_H
#define TEST_STUB_EVENT_H

#include <stdint.h>
#include <time.h>

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned fflags;
    intptr_t data;
    void *udata;
};

#define EV_SET(kev, a, b, c, d, e, f) (*(kev) = (struct kevent){ (a), (b), (c), (d), (e), (f) })

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#ifndef TEST_STUB_NO_USER       /* older NetBSD and OpenBSD */
#define EVFILT_USER (-10)
#endif

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_CLEAR 0x0020
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_TRIGGER 0x01000000

int kqueue(void);
int kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout);

#endif
