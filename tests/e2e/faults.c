/* A disk that fails on command: preloaded into a sidecar, it makes calls on files below one
 * folder fail. IATP_TEST_FOLDER is the folder, IATP_TEST_FAULTS the file that says what fails
 * now, a rule a line:
 *
 *     writev EIO         the call fails with this error
 *     writev short       half of the bytes are taken
 *     fdatasync slow     the call takes 0.2 s
 *     fdatasync hang     the call does not return while this rule stands
 *     fsync hang .seal   the same, of files whose name ends so
 *
 * `open` stands for opening to write or to make a file. Each fdatasync that returned 0 adds a
 * byte to IATP_TEST_FAULTS with `.syncs` behind it. Nothing here is thread-safe beyond what the
 * system calls are, and nothing needs to be.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PASS 0
#define SHORT (-1)
#define SLOW (-2)
#define HANG (-3)

static const struct { const char *name; int value; } actions[] = {
    {"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EROFS", EROFS}, {"EDQUOT", EDQUOT}, {"EMFILE", EMFILE},
    {"short", SHORT}, {"slow", SLOW}, {"hang", HANG},
};

/* Where an open file is; whether that is known. */
static int path_of(int fd, char *path) {
    char link[64];
    long length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int ends_with(int fd, const char *end) {
    char path[PATH_MAX];
    return fd >= 0 && path_of(fd, path) && strlen(path) >= strlen(end)
        && !strcmp(path + strlen(path) - strlen(end), end);
}

/* What the rules say of this call, for an open file or -1: an error, one of the above, or PASS. */
static int rule(const char *call, int fd) {
    const char *path = getenv("IATP_TEST_FAULTS");
    char text[1024], name[64], action[64], end[64];
    int found = PASS;
    long got, rules = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (rules < 0)
        return PASS;
    got = syscall(SYS_read, rules, text, sizeof text - 1);
    syscall(SYS_close, rules);
    text[got > 0 ? got : 0] = 0;
    for (char *rest, *line = strtok_r(text, "\n", &rest); line; line = strtok_r(0, "\n", &rest)) {
        int words = sscanf(line, "%63s %63s %63s", name, action, end);
        if (words < 2 || strcmp(name, call) || (words > 2 && !ends_with(fd, end)))
            continue;
        for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
            if (!strcmp(action, actions[i].name))
                found = actions[i].value;
    }
    return found;
}

/* Whether an open file, the folder itself included, is of the folder; also when deleted. */
static int ours(int fd) {
    const char *folder = getenv("IATP_TEST_FOLDER");
    char path[PATH_MAX];
    return folder && path_of(fd, path) && !strncmp(path, folder, strlen(folder))
        && (path[strlen(folder)] == '/' || !path[strlen(folder)]);
}

static int ours_at(int directory, const char *path) {
    const char *folder = getenv("IATP_TEST_FOLDER");
    if (path[0] == '/')
        return folder && !strncmp(path, folder, strlen(folder)) && path[strlen(folder)] == '/';
    return directory != AT_FDCWD && ours(directory);
}

/* Whether the call is to fail; waits where it is to take long. */
static int fails(const char *call, int fd) {
    int action = rule(call, fd);
    if (action == SLOW)
        usleep(200000);
    while (action == HANG) {
        usleep(10000);
        action = rule(call, fd);
    }
    if (action <= PASS)
        return 0;
    errno = action;
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    if (ours(fd)) {
        if (rule("write", fd) == SHORT && length > 1)
            return real(fd, data, length / 2);
        if (fails("write", fd))
            return -1;
    }
    return real(fd, data, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (ours(fd)) {
        if (rule("writev", fd) == SHORT) {
            struct iovec half = {parts[0].iov_base, (parts[0].iov_len + 1) / 2};
            return real(fd, &half, 1);
        }
        if (fails("writev", fd))
            return -1;
    }
    return real(fd, parts, count);
}

ssize_t readv(int fd, const struct iovec *parts, int count) {
    REAL(readv);
    return ours(fd) && fails("readv", fd) ? -1 : real(fd, parts, count);
}

int fdatasync(int fd) {
    int done, said;
    char path[PATH_MAX];
    REAL(fdatasync);
    if (!ours(fd))
        return real(fd);
    if (fails("fdatasync", fd))
        return -1;
    done = real(fd);
    snprintf(path, sizeof path, "%s.syncs", getenv("IATP_TEST_FAULTS"));
    said = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (done == 0 && said >= 0)
        syscall(SYS_write, said, ".", 1);
    if (said >= 0)
        syscall(SYS_close, said);
    return done;
}

int fsync(int fd) {
    REAL(fsync);
    return ours(fd) && fails("fsync", fd) ? -1 : real(fd);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    return ours(fd) && fails("ftruncate", fd) ? -1 : real(fd, length);
}

int renameat(int from, const char *old, int to, const char *new) {
    REAL(renameat);
    return ours_at(to, new) && fails("rename", -1) ? -1 : real(from, old, to, new);
}

int unlinkat(int directory, const char *path, int flags) {
    REAL(unlinkat);
    return ours_at(directory, path) && fails("unlink", -1) ? -1 : real(directory, path, flags);
}

static int refuses(int directory, const char *path, int flags) {
    return (flags & (O_CREAT | O_WRONLY | O_RDWR)) && ours_at(directory, path) && fails("open", -1);
}

int openat64(int directory, const char *path, int flags, ...) {
    va_list rest;
    mode_t mode;
    REAL(openat64);
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
    return refuses(directory, path, flags) ? -1 : real(directory, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    mode_t mode;
    REAL(open64);
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
    return refuses(AT_FDCWD, path, flags) ? -1 : real(path, flags, mode);
}
