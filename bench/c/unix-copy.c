/*
 * Copies bytes over AF_UNIX stream sockets and prints "SECONDS CPU-SECONDS".
 *
 *     unix-copy HOPS MIB
 *
 * HOPS processes in a row each receive from the one before, the first from a sender: 1 is a plain copy from one
 * process to another, 2 has a process in the middle, as a migration client between two servers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1 << 20)

static char buffer[CHUNK];

static void send_all(int fd, size_t size) {
  for (size_t at = 0; at < size;) {
    ssize_t count = send(fd, buffer + at, size - at, 0);
    if (count <= 0) {
      perror("send");
      exit(1);
    }
    at += (size_t)count;
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int hops = atoi(argv[1]);
  size_t total = (size_t)atol(argv[2]) << 20;
  struct timespec start, end;
  struct rusage own, others;
  int in = -1;

  memset(buffer, 0x5a, CHUNK);
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int hop = 0; hop < hops; hop++) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return 1;
    pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      close(ends[0]);
      if (in < 0) {
        for (size_t sent = 0; sent < total; sent += CHUNK) send_all(ends[1], CHUNK);
      } else {
        ssize_t count;
        while ((count = recv(in, buffer, CHUNK, 0)) > 0) send_all(ends[1], (size_t)count);
      }
      _exit(0);
    }
    close(ends[1]);
    if (in >= 0) close(in);
    in = ends[0];
  }
  size_t received = 0;
  for (ssize_t count; (count = recv(in, buffer, CHUNK, 0)) > 0;) received += (size_t)count;
  while (wait(NULL) > 0) continue;
  clock_gettime(CLOCK_MONOTONIC, &end);
  if (received != total) return 1;

  getrusage(RUSAGE_SELF, &own);
  getrusage(RUSAGE_CHILDREN, &others);
#define CPU(u) ((u).ru_utime.tv_sec + (u).ru_stime.tv_sec + ((u).ru_utime.tv_usec + (u).ru_stime.tv_usec) / 1e6)
  printf("%.6f %.6f\n", (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9,
         (double)CPU(own) + (double)CPU(others));
  return 0;
}
