/*
 * A tiny MCP server: what it costs is as little as can be, so that what is measured is the way to it.
 *   initialize           → a result
 *   tools/call           → {"content":[{"type":"text","text":"hi"}]}, or as much text as "size":N says
 *   "count":N            → N progress notifications first
 * It looks for the few words it needs and parses nothing else.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *in, *out;
static size_t in_size = 1 << 20, held = 0, out_size = 1 << 20;

static void put(const char *bytes, size_t n) {
  while (n > 0) {
    ssize_t w = write(1, bytes, n);
    if (w <= 0) exit(0);
    bytes += w;
    n -= (size_t)w;
  }
}

static long number(const char *line, size_t n, const char *key) {
  const char *at = memmem(line, n, key, strlen(key));
  return at == NULL ? -1 : atol(at + strlen(key));
}

static void answer(const char *line, size_t n) {
  long id = number(line, n, "\"id\":");
  if (id < 0) return;
  if (memmem(line, n < 200 ? n : 200, "\"initialize\"", 12) != NULL) {
    int w = sprintf(out, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{}},"
                         "\"serverInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}\n", id);
    put(out, (size_t)w);
    return;
  }
  long count = number(line, n, "\"count\":");
  for (long i = 1; i <= count; i++) {
    int w = sprintf(out, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":%ld,\"progress\":%ld}}\n", id, i);
    put(out, (size_t)w);
  }
  long size = number(line, n, "\"size\":");
  if (size < 0) size = 2;
  if (out_size < (size_t)size + 256) out = realloc(out, out_size = (size_t)size + 256);
  size_t w = (size_t)sprintf(out, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"", id);
  memset(out + w, 'x', (size_t)size);
  w += (size_t)size;
  w += (size_t)sprintf(out + w, "\"}]}}\n");
  put(out, w);
}

int main(void) {
  in = malloc(in_size);
  out = malloc(out_size);
  for (;;) {
    if (held == in_size) in = realloc(in, in_size *= 2);
    ssize_t r = read(0, in + held, in_size - held);
    if (r <= 0) return 0;
    size_t start = 0, from = held;
    held += (size_t)r;
    for (char *lf; (lf = memchr(in + from, '\n', held - from)) != NULL;) {
      size_t end = (size_t)(lf - in);
      answer(in + start, end - start);
      from = start = end + 1;
    }
    memmove(in, in + start, held - start);
    held -= start;
  }
}
