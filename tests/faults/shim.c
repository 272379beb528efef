/* Stands between a process and the system calls that change files, when it is preloaded.

   After `faults_arm` each call is counted that concerns something below one folder. Before the n-th
   one the process is killed or stopped, or the call fails with an error instead. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { KILL = -1, STOP = -2 };

static char root[PATH_MAX];
static long left;    /* calls until the one that is meant */
static int action;   /* KILL, STOP or an error's number */
static int lasting;  /* all later calls fail as well */
static int lacking;  /* what renameat2 answers on a file system that does not know it */
static int alone;    /* no thread can be started */

void faults_arm(const char *folder, long at, int what, int lasts, int lacks, int no_threads)
{
    snprintf(root, sizeof root, "%s", folder);
    left = at;
    action = what;
    lasting = lasts;
    lacking = lacks;
    alone = no_threads;
}

/* Whether the call that was meant has come. */
int faults_reached(void)
{
    return left <= 0;
}

static int below_root(const char *path)
{
    return *root && !strncmp(path, root, strlen(root));
}

static int concerns_file(int file)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = *root ? readlink(link, path, sizeof path - 1) : -1;
    if (length < 0)
        return 0;
    path[length] = 0;
    return below_root(path);
}

static int concerns(int folder, const char *path)
{
    return *path == '/' ? below_root(path) : folder != AT_FDCWD && concerns_file(folder);
}

/* Whether the call fails, with errno set; it may not return at all. */
static int fails(int concerned)
{
    if (!concerned || !action)
        return 0;
    left--;
    if (left > 0 || (left < 0 && !lasting))
        return 0;
    if (action == KILL)
        kill(getpid(), SIGKILL);
    if (action == STOP) {
        kill(getpid(), SIGSTOP);
        return 0;
    }
    errno = action;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define AROUND(type, name, parameters, concerned, arguments) \
    type name parameters                                     \
    {                                                        \
        REAL(name);                                          \
        return fails(concerned) ? -1 : real arguments;       \
    }

AROUND(int, mkdir, (const char *path, mode_t mode), concerns(AT_FDCWD, path), (path, mode))
AROUND(int, rmdir, (const char *path), concerns(AT_FDCWD, path), (path))
AROUND(int, unlink, (const char *path), concerns(AT_FDCWD, path), (path))
AROUND(int, unlinkat, (int at, const char *path, int how), concerns(at, path), (at, path, how))
AROUND(int, rename, (const char *from, const char *to), concerns(AT_FDCWD, to), (from, to))
AROUND(int, chmod, (const char *path, mode_t mode), concerns(AT_FDCWD, path), (path, mode))
AROUND(int, link, (const char *from, const char *to), concerns(AT_FDCWD, to), (from, to))
AROUND(int, fsync, (int file), concerns_file(file), (file))
AROUND(int, flock, (int file, int how), concerns_file(file), (file, how))
AROUND(int, ftruncate64, (int file, off64_t size), concerns_file(file), (file, size))
AROUND(ssize_t, write, (int file, const void *data, size_t size), concerns_file(file), (file, data, size))
AROUND(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), concerns_file(file), (file, data, size, at))

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned int how)
{
    REAL(renameat2);
    if (lacking) {
        errno = lacking;
        return -1;
    }
    return fails(concerns(to_at, to)) ? -1 : real(from_at, from, to_at, to, how);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*begin)(void *), void *given)
{
    REAL(pthread_create);
    return alone ? EAGAIN : real(thread, how, begin, given);
}

/* Those that only read are let through: what they find is another test's subject. */
#define OPENS(name, folder, parameters, ...)                                  \
    int name parameters                                                       \
    {                                                                         \
        REAL(name);                                                           \
        mode_t mode = 0;                                                      \
        if (flags & O_CREAT) {                                                \
            va_list more;                                                     \
            va_start(more, flags);                                            \
            mode = va_arg(more, mode_t);                                      \
            va_end(more);                                                     \
        }                                                                     \
        int changes = flags & (O_WRONLY | O_RDWR | O_CREAT);                  \
        return fails(changes && concerns(folder, path)) ? -1 : real(__VA_ARGS__, mode); \
    }

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(openat, at, (int at, const char *path, int flags, ...), at, path, flags)
OPENS(openat64, at, (int at, const char *path, int flags, ...), at, path, flags)
