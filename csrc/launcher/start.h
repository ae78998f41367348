/* SPDX-License-Identifier: Apache-2.0
 *
 * How both forms of the launcher start CPython.
 */
#ifndef PYOCI_START_H
#define PYOCI_START_H

#include <Python.h>
#include <signal.h>

/* What the caller's RLIMIT_FSIZE does not allow to be written is then an error, which the verb reports. CPython does the
 * same where it installs its handlers (see below); pyoci-init and hooks get the default again. */
static inline void survive_file_size_limit(void) {
    signal(SIGXFSZ, SIG_IGN);
}

/* Pre-initialises Python: UTF-8 in any locale, and nothing from the environment. */
static inline PyStatus preinitialize(void) {
    PyPreConfig config;

    PyPreConfig_InitIsolatedConfig(&config);
    config.utf8_mode = 1;
    config.configure_locale = 0;
    config.coerce_c_locale = 0;
    return Py_PreInitialize(&config);
}

/* Isolates Python, without site. Signals stay as the caller left them, SIGPIPE and SIGINT included: a verb installs the
 * handlers that it needs. */
static inline void isolate(PyConfig *config) {
    PyConfig_InitIsolatedConfig(config);
    config->site_import = 0;
    config->write_bytecode = 0;
    config->install_signal_handlers = 0;
    config->parse_argv = 0;
    config->pathconfig_warnings = 0;
}

#endif
