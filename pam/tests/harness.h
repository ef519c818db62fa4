/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs the module through the real libpam, in a configuration folder of its own, and tells what it did.
 *
 * The test program defines pam_syslog() and connect() and exports them (-rdynamic), so the module's calls arrive here:
 * the log lines are caught, and a test can wait for the fact that a connect was made or refused instead of sleeping. */

#ifndef IDLED_PAM_HARNESS_H
#define IDLED_PAM_HARNESS_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <security/pam_appl.h>

/* ---- TAP ---- */

void check(bool ok, const char *what, const char *file, int line);
void check_str(const char *got, const char *expected, const char *file, int line);
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
#define CHECK_STR(got, expected) check_str((got), (expected), __FILE__, __LINE__)

/* One case. It fails by its checks, or when it leaves a descriptor, a signal handler or a signal mask behind. */
void run(const char *name, void (*test)(void));
void run_with(const char *name, void (*test)(const void *), const void *argument);
int finish(void);

/* ---- one login ---- */

struct login {
    const char *service; /* "idledtest" */
    const char *user, *tty, *rhost, *ssh_connection, *session_type;
    const char *args;   /* the module's, after socket= */
    const char *before; /* set=VALUE: another module has set the limit already */
    bool alone;         /* nothing but "session optional pam_idled.so" in the stack */
    bool no_conversation;
    int flags;
};

struct outcome {
    int result;
    double ms;
    int said_count;
    char said[2048];
    char limit[64]; /* "" if none was handed on */
    int log_count, log_level;
    char log[2048]; /* the last line */
};

struct outcome log_in(const struct login *login);
void catch_log(struct outcome *outcome); /* for calls around libpam; NULL ends it */
double now_ms(void);

/* ---- the world around ---- */

/* Copies the modules into a new folder, and when root gives the folder and itself to nobody. */
void set_up(const char *module, const char *probe);
void tear_down(void);
const char *socket_path(void);
const char *module_path(void);
const char *folder_path(void);

extern atomic_int refused; /* connects that met a full backlog */
extern sem_t refused_one;  /* posted at each of them */
extern sem_t *hold_connected; /* when set: a successful connect returns only after a post */

#endif
