/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pam_idled.so: tells idled that a session begins, and the person which limits it has.
 *
 *     session optional pam_idled.so [socket=PATH] [timeout=MS] [on_error=ignore|deny] [silent] [debug]
 *
 * It stands before pam_systemd, which reads the run time limit that is set here. One SOCK_SEQPACKET packet goes out,
 * one comes back, both made of NUL-terminated KEY=VALUE strings with VERSION=1 in front:
 *
 *     out   VERSION USER SERVICE TTY RHOST SSH_CONNECTION PID START      (what is absent or empty is left out)
 *     back  VERSION [TEXT] [RUNTIME_MAX_SEC]                             (unknown keys are ignored)
 *
 * The daemon believes none of it without looking: who asks is told by the socket's peer credentials.
 *
 * What this must never do: keep a login waiting beyond timeout=, keep somebody out unless told to (on_error=deny), leave
 * a trace in the process it is loaded into (descriptors, signals, errno). So: no globals, everything non-blocking.
 */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>

#define EXPORTED __attribute__((visibility("default")))

#define DEFAULT_SOCKET "/run/idled/pam"
#define RUNTIME_MAX_DATA "systemd.runtime_max_sec" /* pam_systemd(8), MODULE DATA: a span that parse_sec() takes */
#define NS_PER_MS INT64_C(1000000)
#define RETRY_NS (5 * NS_PER_MS) /* between attempts while the daemon's backlog is full */

enum {
    PACKET_MAX = 4096, /* bytes of the packet out */
    VALUE_MAX = 256,   /* bytes of one value in it */
    REPLY_MAX = 1024,  /* bytes of the packet back */
    TEXT_MAX = 512,    /* bytes of its TEXT */
    TIMEOUT_DEFAULT_MS = 300,
    TIMEOUT_MAX_MS = 10000,
};

struct options {
    const char *socket;
    int timeout_ms;
    bool deny, silent, debug;
};

struct packet {
    char data[PACKET_MAX];
    size_t len;
};

struct reply {
    char text[TEXT_MAX + 1];
    uint64_t runtime_max_sec; /* 0: none */
};

struct failure {
    const char *what;
    int error; /* errno, or 0 where it tells nothing */
    bool down; /* nobody listens: what a stopped daemon looks like, and no fault */
};

/* ---- text ---- */

/* Length of the well-formed UTF-8 character at the start of s, 0 if there is none or if it is a control (C0, DEL, C1). */
static size_t printable(const char *s, size_t len)
{
    static const uint32_t least[] = {0, 0, 0xa0 /* below: C1 */, 0x800, 0x10000};
    unsigned char first = (unsigned char)s[0];
    size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;

    if (first < 0x80)
        return first >= 0x20 && first != 0x7f;
    if (first < 0xc2 || first > 0xf4 || len < n)
        return 0;

    uint32_t code = first & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (c & 0x3fU);
    }
    if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    return n;
}

/* Copies at most room bytes of src, whole characters only. What is not printable becomes mark, or nothing if mark is 0. */
static size_t clean(char *dst, size_t room, const char *src, size_t len, char mark)
{
    size_t out = 0;

    while (len > 0) {
        size_t n = printable(src, len);
        const char *from = n > 0 ? src : &mark;
        size_t take = n > 0 ? n : mark != '\0' ? 1 : 0;

        if (take > room - out)
            break;
        memcpy(dst + out, from, take);
        out += take;
        n = n > 0 ? n : 1;
        src += n;
        len -= n;
    }
    return out;
}

/* What follows prefix in s, or NULL. */
static const char *after(const char *s, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(s, prefix, len) == 0 ? s + len : NULL;
}

/* A number above 0 of at most max_digits (10 at most) digits and nothing else; 0 for anything else. */
static uint64_t number(const char *s, size_t max_digits)
{
    size_t digits = strspn(s, "0123456789");

    if (digits == 0 || digits > max_digits || s[digits] != '\0')
        return 0;
    return strtoull(s, NULL, 10);
}

/* ---- the packet out ---- */

