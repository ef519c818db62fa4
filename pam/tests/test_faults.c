/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every call of the module fails once, in every way it can; so do every two and every three of them, and with one or
 * two all that come after, for ever. What must hold then is looked for in world.c. */

#include <stdio.h>
#include <string.h>

#include <security/pam_modules.h>

#include "world/world.h"

#define TEXT(literal) {(literal), sizeof(literal)}
#define STAT TEXT("77 (a (b) c) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 2 3")
#define ANSWER TEXT("VERSION=1\0TEXT=ends after 15 min\0RUNTIME_MAX_SEC=43320")
#define PERSON .user = "ann", .service = "sshd", .tty = "ssh", .rhost = "192.0.2.1", .stat = STAT

static const struct {
    const char *name;
    struct world world;
} cases[] = {
    {"a login", {PERSON, .ssh_connection = "192.0.2.1 50000 192.0.2.2 22", .answer = ANSWER}},
    {"on_error=deny", {PERSON, .args = {"on_error=deny"}, .argc = 1, .answer = ANSWER}},
    {"silent, debug", {PERSON, .args = {"silent", "debug"}, .argc = 2, .answer = ANSWER}},
    {"a limit that is set", {PERSON, .limit_is_set = true, .answer = ANSWER}},
    {"an answer without text", {PERSON, .flags = PAM_SILENT, .answer = TEXT("VERSION=1\0RUNTIME_MAX_SEC=60")}},
    {"a bad answer", {PERSON, .args = {"on_error=deny", "timeout=50"}, .argc = 2, .answer = TEXT("VERSION=2")}},
    {"nothing is known", {.args = {"timeout=1000"}, .argc = 1, .answer = ANSWER}},
    {"a user manager", {.service = "systemd-user", .args = {"on_error=deny"}, .argc = 1, .answer = ANSWER}},
    {"a graphical login", {PERSON, .session_type = "x11", .args = {"on_error=deny"}, .argc = 1, .answer = ANSWER}},
};

enum { CASES = sizeof(cases) / sizeof(cases[0]), LONG = 4000, WAYS = 8, DEEP = 3 };

static char script[LONG];
static long lives;

static void live_by(const struct world *world, size_t len)
{
    struct world scripted = *world;

    scripted.script = (struct text){script, len};
    live(&scripted);
    lives++;
}

/* The calls that fail from here on go the same way each: way of their own list. */
static void for_ever(const struct world *world, size_t from)
{
    for (int way = 1; way <= WAYS; way++) {
        memset(script + from, way, LONG - from);
        live_by(world, LONG);
    }
    memset(script + from, 0, LONG - from);
}

/* Each way in which the calls from this one on can fail, and with that, deeper, each of the calls after it. */
static void fail_each(const struct world *world, size_t from, int deep)
{
    live_by(world, from);
    size_t calls = calls_made();

    for (size_t i = from; i < calls; i++) {
        unsigned ways = ways_to_fail(call_made(i));
        for (unsigned way = 1; way <= ways; way++) {
            script[i] = (char)way;
            live_by(world, i + 1);
            if (deep > 1) {
                for_ever(world, i + 1);
                fail_each(world, i + 1, deep - 1);
            }
        }
        script[i] = 0;
        live_by(world, i); /* the calls made are again those of this world */
    }
}

int main(void)
{
    for (int i = 0; i < CASES; i++) {
        lives = 0;
        live_by(&cases[i].world, 0);
        size_t calls = calls_made();
        for_ever(&cases[i].world, 0);
        fail_each(&cases[i].world, 0, DEEP);
        printf("ok %d - %s: %zu calls, %ld ways to fail\n", i + 1, cases[i].name, calls, lives);
        fflush(stdout);
    }
    printf("1..%d\n", CASES);
    return 0;
}
