/* What watch.pyx needs of epoll; machines without it watch nothing. */
#ifndef IATP_WATCH_H
#define IATP_WATCH_H

#include <errno.h>
#include <stdint.h>

#ifdef __linux__
#include <sys/epoll.h>

#define WATCH_EXISTS 1
#define WATCH_ADD EPOLL_CTL_ADD
#define WATCH_DEL EPOLL_CTL_DEL

static int watch_open(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int watch_change(int epoll, int what, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll, what, fd, &event);
}

/* Fills in descriptors that can be read, or have ended or failed; never waits. */
static int watch_look(int epoll, int *fds, int count) {
    struct epoll_event events[64];
    int found = epoll_wait(epoll, events, count < 64 ? count : 64, 0);
    for (int at = 0; at < found; at++)
        fds[at] = events[at].data.fd;
    return found;
}

#else
#define WATCH_EXISTS 0
#define WATCH_ADD 1
#define WATCH_DEL 2

static int watch_open(void) { errno = ENOSYS; return -1; }
static int watch_change(int epoll, int what, int fd) { errno = ENOSYS; return -1; }
static int watch_look(int epoll, int *fds, int count) { errno = ENOSYS; return -1; }
#endif
#endif