static void put(struct packet *packet, const char *key, const char *value)
{
    size_t len = strlen(key);

    if (value == NULL || value[0] == '\0' || sizeof(packet->data) - packet->len < len + 1 + VALUE_MAX + 1)
        return;
    memcpy(packet->data + packet->len, key, len);
    packet->len += len;
    packet->data[packet->len++] = '=';
    packet->len += clean(packet->data + packet->len, VALUE_MAX, value, strlen(value), '?');
    packet->data[packet->len++] = '\0';
}

/* The start time of this process in clock ticks, field 22 of its stat. The name in field 2 may hold anything, so count
 * from the last parenthesis. With pid and boot id this is the session's identity; the daemon checks it. */
static void put_start(struct packet *packet)
{
    char stat[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return;

    ssize_t n;
    do
        n = read(fd, stat, sizeof(stat) - 1);
    while (n < 0 && errno == EINTR);
    close(fd);
    if (n <= 0)
        return;
    stat[n] = '\0';

    char *at = strrchr(stat, ')');
    for (int field = 3; field <= 22 && at != NULL; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return;
    at++;
    at[strspn(at, "0123456789")] = '\0';
    put(packet, "START", at);
}

static const char *item(const pam_handle_t *pamh, int type)
{
    const void *value = NULL;
    return pam_get_item(pamh, type, &value) == PAM_SUCCESS ? value : NULL;
}

static void describe(pam_handle_t *pamh, struct packet *packet)
{
    /* Eight values, and put() never drops one for want of room. */
    _Static_assert(8 * (sizeof("SSH_CONNECTION=") + VALUE_MAX) <= PACKET_MAX, "a whole description fits a packet");
    char pid[24];

    packet->len = 0;
    snprintf(pid, sizeof(pid), "%jd", (intmax_t)getpid());
    put(packet, "VERSION", "1");
    put(packet, "USER", item(pamh, PAM_USER)); /* not pam_get_user(): that may ask */
    put(packet, "SERVICE", item(pamh, PAM_SERVICE));
    put(packet, "TTY", item(pamh, PAM_TTY));
    put(packet, "RHOST", item(pamh, PAM_RHOST));
    /* From PAM's environment alone: the process environment is the caller's under su and sudo. */
    put(packet, "SSH_CONNECTION", pam_getenv(pamh, "SSH_CONNECTION"));
    put(packet, "PID", pid);
    put_start(packet);
}

/* ---- the packet back ---- */

/* Takes a reply apart. Returns NULL and fills reply, or says what is wrong with it and leaves reply alone. Wrong are: a
 * missing terminator, a line without key, another version, a known key twice, a text or number out of its bounds. */
static const char *parse_reply(const char *data, size_t len, struct reply *reply)
{
    struct reply found = {.runtime_max_sec = 0};
    bool seen_text = false;
    const char *next, *value;

    if (len == 0)
        return "the answer is empty";
    if (len > REPLY_MAX)
        return "the answer is too long";
    if (data[len - 1] != '\0')
        return "the answer is not terminated";
    if (strcmp(data, "VERSION=1") != 0)
        return "the answer is not of version 1";

    for (const char *line = data + sizeof("VERSION=1"); line < data + len; line = next) {
        next = line + strlen(line) + 1;

        if (line[0] == '=' || strchr(line, '=') == NULL)
            return "the answer has a line that is not KEY=VALUE";
        if (after(line, "VERSION=") != NULL)
            return "the answer has two versions";
        if ((value = after(line, "TEXT=")) != NULL) {
            size_t size = strlen(value);
            if (seen_text || size > TEXT_MAX)
                return "the answer has too much text";
            seen_text = true;
            /* found was zeroed and has a byte more than clean() may use: the text is terminated. */
            clean(found.text, TEXT_MAX, value, size, '\0');
        } else if ((value = after(line, "RUNTIME_MAX_SEC=")) != NULL) {
            if (found.runtime_max_sec != 0 || (found.runtime_max_sec = number(value, 10)) == 0)
                return "the answer has no valid RUNTIME_MAX_SEC";
        }
    }
    *reply = found;
    return NULL;
}

/* ---- the socket ---- */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 * NS_PER_MS + t.tv_nsec;
}

static bool fail(struct failure *failure, const char *what, int error)
{
    *failure = (struct failure){.what = what, .error = error};
    return false;
}

/* Waits for events on fd. A signal is no reason to give up: login and sshd run their own alarms. */
static bool wait_for(int fd, short events, int64_t deadline, const char *what, struct failure *failure)
{
    for (;;) {
        int64_t left = deadline - now_ns();
        struct pollfd p = {.fd = fd, .events = events};

        if (left <= 0)
            return fail(failure, what, ETIMEDOUT);
        int r = poll(&p, 1, (int)((left + NS_PER_MS - 1) / NS_PER_MS));
        if (r > 0)
            return true;
        if (r < 0 && errno != EINTR)
            return fail(failure, what, errno);
    }
}

static bool connect_to(int fd, const char *path, int64_t deadline, struct failure *failure)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path) + 1); /* fits: parse_options() saw to it */
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            fail(failure, "cannot connect", errno);
            failure->down = errno == ENOENT || errno == ECONNREFUSED;
            return false;
        }
        /* EAGAIN is a full backlog, and for that poll() has no event. */
        int64_t left = deadline - now_ns();
        if (left <= 0)
            return fail(failure, "cannot connect, too many are waiting", ETIMEDOUT);
        nanosleep(&(struct timespec){.tv_nsec = left < RETRY_NS ? left : RETRY_NS}, NULL);
    }
    return true;
}

