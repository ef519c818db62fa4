/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What pam_idled(8) promises, told once more and in other words than the module's: what world.c holds it against. */

#ifndef IDLED_PAM_ORACLE_H
#define IDLED_PAM_ORACLE_H

#include <stdbool.h>
#include <stddef.h>

#include "world.h"

/* What may go out: to a person, to the daemon, to pam_systemd. */
bool is_printable(const char *text);
bool is_packet(const char *data, size_t len);
bool is_limit(const char *value);

/* What the module's arguments, and the flags it is called with, ask for. */
bool denies(const struct world *world);
bool is_silent(const struct world *world);
long timeout_ms(const struct world *world);

#endif
