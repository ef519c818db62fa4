/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The module as a target of libFuzzer: the input is a whole world (world.h). Its parts are separated by bytes of 0xff,
 * so that an input can be read and written by hand (tests/fuzz/corpus/pam_module):
 *
 *     arguments (blanks between)  flags  user  service  tty  rhost  SSH_CONNECTION  stat  script  answer
 *
 * All but the answer end at a NUL, as they do for the module. What is not there is NULL, the stat's excepted. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <security/pam_modules.h>

#include "world/world.h"

enum { ARGUMENTS, FLAGS, USER, SERVICE, TTY, RHOST, SSH_CONNECTION, STAT, SCRIPT, PARTS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void split_arguments(char *text, struct world *world)
{
    for (char *at = strtok(text, " "); at != NULL && world->argc < ARGS_MAX; at = strtok(NULL, " "))
        world->args[world->argc++] = at;
}

/* Each part in a block of exactly its size, so that the sanitizer sees a read of one byte too many. */
static char *copy(const uint8_t *data, size_t len, bool terminated)
{
    char *block = malloc(len + terminated + (len + terminated == 0));

    if (block == NULL)
        abort();
    if (len > 0)
        memcpy(block, data, len);
    if (terminated)
        block[len] = '\0';
    return block;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text part[PARTS] = {{NULL, 0}};
    char *block[PARTS] = {NULL};
    struct world world = {.argc = 0};

    for (int i = 0; i < PARTS && size > 0; i++) {
        const uint8_t *end = memchr(data, 0xff, size);
        size_t len = end == NULL ? size : (size_t)(end - data);
        block[i] = copy(data, len, i < STAT);
        part[i] = (struct text){block[i], len};
        data += end == NULL ? len : len + 1;
        size -= end == NULL ? len : len + 1;
    }
    char *answer = copy(data, size, false);

    if (block[ARGUMENTS] != NULL)
        split_arguments(block[ARGUMENTS], &world);
    world.flags = part[FLAGS].len > 0 && strchr(block[FLAGS], 's') != NULL ? PAM_SILENT : 0;
    world.limit_is_set = part[FLAGS].len > 0 && strchr(block[FLAGS], 'l') != NULL;
    world.session_type = part[FLAGS].len > 0 && strchr(block[FLAGS], 'g') != NULL ? "x11" : NULL;
    world.user = block[USER];
    world.service = block[SERVICE];
    world.tty = block[TTY];
    world.rhost = block[RHOST];
    world.ssh_connection = block[SSH_CONNECTION];
    world.stat = part[STAT];
    world.script = part[SCRIPT];
    world.answer = (struct text){answer, size};
    live(&world);

    free(answer);
    for (int i = 0; i < PARTS; i++)
        free(block[i]);
    return 0;
}
