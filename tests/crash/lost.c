/* lost.c: under a program (LD_PRELOAD), the sync with the number FAULT_SYNC of a file whose path begins
 * with FAULT_FILES fails with FAULT_ERROR, and what was written to the file since its last good sync
 * is gone: there is again what was there before (zeros, where there was nothing). So a kernel does
 * that cannot write pages back and marks them as clean. Later syncs succeed. With FAULT_ERROR=0 the
 * sync says that it has succeeded: a disk that lies.
 * FAULT_DONE names a file that is made when that has happened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A write that no good sync has followed, and what was there before it. */
struct change {
    struct change *before;
    dev_t dev;
    ino_t ino;
    off64_t at;
    size_t len;
    char old[];
};

static struct change *changes;
static long left;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    const char *number = getenv("FAULT_SYNC");
    left = number ? strtol(number, NULL, 10) : 0;
    real_pwrite = (__typeof__(real_pwrite))dlsym(RTLD_NEXT, "pwrite64");
    real_fdatasync = (__typeof__(real_fdatasync))dlsym(RTLD_NEXT, "fdatasync");
}

/* One of the files, and not their directory. */
static int is_ours(int fd, struct stat *found) {
    const char *files = getenv("FAULT_FILES");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (!files || len < 0 || fstat(fd, found) || !S_ISREG(found->st_mode))
        return 0;
    path[len] = 0;
    return strncmp(path, files, strlen(files)) == 0;
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at) {
    struct stat found;
    if (!is_ours(fd, &found))
        return real_pwrite(fd, from, len, at);
    struct change *change = calloc(1, sizeof *change + len);
    if (!change)
        abort();
    *change = (struct change){NULL, found.st_dev, found.st_ino, at, len};
    pthread_mutex_lock(&lock);
    if (pread64(fd, change->old, len, at) < 0)
        abort();
    change->before = changes;
    changes = change;
    ssize_t written = real_pwrite(fd, from, len, at);
    pthread_mutex_unlock(&lock);
    return written;
}

/* Takes the changes of a file out of the list, the newest first. */
static struct change *taken(const struct stat *file) {
    struct change *out = NULL, **end = &out, **at = &changes;
    while (*at) {
        struct change *change = *at;
        if (change->dev == file->st_dev && change->ino == file->st_ino) {
            *at = change->before;
            change->before = NULL;
            *end = change;
            end = &change->before;
        } else {
            at = &change->before;
        }
    }
    return out;
}

static void end(struct change *change, int fd, int undo) {
    while (change) {
        struct change *before = change->before;
        if (undo && real_pwrite(fd, change->old, change->len, change->at) != (ssize_t)change->len)
            abort();
        free(change);
        change = before;
    }
}

int fdatasync(int fd) {
    struct stat found;
    if (!is_ours(fd, &found))
        return real_fdatasync(fd);
    pthread_mutex_lock(&lock);
    struct change *before = taken(&found);
    if (--left == 0) {
        end(before, fd, 1);
        pthread_mutex_unlock(&lock);
        close(open(getenv("FAULT_DONE"), O_WRONLY | O_CREAT, 0600));
        errno = atoi(getenv("FAULT_ERROR"));
        return errno ? -1 : 0;
    }
    pthread_mutex_unlock(&lock);
    /* What is written from now on is not in this sync for sure. */
    int result = real_fdatasync(fd);
    end(before, fd, 0);
    return result;
}
