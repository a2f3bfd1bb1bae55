/* Between a process and the system (LD_PRELOAD): whatever it does to files below SHIM_ROOT is told, in order, in the
 * file SHIM_TRACE, and one operation may fail: `shim_fail(n, how)` has the n-th from now on return an error number,
 * or write half of its bytes where `how` is 0. Records: kind, length of path, path, length of data, data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FD 4096
#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static char *paths[MAX_FD];
static int trace = -1;
static long to_fail, fail_how;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *below(const char *path) {
    const char *root = getenv("SHIM_ROOT");
    size_t length = root ? strlen(root) : 0;
    return length && path && !strncmp(path, root, length) && path[length] == '/' ? path + length + 1 : NULL;
}

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size) {
        ssize_t done = REAL(ssize_t, "write", int, const void *, size_t)(trace, at, size);
        if (done <= 0) abort();
        at += done, size -= (size_t)done;
    }
}

static void tell(char kind, const char *path, const void *data, uint32_t size) {
    uint32_t length = (uint32_t)strlen(path);
    if (trace < 0) {
        trace = REAL(int, "open", const char *, int, ...)(getenv("SHIM_TRACE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (trace < 0) abort();
    }
    put(&kind, 1), put(&length, 4), put(path, length), put(&size, 4), put(data, size);
}

/* The error of the operation that begins, 0 for none, -1 for half a write. The lock is held until `end`. */
static long begin(void) {
    pthread_mutex_lock(&lock);
    if (to_fail && !--to_fail) return fail_how ? fail_how : -1;
    return 0;
}

static int end(int result) {
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}

static int fail(long how) {
    errno = how < 0 ? EIO : (int)how;
    return end(-1);
}

void shim_mark(const char *text) {
    pthread_mutex_lock(&lock);
    tell('K', "", text, (uint32_t)strlen(text));
    pthread_mutex_unlock(&lock);
}

void shim_fail(long number, long how) {
    pthread_mutex_lock(&lock);
    to_fail = number, fail_how = how;
    pthread_mutex_unlock(&lock);
}

static int open_it(const char *path, int flags, mode_t mode) {
    const char *name = below(path);
    if (!name) return REAL(int, "open", const char *, int, ...)(path, flags, mode);
    struct stat before;
    int is_new = (flags & O_CREAT) && stat(path, &before), is_change = is_new || (flags & O_TRUNC);
    long how = 0;
    if (is_change) how = begin(); else pthread_mutex_lock(&lock);
    if (how) return fail(how);
    int fd = REAL(int, "open", const char *, int, ...)(path, flags, mode);
    if (fd >= 0 && fd < MAX_FD) {
        paths[fd] = strdup(name);
        if (is_change) tell(is_new ? 'C' : 'T', name, "\0\0\0\0\0\0\0", 8);
    }
    return end(fd);
}

#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; va_end(more); \
    return open_it(path, flags, mode); }
OPEN(open)
OPEN(open64)

static ssize_t write_it(int fd, const void *data, size_t size, off_t at, int is_placed) {
    const char *path = fd >= 0 && fd < MAX_FD ? paths[fd] : NULL;
    if (!path)
        return is_placed ? REAL(ssize_t, "pwrite", int, const void *, size_t, off_t)(fd, data, size, at)
                         : REAL(ssize_t, "write", int, const void *, size_t)(fd, data, size);
    long how = begin();
    if (how > 0) return fail(how);
    if (how < 0) size = (size + 1) / 2;
    if (!is_placed) at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = REAL(ssize_t, "pwrite", int, const void *, size_t, off_t)(fd, data, size, at);
    if (done > 0) {
        char *record = malloc(8 + (size_t)done);
        uint64_t offset = (uint64_t)at;
        memcpy(record, &offset, 8), memcpy(record + 8, data, (size_t)done);
        tell('W', path, record, (uint32_t)(8 + done));
        free(record);
        if (!is_placed) lseek(fd, at + done, SEEK_SET);
    }
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return write_it(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return write_it(fd, data, size, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return write_it(fd, data, size, at, 1); }

static int sync_it(const char *real, int fd) {
    const char *path = fd >= 0 && fd < MAX_FD ? paths[fd] : NULL;
    if (!path) return REAL(int, real, int)(fd);
    long how = begin();
    if (how) return fail(how);
    struct stat kind;
    int is_directory = !fstat(fd, &kind) && S_ISDIR(kind.st_mode);
    tell(is_directory ? 'D' : 'S', path, "", 0);
    return end(0);
}

int fsync(int fd) { return sync_it("fsync", fd); }
int fdatasync(int fd) { return sync_it("fdatasync", fd); }

static int resize_it(int fd, off_t size, int is_at_least) {
    const char *path = fd >= 0 && fd < MAX_FD ? paths[fd] : NULL;
    if (!path) return REAL(int, "ftruncate", int, off_t)(fd, size);
    long how = begin();
    if (how) return fail(how);
    struct stat now;
    int result = is_at_least && !fstat(fd, &now) && now.st_size >= size ? 0 : REAL(int, "ftruncate", int, off_t)(fd, size);
    uint64_t to = (uint64_t)size;
    if (!result) tell('T', path, &to, 8);
    return end(result);
}

int ftruncate(int fd, off_t size) { return resize_it(fd, size, 0); }
int ftruncate64(int fd, off_t size) { return resize_it(fd, size, 0); }
int posix_fallocate(int fd, off_t at, off_t size) { return resize_it(fd, at + size, 1) ? errno : 0; }
int posix_fallocate64(int fd, off_t at, off_t size) { return resize_it(fd, at + size, 1) ? errno : 0; }

int close(int fd) {
    if (fd >= 0 && fd < MAX_FD && paths[fd]) {
        pthread_mutex_lock(&lock);
        free(paths[fd]);
        paths[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return REAL(int, "close", int)(fd);
}

int rename(const char *from, const char *to) {
    const char *name = below(from), *other = below(to);
    if (!name || !other) return REAL(int, "rename", const char *, const char *)(from, to);
    long how = begin();
    if (how) return fail(how);
    int result = REAL(int, "rename", const char *, const char *)(from, to);
    if (!result) tell('R', name, other, (uint32_t)strlen(other));
    return end(result);
}

int unlink(const char *path) {
    const char *name = below(path);
    struct stat here;
    if (!name || stat(path, &here)) return REAL(int, "unlink", const char *)(path);
    long how = begin();
    if (how) return fail(how);
    int result = REAL(int, "unlink", const char *)(path);
    if (!result) tell('U', name, "", 0);
    return end(result);
}

int mkdir(const char *path, mode_t mode) {
    const char *name = below(path);
    struct stat here;
    if (!name || !stat(path, &here)) return REAL(int, "mkdir", const char *, mode_t)(path, mode);
    long how = begin();
    if (how) return fail(how);
    int result = REAL(int, "mkdir", const char *, mode_t)(path, mode);
    if (!result) tell('M', name, "", 0);
    return end(result);
}
