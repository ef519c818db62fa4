// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A stand-in for sshd, so that thousands of sessions cost no key exchange: it asks for no password and encrypts nothing.
 *
 *     sshd PORT PAM_FOLDER
 *
 * All else is as sshd does it, whose name it has. For each TCP connection root's process, the leader, opens a PAM
 * session and a pty; its child runs the same file as the user and moves all bytes between connection and pty; the child
 * of that has the pty for its terminal and reads key by key, as a shell does at its prompt. The first line that the
 * client sends is the user's name, "$ " comes when the session is open. Each process is a fork of this, so a session costs
 * little memory.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmpx.h>

static volatile pid_t child;
static char *title; /* the memory of the command line */
static size_t title_size;

static void die(const char *what) {
    fprintf(stderr, "stand_in: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static int answer(int count, const struct pam_message **message, struct pam_response **response, void *data) {
    (void)message;
    (void)data;
    *response = calloc((size_t)count, sizeof **response);
    return *response ? PAM_SUCCESS : PAM_BUF_ERR;
}

/* Moves what one side has to the other; false when one of them has gone. */
static int moved(int from, int to) {
    char data[4096];
    ssize_t size = read(from, data, sizeof data);
    return size > 0 && write(to, data, (size_t)size) == size;
}

/* What stands for a shell at its prompt: it takes each key and echoes it. */
static void shell(int tty) {
    struct termios mode;
    setsid();
    if (ioctl(tty, TIOCSCTTY, 0) < 0 || tcgetattr(tty, &mode) < 0)
        die("no terminal");
    mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(tty, TCSANOW, &mode);
    for (int fd = 0; fd < 3; fd++)
        dup2(tty, fd);
    if (tty > 2)
        close(tty);
    if (write(1, "$ ", 2) == 2)
        while (moved(0, 1)) {
        }
    _exit(0);
}

/* What moves the bytes, as the user. */
static void relay(int connection, int master) {
    struct pollfd sides[] = {{.fd = connection, .events = POLLIN}, {.fd = master, .events = POLLIN}};
    while (poll(sides, 2, -1) > 0)
        for (int side = 0; side < 2; side++)
            if (sides[side].revents && !moved(sides[side].fd, sides[!side].fd))
                _exit(0);
    _exit(0);
}

static void pass_on(int number) {
    if (child > 0)
        kill(child, number);
}

/* Where there is a utmp, sshd's leader writes in it. */
static void write_utmp(short kind, const struct passwd *user, const char *terminal) {
    struct utmpx entry = {.ut_type = kind, .ut_pid = getpid()};
    const char *line = terminal + strlen("/dev/");
    struct timeval now;
    gettimeofday(&now, NULL);
    entry.ut_tv.tv_sec = (int)now.tv_sec;
    entry.ut_tv.tv_usec = (int)now.tv_usec;
    snprintf(entry.ut_line, sizeof entry.ut_line, "%s", line);
    strncpy(entry.ut_id, line + strlen("pts/"), sizeof entry.ut_id);
    snprintf(entry.ut_user, sizeof entry.ut_user, "%s", user->pw_name);
    snprintf(entry.ut_host, sizeof entry.ut_host, "127.0.0.1");
    setutxent();
    pututxline(&entry);
    endutxent();
}

static void read_line(int fd, char *line, size_t size) {
    for (size_t at = 0; at + 1 < size && read(fd, line + at, 1) == 1; at++)
        if (line[at] == '\n') {
            line[at] = '\0';
            return;
        }
    die("no user's name came");
}

/* As sshd calls its leaders. */
static void call_it(const char *name) {
    memset(title, 0, title_size);
    snprintf(title, title_size, "sshd: %s [priv]", name);
}

static void leader(int connection, const struct sockaddr_in *peer, const char *folder, const char *port) {
    char name[64], link[128], terminal[64];
    const struct pam_conv conversation = {.conv = answer};
    pam_handle_t *pam;
    int master, tty;

    read_line(connection, name, sizeof name);
    const struct passwd *user = getpwnam(name);
    if (!user)
        die(name);
    call_it(name);
    snprintf(link, sizeof link, "SSH_CONNECTION=127.0.0.1 %u 127.0.0.1 %s", ntohs(peer->sin_port), port);
    if (pam_start_confdir("sshd", name, &conversation, folder, &pam) != PAM_SUCCESS)
        die("pam_start");
    pam_set_item(pam, PAM_TTY, "ssh");
    pam_set_item(pam, PAM_RHOST, "127.0.0.1");
    pam_putenv(pam, link);
    if (pam_open_session(pam, 0) != PAM_SUCCESS)
        die("pam_open_session");
    if (openpty(&master, &tty, terminal, NULL, NULL) < 0 || fchown(tty, user->pw_uid, 5) < 0 || fchmod(tty, 0620) < 0)
        die("openpty");
    write_utmp(USER_PROCESS, user, terminal);
    child = fork();
    if (child == 0) {
        if (initgroups(name, user->pw_gid) < 0 || setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0)
            die("setuid");
        if (fork() == 0) {
            close(connection);
            close(master);
            shell(tty);
        }
        close(tty);
        relay(connection, master);
    }
    close(tty);
    signal(SIGHUP, pass_on);
    signal(SIGTERM, pass_on);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    write_utmp(DEAD_PROCESS, user, terminal);
    pam_close_session(pam, 0);
    pam_end(pam, PAM_SUCCESS);
    _exit(0);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    const char *port = strdup(argv[1]), *folder = strdup(argv[2]);
    title = argv[0];
    title_size = (size_t)(argv[2] + strlen(argv[2]) - argv[0]);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((in_port_t)atoi(port))};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 1024) < 0)
        die("listen");
    signal(SIGCHLD, SIG_IGN); /* who has gone is no zombie */
    signal(SIGPIPE, SIG_IGN);
    puts("up");
    fflush(stdout);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        int connection = accept(listener, (struct sockaddr *)&peer, &size);
        if (connection < 0)
            continue;
        if (fork() == 0) {
            close(listener);
            setsid();
            signal(SIGCHLD, SIG_DFL);
            leader(connection, &peer, folder, port);
        }
        close(connection);
    }
}
