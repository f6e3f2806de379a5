/* nomem.c: under a program (LD_PRELOAD) that allocates by malloc, one allocation of FAULT_LEAST
 * bytes or more fails, that after FAULT_AFTER of them. FAULT_COUNT names a file that gets how many
 * there were, when the program ends by itself. Of glibc, whose allocator has these names too. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static atomic_ulong count;
static unsigned long least, after;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("FAULT_AFTER");
    after = text ? strtoul(text, NULL, 10) : ~0UL;
    text = getenv("FAULT_LEAST");
    least = text ? strtoul(text, NULL, 10) : 1 << 16;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAULT_COUNT");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    if (fd >= 0) {
        dprintf(fd, "%lu\n", (unsigned long)count);
        close(fd);
    }
}

static int fails(size_t size) {
    return least && size >= least && atomic_fetch_add(&count, 1) == after && (errno = ENOMEM);
}

void *malloc(size_t size) {
    return fails(size) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return fails(n * size) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    return fails(size) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t align, size_t size) {
    return fails(size) ? NULL : __libc_memalign(align, size);
}

int posix_memalign(void **to, size_t align, size_t size) {
    if (fails(size))
        return ENOMEM;
    *to = __libc_memalign(align, size);
    return *to ? 0 : ENOMEM;
}
