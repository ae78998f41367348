/* SPDX-License-Identifier: Apache-2.0
 *
 * The extension's C: how the child's descriptors are arranged, sockets at long paths, messages, signals, sealed files.
 * The program is its own init: started with the name pyoci-init, it tells what descriptors it has.
 */
#include "../../csrc/native/native.c"

#include <dirent.h>
#include <limits.h>
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

static void spawned(const int *fds, uint32_t count, int plan, int out, int sync, char told[SPAN]) {
    int init = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct spawn args = {.cgroup = -1, .init = init, .plan = plan, .count = count, .fds = fds, .sync = sync};
    int status;
    CHECK(init >= 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        become_init(&args);
    close(init);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
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
        spawned(fds, count, (int)plan, way[0], (int)plan, told);
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
    spawned(fds, 7, 3, way[0], 3, told);
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

/* Without room for the copies the child says so, instead of starting init with descriptors missing. */
static void no_room(void) {
    struct rlimit limit, few;
    int pair[2];
    char payload[256];
    struct sync_header header;
    CHECK(pyoci_socketpair(pair) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    few = limit;
    for (few.rlim_cur = (rlim_t)pair[1] + 2; few.rlim_cur < (rlim_t)pair[1] + 8; few.rlim_cur++) {
        int init = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), status;
        const int fds[] = {0, 1, 2, 2, pair[1]};
        struct spawn args = {.cgroup = -1, .init = init, .plan = 3, .count = 5, .fds = fds, .sync = 4};
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            setrlimit(RLIMIT_NOFILE, &few);
            become_init(&args);
        }
        close(init);
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 0);
        CHECK(pyoci_receive(pair[0], 1000, &header, payload, sizeof(payload)) >= 0);
        CHECK(header.message == SYNC_FAILED && header.value == EMFILE);
    }
    close(pair[0]);
    close(pair[1]);
}

