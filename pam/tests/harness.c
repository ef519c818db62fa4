/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Not _GNU_SOURCE: with it connect() has a prototype that cannot be written in ISO C. */
#define _DEFAULT_SOURCE

#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_ext.h>

enum { NOBODY = 65534 };

static char folder[64], module[96], probe[96], socket_in[96];

/* ---- what the module calls ---- */

atomic_int refused;
sem_t refused_one;
sem_t *hold_connected;

static _Thread_local struct outcome *current;

__attribute__((visibility("default"))) int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    int r = (int)syscall(SYS_connect, fd, address, len);
    int error = errno;

    if (r < 0 && error == EAGAIN) {
        atomic_fetch_add(&refused, 1);
        sem_post(&refused_one);
    }
    if (r == 0 && hold_connected != NULL)
        while (sem_wait(hold_connected) < 0)
            ;
    errno = error;
    return r;
}

__attribute__((visibility("default"))) void pam_syslog(const pam_handle_t *pamh, int level, const char *format, ...)
{
    va_list args;

    (void)pamh;
    if (current == NULL)
        return;
    current->log_count++;
    current->log_level = level;
    va_start(args, format);
    vsnprintf(current->log, sizeof(current->log), format, args);
    va_end(args);
}

void catch_log(struct outcome *outcome)
{
    current = outcome;
}

/* ---- TAP ---- */

static int cases, failed_cases;
static bool case_ok;

void check(bool ok, const char *what, const char *file, int line)
{
    if (ok)
        return;
    case_ok = false;
    printf("# %s:%d: not so: %s\n", file, line, what);
}

void check_str(const char *got, const char *expected, const char *file, int line)
{
    if (strcmp(got, expected) == 0)
        return;
    case_ok = false;
    printf("# %s:%d:\n#   got      \"%s\"\n#   expected \"%s\"\n", file, line, got, expected);
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

struct signals {
    sigset_t mask;
    void (*handler[NSIG])(int);
};

static void look_at_signals(struct signals *signals)
{
    memset(signals, 0, sizeof(*signals));
    sigprocmask(SIG_SETMASK, NULL, &signals->mask);
    for (int i = 1; i < NSIG; i++) {
        struct sigaction action = {0};
        sigaction(i, NULL, &action);
        signals->handler[i] = action.sa_handler;
    }
}

void run_with(const char *name, void (*test)(const void *), const void *argument)
{
    struct signals before, after;
    int descriptors = open_descriptors();

    look_at_signals(&before);
    case_ok = true;
    test(argument);
    look_at_signals(&after);
    CHECK(open_descriptors() == descriptors);
    CHECK(memcmp(&before, &after, sizeof(before)) == 0);

    failed_cases += !case_ok;
    printf("%s %d - %s\n", case_ok ? "ok" : "not ok", ++cases, name);
    fflush(stdout);
}

static void call(const void *test)
{
    (*(void (*const *)(void))test)();
}

void run(const char *name, void (*test)(void))
{
    run_with(name, call, &test);
}

int finish(void)
{
    printf("1..%d\n", cases);
    return failed_cases > 0;
}

/* ---- one login ---- */

double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int converse(int count, const struct pam_message **messages, struct pam_response **responses, void *data)
{
    struct outcome *outcome = data;

    for (int i = 0; i < count; i++) {
        CHECK(messages[i]->msg_style == PAM_TEXT_INFO);
        outcome->said_count++;
        snprintf(outcome->said, sizeof(outcome->said), "%s", messages[i]->msg);
    }
    *responses = calloc((size_t)count, sizeof(**responses));
    return *responses != NULL ? PAM_SUCCESS : PAM_BUF_ERR;
}

static void write_stack(const char *service, const struct login *login)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", folder, service);
    FILE *f = fopen(path, "we");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    if (login->before != NULL)
        fprintf(f, "session required %s %s\n", probe, login->before);
    fprintf(f, "session %s %s socket=%s %s\n", login->alone ? "optional" : "required", module, socket_in,
            login->args != NULL ? login->args : "");
    if (!login->alone)
        fprintf(f, "session required %s\n", probe);
    fclose(f);
}

struct outcome log_in(const struct login *login)
{
    struct outcome outcome = {.result = -1};
    struct pam_conv conversation = {.conv = login->no_conversation ? NULL : converse, .appdata_ptr = &outcome};
    const char *service = login->service != NULL ? login->service : "idledtest";
    pam_handle_t *pamh = NULL;
    char variable[1100];

    write_stack(service, login);
    current = &outcome;
    if (pam_start_confdir(service, login->user, &conversation, folder, &pamh) != PAM_SUCCESS) {
        printf("Bail out! pam_start_confdir failed\n");
        exit(1);
    }
    pam_set_item(pamh, PAM_TTY, login->tty);
    pam_set_item(pamh, PAM_RHOST, login->rhost);
    if (login->ssh_connection != NULL) {
        snprintf(variable, sizeof(variable), "SSH_CONNECTION=%s", login->ssh_connection);
        pam_putenv(pamh, variable);
    }
    if (login->session_type != NULL) {
        snprintf(variable, sizeof(variable), "XDG_SESSION_TYPE=%s", login->session_type);
        pam_putenv(pamh, variable);
    }
    outcome.log_count = 0; /* what libpam had to say so far is not ours */

    double start = now_ms();
    outcome.result = pam_open_session(pamh, login->flags);
    outcome.ms = now_ms() - start;

    const char *limit = pam_getenv(pamh, "PROBED");
    snprintf(outcome.limit, sizeof(outcome.limit), "%s", limit != NULL ? limit : "");
    if (outcome.result == PAM_SUCCESS) /* libpam's close fails where its open has */
        CHECK(pam_close_session(pamh, 0) == PAM_SUCCESS);
    pam_end(pamh, PAM_SUCCESS);
    current = NULL;
    return outcome;
}

/* ---- the world around ---- */

const char *socket_path(void)
{
    return socket_in;
}

const char *module_path(void)
{
    return module;
}

const char *folder_path(void)
{
    return folder;
}

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}

static void copy(const char *from, const char *to)
{
    char buffer[65536];
    ssize_t n;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

    must(in >= 0, from);
    must(out >= 0, to);
    while ((n = read(in, buffer, sizeof(buffer))) > 0)
        must(write(out, buffer, (size_t)n) == n, to);
    must(n == 0, from);
    close(in);
    close(out);
}

void set_up(const char *module_from, const char *probe_from)
{
    snprintf(folder, sizeof(folder), "/tmp/pam-idled-test-XXXXXX"); /* not $TMPDIR: it must fit sun_path */
    must(mkdtemp(folder) != NULL, folder);
    snprintf(module, sizeof(module), "%s/pam_idled.so", folder);
    snprintf(probe, sizeof(probe), "%s/probe.so", folder);
    snprintf(socket_in, sizeof(socket_in), "%s/socket", folder);
    copy(module_from, module);
    copy(probe_from, probe);
    sem_init(&refused_one, 0, 0);

    if (geteuid() == 0) {
        must(chown(folder, NOBODY, NOBODY) == 0, "chown");
        must(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0, "cannot become nobody");
        /* The change of user took this away; without it /proc/self is root's and the leak sanitizer cannot look. */
        prctl(PR_SET_DUMPABLE, 1);
    }
}

void tear_down(void)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    rmdir(folder);
}
