/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A daemon that serves one registration as the test wants it, in a thread. */

#ifndef IDLED_PAM_DAEMON_H
#define IDLED_PAM_DAEMON_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

struct daemon {
    int listener;
    pthread_t thread;
    void (*serve)(struct daemon *daemon);
    const char *reply;
    size_t reply_len;
    int times; /* how many connections answer_many() serves */

    char packet[8192]; /* what came, NULs made '|' */
    size_t packet_len;
    pid_t peer;
    ssize_t after_reply; /* what came after the answer: 0 when the module has closed */
};

/* A string literal with its terminator as an answer. */
#define REPLY(literal) .reply = (literal), .reply_len = sizeof(literal)

void daemon_listen(struct daemon *daemon, int backlog);
void daemon_serve(struct daemon *daemon); /* in a thread, if there is a serve function */
void daemon_stop(struct daemon *daemon);

/* The ways to serve. */
void answer(struct daemon *daemon);
void answer_many(struct daemon *daemon);
void close_unread(struct daemon *daemon); /* closes before anything was sent; posts hold_connected */
void close_read(struct daemon *daemon);   /* reads, closes, says nothing */

int accept_one(struct daemon *daemon);
void read_one(struct daemon *daemon, int fd);
void reply_one(struct daemon *daemon, int fd);

#endif
