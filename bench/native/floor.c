/*
 * The floor: the same three processes as mcpgate's, joined by the same pipes and TCP connections, and nothing in them:
 * no TLS, no framing, no gate. What it costs is the wake-ups and the copies alone.
 *   floor proxy PORT_CLIENT PORT_AGENT     pairs each client with the next agent connection
 *   floor agent PORT_AGENT COMMAND…        one connection and one server
 *   floor client PORT_CLIENT               stdin and stdout
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char buffer[1 << 18];

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

static int no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static int dial(int port) {
  struct sockaddr_in a = loopback(port);
  for (int i = 0; i < 200; i++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return no_delay(fd);
    close(fd);
    usleep(5000);
  }
  exit(1);
}

static int listen_on(int port) {
  struct sockaddr_in a = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 16) != 0) exit(1);
  return fd;
}

static int copy(int from, int to) {
  ssize_t n = read(from, buffer, sizeof buffer);
  if (n <= 0) return 0;
  for (ssize_t done = 0; done < n;) {
    ssize_t w = write(to, buffer + done, (size_t)(n - done));
    if (w <= 0) return 0;
    done += w;
  }
  return 1;
}

/* Until either side ends. */
static void relay(int in_a, int out_a, int in_b, int out_b) {
  struct pollfd fds[2] = {{in_a, POLLIN, 0}, {in_b, POLLIN, 0}};
  for (;;) {
    if (poll(fds, 2, -1) < 0) return;
    if (fds[0].revents && !copy(in_a, out_b)) return;
    if (fds[1].revents && !copy(in_b, out_a)) return;
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  if (argc >= 3 && strcmp(argv[1], "client") == 0) {
    int fd = dial(atoi(argv[2]));
    relay(0, 1, fd, fd);
    return 0;
  }
  if (argc >= 4 && strcmp(argv[1], "proxy") == 0) {
    int clients = listen_on(atoi(argv[2])), agents = listen_on(atoi(argv[3]));
    for (;;) {
      int agent = no_delay(accept(agents, NULL, NULL)), client = no_delay(accept(clients, NULL, NULL));
      relay(client, client, agent, agent);
      close(client);
      close(agent);
    }
  }
  if (argc >= 4 && strcmp(argv[1], "agent") == 0) {
    for (;;) {
      int fd = dial(atoi(argv[2])), in[2], out[2];
      if (pipe(in) != 0 || pipe(out) != 0) return 1;
      pid_t pid = fork();
      if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int i = 3; i < 64; i++) close(i);
        execvp(argv[3], argv + 3);
        _exit(127);
      }
      close(in[0]);
      close(out[1]);
      relay(out[0], in[1], fd, fd);
      close(fd);
      close(in[1]);
      close(out[0]);
      kill(pid, SIGKILL);
    }
  }
  return 2;
}
