/* SPDX-License-Identifier: Apache-2.0
 *
 * Resolution and creation inside a root that an attacker furnished: whatever its links say, what is found or made is
 * inside, and a tree beside the root stays as it is.
 */
#include "../../csrc/init/resolve.c"

#include <ftw.h>
#include <limits.h>

#include "check.h"

static char top[] = "/tmp/pyoci-resolve-XXXXXX";
static const struct plan_header header = {.directory_mode = 0755, .file_mode = 0644};
static struct init init = {.root = -1, .header = &header};
static size_t digest; /* of all names, modes, sizes and times of the tree beside the root */

static int note(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)kind;
    (void)ftw;
    for (const char *c = path; *c; c++)
        digest = digest * 31 + (unsigned char)*c;
    digest = digest * 31 + st->st_mode;
    digest = digest * 31 + (size_t)st->st_size;
    digest = digest * 31 + (size_t)st->st_mtim.tv_nsec;
    return 0;
}

static size_t snapshot(void) {
    digest = 17;
    CHECK(nftw("outside", note, 8, FTW_PHYS) == 0);
    return digest;
}

static int removed(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

/* The way that the kernel knows a descriptor by, seen from the root. */
static const char *inside(int fd) {
    static char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    CHECK(length > 0);
    path[length] = '\0';
    size_t root = strlen(top) + strlen("/root");
    CHECK(strncmp(path, top, strlen(top)) == 0 && strncmp(path + strlen(top), "/root", 5) == 0);
    return path[root] ? path + root : "/";
}

static void furnish(void) {
    char link[PATH_MAX], deep[PATH_MAX] = "";
    static const char *const directories[] = {"outside", "outside/sub", "root", "root/dir", "root/dir/sub"};
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
        CHECK(mkdir(directories[i], 0755) == 0);
    CHECK(close(open("outside/file", O_CREAT | O_WRONLY, 0644)) == 0);
    CHECK(close(open("root/file", O_CREAT | O_WRONLY, 0644)) == 0);
    snprintf(link, sizeof(link), "%s/outside", top);
    for (int i = 0; i < 20; i++)
        strcat(deep, "../");
    strcat(deep, link + 1);
    const char *const links[][2] = {
        {link, "root/absolute"},        /* the host's directory, from the host's root */
        {deep, "root/relative"},        /* the same, climbing */
        {"/made/here", "root/hanging"}, /* absolute, and nothing there */
        {"made/there", "root/dir/hanging"},
        {"../../../made/over", "root/dir/climbing"},
        {"/hanging", "root/twice"},
        {"/made/far", "root/dir/rooted"},
        {"/dir", "root/good"},
        {"/loop2", "root/loop1"},
        {"/loop1", "root/loop2"},
        {"self", "root/self"},
        {"/proc/self/fd/0", "root/magic"},
        {"/file/below", "root/through"},
    };
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        CHECK(symlink(links[i][0], links[i][1]) == 0);
}

struct expectation {
    const char *path;
    int flags;
    enum resolve_create create;
    int error;         /* 0: found or made */
    const char *place; /* where, seen from the root */
};

/* In this order: what one makes the next finds. `%` in a path or a place stands for the directory of the test. */
static const struct expectation expectations[] = {
    {"/", 0, RESOLVE_EXISTING, 0, "/"},
    {"", 0, RESOLVE_EXISTING, 0, "/"},
    {"/../../..", 0, RESOLVE_EXISTING, 0, "/"},
    {"/dir/../dir//sub/", 0, RESOLVE_EXISTING, 0, "/dir/sub"},
    {"/good/sub", 0, RESOLVE_EXISTING, 0, "/dir/sub"},
    {"/missing", 0, RESOLVE_EXISTING, ENOENT, NULL},
    {"/absolute/sub", 0, RESOLVE_EXISTING, ENOENT, NULL},
    {"/relative/file", 0, RESOLVE_EXISTING, ENOENT, NULL},
    {"/file/below", 0, RESOLVE_DIRECTORY, ENOTDIR, NULL},
    {"/through", 0, RESOLVE_DIRECTORY, ENOTDIR, NULL},
    {"/loop1", 0, RESOLVE_DIRECTORY, ELOOP, NULL},
    {"/self/x", 0, RESOLVE_DIRECTORY, ELOOP, NULL},
    {"/good/sub", PLAN_MOUNT_NO_SYMLINKS, RESOLVE_EXISTING, ELOOP, NULL},
    {"/good/new", PLAN_MOUNT_NO_SYMLINKS, RESOLVE_DIRECTORY, ELOOP, NULL},
    {"/hanging", PLAN_MOUNT_NO_SYMLINKS, RESOLVE_DIRECTORY, ELOOP, NULL},
    {"/dir/sub", PLAN_MOUNT_NO_SYMLINKS, RESOLVE_EXISTING, 0, "/dir/sub"},
    {"/plain/a/b", 0, RESOLVE_DIRECTORY, 0, "/plain/a/b"},
    {"/plain/c/f", 0, RESOLVE_FILE, 0, "/plain/c/f"},
    {"/plain/./c/../g", 0, RESOLVE_FILE, 0, "/plain/g"},
    {"/plain/no/../x", 0, RESOLVE_DIRECTORY, 0, "/plain/x"},
    {"/twice/x", 0, RESOLVE_DIRECTORY, 0, "/made/here/x"},
    {"/hanging/y", 0, RESOLVE_FILE, 0, "/made/here/y"},
    {"/dir/hanging", 0, RESOLVE_FILE, 0, "/dir/made/there"},
    {"/dir/rooted/w", 0, RESOLVE_DIRECTORY, 0, "/made/far/w"},
    {"/dir/climbing/z", 0, RESOLVE_DIRECTORY, 0, "/made/over/z"},
    {"/absolute", 0, RESOLVE_DIRECTORY, 0, "%/outside"},
    {"/absolute/sub/new", 0, RESOLVE_FILE, 0, "%/outside/sub/new"},
    {"/relative/file", 0, RESOLVE_FILE, 0, "%/outside/file"},
    {"/relative/deep/er", 0, RESOLVE_DIRECTORY, 0, "%/outside/deep/er"},
};

static const char *expanded(const char *pattern) {
    static char path[PATH_MAX];
    if (pattern[0] != '%')
        return pattern;
    snprintf(path, sizeof(path), "%s%s", top, pattern + 1);
    return path;
}

static void try_all(void) {
    for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
        const struct expectation *one = &expectations[i];
        const char *step = NULL;
        int fd = resolve(&init, one->path, one->flags, one->create, &step);
        int error = fd < 0 ? errno : 0;
        if (error != one->error) {
            fprintf(stderr, "resolve: %s: %s at %s\n", one->path, strerror(error), step);
            exit(1);
        }
        if (fd < 0) {
            CHECK(step);
            continue;
        }
        if (strcmp(inside(fd), expanded(one->place)) != 0) {
            fprintf(stderr, "resolve: %s is %s, not %s\n", one->path, inside(fd), one->place);
            exit(1);
        }
        struct stat st;
        CHECK(fstat(fd, &st) == 0);
        CHECK(one->create != RESOLVE_FILE || S_ISREG(st.st_mode));
        close(fd);
    }
}

