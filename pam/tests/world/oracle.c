/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "oracle.h"

#include <stdlib.h>
#include <string.h>

#include <security/pam_modules.h>

/* Whether the whole of it is UTF-8 without controls: by the table in Unicode (3.9, D92), where the module decodes. */
bool is_printable(const char *text)
{
    for (const unsigned char *s = (const unsigned char *)text; *s != '\0';) {
        unsigned char least = 0x80, most = 0xbf;
        int more;

        if (*s < 0x80) {
            if (*s < 0x20 || *s == 0x7f)
                return false;
            s++;
            continue;
        }
        if (*s >= 0xc2 && *s <= 0xdf)
            more = 1, least = *s == 0xc2 ? 0xa0 : 0x80; /* C1 is C2 80 to C2 9F */
        else if (*s >= 0xe0 && *s <= 0xef)
            more = 2, least = *s == 0xe0 ? 0xa0 : 0x80, most = *s == 0xed ? 0x9f : 0xbf;
        else if (*s >= 0xf0 && *s <= 0xf4)
            more = 3, least = *s == 0xf0 ? 0x90 : 0x80, most = *s == 0xf4 ? 0x8f : 0xbf;
        else
            return false;
        s++;
        for (int i = 0; i < more; i++, s++, least = 0x80, most = 0xbf)
            if (*s < least || *s > most)
                return false;
    }
    return true;
}

/* What the daemon would make of it: see idled/sources/registrations.py. */
bool is_packet(const char *data, size_t len)
{
    enum { NUMBERS = 6, KEYS = 8 };
    static const char *const keys[KEYS] = {"VERSION=", "USER=",           "SERVICE=", "TTY=",
                                           "RHOST=",   "SSH_CONNECTION=", "PID=",     "START="};
    size_t key = 0;

    if (len == 0 || len > 4096 || data[len - 1] != '\0' || strcmp(data, "VERSION=1") != 0)
        return false;
    for (const char *line = data; line < data + len; line += strlen(line) + 1, key++) {
        while (key < KEYS && strncmp(line, keys[key], strlen(keys[key])) != 0)
            key++; /* in this order, each once at most */
        if (key == KEYS)
            return false;
        const char *value = line + strlen(keys[key]);
        if (value[0] == '\0' || strlen(value) > 256 || !is_printable(value))
            return false;
        if (key >= NUMBERS && value[strspn(value, "0123456789")] != '\0')
            return false;
    }
    return true;
}

bool is_limit(const char *value)
{
    size_t digits = strspn(value, "0123456789");

    return digits > 0 && digits <= 10 && value[0] != '0' && strcmp(value + digits, "s") == 0;
}

/* The last that is one of the two counts. */
bool denies(const struct world *world)
{
    for (int i = world->argc - 1; i >= 0; i--) {
        if (strcmp(world->args[i], "on_error=deny") == 0)
            return true;
        if (strcmp(world->args[i], "on_error=ignore") == 0)
            return false;
    }
    return false;
}

bool is_silent(const struct world *world)
{
    for (int i = 0; i < world->argc; i++)
        if (strcmp(world->args[i], "silent") == 0)
            return true;
    return ((unsigned)world->flags & PAM_SILENT) != 0;
}

/* The last that is a number within its bounds counts. */
long timeout_ms(const struct world *world)
{
    for (int i = world->argc - 1; i >= 0; i--) {
        const char *value = world->args[i] + sizeof("timeout=") - 1;
        if (strncmp(world->args[i], "timeout=", sizeof("timeout=") - 1) != 0 || strlen(value) > 5 ||
            value[strspn(value, "0123456789")] != '\0')
            continue;
        long ms = strtol(value, NULL, 10);
        if (ms > 0 && ms <= 10000)
            return ms;
    }
    return 300;
}
