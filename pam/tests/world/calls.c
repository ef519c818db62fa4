/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The calls that the module makes, as they go in a world. */

#define _DEFAULT_SOURCE

#include "inside.h"
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>

#include <security/pam_ext.h>

static int fails(int error)
{
    errno = error;
    return -1;
}

/* ---- libc, as the module sees it ---- */

/* The linker makes the module's NAME our __wrap_NAME, and our __real_NAME the one of libc. */
#define WRAP(type, name, ...)                                                                                          \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

WRAP(int, open, const char *path, int flags, ...)
{
    if (!at.inside)
        return __real_open(path, flags, 0600);
    MUST((flags & O_CLOEXEC) != 0 && !at.stat_open && strcmp(path, "/proc/self/stat") == 0);
    int how = how_goes(OPEN);
    if (how != 0)
        return fails(how);
    at.stat_open = true;
    return STAT_FD;
}

WRAP(ssize_t, read, int fd, void *buffer, size_t size)
{
    if (!at.inside)
        return __real_read(fd, buffer, size);
    MUST(fd == STAT_FD && at.stat_open);
    int how = how_goes(READ);
    if (how > 0)
        return fails(how);
    size_t len = how == ENDS ? 0 : how == HALF ? at.world->stat.len / 2 : at.world->stat.len;
    len = len < size ? len : size;
    if (len > 0)
        memcpy(buffer, at.world->stat.data, len);
    return (ssize_t)len;
}

/* As Linux does it: the descriptor is closed, whatever is said. */
WRAP(int, close, int fd)
{
    if (!at.inside)
        return __real_close(fd);
    bool *open = fd == STAT_FD ? &at.stat_open : &at.socket_open;
    MUST((fd == STAT_FD || fd == SOCKET_FD) && *open);
    *open = false;
    int how = how_goes(CLOSE);
    return how == 0 ? 0 : fails(how);
}

WRAP(int, socket, int family, int type, int protocol)
{
    if (!at.inside)
        return __real_socket(family, type, protocol);
    MUST(family == AF_UNIX && type == (SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC) && !at.socket_open);
    at.asked_at = at.now;
    int how = how_goes(SOCKET);
    if (how != 0)
        return fails(how);
    at.socket_open = true;
    return SOCKET_FD;
}

WRAP(int, connect, int fd, const struct sockaddr *address, socklen_t len)
{
    if (!at.inside)
        return __real_connect(fd, address, len);
    struct sockaddr_un there;
    MUST(fd == SOCKET_FD && at.socket_open && !at.connected && len == sizeof(there));
    memcpy(&there, address, sizeof(there));
    MUST(there.sun_family == AF_UNIX && there.sun_path[0] == '/');
    MUST(memchr(there.sun_path, '\0', sizeof(there.sun_path)) != NULL);
    int how = how_goes(CONNECT);
    if (how != 0)
        return fails(how);
    at.connected = true;
    return 0;
}

WRAP(ssize_t, send, int fd, const void *data, size_t len, int flags)
{
    if (!at.inside)
        return __real_send(fd, data, len, flags);
    MUST(fd == SOCKET_FD && at.socket_open && at.connected && !at.sent && (flags & MSG_NOSIGNAL) != 0);
    MUST(is_packet(data, len));
    int how = how_goes(SEND);
    if (how != 0)
        return fails(how);
    at.sent = true;
    return (ssize_t)len;
}

WRAP(ssize_t, recv, int fd, void *buffer, size_t size, int flags)
{
    if (!at.inside)
        return __real_recv(fd, buffer, size, flags);
    MUST(fd == SOCKET_FD && at.socket_open && at.sent && !at.answered);
    int how = how_goes(RECV);
    if (how > 0)
        return fails(how);
    size_t len = how == ENDS ? 0 : at.world->answer.len, fits = len < size ? len : size;
    if (fits > 0)
        memcpy(buffer, at.world->answer.data, fits);
    at.answered = true;
    return (ssize_t)((flags & MSG_TRUNC) != 0 ? len : fits);
}

/* All well: ready at once. Else it comes to its end, is interrupted, or is ready half-way there. */
WRAP(int, poll, struct pollfd *fds, nfds_t count, int timeout)
{
    if (!at.inside)
        return __real_poll(fds, count, timeout);
    MUST(count == 1 && fds->fd == SOCKET_FD && at.socket_open && timeout > 0);
    MUST(fds->events == (at.sent ? POLLIN : POLLOUT));
    int how = how_goes(POLL);
    if (how > 0)
        return fails(how);
    at.now += how == ENDS ? timeout * MS : how == HALF ? timeout * MS / 2 : 0;
    fds->revents = how == ENDS ? 0 : fds->events;
    return how == ENDS ? 0 : 1;
}

