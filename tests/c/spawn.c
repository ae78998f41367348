/* SPDX-License-Identifier: Apache-2.0
 *
 * How the child of pyoci_spawn gets its descriptors, from clone3 to execveat: it shares this program's memory, so what it
 * writes outside of its own is seen here. The program is its own init: started with the name pyoci-init, it tells what
 * descriptors it has.
 */
#include "../../csrc/native/native_spawn.c"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"

enum { SPAN = 24 };

/* As init: says on its plan's descriptor (a pipe here) who each descriptor is, a byte each: the first byte of a memfd,
 * '.' for none, '?' for anything else. Close-on-exec ones are gone by now. */
static int tell(int out) {
    char told[SPAN];
    for (int fd = 0; fd < SPAN; fd++) {
        struct stat st;
        if (fstat(fd, &st) < 0)
            told[fd] = '.';
        else if (!S_ISREG(st.st_mode) || pread(fd, &told[fd], 1, 0) != 1)
            told[fd] = '?';
    }
    return write(out, told, sizeof(told)) == sizeof(told) ? 0 : 1;
}

static int named(char name) {
    int fd = memfd_create("named", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, &name, 1) == 1);
    return fd;
}

/* Spawns this program as init; the list is freed while the child may still work. Its status. */
static int spawned(const int *fds, uint32_t count, int plan, int sync) {
    int init = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), status;
    int *list = malloc(count * sizeof(int));
    CHECK(init >= 0 && list);
    memcpy(list, fds, count * sizeof(int));
    struct spawn args = {.init = init, .plan = plan, .count = count, .fds = list, .sync = sync};
    errno = ERANGE;
    CHECK(pyoci_spawn(&args) == 0 && args.pid > 0);
    free(list);
    close(init);
    CHECK(waitpid(args.pid, &status, 0) == args.pid);
    CHECK(errno == ERANGE); /* the child's failed calls are no business of ours */
    CHECK(fcntl(args.pidfd, F_GETFD) == FD_CLOEXEC);
    close(args.pidfd);
    return status;
}

static void told_by(const int *fds, uint32_t count, int plan, int out, char told[SPAN]) {
    CHECK(spawned(fds, count, plan, plan) == 0);
    CHECK(read(out, told, SPAN) == SPAN);
}

/* Random arrangements: numbers that overlap in every way, the same descriptor twice, holes. */
static void arrangements(void) {
    for (int round = 0; round < 40; round++) {
        int way[2], fds[12], source[12];
        char told[SPAN], expected[SPAN];
        uint32_t count = 4 + noise() % 8, plan = noise() % count;
        CHECK(pipe2(way, O_CLOEXEC) == 0);
        for (uint32_t i = 0; i < count; i++)
            source[i] = named((char)('a' + i));
        memset(expected, '.', sizeof(expected));
        for (uint32_t i = 0; i < count; i++) {
            uint32_t chosen = noise() % (count + 2);
            fds[i] = chosen < count ? source[chosen] : -1;
            expected[i] = chosen < count ? (char)('a' + chosen) : '.';
        }
        fds[plan] = way[1];
        expected[plan] = '?';
        told_by(fds, count, (int)plan, way[0], told);
        CHECK(memcmp(told, expected, SPAN) == 0);
        for (uint32_t i = 0; i < count; i++)
            close(source[i]);
        close(way[0]);
        close(way[1]);
    }
}

/* The child's own numbers are taken by others of ours: 0-2 exchanged, and the plan's where the program's was. */
static void crossed(void) {
    int way[2];
    char told[SPAN];
    CHECK(pipe2(way, O_CLOEXEC) == 0);
    int a = named('a'), b = named('b'), c = named('c');
    int low[3] = {dup(0), dup(1), dup(2)};
    dup2(a, 0);
    dup2(b, 1);
    dup2(c, 2);
    const int fds[] = {2, 0, 1, way[1], -1, 0, 0};
    told_by(fds, 7, 3, way[0], told);
    for (int i = 0; i < 3; i++) {
        dup2(low[i], i);
        close(low[i]);
    }
    CHECK(memcmp(told, "cab?.aa.................", SPAN) == 0);
    close(a);
    close(b);
    close(c);
    close(way[0]);
    close(way[1]);
}

/* As many as --preserve-fds may name: most of them holes, some where they are to be, some exchanged. */
static void thousands(void) {
    enum { COUNT = 9000, FAR = 8000 };
    static int fds[COUNT];
    struct rlimit limit;
    int way[2];
    char told[SPAN];
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_max < COUNT + 16) {
        fprintf(stderr, "the limit of descriptors (ulimit -Hn) is too small for this test\n");
        exit(1);
    }
    CHECK(pipe2(way, O_CLOEXEC) == 0);
    int a = named('a'), b = named('b');
    CHECK(dup3(a, FAR, O_CLOEXEC) == FAR && dup3(b, FAR + 1, O_CLOEXEC) == FAR + 1);
    for (int i = 0; i < COUNT; i++)
        fds[i] = i < 3 || (i > FAR + 1) ? -1 : i; /* most of these are not open: the child says so */
    CHECK(spawned(fds, COUNT, 3, 3) != 0);
    for (int i = 0; i < COUNT; i++)
        fds[i] = -1;
    fds[9] = FAR + 1, fds[FAR] = FAR + 1, fds[FAR + 1] = FAR, fds[COUNT - 1] = way[1], fds[10] = a, fds[a] = FAR;
    told_by(fds, COUNT, COUNT - 1, way[0], told);
    CHECK(a < 9 && told[9] == 'b' && told[10] == 'a' && told[a] == 'a' && told[11] == '.');
    close(FAR);
    close(FAR + 1);
    close(a);
    close(b);
    close(way[0]);
    close(way[1]);
}

/* Without room for the copies the child says so, instead of starting init with descriptors missing. */
static void no_room(void) {
    struct {
        struct sync_header header;
        struct sync_failure failure;
        char step[8];
    } said;
    struct rlimit limit, few;
    int pair[2], status;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    few = limit;
    for (few.rlim_cur = (rlim_t)pair[1] + 4; few.rlim_cur < (rlim_t)pair[1] + 8; few.rlim_cur++) {
        const int fds[20] = {0, 1, 2, 0, 0, pair[1]};
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        status = spawned(fds, 20, 3, 5);
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 127);
        CHECK(recv(pair[0], &said, sizeof(said), 0) == sizeof(said) - 5);
        CHECK(said.header.message == SYNC_FAILED && said.header.value == EMFILE);
        CHECK(said.header.size == sizeof(said.failure) + 3 && said.failure.step == 3);
        CHECK(memcmp(said.step, "dup", 3) == 0);
    }
    close(pair[0]);
    close(pair[1]);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[0], "pyoci-init") == 0)
        return tell(atoi(argv[1]));
    alarm(60);
    arrangements();
    crossed();
    thousands();
    no_room();
    return 0;
}
