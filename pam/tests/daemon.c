/* SPDX-License-Identifier: LGPL-2.1-or-later */

#define _GNU_SOURCE

#include "daemon.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

static void *thread_main(void *argument)
{
    struct daemon *daemon = argument;
    daemon->serve(daemon);
    return NULL;
}

void daemon_listen(struct daemon *daemon, int backlog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path());
    daemon->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bind(daemon->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(daemon->listener, backlog) < 0) {
        perror(address.sun_path);
        exit(1);
    }
}

void daemon_serve(struct daemon *daemon)
{
    sigset_t all, before;

    if (daemon->serve == NULL)
        return;
    sigfillset(&all); /* the alarms are for the thread that logs in */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&daemon->thread, NULL, thread_main, daemon) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void daemon_stop(struct daemon *daemon)
{
    shutdown(daemon->listener, SHUT_RDWR); /* wakes an accept that nobody came for */
    if (daemon->serve != NULL)
        pthread_join(daemon->thread, NULL);
    close(daemon->listener);
    unlink(socket_path());
}

int accept_one(struct daemon *daemon)
{
    const struct timeval patience = {.tv_sec = 2}; /* for a module that does not close: a failed check, no hang */
    int fd = accept4(daemon->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

void read_one(struct daemon *daemon, int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    ssize_t n = recv(fd, daemon->packet, sizeof(daemon->packet) - 1, 0);

    daemon->packet_len = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < daemon->packet_len; i++)
        if (daemon->packet[i] == '\0')
            daemon->packet[i] = '|';
    daemon->packet[daemon->packet_len] = '\0';
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        daemon->peer = peer.pid;
}

void reply_one(struct daemon *daemon, int fd)
{
    char rest;

    (void)!send(fd, daemon->reply, daemon->reply_len, MSG_NOSIGNAL);
    daemon->after_reply = recv(fd, &rest, 1, 0);
}

void answer(struct daemon *daemon)
{
    int fd = accept_one(daemon);
    if (fd < 0)
        return;
    read_one(daemon, fd);
    reply_one(daemon, fd);
    close(fd);
}

void answer_many(struct daemon *daemon)
{
    for (int i = 0; i < daemon->times; i++)
        answer(daemon);
}

void close_unread(struct daemon *daemon)
{
    int fd = accept_one(daemon);
    if (fd >= 0)
        close(fd);
    sem_post(hold_connected);
}

void close_read(struct daemon *daemon)
{
    int fd = accept_one(daemon);
    if (fd < 0)
        return;
    read_one(daemon, fd);
    close(fd);
}
