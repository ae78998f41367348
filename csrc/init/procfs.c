/* SPDX-License-Identifier: Apache-2.0
 *
 * A procfs for a PID namespace of which init is not a member.
 *
 * Who mounts proc gets the processes of its own PID namespace, so init would have to be seen there before its mounts are
 * done, with all its capabilities (CVE-2016-9962). Linux 6.17 takes the namespace as an option (proc.rst, "pidns").
 */
#include <errno.h>
#include <unistd.h>

#include "init.h"
#include "sys.h"

int op_procfs_of(struct init *init, const struct op_procfs_of *args) {
    init->procfs = fcntl((int)args->descriptor, F_DUPFD_CLOEXEC, 3);
    return init->procfs < 0 ? fail(init, "fcntl", "") : 0;
}

int open_procfs(const struct init *init, const char **step) {
    *step = "fsopen";
    int context = fsopen("proc", FSOPEN_CLOEXEC);
    if (context < 0 || init->procfs < 0)
        return context;
    *step = "fsconfig";
    if (fsconfig(context, FSCONFIG_SET_FD, "pidns", NULL, init->procfs) == 0)
        return context;
    int error = errno;
    close(context);
    return errno = error, -1;
}
