/* SPDX-License-Identifier: Apache-2.0
 *
 * The extension's C: sockets at long paths, messages, signals, sealed files.
 */
#include "../../csrc/native/native.c"

#include <dirent.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"

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
    int32_t sender;
    struct sync_header header;
    static char payload[SYNC_BYTES + 1], raw[64];
    CHECK(pyoci_socketpair(pair) == 0);
    CHECK(pyoci_receive(pair[0], 0, &header, &sender, payload, 16) == -ETIMEDOUT);
    CHECK(pyoci_send(pair[1], SYNC_STATE, -7, "four", 4, -1) >= 0);
    CHECK(pyoci_receive(pair[0], 1000, &header, &sender, payload, 16) == 4);
    CHECK(header.message == SYNC_STATE && header.value == -7 && memcmp(payload, "four", 4) == 0);
    CHECK(pyoci_send(pair[1], SYNC_STATE, 0, payload, SYNC_BYTES + 1, -1) == -EMSGSIZE);
    CHECK(pyoci_send(pair[1], SYNC_STATE, 0, payload, SYNC_BYTES, -1) >= 0);
    CHECK(pyoci_receive(pair[0], -1, &header, &sender, payload, 16) == -EBADMSG); /* more than there is room for */
    for (size_t size = 1; size < sizeof(header); size++) {
        CHECK(write(pair[1], raw, size) == (ssize_t)size);
        CHECK(pyoci_receive(pair[0], 1000, &header, &sender, payload, 16) == -EBADMSG);
    }
    struct sync_header wrong = {.message = SYNC_GO, .size = 0xffffffff};
    CHECK(write(pair[1], &wrong, sizeof(wrong)) == sizeof(wrong));
    CHECK(pyoci_receive(pair[0], 1000, &header, &sender, payload, 16) == -EBADMSG);
    close(pair[1]);
    CHECK(pyoci_receive(pair[0], -1, &header, &sender, payload, 16) == 0 && header.message == SYNC_NONE);
    CHECK(pyoci_send(pair[0], SYNC_GO, 0, NULL, 0, -1) == -EPIPE);
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
    CHECK(pyoci_wait_two(fd, ends[0], -1) == 1);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(pyoci_wait_two(fd, ends[0], 1000) == 3);
    CHECK(pyoci_take_signal(fd) == SIGUSR1);
    CHECK(pyoci_take_signal(fd) == 0);
    CHECK(pyoci_wait_two(fd, ends[0], -1) == 2);
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

int main(void) {
    alarm(60);
    int before = open_descriptors();
    long_paths();
    messages();
    signals();
    sealed();
    CHECK(open_descriptors() == before);
    return 0;
}
