/* A known amount of work, in a function of its own.
 *
 *   work UNITS            does UNITS units of work, prints the CPU time it took
 *                         (nanoseconds), and ends
 *   work UNITS MS SECONDS does UNITS units of work every MS milliseconds, in
 *                         `changed`, and 1000 in `steady`, for SECONDS
 */
#include "shares.h"

#include <stdio.h>
#include <stdlib.h>

static SEPARATE void unit(void) {
    for (volatile int i = 0; i < 1000; i++) {
    }
}

static SEPARATE void changed(long units) {
    for (long i = 0; i < units; i++)
        unit();
    __asm__ volatile("" ::: "memory");
}

static SEPARATE void steady(void) {
    for (int i = 0; i < 1000; i++)
        unit();
    __asm__ volatile("" ::: "memory");
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: work UNITS [MS SECONDS]\n");
        return 2;
    }
    long units = atol(arguments[1]);
    if (count < 4) {
        long long before = thread_cpu();
        changed(units);
        printf("%lld\n", thread_cpu() - before);
        return 0;
    }
    long pause = atol(arguments[2]) * 1000000;
    struct timespec next, end;
    clock_gettime(CLOCK_MONOTONIC, &next);
    end = next;
    end.tv_sec += atol(arguments[3]);
    while (next.tv_sec < end.tv_sec || (next.tv_sec == end.tv_sec && next.tv_nsec < end.tv_nsec)) {
        changed(units);
        steady();
        next.tv_nsec += pause;
        while (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return 0;
}
