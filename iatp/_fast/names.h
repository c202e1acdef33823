/* The names in an open folder, one after the other. */
#ifndef IATP_NAMES_H
#define IATP_NAMES_H

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>
#include <time.h>

/* FAT counts two seconds at a time. */
#define SETTLED_S 3

/* NULL at the end, and where it can't be read: `error` is not 0 then. */
static inline const char *next_name(DIR *folder, int *error) {
    struct dirent *entry;
    errno = 0;
    entry = readdir(folder);
    *error = entry == NULL ? errno : 0;
    return entry == NULL ? NULL : entry->d_name;
}

/* When names of the folder were last made, changed or removed; 0 where that can't be known. */
static inline struct timespec changed_at(DIR *folder) {
    const struct timespec unknown = {0, 0};
    struct stat status;
    if (fstat(dirfd(folder), &status) < 0)
        return unknown;
#ifdef __APPLE__
    return status.st_mtimespec;
#else
    return status.st_mtim;
#endif
}

/* Whether no name can have been changed since `changed_at` said so: by what the folder says now,
   and since that was long enough before to show in any file system's clock. */
static inline int is_unchanged(DIR *folder, struct timespec since) {
    const struct timespec last = changed_at(folder);
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0)
        return 0;
    return since.tv_sec != 0 && last.tv_sec == since.tv_sec && last.tv_nsec == since.tv_nsec
        && now.tv_sec - last.tv_sec > SETTLED_S;
}
#endif