WRAP(int, nanosleep, const struct timespec *span, struct timespec *left)
{
    if (!at.inside)
        return __real_nanosleep(span, left);
    MUST(span->tv_sec == 0 && span->tv_nsec > 0 && span->tv_nsec < 1000 * MS);
    int how = how_goes(NANOSLEEP);
    if (how != 0)
        return fails(how);
    at.now += span->tv_nsec;
    return 0;
}

/* The one that cannot fail: CLOCK_MONOTONIC is there since Linux 2.6. */
WRAP(int, clock_gettime, clockid_t clock, struct timespec *t)
{
    if (!at.inside)
        return __real_clock_gettime(clock, t);
    MUST(clock == CLOCK_MONOTONIC);
    *t = (struct timespec){.tv_sec = at.now / (1000 * MS), .tv_nsec = at.now % (1000 * MS)};
    return 0;
}

WRAP(char *, strdup, const char *text)
{
    if (!at.inside)
        return __real_strdup(text);
    if (how_goes(STRDUP) != 0)
        return NULL;
    at.blocks++;
    return __real_strdup(text);
}

WRAP(void, free, void *block)
{
    at.blocks -= at.inside && block != NULL;
    __real_free(block);
}

/* As glibc calls the strerror_r() of POSIX. */
WRAP(int, __xpg_strerror_r, int error, char *buffer, size_t size)
{
    if (!at.inside)
        return __real___xpg_strerror_r(error, buffer, size);
    int how = how_goes(STRERROR_R);
    return how != 0 ? how : __real___xpg_strerror_r(error, buffer, size);
}

/* ---- libpam, as the module sees it ---- */

int pam_get_item(const pam_handle_t *pamh, int type, const void **value)
{
    const struct world *world = at.world;

    (void)pamh;
    int how = how_goes(GET_ITEM);
    if (how > 0)
        return how;
    *value = how == EMPTY          ? NULL
             : type == PAM_USER    ? world->user
             : type == PAM_SERVICE ? world->service
             : type == PAM_TTY     ? world->tty
             : type == PAM_RHOST   ? world->rhost
                                   : NULL;
    return PAM_SUCCESS;
}

const char *pam_getenv(pam_handle_t *pamh, const char *name)
{
    (void)pamh;
    if (how_goes(GETENV) != 0)
        return NULL;
    return strcmp(name, "SSH_CONNECTION") == 0     ? at.world->ssh_connection
           : strcmp(name, "XDG_SESSION_TYPE") == 0 ? at.world->session_type
                                                   : NULL;
}

int pam_get_data(const pam_handle_t *pamh, const char *name, const void **data)
{
    (void)pamh;
    MUST(strcmp(name, "systemd.runtime_max_sec") == 0);
    int how = how_goes(GET_DATA);
    if (how > 0 || (how == 0 && !at.world->limit_is_set))
        return how > 0 ? how : PAM_NO_MODULE_DATA;
    at.limit_seen = how != EMPTY;
    *data = at.limit_seen ? "1h" : NULL;
    return PAM_SUCCESS;
}

int pam_set_data(pam_handle_t *pamh, const char *name, void *data, void (*cleanup)(pam_handle_t *, void *, int))
{
    (void)pamh;
    MUST(strcmp(name, "systemd.runtime_max_sec") == 0 && at.limit == NULL && !at.limit_seen && is_limit(data));
    int how = how_goes(SET_DATA);
    if (how != 0)
        return how;
    at.limit = data;
    at.free_limit = cleanup;
    return PAM_SUCCESS;
}

int pam_prompt(pam_handle_t *pamh, int style, char **response, const char *format, ...)
{
    char said[2048];
    va_list args;

    (void)pamh;
    va_start(args, format);
    int len = vsnprintf(said, sizeof(said), format, args);
    va_end(args);
    MUST(style == PAM_TEXT_INFO && response == NULL && len > 0 && len <= 512 && is_printable(said));
    at.said++;
    return how_goes(PROMPT);
}

void pam_syslog(const pam_handle_t *pamh, int level, const char *format, ...)
{
    char line[8192];
    va_list args;

    (void)pamh;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    MUST(len > 0);
    at.logged++;
    if (strstr(line, "session not registered with idled") == line) {
        at.complained++;
        at.level = level;
    }
}
