/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A world without a kernel for the module: every call it makes, of libc and of libpam, ends up here (by the linker's
 * --wrap) and goes as a script says, which has a byte for each call in turn. 0 is all well; any other number picks one
 * of the ways in which that call can fail. Where the script is over, all is well. The clock is the world's own, so a
 * timeout costs nothing, and a run is the same each time.
 *
 * What no script, no answer of a daemon and no text of a person may bring about is looked for in every run: judge(). */

#ifndef IDLED_PAM_WORLD_H
#define IDLED_PAM_WORLD_H

#include <stdbool.h>
#include <stddef.h>

enum call {
    GET_ITEM,
    GETENV,
    OPEN,
    READ,
    CLOSE,
    SOCKET,
    CONNECT,
    SEND,
    RECV,
    POLL,
    NANOSLEEP,
    STRERROR_R,
    STRDUP,
    GET_DATA,
    SET_DATA,
    PROMPT,
    CALLS,
};

enum { ARGS_MAX = 16 };

struct text {
    const char *data; /* NULL: there is none */
    size_t len;
};

struct world {
    /* what the module is given: strings of libpam and of the PAM configuration */
    const char *user, *service, *tty, *rhost, *ssh_connection, *session_type;
    const char *args[ARGS_MAX];
    int argc, flags;
    bool limit_is_set; /* by another module, before */
    /* what it finds */
    struct text stat, answer;
    struct text script;
};

/* One login. Aborts, saying what was wrong in which world, when the module breaks a promise. */
void live(const struct world *world);

/* Of the last login: how many calls were made, which they were, and in how many ways each can fail. */
size_t calls_made(void);
enum call call_made(size_t i);
unsigned ways_to_fail(enum call call);
bool was_registered(void);

#endif
