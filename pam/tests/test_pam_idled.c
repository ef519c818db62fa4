/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the module sends, what it does with the answer, and how it bears with the process it lives in. failures.c has what
 * goes wrong. Usage: test_pam_idled pam_idled.so probe.so [--bench] */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

void test_failures(void);

static unsigned long long start_ticks;

/* Logs in with a daemon behind the socket. */
static struct outcome served(struct daemon *daemon, const struct login *login)
{
    if (daemon->serve == NULL)
        daemon->serve = answer;
    daemon_listen(daemon, 8);
    daemon_serve(daemon);
    struct outcome outcome = log_in(login);
    daemon_stop(daemon);
    return outcome;
}

/* ---- the packet ---- */

static void check_packet(const struct login *login, const char *described)
{
    struct daemon daemon = {REPLY("VERSION=1")};
    char expected[4096];
    struct outcome outcome = served(&daemon, login);

    snprintf(expected, sizeof(expected), "VERSION=1|%sPID=%d|START=%llu|", described, (int)getpid(), start_ticks);
    CHECK_STR(daemon.packet, expected);
    CHECK(daemon.packet_len <= 4096);
    CHECK(daemon.peer == getpid());
    CHECK(daemon.after_reply == 0);
    CHECK(outcome.result == PAM_SUCCESS);
    CHECK(outcome.said_count == 0);
    CHECK(outcome.log_count == 0);
    CHECK_STR(outcome.limit, "");
}

static void test_packet(void)
{
    check_packet(&(struct login){.user = "ann",
                                 .tty = "ssh",
                                 .rhost = "192.0.2.7",
                                 .ssh_connection = "192.0.2.7 51234 192.0.2.1 22"},
                 "USER=ann|SERVICE=idledtest|TTY=ssh|RHOST=192.0.2.7|SSH_CONNECTION=192.0.2.7 51234 192.0.2.1 22|");
}

static void test_absent_values(void)
{
    check_packet(&(struct login){.user = "ann"}, "USER=ann|SERVICE=idledtest|");
    check_packet(&(struct login){.tty = "", .rhost = ""}, "SERVICE=idledtest|");
}

static void test_process_environment(void)
{
    setenv("SSH_CONNECTION", "203.0.113.66 1 203.0.113.66 2", 1);
    check_packet(&(struct login){.user = "ann"}, "USER=ann|SERVICE=idledtest|");
    unsetenv("SSH_CONNECTION");
}

static void test_process_name(void)
{
    char before[16];

    prctl(PR_GET_NAME, before);
    prctl(PR_SET_NAME, "a) R 1 (b) 2");
    check_packet(&(struct login){.user = "ann"}, "USER=ann|SERVICE=idledtest|");
    prctl(PR_SET_NAME, before);
}

static void test_controls(void)
{
    check_packet(&(struct login){.user = "a\nUSER=root\033[2J",
                                 .tty = "\177\t/dev/\xc2\x9b",
                                 .rhost = "h\xff\xc3\xbc"},
                 "USER=a?USER=root?[2J|SERVICE=idledtest|TTY=?" "?/dev/?" "?|RHOST=h?\xc3\xbc|");
}

static void test_long_values(void)
{
    char user[1000], tty[258], expected[2048];

    memset(user, 'u', sizeof(user) - 1);
    user[sizeof(user) - 1] = '\0';
    memset(tty, 't', 255);
    strcpy(tty + 255, "\xc3\xbc"); /* a character across the limit is left out whole */
    snprintf(expected, sizeof(expected), "USER=%.256s|SERVICE=idledtest|TTY=%.255s|RHOST=%.256s|SSH_CONNECTION=%.256s|",
             user, tty, user, user);
    check_packet(&(struct login){.user = user, .tty = tty, .rhost = user, .ssh_connection = user}, expected);
}

static void check_not_asked(const struct login *login)
{
    struct daemon daemon = {REPLY("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=5")};
    struct outcome outcome = served(&daemon, login);

    CHECK(outcome.result == PAM_SUCCESS);
    CHECK(daemon.peer == 0);
    CHECK(outcome.said_count == 0);
    CHECK(outcome.log_count == 0);
    CHECK_STR(outcome.limit, "");
}

static void test_user_manager(void)
{
    check_not_asked(&(struct login){.service = "systemd-user", .user = "ann", .args = "bogus"});
}

