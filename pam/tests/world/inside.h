/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What world.c and calls.c share: the state of the one login that is under way. */

#ifndef IDLED_PAM_INSIDE_H
#define IDLED_PAM_INSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <security/pam_modules.h>

#include "world.h"

#define US INT64_C(1000)
#define MS (1000 * US)

enum {
    STAT_FD = 1000, /* descriptors of this world, which the real one does not have */
    SOCKET_FD = 1001,
    SAVED_ERRNO = 77,
    CALLS_MAX = 8192, /* twice the longest script: a module that makes more does not stop */
};

/* What a call can do instead of going well: fail with an errno (or a code of libpam), or one of these. */
enum { ENDS = -1, HALF = -2, EMPTY = -3 };

struct state {
    const struct world *world;
    bool inside; /* only the module's calls are taken; a runtime's of sanitizer or fuzzer go to the kernel */
    int64_t now, asked_at;
    size_t calls;
    bool stat_open, socket_open, connected, sent, answered, limit_seen;
    int blocks; /* of strdup() */
    int said, logged, complained, level;
    void *limit;
    void (*free_limit)(pam_handle_t *, void *, int);
};

extern struct state at;

#define MUST(condition) must((condition), #condition, __FILE__, __LINE__)
void must(bool ok, const char *what, const char *file, int line);

/* How the next call goes by the script: 0 where it goes well. */
int how_goes(enum call call);

#endif
