/* A program whose CPU time is split between its functions in known shares.
 *
 *   shares [SECONDS [PLUGIN]]     forever when SECONDS is 0 or left out
 *
 * In percent of the whole: direct 15, recursion 15, tail_last 10, library_inner
 * 15, plugin_inner 10 (without a plugin: burned in `direct`), on_signal 10,
 * interrupted 5, alpha 10, beta 10. It prints `ready`, and at the end the CPU
 * time that it used. */
#include "shares.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define KEEP __asm__ volatile("" ::: "memory")

static pthread_barrier_t turn;
static volatile int stop;
static volatile long long unit;
static volatile sig_atomic_t handled;

static SEPARATE void direct(long long until) {
    burn(until);
}

static SEPARATE int recursion(int depth, long long until) {
    int result = 0;
    if (depth > 0)
        result = recursion(depth - 1, until) + 1;
    else
        burn(until);
    KEEP;
    return result;
}

/* Each jumps to the next, so only the last one has a frame. */
static SEPARATE void tail_last(long long until) {
    burn(until);
}
static SEPARATE void tail_middle(long long until) {
    tail_last(until);
}
static SEPARATE void tail_first(long long until) {
    tail_middle(until);
}

static SEPARATE void handler_work(long long until) {
    burn(until);
    KEEP;
}

static SEPARATE void on_signal(int number) {
    (void)number;
    handler_work(thread_cpu() + 10 * unit);
    handled = 1;
}

/* Is interrupted at an instruction that it does not choose, then burns its
 * own share. */
static SEPARATE void interrupted(long long until) {
    struct itimerval soon = {.it_value = {.tv_usec = 50}};
    handled = 0;
    setitimer(ITIMER_REAL, &soon, NULL);
    while (!handled)
        for (volatile int i = 0; i < 1000; i++) {
        }
    burn(until);
}

static SEPARATE void alpha(long long until) {
    burn(until);
}
static SEPARATE void beta(long long until) {
    burn(until);
}

static SEPARATE void *thread_entry(void *argument) {
    void (*work)(long long) = argument;
    long long end = thread_cpu();
    for (;;) {
        pthread_barrier_wait(&turn);
        if (stop)
            return NULL;
        end += 10 * unit;
        work(end);
        pthread_barrier_wait(&turn);
    }
}

/* A turn's length varies, so that no sampling clock can fall in step. */
static long long next_unit(void) {
    static unsigned long long state = 88172645463325252ULL;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return 30000 + (long long)(state % 40000);
}

static double wall(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 0;
    const char *path = count > 2 ? arguments[2] : NULL;
    plugin_function *plugin = direct;
    pthread_t threads[2];
    sigset_t alarm_only;

    /* The workers never take the signal: it is the main thread's. */
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL);
    pthread_barrier_init(&turn, NULL, 3);
    pthread_create(&threads[0], NULL, thread_entry, alpha);
    pthread_create(&threads[1], NULL, thread_entry, beta);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGALRM, &action, NULL);

    puts("ready");
    fflush(stdout);
    double started = wall();
    long long end = thread_cpu();
    while (seconds == 0 || wall() - started < seconds) {
        unit = next_unit();
        pthread_barrier_wait(&turn);
        direct(end += 15 * unit);
        recursion(40, end += 15 * unit);
        tail_first(end += 10 * unit);
        library_work(end += 15 * unit);
        plugin(end += 10 * unit);
        interrupted(end += 15 * unit);
        pthread_barrier_wait(&turn);
#ifndef WITHOUT_PLUGIN
        /* Late, so that it is mapped under the profiler's eyes. */
        if (path && plugin == direct && wall() - started > 1) {
            void *library = dlopen(path, RTLD_NOW);
            if (!library) {
                fprintf(stderr, "%s\n", dlerror());
                return 1;
            }
            plugin = (plugin_function *)dlsym(library, "plugin_work");
        }
#else
        (void)path;
#endif
    }
    stop = 1;
    pthread_barrier_wait(&turn);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    struct timespec total;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &total);
    printf("cpu %.6f\n", total.tv_sec + total.tv_nsec / 1e9);
    return 0;
}
