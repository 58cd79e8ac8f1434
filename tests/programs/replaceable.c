// A library of two builds, FIRST and SECOND, whose frames have other sizes. Who
// takes one for the other finds a zero where the return address should be, which
// looks like the end of the stack.
#define _GNU_SOURCE
#include <time.h>

#ifdef FIRST
#define INNER inner_first
enum { ROOM = 64 };
#else
#define INNER inner_second
enum { ROOM = 1024 };
#endif

static volatile unsigned long sink;

static double thread_cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static __attribute__((noinline)) void burn(double seconds)
{
    double end = thread_cpu() + seconds;
    while (thread_cpu() < end)
        for (int i = 0; i < 20000; i++)
            sink = sink * 3 + i;
}

__attribute__((noinline)) void INNER(double seconds)
{
    volatile char room[ROOM] = {0};
    burn(seconds);
    sink += room[0];
}

void work(double seconds)
{
    volatile char room[2 * ROOM] = {0};
    INNER(seconds);
    sink += room[0];
}
