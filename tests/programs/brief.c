/* Starts COUNT short-lived processes at RATE a second, each of which burns a
 * millisecond of CPU under a name of its own: brief-N.
 *
 *   brief COUNT RATE */
#include "shares.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static SEPARATE void brief_work(long long until) {
    burn(until);
    __asm__ volatile("" ::: "memory");
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "child") == 0) {
        brief_work(thread_cpu() + 1000000);
        return 0;
    }
    int processes = count > 1 ? atoi(arguments[1]) : 100;
    double rate = count > 2 ? atof(arguments[2]) : 100;
    struct timespec started, now;
    clock_gettime(CLOCK_MONOTONIC, &started);
    for (int i = 0; i < processes; i++) {
        for (;;) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            double passed = (now.tv_sec - started.tv_sec) + (now.tv_nsec - started.tv_nsec) / 1e9;
            if (passed >= i / rate)
                break;
            usleep(500);
        }
        if (fork() == 0) {
            /* Half of them become another program, as a shell's children do. */
            if (i % 2) {
                execl("/proc/self/exe", "brief-child", "child", (char *)NULL);
                _exit(1);
            }
            char name[16];
            snprintf(name, sizeof name, "brief-%d", i % 100000000);
            prctl(PR_SET_NAME, name);
            brief_work(thread_cpu() + 1000000);
            _exit(0);
        }
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
    while (waitpid(-1, NULL, 0) > 0) {
    }
    return 0;
}
