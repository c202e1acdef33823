/* Tells the system what will be read of a file, so that the disk works at many at once. */
#ifndef IATP_AHEAD_H
#define IATP_AHEAD_H

#include <fcntl.h>

/* macOS has no such call: there each file is waited for. */
static inline void will_read(int fd, long long at, long long length) {
#ifdef POSIX_FADV_WILLNEED
    (void)posix_fadvise(fd, at, length, POSIX_FADV_WILLNEED);
#else
    (void)fd, (void)at, (void)length;
#endif
}
#endif
