/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every way a registration can fail, each once survived and once denied. A failure is one log line, in time, and nothing of
 * a bad answer reaches the person or the next module. */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

void test_failures(void);

enum state {
    SERVED,
    ABSENT,   /* no socket */
    LEFT,     /* a socket whose daemon is gone */
    NO_ENTRY, /* a socket this user may not open */
    SILENT,   /* connects, never answers */
    FULL,     /* backlog full */
};

struct trouble {
    const char *name;
    enum state state;
    void (*serve)(struct daemon *daemon);
    const char *reply;
    size_t reply_len;
    const char *log;
    bool down;    /* expects LOG_NOTICE */
    bool timeout; /* expects to last as long as timeout= */
    bool deny;
};

enum { TIMEOUT = 60, FILLERS = 8 };

static int fillers[FILLERS], filler_count;

static void fill_backlog(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path());
    for (filler_count = 0; filler_count < FILLERS; filler_count++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (syscall(SYS_connect, fd, &address, sizeof(address)) < 0) {
            CHECK(errno == EAGAIN);
            close(fd);
            return;
        }
        fillers[filler_count] = fd;
    }
    CHECK(filler_count < FILLERS); /* it never was full */
}

static void close_fillers(void)
{
    while (filler_count > 0)
        close(fillers[--filler_count]);
}

static void test_trouble(const void *argument)
{
    const struct trouble *trouble = argument;
    struct daemon daemon = {.serve = trouble->serve, .reply = trouble->reply, .reply_len = trouble->reply_len};
    sem_t closed;
    char args[64];

    sem_init(&closed, 0, 0);
    if (trouble->serve == close_unread)
        hold_connected = &closed;
    if (trouble->state != ABSENT)
        daemon_listen(&daemon, trouble->state == FULL ? 0 : 8);
    if (trouble->state == LEFT)
        close(daemon.listener);
    if (trouble->state == NO_ENTRY)
        CHECK(chmod(socket_path(), 0) == 0);
    if (trouble->state == FULL)
        fill_backlog();
    if (trouble->serve != NULL)
        daemon_serve(&daemon);

    snprintf(args, sizeof(args), "timeout=%d on_error=%s", trouble->timeout ? TIMEOUT : 5000,
             trouble->deny ? "deny" : "ignore");
    struct outcome outcome = log_in(&(struct login){.user = "ann", .args = args});

    hold_connected = NULL;
    close_fillers();
    if (trouble->state == LEFT)
        unlink(socket_path());
    else if (trouble->state != ABSENT)
        daemon_stop(&daemon);

    CHECK(outcome.result == (trouble->deny ? PAM_SESSION_ERR : PAM_SUCCESS));
    CHECK(outcome.said_count == 0);
    CHECK_STR(outcome.limit, "");
    CHECK(outcome.log_count == 1);
    CHECK(outcome.log_level == (trouble->deny ? LOG_ERR : trouble->down ? LOG_NOTICE : LOG_WARNING));
    CHECK(strstr(outcome.log, socket_path()) != NULL);
    if (strstr(outcome.log, trouble->log) == NULL)
        CHECK_STR(outcome.log, trouble->log);
    const char *ending = strstr(outcome.log, ", ignoring");
    CHECK(trouble->deny ? ending == NULL : ending != NULL && strlen(ending) == strlen(", ignoring"));
    CHECK(trouble->timeout ? outcome.ms >= TIMEOUT * 99 / 100 && outcome.ms < TIMEOUT + 2000 : outcome.ms < 4000);
}

/* While the backlog is full the module tries again, and gets through when it no longer is. */
static void drain_then_answer(struct daemon *daemon)
{
    while (sem_wait(&refused_one) < 0)
        ;
    for (int i = 0; i < filler_count; i++)
        close(accept_one(daemon));
    answer(daemon);
}

static void test_backlog_drained(void)
{
    struct daemon daemon = {.serve = drain_then_answer, REPLY("VERSION=1\0TEXT=at last")};

    while (sem_trywait(&refused_one) == 0) /* what earlier cases left */
        ;
    daemon_listen(&daemon, 0);
    fill_backlog();
    daemon_serve(&daemon);
    struct outcome outcome = log_in(&(struct login){.user = "ann", .args = "timeout=5000"});
    daemon_stop(&daemon);
    close_fillers();

    CHECK(outcome.result == PAM_SUCCESS);
    CHECK(outcome.log_count == 0);
    CHECK_STR(outcome.said, "at last");
}

static const char oversized[1025] = "VERSION=1\0NEW=x";

void test_failures(void)
{
#define ANSWERS(literal) .serve = answer, REPLY(literal)
    static const struct trouble troubles[] = {
        {"no socket", ABSENT, .log = "No such file", .down = true},
        {"a socket without a listener", LEFT, .log = "Connection refused", .down = true},
        {"a socket that may not be opened", NO_ENTRY, .log = "Permission denied"},
        {"a listener that never answers", SILENT, .log = "no answer: Connection timed out", .timeout = true},
        {"a full backlog", FULL, .log = "too many are waiting", .timeout = true},
        {"closed before it was sent", .serve = close_unread, .log = "Broken pipe"},
        {"closed without an answer", .serve = close_read, .log = "empty"},
        {"answer: empty packet", .serve = answer, .reply = "", .log = "empty"},
        {"answer: garbage", ANSWERS("\x7f\x45LF\1\2\3"), .log = "version"},
        {"answer: too long", .serve = answer, .reply = oversized, .reply_len = sizeof(oversized), .log = "too long"},
        {"answer: unterminated", .serve = answer, .reply = "VERSION=1\0TEXT=x", .reply_len = 16, .log = "terminated"},
        {"answer: version 2", ANSWERS("VERSION=2\0TEXT=x"), .log = "version"},
        {"answer: no key", ANSWERS("VERSION=1\0TEXT=x\0junk"), .log = "KEY=VALUE"},
        {"answer: RUNTIME_MAX_SEC=abc", ANSWERS("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=abc"), .log = "RUNTIME_MAX_SEC"},
        {"answer: RUNTIME_MAX_SEC=-5", ANSWERS("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=-5"), .log = "RUNTIME_MAX_SEC"},
        {"answer: RUNTIME_MAX_SEC=0", ANSWERS("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=0"), .log = "RUNTIME_MAX_SEC"},
        {"answer: RUNTIME_MAX_SEC=99999999999", ANSWERS("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=99999999999"),
         .log = "RUNTIME_MAX_SEC"},
        {"answer: good limit, then a bad line", ANSWERS("VERSION=1\0TEXT=x\0RUNTIME_MAX_SEC=60\0="),
         .log = "KEY=VALUE"},
    };

    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++)
        for (int deny = 0; deny <= 1; deny++) {
            struct trouble trouble = troubles[i];
            char name[96];
            trouble.deny = deny;
            snprintf(name, sizeof(name), "%s, %s", trouble.name, deny ? "denied" : "ignored");
            run_with(name, test_trouble, &trouble);
        }
    run("a backlog that is full for a while", test_backlog_drained);
}
