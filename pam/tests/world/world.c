/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "inside.h"
#include "oracle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

/* EINTR and EAGAIN cost a millisecond, so a loop over them for ever is one that outlasts its timeout. */
static const int failures[CALLS][8] = {
    [GET_ITEM] = {PAM_BAD_ITEM, EMPTY},
    [GETENV] = {EMPTY},
    [OPEN] = {ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EINTR},
    [READ] = {EINTR, EIO, ESRCH, ENDS, HALF},
    [CLOSE] = {EINTR, EIO},
    [SOCKET] = {EMFILE, ENFILE, ENOMEM, EACCES, EAFNOSUPPORT},
    [CONNECT] = {EAGAIN, EINTR, ENOENT, ECONNREFUSED, EACCES, EPROTOTYPE, ENOMEM},
    [SEND] = {EAGAIN, EINTR, EPIPE, ECONNRESET, EMSGSIZE, ENOBUFS, ENOTCONN},
    [RECV] = {EAGAIN, EINTR, ECONNRESET, ENOMEM, ENDS},
    [POLL] = {ENDS, EINTR, HALF, ENOMEM, EINVAL},
    [NANOSLEEP] = {EINTR, ENOSYS},
    [STRERROR_R] = {ERANGE, EINVAL},
    [STRDUP] = {ENOMEM},
    [GET_DATA] = {PAM_SYSTEM_ERR, EMPTY},
    [SET_DATA] = {PAM_BUF_ERR, PAM_SYSTEM_ERR},
    [PROMPT] = {PAM_CONV_ERR, PAM_BUF_ERR, PAM_SYSTEM_ERR},
};

enum { SHOWN = 200 };

static enum call made[CALLS_MAX];

struct state at;

static void show(const char *name, const char *data, size_t len)
{
    fprintf(stderr, "  %s: ", name);
    for (size_t i = 0; data != NULL && i < len && i < SHOWN; i++)
        fprintf(stderr, data[i] >= ' ' && data[i] <= '~' && data[i] != '\\' ? "%c" : "\\x%02x", (unsigned char)data[i]);
    fprintf(stderr, "%s\n", data == NULL ? "(none)" : len > SHOWN ? "..." : "");
}

static void show_string(const char *name, const char *text)
{
    show(name, text, text == NULL ? 0 : strlen(text));
}

void must(bool ok, const char *what, const char *file, int line)
{
    if (ok)
        return;
    at.inside = false;
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    for (int i = 0; i < at.world->argc; i++)
        show_string("argument", at.world->args[i]);
    show_string("user", at.world->user);
    show_string("service", at.world->service);
    show_string("tty", at.world->tty);
    show_string("rhost", at.world->rhost);
    show_string("ssh_connection", at.world->ssh_connection);
    show_string("session_type", at.world->session_type);
    show("stat", at.world->stat.data, at.world->stat.len);
    show("answer", at.world->answer.data, at.world->answer.len);
    show("script", at.world->script.data, at.world->script.len);
    fprintf(stderr, "  %zu calls, %jd us\n", at.calls, (intmax_t)(at.now / US));
    abort();
}

/* ---- how a call goes ---- */

int how_goes(enum call call)
{
    const struct text *script = &at.world->script;
    size_t i = at.calls++;

    MUST(i < CALLS_MAX);
    made[i] = call;
    at.now += 10 * US;
    unsigned way = i < script->len ? (unsigned char)script->data[i] : 0;
    int how = way == 0 ? 0 : failures[call][(way - 1) % ways_to_fail(call)];
    if (how == EINTR || how == EAGAIN)
        at.now += MS;
    return how;
}

size_t calls_made(void)
{
    return at.calls;
}

enum call call_made(size_t i)
{
    return made[i];
}

unsigned ways_to_fail(enum call call)
{
    unsigned count = 0;

    while (count < 8 && failures[call][count] != 0)
        count++;
    return count;
}

bool was_registered(void)
{
    return at.answered && at.complained == 0;
}

/* ---- one login ---- */

/* What holds whatever happens: who is kept out, what is left behind, how long it took, what was said and to whom. */
static void judge(int result, int error)
{
    bool deny = denies(at.world);

    MUST(at.complained <= 1);
    MUST(result == (at.complained != 0 && deny ? PAM_SESSION_ERR : PAM_SUCCESS));
    MUST(at.complained == 0 || (at.level == LOG_ERR) == deny);
    MUST(error == SAVED_ERRNO);
    MUST(!at.stat_open && !at.socket_open);
    MUST(at.blocks == (at.limit != NULL));
    MUST(at.now - at.asked_at <= (timeout_ms(at.world) + 5) * MS);
    MUST(at.said == 0 || (at.said == 1 && was_registered() && !is_silent(at.world)));
    MUST(at.limit == NULL || was_registered());
    MUST(at.logged <= at.world->argc + 1);
}

void live(const struct world *world)
{
    pam_handle_t *nobody_looks_inside = (pam_handle_t *)&at;
    const char *args[ARGS_MAX];

    at = (struct state){.world = world};
    memcpy(args, world->args, sizeof(args));

    errno = SAVED_ERRNO;
    at.inside = true;
    int result = pam_sm_open_session(nobody_looks_inside, world->flags, world->argc, args);
    int error = errno;
    at.inside = false;
    judge(result, error);

    at.inside = true;
    MUST(pam_sm_close_session(nobody_looks_inside, 0, world->argc, args) == PAM_SUCCESS);
    if (at.limit != NULL)
        at.free_limit(nobody_looks_inside, at.limit, PAM_SUCCESS);
    at.inside = false;
    MUST(at.blocks == 0);
}
