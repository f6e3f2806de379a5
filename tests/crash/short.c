/* short.c: under a program (LD_PRELOAD), each call that may do less than it was asked for does so:
 * a random one of three is interrupted (EINTR), one moves 1 .. n-1 bytes (of a file), one is as
 * usual.
 * FAULT_SEED begins the random numbers; FAULT_COUNT names a file that gets how many calls were
 * changed, when the program ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_ulong state, interrupted, shortened;

__attribute__((constructor)) static void begin(void) {
    const char *seed = getenv("FAULT_SEED");
    state = seed ? strtoul(seed, NULL, 10) : 1;
}

/* Says what was done so far: a server is ended by a signal, so there is no end to do it at. */
static void count(void) {
    static atomic_ulong calls;
    const char *path = getenv("FAULT_COUNT");
    if (!path || calls++ % 64)
        return;
    int fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0) {
        dprintf(fd, "%lu %lu\n", (unsigned long)interrupted, (unsigned long)shortened);
        close(fd);
    }
}

static unsigned long next(void) {
    uint64_t z = atomic_fetch_add(&state, 0x9e3779b97f4a7c15UL) + 0x9e3779b97f4a7c15UL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
    return z ^ (z >> 31);
}

static int interrupts(void) {
    if (next() % 3)
        return 0;
    interrupted++;
    count();
    errno = EINTR;
    return 1;
}

/* A socket that moves less than it was asked for has no more, or no more room: tokio goes by that. */
static size_t less(int fd, size_t len) {
    struct stat found;
    if (len < 2 || next() % 2 || fstat(fd, &found) || !S_ISREG(found.st_mode))
        return len;
    shortened++;
    return 1 + next() % (len - 1);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
/* Eight bytes or less are an event or a signal between threads, which nothing interrupts. */
#define MOVES(type, name, params, len, ...)                                                          \
    type name params {                                                                             \
        static __typeof__(&name) real;                                                             \
        if (!real)                                                                                 \
            real = REAL(name);                                                                     \
        if (len > 8 && len != 128 && interrupts())                                                               \
            return -1;                                                                             \
        len = len > 8 ? less(fd, len) : len;                                                                             \
        return real(__VA_ARGS__);                                                                  \
    }
#define WAITS(type, name, params, ...)                                                               \
    type name params {                                                                              \
        static __typeof__(&name) real;                                                             \
        if (!real)                                                                                 \
            real = REAL(name);                                                                     \
        return interrupts() ? -1 : real(__VA_ARGS__);                                              \
    }

MOVES(ssize_t, read, (int fd, void *to, size_t len), len, fd, to, len)
MOVES(ssize_t, write, (int fd, const void *from, size_t len), len, fd, from, len)
MOVES(ssize_t, pread64, (int fd, void *to, size_t len, off64_t at), len, fd, to, len, at)
MOVES(ssize_t, pwrite64, (int fd, const void *from, size_t len, off64_t at), len, fd, from, len, at)
/* tokio reads its signals 128 bytes at a time, and takes no interruption where nothing waits. */
ssize_t recv(int fd, void *to, size_t len, int flags) {
    static __typeof__(&recv) real;
    if (!real)
        real = REAL(recv);
    return len > 128 && interrupts() ? -1 : real(fd, to, len, flags);
}
WAITS(ssize_t, send, (int fd, const void *from, size_t len, int flags), fd, from, len, flags)
WAITS(int, fsync, (int fd), fd)
WAITS(int, fdatasync, (int fd), fd)
WAITS(int, ftruncate64, (int fd, off64_t len), fd, len)

ssize_t writev(int fd, const struct iovec *parts, int count_) {
    static __typeof__(&writev) real;
    if (!real)
        real = REAL(writev);
    if (interrupts())
        return -1;
    struct iovec first = parts[0];
    size_t part = less(fd, first.iov_len);
    if (count_ < 1 || part == first.iov_len)
        return real(fd, parts, count_);
    first.iov_len = part;
    return real(fd, &first, 1);
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real)
        real = REAL(open64);
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return interrupts() ? -1 : real(path, flags, mode);
}
