/* Counts allocations: preloaded (LD_PRELOAD) into a program, it adds one to a figure in the file that COUNT_ALLOCATIONS names for each
 * malloc, calloc, realloc and aligned allocation. The file is mapped once at the start and shared by all that the program forks, so that
 * a confined session, which may open nothing, counts too. (valgrind knows neither openat2 nor what confines a session.) */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own allocator, under the names that it keeps for those who replace the usual ones. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static _Atomic unsigned long nowhere;
static _Atomic unsigned long *count = &nowhere;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("COUNT_ALLOCATIONS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) count = page;
    close(file);
}

static void *one(void *got) {
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return got;
}

void *malloc(size_t size) { return one(__libc_malloc(size)); }
void *calloc(size_t number, size_t size) { return one(__libc_calloc(number, size)); }
void *realloc(void *old, size_t size) { return one(__libc_realloc(old, size)); }
void *memalign(size_t to, size_t size) { return one(__libc_memalign(to, size)); }
void *aligned_alloc(size_t to, size_t size) { return one(__libc_memalign(to, size)); }
int posix_memalign(void **got, size_t to, size_t size) {
    *got = one(__libc_memalign(to, size));
    return *got ? 0 : 12; /* ENOMEM */
}
