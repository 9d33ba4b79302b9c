/* kqueue(2) on top of epoll, as far as otp.h uses it: read and write filters with EV_ADD | EV_CLEAR, and one user
   event. It lets the tests run the kqueue path on Linux. It cannot show where real kernels differ from the manual. */
#define _GNU_SOURCE
#include <sys/event.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { MAX_FD = 65536, USER = MAX_FD };

static struct { void *udata[2]; uint32_t events; } known[MAX_FD];
static int user_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int kqueue(void)
{
    user_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return user_fd < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
}

static int change_user(int kq, const struct kevent *c)
{
    uint64_t one = 1;
    struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = USER };
    if (c->flags & EV_ADD) return epoll_ctl(kq, EPOLL_CTL_ADD, user_fd, &ev);
    if (c->fflags & NOTE_TRIGGER) return write(user_fd, &one, sizeof one) < 0 && errno != EAGAIN ? -1 : 0;
    return 0;
}

static int change_fd(int kq, const struct kevent *c)
{
    int fd = (int)c->ident, dir = c->filter == EVFILT_WRITE;
    if (c->ident >= MAX_FD || fcntl(fd, F_GETFD) < 0) {
        errno = EBADF;
        return -1;
    }
    if (pthread_mutex_lock(&lock) != 0) return -1;
    uint32_t bit = dir ? EPOLLOUT : EPOLLIN | EPOLLRDHUP, all = known[fd].events | bit;
    struct epoll_event ev = { .events = all | EPOLLET, .data.u64 = (uint64_t)fd };
    int rc = epoll_ctl(kq, EPOLL_CTL_MOD, fd, &ev);
    if (rc != 0 && errno == ENOENT) {       /* new, or closed meanwhile: what stood here was the old one's */
        all = bit;
        ev.events = all | EPOLLET;
        rc = epoll_ctl(kq, EPOLL_CTL_ADD, fd, &ev);
    }
    if (rc != 0 && errno == EPERM) rc = 0;  /* a regular file: kqueue takes it */
    if (rc == 0) {
        known[fd].udata[dir] = c->udata;
        known[fd].events = all;
    }
    int e = errno;
    if (pthread_mutex_unlock(&lock) != 0) return -1;
    errno = e;
    return rc;
}

int kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout)
{
    for (int i = 0; i < nchanges; i++)
        if ((changes[i].filter == EVFILT_USER ? change_user : change_fd)(kq, &changes[i]) != 0) return -1;
    if (nevents < 2) return 0;
    struct epoll_event ev[64];
    int room = nevents / 2 > 64 ? 64 : nevents / 2, n = 0;
    int ms = timeout ? (int)(timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000) : -1;
    int got = epoll_wait(kq, ev, room, ms);
    if (got < 0) return -1;
    if (pthread_mutex_lock(&lock) != 0) return -1;
    for (int i = 0; i < got; i++) {
        if (ev[i].data.u64 == USER) {
            uint64_t count;
            if (read(user_fd, &count, sizeof count) < 0) continue;
            events[n++] = (struct kevent){ .ident = 1, .filter = EVFILT_USER };
            continue;
        }
        uint32_t e = ev[i].events;
        int fd = (int)ev[i].data.u64;
        unsigned short eof = e & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) ? EV_EOF : 0;
        if ((known[fd].events & EPOLLIN) && (e & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            events[n++] = (struct kevent){ .ident = (uintptr_t)fd, .filter = EVFILT_READ, .flags = EV_CLEAR | eof,
                                           .udata = known[fd].udata[0] };
        if ((known[fd].events & EPOLLOUT) && (e & (EPOLLOUT | EPOLLHUP | EPOLLERR)))
            events[n++] = (struct kevent){ .ident = (uintptr_t)fd, .filter = EVFILT_WRITE, .flags = EV_CLEAR | eof,
                                           .udata = known[fd].udata[1] };
    }
    if (pthread_mutex_unlock(&lock) != 0) return -1;
    return n;
}
