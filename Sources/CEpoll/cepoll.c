// Thin wrappers around epoll, eventfd and accept4; see include/CEpoll.h.
#define _GNU_SOURCE
#include "CEpoll.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

const uint32_t cepoll_in = EPOLLIN;
const uint32_t cepoll_out = EPOLLOUT;
const uint32_t cepoll_peer_closed = EPOLLRDHUP;
const uint32_t cepoll_failed = EPOLLHUP | EPOLLERR;
const uint32_t cepoll_edge = (uint32_t)EPOLLET;

int cepoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int cepoll_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int cepoll_accept(int listener, struct sockaddr *address, socklen_t *length) {
  return accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int cepoll_add(int epoll, int descriptor, uint32_t interest, uint64_t token) {
  struct epoll_event event = {.events = interest, .data.u64 = token};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

int cepoll_wait(int epoll, cepoll_event *events, int events_max, int milliseconds) {
  struct epoll_event ready[256];
  if (events_max > 256) events_max = 256;
  int count = epoll_wait(epoll, ready, events_max, milliseconds);
  for (int i = 0; i < count; i++) {
    events[i].ready = ready[i].events;
    events[i].token = ready[i].data.u64;
  }
  return count;
}
