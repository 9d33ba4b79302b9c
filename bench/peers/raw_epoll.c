/* The echo workload of `make bench` on bare epoll, for comparison: one thread serves, one thread is all 50 clients.
   cc -O2 -pthread raw_epoll.c && ./a.out [N]                            SPDX-License-Identifier: MIT */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 50, MESSAGE = 64 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int poll, int fd)
{
    struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e) != 0) fail("epoll_ctl");
}

static void no_delay(int fd)
{
    const int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
}

static void *serve(void *arg)
{
    const int poll = *(int *)arg;
    struct epoll_event events[CONNECTIONS];
    char buffer[1024];
    int open = CONNECTIONS;
    while (open > 0) {
        const int n = epoll_wait(poll, events, CONNECTIONS, -1);
        for (int i = 0; i < n; i++) {
            const int fd = events[i].data.fd;
            const ssize_t got = read(fd, buffer, sizeof buffer);
            if (got > 0) {
                if (write(fd, buffer, (size_t)got) != got) fail("write");
            } else {
                if (close(fd) != 0) fail("close");
                open--;
            }
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const long rounds = (argc > 1 && atol(argv[1]) > 0 ? atol(argv[1]) : 200000) / CONNECTIONS;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    char buffer[1024] = "0123456789";
    struct { int fd; long left; } client[CONNECTIONS];
    struct epoll_event events[CONNECTIONS];
    struct timespec start, end;
    pthread_t server;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    int server_poll = epoll_create1(0);
    const int poll = epoll_create1(0);
    if (listener < 0 || server_poll < 0 || poll < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, length) != 0) fail("bind");
    if (listen(listener, CONNECTIONS) != 0) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length) != 0) fail("getsockname");
    for (int i = 0; i < CONNECTIONS; i++) {
        client[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        client[i].left = rounds;
        if (client[i].fd < 0) fail("socket");
        if (connect(client[i].fd, (struct sockaddr *)&address, length) != 0) fail("connect");
        const int fd = accept(listener, NULL, NULL);
        if (fd < 0) fail("accept");
        no_delay(fd);
        no_delay(client[i].fd);
        watch(server_poll, fd);
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
        if (epoll_ctl(poll, EPOLL_CTL_ADD, client[i].fd, &e) != 0) fail("epoll_ctl");
    }
    if (pthread_create(&server, NULL, serve, &server_poll) != 0) fail("pthread_create");

    /* Messages of 64 bytes on the loopback are never split: each is one segment, read whole. */
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < CONNECTIONS; i++)
        if (write(client[i].fd, buffer, MESSAGE) != MESSAGE) fail("write");
    for (long left = CONNECTIONS; left > 0;) {
        const int n = epoll_wait(poll, events, CONNECTIONS, -1);
        for (int i = 0; i < n; i++) {
            const uint32_t c = events[i].data.u32;
            if (read(client[c].fd, buffer, sizeof buffer) != MESSAGE) fail("read");
            if (--client[c].left == 0) left--;
            else if (write(client[c].fd, buffer, MESSAGE) != MESSAGE) fail("write");
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    for (int i = 0; i < CONNECTIONS; i++)
        if (close(client[i].fd) != 0) fail("close");
    if (pthread_join(server, NULL) != 0) fail("pthread_join");
    const double ns = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
    printf("echo\traw_epoll\t%.2f\tper message there and back, 50 connections\n", ns / (double)(rounds * CONNECTIONS));
    return 0;
}
