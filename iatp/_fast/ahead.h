/* Reading many files one after the other without waiting for each: what is in memory is read at
   once, and of what is not the system is told, so that the disk works at many at once. */
#ifndef IATP_AHEAD_H
#define IATP_AHEAD_H

#include <fcntl.h>
#include <sys/types.h>
#include <sys/uio.h>

/* macOS has no such call: there each file is waited for. */
static inline void will_read(int fd, long long at, long long length) {
#ifdef POSIX_FADV_WILLNEED
    (void)posix_fadvise(fd, at, length, POSIX_FADV_WILLNEED);
#else
    (void)fd, (void)at, (void)length;
#endif
}

/* As pread, of what is in memory; less, or -1, where not all is, or the system can't tell. */
static inline ssize_t read_cached(int fd, void *to, size_t length, long long at) {
#ifdef RWF_NOWAIT
    const struct iovec part = {to, length};
    return preadv2(fd, &part, 1, at, RWF_NOWAIT);
#else
    (void)fd, (void)to, (void)length, (void)at;
    return -1;
#endif
}
#endif