/* A link into procfs must not be followed out of the root, though the kernel's own links have no path. */
static void magic_links(void) {
    const char *step;
    int held = open("outside", O_RDONLY | O_DIRECTORY), root = init.root;
    char path[64];
    CHECK(held >= 0);
    init.root = open("/", O_PATH | O_DIRECTORY);
    for (int create = RESOLVE_EXISTING; create <= RESOLVE_FILE; create++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d/new", held);
        CHECK(resolve(&init, path, 0, (enum resolve_create)create, &step) < 0 && errno == ELOOP);
    }
    close(init.root);
    init.root = root;
    close(held);
}

static void long_names(void) {
    char path[3 * PATH_MAX], name[300];
    const char *step;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(path, sizeof(path), "/%s", name); /* 299 bytes: no file's name */
    CHECK(resolve(&init, path, 0, RESOLVE_DIRECTORY, &step) < 0 && errno == ENAMETOOLONG);
    name[255] = '\0';
    snprintf(path, sizeof(path), "/%s/%s", name, name);
    int fd = resolve(&init, path, 0, RESOLVE_FILE, &step);
    CHECK(fd >= 0 && strlen(inside(fd)) == 512);
    close(fd);
    path[0] = '\0';
    for (int i = 0; i < PATH_MAX; i++)
        strcat(path, "/x");
    for (int create = RESOLVE_EXISTING; create <= RESOLVE_FILE; create++)
        CHECK(resolve(&init, path, 0, (enum resolve_create)create, &step) < 0 && errno == ENAMETOOLONG);
    /* Each link makes the rest longer, until it is too long or the links are too many: no buffer is run over. */
    memset(name, 'm', 250);
    for (int i = 0; i < 20; i++) {
        char link[32], target[PATH_MAX];
        snprintf(link, sizeof(link), "root/grow%d", i);
        snprintf(target, sizeof(target), "/grow%d", i + 1);
        for (int part = 0; part < 15; part++)
            snprintf(target + strlen(target), sizeof(target) - strlen(target), "/%.250s", name);
        CHECK(symlink(target, link) == 0);
    }
    CHECK(resolve(&init, "/grow0/end", 0, RESOLVE_DIRECTORY, &step) < 0 && errno == ENAMETOOLONG);
}

