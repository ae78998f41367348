/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of init that read what others wrote: sync messages, the image's passwd, what a hook printed. All of init is
 * in this program, so that each runs as it is.
 */
#define main init_main
#include "../../csrc/init/console.c"
#include "../../csrc/init/copyup.c"
#include "../../csrc/init/files.c"
#include "../../csrc/init/hook.c"
#include "../../csrc/init/main.c"
#include "../../csrc/init/mount.c"
#include "../../csrc/init/namespaces.c"
#include "../../csrc/init/plan.c"
#include "../../csrc/init/process.c"
#include "../../csrc/init/procfs.c"
#include "../../csrc/init/resolve.c"
#include "../../csrc/init/rootfs.c"
#include "../../csrc/init/sync.c"
#undef main

#include <linux/memfd.h>
#include <sys/socket.h>

#include "check.h"

static struct init init = {.root = -1};

/* --- sync messages ------------------------------------------------------------------------------------------------ */

static int pair[2];

static void post(const void *bytes, size_t size) {
    CHECK(send(pair[0], bytes, size, 0) == (ssize_t)size);
}

static void messages(void) {
    static char large[sizeof(struct sync_header) + SYNC_BYTES + 16];
    struct sync_header *header = (void *)large;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);

    CHECK(sync_send(pair[0], SYNC_STATE, 0, "{}", 2) == 0);
    CHECK(sync_receive(&init, pair[1]) == SYNC_STATE && strcmp(init.state, "{}") == 0);
    CHECK(sync_send(pair[0], SYNC_GO, 0, NULL, 0) == 0);
    CHECK(sync_receive(&init, pair[1]) == SYNC_GO && strcmp(init.state, "{}") == 0); /* no payload: the old one stays */

    for (size_t size = 1; size < sizeof(*header); size++) { /* short */
        post(large, size);
        CHECK(sync_receive(&init, pair[1]) == -1 && errno == EBADMSG);
    }
    header->message = SYNC_GO;
    const uint32_t wrong[] = {1, 3, 5, SYNC_BYTES, SYNC_BYTES + 1, 0x7fffffff, 0xfffffff0, 0xffffffff};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) { /* a size that is not the payload's */
        header->size = wrong[i];
        post(large, sizeof(*header) + 4);
        CHECK(sync_receive(&init, pair[1]) == -1 && errno == EBADMSG);
    }
    memset(large + sizeof(*header), 'x', SYNC_BYTES + 16);
    header->size = SYNC_BYTES; /* the longest */
    post(large, sizeof(*header) + SYNC_BYTES);
    CHECK(sync_receive(&init, pair[1]) == SYNC_GO && strlen(init.state) == SYNC_BYTES);
    for (uint32_t more = 1; more <= 16; more++) { /* too long: its end does not arrive */
        header->size = SYNC_BYTES + more;
        post(large, sizeof(*header) + SYNC_BYTES + more);
        CHECK(sync_receive(&init, pair[1]) == -1 && errno == EBADMSG);
    }
    close(pair[0]);
    CHECK(sync_receive(&init, pair[1]) == 0);
    CHECK(sync_send(pair[1], SYNC_GO, 0, NULL, 0) == -1 && errno == EPIPE);
    close(pair[1]);
    init.state = NULL;
}

/* SYNC_GO with a descriptor. */
static void send_with(int fd, int passed) {
    struct sync_header header = {.message = SYNC_GO};
    struct iovec part = {&header, sizeof(header)};
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(head), &passed, sizeof(int));
    CHECK(sendmsg(fd, &msg, 0) == sizeof(header));
}

