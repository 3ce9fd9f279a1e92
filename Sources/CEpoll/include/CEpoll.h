// The kernel calls that Swift's Glibc module does not import: epoll, eventfd, accept4 (HTTP/Socket.swift is the only caller).
#ifndef CEPOLL_H
#define CEPOLL_H

#include <stdint.h>
#include <sys/socket.h>

// Readiness bits, as plain integers: the system's are an enum that imports awkwardly.
extern const uint32_t cepoll_in, cepoll_out, cepoll_peer_closed, cepoll_failed, cepoll_edge;

typedef struct {
  uint32_t ready;  // cepoll_* bits
  uint64_t token;  // what was given to cepoll_add
} cepoll_event;

// Each returns a descriptor, or minus one with errno set. All descriptors are close-on-exec and non-blocking.
int cepoll_create(void);
int cepoll_eventfd(void);
int cepoll_accept(int listener, struct sockaddr *address, socklen_t *length);

// Zero, or minus one with errno set.
int cepoll_add(int epoll, int descriptor, uint32_t interest, uint64_t token);

// Waits for at most `milliseconds` (minus one: without end); returns how many of `events` (at most 256) were filled.
int cepoll_wait(int epoll, cepoll_event *events, int events_max, int milliseconds);

#endif