static bool send_packet(int fd, const struct packet *packet, int64_t deadline, struct failure *failure)
{
    static const char what[] = "cannot send";

    while (send(fd, packet->data, packet->len, MSG_NOSIGNAL) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return fail(failure, what, errno);
        if (!wait_for(fd, POLLOUT, deadline, what, failure))
            return false;
    }
    return true;
}

static bool receive_reply(int fd, struct reply *reply, int64_t deadline, struct failure *failure)
{
    static const char what[] = "no answer";
    char data[REPLY_MAX];
    ssize_t n;

    /* With MSG_TRUNC the length is the packet's, even when it is more than the buffer holds. */
    while ((n = recv(fd, data, sizeof(data), MSG_TRUNC)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return fail(failure, what, errno);
        if (!wait_for(fd, POLLIN, deadline, what, failure))
            return false;
    }
    const char *wrong = parse_reply(data, (size_t)n, reply);
    return wrong == NULL || fail(failure, wrong, 0);
}

static bool exchange(const struct options *options, const struct packet *packet, struct reply *reply,
                     struct failure *failure)
{
    // A hundredth is kept for what is around it: a login is to wait no longer than it says.
    int64_t deadline = now_ns() + options->timeout_ms * NS_PER_MS * 99 / 100;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(failure, "cannot make a socket", errno);

    bool ok = connect_to(fd, options->socket, deadline, failure) && send_packet(fd, packet, deadline, failure) &&
              receive_reply(fd, reply, deadline, failure);
    close(fd);
    return ok;
}

/* ---- PAM ---- */

static void parse_options(pam_handle_t *pamh, int argc, const char **argv, struct options *options)
{
    *options = (struct options){.socket = DEFAULT_SOCKET, .timeout_ms = TIMEOUT_DEFAULT_MS};

    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i], *value;
        bool ok = true;

        if ((value = after(arg, "socket=")) != NULL) {
            ok = value[0] == '/' && strlen(value) < sizeof(((struct sockaddr_un *)NULL)->sun_path);
            if (ok)
                options->socket = value;
        } else if ((value = after(arg, "timeout=")) != NULL) {
            uint64_t ms = number(value, 5);
            ok = ms > 0 && ms <= TIMEOUT_MAX_MS;
            if (ok)
                options->timeout_ms = (int)ms;
        } else if (strcmp(arg, "on_error=deny") == 0 || strcmp(arg, "on_error=ignore") == 0)
            options->deny = strcmp(arg, "on_error=deny") == 0;
        else if (strcmp(arg, "silent") == 0)
            options->silent = true;
        else if (strcmp(arg, "debug") == 0)
            options->debug = true;
        else
            ok = false;
        if (!ok)
            pam_syslog(pamh, LOG_WARNING, "unknown or malformed argument '%s', ignoring", arg);
    }
}

