/* SPDX-License-Identifier: Apache-2.0
 *
 * init's side of the talk drawn in plan.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
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
    ssize_t sent;
    do
        sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : 0;
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
    return sync_send(init->report, SYNC_FAILED, init->failure.error, payload, size);
}

int sync_receive(struct init *init, int fd) {
    struct sync_header header;
    char *payload = malloc(SYNC_BYTES + 1);
    if (!payload)
        return -1;
    struct iovec parts[2] = {{&header, sizeof(header)}, {payload, SYNC_BYTES}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t got;
    do
        got = recvmsg(fd, &msg, 0);
    while (got < 0 && errno == EINTR);
    if (got < (ssize_t)sizeof(header) || header.size != (size_t)got - sizeof(header)) {
        free(payload);
        if (got > 0)
            errno = EBADMSG;
        return got == 0 ? 0 : -1;
    }
    if (header.size) {
        payload[header.size] = '\0';
        free(init->state);
        init->state = payload;
    } else {
        free(payload);
    }
    return (int)header.message;
}

int op_sync(struct init *init, const struct op_sync *args) {
    if (args->message == SYNC_STARTING) /* an exec's process outlives the runtime that began it */
        prctl(PR_SET_PDEATHSIG, 0);
    if (sync_send(init->report, (enum sync_message)args->message, 0, NULL, 0) < 0)
        return fail(init, "sendmsg", "sync");
    int answer = sync_receive(init, init->report);
    if (answer != SYNC_GO && answer != SYNC_STATE)
        _exit(1); /* the runtime has gone, or gave up: it knows why */
    return 0;
}

/* Closes all that init opened, but for the process's own descriptors and `keep`. */
static void close_but(const struct init *init, unsigned int keep) {
    unsigned int first = 3 + (unsigned)init->header->fds.preserve;
    if (keep > first)
        close_range_(first, keep - 1, 0);
    close_range_(keep + 1, ~0U, 0);
}

int op_created(struct init *init, const struct op_created *args) {
    (void)args;
    int listener = init->header->fds.start;
    /* From here on the end of the socket alone says that the runtime died: it may end right after its answer. */
    prctl(PR_SET_PDEATHSIG, 0);
    if (sync_send(init->report, SYNC_CREATED, 0, NULL, 0) < 0)
        _exit(1);
    int answer = sync_receive(init, init->report);
    if (answer != SYNC_GO && answer != SYNC_START)
        _exit(1);
    close_but(init, (unsigned)(answer == SYNC_START ? init->report : listener));
    init->root = -1;
    if (answer == SYNC_START) /* run: who created us starts us, and hears of it by the same socket */
        return 0;

    int connection;
    for (;;) {
        connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0 && errno != EINTR && errno != ECONNABORTED)
            _exit(1);
        if (connection < 0)
            continue;
        /* One who connects and goes away without a word (a start that was killed) has not started us. */
        if (sync_receive(init, connection) == SYNC_START)
            break;
        close(connection);
    }
    close(listener);
    init->report = connection;
    if (sync_send(connection, SYNC_STARTING, 0, NULL, 0) < 0 || sync_receive(init, connection) != SYNC_GO)
        _exit(1);
    return 0;
}