static void long_paths(void) {
    char top[] = "/tmp/pyoci-native-XXXXXX", path[3 * PATH_MAX], name[120];
    int here = open(".", O_PATH | O_DIRECTORY);
    CHECK(mkdtemp(top) && here >= 0 && chdir(top) == 0);
    snprintf(path, sizeof(path), "%s", top);
    for (int i = 0; i < 12; i++) { /* far longer than sun_path */
        snprintf(name, sizeof(name), "%0100d", i);
        CHECK(mkdir(name, 0700) == 0 && chdir(name) == 0);
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
    }
    size_t length = strlen(path);
    strcpy(path + length, "/start.sock");
    CHECK(pyoci_connect(path) == -ENOENT);
    int listener = pyoci_listen(path);
    CHECK(listener >= 0 && pyoci_listen(path) == -EADDRINUSE);
    int one = pyoci_connect(path), other = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(one >= 0 && other >= 0);
    CHECK(fcntl(listener, F_GETFD) == FD_CLOEXEC && fcntl(one, F_GETFD) == FD_CLOEXEC);
    close(one);
    close(other);
    close(listener);
    CHECK(pyoci_connect(path) == -ECONNREFUSED);
    memset(path + length + 1, 's', 200); /* a name that sun_path cannot hold */
    path[length + 201] = '\0';
    CHECK(pyoci_listen(path) == -ENAMETOOLONG);
    memset(path, 'd', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    for (size_t i = 4090; i < 4102; i++) { /* around the longest directory */
        path[i] = '/';
        CHECK(pyoci_listen(path) < 0 && pyoci_connect(path) < 0);
        path[i] = 'd';
    }
    CHECK(pyoci_listen("name") == -EINVAL && pyoci_listen("") == -EINVAL && pyoci_connect("/") < 0);
    CHECK(fchdir(here) == 0);
    close(here);
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", top);
    CHECK(system(command) == 0);
}

static void messages(void) {
    int pair[2];
    struct sync_header header;
    static char payload[SYNC_BYTES + 1], raw[64];
    CHECK(pyoci_socketpair(pair) == 0);
    CHECK(pyoci_receive(pair[0], 0, &header, payload, 16) == -ETIMEDOUT);
    CHECK(pyoci_send(pair[1], SYNC_STATE, -7, "four", 4) >= 0);
    CHECK(pyoci_receive(pair[0], 1000, &header, payload, 16) == 4);
    CHECK(header.message == SYNC_STATE && header.value == -7 && memcmp(payload, "four", 4) == 0);
    CHECK(pyoci_send(pair[1], SYNC_STATE, 0, payload, SYNC_BYTES + 1) == -EMSGSIZE);
    CHECK(pyoci_send(pair[1], SYNC_STATE, 0, payload, SYNC_BYTES) >= 0);
    CHECK(pyoci_receive(pair[0], -1, &header, payload, 16) == -EBADMSG); /* more than there is room for */
    for (size_t size = 1; size < sizeof(header); size++) {
        CHECK(write(pair[1], raw, size) == (ssize_t)size);
        CHECK(pyoci_receive(pair[0], 1000, &header, payload, 16) == -EBADMSG);
    }
    struct sync_header wrong = {.message = SYNC_GO, .size = 0xffffffff};
    CHECK(write(pair[1], &wrong, sizeof(wrong)) == sizeof(wrong));
    CHECK(pyoci_receive(pair[0], 1000, &header, payload, 16) == -EBADMSG);
    close(pair[1]);
    CHECK(pyoci_receive(pair[0], -1, &header, payload, 16) == 0 && header.message == SYNC_NONE);
    CHECK(pyoci_send(pair[0], SYNC_GO, 0, NULL, 0) == -EPIPE);
    close(pair[0]);
}

static void signals(void) {
    const uint64_t set = 1 << (SIGUSR1 - 1) | 1 << (SIGPIPE - 1);
    int ends[2], fd = pyoci_signalfd(1 << (SIGUSR1 - 1));
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(pyoci_block_signals(set) == 0);
    CHECK(pyoci_take_signal(fd) == 0);
    CHECK(raise(SIGUSR1) == 0 && raise(SIGPIPE) == 0);
    CHECK(pipe(ends) == 0);
    CHECK(pyoci_wait_two(fd, ends[0]) == 1);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(pyoci_wait_two(fd, ends[0]) == 3);
    CHECK(pyoci_take_signal(fd) == SIGUSR1);
    CHECK(pyoci_take_signal(fd) == 0);
    CHECK(pyoci_wait_two(fd, ends[0]) == 2);
    CHECK(pyoci_take_signal(ends[1]) == -EBADF);
    CHECK(pyoci_signal_ignored(SIGUSR2) == 0);
    signal(SIGUSR2, SIG_IGN);
    CHECK(pyoci_signal_ignored(SIGUSR2) == 1);
    CHECK(pyoci_signal_default(SIGUSR2) == 0 && pyoci_signal_ignored(SIGUSR2) == 0);
    CHECK(pyoci_signal_ignored(1000) == -EINVAL && pyoci_signal_default(SIGKILL) == -EINVAL);
    close(fd);
    close(ends[0]);
    close(ends[1]);
}

static void sealed(void) {
    const char text[] = "a plan";
    struct stat st;
    int plan = pyoci_plan_memfd(text, sizeof(text));
    CHECK(plan >= 0 && fstat(plan, &st) == 0 && (size_t)st.st_size == sizeof(text));
    CHECK(pwrite(plan, "x", 1, 0) == -1 && errno == EPERM && ftruncate(plan, 0) == -1);
    close(plan);
    int init = pyoci_init_memfd("/proc/self/exe");
    struct stat own;
    CHECK(init >= 0 && fstat(init, &st) == 0 && stat("/proc/self/exe", &own) == 0 && st.st_size == own.st_size);
    CHECK(pwrite(init, "x", 1, 0) == -1 && ftruncate(init, 0) == -1);
    close(init);
    CHECK(pyoci_init_memfd("/no/such/program") == -ENOENT);
    CHECK(pyoci_init_memfd("/") == -EINVAL);
    struct rlimit limit, small; /* a copy that ends short is an error, and never a number of a descriptor */
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    small = limit;
    small.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    errno = 0;
    int cut = pyoci_init_memfd("/proc/self/exe");
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(cut < 0);
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[0], "pyoci-init") == 0)
        return tell(atoi(argv[1]));
    alarm(60);
    int before = open_descriptors();
    arrangements();
    crossed();
    no_room();
    long_paths();
    messages();
    signals();
    sealed();
    CHECK(open_descriptors() == before);
    return 0;
}
