/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A PAM module for the tests. An application cannot read module data, a module can: this one puts what it finds into the
 * PAM environment. With set=VALUE it plays another module that has set the run time limit before us. */

#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <security/pam_modules.h>

#define RUNTIME_MAX_DATA "systemd.runtime_max_sec"
#define EXPORTED __attribute__((visibility("default")))

static void free_data(pam_handle_t *pamh, void *data, int status)
{
    (void)pamh;
    (void)status;
    free(data);
}

EXPORTED int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    const void *data = NULL;
    char variable[128];

    (void)flags;
    if (argc > 0 && strncmp(argv[0], "set=", 4) == 0)
        return pam_set_data(pamh, RUNTIME_MAX_DATA, strdup(argv[0] + 4), free_data);

    if (pam_get_data(pamh, RUNTIME_MAX_DATA, &data) != PAM_SUCCESS || data == NULL)
        return PAM_SUCCESS;
    snprintf(variable, sizeof(variable), "PROBED=%s", (const char *)data);
    return pam_putenv(pamh, variable);
}

EXPORTED int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)pamh;
    (void)flags;
    (void)argc;
    (void)argv;
    return PAM_SUCCESS;
}
