/*
 * A vfio-user client that reads a register, and a blocking echo to compare with.
 *
 *   region-read echo SOCKET                    answers each 32-byte request with 36 bytes, one read and one write each
 *   region-read client SOCKET hello|raw DEPTH MS   reads for MS milliseconds, DEPTH requests at a time
 *
 * The client prints the nanoseconds one read takes. "raw" leaves out VERSION: the echo knows no commands.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct header {
    uint16_t msg_id, cmd;
    uint32_t msg_size, flags, error_no;
};
struct access {
    uint64_t offset;
    uint32_t region, count;
};
struct request {
    struct header header;
    struct access access;
};
struct reply {
    struct header header;
    struct access access;
    uint8_t data[4];
};
enum { REQUEST_BYTES = 32, REPLY_BYTES = 36, MAX_DEPTH = 256 };

_Static_assert(sizeof(struct request) == REQUEST_BYTES, "layout");

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void read_all(int fd, void *into, size_t count)
{
    for (char *at = into; count > 0;) {
        ssize_t got = read(fd, at, count);
        if (got <= 0)
            fail("read");
        at += got;
        count -= got;
    }
}

static void write_all(int fd, const void *from, size_t count)
{
    for (const char *at = from; count > 0;) {
        ssize_t put = write(fd, at, count);
        if (put < 0)
            fail("write");
        at += put;
        count -= put;
    }
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    return address;
}

static void echo(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1))
        fail("bind");
    puts("ready");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        char request[REQUEST_BYTES], reply[REPLY_BYTES] = {0};
        while (read(fd, request, sizeof(request)) == sizeof(request)) {
            memcpy(reply, request, sizeof(request));
            write_all(fd, reply, sizeof(reply));
        }
        close(fd);
    }
}

static void negotiate(int fd)
{
    static const char json[] = "{\"capabilities\":{\"max_msg_fds\":8}}";
    struct {
        struct header header;
        uint16_t major, minor;
        char json[sizeof(json)];
    } __attribute__((packed)) version = {{1, 1, sizeof(version), 0, 0}, 0, 1, ""};
    struct header header;
    char rest[4096];

    memcpy(version.json, json, sizeof(json));
    write_all(fd, &version, sizeof(version));
    read_all(fd, &header, sizeof(header));
    if (header.flags != 1)
        fail("VERSION");
    read_all(fd, rest, header.msg_size - sizeof(header));
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int client(const char *path, int hello, int depth, int ms)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    static struct request requests[MAX_DEPTH];
    static char replies[MAX_DEPTH * REPLY_BYTES];
    uint64_t count = 0, start, end;

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
        fail("connect");
    if (hello)
        negotiate(fd);
    for (int i = 0; i < depth; i++)
        requests[i] = (struct request){{i, 9, REQUEST_BYTES, 0, 0}, {0, 0, 4}};
    for (int i = 0; i < 2000 / depth; i++) { /* warm up */
        write_all(fd, requests, depth * REQUEST_BYTES);
        read_all(fd, replies, depth * REPLY_BYTES);
    }
    start = now_ns();
    do {
        for (int i = 0; i < 50; i++) {
            write_all(fd, requests, depth * REQUEST_BYTES);
            read_all(fd, replies, depth * REPLY_BYTES);
        }
        count += 50 * depth;
        end = now_ns();
    } while (end - start < ms * 1000000ull);
    printf("%.1f\n", (double)(end - start) / count);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "echo"))
        echo(argv[2]);
    if (argc == 6 && !strcmp(argv[1], "client") && atoi(argv[4]) >= 1 && atoi(argv[4]) <= MAX_DEPTH)
        return client(argv[2], !strcmp(argv[3], "hello"), atoi(argv[4]), atoi(argv[5]));
    fprintf(stderr, "usage: region-read echo SOCKET | client SOCKET hello|raw DEPTH MS\n");
    return 2;
}
