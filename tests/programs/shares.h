/* Burning CPU time in known shares. Included by the program and its libraries,
 * so that the loop is part of the function that burns. */
#ifndef SHARES_H
#define SHARES_H

#define _GNU_SOURCE
#include <time.h>

/* Neither inlined nor cloned nor merged: the call tree stays as written. */
#define SEPARATE __attribute__((noinline, noipa))

static inline long long thread_cpu(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Counts until the thread has used `until` nanoseconds of CPU. The clock is a
 * system call, so it is read rarely: once in about 10 microseconds. The
 * ends of one thread's turns lie on one scale, so no error adds up. */
static inline __attribute__((always_inline)) void burn(long long until) {
    while (thread_cpu() < until)
        for (volatile int i = 0; i < 4000; i++) {
        }
}

/* In libshares.so, called through the PLT. */
void library_work(long long until);
/* In libplugin.so, opened while the program runs. */
typedef void plugin_function(long long until);

#endif