static void parents(void) {
    char name[256], path[2 * PATH_MAX];
    const char *step;
    static const char *const refused[] = {"", "/", "//", "/dir/..", "/dir/.", "..", "/dir/../"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        CHECK(resolve_parent(&init, refused[i], name, &step) < 0 && errno == EINVAL);
    int fd = resolve_parent(&init, "/dir/sub/node", name, &step);
    CHECK(fd >= 0 && strcmp(name, "node") == 0 && strcmp(inside(fd), "/dir/sub") == 0);
    close(fd);
    fd = resolve_parent(&init, "/node//", name, &step);
    CHECK(fd >= 0 && strcmp(name, "node") == 0 && strcmp(inside(fd), "/") == 0);
    close(fd);
    fd = resolve_parent(&init, "/absolute/node", name, &step);
    CHECK(fd >= 0 && strcmp(inside(fd), expanded("%/outside")) == 0);
    close(fd);
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    path[0] = '/';
    for (size_t length = 250; length < sizeof(path); length += 97) {
        path[length] = '\0';
        CHECK(length < 257 || resolve_parent(&init, path, name, &step) < 0);
        path[length] = length % 2 ? '/' : 'p';
    }
}

/* Trees of random links, among them some that climb and loop: all ends, and nothing gets out. */
static void random_layouts(void) {
    static const char *const names[] = {"a", "b", "c", "..", ".", "a/b", "b/../c", "../a", "/a", "/b/c", "c/a"};
    enum { NAMES = sizeof(names) / sizeof(names[0]) };
    for (int round = 0; round < 400; round++) {
        char base[64], link[PATH_MAX], target[PATH_MAX], path[PATH_MAX];
        const char *step;
        snprintf(base, sizeof(base), "root/r%d", round);
        CHECK(mkdir(base, 0755) == 0);
        int root = init.root;
        init.root = open(base, O_PATH | O_DIRECTORY);
        for (int i = 0; i < 4; i++) {
            snprintf(link, sizeof(link), "%s/%s", base, names[noise() % 3]);
            snprintf(target, sizeof(target), "%s/%s", names[noise() % NAMES], names[noise() % NAMES]);
            if (noise() % 4 == 0)
                snprintf(target, sizeof(target), "%s/outside/sub", noise() % 2 ? top : "../../../../../../../..");
            CHECK(symlink(target, link) == 0 || errno == EEXIST);
        }
        for (int i = 0; i < 6; i++) {
            snprintf(path, sizeof(path), "/%s/%s/%s", names[noise() % NAMES], names[noise() % NAMES],
                     names[noise() % NAMES]);
            int fd = resolve(&init, path, 0, (enum resolve_create)(noise() % 3), &step);
            if (fd >= 0)
                CHECK(strncmp(inside(fd), base + 4, strlen(base + 4)) == 0);
            close(fd);
        }
        close(init.root);
        init.root = root;
    }
}

static int descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

int main(void) {
    CHECK(mkdtemp(top) && chdir(top) == 0);
    furnish();
    init.root = open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(init.root >= 0);
    size_t before = snapshot();
    int opened = descriptors();
    try_all();
    magic_links();
    long_names();
    parents();
    random_layouts();
    CHECK(snapshot() == before);
    CHECK(descriptors() == opened);
    close(init.root);
    CHECK(chdir("/") == 0 && nftw(top, removed, 16, FTW_DEPTH | FTW_PHYS) == 0);
    return 0;
}