static void free_data(pam_handle_t *pamh, void *data, int status)
{
    (void)pamh;
    (void)status;
    free(data);
}

/* Gives the limit to pam_systemd, which makes it the RuntimeMaxSec of the session's scope. A value that is there already
 * comes from another module and stays: this one is the last resort behind a daemon that enforces the limit itself, and
 * nobody's stricter limit is lifted by it. */
static bool hand_on(pam_handle_t *pamh, uint64_t seconds, struct failure *failure)
{
    const void *there = NULL;
    char value[24];

    if (pam_get_data(pamh, RUNTIME_MAX_DATA, &there) == PAM_SUCCESS && there != NULL)
        return true;
    snprintf(value, sizeof(value), "%jus", (uintmax_t)seconds);
    char *copy = strdup(value);
    if (copy != NULL && pam_set_data(pamh, RUNTIME_MAX_DATA, copy, free_data) == PAM_SUCCESS)
        return true;
    free(copy);
    return fail(failure, "cannot set " RUNTIME_MAX_DATA, ENOMEM);
}

static void log_failure(const pam_handle_t *pamh, const struct options *options, const struct failure *failure)
{
    char error[128] = "";
    int level = options->deny ? LOG_ERR : failure->down ? LOG_NOTICE : LOG_WARNING;

    if (failure->error != 0 && strerror_r(failure->error, error, sizeof(error)) != 0)
        snprintf(error, sizeof(error), "error %d", failure->error);
    pam_syslog(pamh, level, "session not registered with idled at %s: %s%s%s%s", options->socket, failure->what,
               error[0] != '\0' ? ": " : "", error, options->deny ? "" : ", ignoring");
}

static bool is(const char *value, const char *expected)
{
    return value != NULL && strcmp(value, expected) == 0;
}

/* user@.service is a user manager and no session. Nor is a graphical login one of ours, whose display manager says what
 * it is as it says it to pam_systemd. An SSH session (as the daemon tells it, too) is not asked for that: where pam_env
 * reads a file of the user's, it is the user who would say it. */
static bool is_ours(pam_handle_t *pamh)
{
    const char *type = pam_getenv(pamh, "XDG_SESSION_TYPE");

    if (is(item(pamh, PAM_SERVICE), "systemd-user"))
        return false;
    return type == NULL || is(type, "tty") || is(type, "unspecified") || is(item(pamh, PAM_TTY), "ssh") ||
           pam_getenv(pamh, "SSH_CONNECTION") != NULL;
}

static int open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    struct options options;
    struct packet packet;
    struct reply reply;
    struct failure failure;

    if (!is_ours(pamh))
        return PAM_SUCCESS;

    parse_options(pamh, argc, argv, &options);
    describe(pamh, &packet);
    if (!exchange(&options, &packet, &reply, &failure) ||
        (reply.runtime_max_sec > 0 && !hand_on(pamh, reply.runtime_max_sec, &failure))) {
        log_failure(pamh, &options, &failure);
        /* Not PAM_IGNORE: a stack in which every module says so fails, and with it the login. */
        return options.deny ? PAM_SESSION_ERR : PAM_SUCCESS;
    }

    /* Whether it can be shown is no question of registering: sftp has nobody to show it to. */
    if (reply.text[0] != '\0' && !options.silent && ((unsigned)flags & PAM_SILENT) == 0)
        pam_info(pamh, "%s", reply.text);
    if (options.debug)
        pam_syslog(pamh, LOG_DEBUG, "session registered, run time limit %ju s", (uintmax_t)reply.runtime_max_sec);
    return PAM_SUCCESS;
}

EXPORTED int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    int saved = errno;
    int result = open_session(pamh, flags, argc, argv);
    errno = saved;
    return result;
}

/* The daemon sees the end of a session by itself, also of one whose leader was killed before it could say so. */
EXPORTED int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)pamh;
    (void)flags;
    (void)argc;
    (void)argv;
    return PAM_SUCCESS;
}