/* The longest of all texts of a failure fit in one message. */
static void failures(void) {
    static struct plan_op op = {.kind = PLAN_EXECVE, .where = 1};
    static char strings[2000], payload[8192], path[1000];
    struct {
        struct sync_header header;
        struct sync_failure failure;
        char texts[4096];
    } got;
    memset(strings + 1, 'w', sizeof(strings) - 2);
    memset(path, 'p', sizeof(path) - 1);
    init.op = &op;
    init.strings = strings;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    init.report = pair[0];
    memset(payload, 'd', sizeof(payload) - 1);
    CHECK(fail_with(&init, "step", path, ENOENT, payload) == -1);
    CHECK(sync_send_failure(&init) == 0);
    CHECK(recv(pair[1], &got, sizeof(got), 0) == (ssize_t)(sizeof(got.header) + got.header.size));
    CHECK(got.header.message == SYNC_FAILED && got.header.value == ENOENT && got.failure.kind == PLAN_EXECVE);
    CHECK(got.failure.step == 4 && got.failure.path == 511 && got.failure.where == 512 && got.failure.detail == 511);
    CHECK(got.header.size == sizeof(got.failure) + 4 + 511 + 512 + 511);
    CHECK(memcmp(got.texts, "stepppp", 7) == 0);
    CHECK(fail(&init, "step", NULL) == -1 && sync_send_failure(&init) == 0);
    CHECK(recv(pair[1], &got, sizeof(got), 0) > 0 && got.failure.path == 0 && got.failure.detail == 0);
    /* Where a filter may forbid to send it, it is written to memory that the runtime gave: the same message. */
    int words = memfd_create("words", 0);
    CHECK(words >= 0 && ftruncate(words, SYNC_REPORT_BYTES) == 0);
    send_with(pair[1], words);
    CHECK(sync_receive(&init, pair[0]) == SYNC_GO && init.report_memory);
    CHECK(fail_with(&init, "step", path, ENOENT, payload) == -1 && sync_send_failure(&init) == 0);
    CHECK(recv(pair[1], &got, sizeof(got), MSG_DONTWAIT) == -1 && errno == EAGAIN);
    CHECK(pread(words, &got, sizeof(got), 0) == SYNC_REPORT_BYTES);
    CHECK(got.header.message == SYNC_FAILED && got.header.value == ENOENT && got.failure.path == 511);
    CHECK(sizeof(got.header) + got.header.size < SYNC_REPORT_BYTES && memcmp(got.texts, "stepppp", 7) == 0);
    munmap(init.report_memory, SYNC_REPORT_BYTES);
    init.report_memory = NULL;
    close(words);
    close(pair[0]);
    close(pair[1]);
}

/* --- passwd ------------------------------------------------------------------------------------------------------- */

static const char *home_of(const char *passwd, long uid) {
    static char copy[4096];
    char *text = strdup(passwd), *home = NULL;
    CHECK(text);
    bool found = find_home(text, uid, &home);
    CHECK(found == (home != NULL));
    if (found)
        snprintf(copy, sizeof(copy), "%s", home);
    free(text);
    return found ? copy : NULL;
}

static bool is(const char *one, const char *other) {
    return one && other ? strcmp(one, other) == 0 : one == other;
}