static void test_graphical_logins(void)
{
    static const char *const types[] = {"x11", "wayland", "mir", "web"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        check_not_asked(&(struct login){.user = "ann", .tty = "/dev/tty2", .session_type = types[i], .args = "bogus"});
    check_packet(&(struct login){.user = "ann", .session_type = "tty"}, "USER=ann|SERVICE=idledtest|");
    check_packet(&(struct login){.user = "ann", .session_type = "unspecified"}, "USER=ann|SERVICE=idledtest|");
    check_packet(&(struct login){.user = "ann", .ssh_connection = "a 1 b 2", .session_type = "x11"},
                 "USER=ann|SERVICE=idledtest|SSH_CONNECTION=a 1 b 2|");
    check_packet(&(struct login){.user = "ann", .tty = "ssh", .session_type = "x11"},
                 "USER=ann|SERVICE=idledtest|TTY=ssh|");
}

/* ---- the answer ---- */

static void test_text_and_limit(void)
{
    struct daemon daemon = {REPLY("VERSION=1\0FUTURE=1\0TEXT=idle\033[5m limit\n 15\xff min %s\0RUNTIME_MAX_SEC=43230")};
    struct outcome outcome = served(&daemon, &(struct login){.user = "ann"});

    CHECK(outcome.result == PAM_SUCCESS);
    CHECK(outcome.said_count == 1);
    CHECK_STR(outcome.said, "idle[5m limit 15 min %s");
    CHECK_STR(outcome.limit, "43230s");
    CHECK(outcome.log_count == 0);
}

static void test_silence(void)
{
    static const struct login quiet[] = {{.user = "ann", .flags = PAM_SILENT}, {.user = "ann", .args = "silent"}};

    for (int i = 0; i < 2; i++) {
        struct daemon daemon = {REPLY("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=0000000060")};
        struct outcome outcome = served(&daemon, &quiet[i]);
        CHECK(outcome.result == PAM_SUCCESS);
        CHECK(outcome.said_count == 0);
        CHECK_STR(outcome.limit, "60s");
    }
}

static void test_nothing_left_to_say(void)
{
    struct daemon daemon = {REPLY("VERSION=1\0TEXT=\033\n\xff")};
    CHECK(served(&daemon, &(struct login){.user = "ann"}).said_count == 0);
}

static void test_no_conversation(void)
{
    struct daemon daemon = {REPLY("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=9999999999")};
    struct outcome outcome =
        served(&daemon, &(struct login){.user = "ann", .args = "on_error=deny", .no_conversation = true});

    CHECK(outcome.result == PAM_SUCCESS);
    CHECK_STR(outcome.limit, "9999999999s");
}

static void test_earlier_limit_stays(void)
{
    struct daemon daemon = {REPLY("VERSION=1\0RUNTIME_MAX_SEC=60")};
    struct outcome outcome = served(&daemon, &(struct login){.user = "ann", .before = "set=5h30s"});

    CHECK(outcome.result == PAM_SUCCESS);
    CHECK(outcome.log_count == 0);
    CHECK_STR(outcome.limit, "5h30s");
}

static void test_alone_in_the_stack(void)
{
    struct daemon daemon = {REPLY("VERSION=1")};

    CHECK(served(&daemon, &(struct login){.user = "ann", .alone = true}).result == PAM_SUCCESS);
    CHECK(log_in(&(struct login){.user = "ann", .alone = true}).result == PAM_SUCCESS);
    CHECK(log_in(&(struct login){.service = "systemd-user", .alone = true}).result == PAM_SUCCESS);
}

static void test_debug(void)
{
    struct daemon daemon = {REPLY("VERSION=1\0RUNTIME_MAX_SEC=60")};
    struct outcome outcome = served(&daemon, &(struct login){.user = "ann", .args = "debug"});

    CHECK(outcome.log_count == 1);
    CHECK(outcome.log_level == LOG_DEBUG);
}

/* ---- arguments ---- */

static void test_bad_arguments(void)
{
    char too_long[160] = "socket=/";
    memset(too_long + 8, 'p', 107); /* 108 bytes: no room for the terminator */
    const char *const bad[] = {"timeout=0",      "timeout=",  "timeout=10001", "timeout=-5", "timeout=5x",
                               "socket=relative", "socket=",   too_long,        "on_error=panic", "on_error",
                               "silent=1",       "Debug",     "frobnicate"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct daemon daemon = {REPLY("VERSION=1\0TEXT=hello")};
        struct outcome outcome = served(&daemon, &(struct login){.user = "ann", .args = bad[i]});
        CHECK(outcome.result == PAM_SUCCESS);
        CHECK(outcome.log_count == 1);
        CHECK(outcome.log_level == LOG_WARNING);
        CHECK(strstr(outcome.log, bad[i]) != NULL);
        CHECK(strstr(outcome.log, ", ignoring") != NULL);
        CHECK_STR(outcome.said, "hello");
    }
}

static void test_good_arguments(void)
{
    struct daemon daemon = {REPLY("VERSION=1")};
    char longest[160] = "socket=/";
    memset(longest + 8, 'p', 106);

    CHECK(served(&daemon, &(struct login){.user = "ann", .args = "timeout=10000 on_error=deny silent"}).log_count == 0);

    struct outcome outcome = log_in(&(struct login){.user = "ann", .args = longest});
    CHECK(outcome.log_count == 1 && outcome.log_level == LOG_NOTICE && strstr(outcome.log, longest + 7) != NULL);
    outcome = log_in(&(struct login){.user = "ann", .args = "on_error=deny on_error=ignore"});
    CHECK(outcome.result == PAM_SUCCESS);
}

static void test_default_timeout(void)
{
    struct daemon daemon = {.serve = NULL};

    daemon_listen(&daemon, 8);
    struct outcome outcome = log_in(&(struct login){.user = "ann"});
    daemon_stop(&daemon);
    CHECK(outcome.result == PAM_SUCCESS);
    CHECK(outcome.ms >= 297 && outcome.ms < 2300);
}

/* ---- the process around ---- */

enum { ALARMS = 5, ALARM_US = 3000 };

static sem_t alarmed;
static volatile sig_atomic_t alarms;

static void on_alarm(int signal)
{
    (void)signal;
    alarms++;
    sem_post(&alarmed);
}

static void answer_after_alarms(struct daemon *daemon)
{
    int fd = accept_one(daemon);
    read_one(daemon, fd);
    while (sem_trywait(&alarmed) == 0)
        ;
    for (int i = 0; i < ALARMS; i++)
        sem_wait(&alarmed);
    reply_one(daemon, fd);
    close(fd);
}

/* login and sshd have alarms of their own running: they interrupt, and neither shorten nor prolong the wait. */
static void test_alarms(void)
{
    struct itimerval often = {{0, ALARM_US}, {0, ALARM_US}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct daemon patient = {.serve = answer_after_alarms, REPLY("VERSION=1\0TEXT=x")}, dead = {.serve = NULL};

    sem_init(&alarmed, 0, 0);
    alarms = 0;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);

    struct outcome outcome = served(&patient, &(struct login){.user = "ann", .args = "timeout=5000"});
    CHECK(outcome.said_count == 1);
    CHECK(alarms >= ALARMS);

    daemon_listen(&dead, 8);
    outcome = log_in(&(struct login){.user = "ann", .args = "timeout=60"});
    daemon_stop(&dead);
    CHECK(outcome.ms >= 59 && outcome.ms < 2060);

    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
}

typedef int open_session_function(pam_handle_t *pamh, int flags, int argc, const char **argv);

/* The module's entry without libpam around it; the object is returned to be closed. */
static void *entry(open_session_function **open_session)
{
    void *object = dlopen(module_path(), RTLD_NOW);

    *open_session = NULL;
    if (object != NULL)
        *(void **)open_session = dlsym(object, "pam_sm_open_session");
    if (*open_session == NULL) {
        printf("Bail out! %s\n", dlerror());
        exit(1);
    }
    return object;
}

static void test_errno_and_no_descriptors(void)
{
    const char *argv[] = {"socket=/nonexistent/socket"};
    struct pam_conv conversation = {.conv = NULL};
    struct rlimit limit, none;
    struct outcome outcome = {.result = -1};
    open_session_function *open_session;
    pam_handle_t *pamh = NULL;
    void *object = entry(&open_session);

    CHECK(pam_start_confdir("idledtest", "ann", &conversation, folder_path(), &pamh) == PAM_SUCCESS);
    catch_log(&outcome);
    errno = 77;
    CHECK(open_session(pamh, 0, 1, argv) == PAM_SUCCESS);
    CHECK(errno == 77);
    CHECK(strstr(outcome.log, "No such file") != NULL);

    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    int result = open_session(pamh, 0, 1, argv);
    setrlimit(RLIMIT_NOFILE, &limit);
    CHECK(result == PAM_SUCCESS);
    CHECK(strstr(outcome.log, "Too many open files") != NULL);
    CHECK(errno == 77);

    catch_log(NULL);
    pam_end(pamh, PAM_SUCCESS);
    dlclose(object);
}

enum { THREADS = 8 };

static void *log_in_thread(void *argument)
{
    char service[32];

    snprintf(service, sizeof(service), "idledtest%d", *(int *)argument);
    struct outcome outcome = log_in(&(struct login){.service = service, .user = "ann", .args = "timeout=5000"});
    CHECK(outcome.result == PAM_SUCCESS);
    CHECK_STR(outcome.said, "x");
    CHECK_STR(outcome.limit, "60s");
    return NULL;
}

static void test_threads(void)
{
    struct daemon daemon = {.serve = answer_many, .times = THREADS, REPLY("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=60")};
    pthread_t threads[THREADS];
    int number[THREADS];

    daemon_listen(&daemon, 2); /* fewer than come: some have to try again */
    daemon_serve(&daemon);
    for (int i = 0; i < THREADS; i++) {
        number[i] = i;
        if (pthread_create(&threads[i], NULL, log_in_thread, &number[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    daemon_stop(&daemon);
}

/* ---- cost ---- */

enum { ROUNDS = 1000 };

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_cost(const char *name, double *us)
{
    qsort(us, ROUNDS, sizeof(*us), by_size);
    printf("%-42s median %6.0f us   p99 %6.0f us\n", name, us[ROUNDS / 2], us[ROUNDS * 99 / 100]);
}

static void bench(void)
{
    static double us[ROUNDS];
    struct daemon daemon = {.serve = answer_many, .times = 2 * ROUNDS, REPLY("VERSION=1\0TEXT=idle limit 15 min")};
    char socket_argument[128];
    const char *argv[] = {socket_argument, "silent"};
    struct pam_conv conversation = {.conv = NULL};
    open_session_function *open_session;
    pam_handle_t *pamh = NULL;
    void *object = entry(&open_session);

    snprintf(socket_argument, sizeof(socket_argument), "socket=%s", socket_path());
    pam_start_confdir("idledtest", "ann", &conversation, folder_path(), &pamh);
    daemon_listen(&daemon, 8);
    daemon_serve(&daemon);
    for (int i = 0; i < ROUNDS; i++) {
        double start = now_ms();
        open_session(pamh, 0, 2, argv);
        us[i] = (now_ms() - start) * 1e3;
    }
    print_cost("the module alone", us);
    for (int i = 0; i < ROUNDS; i++)
        us[i] = log_in(&(struct login){.user = "ann"}).ms * 1e3;
    print_cost("pam_open_session, loading included", us);
    daemon_stop(&daemon);

    for (int i = 0; i < ROUNDS; i++)
        us[i] = log_in(&(struct login){.service = "systemd-user", .user = "ann"}).ms * 1e3;
    print_cost("  the same, nobody asked (systemd-user)", us);
    for (int i = 0; i < ROUNDS; i++)
        us[i] = log_in(&(struct login){.user = "ann"}).ms * 1e3;
    print_cost("  the same, daemon down", us);
    pam_end(pamh, PAM_SUCCESS);
    dlclose(object);
}

/* Field 22 of the stat, while the process still has a plain name. */
static void read_start_ticks(void)
{
    FILE *f = fopen("/proc/self/stat", "re");
    int n = f == NULL ? 0
                      : fscanf(f,
                               "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                               "%*d %llu",
                               &start_ticks);
    if (f != NULL)
        fclose(f);
    if (n != 1 || start_ticks == 0) {
        printf("Bail out! no start time\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s pam_idled.so probe.so [--bench]\n", argv[0]);
        return 2;
    }
    set_up(argv[1], argv[2]);
    atexit(tear_down);
    read_start_ticks();
    if (argc > 3 && strcmp(argv[3], "--bench") == 0) {
        bench();
        return 0;
    }

    CHECK(geteuid() != 0);
    run("the packet, whole", test_packet);
    run("absent values are left out", test_absent_values);
    run("the process environment is not asked", test_process_environment);
    run("a process name with parentheses", test_process_name);
    run("control characters in what is sent", test_controls);
    run("long values are cut", test_long_values);
    run("systemd-user is not registered", test_user_manager);
    run("graphical logins are not registered, SSH is whatever it says", test_graphical_logins);
    run("text and limit arrive", test_text_and_limit);
    run("silent and PAM_SILENT", test_silence);
    run("a text that is empty once clean", test_nothing_left_to_say);
    run("no conversation function", test_no_conversation);
    run("a limit set earlier stays", test_earlier_limit_stays);
    run("alone in the stack", test_alone_in_the_stack);
    run("debug", test_debug);
    run("bad arguments", test_bad_arguments);
    run("good arguments", test_good_arguments);
    run("300 ms by default", test_default_timeout);
    run("alarms", test_alarms);
    run("errno, and no descriptor to be had", test_errno_and_no_descriptors);
    run("eight at once", test_threads);
    test_failures();
    return finish();
}
