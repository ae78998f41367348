/* SPDX-License-Identifier: Apache-2.0
 *
 * init's side of the protocol in plan.h.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "init.h"
#include "sys.h"

int sync_send(int fd, enum sync_message message, int32_t value, const void *payload, size_t size) {
    struct sync_header header = {.message = message, .value = value, .size = (uint32_t)size};
    struct iovec parts[2] = {{&header, sizeof(header)}, {(void *)payload, size}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent = -1;
    errno = EINTR;
    for (int tries = 0; sent < 0 && errno == EINTR && tries < TRIES; tries++)
        sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
    if (sent >= 0 && sent != (ssize_t)(sizeof(header) + size)) /* a filter reported success without sending */
        return errno = EPROTO, -1;
    return sent < 0 ? -1 : 0;
}

int send_descriptor(int socket, const char *name, int fd) {
    struct iovec part = {(void *)name, strlen(name)};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    return sendmsg(socket, &msg, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int sync_send_failure(const struct init *init) {
    const struct plan_op *op = init->op;
    const char *texts[4] = {init->failure.step, init->failure.path, init->strings + op->where, init->failure.detail};
    char payload[sizeof(struct sync_failure) + 2048];
    struct sync_failure failure = {.op_index = init->index, .kind = op->kind};
    uint32_t *lengths[4] = {&failure.step, &failure.path, &failure.where, &failure.detail};
    size_t size = sizeof(failure);
    for (int i = 0; i < 4; i++) {
        size_t length = strnlen(texts[i], 512);
        memcpy(payload + size, texts[i], length);
        *lengths[i] = (uint32_t)length;
        size += length;
    }
    memcpy(payload, &failure, sizeof(failure));
    if (!init->report_memory)
        return sync_send(init->report, SYNC_FAILED, init->failure.error, payload, size);
    const struct sync_header header = {SYNC_FAILED, init->failure.error, (uint32_t)size};
    memcpy(init->report_memory + sizeof(header), payload, size);
    memcpy(init->report_memory, &header, sizeof(header));
    return 0;
}

/* Maps the memory for a failure report. Without it, the report is sent, which may work too. */
static void map_report_memory(struct init *init, int fd) {
    char *memory = mmap(NULL, SYNC_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    init->report_memory = memory == MAP_FAILED ? NULL : memory;
}

int sync_receive(struct init *init, int fd) {
    static char payload[SYNC_BYTES + 1]; /* allocates no memory: a seccomp filter may be in force */
    struct sync_header header;
    struct iovec parts[2] = {{&header, sizeof(header)}, {payload, SYNC_BYTES}};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t got = -1;
    errno = EINTR;
    for (int tries = 0; got < 0 && errno == EINTR && tries < TRIES; tries++)
        got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *came = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (came && came->cmsg_type == SCM_RIGHTS && came->cmsg_len == CMSG_LEN(sizeof(int)))
        map_report_memory(init, *(const int *)CMSG_DATA(came));
    if (got < (ssize_t)sizeof(header) || header.size != (size_t)got - sizeof(header)) {
        if (got > 0)
            errno = EBADMSG;
        return got == 0 ? 0 : -1;
    }
    if (header.size) {
        payload[header.size] = '\0';
        init->state = payload;
    }
    return (int)header.message;
}

int op_sync(struct init *init, const struct op_sync *args) {
    if (args->message == SYNC_STARTING) /* the process of an exec outlives the runtime */
        prctl(PR_SET_PDEATHSIG, 0);
    if (sync_send(init->report, (enum sync_message)args->message, 0, NULL, 0) < 0)
        return fail(init, "sendmsg", "sync");
    int answer = sync_receive(init, init->report);
    if (answer < 0)
        return fail(init, "recvmsg", "sync");
    if (answer != SYNC_GO && answer != SYNC_STATE)
        leave(1); /* the runtime died, or gave up and knows why */
    return 0;
}

int op_close_range(struct init *init, const struct op_close_range *args) {
    (void)args;
    /* In the order of their numbers (struct plan_fds): preserved, plan, sync, start. */
    unsigned int sync = (unsigned)init->header->fds.sync, last = sync;
    if (init->header->fds.start > 0)
        last = (unsigned)init->header->fds.start;
    if (close_range_(3 + (unsigned)init->header->fds.preserve, sync - 1, 0) < 0 || close_range_(last + 1, ~0U, 0) < 0)
        return fail(init, "close_range", "");
    init->root = -1;
    return 0;
}

/* Waits for a start that completes. Its connection replaces the sync socket. */
static int wait_for_start(struct init *init) {
    int listener = init->header->fds.start, connection;
    do {
        connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0 && errno != EINTR && errno != ECONNABORTED)
            leave(1);
        /* A start that disconnects without a message (it was killed), or before the answer (init was stopped too long),
         * does not count. The socket's file still exists. */
        if (connection >= 0 &&
            (sync_receive(init, connection) != SYNC_START || sync_send(connection, SYNC_STARTING, 0, NULL, 0) < 0)) {
            close(connection);
            connection = -1;
        }
    } while (connection < 0);
    close(listener);
    init->report = connection;
    if (sync_receive(init, connection) != SYNC_GO)
        leave(1);
    return 0;
}

int op_created(struct init *init, const struct op_created *args) {
    (void)args;
    /* A seccomp filter that is already in force must allow the system calls of start: report a refusal now. */
    if (accept4(-1, NULL, NULL, SOCK_CLOEXEC) >= 0)
        return fail_with(init, "accept4", "sync", EPERM, "the seccomp filter answers for it");
    if (errno != EBADF)
        return fail(init, "accept4", "sync");
    if (syscall(SYS_recvmsg, -1, NULL, 0) < 0 && errno != EBADF)
        return fail(init, "recvmsg", "sync");
    /* From here on, only the end of the socket tells that the runtime died: it may exit right after its answer. */
    prctl(PR_SET_PDEATHSIG, 0);
    if (sync_send(init->report, SYNC_CREATED, 0, NULL, 0) < 0)
        return fail(init, "sendmsg", "sync");
    int answer = sync_receive(init, init->report);
    if (answer < 0)
        return fail(init, "recvmsg", "sync");
    if (answer != SYNC_GO && answer != SYNC_START)
        leave(1);
    /* run: the same runtime starts the container, over the same socket */
    close(answer == SYNC_START ? init->header->fds.start : init->report);
    return answer == SYNC_START ? 0 : wait_for_start(init);
}