static void homes(void) {
    const struct {
        const char *passwd;
        long uid;
        const char *home;
    } cases[] = {
        {"root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n", 1000, "/home/u"},
        {"u:x:7:7::/home/u:/bin/sh", 7, "/home/u"},  /* no newline at the end */
        {"1000:x:0:0::/root:/bin/sh\n", 1000, NULL}, /* CVE-2016-3697 */
        {"u:x:7:7::", 7, ""},
        {"u:x:7:7:", 7, NULL},
        {"u:x:7", 7, NULL},
        {"", 0, NULL},
        {"\n\n\n", 0, NULL},
        {":::::::\n", 0, NULL}, /* an empty number is not 0 */
        {"::::::\n::0:::/h\n", 0, "/h"},
        {"a:x:0x0:0::/a:\nb:x: :0::/b:\nc:x:0 :0::/c:\nd:x:0;:0::/d:\ne:x:0:0::/e:\n", 0, "/e"},
        {"a:x:4294967296:0::/a:\n", 0, NULL},
        {"a:x:18446744073709551616:0::/a:\n", 0, NULL},
        {"a:x:99999999999999999999999999:0::/a:\n", 4294967294, NULL},
        {"a:x:4294967294:0::/a:\n", 4294967294, "/a"},
        {"a:x:5:5:::\n", 5, ""},
        {"a:x:5:5:g:/h:/s:more:fields\n", 5, "/h"},
        {"\xff\xfe:x:5:5:\x80:/\xc3\x28:\n", 5, "/\xc3\x28"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (!is(home_of(cases[i].passwd, cases[i].uid), cases[i].home)) {
            fprintf(stderr, "find_home: case %zu: %s\n", i, home_of(cases[i].passwd, cases[i].uid));
            exit(1);
        }
    static char line[200000];
    memset(line, ':', sizeof(line) - 1);
    CHECK(!home_of(line, 0));
    memset(line, 'x', sizeof(line) - 1);
    CHECK(!home_of(line, 0));
    for (int round = 0; round < 20000; round++) {
        char text[64];
        size_t size = noise() % sizeof(text);
        for (size_t i = 0; i < size; i++)
            text[i] = "0:1:\n:x:/:"[noise() % 10];
        text[size < sizeof(text) ? size : sizeof(text) - 1] = '\0';
        home_of(text, (long)(noise() % 2));
    }
}

/* --- hooks -------------------------------------------------------------------------------------------------------- */

/* What last_line says of a text that came through a pipe, in pieces of `piece` bytes. */
static const char *last_of(const char *printed, size_t size, size_t piece, size_t room) {
    static char line[512];
    struct tail *tail = calloc(1, sizeof(*tail));
    int ends[2];
    CHECK(tail && pipe2(ends, O_NONBLOCK) == 0);
    for (size_t at = 0; at < size; at += piece) {
        size_t part = size - at < piece ? size - at : piece;
        CHECK(write(ends[1], printed + at, part) == (ssize_t)part && read_tail(ends[0], tail));
        CHECK(tail->size <= sizeof(tail->bytes));
    }
    CHECK(read_tail(ends[0], tail)); /* nothing there, and no end */
    close(ends[1]);
    CHECK(!read_tail(ends[0], tail));
    char *exact = malloc(room); /* of just this size, for AddressSanitizer to see what goes over it */
    CHECK(exact);
    last_line(tail, exact, room);
    CHECK(strlen(exact) < room);
    snprintf(line, sizeof(line), "%s", exact);
    free(exact);
    free(tail);
    close(ends[0]);
    return line;
}

static void hook_output(void) {
    static char many[20000];
    memset(many, '\n', sizeof(many));
    CHECK(is(last_of("", 0, 1, 200), "") && is(last_of("one\n", 4, 9, 200), "one"));
    CHECK(is(last_of("one\ntwo\n\n\n", 10, 3, 200), "two") && is(last_of("\n", 1, 1, 200), ""));
    CHECK(is(last_of("a\nb", 3, 1, 200), "b") && is(last_of("abcdef", 6, 2, 4), "abc"));
    CHECK(is(last_of("abcdef", 6, 6, 1), "") && is(last_of("abcdef", 6, 4, 7), "abcdef"));
    CHECK(is(last_of(many, sizeof(many), 4096, 200), "") && is(last_of("a\0b\n", 4, 9, 200), "a"));
    memset(many, 'x', sizeof(many));
    CHECK(strlen(last_of(many, sizeof(many), 4000, 200)) == 199);
    memcpy(many + sizeof(many) - 5, "\nend\n", 5);
    CHECK(is(last_of(many, sizeof(many), 1000, 200), "end") && is(last_of(many, sizeof(many), 4096, 200), "end"));
    for (int round = 0; round < 5000; round++) {
        size_t size = noise() % 300;
        for (size_t i = 0; i < size; i++)
            many[i] = "ab\n\n\0"[noise() % 5];
        last_of(many, size, 1 + noise() % 300, 1 + noise() % 250);
    }
}

static int hook_of(const char *script, int timeout) {
    char argv[1024] = "3\0sh\0-c";
    snprintf(argv + sizeof("3\0sh\0-c"), 500, "%s", script);
    const struct op_hook hook = {
        .path = script[0] == '/' ? script : "/bin/sh", .args = argv, .env = "", .timeout = (uint64_t)timeout};
    memset(&init.failure, 0, sizeof(init.failure));
    return op_hook(&init, &hook);
}

static void hooks(void) {
    struct rlimit limit, few;
    static char state[] = "{\"id\": \"x\"}";
    init.state = state;
    int kept = dup(2), null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    CHECK(hook_of("test \"$(cat)\" = '{\"id\": \"x\"}'", 0) == 0);
    CHECK(hook_of("echo first >&2; echo reason >&2; exit 3", 0) == -1);
    CHECK(is(init.failure.detail, "exit status 3: reason"));
    CHECK(hook_of("echo reason; exit 3", 0) == -1 && is(init.failure.detail, "exit status 3: reason"));
    CHECK(hook_of("head -c 9999999 /dev/zero; echo; echo reason; exit 3", 0) == -1);
    CHECK(is(init.failure.detail, "exit status 3: reason"));
    CHECK(hook_of("yes & exit 0", 0) == 0);
    CHECK(hook_of("yes & yes", 50) == -1 && strncmp(init.failure.detail, "no end after 50 ms", 18) == 0);
    CHECK(hook_of("kill -9 $$", 0) == -1 && is(init.failure.detail, "killed by signal 9"));
    CHECK(hook_of("sleep 60 & sleep 60", 50) == -1 && is(init.failure.detail, "no end after 50 ms, killed"));
    CHECK(hook_of("/no/such/hook", 0) == -1 && init.failure.error == ENOENT);
    /* With few descriptors left it may fail, but it ends, and takes none along. */
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    few = limit;
    for (few.rlim_cur = 5; few.rlim_cur < 14; few.rlim_cur++) {
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        hook_of("true", 0);
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    CHECK(hook_of("true", 0) == 0);
    dup2(kept, 2);
    close(kept);
    close(null);
    init.state = NULL;
}

/* --- tmpcopyup ---------------------------------------------------------------------------------------------------- */

static void make_file(const char *path, off_t hole, size_t data) {
    char bytes[20000];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);
    memset(bytes, 'd', sizeof(bytes));
    CHECK(fd >= 0 && lseek(fd, hole, SEEK_SET) == hole && write(fd, bytes, data) == (ssize_t)data);
    close(fd);
}

/* Copies the directory `from` to a new one, of at most `most` bytes. */
static int copied(const char *from, uint64_t most) {
    static int number;
    char to[64];
    snprintf(to, sizeof(to), "%s.copy%d", from, number++);
    CHECK(mkdir(to, 0700) == 0);
    init.root = open(from, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int tree = open(to, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(init.root >= 0 && tree >= 0);
    memset(&init.failure, 0, sizeof(init.failure));
    int done = copy_up(&init, tree, "/", most);
    close(tree);
    close(init.root);
    init.root = -1;
    return done;
}

static void copies(void) {
    char top[] = "/tmp/copyup-XXXXXX", command[128];
    struct stat st;
    CHECK(mkdtemp(top) && chdir(top) == 0 && mkdir("from", 0700) == 0 && mkdir("from/deep", 0711) == 0);
    make_file("from/plain", 0, 10000);
    make_file("from/deep/sparse", 1LL << 40, 5000);
    CHECK(mkfifo("from/pipe", 0600) == 0);

    CHECK(copied("from", 1 << 20) == 0);
    CHECK(stat("from.copy0/deep/sparse", &st) == 0 && st.st_size == (1LL << 40) + 5000 && st.st_blocks < 100);
    CHECK(stat("from.copy0/plain", &st) == 0 && st.st_size == 10000 && (st.st_mode & 07777) == 0640);
    CHECK(stat("from.copy0/pipe", &st) < 0 && errno == ENOENT);

    const uint64_t needed = 4 * ENTRY_COST + 10000 + 5000, page = 4096; /* a hole ends where a page does */
    CHECK(copied("from", needed + 2 * page) == 0);
    CHECK(copied("from", needed - page) < 0 && init.failure.error == EFBIG);
    CHECK(strstr(init.failure.detail, "more to copy than 0 MiB"));
    CHECK(copied("from", ENTRY_COST - 1) < 0 && init.failure.error == EFBIG);
    CHECK(copied("from", 0) < 0 && init.failure.error == EFBIG);
    snprintf(command, sizeof(command), "rm -r %s", top);
    CHECK(chdir("/") == 0 && system(command) == 0);
}

int main(void) {
    alarm(60); /* a wait without an end is a failure too */
    messages();
    failures();
    homes();
    hook_output();
    hooks();
    copies();
    return 0;
}
